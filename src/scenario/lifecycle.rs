//! What a client does to a container from create to remove, and what comes of it.

use std::time::{Duration, Instant};

use awf_probe_matrix::Outcome;
use awf_probe_probes::pace;
use serde_json::{Value, json};

use super::{
    Cx,
    case::{Case, command, done, first_fact, number, once, text},
};
use crate::{
    engine::docker::{
        drive::{ExecAsk, No},
        sandbox::Line,
    },
    extra::Extra,
    settings::Settings,
    specs::Spec,
};

/// Exit codes a main process is made to end with: the smallest, those engines use themselves, those signals give; and
/// one that stands for none of that, as the control of the others.
pub const CODES: &[i64] = &[0, 1, 2, 125, 126, 127, 128, 137, 143, 255, 77];

/// The grace of a stop, in seconds: long, so that a slow engine is not taken for a main process that does not stop.
const GRACE: i32 = 20;
/// A stop that took less did not wait for its grace to pass.
const IN_TIME: Duration = Duration::from_secs(18);
/// How long a signal's arrival is waited for; ordinarily it takes milliseconds.
const ARRIVAL: Duration = Duration::from_secs(5);

fn plain(more: Settings) -> Spec {
    Spec { more, ..Spec::plain("engine") }
}

/// Where the network is not looked at.
async fn offline(case: &Case<'_>, more: Settings) -> Spec {
    Spec { net: case.cx.borrowed().await, ..plain(more) }
}

fn value_or(result: Result<i64, No>) -> Outcome {
    result.map_or_else(|no| no.outcome(), Outcome::value)
}

/// Exit codes; starts that fail; containers that fail.
pub async fn exit(cx: &Cx, runtime: &str) {
    let case = Case::new(cx, runtime, "exit");
    let permit = cx.jobs.acquire().await.ok();
    tokio::join!(
        codes(&case),
        no_start(&case, "not-found", "/no-such-program"),
        no_start(&case, "not-executable", "/etc/passwd"),
        fault(&case),
        restarts(&case, "restarts", Some(1)),
        restarts(&case, "restarts.none", None),
        unknown_sysctl(&case),
    );
    drop(permit);
}

/// One container, started again for each code.
async fn codes(case: &Case<'_>) {
    let cx = case.cx;
    let told = once("lifecycle.exit-told", &Value::Null);
    let Some(id) = case.make(offline(case, Settings::default()).await, &told).await else { return };
    for (i, code) in CODES.iter().enumerate() {
        let Some(mut sandbox) = case.run(&id).await else { break };
        if !case.ready(&mut sandbox).await {
            break;
        }
        if i == 0 {
            case.prove(&id).await;
            case.saw("host", "running.left", case.remains(&id, false).await);
        }
        if let Err(e) = sandbox.send(code).await {
            case.problem("guest", e.to_string());
            break;
        }
        case.engine(&format!("exit.{code}"), value_or(cx.docker.wait(&id, 20).await));
    }
    case.saw("host", "ended.left", case.remains(&id, true).await);
    case.remove(&id).await;
}

/// A command that is not there, or that cannot be executed.
async fn no_start(case: &Case<'_>, name: &str, path: &str) {
    let cx = case.cx;
    let name = format!("start.{name}");
    let spec = offline(case, Settings { entrypoint: Some(vec![path.to_owned()]), ..Settings::default() }).await;
    // Some engines look for the program when a container is created, others when it starts.
    match case.try_make(&spec, &[]).await {
        Err(no) => {
            case.engine(&name, no.outcome());
            case.saw("host", &format!("{name}.left"), Outcome::value("nothing"));
        }
        Ok(id) => {
            let started = cx.docker.run_detached(&id).await;
            case.engine(&name, done(started, "it started"));
            let code = cx.docker.look(&id).await.map(|s| number(&s, "/State/ExitCode").unwrap_or(-1));
            case.engine(&format!("{name}.code"), value_or(code));
            case.remove_failed(&id, &name).await;
        }
    }
}

/// A fault ends process 1, which no signal it sends itself would.
async fn fault(case: &Case<'_>) {
    let Some(id) = case.make(offline(case, Settings::default()).await, &once("lifecycle.fault", &Value::Null)).await
    else {
        return;
    };
    match case.start(&id).await {
        Ok(()) => case.engine("exit.fault", value_or(case.cx.docker.wait(&id, 20).await)),
        Err(no) => case.problem("start", no.why),
    }
    case.remove(&id).await;
}

