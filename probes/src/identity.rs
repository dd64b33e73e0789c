//! Who runs the sandbox: what the kernel inside says of itself. The other half is asked of the host.

use std::fs;

use awf_probe_matrix::Outcome;

use crate::{Cx, Probe, sys};

pub(crate) const PROBES: &[Probe] = &[Probe {
    id: "identity",
    about: "kernel release, boot id, uptime, processor, and system calls only Linux has",
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
    if let Some(machine) = hypervisor() {
        cx.fact("hypervisor", Outcome::value(machine));
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

/// What plays the machine, as the processor names it: `none` on bare metal. A guest under an emulator is told of the
/// emulator, a process of the host's kernel of what the host itself is told.
#[cfg(target_arch = "x86_64")]
pub fn hypervisor() -> Option<String> {
    use std::arch::x86_64::__cpuid;
    if __cpuid(1).ecx & 1 << 31 == 0 {
        return Some("none".to_owned());
    }
    let leaf = __cpuid(0x4000_0000);
    let bytes: Vec<u8> = [leaf.ebx, leaf.ecx, leaf.edx].iter().flat_map(|r| r.to_le_bytes()).collect();
    let name: String = bytes.iter().filter(|b| b.is_ascii_graphic()).map(|b| char::from(*b)).collect();
    Some(if name.is_empty() { "unnamed".to_owned() } else { name })
}

/// Other processors do not tell an ordinary process.
#[cfg(not(target_arch = "x86_64"))]
pub fn hypervisor() -> Option<String> {
    None
}
