//! What both ends of the demo's conversations need: lines, and an end that loses nothing.

use std::io;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// Reads up to the next line feed, without the line's end.
pub(crate) async fn line(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<String> {
    let mut line = Vec::new();
    while line.len() < LONGEST {
        match stream.read_u8().await? {
            b'\n' => return Ok(String::from_utf8_lossy(&line).trim_end().to_owned()),
            byte => line.push(byte),
        }
    }
    Err(io::Error::other(format!("no end of line in {LONGEST} bytes")))
}

/// Says that nothing more comes, then waits until the other side says so too: closing a socket that still has
/// something to read would reset it, and a reset can overtake the last answer.
pub(crate) async fn finish(stream: &mut (impl AsyncRead + AsyncWrite + Unpin)) -> io::Result<()> {
    stream.shutdown().await?;
    tokio::io::copy(stream, &mut tokio::io::sink()).await?;
    Ok(())
}

const LONGEST: usize = 8 * 1024;
