//! `awf-probe coverage`: the rows users ask about × runtimes, and what is still open.

use awf_probe_matrix::{
    Catalogue, Matrix, Verdict,
    coverage::{Row, Tally, rows, tally},
};
use serde_json::{Value, json};

use super::{Data, explain::last_run, no_format, print};
use crate::{
    cli::CoverageArgs,
    error::{Error, Exit},
};

/// Prints it.
pub fn run(args: &CoverageArgs) -> Result<Exit, Error> {
    let data = Data::load()?;
    let rows = rows().map_err(|e| Error::Bug(e.to_string()))?;
    let matrix = last_run(&args.from)?;
    let text = match args.format.as_str() {
        "text" => text(&data.catalogue, &rows, matrix.as_ref(), &args.from.display().to_string()),
        "json" => format!("{:#}\n", json_of(&data.catalogue, &rows, matrix.as_ref())),
        other => return Err(no_format(other, "coverage", "text or json")),
    };
    print(&text)?;
    Ok(Exit::Ok)
}

/// A clause that a runtime's cells leave open, and why.
fn holes(catalogue: &Catalogue, row: &Row, runtime: &str, matrix: &Matrix) -> Vec<(String, String)> {
    let mut holes = Vec::new();
    for clause in &row.clauses {
        let tally = tally(catalogue, std::slice::from_ref(clause), runtime, &matrix.cells);
        if tally.total() == 0 {
            holes.push((clause.what.clone(), "not measured in that run".to_owned()));
        } else if tally.open > 0 {
            let open = matrix.cells.iter().find(|c| {
                c.runtime == runtime
                    && matches!(c.verdict, Verdict::Inconclusive | Verdict::Skipped)
                    && clause.capabilities(catalogue).any(|k| k.id == c.id)
            });
            let why = open.map(|c| format!("{} {}: {}", c.name(), c.verdict, c.reason)).unwrap_or_default();
            holes.push((clause.what.clone(), format!("{} of {} cells open; {why}", tally.open, tally.total())));
        }
    }
    holes
}

fn text(catalogue: &Catalogue, rows: &[Row], matrix: Option<&Matrix>, from: &str) -> String {
    let Some(matrix) = matrix else {
        let mut text = format!("No report at {from}; `awf-probe run --out DIR` makes one. What would be measured:\n\n");
        for row in rows {
            text.push_str(&format!("{}\n", row.title));
            for clause in &row.clauses {
                text.push_str(&format!("  {:>3}  {}\n", clause.capabilities(catalogue).count(), clause.what));
            }
        }
        return text;
    };
    let runtimes: Vec<&str> =
        matrix.runtimes.iter().filter(|r| r.unusable.is_none()).map(|r| r.name.as_str()).collect();
    let mut table: Vec<Vec<String>> =
        vec![["row", "clauses"].into_iter().chain(runtimes.iter().copied()).map(str::to_owned).collect()];
    for row in rows {
        let mut line = vec![row.id.clone(), row.clauses.len().to_string()];
        line.extend(runtimes.iter().map(|r| short(&tally(catalogue, &row.clauses, r, &matrix.cells))));
        table.push(line);
    }
    let mut text = format!("Run {} ({})\n\n", matrix.run.id, matrix.run.started);
    let width = |i: usize| table.iter().map(|l| l[i].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..runtimes.len() + 2).map(width).collect();
    for line in &table {
        let cells: Vec<String> = line.iter().zip(&widths).map(|(c, w)| format!("{c:w$}")).collect();
        text.push_str(&format!("  {}\n", cells.join("  ").trim_end()));
    }
    text.push_str("\n  ✓ pass, ◐ partial, ✗ fail, · not applicable, ? open (inconclusive or skipped)\n\nOpen holes\n");
    let mut any = false;
    for row in rows {
        for runtime in &runtimes {
            for (what, why) in holes(catalogue, row, runtime, matrix) {
                any = true;
                text.push_str(&format!("  {}, {runtime}: {what}: {}\n", row.id, super::explain::clean(&why)));
            }
        }
    }
    for row in matrix.runtimes.iter().filter(|r| r.unusable.is_some()) {
        any = true;
        let why = row.unusable.clone().unwrap_or_default();
        text.push_str(&format!("  every row, {}: it does not start: {}\n", row.name, super::explain::clean(&why)));
    }
    if !any {
        text.push_str("  none\n");
    }
    text
}

fn short(t: &Tally) -> String {
    let parts = [("✓", t.pass), ("◐", t.partial), ("✗", t.fail), ("·", t.not_applicable), ("?", t.open)];
    let some: Vec<String> = parts.iter().filter(|(_, n)| *n > 0).map(|(s, n)| format!("{s} {n}")).collect();
    if some.is_empty() { "–".to_owned() } else { some.join(" ") }
}

fn json_of(catalogue: &Catalogue, rows: &[Row], matrix: Option<&Matrix>) -> Value {
    let runtimes = |row: &Row| -> Vec<Value> {
        let Some(matrix) = matrix else { return vec![] };
        let one = |name: &str| {
            let t = tally(catalogue, &row.clauses, name, &matrix.cells);
            let holes: Vec<Value> = holes(catalogue, row, name, matrix)
                .into_iter()
                .map(|(clause, why)| json!({"clause": clause, "why": why}))
                .collect();
            json!({
                "runtime": name, "pass": t.pass, "partial": t.partial, "fail": t.fail,
                "not_applicable": t.not_applicable, "open": t.open, "holes": holes,
            })
        };
        matrix.runtimes.iter().map(|r| one(&r.name)).collect()
    };
    let clauses = |row: &Row| -> Vec<Value> {
        row.clauses
            .iter()
            .map(|c| {
                let ids: Vec<&str> = c.capabilities(catalogue).map(|k| k.id.as_str()).collect();
                json!({"what": c.what, "capabilities": ids})
            })
            .collect()
    };
    rows.iter()
        .map(|r| json!({"id": r.id, "title": r.title, "clauses": clauses(r), "runtimes": runtimes(r)}))
        .collect::<Vec<_>>()
        .into()
}
