//! How an attempt ended: what the ledgers say, what the guest says, and the control without which neither counts.

use awf_probe_matrix::{
    Capability, Cell, EgressWant, Model, ModelNetwork, Outcome, Rejection, Result_, Sighting, Source, Verdict,
};

use awf_probe_probes::{ATTEMPTS, Attempt, Payload, Sink};

use super::cell;
use crate::{
    event::PlannedCell,
    record::{LedgerLine, Record, ScenarioRecord, Seen},
    scenario::egress::{NO_HOST_RULES, name},
};

mod contained;
mod control;
pub(super) mod dual;
pub(super) mod guard;
mod proxied;
mod tampered;

/// How one connection, datagram or request ended, and why that is believed.
struct Ending {
    result: Result_,
    reason: String,
    evidence: Vec<Sighting>,
}

impl Ending {
    fn new(result: Result_, reason: impl Into<String>, evidence: Vec<Sighting>) -> Self {
        Self { result, reason: reason.into(), evidence }
    }
}

/// Judges one egress cell.
pub(super) fn judge(record: &Record, capability: &Capability, planned: &PlannedCell, models: &[Model]) -> Cell {
    let id = planned.model.as_deref().unwrap_or_default();
    let scenario_name = name(id, planned.backend.as_deref(), false);
    let inconclusive =
        |why: &str| cell_of(planned, capability.want, Ending::new(Result_::Inconclusive, why.to_owned(), vec![]));
    let Some(model) = models.iter().find(|m| m.id == id) else {
        return inconclusive("this catalogue does not know the model");
    };
    let scenario = match tried(record, planned, capability.want, &scenario_name) {
        Ok(scenario) => scenario,
        Err(untold) => return *untold,
    };
    let init = scenario.facts.get(&(Source::Engine, "init".to_owned()));
    let attempts = parts(scenario, &capability.attempt);
    if attempts.is_empty() {
        let why =
            scenario.problems.first().map_or("not reported".to_owned(), |(s, w, _)| format!("not reported; {s}: {w}"));
        return inconclusive(&why);
    }
    let Some(attempt) = ATTEMPTS.iter().find(|a| a.id == capability.attempt) else {
        return inconclusive("this version does not know the attempt");
    };
    let look = Look { record, scenario, runtime: &planned.runtime, attempt, model, label: "", controls: IPV4 };
    let endings: Vec<Ending> = attempts
        .into_iter()
        .map(|seen| match (capability.want, attempt.payload) {
            (Some(EgressWant::Contained), Payload::Tamper(tampering)) => look.tampered(seen, tampering),
            (Some(EgressWant::Contained), _) => look.contained(seen),
            (Some(EgressWant::Denied), _) => look.denied(seen),
            (Some(EgressWant::Served), Payload::Peer(..)) => look.neighbour(seen),
            (Some(EgressWant::Served), _) => look.served(seen),
            (None, _) => Ending::new(Result_::Inconclusive, "the catalogue does not say how it should end", vec![]),
        })
        .collect();
    let parts: Vec<&Seen> = parts(scenario, &capability.attempt);
    let mut worst = combine(endings);
    let end = scenario.facts.get(&(Source::Guest, format!("{}.end", attempt.id))).map(|s| &s.fact.outcome);
    let arrived = matches!(worst.result, Result_::Leaked | Result_::Residual);
    if !matches!(end, Some(Outcome::Value { value }) if value == "ok") && !arrived {
        let how = end.map_or("it did not say how it ended".to_owned(), ToString::to_string);
        worst.result = Result_::Inconclusive;
        worst.reason = format!("the probe did not come to its end: {how}");
    }
    let missing = unreported(scenario, attempt);
    if !missing.is_empty() && worst.result != Result_::Leaked {
        let ports: Vec<String> = missing.iter().map(u16::to_string).collect();
        worst.result = Result_::Inconclusive;
        worst.reason = format!("not reported: port {}", ports.join(", "));
    }
    let rules = scenario.facts.get(&(Source::Guest, "rules".to_owned()));
    for seen in init.into_iter().chain(rules) {
        let source = match (seen.fact.name.as_str(), model.in_agent) {
            ("init", _) => "engine, init container",
            (_, true) => "entrypoint",
            (_, false) => "init container",
        };
        worst.evidence.push(Sighting {
            source: source.to_owned(),
            saw: seen.fact.outcome.to_string(),
            journal_line: Some(seen.line),
        });
        if worst.result == Result_::Leaked && !matches!(seen.fact.outcome, Outcome::Allowed { .. }) {
            worst.reason = format!("{}; the rules were not installed: {}", worst.reason, seen.fact.outcome);
        }
    }
    let rejection = (worst.result == Result_::Blocked).then(|| rejection(scenario, &capability.attempt, &parts));
    Cell { rejection, ..cell_of(planned, capability.want, worst) }
}

