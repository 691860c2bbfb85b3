//! From what the user says to a [`Plan`]: file and options in, every mistake pointed at.
//!
//! Precedence: an option that was typed, then the file, then the default. A default never overwrites what the file
//! says, because options that were not typed are not there.

mod admin;
mod bytes;
mod collision;
mod content;
mod file;
mod init;
mod keys;
mod mistake;
mod overlap;
#[cfg(test)]
mod reference;
mod routes;
mod server;

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};

use refractium_protocol::Transport;

pub use admin::AdminConfig;
pub use bytes::unescape;
pub(crate) use content::{content, digest};
pub use init::{InitError, STARTER, init};
pub use mistake::Mistakes;

use crate::log::Connections;
use crate::plan::Plan;
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
    /// `tcp` or `udp`: the one transport that is served.
    pub only: Option<Transport>,
}

/// A configuration without mistakes.
#[non_exhaustive]
#[derive(Debug)]
pub struct Config {
    /// The file that was read; `None`: the options alone say everything.
    pub file: Option<PathBuf>,
    /// Where to listen.
    pub addresses: Vec<SocketAddr>,
    /// What tells this content of the file from another; `None`: there is no file.
    pub digest: Option<u64>,
    /// Whether the file is to be followed.
    pub hot_reload: bool,
    /// How many threads are to carry connections; 0: one per core.
    pub workers: usize,
    /// Whether each connection is told of at its end, and how.
    pub connections: Connections,
    /// Where the admin is asked, if anywhere.
    pub admin: AdminConfig,
    /// Routes and limits.
    pub plan: Plan,
    /// What may be served. Of that, what leads nowhere is not listened for; [`Table::transports`] tells what does.
    pub transports: &'static [Transport],
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
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setting {
    /// Its key in `[server]`; of another table, with that before it.
    pub name: &'static str,
    /// As the file would say it.
    pub value: String,
    /// Where it comes from.
    pub origin: Origin,
}

/// Where a value comes from.
#[non_exhaustive]
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

/// Reads what the options say and the file: the one they name, or the default one, or none if they give routes and name
/// no file.
///
/// # Errors
///
/// Every mistake at once; then nothing is to be started.
pub fn load(typed: &Overrides) -> Result<Config, ConfigError> {
    if typed.config.is_none() && !typed.forward.is_empty() {
        let mut config = parse(None, typed).map_err(ConfigError::Mistakes)?;
        let note = "no configuration file is read: the options say everything";
        config.notes.insert(0, note.to_owned());
        return Ok(config);
    }
    let path = typed.config.clone().unwrap_or_else(|| DEFAULT_FILE.into());
    match content(&path).and_then(content::text) {
        Ok(text) => parse(Some((&path, &text)), typed).map_err(ConfigError::Mistakes),
        Err(error) if typed.config.is_none() && error.kind() == io::ErrorKind::NotFound => {
            Err(ConfigError::Nothing)
        }
        Err(source) => Err(ConfigError::Unreadable { path, source }),
    }
}

/// Reads what the options and the text of a file say. The path is only shown.
///
/// # Errors
///
/// Every mistake at once.
pub fn parse(file: Option<(&Path, &str)>, typed: &Overrides) -> Result<Config, Mistakes> {
    let mut mistakes = Mistakes::default();
    let said = match file {
        Some((path, text)) => {
            let source = mistakes.file(path, text);
            file::read(text, source, &mut mistakes)
        }
        None => File::default(),
    };
    let server = Server::new(typed, &said, &mistakes);
    let gathered = Gathered::new(typed, &said, &server, &mut mistakes);
    collision::find(typed, &said, gathered.listening_for_tcp(), &mut mistakes);
    let table = gathered.table(&mut mistakes);
    let Some(table) = table.filter(|_| mistakes.is_empty()) else {
        return Err(mistakes.sorted());
    };
    let origins: Vec<_> = gathered.places().map(|place| mistakes.origin(place)).collect();
    let notes = asked_together(&table, &origins);
    let mut warnings = overlap::warnings(&table, gathered.patterns(), &origins);
    warnings.extend(server.admin.warnings());
    let Server { limits, addresses, workers, proxy_protocol_from, .. } = server;
    let (connections, admin, settings) = (server.connections, server.admin, server.settings);
    let hot_reload = server.hot_reload;
    let digest = file.map(|(_, text)| digest(text.as_bytes()));
    let file = file.map(|(path, _)| path.to_owned());
    let plan = Plan { table, limits, proxy_protocol_from };
    let transports: &[_] = match typed.only {
        None => &[Transport::Tcp, Transport::Udp],
        Some(Transport::Tcp) => &[Transport::Tcp],
        Some(Transport::Udp) => &[Transport::Udp],
    };
    Ok(Config {
        file,
        digest,
        hot_reload,
        addresses,
        workers,
        connections,
        admin,
        plan,
        transports,
        settings,
        origins,
        notes,
        warnings,
    })
}

/// Routes of one protocol are asked at the place of the first: worth saying if another stood between.
fn asked_together(table: &Table, origins: &[Origin]) -> Vec<String> {
    let mut notes = Vec::new();
    // A route of both transports is told of once.
    let mut told = HashSet::new();
    for transport in [Transport::Tcp, Transport::Udp] {
        let routes = table.routes(transport);
        let places = routes.iter().filter_map(|route| Some((route.place()?, &***route)));
        let places: HashMap<_, _> = places.collect();
        for (first, later) in routes.iter().zip(routes.iter().skip(1)) {
            let note = moved_up(first, later, &places, origins);
            notes.extend(note.filter(|note| told.insert(note.clone())));
        }
    }
    notes
}

/// What is to be said of `later`, which is asked right behind `first`, if another was said between them.
fn moved_up(
    first: &Route,
    later: &Route,
    places: &HashMap<usize, &Route>,
    origins: &[Origin],
) -> Option<String> {
    let (from, to) = first.place().zip(later.place())?;
    if first.name() != later.name() {
        return None;
    }
    let mut between = (from + 1..to).filter_map(|at| places.get(&at));
    let between = between.find(|other| other.name() != first.name())?;
    Some(format!(
        "the `{}` route of {} is asked before `{}`: all routes of one protocol are asked together",
        later.name(),
        origins.get(to)?,
        between.name()
    ))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use refractium_protocol::{Opening, RefractiumProtocol, Verdict};

    use super::*;
    use crate::protocols::Protocols;
    use crate::table::Routes;

    /// The starter file and everything it only mentions.
    fn everything() -> String {
        let uncomment = |line: &str| match line.strip_prefix("# ") {
            Some(rest) if rest.contains(" = ") || rest.starts_with("[[") => rest.to_owned(),
            _ => line.to_owned(),
        };
        STARTER.lines().map(uncomment).collect::<Vec<_>>().join("\n")
    }

    fn read(text: &str) -> Result<Config, Mistakes> {
        parse(Some((Path::new("refractium.toml"), text)), &Overrides::default())
    }

    #[cfg(feature = "protocols")]
    #[test]
    fn the_starter_file_is_sound_with_and_without_what_it_mentions() {
        assert_eq!(read(STARTER).expect("sound").plan.limits, crate::Limits::default());
        let routes = read(&everything()).expect("sound").plan.table;
        assert_eq!(routes.routes(Transport::Tcp).len(), 8);
        assert_eq!(routes.routes(Transport::Udp).len(), 3);
    }

    /// Something over both transports whose clients name a host.
    struct Named(&'static str);

    impl RefractiumProtocol for Named {
        fn name(&self) -> &str {
            self.0
        }

        fn transports(&self) -> &[Transport] {
            &[Transport::Tcp, Transport::Udp]
        }

        fn identify(&self, _: &Opening<'_>) -> Verdict {
            Verdict::NeedMore
        }

        fn host_key(&self) -> Option<&str> {
            Some("host")
        }
    }

    #[test]
    fn a_route_that_is_moved_up_is_told_of_once_for_either_transport() {
        let mut protocols = Protocols::default();
        protocols.add(Named("one"));
        protocols.add(Named("other"));
        let forwards = ["one:a", "other", "one"].map(|left| format!("{left}=127.0.0.1:1").parse());
        let forwards = forwards.into_iter().collect::<Result<_, _>>().expect("forwards");
        let routes = Routes { forwards, ..Routes::default() };
        let table = || Table::new(&routes, &protocols).expect("a table");
        let origins = [2, 6, 10].map(Origin::Line);
        let told = "the `one` route of line 10 is asked before `other`: \
            all routes of one protocol are asked together";
        assert_eq!(asked_together(&table(), &origins), [told]);
        for transport in [Transport::Tcp, Transport::Udp] {
            assert_eq!(asked_together(&table().only(transport), &origins), [told]);
        }
    }

    proptest! {
        /// Whatever the file holds, it is read or its mistakes are shown.
        #[test]
        fn any_text_is_read_or_pointed_at(
            cuts in prop::collection::vec((any::<prop::sample::Index>(), 0..12_usize, ".{0,6}"), 1..5),
        ) {
            let mut text: Vec<char> = everything().chars().collect();
            for (at, removed, inserted) in cuts {
                let at = at.index(text.len());
                let end = (at + removed).min(text.len());
                text.splice(at..end, inserted.chars());
            }
            let text: String = text.into_iter().collect();
            if let Err(mistakes) = read(&text) {
                prop_assert!(mistakes.count() > 0);
                prop_assert!(mistakes.to_string().contains("error"));
            }
        }
    }
}
