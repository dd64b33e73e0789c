//! The rounds: who is visited when, until the intervals are narrow enough or the budget is spent.

use std::{
    collections::BTreeMap,
    net::Ipv4Addr,
    time::{Duration, Instant},
};

use awf_probe_matrix::bench::{Figures, LEAST_ROUNDS, Round, Subject, Visit, compare};
use awf_probe_probes::{BENCHES, wire::Ask};
use serde_json::{Map, Value, json};

use super::{HOST_BENCHES, Measured, Settings, host};
use crate::{
    error::Error,
    progress::Progress,
    scenario::{Agent, Cx, ask},
    specs::{Net, Seccomp, Spec},
};

/// A bench as it can be asked for.
#[derive(Clone, Copy, Debug)]
pub struct Entry {
    /// Id.
    pub id: &'static str,
    /// What one operation is.
    pub title: &'static str,
    /// How it is done.
    pub how: &'static str,
    /// Part of the quick suite.
    pub quick: bool,
}

impl Entry {
    /// Every bench.
    pub fn all() -> Vec<Self> {
        let outside = HOST_BENCHES.iter().map(|(id, title, how)| Self { id, title, how, quick: true });
        let inside = BENCHES.iter().map(|b| Self { id: b.id, title: b.title, how: b.how, quick: b.quick });
        outside.chain(inside).collect()
    }

    /// Those that are asked for.
    pub fn chosen(settings: &Settings) -> Vec<Self> {
        let wanted = |e: &Self| (settings.full || e.quick) && settings.filter.takes(e.id);
        Self::all().into_iter().filter(wanted).collect()
    }
}

/// One sandbox of each round. The first is the reference's, the second its twin's.
struct Arm {
    runtime: String,
    /// Its place in the lab, the same in each round.
    address: Ipv4Addr,
    agent: Option<Agent>,
    /// Why it is not measured any more.
    out: Option<String>,
    /// The guest's time and the host's, over all visits.
    clock: (Duration, Duration),
}

/// What was collected of one bench.
struct Collected {
    entry: Entry,
    /// For each arm, for each round.
    rounds: Vec<Vec<Round>>,
    /// Repetitions of a sample, by runtime.
    ops: BTreeMap<String, u64>,
    /// Times it failed, by arm, and why at last.
    failed: BTreeMap<usize, (u32, String)>,
    settled: bool,
}

impl Collected {
    fn is_outside(&self) -> bool {
        HOST_BENCHES.iter().any(|(id, ..)| *id == self.entry.id)
    }

    fn is_life(&self) -> bool {
        self.is_outside() && self.entry.id != host::MEMORY
    }

    fn fail(&mut self, arm: usize, why: String) {
        let failed = self.failed.entry(arm).or_default();
        *failed = (failed.0 + 1, why);
    }

    fn given_up(&self, arm: usize) -> bool {
        self.failed.get(&arm).is_some_and(|(n, _)| *n >= MOST_FAILURES)
    }

    /// Whether every comparison is as narrow as asked for.
    fn is_narrow(&self, precision: f64) -> bool {
        (1..self.rounds.len()).filter(|arm| !self.given_up(*arm)).all(|arm| {
            compare(&self.rounds[0], &self.rounds[arm], self.entry.id)
                .is_some_and(|c| c.rounds >= LEAST_ROUNDS + 2 && c.ratio.precision() <= precision)
        })
    }
}

/// The rounds under way.
struct Work<'a> {
    cx: &'a Cx,
    arms: Vec<Arm>,
    benches: Vec<Collected>,
    until: Instant,
    /// Before the figures count: caches are filled, and the number of repetitions is found.
    warm: bool,
}

