//! `docs/catalogue.md`: every capability with its reason, experiment, control and remedy.

use std::collections::BTreeMap;

use awf_probe_matrix::{Capability, Catalogue, Condition, Kind, Safety, Scope};

use crate::text::clean;

/// The page. What several capabilities of a family have in common is said once, at the head of the family.
pub fn catalogue_page(catalogue: &Catalogue) -> String {
    let families = catalogue.capabilities.chunk_by(|a, b| a.family == b.family).collect::<Vec<_>>();
    let mut page = format!(
        "# Catalogue\n\n<!-- Generated from matrix/capabilities by `make generate`; do not edit. -->\n\n\
         {} capabilities in {} families. `awf-probe explain ID` prints one, with what the last run saw.\n\n\
         A capability of kind *works* is something AWF needs, *contained* something that must not be possible, *egress*\n\
         something that must end at the proxy or nowhere. A condition reads `SCENARIO/FACT[@SOURCE] is WANT`: what the\n\
         source (the guest, unless another one is named) must have reported of the fact in that sandbox.\n\n\
         | family | capabilities |\n|---|---:|\n",
        catalogue.capabilities.len(),
        families.len()
    );
    for family in &families {
        let name = &family[0].family;
        page.push_str(&format!("| [{name}](#{name}) | {} |\n", family.len()));
    }
    page.push_str("\n## Requirements\n\n| id | requirement | rests on | never not applicable |\n|---|---|---:|---|\n");
    for r in &catalogue.requirements {
        let never = r.never_not_applicable.iter().map(|id| format!("`{id}`")).collect::<Vec<_>>().join(", ");
        page.push_str(&format!("| {} | {} | {} | {never} |\n", r.id, text(&r.title), r.cells.len()));
    }
    for family in &families {
        section(&mut page, family, catalogue);
    }
    page
}

fn section(page: &mut String, family: &[Capability], catalogue: &Catalogue) {
    page.push_str(&format!("\n## {}\n", family[0].family));
    let shared: Vec<Option<&str>> = PARTS.iter().map(|(_, of)| common(family, *of)).collect();
    for ((name, _), body) in PARTS.iter().zip(&shared) {
        if let Some(body) = body {
            page.push_str(&format!("\n*{name}, unless said otherwise below:* {}\n", text(body)));
        }
    }
    for c in family {
        page.push_str(&format!("\n### {}\n\n{}. *{}*", c.id, text(&c.title), kind(c.kind)));
        page.push_str(match c.scope {
            Scope::Solo => "",
            Scope::Netns => ", a cell for each runtime of the init container",
            Scope::Egress => ", a cell for each enforcement model and iptables backend",
            Scope::Guard | Scope::DualStack => ", a cell for each enforcement model that counts and iptables backend",
        });
        page.push_str(match c.safety {
            Safety::Safe => "",
            Safety::Heavy => ", uses resources within a limit of its own",
            Safety::Disruptive => ", in sandboxes made for it alone",
        });
        let asked = catalogue.requirements.iter().filter(|r| r.cells.contains(&c.id));
        let asked = asked.map(|r| r.id.as_str()).collect::<Vec<_>>().join(", ");
        page.push_str(&if asked.is_empty() { ".\n\n".to_owned() } else { format!(". Part of {asked}.\n\n") });
        for ((name, of), shared) in PARTS.iter().zip(&shared) {
            let body = of(c);
            if !body.is_empty() && *shared != Some(body) {
                page.push_str(&format!("- {name}: {}\n", text(body)));
            }
        }
        for (name, conditions) in [("Controls", &c.controls), ("Pass", &c.pass)] {
            if !conditions.is_empty() {
                page.push_str(&format!("- {name}: {}\n", all(conditions)));
            }
        }
        if !c.partial.is_empty() {
            page.push_str(&format!("- Partial ({}): {}\n", text(&c.partial_reason), all(&c.partial)));
        }
        if !c.moot.is_empty() {
            page.push_str(&format!("- Not applicable ({}): {}\n", text(&c.moot_reason), all(&c.moot)));
        }
        if !c.sources.is_empty() {
            page.push_str(&format!("- Sources: {}\n", text(&c.sources.join(", "))));
        }
    }
}

type Part = (&'static str, fn(&Capability) -> &str);

const PARTS: &[Part] =
    &[("Why", |c| &c.why), ("How", |c| &c.how), ("Control", |c| &c.control), ("If it fails", |c| &c.remedy)];

/// The text that at least three capabilities and a third of the family have in common.
fn common(family: &[Capability], of: fn(&Capability) -> &str) -> Option<&str> {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for c in family {
        *counts.entry(of(c)).or_default() += 1;
    }
    let most = counts.into_iter().filter(|(body, _)| !body.is_empty()).max_by_key(|(_, n)| *n)?;
    (most.1 >= 3 && most.1 * 3 >= family.len()).then_some(most.0)
}

fn all(conditions: &[Condition]) -> String {
    conditions.iter().map(|c| format!("`{} is {}`", c.key, c.wanted())).collect::<Vec<_>>().join(", ")
}

fn kind(kind: Kind) -> &'static str {
    match kind {
        Kind::Works => "works",
        Kind::Contained => "contained",
        Kind::Egress => "egress",
    }
}

/// Catalogue texts hold Markdown's code spans; angle brackets outside them would be taken for HTML.
fn text(body: &str) -> String {
    let body = clean(body);
    let mut out = String::new();
    for (at, part) in body.split('`').enumerate() {
        if at > 0 {
            out.push('`');
        }
        out.push_str(&if at % 2 == 0 {
            part.replace('<', "&lt;").replace('|', "\\|").replace('*', "\\*")
        } else {
            part.to_owned()
        });
    }
    out
}
