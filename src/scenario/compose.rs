//! A project of three services, driven by the Compose tool itself: with every form of file, under both tools.

use std::{
    collections::HashMap,
    process::Stdio,
    time::{Duration, Instant},
};

use awf_probe_matrix::Outcome;
use awf_probe_probes::wire::COMM_ENV;
use serde_json::{Value, json};
use tokio::{io::AsyncWriteExt, process::Command};

use super::{
    Cx,
    case::{Case, once, text},
};
use crate::engine::docker::{
    ROLE_LABEL, RUN_LABEL,
    drive::{Happened, No},
};

/// Forms of a Compose file: the word in facts, and its `version:`.
const FORMS: [(&str, Option<&str>); 3] = [("2-4", Some("2.4")), ("3-8", Some("3.8")), ("none", None)];

/// A Compose tool of the machine the harness runs on.
#[derive(Clone, Debug)]
struct Tool {
    name: &'static str,
    program: Vec<&'static str>,
}

/// How a call of a tool ended.
struct Said {
    code: Option<i32>,
    out: String,
    err: String,
}

impl Said {
    fn outcome(&self, what: &str) -> Outcome {
        if self.code == Some(0) {
            return Outcome::allowed(what);
        }
        let code = self.code.map_or_else(|| "no exit code".to_owned(), |c| format!("exit {c}"));
        let end: Vec<&str> = self.err.lines().rev().filter(|l| !l.trim().is_empty()).take(3).collect();
        Outcome::refused(code, end.into_iter().rev().collect::<Vec<_>>().join("; "))
    }
}

/// Runs a project with each tool and form of file. Takes no turn among the jobs: it is mostly waiting for the clock.
pub async fn run(cx: &Cx, runtime: &str) {
    let case = Case::new(cx, runtime, "compose");
    let candidates = [
        ("v1", vec![vec!["docker-compose"]], "docker-compose 1.x"),
        ("v2", vec![vec!["docker", "compose"], vec!["docker-compose"]], "Compose v2"),
    ];
    for (name, programs, words) in candidates {
        match find(cx, name, programs).await {
            Ok((tool, version)) => {
                case.engine(&format!("{name}.tool"), Outcome::allowed(format!("{} {version}", tool.program.join(" "))));
                // Side by side, as most of each is waiting for a check or an end.
                let forms = FORMS.map(|(form, version)| project(&case, &tool, form, version));
                futures_util::future::join_all(forms).await;
            }
            Err(why) => case.engine(&format!("{name}.tool"), Outcome::Skipped { why: format!("no {words}: {why}") }),
        }
    }
}

/// The first of these programs that says it has the tool's major version.
async fn find(cx: &Cx, name: &'static str, programs: Vec<Vec<&'static str>>) -> Result<(Tool, String), String> {
    let mut seen = Vec::new();
    for program in programs {
        let tool = Tool { name, program };
        let called = tool.program.join(" ");
        match call(cx, &tool, &["version", "--short"], "", 20).await {
            Err(e) => seen.push(format!("{called}: {e}")),
            Ok(said) => {
                let version = said.out.trim().trim_start_matches('v').to_owned();
                if said.code == Some(0) && version.split('.').next() == name.strip_prefix('v') {
                    return Ok((tool, version));
                }
                let words =
                    if said.code == Some(0) { format!("has version {version}") } else { "is not there".to_owned() };
                seen.push(format!("{called} {words}"));
            }
        }
    }
    Err(seen.join(", "))
}

/// Calls the tool with a file on its input.
async fn call(cx: &Cx, tool: &Tool, args: &[&str], file: &str, seconds: u64) -> Result<Said, String> {
    let (program, first) = tool.program.split_first().ok_or("no program")?;
    let mut command = Command::new(program);
    command.args(first).args(args).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    // The engine that is measured, whatever context is current.
    command.env("DOCKER_HOST", &cx.docker.at).kill_on_drop(true);
    let mut child = command.spawn().map_err(|e| e.to_string())?;
    if let Some(mut input) = child.stdin.take() {
        // A tool that does not read it says so by its exit code.
        drop(input.write_all(file.as_bytes()).await);
    }
    match tokio::time::timeout(Duration::from_secs(seconds), child.wait_with_output()).await {
        Err(_) => Err(format!("it did not end within {seconds} s")),
        Ok(Err(e)) => Err(e.to_string()),
        Ok(Ok(done)) => Ok(Said {
            code: done.status.code(),
            out: String::from_utf8_lossy(&done.stdout).into_owned(),
            err: String::from_utf8_lossy(&done.stderr).into_owned(),
        }),
    }
}

