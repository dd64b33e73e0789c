//! Text that came from a sandbox, and text that must fit a width.

use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

/// An engine's name beside its version. One that is no Docker Engine says so itself.
pub(crate) fn engine_name(engine: &str) -> String {
    match engine {
        "command" => "launch commands, no engine".to_owned(),
        other if other.starts_with("Podman") => other.to_owned(),
        other => format!("Docker Engine {other}"),
    }
}

/// The text on one line, without escape sequences, control characters and characters that reorder or hide text.
pub(crate) fn clean(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        rest = &rest[c.len_utf8()..];
        match c {
            '\u{1b}' => rest = after_escape(rest),
            '\u{9b}' => rest = after_csi(rest),
            '\u{90}' | '\u{98}' | '\u{9d}'..='\u{9f}' => rest = after_string(rest),
            c if c.is_control() || c.is_whitespace() => {
                if !out.is_empty() && !out.ends_with(' ') {
                    out.push(' ');
                }
            }
            c if is_invisible(c) => {}
            c => out.push(c),
        }
    }
    out.truncate(out.trim_end().len());
    out
}

/// Display width.
pub(crate) fn width(text: &str) -> usize {
    text.width()
}

/// The start of a line that fits, with `…` where something is missing.
pub(crate) fn cut(text: &str, limit: usize) -> String {
    if width(text) <= limit {
        return text.to_owned();
    }
    let (head, _) = text.split_at(fitting(text, limit.saturating_sub(1)));
    format!("{}…", head.trim_end())
}

/// Lines that fit, broken at spaces where there are any; the first begins with `first`, all others with `indent`
/// spaces. Beyond `max` lines the rest is cut with `…`.
pub(crate) fn wrap(first: &str, text: &str, indent: usize, limit: usize, max: usize) -> Vec<String> {
    let room = limit.saturating_sub(indent).max(8);
    let mut lines = vec![first.to_owned()];
    let mut used = width(first);
    let mut fresh = true;
    for word in text.split(' ').filter(|w| !w.is_empty()) {
        let mut word = word;
        loop {
            let gap = usize::from(!fresh);
            if used + gap + width(word) <= limit {
                push(&mut lines, &" "[..gap], word);
                used += gap + width(word);
                fresh = false;
                break;
            }
            if fresh && used <= indent {
                let (head, tail) =
                    word.split_at(fitting(word, room).max(word.chars().next().map_or(0, char::len_utf8)));
                push(&mut lines, "", head);
                word = tail;
            }
            lines.push(" ".repeat(indent));
            used = indent;
            fresh = true;
        }
    }
    if lines.len() > max {
        let rest = lines.split_off(max);
        if let Some(last) = lines.last_mut() {
            *last = cut(&format!("{last} {}", rest.concat().trim_start()), limit);
        }
    }
    lines.iter_mut().for_each(|l| l.truncate(l.trim_end().len()));
    lines
}

/// The text followed by spaces up to a width.
pub(crate) fn pad(text: &str, to: usize) -> String {
    format!("{text}{}", " ".repeat(to.saturating_sub(width(text))))
}

/// `1 cell`, `2 cells`.
pub(crate) fn count(n: usize, one: &str) -> String {
    format!("{n} {one}{}", if n == 1 { "" } else { "s" })
}

/// Milliseconds as people say them.
pub(crate) fn duration(ms: u64) -> String {
    match ms {
        0..=999 => format!("{ms} ms"),
        1000..=119_999 => format!("{}.{} s", ms / 1000, ms % 1000 / 100),
        _ => format!("{} min {} s", ms / 60_000, ms % 60_000 / 1000),
    }
}

fn push(lines: &mut [String], gap: &str, word: &str) {
    if let Some(last) = lines.last_mut() {
        last.push_str(gap);
        last.push_str(word);
    }
}

/// How many bytes of the text fit.
fn fitting(text: &str, limit: usize) -> usize {
    let mut used = 0;
    for (at, c) in text.char_indices() {
        used += c.width().unwrap_or(0);
        if used > limit {
            return at;
        }
    }
    text.len()
}

fn after_escape(rest: &str) -> &str {
    match rest.chars().next() {
        Some('[') => after_csi(&rest[1..]),
        Some(']' | 'P' | 'X' | '^' | '_') => after_string(&rest[1..]),
        // An intermediate byte and a final one (`ESC ( B`), or a final one alone (`ESC c`).
        Some(' '..='/') => rest[1..].strip_prefix(|c: char| ('0'..='~').contains(&c)).unwrap_or(&rest[1..]),
        Some('0'..='~') => &rest[1..],
        Some(_) | None => rest,
    }
}

fn after_csi(rest: &str) -> &str {
    let tail = rest.trim_start_matches(|c: char| (' '..='?').contains(&c));
    tail.strip_prefix(|c: char| ('@'..='~').contains(&c)).unwrap_or(rest)
}

/// Of a control string that never ends only the introducer goes: the rest of the reason must stay visible.
fn after_string(rest: &str) -> &str {
    let end = |stop: &str| rest.find(stop).map(|at| at + stop.len());
    let first = [end("\u{7}"), end("\u{1b}\\"), end("\u{9c}")].into_iter().flatten().min();
    first.map_or(rest, |at| &rest[at..])
}

fn is_invisible(c: char) -> bool {
    matches!(
        c,
        '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}'
            | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e0fff}'
    )
}

/// Keeps a phrase together; becomes a space when it is written.
pub(crate) const HARD_SPACE: &str = "\u{a0}";
