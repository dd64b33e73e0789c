//! Runs saboteurs beside the reference runtime.

use std::{
    fs,
    process::{Command, Stdio},
    sync::atomic::{AtomicBool, AtomicI32, Ordering},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use serde_json::Value;

use crate::{
    kills::{Kills, REFERENCE},
    registry::{Registered, name_of},
    store::{self, Mark, Measured},
    table::{ALL, Part, Saboteur},
};

/// What `AWF_PROBE_SABOTEURS` says, a list with commas.
#[derive(Clone, Debug, Default)]
pub(crate) struct Mode {
    /// Every part of every saboteur.
    full: bool,
    /// No run: what is on disk is judged again, whatever has measured it.
    saved: bool,
    /// Also what the same executables have measured before.
    again: bool,
    /// These parts alone; none named are all.
    only: Vec<Part>,
}

impl Mode {
    /// From the environment.
    pub(crate) fn of_environment() -> Result<Self, String> {
        let mut mode = Self::default();
        let said = std::env::var("AWF_PROBE_SABOTEURS").unwrap_or_default();
        for word in said.split(',').filter(|w| !w.is_empty()) {
            match word {
                "full" => mode.full = true,
                "saved" => mode.saved = true,
                "again" => mode.again = true,
                _ => {
                    let part = ALL.iter().find(|p| format!("{p:?}").to_lowercase() == word);
                    let words = "full, saved, again, sandbox, egress, netns, guard and compose";
                    let unknown = || format!("AWF_PROBE_SABOTEURS is a list of {words}, not {word:?}");
                    mode.only.push(*part.ok_or_else(unknown)?);
                }
            }
        }
        Ok(mode)
    }

    fn asks(&self, s: &Saboteur, part: Part) -> bool {
        (self.full || s.parts.contains(&part)) && (self.only.is_empty() || self.only.contains(&part))
    }
}

/// The run that is under way, for the signal handler.
static CHILD: AtomicI32 = AtomicI32::new(0);
static INTERRUPTED: AtomicBool = AtomicBool::new(false);
/// A run is told to end after so long.
const PATIENCE: Duration = Duration::from_secs(900);

/// Measures what is not on disk yet, and compares all that was asked for.
pub(crate) fn measure(asked: &[&'static Saboteur], mode: &Mode) -> Result<Kills, String> {
    let begun = Instant::now();
    let mut kills = Kills::default();
    kills.partial = !mode.only.is_empty();
    if !mode.saved {
        let open = |part: Part| -> Vec<&'static Saboteur> {
            let open = |s: &&&Saboteur| {
                mode.asks(s, part) && (mode.again || store::latest(part, s.name, Some(&store::key(s))).is_none())
            };
            asked.iter().filter(open).copied().collect()
        };
        let open: Vec<(Part, Vec<&'static Saboteur>)> = ALL.iter().map(|p| (*p, open(*p))).collect();
        if open.iter().any(|(_, o)| !o.is_empty()) {
            run_all(&open, &mut kills)?;
        }
    }
    for s in asked.iter().copied() {
        for part in ALL.iter().filter(|p| mode.asks(s, **p)) {
            let key = store::key(s);
            match store::latest(*part, s.name, (!mode.saved).then_some(&key)) {
                Some((dir, measured)) => kills.take(s, &dir, &measured)?,
                None => kills.failed(&[s], format!("{part:?} was not measured")),
            }
        }
    }
    kills.seconds = begun.elapsed().as_secs();
    Ok(kills)
}

/// Registers, measures, unregisters.
#[expect(clippy::print_stderr, reason = "it takes long: say where it is")]
fn run_all(open: &[(Part, Vec<&'static Saboteur>)], kills: &mut Kills) -> Result<(), String> {
    catch_signals();
    let mut names: Vec<&str> = open.iter().flat_map(|(_, list)| list.iter().map(|s| s.name)).collect();
    names.sort_unstable();
    names.dedup();
    let registered = Registered::new(&names)?;
    for (part, list) in open {
        // The pairs of a run are its runtimes squared.
        let size = match part {
            Part::Sandbox | Part::Egress => 6,
            Part::Guard | Part::Compose => 3,
            Part::Netns => 1,
        };
        for (n, group) in list.chunks(size).enumerate() {
            if INTERRUPTED.load(Ordering::SeqCst) {
                break;
            }
            let begun = Instant::now();
            let done = run(*part, n, group);
            let all: Vec<&str> = group.iter().map(|s| s.name).collect();
            let seconds = begun.elapsed().as_secs();
            eprintln!("{part:?} {} of {}: {} ({seconds} s)", n + 1, list.len().div_ceil(size), all.join(" "));
            if let Err(why) = done {
                kills.failed(group, format!("{part:?}: {why}"));
            }
        }
    }
    drop(registered);
    store::tidy();
    if INTERRUPTED.load(Ordering::SeqCst) { Err("interrupted".to_owned()) } else { Ok(()) }
}

fn run(part: Part, n: usize, group: &[&Saboteur]) -> Result<(), String> {
    let only: &[&str] = match part {
        Part::Sandbox => {
            &["--skip", "egress.*", "--skip", "ipv6.*", "--skip", "netns.*", "--skip", "guard.*", "--skip", "compose.*"]
        }
        Part::Egress => &["--only", "egress.*", "--only", "ipv6.*"],
        Part::Netns => &["--only", "netns.*"],
        Part::Guard => &["--only", "guard.*"],
        Part::Compose => &["--only", "compose.*"],
    };
    let out = store::root().join(format!("{part:?}-{}-{n}", std::process::id()).to_lowercase());
    fs::create_dir_all(&out).map_err(|e| e.to_string())?;
    let mut command = Command::new(env!("CARGO_BIN_EXE_awf-probe"));
    command.args(["run", "--report-only", "--proxy", "builtin", "--deadline", "40s", "--runtime", REFERENCE, "--out"]);
    command.arg(&out).args(only).env("NO_COLOR", "1");
    for s in group {
        command.args(["--runtime", &name_of(s.name)]);
    }
    let errors = out.join("stderr.txt");
    let file = fs::File::create(&errors).map_err(|e| e.to_string())?;
    let begun = Instant::now();
    let mut child = command.stdout(Stdio::null()).stderr(file).spawn().map_err(|e| e.to_string())?;
    CHILD.store(i32::try_from(child.id()).unwrap_or(0), Ordering::SeqCst);
    let mut told = false;
    let status = loop {
        if let Some(status) = child.try_wait().map_err(|e| e.to_string())? {
            break status;
        }
        if begun.elapsed() > PATIENCE && !told {
            told = true;
            tell_child();
        }
        std::thread::sleep(Duration::from_millis(20));
    };
    CHILD.store(0, Ordering::SeqCst);
    let said = fs::read_to_string(&errors).unwrap_or_default();
    if told {
        return Err(format!("the run was still under way after {} s: {said}", PATIENCE.as_secs()));
    }
    if !status.success() {
        return Err(format!("the run ended with {status}: {said}"));
    }
    let report: Value =
        fs::read(out.join("report.json")).ok().and_then(|b| serde_json::from_slice(&b).ok()).ok_or("no report")?;
    if report["leftovers"]["ours"].as_array().is_some_and(|left| !left.is_empty()) {
        return Err(format!("something is left on the host: {}", report["leftovers"]));
    }
    let mark = |s: &&Saboteur| (s.name.to_owned(), Mark { runtime: name_of(s.name), key: store::key(s) });
    let measured = Measured {
        part: format!("{part:?}"),
        seconds: begun.elapsed().as_secs(),
        ended: SystemTime::now().duration_since(UNIX_EPOCH).map_err(|e| e.to_string())?.as_secs(),
        saboteurs: group.iter().map(mark).collect(),
    };
    let text = serde_json::to_vec_pretty(&measured).map_err(|e| e.to_string())?;
    fs::write(out.join("measured.json"), text).map_err(|e| e.to_string())
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
