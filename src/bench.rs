//! `awf-probe bench`: what each runtime costs, beside a reference measured in the same rounds.
//!
//! In each round every runtime has a sandbox of its own, the reference has two. They are visited forth and back, a bench
//! at a time, so whatever the machine does meanwhile falls on all alike. What the figures mean is computed in
//! `awf_probe_matrix::bench`, from the figures alone.

mod collected;
mod content;
mod host;
mod machine;
mod rounds;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use awf_probe_matrix::{
    RunInfo, RuntimeRow,
    bench::{Bench, Subject},
    select::rfc3339,
};
use tokio::sync::OnceCell;

use crate::{
    commands::{
        Data, clean,
        run::{clean_up, common, powers, reference, watched},
    },
    engine::docker::{
        Docker, Info,
        image::{Executable, Image},
    },
    error::Error,
    event::{Event, JOURNAL},
    fingerprint, inventory,
    journal::Sink,
    judge, lab,
    plan::Filter,
    progress::note,
    record::Record,
    scenario::{Cx, LabHandle, Privilege, solo},
};

pub use collected::Entry;
pub use host::HOST_BENCHES;

/// What is to be measured, and how well.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The runtime all others are compared with.
    pub reference: String,
    /// Those that are compared.
    pub candidates: Vec<String>,
    /// Every bench, not the quick ones alone.
    pub full: bool,
    /// Which of them.
    pub filter: Filter,
    /// An image on the engine whose tools are used instead of the host's.
    pub toolbox_image: Option<String>,
    /// How long the rounds may take.
    pub budget: Duration,
    /// Half the width of an interval that is narrow enough, as a share of its value.
    pub precision: f64,
}

/// Measures. Whatever happens, what was made is removed.
pub async fn measure(docker: &Docker, info: &Info, settings: &Settings, data: &Data) -> Result<Bench, Error> {
    let begun = Instant::now();
    let run = crate::random_hex(4);
    let dead = clean::dead_runs(docker).await?;
    for removed in &dead.names {
        note(&format!("removed what an earlier run left: {removed}"));
    }
    let executable = Executable::own()?;
    let tools = match &settings.toolbox_image {
        Some(reference) => Some((reference.clone(), docker.local_image(reference).await?)),
        None => None,
    };
    let image = docker.ensure_image(&executable).await?;
    let mut names = vec![settings.reference.clone()];
    names.extend(settings.candidates.iter().filter(|c| **c != settings.reference).cloned());
    let registered = info.runtimes.clone();
    let describe = move || names.iter().map(|n| inventory::describe(n, registered.get(n))).collect::<Vec<_>>();
    let rows = tokio::task::spawn_blocking(describe).await.map_err(|e| Error::Bug(e.to_string()))?;
    let started = rfc3339(fingerprint::now());
    let sink = Sink::create(None)?;
    sink.emit(Event::RunStarted {
        journal: JOURNAL.to_owned(),
        run: RunInfo { id: run.clone(), started: started.clone(), ..RunInfo::default() },
        host: info.host.clone(),
        runtimes: rows.clone(),
        plan: vec![],
    });
    let mut machine = machine::facts(info);
    let of = tools.as_ref().map_or_else(|| "of the host".to_owned(), |(r, id)| format!("image {r} ({id})"));
    machine.push(("tools".to_owned(), of));
    machine.push(("load at the start".to_owned(), machine::load()));
    let ground = OnceCell::new();
    let work =
        stages(docker, info, settings, data, &rows, &sink, &run, &image, (&executable, tools), &dead.ids, &ground);
    let outcome = watched(&sink, work).await;
    machine.push(("load at the end".to_owned(), machine::load()));
    let (reference, candidates, benches) =
        clean_up(docker, &run, &image, ground.into_inner(), &sink).await.and(outcome)?;
    let left = Record::new(&sink.events()).leftovers.ours;
    if !left.is_empty() {
        return Err(Error::Leftovers { what: left.join("; ") });
    }
    Ok(Bench {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        started,
        seconds: begun.elapsed().as_secs_f64(),
        suite: if settings.full { "full" } else { "quick" }.to_owned(),
        budget: settings.budget.as_secs(),
        precision: settings.precision,
        machine,
        reference,
        candidates,
        benches,
    })
}

