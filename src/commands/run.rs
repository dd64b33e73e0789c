//! `awf-probe run`: plan, measure, judge, report, and leave nothing behind.

use std::{
    collections::BTreeSet,
    sync::Arc,
    time::{Duration, Instant},
};

use awf_probe_matrix::{
    Fact, Leftovers, Matrix, Result_, RunInfo, RuntimeRow, Standing, Verdict, launcher::Launcher, select::rfc3339,
};
use awf_probe_reports::Format;
use tokio::sync::OnceCell;

use super::{Data, baseline::Baseline, clean, format, launch, print, show, timings, written::Written};
use crate::{
    cli::RunArgs,
    engine::{
        self, Which,
        command::UNSUPPORTED,
        docker::{
            Docker, Info,
            image::{Executable, Image},
            objects::Made,
            podman,
            sandbox::Common,
        },
    },
    error::{Error, Exit},
    event::{Event, JOURNAL},
    fingerprint,
    given::Given,
    inventory,
    journal::Sink,
    kata,
    lab::{
        self,
        role::Role,
        roles::wire::{Answer, Ask},
    },
    plan::{Filter, Job, Plan},
    progress::{Progress, note},
    record::Record,
    scenario::{
        Cx, LabHandle, Privilege, bridge, compose, dual, egress, given, guard, health, joined, life, lifecycle, millis,
        netns, propagation, rehearsal, restart, shared, solo,
    },
    seccomp::{self, Profile, Setting},
    specs::AWF_PROFILE,
};

/// Measures, and gives the matrix to the command whose table is another.
pub async fn matrix(args: &RunArgs, data: &Data) -> Result<Matrix, Error> {
    let filter = Filter::new(&args.only, &args.skip)?;
    let docker = Docker::connect().await?;
    let info = docker.info().await?;
    let names = inventory::resolve(&info, &args.runtimes, args.all)?;
    let plan = Plan::build(&data.catalogue, &data.models, &names, &info.host.default_runtime, &filter)?;
    let (matrix, _) =
        rounds(data, args, async |sink| measure(&docker, &info, &plan, data, args, None, sink).await).await?;
    nothing_left(&matrix)?;
    Ok(matrix)
}

/// What starts the sandboxes.
enum By {
    Engine(Docker, Box<Info>),
    Commands(Vec<Launcher>),
}

/// Measures.
pub async fn run(args: RunArgs) -> Result<Exit, Error> {
    let format = format(&args.output)?;
    let filter = Filter::new(&args.only, &args.skip)?;
    let data = Data::load()?;
    // Before anything is measured: a baseline that cannot be used is no surprise for the end.
    let baseline = args.baseline.as_deref().map(|path| Baseline::load(path, &data)).transpose()?;
    let profile: Option<Arc<str>> = match &args.seccomp_profile {
        Some(path) => Some(Profile::read(path)?.into()),
        None => None,
    };
    let which = engine::which(args.engine.as_deref())?;
    let (mut plan, by) = if which == Which::Command {
        let known = launch::known(&args.descriptions)?;
        let runtimes = launch::asked(&known, &args.runtimes, args.all)?;
        (launch::plan(&data, &runtimes, &filter)?, By::Commands(runtimes))
    } else {
        if !args.descriptions.is_empty() {
            return Err(Error::Usage {
                why: "--describe is for runtimes outside Docker".to_owned(),
                help: "say --engine command as well".to_owned(),
            });
        }
        let docker = Docker::connect_to(&which).await?;
        let info = docker.info().await?;
        let names = inventory::resolve(&info, &args.runtimes, args.all)?;
        let plan = Plan::build(&data.catalogue, &data.models, &names, &info.host.default_runtime, &filter)?;
        (plan, By::Engine(docker, Box::new(info)))
    };
    if profile.is_some() {
        plan.with_profile();
    }
    if let Some(baseline) = &baseline {
        baseline.has(plan.runtimes.iter().map(String::as_str))?;
    }
    if args.dry_run {
        print(&describe(&plan))?;
        return Ok(Exit::Ok);
    }
    let once = async |sink: &Sink| match &by {
        By::Engine(docker, info) => measure(docker, info, &plan, &data, &args, profile.clone(), sink).await,
        By::Commands(runtimes) => launch::measure(runtimes, &plan, &data, &args, profile.clone(), sink).await,
    };
    let (matrix, events) = rounds(&data, &args, once).await?;
    show(&matrix, &data, &args.output, format)?;
    if args.timings {
        let ledger = timings::ledger(&events);
        // Behind a table it belongs to the result; a document for a machine stays what it is.
        if format == Format::Table { print(&format!("\n{ledger}"))? } else { note(&ledger) }
    }
    if let Some(dir) = &args.out {
        let of = if args.repeat > 1 { "report, and those of every repetition," } else { "report and journal" };
        note(&format!("{of} are in {}", dir.display()));
    }
    nothing_left(&matrix)?;
    let exit = match &baseline {
        Some(baseline) => baseline.exit(&matrix, plan.filtered, |id| filter.takes(id))?,
        None => exit_of(&matrix, &data, plan.filtered),
    };
    if args.report_only && exit != Exit::Ok {
        note(&format!("the measurement is complete; without --report-only this would exit {}", exit as u8));
        return Ok(Exit::Ok);
    }
    Ok(exit)
}

