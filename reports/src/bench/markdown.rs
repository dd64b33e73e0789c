//! The figures as GitHub Markdown.

use super::{BenchV1, LEGEND, cost, difference, head, introduced, outliers, ratio, verdict};
use crate::{
    markdown::{code, row},
    text::clean,
};

/// The document as Markdown.
pub fn markdown(d: &BenchV1) -> String {
    let mut out = "## awf-probe bench\n\n| | |\n|---|---|\n".to_owned();
    for (name, value) in head(d) {
        out.push_str(&row(&[clean(&name), code(&value)]));
    }
    out.push_str(&row(&[format!("{} (reference)", code(&d.reference.name)), code(&introduced(&d.reference))]));
    for c in &d.candidates {
        out.push_str(&row(&[code(&c.name), code(&introduced(c))]));
    }
    out.push_str(&format!("\n{LEGEND}\n"));
    let reference = code(&d.reference.name);
    if d.candidates.is_empty() {
        out.push_str(&format!("\n### {reference} against itself\n\n"));
        out.push_str(&row(&["bench", &reference, "A/A", "difference", "outliers"].map(str::to_owned)));
        out.push_str("|---|--:|---|---|---|\n");
        for b in &d.benches {
            let noise = b.noise.as_ref();
            out.push_str(&row(&[
                title(&b.id, &b.title),
                b.reference.as_ref().map_or_else(String::new, |a| cost(a.median, &b.unit)),
                noise.map_or_else(|| "untold".to_owned(), |n| ratio(&n.ratio)),
                noise.map_or_else(String::new, |n| difference(&n.difference, &b.unit)),
                outliers(b.reference.as_ref(), &b.unit),
            ]));
        }
    }
    for (at, candidate) in d.candidates.iter().enumerate() {
        let name = code(&candidate.name);
        out.push_str(&format!("\n### {name} beside {reference}\n\n"));
        let header = ["bench", &reference, &name, "ratio", "A/A", "difference", "outliers: reference; candidate"];
        out.push_str(&row(&header.map(str::to_owned)));
        out.push_str("|---|--:|--:|---|---|---|---|\n");
        for b in &d.benches {
            let Some(c) = b.candidates.get(at) else { continue };
            let median = |a: Option<&super::ArmV1>| a.map_or_else(String::new, |a| cost(a.median, &b.unit));
            let said = if c.untold.is_some() { code(&verdict(c)) } else { verdict(c) };
            out.push_str(&row(&[
                title(&b.id, &b.title),
                median(b.reference.as_ref()),
                median(c.figures.as_ref()),
                said,
                b.noise.as_ref().map_or_else(|| "untold".to_owned(), |n| ratio(&n.ratio)),
                c.difference.as_ref().map_or_else(String::new, |i| difference(i, &b.unit)),
                format!("{}; {}", outliers(b.reference.as_ref(), &b.unit), outliers(c.figures.as_ref(), &b.unit)),
            ]));
        }
    }
    out
}

fn title(id: &str, title: &str) -> String {
    format!("`{id}` {title}")
}
