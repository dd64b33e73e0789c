//! What differs between two matrices: cells and requirements, and the versions that may be the cause. Pure.

use std::collections::{BTreeMap, BTreeSet};

use awf_probe_matrix::{Fingerprint, Matrix, Model, Standing, Verdict, models};
use serde::Serialize;

use crate::{
    ReportError,
    markdown::{code, escape},
    text::clean,
};

/// How a cell or a requirement changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Change {
    /// It held or was out of the question, and now it does not; or it held in part, and now not at all.
    NewlyBroken,
    /// It did not hold, and now it does.
    NewlyFixed,
    /// It could not be told, and now it can.
    NewlyKnown,
    /// It could be told, and now it cannot.
    NoLongerKnown,
    /// Only the first has it.
    Gone,
    /// Only the second has it.
    New,
    /// Anything else; a cell of a control, whatever its verdicts.
    Changed,
}

impl Change {
    /// All changes, the worst first.
    pub const ALL: [Self; 7] = [
        Self::NewlyBroken,
        Self::NoLongerKnown,
        Self::Gone,
        Self::NewlyFixed,
        Self::NewlyKnown,
        Self::New,
        Self::Changed,
    ];

    /// In words.
    pub fn word(self) -> &'static str {
        match self {
            Self::NewlyBroken => "newly broken",
            Self::NewlyFixed => "newly fixed",
            Self::NewlyKnown => "newly known",
            Self::NoLongerKnown => "no longer known",
            Self::Gone => "gone",
            Self::New => "new",
            Self::Changed => "changed",
        }
    }

    fn between(before: Option<Verdict>, after: Option<Verdict>) -> Option<Self> {
        use Verdict::{Fail, Inconclusive, NotApplicable, Partial, Pass, Skipped};
        Some(match (before, after) {
            (None, None) => return None,
            (None, Some(_)) => Self::New,
            (Some(_), None) => Self::Gone,
            (Some(b), Some(a)) if a == b => return None,
            (Some(Pass | NotApplicable), Some(Fail | Partial)) | (Some(Partial), Some(Fail)) => Self::NewlyBroken,
            (Some(Fail | Partial), Some(Pass)) => Self::NewlyFixed,
            (Some(Inconclusive | Skipped), Some(Pass | Partial | Fail | NotApplicable)) => Self::NewlyKnown,
            (Some(Pass | Partial | Fail | NotApplicable), Some(Inconclusive | Skipped)) => Self::NoLongerKnown,
            (Some(Pass | Partial | Fail | NotApplicable), Some(Pass | Partial | NotApplicable | Fail))
            | (Some(Inconclusive | Skipped), Some(Inconclusive | Skipped)) => Self::Changed,
        })
    }
}

/// A cell, or a requirement by its id, that is not as before.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// How it changed.
    pub change: Change,
    /// Whether it is worse than before. What passed and is gone or cannot be told any more is; so is whatever fails now
    /// and did not before.
    pub regression: bool,
    /// Runtime.
    pub runtime: String,
    /// Name of the cell, or id of the requirement.
    pub cell: String,
    /// Its verdict before.
    pub before: Option<Verdict>,
    /// Its verdict now.
    pub after: Option<Verdict>,
    /// Why now; why before, if it is gone.
    pub reason: String,
}

/// A version or setting that is not as before.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct VersionChange {
    /// Of what.
    pub of: String,
    /// Before; nothing if there was none.
    pub before: Option<String>,
    /// Now; nothing if there is none.
    pub after: Option<String>,
}

/// What differs between two runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Diff {
    /// `awf-probe/diff-v1`.
    pub schema: &'static str,
    /// Id and start of the first run.
    pub before: String,
    /// Id and start of the second.
    pub after: String,
    /// Host, engine, catalogue and runtimes.
    pub versions: Vec<VersionChange>,
    /// Cells and requirements, the worst change first, by runtime.
    pub differences: Vec<Difference>,
}

