//! Cells of IPv6, from made-up observations: each is seen to fail, and none passes without what it rests on. What is not
//! about IPv6 (host, runtime, identity) is that of a real run.

use std::net::IpAddr;

use awf_probe::{
    event::{Event, PlannedCell},
    judge::judge,
    lab::roles::wire::Packet,
    scenario::dual::{FORWARDS, GROUPS, NO_IPV6, OPEN, OPTIONS, REOPENED, TREATMENTS, name, ways},
};
use awf_probe_matrix::{Cell, Fact, Outcome, Result_, Scope, Sent, Verdict};
use awf_probe_probes::{Attempt, Sink, over_ipv6};

mod common;
use common::{data, events};

const MODEL: &str = "netns-init";

/// A run in which every way out is made under every treatment and nothing gets out, but where nothing enforces.
struct Run {
    base: Vec<Event>,
    events: Vec<Event>,
}

fn scenario() -> String {
    name(MODEL, Some("nft"), false)
}

fn attempt(id: &str) -> &'static Attempt {
    over_ipv6().find(|a| a.id == id).expect("an attempt")
}

/// The agent of a scenario.
fn agent(scenario: &str) -> IpAddr {
    let n = if scenario.ends_with("+raw") { 0x16 } else { 0x14 + u16::from(scenario == name("open", None, false)) };
    IpAddr::from([0x2001, 0xdb8, 0x213, 7, 0, 0, 0, n])
}

/// What a fact of the model's scenario sent.
fn sent(name: &str) -> Sent {
    of(&scenario(), name)
}

/// What a fact sent: as different as the names are.
fn of(scenario: &str, name: &str) -> Sent {
    let n = format!("{scenario} {name}").bytes().fold(7_u32, |n, b| n.wrapping_mul(31).wrapping_add(u32::from(b)));
    let (high, low) = (n >> 16, n & 0xffff);
    Sent {
        proto: 17,
        dst: format!("2001:db8:203:113::{high:x}:{low:x}").parse().expect("an address"),
        dport: 40_000,
        sport: 20_000 + (n % 20_000) as u16,
        nonce: format!("awfp{n:012}"),
        target: String::new(),
    }
}

fn observed(scenario: &str, source: &str, name: &str, outcome: Outcome, sent: Option<Sent>) -> Event {
    Event::Observed {
        runtime: "runc".to_owned(),
        scenario: scenario.to_owned(),
        source: source.to_owned(),
        fact: Fact { name: name.to_owned(), outcome, sent, elapsed_ms: None },
        address: Some(agent(scenario)),
    }
}

/// A packet of the model's agent at the witness, with another source port if it is told so.
fn arrival(sent: &Sent, sport: u16) -> Event {
    arrived(&scenario(), "witness", sent, sport)
}

fn arrived(scenario: &str, at: &str, sent: &Sent, sport: u16) -> Event {
    let packet = Packet {
        t_ns: 1,
        link: "awfp".to_owned(),
        way: "in".to_owned(),
        src: agent(scenario),
        dst: sent.dst,
        proto: sent.proto,
        sport,
        dport: sent.dport,
        flags: String::new(),
        nonce: if sport == sent.sport { sent.nonce.clone() } else { String::new() },
        nth: 1,
    };
    Event::Packet { at: at.to_owned(), packet }
}

/// The host's listener answered it.
fn served(scenario: &str, sent: &Sent) -> Event {
    Event::Http {
        client: agent(scenario),
        server: sent.dst,
        host: "denied.awf-probe.test".to_owned(),
        path: format!("/{}", sent.nonce),
        tls: false,
    }
}

/// Names of an attempt's facts behind a label: one, or one for each port.
fn parts(label: &str, id: &str) -> Vec<String> {
    let whole = if label.is_empty() { id.to_owned() } else { format!("{label}.{id}") };
    let ports = attempt(id).parts();
    if ports.is_empty() { vec![whole] } else { ports.iter().map(|p| format!("{whole}.{p}")).collect() }
}

