//! Row X6: what version 2 says besides addresses, read back.

use super::*;

/// The types of a header of version 2 that fills its length exactly, with their values.
fn types(header: &[u8]) -> Option<Vec<(u8, Vec<u8>)>> {
    let length = usize::from(u16::from_be_bytes([*header.get(14)?, *header.get(15)?]));
    let addresses = if header.get(13)? & 0xf0 == 0x10 { 12 } else { 36 };
    let mut rest = header.get(16..).filter(|body| body.len() == length)?.get(addresses..)?;
    let mut types = Vec::new();
    while let [kind, high, low, behind @ ..] = rest {
        let length = usize::from(u16::from_be_bytes([*high, *low]));
        types.push((*kind, behind.get(..length)?.to_vec()));
        rest = &behind[length..];
    }
    rest.is_empty().then_some(types)
}

/// What is written is what was to be said, or, where it does not fit, nothing of it; and the length is right.
fn is_told_whole(
    client: SocketAddr,
    local: SocketAddr,
    host: &[u8],
    names: &[Vec<u8>],
) -> Result<(), TestCaseError> {
    let length = |name: &Vec<u8>| u8::try_from(name.len()).expect("short");
    let list: Vec<u8> = names.iter().flat_map(|it| [&[length(it)][..], it].concat()).collect();
    let mut facts = Facts::with_host(Fact::Known(host));
    facts.alpn = Fact::Known(AlpnList::new(&list).expect("a list"));
    let bytes =
        header(ProxyProtocol::V2, &Told { client, local, transport: Transport::Tcp, facts });
    prop_assert!(bytes.len() <= LONGEST);
    let known = Heard::Header { length: bytes.len(), client: Some(client) };
    prop_assert_eq!(read(&bytes), known);
    let list_length = u16::try_from(list.len()).expect("short").to_be_bytes();
    let said = [
        (TYPE_AUTHORITY, host.to_vec(), !host.is_empty() && str::from_utf8(host).is_ok()),
        (TYPE_ALPN, [&list_length[..], &list].concat(), true),
    ];
    let types = types(&bytes).expect("types that fill it");
    let left = LONGEST - bytes.len();
    for (kind, value, may_be) in said {
        match types.iter().find(|(it, _)| *it == kind) {
            Some((_, told)) => prop_assert!(may_be && *told == value),
            None => prop_assert!(!may_be || left < 3 + value.len()),
        }
    }
    Ok(())
}

/// From 1 to 50 names of application protocols.
fn names() -> impl Strategy<Value = Vec<Vec<u8>>> {
    let name = (1..=255_usize, any::<u8>()).prop_map(|(length, byte)| vec![byte; length]);
    prop::collection::vec(name, 1..=50)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    #[test]
    fn what_is_told_is_told_whole(
        client in address(), local in address(), host in "[a-z.]{0,300}", names in names(), fewer in 1..4_usize,
    ) {
        is_told_whole(client, local, host.as_bytes(), &names)?;
        is_told_whole(client, local, host.as_bytes(), &names[..fewer.min(names.len())])?;
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(50_000))]

    #[test]
    #[ignore = "deep: a hundred thousand headers"]
    fn a_hundred_thousand_are_told_whole(
        client in address(), local in address(), host in "[a-z.]{0,300}", names in names(), fewer in 1..4_usize,
    ) {
        is_told_whole(client, local, host.as_bytes(), &names)?;
        is_told_whole(client, local, host.as_bytes(), &names[..fewer.min(names.len())])?;
    }
}
