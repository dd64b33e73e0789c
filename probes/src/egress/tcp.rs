//! TCP, and what looks like it.

use std::{io, net::SocketAddr, os::fd::OwnedFd, time::Duration};

use awf_probe_matrix::{Outcome, Sent};

use super::{Way, client_hello, report};
use crate::{
    Cx,
    net::{self, TcpTry},
    sys::{check, refused},
};

/// A request that names a host nobody allowed; it carries the nonce twice.
pub(super) fn request(nonce: &str) -> Vec<u8> {
    format!("GET /{nonce} HTTP/1.1\r\nHost: {nonce}.denied.awf-probe.test\r\nConnection: close\r\n\r\n").into_bytes()
}

pub(super) fn connect(cx: &mut Cx, way: &mut Way, ports: &[u16]) {
    let single = ports.len() == 1;
    let name = |port: u16| if single { String::new() } else { port.to_string() };
    let tries = ports.iter().map(|port| {
        let nonce = way.nonces.next();
        let hello = request(&nonce);
        (name(*port), TcpTry::start((way.dst, *port).into(), nonce, hello))
    });
    let tries = tries.collect();
    report(cx, tries, way.wait);
}

/// How many ports a sweep tries, and how many at once.
const SWEPT: usize = 240;
const AT_ONCE: usize = 80;

/// Well-known ports, then some of every thousand; those with attempts of their own are theirs.
fn swept() -> Vec<u16> {
    let own = [22, 23, 25, 53, 80, 110, 143, 443, 445];
    let low = (1..180).filter(|p| !own.contains(p));
    let high = (1..65).map(|n: u16| n * 1009);
    low.chain(high).take(SWEPT).collect()
}

/// One fact for all ports: the destination is the attempt's own, so a packet to any port of it is the sweep.
pub(super) fn sweep(cx: &mut Cx, way: &mut Way) {
    let mut sent =
        Sent { proto: net::TCP, dst: way.dst, dport: 0, sport: 0, nonce: way.nonces.next(), target: String::new() };
    let (mut open, mut refused_by_peer, mut silent, mut other) = (0, 0, 0, String::new());
    let mut first = None;
    let ports = swept();
    for batch in ports.chunks(AT_ONCE) {
        let mut tries = Vec::new();
        for port in batch {
            match TcpTry::start((way.dst, *port).into(), sent.nonce.clone(), sent.nonce.clone().into_bytes()) {
                Ok(t) => tries.push(t),
                Err((outcome, _)) => other = outcome.to_string(),
            }
        }
        for (outcome, each) in net::settle(tries, way.wait / 2) {
            match outcome {
                Outcome::Allowed { .. } => {
                    open += 1;
                    first = first.or(Some(each.dport));
                }
                Outcome::Refused { errno, .. } if errno == "ECONNREFUSED" => refused_by_peer += 1,
                Outcome::TimedOut { .. } => silent += 1,
                more => other = more.to_string(),
            }
        }
    }
    let text = format!(
        "{} ports: {open} connected, {refused_by_peer} reset, {silent} without an answer{}",
        ports.len(),
        if other.is_empty() { String::new() } else { format!(", others such as {other}") }
    );
    let outcome = match first {
        Some(port) => {
            sent.dport = 0;
            Outcome::allowed(format!("{text}; first port {port}"))
        }
        None if refused_by_peer > 0 => Outcome::refused("ECONNREFUSED", text),
        None if silent > 0 => {
            Outcome::TimedOut { after_ms: u64::try_from(way.wait.as_millis() / 2).unwrap_or(0), detail: text }
        }
        None => Outcome::refused("every port", text),
    };
    cx.sent("", outcome, sent);
}

/// The agent's address: a socket bound to every address would also hear what others say on the loopback.
pub(super) fn own(cx: &Cx) -> std::net::IpAddr {
    net::address(cx.text("agent")).unwrap_or([0, 0, 0, 0].into())
}

/// From ports that careless filters trust.
pub(super) fn from_ports(cx: &mut Cx, way: &mut Way, ports: &[u16]) {
    let tries = ports.iter().map(|port| {
        let nonce = way.nonces.next();
        let hello = request(&nonce);
        let from = SocketAddr::new(own(cx), *port);
        let one = TcpTry::prepared((way.dst, 8080).into(), nonce, hello, 0, |fd| net::bind(fd, from));
        (port.to_string(), one)
    });
    let tries = tries.collect();
    report(cx, tries, way.wait);
}

