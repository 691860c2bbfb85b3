//! From what the user says to a [`Plan`]: file and options in, every mistake pointed at.
//!
//! Precedence: an option that was typed, then the file, then the default. A default never overwrites what the file
//! says, because options that were not typed are not there.

mod bytes;
mod file;
mod init;
mod keys;
mod mistake;
mod overlap;
mod routes;
mod server;

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;

use refractium_protocol::Transport;

pub use init::{InitError, STARTER, init};
pub use mistake::Mistakes;

use crate::engine::Plan;
use crate::table::{Route, Table};
use file::File;
use mistake::Place;
use routes::Gathered;
use server::Server;

/// The file that is read if no other is named.
pub const DEFAULT_FILE: &str = "refractium.toml";

/// What was typed. What was not typed is not there.
#[derive(Clone, Debug, Default)]
pub struct Overrides {
    /// `--bind`.
    pub bind: Vec<IpAddr>,
    /// `--port`.
    pub port: Option<u16>,
    /// `--config`.
    pub config: Option<PathBuf>,
    /// `--forward`, as typed.
    pub forward: Vec<String>,
}

/// A configuration without mistakes.
#[derive(Debug)]
pub struct Config {
    /// The file that was read; `None`: the options alone say everything.
    pub file: Option<PathBuf>,
    /// Where to listen.
    pub addresses: Vec<SocketAddr>,
    /// Routes and limits.
    pub plan: Plan,
    /// Every setting, in the order of the reference.
    pub settings: Vec<Setting>,
    /// Where each route comes from, in the order of [`Routes::forwards`](crate::Routes::forwards).
    pub origins: Vec<Origin>,
    /// What is accepted and yet worth saying.
    pub notes: Vec<String>,
    /// What is accepted and yet probably not meant: routes that can never be reached, patterns that can both match.
    pub warnings: Vec<String>,
}

/// One value and where it comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setting {
    /// Its key in `[server]`.
    pub name: &'static str,
    /// As the file would say it.
    pub value: String,
    /// Where it comes from.
    pub origin: Origin,
}

/// Where a value comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Typed as this option.
    Typed(&'static str),
    /// The file, on this line.
    Line(usize),
    /// Nobody said it.
    Default,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Typed(option) => f.pad(option),
            Self::Line(line) => f.pad(&format!("line {line}")),
            Self::Default => f.pad("default"),
        }
    }
}

/// Why there is no configuration.
#[non_exhaustive]
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// There is neither a file nor a route typed.
    #[error(
        "there is no `{DEFAULT_FILE}` here and no route was given: `refractium init` writes one to start from, `-f` gives a route"
    )]
    Nothing,
    /// The file cannot be read.
    #[error("cannot read `{}`", .path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// What was said does not hold together.
    #[error("{0}")]
    Mistakes(Mistakes),
}

/// A value and its place in the sources.
#[derive(Clone, Debug)]
struct Known<T> {
    value: T,
    place: Place,
}

/// Reads what the options and the file say.
///
/// # Errors
///
/// Every mistake at once; then nothing is to be started.
pub fn load(typed: &Overrides) -> Result<Config, ConfigError> {
    let mut mistakes = Mistakes::default();
    let (path, file) = read_file(typed, &mut mistakes)?.unzip();
    let file = file.unwrap_or_default();
    let server = Server::new(typed, &file, &mistakes);
    let gathered = Gathered::new(typed, &file, &server, &mut mistakes);
    let table = gathered.table(&mut mistakes);
    let Some(table) = table.filter(|_| mistakes.is_empty()) else {
        return Err(ConfigError::Mistakes(mistakes.sorted()));
    };
    let mut notes = Vec::new();
    if path.is_none() {
        notes.push("no configuration file is read: the options say everything".to_owned());
    }
    notes.extend(not_built_yet(&table, &file));
    let origins: Vec<_> = gathered.places().map(|place| mistakes.origin(place)).collect();
    notes.extend(asked_together(&table, &origins));
    let warnings = overlap::warnings(&table, gathered.patterns(), &origins);
    let Server { limits, addresses, settings, .. } = server;
    Ok(Config {
        file: path,
        addresses,
        plan: Plan { table, limits },
        settings,
        origins,
        notes,
        warnings,
    })
}

/// The file that was named, or the default one; none if routes were typed and no file was.
fn read_file(
    typed: &Overrides,
    mistakes: &mut Mistakes,
) -> Result<Option<(PathBuf, File)>, ConfigError> {
    if typed.config.is_none() && !typed.forward.is_empty() {
        return Ok(None);
    }
    let path = typed.config.clone().unwrap_or_else(|| DEFAULT_FILE.into());
    match std::fs::read_to_string(&path) {
        Ok(text) => {
            let source = mistakes.file(&path, &text);
            let file = file::read(&text, source, mistakes);
            Ok(Some((path, file)))
        }
        Err(error) if typed.config.is_none() && error.kind() == io::ErrorKind::NotFound => {
            Err(ConfigError::Nothing)
        }
        Err(source) => Err(ConfigError::Unreadable { path, source }),
    }
}

/// What the configuration may say already and the engine does not do yet.
fn not_built_yet(table: &Table, file: &File) -> Vec<String> {
    let mut notes = Vec::new();
    for route in table.routes(Transport::Udp) {
        let which = match (route.protocol(), table.routes(Transport::Tcp).contains(&route)) {
            (None, _) => "`fallback_udp`".to_owned(),
            (Some(_), true) => format!("the UDP half of route `{}`", route.name()),
            (Some(_), false) => format!("route `{}`", route.name()),
        };
        notes.push(format!("{which} is not served: UDP is not built yet"));
    }
    if file.hot_reload.as_ref().is_some_and(|known| known.value) {
        notes.push("`hot_reload` is not built yet: restart to apply changes".to_owned());
    }
    notes
}

/// Routes of one protocol are asked at the place of the first: worth saying if another stood between.
fn asked_together(table: &Table, origins: &[Origin]) -> Vec<String> {
    let routes = table.routes(Transport::Tcp);
    let mut notes = Vec::new();
    for (first, later) in routes.iter().zip(routes.iter().skip(1)) {
        let places = first.place().zip(later.place());
        let Some((from, to)) = places.filter(|_| first.name() == later.name()) else { continue };
        let is_between = |other: &&&Arc<Route>| {
            other.name() != first.name() && other.place().is_some_and(|at| from < at && at < to)
        };
        if let Some(between) = routes.iter().find(is_between)
            && let Some(origin) = origins.get(to)
        {
            notes.push(format!(
                "the `{}` route of {origin} is asked before `{}`: all routes of one protocol are asked together",
                later.name(),
                between.name()
            ));
        }
    }
    notes
}
