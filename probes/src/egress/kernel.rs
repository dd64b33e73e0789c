//! What tampering says to the kernel where no tool is at hand.

use std::{
    io,
    mem::{size_of, zeroed},
    net::Ipv4Addr,
    os::fd::{AsRawFd, FromRawFd, OwnedFd},
};

use crate::{net::raw_socket, sys::check};

const IPT_SO_SET_REPLACE: i32 = 64;
const IPT_SO_GET_INFO: i32 = 64;

/// Puts an empty `filter` table in the place of the legacy backend's: three chains that accept. Any IPv4 socket takes
/// the option, so no raw one is needed.
pub(super) fn replace_filter() -> io::Result<()> {
    let fd = raw_socket(libc::AF_INET, libc::SOCK_DGRAM, 0)?;
    // struct ipt_getinfo: name, valid_hooks, hook_entry[5], underflow[5], num_entries, size.
    let mut info = [0_u8; 84];
    info[..6].copy_from_slice(b"filter");
    let mut len = info.len() as libc::socklen_t;
    // SAFETY: the buffer is valid for its length.
    let r = unsafe {
        libc::getsockopt(fd.as_raw_fd(), libc::IPPROTO_IP, IPT_SO_GET_INFO, info.as_mut_ptr().cast(), &mut len)
    };
    check(r.into())?;
    let number = u32::from_ne_bytes([info[76], info[77], info[78], info[79]]);
    // The kernel writes the old rules' counters there.
    let mut counters = vec![0_u8; 16 * number as usize];
    let blob = filter_table(number, counters.as_mut_ptr() as u64);
    let (p, n) = (blob.as_ptr().cast(), blob.len() as libc::socklen_t);
    // SAFETY: the blob is valid for its length, and so is the buffer whose address it holds.
    check(unsafe { libc::setsockopt(fd.as_raw_fd(), libc::IPPROTO_IP, IPT_SO_SET_REPLACE, p, n) }.into()).map(drop)
}

/// struct ipt_replace with its entries.
fn filter_table(counters: u32, address: u64) -> Vec<u8> {
    const ENTRY: u32 = 112;
    const STANDARD: u32 = ENTRY + 40;
    const ERROR: u32 = ENTRY + 64;
    let mut b = b"filter".to_vec();
    b.resize(32, 0);
    let mut number = |n: u32| b.extend(n.to_ne_bytes());
    // INPUT, FORWARD, OUTPUT.
    [0b1110, 4, 3 * STANDARD + ERROR].into_iter().for_each(&mut number);
    for _ in 0..2 {
        [0, 0, STANDARD, 2 * STANDARD, 0].into_iter().for_each(&mut number);
    }
    number(counters);
    b.extend(address.to_ne_bytes());
    let entry = |b: &mut Vec<u8>, next: u32| {
        let start = b.len();
        b.resize(start + 88, 0);
        b.extend((ENTRY as u16).to_ne_bytes());
        b.extend((next as u16).to_ne_bytes());
        b.resize(start + ENTRY as usize, 0);
    };
    for _ in 0..3 {
        entry(&mut b, STANDARD);
        let start = b.len();
        b.extend(40_u16.to_ne_bytes());
        b.resize(start + 32, 0);
        // NF_ACCEPT as a verdict.
        b.extend((-2_i32).to_ne_bytes());
        b.resize(start + 40, 0);
    }
    entry(&mut b, ERROR);
    let start = b.len();
    b.extend(64_u16.to_ne_bytes());
    b.extend(b"ERROR");
    b.resize(start + 32, 0);
    b.extend(b"ERROR");
    b.resize(start + 64, 0);
    b
}

/// A netlink message.
fn message(kind: u16, flags: u16, seq: u32, body: &[u8]) -> Vec<u8> {
    let mut m = (16 + body.len() as u32).to_ne_bytes().to_vec();
    m.extend(kind.to_ne_bytes());
    m.extend(flags.to_ne_bytes());
    m.extend(seq.to_ne_bytes());
    m.extend([0; 4]);
    m.extend(body);
    m.resize(m.len().next_multiple_of(4), 0);
    m
}

fn attribute(kind: u16, data: &[u8]) -> Vec<u8> {
    let mut a = (4 + data.len() as u16).to_ne_bytes().to_vec();
    a.extend(kind.to_ne_bytes());
    a.extend(data);
    a.resize(a.len().next_multiple_of(4), 0);
    a
}

