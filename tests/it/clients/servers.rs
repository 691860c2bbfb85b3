//! The real servers, each in a folder of its own, on loopback, killed when dropped.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use tempfile::TempDir;

use crate::harness::{Elsewhere, Process, installed, is_root, run_command, until};

/// nginx with several sites, each on a port of its own and with a log of its own.
pub(super) struct Web {
    _nginx: Process,
    folder: TempDir,
    sites: Vec<(&'static str, SocketAddr)>,
}

/// Each site, how it listens, and the name that its certificate is for.
const SITES: [(&str, &str, Option<&str>); 7] = [
    ("one", "", None),
    ("two", "", None),
    ("plain", "", None),
    ("h2c", "http2", None),
    ("tls-a", "ssl http2", Some("a.example")),
    ("tls-b", "ssl http2", Some("*.b.example")),
    ("tls-any", "ssl http2", Some("any.example")),
];

impl Web {
    pub(super) fn start() -> Self {
        let folder = folder();
        fs::create_dir(folder.path().join("tmp")).expect("a folder");
        for (site, _, name) in SITES {
            if let Some(name) = name {
                certify(folder.path(), site, name);
            }
        }
        let (nginx, addresses) = listening(folder.path(), SITES.len(), |addresses| {
            fs::write(folder.path().join("nginx.conf"), configuration(addresses)).expect("room");
            let mut command = program("nginx");
            command.arg("-p").arg(folder.path()).args(["-e", "stderr", "-c", "nginx.conf"]);
            command
        });
        let sites = SITES.iter().map(|(site, ..)| *site).zip(addresses).collect();
        Self { _nginx: nginx, folder, sites }
    }

    pub(super) fn address(&self, site: &str) -> SocketAddr {
        let found = self.sites.iter().find(|(name, _)| *name == site);
        found.unwrap_or_else(|| panic!("no site {site}")).1
    }

    /// The certificate of a site: it vouches for itself.
    pub(super) fn certificate(&self, site: &str) -> PathBuf {
        self.folder.path().join(format!("{site}.pem"))
    }

    /// What the site says to a request of `path`.
    pub(super) fn answer(site: &str, path: &str) -> String {
        format!("{site} answers {path}\n")
    }

    /// The line that nginx wrote of the request of `path`: the server name and protocol it saw. It must be in the
    /// log of this site and of no other.
    pub(super) fn saw(&self, site: &str, path: &str) -> String {
        let found = |site: &str| {
            let log = fs::read_to_string(self.folder.path().join(format!("{site}.log")));
            let log = log.unwrap_or_default(); // not opened yet
            log.lines().find(|line| line.ends_with(path)).map(str::to_owned)
        };
        let line = until(&format!("{path} in the log of {site}"), || found(site));
        for (other, _) in self.sites.iter().filter(|(other, _)| *other != site) {
            assert_eq!(found(other), None, "{other} was asked for {path} too");
        }
        line
    }
}

fn configuration(addresses: &[SocketAddr]) -> String {
    let mut text = "daemon off;\nmaster_process off;\npid nginx.pid;\n\
        events { worker_connections 512; }\nhttp {\n\
        log_format seen '$ssl_server_name $server_protocol $request_uri';\n\
        default_type text/plain;\n"
        .to_owned();
    for module in ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"] {
        text += &format!("{module}_temp_path tmp/{module};\n");
    }
    for ((site, how, name), address) in SITES.iter().zip(addresses) {
        let tls = match name {
            Some(_) => format!("ssl_certificate {site}.pem;\nssl_certificate_key {site}.key;\n"),
            None => String::new(),
        };
        text += &format!(
            "server {{\nlisten {address} {how};\n{tls}access_log {site}.log seen;\n\
             location / {{ return 200 \"{site} answers $request_uri\\n\"; }}\n}}\n"
        );
    }
    text + "}\n"
}

/// Writes `site.pem` and `site.key` for a name.
fn certify(folder: &Path, site: &str, name: &str) {
    let mut command = program("openssl");
    command.current_dir(folder).args(["req", "-x509", "-nodes", "-days", "2", "-newkey", "ec"]);
    command.args(["-pkeyopt", "ec_paramgen_curve:P-256", "-subj", &format!("/CN={name}")]);
    command.args(["-addext", &format!("subjectAltName=DNS:{name}")]);
    command.args(["-keyout", &format!("{site}.key"), "-out", &format!("{site}.pem")]);
    succeed(command);
}

