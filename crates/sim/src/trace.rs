//! What is measured of a flow.

use std::time::Duration;

use crate::network::SAMPLE;

/// Bytes of IPv4 and UDP headers, as the line counts them.
const OVERHEAD: u64 = 28;

/// Samples of a flow, ten a second.
#[derive(Clone, Debug, Default)]
pub struct Trace {
    estimates: Vec<u64>,
    /// Bytes that were sent and that arrived in each tenth of a second.
    sent: Vec<u64>,
    arrived: Vec<u64>,
    sending: u64,
    arriving: u64,
    /// How long each packet waited in front of the line, with the sample in which it came.
    queues: Vec<(u32, Duration)>,
    dropped: u64,
}

impl Trace {
    pub(crate) fn arrived(&mut self, size: usize) {
        self.arriving += size as u64 + OVERHEAD;
    }

    pub(crate) fn sent(&mut self, size: usize, queue: Duration, dropped: bool) {
        self.sending += size as u64 + OVERHEAD;
        self.dropped += u64::from(dropped);
        self.queues.push((self.estimates.len() as u32, queue));
    }

    pub(crate) fn sample(&mut self, estimate: u64) {
        self.estimates.push(estimate);
        self.sent.push(std::mem::take(&mut self.sending));
        self.arrived.push(std::mem::take(&mut self.arriving));
    }

    /// The mean estimate between two times, in bits a second.
    pub fn estimate(&self, from: f64, until: f64) -> f64 {
        mean(&self.estimates[range(from, until)])
    }

    /// The estimates of each tenth of a second between two times.
    pub fn estimates(&self, from: f64, until: f64) -> &[u64] {
        &self.estimates[range(from, until)]
    }

    /// Bits in a second that were sent between two times.
    pub fn sent_rate(&self, from: f64, until: f64) -> f64 {
        mean(&self.sent[range(from, until)]) * 80.0
    }

    /// Bits in a second that arrived between two times.
    pub fn rate(&self, from: f64, until: f64) -> f64 {
        mean(&self.arrived[range(from, until)]) * 80.0
    }

    /// How long packets waited in front of the line between two times: so many in a hundred no longer than this.
    pub fn queue(&self, from: f64, until: f64, percent: usize) -> Duration {
        let samples = range(from, until);
        let mut queues: Vec<Duration> =
            self.queues.iter().filter(|(sample, _)| samples.contains(&(*sample as usize))).map(|(_, queue)| *queue).collect();
        queues.sort_unstable();
        queues.get(queues.len() * percent / 100).copied().unwrap_or_default()
    }

    /// Packets that the line lost.
    pub const fn dropped(&self) -> u64 {
        self.dropped
    }
}

fn range(from: f64, until: f64) -> std::ops::Range<usize> {
    let place = |seconds: f64| (seconds / SAMPLE.as_secs_f64()).round() as usize;
    place(from)..place(until)
}

fn mean(values: &[u64]) -> f64 {
    values.iter().sum::<u64>() as f64 / values.len().max(1) as f64
}
