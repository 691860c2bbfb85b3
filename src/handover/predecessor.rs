//! The side that takes over.

use std::fs::File;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::parent_id;
use std::sync::Arc;
use std::time::Duration;

use rustix::stdio::dup2_stdin;
use tokio::task::spawn_blocking;

use super::link::{Link, Message, is_gone};
use super::{BESIDES, END, FROM, READY, SERVING, SESSIONS, SOCKETS};
use crate::listeners::{Given, Registered};
use crate::udp::{Handed, Told};

/// A process that is about to hand over to this one.
#[derive(Debug)]
pub struct Predecessor {
    link: Arc<Link>,
    workers: usize,
    sockets: Vec<Given>,
    besides: Vec<OwnedFd>,
}

/// What became of its sessions.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Adopted {
    pub(crate) sessions: usize,
    /// Those whose route or backend is no more.
    pub(crate) lost: usize,
}

/// How long it may keep silent.
const PATIENCE: Duration = Duration::from_secs(5);

/// How long it may take to hang up.
const HANGING_UP: Duration = Duration::from_secs(1);

impl Predecessor {
    /// Who started this process, if that was to hand over to it: then its sockets are here. To be called once.
    ///
    /// # Errors
    ///
    /// If it cannot be understood. It goes on then, once this process has ended.
    pub fn from_env() -> io::Result<Option<Self>> {
        let from = std::env::var(FROM).ok().and_then(|it| it.parse().ok());
        if from != Some(parent_id()) {
            return Ok(None);
        }
        let link = Link::new(io::stdin().as_fd().try_clone_to_owned()?)?;
        // It is to be heard that this process ends, and nobody else may read here.
        dup2_stdin(File::open("/dev/null")?)?;
        let (mut sockets, mut besides) = (Vec::new(), Vec::new());
        loop {
            let Message { text, descriptors } = link.receive(PATIENCE)?;
            let mut lines = text.lines();
            let title = lines.next().unwrap_or_default();
            if let Some(workers) = title.strip_prefix(END) {
                let workers = workers.trim().parse().map_err(io::Error::other)?;
                return Ok(Some(Self { link: Arc::new(link), workers, sockets, besides }));
            }
            if title != SOCKETS {
                return Err(wrong(title));
            }
            for (line, descriptor) in lines.zip(descriptors) {
                if line == BESIDES {
                    besides.push(descriptor);
                } else {
                    sockets.push(socket(line, descriptor)?);
                }
            }
        }
    }

    /// How many workers it has: each socket stays with its own.
    pub const fn workers(&self) -> usize {
        self.workers
    }

    /// What it listens on.
    pub fn take_sockets(&mut self) -> Vec<Given> {
        std::mem::take(&mut self.sockets)
    }

    /// Other sockets that it has.
    pub fn take_besides(&mut self) -> Vec<OwnedFd> {
        std::mem::take(&mut self.besides)
    }

    /// Says that all is bound, and gives its sessions to those who will serve them. If it is gone by then, there is nobody
    /// else left to serve.
    ///
    /// # Errors
    ///
    /// If it lives and says nothing, or something else than is to be said: it goes on then, and this process must not serve.
    pub(crate) async fn hand_in(&self, workers: &mut [Registered]) -> io::Result<Adopted> {
        let mut adopted = Adopted::default();
        match self.say(READY).await {
            Err(error) if is_gone(&error) => return Ok(adopted),
            said => said?,
        }
        loop {
            let Message { text, descriptors } = match self.hear(PATIENCE).await {
                Err(error) if is_gone(&error) => return Ok(adopted),
                heard => heard?,
            };
            let mut lines = text.lines();
            match lines.next().unwrap_or_default() {
                SESSIONS => {}
                END => return Ok(adopted),
                title => return Err(wrong(title)),
            }
            for (line, descriptor) in lines.zip(descriptors) {
                match adopt(line, descriptor, workers) {
                    Some(true) => adopted.sessions += 1,
                    _ => adopted.lost += 1,
                }
            }
        }
    }

    /// Says that this process serves, and waits until it is on its own.
    pub(crate) async fn dismiss(self) {
        if self.say(SERVING).await.is_ok() {
            // That it hangs up is all that it says.
            let _ = self.hear(HANGING_UP).await;
        }
    }

    async fn say(&self, word: &'static str) -> io::Result<()> {
        let link = Arc::clone(&self.link);
        spawn_blocking(move || link.send(word, &[])).await.map_err(io::Error::other)?
    }

    async fn hear(&self, within: Duration) -> io::Result<Message> {
        let link = Arc::clone(&self.link);
        spawn_blocking(move || link.receive(within)).await.map_err(io::Error::other)?
    }
}

fn wrong(said: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("it says {said:?}"))
}

/// `tcp 0 127.0.0.1:80 127.0.0.1:80`: what it is for, who had it, where it is bound, and what was asked for.
fn socket(line: &str, descriptor: OwnedFd) -> io::Result<Given> {
    let wrong = || wrong(line);
    let mut words = line.split(' ').skip(1);
    let worker = words.next().and_then(|it| it.parse().ok()).ok_or_else(wrong)?;
    let asked = words.nth(1).and_then(|it| it.parse().ok()).ok_or_else(wrong)?;
    Ok(Given::new(descriptor)?.of_worker(worker, asked))
}

/// `0 127.0.0.1:53 …`: whose it is, and the session.
fn adopt(line: &str, socket: OwnedFd, workers: &mut [Registered]) -> Option<bool> {
    let mut words = line.splitn(3, ' ');
    let worker: usize = words.next()?.parse().ok()?;
    let local: SocketAddr = words.next()?.parse().ok()?;
    let session = Told::read(words.next()?)?;
    let port = workers.get_mut(worker)?.udp.iter_mut().find(|port| port.local() == local)?;
    Some(port.adopt(Handed { socket, session }))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What becomes of one who takes over from a process that says this, and hangs up or not.
    async fn taken(words: &[&str], hangs_up: bool) -> io::Result<Adopted> {
        let (theirs, ours) = Link::pair().expect("a pair");
        let link = Arc::new(Link::new(ours).expect("an end"));
        let (sockets, besides) = (Vec::new(), Vec::new());
        let predecessor = Predecessor { link, workers: 1, sockets, besides };
        words.iter().for_each(|word| theirs.send(word, &[]).expect("room"));
        let theirs = (!hangs_up).then_some(theirs);
        let adopted = predecessor.hand_in(&mut []).await;
        drop(theirs);
        adopted
    }

    /// Nobody else is left to serve where the other is gone. One that lives has sessions yet.
    #[tokio::test]
    async fn only_the_end_of_the_other_is_taken_for_its_end() {
        for (words, hangs_up) in [(&[END][..], false), (&[SESSIONS, END], false), (&[], true)] {
            taken(words, hangs_up).await.expect("it is to serve");
        }
        for word in ["sessionz", "\u{fffd}"] {
            taken(&[word], false).await.expect_err("the other goes on");
        }
    }
}
