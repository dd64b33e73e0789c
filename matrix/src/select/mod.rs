//! From matrices to the runtime AWF should use, or a refusal. Pure: the same reports, policy and time give the same
//! answer. Whatever is missing, unknown, stale, foreign, damaged or contradicted never speaks for a runtime.

use std::{cmp::Reverse, collections::BTreeMap};

use crate::{
    Capability, Catalogue, Cell, Fingerprint, Host, IsolationClass, Kind, Matrix, Model, RuntimeRow, Scope, Sighting,
    Standing, Verdict,
};

mod mitigation;
mod policy;
mod usable;
mod view;

pub use mitigation::{Derived, Effect, Field, Mitigation, Needed, mitigations, property, registry_fields};
pub use policy::{POLICIES, Policy, PolicyError, nearest, seconds};
pub use usable::{host_difference, instant, rfc3339};

use usable::{Merged, merge, names, reached, runtime_difference, usable};
use view::View;

/// A report that was given, and what it holds.
#[derive(Clone, Debug)]
pub struct Source {
    /// Where it came from.
    pub name: String,
    /// Its matrix, or why it cannot be read.
    pub content: Result<Matrix, Unreadable>,
}

/// A report that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unreadable {
    /// Why.
    pub why: String,
    /// The runtimes it claims to be about, as far as that can be told.
    pub runtimes: Vec<String>,
}

/// The host as it is now.
#[derive(Clone, Debug)]
pub struct Live {
    /// What the engine says of it.
    pub host: Host,
    /// What stands behind each registered runtime.
    pub runtimes: BTreeMap<String, Fingerprint>,
}

/// What is asked.
#[derive(Clone, Copy, Debug)]
pub struct Question<'a> {
    /// Capabilities and requirements.
    pub catalogue: &'a Catalogue,
    /// Enforcement models.
    pub models: &'a [Model],
    /// What AWF can do differently.
    pub mitigations: &'a [Mitigation],
    /// Fields of AWF's registry.
    pub fields: &'a [Field],
    /// The policy.
    pub policy: &'a Policy,
    /// Further capabilities that must pass.
    pub require: &'a [String],
    /// Seconds since 1970.
    pub now: u64,
    /// Seconds after which a report is too old.
    pub max_age: u64,
    /// The host as it is now, if it was looked at.
    pub live: Option<&'a Live>,
    /// Costs by runtime, lower is better, where a benchmark is there.
    pub costs: &'a BTreeMap<String, u64>,
}

/// A cell something rests on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Basis {
    /// Name of the cell, with model and backend.
    pub cell: String,
    /// Its verdict.
    pub verdict: Verdict,
    /// Its reason.
    pub reason: String,
    /// The last piece of its evidence: what decided it.
    pub evidence: Option<Sighting>,
}

impl Basis {
    fn of(cell: &Cell) -> Self {
        Self {
            cell: cell.name(),
            verdict: cell.verdict,
            reason: cell.reason.clone(),
            evidence: cell.evidence.last().cloned(),
        }
    }
}

/// A requirement and the cells it rests on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proof {
    /// `R1` … `R7`, `policy`, `--require`.
    pub id: String,
    /// What it demands.
    pub title: String,
    /// Whether it holds.
    pub standing: Standing,
    /// The cells it rests on.
    pub cells: Vec<Basis>,
}

/// A model under which a runtime keeps everything.
#[derive(Clone, Debug)]
pub struct Proved {
    /// The model.
    pub model: Model,
    /// The iptables backend.
    pub backend: Option<String>,
    /// What is kept, and on which cells that rests.
    pub proofs: Vec<Proof>,
    /// What AWF must do differently.
    pub mitigations: Vec<Needed>,
}

impl Proved {
    /// `MODEL` or `MODEL/BACKEND`.
    pub fn name(&self) -> String {
        stage_name(&self.model, self.backend.as_deref())
    }

    /// Whether a mitigation asks for this.
    pub fn has(&self, effect: Effect) -> bool {
        self.mitigations.iter().any(|m| m.effects.contains(&effect))
    }
}

/// A runtime that may be used.
#[derive(Clone, Debug)]
pub struct Candidate {
    /// As the report has it.
    pub row: RuntimeRow,
    /// Measured isolation.
    pub class: IsolationClass,
    /// The report it rests on.
    pub report: String,
    /// The run of that report, and when it was.
    pub run: (String, String),
    /// Models it may be used with, the one to take first.
    pub proved: Vec<Proved>,
    /// Cells of kind `contained` that are not held: the host surface within reach.
    pub reached: Vec<String>,
    /// Cost, where a benchmark is there.
    pub cost: Option<u64>,
}

