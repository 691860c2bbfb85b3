//! Sessions over UDP whose backend's checks fail.

use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::kinds::Answering;
use super::{DOWN, UP, until_told};
use crate::harness::{DEADLINE, Proxy};

/// Says its name, and answers checks while it is well.
fn server(name: &'static str, is_well: &Arc<AtomicBool>) -> Answering {
    let is_well = Arc::clone(is_well);
    Answering::with(move |asked| match asked {
        b"PING" if is_well.load(Ordering::Relaxed) => b"PONG".to_vec(),
        b"PING" => b"ILL".to_vec(),
        _ => name.into(),
    })
}

fn route(word: &str, to: [SocketAddr; 2], more: &str) -> String {
    let [one, other] = to;
    format!(
        "[[protocols]]\nname = \"{word}\"\npatterns = \"{word}\"\ntransport = \"udp\"\n\
         forward_to = [\"{one}\", {{ address = \"{other}\", backup = true }}]\n{more}\n\
         [protocols.health]\nkind = \"payload\"\nsend = \"PING\"\nexpect = \"PONG\"\n\
         interval_ms = 100\n\n"
    )
}

fn ask(client: &UdpSocket, word: &str) -> String {
    client.send(word.as_bytes()).expect("sent");
    let mut answer = [0; 8];
    let got = client.recv(&mut answer).expect("an answer");
    String::from_utf8_lossy(&answer[..got]).into_owned()
}

#[test]
fn sessions_leave_a_backend_that_is_down_only_where_that_is_said() {
    let is_well = Arc::new(AtomicBool::new(true));
    let (first, spare) = (server("first", &is_well), server("spare", &Arc::new(true.into())));
    let to = [first.address, spare.address];
    let proxy = Proxy::start(&(route("stay", to, "") + &route("move", to, "close_on_down = true")));
    let clients = ["stay", "move"].map(|word| {
        let client = UdpSocket::bind("127.0.0.1:0").expect("a port");
        client.connect(proxy.address()).expect("an address");
        client.set_read_timeout(Some(DEADLINE)).expect("an open socket");
        assert_eq!(ask(&client, word), "first");
        (client, word)
    });
    is_well.store(false, Ordering::Relaxed);
    until_told(&proxy, DOWN, first.address, 1);
    let answers = || clients.each_ref().map(|(client, word)| ask(client, word));
    assert_eq!(answers(), ["first", "spare"]);
    assert_eq!(answers(), ["first", "spare"]);
    is_well.store(true, Ordering::Relaxed);
    until_told(&proxy, UP, first.address, 1);
    assert_eq!(answers(), ["first", "spare"], "it does not go back by itself");
}
