//! UDP sockets that answer from the very address they were asked on.
//!
//! The witness owns a whole range on one wildcard socket; a reply from any other address than the one asked would be
//! thrown away by the asker. IP_PKTINFO names the address on the way in and sets it on the way out.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

use tokio::io::Interest;
use tokio::net::UdpSocket;

use super::netlink::set_option;

/// A wildcard socket that knows where each datagram was sent to.
pub(super) struct Wildcard(UdpSocket);

impl Wildcard {
    /// Binds the port on every address of the family of `like`.
    pub(super) fn bind(like: IpAddr, port: u16) -> io::Result<Self> {
        let any: IpAddr = if like.is_ipv4() { [0u8; 4].into() } else { [0u8; 16].into() };
        let socket: std::net::UdpSocket = unbound(like, libc::SOCK_DGRAM)?.into();
        bind(&socket, (any, port).into())?;
        socket.set_nonblocking(true)?;
        if like.is_ipv4() {
            set_option(&socket, libc::IPPROTO_IP, libc::IP_PKTINFO, &1i32)?;
        } else {
            set_option(&socket, libc::IPPROTO_IPV6, libc::IPV6_RECVPKTINFO, &1i32)?;
            // A range that is local by a route has no addresses; without this, none of them may be answered from.
            set_option(&socket, libc::IPPROTO_IPV6, libc::IPV6_FREEBIND, &1i32)?;
        }
        UdpSocket::from_std(socket).map(Self)
    }

    /// Waits for a datagram: its length, its sender, and the address it was sent to.
    pub(super) async fn receive(&self, buffer: &mut [u8]) -> io::Result<(usize, SocketAddr, IpAddr)> {
        self.0.async_io(Interest::READABLE, || receive(self.0.as_raw_fd(), buffer)).await
    }

    /// Sends a datagram from that address.
    pub(super) async fn send(&self, payload: &[u8], to: SocketAddr, from: IpAddr) -> io::Result<()> {
        self.0.async_io(Interest::WRITABLE, || send(self.0.as_raw_fd(), payload, to, from)).await
    }

    /// The port it is bound to.
    #[cfg(test)]
    pub(super) fn port(&self) -> u16 {
        self.0.local_addr().map_or(0, |address| address.port())
    }
}

