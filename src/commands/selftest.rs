//! `awf-probe selftest`: defects put in on purpose, one at a time, and whether the verdicts on this host notice them.

use std::{fs, path::Path};

use awf_probe_matrix::{Matrix, Verdict};
use globset::Glob;
use serde::Serialize;

use super::{Data, print, run as measure};
use crate::{
    cli::{RunArgs, SelftestArgs},
    engine::docker::{Docker, Info},
    error::{Error, Exit},
    inventory,
    journal::Sink,
    judge::judge,
    plan::{Filter, Plan},
    progress::note,
    sabotage::{Deed, IN_LAB, IN_SANDBOX, MODELS, SABOTAGES, Sabotage, Turn},
};

/// What became of a defect.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// Every cell that had to turn did, and no other.
    Found,
    /// Without the defect none of the cells passes here, so nothing can be shown.
    NotShown,
    /// A cell passes with the defect, or one turned that has nothing to do with it.
    Wrong,
}

/// One defect and what it did to the cells.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    /// Its name.
    pub defect: String,
    /// What is wrong.
    pub about: String,
    /// What became of it.
    pub outcome: Outcome,
    /// Cells that passed without the defect and turned with it: name, verdict, reason.
    pub turned: Vec<(String, Verdict, String)>,
    /// What should not be.
    pub wrong: Vec<String>,
    /// Why the run did not come to its end, where a defect keeps it from that.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stopped: Option<String>,
}

/// Measures without a defect, then with each.
pub async fn run(args: SelftestArgs) -> Result<Exit, Error> {
    if !matches!(args.format.as_str(), "text" | "json") {
        return Err(Error::Usage {
            why: format!("there is no format {:?}", args.format),
            help: "the formats of selftest are text and json".to_owned(),
        });
    }
    let names = Filter::new(&args.only, &[])?;
    let asked: Vec<&'static Sabotage> = SABOTAGES.iter().filter(|s| names.takes(s.name)).collect();
    if asked.is_empty() {
        let known: Vec<&str> = SABOTAGES.iter().map(|s| s.name).collect();
        return Err(Error::Usage { why: "no defect has such a name".to_owned(), help: known.join(", ") });
    }
    let data = Data::load()?;
    let docker = Docker::connect().await?;
    let info = docker.info().await?;
    let runtimes: Vec<String> = args.runtime.iter().cloned().collect();
    let [runtime] = <[String; 1]>::try_from(inventory::resolve(&info, &runtimes, false)?)
        .map_err(|_| Error::Bug("one runtime was asked for".to_owned()))?;
    let bench = Bench { docker, info, data: &data, runtime: &runtime, out: args.out.as_deref() };
    let mut references = [None, None];
    let mut rows = Vec::new();
    for (n, sabotage) in asked.iter().enumerate() {
        let kind = usize::from(sabotage.about_egress());
        if references[kind].is_none() {
            note("measuring without a defect …");
            let (matrix, stopped) = bench.measure(None, kind == 1).await?;
            if let Some(why) = stopped {
                return Err(Error::Lab { why: format!("without a defect the run did not come to its end: {why}") });
            }
            references[kind] = Some(matrix);
        }
        let Some(reference) = &references[kind] else { continue };
        let (spoilt, stopped) = bench.measure(Some(sabotage), kind == 1).await?;
        let row = Row { stopped, ..compare(reference, &spoilt, sabotage)? };
        note(&format!("{} of {}: {}: {}", n + 1, asked.len(), row.defect, words(row.outcome)));
        rows.push(row);
    }
    let text = if args.format == "json" { json(&runtime, &rows)? } else { table(&runtime, &rows) };
    print(&text)?;
    Ok(exit(&rows))
}

/// What every measurement of a self-test has in common.
struct Bench<'a> {
    docker: Docker,
    info: Info,
    data: &'a Data,
    runtime: &'a str,
    out: Option<&'a Path>,
}

