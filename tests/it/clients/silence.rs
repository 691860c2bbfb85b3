//! Clients that wait to be greeted.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;

use super::servers::{Shell, succeed};
use crate::harness::{Backend, Proxy, ask, connect, need, route};

fn first_line(stream: TcpStream) -> String {
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line).expect("a line");
    line
}

#[test]
fn a_server_first_ssh_route_serves_who_waits_and_who_speaks() {
    if !need(&["sshd", "ssh-keygen", "ssh"]) {
        return;
    }
    let shell = Shell::start();
    let http = Backend::echo("http");
    let routes =
        route("ssh", "server_first = true", shell.address()) + &route("http", "", http.address());
    let proxy = Proxy::start(&routes);
    let direct = first_line(connect(shell.address()));
    assert!(direct.starts_with("SSH-2.0-OpenSSH"), "{direct}");
    assert_eq!(first_line(proxy.connect()), direct);
    let mut command = shell.client("ssh", proxy.port());
    command.args(["127.0.0.1", "echo $SSH_CONNECTION"]);
    let said = succeed(command);
    assert!(said.trim_end().ends_with(&format!(" {}", shell.address().port())), "{said}");
    assert_eq!(ask(proxy.address(), b"GET / HTTP/1.1\r\n\r\n"), b"http: GET / HTTP/1.1\r\n\r\n");
}

#[test]
fn smtp_is_taken_by_silence_and_by_nothing_else() {
    let smtp = Backend::serving(|mut stream| {
        let _ = stream.write_all(b"220 mail.example ready\r\n");
        let mut line = String::new();
        let mut reader = BufReader::new(stream.try_clone().expect("an open socket"));
        if reader.read_line(&mut line).is_ok() {
            let _ = stream.write_all(format!("250 hello {line}").as_bytes());
        }
    });
    let (http, rest) = (Backend::echo("http"), Backend::echo("rest"));
    let routes = route("smtp", "", smtp.address()) + &route("http", "", http.address());
    let proxy = Proxy::start_with(&format!("fallback_tcp = \"{}\"", rest.address()), &routes, &[]);
    let mut client = proxy.connect();
    assert_eq!(
        first_line(client.try_clone().expect("an open socket")),
        "220 mail.example ready\r\n"
    );
    client.write_all(b"EHLO a.example\r\n").expect("room");
    let mut answer = String::new();
    client.read_to_string(&mut answer).expect("an answer");
    assert_eq!(answer, "250 hello EHLO a.example\r\n");
    assert_eq!(ask(proxy.address(), b"GET / HTTP/1.1\r\n\r\n"), b"http: GET / HTTP/1.1\r\n\r\n");
    assert_eq!(ask(proxy.address(), b"EHLO a.example\r\n"), b"rest: EHLO a.example\r\n");
}
