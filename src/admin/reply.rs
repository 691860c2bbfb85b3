//! One request, one answer.

use std::convert::Infallible;
use std::net::IpAddr;
use std::pin::Pin;
use std::task::{Context, Poll};

use hyper::body::{Body, Bytes, Frame, Incoming, SizeHint};
use hyper::header::{self, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};

use super::Admin;
use super::status::State;
use crate::host::Host;

/// Knows what is asked for and who may ask.
pub(super) struct Reply {
    admin: Admin,
    names: Names,
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

/// What is sent, all of it at once.
pub(super) struct Whole(Option<Bytes>);

impl Body for Whole {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(self.0.take().map(|bytes| Ok(Frame::data(bytes))))
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.0.as_ref().map_or(0, |it| u64::try_from(it.len()).unwrap_or(0)))
    }
}

impl Reply {
    pub(super) const fn new(admin: Admin, names: Names) -> Self {
        Self { admin, names }
    }

    pub(super) fn to(&self, request: &Request<Incoming>) -> Response<Whole> {
        if !self.is_meant(request) {
            let text = "this name is not one of the admin's: ask by address, or name it in `[admin] hosts`\n";
            return plain(StatusCode::MISDIRECTED_REQUEST, text);
        }
        if !matches!(*request.method(), Method::GET | Method::HEAD) {
            let mut response =
                plain(StatusCode::METHOD_NOT_ALLOWED, "nothing can be changed here\n");
            response.headers_mut().insert(header::ALLOW, HeaderValue::from_static("GET, HEAD"));
            return response;
        }
        match request.uri().path() {
            "/status" => self.status(),
            "/live" => plain(StatusCode::OK, "live\n"),
            "/ready" => self.ready(),
            _ => plain(StatusCode::NOT_FOUND, "there are /status, /live and /ready\n"),
        }
    }

    /// What a client asks for under a name that is nobody's, or somebody else's, is not for us.
    fn is_meant(&self, request: &Request<Incoming>) -> bool {
        let host = request.headers().get(header::HOST).and_then(|it| it.to_str().ok());
        host.is_some_and(|host| self.names.has(host))
    }

    fn status(&self) -> Response<Whole> {
        match serde_json::to_vec(&self.admin.status()) {
            Ok(json) => answer(StatusCode::OK, "application/json", json),
            Err(_) => plain(StatusCode::INTERNAL_SERVER_ERROR, "cannot be told now\n"),
        }
    }

    fn ready(&self) -> Response<Whole> {
        match self.admin.0.state() {
            State::Serving => plain(StatusCode::OK, "ready\n"),
            State::Starting => plain(StatusCode::SERVICE_UNAVAILABLE, "starting\n"),
            State::Draining => plain(StatusCode::SERVICE_UNAVAILABLE, "draining\n"),
            State::Ended => plain(StatusCode::SERVICE_UNAVAILABLE, "ended\n"),
        }
    }
}

fn plain(status: StatusCode, text: &str) -> Response<Whole> {
    answer(status, "text/plain; charset=utf-8", text.as_bytes().to_vec())
}

fn answer(status: StatusCode, kind: &'static str, body: Vec<u8>) -> Response<Whole> {
    let mut response = Response::new(Whole(Some(body.into())));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    for (name, value) in ALWAYS {
        headers.insert(name, HeaderValue::from_static(value));
    }
    response
}

/// A browser is to keep nothing, to guess nothing, and to show nothing of this within a page from elsewhere.
const ALWAYS: [(header::HeaderName, &str); 4] = [
    (header::CACHE_CONTROL, "no-store"),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::X_FRAME_OPTIONS, "DENY"),
    (header::REFERRER_POLICY, "no-referrer"),
];
