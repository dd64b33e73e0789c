//! Sockets the probes share: attempts that say how they can be found in a ledger.

use std::{
    io,
    mem::{size_of, zeroed},
    net::{IpAddr, SocketAddr, SocketAddrV6},
    os::fd::{AsRawFd, FromRawFd, OwnedFd},
    time::{Duration, Instant},
};

use awf_probe_matrix::{Outcome, Sent};

use crate::sys::{check, errno_name, refused};

/// TCP's IP protocol number.
pub(crate) const TCP: u8 = 6;
/// UDP's IP protocol number.
pub(crate) const UDP: u8 = 17;

/// Nonces: `awfp`, six letters of the sandbox's seed, six digits of a counter.
#[derive(Debug)]
pub(crate) struct Nonces {
    seed: String,
    next: u32,
}

impl Nonces {
    pub(crate) fn new(seed: &str) -> Self {
        Self { seed: format!("{seed:0<6.6}"), next: 0 }
    }

    pub(crate) fn next(&mut self) -> String {
        self.next += 1;
        format!("awfp{}{:06}", self.seed, self.next % 1_000_000)
    }
}

/// A TCP connection attempt that does not block.
#[derive(Debug)]
pub(crate) struct TcpTry {
    fd: OwnedFd,
    to: SocketAddr,
    sport: u16,
    nonce: String,
    payload: Vec<u8>,
    state: State,
    begun: Instant,
}

#[derive(Debug)]
enum State {
    Connecting,
    Reading(Vec<u8>),
    Over(Outcome),
}

impl TcpTry {
    /// Starts connecting. `payload` is written once connected; it should carry the nonce.
    pub(crate) fn start(to: SocketAddr, nonce: String, payload: Vec<u8>) -> Result<Self, (Outcome, Sent)> {
        Self::prepared(to, nonce, payload, 0, |_| Ok(()))
    }

    /// The same with a protocol of its own and something done to the socket first.
    pub(crate) fn prepared(
        to: SocketAddr,
        nonce: String,
        payload: Vec<u8>,
        protocol: libc::c_int,
        prepare: impl FnOnce(&OwnedFd) -> io::Result<()>,
    ) -> Result<Self, (Outcome, Sent)> {
        let sent = |sport| Sent { sport, ..self::sent(TCP, to, &nonce) };
        let fd = socket(to, libc::SOCK_STREAM | libc::SOCK_NONBLOCK, protocol)
            .map_err(|e| (refused(&e, "socket"), sent(0)))?;
        prepare(&fd).map_err(|e| (refused(&e, "socket option"), sent(0)))?;
        let (addr, len) = raw_address(to);
        // SAFETY: `addr` is a valid socket address of length `len`.
        let r = unsafe { libc::connect(fd.as_raw_fd(), (&raw const addr).cast(), len) };
        let error = io::Error::last_os_error();
        let sport = local_port(&fd);
        if r < 0 && error.raw_os_error() != Some(libc::EINPROGRESS) {
            return Err((refused(&error, format!("connect {to}")), sent(sport)));
        }
        Ok(Self { fd, to, sport, nonce, payload, state: State::Connecting, begun: Instant::now() })
    }

    /// A connection somebody else began.
    pub(crate) fn adopt(fd: OwnedFd, to: SocketAddr, nonce: String, payload: Vec<u8>) -> Self {
        let sport = local_port(&fd);
        Self { fd, to, sport, nonce, payload, state: State::Connecting, begun: Instant::now() }
    }

    /// How to find it.
    pub(crate) fn sent(&self) -> Sent {
        Sent { sport: self.sport, ..sent(TCP, self.to, &self.nonce) }
    }

