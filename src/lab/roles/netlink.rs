//! A small, synchronous rtnetlink client: requests, dumps, attributes.
//!
//! Written by hand because a dump here must be complete or an error: the snapshot and the overlap check stand on
//! it, and `netlink-proto` logs a message that it cannot decode and goes on without it. Every read of a reply is
//! bounds-checked; a reply that never comes ends in a timeout.

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

use libc::{
    AF_NETLINK, NETLINK_ROUTE, NLM_F_ACK, NLM_F_DUMP, NLM_F_DUMP_INTR, NLM_F_REQUEST, NLMSG_DONE, NLMSG_ERROR,
    NLMSG_NOOP, SOCK_CLOEXEC, SOCK_RAW, SOL_NETLINK, SOL_SOCKET,
};

use super::attributes::{Body, attributes, number, text};

/// A netlink socket of the route family.
pub(super) struct Netlink {
    fd: OwnedFd,
    seq: u32,
}

/// One message of a reply: its type and everything after the header.
#[derive(Clone, Debug)]
pub(super) struct Message {
    /// `RTM_…`.
    pub(super) kind: u16,
    /// Family header and attributes.
    pub(super) body: Vec<u8>,
}

impl Netlink {
    /// Opens a socket in the current network namespace, subscribed to the given legacy multicast groups (0 for none).
    pub(super) fn open(groups: u32) -> io::Result<Self> {
        // SAFETY: plain socket call; the result is checked before it is owned.
        let fd = unsafe { libc::socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: `fd` is a fresh descriptor nothing else owns.
        let fd = unsafe { OwnedFd::from_raw_fd(fd) };
        // Best effort: older kernels know neither, and only the error text suffers.
        let _ = set_option(&fd, SOL_NETLINK, libc::NETLINK_EXT_ACK, &1i32);
        let _ = set_option(&fd, SOL_NETLINK, libc::NETLINK_CAP_ACK, &1i32);
        set_option(&fd, SOL_SOCKET, libc::SO_RCVTIMEO, &libc::timeval { tv_sec: 5, tv_usec: 0 })?;
        set_option(&fd, SOL_SOCKET, libc::SO_RCVBUF, &(1i32 << 20))?;
        // SAFETY: an all-zero sockaddr_nl is a valid value.
        let mut address: libc::sockaddr_nl = unsafe { std::mem::zeroed() };
        address.nl_family = AF_NETLINK as u16;
        address.nl_groups = groups;
        // SAFETY: the pointer and length describe `address`, which outlives the call.
        let bound = unsafe {
            libc::bind(fd.as_raw_fd(), (&raw const address).cast(), size_of_val(&address) as libc::socklen_t)
        };
        if bound < 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(Self { fd, seq: 0 })
    }

    /// Asks for a change and waits for the kernel's acknowledgement.
    pub(super) fn change(&mut self, kind: u16, flags: i32, body: &Body) -> io::Result<()> {
        self.send(kind, flags | NLM_F_ACK, body)?;
        self.replies(false).map(|_| ())
    }

    /// Asks for one object.
    pub(super) fn get(&mut self, kind: u16, body: &Body) -> io::Result<Message> {
        self.send(kind, 0, body)?;
        self.replies(false)?.into_iter().next().ok_or_else(|| io::Error::other("an empty reply"))
    }

    /// Asks for all objects; repeats the dump if the table changed under it.
    pub(super) fn dump(&mut self, kind: u16, body: &Body) -> io::Result<Vec<Message>> {
        for _ in 0..10 {
            self.send(kind, NLM_F_DUMP, body)?;
            match self.replies(true) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                other => return other,
            }
        }
        Err(io::Error::other("the table kept changing while it was read"))
    }

    /// Messages that wait on a subscribed socket, without blocking. An overrun (`ENOBUFS`) is an error.
    pub(super) fn waiting(&mut self) -> io::Result<Vec<Message>> {
        let mut messages = Vec::new();
        loop {
            match self.receive(libc::MSG_DONTWAIT) {
                Ok(datagram) => messages.extend(split(&datagram)?.into_iter().map(|raw| raw.message)),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(messages),
                Err(error) => return Err(error),
            }
        }
    }

    /// The descriptor, to poll a subscribed socket.
    pub(super) fn descriptor(&self) -> i32 {
        self.fd.as_raw_fd()
    }

    fn send(&mut self, kind: u16, flags: i32, body: &Body) -> io::Result<()> {
        self.seq = self.seq.wrapping_add(1);
        let mut message = Vec::with_capacity(16 + body.0.len());
        message.extend_from_slice(&((16 + body.0.len()) as u32).to_ne_bytes());
        message.extend_from_slice(&kind.to_ne_bytes());
        message.extend_from_slice(&((flags | NLM_F_REQUEST) as u16).to_ne_bytes());
        message.extend_from_slice(&self.seq.to_ne_bytes());
        message.extend_from_slice(&0u32.to_ne_bytes());
        message.extend_from_slice(&body.0);
        // SAFETY: the pointer and length describe `message`.
        let sent = unsafe { libc::send(self.fd.as_raw_fd(), message.as_ptr().cast(), message.len(), 0) };
        if sent < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }

