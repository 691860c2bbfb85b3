//! What the program prints for a person.

use std::fmt::Write;
use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::time::Duration;

use refractium::config::{Config, Origin};
use refractium::protocol::Transport;
use refractium::{Balance, Check, CheckKind, Pool, Route, Table};

/// What a person wants to know at start.
pub(crate) fn start(
    config: &Config,
    locals: &[(SocketAddr, Transport)],
    admin: &[SocketAddr],
) -> String {
    let mut text = format!("refractium {}\n", env!("CARGO_PKG_VERSION"));
    for (local, transport) in locals {
        line(&mut text, format_args!("listening on {local} ({transport})"));
    }
    for local in admin {
        line(&mut text, format_args!("admin on http://{local}/"));
    }
    text + "\n" + &routes(config) + &notes(config)
}

/// Every setting, every route and where each comes from.
pub(crate) fn check(config: &Config) -> String {
    let mut text = String::new();
    match &config.file {
        Some(path) => line(&mut text, format_args!("{}: no mistakes\n", path.display())),
        None => text.push_str("no mistakes\n\n"),
    }
    let rows = config.settings.iter();
    let rows = rows.map(|it| vec![it.name.to_owned(), it.value.clone(), it.origin.to_string()]);
    text + &columns(&["setting", "value", "from"], rows.collect())
        + "\n"
        + &routes(config)
        + &notes(config)
}

fn routes(config: &Config) -> String {
    let table = &config.plan.table;
    let mut rows = Vec::new();
    for &transport in table.transports() {
        rows.extend(table.routes(transport).iter().map(|route| row(config, transport, route)));
        if table.fallback(transport).is_none() {
            let what = if transport == Transport::Tcp { "closed" } else { "dropped" };
            rows.push(vec!["(rest)".into(), String::new(), transport.to_string(), what.into()]);
        }
    }
    columns(&["route", "host", "over", "goes to", "from"], rows)
}

fn row(config: &Config, transport: Transport, route: &Route) -> Vec<String> {
    let hosts: Vec<_> = route.hosts().iter().map(ToString::to_string).collect();
    let is_named = route.protocol().is_some_and(|it| it.host_key().is_some());
    let mut host = if hosts.is_empty() && is_named { "(any)".into() } else { hosts.join(" ") };
    if !route.alpn().is_empty() {
        host += &format!(" alpn {}", route.alpn().join(" ").escape_debug());
    }
    let mut to = goes_to(route.pool());
    if takes_silence(&config.plan.table, transport, route) {
        let delay = config.plan.limits.server_first_delay.as_millis();
        // Writing to a String cannot fail.
        let _ = write!(to, "  and clients silent for {delay} ms");
    }
    let said = own(config, transport, route);
    if !said.is_empty() {
        let _ = write!(to, "  with {}", said.join(", "));
    }
    let name = if route.protocol().is_none() { "(rest)" } else { route.name() };
    let origin = route.place().and_then(|place| config.origins.get(place));
    let origin = origin.map_or_else(|| fallback_origin(config, transport), Origin::to_string);
    vec![name.into(), host, transport.to_string(), to, origin]
}

/// The numbers of a route that are its own, as the file would say them.
fn own(config: &Config, transport: Transport, route: &Route) -> Vec<String> {
    let Some(protocol) = route.protocol() else { return Vec::new() };
    let limits = &config.plan.limits;
    let idle = match transport {
        Transport::Tcp if protocol.rests() => Duration::ZERO,
        Transport::Tcp => limits.idle_timeout,
        Transport::Udp => limits.udp_idle_timeout,
    };
    let mut said = checked(route.check(), transport);
    if route.close_on_down() {
        said.push("close_on_down = true".to_owned());
    }
    if route.is_transparent() {
        said.push("transparent = true".to_owned());
    }
    said.extend(route.proxy_protocol().map(|it| format!("proxy_protocol = \"{it}\"")));
    let connect = route.connect_timeout().filter(|own| *own != limits.connect_timeout);
    if let Some(own) = connect.filter(|_| transport == Transport::Tcp) {
        said.push(format!("connect_timeout_ms = {}", own.as_millis()));
    }
    if let Some(own) = route.idle_timeout().filter(|own| *own != idle) {
        said.push(format!("idle_timeout_ms = {}", own.as_millis()));
    }
    if transport == Transport::Tcp {
        return said;
    }
    let responses = |responses: Option<NonZeroU32>| responses.map_or(0, NonZeroU32::get);
    if responses(route.responses()) != protocol.responses().unwrap_or(0) {
        said.push(format!("responses = {}", responses(route.responses())));
    }
    if let Some(limit) = route.amplification_limit() {
        said.push(format!("amplification_limit = {limit}"));
    }
    said
}

