//! `run --timings`: where the time went.

use std::collections::BTreeMap;

use crate::event::Event;

/// Phases in the order in which a sandbox goes through them.
const PHASES: &[&str] = &["create", "start", "guest", "drain", "remove"];
const SLOWEST: usize = 10;

/// Milliseconds by runtime and phase, summed over sandboxes that ran at the same time, and the slowest probes.
pub(super) fn ledger(events: &[Event]) -> String {
    let mut sums: BTreeMap<&str, BTreeMap<&str, u64>> = BTreeMap::new();
    let mut sandboxes: BTreeMap<&str, usize> = BTreeMap::new();
    let mut probes: Vec<(u64, String)> = Vec::new();
    let mut wall = 0;
    for event in events {
        match event {
            Event::SandboxStarted { runtime, create_ms, start_ms, .. } => {
                let of = sums.entry(runtime).or_default();
                *of.entry("create").or_default() += create_ms.saturating_sub(*start_ms);
                *of.entry("start").or_default() += start_ms;
                *sandboxes.entry(runtime).or_default() += 1;
            }
            Event::Phase { runtime, phase, ms, .. } => {
                *sums.entry(runtime).or_default().entry(phase).or_default() += ms;
            }
            Event::Observed { runtime, scenario, fact, .. } => {
                if let (Some(probe), Some(ms)) = (fact.name.strip_suffix(".end"), fact.elapsed_ms) {
                    probes.push((ms, format!("{runtime}: {scenario}/{probe}")));
                }
            }
            Event::RunFinished { elapsed_ms, .. } => wall = *elapsed_ms,
            Event::RunStarted { .. }
            | Event::LabUp { .. }
            | Event::SandboxDied { .. }
            | Event::HostProcesses { .. }
            | Event::Packet { .. }
            | Event::Dns { .. }
            | Event::Http { .. }
            | Event::Decision { .. }
            | Event::Drained { .. }
            | Event::Problem { .. }
            | Event::Cleaned { .. } => {}
        }
    }
    let mut text =
        format!("Timings: {wall} ms from start to end; milliseconds below are sums over parallel sandboxes\n");
    let width = sums.keys().map(|r| r.len()).max().unwrap_or(0).max("runtime".len());
    let row = |text: &mut String, name: &str, boxes: &str, cells: &[String]| {
        let cells: String = cells.iter().map(|c| format!("{c:>9}")).collect();
        text.push_str(&format!("  {name:width$}  {boxes:>9}{cells}\n"));
    };
    row(&mut text, "runtime", "sandboxes", &PHASES.iter().map(|p| (*p).to_owned()).collect::<Vec<_>>());
    for (runtime, phases) in &sums {
        let cells = PHASES.iter().map(|p| phases.get(p).copied().unwrap_or(0).to_string()).collect::<Vec<_>>();
        row(&mut text, runtime, &sandboxes.get(runtime).copied().unwrap_or(0).to_string(), &cells);
    }
    probes.sort_by(|a, b| b.0.cmp(&a.0).then_with(|| a.1.cmp(&b.1)));
    text.push_str("  slowest probes:\n");
    for (ms, name) in probes.iter().take(SLOWEST) {
        text.push_str(&format!("  {ms:>9}  {name}\n"));
    }
    text
}
