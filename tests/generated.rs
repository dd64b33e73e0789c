//! Files of the repository that are made from the catalogue, the samples and the command line are up to date.
//! `make generate` renews them all.

use std::{fs, path::Path};

use awf_probe_matrix::Catalogue;
use awf_probe_reports::docs;

#[test]
fn the_catalogue_page_is_up_to_date() {
    let catalogue = Catalogue::builtin().expect("the compiled-in data can be read");
    generated("docs/catalogue.md", &docs::catalogue_page(&catalogue));
}

/// Compares, or writes where `AWF_PROBE_RENEW` is set.
#[track_caller]
fn generated(path: &str, now: &str) {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    if std::env::var_os("AWF_PROBE_RENEW").is_some() {
        fs::create_dir_all(file.parent().expect("a folder")).expect("created");
        fs::write(&file, now).expect("written");
        return;
    }
    let committed = fs::read_to_string(&file).unwrap_or_default();
    let line = committed.lines().zip(now.lines()).position(|(a, b)| a != b).map_or(0, |n| n + 1);
    assert!(committed == now, "{path} is not up to date (line {line}): run `make generate` and commit what changes");
}
