//! The services behind the engine: each just enough of its protocol to say its name.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use rustls::crypto::ring;
use rustls::pki_types::PrivatePkcs8KeyDer;
use rustls::{RootCertStore, ServerConfig};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;

use crate::wire::{finish, line};
use crate::{SENSOR_MAGIC, Service, Speaks};

/// Everything that was started; dropping it ends it.
pub(crate) struct Backends {
    running: Vec<(Service, SocketAddr)>,
    roots: RootCertStore,
    _listening: JoinSet<()>,
}

impl Backends {
    /// Starts each on a port that the system chooses.
    pub(crate) async fn start(services: &[Service]) -> Result<Self, Box<dyn std::error::Error>> {
        let mut running = Vec::new();
        let mut roots = RootCertStore::empty();
        let mut listening = JoinSet::new();
        for &service in services {
            let name = service.name;
            let talk = match service.speaks {
                Speaks::Http => Talk::Http,
                Speaks::Https => Talk::Https(tls(name, &mut roots)?),
                Speaks::Ssh => Talk::Ssh,
                Speaks::Ftp => Talk::Ftp,
                Speaks::Sensor => Talk::Sensor,
            };
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
            running.push((service, listener.local_addr()?));
            listening.spawn(listen(listener, Backend { name, talk }));
        }
        Ok(Self { running, roots, _listening: listening })
    }

    /// Each with its address, in the order in which they were given.
    pub(crate) fn running(&self) -> impl Iterator<Item = (Service, SocketAddr)> {
        self.running.iter().copied()
    }

    /// The certificates of the TLS servers, made when they started.
    pub(crate) fn roots(&self) -> RootCertStore {
        self.roots.clone()
    }

    /// What the backend at an address is called.
    pub(crate) fn name(&self, address: Option<SocketAddr>) -> &'static str {
        let at = |(_, backend): &&(Service, SocketAddr)| Some(*backend) == address;
        self.running.iter().find(at).map_or("?", |(service, _)| service.name)
    }
}

#[derive(Clone)]
struct Backend {
    name: &'static str,
    talk: Talk,
}

#[derive(Clone)]
enum Talk {
    Http,
    Https(TlsAcceptor),
    Ssh,
    Ftp,
    Sensor,
}

fn tls(name: &str, roots: &mut RootCertStore) -> Result<TlsAcceptor, Box<dyn std::error::Error>> {
    let rcgen::CertifiedKey { cert, signing_key } =
        rcgen::generate_simple_self_signed([name.to_owned()])?;
    roots.add(cert.der().clone())?;
    let key = PrivatePkcs8KeyDer::from(signing_key.serialize_der());
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(vec![cert.der().clone()], key.into())?;
    Ok(TlsAcceptor::from(Arc::new(config)))
}

/// Serves until dropped, and the conversations with it.
async fn listen(listener: TcpListener, backend: Backend) {
    let mut conversations = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => {
                    let backend = backend.clone();
                    conversations.spawn(async move {
                        // What becomes of one conversation, its client sees.
                        let _ = timeout(CONVERSATION, backend.converse(stream)).await;
                    });
                }
                // Out of descriptors, say: they come back.
                Err(_) => sleep(PAUSE).await,
            },
            Some(_) = conversations.join_next() => {}
        }
    }
}

/// Long enough to type a few commands by hand.
const CONVERSATION: Duration = Duration::from_secs(60);
const PAUSE: Duration = Duration::from_millis(100);

impl Backend {
    async fn converse(&self, mut stream: TcpStream) -> io::Result<()> {
        match &self.talk {
            Talk::Http => self.http(&mut stream).await,
            Talk::Https(tls) => self.http(&mut tls.accept(stream).await?).await,
            Talk::Ssh => self.ssh(&mut stream).await,
            Talk::Ftp => self.ftp(&mut stream).await,
            Talk::Sensor => self.sensor(&mut stream).await,
        }
    }

    async fn http(&self, stream: &mut (impl AsyncRead + AsyncWrite + Unpin)) -> io::Result<()> {
        while !line(stream).await?.is_empty() {}
        let body = format!("I am {}\n", self.name);
        let head = "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nConnection: close\r\n";
        let answer = format!("{head}Content-Length: {}\r\n\r\n{body}", body.len());
        stream.write_all(answer.as_bytes()).await?;
        finish(stream).await
    }

    /// A greeting, and a goodbye that an SSH client shows: no keys, no login.
    async fn ssh(&self, stream: &mut TcpStream) -> io::Result<()> {
        stream.write_all(format!("SSH-2.0-demo I am {}\r\n", self.name).as_bytes()).await?;
        let client = line(stream).await?;
        let words = format!("I am {}, only a greeting. You are {client}.", self.name);
        stream.write_all(&ssh_disconnect(&words)).await?;
        finish(stream).await
    }

    /// A control connection on which one can log in and out; there is nothing to fetch.
    async fn ftp(&self, stream: &mut TcpStream) -> io::Result<()> {
        let mut answer = format!("220 I am {}", self.name);
        loop {
            stream.write_all(format!("{answer}\r\n").as_bytes()).await?;
            if answer.starts_with("221") {
                return finish(stream).await;
            }
            let command = line(stream).await?;
            let mut words = command.split_ascii_whitespace();
            let verb = words.next().unwrap_or_default().to_ascii_uppercase();
            let rest = words.next().unwrap_or_default();
            answer = match verb.as_str() {
                "USER" => format!("331 I am {}. Any password will do, {rest}", self.name),
                "PASS" => "230 Welcome".to_owned(),
                "PWD" => "257 \"/\"".to_owned(),
                "QUIT" => "221 Goodbye".to_owned(),
                _ => format!("502 I am only a greeting, what is {verb}?"),
            };
        }
    }

    async fn sensor(&self, stream: &mut TcpStream) -> io::Result<()> {
        let mut magic = [0; SENSOR_MAGIC.len()];
        stream.read_exact(&mut magic).await?;
        let reading = line(stream).await?;
        let intact = if magic == SENSOR_MAGIC { "every byte" } else { "other bytes" };
        let answer = format!("I am {}, and read {intact} and {reading}\n", self.name);
        stream.write_all(answer.as_bytes()).await?;
        finish(stream).await
    }
}

/// An SSH_MSG_DISCONNECT packet (RFC 4253, sections 6 and 11.1), as it is before any keys are agreed on.
fn ssh_disconnect(words: &str) -> Vec<u8> {
    let length = |bytes: usize| u32::try_from(bytes).unwrap_or(u32::MAX).to_be_bytes();
    let mut payload = vec![SSH_MSG_DISCONNECT];
    payload.extend(SSH_DISCONNECT_BY_APPLICATION.to_be_bytes());
    payload.extend(length(words.len()));
    payload.extend(words.as_bytes());
    payload.extend(length(0)); // no language
    // At least four bytes of padding, to a multiple of eight with the two lengths before the payload.
    let padding = 4 + (8 - (payload.len() + 9) % 8) % 8;
    let mut packet = Vec::from(length(1 + payload.len() + padding));
    packet.extend(u8::try_from(padding));
    packet.extend(payload);
    packet.resize(packet.len() + padding, 0);
    packet
}

const SSH_MSG_DISCONNECT: u8 = 1;
const SSH_DISCONNECT_BY_APPLICATION: u32 = 11;
