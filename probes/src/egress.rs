//! Ways out: every attempt says how it can be found in a ledger, and none of them knows what is allowed.

use std::{net::IpAddr, time::Duration};

use awf_probe_matrix::{Outcome, Sent};

use crate::{
    Cx, Probe,
    net::{self, Nonces, TcpTry},
    pace,
    sys::drop_capabilities,
};

mod attempts;
mod datagram;
mod dns;
mod door;
mod frame;
mod hand_made;
mod held;
mod http;
mod kernel;
mod tamper;
mod tcp;
mod uring;

use attempts::ATTEMPTS_V6;
pub use attempts::{ATTEMPTS, Attempt};
pub use dns::Dns;
pub(crate) use dns::question;
pub use tamper::{TAMPERINGS, Tampering};

pub(crate) const PROBES: &[Probe] = &[
    Probe {
        id: "egress.attempt",
        about: "one attempt to get out, by the means its parameters name",
        specs: &[],
        ask: attempt,
    },
    Probe {
        id: "egress.hold",
        about: "opens a connection that a later attempt writes to",
        specs: &[],
        ask: held::hold,
    },
    Probe {
        id: "egress.tamper-control",
        about: "every tampering with the capabilities for it: a rule that drops, before and after",
        specs: &[],
        ask: tamper::control,
    },
];

/// Where an attempt arrives if nothing holds it back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sink {
    /// At the witness, which plays the Internet.
    Witness,
    /// At a listener of the run on the host.
    Host,
    /// At a neighbour on the lab's networks.
    Neighbour,
}

