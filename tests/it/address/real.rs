//! nginx and HAProxy behind us, and before us.

use std::fs;
use std::net::{SocketAddr, TcpStream};
use std::path::Path;

use tempfile::TempDir;

use crate::clients::servers::{folder, listening, program, succeed};
use crate::harness::{Elsewhere, Family, Process, Proxy, need, route, skipped, until};

/// nginx that expects a header, and logs who it names.
pub(super) struct Nginx {
    _process: Process,
    folder: TempDir,
    pub(super) address: SocketAddr,
}

impl Nginx {
    pub(super) fn start() -> Self {
        let folder = folder();
        fs::create_dir(folder.path().join("tmp")).expect("a folder");
        let (process, addresses) = listening(folder.path(), 1, |addresses| {
            let mut text = "daemon off;\nmaster_process off;\npid nginx.pid;\nevents {}\nhttp {\n\
                log_format seen '$proxy_protocol_addr:$proxy_protocol_port \
                $proxy_protocol_server_addr:$proxy_protocol_server_port $request_uri';\n"
                .to_owned();
            for module in ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"] {
                text += &format!("{module}_temp_path tmp/{module};\n");
            }
            text += &format!(
                "server {{\nlisten {} proxy_protocol;\naccess_log seen.log seen;\n\
                 location / {{ return 200 \"$proxy_protocol_addr $proxy_protocol_port\"; }}\n}}\n}}\n",
                addresses[0]
            );
            fs::write(folder.path().join("nginx.conf"), text).expect("room");
            let mut command = program("nginx");
            command.arg("-p").arg(folder.path()).args(["-e", "stderr", "-c", "nginx.conf"]);
            command
        });
        Self { _process: process, folder, address: addresses[0] }
    }

    /// One in another network, which is told nothing and logs whom it sees.
    pub(super) fn plain_in(network: &Elsewhere, family: Family) -> Self {
        let folder = folder();
        fs::create_dir(folder.path().join("tmp")).expect("a folder");
        let address = SocketAddr::new(network.there(family), 8080);
        let mut text = "daemon off;\nmaster_process off;\npid nginx.pid;\nevents {}\nhttp {\n\
            log_format seen '$remote_addr $request_uri';\n"
            .to_owned();
        for module in ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"] {
            text += &format!("{module}_temp_path tmp/{module};\n");
        }
        text += &format!(
            "server {{\nlisten {address};\naccess_log seen.log seen;\n\
             location / {{ return 200 \"$remote_addr\"; }}\n}}\n}}\n"
        );
        fs::write(folder.path().join("nginx.conf"), text).expect("room");
        let at = folder.path().to_str().expect("text");
        let process = network.run(&["nginx", "-p", at, "-e", "stderr", "-c", "nginx.conf"]);
        until("nginx", || network.inside(|| TcpStream::connect(address).ok()));
        Self { _process: process, folder, address }
    }

    /// What it logged of a request: the client, where that came to, and the path.
    pub(super) fn saw(&self, path: &str) -> String {
        until(&format!("{path} in the log of nginx"), || {
            let log = fs::read_to_string(self.folder.path().join("seen.log")).ok()?;
            log.lines().find(|line| line.ends_with(path)).map(str::to_owned)
        })
    }
}

/// HAProxy with one frontend that expects a header and answers who it names, and one that tells us of its clients.
pub(super) struct Haproxy {
    _process: Process,
    _folder: TempDir,
    pub(super) addresses: Vec<SocketAddr>,
}

impl Haproxy {
    /// With what follows `frontend` or `listen` after the usual, given the addresses that it may bind.
    pub(super) fn start(ports: usize, sections: impl Fn(&[SocketAddr]) -> String) -> Self {
        let folder = folder();
        let (process, addresses) = listening(folder.path(), ports, |addresses| {
            let text = format!(
                "defaults\n  timeout connect 10s\n  timeout client 20s\n  timeout server 20s\n{}",
                sections(addresses)
            );
            fs::write(folder.path().join("haproxy.cfg"), text).expect("room");
            let mut command = program("haproxy");
            command.arg("-db").arg("-f").arg(folder.path().join("haproxy.cfg"));
            command
        });
        Self { _process: process, _folder: folder, addresses }
    }
}

/// Fetches a path from one of the addresses of this machine.
pub(super) fn curl(from: &str, to: SocketAddr, path: &str, more: &[&str]) -> String {
    let mut command = program("curl");
    command.args(["-sS", "--max-time", "20", "--interface", from]).args(more);
    command.arg(format!("http://{to}{path}"));
    succeed(command)
}

