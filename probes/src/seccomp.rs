//! Whether the seccomp profile given to the engine governs the sandbox: by behaviour, the status line beside it.

use std::{fs, io};

use awf_probe_matrix::Outcome;

use crate::{Cx, Probe, sys};

pub(crate) const PROBES: &[Probe] = &[Probe {
    id: "seccomp",
    about: "system calls that the marker profile refuses with an errno of its own",
    specs: &["marker", "plain"],
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
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|l| l.strip_prefix("Seccomp:")).unwrap_or("absent");
    cx.fact("status", Outcome::value(line.trim()));
}

fn outcome(result: libc::c_long, what: &str) -> Outcome {
    if result < 0 { sys::refused(&io::Error::last_os_error(), what) } else { Outcome::allowed(what) }
}
