//! One run of an engine: what it listens on and looks after, and how it follows another plan.

mod leaving;

use std::convert::Infallible as Never;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use refractium_protocol::Transport;
use socket2::SockRef;
use tokio::sync::{mpsc, oneshot};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::changes::Changes;
use crate::crew::{Crew, Shared};
use crate::engine::Refractium;
use crate::error::Error;
use crate::event::Event;
use crate::handover::{Adopted, Going, Predecessor};
use crate::health::Health;
use crate::listeners::{Listeners, Registered, address_is_dual};
use crate::plan::Plan;
use crate::reload::{Change, Order};
use crate::resolve::{self, Care, Names, Own};
use crate::spots::{At, Move, Spots};
use crate::succession::Succession;
use crate::tcp::{self, Door};
use crate::terms::Terms;
use crate::udp::{Backlogs, Circle};
use crate::watchdog;

/// What a run looks after beside its workers.
pub(crate) struct Run<'e> {
    engine: &'e Refractium,
    all: &'e Arc<[Arc<Shared>]>,
    backlogs: &'e Backlogs,
    /// Told once everything was handed over.
    gone: Option<oneshot::Sender<Going>>,
    spots: Spots,
    names: Names,
    health: Health,
}

/// What a run begins with.
pub(crate) struct Beginning {
    pub(crate) listeners: Vec<Registered>,
    pub(crate) predecessor: Option<Predecessor>,
    pub(crate) gone: oneshot::Sender<Going>,
}

impl<'e> Run<'e> {
    /// Resolves the backends' names, accepts, and begins to check.
    ///
    /// # Errors
    ///
    /// [`Error::Predecessor`], and nobody is accepted.
    pub(crate) async fn begin(
        engine: &'e Refractium,
        all: &'e Arc<[Arc<Shared>]>,
        backlogs: &'e Backlogs,
        beginning: Beginning,
    ) -> Result<Self, Error> {
        let Beginning { mut listeners, predecessor, gone } = beginning;
        let (plan, observer) = (engine.plan(), engine.observer());
        engine.tell(&plan);
        let own = Spots::default().own(&Move::default(), &bound(&listeners));
        resolve::refuse_own(&plan.table, &own, observer.as_ref());
        let care = Care::new(&plan.limits, own);
        let mut names = Names::new(care.clone(), observer);
        // Clients have the other process meanwhile.
        let patience = if predecessor.is_some() { resolve::UPGRADE } else { resolve::START };
        names.follow(&plan.table, care).within(patience).await;
        let (spots, health) = (Spots::default(), Health::new(observer));
        let gone = Some(gone);
        let mut run = Self { engine, all, backlogs, gone, spots, names, health };
        if let Some(predecessor) = &predecessor {
            let adopted = predecessor.hand_in(&mut listeners).await;
            let Adopted { sessions, lost } = adopted.map_err(Error::Predecessor)?;
            observer.on(&Event::TookOver { sessions, lost });
        }
        for worker in all.iter() {
            worker.tasks.spawn_on(watchdog::beat(Arc::clone(worker)), &worker.runtime);
        }
        run.open(listeners);
        run.health.follow(&plan.table);
        if let Some(predecessor) = predecessor {
            predecessor.dismiss().await;
        }
        Ok(run)
    }

    /// Looks after names and backends, and follows the orders that come, until dropped.
    pub(crate) async fn steer(&mut self, mut orders: mpsc::Receiver<Order>) -> Never {
        loop {
            tokio::select! {
                never = self.names.keep() => match never {},
                never = self.health.keep() => match never {},
                order = orders.recv() => {
                    // There is always somebody who could give one: the run is known to its engine.
                    match order {
                        None => {}
                        // Who gave it may not wait any more.
                        Some(Order::Change(Change { plan, addresses, reply })) => {
                            let _ = reply.send(self.follow(&plan, addresses.as_deref()).await);
                        }
                        Some(Order::HandOver(request)) => self.leave(request).await,
                    }
                }
            }
        }
    }