type Measured = (Subject, Vec<Subject>, Vec<awf_probe_matrix::bench::Figures>);

#[expect(clippy::too_many_arguments, reason = "private, called once")]
async fn stages(
    docker: &Docker,
    info: &Info,
    settings: &Settings,
    data: &Data,
    rows: &[RuntimeRow],
    sink: &Sink,
    run: &str,
    image: &Image,
    (executable, tools): (&Executable, Option<(String, String)>),
    dead: &[String],
    ground: &OnceCell<lab::Ground>,
) -> Result<Measured, Error> {
    let helper_runtime = reference(info);
    let draft = common(run, image, std::net::Ipv4Addr::UNSPECIFIED);
    let ground =
        ground.get_or_try_init(|| lab::survey(docker, &draft, &helper_runtime, tools.is_none(), dead, sink)).await?;
    let mut common = common(run, image, ground.layout.approved());
    if let Some((reference, id)) = &tools {
        common.toolbox = Some(Arc::new(docker.unpack_toolbox(run, reference, id, executable).await?));
    }
    docker.make_volume(run, &common.volume).await?;
    let (sender, handle) = LabHandle::new();
    let engine = powers(&ground.helper()).await?;
    let cx = Cx::new(
        docker.clone(),
        common.clone(),
        image.clone(),
        sink.clone(),
        ground.layout.clone(),
        handle,
        ground.helper(),
        info.host.default_runtime.clone(),
        1,
        Duration::from_secs(120),
        Privilege { engine, profile: None },
    );
    let lab = Arc::new(ground.build(docker, &common, &helper_runtime, info.host.cpus, true, sink).await?);
    let served = if Entry::chosen(settings).iter().any(|e| e.tool) {
        let made = tokio::task::spawn_blocking(content::make).await.map_err(|e| Error::Bug(e.to_string()))?;
        let (served, files) = made?;
        lab.serve(files).await?;
        served
    } else {
        content::Served::default()
    };
    sender.send(Some(Ok(lab))).unwrap_or_default();

    let mut subjects = Vec::new();
    for row in rows {
        subjects.push(identified(&cx, row, data).await);
    }
    let reference = subjects[0].clone();
    if let Some(why) = &reference.unusable {
        let why = format!("the reference {}: {why}", reference.name);
        return Err(Error::Engine { what: "measure anything".to_owned(), why });
    }
    let candidates: Vec<Subject> =
        settings.candidates.iter().filter_map(|name| subjects.iter().find(|s| s.name == *name).cloned()).collect();
    for c in candidates.iter().filter(|c| c.unusable.is_some()) {
        note(&format!("{}: {}", c.name, c.unusable.as_deref().unwrap_or_default()));
    }
    rounds::all(&cx, settings, &served, reference, candidates).await
}

/// A runtime, once its sandbox was seen to run under it.
async fn identified(cx: &Cx, row: &RuntimeRow, data: &Data) -> Subject {
    solo::run(cx, &row.name, "plain").await;
    let record = Record::new(&cx.sink.events());
    let (class, unusable) = match judge::identity(&record, row, &data.products) {
        Ok(class) => (Some(class), None),
        Err(why) => (None, Some(why)),
    };
    let print = &row.fingerprint;
    let command = [std::slice::from_ref(&print.path), print.args.as_slice()].concat().join(" ");
    Subject {
        name: row.name.clone(),
        version: row.version.clone(),
        command,
        sha256: print.sha256.clone(),
        class,
        clock: None,
        unusable,
    }
}