impl Bench<'_> {
    /// Measures with a defect or without. A run that a defect keeps from its end is judged by what it saw.
    async fn measure(
        &self,
        sabotage: Option<&'static Sabotage>,
        egress: bool,
    ) -> Result<(Matrix, Option<String>), Error> {
        let only: Vec<String> = (if egress { IN_LAB } else { IN_SANDBOX }).iter().map(|s| (*s).to_owned()).collect();
        let filter = Filter::new(&only, &[])?;
        let runtimes = vec![self.runtime.to_owned()];
        let default = &self.info.host.default_runtime;
        let mut plan = Plan::build(&self.data.catalogue, &self.data.models, &runtimes, default, &filter)?;
        plan.keep_models(MODELS);
        let args = RunArgs { sabotage, quiet: true, ..RunArgs::asking(runtimes, only) };
        let journal = match self.out {
            None => None,
            Some(out) => {
                let kind = if egress { "no-defect-lab" } else { "no-defect-sandbox" };
                let dir = out.join(sabotage.map_or(kind, |s| s.name));
                fs::create_dir_all(&dir).map_err(|e| Error::unwritable(&dir, &e))?;
                Some(dir.join("journal.jsonl"))
            }
        };
        let sink = Sink::create(journal.as_deref())?;
        let measured = measure::measure(&self.docker, &self.info, &plan, self.data, &args, None, &sink).await;
        if let Some(why) = sink.failure() {
            return Err(Error::Unwritable { path: journal.unwrap_or_default(), why });
        }
        let matrix = judge(&sink.events(), &self.data.catalogue, &self.data.models, &self.data.products);
        measure::nothing_left(&matrix)?;
        match measured {
            Ok(()) => Ok((matrix, None)),
            Err(e @ Error::Lab { .. }) => Ok((matrix, Some(e.to_string()))),
            Err(e) => Err(e),
        }
    }
}

/// Holds the cells of a spoilt run against those of the reference.
fn compare(reference: &Matrix, spoilt: &Matrix, sabotage: &Sabotage) -> Result<Row, Error> {
    let mut globs = Vec::new();
    for (glob, turn) in sabotage.turns {
        let matcher = Glob::new(glob).map_err(|e| Error::Bug(e.to_string()))?.compile_matcher();
        globs.push((matcher, *turn));
    }
    let (mut turned, mut wrong) = (vec![], vec![]);
    for c in &spoilt.cells {
        let name = c.name();
        let Some(then) = reference.cells.iter().find(|r| r.name() == name).map(|r| r.verdict) else {
            wrong.push(format!("{name} was not asked without the defect"));
            continue;
        };
        // Rules are installed under the models that have a backend for them.
        let reached = !matches!(sabotage.deed, Deed::Rules(_) | Deed::WireAndRules(..)) || c.backend.is_some();
        let meant = |turn: &Turn| reached || matches!(sabotage.deed, Deed::WireAndRules(..)) && *turn == Turn::NoBetter;
        let turn = globs.iter().find(|(glob, turn)| meant(turn) && glob.is_match(&c.id)).map(|(_, turn)| *turn);
        let (passed, passes) = (then == Verdict::Pass, c.verdict == Verdict::Pass);
        let right = match turn {
            None => c.verdict == then,
            Some(Turn::Fail) => {
                if passed {
                    c.verdict == Verdict::Fail
                } else {
                    !passes
                }
            }
            Some(Turn::Untold) => {
                if passed {
                    c.verdict == Verdict::Inconclusive
                } else {
                    !passes
                }
            }
            Some(Turn::NoPass) => !passes,
            Some(Turn::NoBetter) => c.verdict == then || !passes,
        };
        if !right {
            let should = match turn {
                None => then.word(),
                Some(Turn::Fail) if passed => "fail",
                Some(Turn::Untold) if passed => "inconclusive",
                Some(_) => "no pass",
            };
            wrong.push(format!("{name} was {then}, should be {should}, is {}: {}", c.verdict, c.reason));
        } else if passed && !passes {
            turned.push((name, c.verdict, c.reason.clone()));
        }
    }
    let must = sabotage.turns.iter().any(|(_, turn)| *turn != Turn::NoBetter);
    let outcome = match (wrong.is_empty(), must && turned.is_empty()) {
        (false, _) => Outcome::Wrong,
        (true, true) => Outcome::NotShown,
        (true, false) => Outcome::Found,
    };
    let (defect, about) = (sabotage.name.to_owned(), sabotage.about.to_owned());
    Ok(Row { defect, about, outcome, turned, wrong, stopped: None })
}