/// Fails where the run left something on the host.
pub(super) fn nothing_left(matrix: &Matrix) -> Result<(), Error> {
    if matrix.leftovers.ours.is_empty() {
        return Ok(());
    }
    Err(Error::Leftovers { what: matrix.leftovers.ours.join("; ") })
}

/// Measures as often as asked, and writes what was learned after each time, an interrupted one included. Returns the
/// matrix of all, and the events of the last.
pub(super) async fn rounds(
    data: &Data,
    args: &RunArgs,
    measure: impl AsyncFn(&Sink) -> Result<(), Error>,
) -> Result<(Matrix, Vec<Event>), Error> {
    let mut written = Written::new(args.out.as_deref(), args.repeat, data);
    loop {
        let (dir, n) = written.next()?;
        let journal = dir.as_ref().map(|d| d.join("journal.jsonl"));
        let sink = Sink::create(journal.as_deref())?;
        let measured = measure(&sink).await;
        if let Some(why) = sink.failure() {
            return Err(Error::Unwritable { path: journal.unwrap_or_default(), why });
        }
        let events = sink.events();
        // What was learned before an error is kept in the journal and the report.
        let matrix = written.add(&events)?;
        measured?;
        if n == args.repeat {
            return Ok((matrix, events));
        }
        let waver = matrix.cells.iter().filter(|c| c.counts.len() > 1).count();
        note(&format!("repetition {n} of {}: {waver} of {} cells waver so far", args.repeat, matrix.cells.len()));
    }
}

