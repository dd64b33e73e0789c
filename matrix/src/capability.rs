//! One row of the matrix, as its author wrote it.

use serde::{Deserialize, Serialize};

use crate::Condition;

/// What a capability asks of a runtime.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// AWF needs it.
    Works,
    /// It must not be possible.
    Contained,
    /// It must end at the proxy or nowhere.
    Egress,
}

/// Where its cells come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Scope {
    /// One cell per runtime.
    Solo,
    /// One cell per runtime and init runtime (the cell's model is `init=NAME`).
    Netns,
    /// One cell per runtime, enforcement model and iptables backend.
    Egress,
    /// The same for the models that count: what becomes of ways out when a part of the guard fails.
    Guard,
    /// The same for the models that count: ways out over IPv6, where the agent's network has it.
    DualStack,
}

impl Scope {
    /// Whether its cells belong to an enforcement model.
    pub fn has_models(self) -> bool {
        matches!(self, Self::Egress | Self::Guard | Self::DualStack)
    }
}

/// What trying it may cost the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Safety {
    /// Nothing.
    Safe,
    /// Memory or processes inside its own limit.
    Heavy,
    /// May harm a peer container of the run or crash a sandbox; runs in sandboxes made for it alone.
    Disruptive,
}

/// How an egress attempt should end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Want {
    /// Nowhere, or at the proxy.
    Contained,
    /// At the proxy, which refuses it.
    Denied,
    /// At its destination, through the proxy.
    Served,
}

/// A capability: one thing AWF needs, or one thing that must not be possible.
#[derive(Clone, Debug)]
pub struct Capability {
    /// Stable dotted id, never reused.
    pub id: String,
    /// The family: the id's file.
    pub family: String,
    /// A line for tables.
    pub title: String,
    /// What it asks of a runtime.
    pub kind: Kind,
    /// Where its cells come from.
    pub scope: Scope,
    /// What trying it may cost.
    pub safety: Safety,
    /// Why AWF cares.
    pub why: String,
    /// How it is measured, down to the syscalls.
    pub how: String,
    /// What keeps the verdict from being vacuous.
    pub control: String,
    /// What to do about a fail.
    pub remedy: String,
    /// Catalogue entries, issues, source code.
    pub sources: Vec<String>,
    /// Must hold before anything is judged.
    pub controls: Vec<Condition>,
    /// All hold: there is nothing to measure under this runtime, `not-applicable`.
    pub moot: Vec<Condition>,
    /// What `moot` means in words.
    pub moot_reason: String,
    /// All hold: `pass`.
    pub pass: Vec<Condition>,
    /// All hold (and `pass` does not): `partial`.
    pub partial: Vec<Condition>,
    /// What `partial` means in words.
    pub partial_reason: String,
    /// Egress: name of the attempt. Guard: what fails.
    pub attempt: String,
    /// Egress only: how the attempt should end.
    pub want: Option<Want>,
}
