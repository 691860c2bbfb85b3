//! The right to hold one connection or session, given back by Drop.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::net::{IpAddr, Ipv6Addr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::event::Refusal;

/// Counts open connections, or sessions, in all and by address.
#[derive(Debug)]
pub(crate) struct Admission {
    open: AtomicUsize,
    /// Locked only while a limit per address is set. Sharded, so that two clients seldom meet.
    by_address: [Mutex<HashMap<IpAddr, usize>>; SHARDS],
    /// Keyed: clients choose their addresses.
    shard_of: RandomState,
}

const SHARDS: usize = 64;

/// Who counts what in an engine.
#[derive(Clone, Debug, Default)]
pub(crate) struct Gates {
    pub(crate) connections: Arc<Admission>,
    pub(crate) sessions: Arc<Admission>,
    /// For how many sessions there was no place where they would have been, and only others have any to give.
    pub(crate) lacking: Arc<AtomicUsize>,
}

/// Most that may be open.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Caps {
    pub(crate) all: usize,
    /// From one address; 0: no limit.
    pub(crate) each: usize,
}

/// The place of one connection or session.
#[derive(Debug)]
pub(crate) struct Permit {
    admission: Arc<Admission>,
    /// The address that it counts for. In a box, because a connection keeps room for it, and few limits are per address.
    claimed: Option<Box<IpAddr>>,
}

impl Default for Admission {
    fn default() -> Self {
        Self {
            open: AtomicUsize::new(0),
            by_address: std::array::from_fn(|_| Mutex::default()),
            shard_of: RandomState::new(),
        }
    }
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

    fn shard(&self, address: IpAddr) -> Option<MutexGuard<'_, HashMap<IpAddr, usize>>> {
        let hash = usize::try_from(self.shard_of.hash_one(address) % SHARDS as u64).unwrap_or(0);
        // A count is whole at every step: a panic elsewhere spoils nothing.
        self.by_address.get(hash).map(|it| it.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Permit {
    /// Counts it as one of those of this address, of which there may be so many; 0: any.
    pub(crate) fn claim(&mut self, client: IpAddr, most: usize) -> Result<(), Refusal> {
        if most == 0 {
            return Ok(());
        }
        let address = counted_as(client);
        if let Some(mut shard) = self.admission.shard(address) {
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
            && let Some(mut shard) = self.admission.shard(*address)
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

    fn ip(text: &str) -> IpAddr {
        text.parse().expect(text)
    }

    #[test]
    fn a_dropped_permit_gives_its_place_back() {
        let admission = Arc::new(Admission::default());
        let caps = Caps { all: 2, each: 0 };
        let first = admission.enter(Some(ip("127.0.0.1")), caps).expect("a place");
        let _second = admission.enter(Some(ip("127.0.0.1")), caps).expect("a place");
        assert!(matches!(admission.enter(Some(ip("127.0.0.1")), caps), Err(Refusal::Full)));
        drop(first);
        assert!(admission.enter(Some(ip("127.0.0.1")), caps).is_ok());
    }

    #[test]
    fn addresses_are_counted_by_subscriber() {
        let admission = Arc::new(Admission::default());
        let caps = Caps { all: 100, each: 1 };
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
    fn nothing_is_left_behind() {
        let admission = Arc::new(Admission::default());
        drop(admission.enter(Some(ip("1.2.3.4")), Caps { all: 1, each: 1 }).expect("a place"));
        assert_eq!(admission.open(), 0);
        assert!(admission.by_address.iter().all(|shard| shard.lock().expect("sound").is_empty()));
    }
}
