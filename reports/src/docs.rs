//! Pages of `docs/` that are made from the catalogue and from reports, so that they cannot fall behind.

mod catalogue;

pub use catalogue::catalogue_page;
