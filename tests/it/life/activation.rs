//! Sockets that a service manager has bound.

use std::net::{IpAddr, Ipv6Addr, SocketAddr, TcpStream};
use std::process::Command;

use tempfile::TempDir;

use super::SSH;
use crate::harness::udp::{Backend as Datagrams, Client, own_ip};
use crate::harness::{Backend, Proxy, ask, need, program, refusing_at, route, run_command, until};

/// Binds what it is told, and becomes the program, as systemd does (sd_listen_fds(3)). Perl closes what is above `$^F`.
const MANAGER: &str = r#"
use Socket qw(:all);
$^F = 100;
my $count = 0;
while ((my $word = shift) ne "--") {
    my ($kind, $ip, $port) = split /,/, $word;
    my $family = $kind eq "unix" ? AF_UNIX : $ip =~ /:/ ? AF_INET6 : AF_INET;
    my $type = $kind =~ /udp/ ? SOCK_DGRAM : SOCK_STREAM;
    socket(my $socket, $family, $type, 0) or die "socket: $!";
    setsockopt($socket, SOL_SOCKET, SO_REUSEADDR, 1) if $type == SOCK_STREAM;
    setsockopt($socket, SOL_SOCKET, SO_REUSEPORT, 1) if $kind =~ /shared/;
    setsockopt($socket, 41, 26, $kind =~ /only/ ? 1 : 0) if $family == AF_INET6;
    my $address = $kind eq "unix" ? pack_sockaddr_un($ip)
        : $family == AF_INET6 ? pack_sockaddr_in6($port, inet_pton(AF_INET6, $ip))
        : pack_sockaddr_in($port, inet_aton($ip));
    bind($socket, $address) or die "bind: $!";
    if ($type == SOCK_STREAM && $kind !~ /bound/) { listen($socket, 100) or die "listen: $!"; }
    push @kept, $socket;
    die "descriptor" if fileno($socket) != 3 + $count++;
}
$ENV{LISTEN_PID} = $$;
$ENV{LISTEN_FDS} = $count;
exec @ARGV or die "exec: $!";
"#;

/// The program, after sockets that are as these words say.
fn activated(folder: &TempDir, sockets: &[&str], words: &[&str]) -> Command {
    let mut command = program(folder.path(), &[]);
    command = {
        let program = command.get_program().to_owned();
        let mut perl = Command::new("perl");
        perl.args(["-e", MANAGER, "--"]).args(sockets).arg("--").arg(program);
        perl.args(["-c", "refractium.toml"]).args(words);
        perl
    };
    command
}

struct Backends {
    ssh: Backend,
    app: Datagrams,
}

impl Backends {
    fn new() -> Self {
        Self { ssh: Backend::echo("ssh"), app: Datagrams::echo("app") }
    }

    fn folder(&self, server: &str) -> TempDir {
        let folder = tempfile::tempdir().expect("a folder");
        let app = "patterns = [\"APP\"]\ntransport = \"udp\"";
        let routes = route("ssh", "", self.ssh.address()) + &route("app", app, self.app.address());
        std::fs::write(
            folder.path().join("refractium.toml"),
            format!("[server]\n{server}\n{routes}"),
        )
        .expect("room");
        folder
    }
}

fn serves(address: SocketAddr) {
    assert_eq!(ask(address, SSH), [b"ssh: ", SSH].concat());
    Client::of(address).reaches("app", b"APP");
}

const PORT: u16 = 4000;

/// P6: what is passed is served, by every worker; what is not passed is bound.
#[test]
fn sockets_that_are_passed_are_served() {
    if !need(&["perl"]) {
        return;
    }
    for transports in
        [&["tcp", "udp"][..], &["udp"], &["tcp"], &[], &["tcp-shared", "tcp-shared", "udp"]]
    {
        let (backends, ip) = (Backends::new(), own_ip());
        let folder = backends.folder(&format!("bind = \"{ip}\"\nport = {PORT}\nworkers = 3"));
        let sockets: Vec<_> = transports.iter().map(|it| format!("{it},{ip},{PORT}")).collect();
        let sockets: Vec<_> = sockets.iter().map(String::as_str).collect();
        let proxy = Proxy::watch(activated(&folder, &sockets, &[]), folder);
        let address = SocketAddr::new(ip, PORT);
        assert_eq!(proxy.address(), address);
        let inodes = listening(proxy.id());
        // One of TCP for all, or what was passed; one reader of UDP, or one for each worker that it bound itself.
        let tcp = transports.iter().filter(|it| it.starts_with("tcp")).count();
        let own = |count: usize| if count == 0 { 3 } else { count };
        let udp = transports.iter().filter(|it| **it == "udp").count();
        assert_eq!(inodes, (own(tcp), own(udp)), "{transports:?}");
        for _ in 0..20 {
            serves(address);
        }
        assert_eq!(proxy.terminate().0.code(), Some(0));
    }
}

