//! Whether the delay grows: the trendline filter with an adaptive threshold (Carlucci et al., "Congestion Control for Web Real-Time
//! Communication", 2017; draft-ietf-rmcat-gcc-02 §5).

/// What the delay's trend says of the line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Usage {
    /// The queue in front of the line empties.
    Under,
    /// The queue stays.
    Normal,
    /// The queue grows: more is sent than the line carries.
    Over,
}

/// Packets sent within this time are one group, in microseconds: a pacing quantum.
const GROUP: i64 = 5_000;
/// A group that arrives later than this after its first packet is closed, whatever came in bursts.
const MAX_BURST: i64 = 100_000;
/// Groups in the regression.
const WINDOW: usize = 20;
/// What is left of the smoothed delay when a new one comes.
const SMOOTHING: f64 = 0.9;
/// The trend is multiplied by this and by the number of groups, up to [`MAX_GROUPS`], before it is compared.
const GAIN: f64 = 4.0;
const MAX_GROUPS: u32 = 60;
/// The trend has to be above the threshold for this many milliseconds.
const OVERUSE_TIME: f64 = 10.0;
/// How quickly the threshold follows a trend above it, and one below it, in a millisecond. The first is slow, so that a queue which another flow fills is
/// noticed and not followed for ever; the second quick, so that the next is noticed early.
const UP: f64 = 0.0087;
const DOWN: f64 = 0.039;
/// Beyond this distance from the threshold a trend is a spike and moves nothing.
const SPIKE: f64 = 15.0;
const THRESHOLD: std::ops::RangeInclusive<f64> = 6.0..=600.0;

#[derive(Clone, Copy, Debug)]
struct Group {
    first_sent: i64,
    last_sent: i64,
    first_arrived: i64,
    last_arrived: i64,
}

/// The trend of the delay between groups of packets.
#[derive(Debug)]
pub(crate) struct Trend {
    current: Option<Group>,
    previous: Option<Group>,
    /// (arrival, smoothed delay), both in milliseconds; a ring.
    points: [(f64, f64); WINDOW],
    groups: u32,
    origin: i64,
    delay: f64,
    smoothed: f64,
    threshold: f64,
    slope: f64,
    /// How long the trend has been above the threshold, and in how many groups.
    over_for: f64,
    over_count: u32,
    updated: Option<f64>,
    usage: Usage,
}

impl Default for Trend {
    fn default() -> Self {
        Self {
            current: None,
            previous: None,
            points: [(0.0, 0.0); WINDOW],
            groups: 0,
            origin: 0,
            delay: 0.0,
            smoothed: 0.0,
            threshold: 12.5,
            slope: 0.0,
            over_for: 0.0,
            over_count: 0,
            updated: None,
            usage: Usage::Normal,
        }
    }
}

impl Trend {
    /// A packet has arrived; times in microseconds, each on its own clock, in the order of sending.
    pub(crate) fn add(&mut self, sent: i64, arrived: i64) {
        let Some(group) = &mut self.current else {
            self.current = Some(Group { first_sent: sent, last_sent: sent, first_arrived: arrived, last_arrived: arrived });
            return;
        };
        if sent < group.first_sent {
            return;
        }
        // What queued up on a radio link arrives at once: the delay of the last tells what there is to tell.
        let burst = arrived - group.last_arrived <= GROUP
            && arrived - group.last_arrived < sent - group.last_sent
            && arrived - group.first_arrived < MAX_BURST;
        if sent - group.first_sent <= GROUP || burst {
            group.last_sent = group.last_sent.max(sent);
            group.last_arrived = group.last_arrived.max(arrived);
            return;
        }
        let done = *group;
        *group = Group { first_sent: sent, last_sent: sent, first_arrived: arrived, last_arrived: arrived };
        if let Some(previous) = self.previous.replace(done) {
            self.compare(&previous, &done);
        }
    }

