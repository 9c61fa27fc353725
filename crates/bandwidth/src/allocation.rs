//! Divides what a subscriber's line carries among what it wants to see and hear.
//!
//! Each [`Demand`] has a ladder of [`Rung`]s, from the least picture to the one that fills its place on the screen. [`allocate`] climbs them
//! rung by rung, all in one order, the *steps*:
//!
//! 1. audio;
//! 2. screens, to the top: text that can't be read is no use;
//! 3. the speaker's first rung;
//! 4. the first rung of all others: better all in small than some in large and the rest not at all;
//! 5. the speaker, to the top;
//! 6. the others, one rung each in turn, so that they stay alike.
//!
//! Within a step higher priority goes first, then the order of the demands. The outcome is the best in this sense: write down for each step in order whether it
//! was made; no set of steps that fits the estimate comes before it lexicographically, a made step counting before one that was not. So
//! nothing is given up for anything that comes later, and nothing more would fit.
//!
//! It is stable: a rung above the one that is sent now is taken only where the estimate has [`HEADROOM`] for it, while what is sent stays for as
//! long as it fits.

#[cfg(test)]
mod tests;

/// The part of the estimate that rungs above the present ones may fill, in percent: the estimate itself goes up and down by more than a tenth.
const HEADROOM: u64 = 87;

/// Rungs of one ladder: three encodings of four temporal layers, or as many of SVC.
const MAX_RUNGS: usize = 16;

/// Below so many pictures in a second motion is none; more lines don't make up for it.
const FEW: u8 = 12;

/// Which part of what is published is sent: an encoding or spatial layer, and how many of its temporal layers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Layer {
    /// 0 is the smallest.
    pub spatial: u8,
    /// 0 is the slowest.
    pub temporal: u8,
}

/// What one layer costs and shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rung {
    /// Which.
    pub layer: Layer,
    /// Bits in a second as measured, with all it depends on and all headers.
    pub bitrate: u64,
    /// Pixels.
    pub width: u16,
    /// Pixels.
    pub height: u16,
    /// Pictures in a second; 0 if it isn't known.
    pub rate: u8,
}

/// What is shown or heard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// Sound.
    Audio,
    /// A person.
    Camera,
    /// Text, mostly.
    Screen,
}

/// What a subscriber wants of one track.
#[derive(Clone, Copy, Debug)]
pub struct Demand<'a> {
    /// What it is.
    pub source: Source,
    /// Whether it is who speaks.
    pub speaker: bool,
    /// Higher goes first.
    pub priority: u8,
    /// The pixels at which it is shown, width and height; with a 0 it isn't.
    pub wanted: (u16, u16),
    /// What is sent of it now.
    pub current: Option<Layer>,
    /// What there is of it, each layer once, in any order; at most 16 count.
    pub rungs: &'a [Rung],
}

/// Why somebody gets what they get.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// All that its place on the screen can show, or all there is.
    Full,
    /// Less than that, because of the line.
    Reduced,
    /// Nothing, because of the line.
    Paused,
    /// Nothing: it isn't shown.
    Hidden,
    /// Nothing: there is nothing of it.
    Absent,
}

/// What is sent of one track.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Grant {
    /// `None`: nothing.
    pub layer: Option<Layer>,
    /// Bits in a second.
    pub bitrate: u64,
    /// Why.
    pub outcome: Outcome,
}

/// The steps of one kind, in their order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Audio,
    Screens,
    SpeakerFirst,
    OthersFirst,
    Speaker,
    Others,
}

const STAGES: [Stage; 6] = [Stage::Audio, Stage::Screens, Stage::SpeakerFirst, Stage::OthersFirst, Stage::Speaker, Stage::Others];

impl Stage {
    /// How many rungs it may climb of those a demand has; 0 if it is none of its.
    fn reach(self, demand: &Demand<'_>, rungs: usize) -> usize {
        let speaker = demand.speaker;
        match (self, demand.source) {
            (Stage::Audio, Source::Audio) | (Stage::Screens, Source::Screen) => rungs,
            (Stage::SpeakerFirst, Source::Camera) if speaker => rungs.min(1),
            (Stage::OthersFirst, Source::Camera) if !speaker => rungs.min(1),
            (Stage::Speaker, Source::Camera) if speaker => rungs,
            (Stage::Others, Source::Camera) if !speaker => rungs,
            _ => 0,
        }
    }
}

/// The rungs that make sense for a demand, each better and dearer than the one below.
#[derive(Clone, Copy, Debug)]
struct Ladder {
    rungs: [u8; MAX_RUNGS],
    len: usize,
    /// How many it has climbed.
    climbed: usize,
    /// It didn't fit once: nothing above it is tried.
    stuck: bool,
}