    fn step(&mut self) {
        match &mut self.state {
            State::Over(_) => {}
            State::Connecting => {
                let (mut error, mut len): (libc::c_int, _) = (0, size_of::<libc::c_int>() as libc::socklen_t);
                // SAFETY: both pointers are valid for the call.
                unsafe {
                    let e = (&raw mut error).cast();
                    libc::getsockopt(self.fd.as_raw_fd(), libc::SOL_SOCKET, libc::SO_ERROR, e, &mut len);
                }
                if error != 0 {
                    let e = io::Error::from_raw_os_error(error);
                    self.state = State::Over(refused(&e, format!("connect {}", self.to)));
                    return;
                }
                let (p, n) = (self.payload.as_ptr().cast(), self.payload.len());
                // SAFETY: the buffer is valid for its length.
                let wrote = unsafe { libc::send(self.fd.as_raw_fd(), p, n, libc::MSG_NOSIGNAL) };
                self.state = if wrote < 0 {
                    State::Over(refused(&io::Error::last_os_error(), format!("connected to {}, then write", self.to)))
                } else {
                    State::Reading(Vec::new())
                };
            }
            State::Reading(seen) => {
                let mut buffer = [0_u8; 1024];
                // SAFETY: the buffer is valid for its length.
                let n = unsafe { libc::recv(self.fd.as_raw_fd(), buffer.as_mut_ptr().cast(), buffer.len(), 0) };
                if let Ok(n @ 1..) = usize::try_from(n) {
                    seen.extend_from_slice(&buffer[..n]);
                }
                let text = printable(seen);
                let detail = format!("connected to {}, read {} bytes: {text}", self.to, seen.len());
                self.state = State::Over(Outcome::allowed(detail));
            }
        }
    }

    fn finish(self) -> (Outcome, Sent) {
        let sent = self.sent();
        let after_ms = u64::try_from(self.begun.elapsed().as_millis()).unwrap_or(u64::MAX);
        let outcome = match self.state {
            State::Over(outcome) => outcome,
            State::Connecting => {
                Outcome::TimedOut { after_ms, detail: format!("connect {}{}", self.to, tcp_info(&self.fd)) }
            }
            State::Reading(_) => Outcome::allowed(format!("connected to {}, no bytes came back", self.to)),
        };
        (outcome, sent)
    }
}

/// Drives all attempts at once until each has an outcome or the wait is over.
pub(crate) fn settle(mut tries: Vec<TcpTry>, wait: Duration) -> Vec<(Outcome, Sent)> {
    let until = Instant::now() + wait;
    loop {
        let open: Vec<usize> = (0..tries.len()).filter(|i| !matches!(tries[*i].state, State::Over(_))).collect();
        let left = until.saturating_duration_since(Instant::now());
        if open.is_empty() || left.is_zero() {
            return tries.into_iter().map(TcpTry::finish).collect();
        }
        let mut fds: Vec<libc::pollfd> = open
            .iter()
            .map(|i| {
                let events = if matches!(tries[*i].state, State::Connecting) { libc::POLLOUT } else { libc::POLLIN };
                libc::pollfd { fd: tries[*i].fd.as_raw_fd(), events, revents: 0 }
            })
            .collect();
        let ms = i32::try_from(left.as_millis()).unwrap_or(i32::MAX).saturating_add(1);
        // SAFETY: `fds` is valid for its length.
        unsafe { libc::poll(fds.as_mut_ptr(), fds.len() as _, ms) };
        for (fd, i) in fds.iter().zip(&open) {
            if fd.revents != 0 {
                tries[*i].step();
            }
        }
    }
}

/// Sends the same datagram `times` times and waits for an answer.
pub(crate) fn udp(to: SocketAddr, nonce: &str, payload: &[u8], times: u32, wait: Duration) -> (Outcome, Sent) {
    let mut sent = sent(UDP, to, nonce);
    let fd = match socket(to, libc::SOCK_DGRAM, 0) {
        Ok(fd) => fd,
        Err(e) => return (refused(&e, "socket"), sent),
    };
    let (mut ok, mut last) = (0, None);
    for _ in 0..times {
        match send_to(&fd, payload, to) {
            Ok(()) => ok += 1,
            Err(e) => last = Some(e),
        }
    }
    sent.sport = local_port(&fd);
    match last {
        Some(e) if ok == 0 => return (refused(&e, format!("sendto {to}")), sent),
        _ => {}
    }
    let text = format!("{ok} of {times} datagrams sent to {to}");
    (answer(&fd, wait, &text), sent)
}

/// How an attempt without anything special is found. An IPv4 address written as an IPv6 one leaves as what it is.
pub(crate) fn sent(proto: u8, to: SocketAddr, nonce: &str) -> Sent {
    let (dst, nonce) = (to.ip().to_canonical(), nonce.to_owned());
    Sent { proto, dst, dport: to.port(), sport: 0, nonce, target: String::new() }
}

/// The same datagram three times, and a wait for an answer. One that got out is an attempt that was made.
pub(crate) fn three(fd: &OwnedFd, payload: &[u8], to: SocketAddr, wait: Duration) -> Outcome {
    repeated(fd, to, wait, || send_to(fd, payload, to))
}

