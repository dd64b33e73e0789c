//! `awf-probe run`: plan, measure, judge, report, and leave nothing behind.

use std::{
    collections::BTreeSet,
    fs,
    net::IpAddr,
    path::{Path, PathBuf},
    time::Instant,
};

use awf_probe_matrix::{Matrix, Standing, Verdict};
use awf_probe_reports::Format;

use super::{Data, format, print, rendered, timings};
use crate::{
    cli::RunArgs,
    engine::docker::Docker,
    error::{Error, Exit},
    event::Event,
    inventory,
    journal::Sink,
    judge::judge,
    plan::{Filter, Job, Plan},
    progress::{Progress, note},
    scenario::{Cx, egress, netns, solo},
    session::{self, Asked},
};

/// Measures.
pub async fn run(args: RunArgs) -> Result<Exit, Error> {
    let format = format(&args.output)?;
    let filter = Filter::new(&args.only, &args.skip)?;
    let data = Data::load()?;
    let docker = Docker::connect().await?;
    let info = docker.info().await?;
    let names = inventory::resolve(&info, &args.runtimes, args.all)?;
    let plan = Plan::build(&data.catalogue, &data.models, &names, &info.host.default_runtime, &filter)?;
    if args.dry_run {
        print(&describe(&plan))?;
        return Ok(Exit::Ok);
    }
    let out = args.out.as_deref();
    if let Some(dir) = out {
        fs::create_dir_all(dir).map_err(|e| Error::unwritable(dir, &e))?;
    }
    let journal = out.map(|d| d.join("journal.jsonl"));
    let sink = Sink::create(journal.as_deref())?;
    let asked = Asked {
        docker: &docker,
        info: &info,
        catalogue: &data.catalogue.hash,
        runtimes: &plan.runtimes,
        cells: &plan.cells,
        jobs: usize::from(args.jobs),
        deadline: args.deadline,
        squid: args.proxy == crate::cli::ProxyEngine::Squid,
        toolbox_image: args.toolbox_image.as_deref(),
    };
    let measured = session::hold(&asked, &sink, async |cx| carry_out(cx, &plan).await).await;
    if let Some(why) = sink.failure() {
        return Err(Error::Unwritable { path: journal.unwrap_or_default(), why });
    }
    let matrix = judge(&sink.events(), &data.catalogue, &data.models, &data.products);
    if let Some(dir) = out {
        write_reports(dir, &matrix, &data, &sink.events())?;
    }
    // What was learned before an error is kept in the journal and the report.
    measured?;
    print(&rendered(&matrix, &data, &args.output, format)?)?;
    if args.timings {
        let ledger = timings::ledger(&sink.events());
        // Behind a table it belongs to the result; a document for a machine stays what it is.
        if format == Format::Table { print(&format!("\n{ledger}"))? } else { note(&ledger) }
    }
    if let Some(dir) = out {
        note(&format!("report and journal are in {}", dir.display()));
    }
    if !matrix.leftovers.ours.is_empty() {
        return Err(Error::Leftovers { what: matrix.leftovers.ours.join("; ") });
    }
    let exit = exit_of(&matrix, &data, plan.filtered);
    if args.report_only && exit != Exit::Ok {
        note(&format!("the measurement is complete; without --report-only this would exit {}", exit as u8));
        return Ok(Exit::Ok);
    }
    Ok(exit)
}

/// Every scenario of the plan.
async fn carry_out(cx: &Cx, plan: &Plan) {
    let progress = Progress::new(plan.jobs.iter().map(Vec::len).sum());
    let runtimes = plan
        .runtimes
        .iter()
        .zip(&plan.jobs)
        .map(|(runtime, jobs)| one_runtime(cx, runtime, jobs, plan.runtimes.len() > 1, &progress));
    let quiet = futures_util::future::join_all(runtimes).await;
    // One after the other, when nothing else of the run is under way: these measure a share of a processor.
    for (runtime, jobs) in plan.runtimes.iter().zip(quiet) {
        for job in jobs {
            one_job(cx, runtime, job, &progress).await;
        }
    }
    progress.finish();
}

/// Scenarios that wait for quiet where several runtimes are measured at once.
const QUIET: &[&str] = &["cpu", "unlimited"];

