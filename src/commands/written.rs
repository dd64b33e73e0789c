//! The files of a run: report and journal, of all runtimes together and of each; and of every repetition.

use std::{
    collections::BTreeSet,
    fs,
    net::IpAddr,
    path::{Path, PathBuf},
};

use awf_probe_matrix::{Matrix, repeat::fold};
use awf_probe_reports::Format;

use super::{Data, rendered};
use crate::{error::Error, event::Event, fingerprint, judge::judge, progress::note};

/// What a run has measured so far, and where it goes.
#[derive(Debug)]
pub(super) struct Written<'a> {
    out: Option<&'a Path>,
    repeat: u32,
    data: &'a Data,
    /// Of each repetition.
    rounds: Vec<Matrix>,
    /// The same, of each runtime by itself.
    parts: Vec<Vec<Matrix>>,
}

impl<'a> Written<'a> {
    pub(super) fn new(out: Option<&'a Path>, repeat: u32, data: &'a Data) -> Self {
        Self { out, repeat, data, rounds: vec![], parts: vec![] }
    }

    fn below(&self, n: u32) -> String {
        format!("repeat-{n:0width$}", width = self.repeat.to_string().len().max(2))
    }

    /// The folder of the next repetition, made, and its number from 1.
    pub(super) fn next(&self) -> Result<(Option<PathBuf>, u32), Error> {
        let n = u32::try_from(self.rounds.len()).unwrap_or(u32::MAX).saturating_add(1);
        let Some(out) = self.out else { return Ok((None, n)) };
        let dir = if self.repeat > 1 { out.join(self.below(n)) } else { out.to_owned() };
        fs::create_dir_all(&dir).map_err(|e| Error::unwritable(&dir, &e))?;
        Ok((Some(dir), n))
    }

    /// Judges and writes a repetition, and what all of them say together, which it returns.
    pub(super) fn add(&mut self, events: &[Event]) -> Result<Matrix, Error> {
        let (dir, n) = self.next()?;
        let judged = |events: &[Event]| judge(events, &self.data.catalogue, &self.data.models, &self.data.products);
        let matrix = judged(events);
        let mut parts = Vec::new();
        if matrix.runtimes.len() > 1 && self.out.is_some() {
            for row in &matrix.runtimes {
                let part = of_runtime(events, &row.name);
                let own = judged(&part);
                if let Some(dir) = &dir {
                    let dir = made(dir, &row.name)?;
                    self.report(&dir, &own)?;
                    journal(&dir, &part)?;
                }
                parts.push(own);
            }
        }
        if let Some(dir) = &dir {
            self.report(dir, &matrix)?;
        }
        if self.repeat <= 1 {
            return Ok(matrix);
        }
        // An interrupted one says nothing of cells it did not come to.
        if !matrix.run.complete {
            return Ok(matrix);
        }
        self.rounds.push(matrix);
        self.parts.resize(parts.len(), vec![]);
        self.parts.iter_mut().zip(parts).for_each(|(all, part)| all.push(part));
        let all = self.folded(&self.rounds, &format!("{}/journal.jsonl", self.below(n)))?;
        if let Some(out) = self.out {
            self.report(out, &all)?;
            for part in &self.parts {
                let Some(row) = part.first().and_then(|m| m.runtimes.first()) else { continue };
                let at = format!("../{}/{}/journal.jsonl", self.below(n), file_name(&row.name));
                self.report(&made(out, &row.name)?, &self.folded(part, &at)?)?;
            }
        }
        Ok(all)
    }

    fn folded(&self, rounds: &[Matrix], journal: &str) -> Result<Matrix, Error> {
        let folded = fold(rounds, &self.data.catalogue, &self.data.models);
        let mut all = folded.map_err(|e| Error::Lab { why: e.to_string() })?;
        all.run.journal = Some(journal.to_owned());
        Ok(all)
    }

    fn report(&self, dir: &Path, matrix: &Matrix) -> Result<(), Error> {
        let output = crate::cli::Output { format: "json".to_owned(), full: false, only_bad: false };
        write_sealed(&dir.join("report.json"), rendered(matrix, self.data, &output, Format::Json)?.as_bytes())
    }
}

fn file_name(runtime: &str) -> String {
    runtime.replace('/', "_")
}

/// The folder of a runtime below another, made.
fn made(dir: &Path, runtime: &str) -> Result<PathBuf, Error> {
    let own = dir.join(file_name(runtime));
    fs::create_dir_all(&own).map_err(|e| Error::unwritable(&own, &e))?;
    Ok(own)
}

fn journal(dir: &Path, events: &[Event]) -> Result<(), Error> {
    let mut lines = Vec::new();
    for event in events {
        lines.extend(serde_json::to_vec(event).map_err(|e| Error::Bug(e.to_string()))?);
        lines.push(b'\n');
    }
    write(&dir.join("journal.jsonl"), &lines)
}

/// A report with its MAC beside it. Without a key (no home, a folder that cannot be written) it has none, and says so.
fn write_sealed(path: &PathBuf, bytes: &[u8]) -> Result<(), Error> {
    write(path, bytes)?;
    let beside = fingerprint::mac_path(path);
    match fingerprint::mac(bytes) {
        Ok(mac) => write(&beside, format!("{mac}\n").as_bytes()),
        Err(e) => {
            note(&format!("the report has no MAC: {e}"));
            // One of an earlier report would call this one edited.
            match fs::remove_file(&beside) {
                Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(Error::unwritable(&beside, &e)),
                Ok(()) | Err(_) => Ok(()),
            }
        }
    }
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