/// Everything that touches the engine and the host; whatever happens, what it made is removed.
pub(super) async fn measure(
    docker: &Docker,
    info: &Info,
    plan: &Plan,
    data: &Data,
    args: &RunArgs,
    profile: Option<Arc<str>>,
    sink: &Sink,
) -> Result<(), Error> {
    let begun = Instant::now();
    let mut plan = plan.clone();
    let is_kata = |name: &str| kata::is(name, info.runtimes.get(name));
    if !args.allow_disruptive {
        kata::hold_back(&mut plan, is_kata);
    }
    let unsupported = if docker.podman { podman::hold_back(&mut plan) } else { vec![] };
    let plan = &plan;
    let reference = reference(info);
    if is_kata(&reference) {
        // It would take the host's own interfaces away.
        let why = format!(
            "the helper stands in the host's network, where a sandbox of {reference:?} must never be; register runc"
        );
        return Err(Error::Lab { why });
    }
    let run = crate::random_hex(4);
    let dead = clean::dead_runs(docker).await?;
    for removed in &dead.names {
        note(&format!("removed what an earlier run left: {removed}"));
    }
    let executable = Executable::own()?;
    let tools = match &args.toolbox_image {
        Some(reference) => Some((reference.clone(), docker.local_image(reference).await?)),
        None => None,
    };
    let given = match &args.image {
        Some(reference) => Some(Given::find(docker, reference).await?),
        None => None,
    };
    let names = plan.runtimes.clone();
    let registered = info.runtimes.clone();
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
            started: rfc3339(fingerprint::now()),
            catalogue: data.catalogue.hash.clone(),
            executable: image.executable.clone(),
            sabotage: args.sabotage.map(|s| s.name.to_owned()),
            tools: tools.as_ref().map_or_else(|| "of the host".to_owned(), |(r, id)| format!("image {r} ({id})")),
            ..RunInfo::default()
        },
        host: info.host.clone(),
        runtimes: rows,
        plan: plan.cells.clone(),
    });
    for (runtime, scenario, why) in unsupported {
        sink.emit(Event::Problem { runtime, scenario, stage: UNSUPPORTED.to_owned(), why: why.to_owned() });
    }
    // Outlives an interruption: its helper must be told to undo what it made, not just be removed.
    let ground = OnceCell::new();
    let work = stages(
        docker,
        info,
        plan,
        args,
        profile,
        sink,
        &run,
        &executable,
        &image,
        tools.as_ref(),
        given,
        &dead.ids,
        &ground,
    );
    let outcome = watched(sink, work).await;
    let cleaned = clean_up(docker, &run, &image, ground.into_inner(), sink).await;
    let complete = outcome.is_ok() && cleaned.is_ok();
    sink.emit(Event::RunFinished { elapsed_ms: millis(begun.elapsed()), complete, lines: 0 });
    outcome.and(cleaned)
}

#[expect(clippy::too_many_arguments, reason = "private, called once")]
async fn stages(
    docker: &Docker,
    info: &Info,
    plan: &Plan,
    args: &RunArgs,
    profile: Option<Arc<str>>,
    sink: &Sink,
    run: &str,
    executable: &Executable,
    image: &Image,
    tools: Option<&(String, String)>,
    given: Option<Given>,
    dead: &[String],
    ground: &OnceCell<lab::Ground>,
) -> Result<(), Error> {
    let helper_runtime = reference(info);
    let draft = common(run, image, std::net::Ipv4Addr::UNSPECIFIED);
    let ground =
        ground.get_or_try_init(|| lab::survey(docker, &draft, &helper_runtime, tools.is_none(), dead, sink)).await?;
    let rehearsal = args.rehearsal.clone();
    let mut common = Common { sabotage: args.sabotage, rehearsal, ..common(run, image, ground.layout.approved()) };
    common.ipv6 = plan.jobs.iter().flatten().any(|j| matches!(j, Job::DualStack { .. }));
    common.given = given.map(Arc::new);
    // Nothing stands beside a sandbox of Kata in a namespace, and Podman's own networks are not looked into.
    let alone = |name: &String| kata::is(name, info.runtimes.get(name));
    common.lender = (!docker.podman && !plan.runtimes.iter().any(alone)).then(|| helper_runtime.clone());
    common.apparmor = info.host.security.iter().any(|s| s.contains("apparmor"));
    if let Some((reference, id)) = tools {
        common.toolbox = Some(Arc::new(docker.unpack_toolbox(run, reference, id, executable).await?));
    }
    let engine = powers(&ground.helper()).await?;
    let privilege = Privilege { engine, profile };
    with_lab(docker, info, plan, args, privilege, sink, image, ground, common, &helper_runtime).await
}

