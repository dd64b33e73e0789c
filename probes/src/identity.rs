//! Who runs the sandbox: what the kernel inside says of itself. The other half is asked of the host.

use std::fs;

use awf_probe_matrix::Outcome;

use crate::{Cx, Probe, sys};

pub(crate) const PROBES: &[Probe] = &[Probe {
    id: "identity",
    about: "kernel release, boot id, uptime, and system calls only Linux has",
    specs: &["plain"],
    ask: identity,
}];

fn identity(cx: &mut Cx) {
    let uname = rustix::system::uname();
    let text = |c: &std::ffi::CStr| c.to_string_lossy().into_owned();
    cx.fact("release", Outcome::value(text(uname.release())));
    cx.fact("version", Outcome::value(text(uname.version())));
    for (name, path) in [
        ("proc-version", "/proc/version"),
        ("boot-id", "/proc/sys/kernel/random/boot_id"),
        ("uptime", "/proc/uptime"),
        ("cmdline", "/proc/cmdline"),
    ] {
        let outcome = match fs::read_to_string(path) {
            Ok(s) => Outcome::value(s.trim().chars().take(200).collect::<String>()),
            Err(e) => sys::refused(&e, path),
        };
        cx.fact(name, outcome);
    }
    // Bad arguments on purpose: Linux answers with another errno than ENOSYS whatever the caller may do.
    let calls: [(&str, libc::c_long); 6] = [
        ("landlock_create_ruleset", libc::SYS_landlock_create_ruleset),
        ("bpf", libc::SYS_bpf),
        ("kcmp", libc::SYS_kcmp),
        ("io_uring_setup", libc::SYS_io_uring_setup),
        ("perf_event_open", libc::SYS_perf_event_open),
        ("userfaultfd", libc::SYS_userfaultfd),
    ];
    let absent: Vec<&str> = calls
        .iter()
        .filter(|(_, nr)| {
            // SAFETY: null pointers and impossible flags; the kernel refuses them.
            let r = unsafe { libc::syscall(*nr, 0, 0, -1, -1, -1) };
            r < 0 && std::io::Error::last_os_error().raw_os_error() == Some(libc::ENOSYS)
        })
        .map(|(name, _)| *name)
        .collect();
    cx.fact("enosys", Outcome::value(format!("{} of {}: {}", absent.len(), calls.len(), absent.join(" "))));
}