/// Data in the first segment, where the kernel has a cookie for it; at the latest after the handshake.
pub(super) fn fast_open(cx: &mut Cx, way: &mut Way) {
    let (nonce, to) = (way.nonces.next(), SocketAddr::new(way.dst, 8080));
    let mut sent =
        Sent { proto: net::TCP, dst: way.dst, dport: 8080, sport: 0, nonce: nonce.clone(), target: String::new() };
    let fd = match net::socket(to, libc::SOCK_STREAM | libc::SOCK_NONBLOCK, 0) {
        Ok(fd) => fd,
        Err(e) => return cx.sent("", refused(&e, "socket"), sent),
    };
    let hello = request(&nonce);
    match net::send_flags(&fd, &hello, to, libc::MSG_FASTOPEN) {
        Ok(()) => {}
        Err(e) if e.raw_os_error() == Some(libc::EINPROGRESS) => {}
        Err(e) if matches!(e.raw_os_error(), Some(libc::EOPNOTSUPP | libc::EINVAL | libc::EPIPE | libc::ENOTCONN)) => {
            let e = io::Error::from_raw_os_error(libc::EOPNOTSUPP);
            return cx.sent("", refused(&e, "socket: sendto with MSG_FASTOPEN"), sent);
        }
        Err(e) => return cx.sent("", refused(&e, format!("sendto {to} with MSG_FASTOPEN")), sent),
    }
    sent.sport = net::local_port(&fd);
    let rest = TcpTry::adopt(fd, to, nonce, hello);
    for (outcome, sent) in net::settle(vec![rest], way.wait) {
        cx.sent("", outcome, sent);
    }
}

/// What is special about a connection.
#[derive(Clone, Copy, Debug)]
pub(super) enum Special {
    /// Multipath TCP.
    Multipath,
    /// A record-route option in every IP header.
    Options,
    /// The address is written as an IPv6 one.
    Mapped,
}

/// Record route, room for three hops, padded: the header is longer than a filter with fixed offsets thinks.
const RECORD_ROUTE: [u8; 16] = [7, 15, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];

/// Padding among the destination options of IPv6: eight bytes between the header and what a filter looks for.
const PADDING: [u8; 8] = [0, 0, 1, 4, 0, 0, 0, 0];

/// Makes the header of whatever this socket sends longer.
pub(super) fn options(fd: &OwnedFd, to: SocketAddr) -> io::Result<()> {
    if to.is_ipv4() {
        net::set_option(fd, libc::IPPROTO_IP, libc::IP_OPTIONS, &RECORD_ROUTE)
    } else {
        net::set_option(fd, libc::IPPROTO_IPV6, libc::IPV6_DSTOPTS, &PADDING)
    }
}

pub(super) fn special(cx: &mut Cx, way: &mut Way, special: Special) {
    let nonce = way.nonces.next();
    let hello = request(&nonce);
    let to = match special {
        Special::Mapped => SocketAddr::new(net::mapped(way.dst), 8080),
        Special::Multipath | Special::Options => SocketAddr::new(way.dst, 8080),
    };
    let protocol = if matches!(special, Special::Multipath) { 262 } else { 0 };
    let one = TcpTry::prepared(to, nonce, hello, protocol, |fd| match special {
        Special::Options => options(fd, to),
        Special::Multipath | Special::Mapped => Ok(()),
    });
    report(cx, vec![(String::new(), one)], way.wait);
}

/// A ClientHello that shows a denied name.
pub(super) fn hello(cx: &mut Cx, way: &mut Way, port: u16) {
    let nonce = way.nonces.next();
    let bytes = client_hello(&format!("{nonce}.denied.awf-probe.test"));
    let one = TcpTry::start((way.dst, port).into(), nonce, bytes);
    report(cx, vec![(String::new(), one)], way.wait);
}

/// A connection of another protocol. That it was begun is all there is to see.
pub(super) fn stream(cx: &mut Cx, way: &mut Way, kind: i32, protocol: i32) {
    let to = SocketAddr::new(way.dst, 8080);
    let proto = u8::try_from(protocol).unwrap_or(0);
    let nonce = String::new();
    let mut sent = Sent { proto, dst: way.dst, dport: 8080, sport: 0, nonce, target: String::new() };
    let fd = match net::socket(to, kind | libc::SOCK_NONBLOCK, protocol) {
        Ok(fd) => fd,
        Err(e) => return cx.sent("", refused(&e, "socket"), sent),
    };
    let (addr, len) = net::raw_address(to);
    // SAFETY: `addr` is a valid socket address of length `len`.
    let r = unsafe { libc::connect(std::os::fd::AsRawFd::as_raw_fd(&fd), (&raw const addr).cast(), len) };
    sent.sport = net::local_port(&fd);
    let begun = match check(r.into()) {
        Ok(_) => Ok(()),
        Err(e) if e.raw_os_error() == Some(libc::EINPROGRESS) => Ok(()),
        Err(e) => Err(e),
    };
    let outcome = match begun {
        Ok(()) => {
            std::thread::sleep(way.wait.min(Duration::from_millis(600)));
            Outcome::TimedOut { after_ms: 600, detail: format!("connect {to} by protocol {protocol}") }
        }
        Err(e) => refused(&e, format!("connect {to} by protocol {protocol}")),
    };
    cx.sent("", outcome, sent);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sweep_leaves_other_attempts_their_ports() {
        let ports = swept();
        assert!(ports.len() > 200 && ports.len() <= SWEPT);
        assert!(![22, 53, 80, 443, 3128].iter().any(|p| ports.contains(p)));
        assert_eq!(RECORD_ROUTE.len() % 4, 0);
    }
}
