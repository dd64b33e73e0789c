//! Reports of many hosts in one: merged by fingerprint, read as strictly as alone.

use awf_probe_matrix::{Matrix, Verdict};
use serde_json::Value;

use super::{Fixture, json};
use crate::{Merge, ReportError, read};

#[test]
fn what_is_read_leanly_is_read_the_same() {
    for fixture in [Fixture::One, Fixture::Five, Fixture::Eight, Fixture::Hostile, Fixture::Empty] {
        let good = json(&fixture.matrix());
        Merge::new().unwrap().add(good.as_bytes()).unwrap_or_else(|e| panic!("{fixture:?}: {e}"));
        // White space and the order of members mean nothing.
        let value: Value = serde_json::from_str(&good).unwrap();
        Merge::new().unwrap().add(value.to_string().as_bytes()).unwrap_or_else(|e| panic!("{fixture:?}: {e}"));
    }
}

#[test]
fn the_same_fingerprint_is_merged_and_another_host_stands_beside_it() {
    let one = Fixture::Five.matrix();
    let mut again = one.clone();
    again.run.id = "another".to_owned();
    again.run.started = "2026-02-02T03:04:05Z".to_owned();
    "second-host".clone_into(&mut again.host.engine_id);
    let mut other = one.clone();
    other.host.kernel = "6.12.0-test".to_owned();
    let changed = other.cells.iter_mut().find(|c| c.runtime == "runc" && c.id == "image.starts").unwrap();
    changed.verdict = Verdict::Fail;
    let merge = merged(&[&one, &again, &other]);
    let value: Value = serde_json::from_str(&merge.json().unwrap()).unwrap();
    assert_eq!(value["schema"], "awf-probe/matrix-v1");
    let environments = value["environments"].as_array().unwrap();
    assert_eq!(environments.len(), 10, "five runtimes on two kinds of host");
    assert_eq!((&environments[0]["runs"], &environments[0]["hosts"]), (&2.into(), &2.into()));
    assert_eq!((&environments[5]["runs"], &environments[5]["hosts"]), (&1.into(), &1.into()));
    assert_eq!(environments[0]["last"], "2026-02-02T03:04:05Z");
    let cell = value["cells"].as_array().unwrap().iter().find(|c| c["id"] == "image.starts").unwrap();
    assert_eq!((cell["verdicts"][0].as_str(), cell["verdicts"][5].as_str()), (Some("pass"), Some("fail")));
    assert_eq!(value["environments"][0]["requirements"]["R2"], serde_json::json!(["holds"]));
    let text = merge.text(false);
    assert!(text.contains("3 reports in 10 environments"), "{text}");
    assert!(text.contains("  image.starts: pass in #1-4,#7-9; fail in #6; skipped in #5,#10\n"), "{text}");
    assert!(!text.contains("[open]") && merge.text(true).contains("[open]"), "controls only in full");
    assert!(
        merge.markdown(false).contains("| `image.starts` | pass in #1-4,#7-9; fail in #6"),
        "{}",
        merge.markdown(false)
    );
}

#[test]
fn every_verdict_of_every_cell_is_there() {
    let matrix = Fixture::Eight.matrix();
    let value: Value = serde_json::from_str(&merged(&[&matrix]).json().unwrap()).unwrap();
    let mut found = 0;
    for cell in &matrix.cells {
        let row = value["cells"].as_array().unwrap().iter().find(|r| {
            r["id"] == *cell.id
                && r["model"].as_str() == cell.model.as_deref()
                && r["backend"].as_str() == cell.backend.as_deref()
        });
        let at = matrix.runtimes.iter().position(|r| r.name == cell.runtime).unwrap();
        assert_eq!(row.unwrap()["verdicts"][at], cell.verdict.word(), "{}", cell.name());
        found += 1;
    }
    let all = value["cells"].as_array().unwrap().iter().flat_map(|r| r["verdicts"].as_array().unwrap());
    assert_eq!(all.filter(|v| !v.is_null()).count(), found, "and nothing else");
}

