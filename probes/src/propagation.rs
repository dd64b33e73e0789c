//! Mounts made on one side of a bind mount, looked for on the other.
//!
//! What is mounted here may be mounted on the host as well. It is taken away when the scenario says so, and when the
//! guest's input ends: see [`undo`].

use std::{fs, path::PathBuf, time::Duration};

use crate::{Cx, Probe, sys};

pub(crate) const PROBES: &[Probe] = &[
    Probe { id: "propagation.folders", about: "makes the folders that are mounted", specs: &[], ask: folders },
    Probe { id: "propagation.mount", about: "mounts a tmpfs with a file in it", specs: &[], ask: mount },
    Probe { id: "propagation.look", about: "looks for that file", specs: &[], ask: look },
    Probe { id: "propagation.unmount", about: "unmounts it", specs: &[], ask: unmount },
];

/// The file in what is mounted.
const MARK: &str = "awf-probe-mounted";

/// Prefix of the folder in which a scenario has things mounted: by it the guest knows what to unmount at its end.
pub const MOUNTED: &str = "awf-probe-on-";

fn folders(cx: &mut Cx) {
    let made = cx.texts("dirs").iter().try_for_each(fs::create_dir_all);
    cx.fact("", sys::attempt(made, "folders"));
}

fn mount(cx: &mut Cx) {
    let at = cx.text("path").to_owned();
    let work = || {
        fs::create_dir_all(&at)?;
        sys::mount("tmpfs", &at, "tmpfs", 0, "size=64k")?;
        fs::write(PathBuf::from(&at).join(MARK), b"mounted")
    };
    if cx.params()["apart"] != true {
        return cx.fact("", sys::attempt(work(), at));
    }
    // In another mount namespace: whoever sees this one sees what others mount.
    let end = sys::in_child(Duration::from_secs(5), || {
        // SAFETY: the child is a process of one task.
        let apart = sys::check(libc::c_long::from(unsafe { libc::unshare(libc::CLONE_NEWNS) }));
        apart.and_then(|_| work()).map_or_else(|e| e.raw_os_error().unwrap_or(1), |()| 0)
    });
    cx.fact("", sys::outcome(end, at));
}

fn look(cx: &mut Cx) {
    let path = PathBuf::from(cx.text("path")).join(MARK);
    cx.fact("", sys::attempt(fs::metadata(&path).map(drop), path.display().to_string()));
}

fn unmount(cx: &mut Cx) {
    let at = sys::c_path(cx.text("path"));
    // SAFETY: a valid C string.
    let done = sys::check(libc::c_long::from(unsafe { libc::umount2(at.as_ptr(), libc::MNT_DETACH) })).map(drop);
    cx.fact("", sys::attempt(done, cx.text("path").to_owned()));
}

/// Unmounts whatever a probe of this family has left mounted in this sandbox.
pub(crate) fn undo() {
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    for at in mounts.lines().filter_map(|l| l.split(' ').nth(4)).filter(|at| at.contains(MOUNTED)) {
        let at = sys::c_path(at);
        // SAFETY: a valid C string. A failure leaves the mount to whoever removes the folder, who is told.
        unsafe { libc::umount2(at.as_ptr(), libc::MNT_DETACH) };
    }
}