/// Compares two matrices.
pub fn diff(before: &Matrix, after: &Matrix) -> Result<Diff, ReportError> {
    let models = models().map_err(|e| ReportError::Models(e.to_string()))?;
    let (old, new) = (entries(before, &models), entries(after, &models));
    let keys: BTreeSet<&Key> = old.keys().chain(new.keys()).collect();
    let mut differences = Vec::new();
    for key in keys {
        let (b, a) = (old.get(key), new.get(key));
        let verdicts = (b.map(|e| e.verdict), a.map(|e| e.verdict));
        let Some(change) = Change::between(verdicts.0, verdicts.1) else { continue };
        let control = b.or(a).is_some_and(|e| e.control);
        differences.push(Difference {
            change: if control && change != Change::Gone && change != Change::New { Change::Changed } else { change },
            regression: !control && is_worse(verdicts.0, verdicts.1),
            runtime: key.0.clone(),
            cell: key.1.clone(),
            before: verdicts.0,
            after: verdicts.1,
            reason: a.or(b).map(|e| clean(&e.reason)).unwrap_or_default(),
        });
    }
    let place = |d: &Difference| Change::ALL.into_iter().position(|c| c == d.change);
    differences.sort_by(|x, y| (place(x), &x.runtime, &x.cell).cmp(&(place(y), &y.runtime, &y.cell)));
    let name = |m: &Matrix| clean(&format!("{} {}", m.run.id, m.run.started));
    let versions = version_changes(before, after);
    Ok(Diff { schema: "awf-probe/diff-v1", before: name(before), after: name(after), versions, differences })
}

impl Diff {
    /// Whether anything is worse than before.
    pub fn has_regressions(&self) -> bool {
        self.differences.iter().any(|d| d.regression)
    }

    /// For people, in a terminal.
    pub fn text(&self) -> String {
        let mut text = format!("before  {}\nafter   {}\n", self.before, self.after);
        for v in &self.versions {
            text.push_str(&format!("  {}: {} → {}\n", v.of, known(&v.before), known(&v.after)));
        }
        for (change, all) in self.groups() {
            text.push_str(&format!("\n{} ({})\n", change.word(), all.len()));
            for d in all {
                let mark = if d.regression { '!' } else { ' ' };
                text.push_str(&format!("{mark} {}  {}: {}: {}\n", d.runtime, d.cell, d.verdicts(), d.reason));
            }
        }
        text + "\n" + &self.sum() + "\n"
    }

    /// For a pull request.
    pub fn markdown(&self) -> String {
        let mut text = format!("### awf-probe: {}\n\n{} → {}\n", self.sum(), code(&self.before), code(&self.after));
        if !self.versions.is_empty() {
            text.push_str("\n| version of | before | after |\n|---|---|---|\n");
            for v in &self.versions {
                text.push_str(&format!(
                    "| {} | {} | {} |\n",
                    code(&v.of),
                    code(known(&v.before)),
                    code(known(&v.after))
                ));
            }
        }
        for (change, all) in self.groups() {
            text.push_str(&format!(
                "\n**{}** ({})\n\n| runtime | cell | verdict | reason |\n|---|---|---|---|\n",
                change.word(),
                all.len()
            ));
            for d in all {
                let (runtime, cell, reason) = (code(&d.runtime), code(&d.cell), escape(&d.reason));
                text.push_str(&format!("| {runtime} | {cell} | {} | {reason} |\n", d.verdicts()));
            }
        }
        text
    }

    fn groups(&self) -> Vec<(Change, Vec<&Difference>)> {
        let of = |change| (change, self.differences.iter().filter(|d| d.change == change).collect::<Vec<_>>());
        Change::ALL.into_iter().map(of).filter(|(_, all)| !all.is_empty()).collect()
    }

    fn sum(&self) -> String {
        let worse = self.differences.iter().filter(|d| d.regression).count();
        format!("{} differences, {worse} of them regressions", self.differences.len())
    }
}

