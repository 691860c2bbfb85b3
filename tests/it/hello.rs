//! ClientHellos of any kind.

/// A ClientHello in the making (RFC 8446, section 4.1.2).
pub(crate) struct Hello {
    extensions: Vec<u8>,
}

impl Hello {
    pub(crate) fn named(name: &str) -> Self {
        Self::with_names(&[name.as_bytes()])
    }

    /// With a server_name extension that lists these.
    pub(crate) fn with_names(names: &[&[u8]]) -> Self {
        let entry = |name: &&[u8]| [&[0][..], &vector16(name)].concat();
        let list: Vec<u8> = names.iter().flat_map(entry).collect();
        Self::unnamed().with_extension(0, &vector16(&list))
    }

    /// Without a name, but with versions and key exchange groups as a client of today.
    pub(crate) fn unnamed() -> Self {
        let hello = Self { extensions: Vec::new() };
        hello.with_extension(43, &[2, 3, 4]).with_extension(10, &[0, 2, 0, 29])
    }

    /// As long as this, by a padding extension (RFC 7685).
    pub(crate) fn padded(self, length: usize) -> Self {
        let padding = length.saturating_sub(self.extensions.len() + 60);
        self.with_extension(21, &vec![0; padding])
    }

    fn with_extension(mut self, kind: u16, data: &[u8]) -> Self {
        self.extensions.extend(kind.to_be_bytes());
        self.extensions.extend(vector16(data));
        self
    }

    /// In as few records as it fits.
    pub(crate) fn bytes(self) -> Vec<u8> {
        let mut body = vec![3, 3];
        body.extend([7; 32]); // random
        body.extend([0]); // no session
        body.extend([0, 2, 0x13, 0x01]); // one cipher suite
        body.extend([1, 0]); // no compression
        body.extend(vector16(&self.extensions));
        let length = u32::try_from(body.len()).expect("a length").to_be_bytes();
        let message = [&[1], &length[1..], &body].concat();
        records(&message, 1 << 14)
    }
}

fn vector16(bytes: &[u8]) -> Vec<u8> {
    let length = u16::try_from(bytes.len()).expect("a length").to_be_bytes();
    [&length[..], bytes].concat()
}

/// The same handshake message in records of another size (RFC 8446, section 5.1).
pub(crate) fn in_records(hello: &[u8], size: usize) -> Vec<u8> {
    records(&hello[5..], size)
}

fn records(message: &[u8], size: usize) -> Vec<u8> {
    let record = |fragment: &[u8]| [&[0x16, 3, 1][..], &vector16(fragment)].concat();
    message.chunks(size).flat_map(record).collect()
}
