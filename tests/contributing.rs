//! "Add a probe in ten minutes" of CONTRIBUTING.md, taken literally: its steps are read from the page and carried out.
//!
//! What needs no compiler is tried in memory, always. The build and the runs take minutes and an engine:
//! `cargo test --release --test contributing -- --ignored`.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use awf_probe::{
    cli::Cli,
    event::{Event, PlannedCell},
    judge::judge,
    specs::SOLO,
};
use awf_probe_matrix::{Capability, Catalogue, Cell, Condition, Fact, Outcome, Verdict, Want, coverage};
use clap::Parser;

mod common;
use common::{data, events, in_repo};

/// What a step asks for.
#[derive(Debug)]
enum Step {
    /// In a file, into a list.
    Insert { file: String, list: String, text: String },
    /// At the end of a file.
    Append { file: String, text: String },
    /// In a file, one text for another.
    Replace { file: String, from: String, to: String },
    /// Commands of a shell.
    Run { commands: Vec<String> },
}

#[test]
fn the_steps_are_there_and_fit_the_files() {
    let steps = steps();
    let kinds: String = steps
        .iter()
        .map(|s| match s {
            Step::Insert { .. } => 'i',
            Step::Append { .. } => 'a',
            Step::Run { .. } => 'x',
            Step::Replace { .. } => 'r',
        })
        .collect();
    assert_eq!(kinds, "iaaxr", "{steps:#?}");
    let mut files = Files::default();
    steps.iter().for_each(|s| files.follow(s));
    for command in commands(&steps) {
        let args = command.strip_prefix("cargo run --release --").expect("runs what was built").split_whitespace();
        Cli::try_parse_from(["awf-probe"].into_iter().chain(args)).unwrap_or_else(|e| panic!("{command}: {e}"));
    }
}

#[test]
fn what_is_added_is_a_capability_that_can_pass_and_can_fail() {
    let (data, capability, rust) = (data(), capability(), rust());
    assert!(data.catalogue.get(&capability.id).is_none(), "the example is in the catalogue: take another one");
    let rows = coverage::rows().expect("matrix/coverage.toml");
    let mut patterns = rows.iter().flat_map(|r| &r.clauses).flat_map(|c| &c.cells);
    assert!(patterns.any(|p| coverage::matches(p, &capability.id)), "it needs a third file, matrix/coverage.toml");
    assert!(!capability.controls.is_empty() && !capability.pass.is_empty());
    for condition in capability.controls.iter().chain(&capability.pass) {
        let (probe, name) = condition.key.fact.split_once('.').expect("PROBE.NAME");
        assert!(rust.contains(&format!("id: \"{probe}\"")), "no probe is called {probe}");
        assert!(rust.contains(&format!("cx.fact(\"{name}\"")), "nothing reports {}", condition.key);
        let spec = condition.key.scenario.as_str();
        assert!(SOLO.contains(&spec) && rust.contains(&format!("specs: &[\"{spec}\"]")), "not run in {spec}");
    }
    let wanted = |c: &Condition| match c.wants.first() {
        Some(Want::Is(text)) => text.clone(),
        other => panic!("{other:?}: the example compares texts"),
    };
    let (open, private) = (wanted(&capability.controls[0]), wanted(&capability.pass[0]));
    let judged = |open: Option<&str>, private: Option<&str>| cell(&capability, open, private).verdict;
    assert_eq!(judged(Some(&open), Some(&private)), Verdict::Pass);
    assert_eq!(judged(Some(&open), Some(&open)), Verdict::Fail, "without the umask");
    assert_eq!(judged(None, Some(&private)), Verdict::Inconclusive, "without its control");
    assert_eq!(judged(Some(&private), Some(&private)), Verdict::Inconclusive, "a control that comes out the same way");
    assert_eq!(judged(Some(&open), None), Verdict::Inconclusive, "not reported");
}

