//! A NAT that forgets: UDP source ports are rewritten, and every so often into others.

use std::collections::HashMap;
use std::net::Ipv4Addr;

use crate::packet::{End, set_udp_port, udp_end};

/// Bindings at most: far more than a few browsers open, and within the ports given out.
const MAX_BINDINGS: usize = 4_096;
/// The ports given out, in turn, so that two bindings in a row never have the same: below those that kernels choose by themselves.
const PORTS: std::ops::Range<u16> = 20_000..32_000;

/// Rewrites the near end's UDP ports, both ways and for whatever destination (endpoint-independent mapping, RFC 4787 §4.1). Addresses stay.
///
/// It does nothing until the first [`rebind`](Self::rebind). What comes to a port that was bound before is lost, as behind a NAT that was restarted.
#[derive(Debug)]
pub struct Nat {
    active: bool,
    /// The outer port of an inner address and port.
    outer: HashMap<(Ipv4Addr, u16), u16>,
    inner: HashMap<u16, (Ipv4Addr, u16)>,
    next: u16,
}

impl Default for Nat {
    fn default() -> Self {
        Self { active: false, outer: HashMap::new(), inner: HashMap::new(), next: PORTS.start }
    }
}

impl Nat {
    /// Forgets all bindings. From now on every flow gets another port than it has had.
    pub fn rebind(&mut self) {
        self.active = true;
        self.outer.clear();
        self.inner.clear();
    }

    /// Takes a packet from inside and gives it its outer port. Returns whether it may pass: not if there is no port left.
    pub fn leave(&mut self, packet: &mut [u8]) -> bool {
        let Some(source) = udp_end(packet, End::Source).filter(|_| self.active) else { return true };
        let Some(port) = self.outer.get(&source).copied().or_else(|| self.bind(source)) else { return false };
        set_udp_port(packet, End::Source, port);
        true
    }

    /// Takes a packet from outside and gives it its inner port. Returns whether it may pass: not if its port isn't bound.
    pub fn enter(&self, packet: &mut [u8]) -> bool {
        let Some((address, port)) = udp_end(packet, End::Destination).filter(|_| self.active) else { return true };
        match self.inner.get(&port) {
            Some((inner, port)) if *inner == address => {
                set_udp_port(packet, End::Destination, *port);
                true
            }
            _ => false,
        }
    }

    fn bind(&mut self, source: (Ipv4Addr, u16)) -> Option<u16> {
        if self.outer.len() >= MAX_BINDINGS {
            return None;
        }
        // Fewer are bound than there are.
        while self.inner.contains_key(&self.next) {
            self.advance();
        }
        let port = self.next;
        self.advance();
        self.outer.insert(source, port);
        self.inner.insert(port, source);
        Some(port)
    }

    fn advance(&mut self) {
        self.next = if self.next + 1 < PORTS.end { self.next + 1 } else { PORTS.start };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packet::tests::{FAR, NEAR, udp};

    fn leaves(nat: &mut Nat, port: u16) -> Option<u16> {
        let mut packet = udp((NEAR, port), (FAR, 8080), b"out");
        nat.leave(&mut packet).then(|| udp_end(&packet, End::Source).unwrap().1)
    }

    fn enters(nat: &Nat, port: u16) -> Option<u16> {
        let mut packet = udp((FAR, 8080), (NEAR, port), b"in");
        nat.enter(&mut packet).then(|| udp_end(&packet, End::Destination).unwrap().1)
    }

    #[test]
    fn nothing_is_rewritten_before_the_first_rebinding() {
        let mut nat = Nat::default();
        assert_eq!((leaves(&mut nat, 5000), enters(&nat, 5000)), (Some(5000), Some(5000)));
    }

    #[test]
    fn each_rebinding_gives_other_ports_and_the_old_ones_are_dead() {
        let mut nat = Nat::default();
        nat.rebind();
        let first = leaves(&mut nat, 5000).unwrap();
        let other = leaves(&mut nat, 5001).unwrap();
        assert!(first != 5000 && other != first);
        assert_eq!(leaves(&mut nat, 5000), Some(first), "a binding stays");
        assert_eq!((enters(&nat, first), enters(&nat, other)), (Some(5000), Some(5001)));
        assert_eq!(enters(&nat, 5000), None, "the unbound port is closed");
        let mut elsewhere = udp((FAR, 8080), (Ipv4Addr::new(10, 213, 0, 3), first), b"in");
        assert!(!nat.enter(&mut elsewhere), "a binding belongs to one address");
        nat.rebind();
        assert_eq!(enters(&nat, first), None);
        let second = leaves(&mut nat, 5000).unwrap();
        assert_ne!(second, first);
        assert_eq!((enters(&nat, second), enters(&nat, first)), (Some(5000), None));
    }

    #[test]
    fn ports_run_out_and_are_taken_again() {
        let mut nat = Nat::default();
        for round in 0..5 {
            nat.rebind();
            for port in 0..MAX_BINDINGS as u16 {
                let outer = leaves(&mut nat, port + 1).expect("there are ports");
                assert_eq!(enters(&nat, outer), Some(port + 1), "round {round}");
            }
            assert_eq!(leaves(&mut nat, 50_000), None);
        }
    }
}
