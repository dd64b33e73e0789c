//! A line of a guest that may be hostile: read as the harness reads it, then judged and shown as if it had been reported.
#![no_main]

use std::sync::LazyLock;

use awf_probe::{commands::Data, event::Event, journal, judge::judge};
use awf_probe_probes::wire::Say;
use awf_probe_reports::{Format, Style, render};
use libfuzzer_sys::fuzz_target;

static DATA: LazyLock<Data> = LazyLock::new(|| Data::load().expect("the compiled-in data"));
/// A run that planned a few cells, with the identity of its runtime proved.
static RUN: LazyLock<Vec<Event>> =
    LazyLock::new(|| journal::parse(&include_bytes!("../corpus/journal/facts.jsonl")[..]).expect("a journal"));

fuzz_target!(|line: &[u8]| {
    let Ok(say) = serde_json::from_slice::<Say>(line) else { return };
    let Say::Fact { fact, .. } = say else { return };
    let mut events = RUN.clone();
    events.push(Event::Observed {
        runtime: "runc".to_owned(),
        scenario: "awf".to_owned(),
        source: "guest".to_owned(),
        fact,
        address: None,
    });
    let matrix = judge(&events, &DATA.catalogue, &DATA.models, &DATA.products);
    for format in Format::ALL {
        let text =
            render(&matrix, &DATA.catalogue, format, Style { full: true, ..Style::default() }).expect("rendered");
        assert!(!text.chars().any(|c| c.is_control() && c != '\n'), "{format:?} has a control character");
    }
});