/// A runtime's scenarios. The first decides whether it starts at all. Returns those that are left for a quiet moment.
async fn one_runtime<'a>(cx: &Cx, runtime: &str, jobs: &'a [Job], crowded: bool, progress: &Progress) -> Vec<&'a Job> {
    let begun = Instant::now();
    let Some((first, rest)) = jobs.split_first() else { return vec![] };
    progress.begin(&format!("{runtime}: {}", first.name()));
    let started = match first {
        Job::Solo(name) => solo::run(cx, runtime, name).await,
        Job::Netns(_) | Job::Egress { .. } => false,
    };
    progress.done();
    if !started {
        progress.say(&format!("{runtime}: does not start; `awf-probe doctor` says more"));
        rest.iter().for_each(|_| progress.done());
        return vec![];
    }
    let waits = |job: &Job| crowded && matches!(job, Job::Solo(name) if QUIET.contains(name));
    let (later, now): (Vec<&Job>, Vec<&Job>) = rest.iter().partition(|job| waits(job));
    futures_util::future::join_all(now.into_iter().map(|job| one_job(cx, runtime, job, progress))).await;
    progress.say(&format!(
        "{runtime}: {} scenarios in {:.1} s",
        jobs.len() - later.len(),
        begun.elapsed().as_secs_f64()
    ));
    later
}

async fn one_job(cx: &Cx, runtime: &str, job: &Job, progress: &Progress) {
    progress.begin(&format!("{runtime}: {}", job.name()));
    match job {
        Job::Solo(name) => drop(solo::run(cx, runtime, name).await),
        Job::Netns(init) => netns::run(cx, runtime, init).await,
        Job::Egress { model, backend, raw } => egress::run(cx, runtime, model, backend.as_deref(), *raw).await,
    }
    progress.done();
}

fn write_reports(dir: &Path, matrix: &Matrix, data: &Data, events: &[Event]) -> Result<(), Error> {
    let json = |m: &Matrix| {
        let output = crate::cli::Output { format: "json".to_owned(), full: false, only_bad: false };
        rendered(m, data, &output, Format::Json)
    };
    write(&dir.join("report.json"), json(matrix)?.as_bytes())?;
    if matrix.runtimes.len() < 2 {
        return Ok(());
    }
    for row in &matrix.runtimes {
        let own = dir.join(row.name.replace('/', "_"));
        fs::create_dir_all(&own).map_err(|e| Error::unwritable(&own, &e))?;
        let part = of_runtime(events, &row.name);
        let judged = judge(&part, &data.catalogue, &data.models, &data.products);
        write(&own.join("report.json"), json(&judged)?.as_bytes())?;
        let mut lines = Vec::new();
        for event in &part {
            lines.extend(serde_json::to_vec(event).map_err(|e| Error::Bug(e.to_string()))?);
            lines.push(b'\n');
        }
        write(&own.join("journal.jsonl"), &lines)?;
    }
    Ok(())
}

fn write(path: &PathBuf, bytes: &[u8]) -> Result<(), Error> {
    fs::write(path, bytes).map_err(|e| Error::unwritable(path, &e))
}

/// The part of a journal that concerns one runtime. Of the ledgers everything stays but what another runtime's
/// sandboxes sent: a packet nobody can account for may be this one's.
pub fn of_runtime(events: &[Event], name: &str) -> Vec<Event> {
    let mut part = Vec::new();
    let mut others: BTreeSet<IpAddr> = BTreeSet::new();
    for event in events {
        match event {
            Event::SandboxStarted { runtime, address, .. } if runtime != name => others.extend(address),
            _ => {}
        }
    }
    for event in events {
        match event {
            Event::RunStarted { journal, run, host, runtimes, plan } => part.push(Event::RunStarted {
                journal: journal.clone(),
                run: run.clone(),
                host: host.clone(),
                runtimes: runtimes.iter().filter(|r| r.name == name).cloned().collect(),
                plan: plan.iter().filter(|c| c.runtime == name).cloned().collect(),
            }),
            Event::SandboxStarted { runtime, .. }
            | Event::SandboxDied { runtime, .. }
            | Event::Observed { runtime, .. }
            | Event::HostProcesses { runtime, .. }
            | Event::Phase { runtime, .. }
            | Event::Drained { runtime, .. } => {
                if runtime == name {
                    part.push(event.clone());
                }
            }
            Event::Problem { runtime, scenario, .. } => {
                if runtime == name || scenario == "lab" {
                    part.push(event.clone());
                }
            }
            Event::Packet { at, packet } => {
                // A frame where none belongs concerns every runtime.
                if at == "tripwire" || !others.contains(&packet.src) {
                    part.push(event.clone());
                }
            }
            Event::Dns { client, .. } | Event::Http { client, .. } | Event::Decision { client, .. } => {
                if !others.contains(client) {
                    part.push(event.clone());
                }
            }
            Event::LabUp { .. } | Event::Cleaned { .. } => part.push(event.clone()),
            Event::RunFinished { elapsed_ms, complete, .. } => part.push(Event::RunFinished {
                elapsed_ms: *elapsed_ms,
                complete: *complete,
                lines: part.len() as u64 + 1,
            }),
        }
    }
    part
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
    text.push_str("lab: helper, witness, proxy; 2 networks, 1 volume\n");
    text
}
