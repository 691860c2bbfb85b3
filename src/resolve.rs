//! Host names of backends, and names of SRV records, become addresses, away from the data path.

use std::collections::HashSet;
use std::future::pending;
use std::hash::{BuildHasher, RandomState};
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::{Arc, Weak};
use std::time::Duration;

use refractium_protocol::Transport;
use tokio::net::lookup_host;
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use crate::endpoint::Endpoint;
use crate::event::{Event, Observer};
use crate::group::{Found, Group, Rank};
use crate::limits::Limits;
use crate::own::leads_back;
use crate::srv;
use crate::table::Table;

/// Where we listen.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Own {
    pub(crate) tcp: Vec<SocketAddr>,
    pub(crate) udp: Vec<SocketAddr>,
}

/// All names, each resolved again and again until this is dropped, or no plan has it any more.
pub(crate) struct Names {
    observer: Arc<dyn Observer>,
    tasks: JoinSet<()>,
    /// Those that have a task.
    kept: Vec<Weak<Group>>,
    room: Arc<Semaphore>,
    care: watch::Sender<Care>,
}

/// How names are resolved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Care {
    own: Own,
    /// How long an answer may take.
    limit: Duration,
    /// How often they are asked for again.
    interval: Duration,
}

/// Closed once every new name has been answered.
pub(crate) struct Answered(mpsc::Receiver<()>);

impl Care {
    pub(crate) fn new(limits: &Limits, own: Own) -> Self {
        let (limit, interval) = (limits.connect_timeout, limits.resolve_interval.max(SHORTEST));
        Self { own, limit, interval }
    }
}

impl Answered {
    /// Waits until every name has been answered once, but no longer than this: a name that is slow must not keep the clients
    /// of others waiting.
    pub(crate) async fn within(mut self, patience: Duration) {
        // It only ever closes.
        let _ = timeout(patience, self.0.recv()).await;
    }
}

impl Own {
    /// Whether a backend there would be ourselves.
    fn has(&self, group: &Group, address: SocketAddr) -> bool {
        let listening = match group.transport() {
            Transport::Tcp => &self.tcp,
            Transport::Udp => &self.udp,
        };
        leads_back(listening, address)
    }
}

/// Takes those backends away that are addresses of our own, which only shows when those are known. What names led to is
/// told of by who resolves them.
pub(crate) fn refuse_own(table: &Table, own: &Own, observer: &dyn Observer) {
    for group in table.groups() {
        let endpoint = group.endpoint();
        match endpoint.address() {
            Some(address) if !own.has(&group, address) => {
                group.set(&[address]); // another run may have listened there
            }
            Some(address) => {
                if group.set(&[]) {
                    observer.on(&Event::LeadsBack { endpoint, address });
                }
            }
            None => group.let_go(|address| own.has(&group, address)),
        }
    }
}

impl Names {
    /// None yet.
    pub(crate) fn new(care: Care, observer: &Arc<dyn Observer>) -> Self {
        Self {
            observer: Arc::clone(observer),
            tasks: JoinSet::new(),
            kept: Vec::new(),
            room: Arc::new(Semaphore::new(AT_A_TIME)),
            care: watch::Sender::new(care),
        }
    }

    /// Begins to resolve the names of this table that are not resolved yet. Those that are go on undisturbed, if they are
    /// to be resolved as before.
    pub(crate) fn follow(&mut self, table: &Table, care: Care) -> Answered {
        self.care.send_if_modified(|known| std::mem::replace(known, care.clone()) != care);
        self.kept.retain(|it| it.strong_count() > 0);
        let kept: HashSet<_> = self.kept.iter().map(Weak::as_ptr).collect();
        let is_new = |it: &Arc<Group>| !kept.contains(&Arc::as_ptr(it));
        let groups = table.groups().into_iter().filter(|it| it.endpoint().address().is_none());
        let new: Vec<_> = groups.filter(is_new).collect();
        let (waits, answered) = mpsc::channel(1);
        for group in new {
            self.kept.push(Arc::downgrade(&group));
            let name = Name {
                group,
                observer: Arc::clone(&self.observer),
                room: Arc::clone(&self.room),
                waits: Some(waits.clone()),
                refused: Vec::new(),
                taken: Vec::new(),
                care: self.care.subscribe(),
            };
            self.tasks.spawn(name.keep_until_left());
        }
        Answered(answered)
    }

    /// Goes on until dropped.
    pub(crate) async fn keep(&mut self) -> std::convert::Infallible {
        while self.tasks.join_next().await.is_some() {}
        pending().await
    }
}

/// One name.
struct Name {
    group: Arc<Group>,
    care: watch::Receiver<Care>,
    observer: Arc<dyn Observer>,
    room: Arc<Semaphore>,
    /// Dropped with the first answer.
    waits: Option<mpsc::Sender<()>>,
    /// Addresses of our own that it had last.
    refused: Vec<SocketAddr>,
    /// What was taken last, of which some may have become our own since.
    taken: Vec<Found>,
}

impl Name {
    async fn keep_until_left(self) {
        let group = Arc::clone(&self.group);
        tokio::select! {
            () = self.keep() => {}
            () = group.left() => {}
        }
    }

