//! `awf-probe run --engine command`: the part of the catalogue that a guest process alone can show.

use std::{path::PathBuf, sync::Arc, time::Instant};

use awf_probe_matrix::{
    Catalogue, RunInfo,
    launcher::{self, Launcher},
    select::rfc3339,
};

use super::{
    Data,
    run::{powers, watched},
};
use crate::{
    cli::RunArgs,
    engine::{
        command::{self, Bench, NO_ENGINE, UNSUPPORTED, place},
        docker::image::Executable,
    },
    error::Error,
    event::{Event, JOURNAL},
    fingerprint, inventory,
    journal::Sink,
    lab::role::Role,
    plan::{Filter, Job, Plan},
    progress::{Progress, note},
    scenario::{Privilege, millis},
};

/// The runtimes that are shipped, and those of the user's files; one of the user's wins over a shipped one.
pub fn known(files: &[PathBuf]) -> Result<Vec<Launcher>, Error> {
    let mut all = launcher::launchers().map_err(|e| Error::Bug(e.to_string()))?;
    for file in files {
        let unusable = |why: String| Error::Usage {
            why: format!("{}: {why}", file.display()),
            help: "docs/command-engine.md says what a description has; matrix/runtimes.toml has two".to_owned(),
        };
        let text = std::fs::read_to_string(file).map_err(|e| unusable(e.to_string()))?;
        let more = launcher::parse_launchers(&text).map_err(|e| unusable(e.to_string()))?;
        if more.is_empty() {
            return Err(unusable("it has no [[command]] table".to_owned()));
        }
        all.retain(|l| more.iter().all(|m| m.name != l.name));
        all.extend(more);
    }
    Ok(all)
}

/// Those asked for.
pub fn asked(known: &[Launcher], names: &[String], all: bool) -> Result<Vec<Launcher>, Error> {
    let there = |l: &&Launcher| program(l).is_some();
    if all {
        let found: Vec<Launcher> = known.iter().filter(there).cloned().collect();
        let left = known.iter().filter(|l| !there(l)).map(|l| l.name.clone()).collect::<Vec<_>>();
        if !left.is_empty() {
            note(&format!("not on this host: {}", left.join(", ")));
        }
        return Ok(found);
    }
    let words: Vec<String> = known.iter().map(|l| l.name.clone()).collect();
    if names.is_empty() {
        return Err(Error::Usage {
            why: "the command engine has no default runtime".to_owned(),
            help: format!("name one with --runtime, or --all; described are: {}", words.join(", ")),
        });
    }
    let mut found: Vec<Launcher> = Vec::new();
    for name in names {
        let Some(one) = known.iter().find(|l| l.name == *name) else {
            let nearest = inventory::nearest(name, &words);
            return Err(Error::UnknownLauncher { name: name.clone(), nearest, described: words });
        };
        if found.iter().all(|f| f.name != one.name) {
            found.push(one.clone());
        }
    }
    Ok(found)
}

/// The plan: each runtime by itself, since none is another's init.
pub fn plan(data: &Data, runtimes: &[Launcher], filter: &Filter) -> Result<Plan, Error> {
    let mut whole = Plan { runtimes: vec![], jobs: vec![], cells: vec![], filtered: false, held_back: vec![] };
    for l in runtimes {
        let names = [l.name.clone()];
        let part = Plan::build(&data.catalogue, &data.models, &names, &l.name, filter)?;
        whole.runtimes.extend(part.runtimes);
        whole.jobs.extend(part.jobs);
        whole.cells.extend(part.cells);
        whole.filtered |= part.filtered;
    }
    Ok(whole)
}

