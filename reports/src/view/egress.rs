//! Ways out: enforcement models, or attempts one by one.

use awf_probe_matrix::{Cell, Result_, Verdict};

use super::{Grid, Row, View, runs, symbol, tally};
use crate::text::clean;

impl<'a> View<'a> {
    /// Enforcement models × runtimes; `full` has a grid for each model, with a row for each attempt.
    pub(crate) fn egress(&self) -> Vec<Grid> {
        let mut cells: Vec<&'a Cell> = self.matrix.cells.iter().filter(|c| self.is_egress(c)).collect();
        let stage_place = |c: &'a Cell| {
            let (at, id, nth, model, backend) = self.place(c);
            (nth, model, backend, at, id)
        };
        cells.sort_by_key(|c| stage_place(c));
        let stages = runs(&cells, |c| (&c.model, &c.backend));
        if self.style.full {
            return stages.iter().map(|s| self.attempts(s)).collect();
        }
        let rows: Vec<Row> = stages.iter().filter(|s| self.is_stage_wanted(s)).map(|s| self.stage(s)).collect();
        if stages.is_empty() { Vec::new() } else { vec![self.grid("Egress", "enforcement model", rows)] }
    }

    fn attempts(&self, stage: &[&'a Cell]) -> Grid {
        let wanted = if self.is_stage_wanted(stage) { runs(stage, |c| &c.id) } else { Vec::new() };
        let control = self.is_control(stage[0]);
        let ended = |c: &Cell| match (c.result, control) {
            (Some(result), true) => result.word().to_owned(),
            (Some(result), false) => format!("{} {}", symbol(c.verdict), result.word()),
            (None, _) => format!("{} {}", symbol(c.verdict), c.verdict),
        };
        let row = |row: Vec<&'a Cell>| Row {
            label: clean(&row[0].id),
            cells: self.per_runtime(&row, |mine| mine.iter().map(|c| ended(c)).collect()),
            note: self.title(&row[0].id),
        };
        let rows = wanted.into_iter().filter(|r| self.is_wanted(r)).map(row).collect();
        self.grid(format!("Egress under {}", self.stage_name(stage[0])), "attempt", rows)
    }

    fn stage(&self, stage: &[&'a Cell]) -> Row {
        let control = self.is_control(stage[0]);
        let model = self.models.iter().find(|m| Some(m.id.as_str()) == stage[0].model.as_deref());
        Row {
            label: self.stage_name(stage[0]),
            cells: self.per_runtime(stage, |mine| if control { leaking(mine) } else { self.outcome(mine) }),
            note: model.map(|m| m.title.clone()).unwrap_or_default(),
        }
    }

    /// `netns-init/nft`, `open (control)`.
    fn stage_name(&self, cell: &Cell) -> String {
        let model = cell.model.as_deref().unwrap_or("no model");
        let backend = cell.backend.as_deref().map(|b| format!("/{b}")).unwrap_or_default();
        clean(&format!("{model}{backend}{}", if self.is_control(cell) { " (control)" } else { "" }))
    }

    /// Controls show nothing bad, however much leaks.
    fn is_stage_wanted(&self, stage: &[&Cell]) -> bool {
        !self.style.only_bad || (self.is_wanted(stage) && !self.is_control(stage[0]))
    }

    /// `✓ holds`, or what does not: `✗ leaks 3`, `(tcp.80 …)`, `? 1`.
    fn outcome(&self, cells: &[&Cell]) -> Vec<String> {
        if cells.is_empty() {
            return Vec::new();
        }
        let with = |v| cells.iter().filter(|c| c.verdict == v).collect::<Vec<_>>();
        let failed = with(Verdict::Fail);
        let leaked = cells.iter().filter(|c| c.result == Some(Result_::Leaked)).count();
        let open = with(Verdict::Partial).len() + with(Verdict::Inconclusive).len() + with(Verdict::Skipped).len();
        let mut words = Vec::new();
        if let Some(first) = failed.first() {
            words.push(if leaked > 0 { format!("✗ leaks {leaked}") } else { format!("✗ fails {}", failed.len()) });
            let worst = failed.iter().find(|c| c.result == Some(Result_::Leaked)).unwrap_or(first);
            let name = self.capability(&worst.id).map_or(worst.id.as_str(), |c| c.attempt.as_str());
            words.push(clean(&format!("({name}{})", if failed.len() > 1 { " …" } else { "" })));
        } else if open == 0 && !with(Verdict::Pass).is_empty() {
            words.push("✓ holds".to_owned());
        }
        // What passed and what failed is told; what is not applicable matters only where there is nothing else.
        words.extend(tally(cells).into_iter().filter(|t| !t.starts_with(['✓', '✗', '·'])));
        if words.is_empty() {
            words = tally(cells);
        }
        if self.roomy {
            words.extend(endings(cells));
        }
        words
    }
}

/// `20 of 24 leak`: what a control is there to show.
fn leaking(cells: &[&Cell]) -> Vec<String> {
    let tried = cells.iter().filter(|c| c.result.is_some_and(|r| r != Result_::NotApplicable)).count();
    let leaked = cells.iter().filter(|c| c.result == Some(Result_::Leaked)).count();
    if tried == 0 { tally(cells) } else { vec![format!("{leaked} of {tried}"), "leak".to_owned()] }
}

/// `(14 blocked,`, `5 proxied)`: how the harmless attempts ended.
fn endings(cells: &[&Cell]) -> Vec<String> {
    use Result_::{Blocked, Proxied, RefusedAtSource, Served};
    let count = |r| cells.iter().filter(|c| c.result == Some(r)).count();
    let ended = [Blocked, Proxied, RefusedAtSource, Served].map(|r| (count(r), r));
    let words: Vec<String> =
        ended.into_iter().filter(|(n, _)| *n > 0).map(|(n, r)| format!("{n} {}", r.word())).collect();
    if words.is_empty() { words } else { format!("({})", words.join(",\n")).lines().map(str::to_owned).collect() }
}
