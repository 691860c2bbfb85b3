//! The table against its laws, its mistakes and hosts.

use proptest::prelude::*;

use super::*;
use crate::forward::Forward;
use crate::magic::Magic;
use crate::protocols::Protocols;

fn forward(text: &str) -> Forward {
    format!("{text}=127.0.0.1:1").parse().expect(text)
}

fn table(lefts: &[&str], protocols: &Protocols) -> Result<Table, Vec<RouteErrorKind>> {
    let routes =
        Routes { forwards: lefts.iter().map(|it| forward(it)).collect(), ..Routes::default() };
    let kinds = |errors: Vec<RouteError>| errors.into_iter().map(|error| error.kind).collect();
    Table::new(&routes, protocols).map_err(kinds)
}

fn magics(patterns: &[Vec<u8>]) -> (Protocols, Vec<String>) {
    let mut protocols = Protocols::default();
    let names: Vec<_> = (0..patterns.len()).map(|at| format!("m{at}")).collect();
    for (name, pattern) in names.iter().zip(patterns) {
        let magic = Magic::new(name, &[Transport::Tcp], [pattern.clone()]);
        protocols.add(magic.expect("a pattern"));
    }
    (protocols, names)
}

/// The place of the route that this opening gets, if it gets one.
fn place(table: &Table, bytes: &[u8], ended: bool) -> Option<Option<usize>> {
    let opening = Opening { bytes, ends: &[], ended };
    match table.decide(&opening, &mut Scratch::new()) {
        Decision::Route(route) => Some(route.place()),
        Decision::NoMatch => Some(None),
        Decision::NeedMore { .. } => None,
    }
}

#[test]
fn an_earlier_protocol_that_still_may_holds_a_later_match_back() {
    let (protocols, names) = magics(&[b"abc".to_vec(), b"ab".to_vec()]);
    let names: Vec<_> = names.iter().map(String::as_str).collect();
    let table = table(&names, &protocols).expect("a table");
    let decision = |bytes| {
        let opening = Opening::stream(bytes);
        match table.decide(&opening, &mut Scratch::new()) {
            Decision::NeedMore { held } => Err(held.and_then(|route| route.place())),
            Decision::Route(route) => Ok(route.place()),
            Decision::NoMatch => Ok(None),
        }
    };
    assert_eq!(decision(b"a"), Err(None));
    assert_eq!(decision(b"ab"), Err(Some(1)));
    assert_eq!(decision(b"abc"), Ok(Some(0)));
    assert_eq!(decision(b"abd"), Ok(Some(1)));
    assert_eq!(decision(b"b"), Ok(None));
    assert_eq!(place(&table, b"ab", true), Some(Some(1)));
}

#[test]
fn every_mistake_is_named() {
    let protocols = Protocols::default();
    assert_eq!(
        table(&["nonsense"], &protocols).err(),
        Some(vec![RouteErrorKind::UnknownProtocol("nonsense".into())])
    );
    assert_eq!(
        table(&["smtp:a.example"], &protocols).err(),
        Some(vec![RouteErrorKind::NoHosts("smtp".into())])
    );
    let two =
        RouteErrorKind::TwoServerFirst { protocol: "imap".into(), other: "smtp".into(), first: 0 };
    assert_eq!(table(&["smtp", "imap"], &protocols).err(), Some(vec![two]));
    let mut of_datagrams = forward("smtp");
    of_datagrams.responses = Some(0);
    of_datagrams.amplification_limit = Some(3);
    let routes = Routes { forwards: vec![of_datagrams], ..Routes::default() };
    let errors = Table::new(&routes, &protocols).err().unwrap_or_default();
    let kinds: Vec<_> = errors.into_iter().map(|error| error.kind).collect();
    let about = |key| RouteErrorKind::NoDatagrams { protocol: "smtp".into(), key };
    assert_eq!(kinds, [about("responses"), about("amplification_limit")]);
    let again = RouteErrorKind::Duplicate { what: "`smtp`".into(), host: None, first: 0 };
    assert_eq!(table(&["smtp", "smtp"], &protocols).err(), Some(vec![again]));
}

#[test]
fn one_endpoint_is_one_backend_however_many_routes_lead_to_it() {
    let table = table(&["smtp"], &Protocols::default()).expect("a table");
    assert_eq!(table.backends().len(), 1);
    assert_eq!(table.silent().map(|route| route.name()), Some("smtp"));
}

