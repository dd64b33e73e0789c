//! The conversation with a guest, whatever started it: batches out, facts in, each reported as it comes.

use std::{
    net::IpAddr,
    time::{Duration, Instant},
};

use awf_probe_matrix::{Fact, Outcome};
use awf_probe_probes::{
    pace,
    wire::{Ask, Batch, Say},
};

use super::millis;
use crate::{
    engine::docker::sandbox::{Ended, Line, Sandbox},
    error::Error,
    event::Event,
    journal::Sink,
};

/// A sandbox's guest, and the name it reports under.
#[derive(Debug)]
pub struct Talk {
    pub(crate) sandbox: Sandbox,
    pub(super) sink: Sink,
    pub(super) runtime: String,
    pub(super) scenario: String,
    /// Address in the lab, if it has one.
    pub(super) address: Option<IpAddr>,
    /// The longest a batch may take.
    deadline: Duration,
    pub(super) batches: u64,
    pub(super) behind: bool,
}

/// What a guest says of the batch under way.
pub(crate) enum Told {
    Fact(Fact),
    /// How many facts it has told.
    Finished(u64),
    /// Its output ended.
    End,
    /// Nothing in time, or nothing that can be read.
    Unclear(String),
}

/// The guest's first line; `None` if its output ended instead.
pub(crate) async fn greeting(sandbox: &mut Sandbox) -> Option<Result<(), String>> {
    match sandbox.line(pace::scaled(Duration::from_secs(30))).await {
        Line::Text(line) => match serde_json::from_slice::<Say>(&line) {
            Ok(Say::Hello { .. }) => Some(Ok(())),
            Ok(_) | Err(_) => Some(Err("its first line is not the guest's greeting".to_owned())),
        },
        Line::End => None,
        Line::Late => Some(Err("the guest did not greet within 30 s".to_owned())),
    }
}

/// How a batch came to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BatchEnd {
    /// Every probe answered, and the count is right.
    Finished,
    /// The sandbox is gone or unusable.
    Over,
}

impl Talk {
    /// A conversation that has not begun.
    pub fn new(sandbox: Sandbox, sink: Sink, runtime: &str, scenario: &str, deadline: Duration) -> Self {
        let (runtime, scenario) = (runtime.to_owned(), scenario.to_owned());
        Self { sandbox, sink, runtime, scenario, address: None, deadline, batches: 0, behind: false }
    }

    /// Waits for the guest's first line.
    pub(crate) async fn greeting(&mut self) -> Result<(), String> {
        match greeting(&mut self.sandbox).await {
            Some(greeted) => greeted,
            None => Err(format!("the guest did not greet: {}", self.epitaph().await.2)),
        }
    }

    /// Waits for the guest's first line behind so many lines of others.
    pub(crate) async fn greeting_behind(&mut self, lines: usize) -> Result<(), String> {
        let until = tokio::time::Instant::now() + pace::scaled(Duration::from_secs(60));
        for _ in 0..=lines {
            match self.sandbox.line(until.saturating_duration_since(tokio::time::Instant::now())).await {
                Line::Text(line) => {
                    if matches!(serde_json::from_slice::<Say>(&line), Ok(Say::Hello { .. })) {
                        return Ok(());
                    }
                }
                Line::End => return Err(format!("the guest did not greet: {}", self.epitaph().await.2)),
                Line::Late => return Err("the guest did not greet within 60 s".to_owned()),
            }
        }
        Err(format!("none of the first {lines} lines is the guest's greeting"))
    }

    /// The runtime's name.
    pub fn runtime(&self) -> &str {
        &self.runtime
    }

    /// The scenario's name.
    pub fn scenario(&self) -> &str {
        &self.scenario
    }

    /// The next thing the guest says of the batch under way, which has so long.
    pub(super) async fn told(&mut self, until: tokio::time::Instant, limit: Duration) -> Told {
        loop {
            return match self.sandbox.line(until.saturating_duration_since(tokio::time::Instant::now())).await {
                Line::Text(line) => match serde_json::from_slice::<Say>(&line) {
                    Ok(Say::Fact { batch, fact }) if batch == self.batches => Told::Fact(fact),
                    Ok(Say::Finished { batch, count }) if batch == self.batches => Told::Finished(count),
                    Ok(_) => continue,
                    Err(e) => Told::Unclear(format!("the guest wrote a line that cannot be read: {e}")),
                },
                Line::End => Told::End,
                Line::Late => Told::Unclear(format!("the guest did not finish within {} s", limit.as_secs())),
            };
        }
    }

    /// Container id.
    pub fn id(&self) -> &str {
        &self.sandbox.id
    }

    /// What the engine knows of it now.
    pub async fn ended(&self) -> Result<Ended, Error> {
        self.sandbox.ended().await
    }

