//! What a probe is given: its parameters, and the only way to report.

use std::{fs::File, io::Write, time::Instant};

use awf_probe_matrix::{Fact, Outcome, Sent};
use serde_json::Value;

/// A running probe's view of the harness.
#[derive(Debug)]
pub struct Cx {
    label: String,
    params: Value,
    out: File,
    begun: Instant,
}

impl Cx {
    pub(crate) fn new(label: String, params: Value, out: File) -> Self {
        Self { label, params, out, begun: Instant::now() }
    }

    /// A text parameter, empty if it was not given.
    pub fn text(&self, name: &str) -> &str {
        self.params.get(name).and_then(Value::as_str).unwrap_or_default()
    }

    /// A number parameter.
    pub fn number(&self, name: &str) -> Option<u64> {
        self.params.get(name).and_then(Value::as_u64)
    }

    /// A list-of-text parameter.
    pub fn texts(&self, name: &str) -> Vec<String> {
        let list = self.params.get(name).and_then(Value::as_array);
        list.into_iter().flatten().filter_map(|v| v.as_str().map(str::to_owned)).collect()
    }

    /// All parameters.
    pub fn params(&self) -> &Value {
        &self.params
    }

    /// Reports a fact named after the probe: `PROBE` itself if `name` is empty, `PROBE.name` otherwise.
    pub fn fact(&mut self, name: &str, outcome: Outcome) {
        self.report(name, outcome, None, None);
    }

    /// Reports an attempt and how to find it in the ledgers.
    pub fn sent(&mut self, name: &str, outcome: Outcome, sent: Sent) {
        let elapsed = u64::try_from(self.begun.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.report(name, outcome, Some(sent), Some(elapsed));
    }

    /// Lets go of the pipe, in a child that outlives the probe. Reports after this go nowhere.
    pub(crate) fn close(&mut self) {
        if let Ok(nowhere) = File::options().write(true).open("/dev/null") {
            self.out = nowhere;
        }
    }

    /// Passes on a fact that another process of this sandbox reported.
    pub(crate) fn relay(&mut self, fact: &Fact) {
        self.write(fact);
    }

    /// A second handle for a child that reports on its own.
    pub(crate) fn twin(&self, label: &str) -> Option<Self> {
        let out = self.out.try_clone().ok()?;
        Some(Self { label: label.to_owned(), params: self.params.clone(), out, begun: self.begun })
    }

    fn report(&mut self, name: &str, outcome: Outcome, sent: Option<Sent>, elapsed_ms: Option<u64>) {
        let name = if name.is_empty() { self.label.clone() } else { format!("{}.{name}", self.label) };
        self.write(&Fact { name, outcome, sent, elapsed_ms });
    }

    fn write(&mut self, fact: &Fact) {
        // One write per line: children of a probe may share the pipe, and writes up to PIPE_BUF are atomic.
        if let Ok(mut line) = serde_json::to_vec(fact) {
            line.push(b'\n');
            // The parent judges by what arrives; a report that cannot be written is missing there.
            drop(self.out.write_all(&line));
        }
    }
}
