//! `awf-probe surprises`: the cells that came out otherwise than source code, documentation and issues claim.

use awf_probe_matrix::Claims;
use serde_json::json;

use super::{
    explain::{clean, last_run},
    no_format, print,
};
use crate::{
    cli::SurprisesArgs,
    error::{Error, Exit},
};

/// Prints them.
pub fn run(args: &SurprisesArgs) -> Result<Exit, Error> {
    let claims = Claims::builtin().map_err(|e| Error::Bug(e.to_string()))?;
    let Some(matrix) = last_run(&args.from)? else {
        return Err(Error::Usage {
            why: format!("there is no report at {}", args.from.display()),
            help: "`awf-probe run --all --out DIR` makes one; name it with --from".to_owned(),
        });
    };
    let found = claims.surprises(&matrix.runtimes, &matrix.cells);
    let compared = matrix
        .cells
        .iter()
        .filter(|c| c.verdict.is_conclusive())
        .filter_map(|c| matrix.runtimes.iter().find(|r| r.name == c.runtime).map(|r| claims.of(c, r).len()))
        .filter(|n| *n > 0)
        .count();
    let text = match args.format.as_str() {
        "json" => {
            let all: Vec<_> = found
                .iter()
                .map(|(cell, claim)| {
                    json!({
                        "cell": cell.name(), "runtime": cell.runtime, "verdict": cell.verdict, "reason": cell.reason,
                        "claim": {
                            "id": claim.id, "about": claim.title, "says": claim.says.word(),
                            "inferred": claim.inferred, "of": claim.of, "source": claim.source,
                        },
                    })
                })
                .collect();
            format!("{:#}\n", json!({"run": matrix.run.id, "compared": compared, "surprises": all}))
        }
        "text" => {
            let mut text = format!(
                "Run {} ({}): {compared} conclusive cells have a claim to compare with, {} differ.\n",
                matrix.run.id,
                matrix.run.started,
                found.len()
            );
            for (cell, claim) in &found {
                let inferred = if claim.inferred { ", inferred from code" } else { "" };
                let of = if claim.of.is_empty() { String::new() } else { format!(", of {}", claim.of) };
                text.push_str(&format!(
                    "\n{}  {}\n  measured: {}: {}\n  claimed:  {}{inferred}{of}: {} ({})\n  from:     {}\n",
                    cell.runtime,
                    cell.name(),
                    cell.verdict,
                    clean(&cell.reason),
                    claim.says.word(),
                    claim.title,
                    claim.id,
                    claim.source
                ));
            }
            text
        }
        other => return Err(no_format(other, "surprises", "text or json")),
    };
    print(&text)?;
    Ok(Exit::Ok)
}
