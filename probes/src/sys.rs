//! System calls the probes share, with errnos as names.

use std::{
    ffi::{CString, OsStr},
    io::{self, Read},
    os::{
        fd::{FromRawFd, OwnedFd},
        unix::ffi::OsStrExt,
    },
    path::Path,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use awf_probe_matrix::Outcome;

use crate::pace;

/// The errno's name, or its number where it has none here.
pub(crate) fn errno_name(error: &io::Error) -> String {
    let Some(code) = error.raw_os_error() else { return error.kind().to_string() };
    let name = match code {
        libc::EPERM => "EPERM",
        libc::ENOENT => "ENOENT",
        libc::ESRCH => "ESRCH",
        libc::EINTR => "EINTR",
        libc::EIO => "EIO",
        libc::ENXIO => "ENXIO",
        libc::E2BIG => "E2BIG",
        libc::ENOEXEC => "ENOEXEC",
        libc::EBADF => "EBADF",
        libc::ECHILD => "ECHILD",
        libc::EAGAIN => "EAGAIN",
        libc::ENOMEM => "ENOMEM",
        libc::EACCES => "EACCES",
        libc::EFAULT => "EFAULT",
        libc::EBUSY => "EBUSY",
        libc::EEXIST => "EEXIST",
        libc::EXDEV => "EXDEV",
        libc::ENODEV => "ENODEV",
        libc::ENODATA => "ENODATA",
        libc::EMFILE => "EMFILE",
        libc::EBADMSG => "EBADMSG",
        libc::ENOTSOCK => "ENOTSOCK",
        libc::ENOTEMPTY => "ENOTEMPTY",
        libc::ETXTBSY => "ETXTBSY",
        libc::ENOTDIR => "ENOTDIR",
        libc::EISDIR => "EISDIR",
        libc::EINVAL => "EINVAL",
        libc::ENOTTY => "ENOTTY",
        libc::EFBIG => "EFBIG",
        libc::ENOSPC => "ENOSPC",
        libc::EROFS => "EROFS",
        libc::EPIPE => "EPIPE",
        libc::ENOSYS => "ENOSYS",
        libc::ELOOP => "ELOOP",
        libc::ENOMSG => "ENOMSG",
        libc::EPROTO => "EPROTO",
        libc::EDESTADDRREQ => "EDESTADDRREQ",
        libc::EMSGSIZE => "EMSGSIZE",
        libc::ENOPROTOOPT => "ENOPROTOOPT",
        libc::EPROTONOSUPPORT => "EPROTONOSUPPORT",
        libc::ESOCKTNOSUPPORT => "ESOCKTNOSUPPORT",
        libc::EOPNOTSUPP => "EOPNOTSUPP",
        libc::EAFNOSUPPORT => "EAFNOSUPPORT",
        libc::EADDRINUSE => "EADDRINUSE",
        libc::EADDRNOTAVAIL => "EADDRNOTAVAIL",
        libc::ENETDOWN => "ENETDOWN",
        libc::ENETUNREACH => "ENETUNREACH",
        libc::ECONNABORTED => "ECONNABORTED",
        libc::ECONNRESET => "ECONNRESET",
        libc::ENOBUFS => "ENOBUFS",
        libc::ENOTCONN => "ENOTCONN",
        libc::ETIMEDOUT => "ETIMEDOUT",
        libc::ECONNREFUSED => "ECONNREFUSED",
        libc::EHOSTDOWN => "EHOSTDOWN",
        libc::EHOSTUNREACH => "EHOSTUNREACH",
        libc::EINPROGRESS => "EINPROGRESS",
        libc::EALREADY => "EALREADY",
        libc::EOVERFLOW => "EOVERFLOW",
        libc::EUSERS => "EUSERS",
        libc::EDOM => "EDOM",
        libc::ERANGE => "ERANGE",
        libc::ENAMETOOLONG => "ENAMETOOLONG",
        libc::ESPIPE => "ESPIPE",
        libc::ENFILE => "ENFILE",
        libc::ENOTBLK => "ENOTBLK",
        libc::EBADFD => "EBADFD",
        libc::EILSEQ => "EILSEQ",
        libc::EKEYREJECTED => "EKEYREJECTED",
        libc::ENOKEY => "ENOKEY",
        other => return format!("errno {other}"),
    };
    name.to_owned()
}

/// A refusal with the errno of the last system call.
pub(crate) fn refused(error: &io::Error, detail: impl Into<String>) -> Outcome {
    Outcome::Refused { errno: errno_name(error), detail: detail.into() }
}

/// `Allowed` or `Refused`, after an attempt.
pub(crate) fn attempt<T>(result: io::Result<T>, detail: impl Into<String>) -> Outcome {
    match result {
        Ok(_) => Outcome::allowed(detail),
        Err(e) => refused(&e, detail),
    }
}

/// The result of a system call that returns -1 on failure.
pub(crate) fn check(result: libc::c_long) -> io::Result<libc::c_long> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

/// What a file holds, without space around it and at most 200 characters of it.
pub(crate) fn content(path: &str) -> Outcome {
    match std::fs::read_to_string(path) {
        Ok(text) => Outcome::value(text.trim().chars().take(200).collect::<String>()),
        Err(e) => refused(&e, path),
    }
}

/// Asks again and again until it is so; says whether it was so within the limit, which a slow host stretches.
pub(crate) fn until(limit: Duration, mut done: impl FnMut() -> bool) -> bool {
    let end = Instant::now() + pace::scaled(limit);
    loop {
        if done() {
            return true;
        }
        if Instant::now() >= end {
            return false;
        }
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// A path for a system call. Paths here are the probes' own and hold no NUL.
pub(crate) fn c_path(path: impl AsRef<Path>) -> CString {
    CString::new(path.as_ref().as_os_str().as_bytes()).unwrap_or_default()
}

/// chroot(2), then chdir to the new root.
pub(crate) fn chroot(path: &str) -> io::Result<()> {
    let p = c_path(path);
    // SAFETY: the pointer is valid for the call.
    check(unsafe { libc::chroot(p.as_ptr()) }.into())?;
    std::env::set_current_dir("/")
}

/// Gives up capabilities for good: out of the bounding set, then out of every other. `ALL` names every one.
pub(crate) fn drop_capabilities(names: &[String]) -> io::Result<()> {
    let number = |name: &String| match name.as_str() {
        "NET_ADMIN" => Some(12),
        "NET_RAW" => Some(13),
        _ => None,
    };
    let all = names.iter().any(|n| n == "ALL");
    let numbers: Vec<u32> = if all { (0..64).collect() } else { names.iter().filter_map(number).collect() };
    if !all && numbers.len() != names.len() {
        return Err(io::Error::from_raw_os_error(libc::EINVAL));
    }
    for n in &numbers {
        // SAFETY: the call takes no pointers.
        let r = unsafe { libc::prctl(libc::PR_CAPBSET_DROP, libc::c_ulong::from(*n), 0, 0, 0) };
        // Numbers the kernel does not know are refused; whoever may not drop has nothing to drop.
        if r != 0 && io::Error::last_os_error().raw_os_error() != Some(libc::EINVAL) {
            return Err(io::Error::last_os_error());
        }
    }
    if all {
        // Becoming an ordinary user clears the rest.
        return Ok(());
    }
    // struct __user_cap_header_struct, version 3; two of __user_cap_data_struct: effective, permitted, inheritable.
    let mut header = [0x2008_0522_u32, 0];
    let mut data = [0_u32; 6];
    // SAFETY: both arrays have the layout the calls want and outlive them.
    unsafe {
        check(libc::syscall(libc::SYS_capget, header.as_mut_ptr(), data.as_mut_ptr()))?;
        for n in &numbers {
            let (word, bit) = ((n / 32 * 3) as usize, 1 << (n % 32));
            (0..3).for_each(|set| data[word + set] &= !bit);
        }
        header[0] = 0x2008_0522;
        check(libc::syscall(libc::SYS_capset, header.as_mut_ptr(), data.as_ptr())).map(drop)
    }
}

/// Becomes another user for good: groups, gid, uid.
pub(crate) fn become_user(uid: u32) -> io::Result<()> {
    // SAFETY: no pointers but a null list of length 0.
    unsafe {
        check(libc::setgroups(0, std::ptr::null()).into())?;
        check(libc::setresgid(uid, uid, uid).into())?;
        check(libc::setresuid(uid, uid, uid).into())?;
    }
    Ok(())
}

/// mount(2).
pub(crate) fn mount(source: &str, target: &str, kind: &str, flags: libc::c_ulong, data: &str) -> io::Result<()> {
    let (s, t, k, d) = (c_path(source), c_path(target), c_path(kind), c_path(data));
    // SAFETY: all pointers are valid NUL-terminated strings for the call.
    let r = unsafe { libc::mount(s.as_ptr(), t.as_ptr(), k.as_ptr(), flags, d.as_ptr().cast()) };
    check(r.into()).map(drop)
}

/// A pipe, closed on exec: reading end, writing end.
pub(crate) fn pipe() -> io::Result<(OwnedFd, OwnedFd)> {
    let mut fds = [0; 2];
    // SAFETY: `fds` has room for two descriptors, which become owned once.
    unsafe {
        check(libc::pipe2(fds.as_mut_ptr(), libc::O_CLOEXEC).into())?;
        Ok((OwnedFd::from_raw_fd(fds[0]), OwnedFd::from_raw_fd(fds[1])))
    }
}

/// What became of a child.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// It exited with this status.
    Exit(i32),
    /// It was killed by this signal.
    Signal(i32),
}

/// Runs `work` in a child process and waits for it, at most `limit`, which a slow host stretches. The child's result is its exit status.
pub(crate) fn in_child(limit: Duration, work: impl FnOnce() -> i32) -> io::Result<Option<End>> {
    // SAFETY: the guest is single-threaded, so the child may do anything.
    let pid = unsafe { libc::fork() };
    match pid {
        -1 => Err(io::Error::last_os_error()),
        0 => {
            let status = work();
            // SAFETY: leaves without running the parent's destructors.
            unsafe { libc::_exit(status) }
        }
        pid => Ok(wait(pid, limit)),
    }
}

/// What the end of a child says of the act it was forked for: status 0 that it was done, any other the errno.
pub(crate) fn outcome(end: io::Result<Option<End>>, detail: impl Into<String>) -> Outcome {
    match end {
        Ok(Some(End::Exit(0))) => Outcome::allowed(detail),
        Ok(Some(End::Exit(errno))) => refused(&io::Error::from_raw_os_error(errno), detail),
        Ok(Some(End::Signal(signal))) => Outcome::Killed { signal, detail: detail.into() },
        Ok(None) => Outcome::broken("the child did not end"),
        Err(e) => Outcome::broken(format!("fork: {e}")),
    }
}

/// Waits for a child; kills it at the limit, which a slow host stretches, and says `None`.
pub(crate) fn wait(pid: i32, limit: Duration) -> Option<End> {
    let until = Instant::now() + pace::scaled(limit);
    loop {
        let mut status = 0;
        // SAFETY: `status` is valid for the call.
        let r = unsafe { libc::waitpid(pid, &mut status, libc::WNOHANG) };
        if r == pid {
            return Some(if libc::WIFSIGNALED(status) {
                End::Signal(libc::WTERMSIG(status))
            } else {
                End::Exit(libc::WEXITSTATUS(status))
            });
        }
        if r < 0 || Instant::now() >= until {
            // SAFETY: the pid is a child of ours that has not been reaped.
            unsafe {
                libc::kill(pid, libc::SIGKILL);
                libc::waitpid(pid, &mut status, 0);
            }
            return None;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// What a tool printed.
#[derive(Debug)]
pub(crate) struct Ran {
    /// Exit status; `None` if it was killed.
    pub(crate) status: Option<i32>,
    /// Standard output, at most 64 KiB.
    pub(crate) out: String,
    /// Standard error, at most 4 KiB, one line.
    pub(crate) err: String,
}

/// Runs a tool with a bounded output and a bounded time, which a slow host stretches.
pub(crate) fn run<S: AsRef<OsStr>>(program: &str, args: &[S], limit: Duration) -> io::Result<Ran> {
    let mut child = Command::new(program)
        .args(args)
        // A pipe that is closed at once, not /dev/null: a chroot may have none.
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    drop(child.stdin.take());
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let pid = i32::try_from(child.id()).unwrap_or(-1);
    let alarm = in_background(limit, pid);
    if let Some(s) = child.stdout.take() {
        s.take(64 * 1024).read_to_end(&mut out)?;
    }
    if let Some(s) = child.stderr.take() {
        s.take(4 * 1024).read_to_end(&mut err)?;
    }
    let status = child.wait()?;
    if let Some(alarm) = alarm {
        // SAFETY: ends the watchdog, which is a child of ours.
        unsafe {
            libc::kill(alarm, libc::SIGKILL);
            libc::waitpid(alarm, std::ptr::null_mut(), 0);
        }
    }
    let err = String::from_utf8_lossy(&err).trim().replace('\n', "; ");
    Ok(Ran { status: status.code(), out: String::from_utf8_lossy(&out).into_owned(), err })
}

/// A watchdog process that kills `pid` after `limit`.
fn in_background(limit: Duration, pid: i32) -> Option<i32> {
    // SAFETY: the guest is single-threaded.
    match unsafe { libc::fork() } {
        -1 => None,
        0 => {
            std::thread::sleep(pace::scaled(limit));
            // SAFETY: plain system calls; `pid` is a sibling that is still unreaped or gone.
            unsafe {
                libc::kill(pid, libc::SIGKILL);
                libc::_exit(0)
            }
        }
        watchdog => Some(watchdog),
    }
}

/// The first existing path of these.
pub(crate) fn first_existing(paths: &[&str]) -> Option<String> {
    paths.iter().find(|p| Path::new(p).exists()).map(|p| (*p).to_owned())
}