/// What an attempt sends. In texts `NONCE`, `DST`, `PROXY` and `GATEWAY` are filled in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Payload {
    /// TCP connections to these ports.
    Tcp(&'static [u16]),
    /// TCP connections to a few hundred ports, in batches.
    Sweep,
    /// TCP connections from these ports.
    TcpFrom(&'static [u16]),
    /// TCP with its data in the first segment.
    FastOpen,
    /// Multipath TCP.
    Mptcp,
    /// TCP with IP options.
    TcpOptions,
    /// TCP to an IPv4 address written as an IPv6 one.
    TcpMapped,
    /// TCP through io_uring, the socket included.
    IoUring,
    /// A TLS ClientHello for a denied name to this port.
    Hello(u16),
    /// A datagram to this port, three times.
    Udp(u16),
    /// UDP to an IPv4 address written as an IPv6 one.
    UdpMapped,
    /// UDP through a connected socket.
    UdpConnected,
    /// UDP through sendmmsg.
    UdpMany,
    /// UDP from these ports.
    UdpFrom(&'static [u16]),
    /// A datagram of this size.
    UdpSize(usize),
    /// UDP with IP options.
    UdpOptions,
    /// UDP-Lite.
    UdpLite,
    /// UDP from an address that is not the agent's, by IP_TRANSPARENT.
    Transparent,
    /// UDP on the link: to this address, hop limit 1.
    UdpTo(&'static str),
    /// A QUIC Initial, padded to 1200 bytes.
    Quic,
    /// A connection of this type and protocol.
    Stream(i32, i32),
    /// An IP packet of this protocol.
    RawIp(u8),
    /// A hand-made SYN.
    RawTcp,
    /// A hand-made datagram.
    RawUdp,
    /// A hand-made datagram in two fragments, the first without a whole header's payload.
    RawFragments,
    /// A hand-made datagram from another address of the lab.
    RawSpoofed,
    /// A DNS query, the nonce in its name.
    Dns(Dns),
    /// A DNS query to the resolver at 127.0.0.11.
    Embedded(Dns),
    /// A short name, completed with the search domains of resolv.conf, asked of its resolver.
    Search,
    /// A DNS query to the resolver the run approves.
    Approved,
    /// resolv.conf is rewritten, then followed.
    Rewritten,
    /// A router advertisement: whoever on the link believes it sends its packets to the agent.
    Advertisement,
    /// ICMP echo through a raw socket.
    IcmpRaw,
    /// ICMP echo through a ping socket.
    IcmpPing,
    /// An Ethernet frame to the gateway's hardware address, through a packet socket.
    GatewayFrame,
    /// The same to a sidecar's hardware address: whoever routes there passes it on.
    SidecarFrame,
    /// HTTP to a listener on the host, at the bridge's gateway address.
    Gateway,
    /// HTTP to a sidecar, at its address on another bridge of the run.
    OtherBridge,
    /// TCP to these ports of the sidecar at this address.
    Peer(u8, &'static [u16]),
    /// An abstract unix socket that a process of the host listens on.
    AbstractHost,
    /// A request through the proxy for this URL.
    Proxy(&'static str),
    /// A request for this URL, proxy variables ignored.
    Direct(&'static str),
    /// A request for this URL with these variables in the place of the proxy's.
    Env(&'static [(&'static str, &'static str)], &'static str),
    /// What is written to the proxy, step by step, each after an answer to the one before.
    Ask(&'static [&'static str]),
    /// A TLS ClientHello for a denied name, to the proxy's port.
    HelloToProxy,
    /// A TLS ClientHello for a denied name, inside a tunnel to an allowed one.
    HelloInTunnel,
    /// A redirect to a denied name, followed.
    Redirect,
    /// Data on the connection that `PROBES`' `egress.hold` opened.
    Held,
    /// An act of tampering, then a datagram.
    Tamper(Tampering),
}

impl Attempt {
    /// Numbers of its parts, where it has several: ports, each reported under its own name.
    pub fn parts(&self) -> &'static [u16] {
        match self.payload {
            Payload::Tcp(ports) | Payload::Peer(_, ports) if ports.len() > 1 => ports,
            Payload::TcpFrom(ports) | Payload::UdpFrom(ports) => ports,
            _ => &[],
        }
    }
}

/// Every attempt that there is over IPv6, and over IPv4 too or not.
pub fn over_ipv6() -> impl Iterator<Item = &'static Attempt> {
    ATTEMPTS.iter().chain(ATTEMPTS_V6)
}

/// What an attempt is given.
struct Way {
    dst: IpAddr,
    proxy: String,
    gateway: String,
    nonces: Nonces,
    wait: Duration,
}

impl Way {
    /// The host and port of the proxy.
    fn proxy_address(&self) -> Option<std::net::SocketAddr> {
        self.proxy.trim_start_matches("http://").parse().ok()
    }
}

fn attempt(cx: &mut Cx) {
    let id = cx.text("attempt").to_owned();
    let Some(a) = over_ipv6().find(|a| a.id == id) else {
        return cx.fact("", Outcome::broken(format!("no attempt is called {id}")));
    };
    let Some(dst) = net::address(cx.text("dst")) else {
        return cx.fact("", Outcome::broken("no destination"));
    };
    // As an entrypoint does before it runs the user's command.
    let drop = cx.texts("drop");
    if !drop.is_empty()
        && let Err(e) = drop_capabilities(&drop)
    {
        return cx.fact("", Outcome::broken(format!("cannot drop {}: {e}", drop.join(", "))));
    }
    let mut way = Way {
        dst,
        proxy: cx.text("proxy").to_owned(),
        gateway: cx.text("gateway").to_owned(),
        nonces: Nonces::new(cx.text("seed")),
        wait: pace::scaled(Duration::from_millis(cx.number("wait_ms").unwrap_or(1300))),
    };
    make(cx, a, &mut way);
}

fn make(cx: &mut Cx, a: &Attempt, way: &mut Way) {
    match a.payload {
        Payload::Tcp(ports) => tcp::connect(cx, way, ports),
        Payload::Sweep => tcp::sweep(cx, way),
        Payload::TcpFrom(ports) => tcp::from_ports(cx, way, ports),
        Payload::FastOpen => tcp::fast_open(cx, way),
        Payload::Mptcp => tcp::special(cx, way, tcp::Special::Multipath),
        Payload::TcpOptions => tcp::special(cx, way, tcp::Special::Options),
        Payload::TcpMapped => tcp::special(cx, way, tcp::Special::Mapped),
        Payload::IoUring => uring::connect(cx, way),
        Payload::Hello(port) => tcp::hello(cx, way, port),
        Payload::Udp(port) => datagram::plain(cx, way, port),
        Payload::UdpMapped => datagram::mapped(cx, way),
        Payload::UdpConnected => datagram::connected(cx, way),
        Payload::UdpMany => datagram::many(cx, way),
        Payload::UdpFrom(ports) => datagram::from_ports(cx, way, ports),
        Payload::UdpSize(size) => datagram::sized(cx, way, size),
        Payload::UdpOptions => datagram::options(cx, way),
        Payload::UdpLite => datagram::lite(cx, way),
        Payload::Transparent => datagram::transparent(cx, way),
        Payload::UdpTo(address) => datagram::on_link(cx, way, address),
        Payload::Quic => datagram::quic(cx, way),
        Payload::Stream(kind, protocol) => tcp::stream(cx, way, kind, protocol),
        Payload::RawIp(_) | Payload::RawTcp | Payload::RawUdp | Payload::RawFragments | Payload::RawSpoofed => {
            hand_made::send(cx, way, a.payload);
        }
        Payload::Dns(query) => dns::ask(cx, way, query),
        Payload::Embedded(query) => dns::embedded(cx, way, query),
        Payload::Search => dns::search(cx, way),
        Payload::Approved => dns::approved(cx, way),
        Payload::Rewritten => dns::rewritten(cx, way),
        Payload::Advertisement => datagram::advertise(cx, way),
        Payload::IcmpRaw => datagram::echo(cx, way, libc::SOCK_RAW),
        Payload::IcmpPing => datagram::echo(cx, way, libc::SOCK_DGRAM),
        Payload::GatewayFrame => frame::to(cx, way, "gateway"),
        Payload::SidecarFrame => frame::to(cx, way, "neighbour"),
        Payload::Gateway => door::gateway(cx, way),
        Payload::OtherBridge => door::other_bridge(cx, way),
        Payload::Peer(_, ports) => door::peer(cx, way, ports),
        Payload::AbstractHost => door::abstract_host(cx, way),
        Payload::Proxy(url) => http::proxied(cx, way, url),
        Payload::Direct(url) => http::direct(cx, way, url),
        Payload::Env(variables, url) => http::with_variables(cx, way, variables, url),
        Payload::Ask(steps) => http::ask(cx, way, steps),
        Payload::HelloToProxy => http::hello(cx, way, None),
        Payload::HelloInTunnel => {
            http::hello(cx, way, Some("CONNECT allowed.awf-probe.test:443 HTTP/1.1\r\n\r\n"));
        }
        Payload::Redirect => http::redirect(cx, way),
        Payload::Held => held::write(cx, way),
        Payload::Tamper(tampering) => tamper::attempt(cx, way, tampering),
    }
}

/// A connection under way, or why there is none.
type Begun = Result<TcpTry, (Outcome, Sent)>;

/// Reports a list of connections under the names of their ports, or under none if there is one.
fn report(cx: &mut Cx, tries: Vec<(String, Begun)>, wait: Duration) {
    let mut names = Vec::new();
    let mut open = Vec::new();
    for (name, one) in tries {
        match one {
            Ok(t) => {
                names.push(name);
                open.push(t);
            }
            Err((outcome, sent)) => cx.sent(&name, outcome, sent),
        }
    }
    for (name, (outcome, sent)) in names.into_iter().zip(net::settle(open, wait)) {
        cx.sent(&name, outcome, sent);
    }
}

/// A TLS 1.2 ClientHello for this server name: what a client shows before anything is encrypted.
pub(crate) fn client_hello(name: &str) -> Vec<u8> {
    let name = name.as_bytes();
    let half = |n: usize| (n as u16).to_be_bytes();
    let mut sni = half(name.len() + 3).to_vec();
    sni.push(0);
    sni.extend(half(name.len()));
    sni.extend(name);
    let mut extensions = vec![0, 0];
    extensions.extend(half(sni.len()));
    extensions.extend(sni);
    // supported_groups: x25519, secp256r1; ec_point_formats; signature_algorithms; supported_versions 1.2.
    extensions.extend([0, 10, 0, 6, 0, 4, 0, 29, 0, 23, 0, 11, 0, 2, 1, 0, 0, 13, 0, 8, 0, 6, 4, 3, 8, 4, 4, 1]);
    let mut body = vec![3, 3];
    body.extend([0x1d; 32]);
    body.push(0);
    body.extend([0, 4, 0xc0, 0x2b, 0xc0, 0x2f, 1, 0]);
    body.extend(half(extensions.len()));
    body.extend(extensions);
    let mut hello = vec![1, 0];
    hello.extend(half(body.len()));
    hello.extend(body);
    let mut record = vec![22, 3, 1];
    record.extend(half(hello.len()));
    record.extend(hello);
    record
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attempts_have_names_of_their_own_and_addresses_for_all() {
        let mut names: Vec<_> = over_ipv6().map(|a| a.id).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), ATTEMPTS.len() + ATTEMPTS_V6.len());
        assert!(ATTEMPTS.len() <= 155, "attempts have the addresses .100 to .254");
    }

    #[test]
    fn every_request_carries_its_nonce() {
        for a in ATTEMPTS {
            if let Payload::Ask(steps) = a.payload {
                assert!(steps.iter().any(|s| s.contains("NONCE")), "{}", a.id);
            }
        }
    }

    #[test]
    fn a_hello_is_as_long_as_it_says() {
        let hello = client_hello("a.test");
        assert_eq!(usize::from(u16::from_be_bytes([hello[3], hello[4]])), hello.len() - 5);
        assert_eq!(usize::from(u16::from_be_bytes([hello[7], hello[8]])), hello.len() - 9);
        assert!(hello.windows(6).any(|w| w == b"a.test"));
    }
}
