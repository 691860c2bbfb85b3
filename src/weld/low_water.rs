//! Not to be woken for what cannot go on.

use socket2::SockRef;
use tokio::net::TcpStream;

use crate::os;

/// How much must arrive at a source before it wakes us; 0: it does for every byte.
///
/// The runtime watches both sockets of a connection all the time. While a sink is full, whatever arrives at the source
/// would wake us for nothing: two of three wakes of a bulk transfer.
#[derive(Debug, Default)]
pub(super) struct LowWater(u32);

impl LowWater {
    /// To be called when the sink is full. The end of the source, or its failure, still wakes us.
    ///
    /// Half of what the source's buffer has room for now: for more the kernel would make it grow, and hold all that for a
    /// sink that is slow. It lets it grow by itself while the sink is fast.
    pub(super) fn raise(&mut self, source: &TcpStream) {
        let room = SockRef::from(source).recv_buffer_size().unwrap_or(0);
        let half = u32::try_from(room / 2).unwrap_or(0);
        if half > self.0 && os::set_low_water(source, half) {
            self.0 = half;
        }
    }

    /// To be called before the source may be found empty.
    pub(super) fn lower(&mut self, source: &TcpStream) {
        if std::mem::take(&mut self.0) > 0 {
            os::set_low_water(source, 1);
        }
    }
}
