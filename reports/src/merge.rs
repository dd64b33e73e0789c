//! Reports of many hosts as one: what was measured under the same fingerprint is merged, everything else stands side by
//! side. One report at a time is in memory; of its cells the verdicts are kept, a byte each.

mod lean;
mod show;

use std::collections::{BTreeSet, HashMap};

use awf_probe_matrix::{Model, Standing, Verdict, models};
use lean::{Lean, LeanCell};

use crate::{
    ReportError,
    json::{FingerprintV1, RuntimeV1, StandingV1, VerdictV1},
    text::{clean, engine_name},
};

/// Reports of many hosts, merged one by one.
pub struct Merge {
    environments: Vec<Environment>,
    /// By everything that could make a difference.
    known: HashMap<String, usize>,
    /// Place of a cell by capability, model and backend.
    rows: Rows,
    requirements: Vec<String>,
    /// Models on which no requirement may rest.
    controls: BTreeSet<String>,
    reports: usize,
    left_out: Vec<(String, String)>,
}

/// One runtime on one kind of host, as often as it was measured.
struct Environment {
    runtime: String,
    version: String,
    executable: String,
    host: String,
    catalogue: String,
    unusable: bool,
    runs: usize,
    hosts: BTreeSet<String>,
    /// First and last start.
    started: (String, String),
    /// For each row a bit for each verdict that was seen.
    verdicts: Vec<u8>,
    /// For each requirement a bit for each standing that was seen.
    standings: Vec<u8>,
}

impl std::fmt::Debug for Merge {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { environments, reports, left_out, .. } = self;
        write!(f, "Merge({reports} reports, {} environments, left out: {left_out:?})", environments.len())
    }
}

impl Merge {
    /// Nothing yet.
    pub fn new() -> Result<Self, ReportError> {
        let models = models().map_err(|e| ReportError::Models(e.to_string()))?;
        Ok(Self {
            environments: Vec::new(),
            known: HashMap::new(),
            rows: Rows::default(),
            requirements: Vec::new(),
            controls: models.into_iter().filter(|m: &Model| !m.counts).map(|m| m.id).collect(),
            reports: 0,
            left_out: Vec::new(),
        })
    }

    /// Adds the report in a file. One that cannot be used is refused as a whole, and changes nothing.
    pub fn add(&mut self, bytes: &[u8]) -> Result<(), ReportError> {
        if bytes.len() > crate::json::MOST_BYTES {
            return Err(ReportError::TooLong { bytes: bytes.len(), limit: crate::json::MOST_BYTES });
        }
        let report = lean::read(bytes)?;
        let verdicts = self.verdicts(&report)?;
        self.reports += 1;
        let places: Vec<usize> = report.runtimes.iter().map(|r| self.environment(&report, r)).collect();
        for (place, mut seen) in places.iter().zip(verdicts) {
            let all = &mut self.environments[*place].verdicts;
            if all.len() < seen.len() {
                all.resize(seen.len(), 0);
            }
            seen.truncate(all.len());
            all.iter_mut().zip(seen).for_each(|(a, s)| *a |= s);
        }
        for r in &report.requirements {
            let id = clean(&r.id);
            let row = self.requirements.iter().position(|k| *k == id).unwrap_or_else(|| {
                self.requirements.push(id);
                self.requirements.len() - 1
            });
            let Some(at) = report.runtimes.iter().position(|x| x.name == r.runtime) else { continue };
            let all = &mut self.environments[places[at]].standings;
            if all.len() <= row {
                all.resize(row + 1, 0);
            }
            all[row] |= match r.standing {
                StandingV1::Holds => 1,
                StandingV1::Unknown => 2,
                StandingV1::Broken => 4,
            };
        }
        Ok(())
    }

    /// Names a file that is not part of it, and why.
    pub fn leave_out(&mut self, name: impl Into<String>, why: impl ToString) {
        self.left_out.push((clean(&name.into()), clean(&why.to_string())));
    }

    /// Whether everything that was given is part of it.
    pub fn is_whole(&self) -> bool {
        self.left_out.is_empty()
    }

    /// For each runtime of the report a bit for each row.
    fn verdicts(&mut self, report: &Lean<'_>) -> Result<Vec<Vec<u8>>, ReportError> {
        let mut all: Vec<Vec<u8>> = report.runtimes.iter().map(|_| vec![0; self.rows.names.len()]).collect();
        let mut last = 0;
        for cell in &report.cells {
            let name = &*cell.runtime.0;
            // The cells of a runtime stand together.
            if report.runtimes.get(last).is_none_or(|r| r.name != name) {
                let listed = report.runtimes.iter().position(|r| r.name == name);
                last = listed.ok_or_else(|| {
                    let why = format!("a cell of {} names the runtime {name:?}, which is not listed", &*cell.id.0);
                    ReportError::Inconsistent(why)
                })?;
            }
            let row = self.rows.place(cell);
            let seen = &mut all[last];
            if seen.len() <= row {
                seen.resize(row + 1, 0);
            }
            if seen[row] != 0 {
                let why = format!("the cell {} of {name:?} is there twice", &*cell.id.0);
                return Err(ReportError::Inconsistent(why));
            }
            seen[row] = bit(cell.verdict);
        }
        Ok(all)
    }

