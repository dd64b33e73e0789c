//! Datagrams in every shape, and echo requests.

use std::{
    mem::zeroed,
    net::{IpAddr, SocketAddr},
    os::fd::{AsRawFd, OwnedFd},
};

use awf_probe_matrix::Outcome;

use super::{
    Way,
    tcp::{self, own},
};
use crate::{
    Cx,
    net::{self, UDP},
    sys::{check, refused},
};

const PORT: u16 = 40_000;

/// A socket with something done to it, then three datagrams and a wait for an answer.
fn shoot(
    cx: &mut Cx,
    way: &mut Way,
    name: &str,
    to: SocketAddr,
    payload: impl FnOnce(&str) -> Vec<u8>,
    prepare: impl FnOnce(&OwnedFd) -> std::io::Result<()>,
) {
    let nonce = way.nonces.next();
    let payload = payload(&nonce);
    let mut sent = net::sent(UDP, to, &nonce);
    let fd = match net::socket(to, libc::SOCK_DGRAM, 0) {
        Ok(fd) => fd,
        Err(e) => return cx.sent(name, refused(&e, "socket"), sent),
    };
    if let Err(e) = prepare(&fd) {
        return cx.sent(name, refused(&e, "socket option"), sent);
    }
    let outcome = net::three(&fd, &payload, to, way.wait);
    sent.sport = net::local_port(&fd);
    cx.sent(name, outcome, sent);
}

pub(super) fn plain(cx: &mut Cx, way: &mut Way, port: u16) {
    let to = SocketAddr::new(way.dst, port);
    shoot(cx, way, "", to, |n| n.as_bytes().to_vec(), |_| Ok(()));
}

pub(super) fn mapped(cx: &mut Cx, way: &mut Way) {
    let to = SocketAddr::new(net::mapped(way.dst), PORT);
    shoot(cx, way, "", to, |n| n.as_bytes().to_vec(), |_| Ok(()));
}

pub(super) fn connected(cx: &mut Cx, way: &mut Way) {
    let to = SocketAddr::new(way.dst, PORT);
    let connect = |fd: &OwnedFd| net::connect(fd, to);
    let nonce = way.nonces.next();
    let mut sent = net::sent(UDP, to, &nonce);
    let fd = match net::socket(to, libc::SOCK_DGRAM, 0) {
        Ok(fd) => fd,
        Err(e) => return cx.sent("", refused(&e, "socket"), sent),
    };
    if let Err(e) = connect(&fd) {
        return cx.sent("", refused(&e, format!("connect {to}")), sent);
    }
    sent.sport = net::local_port(&fd);
    let outcome = net::three_connected(&fd, nonce.as_bytes(), to, way.wait);
    cx.sent("", outcome, sent);
}

/// Three datagrams in one system call.
pub(super) fn many(cx: &mut Cx, way: &mut Way) {
    let to = SocketAddr::new(way.dst, PORT);
    let nonce = way.nonces.next();
    let mut sent = net::sent(UDP, to, &nonce);
    let fd = match net::socket(to, libc::SOCK_DGRAM, 0) {
        Ok(fd) => fd,
        Err(e) => return cx.sent("", refused(&e, "socket"), sent),
    };
    let (mut addr, len) = net::raw_address(to);
    let mut iov = libc::iovec { iov_base: nonce.as_ptr().cast_mut().cast(), iov_len: nonce.len() };
    // SAFETY: all-zero headers are valid; the pointers they are given outlive the call, which reads only.
    let n = unsafe {
        let mut headers: [libc::mmsghdr; 3] = zeroed();
        for h in &mut headers {
            h.msg_hdr.msg_name = (&raw mut addr).cast();
            h.msg_hdr.msg_namelen = len;
            h.msg_hdr.msg_iov = &raw mut iov;
            h.msg_hdr.msg_iovlen = 1;
        }
        libc::sendmmsg(fd.as_raw_fd(), headers.as_mut_ptr(), 3, libc::MSG_NOSIGNAL as _)
    };
    sent.sport = net::local_port(&fd);
    let outcome = match check(n.into()) {
        Ok(n) => net::answer(&fd, way.wait, &format!("sendmmsg: {n} datagrams sent to {to}")),
        Err(e) => refused(&e, format!("sendmmsg {to}")),
    };
    cx.sent("", outcome, sent);
}

