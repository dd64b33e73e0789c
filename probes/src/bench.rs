//! What things cost, measured where they are done. No probe of the catalogue: a cost is no verdict.
//!
//! One ask is one visit: a few samples of one operation, each of so many repetitions that it takes some milliseconds.
//! The harness visits two sandboxes in turn, so a visit is short. How many repetitions a sample needs is found out in
//! the first visit and told to the later ones.

mod files;
mod net;
mod process;
mod tools;
mod tools_cc;

use std::{
    io,
    time::{Duration, Instant},
};

use awf_probe_matrix::Outcome;

use crate::{Cx, Probe, sys};
use tools::{Job, Missing, Tool};

/// What whoever serves the tools has to know.
pub mod served {
    pub use super::tools::{HOSTS, PACKAGE, PACKAGES, SMALL, SMALL_BYTES, TOKEN, TOP, TREE};
}

pub(crate) const PROBE: Probe = Probe { id: "bench", about: "one visit of a bench", specs: &[], ask: visit };

/// Environment variable that makes writes to files slower by so many percent: the defect that the proof of the method
/// must find. Only a build with the feature `slow-writes` looks at it; see `scripts/bench-proof`.
#[cfg(feature = "slow-writes")]
const SLOWER: &str = "AWF_PROBE_BENCH_SLOWER";

/// Something that is done inside a sandbox and timed.
#[derive(Clone, Copy, Debug)]
pub struct Bench {
    /// Stable id.
    pub id: &'static str,
    /// What one operation is.
    pub title: &'static str,
    /// By which system calls.
    pub how: &'static str,
    /// Part of the quick suite.
    pub quick: bool,
    prepare: Prepare,
}

/// Does the operation so many times.
type Op = Box<dyn FnMut(u64) -> io::Result<()>>;

#[derive(Clone, Copy, Debug)]
enum Prepare {
    /// An operation.
    Plain(fn(&Cx) -> io::Result<Op>),
    /// One that consists of so many units, each of which is what is reported.
    Units(u64, fn(&Cx) -> io::Result<Op>),
    /// One on files of a folder.
    File(files::Place, files::Act),
    /// A whole tool, once.
    Tool(Tool),
}

impl Bench {
    /// Whether it is a whole tool of the toolbox: a sample is one run of it, which takes seconds.
    pub fn is_tool(&self) -> bool {
        matches!(self.prepare, Prepare::Tool(_))
    }
}

const fn plain(id: &'static str, title: &'static str, how: &'static str, f: fn(&Cx) -> io::Result<Op>) -> Bench {
    Bench { id, title, how, quick: true, prepare: Prepare::Plain(f) }
}

const fn file(
    id: &'static str,
    title: &'static str,
    how: &'static str,
    quick: bool,
    place: files::Place,
    act: files::Act,
) -> Bench {
    Bench { id, title, how, quick, prepare: Prepare::File(place, act) }
}

use files::{Act, Place};

const OPEN: &str = "openat(2) and close(2) of a file of 4 KiB";
const STAT: &str = "fstatat(2) of a file";
const READ: &str = "openat(2), read(2) of 4 KiB, close(2)";
const WRITE: &str = "openat(2) with O_CREAT, write(2) of 4 KiB, close(2), unlink(2)";
const READ_LARGE: &str = "pread(2) of 1 MiB from a file of 8 MiB";
const WRITE_LARGE: &str = "pwrite(2) of 1 MiB into a file of 8 MiB";
const FSYNC: &str = "pwrite(2) of 4 KiB and fsync(2)";

