//! What was typed.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use clap::error::ErrorKind;
use clap::{Args, CommandFactory, Parser, ValueEnum};
use refractium::config::{Overrides, unescape};
use refractium::log::Detail;
use refractium::protocol::Transport;

/// One port, many protocols: looks at the first bytes of each connection or datagram and joins it to the right backend.
#[derive(Debug, Parser)]
#[command(
    name = "refractium",
    version,
    after_help = "Examples:
  refractium -p 80 -f http=127.0.0.1:8080 -f ssh=127.0.0.1:22
  refractium -f http=10.0.0.1:80 -f http=10.0.0.2:80
  refractium -p 443 -f https:a.example=10.0.0.1:443 -f 'https:*.b.example=10.0.0.2:443'

Exit codes: 0 clean end; 1 could not run, or a second signal; 2 usage or configuration error."
)]
pub(crate) struct Cli {
    /// What to do; serve TCP and UDP if left out
    // A plain argument and not a subcommand, so that options may stand on either side of it.
    #[arg(value_enum)]
    pub(crate) command: Option<Command>,

    /// Address to bind; may be given again [default: 0.0.0.0]
    #[arg(short, long, value_name = "ADDRESS")]
    bind: Vec<IpAddr>,

    /// Port [default: 8080]
    #[arg(short, long)]
    port: Option<u16>,

    /// Configuration file [default: refractium.toml]
    #[arg(short, long, value_name = "FILE")]
    config: Option<PathBuf>,

    /// Route; may be given again, the same left side adds a backend
    #[arg(short, long, value_name = "PROTOCOL[:HOST]=ADDR")]
    forward: Vec<String>,

    /// Show each decision
    #[arg(long)]
    debug: bool,

    #[command(flatten)]
    opening: OpeningArgs,

    #[command(flatten)]
    status: StatusArgs,
}

/// How `status` is shown, and whose.
#[derive(Debug, Default, Args)]
#[command(next_help_heading = "Options of status")]
pub(crate) struct StatusArgs {
    /// Where the admin is asked [default: the first address of `[admin] listen` in the configuration]
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub(crate) admin: Option<SocketAddr>,

    /// Show it anew each second, until interrupted
    #[arg(long)]
    pub(crate) watch: bool,

    /// As JSON, on one line; docs/admin.md says what stands in it
    #[arg(long)]
    pub(crate) json: bool,
}

/// What `explain` is to explain; standard input if none is given.
#[derive(Debug, Default, Args)]
#[command(next_help_heading = "Options of explain")]
pub(crate) struct OpeningArgs {
    /// An opening as hexadecimal digits; spaces and colons are passed over
    #[arg(long, value_name = "DIGITS", group = "what", value_parser = hex)]
    pub(crate) hex: Option<Bytes>,

    /// An opening as text, with the escapes of patterns in refractium.toml: \r, \n, \xHH
    #[arg(long, value_name = "TEXT", group = "what", value_parser = text)]
    pub(crate) text: Option<Bytes>,

    /// A file that holds an opening
    #[arg(long, value_name = "FILE", group = "what")]
    pub(crate) file: Option<PathBuf>,

    /// A capture file (pcap, pcapng): what each client in it sent first
    #[arg(long, value_name = "FILE", group = "what")]
    pub(crate) pcap: Option<PathBuf>,

    /// What carries it [default: tcp]
    #[arg(long, value_enum, conflicts_with = "pcap")]
    pub(crate) transport: Option<Over>,
}

/// An opening that was typed.
#[derive(Clone, Debug)]
pub(crate) struct Bytes(pub(crate) Vec<u8>);

