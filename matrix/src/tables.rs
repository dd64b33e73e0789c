//! `models.toml` and `runtimes.toml`.

use serde::{Deserialize, Serialize};

use crate::IsolationClass;

/// The network an agent stands on under a model.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ModelNetwork {
    /// The lab's bridge, routed to the witness.
    Lab,
    /// A bridge with `internal: true`; only the proxy also stands on the lab's.
    Internal,
    /// A bridge like the lab's, with AWF's chain on the host: jumped to from DOCKER-USER, default-deny.
    Guarded,
    /// The same, and the host sends TCP to ports 80 and 443 to the proxy before it routes.
    Redirected,
}

/// The runtime of the container that installs rules in the agent's network namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum InitUnder {
    /// No such container.
    None,
    /// The engine's default runtime, as AWF does it today.
    Default,
    /// The agent's own runtime.
    Own,
}

/// One way of keeping the agent behind the proxy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Model {
    /// Name as in reports.
    pub id: String,
    /// What enforces, in a line.
    pub title: String,
    /// Where the model comes from.
    pub from: String,
    /// Whether a requirement may rest on it. `open` and `env-only` are controls.
    pub counts: bool,
    /// The network the agent stands on.
    pub network: ModelNetwork,
    /// Whether an init container installs AWF's rules.
    pub init: InitUnder,
    /// Whether the agent's own entrypoint installs AWF's rules and then drops the capabilities for it.
    #[serde(default)]
    pub in_agent: bool,
    /// Whether the agent is given the proxy variables.
    pub proxy_env: bool,
    /// iptables backends it is tried with; empty where no rules are involved.
    pub backends: Vec<String>,
}

/// What a runtime's own `--version` is known to mean.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Product {
    /// The first word of `--version`.
    pub name: String,
    /// Names under which the engine usually has it; `*` at the end matches any rest.
    pub registered_as: Vec<String>,
    /// The isolation its maintainers state; another one measured means that something else ran.
    pub class: IsolationClass,
}

impl Product {
    /// Whether the engine's name for a runtime suggests this product.
    pub fn is_suggested_by(&self, registered: &str) -> bool {
        self.registered_as.iter().any(|p| match p.strip_suffix('*') {
            Some(start) => registered.starts_with(start),
            None => registered == p,
        })
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Models {
    model: Vec<Model>,
}

/// Beside the `[[command]]` tables, which [`crate::launcher`] reads.
#[derive(Deserialize)]
struct Products {
    product: Vec<Product>,
}

/// The enforcement models, controls first.
pub fn models() -> Result<Vec<Model>, toml::de::Error> {
    toml::from_str::<Models>(include_str!("../models.toml")).map(|m| m.model)
}

/// The runtimes that are known by their `--version`.
pub fn products() -> Result<Vec<Product>, toml::de::Error> {
    toml::from_str::<Products>(include_str!("../runtimes.toml")).map(|p| p.product)
}
