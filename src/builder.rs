//! Puts an engine together.

use std::fmt;
use std::sync::Arc;

use refractium_protocol::RefractiumProtocol;

use crate::endpoint::Endpoint;
use crate::engine::Refractium;
use crate::error::Error;
use crate::event::{Event, Observer};
use crate::forward::Forward;
use crate::limits::Limits;
use crate::network::Network;
use crate::plan::Plan;
use crate::protocols::Protocols;
use crate::table::{Routes, Table};

/// Puts an engine together. Pure: nothing is bound, spawned or looked up before [`Refractium::run`].
#[derive(Default)]
pub struct Builder {
    protocols: Protocols,
    routes: Routes,
    limits: Limits,
    proxy_protocol_from: Vec<Network>,
    observer: Option<Arc<dyn Observer>>,
}

impl Builder {
    /// Makes a protocol known by its name, before every other of that name.
    #[must_use]
    pub fn protocol(mut self, protocol: impl RefractiumProtocol + 'static) -> Self {
        self.protocols.add(protocol);
        self
    }

    /// Adds a route behind the others; one with the same left side adds its backends to the first.
    #[must_use]
    pub fn forward(mut self, forward: Forward) -> Self {
        self.routes.forwards.push(forward);
        self
    }

    /// Where a TCP connection goes that matches nothing; without one it is closed.
    #[must_use]
    pub fn fallback_tcp(mut self, endpoint: Endpoint) -> Self {
        self.routes.fallback_tcp = Some(endpoint);
        self
    }

    /// Where a datagram goes that matches nothing; without one it is dropped.
    #[must_use]
    pub fn fallback_udp(mut self, endpoint: Endpoint) -> Self {
        self.routes.fallback_udp = Some(endpoint);
        self
    }

    /// What is allowed.
    #[must_use]
    pub fn limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// Whose TCP connections begin with a header of the PROXY protocol ([`Plan::proxy_protocol_from`]).
    #[must_use]
    pub fn proxy_protocol_from(mut self, networks: impl IntoIterator<Item = Network>) -> Self {
        self.proxy_protocol_from.extend(networks);
        self
    }

    /// Who is told what happens.
    #[must_use]
    pub fn observer(mut self, observer: impl Observer + 'static) -> Self {
        self.observer = Some(Arc::new(observer));
        self
    }

    /// Makes the engine.
    ///
    /// # Errors
    ///
    /// [`Error::Routes`] with every mistake in the routes, counted after those with the same left side were merged.
    pub fn build(mut self) -> Result<Refractium, Error> {
        let observer = self.observer.take();
        Ok(Refractium::new(self.plan()?, observer.unwrap_or_else(|| Arc::new(|_: &Event<'_>| {}))))
    }

    /// Makes only what an engine follows, for one that runs: [`Refractium::reload`].
    ///
    /// # Errors
    ///
    /// As of [`Builder::build`].
    pub fn plan(mut self) -> Result<Plan, Error> {
        for forward in &mut self.routes.forwards {
            self.protocols.name_canonically(forward);
        }
        self.routes.forwards = Forward::merge(self.routes.forwards);
        let table = Table::new(&self.routes, &self.protocols).map_err(Error::Routes)?;
        let Self { limits, proxy_protocol_from, .. } = self;
        Ok(Plan { table, limits, proxy_protocol_from })
    }
}

impl fmt::Debug for Builder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Builder")
            .field("protocols", &self.protocols)
            .field("routes", &self.routes)
            .field("limits", &self.limits)
            .finish_non_exhaustive()
    }
}
