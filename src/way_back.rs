//! What this machine lacks for routes with `transparent = true`, as far as it can be seen.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::process::Command;

use refractium::protocol::Transport;
use refractium::{Route, Table, can_stand_in};

/// A sentence for everything that is missing; nothing if no route asks for it.
pub(crate) fn missing(table: &Table) -> Vec<String> {
    let routes = [Transport::Tcp, Transport::Udp].map(|transport| table.routes(transport));
    let transparent: Vec<_> = routes.iter().flatten().filter(|it| it.is_transparent()).collect();
    let backends = transparent.iter().flat_map(|route| addresses(route));
    let mut families: Vec<_> = backends.map(|it| it.is_ipv4()).collect();
    families.sort_unstable();
    families.dedup();
    families.into_iter().flat_map(of_family).collect()
}

fn addresses(route: &Route) -> Vec<SocketAddr> {
    // A name has its addresses only later: IPv4 is the usual one.
    let any = SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0));
    route.pool().targets().map(|it| it.endpoint.address().unwrap_or(any)).collect()
}

fn of_family(is_v4: bool) -> Vec<String> {
    let any: SocketAddr = match is_v4 {
        true => (Ipv4Addr::UNSPECIFIED, 0).into(),
        false => (Ipv6Addr::UNSPECIFIED, 0).into(),
    };
    let mut missing = Vec::new();
    if let Err(error) = can_stand_in(any) {
        let rights = "CAP_NET_ADMIN or CAP_NET_RAW";
        missing.push(format!(
            "`transparent`: the right to speak under other addresses ({rights}): {error}"
        ));
    }
    let family = if is_v4 { "-4" } else { "-6" };
    match has_way_back(family) {
        Some(true) => {}
        Some(false) => missing.push(format!(
            "`transparent`: no routing rule leads to a table with `local default` (`ip {family} rule`): \
             answers of backends do not come back"
        )),
        None => missing.push(format!("`transparent`: `ip {family} rule` cannot be asked")),
    }
    missing
}

/// Whether some rule leads to a table of which everything is delivered here. Which packets it is for is not looked at.
fn has_way_back(family: &str) -> Option<bool> {
    let rules = said(&[family, "rule", "show"])?;
    let tables = rules.lines().filter_map(|line| line.split("lookup ").nth(1)?.split(' ').next());
    let is_ours = |table: &&str| !["local", "main", "default"].contains(table);
    let leads_here = |table: &str| {
        let routes = said(&[family, "route", "show", "table", table]).unwrap_or_default();
        routes.lines().any(|line| line.starts_with("local default"))
    };
    Some(tables.filter(is_ours).any(leads_here))
}

fn said(words: &[&str]) -> Option<String> {
    let output = Command::new("ip").args(words).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
}
