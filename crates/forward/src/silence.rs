//! Whether a participant is to be asked for another path, because nothing is heard over those there were.

use std::time::{Duration, Instant};

/// A participant of whom nothing authentic came for this long is silent. Even who sends nothing and is sent nothing checks its path, some every 2.5 s, others as
/// RFC 7675 §5.1 has it, every 5 s give or take a fifth.
const SILENCE: Duration = Duration::from_secs(7);

/// A change that the control plane is told of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    Silent,
    Heard,
}

/// When a participant was last heard, and whether the control plane knows.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Silence {
    packets: u64,
    heard: Option<Instant>,
    told: bool,
}

impl Silence {
    /// Looks again; `packets` changes with every authentic one. Who was never heard is not silent.
    pub(crate) fn look(&mut self, now: Instant, packets: u64) -> Option<Change> {
        if std::mem::replace(&mut self.packets, packets) != packets {
            self.heard = Some(now);
            return std::mem::take(&mut self.told).then_some(Change::Heard);
        }
        let silent = self.heard.is_some_and(|heard| now.saturating_duration_since(heard) >= SILENCE);
        (silent && !std::mem::replace(&mut self.told, true)).then_some(Change::Silent)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Looks every 100 ms, at as many new packets as `packets` says for each; what the control plane is told, and at which look.
    fn told(packets: impl IntoIterator<Item = u64>) -> Vec<(usize, Change)> {
        let (start, mut silence, mut sum) = (Instant::now(), Silence::default(), 0);
        let looks = packets.into_iter().enumerate();
        looks
            .filter_map(|(look, packets)| {
                sum += packets;
                silence.look(start + Duration::from_millis(100) * look as u32, sum).map(|change| (look, change))
            })
            .collect()
    }

    #[test]
    fn silence_and_its_end_are_told_once() {
        let packets = [&[1][..], &[0; 400], &[1], &[0; 10], &[3], &[0; 71]].concat();
        assert_eq!(told(packets), [(70, Change::Silent), (401, Change::Heard), (482, Change::Silent)]);
    }

    #[test]
    fn who_only_checks_now_and_then_or_was_never_heard_is_not_silent() {
        assert_eq!(told((0..1000).map(|look| u64::from(look % 60 == 0))), []);
        assert_eq!(told([0; 1000]), []);
    }
}
