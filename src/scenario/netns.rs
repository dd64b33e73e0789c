//! Two containers in one network namespace: the agent first, then an init container under another runtime.

use awf_probe_matrix::Outcome;
use serde_json::{Value, json};

use super::{Agent, BatchEnd, Cx, ask, drain};
use crate::{
    event::Event,
    specs::{Net, Spec},
};

const LOOPBACK_PORT: u16 = 14_555;

/// Runs a pair.
pub async fn run(cx: &Cx, runtime: &str, init: &str) {
    let scenario = format!("netns[{init}]");
    let lab = match cx.lab.wait().await {
        Ok(lab) => lab,
        Err(why) => {
            let runtime = runtime.to_owned();
            return cx.sink.emit(Event::Problem { runtime, scenario, stage: "lab".to_owned(), why });
        }
    };
    let permit = cx.jobs.acquire().await.ok();
    let address = match cx.lab_address() {
        Ok(address) => address,
        Err(why) => return cx.problem(runtime, &scenario, "lab", why),
    };
    let spec = Spec { net: Net::Lab(address), ..Spec::awf("netns") };
    let Some(mut agent) = Agent::start(cx, runtime, &scenario, "agent", spec, None).await else { return };
    let params = cx.params(Some(address));
    let dial = |label: &str, dst: u8| {
        let more = json!({"attempt": "tcp.80", "dst": cx.layout.witness(dst).to_string(), "wait_ms": 1300});
        ask("egress.attempt", label, &params, more)
    };
    let before = vec![dial("before", 98), dial("legacy.before", 96), dial("nft.before", 97)];
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
        let rule = |dst: u8| {
            let (dst, proxy) = (cx.layout.witness(dst), cx.proxy_target());
            json!({"rules": [format!("-t nat -A OUTPUT -d {dst} -p tcp --dport 80 -j DNAT --to-destination {proxy}")]})
        };
        let with = |backend: &str, dst: u8| {
            let mut more = rule(dst);
            more["backend"] = Value::from(backend);
            ask("rules.install", &format!("rules.{backend}"), &params, more)
        };
        let asks = vec![
            ask("netns.addresses", "addresses", &params, json!({"proxy": cx.layout.proxy().to_string()})),
            with("legacy", 96),
            with("nft", 97),
            local("netns.listen", "listen", LOOPBACK_PORT),
            local("netns.dial", "loopback.own", LOOPBACK_PORT),
            local("netns.abstract-listen", "abstract.listen", LOOPBACK_PORT),
            local("netns.abstract-dial", "abstract.own", LOOPBACK_PORT),
        ];
        init.run(false, asks).await;
    }
    if alive {
        let after = vec![
            dial("after", 98),
            dial("legacy.after", 96),
            dial("nft.after", 97),
            local("netns.dial", "loopback", LOOPBACK_PORT),
            local("netns.dial", "loopback.closed", LOOPBACK_PORT + 1),
            local("netns.abstract-dial", "abstract", LOOPBACK_PORT),
            local("netns.abstract-dial", "abstract.absent", LOOPBACK_PORT + 1),
        ];
        alive = agent.run(true, after).await == BatchEnd::Finished;
    }
    if let Some(init) = joined {
        init.stop().await;
        // As AWF has it: its init container has exited before the agent runs anything.
        if alive {
            let later = vec![dial("outlive", 98), dial("legacy.outlive", 96), dial("nft.outlive", 97)];
            alive = agent.run(true, later).await == BatchEnd::Finished;
        }
    }
    if alive {
        drain(cx, &lab, runtime, &scenario).await;
    }
    agent.stop().await;
    drop(permit);
}
