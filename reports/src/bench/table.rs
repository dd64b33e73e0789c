//! The figures in a terminal: a table for each candidate.

use comfy_table::{Cell, CellAlignment, ColumnConstraint, ContentArrangement, Table, Width};

use super::{BenchV1, LEGEND, cost, difference, head, introduced, outliers, ratio, verdict};
use crate::text::{clean, cut, pad, wrap};

/// The document in so many columns.
pub fn table(d: &BenchV1, width: usize) -> String {
    let width = width.max(60);
    let mut out = Vec::new();
    let mut pairs = head(d);
    pairs.push((format!("{} (reference)", clean(&d.reference.name)), introduced(&d.reference)));
    pairs.extend(d.candidates.iter().map(|c| (clean(&c.name), introduced(c))));
    let subject = pairs.iter().map(|(s, _)| s.chars().count()).max().unwrap_or(0).min(width / 3) + 2;
    for (name, text) in &pairs {
        out.extend(wrap(&pad(&cut(name, subject - 2), subject), text, subject, width, usize::MAX));
    }
    out.push(String::new());
    out.extend(wrap("", LEGEND, 0, width, usize::MAX));
    let reference = clean(&d.reference.name);
    if d.candidates.is_empty() {
        out.push(String::new());
        out.push(cut(&format!("{reference} against itself"), width));
        let rows = d.benches.iter().map(|b| {
            let noise = b.noise.as_ref();
            vec![
                b.id.clone(),
                b.reference.as_ref().map_or_else(String::new, |a| cost(a.median, &b.unit)),
                noise.map_or_else(|| "untold".to_owned(), |n| ratio(&n.ratio)),
                noise.map_or_else(String::new, |n| difference(&n.difference, &b.unit)),
                outliers(b.reference.as_ref(), &b.unit),
            ]
        });
        out.extend(laid_out(&["bench", &reference, "A/A", "difference", "outliers"], rows.collect(), width));
    }
    for (at, candidate) in d.candidates.iter().enumerate() {
        let name = clean(&candidate.name);
        out.push(String::new());
        out.push(cut(&format!("{name} beside {reference}"), width));
        let rows = d.benches.iter().filter_map(|b| {
            let c = b.candidates.get(at)?;
            let median = |a: Option<&super::ArmV1>| a.map_or_else(String::new, |a| cost(a.median, &b.unit));
            Some(vec![
                b.id.clone(),
                median(b.reference.as_ref()),
                median(c.figures.as_ref()),
                verdict(c),
                b.noise.as_ref().map_or_else(|| "untold".to_owned(), |n| ratio(&n.ratio)),
                format!("{}; {}", outliers(b.reference.as_ref(), &b.unit), outliers(c.figures.as_ref(), &b.unit)),
            ])
        });
        let header = ["bench", &reference, &name, "ratio", "A/A", "outliers: reference; candidate"];
        out.extend(laid_out(&header, rows.collect(), width));
    }
    out.into_iter().map(|l| l.trim_end().to_owned() + "\n").collect()
}

fn laid_out(header: &[&str], rows: Vec<Vec<String>>, width: usize) -> Vec<String> {
    let longest = rows.iter().map(|r| r[0].chars().count()).max().unwrap_or(0) + 3;
    let mut table = Table::new();
    table.load_style(comfy_table::presets::NOTHING);
    table.set_content_arrangement(ContentArrangement::Dynamic);
    table.set_width(u16::try_from(width).unwrap_or(u16::MAX));
    table.set_header(header.to_vec());
    for row in rows {
        let cells = row.into_iter().enumerate().map(|(at, text)| {
            let cell = Cell::new(clean(&text));
            if at == 1 || at == 2 && header.len() > 5 { cell.set_alignment(CellAlignment::Right) } else { cell }
        });
        table.add_row(cells.collect::<Vec<_>>());
    }
    // The last column, of the outliers, gives way first: an id that is broken cannot be copied.
    let first = u16::try_from(longest.min(width / 3)).unwrap_or(u16::MAX);
    let wanted = header.len().saturating_sub(1);
    for (at, column) in table.column_iter_mut().enumerate() {
        column.set_padding((if at == 0 { 2 } else { 1 }, 1));
        if at == 0 && wanted > 3 {
            column.set_constraint(ColumnConstraint::LowerBoundary(Width::Fixed(first)));
        }
    }
    table.lines().collect()
}
