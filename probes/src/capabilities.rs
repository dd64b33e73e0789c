//! Each capability by what it lets a process do, with it and after giving up that one alone.
//!
//! Where the act would harm the host the kernel is given an argument it refuses only after it has looked at the
//! capability: the errno of the refusal tells how far the call came.

use std::{
    fs::{self, File, OpenOptions, Permissions},
    io,
    os::{
        fd::AsRawFd,
        unix::fs::{MetadataExt, PermissionsExt},
    },
    path::Path,
    time::Duration,
};

use awf_probe_matrix::Outcome;

use crate::{
    Cx, Probe, net,
    sys::{self, attempt, check, in_child},
};

pub(crate) const PROBES: &[Probe] = &[
    Probe {
        id: "cap",
        about: "what each capability lets a process do, as the sandbox stands",
        specs: &["all-caps", "plain", "bare", "awf"],
        ask: with,
    },
    Probe {
        id: "cap.without",
        about: "the same after giving up one capability alone",
        specs: &["all-caps"],
        ask: without,
    },
];

struct Trial {
    name: &'static str,
    bit: u32,
    /// Others that would allow the same, given up on both sides of the comparison.
    also: &'static [u32],
    act: fn() -> Outcome,
}

const SYS_ADMIN: u32 = 21;
const DAC_OVERRIDE: u32 = 1;

const TRIALS: &[Trial] = &[
    Trial { name: "CHOWN", bit: 0, also: &[], act: chown },
    Trial { name: "DAC_OVERRIDE", bit: DAC_OVERRIDE, also: &[], act: dac_override },
    Trial { name: "DAC_READ_SEARCH", bit: 2, also: &[DAC_OVERRIDE], act: dac_read_search },
    Trial { name: "FOWNER", bit: 3, also: &[], act: fowner },
    Trial { name: "FSETID", bit: 4, also: &[], act: fsetid },
    Trial { name: "KILL", bit: 5, also: &[], act: kill },
    Trial { name: "SETGID", bit: 6, also: &[], act: setgid },
    Trial { name: "SETUID", bit: 7, also: &[], act: setuid },
    Trial { name: "SETPCAP", bit: 8, also: &[], act: setpcap },
    Trial { name: "LINUX_IMMUTABLE", bit: 9, also: &[], act: linux_immutable },
    Trial { name: "NET_BIND_SERVICE", bit: 10, also: &[], act: net_bind_service },
    Trial { name: "NET_ADMIN", bit: 12, also: &[], act: net_admin },
    Trial { name: "NET_RAW", bit: 13, also: &[], act: net_raw },
    Trial { name: "IPC_LOCK", bit: 14, also: &[], act: ipc_lock },
    Trial { name: "IPC_OWNER", bit: 15, also: &[], act: ipc_owner },
    Trial { name: "SYS_MODULE", bit: 16, also: &[], act: sys_module },
    Trial { name: "SYS_RAWIO", bit: 17, also: &[], act: sys_rawio },
    Trial { name: "SYS_CHROOT", bit: 18, also: &[], act: sys_chroot },
    Trial { name: "SYS_PTRACE", bit: 19, also: &[], act: sys_ptrace },
    Trial { name: "SYS_PACCT", bit: 20, also: &[], act: sys_pacct },
    Trial { name: "SYS_ADMIN", bit: SYS_ADMIN, also: &[], act: sys_admin },
    Trial { name: "SYS_BOOT", bit: 22, also: &[], act: sys_boot },
    Trial { name: "SYS_NICE", bit: 23, also: &[], act: sys_nice },
    Trial { name: "SYS_RESOURCE", bit: 24, also: &[], act: sys_resource },
    Trial { name: "SYS_TIME", bit: 25, also: &[], act: sys_time },
    Trial { name: "MKNOD", bit: 27, also: &[], act: mknod },
    Trial { name: "SETFCAP", bit: 31, also: &[], act: setfcap },
    Trial { name: "SYSLOG", bit: 34, also: &[SYS_ADMIN], act: syslog },
    Trial { name: "WAKE_ALARM", bit: 35, also: &[], act: wake_alarm },
    Trial { name: "CHECKPOINT_RESTORE", bit: 40, also: &[SYS_ADMIN], act: checkpoint_restore },
];

