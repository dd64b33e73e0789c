//! `awf-probe/report-v1`: the report for machines.
//!
//! The shape is frozen apart from the domain types: a field that is added to a domain type fails to compile here until
//! it is decided how it is written. Within v1 only optional fields may be added.

mod convert;
mod v1;

use awf_probe_matrix::{Catalogue, Matrix};
use serde::Deserialize;
use sha2::{Digest, Sha256};

pub use v1::{
    CapabilityV1, CellV1, ClassV1, CoverageV1, FingerprintV1, HostV1, KindV1, LeftoversV1, RejectionV1, ReportV1,
    RequirementCellV1, RequirementV1, ResultV1, RunV1, RuntimeV1, SightingV1, StandingV1, ToolV1, VerdictV1,
};

use crate::ReportError;
pub(crate) use convert::inconsistency;

pub(crate) fn render(matrix: &Matrix, catalogue: &Catalogue) -> Result<String, ReportError> {
    let report = ReportV1::new(matrix, catalogue).sealed()?;
    Ok(serde_json::to_string_pretty(&report)? + "\n")
}

/// The matrix of a report that was written as JSON.
///
/// Fails on another schema, on a field this version does not know, on a digest that does not fit, and on a text over
/// 256 MiB. The digest detects accidents, not forgery: whoever edits a report can make a new one.
pub fn read(text: &str) -> Result<Matrix, ReportError> {
    parse(text)?.try_into()
}

/// The same of a text whose bytes are known to be those that were written, by a MAC over all of them: the digest, which
/// costs as much as everything else, is not computed again.
///
/// # Errors
///
/// As [`read`], but for the digest.
pub fn read_sealed(text: &str) -> Result<Matrix, ReportError> {
    parse(text)?.matrix()
}

fn parse(text: &str) -> Result<ReportV1, ReportError> {
    /// Only the field that says how to read the others.
    #[derive(Deserialize)]
    struct Head {
        schema: String,
    }

    if text.len() > MOST_BYTES {
        return Err(ReportError::TooLong { bytes: text.len(), limit: MOST_BYTES });
    }
    let Head { schema: found } = serde_json::from_str(text)?;
    if found != SCHEMA {
        return Err(ReportError::Schema { found, expected: SCHEMA });
    }
    Ok(serde_json::from_str(text)?)
}

/// The JSON Schema of a report (draft 2020-12).
pub fn schema() -> serde_json::Value {
    let mut schema = schemars::schema_for!(ReportV1);
    schema.insert("title".to_owned(), "awf-probe report, version 1".into());
    schema.to_value()
}

impl ReportV1 {
    /// The report with its digest.
    pub(crate) fn sealed(self) -> Result<Self, ReportError> {
        Ok(Self { digest: self.computed_digest()?, ..self })
    }

    /// SHA-256 over the JSON of everything but the digest, keys sorted, without white space:
    /// `jq -jcS 'del(.digest)' report.json | sha256sum`.
    pub(crate) fn computed_digest(&self) -> Result<String, ReportError> {
        let mut value = serde_json::to_value(self)?;
        if let Some(object) = value.as_object_mut() {
            object.remove("digest");
        }
        value.sort_all_objects();
        let mut hash = Sha256::new();
        serde_json::to_writer(&mut hash, &value)?;
        Ok(hash.finalize().iter().map(|b| format!("{b:02x}")).collect())
    }
}

/// The name of this format.
pub(crate) const SCHEMA: &str = "awf-probe/report-v1";
pub(crate) const MOST_BYTES: usize = 256 << 20;
