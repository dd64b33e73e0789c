//! What of the host a sandbox can lay hands on: processes, devices, control groups, namespaces, the engine's socket.
//!
//! Nothing is written to what is not the sandbox's own: devices and control files are opened and closed again.

use std::{
    fs::{self, OpenOptions},
    io::{self, Read, Write},
    os::unix::{
        fs::{FileTypeExt, OpenOptionsExt},
        net::UnixStream,
    },
    path::Path,
    process::{Command, Stdio},
    time::Duration,
};

use awf_probe_matrix::Outcome;

use crate::{
    Cx, Probe,
    sys::{self, attempt, check},
};

pub(crate) const PROBES: &[Probe] = &[
    Probe {
        id: "isolation.processes",
        about: "looks in /proc for a process of the host, and for one of its own",
        specs: &["plain"],
        ask: processes,
    },
    Probe {
        id: "isolation.devices",
        about: "nodes in /dev that no sandbox needs",
        specs: &["plain", "mounts"],
        ask: devices,
    },
    Probe {
        id: "isolation.nodes",
        about: "makes nodes of the host's devices and opens them",
        specs: &["plain"],
        ask: nodes,
    },
    Probe { id: "isolation.setns", about: "enters a namespace of process 1", specs: &["mounts", "bare"], ask: setns },
    Probe {
        id: "isolation.cgroup",
        about: "control files of cgroups, opened for writing; a hierarchy mounted anew",
        specs: &["mounts", "bare"],
        ask: cgroup,
    },
    Probe {
        id: "isolation.engine",
        about: "the engine's socket, mounted: is it there, does it answer",
        specs: &["socket", "bare"],
        ask: engine,
    },
    Probe {
        id: "isolation.vsock",
        about: "a socket to the hypervisor, made and closed",
        specs: &["plain"],
        ask: vsock,
    },
    Probe {
        id: "isolation.cpu",
        about: "which processor the sandbox is told it has, and its time stamp counter",
        specs: &["plain"],
        ask: cpu,
    },
];

/// Processes whose command line holds `text`.
fn running(text: &str) -> usize {
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    let lines = processes.filter_map(|p| fs::read(p.path().join("cmdline")).ok());
    lines.filter(|l| l.windows(text.len()).any(|w| w == text.as_bytes())).count()
}

fn processes(cx: &mut Cx) {
    // The helper runs in the host's pid namespace, and its arguments name the run.
    let run = cx.text("run").to_owned();
    if run.is_empty() {
        return cx.fact("", Outcome::broken("the run's id was not told"));
    }
    let host = running(&run);
    cx.fact("host", Outcome::value(host));
    let token = format!("awf-probe-own-{}", cx.text("seed"));
    let args = ["guest-once", "lifecycle.idle", token.as_str(), "{}"];
    let own = Command::new("/awf-probe").args(args).stdout(Stdio::null()).spawn();
    match own {
        Err(e) => cx.fact("own", sys::refused(&e, "spawn /awf-probe")),
        Ok(mut child) => {
            // spawn returns a moment before the new program's arguments are there to be read.
            let mut found = 0;
            let _ = sys::until(Duration::from_secs(2), || {
                found = running(&token);
                found > 0
            });
            cx.fact("own", Outcome::value(found));
            drop(child.kill());
            drop(child.wait());
        }
    }
}

/// What an engine or a runtime puts in /dev of any sandbox.
const USUAL: &[&str] = &[
    "console", "core", "fd", "full", "fuse", "mqueue", "net", "null", "ptmx", "pts", "random", "shm", "stderr",
    "stdin", "stdout", "tty", "urandom", "zero",
];

fn unusual(dir: &str) -> io::Result<Vec<String>> {
    let names = fs::read_dir(dir)?.flatten().map(|e| e.file_name().to_string_lossy().into_owned());
    let mut names: Vec<String> = names.filter(|n| !USUAL.contains(&n.as_str())).collect();
    names.sort();
    Ok(names)
}

fn devices(cx: &mut Cx) {
    for (name, dir) in [("unusual", "/dev"), ("bound", "/host/dev")] {
        match unusual(dir) {
            Ok(found) => {
                cx.fact(name, Outcome::value(found.len()));
                let shown = found.iter().take(12).map(String::as_str).collect::<Vec<_>>().join(" ");
                cx.fact(&format!("{name}.names"), Outcome::value(shown));
            }
            Err(e) => cx.fact(name, sys::refused(&e, dir)),
        }
    }
}

