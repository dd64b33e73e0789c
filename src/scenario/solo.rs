//! One sandbox, every probe that names its spec.

use std::{net::Ipv4Addr, sync::Arc};

use awf_probe_matrix::Outcome;
use awf_probe_probes::{all, wire::Ask};
use serde_json::{Value, json};

use super::{Agent, BatchEnd, Cx, ask, drain};
use crate::{
    event::Event,
    lab::{
        role::Role,
        roles::wire::{Answer, Ask as LabAsk},
    },
    specs::{Seccomp, Spec},
};

/// Runs a solo spec. Says whether the sandbox started.
pub async fn run(cx: &Cx, runtime: &str, name: &str) -> bool {
    let in_lab = Spec::in_lab(name);
    let lab = if in_lab {
        match cx.lab.wait().await {
            Ok(lab) => Some(lab),
            Err(why) => {
                let (runtime, scenario) = (runtime.to_owned(), name.to_owned());
                cx.sink.emit(Event::Problem { runtime, scenario, stage: "lab".to_owned(), why });
                return true;
            }
        }
    } else {
        None
    };
    let address = match if in_lab { cx.lab_address() } else { Ok(Ipv4Addr::UNSPECIFIED) } {
        Ok(address) => address,
        Err(why) => {
            cx.problem(runtime, name, "lab", why);
            return true;
        }
    };
    let Some(mut spec) = Spec::solo(name, address, cx.layout.proxy()) else { return true };
    let privilege = &cx.privilege;
    if spec.cap_add == ["ALL"] {
        spec.cap_drop = privilege.missing();
    }
    if Spec::looks_at_no_network(name) {
        spec.net = cx.borrowed().await;
    }
    if name == "profile" {
        let Some(text) = &privilege.profile else { return true };
        spec.seccomp = Seccomp::File(Arc::clone(text));
    }
    if name.starts_with("apparmor") {
        let there = cx.common.apparmor;
        cx.observed(runtime, name, "host", "apparmor", Outcome::value(if there { "there" } else { "absent" }));
        if !there {
            return true;
        }
    }
    // The closing of a semaphore is not part of a run.
    let permit = if in_lab { &cx.lab_jobs } else { &cx.jobs }.acquire().await.ok();
    let Some(mut agent) = Agent::start(cx, runtime, name, "agent", spec, None).await else { return false };
    let mut params = cx.params(in_lab.then_some(address));
    if name.starts_with("all-caps") || name == "profile" {
        params.insert("capabilities".into(), Value::from("all"));
    }
    if name == "plain" {
        params.insert("run".into(), Value::from(cx.common.run.clone()));
        if let Some((major, minor)) = disk() {
            params.insert("disk_major".into(), Value::from(major));
            params.insert("disk_minor".into(), Value::from(minor));
        }
    }
    let host = |file: &str| std::fs::read_to_string(format!("/proc/sys/kernel/{file}")).unwrap_or_default();
    params.insert("host_release".into(), Value::from(host("osrelease").trim()));
    params.insert("host_boot".into(), Value::from(host("random/boot_id").trim()));
    let mut asks: Vec<Ask> =
        all().filter(|p| p.specs.contains(&name)).map(|p| ask(p.id, "", &params, Value::Null)).collect();
    let mut alone = Vec::new();
    if name.starts_with("netfilter") {
        let proxy = cx.proxy_target();
        let at = |n: u8| cx.layout.witness(n).to_string();
        for (backend, base, more, local) in [("legacy", 60, 11, 3), ("nft", 80, 32, 72)] {
            let mut given = json!({"backend": backend, "base": at(base), "proxy": proxy, "local": at(local)});
            if name == "netfilter" {
                given["more"] = Value::from(at(more));
                alone.push(ask("netlocal", backend, &params, given.clone()));
            }
            asks.push(ask("netfilter", backend, &params, given));
        }
        asks.push(ask("battery", "", &params, Value::Null));
    }
    let mut end = agent.run(name.starts_with("netfilter"), asks).await;
    if end == BatchEnd::Finished && !alone.is_empty() {
        end = agent.run(false, alone).await;
    }
    if name == "plain" {
        host_side(cx, &agent).await;
        namespaces(cx, &agent).await;
        same_image(cx, &agent).await;
    }
    if let (Some(lab), BatchEnd::Finished, true) = (&lab, end, in_lab) {
        drain(cx, lab, runtime, name).await;
    }
    agent.stop().await;
    drop(permit);
    true
}

