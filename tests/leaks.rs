//! A leak of each kind, put into each model: exactly the attempts it is about turn `leaked`.
//!
//! The journal is a real run's; what is added is what the ledgers would hold if a rule were left out, a port, a resolver
//! or the proxy's list were open, or IPv6 were on.

use std::{collections::BTreeSet, net::IpAddr};

use awf_probe::{
    commands::Data,
    event::{Event, PlannedCell},
    judge::judge,
    lab::roles::wire::Packet,
    record::{Record, Seen},
    scenario::egress::name,
};
use awf_probe_matrix::{Cell, EgressWant, Result_, Source, Verdict};
use awf_probe_probes::{ATTEMPTS, Attempt, Sink};

mod common;
use common::{data, events};

/// A kind of leak: which of the packets that were sent it lets through.
struct Kind {
    what: &'static str,
    lets: fn(&Attempt, &Seen) -> bool,
}

const KINDS: &[Kind] = &[
    Kind { what: "the rule for UDP left out", lets: |_, s| proto(s) == 17 && v4(s) && dport(s) != 53 },
    Kind { what: "port 25 open", lets: |_, s| proto(s) == 6 && dport(s) == 25 },
    Kind { what: "port 443 open", lets: |_, s| proto(s) == 6 && dport(s) == 443 && v4(s) },
    Kind { what: "any resolver open", lets: |_, s| dport(s) == 53 && v4(s) },
    Kind { what: "ICMP open", lets: |a, s| a.id == "icmp.ping" && proto(s) == 1 },
    Kind { what: "IPv6 on", lets: |_, s| !v4(s) },
];

fn proto(seen: &Seen) -> u8 {
    seen.fact.sent.as_ref().map_or(0, |s| s.proto)
}

fn dport(seen: &Seen) -> u16 {
    seen.fact.sent.as_ref().map_or(0, |s| s.dport)
}

fn v4(seen: &Seen) -> bool {
    seen.fact.sent.as_ref().is_some_and(|s| s.dst.is_ipv4())
}

