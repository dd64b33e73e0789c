//! Measures saboteurs beside the reference runtime, and compares cell by cell.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
    process::{Command, Stdio},
    sync::atomic::{AtomicBool, AtomicI32, Ordering},
    time::{Duration, Instant},
};

use globset::Glob;
use libtest_mimic::{Failed, Trial};
use serde_json::Value;

use crate::{
    registry::{Registered, name_of},
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
    seconds: u64,
}

/// The reference.
const REFERENCE: &str = "runc";
/// Saboteurs measured in one run.
const GROUP: usize = 6;

/// The run that is under way, for the signal handler.
static CHILD: AtomicI32 = AtomicI32::new(0);
static INTERRUPTED: AtomicBool = AtomicBool::new(false);

/// Registers, measures, unregisters.
pub(crate) fn measure(asked: &[&'static Saboteur]) -> Result<Kills, String> {
    let begun = Instant::now();
    catch_signals();
    let names: Vec<&str> = asked.iter().map(|s| s.name).collect();
    let registered = Registered::new(&names)?;
    let mut kills = Kills::default();
    let full = std::env::var("AWF_PROBE_SABOTEURS").is_ok_and(|v| v == "full");
    for (i, group) in asked.chunks(GROUP).enumerate() {
        kills.run(&format!("solo-{i}"), group, &["--skip", "egress.*", "--skip", "netns.*", "--skip", "compose.*"]);
    }
    let networked: Vec<&'static Saboteur> = asked.iter().filter(|s| s.network || full).copied().collect();
    for (i, group) in networked.chunks(GROUP).enumerate() {
        kills.run(&format!("egress-{i}"), group, &["--only", "egress.*"]);
    }
    // Each alone: the pairs of a run are its runtimes squared.
    for s in networked {
        kills.run(&format!("netns-{}", s.name), &[s], &["--only", "netns.*"]);
    }
    drop(registered);
    kills.seconds = begun.elapsed().as_secs();
    if INTERRUPTED.load(Ordering::SeqCst) { Err("interrupted".to_owned()) } else { Ok(kills) }
}

impl Kills {
    fn run(&mut self, name: &str, group: &[&'static Saboteur], more: &[&str]) {
        if INTERRUPTED.load(Ordering::SeqCst) {
            return;
        }
        match run(name, group, more) {
            Ok(report) => {
                for s in group {
                    let own = name_of(s.name);
                    let (cells, reference) = self.measured.entry(s.name).or_default();
                    let mine = read(&report, &own, &own);
                    self.reasons.extend(mine.iter().map(|(c, (_, why))| ((s.name, c.clone()), why.clone())));
                    reference.extend(compared(&report, &own, &mine));
                    cells.extend(mine.into_iter().map(|(c, (verdict, _))| (c, verdict)));
                }
            }
            Err(why) => self.failures.push((group.iter().map(|s| s.name).collect(), format!("{name}: {why}"))),
        }
    }

    /// Cells that are not as the reference's: cell, verdict before, verdict now.
    fn changed(&self, s: &Saboteur) -> Vec<(&str, &str, &str)> {
        let Some((cells, reference)) = self.measured.get(s.name) else { return vec![] };
        let pairs = cells.iter().filter_map(|(c, now)| Some((c.as_str(), reference.get(c)?.as_str(), now.as_str())));
        pairs.filter(|(_, then, now)| then != now).collect()
    }

    /// What is wrong with a saboteur's cells.
    fn wrong(&self, s: &Saboteur) -> Vec<String> {
        let Some((cells, reference)) = self.measured.get(s.name) else { return vec!["was not measured".to_owned()] };
        let mut wrong = Vec::new();
        let globs: Vec<_> = s.breaks.iter().map(|(g, v)| (*g, Glob::new(g).map(|g| g.compile_matcher()), *v)).collect();
        let mut hit: BTreeSet<&str> = BTreeSet::new();
        for (cell, now) in cells {
            let Some(then) = reference.get(cell) else {
                wrong.push(format!("{cell}: the reference has no such cell"));
                continue;
            };
            let glob = globs.iter().find(|(_, m, _)| m.as_ref().is_ok_and(|m| m.is_match(cell)));
            let expected = glob.map_or(then.as_str(), |(.., v)| *v);
            if let Some((g, ..)) = glob.filter(|_| then != now) {
                hit.insert(g);
            }
            if expected != now {
                let kind = if glob.is_none() { "collateral" } else { "not as expected" };
                let why = self.reasons.get(&(s.name, cell.clone())).map_or("", String::as_str);
                wrong.push(format!("{kind}: {cell} was {then}, should be {expected}, is {now}: {why}"));
            }
        }
        for (g, m, _) in &globs {
            if m.is_err() {
                wrong.push(format!("{g} is no glob"));
            } else if !hit.contains(g) {
                wrong.push(format!("survivor: no cell of {g} changed"));
            }
        }
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
    pub(crate) fn print(&self) {
        println!("kill matrix: {} saboteurs in {} s; a cell as VERDICT cells", self.measured.len(), self.seconds);
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
            let mark = if s.gap { " (known gap)" } else { "" };
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
    pub(crate) fn trials(self) -> Vec<Trial> {
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
            let mut wrong = self.wrong(s);
            wrong.extend(self.failures.iter().filter(|(n, _)| n.contains(&s.name)).map(|(_, why)| why.clone()));
            if !wrong.is_empty() {
                wrong.push(format!("({})", s.why));
            }
            if s.gap && wrong.iter().any(|w| w.starts_with("collateral")) {
                wrong.push("this gap is closed now: say in the table which cells it breaks".to_owned());
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

fn run(name: &str, group: &[&Saboteur], more: &[&str]) -> Result<Value, String> {
    let out = Path::new(env!("CARGO_TARGET_TMPDIR")).join("saboteurs").join(name);
    fs::create_dir_all(&out).map_err(|e| e.to_string())?;
    let mut command = Command::new(env!("CARGO_BIN_EXE_awf-probe"));
    command.args(["run", "--report-only", "--proxy", "builtin", "--deadline", "40s", "--runtime", REFERENCE, "--out"]);
    command.arg(&out).args(more).env("NO_COLOR", "1");
    for s in group {
        command.args(["--runtime", &name_of(s.name)]);
    }
    let errors = out.join("stderr.txt");
    let file = fs::File::create(&errors).map_err(|e| e.to_string())?;
    let mut child = command.stdout(Stdio::null()).stderr(file).spawn().map_err(|e| e.to_string())?;
    CHILD.store(i32::try_from(child.id()).unwrap_or(0), Ordering::SeqCst);
    let begun = Instant::now();
    let mut told = false;
    let status = loop {
        if let Some(status) = child.try_wait().map_err(|e| e.to_string())? {
            break status;
        }
        if begun.elapsed() > Duration::from_secs(420) && !told {
            told = true;
            tell_child();
        }
        std::thread::sleep(Duration::from_millis(20));
    };
    CHILD.store(0, Ordering::SeqCst);
    let said = fs::read_to_string(&errors).unwrap_or_default();
    if told {
        return Err(format!("the run was still under way after 420 s: {said}"));
    }
    if !status.success() {
        return Err(format!("the run ended with {status}: {said}"));
    }
    let report: Value =
        fs::read(out.join("report.json")).ok().and_then(|b| serde_json::from_slice(&b).ok()).ok_or("no report")?;
    match report["leftovers"]["ours"].as_array().map(Vec::len) {
        None | Some(0) => Ok(report),
        Some(_) => Err(format!("something is left on the host: {}", report["leftovers"])),
    }
}

/// The run removes what it made and ends; then this test unregisters its runtimes.
fn catch_signals() {
    extern "C" fn note(_: libc::c_int) {
        INTERRUPTED.store(true, Ordering::SeqCst);
        tell_child();
    }
    for signal in [libc::SIGINT, libc::SIGTERM, libc::SIGHUP] {
        // SAFETY: the handler stores to an atomic and calls kill(2), which are safe in a handler.
        unsafe { libc::signal(signal, note as *const () as libc::sighandler_t) };
    }
}

fn tell_child() {
    let pid = CHILD.load(Ordering::SeqCst);
    if pid > 0 {
        // SAFETY: the pid is a child that has not been reaped.
        unsafe { libc::kill(pid, libc::SIGINT) };
    }
}
