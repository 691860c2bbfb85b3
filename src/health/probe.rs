//! One question to one backend.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use refractium_protocol::Transport;
use socket2::Socket;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};

use super::hello;
use crate::backend::Backend;
use crate::check::{Check, CheckKind};
use crate::connect::{connect, connect_datagrams};
use crate::os;
use crate::proxy_protocol::nobody;

/// What a backend is asked.
pub(super) struct Probe {
    check: Arc<Check>,
    transport: Transport,
}

impl Probe {
    pub(super) fn new(check: &Arc<Check>, transport: Transport) -> Self {
        Self { check: Arc::clone(check), transport }
    }

    /// Asks, and waits for the answer. An error says why it does not pass; the caller sets the limit.
    pub(super) async fn ask(&self, backend: &Backend) -> io::Result<()> {
        let at = backend.address();
        match &self.check.kind {
            CheckKind::Usual | CheckKind::None => Ok(()),
            CheckKind::Tcp => knock(at).await,
            CheckKind::Http { path, host, expect_status } => {
                let endpoint = backend.endpoint().to_string();
                let host = host.as_ref().unwrap_or(&endpoint);
                http(self.open(at).await?, path, host, expect_status).await
            }
            CheckKind::Tls { host } => {
                let host = host.as_deref().or_else(|| backend.endpoint().name());
                tls(self.open(at).await?, host).await
            }
            CheckKind::Banner { expect } => hear(&mut self.open(at).await?, expect).await,
            CheckKind::Dns { host } => self.dns(at, host.as_deref().unwrap_or_default()).await,
            CheckKind::Payload { send, expect } => match self.transport {
                Transport::Tcp => {
                    let mut stream = self.open(at).await?;
                    stream.write_all(send).await?;
                    hear(&mut stream, expect).await
                }
                Transport::Udp => {
                    let mut answer = vec![0; DATAGRAM];
                    let got = self.exchange(at, send, &mut answer).await?;
                    begins(answer.get(..got).unwrap_or_default(), expect)
                }
            },
        }
    }

    /// Connects, and says what comes before everything.
    async fn open(&self, at: SocketAddr) -> io::Result<TcpStream> {
        let mut stream = connected(os::stream_socket(at)?, at).await?;
        stream.write_all(self.header()).await?;
        Ok(stream)
    }

    /// That we speak for ourselves, where a header is expected.
    fn header(&self) -> &'static [u8] {
        self.check.proxy_protocol.map(nobody).unwrap_or_default()
    }

    async fn dns(&self, at: SocketAddr, host: &str) -> io::Result<()> {
        let query = hello::dns_query(host);
        let mut answer = [0; DATAGRAM];
        let got = self.exchange(at, &query, &mut answer).await?;
        // The same number, an answer, and the code that it ends with (RFC 1035, section 4.1.1).
        match (query.as_slice(), answer.get(..got).unwrap_or_default()) {
            ([one, two, ..], [first, second, flags, code, ..])
                if (one, two) == (first, second) && flags & 0x80 != 0 =>
            {
                match code & 0x0f {
                    SERVFAIL => Err(io::Error::other("it answers SERVFAIL")),
                    _ => Ok(()),
                }
            }
            (_, other) => Err(said(other)),
        }
    }

    /// Sends one datagram and waits for one.
    async fn exchange(&self, at: SocketAddr, send: &[u8], answer: &mut [u8]) -> io::Result<usize> {
        let socket = os::datagram_socket(at)?.into();
        // Nobody else is heard then, and a refusal is.
        connect_datagrams(&socket, at)?;
        let socket = UdpSocket::from_std(socket)?;
        socket.send(&[self.header(), send].concat()).await?;
        socket.recv(answer).await
    }
}

/// Connects and resets, before the last packet of the handshake: where that can be held back, the server never hears of it.
async fn knock(at: SocketAddr) -> io::Result<()> {
    let socket = os::stream_socket(at)?;
    os::spare_an_acknowledgement(&socket);
    // At once: a check may end at any moment, its time-out or a reload being the cause.
    socket.set_linger(Some(Duration::ZERO))?;
    connected(socket, at).await.map(drop)
}

async fn connected(socket: Socket, at: SocketAddr) -> io::Result<TcpStream> {
    connect(&socket, at)?;
    let stream = TcpStream::from_std(socket.into())?;
    stream.writable().await?;
    stream.take_error()?.map_or(Ok(stream), Err)
}

async fn http(mut stream: TcpStream, path: &str, host: &str, good: &[u16]) -> io::Result<()> {
    let request = format!(
        "GET {path} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: refractium\r\nConnection: close\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).await?;
    // HTTP/1.1 200
    let mut line = [0; 12];
    stream.read_exact(&mut line).await?;
    let status = line.strip_prefix(b"HTTP/1.").and_then(|rest| rest.get(2..));
    let status = status.and_then(|digits| std::str::from_utf8(digits).ok()?.parse::<u16>().ok());
    match status {
        Some(status) if good.contains(&status) => Ok(()),
        Some(200..400) if good.is_empty() => Ok(()),
        Some(status) => Err(io::Error::other(format!("its status is {status}"))),
        None => Err(said(&line)),
    }
}

async fn tls(mut stream: TcpStream, host: Option<&str>) -> io::Result<()> {
    stream.write_all(&hello::client_hello(host)).await?;
    // A record's head (RFC 8446, section 5.1) and the first two bytes in it.
    let mut answer = [0; 7];
    stream.read_exact(&mut answer).await?;
    match answer {
        [HANDSHAKE, 3, _, _, _, SERVER_HELLO, _] => Ok(()),
        [ALERT, 3, _, _, _, _, number] => {
            Err(io::Error::other(format!("it answers with the TLS alert {number}")))
        }
        other => Err(said(&other)),
    }
}

/// Reads until it is clear how what it says begins.
async fn hear(stream: &mut TcpStream, expect: &[u8]) -> io::Result<()> {
    let mut heard = vec![0; expect.len().max(1)];
    let mut length = 0;
    while length < heard.len() {
        let got = stream.read(heard.get_mut(length..).unwrap_or_default()).await?;
        if got == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        length += got;
        let so_far = heard.get(..length).unwrap_or_default();
        if !expect.is_empty() && !expect.starts_with(so_far) {
            return Err(said(so_far));
        }
    }
    Ok(())
}

fn begins(answer: &[u8], expect: &[u8]) -> io::Result<()> {
    if answer.starts_with(expect) { Ok(()) } else { Err(said(answer)) }
}

/// An answer that does not pass, so that a person can read how it begins.
fn said(answer: &[u8]) -> io::Error {
    let shown = answer.get(..SHOWN).unwrap_or(answer).escape_ascii();
    io::Error::other(format!("it answers \"{shown}\""))
}

const SHOWN: usize = 32;

/// What a datagram may have at most; of a longer one the rest is not looked at.
const DATAGRAM: usize = 2048;

const HANDSHAKE: u8 = 0x16;
const ALERT: u8 = 0x15;
const SERVER_HELLO: u8 = 0x02;
const SERVFAIL: u8 = 2;
