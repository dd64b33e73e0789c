//! An agent that is started anew, by the engine, after its init container has gone: whose rules govern it then?

use awf_probe_matrix::Outcome;

use super::{
    Agent, BatchEnd, Cx, drain,
    netns::{all, both, place, rules},
};
use crate::specs::{Net, Spec};

/// Runs an agent before and after a restart. The init containers are under the engine's default runtime.
pub async fn run(cx: &Cx, runtime: &str) {
    let scenario = "restart";
    let Some((lab, address)) = place(cx, runtime, scenario).await else { return };
    let permit = cx.lab_jobs.acquire().await.ok();
    let spec = Spec { net: Net::Lab(address), ..Spec::awf(scenario) };
    let Some(mut agent) = Agent::start(cx, runtime, scenario, "agent", spec, None).await else { return };
    if let Err(why) = lab.listening().await {
        cx.problem(runtime, scenario, "lab", why);
        return agent.stop().await;
    }
    let params = cx.params(Some(address));
    if agent.run(true, all(cx, &params, "before")).await == BatchEnd::Finished {
        init(cx, &agent, "rules").await;
        if agent.run(true, both(cx, &params, "ruled").into()).await == BatchEnd::Finished {
            let again = restarted(cx, &mut agent).await;
            agent.observe("engine", "restart", again.clone());
            if matches!(again, Outcome::Allowed { .. }) {
                agent.exec(&all(cx, &params, "after")).await;
                init(cx, &agent, "renewal").await;
                agent.exec(&both(cx, &params, "renewed")).await;
            }
            drain(cx, &lab, runtime, scenario).await;
        }
    }
    agent.kill().await;
    drop(permit);
}

/// Starts the agent anew. Nothing is tried in it before the host has seen again that its network is its own.
async fn restarted(cx: &Cx, agent: &mut Agent) -> Outcome {
    if let Err(no) = cx.docker.restart(agent.id(), 0).await {
        return no.outcome();
    }
    let (runtime, comm) = (agent.runtime.clone(), agent.comm.clone());
    let seen = agent.seen_from_outside("agent", &runtime, &comm).await;
    seen.map_or_else(|why| Outcome::refused("not as before", why), |()| Outcome::allowed("started anew"))
}

/// An init container that comes, installs the rules, and goes.
async fn init(cx: &Cx, agent: &Agent, label: &str) {
    let (runtime, scenario, default) = (&agent.runtime, &agent.scenario, &cx.default_runtime);
    let spec = Spec::init("init", agent.id());
    let Some(mut init) = Agent::start(cx, runtime, scenario, "init", spec, Some(default)).await else { return };
    init.run(false, rules(cx, label).into()).await;
    init.stop().await;
}
