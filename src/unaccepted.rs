//! Clients that came faster than they were accepted: the system dropped them before anybody saw them.

#[cfg_attr(not(target_os = "linux"), path = "unaccepted/no_queues.rs")]
mod queues;

use std::collections::HashMap;
use std::convert::Infallible as Never;
use std::fs;
use std::net::SocketAddr;
use std::os::fd::AsRawFd;
use std::os::unix::fs::MetadataExt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::sleep;

use crate::event::{Event, Observer};

/// How often it is asked what was dropped, if anybody came.
const ROUND: Duration = Duration::from_secs(1);

/// What the queues of an engine's listeners did not hold.
#[derive(Debug, Default)]
pub(crate) struct Unaccepted {
    /// By the number of the socket.
    listeners: Mutex<HashMap<u64, Listener>>,
    /// Since it was last asked what was dropped: who came too fast comes again.
    has_come: AtomicBool,
}

#[derive(Debug)]
struct Listener {
    local: SocketAddr,
    /// How many packets it was told of.
    told: u64,
}

/// A listening socket that is looked after, until this is dropped.
#[derive(Debug)]
pub(crate) struct Listed {
    unaccepted: Arc<Unaccepted>,
    /// `None` where the system does not tell.
    inode: Option<u64>,
}

/// The number that the system's tables have of a socket; `None` where it does not tell.
pub(crate) fn inode(socket: &impl AsRawFd) -> Option<u64> {
    let of_process = format!("/proc/self/fd/{}", socket.as_raw_fd());
    fs::metadata(of_process).ok().map(|it| it.ino())
}

impl Unaccepted {
    /// Looks after a listening socket.
    pub(crate) fn list(self: &Arc<Self>, socket: &impl AsRawFd, local: SocketAddr) -> Listed {
        let inode = inode(socket);
        if let Some(inode) = inode {
            // The system counts for as long as the socket lives, which may have been another's before.
            let before = queues::dropped().ok().and_then(|all| all.get(&inode).copied());
            self.listeners().insert(inode, Listener { local, told: before.unwrap_or(0) });
        }
        Listed { unaccepted: Arc::clone(self), inode }
    }

    /// Notes that somebody came, or could not be accepted.
    pub(crate) fn note_client(&self) {
        // Reading what many write costs less than writing it.
        if !self.has_come.load(Ordering::Relaxed) {
            self.has_come.store(true, Ordering::Relaxed);
        }
    }

    /// Tells what the queues of the listeners did not hold, until dropped.
    pub(crate) async fn watch(&self, observer: &dyn Observer) -> Never {
        loop {
            sleep(ROUND).await;
            if self.has_come.swap(false, Ordering::Relaxed) {
                self.tell_overflows(observer);
            }
        }
    }

    fn tell_overflows(&self, observer: &dyn Observer) {
        // Where the system does not answer, nobody is told.
        let Ok(dropped) = queues::dropped() else { return };
        let mut fresh: HashMap<SocketAddr, u64> = HashMap::new();
        for (inode, listener) in self.listeners().iter_mut() {
            let all = dropped.get(inode).copied().unwrap_or(listener.told);
            let packets = all.saturating_sub(listener.told);
            listener.told = all;
            if packets > 0 {
                *fresh.entry(listener.local).or_default() += packets;
            }
        }
        for (local, packets) in fresh {
            observer.on(&Event::QueueOverflowed { local, packets });
        }
    }

    fn listeners(&self) -> MutexGuard<'_, HashMap<u64, Listener>> {
        self.listeners.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Listed {
    fn drop(&mut self) {
        if let Some(inode) = self.inode {
            self.unaccepted.listeners().remove(&inode);
        }
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::net::{TcpListener, TcpStream};

    use socket2::{Domain, Socket, Type};

    use super::*;

    #[test]
    fn what_a_queue_did_not_hold_is_told_once_and_of_its_own_listener() {
        let any: SocketAddr = "127.0.0.1:0".parse().expect("an address");
        let unaccepted = Arc::new(Unaccepted::default());
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
        socket.bind(&any.into()).expect("a port");
        socket.listen(1).expect("a listener");
        let full = TcpListener::from(socket);
        let empty = TcpListener::bind(any).expect("a port");
        let local = full.local_addr().expect("an address");
        let _listed =
            [&full, &empty].map(|it| unaccepted.list(it, it.local_addr().expect("an address")));
        let told = Mutex::new(Vec::new());
        let observer = |event: &Event<'_>| {
            if let Event::QueueOverflowed { local, packets } = event {
                told.lock().expect("sound").push((*local, *packets > 0));
            }
        };
        unaccepted.tell_overflows(&observer);
        assert_eq!(*told.lock().expect("sound"), []);
        // The queue holds one more than asked for, and the third finds no room.
        let clients = (0..3).map(|_| TcpStream::connect_timeout(&local, ROUND / 10));
        assert!(clients.collect::<Vec<_>>().iter().any(Result::is_err), "all fit");
        unaccepted.tell_overflows(&observer);
        assert_eq!(*told.lock().expect("sound"), [(local, true)]);
        // Who takes the socket over tells nothing of what was before.
        let heir = Arc::new(Unaccepted::default());
        let _listed = heir.list(&full, local);
        heir.tell_overflows(&observer);
        assert_eq!(*told.lock().expect("sound"), [(local, true)]);
    }
}
