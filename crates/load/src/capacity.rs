//! The search for the largest load that keeps a promise.
//!
//! [`Search`] is a state machine: [`Search::next`] says which load to run, [`Search::record`] is told how it went. It doubles from the
//! start until the promise breaks, then halves what lies between until the edge is known to within the resolution. A machine that
//! is measured is noisy, so the two loads at the edge are run a second time, and a third time if the two differ; the majority counts.
//!
//! A run in which the bench itself was the bottleneck says nothing about the server, neither that it held the load nor that it did not:
//! it bounds what can be found out, never what the server can do.

#[cfg(test)]
mod tests;
mod verdict;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

pub use verdict::{Bound, Verdict};

use crate::results::{RunResult, ServerKind};
use crate::slo::{Breach, Cause, Dimension, Metric, Slo};

/// How to search.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    /// The load to begin with; at least 1.
    pub start: u64,
    /// No larger load is tried.
    pub most: u64,
    /// How close the largest kept and the smallest broken load come to each other, as a share of the former.
    pub resolution: f64,
    /// Runs in all. From 10 to 1,000, at 5 %, some 16 are needed.
    pub steps: usize,
}

impl Default for Plan {
    fn default() -> Self {
        Self { start: 10, most: 100_000, resolution: 0.05, steps: 32 }
    }
}

/// How a run at some load went.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// The promise was kept.
    Kept,
    /// The promise was broken; the most exceeded limit comes first.
    Broken(Vec<Breach>),
    /// The server turned people away: how many, of how many.
    Refused {
        /// Joins refused.
        refused: u64,
        /// Joins attempted.
        attempted: u64,
    },
    /// The bench could not keep up, and why.
    Bench(String),
}

/// What a run says, all told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Vote {
    Kept,
    Broken,
    Bench,
}

/// What to do next.
#[derive(Clone, Debug, PartialEq)]
pub enum Next {
    /// Run at this load and [`Search::record`] how it went.
    Run {
        /// The load.
        load: u64,
        /// What the run is for.
        purpose: Purpose,
    },
    /// The search is over.
    Done(Verdict),
}

/// What a run is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// Finding a load that is too large, or one that is small enough.
    Reach,
    /// Closing in on the edge.
    Narrow,
    /// Making sure of a load at the edge.
    Confirm,
}

/// A search; see the module's documentation.
#[derive(Clone, Debug)]
pub struct Search {
    plan: Plan,
    /// By load; at most [`Plan::steps`] entries of at most [`RUNS_OF_ONE_LOAD`] runs.
    runs: BTreeMap<u64, Vec<Run>>,
    steps: usize,
}

/// A run that was made.
#[derive(Clone, Debug)]
struct Run {
    vote: Vote,
    reasons: Vec<String>,
}

/// Two may differ; a third decides.
const RUNS_OF_ONE_LOAD: usize = 3;
/// A verdict at the edge wants two that agree.
const AGREEING: usize = 2;

/// A search that was carried out, with its runs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CapacityResult {
    /// [`crate::results::FORMAT`].
    pub format: u32,
    /// Version of the program that measured.
    pub switchyard_version: String,
    /// The scenario's name.
    pub scenario: String,
    /// What the scenario says about itself.
    pub description: String,
    /// The server's address.
    pub url: String,
    /// How the server was spoken to.
    pub server_kind: ServerKind,
    /// What the traffic was made from.
    pub seed: u64,
    /// When the search began, as RFC 3339 says it.
    pub started: String,
    /// What was promised.
    pub promise: Slo,
    /// What the load counts, in the plural, such as "viewers" or "rooms".
    pub unit: String,
    /// How it was searched.
    pub plan: Plan,
    /// The runs in the order they were made; at most [`Plan::steps`].
    pub steps: Vec<Step>,
    /// What was found.
    pub verdict: Verdict,
}

/// One run of a search.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Step {
    /// The load.
    pub load: u64,
    /// How it went.
    pub outcome: Outcome,
    /// What was measured.
    pub run: RunResult,
}

impl Outcome {
    /// How a run went. That the bench was the bottleneck comes before all else. Unless there is a promise about failures, everybody must
    /// have got in: whoever was left outside is no load.
    pub fn of(run: &RunResult, promise: &Slo) -> Self {
        if let Some(bottleneck) = &run.bench.bottleneck {
            return Self::Bench(bottleneck.clone());
        }
        let mut breaches = promise.check(run);
        let failures = promise.promise(Metric::Failures);
        let failures_promised = failures.is_some();
        let failures_break = failures.is_some_and(|failures| failures.check(run).is_some());
        if run.joins.refused > 0 && (!failures_promised || failures_break) {
            return Self::Refused { refused: run.joins.refused, attempted: run.joins.attempted };
        }
        if !failures_promised && run.joins.failed > 0 {
            let cause =
                Cause::Exceeded { measured: run.joins.failed_share().unwrap_or(1.0), limit: 0.0, dimension: Dimension::Share, of: None };
            breaches.insert(0, Breach { promise: "failures<=0%".to_owned(), cause });
        }
        if breaches.is_empty() { Self::Kept } else { Self::Broken(breaches) }
    }

