//! Net-SNMP to its server: a protocol that nobody told the program about, which goes to the fallback.

use std::fs;
use std::net::SocketAddr;
use std::process::Command;

use tempfile::TempDir;

use super::servers::{folder, listening, program, succeed};
use super::world::World;
use crate::harness::{Process, need, until};

/// snmpd with a name of its own.
pub(super) struct Agent {
    _snmpd: Process,
    folder: TempDir,
    address: SocketAddr,
}

const PROGRAMS: &[&str] = &["snmpd", "snmpget", "snmpbulkwalk"];
const NAME: &str = "kept-by-snmpd";
/// sysName.0 (RFC 3418)
const SYS_NAME: &str = ".1.3.6.1.2.1.1.5.0";
const SYSTEM: &str = ".1.3.6.1.2.1.1";

impl Agent {
    pub(super) fn start() -> Self {
        let folder = folder();
        let (snmpd, addresses) = listening(folder.path(), 1, |addresses| {
            let address = addresses[0];
            let text = format!(
                "agentaddress udp:{address}\nrocommunity public 127.0.0.1\nsysName {NAME}\n"
            );
            fs::write(folder.path().join("snmpd.conf"), text).expect("room");
            let mut command = program("snmpd");
            // Only what the tests ask for: what else it reads of the machine takes its time.
            command.args(["-f", "-a", "-Lf", "log", "-C", "-c", "snmpd.conf"]);
            command.args(["-I", "system_mib,sysORTable,snmp_mib,vacm_conf,usmUser"]);
            command.current_dir(folder.path()).env("SNMP_PERSISTENT_DIR", folder.path());
            command.env("SNMPCONFPATH", folder.path());
            command
        });
        Self { _snmpd: snmpd, address: addresses[0], folder }
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// How many requests the server says it got.
    pub(super) fn requests(&self) -> usize {
        let log = fs::read_to_string(self.folder.path().join("log")).unwrap_or_default();
        log.matches("Connection from UDP: [127.0.0.1]").count()
    }
}

fn client(world: &World, name: &str, version: &str) -> Command {
    let folder = world.proxy.folder();
    let mut command = program(name);
    command.env("SNMP_PERSISTENT_DIR", folder).env("SNMPCONFPATH", folder).env("MIBS", "");
    command.args(["-v", version, "-c", "public", "-t", "5", "-r", "1", "-On"]);
    command.arg(format!("udp:{}", world.proxy.address()));
    command
}

pub(super) fn snmpget_is_answered(world: &World, version: &str) {
    let mut command = client(world, "snmpget", version);
    command.arg(SYS_NAME);
    assert_eq!(succeed(command), format!("{SYS_NAME} = STRING: \"{NAME}\"\n"));
}

#[test]
fn what_has_no_route_is_answered_by_the_fallback() {
    if !need(PROGRAMS) {
        return;
    }
    let world = World::shared();
    let before = world.agent().requests();
    for version in ["1", "2c"] {
        snmpget_is_answered(&world, version);
    }
    // Many requests of one session.
    let mut command = client(&world, "snmpbulkwalk", "2c");
    command.args(["-Cr3", SYSTEM]);
    let said = succeed(command);
    assert!(said.contains(NAME) && said.lines().count() > 6, "{said}");
    until("the requests in the server's log", || {
        (world.agent().requests() >= before + 5).then_some(())
    });
}