/// The whole section, in a copy of the tree and with an engine.
#[test]
#[ignore = "builds the copy and runs it: minutes, and an engine"]
fn the_section_followed_to_its_end() {
    let copy = tree();
    let id = capability().id;
    let run = |command: &str| {
        let mut shell = Command::new("bash");
        shell.args(["-c", command]).current_dir(&copy);
        // A folder of its own: the next time only what changed is built.
        shell.env("CARGO_TARGET_DIR", Path::new(env!("CARGO_TARGET_TMPDIR")).join("contributing-target"));
        let output = shell.output().expect("bash starts");
        let text = [&output.stdout[..], &output.stderr[..]].map(String::from_utf8_lossy).join("\n");
        (output.status.code(), text)
    };
    let steps = steps();
    let mut last = None;
    for step in &steps {
        let mut files = Files { root: copy.clone(), ..Files::default() };
        files.follow(step);
        files.write();
        if let Step::Run { commands } = step {
            for command in commands {
                let (code, text) = run(command);
                assert_eq!(code, Some(0), "{command}: {text}");
                assert!(text.contains(&id) || text.contains("✓ 1"), "{command}: {text}");
                last = Some(command.clone());
            }
        }
    }
    // After the last step, which breaks it on purpose, the same command once more.
    let (code, text) = run(&last.expect("a command"));
    assert_eq!(code, Some(1), "it does not fail: {text}");
    assert!(text.contains("should be 600, but: 666"), "{text}");
}

/// The files of the repository, at a place where they may be changed.
fn tree() -> PathBuf {
    let copy = Path::new(env!("CARGO_TARGET_TMPDIR")).join("contributing");
    let listed = Command::new("git").arg("ls-files").current_dir(in_repo(".")).output().expect("git");
    for file in String::from_utf8(listed.stdout).expect("text").lines() {
        let (from, to) = (in_repo(file), copy.join(file));
        fs::create_dir_all(to.parent().expect("a folder")).expect("created");
        // Unchanged files keep their time, so that they are not built again.
        if fs::read(&from).ok() != fs::read(&to).ok() {
            fs::copy(&from, &to).unwrap_or_else(|e| panic!("{file}: {e}"));
        }
    }
    copy
}

/// Files as the steps leave them.
#[derive(Debug, Default)]
struct Files {
    root: PathBuf,
    changed: std::collections::BTreeMap<String, String>,
}

impl Files {
    fn text(&mut self, file: &str) -> &mut String {
        let path = if self.root.as_os_str().is_empty() { in_repo(file) } else { self.root.join(file) };
        let text = || fs::read_to_string(path).unwrap_or_else(|e| panic!("{file}: {e}"));
        self.changed.entry(file.to_owned()).or_insert_with(text)
    }

    fn follow(&mut self, step: &Step) {
        match step {
            Step::Insert { file, list, text } => {
                let all = self.text(file);
                let line = all.find(&format!("const {list}:")).unwrap_or_else(|| panic!("{file} has no {list}"));
                let at = line + all[line..].find("= &[").expect("a list") + "= &[".len();
                all.insert_str(at, &format!("\n{text}"));
            }
            Step::Append { file, text } => self.text(file).push_str(&format!("\n{text}")),
            Step::Replace { file, from, to } => {
                let all = self.text(file);
                assert_eq!(all.matches(from).count(), 1, "{file}: {from}");
                *all = all.replace(from, to);
            }
            Step::Run { .. } => {}
        }
    }

    fn write(&self) {
        for (file, text) in &self.changed {
            fs::write(self.root.join(file), text).expect("written");
        }
    }
}

