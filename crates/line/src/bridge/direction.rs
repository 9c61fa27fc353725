//! One direction, whose properties may change while packets are on their way.

use std::collections::VecDeque;
use std::time::Instant;

use switchyard_netem::{Config, ConfigError, Counters, Drop, Line};

use super::Counts;
use crate::command::altered;

/// Changes at a time that packets on their way may still be behind: each keeps a line. A person or test waits for a change's effect.
const MAX_LINES: usize = 64;
/// Bytes of an IPv4 and a UDP header, which `switchyard-netem` counts as a packet's overhead.
const HEADERS: usize = 28;

/// How a direction is to change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// To these properties; schedules begin anew.
    To(Box<Config>),
    /// One property to this value, as in the text form of [`Config`]; the others stay.
    Only(String, String),
}

/// Why a direction doesn't change.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChangeError {
    /// The new properties make no sense.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// Packets from before many changes are still on their way.
    #[error("packets from before the last {MAX_LINES} changes are still on their way; wait for them")]
    TooMany,
}

/// One way through the line.
#[derive(Debug)]
pub struct Direction {
    config: Config,
    seed: u64,
    changes: u64,
    /// The last takes packets; those before it are being emptied, one after the other, so that nothing overtakes what was there before a change.
    lines: VecDeque<Line<Vec<u8>>>,
    /// Of the lines that are empty and gone.
    gone: Counters,
    /// When the last of them was: what came behind it is due since then at the earliest.
    emptied: Instant,
    pub(super) counts: Counts,
}

impl Direction {
    pub(super) fn new(config: Config, seed: u64, now: Instant) -> Result<Self, ConfigError> {
        let line = Line::new(&config, seed, now)?;
        Ok(Self {
            config,
            seed,
            changes: 0,
            lines: VecDeque::from([line]),
            gone: Counters::default(),
            emptied: now,
            counts: Counts::default(),
        })
    }

    pub(super) fn config(&self) -> &Config {
        &self.config
    }

    pub(super) fn push(&mut self, now: Instant, packet: Vec<u8>) {
        if let Some(line) = self.lines.back_mut() {
            line.push(now, packet.len().saturating_sub(HEADERS), packet);
        }
    }

    /// The next packet, and when it was due.
    pub(super) fn poll(&mut self, now: Instant) -> Option<(Instant, Vec<u8>)> {
        loop {
            let last = self.lines.len() == 1;
            let line = self.lines.front_mut()?;
            let due = line.poll_timeout();
            if let Some(packet) = line.poll(now) {
                return Some((due.unwrap_or(now).max(self.emptied), packet));
            }
            if last || !line.is_empty() {
                return None;
            }
            self.gone += *line.counters();
            self.lines.pop_front();
            self.emptied = now;
        }
    }

    /// When the next packet is due.
    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        self.lines.iter().find_map(Line::poll_timeout).map(|due| due.max(self.emptied))
    }

    /// What a change leads to.
    pub(super) fn prepare(&self, change: &Change, now: Instant) -> Result<(Config, Line<Vec<u8>>), ChangeError> {
        if self.lines.len() >= MAX_LINES {
            return Err(ChangeError::TooMany);
        }
        let config = match change {
            Change::To(config) => (**config).clone(),
            Change::Only(key, value) => altered(&self.config, key, value)?,
        };
        // Another stream of randomness for each, as repeatable as the first.
        let line = Line::new(&config, self.seed.wrapping_add((self.changes + 1) << 32), now)?;
        Ok((config, line))
    }

    pub(super) fn commit(&mut self, (config, line): (Config, Line<Vec<u8>>)) {
        self.config = config;
        self.changes += 1;
        self.lines.push_back(line);
    }

    pub(super) fn counts(&self, now: Instant) -> Counts {
        let mut lines = self.gone;
        self.lines.iter().for_each(|line| lines += *line.counters());
        Counts {
            on_the_way: self.lines.iter().map(|line| line.len() as u64).sum(),
            queue_ms: self.lines.back().map_or(0, |line| line.queue_delay(now).as_millis() as u64),
            loss: lines.dropped(Drop::Loss),
            burst_loss: lines.dropped(Drop::BurstLoss),
            queue_full: lines.dropped(Drop::QueueFull),
            line_full: lines.dropped(Drop::LineFull),
            black_hole: self.counts.black_hole + lines.dropped(Drop::BlackHole),
            reordered: lines.reordered,
            duplicated: lines.duplicated,
            ..self.counts
        }
    }
}