impl Run {
    fn new() -> Self {
        let base = events("runc").into_iter().filter(|e| match e {
            Event::RunStarted { .. }
            | Event::LabUp { .. }
            | Event::HostProcesses { .. }
            | Event::RunFinished { .. } => true,
            Event::Observed { scenario, .. } | Event::SandboxStarted { scenario, .. } => scenario == "plain",
            _ => false,
        });
        let mut run = Self { base: base.collect(), events: vec![] };
        let (open, raw) = (name("open", None, false), name("open", None, true));
        for scenario in [&open, &raw, &scenario()] {
            run.stands(scenario);
        }
        let silent = || Outcome::TimedOut { after_ms: 1300, detail: "3 of 3 datagrams sent".to_owned() };
        let refused = || Outcome::refused("EPERM", "socket");
        for id in ways() {
            let needs_raw = attempt(id).raw || OPTIONS.contains(&id);
            for part in parts("", id) {
                run.made(&open, &part, if needs_raw { refused() } else { silent() });
                let control = if needs_raw { &raw } else { &open };
                if needs_raw {
                    run.made(&raw, &part, silent());
                }
                let sent = of(control, &part);
                run.events.push(match attempt(id).sink {
                    Sink::Host => served(control, &sent),
                    Sink::Witness | Sink::Neighbour => arrived(control, "witness", &sent, sent.sport),
                });
            }
            for treatment in TREATMENTS {
                for part in parts(treatment.name(), id) {
                    run.made(&scenario(), &part, if needs_raw { refused() } else { silent() });
                }
                run.ended(&scenario(), &format!("{}.{id}", treatment.name()));
            }
        }
        let reopened = format!("{}.{OPEN}", REOPENED.0);
        run.made(&scenario(), &reopened, Outcome::allowed("answered"));
        run.events.push(arrival(&sent(&reopened), sent(&reopened).sport));
        for done in TREATMENTS.iter().filter_map(|t| t.done()) {
            run.events.push(observed(&scenario(), "guest", done, Outcome::allowed("done"), None));
        }
        run
    }

    fn stands(&mut self, scenario: &str) {
        self.events.extend([
            Event::SandboxStarted {
                runtime: "runc".to_owned(),
                scenario: scenario.to_owned(),
                role: "agent".to_owned(),
                container: "c".to_owned(),
                address: Some(agent(scenario)),
                create_ms: 1,
                start_ms: 1,
            },
            observed(scenario, "engine", "runtime.asked", Outcome::allowed("inspect says runc"), None),
            observed(scenario, "host", "comm.found", Outcome::value(1), None),
            Event::Drained {
                runtime: "runc".to_owned(),
                scenario: scenario.to_owned(),
                ok: true,
                why: "markers seen".to_owned(),
            },
        ]);
    }

    fn made(&mut self, scenario: &str, fact: &str, outcome: Outcome) {
        self.events.push(observed(scenario, "guest", fact, outcome, Some(of(scenario, fact))));
    }

    fn ended(&mut self, scenario: &str, label: &str) {
        self.events.push(observed(scenario, "guest", &format!("{label}.end"), Outcome::value("ok"), None));
    }

    /// The cells of IPv6 under a model, with these events and without those that `gone` names.
    fn cells(&self, model: &str, more: &[Event], gone: impl Fn(&Event) -> bool) -> Vec<Cell> {
        let data = data();
        let backend = data.models.iter().find(|m| m.id == model).and_then(|m| m.backends.get(1)).cloned();
        let six = data.catalogue.capabilities.iter().filter(|c| c.scope == Scope::DualStack);
        let planned = six.map(|c| PlannedCell {
            id: c.id.clone(),
            runtime: "runc".to_owned(),
            model: Some(model.to_owned()),
            backend: backend.clone(),
        });
        let cells: Vec<PlannedCell> = planned.collect();
        assert_eq!(cells.len(), TREATMENTS.len() * GROUPS.len());
        let mut all = self.base.clone();
        all.extend(self.events.iter().filter(|e| !gone(e)).cloned());
        all.extend(more.iter().cloned());
        for event in &mut all {
            if let Event::RunStarted { plan, .. } = event {
                plan.clone_from(&cells);
            }
        }
        judge(&all, &data.catalogue, &data.models, &data.products).cells
    }

    fn verdicts(&self, more: &[Event], gone: impl Fn(&Event) -> bool) -> Vec<(String, Verdict, Option<Result_>)> {
        self.cells(MODEL, more, gone).into_iter().map(|c| (c.id, c.verdict, c.result)).collect()
    }
}

fn is_fact(event: &Event, wanted: &str) -> bool {
    matches!(event, Event::Observed { fact, .. } if fact.name == wanted)
}

fn id(treatment: &str, group: &str) -> String {
    format!("ipv6.{treatment}.{group}")
}

#[test]
fn where_nothing_gets_out_every_cell_passes() {
    for c in Run::new().cells(MODEL, &[], |_| false) {
        assert_eq!(c.verdict, Verdict::Pass, "{}: {}", c.id, c.reason);
        assert!(!c.evidence.is_empty(), "{}", c.id);
    }
}

