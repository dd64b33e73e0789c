//! `awf-probe auto`: select from what is known of this very host, and measure only what is not.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Stdio,
};

use awf_probe_matrix::select::{Source, Unreadable};
use awf_probe_reports::{Format, Style, read, render};
use tokio::process::Command;

use super::{
    Data,
    select::{Chooser, look, source},
};
use crate::{
    cli::AutoArgs,
    engine::docker::{Docker, Info},
    error::{Error, Exit},
    fingerprint::{self, Hashes},
    inventory,
    progress::note,
};

/// Selects, after measuring what no valid report is there for.
pub async fn run(args: AutoArgs) -> Result<Exit, Error> {
    let data = Data::load()?;
    let chooser = Chooser::new(&data, &args.asked)?;
    let cache = fingerprint::cache_dir()?;
    let docker = Docker::connect().await?;
    let info = docker.info().await?;
    let names = inventory::resolve(&info, &args.runtimes, args.runtimes.is_empty())?;
    let mut hashes = Hashes::load(&cache);
    let mut sources = known(&cache, &names);
    let live = look(&info, &sources, &mut hashes);
    let stale = chooser.ask(&sources, Some(&live), &args.asked, |answer, _| {
        let unusable = |n: &&String| {
            let seen =
                sources.iter().any(|s| s.content.as_ref().is_ok_and(|m| m.runtimes.iter().any(|r| r.name == **n)));
            !seen || answer.rejected.iter().any(|r| r.runtime == **n && r.requirement == "report")
        };
        names.iter().filter(unusable).cloned().collect::<Vec<String>>()
    });
    let mut live = live;
    if !stale.is_empty() {
        note(&format!("no valid report of {}: measuring", stale.join(", ")));
        measure(&cache, &stale).await?;
        // The host is looked at again: it must be now what it was while it was measured.
        let info: Info = docker.info().await?;
        sources = known(&cache, &names);
        live = look(&info, &sources, &mut hashes);
    }
    hashes.save(&cache)?;
    let absent = |n: &&String| !sources.iter().any(|s| s.name == place(&cache, n).display().to_string());
    for name in names.iter().filter(absent).cloned().collect::<Vec<_>>() {
        let why = "it was not measured".to_owned();
        sources.push(Source { name: name.clone(), content: Err(Unreadable { why, runtimes: vec![name.clone()] }) });
    }
    chooser.answer(&sources, Some(&live), &args.asked)
}

fn place(cache: &Path, runtime: &str) -> PathBuf {
    cache.join("reports").join(format!("{}.json", runtime.replace('/', "_")))
}

/// Cached reports of these runtimes. One without this host's MAC is none.
fn known(cache: &Path, names: &[String]) -> Vec<Source> {
    names.iter().filter_map(|n| source(&place(cache, n), true).ok()).collect()
}

/// Measures these runtimes in a process of their own, whose results are files, and keeps a report of each.
async fn measure(cache: &Path, names: &[String]) -> Result<(), Error> {
    let data = Data::load()?;
    let dir = cache.join(format!("run-{}", crate::random_hex(4)));
    let me = std::env::current_exe().map_err(|e| Error::Bug(e.to_string()))?;
    let mut command = Command::new(me);
    command.arg("run").arg("--report-only").arg("--out").arg(&dir).stdin(Stdio::null()).stdout(Stdio::null());
    for name in names {
        command.arg("--runtime").arg(name);
    }
    let status = command.status().await.map_err(|e| Error::Bug(format!("cannot start a measurement: {e}")))?;
    let kept = if status.success() { keep(cache, &dir, names, &data) } else { Ok(()) };
    if let Err(e) = fs::remove_dir_all(&dir) {
        note(&format!("{} stays: {e}", dir.display()));
    }
    kept?;
    if status.success() {
        return Ok(());
    }
    Err(Error::Lab { why: format!("the measurement ended with {status}; what it said stands above") })
}

fn keep(cache: &Path, dir: &Path, names: &[String], data: &Data) -> Result<(), Error> {
    let bug = |e: &dyn std::fmt::Display| Error::Bug(e.to_string());
    for name in names {
        let own = dir.join(name.replace('/', "_")).join("report.json");
        let file = if names.len() > 1 { own } else { dir.join("report.json") };
        let text = fs::read_to_string(&file).map_err(|e| Error::unwritable(&file, &e))?;
        let mut matrix = read(&text).map_err(|e| bug(&e))?;
        for cell in &mut matrix.cells {
            // Of the evidence a selection quotes the last piece; the rest would only be read and hashed each time.
            let last = cell.evidence.len().saturating_sub(1);
            cell.evidence.drain(..last);
        }
        let text = render(&matrix, &data.catalogue, Format::Json, Style::default()).map_err(|e| bug(&e))?;
        let to = place(cache, name);
        if let Some(folder) = to.parent() {
            fs::create_dir_all(folder).map_err(|e| Error::unwritable(folder, &e))?;
        }
        fingerprint::replace(&fingerprint::mac_path(&to), fingerprint::mac(text.as_bytes())?.as_bytes())?;
        fingerprint::replace(&to, text.as_bytes())?;
    }
    Ok(())
}
