//! One place where a forward leads, and how it is to be used.

use std::fmt;

use crate::endpoint::Endpoint;

/// An endpoint and what part of the clients it gets.
///
/// ```
/// use refractium::{Endpoint, Target};
///
/// let endpoint: Endpoint = "10.0.0.2:80".parse()?;
/// let mut target = Target::from(endpoint);
/// target.weight = 3;
/// assert_eq!(target.to_string(), "10.0.0.2:80 weight 3");
/// # Ok::<(), refractium::EndpointError>(())
/// ```
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// Where. Each address of a name is a backend of its own, with all that is said here.
    pub endpoint: Endpoint,
    /// Its share, beside the weights of the others: from 1 to [`Target::MOST_WEIGHT`]. SRV records say it themselves.
    pub weight: u16,
    /// It is used only while none lives that is no backup.
    pub backup: bool,
    /// Most connections it may have at a time; 0: no limit.
    pub max_connections: usize,
}

impl Target {
    /// The most that one may weigh. The order in which backends are taken is as long as all weights together.
    pub const MOST_WEIGHT: u16 = 256;
}

impl<E: Into<Endpoint>> From<E> for Target {
    fn from(endpoint: E) -> Self {
        Self { endpoint: endpoint.into(), weight: 1, backup: false, max_connections: 0 }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.endpoint)?;
        if self.weight != 1 {
            write!(f, " weight {}", self.weight)?;
        }
        if self.max_connections != 0 {
            write!(f, " max {}", self.max_connections)?;
        }
        if self.backup {
            write!(f, " backup")?;
        }
        Ok(())
    }
}
