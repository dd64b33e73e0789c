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

/// The largest share of a processor in any window. Work is counted in chunks, and timed by the wall clock alone: no
/// accounting of the kernel under test is believed. Other load can only make a share smaller, so a window that shows far
/// more than the quota ends the search.
fn cpu(cx: &mut Cx) {
    let mut shares: Vec<f64> = Vec::new();
    for n in 0..=30 {
        let begun = Instant::now();
        let mut chunks = Vec::new();
        while begun.elapsed() < Duration::from_millis(200) {
            let chunk = Instant::now();
            spin();
            chunks.push(chunk.elapsed());
        }
        let share = share(&mut chunks, begun.elapsed());
        if n == 0 {
            // What was not used of the period before is used up first: that window shows more than the quota.
            continue;
        }
        shares.push(share);
        let best = best_of(&shares);
        // Clear either way: far more than the quota allows, or four windows with about the quota. In between something else
        // is at work, and will not be for ever.
        if best > 0.6 || n >= 4 && best < 0.34 {
            break;
        }
    }
    cx.fact("share", Outcome::value(format!("{:.2}", best_of(&shares))));
    let text: Vec<String> = shares.iter().map(|s| format!("{s:.2}")).collect();
    cx.fact("windows", Outcome::value(text.join(" ")));
}

fn best_of(shares: &[f64]) -> f64 {
    shares.iter().copied().fold(0.0, f64::max)
}

/// The part of a window that the chunks of work would have filled had none been held up. What a chunk takes is told by the
/// lower quartile of this window: a quota holds up one in ten or twenty, and a processor whose clock changes from one
/// window to the next, as those of shared hosts do, is compared with itself.
fn share(chunks: &mut [Duration], wall: Duration) -> f64 {
    chunks.sort_unstable();
    let unit = chunks.get(chunks.len() / 4).copied().unwrap_or_default();
    chunks.len() as f64 * unit.as_secs_f64() / wall.as_secs_f64()
}

/// About a quarter of a millisecond of work on a processor of today.
fn spin() {
    let mut n = 1_u64;
    for _ in 0..200_000 {
        n = std::hint::black_box(n.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1));
    }
    std::hint::black_box(n);
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHUNK: Duration = Duration::from_micros(250);

    #[test]
    fn a_whole_processor_is_a_share_of_one_though_its_clock_was_faster_for_a_moment() {
        let mut chunks = vec![CHUNK; 800];
        chunks[..40].fill(CHUNK / 3);
        let wall = chunks.iter().sum();
        let share = share(&mut chunks, wall);
        assert!((0.95..=1.1).contains(&share), "{share}");
    }

    #[test]
    fn a_quota_of_a_quarter_shows_though_no_chunk_says_so_by_itself() {
        // 25 ms of every 100: a hundred chunks, the last of which is held up.
        let mut chunks = vec![CHUNK; 200];
        chunks[99] += Duration::from_millis(75);
        chunks[199] += Duration::from_millis(75);
        let share = share(&mut chunks, Duration::from_millis(200));
        assert!((0.24..=0.26).contains(&share), "{share}");
    }

    #[test]
    fn of_a_window_without_work_there_is_no_share() {
        assert!(share(&mut [], Duration::from_millis(200)) == 0.0);
    }
}
