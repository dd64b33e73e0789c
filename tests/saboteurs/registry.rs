//! Tells the engine of the saboteurs for the length of the test: a merge into daemon.json and SIGHUP, never a restart.

use std::{
    fs,
    os::unix::fs::{PermissionsExt, symlink},
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

use serde_json::{Map, Value, json};

use crate::wrapper::LINK;

const CONFIG: &str = "/etc/docker/daemon.json";
/// Before the pid of the test that registered it.
const PREFIX: &str = "awfp-sab-";

/// The saboteurs are registered while this lives.
#[derive(Debug)]
pub(crate) struct Registered {
    /// daemon.json as it was; `None` if there was none.
    before: Option<Vec<u8>>,
    /// What was written.
    during: Vec<u8>,
    links: PathBuf,
}

/// The name the engine knows a saboteur by in this process.
pub(crate) fn name_of(saboteur: &str) -> String {
    format!("{PREFIX}{}-{saboteur}", std::process::id())
}

impl Registered {
    /// Registers, after it has removed what a test that was killed has left.
    pub(crate) fn new(saboteurs: &[&str]) -> Result<Self, String> {
        remove_the_dead()?;
        let links = PathBuf::from(format!("/run/{PREFIX}{}", std::process::id()));
        fs::create_dir_all(&links).map_err(|e| format!("{}: {e}", links.display()))?;
        let own = fs::read_link("/proc/self/exe").map_err(|e| e.to_string())?;
        let before = fs::read(CONFIG).ok();
        // From here on Drop undoes whatever was done.
        let mut this = Self { before, during: vec![], links };
        let mut config = parsed(this.before.as_deref())?;
        let runtimes = runtimes(&mut config)?;
        for name in saboteurs {
            let link = this.links.join(format!("{LINK}{name}"));
            symlink(&own, &link).map_err(|e| format!("{}: {e}", link.display()))?;
            runtimes.insert(name_of(name), json!({"path": link}));
        }
        this.during = pretty(&config)?;
        write(&this.during)?;
        reload()?;
        wait(|known| saboteurs.iter().all(|s| known.contains_key(&name_of(s))))?;
        Ok(this)
    }

    fn undo(&self) -> Result<(), String> {
        let now = fs::read(CONFIG).map_err(|e| format!("{CONFIG}: {e}"))?;
        let mut config = parsed(Some(&now))?;
        let own = name_of("");
        runtimes(&mut config)?.retain(|name, _| !name.starts_with(&own));
        // With the key, also if it is empty now: the engine forgets only what a list leaves out.
        write(&pretty(&config)?)?;
        reload()?;
        wait(|known| !known.keys().any(|k| k.starts_with(&own)))?;
        // Nobody else has changed it meanwhile: byte for byte as it was.
        if now == self.during {
            match &self.before {
                Some(bytes) => write(bytes)?,
                None => fs::remove_file(CONFIG).map_err(|e| e.to_string())?,
            }
        }
        fs::remove_dir_all(&self.links).map_err(|e| e.to_string())
    }
}

impl Drop for Registered {
    #[expect(clippy::print_stderr, reason = "a test reports there, and a destructor has no other way")]
    fn drop(&mut self) {
        if let Err(why) = self.undo() {
            eprintln!("the saboteurs could not be unregistered from {CONFIG}: {why}");
        }
    }
}

/// Runtimes and links of tests whose process is gone.
fn remove_the_dead() -> Result<(), String> {
    let dead = |name: &str| {
        let pid = name.strip_prefix(PREFIX)?.split('-').next()?.parse::<u32>().ok()?;
        (!Path::new(&format!("/proc/{pid}")).exists()).then_some(pid)
    };
    let bytes = fs::read(CONFIG).ok();
    let mut config = parsed(bytes.as_deref())?;
    let runtimes = runtimes(&mut config)?;
    let many = runtimes.len();
    runtimes.retain(|name, _| dead(name).is_none());
    if runtimes.len() != many {
        write(&pretty(&config)?)?;
        reload()?;
        wait(|known| !known.keys().any(|k| dead(k).is_some()))?;
    }
    for entry in fs::read_dir("/run").map_err(|e| e.to_string())?.flatten() {
        if dead(&entry.file_name().to_string_lossy()).is_some() {
            fs::remove_dir_all(entry.path()).map_err(|e| e.to_string())?;
        }
    }
    Ok(())
}

fn parsed(bytes: Option<&[u8]>) -> Result<Value, String> {
    bytes.map_or_else(|| Ok(json!({})), |b| serde_json::from_slice(b).map_err(|e| format!("{CONFIG}: {e}")))
}

fn runtimes(config: &mut Value) -> Result<&mut Map<String, Value>, String> {
    let config = config.as_object_mut().ok_or_else(|| format!("{CONFIG} is no object"))?;
    let runtimes = config.entry("runtimes").or_insert_with(|| json!({}));
    runtimes.as_object_mut().ok_or_else(|| format!("the runtimes of {CONFIG} are no object"))
}

fn pretty(config: &Value) -> Result<Vec<u8>, String> {
    serde_json::to_vec_pretty(config).map_err(|e| e.to_string())
}

/// Whole or not at all.
fn write(bytes: &[u8]) -> Result<(), String> {
    let failed = |e: std::io::Error| format!("{CONFIG}: {e}");
    let mode = fs::metadata(CONFIG).map_or(0o644, |m| m.permissions().mode());
    let new = format!("{CONFIG}.{PREFIX}{}", std::process::id());
    fs::write(&new, bytes).map_err(failed)?;
    fs::set_permissions(&new, fs::Permissions::from_mode(mode)).map_err(failed)?;
    fs::rename(&new, CONFIG).map_err(failed)
}

fn reload() -> Result<(), String> {
    let pid = ["/var/run/docker.pid", "/run/docker.pid"].iter().find_map(|p| fs::read_to_string(p).ok());
    let pid: i32 = pid.and_then(|p| p.trim().parse().ok()).ok_or("the engine's pid file cannot be read")?;
    // SAFETY: SIGHUP asks the engine to read its configuration again.
    if unsafe { libc::kill(pid, libc::SIGHUP) } == 0 { Ok(()) } else { Err("SIGHUP to the engine failed".to_owned()) }
}

/// Until the engine's list of runtimes is as wanted.
fn wait(wanted: impl Fn(&Map<String, Value>) -> bool) -> Result<(), String> {
    let begun = Instant::now();
    loop {
        let out = Command::new("docker").args(["info", "--format", "{{json .Runtimes}}"]).output();
        let out = out.map_err(|e| format!("docker info: {e}"))?;
        let known: Option<Map<String, Value>> = serde_json::from_slice(&out.stdout).ok();
        if known.as_ref().is_some_and(&wanted) {
            return Ok(());
        }
        if begun.elapsed() > Duration::from_secs(20) {
            return Err(format!(
                "the engine's list of runtimes is not as asked for: {}",
                String::from_utf8_lossy(&out.stdout)
            ));
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}
