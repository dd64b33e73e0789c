//! Hand-made Ethernet frames: past OUTPUT of every netfilter table, to whoever on the link routes them.

use std::{
    io,
    mem::{size_of, zeroed},
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    os::fd::{AsRawFd, OwnedFd},
};

use awf_probe_matrix::{Outcome, Sent};

use super::{
    Way,
    hand_made::{datagram, over, packet},
};
use crate::{
    Cx, net,
    sys::{check, refused},
};

/// A UDP datagram for the destination in frames to the hardware address of `hop`, a parameter.
pub(super) fn to(cx: &mut Cx, way: &mut Way, hop: &str) {
    let nonce = way.nonces.next();
    let sent = Sent { sport: 40_002, ..net::sent(net::UDP, (way.dst, 40_001).into(), &nonce) };
    let outcome = match send_frames(cx.text("agent"), cx.text(hop), way.dst, &nonce) {
        Ok(text) => Outcome::allowed(text),
        Err((what, e)) => refused(&e, what),
    };
    cx.sent("", outcome, sent);
}

fn send_frames(agent: &str, hop: &str, dst: IpAddr, nonce: &str) -> Result<String, (&'static str, io::Error)> {
    let bad = |what| (what, io::Error::from_raw_os_error(libc::EINVAL));
    let (Some(agent), Some(hop)) = (net::address(agent), net::address(hop)) else { return Err(bad("addresses")) };
    let everything = i32::from((libc::ETH_P_ALL as u16).to_be());
    let fd = net::raw_socket(libc::AF_PACKET, libc::SOCK_RAW, everything).map_err(|e| ("socket(AF_PACKET)", e))?;
    let (index, own) = interface(&fd).map_err(|e| ("interface eth0", e))?;
    let link = |e| ("send on eth0", e);
    let (asked, kind) = match (agent, hop) {
        (IpAddr::V4(agent), IpAddr::V4(hop)) if dst.is_ipv4() => {
            (ask(&fd, index, &arp(own, agent, hop), |f| replied(f, hop)), IPV4)
        }
        (IpAddr::V6(agent), IpAddr::V6(hop)) if dst.is_ipv6() => {
            (ask(&fd, index, &solicitation(own, agent, hop), |f| advertised(f, hop)), IPV6)
        }
        _ => return Err(bad("addresses of two families")),
    };
    let mac = asked.map_err(link)?.ok_or(bad("nobody says whose hardware address it is"))?;
    let packet = packet(agent, dst, net::UDP, 0, &datagram(agent, dst, nonce.as_bytes()));
    let frame = [&mac[..], &own, &kind, &packet].concat();
    for _ in 0..3 {
        send_frame(&fd, index, &frame).map_err(link)?;
    }
    Ok(format!("3 frames for {dst} sent to {}", mac.map(|b| format!("{b:02x}")).join(":")))
}

fn interface(fd: &OwnedFd) -> io::Result<(i32, [u8; 6])> {
    // SAFETY: all-zero is a valid ifreq; the calls write within it.
    unsafe {
        let mut req: libc::ifreq = zeroed();
        for (to, from) in req.ifr_name.iter_mut().zip(b"eth0") {
            *to = *from as libc::c_char;
        }
        check(libc::ioctl(fd.as_raw_fd(), libc::SIOCGIFINDEX as _, &raw mut req).into())?;
        let index = req.ifr_ifru.ifru_ifindex;
        check(libc::ioctl(fd.as_raw_fd(), libc::SIOCGIFHWADDR as _, &raw mut req).into())?;
        let raw = req.ifr_ifru.ifru_hwaddr.sa_data;
        Ok((index, std::array::from_fn(|i| raw[i] as u8)))
    }
}

fn send_frame(fd: &OwnedFd, index: i32, frame: &[u8]) -> io::Result<()> {
    // SAFETY: all-zero is a valid sockaddr_ll; buffer and address are valid for their lengths.
    unsafe {
        let mut to: libc::sockaddr_ll = zeroed();
        to.sll_family = libc::AF_PACKET as _;
        to.sll_ifindex = index;
        to.sll_halen = 6;
        to.sll_addr[..6].copy_from_slice(&frame[..6]);
        let len = size_of::<libc::sockaddr_ll>() as libc::socklen_t;
        let p = (&raw const to).cast();
        check(libc::sendto(fd.as_raw_fd(), frame.as_ptr().cast(), frame.len(), 0, p, len) as libc::c_long).map(drop)
    }
}

/// A hardware address, asked for on the wire, because not every kernel shows its neighbours.
fn ask(
    fd: &OwnedFd,
    index: i32,
    question: &[u8],
    answer: impl Fn(&[u8]) -> Option<[u8; 6]>,
) -> io::Result<Option<[u8; 6]>> {
    for _ in 0..3 {
        send_frame(fd, index, question)?;
        for _ in 0..64 {
            let mut p = libc::pollfd { fd: fd.as_raw_fd(), events: libc::POLLIN, revents: 0 };
            // SAFETY: one valid descriptor.
            if unsafe { libc::poll(&mut p, 1, 200) } <= 0 {
                break;
            }
            let mut f = [0_u8; 256];
            // SAFETY: the buffer is valid for its length.
            let n = unsafe { libc::recv(fd.as_raw_fd(), f.as_mut_ptr().cast(), f.len(), libc::MSG_DONTWAIT) };
            if let Some(mac) = usize::try_from(n).ok().and_then(|n| answer(&f[..n.min(f.len())])) {
                return Ok(Some(mac));
            }
        }
    }
    Ok(None)
}

