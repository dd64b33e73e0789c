//! A folder that an agent and a neighbour have at once, as AWF's agent and its sidecars do.

use serde_json::json;

use super::{Agent, Cx, ask};
use crate::{
    extra::Extra,
    specs::{SHARED, Spec},
};

/// Runs both sides at once: the agent under the runtime, the neighbour under the engine's default one.
pub async fn run(cx: &Cx, runtime: &str) {
    let permit = cx.jobs.acquire().await.ok();
    let spec = || Spec { extra: Extra { volume: vec![(SHARED, false)], ..Extra::default() }, ..Spec::plain("shared") };
    let scenario = "shared";
    let neighbour = Some(cx.default_runtime.as_str());
    if let Some(mut agent) = Agent::start(cx, runtime, scenario, "agent", spec(), None).await {
        if let Some(mut peer) = Agent::start(cx, runtime, scenario, "peer", spec(), neighbour).await {
            let params = cx.params(None);
            let dir = json!({"dir": format!("{SHARED}/shared-{}", super::seed())});
            let one = |probe: &str, label: &str| vec![ask(probe, label, &params, dir.clone())];
            let (a, p) = (one("shared.agent", "agent"), one("shared.peer", "peer"));
            tokio::join!(agent.run(false, a), peer.run(false, p));
            peer.stop().await;
        }
        agent.stop().await;
    }
    drop(permit);
}
