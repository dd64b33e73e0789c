//! R1–R7: what holds whatever the runtime, and on which cells that rests.

use std::collections::BTreeSet;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{Catalogue, Cell, Model, Verdict};

/// A requirement of AWF as `requirements.toml` has it.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Requirement {
    /// `R1` … `R7`.
    pub id: String,
    /// What it demands.
    pub title: String,
    /// Capabilities it rests on.
    pub cells: Vec<String>,
    /// Those of them that may never be not applicable.
    #[serde(default)]
    pub never_not_applicable: Vec<String>,
}

/// Whether a requirement holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Standing {
    /// Every cell it rests on passes (or is not applicable where that is allowed).
    Holds,
    /// Nothing failed, but not everything could be told.
    Unknown,
    /// At least one cell fails.
    Broken,
}

/// A cell a requirement rests on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RequirementCell {
    /// Name of the cell, with model and backend.
    pub cell: String,
    /// Its verdict.
    pub verdict: Verdict,
    /// Its reason.
    pub reason: String,
}

/// A requirement for one runtime.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RequirementResult {
    /// `R1` … `R7`.
    pub id: String,
    /// Runtime.
    pub runtime: String,
    /// The model under which it was asked, `MODEL` or `MODEL/BACKEND`; empty if no model counts.
    pub model: String,
    /// Whether it holds.
    pub standing: Standing,
    /// The first cell that keeps it from holding.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub because: Option<RequirementCell>,
    /// How many cells it rests on.
    pub rests_on: usize,
}

/// R1–R7 of one runtime, all under the one model that keeps the most of them.
///
/// Ties go to the model that leaves fewer unknown, then to the order of `models`.
pub fn assess(catalogue: &Catalogue, models: &[Model], runtime: &str, cells: &[Cell]) -> Vec<RequirementResult> {
    let mine: Vec<&Cell> = cells.iter().filter(|c| c.runtime == runtime).collect();
    let counted: BTreeSet<&str> = models.iter().filter(|m| m.counts).map(|m| m.id.as_str()).collect();
    let mut stages: Vec<(Option<&str>, Option<&str>)> = Vec::new();
    for c in &mine {
        let stage = (c.model.as_deref(), c.backend.as_deref());
        if c.result.is_some() && stage.0.is_some_and(|m| counted.contains(m)) && !stages.contains(&stage) {
            stages.push(stage);
        }
    }
    if stages.is_empty() {
        stages.push((None, None));
    }
    stages.sort_by_key(|s| models.iter().position(|m| Some(m.id.as_str()) == s.0));
    let results = stages.into_iter().map(|stage| {
        let of = |r: &Requirement| one(catalogue, r, runtime, stage, &mine);
        catalogue.requirements.iter().map(of).collect::<Vec<_>>()
    });
    let score = |rs: &Vec<RequirementResult>| {
        let count = |s| rs.iter().filter(|r| r.standing == s).count();
        (count(Standing::Broken), count(Standing::Unknown))
    };
    results.min_by_key(score).unwrap_or_default()
}

/// R1–R7 of one runtime under one model.
pub fn assess_under(
    catalogue: &Catalogue,
    runtime: &str,
    model: &str,
    backend: Option<&str>,
    cells: &[Cell],
) -> Vec<RequirementResult> {
    let mine: Vec<&Cell> = cells.iter().filter(|c| c.runtime == runtime).collect();
    catalogue.requirements.iter().map(|r| one(catalogue, r, runtime, (Some(model), backend), &mine)).collect()
}

fn one(
    catalogue: &Catalogue,
    requirement: &Requirement,
    runtime: &str,
    (model, backend): (Option<&str>, Option<&str>),
    mine: &[&Cell],
) -> RequirementResult {
    let mut because: Option<(Standing, RequirementCell)> = None;
    let mut rests_on = 0;
    for id in &requirement.cells {
        let egress = catalogue.get(id).is_some_and(|c| c.scope.has_models());
        let found = mine.iter().find(|c| {
            // Without a model that counts (a runtime that does not start) any cell tells why.
            c.id == *id
                && (!egress || model.is_none() || (c.model.as_deref() == model && c.backend.as_deref() == backend))
        });
        rests_on += 1;
        let (standing, cell) = match found {
            None => {
                let reason = "not measured".to_owned();
                (Standing::Unknown, RequirementCell { cell: id.clone(), verdict: Verdict::Skipped, reason })
            }
            Some(c) => {
                let may_be_na = !requirement.never_not_applicable.contains(id);
                let standing = match c.verdict {
                    Verdict::Pass => Standing::Holds,
                    Verdict::NotApplicable if may_be_na => Standing::Holds,
                    Verdict::Fail | Verdict::Partial => Standing::Broken,
                    Verdict::NotApplicable | Verdict::Inconclusive | Verdict::Skipped => Standing::Unknown,
                };
                (standing, RequirementCell { cell: c.name(), verdict: c.verdict, reason: c.reason.clone() })
            }
        };
        if because.as_ref().map_or(Standing::Holds, |(s, _)| *s) < standing {
            because = Some((standing, cell));
        }
    }
    let standing = because.as_ref().map_or(Standing::Holds, |(s, _)| *s);
    let model = match (model, backend) {
        (Some(m), Some(b)) => format!("{m}/{b}"),
        (Some(m), None) => m.to_owned(),
        (None, _) => String::new(),
    };
    RequirementResult {
        id: requirement.id.clone(),
        runtime: runtime.to_owned(),
        model,
        standing,
        because: because.map(|(_, c)| c),
        rests_on,
    }
}
