//! JSON Lines: the report in records that can be read one at a time. `record` says what a line is; the last one counts
//! them, so that a cut is missed by nobody. The members are those of report-v1.

use awf_probe_matrix::{Catalogue, Matrix};
use serde::Serialize;

use crate::{
    CapabilityV1, CellV1, CoverageV1, HostV1, LeftoversV1, ReportError, ReportV1, RequirementV1, RunV1, RuntimeV1,
    ToolV1,
};

#[derive(Serialize)]
#[serde(tag = "record", rename_all = "kebab-case")]
enum Line<'a> {
    Report {
        schema: &'static str,
        tool: &'a ToolV1,
        run: &'a RunV1,
        host: &'a HostV1,
        coverage: CoverageV1,
        leftovers: &'a LeftoversV1,
    },
    Runtime(&'a RuntimeV1),
    Requirement(&'a RequirementV1),
    Capability(&'a CapabilityV1),
    Cell(&'a CellV1),
    End {
        lines: usize,
    },
}

pub(crate) fn render(matrix: &Matrix, catalogue: &Catalogue) -> Result<String, ReportError> {
    let report = ReportV1::new(matrix, catalogue);
    let head = Line::Report {
        schema: SCHEMA,
        tool: &report.tool,
        run: &report.run,
        host: &report.host,
        coverage: report.coverage,
        leftovers: &report.leftovers,
    };
    let lines = std::iter::once(head)
        .chain(report.runtimes.iter().map(Line::Runtime))
        .chain(report.requirements.iter().map(Line::Requirement))
        .chain(report.capabilities.iter().map(Line::Capability))
        .chain(report.cells.iter().map(Line::Cell));
    let mut text = String::new();
    let mut count = 1;
    for line in lines {
        text.push_str(&serde_json::to_string(&line)?);
        text.push('\n');
        count += 1;
    }
    Ok(text + &serde_json::to_string(&Line::End { lines: count })? + "\n")
}

/// The name of this format.
const SCHEMA: &str = "awf-probe/report-lines-v1";
