//! Two protocols of one's own, one by the macro and one by hand, routed by an engine: `cargo run --example own_protocol`.
//!
//! Shows what each says of growing openings, then sends real ones, in pieces, through an engine to two echo servers
//! inside this process, prints who answered, and ends: with exit code 1 if it was not who it should have been.

use std::error::Error;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use refractium::protocol::{
    Fact, Facts, Opening, RefractiumProtocol, Scratch, Transport, Verdict, any_prefix, dns_name,
    prefix,
};
use refractium::{Listeners, Refractium, define_protocol};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

define_protocol! {
    /// Bytes at the start are all there is to it: the macro says everything.
    struct Pulse;
    name: "pulse",
    transports: [Tcp],
    identify: |opening| any_prefix(opening.bytes, &[b"\x00\xffPULSE", b"\x00\xfePULSE"]),
}

/// `HELLO <host>\n`, and after that whatever the two sides like.
///
/// By hand, because it has a fact to tell: the host, by which its routes can be told apart.
struct Hello;

impl RefractiumProtocol for Hello {
    fn name(&self) -> &str {
        "hello"
    }

    fn transports(&self) -> &[Transport] {
        &[Transport::Tcp]
    }

    /// Six bytes decide. Fewer, if they are right so far, need more; `prefix` knows all three answers.
    fn identify(&self, opening: &Opening<'_>) -> Verdict {
        prefix(opening.bytes, b"HELLO ")
    }

    /// The host is known once its line is whole: half a name must never choose a route.
    fn facts<'a>(&self, opening: &Opening<'a>, _: &'a mut Scratch) -> Facts<'a> {
        let rest = opening.bytes.strip_prefix(b"HELLO ").unwrap_or_default();
        let line = rest.get(..LINE).unwrap_or(rest);
        let host = match line.iter().position(|&byte| byte == b'\n') {
            Some(end) => line.get(..end).and_then(dns_name).map_or(Fact::Absent, Fact::Known),
            // Nothing that follows can make a name of this any more.
            None if line.len() == LINE => Fact::Absent,
            None => Fact::NeedMore,
        };
        Facts::with_host(host)
    }

    /// Routes may name hosts: `hello:a.example=...`
    fn host_key(&self) -> Option<&str> {
        Some("host")
    }
}

/// The longest DNS name has 253 bytes; then come a dot and the end of the line.
const LINE: usize = 255;

/// What is sent, piece by piece, and who should answer.
const SENT: [(&[&[u8]], &str); 5] = [
    (&[b"\x00", b"\xffPUL", b"SE 72\n"], "left"),
    (&[b"HELLO a.example\n"], "left"),
    (&[b"HEL", b"LO b.exam", b"ple\n"], "right"),
    (&[b"HELLO x.B.example.\n"], "right"),
    (&[b"HELLO who.knows\n"], "left"),
];

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    println!("{:24}  {:9}  host", "opening so far", "verdict");
    for bytes in [&b"HEL"[..], b"HELP", b"HELLO ", b"HELLO a.exam", b"HELLO a.example\n"] {
        let (opening, mut scratch) = (Opening::stream(bytes), Scratch::new());
        let verdict = Hello.identify(&opening);
        let host = match Hello.facts(&opening, &mut scratch).host {
            _ if verdict != Verdict::Match => "-".to_owned(), // it is asked only of a match
            Fact::Known(name) => String::from_utf8_lossy(name).into_owned(),
            Fact::Absent => "absent".to_owned(),
            Fact::NeedMore => "need more".to_owned(),
        };
        println!("{:24}  {:9}  {host}", bytes.escape_ascii().to_string(), format!("{verdict:?}"));
    }

    let mut echoing = JoinSet::new(); // ends with this function
    let left = echo("left", &mut echoing).await?;
    let right = echo("right", &mut echoing).await?;
    let engine = Refractium::builder()
        .protocol(Pulse)
        .protocol(Hello)
        .forward(format!("pulse={left}").parse()?)
        .forward(format!("hello:a.example={left}").parse()?)
        .forward(format!("hello:b.example={right}").parse()?)
        .forward(format!("hello:*.b.example={right}").parse()?)
        .forward(format!("hello={left}").parse()?) // any other host, or none
        .build()?;
    let listeners = Listeners::bind(&[SocketAddr::from(([127, 0, 0, 1], 0))], &[Transport::Tcp])?;
    let address = *listeners.addresses().first().ok_or("the listener has no address")?;
    let mut outcome = Ok(());
    engine.run(listeners, async { outcome = send_all(address).await }).await?;
    outcome
}

async fn send_all(engine: SocketAddr) -> Result<(), Box<dyn Error>> {
    println!("\n{:30}  answer", "sent, in pieces");
    let mut wrong = 0;
    for (pieces, should) in SENT {
        let answer = timeout(PATIENCE, send(engine, pieces)).await??;
        let shown: Vec<_> = pieces.iter().map(|piece| piece.escape_ascii().to_string()).collect();
        let all = pieces.concat().escape_ascii().to_string();
        let right = answer.trim_end() == format!("{should} heard {all}");
        wrong += usize::from(!right);
        let comment = if right { "" } else { " -- WRONG" };
        println!("{:30}  {}{comment}", shown.join(" | "), answer.trim_end());
    }
    if wrong == 0 { Ok(()) } else { Err(format!("{wrong} answers were wrong").into()) }
}

async fn send(engine: SocketAddr, pieces: &[&[u8]]) -> io::Result<String> {
    let mut stream = TcpStream::connect(engine).await?;
    stream.set_nodelay(true)?;
    for piece in pieces {
        stream.write_all(piece).await?;
        sleep(BETWEEN_PIECES).await;
    }
    let mut answer = String::new();
    BufReader::new(stream).read_line(&mut answer).await?;
    Ok(answer)
}

/// Long enough that pieces mostly arrive one by one; nothing depends on it.
const BETWEEN_PIECES: Duration = Duration::from_millis(10);
const PATIENCE: Duration = Duration::from_secs(10);

/// Starts a server that answers a line with its own name and what it heard, byte for byte.
async fn echo(name: &'static str, tasks: &mut JoinSet<()>) -> io::Result<SocketAddr> {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
    let address = listener.local_addr()?;
    tasks.spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            // One at a time is enough here; a client that fails sees so itself.
            let _ = timeout(PATIENCE, answer(name, &mut stream)).await;
        }
    });
    Ok(address)
}

async fn answer(name: &str, stream: &mut TcpStream) -> io::Result<()> {
    let (read, mut write) = stream.split();
    let mut heard = Vec::new();
    BufReader::new(read).read_until(b'\n', &mut heard).await?;
    write.write_all(format!("{name} heard {}\n", heard.escape_ascii()).as_bytes()).await
}