pub(super) fn from_ports(cx: &mut Cx, way: &mut Way, ports: &[u16]) {
    let wait = way.wait;
    way.wait /= 4;
    for port in ports {
        let to = SocketAddr::new(way.dst, PORT);
        let from = SocketAddr::new(own(cx), *port);
        shoot(cx, way, &port.to_string(), to, |n| n.as_bytes().to_vec(), |fd| net::bind(fd, from));
    }
    way.wait = wait;
}

/// Empty, or too long for one packet. Without a nonce the destination names the attempt.
pub(super) fn sized(cx: &mut Cx, way: &mut Way, size: usize) {
    let to = SocketAddr::new(way.dst, PORT);
    shoot(
        cx,
        way,
        "",
        to,
        |n| {
            let mut payload = n.as_bytes().to_vec();
            payload.resize(size, b'.');
            payload
        },
        |_| Ok(()),
    );
}

pub(super) fn options(cx: &mut Cx, way: &mut Way) {
    let to = SocketAddr::new(way.dst, PORT);
    shoot(cx, way, "", to, |n| n.as_bytes().to_vec(), |fd| tcp::options(fd, to));
}

pub(super) fn lite(cx: &mut Cx, way: &mut Way) {
    let to = SocketAddr::new(way.dst, PORT);
    let nonce = way.nonces.next();
    let mut sent = net::sent(136, to, &nonce);
    let fd = match net::socket(to, libc::SOCK_DGRAM, 136) {
        Ok(fd) => fd,
        Err(e) => return cx.sent("", refused(&e, "socket"), sent),
    };
    let outcome = net::three(&fd, nonce.as_bytes(), to, way.wait / 4);
    sent.sport = net::local_port(&fd);
    cx.sent("", outcome, sent);
}

/// From an address of the lab that is nobody's.
pub(super) fn transparent(cx: &mut Cx, way: &mut Way) {
    let to = SocketAddr::new(way.dst, PORT);
    let Some(from) = nobody(&way.gateway) else { return cx.fact("", Outcome::broken("no gateway")) };
    shoot(
        cx,
        way,
        "",
        to,
        |n| n.as_bytes().to_vec(),
        |fd| {
            net::set_option(fd, libc::IPPROTO_IP, libc::IP_TRANSPARENT, &1_i32.to_ne_bytes())?;
            net::bind(fd, SocketAddr::new(from, 0))
        },
    );
}

/// The address .2 of the agent's subnet, which no sandbox is given.
pub(super) fn nobody(gateway: &str) -> Option<IpAddr> {
    match gateway.parse().ok()? {
        IpAddr::V4(g) => Some(IpAddr::from((u32::from(g) & 0xffff_ff00 | 2).to_be_bytes())),
        IpAddr::V6(_) => None,
    }
}

/// To whoever listens on the link, one hop far.
pub(super) fn on_link(cx: &mut Cx, way: &mut Way, address: &str) {
    let to: Option<IpAddr> = match address {
        "BROADCAST" => {
            way.gateway.parse().ok().map(|g: std::net::Ipv4Addr| IpAddr::from((u32::from(g) | 0xff).to_be_bytes()))
        }
        other => other.parse().ok(),
    };
    let Some(to) = to else { return cx.fact("", Outcome::broken(format!("no address {address}"))) };
    let to = net::on_link(to, PORT);
    way.wait /= 4;
    let one = 1_i32.to_ne_bytes();
    shoot(
        cx,
        way,
        "",
        to,
        |n| n.as_bytes().to_vec(),
        |fd| {
            net::set_option(fd, libc::SOL_SOCKET, libc::SO_BROADCAST, &one)?;
            if to.is_ipv4() {
                net::set_option(fd, libc::IPPROTO_IP, libc::IP_TTL, &one)?;
                net::set_option(fd, libc::IPPROTO_IP, libc::IP_MULTICAST_TTL, &one)
            } else {
                net::set_option(fd, libc::IPPROTO_IPV6, libc::IPV6_MULTICAST_HOPS, &one)
            }
        },
    );
}