/// Sends and waits for the first error code of the kernel; an acknowledgement is the code 0.
fn transact(protocol: i32, bytes: &[u8]) -> io::Result<()> {
    let fd = raw_socket(libc::AF_NETLINK, libc::SOCK_RAW, protocol)?;
    let limit = libc::timeval { tv_sec: 1, tv_usec: 0 };
    // SAFETY: all pointers are valid for their lengths; all-zero is the kernel's own netlink address.
    unsafe {
        let (p, n) = ((&raw const limit).cast(), size_of::<libc::timeval>() as libc::socklen_t);
        check(libc::setsockopt(fd.as_raw_fd(), libc::SOL_SOCKET, libc::SO_RCVTIMEO, p, n).into())?;
        let mut to: libc::sockaddr_nl = zeroed();
        to.nl_family = libc::AF_NETLINK as _;
        let (a, len) = ((&raw const to).cast(), size_of::<libc::sockaddr_nl>() as libc::socklen_t);
        check(libc::sendto(fd.as_raw_fd(), bytes.as_ptr().cast(), bytes.len(), 0, a, len) as libc::c_long)?;
        let mut buffer = [0_u8; 4096];
        let n = check(libc::recv(fd.as_raw_fd(), buffer.as_mut_ptr().cast(), buffer.len(), 0) as libc::c_long)?;
        if n >= 20 && u16::from_ne_bytes([buffer[4], buffer[5]]) == libc::NLMSG_ERROR as u16 {
            let code = i32::from_ne_bytes([buffer[16], buffer[17], buffer[18], buffer[19]]);
            return if code == 0 { Ok(()) } else { Err(io::Error::from_raw_os_error(-code)) };
        }
    }
    Err(io::Error::from_raw_os_error(libc::EPROTO))
}

/// Deletes the nft backend's `filter` table by one netlink batch.
pub(super) fn delete_table() -> io::Result<()> {
    const SUBSYSTEM: u16 = 10;
    const DELETE_TABLE: u16 = 2;
    let request = libc::NLM_F_REQUEST as u16;
    let general = [0, 0, 0, SUBSYSTEM as u8];
    let mut body = vec![libc::AF_INET as u8, 0, 0, 0];
    body.extend(attribute(1, b"filter\0"));
    let mut batch = message(16, request, 1, &general);
    batch.extend(message(SUBSYSTEM << 8 | DELETE_TABLE, request | libc::NLM_F_ACK as u16, 2, &body));
    batch.extend(message(17, request, 3, &general));
    transact(libc::NETLINK_NETFILTER, &batch)
}

/// Adds a route to one address through a neighbour.
pub(super) fn add_route(to: Ipv4Addr, via: Ipv4Addr) -> io::Result<()> {
    let mut body = vec![libc::AF_INET as u8, 32, 0, 0, libc::RT_TABLE_MAIN, 3, 0, libc::RTN_UNICAST, 0, 0, 0, 0];
    body.extend(attribute(libc::RTA_DST, &to.octets()));
    body.extend(attribute(libc::RTA_GATEWAY, &via.octets()));
    let flags = libc::NLM_F_REQUEST | libc::NLM_F_ACK | libc::NLM_F_CREATE;
    transact(libc::NETLINK_ROUTE, &message(libc::RTM_NEWROUTE, flags as u16, 1, &body))
}

/// Adds a blackhole for one address.
pub(super) fn blackhole(to: Ipv4Addr) -> io::Result<()> {
    let mut body = vec![libc::AF_INET as u8, 32, 0, 0, libc::RT_TABLE_MAIN, 3, 0, libc::RTN_BLACKHOLE, 0, 0, 0, 0];
    body.extend(attribute(libc::RTA_DST, &to.octets()));
    let flags = libc::NLM_F_REQUEST | libc::NLM_F_ACK | libc::NLM_F_CREATE;
    transact(libc::NETLINK_ROUTE, &message(libc::RTM_NEWROUTE, flags as u16, 1, &body))
}

/// Loads a program that lets a control group's packets pass: the first half of attaching one.
pub(super) fn load_bpf() -> io::Result<OwnedFd> {
    // r0 = 1; exit.
    let program: [u64; 2] = [0x0000_0001_0000_00b7, 0x95];
    let license = c"GPL";
    let mut attributes = [0_u64; 16];
    // Type BPF_PROG_TYPE_CGROUP_SKB, two instructions.
    attributes[0] = 8 | 2 << 32;
    attributes[1] = program.as_ptr() as u64;
    attributes[2] = license.as_ptr() as u64;
    // SAFETY: the structure is valid for its length, and so is what it points to.
    unsafe {
        let fd = check(libc::syscall(libc::SYS_bpf, 5, attributes.as_ptr(), size_of::<[u64; 16]>()))?;
        Ok(OwnedFd::from_raw_fd(fd as i32))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_is_as_long_as_it_says() {
        let table = filter_table(4, 0);
        let size = u32::from_ne_bytes([table[40], table[41], table[42], table[43]]) as usize;
        assert_eq!(table.len(), 96 + size);
    }

    #[test]
    fn messages_are_padded() {
        assert_eq!(message(16, 1, 1, &attribute(1, b"filter\0")).len(), 28);
    }
}
