//! A scenario that the engine drives from outside: containers without the guest's protocol, or beside it.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::{Duration, Instant},
};

use awf_probe_matrix::{Fact, Outcome};
use awf_probe_probes::{pace, wire::COMM_ENV};
use serde_json::Value;

use super::{Cx, end_shims, millis};
use crate::{
    engine::docker::{
        drive::No,
        sandbox::{Line, Sandbox, Start},
    },
    event::Event,
    lab::roles::wire::{Answer, Ask as LabAsk, Process},
    specs::Spec,
};

/// One scenario of one runtime.
#[derive(Debug)]
pub(super) struct Case<'a> {
    pub(super) cx: &'a Cx,
    pub(super) runtime: &'a str,
    pub(super) scenario: &'a str,
    /// A container was under another runtime; that is never taken back.
    strange: AtomicBool,
}

/// Arguments that make the executable run one probe and report on its output.
pub(super) fn once(probe: &str, params: &Value) -> Vec<String> {
    ["guest-once", probe, probe].map(str::to_owned).into_iter().chain([params.to_string()]).collect()
}

/// The command that does so by exec.
pub(super) fn command(probe: &str, params: &Value) -> Vec<String> {
    std::iter::once("/awf-probe".to_owned()).chain(once(probe, params)).collect()
}

/// The first fact of an output.
pub(super) fn first_fact(out: &str) -> Option<Outcome> {
    let line = out.lines().next()?;
    serde_json::from_str::<Fact>(line.trim()).ok().map(|f| f.outcome)
}

/// What came of a request that has no answer but yes or no.
pub(super) fn done(result: Result<(), No>, what: &str) -> Outcome {
    result.map_or_else(|no| no.outcome(), |()| Outcome::allowed(what))
}

impl<'a> Case<'a> {
    pub(super) fn new(cx: &'a Cx, runtime: &'a str, scenario: &'a str) -> Self {
        Self { cx, runtime, scenario, strange: AtomicBool::new(false) }
    }

    /// Reports a fact.
    pub(super) fn saw(&self, source: &str, name: &str, outcome: Outcome) {
        self.tell(source, Fact { name: name.to_owned(), outcome, sent: None, elapsed_ms: None });
    }

    /// Reports what the engine says or does.
    pub(super) fn engine(&self, name: &str, outcome: Outcome) {
        self.saw("engine", name, outcome);
    }

    fn tell(&self, source: &str, fact: Fact) {
        self.cx.sink.emit(Event::Observed {
            runtime: self.runtime.to_owned(),
            scenario: self.scenario.to_owned(),
            source: source.to_owned(),
            fact,
            address: None,
        });
    }

    pub(super) fn problem(&self, stage: &str, why: impl Into<String>) {
        self.cx.problem(self.runtime, self.scenario, stage, why);
    }

