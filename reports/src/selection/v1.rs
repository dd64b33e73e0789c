//! The shape of `selection-v1` and `registry-v1`, as they are written. AWF reads them, so the names are as AWF's.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The runtime AWF should use, or a refusal.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct SelectionV1 {
    /// `awf-probe/selection-v1`.
    #[schemars(extend("const" = "awf-probe/selection-v1"))]
    pub schema: String,
    /// SHA-256 over the JSON of everything else, keys sorted, no white space. Detects accidents, not forgery.
    #[schemars(regex(pattern = "^[0-9a-f]{64}$"))]
    pub digest: String,
    /// `selected` or `refused`. Of a refusal the fields about a runtime are absent: there is no default.
    pub outcome: OutcomeV1,
    /// Why there is none, if so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refusal: Option<String>,
    /// The chosen runtime's product, by its own `--version`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub runtime: Option<String>,
    /// The name by which the engine knows it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub docker_runtime: Option<String>,
    /// How AWF runs it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub execution_model: Option<String>,
    /// Whose kernel the agent gets, as measured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub isolation: Option<String>,
    /// Models it may be used with, the one to take first.
    pub enforcement_models: Vec<EnforcementV1>,
    /// How AWF must be configured under the first of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub profile: Option<ProfileV1>,
    /// What of it AWF's configuration file can express, and what not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub awf: Option<AwfV1>,
    /// Why this one, in sentences.
    pub reasons: Vec<String>,
    /// Every requirement of the first model, with the cells it rests on.
    pub requirements: Vec<ProofV1>,
    /// Runtimes that may be used, best first.
    pub ranking: Vec<RankedV1>,
    /// The other runtimes, and the first requirement each of them failed.
    pub rejected: Vec<RejectedV1>,
    /// What became of each report.
    pub reports: Vec<ReportUseV1>,
    /// What was asked for.
    pub policy: PolicyV1,
    /// For how long and for which host the answer is good.
    pub validity: ValidityV1,
    /// What the answer is bound to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fingerprint: Option<BoundV1>,
}

/// Whether a runtime was chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum OutcomeV1 {
    /// One was.
    Selected,
    /// None may be used.
    Refused,
}

/// A model under which a runtime keeps everything.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct EnforcementV1 {
    /// The model.
    pub model: String,
    /// The iptables backend, where rules are involved.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backend: Option<String>,
    /// What AWF must do differently under it.
    pub mitigations: Vec<MitigationV1>,
}

/// Something AWF must do differently.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct MitigationV1 {
    /// Stable name.
    pub id: String,
    /// What is to be done, and why.
    pub title: String,
    /// The cell that makes it necessary.
    pub because: BasisV1,
    /// The cells that show that it works; empty: none was measured.
    pub shown_by: Vec<BasisV1>,
}

/// A cell something rests on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct BasisV1 {
    /// Name of the cell, with model and backend.
    pub cell: String,
    /// Its verdict.
    pub verdict: String,
    /// Its reason.
    pub reason: String,
    /// Who saw what decided it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub evidence: Option<String>,
    /// The line of the journal it stands on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub journal_line: Option<u64>,
}

/// A requirement with what it rests on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct ProofV1 {
    /// `R1` … `R7`, `policy`, `--require`.
    pub id: String,
    /// What it demands.
    pub title: String,
    /// The cells it rests on.
    pub cells: Vec<BasisV1>,
}

/// How AWF must be configured.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct ProfileV1 {
    /// Model, with backend.
    pub enforcement: String,
    /// `present`, `absent` or `merged` (into the agent's entrypoint).
    pub iptables_init: String,
    /// Runtime of the init container, where it is present.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub init_runtime: Option<String>,
    /// iptables backend of whoever installs rules.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub iptables_backend: Option<String>,
    /// Whether the agent's network is internal.
    pub internal_network: bool,
    /// Whether hosts entries replace the embedded resolver.
    pub static_hosts: bool,
    /// Whether resolv.conf must name the approved resolver.
    pub static_dns: bool,
    /// Whether whoever installs rules needs NET_RAW.
    pub net_raw: bool,
    /// Whether the host's chain must be installed.
    pub host_rules: bool,
    /// Pids limit; absent where RLIMIT_NPROC takes its place.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pids_limit: Option<u64>,
    /// RLIMIT_NPROC, where it takes the place of the pids limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nproc_limit: Option<u64>,
    /// Memory limit of the sandbox in bytes.
    pub memory_limit: u64,
    /// Arguments with which the runtime must stay registered.
    pub runtime_arguments: Vec<String>,
}

