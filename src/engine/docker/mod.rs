//! The Docker Engine. The only module that knows bollard.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use awf_probe_probes::pace;
use bollard::{API_DEFAULT_VERSION, Docker as Client, errors::Error as ClientError};
use sha2::{Digest, Sha256};

use crate::{engine::Which, error::Error};

pub mod drive;
pub mod emitted;
pub mod image;
pub mod objects;
pub mod podman;
pub mod sandbox;
pub mod toolbox;

/// Label with the run's id; everything a run makes carries it.
pub const RUN_LABEL: &str = "awf-probe.run";
/// Label of the helper container: a run is alive while its helper is.
pub const ROLE_LABEL: &str = "awf-probe.role";

/// A connection to an engine.
#[derive(Clone, Debug)]
pub struct Docker {
    client: Client,
    /// Where it was found.
    pub at: String,
    /// Whether it is Podman, which speaks most of the same API.
    pub podman: bool,
    created: Arc<Mutex<Vec<String>>>,
}

/// A runtime as the engine has it.
#[derive(Clone, Debug)]
pub struct Registered {
    /// Path of the executable; empty for a shim.
    pub path: String,
    /// Arguments.
    pub args: Vec<String>,
}

/// What `docker info` says that matters here.
#[derive(Clone, Debug)]
pub struct Info {
    /// Facts for the report.
    pub host: awf_probe_matrix::Host,
    /// Registered runtimes.
    pub runtimes: BTreeMap<String, Registered>,
    /// Storage driver, and the folder it stores in.
    pub storage: (String, String),
}

impl Docker {
    /// Connects the way the docker command does: DOCKER_HOST, else the current context, else the default socket.
    pub async fn connect() -> Result<Self, Error> {
        Self::connect_to(&Which::Docker).await
    }

    /// Connects to an engine.
    pub async fn connect_to(which: &Which) -> Result<Self, Error> {
        let at = match which {
            Which::Docker => variable("DOCKER_HOST").or_else(of_context).unwrap_or_else(|| DEFAULT.to_owned()),
            Which::Podman => podman(),
            Which::At(url) => url.clone(),
            Which::Command => {
                return Err(Error::Usage {
                    why: "the command engine has no API".to_owned(),
                    help: "only `run` and `doctor` know it".to_owned(),
                });
            }
        };
        let failed = |e: &ClientError| Error::NoEngine { at: at.clone(), why: reason(e) };
        let path = at.strip_prefix("unix://");
        let client = match path {
            Some(path) => Client::connect_with_unix(path, 120, API_DEFAULT_VERSION),
            None => Err(ClientError::UnsupportedURISchemeError { uri: at.clone() }),
        }
        .map_err(|e| failed(&e))?;
        if let Some(path) = path {
            // Said apart from a refused connection, because the remedy differs.
            if let Err(e) = std::os::unix::net::UnixStream::connect(path) {
                return Err(Error::NoEngine { at, why: e.to_string() });
            }
        }
        let client = within("its API version", 10, client.negotiate_version()).await?.map_err(|e| failed(&e))?;
        let version = within("version", 10, client.version()).await?.map_err(|e| failed(&e))?;
        let podman = version.components.unwrap_or_default().iter().any(|c| c.name.starts_with("Podman"));
        if *which == Which::Podman && !podman {
            return Err(Error::NoEngine { at, why: "what answers there is not Podman".to_owned() });
        }
        Ok(Self { client, at, podman, created: Arc::default() })
    }

    /// Path of the engine's socket on its host.
    pub fn socket(&self) -> &str {
        self.at.strip_prefix("unix://").unwrap_or(DEFAULT.trim_start_matches("unix://"))
    }

