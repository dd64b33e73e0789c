//! procfs as AWF mounts it, and the parts of it that must be masked or read-only.

use std::{
    fs::{self, OpenOptions},
    io::{self, Read},
    time::Duration,
};

use awf_probe_matrix::Outcome;

use crate::{
    Cx, Probe,
    sys::{self, in_child},
};

pub(crate) const PROBES: &[Probe] = &[
    Probe {
        id: "procfs.mount", about: "mount -t proc … hidepid=2 at /host/proc", specs: &["awf", "bare"], ask: mount
    },
    Probe { id: "procfs.hidepid", about: "another user's process through both mounts", specs: &["awf"], ask: hidepid },
    Probe { id: "procfs.masked", about: "paths the engine masks", specs: &["awf", "unlimited"], ask: masked },
    Probe {
        id: "procfs.readonly",
        about: "paths the engine makes read-only",
        specs: &["awf", "unlimited"],
        ask: readonly,
    },
    Probe {
        id: "procfs.path",
        about: "each masked path read, each read-only path opened for writing",
        specs: &["awf", "unlimited"],
        ask: paths,
    },
];

fn mount(cx: &mut Cx) {
    let flags = libc::MS_NOSUID | libc::MS_NODEV | libc::MS_NOEXEC;
    drop(fs::create_dir_all("/host/proc"));
    cx.fact("before", sys::attempt(fs::metadata("/host/proc/self"), "/host/proc/self before"));
    let outcome = match sys::mount("proc", "/host/proc", "proc", flags, "hidepid=2") {
        Ok(()) => match fs::read_link("/host/proc/self") {
            Ok(p) => Outcome::allowed(format!("/host/proc/self is {}", p.display())),
            Err(e) => sys::refused(&e, "mounted, but /host/proc/self cannot be read"),
        },
        Err(e) => sys::refused(&e, "mount -t proc -o nosuid,nodev,noexec,hidepid=2 proc /host/proc"),
    };
    cx.fact("", outcome);
}

