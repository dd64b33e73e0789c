//! An enforcement model whose agent has IPv6 as well, while the model's rules are about IPv4.
//!
//! The witness is a router of IPv6 on the lab's bridge, and a holder puts an address and a default route into the
//! namespace that the agent then joins, which is what a user's dual-stack network looks like from within. The host
//! forwards nothing and none of its sysctls is changed; so a model that enforces on the host is not tried, as no IPv6
//! comes that way.

use std::{
    net::{Ipv4Addr, Ipv6Addr},
    time::{Duration, Instant},
};

use awf_probe_matrix::{Model, ModelNetwork, Outcome};
use awf_probe_probes::{over_ipv6, pace, wire::Ask};
use serde_json::json;

use super::{
    Agent, BatchEnd, Cx,
    egress::{Way, agent_spec, begun, footing, init_runtime, stage},
    remove,
};
use crate::{
    engine::docker::sandbox::Start,
    event::Event,
    lab::{
        IPV6_ON, LAB, Lab, bridge, cidr6,
        role::Role,
        roles::wire::{Answer, Ask as LabAsk},
    },
    specs::{Net, Spec},
};

/// What is done about IPv6, beyond the model's rules of IPv4.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Treatment {
    /// Nothing.
    RulesV4,
    /// ip6tables drops whatever leaves by another link than the loopback.
    Ip6tables,
    /// The line of AWF's script, in AWF's init container: disable_ipv6 by sysctl, and on if that fails.
    AsAwf,
    /// The same from a container that may write sysctls, which AWF's may not.
    Sysctl,
}

/// All of them, in the order in which they are tried on one agent.
pub const TREATMENTS: [Treatment; 4] = [Treatment::RulesV4, Treatment::Ip6tables, Treatment::AsAwf, Treatment::Sysctl];

impl Treatment {
    /// Name, as `attempt` in `capabilities/ipv6.toml` begins.
    pub fn name(self) -> &'static str {
        match self {
            Self::RulesV4 => "rules-v4",
            Self::Ip6tables => "ip6tables",
            Self::AsAwf => "as-awf",
            Self::Sysctl => "sysctl",
        }
    }

    /// The guest's word of what was done, if anything was.
    pub fn done(self) -> Option<&'static str> {
        match self {
            Self::RulesV4 => None,
            Self::Ip6tables => Some("ip6tables.rules"),
            Self::AsAwf => Some("as-awf.off"),
            Self::Sysctl => Some("sysctl.off"),
        }
    }

    /// Its attempts have destinations of their own: nothing late from another one's is taken for theirs.
    fn phase(self) -> u16 {
        match self {
            Self::RulesV4 => 2,
            Self::Ip6tables => 3,
            Self::AsAwf => 5,
            Self::Sysctl => 6,
        }
    }
}

/// The ways out, those of one cell together.
pub const GROUPS: [(&str, &[&str]); 6] = [
    (
        "tcp",
        &[
            "tcp.80",
            "tcp.443",
            "tcp.high",
            "tcp.dangerous",
            "tcp.sweep",
            "tcp.source-port",
            "tcp.fast-open",
            "tcp.mptcp",
            "tcp.options",
            "tcp.sni-denied",
        ],
    ),
    (
        "udp",
        &[
            "udp.high",
            "udp.quic",
            "udp.connected",
            "udp.sendmmsg",
            "udp.source-port",
            "udp.fragments",
            "udp.options",
            "udp.empty",
        ],
    ),
    ("dns", &["dns.udp", "dns.tcp", "dns.dot", "dns.odd-port"]),
    (
        "other",
        &[
            "icmp.ping",
            "icmp.raw",
            "icmp.advertisement",
            "udp.lite",
            "proto.sctp",
            "proto.dccp",
            "raw.gre",
            "raw.unassigned",
            "raw.tcp",
            "raw.udp",
            "raw.fragments",
            "raw.spoofed",
            FRAME,
        ],
    ),
    ("link", &["ipv6.link-local"]),
    ("host", &[HOST]),
];

/// A hand-made frame to the router.
const FRAME: &str = "packet.gateway";
/// A listener on the host, at the bridge's link-local address.
const HOST: &str = "link.gateway";

/// What needs NET_RAW over IPv6 although it does not over IPv4: an option of an IPv6 header.
pub const OPTIONS: [&str; 2] = ["tcp.options", "udp.options"];
/// An attempt that must arrive, before the rules and once more when those of ip6tables are gone.
pub const OPEN: &str = "udp.high";
/// Label of it before the rules, and its phase.
const BEFORE: (&str, u16) = ("before", 1);
/// The same when the rules of ip6tables are gone.
pub const REOPENED: (&str, u16) = ("reopened", 4);
/// ip6tables has one rule here; AWF's own are about DNS and the loopback alone.
const DROP: &str = "OUTPUT ! -o lo -j DROP";