/// A socket of the family of `like`; one of IPv6 hears IPv6 alone, so that the port is free for IPv4 as well.
pub(super) fn unbound(like: IpAddr, kind: i32) -> io::Result<OwnedFd> {
    let family = if like.is_ipv4() { libc::AF_INET } else { libc::AF_INET6 };
    // SAFETY: plain socket call; the result is checked before it is owned.
    let fd = unsafe { libc::socket(family, kind | libc::SOCK_CLOEXEC, 0) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: `fd` is a fresh descriptor nothing else owns.
    let fd = unsafe { OwnedFd::from_raw_fd(fd) };
    if like.is_ipv6() {
        set_option(&fd, libc::IPPROTO_IPV6, libc::IPV6_V6ONLY, &1i32)?;
    }
    Ok(fd)
}

fn bind(socket: &impl AsRawFd, to: SocketAddr) -> io::Result<()> {
    // SAFETY: an all-zero sockaddr_storage is a valid value.
    let mut name: libc::sockaddr_storage = unsafe { std::mem::zeroed() };
    let length = write_address(&mut name, to);
    // SAFETY: the pointer and length describe `name`.
    let bound = unsafe { libc::bind(socket.as_raw_fd(), (&raw const name).cast(), length) };
    if bound < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

fn receive(fd: i32, buffer: &mut [u8]) -> io::Result<(usize, SocketAddr, IpAddr)> {
    let mut vector = libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: buffer.len() };
    let mut control = [0u64; 16];
    // SAFETY: all-zero values of these plain C structs are valid.
    let (mut name, mut message): (libc::sockaddr_storage, libc::msghdr) = unsafe { std::mem::zeroed() };
    message.msg_name = (&raw mut name).cast();
    message.msg_namelen = size_of_val(&name) as libc::socklen_t;
    message.msg_iov = &raw mut vector;
    message.msg_iovlen = 1;
    message.msg_control = control.as_mut_ptr().cast();
    message.msg_controllen = size_of_val(&control);
    // SAFETY: every pointer in `message` describes a local that outlives the call.
    let got = unsafe { libc::recvmsg(fd, &raw mut message, 0) };
    if got < 0 {
        return Err(io::Error::last_os_error());
    }
    let (Some(from), Some(to)) = (socket_address(&name), destination(&message)) else {
        return Err(io::Error::other("a datagram without addresses"));
    };
    Ok((got as usize, from, to))
}

fn send(fd: i32, payload: &[u8], to: SocketAddr, from: IpAddr) -> io::Result<()> {
    let mut vector = libc::iovec { iov_base: payload.as_ptr().cast_mut().cast(), iov_len: payload.len() };
    let mut control = [0u64; 16];
    // SAFETY: all-zero values of these plain C structs are valid.
    let (mut name, mut message): (libc::sockaddr_storage, libc::msghdr) = unsafe { std::mem::zeroed() };
    message.msg_namelen = write_address(&mut name, to);
    message.msg_name = (&raw mut name).cast();
    message.msg_iov = &raw mut vector;
    message.msg_iovlen = 1;
    message.msg_control = control.as_mut_ptr().cast();
    message.msg_controllen = size_of_val(&control);
    // SAFETY: the control buffer is aligned and larger than either message.
    unsafe {
        let header = libc::CMSG_FIRSTHDR(&raw const message);
        match from {
            IpAddr::V4(from) => {
                let mut info: libc::in_pktinfo = std::mem::zeroed();
                info.ipi_spec_dst.s_addr = u32::from(from).to_be();
                put(header, libc::IPPROTO_IP, libc::IP_PKTINFO, info);
                message.msg_controllen = libc::CMSG_SPACE(size_of_val(&info) as u32) as usize;
            }
            IpAddr::V6(from) => {
                let mut info: libc::in6_pktinfo = std::mem::zeroed();
                info.ipi6_addr.s6_addr = from.octets();
                put(header, libc::IPPROTO_IPV6, libc::IPV6_PKTINFO, info);
                message.msg_controllen = libc::CMSG_SPACE(size_of_val(&info) as u32) as usize;
            }
        }
    }
    // SAFETY: every pointer in `message` describes a local that outlives the call; the payload is only read.
    let sent = unsafe { libc::sendmsg(fd, &raw const message, libc::MSG_NOSIGNAL) };
    if sent < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Fills in a control message.
///
/// # Safety
/// `header` must point to a control buffer with room for a `T`.
unsafe fn put<T>(header: *mut libc::cmsghdr, level: i32, kind: i32, value: T) {
    // SAFETY: the caller vouches for the room.
    unsafe {
        (*header).cmsg_level = level;
        (*header).cmsg_type = kind;
        (*header).cmsg_len = libc::CMSG_LEN(size_of::<T>() as u32) as usize;
        std::ptr::write_unaligned(libc::CMSG_DATA(header).cast(), value);
    }
}

fn destination(message: &libc::msghdr) -> Option<IpAddr> {
    // SAFETY: `message` was filled in by recvmsg, and the CMSG macros stay inside its control buffer.
    unsafe {
        let mut header = libc::CMSG_FIRSTHDR(message);
        while !header.is_null() {
            match ((*header).cmsg_level, (*header).cmsg_type) {
                (libc::IPPROTO_IP, libc::IP_PKTINFO) => {
                    let info: libc::in_pktinfo = std::ptr::read_unaligned(libc::CMSG_DATA(header).cast());
                    return Some(u32::from_be(info.ipi_addr.s_addr).to_be_bytes().into());
                }
                (libc::IPPROTO_IPV6, libc::IPV6_PKTINFO) => {
                    let info: libc::in6_pktinfo = std::ptr::read_unaligned(libc::CMSG_DATA(header).cast());
                    return Some(info.ipi6_addr.s6_addr.into());
                }
                _ => header = libc::CMSG_NXTHDR(message, header),
            }
        }
    }
    None
}

fn socket_address(name: &libc::sockaddr_storage) -> Option<SocketAddr> {
    match i32::from(name.ss_family) {
        libc::AF_INET => {
            // SAFETY: the kernel wrote a sockaddr_in, and the storage is larger and aligned for it.
            let name = unsafe { &*(&raw const *name).cast::<libc::sockaddr_in>() };
            Some((u32::from_be(name.sin_addr.s_addr).to_be_bytes(), u16::from_be(name.sin_port)).into())
        }
        libc::AF_INET6 => {
            // SAFETY: as above, for a sockaddr_in6.
            let name = unsafe { &*(&raw const *name).cast::<libc::sockaddr_in6>() };
            Some((name.sin6_addr.s6_addr, u16::from_be(name.sin6_port)).into())
        }
        _ => None,
    }
}

fn write_address(name: &mut libc::sockaddr_storage, address: SocketAddr) -> libc::socklen_t {
    match address {
        SocketAddr::V4(address) => {
            // SAFETY: the storage is larger than a sockaddr_in and aligned for it.
            let name = unsafe { &mut *(&raw mut *name).cast::<libc::sockaddr_in>() };
            name.sin_family = libc::AF_INET as u16;
            name.sin_port = address.port().to_be();
            name.sin_addr.s_addr = u32::from(*address.ip()).to_be();
            size_of::<libc::sockaddr_in>() as libc::socklen_t
        }
        SocketAddr::V6(address) => {
            // SAFETY: as above, for a sockaddr_in6.
            let name = unsafe { &mut *(&raw mut *name).cast::<libc::sockaddr_in6>() };
            name.sin6_family = libc::AF_INET6 as u16;
            name.sin6_port = address.port().to_be();
            name.sin6_addr.s6_addr = address.ip().octets();
            name.sin6_scope_id = address.scope_id();
            size_of::<libc::sockaddr_in6>() as libc::socklen_t
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_answer_comes_from_the_address_that_was_asked() {
        let server = Wildcard::bind([127, 0, 0, 1].into(), 0).expect("a socket");
        let asked = SocketAddr::from(([127, 9, 8, 7], server.port()));
        let client = UdpSocket::bind("127.0.0.1:0").await.expect("a socket");
        client.send_to(b"hello", asked).await.expect("sent");
        let mut buffer = [0; 64];
        let (length, from, to) = server.receive(&mut buffer).await.expect("received");
        assert_eq!((&buffer[..length], to), (&b"hello"[..], asked.ip()));
        server.send(b"back", from, to).await.expect("sent");
        let (length, from) = client.recv_from(&mut buffer).await.expect("received");
        assert_eq!((&buffer[..length], from), (&b"back"[..], asked));
    }
}