#[expect(clippy::too_many_arguments, reason = "private, called once")]
async fn with_lab(
    docker: &Docker,
    info: &Info,
    plan: &Plan,
    args: &RunArgs,
    privilege: Privilege,
    sink: &Sink,
    image: &Image,
    ground: &lab::Ground,
    common: Common,
    helper_runtime: &str,
) -> Result<(), Error> {
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
        info.host.default_runtime.clone(),
        usize::from(args.jobs),
        args.deadline,
        privilege,
    );
    let progress = if args.quiet { Progress::silent() } else { Progress::new(plan.jobs.iter().map(Vec::len).sum()) };
    let build = async {
        if docker.podman {
            drop(sender.send(Some(Err("Podman has no lab".to_owned()))));
            return Ok(());
        }
        let squid = args.proxy == crate::cli::ProxyEngine::Squid;
        let lab = ground.build(docker, &common, helper_runtime, info.host.cpus, squid, sink).await;
        let told = match &lab {
            Ok(_) => None,
            Err(e) => Some(e.to_string()),
        };
        let lab = lab.map(Arc::new);
        // Receivers live in `cx`, which outlives this.
        drop(sender.send(Some(lab.as_ref().map(Arc::clone).map_err(|_| told.unwrap_or_default()))));
        lab.map(drop)
    };
    for (runtime, scenario) in &plan.held_back {
        cx.problem(runtime, scenario, UNSUPPORTED, kata::HELD_BACK);
    }
    let runtimes =
        plan.runtimes.iter().zip(&plan.jobs).map(|(runtime, jobs)| one_runtime(&cx, runtime, jobs, &progress));
    let (built, quiet) = tokio::join!(build, futures_util::future::join_all(runtimes));
    // When nothing else of the run is under way: these measure a share of a processor. Two of them fill one and a quarter.
    let width = if info.host.cpus > 1 { QUIET.len() } else { 1 };
    for (runtime, jobs) in plan.runtimes.iter().zip(quiet) {
        let (guards, alone): (Vec<&Job>, Vec<&Job>) = jobs.into_iter().partition(|j| matches!(j, Job::Guard { .. }));
        for some in alone.chunks(width) {
            futures_util::future::join_all(some.iter().map(|job| one_job(&cx, runtime, job, &progress))).await;
        }
        // Last, and one runtime after the other: of many sandboxes at once each would wait for the others.
        let ready = futures_util::future::join_all(guards.into_iter().map(|job| one_job(&cx, runtime, job, &progress)));
        guard::fail(&cx, ready.await.into_iter().flatten().collect()).await;
    }
    compare_profiles(&cx, plan, &info.host.kernel);
    progress.finish();
    built
}

/// Whether the calls a seccomp profile names came out as it declares, for each runtime whose sandboxes tried them.
fn compare_profiles(cx: &Cx, plan: &Plan, kernel: &str) {
    let text = cx.privilege.profile.as_deref().unwrap_or(AWF_PROFILE);
    let scenario = if cx.privilege.profile.is_some() { "profile" } else { "all-caps-awf" };
    let Ok(profile) = Profile::parse(text) else { return };
    let declared = profile.declared(&Setting { capabilities: &cx.privilege, kernel });
    let record = Record::new(&cx.sink.events());
    for (runtime, jobs) in plan.runtimes.iter().zip(&plan.jobs) {
        if !jobs.iter().any(|j| matches!(j, Job::Solo("all-caps-awf"))) {
            continue;
        }
        for (name, outcome) in seccomp::judge(&record, runtime, scenario, &declared) {
            cx.sink.emit(Event::Observed {
                runtime: runtime.clone(),
                scenario: "all-caps-awf".to_owned(),
                source: "host".to_owned(),
                fact: Fact { name: name.to_owned(), outcome, sent: None, elapsed_ms: None },
                address: None,
            });
        }
    }
}

/// Scenarios that wait until nothing else of the run is under way: beside its many sandboxes even one without a quota has
/// no processor for itself.
const QUIET: &[&str] = &["cpu", "unlimited"];

