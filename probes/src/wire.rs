//! What the harness and a guest say to each other: JSON Lines over the container's stdin and stdout.
//!
//! A guest greets with [`Say::Hello`], answers each [`Batch`] with facts and one [`Say::Finished`] that counts
//! them, so that a truncated answer is seen, and leaves at end of file on stdin.

use awf_probe_matrix::Fact;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Environment variable with the name (at most 15 bytes) under which the guest's first task can be found on a
/// host that shares its kernel.
pub const COMM_ENV: &str = "AWF_PROBE_COMM";

/// The most bytes one probe may report.
pub const MAX_PROBE_BYTES: usize = 256 * 1024;

/// The most bytes one line may have.
pub const MAX_LINE_BYTES: usize = 64 * 1024;

/// Probes to run together.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Batch {
    /// Number of the batch, echoed.
    pub batch: u64,
    /// All at once (each in a process of its own) or one after the other.
    pub parallel: bool,
    /// What to run.
    pub asks: Vec<Ask>,
}

/// One probe to run.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Ask {
    /// Probe id.
    pub probe: String,
    /// Name under which its facts are reported; the probe's id if empty.
    #[serde(default)]
    pub label: String,
    /// What the probe needs to know.
    #[serde(default)]
    pub params: Value,
    /// After this many milliseconds its process is killed.
    pub deadline_ms: u64,
}

/// One line a guest writes.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "say", rename_all = "kebab-case")]
pub enum Say {
    /// The guest runs.
    Hello {
        /// Version of the executable inside.
        version: String,
    },
    /// A probe reports.
    Fact {
        /// Of the batch.
        batch: u64,
        /// What.
        fact: Fact,
    },
    /// A batch came to its end.
    Finished {
        /// Of the batch.
        batch: u64,
        /// How many facts it has.
        count: u64,
    },
    /// A line from the harness could not be read.
    Confused {
        /// Why.
        why: String,
    },
}
