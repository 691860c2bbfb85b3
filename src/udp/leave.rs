//! Sessions on their way from one process to the next: their clients and backends notice nothing.

use std::io;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::pin::Pin;
use std::sync::{Arc, Weak};
use std::task::{Context, Poll};

use mio::unix::SourceFd;
use mio::{Interest, Token};
use refractium_protocol::Transport;
use tokio::net::UdpSocket as Socket;
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

use super::Port;
use super::outlet::Alone;
use super::session::{Key, Session, Trust, Upstream};
use super::wheel::ticks;
use crate::event::{Count, Event, Exchanged, SessionEnd};
use crate::succession;
use crate::table::{Route, Taken};

/// What a port is told while another process is about to take over.
pub(crate) enum Leave {
    /// To read nothing more, until it is to go or the token is cancelled: then it goes on as if nothing had been said.
    Pause(CancellationToken, oneshot::Sender<()>),
    /// To give copies of so many sessions that it has not given yet; an empty list: all are given.
    Give(usize, oneshot::Sender<io::Result<Vec<Handed>>>),
    /// To end: the other process has everything.
    Go,
}

/// Where a port is told.
pub(crate) type Orders = mpsc::UnboundedReceiver<Leave>;

/// A session, as another process can go on with it.
#[derive(Debug)]
pub(crate) struct Handed {
    /// Connected to the backend.
    pub(crate) socket: OwnedFd,
    pub(crate) session: Told,
}

/// What is told of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Told {
    key: Key,
    backend: SocketAddr,
    is_refused: bool,
    is_unknown: bool,
    gathers: bool,
    trust: Trust,
    exchanged: Exchanged,
    /// What its route takes.
    route: String,
}

impl Told {
    fn of(session: &Session) -> Self {
        Self {
            key: session.key,
            backend: session.upstream.address(),
            is_refused: session.is_refused,
            is_unknown: session.is_unknown,
            gathers: session.upstream.gathers,
            trust: session.trust,
            exchanged: session.exchanged,
            route: label(&session.route),
        }
    }

    /// As a line of text.
    pub(crate) fn line(&self) -> String {
        let Self { key: Key { peer, local }, backend, exchanged: Exchanged { up, down }, .. } =
            self;
        let local = local.map_or_else(|| "-".to_owned(), |it| it.to_string());
        let flags = [self.is_refused, self.is_unknown, self.gathers].map(u8::from);
        let trust = match self.trust {
            Trust::Unanswered => 0,
            Trust::Answered => 1,
            Trust::Confirmed => 2,
        };
        let [refused, unknown, gathers] = flags;
        format!(
            "{peer} {local} {backend} {refused} {unknown} {gathers} {trust} {} {} {} {} {}",
            up.datagrams, up.bytes, down.datagrams, down.bytes, self.route
        )
    }

    /// Such a line, read again; `None`: it is none.
    pub(crate) fn read(line: &str) -> Option<Self> {
        let mut words = line.splitn(12, ' ');
        let peer = words.next()?.parse().ok()?;
        let local = match words.next()? {
            "-" => None,
            local => Some(local.parse::<IpAddr>().ok()?),
        };
        let backend = words.next()?.parse().ok()?;
        let mut number = || words.next()?.parse::<u64>().ok();
        let (is_refused, is_unknown, gathers) = (number()? > 0, number()? > 0, number()? > 0);
        let trust = match number()? {
            0 => Trust::Unanswered,
            1 => Trust::Answered,
            _ => Trust::Confirmed,
        };
        let mut count = || Some(Count { datagrams: number()?, bytes: number()? });
        let exchanged = Exchanged { up: count()?, down: count()? };
        let (key, route) = (Key { peer, local }, words.next()?.to_owned());
        Some(Self { key, backend, is_refused, is_unknown, gathers, trust, exchanged, route })
    }
}

/// What a route takes, on one line.
fn label(route: &Route) -> String {
    succession::name(route, Transport::Udp).escape_debug().to_string()
}

/// How far a port is with leaving.
#[derive(Debug, Default)]
pub(crate) enum Leaving {
    /// It serves.
    #[default]
    Not,
    /// It reads nothing until that is over; these sessions have not been given yet.
    Paused(Vec<Token>, Pin<Box<WaitForCancellationFutureOwned>>),
    Gone,
}

