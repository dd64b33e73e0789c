//! Attempts through the proxy: what it must deny, and what it must serve.

use awf_probe_matrix::{Outcome, Result_};

use super::{Ending, Look, guest, ledger, parts};
use crate::record::{DecisionLine, HttpLine, Seen, was_made};

/// The list the lab's proxy is given.
const ALLOWED: &str = "allowed.awf-probe.test";

/// Whether a name is on the list or below it.
fn is_allowed(name: &str) -> bool {
    let host = name.split(':').next().unwrap_or_default().trim_end_matches('.').to_ascii_lowercase();
    host == ALLOWED || host.ends_with(&format!(".{ALLOWED}"))
}

impl Look<'_> {
    /// The proxy must decide against it, or refuse it as no request.
    pub(super) fn denied(&self, seen: &Seen) -> Ending {
        let mut evidence = vec![guest(seen)];
        let nonce = seen.fact.sent.as_ref().map(|s| s.nonce.clone()).unwrap_or_default();
        if let Some((text, line)) = self.past_the_list(&nonce) {
            evidence.push(ledger("witness", &text, line));
            return self.arrival("proxy", text, evidence);
        }
        if !was_made(&seen.fact.outcome) {
            let why = format!("the attempt was not made: {}", seen.fact.outcome);
            return Ending::new(Result_::Inconclusive, why, evidence);
        }
        let wrong = |d: &&DecisionLine| match d.decision.as_str() {
            "denied" => false,
            "refused" => !self.attempt.malformed,
            // What names an allowed host may be asked of that host; where it went say the ledgers.
            _ => !self.attempt.carried,
        };
        let decision = self.decisions(seen).find(wrong).or_else(|| self.decisions(seen).next());
        let heard = self.record.sightings("proxy", seen).next();
        let text = match (decision, heard) {
            (Some(d), _) => {
                let text = format!("{} {}: {}", d.status, d.decision, d.target);
                evidence.push(ledger("proxy", &text, d.line));
                if wrong(&d) {
                    return self.arrival("proxy", format!("the proxy did not deny it: {text}"), evidence);
                }
                text
            }
            (None, Some(l)) if self.attempt.malformed => {
                evidence.push(ledger("proxy", "the request arrived", l.line));
                seen.fact.outcome.to_string()
            }
            (None, _) => {
                let why = format!("the proxy decided nothing about it; {}", seen.fact.outcome);
                return Ending::new(Result_::Inconclusive, why, evidence);
            }
        };
        if matches!(seen.fact.outcome, Outcome::Allowed { .. }) && !self.attempt.carried {
            let reason = format!("the proxy denied it, and still it was answered: {}", seen.fact.outcome);
            return Ending::new(Result_::Inconclusive, reason, evidence);
        }
        let served = parts(self.scenario, "proxy.allowed-https");
        let allowed = served.into_iter().find_map(|s| self.witness_served(s));
        match (allowed, self.complete()) {
            (Some((client, host, _, line)), Ok(_)) => {
                evidence.push(ledger("control, witness", &format!("served {host} to {client}"), *line));
                Ending::new(Result_::Proxied, format!("the proxy answered {text}"), evidence)
            }
            (None, _) => Ending::new(
                Result_::Inconclusive,
                "the control failed: the proxy serves no allowed name here",
                evidence,
            ),
            (Some(_), Err(why)) => Ending::new(Result_::Inconclusive, why, evidence),
        }
    }

    /// Something with this nonce that got past the list: a request for another host, a packet to another address than
    /// the allowed names', a name asked of the resolver.
    fn past_the_list(&self, nonce: &str) -> Option<(String, u64)> {
        if nonce.is_empty() {
            return None;
        }
        let carried = self.attempt.carried;
        let request = self.record.http.iter().find(|(_, host, path, _)| {
            (host.contains(nonce) || path.contains(nonce)) && !(carried && is_allowed(host))
        });
        if let Some((client, host, path, line)) = request {
            return Some((format!("the witness served {host}{path} to {client}"), *line));
        }
        let packet = self.record.with_nonce(nonce).find(|l| {
            l.at == "witness" && !(carried && Some(l.packet.dst) == self.record.allowed) && l.packet.dport != 53
        });
        if let Some(l) = packet {
            let text = format!("a packet with its nonce arrived at the witness from {}", l.packet.src);
            return Some((text, l.line));
        }
        let asked = self.record.dns.iter().find(|(client, _, name, _)| {
            self.record.proxies.contains(client) && name.contains(nonce) && !is_allowed(name)
        });
        asked.map(|(_, _, name, line)| (format!("the proxy asked its resolver for {name}"), *line))
    }

    /// It must arrive at its destination, through the proxy.
    pub(super) fn served(&self, seen: &Seen) -> Ending {
        let mut evidence = vec![guest(seen)];
        if let Some((text, line)) = self.direct(seen) {
            evidence.push(ledger("witness", &text, line));
            return Ending::new(Result_::Leaked, format!("around the proxy: {text}"), evidence);
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
                    let why = "the control failed: the proxy denied nothing here";
                    return Ending::new(Result_::Inconclusive, why, evidence);
                };
                evidence.push(ledger("control, proxy", &format!("{} {}: {}", d.status, d.decision, d.target), d.line));
                Ending::new(Result_::Served, text, evidence)
            }
            (_, outcome) if !was_made(outcome) => {
                Ending::new(Result_::Inconclusive, format!("the attempt was not made: {outcome}"), evidence)
            }
            (_, outcome) => {
                let control = self.control("egress[open]", seen);
                let works = control.is_some_and(|c| self.witness_served(c).is_some());
                if works {
                    let why = format!("an allowed name is not served: {outcome}");
                    return Ending::new(Result_::Blocked, why, evidence);
                }
                let why = format!("not served, and not under `open` either: {outcome}");
                Ending::new(Result_::Inconclusive, why, evidence)
            }
        }
    }

    /// A sidecar's port must be reached.
    pub(super) fn neighbour(&self, seen: &Seen) -> Ending {
        let mut evidence = vec![guest(seen)];
        if let Some((text, line)) = self.direct(seen) {
            evidence.push(ledger("witness", &text, line));
            return Ending::new(Result_::Leaked, text, evidence);
        }
        match (self.reached(seen), &seen.fact.outcome) {
            (Some((text, line)), Outcome::Allowed { .. }) => {
                evidence.push(ledger("sidecar", &text, line));
                Ending::new(Result_::Served, text, evidence)
            }
            (_, outcome) if !was_made(outcome) => {
                Ending::new(Result_::Inconclusive, format!("the attempt was not made: {outcome}"), evidence)
            }
            (_, outcome) => match self.control("egress[open]", seen).and_then(|c| self.reached(c)) {
                Some((text, line)) => {
                    evidence.push(ledger("control, open", &text, line));
                    Ending::new(Result_::Blocked, format!("the sidecar is not reached: {outcome}"), evidence)
                }
                None => {
                    let why = format!("not reached, and not under `open` either: {outcome}");
                    Ending::new(Result_::Inconclusive, why, evidence)
                }
            },
        }
    }

    /// The request of this attempt that a sidecar answered.
    pub(super) fn reached(&self, seen: &Seen) -> Option<(String, u64)> {
        let sent = seen.fact.sent.as_ref()?;
        let (client, _, path, line) = self.record.http.iter().find(|(client, _, path, _)| {
            !sent.nonce.is_empty() && Some(*client) == seen.address && path.contains(&sent.nonce)
        })?;
        Some((format!("{} port {} served {path} to {client}", sent.dst, sent.dport), *line))
    }

    /// The request the witness answered for this attempt, if it came through the proxy.
    fn witness_served(&self, seen: &Seen) -> Option<&HttpLine> {
        let nonce = &seen.fact.sent.as_ref()?.nonce;
        self.record.http.iter().find(|(client, host, ..)| {
            !nonce.is_empty() && self.record.proxies.contains(client) && host.contains(nonce.as_str())
        })
    }

    /// What the proxy decided about this attempt: its target has the nonce, or is what the guest asked for.
    fn decisions(&self, seen: &Seen) -> impl Iterator<Item = &DecisionLine> {
        let (sent, address) = (seen.fact.sent.clone(), seen.address);
        let to = sent.as_ref().map(|s| s.dst.to_string()).unwrap_or_default();
        self.record.decisions.iter().filter(move |d| Some(d.client) == address).filter(move |d| {
            sent.as_ref().is_some_and(|sent| {
                let nonce = !sent.nonce.is_empty() && d.target.to_ascii_lowercase().contains(&sent.nonce);
                let target = !sent.target.is_empty()
                    && d.target.split(' ').nth(1).is_some_and(|t| {
                        t == sent.target || t.strip_prefix(&sent.target).is_some_and(|rest| rest.starts_with(':'))
                    });
                // Squid writes an address in any spelling with dots; the destination is the attempt's own.
                let dst = d.target.split([' ', '/', ':']).any(|part| part == to);
                nonce || target || dst
            })
        })
    }
}
