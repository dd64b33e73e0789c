//! A journal from anywhere: read, judged, and shown in every format.
#![no_main]

use std::sync::LazyLock;

use awf_probe::{commands::Data, journal, judge::judge};
use awf_probe_reports::{Format, Style, read, render};
use libfuzzer_sys::fuzz_target;

static DATA: LazyLock<Data> = LazyLock::new(|| Data::load().expect("the compiled-in data"));

fuzz_target!(|bytes: &[u8]| {
    let Ok(events) = journal::parse(bytes) else { return };
    let matrix = judge(&events, &DATA.catalogue, &DATA.models, &DATA.products);
    for format in Format::ALL {
        let text = render(&matrix, &DATA.catalogue, format, Style::default()).expect("rendered");
        assert!(!text.chars().any(|c| c.is_control() && c != '\n'), "{format:?} has a control character");
        if format == Format::Json {
            assert_eq!(read(&text).expect("read back"), matrix);
        }
    }
});