    /// The place of a runtime's environment, which is made if it is a new one.
    fn environment(&mut self, report: &Lean<'_>, runtime: &RuntimeV1) -> usize {
        let host = &report.host;
        let about = format!(
            "kernel {}, {}, {}, {}, cgroup v{} ({}), default runtime {}",
            host.kernel,
            host.arch,
            host.os,
            engine_name(&host.engine),
            host.cgroup,
            host.cgroup_driver,
            host.default_runtime
        );
        let executable = executable(&runtime.fingerprint);
        let key = format!(
            "{:?}",
            (
                &about,
                &host.security,
                (&runtime.name, &runtime.version, &executable, runtime.unusable.is_some()),
                (&report.run.catalogue, &report.run.executable, &report.run.proxy, &report.run.tools),
            )
        );
        let place = *self.known.entry(key).or_insert_with(|| {
            self.environments.push(Environment {
                runtime: clean(&runtime.name),
                version: clean(&runtime.version),
                executable: clean(&executable),
                host: clean(&about),
                catalogue: clean(&report.run.catalogue),
                unusable: runtime.unusable.is_some(),
                runs: 0,
                hosts: BTreeSet::new(),
                started: (clean(&report.run.started), clean(&report.run.started)),
                verdicts: Vec::new(),
                standings: Vec::new(),
            });
            self.environments.len() - 1
        });
        let environment = &mut self.environments[place];
        environment.runs += 1;
        environment.hosts.insert(host.engine_id.clone());
        let started = clean(&report.run.started);
        if started < environment.started.0 {
            environment.started.0 = started;
        } else if started > environment.started.1 {
            environment.started.1 = started;
        }
        place
    }
}

/// Rows in the order in which they were first seen.
#[derive(Default)]
struct Rows {
    names: Vec<Row>,
    places: HashMap<String, usize>,
    /// Where the next cell most likely is: reports list their cells in the same order.
    next: usize,
    key: String,
}

struct Row {
    id: String,
    model: Option<String>,
    backend: Option<String>,
}

impl Row {
    fn is(&self, cell: &LeanCell<'_>) -> bool {
        self.id == cell.id.0
            && self.model.as_deref() == cell.model.as_ref().map(|t| &*t.0)
            && self.backend.as_deref() == cell.backend.as_ref().map(|t| &*t.0)
    }

    /// As `Cell::name` has it.
    fn name(&self) -> String {
        clean(&match (&self.model, &self.backend) {
            (Some(m), Some(b)) => format!("{} [{m}/{b}]", self.id),
            (Some(m), None) => format!("{} [{m}]", self.id),
            (None, Some(b)) => format!("{} [{b}]", self.id),
            (None, None) => self.id.clone(),
        })
    }
}

impl Rows {
    fn place(&mut self, cell: &LeanCell<'_>) -> usize {
        if self.names.get(self.next).is_some_and(|r| r.is(cell)) {
            self.next += 1;
            return self.next - 1;
        }
        self.key.clear();
        for part in [Some(&cell.id), cell.model.as_ref(), cell.backend.as_ref()] {
            // A length keeps `a` + `bc` from being `ab` + `c`; an absent part is no empty one.
            let text = part.map(|t| &*t.0);
            self.key.push_str(&text.map_or_else(|| "-".to_owned(), |t| t.len().to_string()));
            self.key.push(':');
            self.key.push_str(text.unwrap_or_default());
        }
        let at = self.places.get(&self.key).copied().unwrap_or_else(|| {
            let own = |t: &lean::Text<'_>| t.0.clone().into_owned();
            self.names.push(Row {
                id: own(&cell.id),
                model: cell.model.as_ref().map(own),
                backend: cell.backend.as_ref().map(own),
            });
            self.places.insert(self.key.clone(), self.names.len() - 1);
            self.names.len() - 1
        });
        self.next = at + 1;
        at
    }
}

fn bit(verdict: VerdictV1) -> u8 {
    match verdict {
        VerdictV1::Pass => 1,
        VerdictV1::Partial => 1 << 1,
        VerdictV1::Fail => 1 << 2,
        VerdictV1::Inconclusive => 1 << 3,
        VerdictV1::Skipped => 1 << 4,
        VerdictV1::NotApplicable => 1 << 5,
    }
}

/// The verdicts behind the bits, best first.
fn verdicts(bits: u8) -> impl Iterator<Item = Verdict> {
    Verdict::ALL.into_iter().enumerate().filter(move |(n, _)| bits & 1 << n != 0).map(|(_, v)| v)
}

fn standings(bits: u8) -> impl Iterator<Item = Standing> {
    let all = [Standing::Holds, Standing::Unknown, Standing::Broken];
    all.into_iter().enumerate().filter(move |(n, _)| bits & 1 << n != 0).map(|(_, s)| s)
}

fn executable(f: &FingerprintV1) -> String {
    let rest = f.wraps.as_ref().map(|w| format!(" > {}", executable(w))).unwrap_or_default();
    [f.path.clone(), f.sha256.clone()].into_iter().chain(f.args.iter().cloned()).collect::<Vec<_>>().join(" ") + &rest
}
