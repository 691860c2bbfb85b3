//! Where a route leads: its backends, taken in turn.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::backend::Backend;

/// The backends of one route and whose turn it is.
#[derive(Debug)]
pub struct Pool {
    backends: Vec<Arc<Backend>>,
    turn: AtomicUsize,
}

/// The backends that one client has already been sent to in vain.
#[derive(Debug, Default)]
pub(crate) struct Tried(Vec<usize>);

/// A backend to try next.
pub(crate) struct Pick<'p> {
    pub(crate) backend: &'p Arc<Backend>,
    /// It was set aside and is tried because nothing better is left.
    pub(crate) last_resort: bool,
}

impl Pool {
    pub(crate) fn new(backends: Vec<Arc<Backend>>) -> Self {
        Self { backends, turn: AtomicUsize::new(0) }
    }

    /// The backends, in the order given.
    pub fn backends(&self) -> &[Arc<Backend>] {
        &self.backends
    }

    /// The next living backend in turn that was not tried yet; when all are set aside, any of them (fail open).
    pub(crate) fn pick(&self, tried: &mut Tried) -> Option<Pick<'_>> {
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        let untried = || self.backends.iter().enumerate().filter(|(at, _)| !tried.0.contains(at));
        let living = || untried().filter(|(_, backend)| backend.is_alive());
        let nth = |count: usize| turn.checked_rem(count);
        let chosen = nth(living().count()).and_then(|nth| living().nth(nth));
        // Another client may have been first to try one that was set aside: then any other that lives.
        let claimed = chosen.filter(|(_, backend)| backend.claim());
        let claimed = claimed.or_else(|| living().find(|(_, backend)| backend.claim()));
        let last_resort = claimed.is_none();
        let (at, backend) =
            claimed.or_else(|| nth(untried().count()).and_then(|nth| untried().nth(nth)))?;
        tried.0.push(at);
        Some(Pick { backend, last_resort })
    }

    pub(crate) fn left(&self, tried: &Tried) -> usize {
        self.backends.len().saturating_sub(tried.0.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pool(count: u16) -> Pool {
        let backend = |port| format!("127.0.0.1:{port}").parse().map(Backend::new).map(Arc::new);
        Pool::new((1..=count).map(|port| backend(port).expect("an endpoint")).collect())
    }

    fn port(pool: &Pool, tried: &mut Tried) -> Option<u16> {
        pool.pick(tried).map(|pick| pick.backend.endpoint().port())
    }

    #[test]
    fn clients_are_spread_evenly() {
        let pool = pool(3);
        let ports: Vec<_> = (0..6).filter_map(|_| port(&pool, &mut Tried::default())).collect();
        assert_eq!(ports, [1, 2, 3, 1, 2, 3]);
    }

    #[test]
    fn one_client_is_sent_to_each_backend_once() {
        let pool = pool(3);
        let mut tried = Tried::default();
        let mut ports: Vec<_> = std::iter::from_fn(|| port(&pool, &mut tried)).collect();
        ports.sort_unstable();
        assert_eq!(ports, [1, 2, 3]);
    }

    #[test]
    fn who_is_set_aside_comes_last() {
        let pool = pool(2);
        pool.backends()[0].set_aside();
        for _ in 0..4 {
            let mut tried = Tried::default();
            assert_eq!(port(&pool, &mut tried), Some(2));
            assert!(pool.pick(&mut tried).is_some_and(|pick| pick.last_resort));
            assert!(pool.pick(&mut tried).is_none());
        }
    }

    #[test]
    fn when_none_lives_all_are_tried() {
        let pool = pool(2);
        pool.backends().iter().for_each(|backend| backend.set_aside());
        assert!(pool.pick(&mut Tried::default()).is_some_and(|pick| pick.last_resort));
        pool.backends()[1].found_alive();
        assert_eq!(port(&pool, &mut Tried::default()), Some(2));
    }
}
