//! AppArmor: the profile a sandbox has, and what it refuses. Nothing is written: files are opened and closed again.

use std::fs::{self, OpenOptions};

use awf_probe_matrix::Outcome;

use crate::{
    Cx, Probe,
    sys::{self, attempt},
};

pub(crate) const PROBES: &[Probe] = &[Probe {
    id: "apparmor",
    about: "the profile's name, a path and a call it denies, and a path it does not",
    specs: &["apparmor", "apparmor-off"],
    ask: apparmor,
}];

fn apparmor(cx: &mut Cx) {
    let own = ["/proc/self/attr/apparmor/current", "/proc/self/attr/current"];
    let read = own.iter().map(fs::read_to_string).find(Result::is_ok).unwrap_or_else(|| fs::read_to_string(own[1]));
    cx.fact(
        "label",
        match read {
            // `docker-default (enforce)`
            Ok(text) => Outcome::value(text.trim_end_matches(['\n', '\0']).trim()),
            Err(e) => sys::refused(&e, own[1]),
        },
    );
    // Denied by name in the engine's profile; a process may write its own comm under it.
    for (name, path) in [("path", "/proc/sysrq-trigger"), ("neighbour", "/proc/self/comm")] {
        cx.fact(name, attempt(OpenOptions::new().write(true).open(path), format!("open {path} for writing")));
    }
    let dir = "/tmp/awf-probe-apparmor";
    let mounted = fs::create_dir_all(dir).and_then(|()| sys::mount("none", dir, "tmpfs", 0, "size=4k"));
    if mounted.is_ok() {
        // SAFETY: the pointer is valid for the call; what cannot be unmounted goes with the sandbox.
        unsafe { libc::umount2(sys::c_path(dir).as_ptr(), libc::MNT_DETACH) };
    }
    cx.fact("mount", attempt(mounted, "mount a tmpfs"));
}