/// The same on a connected socket.
pub(crate) fn three_connected(fd: &OwnedFd, payload: &[u8], to: SocketAddr, wait: Duration) -> Outcome {
    repeated(fd, to, wait, || {
        // SAFETY: the buffer is valid for its length.
        let r = unsafe { libc::send(fd.as_raw_fd(), payload.as_ptr().cast(), payload.len(), libc::MSG_NOSIGNAL) };
        check(r as libc::c_long).map(drop)
    })
}

fn repeated(fd: &OwnedFd, to: SocketAddr, wait: Duration, mut send: impl FnMut() -> io::Result<()>) -> Outcome {
    let (mut ok, mut last) = (0, None);
    for _ in 0..3 {
        match send() {
            Ok(()) => ok += 1,
            Err(e) => last = Some(e),
        }
    }
    match last {
        Some(e) if ok == 0 => refused(&e, format!("sendto {to}")),
        _ => answer(fd, wait, &format!("{ok} of 3 datagrams sent to {to}")),
    }
}

/// bind(2).
pub(crate) fn bind(fd: &OwnedFd, to: SocketAddr) -> io::Result<()> {
    let (addr, len) = raw_address(to);
    // SAFETY: `addr` is a valid socket address of length `len`.
    check(unsafe { libc::bind(fd.as_raw_fd(), (&raw const addr).cast(), len) }.into()).map(drop)
}

/// connect(2).
pub(crate) fn connect(fd: &OwnedFd, to: SocketAddr) -> io::Result<()> {
    let (addr, len) = raw_address(to);
    // SAFETY: `addr` is a valid socket address of length `len`.
    check(unsafe { libc::connect(fd.as_raw_fd(), (&raw const addr).cast(), len) }.into()).map(drop)
}

/// setsockopt(2).
pub(crate) fn set_option(fd: &OwnedFd, level: i32, name: i32, value: &[u8]) -> io::Result<()> {
    let (p, n) = (value.as_ptr().cast(), value.len() as libc::socklen_t);
    // SAFETY: the buffer is valid for its length.
    check(unsafe { libc::setsockopt(fd.as_raw_fd(), level, name, p, n) }.into()).map(drop)
}

/// A link-local address is one of a link: of the sandbox's own.
pub(crate) fn on_link(address: IpAddr, port: u16) -> SocketAddr {
    match address {
        IpAddr::V6(a) if a.is_unicast_link_local() || a.is_multicast() => {
            // SAFETY: the name is a valid NUL-terminated string.
            let scope = unsafe { libc::if_nametoindex(c"eth0".as_ptr()) };
            SocketAddrV6::new(a, port, 0, scope).into()
        }
        other => SocketAddr::new(other, port),
    }
}

/// The address as IPv6 programs write an IPv4 one.
pub(crate) fn mapped(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(a) => a.to_ipv6_mapped().into(),
        IpAddr::V6(_) => address,
    }
}

/// The Internet checksum.
pub(crate) fn checksum(bytes: &[u8]) -> u16 {
    let mut sum = 0_u32;
    for pair in bytes.chunks(2) {
        sum += u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0));
    }
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

/// Waits for a datagram.
pub(crate) fn answer(fd: &OwnedFd, wait: Duration, text: &str) -> Outcome {
    let begun = Instant::now();
    let mut p = libc::pollfd { fd: fd.as_raw_fd(), events: libc::POLLIN, revents: 0 };
    let ms = i32::try_from(wait.as_millis()).unwrap_or(i32::MAX);
    // SAFETY: one valid descriptor.
    let ready = unsafe { libc::poll(&mut p, 1, ms) };
    let mut buffer = [0_u8; 2048];
    if ready > 0 {
        // SAFETY: the buffer is valid for its length.
        let n = unsafe { libc::recv(fd.as_raw_fd(), buffer.as_mut_ptr().cast(), buffer.len(), libc::MSG_DONTWAIT) };
        return match usize::try_from(n) {
            Ok(n) => Outcome::allowed(format!("{text}, answer of {n} bytes: {}", printable(&buffer[..n]))),
            Err(_) => refused(&io::Error::last_os_error(), text),
        };
    }
    let after_ms = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
    Outcome::TimedOut { after_ms, detail: text.to_owned() }
}

