//! Ending a TCP connection from outside.
//!
//! A firewall that has forgotten a connection, or a router that was restarted, answers what it
//! carries with a segment that says "reset". To be believed, it must bear the number of the very
//! next byte that its receiver expects (RFC 5961), and these can be read off any segment:
//!
//! ```text
//! a ── seq 100, ack 700, 50 bytes ──▶ b       b expects 100 from a; a expects 700 from b
//!      to b, as if from a: reset, seq 100
//!      to a, as if from b: reset, seq 700
//! ```
//!
//! The segment itself must not arrive. If other bytes are on their way, an end asks back
//! whether it was meant; the other end, which knows no such connection any more, says yes.
//!
//! Who is only connecting expects nothing yet, and believes whoever acknowledges his first number.

use etherparse::{NetSlice, PacketBuilder, SlicedPacket, TcpSlice, TransportSlice};

/// Far enough for any network, and what most systems say.
const HOPS_MAX: u8 = 64;

/// What to send instead of a segment.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Resets {
    /// To whom the segment is from. Everybody who sends can be told.
    pub(crate) for_sender: Option<Vec<u8>>,
    /// To whom it is. Nothing if he does not know of the connection yet.
    pub(crate) for_receiver: Option<Vec<u8>>,
}

impl Resets {
    /// What ends the connection of a packet. Nothing if it has none: it is not TCP, or a piece
    /// of a larger packet, or ends a connection itself.
    pub(crate) fn of(packet: &[u8]) -> Option<Self> {
        let sliced = SlicedPacket::from_ip(packet).ok()?;
        let (Some(NetSlice::Ipv4(net)), Some(TransportSlice::Tcp(segment))) =
            (&sliced.net, &sliced.transport)
        else {
            return None;
        };
        if segment.rst() {
            return None;
        }
        let header = net.header();
        let (sender, receiver) = (header.source(), header.destination());
        let (from, to) = (segment.source_port(), segment.destination_port());
        let next = next_number(segment);
        let acknowledged = if segment.ack() { segment.acknowledgment_number() } else { 0 };
        let for_sender =
            PacketBuilder::ipv4(receiver, sender, HOPS_MAX).tcp(to, from, acknowledged, 0);
        let for_receiver = PacketBuilder::ipv4(sender, receiver, HOPS_MAX).tcp(
            from,
            to,
            segment.sequence_number(),
            0,
        );
        let (mut back, mut on) = (Vec::new(), Vec::new());
        for_sender.rst().ack(next).write(&mut back, &[]).ok()?;
        for_receiver.rst().ack(acknowledged).write(&mut on, &[]).ok()?;
        Some(Self { for_sender: Some(back), for_receiver: segment.ack().then_some(on) })
    }
}

/// The number after those that a segment takes. Its beginning and its end take one each.
fn next_number(segment: &TcpSlice<'_>) -> u32 {
    let bytes = u32::try_from(segment.payload().len()).unwrap_or_default();
    let marks = u32::from(segment.syn()) + u32::from(segment.fin());
    segment.sequence_number().wrapping_add(bytes).wrapping_add(marks)
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: [u8; 4] = [198, 18, 0, 2];
    const B: [u8; 4] = [198, 18, 0, 3];

    /// From whom, to whom, sequence and acknowledged number of a reset whose sums are right.
    fn read(packet: &[u8]) -> ([u8; 4], [u8; 4], u32, u32) {
        let sliced = SlicedPacket::from_ip(packet).unwrap();
        let (Some(NetSlice::Ipv4(net)), Some(TransportSlice::Tcp(segment))) =
            (sliced.net, sliced.transport)
        else {
            panic!("{packet:?}");
        };
        let header = net.header().to_header();
        assert_eq!(header.header_checksum, header.calc_header_checksum());
        let own = segment.to_header();
        assert_eq!(Ok(own.checksum), own.calc_checksum_ipv4(&header, segment.payload()));
        assert!(own.rst && own.ack);
        (header.source, header.destination, own.sequence_number, own.acknowledgment_number)
    }

    #[test]
    fn each_end_is_told_by_the_number_that_it_expects() {
        let mut packet = Vec::new();
        let segment = PacketBuilder::ipv4(A, B, 9).tcp(4_000, 80, 100, 1_000).ack(700);
        segment.write(&mut packet, &[7; 50]).unwrap();
        let ends = Resets::of(&packet).unwrap();
        assert_eq!(read(&ends.for_receiver.unwrap()), (A, B, 100, 700));
        assert_eq!(read(&ends.for_sender.unwrap()), (B, A, 700, 150));
    }

    #[test]
    fn whoever_connects_is_refused_and_the_other_end_hears_nothing() {
        let mut packet = Vec::new();
        let segment = PacketBuilder::ipv4(A, B, 9).tcp(4_000, 80, u32::MAX, 1_000).syn();
        segment.write(&mut packet, &[]).unwrap();
        let ends = Resets::of(&packet).unwrap();
        assert_eq!(read(&ends.for_sender.unwrap()), (B, A, 0, 0), "numbers go round");
        assert_eq!(ends.for_receiver, None);
    }

    #[test]
    fn what_has_no_connection_is_left_alone() {
        let mut datagram = Vec::new();
        PacketBuilder::ipv4(A, B, 9).udp(1, 2).write(&mut datagram, &[1, 2, 3]).unwrap();
        let mut reset = Vec::new();
        PacketBuilder::ipv4(A, B, 9).tcp(1, 2, 3, 0).rst().write(&mut reset, &[]).unwrap();
        for packet in [datagram.as_slice(), reset.as_slice(), &[], &[0x45; 7]] {
            assert_eq!(Resets::of(packet), None);
        }
    }
}