    fn how<'b>(&'b self, args: &'b [&'b str]) -> Start<'b> {
        Start { runtime: self.runtime, args, role: "agent", host_pid: false, also: vec![], aliases: vec![] }
    }

    /// Creates a container that runs one probe. A refusal is a problem of the scenario.
    pub(super) async fn make(&self, mut spec: Spec, args: &[String]) -> Option<String> {
        spec.env.push(format!("{COMM_ENV}=awfp{}", crate::random_hex(5)));
        match self.try_make(&spec, args).await {
            Ok(id) => Some(id),
            Err(no) => {
                self.problem("create", no.why);
                None
            }
        }
    }

    /// Creates a container; a refusal is an answer.
    pub(super) async fn try_make(&self, spec: &Spec, args: &[String]) -> Result<String, No> {
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        self.cx.docker.make(&self.cx.common, spec, &self.how(&args)).await
    }

    /// Attaches and starts.
    pub(super) async fn run(&self, id: &str) -> Option<Sandbox> {
        let permit = self.cx.starts.acquire().await.ok();
        let started = self.cx.docker.run_attached(id, &self.how(&[])).await;
        drop(permit);
        match started {
            Ok(sandbox) => {
                self.started(id, sandbox.create, sandbox.start);
                Some(sandbox)
            }
            Err(no) => {
                self.problem("start", no.why);
                None
            }
        }
    }

    /// Starts without attaching.
    pub(super) async fn start(&self, id: &str) -> Result<(), No> {
        let permit = self.cx.starts.acquire().await.ok();
        let begun = Instant::now();
        let started = self.cx.docker.run_detached(id).await;
        drop(permit);
        if started.is_ok() {
            self.started(id, begun.elapsed(), begun.elapsed());
        }
        started
    }

    fn started(&self, id: &str, create: Duration, start: Duration) {
        self.cx.sink.emit(Event::SandboxStarted {
            runtime: self.runtime.to_owned(),
            scenario: self.scenario.to_owned(),
            role: "agent".to_owned(),
            container: id.to_owned(),
            address: None,
            create_ms: millis(create),
            start_ms: millis(start),
        });
    }

    /// Under which runtime the engine says it is, and whose kernel it has as the host sees it.
    pub(super) async fn prove(&self, id: &str) -> Value {
        let seen = match self.cx.docker.look(id).await {
            Ok(seen) => seen,
            Err(no) => {
                self.problem("inspect", no.why);
                return Value::Null;
            }
        };
        let said = text(&seen, "/HostConfig/Runtime");
        let right = said == self.runtime && !self.strange.load(Ordering::Relaxed);
        self.strange.fetch_or(!right, Ordering::Relaxed);
        let words = format!("inspect says {said}");
        let outcome = if right { Outcome::allowed(words) } else { Outcome::refused("another runtime", words) };
        self.engine("runtime.asked", outcome);
        let comm = seen
            .pointer("/Config/Env")
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
            .find_map(|e| e.as_str()?.strip_prefix(COMM_ENV)?.strip_prefix('=').map(str::to_owned));
        let pid = seen.pointer("/State/Pid").and_then(Value::as_i64).and_then(|p| i32::try_from(p).ok());
        if let (Some(comm), Some(pid @ 1..)) = (comm, pid) {
            match self.tasks_called(pid, &comm).await {
                Ok(tasks) => self.saw("host", "comm.found", Outcome::value(tasks)),
                Err(why) => self.problem("host", why),
            }
        }
        seen
    }

    /// How many tasks the host sees by this name. Nobody waits for the word of a case's guest, so it may not have given
    /// itself its name yet.
    async fn tasks_called(&self, pid: i32, comm: &str) -> Result<usize, String> {
        let until = Instant::now() + pace::scaled(NAMED);
        loop {
            match self.cx.helper.ask(LabAsk::Sandbox { pid, comm: comm.to_owned() }).await {
                Ok(Answer::Sandbox { tasks: 0, chain, .. }) if about_to(&chain) && Instant::now() < until => {
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
                Ok(Answer::Sandbox { tasks, .. }) => return Ok(tasks),
                Ok(other) => return Err(format!("the helper answered {other:?}")),
                Err(e) => return Err(e.to_string()),
            }
        }
    }

    /// The next fact a container writes to its output.
    pub(super) async fn fact(&self, sandbox: &mut Sandbox, limit: Duration) -> Result<Fact, String> {
        match sandbox.line(pace::scaled(limit)).await {
            Line::Text(line) => {
                let line = String::from_utf8_lossy(&line).trim().to_owned();
                serde_json::from_str(&line).map_err(|e| format!("its output cannot be read: {e}"))
            }
            Line::End => Err("its output ended".to_owned()),
            Line::Late => Err(format!("it wrote nothing in {} ms", limit.as_millis())),
        }
    }

    /// Waits for the word that it is ready.
    pub(super) async fn ready(&self, sandbox: &mut Sandbox) -> bool {
        match self.fact(sandbox, Duration::from_secs(20)).await {
            Ok(_) => true,
            Err(why) => {
                self.problem("start", format!("{why}: {}", sandbox.stderr()));
                false
            }
        }
    }

    /// Reports whatever it still writes until its output ends, as the guest's.
    pub(super) async fn relay(&self, sandbox: &mut Sandbox, limit: Duration) {
        while let Ok(fact) = self.fact(sandbox, limit).await {
            self.tell("guest", fact);
        }
    }

    /// What the host has of a container: `nothing`, or the processes and cgroups in words. Where it should have
    /// nothing it is given a second, as a shim takes a moment to go.
    pub(super) async fn remains(&self, id: &str, patient: bool) -> Outcome {
        let mut found = String::new();
        for _ in 0..if patient { 20 } else { 1 } {
            match self.cx.helper.ask(LabAsk::Orphans { ids: vec![id.to_owned()] }).await {
                Ok(Answer::Orphans { processes, cgroups }) if processes.is_empty() && cgroups.is_empty() => {
                    return Outcome::value("nothing");
                }
                Ok(Answer::Orphans { processes, cgroups }) => {
                    let mut words: Vec<String> = processes.into_iter().map(|p| p.comm).collect();
                    words.push(format!("{} cgroups", cgroups.len()));
                    found = words.join(", ");
                }
                Ok(other) => return Outcome::broken(format!("the helper answered {other:?}")),
                Err(e) => return Outcome::broken(e.to_string()),
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Outcome::value(found)
    }

    /// Removes a container whose start may have failed, and reports what the start left. The shim is ended while the
    /// engine still knows the container: should this process be killed now, `clean` finds it by its label.
    pub(super) async fn remove_failed(&self, id: &str, name: &str) {
        let remains = self.remains(id, true).await;
        let clean = remains == Outcome::value("nothing");
        self.saw("host", &format!("{name}.left"), remains);
        if !clean {
            end_shims(self.cx, id).await;
        }
        self.remove(id).await;
    }

    /// Removes a container.
    pub(super) async fn remove(&self, id: &str) {
        super::remove(self.cx, self.runtime, self.scenario, id).await;
    }
}

/// A text in what the engine says.
pub(super) fn text(seen: &Value, at: &str) -> String {
    seen.pointer(at).and_then(Value::as_str).unwrap_or_default().to_owned()
}

/// A number in what the engine says.
pub(super) fn number(seen: &Value, at: &str) -> Option<i64> {
    seen.pointer(at).and_then(Value::as_i64)
}

/// How long a guest may take until it has given itself its name.
const NAMED: Duration = Duration::from_secs(5);

/// Whether a container's first process, as the host sees it, is our executable or a runtime that is about to become it.
fn about_to(chain: &[Process]) -> bool {
    chain.first().is_some_and(|p| p.comm.starts_with("runc:[") || p.args.split(' ').next() == Some("/awf-probe"))
}
