//! A role's two pipes: requests in, one JSON line per answer or event out.
//!
//! Lines are written by one thread from a bounded queue, so they never interleave and a harness that stops
//! reading never blocks a capture. Answers are always queued (the harness paces them); events beyond the bound
//! are lost, and [`Out::lost`] counts them so that `Counters` can say so.

use std::collections::VecDeque;
use std::io::{BufRead, Read, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;

use super::wire::{Answer, Ask, Request, Say};

/// What a role can do: answer, and undo everything it made.
pub(super) trait Role {
    /// Answers one request; an error becomes [`Say::Failed`].
    async fn answer(&mut self, ask: Ask) -> Result<Answer>;
    /// Removes everything the role made, as far as it can, and says what it could not.
    async fn undo(&mut self) -> Result<()>;
}

/// Runs a role: `ready`, then requests until end of file or a signal, then undo.
pub(super) async fn serve<R: Role>(name: &str, make: impl FnOnce(Out) -> R) -> Result<()> {
    let mut hangup = signal(SignalKind::hangup())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let out = Out::start()?;
    let mut inputs = read_requests()?;
    let mut role = make(out.clone());
    out.answer(&Say::Ready { role: name.to_owned() });
    loop {
        let input = tokio::select! {
            input = inputs.recv() => input,
            _ = hangup.recv() => None,
            _ = interrupt.recv() => None,
            _ = terminate.recv() => None,
        };
        match input {
            None => break,
            Some(Input::Garbage { seq, why }) => out.answer(&Say::Failed { seq, why }),
            Some(Input::Request(Request { seq, ask })) => match role.answer(ask).await {
                Ok(answer) => out.answer(&Say::Done { seq, answer }),
                Err(error) => out.answer(&Say::Failed { seq, why: format!("{error:#}") }),
            },
        }
    }
    let undone = role.undo().await;
    if let Err(error) = &undone {
        out.answer(&Say::Failed { seq: 0, why: format!("undo: {error:#}") });
    }
    out.drain(DRAIN);
    undone
}

/// The way out for lines; cheap to clone.
#[derive(Clone)]
pub(super) struct Out(Arc<Shared>);

impl Out {
    /// Starts the thread that writes to stdout.
    fn start() -> Result<Self> {
        let out = Self::to_nowhere();
        let writer = out.clone();
        std::thread::Builder::new()
            .name("stdout".into())
            .spawn(move || writer.write_lines())
            .context("start the stdout thread")?;
        Ok(out)
    }

    /// A queue that nothing reads.
    pub(super) fn to_nowhere() -> Self {
        Self(Arc::new(Shared { queue: Mutex::new(Queue::default()), changed: Condvar::new(), lost: AtomicU64::new(0) }))
    }

    /// Queues an event, or counts it as lost if the queue is full.
    pub(super) fn event(&self, say: &Say) {
        self.push(say, EVENTS);
    }

    /// Queues an answer, whatever the queue holds.
    pub(super) fn answer(&self, say: &Say) {
        self.push(say, usize::MAX);
    }

    /// How many lines were lost.
    pub(super) fn lost(&self) -> u64 {
        self.0.lost.load(Ordering::Relaxed)
    }

    fn push(&self, say: &Say, bound: usize) {
        let Ok(mut line) = serde_json::to_vec(say) else {
            self.0.lost.fetch_add(1, Ordering::Relaxed);
            return;
        };
        line.push(b'\n');
        let mut queue = self.queue();
        if queue.closed || queue.lines.len() >= bound {
            self.0.lost.fetch_add(1, Ordering::Relaxed);
            return;
        }
        queue.lines.push_back(line);
        self.0.changed.notify_all();
    }

    fn write_lines(&self) {
        loop {
            let lines = {
                let mut queue = self.queue();
                queue.writing = false;
                self.0.changed.notify_all();
                while queue.lines.is_empty() {
                    queue = self.0.changed.wait(queue).unwrap_or_else(PoisonError::into_inner);
                }
                queue.writing = true;
                std::mem::take(&mut queue.lines)
            };
            let mut stdout = std::io::stdout().lock();
            let written = lines.iter().try_for_each(|line| stdout.write_all(line).and_then(|()| stdout.flush()));
            if written.is_err() {
                let mut queue = self.queue();
                queue.closed = true;
                queue.writing = false;
                queue.lines.clear();
                self.0.changed.notify_all();
                return;
            }
        }
    }

    /// Waits until everything queued is written, at most `limit`: a reader that is gone must not keep us.
    fn drain(&self, limit: Duration) {
        let end = Instant::now() + limit;
        let mut queue = self.queue();
        while (queue.writing || !queue.lines.is_empty()) && !queue.closed {
            let Some(left) = end.checked_duration_since(Instant::now()) else {
                return;
            };
            queue = self.0.changed.wait_timeout(queue, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.0.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is queued, as text; for tests of what a role says.
    #[cfg(test)]
    pub(super) fn queued(&self) -> Vec<String> {
        self.queue().lines.iter().map(|line| String::from_utf8_lossy(line).into_owned()).collect()
    }
}

struct Shared {
    queue: Mutex<Queue>,
    changed: Condvar,
    lost: AtomicU64,
}

#[derive(Default)]
struct Queue {
    lines: VecDeque<Vec<u8>>,
    writing: bool,
    closed: bool,
}

enum Input {
    Request(Request),
    Garbage { seq: u64, why: String },
}

/// Reads stdin on a thread of its own: a blocking read must not hold up the runtime's shutdown after a signal.
fn read_requests() -> Result<mpsc::Receiver<Input>> {
    let (sender, receiver) = mpsc::channel(64);
    std::thread::Builder::new()
        .name("stdin".into())
        .spawn(move || {
            let mut stdin = std::io::stdin().lock();
            let mut line = Vec::new();
            loop {
                line.clear();
                match stdin.by_ref().take(LONGEST).read_until(b'\n', &mut line) {
                    Ok(0) | Err(_) => return,
                    Ok(_) if line.last() != Some(&b'\n') => return,
                    Ok(_) if line.trim_ascii().is_empty() => {}
                    Ok(_) if sender.blocking_send(parse(&line)).is_err() => return,
                    Ok(_) => {}
                }
            }
        })
        .context("start the stdin thread")?;
    Ok(receiver)
}

/// A line that is no request still gets an answer, with its own `seq` if one can be made out.
fn parse(line: &[u8]) -> Input {
    serde_json::from_slice(line).map_or_else(
        |error| {
            let value: Option<serde_json::Value> = serde_json::from_slice(line).ok();
            let seq = value.and_then(|value| value.get("seq")?.as_u64()).unwrap_or(0);
            Input::Garbage { seq, why: format!("not a request: {error}") }
        },
        Input::Request,
    )
}

/// Events that may wait for the harness; at about 250 bytes each, 8 MiB.
const EVENTS: usize = 32_768;
/// Longest request line.
const LONGEST: u64 = 1 << 20;
/// How long the last lines may take to be read.
const DRAIN: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_queue_loses_events_but_never_answers() {
        let out = Out::to_nowhere();
        for _ in 0..EVENTS + 3 {
            out.event(&Say::Ready { role: "x".into() });
        }
        assert_eq!(out.lost(), 3);
        out.answer(&Say::Done { seq: 7, answer: Answer::Ok });
        assert!(out.queued().last().expect("a line").contains("\"seq\":7"));
    }

    #[test]
    fn garbage_keeps_its_sequence_number() {
        assert!(matches!(parse(b"{\"seq\":9,\"ask\":{\"do\":\"fly\"}}\n"), Input::Garbage { seq: 9, .. }));
        assert!(matches!(parse(b"\xff\xfe\n"), Input::Garbage { seq: 0, .. }));
        assert!(matches!(parse(b"{\"seq\":1,\"ask\":{\"do\":\"snapshot\"}}\n"), Input::Request(_)));
    }
}
