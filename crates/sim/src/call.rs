//! A sender with the server's estimator and pacer, and a receiver that reports and decodes.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use switchyard_bandwidth::{Class, Config, Estimator, Figures, Pacer, Release};

use crate::decoder::Decoder;
use crate::network::{Flow, Message, Outbox, Packet, Picture};
use crate::source::Video;

/// Between two feedback messages, as browsers have it.
const FEEDBACK: Duration = Duration::from_millis(50);
/// Between two packets of sound, and their bytes.
const AUDIO: (Duration, usize) = (Duration::from_millis(20), 110);
/// Bits a second of sound, headers included.
const AUDIO_RATE: u64 = 55_200;
/// When the pacer holds more than this everything in it is dropped, and a key picture begins anew.
const MAX_WAITING: Duration = Duration::from_millis(400);
/// The part of the estimate that media may fill.
const FILL: f64 = 0.95;
/// Media packets kept for retransmission: three seconds of 4 Mbit/s.
const KEPT: u64 = 1_500;

/// What is sent, and how.
#[derive(Clone, Copy, Debug)]
pub struct Profile {
    /// Sent from this time on.
    pub begin: Duration,
    /// Bits a second of picture at most.
    pub most: u64,
    /// Bits a second that are asked of the estimator; more than `most` where smaller pictures are sent than wanted.
    pub wanted: u64,
    /// The estimator's bounds.
    pub config: Config,
}

impl Default for Profile {
    fn default() -> Self {
        Self { begin: Duration::ZERO, most: u64::MAX, wanted: u64::MAX, config: Config::default() }
    }
}

#[derive(Clone, Copy, Debug)]
struct Media {
    number: u64,
    picture: Picture,
    size: usize,
}

/// A call from the server to one subscriber.
#[derive(Debug)]
pub struct Call {
    start: Instant,
    estimator: Estimator,
    pacer: Pacer<Media>,
    video: Video,
    next_audio: Instant,
    next_media: u64,
    history: BTreeMap<u64, Media>,
    overflow: u64,
    /// The receiver's.
    decoder: Decoder,
    arrivals: BTreeMap<u64, Instant>,
    next_report: u64,
    next_feedback: Instant,
}

impl Call {
    /// A call whose pictures and clock depend on `seed`.
    pub fn new(start: Instant, seed: u64, profile: &Profile) -> Self {
        let begin = start + profile.begin;
        let mut estimator = Estimator::new(begin, profile.config);
        estimator.set_wanted(begin, profile.wanted);
        Self {
            start,
            pacer: Pacer::new(begin, estimator.pace()),
            estimator,
            video: Video::new(begin, seed, profile.most),
            next_audio: begin,
            next_media: 0,
            history: BTreeMap::new(),
            overflow: 0,
            decoder: Decoder::default(),
            arrivals: BTreeMap::new(),
            next_report: 0,
            next_feedback: begin + FEEDBACK,
        }
    }

    /// For how long the picture stood still, all freezes together, and the longest time between two pictures.
    pub const fn freezes(&self) -> (Duration, Duration) {
        (self.decoder.frozen, self.decoder.longest)
    }

    /// Pictures shown.
    pub const fn pictures(&self) -> u64 {
        self.decoder.pictures_shown
    }

    /// Media packets that the pacer could not take.
    pub const fn overflow(&self) -> u64 {
        self.overflow
    }

    /// What the estimator knows.
    pub fn figures(&self) -> Figures {
        self.estimator.figures()
    }

    fn transmit(&mut self, now: Instant, size: usize, media: Option<Media>, out: &mut Outbox) {
        let cluster = self.pacer.cluster();
        let sequence = u64::from(self.estimator.sequence());
        self.estimator.sent(now, size, cluster);
        self.pacer.sent(now, size);
        out.packet(size, Packet { sequence, media: media.map(|media| (media.number, media.picture)) });
    }

    fn drain(&mut self, now: Instant, out: &mut Outbox) {
        if let Some(probe) = self.estimator.poll_probe(now) {
            self.pacer.begin_probe(now, probe);
        }
        while let Some(release) = self.pacer.poll(now) {
            match release {
                Release::Packet(media) => self.transmit(now, media.size, Some(media), out),
                Release::Padding(size) => self.transmit(now, size.min(1_150), None, out),
            }
        }
    }

    fn report(&mut self, now: Instant, out: &mut Outbox) {
        self.next_feedback = now + FEEDBACK;
        let Some((&last, _)) = self.arrivals.last_key_value() else { return };
        // The receiver's clock began at another time.
        let ticks = |at: Instant| ((at - self.start).as_micros() as i64 / 250 + 0x7fff_0000) as i32;
        let statuses =
            (self.next_report..=last).map(|number| (number as u16, self.arrivals.get(&number).map(|&at| i64::from(ticks(at))))).collect();
        out.message(Message::Feedback(statuses));
        self.arrivals.clear();
        self.next_report = last + 1;
    }
}

impl Flow for Call {
    fn poll_timeout(&self) -> Option<Instant> {
        self.pacer.poll_timeout().into_iter().chain([self.video.poll_timeout(), self.next_audio, self.next_feedback]).min()
    }

    fn handle_timeout(&mut self, now: Instant, out: &mut Outbox) {
        if now >= self.next_audio {
            self.next_audio += AUDIO.0;
            self.transmit(now, AUDIO.1, None, out);
        }
        let target = ((self.estimator.estimate() as f64 * FILL) as u64).saturating_sub(AUDIO_RATE);
        if self.pacer.waiting().1 > MAX_WAITING {
            // What is so late is not worth its place on the line.
            self.pacer.retain(|_| false);
            self.history.clear();
            self.video.request_key();
        }
        if let Some((number, key, sizes)) = self.video.poll(now, target) {
            let count = sizes.len() as u16;
            for (place, size) in sizes.into_iter().enumerate() {
                let media = Media { number: self.next_media, picture: Picture { number, key, part: (place as u16, count) }, size };
                self.next_media += 1;
                self.history.insert(media.number, media);
                self.history.remove(&(media.number.wrapping_sub(KEPT)));
                self.overflow += u64::from(self.pacer.push(Class::Video, size, media).is_err());
            }
        }
        if now >= self.next_feedback {
            self.report(now, out);
            self.decoder.ask(now, out);
        }
        self.drain(now, out);
    }

    fn handle_packet(&mut self, now: Instant, packet: Packet, _: &mut Outbox) {
        // 16 bits on the line, unwrapped as receivers do.
        let ahead = (packet.sequence as u16).wrapping_sub(self.next_report as u16) as i16;
        if let Some(number) = self.next_report.checked_add_signed(i64::from(ahead))
            && ahead >= 0
        {
            self.arrivals.insert(number, now);
        }
        if let Some((media, picture)) = packet.media {
            self.decoder.handle_packet(now, media, picture);
        }
    }

    fn handle_message(&mut self, now: Instant, message: Message, out: &mut Outbox) {
        match message {
            Message::Feedback(statuses) => {
                self.estimator.handle_feedback(now, statuses);
                self.pacer.set_rate(self.estimator.pace());
            }
            Message::Nack(numbers) => {
                for media in numbers.into_iter().filter_map(|number| self.history.get(&number).copied()) {
                    let _ = self.pacer.push(Class::Retransmission, media.size, media);
                }
            }
            Message::KeyRequest => self.video.request_key(),
            Message::Ack(_) => {}
        }
        self.drain(now, out);
    }

    fn estimate(&self) -> u64 {
        self.estimator.estimate()
    }
}