/// Who has this address?
fn arp(own: [u8; 6], agent: Ipv4Addr, hop: Ipv4Addr) -> Vec<u8> {
    let mut ask = vec![0xff; 6];
    ask.extend(own);
    ask.extend([0x08, 0x06, 0, 1, 8, 0, 6, 4, 0, 1]);
    ask.extend(own);
    ask.extend(agent.octets());
    ask.extend([0; 6]);
    ask.extend(hop.octets());
    ask
}

fn replied(f: &[u8], hop: Ipv4Addr) -> Option<[u8; 6]> {
    let reply = f.len() >= 42 && f[12..14] == [8, 6] && f[20..22] == [0, 2] && f[28..32] == hop.octets();
    reply.then(|| std::array::from_fn(|i| f[22 + i]))
}

/// The same over IPv6: to the multicast group in which whoever has the address listens.
fn solicitation(own: [u8; 6], agent: Ipv6Addr, hop: Ipv6Addr) -> Vec<u8> {
    let [.., a, b, c] = hop.octets();
    let group = Ipv6Addr::from(u128::from(SOLICITED) | u128::from(u32::from_be_bytes([0, a, b, c])));
    let mut message = vec![SOLICITATION, 0, 0, 0, 0, 0, 0, 0];
    message.extend(hop.octets());
    // Option 1: the hardware address of who asks, in units of eight bytes.
    message.extend([1, 1]);
    message.extend(own);
    let (from, to) = (IpAddr::from(agent), IpAddr::from(group));
    let sum = over(from, to, ICMPV6, &message);
    message[2..4].copy_from_slice(&sum);
    let mut packet = packet(from, to, ICMPV6, 0, &message);
    // Neighbours answer none that a router has passed on.
    packet[HOP_LIMIT] = 255;
    [&[0x33, 0x33, 0xff, a, b, c], &own[..], &IPV6, &packet].concat()
}

fn advertised(f: &[u8], hop: Ipv6Addr) -> Option<[u8; 6]> {
    let about = f.len() >= 86 && f[12..14] == IPV6 && f[20] == ICMPV6 && f[54] == ADVERTISEMENT;
    // Option 2: the hardware address that was asked for.
    let mine = about && f[62..78] == hop.octets() && f[78..80] == [2, 1];
    mine.then(|| std::array::from_fn(|i| f[80 + i]))
}

/// Types of a frame.
const IPV4: [u8; 2] = [8, 0];
const IPV6: [u8; 2] = [0x86, 0xdd];
const ICMPV6: u8 = 58;
const SOLICITATION: u8 = 135;
const ADVERTISEMENT: u8 = 136;
/// Where a header of IPv6 has it.
const HOP_LIMIT: usize = 7;
/// ff02::1:ff00:0, to which the last three bytes of the address are added.
const SOLICITED: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 1, 0xff00, 0);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checksum_of_a_header_with_its_checksum_is_zero() {
        let (from, to) = (IpAddr::from([10, 0, 0, 1]), IpAddr::from([203, 0, 113, 9]));
        let packet = packet(from, to, net::UDP, 0, &datagram(from, to, b"awfp"));
        assert_eq!((net::checksum(&packet[..20]), packet.len()), (0, 20 + 8 + 4));
    }

    #[test]
    fn an_answer_to_a_solicitation_is_one_about_the_address() {
        let (agent, hop) = ("2001:db8::14".parse().expect("v6"), "2001:db8::12:3456".parse().expect("v6"));
        let asked = solicitation([1; 6], agent, hop);
        assert_eq!(asked[..6], [0x33, 0x33, 0xff, 0x12, 0x34, 0x56]);
        assert_eq!((asked[38..54].to_vec(), asked.len()), (hex("ff0200000000000000000001ff123456"), 86));
        assert_eq!((&asked[12..14], asked[20], asked[21]), (&IPV6[..], ICMPV6, 255));
        let mut answer = asked;
        answer[54] = ADVERTISEMENT;
        assert_eq!(advertised(&answer, hop), None, "the option is the asker's own");
        answer[78] = 2;
        assert_eq!(advertised(&answer, hop), Some([1; 6]));
        assert_eq!(advertised(&answer, agent), None);
        assert_eq!(advertised(&answer[..85], hop), None);
    }

    fn hex(digits: &str) -> Vec<u8> {
        (0..digits.len()).step_by(2).map(|i| u8::from_str_radix(&digits[i..i + 2], 16).expect("hex")).collect()
    }
}
