//! `awf-probe diff`: what changed between two runs.

use std::{
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
    let diff = diff(&load(&args.before, &data)?, &load(&args.after, &data)?).map_err(|e| bug(&e))?;
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
