//! `claims.tsv`: what source code, documentation and issue threads say of runtimes. Compared with what was measured,
//! never believed: no verdict looks at it.

use crate::{Cell, RuntimeRow, Verdict};

/// What somebody says of a capability under a runtime.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Says {
    /// As under runc.
    Supported,
    /// Partly, or with other semantics.
    Partial,
    /// Not, or without effect.
    Unsupported,
}

impl Says {
    /// In a word.
    pub fn word(self) -> &'static str {
        match self {
            Self::Supported => "supported",
            Self::Partial => "partial",
            Self::Unsupported => "unsupported",
        }
    }

    /// Whether a measured verdict contradicts it. An open or inapplicable cell contradicts nothing.
    pub fn differs_from(self, verdict: Verdict) -> bool {
        match verdict {
            Verdict::Pass => self != Self::Supported,
            Verdict::Partial => self == Self::Supported,
            Verdict::Fail => self == Self::Supported,
            Verdict::Inconclusive | Verdict::Skipped | Verdict::NotApplicable => false,
        }
    }
}

/// A claim about one runtime.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    /// Row of `claims.tsv`.
    pub id: String,
    /// What it is about.
    pub title: String,
    /// What is said.
    pub says: Says,
    /// Concluded from code alone by whoever collected it.
    pub inferred: bool,
    /// Of which release it is said, where that is not the one at hand.
    pub of: String,
    /// Where it is said.
    pub source: String,
}

/// A row of `claims.tsv`.
#[derive(Clone, Debug)]
struct Row {
    id: String,
    title: String,
    cells: Vec<String>,
    /// By column, as in [`COLUMNS`].
    values: Vec<String>,
    source: String,
}

/// Columns with values, in the file's order. gVisor's are the releases of these dates.
const COLUMNS: &[&str] = &["runc", "crun", "20221219", "20241217", "20260817", "20260817+raw", "20260817+host"];

/// The claims.
#[derive(Clone, Debug)]
pub struct Claims {
    rows: Vec<Row>,
}

/// A line of `claims.tsv` that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("claims.tsv line {line}: {why}")]
pub struct ClaimsError {
    line: usize,
    why: String,
}

impl Claims {
    /// The compiled-in claims.
    pub fn builtin() -> Result<Self, ClaimsError> {
        Self::parse(include_str!("../claims.tsv"))
    }

    fn parse(text: &str) -> Result<Self, ClaimsError> {
        let mut rows = Vec::new();
        for (i, line) in text.lines().enumerate().skip(1) {
            let error = |why: String| ClaimsError { line: i + 1, why };
            let fields: Vec<&str> = line.split('\t').collect();
            let [id, title, cells, values @ .., source] = fields.as_slice() else {
                return Err(error("too few columns".to_owned()));
            };
            if values.len() != COLUMNS.len() {
                return Err(error(format!("{} columns with values, not {}", values.len(), COLUMNS.len())));
            }
            if let Some(bad) = values.iter().find(|v| read(v, true).is_err()) {
                return Err(error(format!("{bad:?} is no value")));
            }
            rows.push(Row {
                id: (*id).to_owned(),
                title: (*title).to_owned(),
                cells: cells.split(' ').map(str::to_owned).collect(),
                values: values.iter().map(|v| (*v).to_owned()).collect(),
                source: (*source).to_owned(),
            });
        }
        Ok(Self { rows })
    }

    /// Every capability id that a claim is about.
    pub fn ids(&self) -> impl Iterator<Item = &str> {
        let id = |c: &'_ str| c.find('[').unwrap_or(c.len());
        self.rows.iter().flat_map(|r| r.cells.iter()).map(move |c| &c[..id(c)])
    }

    /// What is claimed of this cell. A claim names an id, or an id with a model as `id[model]`, where `SELF` is the
    /// runtime of the cell.
    pub fn of(&self, cell: &Cell, runtime: &RuntimeRow) -> Vec<Claim> {
        let name = cell.name().replace(' ', "");
        let meant = |c: &String| *c == cell.id || c.replace("SELF", &cell.runtime) == name;
        self.rows.iter().filter(|r| r.cells.iter().any(meant)).filter_map(|r| claim(r, runtime)).collect()
    }

    /// The cells that came out otherwise than claimed.
    pub fn surprises<'a>(&self, runtimes: &[RuntimeRow], cells: &'a [Cell]) -> Vec<(&'a Cell, Claim)> {
        let mut found = Vec::new();
        for cell in cells {
            let Some(row) = runtimes.iter().find(|r| r.name == cell.runtime && r.unusable.is_none()) else { continue };
            let differing = self.of(cell, row).into_iter().filter(|c| c.says.differs_from(cell.verdict));
            found.extend(differing.map(|claim| (cell, claim)));
        }
        found
    }
}

fn claim(row: &Row, runtime: &RuntimeRow) -> Option<Claim> {
    let value = |column: &str, raw: bool| {
        let i = COLUMNS.iter().position(|c| *c == column)?;
        read(&row.values[i], raw).ok().flatten()
    };
    let args = runtime.fingerprint.all_args();
    let raw = args.iter().any(|a| a.starts_with("--net-raw") && !a.ends_with("=false"));
    let (said, of) = match runtime.product.as_str() {
        "runc" => (value("runc", raw), String::new()),
        "crun" => (value("crun", raw), String::new()),
        "runsc" if args.iter().any(|a| a == "--network=host") => {
            (value("20260817+host", raw), "release 20260817".to_owned())
        }
        "runsc" => match date(&runtime.version)? {
            d if d >= 20_260_817 => (value(if raw { "20260817+raw" } else { "20260817" }, raw), String::new()),
            // Between two releases a claim counts where both are said to behave alike.
            d if d > 20_241_217 => (both(value("20241217", raw), value("20260817", raw)), String::new()),
            d if d > 20_221_219 => (both(value("20221219", raw), value("20241217", raw)), String::new()),
            20_221_219 => (value("20221219", raw), String::new()),
            _ => (None, String::new()),
        },
        _ => (None, String::new()),
    };
    let (says, inferred) = said?;
    Some(Claim { id: row.id.clone(), title: row.title.clone(), says, inferred, of, source: row.source.clone() })
}