#[test]
fn a_transport_with_a_route_or_a_fallback_is_listened_for() {
    let mut protocols = Protocols::default();
    for (name, transports) in [
        ("t", &[Transport::Tcp][..]),
        ("u", &[Transport::Udp]),
        ("b", &[Transport::Tcp, Transport::Udp]),
    ] {
        protocols.add(Magic::new(name, transports, [b"x".to_vec()]).expect("a pattern"));
    }
    let transports = |lefts: &[&str]| table(lefts, &protocols).expect("a table").transports();
    assert_eq!(transports(&[]), []);
    assert_eq!(transports(&["t"]), [Transport::Tcp]);
    assert_eq!(transports(&["u"]), [Transport::Udp]);
    assert_eq!(transports(&["b"]), [Transport::Tcp, Transport::Udp]);
    let both = table(&["b"], &protocols).expect("a table");
    assert_eq!(both.only(Transport::Udp).transports(), [Transport::Udp]);
    let fallback_udp = Some("a:1".parse().expect("an endpoint"));
    let routes = Routes { forwards: vec![forward("t")], fallback_udp, ..Routes::default() };
    let with_fallback = Table::new(&routes, &protocols).expect("a table");
    assert_eq!(with_fallback.transports(), [Transport::Tcp, Transport::Udp]);
}

/// Short patterns over two letters, so that many are beginnings of others.
fn patterns() -> impl Strategy<Value = Vec<Vec<u8>>> {
    let pattern = prop::collection::vec(prop::sample::select(b"ab".to_vec()), 1..5);
    prop::collection::vec(pattern, 1..6)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(10_000))]

    /// Row D12, laws 1 and 2: a decision at any cut is the decision of the whole opening.
    #[test]
    fn where_an_opening_is_cut_never_changes_its_route(
        patterns in patterns(),
        bytes in prop::collection::vec(prop::sample::select(b"abc".to_vec()), 0..8),
    ) {
        let (protocols, names) = magics(&patterns);
        let names: Vec<_> = names.iter().map(String::as_str).collect();
        let table = table(&names, &protocols).expect("a table");
        let whole = place(&table, &bytes, false);
        for end in 0..bytes.len() {
            let cut = place(&table, &bytes[..end], false);
            prop_assert!(cut.is_none() || cut == whole, "at {}: {:?}, whole {:?}", end, cut, whole);
        }
        // The first in route order that matches, whatever its length.
        let first = patterns.iter().position(|pattern| bytes.starts_with(pattern));
        prop_assert_eq!(place(&table, &bytes, true), Some(first));
    }
}

/// Known by the first byte of one of the first datagrams.
struct Nth {
    name: String,
    at: usize,
    byte: u8,
}

impl RefractiumProtocol for Nth {
    fn name(&self) -> &str {
        &self.name
    }

    fn transports(&self) -> &[Transport] {
        &[Transport::Udp]
    }

