//! Limits, by reaching for more than they allow.

use std::{
    fs,
    time::{Duration, Instant},
};

use awf_probe_matrix::Outcome;

use crate::{Cx, Probe, sys};

pub(crate) const PROBES: &[Probe] = &[
    Probe {
        id: "memory.visible",
        about: "the memory the sandbox believes it has",
        specs: &["memory", "unlimited"],
        ask: visible,
    },
    Probe { id: "memory", about: "touches 128 MiB page by page", specs: &["memory", "unlimited"], ask: memory },
    Probe { id: "pids", about: "starts 120 processes that stay", specs: &["pids", "unlimited"], ask: pids },
    Probe {
        id: "cpu",
        about: "spins and compares processor time with the clock",
        specs: &["cpu", "unlimited"],
        ask: cpu,
    },
];

const MIB: usize = 1 << 20;
const REACH: usize = 128 * MIB;

fn visible(cx: &mut Cx) {
    let mut smallest: Option<u64> = None;
    let mut said = Vec::new();
    let mut note = |name: &str, bytes: u64| {
        said.push(format!("{name} {} MiB", bytes / MIB as u64));
        smallest = Some(smallest.map_or(bytes, |s| s.min(bytes)));
    };
    for path in ["/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"] {
        if let Some(n) = fs::read_to_string(path).ok().and_then(|s| s.trim().parse().ok()) {
            note(path, n);
        }
    }
    let meminfo = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let total = meminfo.lines().find_map(|l| l.strip_prefix("MemTotal:")?.trim().strip_suffix("kB"));
    if let Some(kb) = total.and_then(|t| t.trim().parse::<u64>().ok()) {
        note("MemTotal", kb * 1024);
    }
    match smallest {
        Some(n) => cx.fact("mib", Outcome::value(n / MIB as u64)),
        None => cx.fact("mib", Outcome::refused("nothing to read", "neither cgroup files nor MemTotal")),
    }
    cx.fact("sources", Outcome::value(said.join(", ")));
}

fn memory(cx: &mut Cx) {
    let mut held: Vec<Vec<u8>> = Vec::new();
    let mut total = 0;
    while total < REACH {
        let mut block: Vec<u8> = Vec::new();
        if block.try_reserve_exact(4 * MIB).is_err() {
            return cx.fact("touched", Outcome::refused("ENOMEM", format!("after {} MiB", total / MIB)));
        }
        // Every page is written with a value of its own, so that none can be shared or left out.
        block.extend((0..4 * MIB).map(|i| (i / 4096) as u8 ^ 0x5a));
        held.push(block);
        total += 4 * MIB;
    }
    std::hint::black_box(&held);
    cx.fact("touched", Outcome::allowed(format!("{} MiB", total / MIB)));
}

fn pids(cx: &mut Cx) {
    let mut children = Vec::new();
    let mut refusal = None;
    for _ in 0..120 {
        // SAFETY: the guest is single-threaded.
        match unsafe { libc::fork() } {
            -1 => {
                refusal = Some(std::io::Error::last_os_error());
                break;
            }
            0 => {
                std::thread::sleep(Duration::from_secs(20));
                // SAFETY: leaves without running the parent's destructors.
                unsafe { libc::_exit(0) }
            }
            pid => children.push(pid),
        }
    }
    let text = format!("{} processes started", children.len());
    cx.fact(
        "fork",
        match refusal {
            Some(e) => sys::refused(&e, text),
            None => Outcome::allowed(text),
        },
    );
    for pid in children {
        // SAFETY: the pid is an unreaped child.
        unsafe {
            libc::kill(pid, libc::SIGKILL);
            libc::waitpid(pid, std::ptr::null_mut(), 0);
        }
    }
}

/// The largest share of full speed in any window. Work is counted in chunks; the fastest chunk of all tells full
/// speed, so that no clock of the kernel under test is believed but the wall clock. Other load can only make a share
/// smaller, so a window that shows far more than the quota ends the search.
fn cpu(cx: &mut Cx) {
    let mut fastest = Duration::MAX;
    let mut windows = Vec::new();
    for n in 1..=30 {
        let begun = Instant::now();
        let mut chunks = 0_u32;
        while begun.elapsed() < Duration::from_millis(200) {
            let chunk = Instant::now();
            spin();
            fastest = fastest.min(chunk.elapsed());
            chunks += 1;
        }
        windows.push((chunks, begun.elapsed()));
        let best = best_of(&windows, fastest);
        // Clear either way: far more than the quota allows, or four windows with about the quota. In between something else
        // is at work, and will not be for ever.
        if best > 0.6 || n >= 4 && best < 0.34 {
            break;
        }
    }
    let shares: Vec<f64> = windows.iter().map(|(n, wall)| share(*n, *wall, fastest)).collect();
    let best = best_of(&windows, fastest);
    cx.fact("share", Outcome::value(format!("{best:.2}")));
    let text: Vec<String> = shares.iter().map(|s| format!("{s:.2}")).collect();
    cx.fact("windows", Outcome::value(text.join(" ")));
}

fn best_of(windows: &[(u32, Duration)], fastest: Duration) -> f64 {
    windows.iter().map(|(n, wall)| share(*n, *wall, fastest)).fold(0.0, f64::max)
}

fn share(chunks: u32, wall: Duration, fastest: Duration) -> f64 {
    f64::from(chunks) * fastest.as_secs_f64() / wall.as_secs_f64()
}

/// About a quarter of a millisecond of work on a processor of today.
fn spin() {
    let mut n = 1_u64;
    for _ in 0..200_000 {
        n = std::hint::black_box(n.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1));
    }
    std::hint::black_box(n);
}
