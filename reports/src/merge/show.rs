//! The merged matrix for people and machines. Environments are numbered, as there may be a thousand of them.

use std::collections::BTreeMap;

use awf_probe_matrix::{Standing, Verdict};
use serde::Serialize;

use super::{Environment, Merge, Row, standings, verdicts};
use crate::{
    ReportError,
    markdown::{code, escape},
    text::count,
    view::symbol,
};

#[derive(Serialize)]
struct MergedV1<'a> {
    schema: &'static str,
    reports: usize,
    environments: Vec<EnvironmentV1<'a>>,
    cells: Vec<CellV1<'a>>,
    left_out: Vec<LeftOutV1<'a>>,
}

#[derive(Serialize)]
struct EnvironmentV1<'a> {
    runtime: &'a str,
    version: &'a str,
    executable: &'a str,
    host: &'a str,
    catalogue: &'a str,
    usable: bool,
    runs: usize,
    hosts: usize,
    first: &'a str,
    last: &'a str,
    requirements: BTreeMap<&'a str, Vec<&'static str>>,
}

#[derive(Serialize)]
struct CellV1<'a> {
    id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    model: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    backend: Option<&'a str>,
    /// For each environment the verdicts seen, joined by `|`; nothing where it was not asked.
    verdicts: Vec<Option<String>>,
}

#[derive(Serialize)]
struct LeftOutV1<'a> {
    file: &'a str,
    why: &'a str,
}

/// A cell whose verdict is not the same everywhere, or not always.
struct Difference {
    cell: String,
    /// Verdicts, and the numbers of the environments that had them.
    by: Vec<(String, String)>,
}

impl Merge {
    /// For machines: `awf-probe/matrix-v1`.
    pub fn json(&self) -> Result<String, ReportError> {
        let at = |e: &Environment, row: usize| e.verdicts.get(row).copied().filter(|b| *b != 0);
        let rows = self.rows.names.iter().enumerate();
        let merged = MergedV1 {
            schema: "awf-probe/matrix-v1",
            reports: self.reports,
            environments: self.environments.iter().map(|e| self.environment_v1(e)).collect(),
            cells: rows
                .filter(|(n, _)| self.environments.iter().any(|e| at(e, *n).is_some()))
                .map(|(n, r)| CellV1 {
                    id: &r.id,
                    model: r.model.as_deref(),
                    backend: r.backend.as_deref(),
                    verdicts: self.environments.iter().map(|e| at(e, n).map(words)).collect(),
                })
                .collect(),
            left_out: self.left_out.iter().map(|(file, why)| LeftOutV1 { file, why }).collect(),
        };
        Ok(serde_json::to_string_pretty(&merged)? + "\n")
    }

    fn environment_v1<'a>(&'a self, e: &'a Environment) -> EnvironmentV1<'a> {
        let seen = self.requirements.iter().zip(&e.standings).filter(|(_, bits)| **bits != 0);
        EnvironmentV1 {
            runtime: &e.runtime,
            version: &e.version,
            executable: &e.executable,
            host: &e.host,
            catalogue: &e.catalogue,
            usable: !e.unusable,
            runs: e.runs,
            hosts: e.hosts.len(),
            first: &e.started.0,
            last: &e.started.1,
            requirements: seen.map(|(id, bits)| (id.as_str(), standings(*bits).map(standing).collect())).collect(),
        }
    }

    /// For people, in a terminal. `full`: cells that are the same everywhere, and controls, too.
    pub fn text(&self, full: bool) -> String {
        let mut out = format!("{}\n", self.sum());
        for (n, e) in self.environments.iter().enumerate() {
            out.push_str(&format!("\n#{} {}  {}\n   {}\n   {}\n", n + 1, e.runtime, e.version, e.host, often(e)));
            out.push_str(&format!("   {}\n   {}\n", self.held(e).join(", "), self.tally(e).join(" ")));
        }
        for (title, all) in self.sections(full) {
            out.push_str(&format!("\n{title} ({})\n", all.len()));
            for d in all {
                let by = d.by.iter().map(|(verdict, places)| format!("{verdict} in {places}")).collect::<Vec<_>>();
                out.push_str(&format!("  {}: {}\n", d.cell, by.join("; ")));
            }
        }
        if !self.left_out.is_empty() {
            out.push_str(&format!("\nLeft out ({})\n", self.left_out.len()));
            self.left_out.iter().for_each(|(file, why)| out.push_str(&format!("  {file}: {why}\n")));
        }
        out
    }

