//! Everything but egress: families, or capabilities one by one.

use awf_probe_matrix::Cell;

use super::{Grid, Row, View, runs, symbol, tally};
use crate::text::clean;

impl<'a> View<'a> {
    /// Families × runtimes; `full` has a row for each capability, and for each init runtime where that matters.
    pub(crate) fn families(&self) -> Grid {
        let mut cells: Vec<&'a Cell> = self.matrix.cells.iter().filter(|c| !self.is_egress(c)).collect();
        cells.sort_by_key(|c| self.place(c));
        let rows = if self.style.full { self.unfolded(&cells) } else { self.folded(&cells) };
        self.grid("Capabilities", if self.style.full { "capability" } else { "family" }, rows)
    }

    fn folded(&self, cells: &[&'a Cell]) -> Vec<Row> {
        let families = runs(cells, |c| self.family(&c.id));
        let wanted = families.into_iter().filter(|f| self.is_wanted(f));
        let row = |family: Vec<&'a Cell>| Row {
            label: clean(self.family(&family[0].id)),
            cells: self.per_runtime(&family, tally),
            note: String::new(),
        };
        wanted.map(row).collect()
    }

    fn unfolded(&self, cells: &[&'a Cell]) -> Vec<Row> {
        let rows = runs(cells, |c| (&c.id, &c.model, &c.backend));
        let wanted = rows.into_iter().filter(|r| self.is_wanted(r));
        let row = |row: Vec<&'a Cell>| Row {
            label: clean(&row[0].name()),
            cells: self.per_runtime(&row, |mine| {
                mine.iter().map(|c| format!("{} {}", symbol(c.verdict), c.verdict)).collect()
            }),
            note: self.title(&row[0].id),
        };
        wanted.map(row).collect()
    }
}
