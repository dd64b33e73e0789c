//! `awf-probe doctor`: what is here, what is missing, and what to do about it.

use std::{path::Path, sync::Arc, time::Instant};

use super::print;
use crate::{
    cli::DoctorArgs,
    engine::{
        self,
        docker::{
            Docker, Info,
            image::Executable,
            sandbox::{Common, Start},
        },
    },
    error::{Error, Exit},
    inventory,
    journal::Sink,
    kata, lab,
    specs::Spec,
};

/// A line of the diagnosis.
struct Finding {
    /// `None`: worth knowing, neither good nor bad.
    ok: Option<bool>,
    what: String,
    remedy: String,
}

/// Looks.
pub async fn run(args: &DoctorArgs) -> Result<Exit, Error> {
    let docker = Docker::connect_to(&engine::which(args.engine.as_deref())?).await?;
    let info = docker.info().await?;
    let mut findings = about(&docker, &info);
    findings.extend(toolbox());
    findings.extend(host());
    if !docker.podman {
        findings.extend(kata(&info));
    }
    for l in super::launch::known(&[])? {
        let (there, at) = match super::launch::program(&l) {
            Some(path) => (true, path.display().to_string()),
            None => (false, "its program is not here".to_owned()),
        };
        let remedy = if there { "" } else { "`run --engine command` can measure it once it is installed" };
        findings.push(finding(None, format!("command engine, {}: {at}", l.name), remedy));
    }
    let executable = Executable::own()?;
    let image = docker.ensure_image(&executable).await?;
    let common = super::run::common(&crate::random_hex(4), &image, std::net::Ipv4Addr::UNSPECIFIED);
    for name in inventory::resolve(&info, &[], true)? {
        findings.push(runtime(&docker, &info, &common, &name).await);
    }
    findings.push(helper(&docker, &info, &common).await);
    let made = docker.made_by(Some(&common.run)).await?;
    for made in made.values() {
        let left = docker.remove_made(made).await;
        if !left.is_empty() {
            return Err(Error::Leftovers { what: left.join("; ") });
        }
    }
    let mut text = String::new();
    for f in &findings {
        let mark = match f.ok {
            Some(true) => "ok  ",
            Some(false) => "FAIL",
            None => "note",
        };
        text.push_str(&format!("{mark}  {}\n", f.what));
        if !f.remedy.is_empty() {
            text.push_str(&format!("      {}\n", f.remedy));
        }
    }
    print(&text)?;
    Ok(if findings.iter().any(|f| f.ok == Some(false)) { Exit::Environment } else { Exit::Ok })
}

fn finding(ok: Option<bool>, what: impl Into<String>, remedy: impl Into<String>) -> Finding {
    let remedy = remedy.into();
    Finding { ok, what: what.into(), remedy: if ok == Some(true) { String::new() } else { remedy } }
}

fn about(docker: &Docker, info: &Info) -> Vec<Finding> {
    let h = &info.host;
    vec![
        finding(Some(true), format!("engine {} at {}, API {}", h.engine, docker.at, h.api), ""),
        finding(
            None,
            format!(
                "kernel {}, {} {}, cgroup v{} ({}), {} CPUs",
                h.kernel, h.os, h.arch, h.cgroup, h.cgroup_driver, h.cpus
            ),
            if h.cgroup == "1" { "cgroup v1: crun may refuse a hybrid hierarchy" } else { "" },
        ),
        finding(
            Some(info.runtimes.contains_key("runc")),
            format!("default runtime {}; runc for the lab's own containers", h.default_runtime),
            "the lab's helper, witness and proxy run under runc; register it, or they run under the default runtime",
        ),
    ]
}

fn toolbox() -> Vec<Finding> {
    let tools = [
        ("/usr/sbin/iptables-legacy", "iptables"),
        ("/usr/sbin/iptables-nft", "iptables"),
        ("/usr/sbin/squid", "squid"),
        ("/usr/sbin/capsh", "libcap2-bin"),
        ("/usr/bin/git", "git"),
        ("/usr/bin/curl", "curl"),
    ];
    tools
        .iter()
        .map(|(path, package)| {
            finding(
                Some(Path::new(path).exists()),
                format!("toolbox: {path}"),
                format!("install {package} (scripts/setup does); without it its probes are skipped, unless `run --toolbox-image` brings the tool"),
            )
        })
        .collect()
}