    /// Reports a fact that is not the guest's.
    pub fn observe(&self, source: &str, name: &str, outcome: Outcome) {
        self.emit(source, Fact { name: name.to_owned(), outcome, sent: None, elapsed_ms: None });
    }

    pub(super) fn emit(&self, source: &str, fact: Fact) {
        self.sink.emit(Event::Observed {
            runtime: self.runtime.clone(),
            scenario: self.scenario.clone(),
            source: source.to_owned(),
            fact,
            address: self.address,
        });
    }

    /// Runs probes and reports their facts. Where the sandbox dies under them, the probe that was running is
    /// reported as killed with it.
    pub async fn run(&mut self, parallel: bool, asks: Vec<Ask>) -> BatchEnd {
        let begun = Instant::now();
        let end = self.run_batch(parallel, asks).await;
        self.sink.emit(Event::Phase {
            runtime: self.runtime.clone(),
            scenario: self.scenario.clone(),
            phase: "guest".to_owned(),
            ms: millis(begun.elapsed()),
        });
        end
    }

    async fn run_batch(&mut self, parallel: bool, asks: Vec<Ask>) -> BatchEnd {
        self.batches += 1;
        let batch = Batch { batch: self.batches, parallel, asks };
        let label = |a: &Ask| if a.label.is_empty() { a.probe.clone() } else { a.label.clone() };
        let mut open: Vec<String> = batch.asks.iter().map(label).collect();
        let sum: u64 = batch.asks.iter().map(|a| a.deadline_ms).sum();
        let most = batch.asks.iter().map(|a| a.deadline_ms).max().unwrap_or(0);
        let limit = pace::scaled(
            Duration::from_millis(if parallel { most } else { sum }).min(self.deadline) + Duration::from_secs(10),
        );
        let until = tokio::time::Instant::now() + limit;
        let mut why = None;
        if let Err(e) = self.sandbox.send(&batch).await {
            why = Some(e.to_string());
        }
        let mut counted = 0;
        while why.is_none() {
            match self.told(until, limit).await {
                Told::Fact(fact) => {
                    counted += 1;
                    if let Some(done) = fact.name.strip_suffix(".end") {
                        open.retain(|o| o != done);
                    }
                    self.emit("guest", fact);
                }
                Told::Finished(count) => {
                    if count == counted && open.is_empty() {
                        self.observe("engine", "sandbox", Outcome::value("alive"));
                        return BatchEnd::Finished;
                    }
                    why = Some(format!("the guest counted {count} facts, {counted} arrived"));
                }
                Told::End => {
                    let (exit_code, oom_killed, text) = self.epitaph().await;
                    if exit_code.is_none() {
                        // Its output ended, but nobody can say that it is dead: that proves nothing of any probe.
                        why = Some(text);
                        continue;
                    }
                    self.sink.emit(Event::SandboxDied {
                        runtime: self.runtime.clone(),
                        scenario: self.scenario.clone(),
                        exit_code,
                        oom_killed,
                        why: text.clone(),
                    });
                    self.observe("engine", "sandbox", Outcome::value("died"));
                    let running = if parallel { open.len() } else { 1 };
                    for name in open.iter().take(running) {
                        let detail = format!("with the whole sandbox: {text}");
                        let outcome = Outcome::Killed { signal: libc::SIGKILL, detail };
                        self.emit("guest", Fact { name: format!("{name}.end"), outcome, sent: None, elapsed_ms: None });
                    }
                    return BatchEnd::Over;
                }
                Told::Unclear(what) => why = Some(what),
            }
        }
        self.problem("guest", why.unwrap_or_default());
        BatchEnd::Over
    }

    /// How it ended: exit code, OOMKilled, and both in words.
    pub(super) async fn epitaph(&self) -> (Option<i64>, Option<bool>, String) {
        // The stream ends a moment before the engine has noticed.
        for _ in 0..500 {
            match self.sandbox.ended().await {
                Ok(e) if e.running => tokio::time::sleep(Duration::from_millis(20)).await,
                Ok(e) => {
                    let stderr = self.sandbox.stderr();
                    let code = e.exit_code.map_or_else(|| "?".to_owned(), |c| c.to_string());
                    let mut text = format!("exit code {code}, OOMKilled {}", e.oom_killed.unwrap_or(false));
                    for more in [e.error, stderr] {
                        if !more.is_empty() {
                            text = format!("{text}; {more}");
                        }
                    }
                    return (e.exit_code, e.oom_killed, text);
                }
                Err(e) => return (None, None, e.to_string()),
            }
        }
        (None, None, "its output ended, but the engine still calls it running".to_owned())
    }

    /// Reports that the scenario cannot go on.
    pub fn problem(&self, stage: &str, why: String) {
        let (runtime, scenario) = (self.runtime.clone(), self.scenario.clone());
        self.sink.emit(Event::Problem { runtime, scenario, stage: stage.to_owned(), why });
    }
}
