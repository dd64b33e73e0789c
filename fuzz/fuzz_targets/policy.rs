//! A policy from anywhere: read, or refused with a line of the file and a valid word.
#![no_main]

use std::sync::LazyLock;

use awf_probe_matrix::{
    Catalogue, Mitigation, Model, models,
    select::{Policy, mitigations},
};
use libfuzzer_sys::fuzz_target;

static CATALOGUE: LazyLock<Catalogue> = LazyLock::new(|| Catalogue::builtin().expect("the compiled-in data"));
static MODELS: LazyLock<Vec<Model>> = LazyLock::new(|| models().expect("the compiled-in data"));
static MITIGATIONS: LazyLock<Vec<Mitigation>> = LazyLock::new(|| mitigations().expect("the compiled-in data"));

fuzz_target!(|text: &str| {
    match Policy::parse(text, &CATALOGUE, &MODELS, &MITIGATIONS) {
        Ok(policy) => {
            // A policy names models on which a requirement may rest, and no others.
            assert!(policy.models.iter().all(|_| MODELS.iter().any(|m| m.counts && policy.allows(&m.id))));
        }
        Err(e) => {
            assert!(e.line >= 1 && e.line <= text.lines().count().max(1) + 1, "line {} of {text:?}", e.line);
            assert!(!e.why.is_empty());
        }
    }
});
