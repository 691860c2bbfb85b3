//! One request, one answer.

use std::net::IpAddr;
use std::sync::Arc;

use hyper::body::Incoming;
use hyper::header::{self, HeaderName, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};

use super::Admin;
use super::live::{Live, Polls, Sent, Whole};
use super::metrics::{Form, Metrics};
use super::status::State;
use crate::host::Host;

/// Knows what is asked for and who may ask.
pub(super) struct Reply {
    admin: Admin,
    names: Names,
    metrics: Metrics,
    /// One for each stream that may be open.
    streams: Arc<()>,
}

/// Host names that requests may be for.
#[derive(Debug, Default)]
pub(super) struct Names(Vec<Host>);

impl Names {
    pub(super) fn extend(&mut self, names: impl IntoIterator<Item = Host>) {
        self.0.extend(names);
    }

    /// Whether a request for this authority is meant for us. An address cannot be made to lead elsewhere than it says.
    fn has(&self, authority: &str) -> bool {
        let host = match authority.rsplit_once(':') {
            Some((host, port)) if port.bytes().all(|it| it.is_ascii_digit()) => host,
            _ => authority,
        };
        let bare = host.strip_prefix('[').and_then(|it| it.strip_suffix(']')).unwrap_or(host);
        let is_here = host.eq_ignore_ascii_case("localhost");
        is_here || bare.parse::<IpAddr>().is_ok() || self.0.iter().any(|it| it.is(host.as_bytes()))
    }
}

/// What is answered, but for how it is sent.
struct Answer {
    status: StatusCode,
    kind: &'static str,
    body: Vec<u8>,
    /// A header of its own.
    more: Option<(HeaderName, &'static str)>,
}

impl Answer {
    fn new(kind: &'static str, body: impl Into<Vec<u8>>) -> Self {
        Self { status: StatusCode::OK, kind, body: body.into(), more: None }
    }

    fn plain(status: StatusCode, text: &str) -> Self {
        Self { status, ..Self::new("text/plain; charset=utf-8", text) }
    }

    fn failed() -> Self {
        Self::plain(StatusCode::INTERNAL_SERVER_ERROR, "cannot be told now\n")
    }
}

impl Reply {
    pub(super) fn new(admin: Admin, names: Names) -> Self {
        let metrics = Metrics::new(&admin.0);
        Self { admin, names, metrics, streams: Arc::default() }
    }

    pub(super) fn to(&self, request: &Request<Incoming>, polls: &Polls) -> Response<Sent> {
        let Answer { status, kind, body, more } = match self.answer(request) {
            Some(answer) => answer,
            None => match self.place() {
                Some(place) => return watched(Live::new(&self.admin, polls, place)),
                None => Answer::plain(StatusCode::SERVICE_UNAVAILABLE, "too many are watching\n"),
            },
        };
        let mut response = Response::new(Sent::Whole(Whole::new(body, polls)));
        *response.status_mut() = status;
        describe(&mut response, kind);
        response
            .headers_mut()
            .extend(more.map(|(name, text)| (name, HeaderValue::from_static(text))));
        response
    }

    /// `None`: what happens as it happens.
    fn answer(&self, request: &Request<Incoming>) -> Option<Answer> {
        if !self.is_meant(request) {
            let text = "this name is not one of the admin's: ask by address, or name it in `[admin] hosts`\n";
            return Some(Answer::plain(StatusCode::MISDIRECTED_REQUEST, text));
        }
        if !matches!(*request.method(), Method::GET | Method::HEAD) {
            let answer =
                Answer::plain(StatusCode::METHOD_NOT_ALLOWED, "nothing can be changed here\n");
            return Some(Answer { more: Some((header::ALLOW, "GET, HEAD")), ..answer });
        }
        Some(match request.uri().path() {
            "/" => Answer {
                more: Some((header::CONTENT_SECURITY_POLICY, POLICY)),
                ..Answer::new("text/html; charset=utf-8", PAGE)
            },
            "/metrics" => self.metrics(request),
            "/status" => serde_json::to_vec(&self.admin.status())
                .map_or_else(|_| Answer::failed(), |json| Answer::new("application/json", json)),
            "/live" => Answer::plain(StatusCode::OK, "live\n"),
            "/ready" => self.ready(),
            "/events" => return None,
            _ => Answer::plain(
                StatusCode::NOT_FOUND,
                "there are /, /metrics, /status, /events, /live and /ready\n",
            ),
        })
    }

