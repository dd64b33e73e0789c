//! The command line without an engine: wrong words, exit codes, and engines that are absent, mute or forbidden.

use std::{
    os::unix::net::UnixListener,
    path::Path,
    process::{Command, Output},
    time::{Duration, Instant},
};

fn probe(args: &[&str], engine: &str) -> Output {
    Command::new(env!("CARGO_BIN_EXE_awf-probe"))
        .args(args)
        .env("DOCKER_HOST", engine)
        .env("NO_COLOR", "1")
        .output()
        .expect("the executable starts")
}

const NOWHERE: &str = "unix:///nonexistent/docker.sock";

#[track_caller]
fn fails(output: &Output, code: i32, words: &[&str]) {
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{stderr}");
    assert!(output.stdout.is_empty(), "results only on stdout, and this is none");
    for word in words {
        assert!(stderr.contains(word), "{word:?} is not in: {stderr}");
    }
    assert!(!stderr.contains("panicked"), "{stderr}");
}

#[test]
fn a_wrong_flag_is_usage() {
    fails(&probe(&["run", "--runtimes", "runc"], NOWHERE), 2, &["--runtime"]);
    fails(&probe(&["run", "--all", "--runtime", "runc"], NOWHERE), 2, &["cannot be used with"]);
    fails(&probe(&["run", "--deadline", "soon"], NOWHERE), 2, &["number and a unit"]);
    fails(&probe(&["run", "--jobs", "0"], NOWHERE), 2, &["--jobs"]);
    fails(&probe(&["run", "--format", "tabel"], NOWHERE), 2, &["table"]);
}

#[test]
fn a_bad_glob_is_usage_before_the_engine_is_asked() {
    fails(&probe(&["run", "--only", "netfilter.[a"], NOWHERE), 2, &["is not a glob", "awf-probe list"]);
}

#[test]
fn bench_refuses_what_it_cannot_do_before_the_engine_is_asked() {
    fails(&probe(&["bench", "--suite", "huge"], NOWHERE), 2, &["quick", "full"]);
    fails(&probe(&["bench", "--precision", "0"], NOWHERE), 2, &["above 0"]);
    fails(&probe(&["bench", "--budget", "soon"], NOWHERE), 2, &["number and a unit"]);
    fails(&probe(&["bench", "--format", "pdf"], NOWHERE), 2, &["text, markdown, html or json"]);
    fails(&probe(&["bench", "--only", "fil.*"], NOWHERE), 2, &["no bench of the quick suite", "file.bind.open"]);
    fails(&probe(&["bench"], NOWHERE), 4, &["/nonexistent/docker.sock", "scripts/setup"]);
}

#[test]
fn an_unknown_capability_is_usage_and_names_the_nearest() {
    fails(&probe(&["explain", "seccomp.erno"], NOWHERE), 2, &["did you mean seccomp.errno?"]);
}

#[test]
fn a_word_of_a_command_names_the_nearest() {
    fails(&probe(&["matrix", "x", "--format", "jsn"], NOWHERE), 2, &["did you mean json?", "text, markdown or json"]);
    fails(&probe(&["select", "--policy", "strickt", "x"], NOWHERE), 2, &["did you mean strict?", "default and strict"]);
    fails(
        &probe(&["diff", "a", "b", "--fail-on", "regresions"], NOWHERE),
        2,
        &["a similar value exists", "regressions"],
    );
    fails(&probe(&["runn"], NOWHERE), 2, &["a similar subcommand exists", "'run'"]);
}

#[test]
fn no_engine_says_where_it_looked_and_what_to_do() {
    for command in [&["run"][..], &["doctor"], &["clean"]] {
        fails(&probe(command, NOWHERE), 4, &["/nonexistent/docker.sock", "scripts/setup"]);
    }
    fails(&probe(&["run"], "tcp://203.0.113.1:2375"), 4, &["tcp://203.0.113.1:2375"]);
}