    /// For a pull request or a job summary.
    pub fn markdown(&self, full: bool) -> String {
        let mut out = format!(
            "## awf-probe: {}\n\n| | runtime | version | host | measured | requirements | cells |\n",
            self.sum()
        );
        out.push_str("|---:|---|---|---|---|---|---|\n");
        for (n, e) in self.environments.iter().enumerate() {
            out.push_str(&format!(
                "| {} | {} | {} | {} | {} | {} | {} |\n",
                n + 1,
                code(&e.runtime),
                code(&e.version),
                code(&e.host),
                escape(&often(e)),
                escape(&self.held(e).join(", ")),
                escape(&self.tally(e).join(" "))
            ));
        }
        for (title, all) in self.sections(full) {
            out.push_str(&format!("\n### {title} ({})\n\n| cell | verdicts |\n|---|---|\n", all.len()));
            for d in all {
                let by = d.by.iter().map(|(verdict, places)| format!("{verdict} in {places}")).collect::<Vec<_>>();
                out.push_str(&format!("| {} | {} |\n", code(&d.cell), by.join("; ")));
            }
        }
        if !self.left_out.is_empty() {
            out.push_str(&format!("\n### Left out ({})\n\n| file | why |\n|---|---|\n", self.left_out.len()));
            self.left_out.iter().for_each(|(file, why)| out.push_str(&format!("| {} | {} |\n", code(file), code(why))));
        }
        out
    }

    fn sum(&self) -> String {
        let left = if self.left_out.is_empty() { String::new() } else { format!(", {} left out", self.left_out.len()) };
        format!("{} in {}{left}", count(self.reports, "report"), count(self.environments.len(), "environment"))
    }

    /// `R1 holds`, or what all runs together say: `R1 holds|broken`.
    fn held(&self, e: &Environment) -> Vec<String> {
        let seen = self.requirements.iter().zip(&e.standings).filter(|(_, bits)| **bits != 0);
        let mut all: Vec<(&String, String)> =
            seen.map(|(id, bits)| (id, standings(*bits).map(standing).collect::<Vec<_>>().join("|"))).collect();
        all.sort();
        let held = all.into_iter().map(|(id, words)| format!("{id} {words}")).collect::<Vec<_>>();
        if e.unusable {
            vec!["could not be measured".to_owned()]
        } else if held.is_empty() {
            vec!["no requirement assessed".to_owned()]
        } else {
            held
        }
    }

    /// `✓ 9`, `✗ 2`, of cells that are no controls; `! 1` is a cell that did not always come out the same.
    fn tally(&self, e: &Environment) -> Vec<String> {
        let mine = self.rows.names.iter().zip(&e.verdicts).filter(|(r, b)| **b != 0 && !self.is_control(r));
        let bits: Vec<u8> = mine.map(|(_, b)| *b).collect();
        let of = |v: Verdict| bits.iter().filter(|b| b.count_ones() == 1 && verdicts(**b).eq([v])).count();
        let counted = Verdict::ALL.into_iter().map(|v| (symbol(v), of(v)));
        let unstable = bits.iter().filter(|b| b.count_ones() > 1).count();
        let all = counted.chain([('!', unstable)]).filter(|(_, n)| *n > 0);
        all.map(|(sign, n)| format!("{sign} {n}")).collect()
    }

    fn is_control(&self, row: &Row) -> bool {
        row.model.as_ref().is_some_and(|m| self.controls.contains(m))
    }

    fn sections(&self, full: bool) -> Vec<(&'static str, Vec<Difference>)> {
        let (mut differ, mut unstable, mut same) = (Vec::new(), Vec::new(), Vec::new());
        for (n, row) in self.rows.names.iter().enumerate() {
            let mut by: BTreeMap<u8, Vec<usize>> = BTreeMap::new();
            for (at, e) in self.environments.iter().enumerate() {
                if let Some(bits) = e.verdicts.get(n).filter(|b| **b != 0) {
                    by.entry(*bits).or_default().push(at + 1);
                }
            }
            if by.is_empty() || (self.is_control(row) && !full) {
                continue;
            }
            let list = if by.keys().any(|b| b.count_ones() > 1) {
                &mut unstable
            } else if by.len() > 1 {
                &mut differ
            } else if full {
                &mut same
            } else {
                continue;
            };
            let by = by.into_iter().map(|(bits, places)| (words(bits), ranges(&places))).collect();
            list.push(Difference { cell: row.name(), by });
        }
        let all = [
            ("Cells that did not always come out the same in one environment", unstable),
            ("Cells that differ between environments", differ),
            ("Cells that are the same in every environment that has them", same),
        ];
        all.into_iter().filter(|(_, list)| !list.is_empty()).collect()
    }
}

fn words(bits: u8) -> String {
    verdicts(bits).map(Verdict::word).collect::<Vec<_>>().join("|")
}

fn standing(standing: Standing) -> &'static str {
    match standing {
        Standing::Holds => "holds",
        Standing::Unknown => "unknown",
        Standing::Broken => "broken",
    }
}

fn often(e: &Environment) -> String {
    let when =
        if e.started.0 == e.started.1 { e.started.0.clone() } else { format!("{} to {}", e.started.0, e.started.1) };
    format!("{} on {}, {when}", count(e.runs, "run"), count(e.hosts.len(), "host"))
}

/// `1-3,7`.
fn ranges(numbers: &[usize]) -> String {
    let runs = numbers.chunk_by(|a, b| a + 1 == *b);
    let one = |r: &[usize]| match r {
        [only] => format!("#{only}"),
        [first, .., last] => format!("#{first}-{last}"),
        [] => String::new(),
    };
    runs.map(one).collect::<Vec<_>>().join(",")
}
