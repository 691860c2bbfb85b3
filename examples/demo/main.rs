//! Six services behind one port, each asked a real question: `cargo run --release --example demo`.
//!
//! Starts a web server, two TLS servers, an SSH greeting, an FTP greeting and a made-up binary service inside this
//! process, puts an engine before them, asks each of them through the engine's one port, and prints where every
//! request went and why. Then it goes on serving, for your own clients, until Ctrl-C.
//!
//! `demo PORT` listens there instead of 8080; 0 lets the system choose. `demo --once` ends after the table, with exit
//! code 1 if any request went wrong.

mod backends;
mod clients;
mod report;
mod story;
mod wire;

use std::error::Error;
use std::io::{self, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::process::ExitCode;
use std::time::Duration;

use refractium::protocol::prefix;
use refractium::{Limits, Listeners, Refractium, define_protocol};
use tokio::sync::mpsc;

use backends::Backends;
use clients::Client;
use report::Row;
use story::{Story, Teller};

define_protocol! {
    /// Made up for this demo: four bytes, three of them above 0x7f, then one line with a reading.
    struct Sensor;
    name: "sensor",
    transports: [Tcp],
    identify: |opening| prefix(opening.bytes, SENSOR_MAGIC),
}

const SENSOR_MAGIC: &[u8] = b"\xca\xfe\x80\x01";

/// A backend, the route to it, and what is asked of it.
#[derive(Clone, Copy)]
struct Service {
    /// What it calls itself in its answers; for TLS also the name in its certificate.
    name: &'static str,
    /// The left side of its route.
    route: &'static str,
    speaks: Speaks,
    asked: &'static str,
}

#[derive(Clone, Copy)]
enum Speaks {
    Http,
    Https,
    Ssh,
    Ftp,
    Sensor,
}

#[rustfmt::skip] // a table
const SERVICES: [Service; 6] = [
    Service { name: "web", route: "http", speaks: Speaks::Http, asked: "HTTP: GET /" },
    Service { name: "a.example", route: "https:a.example", speaks: Speaks::Https, asked: "TLS for a.example: GET /" },
    Service { name: "b.example", route: "https:b.example", speaks: Speaks::Https, asked: "TLS for b.example: GET /" },
    Service { name: "shell", route: "ssh", speaks: Speaks::Ssh, asked: "SSH: identification" },
    Service { name: "files", route: "ftp", speaks: Speaks::Ftp, asked: "FTP: waits for greeting" },
    Service { name: "meter", route: "sensor", speaks: Speaks::Sensor, asked: "bytes: CA FE 80 01 ..." },
];

#[tokio::main]
async fn main() -> ExitCode {
    let Some(arguments) = Arguments::parse(std::env::args().skip(1)) else {
        eprintln!("usage: demo [PORT] [--once]");
        return ExitCode::from(2);
    };
    match demo(&arguments).await {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprint!("demo: {error}");
            let mut cause = error.source();
            while let Some(error) = cause {
                eprint!(": {error}");
                cause = error.source();
            }
            eprintln!();
            ExitCode::FAILURE
        }
    }
}

/// Says whether every request reached the backend it should have.
async fn demo(arguments: &Arguments) -> Result<bool, Box<dyn Error>> {
    let backends = Backends::start(&SERVICES).await?;
    let (teller, mut stories) = Teller::new();
    // An open connection may hold up the end for this long and not for the usual half minute.
    let limits = Limits { drain_timeout: Duration::from_secs(2), ..Limits::default() };
    let mut builder = Refractium::builder().protocol(Sensor).limits(limits).observer(teller);
    for (service, address) in backends.running() {
        builder = builder.forward(format!("{}={address}", service.route).parse()?);
    }
    let engine = builder.build()?;
    let (listeners, address) = listen(arguments.port)?;
    // The engine runs until this future is done, so all that there is to show can happen inside it.
    let mut outcome = Ok(true);
    let until = async {
        outcome = tokio::select! {
            shown = show(arguments, address, &backends, &mut stories) => shown,
            // A clean end, unless the table was all that was wanted.
            signal = tokio::signal::ctrl_c() => signal.map(|()| !arguments.once).map_err(Into::into),
        };
    };
    engine.run(listeners, until).await?;
    outcome
}

async fn show(
    arguments: &Arguments,
    address: SocketAddr,
    backends: &Backends,
    stories: &mut mpsc::Receiver<Story>,
) -> Result<bool, Box<dyn Error>> {
    let mut out = io::stdout();
    writeln!(out, "One port, {address}, and {} services behind it.\n", SERVICES.len())?;
    let client = Client::new(address, backends.roots())?;
    let mut rows = Vec::new();
    for (service, backend) in backends.running() {
        let asked = client.ask(service).await;
        let story = story::of(asked.from, stories).await;
        rows.push(Row { service, backend, asked, story });
    }
    let all_right = report::table(&mut out, &rows, backends)?;
    if !arguments.once {
        report::commands(&mut out, address)?;
        while let Some(story) = stories.recv().await {
            report::line(&mut out, &story, backends)?;
        }
    }
    Ok(all_right)
}

/// The port the user named; else 8080, or any other if that one is taken.
fn listen(port: Option<u16>) -> Result<(Listeners, SocketAddr), Box<dyn Error>> {
    let bind = |port| {
        Listeners::bind(
            &[SocketAddr::from((Ipv4Addr::LOCALHOST, port))],
            &[refractium::protocol::Transport::Tcp],
        )
    };
    let listeners = match (port, bind(port.unwrap_or(USUAL_PORT))) {
        (None, Err(refractium::Error::Bind { address, source, .. })) => {
            println!("{address}: {source}. The system chooses another port.");
            bind(0)?
        }
        (_, bound) => bound?,
    };
    let address = *listeners.addresses().first().ok_or("the listener has no address")?;
    Ok((listeners, address))
}

const USUAL_PORT: u16 = 8080;

struct Arguments {
    port: Option<u16>,
    once: bool,
}

impl Arguments {
    fn parse(words: impl Iterator<Item = String>) -> Option<Self> {
        let mut arguments = Self { port: None, once: false };
        for word in words {
            match word.as_str() {
                "--once" => arguments.once = true,
                number if arguments.port.is_none() => arguments.port = Some(number.parse().ok()?),
                _ => return None,
            }
        }
        Some(arguments)
    }
}
