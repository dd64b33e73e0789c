//! Ways back out of AWF's chroot and back to what was dropped: tried by the entrypoint, for which some of them must
//! work, and by user code behind the capability drop, for which none may.

use std::{
    fs::{self, File},
    io,
    mem::zeroed,
    os::{
        fd::{FromRawFd, IntoRawFd, OwnedFd},
        unix::fs::PermissionsExt,
    },
    time::Duration,
};

use awf_probe_matrix::Outcome;

use crate::{
    Cx, Probe, capabilities,
    environment::{behind_the_drop, in_a_child},
    guest,
    sys::{self, attempt, check, in_child},
};

pub(crate) const PROBES: &[Probe] = &[
    Probe {
        id: "back.entrypoint",
        about: "ways out of the chroot, before the drop",
        specs: &["awf", "awf-seccomp"],
        ask: entrypoint,
    },
    Probe {
        id: "back.user",
        about: "ways out of the chroot, after AWF's capsh line",
        specs: &["awf", "awf-seccomp"],
        ask: user,
    },
    Probe { id: "back", about: "the same without a chroot", specs: &["plain", "default-seccomp"], ask: back },
    Probe {
        id: "file-caps",
        about: "a program with file capabilities executed by user 1001",
        specs: &["awf", "plain"],
        ask: file_caps,
    },
    Probe { id: "file-caps.look", about: "the effective capabilities of this process", specs: &[], ask: look },
];

/// Stands at the container's root and nowhere below `/host`.
const OUTSIDE: &str = "awf-probe";

fn entrypoint(cx: &mut Cx) {
    cx.fact("outside", attempt(fs::metadata(format!("/{OUTSIDE}")), "the same path outside the chroot"));
    cx.fact("userns-outside", in_a_child(unshare_user));
    // Not closed on exec and kept over the chroot: what a careless entrypoint would leave to user code.
    let kept = File::open("/").map(IntoRawFd::into_raw_fd);
    if let Err(e) = sys::chroot("/host") {
        return cx.fact("", sys::refused(&e, "chroot /host"));
    }
    back(cx);
    if let Ok(fd) = kept {
        // SAFETY: opened above and owned by nobody else.
        drop(unsafe { OwnedFd::from_raw_fd(fd) });
    }
}

fn user(cx: &mut Cx) {
    behind_the_drop(cx, "back", "back.user");
}

fn back(cx: &mut Cx) {
    cx.fact("uid", Outcome::value(rustix::process::geteuid().as_raw()));
    cx.fact("double", double());
    cx.fact("dotdot", attempt(fs::metadata(format!("/../../../{OUTSIDE}")), "/../../.. from the root"));
    cx.fact("inside", attempt(fs::metadata("/proc/self/root/etc/awf-probe-canary"), "through /proc/self/root"));
    cx.fact("self-root", attempt(fs::metadata(format!("/proc/self/root/../{OUTSIDE}")), "/proc/self/root/.."));
    cx.fact("first-root", attempt(fs::metadata(format!("/proc/1/root/{OUTSIDE}")), "/proc/1/root"));
    cx.fact("descriptors", descriptors());
    cx.fact("userns", in_a_child(unshare_user));
    cx.fact(
        "setuid",
        // SAFETY: takes a number; the child is one of this act alone.
        in_a_child(|| check(unsafe { libc::syscall(libc::SYS_setuid, 0) }).map(drop)),
    );
    cx.fact("capset", in_a_child(|| capabilities::take_capabilities(1 << 18)));
    cx.fact("ambient", in_a_child(ambient));
    // SAFETY: takes numbers.
    let set = unsafe { libc::prctl(libc::PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) };
    cx.fact("no-new-privs", Outcome::value(set));
    cx.fact("groups", groups());
    cx.fact("io_uring", in_a_child(io_uring));
    cx.fact("clone3", in_a_child(clone3));
    cx.fact("keyctl", in_a_child(keyring));
}

/// The classic: a second chroot leaves the working directory outside of it, and `..` has no root to stop at.
fn double() -> Outcome {
    let text = "chroot below, .. sixty times, chroot there";
    let end = in_child(Duration::from_secs(5), || {
        let way = || -> io::Result<bool> {
            let below = format!("/tmp/awfp-below-{}", std::process::id());
            fs::create_dir_all(&below)?;
            let p = sys::c_path(&below);
            // SAFETY: the pointers are valid for the calls.
            check(unsafe { libc::chroot(p.as_ptr()) }.into())?;
            for _ in 0..60 {
                std::env::set_current_dir("..")?;
            }
            // SAFETY: as above.
            check(unsafe { libc::chroot(c".".as_ptr()) }.into())?;
            Ok(fs::metadata(format!("/{OUTSIDE}")).is_ok())
        };
        match way() {
            Ok(true) => 0,
            Ok(false) => 254,
            Err(e) => e.raw_os_error().unwrap_or(255),
        }
    });
    match end {
        Ok(Some(sys::End::Exit(254))) => Outcome::refused("still inside", text),
        end => sys::outcome(end, text),
    }
}

