//! What a shell and `man` want to know.

use std::{fs, path::Path};

use clap::CommandFactory;

use super::print;
use crate::{
    cli::{Cli, CompletionsArgs, ManArgs},
    error::{Error, Exit},
    inventory::nearest,
};

/// Prints the completions of a shell.
pub fn completions(args: &CompletionsArgs) -> Result<Exit, Error> {
    print(&completions_of(args.shell)?)?;
    Ok(Exit::Ok)
}

/// The completions of a shell. Commands that are only for awf-probe itself are no part of them.
pub fn completions_of(shell: clap_complete::Shell) -> Result<String, Error> {
    let mut bytes = Vec::new();
    clap_complete::generate(shell, &mut visible(), "awf-probe", &mut bytes);
    String::from_utf8(bytes).map_err(|e| Error::Bug(e.to_string()))
}

/// Prints a page, or writes all.
pub fn man(args: &ManArgs) -> Result<Exit, Error> {
    let pages = pages()?;
    if let Some(dir) = &args.out {
        fs::create_dir_all(dir).map_err(|e| Error::unwritable(dir, &e))?;
        for (name, text) in pages {
            let path = Path::new(dir).join(format!("{name}.1"));
            fs::write(&path, text).map_err(|e| Error::unwritable(&path, &e))?;
        }
        return Ok(Exit::Ok);
    }
    let name = args.command.as_ref().map_or_else(|| "awf-probe".to_owned(), |c| format!("awf-probe-{c}"));
    let Some((_, text)) = pages.iter().find(|(n, _)| *n == name) else {
        let given = args.command.clone().unwrap_or_default();
        let names: Vec<String> =
            pages.iter().filter_map(|(n, _)| n.strip_prefix("awf-probe-").map(str::to_owned)).collect();
        let near = nearest(&given, &names).map(|n| format!("did you mean {n:?}? ")).unwrap_or_default();
        return Err(Error::Usage {
            why: format!("there is no subcommand {given:?}"),
            help: format!("{near}there are: {}", names.join(", ")),
        });
    };
    print(text)?;
    Ok(Exit::Ok)
}

/// Name and text of each man page.
pub fn pages() -> Result<Vec<(String, String)>, Error> {
    let mut command = visible();
    // Gives each subcommand the name under which it is called.
    command.build();
    let subcommands: Vec<clap::Command> =
        command.get_subcommands().filter(|c| c.get_name() != "help").cloned().collect();
    [command].into_iter().chain(subcommands).map(page).collect()
}

fn page(command: clap::Command) -> Result<(String, String), Error> {
    let name = command.get_display_name().unwrap_or(command.get_name()).to_owned();
    let mut bytes = Vec::new();
    let bug = |e: &dyn std::fmt::Display| Error::Bug(e.to_string());
    let man = clap_mangen::Man::new(command).source(concat!("awf-probe ", env!("CARGO_PKG_VERSION")));
    man.render(&mut bytes).map_err(|e| bug(&e))?;
    Ok((name, String::from_utf8(bytes).map_err(|e| bug(&e))?))
}

/// The command line without what only awf-probe itself calls.
fn visible() -> clap::Command {
    let whole = Cli::command();
    let subcommands: Vec<clap::Command> = whole.get_subcommands().filter(|c| !c.is_hide_set()).cloned().collect();
    let mut command = clap::Command::new("awf-probe")
        .version(env!("CARGO_PKG_VERSION"))
        .propagate_version(true)
        .subcommand_required(true)
        .subcommands(subcommands);
    if let Some(about) = whole.get_about() {
        command = command.about(about.clone());
    }
    if let Some(help) = whole.get_after_help() {
        command = command.after_help(help.clone());
    }
    command
}
