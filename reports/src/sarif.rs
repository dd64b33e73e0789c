//! SARIF 2.1.0 for code scanning: each capability a rule with its help, a result for each cell that is to be looked at.

use std::collections::BTreeSet;

use awf_probe_matrix::{Capability, Catalogue, Cell, Matrix, Verdict};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::{ReportError, Style, text::clean, view::View};

pub(crate) fn render(matrix: &Matrix, catalogue: &Catalogue, style: Style) -> Result<String, ReportError> {
    let view = View::new(matrix, catalogue, style, true)?;
    let used: BTreeSet<&str> = matrix.cells.iter().map(|c| c.id.as_str()).collect();
    let known: Vec<&Capability> = catalogue.capabilities.iter().filter(|c| used.contains(c.id.as_str())).collect();
    let results: Vec<Value> =
        matrix.cells.iter().filter(|c| !view.is_control(c)).filter_map(|c| result(c, &known)).collect();
    let log = json!({
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "version": "2.1.0",
        "runs": [{
            "tool": { "driver": {
                "name": "awf-probe",
                "semanticVersion": env!("CARGO_PKG_VERSION"),
                "rules": known.iter().map(|c| rule(c)).collect::<Vec<_>>(),
            }},
            "invocations": [{ "executionSuccessful": matrix.run.complete }],
            "results": results,
        }],
    });
    Ok(serde_json::to_string_pretty(&log)? + "\n")
}

fn rule(c: &Capability) -> Value {
    let parts = [("Why", &c.why), ("How it is measured", &c.how), ("Control", &c.control), ("What to do", &c.remedy)];
    let join = |mark: &str| parts.map(|(name, body)| format!("{mark}{name}{mark}: {}", clean(body))).join("\n\n");
    // A set, as the schema wants it: family and kind of egress have the same name.
    let mut tags = vec![json!(c.family), json!(c.kind)];
    tags.dedup();
    json!({
        "id": c.id,
        "shortDescription": { "text": clean(&c.title) },
        "fullDescription": { "text": clean(&c.why) },
        "help": { "text": join(""), "markdown": join("**") },
        "properties": { "tags": tags },
    })
}

fn result(cell: &Cell, known: &[&Capability]) -> Option<Value> {
    let level = match cell.verdict {
        Verdict::Fail => "error",
        Verdict::Partial | Verdict::Inconclusive => "warning",
        Verdict::Pass | Verdict::Skipped | Verdict::NotApplicable => return None,
    };
    let name = clean(&cell.name());
    let runtime = clean(&cell.runtime);
    let line = cell.evidence.iter().find_map(|e| e.journal_line).filter(|l| *l > 0).unwrap_or(1);
    let mut value = json!({
        "ruleId": clean(&cell.id),
        "level": level,
        "message": { "text": plain(&format!("{runtime}: {name}: {}: {}", cell.verdict, clean(&cell.reason))) },
        // The evidence stands on this line of the run's journal.
        "locations": [{
            "physicalLocation": {
                "artifactLocation": { "uri": "journal.jsonl" },
                "region": { "startLine": line },
            },
            "logicalLocations": [{ "name": name, "fullyQualifiedName": format!("{runtime}/{name}") }],
        }],
        "partialFingerprints": { "awfProbeCell/v1": fingerprint(cell) },
        "properties": { "runtime": runtime, "verdict": cell.verdict.word() },
    });
    // A rule of another version's catalogue has no entry here.
    if let (Some(at), Some(object)) = (known.iter().position(|c| c.id == cell.id), value.as_object_mut()) {
        object.insert("ruleIndex".to_owned(), at.into());
    }
    Some(value)
}

/// The same for the same cell in every run, whatever its verdict and reason.
fn fingerprint(cell: &Cell) -> String {
    let place = [Some(&cell.runtime), Some(&cell.id), cell.model.as_ref(), cell.backend.as_ref()];
    let text = place.map(|p| p.map(String::as_str).unwrap_or_default()).join("\0");
    Sha256::digest(text).iter().map(|b| format!("{b:02x}")).collect()
}

/// Brackets would make an embedded link of a plain text message.
fn plain(text: &str) -> String {
    text.replace('\\', "\\\\").replace('[', "\\[").replace(']', "\\]")
}
