//! ulimits, cpuset, and what the guest sees of its limits: each by reaching for more than it allows.

use std::{
    fs::{self, File},
    io::{self, Write},
    time::Duration,
};

use awf_probe_matrix::Outcome;

use crate::{
    Cx, Probe,
    sys::{self, End, attempt, check, in_child},
};

pub(crate) const PROBES: &[Probe] = &[
    Probe { id: "ulimit", about: "reaches for more than each ulimit allows", specs: &["limits", "plain"], ask: ulimit },
    Probe { id: "cpuset", about: "moves to another processor", specs: &["limits", "unlimited"], ask: cpuset },
    Probe { id: "oom-adj", about: "reads, raises and lowers oom_score_adj", specs: &["limits", "plain"], ask: oom },
    Probe {
        id: "limit-files",
        about: "limits as the cgroup files of the sandbox show them",
        specs: &["limits", "memory", "pids", "unlimited"],
        ask: files,
    },
];

fn ulimit(cx: &mut Cx) {
    cx.fact("nofile", nofile());
    cx.fact("nproc", nproc());
    cx.fact("fsize", fsize());
    cx.fact("core", core());
    for (name, kib) in [("memlock.small", 8), ("memlock", 64)] {
        cx.fact(name, attempt(lock(kib * 1024), format!("mlock of {kib} KiB")));
    }
    for (name, mib) in [("data.small", 8), ("data", 128)] {
        cx.fact(name, attempt(map(mib << 20), format!("a private mapping of {mib} MiB")));
    }
    cx.fact("stack.small", stack(128));
    cx.fact("stack", stack(3 * 1024));
}

