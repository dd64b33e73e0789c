//! An agent on the bridges it asked for: its addresses, its way out, its neighbours, names, published ports.

use std::net::Ipv4Addr;

use awf_probe_matrix::Outcome;
use serde_json::json;

use super::{
    Agent, Cx, ask,
    case::{Case, done, text},
    netns::place,
};
use crate::{
    lab::{
        self, GUARDED, INTERNAL, LAB,
        roles::wire::{Answer, Ask as LabAsk},
    },
    settings::Settings,
    specs::{Net, Spec},
};

/// Where agent and neighbour listen for each other, and a port where nobody does.
const PORTS: [u16; 3] = [14_556, 14_557, 14_558];

/// Runs an agent on two bridges, and a neighbour under the engine's default runtime on the first of them.
pub async fn run(cx: &Cx, runtime: &str) {
    let scenario = "bridge";
    let Some((_, address)) = place(cx, runtime, scenario).await else { return };
    let more = [cx.address_on(INTERNAL), cx.lab_address(), cx.address_on(GUARDED)];
    let [Ok(second), Ok(beside), Ok(late)] = more else {
        return cx.problem(runtime, scenario, "lab", "the lab is out of addresses; measure fewer runtimes at once");
    };
    let permit = cx.lab_jobs.acquire().await.ok();
    let alias = format!("agent-{}.awf-probe.test", super::seed());
    let spec = Spec {
        net: Net::Lab(address),
        also: vec![(cx.common.internal.clone(), second)],
        aliases: vec![alias.clone()],
        more: Settings { published: Some(PORTS[0]), ..Settings::default() },
        ..Spec::awf(scenario)
    };
    let Some(mut agent) = Agent::start(cx, runtime, scenario, "agent", spec, None).await else { return };
    let spec = Spec { net: Net::Lab(beside), ..Spec::plain(scenario) };
    if let Some(mut neighbour) = Agent::start(cx, runtime, scenario, "peer", spec, Some(&cx.default_runtime)).await {
        around(cx, &mut agent, &mut neighbour, [address, second, beside], &alias).await;
        neighbour.stop().await;
        outside(cx, runtime, agent.id()).await;
        later(cx, &mut agent, late).await;
    }
    agent.stop().await;
    drop(permit);
}

/// Addresses, the way out, and both directions between neighbours.
async fn around(cx: &Cx, agent: &mut Agent, neighbour: &mut Agent, at: [Ipv4Addr; 3], alias: &str) {
    let [address, second, beside] = at;
    let params = cx.params(Some(address));
    let token = crate::random_hex(8);
    let local = |probe: &str, label: &str, at: Ipv4Addr, port: u16| {
        ask(probe, label, &params, json!({"at": at.to_string(), "port": port, "token": token}))
    };
    let look = |label: &str, a: Ipv4Addr| ask("bridge.address", label, &params, json!({"address": a.to_string()}));
    let name = |label: &str, name: &str| {
        ask("bridge.name", label, &params, json!({"name": format!("{name}."), "address": address.to_string()}))
    };
    let any = Ipv4Addr::UNSPECIFIED;
    neighbour.run(false, vec![local("netns.listen", "peer.listen", any, PORTS[1])]).await;
    let asks = vec![
        look("address", address),
        look("address.other", beside),
        look("second", second),
        ask("bridge.gateway", "gateway", &params, json!({})),
        local("netns.listen", "listen", any, PORTS[0]),
        local("netns.dial", "listen.own", address, PORTS[0]),
        local("netns.dial", "neighbour", beside, PORTS[1]),
        local("netns.dial", "neighbour.closed", beside, PORTS[2]),
    ];
    agent.run(false, asks).await;
    let asks = vec![
        local("netns.dial", "inbound", address, PORTS[0]),
        local("netns.dial", "inbound.closed", address, PORTS[2]),
        name("alias", alias),
        name("alias.unknown", "agent-of-nobody.awf-probe.test"),
    ];
    neighbour.run(false, asks).await;
}

/// What the host sees: behind which bridge the sandbox is, and whether its published port leads to it.
async fn outside(cx: &Cx, runtime: &str, id: &str) {
    let case = Case::new(cx, runtime, "bridge");
    let seen = cx.docker.look(id).await.unwrap_or_default();
    let names = [lab::bridge(&cx.common.run, LAB), lab::bridge(&cx.common.run, GUARDED)];
    let mac = text(&seen, &format!("/NetworkSettings/Networks/{}/MacAddress", cx.common.lab));
    match cx.helper.ask(LabAsk::Learned { bridges: names.to_vec(), mac: mac.clone() }).await {
        Ok(Answer::Lines { lines }) => {
            for (fact, name) in ["learned", "learned.other"].into_iter().zip(&names) {
                let words = format!("{mac} behind {name}");
                let there = lines.contains(name);
                let outcome = if there { Outcome::allowed(words) } else { Outcome::refused("not there", words) };
                case.saw("host", fact, outcome);
            }
        }
        Ok(other) => case.problem("host", format!("the helper answered {other:?}")),
        Err(e) => case.problem("host", e.to_string()),
    }
    let port = text(&seen, &format!("/NetworkSettings/Ports/{}~1tcp/0/HostPort", PORTS[0]));
    case.engine("published.port", Outcome::value(if port.is_empty() { "none" } else { "given" }));
    for (fact, port) in [("published", port.parse().unwrap_or(0)), ("published.closed", 1)] {
        let outcome = match cx.helper.ask(LabAsk::Knock { port }).await {
            Ok(Answer::Lines { lines }) => Outcome::allowed(format!("port {port} of the host: {}", lines.join(" "))),
            Ok(other) => Outcome::broken(format!("the helper answered {other:?}")),
            Err(e) => Outcome::refused("no answer", e.to_string()),
        };
        case.saw("host", fact, outcome);
    }
}

/// A network the agent is given while it runs, and that is taken from it again.
async fn later(cx: &Cx, agent: &mut Agent, late: Ipv4Addr) {
    let runtime = agent.runtime.clone();
    let case = Case::new(cx, &runtime, "bridge");
    let (network, id) = (&cx.common.guarded[0], agent.id().to_owned());
    let params = cx.params(None);
    let look = |label: &str, wait_ms: u64| {
        vec![ask("bridge.address", label, &params, json!({"address": late.to_string(), "wait_ms": wait_ms}))]
    };
    agent.run(false, look("late.before", 0)).await;
    let connected = cx.docker.join(network, &id, late).await;
    let is = connected.is_ok();
    case.engine("late.connect", done(connected, "connected"));
    if is {
        agent.run(false, look("late", 1500)).await;
        case.engine("late.disconnect", done(cx.docker.part(network, &id).await, "disconnected"));
        agent.run(false, look("late.after", 0)).await;
    }
}
