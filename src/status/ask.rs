//! One question to an admin, within limits: whoever listens there may be somebody else.

use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::time::Duration;

use hyper::body::{Body, Bytes, Frame, Incoming};
use hyper::client::conn::http1;
use hyper::{Request, header};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::time::timeout;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unanswered {
    #[error("nobody answers on {0}: is Refractium running with this admin?")]
    Nobody(SocketAddr, #[source] io::Error),
    #[error("{0} did not answer within {LIMIT:?}")]
    Late(SocketAddr),
    #[error("{0} does not answer as an admin does")]
    Strange(SocketAddr, #[source] hyper::Error),
    #[error("{0} answers {1}: it is no admin, or of another version")]
    Refused(SocketAddr, hyper::StatusCode),
    #[error("{0} answers what is no status: it is no admin, or of another version")]
    NoStatus(SocketAddr, #[source] serde_json::Error),
    #[error("{0} answers more than {MOST} bytes, or no text")]
    TooMuch(SocketAddr),
}

/// How long all of it may take.
const LIMIT: Duration = Duration::from_secs(10);

/// Some kilobytes for each route would be ten thousand routes.
const MOST: usize = 64 * 1024 * 1024;

/// What `/status` of this admin says.
pub(super) async fn ask(admin: SocketAddr) -> Result<String, Unanswered> {
    match timeout(LIMIT, ask_at_leisure(admin)).await {
        Ok(answer) => answer,
        Err(_) => Err(Unanswered::Late(admin)),
    }
}

async fn ask_at_leisure(admin: SocketAddr) -> Result<String, Unanswered> {
    let stream = TcpStream::connect(admin).await.map_err(|it| Unanswered::Nobody(admin, it))?;
    let strange = |error| Unanswered::Strange(admin, error);
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(strange)?;
    let request = Request::get("/status").header(header::HOST, admin.to_string());
    // It is made of nothing that could be wrong.
    let request = request.body(String::new()).unwrap_or_default();
    let answered = async {
        let response = sender.send_request(request).await.map_err(strange)?;
        if !response.status().is_success() {
            return Err(Unanswered::Refused(admin, response.status()));
        }
        let bytes = collected(response.into_body()).await.map_err(strange)?;
        bytes.and_then(|it| String::from_utf8(it).ok()).ok_or(Unanswered::TooMuch(admin))
    };
    let carried = async {
        // What fails, fails the answer.
        let _ = connection.await;
        std::future::pending().await
    };
    tokio::select! {
        answer = answered => answer,
        never = carried => never,
    }
}

/// The whole body; `None` if it is too long.
async fn collected(mut body: Incoming) -> Result<Option<Vec<u8>>, hyper::Error> {
    let mut bytes = Vec::new();
    while let Some(frame) = poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await {
        let data: Bytes = frame.map(Frame::into_data)?.unwrap_or_default();
        if bytes.len() + data.len() > MOST {
            return Ok(None);
        }
        bytes.extend_from_slice(&data);
    }
    Ok(Some(bytes))
}
