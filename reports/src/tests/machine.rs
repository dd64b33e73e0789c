//! The formats for machines, read back by parsers: as strict as their readers, and untouched by hostile text.

use awf_probe_matrix::{Matrix, Verdict, models};
use serde_json::Value;

use super::{Fixture, HOSTILE, catalogue, golden};
use crate::{Format, Style, render};

const ALL: [Fixture; 5] = [Fixture::One, Fixture::Five, Fixture::Eight, Fixture::Hostile, Fixture::Empty];

#[test]
fn json_lines_are_records_with_a_count() {
    for fixture in ALL {
        let matrix = fixture.matrix();
        let text = text(&matrix, Format::Jsonl);
        let records: Vec<Value> = text.lines().map(|l| serde_json::from_str(l).unwrap()).collect();
        let of = |kind: &str| records.iter().filter(|r| r["record"] == kind).count();
        assert_eq!(records[0]["schema"], "awf-probe/report-lines-v1");
        assert_eq!(records.last().unwrap()["lines"], records.len());
        assert_eq!((of("report"), of("end")), (1, 1));
        assert_eq!((of("cell"), of("runtime")), (matrix.cells.len(), matrix.runtimes.len()));
        assert_eq!(of("requirement"), matrix.requirements.len());
    }
}

#[test]
fn junit_is_well_formed_and_counts_what_it_holds() {
    for fixture in ALL {
        let matrix = fixture.matrix();
        let text = text(&matrix, Format::Junit);
        let document = roxmltree::Document::parse(&text).unwrap_or_else(|e| panic!("{fixture:?}: {e}\n{text}"));
        let root = document.root_element();
        assert_eq!(root.tag_name().name(), "testsuites");
        assert!(document.descendants().all(|n| n.tag_name().name() != "script"));
        for node in document.descendants().filter(|n| ["testsuites", "testsuite"].contains(&n.tag_name().name())) {
            let count = |tag: &str| node.descendants().filter(|n| n.tag_name().name() == tag).count().to_string();
            for (attribute, tag) in
                [("tests", "testcase"), ("failures", "failure"), ("errors", "error"), ("skipped", "skipped")]
            {
                assert_eq!(node.attribute(attribute), Some(count(tag).as_str()), "{fixture:?}: {attribute}");
            }
        }
        let failures = document.descendants().filter(|n| n.tag_name().name() == "failure").count();
        assert_eq!(failures, counted(&matrix, &[Verdict::Fail, Verdict::Partial]), "{fixture:?}");
    }
}

#[test]
fn tap_is_a_plan_and_as_many_points() {
    for fixture in ALL {
        let matrix = fixture.matrix();
        let text = text(&matrix, Format::Tap);
        let mut lines = text.lines().peekable();
        assert_eq!(lines.next(), Some("TAP version 14"));
        assert_eq!(lines.next(), Some(format!("1..{}", matrix.cells.len()).as_str()));
        let (mut points, mut failed) = (0, 0);
        while let Some(line) = lines.next() {
            points += 1;
            let (bad, rest) = match line.strip_prefix("not ok ") {
                Some(rest) => (true, rest),
                None => (false, line.strip_prefix("ok ").unwrap_or_else(|| panic!("no test point: {line}"))),
            };
            let (number, rest) = rest.split_once(" - ").unwrap();
            assert_eq!(number.parse(), Ok(points));
            // The first `#` that is not escaped begins the directive.
            let mut escaped = false;
            let at = rest.find(|c| {
                let found = c == '#' && !escaped;
                escaped = c == '\\' && !escaped;
                found
            });
            let directive = at.map(|at| &rest[at..]);
            let known = |d: &str| d.starts_with("# SKIP ") || d.starts_with("# TODO ");
            assert!(directive.is_none_or(known), "{line}");
            failed += usize::from(bad && directive.is_none());
            if lines.peek() == Some(&"  ---") {
                let block: Vec<&str> = lines.by_ref().take_while(|l| *l != "  ...").collect();
                assert_eq!(block.len(), 3, "{block:?}");
                let reason = block[2].strip_prefix("  reason: ").unwrap();
                assert!(serde_json::from_str::<String>(reason).is_ok(), "{reason}");
            }
        }
        assert_eq!(points, matrix.cells.len());
        assert_eq!(failed, counted(&matrix, &[Verdict::Fail, Verdict::Partial, Verdict::Inconclusive]), "{fixture:?}");
    }
}

