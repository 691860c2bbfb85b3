//! A DNS server on an address of loopback, and the program under test that asks no other.

use std::collections::HashMap;
use std::fs;
use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, TcpListener, UdpSocket};
use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

use crate::harness::{Proxy, need, need_root, skipped};

/// What it answers to a name.
#[derive(Clone, Debug)]
pub(super) enum Answer {
    Addresses(Vec<IpAddr>),
    /// SRV records, by priority, weight, port and target; to other questions nothing.
    Services(Vec<(u16, u16, u16, &'static str)>),
    /// An error, by its code (RFC 1035, section 4.1.1).
    Code(u8),
    /// Nothing at all.
    None,
}

pub(super) struct Dns {
    ip: Ipv4Addr,
    names: Arc<Mutex<HashMap<String, Answer>>>,
    asked: Arc<AtomicUsize>,
}

static NEXT: AtomicU8 = AtomicU8::new(1);

impl Dns {
    /// `None`, and the reason is told, where none can be had.
    pub(super) fn start() -> Option<Self> {
        if !need_root() || !need(&["unshare", "mount"]) {
            return None;
        }
        let ip = own_address();
        let Ok(socket) = UdpSocket::bind((ip, 53)) else {
            skipped(&format!("port 53 of {ip} is not to be had"));
            return None;
        };
        let listener = TcpListener::bind((ip, 53)).expect("the port over TCP");
        let (names, asked) = (Arc::default(), Arc::default());
        let dns = Self { ip, names, asked };
        // They end with the process.
        let (names, asked) = (Arc::clone(&dns.names), Arc::clone(&dns.asked));
        thread::spawn(move || over_udp(&socket, &names, &asked));
        let names = Arc::clone(&dns.names);
        thread::spawn(move || over_tcp(&listener, &names));
        Some(dns)
    }

    pub(super) fn says(&self, name: &str, answer: Answer) {
        self.names.lock().expect("sound").insert(name.to_owned(), answer);
    }

    /// How often it was asked for anything.
    pub(super) fn asked(&self) -> usize {
        self.asked.load(Ordering::Relaxed)
    }

    /// The program, which sees an `/etc/resolv.conf` that names this server alone.
    pub(super) fn proxy(&self, server: &str, routes: &str, options: &[&str]) -> Proxy {
        proxy_asking(self.ip, server, routes, options)
    }
}

/// The same, with a server of DNS at any address.
pub(super) fn proxy_asking(ip: Ipv4Addr, server: &str, routes: &str, options: &[&str]) -> Proxy {
    let folder = tempfile::tempdir().expect("a folder");
    let text = format!("nameserver {ip}\noptions timeout:1 attempts:1\n");
    fs::write(folder.path().join("resolv.conf"), text).expect("room");
    let mut command = std::process::Command::new("unshare");
    command.args(["--mount", "sh", "-c"]);
    command.arg("mount --bind resolv.conf /etc/resolv.conf && exec \"$@\"").arg("sh");
    command.arg(env!("CARGO_BIN_EXE_refractium")).args(["-c", "refractium.toml"]).args(options);
    Proxy::spawn_command(command, folder, server, routes)
}

/// An address of loopback that no other test of this process has, whose port 53 may be taken.
pub(super) fn own_address() -> Ipv4Addr {
    let [high, low] = [std::process::id() >> 8, std::process::id()].map(|it| it.to_be_bytes()[3]);
    Ipv4Addr::new(127, high, low, NEXT.fetch_add(1, Ordering::Relaxed))
}

fn over_udp(socket: &UdpSocket, names: &Mutex<HashMap<String, Answer>>, asked: &AtomicUsize) {
    let mut query = [0; 512];
    while let Ok((got, from)) = socket.recv_from(&mut query) {
        let answer = names.lock().expect("sound").get(&asked_for(&query[..got])).cloned();
        // As strangers may who guess: before what is right comes an answer to another question.
        let forges = matches!(answer, Some(Answer::Services(_)));
        if let Some(mut bytes) = answered(&query[..got], answer.unwrap_or(Answer::Code(3))) {
            if bytes.len() > 512 {
                bytes.truncate(got);
                bytes[2] |= 2; // TC: ask over TCP
                bytes[6..8].fill(0);
            }
            if forges {
                let forged = [&[!bytes[0], bytes[1]][..], &bytes[2..]].concat();
                let _ = socket.send_to(&forged, from);
            }
            let _ = socket.send_to(&bytes, from);
        }
        asked.fetch_add(1, Ordering::Relaxed);
    }
}

fn over_tcp(listener: &TcpListener, names: &Mutex<HashMap<String, Answer>>) {
    for stream in listener.incoming() {
        let Ok(mut stream) = stream else { continue };
        let mut length = [0; 2];
        while stream.read_exact(&mut length).is_ok() {
            let mut query = vec![0; usize::from(u16::from_be_bytes(length))];
            if stream.read_exact(&mut query).is_err() {
                break;
            }
            let answer = names.lock().expect("sound").get(&asked_for(&query)).cloned();
            let Some(bytes) = answered(&query, answer.unwrap_or(Answer::Code(3))) else { break };
            let length = u16::try_from(bytes.len()).expect("room").to_be_bytes();
            let _ = stream.write_all(&[&length[..], &bytes].concat());
        }
    }
}

fn asked_for(query: &[u8]) -> String {
    let mut labels = Vec::new();
    let mut rest = &query[12..];
    while let [length @ 1..=63, tail @ ..] = rest {
        let (label, after) = tail.split_at(usize::from(*length));
        labels.push(String::from_utf8_lossy(label).to_lowercase());
        rest = after;
    }
    labels.join(".")
}

fn answered(query: &[u8], answer: Answer) -> Option<Vec<u8>> {
    let end = 12 + query[12..].iter().position(|byte| *byte == 0)? + 5;
    let wanted = query[end - 3];
    let mut bytes = query[..end].to_vec();
    bytes[2] |= 0x80;
    bytes[3] = 0x80;
    bytes[8..12].fill(0);
    let records: Vec<Vec<u8>> = match answer {
        Answer::Addresses(list) => {
            let is_wanted = |it: &IpAddr| wanted == if it.is_ipv6() { AAAA } else { A };
            list.into_iter().filter(is_wanted).map(octets).collect()
        }
        Answer::Services(list) if wanted == SRV => list.into_iter().map(service).collect(),
        Answer::Services(_) => Vec::new(),
        Answer::Code(code) => {
            bytes[3] |= code;
            Vec::new()
        }
        Answer::None => return None,
    };
    bytes[6..8].copy_from_slice(&u16::try_from(records.len()).expect("room").to_be_bytes());
    for record in records {
        // The name asked for; for 0 seconds.
        bytes.extend([0xc0, 12, 0, wanted, 0, 1, 0, 0, 0, 0]);
        bytes.extend(u16::try_from(record.len()).expect("room").to_be_bytes());
        bytes.extend(record);
    }
    Some(bytes)
}

fn octets(ip: IpAddr) -> Vec<u8> {
    match ip {
        IpAddr::V4(ip) => ip.octets().to_vec(),
        IpAddr::V6(ip) => ip.octets().to_vec(),
    }
}

/// RFC 2782.
fn service((priority, weight, port, target): (u16, u16, u16, &str)) -> Vec<u8> {
    let mut bytes = [priority, weight, port].map(u16::to_be_bytes).concat();
    for label in target.split('.').filter(|label| !label.is_empty()) {
        bytes.push(u8::try_from(label.len()).expect("short"));
        bytes.extend(label.as_bytes());
    }
    bytes.push(0);
    bytes
}

const A: u8 = 1;
const AAAA: u8 = 28;
const SRV: u8 = 33;
