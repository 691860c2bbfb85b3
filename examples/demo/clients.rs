//! Real requests through the engine, each as a client of that protocol sends it.

use std::error::Error;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use rustls::crypto::ring;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};
use tokio_rustls::TlsConnector;

use crate::wire::line;
use crate::{SENSOR_MAGIC, Service, Speaks};

/// Whoever asks.
pub(crate) struct Client {
    engine: SocketAddr,
    tls: TlsConnector,
}

/// What came of one request.
pub(crate) struct Asked {
    /// The asking end of the connection, by which the engine's events tell it from others; `None` if there was none.
    pub(crate) from: Option<SocketAddr>,
    /// The name that the backend gave itself.
    pub(crate) answer: io::Result<String>,
    /// How long all of it took, from the first packet.
    pub(crate) took: Duration,
}

impl Client {
    /// `roots` are the only certificates it believes: an answer through TLS proves who gave it.
    pub(crate) fn new(engine: SocketAddr, roots: RootCertStore) -> Result<Self, Box<dyn Error>> {
        let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(Self { engine, tls: TlsConnector::from(Arc::new(config)) })
    }

    /// Asks once.
    pub(crate) async fn ask(&self, service: Service) -> Asked {
        let start = Instant::now();
        let mut from = None;
        let talk = async {
            let stream = TcpStream::connect(self.engine).await?;
            stream.set_nodelay(true)?;
            from = Some(stream.local_addr()?);
            self.talk(service, stream).await
        };
        let late = |_| io::Error::other(format!("no answer within {} s", PATIENCE.as_secs()));
        let answer = timeout(PATIENCE, talk).await.map_err(late);
        let took = start.elapsed();
        let answer = answer.and_then(|answer| answer).and_then(|answer| called(&answer));
        Asked { from, answer, took }
    }

    /// Gives the line of the answer in which the backend names itself.
    async fn talk(&self, service: Service, mut stream: TcpStream) -> io::Result<String> {
        match service.speaks {
            Speaks::Http => http(&mut stream, "demo.example").await,
            Speaks::Https => {
                let name = ServerName::try_from(service.name).map_err(io::Error::other)?;
                http(&mut self.tls.connect(name, stream).await?, service.name).await
            }
            Speaks::Ssh => {
                stream.write_all(b"SSH-2.0-demo_client\r\n").await?;
                line(&mut stream).await
            }
            Speaks::Ftp => {
                let greeting = line(&mut stream).await?;
                if !greeting.starts_with("220 ") {
                    return Err(io::Error::other(format!("greeted with \"{greeting}\"")));
                }
                stream.write_all(b"USER demo\r\n").await?;
                line(&mut stream).await
            }
            Speaks::Sensor => {
                stream.write_all(&[SENSOR_MAGIC, b"21.5 degrees\n"].concat()).await?;
                line(&mut stream).await
            }
        }
    }
}

/// Far more than anything here takes, the time-outs of the engine included.
const PATIENCE: Duration = Duration::from_secs(10);

async fn http(
    stream: &mut (impl AsyncRead + AsyncWrite + Unpin),
    host: &str,
) -> io::Result<String> {
    let request = format!("GET / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = String::new();
    stream.take(LONGEST).read_to_string(&mut answer).await?;
    match answer.split_once("\r\n\r\n") {
        Some((head, body)) if head.starts_with("HTTP/1.1 200 ") => Ok(body.to_owned()),
        _ => Err(io::Error::other(format!("no good answer: {answer:?}"))),
    }
}

const LONGEST: u64 = 8 * 1024;

/// The name in `I am NAME`.
fn called(answer: &str) -> io::Result<String> {
    let name: String = answer
        .split_once("I am ")
        .map(|(_, name)| name.trim_end())
        .unwrap_or_default()
        .chars()
        .take_while(|&it| it.is_ascii_alphanumeric() || it == '.')
        .collect();
    match name.trim_end_matches('.') {
        "" => Err(io::Error::other(format!("an answer without a name: {answer:?}"))),
        name => Ok(name.to_owned()),
    }
}
