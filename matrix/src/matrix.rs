//! Capabilities × runtimes, with verdicts and evidence.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{RequirementResult, Verdict};

/// How an egress attempt ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Result_ {
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
    /// It arrived, by a way the model leaves open on purpose: a tunnel through an allowed name, a name asked of an
    /// approved resolver. Neither a pass nor a fail.
    Residual,
    /// It cannot be told.
    Inconclusive,
    /// It cannot be made on this host at all.
    NotApplicable,
}

impl Result_ {
    /// The word used in reports.
    pub fn word(self) -> &'static str {
        match self {
            Self::Leaked => "leaked",
            Self::Blocked => "blocked",
            Self::Proxied => "proxied",
            Self::RefusedAtSource => "refused-at-source",
            Self::Served => "served",
            Self::Residual => "residual",
            Self::Inconclusive => "inconclusive",
            Self::NotApplicable => "not-applicable",
        }
    }
}

/// One piece of evidence: who saw what, and on which line of the journal it stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Sighting {
    /// `guest`, `witness`, `proxy`, `engine`, `host`, or `control (…)`.
    pub source: String,
    /// What it saw.
    pub saw: String,
    /// 1-based line of `journal.jsonl`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub journal_line: Option<u64>,
}

/// Whether the agent learned that its attempt was blocked: one that hears nothing waits as long as its client does,
/// which may be minutes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Rejection {
    /// Connections, datagrams or requests of the attempt that got an error.
    pub told: u64,
    /// Those that got no answer until the probe gave up.
    pub silent: u64,
    /// Milliseconds until the last was told, or until the probe gave up.
    pub after_ms: u64,
}

/// One verdict: the report's unit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Cell {
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
    pub verdict: Verdict,
    /// Why, in a sentence.
    pub reason: String,
    /// How the attempt ended (egress only).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub result: Option<Result_>,
    /// What it rests on.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub evidence: Vec<Sighting>,
    /// How an attempt that was blocked was told so (egress only).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rejection: Option<Rejection>,
    /// What it came out as, and how often, where the run was repeated.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub counts: BTreeMap<String, u64>,
}

impl Cell {
    /// `id`, with model and backend where they apply: `egress.tcp.80 [netns-init/nft]`.
    pub fn name(&self) -> String {
        match (&self.model, &self.backend) {
            (Some(m), Some(b)) => format!("{} [{m}/{b}]", self.id),
            (Some(m), None) => format!("{} [{m}]", self.id),
            (None, Some(b)) => format!("{} [{b}]", self.id),
            (None, None) => self.id.clone(),
        }
    }
}

/// How far a sandbox is from the host's kernel, as measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum IsolationClass {
    /// The workload's tasks are tasks of the host's kernel.
    SharedKernel,
    /// A process of the host plays the kernel.
    UserSpaceKernel,
    /// A kernel of its own on virtual hardware.
    GuestKernel,
}

impl IsolationClass {
    /// The word used in reports.
    pub fn word(self) -> &'static str {
        match self {
            Self::SharedKernel => "shared-kernel",
            Self::UserSpaceKernel => "user-space-kernel",
            Self::GuestKernel => "guest-kernel",
        }
    }
}

/// The executable behind a runtime, and what binds a report to it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Fingerprint {
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

impl Fingerprint {
    /// The arguments as registered, and those of what a wrapper hands over to.
    pub fn all_args(&self) -> Vec<String> {
        let inner = self.wraps.as_ref().map(|w| w.all_args()).unwrap_or_default();
        self.args.iter().cloned().chain(inner).collect()
    }
}

/// One runtime of the report.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RuntimeRow {
    /// Name as the engine knows it.
    pub name: String,
    /// First line of its `--version`.
    pub version: String,
    /// Product named by `--version`.
    pub product: String,
    /// The executable behind it.
    pub fingerprint: Fingerprint,
    /// Measured isolation; absent where identity could not be proved.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub class: Option<IsolationClass>,
    /// Why it could not be measured at all, if so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unusable: Option<String>,
    /// Facts recorded beside the verdicts: kernel release, host processes, who died at a limit.
    pub notes: Vec<String>,
}

/// The host a report is bound to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Host {
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
    /// Engine's own id.
    pub engine_id: String,
    /// CPUs of the host.
    pub cpus: u64,
    /// Settings of engine and firewall that verdicts depend on, by name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub settings: BTreeMap<String, String>,
}

/// The run a report comes from.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RunInfo {
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
    /// Which proxy enforced the ACL.
    pub proxy: String,
    /// Where the tools came from: the host, or an image and its id.
    #[serde(default)]
    pub tools: String,
    /// Whether the run came to its end.
    pub complete: bool,
    /// Milliseconds by phase, summed over sandboxes that ran in parallel.
    pub timings: BTreeMap<String, u64>,
    /// The defect that was put in on purpose: nothing may be selected from it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sabotage: Option<String>,
    /// How often it was measured, where that was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub repeats: Option<u64>,
    /// The journal that evidence names lines of, beside the report, where it is not `journal.jsonl`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub journal: Option<String>,
}

/// How much of the catalogue was measured.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Coverage {
    /// Cells with a conclusive verdict.
    pub measured: usize,
    /// Cells that were tried.
    pub examined: usize,
    /// Cells the plan asked for.
    pub total: usize,
}

/// What is different on the host after the run.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Leftovers {
    /// Things with the run's mark. Must be empty.
    pub ours: Vec<String>,
    /// Other differences, which something else made meanwhile.
    pub others: Vec<String>,
    /// Whether the comparison was made.
    pub checked: bool,
}

/// The whole result of a run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Matrix {
    /// The run.
    pub run: RunInfo,
    /// The host.
    pub host: Host,
    /// The runtimes asked for, in order.
    pub runtimes: Vec<RuntimeRow>,
    /// Every cell of the plan.
    pub cells: Vec<Cell>,
    /// R1–R7 per runtime, under its best model.
    pub requirements: Vec<RequirementResult>,
    /// How much was measured.
    pub coverage: Coverage,
    /// What is left on the host.
    pub leftovers: Leftovers,
}
