//! `awf-probe ci-matrix`: runtimes as the value of a GitHub `strategy.matrix`.

use serde_json::json;

use super::print;
use crate::{
    cli::CiMatrixArgs,
    engine::docker::Docker,
    error::{Error, Exit},
    inventory,
};

/// Prints it, on one line. Named runtimes need no engine.
pub async fn run(args: CiMatrixArgs) -> Result<Exit, Error> {
    let names = if args.runtimes.is_empty() {
        let info = Docker::connect().await?.info().await?;
        inventory::resolve(&info, &[], true)?
    } else {
        let mut names = Vec::new();
        for name in args.runtimes {
            if !names.contains(&name) {
                names.push(name);
            }
        }
        names
    };
    // The names end up in scripts of a workflow.
    let plain = |n: &&String| !n.is_empty() && n.chars().all(|c| c.is_ascii_alphanumeric() || "._-".contains(c));
    if let Some(name) = names.iter().find(|n| !plain(n)) {
        return Err(Error::Usage {
            why: format!("{name:?} cannot be the name of a runtime"),
            help: "names are letters, digits, dots, dashes and underscores".to_owned(),
        });
    }
    print(&format!("{}\n", json!({ "runtime": names })))?;
    Ok(Exit::Ok)
}