/// Name, whether a block device, major and minor number as the kernel's list of devices has them.
const NODES: &[(&str, bool, u32, u32)] = &[
    ("null", false, 1, 3),
    ("mem", false, 1, 1),
    ("port", false, 1, 4),
    ("kmsg", false, 1, 11),
    ("loop-control", false, 10, 237),
    ("kvm", false, 10, 232),
    ("vhost-net", false, 10, 238),
    ("vhost-vsock", false, 10, 241),
];

fn node(name: &str, block: bool, major: u32, minor: u32) -> Outcome {
    let path = format!("/tmp/awf-probe-node-{name}");
    let p = sys::c_path(&path);
    let kind = if block { libc::S_IFBLK } else { libc::S_IFCHR };
    // SAFETY: the pointer is valid for the call.
    let made = check(unsafe { libc::mknod(p.as_ptr(), kind | 0o600, libc::makedev(major, minor)) }.into());
    let what = format!("{} {major}:{minor}", if block { "block" } else { "character" });
    if let Err(e) = made {
        return match e.raw_os_error() {
            Some(libc::EPERM | libc::EACCES) => sys::refused(&e, format!("mknod {what}")),
            // A file system that takes nothing says nothing of nodes.
            _ => Outcome::broken(format!("mknod {what}: {e}")),
        };
    }
    let opened = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(&path);
    drop(fs::remove_file(&path));
    attempt(opened, format!("open {what}"))
}

fn nodes(cx: &mut Cx) {
    for (name, block, major, minor) in NODES {
        cx.fact(name, node(name, *block, *major, *minor));
    }
    let number = |name: &str| cx.number(name).and_then(|n| u32::try_from(n).ok());
    match (number("disk_major"), number("disk_minor")) {
        (Some(major), Some(minor)) => cx.fact("disk", node("disk", true, major, minor)),
        _ => cx.fact("disk", Outcome::Skipped { why: "the host lists no block device".to_owned() }),
    }
}

fn setns(cx: &mut Cx) {
    for name in ["uts", "ipc", "net"] {
        let path = format!("/proc/1/ns/{name}");
        // In a child, as the way back may be closed.
        let end = sys::in_child(Duration::from_secs(5), || {
            let entered = fs::File::open(&path).and_then(|f| {
                // SAFETY: plain system call on an open descriptor.
                check(unsafe { libc::setns(std::os::fd::AsRawFd::as_raw_fd(&f), 0) }.into())
            });
            entered.err().map_or(0, |e| e.raw_os_error().unwrap_or(libc::EIO))
        });
        cx.fact(name, sys::outcome(end, format!("setns {path}")));
    }
}

/// Control files by which a cgroup reaches beyond itself, at most this deep.
const CONTROLS: &[&str] = &["release_agent", "notify_on_release", "cgroup.procs", "tasks", "devices.allow"];
const DEPTH: usize = 3;

fn controls(dir: &Path, depth: usize, found: &mut Vec<std::path::PathBuf>) {
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        let Ok(kind) = entry.file_type() else { continue };
        if kind.is_dir() && depth < DEPTH {
            controls(&entry.path(), depth + 1, found);
        } else if kind.is_file() && CONTROLS.contains(&entry.file_name().to_string_lossy().as_ref()) {
            found.push(entry.path());
        }
        if found.len() >= 512 {
            return;
        }
    }
}

fn cgroup(cx: &mut Cx) {
    let mut files = Vec::new();
    controls(Path::new("/sys/fs/cgroup"), 0, &mut files);
    let open = |path: &Path| OpenOptions::new().write(true).open(path);
    let writable: Vec<_> = files.iter().filter(|p| open(p).is_ok()).collect();
    cx.fact("seen", Outcome::value(files.len()));
    cx.fact("writable", Outcome::value(writable.len()));
    // The files of another kernel are not the host's.
    let released = rustix::system::uname().release().to_string_lossy().into_owned();
    let booted = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    let (host_release, host_boot) = (cx.text("host_release").to_owned(), cx.text("host_boot").to_owned());
    let same = released == host_release && booted.trim() == host_boot;
    cx.fact("kernel", Outcome::value(if same { "the host's" } else { "its own" }));
    let first = writable.first().map_or_else(|| "none".to_owned(), |p| p.display().to_string());
    cx.fact("first", Outcome::value(first));
    let own = "/tmp/awf-probe-cgroup";
    cx.fact(
        "own",
        attempt(fs::write(own, "x").and_then(|()| open(Path::new(own))), "open a file of its own for writing"),
    );
    // With the right to mount a hierarchy can be had again, writable.
    let dir = "/tmp/awf-probe-cgroup-mount";
    if let Err(e) = fs::create_dir_all(dir) {
        return cx.fact("mount", Outcome::broken(format!("cannot make {dir}: {e}")));
    }
    let mounted = sys::mount("none", dir, "cgroup2", 0, "").or_else(|_| sys::mount("none", dir, "cgroup", 0, "pids"));
    let there = mounted.is_ok();
    cx.fact("mount", attempt(mounted, "mount a cgroup hierarchy"));
    if there {
        // SAFETY: the pointer is valid for the call; what cannot be unmounted goes with the sandbox.
        unsafe { libc::umount2(sys::c_path(dir).as_ptr(), libc::MNT_DETACH) };
    }
}

