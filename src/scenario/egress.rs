//! An agent under an enforcement model, and every attempt to get out of it.

use std::{
    net::{Ipv4Addr, Ipv6Addr},
    sync::Arc,
};

use awf_probe_matrix::{InitUnder, Model, ModelNetwork, Outcome};
use awf_probe_probes::{ATTEMPTS, Attempt, Payload, over_ipv6, wire::Ask};
use serde_json::{Map, Value, json};
use tokio::sync::SemaphorePermit;

use super::{Agent, BatchEnd, Cx, ask, drain};
use crate::{
    lab::{GUARDED, INTERNAL, LAB, Lab, PROXY_PORT, REDIRECTED, SIDECARS},
    sabotage::Deed,
    specs::{Net, Spec, Toolbox, proxy_env},
};

/// Where a model's agent stands among the lab's networks.
pub fn place(model: &Model) -> usize {
    match model.network {
        ModelNetwork::Lab => LAB,
        ModelNetwork::Internal => INTERNAL,
        ModelNetwork::Guarded => GUARDED,
        ModelNetwork::Redirected => REDIRECTED,
    }
}

/// Runs a model. With `raw`, the agent is given NET_RAW and makes only the attempts that need it: the control
/// for those AWF's container cannot make.
pub async fn run(cx: &Cx, runtime: &str, model: &Model, backend: Option<&str>, raw: bool) {
    let scenario = name(&model.id, backend, raw);
    let Some((lab, permit, address)) = footing(cx, runtime, &scenario, model).await else { return };
    let net = place(model);
    let mut spec = agent_spec(cx, model, address);
    if raw {
        spec.cap_drop.retain(|c| *c != "NET_RAW");
    }
    if let Some(r) = cx.common.rehearsal.as_deref().filter(|r| !raw && r.is(model, backend)) {
        let emitted = super::rehearsal::emitted(cx, r, runtime, net, address);
        spec.emitted = Some(emitted["services"]["agent"].clone().into());
    }
    let Some(mut agent) = Agent::start(cx, runtime, &scenario, "agent", spec, None).await else { return };
    let way = Way::new(cx, &lab, model, address);
    let mut alive = true;
    if !raw {
        // Before any rule that is installed from within.
        let early = numbered().filter(|(_, a)| a.early).map(|(i, a)| way.attempt(i, a));
        let held = numbered().filter(|(_, a)| a.payload == Payload::Held).map(|(i, a)| {
            let more = json!({"dst": way.destination(i, a)});
            ask("egress.hold", "window.held", &way.params, more)
        });
        alive = agent.run(true, early.chain(held).collect()).await == BatchEnd::Finished;
    }
    let init_runtime = init_runtime(cx, model, runtime);
    if let (Some(backend), true) = (backend, alive) {
        let install = way.install(backend, address, "rules", false);
        match init_runtime {
            Some(init) => by_init(cx, runtime, &scenario, &agent, init, install).await,
            None if model.in_agent => alive = agent.run(false, vec![install]).await == BatchEnd::Finished,
            None => {}
        }
    }
    let asks = numbered().filter(|(_, a)| !a.early && (!raw || a.raw)).map(|(i, a)| way.attempt(i, a));
    // The witness must be listening before, as it must be after.
    let before = lab.listening().await;
    if let Err(why) = &before {
        cx.problem(runtime, &scenario, "lab", why.as_str());
    }
    if alive && before.is_ok() && agent.run(true, asks.collect()).await == BatchEnd::Finished {
        if let Some(Deed::WitnessDies) = cx.common.deed() {
            // Of several models the first has done it.
            drop(cx.docker.kill(&lab.witness.id, "KILL").await);
        }
        drain(cx, &lab, runtime, &scenario).await;
    }
    agent.stop().await;
    drop(permit);
}

