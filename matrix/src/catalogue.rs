//! Reads `capabilities/*.toml`, which are compiled in.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;
use sha2::{Digest, Sha256};

use crate::{Capability, Condition, ConditionError, EgressWant, Kind, Requirement, Safety, Scope};

/// Every capability the harness knows, sorted by family and position in its file.
#[derive(Clone, Debug)]
pub struct Catalogue {
    /// The capabilities.
    pub capabilities: Vec<Capability>,
    /// R1–R7.
    pub requirements: Vec<Requirement>,
    /// SHA-256 over the data, hexadecimal; binds a report to the catalogue that judged it.
    pub hash: String,
}

/// A catalogue that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum CatalogueError {
    /// The TOML is not valid.
    #[error("{file}: {source}")]
    Toml {
        /// Which file.
        file: String,
        /// What the parser said.
        source: Box<toml::de::Error>,
    },
    /// A condition is not valid.
    #[error("{file}: capability {id}: {source}")]
    Condition {
        /// Which file.
        file: String,
        /// Which capability.
        id: String,
        /// What is wrong.
        source: ConditionError,
    },
    /// The entries do not fit together.
    #[error("{file}: {why}")]
    Inconsistent {
        /// Which file.
        file: String,
        /// What is wrong and what to do.
        why: String,
    },
}

impl Catalogue {
    /// The catalogue that is compiled in.
    pub fn builtin() -> Result<Self, CatalogueError> {
        Self::parse(FILES, REQUIREMENTS)
    }

    /// Reads capability files (`name`, `text`) and a requirements file.
    pub fn parse(files: &[(&str, &str)], requirements: &str) -> Result<Self, CatalogueError> {
        let mut hash = Sha256::new();
        let mut capabilities = Vec::new();
        for (file, text) in files {
            hash.update(text.as_bytes());
            let toml_err = |e| CatalogueError::Toml { file: (*file).to_owned(), source: Box::new(e) };
            let parsed: File = toml::from_str(text).map_err(toml_err)?;
            for entry in &parsed.capability {
                let entry = entry.resolved(&parsed.text).map_err(|name| CatalogueError::Inconsistent {
                    file: (*file).to_owned(),
                    why: format!("{}: no [text] is called {name}", entry.id),
                })?;
                for expanded in entry.expand() {
                    capabilities.push(expanded.build(file, &parsed.family)?);
                }
            }
        }
        hash.update(requirements.as_bytes());
        let mut seen = BTreeSet::new();
        for c in &capabilities {
            if !seen.insert(c.id.clone()) {
                let why = format!("the id {} is used twice; ids are unique and never reused", c.id);
                return Err(CatalogueError::Inconsistent { file: c.family.clone(), why });
            }
        }
        let file = "requirements.toml".to_owned();
        let parsed: RequirementsFile = toml::from_str(requirements)
            .map_err(|e| CatalogueError::Toml { file: file.clone(), source: Box::new(e) })?;
        for r in &parsed.requirement {
            for id in r.cells.iter().chain(&r.never_not_applicable) {
                if !seen.contains(id) {
                    let why = format!("requirement {} names the capability {id}, which does not exist", r.id);
                    return Err(CatalogueError::Inconsistent { file, why });
                }
            }
        }
        let hash = hash.finalize().iter().map(|b| format!("{b:02x}")).collect();
        Ok(Self { capabilities, requirements: parsed.requirement, hash })
    }

    /// The capability with this id.
    pub fn get(&self, id: &str) -> Option<&Capability> {
        self.capabilities.iter().find(|c| c.id == id)
    }

    /// Families in order, each once.
    pub fn families(&self) -> Vec<&str> {
        let mut families: Vec<&str> = Vec::new();
        for c in &self.capabilities {
            if !families.contains(&c.family.as_str()) {
                families.push(&c.family);
            }
        }
        families
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    family: String,
    /// Texts that many entries share: a field that reads `@name` is the text of that name.
    #[serde(default)]
    text: BTreeMap<String, String>,
    #[serde(default)]
    capability: Vec<Entry>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RequirementsFile {
    requirement: Vec<Requirement>,
}

#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    id: String,
    title: String,
    kind: Kind,
    #[serde(default = "solo")]
    scope: Scope,
    #[serde(default = "safe")]
    safety: Safety,
    why: String,
    how: String,
    control: String,
    remedy: String,
    #[serde(default)]
    sources: Vec<String>,
    #[serde(default)]
    controls: Vec<String>,
    #[serde(default)]
    moot: Vec<String>,
    #[serde(default)]
    moot_reason: String,
    #[serde(default)]
    pass: Vec<String>,
    #[serde(default)]
    partial: Vec<String>,
    #[serde(default)]
    partial_reason: String,
    #[serde(default)]
    attempt: String,
    #[serde(default)]
    want: Option<EgressWant>,
    /// Placeholders: `{name}` in any text becomes each value in turn.
    #[serde(default)]
    each: BTreeMap<String, Vec<String>>,
}

impl Entry {
    /// With the shared texts in the place of their names; the first name that has none is the error.
    fn resolved(&self, texts: &BTreeMap<String, String>) -> Result<Self, String> {
        let of = |s: &String| match s.strip_prefix('@') {
            Some(name) => texts.get(name).cloned().ok_or_else(|| name.to_owned()),
            None => Ok(s.clone()),
        };
        let (why, how) = (of(&self.why)?, of(&self.how)?);
        Ok(Self { why, how, control: of(&self.control)?, remedy: of(&self.remedy)?, ..self.clone() })
    }

