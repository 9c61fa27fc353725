//! How good a participant's connection is, from what both ends report (RFC 3550 §6.4): a grade that holds, and the figures it comes from.
//!
//! *Good*: less than 3 % of the packets are lost, the round trip is below 250 ms and the jitter below 30 ms. *Poor*: 10 % or more, 600 ms or more, or 100 ms or
//! more, or a picture that is shown is not sent at all. *Fair*: in between, or less of a picture is sent than is shown. Loss is that of the worse direction, before
//! anything is sent again, smoothed over some seconds.

use std::time::Duration;

use crate::{Figures, Grade};

/// Loss is smoothed over so many seconds: one lost of 50 packets of a voice is no bad line.
const SMOOTHING: u32 = 4;
/// A worse grade holds after so many seconds, a better one after so many.
const WORSE_AFTER: u8 = 2;
const BETTER_AFTER: u8 = 5;
/// Less of a picture than is shown counts after so many seconds: at first, and after each change, an estimate takes some to get there.
const LACKING_AFTER: u8 = 5;
/// From here on it is fair, and from here on poor: 256ths of the packets, the round trip, the jitter.
const FAIR: Limits = (8, Duration::from_millis(250), Duration::from_millis(30));
const POOR: Limits = (26, Duration::from_millis(600), Duration::from_millis(100));

type Limits = (u32, Duration, Duration);

/// One participant's connection, in both directions.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Quality {
    /// The worst stream of this second, in 256ths: from the participant, to the participant.
    lost: [Option<u8>; 2],
    jitter: Duration,
    /// Smoothed, 4096ths.
    loss: [u32; 2],
    grade: Grade,
    /// What it came from.
    figures: Figures,
    /// For how many seconds another grade has been there.
    other: u8,
    /// For how many seconds the line has left less than what is shown.
    lacking: u8,
}

impl Quality {
    /// What the server reports on one of the participant's streams.
    pub(crate) fn sent(&mut self, fraction_lost: u8, jitter: Duration) {
        self.note(0, fraction_lost, jitter);
    }

    /// What the participant reports on one of the server's.
    pub(crate) fn received(&mut self, fraction_lost: u8, jitter: Duration) {
        self.note(1, fraction_lost, jitter);
    }

    fn note(&mut self, way: usize, fraction_lost: u8, jitter: Duration) {
        self.lost[way] = self.lost[way].max(Some(fraction_lost));
        self.jitter = self.jitter.max(jitter);
    }

    /// Looks once a second. `pictures`: good if all is sent that is shown, fair if less, poor if nothing of one. What there is to tell, if the grade is another.
    pub(crate) fn look(&mut self, round_trip: Option<Duration>, pictures: Grade) -> Option<(Grade, Figures)> {
        for (loss, lost) in self.loss.iter_mut().zip(&mut self.lost) {
            // Nothing reported: nothing sent, or all of the reports lost; the round trip and silence tell that.
            let Some(lost) = lost.take() else { continue };
            *loss = (*loss * (SMOOTHING - 1) + u32::from(lost) * 16) / SMOOTHING;
        }
        let jitter = std::mem::take(&mut self.jitter);
        let round_trip = round_trip.unwrap_or_default();
        let loss = self.loss[0].max(self.loss[1]);
        let over = |(lost, trip, shake): Limits| loss >= lost * 16 || round_trip >= trip || jitter >= shake;
        self.lacking = if pictures == Grade::Good { 0 } else { self.lacking.saturating_add(1) };
        let pictures = if self.lacking >= LACKING_AFTER { pictures } else { Grade::Good };
        let grade = if over(POOR) {
            Grade::Poor
        } else if over(FAIR) {
            Grade::Fair
        } else {
            Grade::Good
        };
        let grade = grade.max(pictures);
        let needed = match grade.cmp(&self.grade) {
            std::cmp::Ordering::Equal => {
                self.other = 0;
                return None;
            }
            std::cmp::Ordering::Greater => WORSE_AFTER,
            std::cmp::Ordering::Less => BETTER_AFTER,
        };
        self.other += 1;
        if self.other < needed {
            return None;
        }
        (self.grade, self.other) = (grade, 0);
        let milliseconds = |time: Duration| u16::try_from(time.as_millis()).unwrap_or(u16::MAX);
        let loss = (loss * 100 / 4_096).min(100) as u8;
        self.figures = Figures { loss, round_trip: milliseconds(round_trip), jitter: milliseconds(jitter) };
        Some(self.told())
    }

