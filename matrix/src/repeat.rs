//! Several measurements of the same runtimes folded into one: a cell that wavers says nothing.

use std::collections::BTreeMap;

use crate::{Catalogue, Cell, Coverage, Leftovers, Matrix, Model, RuntimeRow, Sighting, Verdict, assess};

/// Why measurements cannot be folded.
#[derive(Debug, PartialEq, Eq)]
pub enum Unlike {
    /// There are none.
    None,
    /// The host, the engine or the catalogue is another.
    Host,
    /// A runtime's version, executable or arguments are another.
    Runtime(String),
    /// They did not ask the same cells.
    Cells,
}

impl std::fmt::Display for Unlike {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::None => f.write_str("there is no measurement"),
            Self::Host => f.write_str("host, engine or catalogue changed between two repetitions"),
            Self::Runtime(name) => write!(f, "the runtime {name} changed between two repetitions"),
            Self::Cells => f.write_str("two repetitions asked different cells"),
        }
    }
}

/// What a cell came out as in one repetition: the verdict, and for a way out how it ended.
fn word(cell: &Cell) -> String {
    match cell.result {
        Some(result) => format!("{} ({})", cell.verdict.word(), result.word()),
        None => cell.verdict.word().to_owned(),
    }
}

/// Folds repetitions, in their order. A cell with the same outcome in all of them keeps it, with the evidence of the
/// last one; any other is inconclusive, with what it came out as and how often.
///
/// # Errors
///
/// Where they are not of the same runtimes, host, catalogue and plan.
pub fn fold(rounds: &[Matrix], catalogue: &Catalogue, models: &[Model]) -> Result<Matrix, Unlike> {
    let (Some(first), Some(last)) = (rounds.first(), rounds.last()) else { return Err(Unlike::None) };
    for round in rounds {
        alike(first, round)?;
    }
    let cells: Vec<Cell> = (0..first.cells.len()).map(|i| one(rounds, i)).collect();
    let runtimes: Vec<RuntimeRow> = (0..first.runtimes.len()).map(|i| row(rounds, i)).collect();
    let requirements = runtimes.iter().flat_map(|r| assess(catalogue, models, &r.name, &cells)).collect();
    let coverage = Coverage {
        measured: cells.iter().filter(|c| c.verdict.is_conclusive()).count(),
        examined: rounds.iter().map(|m| m.coverage.examined).min().unwrap_or_default(),
        total: cells.len(),
    };
    let mut run = last.run.clone();
    // Its age is that of the oldest thing in it.
    run.started.clone_from(&first.run.started);
    run.elapsed_ms = rounds.iter().map(|m| m.run.elapsed_ms).sum();
    run.complete = rounds.iter().all(|m| m.run.complete);
    run.repeats = Some(rounds.len() as u64);
    run.timings = BTreeMap::new();
    for (phase, ms) in rounds.iter().flat_map(|m| &m.run.timings) {
        *run.timings.entry(phase.clone()).or_default() += ms;
    }
    let mut leftovers = Leftovers { checked: rounds.iter().all(|m| m.leftovers.checked), ..Leftovers::default() };
    for round in rounds {
        leftovers.ours.extend(round.leftovers.ours.iter().cloned());
        leftovers.others.extend(round.leftovers.others.iter().cloned());
    }
    Ok(Matrix { run, host: first.host.clone(), runtimes, cells, requirements, coverage, leftovers })
}

fn alike(a: &Matrix, b: &Matrix) -> Result<(), Unlike> {
    let same_run = a.run.catalogue == b.run.catalogue && a.run.executable == b.run.executable;
    if a.host != b.host || !same_run {
        return Err(Unlike::Host);
    }
    if a.runtimes.len() != b.runtimes.len() || a.cells.len() != b.cells.len() {
        return Err(Unlike::Cells);
    }
    for (x, y) in a.runtimes.iter().zip(&b.runtimes) {
        let same = x.name == y.name && x.version == y.version && x.product == y.product;
        // `files` also holds what the sandboxes were seen to run, which a repetition may not have seen.
        let (f, g) = (&x.fingerprint, &y.fingerprint);
        if !same || f.path != g.path || f.sha256 != g.sha256 || f.args != g.args || f.wraps != g.wraps {
            return Err(Unlike::Runtime(x.name.clone()));
        }
    }
    let place = |c: &Cell| (c.id.clone(), c.runtime.clone(), c.model.clone(), c.backend.clone());
    if a.cells.iter().zip(&b.cells).any(|(x, y)| place(x) != place(y)) {
        return Err(Unlike::Cells);
    }
    Ok(())
}

