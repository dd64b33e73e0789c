//! The six things a cell can say.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What the evidence says about one capability of one runtime. Only `pass` satisfies a requirement.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// The runtime does what AWF needs, and the control shows that the experiment could have failed.
    Pass,
    /// Accepted but not effective, or effective for part of the stated scope. Never satisfies a requirement.
    Partial,
    /// The runtime does not do what AWF needs, or lets happen what must not.
    Fail,
    /// It cannot be told: a control did not come out the other way, or an observation is missing.
    Inconclusive,
    /// Not tried, for a reason the user can change.
    Skipped,
    /// The question makes no sense on this host.
    NotApplicable,
}

impl Verdict {
    /// All verdicts, best first.
    pub const ALL: [Self; 6] =
        [Self::Pass, Self::Partial, Self::Fail, Self::Inconclusive, Self::Skipped, Self::NotApplicable];

    /// The word used in every format.
    pub fn word(self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::Partial => "partial",
            Self::Fail => "fail",
            Self::Inconclusive => "inconclusive",
            Self::Skipped => "skipped",
            Self::NotApplicable => "not-applicable",
        }
    }

    /// Whether the measurement settled the question.
    pub fn is_conclusive(self) -> bool {
        match self {
            Self::Pass | Self::Partial | Self::Fail | Self::NotApplicable => true,
            Self::Inconclusive | Self::Skipped => false,
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.word())
    }
}