fn with(cx: &mut Cx) {
    for trial in TRIALS {
        one(cx, trial, false);
    }
}

fn without(cx: &mut Cx) {
    for trial in TRIALS {
        one(cx, trial, true);
    }
}

/// One act in a child of its own.
fn one(cx: &mut Cx, trial: &Trial, give_up: bool) {
    let all_asked = cx.text("capabilities") == "all";
    // Without the capability the act is tried even so: that it is refused then is the control of who needs it.
    if all_asked && !give_up && !effective().is_ok_and(|set| set & (1 << trial.bit) != 0) {
        let why = format!(
            "{} is not there to be tried: a container that asks for every capability the engine has is not given it",
            trial.name
        );
        return cx.fact(trial.name, Outcome::Absent { why });
    }
    let label = if give_up { "cap.without" } else { "cap" };
    let Some(mut twin) = cx.twin(label) else { return cx.fact(trial.name, Outcome::broken("dup")) };
    let end = in_child(Duration::from_secs(5), || {
        let gone = trial.also.iter().chain(give_up.then_some(&trial.bit));
        let outcome = match drop_capabilities(gone.map(|b| 1 << b).sum()) {
            Ok(()) => (trial.act)(),
            Err(e) => Outcome::broken(format!("cannot give up capabilities: {e}")),
        };
        twin.fact(trial.name, outcome);
        0
    });
    match end {
        Ok(Some(sys::End::Exit(_))) => {}
        Ok(Some(sys::End::Signal(signal))) => {
            cx.fact(trial.name, Outcome::Killed { signal, detail: "before it could report".to_owned() });
        }
        Ok(None) => cx.fact(trial.name, Outcome::broken("the child did not end")),
        Err(e) => cx.fact(trial.name, Outcome::broken(format!("fork: {e}"))),
    }
}

#[repr(C)]
struct Header {
    version: u32,
    pid: i32,
}

#[repr(C)]
#[derive(Clone, Copy, Default)]
struct Half {
    effective: u32,
    permitted: u32,
    inheritable: u32,
}

const VERSION_3: u32 = 0x2008_0522;

fn capget() -> io::Result<[Half; 2]> {
    let mut header = Header { version: VERSION_3, pid: 0 };
    let mut halves = [Half::default(); 2];
    // SAFETY: header and data have the layout of version 3.
    check(unsafe { libc::syscall(libc::SYS_capget, &raw mut header, halves.as_mut_ptr()) })?;
    Ok(halves)
}

fn capset(halves: &[Half; 2]) -> io::Result<()> {
    let mut header = Header { version: VERSION_3, pid: 0 };
    // SAFETY: header and data have the layout of version 3.
    check(unsafe { libc::syscall(libc::SYS_capset, &raw mut header, halves.as_ptr()) }).map(drop)
}

/// The effective set.
pub(crate) fn effective() -> io::Result<u64> {
    let [low, high] = capget()?;
    Ok(u64::from(low.effective) | u64::from(high.effective) << 32)
}

/// Gives up capabilities for good.
pub(crate) fn drop_capabilities(set: u64) -> io::Result<()> {
    if set == 0 {
        return Ok(());
    }
    let mut halves = capget()?;
    for (half, gone) in halves.iter_mut().zip([set as u32, (set >> 32) as u32]) {
        half.effective &= !gone;
        half.permitted &= !gone;
        half.inheritable &= !gone;
    }
    capset(&halves)
}

/// Takes every capability of this set into permitted, effective and inheritable.
pub(crate) fn take_capabilities(set: u64) -> io::Result<()> {
    let mut halves = capget()?;
    for (half, more) in halves.iter_mut().zip([set as u32, (set >> 32) as u32]) {
        half.effective |= more;
        half.permitted |= more;
        half.inheritable |= more;
    }
    capset(&halves)
}

/// A file of this act's own, empty.
fn scratch(name: &str) -> io::Result<String> {
    let path = format!("/tmp/awfp-{name}-{}", std::process::id());
    File::create(&path)?;
    Ok(path)
}

/// The act and then the removal of its file.
fn with_file(name: &str, act: impl FnOnce(&str) -> Outcome) -> Outcome {
    match scratch(name) {
        Ok(path) => {
            let outcome = act(&path);
            drop(fs::remove_file(&path));
            outcome
        }
        Err(e) => Outcome::broken(format!("cannot make a file: {e}")),
    }
}