/// A socket of the address's family, closed on exec.
pub(crate) fn socket(to: SocketAddr, kind: libc::c_int, protocol: libc::c_int) -> io::Result<OwnedFd> {
    let family = if to.is_ipv4() { libc::AF_INET } else { libc::AF_INET6 };
    raw_socket(family, kind, protocol)
}

/// socket(2), closed on exec.
pub(crate) fn raw_socket(family: libc::c_int, kind: libc::c_int, protocol: libc::c_int) -> io::Result<OwnedFd> {
    // SAFETY: a new descriptor is owned once.
    unsafe {
        let fd = check(libc::socket(family, kind | libc::SOCK_CLOEXEC, protocol).into())?;
        Ok(OwnedFd::from_raw_fd(fd as i32))
    }
}

/// sendto(2).
pub(crate) fn send_to(fd: &OwnedFd, payload: &[u8], to: SocketAddr) -> io::Result<()> {
    send_flags(fd, payload, to, 0)
}

/// sendto(2) with flags.
pub(crate) fn send_flags(fd: &OwnedFd, payload: &[u8], to: SocketAddr, flags: i32) -> io::Result<()> {
    let (addr, len) = raw_address(to);
    // SAFETY: buffer and address are valid for their lengths.
    let r = unsafe {
        let a = (&raw const addr).cast();
        libc::sendto(fd.as_raw_fd(), payload.as_ptr().cast(), payload.len(), libc::MSG_NOSIGNAL | flags, a, len)
    };
    check(r as libc::c_long).map(drop)
}

/// A socket address as the kernel wants it.
pub(crate) fn raw_address(to: SocketAddr) -> (libc::sockaddr_storage, libc::socklen_t) {
    // SAFETY: all-zero is a valid sockaddr_storage, which is large and aligned enough for both kinds.
    unsafe {
        let mut storage: libc::sockaddr_storage = zeroed();
        let len = match to {
            SocketAddr::V4(a) => {
                let s = &mut *(&raw mut storage).cast::<libc::sockaddr_in>();
                s.sin_family = libc::AF_INET as _;
                s.sin_port = a.port().to_be();
                s.sin_addr.s_addr = u32::from_ne_bytes(a.ip().octets());
                size_of::<libc::sockaddr_in>()
            }
            SocketAddr::V6(a) => {
                let s = &mut *(&raw mut storage).cast::<libc::sockaddr_in6>();
                s.sin6_family = libc::AF_INET6 as _;
                s.sin6_port = a.port().to_be();
                s.sin6_addr.s6_addr = a.ip().octets();
                s.sin6_scope_id = a.scope_id();
                size_of::<libc::sockaddr_in6>()
            }
        };
        (storage, len as libc::socklen_t)
    }
}

/// The port a socket is bound to, 0 if it is not.
pub(crate) fn local_port(fd: &OwnedFd) -> u16 {
    // SAFETY: storage and length are valid for the call; ports sit at the same place for both families.
    unsafe {
        let mut storage: libc::sockaddr_storage = zeroed();
        let mut len = size_of::<libc::sockaddr_storage>() as libc::socklen_t;
        if libc::getsockname(fd.as_raw_fd(), (&raw mut storage).cast(), &mut len) != 0 {
            return 0;
        }
        u16::from_be((*(&raw const storage).cast::<libc::sockaddr_in>()).sin_port)
    }
}

fn tcp_info(fd: &OwnedFd) -> String {
    // SAFETY: the structure is plain data and its size is passed along.
    unsafe {
        let mut info: libc::tcp_info = zeroed();
        let mut len = size_of::<libc::tcp_info>() as libc::socklen_t;
        let p = (&raw mut info).cast();
        if libc::getsockopt(fd.as_raw_fd(), libc::IPPROTO_TCP, libc::TCP_INFO, p, &mut len) != 0 {
            return format!(" (TCP_INFO: {})", errno_name(&io::Error::last_os_error()));
        }
        format!(
            " (state {}, {} SYN unanswered, {} sent again)",
            info.tcpi_state, info.tcpi_unacked, info.tcpi_total_retrans
        )
    }
}

/// The start of some bytes, made safe for a line of text.
pub(crate) fn printable(bytes: &[u8]) -> String {
    let text: String = bytes.iter().take(60).map(|b| if b.is_ascii_graphic() { *b as char } else { ' ' }).collect();
    text.trim().to_owned()
}

/// An address from a parameter.
pub(crate) fn address(text: &str) -> Option<IpAddr> {
    text.parse().ok()
}