/// A Compose file. JSON is YAML; nothing in it needs a network of its own.
fn file(case: &Case<'_>, version: Option<&str>, tokens: &[String; 2]) -> String {
    let labels = json!({RUN_LABEL: case.cx.common.run, ROLE_LABEL: "agent"});
    let service = |command: Vec<String>, network: &str, runtime: Option<&str>| {
        let mut s = json!({
            "image": case.cx.common.image, "command": command, "network_mode": network, "labels": labels,
            "stop_signal": "SIGKILL", "environment": {COMM_ENV: format!("awfp{}", crate::random_hex(5))},
        });
        if let Some(runtime) = runtime {
            s["runtime"] = json!(runtime);
        }
        s
    };
    let say = |token: &str| once("lifecycle.token", &json!({"token": token, "seconds": 120}));
    let mut agent = service(say(&tokens[0]), "none", Some(case.runtime));
    let check: Vec<String> = ["CMD".to_owned(), "/awf-probe".to_owned()]
        .into_iter()
        .chain(once("lifecycle.exit", &json!({"code": 0})))
        .collect();
    agent["healthcheck"] = json!({"test": check, "interval": "1s", "timeout": "20s", "retries": 3});
    let mut plain = service(say(&tokens[1]), "none", None);
    plain["depends_on"] = json!({"agent": {"condition": "service_healthy"}});
    let joined = service(once("lifecycle.signals", &json!({})), "service:agent", Some(case.runtime));
    let mut file = json!({"services": {"agent": agent, "plain": plain, "joined": joined}});
    if let Some(version) = version {
        file["version"] = json!(version);
    }
    // The tools replace what looks like a variable.
    file.to_string().replace('$', "$$")
}

/// One project from up to down.
async fn project(case: &Case<'_>, tool: &Tool, form: &str, version: Option<&str>) {
    let cx = case.cx;
    let prefix = format!("{}.{form}", tool.name);
    let tell = |name: &str, outcome: Outcome| case.engine(&format!("{prefix}.{name}"), outcome);
    let project = format!("awfprobe{}{}", cx.common.run, crate::random_hex(3));
    let tokens = [crate::random_hex(8), crate::random_hex(8)];
    let file = file(case, version, &tokens);
    let compose = async |args: &[&str]| {
        let all: Vec<&str> = ["-p", &project, "-f", "-"].into_iter().chain(args.iter().copied()).collect();
        call(cx, tool, &all, &file, 120).await
    };
    let outcome = |said: &Result<Said, String>, what: &str| match said {
        Ok(said) => said.outcome(what),
        Err(why) => Outcome::broken(why.clone()),
    };
    let mut events = cx.docker.events(&format!("com.docker.compose.project={project}"), &["start", "health_status"]);
    let up = compose(&["up", "-d"]).await;
    tell("up", outcome(&up, "three services"));
    let count = |services: &Result<HashMap<String, Value>, No>| match services {
        Ok(services) => Outcome::value(services.len()),
        Err(no) => Outcome::broken(no.why.clone()),
    };
    let there = services(cx, &project).await;
    tell("there", count(&there));
    let there = there.unwrap_or_default();
    if let Some(agent) = there.get("agent") {
        let id = text(agent, "/Id");
        case.prove(&id).await;
        let runs = |service: &str| there.get(service).map(|s| text(s, "/HostConfig/Runtime")).unwrap_or_default();
        tell(
            "runtime",
            Outcome::value(if runs("agent") == case.runtime { "as asked".to_owned() } else { runs("agent") }),
        );
        let other = runs("plain");
        tell("default", Outcome::value(if other == cx.default_runtime { "the default".to_owned() } else { other }));
        let dependent = there.get("plain").map(|p| text(p, "/Id"));
        tell("healthy", after_health(&mut events, &id, dependent.as_deref()).await);
        let joins = there.get("joined").map(|j| text(j, "/HostConfig/NetworkMode")).unwrap_or_default();
        let words = if joins == format!("container:{id}") { "the agent's".to_owned() } else { joins };
        tell("network", Outcome::value(words));
        let begun = Instant::now();
        for (service, own, other) in [("agent", &tokens[0], &tokens[1]), ("plain", &tokens[1], &tokens[0])] {
            let logs = match compose(&["logs", service]).await {
                Ok(said) if said.code != Some(0) => said.outcome("logs"),
                Ok(said) if said.out.contains(other.as_str()) => Outcome::value("another service's"),
                Ok(said) if said.out.contains(own.as_str()) => Outcome::value("its own"),
                Ok(_) => Outcome::value("without its line"),
                Err(why) => Outcome::broken(why),
            };
            tell(&format!("logs.{service}"), logs);
        }
        if let Some(joined) = there.get("joined").map(|j| text(j, "/Id")) {
            tell("wait", waited(case, tool, &joined, begun.elapsed(), compose(&["wait", "joined"])).await);
            let code = cx.docker.wait(&joined, 30).await;
            tell("exit", code.map_or_else(|no| no.outcome(), Outcome::value));
        }
    }
    tell("down", outcome(&compose(&["down", "-t", "0"]).await, "down"));
    let left = services(cx, &project).await;
    tell("left", count(&left));
    for container in left.unwrap_or_default().values() {
        case.remove(&text(container, "/Id")).await;
    }
}