/// `Allowed` if the call came past the check of the capability: it succeeded, or refused its argument.
fn past(result: libc::c_long, errnos: &[i32], what: &str) -> Outcome {
    match check(result) {
        Ok(_) => Outcome::allowed(what),
        Err(e) if e.raw_os_error().is_some_and(|n| errnos.contains(&n)) => {
            Outcome::allowed(format!("{what}: past the check, the argument is refused with {}", sys::errno_name(&e)))
        }
        Err(e) => sys::refused(&e, what),
    }
}

fn chown() -> Outcome {
    with_file("chown", |p| attempt(std::os::unix::fs::chown(p, Some(1234), None), "chown to user 1234"))
}

fn dac_override() -> Outcome {
    with_file("dac", |p| {
        drop(fs::set_permissions(p, Permissions::from_mode(0o0)));
        attempt(OpenOptions::new().write(true).open(p), "open a file of mode 0 for writing")
    })
}

fn dac_read_search() -> Outcome {
    with_file("search", |p| {
        drop(fs::set_permissions(p, Permissions::from_mode(0o0)));
        attempt(File::open(p), "open a file of mode 0 for reading, without DAC_OVERRIDE")
    })
}

fn fowner() -> Outcome {
    let path = "/home/agent/visible";
    attempt(fs::set_permissions(path, Permissions::from_mode(0o644)), "chmod of a file of user 1000")
}

fn fsetid() -> Outcome {
    with_file("fsetid", |p| {
        let written = fs::set_permissions(p, Permissions::from_mode(0o4755)).and_then(|()| fs::write(p, "x"));
        match written.and_then(|()| fs::metadata(p)) {
            Ok(m) if m.mode() & 0o4000 != 0 => Outcome::allowed("the setuid bit survives a write"),
            Ok(_) => Outcome::refused("cleared", "the setuid bit after a write"),
            Err(e) => Outcome::broken(e.to_string()),
        }
    })
}

/// A child that has become user 1001, for others to act upon.
fn stranger(act: impl FnOnce(i32) -> Outcome) -> Outcome {
    let (Ok((reader, writer)), Ok((stay, leave))) = (sys::pipe(), sys::pipe()) else { return Outcome::broken("pipe") };
    // SAFETY: the guest is single-threaded.
    let pid = unsafe { libc::fork() };
    if pid == 0 {
        drop((reader, leave));
        let become_it = sys::become_user(1001);
        // The end of the pipe tells that it is done; one byte, that it worked.
        if become_it.is_ok() {
            drop(io::Write::write_all(&mut File::from(writer), b"1"));
        } else {
            drop(writer);
        }
        // Until the other end is closed: without CAP_KILL nobody could end it otherwise.
        drop(io::Read::read(&mut File::from(stay), &mut [0]));
        // SAFETY: leaves without running the parent's destructors.
        unsafe { libc::_exit(0) }
    }
    drop((writer, stay));
    let mut byte = Vec::new();
    drop(io::Read::read_to_end(&mut File::from(reader), &mut byte));
    let outcome =
        if pid < 0 || byte != b"1" { Outcome::broken("no process of another user could be made") } else { act(pid) };
    drop(leave);
    if pid > 0 {
        sys::wait(pid, Duration::from_secs(2));
    }
    outcome
}

fn kill() -> Outcome {
    // SAFETY: signal 0 does nothing.
    stranger(|pid| past(unsafe { libc::kill(pid, 0) }.into(), &[], "kill(pid of user 1001, 0)"))
}

fn setgid() -> Outcome {
    // SAFETY: takes a number; the process is one of this act alone.
    past(unsafe { libc::syscall(libc::SYS_setgid, 1234) }, &[], "setgid(1234)")
}

fn setuid() -> Outcome {
    // SAFETY: as above.
    past(unsafe { libc::syscall(libc::SYS_setuid, 1234) }, &[], "setuid(1234)")
}

fn setpcap() -> Outcome {
    // SAFETY: takes numbers. CAP_LEASE is used by nothing here.
    past(unsafe { libc::prctl(libc::PR_CAPBSET_DROP, 28, 0, 0, 0) }.into(), &[], "prctl(PR_CAPBSET_DROP)")
}

