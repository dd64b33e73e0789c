//! The cells of a measurement: counted, and those that do not pass with their reasons.

use awf_probe_matrix::{Cell, Result_, Verdict};

use super::{Of, bounded};
use crate::{
    markdown::{code, escape, row},
    text::clean,
    view::{is_bad, symbol},
};

impl Of<'_> {
    /// Everything but egress, a line for each family.
    pub(super) fn families(&self) -> String {
        let head: Vec<String> = ["family".to_owned()].into_iter().chain(Verdict::ALL.map(|v| v.to_string())).collect();
        let mut out =
            format!("\n### Capabilities, by family\n\n{}|---|{}\n", row(&head), "---:|".repeat(head.len() - 1));
        let solo: Vec<&Cell> = self.cells.iter().copied().filter(|c| !self.view.is_egress(c)).collect();
        for family in solo.chunk_by(|a, b| self.view.family(&a.id) == self.view.family(&b.id)) {
            let count = |v| family.iter().filter(|c| c.verdict == v).count();
            let numbers = Verdict::ALL.map(|v| if count(v) == 0 { String::new() } else { count(v).to_string() });
            out.push_str(&row(&[vec![escape(self.view.family(&family[0].id))], numbers.to_vec()].concat()));
        }
        out
    }

    /// What does not pass, by family; cells with the same verdict and reason share a line.
    pub(super) fn failures(&self) -> String {
        let mut out = "\n### What does not pass, and why\n".to_owned();
        let solo = self.cells.iter().copied().filter(|c| !self.view.is_egress(c) && c.verdict != Verdict::Pass);
        let solo: Vec<&Cell> = solo.collect();
        for family in solo.chunk_by(|a, b| self.view.family(&a.id) == self.view.family(&b.id)) {
            let name = self.view.family(&family[0].id);
            out.push_str(&format!("\n**{}**\n\n", escape(name)));
            let mut lines: Vec<(&Cell, String, Vec<String>)> = Vec::new();
            for c in family {
                let (cell, why) = (short(&clean(&c.name()), name), gist(&c.reason));
                match lines.iter_mut().find(|l| l.0.verdict == c.verdict && l.1 == why) {
                    Some(line) => line.2.push(cell),
                    None => lines.push((c, why, vec![cell])),
                }
            }
            lines.sort_by_key(|(c, ..)| (!is_bad(c.verdict), c.verdict == Verdict::Partial));
            for (first, why, cells) in lines {
                let why = if cells.len() == 1 { clean(&first.reason) } else { why };
                let verdict = symbol(first.verdict);
                out.push_str(&format!("- {verdict} {}: {}\n", code(&cells.join(", ")), code(&bounded(&why))));
            }
        }
        if solo.is_empty() {
            out.push_str("\nEverything passes.\n");
        }
        out
    }

    /// Egress: a line for each model, then what is not held, attempts with the same end under the same models together.
    pub(super) fn ways_out(&self) -> String {
        let mut out = "\n### Egress\n\nAttempts to get out, by how they ended. `open` and `env-only` are controls: they leak.\n\n| enforcement model | leaked | not held otherwise | blocked, proxied or refused | served | not applicable |\n|---|---:|---:|---:|---:|---:|\n".to_owned();
        let controls = self.cells.iter().copied().filter(|c| self.view.is_control(c)).collect::<Vec<_>>();
        let controls = controls.chunk_by(|a, b| a.id == b.id).next().map_or(0, <[&Cell]>::len);
        let mut named: Vec<(String, Vec<&Cell>)> = Vec::new();
        if controls > 0 {
            for model in self.view.models.iter().filter(|m| !m.counts) {
                let mine = self.cells.iter().copied().filter(|c| c.model.as_ref() == Some(&model.id));
                named.push((format!("{} (control)", model.id), mine.collect()));
            }
        }
        named.extend(self.stages.iter().map(|s| (s.name.clone(), s.cells.clone())));
        for (name, cells) in named.iter().filter(|(_, c)| !c.is_empty()) {
            let n = |of: &dyn Fn(&Cell) -> bool| cells.iter().filter(|c| of(c)).count().to_string();
            let leaked = |c: &Cell| c.result == Some(Result_::Leaked);
            out.push_str(&row(&[
                code(name),
                n(&leaked),
                n(&|c| is_bad(c.verdict) && !leaked(c)),
                n(&|c| c.verdict == Verdict::Pass && c.result != Some(Result_::Served)),
                n(&|c| c.verdict == Verdict::Pass && c.result == Some(Result_::Served)),
                n(&|c| c.verdict == Verdict::NotApplicable),
            ]));
        }
        let mut folded: Vec<Folded> = Vec::new();
        let cells = self.cells.iter().filter(|c| self.view.is_egress(c) && !self.view.is_control(c));
        let cells: Vec<&Cell> = cells.copied().filter(|c| c.verdict != Verdict::Pass).collect();
        for attempt in cells.chunk_by(|a, b| a.id == b.id) {
            let mut ends: Vec<(Verdict, Option<Result_>)> = attempt.iter().map(|c| (c.verdict, c.result)).collect();
            ends.sort_unstable_by_key(|(v, r)| (format!("{v}"), r.map(Result_::word)));
            ends.dedup();
            for end in ends {
                let mine: Vec<&&Cell> = attempt.iter().filter(|c| (c.verdict, c.result) == end).collect();
                let places =
                    self.stages.iter().filter(|s| mine.iter().any(|c| s.cells.iter().any(|x| std::ptr::eq(*x, **c))));
                let stages: Vec<&str> = places.map(|s| s.name.as_str()).collect();
                let name = short(&attempt[0].id, "egress");
                match folded.iter_mut().find(|f| f.end == end && f.stages == stages) {
                    Some(same) => same.attempts.push(name),
                    None => folded.push(Folded { end, stages, attempts: vec![name], reason: gist(&mine[0].reason) }),
                }
            }
        }
        folded.sort_by_key(|f| (!is_bad(f.end.0), f.end.0 != Verdict::Fail, usize::MAX - f.stages.len()));
        if !folded.is_empty() {
            out.push_str("\nWhat is not held, or not applicable; the reason is that of the first attempt:\n\n");
        }
        for f in folded {
            let word = f.end.1.map_or_else(|| f.end.0.to_string(), |r| r.word().to_owned());
            out.push_str(&format!(
                "- {} {word} {}: {}: {}\n",
                symbol(f.end.0),
                self.under(&f.stages),
                code(&f.attempts.join(", ")),
                code(&bounded(&f.reason))
            ));
        }
        out
    }
}

/// Attempts that ended alike under the same models.
struct Folded<'a> {
    end: (Verdict, Option<Result_>),
    stages: Vec<&'a str>,
    attempts: Vec<String>,
    reason: String,
}

/// The name within its family.
fn short(name: &str, family: &str) -> String {
    name.strip_prefix(family).and_then(|n| n.strip_prefix('.')).unwrap_or(name).to_owned()
}

/// A reason without the name of the condition, which differs from cell to cell.
fn gist(reason: &str) -> String {
    let reason = clean(reason);
    match reason.split_once(" should be ") {
        Some((key, rest)) if !key.contains(' ') => format!("should be {rest}"),
        Some(_) | None => reason,
    }
}
