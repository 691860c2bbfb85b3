//! A ClientHello (RFC 8446, section 4.1.2) in its parts: taken apart, changed, and put together again.

use refractium_protocol::Reader;

pub(crate) const SERVER_NAME: u16 = 0;
pub(crate) const ALPN: u16 = 16;
pub(crate) const KEY_SHARE: u16 = 51;

/// The parts that tests change; the vectors are without their lengths.
#[derive(Clone, Debug)]
pub(crate) struct Hello {
    pub(crate) version_and_random: Vec<u8>,
    pub(crate) session: Vec<u8>,
    pub(crate) ciphers: Vec<u8>,
    pub(crate) compressions: Vec<u8>,
    /// `None`: not even the length of the extensions is there.
    pub(crate) extensions: Option<Vec<(u16, Vec<u8>)>>,
}

impl Hello {
    /// A small sound hello with these extensions.
    pub(crate) fn with(extensions: Vec<(u16, Vec<u8>)>) -> Self {
        Self {
            version_and_random: [&[3, 3][..], &[7; 32]].concat(),
            session: vec![9; 32],
            ciphers: vec![0x13, 0x01, 0xc0, 0x2f],
            compressions: vec![0],
            extensions: Some(extensions),
        }
    }

    /// Takes a captured hello apart.
    pub(crate) fn parse(stream: &[u8]) -> Self {
        let message = message(stream);
        let mut reader = Reader::new(&message[4..]);
        let version_and_random = reader.array::<34>().unwrap().to_vec();
        let session = reader.vector8().unwrap().rest().to_vec();
        let ciphers = reader.vector16().unwrap().rest().to_vec();
        let compressions = reader.vector8().unwrap().rest().to_vec();
        let extensions = (!reader.is_empty()).then(|| {
            let mut list = reader.vector16().unwrap();
            let mut extensions = Vec::new();
            while !list.is_empty() {
                let kind = list.u16().unwrap();
                extensions.push((kind, list.vector16().unwrap().rest().to_vec()));
            }
            extensions
        });
        Self { version_and_random, session, ciphers, compressions, extensions }
    }

    pub(crate) fn extensions(&mut self) -> &mut Vec<(u16, Vec<u8>)> {
        self.extensions.get_or_insert_default()
    }

    /// The handshake message, with its header.
    pub(crate) fn message(&self) -> Vec<u8> {
        let mut body = self.version_and_random.clone();
        body.extend(vector8(&self.session));
        body.extend(vector16(&self.ciphers));
        body.extend(vector8(&self.compressions));
        if let Some(extensions) = &self.extensions {
            let list: Vec<_> = extensions
                .iter()
                .flat_map(|(kind, data)| [kind.to_be_bytes().to_vec(), vector16(data)].concat())
                .collect();
            body.extend(vector16(&list));
        }
        handshake(&body)
    }

    /// The message in one record.
    pub(crate) fn stream(&self) -> Vec<u8> {
        record(&self.message())
    }
}

/// A ClientHello message around a body.
pub(crate) fn handshake(body: &[u8]) -> Vec<u8> {
    let [_, length @ ..] = u32::try_from(body.len()).unwrap().to_be_bytes();
    [&[1], &length[..], body].concat()
}

/// One handshake record.
pub(crate) fn record(fragment: &[u8]) -> Vec<u8> {
    [&[0x16, 3, 1], &vector16(fragment)[..]].concat()
}

/// A message in records of these sizes, over and over.
pub(crate) fn records(message: &[u8], sizes: impl IntoIterator<Item = usize>) -> Vec<u8> {
    let mut rest = message;
    let mut stream = Vec::new();
    for size in sizes {
        let (fragment, after) = rest.split_at(size.min(rest.len()));
        stream.extend(record(fragment));
        rest = after;
        if rest.is_empty() {
            break;
        }
    }
    stream
}

/// The handshake bytes of a stream of whole records.
pub(crate) fn message(stream: &[u8]) -> Vec<u8> {
    let mut reader = Reader::new(stream);
    let mut message = Vec::new();
    while !reader.is_empty() {
        assert_eq!(reader.array::<3>().unwrap()[..2], [0x16, 3], "a handshake record");
        message.extend(reader.vector16().unwrap().rest());
    }
    message
}

pub(crate) fn vector8(bytes: &[u8]) -> Vec<u8> {
    [&[u8::try_from(bytes.len()).unwrap()], bytes].concat()
}

pub(crate) fn vector16(bytes: &[u8]) -> Vec<u8> {
    [&u16::try_from(bytes.len()).unwrap().to_be_bytes(), bytes].concat()
}

/// `server_name` with this name (RFC 6066, section 3).
pub(crate) fn server_name(name: &[u8]) -> (u16, Vec<u8>) {
    (SERVER_NAME, vector16(&[&[0], &vector16(name)[..]].concat()))
}

/// `application_layer_protocol_negotiation` with these names (RFC 7301, section 3.1).
pub(crate) fn alpn(names: &[&[u8]]) -> (u16, Vec<u8>) {
    (ALPN, vector16(&names.iter().flat_map(|name| vector8(name)).collect::<Vec<_>>()))
}
