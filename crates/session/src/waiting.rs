//! What waits to be sent on one channel.

use std::collections::VecDeque;

use bytes::Bytes;
use rtc_sctp::PayloadProtocolIdentifier;

/// What a message costs beside its bytes: its place here, and `rtc-sctp`'s for each piece.
pub(crate) const OVERHEAD: usize = 256;

/// Bytes, with [`OVERHEAD`], that are given to `rtc-sctp` at a time on a reliable channel: 100 ms of 20 Mbit/s. The rest waits here, where a message that goes to many is
/// one copy for all of them.
const IN_FLIGHT: usize = 256 << 10;

/// The same on an unreliable channel, and what may wait behind it: what waits longer is out of date when it arrives.
const FLEETING: usize = 16 << 10;

/// A message to be sent.
#[derive(Clone, Debug)]
pub(crate) struct Outgoing {
    pub(crate) text: bool,
    pub(crate) bytes: Bytes,
}

impl Outgoing {
    pub(crate) fn cost(&self) -> usize {
        self.bytes.len() + OVERHEAD
    }

    /// What goes on the line: an empty message becomes one zero byte under an identifier of its own (RFC 8831 §6.6).
    pub(crate) fn wire(&self) -> (PayloadProtocolIdentifier, Bytes) {
        match (self.text, self.bytes.is_empty()) {
            (true, false) => (PayloadProtocolIdentifier::String, self.bytes.clone()),
            (false, false) => (PayloadProtocolIdentifier::Binary, self.bytes.clone()),
            (true, true) => (PayloadProtocolIdentifier::StringEmpty, Bytes::from_static(&[0])),
            (false, true) => (PayloadProtocolIdentifier::BinaryEmpty, Bytes::from_static(&[0])),
        }
    }
}

/// The messages of one channel, in order: those that wait, and those that `rtc-sctp` has.
#[derive(Debug, Default)]
pub(crate) struct Waiting {
    queue: VecDeque<Outgoing>,
    queued: usize,
    /// Bytes of those given to `rtc-sctp` that were not all released.
    given: VecDeque<usize>,
    /// Their cost.
    in_flight: usize,
    /// Bytes released of the first of them.
    released: usize,
}

impl Waiting {
    /// What all of it costs.
    pub(crate) fn cost(&self) -> usize {
        self.queued + self.in_flight
    }

    pub(crate) fn push(&mut self, message: Outgoing) {
        self.queued += message.cost();
        self.queue.push_back(message);
    }

    /// Puts a message that may be lost behind the others, at the cost of the oldest of them.
    pub(crate) fn push_fleeting(&mut self, message: Outgoing) {
        self.push(message);
        while self.queued > FLEETING && self.queue.len() > 1 {
            self.queued -= self.queue.pop_front().map_or(0, |oldest| oldest.cost());
        }
    }

    /// The next message that `rtc-sctp` may have now.
    pub(crate) fn pop(&mut self, is_reliable: bool) -> Option<Outgoing> {
        let room = if is_reliable { IN_FLIGHT } else { FLEETING };
        let cost = self.queue.front()?.cost();
        if self.in_flight > 0 && self.in_flight + cost > room {
            return None;
        }
        let message = self.queue.pop_front()?;
        self.queued -= cost;
        // An empty message is one byte on the line.
        self.given.push_back(message.bytes.len().max(1));
        self.in_flight += cost;
        Some(message)
    }

    /// `rtc-sctp` has done with so many bytes. Which ones it doesn't say: on the whole the oldest.
    pub(crate) fn release(&mut self, bytes: usize) {
        self.released += bytes;
        while let Some(&first) = self.given.front()
            && first <= self.released
        {
            self.released -= first;
            self.given.pop_front();
            self.in_flight = self.in_flight.saturating_sub(first + OVERHEAD);
        }
        if self.given.is_empty() {
            // What was counted differently: the announcement of the channel itself, empty messages.
            (self.in_flight, self.released) = (0, 0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(len: usize) -> Outgoing {
        Outgoing { text: false, bytes: vec![len as u8; len].into() }
    }

    #[test]
    fn a_bounded_number_of_bytes_and_messages_is_in_flight() {
        for len in [0, 1, 100, 10_000] {
            let mut waiting = Waiting::default();
            (0..2_000).for_each(|_| waiting.push(message(len)));
            let all = waiting.cost();
            let given = std::iter::from_fn(|| waiting.pop(true)).count();
            assert_eq!(given, (IN_FLIGHT / (len + OVERHEAD)).min(2_000));
            assert_eq!(waiting.cost(), all, "what is in flight still costs");
            waiting.release(len.max(1) * given);
            assert_eq!(waiting.cost(), all - given * (len + OVERHEAD));
            assert!(waiting.pop(true).is_some() || given == 2_000);
        }
    }

    #[test]
    fn a_message_larger_than_the_room_leaves_alone() {
        let mut waiting = Waiting::default();
        waiting.push(message(1));
        waiting.push(message(IN_FLIGHT));
        assert!(waiting.pop(true).is_some());
        assert!(waiting.pop(true).is_none());
        waiting.release(1);
        assert!(waiting.pop(true).is_some());
    }

    #[test]
    fn of_fleeting_messages_the_latest_wait() {
        let mut waiting = Waiting::default();
        for number in 0..1_000 {
            waiting.push_fleeting(message(number % 256));
        }
        let cost = waiting.cost();
        assert!(cost <= FLEETING && cost > FLEETING / 2, "{cost}");
        let left: Vec<_> = waiting.queue.iter().map(|message| message.bytes.len()).collect();
        assert_eq!(left.last(), Some(&(999 % 256)));
        waiting.push_fleeting(message(60_000));
        assert_eq!(waiting.queue.len(), 1, "the newest waits, however large");
    }
}
