//! Counting of numbered packets: received, lost, duplicated, reordered; and how long they took.

/// How far behind the highest number a packet may be and still be told apart from a duplicate: four seconds of 250 packets.
const WINDOW: u64 = 1024;

/// What became of the packets of one numbered stream.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// The lowest number received.
    pub first: u64,
    /// The highest number received.
    pub last: u64,
    /// Packets received once or more.
    pub received: u64,
    /// Packets received again.
    pub duplicated: u64,
    /// Packets received after one with a higher number.
    pub reordered: u64,
    /// Packets too far behind to be told apart from duplicates; in none of the other numbers.
    pub stale: u64,
    /// One bit for each of the last [`WINDOW`] numbers, by number modulo [`WINDOW`].
    seen: Vec<u64>,
}

impl Progress {
    /// Counts the packet with this number.
    pub fn record(&mut self, number: u64) {
        if self.received == 0 {
            self.seen = vec![0; (WINDOW / 64) as usize];
            (self.first, self.last) = (number, number);
        } else if number > self.last {
            for skipped in self.last.saturating_add(1).max(number.saturating_sub(WINDOW - 1))..number {
                self.mark(skipped, false);
            }
            self.last = number;
        } else if number + WINDOW <= self.last {
            self.stale += 1;
            return;
        } else if number >= self.first && self.has(number) {
            self.duplicated += 1;
            return;
        } else {
            self.reordered += 1;
            self.first = self.first.min(number);
        }
        self.mark(number, true);
        self.received += 1;
    }

    /// Numbers between the first and the last that never came.
    pub fn lost(&self) -> u64 {
        if self.received == 0 { 0 } else { self.last - self.first + 1 - self.received }
    }

    /// Whether every packet from the first to the last came once and in order.
    pub fn is_clean(&self) -> bool {
        self.lost() == 0 && self.duplicated == 0 && self.reordered == 0 && self.stale == 0
    }

    fn has(&self, number: u64) -> bool {
        self.seen[(number % WINDOW / 64) as usize] & 1 << (number % 64) != 0
    }

    fn mark(&mut self, number: u64, seen: bool) {
        let word = &mut self.seen[(number % WINDOW / 64) as usize];
        if seen {
            *word |= 1 << (number % 64);
        } else {
            *word &= !(1 << (number % 64));
        }
    }
}

/// Sequence numbers of 16 bits as numbers that go on counting (RFC 3711 §3.3.1's index, without the cipher).
#[derive(Clone, Debug, Default)]
pub(crate) struct Unwrapper {
    last: Option<u64>,
}

impl Unwrapper {
    /// The number nearest to the last one whose low 16 bits are `sequence`. Starts at 65,536 so that what was overtaken by the
    /// first packet has a number too.
    pub(crate) fn unwrap(&mut self, sequence: u16) -> u64 {
        let last = self.last.unwrap_or(0x1_0000 | u64::from(sequence));
        let ahead = sequence.wrapping_sub(last as u16) as i16;
        let number = last.saturating_add_signed(i64::from(ahead));
        self.last = Some(number.max(last));
        number
    }
}

/// Buckets to an octave, as a power of two.
const SUBDIVISION: u32 = 2;

/// A histogram of durations with four buckets to an octave: a percentile is at most 25 % too high.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Latency {
    /// How many were measured.
    pub count: u64,
    /// Their sum, in microseconds.
    pub sum_micros: u64,
    /// The largest, in microseconds.
    pub max_micros: u64,
    buckets: Vec<u32>,
}

impl Default for Latency {
    fn default() -> Self {
        // One bucket for each value that 64 bits and two bits of subdivision can tell apart.
        Self { count: 0, sum_micros: 0, max_micros: 0, buckets: vec![0; 64 << SUBDIVISION] }
    }
}

impl Latency {
    pub(crate) fn record(&mut self, micros: u64) {
        self.count += 1;
        self.sum_micros += micros;
        self.max_micros = self.max_micros.max(micros);
        self.buckets[Self::bucket(micros)] += 1;
    }

    /// Adds what another histogram holds.
    pub fn merge(&mut self, other: &Latency) {
        self.count += other.count;
        self.sum_micros += other.sum_micros;
        self.max_micros = self.max_micros.max(other.max_micros);
        for (mine, theirs) in self.buckets.iter_mut().zip(&other.buckets) {
            *mine += theirs;
        }
    }

    /// The smallest bucket bound, in microseconds, that `share` (0 to 1) of the durations don't exceed.
    pub fn percentile_micros(&self, share: f64) -> u64 {
        let wanted = (self.count as f64 * share).ceil() as u64;
        let mut counted = 0;
        for (bucket, count) in self.buckets.iter().enumerate() {
            counted += u64::from(*count);
            if counted >= wanted && counted > 0 {
                return Self::upper_bound(bucket).min(self.max_micros);
            }
        }
        0
    }

    fn bucket(micros: u64) -> usize {
        if micros < 1 << SUBDIVISION {
            return micros as usize;
        }
        let octave = 63 - micros.leading_zeros();
        let within = micros >> (octave - SUBDIVISION) & ((1 << SUBDIVISION) - 1);
        (((octave - SUBDIVISION + 1) << SUBDIVISION) as u64 + within) as usize
    }

    fn upper_bound(bucket: usize) -> u64 {
        let bucket = bucket as u64;
        if bucket < 1 << SUBDIVISION {
            return bucket;
        }
        let shift = (bucket >> SUBDIVISION) - 1;
        let within = bucket & ((1 << SUBDIVISION) - 1);
        ((((1 << SUBDIVISION) + within + 1) as u128) << shift).saturating_sub(1).min(u128::from(u64::MAX)) as u64
    }
}

#[cfg(test)]
mod tests;
