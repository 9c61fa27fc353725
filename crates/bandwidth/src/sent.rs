//! What was sent, by transport-wide sequence number, until it is reported.

use crate::probe::Cluster;

/// Packets remembered at most: two seconds of 10 Mbit/s. Feedback comes within a round trip and 100 ms; 16 bytes each.
pub(crate) const REMEMBERED: usize = 2_048;
/// Packets remembered at least. Where sound is all that is sent that is one second.
const FIRST: usize = 64;
/// A packet is not forgotten sooner than this, in microseconds, unless there are too many.
const KEPT: i64 = 2_000_000;

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

const NONE: Packet = Packet { at: 0, size: 0, cluster: None, fate: Fate::Unknown };

/// A ring of sent packets.
#[derive(Debug, Default)]
pub(crate) struct Sent {
    /// A power of two, made with the first packet, because who only publishes needs none, and doubled while too little time fits in.
    ring: Vec<Packet>,
    /// How many of the latest packets are in there.
    known: usize,
    /// Packets so far, whose low 16 bits are the next sequence number.
    next: u64,
}

impl Sent {
    /// The number the next packet will have.
    pub(crate) const fn sequence(&self) -> u16 {
        self.next as u16
    }

    pub(crate) fn record(&mut self, at: i64, size: u16, cluster: Option<Cluster>) {
        let places = self.ring.len();
        if self.known == places && places < REMEMBERED && (places == 0 || at - self.ring[self.next as usize % places].at < KEPT) {
            self.grow();
        }
        let place = self.next as usize % self.ring.len();
        self.ring[place] = Packet { at, size, cluster, fate: Fate::Unknown };
        self.next += 1;
        self.known = (self.known + 1).min(self.ring.len());
    }

    #[cold]
    fn grow(&mut self) {
        let mut ring = vec![NONE; (self.ring.len() * 2).max(FIRST)];
        for number in self.next - self.known as u64..self.next {
            let place = number as usize % ring.len();
            ring[place] = self.ring[number as usize % self.ring.len()];
        }
        self.ring = ring;
    }

    /// The latest packet of that number, if it is remembered.
    pub(crate) fn get_mut(&mut self, sequence: u16) -> Option<&mut Packet> {
        let back = 1 + u64::from((self.next as u16).wrapping_sub(1).wrapping_sub(sequence));
        if back > self.known as u64 {
            return None;
        }
        let place = (self.next - back) as usize % self.ring.len();
        self.ring.get_mut(place)
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

    #[test]
    fn two_seconds_are_remembered_in_as_little_room_as_they_take() {
        for (rate, places) in [(10, 64), (50, 128), (250, 512), (1_000, 2_048), (5_000, 2_048)] {
            let mut sent = Sent::default();
            for number in 0..rate * 20 {
                sent.record(number * 1_000_000 / rate, 1, None);
                let back = (rate * 2 - 1).min(places - 1).min(number);
                let found = sent.get_mut((number - back) as u16).map(|packet| packet.at);
                assert_eq!(found, Some((number - back) * 1_000_000 / rate), "{back} before {number}, {rate} a second");
            }
            assert_eq!(sent.ring.len(), places as usize, "{rate} a second");
        }
    }
}