#[test]
fn the_current_context_of_the_docker_command_is_used() {
    let config = Path::new(env!("CARGO_TARGET_TMPDIR")).join("docker-config");
    // As `docker context create` does it: the folder is the SHA-256 of "elsewhere".
    let hash = "7b1b763ee8f62eb88e4742a760f912d0b19bcd58b2b948999784bacc15a7f4d7";
    let meta = config.join("contexts/meta").join(hash);
    std::fs::create_dir_all(&meta).expect("folder");
    let text = r#"{"Name":"elsewhere","Endpoints":{"docker":{"Host":"unix:///nonexistent/elsewhere.sock"}}}"#;
    std::fs::write(meta.join("meta.json"), text).expect("meta");
    std::fs::write(config.join("config.json"), r#"{"currentContext":"elsewhere"}"#).expect("config");
    let with = |variables: &[(&str, &str)]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_awf-probe"));
        command.arg("doctor").env_remove("DOCKER_HOST").env_remove("DOCKER_CONTEXT").env("DOCKER_CONFIG", &config);
        command.envs(variables.iter().copied()).output().expect("the executable starts")
    };
    fails(&with(&[]), 4, &["unix:///nonexistent/elsewhere.sock"]);
    fails(&with(&[("DOCKER_HOST", NOWHERE)]), 4, &[NOWHERE]);
}

#[test]
fn an_engine_that_never_answers_is_given_up() {
    let dir = tempfile::tempdir().expect("tempdir");
    let path = dir.path().join("mute.sock");
    let listener = UnixListener::bind(&path).expect("bind");
    let mute = std::thread::spawn(move || {
        // Accepts and keeps the connections open until the test is over.
        let mut open = Vec::new();
        listener.set_nonblocking(true).expect("nonblocking");
        let begun = Instant::now();
        while begun.elapsed() < Duration::from_secs(14) {
            open.extend(listener.accept());
            std::thread::sleep(Duration::from_millis(20));
        }
    });
    let output = probe(&["run"], &format!("unix://{}", path.display()));
    fails(&output, 4, &["does not answer", "10 s"]);
    mute.join().expect("listener");
}

#[test]
fn a_forbidden_socket_says_so() {
    use std::os::unix::{fs::PermissionsExt, process::CommandExt};
    let dir = tempfile::tempdir().expect("tempdir");
    std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o755)).expect("chmod");
    let path = dir.path().join("root-only.sock");
    let _listener = UnixListener::bind(&path).expect("bind");
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).expect("chmod");
    let copy = dir.path().join("awf-probe");
    // By a process of its own: a descriptor open for writing here would be inherited by whatever another test starts at
    // this moment, and a program that somebody may write to cannot be executed ("Text file busy").
    let copied = Command::new("cp").arg(env!("CARGO_BIN_EXE_awf-probe")).arg(&copy).status().expect("cp starts");
    assert!(copied.success(), "cp: {copied}");
    let mut command = Command::new(&copy);
    command.arg("run").env("DOCKER_HOST", format!("unix://{}", path.display()));
    if rustix::process::geteuid().is_root() {
        command.uid(65534).gid(65534);
    } else {
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o000)).expect("chmod");
    }
    fails(&command.output().expect("starts"), 4, &["ermission denied", "group that owns the socket"]);
}

#[test]
fn a_journal_that_cannot_be_used_says_why() {
    let dir = tempfile::tempdir().expect("tempdir");
    let judge = |text: &str| {
        let path = dir.path().join("journal.jsonl");
        std::fs::write(&path, text).expect("write");
        probe(&["judge", "--from", path.to_str().expect("utf-8")], NOWHERE)
    };
    fails(&judge(""), 4, &["no run-started"]);
    fails(&judge("not json\n"), 4, &["line 1"]);
    fails(&probe(&["judge", "--from", "/nonexistent/journal"], NOWHERE), 4, &["/nonexistent/journal"]);
}