/// A container that fails, and how often the engine starts it again.
async fn restarts(case: &Case<'_>, name: &str, restarts: Option<i64>) {
    let spec = offline(case, Settings { restarts, ..Settings::default() }).await;
    let Some(id) = case.make(spec, &once("lifecycle.exit", &json!({"code": 3}))).await else { return };
    match case.start(&id).await {
        Ok(()) => case.engine(name, restarted(case.cx, &id).await),
        Err(no) => case.problem("start", no.why),
    }
    case.remove(&id).await;
}

/// A sysctl that no kernel has: a runtime that passes it over would pass over a real one just so.
async fn unknown_sysctl(case: &Case<'_>) {
    let extra = Extra { sysctls: vec![("net.ipv4.awf_probe_no_such_sysctl", "1")], ..Extra::default() };
    let spec = Spec { extra, ..plain(Settings::default()) };
    let Some(id) = case.make(spec, &once("lifecycle.exit", &json!({"code": 0}))).await else { return };
    case.engine("sysctl.unknown", done(case.start(&id).await, "it started all the same"));
    case.remove_failed(&id, "sysctl.unknown").await;
}

/// How often the engine restarted a container, once it is through with it.
async fn restarted(cx: &Cx, id: &str) -> Outcome {
    let mut still = 0;
    for _ in 0..500 {
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
    let Some(id) = case.make(offline(case, Settings::default()).await, &once("lifecycle.signals", &Value::Null)).await
    else {
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
        let arrived = case.fact(&mut sandbox, ARRIVAL).await;
        case.engine("kill.usr1.seen", arrived.map_or_else(Outcome::broken, |f| Outcome::value(f.name)));
        let begun = Instant::now();
        case.engine("restart", done(cx.docker.restart(&id, GRACE).await, "restarted"));
        let took = begun.elapsed();
        case.engine("restart.in-time", Outcome::value(took < IN_TIME));
        let arrived = case.fact(&mut sandbox, ARRIVAL).await;
        case.engine("stop.term.seen", arrived.map_or_else(Outcome::broken, |f| Outcome::value(f.name)));
        let again = cx.docker.look(&id).await.unwrap_or_default();
        let (a, b) = (text(&first, "/State/StartedAt"), text(&again, "/State/StartedAt"));
        case.engine("restart.new-start", Outcome::value(!a.is_empty() && !b.is_empty() && a != b));
        case.engine("restart.running", Outcome::value(text(&again, "/State/Status")));
        // What the first life wrote is there in the second.
        let kept = starts(case, &id).await;
        case.engine("restart.rootfs", kept);
        let begun = Instant::now();
        case.engine("stop", done(cx.docker.stop(&id, GRACE).await, "stopped"));
        case.engine("stop.in-time", Outcome::value(begun.elapsed() < IN_TIME));
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

async fn stubborn(case: &Case<'_>) {
    let cx = case.cx;
    let spec = offline(case, Settings { stop_signal: Some("SIGUSR2".to_owned()), ..Settings::default() }).await;
    let Some(id) = case.make(spec, &once("lifecycle.signals", &json!({"stubborn": 1}))).await else { return };
    if let Some(mut sandbox) = case.run(&id).await
        && case.ready(&mut sandbox).await
    {
        case.prove(&id).await;
        let begun = Instant::now();
        let stopped = cx.docker.stop(&id, 1).await;
        let took = begun.elapsed();
        case.engine("grace.stop", done(stopped, "stopped"));
        let arrived = case.fact(&mut sandbox, ARRIVAL).await;
        case.engine("grace.signal", arrived.map_or_else(Outcome::broken, |f| Outcome::value(f.name)));
        case.engine("grace.seconds", Outcome::value(format!("{:.2}", took.as_secs_f64())));
        case.engine("grace.in-time", Outcome::value(took < pace::scaled(Duration::from_secs(8))));
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
        let Some(id) = case.make(offline(case, Settings { logged, ..Settings::default() }).await, &lines).await else {
            continue;
        };
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
    let spec = offline(case, Settings { tty: true, ..Settings::default() }).await;
    let Some(id) = case.make(spec, &once("lifecycle.terminal", &Value::Null)).await else { return };
    if let Some(mut sandbox) = case.run(&id).await {
        match case.fact(&mut sandbox, Duration::from_secs(20)).await {
            Err(why) => case.problem("guest", why),
            Ok(fact) => {
                case.saw("guest", "terminal", fact.outcome);
                case.prove(&id).await;
                case.engine("resize", done(case.cx.docker.resize(&id, 33, 77).await, "33 rows, 77 columns"));
                case.relay(&mut sandbox, Duration::from_secs(40)).await;
            }
        }
    }
    case.remove(&id).await;
}

async fn input(case: &Case<'_>) {
    let Some(id) = case.make(offline(case, Settings::default()).await, &once("lifecycle.input", &Value::Null)).await
    else {
        return;
    };
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
