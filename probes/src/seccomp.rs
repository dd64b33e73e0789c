//! Whether the seccomp profile given to the engine governs the sandbox: by behaviour, the status line beside it.

use std::{fs, io, time::Duration};

use awf_probe_matrix::Outcome;

use crate::{
    Cx, Probe,
    sys::{self, End},
};

pub(crate) const PROBES: &[Probe] = &[Probe {
    id: "seccomp",
    about: "system calls that the marker profile refuses with an errno of its own",
    specs: &["marker", "plain", "awf-seccomp"],
    ask: seccomp,
}];

fn seccomp(cx: &mut Cx) {
    let (mut cpu, mut node) = (0_u32, 0_u32);
    // SAFETY: both pointers are valid for the call; the vDSO is not asked.
    let r = unsafe { libc::syscall(libc::SYS_getcpu, &raw mut cpu, &raw mut node, 0) };
    cx.fact("marker", outcome(r, "getcpu"));
    // SAFETY: reads into a valid buffer.
    let r = unsafe {
        let mut info: libc::sysinfo = std::mem::zeroed();
        libc::syscall(libc::SYS_sysinfo, &raw mut info)
    };
    cx.fact("neighbour", outcome(r, "sysinfo"));
    // An argument filter: only PR_GET_DUMPABLE among the prctl calls is refused.
    // SAFETY: prctl with numbers only.
    let (dumpable, name) = unsafe {
        let mut name = [0_u8; 16];
        let d = libc::syscall(libc::SYS_prctl, libc::PR_GET_DUMPABLE, 0, 0, 0, 0);
        (d, libc::syscall(libc::SYS_prctl, libc::PR_GET_NAME, name.as_mut_ptr(), 0, 0, 0))
    };
    cx.fact("argument", outcome(dumpable, "prctl(PR_GET_DUMPABLE)"));
    cx.fact("other-argument", outcome(name, "prctl(PR_GET_NAME)"));
    // SAFETY: takes a number no kernel knows.
    let r = unsafe { libc::syscall(CUSTOM, 99, 0, 0) };
    cx.fact("custom", outcome(r, "sysfs(99)"));
    // SAFETY: writes into a valid buffer.
    let r = unsafe {
        let mut times: libc::tms = std::mem::zeroed();
        libc::syscall(libc::SYS_times, &raw mut times)
    };
    cx.fact("log", outcome(r, "times"));
    for (name, nr) in [("kill", libc::SYS_getitimer), ("trap", libc::SYS_setitimer)] {
        let end = sys::in_child(Duration::from_secs(5), || {
            // SAFETY: `old` has room for a timer; a null new value sets none.
            unsafe {
                let mut old: libc::itimerval = std::mem::zeroed();
                if nr == libc::SYS_getitimer {
                    libc::syscall(nr, libc::ITIMER_REAL, &raw mut old);
                } else {
                    libc::syscall(nr, libc::ITIMER_REAL, 0, &raw mut old);
                }
            }
            0
        });
        cx.fact(
            name,
            match end {
                Ok(Some(End::Exit(_))) => Outcome::allowed("the child made the call and lives"),
                Ok(Some(End::Signal(signal))) => Outcome::Killed { signal, detail: "a timer call".to_owned() },
                Ok(None) => Outcome::broken("the child did not end"),
                Err(e) => Outcome::broken(format!("fork: {e}")),
            },
        );
    }
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|l| l.strip_prefix("Seccomp:")).unwrap_or("absent");
    cx.fact("status", Outcome::value(line.trim()));
}

/// A call nothing uses, for a rule with an errno of its own.
#[cfg(target_arch = "x86_64")]
const CUSTOM: libc::c_long = libc::SYS_sysfs;
#[cfg(not(target_arch = "x86_64"))]
const CUSTOM: libc::c_long = libc::SYS_sched_rr_get_interval;

fn outcome(result: libc::c_long, what: &str) -> Outcome {
    if result < 0 { sys::refused(&io::Error::last_os_error(), what) } else { Outcome::allowed(what) }
}
