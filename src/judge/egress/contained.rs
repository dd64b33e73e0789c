//! Attempts that must end at the proxy or nowhere.

use awf_probe_matrix::{Result_, Sighting};
use awf_probe_probes::{Payload, Sink};

use super::{
    Ending, Look,
    control::{cannot_send_frames, is_refused_at_source, no_embedded_resolver, no_such_network},
    guest, ledger,
};
use crate::{
    record::{Seen, was_made},
    scenario::dual::OPTIONS,
};

impl Look<'_> {
    /// It must end at the proxy or nowhere.
    pub(super) fn contained(&self, seen: &Seen) -> Ending {
        let mut evidence = vec![guest(seen)];
        let nonce = seen.fact.sent.as_ref().map(|s| s.nonce.as_str()).unwrap_or_default();
        let passed_on = self
            .record
            .with_nonce(nonce)
            .find(|l| l.at == "witness" && !nonce.is_empty() && self.record.proxies.contains(&l.packet.src));
        if let Some(l) = passed_on {
            let text = format!("the proxy passed it on: {} to {} arrived at the witness", l.packet.src, l.packet.dst);
            evidence.push(ledger("witness", &text, l.line));
            return Ending::new(Result_::Leaked, text, evidence);
        }
        if let Some((source, text, line)) = self.first_arrival(seen) {
            evidence.push(ledger(&source, &text, line));
            return self.arrival(&source, text, evidence);
        }
        if let Some(l) = self.record.unexplained(self.scenario) {
            let p = &l.packet;
            let text = format!(
                "a packet of this sandbox that no attempt explains arrived at the witness: protocol {}, {} to {} port {}",
                p.proto, p.src, p.dst, p.dport
            );
            evidence.push(ledger("witness", &text, l.line));
            return Ending::new(Result_::Inconclusive, text, evidence);
        }
        if !was_made(&seen.fact.outcome) {
            let why = format!("the attempt was not made: {}", seen.fact.outcome);
            return Ending::new(Result_::Inconclusive, why, evidence);
        }
        // Without a nonce and a flow nobody can look for it: not to be found then says nothing.
        if seen.fact.sent.is_none() && !is_refused_at_source(&seen.fact.outcome) {
            let why = format!("the guest does not say what it sent, so no ledger can be asked: {}", seen.fact.outcome);
            return Ending::new(Result_::Inconclusive, why, evidence);
        }
        // What stays on the link also reaches the proxy; that is not where it is to be stopped.
        let at_proxy = self.record.sightings("proxy", seen).next().filter(|_| self.attempt.sink == Sink::Witness);
        if let Some(first) = at_proxy {
            let p = &first.packet;
            let text = format!("arrived at the proxy ({} port {}) and not at the witness", p.dst, p.dport);
            evidence.push(ledger("proxy", &text, first.line));
            return match self.complete() {
                Ok(line) => {
                    evidence.push(ledger("witness", "nothing", line));
                    // That nothing arrived there says something only where the witness sees such an attempt at all.
                    let Some((model, control)) = self.open_control(seen) else {
                        let why = format!("{text}, but without rules it does not arrive at the witness either");
                        return Ending::new(Result_::Inconclusive, why, evidence);
                    };
                    evidence.push(self.control_line(model, control));
                    Ending::new(Result_::Proxied, text, evidence)
                }
                Err(why) => Ending::new(Result_::Inconclusive, why, evidence),
            };
        }
        let line = match self.complete() {
            Ok(line) => line,
            Err(why) => return Ending::new(Result_::Inconclusive, why, evidence),
        };
        evidence.push(ledger("witness", "nothing", line));
        let tapped = self.record.sightings("tap", seen).next();
        if let Some(t) = tapped {
            evidence.push(ledger("tap", &format!("it left the sandbox (seen on {})", t.packet.link), t.line));
        }
        self.with_control(seen, evidence, tapped.is_some())
    }

    /// Nothing arrived. Is that worth anything? Only if the same attempt does arrive where nothing enforces.
    pub(super) fn with_control(&self, seen: &Seen, mut evidence: Vec<Sighting>, left: bool) -> Ending {
        let how = match (left, seen.fact.sent.as_ref().is_some_and(|s| s.sport != 0)) {
            (true, _) => "it left the sandbox and arrived nowhere",
            (false, true) => "it was made and never left the sandbox",
            // Without its port nobody can say which packet would have been it.
            (false, false) => "it was made and arrived nowhere",
        };
        let unheard = || {
            Ending::new(
                Result_::Inconclusive,
                "nothing of this sandbox arrived anywhere, so its network may be dead",
                vec![],
            )
        };
        let control = self.control(self.controls.open, seen);
        if let Some(c) = control.filter(|c| self.arrived(c)) {
            evidence.push(self.control_line("open", c));
            if self.answered(seen) {
                let reason = format!("answered, but neither by the witness nor by the proxy: {}", seen.fact.outcome);
                return Ending::new(Result_::Inconclusive, reason, evidence);
            }
            if !self.record.was_heard(self.scenario) {
                return Ending { evidence, ..unheard() };
            }
            return Ending::new(Result_::Blocked, format!("{how}; {}", seen.fact.outcome), evidence);
        }
        // Targets that no model lets an agent reach have another control: that they are there.
        if let Some(line) = self.target_is_alive() {
            evidence.push(line);
            if self.answered(seen) {
                let reason = format!("answered, but not by what was asked: {}", seen.fact.outcome);
                return Ending::new(Result_::Inconclusive, reason, evidence);
            }
            if !self.record.was_heard(self.scenario) {
                return Ending { evidence, ..unheard() };
            }
            return Ending::new(Result_::Blocked, format!("{how}; {}", seen.fact.outcome), evidence);
        }
        if let Some(c) = self.control(self.controls.raw, seen) {
            evidence.push(self.control_line("open with NET_RAW", c));
            let source = is_refused_at_source(&seen.fact.outcome);
            if self.arrived(c) && source {
                let reason = format!("{}; with NET_RAW the same attempt arrives", seen.fact.outcome);
                return Ending::new(Result_::RefusedAtSource, reason, evidence);
            }
            if source && (is_refused_at_source(&c.fact.outcome) || cannot_send_frames(&c.fact.outcome)) {
                let reason = format!("the runtime refuses it even with NET_RAW: {}", c.fact.outcome);
                return Ending::new(Result_::NotApplicable, reason, evidence);
            }
        }
        let Some(c) = control else {
            return Ending::new(Result_::Inconclusive, "there is no control: `open` was not measured", evidence);
        };
        evidence.push(self.control_line("open", c));
        // What needs NET_RAW has a control of its own, which says whether it can be made.
        let source = is_refused_at_source(&seen.fact.outcome) && is_refused_at_source(&c.fact.outcome);
        let (result, reason) = if source && !self.needs_raw() {
            let why = format!("the sandbox cannot make it, with nothing enforcing either: {}", c.fact.outcome);
            (Result_::NotApplicable, why)
        } else if no_such_network(seen) && no_such_network(c) {
            let why = if self.controls.apart {
                format!("the sandbox has no IPv6, although the namespace it joined has: {}", c.fact.outcome)
            } else {
                format!("the agent's network is IPv4 only, as AWF's is: {}", c.fact.outcome)
            };
            (Result_::NotApplicable, why)
        } else if no_embedded_resolver(seen) && no_embedded_resolver(c) {
            let why = format!("the sandbox has no resolver of its own: {}", c.fact.outcome);
            (Result_::NotApplicable, why)
        } else {
            (Result_::Inconclusive, format!("it does not arrive under `open` either: {}", c.fact.outcome))
        };
        Ending::new(result, reason, evidence)
    }

    /// Whether it has a control that is given NET_RAW: over IPv6 options of the header need it, too.
    fn needs_raw(&self) -> bool {
        self.attempt.raw || self.controls.apart && OPTIONS.contains(&self.attempt.id)
    }

    /// The same attempt where nothing enforces, if it arrives there.
    pub(super) fn open_control(&self, seen: &Seen) -> Option<(&'static str, &Seen)> {
        [("open", self.controls.open), ("open with NET_RAW", self.controls.raw)]
            .into_iter()
            .find_map(|(model, scenario)| Some((model, self.control(scenario, seen).filter(|c| self.arrived(c))?)))
    }

    /// The target of an attempt that arrives under no model, seen alive from where it may be reached.
    fn target_is_alive(&self) -> Option<Sighting> {
        match self.attempt.payload {
            Payload::OtherBridge => {
                let twin = self.control_fact("egress[open]", "sidecar.api-proxy.10000")?;
                let (text, line) = self.reached(twin)?;
                Some(ledger("control, the same listener from its own bridge", &text, line))
            }
            // The listener on the host answers whoever shares its namespaces or reaches its address.
            Payload::AbstractHost => {
                let twin = self.control_fact("egress[open]", "link.gateway")?;
                let nonce = &twin.fact.sent.as_ref()?.nonce;
                let (.., line) = self.record.http.iter().find(|(.., path, _)| path.contains(nonce.as_str()))?;
                Some(ledger("control, the host's other listener", "served the agent at the gateway's address", *line))
            }
            _ => None,
        }
    }
}
