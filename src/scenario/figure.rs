//! One visit of a bench: what the guest says it took, and what the clock out here says.

use std::time::{Duration, Instant};

use awf_probe_matrix::Outcome;
use awf_probe_probes::{
    pace,
    wire::{Ask, Batch},
};

use super::{Agent, Told};

/// What came of a visit.
#[derive(Clone, Debug)]
pub struct Figure {
    /// Samples: nanoseconds of one operation.
    pub samples: Vec<f64>,
    /// Repetitions of each sample.
    pub ops: u64,
    /// From the first sample to the last, by the guest's clock.
    pub guest: Duration,
    /// The same by the host's, with what it took to tell.
    pub host: Duration,
}

impl Agent {
    /// Whether an answer is still owed: whoever asks next would be given it.
    pub fn is_behind(&self) -> bool {
        self.behind
    }

    /// Runs one ask of the probe `bench`. Its facts are figures, and go into no journal.
    pub async fn figure(&mut self, ask: Ask) -> Result<Figure, String> {
        self.batches += 1;
        self.behind = true;
        let limit = pace::scaled(Duration::from_millis(ask.deadline_ms) + Duration::from_secs(5));
        let batch = Batch { batch: self.batches, parallel: false, asks: vec![ask] };
        self.sandbox.send(&batch).await.map_err(|e| e.to_string())?;
        let until = tokio::time::Instant::now() + limit;
        let (mut begun, mut host, mut samples, mut ops, mut guest) = (None, None, vec![], 0, None);
        let mut why = None;
        let mut counted = 0;
        loop {
            match self.told(until, limit).await {
                Told::Fact(fact) => {
                    counted += 1;
                    let name = fact.name.rsplit('.').next().unwrap_or_default();
                    match (name, &fact.outcome) {
                        ("begin", Outcome::Value { value }) => {
                            begun = Some(Instant::now());
                            ops = value.parse().unwrap_or(0);
                        }
                        ("samples", Outcome::Value { value }) => {
                            host = begun.map(|b: Instant| b.elapsed());
                            samples = value.split(' ').filter_map(|s| s.parse::<f64>().ok()).collect();
                        }
                        ("took", Outcome::Value { value }) => {
                            guest = value.parse().ok().map(Duration::from_nanos);
                        }
                        ("end", Outcome::Value { .. }) => {}
                        (_, other) => why = Some(other.to_string()),
                    }
                }
                Told::Finished(count) => {
                    self.behind = false;
                    if count != counted {
                        return Err(format!("the guest counted {count} facts, {counted} arrived"));
                    }
                    break;
                }
                Told::End => return Err(format!("the sandbox ended: {}", self.epitaph().await.2)),
                Told::Unclear(what) => return Err(what),
            }
        }
        let fine = samples.iter().all(|s| s.is_finite() && *s > 0.0);
        match (why, guest, host) {
            (Some(why), ..) => Err(why),
            (None, Some(guest), Some(host)) if ops > 0 && !samples.is_empty() && fine => {
                Ok(Figure { samples, ops, guest, host })
            }
            (None, ..) => Err("the guest told no figures".to_owned()),
        }
    }
}
