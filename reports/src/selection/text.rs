//! The answer for people.

use super::v1::{BasisV1, OutcomeV1, SelectionV1};
use crate::text::clean;

/// The answer in words; with `explain` the whole chain down to the cells.
pub fn text(s: &SelectionV1, explain: bool) -> String {
    let mut out = Vec::new();
    let none = String::new();
    match s.outcome {
        OutcomeV1::Refused => out.push(format!("Refused: {}", clean(s.refusal.as_ref().unwrap_or(&none)))),
        OutcomeV1::Selected => {
            let name = s.docker_runtime.as_ref().unwrap_or(&none);
            let class = s.isolation.as_ref().unwrap_or(&none);
            let model = s.profile.as_ref().map_or(&none, |p| &p.enforcement);
            out.push(format!("Use {name} ({class}) with {model}."));
        }
    }
    section(&mut out, "Why", s.reasons.iter().map(|r| clean(r)));
    let needed = s.enforcement_models.first().map(|m| m.mitigations.as_slice()).unwrap_or_default();
    section(
        &mut out,
        "What AWF must do for it",
        needed.iter().map(|m| {
            let shown = if m.shown_by.is_empty() { "" } else { "; that it works is measured" };
            format!("{}: {}\n    because {}{shown}", m.id, m.title, cell(&m.because))
        }),
    );
    section(
        &mut out,
        "Models it may be used with",
        s.enforcement_models.iter().map(|m| {
            let name = m.backend.as_ref().map_or_else(|| m.model.clone(), |b| format!("{}/{b}", m.model));
            let ids: Vec<&str> = m.mitigations.iter().map(|m| m.id.as_str()).collect();
            if ids.is_empty() { name } else { format!("{name}, with {}", ids.join(", ")) }
        }),
    );
    if let Some(awf) = &s.awf {
        section(
            &mut out,
            "What AWF's configuration file cannot say",
            awf.flags.iter().chain(&awf.notes).map(|n| clean(n)),
        );
    }
    section(
        &mut out,
        "Also usable",
        s.ranking.iter().skip(1).map(|r| {
            format!(
                "{} ({}) with {}; {} cells within reach, {} mitigations",
                r.runtime,
                r.isolation,
                r.model,
                r.reached.len(),
                r.mitigations.len()
            )
        }),
    );
    section(
        &mut out,
        "Not usable",
        s.rejected.iter().map(|r| {
            let model = r.model.as_ref().map(|m| format!(" under {m}")).unwrap_or_default();
            let because = r.because.as_ref().map(|b| format!("\n    {}", cell(b))).unwrap_or_default();
            format!("{}: {}{model}: {}{because}", clean(&r.runtime), r.requirement, clean(&r.reason))
        }),
    );
    section(
        &mut out,
        "Reports that do not count",
        s.reports.iter().filter_map(|r| Some(format!("{}: {}", clean(&r.name), clean(r.refused.as_ref()?)))),
    );
    if explain {
        for p in &s.requirements {
            section(&mut out, &format!("{}: {}", p.id, p.title), p.cells.iter().map(cell));
        }
        section(
            &mut out,
            "Order of the usable runtimes",
            s.ranking.iter().map(|r| {
                let cost = r.cost.map_or_else(|| "not benchmarked".to_owned(), |c| format!("cost {c}"));
                format!(
                    "{}: {}, within reach: {}; mitigations: {}; {cost}",
                    r.runtime,
                    r.isolation,
                    list(&r.reached),
                    list(&r.mitigations)
                )
            }),
        );
        section(
            &mut out,
            "Reports",
            s.reports.iter().map(|r| {
                format!("{}: {}", clean(&r.name), r.refused.as_ref().map_or_else(|| "counts".to_owned(), |w| clean(w)))
            }),
        );
    }
    let v = &s.validity;
    let verified = if v.host_verified {
        "compared with this host as it is now"
    } else {
        "not compared with this host (--verify-host does that)"
    };
    let good = v.expires.as_ref().map(|e| format!(", good until {e}")).unwrap_or_default();
    out.push(format!("\nPolicy {}; decided {}{good}; {verified}.", s.policy.name, v.decided));
    out.join("\n") + "\n"
}

fn section(out: &mut Vec<String>, title: &str, lines: impl Iterator<Item = String>) {
    let lines: Vec<String> = lines.collect();
    if !lines.is_empty() {
        out.push(format!("\n{title}"));
        out.extend(lines.into_iter().map(|l| format!("  {l}")));
    }
}

fn list(words: &[String]) -> String {
    if words.is_empty() { "nothing".to_owned() } else { words.join(", ") }
}

fn cell(b: &BasisV1) -> String {
    let line = b.journal_line.map(|n| format!(" (journal line {n})")).unwrap_or_default();
    format!("{}: {}: {}{line}", b.cell, b.verdict, clean(&b.reason))
}