/// Launches and measures; whatever happens, what it made is removed.
pub(super) async fn measure(
    runtimes: &[Launcher],
    plan: &Plan,
    data: &Data,
    args: &RunArgs,
    profile: Option<Arc<str>>,
    sink: &Sink,
) -> Result<(), Error> {
    let begun = Instant::now();
    let run = crate::random_hex(4);
    for removed in place::sweep().await? {
        note(&format!("removed what an earlier run left: {removed}"));
    }
    let executable = Executable::own()?;
    sink.emit(Event::RunStarted {
        journal: JOURNAL.to_owned(),
        run: RunInfo {
            id: run.clone(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            started: rfc3339(fingerprint::now()),
            catalogue: data.catalogue.hash.clone(),
            executable: executable.hash.clone(),
            tools: "of the host".to_owned(),
            ..RunInfo::default()
        },
        host: command::host(),
        runtimes: runtimes.iter().map(command::describe).collect(),
        plan: plan.cells.clone(),
    });
    let place = place::Place::make(&run, &executable)?;
    let outcome = match command::helper(&run, &place, sink).await {
        Ok(helper) => {
            let work = all_of(runtimes, plan, &data.catalogue, args, profile, sink, &run, &executable, &place, &helper);
            let outcome = watched(sink, work).await;
            helper.close().await;
            outcome
        }
        Err(e) => Err(e),
    };
    // Of an interrupted run: whatever was being launched is told to go before its folder does.
    let undone = place.undo().await;
    let mut leftovers = place.leftovers();
    leftovers.ours.extend(undone.err());
    let left = leftovers.ours.clone();
    sink.emit(Event::Cleaned { leftovers });
    let complete = outcome.is_ok() && left.is_empty();
    sink.emit(Event::RunFinished { elapsed_ms: millis(begun.elapsed()), complete, lines: 0 });
    outcome?;
    if left.is_empty() { Ok(()) } else { Err(Error::Leftovers { what: left.join("; ") }) }
}

#[expect(clippy::too_many_arguments, reason = "private, called once")]
async fn all_of(
    runtimes: &[Launcher],
    plan: &Plan,
    catalogue: &Catalogue,
    args: &RunArgs,
    profile: Option<Arc<str>>,
    sink: &Sink,
    run: &str,
    executable: &Executable,
    place: &place::Place,
    helper: &Role,
) -> Result<(), Error> {
    let privilege = Privilege { engine: powers(helper).await?, profile };
    let bench = Bench {
        run,
        place,
        helper,
        privilege: &privilege,
        sink,
        catalogue,
        executable_bytes: executable.size(),
        deadline: args.deadline,
    };
    let progress = if args.quiet { Progress::silent() } else { Progress::new(plan.jobs.iter().map(Vec::len).sum()) };
    for (launcher, jobs) in runtimes.iter().zip(&plan.jobs) {
        let begun = Instant::now();
        let mut starts = true;
        let mut tried = 0;
        for job in jobs {
            progress.begin(&format!("{}: {}", launcher.name, job.name()));
            match job {
                Job::Solo(name) if starts => {
                    starts = bench.solo(launcher, name).await || *name != "plain";
                    tried += 1;
                }
                Job::Solo(_) => {}
                Job::Driven(_)
                | Job::Netns(_)
                | Job::Egress { .. }
                | Job::Tamper
                | Job::Guard { .. }
                | Job::DualStack { .. } => sink.emit(Event::Problem {
                    runtime: launcher.name.clone(),
                    scenario: job.name(),
                    stage: UNSUPPORTED.to_owned(),
                    why: NO_ENGINE.to_owned(),
                }),
            }
            progress.done();
        }
        let how = if starts { format!("{tried} sandboxes asked for") } else { "does not start".to_owned() };
        progress.say(&format!("{}: {how} in {:.1} s", launcher.name, begun.elapsed().as_secs_f64()));
    }
    progress.finish();
    Ok(())
}

/// The program of a launcher on this host.
pub(super) fn program(launcher: &Launcher) -> Option<PathBuf> {
    inventory::located(launcher.version.first().unwrap_or(&launcher.launch[0]))
}
