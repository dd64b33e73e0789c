//! What a client does to a container from create to remove, and what comes of it.

use std::time::{Duration, Instant};

use awf_probe_matrix::Outcome;
use serde_json::{Value, json};

use super::{
    Agent, BatchEnd, Cx, ask,
    case::{Case, number, once, text},
};
use crate::{
    engine::docker::{
        drive::{ExecAsk, No},
        sandbox::Line,
    },
    settings::Settings,
    specs::Spec,
};

/// Exit codes a main process is made to end with: the smallest, those engines use themselves, those signals give; and
/// one that stands for none of that, as the control of the others.
pub const CODES: &[i64] = &[0, 1, 2, 125, 126, 127, 128, 137, 143, 255, 77];

fn plain(more: Settings) -> Spec {
    Spec { more, ..Spec::plain("engine") }
}

fn value_or(result: Result<i64, No>) -> Outcome {
    result.map_or_else(|no| no.outcome(), Outcome::value)
}

fn done(result: Result<(), No>, what: &str) -> Outcome {
    result.map_or_else(|no| no.outcome(), |()| Outcome::allowed(what))
}

/// Exit codes, one container started again for each; a command that is not there, one that cannot be executed.
pub async fn exit(cx: &Cx, runtime: &str) {
    let case = Case::new(cx, runtime, "exit");
    let permit = cx.jobs.acquire().await.ok();
    if let Some(id) = case.make(plain(Settings::default()), &once("lifecycle.exit-told", &Value::Null)).await {
        for (i, code) in CODES.iter().enumerate() {
            let Some(mut sandbox) = case.run(&id).await else { break };
            if !case.ready(&mut sandbox).await {
                break;
            }
            if i == 0 {
                case.prove(&id).await;
            }
            if let Err(e) = sandbox.send(code).await {
                case.problem("guest", e.to_string());
                break;
            }
            case.engine(&format!("exit.{code}"), value_or(cx.docker.wait(&id, 20).await));
        }
        case.remove(&id).await;
    }
    for (name, path) in [("not-found", "/no-such-program"), ("not-executable", "/etc/passwd")] {
        let spec = plain(Settings { entrypoint: Some(vec![path.to_owned()]), ..Settings::default() });
        // Some engines look for the program when a container is created, others when it starts.
        match case.try_make(&spec, &[]).await {
            Err(no) => case.engine(&format!("start.{name}"), no.outcome()),
            Ok(id) => {
                let started = cx.docker.run_detached(&id).await;
                case.engine(&format!("start.{name}"), done(started, "it started"));
                let code = cx.docker.look(&id).await.map(|s| number(&s, "/State/ExitCode").unwrap_or(-1));
                case.engine(&format!("exit.{name}"), value_or(code));
                case.remove_failed(&id).await;
            }
        }
    }
    // A fault ends process 1, which no signal it sends itself would.
    if let Some(id) = case.make(plain(Settings::default()), &once("lifecycle.fault", &Value::Null)).await {
        if case.start(&id).await.is_ok() {
            case.engine("exit.fault", value_or(cx.docker.wait(&id, 20).await));
        }
        case.remove(&id).await;
    }
    // Two containers that fail: one is to be restarted once, the other never.
    for (name, restarts) in [("restarts", Some(1)), ("restarts.none", None)] {
        let spec = plain(Settings { restarts, ..Settings::default() });
        let Some(id) = case.make(spec, &once("lifecycle.exit", &json!({"code": 3}))).await else { continue };
        if case.start(&id).await.is_ok() {
            case.engine(name, restarted(cx, &id).await);
        }
        case.remove(&id).await;
    }
    // A sysctl that no kernel has: a runtime that passes it over would pass over a real one just so.
    let sysctls = vec![("net.ipv4.awf_probe_no_such_sysctl".to_owned(), "1".to_owned())];
    let spec = plain(Settings { sysctls, ..Settings::default() });
    if let Some(id) = case.make(spec, &once("lifecycle.exit", &json!({"code": 0}))).await {
        case.engine("sysctl.unknown", done(case.start(&id).await, "it started all the same"));
        case.remove_failed(&id).await;
    }
    drop(permit);
}

