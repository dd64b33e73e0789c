//! The journal: every event on a line of its own, flushed as it happens, so that a crash loses nothing.

use std::{
    fs::File,
    io::{BufRead, BufReader, Read, Write},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use tokio::sync::Notify;

use crate::{
    error::Error,
    event::{Event, JOURNAL},
};

/// Where events go. Cheap to clone; every holder appends to the same journal.
#[derive(Clone, Debug)]
pub struct Sink {
    inner: Arc<Mutex<Inner>>,
    alarm: Arc<Notify>,
}

#[derive(Debug)]
struct Inner {
    file: Option<File>,
    events: Vec<Event>,
    failed: Option<std::io::Error>,
}

impl Sink {
    /// A sink that writes to `path`, or only keeps the events.
    pub fn create(path: Option<&Path>) -> Result<Self, Error> {
        let file = match path {
            Some(p) => Some(File::create(p).map_err(|e| Error::unwritable(p, &e))?),
            None => None,
        };
        let inner = Inner { file, events: Vec::new(), failed: None };
        Ok(Self { inner: Arc::new(Mutex::new(inner)), alarm: Arc::default() })
    }

    /// Waits until a frame of the lab was seen where none belongs.
    pub async fn alarmed(&self) {
        self.alarm.notified().await;
    }

    /// Appends an event. The last one is told its line.
    pub fn emit(&self, mut event: Event) {
        if matches!(&event, Event::Packet { at, .. } if at == "tripwire") {
            self.alarm.notify_one();
        }
        let mut inner = self.lock();
        if let Event::RunFinished { lines, .. } = &mut event {
            *lines = inner.events.len() as u64 + 1;
        }
        if inner.failed.is_none() {
            let written = match (&mut inner.file, serde_json::to_vec(&event)) {
                (Some(file), Ok(mut line)) => {
                    line.push(b'\n');
                    file.write_all(&line)
                }
                (Some(_), Err(e)) => Err(e.into()),
                (None, _) => Ok(()),
            };
            inner.failed = written.err();
        }
        inner.events.push(event);
    }

    /// All events so far.
    pub fn events(&self) -> Vec<Event> {
        self.lock().events.clone()
    }

    /// The first error while writing (a full disk), if there was one.
    pub fn failure(&self) -> Option<String> {
        self.lock().failed.as_ref().map(ToString::to_string)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A journal longer than this is refused.
const MAX_BYTES: u64 = 1 << 30;
/// A line longer than this is refused.
const MAX_LINE: usize = 1 << 20;
/// The first line may be this long.
const MAX_FIRST_LINE: usize = 64 << 20;

/// Reads a journal. A last line without its end is a run that was cut off; anything else unreadable is an error.
pub fn read(path: &Path) -> Result<Vec<Event>, Error> {
    let unreadable = |why: String| Error::UnreadableJournal { path: PathBuf::from(path), why };
    let file = File::open(path).map_err(|e| unreadable(e.to_string()))?;
    parse(BufReader::new(file.take(MAX_BYTES))).map_err(unreadable)
}

/// The same of a journal from anywhere; the error says in a fragment what is wrong with it.
pub fn parse(mut reader: impl BufRead) -> Result<Vec<Event>, String> {
    let mut events = Vec::new();
    let mut line = Vec::new();
    loop {
        line.clear();
        let number = events.len() + 1;
        // The first line has the plan: a cell takes some 80 bytes, and a runtime has thousands.
        let most = if events.is_empty() { MAX_FIRST_LINE } else { MAX_LINE };
        let mut limited = (&mut reader).take(most as u64 + 1);
        let n = limited.read_until(b'\n', &mut line).map_err(|e| e.to_string())?;
        if n == 0 {
            break;
        }
        if n > most {
            return Err(format!("line {number} is longer than {most} bytes"));
        }
        match serde_json::from_slice::<Event>(&line) {
            Ok(Event::RunStarted { .. }) if !events.is_empty() => {
                return Err(format!("line {number}: a second run starts; a journal is of one"));
            }
            Ok(Event::RunFinished { lines, .. }) if lines != 0 && lines != number as u64 => {
                return Err(format!("line {number} was written as line {lines}: lines are lost or added"));
            }
            Ok(event) => events.push(event),
            Err(_) if line.last() != Some(&b'\n') => break,
            Err(e) => return Err(format!("line {number}: {e}")),
        }
    }
    match events.first() {
        Some(Event::RunStarted { journal, .. }) if journal == JOURNAL => Ok(events),
        Some(Event::RunStarted { journal, .. }) => Err(format!("it is a {journal}, this version reads {JOURNAL}")),
        _ => Err("its first line is no run-started event".to_owned()),
    }
}
