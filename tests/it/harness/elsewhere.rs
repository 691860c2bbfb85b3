//! Another network, for what loopback cannot show.

use std::fs::File;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::AsFd;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU8, Ordering};
use std::thread;

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use super::{Process, need, need_root, run_command, skipped};

/// A network of its own, behind a cable that can be cut. Gone when dropped.
pub(crate) struct Elsewhere {
    name: String,
    /// Our ends of the cable, and the others.
    here: [IpAddr; 2],
    there: [IpAddr; 2],
}

/// Which of the two addresses at an end of the cable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Family {
    V4,
    V6,
}

impl Elsewhere {
    /// `None`, and the reason is told, where such a network cannot be had.
    pub(crate) fn new() -> Option<Self> {
        static MADE: AtomicU8 = AtomicU8::new(0);
        if !need_root() || !need(&["ip"]) {
            return None;
        }
        let number = MADE.fetch_add(1, Ordering::Relaxed);
        let [_, _, high, low] = std::process::id().to_be_bytes();
        // 198.18.0.0/15 and 2001:2::/48 are for tests of networks (RFC 2544, RFC 5180).
        let v4 = |host| Ipv4Addr::new(198, 18 + high % 2, low, number * 4 + host);
        let subnet = u16::from_be_bytes([low, number]);
        let v6 = |host| Ipv6Addr::new(0x2001, 2, 0, high.into(), subnet, 0, 0, host);
        let elsewhere = Self {
            name: format!("rf{high:02x}{low:02x}{number:02x}"),
            here: [v4(1).into(), v6(1).into()],
            there: [v4(2).into(), v6(2).into()],
        };
        match elsewhere.build() {
            Ok(()) => Some(elsewhere),
            Err(said) => {
                skipped(&format!("no network namespace: {said}"));
                None
            }
        }
    }

    fn build(&self) -> Result<(), String> {
        let Self { name, here, there } = self;
        ip(&format!("netns add {name}"))?;
        ip(&format!("link add {name}a type veth peer name {name}b netns {name}"))?;
        for (at, length) in [(0, 30), (1, 80)] {
            // Without looking for another one of this address first, which takes a second.
            let nodad = if at == 1 { " nodad" } else { "" };
            ip(&format!("address add {}/{length} dev {name}a{nodad}", here[at]))?;
            ip(&format!("-n {name} address add {}/{length} dev {name}b{nodad}", there[at]))?;
        }
        ip(&format!("link set {name}a up"))?;
        ip(&format!("-n {name} link set {name}b up"))?;
        ip(&format!("-n {name} link set lo up"))
    }

    /// Our end of the cable.
    pub(crate) fn here(&self, family: Family) -> IpAddr {
        self.here[family as usize]
    }

    /// The other end.
    pub(crate) fn there(&self, family: Family) -> IpAddr {
        self.there[family as usize]
    }

    /// The name of the network, of our device `…a` and of the other `…b`.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// A program that runs there.
    pub(crate) fn run(&self, program: &[&str]) -> Process {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.name]).args(program);
        Process(command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("ip"))
    }

    /// What this makes, made there: sockets stay where they were opened.
    pub(crate) fn inside<T: Send>(&self, make: impl FnOnce() -> T + Send) -> T {
        let network = File::open(format!("/run/netns/{}", self.name)).expect("a network");
        let make = || {
            let kind = Some(LinkNameSpaceType::Network);
            move_into_link_name_space(network.as_fd(), kind).expect("root");
            make()
        };
        thread::scope(|scope| scope.spawn(make).join().expect("something made"))
    }

    /// Packets are lost from now on, both ways, and nobody is told.
    pub(crate) fn cut(&self) {
        let here = self.here(Family::V4);
        ip(&format!("-n {} route add blackhole {here}/32", self.name)).expect("a route");
    }
}

impl Drop for Elsewhere {
    fn drop(&mut self) {
        // The cable goes with it, once no socket is left there.
        let _ = ip(&format!("netns del {}", self.name));
        let _ = ip(&format!("link del {}a", self.name));
    }
}

/// Changes something about networks.
pub(crate) fn ip(words: &str) -> Result<(), String> {
    let mut command = Command::new("ip");
    command.args(words.split(' '));
    let (code, _, stderr) = run_command(command);
    if code == 0 { Ok(()) } else { Err(format!("ip {words}: {}", stderr.trim_end())) }
}