/// How often the engine restarted a container, once it is through with it.
async fn restarted(cx: &Cx, id: &str) -> Outcome {
    let mut still = 0;
    for _ in 0..100 {
        let Ok(seen) = cx.docker.look(id).await else { break };
        let state = text(&seen, "/State/Status");
        // Between two starts it is exited for a moment, or restarting; at the end it stays exited.
        still = if state == "exited" { still + 1 } else { 0 };
        if still >= 5 {
            return Outcome::value(number(&seen, "/RestartCount").unwrap_or(-1));
        }
        tokio::time::sleep(Duration::from_millis(60)).await;
    }
    Outcome::broken("it did not come to rest")
}

/// Signals: a main process that stops when it is asked to, and one that does not.
pub async fn signals(cx: &Cx, runtime: &str) {
    let case = Case::new(cx, runtime, "signals");
    let permit = cx.jobs.acquire().await.ok();
    tokio::join!(polite(&case), stubborn(&case));
    drop(permit);
}

async fn polite(case: &Case<'_>) {
    let cx = case.cx;
    let Some(id) = case.make(plain(Settings::default()), &once("lifecycle.signals", &Value::Null)).await else {
        return;
    };
    if let Some(mut sandbox) = case.run(&id).await
        && case.ready(&mut sandbox).await
    {
        let first = case.prove(&id).await;
        // Nothing arrives that was not sent.
        let quiet = case.fact(&mut sandbox, Duration::from_millis(50)).await;
        case.engine("kill.none", quiet.map_or_else(|_| Outcome::value("quiet"), |f| Outcome::value(f.name)));
        case.engine("kill.usr1", done(cx.docker.kill(&id, "USR1").await, "sent"));
        let arrived = case.fact(&mut sandbox, Duration::from_secs(5)).await;
        case.engine("kill.usr1.seen", arrived.map_or_else(Outcome::broken, |f| Outcome::value(f.name)));
        let begun = Instant::now();
        case.engine("restart", done(cx.docker.restart(&id, 5).await, "restarted"));
        let took = begun.elapsed();
        case.engine("restart.in-time", Outcome::value(took < Duration::from_secs(4)));
        let arrived = case.fact(&mut sandbox, Duration::from_millis(500)).await;
        case.engine("stop.term.seen", arrived.map_or_else(Outcome::broken, |f| Outcome::value(f.name)));
        let again = cx.docker.look(&id).await.unwrap_or_default();
        let (a, b) = (text(&first, "/State/StartedAt"), text(&again, "/State/StartedAt"));
        case.engine("restart.new-start", Outcome::value(!a.is_empty() && !b.is_empty() && a != b));
        case.engine("restart.running", Outcome::value(text(&again, "/State/Status")));
        // What the first life wrote is there in the second.
        let kept = starts(case, &id).await;
        case.engine("restart.rootfs", kept);
        let begun = Instant::now();
        case.engine("stop", done(cx.docker.stop(&id, 5).await, "stopped"));
        case.engine("stop.in-time", Outcome::value(begun.elapsed() < Duration::from_secs(4)));
        case.engine("stop.exit", value_or(cx.docker.wait(&id, 10).await));
    }
    case.remove(&id).await;
}

