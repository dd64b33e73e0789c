//! `awf-probe explain`.

use std::{fs, path::Path};

use awf_probe_matrix::{Capability, Matrix};

use super::{Data, print};
use crate::{
    cli::ExplainArgs,
    error::{Error, Exit},
    inventory::nearest,
};

/// Explains a capability.
pub fn run(args: &ExplainArgs) -> Result<Exit, Error> {
    let data = Data::load()?;
    let Some(c) = data.catalogue.get(&args.id) else {
        let ids: Vec<String> = data.catalogue.capabilities.iter().map(|c| c.id.clone()).collect();
        let near = nearest(&args.id, &ids).map(|n| format!("did you mean {n}? ")).unwrap_or_default();
        return Err(Error::Usage {
            why: format!("no capability is called {:?}", args.id),
            help: format!("{near}`awf-probe list` shows them all"),
        });
    };
    let mut text = describe(c);
    match last_run(&args.from)? {
        Some(matrix) => text.push_str(&observed(c, &matrix)),
        None => {
            text.push_str(&format!("\nNo report at {}; `awf-probe run --out DIR` makes one.\n", args.from.display()))
        }
    }
    print(&text)?;
    Ok(Exit::Ok)
}

fn describe(c: &Capability) -> String {
    let mut text = format!("{}\n  {}\n", c.id, c.title);
    let mut part = |name: &str, body: &str| {
        if !body.is_empty() {
            text.push_str(&format!("\n{name}\n  {body}\n"));
        }
    };
    let (kind, safety) = (format!("{:?}", c.kind).to_lowercase(), format!("{:?}", c.safety).to_lowercase());
    part("Kind", &format!("{kind}, {safety}"));
    part("Why AWF cares", &c.why);
    part("How it is measured", &c.how);
    part("Control", &c.control);
    let conditions = |cs: &[awf_probe_matrix::Condition]| {
        cs.iter().map(|c| format!("{} is {}", c.key, c.wanted())).collect::<Vec<_>>().join("\n  ")
    };
    part("Must hold before anything is judged", &conditions(&c.controls));
    part("Expected (all of it: pass)", &conditions(&c.pass));
    if !c.partial.is_empty() {
        part("Partial", &format!("{}, when:\n  {}", c.partial_reason, conditions(&c.partial)));
    }
    part("What to do about a fail", &c.remedy);
    part("Sources", &c.sources.join(", "));
    text
}

fn observed(c: &Capability, matrix: &Matrix) -> String {
    let mut text = format!("\nObserved in run {} ({})\n", matrix.run.id, matrix.run.started);
    let cells: Vec<_> = matrix.cells.iter().filter(|x| x.id == c.id).collect();
    if cells.is_empty() {
        text.push_str("  that run did not measure it\n");
    }
    for cell in cells {
        let at = cell.name().replacen(&cell.id, "", 1);
        text.push_str(&format!("  {}{at}: {}: {}\n", cell.runtime, cell.verdict, clean(&cell.reason)));
        for e in &cell.evidence {
            let line = e.journal_line.map(|l| format!(" [journal line {l}]")).unwrap_or_default();
            text.push_str(&format!("    {}: {}{line}\n", e.source, clean(&e.saw)));
        }
    }
    text
}

/// What comes out of a sandbox may hold anything; a terminal obeys control characters.
pub(super) fn clean(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// The report at a path: a file, or `report.json` in a folder.
pub(super) fn last_run(path: &Path) -> Result<Option<Matrix>, Error> {
    let file = if path.is_dir() { path.join("report.json") } else { path.to_owned() };
    let Ok(text) = fs::read_to_string(&file) else { return Ok(None) };
    let unreadable = |e: awf_probe_reports::ReportError| Error::Usage {
        why: format!("cannot use the report {}: {e}", file.display()),
        help: "name a report.json of `awf-probe run --out DIR` with --from".to_owned(),
    };
    awf_probe_reports::read(&text).map(Some).map_err(unreadable)
}