#[test]
fn list_and_explain_need_no_engine() {
    let list = probe(&["list", "--format", "json"], NOWHERE);
    assert_eq!(list.status.code(), Some(0));
    let all: Vec<serde_json::Value> = serde_json::from_slice(&list.stdout).expect("an array");
    assert!(all.len() >= 50, "{} capabilities", all.len());
    assert!(all.iter().all(|c| c["id"].is_string() && c["control"].as_str().is_some_and(|s| !s.is_empty())));
    let explain = probe(&["explain", "netns.dnat.legacy", "--from", "/nonexistent"], NOWHERE);
    assert_eq!(explain.status.code(), Some(0));
    let text = String::from_utf8_lossy(&explain.stdout);
    for part in ["Why AWF cares", "How it is measured", "Control", "Expected", "What to do about a fail", "No report"] {
        assert!(text.contains(part), "{part}");
    }
}

#[test]
fn a_closed_pipe_is_no_error() {
    let script = format!("{} list | head -n 1", env!("CARGO_BIN_EXE_awf-probe"));
    let output = Command::new("/bin/sh").args(["-c", &script]).output().expect("sh");
    assert!(output.status.success());
    assert!(output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn judging_a_real_journal_gives_the_exit_code_of_its_verdicts() {
    let journal = |name: &str| Path::new(env!("CARGO_MANIFEST_DIR")).join("reports/samples/journals").join(name);
    let judge = |path: &Path| probe(&["judge", "--from", path.to_str().expect("utf-8"), "--format", "json"], NOWHERE);
    let whole = judge(&journal("runc.jsonl"));
    assert_eq!(whole.status.code(), Some(0), "{}", String::from_utf8_lossy(&whole.stderr));
    // The same journal without its last lines is a run that was cut off: whatever it saw, it is not 0.
    let text = std::fs::read_to_string(journal("runc.jsonl")).expect("sample");
    let cut: Vec<&str> = text.lines().take(text.lines().count() / 2).collect();
    let dir = tempfile::tempdir().expect("tempdir");
    let path = dir.path().join("cut.jsonl");
    std::fs::write(&path, cut.join("\n")).expect("write");
    let code = judge(&path).status.code();
    assert!(matches!(code, Some(1 | 3)), "{code:?}");
}

/// Annotations on stdout; the summary of the step only in a job, and behind what is there.
#[test]
fn a_job_of_github_actions_gets_its_summary() {
    let journal = Path::new(env!("CARGO_MANIFEST_DIR")).join("reports/samples/journals/runsc.jsonl");
    let dir = tempfile::tempdir().expect("tempdir");
    let summary = dir.path().join("summary.md");
    std::fs::write(&summary, "before\n").expect("write");
    let judge = |actions: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_awf-probe"));
        command.args(["judge", "--format", "github", "--from"]).arg(&journal);
        command.env("GITHUB_ACTIONS", actions).env("GITHUB_STEP_SUMMARY", &summary).output().expect("starts")
    };
    let output = judge("");
    assert!(String::from_utf8_lossy(&output.stdout).contains("::error title="), "{output:?}");
    assert_eq!(std::fs::read_to_string(&summary).expect("read"), "before\n", "this is no job");
    judge("true");
    let text = std::fs::read_to_string(&summary).expect("read");
    assert!(text.starts_with("before\n") && text.contains("| R1"), "{text}");
}

/// Two versions of gVisor on one host, which are registered under two names.
#[test]
fn diff_compares_versions_under_two_names() {
    let samples = Path::new(env!("CARGO_MANIFEST_DIR")).join("reports/samples/runtimes");
    let path = |name: &str| samples.join(name).to_str().expect("utf-8").to_owned();
    let (old, new) = (path("runsc-2022-raw"), path("runsc-2024-raw"));
    let changes = |named: &[&str]| {
        let args = [&["diff", &old, &new, "--format", "json", "--fail-on", "none"], named].concat();
        let value: serde_json::Value = serde_json::from_slice(&probe(&args, NOWHERE).stdout).expect("json");
        let all = value["differences"].as_array().expect("differences").clone();
        all.into_iter().map(|d| (d["change"].to_string(), d["cell"].to_string())).collect::<Vec<_>>()
    };
    assert!(changes(&[]).iter().all(|(change, _)| change == "\"gone\"" || change == "\"new\""), "other names");
    let all =
        ["--as", "runsc-2022-raw=runsc-raw", "--as", "runsc-2022=runsc", "--as", "runsc-2022-hostnet=runsc-hostnet"];
    let named = changes(&all);
    let fixed = ("\"newly-fixed\"".to_owned(), "\"netfilter.dnat.tcp.legacy\"".to_owned());
    assert!(named.contains(&fixed) && named.len() < 10, "{named:?}");
    let says = |pair: &str, words: &[&str]| fails(&probe(&["diff", &old, &new, "--as", pair], NOWHERE), 2, words);
    says("runsc-raw", &["no `=`", "BEFORE=AFTER"]);
    says("runsc=runsc-raw", &["first run has no runtime \"runsc\"", "it has: ", "runsc-2022-raw"]);
    says("runsc-2022-raw=runcc", &["second run has no runtime \"runcc\"", "it has: ", "runsc-raw"]);
}

#[test]
fn diff_exits_by_what_it_is_told_to_fail_on() {
    let samples = Path::new(env!("CARGO_MANIFEST_DIR")).join("reports/samples/journals");
    let path = |name: &str| samples.join(name).to_str().expect("utf-8").to_owned();
    let (one, other) = (path("runc.jsonl"), path("runsc.jsonl"));
    let code = |args: &[&str]| probe(&[&["diff"], args].concat(), NOWHERE).status.code();
    assert_eq!(code(&[&one, &one, "--fail-on", "any"]), Some(0), "nothing changed");
    // Every cell of runc passed or not, and is gone.
    assert_eq!(code(&[&one, &other]), Some(1));
    assert_eq!(code(&[&one, &other, "--fail-on", "none"]), Some(0));
    fails(&probe(&["diff", &one, &other, "--format", "xml"], NOWHERE), 2, &["text, markdown or json"]);
    fails(&probe(&["diff", &one, "/nonexistent"], NOWHERE), 2, &["/nonexistent", "journal.jsonl"]);
    // A report and its journal say the same.
    let dir = tempfile::tempdir().expect("tempdir");
    let report = dir.path().join("report.json");
    let judged = probe(&["judge", "--from", &one, "--format", "json"], NOWHERE);
    std::fs::write(&report, judged.stdout).expect("write");
    let output = probe(&["diff", dir.path().to_str().expect("utf-8"), &one, "--format", "json"], NOWHERE);
    let diff: serde_json::Value = serde_json::from_slice(&output.stdout).expect("json");
    assert_eq!(
        (diff["schema"].as_str(), diff["differences"].as_array().map(Vec::len)),
        (Some("awf-probe/diff-v1"), Some(0))
    );
}

#[test]
fn against_a_baseline_only_what_is_worse_counts() {
    let dir = tempfile::tempdir().expect("tempdir");
    let journal = |name: &str| {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("reports/samples/journals/{name}.jsonl"));
        path.to_str().expect("utf-8").to_owned()
    };
    let (runc, runsc) = (journal("runc"), journal("runsc"));
    let judge = |from: &str, baseline: &str| {
        probe(&["judge", "--from", from, "--baseline", baseline, "--format", "json"], NOWHERE)
    };
    // Whatever fails there, it is as accepted.
    for same in [&runc, &runsc] {
        assert_eq!(judge(same, same).status.code(), Some(0), "{same}");
    }
    // A journal of which the end is lost says less than the whole: what is not known any more is worse.
    let text = std::fs::read_to_string(&runc).expect("sample");
    let lines: Vec<&str> = text.lines().collect();
    let cut = dir.path().join("cut.jsonl");
    std::fs::write(&cut, lines[..lines.len() / 2].join("\n")).expect("write");
    let cut = cut.to_str().expect("utf-8");
    let worse = judge(cut, &runc);
    let stderr = String::from_utf8_lossy(&worse.stderr).into_owned();
    assert_eq!(worse.status.code(), Some(1), "{stderr}");
    assert!(stderr.contains("worse than the baseline") && stderr.contains("regressions"), "{stderr}");
    assert!(!worse.stdout.is_empty(), "the report is printed all the same");
    // Nothing is worse than what is cut, but a run that did not end is never 0.
    let open = judge(cut, cut);
    assert_eq!(open.status.code(), Some(3), "{}", String::from_utf8_lossy(&open.stderr));
    // What could not be told and fails now is worse, as it is for `diff`.
    assert_eq!(judge(&runc, cut).status.code(), Some(1));
    // A runtime that is compared with nothing would never be worse.
    fails(&judge(&runsc, &runc), 2, &["no cell of the runtime", "runsc", "it has: runc"]);
    fails(&judge(&runc, "/nonexistent"), 2, &["/nonexistent"]);
    fails(&probe(&["run", "--baseline", "/nonexistent"], NOWHERE), 2, &["/nonexistent"]);
}

