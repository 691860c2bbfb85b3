//! Which protocols there are, by name.

use std::fmt;
use std::sync::Arc;

use refractium_protocol::{BUILTIN, RefractiumProtocol};

use crate::forward::Forward;

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
        let called = |protocol: &dyn RefractiumProtocol| {
            protocol.name() == name || protocol.aliases().contains(&name)
        };
        if let Some(own) = self.own.iter().find(|protocol| called(protocol.as_ref())) {
            return Some(Arc::clone(own));
        }
        let builtin = BUILTIN.iter().find(|protocol| called(**protocol))?;
        Some(Arc::new(*builtin))
    }

    /// `tls` and `https` are one protocol: its own name is the one that routes are compared by.
    pub(crate) fn name_canonically(&self, forward: &mut Forward) {
        if let Some(protocol) = self.find(&forward.protocol) {
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
