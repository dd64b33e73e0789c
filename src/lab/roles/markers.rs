//! Markers: datagrams sent straight into the witness's link, one from each CPU.
//!
//! A link's queues are per CPU, so once the witness has seen a marker from every CPU, whatever those CPUs had put
//! into the link before has arrived as well.

use std::io;
use std::net::IpAddr;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

use anyhow::{Context, Result, bail};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

use super::packet::udp;

/// A socket to send markers with. Kept, because closing a packet socket waits for the kernel for milliseconds.
pub(super) struct Markers(OwnedFd);

/// Where the markers of one request go.
#[derive(Clone, Copy)]
pub(super) struct Way<'a> {
    /// Index of the host's end of the link.
    pub(super) link: u32,
    /// Hardware address of the other end.
    pub(super) mac: [u8; 6],
    /// Source address.
    pub(super) from: IpAddr,
    /// Destination address.
    pub(super) to: IpAddr,
    /// Destination port.
    pub(super) port: u16,
    /// Payload.
    pub(super) nonce: &'a str,
}

impl Markers {
    /// Opens the socket; it receives nothing.
    pub(super) fn open() -> io::Result<Self> {
        // SAFETY: plain socket call; the result is checked before it is owned. Protocol 0 receives nothing.
        let fd = unsafe { libc::socket(libc::AF_PACKET, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC, 0) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: `fd` is a fresh descriptor nothing else owns.
        Ok(Self(unsafe { OwnedFd::from_raw_fd(fd) }))
    }

    /// Sends `nonce.N` from every CPU N this process may use. The source port is 10000 + N, so that each marker is a
    /// packet of its own in the witness's ledger.
    pub(super) fn send(&self, way: Way<'_>) -> Result<()> {
        let allowed = sched_getaffinity(None).context("list the CPUs")?;
        let cpus: Vec<u16> = (0..CpuSet::MAX_CPU as u16).filter(|cpu| allowed.is_set(usize::from(*cpu))).collect();
        std::thread::scope(|scope| {
            let senders: Vec<_> = cpus.iter().map(|cpu| scope.spawn(move || self.send_from(*cpu, way))).collect();
            senders
                .into_iter()
                .try_for_each(|sender| sender.join().unwrap_or_else(|_| bail!("a marker's thread panicked")))
        })
    }

    fn send_from(&self, cpu: u16, way: Way<'_>) -> Result<()> {
        let mut only = CpuSet::new();
        only.set(usize::from(cpu));
        sched_setaffinity(None, &only).with_context(|| format!("move to CPU {cpu}"))?;
        let payload = format!("{}.{cpu}", way.nonce);
        let packet = udp((way.from, 10_000 + cpu), (way.to, way.port), payload.as_bytes())
            .context("marker addresses of two families")?;
        self.inject(way, &packet).with_context(|| format!("send a marker from CPU {cpu}"))
    }

    /// Puts an IP packet on a link, past routing and filters.
    fn inject(&self, way: Way<'_>, packet: &[u8]) -> io::Result<()> {
        // SAFETY: an all-zero sockaddr_ll is a valid value.
        let mut address: libc::sockaddr_ll = unsafe { std::mem::zeroed() };
        let protocol = if way.from.is_ipv4() { libc::ETH_P_IP } else { libc::ETH_P_IPV6 };
        address.sll_family = libc::AF_PACKET as u16;
        address.sll_protocol = (protocol as u16).to_be();
        address.sll_ifindex = way.link as i32;
        address.sll_halen = 6;
        address.sll_addr[..6].copy_from_slice(&way.mac);
        // SAFETY: the pointers and lengths describe `packet` and `address`.
        let sent = unsafe {
            libc::sendto(
                self.0.as_raw_fd(),
                packet.as_ptr().cast(),
                packet.len(),
                0,
                (&raw const address).cast(),
                size_of_val(&address) as libc::socklen_t,
            )
        };
        if sent < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }
}
