//! nginx, to be killed.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use tempfile::TempDir;

use crate::clients::servers::{folder, listening, owns, program};
use crate::harness::{Process, until};

/// An nginx that takes some time for a request, so that there are always some that it is busy with. It notes each request
/// that it has answered, with the status.
pub(crate) struct Web {
    nginx: Process,
    pub(crate) address: SocketAddr,
    folder: TempDir,
}

impl Web {
    /// With a body of so many bytes, of which it sends a thousand at once and then as many each second. `more` stands in
    /// its `http`.
    pub(crate) fn start(body: usize, more: &str) -> Self {
        let folder = folder();
        fs::create_dir(folder.path().join("tmp")).expect("a folder");
        let (nginx, addresses) = listening(folder.path(), 1, |addresses| {
            fs::write(folder.path().join("nginx.conf"), configuration(addresses[0], body, more))
                .expect("room");
            command(folder.path())
        });
        Self { nginx, address: addresses[0], folder }
    }

    /// It dies at once (SIGKILL); when that began and when it was over.
    pub(crate) fn kill(&mut self) -> (Instant, Instant) {
        let begins = Instant::now();
        self.nginx.0.kill().expect("a child");
        self.nginx.0.wait().expect("a child");
        (begins, Instant::now())
    }

    /// Another at the same address, with the same log.
    pub(crate) fn restart(&mut self) {
        let mut command = command(self.folder.path());
        command.stdout(Stdio::null()).stderr(Stdio::null());
        self.nginx = Process(command.spawn().expect("nginx"));
        let id = self.nginx.0.id();
        until("nginx to listen", || owns(id, self.address).then_some(()));
    }

    /// The requests that it has answered with this status.
    pub(crate) fn answered(&self, status: u16) -> Vec<String> {
        let log = fs::read_to_string(self.folder.path().join("access.log")).expect("a log");
        let status = format!("{status} ");
        log.lines().filter_map(|line| line.strip_prefix(&status)).map(str::to_owned).collect()
    }
}

fn command(folder: &Path) -> Command {
    let mut command = program("nginx");
    command.arg("-p").arg(folder).args(["-e", "stderr", "-c", "nginx.conf"]);
    command
}

fn configuration(address: SocketAddr, body: usize, more: &str) -> String {
    let mut text = "daemon off;\nmaster_process off;\npid nginx.pid;\n\
        events { worker_connections 4096; }\nhttp {\nlog_format seen '$status $request_uri';\n\
        access_log access.log seen;\n"
        .to_owned()
        + more;
    for module in ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"] {
        text += &format!("{module}_temp_path tmp/{module};\n");
    }
    let body = "x".repeat(body);
    text + &format!(
        "server {{\nlisten {address} backlog=4096;\nlimit_rate 1000;\n\
         location / {{ return 200 \"{body}\"; }}\n}}\n}}\n"
    )
}
