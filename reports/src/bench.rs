//! What `awf-probe bench` measured, as JSON, as a table for a terminal, and as Markdown.
//!
//! No figure stands alone: beside a candidate's median stand the reference's, their ratio with its interval, and what
//! the reference differs from itself.

mod html;
mod markdown;
mod table;
mod v1;

use std::collections::BTreeMap;

use awf_probe_matrix::bench::{
    Bench, CONFIDENCE, Comparison, Figures, Finding, Interval, LEAST_ROUNDS, Round, compare, finding, spread,
};

pub use html::html;
pub use markdown::markdown;
pub use table::table;
pub use v1::{
    ArmV1, BenchRowV1, BenchV1, CandidateV1, FindingV1, IntervalV1, MachineFactV1, MethodV1, MissingV1, NoiseV1,
    SubjectV1,
};

use crate::ReportError;

/// The name of the format.
pub const SCHEMA: &str = "awf-probe/bench-v1";

/// A guest's clock may differ from the host's by this factor; beyond it, it is not believed.
const CLOCK: f64 = 1.25;

/// Computes what the figures say.
pub fn document(bench: &Bench) -> BenchV1 {
    let subject = |s: &awf_probe_matrix::bench::Subject| SubjectV1 {
        name: s.name.clone(),
        version: s.version.clone(),
        command: s.command.clone(),
        sha256: s.sha256.clone(),
        isolation: s.class.map(|c| c.word().to_owned()),
        clock: s.clock.map(rounded),
        unusable: s.unusable.clone(),
    };
    BenchV1 {
        schema: SCHEMA.to_owned(),
        version: bench.version.clone(),
        started: bench.started.clone(),
        seconds: rounded(bench.seconds),
        suite: bench.suite.clone(),
        method: MethodV1 {
            order: "in each round every runtime in a sandbox of its own, the reference in two; visited there and back"
                .to_owned(),
            interval: "bootstrap of the median over rounds".to_owned(),
            confidence: CONFIDENCE,
            least_rounds: LEAST_ROUNDS as u64,
            budget_seconds: bench.budget,
            precision: bench.precision,
        },
        machine: bench
            .machine
            .iter()
            .map(|(name, value)| MachineFactV1 { name: name.clone(), value: value.clone() })
            .collect(),
        reference: subject(&bench.reference),
        candidates: bench.candidates.iter().map(subject).collect(),
        benches: bench.benches.iter().map(|f| row(f, bench)).collect(),
    }
}

fn row(f: &Figures, bench: &Bench) -> BenchRowV1 {
    let seed = |name: &str| format!("{} {name}", f.id);
    let noise = compare(&f.reference, &f.twin, &seed("noise"));
    let inside = !["lifecycle.", "memory."].iter().any(|p| f.id.starts_with(p));
    let honest = |clock: Option<f64>| !inside || clock.is_some_and(|c| (1.0 / CLOCK..=CLOCK).contains(&c));
    let candidates = bench.candidates.iter().zip(&f.candidates).map(|(subject, rounds)| {
        let compared = compare(&f.reference, rounds, &seed(&subject.name));
        let honest = honest(subject.clock) && honest(bench.reference.clock);
        let said = compared.as_ref().map_or(Finding::Untold, |c| finding(c, noise.as_ref()));
        let why = match (&subject.unusable, &compared) {
            (Some(why), _) => Some(why.clone()),
            (None, None) => Some(why_missing(f, &subject.name)),
            (None, Some(c)) if c.rounds < LEAST_ROUNDS => Some(format!(
                "{} rounds, {LEAST_ROUNDS} are needed: raise --budget{}",
                c.rounds,
                f.missing.iter().find(|(n, _)| *n == subject.name).map_or(String::new(), |(_, w)| format!("; {w}"))
            )),
            (None, Some(_)) if !honest => Some("the clock inside the sandbox does not go like the host's".to_owned()),
            (None, Some(_)) => None,
        };
        CandidateV1 {
            runtime: subject.name.clone(),
            finding: if why.is_some() { FindingV1::Untold } else { said.into() },
            untold: why,
            rounds: compared.map_or(0, |c| c.rounds as u64),
            ratio: compared.map(|c| c.ratio.into()),
            difference: compared.map(|c| c.difference.into()),
            figures: arm(rounds),
        }
    });
    BenchRowV1 {
        id: f.id.clone(),
        title: f.title.clone(),
        how: f.how.clone(),
        unit: f.unit.to_owned(),
        reference: arm(&f.reference),
        noise: noise.map(|c: Comparison| NoiseV1 {
            rounds: c.rounds as u64,
            ratio: c.ratio.into(),
            difference: c.difference.into(),
            finding: finding(&c, None).into(),
            figures: arm(&f.twin),
        }),
        candidates: candidates.collect(),
        missing: f
            .missing
            .iter()
            .map(|(runtime, why)| MissingV1 { runtime: runtime.clone(), why: why.clone() })
            .collect(),
    }
}

