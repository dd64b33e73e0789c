//! Where the executable begins. It stands in the library because whoever polls a future compiles it: the executable
//! would otherwise be compiled as long again as everything it is made of.

use std::process::ExitCode;

use crate::{
    cli::{Cli, Command},
    commands,
    error::{Error, Exit},
    lab::roles,
    progress::note,
};
use clap::Parser;

/// Reads the command line, does what it says, and tells how that ended.
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(e) => {
            // `--help` and `--version` come here too, and are no errors.
            drop(e.print());
            return ExitCode::from(if e.use_stderr() { Exit::Usage as u8 } else { Exit::Ok as u8 });
        }
    };
    let result = match &cli.command {
        // A guest is single-threaded and has no runtime: some sandboxes leave room for little else.
        Command::Guest => awf_probe_probes::guest::serve().map_err(|e| e.to_string()),
        Command::Init => awf_probe_probes::first::serve().map_err(|e| e.to_string()),
        Command::GuestOnce { probe, label, params } => awf_probe_probes::guest::once(probe, label, params),
        Command::Role { name, run: _ } => role(name),
        Command::Run(_)
        | Command::List(_)
        | Command::Explain(_)
        | Command::Coverage(_)
        | Command::Surprises(_)
        | Command::Judge(_)
        | Command::Bench(_)
        | Command::Egress(_)
        | Command::Diff(_)
        | Command::Select(_)
        | Command::Selftest(_)
        | Command::Rehearse(_)
        | Command::Auto(_)
        | Command::CiMatrix(_)
        | Command::Matrix(_)
        | Command::Completions(_)
        | Command::Man(_)
        | Command::Doctor(_)
        | Command::Clean(_) => {
            return harness(cli);
        }
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            note(&why);
            ExitCode::FAILURE
        }
    }
}

fn role(name: &str) -> Result<(), String> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let runtime = runtime.map_err(|e| e.to_string())?;
    let result = runtime.block_on(roles::main(name)).map_err(|e| format!("{e:#}"));
    // A role's own threads may sit in a system call; the process must end all the same.
    runtime.shutdown_background();
    result
}

fn harness(cli: Cli) -> ExitCode {
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(r) => r,
        Err(e) => return fail(&Error::Bug(e.to_string())),
    };
    let result = runtime.block_on(commands::dispatch(cli));
    runtime.shutdown_background();
    match result {
        Ok(exit) => ExitCode::from(exit as u8),
        Err(e) => fail(&e),
    }
}

fn fail(error: &Error) -> ExitCode {
    note(&format!("error: {error}"));
    if let Some(help) = error.help() {
        note(&format!("help: {help}"));
    }
    ExitCode::from(error.exit() as u8)
}