/// OpenSSH's server, with a key of its own and one user's key.
pub(crate) struct Shell {
    _sshd: Process,
    folder: TempDir,
    address: SocketAddr,
}

impl Shell {
    pub(crate) fn start() -> Self {
        let folder = Self::folder();
        let (sshd, addresses) = listening(folder.path(), 1, |addresses| {
            let mut command = program("sshd");
            command.args(["-D", "-e", "-f"]).arg(Self::configure(folder.path(), addresses[0]));
            command
        });
        Self { _sshd: sshd, address: addresses[0], folder }
    }

    /// One in another network, which logs into a file.
    pub(crate) fn start_in(network: &Elsewhere, address: SocketAddr) -> Self {
        let folder = Self::folder();
        let at = |name: &str| folder.path().join(name).display().to_string();
        let configuration = Self::configure(folder.path(), address).display().to_string();
        let sshd = installed("sshd").expect("sshd").display().to_string();
        let words = [&sshd, "-D", "-E", &at("log"), "-f", &configuration];
        let process = network.run(&words);
        until("sshd", || network.inside(|| std::net::TcpStream::connect(address).ok()));
        Self { _sshd: process, address, folder }
    }

    /// What one that was started elsewhere has logged.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).expect("a log")
    }

    /// With the keys of the server and of one user.
    fn folder() -> TempDir {
        let folder = folder();
        for key in ["host", "user"] {
            let mut command = program("ssh-keygen");
            command.current_dir(folder.path()).args(["-q", "-t", "ed25519", "-N", "", "-f", key]);
            succeed(command);
        }
        let at = |name: &str| folder.path().join(name);
        let host = fs::read_to_string(at("host.pub")).expect("a key");
        fs::write(at("known_hosts"), format!("sshd.test {host}")).expect("room");
        if is_root() {
            // Where Debian's sshd insists on shedding its privileges; made at boot where there is one.
            fs::create_dir_all("/run/sshd").expect("room");
        }
        folder
    }

    /// Writes a configuration for this address.
    fn configure(folder: &Path, address: SocketAddr) -> PathBuf {
        let at = |name: &str| folder.join(name);
        let text = format!(
            "ListenAddress {address}\nHostKey {}\nAuthorizedKeysFile {}\nPidFile none\n\
             StrictModes no\nUsePAM no\nPasswordAuthentication no\n\
             KbdInteractiveAuthentication no\nPermitRootLogin yes\nMaxStartups 100\n\
             Subsystem sftp internal-sftp\n",
            at("host").display(),
            at("user.pub").display(),
        );
        fs::write(at("sshd_config"), text).expect("room");
        at("sshd_config")
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// `ssh` or `scp`, with options that trust this server's key and no other.
    pub(crate) fn client(&self, name: &str, port: u16) -> Command {
        let mut command = program(name);
        command.args(["-F", "/dev/null", "-o", &format!("Port={port}")]);
        for option in self.options() {
            command.args(["-o", &option]);
        }
        command
    }

    /// The same, as one line for programs that call `ssh` themselves.
    pub(super) fn client_line(&self) -> String {
        let options: Vec<_> = self.options().iter().map(|it| format!("-o {it}")).collect();
        format!("ssh -F /dev/null {}", options.join(" "))
    }

    fn options(&self) -> Vec<String> {
        let at = |name: &str| self.folder.path().join(name).display().to_string();
        vec![
            format!("IdentityFile={}", at("user")),
            format!("UserKnownHostsFile={}", at("known_hosts")),
            "HostKeyAlias=sshd.test".to_owned(),
            "StrictHostKeyChecking=yes".to_owned(),
            "IdentitiesOnly=yes".to_owned(),
            "BatchMode=yes".to_owned(),
            "LogLevel=ERROR".to_owned(),
        ]
    }
}

/// vsftpd for anonymous users, with one file to fetch.
pub(super) struct Files {
    _vsftpd: Process,
    folder: TempDir,
    address: SocketAddr,
}

/// The file there is.
pub(super) const FILE: &str = "kept-by-vsftpd.txt";

