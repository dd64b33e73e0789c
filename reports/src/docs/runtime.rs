//! `docs/runtimes/`: a page for each runtime, made of the reports of its measurements.

mod cells;
mod choice;

use awf_probe_matrix::{Catalogue, Cell, Fingerprint, Matrix, RequirementResult, RuntimeRow, Standing, assess_under};

use crate::{
    ReportError, Style,
    markdown::{code, escape, row},
    text::{clean, count, engine_name},
    view::View,
};

/// A runtime as it was measured on one host.
#[derive(Clone, Debug)]
pub struct Measured {
    /// The report; its cells of other runtimes are not looked at.
    pub matrix: Matrix,
    /// Where its journal or report is, from the root of the repository.
    pub file: String,
    /// Whether it is a journal that today's catalogue judged, not a report of its time.
    pub judged_now: bool,
}

/// The page of a runtime: its measurements, newest first.
pub fn runtime_page(name: &str, measured: &[Measured], catalogue: &Catalogue) -> Result<String, ReportError> {
    let mut page = format!(
        "# {}\n\n{MADE}\nWhat a runtime registered under this name did when it was measured. It says nothing of other \
         versions, hosts\nand arguments. [What the words mean](../concepts.md), [every capability](../catalogue.md), \
         [the other runtimes](README.md).\n",
        escape(name)
    );
    for one in measured {
        let Some(of) = Of::new(one, name, catalogue)? else { continue };
        of.section(&mut page)?;
    }
    Ok(page)
}

/// `docs/runtimes/README.md`: each measurement in a line.
pub fn runtimes_index(pages: &[(String, Vec<Measured>)], catalogue: &Catalogue) -> Result<String, ReportError> {
    let mut page = format!(
        "# Runtimes\n\n{MADE}\nA page for each name under which a runtime was measured, made from the journals and \
         reports in\n[reports/samples](../../reports/samples). *Keeps R1–R7 under*: the enforcement models under which \
         all seven requirements\nhold, as today's catalogue has them. *Cannot be told*: \
         the measurement is older than\nsome of the cells they rest on, and what it has of them does not fail.\n\n\
         | runtime | version | isolation | host | measured | keeps R1–R7 under |\n|---|---|---|---|---|---|\n"
    );
    for (name, measured) in pages {
        for one in measured {
            let Some(of) = Of::new(one, name, catalogue)? else { continue };
            let kept = of.stages.iter().filter(|s| s.standings().all(|x| x == Standing::Holds));
            let kept: Vec<String> = kept.map(|s| code(&s.name)).collect();
            let broken = |s: &Stage<'_>| s.standings().any(|x| x == Standing::Broken);
            let kept = match (kept.is_empty(), of.stages.iter().all(broken)) {
                (false, _) => kept.join(", "),
                (true, true) => "none".to_owned(),
                (true, false) => "cannot be told".to_owned(),
            };
            page.push_str(&row(&[
                format!("[{}]({name}.md)", escape(name)),
                code(&of.row.version),
                of.row.class.map_or("not proved", |c| c.word()).to_owned(),
                of.host(),
                day(&one.matrix.run.started).to_owned(),
                kept,
            ]));
        }
    }
    Ok(page)
}

/// A runtime's part of a report, arranged.
struct Of<'a> {
    measured: &'a Measured,
    row: &'a RuntimeRow,
    catalogue: &'a Catalogue,
    view: View<'a>,
    /// Its cells, in the catalogue's order.
    cells: Vec<&'a Cell>,
    /// Models on which requirements may rest, in the order of `models.toml`.
    stages: Vec<Stage<'a>>,
}

/// An enforcement model with its backend.
struct Stage<'a> {
    name: String,
    cells: Vec<&'a Cell>,
    requirements: Vec<RequirementResult>,
}

impl Stage<'_> {
    fn standings(&self) -> impl Iterator<Item = Standing> {
        self.requirements.iter().map(|r| r.standing)
    }
}

impl<'a> Of<'a> {
    /// None where the report is not about this runtime.
    fn new(measured: &'a Measured, name: &str, catalogue: &'a Catalogue) -> Result<Option<Self>, ReportError> {
        let matrix = &measured.matrix;
        let view = View::new(matrix, catalogue, Style { full: true, ..Style::default() }, true)?;
        let Some(row) = matrix.runtimes.iter().find(|r| r.name == name) else { return Ok(None) };
        let mut cells: Vec<&'a Cell> = matrix.cells.iter().filter(|c| c.runtime == name).collect();
        cells.sort_by_key(|c| view.place(c));
        let mut stages: Vec<Stage<'a>> = Vec::new();
        for model in view.models.iter().filter(|m| m.counts) {
            let backends: [Option<&str>; 3] = [None, Some("legacy"), Some("nft")];
            for backend in backends {
                let mine = cells.iter().copied().filter(|c| {
                    view.is_egress(c) && c.model.as_ref() == Some(&model.id) && c.backend.as_deref() == backend
                });
                let mine: Vec<&'a Cell> = mine.collect();
                if mine.is_empty() {
                    continue;
                }
                let name = backend.map_or_else(|| model.id.clone(), |b| format!("{}/{b}", model.id));
                let requirements = assess_under(catalogue, &row.name, &model.id, backend, &matrix.cells);
                stages.push(Stage { name, cells: mine, requirements });
            }
        }
        Ok(Some(Self { measured, row, catalogue, view, cells, stages }))
    }