#[test]
fn a_matrix_leaves_out_what_is_damaged_and_says_so() {
    let dir = tempfile::tempdir().expect("tempdir");
    let samples = Path::new(env!("CARGO_MANIFEST_DIR")).join("reports/samples/runtimes");
    let path = |name: &str| samples.join(name).to_str().expect("utf-8").to_owned();
    let (one, other) = (path("runsc-2024"), path("runsc-new/report.json"));
    let whole = probe(&["matrix", &one, &other, "--format", "json"], NOWHERE);
    assert_eq!(whole.status.code(), Some(0), "{}", String::from_utf8_lossy(&whole.stderr));
    let value: serde_json::Value = serde_json::from_slice(&whole.stdout).expect("json");
    assert_eq!((&value["schema"], &value["reports"]), (&"awf-probe/matrix-v1".into(), &2.into()));
    let text = std::fs::read_to_string(samples.join("runsc-2022/report.json")).expect("sample");
    let damaged = dir.path().join("damaged.json");
    std::fs::write(&damaged, text.replacen("\"verdict\": \"fail\"", "\"verdict\": \"pass\"", 1)).expect("write");
    let damaged = damaged.to_str().expect("utf-8");
    let part = probe(&["matrix", &one, damaged, "/nonexistent", &other], NOWHERE);
    let (stdout, stderr) = (String::from_utf8_lossy(&part.stdout), String::from_utf8_lossy(&part.stderr));
    assert_eq!(part.status.code(), Some(3), "{stderr}");
    assert!(stderr.contains(&format!("left out: {damaged}: the digest does not fit")), "{stderr}");
    assert!(stderr.contains("left out: /nonexistent: "), "{stderr}");
    assert!(stdout.starts_with("2 reports in 2 environments, 2 left out\n") && stdout.contains(damaged), "{stdout}");
    fails(&probe(&["matrix"], NOWHERE), 2, &["REPORT"]);
    fails(&probe(&["matrix", &one, "--format", "xml"], NOWHERE), 2, &["text, markdown or json"]);
}

