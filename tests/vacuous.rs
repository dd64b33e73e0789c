//! No vacuous pass, as properties over the whole catalogue. `tests/judge.rs` takes single observations away; here parts
//! of real runs are taken away in random combinations, and what is left is made up at random first.
//!
//! A part is a control, a ledger, a mark that something was alive, or a result that was expected. Never a lone line out
//! of a ledger: a journal cannot tell a packet that did not come from one whose line was cut out. What a run says against
//! itself (a problem, a death, a frame on the tripwire) is kept.

use std::collections::{BTreeMap, BTreeSet};

use awf_probe::{
    commands::Data,
    event::{Event, PlannedCell},
    judge::judge,
};
use awf_probe_matrix::{Condition, Matrix, Outcome, Standing, Verdict, Want, assess_under};
use proptest::{
    prelude::*,
    sample::Index,
    test_runner::{RngAlgorithm, TestRng, TestRunner},
};

mod common;
use common::{data, events};

const GOLDEN: [&str; 4] = ["runc", "runsc", "runsc-raw", "runsc-hostnet"];

/// Something whose absence must never help.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Part {
    /// An observation: scenario, source, name.
    Fact(String, String, String),
    /// What a source said of a scenario.
    Said(String, String),
    /// What the guest says it sent, in an observation.
    Sent(String, String),
    /// Everything that was observed in a scenario, and that it started: the control of other scenarios, too.
    Scenario(String),
    /// That a scenario's ledgers are complete.
    Drained(String),
    /// That a scenario's sandbox started.
    Started(String),
    /// Packets at the witness, the proxy or a tap.
    Packets(String),
    /// What the witness's servers answered.
    Http,
    /// What the witness's resolver was asked.
    Dns,
    /// What the proxy decided.
    Decisions,
    /// The host's processes of a sandbox.
    Processes,
    /// That the lab stands.
    LabUp,
    /// That the run came to its end.
    Finished,
    /// A result that was expected, by its place in the plan.
    Expected(usize),
}

impl Part {
    /// Every part an event belongs to.
    fn of(event: &Event) -> Vec<Self> {
        match event {
            Event::Observed { scenario, source, fact, .. } => {
                let mut all = vec![
                    Self::Fact(scenario.clone(), source.clone(), fact.name.clone()),
                    Self::Said(scenario.clone(), source.clone()),
                    Self::Scenario(scenario.clone()),
                ];
                all.extend(fact.sent.is_some().then(|| Self::Sent(scenario.clone(), fact.name.clone())));
                all
            }
            Event::SandboxStarted { scenario, .. } => {
                vec![Self::Started(scenario.clone()), Self::Scenario(scenario.clone())]
            }
            Event::Drained { scenario, .. } => vec![Self::Drained(scenario.clone()), Self::Scenario(scenario.clone())],
            Event::Packet { at, .. } if at != "tripwire" => vec![Self::Packets(at.clone())],
            Event::Http { .. } => vec![Self::Http],
            Event::Dns { .. } => vec![Self::Dns],
            Event::Decision { .. } => vec![Self::Decisions],
            Event::HostProcesses { .. } => vec![Self::Processes],
            Event::LabUp { .. } => vec![Self::LabUp],
            Event::RunFinished { .. } => vec![Self::Finished],
            Event::RunStarted { plan, .. } => (0..plan.len()).map(Self::Expected).collect(),
            Event::Packet { .. }
            | Event::Phase { .. }
            | Event::SandboxDied { .. }
            | Event::Problem { .. }
            | Event::Cleaned { .. } => vec![],
        }
    }
}

/// The run without these parts.
fn without(events: &[Event], gone: &BTreeSet<Part>) -> Vec<Event> {
    let mut left = Vec::with_capacity(events.len());
    for event in events {
        let mut event = event.clone();
        if let Event::RunStarted { plan, .. } = &mut event {
            let mut at = 0..;
            plan.retain(|_| !gone.contains(&Part::Expected(at.next().expect("endless"))));
            left.push(event);
            continue;
        }
        let mut parts = Part::of(&event);
        if let Event::Observed { scenario, fact, .. } = &mut event {
            let sent = Part::Sent(scenario.clone(), fact.name.clone());
            parts.retain(|p| *p != sent);
            if gone.contains(&sent) {
                fact.sent = None;
            }
        }
        if !parts.iter().any(|p| gone.contains(p)) {
            left.push(event);
        }
    }
    left
}

