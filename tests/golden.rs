//! Journals of real runs, judged again: a change in judging shows as a diff of `reports/samples/verdicts/`.

use std::{fmt::Write as _, fs, io::Write as _, path::Path};

use awf_probe::{
    commands::{
        Data,
        run::{exit_of, is_filtered},
        written::of_runtime,
    },
    error::{Error, Exit},
    event::Event,
    journal,
    judge::judge,
};
use awf_probe_matrix::{Matrix, Verdict};
use awf_probe_reports::{Format, Style, read, render};

mod common;
use common::{data, events, in_repo};

const GOLDEN: [&str; 2] = ["runc", "runsc"];

#[test]
fn verdicts_of_the_golden_journals() {
    let data = data();
    let mut changed = Vec::new();
    for name in GOLDEN {
        let path = in_repo(&format!("reports/samples/verdicts/{name}.txt"));
        let now = compact(&matrix(&events(name), &data));
        if std::env::var_os("AWF_PROBE_RENEW").is_some() {
            fs::create_dir_all(path.parent().expect("a folder")).expect("created");
            fs::write(&path, &now).expect("written");
        }
        let committed = fs::read_to_string(&path).unwrap_or_default();
        changed.extend(differences(&committed, &now).into_iter().map(|d| format!("{name}: {d}")));
    }
    assert!(
        changed.is_empty(),
        "the same observations are judged differently now:\n{}\n\
         if that is meant: AWF_PROBE_RENEW=1 cargo test --test golden, and commit reports/samples/verdicts/",
        changed.join("\n")
    );
}

#[test]
fn every_line_of_a_journal_is_written_as_it_was_read() {
    for name in GOLDEN {
        let text = fs::read_to_string(path(name)).expect("readable");
        for (i, line) in text.lines().enumerate() {
            let event: Event = serde_json::from_str(line).expect("an event");
            let again = serde_json::to_string(&event).expect("can be written");
            assert_eq!(again, line, "{name}.jsonl line {}", i + 1);
        }
    }
}

#[test]
fn the_report_of_a_golden_journal_can_be_read_back() {
    let data = data();
    for name in GOLDEN {
        let matrix = matrix(&events(name), &data);
        let text = render(&matrix, &data.catalogue, Format::Json, Style::default()).expect("rendered");
        assert_eq!(read(&text).expect("read back"), matrix, "{name}");
    }
}

#[test]
fn evidence_names_lines_of_the_journal() {
    let data = data();
    for name in GOLDEN {
        let events = events(name);
        let matrix = matrix(&events, &data);
        for cell in &matrix.cells {
            assert!(!cell.reason.is_empty(), "{name}: {} has no reason", cell.name());
            assert!(cell.verdict == Verdict::Inconclusive || !cell.evidence.is_empty(), "{name}: {}", cell.name());
            for line in cell.evidence.iter().filter_map(|e| e.journal_line) {
                assert!((1..=events.len() as u64).contains(&line), "{name}: {} line {line}", cell.name());
            }
        }
    }
}

#[test]
fn the_part_of_a_runtime_has_the_verdicts_of_the_whole() {
    let data = data();
    let [one, other] = GOLDEN.map(events);
    let both = merged(&one, &other);
    let whole = matrix(&both, &data);
    for (name, alone) in GOLDEN.into_iter().zip([one, other]) {
        let own = verdicts(&matrix(&alone, &data), name);
        assert!(!own.is_empty());
        assert_eq!(verdicts(&whole, name), own, "{name} in a journal of two runtimes");
        assert_eq!(verdicts(&matrix(&of_runtime(&both, name), &data), name), own, "{name} cut out of it");
        assert_eq!(verdicts(&matrix(&of_runtime(&alone, name), &data), name), own, "{name} cut out of its own");
        assert!(matrix(&of_runtime(&both, name), &data).cells.iter().all(|c| c.runtime == name));
    }
}

#[test]
fn a_tripwire_concerns_every_runtime() {
    let data = data();
    let [one, other] = GOLDEN.map(events);
    let mut both = merged(&one, &other);
    let packet = one.iter().find_map(|e| match e {
        Event::Packet { packet, .. } => Some(packet.clone()),
        _ => None,
    });
    both.push(Event::Packet { at: "tripwire".to_owned(), packet: packet.expect("a packet") });
    for name in GOLDEN {
        let cells = matrix(&of_runtime(&both, name), &data).cells;
        assert!(cells.iter().all(|c| c.verdict == Verdict::Inconclusive), "{name}");
    }
}

