//! Verdicts whose meaning is data: controls, `pass` and `partial` conditions of the catalogue.

use awf_probe_matrix::{Capability, Cell, Condition, Key, Outcome, Sighting, Source, Verdict};

use super::{cell, identity::Identity};
use crate::{
    event::PlannedCell,
    record::{Record, ScenarioRecord, Seen, was_made},
};

/// An observation a condition asks for.
struct Found {
    outcome: Outcome,
    line: Option<u64>,
}

/// Judges one cell. `instance` is the scenario that stands for the conditions' `netns`.
pub(super) fn judge(
    record: &Record,
    capability: &Capability,
    planned: &PlannedCell,
    instance: Option<&str>,
    identity: &Identity,
) -> Cell {
    let mut result = cell(planned, Verdict::Inconclusive, "");
    let find = |c: &Condition| find(record, &planned.runtime, instance, &c.key, identity);
    let show = |c: &Condition, f: &Found, prefix: &str| Sighting {
        source: format!("{prefix}{}", c.key.source.word()),
        saw: format!("{}: {}", c.key, f.outcome),
        journal_line: f.line,
    };

    let moot: Vec<(&Condition, Found)> = capability.moot.iter().map(|c| (c, find(c))).collect();
    if !moot.is_empty() && moot.iter().all(|(c, f)| c.holds(&f.outcome)) {
        result.evidence.extend(moot.iter().map(|(c, f)| show(c, f, "")));
        result.verdict = Verdict::NotApplicable;
        result.reason.clone_from(&capability.moot_reason);
        return result;
    }
    let needed = capability.controls.iter().chain(&capability.pass);
    let gap = needed.map(|c| scenario_of(&c.key, instance)).find_map(|s| record.unsupported(&planned.runtime, s));
    if let Some((why, line)) = gap {
        result.verdict = Verdict::Skipped;
        result.reason = why.to_owned();
        result.evidence.push(Sighting { source: "engine".to_owned(), saw: why.to_owned(), journal_line: Some(line) });
        return result;
    }
    for c in &capability.controls {
        let found = find(c);
        result.evidence.push(show(c, &found, "control, "));
        if let Some((verdict, why)) = unsettled(&found.outcome) {
            result.verdict = verdict;
            result.reason = if verdict == Verdict::Inconclusive { format!("control {}: {why}", c.key) } else { why };
            return result;
        }
        if !c.holds(&found.outcome) {
            result.reason = format!(
                "the control did not come out as it must: {} should be {}, but: {}",
                c.key,
                c.wanted(),
                found.outcome
            );
            return result;
        }
    }
    let pass: Vec<(&Condition, Found)> = capability.pass.iter().map(|c| (c, find(c))).collect();
    result.evidence.extend(pass.iter().map(|(c, f)| show(c, f, "")));
    if pass.iter().all(|(c, f)| c.holds(&f.outcome)) {
        result.verdict = Verdict::Pass;
        result.reason = pass.last().map(|(_, f)| f.outcome.to_string()).unwrap_or_default();
        return result;
    }
    let partial: Vec<(&Condition, Found)> = capability.partial.iter().map(|c| (c, find(c))).collect();
    if !partial.is_empty() && partial.iter().all(|(c, f)| c.holds(&f.outcome)) && settled_or_dead(&pass) {
        result.evidence.extend(partial.iter().map(|(c, f)| show(c, f, "")));
        let broken = pass.iter().find(|(c, f)| !c.holds(&f.outcome) && unsettled(&f.outcome).is_none());
        let what = broken.map(|(c, f)| format!(": {} is {}", c.key, f.outcome)).unwrap_or_default();
        result.verdict = Verdict::Partial;
        result.reason = format!("{}{what}", capability.partial_reason);
        return result;
    }
    // A condition that is observed and does not hold is a fail, even if another could not be observed.
    let broken = pass.iter().find(|(c, f)| unsettled(&f.outcome).is_none() && !c.holds(&f.outcome));
    if let Some((c, f)) = broken {
        result.verdict = Verdict::Fail;
        result.reason = format!("{} should be {}, but: {}", c.key, c.wanted(), f.outcome);
        return result;
    }
    if let Some((c, (verdict, why))) = pass.iter().find_map(|(c, f)| unsettled(&f.outcome).map(|u| (*c, u))) {
        result.verdict = verdict;
        result.reason = if verdict == Verdict::Inconclusive { format!("{}: {why}", c.key) } else { why };
    }
    result
}

