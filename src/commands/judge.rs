//! `awf-probe judge`: verdicts from a journal, without an engine.

use std::collections::BTreeSet;

use super::{Data, baseline::Baseline, format, show};
use crate::{
    cli::JudgeArgs,
    engine::{Engine, Replay},
    error::{Error, Exit},
    judge::judge,
};

/// Judges a journal again.
pub async fn run(args: JudgeArgs) -> Result<Exit, Error> {
    let format = format(&args.output)?;
    let data = Data::load()?;
    let baseline = args.baseline.as_deref().map(|path| Baseline::load(path, &data)).transpose()?;
    let events = Replay { journal: args.from }.events().await?;
    let matrix = judge(&events, &data.catalogue, &data.models, &data.products);
    if let Some(baseline) = &baseline {
        baseline.has(matrix.runtimes.iter().map(|r| r.name.as_str()))?;
    }
    show(&matrix, &data, &args.output, format)?;
    let filtered = super::run::is_filtered(&matrix, &data);
    match baseline {
        // What a filter left out is no cell of the plan, and what is no cell of the plan was not asked for.
        Some(baseline) => {
            let ids: BTreeSet<&str> = matrix.cells.iter().map(|c| c.id.as_str()).collect();
            baseline.exit(&matrix, filtered, |id| !filtered || ids.contains(id))
        }
        None => Ok(super::run::exit_of(&matrix, &data, filtered)),
    }
}