#[test]
fn a_run_that_was_cut_off_never_exits_0() {
    let data = data();
    let whole = events("runc");
    assert_eq!(exit(&matrix(&whole, &data), &data), Exit::Ok, "the golden run of runc keeps every requirement");
    let bytes = fs::read(path("runc")).expect("readable");
    let step = bytes.len() / 40;
    let first = bytes.iter().position(|b| *b == b'\n').expect("a line") + 1;
    let mut cuts: Vec<usize> = (1..40).map(|n| n * step).filter(|n| *n >= first).collect();
    // In the first line but one byte, in the last line, and before its end.
    cuts.extend([first, bytes.len() - 2, bytes.len() - 20]);
    for cut in cuts {
        let read = reading(&bytes[..cut]).expect("a cut-off last line is tolerated");
        assert!(read.len() < whole.len());
        let matrix = matrix(&read, &data);
        assert!(!matrix.run.complete, "cut at byte {cut}");
        assert_ne!(exit(&matrix, &data), Exit::Ok, "cut at byte {cut}");
    }
}

#[test]
fn a_journal_that_lost_a_line_is_refused() {
    let text = fs::read_to_string(path("runc")).expect("readable");
    let lines: Vec<&str> = text.lines().collect();
    let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join("lost-line.jsonl");
    for lost in [1, 2, lines.len() / 2, lines.len() - 2] {
        let rest: Vec<&str> = lines.iter().enumerate().filter(|(i, _)| *i != lost).map(|(_, l)| *l).collect();
        fs::write(&file, rest.join("\n") + "\n").expect("written");
        let error = journal::read(&file).expect_err("a line is missing").to_string();
        assert!(error.contains("lines are lost or added"), "without line {}: {error}", lost + 1);
    }
}

#[test]
fn a_run_that_says_it_is_incomplete_never_exits_0() {
    let data = data();
    let mut events = events("runc");
    for event in &mut events {
        if let Event::RunFinished { complete, .. } = event {
            *complete = false;
        }
    }
    assert_eq!(exit(&matrix(&events, &data), &data), Exit::Inconclusive);
}

#[test]
fn a_filtered_run_is_judged_by_its_cells() {
    let data = data();
    let mut events = events("runc");
    let Some(Event::RunStarted { plan, .. }) = events.first_mut() else { panic!("no run-started") };
    plan.retain(|c| c.id.starts_with("egress.tcp."));
    let matrix = matrix(&events, &data);
    assert!(is_filtered(&matrix, &data));
    // Leaks of `open` and `env-only` are controls.
    assert!(matrix.cells.iter().any(|c| c.verdict == Verdict::Fail));
    assert_eq!(exit_of(&matrix, &data, true), Exit::Ok);
}

