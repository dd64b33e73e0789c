//! Between the domain types and report-v1, both ways and field by field.

use std::collections::{BTreeMap, BTreeSet};

use awf_probe_matrix::{
    Catalogue, Cell, Coverage, Fingerprint, Host, IsolationClass, Kind, Leftovers, Matrix, Rejection, RequirementCell,
    RequirementResult, Result_, RunInfo, RuntimeRow, Sighting, Standing, Verdict,
};

use super::{
    CapabilityV1, CellV1, ClassV1, CoverageV1, FingerprintV1, HostV1, KindV1, LeftoversV1, RejectionV1, ReportV1,
    RequirementCellV1, RequirementV1, ResultV1, RunV1, RuntimeV1, SCHEMA, SightingV1, StandingV1, ToolV1, VerdictV1,
};
use crate::ReportError;

impl ReportV1 {
    /// The report of a matrix, with what the catalogue says about its capabilities; the digest is still to be made.
    pub(crate) fn new(matrix: &Matrix, catalogue: &Catalogue) -> Self {
        let used: BTreeSet<&str> = matrix.cells.iter().map(|c| c.id.as_str()).collect();
        let known = catalogue.capabilities.iter().filter(|c| used.contains(c.id.as_str()));
        let capabilities = known.map(|c| CapabilityV1 {
            id: c.id.clone(),
            title: c.title.clone(),
            kind: KindV1::of(&c.kind),
            family: c.family.clone(),
        });
        Self { capabilities: capabilities.collect(), ..matrix.into() }
    }
}

/// Without capabilities and without a digest.
impl From<&Matrix> for ReportV1 {
    fn from(matrix: &Matrix) -> Self {
        let Matrix { run, host, runtimes, cells, requirements, coverage, leftovers } = matrix;
        Self {
            schema: SCHEMA.to_owned(),
            tool: ToolV1 { name: "awf-probe".to_owned(), version: env!("CARGO_PKG_VERSION").to_owned() },
            digest: String::new(),
            run: Wire::of(run),
            host: Wire::of(host),
            runtimes: Wire::of(runtimes),
            requirements: Wire::of(requirements),
            coverage: Wire::of(coverage),
            leftovers: Wire::of(leftovers),
            capabilities: Vec::new(),
            cells: Wire::of(cells),
        }
    }
}

impl TryFrom<ReportV1> for Matrix {
    type Error = ReportError;

    fn try_from(report: ReportV1) -> Result<Self, ReportError> {
        if report.schema != SCHEMA {
            return Err(ReportError::Schema { found: report.schema, expected: SCHEMA });
        }
        let expected = report.computed_digest()?;
        if report.digest != expected {
            return Err(ReportError::Digest { found: report.digest, expected });
        }
        report.matrix()
    }
}

impl ReportV1 {
    /// The matrix of a report whose digest needs no check.
    pub(crate) fn matrix(self) -> Result<Matrix, ReportError> {
        let report = self;
        let runtimes = report.runtimes.iter().map(|r| r.name.as_str());
        let requirements = report.requirements.iter().map(|r| (r.id.as_str(), r.runtime.as_str()));
        if let Some(error) = inconsistency(runtimes, requirements) {
            return Err(error);
        }
        let names: BTreeSet<&str> = report.runtimes.iter().map(|r| r.name.as_str()).collect();
        let mut seen = BTreeSet::new();
        for c in &report.cells {
            if !names.contains(c.runtime.as_str()) {
                let why = format!("a cell of {} names the runtime {:?}, which is not listed", c.id, c.runtime);
                return Err(ReportError::Inconsistent(why));
            }
            if !seen.insert((&c.runtime, &c.id, &c.model, &c.backend)) {
                return Err(ReportError::Inconsistent(format!("the cell {} of {:?} is there twice", c.id, c.runtime)));
            }
        }
        Ok(Matrix {
            run: report.run.back(),
            host: report.host.back(),
            runtimes: report.runtimes.back(),
            cells: report.cells.back(),
            requirements: report.requirements.back(),
            coverage: report.coverage.back(),
            leftovers: report.leftovers.back(),
        })
    }
}

/// What the lists of runtimes and requirements contradict, if anything.
pub(crate) fn inconsistency<'a>(
    runtimes: impl Iterator<Item = &'a str>,
    requirements: impl Iterator<Item = (&'a str, &'a str)>,
) -> Option<ReportError> {
    let mut names = BTreeSet::new();
    for name in runtimes {
        if !names.insert(name) {
            return Some(ReportError::Inconsistent("a runtime is listed twice".to_owned()));
        }
    }
    for (id, runtime) in requirements {
        if !names.contains(runtime) {
            let why = format!("{id} names the runtime {runtime:?}, which is not listed");
            return Some(ReportError::Inconsistent(why));
        }
    }
    None
}

