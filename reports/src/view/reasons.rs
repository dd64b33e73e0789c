//! Why a cell says what it says.

use std::collections::HashMap;

use awf_probe_matrix::{Cell, Verdict};

use super::{View, is_bad};
use crate::text::clean;

/// One reason, and the cells of one runtime it is given for.
pub(crate) struct Reason {
    /// Runtime.
    pub(crate) runtime: String,
    /// Names of the cells, in the matrix's order; empty if the runtime as a whole could not be measured.
    pub(crate) cells: Vec<String>,
    /// Their verdict; none if the runtime could not be measured.
    pub(crate) verdict: Option<Verdict>,
    /// The reason.
    pub(crate) text: String,
}

impl<'a> View<'a> {
    /// For each runtime, in the matrix's order: why cells do not pass. Cells of controls are left out, and of a runtime
    /// that could not be measured all but that.
    pub(crate) fn reasons(&self) -> Vec<Reason> {
        let wanted = |c: &&Cell| is_bad(c.verdict) || (c.verdict == Verdict::NotApplicable && !self.style.only_bad);
        let mut cells: Vec<&'a Cell> =
            self.matrix.cells.iter().filter(wanted).filter(|c| !self.is_control(c)).collect();
        cells.sort_by_key(|c| self.place(c));
        let mut out = Vec::new();
        for row in &self.matrix.runtimes {
            if let Some(why) = &row.unusable {
                let text = format!("could not be measured: {}", clean(why));
                out.push(Reason { runtime: clean(&row.name), cells: Vec::new(), verdict: None, text });
                continue;
            }
            let own = out.len();
            let mut seen: HashMap<(Verdict, String), usize> = HashMap::new();
            for cell in cells.iter().filter(|c| c.runtime == row.name) {
                let at = *seen.entry((cell.verdict, self.group(cell))).or_insert_with(|| {
                    let text = clean(&cell.reason);
                    out.push(Reason {
                        runtime: clean(&row.name),
                        cells: Vec::new(),
                        verdict: Some(cell.verdict),
                        text,
                    });
                    out.len() - 1
                });
                out[at].cells.push(clean(&cell.name()));
            }
            // What to look at first, what is out of the question last.
            out[own..].sort_by_key(|r| r.verdict.is_some_and(|v| !is_bad(v)));
        }
        out
    }

    /// Cells of one group share a line: those with the same reason or, folded, those of one family, model and iptables
    /// backend, for which the first reason speaks.
    fn group(&self, cell: &Cell) -> String {
        if self.style.full {
            return cell.reason.clone();
        }
        let family = cell.id.split('.').next().unwrap_or_default();
        if !["netfilter", "netns", "egress", "guard", "ipv6"].contains(&family) {
            return cell.reason.clone();
        }
        if cell.verdict == Verdict::NotApplicable {
            // What follows the colon is this attempt's own errno.
            return format!("{family} {}", cell.reason.split(':').next().unwrap_or_default());
        }
        if family == "netns" {
            return format!("netns {:?}", cell.model);
        }
        let backend = cell.id.rsplit('.').next().filter(|s| s.starts_with("legacy") || s.starts_with("nft"));
        let stage = (cell.model.as_deref(), cell.backend.as_deref(), backend);
        format!("{family} {stage:?}")
    }
}

impl Reason {
    /// The cell, or how many there are and the first of them.
    pub(crate) fn subject(&self) -> String {
        match self.cells.as_slice() {
            [] => String::new(),
            [one] => one.clone(),
            [first, ..] => format!("{} cells ({first} …)", self.cells.len()),
        }
    }
}
