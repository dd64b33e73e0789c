//! Files of the repository that are made from the catalogue, the samples and the command line are up to date.
//! `make generate` renews them all.

use std::{collections::BTreeSet, fs, path::Path, process::Command};

use awf_probe::{cli::Cli, commands::shell, journal, judge::judge};
use awf_probe_matrix::Catalogue;
use awf_probe_reports::{
    docs::{self, Measured},
    read,
};

#[expect(dead_code, reason = "shared with tests that read the golden journals by name")]
mod common;
use common::{data, in_repo};

#[test]
fn the_catalogue_page_is_up_to_date() {
    let catalogue = Catalogue::builtin().expect("the compiled-in data can be read");
    generated("docs/catalogue.md", &docs::catalogue_page(&catalogue));
}

/// `docs/report.md` speaks of every member of the schema, and of no word that is none.
#[test]
fn every_member_of_the_report_is_described() {
    fn members(value: &serde_json::Value, all: &mut BTreeSet<String>) {
        if let Some(properties) = value.get("properties").and_then(serde_json::Value::as_object) {
            all.extend(properties.keys().cloned());
        }
        match value {
            serde_json::Value::Object(map) => map.values().for_each(|v| members(v, all)),
            serde_json::Value::Array(list) => list.iter().for_each(|v| members(v, all)),
            _ => {}
        }
    }
    let mut all = BTreeSet::new();
    members(&awf_probe_reports::schema(), &mut all);
    assert!(all.len() > 60, "{all:?}");
    let page = fs::read_to_string(in_repo("docs/report.md")).expect("readable");
    let (_, list) = page.split_once("Member by member:\n").expect("the list");
    let (list, _) = list.split_once("\n## ").expect("its end");
    let missing: Vec<_> = all
        .iter()
        .filter(|m| !["schema", "digest"].contains(&m.as_str()))
        .filter(|m| !list.contains(&format!("`{m}`")) && !list.contains(&format!("`{m}[]`")))
        .collect();
    assert!(missing.is_empty(), "docs/report.md does not describe {missing:?}");
}

/// A page for each name under which a runtime was measured, and nothing else in the folder.
#[test]
fn the_pages_of_the_runtimes_are_up_to_date() {
    let catalogue = Catalogue::builtin().expect("the compiled-in data can be read");
    let pages = measured();
    let mut there = vec!["README.md".to_owned()];
    for (name, of) in &pages {
        let page = docs::runtime_page(name, of, &catalogue).expect("a page");
        assert!(page.matches("\n## ").count() == of.len(), "{name}: a section for each measurement");
        there.push(format!("{name}.md"));
        generated(&format!("docs/runtimes/{name}.md"), &page);
    }
    generated("docs/runtimes/README.md", &docs::runtimes_index(&pages, &catalogue).expect("a page"));
    let mut files: Vec<String> = fs::read_dir(in_repo("docs/runtimes"))
        .expect("a folder")
        .map(|e| e.expect("an entry").file_name().into_string().expect("text"))
        .collect();
    there.sort();
    files.sort();
    assert_eq!(files, there, "pages of runtimes that no sample is of");
}

/// The samples by name of the runtime, of each version and host the newest.
fn measured() -> Vec<(String, Vec<Measured>)> {
    let mut all: Vec<Measured> = Vec::new();
    for file in samples("reports/samples/journals") {
        all.push(judged(file));
    }
    for folder in samples("reports/samples/runtimes") {
        let journal = format!("{folder}/journal.jsonl");
        let report = format!("{folder}/report.json");
        let text = fs::read_to_string(in_repo(&report)).expect("a report");
        let then = Measured { matrix: read(&text).expect("a report"), file: report, judged_now: false };
        all.push(if in_repo(&journal).exists() { judged(journal) } else { then });
    }
    all.sort_by(|a, b| b.matrix.run.started.cmp(&a.matrix.run.started));
    let mut pages: Vec<(String, Vec<Measured>)> = Vec::new();
    for one in all {
        let name = one.matrix.runtimes.first().expect("a runtime").name.clone();
        let at = pages.iter().position(|(n, _)| *n == name).unwrap_or_else(|| {
            pages.push((name, Vec::new()));
            pages.len() - 1
        });
        if pages[at].1.iter().all(|other| environment(other) != environment(&one)) {
            pages[at].1.push(one);
        }
    }
    pages.sort_by(|a, b| a.0.cmp(&b.0));
    pages
}

fn judged(file: String) -> Measured {
    let (data, events) = (data(), journal::read(&in_repo(&file)).expect("a journal"));
    let matrix = judge(&events, &data.catalogue, &data.models, &data.products);
    Measured { matrix, file, judged_now: true }
}

fn environment(m: &Measured) -> [String; 3] {
    [m.matrix.runtimes[0].version.clone(), m.matrix.host.os.clone(), m.matrix.host.engine.clone()]
}

/// What is in a folder, from the root of the repository, by name.
fn samples(folder: &str) -> Vec<String> {
    let entries = fs::read_dir(in_repo(folder)).expect("a folder");
    let mut all: Vec<String> =
        entries.map(|e| format!("{folder}/{}", e.expect("an entry").file_name().to_str().expect("text"))).collect();
    all.sort();
    all
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
