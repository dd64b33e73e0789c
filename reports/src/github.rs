//! Annotations of GitHub Actions: workflow commands on stdout, one for each group of cells with the same reason.

use awf_probe_matrix::{Catalogue, Matrix, Verdict};

use crate::{ReportError, Style, view::View};

pub(crate) fn render(matrix: &Matrix, catalogue: &Catalogue, style: Style) -> Result<String, ReportError> {
    let view = View::new(matrix, catalogue, style, true)?;
    let mut text = String::new();
    for o in view.obstacles() {
        let level = if o.standing == "broken" { "error" } else { "warning" };
        text.push_str(&command(level, &format!("{}: {} {}", o.runtime, o.requirements, o.standing), &o.cell));
    }
    for reason in view.reasons() {
        let level = match reason.verdict {
            Some(Verdict::Fail) => "error",
            // Without a verdict the runtime could not be measured.
            Some(Verdict::Partial | Verdict::Inconclusive) | None => "warning",
            Some(Verdict::Pass | Verdict::Skipped | Verdict::NotApplicable) => continue,
        };
        let title = match reason.verdict {
            Some(verdict) => format!("{}: {} {verdict}", reason.runtime, reason.subject()),
            None => reason.runtime.clone(),
        };
        text.push_str(&command(level, &title, &reason.text));
    }
    let coverage = matrix.coverage;
    let summary = format!("{} of {} cells measured", coverage.measured, coverage.total);
    Ok(text + &command("notice", "awf-probe", &summary))
}

fn command(level: &str, title: &str, message: &str) -> String {
    format!("::{level} title={}::{}\n", property(title), data(message))
}

/// As GitHub's own toolkit escapes the message of a command.
fn data(text: &str) -> String {
    text.replace('%', "%25").replace('\r', "%0D").replace('\n', "%0A")
}

/// As it escapes a property.
fn property(text: &str) -> String {
    data(text).replace(':', "%3A").replace(',', "%2C")
}
