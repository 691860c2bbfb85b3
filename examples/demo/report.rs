//! What a person reads.

use std::io::{self, Write};
use std::net::SocketAddr;
use std::time::Duration;

use crate::Service;
use crate::backends::Backends;
use crate::clients::Asked;
use crate::story::{Decided, End, Story};

/// One request: what should have come of it, and what did.
pub(crate) struct Row {
    pub(crate) service: Service,
    /// Where the service is.
    pub(crate) backend: SocketAddr,
    /// What the client saw.
    pub(crate) asked: Asked,
    /// What the engine says.
    pub(crate) story: Option<Story>,
}

impl Row {
    /// Checks the engine's word against the backend's, and both against the plan.
    fn wrong(&self) -> Option<String> {
        let Service { name, route, .. } = self.service;
        match (&self.asked.answer, self.story.as_ref().map(|story| &story.end)) {
            (_, Some(End::Refused(why))) => Some(format!("WRONG: refused: {why}")),
            (Err(error), _) => Some(format!("WRONG: {error}")),
            (_, None) => Some("WRONG: the engine said nothing of it".to_owned()),
            (Ok(who), _) if who != name => Some(format!("WRONG: {who} answered, not {name}")),
            (_, Some(End::Joined(to))) if *to != Some(self.backend) => {
                Some(format!("WRONG: the route {route} leads to {}", self.backend))
            }
            (Ok(_), Some(End::Joined(_))) => None,
        }
    }

    fn cells(&self, backends: &Backends) -> [String; 8] {
        let none = || "-".to_owned();
        let decided = self.story.as_ref().and_then(|story| story.decided.as_ref());
        let joined = match self.story.as_ref().map(|story| &story.end) {
            Some(End::Joined(to)) => *to,
            Some(End::Refused(_)) | None => None,
        };
        [
            self.service.asked.to_owned(),
            decided.map_or_else(none, |it| it.identified.clone()),
            decided.map_or_else(none, |it| it.by.to_string()),
            decided.map_or_else(none, |it| milliseconds(it.after)),
            joined.map_or_else(none, |_| backends.name(joined).to_owned()),
            joined.map_or_else(none, |address| address.to_string()),
            milliseconds(self.asked.took),
            self.wrong().unwrap_or_else(|| "ok".to_owned()),
        ]
    }
}

const HEADER: [&str; 8] =
    ["asked", "identified as", "by", "decided", "went to", "at", "answered", "checked"];

/// Prints the table, and says whether all is right.
pub(crate) fn table(out: &mut impl Write, rows: &[Row], backends: &Backends) -> io::Result<bool> {
    let mut lines: Vec<[String; 8]> = vec![HEADER.map(ToOwned::to_owned)];
    lines.extend(rows.iter().map(|row| row.cells(backends)));
    let width = |column: usize| {
        let cells = lines.iter().filter_map(|line| line.get(column));
        cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: [usize; 8] = std::array::from_fn(width);
    for line in &lines {
        let padded = line.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}"));
        writeln!(out, "{}", padded.collect::<Vec<_>>().join("  ").trim_end())?;
    }
    let wrong = rows.iter().filter(|row| row.wrong().is_some()).count();
    let silence = refractium::Limits::default().server_first_delay;
    writeln!(out, "\n{NOTES}{silence:?} of it.\n")?;
    match wrong {
        0 => writeln!(out, "All {} requests reached the backend they should have.", rows.len())?,
        _ => writeln!(out, "{wrong} of {} requests went WRONG.", rows.len())?,
    }
    Ok(wrong == 0)
}

const NOTES: &str = "\
identified, by, decided, went to, at: from the engine's events; decided is the time from accept.
answered: the client's time from connecting to the end of the answer.
checked: the backend named itself in its answer, and that is the name the engine's events and the plan give it.
An FTP client waits to be greeted, so silence has to decide: ";

/// Prints what to try by hand.
pub(crate) fn commands(out: &mut impl Write, engine: SocketAddr) -> io::Result<()> {
    let (ip, port) = (engine.ip(), engine.port());
    writeln!(
        out,
        r#"
Still serving. Try these in another terminal; the engine's side of each is told below.

  curl http://{ip}:{port}/
      says: I am web
  curl -k --resolve a.example:{port}:{ip} https://a.example:{port}/
      says: I am a.example. It needs -k because nobody signed a certificate made a moment ago
  openssl s_client -connect {ip}:{port} -servername b.example </dev/null 2>/dev/null |
    openssl x509 -noout -ext subjectAltName
      shows DNS:b.example in the backend's own certificate: the engine decrypts nothing
  ssh -p {port} {ip}
      is disconnected with the words of the backend, which is a greeting only: no keys, no login
  curl -sv --head ftp://{ip}:{port}/
      shows, after 0.3 s, the greeting "220 I am files" and a login; there are no files to fetch
  bash -c 'exec 3<>/dev/tcp/{ip}/{port}; printf "\xca\xfe\x80\x01 42\n" >&3; cat <&3'
      says: I am meter, and what it read

Ctrl-C ends it.
"#
    )
}

/// Prints one connection in a line.
pub(crate) fn line(out: &mut impl Write, story: &Story, backends: &Backends) -> io::Result<()> {
    let decided = match &story.decided {
        Some(Decided { identified, by, after }) => {
            format!("{identified}, by {by} after {}", milliseconds(*after).trim_start())
        }
        None => "undecided".to_owned(),
    };
    match &story.end {
        End::Joined(to) => {
            writeln!(out, "{}: {decided}, to {}", story.client, backends.name(*to))
        }
        End::Refused(why) => writeln!(out, "{}: {decided}, refused: {why}", story.client),
    }
}

/// All in one unit and on one point, so that a column can be compared at a glance.
fn milliseconds(time: Duration) -> String {
    format!("{:>8.3} ms", time.as_secs_f64() * 1e3)
}