/// A runtime's scenarios. The first decides whether it starts at all. Returns those that are left for a quiet moment.
async fn one_runtime<'a>(cx: &Cx, runtime: &str, jobs: &'a [Job], progress: &Progress) -> Vec<&'a Job> {
    let begun = Instant::now();
    let Some((first, rest)) = jobs.split_first() else { return vec![] };
    progress.begin(&format!("{runtime}: {}", first.name()));
    let started = match first {
        Job::Solo(name) => solo::run(cx, runtime, name).await,
        Job::Driven(_)
        | Job::Netns(_)
        | Job::Egress { .. }
        | Job::Tamper
        | Job::Guard { .. }
        | Job::DualStack { .. } => false,
    };
    progress.done();
    if !started {
        progress.say(&format!("{runtime}: does not start; `awf-probe doctor` says more"));
        rest.iter().for_each(|_| progress.done());
        return vec![];
    }
    let waits = |job: &Job| match job {
        Job::Solo(name) => QUIET.contains(name),
        other => matches!(other, Job::Guard { .. }),
    };
    let (later, now): (Vec<&Job>, Vec<&Job>) = rest.iter().partition(|job| waits(job));
    futures_util::future::join_all(now.into_iter().map(|job| one_job(cx, runtime, job, progress))).await;
    progress.say(&format!(
        "{runtime}: {} scenarios in {:.1} s",
        jobs.len() - later.len(),
        begun.elapsed().as_secs_f64()
    ));
    later
}

/// One job. Of a guard that is to fail, what waits for it.
async fn one_job(cx: &Cx, runtime: &str, job: &Job, progress: &Progress) -> Option<guard::Waiting> {
    progress.begin(&format!("{runtime}: {}", job.name()));
    let mut waiting = None;
    match job {
        Job::Solo(name) => drop(solo::run(cx, runtime, name).await),
        Job::Driven(name) => driven(cx, runtime, name).await,
        Job::Netns(init) => netns::run(cx, runtime, init).await,
        Job::Egress { model, backend, raw } => egress::run(cx, runtime, model, backend.as_deref(), *raw).await,
        Job::Tamper => egress::tamper(cx, runtime).await,
        Job::DualStack { model, backend, raw } => dual::run(cx, runtime, model, backend.as_deref(), *raw).await,
        Job::Guard { model, backend } => waiting = guard::prepare(cx, runtime, model, backend.as_deref()).await,
    }
    progress.done();
    waiting
}

async fn driven(cx: &Cx, runtime: &str, name: &str) {
    match name {
        "bridge" => bridge::run(cx, runtime).await,
        "compose" => compose::run(cx, runtime).await,
        "exit" => lifecycle::exit(cx, runtime).await,
        "given" => given::run(cx, runtime).await,
        "health" => health::run(cx, runtime).await,
        "joined" => joined::run(cx, runtime).await,
        "life" => life::run(cx, runtime).await,
        "propagation" => propagation::run(cx, runtime).await,
        "rehearsal" => rehearsal::run(cx, runtime).await,
        "restart" => restart::run(cx, runtime).await,
        "shared" => shared::run(cx, runtime).await,
        "signals" => lifecycle::signals(cx, runtime).await,
        "stdio" => lifecycle::stdio(cx, runtime).await,
        other => cx.problem(runtime, other, "plan", "no scenario has this name"),
    }
}

/// After so long nothing more is tried on what cannot be removed.
const STUCK: Duration = Duration::from_secs(150);

/// Removes everything with the run's label, lets the helper undo its rules, and compares the host with before.
pub(crate) async fn clean_up(
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
    let begun = Instant::now();
    for round in 0..10 {
        let mut made = docker.made_by(Some(run)).await?.remove(run).unwrap_or_default();
        helpers = made.containers.iter().filter(|c| helper_of(c)).cloned().collect();
        made.containers.retain(|c| !helper_of(c));
        if round > 0 && made.containers.is_empty() && made.networks.is_empty() && made.volumes.is_empty() {
            break;
        }
        // The networks go before the routes that bind them to the witness.
        left = docker.remove_made(&made).await;
        if begun.elapsed() > STUCK {
            break;
        }
        // What hangs in its runtime cannot be removed until that is ended.
        if let Some(ground) = ground.as_ref().filter(|_| !left.is_empty()) {
            let stuck: Vec<String> = made.containers.iter().map(|(id, ..)| id.clone()).collect();
            lab::orphans(&ground.helper(), &stuck).await.ended.iter().for_each(|what| note(what));
        }
    }
    let mut compared = None;
    if let Some(ground) = &ground {
        let mut ids = docker.created();
        ids.retain(|id| *id != ground.helper().id);
        let remains = lab::orphans(&ground.helper(), &ids).await;
        remains.ended.iter().for_each(|what| note(what));
        left.extend(remains.left);
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
        // The engine gives a container on several networks the default route of the first name, which must be the
        // lab's: `rules` sorts behind `lab`, and an internal network has no route.
        guarded: [format!("awf-probe-{run}-rules"), format!("awf-probe-{run}-rules-redirect")],
        volume: format!("awf-probe-{run}"),
        resolver: resolver.into(),
        toolbox: None,
        given: None,
        apparmor: false,
        sabotage: None,
        rehearsal: None,
        ipv6: false,
        lender: None,
    }
}