impl Leaving {
    pub(super) const fn is_not(&self) -> bool {
        matches!(self, Self::Not)
    }
}

/// A port that is served, as others see it.
#[derive(Debug)]
pub(crate) struct Steered {
    orders: mpsc::UnboundedSender<Leave>,
    socket: Weak<Socket>,
}

impl Steered {
    pub(crate) fn tell(&self, order: Leave) {
        // One that has ended needs no order.
        let _ = self.orders.send(order);
    }

    /// Its socket once more, while it is served.
    pub(crate) fn copy(&self) -> io::Result<Option<OwnedFd>> {
        let socket = self.socket.upgrade();
        socket.map(|it| it.as_fd().try_clone_to_owned()).transpose()
    }
}

impl Port {
    /// Lets others steer it once it is served.
    pub(crate) fn steered(&self) -> (Steered, Orders) {
        let (orders, told) = mpsc::unbounded_channel();
        (Steered { orders, socket: Arc::downgrade(&self.socket) }, told)
    }

    /// Does what it is told. While it leaves it reads nothing.
    pub(super) fn hear(&mut self, orders: &mut Orders, cx: &mut Context<'_>) {
        while let Poll::Ready(Some(order)) = orders.poll_recv(cx) {
            match order {
                Leave::Pause(stay, done) => {
                    self.held.keys().iter().for_each(|key| self.settle(key));
                    let stay = Box::pin(stay.cancelled_owned());
                    self.leaving = Leaving::Paused(self.sessions.tokens(), stay);
                    // Who asked may be gone, and says so itself.
                    let _ = done.send(());
                }
                Leave::Give(most, done) => drop(done.send(self.give(most))),
                Leave::Go => self.leaving = Leaving::Gone,
            }
        }
        if let Leaving::Paused(_, stay) = &mut self.leaving
            && stay.as_mut().poll(cx).is_ready()
        {
            self.leaving = Leaving::Not;
            // What has come meanwhile is looked for at once.
            cx.waker().wake_by_ref();
        }
        if !self.leaving.is_not() {
            // What clients are to get yet is theirs.
            self.unblock(cx);
        }
    }

    /// Whether another process has everything; then its sessions have ended here.
    pub(super) fn is_gone(&mut self) -> bool {
        let is_gone = matches!(self.leaving, Leaving::Gone);
        if is_gone {
            for token in self.sessions.tokens() {
                self.end(token, SessionEnd::HandedOver);
            }
        }
        is_gone
    }

    fn give(&mut self, most: usize) -> io::Result<Vec<Handed>> {
        let Leaving::Paused(left, _) = &mut self.leaving else { return Ok(Vec::new()) };
        let some = left.split_off(left.len().saturating_sub(most));
        let mut handed = Vec::new();
        for token in some {
            let Some(session) = self.sessions.get(token) else { continue };
            let socket = session.upstream.socket.try_clone()?.into();
            handed.push(Handed { socket, session: Told::of(session) });
        }
        Ok(handed)
    }

    /// Goes on with a session of another process. Whether that is possible: its route and its backend may be gone.
    pub(crate) fn adopt(&mut self, handed: Handed) -> bool {
        let Handed { socket, session: told } = handed;
        let plan = Arc::clone(&self.terms.plan);
        let routes = plan.table.routes(Transport::Udp);
        let Some(&route) = routes.iter().find(|it| label(it) == told.route) else {
            return false;
        };
        self.settle_in(UdpSocket::from(socket), told, route).is_some()
    }

