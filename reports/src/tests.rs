//! What readers rely on: widths, colours, round trips, and that hostile text stays text.

mod bench;
mod diff;
mod fixtures;
mod html;
mod machine;
mod merge;

use std::{env, fs, path::PathBuf};

use awf_probe_matrix::{Catalogue, IsolationClass, Matrix};
use fixtures::{Fixture, HOSTILE, catalogue};
use unicode_width::UnicodeWidthStr;

use crate::{Format, ReportError, Style, read, render, schema};

#[test]
fn every_line_fits_the_width() {
    for fixture in [Fixture::One, Fixture::Five, Fixture::Eight, Fixture::Hostile, Fixture::Empty] {
        for (full, only_bad) in [(false, false), (true, false), (false, true), (true, true)] {
            for width in [1, 40, 60, 80, 120, 200, 500] {
                let style = Style { width, full, only_bad, colour: false };
                for line in table(&fixture.matrix(), style).lines() {
                    assert!(
                        line.width() <= width.max(40),
                        "{fixture:?} at {width}: {} columns: {line:?}",
                        line.width()
                    );
                    assert_eq!(line.trim_end(), line, "{fixture:?} at {width}: trailing space");
                }
            }
        }
    }
}

#[test]
fn colour_adds_escape_sequences_and_nothing_else() {
    for fixture in [Fixture::One, Fixture::Five, Fixture::Hostile] {
        for width in [80, 200] {
            let plain = table(&fixture.matrix(), Style { width, ..Style::default() });
            let coloured = table(&fixture.matrix(), Style { width, colour: true, ..Style::default() });
            assert!(!plain.contains('\u{1b}'));
            assert!(coloured.contains("\u{1b}[32m✓"), "{coloured}");
            let stripped: String = coloured.lines().map(|l| strip(l) + "\n").collect();
            assert_eq!(stripped, plain);
        }
    }
}

#[test]
fn a_stranger_finds_what_matters() {
    let text = table(&Fixture::Five.matrix(), Style { width: 120, ..Style::default() });
    for expected in [
        "kernel 6.8.0-test",
        "cgroup v2",
        "proxy squid 6.6",
        "198.51.100.0/24",
        "via /usr/local/bin/kata-wrapper → /opt/kata/bin/kata-runtime",
        "unusable: cannot start",
        "user-space-kernel",
        "open (control)",
        "netns-init/nft",
        "✓ holds",
        "✗ leaks 2",
        "(tcp.80 …)",
        "rests on model",
        "R1 all traffic goes through the proxy",
        "✗ broken",
        "? unknown",
        "nothing left on the host",
        "12.3 s",
    ] {
        assert!(text.contains(expected), "{expected:?} is missing in:\n{text}");
    }
}

#[test]
fn a_runtime_that_cannot_start_is_one_reason_and_controls_are_none() {
    let text = table(&Fixture::Five.matrix(), Style { width: 80, ..Style::default() });
    let reasons = text.split_once("\nReasons\n").unwrap().1.split_once("\n\n").unwrap().0;
    assert_eq!(reasons.lines().filter(|l| l.starts_with("  broken ")).count(), 1, "{reasons}");
    assert!(!reasons.contains("[open]") && !reasons.contains("[env-only]"), "{reasons}");
    assert!(reasons.contains("2 cells ("), "identical reasons are merged: {reasons}");
}

#[test]
fn only_bad_hides_what_passes_and_nothing_else() {
    let all = Style { width: 200, full: true, ..Style::default() };
    let bad = Style { only_bad: true, ..all };
    let rows = |text: &str, id: &str| text.lines().filter(|l| l.trim_start().starts_with(id)).count();
    let matrix = Fixture::Five.matrix();
    assert_eq!(rows(&table(&matrix, all), "image.starts "), 1);
    assert_eq!(rows(&table(&matrix, bad), "image.starts "), 0);
    assert_eq!(rows(&table(&matrix, bad), "procfs.hidepid "), 1);
    assert_eq!(rows(&table(&matrix, all), "R2 "), 1);
    assert_eq!(rows(&table(&matrix, bad), "R1 "), 1);
    assert!(!table(&matrix, bad).contains("Egress under open"));
    let good = table(&Fixture::One.matrix(), Style { only_bad: true, ..Style::default() });
    assert!(!good.contains("Capabilities") && !good.contains("Egress") && !good.contains("Reasons"), "{good}");
}

#[test]
fn full_unfolds_capabilities_init_runtimes_and_attempts() {
    let text = table(&Fixture::Five.matrix(), Style { width: 200, full: true, ..Style::default() });
    for expected in ["netns.starts [init=runc]", "Egress under netns-init/nft", "✗ leaked", "✓ proxied"] {
        assert!(text.contains(expected), "{expected:?} is missing in:\n{text}");
    }
}