fn why_missing(f: &Figures, runtime: &str) -> String {
    let told = f.missing.iter().find(|(name, _)| name == runtime);
    told.map_or_else(|| "no round was finished: raise --budget".to_owned(), |(_, why)| why.clone())
}

fn arm(rounds: &[Round]) -> Option<ArmV1> {
    let s = spread(rounds)?;
    Some(ArmV1 {
        samples: s.samples as u64,
        median: rounded(s.median),
        q1: rounded(s.q1),
        q3: rounded(s.q3),
        min: rounded(s.min),
        max: rounded(s.max),
        outliers: s.outliers as u64,
        rounds: rounds.iter().map(|r| r.iter().map(|v| v.iter().map(|s| rounded(*s)).collect()).collect()).collect(),
    })
}

impl From<Interval> for IntervalV1 {
    fn from(i: Interval) -> Self {
        Self { value: rounded(i.value), low: rounded(i.low), high: rounded(i.high) }
    }
}

impl From<Finding> for FindingV1 {
    fn from(f: Finding) -> Self {
        match f {
            Finding::More => Self::More,
            Finding::Less => Self::Less,
            Finding::NoDifference => Self::NoDifference,
            Finding::Untold => Self::Untold,
        }
    }
}

/// What each runtime costs beside the reference, in thousandths: the geometric mean of its ratios over the benches that
/// say something of every candidate. A difference that was not found is none. Empty where no bench does.
pub fn costs(document: &BenchV1) -> BTreeMap<String, u64> {
    let started: Vec<&str> =
        document.candidates.iter().filter(|c| c.unusable.is_none()).map(|c| c.name.as_str()).collect();
    let ratio = |row: &BenchRowV1, name: &str| {
        let c = row.candidates.iter().find(|c| c.runtime == name)?;
        match c.finding {
            FindingV1::Untold => None,
            FindingV1::NoDifference => Some(1.0),
            FindingV1::More | FindingV1::Less => c.ratio.as_ref().map(|r| r.value).filter(|r| *r > 0.0),
        }
    };
    let common: Vec<&BenchRowV1> =
        document.benches.iter().filter(|row| started.iter().all(|name| ratio(row, name).is_some())).collect();
    let mut costs = BTreeMap::new();
    if common.is_empty() || started.is_empty() {
        return costs;
    }
    costs.insert(document.reference.name.clone(), 1000);
    for name in started {
        let sum: f64 = common.iter().filter_map(|row| ratio(row, name)).map(f64::ln).sum();
        costs.insert(name.to_owned(), ((sum / common.len() as f64).exp() * 1000.0).round() as u64);
    }
    costs
}

/// Five digits are more than any of this is known to.
fn rounded(v: f64) -> f64 {
    if v == 0.0 || !v.is_finite() {
        return 0.0;
    }
    let scale = 10_f64.powi(4 - v.abs().log10().floor() as i32);
    (v * scale).round() / scale
}

/// The document as JSON.
pub fn json(document: &BenchV1) -> Result<String, ReportError> {
    Ok(serde_json::to_string_pretty(document)? + "\n")
}

/// The schema of the document.
pub fn schema() -> serde_json::Value {
    let mut schema = schemars::schema_for!(BenchV1);
    schema.insert("title".to_owned(), "awf-probe bench, version 1".into());
    schema.to_value()
}

