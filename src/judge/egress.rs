//! How an attempt ended: what the ledgers say, what the guest says, and the control without which neither counts.

use awf_probe_matrix::{Capability, Cell, EgressWant, Model, Outcome, Result_, Sighting, Source, Verdict};

use awf_probe_probes::{ATTEMPTS, Attempt, Payload};

use super::cell;
use crate::{
    event::PlannedCell,
    record::{LedgerLine, Record, ScenarioRecord, Seen, was_made},
    scenario::egress::name,
};

/// How one connection, datagram or request ended, and why that is believed.
struct Ending {
    result: Result_,
    reason: String,
    evidence: Vec<Sighting>,
}

/// Judges one egress cell.
pub(super) fn judge(record: &Record, capability: &Capability, planned: &PlannedCell, models: &[Model]) -> Cell {
    let model = planned.model.as_deref().unwrap_or_default();
    let scenario_name = name(model, planned.backend.as_deref(), false);
    let inconclusive = |why: &str| {
        cell_of(
            planned,
            capability.want,
            Ending { result: Result_::Inconclusive, reason: why.to_owned(), evidence: vec![] },
        )
    };
    if !models.iter().any(|m| m.id == model) {
        return inconclusive("this catalogue does not know the model");
    }
    let Some(scenario) = record.get(&planned.runtime, &scenario_name) else {
        return inconclusive("the model was not tried");
    };
    if let Some(why) = record.stranger(&planned.runtime, scenario).filter(|_| scenario.started) {
        return inconclusive(&why);
    }
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
    let look = Look { record, scenario, runtime: &planned.runtime, attempt };
    let endings: Vec<Ending> = attempts
        .into_iter()
        .map(|seen| match capability.want {
            Some(EgressWant::Contained) => look.contained(seen),
            Some(EgressWant::Denied) => look.denied(seen),
            Some(EgressWant::Served) => look.served(seen),
            None => Ending {
                result: Result_::Inconclusive,
                reason: "the catalogue does not say how it should end".to_owned(),
                evidence: vec![],
            },
        })
        .collect();
    let mut worst = combine(endings);
    let end = scenario.facts.get(&(Source::Guest, format!("{}.end", attempt.id))).map(|s| &s.fact.outcome);
    if !matches!(end, Some(Outcome::Value { value }) if value == "ok") && worst.result != Result_::Leaked {
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
        let source = if seen.fact.name == "init" { "engine, init container" } else { "init container" };
        worst.evidence.push(Sighting {
            source: source.to_owned(),
            saw: seen.fact.outcome.to_string(),
            journal_line: Some(seen.line),
        });
        if worst.result == Result_::Leaked && !matches!(seen.fact.outcome, Outcome::Allowed { .. }) {
            worst.reason = format!("{}; the rules were not installed: {}", worst.reason, seen.fact.outcome);
        }
    }
    cell_of(planned, capability.want, worst)
}

