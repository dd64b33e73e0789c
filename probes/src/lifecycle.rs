//! A container's life as its main process sees it: what it is configured with, what is sent to it, how it ends.

use std::{
    fs,
    io::{self, BufRead, Read, Write},
    net::{Ipv4Addr, UdpSocket},
    time::Duration,
};

use awf_probe_matrix::Outcome;

use crate::{Cx, Probe, sys};

pub(crate) const PROBES: &[Probe] = &[
    Probe {
        id: "lifecycle.settings",
        about: "user, groups, names, working directory, environment, resolver, sysctls as configured",
        specs: &["plain", "configured", "init"],
        ask: settings,
    },
    Probe {
        id: "lifecycle.rootfs",
        about: "writes to the root file system and to a tmpfs",
        specs: &["plain", "read-only"],
        ask: rootfs,
    },
    Probe {
        id: "lifecycle.orphan",
        about: "whether process 1 reaps what is orphaned to it",
        specs: &["read-only", "init"],
        ask: orphan,
    },
    Probe { id: "lifecycle.exit", about: "exits with a code", specs: &[], ask: exit },
    Probe { id: "lifecycle.exit-told", about: "exits with the code it reads", specs: &[], ask: exit_told },
    Probe { id: "lifecycle.fault", about: "dies of a memory fault", specs: &[], ask: fault },
    Probe { id: "lifecycle.signals", about: "tells which signals arrive", specs: &[], ask: signals },
    Probe { id: "lifecycle.burst", about: "writes much at once to both outputs", specs: &[], ask: burst },
    Probe { id: "lifecycle.terminal", about: "whether there is a terminal, and its size", specs: &[], ask: terminal },
    Probe { id: "lifecycle.terminal-now", about: "whether there is a terminal", specs: &[], ask: terminal_now },
    Probe { id: "lifecycle.input", about: "reads its input to the end", specs: &[], ask: input },
    Probe { id: "lifecycle.idle", about: "does nothing for some seconds", specs: &[], ask: idle },
    Probe { id: "lifecycle.token", about: "tells a word and does nothing for some seconds", specs: &[], ask: token },
    Probe { id: "lifecycle.tick", about: "answers at once", specs: &[], ask: tick },
    Probe { id: "lifecycle.read", about: "reads a file", specs: &[], ask: read },
    Probe { id: "lifecycle.write", about: "writes a file", specs: &[], ask: write },
];

fn text(cx: &Cx, name: &str, or: &str) -> String {
    let given = cx.text(name);
    if given.is_empty() { or.to_owned() } else { given.to_owned() }
}

fn settings(cx: &mut Cx) {
    let (uid, gid) = (rustix::process::getuid().as_raw(), rustix::process::getgid().as_raw());
    cx.fact("user", Outcome::value(format!("{uid}:{gid}")));
    let groups = rustix::process::getgroups().unwrap_or_default();
    let in_group = groups.iter().any(|g| g.as_raw() == 4242);
    cx.fact("group", Outcome::value(if in_group { "in 4242" } else { "not in 4242" }));
    let name = rustix::system::uname().nodename().to_string_lossy().into_owned();
    cx.fact("hostname", Outcome::value(name));
    let hosts = fs::read_to_string("/etc/hosts").unwrap_or_default();
    let listed = hosts.lines().any(|l| l.split_whitespace().skip(1).any(|n| n == "box.awf-probe.test"));
    cx.fact("hostname.listed", Outcome::value(listed));
    let domain = rustix::system::uname().domainname().to_string_lossy().into_owned();
    cx.fact("domainname", Outcome::value(domain));
    let cwd = std::env::current_dir().map(|d| d.display().to_string());
    cx.fact("workdir", cwd.map_or_else(|e| sys::refused(&e, "getcwd"), Outcome::value));
    let set = std::env::var("AWF_PROBE_SET").unwrap_or_else(|_| "unset".to_owned());
    cx.fact("env", Outcome::value(set));
    let image = std::env::var("AWF_PROBE_IMAGE").unwrap_or_else(|_| "unset".to_owned());
    cx.fact("env.image", Outcome::value(image));
    // By behaviour: of what range is a port that the kernel chooses?
    let ports: Vec<u16> = (0..16)
        .filter_map(|_| UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).and_then(|s| s.local_addr()).ok())
        .map(|a| a.port())
        .collect();
    let inside = ports.iter().filter(|p| (41_000..=41_063).contains(*p)).count();
    cx.fact(
        "sysctl",
        if ports.is_empty() {
            Outcome::broken("no port could be bound")
        } else {
            Outcome::value(if inside == ports.len() { "in range" } else { "out of range" })
        },
    );
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
    cx.fact("nofile", Outcome::value(limit.map_or_else(|| "none".to_owned(), |n| n.to_string())));
}

