//! Fault row S5: what clients entrust to backends is told to nobody else.

use std::io::{Read, Write};
use std::net::SocketAddr;

use super::{proxy, told};
use crate::calm::free_port;
use crate::harness::{Backend, ask, connect, route, until};

/// Stands in all that clients say.
const SECRET: &str = "hunter2-4711";

fn get(admin: SocketAddr, path: &str) -> String {
    let mut stream = connect(admin);
    let request = format!("GET {path} HTTP/1.0\r\nHost: {admin}\r\n\r\n");
    stream.write_all(request.as_bytes()).expect("room");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    answer
}

#[test]
fn what_clients_entrust_to_backends_is_nowhere_to_be_read() {
    let backend = Backend::echo("any");
    let admin = SocketAddr::from(([127, 0, 0, 1], free_port()));
    for form in ["text", "json"] {
        let to = backend.address();
        let routes = ["http", "ssh", "ftp"].map(|name| route(name, "", to)).concat()
            + &format!("[admin]\nlisten = \"{admin}\"\n");
        let proxy = proxy(form, "", &routes, &["--debug"]);
        let said = [
            format!(
                "GET /{SECRET}?token={SECRET} HTTP/1.1\r\nHost: a.example\r\nAuthorization: Bearer {SECRET}\r\nCookie: {SECRET}\r\n\r\n"
            ),
            format!(
                "GET http://me:{SECRET}@a.example/ HTTP/1.1\r\nHost: me:{SECRET}@a.example\r\n\r\n"
            ),
            format!("POST / HTTP/1.1\r\nContent-Length: 12\r\nHost: a.example\r\n\r\n{SECRET}"),
            format!("SSH-2.0-{SECRET}\r\n"),
            format!("USER me\r\nPASS {SECRET}\r\n"),
            format!("\x01nobody's {SECRET}"),
        ];
        for said in &said {
            let mut client = connect(proxy.address());
            client.write_all(said.as_bytes()).expect("room");
            let _ = client.shutdown(std::net::Shutdown::Write);
            // The last is turned away.
            let _ = client.read_to_end(&mut Vec::new());
        }
        told(&proxy, "closed", said.len() - 1);
        told(&proxy, "no_route", 1);
        until("the admin", || std::net::TcpStream::connect(admin).ok());
        let shown: String = ["/", "/status", "/metrics"].map(|path| get(admin, path)).concat();
        assert!(shown.contains("no_route"), "{shown}");
        assert!(ask(proxy.address(), said[3].as_bytes()).ends_with(said[3].as_bytes()));
        let (_, stdout, stderr) = proxy.terminate();
        for text in [shown, stdout, stderr] {
            assert!(!text.contains(SECRET), "{text}");
        }
    }
}
