//! The vocabulary of awf-probe and its data: capabilities, verdicts, requirements, enforcement models.
//!
//! Everything here is pure. The catalogue is data under `capabilities/`, compiled in; what a measurement
//! *means* is written there, not in the code of a probe.

pub mod bench;
mod capability;
mod catalogue;
mod claims;
mod condition;
pub mod coverage;
pub mod launcher;
mod matrix;
mod outcome;
pub mod repeat;
mod requirement;
pub mod select;
mod tables;
mod verdict;

pub use capability::{Capability, Kind, Safety, Scope, Want as EgressWant};
pub use catalogue::{Catalogue, CatalogueError};
pub use claims::{Claim, Claims, ClaimsError, Says};
pub use condition::{Condition, ConditionError, Key, Source, Want};
pub use launcher::{Launcher, LauncherError};
pub use matrix::{
    Cell, Coverage, Fingerprint, Host, IsolationClass, Leftovers, Matrix, Rejection, Result_, RunInfo, RuntimeRow,
    Sighting,
};
pub use outcome::{Fact, Outcome, Sent};
pub use requirement::{Requirement, RequirementCell, RequirementResult, Standing, assess, assess_under};
pub use select::Mitigation;
pub use tables::{InitUnder, Model, ModelNetwork, Product, models, products};
pub use verdict::Verdict;