/// How many sockets it listens on for TCP and UDP, each once however often it has it.
fn listening(id: u32) -> (usize, usize) {
    let mut inodes: Vec<_> = std::fs::read_dir(format!("/proc/{id}/fd"))
        .expect("alive")
        .filter_map(|it| {
            let link = std::fs::read_link(it.ok()?.path()).ok()?;
            let link = link.to_string_lossy().into_owned();
            Some(link.strip_prefix("socket:[")?.strip_suffix(']')?.to_owned())
        })
        .collect();
    inodes.sort_unstable();
    inodes.dedup();
    let count = |table: &str, state: &str| {
        let table = std::fs::read_to_string(table).expect("proc");
        let is_ours = |line: &&str| {
            let words: Vec<_> = line.split_whitespace().collect();
            let is_mine = words.get(9).is_some_and(|it| inodes.iter().any(|ours| ours == it));
            words.get(3) == Some(&state) && is_mine
        };
        table.lines().filter(is_ours).count()
    };
    (count("/proc/net/tcp", "0A"), count("/proc/net/udp", "07"))
}

/// P6: what does not fit is refused, with a word on what is wrong, and nothing is served.
#[test]
fn sockets_that_do_not_fit_are_refused() {
    if !need(&["perl"]) {
        return;
    }
    let (ip, other) = (own_ip(), own_ip());
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("socket");
    let unix = format!("unix,{}", path.display());
    let right = format!("tcp,{ip},{PORT}");
    let refused = [
        (vec![unix.as_str()], "socket 0 of the service manager: it is no socket of TCP or UDP"),
        (vec![&*right, &*unix], "socket 1 of the service manager"),
    ];
    let (elsewhere, bound) = (format!("tcp,{other},{PORT}"), format!("tcp-bound,{ip},{PORT}"));
    let listens = format!("and the configuration listens on {ip}:{PORT} (tcp and udp) alone");
    let extra = format!("a socket for {other}:{PORT} (tcp), {listens}");
    let more = [
        (vec![bound.as_str()], "it does not listen"),
        (vec![&*right, &*elsewhere], extra.as_str()),
    ];
    for (sockets, reason) in refused.into_iter().chain(more) {
        let backends = Backends::new();
        let folder = backends.folder(&format!("bind = \"{ip}\"\nport = {PORT}"));
        let _ = std::fs::remove_file(&path);
        is_refused(&folder, &sockets, reason);
        until("nobody to listen", || TcpStream::connect((ip, PORT)).err());
    }
}

fn is_refused(folder: &TempDir, sockets: &[&str], reason: &str) {
    let mut command = activated(folder, sockets, &[]);
    command.current_dir(folder.path());
    let (code, stdout, stderr) = run_command(command);
    assert_eq!(code, 1, "{stdout}{stderr}");
    assert!(stderr.contains(reason), "{sockets:?}: {stderr}");
    assert!(!stdout.contains("listening"), "{stdout}");
}

/// P6: a socket that takes IPv6 alone is not what `::` means; beside an IPv4 address it is.
#[test]
fn an_ipv6_socket_must_take_what_the_configuration_says() {
    if !need(&["perl"]) {
        return;
    }
    let port = free_port().to_string();
    let backends = Backends::new();
    let only = format!("tcp-only,::,{port}");
    let dual = format!("tcp,::,{port}");
    let folder = backends.folder(&format!("bind = \"::\"\nport = {port}"));
    is_refused(
        &folder,
        &[&only],
        "takes IPv6 alone, while `bind = \"::\"` is to take IPv4 as well",
    );
    let both = backends.folder(&format!("bind = [\"::\", \"0.0.0.0\"]\nport = {port}"));
    is_refused(&both, &[&dual], "takes IPv4 as well, while an IPv4 address stands beside it");
    let proxy = Proxy::watch(activated(&folder, &[&dual], &[]), folder);
    for ip in ["127.0.0.1", "::1"] {
        serves(SocketAddr::new(ip.parse::<IpAddr>().expect("an address"), proxy.port()));
    }
    assert_eq!(proxy.terminate().0.code(), Some(0));
    let proxy = Proxy::watch(activated(&both, &[&only], &[]), both);
    for ip in ["127.0.0.1", "::1"] {
        serves(SocketAddr::new(ip.parse::<IpAddr>().expect("an address"), proxy.port()));
    }
    assert_eq!(proxy.terminate().0.code(), Some(0));
}

/// A port that is free in both families and for both transports now.
fn free_port() -> u16 {
    until("a free port", || {
        let port = refusing_at(Ipv6Addr::UNSPECIFIED.into()).port();
        std::net::UdpSocket::bind(("::", port)).ok()?;
        Some(port)
    })
}

/// systemd's own tool starts it, and the client that made it do so is served.
#[test]
fn the_tool_of_systemd_starts_it() {
    if !need(&["systemd-socket-activate"]) {
        return;
    }
    let (backends, ip) = (Backends::new(), own_ip());
    let folder = backends.folder(&format!("bind = \"{ip}\"\nport = {PORT}"));
    let address = SocketAddr::new(ip, PORT);
    let mut command = Command::new("systemd-socket-activate");
    command.args(["-l", &address.to_string()]).arg(env!("CARGO_BIN_EXE_refractium"));
    command.args(["-c", "refractium.toml"]);
    // It is started by the first client, who waits for that.
    let client = std::thread::spawn(move || {
        until("the tool", || TcpStream::connect(address).ok());
        ask(address, SSH)
    });
    let proxy = Proxy::watch(command, folder);
    assert_eq!(client.join().expect("a client"), [b"ssh: ", SSH].concat());
    assert_eq!(proxy.terminate().0.code(), Some(0));
}