/// Every bench that runs in a sandbox, in the order in which they run.
pub const BENCHES: &[Bench] = &[
    plain("syscall.getppid", "getppid", "getppid(2), which no library answers by itself", process::getppid),
    plain(
        "syscall.write-null",
        "write of a byte to /dev/null",
        "write(2), which nothing can cache",
        process::write_null,
    ),
    plain(
        "switch.pipe",
        "context switch, there and back",
        "a byte to another process and back, over two pipes",
        process::ping_pong,
    ),
    plain(
        "process.fork-exec",
        "fork, exec, exit, wait",
        "fork(2), execve(2) of a program of 137 bytes, wait4(2)",
        process::fork_exec,
    ),
    Bench {
        id: "memory.page-fault",
        title: "page fault",
        how: "first write to each page of an anonymous mapping of 1 MiB, with mmap(2) and munmap(2)",
        quick: true,
        prepare: Prepare::Units(process::PAGES, process::page_faults),
    },
    file("file.rootfs.open", "open, root file system", OPEN, true, Place::Rootfs, Act::Open),
    file("file.rootfs.stat", "stat, root file system", STAT, false, Place::Rootfs, Act::Stat),
    file("file.rootfs.read-small", "read 4 KiB, root file system", READ, false, Place::Rootfs, Act::Read),
    file("file.rootfs.write-small", "create and write 4 KiB, root file system", WRITE, true, Place::Rootfs, Act::Write),
    file("file.rootfs.read-large", "read 1 MiB, root file system", READ_LARGE, false, Place::Rootfs, Act::ReadLarge),
    file(
        "file.rootfs.write-large",
        "write 1 MiB, root file system",
        WRITE_LARGE,
        false,
        Place::Rootfs,
        Act::WriteLarge,
    ),
    file("file.rootfs.fsync", "fsync, root file system", FSYNC, false, Place::Rootfs, Act::Fsync),
    file("file.bind.open", "open, bind mount", OPEN, true, Place::Bind, Act::Open),
    file("file.bind.stat", "stat, bind mount", STAT, true, Place::Bind, Act::Stat),
    file("file.bind.read-small", "read 4 KiB, bind mount", READ, true, Place::Bind, Act::Read),
    file("file.bind.write-small", "create and write 4 KiB, bind mount", WRITE, true, Place::Bind, Act::Write),
    file("file.bind.read-large", "read 1 MiB, bind mount", READ_LARGE, true, Place::Bind, Act::ReadLarge),
    file("file.bind.write-large", "write 1 MiB, bind mount", WRITE_LARGE, true, Place::Bind, Act::WriteLarge),
    file("file.bind.fsync", "fsync, bind mount", FSYNC, false, Place::Bind, Act::Fsync),
    file("file.tmpfs.open", "open, tmpfs", OPEN, false, Place::Tmpfs, Act::Open),
    file("file.tmpfs.stat", "stat, tmpfs", STAT, false, Place::Tmpfs, Act::Stat),
    file("file.tmpfs.read-small", "read 4 KiB, tmpfs", READ, false, Place::Tmpfs, Act::Read),
    file("file.tmpfs.write-small", "create and write 4 KiB, tmpfs", WRITE, false, Place::Tmpfs, Act::Write),
    file("file.tmpfs.read-large", "read 1 MiB, tmpfs", READ_LARGE, false, Place::Tmpfs, Act::ReadLarge),
    file("file.tmpfs.write-large", "write 1 MiB, tmpfs", WRITE_LARGE, false, Place::Tmpfs, Act::WriteLarge),
    file("file.tmpfs.fsync", "fsync, tmpfs", FSYNC, false, Place::Tmpfs, Act::Fsync),
    plain("net.connect", "TCP connect to the proxy", "connect(2), then a reset", net::connect),
    plain(
        "net.request",
        "small HTTP request through the proxy",
        "GET of 30 bytes on a connection of its own",
        net::request,
    ),
    plain(
        "net.round-trip",
        "round trip through the proxy",
        "32 bytes and their echo through one CONNECT tunnel",
        net::round_trip,
    ),
    Bench {
        id: "net.download",
        title: "download through the proxy, 1 MiB",
        how: "GET of 4 MiB on a connection of its own",
        quick: true,
        prepare: Prepare::Units(net::DOWNLOAD >> 20, net::download),
    },
    plain("net.dns", "DNS lookup", "a UDP query to the lab's resolver and its answer", net::lookup),
    tool(
        "tool.npm",
        "npm install, 200 packages",
        "npm install of a project with 200 packages of 11 files from a registry behind the proxy, nothing cached",
        Tool::Npm,
    ),
    tool(
        "tool.git",
        "git clone, 5,000 files",
        "git clone over HTTPS through the proxy, one commit of 5,000 files",
        Tool::Git,
    ),
    tool(
        "tool.curl-small",
        "curl, 200 small files",
        "one curl that fetches 200 files of 1 KiB over HTTPS through the proxy",
        Tool::CurlSmall,
    ),
    tool(
        "tool.curl-large",
        "curl, one file of 64 MiB",
        "one curl that fetches a file of 64 MiB over HTTPS through the proxy",
        Tool::CurlLarge,
    ),
    tool("tool.cc", "compile, small C program", "cc -O1 of 13 files with 720 functions, and link", Tool::Cc),
];

const fn tool(id: &'static str, title: &'static str, how: &'static str, tool: Tool) -> Bench {
    Bench { id, title, how, quick: false, prepare: Prepare::Tool(tool) }
}

/// Facts of one visit: `begin` (the repetitions of a sample), then `samples` (nanoseconds of one operation each), and
/// `took` (nanoseconds from `begin` on). Who listens outside has a clock of its own, and compares.
fn visit(cx: &mut Cx) {
    let Some(bench) = BENCHES.iter().find(|b| b.id == cx.text("bench")) else {
        let why = format!("no bench is called {:?}", cx.text("bench"));
        return cx.fact("samples", Outcome::broken(why));
    };
    if let Prepare::Tool(tool) = bench.prepare {
        return visit_tool(cx, tool);
    }
    let (mut op, units) = match prepared(bench, cx) {
        Ok(prepared) => prepared,
        Err(e) => return cx.fact("samples", sys::refused(&e, "while it was prepared")),
    };
    match measure(cx, bench, &mut op, units) {
        Ok(()) => {}
        Err(e) => cx.fact("samples", sys::refused(&e, "while it was measured")),
    }
}