#[test]
fn runs_that_disagree_in_one_environment_are_told() {
    let one = Fixture::One.matrix();
    let mut other = one.clone();
    other.cells[0].verdict = Verdict::Fail;
    let merge = merged(&[&one, &other]);
    let text = merge.text(false);
    assert!(text.contains("1 environment\n") && text.contains("! 1"), "{text}");
    assert!(text.contains(&format!("{}: pass|fail in #1", one.cells[0].name())), "{text}");
}

#[test]
fn what_could_make_a_difference_is_not_merged() {
    let one = Fixture::One.matrix();
    let changes: [fn(&mut Matrix); 8] = [
        |m| m.host.engine = "30".to_owned(),
        |m| m.host.cgroup = "1".to_owned(),
        |m| m.host.security = vec!["name=userns".to_owned()],
        |m| m.runtimes[0].version = "2".to_owned(),
        |m| m.runtimes[0].fingerprint.sha256 = "11".repeat(32),
        |m| m.runtimes[0].fingerprint.args = vec!["--flag".to_owned()],
        |m| m.run.catalogue = "another".to_owned(),
        |m| m.run.proxy = "builtin".to_owned(),
    ];
    for (n, change) in changes.into_iter().enumerate() {
        let mut other = one.clone();
        change(&mut other);
        assert!(merged(&[&one, &other]).text(false).contains("2 environments"), "change {n}");
    }
}

#[test]
fn a_damaged_report_is_left_out_and_changes_nothing() {
    let good = json(&Fixture::Five.matrix());
    let mut merge = Merge::new().unwrap();
    merge.add(good.as_bytes()).unwrap();
    let before = merge.json().unwrap();
    let edited = |from: &str, to: &str| good.replacen(from, to, 1);
    let mut twice = Fixture::Five.matrix();
    twice.cells.push(twice.cells[0].clone());
    let mut foreign = Fixture::Five.matrix();
    foreign.cells[3].runtime = "never-listed".to_owned();
    let mut listed = Fixture::Five.matrix();
    listed.runtimes[1].name = "runc".to_owned();
    let damaged = [
        edited("\"verdict\": \"fail\"", "\"verdict\": \"pass\""),
        edited("\"saw\": \"EPERM\"", "\"saw\": \"EACCES\""),
        edited("\"complete\": true", "\"complete\": false"),
        edited("report-v1", "report-v2"),
        edited("{", "{\n  \"extra\": 1,"),
        edited("\"evidence\": [", "\"extra\": 1, \"evidence\": ["),
        good[..good.len() / 2].to_owned(),
        String::new(),
        json(&twice),
        json(&foreign),
        json(&listed),
    ];
    for (n, text) in damaged.iter().enumerate() {
        assert!(read(text).is_err(), "damage {n} is none");
        let error = merge.add(text.as_bytes()).expect_err("damaged");
        assert_eq!(error.to_string(), read(text).unwrap_err().to_string(), "damage {n}");
    }
    assert!(matches!(merge.add(b"{\"schema\": \"\xff\"}"), Err(ReportError::Text(_))));
    assert_eq!(merge.json().unwrap(), before);
    assert!(merge.is_whole());
    merge.leave_out("host\u{1b}[2J7/report.json", "damaged");
    assert!(!merge.is_whole());
    assert!(merge.text(false).contains("Left out (1)\n  host7/report.json: damaged\n"), "{}", merge.text(false));
}

#[test]
fn hostile_text_stays_text_in_a_merge() {
    let merge = merged(&[&Fixture::Hostile.matrix(), &Fixture::One.matrix()]);
    for text in [merge.text(true), merge.markdown(true)] {
        assert!(text.chars().all(|c| c == '\n' || !c.is_control()), "{text}");
        assert!(!text.contains(['\u{202e}', '\u{feff}']), "{text}");
    }
    for line in merge.markdown(true).lines().filter(|l| l.contains("evil")) {
        assert!(line.starts_with("| "), "{line}");
    }
}

fn merged(all: &[&Matrix]) -> Merge {
    let mut merge = Merge::new().unwrap();
    for matrix in all {
        merge.add(json(matrix).as_bytes()).unwrap();
    }
    merge
}