/// On a tmpfs, where the flag is gone with the sandbox whatever happens.
fn linux_immutable() -> Outcome {
    const IMMUTABLE: libc::c_long = 0x10;
    let path = format!("/dev/shm/awfp-immutable-{}", std::process::id());
    let file = match File::create(&path) {
        Ok(file) => file,
        Err(e) => return Outcome::Absent { why: format!("no file can be made in /dev/shm: {e}") },
    };
    let mut flags: libc::c_long = 0;
    // SAFETY: `flags` is valid for the calls.
    let outcome = unsafe {
        let fd = file.as_raw_fd();
        if libc::ioctl(fd, libc::FS_IOC_GETFLAGS, &raw mut flags) != 0 {
            Outcome::Absent { why: "the tmpfs of this kernel has no file flags".to_owned() }
        } else {
            let set = flags | IMMUTABLE;
            let r = libc::ioctl(fd, libc::FS_IOC_SETFLAGS, &raw const set);
            let outcome = past(r.into(), &[], "FS_IOC_SETFLAGS immutable");
            libc::ioctl(fd, libc::FS_IOC_SETFLAGS, &raw const flags);
            outcome
        }
    };
    drop(fs::remove_file(&path));
    outcome
}

fn net_bind_service() -> Outcome {
    let start = fs::read_to_string("/proc/sys/net/ipv4/ip_unprivileged_port_start").unwrap_or_default();
    if start.trim() == "0" {
        return Outcome::Absent {
            why: "the engine lets every process bind every port (net.ipv4.ip_unprivileged_port_start is 0)".to_owned(),
        };
    }
    attempt(std::net::UdpSocket::bind(("0.0.0.0", 81)), "bind to port 81")
}

fn net_admin() -> Outcome {
    attempt(crate::environment::force_buffer(), "SO_RCVBUFFORCE")
}

fn net_raw() -> Outcome {
    attempt(net::raw_socket(libc::AF_INET, libc::SOCK_RAW, libc::IPPROTO_ICMP), "socket(SOCK_RAW)")
}

fn ipc_lock() -> Outcome {
    let none = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    let page = vec![0_u8; 4096];
    // SAFETY: the limit is this process's own, the memory is ours.
    unsafe {
        if libc::setrlimit(libc::RLIMIT_MEMLOCK, &none) != 0 {
            return Outcome::broken("RLIMIT_MEMLOCK cannot be lowered");
        }
        past(libc::mlock(page.as_ptr().cast(), page.len()).into(), &[], "mlock with RLIMIT_MEMLOCK 0")
    }
}

fn ipc_owner() -> Outcome {
    // SAFETY: a private segment that is removed again; the address is the kernel's choice.
    unsafe {
        let id = libc::shmget(libc::IPC_PRIVATE, 4096, libc::IPC_CREAT);
        if id < 0 {
            return sys::refused(&io::Error::last_os_error(), "shmget");
        }
        let at = libc::shmat(id, std::ptr::null(), 0);
        let outcome = past(if at as isize == -1 { -1 } else { 0 }, &[], "shmat of a segment of mode 0");
        libc::shmctl(id, libc::IPC_RMID, std::ptr::null_mut());
        outcome
    }
}

fn sys_module() -> Outcome {
    // SAFETY: an empty image at no address.
    let r = unsafe { libc::syscall(libc::SYS_init_module, -1_i64, 0_i64, -1_i64) };
    past(r, &[libc::ENOEXEC, libc::EFAULT, libc::EINVAL], "init_module of nothing")
}

#[cfg(target_arch = "x86_64")]
fn sys_rawio() -> Outcome {
    // SAFETY: allows port access to this process, which makes none and ends.
    past(unsafe { libc::syscall(libc::SYS_iopl, 3) }, &[], "iopl(3), without touching a port")
}

#[cfg(not(target_arch = "x86_64"))]
fn sys_rawio() -> Outcome {
    Outcome::Absent { why: "this architecture has no ports".to_owned() }
}

fn sys_chroot() -> Outcome {
    attempt(sys::chroot("/tmp"), "chroot")
}

fn sys_ptrace() -> Outcome {
    stranger(|pid| {
        // SAFETY: seizing does not stop the process.
        past(unsafe { libc::ptrace(libc::PTRACE_SEIZE, pid, 0, 0) }, &[], "PTRACE_SEIZE of a process of user 1001")
    })
}