/// A runtime that may not be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejected {
    /// Its name.
    pub runtime: String,
    /// The first requirement it failed; `report`, `identity`, `isolation`, `mitigation` where it is another thing.
    pub requirement: String,
    /// The model it came nearest under, if that matters.
    pub model: Option<String>,
    /// What is wrong.
    pub reason: String,
    /// The cell.
    pub basis: Option<Basis>,
    /// The report that says so.
    pub report: Option<String>,
}

/// What became of a report.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReportUse {
    /// Where it came from.
    pub name: String,
    /// Why it does not count, if so.
    pub refused: Option<String>,
}

/// A runtime's record for AWF's registry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// The runtime.
    pub runtime: String,
    /// Its product, by its own `--version`.
    pub product: String,
    /// The fields.
    pub fields: Vec<Derived>,
}

/// The answer.
#[derive(Clone, Debug)]
pub struct Answer {
    /// Runtimes that may be used, best first. Empty: a refusal.
    pub ranked: Vec<Candidate>,
    /// The others, by name.
    pub rejected: Vec<Rejected>,
    /// What became of each report.
    pub reports: Vec<ReportUse>,
    /// Records of all runtimes that a report counts for, by name.
    pub registry: Vec<Record>,
    /// The host the reports are of.
    pub host: Option<Host>,
}

/// Chooses, or refuses.
pub fn select(sources: &[Source], q: &Question<'_>) -> Answer {
    let mut sources: Vec<Source> = sources.to_vec();
    sources.sort_by(|a, b| a.name.cmp(&b.name));
    let mut judged: Vec<Result<&Matrix, String>> = sources.iter().map(|s| usable(s, q)).collect();
    one_host(&sources, &mut judged);
    let good: Vec<(&Source, &Matrix)> =
        sources.iter().zip(&judged).filter_map(|(s, m)| m.as_ref().ok().map(|m| (s, *m))).collect();
    let mut answer = Answer {
        ranked: vec![],
        rejected: vec![],
        reports: vec![],
        registry: vec![],
        host: good.first().map(|(_, m)| m.host.clone()),
    };
    for (name, of) in names(&sources) {
        match merge(name, &good) {
            Err((report, why)) => answer.rejected.push(rejected(name, "report", why, Some(&report))),
            Ok(None) => {
                let refused = sources.iter().zip(&judged).find_map(|(s, j)| {
                    let mine = of.iter().any(|o| o.name == s.name);
                    j.as_ref().err().filter(|_| mine).map(|why| (s.name.clone(), why.clone()))
                });
                let (report, why) = refused.unwrap_or_default();
                answer.rejected.push(rejected(name, "report", why, Some(&report)));
            }
            Ok(Some(merged)) => {
                answer.registry.extend(record(&merged, q));
                match consider(&merged, q) {
                    Ok(candidate) => answer.ranked.push(candidate),
                    Err(no) => answer.rejected.push(*no),
                }
            }
        }
    }
    answer.ranked.sort_by_key(rank);
    for (source, judged) in sources.iter().zip(judged) {
        answer.reports.push(ReportUse { name: source.name.clone(), refused: judged.err() });
    }
    answer
}

/// Without a look at the host nobody can say which of two hosts is this one: then neither is.
fn one_host(sources: &[Source], judged: &mut [Result<&Matrix, String>]) {
    let first = judged.iter().position(Result::is_ok);
    let Some(first) = first else { return };
    let Ok(reference) = judged[first] else { return };
    let differs = |m: &Matrix| host_difference(&m.host, &reference.host);
    let Some((at, why)) = judged.iter().enumerate().find_map(|(i, j)| Some((i, differs(j.as_ref().ok()?)?))) else {
        return;
    };
    let text = format!(
        "{} and {} are of different hosts ({why}); --verify-host tells which is this one",
        sources[first].name, sources[at].name
    );
    for j in judged.iter_mut().filter(|j| j.is_ok()) {
        *j = Err(text.clone());
    }
}

type Rank = (Reverse<IsolationClass>, usize, usize, u64, String);

/// Isolation, then the host surface within reach, mitigations, cost, name.
fn rank(c: &Candidate) -> Rank {
    let mitigations = c.proved.first().map_or(usize::MAX, |p| p.mitigations.len());
    (Reverse(c.class), c.reached.len(), mitigations, c.cost.unwrap_or(u64::MAX), c.row.name.clone())
}

