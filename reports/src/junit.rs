//! JUnit XML for the test views of CI systems: a suite for each runtime, a case for each cell.

use awf_probe_matrix::{Catalogue, Cell, Matrix, Verdict};

use crate::{ReportError, Style, text::clean, view::View};

pub(crate) fn render(matrix: &Matrix, catalogue: &Catalogue, style: Style) -> Result<String, ReportError> {
    let view = View::new(matrix, catalogue, style, true)?;
    let mut suites = String::new();
    let mut sum = Counts::default();
    for row in &matrix.runtimes {
        let cells: Vec<&Cell> = matrix.cells.iter().filter(|c| c.runtime == row.name).collect();
        let mut counts = Counts::default();
        let cases: String = cells.iter().map(|c| case(c, view.is_control(c), &mut counts)).collect();
        let started = matrix.run.started.trim_end_matches('Z');
        suites.push_str(&format!(
            "  <testsuite name=\"{}\" {} timestamp=\"{}\">\n{cases}  </testsuite>\n",
            xml(&row.name),
            counts.attributes(),
            xml(started)
        ));
        sum.add(&counts);
    }
    Ok(format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites name=\"awf-probe\" {}>\n{suites}</testsuites>\n",
        sum.attributes()
    ))
}

#[derive(Default)]
struct Counts {
    tests: usize,
    failures: usize,
    errors: usize,
    skipped: usize,
}

impl Counts {
    fn attributes(&self) -> String {
        let Self { tests, failures, errors, skipped } = self;
        format!("tests=\"{tests}\" failures=\"{failures}\" errors=\"{errors}\" skipped=\"{skipped}\"")
    }

    fn add(&mut self, other: &Self) {
        self.tests += other.tests;
        self.failures += other.failures;
        self.errors += other.errors;
        self.skipped += other.skipped;
    }
}

/// A control is never a failure, and never a success either: it is what the others are compared with.
fn case(cell: &Cell, is_control: bool, counts: &mut Counts) -> String {
    counts.tests += 1;
    let family = cell.id.split('.').next().unwrap_or_default();
    let head =
        format!("    <testcase classname=\"{}.{}\" name=\"{}\"", xml(&cell.runtime), xml(family), xml(&cell.name()));
    let skipped = |text: String| format!("{head}>\n      <skipped message=\"{}\"/>\n    </testcase>\n", xml(&text));
    if is_control {
        counts.skipped += 1;
        return skipped(format!("control, no requirement rests on it: {}: {}", cell.verdict, cell.reason));
    }
    let element = match cell.verdict {
        Verdict::Pass => return format!("{head}/>\n"),
        Verdict::Skipped | Verdict::NotApplicable => {
            counts.skipped += 1;
            return skipped(format!("{}: {}", cell.verdict, cell.reason));
        }
        Verdict::Fail | Verdict::Partial => {
            counts.failures += 1;
            "failure"
        }
        Verdict::Inconclusive => {
            counts.errors += 1;
            "error"
        }
    };
    let evidence: String = cell.evidence.iter().map(|e| format!("{}: {}\n", xml(&e.source), xml(&e.saw))).collect();
    format!(
        "{head}>\n      <{element} type=\"{}\" message=\"{}\">{}</{element}>\n    </testcase>\n",
        cell.verdict,
        xml(&cell.reason),
        evidence.trim_end()
    )
}

/// Clean text; U+FFFE and U+FFFF are no characters of XML 1.0.
fn xml(text: &str) -> String {
    let mut out = String::new();
    for c in clean(text).chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&apos;"),
            '\u{fffe}' | '\u{ffff}' => out.push('\u{fffd}'),
            c => out.push(c),
        }
    }
    out
}