#[test]
fn json_round_trips() {
    for fixture in [Fixture::One, Fixture::Five, Fixture::Eight, Fixture::Hostile, Fixture::Empty] {
        let matrix = fixture.matrix();
        assert_eq!(read(&json(&matrix)).unwrap(), matrix, "{fixture:?}");
    }
}

#[test]
fn json_says_what_a_capability_is() {
    let value: serde_json::Value = serde_json::from_str(&json(&Fixture::Five.matrix())).unwrap();
    assert_eq!(value["schema"], "awf-probe/report-v1");
    assert_eq!(value["tool"]["name"], "awf-probe");
    let known = value["capabilities"].as_array().unwrap();
    let one = known.iter().find(|c| c["id"] == "egress.tcp.80").unwrap();
    assert_eq!((one["kind"].as_str(), one["family"].as_str()), (Some("egress"), Some("egress")));
}

#[test]
fn a_damaged_report_is_refused() {
    let good = json(&Fixture::Five.matrix());
    let edited = good.replacen("\"verdict\": \"fail\"", "\"verdict\": \"pass\"", 1);
    assert!(matches!(read(&edited), Err(ReportError::Digest { .. })), "an edited verdict");
    let edited = good.replacen("\"complete\": true", "\"complete\": false", 1);
    assert!(matches!(read(&edited), Err(ReportError::Digest { .. })), "an edited fact");
    let later = good.replacen("report-v1", "report-v2", 1);
    assert!(matches!(read(&later), Err(ReportError::Schema { .. })), "another version");
    for unknown in ["{\n  \"extra\": 1,", "{\n  \"schema\": \"awf-probe/report-v1\","] {
        let edited = good.replacen('{', unknown, 1);
        assert!(matches!(read(&edited), Err(ReportError::Json(_))), "an unknown or repeated field: {unknown}");
    }
    let inside = good.replacen("\"evidence\": [", "\"extra\": 1, \"evidence\": [", 1);
    assert!(matches!(read(&inside), Err(ReportError::Json(_))), "an unknown field inside");
    assert!(matches!(read(&good[..good.len() / 2]), Err(ReportError::Json(_))), "half a report");
    let long = " ".repeat((256 << 20) + 1);
    assert!(matches!(read(&long), Err(ReportError::TooLong { .. })), "too long");
}

#[test]
fn a_report_that_contradicts_itself_is_refused() {
    let mut foreign = Fixture::Five.matrix();
    foreign.cells[0].runtime = "never-listed".to_owned();
    assert!(matches!(read(&json(&foreign)), Err(ReportError::Inconsistent(_))));
    let mut twice = Fixture::Five.matrix();
    twice.cells.push(twice.cells[0].clone());
    assert!(matches!(read(&json(&twice)), Err(ReportError::Inconsistent(_))));
}

#[test]
fn the_digest_is_that_of_the_sorted_rest() {
    use sha2::{Digest, Sha256};
    let mut value: serde_json::Value = serde_json::from_str(&json(&Fixture::Hostile.matrix())).unwrap();
    let digest = value.as_object_mut().unwrap().remove("digest").unwrap();
    value.sort_all_objects();
    let expected: String = Sha256::digest(value.to_string()).iter().map(|b| format!("{b:02x}")).collect();
    assert_eq!(digest, expected);
}

#[test]
fn the_schema_is_up_to_date() {
    let text = serde_json::to_string_pretty(&schema()).unwrap() + "\n";
    assert!(text.contains("https://json-schema.org/draft/2020-12/schema"));
    golden("schema/report-v1.schema.json", &text);
}

#[test]
fn the_samples_are_up_to_date() {
    let matrix = Fixture::Five.matrix();
    golden("samples/report-80.txt", &table(&matrix, Style::default()));
    golden("samples/report.md", &markdown(&matrix));
}

#[test]
fn hostile_text_stays_text() {
    let matrix = Fixture::Hostile.matrix();
    for full in [false, true] {
        let style = Style { width: 200, full, ..Style::default() };
        for text in [table(&matrix, style), render(&matrix, &catalogue(), Format::Markdown, style).unwrap()] {
            let bad = |c: &char| (c.is_control() && *c != '\n') || "\u{202e}\u{2066}\u{feff}\u{2028}".contains(*c);
            assert_eq!(text.chars().find(bad), None, "{text}");
            assert!(text.contains("evil"), "the words are still there");
        }
    }
}