/// Where the socket is mounted in the sandbox that has it.
const ENGINE: &str = "/m/engine.sock";

fn engine(cx: &mut Cx) {
    cx.fact(
        "there",
        match fs::metadata(ENGINE) {
            Ok(m) if m.file_type().is_socket() => Outcome::allowed("a socket"),
            Ok(_) => Outcome::refused("no socket", ENGINE),
            Err(e) => sys::refused(&e, ENGINE),
        },
    );
    // Asks whether anybody is there, and nothing more.
    let answer = UnixStream::connect(ENGINE).and_then(|mut s| {
        s.set_read_timeout(Some(Duration::from_secs(5)))?;
        s.write_all(b"GET /_ping HTTP/1.0\r\nHost: engine\r\n\r\n")?;
        let mut answer = [0; 64];
        let n = s.read(&mut answer)?;
        Ok(crate::net::printable(&answer[..n]))
    });
    cx.fact(
        "answers",
        match answer {
            Ok(text) if text.contains("200") => Outcome::allowed(text),
            Ok(text) => Outcome::refused("no answer", text),
            Err(e) => sys::refused(&e, ENGINE),
        },
    );
}

fn cpu(cx: &mut Cx) {
    let info = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let line = |key: &str| {
        let mut lines = info.lines().filter_map(|l| l.split_once(':')).filter(|(k, _)| k.trim() == key);
        lines.next().map(|(_, v)| v.trim().to_owned())
    };
    for (name, key) in [("model", "model name"), ("mhz", "cpu MHz"), ("address-sizes", "address sizes")] {
        cx.fact(name, line(key).map_or_else(|| Outcome::refused("no such line", "/proc/cpuinfo"), Outcome::value));
    }
    let processors = info.lines().filter(|l| l.split_once(':').is_some_and(|(k, _)| k.trim() == "processor")).count();
    cx.fact("processors", Outcome::value(processors));
    let flags = line("flags").or_else(|| line("Features")).unwrap_or_default();
    cx.fact("flags", Outcome::value(flags.split_whitespace().count()));
    for flag in ["constant_tsc", "nonstop_tsc", "hypervisor"] {
        cx.fact(flag, Outcome::value(flags.split_whitespace().any(|f| f == flag)));
    }
    // Whether the counter may be read, as the kernel says it; and what it says.
    let mut mode = 0;
    // SAFETY: the pointer is valid for the call.
    let asked = check(unsafe { libc::prctl(libc::PR_GET_TSC, std::ptr::addr_of_mut!(mode), 0, 0, 0) }.into());
    cx.fact(
        "tsc",
        match asked {
            Ok(_) => Outcome::value(if mode == libc::PR_TSC_ENABLE { "readable" } else { "faults" }),
            Err(e) => sys::refused(&e, "prctl PR_GET_TSC"),
        },
    );
    let source = "/sys/devices/system/clocksource/clocksource0/current_clocksource";
    cx.fact(
        "clocksource",
        match fs::read_to_string(source) {
            Ok(text) => Outcome::value(text.trim()),
            Err(e) => sys::refused(&e, source),
        },
    );
    #[cfg(target_arch = "x86_64")]
    {
        let end = sys::in_child(Duration::from_secs(2), || {
            // SAFETY: the instruction touches no memory; where it faults, it ends the child.
            let (a, b) = unsafe { (core::arch::x86_64::_rdtsc(), core::arch::x86_64::_rdtsc()) };
            i32::from(b < a)
        });
        cx.fact("rdtsc", sys::outcome(end, "rdtsc, twice".to_owned()));
    }
}

fn vsock(cx: &mut Cx) {
    for (name, family) in [("unix", libc::AF_UNIX), ("vsock", libc::AF_VSOCK)] {
        // SAFETY: the call takes no pointers; the descriptor is closed at once.
        let made = check(unsafe { libc::socket(family, libc::SOCK_STREAM | libc::SOCK_CLOEXEC, 0) }.into());
        if let Some(fd) = made.as_ref().ok().and_then(|fd| i32::try_from(*fd).ok()) {
            // SAFETY: the descriptor is ours.
            unsafe { libc::close(fd) };
        }
        cx.fact(name, attempt(made, format!("socket of family {family}")));
    }
}
