//! The configuration file of a proxy, from its template in `peers/`.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Result, bail};

use super::{Make, Peer, Purpose, Sessions, Setting, routes, said};
use crate::order::Ports;

/// Two for each of 9,000 connections, and some.
const DESCRIPTORS: u32 = 19_000;

/// Two for each session in nginx, all descriptors being sessions.
const PLACES: u32 = 2 * DESCRIPTORS;

/// Bytes in one of HAProxy's pipes.
const PIPE: u32 = 1_048_576;

/// Writes what `peer` is to read, into `directory`.
pub(super) fn write(
    peer: &Peer,
    port: u16,
    directory: &Path,
    setting: &Setting,
) -> Result<PathBuf> {
    let (name, template) = template(peer.make, setting.purpose);
    let file = directory.join(name);
    let values = values(peer, port, directory, setting)?;
    fs::write(&file, fill(template, &values)?)?;
    Ok(file)
}

fn template(make: Make, purpose: Purpose) -> (&'static str, &'static str) {
    match (make, purpose) {
        (Make::Refractium, Purpose::Udp(_)) => {
            ("refractium.toml", include_str!("../../peers/refractium-udp.toml"))
        }
        (Make::Refractium, _) => ("refractium.toml", include_str!("../../peers/refractium.toml")),
        (Make::Haproxy | Make::HaproxySplice, _) => {
            ("haproxy.cfg", include_str!("../../peers/haproxy.cfg"))
        }
        (Make::Nginx, Purpose::Udp(_)) => {
            ("nginx.conf", include_str!("../../peers/nginx-udp.conf"))
        }
        (Make::Nginx, _) => ("nginx.conf", include_str!("../../peers/nginx.conf")),
        (Make::Sslh, _) => ("sslh.cfg", include_str!("../../peers/sslh.cfg")),
    }
}

fn values(
    peer: &Peer,
    port: u16,
    directory: &Path,
    setting: &Setting,
) -> Result<Vec<(&'static str, String)>> {
    let ports = &setting.ports;
    let (buffer, routes) = match setting.purpose {
        Purpose::Idle => ("16k", 1),
        Purpose::Routes(routes) => ("64k", routes),
        Purpose::Udp(Sessions::Idle) => ("2k", 1),
        Purpose::Udp(_) => ("16k", 1),
        Purpose::Traffic => ("64k", 1),
    };
    let load_module = match peer.make {
        Make::Nginx => stream_module(&peer.program)?,
        _ => String::new(),
    };
    let mut values = vec![
        // First, because routes name ports.
        ("more_routes", routes::more(peer.make, routes, directory)?),
        ("port", port.to_string()),
        ("http", ports.http.to_string()),
        ("ssh", ports.ssh.to_string()),
        ("tls", ports.tls.to_string()),
        ("other", ports.other.to_string()),
        ("plain", ports.plain.to_string()),
        ("threads", setting.threads.to_string()),
        ("directory", directory.display().to_string()),
        ("descriptors", DESCRIPTORS.to_string()),
        ("buffer", buffer.to_owned()),
        ("splice", splice(peer.make).to_owned()),
        ("pipe", PIPE.to_string()),
        ("load_module", load_module),
    ];
    if let Purpose::Udp(sessions) = setting.purpose {
        values.extend(udp_values(peer.make, ports, sessions));
    }
    Ok(values)
}

fn udp_values(make: Make, ports: &Ports, sessions: Sessions) -> [(&'static str, String); 7] {
    // Seconds.
    let timeout = if sessions == Sessions::Idle { 3_600 } else { 60 };
    let (responses, multi_accept) = match (sessions, make) {
        (Sessions::Short, Make::Refractium) => ("responses = 1", ""),
        (Sessions::Short, _) => ("proxy_responses 1;", "off"),
        _ => ("", "on"),
    };
    [
        ("udp", ports.udp.to_string()),
        ("udp_other", ports.udp_other.to_string()),
        ("places", PLACES.to_string()),
        ("responses", responses.to_owned()),
        ("multi_accept", multi_accept.to_owned()),
        ("timeout", format!("{timeout}s")),
        ("timeout_ms", (timeout * 1000).to_string()),
    ]
}

/// HAProxy's lines about splicing.
fn splice(make: Make) -> &'static str {
    match make {
        Make::HaproxySplice => "    option splice-request\n    option splice-response",
        _ => "    option splice-auto",
    }
}

/// Puts values in the place of `{{names}}`; a name without a value is an error.
fn fill(template: &str, values: &[(&str, String)]) -> Result<String> {
    let mut text = template.to_owned();
    for (name, value) in values {
        text = text.replace(&format!("{{{{{name}}}}}"), value);
    }
    match text.split_once("{{") {
        Some((_, rest)) => bail!("no value for {}", rest.lines().next().unwrap_or_default()),
        None => Ok(text),
    }
}

/// nginx's line that loads the stream module, where that is not built in.
fn stream_module(program: &Path) -> Result<String> {
    let built = said(program, "-V")?;
    let options: Vec<&str> = built.split_whitespace().collect();
    if !options.contains(&"--with-stream=dynamic") {
        return Ok(String::new());
    }
    let folder = options.iter().find_map(|option| option.strip_prefix("--modules-path="));
    let module = Path::new(folder.unwrap_or("modules")).join("ngx_stream_module.so");
    Ok(format!("load_module {};", module.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn placeholders_are_filled_and_none_is_left() {
        let text = fill("a {{x}} b {{x}}{{y}}", &[("x", "1".into()), ("y", String::new())]);
        assert_eq!(text.unwrap(), "a 1 b 1");
        assert!(fill("{{unknown}}", &[]).is_err());
    }
}
