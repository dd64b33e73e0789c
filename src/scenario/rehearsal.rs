//! AWF's agent with the settings that a selection emits, started as AWF starts it, doing a real job.

use std::{fs, net::Ipv4Addr, path::Path, process::Stdio, time::Duration};

use awf_probe_matrix::Outcome;
use awf_probe_probes::{pace, wire::COMM_ENV};
use serde_json::{Value, json};
use tokio::process::Command;

use super::{Agent, BatchEnd, Cx, ask, case::text, drain, egress};
use crate::{
    engine::docker::{
        ROLE_LABEL, RUN_LABEL,
        sandbox::{MountAs, Start},
    },
    event::Event,
    lab::PROXY_PORT,
    rehearsal::{PACKAGE, Rehearsal, Through},
    specs::{AWF_PROFILE, Seccomp, Spec, Toolbox},
};

/// Rehearses in each of the ways asked for, one after the other.
pub async fn run(cx: &Cx, runtime: &str) {
    let Some(rehearsal) = cx.common.rehearsal.clone() else { return };
    let lab = match cx.lab.wait().await {
        Ok(lab) => lab,
        Err(why) => return cx.problem(runtime, "rehearsal", "lab", why),
    };
    if let Err(e) = lab.serve(rehearsal.content()).await {
        return cx.problem(runtime, "rehearsal", "lab", e.to_string());
    }
    for through in &rehearsal.through {
        if let Err((stage, why)) = one(cx, runtime, &rehearsal, *through).await {
            cx.problem(runtime, through.scenario(), stage, why);
        }
    }
}

async fn one(cx: &Cx, runtime: &str, r: &Rehearsal, through: Through) -> Result<(), (&'static str, String)> {
    let scenario = through.scenario();
    let lab = cx.lab.wait().await.map_err(|e| ("lab", e))?;
    let net = egress::place(&r.model);
    let address = cx.address_on(net).map_err(|e| ("lab", e))?;
    let permit = cx.jobs.acquire().await.ok();
    let emitted = emitted(cx, r, runtime, net, address);
    let service = emitted["services"]["agent"].clone();
    let mut spec = Spec {
        net: egress::on(cx, net, address),
        toolbox: Toolbox::Host,
        workspace: true,
        seccomp: Seccomp::Awf,
        ..Spec::awf("rehearsal")
    };
    // As AWF has them: read-only, but for the one file that everybody writes to.
    for path in ["/sys", "/dev", "/dev/null"] {
        spec.extra.binds.push((path, format!("/host{path}")));
    }
    let agent = match through {
        Through::Engine => {
            spec.emitted = Some(service.into());
            Agent::start(cx, runtime, scenario, "agent", spec, None).await
        }
        Through::Compose => composed(cx, runtime, r, &spec, &emitted, address).await?,
    };
    let Some(mut agent) = agent else { return Ok(()) };
    let proxy = cx.layout.on(net, 10);
    let params = cx.params(Some(address));
    let mut alive = true;
    if let Some(backend) = &r.backend {
        let rules = egress::rules(address, proxy, cx.layout.approved());
        let install = || ask("rules.install", "rules", &params, json!({"backend": backend, "rules": rules}));
        match (r.profile.iptables_init.as_str(), &r.profile.init_runtime) {
            // The same image and the same settings whichever way the agent came up.
            ("present", Some(init)) => egress::by_init(cx, runtime, scenario, &agent, init, install()).await,
            ("merged", _) => alive = agent.run(false, vec![install()]).await == BatchEnd::Finished,
            _ => {}
        }
    }
    let mut start = ask(
        "rehearse",
        "rehearse",
        &params,
        json!({
            "nameserver": if r.profile.static_dns { "" } else { "127.0.0.11" },
            "proxy": format!("{proxy}:{PROXY_PORT}"),
            "allowed": format!("https://{}/", through.host("curl")),
            "denied": format!("https://{}/", through.host("denied")),
            "git": format!("https://{}/repo.git", through.host("git")),
            "head": r.repository.as_ref().map(|x| x.head.clone()).unwrap_or_default(),
            "registry": through.host("registry"),
            "package": if r.package.is_some() { PACKAGE } else { "" },
        }),
    );
    start.deadline_ms = 240_000;
    if alive && agent.run(false, vec![start]).await == BatchEnd::Finished {
        drain(cx, &lab, runtime, scenario).await;
    }
    agent.stop().await;
    drop(permit);
    Ok(())
}

/// The override for an agent at an address.
pub(super) fn emitted(cx: &Cx, r: &Rehearsal, runtime: &str, net: usize, address: Ipv4Addr) -> Value {
    let network = if net < 2 { [&cx.common.lab, &cx.common.internal][net] } else { &cx.common.guarded[net - 2] };
    r.emitted(runtime, &cx.layout, net, address, network)
}

