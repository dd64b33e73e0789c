//! A container that lives, and what a client does to it: exec, files in and out, use, pause, update.

use std::time::{Duration, Instant};

use awf_probe_matrix::Outcome;
use serde_json::{Value, json};

use super::{
    Agent, BatchEnd, Cx, ask,
    case::{Case, command, done, first_fact, number},
};
use crate::{engine::docker::drive::ExecAsk, specs::Spec};

/// A container that lives: exec, files in and out, its processes and its use, frozen and changed.
pub async fn run(cx: &Cx, runtime: &str) {
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
        // What a command that ends at once wrote to its terminal may be lost with the terminal: it waits until it is read.
        let what = ExecAsk { tty, waits: true, ..run(command("lifecycle.terminal-now", &json!({"waits": 1}))) };
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

/// Files put in from outside, one under a name that was looked up in vain before: a runtime may remember that it was not
/// there. A file written inside is fetched, and listed as a change.
async fn files(case: &Case<'_>, id: &str, agent: &mut Agent) {
    let docker = &case.cx.docker;
    let params = case.cx.params(None);
    let read =
        |label: &str, file: &str| ask("lifecycle.read", label, &params, json!({"path": format!("/home/{file}")}));
    agent.run(false, vec![read("put.known.before", "awf-probe-known")]).await;
    let mut archive = tar::Builder::new(Vec::new());
    let mut packed = Ok(());
    for name in ["awf-probe-new", "awf-probe-known"] {
        let mut header = tar::Header::new_gnu();
        header.set_size(8);
        header.set_mode(0o644);
        header.set_cksum();
        packed = packed.and_then(|()| archive.append_data(&mut header, name, &b"from out"[..]));
    }
    match packed.and_then(|()| archive.into_inner()) {
        Err(e) => case.engine("put", Outcome::broken(e.to_string())),
        Ok(archive) => case.engine("put", done(docker.put(id, "/home", archive).await, "copied in")),
    }
    let write = ask("lifecycle.write", "write", &params, Value::Null);
    let after = [("put.new", "awf-probe-new"), ("put.known", "awf-probe-known"), ("put.never", "awf-probe-never-put")];
    let asks = after.map(|(label, file)| read(label, file)).into_iter().chain([write]);
    agent.run(false, asks.collect()).await;
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
    let mut paused = docker.pause(id).await;
    // runc gives up on a freezer that a busy machine is slow to carry out; only one that never does it cannot.
    for _ in 0..3 {
        if !paused.as_ref().is_err_and(|no| no.why.contains("unable to freeze")) {
            break;
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
        paused = docker.pause(id).await;
    }
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
