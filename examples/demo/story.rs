//! What the engine itself says of each connection, in one piece.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use refractium::protocol::{Opening, Scratch};
use refractium::{By, Event, Observer, Route};
use tokio::sync::mpsc;
use tokio::time::timeout;

/// One connection, from its opening to its backend.
pub(crate) struct Story {
    pub(crate) client: SocketAddr,
    /// `None` if it was turned away before.
    pub(crate) decided: Option<Decided>,
    pub(crate) end: End,
}

/// How its route was found.
pub(crate) struct Decided {
    /// The protocol, and the host where the opening names one.
    pub(crate) identified: String,
    pub(crate) by: By,
    pub(crate) after: Duration,
}

/// Where that led.
pub(crate) enum End {
    /// To this backend.
    Joined(Option<SocketAddr>),
    /// Nowhere, for this reason.
    Refused(String),
}

/// An observer that puts the events of each connection together and hands them on.
pub(crate) struct Teller {
    /// By connection; the engine's limit on connections is the limit of this, too.
    decided: Mutex<HashMap<u64, Decided>>,
    stories: mpsc::Sender<Story>,
}

impl Teller {
    pub(crate) fn new() -> (Self, mpsc::Receiver<Story>) {
        let (stories, told) = mpsc::channel(UNREAD);
        (Self { decided: Mutex::default(), stories }, told)
    }

    fn tell(&self, id: u64, client: SocketAddr, end: End) {
        let mut all = self.decided.lock().unwrap_or_else(PoisonError::into_inner);
        let decided = all.remove(&id);
        drop(all);
        // An observer must not wait: with nobody reading, the story is lost.
        let _ = self.stories.try_send(Story { client, decided, end });
    }
}

/// Stories kept for a reader who is busy.
const UNREAD: usize = 256;

impl Observer for Teller {
    fn on(&self, event: &Event<'_>) {
        match *event {
            Event::Decided { conn, route, opening, by, after } => {
                let decided = Decided { identified: identified(route, &opening), by, after };
                let mut all = self.decided.lock().unwrap_or_else(PoisonError::into_inner);
                all.insert(conn.id, decided);
            }
            Event::Welded { conn, backend, .. } => {
                let address = backend.endpoint().address();
                self.tell(conn.id, conn.client, End::Joined(address));
            }
            Event::Refused { conn, refusal } => {
                self.tell(conn.id, conn.client, End::Refused(refusal.to_string()));
            }
            _ => {}
        }
    }
}

fn identified(route: &Route, opening: &Opening<'_>) -> String {
    let mut scratch = Scratch::new();
    match route.facts(opening, &mut scratch).host.known() {
        Some(host) => format!("{} {}", route.name(), String::from_utf8_lossy(host)),
        None => route.name().to_owned(),
    }
}

/// Waits for the story of one client, passing over those of others.
pub(crate) async fn of(
    client: Option<SocketAddr>,
    stories: &mut mpsc::Receiver<Story>,
) -> Option<Story> {
    let client = client?;
    let search = async {
        while let Some(story) = stories.recv().await {
            if story.client == client {
                return Some(story);
            }
        }
        None
    };
    timeout(PATIENCE, search).await.ok().flatten()
}

/// The answer is there, so the events before it are; unless there was no answer.
const PATIENCE: Duration = Duration::from_secs(1);