fn rejected(runtime: &str, requirement: &str, reason: String, report: Option<&str>) -> Rejected {
    Rejected {
        runtime: runtime.to_owned(),
        requirement: requirement.to_owned(),
        model: None,
        reason,
        basis: None,
        report: report.map(str::to_owned),
    }
}

fn consider(merged: &Merged<'_>, q: &Question<'_>) -> Result<Candidate, Box<Rejected>> {
    let row = merged.row;
    let no =
        |requirement: &str, reason: String| Box::new(rejected(&row.name, requirement, reason, Some(merged.source)));
    if let Some(why) = runtime_difference(row, q.live) {
        return Err(no("report", why));
    }
    if let Some(why) = &row.unusable {
        return Err(no("R7", format!("it does not start: {why}")));
    }
    let Some(class) = row.class else {
        return Err(no("identity", "which runtime really ran was not proved".to_owned()));
    };
    if let Some(least) = q.policy.minimum_isolation.filter(|least| class < *least) {
        let why = format!("it measures as {}; the policy asks for {} at least", class.word(), least.word());
        return Err(no("isolation", why));
    }
    let mut proved: Vec<Proved> = Vec::new();
    let mut nearest: Option<(usize, Rejected)> = None;
    for (model, backend) in stages(q, &merged.cells) {
        match stage(merged, q, model, backend) {
            Ok(p) => proved.push(p),
            Err((kept, shortfall)) => {
                if nearest.as_ref().is_none_or(|(most, _)| kept > *most) {
                    nearest = Some((kept, *shortfall));
                }
            }
        }
    }
    if proved.is_empty() {
        let none = || *no("R1", "no enforcement model that the policy allows was measured".to_owned());
        return Err(Box::new(nearest.map_or_else(none, |(_, r)| r)));
    }
    let place = |p: &Proved| {
        let preferred = q.policy.prefer.iter().position(|x| *x == p.model.id).unwrap_or(usize::MAX);
        let listed = q.models.iter().position(|m| m.id == p.model.id);
        (preferred, p.mitigations.len(), listed, p.backend.clone())
    };
    proved.sort_by_key(place);
    Ok(Candidate {
        row: row.clone(),
        class,
        report: merged.source.to_owned(),
        run: (merged.matrix.run.id.clone(), merged.matrix.run.started.clone()),
        proved,
        reached: surface(merged, q.catalogue),
        cost: q.costs.get(&row.name).copied(),
    })
}

/// Cells of kind `contained` that are not held. Those that are missing count: nobody showed that they are.
fn surface(merged: &Merged<'_>, catalogue: &Catalogue) -> Vec<String> {
    let solo = |c: &&Capability| c.kind == Kind::Contained && c.scope == Scope::Solo;
    let verdict = |id: &str| merged.cells.get(&(id, None, None)).map(|c| c.verdict);
    catalogue.capabilities.iter().filter(solo).filter(|c| reached(verdict(&c.id))).map(|c| c.id.clone()).collect()
}

/// Models and backends that count, are allowed, and are in the report.
fn stages<'a>(q: &Question<'a>, cells: &view::Cells<'a>) -> Vec<(&'a Model, Option<&'a str>)> {
    let mut stages = Vec::new();
    for model in q.models.iter().filter(|m| m.counts && q.policy.allows(&m.id)) {
        let backends: Vec<Option<&str>> = if model.backends.is_empty() {
            vec![None]
        } else {
            model.backends.iter().map(|b| Some(b.as_str())).collect()
        };
        for backend in backends {
            if cells.iter().any(|((_, m, b), c)| c.result.is_some() && *m == Some(model.id.as_str()) && *b == backend) {
                stages.push((model, backend));
            }
        }
    }
    stages
}

