//! What measures. `docker` starts sandboxes; `Replay` reads what another run saw. Both end in the same events.

use std::path::PathBuf;

use crate::{error::Error, event::Event, journal};

pub mod docker;

/// A source of events.
pub trait Engine {
    /// All events of a run, from its start to its end.
    fn events(self) -> impl Future<Output = Result<Vec<Event>, Error>> + Send;
}

/// A run that took place elsewhere or earlier.
#[derive(Debug)]
pub struct Replay {
    /// Its journal.
    pub journal: PathBuf,
}

impl Engine for Replay {
    async fn events(self) -> Result<Vec<Event>, Error> {
        journal::read(&self.journal)
    }
}
