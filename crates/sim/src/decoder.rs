//! What a viewer sees: which pictures are shown and when, what is missing, how long the picture stands still.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::network::{Message, Outbox, Picture};

/// Between two requests for the same packet.
const NACK_INTERVAL: Duration = Duration::from_millis(80);
/// A packet is asked for so often at most.
const NACKS: u32 = 10;
/// After so long without a picture a key picture is asked for, again and again.
const PATIENCE: Duration = Duration::from_millis(600);
/// A picture that comes so much later than the one before is a freeze: webrtc-stats' measure (`freezeCount`) at 30 pictures a second.
const FREEZE: Duration = Duration::from_millis(183);

/// A receiver's decoder.
#[derive(Debug, Default)]
pub(crate) struct Decoder {
    /// The next picture that can be decoded, and when the last was shown.
    next: u64,
    shown: Option<Instant>,
    asked: Option<Instant>,
    /// Pictures on the way: parts that are there, parts there are, whether it is a key picture.
    pictures: BTreeMap<u64, (Vec<bool>, bool)>,
    /// Media packets missing: when they were asked for last, and how often.
    missing: BTreeMap<u64, (Instant, u32)>,
    highest: Option<u64>,
    pub(crate) frozen: Duration,
    pub(crate) longest: Duration,
    pub(crate) pictures_shown: u64,
}

impl Decoder {
    pub(crate) fn handle_packet(&mut self, now: Instant, media: u64, picture: Picture) {
        self.missing.remove(&media);
        let from = self.highest.map_or(media, |highest| highest + 1);
        for lost in from..media {
            self.missing.insert(lost, (now - NACK_INTERVAL, 0));
        }
        self.highest = self.highest.max(Some(media));
        if picture.number < self.next {
            return;
        }
        let (parts, _) = self.pictures.entry(picture.number).or_insert_with(|| (vec![false; usize::from(picture.part.1)], picture.key));
        parts[usize::from(picture.part.0)] = true;
        self.show(now);
    }

    fn show(&mut self, now: Instant) {
        while let Some((&number, (parts, key))) =
            self.pictures.iter().find(|(_, (parts, key))| *key && parts.iter().all(|&part| part)).or(self.pictures.first_key_value())
        {
            let complete = parts.iter().all(|&part| part);
            if !complete || !(*key || number == self.next) {
                return;
            }
            self.pictures = self.pictures.split_off(&(number + 1));
            self.next = number + 1;
            self.pictures_shown += 1;
            if let Some(shown) = self.shown.replace(now) {
                let gap = now - shown;
                self.longest = self.longest.max(gap);
                if gap >= FREEZE {
                    self.frozen += gap;
                }
            }
        }
    }

    /// Asks for what is missing.
    pub(crate) fn ask(&mut self, now: Instant, out: &mut Outbox) {
        let mut asked = Vec::new();
        self.missing.retain(|&media, (at, times)| {
            if now - *at >= NACK_INTERVAL {
                asked.push(media);
                (*at, *times) = (now, *times + 1);
            }
            *times <= NACKS
        });
        if !asked.is_empty() {
            out.message(Message::Nack(asked));
        }
        let since = self.asked.max(self.shown);
        if since.is_some_and(|since| now - since >= PATIENCE) && self.highest.is_some() {
            self.asked = Some(now);
            self.missing.clear();
            out.message(Message::KeyRequest);
        }
    }
}
