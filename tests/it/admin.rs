//! What the admin shows: rows S2, S3.

mod browser;
mod cost;
mod dashboard;
mod doors;
mod numbers;
mod pictures;
mod scrapes;

use std::io::{Read, Write};
use std::net::SocketAddr;

use refractium::admin::Status;

use crate::harness::{Proxy, connect, until};

/// One address of the system's choice.
pub(crate) const ADMIN: &str = "[admin]\nlisten = \"127.0.0.1:0\"\n\n";

/// What was answered.
pub(crate) struct Answer {
    pub(crate) code: u16,
    head: String,
    body: String,
}

impl Answer {
    /// The body, put together if it came in chunks.
    fn whole(&self) -> String {
        if !self.head.contains("transfer-encoding: chunked") {
            return self.body.clone();
        }
        let (mut whole, mut rest) = (String::new(), self.body.as_str());
        while let Some((length, more)) = rest.split_once("\r\n") {
            let length = usize::from_str_radix(length, 16).expect("a length");
            whole += &more[..length];
            rest = more[length..].trim_start_matches("\r\n");
        }
        whole
    }
}

/// Where the admin of a program is.
pub(crate) fn admin_of(proxy: &Proxy) -> SocketAddr {
    until("the address of the admin", || {
        let stdout = proxy.stdout();
        let line = stdout.lines().find_map(|it| it.strip_prefix("admin on http://"))?;
        line.trim_end_matches('/').parse().ok()
    })
}

/// Asks by address, as curl does.
pub(crate) fn get(admin: SocketAddr, path: &str) -> Answer {
    send(admin, &format!("GET {path} HTTP/1.1\r\nHost: {admin}\r\n\r\n"))
}

/// Sends a request as it is.
fn send(admin: SocketAddr, request: &str) -> Answer {
    let mut stream = connect(admin);
    stream.write_all(request.as_bytes()).expect("room");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer that ends");
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
    let code = head.split_whitespace().nth(1).and_then(|it| it.parse().ok()).expect("a code");
    Answer { code, head: head.to_ascii_lowercase(), body: body.to_owned() }
}

pub(crate) fn status(admin: SocketAddr) -> Status {
    let answer = get(admin, "/status");
    assert_eq!(answer.code, 200, "{}", answer.body);
    assert!(answer.head.contains("content-type: application/json"), "{}", answer.head);
    serde_json::from_str(&answer.body).expect("a status")
}

/// Waits until the status is as it should be.
fn status_with<T>(admin: SocketAddr, what: &str, find: impl Fn(&Status) -> Option<T>) -> T {
    until(what, || find(&status(admin)))
}
