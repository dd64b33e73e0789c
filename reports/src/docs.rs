//! Pages of `docs/` that are made from the catalogue and from reports, so that they cannot fall behind.

mod catalogue;
mod runtime;

pub use catalogue::catalogue_page;
pub use runtime::{Measured, runtime_page, runtimes_index};
