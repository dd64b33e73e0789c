//! Measurements on disk: a saboteur that the same executables have measured is not measured again.
//!
//! Each run has a folder of its own with its journal, and `measured.json` is written there when it is over.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::LazyLock,
};

use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::table::{Defect, Part, Saboteur};

/// What a folder holds.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Measured {
    pub(crate) part: String,
    /// How long the run took.
    pub(crate) seconds: u64,
    /// When it ended, in seconds since 1970.
    pub(crate) ended: u64,
    /// By saboteur.
    pub(crate) saboteurs: BTreeMap<String, Mark>,
}

/// One saboteur of a run.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Mark {
    /// The name the engine knew it by.
    pub(crate) runtime: String,
    /// [`key`].
    pub(crate) key: String,
}

/// What was measured of a saboteur depends on nothing else of this project: the executable under test and the defect.
pub(crate) fn key(s: &Saboteur) -> String {
    static BASE: LazyLock<Sha256> = LazyLock::new(|| {
        let mut hash = Sha256::new();
        hash.update(fs::read(env!("CARGO_BIN_EXE_awf-probe")).unwrap_or_default());
        hash.update(include_str!("wrapper.rs"));
        hash
    });
    let mut hash = BASE.clone();
    hash.update(s.text);
    match s.defect {
        Defect::None | Defect::Call(_) => {}
        Defect::Bundle(_) => hash.update(include_str!("edits.rs")),
        Defect::Guest(..) => hash.update(concat!(include_str!("edits.rs"), include_str!("guest.rs"))),
    }
    hash.finalize().iter().map(|b| format!("{b:02x}")).collect()
}

/// Where measurements are.
pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join("saboteurs")
}

/// The latest measurement of a part of a saboteur; with a key, only of the same executables.
pub(crate) fn latest(part: Part, name: &str, key: Option<&str>) -> Option<(PathBuf, Measured)> {
    let fits = |(_, m): &(PathBuf, Measured)| {
        m.part == format!("{part:?}") && m.saboteurs.get(name).is_some_and(|mark| key.is_none_or(|key| mark.key == key))
    };
    all().into_iter().filter(fits).max_by_key(|(_, m)| m.ended)
}

/// Removes what no saboteur's latest measurement is in.
pub(crate) fn tidy() {
    let all = all();
    for (dir, m) in &all {
        let newer = |name: &String| {
            all.iter().any(|(_, n)| n.part == m.part && n.ended > m.ended && n.saboteurs.contains_key(name))
        };
        if m.saboteurs.keys().all(newer) {
            // What stays is found and left out the next time.
            drop(fs::remove_dir_all(dir));
        }
    }
}

fn all() -> Vec<(PathBuf, Measured)> {
    let dirs = fs::read_dir(root()).into_iter().flatten().flatten().map(|e| e.path());
    let read = |dir: PathBuf| {
        let measured = serde_json::from_slice(&fs::read(dir.join("measured.json")).ok()?).ok()?;
        Some((dir, measured))
    };
    dirs.filter_map(read).collect()
}

/// The report of a folder's journal by the executable and the catalogue of now.
pub(crate) fn judged(dir: &Path) -> Result<Value, String> {
    let out = Command::new(env!("CARGO_BIN_EXE_awf-probe"))
        .args(["judge", "--format", "json", "--from"])
        .arg(dir.join("journal.jsonl"))
        .stderr(Stdio::inherit())
        .output()
        .map_err(|e| e.to_string())?;
    serde_json::from_slice(&out.stdout).map_err(|e| format!("{}: no report: {e}", dir.display()))
}
