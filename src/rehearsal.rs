//! What a rehearsal brings up: the emitted settings, and what the agent's user will fetch.

use std::{
    fs,
    net::Ipv4Addr,
    path::{Path, PathBuf},
    process::Command,
};

use awf_probe_matrix::{Model, ModelNetwork};
use awf_probe_reports::selection::{ProfileV1, Topology, compose_value};
use serde_json::Value;

use crate::{engine::docker::emitted, error::Error, lab::Layout};

/// By what the agent is brought up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Through {
    /// The engine's API.
    Engine,
    /// The Compose tool of the harness's machine.
    Compose,
}

impl Through {
    /// The word for it in reports and names.
    pub fn word(self) -> &'static str {
        match self {
            Self::Engine => "engine",
            Self::Compose => "compose",
        }
    }

    /// A host of the job: what the ledgers say of it is this way's.
    pub fn host(self, of: &str) -> String {
        let list = if of == "denied" { "denied" } else { "allowed" };
        format!("{of}.{}.{list}.awf-probe.test", self.word())
    }

    /// Name of the scenario in the journal.
    pub fn scenario(self) -> &'static str {
        match self {
            Self::Engine => "rehearsal[engine]",
            Self::Compose => "rehearsal[compose]",
        }
    }
}

/// What is rehearsed.
#[derive(Debug)]
pub struct Rehearsal {
    /// The enforcement model.
    pub model: Model,
    /// iptables backend of whoever installs rules.
    pub backend: Option<String>,
    /// How AWF must be configured.
    pub profile: ProfileV1,
    /// Ways to bring it up.
    pub through: Vec<Through>,
    /// Files of this rehearsal; removed with it.
    pub dir: PathBuf,
    /// The repository that is cloned.
    pub repository: Option<Repository>,
    /// The archive of the package that is installed, and whether there is an npm to do it.
    pub package: Option<Vec<u8>>,
}

/// A repository as a server without git's own protocol has it.
#[derive(Debug)]
pub struct Repository {
    /// Files by their path below the repository.
    pub files: Vec<(String, Vec<u8>)>,
    /// The commit a clone must end at.
    pub head: String,
}

/// Files of the repository's one commit.
pub const FILES: usize = 60;

impl Rehearsal {
    /// Finds the model, and prepares what will be fetched.
    pub fn new(runtime: &str, profile: ProfileV1, models: &[Model], through: Vec<Through>) -> Result<Self, Error> {
        let (id, backend) = match profile.enforcement.split_once('/') {
            Some((id, backend)) => (id, Some(backend.to_owned())),
            None => (profile.enforcement.as_str(), None),
        };
        let Some(model) = models.iter().find(|m| m.id == id).cloned() else {
            return Err(Error::Usage {
                why: format!("there is no enforcement model {id:?}"),
                help: "the selection is of another version of awf-probe; make it anew".to_owned(),
            });
        };
        let dir = std::env::temp_dir().join(format!("awf-probe-rehearsal-{}", crate::random_hex(6)));
        fs::create_dir_all(&dir).map_err(|e| Error::unwritable(&dir, &e))?;
        let made = Self {
            repository: repository(&dir.join("repository"), tree()),
            package: package(&dir),
            model,
            backend,
            profile,
            through,
            dir,
        };
        let settings = made.settings(runtime, &Topology::awf());
        if let Some(key) = emitted::unknown(&settings["services"]["agent"]) {
            return Err(Error::Bug(format!("a setting that cannot be rehearsed: {key}")));
        }
        Ok(made)
    }

    /// Whether a stage is the one that is rehearsed.
    pub fn is(&self, model: &Model, backend: Option<&str>) -> bool {
        self.model.id == model.id && self.backend.as_deref() == backend
    }

    /// The Compose override, for a topology.
    fn settings(&self, runtime: &str, at: &Topology) -> Value {
        compose_value(runtime, self.model.network == ModelNetwork::Redirected, &self.profile, at)
    }

    /// The Compose override for an agent of the lab. The file it mounts is written beside it.
    pub fn emitted(&self, runtime: &str, layout: &Layout, net: usize, agent: Ipv4Addr, network: &str) -> Value {
        let topology = Topology {
            agent: agent.to_string(),
            resolver: layout.approved().to_string(),
            network: network.to_owned(),
            ..Topology::on(|n| layout.on(net, n).to_string())
        };
        let mut value = self.settings(runtime, &topology);
        let volumes = value.pointer_mut("/services/agent/volumes").and_then(Value::as_array_mut);
        for volume in volumes.into_iter().flatten() {
            // The engine wants whole paths; Compose makes them from the folder of its file.
            if let Some(rest) = volume.as_str().and_then(|v| v.strip_prefix("./")) {
                *volume = Value::from(format!("{}/{rest}", self.dir.display()));
            }
        }
        if let Some(text) = value.pointer("/x-awf-probe/resolv_conf").and_then(Value::as_str) {
            // A start of the agent fails where the file is not there, and says so.
            drop(fs::write(self.dir.join("resolv.conf"), format!("{text}\n")));
        }
        value
    }

