//! No vacuous pass: take away, break or turn round what a verdict rests on, and the verdict must go.
//!
//! Every test changes the journal of a real run and judges it again. `pass` and `not-applicable` both let a
//! requirement hold, so neither may come out of a change that takes evidence away.

use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, Ipv4Addr},
};

use awf_probe::{
    commands::Data,
    event::{Event, PlannedCell},
    judge::judge,
    lab::roles::wire::Packet,
    record::{Record, Seen},
    scenario::{dual, guard},
};
use awf_probe_matrix::{
    Capability, Cell, Condition, EgressWant, IsolationClass, Outcome, Result_, Scope, Sent, Source, Verdict, Want,
};
use awf_probe_probes::{ATTEMPTS, Attempt, Payload, Sink};
use proptest::{prelude::*, test_runner::TestRunner};

mod common;
use common::{data, events};

const GOLDEN: [&str; 2] = ["runc", "runsc"];

/// Evidence that is shown and decides nothing, by its source.
const SHOWN_ONLY: &[(&str, &str)] = &[
    ("tap", "says how far a blocked attempt came; that it was made says the guest, that it did not arrive the witness"),
    ("engine, init container", "says why a model leaks; whether it does say the ledgers alone"),
    ("init container", "as above: a model whose rules were not installed and that still blocks, blocks"),
    ("entrypoint", "as above, where the agent installs them itself"),
];

// (a)

#[test]
fn without_an_observation_it_rests_on_no_verdict_passes() {
    let mut wrong = Wrong::default();
    for name in GOLDEN {
        let mut bench = Bench::new(name);
        for (lines, cells) in bench.foundations() {
            let removed = Change::without(&lines);
            wrong.unless_unsatisfied(&mut bench, &removed, &cells, || format!("without lines {lines:?}"));
        }
    }
    wrong.finish(300);
}

#[test]
fn without_an_identity_fact_nothing_passes() {
    let mut wrong = Wrong::default();
    for name in GOLDEN {
        let mut bench = Bench::new(name);
        let all: Vec<usize> = (0..bench.plan.len()).collect();
        for (source, fact) in
            [("host", "comm.found"), ("host", "comm.absent"), ("host", "comm.helper"), ("engine", "runtime.asked")]
        {
            let at = bench.fact("plain", source, fact).expect("identity facts are there");
            let broken = Change::one(at, bench.with_outcome(at, Outcome::broken("x"), true));
            for change in [Change::without(&[at]), broken] {
                wrong.unless_unsatisfied(&mut bench, &change, &all, || format!("without {fact}"));
            }
        }
        let chain = bench.position(|e| matches!(e, Event::HostProcesses { .. }));
        let cells = bench.after(&Change::without(&[chain]), &all);
        if bench.class == Some(IsolationClass::SharedKernel) {
            // Redundant here: that a host task carries the guest's comm proves the shared kernel by itself.
            assert!(cells.iter().zip(&bench.base).all(|(now, then)| now.verdict == then.verdict), "{name}");
        } else {
            assert!(cells.iter().all(|c| !satisfies(c.verdict)), "{name}: without the sandbox's host processes");
        }
    }
    wrong.finish(16);
}

// (b)

#[test]
fn a_broken_or_opposite_observation_does_not_pass() {
    let mut wrong = Wrong::default();
    for name in GOLDEN {
        let mut bench = Bench::new(name);
        for i in bench.passing() {
            let (cell, capability) = (bench.base[i].clone(), bench.capability(i));
            if capability.scope == Scope::Egress {
                continue;
            }
            let conditions: Vec<Condition> = capability.controls.iter().chain(&capability.pass).cloned().collect();
            for c in &conditions {
                for (what, change) in bench.spoiled(&cell, c) {
                    // A control that is refused is what makes these not applicable, and no lie.
                    let moot = what == "is turned round" && capability.moot.iter().any(|m| m.key == c.key);
                    if moot && bench.after(&change, &[i])[0].verdict == Verdict::NotApplicable {
                        continue;
                    }
                    wrong.unless_unsatisfied(&mut bench, &change, &[i], || format!("{} {what}", c.key));
                }
            }
        }
    }
    wrong.finish(800);
}

#[test]
fn a_way_out_is_not_closed_unless_its_control_is_open() {
    let mut wrong = Wrong::default();
    for name in GOLDEN {
        let mut bench = Bench::new(name);
        for i in bench.passing() {
            let cell = bench.base[i].clone();
            if bench.capability(i).scope != Scope::Egress {
                continue;
            }
            // What is to arrive elsewhere than at the witness, and tampering, have controls of another kind.
            let attempt = bench.attempt(i);
            if attempt.sink != Sink::Witness || matches!(attempt.payload, Payload::Tamper(_)) {
                continue;
            }
            let scenario = match cell.result {
                Some(Result_::Blocked) => "egress[open]",
                Some(Result_::RefusedAtSource) => "egress[open]+raw",
                _ => continue,
            };
            for part in bench.parts(i) {
                let at = bench.fact(scenario, "guest", &part).expect("the control was measured");
                let mut arrivals = bench.sightings(scenario, &part, "witness");
                // From a port nobody knows: found by its destination alone, which nothing else has.
                if let Some(sent) = bench.sent(at).filter(|s| s.sport == 0) {
                    arrivals.extend(bench.towards(scenario, sent.dst));
                }
                assert!(!arrivals.is_empty(), "{name}: {} without an arrival in its control", cell.name());
                let kept = bench.sent(at);
                let refused_later = Outcome::refused("ENETUNREACH", "sendto");
                let timed_out = Outcome::TimedOut { after_ms: 1300, detail: String::new() };
                for (what, outcome, sent) in [
                    ("the control's probe failed", Outcome::broken("x"), None),
                    ("the control did not arrive", timed_out, kept.clone()),
                    ("the control was refused, but not at its source", refused_later, kept),
                ] {
                    let mut change = Change::without(&arrivals);
                    if sent.is_none() {
                        change = Change::default();
                    }
                    let mut event = bench.with_outcome(at, outcome, true);
                    if let Event::Observed { fact, .. } = &mut event {
                        fact.sent = sent;
                    }
                    change.put.insert(at, event);
                    wrong.unless_unsatisfied(&mut bench, &change, &[i], || format!("{part}: {what}"));
                }
            }
        }
    }
    wrong.finish(60);
}

#[test]
fn what_the_proxy_serves_and_denies_are_each_others_control() {
    let mut wrong = Wrong::default();
    for name in GOLDEN {
        let mut bench = Bench::new(name);
        for i in bench.passing() {
            let Some(want @ (EgressWant::Served | EgressWant::Denied)) = bench.capability(i).want else { continue };
            if bench.capability(i).attempt.starts_with("sidecar.") {
                continue;
            }
            let scenario = bench.scenario(i);
            let agent = bench.address(&scenario);
            let nonce = |part: &str| {
                let at = bench.fact(&scenario, "guest", part).expect("measured");
                bench.sent(at).expect("sent").nonce
            };
            let (denied, served) = (nonce("proxy.denied-name"), nonce("proxy.allowed-https"));
            let mut changes = Vec::new();
            match want {
                EgressWant::Served => {
                    let decisions =
                        bench.all(|e| matches!(e, Event::Decision { target, .. } if target.contains(&denied)));
                    assert!(!decisions.is_empty());
                    changes.push(("the proxy denied nothing", Change::without(&decisions)));
                    for at in decisions {
                        changes.push(("the proxy allows every name", Change::one(at, bench.decided(at, "allowed"))));
                    }
                }
                EgressWant::Denied => {
                    let lines = bench.all(|e| matches!(e, Event::Http { host, .. } if host.contains(&served)));
                    assert!(!lines.is_empty());
                    changes.push(("the proxy serves nothing", Change::without(&lines)));
                    for at in lines {
                        let mut event = bench.events[at].clone();
                        if let Event::Http { client, .. } = &mut event {
                            *client = agent;
                        }
                        changes.push(("what was served did not come from the proxy", Change::one(at, event)));
                    }
                }
                EgressWant::Contained => {}
            }
            for (what, change) in changes {
                wrong.unless_unsatisfied(&mut bench, &change, &[i], || what.to_owned());
            }
        }
    }
    wrong.finish(40);
}