impl Files {
    pub(super) fn start() -> Self {
        let folder = folder();
        for name in ["pub", "empty"] {
            fs::create_dir(folder.path().join(name)).expect("a folder");
            readable(&folder.path().join(name));
        }
        let at = |name: &str| folder.path().join(name);
        fs::write(at("pub").join(FILE), Self::content()).expect("room");
        let (vsftpd, addresses) = listening(folder.path(), 1, |addresses| {
            let text = format!(
                "listen=YES\nlisten_address={}\nlisten_port={}\nbackground=NO\n\
                 anonymous_enable=YES\nlocal_enable=NO\nno_anon_password=YES\nanon_root={}\n\
                 secure_chroot_dir={}\nxferlog_enable=YES\nlog_ftp_protocol=YES\n\
                 vsftpd_log_file={}\nftpd_banner=vsftpd of the tests\n\
                 seccomp_sandbox=NO\nisolate=NO\nisolate_network=NO\n",
                addresses[0].ip(),
                addresses[0].port(),
                at("pub").display(),
                at("empty").display(),
                at("vsftpd.log").display(),
            );
            fs::write(at("vsftpd.conf"), text).expect("room");
            let mut command = program("vsftpd");
            command.arg(at("vsftpd.conf"));
            command
        });
        Self { _vsftpd: vsftpd, address: addresses[0], folder }
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Longer than one segment.
    pub(super) fn content() -> Vec<u8> {
        (0..200_000_u32).flat_map(|number| number.to_be_bytes()).collect()
    }

    /// How often the server says that the file was fetched.
    pub(super) fn downloads(&self) -> usize {
        let log = fs::read_to_string(self.folder.path().join("vsftpd.log")).unwrap_or_default();
        log.lines().filter(|line| line.contains("OK DOWNLOAD") && line.contains(FILE)).count()
    }
}

/// A folder that other users may enter, for servers that give up being root.
pub(crate) fn folder() -> TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    readable(folder.path());
    folder
}

fn readable(folder: &Path) {
    fs::set_permissions(folder, fs::Permissions::from_mode(0o755)).expect("own folder");
}

/// A program by its whole path, which sshd insists on.
pub(crate) fn program(name: &str) -> Command {
    let path = installed(name).unwrap_or_else(|| panic!("{name} is not installed"));
    let mut command = Command::new(path);
    command.stdin(Stdio::null());
    command
}

/// Runs a command that must succeed; what it printed.
pub(crate) fn succeed(command: Command) -> String {
    let shown = format!("{command:?}");
    let (code, stdout, stderr) = run_command(command);
    assert_eq!(code, 0, "{shown}\n{stdout}\n{stderr}");
    stdout
}

/// Starts a server that is told its ports, and waits until it listens. Another process may take a port before the
/// server does: then it ends, and is started again with others.
pub(crate) fn listening(
    folder: &Path,
    ports: usize,
    mut command: impl FnMut(&[SocketAddr]) -> Command,
) -> (Process, Vec<SocketAddr>) {
    let said = folder.join("stderr");
    for _ in 0..5 {
        let addresses = unused(ports);
        let mut command = command(&addresses);
        command.stdout(Stdio::null()).stderr(fs::File::create(&said).expect("room"));
        let mut child = Process(command.spawn().unwrap_or_else(|it| panic!("{command:?}: {it}")));
        let is_up = until(&format!("{command:?}"), || {
            if child.0.try_wait().expect("a child").is_some() {
                return Some(false);
            }
            addresses.iter().all(|address| owns(child.0.id(), *address)).then_some(true)
        });
        if is_up {
            return (child, addresses);
        }
        eprintln!("{command:?} ended: {}", fs::read_to_string(&said).expect("text"));
    }
    panic!("a server does not start");
}

/// Different ports where nobody listens.
fn unused(count: usize) -> Vec<SocketAddr> {
    let bind = |_| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
    let listeners: Vec<_> = (0..count).map(bind).collect();
    listeners.iter().map(|it| it.local_addr().expect("an address")).collect()
}

/// Whether a process listens on an address, over TCP or UDP, from the kernel's tables (proc(5)): a probe would be one
/// more client.
pub(crate) fn owns(process: u32, address: SocketAddr) -> bool {
    let port = format!("0100007F:{:04X}", address.port());
    // Listening, and not connected.
    let inode = [("tcp", "0A"), ("udp", "07")].iter().find_map(|(table, state)| {
        let table = fs::read_to_string(format!("/proc/net/{table}")).expect("proc");
        let mut rows = table.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
        rows.find(|row| row[1] == port && row[3] == *state).map(|row| row[9].to_owned())
    });
    let Some(inode) = inode else { return false };
    let socket = format!("socket:[{inode}]");
    let Ok(descriptors) = fs::read_dir(format!("/proc/{process}/fd")) else { return false };
    descriptors.flatten().any(|it| fs::read_link(it.path()).is_ok_and(|to| *to == *socket))
}
