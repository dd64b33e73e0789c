//! An image that the user names, and what its configuration says.

use crate::{engine::docker::Docker, error::Error};

/// An image on the engine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Given {
    /// As the user named it.
    pub reference: String,
    /// The engine's id of it; the name may move meanwhile.
    pub id: String,
    /// `User`; empty for root.
    pub user: String,
    /// `WorkingDir`; `/` where it names none.
    pub workdir: String,
    /// `Env`.
    pub env: Vec<String>,
    /// Whether it names an entrypoint or a command.
    pub command: bool,
}

impl Given {
    /// Looks it up. Nothing is pulled.
    pub async fn find(docker: &Docker, reference: &str) -> Result<Self, Error> {
        let (id, config) = docker.image_config(reference).await?;
        let word =
            |t: Option<String>, otherwise: &str| t.filter(|t| !t.is_empty()).unwrap_or_else(|| otherwise.to_owned());
        let any = |words: &Option<Vec<String>>| words.as_ref().is_some_and(|w| !w.is_empty());
        Ok(Self {
            reference: reference.to_owned(),
            id,
            command: any(&config.entrypoint) || any(&config.cmd),
            user: word(config.user, ""),
            workdir: word(config.working_dir, "/"),
            env: config.env.unwrap_or_default(),
        })
    }
}
