//! Clients that wait for a place, and what they must not keep from each other.

use super::*;

/// Two backends with one place each.
fn narrow() -> Pool {
    let mut targets = vec![target(1), target(2)];
    targets.iter_mut().for_each(|it| it.max_connections = 1);
    pool_of(targets, Balance::RoundRobin)
}

fn place(pool: &Pool) -> Lease {
    lease(pool.pick(CLIENT, &Tried::default())).expect("a place")
}

/// Both places, in the order of their ports.
fn both(pool: &Pool) -> (Lease, Lease) {
    let (one, other) = (place(pool), place(pool));
    assert_eq!(one.backend().address().port(), 1);
    (one, other)
}

fn in_vain(lease: &Lease) -> Tried {
    Tried(vec![Arc::clone(lease.backend())])
}

async fn soon(waiting: impl Future<Output = Pick>) -> Option<u16> {
    port(timeout(Duration::from_secs(5), waiting).await.expect("a place"))
}

#[tokio::test]
async fn who_was_refused_keeps_nobody_from_the_place_that_refused() {
    let pool = narrow();
    let (one, _other) = both(&pool);
    let tried = in_vain(&one);
    let mut refused = Box::pin(pool.pick_in_turn(CLIENT, &tried));
    assert!(timeout(Duration::ZERO, &mut refused).await.is_err(), "the other is full");
    drop(one);
    let found = pool.pick(CLIENT, &Tried::default());
    assert!(matches!(found, Pick::Alive(_)), "{found:?}");
    assert!(timeout(Duration::ZERO, &mut refused).await.is_err(), "the other is full");
}

#[tokio::test]
async fn who_was_refused_takes_no_turn_of_those_in_line() {
    let pool = narrow();
    let (one, other) = both(&pool);
    let (none, tried) = (Tried::default(), in_vain(&one));
    let mut refused = Box::pin(pool.pick_in_turn(CLIENT, &tried));
    assert!(timeout(Duration::ZERO, &mut refused).await.is_err(), "the other is full");
    let mut in_line = Box::pin(pool.pick_in_turn(CLIENT, &none));
    assert!(timeout(Duration::ZERO, &mut in_line).await.is_err(), "both are full");
    drop(one);
    assert!(timeout(Duration::ZERO, &mut refused).await.is_err(), "the other is full");
    assert_eq!(soon(in_line).await, Some(1));
    drop(other);
    assert_eq!(soon(refused).await, Some(2));
}

/// Nobody but the first in line looks by himself, and the bell had rung before the second came.
#[tokio::test]
async fn who_gives_up_first_in_line_leaves_what_he_heard_to_the_next() {
    let pool = narrow();
    backend(&pool, 2).set_aside();
    let none = Tried::default();
    let _held = place(&pool);
    let mut first = Box::pin(pool.pick_in_turn(CLIENT, &none));
    assert!(timeout(Duration::ZERO, &mut first).await.is_err(), "it is full");
    backend(&pool, 2).found_alive();
    let mut second = Box::pin(pool.pick_in_turn(CLIENT, &none));
    assert!(timeout(Duration::ZERO, &mut second).await.is_err(), "it is not its turn");
    drop(first);
    assert_eq!(soon(second).await, Some(2));
}

#[tokio::test]
async fn a_time_aside_ends_while_others_wait() {
    let mut check = check();
    check.interval = Duration::from_millis(1);
    let mut targets = vec![target(1), target(2)];
    targets[0].max_connections = 1;
    let group = |target: Target| {
        let group = Group::new(target.endpoint.clone(), Transport::Tcp, check.clone());
        (target, Arc::new(group))
    };
    let pool = Pool::new(targets.into_iter().map(group).collect(), Balance::RoundRobin);
    let none = Tried::default();
    let one = place(&pool);
    assert_eq!(one.backend().address().port(), 1);
    backend(&pool, 2).set_aside();
    let mut waiting = Box::pin(pool.pick_in_turn(CLIENT, &none));
    if timeout(Duration::ZERO, &mut waiting).await.is_ok() {
        return; // it was late, and got the trial itself
    }
    while now() < backend(&pool, 2).aside_until() {
        std::thread::yield_now();
    }
    assert_eq!(port(pool.pick(CLIENT, &none)), Some(2));
}
