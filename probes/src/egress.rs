//! Ways out: every attempt says how it can be found in a ledger, and none of them knows what is allowed.

use crate::pace;
use std::{
    io,
    mem::{size_of, zeroed},
    net::{IpAddr, Ipv4Addr},
    os::fd::{AsRawFd, OwnedFd},
    time::Duration,
};

use awf_probe_matrix::{Outcome, Sent};

use crate::{
    Cx, Probe,
    net::{self, Nonces, TcpTry},
    sys::{check, refused},
};

pub(crate) const PROBES: &[Probe] = &[Probe {
    id: "egress.attempt",
    about: "one attempt to get out, by the means its parameters name",
    specs: &[],
    ask: attempt,
}];

/// One way out that is tried.
#[derive(Clone, Copy, Debug)]
pub struct Attempt {
    /// Name, as `attempt` in `capabilities/egress.toml` has it.
    pub id: &'static str,
    /// What is sent.
    pub payload: Payload,
    /// Needs CAP_NET_RAW, which AWF's container does not have.
    pub raw: bool,
}

/// What an attempt sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Payload {
    /// TCP connections to these ports.
    Tcp(&'static [u16]),
    /// A datagram to this port, three times.
    Udp(u16),
    /// A QUIC Initial, padded to 1200 bytes.
    Quic,
    /// A DNS query over UDP, the nonce in its name.
    DnsUdp,
    /// A DNS query over TCP, the nonce in its name.
    DnsTcp,
    /// ICMP echo through a raw socket.
    IcmpRaw,
    /// ICMP echo through a ping socket.
    IcmpPing,
    /// An Ethernet frame to the gateway's hardware address, through a packet socket.
    PacketSocket,
    /// TCP over IPv6.
    Tcp6(u16),
    /// A request through the proxy for this URL; `NONCE` and `DST` are filled in.
    Proxy(&'static str),
}

/// Every attempt. The position gives an attempt its own destination address: append only.
pub const ATTEMPTS: &[Attempt] = &[
    Attempt { id: "tcp.80", payload: Payload::Tcp(&[80]), raw: false },
    Attempt { id: "tcp.443", payload: Payload::Tcp(&[443]), raw: false },
    Attempt { id: "tcp.high", payload: Payload::Tcp(&[3000, 8080, 8443]), raw: false },
    Attempt { id: "tcp.dangerous", payload: Payload::Tcp(DANGEROUS), raw: false },
    Attempt { id: "udp.high", payload: Payload::Udp(40_000), raw: false },
    Attempt { id: "udp.quic", payload: Payload::Quic, raw: false },
    Attempt { id: "dns.udp", payload: Payload::DnsUdp, raw: false },
    Attempt { id: "dns.tcp", payload: Payload::DnsTcp, raw: false },
    Attempt { id: "icmp.raw", payload: Payload::IcmpRaw, raw: true },
    Attempt { id: "icmp.ping", payload: Payload::IcmpPing, raw: false },
    Attempt { id: "packet.gateway", payload: Payload::PacketSocket, raw: true },
    Attempt { id: "ipv6.tcp", payload: Payload::Tcp6(443), raw: false },
    Attempt {
        id: "proxy.allowed-http",
        payload: Payload::Proxy("http://NONCE.allowed.awf-probe.test/NONCE"),
        raw: false,
    },
    Attempt {
        id: "proxy.allowed-https",
        payload: Payload::Proxy("https://NONCE.allowed.awf-probe.test/NONCE"),
        raw: false,
    },
    Attempt {
        id: "proxy.denied-name",
        payload: Payload::Proxy("https://NONCE.denied.awf-probe.test/NONCE"),
        raw: false,
    },
    Attempt { id: "proxy.ip-literal", payload: Payload::Proxy("https://DST/NONCE"), raw: false },
];

/// The ports AWF calls dangerous.
const DANGEROUS: &[u16] = &[22, 23, 25, 110, 143, 445, 1433, 1521, 3306, 3389, 5432, 6379, 27017, 27018, 28017];

fn attempt(cx: &mut Cx) {
    let id = cx.text("attempt").to_owned();
    let Some(a) = ATTEMPTS.iter().find(|a| a.id == id) else {
        return cx.fact("", Outcome::broken(format!("no attempt is called {id}")));
    };
    let Some(dst) = net::address(cx.text("dst")) else {
        return cx.fact("", Outcome::broken("no destination"));
    };
    let wait = pace::scaled(Duration::from_millis(cx.number("wait_ms").unwrap_or(1300)));
    let mut nonces = Nonces::new(cx.text("seed"));
    match a.payload {
        Payload::Tcp(ports) => tcp(cx, dst, ports, &mut nonces, wait),
        Payload::Tcp6(port) => tcp(cx, dst, &[port], &mut nonces, wait),
        Payload::Udp(port) => {
            let nonce = nonces.next();
            let (outcome, sent) = net::udp((dst, port).into(), &nonce, nonce.as_bytes(), 3, wait);
            cx.sent("", outcome, sent);
        }
        Payload::Quic => {
            let nonce = nonces.next();
            let (outcome, sent) = net::udp((dst, 443).into(), &nonce, &quic_initial(&nonce), 3, wait);
            cx.sent("", outcome, sent);
        }
        Payload::DnsUdp => {
            let nonce = nonces.next();
            let (outcome, sent) = net::udp((dst, 53).into(), &nonce, &dns_query(&nonce), 3, wait);
            cx.sent("", outcome, sent);
        }
        Payload::DnsTcp => {
            let nonce = nonces.next();
            let query = dns_query(&nonce);
            let mut framed = (query.len() as u16).to_be_bytes().to_vec();
            framed.extend(query);
            let one = TcpTry::start((dst, 53).into(), nonce, framed);
            report_tcp(cx, "", one, wait);
        }
        Payload::IcmpRaw => icmp(cx, dst, libc::SOCK_RAW, &nonces.next(), wait),
        Payload::IcmpPing => icmp(cx, dst, libc::SOCK_DGRAM, &nonces.next(), wait),
        Payload::PacketSocket => packet(cx, dst, &nonces.next()),
        Payload::Proxy(url) => {
            let nonce = nonces.next();
            let url = url.replace("NONCE", &nonce).replace("DST", &dst.to_string());
            let sent = Sent { proto: net::TCP, dst, dport: 0, sport: 0, nonce };
            let outcome = through_proxy(&url, cx.text("proxy"), pace::scaled(Duration::from_millis(8000)));
            cx.sent("", outcome, sent);
        }
    }
}

fn tcp(cx: &mut Cx, dst: IpAddr, ports: &[u16], nonces: &mut Nonces, wait: Duration) {
    let single = ports.len() == 1;
    let name = |port: u16| if single { String::new() } else { port.to_string() };
    let mut tries = Vec::new();
    for port in ports {
        let nonce = nonces.next();
        let hello =
            format!("GET /{nonce} HTTP/1.1\r\nHost: {nonce}.denied.awf-probe.test\r\nConnection: close\r\n\r\n");
        match TcpTry::start((dst, *port).into(), nonce, hello.into_bytes()) {
            Ok(t) => tries.push(t),
            Err((outcome, sent)) => cx.sent(&name(*port), outcome, sent),
        }
    }
    for (outcome, sent) in net::settle(tries, wait) {
        let port = sent.dport;
        cx.sent(&name(port), outcome, sent);
    }
}

fn report_tcp(cx: &mut Cx, name: &str, one: Result<TcpTry, (Outcome, Sent)>, wait: Duration) {
    let results = match one {
        Ok(t) => net::settle(vec![t], wait),
        Err(failed) => vec![failed],
    };
    for (outcome, sent) in results {
        cx.sent(name, outcome, sent);
    }
}

/// A query for `NONCE.exfil.awf-probe.test`, type A.
pub(crate) fn dns_query(nonce: &str) -> Vec<u8> {
    let mut q = vec![0x1d, 0x0a, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    for label in [nonce, "exfil", "awf-probe", "test"] {
        q.push(label.len() as u8);
        q.extend(label.as_bytes());
    }
    q.extend([0, 0, 1, 0, 1]);
    q
}

/// A long-header packet of QUIC version 1 with the nonce in its body; a server may well refuse it, the
/// boundary sees UDP to port 443 all the same.
fn quic_initial(nonce: &str) -> Vec<u8> {
    let mut p = vec![0xc3, 0, 0, 0, 1, 8, 1, 2, 3, 4, 5, 6, 7, 8, 0, 0, 0x44, 0x96];
    p.extend(nonce.as_bytes());
    p.resize(1200, 0);
    p
}

fn icmp(cx: &mut Cx, dst: IpAddr, kind: libc::c_int, nonce: &str, wait: Duration) {
    let sent = Sent { proto: 1, dst, dport: 0, sport: 0, nonce: nonce.to_owned() };
    let fd = match net::raw_socket(libc::AF_INET, kind, libc::IPPROTO_ICMP) {
        Ok(fd) => fd,
        Err(e) => return cx.sent("", refused(&e, "socket"), sent),
    };
    let mut echo = vec![8, 0, 0, 0, 0x1d, 0x0a, 0, 1];
    echo.extend(nonce.as_bytes());
    let sum = checksum(&echo);
    echo[2..4].copy_from_slice(&sum.to_be_bytes());
    let mut ok = 0;
    for _ in 0..3 {
        match net::send_to(&fd, &echo, (dst, 0).into()) {
            Ok(()) => ok += 1,
            Err(e) => return cx.sent("", refused(&e, format!("sendto {dst}")), sent),
        }
    }
    let outcome = net::answer(&fd, wait, &format!("{ok} echo requests sent to {dst}"));
    cx.sent("", outcome, sent);
}

/// The Internet checksum.
fn checksum(bytes: &[u8]) -> u16 {
    let mut sum = 0_u32;
    for pair in bytes.chunks(2) {
        sum += u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0));
    }
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

/// A UDP datagram in a hand-made frame: past OUTPUT of every netfilter table.
fn packet(cx: &mut Cx, dst: IpAddr, nonce: &str) {
    let sent = Sent { proto: net::UDP, dst, dport: 40_001, sport: 40_002, nonce: nonce.to_owned() };
    let outcome = match send_frames(cx.text("agent"), cx.text("gateway"), dst, nonce) {
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

/// One GET with reqwest. `proxy` empty: the environment's variables decide, as they do for most programs.
fn through_proxy(url: &str, proxy: &str, limit: Duration) -> Outcome {
    // Installing twice in one process is refused and harmless: the first one stays.
    drop(rustls::crypto::ring::default_provider().install_default());
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(r) => r,
        Err(e) => return Outcome::broken(format!("runtime: {e}")),
    };
    let explicit = (!proxy.is_empty()).then(|| proxy.to_owned());
    runtime.block_on(async {
        let mut builder = reqwest::Client::builder()
            .timeout(limit)
            // The witness signs for every name; whether a certificate is trusted says nothing about reachability.
            .tls_danger_accept_invalid_certs(true)
            .redirect(reqwest::redirect::Policy::none());
        if let Some(p) = explicit {
            match reqwest::Proxy::all(&p) {
                Ok(p) => builder = builder.proxy(p),
                Err(e) => return Outcome::broken(format!("proxy {p}: {e}")),
            }
        }
        let client = match builder.build() {
            Ok(c) => c,
            Err(e) => return Outcome::broken(format!("client: {e}")),
        };
        match client.get(url).send().await {
            Ok(r) if r.status().is_success() => {
                let status = r.status().as_u16();
                let body = r.text().await.unwrap_or_default();
                Outcome::allowed(format!("{status}: {}", net::printable(body.as_bytes())))
            }
            Ok(r) => Outcome::refused(format!("HTTP {}", r.status().as_u16()), url),
            Err(e) if e.is_timeout() => {
                Outcome::TimedOut { after_ms: limit.as_millis() as u64, detail: url.to_owned() }
            }
            Err(e) => Outcome::refused(root_cause(&e), url),
        }
    })
}

fn root_cause(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(next) = cause.source() {
        cause = next;
    }
    cause.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attempts_have_names_of_their_own() {
        let mut names: Vec<_> = ATTEMPTS.iter().map(|a| a.id).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), ATTEMPTS.len());
    }

    #[test]
    fn checksum_of_a_header_with_its_checksum_is_zero() {
        let frame = udp_frame([1; 6], [2; 6], Ipv4Addr::new(10, 0, 0, 1), Ipv4Addr::new(203, 0, 113, 9), "awfp");
        assert_eq!(checksum(&frame[14..34]), 0);
    }
}
