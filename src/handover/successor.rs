//! The side that is there.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::process::{Child, Command, Stdio, id};
use std::sync::Arc;
use std::thread::sleep;
use std::time::{Duration, Instant};

use refractium_protocol::Transport;
use tokio::sync::{mpsc, oneshot};
use tokio::task::spawn_blocking;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::link::{Link, MOST_DESCRIPTORS, Message, PATIENCE, is_gone};
use super::{BESIDES, END, FROM, HandOverError, READY, SERVING, SESSIONS, SOCKETS};
use crate::engine::Refractium;
use crate::event::Event;
use crate::reload::Order;
use crate::udp::Handed;

/// A process that is to take over. Dropping it ends the process, unless it has.
#[derive(Debug)]
pub struct Successor {
    child: Child,
    link: Arc<Link>,
    has_taken_over: bool,
}

/// What a run is asked for.
pub(crate) enum Request {
    /// Copies of its listeners.
    Sockets(oneshot::Sender<io::Result<Sockets>>),
    /// To read no datagrams until the token is cancelled, or for good.
    Pause(CancellationToken, oneshot::Sender<io::Result<()>>),
    /// Copies of a few sessions that were not given yet; none: that was all.
    Sessions(oneshot::Sender<io::Result<Vec<Owned>>>),
    /// To take nobody any more.
    Go(Going),
}

/// How far a run is that takes nobody any more.
#[derive(Clone, Debug, Default)]
pub(crate) struct Going {
    /// Cancelled once none of its workers lets a client in.
    pub(crate) is_closed: CancellationToken,
    /// Cancelled once nothing is left.
    pub(crate) has_ended: CancellationToken,
}

/// The listeners of a run.
#[derive(Debug)]
pub(crate) struct Sockets {
    pub(crate) workers: usize,
    pub(crate) list: Vec<Socket>,
}

/// One of them.
#[derive(Debug)]
pub(crate) struct Socket {
    pub(crate) worker: usize,
    pub(crate) transport: Transport,
    pub(crate) local: SocketAddr,
    pub(crate) asked: SocketAddr,
    pub(crate) copy: OwnedFd,
}

/// A session, and whose it is.
#[derive(Debug)]
pub(crate) struct Owned {
    pub(crate) worker: usize,
    pub(crate) local: SocketAddr,
    pub(crate) handed: Handed,
}

/// How long the other may take to read its configuration and to bind.
const STARTING: Duration = Duration::from_secs(10);

/// How long it may take then to serve.
const COMING: Duration = Duration::from_secs(5);

/// How long it may take to listen.
const SAYING: Duration = PATIENCE;

/// How long this process may take to let nobody in any more. The other waits longer for it to hang up.
const CLOSING: Duration = Duration::from_millis(500);

/// How long it may take to end, once it has hung up.
const ENDING: Duration = Duration::from_secs(1);

impl Successor {
    /// Starts the program that is to take over; it finds this process by its standard input.
    ///
    /// # Errors
    ///
    /// [`HandOverError::Start`].
    pub fn start(mut command: Command) -> Result<Self, HandOverError> {
        let (link, theirs) = Link::pair().map_err(HandOverError::Start)?;
        command.stdin(Stdio::from(theirs)).env(FROM, id().to_string());
        // What it was started with has their end too, and is gone with this.
        let child = command.spawn().map_err(HandOverError::Start)?;
        drop(command);
        Ok(Self { child, link: Arc::new(link), has_taken_over: false })
    }

    /// The number of its process.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Waits for a word.
    async fn hear(&mut self, word: &str, within: Duration) -> Result<(), HandOverError> {
        let link = Arc::clone(&self.link);
        match spawn_blocking(move || link.receive(within)).await {
            Ok(Ok(Message { text, .. })) if text == word => Ok(()),
            Ok(Ok(Message { text, .. })) => Err(HandOverError::Talk(io::Error::other(text))),
            Ok(Err(error)) => Err(self.silent(error, within)),
            Err(error) => Err(HandOverError::Talk(io::Error::other(error))),
        }
    }

    async fn say(&mut self, text: String, descriptors: Vec<OwnedFd>) -> Result<(), HandOverError> {
        let link = Arc::clone(&self.link);
        let said = spawn_blocking(move || {
            let borrowed: Vec<BorrowedFd<'_>> = descriptors.iter().map(AsFd::as_fd).collect();
            link.send(&text, &borrowed)
        });
        match said.await.map_err(io::Error::other) {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) | Err(error) => Err(self.silent(error, SAYING)),
        }
    }

    fn silent(&mut self, error: io::Error, within: Duration) -> HandOverError {
        match error.kind() {
            io::ErrorKind::WouldBlock => HandOverError::Late(within.as_secs()),
            _ if is_gone(&error) => {
                let end = Instant::now() + ENDING;
                while Instant::now() < end {
                    if let Ok(Some(status)) = self.child.try_wait() {
                        return HandOverError::Ended(status.to_string());
                    }
                    sleep(Duration::from_millis(5));
                }
                HandOverError::Talk(error)
            }
            _ => HandOverError::Talk(error),
        }
    }
}

