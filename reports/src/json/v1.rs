//! The shape of report-v1, as it is written.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What one run of awf-probe measured: capabilities × runtimes, with verdicts and evidence.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ReportV1 {
    /// `awf-probe/report-v1`.
    #[schemars(extend("const" = "awf-probe/report-v1"))]
    pub schema: String,
    /// What wrote the report.
    pub tool: ToolV1,
    /// SHA-256 over the JSON of everything else, keys sorted, no white space. Detects accidents, not forgery.
    #[schemars(regex(pattern = "^[0-9a-f]{64}$"))]
    pub digest: String,
    /// The run.
    pub run: RunV1,
    /// The host the report is bound to.
    pub host: HostV1,
    /// The runtimes asked for, in order.
    pub runtimes: Vec<RuntimeV1>,
    /// R1–R7 per runtime, under the model that keeps the most of them.
    pub requirements: Vec<RequirementV1>,
    /// How much was measured.
    pub coverage: CoverageV1,
    /// What is different on the host after the run.
    pub leftovers: LeftoversV1,
    /// The capabilities that the cells name, as far as the catalogue of the writer knows them.
    pub capabilities: Vec<CapabilityV1>,
    /// Every cell of the plan.
    pub cells: Vec<CellV1>,
}

/// The program that wrote a report.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ToolV1 {
    /// `awf-probe`.
    pub name: String,
    /// Its version. `run.version` is the version that measured.
    pub version: String,
}

/// The run a report comes from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RunV1 {
    /// Random id; every object the run made carries it.
    pub id: String,
    /// Version of awf-probe.
    pub version: String,
    /// Start, RFC 3339 UTC.
    pub started: String,
    /// Duration in milliseconds.
    pub elapsed_ms: u64,
    /// SHA-256 of the catalogue that judged.
    pub catalogue: String,
    /// SHA-256 of the probe executable.
    pub executable: String,
    /// The documentation range in use.
    pub document_range: String,
    /// The lab's subnets.
    pub lab: Vec<String>,
    /// Which proxy enforced the domain list.
    pub proxy: String,
    /// Where the tools came from: the host, or an image and its id.
    #[serde(default)]
    pub tools: String,
    /// Whether the run came to its end.
    pub complete: bool,
    /// Milliseconds by phase, summed over sandboxes that ran in parallel.
    pub timings_ms: BTreeMap<String, u64>,
    /// The defect that was put in on purpose: nothing may be selected from it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sabotage: Option<String>,
    /// How often it was measured, where that was asked for. A cell that was not the same each time is inconclusive.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub repeats: Option<u64>,
    /// The journal that evidence names lines of, beside the report, where it is not `journal.jsonl`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub journal: Option<String>,
}

/// A host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct HostV1 {
    /// `uname -r`, as the engine reports it.
    pub kernel: String,
    /// Operating system of the engine's host.
    pub os: String,
    /// Architecture.
    pub arch: String,
    /// Engine version.
    pub engine: String,
    /// API version spoken.
    pub api: String,
    /// `1` or `2`.
    pub cgroup: String,
    /// `cgroupfs` or `systemd`.
    pub cgroup_driver: String,
    /// The engine's default runtime.
    pub default_runtime: String,
    /// Security options of the engine.
    pub security: Vec<String>,
    /// The engine's own id.
    pub engine_id: String,
    /// CPUs of the host.
    pub cpus: u64,
    /// Settings of engine and firewall that verdicts depend on, by name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub settings: BTreeMap<String, String>,
}

/// A runtime.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RuntimeV1 {
    /// Name as the engine knows it.
    pub name: String,
    /// First line of its `--version`.
    pub version: String,
    /// Product named by `--version`.
    pub product: String,
    /// The executable behind it.
    pub fingerprint: FingerprintV1,
    /// Measured isolation; absent where identity could not be proved.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub class: Option<ClassV1>,
    /// Why it could not be measured at all, if so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unusable: Option<String>,
    /// Facts recorded beside the verdicts.
    pub notes: Vec<String>,
}

/// An executable, and what binds a report to it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FingerprintV1 {
    /// Path as registered.
    pub path: String,
    /// SHA-256 of that file, hexadecimal; empty where it cannot be read (a remote engine).
    pub sha256: String,
    /// Arguments as registered.
    pub args: Vec<String>,
    /// SHA-256 by path of the files that arguments or a wrapper script name, and of what its sandboxes really ran.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub files: BTreeMap<String, String>,
    /// Of a wrapper script: the executable it hands over to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wraps: Option<Box<Self>>,
}

/// How far a sandbox is from the host's kernel, as measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ClassV1 {
    /// The workload's tasks are tasks of the host's kernel.
    SharedKernel,
    /// A process of the host plays the kernel.
    UserSpaceKernel,
    /// A kernel of its own on virtual hardware.
    GuestKernel,
}