/// The lab, a turn among the jobs, and an address for the agent of a model; what is missing is a problem of the scenario.
pub(super) async fn footing<'a>(
    cx: &'a Cx,
    runtime: &str,
    scenario: &str,
    model: &Model,
) -> Option<(Arc<Lab>, Option<SemaphorePermit<'a>>, Ipv4Addr)> {
    let problem = |stage: &str, why: &str| cx.problem(runtime, scenario, stage, why);
    let lab = cx.lab.wait().await.map_err(|why| problem("lab", &why)).ok()?;
    let net = place(model);
    if net >= GUARDED && !lab.host_rules[net - GUARDED].is_empty() {
        problem(NO_HOST_RULES, &lab.host_rules[net - GUARDED]);
        return None;
    }
    let permit = cx.lab_jobs.acquire().await.ok();
    let address = cx.address_on(net).map_err(|why| problem("lab", &why)).ok()?;
    Some((lab, permit, address))
}

/// The agent of a model.
pub(super) fn agent_spec(cx: &Cx, model: &Model, address: Ipv4Addr) -> Spec {
    let proxy = cx.layout.on(place(model), 10);
    let mut spec = Spec { net: on(cx, place(model), address), toolbox: Toolbox::Root, ..Spec::awf("egress") };
    if model.in_agent {
        spec.cap_drop.retain(|c| *c != "NET_RAW");
        spec.cap_add.push("NET_ADMIN");
    }
    if model.proxy_env {
        spec.env = proxy_env(&proxy.to_string());
    }
    spec
}

/// The runtime of a model's init container, if it has one.
pub(super) fn init_runtime<'a>(cx: &'a Cx, model: &Model, runtime: &'a str) -> Option<&'a str> {
    match model.init {
        InitUnder::None => None,
        InitUnder::Default => Some(cx.default_runtime.as_str()),
        InitUnder::Own => Some(runtime),
    }
}

/// Every act of tampering with the capabilities for it: the control of those without.
pub async fn tamper(cx: &Cx, runtime: &str) {
    let scenario = TAMPER;
    let lab = match cx.lab.wait().await {
        Ok(lab) => lab,
        Err(why) => return cx.problem(runtime, scenario, "lab", why),
    };
    let permit = cx.lab_jobs.acquire().await.ok();
    let address = match cx.lab_address() {
        Ok(address) => address,
        Err(why) => return cx.problem(runtime, scenario, "lab", why),
    };
    let mut spec = Spec { net: Net::Lab(address), toolbox: Toolbox::Root, ..Spec::awf("egress") };
    spec.cap_drop.retain(|c| !["NET_RAW", "SYS_PTRACE"].contains(c));
    spec.cap_add.extend(["NET_ADMIN", "SYS_PTRACE"]);
    let Some(mut agent) = Agent::start(cx, runtime, scenario, "agent", spec, None).await else { return };
    let params = cx.params(Some(address));
    let more = json!({"dst": cx.layout.witness(99).to_string(), "neighbour": cx.layout.proxy().to_string()});
    let mut control = ask("egress.tamper-control", "tamper", &params, more);
    control.deadline_ms = 60_000;
    if agent.run(false, vec![control]).await == BatchEnd::Finished {
        drain(cx, &lab, runtime, scenario).await;
    }
    agent.stop().await;
    drop(permit);
}

/// A rule no kernel has: what a runtime without a match makes of a rule of AWF's.
const UNSUPPORTED: &str = "-A OUTPUT -p tcp -m awfprobe -j DROP";

/// Stage of a problem: the host cannot take the model's rules.
pub const NO_HOST_RULES: &str = "host-rules";
/// Scenario of the control of tampering.
pub const TAMPER: &str = "egress[tamper]+admin";

fn numbered() -> impl Iterator<Item = (usize, &'static Attempt)> {
    ATTEMPTS.iter().enumerate()
}

pub(super) fn on(cx: &Cx, net: usize, address: Ipv4Addr) -> Net {
    match net {
        LAB => Net::Lab(address),
        INTERNAL => Net::Internal(address),
        other => Net::Other(cx.common.guarded[other - GUARDED].clone(), address),
    }
}

/// `MODEL`, or `MODEL/BACKEND`.
pub(super) fn stage(model: &str, backend: Option<&str>) -> String {
    backend.map_or_else(|| model.to_owned(), |b| format!("{model}/{b}"))
}

