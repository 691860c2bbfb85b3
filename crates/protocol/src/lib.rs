//! Which protocol is this? Exact answers from the first bytes of a connection or datagram.
//!
//! A protocol is one type that implements [`RefractiumProtocol`]: it looks at the [`Opening`] and gives a [`Verdict`].
//! Nothing here allocates, blocks, logs or reads a clock: the crate is `no_std` without `alloc`, so the compiler holds
//! that promise, and answers take nanoseconds.
//!
//! ```
//! use refractium_protocol::{Opening, RefractiumProtocol, Verdict, any_prefix, define_protocol};
//!
//! define_protocol! {
//!     /// Redis, by the array that opens every client command.
//!     pub struct Redis;
//!     name: "redis",
//!     transports: [Tcp],
//!     identify: |opening| any_prefix(opening.bytes, &[b"*1\r\n$", b"*2\r\n$", b"*3\r\n$"]),
//! }
//!
//! assert_eq!(Redis.identify(&Opening::stream(b"*1\r\n$4\r\nPING\r\n")), Verdict::Match);
//! assert_eq!(Redis.identify(&Opening::stream(b"*1")), Verdict::NeedMore);
//! assert_eq!(Redis.identify(&Opening::stream(b"GET / HTTP/1.1\r\n")), Verdict::NoMatch);
//! ```
//!
//! # Datagrams
//!
//! [`Opening::ends`] tells where each datagram ends; it is empty on a stream. One datagram decides for nearly every protocol:
//! [`Opening::first_datagram`]. One that is too short is `NoMatch`, because it is whole; `NeedMore` asks for the client's next
//! datagram, and the engine holds a few for so long as that takes, at most a second. [`RefractiumProtocol::responses`] tells
//! how many answers each of them has, where that is certain.
//!
//! # The laws
//!
//! Whoever writes a protocol keeps four of them; `tests/laws.rs` holds the built-in ones to them.
//!
//! 1. **Final.** While [`Opening::ended`] is false, a `Match` or `NoMatch` stays the same for every longer opening, and
//!    so does a [`Fact::Known`] or [`Fact::Absent`]. An opening of datagrams grows by whole ones.
//! 2. **Pure.** The same opening gives the same answer; how a stream was cut into segments does not matter.
//! 3. **Total.** Any bytes give an answer: no panic, no loop that the bytes control.
//! 4. **Exclusive.** What one protocol's clients really send matches no other.

#![no_std]

mod builtin;
mod facts;
mod macros;
mod name;
mod opening;
mod prefix;
mod reader;
mod verdict;
#[doc(hidden)]
pub mod word;

pub use builtin::*;
pub use facts::{AlpnList, Fact, Facts, Scratch};
pub use name::dns_name;
pub use opening::Opening;
pub use prefix::{any_prefix, any_prefix_ignore_case, prefix, prefix_ignore_case};
pub use reader::{Reader, Short};
pub use verdict::Verdict;

/// What carries a protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Transport {
    /// A stream: bytes arrive in order, in segments of any size.
    Tcp,
    /// Datagrams: each arrives whole or not at all.
    Udp,
}

impl core::fmt::Display for Transport {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.pad(match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
        })
    }
}

/// One protocol: how it is called and how it is recognised.
///
/// Implement it by hand, or with [`define_protocol!`] where `identify` is all there is to say.
pub trait RefractiumProtocol: Send + Sync {
    /// The name that routes use, such as `http`.
    fn name(&self) -> &str;

    /// Other names for the same protocol.
    fn aliases(&self) -> &[&str] {
        &[]
    }

    /// What carries it; an opening from anything else is never shown to it.
    fn transports(&self) -> &[Transport];

    /// Says whether the opening is of this protocol. The laws on the [crate page](crate#the-laws) bind.
    ///
    /// A table of routes asks it about every first byte when it is made, and later only about openings that begin with
    /// one it did not refuse. So an opening that is only too short is [`Verdict::NeedMore`], never `NoMatch`.
    fn identify(&self, opening: &Opening<'_>) -> Verdict;

    /// What the opening gives away beyond its protocol.
    ///
    /// Asked only of the protocol that matched, and only if somebody needs to know. What is not contiguous in the
    /// opening is put together in `scratch`.
    fn facts<'a>(&self, opening: &Opening<'a>, scratch: &'a mut Scratch) -> Facts<'a> {
        let _ = (opening, scratch);
        Facts::NONE
    }

    /// The version that the client asks for, as a person would write it. For people: nothing is routed by it.
    fn version<'a>(&self, opening: &Opening<'a>, scratch: &'a mut Scratch) -> Option<&'a [u8]> {
        let _ = (opening, scratch);
        None
    }

    /// What a route calls the names found in [`Facts::host`]: `sni`, `host`; `None` if there are never any.
    fn host_key(&self) -> Option<&str> {
        None
    }

    /// Whether [`Facts::alpn`] may be known.
    fn offers_alpn(&self) -> bool {
        false
    }

    /// Whether the server speaks first, so that a silent client may be one of this protocol.
    fn server_first(&self) -> bool {
        false
    }

    /// Whether its connections may rest for hours without being dead, as a shell does overnight: a general idle
    /// time-out does not end them.
    fn rests(&self) -> bool {
        false
    }

    /// Whether its clients may mark a byte as urgent (RFC 6093), as FTP's do to interrupt a transfer: reads stop before
    /// it, so that after each another is due.
    fn marks_urgent(&self) -> bool {
        false
    }

    /// How many datagrams answer one of the client's, where that is certain: a session ends as soon as all its questions
    /// have been answered. `None`: it ends only by being idle.
    fn responses(&self) -> Option<u32> {
        None
    }
}

impl<P: RefractiumProtocol + ?Sized> RefractiumProtocol for &P {
    fn name(&self) -> &str {
        (**self).name()
    }

    fn aliases(&self) -> &[&str] {
        (**self).aliases()
    }

    fn transports(&self) -> &[Transport] {
        (**self).transports()
    }

    fn identify(&self, opening: &Opening<'_>) -> Verdict {
        (**self).identify(opening)
    }

    fn facts<'a>(&self, opening: &Opening<'a>, scratch: &'a mut Scratch) -> Facts<'a> {
        (**self).facts(opening, scratch)
    }

    fn version<'a>(&self, opening: &Opening<'a>, scratch: &'a mut Scratch) -> Option<&'a [u8]> {
        (**self).version(opening, scratch)
    }

    fn host_key(&self) -> Option<&str> {
        (**self).host_key()
    }

    fn offers_alpn(&self) -> bool {
        (**self).offers_alpn()
    }

    fn server_first(&self) -> bool {
        (**self).server_first()
    }

    fn rests(&self) -> bool {
        (**self).rests()
    }

    fn marks_urgent(&self) -> bool {
        (**self).marks_urgent()
    }

    fn responses(&self) -> Option<u32> {
        (**self).responses()
    }
}
