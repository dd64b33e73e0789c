//! A file of capabilities from anywhere: read, described, and used to show a report, or refused.
#![no_main]

use std::sync::LazyLock;

use awf_probe_matrix::{Catalogue, Matrix};
use awf_probe_reports::{Format, Style, docs, read, render};
use libfuzzer_sys::fuzz_target;

static MATRIX: LazyLock<Matrix> =
    LazyLock::new(|| read(include_str!("../corpus/report/facts.json")).expect("a report of this version"));

fuzz_target!(|text: &str| {
    let Ok(catalogue) = Catalogue::parse(&[("fuzzed.toml", text)], "requirement = []") else { return };
    for c in &catalogue.capabilities {
        for condition in c.controls.iter().chain(&c.moot).chain(&c.pass).chain(&c.partial) {
            assert!(!condition.wanted().is_empty(), "{}: a condition that wants nothing", c.id);
        }
    }
    let page = docs::catalogue_page(&catalogue);
    assert!(page.matches("\n### ").count() >= catalogue.capabilities.len());
    for format in Format::ALL {
        render(&MATRIX, &catalogue, format, Style::default()).expect("rendered");
    }
});
