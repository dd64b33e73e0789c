//! The benches there are, and what is collected of each in the course of the rounds.

use std::collections::BTreeMap;

use awf_probe_matrix::bench::{Figures, LEAST_ROUNDS, Round, compare};
use awf_probe_probes::BENCHES;

use super::{HOST_BENCHES, Settings, host};

/// A bench as it can be asked for.
#[derive(Clone, Copy, Debug)]
pub struct Entry {
    /// Id.
    pub id: &'static str,
    /// What one operation is.
    pub title: &'static str,
    /// How it is done.
    pub how: &'static str,
    /// Part of the quick suite.
    pub quick: bool,
    /// A whole tool, with a sandbox of its own in each round.
    pub tool: bool,
}

impl Entry {
    /// Every bench.
    pub fn all() -> Vec<Self> {
        let outside = HOST_BENCHES.iter().map(|(id, title, how)| Self { id, title, how, quick: true, tool: false });
        let inside =
            BENCHES.iter().map(|b| Self { id: b.id, title: b.title, how: b.how, quick: b.quick, tool: b.is_tool() });
        outside.chain(inside).collect()
    }

    /// Those that are asked for.
    pub fn chosen(settings: &Settings) -> Vec<Self> {
        let wanted = |e: &Self| (settings.full || e.quick) && settings.filter.takes(e.id);
        Self::all().into_iter().filter(wanted).collect()
    }
}

/// What was collected of one bench.
pub(super) struct Collected {
    /// Which.
    pub(super) entry: Entry,
    /// For each arm, for each round.
    pub(super) rounds: Vec<Vec<Round>>,
    /// Repetitions of a sample that take long enough, by runtime.
    pub(super) ops: BTreeMap<String, u64>,
    /// Times it failed, by arm, and why at last.
    pub(super) failed: BTreeMap<usize, (u32, String)>,
    /// Narrow enough: it is not visited any more.
    pub(super) settled: bool,
}

impl Collected {
    pub(super) fn new(entry: Entry, arms: usize) -> Self {
        Self { entry, rounds: vec![Vec::new(); arms], ops: BTreeMap::new(), failed: BTreeMap::new(), settled: false }
    }

    pub(super) fn is_outside(&self) -> bool {
        HOST_BENCHES.iter().any(|(id, ..)| *id == self.entry.id)
    }

    pub(super) fn is_life(&self) -> bool {
        self.is_outside() && self.entry.id != host::MEMORY
    }

    pub(super) fn fail(&mut self, arm: usize, why: String) {
        let failed = self.failed.entry(arm).or_default();
        *failed = (failed.0 + 1, why);
    }

    pub(super) fn given_up(&self, arm: usize) -> bool {
        self.failed.get(&arm).is_some_and(|(n, why)| *n >= MOST_FAILURES || why.starts_with("skipped: "))
    }

    /// A round counts if none of its visits is missing: one there without the one back is no A B B A. A tool is run once
    /// in a round, there in one and back in the next.
    pub(super) fn whole(&self, round: Round) -> Round {
        if round.len() == if self.entry.tool { 1 } else { 2 } { round } else { Round::new() }
    }

    /// Whether every comparison is as narrow as asked for.
    pub(super) fn is_narrow(&self, precision: f64) -> bool {
        (1..self.rounds.len()).filter(|arm| !self.given_up(*arm)).all(|arm| {
            compare(&self.rounds[0], &self.rounds[arm], self.entry.id)
                .is_some_and(|c| c.rounds >= LEAST_ROUNDS + 2 && c.ratio.precision() <= precision)
        })
    }
}

/// What is reported of a bench.
pub(super) fn figures(bench: Collected, names: &[String]) -> Figures {
    let mut arms = bench.rounds.into_iter();
    let missing = bench.failed.into_iter().map(|(arm, (times, why))| {
        let name = if arm == 1 { format!("{} (twin)", names[arm]) } else { names[arm].clone() };
        (name, if times == 1 { why } else { format!("{why} ({times} times)") })
    });
    Figures {
        id: bench.entry.id.to_owned(),
        title: bench.entry.title.to_owned(),
        how: bench.entry.how.to_owned(),
        unit: if bench.entry.id == host::MEMORY { "bytes" } else { "ns" },
        reference: arms.next().unwrap_or_default(),
        twin: arms.next().unwrap_or_default(),
        missing: missing.collect(),
        candidates: arms.collect(),
    }
}

/// A bench that failed this often under a runtime is left alone there.
const MOST_FAILURES: u32 = 3;