impl Drop for Successor {
    fn drop(&mut self) {
        if !self.has_taken_over {
            // It may have ended by itself.
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

impl Refractium {
    /// Hands everything that this engine listens on to another process, with the UDP sessions, while it serves. Open
    /// connections stay here and go on for as long as they last, or until the run is told to end. `besides` are other
    /// sockets that the program has, for the one that comes.
    ///
    /// No client is refused: the listeners are never closed. Until the other says that it serves, this one does. It hears that
    /// it is on its own when the successor is dropped.
    ///
    /// # Errors
    ///
    /// Nothing has changed then, and this engine goes on.
    pub async fn hand_over(
        &self,
        successor: &mut Successor,
        besides: Vec<OwnedFd>,
    ) -> Result<Rest, HandOverError> {
        let _one = self.runs.change_alone().ok_or(HandOverError::UnderWay)?;
        let run = self.runs.only().ok_or(HandOverError::NothingServed)?;
        give_sockets(&run, successor, besides).await?;
        successor.hear(READY, STARTING).await?;
        // Whatever ends this, until the other serves: datagrams are read again.
        let stay = CancellationToken::new();
        let staying = stay.clone().drop_guard();
        let given = async {
            let pause = |reply| Request::Pause(stay.clone(), reply);
            ask(&run, pause).await?.map_err(HandOverError::Sockets)?;
            let count = give_sessions(&run, successor).await?;
            successor.hear(SERVING, COMING).await?;
            Ok(count)
        };
        let sessions = given.await?;
        let going = Going::default();
        tell(&run, Request::Go(going.clone())).await?;
        staying.disarm();
        successor.has_taken_over = true;
        // Both have one queue of clients: who comes once this is told is the other's. A worker that is blocked is not waited
        // for.
        let _ = timeout(CLOSING, going.is_closed.cancelled()).await;
        let (open, process) = (self.open(), successor.id());
        self.observer().on(&Event::HandedOver { process, sessions, open });
        Ok(Rest(going.has_ended))
    }
}

/// What goes on in this process after a hand-over.
#[derive(Debug)]
pub struct Rest(CancellationToken);

impl Rest {
    /// Waits until nothing is left of it.
    pub async fn ended(&self) {
        self.0.cancelled().await;
    }
}

type Run = mpsc::Sender<Order>;

async fn tell(run: &Run, request: Request) -> Result<(), HandOverError> {
    run.send(Order::HandOver(request)).await.map_err(|_| HandOverError::NothingServed)
}

async fn ask<T>(
    run: &Run,
    request: impl FnOnce(oneshot::Sender<T>) -> Request,
) -> Result<T, HandOverError> {
    let (reply, told) = oneshot::channel();
    tell(run, request(reply)).await?;
    told.await.map_err(|_| HandOverError::NothingServed)
}

async fn give_sockets(
    run: &Run,
    successor: &mut Successor,
    besides: Vec<OwnedFd>,
) -> Result<(), HandOverError> {
    let sockets = ask(run, Request::Sockets).await?.map_err(HandOverError::Sockets)?;
    let line = |it: Socket| {
        let Socket { worker, transport, local, asked, copy } = it;
        (format!("{transport} {worker} {local} {asked}"), copy)
    };
    let mut lines: Vec<_> = sockets.list.into_iter().map(line).collect();
    lines.extend(besides.into_iter().map(|it| (BESIDES.to_owned(), it)));
    say_all(successor, SOCKETS, lines).await?;
    successor.say(format!("{END} {}", sockets.workers), Vec::new()).await
}

async fn give_sessions(run: &Run, successor: &mut Successor) -> Result<usize, HandOverError> {
    let mut count = 0;
    loop {
        let some = ask(run, Request::Sessions).await?.map_err(HandOverError::Sockets)?;
        if some.is_empty() {
            successor.say(END.to_owned(), Vec::new()).await?;
            return Ok(count);
        }
        count += some.len();
        let line = |it: Owned| {
            let Owned { worker, local, handed: Handed { socket, session } } = it;
            (format!("{worker} {local} {}", session.line()), socket)
        };
        say_all(successor, SESSIONS, some.into_iter().map(line).collect()).await?;
    }
}

/// One line for each descriptor, as many at once as a message takes.
async fn say_all(
    successor: &mut Successor,
    title: &str,
    lines: Vec<(String, OwnedFd)>,
) -> Result<(), HandOverError> {
    let mut lines = lines.into_iter().peekable();
    while lines.peek().is_some() {
        let (texts, descriptors): (Vec<_>, Vec<_>) = lines.by_ref().take(MOST_DESCRIPTORS).unzip();
        successor.say(format!("{title}\n{}", texts.join("\n")), descriptors).await?;
    }
    Ok(())
}
