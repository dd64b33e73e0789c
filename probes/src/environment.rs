//! What user code finds after AWF's chroot and capability drop, beside what the entrypoint finds before.
//!
//! One battery, asked twice: `undropped` in the chroot with every capability AWF's container has, `dropped`
//! after capsh has taken SYS_CHROOT and SYS_ADMIN away and changed the user.

use std::{
    fs, io,
    os::{fd::AsRawFd, unix::net::UnixStream},
    path::Path,
    time::Duration,
};

use awf_probe_matrix::Outcome;

use crate::{
    Cx, Probe, guest, net,
    sys::{self, attempt, check, first_existing, in_child},
};

pub(crate) const PROBES: &[Probe] = &[
    Probe { id: "undropped", about: "the battery in the chroot, before the drop", specs: &["awf"], ask: undropped },
    Probe { id: "dropped", about: "the battery after AWF's capsh line", specs: &["awf"], ask: dropped },
    Probe { id: "battery", about: "the battery where it stands", specs: &["plain"], ask: battery },
];

/// Where the executable is copied so that it can be executed inside the chroot.
const COPY: &str = "/tmp/awf-probe";

/// Variables of AWF's agent.
const VARIABLES: &[&str] = &["HTTP_PROXY", "HTTPS_PROXY", "https_proxy", "http_proxy", "NO_PROXY", "no_proxy"];

fn undropped(cx: &mut Cx) {
    match sys::chroot("/host") {
        Ok(()) => battery(cx),
        Err(e) => cx.fact("", sys::refused(&e, "chroot /host")),
    }
}

fn dropped(cx: &mut Cx) {
    behind_the_drop(cx, "battery", "dropped");
}

/// Runs a battery as user code, behind the chroot and AWF's capsh line, and passes its facts on under a label.
pub(crate) fn behind_the_drop(cx: &mut Cx, battery: &str, label: &str) {
    let Some(capsh) = first_existing(&["/host/usr/sbin/capsh", "/host/sbin/capsh", "/host/usr/bin/capsh"]) else {
        return cx.fact("", Outcome::Skipped { why: "tool missing: capsh".to_owned() });
    };
    if let Err(e) = copy_into("/host").and_then(|()| sys::chroot("/host")) {
        return cx.fact("", sys::refused(&e, "chroot /host with a copy of the executable"));
    }
    let params = cx.params().to_string();
    let command = format!("exec {COPY} guest-once {battery} {label} '{params}'");
    let capsh = capsh.trim_start_matches("/host");
    let args = ["--drop=cap_sys_chroot,cap_sys_admin", "--user=agent", "--", "-c", &command];
    match sys::run(capsh, &args, Duration::from_secs(10)) {
        Ok(r) => {
            let facts = guest::parse_facts(&r.out);
            for fact in facts.values() {
                cx.relay(fact);
            }
            let outcome = match r.status {
                Some(0) if !facts.is_empty() => Outcome::allowed("capsh ran the user's command"),
                Some(status) => Outcome::refused(format!("exit {status}"), r.err),
                None => Outcome::refused("killed", r.err),
            };
            cx.fact("", outcome);
        }
        Err(e) => cx.fact("", sys::refused(&e, format!("exec {capsh} in the chroot"))),
    }
}

/// Copies the executable below `root`, where it can be executed after a chroot.
pub(crate) fn copy_into(root: &str) -> io::Result<()> {
    let target = format!("{root}{COPY}");
    if Path::new(&target).exists() {
        return Ok(());
    }
    fs::copy("/awf-probe", &target)?;
    fs::set_permissions(&target, std::os::unix::fs::PermissionsExt::from_mode(0o755))
}

fn battery(cx: &mut Cx) {
    capabilities(cx);
    for name in VARIABLES {
        cx.fact(
            &format!("env.{name}"),
            match std::env::var(name) {
                Ok(v) => Outcome::value(v),
                Err(_) => Outcome::refused("unset", ""),
            },
        );
    }
    for (name, path) in [
        ("read.canary", "/etc/awf-probe-canary"),
        ("read.shadow", "/etc/shadow"),
        ("read.visible", "/home/agent/visible"),
        ("read.unlisted-home", "/home/other/secret"),
        ("read.credential", "/home/agent/.netrc"),
    ] {
        cx.fact(name, read(path));
    }
    cx.fact(
        "self-exe",
        match fs::read_link("/proc/self/exe") {
            Ok(p) => Outcome::value(p.display()),
            Err(e) => sys::refused(&e, "/proc/self/exe"),
        },
    );
    sockets(cx);
}

