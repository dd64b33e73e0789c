//! `coverage.toml`: the rows users ask about, clause by clause, and the capabilities that answer each.

use std::collections::BTreeSet;

use serde::Deserialize;

use crate::{Capability, Catalogue, Cell, Verdict};

/// A feature users ask about.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Row {
    /// Stable name.
    pub id: String,
    /// A line for tables.
    pub title: String,
    /// What must be told apart.
    #[serde(rename = "clause")]
    pub clauses: Vec<Clause>,
}

/// One thing a row must tell.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Clause {
    /// In words.
    pub what: String,
    /// Ids of the capabilities that answer it; `*` at the end stands for any rest.
    pub cells: Vec<String>,
}

impl Clause {
    /// The capabilities that answer it.
    pub fn capabilities<'a>(&'a self, catalogue: &'a Catalogue) -> impl Iterator<Item = &'a Capability> {
        catalogue.capabilities.iter().filter(|c| self.cells.iter().any(|p| matches(p, &c.id)))
    }
}

/// Whether a pattern of `coverage.toml` means this id.
pub fn matches(pattern: &str, id: &str) -> bool {
    pattern.strip_suffix('*').map_or(pattern == id, |start| id.starts_with(start))
}

/// What one runtime's cells say to a clause or a row.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Cells that pass.
    pub pass: usize,
    /// Cells that are partial.
    pub partial: usize,
    /// Cells that fail.
    pub fail: usize,
    /// Cells that do not apply.
    pub not_applicable: usize,
    /// Cells that were not told: inconclusive or skipped.
    pub open: usize,
}

impl Tally {
    /// How many cells there are.
    pub fn total(&self) -> usize {
        self.pass + self.partial + self.fail + self.not_applicable + self.open
    }

    fn add(&mut self, verdict: Verdict) {
        match verdict {
            Verdict::Pass => self.pass += 1,
            Verdict::Partial => self.partial += 1,
            Verdict::Fail => self.fail += 1,
            Verdict::NotApplicable => self.not_applicable += 1,
            Verdict::Inconclusive | Verdict::Skipped => self.open += 1,
        }
    }
}

/// The verdicts of a runtime on these clauses, each capability's cells counted once.
///
/// A leak under a model on which no requirement may rest is that model's finding; it counts like any other cell.
pub fn tally(catalogue: &Catalogue, clauses: &[Clause], runtime: &str, cells: &[Cell]) -> Tally {
    let ids: BTreeSet<&str> = clauses.iter().flat_map(|c| c.capabilities(catalogue)).map(|c| c.id.as_str()).collect();
    let mut tally = Tally::default();
    for cell in cells.iter().filter(|c| c.runtime == runtime && ids.contains(c.id.as_str())) {
        tally.add(cell.verdict);
    }
    tally
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    row: Vec<Row>,
}

/// The rows in order.
pub fn rows() -> Result<Vec<Row>, toml::de::Error> {
    toml::from_str::<File>(include_str!("../coverage.toml")).map(|f| f.row)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_stands_for_any_rest() {
        assert!(matches("netfilter.dnat.*", "netfilter.dnat.tcp.nft"));
        assert!(!matches("netfilter.dnat.*", "netfilter.drop.nft"));
        assert!(!matches("netfilter.dnat", "netfilter.dnat.tcp.nft"));
    }

    #[test]
    fn every_verdict_is_counted() {
        let mut tally = Tally::default();
        for v in [
            Verdict::Pass,
            Verdict::Partial,
            Verdict::Fail,
            Verdict::NotApplicable,
            Verdict::Inconclusive,
            Verdict::Skipped,
        ] {
            tally.add(v);
        }
        assert_eq!(tally, Tally { pass: 1, partial: 1, fail: 1, not_applicable: 1, open: 2 });
        assert_eq!(tally.total(), 6);
    }
}
