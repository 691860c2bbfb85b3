//! What readers and writers of headers have in common.

/// How a header of version 2 begins.
pub(super) const SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";

/// How a header of version 1 begins.
pub(super) const LINE: &[u8; 6] = b"PROXY ";

/// Signature, version and command, family and transport, and the length of the rest.
pub(super) const FIXED: usize = 16;

/// Version 2, with the client's address.
pub(super) const PROXY: u8 = 0x21;
