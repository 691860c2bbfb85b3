//! The two ways in which bytes are moved, and what the program tells of them.

use crate::harness::{Backend, Proxy, route, until};

/// How bytes are moved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Engine {
    /// Through the proxy's memory, always.
    Copy,
    /// Through the kernel alone, where there is bulk.
    Splice,
}

impl Engine {
    /// The program before this backend, with more keys of `[server]`.
    pub(crate) fn proxy(self, backend: &Backend, server: &str) -> Proxy {
        let routes = route("ssh", "", backend.address());
        Proxy::start_with(&self.server(server), &routes, &["--debug"])
    }

    /// These keys of `[server]`, and the one that chooses this way.
    pub(crate) fn server(self, more: &str) -> String {
        let value = match self {
            Self::Copy => "off",
            Self::Splice => "auto",
        };
        format!("zero_copy = \"{value}\"\n{more}")
    }

    /// Once so many connections have ended: bulk of `bytes` really went this way. Without this a splice that never
    /// happens would pass every test.
    pub(crate) fn carried(self, proxy: &Proxy, connections: usize, bytes: usize) {
        let closed = closed(proxy, connections);
        let spliced: u64 = closed.iter().map(|line| figure(line, "spliced")).sum();
        match self {
            Self::Copy => assert_eq!(spliced, 0, "{closed:?}"),
            Self::Splice => {
                let least = u64::try_from(bytes / 2).expect("a number");
                assert!(spliced >= least, "{spliced} of {bytes} bytes were spliced: {closed:?}");
            }
        }
    }
}

/// The lines that tell of connections that have ended, once there are so many.
pub(crate) fn closed(proxy: &Proxy, connections: usize) -> Vec<String> {
    until("the ends to be told", || {
        let stderr = proxy.stderr();
        let lines: Vec<_> = stderr.lines().filter(|it| it.contains(" closed ")).collect();
        (lines.len() >= connections).then(|| lines.into_iter().map(str::to_owned).collect())
    })
}

/// A figure of a line, as in `up=14`; 0 where it is not told.
pub(crate) fn figure(line: &str, name: &str) -> u64 {
    let told = line.split_whitespace().find_map(|word| word.strip_prefix(name)?.strip_prefix('='));
    told.map_or(0, |it| it.parse().expect("a number"))
}

/// Makes two tests of each function, one for each engine, in modules of their names.
macro_rules! on_both_engines {
    ($($(#[$attribute:meta])* $name:ident),+ $(,)?) => {
        mod copy {
            $($(#[$attribute])* #[test] fn $name() {
                super::$name($crate::relay::engine::Engine::Copy);
            })+
        }

        mod splice {
            $($(#[$attribute])* #[test] fn $name() {
                super::$name($crate::relay::engine::Engine::Splice);
            })+
        }
    };
}