    /// Binds, resolves, and then changes everything at once; or nothing.
    async fn follow(
        &mut self,
        plan: &Arc<Plan>,
        addresses: Option<&[SocketAddr]>,
    ) -> Result<Changes, Error> {
        let transports = plan.table.transports();
        let made = addresses.map(|wanted| self.spots.compare(wanted, transports));
        let made = made.unwrap_or_default();
        let listeners = self.bind(&made).inspect_err(|_| self.spots.undo(&made))?;
        let own = self.spots.own(&made, &bound(&listeners));
        let succession = Succession::new(&self.engine.plan().table, &plan.table);
        let care = Care::new(&plan.limits, own.clone());
        self.names.follow(&plan.table, care).within(resolve::START).await;
        // From here on nothing waits and nothing fails.
        succession.commit();
        let Succession { mut changes, retired, .. } = succession;
        // Before anybody is accepted there.
        resolve::refuse_own(&plan.table, &own, self.engine.observer().as_ref());
        self.engine.follow(plan, retired);
        self.engine.tell(plan);
        self.set_terms(plan, &own);
        let lingering = self.spots.lingering(&made);
        let (reopened, closed) = self.spots.make(&made);
        let opened = self.open(listeners).into_iter().chain(reopened);
        self.close_later(lingering);
        self.spots.set_keepalive(&plan.limits);
        self.health.follow(&plan.table);
        let told = |it: At| (it.local, it.transport);
        changes.opened = opened.map(told).collect();
        changes.closed = closed.into_iter().map(told).collect();
        Ok(changes)
    }

    fn bind(&self, made: &Move) -> Result<Vec<Registered>, Error> {
        let groups = Listeners::bind_places(&made.missing, self.all.len())?;
        let register = |(listeners, worker): (Listeners, &Arc<Shared>)| {
            let _inside = worker.runtime.enter();
            listeners.register(worker)
        };
        groups.into_iter().zip(self.all.iter()).map(register).collect()
    }

    fn set_terms(&self, plan: &Arc<Plan>, own: &Own) {
        let circle = Arc::new(Circle::new(own.udp.as_slice().into(), &plan.table));
        for worker in self.all.iter() {
            worker.set_terms(Terms::new(Arc::clone(plan), Arc::clone(&circle)));
        }
    }

    /// Has listeners that others take the place of closed once the handshakes that have begun there are over: nobody but
    /// they could finish them, and the client would be reset.
    fn close_later(&self, listeners: Vec<CancellationToken>) {
        let Some(worker) = self.all.first().filter(|_| !listeners.is_empty()) else { return };
        let stop = worker.stop.clone();
        let closing = async move {
            tokio::select! {
                () = stop.cancelled() => {}
                () = sleep(HANDSHAKE) => {}
            }
            listeners.iter().for_each(CancellationToken::cancel);
        };
        worker.tasks.spawn_on(closing, &worker.runtime);
    }

    /// Serves these sockets; where that is news.
    fn open(&mut self, listeners: Vec<Registered>) -> Vec<At> {
        let mut news = Vec::new();
        for (worker, (crew, listeners)) in Crew::of(self.all).zip(listeners).enumerate() {
            let (tasks, doors, runtime) = (&crew.me.tasks, &crew.me.doors, &crew.me.runtime);
            let all = listeners.all();
            let Registered { tcp, udp, .. } = listeners;
            let mut all = all.into_iter();
            for ((local, listener), at) in tcp.into_iter().zip(all.by_ref()) {
                let (Some(spot), is_new) = self.spots.at(at) else { continue };
                let (listener, stop) = (Arc::new(listener), crew.me.stop.child_token());
                spot.listeners.push((worker, Arc::downgrade(&listener)));
                spot.stops.push(stop.clone());
                let accepting = tcp::accept(Door { listener, local, stop }, crew.clone());
                tasks.spawn_on(doors.track_future(accepting), runtime);
                news.extend(is_new.then_some(at));
            }
            for (port, at) in udp.into_iter().zip(all) {
                let (Some(spot), is_new) = self.spots.at(at) else { continue };
                self.backlogs.add(&port.backlog());
                let (steered, told) = port.steered();
                spot.ports.push((worker, steered));
                let serving = port.serve(spot.course.join(), told);
                tasks.spawn_on(doors.track_future(serving), runtime);
                news.extend(is_new.then_some(at));
            }
        }
        for &At { local, transport, .. } in &news {
            self.engine.observer().on(&Event::Listening { local, transport });
        }
        news
    }
}

/// How long a handshake takes at most, but for one of which a packet was lost (RFC 6298, section 2: one second until it is
/// sent again).
const HANDSHAKE: Duration = Duration::from_secs(1);

/// Where all of these are bound.
fn bound(listeners: &[Registered]) -> Vec<At> {
    listeners.iter().flat_map(Registered::all).collect()
}

impl Registered {
    /// Where they are bound: those for TCP first, each in its order.
    fn all(&self) -> Vec<At> {
        let tcp = self.tcp.iter().map(|(local, listener)| {
            let is_dual = address_is_dual(*local, &SockRef::from(listener));
            (*local, is_dual, Transport::Tcp)
        });
        let udp = self.udp.iter().map(|port| (port.local(), port.is_dual(), Transport::Udp));
        let at = |(local, is_dual, transport)| At {
            asked: self.asked(local),
            local,
            is_dual,
            transport,
        };
        tcp.chain(udp).map(at).collect()
    }
}
