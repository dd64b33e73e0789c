//! Lays a grid out within a width, in several blocks where the runtimes do not fit beside each other.

use comfy_table::{Cell, ColumnConstraint, ContentArrangement, LineStyle, Table, TableStyle, Width, presets::NOTHING};

use crate::{
    text::{HARD_SPACE, cut, width},
    view::Grid,
};

/// The lines of the grid, none wider than `limit`.
pub(crate) fn lay_out(grid: &Grid, limit: usize) -> Vec<String> {
    let limit = limit - INDENT;
    let columns: Vec<Column> = (0..grid.columns.len()).map(|at| Column::new(grid, at)).collect();
    let natural_label = grid.rows.iter().map(|r| width(&r.label)).chain([width(grid.corner)]).max().unwrap_or(0);
    let natural: usize = columns.iter().map(|c| c.natural + GAP).sum();
    let label = natural_label.min((limit.saturating_sub(natural)).max(limit / 3));
    let note = grid.rows.iter().map(|r| width(&r.note)).max().unwrap_or(0);
    let has_note = note > 0 && label + GAP + natural + note <= limit;

    let mut lines = Vec::new();
    for block in blocks(&columns, limit - label - GAP) {
        if !lines.is_empty() {
            lines.push(String::new());
        }
        lines.extend(one_block(grid, &columns[block.clone()], block, label, has_note.then_some(note), limit));
    }
    lines
}

struct Column {
    /// The widest phrase: below this it looks broken.
    least: usize,
    /// Everything on one line.
    natural: usize,
}

impl Column {
    fn new(grid: &Grid, at: usize) -> Self {
        let name = width(&grid.columns[at]);
        let cells = || grid.rows.iter().map(|r| &r.cells[at]);
        let phrase = cells().flatten().map(|p| width(p)).max().unwrap_or(0);
        let line = cells().map(|c| width(&c.join(" "))).max().unwrap_or(0);
        let most = grid.columns.iter().map(|c| width(c)).max().unwrap_or(0).clamp(1, MOST_NAME);
        Self { least: phrase.max(name.min(most)), natural: line.max(name.min(2 * MOST_NAME)) }
    }
}

/// As few blocks as possible, of about the same number of runtimes.
fn blocks(columns: &[Column], room: usize) -> Vec<std::ops::Range<usize>> {
    let fits = |size: usize| {
        columns.chunks(size).all(|block| size == 1 || block.iter().map(|c| c.least + GAP).sum::<usize>() <= room + GAP)
    };
    let size = (1..=columns.len()).rev().find(|size| fits(*size)).unwrap_or(1);
    let count = columns.len().div_ceil(size).max(1);
    let even = columns.len().div_ceil(count).max(1);
    let size = if fits(even) { even } else { size };
    (0..columns.len()).step_by(size).map(|from| from..(from + size).min(columns.len())).collect()
}

fn one_block(
    grid: &Grid,
    columns: &[Column],
    range: std::ops::Range<usize>,
    label: usize,
    note: Option<usize>,
    limit: usize,
) -> Vec<String> {
    let mut table = Table::new();
    table.load_style(STYLE).set_content_arrangement(ContentArrangement::Dynamic);
    table.set_width(u16::try_from(limit + GAP).unwrap_or(u16::MAX));
    let row = |label: &str, cells: Vec<String>, remark: &str| {
        let last = note.map(|_| remark.to_owned());
        [label.to_owned()].into_iter().chain(cells).chain(last).map(Cell::new_owned).collect::<Vec<_>>()
    };
    table.set_header(row(grid.corner, range.clone().map(|at| cut(&grid.columns[at], 2 * MOST_NAME)).collect(), ""));
    for r in &grid.rows {
        let cell = |at: usize| r.cells[at].iter().map(|p| p.replace(' ', HARD_SPACE)).collect::<Vec<_>>().join(" ");
        table.add_row(row(&r.label, range.clone().map(cell).collect(), &r.note));
    }
    let widths = [label].into_iter().chain(shares(columns, limit - label)).chain(note);
    table.set_constraints(
        widths.map(|w| ColumnConstraint::Absolute(Width::Fixed(u16::try_from(w + GAP).unwrap_or(u16::MAX)))),
    );
    for column in table.column_iter_mut() {
        column.set_padding((0, GAP as u16));
    }
    let fitted = |l: &str| if l.starts_with(LINE) { l.chars().take(limit).collect() } else { cut(l, limit) };
    let line = |l: String| format!("{}{}", " ".repeat(INDENT), fitted(l.replace(HARD_SPACE, " ").trim_end()));
    table.lines().map(line).collect()
}

/// A width for each column: what it would like, up to the highest level that all have room for.
fn shares(columns: &[Column], room: usize) -> Vec<usize> {
    let room = room.saturating_sub(GAP * columns.len()).max(columns.len());
    if let [one] = columns {
        return vec![one.natural.min(room)];
    }
    let at = |level: usize| columns.iter().map(move |c| c.natural.min(c.least.max(level)));
    let level = (0..=room).rev().find(|level| at(*level).sum::<usize>() <= room).unwrap_or(0);
    at(level).collect()
}

/// No lines but one below the header.
const STYLE: TableStyle = NOTHING.header_separator(LineStyle::none().fill(LINE));
const LINE: char = '─';
const INDENT: usize = 2;
/// Between columns.
const GAP: usize = 2;
/// Longer names of runtimes are broken when there is little room.
const MOST_NAME: usize = 14;