/// A model's scenario, its cells, and what the guest sent in it.
struct Stage {
    scenario: String,
    cells: Vec<PlannedCell>,
    sent: Vec<(&'static Attempt, Seen)>,
    address: IpAddr,
}

fn stages(data: &Data, events: &[Event]) -> Vec<Stage> {
    let Some(Event::RunStarted { plan, runtimes, .. }) = events.first() else { panic!("no run-started") };
    let record = Record::new(events);
    let mut stages: Vec<Stage> = Vec::new();
    for planned in plan.iter().filter(|p| p.id.starts_with("egress.")) {
        let model = planned.model.as_deref().expect("a model");
        if !data.models.iter().any(|m| m.id == model && m.counts) {
            continue;
        }
        let scenario = name(model, planned.backend.as_deref(), false);
        if let Some(stage) = stages.iter_mut().find(|s| s.scenario == scenario) {
            stage.cells.push(planned.clone());
            continue;
        }
        let seen = record.get(&runtimes[0].name, &scenario).expect("took place");
        let of = |fact: &str| {
            ATTEMPTS.iter().find(|a| {
                fact == a.id || fact.strip_prefix(&format!("{}.", a.id)).is_some_and(|p| p.parse::<u16>().is_ok())
            })
        };
        let guest = seen.facts.iter().filter(|((s, _), f)| *s == Source::Guest && f.fact.sent.is_some());
        let sent = guest.filter_map(|((_, n), f)| Some((of(n)?, f.clone()))).collect();
        let address = seen.address.expect("stands in the lab");
        stages.push(Stage { scenario, cells: vec![planned.clone()], sent, address });
    }
    stages
}

fn judged(data: &Data, events: &[Event], cells: &[PlannedCell]) -> Vec<Cell> {
    let mut events = events.to_vec();
    let Some(Event::RunStarted { plan, .. }) = events.first_mut() else { panic!("no run-started") };
    *plan = cells.to_vec();
    judge(&events, &data.catalogue, &data.models, &data.products).cells
}

fn packet(from: IpAddr, seen: &Seen) -> Event {
    let sent = seen.fact.sent.as_ref().expect("sent");
    Event::Packet {
        at: "witness".to_owned(),
        packet: Packet {
            t_ns: 1,
            link: "w0".to_owned(),
            way: "in".to_owned(),
            src: from,
            dst: sent.dst,
            proto: sent.proto,
            sport: sent.sport,
            dport: sent.dport,
            flags: String::new(),
            nonce: sent.nonce.clone(),
            nth: 1,
        },
    }
}

#[test]
fn a_leak_of_each_kind_turns_exactly_its_attempts() {
    let data = data();
    let mut turned = 0;
    for runtime in ["runc", "runsc"] {
        let golden = events(runtime);
        for stage in stages(&data, &golden) {
            let before = judged(&data, &golden, &stage.cells);
            for kind in KINDS {
                let through: Vec<_> = stage.sent.iter().filter(|(a, s)| (kind.lets)(a, s)).collect();
                let ids: BTreeSet<String> = through.iter().map(|(a, _)| format!("egress.{}", a.id)).collect();
                assert!(!ids.is_empty(), "{}: {} is about no attempt", stage.scenario, kind.what);
                let mut changed = golden.clone();
                changed.extend(through.iter().map(|(_, s)| packet(stage.address, s)));
                for (was, is) in before.iter().zip(judged(&data, &changed, &stage.cells)) {
                    let about = ids.contains(&is.id);
                    let attempt = ATTEMPTS.iter().find(|a| format!("egress.{}", a.id) == is.id).expect("known");
                    let documented = !attempt.residual.is_empty() && attempt.sink == Sink::Witness;
                    let text = || format!("{runtime} {} with {}: {}", stage.scenario, kind.what, is.name());
                    if !about {
                        assert_eq!((is.verdict, is.result), (was.verdict, was.result), "{}", text());
                    } else if documented {
                        assert!(is.verdict != Verdict::Pass, "{}", text());
                    } else {
                        assert_eq!(is.result, Some(Result_::Leaked), "{}: {}", text(), is.reason);
                        turned += usize::from(was.verdict == Verdict::Pass);
                    }
                }
            }
        }
    }
    assert!(turned > 200, "only {turned} cells turned");
}

#[test]
fn an_open_list_turns_exactly_what_it_denied() {
    let data = data();
    for runtime in ["runc", "runsc"] {
        let golden = events(runtime);
        for stage in stages(&data, &golden) {
            let before = judged(&data, &golden, &stage.cells);
            let denied = "proxy.denied-name";
            let (_, seen) = stage.sent.iter().find(|(a, _)| a.id == denied).expect("made");
            let nonce = seen.fact.sent.as_ref().expect("sent").nonce.clone();
            let mut changed = golden.clone();
            for event in &mut changed {
                if let Event::Decision { target, decision, status, .. } = event
                    && target.contains(&nonce)
                {
                    (*decision, *status) = ("allowed".to_owned(), 200);
                }
            }
            for (was, is) in before.iter().zip(judged(&data, &changed, &stage.cells)) {
                let want = data.catalogue.get(&is.id).and_then(|c| c.want);
                if is.id == format!("egress.{denied}") {
                    assert_eq!(is.result, Some(Result_::Leaked), "{runtime} {}: {}", stage.scenario, is.name());
                } else if want == Some(EgressWant::Served) && is.id.starts_with("egress.proxy.") {
                    // Its control is that the list denies something.
                    assert_eq!(is.verdict, Verdict::Inconclusive, "{runtime} {}: {}", stage.scenario, is.name());
                } else {
                    assert_eq!((is.verdict, is.result), (was.verdict, was.result), "{}: {}", stage.scenario, is.name());
                }
            }
        }
    }
}