fn hex(digits: &str) -> Result<Bytes, String> {
    let digits: Vec<char> = digits.chars().filter(|it| !it.is_whitespace() && *it != ':').collect();
    if !digits.len().is_multiple_of(2) {
        return Err("a byte has two digits".to_owned());
    }
    let byte = |pair: &[char]| {
        let text: String = pair.iter().collect();
        let is_hex = pair.iter().all(char::is_ascii_hexdigit); // a number may have a sign
        let byte = u8::from_str_radix(&text, 16).ok().filter(|_| is_hex);
        byte.ok_or_else(|| format!("`{text}` is no byte in hexadecimal"))
    };
    digits.chunks(2).map(byte).collect::<Result<_, _>>().map(Bytes)
}

fn text(text: &str) -> Result<Bytes, &'static str> {
    unescape(text).map(Bytes).ok_or("an escape that is none: a backslash itself is written `\\\\`")
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Over {
    Tcp,
    Udp,
}

impl OpeningArgs {
    const fn is_given(&self) -> bool {
        let texts = self.hex.is_some() || self.text.is_some();
        texts || self.file.is_some() || self.pcap.is_some() || self.transport.is_some()
    }
}

impl StatusArgs {
    const fn is_given(&self) -> bool {
        self.admin.is_some() || self.watch || self.json
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Command {
    /// Serve TCP only
    Tcp,
    /// Serve UDP only
    Udp,
    /// Write a commented refractium.toml here
    Init,
    /// Check the configuration and show what it means
    Check,
    /// Show what each protocol says of an opening, where it goes and why
    Explain,
    /// Show what a running program does: listeners, routes, backends and rates
    Status,
}

impl Cli {
    /// What was typed; ends the program where that makes no sense.
    pub(crate) fn typed() -> Self {
        let cli = Self::parse();
        if cli.opening.is_given() && cli.command != Some(Command::Explain) {
            let message = "--hex, --text, --file, --pcap and --transport go with `explain`";
            Self::command().error(ErrorKind::ArgumentConflict, message).exit();
        }
        if cli.status.is_given() && cli.command != Some(Command::Status) {
            let message = "--admin, --watch and --json go with `status`";
            Self::command().error(ErrorKind::ArgumentConflict, message).exit();
        }
        if cli.command == Some(Command::Init) && cli.says_how_to_serve() {
            let message =
                "`init` takes no options: it writes refractium.toml here, always the same";
            Self::command().error(ErrorKind::ArgumentConflict, message).exit();
        }
        cli
    }

    const fn says_how_to_serve(&self) -> bool {
        let addresses = !self.bind.is_empty() || self.port.is_some();
        addresses || self.config.is_some() || !self.forward.is_empty() || self.debug
    }

    pub(crate) const fn status(&self) -> &StatusArgs {
        &self.status
    }

    pub(crate) const fn opening(&self) -> &OpeningArgs {
        &self.opening
    }

    pub(crate) const fn detail(&self) -> Detail {
        if self.debug { Detail::Debug } else { Detail::Normal }
    }

    pub(crate) fn overrides(&self) -> Overrides {
        Overrides {
            bind: self.bind.clone(),
            port: self.port,
            config: self.config.clone(),
            forward: self.forward.clone(),
            only: match self.command {
                Some(Command::Tcp) => Some(Transport::Tcp),
                Some(Command::Udp) => Some(Transport::Udp),
                _ => None,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_definition_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn options_stand_on_either_side_of_the_command() {
        let words = ["refractium", "-f", "http=a:1", "tcp", "--port", "1", "-f", "ssh=b:2"];
        let cli = Cli::try_parse_from(words).expect("sound words");
        assert_eq!(cli.command, Some(Command::Tcp));
        let typed = cli.overrides();
        assert_eq!(typed.forward, ["http=a:1", "ssh=b:2"]);
        assert_eq!(typed.port, Some(1));
    }

    #[test]
    fn what_was_not_typed_is_not_there() {
        let typed = Cli::try_parse_from(["refractium"]).expect("sound words").overrides();
        assert!(typed.bind.is_empty() && typed.port.is_none() && typed.config.is_none());
    }
}