/// A probe that failed is never evidence, whatever the ledgers hold of it.
#[test]
fn an_attempt_whose_probe_failed_is_not_closed() {
    let mut wrong = Wrong::default();
    for name in GOLDEN {
        let mut bench = Bench::new(name);
        for i in bench.passing() {
            for part in bench.parts(i) {
                let scenario = bench.scenario(i);
                let at = bench.fact(&scenario, "guest", &part).expect("measured");
                for outcome in
                    [Outcome::broken("x"), Outcome::Skipped { why: "x".to_owned() }, Outcome::value("not an attempt")]
                {
                    let change = Change::one(at, bench.with_outcome(at, outcome.clone(), true));
                    wrong.unless_unsatisfied(&mut bench, &change, &[i], || format!("{part} is {outcome}"));
                }
            }
        }
    }
    wrong.finish(150);
}

/// The guest got an answer, and neither witness nor proxy gave it: somebody else did, or a ledger lies.
#[test]
fn an_attempt_that_was_answered_is_not_closed() {
    let mut wrong = Wrong::default();
    for name in GOLDEN {
        let mut bench = Bench::new(name);
        for i in bench.passing() {
            let denied = bench.capability(i).want == Some(EgressWant::Denied);
            if bench.capability(i).scope != Scope::Egress {
                continue;
            }
            // Of a hand-made frame the guest only knows that it was sent, and the engine's resolver answers by itself.
            let attempt = bench.attempt(i);
            let sent_only = matches!(
                attempt.payload,
                Payload::GatewayFrame | Payload::SidecarFrame | Payload::Embedded(_) | Payload::Search
            );
            // What names an allowed host may be answered by it. An act of tampering that was refused is judged by it.
            let tamper = matches!(attempt.payload, Payload::Tamper(_));
            let other = sent_only || attempt.carried || tamper;
            if !(denied || bench.base[i].result == Some(Result_::Blocked)) || other {
                continue;
            }
            for part in bench.parts(i) {
                let scenario = bench.scenario(i);
                let at = bench.fact(&scenario, "guest", &part).expect("measured");
                let answered = Outcome::allowed("connected, read 135 bytes");
                let change = Change::one(at, bench.with_outcome(at, answered, true));
                wrong.unless_unsatisfied(&mut bench, &change, &[i], || format!("{part} was answered"));
            }
        }
    }
    wrong.finish(40);
}

// (c)

#[test]
fn nothing_is_unseen_in_a_ledger_that_is_not_complete() {
    for name in GOLDEN {
        let mut bench = Bench::new(name);
        let drained = bench.all(|e| matches!(e, Event::Drained { .. }));
        let mut incomplete = Change::default();
        for at in &drained {
            let mut event = bench.events[*at].clone();
            if let Event::Drained { ok, why, .. } = &mut event {
                (*ok, *why) = (false, "7 packets were dropped".to_owned());
            }
            incomplete.put.insert(*at, event);
        }
        let all: Vec<usize> = (0..bench.plan.len()).collect();
        for change in [incomplete, Change::without(&drained)] {
            let mut negatives = 0;
            for (i, cell) in bench.after(&change, &all).into_iter().enumerate() {
                let unseen = |c: &Condition| c.wants.contains(&Want::Refused(vec!["unseen".to_owned()]));
                let closed = [Result_::Blocked, Result_::Proxied, Result_::RefusedAtSource, Result_::NotApplicable];
                // Not asked in the first place, because of what was seen.
                let moot = &bench.capability(i).moot;
                // By what the model is: it has no such part that could fail.
                let by_model = match bench.capability(i).scope {
                    Scope::Guard => bench.base[i].evidence[0].source == "model",
                    // By the host's forwarding, where the model enforces on the host.
                    Scope::DualStack => bench.base[i].evidence[0].source == "host",
                    Scope::Solo | Scope::Netns | Scope::Egress => false,
                };
                let by_sight = bench.base[i].verdict == Verdict::NotApplicable
                    && (by_model || !moot.is_empty() && !moot.iter().any(unseen));
                let negative = !by_sight && bench.capability(i).pass.iter().any(unseen)
                    || !by_model && bench.base[i].result.is_some_and(|r| closed.contains(&r));
                negatives += usize::from(negative);
                assert!(!negative || !satisfies(cell.verdict), "{name}: {} is {}", cell.name(), cell.verdict);
                // What should have arrived and did not may be among the packets that were lost.
                let missed = bench.base[i].verdict == Verdict::Fail && bench.base[i].reason.contains("refused: unseen");
                let untold = cell.verdict == Verdict::Inconclusive;
                assert!(negative || !missed || untold, "{name}: {} is {}", cell.name(), cell.verdict);
                // What was seen was seen.
                let same = cell.verdict == bench.base[i].verdict;
                assert!(negative || missed || same, "{name}: {}", cell.name());
            }
            assert!(negatives > 50, "{name}");
        }
    }
}

// (d)

#[test]
fn a_witness_that_sees_no_packet_closes_no_way_out() {
    let mut wrong = Wrong::default();
    for name in GOLDEN {
        let mut bench = Bench::new(name);
        let packets = bench.all(|e| matches!(e, Event::Packet { at, .. } if at == "witness"));
        assert!(packets.len() > 100, "{name}: the witness saw {} packets", packets.len());
        let blind = Change::without(&packets);
        // What the proxy or a neighbour is asked is told by the proxy's decisions and by whoever answered.
        let cells: Vec<usize> = (0..bench.plan.len())
            .filter(|i| {
                bench.base[*i].result.is_some()
                    && bench.capability(*i).want == Some(EgressWant::Contained)
                    && bench.attempt(*i).sink == Sink::Witness
                    // Its control is its own listener, which is seen by another ledger.
                    && !matches!(bench.attempt(*i).payload, Payload::OtherBridge | Payload::AbstractHost)
            })
            .collect();
        assert!(cells.len() > 100, "{name}: {} cells", cells.len());
        let passed = cells.iter().filter(|i| bench.base[**i].verdict == Verdict::Pass).count();
        assert!(passed > 50, "{name}: {passed} of {} pass with a witness that sees", cells.len());
        wrong.unless(&mut bench, &blind, &cells, &|| "with a blind witness".to_owned(), |c| c.verdict != Verdict::Pass);
    }
    wrong.finish(GOLDEN.len());
}

