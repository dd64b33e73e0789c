//! IP packets with a header of our own.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use awf_probe_matrix::{Outcome, Sent};

use super::{Payload, Way, datagram::nobody};
use crate::{
    Cx,
    net::{self, checksum},
    sys::refused,
};

pub(super) fn send(cx: &mut Cx, way: &mut Way, payload: Payload) {
    let nonce = way.nonces.next();
    let (Some(IpAddr::V4(own)), IpAddr::V4(dst)) = (net::address(cx.text("agent")), way.dst) else {
        return cx.fact("", Outcome::broken("no addresses"));
    };
    let fd = match net::raw_socket(libc::AF_INET, libc::SOCK_RAW, libc::IPPROTO_RAW) {
        Ok(fd) => fd,
        Err(e) => {
            let sent = net::sent(0, (dst, 0).into(), &nonce);
            return cx.sent("", refused(&e, "socket"), sent);
        }
    };
    let sent = |proto, sport, dport| Sent { sport, ..net::sent(proto, (dst, dport).into(), &nonce) };
    let udp = || datagram(nonce.as_bytes());
    let (packets, sent) = match payload {
        Payload::RawIp(4) => {
            let inner = packet(own, dst, net::UDP, 0, &datagram(nonce.as_bytes()));
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
            let whole = udp();
            let more = 0x2000;
            let first = packet(own, dst, net::UDP, more, &whole[..8]);
            (vec![first, packet(own, dst, net::UDP, 1, &whole[8..])], sent(net::UDP, 40_002, 40_001))
        }
        Payload::RawSpoofed => match nobody(&way.gateway) {
            Some(IpAddr::V4(from)) => (vec![packet(from, dst, net::UDP, 0, &udp())], sent(net::UDP, 40_002, 40_001)),
            _ => return cx.fact("", Outcome::broken("no gateway")),
        },
        _ => (vec![packet(own, dst, net::UDP, 0, &udp())], sent(net::UDP, 40_002, 40_001)),
    };
    let mut count = 0;
    for _ in 0..3 {
        for p in &packets {
            if let Err(e) = net::send_to(&fd, p, SocketAddr::new(dst.into(), 0)) {
                return cx.sent("", refused(&e, format!("sendto {dst}")), sent);
            }
            count += 1;
        }
    }
    cx.sent("", Outcome::TimedOut { after_ms: 0, detail: format!("{count} packets sent to {dst}") }, sent);
}

/// A header and what follows it. The kernel fills in length, checksum and an identification that is 0.
fn packet(src: Ipv4Addr, dst: Ipv4Addr, proto: u8, fragment: u16, body: &[u8]) -> Vec<u8> {
    let mut ip = vec![0x45, 0];
    ip.extend((20 + body.len() as u16).to_be_bytes());
    ip.extend([0x1d, 0x0b]);
    ip.extend(fragment.to_be_bytes());
    ip.extend([64, proto, 0, 0]);
    ip.extend(src.octets());
    ip.extend(dst.octets());
    let sum = checksum(&ip);
    ip[10..12].copy_from_slice(&sum.to_be_bytes());
    ip.extend(body);
    ip
}

/// UDP without a checksum.
fn datagram(body: &[u8]) -> Vec<u8> {
    let mut udp = Vec::new();
    for field in [40_002, 40_001, 8 + body.len() as u16, 0_u16] {
        udp.extend(field.to_be_bytes());
    }
    udp.extend(body);
    udp
}

/// A SYN with data in it.
fn syn(src: Ipv4Addr, dst: Ipv4Addr, body: &[u8]) -> Vec<u8> {
    let mut tcp = Vec::new();
    tcp.extend(40_003_u16.to_be_bytes());
    tcp.extend(8080_u16.to_be_bytes());
    tcp.extend([0, 0, 0x1d, 0x0a, 0, 0, 0, 0, 0x50, 2, 0xff, 0xff, 0, 0, 0, 0]);
    tcp.extend(body);
    let mut pseudo = [src.octets(), dst.octets()].concat();
    pseudo.extend([0, net::TCP]);
    pseudo.extend((tcp.len() as u16).to_be_bytes());
    pseudo.extend(&tcp);
    let sum = checksum(&pseudo);
    tcp[16..18].copy_from_slice(&sum.to_be_bytes());
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
}
