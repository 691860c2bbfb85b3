//! What this machine lacks for routes with `transparent = true`, as far as it can be seen.

mod rule;

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::process::Command;

use refractium::config::Config;
use refractium::protocol::Transport;
use refractium::{Endpoint, can_stand_in};
use rule::{Answers, Rule};

/// A sentence for everything that is missing; nothing if no route asks for it.
pub(crate) fn missing(config: &Config) -> Vec<String> {
    let backends = backends(config);
    let families = [(true, "-4"), (false, "-6")].into_iter();
    families.flat_map(|(is_v4, option)| Family { is_v4, option }.missing(&backends)).collect()
}

/// A backend of a transparent route, in one of the families that it may have.
struct Backend<'c> {
    endpoint: &'c Endpoint,
    is_v4: bool,
    answers: Answers,
}

fn backends(config: &Config) -> Vec<Backend<'_>> {
    let clients = families(&config.addresses);
    let mut backends: Vec<Backend<'_>> = Vec::new();
    for over in [Transport::Tcp, Transport::Udp] {
        let routes = config.plan.table.routes(over).into_iter().filter(|it| it.is_transparent());
        for endpoint in routes.flat_map(|route| route.pool().targets().map(|it| &it.endpoint)) {
            let from = endpoint.address().map(|it| it.ip());
            let port = Some(endpoint.port()).filter(|port| *port != 0);
            let answers = Answers { from, port, over };
            // A name has its addresses only later: what suits some client may be one of them.
            let may_be = match from {
                Some(ip) => vec![ip.is_ipv4()],
                None => clients.clone(),
            };
            for is_v4 in may_be {
                let answers = answers.clone();
                backends.push(Backend { endpoint, is_v4, answers });
            }
        }
    }
    backends
}

/// Whether clients come over IPv4, and whether over IPv6.
fn families(listening: &[SocketAddr]) -> Vec<bool> {
    let takes = |is_v4: bool| listening.iter().any(|it| it.is_ipv4() == is_v4);
    let is_dual = !takes(true) && listening.iter().any(|it| it.ip().is_unspecified());
    [true, false].into_iter().filter(|is_v4| takes(*is_v4) || (*is_v4 && is_dual)).collect()
}

struct Family {
    is_v4: bool,
    option: &'static str,
}

impl Family {
    fn missing(&self, backends: &[Backend<'_>]) -> Vec<String> {
        let backends: Vec<_> = backends.iter().filter(|it| it.is_v4 == self.is_v4).collect();
        if backends.is_empty() {
            return Vec::new();
        }
        let mut missing = Vec::new();
        if let Err(error) = can_stand_in(self.any()) {
            let rights = "CAP_NET_ADMIN or CAP_NET_RAW";
            missing.push(format!(
                "`transparent`: the right to speak under other addresses ({rights}): {error}"
            ));
        }
        let option = self.option;
        match self.rules() {
            None => missing.push(format!("`transparent`: `ip {option} rule` cannot be asked")),
            Some(rules) if rules.is_empty() => missing.push(format!(
                "`transparent`: no routing rule leads to a table with `local default` (`ip {option} rule`): \
                 answers of backends do not come back"
            )),
            Some(rules) => {
                let lost = backends.into_iter().filter_map(|backend| lost(backend, &rules));
                missing.extend(lost.map(|what| format!("`transparent`: {what} (`ip {option} rule`)")));
            }
        }
        missing.dedup();
        missing
    }

    const fn any(&self) -> SocketAddr {
        match self.is_v4 {
            true => SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0),
            false => SocketAddr::new(std::net::IpAddr::V6(Ipv6Addr::UNSPECIFIED), 0),
        }
    }

    /// The rules that lead to a table of which everything is delivered here.
    fn rules(&self) -> Option<Vec<Rule>> {
        let rules = said("ip", &[self.option, "rule", "show"])?;
        let leads_here = |table: &str| {
            let routes = said("ip", &[self.option, "route", "show", "table", table]);
            routes.unwrap_or_default().lines().any(|line| line.starts_with("local default"))
        };
        let is_ours = |rule: &Rule| !["local", "main", "default"].contains(&rule.table.as_str());
        let rules = rules.lines().filter_map(Rule::read).filter(is_ours);
        Some(rules.filter(|rule| leads_here(&rule.table)).collect())
    }
}

/// Why the answers of a backend do not come back, if it can be told.
fn lost(backend: &Backend<'_>, rules: &[Rule]) -> Option<String> {
    let Backend { endpoint, answers, .. } = backend;
    let mut fitting = rules.iter().filter(|rule| rule.is_for(answers)).peekable();
    if fitting.peek().is_none() {
        let over = answers.over;
        return Some(format!(
            "no rule that leads here is for what `{endpoint}` answers over {over}"
        ));
    }
    if fitting.any(|rule| rule.mark.is_none()) || marks_are_set() {
        return None;
    }
    Some(format!(
        "what `{endpoint}` answers comes back only if it is marked, and nftables marks nothing"
    ))
}

/// Whether something may set marks; also where that cannot be told.
fn marks_are_set() -> bool {
    let Some(rules) = said("nft", &["list", "ruleset"]) else { return true };
    // Rules of the older iptables are not among those of nftables.
    let tables = ["/proc/net/ip_tables_names", "/proc/net/ip6_tables_names"];
    let is_older =
        tables.iter().any(|it| std::fs::read_to_string(it).is_ok_and(|it| !it.is_empty()));
    is_older || rules.contains("mark set") || rules.contains("xt ")
}

fn said(program: &str, words: &[&str]) -> Option<String> {
    let output = Command::new(program).args(words).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
}

#[cfg(test)]
mod tests {
    use super::families;

    #[test]
    fn clients_come_over_what_is_listened_on() {
        for (listening, expected) in [
            (&["0.0.0.0:80"][..], &[true][..]),
            (&["[::]:80"], &[true, false]),
            (&["[::]:80", "127.0.0.1:80"], &[true, false]),
            (&["[::1]:80"], &[false]),
        ] {
            let listening: Vec<_> = listening.iter().map(|it| it.parse().expect(it)).collect();
            assert_eq!(families(&listening), expected);
        }
    }
}
