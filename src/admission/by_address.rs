//! Something of each address, behind locks that two clients seldom meet at.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// What is known of each address, sharded.
#[derive(Debug)]
pub(super) struct ByAddress<T> {
    shards: [Mutex<HashMap<IpAddr, T>>; SHARDS],
    /// Keyed: clients choose their addresses.
    shard_of: RandomState,
}

pub(super) const SHARDS: usize = 64;

impl<T> ByAddress<T> {
    /// Those that stand together with this one.
    pub(super) fn shard(&self, address: IpAddr) -> Option<MutexGuard<'_, HashMap<IpAddr, T>>> {
        let hash = usize::try_from(self.shard_of.hash_one(address) % SHARDS as u64).unwrap_or(0);
        // What is in it is whole at every step: a panic elsewhere spoils nothing.
        self.shards.get(hash).map(|it| it.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// How many addresses something is known of.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.shards.iter().map(|it| it.lock().expect("sound").len()).sum()
    }
}

impl<T> Default for ByAddress<T> {
    fn default() -> Self {
        let shards = std::array::from_fn(|_| Mutex::default());
        Self { shards, shard_of: RandomState::new() }
    }
}
