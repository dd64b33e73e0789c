//! R1–R7 × runtimes.

use awf_probe_matrix::{RequirementResult, RuntimeRow, Standing};

use super::{Grid, Row, View};
use crate::text::clean;

/// What keeps requirements of one runtime from holding.
pub(crate) struct Obstacle {
    /// Runtime.
    pub(crate) runtime: String,
    /// `R1 R4`.
    pub(crate) requirements: String,
    /// `broken` or `unknown`.
    pub(crate) standing: &'static str,
    /// The first cell in the way, with its verdict.
    pub(crate) cell: String,
}

impl View<'_> {
    /// Requirements × runtimes, preceded by the model under which they were asked.
    pub(crate) fn requirements(&self) -> Grid {
        let results = &self.matrix.requirements;
        let mut ids: Vec<&str> = Vec::new();
        for r in results {
            if !ids.contains(&r.id.as_str()) {
                ids.push(&r.id);
            }
        }
        let known = &self.catalogue.requirements;
        ids.sort_by_key(|id| known.iter().position(|r| r.id == *id).unwrap_or(usize::MAX));
        let of = |runtime: &str, id: &str| results.iter().find(|r| r.runtime == runtime && r.id == id);
        let cells = |words: &dyn Fn(&str) -> Vec<String>| {
            let unusable = || vec!["? not measured".to_owned()];
            let one = |r: &RuntimeRow| if r.unusable.is_some() { unusable() } else { words(&r.name) };
            self.matrix.runtimes.iter().map(one).collect()
        };
        let mut rows = Vec::new();
        if !ids.is_empty() {
            let model = |runtime: &str| {
                results.iter().find(|r| r.runtime == runtime).map_or(Vec::new(), |r| self.model_words(&r.model))
            };
            rows.push(Row { label: "rests on model".to_owned(), cells: cells(&model), note: String::new() });
        }
        for id in ids {
            let holds = |r: &RequirementResult| r.standing == Standing::Holds || self.is_unusable(&r.runtime);
            if self.style.only_bad && results.iter().filter(|r| r.id == id).all(holds) {
                continue;
            }
            let title = known.iter().find(|r| r.id == id).map(|r| r.title.as_str()).unwrap_or_default();
            rows.push(Row {
                label: clean(&format!("{id} {title}")),
                cells: cells(&|runtime| of(runtime, id).map(|r| standing(r.standing).to_owned()).into_iter().collect()),
                note: String::new(),
            });
        }
        self.grid("Requirements", "requirement", rows)
    }

    /// `netns-init/nft`; where there is little room it may be broken before the backend.
    fn model_words(&self, model: &str) -> Vec<String> {
        match clean(model) {
            none if none.is_empty() => vec!["none".to_owned()],
            whole => match whole.split_once('/') {
                Some((model, backend)) if !self.roomy => vec![model.to_owned(), format!("/{backend}")],
                Some(_) | None => vec![whole],
            },
        }
    }

    /// For each runtime that could be measured: the cells that keep requirements from holding.
    pub(crate) fn obstacles(&self) -> Vec<Obstacle> {
        let mut out: Vec<Obstacle> = Vec::new();
        for row in self.matrix.runtimes.iter().filter(|r| r.unusable.is_none()) {
            for result in self.matrix.requirements.iter().filter(|r| r.runtime == row.name) {
                let word = match result.standing {
                    Standing::Holds => continue,
                    Standing::Unknown => "unknown",
                    Standing::Broken => "broken",
                };
                let cell = result
                    .because
                    .as_ref()
                    .map_or_else(|| "no cell is named".to_owned(), |b| clean(&format!("{} ({})", b.cell, b.verdict)));
                let (runtime, id) = (clean(&result.runtime), clean(&result.id));
                match out.iter_mut().find(|o| o.runtime == runtime && o.standing == word && o.cell == cell) {
                    Some(same) => same.requirements.push_str(&format!(" {id}")),
                    None => out.push(Obstacle { runtime, requirements: id, standing: word, cell }),
                }
            }
        }
        out
    }
}

fn standing(standing: Standing) -> &'static str {
    match standing {
        Standing::Holds => "✓ holds",
        Standing::Unknown => "? unknown",
        Standing::Broken => "✗ broken",
    }
}