/// Whether and when the guest learned that its attempt was blocked.
fn rejection(scenario: &ScenarioRecord, attempt: &str, parts: &[&Seen]) -> Rejection {
    let waited = |s: &&&Seen| matches!(s.fact.outcome, Outcome::TimedOut { .. });
    let silent = parts.iter().filter(waited).count();
    let end = scenario.facts.get(&(Source::Guest, format!("{attempt}.end")));
    Rejection {
        told: (parts.len() - silent) as u64,
        silent: silent as u64,
        after_ms: end.and_then(|e| e.fact.elapsed_ms).unwrap_or(0),
    }
}

/// The scenario of a model, or the cell of one that was not tried, or whose sandbox is not believed.
fn tried<'a>(
    record: &'a Record,
    planned: &PlannedCell,
    want: Option<EgressWant>,
    name: &str,
) -> Result<&'a ScenarioRecord, Box<Cell>> {
    let inconclusive = |why: &str| Box::new(cell_of(planned, want, Ending::new(Result_::Inconclusive, why, vec![])));
    let skipped = |reason: &str, why: &str, line| {
        let mut skipped = cell(planned, Verdict::Skipped, reason);
        skipped.evidence.push(ledger("engine", why, line));
        Box::new(skipped)
    };
    let scenario = record.get(&planned.runtime, name).ok_or_else(|| inconclusive("the model was not tried"))?;
    if let Some((_, why, line)) = scenario.problems.iter().find(|(stage, ..)| stage == NO_HOST_RULES) {
        return Err(skipped(&format!("the host cannot take the model's rules: {why}"), why, *line));
    }
    if let Some((why, line)) = record.unsupported(&planned.runtime, name) {
        return Err(skipped(why, why, line));
    }
    match record.stranger(&planned.runtime, scenario).filter(|_| scenario.started) {
        Some(why) => Err(inconclusive(&why)),
        None => Ok(scenario),
    }
}

fn cell_of(planned: &PlannedCell, want: Option<EgressWant>, ending: Ending) -> Cell {
    let verdict = match ending.result {
        Result_::Leaked => Verdict::Fail,
        // A model that blocks what is allowed is unusable, not secure.
        Result_::Blocked | Result_::Proxied | Result_::RefusedAtSource if want == Some(EgressWant::Served) => {
            Verdict::Fail
        }
        Result_::Blocked | Result_::Proxied | Result_::RefusedAtSource | Result_::Served => Verdict::Pass,
        // Held back for part of what could be meant by it; no requirement rests on such a cell.
        Result_::Residual => Verdict::Partial,
        Result_::Inconclusive => Verdict::Inconclusive,
        Result_::NotApplicable => Verdict::NotApplicable,
    };
    Cell { result: Some(ending.result), evidence: ending.evidence, ..cell(planned, verdict, &ending.reason) }
}

/// The facts of an attempt: one, or one for each port of its list.
fn parts<'a>(scenario: &'a ScenarioRecord, attempt: &str) -> Vec<&'a Seen> {
    let ports = format!("{attempt}.");
    let mine = |name: &str| {
        name == attempt || name.strip_prefix(&ports).is_some_and(|p| p.bytes().all(|b| b.is_ascii_digit()))
    };
    scenario.facts.iter().filter(|((s, n), _)| *s == Source::Guest && mine(n)).map(|(_, seen)| seen).collect()
}