/// User 1002 looks for a process of user 1001.
fn hidepid(cx: &mut Cx) {
    // SAFETY: the guest is single-threaded.
    let victim = unsafe { libc::fork() };
    if victim == 0 {
        drop(sys::become_user(1001));
        std::thread::sleep(Duration::from_secs(20));
        // SAFETY: leaves without running the parent's destructors.
        unsafe { libc::_exit(0) }
    }
    // Long enough for the victim to have changed its user; looked up, not assumed.
    for _ in 0..500 {
        let status = fs::read_to_string(format!("/proc/{victim}/status")).unwrap_or_default();
        if status.lines().any(|l| l.starts_with("Uid:") && l.contains("1001")) {
            break;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    for (name, root) in [("hidden", "/host/proc"), ("control", "/proc")] {
        let Some(mut twin) = cx.twin(&format!("procfs.hidepid.{name}")) else { continue };
        let path = format!("{root}/{victim}/cmdline");
        let end = in_child(Duration::from_secs(5), || {
            if let Err(e) = sys::become_user(1002) {
                twin.fact("", Outcome::broken(format!("cannot become user 1002: {e}")));
                return 1;
            }
            twin.fact("", sys::attempt(fs::read(&path), &path));
            let listed = fs::read_dir(root)
                .is_ok_and(|d| d.flatten().any(|e| e.file_name().to_string_lossy() == victim.to_string()));
            twin.fact("listed", Outcome::value(listed));
            0
        });
        if end.is_err() {
            cx.fact(name, Outcome::broken("fork"));
        }
    }
    // SAFETY: the victim is an unreaped child.
    unsafe {
        libc::kill(victim, libc::SIGKILL);
        libc::waitpid(victim, std::ptr::null_mut(), 0);
    }
}

const MASKED: &[&str] = &[
    "/proc/acpi",
    "/proc/asound",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/sys/firmware",
];

/// Masked by newer engines only: recorded, not judged.
const MASKED_LATELY: &[&str] =
    &["/proc/interrupts", "/sys/devices/virtual/powercap", "/sys/devices/system/cpu/cpu0/thermal_throttle"];

/// Counts what can be read; absent and masked are told apart.
fn masked(cx: &mut Cx) {
    let (mut readable, mut closed, mut absent) = (Vec::new(), Vec::new(), Vec::new());
    for path in MASKED {
        match content(path) {
            Ok(true) => readable.push(*path),
            Ok(false) => closed.push(*path),
            Err(e) if e.kind() == io::ErrorKind::NotFound => absent.push(*path),
            Err(_) => closed.push(*path),
        }
    }
    // /proc/scsi, /proc/acpi and /proc/asound are empty folders on many hosts, masked or not.
    cx.fact(
        "readable",
        match (readable.len() + closed.len(), readable.len()) {
            (0, _) => Outcome::Absent { why: "this kernel has none of the paths".to_owned() },
            (_, n) => Outcome::value(n),
        },
    );
    cx.fact("paths", Outcome::value(format!("readable: {readable:?}; closed: {closed:?}; absent: {absent:?}")));
    let lately: Vec<_> = MASKED_LATELY.iter().filter(|p| content(p).unwrap_or(false)).collect();
    cx.fact("readable-lately", Outcome::value(format!("{lately:?}")));
}

/// Whether there is anything to read.
fn content(path: &str) -> io::Result<bool> {
    if fs::metadata(path)?.is_dir() {
        return Ok(fs::read_dir(path)?.next().is_some());
    }
    let mut byte = [0];
    Ok(fs::File::open(path)?.read(&mut byte)? == 1)
}

const READONLY: &[&str] = &[
    "/proc/sys/kernel/core_pattern",
    "/proc/sys/kernel/modprobe",
    "/proc/sys/vm/swappiness",
    "/proc/sys/kernel/hostname",
    "/proc/sysrq-trigger",
    "/proc/irq/default_smp_affinity",
];

/// Opens for writing and writes nothing.
fn readonly(cx: &mut Cx) {
    let (mut writable, mut refused, mut absent) = (Vec::new(), Vec::new(), Vec::new());
    for path in READONLY {
        match OpenOptions::new().write(true).open(path) {
            Ok(_) => writable.push((*path).to_owned()),
            Err(e) if e.kind() == io::ErrorKind::NotFound => absent.push(*path),
            Err(e) => refused.push(format!("{path} {}", sys::errno_name(&e))),
        }
    }
    cx.fact(
        "writable",
        if writable.is_empty() && refused.is_empty() {
            Outcome::Absent { why: "this kernel has none of the paths".to_owned() }
        } else {
            Outcome::value(writable.len())
        },
    );
    cx.fact("paths", Outcome::value(format!("writable: {writable:?}; refused: {refused:?}; absent: {absent:?}")));
}

/// Fact and path of what is read.
const READ: &[(&str, &str)] = &[
    ("kcore", "/proc/kcore"),
    ("keys", "/proc/keys"),
    ("timer-list", "/proc/timer_list"),
    ("sched-debug", "/proc/sched_debug"),
    ("latency-stats", "/proc/latency_stats"),
    ("acpi", "/proc/acpi"),
    ("asound", "/proc/asound"),
    ("scsi", "/proc/scsi"),
    ("firmware", "/sys/firmware"),
];

/// Fact and path of what is opened for writing. Nothing is ever written to any of them.
const OPENED: &[(&str, &str)] = &[
    ("sysrq-trigger", "/proc/sysrq-trigger"),
    ("core-pattern", "/proc/sys/kernel/core_pattern"),
    ("modprobe", "/proc/sys/kernel/modprobe"),
    ("binfmt-misc", "/proc/sys/fs/binfmt_misc/register"),
    ("swappiness", "/proc/sys/vm/swappiness"),
    ("irq", "/proc/irq/default_smp_affinity"),
    ("bus", "/proc/bus/pci/00/00.0"),
];

fn paths(cx: &mut Cx) {
    for (name, path) in READ {
        cx.fact(
            name,
            match content(path) {
                Ok(true) => Outcome::allowed(format!("{path} can be read")),
                Ok(false) => Outcome::refused("empty", *path),
                Err(e) => sys::refused(&e, *path),
            },
        );
    }
    for (name, path) in OPENED {
        let opened = OpenOptions::new().write(true).open(path);
        cx.fact(name, sys::attempt(opened, format!("open {path} for writing")));
    }
}
