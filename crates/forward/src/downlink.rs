//! The line to one subscriber: what it carries, at what pace it is used, and how much of what is wanted it has room for.

use std::time::Instant;

use switchyard_bandwidth::{Class, Config, Estimator, Full, Outcome, Pacer};
use switchyard_rtp::MediaKind;

use crate::TrackKey;
use crate::layers::{Layer, Source, Target};

/// What waits for its turn on the line.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Waiting {
    /// A published packet, kept in its encoding's history; it is numbered and sealed when it leaves.
    Media { sender: u16, source: Source, index: u64 },
    /// A packet that was sent as `sequence` under `ssrc`.
    Again { sender: u16, ssrc: u32, sequence: u16 },
}

/// How much of its target a subscription gets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Share {
    /// All of it.
    #[default]
    All,
    /// This much.
    Part(Layer),
    /// Nothing.
    Paused,
}

impl Share {
    /// What is to be sent of `target`.
    pub(crate) fn target(self, target: Target) -> Option<Target> {
        match (self, target) {
            (_, Target::Nothing) | (Share::Paused, _) => None,
            (Share::All, target) => Some(target),
            (Share::Part(layer), _) => Some(Target::Layer(layer)),
        }
    }
}

/// Estimates dip for less than so many allocations.
const DIP: usize = 6;

/// What was said of a subscription.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Told {
    pub(crate) at: Instant,
    pub(crate) track: TrackKey,
    pub(crate) outcome: Outcome,
    pub(crate) size: (u16, u16),
}

/// The line to one subscriber.
///
/// Until its estimate means something everything is sent as it comes, as it is to those who report no arrivals.
#[derive(Debug)]
pub(crate) struct Downlink {
    pub(crate) estimator: Estimator,
    pub(crate) pacer: Pacer<Waiting>,
    /// Whether the forwarder knows that something waits.
    pub(crate) listed: bool,
    /// When what is wanted was last held against the estimate.
    pub(crate) allocated: Option<Instant>,
    /// The estimates at the last allocations.
    estimates: [u64; DIP],
    /// Bits a second that everything takes that is wanted, and something to spare.
    wanted: u64,
    /// What was said last of what each sender carries.
    pub(crate) told: Vec<Option<Told>>,
    /// How many allocations in a row had room for a larger encoding than each sender carries.
    rising: Vec<u8>,
}

impl Downlink {
    pub(crate) fn new(now: Instant) -> Self {
        let estimator = Estimator::new(now, Config::default());
        Self {
            pacer: Pacer::new(now, estimator.pace()),
            estimator,
            listed: false,
            allocated: None,
            estimates: [0; DIP],
            wanted: u64::MAX,
            told: Vec::new(),
            rising: Vec::new(),
        }
    }

    /// The highest of the last estimates, of which this is another.
    pub(crate) fn lately(&mut self, estimate: u64) -> u64 {
        self.estimates.rotate_left(1);
        self.estimates[DIP - 1] = estimate;
        self.estimates.into_iter().max().unwrap_or(0)
    }

    /// Whether there is room for a larger encoding than a sender carries; how many times in a row there was.
    pub(crate) fn rising(&mut self, place: usize, is_rising: bool) -> u8 {
        if self.rising.len() <= place {
            self.rising.resize(place + 1, 0);
        }
        self.rising[place] = if is_rising { self.rising[place].saturating_add(1) } else { 0 };
        self.rising[place]
    }

    /// How many bits a second there is use for.
    pub(crate) fn set_wanted(&mut self, now: Instant, bits: u64) {
        self.wanted = bits;
        self.estimator.set_wanted(now, bits);
        self.follow_estimate();
    }

    /// The estimate may be another.
    pub(crate) fn follow_estimate(&mut self) {
        let (estimate, pace) = (self.estimator.estimate(), self.estimator.pace());
        self.pacer.set_rate(pace);
        // With a pace of the estimate a queue is to become empty.
        self.pacer.set_room(estimate >= self.wanted && pace > estimate);
    }

    /// Whether what comes now may leave at once.
    pub(crate) fn is_open(&mut self, now: Instant, kind: MediaKind) -> bool {
        let class = if kind == MediaKind::Audio { Class::Audio } else { Class::Video };
        !self.estimator.is_settled() || self.pacer.is_open(now, class)
    }

    /// Has a packet wait.
    pub(crate) fn wait(&mut self, size: usize, waiting: Waiting) -> Result<(), Full> {
        let class = if matches!(waiting, Waiting::Again { .. }) { Class::Retransmission } else { Class::Video };
        self.pacer.push(class, size, waiting)
    }

    /// What waits of a sender's is not to be sent any more.
    pub(crate) fn forget(&mut self, of: u16) {
        self.pacer.retain(|waiting| !matches!(waiting, Waiting::Media { sender, .. } | Waiting::Again { sender, .. } if *sender == of));
    }

    /// The line was interrupted, or is another: what waits is out of date, and the delays so far say nothing.
    pub(crate) fn begin_anew(&mut self, now: Instant) {
        self.pacer.retain(|_| false);
        self.estimator.handle_path_change(now);
        self.follow_estimate();
    }

    /// The transport-wide sequence number of the next packet.
    pub(crate) fn number(&self) -> u16 {
        self.estimator.sequence()
    }

    /// A datagram of `len` bytes was sent under [`Downlink::number`].
    pub(crate) fn sent(&mut self, now: Instant, len: usize) {
        // Of a line of which nothing is said nothing is asked either: no probe, no pace.
        if !self.estimator.has_reports() {
            return self.estimator.sent(now, len, None);
        }
        let cluster = self.pacer.cluster();
        self.estimator.sent(now, len, cluster);
        self.pacer.sent(now, len);
    }

    /// When something that waits may leave.
    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        if self.estimator.has_reports() { self.pacer.poll_timeout() } else { None }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn more_leaves_at_once_while_the_line_has_room_for_more_than_everything() {
        let start = Instant::now();
        let mut downlink = Downlink::new(start);
        // What is wanted and what the line carries, second by second, and how many packets of 1,200 bytes leave at once then.
        for (second, wanted, estimate, packets) in
            [(1, 3_200_001, 3_200_000, 3), (2, 3_200_000, 3_200_000, 15), (3, 9_000_000, 3_200_000, 3), (4, 8_000_000, 8_000_000, 38)]
        {
            let now = start + Duration::from_secs(second);
            downlink.set_wanted(now, wanted);
            downlink.estimator.handle_remb(estimate);
            downlink.follow_estimate();
            let mut left = 0;
            while downlink.is_open(now, MediaKind::Video) {
                downlink.sent(now, 1_172);
                left += 1;
            }
            assert_eq!(left, packets, "{wanted} of {estimate}");
        }
    }
}
