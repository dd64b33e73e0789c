//! What `bench` prints: no figure without its reference, no line too wide, hostile text stays text.

use awf_probe_matrix::{
    IsolationClass,
    bench::{Bench, Figures, Round, Subject},
};
use unicode_width::UnicodeWidthStr;

use super::{HOSTILE, golden};
use crate::bench::{FindingV1, costs, document, html, json, markdown, read, schema, table};

/// Twelve rounds of two visits around this cost.
fn rounds(cost: f64) -> Vec<Round> {
    (0..12)
        .map(|r| (0..2).map(|v| (0..5).map(|s| cost * (1.0 + 0.001 * f64::from(r + 3 * v + s))).collect()).collect())
        .collect()
}

fn subject(name: &str, class: IsolationClass) -> Subject {
    Subject {
        name: name.to_owned(),
        version: format!("{name} version 1"),
        command: format!("/usr/bin/{name}"),
        sha256: "0".repeat(64),
        class: Some(class),
        clock: Some(1.01),
        unusable: None,
    }
}

fn bench() -> Bench {
    let figures = |id: &str, unit, reference: f64, candidate: f64| Figures {
        id: id.to_owned(),
        title: format!("title of {id}"),
        how: "a call".to_owned(),
        unit,
        reference: rounds(reference),
        // The same figures in another order.
        twin: rounds(reference).into_iter().rev().collect(),
        candidates: vec![rounds(candidate)],
        missing: vec![],
    };
    Bench {
        version: "0.1.0".to_owned(),
        started: "2026-11-25T05:00:00Z".to_owned(),
        seconds: 61.5,
        suite: "quick".to_owned(),
        budget: 60,
        precision: 0.05,
        machine: vec![
            ("processor".to_owned(), "a processor".to_owned()),
            ("load at the start".to_owned(), "0.1".to_owned()),
        ],
        reference: subject("runc", IsolationClass::SharedKernel),
        candidates: vec![subject("other", IsolationClass::UserSpaceKernel)],
        benches: vec![
            figures("lifecycle.start", "ns", 180e6, 260e6),
            figures("syscall.getppid", "ns", 80.0, 950.0),
            figures("file.bind.open", "ns", 2100.0, 2100.0),
            figures("memory.idle", "bytes", 9e6, 60e6),
        ],
    }
}

#[test]
fn a_ratio_stands_beside_its_reference_and_its_noise() {
    let d = document(&bench());
    let found: Vec<FindingV1> = d.benches.iter().map(|b| b.candidates[0].finding).collect();
    assert_eq!(found, [FindingV1::More, FindingV1::More, FindingV1::NoDifference, FindingV1::More]);
    assert!(d.benches.iter().all(|b| b.noise.as_ref().is_some_and(|n| n.finding == FindingV1::NoDifference)));
    for text in [table(&d, 160), markdown(&d)] {
        for words in ["182 ms", "262 ms", "× 1.44 [", "no difference 1.00 [", "8.6", "MiB", "user-space-kernel", "A/A"]
        {
            assert!(text.contains(words), "{words:?} is not in:\n{text}");
        }
    }
}

#[test]
fn what_cannot_be_told_is_said_so() {
    let mut few = bench();
    few.benches[0].candidates[0].truncate(5);
    few.candidates[0].clock = Some(2.0);
    few.benches[3].candidates[0].clear();
    few.benches[3].missing = vec![("other".to_owned(), "EPERM: no".to_owned())];
    let d = document(&few);
    let untold = |at: usize| d.benches[at].candidates[0].untold.clone().unwrap_or_default();
    assert!(untold(0).contains("5 rounds, 8 are needed") && untold(1).contains("clock") && untold(3).contains("EPERM"));
    assert!(d.benches.iter().all(|b| b.candidates[0].finding == FindingV1::Untold));
}

#[test]
fn a_cost_is_the_mean_ratio_over_what_is_told_of_every_candidate() {
    let mut two = bench();
    two.candidates.push(subject("third", IsolationClass::SharedKernel));
    for (f, times) in two.benches.iter_mut().zip([2.0, 8.0, 1.0, 1.0]) {
        let third = f.reference.iter().map(|r| r.iter().map(|v| v.iter().map(|s| s * times).collect()).collect());
        f.candidates.push(third.collect());
    }
    let c = costs(&document(&two));
    // (2 · 8 · 1 · 1)^¼
    assert_eq!((c["runc"], c["third"]), (1000, 2000));
    assert!(c["other"] > 2000, "{c:?}");
    // What is not told of one counts for none.
    two.benches[1].candidates[0].clear();
    let c = costs(&document(&two));
    assert!((1258..=1261).contains(&c["third"]), "(2 · 1 · 1)^⅓: {c:?}");
    for f in &mut two.benches {
        f.candidates[0].clear();
    }
    assert!(costs(&document(&two)).is_empty());
}

