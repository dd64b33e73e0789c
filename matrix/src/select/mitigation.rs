//! `mitigations.toml` and `registry.toml`: what a runtime needs, derived from its cells.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Basis, view::View};
use crate::{Fingerprint, Model, Verdict};

/// Something AWF must do differently.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Mitigation {
    /// Stable name.
    pub id: String,
    /// What is to be done, and why.
    pub title: String,
    /// Necessary where one of these is not `pass`.
    #[serde(default)]
    pub cells: Vec<String>,
    /// Quoted where something else makes it necessary.
    #[serde(default)]
    pub shown_by: Vec<String>,
    /// Must be `pass`, or the mitigation does not work.
    #[serde(default)]
    pub works_if: Vec<String>,
    /// Properties of the models it applies to.
    #[serde(default)]
    pub model: BTreeMap<String, Vec<String>>,
    /// The iptables backend it applies to.
    pub backend: Option<String>,
    /// Only where the same model with another backend is not proved.
    #[serde(default)]
    pub rival: bool,
    /// Only where the runtime is registered with this argument.
    pub arguments: Option<String>,
    /// What it changes in the profile.
    pub effects: Vec<Effect>,
}

/// What a mitigation changes in the profile.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Effect {
    /// Hosts entries for the proxy and the sidecars.
    StaticHosts,
    /// A resolv.conf with the approved resolver.
    StaticDns,
    /// Rules by iptables-legacy.
    IptablesLegacy,
    /// Rules by iptables-nft.
    IptablesNft,
    /// NET_RAW beside NET_ADMIN.
    NetRaw,
    /// RLIMIT_NPROC in place of the pids limit.
    NprocLimit,
    /// A chain on the host.
    HostRules,
}

/// A mitigation that a runtime needs under a model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Needed {
    /// Its name.
    pub id: String,
    /// What is to be done.
    pub title: String,
    /// The cell that makes it necessary, or that shows the model it belongs to.
    pub because: Basis,
    /// Cells that show that it works; empty: none was measured.
    pub shown: Vec<Basis>,
    /// What it changes.
    pub effects: Vec<Effect>,
}

/// A mitigation that is needed and does not work.
#[derive(Clone, Debug)]
pub(super) struct Useless {
    pub(super) id: String,
    pub(super) basis: Basis,
}

impl Mitigation {
    /// Whether a runtime needs it under this model. `rival` is the cell that another backend fails at.
    pub(super) fn needed(
        &self,
        view: &View<'_>,
        fingerprint: &Fingerprint,
        rival: Option<&Basis>,
    ) -> Result<Option<Needed>, Box<Useless>> {
        if !self.applies(view.model, view.backend, fingerprint) {
            return Ok(None);
        }
        let because = if self.rival {
            rival.cloned()
        } else if self.cells.is_empty() {
            self.shown_by.first().map(|id| view.basis(id))
        } else {
            self.cells.iter().map(|id| view.basis(id)).find(|b| match b.verdict {
                Verdict::Pass | Verdict::NotApplicable => false,
                Verdict::Partial | Verdict::Fail | Verdict::Inconclusive | Verdict::Skipped => true,
            })
        };
        let Some(because) = because else { return Ok(None) };
        let shown: Vec<Basis> = self.works_if.iter().map(|id| view.basis(id)).collect();
        if let Some(basis) = shown.iter().find(|b| b.verdict != Verdict::Pass) {
            return Err(Box::new(Useless { id: self.id.clone(), basis: basis.clone() }));
        }
        Ok(Some(Needed {
            id: self.id.clone(),
            title: self.title.clone(),
            because,
            shown,
            effects: self.effects.clone(),
        }))
    }

    fn applies(&self, model: &Model, backend: Option<&str>, fingerprint: &Fingerprint) -> bool {
        let has = self.model.iter().all(|(key, values)| values.contains(&property(model, key)));
        let arguments = match self.arguments.as_deref() {
            None => true,
            Some("*") => !fingerprint.args.is_empty(),
            Some(a) => fingerprint.all_args().iter().any(|x| x == a),
        };
        has && arguments && self.backend.as_deref().is_none_or(|b| backend == Some(b))
    }
}

/// A property of a model as text, `false` where models of this version do not have it.
pub fn property(model: &Model, key: &str) -> String {
    match serde_json::to_value(model).ok().and_then(|v| v.get(key).cloned()) {
        Some(serde_json::Value::String(text)) => text,
        Some(other) => other.to_string(),
        None => "false".to_owned(),
    }
}

/// A field of AWF's runtime registry.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Field {
    /// As AWF calls it.
    pub name: String,
    /// All of these must pass for `yes`.
    pub all: Vec<String>,
    /// And one of these, if there are any.
    #[serde(default)]
    pub any: Vec<String>,
    /// The value then.
    pub yes: String,
    /// The value where a deciding cell fails.
    pub no: Option<String>,
}

/// A field with its value for one runtime.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Derived {
    /// As AWF calls it.
    pub name: String,
    /// Its value; `None` where it is not decided.
    pub value: Option<String>,
    /// The cells that decide it.
    pub decided_by: Vec<Basis>,
}

impl Field {
    /// Its value for the runtime of a view.
    pub(super) fn derive(&self, view: &View<'_>) -> Derived {
        let all: Vec<Basis> = self.all.iter().map(|id| view.basis(id)).collect();
        let any: Vec<Basis> = self.any.iter().map(|id| view.basis(id)).collect();
        let fails = |b: &Basis| matches!(b.verdict, Verdict::Fail | Verdict::Partial);
        let passes = |b: &Basis| b.verdict == Verdict::Pass;
        let yes = all.iter().all(passes) && (any.is_empty() || any.iter().any(passes));
        let no = all.iter().any(fails) || !any.is_empty() && any.iter().all(fails);
        let value = if yes {
            Some(self.yes.clone())
        } else if no {
            self.no.clone()
        } else {
            None
        };
        Derived { name: self.name.clone(), value, decided_by: all.into_iter().chain(any).collect() }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Mitigations {
    mitigation: Vec<Mitigation>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Fields {
    field: Vec<Field>,
}

/// The mitigations that are compiled in.
pub fn mitigations() -> Result<Vec<Mitigation>, toml::de::Error> {
    toml::from_str::<Mitigations>(include_str!("../../mitigations.toml")).map(|m| m.mitigation)
}

/// The fields of AWF's runtime registry.
pub fn registry_fields() -> Result<Vec<Field>, toml::de::Error> {
    toml::from_str::<Fields>(include_str!("../../registry.toml")).map(|f| f.field)
}
