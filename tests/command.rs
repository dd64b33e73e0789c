//! The command engine: runtimes outside Docker, by launch commands. Without an engine, and but for the last two without
//! privileges: what isolates nothing, breaks or hangs must be told and must leave nothing.

use std::{
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    time::{Duration, Instant},
};

use awf_probe::{commands::Data, event::Event, journal, judge::judge};
use awf_probe_matrix::{Cell, IsolationClass, Matrix, Verdict};

/// A folder of the test's own, which is the run's temporary folder, too: what stays there is left over.
fn folder() -> tempfile::TempDir {
    tempfile::tempdir().expect("a folder")
}

fn probe(tmp: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_awf-probe"));
    command.args(args).env("NO_COLOR", "1").env("TMPDIR", tmp).env("DOCKER_HOST", "unix:///nonexistent/docker.sock");
    command
}

fn described(tmp: &Path, text: &str) -> String {
    let file = tmp.join("mine.toml");
    std::fs::write(&file, text).expect("written");
    file.display().to_string()
}

fn left(tmp: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(tmp).expect("the folder").flatten().map(|e| e.path());
    entries.filter(|p| p.file_name().is_some_and(|n| n.to_string_lossy().starts_with("awf-probe-command-"))).collect()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn matrix(out: &Path) -> (Matrix, Vec<Event>) {
    let events = journal::read(&out.join("journal.jsonl")).expect("a journal");
    let data = Data::load().expect("data");
    (judge(&events, &data.catalogue, &data.models, &data.products), events)
}

fn run(tmp: &Path, description: &str, only: &[&str]) -> (Output, Matrix, Vec<Event>) {
    let out = tmp.join("out");
    let (file, out_text) = (described(tmp, description), out.display().to_string());
    let mut args = vec!["run", "--engine", "command", "--runtime", "mine", "--describe", &file, "--out", &out_text];
    only.iter().for_each(|o| args.extend(["--only", o]));
    let output = probe(tmp, &args).output().expect("it starts");
    let (matrix, events) = matrix(&out);
    (output, matrix, events)
}

#[test]
fn wrong_words_are_usage_and_name_the_nearest() {
    let tmp = folder();
    let says = |args: &[&str], code: i32, words: &[&str]| {
        let output = probe(tmp.path(), args).output().expect("it starts");
        assert_eq!(output.status.code(), Some(code), "{}", stderr(&output));
        words.iter().for_each(|w| assert!(stderr(&output).contains(w), "{w:?} is not in {}", stderr(&output)));
    };
    says(&["run", "--engine", "comand"], 2, &["did you mean \"command\"?"]);
    says(&["run", "--engine", "command"], 2, &["no default runtime", "bubblewrap"]);
    says(
        &["run", "--engine", "command", "--runtime", "bubblewarp"],
        4,
        &["did you mean \"bubblewrap\"?", "--describe"],
    );
    says(&["run", "--describe", "x.toml"], 2, &["--engine command"]);
    let file = described(tmp.path(), "[[command]]\nname = \"mine\"\nlaunch = [\"x\", \"{comm}\", \"{rot}\"]\n");
    says(&["run", "--engine", "command", "--runtime", "mine", "--describe", &file], 2, &["did you mean {root}?"]);
    says(&["run", "--engine", "podman"], 4, &["podman.sock"]);
    says(&["clean", "--engine", "command"], 0, &[]);
}

/// The guest runs, as a process of the host without any isolation: nothing may be judged of that.
#[test]
fn a_launcher_that_isolates_nothing_passes_nothing() {
    let tmp = folder();
    let description = "[[command]]\nname = \"mine\"\nlaunch = [\"env\", \"{options}\", \"{executable}\", \"guest\"]\n\
        [command.options]\nenv = [\"{variable}={value}\"]\ncapability = [\"LEFT_OUT_{capability}=1\"]\n";
    let (output, matrix, events) = run(tmp.path(), description, &[]);
    assert_eq!(output.status.code(), Some(3), "{}", stderr(&output));
    assert!(events.iter().any(|e| matches!(e, Event::SandboxStarted { .. })), "the guest was started");
    let told = |c: &Cell| c.verdict == Verdict::Skipped && !c.reason.is_empty();
    assert!(matrix.cells.iter().all(told), "{:?}", matrix.cells.iter().find(|c| !told(c)));
    let why = &matrix.cells.iter().find(|c| c.id == "identity.runtime").expect("the cell").reason;
    assert!(why.contains("not the one that was asked for"), "{why}");
    assert_eq!(left(tmp.path()), Vec::<PathBuf>::new());
}

#[test]
fn a_launcher_that_fails_is_told_with_its_own_words() {
    let tmp = folder();
    let description = "[[command]]\nname = \"mine\"\nlaunch = [\"sh\", \"-c\", \"echo no such machine {comm} >&2; exit 7\", \"{options}\"]\n\
        [command.options]\ncapability = [\"{capability}\"]\n";
    let (output, matrix, _) = run(tmp.path(), description, &["isolation.*"]);
    assert_eq!(output.status.code(), Some(3), "{}", stderr(&output));
    let why = matrix.runtimes[0].unusable.as_deref().unwrap_or_default();
    assert!(why.contains("exit code 7") && why.contains("no such machine"), "{why}");
    assert!(matrix.cells.iter().all(|c| matches!(c.verdict, Verdict::Inconclusive | Verdict::Skipped)));
    assert_eq!(left(tmp.path()), Vec::<PathBuf>::new());
}

/// `stop` and `remove` are carried out, and the process tree is gone, when the user interrupts a launch that hangs.
#[test]
fn an_interrupted_run_leaves_nothing() {
    let tmp = folder();
    let mark = tmp.path().join("removed");
    let description = format!(
        "[[command]]\nname = \"mine\"\nlaunch = [\"sh\", \"-c\", \"echo $$ > {0}/pid; sleep 987 & wait # {{comm}}\", \"{{options}}\"]\n\
         remove = [\"touch\", \"{1}\"]\n[command.options]\ncapability = [\"{{capability}}\"]\n",
        tmp.path().display(),
        mark.display()
    );
    let file = described(tmp.path(), &description);
    let mut child = probe(tmp.path(), &["run", "--engine", "command", "--runtime", "mine", "--describe", &file])
        .stderr(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .expect("it starts");
    let pid = wait_for(|| std::fs::read_to_string(tmp.path().join("pid")).ok()?.trim().parse::<i32>().ok());
    assert!(!left(tmp.path()).is_empty(), "it is under way");
    // SAFETY: the child is ours and not reaped.
    unsafe { libc::kill(child.id().cast_signed(), libc::SIGINT) };
    let status = child.wait().expect("it ends");
    assert_eq!(status.code(), Some(4));
    assert!(mark.exists(), "remove was carried out");
    assert_eq!(left(tmp.path()), Vec::<PathBuf>::new());
    // SAFETY: the group was the launcher's; signal 0 only asks.
    let gone = || (unsafe { libc::kill(-pid, 0) } != 0).then_some(());
    wait_for(gone);
}

fn wait_for<T>(what: impl Fn() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(found) = what() {
            return found;
        }
        assert!(begun.elapsed() < Duration::from_secs(60), "it did not come about in 60 s");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// What a real launcher must show, whatever else: who it is, and that nothing passes without having been measured.
fn real(name: &str, class: IsolationClass, passing: &[&str]) {
    let tmp = folder();
    let out = tmp.path().join("out");
    let args = ["run", "--engine", "command", "--runtime", name, "--out", &out.display().to_string()];
    let output = probe(tmp.path(), &args).output().expect("it starts");
    assert!(matches!(output.status.code(), Some(1 | 3)), "{}", stderr(&output));
    let (matrix, events) = matrix(&out);
    assert_eq!(matrix.runtimes[0].class, Some(class), "{:?}", matrix.runtimes[0]);
    for id in passing {
        let cell = matrix.cells.iter().find(|c| c.id == *id).expect("the cell");
        assert_eq!(cell.verdict, Verdict::Pass, "{id}: {}", cell.reason);
    }
    let needs_engine = ["egress.", "netns.", "compose.", "lifecycle.", "image.", "health.", "cgroup.", "seccomp."];
    for cell in matrix.cells.iter().filter(|c| needs_engine.iter().any(|f| c.id.starts_with(f))) {
        assert_eq!(cell.verdict, Verdict::Skipped, "{}: {}", cell.id, cell.reason);
    }
    assert!(matrix.cells.iter().all(|c| c.verdict != Verdict::Pass || !c.evidence.is_empty()));
    assert!(!events.iter().any(|e| matches!(e, Event::Packet { .. })));
    assert_eq!(left(tmp.path()), Vec::<PathBuf>::new());
}

#[test]
#[ignore = "needs root and bubblewrap: `make test-command`"]
fn bubblewrap_shares_the_hosts_kernel() {
    real(
        "bubblewrap",
        IsolationClass::SharedKernel,
        &["identity.runtime", "capabilities.net-raw", "isolation.processes", "procfs.mount"],
    );
}

#[test]
#[ignore = "needs root, QEMU and AWF_PROBE_KERNEL: `make test-command`"]
fn an_emulated_machine_has_a_kernel_of_its_own() {
    std::env::var_os("AWF_PROBE_KERNEL").expect("AWF_PROBE_KERNEL names a Linux kernel");
    real("qemu-tcg", IsolationClass::GuestKernel, &["identity.runtime", "capabilities.net-raw", "isolation.processes"]);
}
