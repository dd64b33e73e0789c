//! What `diff` calls a regression, and that its texts stay texts.

use awf_probe_matrix::{Matrix, Verdict};

use super::{Fixture, HOSTILE};
use crate::{Change, Diff, diff};

#[test]
fn a_matrix_does_not_differ_from_itself() {
    for fixture in [Fixture::One, Fixture::Five, Fixture::Hostile, Fixture::Empty] {
        let diff = diff(&fixture.matrix(), &fixture.matrix()).unwrap();
        assert!(diff.differences.is_empty() && diff.versions.is_empty() && !diff.has_regressions(), "{diff:?}");
    }
}

#[test]
fn every_change_of_a_verdict_has_its_word_and_its_weight() {
    use Verdict::{Fail, Inconclusive, NotApplicable, Partial, Pass, Skipped};
    for (before, after, change, regression) in [
        (Pass, Fail, Change::NewlyBroken, true),
        (Pass, Partial, Change::NewlyBroken, true),
        (Partial, Fail, Change::NewlyBroken, true),
        (NotApplicable, Fail, Change::NewlyBroken, true),
        (Fail, Pass, Change::NewlyFixed, false),
        (Fail, Partial, Change::Changed, false),
        (Inconclusive, Pass, Change::NewlyKnown, false),
        (Skipped, Fail, Change::NewlyKnown, true),
        (Pass, Inconclusive, Change::NoLongerKnown, true),
        (Fail, Skipped, Change::NoLongerKnown, false),
        (Pass, NotApplicable, Change::Changed, true),
        (Inconclusive, Skipped, Change::Changed, false),
    ] {
        let (one, other) = (with(before), with(after));
        let diff = cells(&one, &other);
        let [d] = diff.differences.as_slice() else { panic!("{before} → {after}: {diff:?}") };
        assert_eq!((d.change, d.regression), (change, regression), "{before} → {after}");
        assert_eq!((d.before, d.after), (Some(before), Some(after)));
    }
}

#[test]
fn what_is_missing_is_not_better() {
    for (verdict, regression) in [(Verdict::Pass, true), (Verdict::Fail, false)] {
        let (one, mut other) = (with(verdict), with(verdict));
        other.cells.remove(0);
        let gone = cells(&one, &other);
        assert_eq!((gone.differences[0].change, gone.differences[0].regression), (Change::Gone, regression));
        let new = cells(&other, &one);
        assert_eq!((new.differences[0].change, new.differences[0].regression), (Change::New, false));
    }
}

#[test]
fn a_control_is_never_a_regression() {
    let one = Fixture::One.matrix();
    let mut other = one.clone();
    for c in other.cells.iter_mut().filter(|c| c.model.as_deref() == Some("open")) {
        c.verdict = Verdict::Inconclusive;
    }
    let diff = diff(&one, &other).unwrap();
    assert!(!diff.differences.is_empty() && !diff.has_regressions(), "{diff:?}");
}

#[test]
fn versions_and_requirements_stand_beside_the_cells() {
    let one = Fixture::Five.matrix();
    let mut other = one.clone();
    other.host.kernel = "6.9.0-test".to_owned();
    other.runtimes[0].version = "runc version 1.4.0".to_owned();
    other.requirements[0].standing = awf_probe_matrix::Standing::Broken;
    let text = diff(&one, &other).unwrap().text();
    for expected in [
        "kernel: 6.8.0-test → 6.9.0-test",
        "runc version: runc version 1.3.4 → runc version 1.4.0",
        "! runc  R1: pass → fail",
    ] {
        assert!(text.contains(expected), "{expected:?} is missing in:\n{text}");
    }
}

#[test]
fn hostile_text_stays_text_in_a_diff() {
    let diff = diff(&Fixture::One.matrix(), &Fixture::Hostile.matrix()).unwrap();
    for text in [diff.text(), diff.markdown()] {
        assert!(text.chars().all(|c| c == '\n' || !c.is_control()) && !text.contains('\u{202e}'), "{text}");
        assert!(text.contains("evil") && !text.contains(HOSTILE));
    }
    for line in diff.markdown().lines() {
        let outside = line.split('`').step_by(2).collect::<String>().replace("\\]", "");
        assert!(!["<script", "<img", "](", "@evil"].iter().any(|bad| outside.contains(bad)), "{line}");
    }
}

fn with(verdict: Verdict) -> Matrix {
    let mut matrix = Fixture::One.matrix();
    matrix.cells[0].verdict = verdict;
    matrix
}

fn cells(one: &Matrix, other: &Matrix) -> Diff {
    diff(one, other).unwrap()
}
