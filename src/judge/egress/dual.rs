//! A model whose agent has IPv6: the ways out over it, each with its control, and what was done about IPv6.

use awf_probe_matrix::{Capability, Cell, Model, Outcome, Result_, Source, Verdict};
use awf_probe_probes::{ATTEMPTS, over_ipv6};

use super::{
    Ending, IPV6, Look, cell_of, combine,
    guard::{fact, said},
    guest, ledger, parts, tried,
};
use crate::{
    event::PlannedCell,
    record::{Record, ScenarioRecord, Seen},
    scenario::dual::{FORWARDS, GROUPS, NO_IPV6, OPEN, REOPENED, TREATMENTS, Treatment, has_way, name},
};

/// Judges one cell: a treatment, and a group of ways out.
pub(crate) fn judge(record: &Record, capability: &Capability, planned: &PlannedCell, models: &[Model]) -> Cell {
    let inconclusive = |why: &str| cell_of(planned, None, Ending::new(Result_::Inconclusive, why, vec![]));
    let id = planned.model.as_deref().unwrap_or_default();
    let Some(model) = models.iter().find(|m| m.id == id) else {
        return inconclusive("this catalogue does not know the model");
    };
    let known = capability.attempt.split_once('.').and_then(|(treatment, group)| {
        let treatment = TREATMENTS.into_iter().find(|t| t.name() == treatment)?;
        Some((treatment, GROUPS.iter().find(|(name, _)| *name == group)?.1))
    });
    let Some((treatment, ways)) = known else { return inconclusive("this version does not know the attempt") };
    let scenario = match tried(record, planned, None, &name(id, planned.backend.as_deref(), false)) {
        Ok(scenario) => scenario,
        Err(untold) => return *untold,
    };
    if !has_way(model) {
        return unforwarded(planned, scenario);
    }
    if let Some((_, why, line)) = scenario.problems.iter().find(|(stage, ..)| stage == NO_IPV6) {
        let evidence = vec![ledger("lab", why, *line)];
        let ending = Ending::new(Result_::Inconclusive, format!("the lab has no IPv6: {why}"), evidence);
        return Cell { verdict: Verdict::Skipped, result: None, ..cell_of(planned, None, ending) };
    }
    let mut worst = fold(ways.iter().flat_map(|way| one(record, planned, scenario, model, treatment, way)).collect());
    if worst.result == Result_::Leaked || worst.result == Result_::Residual {
        return cell_of(planned, None, told(scenario, treatment, worst));
    }
    if let Err(why) = stood_alone(record, planned, scenario, model, treatment) {
        return cell_of(planned, None, Ending { result: Result_::Inconclusive, reason: why, ..worst });
    }
    worst = told(scenario, treatment, worst);
    cell_of(planned, None, worst)
}

/// A model that enforces on the host: its rules are on a way that IPv6 takes only where the host forwards it.
fn unforwarded(planned: &PlannedCell, scenario: &ScenarioRecord) -> Cell {
    let Some(seen) = fact(scenario, Source::Host, FORWARDS) else {
        let why = "the host was not asked whether it forwards IPv6";
        return cell_of(planned, None, Ending::new(Result_::Inconclusive, why, vec![]));
    };
    let evidence = vec![ledger("host", &format!("net.ipv6.conf.all.forwarding: {}", seen.fact.outcome), seen.line)];
    match &seen.fact.outcome {
        Outcome::Value { value } if value == "0" || value == "absent" => {
            let why = "the model enforces on the host, between networks, and the host forwards no IPv6 there";
            cell_of(planned, None, Ending::new(Result_::NotApplicable, why, evidence))
        }
        _ => {
            let why = "the model enforces on the host, which forwards IPv6; the lab sends none that way";
            let ending = Ending::new(Result_::Inconclusive, why, evidence);
            Cell { verdict: Verdict::Skipped, result: None, ..cell_of(planned, None, ending) }
        }
    }
}

/// How each part of one attempt ended.
fn one(
    record: &Record,
    planned: &PlannedCell,
    scenario: &ScenarioRecord,
    model: &Model,
    treatment: Treatment,
    way: &str,
) -> Vec<Ending> {
    let Some(attempt) = over_ipv6().find(|a| a.id == way) else {
        return vec![Ending::new(Result_::Inconclusive, format!("this version does not know {way}"), vec![])];
    };
    let label = format!("{}.{way}", treatment.name());
    let mine = parts(scenario, &label);
    let mut endings = Vec::new();
    let all = attempt.parts().len().max(1);
    if mine.len() != all || !said(scenario, &format!("{label}.end"), "ok") {
        let problem = scenario.problems.first().map(|(s, w, _)| format!("; {s}: {w}")).unwrap_or_default();
        endings.push(Ending::new(Result_::Inconclusive, format!("{way} was not reported whole{problem}"), vec![]));
    }
    let look =
        Look { record, scenario, runtime: &planned.runtime, attempt, model, label: treatment.name(), controls: IPV6 };
    endings.extend(mine.into_iter().map(|seen| {
        let ending = look.contained(seen);
        Ending { reason: format!("{way}: {}", ending.reason), ..ending }
    }));
    endings
}

/// The worst of them. What cannot be made here at all says nothing of the rest, unless there is no rest.
fn fold(endings: Vec<Ending>) -> Ending {
    let (moot, rest): (Vec<_>, Vec<_>) = endings.into_iter().partition(|e| e.result == Result_::NotApplicable);
    combine(if rest.is_empty() { moot } else { rest })
}

/// That what closed the ways is this treatment, and not what was there before it.
fn stood_alone(
    record: &Record,
    planned: &PlannedCell,
    scenario: &ScenarioRecord,
    model: &Model,
    treatment: Treatment,
) -> Result<(), String> {
    if let Some(done) = treatment.done()
        && fact(scenario, Source::Guest, done).is_none()
    {
        return Err(format!("nobody says what was done: {done} was not reported"));
    }
    match treatment {
        Treatment::RulesV4 | Treatment::Ip6tables => Ok(()),
        // The rules of ip6tables came before, and must be gone.
        Treatment::AsAwf | Treatment::Sysctl => {
            let (label, _) = REOPENED;
            let attempt = ATTEMPTS.iter().find(|a| a.id == OPEN).ok_or("this version does not know the attempt")?;
            let look = Look { record, scenario, runtime: &planned.runtime, attempt, model, label, controls: IPV6 };
            let open = fact(scenario, Source::Guest, &format!("{label}.{OPEN}")).filter(|seen| look.arrived(seen));
            open.map(drop).ok_or_else(|| "the rules of ip6tables were not seen to be gone".to_owned())
        }
    }
}

/// With what was done about IPv6, and how that ended, in the reason.
fn told(scenario: &ScenarioRecord, treatment: Treatment, mut ending: Ending) -> Ending {
    let mut add = |seen: Option<&Seen>| ending.evidence.extend(seen.map(guest));
    // Why something leaks; of what is closed the ledgers alone say that it is.
    if ending.result == Result_::Leaked {
        add(fact(scenario, Source::Guest, "rules"));
    }
    if let Some(name) = treatment.done() {
        let done = fact(scenario, Source::Guest, name);
        add(done);
        match done.map(|seen| &seen.fact.outcome) {
            None => ending.reason = format!("{}; nothing was done: {name} was not reported", ending.reason),
            Some(Outcome::Allowed { .. }) => {}
            Some(other) => ending.reason = format!("{}; it was not done: {other}", ending.reason),
        }
    }
    ending
}
