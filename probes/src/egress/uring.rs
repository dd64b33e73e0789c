//! A connection made by io_uring alone, the socket included: no filter on socket calls sees any of it.

use std::{
    io,
    net::SocketAddr,
    os::fd::{AsRawFd, FromRawFd, OwnedFd},
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use awf_probe_matrix::Outcome;

use super::{Way, tcp::request};
use crate::{
    Cx,
    net::{self, local_port, raw_address},
    sys::{check, refused},
};

const OP_CONNECT: u8 = 16;
const OP_SEND: u8 = 26;
const OP_SOCKET: u8 = 45;
const ENTRIES: u32 = 4;

/// A ring with its three mappings, which live as long as the process.
struct Ring {
    fd: OwnedFd,
    submissions: *mut u8,
    completions: *mut u8,
    entries: *mut u8,
    parameters: [u32; 30],
}

impl Ring {
    fn new() -> io::Result<Self> {
        let mut parameters = [0_u32; 30];
        // SAFETY: the kernel writes within the structure, which is 120 bytes; mappings are checked before use.
        unsafe {
            let fd = check(libc::syscall(libc::SYS_io_uring_setup, ENTRIES, parameters.as_mut_ptr()))?;
            let fd = OwnedFd::from_raw_fd(fd as i32);
            let map = |length: u32, offset: i64| {
                let p = libc::mmap(
                    std::ptr::null_mut(),
                    length as usize,
                    libc::PROT_READ | libc::PROT_WRITE,
                    libc::MAP_SHARED | libc::MAP_POPULATE,
                    fd.as_raw_fd(),
                    offset,
                );
                if p == libc::MAP_FAILED { Err(io::Error::last_os_error()) } else { Ok(p.cast::<u8>()) }
            };
            // Offsets of the submission ring's array and of the completion ring's entries.
            let submissions = map(parameters[16] + parameters[0] * 4, 0)?;
            let completions = map(parameters[25] + parameters[1] * 16, 0x800_0000)?;
            let entries = map(parameters[0] * 64, 0x1000_0000)?;
            Ok(Self { fd, submissions, completions, entries, parameters })
        }
    }

    /// One operation: its result, or none within the time.
    fn act(
        &self,
        opcode: u8,
        fd: i32,
        address: u64,
        length: u32,
        offset: u64,
        wait: Duration,
    ) -> Option<io::Result<i32>> {
        // SAFETY: all places lie within the mappings, by the offsets the kernel gave; one operation at a time is
        // under way, so nothing is written that the kernel reads.
        unsafe {
            let at = |base: *mut u8, n: usize| &*base.add(self.parameters[n] as usize).cast::<AtomicU32>();
            let tail = at(self.submissions, 11);
            let index = tail.load(Ordering::Acquire) & at(self.submissions, 12).load(Ordering::Relaxed);
            let entry = self.entries.add(index as usize * 64);
            std::ptr::write_bytes(entry, 0, 64);
            entry.write(opcode);
            entry.add(4).cast::<i32>().write(fd);
            entry.add(8).cast::<u64>().write(offset);
            entry.add(16).cast::<u64>().write(address);
            entry.add(24).cast::<u32>().write(length);
            self.submissions.add(self.parameters[16] as usize).cast::<u32>().add(index as usize).write(index);
            tail.store(tail.load(Ordering::Relaxed).wrapping_add(1), Ordering::Release);
            let entered = libc::syscall(libc::SYS_io_uring_enter, self.fd.as_raw_fd(), 1, 0, 0, 0_u64, 0_u64);
            if let Err(e) = check(entered) {
                return Some(Err(e));
            }
            let mut p = libc::pollfd { fd: self.fd.as_raw_fd(), events: libc::POLLIN, revents: 0 };
            if libc::poll(&mut p, 1, i32::try_from(wait.as_millis()).unwrap_or(1000)) <= 0 {
                return None;
            }
            let head = at(self.completions, 20);
            if head.load(Ordering::Acquire) == at(self.completions, 21).load(Ordering::Acquire) {
                return None;
            }
            let index = head.load(Ordering::Relaxed) & at(self.completions, 22).load(Ordering::Relaxed);
            let result =
                self.completions.add(self.parameters[25] as usize + index as usize * 16 + 8).cast::<i32>().read();
            head.store(head.load(Ordering::Relaxed).wrapping_add(1), Ordering::Release);
            Some(if result < 0 { Err(io::Error::from_raw_os_error(-result)) } else { Ok(result) })
        }
    }
}

pub(super) fn connect(cx: &mut Cx, way: &mut Way) {
    let nonce = way.nonces.next();
    let to = SocketAddr::new(way.dst, 8080);
    let mut sent = net::sent(net::TCP, to, &nonce);
    let ring = match Ring::new() {
        Ok(ring) => ring,
        Err(e) => return cx.sent("", refused(&e, "socket: io_uring_setup"), sent),
    };
    let family = if to.is_ipv4() { libc::AF_INET } else { libc::AF_INET6 };
    let socket = match ring.act(OP_SOCKET, family, 0, 0, libc::SOCK_STREAM as u64, way.wait) {
        // SAFETY: a new descriptor is owned once.
        Some(Ok(fd)) => unsafe { OwnedFd::from_raw_fd(fd) },
        Some(Err(e)) => return cx.sent("", refused(&e, "socket: IORING_OP_SOCKET"), sent),
        None => return cx.sent("", Outcome::broken("no socket from io_uring"), sent),
    };
    let (address, length) = raw_address(to);
    let p = (&raw const address) as u64;
    let connected = ring.act(OP_CONNECT, socket.as_raw_fd(), p, 0, length.into(), way.wait);
    sent.sport = local_port(&socket);
    let outcome = match connected {
        None => Outcome::TimedOut {
            after_ms: u64::try_from(way.wait.as_millis()).unwrap_or(0),
            detail: format!("IORING_OP_CONNECT {to}"),
        },
        Some(Err(e)) => refused(&e, format!("IORING_OP_CONNECT {to}")),
        Some(Ok(_)) => {
            let hello = request(&nonce);
            match ring.act(OP_SEND, socket.as_raw_fd(), hello.as_ptr() as u64, hello.len() as u32, 0, way.wait) {
                Some(Ok(_)) => net::answer(&socket, way.wait, &format!("connected to {to} by io_uring")),
                Some(Err(e)) => refused(&e, format!("connected to {to}, then IORING_OP_SEND")),
                None => Outcome::broken("IORING_OP_SEND did not end"),
            }
        }
    };
    cx.sent("", outcome, sent);
}
