//! Measurements smoothed, and thresholds with a distance between on and off.

use std::time::Duration;

/// How quickly a smoothed measurement follows: to two thirds in this time.
const SMOOTHING: Duration = Duration::from_secs(2);
/// How long newcomers take until the smoothed measurement shows what they cost: a second until their media flows, and [`SMOOTHING`].
const SETTLING: Duration = Duration::from_secs(3);
/// A worker is full at its limit and has room again below this share of it, so that what one refusal saves doesn't end the refusals.
const RELIEF: f64 = 0.94;
/// Below this share of the limit it isn't worth guessing what those will cost who have just come: the few who are there say too little.
const PROJECTION: f64 = 0.25;
/// How late the control plane may do what is due, over [`SMOOTHING`]. People notice signaling that takes half a second.
const MAX_LAG: Duration = Duration::from_millis(250);

/// The part of the limit up to which a quota may be used: it is one for all threads together and for a tenth of a second, within which work is uneven.
const EVENNESS: f64 = 0.8;
/// How many of a quota's periods may end with everything stopped, over [`SMOOTHING`]. Each holds up some of the packets for some tens of milliseconds.
const MAX_THROTTLED: f64 = 0.08;

/// An exponentially weighted mean of measurements that are any time apart.
#[derive(Clone, Copy, Debug)]
struct Smoothed {
    value: f64,
    over: Duration,
}

impl Smoothed {
    fn new(over: Duration) -> Self {
        Self { value: 0.0, over }
    }

    /// What was measured over the last `passed`.
    fn update(&mut self, passed: Duration, measured: f64) {
        let kept = (-passed.as_secs_f64() / self.over.as_secs_f64()).exp();
        self.value = self.value * kept + measured * (1.0 - kept);
    }
}

/// How busy a worker is, and how many peers it may have.
#[derive(Clone, Debug)]
pub struct Busy {
    limit: f64,
    busy: Smoothed,
    /// The peers that the measurement is about.
    settled: Smoothed,
    full: bool,
}

impl Busy {
    /// An idle worker that is full when it is busy for a share of `limit` of the time.
    pub fn new(limit: f64) -> Self {
        Self { limit, busy: Smoothed::new(SMOOTHING), settled: Smoothed::new(SETTLING), full: false }
    }

    /// From now on it is full when it is busy for a share of `limit` of the time.
    pub fn set_limit(&mut self, limit: f64) {
        self.limit = limit;
    }

    /// The worker was busy for a share of `busy` of the time `passed`, and has `peers` now: how many it may have until the next update.
    pub fn update(&mut self, passed: Duration, busy: f64, peers: u32) -> u32 {
        self.busy.update(passed, busy.clamp(0.0, 1.0));
        self.settled.update(passed, f64::from(peers));
        let busy = self.busy.value;
        self.full = busy >= self.limit * if self.full { RELIEF } else { 1.0 };
        if self.full {
            0
        } else if busy < self.limit * PROJECTION {
            u32::MAX
        } else {
            // As many as cost the limit, if those who have just come cost as much each as those before.
            (self.settled.value.max(1.0) * self.limit / busy) as u32
        }
    }

    /// Whether it has no room for anybody, whoever leaves.
    pub fn is_full(&self) -> bool {
        self.full
    }

    /// The share of the time in which it is busy.
    pub fn smoothed(&self) -> f64 {
        self.busy.value
    }
}

/// How much of a quota of processor time is used.
#[derive(Clone, Debug)]
pub struct Allowance {
    used: Busy,
    throttled: Smoothed,
    stopped: bool,
}

impl Allowance {
    /// Nothing of it is used; it is used up at a share that `limit` allows workers, and a little.
    pub fn new(limit: f64) -> Self {
        Self { used: Busy::new(limit * EVENNESS), throttled: Smoothed::new(SMOOTHING), stopped: false }
    }

    /// From now on it is used up at a share that `limit` allows workers, and a little.
    pub fn set_limit(&mut self, limit: f64) {
        self.used.set_limit(limit * EVENNESS);
    }

    /// Over the time `passed` a share of `used` was used, and in a share of `throttled` of the periods it was used up: whether there is no room for newcomers.
    ///
    /// How many there are doesn't count: joining costs more than being there, so that what newcomers take now says nothing of what they will.
    pub fn update(&mut self, passed: Duration, used: f64, throttled: f64) -> bool {
        self.used.update(passed, used, 0);
        self.throttled.update(passed, throttled);
        let most = if self.stopped { MAX_THROTTLED / 2.0 } else { MAX_THROTTLED };
        self.stopped = self.used.limit.is_finite() && self.throttled.value >= most;
        self.is_used_up()
    }

    /// Whether there is no room for anybody, whoever leaves.
    pub fn is_used_up(&self) -> bool {
        self.stopped || self.used.is_full()
    }

    /// The share that is used, and that of the periods in which it was used up.
    pub fn smoothed(&self) -> (f64, f64) {
        (self.used.smoothed(), self.throttled.value)
    }
}

/// How late the control plane does what is due.
#[derive(Clone, Debug)]
pub struct Lag {
    late: Smoothed,
    high: bool,
}

impl Default for Lag {
    fn default() -> Self {
        Self { late: Smoothed::new(SMOOTHING), high: false }
    }
}