fn cell_of(planned: &PlannedCell, want: Option<EgressWant>, ending: Ending) -> Cell {
    let verdict = match ending.result {
        Result_::Leaked => Verdict::Fail,
        // A model that blocks what is allowed is unusable, not secure.
        Result_::Blocked | Result_::Proxied | Result_::RefusedAtSource if want == Some(EgressWant::Served) => {
            Verdict::Fail
        }
        Result_::Blocked | Result_::Proxied | Result_::RefusedAtSource | Result_::Served => Verdict::Pass,
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
    let ports = match attempt.payload {
        Payload::Tcp(ports) if ports.len() > 1 => ports,
        _ => &[],
    };
    let reported = |p: &u16| scenario.facts.contains_key(&(Source::Guest, format!("{}.{p}", attempt.id)));
    ports.iter().copied().filter(|p| !reported(p)).collect()
}

/// The list ends as its worst part does.
fn combine(endings: Vec<Ending>) -> Ending {
    let rank = |r: Result_| match r {
        Result_::Leaked => 0,
        Result_::Inconclusive => 1,
        Result_::NotApplicable => 2,
        Result_::Proxied => 3,
        Result_::RefusedAtSource => 4,
        Result_::Blocked => 5,
        Result_::Served => 6,
    };
    let total = endings.len();
    let mut endings = endings;
    endings.sort_by_key(|e| rank(e.result));
    let worst = endings.first().map(|e| e.result);
    let same = endings.iter().filter(|e| Some(e.result) == worst).count();
    let mut all = endings.into_iter();
    let Some(mut first) = all.next() else {
        return Ending { result: Result_::Inconclusive, reason: "not reported".to_owned(), evidence: vec![] };
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
}

impl Look<'_> {
    /// It must end at the proxy or nowhere.
    fn contained(&self, seen: &Seen) -> Ending {
        let mut evidence = vec![guest(seen)];
        let ending = |result, reason: String, evidence| Ending { result, reason, evidence };
        let nonce = seen.fact.sent.as_ref().map(|s| s.nonce.as_str()).unwrap_or_default();
        let passed_on = self.record.packets.iter().find(|l| {
            l.at == "witness"
                && !nonce.is_empty()
                && l.packet.nonce == nonce
                && self.record.proxies.contains(&l.packet.src)
        });
        if let Some(l) = passed_on {
            let text = format!("the proxy passed it on: {} to {} arrived at the witness", l.packet.src, l.packet.dst);
            evidence.push(ledger("witness", &text, l.line));
            return ending(Result_::Leaked, text, evidence);
        }
        if let Some((text, line)) = self.direct(seen) {
            evidence.push(ledger("witness", &text, line));
            return ending(Result_::Leaked, text, evidence);
        }
        if let Some(l) = self.record.unexplained(self.scenario) {
            let p = &l.packet;
            let text = format!(
                "a packet of this sandbox that no attempt explains arrived at the witness: protocol {}, {} to {} port {}",
                p.proto, p.src, p.dst, p.dport
            );
            evidence.push(ledger("witness", &text, l.line));
            return ending(Result_::Inconclusive, text, evidence);
        }
        if !was_made(&seen.fact.outcome) {
            return ending(Result_::Inconclusive, format!("the attempt was not made: {}", seen.fact.outcome), evidence);
        }
        if let Some(first) = self.record.sightings("proxy", seen).next() {
            let p = &first.packet;
            let text = format!("arrived at the proxy ({} port {}) and not at the witness", p.dst, p.dport);
            evidence.push(ledger("proxy", &text, first.line));
            return match self.complete() {
                Ok(line) => {
                    evidence.push(ledger("witness", "nothing", line));
                    ending(Result_::Proxied, text, evidence)
                }
                Err(why) => ending(Result_::Inconclusive, why, evidence),
            };
        }
        let line = match self.complete() {
            Ok(line) => line,
            Err(why) => return ending(Result_::Inconclusive, why, evidence),
        };
        evidence.push(ledger("witness", "nothing", line));
        let tapped = self.record.sightings("tap", seen).next();
        if let Some(t) = tapped {
            evidence.push(ledger("tap", &format!("it left the sandbox (seen on {})", t.packet.link), t.line));
        }
        self.with_control(seen, evidence, tapped.is_some())
    }

    /// Nothing arrived. Is that worth anything? Only if the same attempt does arrive where nothing enforces.
    fn with_control(&self, seen: &Seen, mut evidence: Vec<Sighting>, left: bool) -> Ending {
        let ending = |result, reason: String, evidence| Ending { result, reason, evidence };
        let control = self.control("egress[open]", seen);
        if let Some(c) = control.filter(|c| self.arrived(c)) {
            evidence.push(control_line("open", c, self.record));
            if self.answered(seen) {
                let reason = format!("answered, but neither by the witness nor by the proxy: {}", seen.fact.outcome);
                return ending(Result_::Inconclusive, reason, evidence);
            }
            if !self.record.was_heard(self.scenario) {
                let reason = "nothing of this sandbox arrived anywhere, so its network may be dead".to_owned();
                return ending(Result_::Inconclusive, reason, evidence);
            }
            let how =
                if left { "it left the sandbox and arrived nowhere" } else { "it was made and never left the sandbox" };
            return ending(Result_::Blocked, format!("{how}; {}", seen.fact.outcome), evidence);
        }
        if let Some(c) = self.control("egress[open]+raw", seen) {
            evidence.push(control_line("open with NET_RAW", c, self.record));
            let source = is_refused_at_source(&seen.fact.outcome);
            if self.arrived(c) && source {
                let reason = format!("{}; with NET_RAW the same attempt arrives", seen.fact.outcome);
                return ending(Result_::RefusedAtSource, reason, evidence);
            }
            if source && (is_refused_at_source(&c.fact.outcome) || cannot_send_frames(&c.fact.outcome)) {
                let reason = format!("the runtime refuses it even with NET_RAW: {}", c.fact.outcome);
                return ending(Result_::NotApplicable, reason, evidence);
            }
        }
        match control {
            Some(c) => {
                evidence.push(control_line("open", c, self.record));
                // What needs NET_RAW has a control of its own, which says whether it can be made.
                let source = is_refused_at_source(&seen.fact.outcome) && is_refused_at_source(&c.fact.outcome);
                if source && !self.attempt.raw {
                    let reason =
                        format!("the sandbox cannot make it, with nothing enforcing either: {}", c.fact.outcome);
                    return ending(Result_::NotApplicable, reason, evidence);
                }
                if no_such_network(seen) && no_such_network(c) {
                    let reason = format!("the agent's network is IPv4 only, as AWF's is: {}", c.fact.outcome);
                    return ending(Result_::NotApplicable, reason, evidence);
                }
                let reason = format!("it does not arrive under `open` either: {}", c.fact.outcome);
                ending(Result_::Inconclusive, reason, evidence)
            }
            None => ending(Result_::Inconclusive, "there is no control: `open` was not measured".to_owned(), evidence),
        }
    }

    /// The proxy must decide against it.
    fn denied(&self, seen: &Seen) -> Ending {
        let mut evidence = vec![guest(seen)];
        let ending = |result, reason: String, evidence| Ending { result, reason, evidence };
        let nonce = seen.fact.sent.as_ref().map(|s| s.nonce.clone()).unwrap_or_default();
        let http = self.record.http.iter().find(|(_, host, path, _)| host.contains(&nonce) || path.contains(&nonce));
        if let Some((client, host, path, line)) = http.filter(|_| !nonce.is_empty()) {
            let text = format!("the witness served {host}{path} to {client}");
            evidence.push(ledger("witness", &text, *line));
            return ending(Result_::Leaked, text, evidence);
        }
        if let Some(first) = self.record.sightings("witness", seen).next() {
            let text = format!("a packet with its nonce arrived at the witness from {}", first.packet.src);
            evidence.push(ledger("witness", &text, first.line));
            return ending(Result_::Leaked, text, evidence);
        }
        if !was_made(&seen.fact.outcome) {
            return ending(Result_::Inconclusive, format!("the attempt was not made: {}", seen.fact.outcome), evidence);
        }
        let other = self.decisions(seen).find(|d| d.decision != "denied");
        let Some(decision) = other.or_else(|| self.decisions(seen).next()) else {
            return ending(
                Result_::Inconclusive,
                format!("the proxy decided nothing about it; {}", seen.fact.outcome),
                evidence,
            );
        };
        let text = format!("{} {}: {}", decision.status, decision.decision, decision.target);
        evidence.push(ledger("proxy", &text, decision.line));
        if decision.decision != "denied" {
            return ending(Result_::Leaked, format!("the proxy did not deny it: {text}"), evidence);
        }
        if self.answered(seen) {
            let reason = format!("the proxy denied it, and still it was answered: {}", seen.fact.outcome);
            return ending(Result_::Inconclusive, reason, evidence);
        }
        let allowed = parts(self.scenario, "proxy.allowed-https").into_iter().any(|s| self.witness_served(s).is_some());
        match (allowed, self.complete()) {
            (true, Ok(_)) => ending(Result_::Proxied, format!("the proxy answered {text}"), evidence),
            (false, _) => ending(
                Result_::Inconclusive,
                "the control failed: the proxy serves no allowed name here".to_owned(),
                evidence,
            ),
            (true, Err(why)) => ending(Result_::Inconclusive, why, evidence),
        }
    }

    /// It must arrive at its destination, through the proxy.
    fn served(&self, seen: &Seen) -> Ending {
        let mut evidence = vec![guest(seen)];
        let ending = |result, reason: String, evidence| Ending { result, reason, evidence };
        if let Some((text, line)) = self.direct(seen) {
            evidence.push(ledger("witness", &text, line));
            return ending(Result_::Leaked, format!("around the proxy: {text}"), evidence);
        }
        let denies = parts(self.scenario, "proxy.denied-name").into_iter().find_map(|s| {
            let denied = self.decisions(s).all(|d| d.decision == "denied");
            self.decisions(s).next().filter(|_| denied)
        });
        match (self.witness_served(seen), &seen.fact.outcome) {
            (Some((client, host, path, line)), Outcome::Allowed { .. }) => {
                let text = format!("the witness served {host}{path} to {client}");
                evidence.push(ledger("witness", &text, *line));
                let Some(d) = denies else {
                    return ending(
                        Result_::Inconclusive,
                        "the control failed: the proxy denied nothing here".to_owned(),
                        evidence,
                    );
                };
                evidence.push(ledger("control, proxy", &format!("{} {}: {}", d.status, d.decision, d.target), d.line));
                ending(Result_::Served, text, evidence)
            }
            (_, outcome) => {
                let control = self.control("egress[open]", seen);
                let works = control.is_some_and(|c| self.witness_served(c).is_some());
                if works {
                    return ending(Result_::Blocked, format!("an allowed name is not served: {outcome}"), evidence);
                }
                ending(Result_::Inconclusive, format!("not served, and not under `open` either: {outcome}"), evidence)
            }
        }
    }

    /// The request the witness answered for this attempt, if it came through the proxy.
    fn witness_served(&self, seen: &Seen) -> Option<&crate::record::HttpLine> {
        let nonce = &seen.fact.sent.as_ref()?.nonce;
        self.record.http.iter().find(|(client, host, ..)| {
            !nonce.is_empty() && self.record.proxies.contains(client) && host.contains(nonce.as_str())
        })
    }

    fn decisions(&self, seen: &Seen) -> impl Iterator<Item = &crate::record::DecisionLine> {
        let (sent, address) = (seen.fact.sent.clone(), seen.address);
        self.record.decisions.iter().filter(move |d| {
            sent.as_ref().is_some_and(|sent| {
                Some(d.client) == address
                    && (!sent.nonce.is_empty() && d.target.contains(&sent.nonce)
                        || self.attempt.id == "proxy.ip-literal" && d.target.contains(&sent.dst.to_string()))
            })
        })
    }

    /// The first packet of this attempt that reached the witness and not from the proxy, and its line. An attempt's
    /// destination is its own: what the agent sends there is this attempt, whatever source port its stack chose.
    fn direct(&self, seen: &Seen) -> Option<(String, u64)> {
        let sent = seen.fact.sent.as_ref()?;
        let there = |l: &&LedgerLine| {
            let p = &l.packet;
            l.at == "witness"
                && Some(p.src) == seen.address
                && (p.dst, p.proto) == (sent.dst, sent.proto)
                && (sent.dport == 0 || p.dport == sent.dport)
        };
        let known = self.record.sightings("witness", seen).filter(|l| !self.record.proxies.contains(&l.packet.src));
        let first = known.chain(self.record.packets.iter().filter(there)).next()?;
        let p = &first.packet;
        let text = format!("{} port {} to {} port {} arrived at the witness", p.src, p.sport, p.dst, p.dport);
        Some((text, first.line))
    }

    /// Whether somebody answered. Of a hand-made frame the guest only knows that it was sent.
    fn answered(&self, seen: &Seen) -> bool {
        matches!(seen.fact.outcome, Outcome::Allowed { .. }) && self.attempt.payload != Payload::PacketSocket
    }

    fn arrived(&self, seen: &Seen) -> bool {
        self.record.sightings("witness", seen).any(|l| !self.record.proxies.contains(&l.packet.src))
    }

    /// The same attempt (the same port of it) in another scenario of the same runtime.
    fn control(&self, scenario: &str, seen: &Seen) -> Option<&Seen> {
        let record = self.record.get(self.runtime, scenario)?;
        if self.record.stranger(self.runtime, record).is_some() {
            return None;
        }
        record.facts.get(&(Source::Guest, seen.fact.name.clone()))
    }

    fn complete(&self) -> Result<u64, String> {
        match &self.scenario.drained {
            Some((true, _, line)) => Ok(*line),
            Some((false, why, _)) => Err(format!("the ledger is not complete: {why}")),
            None => Err("the ledger was not completed".to_owned()),
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

fn control_line(model: &str, seen: &Seen, record: &Record) -> Sighting {
    let arrived = record.sightings("witness", seen).next();
    let text = arrived.map_or_else(
        || format!("did not arrive: {}", seen.fact.outcome),
        |l| format!("arrived at the witness from {} port {}", l.packet.src, l.packet.sport),
    );
    ledger(&format!("control, {model}"), &text, arrived.map_or(seen.line, |l| l.line))
}

/// The kernel would not even make the socket or the packet.
fn is_refused_at_source(outcome: &Outcome) -> bool {
    match outcome {
        Outcome::Refused { errno, detail } => {
            detail.starts_with("socket")
                && ["EPERM", "EACCES", "EPROTONOSUPPORT", "ESOCKTNOSUPPORT", "EAFNOSUPPORT"].contains(&errno.as_str())
        }
        _ => false,
    }
}

/// The runtime opens packet sockets, but does not let anything be written to them.
fn cannot_send_frames(outcome: &Outcome) -> bool {
    matches!(outcome, Outcome::Refused { errno, detail } if errno == "EOPNOTSUPP" && detail == "send on eth0")
}

/// There is no such network here at all. The lab routes all of IPv4, so this can only be said of IPv6.
fn no_such_network(seen: &Seen) -> bool {
    match (&seen.fact.outcome, &seen.fact.sent) {
        (Outcome::Refused { errno, .. }, Some(sent)) => {
            sent.dst.is_ipv6()
                && ["ENETUNREACH", "EHOSTUNREACH", "EAFNOSUPPORT", "EADDRNOTAVAIL"].contains(&errno.as_str())
        }
        _ => false,
    }
}