/// Maps memory that counts as data: private and writable. It is not touched, so no memory limit sees it.
fn map(bytes: usize) -> io::Result<()> {
    let (at, prot) = (std::ptr::null_mut(), libc::PROT_READ | libc::PROT_WRITE);
    // SAFETY: a new mapping at an address of the kernel's choice, unmapped again below.
    let mapped = unsafe { libc::mmap(at, bytes, prot, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS, -1, 0) };
    if mapped == libc::MAP_FAILED {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: mapped above, with this length; nothing refers to it.
    check(unsafe { libc::munmap(mapped, bytes) }.into()).map(drop)
}

fn nofile() -> Outcome {
    let mut held = Vec::new();
    for n in 0..200 {
        match File::open("/dev/null") {
            Ok(f) => held.push(f),
            Err(e) => return sys::refused(&e, format!("after {n} descriptors")),
        }
    }
    Outcome::allowed("200 descriptors")
}

/// As a user of its own: the limit counts a user's processes, and root is exempt.
fn nproc() -> Outcome {
    let (reader, writer) = match sys::pipe() {
        Ok(ends) => ends,
        Err(e) => return Outcome::broken(format!("pipe: {e}")),
    };
    let end = in_child(Duration::from_secs(10), || {
        if sys::become_user(4343).is_err() {
            return 250;
        }
        let mut children = Vec::new();
        for _ in 0..40 {
            // SAFETY: the guest is single-threaded.
            match unsafe { libc::fork() } {
                -1 => break,
                0 => {
                    std::thread::sleep(Duration::from_secs(10));
                    // SAFETY: leaves without running the parent's destructors.
                    unsafe { libc::_exit(0) }
                }
                pid => children.push(pid),
            }
        }
        let errno = io::Error::last_os_error();
        for pid in &children {
            // SAFETY: unreaped children of this process.
            unsafe {
                libc::kill(*pid, libc::SIGKILL);
                libc::waitpid(*pid, std::ptr::null_mut(), 0);
            }
        }
        if children.len() < 40 {
            // The errno goes through the pipe, the number through the status.
            drop(File::from(writer).write_all(sys::errno_name(&errno).as_bytes()));
        }
        i32::try_from(children.len()).unwrap_or(251)
    });
    match end {
        Ok(Some(End::Exit(40))) => Outcome::allowed("40 processes"),
        Ok(Some(End::Exit(n))) if n < 40 => {
            let mut name = [0; 16];
            let read = rustix::io::read(&reader, &mut name).unwrap_or(0);
            Outcome::refused(String::from_utf8_lossy(&name[..read]), format!("fork after {n} processes"))
        }
        other => Outcome::broken(format!("{other:?}")),
    }
}

fn fsize() -> Outcome {
    let path = "/tmp/awf-probe-fsize";
    // SAFETY: "ignore" has no handler to go wrong; the write then fails instead.
    unsafe { libc::signal(libc::SIGXFSZ, libc::SIG_IGN) };
    let block = vec![1_u8; 256 * 1024];
    let result = File::create(path).and_then(|mut f| (0..8).try_for_each(|_| f.write_all(&block)));
    drop(fs::remove_file(path));
    attempt(result, "2 MiB into one file")
}

/// A process that aborts, and the file it leaves. Where core_pattern leads elsewhere, there is none to be seen.
fn core() -> Outcome {
    let dir = "/tmp/awf-probe-core";
    if let Err(e) = fs::create_dir_all(dir) {
        return Outcome::broken(format!("{dir}: {e}"));
    }
    let end = in_child(Duration::from_secs(10), || {
        let limit = libc::rlimit { rlim_cur: 64 * 1024, rlim_max: 64 * 1024 };
        // SAFETY: the pointer is valid for the call; abort ends this child only. A limit of 0 cannot be raised.
        unsafe {
            libc::setrlimit(libc::RLIMIT_CORE, &limit);
            if std::env::set_current_dir(dir).is_err() {
                return 1;
            }
            libc::signal(libc::SIGABRT, libc::SIG_DFL);
            libc::abort()
        }
    });
    let files = fs::read_dir(dir).map(Iterator::count).unwrap_or(0);
    drop(fs::remove_dir_all(dir));
    match end {
        Ok(Some(End::Signal(_))) if files > 0 => Outcome::allowed("a core file"),
        Ok(Some(End::Signal(_))) => Outcome::refused("no file", "the process aborted"),
        other => Outcome::broken(format!("{other:?}")),
    }
}

fn lock(bytes: usize) -> io::Result<()> {
    // SAFETY: an anonymous mapping of its own, unmapped at the end.
    unsafe {
        let (rw, flags) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
        let p = libc::mmap(std::ptr::null_mut(), bytes, rw, flags, -1, 0);
        if p == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let result = check(libc::mlock(p, bytes).into()).map(drop);
        libc::munmap(p, bytes);
        result
    }
}

/// A child that uses so much stack.
fn stack(kib: usize) -> Outcome {
    let end = in_child(Duration::from_secs(5), || {
        // SAFETY: the default action ends this child only; its report would go to standard error.
        unsafe { libc::signal(libc::SIGSEGV, libc::SIG_DFL) };
        i32::from(descend(kib / 4) == 0)
    });
    match end {
        Ok(Some(End::Exit(_))) => Outcome::allowed(format!("{kib} KiB of stack")),
        Ok(Some(End::Signal(signal))) => Outcome::Killed { signal, detail: format!("{kib} KiB of stack") },
        other => Outcome::broken(format!("{other:?}")),
    }
}

#[inline(never)]
fn descend(left: usize) -> usize {
    let mut block = [left as u8; 4096];
    std::hint::black_box(&mut block);
    if left == 0 { 1 } else { descend(left - 1) + usize::from(block[17] == 255) }
}

fn cpuset(cx: &mut Cx) {
    let mine = rustix::thread::sched_getaffinity(None);
    cx.fact(
        "count",
        match &mine {
            Ok(set) => Outcome::value(set.count()),
            Err(e) => sys::refused(&(*e).into(), "sched_getaffinity"),
        },
    );
    let mut second = rustix::thread::CpuSet::new();
    second.set(1);
    let moved = rustix::thread::sched_setaffinity(None, &second);
    cx.fact("second", attempt(moved.map_err(io::Error::from), "sched_setaffinity to the second processor"));
    let mut seen = std::collections::BTreeSet::new();
    for _ in 0..2000 {
        seen.insert(rustix::thread::sched_getcpu());
    }
    cx.fact("ran", Outcome::value(format!("{seen:?}")));
}

fn oom(cx: &mut Cx) {
    let path = "/proc/self/oom_score_adj";
    let read = || fs::read_to_string(path).map(|s| s.trim().parse::<i32>().unwrap_or(i32::MIN));
    let first = match read() {
        Ok(n) => n,
        Err(e) => return cx.fact("", sys::refused(&e, path)),
    };
    cx.fact("", Outcome::value(first));
    let write = |n: i32| fs::write(path, n.to_string()).and_then(|()| read());
    let step = |result: io::Result<i32>, wanted: i32| match result {
        Ok(n) if n == wanted => Outcome::allowed(format!("{n} now")),
        Ok(n) => Outcome::refused("no effect", format!("{n} after writing {wanted}")),
        Err(e) => sys::refused(&e, format!("write {wanted}")),
    };
    cx.fact("raise", step(write(first + 100), first + 100));
    cx.fact("back", step(write(first), first));
    // Below what any process of the host starts with: only CAP_SYS_RESOURCE allows that.
    cx.fact("lower", step(write(-100), -100));
}

/// Both cgroup versions call the same limit by two names.
const FILES: &[(&str, [&str; 2])] = &[
    ("memory", ["/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"]),
    ("reservation", ["/sys/fs/cgroup/memory.low", "/sys/fs/cgroup/memory/memory.soft_limit_in_bytes"]),
    ("swap", ["/sys/fs/cgroup/memory.swap.max", "/sys/fs/cgroup/memory/memory.memsw.limit_in_bytes"]),
    ("pids", ["/sys/fs/cgroup/pids.max", "/sys/fs/cgroup/pids/pids.max"]),
    ("cpuset", ["/sys/fs/cgroup/cpuset.cpus", "/sys/fs/cgroup/cpuset/cpuset.cpus"]),
];

fn files(cx: &mut Cx) {
    for (name, paths) in FILES {
        let found = paths.iter().find_map(|p| fs::read_to_string(p).ok().map(|s| s.trim().to_owned()));
        cx.fact(name, found.map_or_else(|| Outcome::refused("nothing to read", paths.join(" or ")), Outcome::value));
    }
}