/// The steps of the section, in order.
fn steps() -> Vec<Step> {
    let page = fs::read_to_string(in_repo("CONTRIBUTING.md")).expect("readable");
    let from = page.find("\n## Add a probe in ten minutes\n").expect("the section");
    let section = &page[from + 1..];
    let section = &section[..section[3..].find("\n## ").map_or(section.len(), |n| n + 3)];
    let mut steps: Vec<String> = Vec::new();
    for line in section.lines() {
        if line.split_once(". ").is_some_and(|(n, _)| n.parse::<u32>().is_ok()) {
            steps.push(String::new());
        } else if !line.is_empty() && !line.starts_with(' ') && !steps.is_empty() {
            break;
        }
        if let Some(step) = steps.last_mut() {
            step.push_str(&format!("{}\n", line.strip_prefix("   ").unwrap_or(line)));
        }
    }
    assert!(!steps.is_empty(), "the section has no steps");
    steps.iter().map(|s| step(s)).collect()
}

fn step(text: &str) -> Step {
    let mut fences = text.splitn(3, "```");
    let prose = fences.next().unwrap_or_default().replace('\n', " ");
    let block = fences.next().and_then(|b| b.split_once('\n'));
    let spans: Vec<String> = prose.split('`').skip(1).step_by(2).map(str::to_owned).collect();
    let (said, first) = (|what: &str| prose.contains(what), spans.first().cloned().unwrap_or_default());
    match block {
        Some(("rust", code)) if said(", add to `") => {
            Step::Insert { file: first, list: spans[1].clone(), text: code.to_owned() }
        }
        Some((_, code)) if said("At the end of `") => Step::Append { file: first, text: code.to_owned() },
        Some(("sh", code)) => Step::Run { commands: code.lines().map(str::to_owned).collect() },
        None if said(", replace `") => Step::Replace { file: first, from: spans[1].clone(), to: spans[2].clone() },
        _ => panic!("no step that can be followed: {text}"),
    }
}

fn commands(steps: &[Step]) -> Vec<String> {
    steps.iter().flat_map(|s| if let Step::Run { commands } = s { commands.clone() } else { vec![] }).collect()
}

/// What the steps add to Rust files.
fn rust() -> String {
    let added = steps().into_iter().filter_map(|s| match s {
        Step::Insert { file, text, .. } | Step::Append { file, text } if file.ends_with(".rs") => Some(text),
        _ => None,
    });
    added.collect()
}

/// The capability that the steps add.
fn capability() -> Capability {
    let (file, text) = steps()
        .into_iter()
        .find_map(|s| match s {
            Step::Append { file, text } if file.ends_with(".toml") => Some((file, text)),
            _ => None,
        })
        .expect("a step adds a capability");
    let before = fs::read_to_string(in_repo(&file)).expect("readable");
    let parse = |text: &str| Catalogue::parse(&[(&file, text)], "requirement = []").expect("a catalogue").capabilities;
    let (old, mut new) = (parse(&before), parse(&format!("{before}\n{text}")));
    new.retain(|c| old.iter().all(|o| o.id != c.id));
    assert_eq!(new.len(), 1, "one capability is added");
    new.remove(0)
}

/// It, judged in the golden run of runc, if that had reported these.
fn cell(capability: &Capability, control: Option<&str>, subject: Option<&str>) -> Cell {
    let (mut data, mut events) = (data(), events("runc"));
    data.catalogue.capabilities.push(capability.clone());
    let Some(Event::RunStarted { plan, .. }) = events.first_mut() else { panic!("no run-started") };
    *plan = vec![PlannedCell { id: capability.id.clone(), runtime: "runc".to_owned(), model: None, backend: None }];
    for (condition, value) in [(&capability.controls[0], control), (&capability.pass[0], subject)] {
        let Some(value) = value else { continue };
        let (name, outcome) = (condition.key.fact.clone(), Outcome::value(value));
        events.push(Event::Observed {
            runtime: "runc".to_owned(),
            scenario: condition.key.scenario.clone(),
            source: "guest".to_owned(),
            fact: Fact { name, outcome, sent: None, elapsed_ms: None },
            address: None,
        });
    }
    judge(&events, &data.catalogue, &data.models, &data.products).cells.remove(0)
}