/// What may have got better between two judgements of one run, the second of which knew less.
fn better(data: &Data, before: &Matrix, after: &Matrix) -> Vec<String> {
    let name = |c: &awf_probe_matrix::Cell| (c.id.clone(), c.runtime.clone(), c.model.clone(), c.backend.clone());
    let passed: BTreeSet<_> = before.cells.iter().filter(|c| c.verdict == Verdict::Pass).map(name).collect();
    let now = after.cells.iter().filter(|c| c.verdict == Verdict::Pass && !passed.contains(&name(c)));
    let mut all: Vec<String> = now.map(|c| format!("{}: {}: {}", c.runtime, c.name(), c.reason)).collect();
    for r in after.requirements.iter().filter(|r| r.standing == Standing::Holds) {
        let (model, backend) = r.model.split_once('/').map_or((r.model.as_str(), None), |(m, b)| (m, Some(b)));
        let then = assess_under(&data.catalogue, &r.runtime, model, backend, &before.cells);
        if then.iter().any(|t| t.id == r.id && t.standing != Standing::Holds) {
            all.push(format!("{}: {} holds under {}", r.runtime, r.id, r.model));
        }
    }
    all
}

fn matrix(events: &[Event], data: &Data) -> Matrix {
    judge(events, &data.catalogue, &data.models, &data.products)
}

fn passes(matrix: &Matrix) -> usize {
    matrix.cells.iter().filter(|c| c.verdict == Verdict::Pass).count()
}

/// The same cases each time: `AWF_PROBE_SEED=N` tries others, `AWF_PROBE_CASES=N` more.
fn runner(default: u32) -> TestRunner {
    let number = |name: &str| std::env::var(name).ok().and_then(|t| t.parse::<u64>().ok());
    let cases = number("AWF_PROBE_CASES").map_or(default, |n| u32::try_from(n).unwrap_or(u32::MAX));
    let mut seed = [7; 32];
    seed[..8].copy_from_slice(&number("AWF_PROBE_SEED").unwrap_or(0).to_le_bytes());
    let config =
        ProptestConfig { cases, failure_persistence: None, max_shrink_iters: 200, ..ProptestConfig::default() };
    TestRunner::new_with_rng(config, TestRng::from_seed(RngAlgorithm::ChaCha, &seed))
}

/// A few parts of any kind, and of each kind a few: there are thousands of facts and one ledger of requests.
fn some(parts: &[Part]) -> impl Strategy<Value = Vec<Part>> + use<> {
    let same = |a: &Part, b: &Part| std::mem::discriminant(a) == std::mem::discriminant(b);
    // Sorted, the parts of a kind stand together.
    let kinds: Vec<Vec<Part>> = parts.chunk_by(same).map(<[Part]>::to_vec).collect();
    let one = (0..kinds.len(), any::<Index>()).prop_map(move |(kind, at)| at.get(&kinds[kind]).clone());
    prop::collection::vec(one, 1..40)
}

#[test]
fn taking_parts_of_a_real_run_away_never_makes_a_pass() {
    let data = data();
    let (mut lost, mut all) = (0, 0);
    for name in GOLDEN {
        let whole = events(name);
        let before = matrix(&whole, &data);
        let parts: BTreeSet<Part> = whole.iter().flat_map(Part::of).collect();
        let parts: Vec<Part> = parts.into_iter().collect();
        let (fewer, cases) = (std::cell::Cell::new(0), std::cell::Cell::new(0));
        let tried = runner(24).run(&some(&parts), |gone| {
            let after = matrix(&without(&whole, &gone.into_iter().collect()), &data);
            fewer.set(fewer.get() + usize::from(passes(&after) < passes(&before)));
            cases.set(cases.get() + 1);
            let wrong = better(&data, &before, &after);
            prop_assert!(wrong.is_empty(), "{wrong:#?}");
            Ok(())
        });
        tried.unwrap_or_else(|e| panic!("{name}: {e}"));
        lost += fewer.get();
        all += cases.get();
    }
    assert!(lost * 2 > all, "hardly any removal was noticed: {lost} of {all}");
}

