//! An agent under an enforcement model, and every attempt to get out of it.

use std::net::Ipv4Addr;

use awf_probe_matrix::{InitUnder, Model, ModelNetwork, Outcome};
use awf_probe_probes::{ATTEMPTS, Attempt, Payload, wire::Ask};
use serde_json::{Map, Value, json};

use super::{Agent, BatchEnd, Cx, ask, drain};
use crate::{
    event::Event,
    lab::PROXY_PORT,
    specs::{Net, Spec, proxy_env},
};

/// Runs a model. With `raw`, the agent is given NET_RAW and makes only the attempts that need it: the control
/// for those AWF's container cannot make.
pub async fn run(cx: &Cx, runtime: &str, model: &Model, backend: Option<&str>, raw: bool) {
    let scenario = name(&model.id, backend, raw);
    let lab = match cx.lab.wait().await {
        Ok(lab) => lab,
        Err(why) => {
            let runtime = runtime.to_owned();
            return cx.sink.emit(Event::Problem { runtime, scenario, stage: "lab".to_owned(), why });
        }
    };
    let permit = cx.jobs.acquire().await.ok();
    let (address, proxy) = match model.network {
        ModelNetwork::Lab => (cx.lab_address(), cx.layout.proxy()),
        ModelNetwork::Internal => (cx.internal_address(), cx.layout.proxy_internal()),
    };
    let address = match address {
        Ok(address) => address,
        Err(why) => return cx.problem(runtime, &scenario, "lab", why),
    };
    let net = match model.network {
        ModelNetwork::Lab => Net::Lab(address),
        ModelNetwork::Internal => Net::Internal(address),
    };
    let mut spec = Spec { net, ..Spec::awf("egress") };
    if raw {
        spec.cap_drop.retain(|c| *c != "NET_RAW");
    }
    if model.proxy_env {
        spec.env = proxy_env(&proxy.to_string());
    }
    let Some(mut agent) = Agent::start(cx, runtime, &scenario, "agent", spec, None).await else { return };
    let params = cx.params(Some(address));
    let init_runtime = match model.init {
        InitUnder::None => None,
        InitUnder::Default => Some(cx.default_runtime.as_str()),
        InitUnder::Own => Some(runtime),
    };
    if let (Some(init), Some(backend)) = (init_runtime, backend) {
        install(cx, runtime, &scenario, &agent, init, backend, &params, address).await;
    }
    // Without variables in the environment the proxy is named to the client, so that what it serves is a control.
    let named = if model.proxy_env { String::new() } else { format!("http://{proxy}:{PROXY_PORT}") };
    let asks =
        ATTEMPTS.iter().enumerate().filter(|(_, a)| !raw || a.raw).map(|(i, a)| attempt(cx, i, a, &params, &named));
    // The witness must be listening before, as it must be after.
    let before = lab.listening().await;
    if let Err(why) = &before {
        cx.problem(runtime, &scenario, "lab", why.as_str());
    }
    if before.is_ok() && agent.run(true, asks.collect()).await == BatchEnd::Finished {
        drain(cx, &lab, runtime, &scenario).await;
    }
    agent.stop().await;
    drop(permit);
}

/// Name of an egress scenario.
pub fn name(model: &str, backend: Option<&str>, raw: bool) -> String {
    let inner = backend.map_or_else(|| model.to_owned(), |b| format!("{model}/{b}"));
    format!("egress[{inner}]{}", if raw { "+raw" } else { "" })
}

fn attempt(cx: &Cx, index: usize, a: &Attempt, params: &Map<String, Value>, proxy: &str) -> Ask {
    let dst = match a.payload {
        Payload::Tcp6(_) => format!("2001:db8:203:113::{index:x}"),
        _ => cx.layout.witness(100 + u8::try_from(index).unwrap_or(0)).to_string(),
    };
    let more = json!({"attempt": a.id, "dst": dst, "proxy": proxy, "wait_ms": 1300});
    ask("egress.attempt", a.id, params, more)
}

#[expect(clippy::too_many_arguments, reason = "private, called once")]
async fn install(
    cx: &Cx,
    runtime: &str,
    scenario: &str,
    agent: &Agent,
    init: &str,
    backend: &str,
    params: &Map<String, Value>,
    address: Ipv4Addr,
) {
    let spec = Spec::init("init", agent.id());
    let Some(mut container) = Agent::start(cx, runtime, scenario, "init", spec, Some(init)).await else {
        return agent.observe("engine", "init", Outcome::refused("does not start", format!("under {init}")));
    };
    agent.observe("engine", "init", Outcome::allowed(format!("under {init}")));
    let rules = rules(address, cx.layout.proxy(), cx.layout.approved());
    container
        .run(false, vec![ask("rules.install", "rules", params, json!({"backend": backend, "rules": rules}))])
        .await;
    // AWF's init container exits once it is done.
    container.stop().await;
}

/// AWF's rules in the agent's namespace, in its order.
pub fn rules(agent: Ipv4Addr, proxy: Ipv4Addr, resolver: Ipv4Addr) -> Vec<String> {
    let ports = "22,23,25,110,143,445,1433,1521,3306,3389,5432,6379,27017,27018,28017";
    let single = ports.split(',');
    let mut rules: Vec<String> = vec!["-t nat -A OUTPUT -o lo -j RETURN".to_owned()];
    for to in ["127.0.0.0/8".to_owned(), "0.0.0.0".to_owned(), agent.to_string(), proxy.to_string()] {
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