fn capabilities(cx: &mut Cx) {
    let mut bounding = 0_u64;
    for bit in 0..64 {
        // SAFETY: PR_CAPBSET_READ takes a number.
        match unsafe { libc::prctl(libc::PR_CAPBSET_READ, bit, 0, 0, 0) } {
            1 => bounding |= 1 << bit,
            0 => {}
            _ => break,
        }
    }
    cx.fact("bounding", Outcome::value(format!("{bounding:016x}")));
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    for field in ["CapEff", "CapPrm", "CapInh", "CapAmb", "NoNewPrivs", "Seccomp"] {
        let value = status.lines().find_map(|l| l.strip_prefix(field)?.strip_prefix(':'));
        cx.fact(
            &format!("status.{field}"),
            match value {
                Some(v) => Outcome::value(v.trim()),
                None => Outcome::refused("no such line", "/proc/self/status"),
            },
        );
    }
    cx.fact("uid", Outcome::value(rustix::process::geteuid().as_raw()));
    cx.fact("chroot", in_a_child(|| sys::chroot("/tmp")));
    cx.fact(
        "mount",
        in_a_child(|| {
            let place = "/tmp/awf-probe-mount";
            fs::create_dir_all(place)?;
            sys::mount("none", place, "tmpfs", 0, "size=64k")?;
            let p = sys::c_path(place);
            // AWF's own profile denies umount2; a mount that stays is gone with the sandbox.
            // SAFETY: the pointer is valid for the call.
            unsafe { libc::umount2(p.as_ptr(), libc::MNT_DETACH) };
            Ok(())
        }),
    );
    cx.fact(
        "sethostname",
        in_a_child(|| {
            // The name it has already: under a runtime without a UTS namespace it would be the host's.
            let uname = rustix::system::uname();
            let name = uname.nodename().to_bytes();
            // SAFETY: the buffer is valid for its length.
            check(unsafe { libc::sethostname(name.as_ptr().cast(), name.len()) }.into()).map(drop)
        }),
    );
    cx.fact("raw-socket", attempt(net::raw_socket(libc::AF_INET, libc::SOCK_RAW, libc::IPPROTO_ICMP), "ICMP"));
    cx.fact("net-admin", attempt(force_buffer(), "SO_RCVBUFFORCE"));
    cx.fact(
        "mknod",
        in_a_child(|| {
            let p = sys::c_path("/tmp/awf-probe-node");
            // SAFETY: the pointer is valid for the call. 1:3 is /dev/null.
            let r = unsafe { libc::mknod(p.as_ptr(), libc::S_IFCHR | 0o600, libc::makedev(1, 3)) };
            drop(fs::remove_file("/tmp/awf-probe-node"));
            check(r.into()).map(drop)
        }),
    );
}

pub(crate) fn force_buffer() -> io::Result<()> {
    let fd = net::raw_socket(libc::AF_INET, libc::SOCK_DGRAM, 0)?;
    let size: libc::c_int = 1 << 16;
    let len = size_of::<libc::c_int>() as libc::socklen_t;
    // SAFETY: the pointer is valid for `len` bytes.
    check(
        unsafe {
            let p = (&raw const size).cast();
            libc::setsockopt(fd.as_raw_fd(), libc::SOL_SOCKET, libc::SO_RCVBUFFORCE, p, len)
        }
        .into(),
    )
    .map(drop)
}

pub(crate) fn in_a_child(work: impl FnOnce() -> io::Result<()>) -> Outcome {
    let end = in_child(Duration::from_secs(5), || match work() {
        Ok(()) => 0,
        Err(e) => e.raw_os_error().unwrap_or(255),
    });
    sys::outcome(end, "")
}

/// The content of a file, or why it cannot be read. A file that is there and empty says so: that is how a
/// credential is masked.
pub(crate) fn read(path: &str) -> Outcome {
    match fs::read(path) {
        Ok(b) if b.is_empty() => Outcome::refused("empty", path),
        Ok(b) => Outcome::allowed(format!("{} bytes: {}", b.len(), net::printable(&b))),
        Err(e) => sys::refused(&e, path),
    }
}

fn sockets(cx: &mut Cx) {
    // The control: a socket that is there and answers, so that a refusal below is not the client's fault.
    let path = "/tmp/awf-probe-control.sock";
    drop(fs::remove_file(path));
    let control = std::os::unix::net::UnixListener::bind(path).and_then(|l| {
        let s = UnixStream::connect(path)?;
        l.accept().map(|_| drop(s))
    });
    drop(fs::remove_file(path));
    cx.fact("unix-socket.control", attempt(control, "connect to a socket of its own"));
    for path in ["/var/run/docker.sock", "/run/docker.sock", "/run/containerd/containerd.sock"] {
        cx.fact(&format!("unix-socket.{path}"), attempt(UnixStream::connect(path), path));
    }
}
