//! Which reports may be believed: of this host, this catalogue, these bytes, fresh, whole, and not contradicted.

use std::collections::BTreeMap;

use super::{Live, Question, Source, view::Cells};
use crate::{Cell, Fingerprint, Host, Matrix, RuntimeRow, Verdict};

/// The matrix of a source, or why it does not count.
pub(super) fn usable<'a>(source: &'a Source, q: &Question<'_>) -> Result<&'a Matrix, String> {
    let matrix = source.content.as_ref().map_err(|u| u.why.clone())?;
    if matrix.run.catalogue != q.catalogue.hash {
        return Err("it was judged by another catalogue; judge its journal again with --rejudge".to_owned());
    }
    if let Some(defect) = &matrix.run.sabotage {
        return Err(format!("it was measured with a defect put in on purpose: {defect}"));
    }
    if !matrix.run.complete {
        return Err("its run was cut off".to_owned());
    }
    if !matrix.leftovers.checked || !matrix.leftovers.ours.is_empty() {
        return Err("its run did not leave the host as it was, or nobody looked".to_owned());
    }
    let Some(started) = instant(&matrix.run.started) else {
        return Err(format!("its time {:?} cannot be read", matrix.run.started));
    };
    if started > q.now {
        return Err(format!("it is from the future ({}); check the clock", matrix.run.started));
    }
    if q.now - started > q.max_age {
        return Err(format!("it is {} old, over the limit of {}", span(q.now - started), span(q.max_age)));
    }
    if let Some(live) = q.live
        && let Some(difference) = host_difference(&matrix.host, &live.host)
    {
        return Err(format!("it is of another host, or of this one before a change: {difference}"));
    }
    Ok(matrix)
}

/// The first thing in which two hosts differ that a report is bound to.
pub fn host_difference(report: &Host, other: &Host) -> Option<String> {
    let fields = |h: &Host| {
        let mut security = h.security.clone();
        security.sort();
        [
            ("kernel", h.kernel.clone()),
            ("operating system", h.os.clone()),
            ("architecture", h.arch.clone()),
            ("engine version", h.engine.clone()),
            ("engine id", h.engine_id.clone()),
            ("cgroup version", h.cgroup.clone()),
            ("cgroup driver", h.cgroup_driver.clone()),
            ("default runtime", h.default_runtime.clone()),
            ("security options", security.join(", ")),
            ("settings", h.settings.iter().map(|(k, v)| format!("{k}={v}")).collect::<Vec<_>>().join(", ")),
        ]
    };
    let pairs = fields(report).into_iter().zip(fields(other));
    pairs.into_iter().find(|((_, a), (_, b))| a != b).map(|((name, a), (_, b))| format!("{name} {a:?}, here {b:?}"))
}

/// Why a row is not about the runtime that is registered now.
pub(super) fn runtime_difference(row: &RuntimeRow, live: Option<&Live>) -> Option<String> {
    let bound = !row.fingerprint.sha256.is_empty();
    if !bound && row.unusable.is_none() {
        return Some("the report does not say which bytes the runtime's executable has".to_owned());
    }
    let live = live?;
    match live.runtimes.get(&row.name) {
        None => Some("the engine does not know this runtime any more".to_owned()),
        Some(now) => fingerprint_difference(&row.fingerprint, now),
    }
}

fn fingerprint_difference(then: &Fingerprint, now: &Fingerprint) -> Option<String> {
    if then.path != now.path {
        return Some(format!("it was measured at {}, now it is {}", then.path, now.path));
    }
    if then.args != now.args {
        return Some(format!("it was measured with the arguments {:?}, now it has {:?}", then.args, now.args));
    }
    if then.sha256 != now.sha256 {
        return Some(format!("the executable {} has other bytes now", then.path));
    }
    // A report and the host may know different files; those both know must be the same.
    let changed = then.files.iter().find(|(path, hash)| now.files.get(*path).is_some_and(|h| h != *hash));
    if let Some((path, _)) = changed {
        return Some(format!("{path} has other bytes now"));
    }
    match (&then.wraps, &now.wraps) {
        (None, None) => None,
        (Some(a), Some(b)) => fingerprint_difference(a, b),
        (Some(_), None) | (None, Some(_)) => Some("its wrapper hands over to something else now".to_owned()),
    }
}

/// A runtime as the reports that count have it.
#[derive(Debug)]
pub(super) struct Merged<'a> {
    pub(super) source: &'a str,
    pub(super) matrix: &'a Matrix,
    pub(super) row: &'a RuntimeRow,
    pub(super) cells: Cells<'a>,
}

