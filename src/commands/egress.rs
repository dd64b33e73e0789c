//! `awf-probe egress`: enforcement models × families of attempts, and one cell line by line.

use awf_probe_matrix::{Cell, Matrix, Rejection, Result_, Standing, Verdict, assess_under};

use super::{
    Data,
    explain::{clean, last_run},
    print, run as measure,
};
use crate::{
    cli::{EgressArgs, RunArgs},
    error::{Error, Exit},
    plan::{OF_MODELS, of_a_model},
};

/// Requirements that are about ways out.
const ABOUT: [&str; 3] = ["R1", "R3", "R4"];

/// Measures, or reads a report, and prints the table or a cell.
pub async fn run(args: EgressArgs) -> Result<Exit, Error> {
    let data = Data::load()?;
    let matrix = match &args.from {
        Some(path) => last_run(path)?.ok_or_else(|| Error::Usage {
            why: format!("there is no report at {}", path.display()),
            help: "name a report.json of `awf-probe run --out DIR` with --from".to_owned(),
        })?,
        None => measure::matrix(&run_args(&args), &data).await?,
    };
    let wanted =
        |c: &&Cell| of_a_model(&c.id) && args.from.as_ref().and(args.runtime.as_ref()).is_none_or(|r| *r == c.runtime);
    let cells: Vec<Cell> = matrix.cells.iter().filter(wanted).cloned().collect();
    if cells.is_empty() {
        return Err(Error::Usage {
            why: "the report has no ways out of that runtime".to_owned(),
            help: "measure them with `awf-probe egress --runtime NAME`".to_owned(),
        });
    }
    if let Some(name) = &args.explain {
        print(&explained(name, &cells)?)?;
        return Ok(Exit::Ok);
    }
    let (text, exit) = table(&matrix, &cells, &data);
    print(&text)?;
    Ok(exit)
}

fn run_args(args: &EgressArgs) -> RunArgs {
    let asked = OF_MODELS.map(|family| format!("{family}.*")).to_vec();
    let asking = RunArgs::asking(args.runtime.clone().into_iter().collect(), asked);
    RunArgs { out: args.out.clone(), jobs: args.jobs, proxy: args.proxy, repeat: args.repeat, ..asking }
}

/// The model of a cell, with its backend.
fn stage(c: &Cell) -> (String, Option<String>) {
    (c.model.clone().unwrap_or_default(), c.backend.clone())
}

/// The second word of an attempt; what is tried while the guard fails is one family.
fn family(c: &Cell) -> &str {
    let mut words = c.id.split('.');
    match words.next() {
        Some("guard") => "guard",
        _ => words.next().unwrap_or_default(),
    }
}

/// How an agent learns that it was blocked: `rejected at once: 31, silent: 12`, the attempts and the slowest.
fn told(cells: &[&&Cell]) -> Option<String> {
    let blocked: Vec<Rejection> = cells.iter().filter_map(|c| c.rejection).collect();
    let silent = blocked.iter().filter(|r| r.silent > 0).count();
    let slowest = blocked.iter().filter(|r| r.silent == 0).map(|r| r.after_ms).max();
    let slowest = slowest.map(|ms| format!(", the slowest after {ms} ms")).unwrap_or_default();
    (!blocked.is_empty())
        .then(|| format!("{} attempts rejected{slowest}; {silent} without an answer", blocked.len() - silent))
}

/// Each value once, in the order of its first appearance.
fn distinct<T: PartialEq>(all: impl Iterator<Item = T>) -> Vec<T> {
    let mut seen = Vec::new();
    for one in all {
        if !seen.contains(&one) {
            seen.push(one);
        }
    }
    seen
}

