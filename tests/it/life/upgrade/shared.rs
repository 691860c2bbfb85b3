//! What is lost where a second process binds the same port and the first closes it, instead of handing it over.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use socket2::{Domain, Socket, Type};

use super::SSH;
use super::load::Load;

/// How the one that goes closes its listener.
#[derive(Clone, Copy, Debug)]
enum Close {
    /// As it is.
    AtOnce,
    /// After it has accepted all who wait.
    Emptied,
}

/// P7, by hand: what `SO_REUSEPORT` alone costs. Nothing here is our program; the numbers are in docs/operations.md.
#[test]
#[ignore = "measures the kernel, half a minute for each way"]
fn a_shared_port_loses_clients_when_a_listener_closes() {
    for close in [Close::AtOnce, Close::Emptied] {
        let address = SocketAddr::from((Ipv4Addr::new(127, 0, 9, 9), 4009));
        let mut server = Some(Server::on(address));
        let load = Load { rate: 2000, length: Duration::from_secs(30), upgrades: 20 };
        let outcome = load.run(address, || {
            let next = Server::on(address);
            if let Some(before) = server.replace(next) {
                before.end(close);
            }
        });
        println!("{close:?}: {outcome}");
        assert!(outcome.served > 0);
        server.into_iter().for_each(|it| it.end(Close::Emptied));
    }
}

/// Answers as the echo behind the proxy does, with two listeners.
struct Server {
    listeners: Vec<Arc<TcpListener>>,
    stop: Arc<AtomicBool>,
    threads: Vec<thread::JoinHandle<()>>,
}

impl Server {
    fn on(address: SocketAddr) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let listeners: Vec<_> = (0..2).map(|_| Arc::new(listener(address))).collect();
        let threads = listeners.iter().map(|listener| {
            let (listener, stop) = (Arc::clone(listener), Arc::clone(&stop));
            thread::spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    match listener.accept() {
                        Ok((client, _)) => drop(thread::spawn(move || answer(client))),
                        Err(_) => thread::park_timeout(Duration::from_micros(200)),
                    }
                }
            })
        });
        let threads = threads.collect();
        Self { listeners, stop, threads }
    }

    fn end(self, close: Close) {
        self.stop.store(true, Ordering::Relaxed);
        self.threads.into_iter().for_each(|it| it.join().expect("a thread"));
        for listener in self.listeners {
            while matches!(close, Close::Emptied)
                && let Ok((client, _)) = listener.accept()
            {
                thread::spawn(move || answer(client));
            }
        }
    }
}

fn listener(address: SocketAddr) -> TcpListener {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
    socket.set_reuse_address(true).expect("an open socket");
    socket.set_reuse_port(true).expect("an open socket");
    socket.bind(&address.into()).expect("the port");
    socket.listen(4096).expect("a bound socket");
    socket.set_nonblocking(true).expect("an open socket");
    socket.into()
}

fn answer(mut client: TcpStream) {
    client.set_nonblocking(false).expect("an open socket");
    let mut asked = Vec::new();
    if client.read_to_end(&mut asked).is_ok() {
        assert_eq!(asked, SSH);
        // Who does not listen any more is nobody's loss here.
        let _ = client.write_all(&[b"ssh: ", SSH].concat());
        let _ = client.shutdown(Shutdown::Write);
    }
}
