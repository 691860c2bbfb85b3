//! The right to hold one connection or session, given back by Drop.

mod by_address;
mod rate;

use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use self::by_address::ByAddress;
use self::rate::Rates;
use crate::crowd::Crowd;
use crate::event::Refusal;
use crate::limits::Each;
use crate::unaccepted::Unaccepted;

/// Counts open connections, or sessions, in all and by address.
#[derive(Debug, Default)]
pub(crate) struct Admission {
    open: AtomicUsize,
    /// Locked only while a limit per address is set.
    by_address: ByAddress<usize>,
    rates: Rates,
}

/// Who counts what in an engine.
#[derive(Clone, Debug, Default)]
pub(crate) struct Gates {
    pub(crate) connections: Arc<Admission>,
    pub(crate) sessions: Arc<Admission>,
    /// For how many sessions there was no place where they would have been, and only others have any to give.
    pub(crate) lacking: Arc<AtomicUsize>,
    /// Connections that are undecided.
    pub(crate) crowd: Arc<Crowd>,
    /// What could not be accepted.
    pub(crate) unaccepted: Arc<Unaccepted>,
}

/// What an engine has open, whenever it is asked.
#[derive(Clone, Debug)]
pub struct Open(Gates);

impl Open {
    pub(crate) const fn of(gates: Gates) -> Self {
        Self(gates)
    }

    /// How many connections there are, those that are undecided among them.
    pub fn connections(&self) -> usize {
        self.0.connections.open()
    }

    /// How many of them have waited for more than their first word, and are undecided.
    pub fn undecided(&self) -> usize {
        self.0.crowd.clients()
    }

    /// How many UDP sessions there are.
    pub fn sessions(&self) -> usize {
        self.0.sessions.open()
    }
}

/// Most that may be open.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Caps {
    pub(crate) all: usize,
    /// From one address.
    pub(crate) each: Each,
}

/// The place of one connection or session.
#[derive(Debug)]
pub(crate) struct Permit {
    admission: Arc<Admission>,
    /// The address that it counts for. In a box, because a connection keeps room for it, and few limits are per address.
    claimed: Option<Box<IpAddr>>,
}

impl Admission {
    /// How many connections are open.
    pub(crate) fn open(&self) -> usize {
        self.open.load(Ordering::Relaxed)
    }

    /// Takes a place for a client, or says which limit is reached. Who it is may be known only later.
    pub(crate) fn enter(
        self: &Arc<Self>,
        client: Option<IpAddr>,
        caps: Caps,
    ) -> Result<Permit, Refusal> {
        let one_more = |open| (open < caps.all).then_some(open + 1);
        self.open
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_more)
            .map_err(|_| Refusal::Full)?;
        let mut permit = Permit { admission: Arc::clone(self), claimed: None };
        client.map_or(Ok(()), |client| permit.claim(client, caps.each))?;
        Ok(permit)
    }
}

impl Permit {
    /// Counts it as one of those of this address.
    pub(crate) fn claim(&mut self, client: IpAddr, most: Each) -> Result<(), Refusal> {
        let Each { open: most, per_second } = most;
        let address = counted_as(client);
        let rates = &self.admission.rates;
        if per_second > 0 && !rates.take(address, per_second, Instant::now()) {
            return Err(Refusal::TooFast);
        }
        if most == 0 {
            return Ok(());
        }
        if let Some(mut shard) = self.admission.by_address.shard(address) {
            let open = shard.entry(address).or_insert(0);
            if *open >= most {
                return Err(Refusal::FullForAddress);
            }
            *open += 1;
        }
        self.claimed = Some(Box::new(address));
        Ok(())
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        if let Some(address) = self.claimed.take()
            && let Some(mut shard) = self.admission.by_address.shard(*address)
            && let Some(open) = shard.get_mut(&*address)
        {
            *open -= 1;
            if *open == 0 {
                shard.remove(&address);
            }
        }
        self.admission.open.fetch_sub(1, Ordering::Relaxed);
    }
}

/// An IPv6 /64 is one subscriber and counts as one address; an IPv4 address is the same however it is written.
pub(crate) fn counted_as(client: IpAddr) -> IpAddr {
    match client.to_canonical() {
        IpAddr::V6(address) => {
            let network = u128::from(address) & !u128::from(u64::MAX);
            IpAddr::V6(Ipv6Addr::from(network))
        }
        v4 @ IpAddr::V4(_) => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: Each = Each { open: 1, per_second: 0 };

    fn ip(text: &str) -> IpAddr {
        text.parse().expect(text)
    }

    #[test]
    fn a_dropped_permit_gives_its_place_back() {
        let admission = Arc::new(Admission::default());
        let caps = Caps { all: 2, each: Each::default() };
        let first = admission.enter(Some(ip("127.0.0.1")), caps).expect("a place");
        let _second = admission.enter(Some(ip("127.0.0.1")), caps).expect("a place");
        assert!(matches!(admission.enter(Some(ip("127.0.0.1")), caps), Err(Refusal::Full)));
        drop(first);
        assert!(admission.enter(Some(ip("127.0.0.1")), caps).is_ok());
    }

    #[test]
    fn addresses_are_counted_by_subscriber() {
        let admission = Arc::new(Admission::default());
        let caps = Caps { all: 100, each: ONE };
        let _v6 = admission.enter(Some(ip("2001:db8::1")), caps).expect("a place");
        let _v4 = admission.enter(Some(ip("1.2.3.4")), caps).expect("a place");
        for same in ["2001:db8::ffff:0:1", "::ffff:1.2.3.4"] {
            let refused = admission.enter(Some(ip(same)), caps);
            assert!(matches!(refused, Err(Refusal::FullForAddress)), "{same}");
        }
        assert!(admission.enter(Some(ip("2001:db8:0:1::1")), caps).is_ok());
        assert_eq!(admission.open(), 2);
    }

    #[test]
    fn who_comes_too_fast_leaves_no_count_behind() {
        let admission = Arc::new(Admission::default());
        let caps = Caps { all: 2, each: Each { open: 0, per_second: 1 } };
        let _first = admission.enter(Some(ip("2001:db8::1")), caps).expect("a place");
        let second = admission.enter(Some(ip("2001:db8::2")), caps);
        assert!(matches!(second, Err(Refusal::TooFast)), "the same /64: {second:?}");
        assert!(admission.enter(Some(ip("2001:db8:0:1::2")), caps).is_ok());
        assert_eq!(admission.open(), 1);
    }

    #[test]
    fn nothing_is_left_behind() {
        let admission = Arc::new(Admission::default());
        let caps = Caps { all: 1, each: ONE };
        drop(admission.enter(Some(ip("1.2.3.4")), caps).expect("a place"));
        assert_eq!(admission.open(), 0);
        assert_eq!(admission.by_address.len(), 0);
    }
}
