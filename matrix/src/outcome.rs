//! What happened when something was tried. Says nothing about whether that is good.

use std::{fmt, net::IpAddr};

use serde::{Deserialize, Serialize};

/// What happened when a probe asked its question.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "outcome", rename_all = "kebab-case")]
pub enum Outcome {
    /// It happened.
    Allowed {
        /// What exactly.
        detail: String,
    },
    /// The sandbox said no.
    Refused {
        /// The errno's name (`EPERM`), or a word where there is no errno (`exit 4`, `unseen`).
        errno: String,
        /// What exactly.
        detail: String,
    },
    /// Nothing came back.
    TimedOut {
        /// Milliseconds waited.
        after_ms: u64,
        /// What was waited for.
        detail: String,
    },
    /// The process that tried was killed.
    Killed {
        /// Signal number.
        signal: i32,
        /// What it was doing.
        detail: String,
    },
    /// A fact rather than an attempt.
    Value {
        /// The fact as text.
        value: String,
    },
    /// The question makes no sense here.
    Absent {
        /// Why.
        why: String,
    },
    /// Not tried, for a reason the user can change (a tool is missing).
    Skipped {
        /// Why.
        why: String,
    },
    /// The probe itself failed; never evidence.
    Broken {
        /// Why.
        why: String,
    },
}

impl Outcome {
    /// It happened, with this detail.
    pub fn allowed(detail: impl Into<String>) -> Self {
        Self::Allowed { detail: detail.into() }
    }

    /// A refusal that has no errno.
    pub fn refused(errno: impl Into<String>, detail: impl Into<String>) -> Self {
        Self::Refused { errno: errno.into(), detail: detail.into() }
    }

    /// A plain fact.
    pub fn value(value: impl ToString) -> Self {
        Self::Value { value: value.to_string() }
    }

    /// A failure of the probe itself.
    pub fn broken(why: impl Into<String>) -> Self {
        Self::Broken { why: why.into() }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let tail = |d: &str| if d.is_empty() { String::new() } else { format!(" ({d})") };
        match self {
            Self::Allowed { detail } => write!(f, "allowed{}", tail(detail)),
            Self::Refused { errno, detail } => write!(f, "refused: {errno}{}", tail(detail)),
            Self::TimedOut { after_ms, detail } => write!(f, "nothing came back in {after_ms} ms{}", tail(detail)),
            Self::Killed { signal, detail } => write!(f, "killed by signal {signal}{}", tail(detail)),
            Self::Value { value } => write!(f, "{value}"),
            Self::Absent { why } => write!(f, "absent: {why}"),
            Self::Skipped { why } => write!(f, "skipped: {why}"),
            Self::Broken { why } => write!(f, "probe failed: {why}"),
        }
    }
}

/// How to find an attempt in the ledgers of the witness, the proxy and the tap.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sent {
    /// IP protocol number.
    pub proto: u8,
    /// Where it was sent.
    pub dst: IpAddr,
    /// Destination port, 0 where there is none.
    pub dport: u16,
    /// Source port, 0 where there is none or it is not known.
    pub sport: u16,
    /// Token in the payload, empty if the attempt carries none before an answer arrives.
    pub nonce: String,
    /// What a proxy was asked for, where the token is not part of it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub target: String,
}

/// One named observation of a guest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fact {
    /// Name within its scenario, such as `chroot.enter`.
    pub name: String,
    /// What happened.
    #[serde(flatten)]
    pub outcome: Outcome,
    /// How to find it in the ledgers, if a packet was involved.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sent: Option<Sent>,
    /// Milliseconds the attempt took, as the guest measured it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub elapsed_ms: Option<u64>,
}
