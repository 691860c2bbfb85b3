//! The smallest program with an engine inside: HTTP and SSH share port 8080, and every decision is printed.
//!
//! `cargo run --example embed`, with a web server on port 3000 and an SSH server on port 22 of this machine. What is
//! not running is told as a connection that no backend takes.

use std::error::Error;

use refractium::{Event, Listeners, Refractium};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let engine = Refractium::builder()
        .forward("http=127.0.0.1:3000".parse()?)
        .forward("ssh=127.0.0.1:22".parse()?)
        .observer(tell)
        .build()?;
    let listeners =
        Listeners::bind(&["127.0.0.1:8080".parse()?], engine.plan().table.transports())?;
    let interrupted = async {
        if let Err(error) = tokio::signal::ctrl_c().await {
            eprintln!("cannot wait for Ctrl-C, so this is the end: {error}");
        }
    };
    engine.run(listeners, interrupted).await?;
    Ok(())
}

/// Runs where the event happens, so a busy program would hand it to a channel and print elsewhere.
fn tell(event: &Event<'_>) {
    match event {
        Event::Listening { local, transport } => println!("listening on {local} ({transport})"),
        Event::Decided { conn, route, by, after, .. } => {
            println!("{}: {}, by {by} after {after:?}", conn.client, route.name());
        }
        Event::Refused { conn, refusal } => println!("{}: {refusal}", conn.client),
        Event::Drained { cut } => println!("ended; {cut} connections had to be cut"),
        _ => {}
    }
}
