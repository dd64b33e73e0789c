//! `awf-probe judge`: verdicts from a journal, without an engine.

use super::{Data, format, show};
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
    let events = Replay { journal: args.from }.events().await?;
    let matrix = judge(&events, &data.catalogue, &data.models, &data.products);
    show(&matrix, &data, &args.output, format)?;
    Ok(super::run::exit_of(&matrix, &data, super::run::is_filtered(&matrix, &data)))
}
