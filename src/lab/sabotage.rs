//! A lab that is broken on purpose: no verdict may survive it that says more than was seen.
//!
//! For the tests of this project and for `selftest`. A run with one of these says so in its journal and its report, and
//! no command takes such a report for a measurement.

use super::{Ground, Lab, PROXY_PORT};
use crate::{
    engine::docker::{Docker, sandbox::Common},
    error::Error,
    lab::roles::wire::Ask,
    progress::note,
};

/// What is broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Sabotage {
    /// The witness answers, and reports nothing but the markers that ask whether it listens.
    WitnessDeaf,
    /// The witness is killed as soon as a model without enforcement was tried.
    WitnessDead,
    /// The run's table has no route to the witness, only the blackhole behind it.
    RouteMissing,
    /// Nobody listens on the proxy's port any more.
    ProxyDead,
    /// The proxy serves every name and every port.
    AclOpen,
    /// The resolver hears every query and answers none.
    ResolverSilent,
    /// Three of ten packets on their way to the witness are dropped, markers are not.
    Loss,
    /// The link to the witness carries 256 kbit a second, whatever is queued waits.
    Delay,
}

impl Sabotage {
    /// All of them.
    pub const ALL: &[Self] = &[
        Self::WitnessDeaf,
        Self::WitnessDead,
        Self::RouteMissing,
        Self::ProxyDead,
        Self::AclOpen,
        Self::ResolverSilent,
        Self::Loss,
        Self::Delay,
    ];

    /// The word for it on the command line and in reports.
    pub fn word(self) -> &'static str {
        match self {
            Self::WitnessDeaf => "witness-deaf",
            Self::WitnessDead => "witness-dead",
            Self::RouteMissing => "route-missing",
            Self::ProxyDead => "proxy-dead",
            Self::AclOpen => "acl-open",
            Self::ResolverSilent => "resolver-silent",
            Self::Loss => "loss",
            Self::Delay => "delay",
        }
    }
}

impl Ground {
    /// Worsens the way to the witness, once its route is proved.
    pub(super) async fn impair(&self, common: &Common, link: &str, sabotage: Option<Sabotage>) -> Result<(), Error> {
        let how = match sabotage {
            Some(Sabotage::Loss) => "loss",
            Some(Sabotage::Delay) => "delay",
            Some(
                Sabotage::WitnessDeaf
                | Sabotage::WitnessDead
                | Sabotage::RouteMissing
                | Sabotage::ProxyDead
                | Sabotage::AclOpen
                | Sabotage::ResolverSilent,
            )
            | None => return Ok(()),
        };
        let ask = Ask::Impair { run: common.run.clone(), link: link.to_owned(), how: how.to_owned() };
        self.helper.ask(ask).await.map(drop)
    }
}

impl Lab {
    /// What is broken once everything stands.
    pub(super) async fn break_now(&self, sabotage: Sabotage) -> Result<(), Error> {
        match (sabotage, &self.proxy) {
            (Sabotage::WitnessDeaf, _) => self.witness.deafen(),
            (Sabotage::ProxyDead, Some(proxy)) => drop(proxy.ask(Ask::StopProxy).await?),
            (Sabotage::ProxyDead, None) => {
                return Err(Error::Lab {
                    why: format!("no proxy listens on port {PROXY_PORT}, so none can be stopped"),
                });
            }
            (
                Sabotage::WitnessDead
                | Sabotage::RouteMissing
                | Sabotage::AclOpen
                | Sabotage::ResolverSilent
                | Sabotage::Loss
                | Sabotage::Delay,
                _,
            ) => {}
        }
        Ok(())
    }

    /// What is broken half way: after the ledgers of this scenario were drained.
    pub async fn break_after(&self, docker: &Docker, scenario: &str) {
        if self.sabotage == Some(Sabotage::WitnessDead) && scenario == "egress[open]" {
            // That it is gone already is no failure: another runtime's scenario was first.
            if let Err(e) = docker.remove(&self.witness.id).await {
                note(&format!("the witness could not be killed: {e}"));
            }
        }
    }
}