impl Difference {
    fn verdicts(&self) -> String {
        let word = |v: Option<Verdict>| v.map_or("not there", Verdict::word);
        format!("{} → {}", word(self.before), word(self.after))
    }
}

type Key = (String, String);

struct Entry {
    verdict: Verdict,
    reason: String,
    /// Of a model on which no requirement may rest.
    control: bool,
}

fn entries(matrix: &Matrix, models: &[Model]) -> BTreeMap<Key, Entry> {
    let is_control = |m: &String| models.iter().any(|k| k.id == *m && !k.counts);
    let cells = matrix.cells.iter().map(|c| {
        let control = c.model.as_ref().is_some_and(is_control);
        let entry = Entry { verdict: c.verdict, reason: c.reason.clone(), control };
        ((clean(&c.runtime), clean(&c.name())), entry)
    });
    let requirements = matrix.requirements.iter().map(|r| {
        let verdict = match r.standing {
            Standing::Holds => Verdict::Pass,
            Standing::Unknown => Verdict::Inconclusive,
            Standing::Broken => Verdict::Fail,
        };
        let because = r.because.as_ref().map(|b| format!(": {}", b.cell)).unwrap_or_default();
        let reason = format!("under {}{because}", if r.model.is_empty() { "no model" } else { &r.model });
        ((clean(&r.runtime), clean(&r.id)), Entry { verdict, reason, control: false })
    });
    cells.chain(requirements).collect()
}

/// A missing cell is no better than one that cannot be told, and what cannot be told is worse than what holds.
fn is_worse(before: Option<Verdict>, after: Option<Verdict>) -> bool {
    let rank = |v: Option<Verdict>| match v {
        Some(Verdict::Pass) => 0,
        Some(Verdict::NotApplicable) => 1,
        Some(Verdict::Inconclusive | Verdict::Skipped) | None => 2,
        Some(Verdict::Partial) => 3,
        Some(Verdict::Fail) => 4,
    };
    // What the first run did not ask for cannot have become worse.
    before.is_some() && rank(after) > rank(before)
}

fn version_changes(before: &Matrix, after: &Matrix) -> Vec<VersionChange> {
    let (old, new) = (versions(before), versions(after));
    let keys: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
    let change =
        |of: &String| VersionChange { of: of.clone(), before: old.get(of).cloned(), after: new.get(of).cloned() };
    keys.into_iter().map(change).filter(|c| c.before != c.after).collect()
}

fn versions(matrix: &Matrix) -> BTreeMap<String, String> {
    let (host, run) = (&matrix.host, &matrix.run);
    let cgroup = format!("v{} {}", host.cgroup, host.cgroup_driver);
    let mut all = BTreeMap::new();
    for (of, value) in [
        ("kernel", &host.kernel),
        ("os", &host.os),
        ("arch", &host.arch),
        ("engine", &host.engine),
        ("cgroup", &cgroup),
        ("default runtime", &host.default_runtime),
        ("awf-probe", &run.version),
        ("catalogue", &run.catalogue),
        ("proxy", &run.proxy),
        ("tools", &run.tools),
    ] {
        all.insert(of.to_owned(), clean(value));
    }
    for row in &matrix.runtimes {
        let name = clean(&row.name);
        let class = row.class.map_or("not proved", |c| c.word());
        all.insert(format!("{name} version"), clean(&row.version));
        all.insert(format!("{name} executable"), clean(&executable(&row.fingerprint)));
        all.insert(format!("{name} isolation"), class.to_owned());
    }
    all
}

fn executable(f: &Fingerprint) -> String {
    let hash: String = f.sha256.chars().take(12).collect();
    let rest = f.wraps.as_ref().map(|w| format!(" > {}", executable(w))).unwrap_or_default();
    [f.path.clone(), hash].into_iter().chain(f.args.iter().cloned()).collect::<Vec<_>>().join(" ") + &rest
}

fn known(version: &Option<String>) -> &str {
    version.as_deref().unwrap_or("none")
}
