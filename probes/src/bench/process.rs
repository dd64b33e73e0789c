//! System calls, context switches, processes, memory.

use std::{
    io,
    os::fd::{AsRawFd, OwnedFd},
};

use super::Op;
use crate::{Cx, sys, sys::check, tiny};

pub(super) fn getppid(_: &Cx) -> io::Result<Op> {
    Ok(Box::new(|n| {
        for _ in 0..n {
            // SAFETY: the call takes nothing and cannot fail.
            std::hint::black_box(unsafe { libc::syscall(libc::SYS_getppid) });
        }
        Ok(())
    }))
}

pub(super) fn write_null(_: &Cx) -> io::Result<Op> {
    let null = std::fs::File::options().write(true).open("/dev/null")?;
    Ok(Box::new(move |n| (0..n).try_for_each(|_| put(null.as_raw_fd()))))
}

/// One byte out.
fn put(fd: i32) -> io::Result<()> {
    // SAFETY: the buffer is one byte.
    check(unsafe { libc::write(fd, b"x".as_ptr().cast(), 1) } as libc::c_long).map(drop)
}

/// One byte in; `false` at the end.
fn take(fd: i32) -> io::Result<bool> {
    let mut byte = 0_u8;
    // SAFETY: the buffer is one byte.
    check(unsafe { libc::read(fd, (&raw mut byte).cast(), 1) } as libc::c_long).map(|n| n == 1)
}

/// Another process that sends every byte back. It ends when nothing more can come.
struct Peer {
    pid: i32,
    to: OwnedFd,
    from: OwnedFd,
}

impl Drop for Peer {
    fn drop(&mut self) {
        // SAFETY: the pid is a child of ours that has not been reaped.
        unsafe {
            libc::kill(self.pid, libc::SIGKILL);
            libc::waitpid(self.pid, std::ptr::null_mut(), 0);
        }
    }
}

pub(super) fn ping_pong(_: &Cx) -> io::Result<Op> {
    let (their_in, to) = sys::pipe()?;
    let (from, their_out) = sys::pipe()?;
    // SAFETY: a probe's process has one thread, so the child may do anything.
    let pid = match unsafe { libc::fork() } {
        -1 => return Err(io::Error::last_os_error()),
        0 => {
            drop((to, from));
            while take(their_in.as_raw_fd()).unwrap_or(false) && put(their_out.as_raw_fd()).is_ok() {}
            // SAFETY: leaves without running the parent's destructors.
            unsafe { libc::_exit(0) }
        }
        pid => pid,
    };
    let peer = Peer { pid, to, from };
    Ok(Box::new(move |n| {
        for _ in 0..n {
            put(peer.to.as_raw_fd())?;
            if !take(peer.from.as_raw_fd())? {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        Ok(())
    }))
}

pub(super) fn fork_exec(_: &Cx) -> io::Result<Op> {
    let path = "/tmp/awf-probe-bench";
    tiny::write(path, 0o755)?;
    let program = sys::c_path(path);
    Ok(Box::new(move |n| {
        let argv = [program.as_ptr(), std::ptr::null()];
        for _ in 0..n {
            let mut status = 0;
            // SAFETY: one thread; the child only executes or exits; the pointers live longer than the call.
            unsafe {
                let pid = check(libc::fork().into())?;
                if pid == 0 {
                    libc::execve(program.as_ptr(), argv.as_ptr(), argv[1..].as_ptr());
                    libc::_exit(127);
                }
                check(libc::waitpid(pid as i32, &mut status, 0).into())?;
            }
            // It exits with its user, which is root; 127 says that it was not executed.
            if !libc::WIFEXITED(status) || libc::WEXITSTATUS(status) == 127 {
                return Err(io::Error::from_raw_os_error(libc::ENOEXEC));
            }
        }
        Ok(())
    }))
}

const PAGE: usize = 4096;
/// Pages of one mapping.
pub(super) const PAGES: u64 = 256;

pub(super) fn page_faults(_: &Cx) -> io::Result<Op> {
    Ok(Box::new(|n| {
        let length = PAGES as usize * PAGE;
        for _ in 0..n {
            // SAFETY: a mapping of our own, written within its length and gone before anybody else sees it.
            unsafe {
                let (read_write, private) =
                    (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
                let at = libc::mmap(std::ptr::null_mut(), length, read_write, private, -1, 0);
                if at == libc::MAP_FAILED {
                    return Err(io::Error::last_os_error());
                }
                // Advice: where it is not taken, fewer faults are made, and that is what the runtime does then.
                libc::madvise(at, length, libc::MADV_NOHUGEPAGE);
                for page in 0..PAGES as usize {
                    at.cast::<u8>().add(page * PAGE).write_volatile(1);
                }
                check(libc::munmap(at, length).into())?;
            }
        }
        Ok(())
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cx() -> Cx {
        let out = std::fs::File::options().write(true).open("/dev/null").expect("/dev/null");
        Cx::new("bench".to_owned(), serde_json::Value::Null, out)
    }

    #[test]
    fn each_can_be_done() {
        for (name, prepare) in
            [("getppid", getppid as fn(&Cx) -> io::Result<Op>), ("write", write_null), ("faults", page_faults)]
        {
            let mut op = prepare(&cx()).unwrap_or_else(|e| panic!("{name}: {e}"));
            op(3).unwrap_or_else(|e| panic!("{name}: {e}"));
        }
    }
}
