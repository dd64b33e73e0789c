//! What can go wrong, with the exit code it leads to and what to do about it.

use std::path::{Path, PathBuf};

/// Exit codes. Public and stable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// Every requirement asked for holds.
    Ok = 0,
    /// At least one does not, or auto mode refuses.
    Broken = 1,
    /// The command line is wrong.
    Usage = 2,
    /// Nothing failed, but not everything could be told.
    Inconclusive = 3,
    /// No engine, unknown runtime, set-up failed, unwritable output.
    Environment = 4,
}

impl Exit {
    /// All codes with their meaning, for `--help` and the README.
    pub const ALL: [(Self, &'static str); 5] = [
        (Self::Ok, "every requirement asked for holds"),
        (Self::Broken, "at least one requirement does not hold"),
        (Self::Usage, "usage: a wrong flag, a bad glob, an unknown capability"),
        (Self::Inconclusive, "nothing failed, but not everything could be told"),
        (Self::Environment, "environment: no engine, unknown runtime, set-up failed, unwritable output"),
    ];
}

/// An error a user can meet.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No engine answers.
    #[error("cannot reach a Docker Engine at {at}: {why}")]
    NoEngine {
        /// Where it was looked for.
        at: String,
        /// Why not.
        why: String,
    },
    /// The engine does not answer in time.
    #[error("the Docker Engine does not answer: {what} took longer than {seconds} s")]
    EngineHangs {
        /// What was asked.
        what: String,
        /// How long was waited.
        seconds: u64,
    },
    /// The engine refused something.
    #[error("the Docker Engine refused to {what}: {why}")]
    Engine {
        /// What was asked.
        what: String,
        /// Why.
        why: String,
    },
    /// A runtime the engine does not know.
    #[error("runtime {name:?} is not registered with the Docker Engine")]
    UnknownRuntime {
        /// What was asked for.
        name: String,
        /// What there is.
        registered: Vec<String>,
        /// The nearest of them.
        nearest: Option<String>,
    },
    /// A runtime nobody has described.
    #[error("no launch command is described for a runtime {name:?}")]
    UnknownLauncher {
        /// What was asked for.
        name: String,
        /// What there is.
        described: Vec<String>,
        /// The nearest of them.
        nearest: Option<String>,
    },
    /// An image the engine does not have.
    #[error("the Docker Engine has no image {reference:?}")]
    UnknownImage {
        /// What was asked for.
        reference: String,
    },
    /// The lab could not be set up.
    #[error("cannot set up the lab: {why}")]
    Lab {
        /// What failed.
        why: String,
    },
    /// An output that cannot be written.
    #[error("cannot write {}: {why}", path.display())]
    Unwritable {
        /// Where.
        path: PathBuf,
        /// Why.
        why: String,
    },
    /// A journal that cannot be used.
    #[error("cannot use the journal {}: {why}", path.display())]
    UnreadableJournal {
        /// Which.
        path: PathBuf,
        /// Why.
        why: String,
    },
    /// Something was left on the host.
    #[error("the run left something on the host: {what}")]
    Leftovers {
        /// What.
        what: String,
    },
    /// Interrupted.
    #[error("interrupted")]
    Interrupted,
    /// A wrong word on the command line.
    #[error("{why}")]
    Usage {
        /// What is wrong.
        why: String,
        /// What would be right.
        help: String,
    },
    /// A defect of awf-probe itself.
    #[error("internal error: {0}")]
    Bug(String),
}

impl Error {
    /// An output that cannot be written.
    pub fn unwritable(path: &Path, error: &std::io::Error) -> Self {
        Self::Unwritable { path: path.to_owned(), why: error.to_string() }
    }

    /// A refusal of the engine.
    pub fn engine(what: impl Into<String>, error: &impl ToString) -> Self {
        Self::Engine { what: what.into(), why: error.to_string() }
    }

    /// The exit code this leads to.
    pub fn exit(&self) -> Exit {
        match self {
            Self::Usage { .. } => Exit::Usage,
            Self::NoEngine { .. }
            | Self::EngineHangs { .. }
            | Self::Engine { .. }
            | Self::UnknownRuntime { .. }
            | Self::UnknownLauncher { .. }
            | Self::UnknownImage { .. }
            | Self::Lab { .. }
            | Self::Unwritable { .. }
            | Self::UnreadableJournal { .. }
            | Self::Leftovers { .. }
            | Self::Interrupted
            | Self::Bug(_) => Exit::Environment,
        }
    }

    /// What to do about it.
    pub fn help(&self) -> Option<String> {
        Some(match self {
            Self::NoEngine { why, .. } if why.to_lowercase().contains("permission denied") => {
                "run as root, or add your user to the group that owns the socket".to_owned()
            }
            Self::NoEngine { .. } => {
                "start one (scripts/setup does it on a bare machine), or name it with DOCKER_HOST".to_owned()
            }
            Self::EngineHangs { .. } => "look at the engine's log; `docker info` should answer at once".to_owned(),
            Self::Engine { .. } => "`awf-probe doctor` looks for the cause".to_owned(),
            Self::UnknownImage { .. } => {
                "a run pulls nothing: load the image first (docker load, docker pull), then name it as `docker images` does"
                    .to_owned()
            }
            Self::UnknownRuntime { registered, nearest, .. } => {
                let list = registered.join(", ");
                match nearest {
                    Some(n) => format!("did you mean {n:?}? registered runtimes are: {list}"),
                    None => format!("registered runtimes are: {list}"),
                }
            }
            Self::UnknownLauncher { described, nearest, .. } => {
                let list = described.join(", ");
                let near = nearest.as_ref().map(|n| format!("did you mean {n:?}? ")).unwrap_or_default();
                format!("{near}described are: {list}; --describe FILE adds others")
            }
            Self::Lab { .. } => {
                "`awf-probe doctor` checks what the lab needs; `awf-probe clean` removes what an earlier run left"
                    .to_owned()
            }
            Self::Unwritable { .. } => "choose another folder with --out, or free some space".to_owned(),
            Self::UnreadableJournal { .. } => {
                "a journal is the journal.jsonl that `awf-probe run --out DIR` writes".to_owned()
            }
            Self::Leftovers { .. } => "`awf-probe clean` removes what carries awf-probe's label".to_owned(),
            Self::Usage { help, .. } => help.clone(),
            Self::Interrupted => return None,
            Self::Bug(_) => "please report it, with the journal".to_owned(),
        })
    }
}
