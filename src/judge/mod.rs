//! From observations to verdicts. A pure function of a journal and the catalogue.

use std::collections::BTreeMap;

use awf_probe_matrix::{
    Capability, Catalogue, Cell, Coverage, IsolationClass, Matrix, Model, Product, RuntimeRow, Scope, Sighting,
    Verdict, assess,
};

use crate::{
    event::{Event, PlannedCell},
    record::Record,
};

mod conditions;
mod egress;
mod identity;

/// How far a runtime's sandboxes are from the host's kernel, or why its identity is not proved.
pub fn identity(record: &Record, row: &RuntimeRow, products: &[Product]) -> Result<IsolationClass, String> {
    if let Some(why) = identity::unusable(record, &row.name) {
        return Err(format!("it does not start: {why}"));
    }
    let identity = identity::of(record, row, products);
    match (identity.unproved, identity.class) {
        (Some(why), _) => Err(format!("identity not proved: {why}")),
        (None, Some(class)) => Ok(class),
        (None, None) => Err("identity not proved".to_owned()),
    }
}

/// Judges a whole journal.
pub fn judge(events: &[Event], catalogue: &Catalogue, models: &[Model], products: &[Product]) -> Matrix {
    let record = Record::new(events);
    let mut runtimes = record.runtimes.clone();
    let mut identities = Vec::new();
    for row in &mut runtimes {
        row.unusable = identity::unusable(&record, &row.name);
        let identity = identity::of(&record, row, products);
        row.class = identity.class;
        row.notes.extend(identity.notes.iter().cloned());
        identities.push(identity);
    }
    let cells: Vec<Cell> = record
        .plan
        .iter()
        .map(|planned| {
            let row = runtimes.iter().position(|r| r.name == planned.runtime);
            let Some((row, identity)) = row.map(|i| (&runtimes[i], &identities[i])) else {
                return cell(planned, Verdict::Inconclusive, "the runtime is not in the journal");
            };
            let Some(capability) = catalogue.get(&planned.id) else {
                return cell(planned, Verdict::Inconclusive, "this catalogue does not know the capability");
            };
            // Not the runtime's doing, and nothing is told of it either.
            if let Some((why, _)) = record.unsupported(&row.name, "plain") {
                return cell(planned, Verdict::Skipped, why);
            }
            if let Some(why) = &row.unusable {
                return cell(planned, Verdict::Inconclusive, &format!("the runtime does not start: {why}"));
            }
            if let (Some(why), false) = (&identity.unproved, planned.id == "identity.runtime") {
                return cell(planned, Verdict::Inconclusive, &format!("identity not proved: {why}"));
            }
            one(&record, capability, planned, identity, models)
        })
        .collect();
    let requirements = runtimes.iter().flat_map(|r| assess(catalogue, models, &r.name, &cells)).collect();
    let coverage = Coverage {
        measured: cells.iter().filter(|c| c.verdict.is_conclusive()).count(),
        examined: cells.iter().filter(|c| c.verdict != Verdict::Skipped && !c.evidence.is_empty()).count(),
        total: cells.len(),
    };
    let mut run = record.run.clone();
    run.catalogue.clone_from(&catalogue.hash);
    Matrix {
        run,
        host: record.host.clone(),
        runtimes,
        cells,
        requirements,
        coverage,
        leftovers: record.leftovers.clone(),
    }
}

fn one(
    record: &Record,
    capability: &Capability,
    planned: &PlannedCell,
    identity: &identity::Identity,
    models: &[Model],
) -> Cell {
    if !record.tripwire.is_empty() {
        let (packet, line) = &record.tripwire[0];
        let mut c = cell(
            planned,
            Verdict::Inconclusive,
            &format!("a frame of the lab was seen on {}, where none belongs", packet.link),
        );
        c.evidence.push(Sighting {
            source: "tripwire".to_owned(),
            saw: format!("{} to {} port {}", packet.src, packet.dst, packet.dport),
            journal_line: Some(*line),
        });
        return c;
    }
    match capability.scope {
        Scope::Solo => conditions::judge(record, capability, planned, None, identity),
        Scope::Netns => {
            let init = planned.model.as_deref().and_then(|m| m.strip_prefix("init=")).unwrap_or_default();
            conditions::judge(record, capability, planned, Some(&format!("netns[{init}]")), identity)
        }
        Scope::Egress => egress::judge(record, capability, planned, models),
        Scope::Guard => egress::guard::judge(record, capability, planned, models),
        Scope::DualStack => egress::dual::judge(record, capability, planned, models),
    }
}

/// A cell without evidence.
fn cell(planned: &PlannedCell, verdict: Verdict, reason: &str) -> Cell {
    Cell {
        id: planned.id.clone(),
        runtime: planned.runtime.clone(),
        model: planned.model.clone(),
        backend: planned.backend.clone(),
        verdict,
        reason: reason.to_owned(),
        result: None,
        evidence: vec![],
        rejection: None,
        counts: BTreeMap::new(),
    }
}
