//! Sessions over UDP whose backend's checks fail.

use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::kinds::Answering;
use super::{DOWN, UP, told, until_told};
use crate::harness::{DEADLINE, Proxy, until};
use crate::reload::{hang_up, save, text};

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

fn client(proxy: &Proxy) -> UdpSocket {
    let client = UdpSocket::bind("127.0.0.1:0").expect("a port");
    client.connect(proxy.address()).expect("an address");
    client.set_read_timeout(Some(DEADLINE)).expect("an open socket");
    client
}

#[test]
fn sessions_leave_a_backend_that_is_down_only_where_that_is_said() {
    let is_well = Arc::new(AtomicBool::new(true));
    let (first, spare) = (server("first", &is_well), server("spare", &Arc::new(true.into())));
    let to = [first.address, spare.address];
    let proxy = Proxy::start(&(route("stay", to, "") + &route("move", to, "close_on_down = true")));
    let clients = ["stay", "move"].map(|word| {
        let client = client(&proxy);
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

/// It is not in the plan any more: only for the session is it checked.
#[test]
fn a_session_that_has_moved_leaves_a_backend_that_falls_after_a_reload() {
    let (first_is_well, spare_is_well) = (Arc::new(true.into()), Arc::new(true.into()));
    let (first, spare) = (server("first", &first_is_well), server("spare", &spare_is_well));
    let other = server("other", &Arc::new(true.into()));
    let routes =
        |to: &Answering| route("move", [first.address, to.address], "close_on_down = true");
    let proxy = Proxy::start(&routes(&spare));
    let client = client(&proxy);
    assert_eq!(ask(&client, "move"), "first");
    first_is_well.store(false, Ordering::Relaxed);
    until("it to move", || (ask(&client, "move") == "spare").then_some(()));
    first_is_well.store(true, Ordering::Relaxed);
    until_told(&proxy, UP, first.address, 1);
    save(&proxy, &text("", &routes(&other)));
    hang_up(&proxy);
    assert_eq!(ask(&client, "move"), "spare");
    // On a busy machine an answer may have come too late before.
    let before = told(&proxy, DOWN, spare.address);
    spare_is_well.store(false, Ordering::Relaxed);
    until_told(&proxy, DOWN, spare.address, before + 1);
    until("it to move", || (ask(&client, "move") == "first").then_some(()));
}
