//! One trial for each cell of one real run: the verdict equals the committed expectation for that runtime and
//! version or, without one, is conclusive. `AWF_PROBE_JOURNAL=FILE` judges a journal instead of running.

use std::{
    cell::RefCell,
    collections::HashMap,
    path::{Path, PathBuf},
    process::{Command, ExitCode},
};

use awf_probe::{commands::Data, journal, judge::judge};
use awf_probe_matrix::{Cell, Matrix, Verdict};
use globset::{Glob, GlobMatcher};
use libtest_mimic::{Arguments, Failed, Trial};
use serde::Deserialize;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    /// What holds where no entry fits by itself.
    #[serde(default)]
    like: Vec<Like>,
    expect: Vec<Expectation>,
}

/// A runtime under another engine that is expected to do what one of the first host does.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Like {
    runtime: String,
    engine: String,
    #[serde(rename = "as")]
    other: Place,
}

/// Where a cell was measured. In [`Like`], `=` is what it was.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Place {
    runtime: String,
    version: String,
    engine: String,
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

/// The entries of both hosts, the second one's first.
fn expectations() -> Result<File, toml::de::Error> {
    let mut all = toml::from_str::<File>(include_str!("expectations-vm.toml"))?;
    all.expect.extend(toml::from_str::<File>(include_str!("expectations.toml"))?.expect);
    Ok(all)
}

fn trials(matrix: &Matrix) -> Vec<Trial> {
    let expectations = match expectations() {
        Ok(all) => all,
        Err(e) => return vec![Trial::test("expectations", move || Err(Failed::from(e.to_string())))],
    };
    let mut trials: Vec<Trial> = matrix
        .cells
        .iter()
        .map(|cell| {
            let version = matrix.runtimes.iter().find(|r| r.name == cell.runtime).map(|r| r.version.clone());
            let (runtime, engine) = (cell.runtime.clone(), matrix.host.engine.clone());
            let place = Place { runtime, version: version.unwrap_or_default(), engine };
            let expected = expectations.of(cell, &place).cloned();
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
            "expected {} ({}), measured {}: {}\nif that is right, explain it in tests/expectations.toml, or in expectations-vm.toml for the second host",
            e.verdict, e.why, cell.verdict, cell.reason
        ))),
        None if cell.verdict.is_conclusive() => Ok(()),
        None => Err(Failed::from(format!("{}: {}", cell.verdict, cell.reason))),
    }
}

impl File {
    /// What is expected of a cell, if anything is.
    fn of(&self, cell: &Cell, place: &Place) -> Option<&Expectation> {
        let stage = stage(cell);
        let find = |place: &Place, stage: &str| self.expect.iter().find(|e| fits(e, &cell.id, place, stage));
        find(place, &stage).or_else(|| {
            let other = self.like(place)?;
            // An init container's runtime is one of this host, too.
            let init = stage.strip_prefix("init=").map(|r| Place { runtime: r.to_owned(), ..place.clone() });
            let init = init.map(|init| self.like(&init).map_or(init.runtime, |o| o.runtime));
            find(&other, &init.map_or(stage, |runtime| format!("init={runtime}")))
        })
    }

    fn like(&self, place: &Place) -> Option<Place> {
        let found = self
            .like
            .iter()
            .find(|l| glob(&l.runtime, &place.runtime) && glob(&l.engine, &place.engine))?
            .other
            .clone();
        let or = |said: String, was: &String| if said == "=" { was.clone() } else { said };
        Some(Place {
            runtime: or(found.runtime, &place.runtime),
            version: or(found.version, &place.version),
            engine: or(found.engine, &place.engine),
        })
    }
}

/// `MODEL/BACKEND`, or the model, or nothing.
fn stage(cell: &Cell) -> String {
    match (&cell.model, &cell.backend) {
        (Some(m), Some(b)) => format!("{m}/{b}"),
        (Some(m), None) => m.clone(),
        (None, _) => String::new(),
    }
}

fn fits(e: &Expectation, id: &str, place: &Place, stage: &str) -> bool {
    glob(&e.runtime, &place.runtime)
        && glob(&e.version, &place.version)
        && glob(&e.engine, &place.engine)
        && e.cells.iter().any(|c| glob(c, id))
        && (e.models.is_empty() || e.models.iter().any(|m| m == stage))
}

/// A glob that cannot be read fits nothing, and the cells it was meant for show it.
fn glob(pattern: &str, text: &str) -> bool {
    thread_local! {
        static READ: RefCell<HashMap<String, Option<GlobMatcher>>> = RefCell::default();
    }
    READ.with_borrow_mut(|read| {
        let matcher =
            read.entry(pattern.to_owned()).or_insert_with(|| Glob::new(pattern).ok().map(|g| g.compile_matcher()));
        matcher.as_ref().is_some_and(|m| m.is_match(text))
    })
}