/// Ports of an attempt's list that the guest said nothing about.
fn unreported(scenario: &ScenarioRecord, attempt: &Attempt) -> Vec<u16> {
    let reported = |p: &u16| scenario.facts.contains_key(&(Source::Guest, format!("{}.{p}", attempt.id)));
    attempt.parts().iter().copied().filter(|p| !reported(p)).collect()
}

/// The list ends as its worst part does.
fn combine(endings: Vec<Ending>) -> Ending {
    let rank = |r: Result_| match r {
        Result_::Leaked => 0,
        Result_::Inconclusive => 1,
        Result_::Residual => 2,
        Result_::NotApplicable => 3,
        Result_::Proxied => 4,
        Result_::RefusedAtSource => 5,
        Result_::Blocked => 6,
        Result_::Served => 7,
    };
    let total = endings.len();
    let mut endings = endings;
    endings.sort_by_key(|e| rank(e.result));
    let worst = endings.first().map(|e| e.result);
    let same = endings.iter().filter(|e| Some(e.result) == worst).count();
    let mut all = endings.into_iter();
    let Some(mut first) = all.next() else {
        return Ending::new(Result_::Inconclusive, "not reported", vec![]);
    };
    if total > 1 {
        first.reason = format!("{same} of {total} {}: {}", first.result.word(), first.reason);
        first.evidence.extend(all.flat_map(|e| e.evidence).take(60));
    }
    first
}

struct Look<'a> {
    record: &'a Record,
    scenario: &'a ScenarioRecord,
    runtime: &'a str,
    attempt: &'static Attempt,
    model: &'a Model,
    /// What stands before the names of its facts: empty, or the failure they were made in.
    label: &'a str,
    controls: Controls,
}

/// Where the same attempts are made with nothing enforcing.
#[derive(Clone, Copy)]
struct Controls {
    open: &'static str,
    /// With NET_RAW.
    raw: &'static str,
    /// Whether each label's attempts have destinations of their own, so that one names its attempt.
    apart: bool,
}

const IPV4: Controls = Controls { open: "egress[open]", raw: "egress[open]+raw", apart: false };
const IPV6: Controls = Controls { open: "ipv6[open]", raw: "ipv6[open]+raw", apart: true };