/// By its nonce and flow, and by its destination alone, as of a runtime that chooses source ports again.
#[test]
fn one_packet_of_one_attempt_opens_its_cell_and_no_other() {
    let run = Run::new();
    for treatment in TREATMENTS {
        for (group, ids) in GROUPS {
            for way in ids {
                let part = parts(treatment.name(), way).pop().expect("one at least");
                let sent = sent(&part);
                for sport in [sent.sport, sent.sport ^ 1] {
                    for (cell, verdict, result) in run.verdicts(&[arrival(&sent, sport)], |_| false) {
                        let mine = cell == id(treatment.name(), group);
                        // A packet for the link that comes to a router has left it.
                        let wanted = if mine { Verdict::Fail } else { Verdict::Pass };
                        assert_eq!(verdict, wanted, "{cell}: a packet of {part}, port {sport}");
                        assert!(!mine || result == Some(Result_::Leaked), "{cell}: {result:?}");
                    }
                }
            }
        }
    }
}

#[test]
fn whoever_is_served_by_the_host_has_reached_it() {
    for treatment in TREATMENTS {
        let sent = sent(&format!("{}.link.gateway", treatment.name()));
        for (cell, verdict, _) in Run::new().verdicts(&[served(&scenario(), &sent)], |_| false) {
            let mine = cell == id(treatment.name(), "host");
            assert_eq!(verdict, if mine { Verdict::Fail } else { Verdict::Pass }, "{cell}");
        }
    }
}

/// A neighbour hears it, and no more.
#[test]
fn what_stays_on_the_link_is_a_documented_risk() {
    let sent = sent("sysctl.ipv6.link-local");
    let heard = arrived(&scenario(), "sidecar", &sent, sent.sport);
    for (cell, verdict, result) in Run::new().verdicts(&[heard], |_| false) {
        let mine = cell == "ipv6.sysctl.link";
        assert_eq!(verdict, if mine { Verdict::Partial } else { Verdict::Pass }, "{cell}: {result:?}");
    }
}

#[test]
fn without_its_control_no_way_is_closed() {
    let run = Run::new();
    for (group, ids) in GROUPS {
        for way in ids {
            for part in parts("", way) {
                let to = [false, true].map(|raw| of(&name("open", None, raw), &part).dst);
                let gone = |e: &Event| match e {
                    Event::Packet { packet, .. } => to.contains(&packet.dst),
                    Event::Http { server, .. } => to.contains(server),
                    _ => false,
                };
                for (cell, verdict, _) in run.verdicts(&[], gone) {
                    let mine = cell.ends_with(&format!(".{group}"));
                    assert_eq!(verdict == Verdict::Pass, !mine, "{cell}: {part} does not arrive under open: {verdict}");
                }
            }
        }
    }
}

#[test]
fn what_was_not_reported_or_not_completed_is_not_closed() {
    let run = Run::new();
    let untold = |gone: &dyn Fn(&Event) -> bool, of: &dyn Fn(&str) -> bool, what: &str| {
        for (cell, verdict, _) in run.verdicts(&[], gone) {
            let wanted = if of(&cell) { Verdict::Inconclusive } else { Verdict::Pass };
            assert_eq!(verdict, wanted, "{cell}: {what}");
        }
    };
    for treatment in TREATMENTS {
        let t = treatment.name();
        for (group, ids) in GROUPS {
            for way in ids {
                let mine = |cell: &str| cell == id(t, group);
                untold(&|e| is_fact(e, &format!("{t}.{way}.end")), &mine, "the probe did not come to its end");
                for part in parts(t, way) {
                    untold(&|e| is_fact(e, &part), &mine, &format!("{part} is missing"));
                }
            }
        }
        if let Some(done) = treatment.done() {
            untold(&|e| is_fact(e, done), &|cell| cell.starts_with(&format!("ipv6.{t}.")), "nobody says what was done");
        }
    }
    let drained = |e: &Event| matches!(e, Event::Drained { scenario: s, .. } if *s == scenario());
    untold(&drained, &|_| true, "the ledgers were not completed");
    let asked =
        |e: &Event| is_fact(e, "runtime.asked") && matches!(e, Event::Observed { scenario: s, .. } if *s == scenario());
    untold(&asked, &|_| true, "the engine was not asked which runtime it is");
}

