//! What is measured from outside a sandbox: its life, and the memory it takes.

use std::time::{Duration, Instant};

use crate::{
    engine::docker::{
        drive::{ExecAsk, Execed},
        sandbox::Start,
    },
    lab::roles::wire::{Answer, Ask},
    scenario::{Cx, greeting},
    specs::Spec,
};

/// Id, title, how.
pub const HOST_BENCHES: &[(&str, &str, &str)] = &[
    ("lifecycle.create", "create a container", "the engine's create, without network"),
    ("lifecycle.start", "start a container", "the engine's start, until it answers"),
    (
        "lifecycle.first-instruction",
        "start to first instruction",
        "from asking the engine to start until the first line of the program arrives",
    ),
    ("lifecycle.exec", "exec in a container", "the engine's exec of a program that writes a line, until it has ended"),
    ("lifecycle.remove", "remove a running container", "the engine's forced removal, until it answers"),
    (
        "lifecycle.teardown",
        "teardown of a running container",
        "the engine's forced removal, until no host process of the sandbox is left, the shim included",
    ),
    (
        "memory.idle",
        "memory of an idle sandbox",
        "proportional set size of every host process that is there because of it, the shim included",
    ),
];

/// The id of the bench whose unit is bytes.
pub(super) const MEMORY: &str = "memory.idle";

/// One life of a container: nanoseconds of each part, in the order of [`HOST_BENCHES`]; or what part failed, and why.
pub(super) async fn life(cx: &Cx, runtime: &str) -> Result<[f64; LIFE], (&'static str, String)> {
    let spec = Spec::plain("bench");
    let how = Start { runtime, args: &["guest"], role: "agent", host_pid: false, also: vec![], aliases: vec![] };
    let started = cx.docker.start(&cx.common, &spec, how).await;
    let mut sandbox = started.map_err(|(stage, e)| (if stage == "create" { CREATE } else { START }, e.to_string()))?;
    let greeted = match greeting(&mut sandbox).await {
        Some(greeted) => greeted.map(|()| sandbox.begun.elapsed()),
        None => Err(format!("the guest did not greet: {}", sandbox.stderr())),
    };
    let exec = match greeted {
        Ok(_) => {
            let what = ExecAsk { cmd: vec!["/awf-probe".to_owned(), "guest".to_owned()], ..ExecAsk::default() };
            cx.docker.exec(&sandbox.id, &what).await.map_err(|e| e.to_string())
        }
        Err(_) => Ok(Execed::default()),
    };
    let (made, start, id) = (sandbox.made, sandbox.start, sandbox.id.clone());
    let removing = Instant::now();
    sandbox.remove(60).await.map_err(|e| ("lifecycle.remove", e.to_string()))?;
    let remove = removing.elapsed();
    let gone = gone(cx, &id, removing).await.map_err(|why| ("lifecycle.teardown", why))?;
    let first = greeted.map_err(|why| (START, why))?;
    let exec = exec.map_err(|why| (EXEC, why))?;
    if !exec.out.contains("\"hello\"") {
        return Err((EXEC, format!("the program did not write its line: {}{}", exec.out.trim(), exec.err.trim())));
    }
    Ok([made, start, first, exec.took, remove, gone].map(|d| d.as_nanos() as f64))
}

/// How long it took until no process of a container was left. The host is looked at again and again; the last look that
/// found one and the first that found none are some milliseconds apart.
async fn gone(cx: &Cx, id: &str, since: Instant) -> Result<Duration, String> {
    loop {
        match cx.helper.ask(Ask::Orphans { ids: vec![id.to_owned()] }).await {
            Ok(Answer::Orphans { processes, .. }) if processes.is_empty() => return Ok(since.elapsed()),
            Ok(Answer::Orphans { processes, .. }) if since.elapsed() > MOST_TEARDOWN => {
                return Err(format!("{} processes of it are left", processes.len()));
            }
            Ok(Answer::Orphans { .. }) => {}
            Ok(other) => return Err(format!("the helper answered {other:?}")),
            Err(e) => return Err(e.to_string()),
        }
    }
}

/// Parts of a life: those of [`HOST_BENCHES`] but the memory.
pub(super) const LIFE: usize = 6;
const MOST_TEARDOWN: Duration = Duration::from_secs(30);
const CREATE: &str = "lifecycle.create";
const START: &str = "lifecycle.start";
const EXEC: &str = "lifecycle.exec";

/// Bytes of memory that a sandbox takes.
pub(super) async fn memory(cx: &Cx, id: &str) -> Result<f64, String> {
    match cx.helper.ask(Ask::Memory { id: id.to_owned() }).await {
        Ok(Answer::Memory { processes }) if !processes.is_empty() => {
            Ok(processes.iter().map(|(_, kib)| *kib as f64 * 1024.0).sum())
        }
        Ok(Answer::Memory { .. }) => Err("no host process of it was found".to_owned()),
        Ok(other) => Err(format!("the helper answered {other:?}")),
        Err(e) => Err(e.to_string()),
    }
}
