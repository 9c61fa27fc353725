//! What a microphone brings, by the levels its packets say (RFC 6464): silence, sound or speech; and its last packets, so that who is heard only
//! once somebody has noticed that they speak is heard from their first word on.
//!
//! *Sound* is noticed at once, with its second loud packet. *Speech* is what goes on: four of five tenths of a second. A click or a cough is sound and
//! never speech; a pause between two words ends neither.

use std::time::{Duration, Instant};

use switchyard_rtp::Codec;

use crate::Activity;
use crate::history::{Depth, History};

/// Levels are judged together for this long: five packets of most encoders.
const WINDOW: Duration = Duration::from_millis(100);
/// While there is sound or speech it is said again after this long, in case it was not heard, and because the level changes.
const TOLD_AGAIN: Duration = Duration::from_secs(1);
/// A word that began longer ago is not sent again from its beginning to who is to hear it now: they would hear it late for as long. Where everybody who may be
/// heard makes a sound, who speaks as well is only heard once it is known to be speech, half a second after it began, and told.
const LATE: Duration = Duration::from_millis(600);
/// Packets before the first loud one that belong to a word: a soft consonant takes up to 100 ms.
const RUN_UP: u64 = 5;
/// Loud packets in a row that are sound.
const ONSET: u8 = 2;
/// Windows of which most are loud in speech …
const SPEECH_BEGINS: (u32, u32) = (5, 4);
/// … and of which some are in speech that goes on, pauses between words included.
const SPEECH_GOES_ON: (u32, u32) = (10, 2);
/// Windows without a loud packet that are silence.
const SILENCE: u32 = 10;
/// Loudness is 127 less the level, in dB: 127 is overload. What is as loud as −40 dBov is never taken for noise …
const NEVER_NOISE: u16 = 87;
/// … and what is softer than −55 dBov never for a voice. In between it has to be [`ABOVE_NOISE`] louder than the quietest of late.
const NEVER_VOICE: u16 = 72;
const ABOVE_NOISE: u16 = 10;
/// What a packet without a level is taken for: softer than any voice that says how loud it is.
const UNKNOWN: u8 = 100;

/// One microphone, or another source of sound.
#[derive(Debug)]
pub(crate) struct Voice {
    activity: Activity,
    /// When the window at hand began.
    window: Option<Instant>,
    /// Packets in it; those that are loud; the loudness of all and of those.
    packets: u16,
    loud: u16,
    sum: u32,
    loud_sum: u32,
    /// A bit for each window, the latest lowest: whether half of it was loud, whether anything was.
    mostly: u32,
    at_all: u32,
    /// The latest loud packets in a row.
    run: u8,
    /// Where the sound that is heard began, and when.
    onset: Option<(u64, Instant)>,
    /// Quarters of a decibel: the quietest of late. It follows at once downwards and by 2.5 dB a second upwards.
    noise: Option<u16>,
    /// Loudness of what is loud, smoothed; sixteenths of a decibel.
    loudness: u16,
    has_levels: bool,
    told: Option<Instant>,
    highest: u64,
    recent: History,
}

impl Voice {
    pub(crate) fn new() -> Self {
        Self {
            activity: Activity::Silent,
            window: None,
            packets: 0,
            loud: 0,
            sum: 0,
            loud_sum: 0,
            mostly: 0,
            at_all: 0,
            run: 0,
            onset: None,
            noise: None,
            loudness: 0,
            has_levels: false,
            told: None,
            highest: 0,
            recent: History::new(Depth::SPEECH),
        }
    }

    /// Keeps a packet and hears it; `level` as in RFC 6464, whose highest bit (voice activity) most browsers set always. Whether the control plane is to be told.
    pub(crate) fn hear(&mut self, now: Instant, index: u64, codec: Codec, packet: &[u8], level: Option<u8>) -> bool {
        self.recent.insert(index, codec, packet);
        self.advance(now);
        self.highest = self.highest.max(index);
        self.has_levels |= level.is_some();
        let loudness = 127 - u16::from(level.map_or(UNKNOWN, |level| level & 0x7f));
        self.packets = self.packets.saturating_add(1);
        self.sum += u32::from(loudness);
        if loudness >= self.threshold() || !self.has_levels {
            self.loud = self.loud.saturating_add(1);
            self.loud_sum += u32::from(loudness);
            self.run = self.run.saturating_add(1);
            if self.run == 1 && self.activity == Activity::Silent {
                self.onset = Some((index.saturating_sub(RUN_UP), now));
                self.loudness = loudness * 16;
            }
        } else {
            self.run = 0;
        }
        self.judge(now)
    }

    /// Notices that nothing came. Whether the control plane is to be told.
    pub(crate) fn look(&mut self, now: Instant) -> bool {
        if self.window.is_none() {
            return false;
        }
        self.advance(now);
        self.judge(now)
    }

    /// Forgets everything: what was said before a mute is nobody's business after it.
    pub(crate) fn reset(&mut self) {
        *self = Self::new();
    }