/// A block device of the host that is no loop device and no memory disk.
pub(crate) fn disk() -> Option<(u32, u32)> {
    let entries = std::fs::read_dir("/sys/dev/block").ok()?.flatten();
    let numbers = entries.filter_map(|e| {
        let name = e.file_name().to_string_lossy().into_owned();
        let (major, minor) = name.split_once(':')?;
        Some((major.parse().ok()?, minor.parse().ok()?))
    });
    numbers.filter(|(major, _)| !matches!(major, 1 | 7)).min()
}

/// Which namespaces of the sandbox's first process are the host's; the helper's pid and network namespaces are, and it
/// is the control.
async fn namespaces(cx: &Cx, agent: &Agent) {
    for (prefix, id) in [("namespace", agent.id()), ("helper.namespace", cx.helper.id.as_str())] {
        let pid = cx.docker.ended(id).await.ok().and_then(|e| e.pid).and_then(|p| i32::try_from(p).ok()).unwrap_or(0);
        for (name, outcome) in whose_namespaces(&cx.helper, prefix, pid).await {
            agent.observe("host", &name, outcome);
        }
    }
}

/// Which namespaces of a process are the host's, one fact for each kind.
pub(crate) async fn whose_namespaces(helper: &Role, prefix: &str, pid: i32) -> Vec<(String, Outcome)> {
    match helper.ask(LabAsk::Namespaces { pid }).await {
        Ok(Answer::Namespaces { shared }) => {
            let whose = |shared| Outcome::value(if shared { "the host's" } else { "its own" });
            shared.into_iter().map(|(kind, shared)| (format!("{prefix}.{kind}"), whose(shared))).collect()
        }
        Ok(other) => vec![(prefix.to_owned(), Outcome::broken(format!("{other:?}")))],
        Err(e) => vec![(prefix.to_owned(), Outcome::broken(e.to_string()))],
    }
}

/// How many tasks of the host have this comm.
pub(crate) async fn tasks(helper: &Role, comm: String) -> Outcome {
    match helper.ask(LabAsk::FindComm { comm }).await {
        Ok(Answer::Tasks { pids }) => Outcome::value(pids.len()),
        Ok(other) => Outcome::broken(format!("{other:?}")),
        Err(e) => Outcome::broken(e.to_string()),
    }
}

/// Whether the engine says that the sandbox is of the very image that was loaded.
async fn same_image(cx: &Cx, agent: &Agent) {
    let outcome = match cx.docker.look(agent.id()).await {
        Ok(seen) if seen.pointer("/Image").and_then(Value::as_str) == Some(cx.image.id.as_str()) => {
            Outcome::allowed(&cx.image.id)
        }
        Ok(seen) => Outcome::refused("another image", format!("{:?}", seen.pointer("/Image"))),
        Err(no) => no.outcome(),
    };
    agent.observe("engine", "image.id", outcome);
}

/// The controls of the search for a task's comm: one that no task has, and the helper's own.
async fn host_side(cx: &Cx, agent: &Agent) {
    let absent = format!("awfp{}", crate::random_hex(5));
    for (name, comm) in [("comm.absent", absent), ("comm.helper", "awf-probe".to_owned())] {
        agent.observe("host", name, tasks(&cx.helper, comm).await);
    }
    let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    agent.observe("host", "boot-id", Outcome::value(boot.trim()));
    let answer = cx.helper.ask(LabAsk::Backends).await;
    for backend in ["legacy", "nft"] {
        let outcome = match &answer {
            Ok(Answer::Lines { lines }) => {
                Outcome::value(if lines.iter().any(|l| l == backend) { "there" } else { "absent" })
            }
            Ok(other) => Outcome::broken(format!("{other:?}")),
            Err(e) => Outcome::broken(e.to_string()),
        };
        agent.observe("host", &format!("tables.{backend}"), outcome);
    }
}
