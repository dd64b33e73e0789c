//! The rounds: who is visited when, until the intervals are narrow enough or the budget is spent.

use std::{
    net::Ipv4Addr,
    time::{Duration, Instant},
};

use awf_probe_matrix::bench::{LEAST_ROUNDS, Round, Subject, Visit};
use awf_probe_probes::wire::Ask;
use serde_json::{Map, Value, json};

use super::{
    HOST_BENCHES, Measured, Settings,
    collected::{Collected, Entry, figures},
    content::Served,
    host,
};
use crate::{
    error::Error,
    progress::Progress,
    scenario::{Agent, Cx, ask},
    specs::{Net, Seccomp, Spec, Toolbox},
};

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

/// The rounds under way.
struct Work<'a> {
    cx: &'a Cx,
    arms: Vec<Arm>,
    benches: Vec<Collected>,
    until: Instant,
    /// Before the figures count: caches are filled, and the number of repetitions is found.
    warm: bool,
    /// What is served to tools.
    served: &'a Served,
}

pub(super) async fn all(
    cx: &Cx,
    settings: &Settings,
    served: &Served,
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
    let benches: Vec<Collected> = Entry::chosen(settings).into_iter().map(|e| Collected::new(e, arms.len())).collect();
    let progress = Progress::new(benches.len());
    progress.say(&format!(
        "{} benches, {} sandboxes in each round, {} s at most",
        benches.len(),
        arms.len(),
        settings.budget.as_secs()
    ));
    let begun = Instant::now();
    let mut work = Work { cx, arms, benches, until: begun + settings.budget, warm: true, served };
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
        if self.benches.iter().any(|b| !b.is_life() && !b.entry.tool && !b.settled) {
            self.start(&there, false).await?;
            self.memory().await;
            for bench in self.due(false) {
                if !self.is_over() {
                    self.visits(bench, &there, &back).await;
                }
            }
            self.stop().await;
        }
        if !self.due(true).is_empty() && !self.is_over() {
            let order = if round % 2 == 1 { &back } else { &there };
            self.start(order, true).await?;
            for bench in self.due(true) {
                if !self.is_over() {
                    self.visits(bench, order, &[]).await;
                }
            }
            self.stop().await;
        }
        Ok(())
    }

    /// Benches that run in sandboxes and are not through.
    fn due(&self, tools: bool) -> Vec<usize> {
        let due = |b: &Collected| !b.is_outside() && !b.settled && b.entry.tool == tools;
        (0..self.benches.len()).filter(|n| due(&self.benches[*n])).collect()
    }

    async fn stop(&mut self) {
        for arm in &mut self.arms {
            if let Some(agent) = arm.agent.take() {
                agent.stop().await;
            }
        }
    }

    /// Lives of containers that are measured from outside.
    async fn lives(&mut self, there: &[usize], back: &[usize]) -> Result<(), Error> {
        let mut rounds: Vec<Vec<Round>> = vec![vec![Round::new(); host::LIFE]; self.arms.len()];
        let ids: Vec<&str> = HOST_BENCHES.iter().map(|(id, ..)| *id).take(host::LIFE).collect();
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
                // Of a life all parts are there, or none; two lives make a round.
                let lives = std::mem::take(&mut rounds[arm][part]);
                collected.push(if lives.len() == 2 { lives } else { Round::new() });
            }
        }
        Ok(())
    }

    /// This round's sandbox of each arm: AWF's agent, in the lab; for tools with the toolbox.
    async fn start(&mut self, order: &[usize], tools: bool) -> Result<(), Error> {
        for nth in order {
            let arm = &mut self.arms[*nth];
            if arm.out.is_some() {
                continue;
            }
            let mut spec = Spec {
                net: Net::Lab(arm.address),
                workspace: true,
                seccomp: Seccomp::Awf,
                extra: crate::extra::Extra::bench(),
                ..Spec::awf("bench")
            };
            if tools {
                spec.toolbox = Toolbox::Host;
                // As AWF has them: read-only, but for the one file that everybody writes to.
                for path in ["/sys", "/dev", "/dev/null"] {
                    spec.extra.binds.push((path, format!("/host{path}")));
                }
            }
            arm.agent = Agent::start(self.cx, &arm.runtime, "bench", "agent", spec, None).await;
            if arm.agent.is_none() && self.warm {
                let problem = last_problem(self.cx, &arm.runtime);
                let why = format!("{} does not start as AWF's agent: {problem}", arm.runtime);
                if *nth < 2 {
                    return Err(Error::Engine { what: "measure anything".to_owned(), why });
                }
                arm.out = Some(why);
            }
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
            let bench = &mut self.benches[bench];
            let rounds: Vec<Round> = rounds.into_iter().map(|r| bench.whole(r)).collect();
            bench.rounds.iter_mut().zip(rounds).for_each(|(c, round)| c.push(round));
        }
    }

    async fn visit(&mut self, bench: usize, nth: usize) -> Option<Visit> {
        let (bench, arm) = (&mut self.benches[bench], &mut self.arms[nth]);
        if bench.given_up(nth) {
            return None;
        }
        let agent = arm.agent.as_mut()?;
        // From the warm round on the same number for all, the smallest: what one operation costs may depend on how many
        // are done at a stretch, and a difference of the calibration would look like one of the runtimes.
        let known = if self.warm { bench.ops.get(&arm.runtime).copied() } else { bench.ops.values().copied().min() };
        let mut more =
            json!({"bench": bench.entry.id, "samples": if self.warm { 1 } else { SAMPLES }, "target_us": TARGET});
        if let Some(ops) = known {
            more["ops"] = ops.into();
        }
        if bench.entry.tool {
            more["head"] = self.served.head.as_str().into();
            more["packages"] = self.served.packages.into();
        }
        let deadline_ms = if bench.entry.tool { TOOL_DEADLINE_MS } else { DEADLINE_MS };
        let request = Ask { deadline_ms, ..ask("bench", "", &params(self.cx, arm.address), more) };
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

/// Samples of a visit.
const SAMPLES: u64 = 5;
/// Microseconds of a sample.
const TARGET: u64 = 4000;
const DEADLINE_MS: u64 = 20_000;
/// With what comes before and after it.
const TOOL_DEADLINE_MS: u64 = 300_000;
