//! What a search found.

use serde::{Deserialize, Serialize};

use super::{Search, Vote, decide};
use crate::report::figures;

/// What a search found.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Verdict {
    /// The largest load that kept the promise, if any did.
    pub largest_kept: Option<u64>,
    /// The smallest load above it at which the server broke the promise, if any did.
    pub smallest_broken: Option<u64>,
    /// What broke at `smallest_broken`, what was exceeded most first, in words.
    pub broke_first: Vec<String>,
    /// Why the search ended where it did.
    pub bound: Bound,
    /// Whether each load at the edge was run often enough to be sure.
    pub confirmed: bool,
    /// Runs it took.
    pub runs: usize,
}

/// Why a search ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Bound {
    /// The server's limit is between the largest kept and the smallest broken load.
    Server,
    /// The bench was the bottleneck before the server was: its limit is not known.
    Bench {
        /// At which load.
        load: u64,
        /// Why, as the bench says it.
        why: String,
    },
    /// The largest load that was asked for was kept.
    Plan,
    /// The runs that were allowed were used up before the edge was found.
    Runs,
}

impl Search {
    /// What is known now.
    pub(super) fn verdict(&self) -> Verdict {
        let (kept, above) = self.edge();
        let failed = |vote: Vote| {
            let decided = self.runs.iter().find(move |(load, runs)| Some(**load) > kept && decide(runs) == Some(vote));
            decided.map(|(&load, runs)| {
                let told = runs.iter().find(|run| run.vote == vote);
                (load, told.map(|run| run.reasons.clone()).unwrap_or_default())
            })
        };
        let (smallest_broken, broke_first) = failed(Vote::Broken).unzip();
        let reached = match (kept, above) {
            (Some(kept), Some(above)) => self.is_narrow(kept, above),
            (Some(kept), None) => kept >= self.plan.most,
            (None, above) => above == Some(1),
        };
        let bound = match (reached, above) {
            (false, _) => Bound::Runs,
            (true, None) => Bound::Plan,
            (true, Some(_)) if smallest_broken == above => Bound::Server,
            (true, Some(load)) => {
                let why = failed(Vote::Bench).and_then(|(_, reasons)| reasons.into_iter().next());
                Bound::Bench { load, why: why.unwrap_or_else(|| "its runs differ".to_owned()) }
            }
        };
        let confirmed = reached && [kept, above].into_iter().flatten().all(|load| self.confirmed(load));
        Verdict { largest_kept: kept, smallest_broken, broke_first: broke_first.unwrap_or_default(), bound, confirmed, runs: self.steps }
    }
}

impl Verdict {
    /// The largest load in a few words: "200 viewers", "at least 200 viewers", "none".
    pub fn headline(&self, unit: &str) -> String {
        match (self.largest_kept, &self.bound) {
            (Some(kept), Bound::Server) => format!("{} {unit}", figures::count(kept)),
            (Some(kept), _) => format!("at least {} {unit}", figures::count(kept)),
            (None, Bound::Server) => format!("no {unit} at all"),
            (None, _) => "not known".to_owned(),
        }
    }

    /// What was found, in sentences; `unit` is what the load counts, in the plural.
    pub fn sentences(&self, unit: &str) -> Vec<String> {
        let mut sentences = Vec::new();
        let broke = |load: u64| match self.broke_first.as_slice() {
            [] => format!("At {} the promise broke.", figures::count(load)),
            [first] => format!("At {} the promise broke: {first}.", figures::count(load)),
            [first, rest @ ..] => format!("At {} the promise broke, first of all {first}; also {}.", figures::count(load), rest.join("; ")),
        };
        match self.largest_kept {
            Some(kept) => sentences.push(format!("{} {unit} keep the promise.", figures::count(kept))),
            None => sentences.push("No load that was tried kept the promise.".to_owned()),
        }
        match &self.bound {
            Bound::Server => {}
            Bound::Bench { load, why } => sentences.push(format!(
                "At {} the bench itself was the bottleneck ({why}), so what the server can do beyond that is not known.",
                figures::count(*load)
            )),
            Bound::Plan => sentences.push("That is the largest load that was asked for; the server may hold more.".to_owned()),
            Bound::Runs => sentences.push(format!("The search ended after {} runs, before the edge was found.", self.runs)),
        }
        sentences.extend(self.smallest_broken.map(broke));
        if !self.confirmed && !matches!(self.bound, Bound::Runs) {
            sentences.push(format!("The edge was not confirmed by a second run: the search ended after {} runs.", self.runs));
        }
        sentences
    }
}
