use crate::{define_protocol, prefix};

define_protocol! {
    /// SSH, by its identification string `SSH-protoversion-softwareversion` (RFC 4253, section 4.2).
    ///
    /// Four bytes decide. Most clients send it at once; an old one that waits for the server's string first needs
    /// `server_first` on its route.
    pub struct Ssh;
    name: "ssh",
    transports: [Tcp],
    identify: |opening| prefix(opening.bytes, b"SSH-"),
}