impl Look<'_> {
    /// An arrival: a documented risk of the attempt where it has one, else a leak.
    fn arrival(&self, source: &str, text: String, evidence: Vec<Sighting>) -> Ending {
        // On an internal network no resolver is approved: every name that gets out got around something.
        let name = matches!(self.attempt.payload, Payload::Embedded(_) | Payload::Search | Payload::Approved);
        // What is to stay on the link has no business at the witness.
        let strayed = self.attempt.sink != Sink::Witness && source == "witness";
        let unapproved = name && self.model.network == ModelNetwork::Internal;
        let documented = !self.attempt.residual.is_empty() && !strayed && !unapproved;
        if documented {
            return Ending::new(Result_::Residual, format!("{}: {text}", self.attempt.residual), evidence);
        }
        Ending::new(Result_::Leaked, text, evidence)
    }

    /// Whether somebody answered. Of what was made by hand the guest only knows that it was sent.
    fn answered(&self, seen: &Seen) -> bool {
        // The engine's resolver stands in the sandbox and answers by itself, whether or not it asked anybody.
        let sent_only = matches!(
            self.attempt.payload,
            Payload::GatewayFrame | Payload::SidecarFrame | Payload::Embedded(_) | Payload::Search
        );
        // A status is an answer, too, whatever it says.
        let status = matches!(&seen.fact.outcome, Outcome::Refused { errno, .. } if errno.starts_with("HTTP "));
        (matches!(seen.fact.outcome, Outcome::Allowed { .. }) || status) && !sent_only
    }

    /// Where this attempt was first seen to have arrived, other than at the proxy.
    fn first_arrival(&self, seen: &Seen) -> Option<(String, String, u64)> {
        let nonce = seen.fact.sent.as_ref().map(|s| s.nonce.as_str()).unwrap_or_default();
        let at_witness = self.direct(seen).map(|(text, line)| ("witness".to_owned(), text, line));
        match self.attempt.sink {
            _ if at_witness.is_some() => at_witness,
            Sink::Witness => None,
            Sink::Host => {
                let answered = self.record.http.iter().find(|(.., path, _)| !nonce.is_empty() && path.contains(nonce));
                answered.map(|(client, _, _, line)| {
                    ("host".to_owned(), format!("a listener on the host served {client}"), *line)
                })
            }
            Sink::Neighbour => {
                let mut at = self.record.with_nonce(nonce).filter(|l| l.at == "sidecar" && !nonce.is_empty());
                at.next().map(|l| {
                    let text = format!("{} to {} arrived at a neighbour", l.packet.src, l.packet.dst);
                    ("neighbour".to_owned(), text, l.line)
                })
            }
        }
    }

    /// The first packet of this attempt that reached the witness and not from the proxy, and its line. An attempt's
    /// destination is its own: what the agent sends there is this attempt, whatever source port its stack chose.
    fn direct(&self, seen: &Seen) -> Option<(String, u64)> {
        let sent = seen.fact.sent.as_ref()?;
        let mine = |l: &&LedgerLine| {
            let p = &l.packet;
            let port = sent.dport == 0 || p.dport == sent.dport || (p.sport, p.dport) == (0, 0);
            l.at == "witness" && (p.dst, p.proto) == (sent.dst, sent.proto) && port
        };
        let known = self.record.sightings("witness", seen).filter(|l| !self.record.proxies.contains(&l.packet.src));
        // What was sent before the rules stood has the same destination as what is sent over it afterwards.
        // Of a control of tampering, all acts have one destination.
        let shared = matches!(self.attempt.payload, Payload::Tamper(_)) && seen.fact.name != self.attempt.id;
        // Nor has what is made again and again while the guard fails.
        let labelled = !self.label.is_empty() && !self.controls.apart;
        let own = !matches!(self.attempt.payload, Payload::Held) && !shared && !labelled;
        let first = known.chain(self.record.from(seen.address).filter(mine).filter(|_| own)).next()?;
        let p = &first.packet;
        let text = format!("{} port {} to {} port {} arrived at the witness", p.src, p.sport, p.dst, p.dport);
        Some((text, first.line))
    }

    /// Whether a control arrived. Where its flow or its nonce is known, nothing else will do.
    fn arrived(&self, seen: &Seen) -> bool {
        let known = seen.fact.sent.as_ref().is_some_and(|s| s.sport != 0);
        if known && self.attempt.sink == Sink::Witness {
            return self.record.sightings("witness", seen).any(|l| !self.record.proxies.contains(&l.packet.src));
        }
        self.first_arrival(seen).is_some()
    }

    /// The same attempt (the same port of it) in another scenario of the same runtime.
    fn control(&self, scenario: &str, seen: &Seen) -> Option<&Seen> {
        let name = seen.fact.name.as_str();
        let name = if self.label.is_empty() { name } else { name.strip_prefix(self.label)?.strip_prefix('.')? };
        self.control_fact(scenario, name)
    }

    fn control_fact(&self, scenario: &str, fact: &str) -> Option<&Seen> {
        let record = self.record.get(self.runtime, scenario)?;
        if self.record.stranger(self.runtime, record).is_some() {
            return None;
        }
        record.facts.get(&(Source::Guest, fact.to_owned()))
    }

    fn complete(&self) -> Result<u64, String> {
        match &self.scenario.drained {
            Some((true, _, line)) => Ok(*line),
            Some((false, why, _)) => Err(format!("the ledger is not complete: {why}")),
            None => Err("the ledger was not completed".to_owned()),
        }
    }

    fn control_line(&self, model: &str, seen: &Seen) -> Sighting {
        match self.first_arrival(seen) {
            Some((_, text, line)) => ledger(&format!("control, {model}"), &text, line),
            None => ledger(&format!("control, {model}"), &format!("did not arrive: {}", seen.fact.outcome), seen.line),
        }
    }
}

fn guest(seen: &Seen) -> Sighting {
    Sighting {
        source: "guest".to_owned(),
        saw: format!("{}: {}", seen.fact.name, seen.fact.outcome),
        journal_line: Some(seen.line),
    }
}

fn ledger(source: &str, saw: &str, line: u64) -> Sighting {
    Sighting { source: source.to_owned(), saw: saw.to_owned(), journal_line: Some(line) }
}