    fn section(&self, page: &mut String) -> Result<(), ReportError> {
        let run = &self.measured.matrix.run;
        page.push_str(&format!("\n## {} on {}\n\n", code(&self.row.version), self.host()));
        page.push_str(&self.introduction());
        if let Some(why) = &self.row.unusable {
            page.push_str(&format!("\nIt could not be measured: {}\n", code(why)));
            return Ok(());
        }
        page.push_str(&self.requirements());
        page.push_str(&self.choice()?);
        page.push_str(&self.families());
        page.push_str(&self.failures());
        page.push_str(&self.ways_out());
        if run.catalogue != self.catalogue.hash {
            page.push_str("\nCells that came into the catalogue after this measurement are not in it.\n");
        }
        Ok(())
    }

    /// `Linux 6.18.44, Docker Engine 20.10.24, cgroup v1`.
    fn host(&self) -> String {
        let h = &self.measured.matrix.host;
        format!("Linux {}, {}, cgroup v{}", clean(&h.kernel), engine_name(&clean(&h.engine)), clean(&h.cgroup))
    }

    fn introduction(&self) -> String {
        let Measured { matrix, file, judged_now } = self.measured;
        let (run, host) = (&matrix.run, &matrix.host);
        let ids = self.cells.chunk_by(|a, b| a.id == b.id).count();
        let judged = if *judged_now {
            "its journal, judged by this catalogue"
        } else if run.catalogue == self.catalogue.hash {
            "its report, judged by this catalogue"
        } else {
            "its report, judged by the catalogue of that day"
        };
        let mut executable = vec![code(&self.row.fingerprint.path)];
        let mut at: &Fingerprint = &self.row.fingerprint;
        while let Some(inner) = at.wraps.as_deref() {
            executable.push(code(&inner.path));
            at = inner;
        }
        let args = self.row.fingerprint.all_args();
        let lines = [
            ("isolation, measured", self.row.class.map_or("not proved", |c| c.word()).to_owned()),
            ("executable", format!("{}, SHA-256 {}", executable.join(" → "), code(&at.sha256))),
            ("arguments", if args.is_empty() { "none".to_owned() } else { code(&args.join(" ")) }),
            ("host", escape(&format!("{}, {}, {}", host.os, host.arch, cpus(host.cpus)))),
            (
                "measured",
                format!("{}, awf-probe {}, run {}", escape(&run.started), escape(&run.version), code(&run.id)),
            ),
            ("cells", format!("{} of {ids} capabilities: [{judged}](../../{file})", self.cells.len())),
        ];
        let mut out = "| | |\n|---|---|\n".to_owned();
        lines.iter().for_each(|(what, text)| out.push_str(&row(&[(*what).to_owned(), text.clone()])));
        out
    }

    /// R1–R7 under each model, and what stands in the way.
    fn requirements(&self) -> String {
        let ids: Vec<&str> = self.catalogue.requirements.iter().map(|r| r.id.as_str()).collect();
        let head: Vec<String> = ["enforcement model"].iter().chain(&ids).map(|s| (*s).to_owned()).collect();
        let mut out = format!(
            "\n### Requirements, by enforcement model\n\n✓ holds, ✗ broken, ? cannot be told.\n\n{}|{}\n",
            row(&head),
            "---|".repeat(head.len())
        );
        let mut obstacles: Vec<(String, Standing, &str, &str, Vec<&str>)> = Vec::new();
        for stage in &self.stages {
            let mut line = vec![code(&stage.name)];
            for r in &stage.requirements {
                line.push(sign(r.standing).to_owned());
                let Some(because) = &r.because else { continue };
                // The model is told by the list behind it.
                let cell = because.cell.split(" [").next().unwrap_or_default();
                match obstacles.iter_mut().find(|o| o.1 == r.standing && o.2 == r.id && o.0 == cell) {
                    Some(known) => known.4.push(&stage.name),
                    None => obstacles.push((cell.to_owned(), r.standing, &r.id, &because.reason, vec![&stage.name])),
                }
            }
            out.push_str(&row(&line));
        }
        if !obstacles.is_empty() {
            out.push_str("\nThe first cell in the way of each:\n\n");
        }
        obstacles.sort_by_key(|(_, _, id, ..)| ids.iter().position(|i| i == id));
        for (cell, standing, id, reason, stages) in obstacles {
            let under = self.under(&stages);
            out.push_str(&format!("- {} {id}: {} {under}: {}\n", sign(standing), code(&cell), code(&bounded(reason))));
        }
        out
    }

    /// `under every model`, or which.
    fn under(&self, stages: &[&str]) -> String {
        if stages.len() == self.stages.len() {
            return "under every model".to_owned();
        }
        let rest: Vec<&str> = self.stages.iter().map(|s| s.name.as_str()).filter(|n| !stages.contains(n)).collect();
        let names = |all: &[&str]| all.iter().map(|s| code(s)).collect::<Vec<_>>().join(", ");
        if rest.len() <= 2 && rest.len() < stages.len() {
            format!("under every model but {}", names(&rest))
        } else {
            format!("under {}", names(stages))
        }
    }
}

fn cpus(n: u64) -> String {
    count(usize::try_from(n).unwrap_or(usize::MAX), "CPU")
}

fn sign(standing: Standing) -> &'static str {
    match standing {
        Standing::Holds => "✓",
        Standing::Unknown => "?",
        Standing::Broken => "✗",
    }
}

fn day(time: &str) -> &str {
    time.split('T').next().unwrap_or(time)
}

/// A reason in at most this many characters.
fn bounded(text: &str) -> String {
    let text = clean(text);
    match text.char_indices().nth(MOST_CHARS) {
        Some((at, _)) => format!("{}…", &text[..at]),
        None => text,
    }
}

const MOST_CHARS: usize = 220;
const MADE: &str = "<!-- Generated from reports/samples by `make generate`; do not edit. -->\n";
