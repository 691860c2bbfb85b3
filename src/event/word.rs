//! Reasons as single words, for what counts them and for what reads lines: they stay as they are.

use super::{By, Ending, Loss, Peer, Refusal, SessionEnd};

impl By {
    /// As one word: `end_of_stream`.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Verdict => "verdict",
            Self::Silence => "silence",
            Self::EndOfStream => "end_of_stream",
            Self::FullBuffer => "full_buffer",
            Self::Deadline => "deadline",
        }
    }
}

impl Ending {
    /// As one word: `client_reset`.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Reset(Peer::Client) => "client_reset",
            Self::Reset(Peer::Backend) => "backend_reset",
            Self::HalfCloseTimeout => "half_close_timeout",
            Self::IdleTimeout => "idle_timeout",
            Self::WriteStall(Peer::Client) => "client_stalled",
            Self::WriteStall(Peer::Backend) => "backend_stalled",
            Self::BackendDown => "backend_down",
            Self::Cut => "cut",
        }
    }
}

impl SessionEnd {
    /// As one word: `answered`.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Idle => "idle",
            Self::Answered => "answered",
            Self::Evicted => "evicted",
            Self::HandedOver => "handed_over",
            Self::Cut => "cut",
        }
    }
}

impl Loss {
    /// As one word: `send_buffer_full`.
    pub const fn word(&self) -> &'static str {
        match self {
            Self::SendBufferFull => "send_buffer_full",
            Self::Unsent(_) => "unsent",
            Self::Amplification => "amplification",
            Self::NoBackend => "no_backend",
        }
    }
}

impl Refusal {
    /// As one word: `no_route`.
    pub const fn word(&self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::FullForAddress => "full_for_address",
            Self::TooFast => "too_fast",
            Self::CrowdedOut => "crowded_out",
            Self::NoRoute { .. } => "no_route",
            Self::NoHeader(_) => "no_header",
            Self::ClientGone(_) => "client_gone",
            Self::Loop => "loop",
            Self::Panicked => "panicked",
            Self::NoBackend => "no_backend",
            Self::BackendsFull => "backends_full",
            Self::Closed => "closed",
            Self::Cut => "cut",
        }
    }
}
