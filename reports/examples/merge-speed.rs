//! How fast `awf-probe matrix` reads reports, against serde_json alone, and how much memory it takes.
//! `scripts/merge-speed` makes the reports and starts this: `merge-speed ROUNDS FILE…`.

use std::{
    env,
    error::Error,
    fs,
    io::Write,
    time::{Duration, Instant},
};

use awf_probe_reports::{Merge, ReportV1};

fn main() -> Result<(), Box<dyn Error>> {
    let mut args = env::args().skip(1);
    let rounds: usize = args.next().ok_or("usage: merge-speed ROUNDS FILE…")?.parse()?;
    let files: Vec<String> = args.collect();
    let mut out = std::io::stdout().lock();
    // First, and alone: the peak is of the whole life of a process.
    let mut best = [Duration::MAX; 3];
    best[0] = merge(&files)?;
    let peak = peak()?;
    for round in 0..rounds {
        // In turn, so that whatever else the machine does concerns all of them.
        best[1] = best[1].min(each(&files, |bytes| Ok(parse::<ReportV1>(bytes)?))?);
        best[2] = best[2].min(each(&files, |bytes| Ok(parse::<serde_json::Value>(bytes)?))?);
        if round + 1 < rounds {
            best[0] = best[0].min(merge(&files)?);
        }
    }
    let bytes: u64 = files.iter().map(|f| fs::metadata(f).map(|m| m.len())).sum::<Result<u64, _>>()?;
    let seconds = best.map(|d| d.as_secs_f64());
    let mega = |s: f64| bytes as f64 / 1e6 / s;
    writeln!(out, "{} reports, {:.0} MB, the best of {rounds} rounds each", files.len(), bytes as f64 / 1e6)?;
    writeln!(out, "merged:                        {:.2} s, {:.0} MB/s", seconds[0], mega(seconds[0]))?;
    writeln!(out, "serde_json alone, as ReportV1: {:.2} s, {:.0} MB/s", seconds[1], mega(seconds[1]))?;
    writeln!(out, "serde_json alone, as Value:    {:.2} s, {:.0} MB/s", seconds[2], mega(seconds[2]))?;
    writeln!(out, "speed against ReportV1: {:.0} %", 100.0 * seconds[1] / seconds[0])?;
    writeln!(out, "speed against Value:    {:.0} %", 100.0 * seconds[2] / seconds[0])?;
    writeln!(out, "peak memory of the merge: {} MB", peak / 1000)?;
    Ok(())
}

fn merge(files: &[String]) -> Result<Duration, Box<dyn Error>> {
    let mut merge = Merge::new()?;
    let taken = each(files, |bytes| Ok(merge.add(bytes)?))?;
    let begun = Instant::now();
    // What is printed is part of the work, and of the memory.
    let text = merge.text(false);
    std::hint::black_box(text);
    Ok(taken + begun.elapsed())
}

/// What is parsed is dropped here, and that is part of it too.
fn parse<T: serde::de::DeserializeOwned>(bytes: &[u8]) -> serde_json::Result<()> {
    serde_json::from_slice::<T>(bytes).map(drop)
}

/// Reading the files is part of it for all.
fn each(files: &[String], mut of: impl FnMut(&[u8]) -> Result<(), Box<dyn Error>>) -> Result<Duration, Box<dyn Error>> {
    let begun = Instant::now();
    for file in files {
        of(&fs::read(file)?)?;
    }
    Ok(begun.elapsed())
}

/// Kilobytes.
fn peak() -> Result<u64, Box<dyn Error>> {
    let status = fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|l| l.strip_prefix("VmHWM:")).ok_or("no VmHWM in /proc/self/status")?;
    Ok(line.trim().trim_end_matches(" kB").parse()?)
}