/// One runtime out of every report that has it: the fullest, weakened by what another could not tell. Two that say
/// different things are believed neither time.
pub(super) fn merge<'a>(
    name: &str,
    reports: &[(&'a Source, &'a Matrix)],
) -> Result<Option<Merged<'a>>, (String, String)> {
    let mut found: Vec<Merged<'a>> = Vec::new();
    for (source, matrix) in reports {
        if let Some(row) = matrix.runtimes.iter().find(|r| r.name == name) {
            let cells = matrix.cells.iter().filter(|c| c.runtime == name).map(|c| (key(c), c)).collect();
            found.push(Merged { source: &source.name, matrix, row, cells });
        }
    }
    // The fullest first; of equally full ones the newest; then by run, so that the order of arguments is nothing.
    found.sort_by(|a, b| {
        let rank = |m: &Merged<'_>| (m.cells.len(), m.matrix.run.started.clone(), m.matrix.run.id.clone());
        rank(b).cmp(&rank(a))
    });
    let mut found = found.into_iter();
    let Some(mut best) = found.next() else { return Ok(None) };
    for other in found {
        let contradiction = |what: String| (other.source.to_owned(), format!("contradicts {}: {what}", best.source));
        if let Some(d) = fingerprint_difference(&best.row.fingerprint, &other.row.fingerprint) {
            return Err(contradiction(d));
        }
        if best.row.version != other.row.version || best.row.class != other.row.class {
            return Err(contradiction(format!("{} and {}", best.row.version, other.row.version)));
        }
        if best.row.unusable.is_some() != other.row.unusable.is_some() {
            return Err(contradiction("it starts in one and not in the other".to_owned()));
        }
        for (key, theirs) in &other.cells {
            let Some(ours) = best.cells.get(key).copied() else { continue };
            if ours.verdict == theirs.verdict {
                continue;
            }
            if ours.verdict.is_conclusive() && theirs.verdict.is_conclusive() {
                return Err(contradiction(format!("{} is {} and {}", ours.name(), ours.verdict, theirs.verdict)));
            }
            if ours.verdict.is_conclusive() {
                best.cells.insert(*key, theirs);
            }
        }
    }
    Ok(Some(best))
}

fn key(cell: &Cell) -> (&str, Option<&str>, Option<&str>) {
    (&cell.id, cell.model.as_deref(), cell.backend.as_deref())
}

/// Whether a cell of kind `contained` left something of the host within reach. Not told counts as reached.
pub(super) fn reached(verdict: Option<Verdict>) -> bool {
    match verdict {
        Some(Verdict::Pass | Verdict::NotApplicable) => false,
        Some(Verdict::Partial | Verdict::Fail | Verdict::Inconclusive | Verdict::Skipped) | None => true,
    }
}

/// RFC 3339 in UTC as seconds since 1970.
pub fn instant(text: &str) -> Option<u64> {
    let b = text.as_bytes();
    let shape = b.len() == 20 && b[4] == b'-' && b[7] == b'-' && b[10] == b'T' && b[13] == b':' && b[16] == b':';
    if !shape || b[19] != b'Z' || !text.is_ascii() {
        return None;
    }
    let number = |from: usize, to: usize| text[from..to].parse::<u64>().ok().filter(|_| b[from].is_ascii_digit());
    let (year, month, day) = (number(0, 4)?, number(5, 7)?, number(8, 10)?);
    let (hour, minute, second) = (number(11, 13)?, number(14, 16)?, number(17, 19)?);
    if year < 1970 || !(1..=12).contains(&month) || !(1..=31).contains(&day) || hour > 23 || minute > 59 || second > 60
    {
        return None;
    }
    // Civil date to days: years that begin in March, eras of 400 years.
    let y = if month <= 2 { year - 1 } else { year };
    let (era, of_era) = (y / 400, y % 400);
    let of_year = (153 * (if month > 2 { month - 3 } else { month + 9 }) + 2) / 5 + day - 1;
    let days = era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year;
    Some((days - 719_468) * 86_400 + hour * 3600 + minute * 60 + second)
}

/// Seconds since 1970 as RFC 3339 in UTC.
pub fn rfc3339(seconds: u64) -> String {
    let (days, rest) = (seconds / 86_400, seconds % 86_400);
    let z = days + 719_468;
    let (era, of_era) = (z / 146_097, z % 146_097);
    let year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let m = (5 * of_year + 2) / 153;
    let day = of_year - (153 * m + 2) / 5 + 1;
    let month = if m < 10 { m + 3 } else { m - 9 };
    let year = year + era * 400 + u64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}Z", rest / 3600, rest % 3600 / 60, rest % 60)
}

fn span(seconds: u64) -> String {
    match seconds {
        0..=119 => format!("{seconds} s"),
        120..=7199 => format!("{} min", seconds / 60),
        _ => format!("{} h", seconds / 3600),
    }
}

/// Names in any report, also in those that do not count, so that none vanishes without a word.
pub(super) fn names(sources: &[Source]) -> BTreeMap<&str, Vec<&Source>> {
    let mut names: BTreeMap<&str, Vec<&Source>> = BTreeMap::new();
    for source in sources {
        let of: Vec<&str> = match &source.content {
            Ok(matrix) => matrix.runtimes.iter().map(|r| r.name.as_str()).collect(),
            Err(unreadable) => unreadable.runtimes.iter().map(String::as_str).collect(),
        };
        for name in of {
            names.entry(name).or_default().push(source);
        }
    }
    names
}