/// Whether `partial` may be concluded: what `pass` misses was observed, or is missing because the sandbox died.
fn settled_or_dead(pass: &[(&Condition, Found)]) -> bool {
    pass.iter().any(|(c, f)| !c.holds(&f.outcome) && unsettled(&f.outcome).is_none())
        || pass.iter().all(|(_, f)| f.line.is_none())
}

/// The verdict of an outcome that settles nothing, and why.
fn unsettled(outcome: &Outcome) -> Option<(Verdict, String)> {
    match outcome {
        Outcome::Absent { why } => Some((Verdict::NotApplicable, why.clone())),
        Outcome::Skipped { why } => Some((Verdict::Skipped, why.clone())),
        Outcome::Broken { why } => Some((Verdict::Inconclusive, why.clone())),
        Outcome::Allowed { .. }
        | Outcome::Refused { .. }
        | Outcome::TimedOut { .. }
        | Outcome::Killed { .. }
        | Outcome::Value { .. } => None,
    }
}

fn find(record: &Record, runtime: &str, instance: Option<&str>, key: &Key, identity: &Identity) -> Found {
    if key.source == Source::Host && key.fact == "class.known" {
        let outcome = identity.known.clone().unwrap_or_else(|| Outcome::broken("not measured"));
        return Found { outcome, line: None };
    }
    let name = scenario_of(key, instance);
    let Some(scenario) = record.get(runtime, name) else {
        return Found { outcome: Outcome::broken(format!("{name} did not take place")), line: None };
    };
    if let Some((why, line)) = record.unsupported(runtime, name) {
        return Found { outcome: Outcome::Skipped { why: why.to_owned() }, line: Some(line) };
    }
    if let Some(why) = record.stranger(runtime, scenario).filter(|_| scenario.started && name != "plain") {
        return Found { outcome: Outcome::broken(why), line: None };
    }
    match key.source {
        Source::Guest | Source::Engine | Source::Host => match scenario.facts.get(&(key.source, key.fact.clone())) {
            Some(seen) => Found { outcome: seen.fact.outcome.clone(), line: Some(seen.line) },
            None => Found { outcome: Outcome::broken(missing(scenario)), line: None },
        },
        Source::Witness => in_ledger(record, scenario, "witness", key),
        Source::Proxy => in_ledger(record, scenario, "proxy", key),
    }
}

/// The scenario a condition means: `netns` stands for the one of this init runtime.
fn scenario_of<'a>(key: &'a Key, instance: Option<&'a str>) -> &'a str {
    match instance {
        Some(instance) if key.scenario == "netns" => instance,
        Some(_) | None => &key.scenario,
    }
}

fn missing(scenario: &ScenarioRecord) -> String {
    match scenario.problems.first() {
        Some((stage, why, _)) => format!("not reported; {stage}: {why}"),
        None => "not reported".to_owned(),
    }
}

fn in_ledger(record: &Record, scenario: &ScenarioRecord, at: &str, key: &Key) -> Found {
    let Some(seen) = scenario.facts.get(&(Source::Guest, key.fact.clone())) else {
        return Found { outcome: Outcome::broken(missing(scenario)), line: None };
    };
    let arrived: Vec<_> = record.sightings(at, seen).collect();
    if let Some(first) = arrived.first() {
        let p = &first.packet;
        let text = format!("arrived at the {at}: {} port {} to {} port {}", p.src, p.sport, p.dst, p.dport);
        return Found { outcome: Outcome::allowed(text), line: Some(first.line) };
    }
    Found { outcome: absence(scenario, seen, at), line: scenario.drained.as_ref().map(|d| d.2) }
}

/// Nothing was seen. That means something only if the attempt was made and the ledger is complete.
fn absence(scenario: &ScenarioRecord, seen: &Seen, at: &str) -> Outcome {
    if let Some((_, why)) = unsettled(&seen.fact.outcome) {
        return match &seen.fact.outcome {
            Outcome::Skipped { .. } => seen.fact.outcome.clone(),
            _ => Outcome::broken(why),
        };
    }
    if !was_made(&seen.fact.outcome) || seen.fact.sent.is_none() {
        return Outcome::broken(format!("the attempt was not made: {}", seen.fact.outcome));
    }
    match &scenario.drained {
        Some((true, ..)) => {
            Outcome::refused("unseen", format!("nothing at the {at}; the guest: {}", seen.fact.outcome))
        }
        Some((false, why, _)) => Outcome::broken(format!("the ledger is not complete: {why}")),
        None => Outcome::broken("the ledger was not completed"),
    }
}
