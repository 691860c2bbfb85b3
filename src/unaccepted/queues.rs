//! What listening sockets dropped because their queue was full, as the kernel tells it (sock_diag(7)).
//!
//! `ListenOverflows` of /proc/net/netstat is that of a whole network namespace; this is that of each socket.

use std::collections::HashMap;
use std::io;

use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, netlink, recv, send, socket_with,
};

/// How many packets each listening TCP socket of this network namespace has dropped, by its number.
pub(super) fn dropped() -> io::Result<HashMap<u64, u64>> {
    let (kind, flags) = (SocketType::DGRAM, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK);
    let socket = socket_with(AddressFamily::NETLINK, kind, flags, Some(netlink::SOCK_DIAG))?;
    let mut all = HashMap::new();
    let mut answer = vec![0; ANSWER];
    for family in [AddressFamily::INET, AddressFamily::INET6] {
        send(&socket, &question(family), SendFlags::empty())?;
        // The kernel answers as it is asked: there is never anything to wait for.
        loop {
            let (length, _) = recv(&socket, answer.as_mut_slice(), RecvFlags::empty())?;
            if read(answer.get(..length).unwrap_or_default(), &mut all)? == Rest::None {
                break;
            }
        }
    }
    Ok(all)
}

/// Whether the kernel has more to say.
#[derive(Debug, PartialEq, Eq)]
enum Rest {
    More,
    None,
}

/// As much as the kernel gives at a time (netlink(7) advises 8 KiB at least).
const ANSWER: usize = 32 * 1024;

/// A header of 16 bytes and `inet_diag_req_v2` of 56.
const QUESTION: u32 = 72;

/// SOCK_DIAG_BY_FAMILY, and NLM_F_REQUEST with NLM_F_DUMP.
const BY_FAMILY: u16 = 20;
const DUMP: u16 = 0x301;

const IPPROTO_TCP: u8 = 6;

/// One bit for each state: TCP_LISTEN is 10.
const LISTENING: u32 = 1 << 10;

/// Asks for INET_DIAG_SKMEMINFO, which is 7.
const MEMINFO: u16 = 7;
const WITH_MEMINFO: u8 = 1 << (MEMINFO - 1);

/// Of `inet_diag_msg`, behind the header of 16 bytes: the socket's number, and where attributes begin.
const INODE: usize = 16 + 68;
const ATTRIBUTES: usize = 16 + 72;

/// SK_MEMINFO_DROPS is the ninth number of the attribute, behind the attribute's own four bytes.
const DROPS: usize = 4 + 8 * 4;

/// NLMSG_ERROR and NLMSG_DONE.
const ERROR: u16 = 2;
const DONE: u16 = 3;

/// All listening TCP sockets of a family.
fn question(family: AddressFamily) -> Vec<u8> {
    let mut bytes = Vec::new();
    bytes.extend(QUESTION.to_ne_bytes());
    bytes.extend(BY_FAMILY.to_ne_bytes());
    bytes.extend(DUMP.to_ne_bytes());
    bytes.extend([0; 8]); // sequence and sender: nobody else asks on this socket
    let [_, family] = family.as_raw().to_be_bytes();
    bytes.extend([family, IPPROTO_TCP, WITH_MEMINFO, 0]);
    bytes.extend(LISTENING.to_ne_bytes());
    bytes.resize(72, 0); // any addresses
    bytes
}

/// Reads the messages of one answer.
fn read(mut answer: &[u8], all: &mut HashMap<u64, u64>) -> io::Result<Rest> {
    while let Some(length) = number(answer, 0).and_then(|it| usize::try_from(it).ok()) {
        match short(answer, 4) {
            Some(DONE) => return Ok(Rest::None),
            Some(ERROR) => return Err(io::ErrorKind::Unsupported.into()),
            _ => {}
        }
        let message = answer.get(..length).unwrap_or_default();
        if let Some((inode, drops)) = number(message, INODE).zip(drops(message)) {
            all.insert(u64::from(inode), u64::from(drops));
        }
        answer = answer.get(aligned(length)..).unwrap_or_default();
    }
    Ok(Rest::More)
}

/// What the attribute with the socket's memory says of packets that were dropped.
fn drops(message: &[u8]) -> Option<u32> {
    let mut rest = message.get(ATTRIBUTES..)?;
    loop {
        let length = usize::from(short(rest, 0)?);
        if short(rest, 2)? == MEMINFO {
            return number(rest.get(..length)?, DROPS);
        }
        // One that has no length would come for ever.
        rest = rest.get(aligned(length.max(4))..)?;
    }
}

/// Messages and attributes begin at multiples of four.
fn aligned(length: usize) -> usize {
    length.max(1).next_multiple_of(4)
}

fn number(bytes: &[u8], at: usize) -> Option<u32> {
    let bytes = bytes.get(at..)?.first_chunk()?;
    Some(u32::from_ne_bytes(*bytes))
}

fn short(bytes: &[u8], at: usize) -> Option<u16> {
    let bytes = bytes.get(at..)?.first_chunk()?;
    Some(u16::from_ne_bytes(*bytes))
}