/// The project's containers by service, as the engine has them.
pub(super) async fn services(cx: &Cx, project: &str) -> Result<HashMap<String, Value>, No> {
    let mut found = HashMap::new();
    for id in cx.docker.labelled(&format!("com.docker.compose.project={project}")).await? {
        match cx.docker.look(&id).await {
            Ok(seen) => drop(found.insert(text(&seen, "/Config/Labels/com.docker.compose.service"), seen)),
            // Gone since it was listed.
            Err(no) if no.what == "HTTP 404" => {}
            Err(no) => return Err(no),
        }
    }
    Ok(found)
}

/// What the tool's `wait` says of a service that is ended while it waits. It knows only what still runs, and cannot be
/// seen waiting: the service is ended after much longer than the tool needed for other calls.
async fn waited(
    case: &Case<'_>,
    tool: &Tool,
    id: &str,
    call: Duration,
    wait: impl Future<Output = Result<Said, String>>,
) -> Outcome {
    let end = async {
        if tool.name != "v1" {
            tokio::time::sleep(Duration::from_secs(1) + call * 3).await;
        }
        // Again, as the program may not listen yet.
        for _ in 0..60 {
            let seen = case.cx.docker.look(id).await.unwrap_or_default();
            if seen.pointer("/State/Running").and_then(Value::as_bool) == Some(false) {
                break;
            }
            drop(case.cx.docker.kill(id, "TERM").await);
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
    };
    if tool.name == "v1" {
        end.await;
        return Outcome::Absent { why: "docker-compose 1.x has no wait".to_owned() };
    }
    match tokio::join!(wait, end).0 {
        // Its own exit code is the service's.
        Ok(Said { code: Some(1), err, .. }) if err.contains("no containers") => {
            Outcome::broken(format!("the service had ended before wait asked for it: {}", err.trim()))
        }
        Ok(said) => said.code.map_or_else(|| Outcome::broken("wait was killed"), Outcome::value),
        Err(why) => Outcome::broken(why),
    }
}

/// Whether the dependent service started after the first check that succeeded, by the engine's events: of the checks
/// themselves a container remembers the last five only.
async fn after_health(events: &mut Events, agent: &str, dependent: Option<&str>) -> Outcome {
    let Some(dependent) = dependent else { return Outcome::value("not started") };
    let (mut healthy, mut started) = (None, None);
    // Both have happened; the stream may be a moment late.
    let until = tokio::time::Instant::now() + Duration::from_secs(10);
    while started.is_none() || healthy.is_none() {
        match tokio::time::timeout_at(until, events.recv()).await {
            Ok(Some(Ok(event))) if event.id == agent && event.what == "health_status: healthy" => {
                healthy = healthy.or(Some(event.nanos));
            }
            Ok(Some(Ok(event))) if event.id == dependent && event.what == "start" => {
                started = started.or(Some(event.nanos));
            }
            Ok(Some(Ok(_))) => {}
            Ok(Some(Err(no))) => return Outcome::broken(no.why),
            Ok(None) | Err(_) => break,
        }
    }
    match (healthy, started) {
        (_, None) => Outcome::broken("the engine told of no start of the dependent service"),
        (None, Some(_)) => Outcome::value("before any check succeeded"),
        (Some(healthy), Some(started)) if started > healthy => Outcome::value("after"),
        (Some(_), Some(_)) => Outcome::value("before"),
    }
}

type Events = tokio::sync::mpsc::UnboundedReceiver<Result<Happened, No>>;