/// One run of a tool is the one sample of its visit. A run whose result is not as it must be is none.
fn visit_tool(cx: &mut Cx, tool: Tool) {
    let job = match Job::prepare(cx, tool) {
        Ok(job) => job,
        Err(e) => return cx.fact("samples", failed(&e, "while it was prepared")),
    };
    cx.fact("begin", Outcome::value(1));
    match job.run() {
        Ok(took) => {
            cx.fact("samples", Outcome::value(took.as_nanos()));
            cx.fact("took", Outcome::value(took.as_nanos()));
        }
        Err(e) => return cx.fact("samples", failed(&e, "while it was measured")),
    }
    if let Err(e) = job.check() {
        return cx.fact("result", failed(&e, "when the result was looked at"));
    }
    if let Err(e) = job.tidy() {
        cx.fact("result", failed(&e, "when its files were removed"));
    }
}

fn failed(e: &io::Error, when: &str) -> Outcome {
    match e.get_ref().and_then(|e| e.downcast_ref::<Missing>()) {
        Some(missing) => Outcome::Skipped { why: missing.to_string() },
        None => sys::refused(e, format!("{e} {when}")),
    }
}

fn prepared(bench: &Bench, cx: &Cx) -> io::Result<(Op, u64)> {
    Ok(match bench.prepare {
        Prepare::Plain(f) => (f(cx)?, 1),
        Prepare::Units(units, f) => (f(cx)?, units),
        Prepare::File(place, act) => (files::prepare(cx, place, act)?, 1),
        Prepare::Tool(_) => return Err(io::ErrorKind::Unsupported.into()),
    })
}

fn measure(cx: &mut Cx, bench: &Bench, op: &mut Op, units: u64) -> io::Result<()> {
    let target = Duration::from_micros(cx.number("target_us").unwrap_or(4000));
    let ops = match cx.number("ops") {
        Some(ops) => ops,
        None => {
            let begun = Instant::now();
            calibrated(op, target, || begun.elapsed())?
        }
    };
    // Untimed: caches, lazily made things, a sleeping peer.
    op((ops / 4).max(1))?;
    let slower = slower(bench);
    cx.fact("begin", Outcome::value(ops));
    let begun = Instant::now();
    let mut samples = Vec::new();
    for _ in 0..cx.number("samples").unwrap_or(5) {
        let sample = Instant::now();
        op(ops)?;
        let honest = sample.elapsed();
        if let Some(more) = slower {
            while sample.elapsed() < honest.mul_f64(1.0 + more) {}
        }
        samples.push(sample.elapsed().as_nanos() as f64 / (ops * units) as f64);
    }
    let took = begun.elapsed().as_nanos();
    let text: Vec<String> = samples.iter().map(|s| format!("{s:.1}")).collect();
    cx.fact("samples", Outcome::value(text.join(" ")));
    cx.fact("took", Outcome::value(took));
    Ok(())
}

/// How many repetitions take about as long as a sample should.
fn calibrated(op: &mut Op, target: Duration, clock: impl Fn() -> Duration) -> io::Result<u64> {
    let mut ops = 1;
    loop {
        let begun = clock();
        op(ops)?;
        let took = clock() - begun;
        if took * 2 >= target || ops >= MOST_OPS {
            let share = target.as_secs_f64() / took.as_secs_f64().max(1e-9);
            return Ok(((ops as f64 * share) as u64).clamp(1, MOST_OPS));
        }
        ops *= 2;
    }
}

const MOST_OPS: u64 = 1 << 20;

/// The share by which this bench is made slower, if the proof of the method asks for it.
#[cfg(feature = "slow-writes")]
fn slower(bench: &Bench) -> Option<f64> {
    let percent: f64 = std::env::var(SLOWER).ok()?.parse().ok()?;
    let writes = match bench.prepare {
        Prepare::File(_, act) => act.writes(),
        Prepare::Plain(_) | Prepare::Units(..) | Prepare::Tool(_) => false,
    };
    writes.then_some(percent.clamp(0.0, 1000.0) / 100.0)
}

#[cfg(not(feature = "slow-writes"))]
fn slower(_: &Bench) -> Option<f64> {
    None
}

#[cfg(test)]
mod tests {
    use std::{cell::Cell, rc::Rc};

    use super::*;

    #[test]
    fn ids_are_unique_and_every_bench_says_what_it_is() {
        for (n, b) in BENCHES.iter().enumerate() {
            assert!(BENCHES[..n].iter().all(|o| o.id != b.id), "{}", b.id);
            assert!(!b.title.is_empty() && b.how.contains(['(', ' ']), "{}", b.id);
        }
    }

    #[test]
    fn a_sample_takes_about_as_long_as_asked() {
        // A clock of its own: on a machine that does much else no sleep is as long as asked.
        let now = Rc::new(Cell::new(Duration::ZERO));
        let ticks = Rc::clone(&now);
        let mut op: Op = Box::new(move |n| {
            ticks.set(ticks.get() + Duration::from_micros(100 * n));
            Ok(())
        });
        assert_eq!(calibrated(&mut op, Duration::from_millis(4), || now.get()).expect("it does nothing"), 40);
    }

    #[test]
    fn what_fails_is_an_error() {
        let mut op: Op = Box::new(|_| Err(io::ErrorKind::NotFound.into()));
        assert!(calibrated(&mut op, Duration::from_millis(1), || Duration::ZERO).is_err());
    }
}
