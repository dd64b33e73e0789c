//! IP packets with a header of our own.

use std::net::{IpAddr, SocketAddr};

use awf_probe_matrix::{Outcome, Sent};

use super::{Payload, Way, datagram::nobody};
use crate::{
    Cx,
    net::{self, checksum},
    sys::refused,
};

pub(super) fn send(cx: &mut Cx, way: &mut Way, payload: Payload) {
    let nonce = way.nonces.next();
    let (Some(own), dst) = (net::address(cx.text("agent")), way.dst) else {
        return cx.fact("", Outcome::broken("no addresses"));
    };
    if own.is_ipv4() != dst.is_ipv4() {
        return cx.fact("", Outcome::broken("addresses of two families"));
    }
    // Of either family a header of our own is expected.
    let family = if dst.is_ipv4() { libc::AF_INET } else { libc::AF_INET6 };
    let fd = match net::raw_socket(family, libc::SOCK_RAW, libc::IPPROTO_RAW) {
        Ok(fd) => fd,
        Err(e) => {
            let sent = net::sent(0, (dst, 0).into(), &nonce);
            return cx.sent("", refused(&e, "socket"), sent);
        }
    };
    let sent = |proto, sport, dport| Sent { sport, ..net::sent(proto, (dst, dport).into(), &nonce) };
    let udp = |from| datagram(from, dst, nonce.as_bytes());
    let (packets, sent) = match payload {
        Payload::RawIp(4) => {
            let inner = packet(own, dst, net::UDP, 0, &udp(own));
            (vec![packet(own, dst, 4, 0, &inner)], sent(4, 0, 0))
        }
        Payload::RawIp(proto) => {
            let body = [&[0, 0, 0x65, 0x58, 0, 0, 0, 1][..], nonce.as_bytes()].concat();
            (vec![packet(own, dst, proto, 0, &body)], sent(proto, 0, 0))
        }
        Payload::RawTcp => {
            (vec![packet(own, dst, net::TCP, 0, &syn(own, dst, nonce.as_bytes()))], sent(net::TCP, 40_003, 8080))
        }
        Payload::RawFragments => {
            let whole = udp(own);
            let more = 0x2000;
            let first = packet(own, dst, net::UDP, more, &whole[..8]);
            (vec![first, packet(own, dst, net::UDP, 1, &whole[8..])], sent(net::UDP, 40_002, 40_001))
        }
        Payload::RawSpoofed => match other(own, &way.gateway) {
            Some(from) => (vec![packet(from, dst, net::UDP, 0, &udp(from))], sent(net::UDP, 40_002, 40_001)),
            _ => return cx.fact("", Outcome::broken("no gateway")),
        },
        _ => (vec![packet(own, dst, net::UDP, 0, &udp(own))], sent(net::UDP, 40_002, 40_001)),
    };
    let mut count = 0;
    for _ in 0..3 {
        for p in &packets {
            let sending = net::send_to(&fd, p, SocketAddr::new(dst, 0));
            // gVisor's raw sockets of IPv6 take no header of our own.
            if let Err(e) = &sending
                && (dst.is_ipv6() && e.raw_os_error() == Some(libc::EINVAL))
            {
                return cx.sent("", refused(e, "socket: it takes no IPv6 header of our own"), sent);
            }
            if let Err(e) = sending {
                return cx.sent("", refused(&e, format!("sendto {dst}")), sent);
            }
            count += 1;
        }
    }
    cx.sent("", Outcome::TimedOut { after_ms: 0, detail: format!("{count} packets sent to {dst}") }, sent);
}

/// An address of the agent's subnet that is nobody's.
fn other(own: IpAddr, gateway: &str) -> Option<IpAddr> {
    match own {
        IpAddr::V4(_) => nobody(gateway),
        IpAddr::V6(own) => Some(IpAddr::from((u128::from(own) | 0xffff).to_be_bytes())),
    }
}

/// The bytes of an address.
fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(a) => a.octets().to_vec(),
        IpAddr::V6(a) => a.octets().to_vec(),
    }
}

