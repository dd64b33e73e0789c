//! Two containers in one network namespace: the agent first, then an init container under another runtime.

use std::{net::Ipv4Addr, sync::Arc};

use awf_probe_matrix::Outcome;
use awf_probe_probes::wire::Ask;
use serde_json::{Map, Value, json};

use super::{Agent, BatchEnd, Cx, ask, drain};
use crate::{
    lab::Lab,
    specs::{Net, Spec},
};

/// Where one side listens for the other.
pub(super) const LOOPBACK_PORT: u16 = 14_555;

/// A connection to one of the witness's addresses: [`FREE`], or one that a rule of [`rules`] names.
pub(super) fn dial(cx: &Cx, params: &Map<String, Value>, label: &str, dst: u8) -> Ask {
    let more = json!({"attempt": "tcp.80", "dst": cx.layout.witness(dst).to_string(), "wait_ms": 1300});
    ask("egress.attempt", label, params, more)
}

/// A connection to each address that a rule of [`rules`] names.
pub(super) fn both(cx: &Cx, params: &Map<String, Value>, when: &str) -> [Ask; 2] {
    [("legacy", LEGACY), ("nft", NFT)].map(|(backend, dst)| dial(cx, params, &format!("{backend}.{when}"), dst))
}

/// The same, and one to the address no rule names.
pub(super) fn all(cx: &Cx, params: &Map<String, Value>, when: &str) -> Vec<Ask> {
    let [legacy, nft] = both(cx, params, when);
    vec![dial(cx, params, when, FREE), legacy, nft]
}

/// The address no rule names.
pub(super) const FREE: u8 = 98;
/// The address the legacy rule names.
pub(super) const LEGACY: u8 = 96;
/// The address the nft rule names.
pub(super) const NFT: u8 = 97;

/// One DNAT to the proxy with each backend, each for a destination of its own.
pub(super) fn rules(cx: &Cx, label: &str) -> [Ask; 2] {
    let params = cx.params(None);
    [("legacy", LEGACY), ("nft", NFT)].map(|(backend, dst)| {
        let (dst, proxy) = (cx.layout.witness(dst), cx.proxy_target());
        let rule = format!("-t nat -A OUTPUT -d {dst} -p tcp --dport 80 -j DNAT --to-destination {proxy}");
        ask("rules.install", &format!("{label}.{backend}"), &params, json!({"rules": [rule], "backend": backend}))
    })
}

/// The lab, an address in it, and the two as a problem where there are none.
pub(super) async fn place(cx: &Cx, runtime: &str, scenario: &str) -> Option<(Arc<Lab>, Ipv4Addr)> {
    let found = match cx.lab.wait().await {
        Ok(lab) => cx.lab_address().map(|address| (lab, address)),
        Err(why) => Err(why),
    };
    found.map_err(|why| cx.problem(runtime, scenario, "lab", why)).ok()
}

/// Runs a pair.
pub async fn run(cx: &Cx, runtime: &str, init: &str) {
    let scenario = format!("netns[{init}]");
    let Some((lab, address)) = place(cx, runtime, &scenario).await else { return };
    let permit = cx.lab_jobs.acquire().await.ok();
    let spec = Spec { net: Net::Lab(address), ..Spec::awf("netns") };
    let Some(mut agent) = Agent::start(cx, runtime, &scenario, "agent", spec, None).await else { return };
    let params = cx.params(Some(address));
    let before = all(cx, &params, "before");
    if let Err(why) = lab.listening().await {
        cx.problem(runtime, &scenario, "lab", why);
        return agent.stop().await;
    }
    let mut alive = agent.run(true, before).await == BatchEnd::Finished;
    let token = crate::random_hex(8);
    let init_spec = Spec::init("init", agent.id());
    let joined = if alive { Agent::start(cx, runtime, &scenario, "init", init_spec, Some(init)).await } else { None };
    if alive {
        agent.observe(
            "engine",
            "init",
            match &joined {
                Some(_) => Outcome::allowed(format!("a container under {init} joined")),
                None => Outcome::refused("does not start", format!("under {init}; see the problem in the journal")),
            },
        );
    }
    let mut joined = joined;
    let local = |probe: &str, label: &str, port: u16| ask(probe, label, &params, json!({"port": port, "token": token}));
    if let Some(init) = &mut joined {
        let [legacy, nft] = rules(cx, "rules");
        let asks = vec![
            ask("netns.addresses", "addresses", &params, json!({"proxy": cx.layout.proxy().to_string()})),
            legacy,
            nft,
            local("netns.listen", "listen", LOOPBACK_PORT),
            local("netns.dial", "loopback.own", LOOPBACK_PORT),
            local("netns.abstract-listen", "abstract.listen", LOOPBACK_PORT),
            local("netns.abstract-dial", "abstract.own", LOOPBACK_PORT),
        ];
        init.run(false, asks).await;
    }
    if alive {
        let mut after = all(cx, &params, "after");
        after.extend([
            local("netns.dial", "loopback", LOOPBACK_PORT),
            local("netns.dial", "loopback.closed", LOOPBACK_PORT + 1),
            local("netns.abstract-dial", "abstract", LOOPBACK_PORT),
            local("netns.abstract-dial", "abstract.absent", LOOPBACK_PORT + 1),
        ]);
        alive = agent.run(true, after).await == BatchEnd::Finished;
    }
    if let Some(init) = joined {
        init.stop().await;
        // As AWF has it: its init container has exited before the agent runs anything.
        if alive {
            alive = agent.run(true, all(cx, &params, "outlive")).await == BatchEnd::Finished;
        }
    }
    if alive {
        drain(cx, &lab, runtime, &scenario).await;
    }
    agent.stop().await;
    drop(permit);
}