    async fn keep(mut self) {
        let mut soon = SOON;
        loop {
            let care = self.care.borrow_and_update().clone();
            let (now_own, _) = self.parted(self.taken.clone(), &care.own);
            self.tell_of(&now_own);
            self.resolve(&care).await;
            self.waits = None;
            let wait = if self.group.members().is_empty() {
                // It may only be that the resolver starts later than we do.
                let wait = soon.min(care.interval);
                soon = soon.saturating_mul(2);
                wait
            } else {
                soon = SOON;
                care.interval
            };
            tokio::select! {
                () = sleep(wait - wait / 20 + part(wait / 10)) => {}
                // An error would be the end of all names.
                _ = self.care.changed() => {}
            }
        }
    }

    async fn resolve(&mut self, care: &Care) {
        let group = Arc::clone(&self.group);
        // The system's resolver is asked on a thread that nobody can call back: it is waited for to its end, so that
        // there is never a second one for the same name. Nor is another given up while it goes from server to server.
        let mut lookup = pin!(look_up(&group));
        let answer = {
            let Ok(_one) = self.room.acquire().await else { return };
            timeout(care.limit, &mut lookup).await
        };
        let answer = match answer {
            Ok(answer) => answer,
            Err(_) => {
                self.fails(group.endpoint(), &io::ErrorKind::TimedOut.into());
                self.waits = None;
                lookup.await
            }
        };
        match answer {
            Ok(answer) => {
                for (target, error) in &answer.failed {
                    self.fails(target, error);
                }
                self.take(answer.found);
            }
            Err(error) => self.fails(group.endpoint(), &error),
        }
    }

    /// Takes an answer, without what would lead back to us.
    fn take(&mut self, found: Vec<Found>) {
        // Held until all is done: who begins to listen somewhere then finds nothing there that was looked at before.
        let care = self.care.borrow();
        let (own, mut others) = self.parted(found, &care.own);
        others.truncate(MOST_ADDRESSES);
        let is_news = if others.is_empty() {
            // Of those it had some may be our own by now.
            self.group.let_go(|address| care.own.has(&self.group, address));
            false
        } else {
            self.group.take(&others)
        };
        drop(care);
        self.tell_of(&own);
        self.refused.retain(|address| own.iter().any(|it| it.address == *address));
        if others.is_empty() {
            let error = io::Error::new(io::ErrorKind::NotFound, "the name has no address to use");
            return self.fails(self.group.endpoint(), &error);
        }
        if is_news {
            let addresses: Vec<_> = others.iter().map(|it| it.address).collect();
            let endpoint = self.group.endpoint();
            self.observer.on(&Event::Resolved { endpoint, addresses: &addresses });
        }
        self.taken = others;
    }

    /// Those that are our own, and the others.
    fn parted(&self, found: Vec<Found>, known: &Own) -> (Vec<Found>, Vec<Found>) {
        found.into_iter().partition(|it| known.has(&self.group, it.address))
    }

    /// Tells of addresses of our own, of each once while the name has it.
    fn tell_of(&mut self, own: &[Found]) {
        for &Found { ref endpoint, address, .. } in own {
            if !self.refused.contains(&address) {
                self.observer.on(&Event::LeadsBack { endpoint, address });
                self.refused.push(address);
            }
        }
    }

    /// The last good answer is kept.
    fn fails(&self, endpoint: &Endpoint, error: &io::Error) {
        let members = self.group.members();
        let is_its = |of: &Endpoint| of == endpoint || self.group.endpoint() == endpoint;
        let kept = members.iter().filter(|it| is_its(it.backend.endpoint())).count();
        self.observer.on(&Event::Unresolved { endpoint, kept, error });
    }
}

/// Asks for the addresses of a name, or for what its SRV records say.
async fn look_up(group: &Group) -> io::Result<srv::Answer> {
    let endpoint = group.endpoint();
    if let Some(name) = endpoint.srv() {
        return srv::look_up(name, &group.members()).await;
    }
    let name = endpoint.name().unwrap_or_default();
    let mut addresses: Vec<_> = lookup_host((name, endpoint.port())).await?.collect();
    addresses.sort_unstable();
    addresses.dedup();
    let rank = Rank::default();
    let one = |address| Found { endpoint: endpoint.clone(), address, rank };
    Ok(srv::Answer { found: addresses.into_iter().map(one).collect(), failed: Vec::new() })
}

fn part(whole: Duration) -> Duration {
    let drawn = RandomState::new().hash_one(0) % 1000;
    whole.mul_f64(drawn as f64 / 1000.0)
}

/// How long the first client may have to wait for names.
pub(crate) const START: Duration = Duration::from_millis(500);

/// How long they may take where another process serves until they are there.
pub(crate) const UPGRADE: Duration = Duration::from_secs(5);

/// When a name without any address is asked for again, at first.
const SOON: Duration = Duration::from_secs(1);

/// More often is no question but a load.
const SHORTEST: Duration = Duration::from_millis(1);

/// How many names are asked for at a time: each takes a thread, for that is how systems resolve. One that takes longer than
/// it may is not counted any more.
const AT_A_TIME: usize = 16;

/// Most addresses of one name that are used.
const MOST_ADDRESSES: usize = 256;
