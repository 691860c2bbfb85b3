//! Datagrams that go the same way are sent together, where they are alike.

use super::batch::Piece;

/// Calls `send` with what the pieces hold, in order: as many datagrams at a time as are equally long and marked, at most
/// `most`. Those that do not lie side by side are copied to `gathered`, which costs little beside a system call.
pub(crate) fn each_train<'b>(
    pieces: impl IntoIterator<Item = Piece<'b>>,
    most: usize,
    gathered: &mut Vec<u8>,
    mut send: impl FnMut(Piece<'_>),
) {
    let mut train: Option<Train<'b>> = None;
    for piece in pieces {
        match &mut train {
            Some(train) if train.takes(&piece, most) => train.add(&piece, gathered),
            _ => {
                if let Some(whole) = train.replace(Train::begin(piece, most)) {
                    send(whole.piece(gathered));
                }
            }
        }
    }
    if let Some(whole) = train {
        send(whole.piece(gathered));
    }
}

/// Datagrams to be sent together.
struct Train<'b> {
    first: Piece<'b>,
    length: usize,
    count: usize,
    is_gathered: bool,
    /// A shorter one was the last, or there is no room.
    is_closed: bool,
}

/// The most bytes that the kernel takes at once, headers not counted: a packet of 65,535 bytes less the largest headers
/// that it may be given here (IPv6 40, UDP 8).
const MOST_BYTES: usize = 65_487;

/// The longest datagram worth sending together with others: longer ones do not fit into one packet on a path of 1,500
/// bytes, and the kernel sends together only what it need not fragment.
pub(crate) const LONGEST: usize = 1_472;

impl<'b> Train<'b> {
    fn begin(first: Piece<'b>, most: usize) -> Self {
        let is_even = first.segment > 0 && first.bytes.len().is_multiple_of(first.segment);
        let (length, count) = (first.bytes.len(), first.count());
        let is_closed = !is_even || first.segment > LONGEST || count >= most;
        Self { first, length, count, is_gathered: false, is_closed }
    }

    fn takes(&self, piece: &Piece<'_>, most: usize) -> bool {
        let is_alike = piece.ecn == self.first.ecn
            && (piece.segment == self.first.segment
                || piece.count() == 1 && piece.segment < self.first.segment);
        !self.is_closed
            && is_alike
            && !piece.bytes.is_empty()
            && self.count + piece.count() <= most
            && self.length + piece.bytes.len() <= MOST_BYTES
    }

    fn add(&mut self, piece: &Piece<'_>, gathered: &mut Vec<u8>) {
        if !self.is_gathered {
            self.is_gathered = true;
            gathered.clear();
            gathered.extend_from_slice(self.first.bytes);
        }
        gathered.extend_from_slice(piece.bytes);
        self.length += piece.bytes.len();
        self.count += piece.count();
        self.is_closed = !self.length.is_multiple_of(self.first.segment);
    }

    fn piece<'a>(&'a self, gathered: &'a [u8]) -> Piece<'a> {
        let bytes = if self.is_gathered { gathered } else { self.first.bytes };
        Piece { bytes, ..self.first }
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use proptest::prelude::*;
    use quinn_udp::EcnCodepoint;

    use super::*;

    fn piece(bytes: &[u8], segment: usize) -> Piece<'_> {
        let from = SocketAddr::from(([127, 0, 0, 1], 1));
        Piece { from, to: None, ecn: None, bytes, segment }
    }

    fn trains(pieces: &[Piece<'_>], most: usize) -> Vec<(usize, usize)> {
        let mut sent = Vec::new();
        each_train(pieces.iter().copied(), most, &mut Vec::new(), |train| {
            sent.push((train.segment, train.bytes.len()));
        });
        sent
    }

    #[test]
    fn equally_long_ones_go_together_and_a_shorter_one_is_the_last() {
        let full = piece(&[1; 1200], 1200);
        let short = piece(&[2; 700], 700);
        assert_eq!(trains(&[full, full, short, full], 64), [(1200, 3100), (1200, 1200)]);
        assert_eq!(trains(&[short, full], 64), [(700, 700), (1200, 1200)]);
        assert_eq!(trains(&[full, full, full], 2), [(1200, 2400), (1200, 1200)]);
    }

    #[test]
    fn what_is_marked_otherwise_or_empty_or_long_goes_by_itself() {
        let full = piece(&[1; 1200], 1200);
        let marked = Piece { ecn: Some(EcnCodepoint::Ce), ..full };
        let empty = piece(&[], 0);
        let long = piece(&[3; 4000], 4000);
        assert_eq!(trains(&[full, marked], 64), [(1200, 1200), (1200, 1200)]);
        assert_eq!(trains(&[full, empty, full], 64), [(1200, 1200), (0, 0), (1200, 1200)]);
        assert_eq!(trains(&[empty, empty], 64), [(0, 0), (0, 0)]);
        assert_eq!(trains(&[long, long], 64), [(4000, 4000), (4000, 4000)]);
    }

    proptest! {
        /// However datagrams came, each goes out whole and in order.
        #[test]
        fn no_datagram_is_lost_cut_or_overtaken(
            lengths in prop::collection::vec(prop_oneof![Just(1200_usize), 0..1500_usize], 0..80),
            together in prop::collection::vec(any::<bool>(), 80),
            most in 1..65_usize,
        ) {
            let datagrams: Vec<Vec<u8>> =
                lengths.iter().enumerate().map(|(at, &length)| vec![at as u8; length]).collect();
            // As the kernel would put some of them together.
            let mut buffers: Vec<(Vec<u8>, usize)> = Vec::new();
            for (datagram, joins) in datagrams.iter().zip(together) {
                match buffers.last_mut() {
                    Some((bytes, segment))
                        if joins
                            && !datagram.is_empty()
                            && *segment >= datagram.len()
                            && bytes.len() % (*segment).max(1) == 0
                            && bytes.len() + datagram.len() < MOST_BYTES =>
                    {
                        bytes.extend_from_slice(datagram);
                    }
                    _ => buffers.push((datagram.clone(), datagram.len())),
                }
            }
            let pieces = buffers.iter().map(|(bytes, segment)| piece(bytes, *segment));
            let mut sent: Vec<Vec<u8>> = Vec::new();
            let mut counts = Vec::new();
            each_train(pieces, most, &mut Vec::new(), |train| {
                counts.push(train.count());
                sent.extend(train.datagrams().map(|it| it.bytes.to_vec()));
            });
            prop_assert_eq!(sent, datagrams);
            // A piece of the kernel's may be longer; what is put together here is not.
            let longest = buffers.iter().map(|(bytes, segment)| piece(bytes, *segment).count()).max();
            prop_assert!(counts.iter().all(|&count| count <= most.max(longest.unwrap_or(0))));
        }
    }
}
