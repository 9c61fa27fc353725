//! What lies between the two devices, without the devices: packets and the time in, packets out.

use std::time::{Duration, Instant};

use serde::Serialize;
use switchyard_netem::{Config, ConfigError};

use crate::command::{Protocols, Scope};
use crate::firewall::Firewall;
use crate::nat::Nat;
use crate::packet::{self, Protocol};

mod direction;
#[cfg(test)]
mod tests;

use direction::Direction;
pub use direction::{Change, ChangeError};

/// An end of the line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// In the namespace, behind the line.
    Near,
    /// Where the line was made.
    Far,
}

/// Both directions, the NAT at the near end, and what is cut.
#[derive(Debug)]
pub struct Bridge {
    out: Direction,
    inward: Direction,
    nat: Nat,
    cut: Protocols,
    /// Lets TLS through and nothing else.
    firewall: Option<Firewall>,
    /// Everything that enters before this is lost.
    hole_until: Option<Instant>,
    lateness: Lateness,
}

/// How much later than due packets were handed out, since it was last asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Lateness {
    /// Packets handed out.
    pub packets: u64,
    /// Of those, more than a millisecond late.
    pub over_1ms: u64,
    /// The latest, in microseconds.
    pub max_us: u64,
}

/// What became of the packets of one direction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    /// That came from the device.
    pub packets: u64,
    /// In those.
    pub bytes: u64,
    /// That went to the other device, duplicates included: `packets + duplicated = delivered + on_the_way + lost()`.
    pub delivered: u64,
    /// On the way.
    pub on_the_way: u64,
    /// How long the next one would wait for the transmitter, in milliseconds.
    pub queue_ms: u64,
    /// Lost one by one, at random.
    pub loss: u64,
    /// Lost in bursts.
    pub burst_loss: u64,
    /// Lost since the queue was full.
    pub queue_full: u64,
    /// Lost since the line held as many as it may.
    pub line_full: u64,
    /// Lost in a black hole.
    pub black_hole: u64,
    /// Lost since their protocol was cut.
    pub cut: u64,
    /// Lost since the NAT had no binding for them, or no port.
    pub unbound: u64,
    /// Lost since they weren't IPv4.
    pub foreign: u64,
    /// Lost since the device they were for was down.
    pub refused: u64,
    /// That came out behind one that had entered later.
    pub reordered: u64,
    /// Copies made.
    pub duplicated: u64,
}

impl Counts {
    /// Lost for any reason.
    pub fn lost(&self) -> u64 {
        self.loss
            + self.burst_loss
            + self.queue_full
            + self.line_full
            + self.black_hole
            + self.cut
            + self.unbound
            + self.foreign
            + self.refused
    }
}

impl Bridge {
    /// A line with these properties; each direction draws from the seed in its own way.
    pub fn new(out: Config, inward: Config, seed: u64, now: Instant) -> Result<Self, ConfigError> {
        Ok(Self {
            out: Direction::new(out, seed.wrapping_mul(2), now)?,
            inward: Direction::new(inward, seed.wrapping_mul(2).wrapping_add(1), now)?,
            nat: Nat::default(),
            cut: Protocols::NONE,
            firewall: None,
            hole_until: None,
            lateness: Lateness::default(),
        })
    }

    /// Takes a packet from the device of `side`.
    pub fn push(&mut self, now: Instant, side: Side, mut packet: Vec<u8>) {
        let (direction, nat) = match side {
            Side::Near => (&mut self.out, Some(&mut self.nat)),
            Side::Far => (&mut self.inward, None),
        };
        direction.counts.packets += 1;
        direction.counts.bytes += packet.len() as u64;
        let Some(protocol) = packet::protocol(&packet) else {
            direction.counts.foreign += 1;
            return;
        };
        if self.hole_until.is_some_and(|until| now < until) {
            direction.counts.black_hole += 1;
        } else if self.cut.has(protocol) || self.firewall.as_mut().is_some_and(|firewall| !firewall.passes(side, &packet)) {
            direction.counts.cut += 1;
        } else if nat.is_some_and(|nat| !nat.leave(&mut packet)) {
            direction.counts.unbound += 1;
        } else {
            direction.push(now, packet);
        }
    }