    fn settle_in(&mut self, socket: UdpSocket, told: Told, route: &Arc<Route>) -> Option<Token> {
        let backends = route.pool().backends();
        let lease = backends.iter().find(|it| it.address() == told.backend)?.lease(0)?;
        let conn = self.conn(told.key);
        let permit = self.shared.admit_session(conn.client.ip(), self.terms.session_caps).ok()?;
        let token = self.sessions.next_token();
        let (fd, registry) = (socket.as_raw_fd(), self.upstreams.get_ref().registry());
        registry.register(&mut SourceFd(&fd), token, Interest::READABLE).ok()?;
        let stands_in = route.is_transparent();
        let Told { gathers, is_refused, is_unknown, exchanged, trust, key, .. } = told;
        let upstream = Upstream { socket, lease, gathers, path: Alone::default(), stands_in };
        upstream.follow_for(route);
        let backend = upstream.backend();
        self.shared.observer.on(&Event::SessionOpened { conn: &conn, route, backend });
        let idle = route.idle_timeout().unwrap_or(self.terms.limits.udp_idle_timeout);
        let session = Session {
            key,
            conn,
            route: Taken::new(Arc::clone(route)),
            upstream,
            is_refused,
            is_unknown,
            exchanged,
            path: Alone::default(),
            trust,
            last: self.wheel.tick(self.now),
            idle: (!idle.is_zero()).then(|| ticks(idle).saturating_add(1)),
            _permit: permit,
        };
        Some(self.sessions.insert(session, &mut self.wheel))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::timeout;

    use crate::crew::Shared;
    use crate::engine::Refractium;
    use crate::event::Event;
    use crate::udp::Course;

    use super::*;

    const DEADLINE: Duration = Duration::from_secs(20);

    async fn bound() -> Socket {
        Socket::bind("127.0.0.1:0").await.expect("a port")
    }

    async fn passes(from: &Socket, to: SocketAddr, bytes: &[u8], at: &Socket) -> SocketAddr {
        from.send_to(bytes, to).await.expect("room");
        let mut buffer = [0; 16];
        let got = timeout(DEADLINE, at.recv_from(&mut buffer)).await.expect("a datagram");
        let (count, sender) = got.expect("an open socket");
        assert_eq!(&buffer[..count], bytes);
        sender
    }

    /// Whoever asked it to pause may be gone, and with it the run, because the end was wished for.
    #[tokio::test]
    async fn who_paused_goes_on_once_nobody_wants_it_to() {
        let (client, backend) = (bound().await, bound().await);
        let to = backend.local_addr().expect("an address");
        let plan = Refractium::builder().fallback_udp(to.into()).plan().expect("sound routes");
        let shared = Shared::alone(plan, |_: &Event<'_>| {});
        let socket = UdpSocket::bind("127.0.0.1:0").expect("a port");
        let port = Port::new(socket, Arc::clone(&shared)).expect("a socket");
        let (local, (steered, orders)) = (port.local(), port.steered());
        let served = tokio::spawn(port.serve(Arc::<Course>::default().join(), orders));
        let outward = passes(&client, local, b"one", &backend).await;
        let (stay, (reply, paused)) = (CancellationToken::new(), oneshot::channel());
        let held = stay.clone().drop_guard();
        steered.tell(Leave::Pause(stay, reply));
        timeout(DEADLINE, paused).await.expect("an answer").expect("a port");
        backend.send_to(b"held back", outward).await.expect("room");
        let nothing = timeout(Duration::from_millis(100), client.recv(&mut [0; 16])).await;
        nothing.expect_err("it reads nothing");
        drop(steered);
        shared.stop.cancel();
        drop(held);
        let mut buffer = [0; 16];
        let got = timeout(DEADLINE, client.recv(&mut buffer)).await.expect("a datagram");
        assert_eq!(&buffer[..got.expect("an open socket")], b"held back");
        assert_eq!(passes(&client, local, b"two", &backend).await, outward);
        passes(&backend, outward, b"three", &client).await;
        shared.cutter.cut();
        timeout(DEADLINE, served).await.expect("its end").expect("no panic");
    }

    #[test]
    fn what_is_told_of_a_session_is_read_again() {
        let (up, down) = (Count { datagrams: 3, bytes: 1200 }, Count { datagrams: 2, bytes: 99 });
        for local in [None, Some("127.0.0.2".parse().expect("an address"))] {
            for trust in [Trust::Unanswered, Trust::Answered, Trust::Confirmed] {
                let told = Told {
                    key: Key { peer: "[::1]:4".parse().expect("an address"), local },
                    backend: "127.0.0.1:53".parse().expect("an address"),
                    is_refused: false,
                    is_unknown: true,
                    gathers: false,
                    trust,
                    exchanged: Exchanged { up, down },
                    route: "a b:c,d/udp".to_owned(),
                };
                assert_eq!(Told::read(&told.line()), Some(told));
            }
        }
        assert_eq!(Told::read("127.0.0.1:1 - 127.0.0.1:2 0 0"), None);
    }
}