/// The choice in AWF's own words.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct AwfV1 {
    /// The configuration file, or what of it can be expressed.
    pub config: Value,
    /// Flags for what the file cannot express.
    pub flags: Vec<String>,
    /// What neither can express.
    pub notes: Vec<String>,
}

/// A runtime that may be used.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct RankedV1 {
    /// Its name.
    pub runtime: String,
    /// Measured isolation.
    pub isolation: String,
    /// Cells of kind `contained` that are not held: the host surface within reach.
    pub reached: Vec<String>,
    /// The model it would be taken with.
    pub model: String,
    /// Mitigations it needs under it.
    pub mitigations: Vec<String>,
    /// Cost, where a benchmark is there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cost: Option<u64>,
}

/// A runtime that may not be used.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct RejectedV1 {
    /// Its name.
    pub runtime: String,
    /// The first requirement it failed; `report`, `identity`, `isolation`, `mitigation` where it is another thing.
    pub requirement: String,
    /// The model it came nearest under.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// What is wrong.
    pub reason: String,
    /// The cell that decides.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub because: Option<BasisV1>,
    /// The report that says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub report: Option<String>,
}

/// What became of a report.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct ReportUseV1 {
    /// Where it came from.
    pub name: String,
    /// Why it does not count, if so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refused: Option<String>,
}

/// What was asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct PolicyV1 {
    /// Its name.
    pub name: String,
    /// SHA-256 of its text.
    pub sha256: String,
    /// Further capabilities that were asked for.
    pub require: Vec<String>,
}

/// For how long the answer is good.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct ValidityV1 {
    /// When it was given.
    pub decided: String,
    /// When the chosen runtime was measured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub measured: Option<String>,
    /// When that measurement becomes too old.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires: Option<String>,
    /// The age limit in seconds.
    pub max_age_seconds: u64,
    /// Whether the host was looked at when the answer was given.
    pub host_verified: bool,
}

/// What the answer is bound to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct BoundV1 {
    /// Kernel release.
    pub kernel: String,
    /// Engine version.
    pub engine: String,
    /// The engine's own id.
    pub engine_id: String,
    /// cgroup version.
    pub cgroup: String,
    /// The engine's default runtime.
    pub default_runtime: String,
    /// SHA-256 of the catalogue.
    pub catalogue: String,
    /// Settings of engine and firewall.
    pub settings: BTreeMap<String, String>,
    /// The run.
    pub run: String,
    /// The runtime's version.
    pub version: String,
    /// The executables behind it: path, arguments, SHA-256, wrapper first.
    pub executables: Vec<ExecutableV1>,
}

/// An executable behind a runtime.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct ExecutableV1 {
    /// Its path.
    pub path: String,
    /// Its hash.
    pub sha256: String,
    /// Its arguments, as registered.
    pub arguments: Vec<String>,
    /// Hashes of further files by path.
    pub files: BTreeMap<String, String>,
}

/// AWF's runtime registry, derived.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct RegistryV1 {
    /// `awf-probe/registry-v1`.
    #[schemars(extend("const" = "awf-probe/registry-v1"))]
    pub schema: String,
    /// A record for each runtime that a report counts for, by the engine's name.
    pub runtimes: BTreeMap<String, RecordV1>,
}

/// A record of the registry. A field is absent where its cells do not decide it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct RecordV1 {
    /// How AWF runs it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub execution_model: Option<String>,
    /// The engine's name.
    pub docker_runtime: String,
    /// Whether hosts entries must replace the embedded resolver.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub needs_static_dns: Option<bool>,
    /// Whether rules of an init container under the default runtime govern it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uses_iptables: Option<bool>,
    /// The cells that decide each field.
    pub decided_by: BTreeMap<String, Vec<BasisV1>>,
}