/// A document that was written as JSON.
pub fn read(text: &str) -> Result<BenchV1, ReportError> {
    let document: BenchV1 = serde_json::from_str(text)?;
    if document.schema != SCHEMA {
        return Err(ReportError::Schema { found: document.schema, expected: SCHEMA });
    }
    Ok(document)
}

/// A cost as people say it, with three digits.
fn cost(value: f64, unit: &str) -> String {
    let scales: &[(f64, &str)] = match unit {
        "bytes" => &[(1_073_741_824.0, "GiB"), (1_048_576.0, "MiB"), (1024.0, "KiB"), (1.0, "B")],
        _ => &[(1e9, "s"), (1e6, "ms"), (1e3, "µs"), (1.0, "ns")],
    };
    let (scale, name) =
        scales.iter().find(|(s, _)| value.abs() >= *s).copied().unwrap_or((1.0, scales[scales.len() - 1].1));
    format!("{} {name}", three_digits(value / scale))
}

fn three_digits(value: f64) -> String {
    match value.abs() {
        v if v >= 99.95 => format!("{value:.0}"),
        v if v >= 9.995 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

/// `1.46 [1.41, 1.52]`.
fn ratio(i: &IntervalV1) -> String {
    format!("{} [{}, {}]", three_digits(i.value), three_digits(i.low), three_digits(i.high))
}

/// `+5.1 ms [4.8 ms, 5.4 ms]`.
fn difference(i: &IntervalV1, unit: &str) -> String {
    let sign = if i.value > 0.0 { "+" } else { "" };
    format!("{sign}{} [{}, {}]", cost(i.value, unit), cost(i.low, unit), cost(i.high, unit))
}

/// What is said of a candidate's row, in the words of the table.
fn verdict(c: &CandidateV1) -> String {
    match (&c.finding, &c.untold, &c.ratio) {
        (FindingV1::Untold, why, _) => {
            format!("untold: {}", crate::text::clean(why.as_deref().unwrap_or("no figures")))
        }
        (FindingV1::NoDifference, _, Some(r)) => format!("no difference {}", ratio(r)),
        (FindingV1::More | FindingV1::Less, _, Some(r)) => format!("× {}", ratio(r)),
        (FindingV1::NoDifference | FindingV1::More | FindingV1::Less, _, None) => "untold".to_owned(),
    }
}

/// `3 of 240, max 12.1 ms`.
fn outliers(arm: Option<&ArmV1>, unit: &str) -> String {
    arm.map_or_else(String::new, |a| format!("{} of {}, max {}", a.outliers, a.samples, cost(a.max, unit)))
}

/// The lines before the figures.
fn head(d: &BenchV1) -> Vec<(String, String)> {
    let mut pairs = vec![
        ("measured".to_owned(), format!("{}, suite {}, in {:.0} s", d.started, d.suite, d.seconds)),
        (
            "method".to_owned(),
            format!(
                "reference and candidates in the same rounds, there and back; {:.0} % intervals over rounds",
                d.method.confidence * 100.0
            ),
        ),
    ];
    pairs.extend(d.machine.iter().map(|f| (f.name.clone(), crate::text::clean(&f.value))));
    pairs
}

/// A runtime in a line.
fn introduced(s: &SubjectV1) -> String {
    let mut text = format!("{}, {}", s.version, s.isolation.as_deref().unwrap_or("isolation unknown"));
    if !s.command.is_empty() {
        text.push_str(&format!(", {}", s.command));
    }
    if let Some(clock) = s.clock {
        text.push_str(&format!(", host's clock ÷ its own {clock:.3}"));
    }
    if let Some(why) = &s.unusable {
        text.push_str(&format!("; {why}"));
    }
    crate::text::clean(&text)
}

/// What one has to know to read the figures.
const LEGEND: &str = "A figure is the cost of one operation, a median. × 1.46 [1.41, 1.52]: the candidate's cost divided by the \
reference's, with the interval that holds the true ratio 99 times in 100. A/A: the same for a second sandbox of the \
reference; an interval within it, or one that holds 1, is no difference. Outliers: samples beyond 1.5 times the \
distance of the quartiles.";