    fn expand(&self) -> Vec<Self> {
        let mut out = vec![self.clone()];
        for (name, values) in &self.each {
            let hole = format!("{{{name}}}");
            out = out.iter().flat_map(|e| values.iter().map(|v| e.filled(&hole, v)).collect::<Vec<_>>()).collect();
        }
        out
    }

    fn filled(&self, hole: &str, value: &str) -> Self {
        let fill = |s: &String| s.replace(hole, value);
        let fill_all = |v: &Vec<String>| v.iter().map(fill).collect();
        Self {
            // Ids are lower-case and dashed, however the kernel writes what they are about.
            id: self.id.replace(hole, &value.to_lowercase().replace('_', "-")),
            title: fill(&self.title),
            why: fill(&self.why),
            how: fill(&self.how),
            control: fill(&self.control),
            remedy: fill(&self.remedy),
            sources: fill_all(&self.sources),
            controls: fill_all(&self.controls),
            moot: fill_all(&self.moot),
            moot_reason: fill(&self.moot_reason),
            pass: fill_all(&self.pass),
            partial: fill_all(&self.partial),
            partial_reason: fill(&self.partial_reason),
            attempt: fill(&self.attempt),
            ..self.clone()
        }
    }

    fn build(self, file: &str, family: &str) -> Result<Capability, CatalogueError> {
        let inconsistent = |why: String| CatalogueError::Inconsistent { file: file.to_owned(), why };
        let conditions = |texts: &[String]| -> Result<Vec<Condition>, CatalogueError> {
            texts.iter().map(|t| t.parse()).collect::<Result<_, _>>().map_err(|source| CatalogueError::Condition {
                file: file.to_owned(),
                id: self.id.clone(),
                source,
            })
        };
        let (controls, pass, partial) =
            (conditions(&self.controls)?, conditions(&self.pass)?, conditions(&self.partial)?);
        let moot = conditions(&self.moot)?;
        let egress = self.scope.has_models();
        let wants = (self.scope == Scope::Egress) == self.want.is_some();
        if egress == self.attempt.is_empty() || !wants || egress != pass.is_empty() {
            return Err(inconsistent(format!(
                "{}: an egress capability has `attempt` and `want`, one of a failing guard or of IPv6 has `attempt`; any \
                 other has `pass` conditions",
                self.id
            )));
        }
        if !egress && controls.is_empty() {
            return Err(inconsistent(format!("{}: no `controls`; a verdict without its control is none", self.id)));
        }
        if partial.is_empty() != self.partial_reason.is_empty() || moot.is_empty() != self.moot_reason.is_empty() {
            return Err(inconsistent(format!("{}: `partial` and `moot` each go with their reason", self.id)));
        }
        Ok(Capability {
            id: self.id,
            family: family.to_owned(),
            title: self.title,
            kind: self.kind,
            scope: self.scope,
            safety: self.safety,
            why: self.why,
            how: self.how,
            control: self.control,
            remedy: self.remedy,
            sources: self.sources,
            controls,
            moot,
            moot_reason: self.moot_reason,
            pass,
            partial,
            partial_reason: self.partial_reason,
            attempt: self.attempt,
            want: self.want,
        })
    }
}

fn solo() -> Scope {
    Scope::Solo
}

fn safe() -> Safety {
    Safety::Safe
}

macro_rules! files {
    ($($name:literal),* $(,)?) => { &[$((concat!($name, ".toml"), include_str!(concat!("../capabilities/", $name, ".toml")))),*] };
}

/// Capability files in the order of the matrix. `tests/catalogue.rs` fails when one on disk is missing here.
const FILES: &[(&str, &str)] = files![
    "identity",
    "image",
    "lifecycle",
    "health",
    "compose",
    "netfilter",
    "netns",
    "bridge",
    "chroot",
    "procfs",
    "bind",
    "shared",
    "tmpfs",
    "privileges",
    "seccomp",
    "capabilities",
    "apparmor",
    "cgroup",
    "paths",
    "isolation",
    "dns",
    "egress",
    "guard",
    "ipv6"
];

const REQUIREMENTS: &str = include_str!("../requirements.toml");
