//! Servers that record.

use std::io::{self, Read, Write};
use std::mem;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex};
use std::thread;

use socket2::{Domain, Socket, Type};

use super::with_deadlines;

/// A TCP server in this process, each connection on a thread of its own. It stops accepting when dropped.
pub(crate) struct Backend {
    address: SocketAddr,
    stop: Arc<std::sync::atomic::AtomicBool>,
    accepting: Option<thread::JoinHandle<()>>,
}

impl Backend {
    /// Serves each connection by calling `serve` with it.
    pub(crate) fn serving(serve: impl Fn(TcpStream) + Send + Sync + 'static) -> Self {
        Self::serving_at((Ipv4Addr::LOCALHOST, 0).into(), serve)
    }

    /// The same at an address that another has left, say.
    pub(crate) fn serving_at(
        address: SocketAddr,
        serve: impl Fn(TcpStream) + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind(address).expect("a port");
        let address = listener.local_addr().expect("an address");
        let stop = Arc::new(std::sync::atomic::AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let serve = Arc::new(serve);
        let accepting = thread::spawn(move || {
            for stream in listener.incoming() {
                if stopped.load(std::sync::atomic::Ordering::Relaxed) {
                    return;
                }
                let Ok(stream) = stream else { continue };
                let serve = Arc::clone(&serve);
                thread::spawn(move || serve(with_deadlines(stream)));
            }
        });
        Self { address, stop, accepting: Some(accepting) }
    }

    /// Answers `name: ` at once, then sends back all it gets until the client has ended.
    pub(crate) fn echo(name: &'static str) -> Self {
        Self::echo_at((Ipv4Addr::LOCALHOST, 0).into(), name)
    }

    pub(crate) fn echo_at(address: SocketAddr, name: &'static str) -> Self {
        Self::serving_at(address, move |mut stream| {
            let _ = stream.write_all(format!("{name}: ").as_bytes());
            let mut reader = stream.try_clone().expect("an open socket");
            // The client may leave at any time.
            let _ = io::copy(&mut reader, &mut stream);
        })
    }

    /// Reads each connection to its end and hands over all its bytes.
    pub(crate) fn recording() -> (Self, Receiver<Vec<u8>>) {
        let (sender, receiver) = channel();
        let sender = Mutex::new(sender);
        let backend = Self::serving(move |mut stream| {
            let mut bytes = Vec::new();
            if stream.read_to_end(&mut bytes).is_ok() {
                let _ = sender.lock().expect("sound").send(bytes);
            }
        });
        (backend, receiver)
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Backend {
    fn drop(&mut self) {
        self.stop.store(true, std::sync::atomic::Ordering::Relaxed);
        // One connection wakes the accepting thread.
        let _ = TcpStream::connect(self.address);
        if let Some(accepting) = self.accepting.take() {
            let _ = accepting.join();
        }
    }
}

/// A port on loopback where nobody listens. It stays bound, so that it is given to nobody who asks for any; who asks for this
/// one has it.
pub(crate) fn refusing() -> SocketAddr {
    refusing_at(Ipv4Addr::LOCALHOST.into())
}

/// The same at this address.
pub(crate) fn refusing_at(ip: IpAddr) -> SocketAddr {
    let at = SocketAddr::new(ip, 0);
    let socket = Socket::new(Domain::for_address(at), Type::STREAM, None).expect("a socket");
    socket.set_reuse_address(true).expect("an open socket");
    socket.bind(&at.into()).expect("a port");
    let address = socket.local_addr().ok().and_then(|it| it.as_socket()).expect("an address");
    mem::forget(socket);
    address
}