/// The written form of a domain type.
trait Wire<D> {
    fn of(domain: &D) -> Self;
    fn back(self) -> D;
}

macro_rules! same {
    ($($t:ty),*) => { $(impl Wire<Self> for $t {
        fn of(domain: &Self) -> Self { domain.clone() }
        fn back(self) -> Self { self }
    })* };
}

same!(String, bool, u64, usize, BTreeMap<String, u64>, BTreeMap<String, String>);

impl<D, W: Wire<D>> Wire<Vec<D>> for Vec<W> {
    fn of(domain: &Vec<D>) -> Self {
        domain.iter().map(W::of).collect()
    }
    fn back(self) -> Vec<D> {
        self.into_iter().map(W::back).collect()
    }
}

impl<D, W: Wire<D>> Wire<Option<D>> for Option<W> {
    fn of(domain: &Option<D>) -> Self {
        domain.as_ref().map(W::of)
    }
    fn back(self) -> Option<D> {
        self.map(W::back)
    }
}

impl<D, W: Wire<D>> Wire<Box<D>> for Box<W> {
    fn of(domain: &Box<D>) -> Self {
        Self::new(W::of(domain))
    }
    fn back(self) -> Box<D> {
        Box::new((*self).back())
    }
}

/// Names every field on both sides, so that a new one does not get lost unnoticed.
macro_rules! fields {
    ($($wire:ident = $domain:ident { $($w:ident $(= $d:ident)?),* $(,)? })*) => { $(impl Wire<$domain> for $wire {
        fn of(domain: &$domain) -> Self {
            Self { $($w: Wire::of(&fields!(@ domain $w $($d)?))),* }
        }
        fn back(self) -> $domain {
            let Self { $($w),* } = self;
            fields!(% $domain {} $($w $(= $d)?,)*)
        }
    })* };
    (@ $x:ident $w:ident) => { $x.$w };
    (@ $x:ident $w:ident $d:ident) => { $x.$d };
    (% $domain:ident { $($done:tt)* }) => { $domain { $($done)* } };
    (% $domain:ident { $($done:tt)* } $w:ident, $($rest:tt)*) => {
        fields!(% $domain { $($done)* $w: $w.back(), } $($rest)*)
    };
    (% $domain:ident { $($done:tt)* } $w:ident = $d:ident, $($rest:tt)*) => {
        fields!(% $domain { $($done)* $d: $w.back(), } $($rest)*)
    };
}

macro_rules! variants {
    ($($wire:ident = $domain:ident { $($v:ident),* $(,)? })*) => { $(impl Wire<$domain> for $wire {
        fn of(domain: &$domain) -> Self {
            match domain { $($domain::$v => Self::$v),* }
        }
        fn back(self) -> $domain {
            match self { $(Self::$v => $domain::$v),* }
        }
    })* };
}

fields! {
    RunV1 = RunInfo {
        id, version, started, elapsed_ms, catalogue, executable, document_range, lab, proxy, tools, complete,
        timings_ms = timings, sabotage, repeats,
        journal,
    }
    HostV1 = Host {
        kernel, os, arch, engine, api, cgroup, cgroup_driver, default_runtime, security, engine_id, cpus, settings,
    }
    RuntimeV1 = RuntimeRow { name, version, product, fingerprint, class, unusable, notes }
    FingerprintV1 = Fingerprint { path, sha256, args, files, wraps }
    CellV1 = Cell { id, runtime, model, backend, verdict, reason, result, evidence, rejection, counts }
    RejectionV1 = Rejection { told, silent, after_ms }
    SightingV1 = Sighting { source, saw, journal_line }
    RequirementV1 = RequirementResult { id, runtime, model, standing, because, rests_on }
    RequirementCellV1 = RequirementCell { cell, verdict, reason }
    CoverageV1 = Coverage { measured, examined, total }
    LeftoversV1 = Leftovers { ours, others, checked }
}

variants! {
    VerdictV1 = Verdict { Pass, Partial, Fail, Inconclusive, Skipped, NotApplicable }
    ResultV1 = Result_ { Leaked, Blocked, Proxied, RefusedAtSource, Served, Residual, Inconclusive, NotApplicable }
    ClassV1 = IsolationClass { SharedKernel, UserSpaceKernel, GuestKernel }
    StandingV1 = Standing { Holds, Unknown, Broken }
    KindV1 = Kind { Works, Contained, Egress }
}
