use super::*;
use crate::protocols::Protocols;
use crate::table::Routes;

fn table(forwards: &[&str]) -> Table {
    let mut protocols = Protocols::default();
    for name in ["one", "two", "three"] {
        protocols.add(
            crate::magic::Magic::new(name, &[Transport::Tcp], [name.as_bytes().to_vec()])
                .expect("sound"),
        );
    }
    let forwards = forwards.iter().map(|it| it.parse().expect("a forward")).collect();
    Table::new(&Routes { forwards, ..Routes::default() }, &protocols).expect("a table")
}

fn decide(book: &Book, route: &Route) {
    let page = book.owner.page(route).or_else(|| book.page(route)).expect("a page");
    page.decided((By::Verdict, &Duration::ZERO), 3);
}

fn decided(book: &Book, at: usize) -> (String, u64) {
    let (_, page) = book.now.get(at).expect("a page");
    (page.counts.label.clone(), page.counts.decided.sum())
}

/// A route that stays counts on, one that is gone as long as something goes on on it, a new one from nothing.
#[test]
fn counts_outlive_a_reload_with_their_route() {
    let before = table(&["one=127.0.0.1:1", "two=127.0.0.1:2"]);
    let book = Book::default().turned(&before);
    let [one, two] = [0, 1].map(|at| Arc::clone(before.routes(Transport::Tcp)[at]));
    decide(&book, &one);
    decide(&book, &two);
    let after = table(&["three=127.0.0.1:3", "one=127.0.0.1:4"]);
    let turned = book.turned(&after);
    let known = |at: usize| Arc::clone(after.routes(Transport::Tcp)[at]);
    assert_eq!(decided(&turned, 0), ("three".to_owned(), 0));
    assert_eq!(decided(&turned, 1), ("one".to_owned(), 1));
    decide(&turned, &one);
    decide(&turned, &known(1));
    assert_eq!(decided(&turned, 1), ("one".to_owned(), 3));
    decide(&turned, &two);
    let (_, old) = book.now.get(1).expect("a page");
    assert_eq!(old.counts.decided.sum(), 2, "what goes on on it is counted");
    let page = Arc::downgrade(book.owner.page(&two).expect("a page"));
    drop((before, book, one, two));
    assert!(page.upgrade().is_none(), "and then it is forgotten");
}

/// Each observer has its own counts, also where another has taken the room at the route.
#[test]
fn two_that_look_at_one_engine_count_alike() {
    let before = table(&["one=127.0.0.1:1"]);
    let route = Arc::clone(before.routes(Transport::Tcp)[0]);
    let [first, second] = [(); 2].map(|()| Book::default().turned(&before));
    decide(&first, &route);
    decide(&first, &route);
    decide(&second, &route);
    assert_eq!([&first, &second].map(|book| decided(book, 0).1), [2, 1]);
    let again = first.turned(&before);
    decide(&again, &route);
    assert_eq!(decided(&again, 0).1, 3, "a plan that is told again changes nothing");
    assert_eq!(second.pages.len(), 1);
    let after = table(&["two=127.0.0.1:2"]);
    let later = second.turned(&after);
    assert_eq!(later.pages.len(), 1, "something may still go on on the route");
    drop((before, route, first, second, again));
    assert!(later.turned(&after).pages.is_empty());
}

/// Labels are short, so that two routes may have the same.
#[test]
fn every_route_has_a_label_of_its_own() {
    let mut protocols = Protocols::default();
    protocols.add(Named);
    let forward = |second: &str| {
        let mut forward: crate::Forward = "named:a.example=127.0.0.1:1".parse().expect("a forward");
        forward.hosts.push(second.parse().expect("a host"));
        forward.alpn = vec!["x".to_owned(), second.to_owned()];
        forward
    };
    let forwards = vec![forward("b.example"), forward("c.example")];
    let table = Table::new(&Routes { forwards, ..Routes::default() }, &protocols).expect("a table");
    let book = Book::default().turned(&table);
    assert_ne!(decided(&book, 0).0, decided(&book, 1).0);
}

struct Named;

impl refractium_protocol::RefractiumProtocol for Named {
    fn name(&self) -> &str {
        "named"
    }

    fn transports(&self) -> &[Transport] {
        &[Transport::Tcp]
    }

    fn identify(&self, _: &refractium_protocol::Opening<'_>) -> refractium_protocol::Verdict {
        refractium_protocol::Verdict::NeedMore
    }

    fn host_key(&self) -> Option<&str> {
        Some("host")
    }

    fn offers_alpn(&self) -> bool {
        true
    }
}