/// A long-header packet of QUIC version 1 with the nonce in its body; a server may well refuse it, the
/// boundary sees UDP to port 443 all the same.
pub(super) fn quic(cx: &mut Cx, way: &mut Way) {
    let to = SocketAddr::new(way.dst, 443);
    let initial = |nonce: &str| {
        let mut p = vec![0xc3, 0, 0, 0, 1, 8, 1, 2, 3, 4, 5, 6, 7, 8, 0, 0, 0x44, 0x96];
        p.extend(nonce.as_bytes());
        p.resize(1200, 0);
        p
    };
    shoot(cx, way, "", to, initial, |_| Ok(()));
}

pub(super) fn echo(cx: &mut Cx, way: &mut Way, kind: libc::c_int) {
    let nonce = way.nonces.next();
    let (family, protocol, request) = if way.dst.is_ipv4() {
        (libc::AF_INET, libc::IPPROTO_ICMP, 8)
    } else {
        (libc::AF_INET6, libc::IPPROTO_ICMPV6, 128)
    };
    let proto = if way.dst.is_ipv4() { 1 } else { 58 };
    let sent = net::sent(proto, SocketAddr::new(way.dst, 0), &nonce);
    let fd = match net::raw_socket(family, kind, protocol) {
        Ok(fd) => fd,
        Err(e) => return cx.sent("", refused(&e, "socket"), sent),
    };
    let mut echo = vec![request, 0, 0, 0, 0x1d, 0x0a, 0, 1];
    echo.extend(nonce.as_bytes());
    let sum = net::checksum(&echo);
    echo[2..4].copy_from_slice(&sum.to_be_bytes());
    let outcome = net::three(&fd, &echo, SocketAddr::new(way.dst, 0), way.wait);
    cx.sent("", outcome, sent);
}

/// A router advertisement that offers nothing: lifetime 0, no prefix. The nonce is in an option nobody acts on.
pub(super) fn advertise(cx: &mut Cx, way: &mut Way) {
    let nonce = way.nonces.next();
    let to = SocketAddr::new(way.dst, 0);
    let sent = net::sent(58, to, &nonce);
    let fd = match net::raw_socket(libc::AF_INET6, libc::SOCK_RAW, libc::IPPROTO_ICMPV6) {
        Ok(fd) => fd,
        Err(e) => return cx.sent("", refused(&e, "socket"), sent),
    };
    // Neighbours take none that a router has passed on, which they tell by its hop limit.
    if let Err(e) = net::set_option(&fd, libc::IPPROTO_IPV6, libc::IPV6_UNICAST_HOPS, &255_i32.to_ne_bytes()) {
        return cx.sent("", refused(&e, "socket: hop limit 255"), sent);
    }
    let message = advertisement(&nonce);
    for _ in 0..3 {
        if let Err(e) = net::send_to(&fd, &message, to) {
            return cx.sent("", refused(&e, format!("sendto {to}")), sent);
        }
    }
    // Nobody answers one.
    cx.sent("", Outcome::TimedOut { after_ms: 0, detail: format!("3 advertisements sent to {to}") }, sent);
}

/// The message but for its checksum, which the kernel fills in.
fn advertisement(nonce: &str) -> Vec<u8> {
    const TYPE: u8 = 134;
    const NONCE_OPTION: u8 = 14;
    let mut message = vec![TYPE, 0];
    message.resize(16, 0);
    let units = (2 + nonce.len()).div_ceil(8);
    message.extend([NONCE_OPTION, units as u8]);
    message.extend(nonce.as_bytes());
    message.resize(16 + 8 * units, 0);
    message
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_advertisement_offers_nothing_and_is_whole() {
        let message = advertisement("awfp0123456789ab");
        assert_eq!(message[..16], [134, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!((usize::from(message[17]) * 8, message.len() % 8), (message.len() - 16, 0));
        assert!(message.windows(16).any(|w| w == b"awfp0123456789ab"));
    }

    #[test]
    fn nobody_is_in_the_agents_subnet() {
        assert_eq!(nobody("10.213.4.1"), Some(IpAddr::from([10, 213, 4, 2])));
        assert_eq!(nobody("x"), None);
    }
}
