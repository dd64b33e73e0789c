//! Hand-made Ethernet frames: past OUTPUT of every netfilter table, to whoever on the link routes them.

use std::{
    io,
    mem::{size_of, zeroed},
    net::{IpAddr, Ipv4Addr},
    os::fd::{AsRawFd, OwnedFd},
};

use awf_probe_matrix::{Outcome, Sent};

use super::Way;
use crate::{
    Cx,
    net::{self, checksum},
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

fn send_frames(agent: &str, gateway: &str, dst: IpAddr, nonce: &str) -> Result<String, (&'static str, io::Error)> {
    let bad = |what| (what, io::Error::from_raw_os_error(libc::EINVAL));
    let (IpAddr::V4(dst), Ok(agent), Ok(gateway)) = (dst, agent.parse::<Ipv4Addr>(), gateway.parse::<Ipv4Addr>())
    else {
        return Err(bad("addresses"));
    };
    let everything = i32::from((libc::ETH_P_ALL as u16).to_be());
    let fd = net::raw_socket(libc::AF_PACKET, libc::SOCK_RAW, everything).map_err(|e| ("socket(AF_PACKET)", e))?;
    let (index, own) = interface(&fd).map_err(|e| ("interface eth0", e))?;
    let link = |e| ("send on eth0", e);
    let mac = ask_mac(&fd, index, own, agent, gateway).map_err(link)?.ok_or(bad("no answer to ARP"))?;
    let frame = udp_frame(own, mac, agent, dst, nonce);
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

/// Who has `gateway`? Asked on the wire, because not every kernel shows its neighbours.
fn ask_mac(fd: &OwnedFd, index: i32, own: [u8; 6], agent: Ipv4Addr, gateway: Ipv4Addr) -> io::Result<Option<[u8; 6]>> {
    let mut ask = vec![0xff; 6];
    ask.extend(own);
    ask.extend([0x08, 0x06, 0, 1, 8, 0, 6, 4, 0, 1]);
    ask.extend(own);
    ask.extend(agent.octets());
    ask.extend([0; 6]);
    ask.extend(gateway.octets());
    for _ in 0..3 {
        send_frame(fd, index, &ask)?;
        for _ in 0..64 {
            let mut p = libc::pollfd { fd: fd.as_raw_fd(), events: libc::POLLIN, revents: 0 };
            // SAFETY: one valid descriptor.
            if unsafe { libc::poll(&mut p, 1, 200) } <= 0 {
                break;
            }
            let mut f = [0_u8; 256];
            // SAFETY: the buffer is valid for its length.
            let n = unsafe { libc::recv(fd.as_raw_fd(), f.as_mut_ptr().cast(), f.len(), libc::MSG_DONTWAIT) };
            if n >= 42 && f[12..14] == [8, 6] && f[20..22] == [0, 2] && f[28..32] == gateway.octets() {
                return Ok(Some(std::array::from_fn(|i| f[22 + i])));
            }
        }
    }
    Ok(None)
}

fn udp_frame(own: [u8; 6], mac: [u8; 6], src: Ipv4Addr, dst: Ipv4Addr, nonce: &str) -> Vec<u8> {
    let udp_len = 8 + nonce.len() as u16;
    let mut ip = vec![0x45, 0];
    ip.extend((20 + udp_len).to_be_bytes());
    ip.extend([0x1d, 0x0a, 0, 0, 64, net::UDP, 0, 0]);
    ip.extend(src.octets());
    ip.extend(dst.octets());
    let sum = checksum(&ip);
    ip[10..12].copy_from_slice(&sum.to_be_bytes());
    let mut frame = mac.to_vec();
    frame.extend(own);
    frame.extend([8, 0]);
    frame.extend(ip);
    frame.extend(40_002_u16.to_be_bytes());
    frame.extend(40_001_u16.to_be_bytes());
    frame.extend(udp_len.to_be_bytes());
    frame.extend([0, 0]);
    frame.extend(nonce.as_bytes());
    frame
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checksum_of_a_header_with_its_checksum_is_zero() {
        let frame = udp_frame([1; 6], [2; 6], Ipv4Addr::new(10, 0, 0, 1), Ipv4Addr::new(203, 0, 113, 9), "awfp");
        assert_eq!(checksum(&frame[14..34]), 0);
    }
}