pub(super) async fn all(
    cx: &Cx,
    settings: &Settings,
    mut reference: Subject,
    mut candidates: Vec<Subject>,
) -> Result<Measured, Error> {
    let place = || cx.lab_address().map_err(|why| Error::Lab { why });
    let mut arms = Vec::new();
    let subjects = [&reference, &reference].into_iter().chain(&candidates);
    for subject in subjects {
        let (runtime, out) = (subject.name.clone(), subject.unusable.clone());
        arms.push(Arm { runtime, address: place()?, agent: None, out, clock: (Duration::ZERO, Duration::ZERO) });
    }
    let collected = |entry: Entry| Collected {
        entry,
        rounds: vec![Vec::new(); arms.len()],
        ops: BTreeMap::new(),
        failed: BTreeMap::new(),
        settled: false,
    };
    let benches: Vec<Collected> = Entry::chosen(settings).into_iter().map(collected).collect();
    let progress = Progress::new(benches.len());
    progress.say(&format!(
        "{} benches, {} sandboxes in each round, {} s at most",
        benches.len(),
        arms.len(),
        settings.budget.as_secs()
    ));
    let begun = Instant::now();
    let mut work = Work { cx, arms, benches, until: begun + settings.budget, warm: true };
    let mut round = 0;
    loop {
        let beginning = Instant::now();
        work.round(round).await?;
        work.warm = false;
        round += 1;
        let mut left = 0;
        for bench in &mut work.benches {
            if !bench.settled && round > LEAST_ROUNDS && bench.is_narrow(settings.precision) {
                bench.settled = true;
                progress.done();
            }
            left += usize::from(!bench.settled);
        }
        let took = beginning.elapsed().as_secs_f64();
        progress.begin(&format!("round {round} took {took:.1} s, {left} benches to go"));
        if round == 1 {
            progress.say(&format!("a round takes about {took:.0} s"));
        }
        if left == 0 || Instant::now() >= work.until {
            break;
        }
    }
    progress.finish();
    let clock = |arm: &Arm| {
        let (guest, host) = arm.clock;
        (!guest.is_zero()).then(|| host.as_secs_f64() / guest.as_secs_f64())
    };
    reference.clock = clock(&work.arms[0]);
    for (candidate, arm) in candidates.iter_mut().zip(&work.arms[2..]) {
        candidate.clock = clock(arm);
        candidate.unusable = candidate.unusable.take().or_else(|| arm.out.clone());
    }
    let names: Vec<String> = work.arms.iter().map(|a| a.runtime.clone()).collect();
    let benches = work.benches.into_iter().map(|b| figures(b, &names)).collect();
    Ok((reference, candidates, benches))
}

fn figures(bench: Collected, names: &[String]) -> Figures {
    let mut arms = bench.rounds.into_iter();
    let missing = bench.failed.into_iter().map(|(arm, (times, why))| {
        let name = if arm == 1 { format!("{} (twin)", names[arm]) } else { names[arm].clone() };
        (name, if times == 1 { why } else { format!("{why} ({times} times)") })
    });
    Figures {
        id: bench.entry.id.to_owned(),
        title: bench.entry.title.to_owned(),
        how: bench.entry.how.to_owned(),
        unit: if bench.entry.id == host::MEMORY { "bytes" } else { "ns" },
        reference: arms.next().unwrap_or_default(),
        twin: arms.next().unwrap_or_default(),
        missing: missing.collect(),
        candidates: arms.collect(),
    }
}