/// What a check is asked otherwise than is usual, as the file would say it.
fn checked(check: &Check, transport: Transport) -> Vec<String> {
    let usual = Check::default().over(transport);
    let mut said = Vec::new();
    let mut say = |key: &str, value: String| said.push(format!("health.{key} = {value}"));
    if check.kind != usual.kind {
        say("kind", format!("\"{}\"", check.kind.word()));
    }
    match &check.kind {
        CheckKind::Http { path, host, expect_status } => {
            say("path", format!("{path:?}"));
            host.iter().for_each(|host| say("host", format!("{host:?}")));
            if !expect_status.is_empty() {
                say("expect_status", format!("{expect_status:?}"));
            }
        }
        CheckKind::Tls { host: Some(host) } | CheckKind::Dns { host: Some(host) } => {
            say("host", format!("{host:?}"));
        }
        CheckKind::Banner { expect } => say("expect", shown(expect)),
        CheckKind::Payload { send, expect } => {
            say("send", shown(send));
            say("expect", shown(expect));
        }
        _ => {}
    }
    let ms = |time: Duration| time.as_millis().to_string();
    for (key, value, usual) in [
        ("interval_ms", ms(check.interval), ms(usual.interval)),
        ("timeout_ms", ms(check.timeout), ms(usual.timeout)),
        ("slow_start_ms", ms(check.slow_start), ms(usual.slow_start)),
        ("rise", check.rise.to_string(), usual.rise.to_string()),
        ("fall", check.fall.to_string(), usual.fall.to_string()),
    ] {
        if value != usual {
            say(key, value);
        }
    }
    said
}

fn shown(bytes: &[u8]) -> String {
    format!("\"{}\"", bytes.escape_ascii())
}

/// The backends of a pool, and how one is chosen if that is not the usual way.
fn goes_to(pool: &Pool) -> String {
    let to: Vec<_> = pool.targets().map(ToString::to_string).collect();
    // What is said of one must not seem to be another.
    let glue = if to.iter().any(|it| it.contains(' ')) { ", " } else { " " };
    let to = to.join(glue);
    if pool.balance() == Balance::default() { to } else { format!("{}: {to}", pool.balance()) }
}

fn takes_silence(table: &Table, transport: Transport, route: &Route) -> bool {
    transport == Transport::Tcp && table.silent().is_some_and(|silent| **silent == *route)
}

fn fallback_origin(config: &Config, transport: Transport) -> String {
    let name = format!("fallback_{transport}");
    let setting = config.settings.iter().find(|setting| setting.name == name);
    setting.map(|setting| setting.origin.to_string()).unwrap_or_default()
}

fn notes(config: &Config) -> String {
    let mut text = String::new();
    for warning in &config.warnings {
        line(&mut text, format_args!("warning: {warning}"));
    }
    for note in &config.notes {
        line(&mut text, format_args!("note: {note}"));
    }
    for transport in unused(config) {
        line(&mut text, format_args!("note: no route is for {transport}: it is not listened on"));
    }
    if text.is_empty() { text } else { format!("\n{text}") }
}

/// What could be served and leads nowhere.
fn unused(config: &Config) -> impl Iterator<Item = &Transport> {
    let used = config.plan.table.transports();
    config.transports.iter().filter(|transport| !used.contains(transport))
}

/// Left-aligned columns, two spaces in and two between.
pub(crate) fn columns(head: &[&str], mut rows: Vec<Vec<String>>) -> String {
    rows.insert(0, head.iter().map(|&word| word.to_owned()).collect());
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column));
        cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<_> = (0..head.len()).map(width).collect();
    let mut text = String::new();
    for row in &rows {
        // Padded by hand: a width in a format is at most 65,535.
        let cells = row.iter().zip(&widths).map(|(cell, &width)| {
            format!("  {cell}{}", " ".repeat(width.saturating_sub(cell.chars().count())))
        });
        line(&mut text, format_args!("{}", cells.collect::<String>().trim_end()));
    }
    text
}

fn line(text: &mut String, words: std::fmt::Arguments<'_>) {
    // Writing to a String cannot fail.
    let _ = writeln!(text, "{words}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let rows = vec![vec!["longer".to_owned(), "b".to_owned()], vec!["a".to_owned()]];
        assert_eq!(columns(&["x", "y"], rows), "  x       y\n  longer  b\n  a\n");
        let long = "x".repeat(70_000);
        let rows = vec![vec![long.clone()], vec!["y".to_owned()]];
        assert_eq!(columns(&["z"], rows), format!("  z\n  {long}\n  y\n"));
    }
}
