//! Everything a run observes, in order. The journal is these, one per line; verdicts are a pure function of them.

use std::net::IpAddr;

use awf_probe_matrix::{Fact, Host, Leftovers, RunInfo, RuntimeRow};
use serde::{Deserialize, Serialize};

use crate::lab::roles::wire::{Packet, Process};

/// Version of the journal; a reader refuses another one.
pub const JOURNAL: &str = "awf-probe/journal-v1";

/// One line of the journal.
#[expect(clippy::large_enum_variant, reason = "the large one is there once per run")]
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub enum Event {
    /// First line: what is to be measured, where.
    RunStarted {
        /// [`JOURNAL`].
        journal: String,
        /// The run.
        run: RunInfo,
        /// The host.
        host: Host,
        /// The runtimes asked for.
        runtimes: Vec<RuntimeRow>,
        /// Every cell that must get a verdict.
        plan: Vec<PlannedCell>,
    },
    /// The lab stands, and the preflight proved its routes.
    LabUp {
        /// Documentation range.
        document: String,
        /// Lab subnets: ordinary, internal.
        lab: Vec<String>,
        /// `squid` or `builtin`, with version.
        proxy: String,
        /// The proxy's addresses, in the order of `lab`.
        proxy_addresses: Vec<IpAddr>,
        /// The resolver every sandbox may ask.
        resolver: IpAddr,
        /// What allowed names resolve to.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        allowed: Option<IpAddr>,
    },
    /// A sandbox runs.
    SandboxStarted {
        /// Runtime.
        runtime: String,
        /// Scenario, such as `awf` or `egress[netns-init/nft]`.
        scenario: String,
        /// `agent` or `init`.
        role: String,
        /// Container id.
        container: String,
        /// Address in the lab, if it has one.
        address: Option<IpAddr>,
        /// Milliseconds of create and start.
        create_ms: u64,
        /// Milliseconds of start.
        start_ms: u64,
    },
    /// A sandbox ended before it was told to.
    SandboxDied {
        /// Runtime.
        runtime: String,
        /// Scenario.
        scenario: String,
        /// Exit code as the engine reports it.
        exit_code: Option<i64>,
        /// The engine's OOMKilled; recorded only.
        oom_killed: Option<bool>,
        /// What the engine or the guest's standard error says.
        why: String,
    },
    /// Somebody saw something.
    Observed {
        /// Runtime.
        runtime: String,
        /// Scenario.
        scenario: String,
        /// `guest`, `engine`, `host`.
        source: String,
        /// What.
        fact: Fact,
        /// Address of the sandbox in the lab, if it has one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        address: Option<IpAddr>,
    },
    /// Host processes of a sandbox: its init as the engine names it, and that one's ancestors.
    HostProcesses {
        /// Runtime.
        runtime: String,
        /// Process first, then ancestors.
        chain: Vec<Process>,
    },
    /// A packet in one of the ledgers.
    Packet {
        /// `witness`, `proxy`, `tap`, `tripwire`.
        at: String,
        /// The packet.
        packet: Packet,
    },
    /// The witness's DNS server answered.
    Dns {
        /// Who asked.
        client: IpAddr,
        /// Name asked for.
        name: String,
        /// Server asked.
        server: IpAddr,
        /// Answer.
        answer: String,
    },
    /// The witness's HTTP server answered.
    Http {
        /// Who asked.
        client: IpAddr,
        /// Address asked.
        server: IpAddr,
        /// Host header.
        host: String,
        /// Path.
        path: String,
        /// Inside TLS.
        tls: bool,
    },
    /// The proxy decided.
    Decision {
        /// Who asked.
        client: IpAddr,
        /// Method.
        method: String,
        /// Target.
        target: String,
        /// Status the client got.
        status: u16,
        /// `allowed`, `denied`, `failed`, `refused`.
        decision: String,
    },
    /// The ledgers of a scenario are complete: whatever was sent before has been seen, or is not coming.
    Drained {
        /// Runtime.
        runtime: String,
        /// Scenario.
        scenario: String,
        /// Whether every marker came through and nothing was lost.
        ok: bool,
        /// If not, why; else how long it took.
        why: String,
    },
    /// How long a phase of a scenario took.
    Phase {
        /// Runtime.
        runtime: String,
        /// Scenario.
        scenario: String,
        /// `guest` (probes run in the sandbox), `drain` (waiting for what might still arrive), `remove`.
        phase: String,
        /// Milliseconds.
        ms: u64,
    },
    /// A scenario could not be carried out.
    Problem {
        /// Runtime.
        runtime: String,
        /// Scenario.
        scenario: String,
        /// `create`, `start`, `guest`, `lab`, …
        stage: String,
        /// Why.
        why: String,
    },
    /// How the host differs from before the run.
    Cleaned {
        /// The differences.
        leftovers: Leftovers,
    },
    /// Last line.
    RunFinished {
        /// Milliseconds.
        elapsed_ms: u64,
        /// Whether every scenario came to its end.
        complete: bool,
        /// How many lines the journal has up to this one, so that one that got lost is missed; 0 is not known.
        #[serde(default)]
        lines: u64,
    },
}

/// A cell the plan asks for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct PlannedCell {
    /// Capability id.
    pub id: String,
    /// Runtime.
    pub runtime: String,
    /// Model, or `init=RUNTIME`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// iptables backend.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backend: Option<String>,
}