fn sys_pacct() -> Outcome {
    // SAFETY: a file name at no address; nothing is switched on or off.
    past(unsafe { libc::syscall(libc::SYS_acct, -1_i64) }, &[libc::EFAULT], "acct of no file")
}

fn sys_admin() -> Outcome {
    // SAFETY: a length no kernel takes.
    let r = unsafe { libc::syscall(libc::SYS_sethostname, -1_i64, -1_i64) };
    past(r, &[libc::EINVAL], "sethostname of length -1")
}

fn sys_boot() -> Outcome {
    // SAFETY: without its magic numbers the call does nothing.
    past(unsafe { libc::syscall(libc::SYS_reboot, 0, 0, 0, 0) }, &[libc::EINVAL], "reboot without its magic numbers")
}

fn sys_nice() -> Outcome {
    // SAFETY: takes numbers; the process is one of this act alone.
    past(unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, -1) }.into(), &[], "setpriority(-1)")
}

fn sys_resource() -> Outcome {
    let limit = |n| libc::rlimit { rlim_cur: n, rlim_max: n };
    // SAFETY: the limits are this process's own.
    unsafe {
        if libc::setrlimit(libc::RLIMIT_CORE, &limit(0)) != 0 {
            return Outcome::broken("RLIMIT_CORE cannot be lowered");
        }
        past(libc::setrlimit(libc::RLIMIT_CORE, &limit(4096)).into(), &[], "raise a hard limit")
    }
}

fn sys_time() -> Outcome {
    // SAFETY: all-zero is a valid timex; a tick of 0 is refused, so the clock is not touched.
    let r = unsafe {
        let mut timex: libc::timex = std::mem::zeroed();
        timex.modes = libc::ADJ_TICK;
        libc::syscall(libc::SYS_adjtimex, &raw mut timex)
    };
    past(r, &[libc::EINVAL], "adjtimex with a tick of 0")
}

fn mknod() -> Outcome {
    let path = format!("/tmp/awfp-node-{}", std::process::id());
    let p = sys::c_path(&path);
    // SAFETY: the pointer is valid for the call. 1:3 is /dev/null.
    let r = unsafe { libc::mknod(p.as_ptr(), libc::S_IFCHR | 0o600, libc::makedev(1, 3)) };
    let outcome = past(r.into(), &[], "mknod of a character device");
    if Path::new(&path).exists() {
        drop(fs::remove_file(&path));
    }
    outcome
}

/// `security.capability` of a file: these capabilities, permitted and effective.
pub(crate) fn give_file_capabilities(path: &str, set: u64) -> io::Result<()> {
    let words = [0x0200_0001_u32, set as u32, 0, (set >> 32) as u32, 0];
    let bytes: Vec<u8> = words.iter().flat_map(|w| w.to_le_bytes()).collect();
    let p = sys::c_path(path);
    let name = c"security.capability";
    // SAFETY: both strings end in NUL, the value is valid for its length.
    check(unsafe { libc::setxattr(p.as_ptr(), name.as_ptr(), bytes.as_ptr().cast(), bytes.len(), 0) }.into()).map(drop)
}

fn setfcap() -> Outcome {
    with_file("setfcap", |p| attempt(give_file_capabilities(p, 1), "setxattr(security.capability)"))
}

fn syslog() -> Outcome {
    // SAFETY: there is no such action.
    past(unsafe { libc::syscall(libc::SYS_syslog, 99, 0, 0) }, &[libc::EINVAL], "syslog of an action there is not")
}

fn wake_alarm() -> Outcome {
    // SAFETY: takes numbers; no alarm is set.
    let fd = unsafe { libc::timerfd_create(libc::CLOCK_BOOTTIME_ALARM, 0) };
    past(fd.into(), &[], "timerfd_create(CLOCK_BOOTTIME_ALARM)")
}

fn checkpoint_restore() -> Outcome {
    let Some(first) = fs::read_dir("/proc/self/map_files").ok().and_then(|mut d| d.next()).and_then(Result::ok) else {
        return Outcome::Absent { why: "/proc/self/map_files cannot be listed".to_owned() };
    };
    attempt(fs::metadata(first.path()), "follow a link of /proc/self/map_files")
}