#[test]
fn nginx_reads_both_versions() {
    if !need(&["nginx", "curl"]) {
        return;
    }
    let nginx = Nginx::start();
    for version in ["v1", "v2"] {
        let keys = format!("proxy_protocol = \"{version}\"");
        let proxy = Proxy::start(&route("http", &keys, nginx.address));
        let path = format!("/of-{version}");
        let said = curl("127.0.0.9", proxy.address(), &path, &[]);
        let (client, port) = said.trim_end().split_once(' ').expect("an address and a port");
        assert_eq!(client, "127.0.0.9");
        assert_eq!(nginx.saw(&path), format!("127.0.0.9:{port} {} {path}", proxy.address()));
    }
}

#[test]
fn haproxy_reads_both_versions_and_the_host() {
    if !need(&["haproxy", "curl"]) {
        return;
    }
    let haproxy = Haproxy::start(1, |addresses| {
        format!(
            "frontend told\n  mode http\n  bind {} accept-proxy\n  http-request return status 200 \
             content-type text/plain lf-string \"%[src] %[dst]:%[dst_port] %[fc_pp_authority]\"\n",
            addresses[0]
        )
    });
    for (version, host) in [("v1", ""), ("v2", "told.example")] {
        let keys = format!("proxy_protocol = \"{version}\"");
        let proxy = Proxy::start(&route("http", &keys, haproxy.addresses[0]));
        let more = ["-H", "Host: told.example:80"];
        let said = curl("127.0.0.9", proxy.address(), "/", &more);
        assert_eq!(said.trim_end(), format!("127.0.0.9 {} {host}", proxy.address()).trim_end());
    }
}

/// HAProxy before us and nginx behind us: the client's address goes through both.
#[test]
fn haproxy_before_us_is_believed() {
    if !need(&["haproxy", "nginx", "curl"]) {
        return;
    }
    let nginx = Nginx::start();
    for (sends, version) in [("send-proxy", "v2"), ("send-proxy-v2", "v1")] {
        let keys = format!("proxy_protocol = \"{version}\"");
        let server = "proxy_protocol_from = \"127.0.0.0/8\"";
        let proxy = Proxy::start_with(server, &route("http", &keys, nginx.address), &[]);
        // Its checks speak for themselves.
        let haproxy = Haproxy::start(1, |addresses| {
            format!(
                "listen before\n  mode tcp\n  bind {}\n  server us {} {sends} check inter 20ms check-send-proxy\n",
                addresses[0],
                proxy.address()
            )
        });
        let path = format!("/by-{sends}");
        let said = curl("127.0.0.9", haproxy.addresses[0], &path, &[]);
        let (client, port) = said.trim_end().split_once(' ').expect("an address and a port");
        assert_eq!(client, "127.0.0.9");
        assert_eq!(nginx.saw(&path), format!("127.0.0.9:{port} {} {path}", proxy.address()));
        let (_, _, log) = proxy.terminate();
        assert!(!log.contains("WARN") && !log.contains("ERROR"), "{log}");
    }
}

/// curl can say who it is by itself.
#[test]
fn curl_before_us_is_believed() {
    if !need(&["nginx", "curl"]) {
        return;
    }
    let nginx = Nginx::start();
    let server = "proxy_protocol_from = [\"127.0.0.9\", \"10.0.0.0/8\"]";
    let routes = route("http", "proxy_protocol = \"v1\"", nginx.address);
    let proxy = Proxy::start_with(server, &routes, &[]);
    let said = curl("127.0.0.9", proxy.address(), "/curl", &["--haproxy-protocol"]);
    assert!(said.starts_with("127.0.0.9 "), "{said}");
    assert!(nginx.saw("/curl").starts_with("127.0.0.9:"));
}

/// nginx before us sends version 1.
#[test]
fn nginx_before_us_is_believed() {
    const STREAM: &str = "/usr/lib/nginx/modules/ngx_stream_module.so";
    if !need(&["nginx", "curl"]) || !(Path::new(STREAM).exists() || skipped("nginx has no stream"))
    {
        return;
    }
    let behind = Nginx::start();
    let routes = route("http", "proxy_protocol = \"v2\"", behind.address);
    let proxy = Proxy::start_with("proxy_protocol_from = \"127.0.0.1\"", &routes, &[]);
    let folder = folder();
    let (_nginx, addresses) = listening(folder.path(), 1, |addresses| {
        let text = format!(
            "load_module {STREAM};\ndaemon off;\nmaster_process off;\npid nginx.pid;\nevents {{}}\n\
             stream {{ server {{ listen {}; proxy_pass {}; proxy_protocol on; }} }}\n",
            addresses[0],
            proxy.address()
        );
        fs::write(folder.path().join("nginx.conf"), text).expect("room");
        let mut command = program("nginx");
        command.arg("-p").arg(folder.path()).args(["-e", "stderr", "-c", "nginx.conf"]);
        command
    });
    let said = curl("127.0.0.9", addresses[0], "/nginx", &[]);
    assert!(said.starts_with("127.0.0.9 "), "{said}");
    assert!(behind.saw("/nginx").starts_with("127.0.0.9:"));
}