fn words(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Found => "as it must be",
        Outcome::NotShown => "cannot be shown here",
        Outcome::Wrong => "NOT as it must be",
    }
}

fn count(rows: &[Row], outcome: Outcome) -> usize {
    rows.iter().filter(|r| r.outcome == outcome).count()
}

fn exit(rows: &[Row]) -> Exit {
    if count(rows, Outcome::Wrong) > 0 {
        Exit::Broken
    } else if count(rows, Outcome::NotShown) > 0 {
        Exit::Inconclusive
    } else {
        Exit::Ok
    }
}

fn table(runtime: &str, rows: &[Row]) -> String {
    let mut text = format!("Self-test under {runtime}: {} defects, one at a time\n\n", rows.len());
    let width = rows.iter().map(|r| r.defect.len()).max().unwrap_or_default();
    for r in rows {
        let mark = match r.outcome {
            Outcome::Found => "✓",
            Outcome::NotShown => "?",
            Outcome::Wrong => "✗",
        };
        text.push_str(&format!("  {mark} {:width$}  {}\n", r.defect, r.about));
        for (verdict, cells) in by_verdict(r) {
            text.push_str(&format!("    {:width$}  {verdict}: {cells}\n", ""));
        }
        if let Some(why) = &r.stopped {
            text.push_str(&format!("    {:width$}  the run stopped: {}\n", "", super::explain::clean(why)));
        }
        if r.outcome == Outcome::NotShown {
            text.push_str(&format!("    {:width$}  without the defect none of its cells passes here\n", ""));
        }
        for wrong in &r.wrong {
            text.push_str(&format!("    {:width$}  ✗ {}\n", "", super::explain::clean(wrong)));
        }
    }
    let (found, dark, wrong) =
        (count(rows, Outcome::Found), count(rows, Outcome::NotShown), count(rows, Outcome::Wrong));
    text.push_str(&format!("\n{found} as they must be, {dark} cannot be shown here, {wrong} wrong. "));
    text.push_str(match exit(rows) {
        Exit::Ok => "Every defect was noticed, and no verdict turned without one.\n",
        Exit::Inconclusive => "What could be shown here was noticed, and no verdict turned without a defect.\n",
        _ => "Do not rely on this host's verdicts before the lines with ✗ are explained.\n",
    });
    text
}

/// Cells that turned, by their verdict; a few of them by name.
fn by_verdict(row: &Row) -> Vec<(Verdict, String)> {
    const MOST: usize = 4;
    let mut all = Vec::new();
    for verdict in Verdict::ALL {
        let names: Vec<&str> = row.turned.iter().filter(|(_, v, _)| *v == verdict).map(|(n, ..)| n.as_str()).collect();
        if names.is_empty() {
            continue;
        }
        let (shown, more) = names.split_at(names.len().min(MOST));
        let more = if more.is_empty() { String::new() } else { format!(", and {} more", more.len()) };
        all.push((verdict, format!("{}{more}", shown.join(", "))));
    }
    all
}