/// Stage of a problem: the lab has no IPv6.
pub const NO_IPV6: &str = "ipv6";
/// Name of the host's fact: `net.ipv6.conf.all.forwarding`.
pub const FORWARDS: &str = "ipv6.forwarding";

/// Name of the scenario.
pub fn name(model: &str, backend: Option<&str>, raw: bool) -> String {
    format!("ipv6[{}]{}", stage(model, backend), if raw { "+raw" } else { "" })
}

/// Whether IPv6 of the model's network comes by what enforces: not where that stands on the host's way between networks.
pub fn has_way(model: &Model) -> bool {
    model.network == ModelNetwork::Lab
}

/// Runs a model. With `raw`, the agent is given NET_RAW and makes only what needs it.
pub async fn run(cx: &Cx, runtime: &str, model: &Model, backend: Option<&str>, raw: bool) {
    let scenario = name(&model.id, backend, raw);
    let problem = |stage: &str, why: &str| cx.problem(runtime, &scenario, stage, why);
    let lab = match cx.lab.wait().await {
        Ok(lab) => lab,
        Err(why) => return problem("lab", &why),
    };
    cx.observed(runtime, &scenario, "host", FORWARDS, Outcome::value(&lab.forwards6));
    if !has_way(model) {
        return;
    }
    if let Err(why) = &lab.ipv6 {
        return problem(NO_IPV6, why);
    }
    let Some((lab, permit, address)) = footing(cx, runtime, &scenario, model).await else { return };
    let from = cx.layout.agent6(address);
    let holder = match hold(cx, &lab, address, from).await {
        Ok(holder) => holder,
        Err(why) => return problem("holder", &why),
    };
    let mut spec = agent_spec(cx, model, address);
    (spec.net, spec.address) = (Net::Join(holder.id.clone()), Some(from.into()));
    if raw {
        spec.cap_drop.retain(|c| *c != "NET_RAW");
    }
    if let Some(mut agent) = Agent::start(cx, runtime, &scenario, "agent", spec, None).await {
        let way = Way::new(cx, &lab, model, address);
        let door = link_door(cx, &lab).await;
        let tries = Tries { cx, way, from, door, holder: &holder.id, runtime, scenario: &scenario };
        match lab.listening6().await {
            Err(why) => problem("lab", &why),
            Ok(()) => {
                let alive = match (raw, backend) {
                    (true, _) => agent.run(true, tries.open(true)).await == BatchEnd::Finished,
                    (false, None) => agent.run(true, tries.open(false)).await == BatchEnd::Finished,
                    (false, Some(backend)) => tries.treated(&mut agent, &lab, model, backend, address).await,
                };
                if alive {
                    drain(cx, &lab, runtime, &scenario).await;
                }
            }
        }
        agent.stop().await;
    }
    holder.close().await;
    remove(cx, runtime, &scenario, &holder.id).await;
    drop(permit);
}

/// A container that owns the namespace, and has IPv6 in it.
async fn hold(cx: &Cx, lab: &Lab, address: Ipv4Addr, from: Ipv6Addr) -> Result<Role, String> {
    let mut spec = Spec { net: Net::Lab(address), cap_add: vec!["NET_ADMIN"], ..Spec::plain("holder") };
    spec.extra.sysctls = IPV6_ON.to_vec();
    let how = Start {
        runtime: &lab.reference,
        args: &["role", "holder"],
        role: "holder",
        host_pid: false,
        also: vec![],
        aliases: vec![],
    };
    let holder = Role::start(&cx.docker, &cx.common, &spec, how, &cx.sink).await.map_err(|e| e.to_string())?;
    // One of the plan and one that no plan has.
    let to = vec![cx.layout.witness6(2, 0).into(), Ipv6Addr::new(0x2001, 0xdb8, 0xffff, 0, 0, 0, 0, 1).into()];
    let settle = LabAsk::Ipv6 {
        link: "eth0".to_owned(),
        address: from.into(),
        lab: cidr6(cx.layout.lab6()),
        router: cx.layout.router6().into(),
        to,
    };
    match holder.ask(settle).await {
        Ok(_) => Ok(holder),
        Err(e) => {
            holder.close().await;
            drop(cx.docker.remove(&holder.id).await);
            Err(format!("the route to the witness is not in place, so no packet is sent: {e}"))
        }
    }
}

/// The host's listener on the lab's bridge, as soon as the bridge's own address can be used; without it what is to reach
/// it is skipped.
async fn link_door(cx: &Cx, lab: &Lab) -> Option<(Ipv6Addr, u16)> {
    let until = Instant::now() + pace::scaled(Duration::from_secs(3));
    loop {
        let asked = lab.helper.ask(LabAsk::LinkDoor { bridge: bridge(&cx.common.run, LAB) }).await;
        match asked {
            Ok(Answer::LinkDoor { address: Some(address), port }) => return Some((address, port)),
            Ok(Answer::LinkDoor { address: None, .. }) if Instant::now() < until => {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            Ok(_) | Err(_) => return None,
        }
    }
}

/// What the phases of a scenario have in common.
struct Tries<'a> {
    cx: &'a Cx,
    way: Way<'a>,
    from: Ipv6Addr,
    /// The host's listener.
    door: Option<(Ipv6Addr, u16)>,
    holder: &'a str,
    runtime: &'a str,
    scenario: &'a str,
}

