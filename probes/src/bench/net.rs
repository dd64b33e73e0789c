//! The network as AWF's agent has it: the proxy, and the approved resolver.

use std::{
    io::{self, Read, Write},
    net::{Ipv4Addr, SocketAddr, TcpStream, UdpSocket},
    os::fd::AsRawFd,
    time::Duration,
};

use super::Op;
use crate::{Cx, egress::question, sys::check};

const LIMIT: Duration = Duration::from_secs(5);
/// Bytes of one download.
pub(super) const DOWNLOAD: u64 = 4 << 20;
/// A name the proxy's list allows, which resolves to the witness.
const HOST: &str = "bench.allowed.awf-probe.test";

fn proxy(cx: &Cx) -> io::Result<SocketAddr> {
    cx.text("proxy").parse().map_err(|_| io::Error::from(io::ErrorKind::AddrNotAvailable))
}

fn connected(to: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect_timeout(&to, LIMIT)?;
    stream.set_read_timeout(Some(LIMIT))?;
    stream.set_write_timeout(Some(LIMIT))?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

pub(super) fn connect(cx: &Cx) -> io::Result<Op> {
    let to = proxy(cx)?;
    Ok(Box::new(move |n| {
        for _ in 0..n {
            let stream = TcpStream::connect_timeout(&to, LIMIT)?;
            // Closed by a reset: a port in TIME_WAIT for each would run out of ports.
            let linger = libc::linger { l_onoff: 1, l_linger: 0 };
            let size = size_of::<libc::linger>() as libc::socklen_t;
            // SAFETY: the structure is valid for the call.
            check(
                unsafe {
                    let fd = stream.as_raw_fd();
                    libc::setsockopt(fd, libc::SOL_SOCKET, libc::SO_LINGER, (&raw const linger).cast(), size)
                }
                .into(),
            )?;
        }
        Ok(())
    }))
}

/// One GET; how many bytes its body had.
fn get(to: SocketAddr, path: &str, buffer: &mut [u8]) -> io::Result<u64> {
    let mut stream = connected(to)?;
    stream.write_all(
        format!("GET http://{HOST}{path} HTTP/1.1\r\nHost: {HOST}\r\nConnection: close\r\n\r\n").as_bytes(),
    )?;
    let mut head = Vec::new();
    let body = loop {
        let n = stream.read(buffer)?;
        if n == 0 || head.len() > 64 * 1024 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        head.extend_from_slice(&buffer[..n]);
        if let Some(end) = head.windows(4).position(|w| w == b"\r\n\r\n") {
            break (head.len() - end - 4) as u64;
        }
    };
    if !head.starts_with(b"HTTP/1.1 200") {
        return Err(io::ErrorKind::PermissionDenied.into());
    }
    let mut total = body;
    loop {
        match stream.read(buffer)? {
            0 => return Ok(total),
            n => total += n as u64,
        }
    }
}

pub(super) fn request(cx: &Cx) -> io::Result<Op> {
    let (to, mut buffer) = (proxy(cx)?, vec![0; 64 * 1024]);
    Ok(Box::new(move |n| {
        (0..n).try_for_each(|_| match get(to, "/bench/small", &mut buffer)? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            _ => Ok(()),
        })
    }))
}

pub(super) fn download(cx: &Cx) -> io::Result<Op> {
    let (to, mut buffer) = (proxy(cx)?, vec![0; 256 * 1024]);
    Ok(Box::new(move |n| {
        (0..n).try_for_each(|_| match get(to, &format!("/bytes/{DOWNLOAD}"), &mut buffer)? {
            DOWNLOAD => Ok(()),
            _ => Err(io::ErrorKind::UnexpectedEof.into()),
        })
    }))
}

const PING: &[u8; 32] = b"#awf-probe's bench: a round trip";
const ECHOED: usize = b"awf-witness ".len() + PING.len();

pub(super) fn round_trip(cx: &Cx) -> io::Result<Op> {
    let mut stream = connected(proxy(cx)?)?;
    stream.write_all(format!("CONNECT {HOST}:443 HTTP/1.1\r\nHost: {HOST}:443\r\n\r\n").as_bytes())?;
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte)?;
        head.push(byte[0]);
        if head.len() > 16 * 1024 {
            return Err(io::ErrorKind::InvalidData.into());
        }
    }
    if !head.starts_with(b"HTTP/1.1 200") {
        return Err(io::ErrorKind::PermissionDenied.into());
    }
    Ok(Box::new(move |n| {
        let mut echo = [0; ECHOED];
        for _ in 0..n {
            stream.write_all(PING)?;
            stream.read_exact(&mut echo)?;
            if !echo.ends_with(PING) {
                return Err(io::ErrorKind::InvalidData.into());
            }
        }
        Ok(())
    }))
}

pub(super) fn lookup(cx: &Cx) -> io::Result<Op> {
    let server: Ipv4Addr = cx.text("approved").parse().map_err(|_| io::Error::from(io::ErrorKind::AddrNotAvailable))?;
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
    socket.connect((server, 53))?;
    socket.set_read_timeout(Some(Duration::from_secs(1)))?;
    let mut id = 0_u16;
    Ok(Box::new(move |n| {
        for _ in 0..n {
            id = id.wrapping_add(1);
            answered(&socket, id)?;
        }
        Ok(())
    }))
}

/// Asks until the answer with this id is there. A datagram that is lost costs what it costs a program: a second.
fn answered(socket: &UdpSocket, id: u16) -> io::Result<()> {
    let mut query = question(HOST, 1);
    query[..2].copy_from_slice(&id.to_be_bytes());
    let mut buffer = [0; 1500];
    for _ in 0..3 {
        socket.send(&query)?;
        loop {
            match socket.recv(&mut buffer) {
                // Response, no error, at least one answer.
                Ok(n) if n > 12 && buffer[..2] == id.to_be_bytes() => {
                    let fine = buffer[2] & 0x80 != 0 && buffer[3] & 0x0f == 0 && buffer[7] > 0;
                    return if fine { Ok(()) } else { Err(io::ErrorKind::InvalidData.into()) };
                }
                Ok(_) => {}
                Err(e) if e.kind() == io::ErrorKind::WouldBlock || e.kind() == io::ErrorKind::TimedOut => break,
                Err(e) => return Err(e),
            }
        }
    }
    Err(io::ErrorKind::TimedOut.into())
}
