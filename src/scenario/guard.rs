//! An enforcement model whose guard fails, part by part: does it fail closed?
//!
//! Resolver and proxy are the lab's own, which every scenario needs: they fail when nothing else of the run is under way,
//! for all agents of a runtime at once.

use std::sync::Arc;

use awf_probe_matrix::{Model, Outcome};
use awf_probe_probes::wire::Ask;
use serde_json::json;

use super::{
    Agent, BatchEnd, Cx,
    egress::{Way, agent_spec, by_init, footing, init_runtime, stage},
};
use crate::{
    event::Event,
    lab::{Lab, roles::wire::Ask as LabAsk},
    progress::note,
};

/// A part of the guard that fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// The script that installs the rules ends in its middle.
    InitHalfway,
    /// The approved resolver takes queries and answers none.
    ResolverSilent,
    /// The proxy's processes are frozen: it accepts connections, and nothing more.
    ProxyHung,
    /// The proxy's process is killed: nobody listens at its port.
    ProxyKilled,
}

/// All of them, in the order in which they are tried.
pub const FAILURES: [Failure; 4] =
    [Failure::InitHalfway, Failure::ResolverSilent, Failure::ProxyHung, Failure::ProxyKilled];

impl Failure {
    /// Name, as `attempt` in `capabilities/guard.toml` has it.
    pub fn name(self) -> &'static str {
        match self {
            Self::InitHalfway => "init-halfway",
            Self::ResolverSilent => "resolver-silent",
            Self::ProxyHung => "proxy-hung",
            Self::ProxyKilled => "proxy-killed",
        }
    }

    /// What must have worked before and must not work now: that the guard did fail.
    pub fn proof(self) -> Option<&'static str> {
        match self {
            Self::InitHalfway => None,
            Self::ResolverSilent => Some("dns.approved"),
            Self::ProxyHung | Self::ProxyKilled => Some("proxy.allowed-http"),
        }
    }
}

/// The ways out that are tried each time.
pub const WAYS: [&str; 7] = ["tcp.80", "tcp.443", "tcp.high", "udp.high", "dns.udp", "dns.tcp", "env.unset"];

/// Name of the scenario.
pub fn name(model: &str, backend: Option<&str>) -> String {
    format!("guard[{}]", stage(model, backend))
}

/// Label of what is tried before anything of the lab fails.
pub const BEFORE: &str = "before";

/// An agent whose rules stand, waiting for its guard to fail.
#[derive(Debug)]
pub struct Waiting {
    runtime: String,
    scenario: String,
    model: Model,
    agent: Agent,
    address: std::net::Ipv4Addr,
}

/// Starts the agent of a model, lets its init container fail, tries the ways out, and has the rules installed as they
/// should have been.
pub async fn prepare(cx: &Cx, runtime: &str, model: &Model, backend: Option<&str>) -> Option<Waiting> {
    let scenario = name(&model.id, backend);
    let (lab, permit, address) = footing(cx, runtime, &scenario, model).await?;
    let spec = agent_spec(cx, model, address);
    let mut agent = Agent::start(cx, runtime, &scenario, "agent", spec, None).await?;
    let way = Way::new(cx, &lab, model, address);
    let mut alive = true;
    if let Some(backend) = backend {
        for (label, failing) in [("half.rules", true), ("rules", false)] {
            let install = way.install(backend, address, label, failing);
            match init_runtime(cx, model, runtime) {
                Some(init) => by_init(cx, runtime, &scenario, &agent, init, install).await,
                None => alive = alive && agent.run(false, vec![install]).await == BatchEnd::Finished,
            }
            if failing && alive {
                alive = agent.run(true, ways(&way, Failure::InitHalfway)).await == BatchEnd::Finished;
            }
        }
    }
    let before = ["dns.approved", "proxy.allowed-http"];
    let asks = before.iter().filter_map(|id| way.again(id, format!("{BEFORE}.{id}"), json!({})));
    if !alive || agent.run(true, asks.collect()).await == BatchEnd::Over {
        agent.stop().await;
        return None;
    }
    drop(permit);
    Some(Waiting { runtime: runtime.to_owned(), scenario, model: model.clone(), agent, address })
}

/// The asks of one failure.
fn ways(way: &Way<'_>, failure: Failure) -> Vec<Ask> {
    let short = json!({"client_ms": 1500});
    let ids = WAYS.iter().chain(failure.proof().as_ref()).copied().collect::<Vec<_>>();
    ids.into_iter().filter_map(|id| way.again(id, format!("{}.{id}", failure.name()), short.clone())).collect()
}

/// Lets resolver and proxy fail, one after the other, and all waiting agents try each time.
pub async fn fail(cx: &Cx, mut waiting: Vec<Waiting>) {
    if waiting.is_empty() {
        return;
    }
    let done = match cx.lab.wait().await {
        Ok(lab) => one_by_one(cx, &lab, &mut waiting).await,
        Err(why) => Err(why),
    };
    for w in &waiting {
        let (ok, why) = match &done {
            Ok(text) => (true, text.clone()),
            Err(why) => (false, why.clone()),
        };
        cx.sink.emit(Event::Drained { runtime: w.runtime.clone(), scenario: w.scenario.clone(), ok, why });
    }
    futures_util::future::join_all(waiting.into_iter().map(|w| w.agent.stop())).await;
}

async fn one_by_one(cx: &Cx, lab: &Arc<Lab>, waiting: &mut [Waiting]) -> Result<String, String> {
    let proxy = lab.proxy.as_ref().ok_or("there is no proxy")?;
    let words = |e: crate::error::Error| e.to_string();
    lab.listening().await?;
    lab.witness.ask(LabAsk::Mute { silent: true }).await.map_err(words)?;
    all(cx, lab, waiting, Failure::ResolverSilent).await;
    lab.witness.ask(LabAsk::Mute { silent: false }).await.map_err(words)?;
    // Its ledger is read before it is frozen, and again when it goes on: a frozen capture keeps what arrived.
    lab.drain().await?;
    cx.docker.pause(&proxy.id).await.map_err(|no| no.why)?;
    all(cx, lab, waiting, Failure::ProxyHung).await;
    cx.docker.unpause(&proxy.id).await.map_err(|no| no.why)?;
    lab.drain().await?;
    proxy.ask(LabAsk::StopProxy).await.map_err(words)?;
    all(cx, lab, waiting, Failure::ProxyKilled).await;
    let drained = lab.drain().await?;
    // For the next runtime. One that does not serve again shows there: nothing works before it fails.
    if let Some(serving) = lab.serving.clone()
        && let Err(e) = proxy.ask(serving).await
    {
        note(&format!("the proxy does not start again: {e}"));
    }
    Ok(drained)
}

async fn all(cx: &Cx, lab: &Arc<Lab>, waiting: &mut [Waiting], failure: Failure) {
    let tried = waiting.iter_mut().map(|w| async move {
        let way = Way::new(cx, lab, &w.model, w.address);
        w.agent.observe("engine", failure.name(), Outcome::value("failed"));
        // One that dies of it says so in the journal; its later attempts are missing there.
        w.agent.run(true, ways(&way, failure)).await;
    });
    futures_util::future::join_all(tried).await;
}