#[test]
fn every_capability_can_pass_and_can_fail() {
    let data = data();
    let golden = events("runc");
    let Some(Event::RunStarted { plan, .. }) = golden.first() else { panic!("no run-started") };
    let mut tried = 0;
    for c in data.catalogue.capabilities.iter().filter(|c| !c.scope.has_models()) {
        let planned = plan.iter().find(|p| p.id == c.id).unwrap_or_else(|| panic!("{} is not planned", c.id)).clone();
        let mut good = Scene { events: golden.clone(), planned, data: &data };
        for condition in c.controls.iter().chain(&c.pass) {
            good.satisfy(condition);
        }
        // The golden host has no AppArmor, so there was nothing to measure.
        if c.family == "apparmor" {
            good.violate(&c.moot[0]);
        }
        let cell = good.judge();
        assert_eq!(cell.verdict, Verdict::Pass, "{} cannot pass: {}", c.id, cell.reason);
        let mut failed = false;
        for condition in &c.pass {
            let mut bad = Scene { events: good.events.clone(), planned: good.planned.clone(), data: &data };
            bad.violate(condition);
            let cell = bad.judge();
            let expected = cell.verdict == Verdict::Fail || cell.verdict == Verdict::Partial && !c.partial.is_empty();
            assert!(expected, "{}: {} turned round gives {}: {}", c.id, condition.key, cell.verdict, cell.reason);
            failed |= cell.verdict == Verdict::Fail;
            tried += 1;
        }
        assert!(failed, "{} cannot fail", c.id);
    }
    assert!(tried > 150, "{tried}");
}

#[test]
fn one_packet_at_the_witness_opens_a_way_out() {
    let mut wrong = Wrong::default();
    let mut ids = BTreeSet::new();
    for name in GOLDEN {
        let mut bench = Bench::new(name);
        for i in 0..bench.plan.len() {
            if bench.capability(i).scope != Scope::Egress || bench.base[i].verdict == Verdict::Fail || !bench.sampled(i)
            {
                continue;
            }
            ids.insert(bench.plan[i].id.clone());
            let scenario = bench.scenario(i);
            let agent = bench.address(&scenario);
            for part in bench.parts(i) {
                let at = bench.fact(&scenario, "guest", &part).expect("measured");
                let sent = bench.sent(at).expect("sent");
                let mut packets = vec![("its nonce", packet(agent, &sent))];
                if sent.sport != 0 && sent.dst.is_ipv4() {
                    packets.push(("its flow", packet(agent, &Sent { nonce: String::new(), ..sent })));
                }
                for (what, packet) in packets {
                    let change = Change::adding(Event::Packet { at: "witness".to_owned(), packet });
                    // A documented risk stays one, where it is the witness that it is documented for.
                    let residual = bench.base[i].result == Some(Result_::Residual)
                        || !bench.attempt(i).residual.is_empty() && bench.attempt(i).sink == Sink::Witness;
                    wrong.unless(&mut bench, &change, &[i], &|| format!("a packet with {what} of {part}"), |c| {
                        let leaked = c.verdict == Verdict::Fail && c.result == Some(Result_::Leaked);
                        leaked || residual && c.verdict == Verdict::Partial && c.result == Some(Result_::Residual)
                    });
                }
            }
        }
    }
    let all = data().catalogue.capabilities.iter().filter(|c| c.scope == Scope::Egress).count();
    assert!(ids.len() * 2 > all, "hardly any way out was tried: {ids:?}");
    wrong.finish(50);
}

/// What is said of a failing guard rests on the proof that it failed, and on every way out that was tried.
#[test]
fn a_guard_that_was_not_seen_to_fail_proves_nothing() {
    let mut wrong = Wrong::default();
    let mut leaks = 0;
    for name in GOLDEN {
        let mut bench = Bench::new(name);
        for i in 0..bench.plan.len() {
            let capability = bench.capability(i);
            if capability.scope != Scope::Guard || bench.base[i].verdict != Verdict::Pass {
                continue;
            }
            let planned = bench.plan[i].clone();
            let model = planned.model.as_deref().expect("a model");
            let scenario = guard::name(model, planned.backend.as_deref());
            let failure = guard::FAILURES.into_iter().find(|f| f.name() == capability.attempt).expect("a failure");
            let label = failure.name();
            if let Some(proof) = failure.proof() {
                let engine = bench.fact(&scenario, "engine", label).expect("it was made to fail");
                wrong.unless_unsatisfied(&mut bench, &Change::without(&[engine]), &[i], || format!("{label}: unsaid"));
                let before = bench.fact(&scenario, "guest", &format!("{}.{proof}", guard::BEFORE)).expect("before");
                let after = bench.fact(&scenario, "guest", &format!("{label}.{proof}")).expect("after");
                let dead = bench.with_outcome(before, Outcome::refused("ECONNREFUSED", ""), true);
                let alive = bench.with_outcome(after, Outcome::allowed("200"), true);
                for (what, change) in [
                    ("it did not work before", Change::one(before, dead)),
                    ("it still works", Change::one(after, alive)),
                    ("nobody asked before", Change::without(&[before])),
                    ("nobody asked after", Change::without(&[after])),
                ] {
                    wrong.unless_unsatisfied(&mut bench, &change, &[i], || format!("{label}: {what}"));
                }
            } else {
                let half = bench.fact(&scenario, "guest", "half.rules").expect("the script was run");
                let done = bench.with_outcome(half, Outcome::allowed("42 rules"), false);
                for change in [Change::without(&[half]), Change::one(half, done)] {
                    wrong.unless_unsatisfied(&mut bench, &change, &[i], || format!("{label}: the script did not fail"));
                }
            }
            for way in guard::WAYS {
                let end = bench.fact(&scenario, "guest", &format!("{label}.{way}.end")).expect("it ended");
                wrong.unless_unsatisfied(&mut bench, &Change::without(&[end]), &[i], || {
                    format!("{label}: {way} endless")
                });
                let name = format!("{label}.{way}");
                let Some(at) = bench.fact(&scenario, "guest", &name) else { continue };
                wrong.unless_unsatisfied(&mut bench, &Change::without(&[at]), &[i], || format!("{name} is missing"));
                let sent = bench.sent(at).expect("sent");
                let packet = packet(bench.address(&scenario), &sent);
                let change = Change::adding(Event::Packet { at: "witness".to_owned(), packet });
                wrong.unless(&mut bench, &change, &[i], &|| format!("a packet of {name}"), |c| {
                    c.verdict == Verdict::Fail && c.result == Some(Result_::Leaked)
                });
                leaks += 1;
            }
        }
    }
    assert!(leaks > 100, "{leaks}");
    wrong.finish(300);
}

/// A runtime whose network stack chooses the source port again: the SYN has no nonce and not the port the guest
/// knows. The destination is the attempt's alone, so an agent's packet to it is that attempt.
#[test]
fn a_packet_to_the_destination_of_an_attempt_opens_it_whatever_its_source_port() {
    let mut wrong = Wrong::default();
    for name in GOLDEN {
        let mut bench = Bench::new(name);
        for i in bench.passing() {
            // A connection from before the rules has its destination in common with its opening.
            let egress = bench.capability(i).scope == Scope::Egress && bench.base[i].result == Some(Result_::Blocked);
            if !egress || bench.attempt(i).payload == Payload::Held {
                continue;
            }
            let scenario = bench.scenario(i);
            let agent = bench.address(&scenario);
            for part in bench.parts(i) {
                let at = bench.fact(&scenario, "guest", &part).expect("measured");
                let sent = bench.sent(at).expect("sent");
                let other = Sent { nonce: String::new(), sport: sent.sport ^ 1, ..sent };
                let change = Change::adding(Event::Packet { at: "witness".to_owned(), packet: packet(agent, &other) });
                wrong.unless_unsatisfied(&mut bench, &change, &[i], || format!("a SYN of {part} from another port"));
            }
        }
    }
    wrong.finish(30);
}