/// Has the Compose tool make the agent from AWF's own file and the override, and starts what it made.
async fn composed(
    cx: &Cx,
    runtime: &str,
    r: &Rehearsal,
    spec: &Spec,
    emitted: &Value,
    address: Ipv4Addr,
) -> Result<Option<Agent>, (&'static str, String)> {
    let scenario = Through::Compose.scenario();
    let fail = |e: std::io::Error| ("compose", format!("{}: {e}", r.dir.display()));
    let comm = format!("awfp{}", crate::random_hex(5));
    fs::write(r.dir.join("seccomp.json"), AWF_PROFILE).map_err(fail)?;
    let mut over = emitted.clone();
    if let Some(top) = over.as_object_mut() {
        // The lab's network is there already, and is as internal as the model says.
        top.remove("networks");
    }
    let base = base(cx, spec, &comm, address);
    for (file, value) in [("compose.json", &base), ("override.json", &over)] {
        fs::write(r.dir.join(file), value.to_string().replace('$', "$$")).map_err(fail)?;
    }
    let project = format!("awfprobe{}{}", cx.common.run, crate::random_hex(3));
    let said = call(cx, &r.dir, &project, &["up", "--no-start"]).await?;
    let mut made = super::compose::services(cx, &project).await.map_err(|no| ("compose", no.why))?;
    let Some(agent) = made.remove("agent") else { return Err(("compose", format!("it made no agent: {said}"))) };
    let id = text(&agent, "/Id");
    for (service, other) in made {
        // The init container is started as AWF's own is, by the harness; what Compose made of it is not needed.
        cx.docker.remove(&text(&other, "/Id")).await.map_err(|e| ("compose", format!("{service}: {e}")))?;
    }
    let how = Start { runtime, args: &[], role: "agent", host_pid: false, also: vec![], aliases: vec![] };
    let sandbox = cx.docker.run_attached(&id, &how).await.map_err(|no| ("start", no.why))?;
    cx.sink.emit(Event::SandboxStarted {
        runtime: runtime.to_owned(),
        scenario: scenario.to_owned(),
        role: "agent".to_owned(),
        container: id,
        address: Some(address.into()),
        create_ms: super::millis(sandbox.create),
        start_ms: super::millis(sandbox.start),
    });
    let agent = Agent::adopt(cx, runtime, scenario, ("agent", runtime), sandbox, &comm, Some(address.into())).await;
    if let Some(agent) = &agent {
        agent.observe("engine", "compose", Outcome::value(said));
    }
    Ok(agent)
}

/// AWF's own file: what an override stands on.
fn base(cx: &Cx, spec: &Spec, comm: &str, address: Ipv4Addr) -> Value {
    let network = spec.net.name(&cx.common).unwrap_or_default();
    let mut volumes = Vec::new();
    let mut named = serde_json::Map::new();
    for MountAs { volume, source, target, read_only } in cx.docker.mounts_of(&cx.common, spec) {
        let kind = if volume { "volume" } else { "bind" };
        volumes.push(json!({"type": kind, "source": source, "target": target, "read_only": read_only}));
        if volume {
            named.insert(source.clone(), json!({"external": true}));
        }
    }
    json!({
        "services": {
            "agent": {
                "image": cx.common.image,
                "command": ["guest"],
                "stdin_open": true,
                "labels": {RUN_LABEL: cx.common.run, ROLE_LABEL: "agent"},
                "environment": {COMM_ENV: comm},
                "security_opt": ["seccomp:./seccomp.json"],
                "networks": {"awf-net": {"ipv4_address": address.to_string()}},
                "volumes": volumes,
                "tmpfs": cx.docker.tmpfs_of(spec).into_iter().map(|(p, o)| format!("{p}:{o}")).collect::<Vec<_>>(),
            },
            "iptables-init": {
                "image": cx.common.image,
                "command": ["guest"],
                "labels": {RUN_LABEL: cx.common.run, ROLE_LABEL: "init"},
                "network_mode": "service:agent",
            },
        },
        "networks": {"awf-net": {"external": true, "name": network}},
        "volumes": named,
    })
}

/// Calls Compose v2 in the folder of the files.
async fn call(cx: &Cx, dir: &Path, project: &str, args: &[&str]) -> Result<String, (&'static str, String)> {
    let mut command = Command::new("docker");
    command.args(["compose", "-p", project, "-f", "compose.json", "-f", "override.json"]).args(args);
    command.current_dir(dir).env("DOCKER_HOST", &cx.docker.at).stdin(Stdio::null()).kill_on_drop(true);
    let ended = tokio::time::timeout(pace::scaled(Duration::from_secs(120)), command.output()).await;
    let out = ended
        .map_err(|_| ("compose", "docker compose did not end in time".to_owned()))?
        .map_err(|e| ("compose", format!("docker compose: {e}")))?;
    let err = String::from_utf8_lossy(&out.stderr);
    let end: Vec<&str> = err.lines().filter(|l| !l.trim().is_empty()).collect();
    let end = end[end.len().saturating_sub(3)..].join("; ");
    if out.status.success() { Ok(end) } else { Err(("compose", format!("docker compose {}: {end}", args.join(" ")))) }
}
