//! Clients that have not said enough yet: how many there may be, and who makes room for others.

use std::collections::{BTreeMap, BTreeSet};
use std::mem;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use tokio::time::Instant;

/// How many of an engine's clients are undecided, and what they hold.
#[derive(Debug, Default)]
pub(crate) struct Crowd {
    clients: AtomicUsize,
    bytes: AtomicUsize,
}

/// The undecided clients of one worker, in the order of coming. Whoever decides at its first word is never among them.
#[derive(Debug, Default)]
pub(crate) struct Line {
    crowd: Arc<Crowd>,
    queue: Mutex<Queue>,
}

#[derive(Debug, Default)]
struct Queue {
    next: u64,
    all: BTreeMap<u64, Entry>,
    /// Those of them that hold bytes.
    holding: BTreeSet<u64>,
}

#[derive(Debug)]
struct Entry {
    waker: Waker,
    since: Instant,
    bytes: usize,
}

/// One client that may have to wait, and then stands in line until it is dropped.
#[derive(Debug)]
pub(crate) struct Waiting<'l> {
    line: &'l Line,
    since: Instant,
    /// Most that may be undecided.
    most: usize,
    /// Its place; `None`: it had not to wait yet.
    number: Option<u64>,
}

/// What undecided clients may have said in all: 3 KiB for each of 5,000, and a post-quantum hello is 1.8 KiB.
const MOST_BYTES: usize = 16 * 1024 * 1024;

/// Who has said too little for so long may have to leave for a newcomer: nearly all clients speak as soon as they are
/// connected, and a lost packet comes again after a second at most (RFC 6298, section 2).
const TIME_TO_SPEAK: Duration = Duration::from_secs(1);

impl Crowd {
    /// How many are undecided.
    pub(crate) fn clients(&self) -> usize {
        self.clients.load(Ordering::Relaxed)
    }

    fn bytes(&self) -> usize {
        self.bytes.load(Ordering::Relaxed)
    }

    fn hold(&self, before: usize, now: usize) {
        self.bytes.fetch_add(now, Ordering::Relaxed);
        self.bytes.fetch_sub(before, Ordering::Relaxed);
    }
}

impl Line {
    pub(crate) fn new(crowd: &Arc<Crowd>) -> Self {
        Self { crowd: Arc::clone(crowd), queue: Mutex::default() }
    }

