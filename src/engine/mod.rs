//! What measures. `docker` starts sandboxes; `Replay` reads what another run saw. Both end in the same events.

use std::path::PathBuf;

use crate::{error::Error, event::Event, inventory, journal};

pub mod command;
pub mod docker;

/// What `--engine` names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Which {
    /// The Docker Engine, where the docker command would look for it.
    Docker,
    /// Podman, by its socket that speaks the Docker Engine's API.
    Podman,
    /// The user's own launch commands.
    Command,
    /// An engine's API at this address.
    At(String),
}

/// The engine of a word: `docker`, `podman`, `command`, or `unix:///path`. No word: the Docker Engine.
pub fn which(word: Option<&str>) -> Result<Which, Error> {
    Ok(match word {
        None | Some("docker") => Which::Docker,
        Some("podman") => Which::Podman,
        Some("command") => Which::Command,
        Some(url) if url.starts_with("unix:///") => Which::At(url.to_owned()),
        Some(other) => {
            let known = ["docker", "podman", "command"].map(str::to_owned);
            let help = match inventory::nearest(other, &known) {
                Some(n) => format!("did you mean {n:?}? an engine is docker, podman, command, or unix:///PATH"),
                None if other.contains("://") => "only sockets are spoken to: unix:///PATH".to_owned(),
                None => "an engine is docker, podman, command, or unix:///PATH".to_owned(),
            };
            return Err(Error::Usage { why: format!("{other:?} is no engine"), help });
        }
    })
}

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_engine_is_a_word_or_a_socket() {
        assert_eq!(which(None).ok(), Some(Which::Docker));
        assert_eq!(which(Some("podman")).ok(), Some(Which::Podman));
        assert_eq!(which(Some("unix:///run/x.sock")).ok(), Some(Which::At("unix:///run/x.sock".to_owned())));
        let help = |word: &str| which(Some(word)).err().and_then(|e| e.help()).unwrap_or_default();
        assert!(help("podmann").contains("did you mean \"podman\"?"));
        assert!(help("tcp://host:2375").contains("only sockets"));
        assert!(help("x").contains("docker, podman, command"));
    }
}
