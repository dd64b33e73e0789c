//! One trial for each cell of one real run: the verdict equals the committed expectation for that runtime and
//! version or, without one, is conclusive. `AWF_PROBE_JOURNAL=FILE` judges a journal instead of running.

use std::{
    path::{Path, PathBuf},
    process::{Command, ExitCode},
};

use awf_probe::{commands::Data, journal, judge::judge};
use awf_probe_matrix::{Cell, Matrix, Verdict};
use globset::Glob;
use libtest_mimic::{Arguments, Failed, Trial};
use serde::Deserialize;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    expect: Vec<Expectation>,
}

/// What is expected of some cells, and why.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Expectation {
    runtime: String,
    version: String,
    engine: String,
    cells: Vec<String>,
    #[serde(default)]
    models: Vec<String>,
    verdict: Verdict,
    why: String,
    /// What the reason holds where the machine, not the runtime, kept a control from coming out: the cell may then be
    /// inconclusive instead. Never a word about what the runtime does.
    #[serde(default)]
    machine: Option<String>,
}

fn main() -> ExitCode {
    let args = Arguments::from_args();
    if args.list {
        // The trials are the cells of a run, and listing starts none.
        return libtest_mimic::run(&args, vec![]).exit_code();
    }
    let trials = match collect() {
        Ok(matrix) => trials(&matrix),
        // An engine that does not answer is a failure, not a reason to test nothing.
        Err(why) => vec![Trial::test("measure", move || Err(Failed::from(why)))],
    };
    libtest_mimic::run(&args, trials).exit_code()
}

fn collect() -> Result<Matrix, String> {
    let path = match std::env::var_os("AWF_PROBE_JOURNAL") {
        Some(path) => PathBuf::from(path),
        None => measure()?,
    };
    let data = Data::load().map_err(|e| e.to_string())?;
    let events = journal::read(&path).map_err(|e| e.to_string())?;
    Ok(judge(&events, &data.catalogue, &data.models, &data.products))
}

fn measure() -> Result<PathBuf, String> {
    let out = Path::new(env!("CARGO_TARGET_TMPDIR")).join("conformance");
    let run = Command::new(env!("CARGO_BIN_EXE_awf-probe"))
        .args(["run", "--all", "--report-only", "--out"])
        .arg(&out)
        .output()
        .map_err(|e| e.to_string())?;
    if !run.status.success() {
        return Err(format!("the run failed with {}: {}", run.status, String::from_utf8_lossy(&run.stderr)));
    }
    Ok(out.join("journal.jsonl"))
}

fn trials(matrix: &Matrix) -> Vec<Trial> {
    let text = include_str!("expectations.toml");
    let expectations = match toml::from_str::<File>(text) {
        Ok(file) => file.expect,
        Err(e) => return vec![Trial::test("expectations", move || Err(Failed::from(e.to_string())))],
    };
    let engine = matrix.host.engine.clone();
    let mut trials: Vec<Trial> = matrix
        .cells
        .iter()
        .map(|cell| {
            let version = matrix.runtimes.iter().find(|r| r.name == cell.runtime).map(|r| r.version.clone());
            let version = version.unwrap_or_default();
            let expected = expectations.iter().find(|e| fits(e, cell, &version, &engine)).cloned();
            let cell = cell.clone();
            Trial::test(format!("{}::{}", cell.runtime, cell.name()), move || check(&cell, expected.as_ref()))
        })
        .collect();
    let (complete, measured) = (matrix.run.complete, matrix.runtimes.iter().any(|r| r.unusable.is_none()));
    trials.push(Trial::test("run::complete", move || {
        if complete { Ok(()) } else { Err(Failed::from("the run did not come to its end")) }
    }));
    trials.push(Trial::test("run::measured", move || {
        if measured { Ok(()) } else { Err(Failed::from("no runtime could be measured")) }
    }));
    let left = matrix.leftovers.clone();
    trials.push(Trial::test("run::leftovers", move || match (left.checked, left.ours.is_empty()) {
        (true, true) => Ok(()),
        (false, _) => Err(Failed::from("the host was not compared with before")),
        (true, false) => Err(Failed::from(left.ours.join("; "))),
    }));
    trials
}

fn check(cell: &Cell, expected: Option<&Expectation>) -> Result<(), Failed> {
    match expected {
        Some(e) if e.verdict == cell.verdict => Ok(()),
        Some(Expectation { machine: Some(words), .. })
            if cell.verdict == Verdict::Inconclusive && cell.reason.contains(words) =>
        {
            Ok(())
        }
        Some(e) => Err(Failed::from(format!(
            "expected {} ({}), measured {}: {}\nif that is right, explain it in tests/expectations.toml",
            e.verdict, e.why, cell.verdict, cell.reason
        ))),
        None if cell.verdict.is_conclusive() => Ok(()),
        None => Err(Failed::from(format!("{}: {}", cell.verdict, cell.reason))),
    }
}

fn fits(e: &Expectation, cell: &Cell, version: &str, engine: &str) -> bool {
    let glob = |pattern: &str, text: &str| {
        // A glob that cannot be read fits nothing, and the cells it was meant for show it.
        Glob::new(pattern).is_ok_and(|g| g.compile_matcher().is_match(text))
    };
    let stage = match (&cell.model, &cell.backend) {
        (Some(m), Some(b)) => format!("{m}/{b}"),
        (Some(m), None) => m.clone(),
        (None, _) => String::new(),
    };
    glob(&e.runtime, &cell.runtime)
        && glob(&e.version, version)
        && glob(&e.engine, engine)
        && e.cells.iter().any(|c| glob(c, &cell.id))
        && (e.models.is_empty() || e.models.contains(&stage))
}