    /// What a client asks for under a name that is nobody's, or somebody else's, is not for us.
    fn is_meant(&self, request: &Request<Incoming>) -> bool {
        let host = request.headers().get(header::HOST).and_then(|it| it.to_str().ok());
        host.is_some_and(|host| self.names.has(host))
    }

    fn metrics(&self, request: &Request<Incoming>) -> Answer {
        let accept = request.headers().get(header::ACCEPT).and_then(|it| it.to_str().ok());
        let form = Form::accepted(accept.unwrap_or_default());
        let text = self.metrics.text(form);
        text.map_or_else(|_| Answer::failed(), |text| Answer::new(form.content_type(), text))
    }

    fn ready(&self) -> Answer {
        let not_yet = |text| Answer::plain(StatusCode::SERVICE_UNAVAILABLE, text);
        match self.admin.0.state() {
            State::Serving => Answer::plain(StatusCode::OK, "ready\n"),
            State::Starting => not_yet("starting\n"),
            State::Draining => not_yet("draining\n"),
            State::Ended => not_yet("ended\n"),
        }
    }

    /// A place to watch from. Who asks once in a while must find one beside those who watch.
    fn place(&self) -> Option<Arc<()>> {
        let place = Arc::clone(&self.streams);
        (Arc::strong_count(&place) <= 1 + MOST_STREAMS).then_some(place)
    }
}

fn watched(live: Live) -> Response<Sent> {
    let mut response = Response::new(Sent::Live(Box::new(live)));
    describe(&mut response, "text/event-stream");
    response
}

fn describe(response: &mut Response<Sent>, kind: &'static str) {
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    for (name, value) in ALWAYS {
        headers.insert(name, HeaderValue::from_static(value));
    }
}

/// How many may watch at a time.
const MOST_STREAMS: usize = 16;

const PAGE: &str = include_str!("page/page.html");

/// Nothing from elsewhere, and no script or style but those of the page.
const POLICY: &str = "default-src 'none'; script-src 'sha256-XhNiRttULRQGEMpBFfj483PXA3MSStx2LcviwMS//mo='; style-src 'sha256-eBXm2IQTaYgcBYbVEUjeXNxItl2QjHtSRnSC6NjA6Vc='; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// A browser is to keep nothing, to guess nothing, and to show nothing of this within a page from elsewhere.
const ALWAYS: [(HeaderName, &str); 4] = [
    (header::CACHE_CONTROL, "no-store"),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::X_FRAME_OPTIONS, "DENY"),
    (header::REFERRER_POLICY, "no-referrer"),
];

#[cfg(test)]
mod tests {
    use super::*;

    /// A browser runs nothing else, so a page that was changed needs other hashes.
    #[test]
    fn the_policy_allows_the_script_and_the_style_of_the_page() {
        for (tag, directive) in [("script", "script-src"), ("style", "style-src")] {
            let (_, rest) = PAGE.split_once(&format!("<{tag}>")).expect(tag);
            let (text, _) = rest.split_once(&format!("</{tag}>")).expect(tag);
            let hash = ring::digest::digest(&ring::digest::SHA256, text.as_bytes());
            let wanted = format!("{directive} 'sha256-{}';", base64(hash.as_ref()));
            assert!(POLICY.contains(&wanted), "{wanted}");
        }
    }

    fn base64(bytes: &[u8]) -> String {
        let alphabet: Vec<_> =
            ('A'..='Z').chain('a'..='z').chain('0'..='9').chain(['+', '/']).collect();
        let group = |three: &[u8]| {
            let bits = three.iter().fold(0, |bits, byte| bits << 8 | usize::from(*byte))
                << (8 * (3 - three.len()));
            let digit = |at: usize| {
                if at <= three.len() { alphabet[bits >> (18 - 6 * at) & 63] } else { '=' }
            };
            (0..4).map(digit).collect::<String>()
        };
        bytes.chunks(3).map(group).collect()
    }

    #[test]
    fn only_addresses_and_known_names_are_meant() {
        let mut names = Names::default();
        names.extend(["admin.example".parse().expect("a host")]);
        for host in ["127.0.0.1:1", "[::1]", "localhost:80", "Admin.Example:443", "10.0.0.1"] {
            assert!(names.has(host), "{host}");
        }
        for host in
            ["", ":80", "evil.example", "localhost.example", "127.0.0.1.example", "[::1].example"]
        {
            assert!(!names.has(host), "{host}");
        }
    }
}