impl Tries<'_> {
    /// Where nothing enforces: every way, or those that need NET_RAW.
    fn open(&self, raw: bool) -> Vec<Ask> {
        let needs = |id: &str| OPTIONS.contains(&id) || over_ipv6().any(|a| a.id == id && a.raw);
        let ids = ways().filter(|id| !raw || needs(id));
        ids.filter_map(|id| self.twin(id, id.to_owned(), 0)).collect()
    }

    fn one(&self, (label, phase): (&str, u16)) -> Vec<Ask> {
        self.twin(OPEN, format!("{label}.{OPEN}"), phase).into_iter().collect()
    }

    fn twin(&self, id: &str, label: String, phase: u16) -> Option<Ask> {
        let (address, port) = self.door.unwrap_or((Ipv6Addr::UNSPECIFIED, 0));
        let more = match id {
            HOST => json!({"gateway": address.to_string(), "host_port": port}),
            FRAME => json!({"gateway": self.cx.layout.router6().to_string()}),
            _ => json!({}),
        };
        self.way.twin(id, label, phase, self.from, more)
    }

    /// The model's rules, and one treatment after the other. Says whether the agent came to the end.
    async fn treated(&self, agent: &mut Agent, lab: &Lab, model: &Model, backend: &str, address: Ipv4Addr) -> bool {
        let mut hand = match init_runtime(self.cx, model, self.runtime) {
            None => None,
            Some(init) => {
                let spec = Spec::init("init", self.holder);
                let started = Agent::start(self.cx, self.runtime, self.scenario, "init", spec, Some(init)).await;
                agent.observe("engine", "init", begun(started.is_some(), init));
                // A model without its init container has no rules: what then gets out is told all the same.
                started
            }
        };
        let own = model.in_agent;
        let mut alive = agent.run(true, self.one(BEFORE)).await == BatchEnd::Finished;
        alive &= act(own, &mut hand, agent, self.way.install(backend, address, "rules", false)).await;
        for treatment in TREATMENTS {
            if !alive {
                break;
            }
            match treatment {
                Treatment::RulesV4 => {}
                Treatment::Ip6tables => {
                    let rule = format!("-A {DROP}");
                    let ask = self.way.install6(backend, "ip6tables.rules", &[&rule]);
                    alive = act(own, &mut hand, agent, ask).await;
                }
                Treatment::AsAwf => {
                    let gone = format!("-D {DROP}");
                    let ask = self.way.install6(backend, "reopened.rules", &[&gone]);
                    alive = act(own, &mut hand, agent, ask).await
                        && agent.run(true, self.one(REOPENED)).await == BatchEnd::Finished
                        && act(own, &mut hand, agent, self.way.off("as-awf.off")).await;
                }
                Treatment::Sysctl => self.switch_off(&lab.reference).await,
            }
            let label = treatment.name();
            let asks = ways().filter_map(|id| self.twin(id, format!("{label}.{id}"), treatment.phase()));
            alive = alive && agent.run(true, asks.collect()).await == BatchEnd::Finished;
        }
        if let Some(init) = hand {
            init.stop().await;
        }
        alive
    }

    /// From a container of the reference runtime that joins the namespace and may write its sysctls.
    async fn switch_off(&self, reference: &str) {
        let spec = Spec { unmasked: true, ..Spec::init("off", self.holder) };
        let started = Agent::start(self.cx, self.runtime, self.scenario, "off", spec, Some(reference)).await;
        let Some(mut off) = started else { return };
        off.run(false, vec![self.way.off("sysctl.off")]).await;
        off.stop().await;
    }
}

/// Every way out of every group.
pub fn ways() -> impl Iterator<Item = &'static str> {
    GROUPS.iter().flat_map(|(_, ids)| ids.iter().copied())
}

/// Has whoever installs the model's rules do this; says whether the agent still lives.
async fn act(own: bool, hand: &mut Option<Agent>, agent: &mut Agent, ask: Ask) -> bool {
    match hand {
        Some(init) => {
            init.run(false, vec![ask]).await;
            true
        }
        None if own => agent.run(false, vec![ask]).await == BatchEnd::Finished,
        None => true,
    }
}

/// The lab's own link and the one of the witness as a router: both are drained.
async fn drain(cx: &Cx, lab: &Lab, runtime: &str, scenario: &str) {
    match lab.listening6().await {
        Ok(()) => super::drain(cx, lab, runtime, scenario).await,
        Err(why) => {
            let (runtime, scenario) = (runtime.to_owned(), scenario.to_owned());
            cx.sink.emit(Event::Drained { runtime, scenario, ok: false, why });
        }
    }
}