    fn vote(&self) -> Vote {
        match self {
            Self::Kept => Vote::Kept,
            Self::Broken(_) | Self::Refused { .. } => Vote::Broken,
            Self::Bench(_) => Vote::Bench,
        }
    }

    /// Why it is not [`Outcome::Kept`], in words; what matters most comes first.
    pub fn reasons(&self) -> Vec<String> {
        match self {
            Self::Kept => Vec::new(),
            Self::Broken(breaches) => breaches.iter().map(Breach::to_string).collect(),
            Self::Refused { refused, attempted } => vec![format!("the server refused {refused} of {attempted} joins")],
            Self::Bench(why) => vec![why.clone()],
        }
    }
}

impl Search {
    /// A search that has not begun. A start of 0 or beyond the most is moved into range; so is a resolution that is no share.
    pub fn new(plan: Plan) -> Self {
        let most = plan.most.max(1);
        let resolution = if plan.resolution.is_finite() { plan.resolution.clamp(0.0, 1.0) } else { Plan::default().resolution };
        let plan = Plan { start: plan.start.clamp(1, most), most, resolution, ..plan };
        Self { plan, runs: BTreeMap::new(), steps: 0 }
    }

    /// What to do next; the same until the next [`Self::record`].
    pub fn next(&self) -> Next {
        let next = self.wanted();
        match next {
            Next::Run { .. } if self.steps >= self.plan.steps => Next::Done(self.verdict()),
            _ => next,
        }
    }

    /// How the run went that [`Self::next`] asked for. Once the search is over, nothing counts any more.
    pub fn record(&mut self, outcome: &Outcome) {
        let Next::Run { load, .. } = self.next() else { return };
        self.steps += 1;
        self.runs.entry(load).or_default().push(Run { vote: outcome.vote(), reasons: outcome.reasons() });
    }

    /// Runs made so far.
    pub fn steps(&self) -> usize {
        self.steps
    }

    /// The largest load known to be kept, for showing while the search goes on.
    pub fn kept(&self) -> Option<u64> {
        self.edge().0
    }

    /// The smallest load known not to be, for showing while the search goes on.
    pub fn broken(&self) -> Option<u64> {
        self.edge().1
    }

    fn wanted(&self) -> Next {
        let run = |load, purpose| Next::Run { load, purpose };
        if let Some((&load, _)) = self.runs.iter().find(|(_, runs)| decide(runs).is_none()) {
            return run(load, Purpose::Confirm);
        }
        let (kept, broken) = self.edge();
        match (kept, broken) {
            (None, None) => run(self.plan.start, Purpose::Reach),
            (None, Some(1)) => self.confirmed_or(&[1]),
            // Downwards in halves until something is kept.
            (None, Some(broken)) => run(broken / 2, Purpose::Reach),
            (Some(kept), None) if kept >= self.plan.most => self.confirmed_or(&[kept]),
            (Some(kept), None) => run(kept.saturating_mul(2).min(self.plan.most), Purpose::Reach),
            (Some(kept), Some(broken)) => {
                if self.is_narrow(kept, broken) {
                    self.confirmed_or(&[kept, broken])
                } else {
                    run(kept + (broken - kept) / 2, Purpose::Narrow)
                }
            }
        }
    }

    /// The verdict if all of the loads have votes that agree; otherwise another run.
    fn confirmed_or(&self, loads: &[u64]) -> Next {
        match loads.iter().find(|load| !self.confirmed(**load)) {
            Some(&load) => Next::Run { load, purpose: Purpose::Confirm },
            None => Next::Done(self.verdict()),
        }
    }

    /// Decided by more than one run.
    fn confirmed(&self, load: u64) -> bool {
        self.runs.get(&load).is_some_and(|runs| runs.len() >= AGREEING && decide(runs).is_some())
    }

    /// Whether there is nothing left to halve between the two.
    fn is_narrow(&self, kept: u64, broken: u64) -> bool {
        let gap = broken - kept;
        gap <= 1 || gap as f64 <= kept as f64 * self.plan.resolution
    }

    /// The largest load kept, and the smallest above it that is not. Every load that is tried lies between the two of the moment, so
    /// nothing is kept above something broken.
    fn edge(&self) -> (Option<u64>, Option<u64>) {
        let is_kept = |runs: &Vec<Run>| decide(runs) == Some(Vote::Kept);
        let kept = self.runs.iter().rev().find(|(_, runs)| is_kept(runs)).map(|(&load, _)| load);
        let above = kept.map_or(0, |kept| kept + 1);
        let broken = self.runs.range(above..).next().map(|(&load, _)| load);
        (kept, broken)
    }
}

/// What the runs of one load say together; nothing if they differ and another is to decide. Three that all differ say that
/// the bench can't tell.
fn decide(runs: &[Run]) -> Option<Vote> {
    let count = |wanted: Vote| runs.iter().filter(|run| run.vote == wanted).count();
    match runs {
        [] => None,
        [only] => Some(only.vote),
        _ => match [Vote::Kept, Vote::Broken, Vote::Bench].into_iter().find(|vote| count(*vote) >= AGREEING) {
            Some(vote) => Some(vote),
            None if runs.len() >= RUNS_OF_ONE_LOAD => Some(Vote::Bench),
            None => None,
        },
    }
}
