//! The matrix arranged for people: grids and lists that the terminal and Markdown lay out each in their own way.
//!
//! Every text that leaves this module is clean: one line, no escape sequences.

mod egress;
mod families;
mod reasons;
mod requirements;
mod summary;

use std::collections::HashMap;

use awf_probe_matrix::{Capability, Catalogue, Cell, Matrix, Model, RuntimeRow, Scope, Verdict, models};

pub(crate) use reasons::Reason;

use crate::{ReportError, Style, text::clean};

/// A table of runtimes.
pub(crate) struct Grid {
    /// Heading.
    pub(crate) title: String,
    /// What the rows are.
    pub(crate) corner: &'static str,
    /// Names of the runtimes.
    pub(crate) columns: Vec<String>,
    /// The rows.
    pub(crate) rows: Vec<Row>,
}

/// A row of a grid.
pub(crate) struct Row {
    /// What the row is about.
    pub(crate) label: String,
    /// For each runtime: phrases that should not be broken.
    pub(crate) cells: Vec<Vec<String>>,
    /// What the label means, where there is room for it.
    pub(crate) note: String,
}

/// A matrix, what is needed to read it, and how much of it is wanted.
pub(crate) struct View<'a> {
    pub(crate) matrix: &'a Matrix,
    pub(crate) catalogue: &'a Catalogue,
    places: HashMap<&'a str, (usize, &'a Capability)>,
    pub(crate) models: Vec<Model>,
    style: Style,
    /// Whether cells may hold more than the verdict.
    roomy: bool,
}

impl<'a> View<'a> {
    pub(crate) fn new(
        matrix: &'a Matrix,
        catalogue: &'a Catalogue,
        style: Style,
        roomy: bool,
    ) -> Result<Self, ReportError> {
        let models = models().map_err(|e| ReportError::Models(e.to_string()))?;
        let places = catalogue.capabilities.iter().enumerate().map(|(at, c)| (c.id.as_str(), (at, c))).collect();
        Ok(Self { matrix, catalogue, places, models, style, roomy })
    }

    fn grid(&self, title: impl Into<String>, corner: &'static str, rows: Vec<Row>) -> Grid {
        Grid { title: title.into(), corner, columns: self.names(), rows }
    }

    /// Names of the runtimes, in the report's order.
    pub(crate) fn names(&self) -> Vec<String> {
        self.matrix.runtimes.iter().map(|r| clean(&r.name)).collect()
    }

    /// One entry for each runtime, made of its own cells among these.
    fn per_runtime(&self, cells: &[&'a Cell], of: impl Fn(&[&'a Cell]) -> Vec<String>) -> Vec<Vec<String>> {
        let mine = |r: &RuntimeRow| cells.iter().copied().filter(|c| c.runtime == r.name).collect::<Vec<_>>();
        self.matrix.runtimes.iter().map(|r| of(&mine(r))).collect()
    }

    /// Whether a row made of these cells is worth its line.
    fn is_wanted(&self, cells: &[&Cell]) -> bool {
        !self.style.only_bad || cells.iter().any(|c| is_bad(c.verdict) && !self.is_unusable(&c.runtime))
    }

    fn is_unusable(&self, runtime: &str) -> bool {
        self.matrix.runtimes.iter().any(|r| r.name == runtime && r.unusable.is_some())
    }

    pub(crate) fn capability(&self, id: &str) -> Option<&'a Capability> {
        self.places.get(id).map(|(_, c)| *c)
    }

    /// Position in the matrix; what this catalogue does not know comes last, by name.
    pub(crate) fn place(&self, cell: &'a Cell) -> (usize, &'a str, usize, &'a str, &'a str) {
        let at = self.places.get(cell.id.as_str()).map_or(usize::MAX, |(at, _)| *at);
        let model = cell.model.as_deref().unwrap_or_default();
        let nth = self.models.iter().position(|m| m.id == model).unwrap_or(usize::MAX);
        (at, &cell.id, nth, model, cell.backend.as_deref().unwrap_or_default())
    }

    pub(crate) fn family(&self, id: &'a str) -> &'a str {
        self.capability(id).map_or_else(|| id.split('.').next().unwrap_or(id), |c| c.family.as_str())
    }

    /// What the capability asks, in a line; empty if this catalogue does not know it.
    fn title(&self, id: &str) -> String {
        self.capability(id).map(|c| clean(&c.title)).unwrap_or_default()
    }

    pub(crate) fn is_egress(&self, cell: &Cell) -> bool {
        self.capability(&cell.id).map_or(cell.result.is_some(), |c| c.scope == Scope::Egress)
    }

    /// Whether anything was measured only to show what happens without enforcement.
    pub(crate) fn has_controls(&self) -> bool {
        self.matrix.cells.iter().any(|c| self.is_control(c))
    }

    /// Whether the cell belongs to a model on which no requirement may rest.
    pub(crate) fn is_control(&self, cell: &Cell) -> bool {
        self.is_egress(cell)
            && cell.model.as_deref().is_some_and(|m| self.models.iter().any(|k| k.id == m && !k.counts))
    }
}

/// Anything to look at: neither passed nor out of the question.
pub(crate) fn is_bad(verdict: Verdict) -> bool {
    match verdict {
        Verdict::Pass | Verdict::NotApplicable => false,
        Verdict::Partial | Verdict::Fail | Verdict::Inconclusive | Verdict::Skipped => true,
    }
}

/// The sign of a verdict in tables for people.
pub(crate) fn symbol(verdict: Verdict) -> char {
    match verdict {
        Verdict::Pass => '✓',
        Verdict::Partial => '◐',
        Verdict::Fail => '✗',
        Verdict::Inconclusive => '?',
        Verdict::Skipped => '–',
        Verdict::NotApplicable => '·',
    }
}

/// `✓ pass`, `◐ partial`, ….
pub(crate) fn legend() -> Vec<String> {
    Verdict::ALL.map(|v| format!("{} {v}", symbol(v))).into_iter().chain(["blank: not asked".to_owned()]).collect()
}

/// `✓ 9`, `✗ 2`: how many cells say what, best first.
fn tally(cells: &[&Cell]) -> Vec<String> {
    let count = |v| cells.iter().filter(|c| c.verdict == v).count();
    let counted = Verdict::ALL.into_iter().map(|v| (v, count(v))).filter(|(_, n)| *n > 0);
    counted.map(|(v, n)| format!("{} {n}", symbol(v))).collect()
}

/// Consecutive cells with the same key.
fn runs<'c, K: PartialEq>(cells: &[&'c Cell], key: impl Fn(&'c Cell) -> K) -> Vec<Vec<&'c Cell>> {
    let chunks = cells.chunk_by(|a, b| key(a) == key(b));
    chunks.map(<[&Cell]>::to_vec).collect()
}

/// What a model marked as a control is.
pub(crate) const CONTROLS: &str =
    "(control): what gets out where nothing enforces; leaks are expected, and no requirement rests on it";
