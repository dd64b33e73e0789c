//! Packet sockets that listen: opening one with its filter, and reading packets with the kernel's time stamps.

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

use libc::{SOL_PACKET, SOL_SOCKET, sock_filter};

use super::netlink::set_option;

/// Opens the socket deaf, gives it filter and options, and only then lets it hear: nothing unfiltered gets in.
pub(super) fn open(link: Option<u32>, filter: &[sock_filter]) -> io::Result<OwnedFd> {
    // SAFETY: plain socket call; the result is checked before it is owned.
    let fd = unsafe { libc::socket(libc::AF_PACKET, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK, 0) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: `fd` is a fresh descriptor nothing else owns.
    let fd = unsafe { OwnedFd::from_raw_fd(fd) };
    // Beyond rmem_max where NET_ADMIN counts in this user namespace, else up to it.
    if set_option(&fd, SOL_SOCKET, libc::SO_RCVBUFFORCE, &BUFFER).is_err() {
        set_option(&fd, SOL_SOCKET, libc::SO_RCVBUF, &BUFFER)?;
    }
    set_option(&fd, SOL_SOCKET, libc::SO_TIMESTAMPNS, &1i32)?;
    let program = libc::sock_fprog { len: filter.len() as u16, filter: filter.as_ptr().cast_mut() };
    set_option(&fd, SOL_SOCKET, libc::SO_ATTACH_FILTER, &program)?;
    // SAFETY: an all-zero sockaddr_ll is a valid value.
    let mut address: libc::sockaddr_ll = unsafe { std::mem::zeroed() };
    address.sll_family = libc::AF_PACKET as u16;
    address.sll_protocol = (libc::ETH_P_ALL as u16).to_be();
    address.sll_ifindex = link.unwrap_or(0) as i32;
    // SAFETY: the pointer and length describe `address`.
    let bound =
        unsafe { libc::bind(fd.as_raw_fd(), (&raw const address).cast(), size_of_val(&address) as libc::socklen_t) };
    if bound < 0 { Err(io::Error::last_os_error()) } else { Ok(fd) }
}

/// A packet was read into the buffer.
pub(super) struct Received {
    /// When the kernel saw it, CLOCK_MONOTONIC nanoseconds.
    pub(super) t_ns: u64,
    /// Interface index.
    pub(super) link: u32,
    /// `PACKET_…`.
    pub(super) packet_type: u8,
    /// How much of the buffer it fills.
    pub(super) length: usize,
}

/// Packets the kernel dropped since this was last asked; `None` if it will not say.
pub(super) fn drops(socket: &OwnedFd) -> Option<u64> {
    // SAFETY: an all-zero tpacket_stats is a valid value.
    let mut stats: libc::tpacket_stats = unsafe { std::mem::zeroed() };
    let mut length = size_of_val(&stats) as libc::socklen_t;
    // SAFETY: the pointers describe `stats` and `length`, which outlive the call.
    let got = unsafe {
        libc::getsockopt(socket.as_raw_fd(), SOL_PACKET, PACKET_STATISTICS, (&raw mut stats).cast(), &raw mut length)
    };
    (got == 0).then_some(u64::from(stats.tp_drops))
}

/// Waits for a packet or for the other descriptor.
pub(super) fn wait(socket: &OwnedFd, other: Option<i32>) -> io::Result<()> {
    let poll = |fd| libc::pollfd { fd, events: libc::POLLIN, revents: 0 };
    // A negative descriptor is ignored by poll.
    let mut fds = [poll(socket.as_raw_fd()), poll(other.unwrap_or(-1))];
    // SAFETY: the pointer and length describe `fds`.
    let ready = unsafe { libc::poll(fds.as_mut_ptr(), fds.len() as libc::nfds_t, -1) };
    match io::Error::last_os_error() {
        error if ready < 0 && error.kind() != io::ErrorKind::Interrupted => Err(error),
        _ => Ok(()),
    }
}

/// Reads one packet; `None` if there is none now.
pub(super) fn receive(socket: &OwnedFd, buffer: &mut [u8]) -> io::Result<Option<Received>> {
    loop {
        // SAFETY: all-zero values of these plain C structs are valid.
        let (mut address, mut message): (libc::sockaddr_ll, libc::msghdr) = unsafe { std::mem::zeroed() };
        let mut vector = libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: buffer.len() };
        let mut control = [0u64; 16];
        message.msg_name = (&raw mut address).cast();
        message.msg_namelen = size_of_val(&address) as libc::socklen_t;
        message.msg_iov = &raw mut vector;
        message.msg_iovlen = 1;
        message.msg_control = control.as_mut_ptr().cast();
        message.msg_controllen = size_of_val(&control);
        // SAFETY: every pointer in `message` describes a local that outlives the call.
        let got = unsafe { libc::recvmsg(socket.as_raw_fd(), &raw mut message, 0) };
        if got >= 0 {
            return Ok(Some(Received {
                t_ns: monotonic(stamp(&message)),
                link: address.sll_ifindex as u32,
                packet_type: address.sll_pkttype,
                length: (got as usize).min(buffer.len()),
            }));
        }
        let error = io::Error::last_os_error();
        match error.raw_os_error() {
            Some(libc::EAGAIN) => return Ok(None),
            // A link that went down says so once; the socket lives on.
            Some(libc::EINTR | libc::ENETDOWN) => {}
            _ => return Err(error),
        }
    }
}

/// The kernel's time stamp, CLOCK_REALTIME nanoseconds.
fn stamp(message: &libc::msghdr) -> Option<i128> {
    // SAFETY: `message` was filled in by recvmsg, and the CMSG macros stay inside its control buffer.
    unsafe {
        let mut header = libc::CMSG_FIRSTHDR(message);
        while !header.is_null() {
            if (*header).cmsg_level == SOL_SOCKET && (*header).cmsg_type == libc::SCM_TIMESTAMPNS {
                let time: libc::timespec = std::ptr::read_unaligned(libc::CMSG_DATA(header).cast());
                return Some(nanoseconds(time));
            }
            header = libc::CMSG_NXTHDR(message, header);
        }
    }
    None
}

/// A CLOCK_REALTIME stamp on the CLOCK_MONOTONIC scale; without a stamp, now.
fn monotonic(real: Option<i128>) -> u64 {
    let now = clock(libc::CLOCK_MONOTONIC);
    let age = real.map_or(0, |real| (clock(libc::CLOCK_REALTIME) - real).max(0));
    u64::try_from(now - age).unwrap_or(0)
}

fn clock(clock: libc::clockid_t) -> i128 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the pointer describes `time`. These two clocks always exist.
    unsafe { libc::clock_gettime(clock, &raw mut time) };
    nanoseconds(time)
}

fn nanoseconds(time: libc::timespec) -> i128 {
    i128::from(time.tv_sec) * 1_000_000_000 + i128::from(time.tv_nsec)
}

/// Receive buffer: some ten thousand small packets.
const BUFFER: i32 = 16 << 20;
const PACKET_STATISTICS: i32 = 6;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stamps_move_to_the_monotonic_clock() {
        let now = clock(libc::CLOCK_MONOTONIC);
        let moved = i128::from(monotonic(Some(clock(libc::CLOCK_REALTIME) - 5_000_000)));
        assert!((now - 6_000_000..=now + 50_000_000).contains(&moved), "{moved} {now}");
    }
}
