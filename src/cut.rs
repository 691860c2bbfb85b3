//! The order to end at once, and how a connection hears of it.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Poll;

use tokio_util::sync::{
    CancellationToken, WaitForCancellationFuture, WaitForCancellationFutureOwned,
};

/// Gives the order to connections that are still open.
#[derive(Debug, Default)]
pub(crate) struct Cutter {
    cut: AtomicBool,
    told: CancellationToken,
}

/// One connection's ear for it.
///
/// It is put on the list of who is to be woken once, and from then on only a flag is looked at: asking the token takes
/// a lock, and a connection is polled for every packet.
pub(crate) struct Cut<'p, 'c> {
    cutter: &'c Cutter,
    /// Until it is on the list.
    told: Option<Pin<&'p mut WaitForCancellationFuture<'c>>>,
    /// What ends this connection as well. In a box, because few have it.
    fall: Option<Pin<Box<WaitForCancellationFutureOwned>>>,
}

impl Cutter {
    pub(crate) fn cut(&self) {
        self.cut.store(true, Ordering::Release);
        self.told.cancel();
    }

    pub(crate) fn is_cut(&self) -> bool {
        self.cut.load(Ordering::Acquire)
    }

    /// To be pinned and given to [`Cut::new`].
    pub(crate) fn told(&self) -> WaitForCancellationFuture<'_> {
        self.told.cancelled()
    }
}

impl<'p, 'c> Cut<'p, 'c> {
    pub(crate) const fn new(
        cutter: &'c Cutter,
        told: Pin<&'p mut WaitForCancellationFuture<'c>>,
    ) -> Self {
        Self { cutter, told: Some(told), fall: None }
    }

    /// Ends this connection also when that is cancelled.
    pub(crate) fn at(&mut self, fall: CancellationToken) {
        self.fall = Some(Box::pin(fall.cancelled_owned()));
    }

    /// What `work` gives, or `None` if the order comes first. All work of a connection has to be polled by one task.
    pub(crate) fn or<'a, F: Future>(
        &'a mut self,
        mut work: Pin<&'a mut F>,
    ) -> impl Future<Output = Option<F::Output>> {
        // No `async fn`: it would keep room for what it is given twice.
        poll_fn(move |cx| {
            if let Poll::Ready(done) = work.as_mut().poll(cx) {
                return Poll::Ready(Some(done));
            }
            let is_cut = match self.told.take() {
                Some(told) => told.poll(cx).is_ready(),
                None => self.cutter.is_cut(),
            };
            let has_fallen = self.fall.as_mut().is_some_and(|it| it.as_mut().poll(cx).is_ready());
            if is_cut || has_fallen { Poll::Ready(None) } else { Poll::Pending }
        })
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;
    use std::pin::pin;
    use std::time::Duration;

    use tokio::time::{sleep, timeout};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_order_is_heard_in_the_second_work_as_in_the_first() {
        let cutter = Cutter::default();
        let told = pin!(cutter.told());
        let order = async {
            sleep(Duration::from_secs(2)).await;
            cutter.cut();
        };
        let mut cut = Cut::new(&cutter, told);
        let works = async {
            assert_eq!(cut.or(pin!(sleep(Duration::from_secs(1)))).await, Some(()));
            assert_eq!(cut.or(pin!(pending::<()>())).await, None);
        };
        let both = async { tokio::join!(works, order) };
        timeout(Duration::from_secs(5), both).await.expect("it is heard");
    }

    #[tokio::test]
    async fn an_order_given_before_is_heard_too() {
        let cutter = Cutter::default();
        cutter.cut();
        let told = pin!(cutter.told());
        assert_eq!(Cut::new(&cutter, told).or(pin!(pending::<()>())).await, None);
    }
}