fn one(rounds: &[Matrix], at: usize) -> Cell {
    let cells: Vec<&Cell> = rounds.iter().map(|m| &m.cells[at]).collect();
    let mut counts: BTreeMap<String, u64> = BTreeMap::new();
    for c in &cells {
        *counts.entry(word(c)).or_default() += 1;
    }
    // `fold` has at least one round.
    let mut cell = cells[cells.len() - 1].clone();
    if counts.len() > 1 {
        let most = counts.values().max().copied().unwrap_or_default();
        let told: Vec<String> = counts.iter().map(|(word, n)| format!("{word} {n}×")).collect();
        cell.verdict = Verdict::Inconclusive;
        // How it ended is part of what wavers.
        cell.result = cell.result.map(|_| crate::Result_::Inconclusive);
        cell.reason = format!("unstable {most}/{}: {}", cells.len(), told.join(", "));
        cell.evidence = counts
            .keys()
            .filter_map(|w| {
                let (i, c) = cells.iter().enumerate().find(|(_, c)| word(c) == *w)?;
                let saw = format!("{w}: {}", c.reason);
                Some(Sighting { source: format!("repetition {}", i + 1), saw, journal_line: None })
            })
            .collect();
    }
    cell.counts = counts;
    cell
}

fn row(rounds: &[Matrix], at: usize) -> RuntimeRow {
    let rows: Vec<&RuntimeRow> = rounds.iter().map(|m| &m.runtimes[at]).collect();
    let mut row = rows[rows.len() - 1].clone();
    if rows.iter().any(|r| r.class != row.class) {
        row.class = None;
        row.notes.push("its identity was not the same in every repetition".to_owned());
    }
    for r in &rows {
        row.fingerprint.files.extend(r.fingerprint.files.clone());
        // One start that failed is enough.
        if row.unusable.is_none() {
            row.unusable.clone_from(&r.unusable);
        }
    }
    row
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Fingerprint, Host, IsolationClass, Result_, RunInfo};

    fn cell(id: &str, verdict: Verdict, result: Option<Result_>) -> Cell {
        Cell {
            id: id.to_owned(),
            runtime: "a".to_owned(),
            model: None,
            backend: None,
            verdict,
            reason: format!("it was {}", verdict.word()),
            result,
            evidence: vec![],
            rejection: None,
            counts: BTreeMap::new(),
        }
    }

    fn round(n: u64, cells: Vec<Cell>) -> Matrix {
        let row = RuntimeRow {
            name: "a".to_owned(),
            version: "1".to_owned(),
            product: "runc".to_owned(),
            fingerprint: Fingerprint::default(),
            class: Some(IsolationClass::SharedKernel),
            unusable: None,
            notes: vec![],
        };
        let run = RunInfo {
            id: n.to_string(),
            started: format!("2026-01-0{n}T00:00:00Z"),
            elapsed_ms: 1000,
            complete: true,
            timings: BTreeMap::from([("start".to_owned(), 10)]),
            ..RunInfo::default()
        };
        Matrix {
            run,
            host: Host::default(),
            runtimes: vec![row],
            coverage: Coverage { measured: cells.len(), examined: cells.len(), total: cells.len() },
            cells,
            requirements: vec![],
            leftovers: Leftovers { checked: true, ..Leftovers::default() },
        }
    }

    fn folded(rounds: &[Matrix]) -> Result<Matrix, Unlike> {
        fold(rounds, &Catalogue::builtin().expect("catalogue"), &[])
    }

    #[test]
    fn what_is_the_same_each_time_stays() {
        let rounds: Vec<Matrix> = (1..=3).map(|n| round(n, vec![cell("x.y", Verdict::Fail, None)])).collect();
        let all = folded(&rounds).expect("alike");
        assert_eq!(all.cells[0].verdict, Verdict::Fail);
        assert_eq!(all.cells[0].reason, "it was fail");
        assert_eq!(all.cells[0].counts, BTreeMap::from([("fail".to_owned(), 3)]));
        assert_eq!((all.run.repeats, all.run.elapsed_ms, all.run.timings["start"]), (Some(3), 3000, 30));
        assert_eq!((all.run.id.as_str(), all.run.started.as_str()), ("3", "2026-01-01T00:00:00Z"));
    }

    #[test]
    fn whatever_wavers_is_inconclusive_with_its_counts() {
        for other in Verdict::ALL {
            for main in Verdict::ALL {
                if main == other {
                    continue;
                }
                for odd in 1..=5 {
                    let one = |n| cell("x.y", if n == odd { other } else { main }, None);
                    let rounds: Vec<Matrix> = (1..=5).map(|n| round(n, vec![one(n)])).collect();
                    let all = folded(&rounds).expect("alike");
                    let c = &all.cells[0];
                    assert_eq!(c.verdict, Verdict::Inconclusive);
                    assert!(c.reason.starts_with("unstable 4/5: "), "{}", c.reason);
                    assert_eq!((c.counts[main.word()], c.counts[other.word()]), (4, 1));
                    let source = format!("repetition {odd}");
                    assert!(c.evidence.iter().any(|s| s.source == source && s.saw.contains(other.word())));
                    assert_eq!(all.coverage.measured, 0);
                }
            }
        }
    }

    #[test]
    fn another_way_to_end_is_another_outcome() {
        let rounds: Vec<Matrix> = [Result_::Blocked, Result_::RefusedAtSource]
            .into_iter()
            .zip(1..)
            .map(|(r, n)| round(n, vec![cell("egress.x", Verdict::Pass, Some(r))]))
            .collect();
        let all = folded(&rounds).expect("alike");
        assert_eq!((all.cells[0].verdict, all.cells[0].result), (Verdict::Inconclusive, Some(Result_::Inconclusive)));
        assert_eq!(all.cells[0].reason, "unstable 1/2: pass (blocked) 1×, pass (refused-at-source) 1×");
    }

    #[test]
    fn what_is_not_alike_is_not_folded() {
        let a = || round(1, vec![cell("x.y", Verdict::Pass, None)]);
        let mut host = a();
        host.host.kernel = "another".to_owned();
        let mut catalogue = a();
        catalogue.run.catalogue = "another".to_owned();
        let mut version = a();
        version.runtimes[0].version = "2".to_owned();
        let mut file = a();
        file.runtimes[0].fingerprint.sha256 = "another".to_owned();
        let renamed = round(1, vec![cell("x.z", Verdict::Pass, None)]);
        let shorter = round(1, vec![]);
        let runtime = || Err(Unlike::Runtime("a".to_owned()));
        assert_eq!(folded(&[]), Err(Unlike::None));
        assert_eq!(folded(&[a(), host]), Err(Unlike::Host));
        assert_eq!(folded(&[a(), catalogue]), Err(Unlike::Host));
        assert_eq!(folded(&[a(), version]), runtime());
        assert_eq!(folded(&[a(), file]), runtime());
        assert_eq!(folded(&[a(), renamed]), Err(Unlike::Cells));
        assert_eq!(folded(&[a(), shorter]), Err(Unlike::Cells));
    }

    #[test]
    fn a_runtime_that_once_did_not_start_or_was_another_is_told() {
        let mut dead = round(2, vec![]);
        dead.runtimes[0].unusable = Some("no".to_owned());
        dead.runtimes[0].class = None;
        let all = folded(&[dead, round(3, vec![])]).expect("alike");
        assert_eq!((all.runtimes[0].unusable.as_deref(), all.runtimes[0].class), (Some("no"), None));
        let mut left = round(2, vec![]);
        left.leftovers.ours.push("a rule".to_owned());
        left.run.complete = false;
        let all = folded(&[left, round(3, vec![])]).expect("alike");
        assert_eq!((all.leftovers.ours.len(), all.run.complete), (1, false));
    }
}
