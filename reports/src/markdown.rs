//! The report as GitHub Markdown, for a pull request or a job summary.
//!
//! Whatever may come from a sandbox stands in a code span, where GitHub interprets nothing: no HTML, no links, no
//! mentions.

use awf_probe_matrix::{Catalogue, Matrix};

use crate::{
    ReportError, Style,
    text::{clean, count},
    view::{CONTROLS, Grid, Reason, View, legend, symbol},
};

pub(crate) fn render(matrix: &Matrix, catalogue: &Catalogue, style: Style) -> Result<String, ReportError> {
    let view = View::new(matrix, catalogue, style, true)?;
    let mut out = "## awf-probe\n\n| | |\n|---|---|\n".to_owned();
    for (subject, text) in view.header() {
        out.push_str(&row(&[subject.to_owned(), code(&text)]));
    }
    out.push_str("\n### Runtimes\n\n| runtime | isolation | version | |\n|---|---|---|---|\n");
    for one in view.introductions() {
        let remarks: Vec<String> = one.remarks.iter().map(|r| code(&bounded(r))).collect();
        out.push_str(&row(&[code(&one.name), escape(&one.class), code(&one.version), remarks.join(" ")]));
    }
    out.push_str(&format!("\n{}\n", legend().join(", ")));
    let grids = std::iter::once(view.families()).chain(view.egress()).chain([view.requirements()]);
    for grid in grids.filter(|g| !g.rows.is_empty()) {
        out.push_str(&table(&grid));
    }
    if view.has_controls() {
        out.push_str(&format!("\n{CONTROLS}\n"));
    }
    let obstacles = view.obstacles();
    if !obstacles.is_empty() {
        out.push('\n');
    }
    for o in obstacles {
        out.push_str(&format!(
            "- {} {} {}: {}\n",
            code(&o.runtime),
            escape(&o.requirements),
            o.standing,
            code(&o.cell)
        ));
    }
    out.push_str(&reasons(&view.reasons(), style.full));
    out.push_str("\n### Summary\n\n| | |\n|---|---|\n");
    for (subject, text) in view.footer() {
        out.push_str(&row(&[subject.to_owned(), code(&text)]));
    }
    Ok(out)
}

fn table(grid: &Grid) -> String {
    let has_notes = grid.rows.iter().any(|r| !r.note.is_empty());
    let note = |text: &str| has_notes.then(|| escape(text));
    let names = grid.columns.iter().map(|c| code(c));
    let header: Vec<String> = [grid.corner.to_owned()].into_iter().chain(names).chain(note("")).collect();
    let mut out = format!("\n### {}\n\n{}|{}\n", escape(&grid.title), row(&header), "---|".repeat(header.len()));
    for r in &grid.rows {
        let cells = r.cells.iter().map(|c| escape(&c.join(" ")));
        let all: Vec<String> = [escape(&r.label)].into_iter().chain(cells).chain(note(&r.note)).collect();
        out.push_str(&row(&all));
    }
    out
}

fn reasons(reasons: &[Reason], full: bool) -> String {
    if reasons.is_empty() {
        return String::new();
    }
    let title = format!("Why: {}", count(reasons.len(), "reason"));
    let mut out =
        format!("\n<details><summary>{title}</summary>\n\n| runtime | cell | verdict | reason |\n|---|---|---|---|\n");
    for r in reasons {
        let subject = if full && r.cells.len() > 1 { r.cells.join(", ") } else { r.subject() };
        let subject = if subject.is_empty() { "all".to_owned() } else { code(&subject) };
        let verdict = r.verdict.map_or("not measured".to_owned(), |v| format!("{} {v}", symbol(v)));
        let text = if full { r.text.clone() } else { bounded(&r.text) };
        out.push_str(&row(&[code(&r.runtime), subject, verdict, code(&text)]));
    }
    out.push_str("\n</details>\n");
    out
}

/// A line of a table.
pub(crate) fn row(cells: &[String]) -> String {
    format!("| {} |\n", cells.join(" | "))
}

/// A code span. Backticks become apostrophes, as nothing inside a span can be escaped; a pipe would end a table's cell.
pub(crate) fn code(text: &str) -> String {
    let text = clean(text).replace('`', "'").replace("\\|", "\\ |").replace('|', "\\|");
    if text.is_empty() { String::new() } else { format!("`{text}`") }
}

/// Text in which every character means itself.
pub(crate) fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    // GitHub makes links of these without being asked.
    let text = clean(text).replace("://", ":\u{200b}//").replace("www.", "www\u{200b}.");
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '`' => out.push_str("&#96;"),
            // A backslash does not keep GitHub from reading a mention or a reference.
            '@' | '#' => out.extend([c, '\u{200b}']),
            '\\' | '*' | '_' | '[' | ']' | '{' | '}' | '!' | '|' | '~' | '$' => out.extend(['\\', c]),
            c => out.push(c),
        }
    }
    out
}

fn bounded(text: &str) -> String {
    match text.char_indices().nth(MOST_CHARS) {
        Some((at, _)) => format!("{}…", &text[..at]),
        None => text.to_owned(),
    }
}

/// A comment on GitHub may have 65,536 characters.
const MOST_CHARS: usize = 400;
