//! The OCI runtime: has its defect, then becomes the real runc with the same arguments.

use std::{
    fs,
    os::unix::process::CommandExt,
    path::PathBuf,
    process::{Command, ExitCode},
    time::Duration,
};

use serde_json::Value;

use crate::{
    edits,
    guest::{self, Lie},
    table::{self, Act, Defect},
};

/// What a saboteur's link in the file system is called, before its name.
pub(crate) const LINK: &str = "awfp-sab-runtime-";

/// The real runtime, as dockerd finds it.
pub(crate) const REAL: &str = "runc";

/// One call of the runtime.
#[derive(Debug)]
pub(crate) struct Call {
    /// `create`, `start`, `state`, `kill`, `delete`, `exec`, …
    pub(crate) command: String,
    /// All arguments.
    pub(crate) args: Vec<String>,
    /// The bundle's configuration.
    pub(crate) config: Value,
}

impl Call {
    /// Edits the process that is to be executed in a running container.
    pub(crate) fn edit_process(&self, edit: impl FnOnce(&mut Value)) {
        let file = option(&self.args, "--process").or_else(|| option(&self.args, "-p"));
        let read = file.as_ref().and_then(|f| serde_json::from_slice::<Value>(&fs::read(f).ok()?).ok());
        if let (Some(file), Some(mut process)) = (file, read) {
            edit(&mut process);
            // Left as it was the saboteur has no defect, and the test says that it survived.
            drop(fs::write(file, process.to_string()));
        }
    }
}

/// The saboteur's name, if this executable was called by a saboteur's link.
pub(crate) fn called_as(argv0: &str) -> Option<String> {
    argv0.rsplit('/').next()?.strip_prefix(LINK).map(str::to_owned)
}

/// Has the defect and hands over. Only returns if the runtime is not called at all, or cannot be.
pub(crate) fn main(name: &str, args: &[String]) -> ExitCode {
    let Some(saboteur) = table::find(name) else { return complain(&format!("no saboteur is called {name}")) };
    let command = args.iter().find(|a| COMMANDS.contains(&a.as_str())).cloned().unwrap_or_default();
    let bundle =
        option(args, "--bundle").or_else(|| option(args, "-b")).map_or_else(|| PathBuf::from("."), PathBuf::from);
    let path = bundle.join("config.json");
    // The shim calls from inside the bundle; `--version` and the like are called from anywhere.
    let config = fs::read(&path).ok().and_then(|b| serde_json::from_slice(&b).ok()).unwrap_or(Value::Null);
    let mut call = Call { command, args: args.to_vec(), config };
    let mut program = REAL.to_owned();
    match &saboteur.defect {
        Defect::None => {}
        Defect::Bundle(edit) if call.command == "create" => edit(&mut call.config),
        // Of the containers that are no agents only their end is spoilt: their outputs belong to the engine.
        Defect::Guest(applies, lie)
            if call.command == "create"
                && (*lie == Lie::Swallow || edits::guest(&call.config))
                && applies(&call.config) =>
        {
            if let Err(why) = guest::interpose(&mut call.config, *lie) {
                return complain(&why);
            }
        }
        Defect::Bundle(_) | Defect::Guest(..) => {}
        Defect::Call(act) => match act(&call) {
            Act::Go => {}
            Act::Wait(seconds) => std::thread::sleep(Duration::from_secs(seconds)),
            Act::Say(code, text) => {
                if code != 0 {
                    log(&call.args, text);
                    complain(text);
                }
                return ExitCode::from(code);
            }
            Act::With(args) => call.args = args,
            Act::Be(other) => program = other.to_owned(),
        },
    }
    if call.command == "create"
        && let Ok(text) = serde_json::to_vec(&call.config)
        && fs::write(&path, text).is_err()
    {
        return complain("cannot write config.json");
    }
    let error = Command::new(&program).args(&call.args).exec();
    complain(&format!("cannot become {program}: {error}"))
}

const COMMANDS: &[&str] =
    &["create", "start", "state", "kill", "delete", "exec", "run", "ps", "events", "update", "pause", "resume", "list"];

/// The value of an option, in either spelling.
fn option(args: &[String], name: &str) -> Option<String> {
    let joined = args.iter().find_map(|a| a.strip_prefix(name)?.strip_prefix('=').map(str::to_owned));
    joined.or_else(|| args.iter().position(|a| a == name).and_then(|i| args.get(i + 1).cloned()))
}

/// An error where the shim looks for it.
fn log(args: &[String], text: &str) {
    if let Some(path) = option(args, "--log") {
        let line = serde_json::json!({"level": "error", "msg": text, "time": "2026-01-01T00:00:00Z"});
        // Without it the shim reports the exit status alone.
        drop(fs::write(path, format!("{line}\n")));
    }
}

#[expect(clippy::print_stderr, reason = "a runtime reports its errors there")]
fn complain(text: &str) -> ExitCode {
    eprintln!("{text}");
    ExitCode::FAILURE
}
