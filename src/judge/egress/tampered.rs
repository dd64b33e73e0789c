//! Tampering: refused to AWF's user code, possible with the capabilities for it, and nothing gets out afterwards.

use awf_probe_matrix::{Outcome, Result_, Source};
use awf_probe_probes::Tampering;

use super::{Ending, Look, guest, ledger};
use crate::{
    record::{Seen, was_made},
    scenario::egress::TAMPER,
};

impl Look<'_> {
    /// What follows the act must not arrive; and that it does not must not be for want of trying.
    pub(super) fn tampered(&self, seen: &Seen, tampering: Tampering) -> Ending {
        let mut evidence = vec![guest(seen)];
        let act = self.scenario.facts.get(&(Source::Guest, format!("{}.op", self.attempt.id)));
        let Some(act) = act else {
            return Ending::new(Result_::Inconclusive, "the act was not reported", evidence);
        };
        evidence.push(guest(act));
        let refused = matches!(act.fact.outcome, Outcome::Refused { .. });
        if let Some((source, text, line)) = self.first_arrival(seen) {
            evidence.push(ledger(&source, &text, line));
            let how = if refused { "although the act was refused" } else { "after the act" };
            return Ending::new(Result_::Leaked, format!("{text}, {how}"), evidence);
        }
        if !was_made(&seen.fact.outcome) || !was_made(&act.fact.outcome) {
            let why = if was_made(&act.fact.outcome) { &seen.fact.outcome } else { &act.fact.outcome };
            return Ending::new(Result_::Inconclusive, format!("the attempt was not made: {why}"), evidence);
        }
        if seen.fact.sent.is_none() {
            let why = "the guest does not say what it sent afterwards, so no ledger can be asked";
            return Ending::new(Result_::Inconclusive, why, evidence);
        }
        match self.complete() {
            Ok(line) => evidence.push(ledger("witness", "nothing", line)),
            Err(why) => return Ending::new(Result_::Inconclusive, why, evidence),
        }
        if !refused {
            // It worked, and this model does not rest on what it took away.
            return self.with_control(seen, evidence, self.record.sightings("tap", seen).next().is_some());
        }
        let name = self.attempt.id.trim_start_matches("tamper.");
        let fact = |part: &str| self.control_fact(TAMPER, &format!("tamper.{name}.{part}"));
        let Some(op) = fact("op") else {
            return Ending::new(
                Result_::Inconclusive,
                "there is no control: it was not tried with the capabilities",
                evidence,
            );
        };
        evidence.push(ledger("control, with the capabilities", &op.fact.outcome.to_string(), op.line));
        let Outcome::Allowed { .. } = op.fact.outcome else {
            if matches!(op.fact.outcome, Outcome::Refused { .. }) {
                let why = format!("the runtime refuses it even with the capabilities: {}", op.fact.outcome);
                return Ending::new(Result_::NotApplicable, why, evidence);
            }
            let why = format!("the control failed: {}", op.fact.outcome);
            return Ending::new(Result_::Inconclusive, why, evidence);
        };
        if tampering.backend().is_some() {
            let drained = self.record.get(self.runtime, TAMPER).and_then(|s| s.drained.clone());
            let (Some(before), Some(after), Some((true, ..))) = (fact("before"), fact("after"), drained) else {
                return Ending::new(Result_::Inconclusive, "the control did not come to its end", evidence);
            };
            evidence.push(ledger("control, the rule before", &before.fact.outcome.to_string(), before.line));
            let Some((text, line)) = self.direct(after) else {
                let why = "the control failed: with the capabilities nothing gets out after it either";
                return Ending::new(Result_::Inconclusive, why, evidence);
            };
            if self.direct(before).is_some() || !was_made(&before.fact.outcome) {
                let why = "the control failed: the rule it takes away did not hold before";
                return Ending::new(Result_::Inconclusive, why, evidence);
            }
            evidence.push(ledger("control, after it", &text, line));
        }
        // That nothing arrived afterwards says something only where the witness sees what is sent there.
        let Some((model, open)) = self.open_control(seen) else {
            let why = "the control failed: without rules nothing arrives at the witness either";
            return Ending::new(Result_::Inconclusive, why, evidence);
        };
        evidence.push(self.control_line(model, open));
        let why = format!("{}; with the capabilities AWF takes away it is possible", act.fact.outcome);
        Ending::new(Result_::RefusedAtSource, why, evidence)
    }
}
