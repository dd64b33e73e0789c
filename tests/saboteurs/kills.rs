//! Compares saboteurs with the reference runtime, cell by cell.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};

use libtest_mimic::{Failed, Trial};
use serde_json::Value;

use crate::{
    breaks::{Breaks, NO_PASS},
    store::{self, Measured},
    table::{SABOTEURS, Saboteur},
};

/// Verdicts by cell.
type Cells = BTreeMap<String, String>;

/// What was measured.
#[derive(Debug, Default)]
pub(crate) struct Kills {
    /// By saboteur: its cells, and the reference's of the same runs.
    measured: BTreeMap<&'static str, (Cells, Cells)>,
    /// What went wrong with a run as a whole, by the saboteurs in it.
    failures: Vec<(Vec<&'static str>, String)>,
    /// Reasons, for the report.
    reasons: BTreeMap<(&'static str, String), String>,
    /// Folders that were judged, and what came of it.
    judged: BTreeMap<PathBuf, Value>,
    /// How long the runs took that are compared.
    run_seconds: u64,
    /// How long this took.
    pub(crate) seconds: u64,
    /// Some parts were not asked for.
    pub(crate) partial: bool,
}

/// The reference.
pub(crate) const REFERENCE: &str = "runc";

impl Kills {
    /// Takes a saboteur's part of a measurement.
    pub(crate) fn take(&mut self, s: &'static Saboteur, dir: &Path, measured: &Measured) -> Result<(), String> {
        if !self.judged.contains_key(dir) {
            self.judged.insert(dir.to_owned(), store::judged(dir)?);
            self.run_seconds += measured.seconds;
        }
        let (Some(report), Some(mark)) = (self.judged.get(dir), measured.saboteurs.get(s.name)) else {
            return Err(format!("{}: {} is not in it", dir.display(), s.name));
        };
        let (cells, reference) = self.measured.entry(s.name).or_default();
        let mine = read(report, &mark.runtime, &mark.runtime);
        self.reasons.extend(mine.iter().map(|(c, (_, why))| ((s.name, c.clone()), why.clone())));
        reference.extend(compared(report, &mark.runtime, &mine));
        cells.extend(mine.into_iter().map(|(c, (verdict, _))| (c, verdict)));
        Ok(())
    }

    /// A run that did not come to its end.
    pub(crate) fn failed(&mut self, group: &[&'static Saboteur], why: String) {
        self.failures.push((group.iter().map(|s| s.name).collect(), why));
    }

    /// Cells that are not as the reference's: cell, verdict before, verdict now.
    fn changed(&self, s: &Saboteur) -> Vec<(&str, &str, &str)> {
        let Some((cells, reference)) = self.measured.get(s.name) else { return vec![] };
        let pairs = cells.iter().filter_map(|(c, now)| Some((c.as_str(), reference.get(c)?.as_str(), now.as_str())));
        pairs.filter(|(_, then, now)| then != now).collect()
    }

    /// What is wrong with a saboteur's cells.
    fn wrong(&self, s: &Saboteur, breaks: &Breaks) -> Vec<String> {
        let Some((cells, reference)) = self.measured.get(s.name) else { return vec!["was not measured".to_owned()] };
        let globs = match breaks.get(s.name).map(|b| b.globs()) {
            Some(Ok(globs)) => globs,
            Some(Err(why)) => return vec![why],
            None => return vec!["breaks.toml does not have it".to_owned()],
        };
        let mut wrong = Vec::new();
        let mut hit: BTreeSet<&str> = BTreeSet::new();
        for (cell, now) in cells {
            let Some(then) = reference.get(cell) else {
                wrong.push(format!("{cell}: the reference has no such cell"));
                continue;
            };
            let glob = globs.iter().find(|(_, matcher, _)| matcher.is_match(cell));
            let expected = glob.map_or(then.as_str(), |(.., v)| *v);
            if let Some((g, ..)) = glob.filter(|_| then != now) {
                hit.insert(g);
            }
            if expected == NO_PASS {
                if then != "pass" && now == "pass" {
                    wrong.push(format!("{cell} was {then}, must not pass, and does"));
                }
                continue;
            }
            // What does not pass on this host cannot be broken either.
            if then == now && now != "pass" {
                continue;
            }
            if expected != now {
                let kind = if glob.is_none() { "collateral" } else { "not as expected" };
                let why = self.reasons.get(&(s.name, cell.clone())).map_or("", String::as_str);
                wrong.push(format!("{kind}: {cell} was {then}, should be {expected}, is {now}: {why}"));
            }
        }
        let missed = globs.iter().filter(|(g, matcher, _)| {
            !hit.contains(g) && (!self.partial || cells.keys().any(|cell| matcher.is_match(cell)))
        });
        wrong.extend(missed.map(|(g, ..)| format!("survivor: no cell of {g} changed")));
        wrong
    }

    /// Saboteurs with the same set of changed cells.
    fn twins(&self) -> Vec<String> {
        let mut sets: BTreeMap<Vec<String>, Vec<&str>> = BTreeMap::new();
        for s in SABOTEURS.iter().filter(|s| self.measured.contains_key(s.name)) {
            let set: Vec<String> = self.changed(s).iter().map(|(c, _, now)| format!("{c} {now}")).collect();
            if !set.is_empty() {
                sets.entry(set).or_default().push(s.name);
            }
        }
        sets.into_values().filter(|names| names.len() > 1).map(|n| n.join(" and ")).collect()
    }

    /// The kill matrix.
    #[expect(clippy::print_stdout, reason = "the matrix is what the test is asked to show")]
    pub(crate) fn print(&self, breaks: &Breaks) {
        println!(
            "kill matrix: {} saboteurs in {} s, their runs {} s; a cell as VERDICT cells",
            self.measured.len(),
            self.seconds,
            self.run_seconds
        );
        let mut never: BTreeSet<String> = BTreeSet::new();
        let mut ever: BTreeSet<String> = BTreeSet::new();
        for s in SABOTEURS {
            let Some((cells, _)) = self.measured.get(s.name) else { continue };
            let changed = self.changed(s);
            let id = |cell: &str| cell.split('@').next().unwrap_or_default().to_owned();
            never.extend(cells.keys().map(|c| id(c)));
            if changed.len() < cells.len() / 2 {
                ever.extend(changed.iter().map(|(c, ..)| id(c)));
            }
            let mut by: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
            for (cell, _, now) in &changed {
                by.entry(now).or_default().push(cell);
            }
            let mark = if breaks.get(s.name).is_some_and(|b| b.gap) { " (known gap)" } else { "" };
            println!("  {}{mark}: {} of {} cells changed", s.name, changed.len(), cells.len());
            for (verdict, cells) in by {
                println!("    {verdict} {}: {}", cells.len(), shortened(&cells));
            }
        }
        if SABOTEURS.len() == self.measured.len() {
            let left: Vec<&str> = never.difference(&ever).map(String::as_str).collect();
            println!("  capabilities that no saboteur with a narrow defect turns ({}): {}", left.len(), left.join(" "));
        }
    }

    /// A trial for each saboteur, and those about all of them.
    pub(crate) fn trials(self, breaks: &Breaks) -> Vec<Trial> {
        let mut trials = Vec::new();
        let mut one =
            |name: String, wrong: Vec<String>| {
                trials.push(Trial::test(name, move || {
                    if wrong.is_empty() { Ok(()) } else { Err(Failed::from(wrong.join("\n"))) }
                }));
            };
        for s in SABOTEURS.iter().filter(|s| {
            self.measured.contains_key(s.name) || self.failures.iter().any(|(names, _)| names.contains(&s.name))
        }) {
            let mut wrong = self.wrong(s, breaks);
            wrong.extend(self.failures.iter().filter(|(n, _)| n.contains(&s.name)).map(|(_, why)| why.clone()));
            let broken = breaks.get(s.name);
            if !wrong.is_empty() {
                wrong.push(format!("({})", broken.map_or("", |b| b.why.as_str())));
            }
            if broken.is_some_and(|b| b.gap) && wrong.iter().any(|w| w.starts_with("collateral")) {
                wrong.push("this gap is closed now: say in breaks.toml which cells it breaks".to_owned());
            }
            one(format!("saboteur::{}", s.name), wrong);
        }
        one("all::no_two_break_the_same_cells".to_owned(), self.twins());
        trials
    }
}

fn shortened(cells: &[&str]) -> String {
    const MOST: usize = 24;
    let more = if cells.len() > MOST { format!(" … {} more", cells.len() - MOST) } else { String::new() };
    format!("{}{more}", cells[..cells.len().min(MOST)].join(" "))
}

/// Cells of a runtime: verdict and reason. An init container under `own` is called `self`.
fn read(report: &Value, runtime: &str, own: &str) -> BTreeMap<String, (String, String)> {
    let text = |v: &Value| v.as_str().unwrap_or_default().to_owned();
    let mut cells = BTreeMap::new();
    for c in report["cells"].as_array().into_iter().flatten().filter(|c| c["runtime"] == runtime) {
        let mut name = text(&c["id"]);
        for (mark, key) in [("@", "model"), ("/", "backend")] {
            if let Some(v) = c[key].as_str() {
                name = format!("{name}{mark}{}", v.replace(own, "self"));
            }
        }
        cells.insert(name, (text(&c["verdict"]), text(&c["reason"])));
    }
    cells
}

/// The reference's verdict for each cell of a saboteur. What the saboteur does under its own init container the
/// reference does under itself, which the plan calls the default one.
fn compared(report: &Value, own: &str, mine: &BTreeMap<String, (String, String)>) -> Cells {
    let reference = read(report, REFERENCE, own);
    let same = |cell: &str| {
        let as_default =
            cell.replace("@netns-init-own", "@netns-init").replace("@init=self", &format!("@init={REFERENCE}"));
        reference
            .get(cell)
            .filter(|_| !cell.contains("@init=self"))
            .or_else(|| reference.get(&as_default))
            .map(|(v, _)| v.clone())
    };
    mine.keys().filter_map(|c| Some((c.clone(), same(c)?))).collect()
}
