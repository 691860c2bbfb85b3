use crate::{Opening, Reader, RefractiumProtocol, Short, Transport, Verdict};

/// DNS over UDP: one whole, well-formed query, NOTIFY or UPDATE (RFC 1035, section 4.1; RFC 1996; RFC 2136).
///
/// Header bits alone would take QUIC, STUN, NTP and much else for DNS, so everything is looked at: one question with
/// sound labels and class, and records that end where the datagram ends.
#[derive(Clone, Copy, Debug, Default)]
pub struct Dns;

/// By operation, how many answers, authorities and additional records there may be; `None`: it is no request over UDP.
const MOST: [Option<[u16; 3]>; 6] = [
    Some([0, 1, 2]), // QUERY; IXFR sends its SOA
    None,
    None,
    None,
    Some([1, 0, 2]),     // NOTIFY
    Some([u16::MAX; 3]), // UPDATE
];

impl RefractiumProtocol for Dns {
    fn name(&self) -> &str {
        "dns"
    }

    fn transports(&self) -> &[Transport] {
        &[Transport::Udp]
    }

    fn identify(&self, opening: &Opening<'_>) -> Verdict {
        match message(opening.first_datagram()) {
            Ok(()) => Verdict::Match,
            Err(Short) => Verdict::NoMatch,
        }
    }

    fn responses(&self) -> Option<u32> {
        Some(1)
    }
}

fn message(datagram: &[u8]) -> Result<(), Short> {
    let mut reader = Reader::new(datagram);
    let [_, _, flags @ .., q0, q1, an0, an1, ns0, ns1, ar0, ar1] = reader.array::<12>()?;
    let flags = u16::from_be_bytes(flags);
    let (questions, answers) = (u16::from_be_bytes([q0, q1]), u16::from_be_bytes([an0, an1]));
    let (authorities, additionals) =
        (u16::from_be_bytes([ns0, ns1]), u16::from_be_bytes([ar0, ar1]));
    // QR, TC, RA, Z and RCODE are zero in every request; AA may be set in a NOTIFY.
    let operation = usize::from(flags >> 11 & 0xf);
    let [most_answers, most_authorities, most_additionals] =
        MOST.get(operation).copied().flatten().ok_or(Short)?;
    let counts_fit = answers <= most_answers
        && authorities <= most_authorities
        && additionals <= most_additionals;
    if flags & 0x82cf != 0 || questions != 1 || !counts_fit {
        return Err(Short);
    }
    name(&mut reader, Pointers::Refused)?;
    // Internet, Chaos, Hesiod, none (RFC 2136, section 2.4), any; the top bit is mDNS's wish for a unicast answer and
    // not taken.
    let [_, _, class @ ..] = reader.array::<4>()?;
    if !matches!(u16::from_be_bytes(class), 1 | 3 | 4 | 254 | 255) {
        return Err(Short);
    }
    let records = u32::from(answers) + u32::from(authorities) + u32::from(additionals);
    for _ in 0..records {
        record(&mut reader)?;
    }
    if reader.is_empty() { Ok(()) } else { Err(Short) }
}

/// A resource record (RFC 1035, section 4.1.3).
fn record(reader: &mut Reader<'_>) -> Result<(), Short> {
    name(reader, Pointers::Taken)?;
    let [_kind_class_ttl @ .., high, low] = reader.array::<10>()?;
    reader.take(u16::from_be_bytes([high, low]).into()).map(drop)
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Pointers {
    Taken,
    Refused,
}

/// Labels of at most 63 bytes, 255 in all, ended by the root or, in a record, by a pointer (RFC 1035, section 4.1.4).
fn name(reader: &mut Reader<'_>, pointers: Pointers) -> Result<(), Short> {
    let before = reader.rest().len();
    let end = loop {
        match reader.u8()? {
            label @ 1..=63 => reader.take(label.into())?,
            end => break end,
        };
    };
    match end {
        _ if before - reader.rest().len() > 255 => Err(Short),
        0 => Ok(()),
        0xc0.. if pointers == Pointers::Taken => reader.u8().map(drop),
        _ => Err(Short),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADER: &[u8] = &[0xab, 0xcd, 0x01, 0x00, 0, 1, 0, 0, 0, 0, 0, 0];
    const QUESTION: &[u8] = b"\x07example\x00\x00\x01\x00\x01";

    fn verdict(parts: &[&[u8]]) -> Verdict {
        Dns.identify(&Opening::stream(&parts.concat()))
    }

    #[test]
    fn a_whole_query_matches_and_any_cut_does_not() {
        assert_eq!(verdict(&[HEADER, QUESTION]), Verdict::Match);
        let whole = [HEADER, QUESTION].concat();
        for end in 0..whole.len() {
            assert_eq!(verdict(&[&whole[..end]]), Verdict::NoMatch);
        }
        assert_eq!(verdict(&[HEADER, QUESTION, b"\0"]), Verdict::NoMatch);
    }

    #[test]
    fn edns_notify_and_update_match() {
        let with = |flags: u8, counts: [u8; 3]| {
            let [an, ns, ar] = counts;
            [0, 1, flags, 0, 0, 1, 0, an, 0, ns, 0, ar]
        };
        let opt = b"\0\0\x29\x10\0\0\0\0\0\0\0";
        let by_pointer = b"\xc0\x0c\0\x06\0\x01\0\0\0\0\0\0";
        assert_eq!(verdict(&[&with(0x01, [0, 0, 1]), QUESTION, opt]), Verdict::Match);
        assert_eq!(verdict(&[&with(0x24, [1, 0, 0]), QUESTION, by_pointer]), Verdict::Match);
        assert_eq!(
            verdict(&[&with(0x28, [0, 2, 0]), QUESTION, by_pointer, by_pointer]),
            Verdict::Match
        );
        assert_eq!(verdict(&[&with(0x01, [0, 0, 1]), QUESTION]), Verdict::NoMatch);
        let labels_then_pointer = [&[63; 64][..], &[63; 64], &by_pointer[..]].concat();
        assert_eq!(
            verdict(&[&with(0x28, [0, 1, 0]), QUESTION, &labels_then_pointer]),
            Verdict::Match
        );
    }

    #[test]
    fn responses_and_oddities_do_not() {
        for flags in [0x8000u16, 0x0200, 0x0080, 0x0040, 0x0001, 0x0800, 0x7800] {
            let [high, low] = flags.to_be_bytes();
            let header = [0, 1, high, low, 0, 1, 0, 0, 0, 0, 0, 0];
            assert_eq!(verdict(&[&header, QUESTION]), Verdict::NoMatch, "{flags:04x}");
        }
        assert_eq!(verdict(&[HEADER, b"\xc0\x0c\0\x01\0\x01"]), Verdict::NoMatch);
        assert_eq!(verdict(&[HEADER, b"\x01a\x00\x00\x01\x00\x02"]), Verdict::NoMatch);
        assert_eq!(verdict(&[HEADER, &[63; 256], b"\0\0\x01\0\x01"]), Verdict::NoMatch);
        let longest = [&[63; 192][..], &[61; 62], b"\0\0\x01\0\x01"].concat();
        assert_eq!(verdict(&[HEADER, &longest]), Verdict::Match);
        let too_long = [&[63; 192][..], &[62; 63], b"\0\0\x01\0\x01"].concat();
        assert_eq!(verdict(&[HEADER, &too_long]), Verdict::NoMatch);
    }
}