    /// What there is now, and its level as in RFC 6464.
    pub(crate) fn activity(&self) -> (Activity, u8) {
        (self.activity, 127 - (self.loudness / 16).min(127) as u8)
    }

    /// What who begins to listen now is to get: the packets of a word that has just begun, with their indices.
    pub(crate) fn word(&self, now: Instant) -> impl Iterator<Item = (u64, Codec, &[u8])> {
        let indices = match self.onset {
            Some((index, at)) if now.saturating_duration_since(at) <= LATE => index..self.highest + 1,
            _ => 0..0,
        };
        indices.filter_map(|index| self.recent.get(index).map(|(codec, packet)| (index, codec, packet)))
    }

    fn threshold(&self) -> u16 {
        self.noise.map_or(NEVER_NOISE, |noise| (noise / 4 + ABOVE_NOISE).clamp(NEVER_VOICE, NEVER_NOISE))
    }

    /// Closes windows that are over.
    fn advance(&mut self, now: Instant) {
        let Some(begun) = self.window else {
            self.window = Some(now);
            return;
        };
        let windows = (now.saturating_duration_since(begun).as_millis() / WINDOW.as_millis()).min(u128::from(u32::MAX)) as u32;
        if windows == 0 {
            return;
        }
        self.window = Some(begun + WINDOW * windows);
        if self.packets == 0 || windows > 1 {
            self.run = 0;
        }
        let mostly = u32::from(self.loud > 0 && self.loud * 2 >= self.packets);
        let shift = |bits: u32, last: u32| (bits << 1 | last).checked_shl(windows - 1).unwrap_or(0);
        (self.mostly, self.at_all) = (shift(self.mostly, mostly), shift(self.at_all, u32::from(self.loud > 0)));
        if self.packets > 0 {
            let mean = (self.sum * 4 / u32::from(self.packets)) as u16;
            let risen = self.noise.map_or(mean, |noise| mean.min(noise + 1));
            self.noise = Some(risen.clamp((NEVER_VOICE - ABOVE_NOISE) * 4, (NEVER_NOISE - ABOVE_NOISE) * 4));
        }
        if mostly == 1 {
            let mean = (self.loud_sum * 16 / u32::from(self.loud)) as u16;
            self.loudness = (self.loudness * 3 + mean) / 4;
        }
        (self.packets, self.loud, self.sum, self.loud_sum) = (0, 0, 0, 0);
    }

