//! `--baseline`: an earlier run is accepted as it is, and only what is worse counts.

use std::{collections::BTreeSet, path::Path};

use awf_probe_matrix::Matrix;
use awf_probe_reports::diff;

use super::{Data, diff::load};
use crate::{
    error::{Error, Exit},
    inventory::nearest,
    progress::note,
};

/// An earlier run.
#[derive(Debug)]
pub struct Baseline {
    path: String,
    matrix: Matrix,
}

impl Baseline {
    /// Reads it: its folder, report or journal.
    pub fn load(path: &Path, data: &Data) -> Result<Self, Error> {
        let matrix = load(path, data)?;
        if let Some(how) = &matrix.run.sabotage {
            return Err(Error::Usage {
                why: format!("the lab of the baseline {} was broken on purpose ({how})", path.display()),
                help: "measure once without --sabotage".to_owned(),
            });
        }
        Ok(Self { path: path.display().to_string(), matrix })
    }

    /// Refuses to compare a runtime with nothing, which would find nothing worse, whatever the runtime does.
    pub fn has<'a>(&self, runtimes: impl Iterator<Item = &'a str>) -> Result<(), Error> {
        let known: Vec<String> = self.matrix.runtimes.iter().map(|r| r.name.clone()).collect();
        for runtime in runtimes {
            let measured = self.matrix.cells.iter().any(|c| c.runtime == runtime);
            if !measured {
                let near = nearest(runtime, &known).map(|n| format!("did you mean {n:?}? ")).unwrap_or_default();
                return Err(Error::Usage {
                    why: format!("the baseline {} has no cell of the runtime {runtime:?}", self.path),
                    help: format!(
                        "{near}it has: {}; `awf-probe run --runtime {runtime} --out DIR` makes one to accept",
                        known.join(", ")
                    ),
                });
            }
        }
        Ok(())
    }

    /// The exit code of a matrix: 1 if something is worse than before, 3 if the run did not come to its end.
    ///
    /// Only the runtimes of the matrix are compared, and of a filtered one only the capabilities that `asked` names and
    /// no requirement: those rest on cells that were not measured.
    pub fn exit(&self, matrix: &Matrix, filtered: bool, asked: impl Fn(&str) -> bool) -> Result<Exit, Error> {
        let (mut before, mut after) = (self.matrix.clone(), matrix.clone());
        let runtimes: BTreeSet<&str> = matrix.runtimes.iter().map(|r| r.name.as_str()).collect();
        before.runtimes.retain(|r| runtimes.contains(r.name.as_str()));
        before.cells.retain(|c| runtimes.contains(c.runtime.as_str()) && asked(&c.id));
        before.requirements.retain(|r| runtimes.contains(r.runtime.as_str()));
        if filtered {
            before.requirements.clear();
            after.requirements.clear();
        }
        let mut diff = diff(&before, &after).map_err(|e| Error::Bug(e.to_string()))?;
        diff.differences.retain(|d| d.regression);
        let worse = diff.differences.len();
        if worse > 0 {
            note(&format!("worse than the baseline {}:", self.path));
            note(diff.text().trim_end());
            return Ok(Exit::Broken);
        }
        if !matrix.run.complete {
            note(&format!("nothing is worse than the baseline {}, but the run did not come to its end", self.path));
            return Ok(Exit::Inconclusive);
        }
        note(&format!("nothing is worse than the baseline {} ({} cells)", self.path, before.cells.len()));
        Ok(Exit::Ok)
    }
}
