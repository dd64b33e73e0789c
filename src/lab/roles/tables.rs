//! Which of iptables' backends the kernel of this namespace has.

use std::{
    io,
    mem::size_of,
    os::fd::{AsRawFd, FromRawFd, OwnedFd},
    path::Path,
};

use anyhow::{Context, Result};

/// `legacy` and `nft`, as far as they are there.
pub(super) fn backends() -> Result<Vec<String>> {
    // There from when the module is, whatever tables this namespace uses; looking at it loads nothing.
    let legacy = Path::new("/proc/net/ip_tables_names").exists();
    let nft = nf_tables().context("ask for nf_tables")?;
    Ok([("legacy", legacy), ("nft", nft)].into_iter().filter(|(_, is)| *is).map(|(name, _)| name.to_owned()).collect())
}

/// Asks for the generation of the rule set, as `nft` does first. It changes nothing.
fn nf_tables() -> io::Result<bool> {
    // SAFETY: plain system calls; the descriptor is owned from here on.
    let socket = unsafe {
        let fd = libc::socket(libc::AF_NETLINK, libc::SOCK_RAW | libc::SOCK_CLOEXEC, libc::NETLINK_NETFILTER);
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        OwnedFd::from_raw_fd(fd)
    };
    let time = libc::timeval { tv_sec: 5, tv_usec: 0 };
    let length = u32::try_from(size_of::<libc::timeval>()).unwrap_or_default();
    let kind = (NFTABLES << 8) | GETGEN;
    // struct nlmsghdr: length, type, flags, sequence, port; struct nfgenmsg: family, version, resource.
    let mut request = Vec::new();
    request.extend(20_u32.to_ne_bytes());
    request.extend(kind.to_ne_bytes());
    request.extend(1_u16.to_ne_bytes());
    request.extend([1_u32.to_ne_bytes(), 0_u32.to_ne_bytes()].concat());
    request.extend([0; 4]);
    let mut answer = [0_u8; 512];
    // SAFETY: every pointer is valid for the length that is given with it.
    let got = unsafe {
        let option = std::ptr::from_ref(&time).cast();
        libc::setsockopt(socket.as_raw_fd(), libc::SOL_SOCKET, libc::SO_RCVTIMEO, option, length);
        if libc::send(socket.as_raw_fd(), request.as_ptr().cast(), request.len(), 0) < 0 {
            return Err(io::Error::last_os_error());
        }
        libc::recv(socket.as_raw_fd(), answer.as_mut_ptr().cast(), answer.len(), 0)
    };
    let got = usize::try_from(got).map_err(|_| io::Error::last_os_error())?;
    let told = answer.get(4..6).filter(|_| got >= 6).ok_or(io::ErrorKind::InvalidData)?;
    Ok(u16::from_ne_bytes([told[0], told[1]]) == (NFTABLES << 8) | NEWGEN)
}

const NFTABLES: u16 = 10;
const NEWGEN: u16 = 15;
const GETGEN: u16 = 16;