    /// A client that came then; so many may be undecided.
    pub(crate) const fn enter(&self, since: Instant, most: usize) -> Waiting<'_> {
        Waiting { line: self, since, most, number: None }
    }

    /// Sends the oldest away, if it has had its time. Whether there was one.
    pub(crate) fn make_room(&self, now: Instant) -> bool {
        self.send_away(|queue| {
            let (number, entry) = queue.all.first_key_value()?;
            (now.saturating_duration_since(entry.since) >= TIME_TO_SPEAK).then_some(*number)
        })
    }

    fn send_away(&self, choose: impl FnOnce(&Queue) -> Option<u64>) -> bool {
        let mut queue = self.queue();
        let Some(waker) = choose(&queue).and_then(|number| self.remove(&mut queue, number)) else {
            return false;
        };
        drop(queue);
        waker.wake();
        true
    }

    /// Takes one out of the line, and gives what wakes it.
    fn remove(&self, queue: &mut Queue, number: u64) -> Option<Waker> {
        let Entry { waker, bytes, .. } = queue.all.remove(&number)?;
        queue.holding.remove(&number);
        self.crowd.clients.fetch_sub(1, Ordering::Relaxed);
        self.crowd.hold(bytes, 0);
        Some(waker)
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        // It is whole at every step: a panic elsewhere spoils nothing.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Waiting<'_> {
    /// Waits on, holding so many bytes: done once it has to leave. If there are too many, or they hold too much, the
    /// oldest that this worker has leaves, but never who comes.
    pub(crate) fn poll_leave(&mut self, cx: &Context<'_>, bytes: usize) -> Poll<()> {
        let Some(number) = self.stand(cx, bytes) else { return Poll::Ready(()) };
        let not_me = |oldest: Option<&u64>| oldest.copied().filter(|it| *it != number);
        let (line, crowd) = (self.line, &self.line.crowd);
        while crowd.clients() > self.most && line.send_away(|queue| not_me(queue.all.keys().next()))
        {
        }
        while crowd.bytes() > MOST_BYTES && line.send_away(|queue| not_me(queue.holding.first())) {}
        Poll::Pending
    }

    /// Its place in the line, which it takes if it has none; `None`: it was sent away.
    fn stand(&mut self, cx: &Context<'_>, bytes: usize) -> Option<u64> {
        let crowd = &self.line.crowd;
        let mut queue = self.line.queue();
        let (number, before) = if let Some(number) = self.number {
            let entry = queue.all.get_mut(&number)?;
            entry.waker.clone_from(cx.waker());
            (number, mem::replace(&mut entry.bytes, bytes))
        } else {
            let number = queue.next;
            queue.next += 1;
            let entry = Entry { waker: cx.waker().clone(), since: self.since, bytes };
            queue.all.insert(number, entry);
            crowd.clients.fetch_add(1, Ordering::Relaxed);
            self.number = Some(number);
            (number, 0)
        };
        if before != bytes {
            crowd.hold(before, bytes);
            queue.holding.insert(number);
        }
        Some(number)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        if let Some(number) = self.number {
            self.line.remove(&mut self.line.queue(), number);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicBool;
    use std::task::Wake;

    use super::*;

    #[derive(Default)]
    struct Woken(AtomicBool);

    impl Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.store(true, Ordering::Relaxed);
        }
    }

    /// One that waits, and whether it was woken.
    struct Client<'l> {
        waiting: Waiting<'l>,
        woken: Arc<Woken>,
    }

    impl<'l> Client<'l> {
        fn new(line: &'l Line, most: usize) -> Self {
            Self { waiting: line.enter(Instant::now(), most), woken: Arc::default() }
        }

        fn stays(&mut self, bytes: usize) -> bool {
            let waker = Waker::from(Arc::clone(&self.woken));
            self.waiting.poll_leave(&Context::from_waker(&waker), bytes).is_pending()
        }

        fn was_woken(&self) -> bool {
            self.woken.0.load(Ordering::Relaxed)
        }
    }

    #[test]
    fn the_oldest_leaves_when_there_are_too_many() {
        let line = Line::default();
        let mut all: Vec<_> = (0..5).map(|_| Client::new(&line, 3)).collect();
        assert!(all.iter_mut().all(|it| it.stays(0)));
        assert_eq!(line.crowd.clients(), 3);
        let woken: Vec<_> = all.iter().map(Client::was_woken).collect();
        assert_eq!(woken, [true, true, false, false, false]);
        let stay: Vec<_> = all.iter_mut().map(|it| it.stays(0)).collect();
        assert_eq!(stay, [false, false, true, true, true]);
        drop(all);
        assert_eq!((line.crowd.clients(), line.crowd.bytes()), (0, 0));
    }

    #[test]
    fn the_oldest_that_holds_something_leaves_when_all_hold_too_much() {
        let line = Line::default();
        let mut all: Vec<_> = (0..4).map(|_| Client::new(&line, 100)).collect();
        for (client, bytes) in all.iter_mut().zip([0, MOST_BYTES / 2, MOST_BYTES / 2, 0]) {
            assert!(client.stays(bytes));
        }
        assert!(!all.iter().any(Client::was_woken));
        assert!(all[2].stays(MOST_BYTES / 2), "nothing has changed");
        assert!(all[3].stays(1));
        let woken: Vec<_> = all.iter().map(Client::was_woken).collect();
        assert_eq!(woken, [false, true, false, false]);
        assert_eq!(line.crowd.bytes(), MOST_BYTES / 2 + 1);
        drop(all);
        assert_eq!((line.crowd.clients(), line.crowd.bytes()), (0, 0));
    }

    #[test]
    fn who_is_alone_here_does_not_leave_for_others() {
        let crowd = Arc::default();
        let (here, there) = (Line::new(&crowd), Line::new(&crowd));
        let (mut one, mut other) = (Client::new(&here, 1), Client::new(&there, 1));
        assert!(one.stays(MOST_BYTES) && other.stays(MOST_BYTES));
        assert!(one.stays(MOST_BYTES) && other.stays(MOST_BYTES));
    }

    #[tokio::test(start_paused = true)]
    async fn who_has_had_no_time_yet_does_not_leave_for_a_newcomer() {
        let line = Line::default();
        assert!(!line.make_room(Instant::now()), "there is nobody");
        let mut client = Client::new(&line, 10);
        assert!(client.stays(0));
        assert!(!line.make_room(Instant::now()));
        assert!(line.make_room(Instant::now() + TIME_TO_SPEAK));
        assert!(client.was_woken() && !client.stays(0));
    }
}