/// Everything that is asked for, under one model.
fn stage(
    merged: &Merged<'_>,
    q: &Question<'_>,
    model: &Model,
    backend: Option<&str>,
) -> Result<Proved, (usize, Box<Rejected>)> {
    let view = view_of(merged, q, model, backend);
    let proofs = proofs(&view, q);
    let name = stage_name(model, backend);
    let short = |requirement: &str, reason: String, basis: Option<Basis>| {
        let mut r = rejected(&merged.row.name, requirement, reason, Some(merged.source));
        r.model = Some(name.clone());
        r.basis = basis;
        Box::new(r)
    };
    let kept = proofs.iter().filter(|p| p.standing == Standing::Holds).count();
    if let Some(p) = proofs.iter().find(|p| p.standing != Standing::Holds) {
        let basis = shortfall(p, q);
        let why = match p.standing {
            Standing::Broken => "does not hold",
            Standing::Unknown | Standing::Holds => "cannot be told",
        };
        return Err((kept, short(&p.id, format!("{} {why}", p.title), basis)));
    }
    let mut needed = Vec::new();
    for m in q.mitigations {
        let rival = if m.rival { rival(merged, q, model, backend) } else { None };
        match m.needed(&view, &merged.row.fingerprint, rival.as_ref()) {
            Ok(n) => needed.extend(n),
            Err(useless) => {
                let why = format!("it needs {}, which does not work here", useless.id);
                return Err((kept, short("mitigation", why, Some(useless.basis))));
            }
        }
    }
    if let Some(n) = needed.iter().find(|n| q.policy.forbid.contains(&n.id)) {
        let why = format!("it needs {}, which the policy forbids", n.id);
        return Err((kept, short("mitigation", why, Some(n.because.clone()))));
    }
    Ok(Proved { model: model.clone(), backend: backend.map(str::to_owned), proofs, mitigations: needed })
}

fn proofs(view: &View<'_>, q: &Question<'_>) -> Vec<Proof> {
    let mut proofs: Vec<Proof> = q.catalogue.requirements.iter().map(|r| view.proof(r)).collect();
    let listed = |patterns: &[String]| -> Vec<String> {
        let named = |c: &&Capability| patterns.iter().any(|p| crate::coverage::matches(p, &c.id));
        q.catalogue.capabilities.iter().filter(named).map(|c| c.id.clone()).collect()
    };
    let (must, unless) = (listed(&q.policy.require), listed(&q.policy.require_unless_not_applicable));
    if !must.is_empty() || !unless.is_empty() {
        let title = format!("what the policy {} asks for beside R1–R7", q.policy.name);
        let all = must.iter().chain(unless.iter().filter(|id| !must.contains(id)));
        proofs.push(view.rests_on("policy", &title, all, |id| !must.iter().any(|m| m == id)));
    }
    let required = listed(q.require);
    if !required.is_empty() {
        proofs.push(view.rests_on("--require", "what was asked for by --require", required.iter(), |_| false));
    }
    proofs
}

/// The first cell that keeps a proof from holding; a broken one before one that could not be told.
fn shortfall(p: &Proof, q: &Question<'_>) -> Option<Basis> {
    let broken = |b: &&Basis| matches!(b.verdict, Verdict::Fail | Verdict::Partial);
    let never = |b: &Basis| {
        let id = b.cell.split(' ').next().unwrap_or_default();
        q.catalogue.requirements.iter().any(|r| r.id == p.id && r.never_not_applicable.iter().any(|n| n == id))
            || !p.id.starts_with('R')
    };
    let unknown = |b: &&Basis| match b.verdict {
        Verdict::Pass => false,
        Verdict::NotApplicable => never(b),
        Verdict::Fail | Verdict::Partial | Verdict::Inconclusive | Verdict::Skipped => true,
    };
    p.cells.iter().find(broken).or_else(|| p.cells.iter().find(unknown)).cloned()
}

/// The cell at which the same model fails with another backend, if it does.
fn rival(merged: &Merged<'_>, q: &Question<'_>, model: &Model, backend: Option<&str>) -> Option<Basis> {
    model.backends.iter().filter(|b| Some(b.as_str()) != backend).find_map(|other| {
        let view = view_of(merged, q, model, Some(other));
        proofs(&view, q).iter().find(|p| p.standing != Standing::Holds).and_then(|p| shortfall(p, q))
    })
}

fn view_of<'a>(merged: &'a Merged<'a>, q: &Question<'a>, model: &'a Model, backend: Option<&'a str>) -> View<'a> {
    View {
        catalogue: q.catalogue,
        cells: &merged.cells,
        runtime: &merged.row.name,
        default_runtime: &merged.matrix.host.default_runtime,
        model,
        backend,
    }
}

fn record(merged: &Merged<'_>, q: &Question<'_>) -> Option<Record> {
    // What another runtime's init container does is asked of the one AWF uses: the engine's default.
    let model = q.models.iter().find(|m| m.init == crate::InitUnder::Default)?;
    let view = view_of(merged, q, model, None);
    Some(Record {
        runtime: merged.row.name.clone(),
        product: merged.row.product.clone(),
        fields: q.fields.iter().map(|f| f.derive(&view)).collect(),
    })
}

/// `MODEL` or `MODEL/BACKEND`.
pub fn stage_name(model: &Model, backend: Option<&str>) -> String {
    backend.map_or_else(|| model.id.clone(), |b| format!("{}/{b}", model.id))
}
