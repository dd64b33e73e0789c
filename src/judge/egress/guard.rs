//! A model whose guard failed: the same ways out, each with the control it has anyway, and the proof that it failed.

use awf_probe_matrix::{Capability, Cell, Model, ModelNetwork, Outcome, Result_, Sighting, Source};
use awf_probe_probes::ATTEMPTS;

use super::{Ending, IPV4, Look, cell_of, combine, guest, parts, tried};
use crate::{
    event::PlannedCell,
    record::{Record, ScenarioRecord, Seen},
    scenario::guard::{BEFORE, FAILURES, Failure, WAYS, name},
};

/// Judges one cell of a failing guard.
pub(crate) fn judge(record: &Record, capability: &Capability, planned: &PlannedCell, models: &[Model]) -> Cell {
    let inconclusive = |why: &str, evidence| cell_of(planned, None, Ending::new(Result_::Inconclusive, why, evidence));
    let Some(failure) = FAILURES.into_iter().find(|f| f.name() == capability.attempt) else {
        return inconclusive("this version does not know the failure", vec![]);
    };
    let id = planned.model.as_deref().unwrap_or_default();
    let Some(model) = models.iter().find(|m| m.id == id) else {
        return inconclusive("this catalogue does not know the model", vec![]);
    };
    let of_model = Sighting { source: "model".to_owned(), saw: format!("{id}: {}", model.title), journal_line: None };
    let moot = |why: &str| cell_of(planned, None, Ending::new(Result_::NotApplicable, why, vec![of_model.clone()]));
    if failure == Failure::InitHalfway && planned.backend.is_none() {
        return moot("the model has no rules in the agent's namespace");
    }
    if failure == Failure::ResolverSilent && model.network == ModelNetwork::Internal {
        return moot("the model approves no resolver");
    }
    let scenario = match tried(record, planned, None, &name(id, planned.backend.as_deref())) {
        Ok(scenario) => scenario,
        Err(untold) => return *untold,
    };
    let look = |attempt| Look {
        record,
        scenario,
        runtime: &planned.runtime,
        attempt,
        model,
        label: failure.name(),
        controls: IPV4,
    };
    let mut endings = Vec::new();
    for way in WAYS {
        let Some(attempt) = ATTEMPTS.iter().find(|a| a.id == way) else {
            return inconclusive(&format!("this version does not know the attempt {way}"), vec![]);
        };
        let label = format!("{}.{way}", failure.name());
        let mine = parts(scenario, &label);
        // Every port of a list, and the end of its probe.
        let all = if attempt.parts().is_empty() { 1 } else { attempt.parts().len() };
        if mine.len() != all || !said(scenario, &format!("{label}.end"), "ok") {
            let problem = scenario.problems.first().map(|(s, w, _)| format!("; {s}: {w}")).unwrap_or_default();
            endings.push(Ending::new(Result_::Inconclusive, format!("{way} was not reported whole{problem}"), vec![]));
        }
        endings.extend(mine.into_iter().map(|seen| {
            let ending = look(attempt).contained(seen);
            Ending { reason: format!("{way}: {}", ending.reason), ..ending }
        }));
    }
    let worst = combine(endings);
    // What arrived has arrived, whatever else is known.
    if worst.result == Result_::Leaked {
        return cell_of(planned, None, Ending { evidence: with_rules(scenario, worst.evidence), ..worst });
    }
    match failed(scenario, failure) {
        Ok(mut proof) => {
            proof.extend(worst.evidence);
            cell_of(planned, None, Ending { evidence: proof, ..worst })
        }
        Err((why, evidence)) => inconclusive(&why, evidence),
    }
}

pub(super) fn fact<'a>(scenario: &'a ScenarioRecord, source: Source, name: &str) -> Option<&'a Seen> {
    scenario.facts.get(&(source, name.to_owned()))
}

pub(super) fn said(scenario: &ScenarioRecord, name: &str, word: &str) -> bool {
    let seen = fact(scenario, Source::Guest, name);
    matches!(seen.map(|s| &s.fact.outcome), Some(Outcome::Value { value }) if value == word)
}

/// That the guard did fail: what shows it, or why nobody can say.
fn failed(scenario: &ScenarioRecord, failure: Failure) -> Result<Vec<Sighting>, (String, Vec<Sighting>)> {
    let Some(proof) = failure.proof() else {
        // The script's own word: which rule it ended at.
        let Some(half) = fact(scenario, Source::Guest, "half.rules") else {
            return Err(("the script that was to fail was not run".to_owned(), vec![]));
        };
        let evidence = vec![guest(half)];
        return match &half.fact.outcome {
            Outcome::Refused { .. } => Ok(evidence),
            other => Err((format!("the script that was to fail did not: {other}"), evidence)),
        };
    };
    let before = fact(scenario, Source::Guest, &format!("{BEFORE}.{proof}"));
    let after = fact(scenario, Source::Guest, &format!("{}.{proof}", failure.name()));
    let (Some(before), Some(after)) = (before, after) else {
        return Err((format!("{proof} was not asked before and after"), vec![]));
    };
    let evidence = vec![guest(before), guest(after)];
    if fact(scenario, Source::Engine, failure.name()).is_none() {
        return Err(("nothing says that it was made to fail".to_owned(), evidence));
    }
    match (&before.fact.outcome, &after.fact.outcome) {
        (Outcome::Allowed { .. }, Outcome::Refused { .. } | Outcome::TimedOut { .. }) => Ok(evidence),
        (Outcome::Allowed { .. }, other) => Err((format!("it did not fail: {proof} gives {other}"), evidence)),
        (other, _) => Err((format!("it did not work before either: {proof} gave {other}"), evidence)),
    }
}

/// How far the rules came, where something leaked.
fn with_rules(scenario: &ScenarioRecord, mut evidence: Vec<Sighting>) -> Vec<Sighting> {
    let rules = ["half.rules", "rules"].iter().filter_map(|name| fact(scenario, Source::Guest, name));
    evidence.extend(rules.map(guest));
    evidence
}
