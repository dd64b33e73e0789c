//! The cells of one runtime as they count under one model and backend.

use std::collections::BTreeMap;

use super::{Basis, Proof, Standing};
use crate::{Catalogue, Cell, InitUnder, Model, Requirement, Scope, Verdict};

/// Cells by id, model and backend.
pub(super) type Cells<'a> = BTreeMap<(&'a str, Option<&'a str>, Option<&'a str>), &'a Cell>;

/// One runtime under one model.
#[derive(Clone, Copy, Debug)]
pub(super) struct View<'a> {
    pub(super) catalogue: &'a Catalogue,
    pub(super) cells: &'a Cells<'a>,
    pub(super) runtime: &'a str,
    pub(super) default_runtime: &'a str,
    pub(super) model: &'a Model,
    pub(super) backend: Option<&'a str>,
}

impl View<'_> {
    /// The cell of a capability that counts here. One that is missing is skipped, never passed.
    pub(super) fn basis(&self, id: &str) -> Basis {
        let scope = self.catalogue.get(id).map(|c| c.scope);
        let (model, backend) = match scope {
            Some(Scope::Egress | Scope::Guard | Scope::DualStack) => (Some(self.model.id.clone()), self.backend),
            Some(Scope::Netns) => {
                let init = if self.model.init == InitUnder::Own { self.runtime } else { self.default_runtime };
                (Some(format!("init={init}")), None)
            }
            Some(Scope::Solo) | None => (None, None),
        };
        match self.cells.get(&(id, model.as_deref(), backend)) {
            Some(cell) => Basis::of(cell),
            None => {
                let name = match (&model, backend) {
                    (Some(m), Some(b)) => format!("{id} [{m}/{b}]"),
                    (Some(m), None) => format!("{id} [{m}]"),
                    (None, _) => id.to_owned(),
                };
                Basis {
                    cell: name,
                    verdict: Verdict::Skipped,
                    reason: "missing in the report".to_owned(),
                    evidence: None,
                }
            }
        }
    }

    /// A requirement and every cell it rests on.
    pub(super) fn proof(&self, requirement: &Requirement) -> Proof {
        // A cell that may never be not applicable counts even if the list of cells forgets it.
        let forgotten = requirement.never_not_applicable.iter().filter(|id| !requirement.cells.contains(id));
        let ids: Vec<&String> = requirement.cells.iter().chain(forgotten).collect();
        let accepts = |id: &str| !requirement.never_not_applicable.iter().any(|n| n == id);
        self.rests_on(&requirement.id, &requirement.title, ids.into_iter(), accepts)
    }

    /// The same for cells a policy or the command line names.
    pub(super) fn rests_on<'b>(
        &self,
        id: &str,
        title: &str,
        ids: impl Iterator<Item = &'b String>,
        may_be_not_applicable: impl Fn(&str) -> bool,
    ) -> Proof {
        let mut proof = Proof { id: id.to_owned(), title: title.to_owned(), standing: Standing::Holds, cells: vec![] };
        for id in ids {
            let basis = self.basis(id);
            let standing = match basis.verdict {
                Verdict::Pass => Standing::Holds,
                Verdict::NotApplicable if may_be_not_applicable(id) => Standing::Holds,
                Verdict::Fail | Verdict::Partial => Standing::Broken,
                Verdict::NotApplicable | Verdict::Inconclusive | Verdict::Skipped => Standing::Unknown,
            };
            proof.standing = proof.standing.max(standing);
            proof.cells.push(basis);
        }
        proof
    }
}
