//! Mounts that are made after the agent started: which of them cross its bind mounts, in either direction.

use awf_probe_matrix::Outcome;
use awf_probe_probes::MOUNTED;
use serde_json::json;

use super::{Agent, Cx, ask, case::Case};
use crate::{extra::Extra, specs::Spec};

/// The modes, without the `r` that makes each recursive.
const MODES: [&str; 3] = ["private", "slave", "shared"];

/// Where the mounter has the whole volume.
const HOST: &str = "/m/host";

/// Where the agent has the whole volume.
const VOLUME: &str = "/m/volume";

/// Runs a mounter under the engine's default runtime, which shares the volume's mount with the host, and the agent.
pub async fn run(cx: &Cx, runtime: &str) {
    let scenario = "propagation";
    let case = Case::new(cx, runtime, scenario);
    let source = match cx.docker.volume_path(&cx.common.volume).await {
        Ok(path) => path,
        Err(no) => return case.problem("volume", no.why),
    };
    // When a container with a shared mount of the volume is removed, its root is unmounted lazily, with all that is mounted
    // on the volume by then, and that goes to the volume's other mounts: another runtime's mounts would be gone too.
    let alone = cx.mounters.acquire().await.ok();
    let permit = cx.jobs.acquire().await.ok();
    let net = cx.borrowed().await;
    let spec = |binds: Vec<(String, String, &'static str)>| Spec {
        net: net.clone(),
        cap_add: vec!["SYS_ADMIN"],
        extra: Extra { propagated: binds, ..Extra::default() },
        ..Spec::plain(scenario)
    };
    let dir = format!("{MOUNTED}{}", super::seed());
    let whole = spec(vec![(source.clone(), HOST.to_owned(), "shared")]);
    let mounter = Agent::start(cx, runtime, scenario, "peer", whole, Some(&cx.default_runtime)).await;
    case.engine("mounter", Outcome::value(if mounter.is_some() { "runs" } else { "does not start" }));
    let Some(mut mounter) = mounter else { return };
    let params = cx.params(None);
    let at = |probe: &str, label: String, path: String, apart: bool| {
        ask(&format!("propagation.{probe}"), &label, &params, json!({"path": path, "apart": apart}))
    };
    let outside = |mode: &str, what: &str| format!("{HOST}/{dir}/{mode}/{what}");
    let dirs: Vec<String> = MODES.iter().map(|m| format!("{HOST}/{dir}/{m}")).collect();
    let control = outside("apart", "out");
    let asks = vec![
        ask("propagation.folders", "folders", &params, json!({"dirs": dirs})),
        at("mount", "apart".to_owned(), control.clone(), true),
        at("look", "apart.out".to_owned(), control.clone(), false),
        at("unmount", "apart.gone".to_owned(), control, false),
    ];
    mounter.run(false, asks).await;
    for mode in MODES {
        // One container for each: a single rshared mount changes what the engine makes of all others.
        let inside = if mode == "private" { format!("{VOLUME}/{dir}/private") } else { format!("/m/{dir}") };
        let mut bound = spec(vec![]);
        // The engine binds nothing of its own folder in mode private, but it mounts volumes in it.
        if mode != "private" {
            bound.extra.propagated = vec![(format!("{source}/{dir}/{mode}"), inside.clone(), mode)];
        }
        if mode != "slave" {
            bound.extra.volume = vec![(VOLUME, false)];
        }
        let agent = Agent::start(cx, runtime, scenario, "agent", bound, None).await;
        case.engine(&format!("{mode}.agent"), Outcome::value(if agent.is_some() { "runs" } else { "does not start" }));
        let Some(mut agent) = agent else { continue };
        let made = outside(mode, "in");
        let asks = vec![
            at("mount", format!("{mode}.made"), made.clone(), false),
            at("look", format!("{mode}.made.seen"), made.clone(), false),
        ];
        mounter.run(false, asks).await;
        // Of the second mount of an agent with an rshared one.
        let beside = (mode == "shared").then(|| (format!("{VOLUME}/{dir}/beside/out"), outside("beside", "out")));
        let own = format!("{inside}/out");
        let mut asks = vec![
            at("look", format!("{mode}.in"), format!("{inside}/in"), false),
            at("mount", format!("{mode}.own"), own.clone(), false),
            at("look", format!("{mode}.own.seen"), own.clone(), false),
        ];
        let mut looks = vec![at("look", format!("{mode}.out"), outside(mode, "out"), false)];
        let mut ends = vec![at("unmount", format!("{mode}.own.gone"), own, false)];
        if let Some((own, seen)) = beside {
            asks.push(at("mount", "beside.own".to_owned(), own.clone(), false));
            asks.push(at("look", "beside.own.seen".to_owned(), own.clone(), false));
            looks.push(at("look", "beside.out".to_owned(), seen, false));
            ends.push(at("unmount", "beside.own.gone".to_owned(), own, false));
        }
        agent.run(false, asks).await;
        mounter.run(false, looks).await;
        agent.run(false, ends).await;
        agent.stop().await;
        mounter.run(false, vec![at("unmount", format!("{mode}.made.gone"), made, false)]).await;
    }
    mounter.stop().await;
    drop((permit, alone));
}
