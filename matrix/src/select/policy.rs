//! What a user asks of the runtime to be chosen, as data.

use std::ops::Range;

use serde::Deserialize;
use sha2::{Digest, Sha256};
use toml::Spanned;

use crate::{Catalogue, IsolationClass, Mitigation, Model, coverage::matches};

/// A policy that was checked against the catalogue.
#[derive(Clone, Debug)]
pub struct Policy {
    /// Its name.
    pub name: String,
    /// What it asks for, in a line.
    pub title: String,
    /// SHA-256 of its text.
    pub sha256: String,
    /// Patterns over models that may be used.
    pub models: Vec<String>,
    /// Models in the order in which a proved one is taken.
    pub prefer: Vec<String>,
    /// Capabilities that must pass beside those of R1–R7.
    pub require: Vec<String>,
    /// Capabilities that must pass or be not applicable.
    pub require_unless_not_applicable: Vec<String>,
    /// Mitigations that may not be needed.
    pub forbid: Vec<String>,
    /// The least isolation, as measured.
    pub minimum_isolation: Option<IsolationClass>,
    /// Seconds after which a report is too old.
    pub max_age: u64,
}

/// A policy that cannot be used.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {why}")]
pub struct PolicyError {
    /// 1-based line of the file.
    pub line: usize,
    /// What is wrong.
    pub why: String,
    /// The valid word nearest to the wrong one.
    pub nearest: Option<String>,
}

/// The policies that are compiled in.
pub const POLICIES: &[(&str, &str)] =
    &[("default", include_str!("../../policies/default.toml")), ("strict", include_str!("../../policies/strict.toml"))];

impl Policy {
    /// Reads a policy, and checks every word in it.
    pub fn parse(
        text: &str,
        catalogue: &Catalogue,
        models: &[Model],
        mitigations: &[Mitigation],
    ) -> Result<Self, PolicyError> {
        let file: File = toml::from_str(text).map_err(|e| syntax(text, &e))?;
        let model_ids: Vec<&str> = models.iter().filter(|m| m.counts).map(|m| m.id.as_str()).collect();
        let capabilities: Vec<&str> = catalogue.capabilities.iter().map(|c| c.id.as_str()).collect();
        let mitigation_ids: Vec<&str> = mitigations.iter().map(|m| m.id.as_str()).collect();
        let known = |list: Vec<Spanned<String>>, what: &str, words: &[&str]| -> Result<Vec<String>, PolicyError> {
            for word in &list {
                let w = word.get_ref();
                if !words.iter().any(|known| matches(w, known)) {
                    let why = format!("{w:?} is no {what}");
                    return Err(PolicyError { line: line(text, word.span()), why, nearest: nearest(w, words) });
                }
            }
            Ok(list.into_iter().map(Spanned::into_inner).collect())
        };
        let counting = "enforcement model on which a requirement may rest";
        let policy = Self {
            name: file.name,
            title: file.title,
            sha256: Sha256::digest(text.as_bytes()).iter().map(|b| format!("{b:02x}")).collect(),
            models: known(file.models, counting, &model_ids)?,
            prefer: known(file.prefer, counting, &model_ids)?,
            require: known(file.require, "capability", &capabilities)?,
            require_unless_not_applicable: known(file.require_unless_not_applicable, "capability", &capabilities)?,
            forbid: known(file.forbid, "mitigation", &mitigation_ids)?,
            minimum_isolation: file.minimum_isolation,
            max_age: match &file.max_age {
                None => WEEK,
                Some(d) => seconds(d.get_ref()).ok_or_else(|| PolicyError {
                    line: line(text, d.span()),
                    why: format!("{:?} is no duration", d.get_ref()),
                    nearest: Some("24h".to_owned()),
                })?,
            },
        };
        Ok(policy)
    }

    /// Whether a model may be used.
    pub fn allows(&self, model: &str) -> bool {
        self.models.iter().any(|p| matches(p, model))
    }
}

const WEEK: u64 = 7 * 86_400;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    name: String,
    #[serde(default)]
    title: String,
    models: Vec<Spanned<String>>,
    #[serde(default)]
    prefer: Vec<Spanned<String>>,
    #[serde(default)]
    require: Vec<Spanned<String>>,
    #[serde(default)]
    require_unless_not_applicable: Vec<Spanned<String>>,
    #[serde(default)]
    forbid: Vec<Spanned<String>>,
    minimum_isolation: Option<IsolationClass>,
    max_age: Option<Spanned<String>>,
}

/// Keys of a policy file, for the nearest one to a wrong key.
const KEYS: &[&str] = &[
    "name",
    "title",
    "models",
    "prefer",
    "require",
    "require_unless_not_applicable",
    "forbid",
    "minimum_isolation",
    "max_age",
];

const CLASSES: &[&str] = &["shared-kernel", "user-space-kernel", "guest-kernel"];

fn syntax(text: &str, error: &toml::de::Error) -> PolicyError {
    let message = error.message();
    let quoted = |before: &str| message.split(before).nth(1).and_then(|rest| rest.split('`').next());
    let nearest = quoted("unknown field `")
        .and_then(|w| nearest(w, KEYS))
        .or_else(|| quoted("unknown variant `").and_then(|w| nearest(w, CLASSES)));
    let at = error.span().unwrap_or(0..0);
    // The list of expected words is for programmers; the nearest one is for people.
    let why = message.split(", expected").next().unwrap_or(message).to_owned();
    PolicyError { line: line(text, at), why, nearest }
}

fn line(text: &str, span: Range<usize>) -> usize {
    text.as_bytes().iter().take(span.start).filter(|b| **b == b'\n').count() + 1
}

/// The word most like `word`, if any is.
pub fn nearest(word: &str, words: &[&str]) -> Option<String> {
    let scored = words.iter().map(|w| (strsim::jaro_winkler(word, w), *w));
    scored.filter(|(s, _)| *s > 0.7).max_by(|a, b| a.0.total_cmp(&b.0)).map(|(_, w)| w.to_owned())
}

/// `90s`, `30m`, `24h`, `7d` as seconds.
pub fn seconds(text: &str) -> Option<u64> {
    let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let (number, unit) = text.split_at(digits);
    let factor = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3600,
        "d" => 86_400,
        _ => return None,
    };
    number.parse::<u64>().ok()?.checked_mul(factor).filter(|n| *n > 0)
}
