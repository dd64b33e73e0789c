//! The page: whole, alone, and with hostile text that stays text. `tests/browser.rs` looks at it in a browser.

use awf_probe_matrix::Matrix;
use serde_json::Value;

use super::{Fixture, HOSTILE, catalogue, golden};
use crate::{Format, Style, render};

#[test]
fn the_page_holds_every_cell() {
    for fixture in [Fixture::One, Fixture::Five, Fixture::Eight, Fixture::Hostile, Fixture::Empty] {
        let matrix = fixture.matrix();
        let data = data(&page(&matrix));
        assert_eq!(data["cells"].as_array().unwrap().len(), matrix.cells.len(), "{fixture:?}");
        assert_eq!(data["runtimes"].as_array().unwrap().len(), matrix.runtimes.len());
        let texts = data["texts"].as_array().unwrap();
        for cell in data["cells"].as_array().unwrap() {
            let reason = &texts[usize::try_from(cell[6].as_u64().unwrap()).unwrap()];
            assert!(!reason.as_str().unwrap().is_empty());
        }
    }
}

#[test]
fn hostile_text_is_never_markup() {
    let mut matrix = Fixture::Hostile.matrix();
    let reasons = [
        "</script><script>evil()</script>",
        "<!--<script>",
        "]]></style><img src=x onerror=evil()>",
        "{{script}} {{policy}} {{data}}",
        "\u{2028}&lt;img&gt; \\u003cimg",
    ];
    for (cell, reason) in matrix.cells.iter_mut().zip(reasons) {
        cell.reason = reason.to_owned();
        cell.evidence[0].saw = reason.to_owned();
        cell.evidence[0].source = reason.to_owned();
    }
    matrix.host.kernel = reasons[0].to_owned();
    let page = page(&matrix);
    let plain = self::page(&Fixture::One.matrix());
    for tag in ["<script", "</script", "<img", "<!--", "<style", "</style"] {
        assert_eq!(page.matches(tag).count(), plain.matches(tag).count(), "{tag}");
    }
    assert!(!page.contains(['\u{1b}', '\u{202e}', '\u{2028}']), "nothing that reorders or hides text");
    let data = data(&page);
    let texts: Vec<&str> = data["texts"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
    for reason in reasons {
        let words = reason.trim_start_matches('\u{2028}');
        assert!(texts.contains(&words), "{words:?} is shown as it is");
    }
    assert!(HOSTILE.contains("evil()") && texts.iter().any(|t| t.contains("<script>evil()</script>")));
}

#[test]
fn the_page_asks_for_nothing() {
    let page = page(&Fixture::Five.matrix());
    assert!(page.contains("default-src 'none'; script-src 'sha256-"), "{}", &page[..600]);
    for word in [" src=", "url(", "@import", "fetch(", "XMLHttpRequest", "innerHTML", "http://", "https://", "<link"] {
        let shell = page.split_once("<script type=\"application/json\"").unwrap();
        let script = shell.1.split_once("</script>").unwrap().1;
        let allowed = usize::from(word == "http://") * script.matches("http://www.w3.org/2000/svg").count();
        assert_eq!(shell.0.matches(word).count() + script.matches(word).count(), allowed, "{word}");
    }
}

/// Five runtimes with every cell of the catalogue and evidence as long as it gets.
#[test]
fn a_large_report_stays_small() {
    let mut matrix = Fixture::Five.matrix();
    let one = matrix.cells[0].clone();
    matrix.cells = (0..10_500)
        .map(|n| {
            let mut cell = one.clone();
            cell.id = format!("family{}.capability{n}", n % 15);
            cell.reason = format!("{n} {}", "x".repeat(5000));
            cell.evidence = vec![cell.evidence[0].clone(); 200];
            cell
        })
        .collect();
    let page = page(&matrix);
    assert!(page.len() < 12 << 20, "{} bytes", page.len());
    assert_eq!(page.matches("<tr").count(), 0, "rows are made by the browser");
}

#[test]
fn the_sample_page_is_up_to_date() {
    golden("samples/report.html", &page(&Fixture::Five.matrix()));
}

fn page(matrix: &Matrix) -> String {
    render(matrix, &catalogue(), Format::Html, Style::default()).unwrap()
}

fn data(page: &str) -> Value {
    let (_, rest) = page.split_once("id=\"data\">").unwrap();
    serde_json::from_str(rest.split_once("</script>").unwrap().0).unwrap()
}
