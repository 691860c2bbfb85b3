//! Which protocols there are, by name.

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

use refractium_protocol::{BUILTIN, RefractiumProtocol};

use crate::forward::Forward;

/// A protocol of one's own or a built-in one: in an `Arc` that one would be called through two tables of methods.
#[derive(Clone)]
pub(crate) enum Known {
    Builtin(&'static dyn RefractiumProtocol),
    Own(Arc<dyn RefractiumProtocol>),
}

impl Deref for Known {
    type Target = dyn RefractiumProtocol;

    #[inline]
    fn deref(&self) -> &Self::Target {
        match self {
            Self::Builtin(protocol) => *protocol,
            Self::Own(protocol) => protocol.as_ref(),
        }
    }
}

/// The protocols that routes may name: one's own first, then the built-in ones.
#[derive(Clone, Default)]
pub struct Protocols {
    own: Vec<Arc<dyn RefractiumProtocol>>,
}

impl Protocols {
    /// Adds one; it stands before every other of the same name.
    pub fn add(&mut self, protocol: impl RefractiumProtocol + 'static) {
        self.own.insert(0, Arc::new(protocol));
    }

    /// Finds one by its name or one of its aliases.
    pub fn find(&self, name: &str) -> Option<Arc<dyn RefractiumProtocol>> {
        self.known(name).map(|known| match known {
            Known::Builtin(protocol) => Arc::new(protocol),
            Known::Own(protocol) => protocol,
        })
    }

    pub(crate) fn known(&self, name: &str) -> Option<Known> {
        let called = |protocol: &dyn RefractiumProtocol| {
            protocol.name() == name || protocol.aliases().contains(&name)
        };
        if let Some(own) = self.own.iter().find(|protocol| called(protocol.as_ref())) {
            return Some(Known::Own(Arc::clone(own)));
        }
        BUILTIN.iter().find(|protocol| called(**protocol)).map(|builtin| Known::Builtin(*builtin))
    }

    /// `tls` and `https` are one protocol: its own name is the one that routes are compared by.
    pub(crate) fn name_canonically(&self, forward: &mut Forward) {
        if let Some(protocol) = self.known(&forward.protocol) {
            forward.protocol = protocol.name().to_owned();
        }
    }

    /// Every name, aliases included.
    pub fn names(&self) -> Vec<String> {
        let own = self.own.iter().map(AsRef::as_ref);
        let mut names = Vec::new();
        for protocol in own.chain(BUILTIN.iter().copied()) {
            let aliases = protocol.aliases().iter().copied();
            for name in std::iter::once(protocol.name()).chain(aliases) {
                if !names.iter().any(|known| known == name) {
                    names.push(name.to_owned());
                }
            }
        }
        names
    }
}

impl fmt::Debug for Protocols {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.names()).finish()
    }
}