#[test]
fn annotations_are_commands_and_nothing_else() {
    for fixture in ALL {
        let text = text(&fixture.matrix(), Format::Github);
        for line in text.lines() {
            let rest =
                ["::error title=", "::warning title=", "::notice title="].iter().find_map(|c| line.strip_prefix(c));
            let (title, message) = rest.unwrap_or_else(|| panic!("{line}")).split_once("::").unwrap();
            assert!(!title.contains([':', ',']), "{line}");
            assert!(!message.contains('\r'), "{line}");
        }
    }
    let text = text(&Fixture::Five.matrix(), Format::Github);
    assert!(text.contains("::error title=gvisor%3A R3 broken::cgroup.pids (fail)"), "{text}");
    assert!(text.contains("::warning title=broken::could not be measured"), "{text}");
    assert!(!text.contains("[open]") && !text.contains("[env-only]"), "controls are no findings: {text}");
}

#[test]
fn sarif_has_a_rule_for_each_capability_and_results_for_what_is_bad() {
    for fixture in ALL {
        let matrix = fixture.matrix();
        let log: Value = serde_json::from_str(&text(&matrix, Format::Sarif)).unwrap();
        assert_eq!(log["version"], "2.1.0");
        let run = &log["runs"][0];
        let (rules, results) = (run["tool"]["driver"]["rules"].as_array().unwrap(), run["results"].as_array().unwrap());
        let bad = [Verdict::Fail, Verdict::Partial, Verdict::Inconclusive];
        assert_eq!(results.len(), counted(&matrix, &bad), "{fixture:?}");
        for rule in rules {
            let tags = rule["properties"]["tags"].as_array().unwrap();
            assert!(tags.iter().enumerate().all(|(n, t)| !tags[..n].contains(t)), "a set of tags: {rule}");
            for part in ["Why: ", "How it is measured: ", "Control: ", "What to do: "] {
                assert!(rule["help"]["text"].as_str().unwrap().contains(part), "{rule}");
            }
        }
        let mut seen = std::collections::BTreeSet::new();
        for result in results {
            if let Some(at) = result["ruleIndex"].as_u64() {
                assert_eq!(rules[usize::try_from(at).unwrap()]["id"], result["ruleId"]);
            }
            assert!(["error", "warning"].contains(&result["level"].as_str().unwrap()), "{result}");
            assert!(result["locations"][0]["physicalLocation"]["region"]["startLine"].as_u64().unwrap() > 0);
            let print = result["partialFingerprints"]["awfProbeCell/v1"].as_str().unwrap();
            assert!(print.len() == 64 && seen.insert(print.to_owned()), "{fixture:?}: {result}");
        }
    }
}

#[test]
fn a_fingerprint_outlives_verdict_and_reason() {
    let prints = |matrix: &Matrix| -> Vec<Value> {
        let log: Value = serde_json::from_str(&text(matrix, Format::Sarif)).unwrap();
        log["runs"][0]["results"].as_array().unwrap().iter().map(|r| r["partialFingerprints"].clone()).collect()
    };
    let before = Fixture::Five.matrix();
    let mut after = before.clone();
    for cell in after.cells.iter_mut().filter(|c| c.verdict == Verdict::Fail) {
        cell.verdict = Verdict::Inconclusive;
        cell.reason = "another".to_owned();
    }
    assert!(!prints(&before).is_empty());
    assert_eq!(prints(&before), prints(&after));
}

#[test]
fn hostile_text_stays_text_for_machines() {
    let matrix = Fixture::Hostile.matrix();
    assert!(matrix.cells.iter().any(|c| c.reason.contains(HOSTILE)));
    for format in [Format::Jsonl, Format::Junit, Format::Sarif, Format::Github, Format::Tap] {
        let text = text(&matrix, format);
        assert!(text.chars().all(|c| c == '\n' || !c.is_control()), "{format}");
        assert!(text.contains("evil"), "{format}: the words are still there");
    }
    for format in [Format::Junit, Format::Sarif, Format::Github, Format::Tap] {
        assert!(!text(&matrix, format).contains(['\u{202e}', '\u{feff}']), "{format}");
    }
}

#[test]
fn the_samples_for_machines_are_up_to_date() {
    let matrix = Fixture::Five.matrix();
    for (format, file) in [
        (Format::Jsonl, "report.jsonl"),
        (Format::Junit, "report.junit.xml"),
        (Format::Sarif, "report.sarif"),
        (Format::Github, "report.github.txt"),
        (Format::Tap, "report.tap"),
    ] {
        golden(&format!("samples/{file}"), &text(&matrix, format));
    }
}

/// Cells with one of these verdicts that are no controls.
fn counted(matrix: &Matrix, verdicts: &[Verdict]) -> usize {
    let models = models().unwrap();
    let control = |m: &str| models.iter().any(|k| k.id == m && !k.counts);
    let counts =
        |c: &&awf_probe_matrix::Cell| verdicts.contains(&c.verdict) && !c.model.as_deref().is_some_and(control);
    matrix.cells.iter().filter(counts).count()
}

fn text(matrix: &Matrix, format: Format) -> String {
    render(matrix, &catalogue(), format, Style::default()).unwrap()
}