/// Each kind of part as a whole, by itself: every ledger, every mark, each scenario.
#[test]
fn taking_a_whole_kind_away_never_makes_a_pass() {
    let data = data();
    for name in GOLDEN {
        let whole = events(name);
        let before = matrix(&whole, &data);
        let parts: BTreeSet<Part> = whole.iter().flat_map(Part::of).collect();
        let all = |is: &dyn Fn(&Part) -> bool| parts.iter().filter(|p| is(p)).cloned().collect::<BTreeSet<Part>>();
        let mut kinds = vec![
            all(&|p| matches!(p, Part::Drained(_))),
            all(&|p| matches!(p, Part::Started(_))),
            all(&|p| matches!(p, Part::Packets(_))),
            all(&|p| matches!(p, Part::Packets(_) | Part::Http | Part::Dns | Part::Decisions)),
            all(&|p| matches!(p, Part::Sent(..))),
            all(&|p| matches!(p, Part::Said(_, by) if by == "host")),
            all(&|p| matches!(p, Part::Said(_, by) if by == "engine")),
            all(&|p| matches!(p, Part::Said(_, by) if by == "guest")),
        ];
        let single = |p: &Part| {
            !matches!(
                p,
                Part::Fact(..)
                    | Part::Said(..)
                    | Part::Sent(..)
                    | Part::Expected(_)
                    | Part::Drained(_)
                    | Part::Started(_)
            )
        };
        kinds.extend(parts.iter().filter(|p| single(p)).map(|p| BTreeSet::from([p.clone()])));
        // What was sent under one model, while its control under `open` still says what it sent.
        let scenarios: BTreeSet<&String> =
            parts.iter().filter_map(|p| if let Part::Sent(s, _) = p { Some(s) } else { None }).collect();
        kinds.extend(scenarios.into_iter().map(|s| all(&|p| matches!(p, Part::Sent(of, _) if of == s))));
        assert!(kinds.len() > 40, "{name}: {} kinds", kinds.len());
        for gone in kinds {
            assert!(!gone.is_empty(), "{name}: nothing to take away");
            let after = matrix(&without(&whole, &gone), &data);
            let wrong = better(&data, &before, &after);
            assert!(wrong.is_empty(), "{name} without {:?} …: {wrong:#?}", gone.first());
        }
    }
}

/// Random observations, for every capability: what its conditions look at is made up, mostly so that they hold, and then
/// something is taken away.
#[test]
fn taking_away_never_makes_a_pass_whatever_was_observed() {
    let data = data();
    for name in ["runc", "runsc"] {
        let whole = events(name);
        let wants = wants(&data, &whole);
        let keys: Vec<(String, String, String)> = wants.keys().cloned().collect();
        let parts: BTreeSet<Part> = whole.iter().flat_map(Part::of).collect();
        let parts: Vec<Part> = parts.into_iter().collect();
        let made_up = prop::collection::vec((any::<Index>(), any::<u8>()), 1..400);
        let seen = std::cell::RefCell::new((BTreeSet::new(), 0, 0));
        let tried =
            runner(24).run(&(made_up, some(&parts), any::<bool>()), |(made_up, mut gone, controls)| {
                let outcomes: BTreeMap<&(String, String, String), Outcome> =
                    made_up.iter().map(|(at, kind)| (at.get(&keys), outcome(*kind, &wants[at.get(&keys)]))).collect();
                let told = told(&whole, &outcomes);
                let before = matrix(&told, &data);
                if controls {
                    // Each control of every third capability.
                    let third = data.catalogue.capabilities.iter().step_by(3);
                    gone.extend(third.flat_map(|c| &c.controls).map(|c| {
                        Part::Fact(c.key.scenario.clone(), c.key.source.word().to_owned(), c.key.fact.clone())
                    }));
                }
                let after = matrix(&without(&told, &gone.into_iter().collect()), &data);
                let wrong = better(&data, &before, &after);
                prop_assert!(wrong.is_empty(), "{wrong:#?}");
                let mut seen = seen.borrow_mut();
                seen.0.extend(before.cells.iter().filter(|c| c.verdict == Verdict::Pass).map(|c| c.id.clone()));
                seen.1 += usize::from(passes(&after) < passes(&before));
                Ok(())
            });
        tried.unwrap_or_else(|e| panic!("{name}: {e}"));
        let (passed, lost, all) = seen.into_inner();
        assert!(passed.len() > 250, "{name}: only {} capabilities passed", passed.len());
        assert!(lost * 2 > all, "{name}: hardly any removal was noticed: {lost} of {all}");
    }
}

