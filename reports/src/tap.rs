//! TAP version 14: a test point for each cell. Leaks of controls are `TODO`, TAP's word for an expected failure.

use awf_probe_matrix::{Catalogue, Cell, Matrix, Verdict};

use crate::{ReportError, Style, text::clean, view::View};

pub(crate) fn render(matrix: &Matrix, catalogue: &Catalogue, style: Style) -> Result<String, ReportError> {
    let view = View::new(matrix, catalogue, style, true)?;
    let mut text = format!("TAP version 14\n1..{}\n", matrix.cells.len());
    for (at, cell) in matrix.cells.iter().enumerate() {
        text.push_str(&point(at + 1, cell, view.is_control(cell))?);
    }
    Ok(text)
}

fn point(number: usize, cell: &Cell, is_control: bool) -> Result<String, ReportError> {
    let (word, directive) = match cell.verdict {
        Verdict::Pass => ("ok", None),
        Verdict::Skipped | Verdict::NotApplicable => ("ok", Some("SKIP")),
        Verdict::Fail | Verdict::Partial | Verdict::Inconclusive if is_control => ("not ok", Some("TODO")),
        Verdict::Fail | Verdict::Partial | Verdict::Inconclusive => ("not ok", None),
    };
    let name = escape(&format!("{}: {}", cell.runtime, cell.name()));
    let reason = clean(&cell.reason);
    let directive = directive.map(|d| format!(" # {d} {}: {}", cell.verdict, escape(&reason))).unwrap_or_default();
    let mut text = format!("{word} {number} - {name}{directive}\n");
    if word == "not ok" {
        // JSON's strings are YAML's double-quoted ones.
        let reason = serde_json::to_string(&reason)?;
        text.push_str(&format!("  ---\n  verdict: {}\n  reason: {reason}\n  ...\n", cell.verdict));
    }
    Ok(text)
}

/// `#` would begin a directive.
fn escape(text: &str) -> String {
    clean(text).replace('\\', "\\\\").replace('#', "\\#")
}