impl Ladder {
    fn new(demand: &Demand<'_>) -> Self {
        let mut ladder = Self { rungs: [0; MAX_RUNGS], len: 0, climbed: 0, stuck: false };
        if !is_shown(demand) {
            return ladder;
        }
        let rungs = &demand.rungs[..demand.rungs.len().min(MAX_RUNGS)];
        let covers = |rung: &Rung| rung.width >= demand.wanted.0 && rung.height >= demand.wanted.1;
        let enough = rungs.iter().filter(|rung| covers(rung)).map(|rung| rung.layer.spatial).min().unwrap_or(u8::MAX);
        let lowest = rungs.iter().map(|rung| rung.layer.spatial).min().unwrap_or(0);
        let makes_sense = |rung: &Rung| {
            let slow = rung.rate > 0 && rung.rate < FEW;
            demand.source == Source::Audio
                || (rung.layer.spatial <= enough && !(slow && demand.source == Source::Camera && rung.layer.spatial > lowest))
        };
        for at in (0..rungs.len()).filter(|&at| makes_sense(&rungs[at])) {
            ladder.rungs[ladder.len] = at as u8;
            ladder.len += 1;
        }
        ladder.rungs[..ladder.len].sort_unstable_by_key(|&at| rungs[usize::from(at)].layer);
        // What costs as much as something better is never sent: seen from the top, each has to be cheaper.
        let (mut kept, mut cheapest) = (MAX_RUNGS, u64::MAX);
        for place in (0..ladder.len).rev() {
            let at = ladder.rungs[place];
            if rungs[usize::from(at)].bitrate < cheapest {
                cheapest = rungs[usize::from(at)].bitrate;
                kept -= 1;
                ladder.rungs[kept] = at;
            }
        }
        ladder.rungs.copy_within(kept.., 0);
        ladder.len = MAX_RUNGS - kept;
        ladder
    }

    fn rung<'a>(&self, demand: &Demand<'a>, count: usize) -> Option<&'a Rung> {
        count.checked_sub(1).map(|place| &demand.rungs[usize::from(self.rungs[place])])
    }

    fn cost(&self, demand: &Demand<'_>, count: usize) -> u64 {
        self.rung(demand, count).map_or(0, |rung| rung.bitrate)
    }
}

fn is_shown(demand: &Demand<'_>) -> bool {
    demand.source == Source::Audio || (demand.wanted.0 > 0 && demand.wanted.1 > 0)
}

/// What the budget is when a rung is taken: all of the estimate for what is sent already, less for more.
fn budget(estimate: u64, demand: &Demand<'_>, rung: &Rung) -> u64 {
    let stays = demand.source == Source::Audio || demand.current.is_some_and(|current| rung.layer <= current);
    if stays { estimate } else { estimate / 100 * HEADROOM + estimate % 100 * HEADROOM / 100 }
}

/// Divides `estimate` bits a second among `demands`; one grant for each, in `grants`, which is cleared first. Returns what all of it would
/// take if the line were no limit, in bits a second.
pub fn allocate(estimate: u64, demands: &[Demand<'_>], grants: &mut Vec<Grant>) -> u64 {
    let mut ladders: Vec<Ladder> = demands.iter().map(Ladder::new).collect();
    let mut order: Vec<usize> = (0..demands.len()).collect();
    order.sort_by_key(|&at| std::cmp::Reverse(demands[at].priority));
    let mut used = 0u64;
    for stage in STAGES {
        for level in 0..MAX_RUNGS {
            for &at in &order {
                let (demand, ladder) = (&demands[at], &mut ladders[at]);
                if ladder.stuck || ladder.climbed != level || level >= stage.reach(demand, ladder.len) {
                    continue;
                }
                let after = used - ladder.cost(demand, level) + ladder.cost(demand, level + 1);
                let Some(rung) = ladder.rung(demand, level + 1) else { continue };
                if after <= budget(estimate, demand, rung) {
                    ladder.climbed += 1;
                    used = after;
                } else {
                    ladder.stuck = true;
                }
            }
        }
    }
    grants.clear();
    grants.extend(demands.iter().zip(&ladders).map(|(demand, ladder)| Grant {
        layer: ladder.rung(demand, ladder.climbed).map(|rung| rung.layer),
        bitrate: ladder.cost(demand, ladder.climbed),
        outcome: match (ladder.climbed, ladder.len) {
            (_, 0) if is_shown(demand) => Outcome::Absent,
            (_, 0) => Outcome::Hidden,
            (0, _) => Outcome::Paused,
            (climbed, len) if climbed < len => Outcome::Reduced,
            _ => Outcome::Full,
        },
    }));
    demands.iter().zip(&ladders).map(|(demand, ladder)| ladder.cost(demand, ladder.len)).sum()
}
