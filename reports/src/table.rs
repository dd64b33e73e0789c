//! The report in a terminal. No line is wider than asked for, and no meaning hangs on colour.

mod grid;

use anstyle::{AnsiColor, Style as Ansi};
use awf_probe_matrix::{Catalogue, Matrix, Verdict};

use crate::{
    ReportError, Style,
    text::{HARD_SPACE, cut, pad, width, wrap},
    view::{CONTROLS, Reason, View, legend, symbol},
};

pub(crate) fn render(matrix: &Matrix, catalogue: &Catalogue, style: Style) -> Result<String, ReportError> {
    let width = style.width.max(LEAST_WIDTH);
    let roomy = width >= 40 + 30 * matrix.runtimes.len();
    let view = View::new(matrix, catalogue, style, roomy)?;
    let mut page = Page { width, colour: style.colour, full: style.full, text: String::new() };
    page.pairs(&view.header());
    page.introductions(&view);
    page.heading("Legend");
    page.legend(&view);
    let grids = std::iter::once(view.families()).chain(view.egress()).chain([view.requirements()]);
    for grid in grids.filter(|g| !g.rows.is_empty()) {
        page.heading(&grid.title);
        page.lines(grid::lay_out(&grid, width), true);
    }
    page.obstacles(&view);
    page.reasons(&view.reasons());
    page.heading("Summary");
    page.pairs(&view.footer());
    Ok(page.text)
}

struct Page {
    width: usize,
    colour: bool,
    full: bool,
    text: String,
}

impl Page {
    fn heading(&mut self, title: &str) {
        let title = self.paint(Ansi::new().bold(), &cut(title, self.width));
        self.text.push_str(&format!("\n{title}\n"));
    }

    fn lines(&mut self, lines: Vec<String>, symbols: bool) {
        for line in lines {
            let line = if symbols { self.paint_symbols(&line) } else { line };
            self.text.push_str(line.trim_end());
            self.text.push('\n');
        }
    }

    fn pairs(&mut self, pairs: &[(&str, String)]) {
        for (subject, text) in pairs {
            self.lines(wrap(&pad(subject, PAIR_WIDTH), text, PAIR_WIDTH, self.width, usize::MAX), false);
        }
    }

    fn legend(&mut self, view: &View<'_>) {
        let phrases = legend().join(", ").replace(' ', HARD_SPACE).replace(&format!(",{HARD_SPACE}"), ", ");
        let lines = wrap("  ", &phrases, 2, self.width, usize::MAX);
        self.lines(lines.into_iter().map(|l| l.replace(HARD_SPACE, " ")).collect(), true);
        if view.has_controls() {
            self.lines(wrap("  ", CONTROLS, 2, self.width, usize::MAX), false);
        }
    }

    fn introductions(&mut self, view: &View<'_>) {
        let all = view.introductions();
        self.heading("Runtimes");
        let widest = |of: &dyn Fn(usize) -> usize, most: usize| (0..all.len()).map(of).max().unwrap_or(0).min(most);
        let name_width = widest(&|i| width(&all[i].name), self.width / 3);
        let class_width = widest(&|i| width(&all[i].class), self.width / 4);
        let indent = name_width + 4;
        for one in &all {
            let first = format!(
                "  {}  {}  ",
                pad(&cut(&one.name, name_width), name_width),
                pad(&cut(&one.class, class_width), class_width)
            );
            self.lines(wrap(&first, &one.version, indent, self.width, 2), false);
            for remark in &one.remarks {
                self.lines(wrap(&" ".repeat(indent), remark, indent + 2, self.width, usize::MAX), false);
            }
        }
    }

    fn obstacles(&mut self, view: &View<'_>) {
        let all = view.obstacles();
        let name_width = all.iter().map(|o| width(&o.runtime)).max().unwrap_or(0).min(self.width / 3);
        if !all.is_empty() {
            self.text.push('\n');
        }
        for o in all {
            let first = format!("  {}  ", pad(&cut(&o.runtime, name_width), name_width));
            let text = format!("{} {}: {}", o.requirements, o.standing, o.cell);
            self.lines(wrap(&first, &text, name_width + 6, self.width, usize::MAX), false);
        }
    }

    fn reasons(&mut self, reasons: &[Reason]) {
        if reasons.is_empty() {
            return;
        }
        self.heading("Reasons");
        let name_width = reasons.iter().map(|r| width(&r.runtime)).max().unwrap_or(0).min(self.width / 3);
        let most = if self.full { usize::MAX } else { REASON_LINES };
        for r in reasons {
            let first = format!("  {}  ", pad(&cut(&r.runtime, name_width), name_width));
            let Some(verdict) = r.verdict else {
                self.lines(vec![cut(&format!("{first}{}", r.text), self.width)], false);
                continue;
            };
            let text = format!("{} {verdict}: {}", r.subject(), r.text);
            let first = format!("{first}{} ", symbol(verdict));
            let mut lines = wrap(&first, &text, name_width + 6, self.width, most);
            if let Some(line) = lines.first_mut() {
                // Only the symbol in its own place: a reason may contain the same characters.
                let at = width(&first) - 2;
                let place =
                    line.char_indices().filter(|(_, c)| *c == symbol(verdict)).find(|(i, _)| width(&line[..*i]) == at);
                if let Some((i, c)) = place {
                    let painted = self.paint(ink(verdict), &c.to_string());
                    line.replace_range(i..i + c.len_utf8(), &painted);
                }
            }
            self.lines(lines, false);
        }
    }

    /// Symbols that stand alone.
    fn paint_symbols(&self, line: &str) -> String {
        if !self.colour {
            return line.to_owned();
        }
        let is_gap = |c: Option<&char>| c.is_none_or(|c| *c == ' ');
        let chars: Vec<char> = line.chars().collect();
        let paint = |(at, c): (usize, &char)| {
            let alone = is_gap(at.checked_sub(1).and_then(|i| chars.get(i))) && is_gap(chars.get(at + 1));
            match Verdict::ALL.into_iter().find(|v| alone && symbol(*v) == *c) {
                Some(verdict) => self.paint(ink(verdict), &c.to_string()),
                None => c.to_string(),
            }
        };
        chars.iter().enumerate().map(paint).collect()
    }

    fn paint(&self, ink: Ansi, text: &str) -> String {
        if self.colour { format!("{ink}{text}{ink:#}") } else { text.to_owned() }
    }
}

fn ink(verdict: Verdict) -> Ansi {
    match verdict {
        Verdict::Pass => AnsiColor::Green.on_default(),
        Verdict::Partial | Verdict::Inconclusive => AnsiColor::Yellow.on_default(),
        Verdict::Fail => AnsiColor::Red.on_default().bold(),
        Verdict::Skipped | Verdict::NotApplicable => Ansi::new().dimmed(),
    }
}

/// Below this nothing can be laid out.
const LEAST_WIDTH: usize = 40;
const PAIR_WIDTH: usize = 11;
/// How many lines a reason may take; the whole of it is in the JSON.
const REASON_LINES: usize = 3;
