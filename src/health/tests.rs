use super::*;

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

#[tokio::test(start_paused = true)]
async fn where_checks_are_frequent_none_is_made_out_of_turn() {
    let mut soon = Soon::new(Duration::from_millis(100));
    soon.after_refusal();
    assert_eq!(waits(&mut soon).await, [0_u128; 0]);
}