fn both(a: Option<(Says, bool)>, b: Option<(Says, bool)>) -> Option<(Says, bool)> {
    match (a, b) {
        (Some((a, x)), Some((b, y))) if a == b => Some((a, x || y)),
        _ => None,
    }
}

/// A value: `S` supported, `P` partial, `U` unsupported, `N` unsupported but for `--net-raw` (`N(P)`: partial then),
/// `?` and `-` nothing; `°` marks what was inferred from code.
fn read(value: &str, raw: bool) -> Result<Option<(Says, bool)>, ()> {
    let plain = value.trim_end_matches('°');
    let says = match plain {
        "S" => Says::Supported,
        "P" => Says::Partial,
        "U" => Says::Unsupported,
        "N" => {
            if raw {
                Says::Supported
            } else {
                Says::Unsupported
            }
        }
        "N(P)" => {
            if raw {
                Says::Partial
            } else {
                Says::Unsupported
            }
        }
        "?" | "-" | "" => return Ok(None),
        _ => return Err(()),
    };
    Ok(Some((says, plain != value)))
}

/// The eight digits of a gVisor release in what `--version` prints.
fn date(version: &str) -> Option<u32> {
    let mut words = version.split(|c: char| !c.is_ascii_digit());
    words.find(|w| w.len() == 8 && w.starts_with("20"))?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Fingerprint;

    fn row(product: &str, version: &str, args: &[&str]) -> RuntimeRow {
        RuntimeRow {
            name: product.to_owned(),
            version: version.to_owned(),
            product: product.to_owned(),
            fingerprint: Fingerprint { args: args.iter().map(|a| (*a).to_owned()).collect(), ..Fingerprint::default() },
            class: None,
            unusable: None,
            notes: vec![],
        }
    }

    fn cell(id: &str, runtime: &str, verdict: Verdict) -> Cell {
        Cell {
            id: id.to_owned(),
            runtime: runtime.to_owned(),
            model: None,
            backend: None,
            verdict,
            reason: String::new(),
            result: None,
            evidence: vec![],
            rejection: None,
            counts: std::collections::BTreeMap::new(),
        }
    }

    const TEXT: &str = "id\ttitle\tcells\trunc\tcrun\ta\tb\tc\td\te\tsource\n\
        X1\tlegacy DNAT\tn.dnat n.other[init=runc]\tS\tS\tU\tN\tN\tS\tU\tgoogle/gvisor\n\
        X2\tthing\tn.thing\tS\t?\tU\tU\tP°\tS\tS°\tsomewhere\n";

    #[test]
    fn a_claim_is_that_of_the_release_and_its_flags() {
        let claims = Claims::parse(TEXT).expect("parses");
        let says = |id: &str, runtime: &RuntimeRow| {
            claims.of(&cell(id, &runtime.name, Verdict::Pass), runtime).first().map(|c| c.says)
        };
        assert_eq!(says("n.dnat", &row("runc", "runc version 1.1.5", &[])), Some(Says::Supported));
        // 20240729 lies between two releases that differ here, and between two that agree there.
        let old = "runsc version 0.0~20240729.0";
        assert_eq!(says("n.dnat", &row("runsc", old, &[])), Some(Says::Unsupported));
        assert_eq!(says("n.dnat", &row("runsc", old, &["--net-raw"])), None);
        assert_eq!(says("n.thing", &row("runsc", old, &[])), Some(Says::Unsupported));
        let new = "runsc version release-20260901.0";
        assert_eq!(says("n.dnat", &row("runsc", new, &[])), Some(Says::Unsupported));
        assert_eq!(says("n.dnat", &row("runsc", new, &["--net-raw"])), Some(Says::Supported));
        assert_eq!(says("n.thing", &row("runsc", new, &["--network=host"])), Some(Says::Supported));
        assert_eq!(says("n.dnat", &row("youki", "youki 0.5", &[])), None);
    }

    #[test]
    fn a_surprise_is_a_conclusive_cell_that_differs() {
        let claims = Claims::parse(TEXT).expect("parses");
        let runtimes = [row("runc", "runc version 1.1.5", &[])];
        let found = |verdict| claims.surprises(&runtimes, &[cell("n.dnat", "runc", verdict)]).len();
        assert_eq!(found(Verdict::Pass), 0);
        assert_eq!(found(Verdict::Fail), 1);
        assert_eq!(found(Verdict::Partial), 1);
        assert_eq!(found(Verdict::Inconclusive), 0);
        // The model is part of what a claim is about.
        assert_eq!(claims.surprises(&runtimes, &[cell("n.other", "runc", Verdict::Fail)]).len(), 0);
    }

    #[test]
    fn a_bad_line_is_named() {
        let error = Claims::parse("head\nX1\tt\tc\tS\tS\tS\tS\tS\tS\tmaybe\ts\n").expect_err("no value");
        assert_eq!(error.to_string(), "claims.tsv line 2: \"maybe\" is no value");
    }
}
