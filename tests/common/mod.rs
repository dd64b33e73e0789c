//! What the offline tests share: the compiled-in data and the journals of real runs.

use std::path::{Path, PathBuf};

use awf_probe::{commands::Data, event::Event, journal};

/// A file of the repository.
pub(crate) fn in_repo(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// Capabilities, models and products.
pub(crate) fn data() -> Data {
    Data::load().expect("the compiled-in data can be read")
}

/// The journal of a real run of this runtime.
pub(crate) fn events(runtime: &str) -> Vec<Event> {
    let path = in_repo(&format!("reports/samples/journals/{runtime}.jsonl"));
    journal::read(&path).expect("the golden journal can be read")
}