#[test]
fn completions_and_man_pages_are_printed() {
    let bash = probe(&["completions", "bash"], NOWHERE);
    assert_eq!(bash.status.code(), Some(0));
    let dir = tempfile::tempdir().expect("tempdir");
    let file = dir.path().join("awf-probe.bash");
    std::fs::write(&file, &bash.stdout).expect("write");
    assert!(Command::new("bash").arg("-n").arg(&file).status().expect("bash").success(), "bash can read it");
    fails(&probe(&["completions", "csh"], NOWHERE), 2, &["bash"]);
    let man = probe(&["man", "diff"], NOWHERE);
    assert!(String::from_utf8_lossy(&man.stdout).contains("awf\\-probe\\-diff"), "{man:?}");
    fails(&probe(&["man", "dif"], NOWHERE), 2, &["did you mean \"diff\"?"]);
    let out = dir.path().join("man1");
    let written = probe(&["man", "--out", out.to_str().expect("utf-8")], NOWHERE);
    assert_eq!(written.status.code(), Some(0));
    assert!(out.join("awf-probe.1").is_file() && out.join("awf-probe-run.1").is_file());
}

/// With a stand-in for awf-probe that exits as it is told and notes its arguments.
#[test]
fn the_action_fails_on_what_it_is_told_to() {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().expect("tempdir");
    let stand_in = dir.path().join("awf-probe");
    let script = "#!/bin/sh\necho \"$*\" >>\"$NOTES\"\n[ \"$1\" = run ] && exit \"$CODE\"\nexit 0\n";
    std::fs::write(&stand_in, script).expect("write");
    std::fs::set_permissions(&stand_in, std::fs::Permissions::from_mode(0o755)).expect("executable");
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let notes = dir.path().join("notes");
    let action = |fail_on: &str, code: &str, runtime: &str, policy: &str| {
        drop(std::fs::remove_file(&notes));
        let mut command = Command::new(root.join("scripts/action"));
        command.arg(root).env("AWF_PROBE_BIN", &stand_in).env("RUNNER_TEMP", dir.path()).env("NOTES", &notes);
        command.env("CODE", code).env("FAIL_ON", fail_on).env("RUNTIME", runtime).env("POLICY", policy);
        command.env_remove("GITHUB_OUTPUT").env_remove("SETUP");
        let output = command.output().expect("bash");
        (output.status.code(), std::fs::read_to_string(&notes).unwrap_or_default())
    };
    for (fail_on, codes) in [
        ("unknown", [0, 1, 2, 3, 4]),
        ("broken", [0, 1, 2, 0, 4]),
        ("regressions", [0, 1, 2, 3, 4]),
        ("none", [0, 0, 2, 0, 4]),
    ] {
        for (code, expected) in codes.into_iter().enumerate() {
            let (exit, _) = action(fail_on, &code.to_string(), "", "accepted.json");
            assert_eq!(exit, Some(expected), "fail-on {fail_on}, awf-probe exits {code}");
        }
    }
    assert_eq!(action("regressions", "0", "", ""), (Some(2), String::new()), "compared with nothing");
    assert_eq!(action("nothing", "0", "", ""), (Some(2), String::new()), "no such word");
    let (_, said) = action("regressions", "0", "runc runsc", "accepted.json");
    assert!(said.starts_with("run --runtime runc --runtime runsc --baseline accepted.json --out "), "{said}");
    assert!(action("none", "0", "all", "").1.starts_with("run --all --out "));
}

#[test]
fn help_of_every_subcommand_has_examples_and_exit_codes() {
    let top = String::from_utf8_lossy(&probe(&["--help"], NOWHERE).stdout).into_owned();
    for (code, _) in awf_probe::error::Exit::ALL {
        assert!(top.contains(&format!("\n  {}  ", code as u8)), "exit code {} is not in --help", code as u8);
    }
    for command in ["run", "list", "explain", "judge", "diff", "matrix", "completions", "man", "doctor", "clean"] {
        let help = probe(&[command, "--help"], NOWHERE);
        assert_eq!(help.status.code(), Some(0));
        assert!(String::from_utf8_lossy(&help.stdout).contains("Example"), "{command}");
        assert!(top.contains(command));
    }
}
