//! The published form, `awf-probe/bench-v1`. It only gains optional fields.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What `awf-probe bench` measured.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct BenchV1 {
    /// `awf-probe/bench-v1`.
    pub schema: String,
    /// Version of awf-probe.
    pub version: String,
    /// When it began, RFC 3339.
    pub started: String,
    /// How long it took.
    pub seconds: f64,
    /// `quick` or `full`.
    pub suite: String,
    /// How it was measured.
    pub method: MethodV1,
    /// What a figure depends on beside the runtime.
    pub machine: Vec<MachineFactV1>,
    /// The runtime all others are compared with.
    pub reference: SubjectV1,
    /// Those that are compared.
    pub candidates: Vec<SubjectV1>,
    /// The benches.
    pub benches: Vec<BenchRowV1>,
}

/// How it was measured.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct MethodV1 {
    /// Who is visited when.
    pub order: String,
    /// How intervals are made.
    pub interval: String,
    /// Share of intervals that hold the true value.
    pub confidence: f64,
    /// Fewer rounds tell nothing.
    pub least_rounds: u64,
    /// Seconds the rounds were given.
    pub budget_seconds: u64,
    /// Half the width of an interval that is narrow enough, as a share of its value.
    pub precision: f64,
}

/// A fact of the machine.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct MachineFactV1 {
    /// Name.
    pub name: String,
    /// Value.
    pub value: String,
}

/// A runtime.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SubjectV1 {
    /// Name at the engine.
    pub name: String,
    /// First line of its `--version`.
    pub version: String,
    /// Executable and arguments.
    pub command: String,
    /// SHA-256 of the executable.
    pub sha256: String,
    /// Measured: `shared-kernel`, `user-space-kernel` or `guest-kernel`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub isolation: Option<String>,
    /// Time by the host's clock divided by time by the clock inside its sandboxes, over all visits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clock: Option<f64>,
    /// Why there are no figures of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unusable: Option<String>,
}

/// One bench.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct BenchRowV1 {
    /// Stable id.
    pub id: String,
    /// What one operation is.
    pub title: String,
    /// How it is done.
    pub how: String,
    /// `ns` or `bytes`, of one operation.
    pub unit: String,
    /// The reference's figures.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reference: Option<ArmV1>,
    /// What the reference differs from itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub noise: Option<NoiseV1>,
    /// The candidates.
    pub candidates: Vec<CandidateV1>,
    /// Visits that failed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub missing: Vec<MissingV1>,
}

/// A second sandbox of the reference beside its first.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NoiseV1 {
    /// Rounds in which both were measured.
    pub rounds: u64,
    /// Second divided by first.
    pub ratio: IntervalV1,
    /// Second minus first.
    pub difference: IntervalV1,
    /// What would be said of it if it were a candidate: `no-difference`, but for one in a hundred.
    pub finding: FindingV1,
    /// The second sandbox's figures.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub figures: Option<ArmV1>,
}

/// A candidate beside the reference.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CandidateV1 {
    /// Runtime.
    pub runtime: String,
    /// What may be said.
    pub finding: FindingV1,
    /// Why nothing can.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub untold: Option<String>,
    /// Rounds in which both were measured.
    pub rounds: u64,
    /// Candidate divided by reference: the median over rounds, not the quotient of the medians.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ratio: Option<IntervalV1>,
    /// Candidate minus reference.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub difference: Option<IntervalV1>,
    /// Its figures.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub figures: Option<ArmV1>,
}

/// What may be said of a comparison.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum FindingV1 {
    /// It costs more.
    More,
    /// It costs less.
    Less,
    /// The interval holds 1, or lies within what the reference differs from itself.
    NoDifference,
    /// Nothing.
    Untold,
}

/// A value and the interval that holds the true one.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct IntervalV1 {
    /// The estimate.
    pub value: f64,
    /// Lower end.
    pub low: f64,
    /// Upper end.
    pub high: f64,
}

/// All samples of a sandbox.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ArmV1 {
    /// How many.
    pub samples: u64,
    /// Median.
    pub median: f64,
    /// First quartile.
    pub q1: f64,
    /// Third quartile.
    pub q3: f64,
    /// Smallest.
    pub min: f64,
    /// Largest.
    pub max: f64,
    /// Samples further than 1.5 times the distance of the quartiles from the nearer of them.
    pub outliers: u64,
    /// Round by round, visit by visit. A round that was not finished is empty.
    pub rounds: Vec<Vec<Vec<f64>>>,
}

/// A visit that failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct MissingV1 {
    /// Runtime.
    pub runtime: String,
    /// Why, at last.
    pub why: String,
}
