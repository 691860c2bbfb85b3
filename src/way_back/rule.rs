//! Which answers of backends a routing rule is for, as `ip rule show` has it.

use std::net::IpAddr;
use std::ops::RangeInclusive;

use refractium::Network;
use refractium::protocol::Transport;

/// The answers of one backend. What is not known of it yet may be anything.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Answers {
    pub(super) from: Option<IpAddr>,
    pub(super) port: Option<u16>,
    pub(super) over: Transport,
}

/// A rule that leads to a table.
#[derive(Debug, Default)]
pub(super) struct Rule {
    pub(super) table: String,
    /// It is for packets with this mark alone.
    pub(super) mark: Option<String>,
    from: Option<Network>,
    over: Option<String>,
    ports: Option<RangeInclusive<u16>>,
    /// It is for what this machine itself sends.
    is_own: bool,
    /// It is for what all the rest does not say.
    is_turned: bool,
}

impl Rule {
    /// `32765: from 10.0.0.2 ipproto tcp sport 22 lookup 100`, say; `None` if it leads to no table.
    pub(super) fn read(line: &str) -> Option<Self> {
        let (_, rest) = line.split_once(':')?;
        let mut rule = Self::default();
        let mut words = rest.split_whitespace();
        while let Some(word) = words.next() {
            match word {
                "not" => rule.is_turned = true,
                "from" => rule.from = words.next()?.parse().ok(),
                "ipproto" => rule.over = words.next().map(str::to_owned),
                "sport" => rule.ports = range(words.next()?),
                "fwmark" => rule.mark = words.next().map(str::to_owned),
                "iif" => rule.is_own = words.next()? == "lo",
                "lookup" => rule.table = words.next()?.to_owned(),
                _ => {}
            }
        }
        (!rule.table.is_empty()).then_some(rule)
    }

    /// Whether it may be: what it says of clients, of devices and of other things cannot be told from here.
    pub(super) fn is_for(&self, answers: &Answers) -> bool {
        if self.is_turned {
            return true;
        }
        let is_from = |ip: IpAddr| self.from.is_none_or(|network| network.has(ip));
        let is_at = |port: u16| self.ports.as_ref().is_none_or(|ports| ports.contains(&port));
        let names = match answers.over {
            Transport::Tcp => ["tcp", "6"],
            Transport::Udp => ["udp", "17"],
        };
        let is_over = self.over.as_deref().is_none_or(|over| names.contains(&over));
        !self.is_own
            && is_over
            && answers.from.is_none_or(is_from)
            && answers.port.is_none_or(is_at)
    }
}

/// `22` or `20-30`.
fn range(text: &str) -> Option<RangeInclusive<u16>> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    Some(first.parse().ok()?..=last.parse().ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_is_for_what_it_says() {
        let answers =
            Answers { from: "10.0.0.2".parse().ok(), port: Some(22), over: Transport::Tcp };
        for (line, expected) in [
            ("32765:\tfrom all lookup 100", true),
            ("32765:\tfrom all fwmark 0x1 lookup 100", true),
            ("32765:\tfrom 10.0.0.2 ipproto tcp sport 22 lookup 100", true),
            ("32765:\tfrom 10.0.0.0/24 iif eth1 ipproto 6 sport 20-30 lookup 100", true),
            ("32765:\tnot from 10.0.0.2 lookup 100", true),
            ("32765:\tfrom 10.0.0.3 ipproto tcp sport 22 lookup 100", false),
            ("32765:\tfrom 10.0.0.2 ipproto udp sport 22 lookup 100", false),
            ("32765:\tfrom 10.0.0.2 ipproto tcp sport 23 lookup 100", false),
            ("32765:\tfrom 10.0.0.2 sport 23-30 lookup 100", false),
            ("32765:\tfrom all iif lo lookup 100", false),
        ] {
            let rule = Rule::read(line).expect(line);
            assert_eq!(rule.table, "100");
            assert_eq!(rule.is_for(&answers), expected, "{line}");
        }
        let unknown = Answers { from: None, port: None, over: Transport::Udp };
        for (line, expected) in [
            ("0:\tfrom 10.0.0.2 ipproto udp sport 22 lookup 100", true),
            ("0:\tfrom 10.0.0.2 ipproto tcp sport 22 lookup 100", false),
        ] {
            assert_eq!(Rule::read(line).expect(line).is_for(&unknown), expected, "{line}");
        }
        assert!(Rule::read("0:\tfrom all blackhole").is_none());
    }
}