    fn compare(&mut self, previous: &Group, group: &Group) {
        let sent = (group.last_sent - previous.last_sent) as f64 / 1e3;
        let arrived = (group.last_arrived - previous.last_arrived) as f64 / 1e3;
        if arrived < 0.0 {
            return;
        }
        if self.groups == 0 {
            self.origin = previous.last_arrived;
        }
        self.delay += arrived - sent;
        self.smoothed = SMOOTHING * self.smoothed + (1.0 - SMOOTHING) * self.delay;
        let at = (group.last_arrived - self.origin) as f64 / 1e3;
        self.points[self.groups as usize % WINDOW] = (at, self.smoothed);
        self.groups = self.groups.saturating_add(1);
        let before = self.slope;
        if self.groups as usize >= WINDOW {
            self.slope = self.regression().unwrap_or(before);
        }
        self.detect(at, sent, before);
    }

    /// The least-squares slope of the delay over time; nothing if all came at once.
    fn regression(&self) -> Option<f64> {
        let count = WINDOW as f64;
        let (x, y) = self.points.iter().fold((0.0, 0.0), |(x, y), point| (x + point.0, y + point.1));
        let (x, y) = (x / count, y / count);
        let (above, below) = self
            .points
            .iter()
            .fold((0.0, 0.0), |(above, below), point| (above + (point.0 - x) * (point.1 - y), below + (point.0 - x) * (point.0 - x)));
        (below > 0.0).then(|| above / below)
    }

    fn detect(&mut self, at: f64, sent: f64, before: f64) {
        let trend = f64::from(self.groups.min(MAX_GROUPS)) * self.slope * GAIN;
        if trend > self.threshold {
            self.over_for += if self.over_count == 0 { sent / 2.0 } else { sent };
            self.over_count += 1;
            if self.over_for > OVERUSE_TIME && self.over_count > 1 && self.slope >= before {
                (self.over_for, self.over_count) = (0.0, 0);
                self.usage = Usage::Over;
            }
        } else {
            (self.over_for, self.over_count) = (0.0, 0);
            self.usage = if trend < -self.threshold { Usage::Under } else { Usage::Normal };
        }
        let elapsed = self.updated.replace(at).map_or(0.0, |updated| (at - updated).clamp(0.0, 100.0));
        let size = trend.abs();
        if size <= self.threshold + SPIKE {
            let follow = if size < self.threshold { DOWN } else { UP };
            self.threshold = (self.threshold + follow * (size - self.threshold) * elapsed).clamp(*THRESHOLD.start(), *THRESHOLD.end());
        }
    }

    /// What the trend says; overuse is said once each time it is found.
    pub(crate) fn take_usage(&mut self) -> Usage {
        let usage = self.usage;
        if usage == Usage::Over {
            self.usage = Usage::Normal;
        }
        usage
    }

    /// Forgets the delays so far: the path is another.
    pub(crate) fn reset(&mut self) {
        *self = Self { threshold: self.threshold, ..Self::default() };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 100 groups 10 ms apart, each `growth` microseconds later than the one before, behind 100 steady ones.
    fn usage_at(growth: i64) -> Usage {
        let mut trend = Trend::default();
        let (mut delay, mut seen) = (500_000, Usage::Normal);
        for group in 0..200 {
            delay += if group < 100 { 0 } else { growth };
            trend.add(group * 10_000, group * 10_000 + delay);
            let usage = trend.take_usage();
            seen = if usage == Usage::Normal { seen } else { usage };
        }
        seen
    }

    #[test]
    fn a_growing_queue_is_overuse_and_an_emptying_one_underuse() {
        assert_eq!(usage_at(1_000), Usage::Over, "a tenth more than the line carries");
        assert_eq!(usage_at(400), Usage::Over, "a twenty-fifth more");
        assert_eq!(usage_at(0), Usage::Normal);
        assert_eq!(usage_at(20), Usage::Normal, "clocks that differ, by far more than they do");
        assert_eq!(usage_at(-1_000), Usage::Under);
    }

    #[test]
    fn jitter_around_a_steady_delay_is_normal() {
        let mut trend = Trend::default();
        for group in 0..2_000i64 {
            let jitter = group * 7_919 % 5 * 1_000;
            trend.add(group * 10_000, group * 10_000 + jitter);
            assert_ne!(trend.take_usage(), Usage::Over, "group {group}");
        }
    }
}
