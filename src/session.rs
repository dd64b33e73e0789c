//! What surrounds every measurement: an identity, a lab, an interruption that may come at any time, and a host that is
//! left as it was found.

use std::{
    sync::Arc,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use awf_probe_matrix::{Leftovers, RunInfo, RuntimeRow};
use tokio::sync::OnceCell;

use crate::{
    engine::docker::{
        Docker, Info,
        image::{Executable, Image},
        objects::Made,
        sandbox::Common,
    },
    error::Error,
    event::{Event, JOURNAL, PlannedCell},
    inventory,
    journal::Sink,
    lab,
    progress::note,
    scenario::{Cx, LabHandle, millis},
};

/// What is to be measured, and how the lab for it is made.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    /// The engine.
    pub docker: &'a Docker,
    /// What it says of itself.
    pub info: &'a Info,
    /// Hash of the catalogue.
    pub catalogue: &'a str,
    /// Runtimes by name.
    pub runtimes: &'a [String],
    /// Cells that must get a verdict.
    pub cells: &'a [PlannedCell],
    /// Scenarios at once.
    pub jobs: usize,
    /// The longest a batch may take.
    pub deadline: Duration,
    /// Squid, where the toolbox has it, or the built-in proxy.
    pub squid: bool,
    /// An image whose tools take the place of the host's.
    pub toolbox_image: Option<&'a str>,
}