/// Name of an egress scenario.
pub fn name(model: &str, backend: Option<&str>, raw: bool) -> String {
    let inner = stage(model, backend);
    format!("egress[{inner}]{}", if raw { "+raw" } else { "" })
}

/// What the attempts of a scenario have in common.
pub(super) struct Way<'a> {
    cx: &'a Cx,
    lab: &'a Lab,
    net: usize,
    proxy: Ipv4Addr,
    model: &'a Model,
    params: Map<String, Value>,
}

impl<'a> Way<'a> {
    fn destination(&self, index: usize, a: &Attempt) -> String {
        let six = a.id.starts_with("ipv6.") && !a.id.contains("mapped");
        match a.payload {
            Payload::Peer(n, _) => self.cx.layout.on(self.net, n).to_string(),
            _ if six => format!("2001:db8:203:113::{index:x}"),
            _ => self.cx.layout.witness(100 + u8::try_from(index).unwrap_or(0)).to_string(),
        }
    }

    pub(super) fn new(cx: &'a Cx, lab: &'a Lab, model: &'a Model, address: Ipv4Addr) -> Self {
        let net = place(model);
        Self { cx, lab, net, proxy: cx.layout.on(net, 10), model, params: cx.params(Some(address)) }
    }

    /// An attempt of this name among [`ATTEMPTS`], reported under this label, with further parameters.
    pub(super) fn again(&self, id: &str, label: String, more: Value) -> Option<Ask> {
        let (index, attempt) = numbered().find(|(_, a)| a.id == id)?;
        Some(self.labelled(index, attempt, label, more))
    }

    /// The same attempt over IPv6, from this address, to a destination of the phase's own.
    pub(super) fn twin(&self, id: &str, label: String, phase: u16, from: Ipv6Addr, mut more: Value) -> Option<Ask> {
        let (index, attempt) = over_ipv6().enumerate().find(|(_, a)| a.id == id)?;
        let to = self.cx.layout.witness6(phase, u16::try_from(index).ok()?);
        more["agent"] = from.to_string().into();
        more["dst"] = to.to_string().into();
        Some(self.labelled(index, attempt, label, more))
    }

    fn labelled(&self, index: usize, attempt: &Attempt, label: String, more: Value) -> Ask {
        let mut ask = self.attempt(index, attempt);
        ask.label = label;
        if let (Value::Object(params), Value::Object(more)) = (&mut ask.params, more) {
            params.extend(more);
        }
        ask
    }

    fn attempt(&self, index: usize, a: &Attempt) -> Ask {
        let other = if self.net == INTERNAL { LAB } else { INTERNAL };
        let dropped: &[&str] = if self.model.in_agent && !a.early { &["NET_ADMIN", "NET_RAW"] } else { &[] };
        let more = json!({
            "attempt": a.id,
            "dst": self.destination(index, a),
            "proxy": format!("http://{}:{PROXY_PORT}", self.proxy),
            // With variables in the environment they name the proxy; without, it is named to the client, so that what
            // it serves is a control.
            "named": if self.model.proxy_env { "" } else { "yes" },
            "neighbour": self.proxy.to_string(),
            "host_port": self.lab.host_port,
            "abstract": self.lab.abstract_name,
            "other_bridge": self.cx.layout.on(other, SIDECARS[0]).to_string(),
            "drop": dropped,
            "wait_ms": 1300,
        });
        ask("egress.attempt", a.id, &self.params, more)
    }

    /// The ask that makes these changes to the tables of IPv6.
    pub(super) fn install6(&self, backend: &str, label: &str, rules: &[&str]) -> Ask {
        ask("rules.install", label, &self.params, json!({"backend": backend, "family": "6", "rules": rules}))
    }

    /// The ask that switches IPv6 off as AWF's script does.
    pub(super) fn off(&self, label: &str) -> Ask {
        ask("ipv6.off", label, &self.params, json!({}))
    }