/// A kernel gives a source port to two connections at once if their destinations differ, as those to the proxy and to the
/// Internet do. Whoever acknowledged at the proxy was answered, so it is no connection that timed out.
#[test]
fn a_handshake_at_the_proxy_is_not_one_that_timed_out() {
    let mut wrong = Wrong::default();
    for name in GOLDEN {
        let mut bench = Bench::new(name);
        let proxy = bench.record.proxies.first().copied().expect("a proxy");
        for i in bench.passing() {
            if bench.capability(i).scope != Scope::Egress || bench.base[i].result != Some(Result_::Blocked) {
                continue;
            }
            let scenario = bench.scenario(i);
            let agent = bench.address(&scenario);
            for part in bench.parts(i) {
                let at = bench.fact(&scenario, "guest", &part).expect("measured");
                let sent = bench.sent(at).expect("sent");
                let timed_out = matches!(bench.seen(&scenario, &part).fact.outcome, Outcome::TimedOut { .. });
                if !timed_out || sent.proto != 6 || sent.sport == 0 || !sent.dst.is_ipv4() {
                    continue;
                }
                let flow = packet(agent, &Sent { nonce: String::new(), dst: proxy, dport: 3128, ..sent });
                let with = |flags: &str| Event::Packet {
                    at: "proxy".to_owned(),
                    packet: Packet { flags: flags.to_owned(), ..flow.clone() },
                };
                let change = Change { put: BTreeMap::new(), add: vec![with("S"), with("A")] };
                wrong.unless(&mut bench, &change, &[i], &|| format!("the port of {part} at the proxy"), |c| {
                    c.result == Some(Result_::Blocked)
                });
            }
        }
    }
    wrong.finish(20);
}

#[test]
fn an_allowed_name_that_is_not_served_is_a_fail() {
    for name in GOLDEN {
        let mut bench = Bench::new(name);
        let mut tried = 0;
        for i in bench.passing() {
            if bench.capability(i).want != Some(EgressWant::Served)
                || bench.capability(i).attempt.starts_with("sidecar.")
            {
                continue;
            }
            let scenario = bench.scenario(i);
            // Under `open` it is its own control.
            if scenario == "egress[open]" {
                continue;
            }
            let at = bench.fact(&scenario, "guest", &bench.capability(i).attempt).expect("measured");
            let nonce = bench.sent(at).expect("sent").nonce;
            let refused = bench.with_outcome(at, Outcome::refused("HTTP 503", ""), true);
            let served = bench.all(|e| matches!(e, Event::Http { host, .. } if host.contains(&nonce)));
            // Either alone is enough: what the guest did not get, or what the witness did not serve.
            let mut both = Change::without(&served);
            both.put.insert(at, refused.clone());
            for change in [Change::without(&served), Change::one(at, refused), both] {
                let cell = bench.after(&change, &[i]).remove(0);
                assert_eq!((cell.verdict, cell.result), (Verdict::Fail, Some(Result_::Blocked)), "{}", cell.name());
                tried += 1;
            }
        }
        assert!(tried >= 3, "{name}: {tried}");
    }
}

#[test]
fn a_name_the_proxy_does_not_deny_is_a_leak() {
    for name in GOLDEN {
        let mut bench = Bench::new(name);
        let mut tried = 0;
        for i in bench.passing() {
            if bench.capability(i).want != Some(EgressWant::Denied) {
                continue;
            }
            if bench.attempt(i).carried {
                continue;
            }
            let lines = bench.evidence(i, |e| matches!(e, Event::Decision { .. }));
            assert!(!lines.is_empty() || bench.attempt(i).malformed);
            for at in lines {
                for word in ["allowed", "failed"] {
                    let instead = Change::one(at, bench.decided(at, word));
                    // Denied first and allowed when asked again: the name got through.
                    let again = Change::adding(bench.decided(at, word));
                    for (what, change) in [("instead", instead), ("again", again)] {
                        let cell = bench.after(&change, &[i]).remove(0);
                        assert_eq!(cell.result, Some(Result_::Leaked), "{name}: {} {word} {what}", cell.name());
                        tried += 1;
                    }
                }
            }
        }
        assert!(tried >= 20, "{name}: {tried}");
    }
}

// (e)

#[test]
fn a_frame_where_none_belongs_spoils_every_cell() {
    for name in GOLDEN {
        let mut bench = Bench::new(name);
        let all: Vec<usize> = (0..bench.plan.len()).collect();
        let stray = bench.events.iter().find_map(|e| match e {
            Event::Packet { packet, .. } => Some(packet.clone()),
            _ => None,
        });
        let change = Change::adding(Event::Packet { at: "tripwire".to_owned(), packet: stray.expect("a packet") });
        for cell in bench.after(&change, &all) {
            assert_eq!(cell.verdict, Verdict::Inconclusive, "{name}: {}", cell.name());
        }
    }
}

// (f)

#[test]
fn a_runtime_that_is_not_what_it_says_is_not_judged() {
    for name in GOLDEN {
        let mut bench = Bench::new(name);
        let (found, asked) = (
            bench.fact("plain", "host", "comm.found").expect("measured"),
            bench.fact("plain", "engine", "runtime.asked").expect("measured"),
        );
        let shared = bench.class == Some(IsolationClass::SharedKernel);
        let flipped = bench.with_outcome(found, Outcome::value(i32::from(!shared)), true);
        let another = bench.with_outcome(asked, Outcome::refused("another runtime", "inspect says other"), true);
        let other = GOLDEN.into_iter().find(|g| *g != name).expect("the other one");
        let changes = [
            ("another isolation class", Change::one(found, flipped)),
            ("the engine says another runtime", Change::one(asked, another)),
            ("its --version says another product", Change::one(0, bench.row(other))),
        ];
        let all: Vec<usize> = (0..bench.plan.len()).collect();
        for (what, change) in changes {
            for cell in bench.after(&change, &all) {
                let expected = if cell.id == "identity.runtime" { Verdict::Fail } else { Verdict::Inconclusive };
                assert_eq!(cell.verdict, expected, "{name}, {what}: {}: {}", cell.name(), cell.reason);
            }
        }
    }
}

#[test]
fn a_comm_that_nobody_has_must_not_be_found() {
    for name in GOLDEN {
        let mut bench = Bench::new(name);
        let all: Vec<usize> = (0..bench.plan.len()).collect();
        for (fact, value) in [("comm.absent", "1"), ("comm.helper", "0"), ("comm.found", "many")] {
            let at = bench.fact("plain", "host", fact).expect("measured");
            let change = Change::one(at, bench.with_outcome(at, Outcome::value(value), true));
            for cell in bench.after(&change, &all) {
                assert_eq!(cell.verdict, Verdict::Inconclusive, "{name}, {fact} = {value}: {}", cell.name());
            }
        }
    }
}

// (g)

/// Lines of the ledgers stay: `Drained` vouches for them, so without one a leak was never seen. That lines of a
/// journal get lost is another matter, see the next test.
#[test]
fn losing_observations_never_makes_a_pass() {
    lose(2500, |bench, lost| {
        let lost: Vec<usize> = lost.into_iter().filter(|at| !is_ledger(&bench.events[*at])).collect();
        for (i, cell) in bench.judged_without(&lost) {
            let then = bench.base[i].verdict;
            prop_assert!(
                cell.verdict != Verdict::Pass || then == Verdict::Pass,
                "{} was {then} and is {}: {}",
                cell.name(),
                cell.verdict,
                cell.reason
            );
        }
        Ok(())
    });
}

/// With lines of the ledgers lost as well, only a cell turns whose own ledger lines are among the lost ones. A journal
/// cannot tell a packet that never came from a line that was cut out of its middle.
#[test]
fn only_the_loss_of_its_own_packets_closes_a_way_out() {
    lose(3300, |bench, lost| {
        for (i, cell) in bench.judged_without(&lost) {
            if cell.verdict == Verdict::Pass && bench.base[i].verdict != Verdict::Pass {
                let own = bench.evidence(i, is_ledger);
                prop_assert!(own.iter().any(|at| lost.contains(at)), "{}", cell.name());
            }
        }
        Ok(())
    });
}

