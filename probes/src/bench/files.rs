//! Files: small and large ones, on the root file system, a bind mount and a tmpfs.

use std::{
    ffi::CString,
    fs, io,
    os::fd::{AsRawFd, FromRawFd, OwnedFd},
    path::PathBuf,
};

use super::Op;
use crate::{Cx, sys, sys::check};

/// Where.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// The container's own file system.
    Rootfs,
    /// A folder of the host.
    Bind,
    /// Memory.
    Tmpfs,
}

impl Place {
    fn folder(self) -> &'static str {
        match self {
            Self::Rootfs => "/home/agent",
            Self::Bind => "/host/work",
            Self::Tmpfs => "/t/bench",
        }
    }
}

/// What.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Act {
    Open,
    Stat,
    Read,
    Write,
    ReadLarge,
    WriteLarge,
    Fsync,
}

impl Act {
    /// Whether it writes.
    #[cfg(feature = "slow-writes")]
    pub(super) fn writes(self) -> bool {
        match self {
            Self::Write | Self::WriteLarge | Self::Fsync => true,
            Self::Open | Self::Stat | Self::Read | Self::ReadLarge => false,
        }
    }
}

const SMALL: usize = 4096;
const MIB: usize = 1 << 20;
const LARGE: usize = 8;

/// A folder of this visit's own, which goes with it.
struct Folder(PathBuf);

impl Drop for Folder {
    fn drop(&mut self) {
        // What is left goes with the sandbox or the run's volume.
        drop(fs::remove_dir_all(&self.0));
    }
}

pub(super) fn prepare(cx: &Cx, place: Place, act: Act) -> io::Result<Op> {
    in_folder(PathBuf::from(place.folder()).join(format!("awf-bench-{}", cx.text("seed"))), act)
}

fn in_folder(path: PathBuf, act: Act) -> io::Result<Op> {
    fs::create_dir_all(&path)?;
    let folder = Folder(path);
    let (small, large, new) = (folder.0.join("small"), folder.0.join("large"), folder.0.join("new"));
    match act {
        Act::Open | Act::Stat | Act::Read => fs::write(&small, vec![0x5a; SMALL])?,
        Act::ReadLarge | Act::WriteLarge | Act::Fsync => fs::write(&large, vec![0x5a; LARGE * MIB])?,
        Act::Write => {}
    }
    let (small, large, new) = (sys::c_path(small), sys::c_path(large), sys::c_path(new));
    let mut block = vec![0xa5_u8; MIB];
    let mut op: Op = match act {
        Act::Open => Box::new(move |n| (0..n).try_for_each(|_| open(&small, libc::O_RDONLY).map(drop))),
        Act::Stat => Box::new(move |n| (0..n).try_for_each(|_| stat(&small))),
        Act::Read => Box::new(move |n| {
            (0..n).try_for_each(|_| whole(read(&open(&small, libc::O_RDONLY)?, &mut block[..SMALL], 0)?, SMALL))
        }),
        Act::Write => Box::new(move |n| {
            (0..n).try_for_each(|_| {
                let file = open(&new, libc::O_WRONLY | libc::O_CREAT | libc::O_TRUNC)?;
                whole(write(&file, &block[..SMALL], 0)?, SMALL)?;
                drop(file);
                // SAFETY: the path is a valid string.
                check(unsafe { libc::unlink(new.as_ptr()) }.into()).map(drop)
            })
        }),
        Act::ReadLarge => {
            let file = open(&large, libc::O_RDONLY)?;
            Box::new(move |n| (0..n).try_for_each(|i| whole(read(&file, &mut block, place_of(i))?, MIB)))
        }
        Act::WriteLarge => {
            let file = open(&large, libc::O_WRONLY)?;
            Box::new(move |n| (0..n).try_for_each(|i| whole(write(&file, &block, place_of(i))?, MIB)))
        }
        Act::Fsync => {
            let file = open(&large, libc::O_WRONLY)?;
            Box::new(move |n| {
                (0..n).try_for_each(|_| {
                    whole(write(&file, &block[..SMALL], 0)?, SMALL)?;
                    // SAFETY: the descriptor is open.
                    check(unsafe { libc::fsync(file.as_raw_fd()) }.into()).map(drop)
                })
            })
        }
    };
    Ok(Box::new(move |n| {
        let _kept_as_long_as_the_operation = &folder;
        op(n)
    }))
}

fn place_of(nth: u64) -> i64 {
    (nth as usize % LARGE * MIB) as i64
}

fn open(path: &CString, flags: i32) -> io::Result<OwnedFd> {
    // SAFETY: the path is a valid string; a new descriptor is owned once.
    unsafe {
        let fd = check(libc::open(path.as_ptr(), flags | libc::O_CLOEXEC, 0o644).into())?;
        Ok(OwnedFd::from_raw_fd(fd as i32))
    }
}

fn stat(path: &CString) -> io::Result<()> {
    // SAFETY: the path is a valid string, the structure plain data.
    unsafe {
        let mut s: libc::stat = std::mem::zeroed();
        check(libc::fstatat(libc::AT_FDCWD, path.as_ptr(), &mut s, 0).into()).map(drop)
    }
}

fn read(file: &OwnedFd, into: &mut [u8], at: i64) -> io::Result<usize> {
    // SAFETY: the buffer is valid for its length.
    let n = unsafe { libc::pread(file.as_raw_fd(), into.as_mut_ptr().cast(), into.len(), at) };
    check(n as libc::c_long).map(|n| n as usize)
}

fn write(file: &OwnedFd, from: &[u8], at: i64) -> io::Result<usize> {
    // SAFETY: the buffer is valid for its length.
    let n = unsafe { libc::pwrite(file.as_raw_fd(), from.as_ptr().cast(), from.len(), at) };
    check(n as libc::c_long).map(|n| n as usize)
}

/// Less than all of it would be another, cheaper operation.
fn whole(n: usize, wanted: usize) -> io::Result<()> {
    if n == wanted { Ok(()) } else { Err(io::ErrorKind::WriteZero.into()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_can_be_done_and_leaves_nothing() {
        for act in [Act::Open, Act::Stat, Act::Read, Act::Write, Act::ReadLarge, Act::WriteLarge, Act::Fsync] {
            let path = std::env::temp_dir().join(format!("awf-bench-{}-{act:?}", std::process::id()));
            let mut op = in_folder(path.clone(), act).unwrap_or_else(|e| panic!("{act:?}: {e}"));
            op(9).unwrap_or_else(|e| panic!("{act:?}: {e}"));
            drop(op);
            assert!(!path.exists(), "{act:?}");
        }
    }
}
