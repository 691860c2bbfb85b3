//! What clients send first: openings of real clients, each with a number of its own in it.
//!
//! The number (the seed of the connection) makes every opening different, so that a backend that got another
//! connection's opening would notice. The length is the same for every opening of a kind.

use std::ops::Range;

use anyhow::{Context, Result, bail};

/// curl with OpenSSL 3, SNI `a.example`, padded to 517 bytes.
const HELLO: &[u8] = include_bytes!("../../crates/protocol/tests/openings/https/curl-http11.bin");
/// Chromium with X25519MLKEM768 and GREASE ECH, SNI `a.example`.
const BIG_HELLO: &[u8] =
    include_bytes!("../../crates/protocol/tests/openings/https/chromium-post-quantum.bin");

/// `random` of the ClientHello (RFC 8446, 4.1.2) starts after the record's and the handshake's header and the version;
/// eight of its 32 bytes carry the seed.
const RANDOM: Range<usize> = 11..19;
/// A record's header; its last two bytes tell what follows.
const RECORD_HEADER: usize = 5;

/// What the backend is to do on a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Task {
    /// Answer with 64 bytes, then wait for the end.
    Greet,
    /// Answer each message of 64 bytes with this many.
    Answer(u64),
    /// Send this many bytes, then end.
    Pull(u64),
    /// Take this many bytes, then confirm.
    Push(u64),
    /// Take `BEFORE_END` bytes and the end, and only then send this many.
    Half(u64),
}

/// Bytes a client sends before it ends its side, where half-close is tried.
pub(crate) const BEFORE_END: u64 = 64 * 1024;

/// Length of the confirmations and of the messages, in bytes.
pub(crate) const MESSAGE: usize = 64;

/// The opening of an HTTP client, with what the backend is to do.
pub(crate) fn http(task: Task, seed: u64) -> Vec<u8> {
    let (word, bytes) = match task {
        Task::Greet => ("greet", 0),
        Task::Answer(bytes) => ("reply", bytes),
        Task::Pull(bytes) => ("pulls", bytes),
        Task::Push(bytes) => ("pushs", bytes),
        Task::Half(bytes) => ("halfs", bytes),
    };
    format!(
        "GET /{word}/{seed:016x}/{bytes:016x} HTTP/1.1\r\nHost: bench.example\r\n\
         User-Agent: refractium-bench\r\nAccept: */*\r\n\r\n"
    )
    .into_bytes()
}

/// Reads what `http` wrote; an opening that differs in any byte is an error.
pub(crate) fn read_http(opening: &[u8]) -> Result<(Task, u64)> {
    let text = std::str::from_utf8(opening).context("an HTTP opening that is not text")?;
    let mut parts = text.split(['/', ' ']).skip(2);
    let word = parts.next().context("an HTTP opening without a task")?;
    let mut number = || {
        let digits = parts.next().context("an HTTP opening without its numbers")?;
        u64::from_str_radix(digits, 16).context("a number of an HTTP opening")
    };
    let (seed, bytes) = (number()?, number()?);
    let task = match word {
        "greet" => Task::Greet,
        "reply" => Task::Answer(bytes),
        "pulls" => Task::Pull(bytes),
        "pushs" => Task::Push(bytes),
        "halfs" => Task::Half(bytes),
        other => bail!("an unknown task {other:?}"),
    };
    if http(task, seed) != opening {
        bail!("an HTTP opening that was changed on its way");
    }
    Ok((task, seed))
}

/// The identification string that an SSH client sends first.
pub(crate) fn ssh(seed: u64) -> Vec<u8> {
    format!("SSH-2.0-OpenSSH_9.2p1 {seed:016x}\r\n").into_bytes()
}

/// Reads what `ssh` wrote; an opening that differs in any byte is an error.
pub(crate) fn read_ssh(opening: &[u8]) -> Result<u64> {
    let digits = opening.rsplit(|byte| *byte == b' ').next().unwrap_or_default();
    let digits = std::str::from_utf8(digits).context("an SSH opening that is not text")?;
    let seed =
        u64::from_str_radix(digits.trim_end(), 16).context("the number of an SSH opening")?;
    if ssh(seed) != opening {
        bail!("an SSH opening that was changed on its way");
    }
    Ok(seed)
}

/// A ClientHello of 517 bytes.
pub(crate) fn tls(seed: u64) -> Vec<u8> {
    seeded(HELLO, seed)
}

/// A ClientHello of 1981 bytes, as browsers with post-quantum key exchange send.
pub(crate) fn tls_big(seed: u64) -> Vec<u8> {
    seeded(BIG_HELLO, seed)
}

/// Reads what `tls` or `tls_big` wrote; an opening that differs in any byte is an error.
pub(crate) fn read_tls(opening: &[u8]) -> Result<u64> {
    let random = opening.get(RANDOM).and_then(|bytes| bytes.try_into().ok());
    let seed = u64::from_be_bytes(random.context("a ClientHello that is too short")?);
    if tls(seed) != opening && tls_big(seed) != opening {
        bail!("a ClientHello that was changed on its way");
    }
    Ok(seed)
}

/// How long an opening is that starts so; nothing if more must be read to know.
pub(crate) fn length(start: &[u8]) -> Option<usize> {
    match start {
        [b'G', ..] => Some(http(Task::Greet, 0).len()),
        [b'S', ..] => Some(ssh(0).len()),
        [_, _, _, high, low, ..] => {
            Some(RECORD_HEADER + usize::from(u16::from_be_bytes([*high, *low])))
        }
        _ => None,
    }
}

fn seeded(hello: &[u8], seed: u64) -> Vec<u8> {
    let mut hello = hello.to_vec();
    if let Some(random) = hello.get_mut(RANDOM) {
        random.copy_from_slice(&seed.to_be_bytes());
    }
    hello
}

#[cfg(test)]
mod tests {
    use super::*;

    const SEED: u64 = 0x0123_4567_89ab_cdef;

    #[test]
    fn an_http_opening_is_read_back() {
        let tasks =
            [Task::Greet, Task::Answer(4096), Task::Pull(1 << 32), Task::Push(7), Task::Half(1)];
        for task in tasks {
            assert_eq!(read_http(&http(task, SEED)).unwrap(), (task, SEED));
        }
    }

    #[test]
    fn the_other_openings_are_read_back() {
        assert_eq!(read_ssh(&ssh(SEED)).unwrap(), SEED);
        assert_eq!(read_tls(&tls(SEED)).unwrap(), SEED);
        assert_eq!(read_tls(&tls_big(SEED)).unwrap(), SEED);
    }

    #[test]
    fn a_change_of_any_byte_but_the_number_is_refused() {
        for opening in [http(Task::Greet, SEED), ssh(SEED), tls(SEED), tls_big(SEED)] {
            for place in 0..opening.len() {
                let mut changed = opening.clone();
                changed[place] ^= 0x80;
                let read = read_http(&changed).map(|(_, seed)| seed);
                let seeds = [read.ok(), read_ssh(&changed).ok(), read_tls(&changed).ok()];
                assert!(!seeds.contains(&Some(SEED)), "byte {place}");
            }
        }
    }

    #[test]
    fn the_start_tells_the_length() {
        for opening in [http(Task::Greet, SEED), ssh(SEED), tls(SEED), tls_big(SEED)] {
            assert_eq!(length(&opening[..5]), Some(opening.len()));
        }
        assert_eq!(length(&[0x16, 3]), None);
    }
}
