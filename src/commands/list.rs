//! `awf-probe list`.

use serde_json::json;

use super::{Data, no_format, print};
use crate::{
    cli::ListArgs,
    error::{Error, Exit},
};

/// Lists the capabilities.
pub fn run(args: &ListArgs) -> Result<Exit, Error> {
    let data = Data::load()?;
    let capabilities = &data.catalogue.capabilities;
    let text = match args.format.as_str() {
        "text" => {
            let width = capabilities.iter().map(|c| c.id.len()).max().unwrap_or(0);
            capabilities.iter().map(|c| format!("{:width$}  {}\n", c.id, c.title)).collect()
        }
        "json" => {
            let all: Vec<_> = capabilities
                .iter()
                .map(|c| {
                    json!({
                        "id": c.id, "family": c.family, "title": c.title, "kind": c.kind, "scope": c.scope,
                        "safety": c.safety, "why": c.why, "how": c.how, "control": c.control,
                        "remedy": c.remedy, "sources": c.sources,
                        "attempt": c.scope.has_models().then_some(&c.attempt),
                    })
                })
                .collect();
            format!("{:#}\n", serde_json::Value::from(all))
        }
        other => return Err(no_format(other, "list", "text or json")),
    };
    print(&text)?;
    Ok(Exit::Ok)
}