/// disable_ipv6 is written after ip6tables was tried: its rule must be gone, or it would be the rule that closed the ways.
#[test]
fn a_sysctl_is_judged_only_where_the_rule_before_it_is_gone() {
    let run = Run::new();
    let to = sent(&format!("{}.{OPEN}", REOPENED.0)).dst;
    let gone = |e: &Event| matches!(e, Event::Packet { packet, .. } if packet.dst == to);
    for (cell, verdict, _) in run.verdicts(&[], gone) {
        let after = cell.starts_with("ipv6.as-awf.") || cell.starts_with("ipv6.sysctl.");
        // Without that packet nothing of the sandbox was heard anywhere, either.
        assert_ne!(verdict, Verdict::Pass, "{cell}");
        assert!(!after || verdict == Verdict::Inconclusive, "{cell}: {verdict}");
    }
    // Heard before the rules, which says nothing of afterwards.
    let before = "before.udp.high";
    let more = [
        observed(&scenario(), "guest", before, Outcome::allowed("answered"), Some(sent(before))),
        arrival(&sent(before), sent(before).sport),
    ];
    for (cell, verdict, _) in run.verdicts(&more, gone) {
        let after = cell.starts_with("ipv6.as-awf.") || cell.starts_with("ipv6.sysctl.");
        assert_eq!(verdict, if after { Verdict::Inconclusive } else { Verdict::Pass }, "{cell}");
    }
}

#[test]
fn a_leak_tells_whether_the_treatment_was_carried_out() {
    let run = Run::new();
    let part = "as-awf.udp.high";
    let failed = observed(
        &scenario(),
        "guest",
        "as-awf.off",
        Outcome::refused("EROFS", "write net.ipv6.conf.all.disable_ipv6"),
        None,
    );
    let more = [arrival(&sent(part), sent(part).sport), failed];
    let cells = run.cells(MODEL, &more, |e| is_fact(e, "as-awf.off"));
    let cell = cells.iter().find(|c| c.id == "ipv6.as-awf.udp").expect("planned");
    assert_eq!(cell.verdict, Verdict::Fail);
    assert!(cell.reason.contains("it was not done: refused: EROFS"), "{}", cell.reason);
}

#[test]
fn of_a_model_on_the_host_the_hosts_forwarding_decides_what_can_be_said() {
    let run = Run::new();
    for model in ["host-chain", "awf-strict", "awf-legacy"] {
        let backend = (model == "awf-legacy").then_some("nft");
        let scenario = name(model, backend, false);
        for (value, wanted) in [
            (Some("0"), Verdict::NotApplicable),
            (Some("absent"), Verdict::NotApplicable),
            (Some("1"), Verdict::Skipped),
            (None, Verdict::Inconclusive),
        ] {
            let fact = value.map(|v| observed(&scenario, "host", FORWARDS, Outcome::value(v), None));
            for c in run.cells(model, fact.as_slice(), |_| false) {
                assert_eq!(c.verdict, wanted, "{} under {model} with {value:?}: {}", c.id, c.reason);
            }
        }
    }
}

#[test]
fn a_lab_without_ipv6_is_told() {
    let run = Run::new();
    let why = Event::Problem {
        runtime: "runc".to_owned(),
        scenario: scenario(),
        stage: NO_IPV6.to_owned(),
        why: "the host's kernel has no IPv6".to_owned(),
    };
    let mine = |e: &Event| matches!(e, Event::Observed { scenario: s, .. } | Event::SandboxStarted { scenario: s, .. } if *s == scenario());
    for c in run.cells(MODEL, &[why], mine) {
        assert_eq!(c.verdict, Verdict::Skipped, "{}", c.id);
        assert!(c.reason.contains("no IPv6"), "{}", c.reason);
    }
}

/// A runtime that gives its sandbox no IPv6 is neither secure nor leaky by it.
#[test]
fn a_sandbox_without_ipv6_is_not_applicable() {
    let run = Run::new();
    let no = || Outcome::refused("ENETUNREACH", "sendto");
    let mut more = vec![];
    for scenario in [name("open", None, false), name("open", None, true), scenario()] {
        for e in &run.events {
            if let Event::Observed { scenario: s, fact, .. } = e
                && *s == scenario
                && fact.sent.is_some()
            {
                more.push(observed(s, "guest", &fact.name, no(), fact.sent.clone()));
            }
        }
    }
    let old = |e: &Event| match e {
        Event::Observed { fact, .. } => fact.sent.is_some(),
        Event::Packet { .. } | Event::Http { .. } => true,
        _ => false,
    };
    for c in run.cells(MODEL, &more, old) {
        if c.id.starts_with("ipv6.rules-v4.") && !c.id.ends_with(".other") {
            assert_eq!(c.verdict, Verdict::NotApplicable, "{}: {}", c.id, c.reason);
            assert!(c.reason.contains("has no IPv6, although"), "{}", c.reason);
        }
        assert_ne!(c.verdict, Verdict::Pass, "{}: {}", c.id, c.reason);
    }
}

#[test]
fn every_way_is_an_attempt() {
    assert!(ways().all(|id| over_ipv6().any(|a| a.id == id)));
}