/// Does the work until it is done, the user interrupts it, or a frame of the lab is seen where none belongs.
pub(crate) async fn watched<T>(sink: &Sink, work: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
    tokio::select! {
        outcome = work => outcome,
        () = sink.alarmed() => Err(Error::Lab {
            why: "a frame of the lab was seen on a link where none belongs; the run was stopped at once".to_owned(),
        }),
        () = interrupted() => {
            note("interrupted: removing the run's containers, networks, routes and rules");
            Err(Error::Interrupted)
        }
    }
}

/// The set of capabilities the engine itself has: no container can be given more.
pub(crate) async fn powers(helper: &Role) -> Result<u64, Error> {
    match helper.ask(Ask::Powers).await? {
        Answer::Powers { permitted } => Ok(permitted),
        other => Err(Error::Bug(format!("the helper answered {other:?}"))),
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

/// Whether a matrix holds less than the catalogue.
pub fn is_filtered(matrix: &Matrix, data: &Data) -> bool {
    let ids: BTreeSet<&str> = matrix.cells.iter().map(|c| c.id.as_str()).collect();
    ids.len() < data.catalogue.capabilities.len()
}

/// The exit code of a matrix: by requirement, or by cell where a filter left requirements without their cells.
pub fn exit_of(matrix: &Matrix, data: &Data, filtered: bool) -> Exit {
    let control = |model: Option<&str>| model.is_some_and(|m| data.models.iter().any(|x| x.id == m && !x.counts));
    let needed: BTreeSet<&String> = data.catalogue.requirements.iter().flat_map(|r| &r.never_not_applicable).collect();
    let passes = matrix.cells.iter().any(|c| c.verdict == Verdict::Pass && !control(c.model.as_deref()));
    let standings: Vec<Standing> = if filtered {
        let counted = matrix.cells.iter().filter(|c| !control(c.model.as_deref()));
        counted
            .map(|c| match c.verdict {
                Verdict::Pass => Standing::Holds,
                Verdict::NotApplicable if needed.contains(&c.id) => Standing::Unknown,
                Verdict::NotApplicable => Standing::Holds,
                // A documented risk is told, and fails nothing.
                Verdict::Partial if c.result == Some(Result_::Residual) => Standing::Holds,
                Verdict::Fail | Verdict::Partial => Standing::Broken,
                Verdict::Inconclusive | Verdict::Skipped => Standing::Unknown,
            })
            .collect()
    } else {
        matrix.requirements.iter().map(|r| r.standing).collect()
    };
    if standings.contains(&Standing::Broken) {
        Exit::Broken
    } else if !passes
        || standings.is_empty()
        || !matrix.leftovers.ours.is_empty()
        || standings.contains(&Standing::Unknown)
        || !matrix.run.complete
    {
        Exit::Inconclusive
    } else {
        Exit::Ok
    }
}

fn describe(plan: &Plan) -> String {
    let mut text = String::new();
    for (runtime, jobs) in plan.runtimes.iter().zip(&plan.jobs) {
        let containers: usize = jobs.iter().map(Job::containers).sum();
        let cells = plan.cells.iter().filter(|c| &c.runtime == runtime).count();
        text.push_str(&format!("{runtime}: {cells} cells from {} scenarios, {containers} containers\n", jobs.len()));
        for job in jobs {
            text.push_str(&format!("  {}\n", job.name()));
        }
    }
    text.push_str("lab: helper, witness, proxy, sidecar; 4 networks, 1 volume\n");
    text
}
