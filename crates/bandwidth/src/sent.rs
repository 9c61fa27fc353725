//! What was sent, by transport-wide sequence number, until it is reported.

use crate::probe::Cluster;

/// Packets remembered: two seconds of 10 Mbit/s. Feedback comes within a round trip and 100 ms; 16 bytes each.
pub(crate) const REMEMBERED: usize = 2_048;

/// What is known of a sent packet's arrival.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// Nothing was reported.
    Unknown,
    /// Reported as not there; it may only be late.
    Missing,
    /// Reported with its time.
    Arrived,
}

/// A sent packet.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Packet {
    /// Microseconds.
    pub(crate) at: i64,
    /// Bytes on the line.
    pub(crate) size: u16,
    pub(crate) cluster: Option<Cluster>,
    pub(crate) fate: Fate,
}

/// A ring of sent packets.
#[derive(Debug, Default)]
pub(crate) struct Sent {
    /// Made with the first packet: who only publishes needs none.
    ring: Vec<Packet>,
    /// Packets so far, whose low 16 bits are the next sequence number.
    next: u64,
}

impl Sent {
    /// The number the next packet will have.
    pub(crate) const fn sequence(&self) -> u16 {
        self.next as u16
    }

    pub(crate) fn record(&mut self, at: i64, size: u16, cluster: Option<Cluster>) {
        let packet = Packet { at, size, cluster, fate: Fate::Unknown };
        if self.ring.is_empty() {
            self.ring.reserve_exact(REMEMBERED);
        }
        let place = self.next as usize % REMEMBERED;
        if place < self.ring.len() {
            self.ring[place] = packet;
        } else {
            self.ring.push(packet);
        }
        self.next += 1;
    }

    /// The latest packet of that number, if it is remembered.
    pub(crate) fn get_mut(&mut self, sequence: u16) -> Option<&mut Packet> {
        let back = 1 + u64::from((self.next as u16).wrapping_sub(1).wrapping_sub(sequence));
        if back > REMEMBERED as u64 || back > self.next {
            return None;
        }
        self.ring.get_mut((self.next - back) as usize % REMEMBERED)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_found_under_a_number_is_the_latest_sent_under_it() {
        let mut sent = Sent::default();
        assert!(sent.get_mut(0).is_none() && sent.get_mut(u16::MAX).is_none(), "nothing was sent");
        for at in 0..200_000i64 {
            assert_eq!(sent.sequence(), at as u16);
            sent.record(at, 1, None);
            for back in [0, 1, REMEMBERED as i64 - 1, REMEMBERED as i64, 40_000] {
                let found = sent.get_mut((at - back) as u16).map(|packet| packet.at);
                assert_eq!(found, (back < REMEMBERED as i64 && back <= at).then_some(at - back), "{back} before {at}");
            }
        }
    }
}
