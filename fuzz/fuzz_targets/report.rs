//! A report from anywhere: read, merged, compared with itself, and shown in every format.
#![no_main]

use std::sync::LazyLock;

use awf_probe_matrix::Catalogue;
use awf_probe_reports::{Format, Merge, Style, diff, read, read_sealed, render};
use libfuzzer_sys::fuzz_target;

static CATALOGUE: LazyLock<Catalogue> = LazyLock::new(|| Catalogue::builtin().expect("the compiled-in data"));

fuzz_target!(|bytes: &[u8]| {
    let added = Merge::new().expect("the models").add(bytes).is_ok();
    let Ok(text) = std::str::from_utf8(bytes) else {
        assert!(!added, "merged, and no text");
        return;
    };
    // `matrix` and `read` take the same reports.
    assert_eq!(read(text).is_ok(), added, "{:?}", read(text).err());
    // The digest keeps the fuzzer from everything behind it, so it is not asked for here.
    let Ok(matrix) = read_sealed(text) else { return };
    assert!(diff(&matrix, &matrix).expect("one version").differences.is_empty(), "differs from itself");
    for format in Format::ALL {
        let text = render(&matrix, &CATALOGUE, format, Style::default()).expect("rendered");
        assert!(!text.chars().any(|c| c.is_control() && c != '\n'), "{format:?} has a control character");
        if format == Format::Json {
            assert_eq!(read(&text).expect("read back"), matrix);
        }
    }
});
