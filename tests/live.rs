//! The command on a real engine: what it leaves behind, however it ends. Fails where no engine answers.

use std::{
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use awf_probe::{commands::Data, engine::docker::Docker, event::Event, journal, judge::judge};
use awf_probe_matrix::{Cell, Matrix, Verdict};

/// The tests compare the whole host with before, so they take turns.
static TURN: Mutex<()> = Mutex::new(());

fn turn() -> MutexGuard<'static, ()> {
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

fn probe(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_awf-probe"));
    command.args(args).env("NO_COLOR", "1");
    command
}

fn run(args: &[&str]) -> Output {
    probe(args).output().expect("the executable starts")
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Everything of the host a run could leave something in.
#[derive(Debug, PartialEq, Eq)]
struct Host {
    rules: String,
    links: String,
    routes: String,
    filter: String,
    made: Vec<String>,
}

fn host() -> Host {
    let text = |program: &str, args: &[&str]| {
        let out = Command::new(program).args(args).output().expect(program);
        assert!(out.status.success(), "{program} {args:?}: {}", String::from_utf8_lossy(&out.stderr));
        String::from_utf8_lossy(&out.stdout).into_owned()
    };
    let names = |links: &str| {
        let mut names: Vec<&str> = links.lines().filter_map(|l| l.split_whitespace().nth(1)).collect();
        names.sort_unstable();
        names.join("\n")
    };
    Host {
        rules: text("ip", &["rule"]),
        links: names(&text("ip", &["-o", "link"])),
        routes: text("ip", &["route", "show", "table", "all"]),
        filter: text("iptables", &["-S"]) + &text("iptables", &["-t", "nat", "-S"]),
        made: tokio::runtime::Runtime::new().expect("runtime").block_on(async {
            let docker = Docker::connect().await.expect("an engine answers");
            let made = docker.made_by(None).await.expect("it lists");
            made.into_iter().map(|(run, made)| format!("{run}: {made:?}")).collect()
        }),
    }
}

/// Fails with the lines that differ.
#[track_caller]
fn unchanged(before: &Host) {
    let after = host();
    let lines = |h: &Host| format!("{}\n{}\n{}\n{}\n{}", h.rules, h.links, h.routes, h.filter, h.made.join("\n"));
    let (a, b) = (lines(before), lines(&after));
    let gone: Vec<_> = a.lines().filter(|l| !b.lines().any(|x| x == *l)).collect();
    let new: Vec<_> = b.lines().filter(|l| !a.lines().any(|x| x == *l)).collect();
    // The same lines in another order, or one more often, is a difference, too.
    let moved = a.lines().zip(b.lines()).find(|(x, y)| x != y);
    assert!(*before == after, "the host is not as before; new: {new:#?}; gone: {gone:#?}; first to differ: {moved:#?}");
}

fn judged(out: &Path) -> Matrix {
    let data = Data::load().expect("data");
    let events = journal::read(&out.join("journal.jsonl")).expect("journal");
    judge(&events, &data.catalogue, &data.models, &data.products)
}

fn scratch(name: &str) -> PathBuf {
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    if dir.exists() {
        std::fs::remove_dir_all(&dir).expect("old scratch");
    }
    dir
}

/// Starts a run and waits until its lab stands.
#[expect(clippy::zombie_processes, reason = "where the wait is missed the test has failed")]
fn start_and_wait(out: &Path) -> Child {
    let child = probe(&["run", "--runtime", "runc", "--out", out.to_str().expect("utf-8")])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("starts");
    let begun = Instant::now();
    loop {
        let text = std::fs::read_to_string(out.join("journal.jsonl")).unwrap_or_default();
        if text.contains("\"event\":\"lab-up\"") && text.contains("netns[") {
            return child;
        }
        assert!(begun.elapsed() < Duration::from_secs(60), "the lab did not come up: {text}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn signal(child: &Child, signal: i32) {
    let pid = i32::try_from(child.id()).expect("pid");
    // SAFETY: the pid is a child that has not been reaped.
    assert_eq!(unsafe { libc::kill(pid, signal) }, 0);
}

#[test]
fn a_run_leaves_the_host_as_it_was_and_says_so() {
    let _turn = turn();
    let (out, before) = (scratch("narrow"), host());
    // Two that runc passes; of the family's others some are findings about runc (seccomp.reachable.*).
    let only = ["--only", "seccomp.errno", "--only", "seccomp.argument"];
    let output = run(&[&["run", "--runtime", "runc", "--out", out.to_str().expect("utf-8")], only.as_slice()].concat());
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    unchanged(&before);
    let matrix = judged(&out);
    assert!(matrix.leftovers.checked && matrix.leftovers.ours.is_empty(), "{:?}", matrix.leftovers);
    assert_eq!(matrix.cells.len(), 2);
    assert!(matrix.cells.iter().all(|c| c.id.starts_with("seccomp.") && c.verdict == Verdict::Pass));
    let report = std::fs::read_to_string(out.join("report.json")).expect("report");
    assert_eq!(awf_probe_reports::read(&report).expect("valid"), matrix, "the report is the journal, judged");
}

#[test]
fn ctrl_c_removes_everything_and_keeps_the_journal() {
    let _turn = turn();
    let (out, before) = (scratch("interrupted"), host());
    let child = start_and_wait(&out);
    signal(&child, libc::SIGINT);
    let output = child.wait_with_output().expect("ends");
    assert_eq!(output.status.code(), Some(4), "{}", stderr(&output));
    assert!(stderr(&output).contains("removing the run's containers"), "{}", stderr(&output));
    unchanged(&before);
    let events = journal::read(&out.join("journal.jsonl")).expect("journal");
    assert!(matches!(events.last(), Some(Event::RunFinished { complete: false, .. })));
    assert!(out.join("report.json").exists());
}

#[test]
fn kill_9_leaves_no_rule_and_the_next_run_removes_the_rest() {
    let _turn = turn();
    let (out, before) = (scratch("killed"), host());
    let mut child = start_and_wait(&out);
    signal(&child, libc::SIGKILL);
    child.wait().expect("reaped");
    let begun = Instant::now();
    while host().rules != before.rules {
        assert!(begun.elapsed() < Duration::from_secs(5), "rules are left: {}", host().rules);
        std::thread::sleep(Duration::from_millis(50));
    }
    // The helper is gone a moment after its rules; until then the run counts as alive and is left alone.
    loop {
        let output = run(&["clean"]);
        assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
        if String::from_utf8_lossy(&output.stdout).contains("removed:") {
            break;
        }
        assert!(begun.elapsed() < Duration::from_secs(20), "nothing was removed: {}", stderr(&output));
        std::thread::sleep(Duration::from_millis(100));
    }
    unchanged(&before);
    let again = run(&["clean"]);
    assert!(String::from_utf8_lossy(&again.stdout).contains("nothing was left"));
}

#[test]
fn a_helper_that_was_killed_is_cleaned_up_after() {
    let _turn = turn();
    let (out, before) = (scratch("helperless"), host());
    let mut child = start_and_wait(&out);
    signal(&child, libc::SIGKILL);
    child.wait().expect("reaped");
    // The helper, too, at once: nobody undoes its rules.
    let helper = Command::new("docker")
        .args(["ps", "-q", "--no-trunc", "--filter", "label=awf-probe.role=helper"])
        .output()
        .expect("docker");
    for id in String::from_utf8_lossy(&helper.stdout).lines() {
        drop(Command::new("docker").args(["kill", "-s", "KILL", id]).output().expect("docker"));
    }
    let begun = Instant::now();
    while host() != before && begun.elapsed() < Duration::from_secs(20) {
        let output = run(&["clean"]);
        assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    }
    unchanged(&before);
}

#[test]
fn two_runs_at_once_do_not_disturb_each_other() {
    let _turn = turn();
    let (a, b, before) = (scratch("twin-a"), scratch("twin-b"), host());
    let start = |out: &Path| {
        let out = out.to_str().expect("utf-8").to_owned();
        probe(&["run", "--runtime", "runc", "--only", "egress.*", "--out", &out])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("starts")
    };
    let children = [start(&a), start(&b)];
    for child in children {
        let output = child.wait_with_output().expect("ends");
        assert!(matches!(output.status.code(), Some(0 | 1)), "{}", stderr(&output));
    }
    unchanged(&before);
    let (a, b) = (judged(&a), judged(&b));
    let verdict = |c: &Cell| (c.name(), c.verdict, c.result);
    let said = |c: &Cell| format!("{}: {} ({})", c.name(), c.verdict, c.reason);
    let differ = |(x, y): (&Cell, &Cell)| (verdict(x) != verdict(y)).then(|| format!("{} | {}", said(x), said(y)));
    let differing: Vec<_> = a.cells.iter().zip(&b.cells).filter_map(differ).collect();
    assert!(a.cells.len() == b.cells.len() && differing.is_empty(), "the runs differ: {differing:#?}");
    let untold: Vec<_> = a.cells.iter().filter(|c| !c.verdict.is_conclusive()).map(said).collect();
    assert!(untold.is_empty(), "{untold:#?}");
}

#[test]
fn squid_and_the_built_in_proxy_give_the_same_verdicts() {
    let _turn = turn();
    let of = |proxy: &str| {
        let out = scratch(proxy);
        let path = out.to_str().expect("utf-8").to_owned();
        let output = run(&["run", "--runtime", "runc", "--only", "egress.*", "--proxy", proxy, "--out", &path]);
        assert!(matches!(output.status.code(), Some(0 | 1)), "{}", stderr(&output));
        judged(&out)
    };
    let (squid, builtin) = (of("squid"), of("builtin"));
    assert!(squid.run.proxy.starts_with("squid"), "{}", squid.run.proxy);
    assert!(builtin.run.proxy.starts_with("builtin"), "{}", builtin.run.proxy);
    let verdicts = |m: &Matrix| m.cells.iter().map(|c| (c.name(), c.verdict, c.result)).collect::<Vec<_>>();
    assert_eq!(verdicts(&squid), verdicts(&builtin));
}

#[test]
fn an_unknown_runtime_is_refused_with_the_registered_ones() {
    let _turn = turn();
    let output = run(&["run", "--runtime", "runk"]);
    assert_eq!(output.status.code(), Some(4));
    let text = stderr(&output);
    assert!(text.contains("registered runtimes are:") && text.contains("did you mean \"runc\"?"), "{text}");
}

#[test]
fn an_output_that_cannot_be_written_stops_the_run_before_it_starts() {
    let _turn = turn();
    let before = host();
    let output = run(&["run", "--runtime", "runc", "--out", "/proc/nowhere"]);
    assert_eq!(output.status.code(), Some(4), "{}", stderr(&output));
    assert!(stderr(&output).contains("cannot write /proc/nowhere"), "{}", stderr(&output));
    unchanged(&before);
}

#[test]
fn a_full_disk_is_said_and_everything_is_removed() {
    let _turn = turn();
    let before = host();
    let out = scratch("full");
    std::fs::create_dir_all(&out).expect("scratch");
    // /dev/full refuses every write with ENOSPC.
    std::os::unix::fs::symlink("/dev/full", out.join("journal.jsonl")).expect("symlink");
    let output = run(&["run", "--runtime", "runc", "--only", "image.*", "--out", out.to_str().expect("utf-8")]);
    assert_eq!(output.status.code(), Some(4), "{}", stderr(&output));
    assert!(stderr(&output).contains("No space left"), "{}", stderr(&output));
    unchanged(&before);
}

#[test]
fn a_dry_run_starts_nothing() {
    let _turn = turn();
    let before = host();
    let output = run(&["run", "--all", "--dry-run"]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert!(String::from_utf8_lossy(&output.stdout).contains("cells from"));
    unchanged(&before);
}

#[test]
fn doctor_knows_every_registered_runtime_and_leaves_nothing() {
    let _turn = turn();
    let before = host();
    let output = run(&["doctor"]);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(matches!(output.status.code(), Some(0 | 4)), "{}", stderr(&output));
    assert!(text.contains("runtime runc:") && text.contains("a sandbox starts in"), "{text}");
    unchanged(&before);
}

/// An image with the legacy iptables and nothing else that the probes look for, made from this host's files.
fn legacy_only_image() -> String {
    let name = format!("awf-probe-test-toolbox:{}", std::process::id());
    let script = format!(
        "set -euo pipefail; \
         programs='/usr/sbin/iptables-legacy /usr/sbin/iptables-legacy-save /bin/sh /usr/bin/env'; \
         modules=$(dirname \"$(find -L /usr/lib /usr/lib64 -name libxt_multiport.so 2>/dev/null | head -1)\"); \
         files=$(for f in $programs \"$modules\"/*.so; do ldd \"$f\" | grep -o '/[^ ]*' || true; done | sort -u); \
         tar --dereference --hard-dereference -c $programs \"$modules\" $files 2>/dev/null | docker import - {name}"
    );
    let out = Command::new("bash").args(["-c", &script]).output().expect("bash");
    assert!(out.status.success(), "{}", stderr(&out));
    name
}

#[test]
fn the_tools_can_come_from_an_image() {
    let _turn = turn();
    let (image, out, before) = (legacy_only_image(), scratch("toolbox"), host());
    let only = ["--only", "netfilter.dnat.tcp.*", "--only", "chroot.exec", "--only", "chroot.read-only-binds"];
    let mut args = vec!["run", "--runtime", "runc", "--toolbox-image", &image, "--out", out.to_str().expect("utf-8")];
    args.extend(only);
    let output = run(&args);
    let removed = Command::new("docker").args(["rmi", &image]).output().expect("docker");
    assert!(removed.status.success(), "still used: {}", stderr(&removed));
    unchanged(&before);
    let matrix = judged(&out);
    assert!(matrix.run.tools.starts_with(&format!("image {image} (sha256:")), "{}", matrix.run.tools);
    assert!(matrix.run.proxy.starts_with("builtin"), "there is no Squid in the image: {}", matrix.run.proxy);
    let verdict = |id: &str| matrix.cells.iter().find(|c| c.id == id).map(|c| (c.verdict, c.reason.as_str()));
    for id in ["netfilter.dnat.tcp.legacy", "chroot.exec", "chroot.read-only-binds"] {
        assert_eq!(verdict(id).map(|v| v.0), Some(Verdict::Pass), "{id}: {:?}; {}", verdict(id), stderr(&output));
    }
    // This host has it; the image does not.
    let (verdict, why) = verdict("netfilter.dnat.tcp.nft").expect("measured");
    assert!(verdict == Verdict::Skipped && why.starts_with("tool missing: iptables-nft"), "{verdict:?}: {why}");
}

/// Defects in the sandbox, in the rules and in the lab: each is noticed, and no verdict turns without one.
#[test]
fn the_self_test_finds_every_defect() {
    let _turn = turn();
    let before = host();
    let output = run(&["selftest", "--runtime", "runc", "--format", "json"]);
    unchanged(&before);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let report: serde_json::Value = serde_json::from_str(&text).unwrap_or_else(|e| panic!("{e}: {}", stderr(&output)));
    let rows = report["defects"].as_array().expect("defects");
    assert!(rows.len() >= 25, "{}", rows.len());
    for row in rows {
        assert_eq!(row["outcome"], "found", "{row:#}");
    }
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
}

/// What is selected from a run holds when it is brought up as emitted, and does a job.
#[test]
fn a_selection_can_be_rehearsed() {
    let _turn = turn();
    let (before, out) = (host(), scratch("rehearsal"));
    let dir = out.to_str().expect("utf-8");
    let skip = ["netfilter.*", "compose.*", "lifecycle.*", "health.*", "shared.*", "bridge.*", "isolation.*"];
    let mut args = vec!["run", "--runtime", "runc", "--report-only", "--out", dir];
    args.extend(skip.iter().flat_map(|s| ["--skip", s]));
    let output = run(&args);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let output = run(&["rehearse", "--runtime", "runc", "--through", "engine", "--format", "json", dir]);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let report: serde_json::Value = serde_json::from_str(&text).unwrap_or_else(|e| panic!("{e}: {}", stderr(&output)));
    let steps = report["steps"].as_array().expect("steps");
    assert!(steps.len() > 12, "{text}");
    for step in steps {
        // A machine may lack npm or git; what it has must work.
        assert!(step["held"] == "yes" || step["held"] == "skipped", "{step:#}");
    }
    assert!(steps.iter().filter(|s| s["held"] == "yes").count() > 12, "{text}");
    let requirements = report["requirements"].as_array().expect("requirements");
    assert_eq!(requirements.len(), 7);
    assert!(requirements.iter().all(|r| r["standing"] == "holds"), "{requirements:#?}");
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    unchanged(&before);
    let none = run(&["rehearse", "--runtime", "no-such-runtime", dir]);
    assert_eq!(none.status.code(), Some(2), "{}", stderr(&none));
}

#[test]
fn a_run_that_is_repeated_counts_what_its_cells_came_out_as() {
    let _turn = turn();
    let (before, out) = (host(), scratch("repeat"));
    let dir = out.to_str().expect("utf-8");
    let output =
        run(&["run", "--runtime", "runc", "--only", "seccomp.errno", "--repeat", "3", "--report-only", "--out", dir]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    unchanged(&before);
    let report: serde_json::Value =
        serde_json::from_slice(&std::fs::read(out.join("report.json")).expect("report")).expect("JSON");
    assert_eq!((&report["run"]["repeats"], &report["run"]["journal"]), (&3.into(), &"repeat-03/journal.jsonl".into()));
    let cell = &report["cells"][0];
    assert_eq!(cell["counts"], serde_json::json!({"pass": 3}), "{cell:#}");
    for n in 1..=3 {
        let one = judged(&out.join(format!("repeat-0{n}")));
        assert_eq!((one.cells[0].verdict, one.run.repeats), (Verdict::Pass, None));
    }
}

#[test]
fn an_image_that_is_not_there_is_not_pulled() {
    let _turn = turn();
    let before = host();
    let output = run(&["run", "--runtime", "runc", "--toolbox-image", "awf-probe-test:absent"]);
    assert_eq!(output.status.code(), Some(4), "{}", stderr(&output));
    assert!(stderr(&output).contains("a run pulls nothing"), "{}", stderr(&output));
    unchanged(&before);
}