fn json(runtime: &str, rows: &[Row]) -> Result<String, Error> {
    let document = serde_json::json!({
        "schema": "awf-probe/selftest-v1",
        "runtime": runtime,
        "found": count(rows, Outcome::Found),
        "not_shown": count(rows, Outcome::NotShown),
        "wrong": count(rows, Outcome::Wrong),
        "defects": rows,
    });
    let text = serde_json::to_string_pretty(&document).map_err(|e| Error::Bug(e.to_string()))?;
    Ok(format!("{text}\n"))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use awf_probe_matrix::{Cell, Coverage, Host, Leftovers, RunInfo};

    use super::*;

    fn matrix(cells: &[(&str, Option<&str>, Verdict)]) -> Matrix {
        let cell = |(id, backend, verdict): &(&str, Option<&str>, Verdict)| Cell {
            id: (*id).to_owned(),
            runtime: "a".to_owned(),
            model: backend.map(|_| "m".to_owned()),
            backend: backend.map(str::to_owned),
            verdict: *verdict,
            reason: String::new(),
            result: None,
            evidence: vec![],
            rejection: None,
            counts: BTreeMap::new(),
        };
        Matrix {
            run: RunInfo::default(),
            host: Host::default(),
            runtimes: vec![],
            cells: cells.iter().map(cell).collect(),
            requirements: vec![],
            coverage: Coverage::default(),
            leftovers: Leftovers::default(),
        }
    }

    fn outcome(
        then: &[(&str, Option<&str>, Verdict)],
        now: &[(&str, Option<&str>, Verdict)],
        deed: Deed,
        turns: &'static [(&'static str, Turn)],
    ) -> Outcome {
        let sabotage = Sabotage { name: "s", about: "", deed, turns };
        compare(&matrix(then), &matrix(now), &sabotage).expect("globs").outcome
    }

    /// What must come of a passing cell is decided for every verdict, and for no other than is said.
    #[test]
    fn each_turn_takes_its_verdicts_and_no_other() {
        for now in Verdict::ALL {
            let of = |turns| outcome(&[("a.b", None, Verdict::Pass)], &[("a.b", None, now)], Deed::ProxyDies, turns);
            let right = |is: bool| if is { Outcome::Found } else { Outcome::Wrong };
            assert_eq!(of(&[("a.*", Turn::Fail)]), right(now == Verdict::Fail));
            assert_eq!(of(&[("a.*", Turn::Untold)]), right(now == Verdict::Inconclusive));
            assert_eq!(of(&[("a.*", Turn::NoPass)]), right(now != Verdict::Pass));
            assert_eq!(of(&[("a.*", Turn::NoBetter)]), Outcome::Found);
            // Nothing is said of it: it must stay.
            assert_eq!(of(&[]), right(now == Verdict::Pass));
            assert_eq!(of(&[("x.*", Turn::NoBetter)]), right(now == Verdict::Pass));
        }
    }

    #[test]
    fn a_cell_that_does_not_pass_shows_nothing_and_must_not_begin_to() {
        for then in [Verdict::Fail, Verdict::Inconclusive, Verdict::Skipped, Verdict::NotApplicable] {
            for turn in [Turn::Fail, Turn::Untold, Turn::NoPass] {
                let turns: &'static [(&str, Turn)] = Box::leak(Box::new([("a.b", turn)]));
                let of = |now| outcome(&[("a.b", None, then)], &[("a.b", None, now)], Deed::ProxyDies, turns);
                assert_eq!(of(then), Outcome::NotShown);
                assert_eq!(of(Verdict::Pass), Outcome::Wrong);
            }
        }
        let none = outcome(&[], &[("a.b", None, Verdict::Fail)], Deed::ProxyDies, &[("a.b", Turn::Fail)]);
        assert_eq!(none, Outcome::Wrong, "a cell without a reference");
    }

    #[test]
    fn rules_reach_the_models_that_install_them() {
        let then = [("a.b", Some("nft"), Verdict::Pass), ("a.b", None, Verdict::Pass)];
        let turns: &[(&str, Turn)] = &[("a.b", Turn::Fail)];
        let of = |a, b| outcome(&then, &[("a.b", Some("nft"), a), ("a.b", None, b)], Deed::Rules(|_| {}), turns);
        assert_eq!(of(Verdict::Fail, Verdict::Pass), Outcome::Found);
        assert_eq!(of(Verdict::Fail, Verdict::Fail), Outcome::Wrong);
        assert_eq!(of(Verdict::Pass, Verdict::Pass), Outcome::Wrong);
    }

    #[test]
    fn every_defect_has_a_name_of_its_own_and_cells_that_are_asked() {
        for (i, s) in SABOTAGES.iter().enumerate() {
            assert!(SABOTAGES[..i].iter().all(|t| t.name != s.name), "{} is there twice", s.name);
            let asked = if s.about_egress() { IN_LAB } else { IN_SANDBOX };
            for (glob, _) in s.turns {
                let glob = Glob::new(glob).expect("a glob").compile_matcher();
                assert!(asked.iter().any(|id| glob.is_match(id)), "{}: nothing asked is meant", s.name);
            }
        }
        let data = Data::load().expect("data");
        for id in IN_LAB.iter().chain(IN_SANDBOX) {
            assert!(data.catalogue.get(id).is_some(), "{id}");
        }
        assert!(MODELS.iter().all(|m| data.models.iter().any(|x| x.id == *m)));
    }
}