/// 64 random sets of up to `most` events, never the first, each lost from every golden journal.
fn lose(most: usize, check: impl Fn(&mut Bench, Vec<usize>) -> Result<(), TestCaseError>) {
    for name in GOLDEN {
        let bench = RefCell::new(Bench::new(name));
        let events = 1..bench.borrow().events.len();
        let config = ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() };
        let lost = prop::collection::btree_set(events.clone(), 1..most.min(events.len()));
        let run = TestRunner::new(config).run(&lost, |lost| check(&mut bench.borrow_mut(), lost.into_iter().collect()));
        run.unwrap_or_else(|e| panic!("{name}: {e}"));
    }
}

// (h)

#[test]
fn a_late_packet_overturns() {
    let mut wrong = Wrong::default();
    for name in GOLDEN {
        let mut bench = Bench::new(name);
        assert!(matches!(bench.events.last(), Some(Event::RunFinished { .. })), "what is added comes after the end");
        for i in bench.passing() {
            let (cell, capability) = (bench.base[i].clone(), bench.capability(i));
            for c in capability.pass.iter().filter(|c| c.wants.contains(&Want::Refused(vec!["unseen".to_owned()]))) {
                let scenario = bench.place(&cell, c);
                let seen = bench.seen(&scenario, &c.key.fact);
                let (sent, address) = (seen.fact.sent.expect("sent"), seen.address.expect("an address"));
                let late = Event::Packet { at: c.key.source.word().to_owned(), packet: packet(address, &sent) };
                wrong.unless(&mut bench, &Change::adding(late), &[i], &|| format!("late {}", c.key), |c| {
                    c.verdict == Verdict::Fail || c.verdict == Verdict::Partial
                });
            }
        }
    }
    wrong.finish(30);
}

#[test]
fn what_is_reported_twice_the_same_changes_nothing() {
    for name in GOLDEN {
        let mut bench = Bench::new(name);
        let all: Vec<usize> = (0..bench.plan.len()).collect();
        let mut change = Change::default();
        // What a container of the init role reports has the same names as what the agent reports of itself.
        let once =
            |e: &Event| !matches!(e, Event::Observed { fact, .. } if fact.name == "comm" || fact.name == "sandbox");
        change.add.extend(bench.events[1..].iter().filter(|e| once(e)).cloned());
        for (now, then) in bench.after(&change, &all).iter().zip(&bench.base) {
            assert_eq!((now.verdict, now.result), (then.verdict, then.result), "{name}: {}", now.name());
        }
    }
}

/// A guest that reports an attempt a second time, with a nonce it never sent, must not hide the first one's packets.
#[test]
fn a_second_report_does_not_hide_the_first() {
    let mut wrong = Wrong::default();
    for name in GOLDEN {
        let mut bench = Bench::new(name);
        for i in 0..bench.plan.len() {
            if bench.base[i].result != Some(Result_::Leaked) || bench.scenario(i) == "egress[open]" || !bench.sampled(i)
            {
                continue;
            }
            let scenario = bench.scenario(i);
            let mut change = Change::default();
            for part in bench.parts(i) {
                let at = bench.fact(&scenario, "guest", &part).expect("measured");
                let lie = Outcome::TimedOut { after_ms: 1300, detail: String::new() };
                let mut event = bench.with_outcome(at, lie, true);
                if let Event::Observed { fact, .. } = &mut event
                    && let Some(sent) = &mut fact.sent
                {
                    (sent.nonce, sent.sport) = ("awfp000000000000".to_owned(), 0);
                }
                change.add.push(event);
            }
            wrong.unless_unsatisfied(&mut bench, &change, &[i], || "reported again with another nonce".to_owned());
        }
    }
    wrong.finish(10);
}

// What the tests are made of.

/// Whether a requirement may hold with this verdict.
fn satisfies(verdict: Verdict) -> bool {
    matches!(verdict, Verdict::Pass | Verdict::NotApplicable)
}

/// Lines of the ledgers of witness, proxy and tripwire.
fn is_ledger(event: &Event) -> bool {
    match event {
        Event::Packet { at, .. } => at != "tap",
        Event::Http { .. } => true,
        _ => false,
    }
}

fn packet(src: IpAddr, sent: &Sent) -> Packet {
    Packet {
        t_ns: 1,
        link: "w0".to_owned(),
        way: "in".to_owned(),
        src,
        dst: sent.dst,
        proto: sent.proto,
        sport: sent.sport,
        dport: sent.dport,
        flags: String::new(),
        nonce: sent.nonce.clone(),
        nth: 1,
    }
}

/// An outcome a condition does not hold for, as far from it as can be.
fn opposite(condition: &Condition) -> Outcome {
    let outcome = match condition.wants.first().expect("a condition wants something") {
        Want::Allowed => Outcome::refused("EOWNERDEAD", "turned round"),
        Want::Refused(_) | Want::TimedOut => Outcome::allowed("turned round"),
        Want::Killed => Outcome::value("ok"),
        Want::Is(_) => Outcome::value("turned round"),
        Want::IsNot(text) => Outcome::value(text),
        Want::AtLeast(n) => Outcome::value(n - 0.01),
        Want::AtMost(n) => Outcome::value(n + 0.01),
    };
    assert!(!condition.holds(&outcome), "{} also takes {outcome}", condition.key);
    outcome
}

/// An outcome a condition holds for.
fn agreeing(condition: &Condition) -> Outcome {
    let outcome = match condition.wants.first().expect("a condition wants something") {
        Want::Allowed => Outcome::allowed("made up"),
        Want::Refused(names) => Outcome::refused(names.first().map_or("EPERM", String::as_str), "made up"),
        Want::TimedOut => Outcome::TimedOut { after_ms: 1, detail: String::new() },
        Want::Killed => Outcome::Killed { signal: 9, detail: String::new() },
        Want::Is(text) => Outcome::value(text),
        Want::IsNot(_) => Outcome::value("made up"),
        Want::AtLeast(n) | Want::AtMost(n) => Outcome::value(n),
    };
    assert!(condition.holds(&outcome), "{}", condition.key);
    outcome
}

/// A change to a journal: events put in the place of others, events added at the end.
#[derive(Clone, Debug, Default)]
struct Change {
    put: BTreeMap<usize, Event>,
    add: Vec<Event>,
}

impl Change {
    /// Positions keep their numbers: a lookup nobody judges stands where an event was.
    fn without(positions: &[usize]) -> Self {
        let (client, server) = (Ipv4Addr::UNSPECIFIED.into(), Ipv4Addr::UNSPECIFIED.into());
        let nothing = Event::Dns { client, name: String::new(), server, answer: String::new() };
        Self { put: positions.iter().map(|at| (*at, nothing.clone())).collect(), add: vec![] }
    }

    fn one(at: usize, event: Event) -> Self {
        Self { put: BTreeMap::from([(at, event)]), add: vec![] }
    }

    fn adding(event: Event) -> Self {
        Self { put: BTreeMap::new(), add: vec![event] }
    }
}

/// What was tried, and what came out wrong.
#[derive(Debug, Default)]
struct Wrong {
    tried: usize,
    all: Vec<String>,
}

impl Wrong {
    fn unless_unsatisfied(&mut self, bench: &mut Bench, change: &Change, cells: &[usize], what: impl Fn() -> String) {
        self.unless(bench, change, cells, &what, |c| !satisfies(c.verdict));
    }

