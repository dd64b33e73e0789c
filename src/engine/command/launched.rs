//! A process tree that the user's own command started: its streams, how it ended, and its removal.

use std::{
    os::unix::process::ExitStatusExt,
    path::PathBuf,
    process::{ExitStatus, Stdio},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use tokio::process::{Child, Command};

use crate::{
    engine::docker::sandbox::{Ended, Sandbox},
    error::Error,
};

/// The commands of one sandbox, every placeholder filled.
#[derive(Clone, Debug, Default, serde::Serialize, serde::Deserialize)]
pub struct Commands {
    /// Starts it.
    pub launch: Vec<String>,
    /// Starts the guest in it, if `launch` does not.
    pub exec: Vec<String>,
    /// Ends it.
    pub stop: Vec<String>,
    /// Removes what is left.
    pub remove: Vec<String>,
}

/// A guest that a command started.
#[derive(Debug)]
pub struct Launched {
    /// The runtime's name.
    runtime: String,
    /// The process the guest speaks through, and the leader of its group.
    pid: i32,
    child: Mutex<Child>,
    commands: Commands,
    /// The sandbox's folder.
    folder: PathBuf,
}

impl Launched {
    /// Starts a sandbox and the guest in it. What a failed start left is removed.
    pub async fn start(runtime: &str, id: &str, commands: Commands, folder: PathBuf) -> Result<Sandbox, String> {
        let begun = Instant::now();
        let keep = |commands: &Commands| {
            let text = serde_json::to_vec(commands).map_err(|e| e.to_string())?;
            // For whoever cleans up after a harness that was killed.
            std::fs::write(folder.join(LEFT), text).map_err(|e| format!("{}: {e}", folder.display()))
        };
        keep(&commands)?;
        let first = if commands.exec.is_empty() {
            &commands.launch
        } else {
            if let Err(why) = carry_out(&commands.launch, LAUNCH).await {
                undo(&commands, ENDING).await?;
                return Err(format!("launch: {why}"));
            }
            &commands.exec
        };
        let mut child = match command(first).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn() {
            Ok(child) => child,
            Err(e) => {
                undo(&commands, ENDING).await?;
                return Err(format!("{}: {e}", first.first().map_or("", String::as_str)));
            }
        };
        let streams = (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let pid = child.id().and_then(|p| i32::try_from(p).ok()).unwrap_or(0);
        let launched = Arc::new(Self { runtime: runtime.to_owned(), pid, child: Mutex::new(child), commands, folder });
        match streams {
            (Some(input), Some(output), Some(errors)) => {
                Ok(Sandbox::launched(id, (Box::pin(input), output, errors), launched, begun))
            }
            _ => Err("its standard streams are not there".to_owned()),
        }
    }

    /// What is known of it now, in the engine's terms.
    pub fn ended(&self) -> Ended {
        let status = self.child.lock().unwrap_or_else(PoisonError::into_inner).try_wait();
        let (running, status) = match status {
            Ok(None) => (true, None),
            Ok(Some(status)) => (false, Some(status)),
            Err(_) => (false, None),
        };
        Ended {
            running,
            exit_code: status.map(code),
            oom_killed: None,
            error: String::new(),
            pid: Some(self.pid.into()),
            runtime: self.runtime.clone(),
        }
    }

    /// Ends and removes it; gives up after so many seconds.
    pub async fn remove(&self, seconds: u64) -> Result<(), Error> {
        let failed = |why: String| Error::Engine { what: format!("remove {}", self.folder.display()), why };
        let limit = Duration::from_secs(seconds);
        if !self.commands.stop.is_empty() {
            // It may be over already, and then there is nothing to stop; what remains is seen below.
            drop(carry_out(&self.commands.stop, limit).await);
        }
        self.kill();
        let gone = Instant::now();
        while self.ended().running {
            if gone.elapsed() > limit {
                return Err(failed(format!("process {} does not end", self.pid)));
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        if !self.commands.remove.is_empty() {
            carry_out(&self.commands.remove, limit).await.map_err(|why| failed(format!("remove: {why}")))?;
        }
        std::fs::remove_dir_all(&self.folder).map_err(|e| failed(e.to_string()))
    }

    /// Kills the process and every one of its group.
    fn kill(&self) {
        // Not yet reaped, as `ended` would have told: the number is still this group's.
        if self.pid > 1 && self.ended().running {
            // SAFETY: kill takes numbers.
            unsafe { libc::kill(-self.pid, libc::SIGKILL) };
        }
    }
}

impl Drop for Launched {
    fn drop(&mut self) {
        self.kill();
    }
}

/// The file in a sandbox's folder that says how it is removed.
pub(super) const LEFT: &str = "commands.json";
/// How long a sandbox may take to stand.
const LAUNCH: Duration = Duration::from_secs(120);
pub(super) const ENDING: Duration = Duration::from_secs(30);

/// Stops and removes what commands made, as far as they have words for it.
pub(super) async fn undo(commands: &Commands, limit: Duration) -> Result<(), String> {
    drop(carry_out(&commands.stop, limit).await);
    carry_out(&commands.remove, limit).await.map_err(|why| format!("remove: {why}"))
}

/// A command in a group of its own, which the kernel kills when the harness is gone.
fn command(words: &[String]) -> Command {
    let mut command = Command::new(words.first().map_or("", String::as_str));
    command.args(words.get(1..).unwrap_or_default()).stderr(Stdio::piped()).process_group(0).kill_on_drop(true);
    // SAFETY: the call is one that a forked child may make.
    unsafe {
        command.pre_exec(|| match libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) {
            0 => Ok(()),
            _ => Err(std::io::Error::last_os_error()),
        });
    }
    command
}

/// Runs a command to its end. No words: nothing to do.
async fn carry_out(words: &[String], limit: Duration) -> Result<(), String> {
    let Some(program) = words.first() else { return Ok(()) };
    let ran = command(words).stdin(Stdio::null()).stdout(Stdio::null()).output();
    match tokio::time::timeout(limit, ran).await {
        Ok(Ok(done)) if done.status.success() => Ok(()),
        Ok(Ok(done)) => {
            let said = String::from_utf8_lossy(&done.stderr);
            let last = said.lines().rev().find(|l| !l.trim().is_empty()).unwrap_or("it said nothing");
            Err(format!(
                "{program} ended with {}: {}",
                code(done.status),
                last.trim().chars().take(300).collect::<String>()
            ))
        }
        Ok(Err(e)) => Err(format!("{program}: {e}")),
        Err(_) => Err(format!("{program} did not end within {} s", limit.as_secs())),
    }
}

/// The exit code as a shell has it: 128 and the signal for one that was killed.
fn code(status: ExitStatus) -> i64 {
    status.code().or_else(|| status.signal().map(|s| 128 + s)).unwrap_or(-1).into()
}