fn table(matrix: &Matrix, cells: &[Cell], data: &Data) -> (String, Exit) {
    let runtimes = distinct(cells.iter().map(|c| c.runtime.clone()));
    let (dual, cells): (Vec<&Cell>, Vec<&Cell>) = cells.iter().partition(|c| c.id.starts_with("ipv6."));
    let families = distinct(cells.iter().map(|c| family(c).to_owned()));
    let mut text = String::new();
    let mut exit = Exit::Ok;
    for runtime in runtimes {
        let mine: Vec<&Cell> = cells.iter().copied().filter(|c| c.runtime == runtime).collect();
        text.push_str(&format!("{runtime}: attempts that get out, of those tried\n\n{:22}", "model"));
        families.iter().for_each(|f| text.push_str(&format!("{f:>9}")));
        text.push_str("   R1 R3 R4\n");
        let mut notes = Vec::new();
        let mut rejections = Vec::new();
        let mut best = Standing::Broken;
        for (model, backend) in distinct(mine.iter().map(|c| stage(c))) {
            let name = backend.as_ref().map_or_else(|| model.clone(), |b| format!("{model}/{b}"));
            text.push_str(&format!("{name:22}"));
            let here: Vec<&&Cell> = mine.iter().filter(|c| stage(c) == (model.clone(), backend.clone())).collect();
            for f in &families {
                let of: Vec<&&&Cell> = here.iter().filter(|c| family(c) == f).collect();
                text.push_str(&format!("{:>9}", counted(&of)));
            }
            let standings = assess_under(&data.catalogue, &runtime, &model, backend.as_deref(), &matrix.cells);
            let mut worst = Standing::Holds;
            text.push_str("  ");
            for r in standings.iter().filter(|r| ABOUT.contains(&r.id.as_str())) {
                worst = worst.max(r.standing);
                text.push_str(match r.standing {
                    Standing::Holds => "  ✓",
                    Standing::Unknown => "  ?",
                    Standing::Broken => "  ✗",
                });
                if let Some(because) = &r.because {
                    notes.push(format!("{name}: {}: {}: {}", r.id, because.cell, clean(&because.reason)));
                }
            }
            text.push('\n');
            if let Some(words) = told(&here) {
                rejections.push(format!("{name}: {words}"));
            }
            let counts = data.models.iter().any(|m| m.id == model && m.counts);
            if counts && worst < best {
                best = worst;
            }
        }
        text.push_str("\n  3/15: three of 15 get out; +2: two more by documented risks; ?1: one cannot be told\n");
        if !rejections.is_empty() {
            text.push_str(&format!(
                "\nHow what is blocked is told so: without an answer a client waits as long as it will\n  {}\n",
                rejections.join("\n  ")
            ));
        }
        if !notes.is_empty() {
            text.push_str(&format!(
                "\nWhat keeps a requirement from holding, first leak first\n  {}\n",
                notes.join("\n  ")
            ));
        }
        text.push_str(&over_ipv6(&dual, &runtime));
        text.push('\n');
        let own = match best {
            Standing::Holds => Exit::Ok,
            Standing::Unknown => Exit::Inconclusive,
            Standing::Broken => Exit::Broken,
        };
        if exit == Exit::Ok || own == Exit::Broken {
            exit = own;
        }
    }
    (text, exit)
}

/// What gets out over IPv6, where the agent's network has it: groups of attempts by what is done about IPv6.
fn over_ipv6(cells: &[&Cell], runtime: &str) -> String {
    let mine: Vec<&Cell> = cells.iter().copied().filter(|c| c.runtime == runtime).collect();
    // Of models that enforce on the host none can be said.
    let told = |c: &&&Cell| !matches!(c.verdict, Verdict::NotApplicable | Verdict::Skipped);
    let stages = distinct(mine.iter().filter(told).map(|c| stage(c)));
    let treatments = distinct(mine.iter().map(|c| family(c).to_owned()));
    if stages.is_empty() {
        return String::new();
    }
    let mut text = "\nHad the agent's network IPv6: groups of attempts that get out over it\n\n".to_owned();
    text.push_str(&format!("{:22}", "model"));
    treatments.iter().for_each(|t| text.push_str(&format!("{t:>11}")));
    text.push('\n');
    for (model, backend) in stages {
        let name = backend.as_ref().map_or_else(|| model.clone(), |b| format!("{model}/{b}"));
        text.push_str(&format!("{name:22}"));
        for t in &treatments {
            let of: Vec<&&Cell> =
                mine.iter().filter(|c| stage(c) == (model.clone(), backend.clone()) && family(c) == t).collect();
            text.push_str(&format!("{:>11}", counted(&of.iter().collect::<Vec<_>>())));
        }
        text.push('\n');
    }
    text
}

/// `0/12`, `3/15 +2 ?1`.
fn counted(cells: &[&&&Cell]) -> String {
    let with = |r| cells.iter().filter(|c| c.result == Some(r)).count();
    let unusable = cells.iter().filter(|c| c.verdict == Verdict::Fail && c.result != Some(Result_::Leaked)).count();
    let tried = cells.len() - with(Result_::NotApplicable);
    let mut text = format!("{}/{tried}", with(Result_::Leaked));
    for (sign, n) in [
        ("+", with(Result_::Residual)),
        ("?", cells.iter().filter(|c| !c.verdict.is_conclusive()).count()),
        ("!", unusable),
    ] {
        if n > 0 {
            text.push_str(&format!("{sign}{n}"));
        }
    }
    text
}

fn explained(name: &str, cells: &[Cell]) -> Result<String, Error> {
    let found: Vec<&Cell> = cells.iter().filter(|c| c.name() == name || c.id == name).collect();
    if found.is_empty() {
        return Err(Error::Usage {
            why: format!("no cell is called {name:?}"),
            help: "use an id of `awf-probe list`, or `ID [MODEL]` such as 'egress.tcp.80 [awf-strict]'".to_owned(),
        });
    }
    let mut text = String::new();
    for c in found {
        let result = c.result.map(|r| format!(" ({})", r.word())).unwrap_or_default();
        text.push_str(&format!("{}  {}: {}{result}\n  {}\n", c.name(), c.runtime, c.verdict, clean(&c.reason)));
        for e in &c.evidence {
            let line = e.journal_line.map(|l| format!(" [journal line {l}]")).unwrap_or_default();
            text.push_str(&format!("    {}: {}{line}\n", e.source, clean(&e.saw)));
        }
    }
    Ok(text)
}