impl Lag {
    /// Something was done `late`, after a time of `passed`: whether that is too much.
    pub fn update(&mut self, passed: Duration, late: Duration) -> bool {
        self.late.update(passed, late.as_secs_f64());
        self.high = self.smoothed() >= if self.high { MAX_LAG / 2 } else { MAX_LAG };
        self.high
    }

    /// What the last update said.
    pub fn is_high(&self) -> bool {
        self.high
    }

    /// How late it is.
    pub fn smoothed(&self) -> Duration {
        Duration::from_secs_f64(self.late.value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STEP: Duration = Duration::from_millis(100);

    /// The last of the ceilings after `seconds` of the same.
    fn after(gauge: &mut Busy, seconds: f64, busy: f64, peers: u32) -> u32 {
        let steps = (seconds / STEP.as_secs_f64()).round() as usize;
        (0..steps).map(|_| gauge.update(STEP, busy, peers)).last().expect("a step at least")
    }

    #[test]
    fn a_worker_is_full_at_its_limit_and_has_room_again_only_well_below() {
        let mut gauge = Busy::new(0.85);
        assert!(after(&mut gauge, 30.0, 0.84, 100) > 100);
        assert_eq!(after(&mut gauge, 30.0, 0.86, 100), 0);
        assert_eq!(after(&mut gauge, 30.0, 0.81, 100), 0, "a little below the limit it stays full");
        assert!(after(&mut gauge, 30.0, 0.79, 100) > 100);
        assert!(after(&mut gauge, 30.0, 0.84, 100) > 100, "and has room up to the limit again");
    }

    #[test]
    fn a_moment_of_work_fills_nobody() {
        let mut gauge = Busy::new(0.85);
        after(&mut gauge, 30.0, 0.3, 50);
        assert!(after(&mut gauge, 0.5, 1.0, 50) > 50);
        assert!(!gauge.is_full());
        assert_eq!(after(&mut gauge, 5.0, 1.0, 50), 0);
    }

    #[test]
    fn who_has_just_come_counts_before_their_packets_do() {
        let mut gauge = Busy::new(0.85);
        assert!(after(&mut gauge, 30.0, 0.5, 100) >= 169);
        // Seventy come within a second; what they send is not there yet.
        let ceiling = after(&mut gauge, 1.0, 0.5, 170);
        assert!(ceiling > 170, "a third of them is taken for settled: {ceiling}");
        let ceiling = after(&mut gauge, 0.1, 0.5, 250);
        assert!(ceiling < 250, "{ceiling}");
        // They turn out to cost nothing.
        assert!(after(&mut gauge, 15.0, 0.5, 250) > 400);
    }

    #[test]
    fn who_leaves_makes_room_before_the_measurement_shows_it() {
        let mut gauge = Busy::new(0.85);
        after(&mut gauge, 30.0, 0.8, 100);
        let ceiling = after(&mut gauge, 0.1, 0.8, 50);
        assert!(ceiling > 90, "{ceiling}");
    }

    #[test]
    fn a_worker_with_little_to_do_takes_everybody() {
        let mut gauge = Busy::new(0.85);
        assert_eq!(gauge.update(STEP, 0.0, 0), u32::MAX);
        assert_eq!(after(&mut gauge, 30.0, 0.2, 2), u32::MAX);
    }

    #[test]
    fn without_a_limit_nobody_is_refused() {
        let mut gauge = Busy::new(f64::INFINITY);
        assert_eq!(after(&mut gauge, 30.0, 1.0, 10_000), u32::MAX);
    }

    #[test]
    fn a_quota_is_used_up_before_all_of_it_is_used_or_when_it_stops_everything_often() {
        let after = |allowance: &mut Allowance, seconds: u32, used: f64, throttled: f64| {
            (0..10 * seconds).map(|_| allowance.update(STEP, used, throttled)).last().expect("a step at least")
        };
        let mut allowance = Allowance::new(0.85);
        assert!(!after(&mut allowance, 30, 0.66, 0.0));
        assert!(after(&mut allowance, 30, 0.69, 0.0));
        assert!(!after(&mut allowance, 30, 0.4, 0.0));
        assert!(!after(&mut allowance, 30, 0.4, 0.05));
        assert!(after(&mut allowance, 30, 0.4, 0.1));
        assert!(allowance.is_used_up());
        assert!(after(&mut allowance, 1, 0.4, 0.0), "not at once");
        assert!(!after(&mut allowance, 5, 0.4, 0.0));
    }

    #[test]
    fn long_and_short_steps_smooth_alike() {
        let (mut short, mut long) = (Busy::new(0.85), Busy::new(0.85));
        after(&mut short, 3.0, 0.7, 10);
        long.update(Duration::from_secs(3), 0.7, 10);
        assert!((short.smoothed() - long.smoothed()).abs() < 1e-9);
    }

    #[test]
    fn a_control_plane_that_is_late_for_long_is_too_late_until_it_has_caught_up() {
        let mut lag = Lag::default();
        assert!(!lag.update(STEP, Duration::from_secs(1)), "once");
        let mut update = |late: u64, times: usize| (0..times).map(|_| lag.update(STEP, Duration::from_millis(late))).last().unwrap();
        assert!(!update(200, 100));
        assert!(update(300, 100));
        assert!(update(130, 100));
        assert!(!update(100, 100));
    }
}
