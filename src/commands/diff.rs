//! `awf-probe diff`: what changed between two runs.

use std::{
    collections::BTreeSet,
    fs::File,
    io::{BufRead, BufReader, Read},
    path::Path,
};

use awf_probe_matrix::Matrix;
use awf_probe_reports::diff;

use super::{Data, explain::last_run, no_format, print};
use crate::{
    cli::{DiffArgs, FailOn},
    error::{Error, Exit},
    journal,
    judge::judge,
};

/// Prints it.
pub fn run(args: &DiffArgs) -> Result<Exit, Error> {
    let data = Data::load()?;
    let bug = |e: &dyn std::fmt::Display| Error::Bug(e.to_string());
    let (mut before, after) = (load(&args.before, &data)?, load(&args.after, &data)?);
    for pair in &args.renamed {
        rename(&mut before, &after, pair)?;
    }
    let diff = diff(&before, &after).map_err(|e| bug(&e))?;
    let text = match args.format.as_str() {
        "text" => diff.text(),
        "markdown" => diff.markdown(),
        "json" => serde_json::to_string_pretty(&diff).map_err(|e| bug(&e))? + "\n",
        other => return Err(no_format(other, "diff", "text, markdown or json")),
    };
    print(&text)?;
    let fails = match args.fail_on {
        FailOn::Regressions => diff.has_regressions(),
        FailOn::Any => !diff.differences.is_empty(),
        FailOn::None => false,
    };
    Ok(if fails { Exit::Broken } else { Exit::Ok })
}

/// Gives a runtime of the first run the name it has in the second: `BEFORE=AFTER`.
fn rename(before: &mut Matrix, after: &Matrix, pair: &str) -> Result<(), Error> {
    let usage = |why: String, help: String| Error::Usage { why, help };
    let Some((old, new)) = pair.split_once('=') else {
        return Err(usage(format!("--as {pair:?} has no `=`"), "name two runtimes: --as BEFORE=AFTER".to_owned()));
    };
    for (run, matrix, name) in [("first", &*before, old), ("second", after, new)] {
        let names = names(matrix);
        if !names.contains(name) {
            let names: Vec<&str> = names.into_iter().collect();
            return Err(usage(
                format!("the {run} run has no runtime {name:?} (--as {pair})"),
                format!("it has: {}", names.join(", ")),
            ));
        }
    }
    if old != new && names(before).contains(new) {
        return Err(usage(
            format!("the first run has {new:?} as well as {old:?}"),
            "compare two reports of one runtime each".to_owned(),
        ));
    }
    let names = before.runtimes.iter_mut().map(|r| &mut r.name);
    let names = names.chain(before.requirements.iter_mut().map(|r| &mut r.runtime));
    names
        .chain(before.cells.iter_mut().map(|c| &mut c.runtime))
        .filter(|n| *n == old)
        .for_each(|n| *n = new.to_owned());
    // The pairs with an init container under it.
    let (init, now) = (format!("init={old}"), format!("init={new}"));
    before.cells.iter_mut().filter_map(|c| c.model.as_mut()).filter(|m| **m == init).for_each(|m| m.clone_from(&now));
    Ok(())
}

/// The runtimes of a run, and those of init containers beside them.
fn names(matrix: &Matrix) -> BTreeSet<&str> {
    let inits = matrix.cells.iter().filter_map(|c| c.model.as_deref()?.strip_prefix("init="));
    matrix.runtimes.iter().map(|r| r.name.as_str()).chain(inits).collect()
}

/// A journal is told by its first line; anything else must be a report, or the folder of one.
pub(super) fn load(path: &Path, data: &Data) -> Result<Matrix, Error> {
    if is_journal(path) {
        return Ok(judge(&journal::read(path)?, &data.catalogue, &data.models, &data.products));
    }
    last_run(path)?.ok_or_else(|| Error::Usage {
        why: format!("there is no report or journal at {}", path.display()),
        help: "name a folder, a report.json or a journal.jsonl of `awf-probe run --out DIR`".to_owned(),
    })
}

fn is_journal(path: &Path) -> bool {
    let mut start = Vec::new();
    let read = File::open(path).and_then(|f| BufReader::new(f.take(64)).read_until(b'\n', &mut start));
    read.is_ok() && start.starts_with(br#"{"event":"#)
}