    fn unless(
        &mut self,
        bench: &mut Bench,
        change: &Change,
        cells: &[usize],
        what: &dyn Fn() -> String,
        right: impl Fn(&Cell) -> bool,
    ) {
        self.tried += 1;
        for cell in bench.after(change, cells).iter().filter(|c| !right(c)) {
            let result = cell.result.map(|r| format!(" {}", r.word())).unwrap_or_default();
            let text =
                format!("{}: {}: {}: {}{result}: {}", cell.runtime, cell.name(), what(), cell.verdict, cell.reason);
            self.all.push(text);
        }
    }

    /// Fails with what came out wrong, and if so little was tried that the test itself would be vacuous.
    fn finish(self, at_least: usize) {
        let shown: Vec<&str> = self.all.iter().map(String::as_str).take(40).collect();
        assert!(self.all.is_empty(), "{} of {} changes:\n{}", self.all.len(), self.tried, shown.join("\n"));
        assert!(self.tried >= at_least, "only {} changes were tried", self.tried);
    }
}

/// A golden journal and its verdicts.
struct Bench {
    data: Data,
    events: Vec<Event>,
    runtime: String,
    plan: Vec<PlannedCell>,
    base: Vec<Cell>,
    class: Option<IsolationClass>,
    record: Record,
    facts: BTreeMap<(String, String, String), usize>,
    /// The scenario an event belongs to, if it belongs to one.
    owner: Vec<Option<String>>,
}

impl Bench {
    fn new(runtime: &str) -> Self {
        let (data, events) = (data(), events(runtime));
        let matrix = judge(&events, &data.catalogue, &data.models, &data.products);
        let Some(Event::RunStarted { plan, .. }) = events.first() else { panic!("no run-started") };
        let facts = events.iter().enumerate().filter_map(|(i, e)| match e {
            Event::Observed { scenario, source, fact, .. } => {
                Some(((scenario.clone(), source.clone(), fact.name.clone()), i))
            }
            _ => None,
        });
        let record = Record::new(&events);
        let owner = events.iter().map(|e| owner(e, &record, runtime)).collect();
        Self {
            owner,
            plan: plan.clone(),
            base: matrix.cells,
            class: matrix.runtimes[0].class,
            runtime: runtime.to_owned(),
            record,
            facts: facts.collect(),
            data,
            events,
        }
    }

    /// These cells, judged with a change that is undone again.
    fn after(&mut self, change: &Change, cells: &[usize]) -> Vec<Cell> {
        let length = self.events.len();
        let swap = |events: &mut Vec<Event>, put: &mut BTreeMap<usize, Event>| {
            for (at, event) in put {
                std::mem::swap(&mut events[*at], event);
            }
        };
        let mut put = change.put.clone();
        swap(&mut self.events, &mut put);
        self.events.extend(change.add.iter().cloned());
        let asked: Vec<PlannedCell> = cells.iter().map(|i| self.plan[*i].clone()).collect();
        let Some(Event::RunStarted { plan, .. }) = self.events.first_mut() else { panic!("no run-started") };
        *plan = asked;
        // What other models' sandboxes did has no part in these cells; leaving it out only saves time.
        let needed = self.needed(cells);
        let kept = |i: usize| match (&needed, self.owner.get(i)) {
            (Some(needed), Some(Some(owner))) => needed.contains(owner),
            _ => true,
        };
        let part: Option<Vec<Event>> = needed
            .is_some()
            .then(|| self.events.iter().enumerate().filter(|(i, _)| kept(*i)).map(|(_, e)| e.clone()).collect());
        let events = part.as_ref().unwrap_or(&self.events);
        let matrix = judge(events, &self.data.catalogue, &self.data.models, &self.data.products);
        self.events.truncate(length);
        swap(&mut self.events, &mut put);
        matrix.cells
    }

    /// All cells without these events, each with its position in the plan.
    fn judged_without(&mut self, lost: &[usize]) -> Vec<(usize, Cell)> {
        let all: Vec<usize> = (0..self.plan.len()).collect();
        self.after(&Change::without(lost), &all).into_iter().enumerate().collect()
    }

    fn passing(&self) -> Vec<usize> {
        (0..self.base.len()).filter(|i| self.base[*i].verdict == Verdict::Pass && self.sampled(*i)).collect()
    }

    /// Whether a cell takes part in tests that judge once for each of its observations. Of the ways out a tenth does:
    /// each attempt under one model at least, each model with every tenth attempt.
    fn sampled(&self, cell: usize) -> bool {
        let planned = &self.plan[cell];
        let attempt = ATTEMPTS.iter().position(|a| format!("egress.{}", a.id) == planned.id);
        let stages: Vec<_> = self.plan.iter().filter(|p| p.id == planned.id).map(|p| (&p.model, &p.backend)).collect();
        let stage = stages.iter().position(|s| *s == (&planned.model, &planned.backend));
        let failure = guard::FAILURES.iter().position(|f| format!("guard.{}", f.name()) == planned.id);
        if let Some(f) = failure {
            return (f + stage.expect("planned")).is_multiple_of(4);
        }
        // tests/dual.rs takes each of their observations away.
        if planned.id.starts_with("ipv6.") {
            return stage == Some(0);
        }
        attempt.is_none_or(|a| (a + stage.expect("planned")).is_multiple_of(10))
    }

