//! What the page's script is given: every text clean, every repeated text once.

use std::collections::HashMap;

use awf_probe_matrix::{Capability, Cell, EgressWant, InitUnder, Model, ModelNetwork, Result_, Standing, Verdict};
use serde::Serialize;

use crate::{Style, text::clean, view::View};

/// The report as the page reads it.
#[derive(Serialize)]
pub(super) struct Page {
    head: Vec<(&'static str, String)>,
    foot: Vec<(&'static str, String)>,
    verdicts: [&'static str; 6],
    results: [&'static str; 8],
    runtimes: Vec<Runtime>,
    requirements: Vec<Requirement>,
    models: Vec<Enforcement>,
    capabilities: Vec<About>,
    /// Every text of a cell, once.
    texts: Vec<String>,
    cells: Vec<Row>,
    /// Whether the page opens with what is not a pass alone.
    only_bad: bool,
}

#[derive(Serialize)]
struct Runtime {
    name: String,
    class: String,
    version: String,
    remarks: Vec<String>,
}

#[derive(Serialize)]
struct Requirement {
    id: String,
    title: String,
    /// Runtime, standing, model, the cell in the way and its reason.
    by: Vec<(usize, &'static str, String, String, String)>,
}

#[derive(Serialize)]
struct Enforcement {
    id: String,
    title: String,
    from: String,
    counts: bool,
    /// What stands between the agent and the way out.
    parts: Vec<&'static str>,
}

#[derive(Serialize)]
struct About {
    id: String,
    family: String,
    title: String,
    kind: &'static str,
    egress: bool,
    expected: Vec<String>,
    why: String,
    how: String,
    control: String,
    remedy: String,
    sources: Vec<String>,
}

/// Capability, runtime, model and backend (texts, 0 for none), verdict, result (-1 for none), reason, control, evidence,
/// and how many pieces of evidence are left out.
type Row = (usize, usize, usize, usize, usize, i8, usize, u8, Vec<(usize, usize, u64)>, usize);

impl Page {
    pub(super) fn of(view: &View<'_>, style: Style) -> Self {
        let matrix = view.matrix;
        let runtimes: HashMap<&str, usize> =
            matrix.runtimes.iter().enumerate().map(|(at, r)| (r.name.as_str(), at)).collect();
        let mut texts = Texts::new();
        let mut places: HashMap<&str, usize> = HashMap::new();
        let mut capabilities = Vec::new();
        let mut ordered: Vec<&Cell> = matrix.cells.iter().collect();
        ordered.sort_by_key(|c| view.place(c));
        let mut cells = Vec::with_capacity(ordered.len());
        for cell in ordered {
            let Some(runtime) = runtimes.get(cell.runtime.as_str()) else { continue };
            let capability = *places.entry(&cell.id).or_insert_with(|| {
                capabilities.push(about(view, cell));
                capabilities.len() - 1
            });
            let evidence = cell.evidence.iter().take(MOST_EVIDENCE);
            cells.push((
                capability,
                *runtime,
                texts.place(cell.model.as_deref().unwrap_or_default()),
                texts.place(cell.backend.as_deref().unwrap_or_default()),
                Verdict::ALL.into_iter().position(|v| v == cell.verdict).unwrap_or_default(),
                cell.result.map_or(-1, place_of),
                texts.place(&cell.reason),
                u8::from(view.is_control(cell)),
                evidence.map(|e| (texts.place(&e.source), texts.place(&e.saw), e.journal_line.unwrap_or(0))).collect(),
                cell.evidence.len().saturating_sub(MOST_EVIDENCE),
            ));
        }
        Self {
            head: view.header(),
            foot: view.footer(),
            verdicts: Verdict::ALL.map(Verdict::word),
            results: RESULTS.map(Result_::word),
            runtimes: view
                .introductions()
                .into_iter()
                .map(|i| Runtime { name: i.name, class: i.class, version: i.version, remarks: i.remarks })
                .collect(),
            requirements: requirements(view, &runtimes),
            models: view.models.iter().map(enforcement).collect(),
            capabilities,
            texts: texts.all,
            cells,
            only_bad: style.only_bad,
        }
    }
}

fn requirements(view: &View<'_>, runtimes: &HashMap<&str, usize>) -> Vec<Requirement> {
    let mut all: Vec<Requirement> = Vec::new();
    for r in &view.matrix.requirements {
        let Some(runtime) = runtimes.get(r.runtime.as_str()) else { continue };
        let id = clean(&r.id);
        let at = all.iter().position(|x| x.id == id).unwrap_or_else(|| {
            let known = view.catalogue.requirements.iter().find(|k| k.id == r.id);
            let title = known.map(|k| clean(&k.title)).unwrap_or_default();
            all.push(Requirement { id: id.clone(), title, by: Vec::new() });
            all.len() - 1
        });
        let standing = match r.standing {
            Standing::Holds => "holds",
            Standing::Unknown => "unknown",
            Standing::Broken => "broken",
        };
        let (cell, reason) = r.because.as_ref().map(|b| (shortened(&b.cell), shortened(&b.reason))).unwrap_or_default();
        all[at].by.push((*runtime, standing, clean(&r.model), cell, reason));
    }
    all
}

fn enforcement(model: &Model) -> Enforcement {
    let mut parts = Vec::new();
    if model.in_agent {
        parts.push("rules the agent's entrypoint installs");
    }
    match model.init {
        InitUnder::None => {}
        InitUnder::Default => parts.push("rules of an init container (default runtime)"),
        InitUnder::Own => parts.push("rules of an init container (own runtime)"),
    }
    match model.network {
        ModelNetwork::Lab => {}
        ModelNetwork::Internal => parts.push("a network without a way out"),
        ModelNetwork::Guarded => parts.push("a chain on the host"),
        ModelNetwork::Redirected => parts.push("a chain and a redirection on the host"),
    }
    if model.proxy_env {
        parts.push("proxy variables");
    }
    Enforcement {
        id: clean(&model.id),
        title: clean(&model.title),
        from: clean(&model.from),
        counts: model.counts,
        parts,
    }
}

fn about(view: &View<'_>, cell: &Cell) -> About {
    let family = clean(view.family(&cell.id));
    let Some(c) = view.capability(&cell.id) else {
        return About {
            id: shortened(&cell.id),
            family,
            title: "this awf-probe does not know it".to_owned(),
            kind: "",
            egress: view.is_egress(cell),
            expected: Vec::new(),
            why: String::new(),
            how: String::new(),
            control: String::new(),
            remedy: String::new(),
            sources: Vec::new(),
        };
    };
    About {
        id: clean(&c.id),
        family,
        title: clean(&c.title),
        kind: match c.kind {
            awf_probe_matrix::Kind::Works => "works",
            awf_probe_matrix::Kind::Contained => "contained",
            awf_probe_matrix::Kind::Egress => "egress",
        },
        egress: view.is_egress(cell),
        expected: expected(c),
        why: clean(&c.why),
        how: clean(&c.how),
        control: clean(&c.control),
        remedy: clean(&c.remedy),
        sources: c.sources.iter().map(|s| clean(s)).collect(),
    }
}

fn expected(c: &Capability) -> Vec<String> {
    let wanted = c.want.map(|w| match w {
        EgressWant::Contained => "it arrives nowhere, or at the proxy",
        EgressWant::Denied => "it arrives at the proxy, which refuses it",
        EgressWant::Served => "it arrives at its destination, through the proxy",
    });
    let conditions = c.pass.iter().map(|p| clean(&format!("{} is {}", p.key, p.wanted())));
    wanted.map(str::to_owned).into_iter().chain(conditions).collect()
}

/// Texts by place, each kept once; the first is empty.
struct Texts {
    all: Vec<String>,
    places: HashMap<String, usize>,
}

impl Texts {
    fn new() -> Self {
        Self { all: vec![String::new()], places: HashMap::from([(String::new(), 0)]) }
    }

    fn place(&mut self, text: &str) -> usize {
        let text = shortened(text);
        if let Some(at) = self.places.get(&text) {
            return *at;
        }
        self.all.push(text.clone());
        self.places.insert(text, self.all.len() - 1);
        self.all.len() - 1
    }
}

/// The journal has the whole of it.
fn shortened(text: &str) -> String {
    let text = clean(text);
    match text.char_indices().nth(MOST_CHARS) {
        Some((at, _)) => format!("{}…", &text[..at]),
        None => text,
    }
}

fn place_of(result: Result_) -> i8 {
    match result {
        Result_::Leaked => 0,
        Result_::Residual => 1,
        Result_::Served => 2,
        Result_::Proxied => 3,
        Result_::Blocked => 4,
        Result_::RefusedAtSource => 5,
        Result_::Inconclusive => 6,
        Result_::NotApplicable => 7,
    }
}

/// In the order of `place_of`.
const RESULTS: [Result_; 8] = [
    Result_::Leaked,
    Result_::Residual,
    Result_::Served,
    Result_::Proxied,
    Result_::Blocked,
    Result_::RefusedAtSource,
    Result_::Inconclusive,
    Result_::NotApplicable,
];

const MOST_EVIDENCE: usize = 12;
const MOST_CHARS: usize = 600;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_result_has_the_place_of_its_word() {
        for (at, result) in RESULTS.into_iter().enumerate() {
            assert_eq!(usize::try_from(place_of(result)), Ok(at));
        }
    }
}