    fn identify(&self, opening: &Opening<'_>) -> Verdict {
        match opening.datagrams().nth(self.at) {
            None => Verdict::NeedMore,
            Some(datagram) if datagram.first() == Some(&self.byte) => Verdict::Match,
            Some(_) => Verdict::NoMatch,
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    /// The same of datagrams: what the first of them decide, the others do not change.
    #[test]
    fn how_many_datagrams_have_come_never_changes_a_route(
        known in prop::collection::vec((0..3_usize, prop::sample::select(b"ab".to_vec())), 1..6),
        datagrams in prop::collection::vec("[abc]{0,2}", 1..5),
    ) {
        let mut protocols = Protocols::default();
        for (at, &(nth, byte)) in known.iter().enumerate() {
            protocols.add(Nth { name: format!("m{at}"), at: nth, byte });
        }
        let names: Vec<_> = (0..known.len()).map(|at| format!("m{at}")).collect();
        let names: Vec<_> = names.iter().map(String::as_str).collect();
        let table = table(&names, &protocols).expect("a table");
        let bytes = datagrams.concat();
        let ends: Vec<_> = (1..=datagrams.len()).map(|it| datagrams[..it].concat().len()).collect();
        let place = |count: usize, ended: bool| {
            let ends = &ends[..count];
            let opening = Opening { bytes: &bytes.as_bytes()[..ends[count - 1]], ends, ended };
            match table.decide(&opening, &mut Scratch::new()) {
                Decision::Route(route) => Some(route.place()),
                Decision::NoMatch => Some(None),
                Decision::NeedMore { .. } => None,
            }
        };
        let whole = place(datagrams.len(), false);
        for count in 1..datagrams.len() {
            let early = place(count, false);
            prop_assert!(early.is_none() || early == whole, "{}: {:?}, {:?}", count, early, whole);
        }
        // The first in route order that matches: one that still waits does not, once nothing more comes.
        let first = known.iter().position(|&(nth, byte)| {
            datagrams.get(nth).is_some_and(|it| it.as_bytes().first() == Some(&byte))
        });
        prop_assert_eq!(place(datagrams.len(), true), Some(first));
    }
}

#[cfg(all(feature = "proto-http", feature = "proto-https"))]
mod host_tests {
    use super::*;
    use crate::protocols::Protocols;

    fn table(lefts: &[&str]) -> Table {
        let forwards = lefts.iter().map(|left| format!("{left}=127.0.0.1:1").parse());
        let forwards = forwards.collect::<Result<_, _>>().expect("forwards");
        let routes = Routes { forwards, ..Routes::default() };
        Table::new(&routes, &Protocols::default()).expect("a table")
    }

    fn place(table: &Table, bytes: &[u8]) -> Option<usize> {
        match table.decide(&Opening::stream(bytes).ended(), &mut Scratch::new()) {
            Decision::Route(route) => route.place(),
            Decision::NoMatch | Decision::NeedMore { .. } => None,
        }
    }

    #[test]
    fn a_protocol_without_a_route_for_the_host_is_passed_over() {
        let table = table(&["http:a.example", "https:a.example"]);
        assert_eq!(place(&table, b"GET / HTTP/1.1\r\nHost: a.example\r\n\r\n"), Some(0));
        assert_eq!(place(&table, b"GET / HTTP/1.1\r\nHost: b.example\r\n\r\n"), None);
    }

    #[test]
    fn the_most_specific_host_wins_wherever_it_stands() {
        let table =
            table(&["http", "http:*.example", "smtp", "http:a.example", "http:*.a.example"]);
        for (host, expected) in
            [("a.example", 3), ("b.example", 1), ("x.a.example", 4), ("other", 0), ("", 0)]
        {
            let request = format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n");
            assert_eq!(place(&table, request.as_bytes()), Some(expected), "{host}");
        }
        let names: Vec<_> = table.routes(Transport::Tcp).iter().map(|it| it.place()).collect();
        assert_eq!(names, [Some(0), Some(1), Some(3), Some(4), Some(2)]);
    }

    /// A ClientHello for `a.example` that offers these.
    fn hello(alpn: &[&str]) -> Vec<u8> {
        let vector = |bytes: &[u8]| {
            let length = u16::try_from(bytes.len()).expect("a length").to_be_bytes();
            [&length, bytes].concat()
        };
        let names = alpn.iter().flat_map(|name| {
            [&[u8::try_from(name.len()).expect("a length")], name.as_bytes()].concat()
        });
        let name = [&[0, 0][..], &vector(&vector(&[&[0][..], &vector(b"a.example")].concat()))];
        let mut extensions = name.concat();
        if !alpn.is_empty() {
            extensions.extend([0, 16]);
            extensions.extend(vector(&vector(&names.collect::<Vec<u8>>())));
        }
        let body = [&[3, 3], &[0; 32][..], &[0, 0, 2, 0x13, 1, 1, 0], &vector(&extensions)];
        let message = [&[1, 0][..], &vector(&body.concat())].concat();
        [&[0x16, 3, 1][..], &vector(&message)].concat()
    }

    #[test]
    fn the_first_route_whose_alpn_is_offered_wins_then_the_less_specific_host() {
        let mut forwards = ["https:a.example", "https:a.example", "https:*.example", "https"]
            .map(|left| format!("{left}=127.0.0.1:1").parse::<crate::Forward>().expect(left));
        forwards[0].alpn = vec!["acme-tls/1".into()];
        forwards[1].alpn = vec!["h2".into(), "h3".into()];
        let routes = Routes { forwards: forwards.into(), ..Routes::default() };
        let table = Table::new(&routes, &Protocols::default()).expect("a table");
        for (alpn, expected) in
            [(&["h2", "acme-tls/1"][..], 0), (&["http/1.1", "h3"], 1), (&["http/1.1"], 2), (&[], 2)]
        {
            assert_eq!(place(&table, &hello(alpn)), Some(expected), "{alpn:?}");
        }
        // Nothing is decided before the offer is known.
        let whole = hello(&["h2"]);
        for end in 6..whole.len() {
            let opening = Opening::stream(&whole[..end]);
            let decision = table.decide(&opening, &mut Scratch::new());
            assert!(matches!(decision, Decision::NeedMore { .. }), "{end}");
        }
    }

    #[test]
    fn a_host_that_never_comes_is_absent() {
        let table = table(&["http:a.example", "http"]);
        assert_eq!(place(&table, b"GET / HTTP/1.1\r\nX: y\r\n"), Some(1));
    }
}
