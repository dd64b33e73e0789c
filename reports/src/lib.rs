//! Renderings of a [`Matrix`], one file per format.
//!
//! Everything here is a pure function of a matrix and the catalogue. Texts of a matrix come from sandboxes that may be
//! hostile, or from a file someone sent: each format neutralises them for its own reader.

pub mod bench;
mod diff;
pub mod docs;
mod format;
mod github;
mod html;
mod json;
mod jsonl;
mod junit;
mod markdown;
mod merge;
mod sarif;
pub mod selection;
mod table;
mod tap;
mod text;
mod view;

#[cfg(test)]
mod tests;

pub use diff::{Change, Diff, Difference, VersionChange, diff};
pub use format::{Format, Style, UnknownFormat};
pub use json::{
    CapabilityV1, CellV1, ClassV1, CoverageV1, FingerprintV1, HostV1, KindV1, LeftoversV1, RejectionV1, ReportV1,
    RequirementCellV1, RequirementV1, ResultV1, RunV1, RuntimeV1, SightingV1, StandingV1, ToolV1, VerdictV1, read,
    read_sealed, schema,
};
pub use merge::Merge;

use awf_probe_matrix::{Catalogue, Matrix};

/// A report that cannot be written or read.
#[derive(Debug, thiserror::Error)]
pub enum ReportError {
    /// The enforcement models that are compiled in cannot be read: a bug.
    #[error("models.toml: {0}")]
    Models(String),
    /// The text is no JSON, or not the JSON of a report.
    #[error("not a report: {0}")]
    Json(#[from] serde_json::Error),
    /// The bytes are no text.
    #[error("not a report: {0}")]
    Text(String),
    /// The text is longer than any report.
    #[error("a report of {bytes} bytes is over the limit of {limit} bytes")]
    TooLong {
        /// Its length.
        bytes: usize,
        /// The limit.
        limit: usize,
    },
    /// Another format, or another version of this one.
    #[error("unknown schema {found:?}: this awf-probe reads {expected:?}")]
    Schema {
        /// What the file says.
        found: String,
        /// What can be read.
        expected: &'static str,
    },
    /// The content is not the one the digest was made of.
    #[error("the digest does not fit the content ({found} in the file, {expected} computed): damaged or edited")]
    Digest {
        /// What the file says.
        found: String,
        /// What its content gives.
        expected: String,
    },
    /// The parts of the report do not fit together.
    #[error("the report contradicts itself: {0}")]
    Inconsistent(String),
}

/// The matrix in one format. Every format ends with a newline.
pub fn render(matrix: &Matrix, catalogue: &Catalogue, format: Format, style: Style) -> Result<String, ReportError> {
    match format {
        Format::Table => table::render(matrix, catalogue, style),
        Format::Json => json::render(matrix, catalogue),
        Format::Markdown => markdown::render(matrix, catalogue, style),
        Format::Html => html::render(matrix, catalogue, style),
        Format::Jsonl => jsonl::render(matrix, catalogue),
        Format::Junit => junit::render(matrix, catalogue, style),
        Format::Sarif => sarif::render(matrix, catalogue, style),
        Format::Github => github::render(matrix, catalogue, style),
        Format::Tap => tap::render(matrix, catalogue, style),
    }
}