    /// The next packet that is due by `now`, and for which device.
    pub fn poll(&mut self, now: Instant) -> Option<(Side, Vec<u8>)> {
        loop {
            // The one that has been due for longer comes first.
            let (out, inward) = (self.out.poll_timeout(), self.inward.poll_timeout());
            let out_first = match (out, inward) {
                (Some(out), Some(inward)) => out <= inward,
                (out, _) => out.is_some(),
            };
            let (direction, to) = if out_first { (&mut self.out, Side::Far) } else { (&mut self.inward, Side::Near) };
            let (due, mut packet) = direction.poll(now)?;
            if to == Side::Near && !self.nat.enter(&mut packet) {
                direction.counts.unbound += 1;
                continue;
            }
            direction.counts.delivered += 1;
            let late = now.saturating_duration_since(due);
            self.lateness.packets += 1;
            self.lateness.over_1ms += u64::from(late > Duration::from_millis(1));
            self.lateness.max_us = self.lateness.max_us.max(late.as_micros() as u64);
            return Some((to, packet));
        }
    }

    /// Says that the device of `to` did not take what [`poll`](Self::poll) just handed out for it.
    pub fn refused(&mut self, to: Side) {
        let direction = if to == Side::Near { &mut self.inward } else { &mut self.out };
        direction.counts.delivered -= 1;
        direction.counts.refused += 1;
    }

    /// When [`poll`](Self::poll) has something, unless more is pushed.
    pub fn poll_timeout(&self) -> Option<Instant> {
        [self.out.poll_timeout(), self.inward.poll_timeout()].into_iter().flatten().min()
    }

    /// Changes what the line does, from now on: what is on its way arrives as it would have, and nothing overtakes it.
    /// Changes nothing if one direction can't be changed.
    pub fn change(&mut self, now: Instant, scope: Scope, change: &Change) -> Result<(), ChangeError> {
        let [out, inward] = [(Scope::Out, &self.out), (Scope::In, &self.inward)]
            .map(|(one, direction)| (scope == Scope::Both || scope == one).then(|| direction.prepare(change, now)).transpose());
        let (out, inward) = (out?, inward?);
        if let Some(prepared) = out {
            self.out.commit(prepared);
        }
        if let Some(prepared) = inward {
            self.inward.commit(prepared);
        }
        Ok(())
    }

    /// Loses everything that enters within `length` from now on, either way.
    pub fn hole(&mut self, now: Instant, length: Duration) {
        self.hole_until = now.checked_add(length);
    }

    /// Loses these protocols, either way, beside those that are lost already.
    pub fn cut(&mut self, protocols: Protocols) {
        self.cut = self.cut.with(protocols);
    }

    /// Loses whatever is not TLS, by the connections that begin from now on.
    pub fn cut_plain(&mut self) {
        self.firewall.get_or_insert_default();
    }

    /// Ends all cuts, and the black hole.
    pub fn mend(&mut self) {
        self.cut = Protocols::NONE;
        self.firewall = None;
        self.hole_until = None;
    }

    /// The NAT gives every UDP flow another port.
    pub fn rebind(&mut self) {
        self.nat.rebind();
    }

    /// What the directions out and in are.
    pub fn configs(&self) -> [&Config; 2] {
        [self.out.config(), self.inward.config()]
    }

    /// What became of the packets out and in.
    pub fn counts(&self, now: Instant) -> [Counts; 2] {
        [self.out.counts(now), self.inward.counts(now)]
    }

    /// How late packets were handed out since this was last called.
    pub fn take_lateness(&mut self) -> Lateness {
        std::mem::take(&mut self.lateness)
    }
}

impl Protocols {
    /// Whether packets of this protocol are meant.
    fn has(self, protocol: Protocol) -> bool {
        match protocol {
            Protocol::Tcp => self.tcp,
            Protocol::Udp => self.udp,
            Protocol::Other => self.other,
        }
    }
}