impl Work<'_> {
    fn is_over(&self) -> bool {
        !self.warm && Instant::now() >= self.until
    }

    /// Arms in this round's order, and back: each is visited twice, and none always first.
    fn order(&self, round: usize) -> (Vec<usize>, Vec<usize>) {
        let n = self.arms.len();
        let there: Vec<usize> = (0..n).map(|i| (i + round) % n).filter(|a| self.arms[*a].out.is_none()).collect();
        let back = if self.warm { vec![] } else { there.iter().rev().copied().collect() };
        (there, back)
    }

    async fn round(&mut self, round: usize) -> Result<(), Error> {
        let (there, back) = self.order(round);
        if self.benches.iter().any(|b| b.is_life() && !b.settled) {
            self.lives(&there, &back).await?;
        }
        if self.benches.iter().any(|b| !b.is_life() && !b.settled) {
            for arm in &there {
                self.start(*arm).await?;
            }
            self.memory().await;
            for bench in 0..self.benches.len() {
                if !self.benches[bench].is_outside() && !self.benches[bench].settled && !self.is_over() {
                    self.visits(bench, &there, &back).await;
                }
            }
            for arm in &mut self.arms {
                if let Some(agent) = arm.agent.take() {
                    agent.stop().await;
                }
            }
        }
        Ok(())
    }

    /// Lives of containers that are measured from outside.
    async fn lives(&mut self, there: &[usize], back: &[usize]) -> Result<(), Error> {
        let mut rounds: Vec<Vec<Round>> = vec![vec![Round::new(); 5]; self.arms.len()];
        let ids: Vec<&str> = HOST_BENCHES.iter().map(|(id, ..)| *id).take(5).collect();
        for arm in there.iter().chain(back) {
            if self.is_over() || self.arms[*arm].out.is_some() {
                continue;
            }
            match host::life(self.cx, &self.arms[*arm].runtime).await {
                Ok(parts) => {
                    rounds[*arm].iter_mut().zip(parts).for_each(|(round, part)| round.push(vec![part]));
                }
                Err((part, why)) => {
                    // The parts of a life belong together: one that failed leaves none of them.
                    for bench in self.benches.iter_mut().filter(|b| ids.contains(&b.entry.id)) {
                        bench.fail(*arm, format!("{part}: {why}"));
                    }
                }
            }
        }
        if self.warm {
            return Ok(());
        }
        for bench in self.benches.iter_mut().filter(|b| !b.settled) {
            let Some(part) = ids.iter().position(|id| *id == bench.entry.id) else { continue };
            for (arm, collected) in bench.rounds.iter_mut().enumerate() {
                collected.push(whole(std::mem::take(&mut rounds[arm][part])));
            }
        }
        Ok(())
    }

    /// This round's sandbox of an arm: AWF's agent, in the lab.
    async fn start(&mut self, nth: usize) -> Result<(), Error> {
        let arm = &mut self.arms[nth];
        let spec = Spec {
            net: Net::Lab(arm.address),
            workspace: true,
            seccomp: Seccomp::Awf,
            extra: crate::extra::Extra::bench(),
            ..Spec::awf("bench")
        };
        arm.agent = Agent::start(self.cx, &arm.runtime, "bench", "agent", spec, None).await;
        if arm.agent.is_none() && self.warm {
            let why = format!("{} does not start as AWF's agent: {}", arm.runtime, last_problem(self.cx, &arm.runtime));
            if nth < 2 {
                return Err(Error::Engine { what: "measure anything".to_owned(), why });
            }
            arm.out = Some(why);
        }
        Ok(())
    }

    /// Before the sandbox has done anything.
    async fn memory(&mut self) {
        let Some(bench) = self.benches.iter().position(|b| b.entry.id == host::MEMORY && !b.settled) else { return };
        for arm in 0..self.arms.len() {
            let figure = match &self.arms[arm].agent {
                Some(agent) => Some(host::memory(self.cx, agent.id()).await),
                None => None,
            };
            let bench = &mut self.benches[bench];
            let round = match figure {
                Some(Ok(bytes)) => vec![vec![bytes]],
                Some(Err(why)) => {
                    bench.fail(arm, why);
                    vec![]
                }
                None => vec![],
            };
            if !self.warm {
                bench.rounds[arm].push(round);
            }
        }
    }

    /// One bench in each sandbox, there and back.
    async fn visits(&mut self, bench: usize, there: &[usize], back: &[usize]) {
        let mut rounds: Vec<Round> = vec![Round::new(); self.arms.len()];
        for arm in there.iter().chain(back) {
            if let Some(samples) = self.visit(bench, *arm).await {
                rounds[*arm].push(samples);
            }
        }
        if !self.warm {
            let collected = self.benches[bench].rounds.iter_mut().zip(rounds);
            collected.for_each(|(c, round)| c.push(whole(round)));
        }
    }

    async fn visit(&mut self, bench: usize, nth: usize) -> Option<Visit> {
        let (bench, arm) = (&mut self.benches[bench], &mut self.arms[nth]);
        if bench.given_up(nth) {
            return None;
        }
        let agent = arm.agent.as_mut()?;
        let known = bench.ops.get(&arm.runtime).copied();
        let mut more =
            json!({"bench": bench.entry.id, "samples": if self.warm { 1 } else { SAMPLES }, "target_us": TARGET});
        if let Some(ops) = known {
            more["ops"] = ops.into();
        }
        let request = Ask { deadline_ms: DEADLINE_MS, ..ask("bench", "", &params(self.cx, arm.address), more) };
        match agent.figure(request).await {
            Ok(figure) => {
                bench.ops.entry(arm.runtime.clone()).or_insert(figure.ops);
                arm.clock.0 += figure.guest;
                arm.clock.1 += figure.host;
                Some(figure.samples)
            }
            Err(why) => {
                bench.fail(nth, why);
                // Whoever did not answer in time would answer the next question with this one's figures.
                let lost = arm.agent.take_if(|a| a.is_behind());
                if let Some(agent) = lost {
                    agent.stop().await;
                }
                None
            }
        }
    }
}

/// A round counts if neither of its visits is missing: one there without the one back is no A B B A.
fn whole(round: Round) -> Round {
    if round.len() == 2 { round } else { Round::new() }
}

fn params(cx: &Cx, address: Ipv4Addr) -> Map<String, Value> {
    let mut params = cx.params(Some(address));
    params.insert("proxy".into(), Value::from(cx.proxy_target()));
    params
}

/// What the journal says of the last failure of a runtime.
fn last_problem(cx: &Cx, runtime: &str) -> String {
    let events = cx.sink.events();
    let found = events.iter().rev().find_map(|e| match e {
        crate::event::Event::Problem { runtime: r, why, .. } if r == runtime => Some(why.clone()),
        _ => None,
    });
    found.unwrap_or_default()
}

/// A bench that failed this often under a runtime is left alone there.
const MOST_FAILURES: u32 = 3;
/// Samples of a visit.
const SAMPLES: u64 = 5;
/// Microseconds of a sample.
const TARGET: u64 = 4000;
const DEADLINE_MS: u64 = 20_000;
