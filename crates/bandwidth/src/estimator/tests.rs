use super::*;

const MS: Duration = Duration::from_millis(1);

/// A line without queue that delivers after 20 ms, every packet reported at once.
struct Line {
    now: Instant,
    estimator: Estimator,
    /// What is taken of every packet's delay after the first second.
    arrivals: i64,
}

impl Line {
    fn new() -> Self {
        let now = Instant::now();
        Self { now, estimator: Estimator::new(now, Config::default()), arrivals: 0x7fff_0000 }
    }

    /// Sends 1,172 bytes every 10 ms, `times` times: 960 kbit/s with headers; `arrives` says which.
    fn send(&mut self, times: u32, arrives: impl Fn(u32) -> bool) {
        for time in 0..times {
            let sequence = self.estimator.sequence();
            self.estimator.sent(self.now, 1_172, None);
            self.now += 10 * MS;
            self.arrivals += 40;
            let wrapped = i64::from(self.arrivals as i32);
            self.estimator.handle_feedback(self.now, [(sequence, arrives(time).then_some(wrapped))]);
        }
    }
}

#[test]
fn the_estimate_grows_no_further_than_what_is_sent_shows() {
    let mut line = Line::new();
    line.send(3_000, |_| true);
    let estimate = line.estimator.estimate();
    assert!((960_000..=1_380_000).contains(&estimate), "{estimate}");
}

#[test]
fn an_outage_is_no_congestion() {
    let mut line = Line::new();
    line.send(1_000, |_| true);
    let before = line.estimator.estimate();
    // The whole outage is reported with the first packet after it.
    let first = line.estimator.sequence();
    for _ in 0..100 {
        line.estimator.sent(line.now, 1_172, None);
        line.now += 10 * MS;
        line.arrivals += 40;
    }
    let last = line.estimator.sequence();
    line.estimator.sent(line.now, 1_172, None);
    line.arrivals += 4_000;
    let arrived = Some(i64::from(line.arrivals as i32));
    let lost = (0..100).map(|packet| (first.wrapping_add(packet), None));
    line.estimator.handle_feedback(line.now, lost.chain([(last, arrived)]));
    line.send(200, |_| true);
    assert!(line.estimator.estimate() >= before, "{} after {before}", line.estimator.estimate());
    assert_eq!(line.estimator.figures().loss, 0.0);
}

#[test]
fn remb_counts_until_there_is_feedback() {
    let mut line = Line::new();
    line.estimator.handle_remb(1_234_567);
    assert_eq!(line.estimator.estimate(), 1_234_567);
    line.estimator.handle_remb(1);
    assert_eq!(line.estimator.estimate(), Config::default().least);
    line.send(1, |_| true);
    line.estimator.handle_remb(5_000_000);
    assert!(line.estimator.estimate() < 1_000_000);
}

#[test]
fn nothing_is_probed_that_nobody_wants() {
    let mut line = Line::new();
    assert_eq!(line.estimator.poll_probe(line.now), None, "the subscriber may send no feedback");
    line.send(1, |_| true);
    line.estimator.set_wanted(line.now, 200_000);
    assert_eq!(line.estimator.poll_probe(line.now), None);
    line.estimator.set_wanted(line.now, 600_000);
    let probe = line.estimator.poll_probe(line.now).expect("more is wanted than the estimate");
    assert_eq!(probe.rate, 690_000);
    assert_eq!(line.estimator.poll_probe(line.now), None, "one at a time");
}

#[test]
fn malicious_feedback_is_harmless() {
    let mut line = Line::new();
    line.send(10, |_| true);
    for ticks in [i64::MIN, i64::MAX, 0, -1, 1 << 31] {
        line.estimator.handle_feedback(line.now, (0..=u16::MAX).map(|sequence| (sequence, Some(ticks))));
        line.estimator.sent(line.now, usize::MAX, None);
        line.send(10, |_| true);
        let estimate = line.estimator.estimate();
        assert!((Config::default().least..=Config::default().most).contains(&estimate));
    }
}

#[test]
fn a_queue_that_empties_when_less_is_sent_is_ours_and_one_that_does_not_is_not() {
    let trip = 50_000;
    for (ours, expected) in [(true, true), (false, false)] {
        let mut doubt = Doubt { due: DOUBT_AFTER, ..Doubt::default() };
        let mut queue: f64 = 200.0;
        let found = (0..60_000_000).step_by(50_000).find(|&now| {
            // In a tenth of a second 30 ms less, or more.
            queue = if ours && doubt.ends.is_some() { queue - 15.0 } else { queue + 15.0 }.clamp(0.0, 200.0);
            doubt.look(now, queue, trip)
        });
        assert_eq!(found.is_some(), expected, "{found:?}");
        assert!(found.is_none_or(|at| at < 6_000_000), "{found:?}");
    }
}