fn host() -> Vec<Finding> {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default().trim().to_owned();
    let forward = read("/proc/sys/net/ipv4/ip_forward");
    let bridge = read("/proc/sys/net/bridge/bridge-nf-call-iptables");
    vec![
        finding(
            Some(forward == "1"),
            format!("net.ipv4.ip_forward is {}", if forward.is_empty() { "unreadable" } else { &forward }),
            "the engine switches it on when it starts with iptables enabled; without it nothing reaches the witness",
        ),
        finding(
            None,
            format!(
                "bridge-nf-call-iptables is {}",
                if bridge.is_empty() { "absent (br_netfilter is not loaded)" } else { &bridge }
            ),
            "",
        ),
    ]
}

/// What Kata needs. Where no runtime is Kata, what is missing is worth knowing and no failure.
fn kata(info: &Info) -> Vec<Finding> {
    let gates = kata::gates(&kata::look(&info.host.engine, info.runtimes.iter()));
    let wanted = gates.last().is_some_and(|g| g.open == Some(true));
    let said = |g: kata::Gate| {
        let remedy = if g.open == Some(true) { "" } else { g.remedy };
        let missing = if g.open == Some(false) { " (missing)" } else { "" };
        finding(g.open.filter(|open| wanted || *open), format!("Kata: {}{missing}", g.what), remedy)
    };
    gates.into_iter().map(said).collect()
}

/// Does `true` start under it, in how long, and if not, what does its error mean?
async fn runtime(docker: &Docker, info: &Info, common: &Common, name: &str) -> Finding {
    let row = inventory::describe(name, info.runtimes.get(name));
    let wrapper = row.fingerprint.wraps.as_ref().map(|w| format!(", a wrapper of {}", w.path)).unwrap_or_default();
    let said = format!("runtime {name}: {}{wrapper}", row.version);
    let begun = Instant::now();
    let how = Start { runtime: name, args: &["guest"], role: "doctor", host_pid: false, also: vec![], aliases: vec![] };
    match docker.start(common, &Spec::plain("doctor"), how).await {
        Ok(sandbox) => {
            let ms = begun.elapsed().as_millis();
            match sandbox.remove(60).await {
                Ok(()) => finding(Some(true), format!("{said}; a sandbox starts in {ms} ms"), ""),
                Err(e) => finding(Some(false), format!("{said}; a sandbox starts, but cannot be removed: {e}"), ""),
            }
        }
        Err((stage, e)) => finding(Some(false), format!("{said}; fails at {stage}: {e}"), meaning(&e.to_string())),
    }
}

/// What the usual errors of runtimes mean.
fn meaning(error: &str) -> &'static str {
    let known: [(&str, &str); 6] = [
        (
            "root network namespace",
            "gVisor before 2024-08 on Linux 6.11 or newer (google/gvisor#10704): use a newer gVisor, or the wrapper that scripts/setup registers",
        ),
        (
            "cgroup",
            "the runtime does not support this host's cgroup layout; crun refuses a hybrid one: boot with cgroup v2 alone",
        ),
        ("executable file not found", "the registered path does not exist: install the runtime or correct daemon.json"),
        ("no such file or directory", "the registered path does not exist: install the runtime or correct daemon.json"),
        ("/dev/kvm", "the runtime needs hardware virtualization: enable KVM, or use another runtime"),
        ("unknown or invalid runtime name", "the engine does not know it: register it in daemon.json and reload"),
    ];
    known.iter().find(|(word, _)| error.contains(word)).map_or("look at the engine's log for more", |(_, m)| m)
}

/// Can the lab's helper do its work?
async fn helper(docker: &Docker, info: &Info, common: &Common) -> Finding {
    let runtime = super::run::reference(info);
    let sink = match Sink::create(None) {
        Ok(sink) => sink,
        Err(e) => return finding(Some(false), e.to_string(), ""),
    };
    match lab::survey(docker, common, &runtime, true, &[], &sink).await {
        Ok(ground) => {
            let text = format!("helper starts; free ranges: {} for the witness", ground.layout.document_cidr);
            let ground = Arc::new(ground);
            ground.close().await;
            finding(Some(true), text, "")
        }
        Err(e) => finding(
            Some(false),
            format!("helper: {e}"),
            "it needs NET_ADMIN, NET_RAW and SYS_PTRACE in the host's network and pid namespaces",
        ),
    }
}
