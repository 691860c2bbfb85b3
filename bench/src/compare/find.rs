//! Which proxies take part.

use std::env;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::cli::Cli;
use crate::peer::{Make, Peer};

/// Where Debian puts programs that are not in every user's path.
const MORE_FOLDERS: [&str; 2] = ["/usr/sbin", "/usr/local/sbin"];

/// Refractium, then the peers that are wanted and installed.
pub(crate) fn peers(cli: &Cli) -> Result<Vec<Peer>> {
    let mut peers = vec![Peer::new(Make::Refractium, refractium(cli)?)?];
    if cli.alone {
        return Ok(peers);
    }
    let haproxy = cli.haproxy.clone().or_else(|| installed("haproxy"));
    let nginx = cli.nginx.clone().or_else(|| installed("nginx"));
    let sslh = match cli.sslh.is_empty() {
        false => cli.sslh.clone(),
        true => ["sslh-select", "sslh-ev", "sslh"].into_iter().filter_map(installed).collect(),
    };
    let haproxy = haproxy
        .into_iter()
        .flat_map(|program| [(Make::Haproxy, program.clone()), (Make::HaproxySplice, program)]);
    let found = haproxy.chain(nginx.into_iter().map(|program| (Make::Nginx, program)));
    let found = found.chain(sslh.into_iter().map(|program| (Make::Sslh, program)));
    for (make, program) in found {
        let peer = Peer::new(make, program)?;
        if peers.iter().all(|known| known.name != peer.name) {
            peers.push(peer);
        }
    }
    keep_wanted(cli, &mut peers)?;
    Ok(peers)
}

fn keep_wanted(cli: &Cli, peers: &mut Vec<Peer>) -> Result<()> {
    let Some(wanted) = &cli.peers else { return Ok(()) };
    if let Some(missing) = wanted.iter().find(|name| peers.iter().all(|peer| peer.name != **name)) {
        bail!("{missing} is not installed; scripts/peers installs all of them from Debian");
    }
    peers.retain(|peer| peer.make == Make::Refractium || wanted.contains(&peer.name));
    Ok(())
}

fn refractium(cli: &Cli) -> Result<PathBuf> {
    if let Some(path) = &cli.refractium {
        return Ok(path.clone());
    }
    let own = env::current_exe()?;
    let beside = own.parent().context("no folder of this program")?.join("refractium");
    if !beside.exists() {
        bail!(
            "{} is missing: run `cargo build --release` first, or name another build with --refractium",
            beside.display()
        );
    }
    Ok(beside)
}

fn installed(name: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let folders = env::split_paths(&path).chain(MORE_FOLDERS.iter().map(PathBuf::from));
    folders
        .map(|folder: PathBuf| folder.join(name))
        .find(|program: &PathBuf| Path::is_file(program))
}