/// How often the container in question says it was started.
async fn starts(case: &Case<'_>, id: &str) -> Outcome {
    let mut last = Outcome::broken("it did not write its count");
    for _ in 0..40 {
        let what =
            ExecAsk { cmd: command("lifecycle.read", &json!({"path": "/awf-probe-starts"})), ..ExecAsk::default() };
        match case.cx.docker.exec(id, &what).await {
            Ok(done) => match first_fact(&done.out) {
                Some(outcome @ Outcome::Value { .. }) => return outcome,
                Some(other) => last = other,
                None => last = Outcome::broken(format!("exec said nothing: {}", done.err)),
            },
            Err(no) => last = no.outcome(),
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    last
}

fn command(probe: &str, params: &Value) -> Vec<String> {
    std::iter::once("/awf-probe".to_owned()).chain(once(probe, params)).collect()
}

fn first_fact(out: &str) -> Option<Outcome> {
    let line = out.lines().next()?;
    serde_json::from_str::<awf_probe_matrix::Fact>(line.trim()).ok().map(|f| f.outcome)
}

async fn stubborn(case: &Case<'_>) {
    let cx = case.cx;
    let spec = plain(Settings { stop_signal: Some("SIGUSR2".to_owned()), ..Settings::default() });
    let Some(id) = case.make(spec, &once("lifecycle.signals", &json!({"stubborn": 1}))).await else { return };
    if let Some(mut sandbox) = case.run(&id).await
        && case.ready(&mut sandbox).await
    {
        case.prove(&id).await;
        let begun = Instant::now();
        let stopped = cx.docker.stop(&id, 1).await;
        let took = begun.elapsed();
        case.engine("grace.stop", done(stopped, "stopped"));
        let arrived = case.fact(&mut sandbox, Duration::from_millis(500)).await;
        case.engine("grace.signal", arrived.map_or_else(Outcome::broken, |f| Outcome::value(f.name)));
        case.engine("grace.seconds", Outcome::value(format!("{:.2}", took.as_secs_f64())));
        case.engine("grace.exit", value_or(cx.docker.wait(&id, 10).await));
    }
    case.remove(&id).await;
}

const BURST: u64 = 16_384;

/// Outputs, logs, a terminal, an input that ends.
pub async fn stdio(cx: &Cx, runtime: &str) {
    let case = Case::new(cx, runtime, "stdio");
    let permit = cx.jobs.acquire().await.ok();
    tokio::join!(logs(&case), terminal(&case), input(&case));
    drop(permit);
}

async fn logs(case: &Case<'_>) {
    let cx = case.cx;
    let args = once("lifecycle.burst", &json!({"lines": BURST}));
    for (name, logged) in [("logs", true), ("logs.none", false)] {
        let lines = if logged { args.clone() } else { once("lifecycle.burst", &json!({"lines": 1})) };
        let Some(id) = case.make(plain(Settings { logged, ..Settings::default() }), &lines).await else { continue };
        if case.start(&id).await.is_ok() && cx.docker.wait(&id, 30).await.is_ok() {
            match cx.docker.logs(&id).await {
                Err(no) => case.engine(name, no.outcome()),
                Ok((out, err)) => {
                    case.engine(name, Outcome::allowed(format!("{} and {} bytes", out.len(), err.len())));
                    let wanted: Vec<u8> = (0..BURST).flat_map(|n| format!("{n:063}\n").into_bytes()).collect();
                    case.engine("logs.out", Outcome::value(if out == wanted { "as written" } else { "differs" }));
                    let told = (0..BURST).step_by(4096).map(|n| format!("err {n}\n")).collect::<String>();
                    let same = err == told.as_bytes();
                    case.engine("logs.err", Outcome::value(if same { "as written" } else { "differs" }));
                }
            }
        }
        case.remove(&id).await;
    }
}

async fn terminal(case: &Case<'_>) {
    let spec = plain(Settings { tty: true, ..Settings::default() });
    let Some(id) = case.make(spec, &once("lifecycle.terminal", &Value::Null)).await else { return };
    if let Some(mut sandbox) = case.run(&id).await {
        match case.fact(&mut sandbox, Duration::from_secs(20)).await {
            Err(why) => case.problem("guest", why),
            Ok(fact) => {
                case.saw("guest", "terminal", fact.outcome);
                case.engine("resize", done(case.cx.docker.resize(&id, 33, 77).await, "33 rows, 77 columns"));
                case.relay(&mut sandbox, Duration::from_secs(10)).await;
            }
        }
    }
    case.remove(&id).await;
}

async fn input(case: &Case<'_>) {
    let Some(id) = case.make(plain(Settings::default()), &once("lifecycle.input", &Value::Null)).await else { return };
    if let Some(mut sandbox) = case.run(&id).await
        && case.ready(&mut sandbox).await
    {
        case.prove(&id).await;
        let line = "x".repeat(4093);
        let mut sent = Ok(());
        for _ in 0..64 {
            if sent.is_ok() {
                sent = sandbox.send(&line).await;
            }
        }
        if let Err(e) = sent {
            case.problem("guest", e.to_string());
        }
        let first = case.fact(&mut sandbox, Duration::from_secs(10)).await;
        case.engine("input.first", first.map_or_else(Outcome::broken, |f| f.outcome));
        // As long as its input is open it must not have ended.
        let open = matches!(sandbox.line(Duration::from_millis(50)).await, Line::Late);
        case.engine("input.open", Outcome::value(if open { "waits" } else { "ended" }));
        sandbox.end_input().await;
        case.relay(&mut sandbox, Duration::from_secs(10)).await;
        case.engine("input.exit", value_or(case.cx.docker.wait(&id, 10).await));
    }
    case.remove(&id).await;
}

/// A container that lives: exec, files in and out, its processes and its use, frozen and changed.
pub async fn life(cx: &Cx, runtime: &str) {
    let permit = cx.jobs.acquire().await.ok();
    let spec = Spec { memory: Some(128 << 20), pids: Some(200), ..Spec::plain("life") };
    let Some(mut agent) = Agent::start(cx, runtime, "life", "agent", spec, None).await else { return };
    let case = Case::new(cx, runtime, "life");
    let id = agent.id().to_owned();
    let params = cx.params(None);
    let beat = || vec![ask("lifecycle.tick", "tick", &params, Value::Null)];
    let begun = Instant::now();
    let mut alive = agent.run(false, beat()).await == BatchEnd::Finished;
    let answer = begun.elapsed();
    execs(&case, &id).await;
    files(&case, &id, &mut agent).await;
    use_of(&case, &id).await;
    if alive {
        alive = frozen(&case, &id, &mut agent, answer).await;
    }
    if alive {
        case.engine("update", done(cx.docker.update(&id, Some(192 << 20), Some(300)).await, "192 MiB, 300 tasks"));
        let seen = cx.docker.look(&id).await.unwrap_or_default();
        case.engine("update.kept", Outcome::value(number(&seen, "/HostConfig/Memory").unwrap_or(0) >> 20));
        if let Ok(stats) = cx.docker.stats(&id).await {
            let limit = number(&stats, "/memory_stats/limit").unwrap_or(0) >> 20;
            case.engine("update.limit.mib", Outcome::value(limit));
        }
    }
    agent.stop().await;
    drop(permit);
}

async fn execs(case: &Case<'_>, id: &str) {
    let docker = &case.cx.docker;
    let run = |cmd: Vec<String>| ExecAsk { cmd, ..ExecAsk::default() };
    for code in [0, 7] {
        let ended = docker.exec(id, &run(command("lifecycle.exit", &json!({"code": code})))).await;
        let outcome =
            ended.map_or_else(|no| no.outcome(), |e| e.code.map_or(Outcome::broken("no code"), Outcome::value));
        case.engine(&format!("exec.exit.{code}"), outcome);
    }
    let with = ExecAsk {
        user: Some("1000:13".to_owned()),
        env: vec!["AWF_PROBE_SET=by exec".to_owned()],
        workdir: Some("/var/log".to_owned()),
        ..run(command("lifecycle.settings", &Value::Null))
    };
    for (prefix, what) in [("exec", with), ("exec.bare", run(command("lifecycle.settings", &Value::Null)))] {
        match docker.exec(id, &what).await {
            Err(no) => case.engine(&format!("{prefix}.user"), no.outcome()),
            Ok(done) => {
                for fact in done.out.lines().filter_map(|l| serde_json::from_str::<awf_probe_matrix::Fact>(l).ok()) {
                    let name = fact.name.trim_start_matches("lifecycle.settings.");
                    if matches!(name, "user" | "env" | "workdir") {
                        case.saw("guest", &format!("{prefix}.{name}"), fact.outcome);
                    }
                }
            }
        }
    }
    for (name, tty) in [("exec.terminal", true), ("exec.no-terminal", false)] {
        let what = ExecAsk { tty, ..run(command("lifecycle.terminal-now", &Value::Null)) };
        let outcome = match docker.exec(id, &what).await {
            Err(no) => no.outcome(),
            Ok(done) => first_fact(&done.out).unwrap_or_else(|| Outcome::broken(format!("no answer: {}", done.err))),
        };
        case.saw("guest", name, outcome);
    }
    // All at once; each must come back with its own code.
    let many = (10..18).map(|n| async move {
        let what = run(command("lifecycle.exit", &json!({"code": n})));
        docker.exec(id, &what).await.ok().and_then(|e| e.code) == Some(n)
    });
    let right = futures_util::future::join_all(many).await.into_iter().filter(|r| *r).count();
    case.engine("exec.concurrent", Outcome::value(right));
    let missing = docker.exec(id, &run(vec!["/no-such-program".to_owned()])).await;
    let outcome = match missing {
        Err(no) => no.outcome(),
        Ok(done) => done.code.map_or(Outcome::broken("no code"), Outcome::value),
    };
    case.engine("exec.not-found", outcome);
}

/// A file put in from outside is seen inside; one written inside is fetched, and listed as a change.
async fn files(case: &Case<'_>, id: &str, agent: &mut Agent) {
    let docker = &case.cx.docker;
    let params = case.cx.params(None);
    let read = |label: &str| ask("lifecycle.read", label, &params, json!({"path": "/home/awf-probe-put"}));
    let mut asks = vec![read("put.before")];
    agent.run(false, std::mem::take(&mut asks)).await;
    let mut archive = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.set_size(8);
    header.set_mode(0o644);
    header.set_cksum();
    let packed =
        archive.append_data(&mut header, "awf-probe-put", &b"from out"[..]).and_then(|()| archive.into_inner());
    match packed {
        Err(e) => case.engine("put", Outcome::broken(e.to_string())),
        Ok(archive) => case.engine("put", done(docker.put(id, "/home", archive).await, "copied in")),
    }
    let write = ask("lifecycle.write", "write", &params, Value::Null);
    agent.run(false, vec![read("put.after"), write]).await;
    let fetched = docker.get(id, "/home/awf-probe-written-inside").await;
    case.engine(
        "get",
        match fetched {
            Err(no) => no.outcome(),
            Ok(bytes) if bytes.windows(14).any(|w| w == b"written inside") => Outcome::allowed("as written"),
            Ok(_) => Outcome::refused("other content", "the archive does not hold what was written"),
        },
    );
    let absent = docker.get(id, "/home/awf-probe-never-written").await;
    case.engine("get.absent", absent.map_or_else(|no| no.outcome(), |_| Outcome::allowed("it is there")));
    let changes = docker.changes(id).await;
    let listed = |path: &str| match &changes {
        Err(no) => no.outcome(),
        Ok(all) => Outcome::value(all.iter().any(|p| p == path)),
    };
    case.engine("changes.written", listed("/home/awf-probe-written-inside"));
    case.engine("changes.never", listed("/home/awf-probe-never-written"));
}

async fn use_of(case: &Case<'_>, id: &str) {
    match case.cx.docker.stats(id).await {
        Err(no) => case.engine("stats.memory.kib", no.outcome()),
        Ok(stats) => {
            let of = |at: &str| number(&stats, at).unwrap_or(0);
            case.engine("stats.memory.kib", Outcome::value(of("/memory_stats/usage") >> 10));
            case.engine("stats.cpu.us", Outcome::value(of("/cpu_stats/cpu_usage/total_usage") / 1000));
            case.engine("stats.pids", Outcome::value(of("/pids_stats/current")));
            case.engine("stats.limit.mib", Outcome::value(of("/memory_stats/limit") >> 20));
        }
    }
    let top = case.cx.docker.top(id).await;
    case.engine(
        "top",
        top.map_or_else(
            |no| no.outcome(),
            |t| Outcome::value(t.pointer("/Processes").and_then(Value::as_array).map_or(0, Vec::len)),
        ),
    );
}

/// Frozen it does not answer, where before it took `answer`; and it answers when it goes on.
async fn frozen(case: &Case<'_>, id: &str, agent: &mut Agent, answer: Duration) -> bool {
    let docker = &case.cx.docker;
    let params = case.cx.params(None);
    let paused = docker.pause(id).await;
    let is = paused.is_ok();
    case.engine("pause", done(paused, "paused"));
    if !is {
        return true;
    }
    let exec = docker.exec(id, &ExecAsk { cmd: command("lifecycle.tick", &Value::Null), ..ExecAsk::default() }).await;
    case.engine("pause.exec", exec.map_or_else(|no| no.outcome(), |_| Outcome::allowed("executed")));
    let wait = (answer * 5).clamp(Duration::from_millis(200), Duration::from_secs(3));
    let mut batch = Box::pin(agent.run(false, vec![ask("lifecycle.tick", "tick.frozen", &params, Value::Null)]));
    let early = tokio::time::timeout(wait, &mut batch).await.is_ok();
    case.engine("pause.still", Outcome::value(if early { "answered" } else { "silent" }));
    case.engine("unpause", done(docker.unpause(id).await, "goes on"));
    if early {
        return true;
    }
    batch.await == BatchEnd::Finished
}
