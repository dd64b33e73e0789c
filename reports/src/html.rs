//! The report as one HTML file: no network, no library, nothing but what the file holds.
//!
//! The page is fixed; what a run said stands in one block of JSON, from which the page's script makes text nodes and
//! never markup. The content security policy admits this very script and style by digest, so that a text that found a
//! way into the markup could neither run nor load anything. Rows are made when they are looked at.

mod data;

use awf_probe_matrix::{Catalogue, Matrix};
use sha2::{Digest, Sha256};

use crate::{ReportError, Style, view::View};

pub(crate) fn render(matrix: &Matrix, catalogue: &Catalogue, style: Style) -> Result<String, ReportError> {
    let view = View::new(matrix, catalogue, style, true)?;
    let json = in_script(&serde_json::to_string(&data::Page::of(&view, style))?);
    let policy = format!(
        "default-src 'none'; script-src 'sha256-{}'; style-src 'sha256-{}'; base-uri 'none'; form-action 'none'",
        digest(SCRIPT),
        digest(SHEET)
    );
    let mut page = String::with_capacity(PAGE.len() + SHEET.len() + SCRIPT.len() + json.len());
    let mut rest = PAGE;
    // One pass from the front: what is put in is never looked at again, whatever it says.
    for (mark, text) in
        [("{{policy}}", policy.as_str()), ("{{style}}", SHEET), ("{{data}}", &json), ("{{script}}", SCRIPT)]
    {
        if let Some((before, after)) = rest.split_once(mark) {
            page.push_str(before);
            page.push_str(text);
            rest = after;
        }
    }
    page.push_str(rest);
    Ok(page)
}

/// JSON in which nothing ends a script element or begins a comment. These characters occur only within its strings.
fn in_script(json: &str) -> String {
    json.replace('<', "\\u003c").replace('>', "\\u003e").replace('&', "\\u0026")
}

/// SHA-256 as a content security policy wants it.
pub(crate) fn digest(text: &str) -> String {
    base64(&Sha256::digest(text.as_bytes()))
}

fn base64(bytes: &[u8]) -> String {
    let mut out = String::new();
    for chunk in bytes.chunks(3) {
        let word = chunk.iter().fold(0u32, |w, b| w << 8 | u32::from(*b)) << (8 * (3 - chunk.len()));
        for n in 0..4 {
            let at = (word >> (18 - 6 * n) & 63) as usize;
            out.push(if n <= chunk.len() { char::from(ALPHABET[at]) } else { '=' });
        }
    }
    out
}

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
const PAGE: &str = include_str!("html/page.html");
const SHEET: &str = include_str!("html/page.css");
const SCRIPT: &str = include_str!("html/page.js");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_is_the_usual_one() {
        for (text, coded) in [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foobar", "Zm9vYmFy")] {
            assert_eq!(base64(text.as_bytes()), coded);
        }
    }
}