#[test]
fn hostile_text_cannot_leave_its_code_span() {
    let text = markdown(&Fixture::Hostile.matrix());
    for line in text.lines() {
        assert_eq!(line.matches('`').count() % 2, 0, "{line}");
        let outside = line.split('`').step_by(2).collect::<String>().replace("\\]", "");
        for bad in ["<script", "<img", "](", "@evil", "http://"] {
            assert!(!outside.contains(bad), "{bad} in {line}");
        }
    }
    // Rows of one table have equally many cells, whatever pipes the text has.
    let cells = |line: &str| line.replace("\\|", "").matches('|').count();
    for block in text.split("\n\n").filter(|b| b.starts_with('|')) {
        let mut counts = block.lines().map(cells);
        let first = counts.next().unwrap();
        assert!(counts.all(|n| n == first), "{block}");
    }
}

#[test]
fn escape_sequences_go_as_a_whole_and_words_stay() {
    use crate::text::clean;
    assert_eq!(clean("a\u{1b}[31mred\u{1b}[0m b"), "ared b");
    assert_eq!(clean("x\u{1b}]0;title\u{7}y\u{1b}]8;;http://e\u{1b}\\z"), "xyz");
    assert_eq!(clean("\u{1b}]0;never ends"), "0;never ends");
    assert_eq!(clean("\u{9b}1mone\r\n\ttwo\u{0}  three\u{202e} "), "one two three");
    assert_eq!(clean("\u{1b}(B\u{1b}cok\u{1b}"), "ok");
    assert_eq!(clean(HOSTILE).matches("evil").count(), 3);
}

#[test]
fn long_text_wraps_and_is_cut() {
    use crate::text::{cut, wrap};
    assert_eq!(wrap("  a ", "one two three four", 4, 12, 9), ["  a one two", "    three", "    four"]);
    assert_eq!(wrap("", "abcdefghijklmnopqrst", 2, 12, 9), ["abcdefghij", "  klmnopqrst"]);
    assert_eq!(wrap("", "one two three four five", 0, 10, 2), ["one two", "three fou…"]);
    assert_eq!(cut("日本語", 4), "日…");
}

#[test]
fn a_wrong_format_names_the_nearest() {
    let error = "tabel".parse::<Format>().unwrap_err();
    assert_eq!(
        error.to_string(),
        "unknown format \"tabel\"; did you mean \"table\"? (formats: table, json, jsonl, markdown, html, junit, sarif, github, tap)"
    );
    assert!(!"xyz".parse::<Format>().unwrap_err().to_string().contains("did you mean"));
    assert!(Format::ALL.into_iter().all(|f| f.name().parse() == Ok(f)));
}

#[test]
fn the_builtin_catalogue_can_be_reported() {
    let catalogue = Catalogue::builtin().unwrap();
    let matrix = fixtures::everything(&catalogue, IsolationClass::GuestKernel);
    for full in [false, true] {
        let style = Style { full, ..Style::default() };
        let text = render(&matrix, &catalogue, Format::Table, style).unwrap();
        assert!(text.lines().all(|l| l.width() <= 80), "{text}");
    }
}

/// `AWF_PROBE_LOOK=DIR` writes renderings to look at.
#[test]
fn renderings_to_look_at() {
    let Some(dir) = env::var_os("AWF_PROBE_LOOK").map(PathBuf::from) else { return };
    for fixture in [Fixture::One, Fixture::Five, Fixture::Eight, Fixture::Hostile, Fixture::Empty] {
        for (width, full) in [(80, false), (80, true), (200, false), (200, true)] {
            let text = table(&fixture.matrix(), Style { width, full, colour: true, only_bad: false });
            fs::write(dir.join(format!("{fixture:?}-{width}-{full}.txt")), text).unwrap();
        }
        fs::write(dir.join(format!("{fixture:?}.md")), markdown(&fixture.matrix())).unwrap();
        fs::write(dir.join(format!("{fixture:?}.json")), json(&fixture.matrix())).unwrap();
    }
}

fn table(matrix: &Matrix, style: Style) -> String {
    render(matrix, &catalogue(), Format::Table, style).unwrap()
}

fn json(matrix: &Matrix) -> String {
    render(matrix, &catalogue(), Format::Json, Style::default()).unwrap()
}

fn markdown(matrix: &Matrix) -> String {
    render(matrix, &catalogue(), Format::Markdown, Style::default()).unwrap()
}

/// Only what this crate writes itself: `ESC [ … m`.
fn strip(line: &str) -> String {
    let mut parts = line.split('\u{1b}');
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |out, p| out + p.split_once('m').unwrap().1)
}

fn golden(path: &str, text: &str) {
    let file = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(path);
    if env::var_os("AWF_PROBE_RENEW").is_some_and(|v| v == "1") {
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(&file, text).unwrap();
    }
    let committed = fs::read_to_string(&file).unwrap_or_default();
    let how = "AWF_PROBE_RENEW=1 cargo test -p awf-probe-reports";
    assert!(committed == text, "reports/{path} is not up to date; look at the change and renew it with: {how}\n{text}");
}