    fn judge(&mut self, now: Instant) -> bool {
        let of = |bits: u32, (last, least): (u32, u32)| (bits & ((1 << last) - 1)).count_ones() >= least;
        let before = self.activity;
        let goes_on = before == Activity::Speech && of(self.mostly, SPEECH_GOES_ON);
        self.activity = if self.has_levels && (goes_on || of(self.mostly, SPEECH_BEGINS)) {
            Activity::Speech
        } else if self.run >= ONSET || (before != Activity::Silent && (self.loud > 0 || of(self.at_all, (SILENCE, 1)))) {
            Activity::Sound
        } else {
            Activity::Silent
        };
        let is_old = self.activity != Activity::Silent && self.told.is_none_or(|told| now.saturating_duration_since(told) >= TOLD_AGAIN);
        let tell = self.activity != before || is_old;
        if tell {
            self.told = Some(now);
        }
        tell
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const PACKET: Duration = Duration::from_millis(20);

    /// A microphone, and when it was told to be what.
    struct Scene {
        start: Instant,
        now: Instant,
        index: u64,
        voice: Voice,
        told: Vec<(u64, Activity)>,
    }

    impl Scene {
        fn new() -> Self {
            let start = Instant::now();
            Self { start, now: start, index: 0, voice: Voice::new(), told: Vec::new() }
        }

        /// A packet of this level every 20 ms for so long.
        fn play(&mut self, ms: u64, level: u8) -> &mut Self {
            (0..ms / 20).for_each(|_| self.packet(Some(level)));
            self
        }

        fn packet(&mut self, level: Option<u8>) {
            let tell = self.voice.hear(self.now, self.index, Codec::Opus, &[7; 80], level);
            self.note(tell);
            (self.index, self.now) = (self.index + 1, self.now + PACKET);
        }

        /// Nothing comes for so long.
        fn nothing(&mut self, ms: u64) -> &mut Self {
            for _ in 0..ms / 100 {
                self.now += Duration::from_millis(100);
                let tell = self.voice.look(self.now);
                self.note(tell);
            }
            self
        }

        fn note(&mut self, tell: bool) {
            if tell && self.told.last().is_none_or(|(_, activity)| *activity != self.voice.activity) {
                self.told.push(((self.now - self.start).as_millis() as u64, self.voice.activity));
            }
        }

        /// The indices of the word that has just begun: the first, and how many.
        fn word(&self) -> Option<(u64, usize)> {
            let first = self.voice.word(self.now).next()?.0;
            Some((first, self.voice.word(self.now).count()))
        }

        fn activities(&self) -> Vec<Activity> {
            self.told.iter().map(|(_, activity)| *activity).collect()
        }
    }

    use Activity::{Silent, Sound, Speech};

    #[test]
    fn speech_is_sound_at_its_second_packet_and_speech_within_half_a_second() {
        // At any phase of the windows.
        for phase in (0..100).step_by(20) {
            let mut scene = Scene::new();
            scene.play(2_000 + phase, 90).play(1_000, 30);
            let began = 2_000 + phase;
            assert_eq!(scene.told[0], (began + 20, Sound), "{phase}");
            let (at, activity) = scene.told[1];
            assert!(activity == Speech && at - began <= 500, "{phase}: {activity:?} after {}", at - began);
            // As soon as it is known it can be heard from its beginning.
            let mut scene = Scene::new();
            scene.play(2_000 + phase, 90).play(at - began + 80, 30);
            assert_eq!(scene.word().map(|(first, _)| first), Some(began / 20 - RUN_UP));
        }
    }

    #[test]
    fn a_click_or_a_cough_is_never_speech() {
        for (ms, level, heard) in [(20, 10, vec![]), (40, 10, vec![Sound, Silent]), (260, 15, vec![Sound, Silent])] {
            for phase in (0..100).step_by(20) {
                let mut scene = Scene::new();
                scene.play(2_000 + phase, 90).play(ms, level).play(3_000, 90);
                assert_eq!(scene.activities(), heard, "{ms} ms at {phase}");
            }
        }
    }

    #[test]
    fn pauses_between_words_end_nothing_and_silence_does_within_a_second_and_a_half() {
        let mut scene = Scene::new();
        scene.play(1_000, 80);
        (0..20).for_each(|_| {
            scene.play(400, 28).play(500, 75);
        });
        assert_eq!(scene.activities(), [Sound, Speech]);
        let ended = (scene.now - scene.start).as_millis() as u64 - 500;
        scene.play(3_000, 80);
        assert_eq!(scene.activities(), [Sound, Speech, Sound, Silent]);
        assert!(scene.told[3].0 - ended <= 1_500);
    }

    #[test]
    fn who_sends_nothing_more_falls_silent() {
        let mut scene = Scene::new();
        scene.play(1_000, 25).nothing(2_000);
        assert_eq!(scene.activities(), [Sound, Speech, Sound, Silent]);
        scene.nothing(60_000).play(1_000, 25);
        assert_eq!(scene.activities()[4..], [Sound, Speech], "and speaks again");
    }

    #[test]
    fn steady_noise_is_no_speech_after_a_while_but_who_speaks_over_it_is() {
        let mut scene = Scene::new();
        scene.play(30_000, 48);
        assert_eq!(scene.voice.activity().0, Silent, "a fan");
        scene.play(1_000, 30);
        assert_eq!(scene.voice.activity().0, Speech);
        let mut loud = Scene::new();
        loud.play(60_000, 30);
        assert_eq!(loud.voice.activity().0, Speech, "music is not noise, however steady");
    }

    #[test]
    fn a_microphone_that_says_no_levels_is_sound_and_never_speech() {
        let mut scene = Scene::new();
        (0..500).for_each(|_| scene.packet(None));
        assert_eq!(scene.activities(), [Sound]);
        assert_eq!(scene.voice.activity().1, UNKNOWN);
    }

    #[test]
    fn the_level_told_is_that_of_the_loud_part() {
        let mut scene = Scene::new();
        scene.play(3_000, 30);
        assert_eq!(scene.voice.activity(), (Speech, 30));
        scene.play(3_000, 20);
        assert!(scene.voice.activity().1 <= 21, "{:?}", scene.voice.activity());
    }

    #[test]
    fn a_word_that_has_just_begun_is_kept_with_its_run_up_and_an_old_one_is_not() {
        let mut scene = Scene::new();
        scene.play(2_000, 90).play(100, 30);
        assert_eq!(scene.word(), Some((95, 10)));
        scene.play(500, 30);
        assert_eq!(scene.word(), Some((95, 35)));
        scene.play(60, 30);
        assert_eq!(scene.word(), None);
        scene.play(2_000, 90).play(40, 30);
        assert_eq!(scene.word(), Some((228, 7)), "the next word");
        scene.voice.reset();
        assert_eq!(scene.word(), None);
    }

    proptest! {
        /// Whatever a microphone does, the control plane hears of it a few times a second at most, and knows what it is.
        #[test]
        fn what_is_told_is_true_and_little(levels in prop::collection::vec(prop::option::of(0u8..128), 1..2_000)) {
            let (mut scene, mut heard, mut count) = (Scene::new(), Silent, 0);
            for level in levels {
                let tell = scene.voice.hear(scene.now, scene.index, Codec::Opus, &[7; 80], level);
                if tell {
                    (heard, count) = (scene.voice.activity().0, count + 1);
                }
                prop_assert_eq!(heard, scene.voice.activity().0);
                (scene.index, scene.now) = (scene.index + 1, scene.now + PACKET);
            }
            let seconds = (scene.now - scene.start).as_millis() as usize / 1_000 + 1;
            prop_assert!(count <= 5 * seconds, "{} in {} s", count, seconds);
        }
    }
}
