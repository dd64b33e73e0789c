//! `awf-probe bench`: what each runtime costs.

use std::{fs, io::IsTerminal, path::Path};

use awf_probe_reports::bench::{BenchV1, FindingV1, document, html, json, markdown, table};

use super::{Data, no_format, print};
use crate::{
    bench::{Entry, Settings, measure},
    cli::{BenchArgs, Suite},
    engine::docker::Docker,
    error::{Error, Exit},
    inventory,
    plan::Filter,
    progress::note,
};

/// Measures and prints.
pub async fn run(args: BenchArgs) -> Result<Exit, Error> {
    let render: fn(&BenchV1) -> Result<String, Error> = match args.format.as_str() {
        "text" => |d| Ok(table(d, super::width(std::io::stdout().is_terminal()))),
        "markdown" => |d| Ok(markdown(d)),
        "html" => |d| Ok(html(d)),
        "json" => |d| json(d).map_err(|e| Error::Bug(e.to_string())),
        other => return Err(no_format(other, "bench", "text, markdown, html or json")),
    };
    let filter = Filter::new(&args.only, &args.skip)?;
    let full = args.suite == Suite::Full;
    let mut settings = Settings {
        reference: args.reference.clone(),
        candidates: vec![],
        full,
        filter,
        toolbox_image: args.toolbox_image.clone(),
        budget: args.budget.unwrap_or(if full { FULL } else { QUICK }),
        precision: f64::from(args.precision) / 100.0,
    };
    if Entry::chosen(&settings).is_empty() {
        return Err(Error::Usage {
            why: format!(
                "no bench of the {} suite is left after --only and --skip",
                if full { "full" } else { "quick" }
            ),
            help: format!("the benches are: {}", Entry::all().iter().map(|e| e.id).collect::<Vec<_>>().join(", ")),
        });
    }
    let data = Data::load()?;
    let docker = Docker::connect().await?;
    let info = docker.info().await?;
    let reference = inventory::resolve(&info, std::slice::from_ref(&args.reference), false)?;
    settings.reference = reference.into_iter().next().unwrap_or_default();
    settings.candidates = if args.runtimes.is_empty() {
        let all = inventory::resolve(&info, &[], true)?;
        all.into_iter().filter(|n| *n != settings.reference).collect()
    } else {
        inventory::resolve(&info, &args.runtimes, false)?
    };
    if let Some(dir) = &args.out {
        // Before anything is measured: a folder that cannot be written is no surprise for the end.
        fs::create_dir_all(dir).map_err(|e| Error::unwritable(dir, &e))?;
    }
    let measured = document(&measure(&docker, &info, &settings, &data).await?);
    if let Some(dir) = &args.out {
        write(&dir.join("bench.json"), &json(&measured).map_err(|e| Error::Bug(e.to_string()))?)?;
        write(&dir.join("bench.md"), &markdown(&measured))?;
        write(&dir.join("bench.html"), &html(&measured))?;
        note(&format!("bench.json, bench.md and bench.html are in {}", dir.display()));
    }
    print(&render(&measured)?)?;
    Ok(exit(&measured))
}

/// Figures are no verdicts: whatever they are, the measurement is complete or it is not.
fn exit(d: &BenchV1) -> Exit {
    let untold = d.benches.iter().any(|b| {
        b.noise.as_ref().is_none_or(|n| n.finding == FindingV1::Untold)
            || b.candidates.iter().any(|c| c.finding == FindingV1::Untold)
    });
    if untold { Exit::Inconclusive } else { Exit::Ok }
}

fn write(path: &Path, text: &str) -> Result<(), Error> {
    fs::write(path, text).map_err(|e| Error::unwritable(path, &e))
}

const QUICK: std::time::Duration = std::time::Duration::from_secs(180);
const FULL: std::time::Duration = std::time::Duration::from_secs(2700);