/// Whether the agent learned that its attempt was blocked: one that hears nothing waits as long as its client does.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RejectionV1 {
    /// Connections, datagrams or requests of the attempt that got an error.
    pub told: u64,
    /// Those that got no answer until the probe gave up.
    pub silent: u64,
    /// Milliseconds until the last was told, or until the probe gave up.
    pub after_ms: u64,
}

/// One verdict.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CellV1 {
    /// Capability id.
    pub id: String,
    /// Runtime as the engine knows it.
    pub runtime: String,
    /// Enforcement model, or `init=RUNTIME` for a shared network namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// iptables backend.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backend: Option<String>,
    /// The verdict.
    pub verdict: VerdictV1,
    /// Why, in a sentence. May quote what a sandbox said: neutralise it before showing it.
    pub reason: String,
    /// How the attempt ended (egress only).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub result: Option<ResultV1>,
    /// What it rests on.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub evidence: Vec<SightingV1>,
    /// How an attempt that was blocked was told so (egress only).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rejection: Option<RejectionV1>,
    /// What it came out as, and how often, where the run was repeated: `pass`, or `fail (leaked)` for a way out.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub counts: BTreeMap<String, u64>,
}

/// What the evidence says. Only `pass` satisfies a requirement.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum VerdictV1 {
    /// The runtime does what AWF needs, and the control shows that the experiment could have failed.
    Pass,
    /// Accepted but not effective, or effective for part of the stated scope.
    Partial,
    /// The runtime does not do what AWF needs, or lets happen what must not.
    Fail,
    /// It cannot be told.
    Inconclusive,
    /// Not tried, for a reason the user can change.
    Skipped,
    /// The question makes no sense on this host.
    NotApplicable,
}

/// How an egress attempt ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ResultV1 {
    /// It arrived at the witness without passing the proxy.
    Leaked,
    /// It was made, and arrived nowhere.
    Blocked,
    /// It arrived at the proxy and nowhere else.
    Proxied,
    /// It cannot be made in AWF's container, but can in one that differs by that one thing.
    RefusedAtSource,
    /// It arrived at its destination through the proxy.
    Served,
    /// It arrived, by a way the model leaves open on purpose; neither a pass nor a fail.
    Residual,
    /// It cannot be told.
    Inconclusive,
    /// It cannot be made on this host at all.
    NotApplicable,
}

/// One piece of evidence.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SightingV1 {
    /// `guest`, `witness`, `proxy`, `engine`, `host`, or `control (…)`.
    pub source: String,
    /// What it saw.
    pub saw: String,
    /// 1-based line of `journal.jsonl`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub journal_line: Option<u64>,
}

/// A requirement for one runtime.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RequirementV1 {
    /// `R1` … `R7`.
    pub id: String,
    /// Runtime.
    pub runtime: String,
    /// The model under which it was asked, `MODEL` or `MODEL/BACKEND`; empty if no model counts.
    pub model: String,
    /// Whether it holds.
    pub standing: StandingV1,
    /// The first cell that keeps it from holding.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub because: Option<RequirementCellV1>,
    /// How many cells it rests on.
    pub rests_on: usize,
}

/// Whether a requirement holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum StandingV1 {
    /// Every cell it rests on passes, or is not applicable where that is allowed.
    Holds,
    /// Nothing failed, but not everything could be told.
    Unknown,
    /// At least one cell fails.
    Broken,
}

/// A cell a requirement rests on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RequirementCellV1 {
    /// Name of the cell, with model and backend.
    pub cell: String,
    /// Its verdict.
    pub verdict: VerdictV1,
    /// Its reason.
    pub reason: String,
}

/// How much of the catalogue was measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CoverageV1 {
    /// Cells with a conclusive verdict.
    pub measured: usize,
    /// Cells that were tried.
    pub examined: usize,
    /// Cells the plan asked for.
    pub total: usize,
}

/// What is different on the host after a run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LeftoversV1 {
    /// Things with the run's mark. Must be empty.
    pub ours: Vec<String>,
    /// Other differences, which something else made meanwhile.
    pub others: Vec<String>,
    /// Whether the comparison was made.
    pub checked: bool,
}

/// A capability, as far as a reader needs it to group cells.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CapabilityV1 {
    /// Stable dotted id.
    pub id: String,
    /// A line for tables.
    pub title: String,
    /// What it asks of a runtime.
    pub kind: KindV1,
    /// The family it belongs to.
    pub family: String,
}

/// What a capability asks of a runtime.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum KindV1 {
    /// AWF needs it.
    Works,
    /// It must not be possible.
    Contained,
    /// It must end at the proxy or nowhere.
    Egress,
}
