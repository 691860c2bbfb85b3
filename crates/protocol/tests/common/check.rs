//! The laws of the crate as checks on any bytes. `tests/laws.rs`, `tests/replay.rs` and the fuzz target `identify` all
//! call these.

use std::ops::Range;

use refractium_protocol::{Fact, Facts, Opening, RefractiumProtocol, Scratch, Verdict};

/// Everything one protocol says of one opening, free of its bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) verdict: Verdict,
    /// Of the protocol that matched only: nobody else is asked.
    pub(crate) told: Option<Told>,
}

/// [`Facts`] that outlive the opening.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Told {
    pub(crate) host: Fact<Vec<u8>>,
    pub(crate) alpn: Fact<Vec<Vec<u8>>>,
    pub(crate) ech: bool,
    pub(crate) malformed: bool,
}

/// Asks one protocol. What it tells must lie in the opening or in the scratch, whatever the scratch held before.
pub(crate) fn ask(
    protocol: &dyn RefractiumProtocol,
    opening: &Opening<'_>,
    scratch: &mut Scratch,
) -> Answer {
    let verdict = protocol.identify(opening);
    let told = (verdict == Verdict::Match).then(|| {
        let sources = [addresses(opening.bytes), addresses(std::slice::from_ref(scratch))];
        Told::new(&protocol.facts(opening, scratch), &sources)
    });
    Answer { verdict, told }
}

fn addresses<T>(slice: &[T]) -> Range<usize> {
    let Range { start, end } = slice.as_ptr_range();
    start.addr()..end.addr()
}

impl Told {
    fn new(facts: &Facts<'_>, sources: &[Range<usize>]) -> Self {
        let owned = |value: &[u8]| {
            let Range { start, end } = addresses(value);
            let inside = sources.iter().any(|source| source.start <= start && end <= source.end);
            assert!(inside, "a fact that is neither in the opening nor in the scratch");
            value.to_vec()
        };
        Self {
            host: map(facts.host, owned),
            alpn: map(facts.alpn, |list| list.iter().map(owned).collect()),
            ech: facts.ech,
            malformed: facts.malformed,
        }
    }

    fn settled(&self) -> bool {
        self.host != Fact::NeedMore && self.alpn != Fact::NeedMore
    }
}

fn map<T, U>(fact: Fact<T>, change: impl FnOnce(T) -> U) -> Fact<U> {
    match fact {
        Fact::Known(value) => Fact::Known(change(value)),
        Fact::Absent => Fact::Absent,
        Fact::NeedMore => Fact::NeedMore,
    }
}

/// Law 1 between an opening and a longer or ended one: what was final stays.
fn keeps(earlier: &Answer, later: &Answer) -> bool {
    if earlier.verdict == Verdict::NeedMore {
        return true;
    }
    earlier.verdict == later.verdict
        && match (&earlier.told, &later.told) {
            (Some(earlier), Some(later)) if earlier.settled() => earlier == later,
            (Some(earlier), Some(later)) => {
                stays(&earlier.host, &later.host) && stays(&earlier.alpn, &later.alpn)
            }
            _ => true,
        }
}

fn stays<T: PartialEq>(earlier: &Fact<T>, later: &Fact<T>) -> bool {
    *earlier == Fact::NeedMore || earlier == later
}

/// Holds one protocol to the laws over openings that grow: each is a beginning of the next.
fn check_growth<'a>(
    protocol: &dyn RefractiumProtocol,
    openings: impl IntoIterator<Item = Opening<'a>>,
) {
    let name = protocol.name();
    let mut scratch = Scratch::new();
    let mut earlier: Option<Answer> = None;
    for opening in openings {
        let length = opening.bytes.len();
        let answer = ask(protocol, &opening, &mut scratch);
        if let Some(earlier) = &earlier {
            assert!(
                keeps(earlier, &answer),
                "{name}, {length} bytes: {earlier:?}, then {answer:?}"
            );
        }
        let ended = ask(protocol, &opening.ended(), &mut scratch);
        assert!(keeps(&answer, &ended), "{name}, {length} bytes: {answer:?}, then ended {ended:?}");
        earlier = Some(answer);
    }
}

/// Holds one protocol to the laws on a stream that arrives in pieces; `ends` says where they end, in order.
pub(crate) fn check_stream(
    protocol: &dyn RefractiumProtocol,
    bytes: &[u8],
    ends: impl IntoIterator<Item = usize>,
) {
    check_growth(protocol, ends.into_iter().map(|end| Opening::stream(&bytes[..end])));
}

/// Holds one protocol to the laws on datagrams that arrive one by one.
pub(crate) fn check_datagrams(protocol: &dyn RefractiumProtocol, bytes: &[u8], ends: &[usize]) {
    let arrived = ends.iter().enumerate();
    check_growth(
        protocol,
        arrived.map(|(index, &end)| Opening {
            bytes: &bytes[..end],
            ends: &ends[..=index],
            ended: false,
        }),
    );
}
