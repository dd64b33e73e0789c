//! What the guest was really given: asked first where no engine vouches for it, so that nothing is judged in a sandbox
//! that is not the one that was asked for.

use std::{collections::BTreeSet, ffi::CStr, fs, io};

use awf_probe_matrix::Outcome;

use crate::{Cx, Probe, capabilities, sys};

pub(crate) const PROBES: &[Probe] = &[Probe {
    id: "setting",
    about: "capabilities, no-new-privileges, seccomp mode, user and network interfaces of the guest itself",
    specs: &[],
    ask: setting,
}];

fn setting(cx: &mut Cx) {
    let hex = |set: io::Result<u64>| match set {
        Ok(set) => Outcome::value(format!("{set:x}")),
        Err(e) => sys::refused(&e, "capget"),
    };
    cx.fact("effective", hex(capabilities::effective()));
    cx.fact("bounding", Outcome::value(format!("{:x}", bounding())));
    // SAFETY: the calls take no pointers.
    let (privileges, seccomp) =
        unsafe { (libc::prctl(libc::PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0), libc::prctl(libc::PR_GET_SECCOMP, 0, 0, 0, 0)) };
    cx.fact("no-new-privs", Outcome::value(privileges));
    cx.fact("seccomp", Outcome::value(seccomp));
    cx.fact("user", Outcome::value(rustix::process::geteuid().as_raw()));
    let last = fs::read_to_string("/proc/sys/kernel/cap_last_cap").ok().and_then(|s| s.trim().parse::<u32>().ok());
    cx.fact("last-capability", Outcome::value(last.unwrap_or(40)));
    cx.fact(
        "interfaces",
        match interfaces() {
            Ok(names) if names.is_empty() => Outcome::value("none"),
            Ok(names) => Outcome::value(names.into_iter().collect::<Vec<_>>().join(" ")),
            Err(e) => sys::refused(&e, "getifaddrs"),
        },
    );
}

fn bounding() -> u64 {
    // SAFETY: the call takes no pointers; numbers the kernel does not know are refused.
    let has = |n: &u32| unsafe { libc::prctl(libc::PR_CAPBSET_READ, libc::c_ulong::from(*n), 0, 0, 0) } == 1;
    (0..64).filter(has).map(|n| 1_u64 << n).sum()
}

/// Interfaces that are up and are not loopback.
fn interfaces() -> io::Result<BTreeSet<String>> {
    let mut list = std::ptr::null_mut();
    // SAFETY: the list is made by the call, walked while it lives, and freed once.
    unsafe {
        sys::check(libc::c_long::from(libc::getifaddrs(&raw mut list)))?;
        let mut names = BTreeSet::new();
        let mut next = list;
        while let Some(one) = next.as_ref() {
            if one.ifa_flags & libc::IFF_UP as u32 != 0 && one.ifa_flags & libc::IFF_LOOPBACK as u32 == 0 {
                names.insert(CStr::from_ptr(one.ifa_name).to_string_lossy().into_owned());
            }
            next = one.ifa_next;
        }
        libc::freeifaddrs(list);
        Ok(names)
    }
}

/// Gives up every capability outside this set: out of the bounding set, then out of every other.
pub(crate) fn keep(set: u64) -> io::Result<()> {
    for n in (0..64).filter(|n| bounding() & (1 << n) != 0 && set & (1 << n) == 0) {
        // SAFETY: the call takes no pointers.
        sys::check(libc::c_long::from(unsafe {
            libc::prctl(libc::PR_CAPBSET_DROP, libc::c_ulong::from(n as u32), 0, 0, 0)
        }))?;
    }
    capabilities::drop_capabilities(!set)
}
