//! Files of the repository that are made from the catalogue, the samples and the command line are up to date.
//! `make generate` renews them all.

use std::{fs, path::Path, process::Command};

use awf_probe::{cli::Cli, commands::shell};
use awf_probe_matrix::Catalogue;
use awf_probe_reports::docs;

#[test]
fn the_catalogue_page_is_up_to_date() {
    let catalogue = Catalogue::builtin().expect("the compiled-in data can be read");
    generated("docs/catalogue.md", &docs::catalogue_page(&catalogue));
}

/// `--help` as it is typed, 100 columns wide.
#[test]
fn the_help_of_every_subcommand_is_up_to_date() {
    let command = <Cli as clap::CommandFactory>::command();
    let names = command.get_subcommands().filter(|c| !c.is_hide_set()).map(|c| c.get_name().to_owned());
    for name in std::iter::once(None).chain(names.map(Some)) {
        let mut help = Command::new(env!("CARGO_BIN_EXE_awf-probe"));
        let output = help.args(&name).arg("--help").env("COLUMNS", "100").output().expect("the executable starts");
        assert!(output.status.success() && output.stderr.is_empty(), "{name:?}: {output:?}");
        let text = String::from_utf8(output.stdout).expect("text");
        assert!(text.contains("Example") || name.is_none(), "{name:?} has no examples");
        generated(&format!("reports/samples/shell/help/{}.txt", name.as_deref().unwrap_or("awf-probe")), &text);
    }
}

#[test]
fn the_completions_are_up_to_date() {
    use clap_complete::Shell::{Bash, Fish, Zsh};
    for shell in [Bash, Zsh, Fish] {
        let text = shell::completions_of(shell).expect("made");
        assert!(text.contains("baseline") && !text.contains("guest"), "{shell}: commands of its own are nobody's else");
        generated(&format!("reports/samples/shell/completions/awf-probe.{shell}"), &text);
    }
}

#[test]
fn the_man_pages_are_up_to_date() {
    let pages = shell::pages().expect("made");
    assert!(
        pages.iter().any(|(name, _)| name == "awf-probe-run"),
        "{:?}",
        pages.iter().map(|p| &p.0).collect::<Vec<_>>()
    );
    for (name, text) in pages {
        assert!(text.contains(".SH NAME"), "{name}");
        generated(&format!("reports/samples/shell/man/{name}.1"), &text);
    }
}

/// Compares, or writes where `AWF_PROBE_RENEW` is set.
#[track_caller]
fn generated(path: &str, now: &str) {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    if std::env::var_os("AWF_PROBE_RENEW").is_some() {
        fs::create_dir_all(file.parent().expect("a folder")).expect("created");
        fs::write(&file, now).expect("written");
        return;
    }
    let committed = fs::read_to_string(&file).unwrap_or_default();
    let line = committed.lines().zip(now.lines()).position(|(a, b)| a != b).map_or(0, |n| n + 1);
    assert!(committed == now, "{path} is not up to date (line {line}): run `make generate` and commit what changes");
}
