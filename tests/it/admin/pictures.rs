//! What goes on while the page is drawn.

use std::io::{Read, Write};
use std::net::SocketAddr;
use std::time::Duration;

use super::{ADMIN, admin_of};
use crate::harness::{Backend, Proxy, ask, connect, opening, pause, refusing, route, udp};

const HELLO: &str = "https/chromium-post-quantum.bin";

/// Serves a little of everything, then has it drawn, with more going on before each picture.
pub(super) fn draw(with: impl FnOnce(SocketAddr, &dyn Fn())) {
    let server = || {
        Backend::serving(|mut stream| {
            // Whoever leaves early has had enough.
            let _ = stream.read(&mut [0; 4096]);
            let _ = stream.write_all(&[b'x'; 20_000]);
        })
    };
    let [web, other, secure, shell] = [(); 4].map(|()| server());
    let names = udp::Backend::mirror();
    let health =
        "health = { kind = \"tcp\", interval_ms = 200, timeout_ms = 200, rise = 1, fall = 1 }";
    let text = format!(
        "{ADMIN}[[protocols]]\nname = \"http\"\nforward_to = [\"{}\", \"{}\", \"{}\"]\n{health}\n\n",
        web.address(),
        other.address(),
        refusing()
    ) + &route("https", "sni = [\"a.example\", \"*.b.example\"]", secure.address())
        + &route("https", "", secure.address())
        + &route("ssh", "", shell.address())
        + &route("dns", "", names.address());
    let proxy = Proxy::start(&text);
    let admin = admin_of(&proxy);
    let held: Vec<_> = (0..7).map(|_| connect(proxy.address())).collect();
    let to = proxy.address();
    let hello = opening(HELLO);
    let dns = opening("dns/dig-a.bin");
    let some = |round: usize| {
        for number in 0..2 + round % 5 {
            let host = ["www.example", "shop.example", "a.example"][number % 3];
            ask(to, format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n").as_bytes());
        }
        ask(to, &hello);
        ask(to, b"SSH-2.0-OpenSSH_9.2\r\n");
        udp::Client::of(to).ask(&dns);
        if round.is_multiple_of(4) {
            ask(to, b"\x05\x01\x00");
        }
    };
    let round = |from: usize, count: usize| {
        for round in from..from + count {
            some(round);
            pause(Duration::from_millis(400));
        }
    };
    round(0, 100);
    with(admin, &|| round(0, 12));
    drop(held);
}

/// Base64 (RFC 4648, section 4), as the driver sends pictures.
pub(super) fn decoded(text: &str) -> Vec<u8> {
    let value = |it: u8| match it {
        b'A'..=b'Z' => it - b'A',
        b'a'..=b'z' => it - b'a' + 26,
        b'0'..=b'9' => it - b'0' + 52,
        b'+' => 62,
        _ => 63,
    };
    let digits: Vec<u8> = text.bytes().filter(|it| *it != b'=').collect();
    let group = |four: &[u8]| {
        let bits = four.iter().fold(0_u32, |bits, digit| bits << 6 | u32::from(value(*digit)));
        let bytes = (bits << (6 * (4 - four.len()))).to_be_bytes();
        bytes[1..four.len()].to_vec()
    };
    digits.chunks(4).flat_map(group).collect()
}
