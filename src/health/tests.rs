use std::future::poll_fn;
use std::pin::Pin;
use std::task::Poll;

use super::*;
use crate::check::CheckKind;
use crate::endpoint::Endpoint;

/// When the next checks out of turn are made, in milliseconds, if all fail.
async fn waits(soon: &mut Soon) -> Vec<u128> {
    let mut waits = Vec::new();
    while soon.at.is_some() {
        let start = Instant::now();
        soon.due().await;
        waits.push(start.elapsed().as_millis());
        soon.after_failure();
    }
    waits
}

#[tokio::test(start_paused = true)]
async fn who_refused_is_checked_soon_and_then_more_and_more_seldom() {
    let mut soon = Soon::new(Duration::from_millis(1000));
    soon.after_refusal();
    assert_eq!(waits(&mut soon).await, [100, 200, 400, 800]);
    // Who passes and refuses again at once is no news for a while.
    soon.after_refusal();
    assert_eq!(waits(&mut soon).await, [0_u128; 0]);
    tokio::time::advance(Duration::from_secs(2)).await;
    soon.after_refusal();
    assert_eq!(waits(&mut soon).await, [100, 200, 400, 800]);
}

/// A watch of one that never answers, at the moment when its first check is over.
async fn at_the_end_of_a_check(group: &Group) -> Pin<Box<impl Future<Output = ()>>> {
    let backend = &group.backends()[0];
    let watch = Watch {
        checked: Checked::new(backend).expect("nobody checks it yet"),
        transport: Transport::Udp,
        observer: Arc::new(|_: &Event<'_>| {}),
        room: Arc::new(Semaphore::new(1)),
    };
    let mut watching = Box::pin(watch.keep());
    for step in [FIRST, group.check().timeout] {
        poll(&mut watching).await;
        tokio::time::sleep(step).await;
    }
    assert!(!backend.is_down(), "nobody has looked yet");
    watching
}

async fn poll(work: &mut Pin<Box<impl Future<Output = ()>>>) {
    poll_fn(|cx| {
        assert!(work.as_mut().poll(cx).is_pending());
        Poll::Ready(())
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn what_the_last_check_says_is_forgotten_when_no_more_are_made() {
    let silent = std::net::UdpSocket::bind("127.0.0.1:0").expect("a port");
    let endpoint = Endpoint::from(silent.local_addr().expect("an address"));
    let mut check = Check::new(CheckKind::Payload { send: vec![0], expect: vec![0] });
    // It may begin at once: then it is not to be over before the last moment at which it may begin.
    (check.interval, check.timeout, check.fall) = (Duration::from_secs(60), FIRST * 2, 1);
    let group = || Group::new(endpoint.clone(), Transport::Udp, check.clone());
    let checked = group();
    poll(&mut at_the_end_of_a_check(&checked).await).await;
    assert!(checked.backends()[0].is_down());
    // Which of the two is looked at first is drawn.
    for _ in 0..64 {
        let group = group();
        let mut watching = at_the_end_of_a_check(&group).await;
        group.set_check(Arc::new(Check::new(CheckKind::None)));
        poll(&mut watching).await;
        assert!(!group.backends()[0].is_down());
    }
}

#[tokio::test(start_paused = true)]
async fn where_checks_are_frequent_none_is_made_out_of_turn() {
    let mut soon = Soon::new(Duration::from_millis(100));
    soon.after_refusal();
    assert_eq!(waits(&mut soon).await, [0_u128; 0]);
}