#[test]
fn damaged_journals_are_refused() {
    let text = fs::read_to_string(path("runc")).expect("readable");
    let lines: Vec<&str> = text.lines().take(40).collect();
    let with = |i: usize, line: &str| {
        let mut all = lines.clone();
        all.insert(i, line);
        all.join("\n") + "\n"
    };
    let refused = |what: &str, bytes: &[u8], says: &str| match reading(bytes) {
        Err(Error::UnreadableJournal { why, .. }) => assert!(why.contains(says), "{what}: {why}"),
        other => panic!("{what}: {:?}", other.map(|e| e.len())),
    };
    refused("garbage in the middle", with(20, "garbage").as_bytes(), "line 21");
    refused("an empty line", with(20, "").as_bytes(), "line 21");
    refused("an unknown event", with(20, r#"{"event":"moon-landing"}"#).as_bytes(), "line 21");
    refused("half a line in the middle", with(20, &lines[30][..lines[30].len() / 2]).as_bytes(), "line 21");
    refused("garbage that ends with a line end", (lines.join("\n") + "\ngarbage\n").as_bytes(), "line 41");
    refused("invalid UTF-8", &[(lines.join("\n") + "\n").as_bytes(), b"{\"event\":\"\xff\"}\n"].concat(), "line 41");
    let long = format!(
        r#"{{"event":"problem","runtime":"runc","scenario":"plain","stage":"x","why":"{}"}}"#,
        "x".repeat(1 << 20)
    );
    refused("an oversized line", with(20, &long).as_bytes(), "longer than");
    refused("another version", text.replace("journal-v1", "journal-v2").as_bytes(), "journal-v2");
    refused("no first line", (lines[1..].join("\n") + "\n").as_bytes(), "first line");
    refused("nothing", b"", "first line");
    assert!(journal::read(&in_repo("no/such/journal.jsonl")).is_err());
}

/// The first line has the plan of all runtimes: with eight of them it is longer than any other line may be.
#[test]
fn a_journal_of_many_runtimes_can_be_read() {
    let mut events = events("runc");
    let Some(Event::RunStarted { plan, .. }) = events.first_mut() else { panic!("no run-started") };
    let one = plan.clone();
    for n in 1..20 {
        plan.extend(one.iter().cloned().map(|mut cell| {
            cell.runtime = format!("runc-{n}");
            cell
        }));
    }
    let planned = plan.len();
    events.truncate(5);
    let lines: Vec<String> = events.iter().map(|e| serde_json::to_string(e).expect("a line")).collect();
    assert!(lines[0].len() > 2 << 20, "{} bytes", lines[0].len());
    let text = lines.join("\n") + "\n";
    let read = reading(text.as_bytes()).expect("a long plan is no damage");
    let Some(Event::RunStarted { plan, .. }) = read.first() else { panic!("no run-started") };
    assert_eq!((read.len(), plan.len()), (5, planned));
}

/// Two journals one after the other: the second's facts would be judged as the first's, or the other way round.
#[test]
fn a_journal_with_two_runs_is_refused() {
    let text = fs::read_to_string(path("runc")).expect("readable");
    let first = text.lines().next().expect("a line");
    let started_again = format!("{text}{first}\n");
    assert!(reading(started_again.as_bytes()).is_err(), "a second run-started line was accepted");
}

fn matrix(events: &[Event], data: &Data) -> Matrix {
    judge(events, &data.catalogue, &data.models, &data.products)
}

fn exit(matrix: &Matrix, data: &Data) -> Exit {
    exit_of(matrix, data, is_filtered(matrix, data))
}

fn path(name: &str) -> std::path::PathBuf {
    in_repo(&format!("reports/samples/journals/{name}.jsonl"))
}

fn reading(bytes: &[u8]) -> Result<Vec<Event>, Error> {
    let mut file = tempfile::NamedTempFile::new().expect("a temporary file");
    file.write_all(bytes).expect("written");
    journal::read(Path::new(file.path()))
}

/// Cell, verdict, result, reason, of one runtime.
fn verdicts(matrix: &Matrix, runtime: &str) -> Vec<String> {
    let mine = matrix.cells.iter().filter(|c| c.runtime == runtime);
    let mut all: Vec<String> =
        mine.map(|c| format!("{} {} {:?} {}", c.name(), c.verdict, c.result, c.reason)).collect();
    all.extend(matrix.requirements.iter().filter(|r| r.runtime == runtime).map(|r| format!("{r:?}")));
    all
}

/// One journal of two runs that took place in labs of their own.
fn merged(one: &[Event], other: &[Event]) -> Vec<Event> {
    let mut all = one.to_vec();
    for event in other {
        match event {
            Event::RunStarted { runtimes: more_runtimes, plan: more_plan, .. } => {
                let Some(Event::RunStarted { runtimes, plan, .. }) = all.first_mut() else { panic!("no run-started") };
                runtimes.extend(more_runtimes.iter().cloned());
                plan.extend(more_plan.iter().cloned());
            }
            Event::LabUp { proxy_addresses: more, lab: more_lab, .. } => {
                let own = all.iter_mut().find_map(|e| match e {
                    Event::LabUp { proxy_addresses, lab, .. } => Some((proxy_addresses, lab)),
                    _ => None,
                });
                let (addresses, lab) = own.expect("a lab");
                assert!(more.iter().all(|a| !addresses.contains(a)), "the labs of the golden runs overlap");
                addresses.extend(more);
                lab.extend(more_lab.iter().cloned());
            }
            other => all.push(other.clone()),
        }
    }
    all
}

/// One line for each cell and requirement; what differs from run to run is left out.
fn compact(matrix: &Matrix) -> String {
    let mut text = String::new();
    for c in &matrix.cells {
        let place = match (&c.model, &c.backend) {
            (Some(m), Some(b)) => format!(" [{m}/{b}]"),
            (Some(m), None) => format!(" [{m}]"),
            (None, _) => String::new(),
        };
        let result = c.result.map(|r| format!(" {}", r.word())).unwrap_or_default();
        let reason = if is_stable(&c.reason, &matrix.run.lab) { format!(" -- {}", c.reason) } else { String::new() };
        writeln!(text, "{}{place} {}{result}{reason}", c.id, c.verdict).expect("a string");
    }
    for r in &matrix.requirements {
        let because = r.because.as_ref().map(|b| format!(": {} is {}", b.cell, b.verdict)).unwrap_or_default();
        writeln!(text, "{} {} under {:?}{because}", r.id, format!("{:?}", r.standing).to_lowercase(), r.model)
            .expect("a string");
    }
    text
}

/// Whether the next run would very likely give the same reason.
fn is_stable(reason: &str, lab: &[String]) -> bool {
    let measured = reason.parse::<f64>().is_ok_and(|n| n.fract() != 0.0);
    let volatile = ["awfp", " port ", " ms ", " bytes", "processes started", "/proc/"];
    let in_lab = lab.iter().filter_map(|l| l.split('/').next()?.strip_suffix('0')).any(|l| reason.contains(l));
    !measured && !in_lab && !volatile.iter().any(|v| reason.contains(v))
}

fn differences(committed: &str, now: &str) -> Vec<String> {
    let (old, new): (Vec<_>, Vec<_>) = (committed.lines().collect(), now.lines().collect());
    let gone = old.iter().filter(|l| !new.contains(l)).map(|l| format!("- {l}"));
    let come = new.iter().filter(|l| !old.contains(l)).map(|l| format!("+ {l}"));
    let mut all: Vec<String> = gone.chain(come).collect();
    if all.is_empty() && old != new {
        all.push("the order of the lines".to_owned());
    }
    all
}
