//! What each client in a capture file sent first.

use std::collections::{BTreeMap, HashMap};
use std::error::Error;
use std::fs::File;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;

use etherparse::{NetSlice, SlicedPacket, TcpSlice, TransportSlice};
use pcap_parser::traits::PcapNGPacketBlock;
use pcap_parser::{Block, Linktype, PcapBlockOwned, PcapError, create_reader};
use refractium::protocol::Transport;

/// What one client sent first.
#[derive(Debug)]
pub(crate) struct Flow {
    pub(crate) client: SocketAddr,
    pub(crate) server: SocketAddr,
    pub(crate) sent: Sent,
}

/// First bytes, or first datagrams.
#[derive(Debug)]
pub(crate) enum Sent {
    Stream(Vec<u8>),
    /// In their order; there is at least one.
    Datagrams(Vec<Vec<u8>>),
}

/// A short capture is meant: more flows than this are left out.
const MOST_FLOWS: usize = 256;

/// Most bytes kept of one flow.
const MOST_BYTES: usize = 64 * 1024;

/// Most datagrams kept of one flow.
const MOST_DATAGRAMS: u32 = 16;

/// Reads the flows of a capture, pcap or pcapng, in the order in which they began.
///
/// Who sends the SYN is the client; in a capture that began later, who sends first.
pub(crate) fn flows(path: &Path) -> Result<Vec<Flow>, Box<dyn Error>> {
    let mut reader = create_reader(1 << 20, File::open(path)?).map_err(|error| broken(&error))?;
    let mut links = Vec::new();
    let mut flows = Flows::default();
    loop {
        match reader.next() {
            Ok((used, block)) => {
                match block {
                    PcapBlockOwned::LegacyHeader(header) => links.push(header.network),
                    PcapBlockOwned::NG(Block::InterfaceDescription(it)) => links.push(it.linktype),
                    PcapBlockOwned::Legacy(packet) => flows.packet(links.first(), packet.data),
                    PcapBlockOwned::NG(Block::EnhancedPacket(packet)) => {
                        let link = usize::try_from(packet.if_id).ok().and_then(|at| links.get(at));
                        flows.packet(link, packet.packet_data());
                    }
                    PcapBlockOwned::NG(_) => {}
                }
                reader.consume(used);
            }
            Err(PcapError::Eof) => return Ok(flows.finish()),
            Err(PcapError::Incomplete(_)) => reader.refill().map_err(|error| broken(&error))?,
            Err(error) => return Err(broken(&error)),
        }
    }
}

/// The parser's error borrows what it could not parse; only its kind is of use.
fn broken(error: &PcapError<&[u8]>) -> Box<dyn Error> {
    format!("not a sound capture file: {error}").into()
}

type Key = (Transport, SocketAddr, SocketAddr);

#[derive(Default)]
struct Flows {
    order: Vec<Key>,
    pieces: HashMap<Key, Pieces>,
}

/// What one side sent: bytes by their place after the first sequence number, or datagrams by their number.
#[derive(Default)]
struct Pieces {
    first: Option<u32>,
    by_place: BTreeMap<u32, Vec<u8>>,
}

impl Flows {
    fn packet(&mut self, link: Option<&Linktype>, data: &[u8]) {
        // Loopback of BSD systems puts four bytes before the packet, Linux's cooked captures a header of their own.
        let sliced = match link {
            Some(&Linktype::ETHERNET) => SlicedPacket::from_ethernet(data),
            Some(&Linktype::LINUX_SLL) => SlicedPacket::from_linux_sll(data),
            Some(&Linktype::NULL | &Linktype::LOOP) => {
                SlicedPacket::from_ip(data.get(4..).unwrap_or_default())
            }
            _ => SlicedPacket::from_ip(data),
        };
        // What is no IP packet, or is cut, is no flow.
        let Ok(packet) = sliced else { return };
        let Some((from, to)) = addresses(packet.net.as_ref()) else { return };
        match packet.transport {
            Some(TransportSlice::Tcp(segment)) => self.segment(from, to, &segment),
            Some(TransportSlice::Udp(datagram)) => {
                let client = SocketAddr::new(from, datagram.source_port());
                let server = SocketAddr::new(to, datagram.destination_port());
                if let Some(pieces) = self.pieces((Transport::Udp, client, server)) {
                    pieces.add(datagram.payload());
                }
            }
            _ => {}
        }
    }

    fn segment(&mut self, from: IpAddr, to: IpAddr, segment: &TcpSlice<'_>) {
        let client = SocketAddr::new(from, segment.source_port());
        let server = SocketAddr::new(to, segment.destination_port());
        let is_answer = segment.syn() && segment.ack();
        if is_answer || (!segment.syn() && segment.payload().is_empty()) {
            return;
        }
        let Some(pieces) = self.pieces((Transport::Tcp, client, server)) else { return };
        let sequence = segment.sequence_number();
        if segment.syn() {
            pieces.first = Some(sequence.wrapping_add(1));
            return;
        }
        let first = *pieces.first.get_or_insert(sequence);
        let place = sequence.wrapping_sub(first);
        if usize::try_from(place).is_ok_and(|place| place < MOST_BYTES) {
            pieces.by_place.entry(place).or_insert_with(|| segment.payload().to_vec());
        }
    }

    /// The flow's pieces; `None` for the other direction of a known one, and beyond the limit.
    fn pieces(&mut self, key: Key) -> Option<&mut Pieces> {
        let (transport, client, server) = key;
        if self.pieces.contains_key(&(transport, server, client)) {
            return None;
        }
        if !self.pieces.contains_key(&key) {
            if self.order.len() >= MOST_FLOWS {
                return None;
            }
            self.order.push(key);
        }
        Some(self.pieces.entry(key).or_default())
    }

    fn finish(mut self) -> Vec<Flow> {
        let flow = |key @ (transport, client, server): Key| {
            let pieces = self.pieces.remove(&key).unwrap_or_default();
            let sent = match transport {
                Transport::Tcp => Sent::Stream(pieces.joined()),
                Transport::Udp => Sent::Datagrams(pieces.by_place.into_values().collect()),
            };
            Flow { client, server, sent }
        };
        std::mem::take(&mut self.order).into_iter().map(flow).collect()
    }
}

impl Pieces {
    fn add(&mut self, datagram: &[u8]) {
        let number = u32::try_from(self.by_place.len()).unwrap_or(MOST_DATAGRAMS);
        if number < MOST_DATAGRAMS {
            self.by_place.insert(number, datagram.to_vec());
        }
    }

    /// The bytes up to the first gap; what was sent again counts once.
    fn joined(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        for (&place, piece) in &self.by_place {
            let Ok(place) = usize::try_from(place) else { break };
            let Some(known) = bytes.len().checked_sub(place) else { break };
            bytes.extend_from_slice(piece.get(known..).unwrap_or_default());
        }
        bytes.truncate(MOST_BYTES);
        bytes
    }
}

fn addresses(net: Option<&NetSlice<'_>>) -> Option<(IpAddr, IpAddr)> {
    match net? {
        NetSlice::Ipv4(ip) => {
            let header = ip.header();
            Some((header.source_addr().into(), header.destination_addr().into()))
        }
        NetSlice::Ipv6(ip) => {
            let header = ip.header();
            Some((header.source_addr().into(), header.destination_addr().into()))
        }
        NetSlice::Arp(_) => None,
    }
}