fn rootfs(cx: &mut Cx) {
    for (fact, path) in [("root", "/home/awf-probe-written"), ("tmpfs", "/scratch/awf-probe-written")] {
        let written = fs::write(path, b"written").and_then(|()| fs::read(path));
        cx.fact(
            fact,
            match written {
                Ok(b) if b == b"written" => Outcome::allowed(path),
                Ok(_) => Outcome::refused("other content", path),
                Err(e) => sys::refused(&e, path),
            },
        );
    }
}

/// A child leaves a grandchild behind, which ends: whoever is process 1 must take its status.
fn orphan(cx: &mut Cx) {
    let first = fs::read_to_string("/proc/1/comm").unwrap_or_default();
    cx.fact(
        "first",
        Outcome::value(if rustix::process::getppid().is_some_and(|p| p.as_raw_nonzero().get() == 1) {
            "the guest"
        } else {
            "another"
        }),
    );
    cx.fact("first.comm", Outcome::value(first.trim()));
    let Ok((reader, writer)) = sys::pipe() else { return cx.fact("", Outcome::broken("no pipe")) };
    // SAFETY: the guest is single-threaded; parent and children only make plain system calls before `_exit`.
    let child = unsafe { libc::fork() };
    if child == 0 {
        let grandchild = unsafe { libc::fork() };
        if grandchild == 0 {
            std::thread::sleep(Duration::from_millis(20));
            unsafe { libc::_exit(0) }
        }
        drop(fs::File::from(writer).write_all(&grandchild.to_le_bytes()));
        unsafe { libc::_exit(0) }
    }
    drop(writer);
    let mut pid = [0; 4];
    let told = fs::File::from(reader).read_exact(&mut pid);
    sys::wait(child, Duration::from_secs(2));
    let pid = i32::from_le_bytes(pid);
    if told.is_err() || pid <= 0 {
        return cx.fact("", Outcome::broken("no grandchild"));
    }
    // SAFETY: signal 0 only asks whether the process is there.
    if sys::until(Duration::from_millis(300), || unsafe { libc::kill(pid, 0) } < 0) {
        return cx.fact("", Outcome::allowed("reaped"));
    }
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let state = stat.rsplit(") ").next().and_then(|r| r.chars().next()).unwrap_or('?');
    cx.fact("", Outcome::refused("not reaped", format!("300 ms later it is there in state {state}")));
}

fn token(cx: &mut Cx) {
    let (word, seconds) = (cx.text("token").to_owned(), cx.number("seconds").unwrap_or(0));
    cx.fact("", Outcome::value(word));
    std::thread::sleep(Duration::from_secs(seconds.min(600)));
}

fn leave(code: i32) -> ! {
    // SAFETY: ends the process without running anything else.
    unsafe { libc::_exit(code) }
}

fn exit(cx: &mut Cx) {
    leave(i32::try_from(cx.number("code").unwrap_or(0)).unwrap_or(0))
}

fn exit_told(cx: &mut Cx) {
    cx.fact("", Outcome::value("ready"));
    let mut line = String::new();
    let code = io::stdin().lock().read_line(&mut line).ok().and_then(|_| line.trim().parse().ok());
    leave(code.unwrap_or(99))
}

fn fault(_: &mut Cx) {
    // SAFETY: none; a write to page 0 is the experiment. Process 1 cannot kill itself by a signal, but a fault can.
    unsafe { std::ptr::null_mut::<u8>().wrapping_add(8).write_volatile(1) };
    leave(98)
}

