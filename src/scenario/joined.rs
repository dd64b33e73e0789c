//! The other order: a container is there, with its rules, and the agent joins its network namespace.

use awf_probe_matrix::Outcome;
use serde_json::json;

use super::{
    Agent, BatchEnd, Cx, ask, drain,
    netns::{FREE, LOOPBACK_PORT, both, dial, place, rules},
};
use crate::specs::{Net, Spec, Toolbox};

/// Runs both: the owner of the namespace under the engine's default runtime, the agent under the one that is measured.
pub async fn run(cx: &Cx, runtime: &str) {
    let scenario = "joined";
    let Some((lab, address)) = place(cx, runtime, scenario).await else { return };
    let permit = cx.lab_jobs.acquire().await.ok();
    let spec = Spec {
        net: Net::Lab(address),
        cap_add: vec!["NET_ADMIN", "NET_RAW"],
        toolbox: Toolbox::Root,
        ..Spec::plain(scenario)
    };
    let owner = Agent::start(cx, runtime, scenario, "owner", spec, Some(&cx.default_runtime)).await;
    let Some(mut owner) = owner else { return };
    if let Err(why) = lab.listening().await {
        cx.problem(runtime, scenario, "lab", why);
        return owner.stop().await;
    }
    let params = cx.params(Some(address));
    let dial = |label: &str, dst: u8| dial(cx, &params, label, dst);
    let both = |when: &str| both(cx, &params, when);
    let token = crate::random_hex(8);
    let local = |probe: &str, label: &str, port: u16| ask(probe, label, &params, json!({"port": port, "token": token}));

    let mut before = vec![dial("owner.before", FREE)];
    before.extend(both("before"));
    let mut alive = owner.run(true, before).await == BatchEnd::Finished;
    if alive {
        let mut asks: Vec<_> = rules(cx, "rules").into();
        asks.extend(both("owner"));
        asks.push(local("netns.listen", "listen", LOOPBACK_PORT));
        asks.push(local("netns.dial", "loopback.own", LOOPBACK_PORT));
        alive = owner.run(false, asks).await == BatchEnd::Finished;
    }
    if alive {
        let spec = Spec { net: Net::Join(owner.id().to_owned()), ..Spec::awf(scenario) };
        let joined = Agent::start(cx, runtime, scenario, "agent", spec, None).await;
        owner.observe(
            "engine",
            "agent",
            match &joined {
                Some(_) => Outcome::allowed("the agent joined"),
                None => Outcome::refused("does not start", "see the problem in the journal"),
            },
        );
        if let Some(mut agent) = joined {
            // What it sends has the owner's address.
            agent.address = owner.address;
            let mut asks = vec![
                dial("after", FREE),
                local("netns.dial", "loopback", LOOPBACK_PORT),
                local("netns.dial", "loopback.closed", LOOPBACK_PORT + 1),
            ];
            asks.extend(both("agent"));
            agent.run(true, asks).await;
            alive = owner.run(true, vec![dial("owner.during", FREE)]).await == BatchEnd::Finished;
            agent.stop().await;
            if alive {
                alive = owner.run(true, vec![dial("owner.later", FREE)]).await == BatchEnd::Finished;
            }
        }
    }
    if alive {
        drain(cx, &lab, runtime, scenario).await;
    }
    owner.stop().await;
    drop(permit);
}
