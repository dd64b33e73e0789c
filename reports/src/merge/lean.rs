//! A report read with as little work as its digest and its verdicts allow: evidence is hashed and forgotten, texts stay
//! where they stand in the file.
//!
//! The digest is over the JSON with its keys sorted, and so the members of what there is much of stand here in that
//! order. A test holds these shapes against those of `ReportV1`.

use std::{
    borrow::Cow,
    collections::BTreeMap,
    io::{self, Write},
};

use serde::{Deserialize, Serialize, Serializer};
use sha2::{Digest, Sha256};

use crate::ReportError;
use crate::json::{
    CoverageV1, HostV1, KindV1, LeftoversV1, RequirementV1, ResultV1, RunV1, RuntimeV1, SCHEMA, ToolV1, VerdictV1,
    inconsistency,
};

/// `ReportV1` without copies.
#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Lean<'a> {
    #[serde(borrow)]
    capabilities: Vec<LeanCapability<'a>>,
    #[serde(borrow)]
    pub(super) cells: Vec<LeanCell<'a>>,
    #[serde(serialize_with = "sorted")]
    coverage: CoverageV1,
    #[serde(skip_serializing, borrow)]
    digest: Cow<'a, str>,
    #[serde(serialize_with = "sorted")]
    pub(super) host: HostV1,
    #[serde(serialize_with = "sorted")]
    leftovers: LeftoversV1,
    #[serde(serialize_with = "sorted")]
    pub(super) requirements: Vec<RequirementV1>,
    #[serde(serialize_with = "sorted")]
    pub(super) run: RunV1,
    #[serde(serialize_with = "sorted")]
    pub(super) runtimes: Vec<RuntimeV1>,
    #[serde(borrow)]
    schema: Cow<'a, str>,
    #[serde(serialize_with = "sorted")]
    tool: ToolV1,
}

#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct LeanCapability<'a> {
    #[serde(borrow)]
    family: Text<'a>,
    #[serde(borrow)]
    id: Text<'a>,
    kind: KindV1,
    #[serde(borrow)]
    title: Text<'a>,
}

#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct LeanCell<'a> {
    #[serde(default, skip_serializing_if = "Option::is_none", borrow)]
    pub(super) backend: Option<Text<'a>>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    counts: BTreeMap<String, u64>,
    #[serde(default, skip_serializing_if = "Vec::is_empty", borrow)]
    evidence: Vec<LeanSighting<'a>>,
    #[serde(borrow)]
    pub(super) id: Text<'a>,
    #[serde(default, skip_serializing_if = "Option::is_none", borrow)]
    pub(super) model: Option<Text<'a>>,
    #[serde(borrow)]
    reason: Text<'a>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    rejection: Option<LeanRejection>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    result: Option<ResultV1>,
    #[serde(borrow)]
    pub(super) runtime: Text<'a>,
    pub(super) verdict: VerdictV1,
}

#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct LeanRejection {
    after_ms: u64,
    silent: u64,
    told: u64,
}

#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct LeanSighting<'a> {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    journal_line: Option<u64>,
    #[serde(borrow)]
    saw: Text<'a>,
    #[serde(borrow)]
    source: Text<'a>,
}

/// A text that is borrowed from the file where it has no escapes.
#[derive(Deserialize, Serialize)]
#[serde(transparent)]
pub(super) struct Text<'a>(#[serde(borrow)] pub(super) Cow<'a, str>);

/// Reads a report, and refuses it as `read` does.
pub(super) fn read(bytes: &[u8]) -> Result<Lean<'_>, ReportError> {
    // Checked once and then taken as text: a string at a time costs more.
    let text = std::str::from_utf8(bytes).map_err(|e| ReportError::Text(e.to_string()))?;
    let report: Lean<'_> = match serde_json::from_str(text) {
        Ok(report) => report,
        // Says first that it is of another version, if it is.
        Err(e) => return Err(crate::read(text).err().unwrap_or(ReportError::Json(e))),
    };
    if report.schema != SCHEMA {
        return Err(ReportError::Schema { found: report.schema.into_owned(), expected: SCHEMA });
    }
    let mut hash = Hashing { hash: Sha256::new(), waiting: Vec::with_capacity(CHUNK * 2) };
    serde_json::to_writer(&mut hash, &report)?;
    let computed = hash.finish();
    if report.digest != computed {
        return Err(ReportError::Digest { found: report.digest.into_owned(), expected: computed });
    }
    let runtimes = report.runtimes.iter().map(|r| r.name.as_str());
    let requirements = report.requirements.iter().map(|r| (r.id.as_str(), r.runtime.as_str()));
    inconsistency(runtimes, requirements).map_or(Ok(report), Err)
}

/// Members of small parts are put in order the slow way.
fn sorted<T: Serialize, S: Serializer>(part: &T, serializer: S) -> Result<S::Ok, S::Error> {
    let mut value = serde_json::to_value(part).map_err(serde::ser::Error::custom)?;
    value.sort_all_objects();
    value.serialize(serializer)
}

/// Gathers what serde_json writes bit by bit.
struct Hashing {
    hash: Sha256,
    waiting: Vec<u8>,
}

impl Hashing {
    fn finish(mut self) -> String {
        self.hash.update(&self.waiting);
        self.hash.finalize().iter().map(|b| format!("{b:02x}")).collect()
    }
}

impl Write for Hashing {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.write_all(bytes)?;
        Ok(bytes.len())
    }

    #[inline]
    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.waiting.extend_from_slice(bytes);
        if self.waiting.len() >= CHUNK {
            self.hash.update(&self.waiting);
            self.waiting.clear();
        }
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

const CHUNK: usize = 16 << 10;

/// Fails to compile when a member is added to what is written out here and not there.
#[cfg(test)]
#[expect(dead_code, reason = "only compiled")]
fn same_members(report: crate::json::ReportV1) {
    use crate::json::{CapabilityV1, CellV1, ReportV1, SightingV1};
    let ReportV1 {
        schema: _,
        tool: _,
        digest: _,
        run: _,
        host: _,
        runtimes: _,
        requirements: _,
        coverage: _,
        leftovers: _,
        capabilities,
        cells,
    } = report;
    for CapabilityV1 { id: _, title: _, kind: _, family: _ } in capabilities {}
    for CellV1 {
        id: _,
        runtime: _,
        model: _,
        backend: _,
        verdict: _,
        reason: _,
        result: _,
        evidence,
        rejection: _,
        counts: _,
    } in cells
    {
        for SightingV1 { source: _, saw: _, journal_line: _ } in evidence {}
    }
}
