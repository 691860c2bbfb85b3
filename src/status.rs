//! `refractium status`: what a running program shows of itself, as tables or as JSON.

mod ask;
mod screen;
mod tables;

use std::error::Error;
use std::io::{self, IsTerminal};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::{Duration, Instant};

use refractium::admin::Status;
use refractium::config::{self, Overrides};
use tokio::time::sleep;

use crate::Reader;
use crate::cli::StatusArgs;
use ask::{Unanswered, ask};
use screen::Screen;
use tables::Sample;

/// Between two looks. Rates are told from two.
const SECOND: Duration = Duration::from_secs(1);

/// Nobody can be asked, as far as the configuration says.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NotThere {
    #[error(
        "the admin is off: `[admin] listen` of the configuration says where it is asked, or `--admin` does"
    )]
    Off,
    #[error("the system chose the port of the admin: `--admin` has to say it")]
    AnyPort,
}

/// Asks, and prints; with `--watch` until it is interrupted. The error is for the user to read.
pub(crate) fn status(args: &StatusArgs, typed: &Overrides) -> Result<(), Box<dyn Error>> {
    let admin = match args.admin {
        Some(admin) => admin,
        None => asked_at(config::load(typed)?.admin.listen.first().copied())?,
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        tokio::select! {
            ended = show(args, admin) => ended,
            interrupted = tokio::signal::ctrl_c() => Ok(interrupted?),
        }
    })
}

/// Where the admin is asked that listens there: all addresses of a machine are told by its own.
fn asked_at(listen: Option<SocketAddr>) -> Result<SocketAddr, NotThere> {
    let mut admin = listen.ok_or(NotThere::Off)?;
    if admin.port() == 0 {
        return Err(NotThere::AnyPort);
    }
    match admin.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => admin.set_ip(Ipv4Addr::LOCALHOST.into()),
        IpAddr::V6(ip) if ip.is_unspecified() => admin.set_ip(Ipv6Addr::LOCALHOST.into()),
        _ => {}
    }
    Ok(admin)
}

async fn show(args: &StatusArgs, admin: SocketAddr) -> Result<(), Box<dyn Error>> {
    let mut screen = Screen::new(args.watch && !args.json && io::stdout().is_terminal());
    if args.json {
        loop {
            let text = ask(admin).await?;
            read(admin, &text)?;
            if screen.show(text.trim_end())? == Reader::Gone || !args.watch {
                return Ok(());
            }
            sleep(SECOND).await;
        }
    }
    let mut before = look(admin).await?;
    loop {
        sleep(SECOND).await;
        let text = match look(admin).await {
            Ok(now) => {
                let text = tables::all(&before, &now);
                before = now;
                text
            }
            Err(error) if !args.watch => return Err(error),
            // It may be on its way back.
            Err(error) => format!("{error}\n"),
        };
        if screen.show(&text)? == Reader::Gone || !args.watch {
            return Ok(());
        }
    }
}

async fn look(admin: SocketAddr) -> Result<Sample, Box<dyn Error>> {
    let text = ask(admin).await?;
    Ok(Sample { at: Instant::now(), status: read(admin, &text)? })
}

fn read(admin: SocketAddr, text: &str) -> Result<Status, Unanswered> {
    serde_json::from_str(text).map_err(|error| Unanswered::NoStatus(admin, error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wildcard_is_asked_on_loopback() {
        let asked = |listen: &str| asked_at(listen.parse().ok()).map(|it| it.to_string());
        assert_eq!(asked("0.0.0.0:90").expect("an address"), "127.0.0.1:90");
        assert_eq!(asked("[::]:90").expect("an address"), "[::1]:90");
        assert_eq!(asked("192.0.2.1:90").expect("an address"), "192.0.2.1:90");
        assert!(matches!(asked("127.0.0.1:0"), Err(NotThere::AnyPort)));
        assert!(matches!(asked_at(None), Err(NotThere::Off)));
    }
}
