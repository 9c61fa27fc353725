//! A firewall that lets nothing but HTTPS out, by what connections begin with and not by their port.

use std::collections::HashMap;

use crate::bridge::Side;
use crate::packet::{self, Ends};

/// Types of TLS records (RFC 8446 §5.1), and the first byte of their version.
const TLS_RECORDS: std::ops::RangeInclusive<u8> = 20..=23;
const TLS_VERSION: u8 = 3;

/// Knows the TCP connections that have begun since it was there, and whether they may go on.
#[derive(Debug, Default)]
pub struct Firewall {
    /// By the near end and the far one.
    connections: HashMap<Ends, bool>,
}

impl Firewall {
    /// Whether a packet from `side` goes through: TCP does until it carries something. Whichever end is the first to say something, it has to be TLS.
    pub fn passes(&mut self, side: Side, packet: &[u8]) -> bool {
        let Some((mut ends, payload)) = packet::tcp_segment(packet) else { return false };
        if side == Side::Far {
            ends.reverse();
        }
        match self.connections.get(&ends) {
            Some(passes) => *passes,
            None if payload.is_empty() => true,
            None => {
                let is_tls = TLS_RECORDS.contains(&payload[0]) && payload.get(1).is_none_or(|version| *version == TLS_VERSION);
                *self.connections.entry(ends).or_insert(is_tls)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packet::tests::{FAR, NEAR};

    /// A segment from one end to the other.
    fn segment(side: Side, port: u16, payload: &[u8]) -> Vec<u8> {
        let (from, to) = if side == Side::Near { ((NEAR, port), (FAR, 443)) } else { ((FAR, 443), (NEAR, port)) };
        let length = 40 + payload.len();
        let mut packet = vec![0x45, 0, 0, length as u8, 0, 1, 0x40, 0, 64, 6, 0, 0];
        packet.extend(from.0.octets());
        packet.extend(to.0.octets());
        packet.extend(from.1.to_be_bytes());
        packet.extend(to.1.to_be_bytes());
        packet.extend([0; 8]);
        packet.extend([0x50, 0x18, 0, 0, 0, 0, 0, 0]);
        packet.extend(payload);
        packet
    }

    #[test]
    fn what_begins_with_tls_goes_on_and_what_does_not_is_lost() {
        let mut firewall = Firewall::default();
        for (port, payload, passes) in
            [(1, &[22, 3, 1][..], true), (2, b"GET /", false), (3, &[0, 100, 0, 1], false), (4, &[22], true), (5, &[22, 9], false)]
        {
            assert!(firewall.passes(Side::Near, &segment(Side::Near, port, &[])), "the handshake");
            assert!(firewall.passes(Side::Far, &segment(Side::Far, port, &[])), "the handshake");
            assert_eq!(firewall.passes(Side::Near, &segment(Side::Near, port, payload)), passes, "{payload:?}");
            assert_eq!(firewall.passes(Side::Far, &segment(Side::Far, port, b"whatever")), passes, "{payload:?}");
            assert_eq!(firewall.passes(Side::Near, &segment(Side::Near, port, &[23, 3])), passes, "{payload:?} for ever");
        }
    }

    #[test]
    fn whoever_is_behind_the_far_end_is_no_better_off_and_nothing_but_tcp_passes() {
        let mut firewall = Firewall::default();
        assert!(!firewall.passes(Side::Far, &segment(Side::Far, 1, b"GET /")));
        assert!(!firewall.passes(Side::Near, &segment(Side::Near, 1, b"HTTP/1.1 200")));
        assert!(firewall.passes(Side::Far, &segment(Side::Far, 2, &[22, 3, 1])));
        assert!(!firewall.passes(Side::Near, &crate::packet::tests::udp((NEAR, 1), (FAR, 443), &[22, 3])));
    }
}