    fn attempt(&self, cell: usize) -> &'static Attempt {
        let name = self.capability(cell).attempt;
        ATTEMPTS.iter().find(|a| a.id == name).expect("an attempt")
    }

    /// The scenarios a few egress cells rest on; `None`: all.
    fn needed(&self, cells: &[usize]) -> Option<BTreeSet<String>> {
        let egress = |i: &usize| self.capability(*i).scope.has_models();
        if cells.len() > 20 || !cells.iter().all(egress) {
            return None;
        }
        let controls = [
            "plain",
            "egress[open]",
            "egress[open]+raw",
            "ipv6[open]",
            "ipv6[open]+raw",
            awf_probe::scenario::egress::TAMPER,
        ];
        Some(controls.map(str::to_owned).into_iter().chain(cells.iter().map(|i| self.scenario(*i))).collect())
    }

    fn capability(&self, cell: usize) -> Capability {
        self.data.catalogue.get(&self.plan[cell].id).expect("known").clone()
    }

    fn position(&self, is: impl Fn(&Event) -> bool) -> usize {
        self.events.iter().position(is).expect("there is one")
    }

    fn all(&self, is: impl Fn(&Event) -> bool) -> Vec<usize> {
        (0..self.events.len()).filter(|i| is(&self.events[*i])).collect()
    }

    /// Events a cell names as evidence.
    fn evidence(&self, cell: usize, is: impl Fn(&Event) -> bool) -> Vec<usize> {
        let lines = self.base[cell].evidence.iter().filter_map(|e| e.journal_line);
        lines.map(|l| usize::try_from(l).expect("small") - 1).filter(|at| is(&self.events[*at])).collect()
    }

    /// The position of a fact: of the one that counts, if there are several.
    fn fact(&self, scenario: &str, source: &str, name: &str) -> Option<usize> {
        self.facts.get(&(scenario.to_owned(), source.to_owned(), name.to_owned())).copied()
    }

    fn seen(&self, scenario: &str, fact: &str) -> Seen {
        let scenario = self.record.get(&self.runtime, scenario).expect("took place");
        scenario.facts.get(&(Source::Guest, fact.to_owned())).expect("reported").clone()
    }

    fn sightings(&self, scenario: &str, fact: &str, at: &str) -> Vec<usize> {
        let seen = self.seen(scenario, fact);
        self.record.sightings(at, &seen).map(|l| usize::try_from(l.line).expect("small") - 1).collect()
    }

    /// What the witness saw of a scenario's sandbox with this destination.
    fn towards(&self, scenario: &str, to: IpAddr) -> Vec<usize> {
        let lines = self.record.from(Some(self.address(scenario)));
        let lines = lines.filter(|l| l.at == "witness" && l.packet.dst == to);
        lines.map(|l| usize::try_from(l.line).expect("small") - 1).collect()
    }

    fn sent(&self, at: usize) -> Option<Sent> {
        match &self.events[at] {
            Event::Observed { fact, .. } => fact.sent.clone(),
            _ => None,
        }
    }

    fn address(&self, scenario: &str) -> IpAddr {
        self.record.get(&self.runtime, scenario).expect("took place").address.expect("stands in the lab")
    }

    /// The scenario of an egress cell.
    fn scenario(&self, cell: usize) -> String {
        let planned = &self.plan[cell];
        let model = planned.model.as_deref().expect("an egress cell");
        if planned.id.starts_with("guard.") {
            return guard::name(model, planned.backend.as_deref());
        }
        if planned.id.starts_with("ipv6.") {
            return dual::name(model, planned.backend.as_deref(), false);
        }
        awf_probe::scenario::egress::name(model, planned.backend.as_deref(), false)
    }

    /// The scenario a condition of a cell is about.
    fn place(&self, cell: &Cell, condition: &Condition) -> String {
        place(cell.model.as_deref(), condition)
    }

    /// Whether it is a packet of a sweep over IPv6: the last word of a destination is its attempt's place.
    fn swept(&self, at: usize) -> bool {
        self.of_attempt(at, "tcp.sweep")
    }

    /// Whether a packet went to the IPv6 destination of this attempt.
    fn of_attempt(&self, at: usize, id: &str) -> bool {
        let number = ATTEMPTS.iter().position(|a| a.id == id).and_then(|n| u16::try_from(n).ok());
        match &self.events[at] {
            Event::Packet { packet, .. } => match packet.dst {
                IpAddr::V6(to) => Some(to.segments()[7]) == number,
                IpAddr::V4(_) => false,
            },
            _ => false,
        }
    }

    /// Names of the facts of an egress cell: one, or one for each port. None of another cell.
    fn parts(&self, cell: usize) -> Vec<String> {
        let capability = self.capability(cell);
        if capability.scope != Scope::Egress {
            return vec![];
        }
        let (scenario, ports) = (self.scenario(cell), format!("{}.", capability.attempt));
        let mine = |name: &str| {
            let port = name.strip_prefix(&ports).is_some_and(|p| p.parse::<u16>().is_ok());
            name == capability.attempt || port
        };
        let facts = self.facts.keys().filter(|(s, source, n)| *s == scenario && source == "guest" && mine(n));
        let parts: Vec<String> = facts.map(|(_, _, n)| n.clone()).collect();
        assert!(!parts.is_empty(), "{scenario} {}", capability.attempt);
        parts
    }

    /// The fact at this position with another outcome.
    fn with_outcome(&self, at: usize, outcome: Outcome, keep_sent: bool) -> Event {
        let mut event = self.events[at].clone();
        let Event::Observed { fact, .. } = &mut event else { panic!("line {} is no fact", at + 1) };
        fact.outcome = outcome;
        if !keep_sent {
            fact.sent = None;
        }
        event
    }

    fn decided(&self, at: usize, word: &str) -> Event {
        let mut event = self.events[at].clone();
        let Event::Decision { decision, status, .. } = &mut event else { panic!("line {} is no decision", at + 1) };
        (*decision, *status) = (word.to_owned(), 200);
        event
    }

    /// The first line, with this product in its only row. The plan is put in by `after`.
    fn row(&self, of: &str) -> Event {
        let mut event = self.events[0].clone();
        let Event::RunStarted { runtimes, .. } = &mut event else { panic!("no run-started") };
        (runtimes[0].product, runtimes[0].version) = (of.to_owned(), format!("{of} version 1"));
        event
    }

    /// For each observation a passing verdict rests on, the events that are that observation, and the cells.
    fn foundations(&self) -> BTreeMap<Vec<usize>, Vec<usize>> {
        let mut all: BTreeMap<Vec<usize>, BTreeSet<usize>> = BTreeMap::new();
        for i in self.passing() {
            let cell = &self.base[i];
            for e in &cell.evidence {
                let Some(line) = e.journal_line else {
                    assert!(e.saw.starts_with("plain/class.known@host"), "{}: {} has no line", cell.name(), e.saw);
                    continue;
                };
                if !SHOWN_ONLY.iter().any(|(source, _)| *source == e.source) {
                    let at = usize::try_from(line).expect("small") - 1;
                    // A refusal as no request may be logged without its target; that the request arrived at the
                    // proxy, and nothing beyond it, is the other proof.
                    let logged = matches!(self.events[at], Event::Decision { .. });
                    // A sweep arrives by many packets, each of them proof enough.
                    let attempt = self.capability(i).attempt;
                    let sweep = matches!(self.events[at], Event::Packet { .. })
                        && (attempt == "tcp.sweep" || self.capability(i).scope == Scope::DualStack && self.swept(at));
                    // A frozen proxy answers nobody: what arrived there and what arrived nowhere are both closed.
                    let frozen = self.capability(i).scope == Scope::Guard
                        && matches!(&self.events[at], Event::Packet { at, .. } if at == "proxy");
                    if sweep || frozen {
                        continue;
                    }
                    if logged && self.capability(i).scope == Scope::Egress && self.attempt(i).malformed {
                        continue;
                    }
                    all.entry(self.same_observation(at)).or_default().insert(i);
                }
            }
            // Evidence from a ledger names the packet; what the guest sent is the other half of it.
            let capability = self.capability(i);
            for c in capability.controls.iter().chain(&capability.pass) {
                if matches!(c.key.source, Source::Witness | Source::Proxy) {
                    let at = self.fact(&self.place(cell, c), "guest", &c.key.fact).expect("reported");
                    all.entry(vec![at]).or_default().insert(i);
                }
            }
        }
        all.into_iter().map(|(lines, cells)| (lines, cells.into_iter().collect())).collect()
    }

    /// All events that say the same: packets of one attempt at one place, requests of one name, decisions about one.
    fn same_observation(&self, at: usize) -> Vec<usize> {
        match &self.events[at] {
            Event::Packet { at: place, packet } => {
                let flow = |p: &Packet| (p.src, p.dst, p.proto, p.sport, p.dport);
                let packets = || {
                    self.events.iter().enumerate().filter_map(|(i, e)| match e {
                        Event::Packet { at, packet } if at == place => Some((i, packet)),
                        _ => None,
                    })
                };
                // Nobody puts the parts of an IPv6 datagram together on the way: the first has the ports, the next the
                // nonce, and each is proof that the datagram arrived.
                if self.of_attempt(at, "raw.fragments") {
                    let pair = |p: &Packet| (p.src, p.dst);
                    return packets().filter(|(_, p)| pair(p) == pair(packet)).map(|(i, _)| i).collect();
                }
                let of_flow = packets().filter(|(_, p)| flow(p) == flow(packet) && !p.nonce.is_empty());
                let nonces: BTreeSet<&str> = of_flow.map(|(_, p)| p.nonce.as_str()).collect();
                packets()
                    .filter(|(_, p)| flow(p) == flow(packet) || nonces.contains(p.nonce.as_str()))
                    .map(|(i, _)| i)
                    .collect()
            }
            Event::Http { host, path, .. } => {
                let (host, path) = (host.clone(), path.clone());
                self.all(|e| matches!(e, Event::Http { host: h, path: p, .. } if *h == host && *p == path))
            }
            Event::Decision { client, target, .. } => {
                let (client, target) = (*client, target.clone());
                self.all(|e| matches!(e, Event::Decision { client: c, target: t, .. } if *c == client && *t == target))
            }
            _ => vec![at],
        }
    }

    /// Changes that spoil what a condition looks at.
    fn spoiled(&self, cell: &Cell, c: &Condition) -> Vec<(&'static str, Change)> {
        // Composed by the judge from the identity facts, which have tests of their own.
        if c.key.fact == "class.known" {
            return vec![];
        }
        let scenario = self.place(cell, c);
        let source = match c.key.source {
            Source::Witness | Source::Proxy => Source::Guest,
            other => other,
        };
        let at = self.fact(&scenario, source.word(), &c.key.fact).expect("reported");
        let broken = Change::one(at, self.with_outcome(at, Outcome::broken("x"), false));
        let skipped = Change::one(at, self.with_outcome(at, Outcome::Skipped { why: "x".to_owned() }, false));
        let turned = match c.key.source {
            Source::Guest | Source::Engine | Source::Host => Change::one(at, self.with_outcome(at, opposite(c), true)),
            Source::Witness | Source::Proxy => {
                let place = c.key.source.word();
                if c.wants.contains(&Want::Allowed) {
                    Change::without(&self.sightings(&scenario, &c.key.fact, place))
                } else {
                    let seen = self.seen(&scenario, &c.key.fact);
                    let (sent, address) = (seen.fact.sent.expect("sent"), seen.address.expect("an address"));
                    Change::adding(Event::Packet { at: place.to_owned(), packet: packet(address, &sent) })
                }
            }
        };
        vec![("is broken", broken), ("is skipped", skipped), ("is turned round", turned)]
    }
}

