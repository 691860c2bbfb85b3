//! Datagrams that the system dropped because nobody read in time. It tells of them only to those who ask (proc_net_udp(5)).

use std::collections::HashMap;
use std::convert::Infallible as Never;
use std::fs;
use std::net::SocketAddr;
use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use tokio::task::spawn_blocking;
use tokio::time::sleep;

use crate::event::{Event, Observer};
use crate::unaccepted::inode;

/// How often it is asked, if there is reason to: the answer names every socket of the machine.
const ROUND: Duration = Duration::from_secs(1);

/// What may have come faster than it was read.
pub(crate) struct Backlog {
    local: SocketAddr,
    /// The socket's number; `None` where the system does not tell.
    inode: Option<u64>,
    was_deep: AtomicBool,
    /// How many were told of. The system counts for as long as the socket lives, which may have been another's before.
    told: AtomicU64,
}

impl Backlog {
    pub(crate) fn of(socket: &impl AsRawFd, local: SocketAddr) -> Arc<Self> {
        let inode = inode(socket);
        let before = inode.and_then(|it| dropped().get(&it).copied());
        let told = AtomicU64::new(before.unwrap_or(0));
        Arc::new(Self { local, inode, was_deep: AtomicBool::new(false), told })
    }

    /// Notes that much was waiting: some may have been dropped.
    pub(crate) fn is_deep(&self) {
        self.was_deep.store(true, Ordering::Relaxed);
    }
}

/// Those of all ports of a run.
#[derive(Default)]
pub(crate) struct Backlogs(Mutex<Vec<Weak<Backlog>>>);

impl Backlogs {
    pub(crate) fn add(&self, backlog: &Arc<Backlog>) {
        self.lock().push(Arc::downgrade(backlog));
    }

    /// Those of ports that are served yet.
    fn now(&self) -> Vec<Arc<Backlog>> {
        let mut all = self.lock();
        all.retain(|it| it.strong_count() > 0);
        all.iter().filter_map(Weak::upgrade).collect()
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Weak<Backlog>>> {
        // A list is whole at every step: a panic elsewhere spoils nothing.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks whenever something may have been dropped, until dropped itself.
    pub(crate) async fn watch(&self, observer: &dyn Observer) -> Never {
        loop {
            sleep(ROUND).await;
            let all = self.now();
            // All are asked about, because each has to forget that it was.
            let were_deep = all.iter().filter(|it| it.was_deep.swap(false, Ordering::Relaxed));
            if were_deep.count() == 0 {
                continue;
            }
            let dropped = spawn_blocking(dropped).await.unwrap_or_default();
            for backlog in all {
                backlog.tell(&dropped, observer);
            }
        }
    }
}

impl Backlog {
    fn tell(&self, dropped: &HashMap<u64, u64>, observer: &dyn Observer) {
        let Some(&all) = self.inode.and_then(|it| dropped.get(&it)) else { return };
        let before = self.told.swap(all, Ordering::Relaxed);
        if all > before {
            observer.on(&Event::Overflowed { local: self.local, datagrams: all - before });
        }
    }
}

/// How many datagrams each UDP socket of the machine has dropped, by its number.
fn dropped() -> HashMap<u64, u64> {
    let tables = ["/proc/net/udp", "/proc/net/udp6"].map(fs::read_to_string);
    tables.iter().flatten().flat_map(|table| table.lines().filter_map(row)).collect()
}

/// The tenth column is the socket's number, the last how many datagrams it dropped.
fn row(line: &str) -> Option<(u64, u64)> {
    let mut columns = line.split_ascii_whitespace();
    let inode = columns.nth(9)?.parse().ok()?;
    Some((inode, columns.next_back()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_tells_the_socket_and_its_drops() {
        let head = "   sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode ref pointer drops";
        assert_eq!(row(head), None);
        let line = " 3046: 00000000:0035 00000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 19847 2 0000000000000000 42";
        assert_eq!(row(line), Some((19847, 42)));
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn what_a_socket_could_not_hold_is_told_once() {
        let socket = std::net::UdpSocket::bind("127.0.0.1:0").expect("a socket");
        let to = socket.local_addr().expect("an address");
        let sender = std::net::UdpSocket::bind("127.0.0.1:0").expect("a socket");
        let backlog = Backlog::of(&socket, to);
        for _ in 0..2000 {
            sender.send_to(&[0; 1000], to).expect("sent");
        }
        let told = Mutex::new(Vec::new());
        let observer = |event: &Event<'_>| {
            if let Event::Overflowed { local, datagrams } = event {
                told.lock().expect("sound").push((*local, *datagrams));
            }
        };
        let [mine, next] = [&backlog, &Backlog::of(&socket, to)];
        mine.tell(&dropped(), &observer);
        assert!(matches!(told.lock().expect("sound").as_slice(), [(at, 1..)] if *at == to));
        // Who takes the socket over tells nothing of what was before.
        for backlog in [mine, next] {
            backlog.tell(&dropped(), &observer);
        }
        assert_eq!(told.lock().expect("sound").len(), 1);
    }
}