type Wanted = BTreeMap<(String, String, String), Vec<Want>>;

/// For each observation that a condition looks at: what any condition wants of it.
fn wants(data: &Data, events: &[Event]) -> Wanted {
    let reported: BTreeSet<(&str, &str, &str)> = events
        .iter()
        .filter_map(|e| match e {
            Event::Observed { scenario, source, fact, .. } => Some((&**scenario, &**source, &*fact.name)),
            _ => None,
        })
        .collect();
    let mut all = Wanted::new();
    let of = |c: &awf_probe_matrix::Capability| -> Vec<Condition> {
        c.controls.iter().chain(&c.moot).chain(&c.pass).chain(&c.partial).cloned().collect()
    };
    for condition in data.catalogue.capabilities.iter().flat_map(of) {
        let key = (condition.key.scenario.clone(), condition.key.source.word().to_owned(), condition.key.fact.clone());
        if reported.contains(&(&*key.0, &*key.1, &*key.2)) {
            all.entry(key).or_default().extend(condition.wants);
        }
    }
    assert!(all.len() > 500, "{} observations", all.len());
    all
}

/// An outcome: three times in four one that some condition wants.
fn outcome(kind: u8, wants: &[Want]) -> Outcome {
    let want = &wants[usize::from(kind) % wants.len()];
    match kind % 16 {
        12 => Outcome::broken("made up"),
        13 => Outcome::Skipped { why: "made up".to_owned() },
        14 => Outcome::Absent { why: "made up".to_owned() },
        15 => Outcome::TimedOut { after_ms: 7, detail: String::new() },
        _ => match want {
            Want::Allowed => Outcome::allowed("made up"),
            Want::Refused(names) => Outcome::refused(names.first().map_or("EPERM", String::as_str), "made up"),
            Want::TimedOut => Outcome::TimedOut { after_ms: 1, detail: String::new() },
            Want::Killed => Outcome::Killed { signal: 9, detail: String::new() },
            Want::Is(text) => Outcome::value(text),
            Want::IsNot(text) => Outcome::value(format!("not {text}")),
            Want::AtLeast(n) | Want::AtMost(n) => Outcome::value(n),
        },
    }
}

/// The run, had these been observed.
fn told(events: &[Event], outcomes: &BTreeMap<&(String, String, String), Outcome>) -> Vec<Event> {
    let mut all = events.to_vec();
    for event in &mut all {
        if let Event::Observed { scenario, source, fact, .. } = event {
            let key = (scenario.clone(), source.clone(), fact.name.clone());
            if let Some(outcome) = outcomes.get(&key) {
                fact.outcome = outcome.clone();
            }
        }
    }
    all
}

/// A plan that names a cell twice, or one of a runtime that is not there, proves nothing more.
#[test]
fn an_expected_result_that_nobody_reports_is_no_pass() {
    let data = data();
    let mut events = events("runc");
    let Some(Event::RunStarted { plan, .. }) = events.first_mut() else { panic!("no run-started") };
    let stranger = PlannedCell { runtime: "nobody".to_owned(), ..plan[0].clone() };
    let unknown = PlannedCell { id: "nothing.known".to_owned(), ..plan[0].clone() };
    *plan = vec![stranger, unknown];
    let cells = matrix(&events, &data).cells;
    assert!(cells.len() == 2 && cells.iter().all(|c| c.verdict == Verdict::Inconclusive), "{cells:#?}");
}