/// Looks through every descriptor of this process for a directory from which the outside can be seen.
fn descriptors() -> Outcome {
    let name = sys::c_path(OUTSIDE);
    let mut open = 0;
    for fd in 0..1024 {
        // SAFETY: asks about numbers; what is opened is closed again.
        unsafe {
            if libc::fcntl(fd, libc::F_GETFD) < 0 {
                continue;
            }
            open += 1;
            let through = libc::openat(fd, name.as_ptr(), libc::O_PATH | libc::O_CLOEXEC);
            if through >= 0 {
                libc::close(through);
                return Outcome::allowed(format!("descriptor {fd} leads out"));
            }
        }
    }
    Outcome::refused("none leads out", format!("{open} descriptors are open"))
}

fn unshare_user() -> io::Result<()> {
    // SAFETY: takes a number; the child is one of this act alone.
    check(unsafe { libc::unshare(libc::CLONE_NEWUSER) }.into()).map(drop)
}

/// SYS_CHROOT into the ambient set, by way of the inheritable one.
fn ambient() -> io::Result<()> {
    capabilities::take_capabilities(1 << 18)?;
    // SAFETY: takes numbers.
    check(unsafe { libc::prctl(libc::PR_CAP_AMBIENT, libc::PR_CAP_AMBIENT_RAISE, 18, 0, 0) }.into()).map(drop)
}

fn groups() -> Outcome {
    let mut list = [0 as libc::gid_t; 64];
    // SAFETY: the buffer has room for 64 groups.
    let n = unsafe { libc::getgroups(64, list.as_mut_ptr()) };
    let Ok(n) = usize::try_from(n) else { return sys::refused(&io::Error::last_os_error(), "getgroups") };
    let text: Vec<String> = list[..n].iter().map(ToString::to_string).collect();
    Outcome::value(if text.is_empty() { "none".to_owned() } else { text.join(" ") })
}

fn io_uring() -> io::Result<()> {
    // A ring of one entry, closed again; the parameters are 120 zero bytes.
    let mut parameters = [0_u64; 15];
    // SAFETY: the buffer is as large as the kernel's structure.
    let fd = check(unsafe { libc::syscall(libc::SYS_io_uring_setup, 1, parameters.as_mut_ptr()) })?;
    // SAFETY: the descriptor was made just now.
    drop(unsafe { OwnedFd::from_raw_fd(fd as i32) });
    Ok(())
}

fn clone3() -> io::Result<()> {
    // SAFETY: all-zero arguments but for the signal are a plain fork.
    unsafe {
        let mut args: libc::clone_args = zeroed();
        args.exit_signal = libc::SIGCHLD as u64;
        let pid = check(libc::syscall(libc::SYS_clone3, &raw mut args, size_of::<libc::clone_args>()))?;
        if pid == 0 {
            libc::_exit(0);
        }
        libc::waitpid(pid as i32, std::ptr::null_mut(), 0);
    }
    Ok(())
}

fn keyring() -> io::Result<()> {
    // KEYCTL_GET_KEYRING_ID of the session keyring, without making one.
    // SAFETY: takes numbers.
    match check(unsafe { libc::syscall(libc::SYS_keyctl, 0, -3, 0) }) {
        // There is none: the call itself was made.
        Err(e) if e.raw_os_error() == Some(libc::ENOKEY) => Ok(()),
        other => other.map(drop),
    }
}

const HELPER: &str = "/awf-probe-file-caps";

fn file_caps(cx: &mut Cx) {
    let made = fs::copy("/awf-probe", HELPER)
        .and_then(|_| fs::set_permissions(HELPER, fs::Permissions::from_mode(0o755)))
        .and_then(|()| capabilities::give_file_capabilities(HELPER, 1 << 18));
    if let Err(e) = made {
        return cx.fact("", sys::refused(&e, "a program with file capabilities cannot be made"));
    }
    let Some(mut twin) = cx.twin("file-caps") else { return cx.fact("", Outcome::broken("dup")) };
    let end = in_child(Duration::from_secs(10), || {
        if let Err(e) = sys::become_user(1001) {
            twin.fact("", Outcome::broken(format!("cannot become user 1001: {e}")));
            return 1;
        }
        match sys::run(HELPER, &["guest-once", "file-caps.look", "file-caps", "{}"], Duration::from_secs(5)) {
            Ok(r) => match guest::parse_facts(&r.out).get("file-caps") {
                Some(fact) => twin.relay(fact),
                None => twin.fact("", Outcome::broken(format!("exit {:?}: {}", r.status, r.err))),
            },
            Err(e) => twin.fact("", sys::refused(&e, format!("exec {HELPER}"))),
        }
        0
    });
    if end.is_err() {
        cx.fact("", Outcome::broken("fork"));
    }
}

fn look(cx: &mut Cx) {
    cx.fact(
        "",
        match capabilities::effective() {
            Ok(set) if set & (1 << 18) != 0 => Outcome::allowed(format!("effective {set:016x}")),
            Ok(set) => Outcome::refused("nothing gained", format!("effective {set:016x}")),
            Err(e) => Outcome::broken(format!("capget: {e}")),
        },
    );
}
