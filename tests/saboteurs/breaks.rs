//! What each saboteur must break: `breaks.toml`, read when the test runs.

use std::{collections::BTreeMap, fs};

use globset::{Glob, GlobMatcher};
use serde::Deserialize;

/// By saboteur.
pub(crate) type Breaks = BTreeMap<String, Broken>;

/// What one saboteur must break. A cell is `ID`, `ID@MODEL`, `ID@MODEL/BACKEND` or `ID@init=RUNTIME` with `self` for the
/// saboteur itself. Of the globs that match a cell the longest says its verdict; a cell that none matches must be as
/// under the reference runtime of the same run. Each glob must change at least one cell.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct Broken {
    /// Why these cells and no other.
    pub(crate) why: String,
    /// No capability looks there: it survives, and this test fails on the day it no longer does.
    #[serde(default)]
    pub(crate) gap: bool,
    #[serde(default)]
    fail: Vec<String>,
    #[serde(default)]
    partial: Vec<String>,
    #[serde(default)]
    inconclusive: Vec<String>,
    #[serde(default)]
    skipped: Vec<String>,
    #[serde(default)]
    not_applicable: Vec<String>,
    /// A defect that takes the reason for a failure away.
    #[serde(default)]
    pass: Vec<String>,
    /// They may become anything or stay as they are, but where the reference does not pass this must not: of defects so
    /// broad that nobody could say of each cell how it fails, and of what depends on the host.
    #[serde(default)]
    no_pass: Vec<String>,
}

/// The word of [`Broken::no_pass`].
pub(crate) const NO_PASS: &str = "no pass";

impl Broken {
    /// Globs and the verdict of what they match, the longest first.
    pub(crate) fn globs(&self) -> Result<Vec<(&str, GlobMatcher, &'static str)>, String> {
        let all = [
            ("fail", &self.fail),
            ("partial", &self.partial),
            ("inconclusive", &self.inconclusive),
            ("skipped", &self.skipped),
            ("not-applicable", &self.not_applicable),
            ("pass", &self.pass),
            (NO_PASS, &self.no_pass),
        ];
        let mut globs = Vec::new();
        for (verdict, list) in all {
            for g in list {
                let matcher = Glob::new(g).map_err(|e| format!("{g} is no glob: {e}"))?.compile_matcher();
                globs.push((g.as_str(), matcher, verdict));
            }
        }
        globs.sort_by_key(|(g, ..)| std::cmp::Reverse(g.len()));
        Ok(globs)
    }

    /// Whether it breaks nothing.
    pub(crate) fn is_empty(&self) -> bool {
        self.globs().is_ok_and(|g| g.is_empty())
    }
}

/// Reads the file.
pub(crate) fn load() -> Result<Breaks, String> {
    const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/saboteurs/breaks.toml");
    let text = fs::read_to_string(FILE).map_err(|e| format!("{FILE}: {e}"))?;
    toml::from_str(&text).map_err(|e| format!("{FILE}: {e}"))
}