#[test]
fn no_line_is_too_wide_and_hostile_text_stays_text() {
    let mut hostile = bench();
    hostile.candidates[0].name = HOSTILE.to_owned();
    hostile.candidates[0].version = HOSTILE.to_owned();
    hostile.candidates[0].unusable = Some(HOSTILE.to_owned());
    let d = document(&hostile);
    for width in [60, 80, 120, 200] {
        for line in table(&d, width).lines() {
            assert!(line.width() <= width, "{width}: {} columns: {line:?}", line.width());
        }
    }
    let bad = |c: &char| (c.is_control() && *c != '\n') || "\u{202e}\u{2066}\u{feff}\u{2028}".contains(*c);
    for text in [table(&d, 120), markdown(&d)] {
        assert_eq!(text.chars().find(bad), None, "{text}");
    }
    for line in markdown(&d).lines() {
        assert_eq!(line.matches('`').count() % 2, 0, "{line}");
        assert!(!line.split('`').step_by(2).any(|outside| outside.contains('<')), "{line}");
    }
}

#[test]
fn it_is_read_back_and_has_a_schema() {
    let d = document(&bench());
    assert_eq!(read(&json(&d).unwrap()).unwrap(), d);
    assert!(read(&json(&d).unwrap().replace("bench-v1", "bench-v2")).is_err());
    golden("schema/bench-v1.schema.json", &(serde_json::to_string_pretty(&schema()).unwrap() + "\n"));
}

#[test]
fn without_candidates_the_reference_stands_beside_itself() {
    let mut alone = bench();
    alone.candidates.clear();
    alone.benches.iter_mut().for_each(|b| b.candidates.clear());
    let d = document(&alone);
    assert!(table(&d, 120).contains("runc against itself") && markdown(&d).contains("`runc` against itself"));
}

#[test]
fn the_page_shows_every_distribution_and_holds_no_markup_of_others() {
    let mut measured = bench();
    measured.candidates[0].name = HOSTILE.to_owned();
    let page = html(&document(&measured));
    // Reference, twin and candidate of four benches, a row of ratios each, and the axes.
    assert_eq!(page.matches("class=\"median\"").count(), 12);
    assert_eq!(page.matches("class=\"noise\"").count(), 4);
    assert!(page.matches("class=\"often\"").count() >= 12 * 5, "silhouettes have several bars");
    assert_eq!(page.matches("<svg").count(), page.matches("</svg>").count());
    // What opens a tag is the page's own; no script, nothing that is fetched, no style that the policy would refuse.
    for tag in ["<script", "<img", "url(", " style=\""] {
        assert!(!page.contains(tag), "{tag}");
    }
    let tags: std::collections::BTreeSet<&str> = page
        .split('<')
        .skip(1)
        .filter_map(|t| t.split([' ', '>', '\n']).next())
        .map(|t| t.trim_start_matches('/'))
        .collect();
    let known = [
        "!doctype", "b", "body", "circle", "code", "dd", "dl", "div", "dt", "g", "h1", "h2", "h3", "head", "header",
        "html", "i", "li", "line", "main", "meta", "p", "rect", "section", "small", "span", "style", "svg", "text",
        "title", "ul",
    ];
    assert!(tags.iter().all(|t| known.contains(t)), "{tags:?}");
}

#[test]
fn few_samples_are_dots_and_missing_ones_are_said() {
    let mut measured = bench();
    let one: Vec<Round> = (0..10).map(|r| vec![vec![2e9 + f64::from(r) * 1e7]]).collect();
    measured.benches.truncate(1);
    measured.benches[0].reference = one.clone();
    measured.benches[0].twin = one;
    measured.benches[0].candidates = vec![vec![]];
    let page = html(&document(&measured));
    assert_eq!(page.matches("class=\"dot\"").count(), 20);
    assert!(page.contains("no figures") && page.contains("untold"), "{page}");
}
