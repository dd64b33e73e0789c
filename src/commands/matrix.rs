//! `awf-probe matrix`: the reports of many hosts as one.

use std::{fs::File, io::Read, path::Path};

use awf_probe_reports::Merge;

use super::{no_format, print};
use crate::{
    cli::MatrixArgs,
    error::{Error, Exit},
    progress::note,
};

/// Merges, and prints.
pub fn run(args: &MatrixArgs) -> Result<Exit, Error> {
    let bug = |e: awf_probe_reports::ReportError| Error::Bug(e.to_string());
    let render: fn(&Merge, bool) -> Result<String, awf_probe_reports::ReportError> = match args.format.as_str() {
        "text" => |merge, full| Ok(merge.text(full)),
        "markdown" => |merge, full| Ok(merge.markdown(full)),
        "json" => |merge, _| merge.json(),
        other => return Err(no_format(other, "matrix", "text, markdown or json")),
    };
    let mut merge = Merge::new().map_err(bug)?;
    // One buffer for all: the largest report decides how much memory is needed.
    let mut bytes = Vec::new();
    for path in &args.reports {
        let added = read(path, &mut bytes).and_then(|()| merge.add(&bytes).map_err(|e| e.to_string()));
        if let Err(why) = added {
            note(&format!("left out: {}: {why}", path.display()));
            merge.leave_out(path.display().to_string(), why);
        }
    }
    print(&render(&merge, args.full).map_err(bug)?)?;
    Ok(if merge.is_whole() { Exit::Ok } else { Exit::Inconclusive })
}

fn read(path: &Path, into: &mut Vec<u8>) -> Result<(), String> {
    let file = if path.is_dir() { path.join("report.json") } else { path.to_owned() };
    into.clear();
    let file = File::open(file).map_err(|e| e.to_string())?;
    // A byte more than a report may have is enough to refuse it.
    file.take(MOST_BYTES + 1).read_to_end(into).map(drop).map_err(|e| e.to_string())
}

const MOST_BYTES: u64 = 256 << 20;