/// Reports signals as they arrive. TERM ends it with 42, unless it is told to be stubborn.
fn signals(cx: &mut Cx) {
    let stubborn = cx.number("stubborn").is_some();
    let known = [
        (libc::SIGTERM, "TERM"),
        (libc::SIGUSR1, "USR1"),
        (libc::SIGUSR2, "USR2"),
        (libc::SIGHUP, "HUP"),
        (libc::SIGINT, "INT"),
    ];
    // SAFETY: a zeroed set is initialised by sigemptyset; the pointers are valid for the calls.
    let set = unsafe {
        let mut set: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&raw mut set);
        for (n, _) in known {
            libc::sigaddset(&raw mut set, n);
        }
        libc::sigprocmask(libc::SIG_BLOCK, &raw const set, std::ptr::null_mut());
        set
    };
    let starts = fs::read_to_string("/awf-probe-starts").ok().and_then(|t| t.parse::<u32>().ok()).unwrap_or(0) + 1;
    drop(fs::write("/awf-probe-starts", starts.to_string()));
    cx.fact("", Outcome::value("ready"));
    loop {
        // SAFETY: the set is initialised, and nothing is to be told of the signal but its number.
        let n = unsafe { libc::sigwaitinfo(&raw const set, std::ptr::null_mut()) };
        if let Some((_, name)) = known.iter().find(|(k, _)| *k == n) {
            cx.fact(name, Outcome::allowed("arrived"));
        }
        if n == libc::SIGTERM && !stubborn {
            leave(42)
        }
    }
}

/// Lines of 64 bytes with their number, to standard output; a few to standard error.
fn burst(cx: &mut Cx) {
    let lines = cx.number("lines").unwrap_or(0);
    let mut out = io::BufWriter::new(io::stdout().lock());
    for n in 0..lines {
        drop(writeln!(out, "{n:063}"));
        if n % 4096 == 0 {
            drop(out.flush());
            drop(writeln!(io::stderr(), "err {n}"));
        }
    }
    drop(out.flush());
}

fn terminal_now(cx: &mut Cx) {
    // SAFETY: a plain call on a descriptor.
    let is = unsafe { libc::isatty(1) == 1 };
    cx.fact("", Outcome::value(if is { "terminal" } else { "no terminal" }));
    if cx.number("waits").is_some() {
        // Until its answer has been read; an input that has ended is a client who has gone.
        drop(io::stdin().lock().read_line(&mut String::new()));
    }
}

fn terminal(cx: &mut Cx) {
    let size = || {
        // SAFETY: the structure is plain data and the call writes within it.
        unsafe {
            let mut size: libc::winsize = std::mem::zeroed();
            let r = libc::ioctl(0, libc::TIOCGWINSZ, &raw mut size);
            (r == 0).then(|| format!("{}x{}", size.ws_row, size.ws_col))
        }
    };
    terminal_now(cx);
    let before = size();
    // The size is that of the client, who tells it after the start. What it is in the end is reported either way.
    let _ = sys::until(Duration::from_secs(20), || size().as_deref() == Some("33x77"));
    cx.fact("before", Outcome::value(before.unwrap_or_else(|| "none".to_owned())));
    cx.fact("size", Outcome::value(size().unwrap_or_else(|| "none".to_owned())));
}

fn input(cx: &mut Cx) {
    cx.fact("", Outcome::value("ready"));
    let (mut bytes, mut sum, mut buffer) = (0_u64, 0_u64, [0; 8192]);
    let mut stdin = io::stdin().lock();
    while let Ok(n) = stdin.read(&mut buffer) {
        if n == 0 {
            break;
        }
        if bytes == 0 {
            cx.fact("first", Outcome::value("read"));
        }
        bytes += n as u64;
        sum = buffer[..n].iter().fold(sum, |s, b| s.wrapping_mul(31).wrapping_add(u64::from(*b)));
    }
    cx.fact("bytes", Outcome::value(bytes));
    cx.fact("sum", Outcome::value(sum));
}

fn idle(cx: &mut Cx) {
    cx.fact("", Outcome::value("ready"));
    std::thread::sleep(Duration::from_millis(cx.number("ms").unwrap_or(10_000).min(60_000)));
}

fn tick(cx: &mut Cx) {
    cx.fact("", Outcome::value("answered"));
}

fn read(cx: &mut Cx) {
    let path = text(cx, "path", "/home/awf-probe-put");
    cx.fact("", sys::content(&path));
}

fn write(cx: &mut Cx) {
    let path = text(cx, "path", "/home/awf-probe-written-inside");
    cx.fact("", sys::attempt(fs::write(&path, b"written inside"), &path));
}