/// The scenario an event belongs to: by name, or by the address of a sandbox that stands in the lab.
fn owner(event: &Event, record: &Record, runtime: &str) -> Option<String> {
    let at = |address: &IpAddr| {
        let of = record.scenarios.iter().find(|(_, s)| s.address == Some(*address));
        of.filter(|((r, _), _)| r == runtime).map(|((_, name), _)| name.clone())
    };
    match event {
        Event::Observed { scenario, .. }
        | Event::SandboxStarted { scenario, .. }
        | Event::SandboxDied { scenario, .. }
        | Event::Drained { scenario, .. }
        | Event::Phase { scenario, .. } => Some(scenario.clone()),
        Event::Packet { packet, at: place } if place != "tripwire" => at(&packet.src),
        Event::Dns { client, .. } | Event::Http { client, .. } | Event::Decision { client, .. } => at(client),
        Event::RunStarted { .. }
        | Event::LabUp { .. }
        | Event::HostProcesses { .. }
        | Event::Packet { .. }
        | Event::Problem { .. }
        | Event::Cleaned { .. }
        | Event::RunFinished { .. } => None,
    }
}

/// The scenario a condition is about, in a cell of this model.
fn place(model: Option<&str>, condition: &Condition) -> String {
    match model.and_then(|m| m.strip_prefix("init=")) {
        Some(init) if condition.key.scenario == "netns" => format!("netns[{init}]"),
        _ => condition.key.scenario.clone(),
    }
}

/// A journal made to satisfy or violate the conditions of one cell.
struct Scene<'a> {
    events: Vec<Event>,
    planned: PlannedCell,
    data: &'a Data,
}

impl Scene<'_> {
    fn judge(&mut self) -> Cell {
        let asked = vec![self.planned.clone()];
        let Some(Event::RunStarted { plan, .. }) = self.events.first_mut() else { panic!("no run-started") };
        *plan = asked;
        judge(&self.events, &self.data.catalogue, &self.data.models, &self.data.products).cells.remove(0)
    }

    fn satisfy(&mut self, c: &Condition) {
        let name = place(self.planned.model.as_deref(), c);
        match c.key.source {
            _ if c.key.fact == "class.known" => {}
            Source::Guest | Source::Engine | Source::Host => {
                if !self.outcome(&name, c.key.source, &c.key.fact).is_some_and(|o| c.holds(&o)) {
                    self.set(&name, c.key.source, &c.key.fact, agreeing(c));
                }
            }
            Source::Witness | Source::Proxy => {
                let arrived = c.wants.contains(&Want::Allowed);
                let sightings = self.sightings(&name, c);
                if arrived && sightings.is_empty() {
                    self.arrive(&name, c);
                } else if !arrived {
                    self.remove(&sightings);
                    if matches!(self.outcome(&name, Source::Guest, &c.key.fact), Some(Outcome::Broken { .. }) | None) {
                        let made = Outcome::TimedOut { after_ms: 1, detail: String::new() };
                        self.set(&name, Source::Guest, &c.key.fact, made);
                    }
                }
            }
        }
    }

    fn violate(&mut self, c: &Condition) {
        let name = place(self.planned.model.as_deref(), c);
        match c.key.source {
            // No host task with the guest's name: not the kernel runc is known for.
            _ if c.key.fact == "class.known" => self.set(&name, Source::Host, "comm.found", Outcome::value(0)),
            Source::Guest | Source::Engine | Source::Host => {
                self.set(&name, c.key.source, &c.key.fact, opposite(c));
            }
            Source::Witness | Source::Proxy => {
                if c.wants.contains(&Want::Allowed) {
                    let sightings = self.sightings(&name, c);
                    self.remove(&sightings);
                } else {
                    self.arrive(&name, c);
                }
            }
        }
    }

    fn outcome(&self, scenario: &str, source: Source, name: &str) -> Option<Outcome> {
        let record = Record::new(&self.events);
        let seen = record.get(&self.planned.runtime, scenario)?.facts.get(&(source, name.to_owned()))?;
        Some(seen.fact.outcome.clone())
    }

    fn set(&mut self, of: &str, by: Source, name: &str, outcome: Outcome) {
        let known = self.events.iter_mut().rev().find_map(|e| match e {
            Event::Observed { scenario, source, fact, .. }
                if scenario == of && source == by.word() && fact.name == name =>
            {
                Some(fact)
            }
            _ => None,
        });
        match known {
            Some(fact) => fact.outcome = outcome,
            None => self.events.push(Event::Observed {
                runtime: self.planned.runtime.clone(),
                scenario: of.to_owned(),
                source: by.word().to_owned(),
                fact: awf_probe_matrix::Fact { name: name.to_owned(), outcome, sent: None, elapsed_ms: None },
                address: None,
            }),
        }
    }

    fn seen(&self, scenario: &str, c: &Condition) -> Seen {
        let record = Record::new(&self.events);
        let scenario = record.get(&self.planned.runtime, scenario).expect("took place");
        scenario.facts.get(&(Source::Guest, c.key.fact.clone())).expect("reported").clone()
    }

    fn sightings(&self, scenario: &str, c: &Condition) -> Vec<usize> {
        let (record, seen) = (Record::new(&self.events), self.seen(scenario, c));
        let lines = record.sightings(c.key.source.word(), &seen).map(|l| usize::try_from(l.line).expect("small") - 1);
        lines.collect()
    }

    fn remove(&mut self, positions: &[usize]) {
        for (at, nothing) in Change::without(positions).put {
            self.events[at] = nothing;
        }
    }

    fn arrive(&mut self, scenario: &str, c: &Condition) {
        let seen = self.seen(scenario, c);
        let (sent, address) = (seen.fact.sent.expect("sent"), seen.address.expect("an address"));
        self.events.push(Event::Packet { at: c.key.source.word().to_owned(), packet: packet(address, &sent) });
    }
}