    /// What there was to tell last.
    pub(crate) fn told(&self) -> (Grade, Figures) {
        (self.grade, self.figures)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STILL: Duration = Duration::from_millis(5);

    /// Looks for so many seconds at the same reports; the grades told, and when.
    fn watch(quality: &mut Quality, seconds: u32, lost: u8, round_trip: u64, jitter: Duration) -> Vec<(u32, Grade)> {
        let look = |second| {
            quality.received(lost, jitter);
            quality.sent(0, STILL);
            quality.look(Some(Duration::from_millis(round_trip)), Grade::Good).map(|(grade, _)| (second, grade))
        };
        (0..seconds).filter_map(look).collect()
    }

    #[test]
    fn each_figure_alone_makes_the_grade() {
        for (lost, round_trip, jitter, grade) in [
            (0, 40, 5, None),
            (20, 40, 5, Some(Grade::Fair)),
            (60, 40, 5, Some(Grade::Poor)),
            (0, 300, 5, Some(Grade::Fair)),
            (0, 700, 5, Some(Grade::Poor)),
            (0, 40, 50, Some(Grade::Fair)),
            (0, 40, 150, Some(Grade::Poor)),
        ] {
            let told = watch(&mut Quality::default(), 20, lost, round_trip, Duration::from_millis(jitter));
            assert_eq!(told.last().map(|(_, grade)| *grade), grade, "{lost}/256 lost, {round_trip} ms, {jitter} ms");
        }
    }

    #[test]
    fn a_bad_second_is_no_bad_line_and_a_good_one_no_good_line() {
        let mut quality = Quality::default();
        assert_eq!(watch(&mut quality, 1, 0, 700, STILL), []);
        assert_eq!(watch(&mut quality, 10, 0, 40, STILL), []);
        assert_eq!(watch(&mut quality, 10, 0, 700, STILL), [(1, Grade::Poor)]);
        assert_eq!(watch(&mut quality, 4, 0, 40, STILL), []);
        assert_eq!(watch(&mut quality, 4, 0, 700, STILL), []);
        assert_eq!(watch(&mut quality, 10, 0, 40, STILL), [(4, Grade::Good)]);
    }

    #[test]
    fn pictures_that_the_line_does_not_carry_make_the_grade_if_that_lasts() {
        let mut quality = Quality::default();
        let mut told = |pictures, seconds| {
            let look = |second| quality.look(Some(Duration::from_millis(40)), pictures).map(|(grade, _)| (second, grade));
            (0..seconds).filter_map(look).collect::<Vec<(u32, Grade)>>()
        };
        assert_eq!(told(Grade::Fair, 5), []);
        assert_eq!(told(Grade::Good, 10), [], "a moment");
        assert_eq!(told(Grade::Fair, 10), [(5, Grade::Fair)]);
        assert_eq!(told(Grade::Poor, 10), [(1, Grade::Poor)]);
        assert_eq!(told(Grade::Good, 10), [(4, Grade::Good)]);
    }

    #[test]
    fn the_worse_direction_counts_and_its_figures_are_told() {
        let mut quality = Quality::default();
        let told = (0..20).find_map(|_| {
            quality.sent(128, STILL);
            quality.received(0, STILL);
            quality.look(Some(Duration::from_millis(90)), Grade::Good).filter(|(grade, _)| *grade == Grade::Poor)
        });
        let (_, figures) = told.expect("told");
        assert!((10..=50).contains(&figures.loss) && figures.round_trip == 90 && figures.jitter == 5, "{figures:?}");
    }
}
