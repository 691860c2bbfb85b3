use crate::{Opening, RefractiumProtocol, Scratch, Transport, Verdict, prefix};

/// SSH, by its identification string `SSH-protoversion-softwareversion` (RFC 4253, section 4.2).
///
/// Four bytes decide. Most clients send it at once; an old one that waits for the server's string first needs
/// `server_first` on its route.
#[derive(Clone, Copy, Debug, Default)]
pub struct Ssh;

impl RefractiumProtocol for Ssh {
    fn name(&self) -> &str {
        "ssh"
    }

    fn transports(&self) -> &[Transport] {
        &[Transport::Tcp]
    }

    fn identify(&self, opening: &Opening<'_>) -> Verdict {
        prefix(opening.bytes, b"SSH-")
    }

    fn rests(&self) -> bool {
        true
    }

    fn version<'a>(&self, opening: &Opening<'a>, _: &'a mut Scratch) -> Option<&'a [u8]> {
        let rest = opening.bytes.strip_prefix(b"SSH-")?;
        rest.iter().position(|&byte| byte == b'-').and_then(|end| rest.get(..end))
    }
}