/// A header and what follows it. `fragment` is the field of IPv4: flags and offset in units of eight bytes.
pub(super) fn packet(src: IpAddr, dst: IpAddr, proto: u8, fragment: u16, body: &[u8]) -> Vec<u8> {
    if src.is_ipv6() {
        return packet6(src, dst, proto, fragment, body);
    }
    // The kernel fills in length, checksum and an identification that is 0.
    let mut ip = vec![0x45, 0];
    ip.extend((20 + body.len() as u16).to_be_bytes());
    ip.extend([0x1d, 0x0b]);
    ip.extend(fragment.to_be_bytes());
    ip.extend([64, proto, 0, 0]);
    ip.extend(octets(src));
    ip.extend(octets(dst));
    let sum = checksum(&ip);
    ip[10..12].copy_from_slice(&sum.to_be_bytes());
    ip.extend(body);
    ip
}

/// The same over IPv6, where a fragment has a header of its own.
fn packet6(src: IpAddr, dst: IpAddr, proto: u8, fragment: u16, body: &[u8]) -> Vec<u8> {
    let mut extension = vec![];
    if fragment != 0 {
        extension.extend([proto, 0]);
        extension.extend(((fragment & 0x1fff) << 3 | fragment >> 13 & 1).to_be_bytes());
        extension.extend([0, 0, 0x1d, 0x0b]);
    }
    let mut ip = vec![0x60, 0, 0, 0];
    ip.extend(((extension.len() + body.len()) as u16).to_be_bytes());
    ip.extend([if extension.is_empty() { proto } else { 44 }, 64]);
    ip.extend(octets(src));
    ip.extend(octets(dst));
    ip.extend(extension);
    ip.extend(body);
    ip
}

/// The checksum over what a transport header shares with the header before it, and itself.
pub(super) fn over(src: IpAddr, dst: IpAddr, proto: u8, transport: &[u8]) -> [u8; 2] {
    let mut pseudo = [octets(src), octets(dst)].concat();
    pseudo.extend([0, proto]);
    pseudo.extend((transport.len() as u16).to_be_bytes());
    pseudo.extend(transport);
    checksum(&pseudo).to_be_bytes()
}

/// UDP; without a checksum where it needs none.
pub(super) fn datagram(src: IpAddr, dst: IpAddr, body: &[u8]) -> Vec<u8> {
    let mut udp = Vec::new();
    for field in [40_002, 40_001, 8 + body.len() as u16, 0_u16] {
        udp.extend(field.to_be_bytes());
    }
    udp.extend(body);
    if src.is_ipv6() {
        let sum = over(src, dst, net::UDP, &udp);
        udp[6..8].copy_from_slice(&sum);
    }
    udp
}

/// A SYN with data in it.
fn syn(src: IpAddr, dst: IpAddr, body: &[u8]) -> Vec<u8> {
    let mut tcp = Vec::new();
    tcp.extend(40_003_u16.to_be_bytes());
    tcp.extend(8080_u16.to_be_bytes());
    tcp.extend([0, 0, 0x1d, 0x0a, 0, 0, 0, 0, 0x50, 2, 0xff, 0xff, 0, 0, 0, 0]);
    tcp.extend(body);
    let sum = over(src, dst, net::TCP, &tcp);
    tcp[16..18].copy_from_slice(&sum);
    tcp
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_checks_out() {
        let p = packet([10, 0, 0, 1].into(), [203, 0, 113, 9].into(), 47, 0, b"body");
        assert_eq!((checksum(&p[..20]), p.len()), (0, 24));
    }

    #[test]
    fn the_second_fragment_begins_eight_bytes_in() {
        let (from, to) = ("2001:db8::1".parse().expect("v6"), "2001:db8::2".parse().expect("v6"));
        let first = packet(from, to, net::UDP, 0x2000, &[0; 8]);
        let second = packet(from, to, net::UDP, 1, &[0; 4]);
        assert_eq!((first[6], &first[40..44]), (44, &[net::UDP, 0, 0, 1][..]));
        assert_eq!((second[6], &second[40..44], second.len()), (44, &[net::UDP, 0, 0, 8][..], 52));
    }

    #[test]
    fn a_transport_header_with_its_checksum_sums_up_to_nothing() {
        let (from, to) = ("2001:db8::1".parse().expect("v6"), "2001:db8::2".parse().expect("v6"));
        assert_eq!(over(from, to, net::UDP, &datagram(from, to, b"awfp")), [0, 0]);
        assert_eq!(over(from, to, net::TCP, &syn(from, to, b"awfp")), [0, 0]);
    }
}