    /// The ask that installs AWF's rules, reported under this label. With `failing` the script ends in its middle.
    pub(super) fn install(&self, backend: &str, address: Ipv4Addr, label: &str, failing: bool) -> Ask {
        let mut rules = rules(address, self.proxy, self.cx.layout.approved());
        if let Some(Deed::Rules(edit) | Deed::WireAndRules(_, edit)) = self.cx.common.deed() {
            edit(&mut rules);
        }
        if failing {
            let filter = rules.iter().position(|r| r.starts_with("-A OUTPUT")).unwrap_or(0);
            rules.insert(filter, UNSUPPORTED.to_owned());
        }
        ask("rules.install", label, &self.params, json!({"backend": backend, "rules": rules}))
    }
}

/// Has an init container in the agent's namespace do this.
pub(super) async fn by_init(cx: &Cx, runtime: &str, scenario: &str, agent: &Agent, init: &str, install: Ask) {
    let spec = Spec::init("init", agent.id());
    let container = Agent::start(cx, runtime, scenario, "init", spec, Some(init)).await;
    agent.observe("engine", "init", begun(container.is_some(), init));
    let Some(mut container) = container else { return };
    container.run(false, vec![install]).await;
    // AWF's init container exits once it is done.
    container.stop().await;
}

/// Whether an init container started under this runtime.
pub(super) fn begun(started: bool, init: &str) -> Outcome {
    let under = format!("under {init}");
    if started { Outcome::allowed(under) } else { Outcome::refused("does not start", under) }
}

/// AWF's rules in the agent's namespace, in its order.
pub fn rules(agent: Ipv4Addr, proxy: Ipv4Addr, resolver: Ipv4Addr) -> Vec<String> {
    let ports = "22,23,25,110,143,445,1433,1521,3306,3389,5432,6379,27017,27018,28017";
    let single = ports.split(',');
    let sidecars = SIDECARS.map(|n| Ipv4Addr::from(u32::from(agent) & 0xffff_ff00 | u32::from(n)));
    let mut rules: Vec<String> = vec!["-t nat -A OUTPUT -o lo -j RETURN".to_owned()];
    let own = ["127.0.0.0/8".to_owned(), "0.0.0.0".to_owned(), agent.to_string(), proxy.to_string()];
    for to in own.into_iter().chain(sidecars.map(|s| s.to_string())) {
        rules.push(format!("-t nat -A OUTPUT -d {to} -j RETURN"));
    }
    for protocol in ["udp", "tcp"] {
        rules.push(format!("-t nat -A OUTPUT -p {protocol} -d {resolver} --dport 53 -j RETURN"));
    }
    rules.extend(single.map(|p| format!("-t nat -A OUTPUT -p tcp --dport {p} -j RETURN")));
    for port in [80, 443] {
        rules.push(format!("-t nat -A OUTPUT -p tcp --dport {port} -j DNAT --to-destination {proxy}:{PROXY_PORT}"));
    }
    rules.push("-A OUTPUT -o lo -j ACCEPT".to_owned());
    for protocol in ["udp", "tcp"] {
        rules.push(format!("-A OUTPUT -p {protocol} -d {resolver} --dport 53 -j ACCEPT"));
    }
    rules.push(format!("-A OUTPUT -p tcp -d {proxy} -j ACCEPT"));
    rules.extend(sidecars.map(|s| format!("-A OUTPUT -p tcp -d {s} -j ACCEPT")));
    rules.push(format!(
        "-A OUTPUT -p tcp -m multiport --dports {ports} -m limit --limit 5/min --limit-burst 10 -j LOG --log-prefix [FW_BLOCKED_PORT] --log-level 4 --log-uid"
    ));
    for protocol in ["tcp", "udp"] {
        rules.push(format!(
            "-A OUTPUT -p {protocol} -m limit --limit 5/min --limit-burst 10 -j LOG --log-prefix [FW_BLOCKED_{}] --log-level 4 --log-uid",
            protocol.to_uppercase()
        ));
        rules.push(format!("-A OUTPUT -p {protocol} -j DROP"));
    }
    rules
}