    /// What the engine says of itself and its host.
    pub async fn info(&self) -> Result<Info, Error> {
        let what = "describe itself";
        let info = within("info", 20, self.client.info()).await?.map_err(|e| Error::engine(what, &reason(&e)))?;
        let text = |t: Option<String>| t.unwrap_or_default();
        let storage = (text(info.driver), text(info.docker_root_dir));
        let host = awf_probe_matrix::Host {
            kernel: text(info.kernel_version),
            os: text(info.operating_system),
            arch: text(info.architecture),
            engine: format!("{}{}", if self.podman { "Podman " } else { "" }, text(info.server_version)),
            api: self.client.client_version().to_string(),
            cgroup: info.cgroup_version.map(|v| v.to_string()).unwrap_or_default(),
            cgroup_driver: info.cgroup_driver.map(|d| d.to_string()).unwrap_or_default(),
            default_runtime: text(info.default_runtime),
            security: info.security_options.unwrap_or_default(),
            engine_id: text(info.id),
            cpus: info.ncpu.and_then(|n| u64::try_from(n).ok()).unwrap_or(0),
            settings: crate::fingerprint::settings(),
        };
        // Podman lists what it is configured for, and starts everything under its own.
        let own = self.podman.then(|| host.default_runtime.clone());
        let listed = info.runtimes.unwrap_or_default().into_iter();
        let runtimes = listed.filter(|(name, _)| own.as_ref().is_none_or(|o| o == name)).map(|(name, r)| {
            (name, Registered { path: r.path.unwrap_or_default(), args: r.runtime_args.unwrap_or_default() })
        });
        Ok(Info { host, runtimes: runtimes.collect(), storage })
    }

    /// Ids of all containers created through this connection, also of those whose start failed.
    pub fn created(&self) -> Vec<String> {
        self.created.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn remember(&self, id: &str) {
        self.created.lock().unwrap_or_else(PoisonError::into_inner).push(id.to_owned());
    }

    pub(crate) fn client(&self) -> &Client {
        &self.client
    }
}

const DEFAULT: &str = "unix:///var/run/docker.sock";

/// Podman's socket: CONTAINER_HOST, else that of the user's own service, else the system's.
fn podman() -> String {
    let own = || {
        let path = format!("{}/podman/podman.sock", variable("XDG_RUNTIME_DIR")?);
        (!rustix::process::geteuid().is_root() && std::path::Path::new(&path).exists())
            .then(|| format!("unix://{path}"))
    };
    variable("CONTAINER_HOST").or_else(own).unwrap_or_else(|| "unix:///run/podman/podman.sock".to_owned())
}

fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|v| !v.is_empty())
}

/// The engine of the docker command's current context, if that is another one than the default.
fn of_context() -> Option<String> {
    let dir = variable("DOCKER_CONFIG").or_else(|| variable("HOME").map(|h| format!("{h}/.docker")))?;
    let json =
        |path: String| -> Option<serde_json::Value> { serde_json::from_str(&std::fs::read_to_string(path).ok()?).ok() };
    let current = || json(format!("{dir}/config.json"))?.get("currentContext")?.as_str().map(str::to_owned);
    let name = variable("DOCKER_CONTEXT").or_else(current).filter(|n| n != "default")?;
    // The folder of a context is the hash of its name.
    let folder = image::hex(&Sha256::digest(name.as_bytes()));
    let meta = json(format!("{dir}/contexts/meta/{folder}/meta.json"))?;
    meta.pointer("/Endpoints/docker/Host")?.as_str().map(str::to_owned)
}

/// Bounds a call to the engine.
pub(crate) async fn within<T>(what: &str, seconds: u64, call: impl Future<Output = T>) -> Result<T, Error> {
    let limit = pace::scaled(Duration::from_secs(seconds));
    tokio::time::timeout(limit, call)
        .await
        .map_err(|_| Error::EngineHangs { what: what.to_owned(), seconds: limit.as_secs() })
}

/// The engine's own words, without the client's frame around them.
pub(crate) fn reason(error: &ClientError) -> String {
    match error {
        ClientError::DockerResponseServerError { status_code, message } => {
            format!("{} (HTTP {status_code})", message.trim())
        }
        other => {
            let mut text = other.to_string();
            let mut cause: &dyn std::error::Error = other;
            while let Some(next) = cause.source() {
                text = format!("{text}: {next}");
                cause = next;
            }
            text
        }
    }
}
