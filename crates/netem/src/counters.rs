//! What became of the packets.

use std::ops::AddAssign;

/// Why a packet never came out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Drop {
    /// The line was a black hole when the packet entered it.
    BlackHole,
    /// The queue in front of the transmitter was full.
    QueueFull,
    /// The line held as many packets as it may at all ([`Config::limit`](crate::Config::limit)).
    LineFull,
    /// Lost in a burst.
    BurstLoss,
    /// Lost by itself.
    Loss,
}

impl Drop {
    /// Every reason.
    pub const ALL: [Self; 5] = [Self::BlackHole, Self::QueueFull, Self::LineFull, Self::BurstLoss, Self::Loss];

    /// A short name in lower case, for reports.
    pub const fn label(self) -> &'static str {
        match self {
            Self::BlackHole => "black_hole",
            Self::QueueFull => "queue_full",
            Self::LineFull => "line_full",
            Self::BurstLoss => "burst_loss",
            Self::Loss => "loss",
        }
    }
}

/// Counts since the line was made. At any time `pushed + duplicated = delivered + all drops + what is on the way`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Packets that were to be sent.
    pub pushed: u64,
    /// Packets that came out, duplicates included.
    pub delivered: u64,
    /// Copies the line made.
    pub duplicated: u64,
    /// Packets that came out behind one that had entered after them.
    pub reordered: u64,
    dropped: [u64; Drop::ALL.len()],
}

impl Counters {
    /// Packets lost for one reason.
    pub const fn dropped(&self, reason: Drop) -> u64 {
        self.dropped[reason as usize]
    }

    /// Packets lost for any reason.
    pub fn total_dropped(&self) -> u64 {
        self.dropped.iter().sum()
    }

    pub(crate) const fn count(&mut self, reason: Drop) {
        self.dropped[reason as usize] += 1;
    }
}

impl AddAssign for Counters {
    fn add_assign(&mut self, other: Self) {
        self.pushed += other.pushed;
        self.delivered += other.delivered;
        self.duplicated += other.duplicated;
        self.reordered += other.reordered;
        for (mine, theirs) in self.dropped.iter_mut().zip(other.dropped) {
            *mine += theirs;
        }
    }
}