    /// What the witness serves: paths and their content.
    pub fn content(&self) -> Vec<(String, Vec<u8>)> {
        let mut all: Vec<(String, Vec<u8>)> = Vec::new();
        if let Some(repository) = &self.repository {
            all.extend(repository.files.iter().map(|(path, bytes)| (format!("/repo.git/{path}"), bytes.clone())));
        }
        if let Some(archive) = &self.package {
            let url = format!("https://{ARCHIVES}/{PACKAGE}/-/{PACKAGE}-1.0.0.tgz");
            let document = serde_json::json!({
                "name": PACKAGE,
                "dist-tags": {"latest": "1.0.0"},
                "versions": {"1.0.0": {"name": PACKAGE, "version": "1.0.0", "dist": {"tarball": url}}},
            });
            all.push((format!("/{PACKAGE}"), document.to_string().into_bytes()));
            all.push((format!("/{PACKAGE}/-/{PACKAGE}-1.0.0.tgz"), archive.clone()));
        }
        all
    }
}

impl Drop for Rehearsal {
    fn drop(&mut self) {
        // Nothing can be done about a folder that stays.
        drop(fs::remove_dir_all(&self.dir));
    }
}

/// Name of the package.
pub const PACKAGE: &str = "awf-probe-package";
/// Where the package's archive is: an allowed name.
const ARCHIVES: &str = "archives.allowed.awf-probe.test";
/// What the package holds, so that an installation can be told from an empty folder.
pub const TOKEN: &str = "awf-probe package";

/// Files of the repository.
fn tree() -> impl Iterator<Item = (String, String)> {
    (0..FILES).map(|n| (format!("src/file-{n}.txt"), format!("file {n}\n").repeat(n + 1)))
}

/// A repository of one commit with these files, or `None` where this machine has no git.
pub(crate) fn repository(dir: &Path, tree: impl Iterator<Item = (String, String)>) -> Option<Repository> {
    let work = dir.join("work");
    for (path, text) in tree {
        let to = work.join(path);
        fs::create_dir_all(to.parent()?).ok()?;
        fs::write(to, text).ok()?;
    }
    let git = |at: &Path, args: &[&str]| -> Option<String> {
        let mut command = Command::new("git");
        command.current_dir(at).args(args).env("HOME", dir).env("GIT_CONFIG_NOSYSTEM", "1");
        for who in ["AUTHOR", "COMMITTER"] {
            command
                .env(format!("GIT_{who}_NAME"), "awf-probe")
                .env(format!("GIT_{who}_EMAIL"), "awf-probe@example.com");
        }
        let out = command.output().ok().filter(|o| o.status.success())?;
        Some(String::from_utf8_lossy(&out.stdout).trim().to_owned())
    };
    git(&work, &["init", "-q", "-b", "main"])?;
    git(&work, &["add", "."])?;
    git(&work, &["commit", "-q", "-m", "rehearsal"])?;
    let head = git(&work, &["rev-parse", "HEAD"])?;
    git(dir, &["clone", "-q", "--bare", "work", "bare"])?;
    let bare = dir.join("bare");
    git(&bare, &["repack", "-a", "-d", "-q"])?;
    git(&bare, &["update-server-info"])?;
    let mut files = Vec::new();
    collect(&bare, &bare, &mut files).ok()?;
    Some(Repository { files, head })
}

fn collect(root: &Path, at: &Path, files: &mut Vec<(String, Vec<u8>)>) -> std::io::Result<()> {
    for entry in fs::read_dir(at)? {
        let path = entry?.path();
        if path.is_dir() {
            collect(root, &path, files)?;
        } else if let Ok(below) = path.strip_prefix(root) {
            // Samples of hooks and the like are no part of what is served.
            if !below.starts_with("hooks") {
                files.push((below.display().to_string(), fs::read(&path)?));
            }
        }
    }
    Ok(())
}

/// A package as npm wants it, or `None` where this machine has no tar.
fn package(dir: &Path) -> Option<Vec<u8>> {
    let inner = dir.join("package");
    fs::create_dir_all(&inner).ok()?;
    let manifest = serde_json::json!({"name": PACKAGE, "version": "1.0.0", "main": "index.js"});
    fs::write(inner.join("package.json"), manifest.to_string()).ok()?;
    fs::write(inner.join("index.js"), format!("module.exports = {TOKEN:?};\n")).ok()?;
    let out = Command::new("tar").current_dir(dir).args(["-czf", "-", "package"]).output().ok()?;
    out.status.success().then_some(out.stdout)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_repository_can_be_cloned_from_its_files_alone() {
        let dir = std::env::temp_dir().join(format!("awf-probe-test-{}", crate::random_hex(6)));
        let made = repository(&dir, tree()).expect("git is here");
        let served = dir.join("served");
        for (path, bytes) in &made.files {
            let to = served.join(path);
            fs::create_dir_all(to.parent().expect("a folder")).expect("made");
            fs::write(to, bytes).expect("written");
        }
        // What a client without git's own protocol asks for.
        for path in ["HEAD", "info/refs", "objects/info/packs"] {
            assert!(served.join(path).exists(), "{path}");
        }
        let refs = fs::read_to_string(served.join("info/refs")).expect("refs");
        assert!(refs.starts_with(&made.head), "{refs}");
        fs::remove_dir_all(&dir).expect("removed");
    }
}
