//! Where a report comes from, what ran, and how it ended.

use awf_probe_matrix::{Fingerprint, RuntimeRow};

use super::View;
use crate::text::{clean, count, duration, engine_name};

/// A runtime as it is introduced.
pub(crate) struct Introduction {
    /// Name as the engine knows it.
    pub(crate) name: String,
    /// Product and version.
    pub(crate) version: String,
    /// Measured isolation, or that there is none.
    pub(crate) class: String,
    /// The wrapper it runs through, or why it could not be measured.
    pub(crate) remarks: Vec<String>,
}

impl View<'_> {
    /// What the report is bound to: subject and text.
    pub(crate) fn header(&self) -> Vec<(&'static str, String)> {
        let (run, host) = (&self.matrix.run, &self.matrix.host);
        let known = |text: &str| if text.is_empty() { "unknown".to_owned() } else { clean(text) };
        let driver = clean(&host.cgroup_driver);
        let driver = if driver.is_empty() { driver } else { format!(" ({driver})") };
        let about = [&host.arch, &host.os].map(|t| clean(t)).into_iter().filter(|t| !t.is_empty()).collect::<Vec<_>>();
        let engine = format!(
            "{}, cgroup v{}{}, default runtime {}",
            engine_name(&known(&host.engine)),
            known(&host.cgroup),
            driver,
            known(&host.default_runtime)
        );
        vec![
            ("run", format!("{}, {}, awf-probe {}", known(&run.id), known(&run.started), known(&run.version))),
            (
                "host",
                [vec![format!("kernel {}", known(&host.kernel))], about, vec![count_cpus(host.cpus)]]
                    .concat()
                    .join(", "),
            ),
            ("engine", engine),
            (
                "lab",
                format!(
                    "proxy {}, documents {}, tools {}",
                    known(&run.proxy),
                    known(&run.document_range),
                    known(&run.tools)
                ),
            ),
        ]
    }

    /// The runtimes.
    pub(crate) fn introductions(&self) -> Vec<Introduction> {
        self.matrix.runtimes.iter().map(introduce).collect()
    }

    /// How much was measured, what is left on the host, how long it took.
    pub(crate) fn footer(&self) -> Vec<(&'static str, String)> {
        let (coverage, left) = (self.matrix.coverage, &self.matrix.leftovers);
        let share =
            (coverage.measured * 100).checked_div(coverage.total).map(|p| format!(" ({p} %)")).unwrap_or_default();
        let measured = format!(
            "{} of {} cells measured{share}, {} examined",
            coverage.measured, coverage.total, coverage.examined
        );
        let list = |items: &[String]| items.iter().map(|i| clean(i)).collect::<Vec<_>>().join("; ");
        let mut leftovers = match (left.ours.as_slice(), left.checked) {
            ([], true) => "nothing left on the host".to_owned(),
            ([], false) => "not checked".to_owned(),
            (ours, _) => format!("{} left on the host: {}", count(ours.len(), "thing"), list(ours)),
        };
        if !left.others.is_empty() {
            // On a busy host, as beside another run, this is a list of hundreds; the report has all of it.
            let (shown, more) = left.others.split_at(left.others.len().min(OTHERS));
            leftovers.push_str(&format!("; changed by something else meanwhile: {}", list(shown)));
            if !more.is_empty() {
                leftovers.push_str(&format!("; and {} more, in report.json", more.len()));
            }
        }
        let end = if self.matrix.run.complete { "" } else { "; the run did not come to its end" };
        let mut lines = vec![("coverage", measured), ("leftovers", leftovers)];
        if let Some(defect) = &self.matrix.run.sabotage {
            let what = format!("{}, put in on purpose: none of this holds of the runtimes", clean(defect));
            lines.push(("defect", what));
        }
        if let Some(times) = self.matrix.run.repeats {
            let waver = self.matrix.cells.iter().filter(|c| c.counts.len() > 1).count();
            let waver =
                if waver == 0 { "no cell wavers".to_owned() } else { format!("{} unstable", count(waver, "cell")) };
            lines.push((
                "repeated",
                format!("measured {}, {waver}", count(usize::try_from(times).unwrap_or(usize::MAX), "time")),
            ));
        }
        lines.push(("elapsed", format!("{}{end}", duration(self.matrix.run.elapsed_ms))));
        lines
    }
}

/// Changes by something else that are written out.
const OTHERS: usize = 3;

fn introduce(row: &RuntimeRow) -> Introduction {
    let (version, product) = (clean(&row.version), clean(&row.product));
    let named = version.to_lowercase().starts_with(&product.to_lowercase());
    let version = match (version.is_empty(), product.is_empty()) {
        (true, true) => "version unknown".to_owned(),
        (true, false) => product,
        (false, _) if named => version,
        (false, _) => format!("{product}: {version}"),
    };
    let class = match (row.class, &row.unusable) {
        (_, Some(_)) => "not measured",
        (Some(class), None) => class.word(),
        (None, None) => "isolation not proved",
    };
    let mut remarks = Vec::new();
    if row.fingerprint.wraps.is_some() {
        remarks.push(format!("via {}", chain(&row.fingerprint)));
    }
    if let Some(why) = &row.unusable {
        remarks.push(format!("unusable: {}", clean(why)));
    }
    Introduction { name: clean(&row.name), version, class: class.to_owned(), remarks }
}

/// `wrapper → target`.
fn chain(fingerprint: &Fingerprint) -> String {
    let rest = fingerprint.wraps.as_deref().map(|w| format!(" → {}", chain(w))).unwrap_or_default();
    format!("{}{rest}", clean(&fingerprint.path))
}

fn count_cpus(cpus: u64) -> String {
    count(usize::try_from(cpus).unwrap_or(usize::MAX), "CPU")
}