/// Everything that touches the engine and the host; whatever happens to `work`, what was made is removed.
pub async fn hold(asked: &Asked<'_>, sink: &Sink, work: impl AsyncFnOnce(&Cx)) -> Result<(), Error> {
    let docker = asked.docker;
    let begun = Instant::now();
    let run = crate::random_hex(4);
    for removed in dead_runs(docker).await? {
        note(&format!("removed what an earlier run left: {removed}"));
    }
    let executable = Executable::own()?;
    let tools = match asked.toolbox_image {
        Some(reference) => Some((reference.to_owned(), docker.local_image(reference).await?)),
        None => None,
    };
    let names = asked.runtimes.to_vec();
    let registered = asked.info.runtimes.clone();
    let rows = tokio::task::spawn_blocking(move || {
        names.iter().map(|n| inventory::describe(n, registered.get(n))).collect::<Vec<RuntimeRow>>()
    });
    let image = docker.ensure_image(&executable).await?;
    let rows = rows.await.map_err(|e| Error::Bug(e.to_string()))?;
    sink.emit(Event::RunStarted {
        journal: JOURNAL.to_owned(),
        run: RunInfo {
            id: run.clone(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            started: now(),
            catalogue: asked.catalogue.to_owned(),
            executable: image.executable.clone(),
            tools: tools.as_ref().map_or_else(|| "of the host".to_owned(), |(r, id)| format!("image {r} ({id})")),
            ..RunInfo::default()
        },
        host: asked.info.host.clone(),
        runtimes: rows,
        plan: asked.cells.to_vec(),
    });
    // Outlives an interruption: its helper must be told to undo what it made, not just be removed.
    let ground = OnceCell::new();
    let outcome = tokio::select! {
        outcome = on_ground(asked, sink, &run, &executable, &image, tools.as_ref(), &ground, work) => outcome,
        () = sink.alarmed() => Err(Error::Lab {
            why: "a frame of the lab was seen on a link where none belongs; the run was stopped at once".to_owned(),
        }),
        () = interrupted() => {
            note("interrupted: removing the run's containers, networks, routes and rules");
            Err(Error::Interrupted)
        }
    };
    let cleaned = clean_up(docker, &run, &image, ground.into_inner(), sink).await;
    let complete = outcome.is_ok() && cleaned.is_ok();
    sink.emit(Event::RunFinished { elapsed_ms: millis(begun.elapsed()), complete, lines: 0 });
    outcome.and(cleaned)
}

#[expect(clippy::too_many_arguments, reason = "private, called once")]
async fn on_ground(
    asked: &Asked<'_>,
    sink: &Sink,
    run: &str,
    executable: &Executable,
    image: &Image,
    tools: Option<&(String, String)>,
    ground: &OnceCell<lab::Ground>,
    work: impl AsyncFnOnce(&Cx),
) -> Result<(), Error> {
    let docker = asked.docker;
    let helper_runtime = reference(asked.info);
    let draft = common(run, image, std::net::Ipv4Addr::UNSPECIFIED);
    let ground = ground.get_or_try_init(|| lab::survey(docker, &draft, &helper_runtime, sink)).await?;
    let mut common = common(run, image, ground.layout.approved());
    if let Some((reference, id)) = tools {
        common.toolbox = Some(Arc::new(docker.unpack_toolbox(run, reference, id, executable).await?));
    }
    docker.make_volume(&common.run, &common.volume).await?;
    let (sender, handle) = LabHandle::new();
    let cx = Cx::new(
        docker.clone(),
        common.clone(),
        image.clone(),
        sink.clone(),
        ground.layout.clone(),
        handle,
        ground.helper(),
        asked.info.host.default_runtime.clone(),
        asked.jobs,
        asked.deadline,
    );
    let build = async {
        let lab = ground.build(docker, &common, &helper_runtime, asked.info.host.cpus, asked.squid, sink).await;
        let told = match &lab {
            Ok(_) => None,
            Err(e) => Some(e.to_string()),
        };
        let lab = lab.map(Arc::new);
        // Receivers live in `cx`, which outlives this.
        drop(sender.send(Some(lab.as_ref().map(Arc::clone).map_err(|_| told.unwrap_or_default()))));
        lab.map(drop)
    };
    let (built, ()) = tokio::join!(build, work(&cx));
    built
}

/// Removes what dead runs left. A run is alive while its helper is; a live run's things are never touched.
pub async fn dead_runs(docker: &Docker) -> Result<Vec<String>, Error> {
    let mut removed = Vec::new();
    for (run, made) in docker.made_by(None).await? {
        let alive = made.containers.iter().any(|(_, _, role, running)| role == "helper" && *running);
        if alive {
            note(&format!("run {run} is alive; its things are left alone"));
            continue;
        }
        let left = docker.remove_made(&made).await;
        if !left.is_empty() {
            return Err(Error::Leftovers { what: left.join("; ") });
        }
        removed.extend(names(&run, &made));
    }
    Ok(removed)
}

fn names(run: &str, made: &Made) -> Vec<String> {
    let containers = made.containers.iter().map(|(_, name, ..)| format!("container {}", name.trim_start_matches('/')));
    let networks = made.networks.iter().map(|(_, name)| format!("network {name}"));
    let volumes = made.volumes.iter().map(|name| format!("volume {name}"));
    containers.chain(networks).chain(volumes).map(|what| format!("{what} of run {run}")).collect()
}

/// Removes everything with the run's label, lets the helper undo its rules, and compares the host with before.
async fn clean_up(
    docker: &Docker,
    run: &str,
    image: &Image,
    ground: Option<lab::Ground>,
    sink: &Sink,
) -> Result<(), Error> {
    let helper_of = |c: &(String, String, String, bool)| c.2 == "helper";
    // The helper goes last and by itself: it undoes rules and links when its input ends. An interruption may have left
    // a request with the engine that it carries out only now, so what is there is listed until nothing is.
    let mut left = Vec::new();
    let mut helpers = Vec::new();
    for round in 0..10 {
        let mut made = docker.made_by(Some(run)).await?.remove(run).unwrap_or_default();
        helpers = made.containers.iter().filter(|c| helper_of(c)).cloned().collect();
        made.containers.retain(|c| !helper_of(c));
        if round > 0 && made.containers.is_empty() && made.networks.is_empty() && made.volumes.is_empty() {
            break;
        }
        // The networks go before the routes that bind them to the witness.
        left = docker.remove_made(&made).await;
    }
    let mut compared = None;
    if let Some(ground) = &ground {
        left.extend(orphans(ground, docker.created()).await);
        compared = Some(ground.leftovers(&common(run, image, ground.layout.approved())).await);
        ground.close().await;
    }
    left.extend(docker.remove_made(&Made { containers: helpers, ..Made::default() }).await);
    if !left.is_empty() {
        sink.emit(Event::Cleaned { leftovers: Leftovers { ours: left.clone(), others: vec![], checked: true } });
        return Err(Error::Leftovers { what: left.join("; ") });
    }
    if let Some(leftovers) = compared {
        sink.emit(Event::Cleaned { leftovers: leftovers? });
    }
    Ok(())
}

/// Processes and cgroups of removed containers that the engine no longer knows. A question that is not answered is a
/// leftover, too: nobody can say that there is none.
async fn orphans(ground: &lab::Ground, mut ids: Vec<String>) -> Vec<String> {
    use lab::roles::wire::{Answer, Ask};
    let helper = ground.helper();
    ids.retain(|id| *id != helper.id);
    let mut left = Vec::new();
    // A shim takes a moment to go after its container was removed.
    for _ in 0..40 {
        match helper.ask(Ask::Orphans { ids: ids.clone() }).await {
            Ok(Answer::Orphans { processes, cgroups }) => {
                left = processes.iter().map(|p| format!("process {} ({}): {}", p.pid, p.comm, p.args)).collect();
                left.extend(cgroups.iter().map(|c| format!("cgroup {c}")));
            }
            Ok(other) => return vec![format!("orphans were not looked for: {other:?}")],
            Err(e) => return vec![format!("orphans were not looked for: {e}")],
        }
        if left.is_empty() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    left
}

/// The runtime of the lab's own containers: runc by name where there is one, never a candidate by default.
pub fn reference(info: &Info) -> String {
    if info.runtimes.contains_key("runc") { "runc".to_owned() } else { info.host.default_runtime.clone() }
}

/// Names of a run.
pub fn common(run: &str, image: &Image, resolver: std::net::Ipv4Addr) -> Common {
    Common {
        run: run.to_owned(),
        image: image.tag.clone(),
        lab: format!("awf-probe-{run}-lab"),
        internal: format!("awf-probe-{run}-internal"),
        volume: format!("awf-probe-{run}"),
        resolver: resolver.into(),
        toolbox: None,
    }
}

async fn interrupted() {
    use tokio::signal::unix::{SignalKind, signal};
    let (Ok(mut int), Ok(mut term)) = (signal(SignalKind::interrupt()), signal(SignalKind::terminate())) else {
        return std::future::pending().await;
    };
    tokio::select! {
        _ = int.recv() => {}
        _ = term.recv() => {}
    }
}

/// RFC 3339, UTC.
fn now() -> String {
    let seconds = SystemTime::now().duration_since(UNIX_EPOCH).map(|d| d.as_secs()).unwrap_or(0);
    let (days, rest) = (seconds / 86_400, seconds % 86_400);
    // Days to a civil date: eras of 400 years, years that begin in March.
    let z = days + 719_468;
    let era = z / 146_097;
    let day_of_era = z % 146_097;
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_index = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_index + 2) / 5 + 1;
    let month = if month_index < 10 { month_index + 3 } else { month_index - 9 };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}Z", rest / 3600, rest % 3600 / 60, rest % 60)
}
