/// A cursor over bytes that are still arriving.
///
/// Every step that would pass the end gives [`Short`]: on bytes still coming in that *is* "need more", inside a message
/// whose length is known it is "malformed". A nested length becomes a [`Reader`] of its own, so that an inner length
/// cannot leave its outer one.
#[derive(Clone, Copy, Debug)]
pub struct Reader<'a> {
    rest: &'a [u8],
}

/// There were fewer bytes than asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Short;

impl<'a> Reader<'a> {
    /// Starts at the first byte.
    pub const fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// What has not been read yet.
    pub const fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// Whether everything has been read.
    pub const fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// Takes the next `length` bytes.
    #[inline]
    pub fn take(&mut self, length: usize) -> Result<&'a [u8], Short> {
        let (taken, rest) = self.rest.split_at_checked(length).ok_or(Short)?;
        self.rest = rest;
        Ok(taken)
    }

    /// Takes the next `N` bytes as an array.
    #[inline]
    pub fn array<const N: usize>(&mut self) -> Result<[u8; N], Short> {
        let (taken, rest) = self.rest.split_first_chunk::<N>().ok_or(Short)?;
        self.rest = rest;
        Ok(*taken)
    }

    /// Takes one byte.
    #[inline]
    pub fn u8(&mut self) -> Result<u8, Short> {
        self.array::<1>().map(u8::from_be_bytes)
    }

    /// Takes a big-endian 16-bit number.
    #[inline]
    pub fn u16(&mut self) -> Result<u16, Short> {
        self.array::<2>().map(u16::from_be_bytes)
    }

    /// Takes a big-endian 24-bit number.
    #[inline]
    pub fn u24(&mut self) -> Result<u32, Short> {
        let [high, middle, low] = self.array::<3>()?;
        Ok(u32::from_be_bytes([0, high, middle, low]))
    }

    /// Takes a vector behind its 8-bit length.
    #[inline]
    pub fn vector8(&mut self) -> Result<Self, Short> {
        let length = self.u8()?;
        self.take(length.into()).map(Self::new)
    }

    /// Takes a vector behind its 16-bit length.
    #[inline]
    pub fn vector16(&mut self) -> Result<Self, Short> {
        let length = self.u16()?;
        self.take(length.into()).map(Self::new)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn running_out_is_short_and_takes_nothing() {
        let mut reader = Reader::new(&[1, 2, 3]);
        assert_eq!(reader.u16(), Ok(0x0102));
        assert_eq!(reader.u16(), Err(Short));
        assert_eq!(reader.u8(), Ok(3));
        assert!(reader.is_empty());
    }

    #[test]
    fn an_inner_length_cannot_leave_its_outer_one() {
        let mut outer = Reader::new(&[2, 9, 9, 7]);
        let mut inner = outer.vector8().expect("two bytes");
        assert_eq!(inner.take(3), Err(Short));
        assert_eq!(outer.rest(), &[7]);
    }
}