    fn receive(&self, flags: i32) -> io::Result<Vec<u8>> {
        let mut buffer = vec![0u8; 64 * 1024];
        // SAFETY: the pointer and length describe `buffer`.
        let got = unsafe {
            libc::recv(self.fd.as_raw_fd(), buffer.as_mut_ptr().cast(), buffer.len(), flags | libc::MSG_TRUNC)
        };
        if got < 0 {
            let error = io::Error::last_os_error();
            // A signal is not a changed table, which is what `Interrupted` means in here.
            return if error.raw_os_error() == Some(libc::EINTR) { self.receive(flags) } else { Err(error) };
        }
        if got as usize > buffer.len() {
            return Err(io::Error::other("a netlink datagram over 64 KiB"));
        }
        buffer.truncate(got as usize);
        Ok(buffer)
    }

    /// Collects the replies to the last request: until DONE for a dump, else until the first message.
    fn replies(&mut self, dump: bool) -> io::Result<Vec<Message>> {
        let mut messages = Vec::new();
        let mut interrupted = false;
        loop {
            for raw in split(&self.receive(0)?)? {
                if raw.seq != self.seq {
                    continue;
                }
                interrupted |= i32::from(raw.flags) & NLM_F_DUMP_INTR != 0;
                match i32::from(raw.message.kind) {
                    NLMSG_NOOP => {}
                    NLMSG_DONE if interrupted => return Err(io::ErrorKind::Interrupted.into()),
                    // A dump that fails halfway says so in its last message.
                    NLMSG_DONE if raw.message.body.len() >= 4 => {
                        return outcome(&raw).map(|()| messages);
                    }
                    NLMSG_DONE => return Ok(messages),
                    NLMSG_ERROR => return outcome(&raw).map(|()| messages),
                    _ if dump => messages.push(raw.message),
                    _ => return Ok(vec![raw.message]),
                }
            }
        }
    }
}

struct Raw {
    seq: u32,
    flags: u16,
    message: Message,
}

fn split(mut datagram: &[u8]) -> io::Result<Vec<Raw>> {
    let damaged = || io::Error::other("a damaged netlink message");
    let mut messages = Vec::new();
    while datagram.len() >= 16 {
        let length = number(datagram).ok_or_else(damaged)? as usize;
        let message = datagram.get(..length).filter(|message| message.len() >= 16).ok_or_else(damaged)?;
        messages.push(Raw {
            seq: number(&message[8..]).ok_or_else(damaged)?,
            flags: u16::from_ne_bytes([message[6], message[7]]),
            message: Message { kind: u16::from_ne_bytes([message[4], message[5]]), body: message[16..].to_vec() },
        });
        datagram = datagram.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    Ok(messages)
}

/// The kernel's answer to a change: an errno, with its own words where it has some.
fn outcome(raw: &Raw) -> io::Result<()> {
    let code = number(&raw.message.body).map_or(-libc::EPROTO, |code| code as i32);
    if code == 0 {
        return Ok(());
    }
    let error = io::Error::from_raw_os_error(-code);
    let capped = raw.flags & NLM_F_CAPPED != 0;
    let words = attributes(&raw.message.body, 20).find(|(kind, _)| capped && *kind == NLMSGERR_ATTR_MSG);
    match words {
        // The kind survives, so that callers can still tell "not found" from the rest.
        Some((_, words)) => Err(io::Error::new(error.kind(), Explained { words: text(words), error })),
        None => Err(error),
    }
}

/// The errno of an error of this module, with or without the kernel's words.
pub(super) fn errno(error: &io::Error) -> Option<i32> {
    error.raw_os_error().or_else(|| error.get_ref()?.downcast_ref::<Explained>()?.error.raw_os_error())
}

#[derive(Debug, thiserror::Error)]
#[error("{error}: {words}")]
struct Explained {
    words: String,
    error: io::Error,
}

/// Sets a socket option of any plain type.
pub(super) fn set_option<T: Copy>(fd: &impl AsRawFd, level: i32, name: i32, value: &T) -> io::Result<()> {
    // SAFETY: the pointer and length describe `value`, which outlives the call.
    let done = unsafe {
        libc::setsockopt(fd.as_raw_fd(), level, name, (&raw const *value).cast(), size_of::<T>() as libc::socklen_t)
    };
    if done < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

const NLM_F_CAPPED: u16 = 0x100;
const NLMSGERR_ATTR_MSG: u16 = 1;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn damaged_datagrams_are_errors_not_shorter_lists() {
        assert!(split(&[200, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]).is_err());
        assert!(split(&[3, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]).is_err());
        assert!(split(&[]).expect("empty").is_empty());
    }

    #[test]
    fn the_loopback_link_is_always_there() {
        let mut netlink = Netlink::open(0).expect("a socket");
        let links = netlink.dump(libc::RTM_GETLINK, &Body::new(&[0; 16])).expect("a dump");
        assert!(
            links
                .iter()
                .any(|link| { attributes(&link.body, 16).any(|(k, v)| k == libc::IFLA_IFNAME && text(v) == "lo") })
        );
    }
}
