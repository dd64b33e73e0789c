//! The list of ways out that are tried.

use super::{Dns, Payload, Sink, Tampering};

/// One way out that is tried.
#[derive(Clone, Copy, Debug)]
pub struct Attempt {
    /// Name, as `attempt` in `capabilities/egress.toml` has it.
    pub id: &'static str,
    /// What is sent.
    pub payload: Payload,
    /// Needs CAP_NET_RAW, which AWF's container does not have.
    pub raw: bool,
    /// Where it arrives if nothing holds it back.
    pub sink: Sink,
    /// Made right after the sandbox's start, before rules that are installed later stand.
    pub early: bool,
    /// Why its arrival is a documented risk and not a failure of the model; empty where it is one.
    pub residual: &'static str,
    /// The request names an allowed host, and may be served as a request for that host.
    pub carried: bool,
    /// It may be refused as no request at all, without a decision about a name.
    pub malformed: bool,
}

const fn way(id: &'static str, payload: Payload) -> Attempt {
    Attempt {
        id,
        payload,
        raw: false,
        sink: Sink::Witness,
        early: false,
        residual: "",
        carried: false,
        malformed: false,
    }
}

/// A request written out, to the proxy.
const fn ask(id: &'static str, steps: &'static [&'static str]) -> Attempt {
    way(id, Payload::Ask(steps))
}

impl Attempt {
    const fn raw(self) -> Self {
        Self { raw: true, ..self }
    }

    const fn early(self) -> Self {
        Self { early: true, ..self }
    }

    const fn to(self, sink: Sink) -> Self {
        Self { sink, ..self }
    }

    const fn residual(self, why: &'static str) -> Self {
        Self { residual: why, ..self }
    }

    const fn carried(self) -> Self {
        Self { carried: true, malformed: true, ..self }
    }

    const fn malformed(self) -> Self {
        Self { malformed: true, ..self }
    }
}

const TUNNEL: &str = "whoever controls an allowed host carries anything through its tunnel";
const RESOLVER: &str = "an approved resolver passes on whatever name it is asked for";
const WINDOW: &str = "whoever runs before the rules stand is not held by them; AWF starts user code afterwards";
const NEIGHBOUR: &str = "it stays on the link, where the proxy and the sidecars stand";
const REBINDING: &str = "the domain list looks at names, not at the addresses they resolve to";

/// Every attempt. The position gives an attempt its own destination address: append only.
pub const ATTEMPTS: &[Attempt] = &[
    way("tcp.80", Payload::Tcp(&[80])),
    way("tcp.443", Payload::Tcp(&[443])),
    way("tcp.high", Payload::Tcp(&[3000, 8080, 8443])),
    way("tcp.dangerous", Payload::Tcp(DANGEROUS)),
    way("udp.high", Payload::Udp(40_000)),
    way("udp.quic", Payload::Quic),
    way("dns.udp", Payload::Dns(Dns::udp(1))),
    way("dns.tcp", Payload::Dns(Dns::tcp(1))),
    way("icmp.raw", Payload::IcmpRaw).raw(),
    way("icmp.ping", Payload::IcmpPing),
    way("packet.gateway", Payload::GatewayFrame).raw(),
    way("ipv6.tcp", Payload::Tcp(&[443])),
    way("proxy.allowed-http", Payload::Proxy("http://NONCE.allowed.awf-probe.test/NONCE")),
    way("proxy.allowed-https", Payload::Proxy("https://NONCE.allowed.awf-probe.test/NONCE")),
    way("proxy.denied-name", Payload::Proxy("https://NONCE.denied.awf-probe.test/NONCE")),
    way("proxy.ip-literal", Payload::Proxy("https://DST/NONCE")),
    // TCP in other shapes.
    way("tcp.sweep", Payload::Sweep),
    way("tcp.source-port", Payload::TcpFrom(&[53, 88, 443])),
    way("tcp.fast-open", Payload::FastOpen),
    way("tcp.mptcp", Payload::Mptcp),
    way("tcp.options", Payload::TcpOptions),
    way("tcp.io-uring", Payload::IoUring),
    way("tcp.sni-denied", Payload::Hello(443)),
    // Datagrams in other shapes.
    way("udp.connected", Payload::UdpConnected),
    way("udp.sendmmsg", Payload::UdpMany),
    way("udp.source-port", Payload::UdpFrom(&[53, 88, 443])),
    way("udp.fragments", Payload::UdpSize(4000)),
    way("udp.options", Payload::UdpOptions),
    way("udp.empty", Payload::UdpSize(0)),
    way("udp.lite", Payload::UdpLite),
    way("udp.transparent", Payload::Transparent).raw(),
    way("proto.sctp", Payload::Stream(libc::SOCK_STREAM, 132)),
    way("proto.dccp", Payload::Stream(6, 33)),
    // Hand-made packets.
    way("raw.gre", Payload::RawIp(47)).raw(),
    way("raw.esp", Payload::RawIp(50)).raw(),
    way("raw.ipip", Payload::RawIp(4)).raw(),
    way("raw.unassigned", Payload::RawIp(253)).raw(),
    way("raw.tcp", Payload::RawTcp).raw(),
    way("raw.udp", Payload::RawUdp).raw(),
    way("raw.fragments", Payload::RawFragments).raw(),
    way("raw.spoofed", Payload::RawSpoofed).raw(),
    way("packet.sidecar", Payload::SidecarFrame).raw(),
    // On the link.
    way("link.broadcast", Payload::UdpTo("255.255.255.255")).to(Sink::Neighbour).residual(NEIGHBOUR),
    way("link.directed-broadcast", Payload::UdpTo("BROADCAST")).to(Sink::Neighbour).residual(NEIGHBOUR),
    way("link.multicast", Payload::UdpTo("224.0.0.251")).to(Sink::Neighbour).residual(NEIGHBOUR),
    way("link.gateway", Payload::Gateway).to(Sink::Host),
    way("link.other-bridge", Payload::OtherBridge).to(Sink::Neighbour),
    way("sidecar.api-proxy", Payload::Peer(30, &[10_000, 10_001, 10_002, 10_003, 10_004])).to(Sink::Neighbour),
    way("sidecar.cli-proxy", Payload::Peer(50, &[11_000])).to(Sink::Neighbour),
    // IPv6.
    way("ipv6.udp", Payload::Udp(40_000)),
    way("ipv6.icmp", Payload::IcmpPing),
    way("ipv6.mapped-tcp", Payload::TcpMapped),
    way("ipv6.mapped-udp", Payload::UdpMapped),
    way("ipv6.link-local", Payload::UdpTo("ff02::1")).to(Sink::Neighbour).residual(NEIGHBOUR),
    // Names.
    way("dns.txt", Payload::Dns(Dns::udp(16))),
    way("dns.any", Payload::Dns(Dns::udp(255))),
    way("dns.https", Payload::Dns(Dns::udp(65))),
    way("dns.aaaa", Payload::Dns(Dns::udp(28))),
    way("dns.edns", Payload::Dns(Dns { edns: true, ..Dns::udp(1) })),
    way("dns.odd-port", Payload::Dns(Dns { port: 5353, ..Dns::udp(1) })),
    way("dns.large-tcp", Payload::Dns(Dns { edns: true, ..Dns::tcp(16) })),
    way("dns.pipelined", Payload::Dns(Dns { decoy: true, ..Dns::tcp(1) })),
    way("dns.dot", Payload::Hello(853)),
    way("dns.doh", Payload::Direct("https://DST/dns-query?dns=NONCE")),
    way("dns.rewritten", Payload::Rewritten),
    way("dns.embedded", Payload::Embedded(Dns::udp(1))).residual(RESOLVER),
    way("dns.embedded-txt", Payload::Embedded(Dns::udp(16))).residual(RESOLVER),
    way("dns.embedded-tcp", Payload::Embedded(Dns::tcp(1))).residual(RESOLVER),
    way("dns.search", Payload::Search).residual(RESOLVER),
    way("dns.approved", Payload::Approved).residual(RESOLVER),
    // Without the proxy's variables, or with others.
    way("env.unset", Payload::Env(&[], "http://DST/NONCE")),
    way("env.no-proxy", Payload::Env(&[("NO_PROXY", "*,DST"), ("no_proxy", "*,DST")], "http://DST/NONCE")),
    way(
        "env.override",
        Payload::Env(
            &[("http_proxy", "http://DST:8080"), ("HTTP_PROXY", "http://DST:8080")],
            "http://NONCE.denied.awf-probe.test/NONCE",
        ),
    ),
    // Through the proxy: ports, addresses in every spelling, places of its own.
    ask("proxy.port-22", &["CONNECT NONCE.allowed.awf-probe.test:22 HTTP/1.1\r\n\r\n"]),
    ask("proxy.port-25", &["CONNECT NONCE.allowed.awf-probe.test:25 HTTP/1.1\r\n\r\n"]),
    ask("proxy.port-8443", &["CONNECT NONCE.allowed.awf-probe.test:8443 HTTP/1.1\r\n\r\n"]),
    ask("proxy.ip-decimal", &["CONNECT DECIMAL:443 HTTP/1.1\r\nHost: NONCE\r\n\r\n"]),
    ask("proxy.ip-hex", &["CONNECT HEX:443 HTTP/1.1\r\nHost: NONCE\r\n\r\n"]),
    ask("proxy.ip-octal", &["CONNECT OCTAL:443 HTTP/1.1\r\nHost: NONCE\r\n\r\n"]),
    ask("proxy.ip-short", &["CONNECT SHORT:443 HTTP/1.1\r\nHost: NONCE\r\n\r\n"]),
    ask("proxy.ip-v6", &["CONNECT [2001:db8::1]:443 HTTP/1.1\r\nHost: NONCE\r\n\r\n"]).malformed(),
    ask("proxy.ip-mapped", &["CONNECT [::ffff:DST]:443 HTTP/1.1\r\nHost: NONCE\r\n\r\n"]).malformed(),
    ask("proxy.ip-http", &["GET http://DST/NONCE HTTP/1.1\r\nHost: DST\r\n\r\n"]),
    ask("proxy.loopback", &["CONNECT 127.0.0.1:443 HTTP/1.1\r\nHost: NONCE\r\n\r\n"]),
    ask("proxy.localhost", &["CONNECT localhost:443 HTTP/1.1\r\nHost: NONCE\r\n\r\n"]),
    ask("proxy.itself", &["CONNECT PROXY:443 HTTP/1.1\r\nHost: NONCE\r\n\r\n"]),
    ask("proxy.gateway", &["CONNECT GATEWAY:443 HTTP/1.1\r\nHost: NONCE\r\n\r\n"]),
    ask("proxy.metadata-decoy", &["GET http://DST/latest/meta-data/NONCE HTTP/1.1\r\nHost: DST\r\n\r\n"]),
    ask("proxy.rebinding", &["CONNECT NONCE.private.allowed.awf-probe.test:80 HTTP/1.1\r\n\r\n"]).residual(REBINDING),
    // Names that look like an allowed one.
    ask("proxy.suffix", &["CONNECT NONCE-allowed.awf-probe.test:443 HTTP/1.1\r\n\r\n"]),
    ask("proxy.prefix", &["CONNECT allowed.awf-probe.test.NONCE.test:443 HTTP/1.1\r\n\r\n"]),
    ask("proxy.case", &["CONNECT NONCE.DENIED.awf-probe.TEST:443 HTTP/1.1\r\n\r\n"]),
    ask("proxy.punycode", &["CONNECT NONCE.xn--llowed-9wa.awf-probe.test:443 HTTP/1.1\r\n\r\n"]),
    ask("proxy.trailing-dot", &["CONNECT NONCE.denied.awf-probe.test.:443 HTTP/1.1\r\n\r\n"]),
    ask("proxy.userinfo", &["GET http://allowed.awf-probe.test@NONCE.denied.awf-probe.test/ HTTP/1.1\r\n\r\n"])
        .malformed(),
    ask("proxy.crlf", &["CONNECT NONCE.denied.awf-probe.test%0d%0a.allowed.awf-probe.test:443 HTTP/1.1\r\n\r\n"])
        .carried(),
    ask("proxy.tab", &["CONNECT NONCE.denied.awf-probe.test\t.allowed.awf-probe.test:443 HTTP/1.1\r\n\r\n"]).carried(),
    ask("proxy.nul", &["CONNECT NONCE.denied.awf-probe.test\0.allowed.awf-probe.test:443 HTTP/1.1\r\n\r\n"]).carried(),
    ask("proxy.encoded", &["GET http://NONCE%2edenied%2eawf-probe%2etest/ HTTP/1.1\r\n\r\n"]).malformed(),
    ask("proxy.long-authority", &["CONNECT NONCE.LONG.denied.awf-probe.test:443 HTTP/1.1\r\n\r\n"]).malformed(),
    // Requests that say two things.
    ask(
        "proxy.host-mismatch",
        &["GET http://NONCE.denied.awf-probe.test/NONCE HTTP/1.1\r\nHost: allowed.awf-probe.test\r\n\r\n"],
    ),
    ask(
        "proxy.host-denied",
        &["GET http://allowed.awf-probe.test/NONCE HTTP/1.1\r\nHost: NONCE.denied.awf-probe.test\r\nConnection: close\r\n\r\n"],
    )
    .carried(),
    ask(
        "proxy.two-hosts",
        &["GET http://allowed.awf-probe.test/NONCE HTTP/1.1\r\nHost: allowed.awf-probe.test\r\nHost: NONCE.denied.awf-probe.test\r\nConnection: close\r\n\r\n"],
    )
    .carried(),
    ask("proxy.origin-form", &["GET /NONCE HTTP/1.1\r\nHost: NONCE.denied.awf-probe.test\r\n\r\n"]).malformed(),
    ask(
        "proxy.pipelined",
        &["GET http://allowed.awf-probe.test/first HTTP/1.1\r\nHost: allowed.awf-probe.test\r\n\r\nGET http://NONCE.denied.awf-probe.test/NONCE HTTP/1.1\r\nHost: NONCE.denied.awf-probe.test\r\n\r\n"],
    )
    .carried(),
    ask(
        "proxy.cl-te",
        &["POST http://allowed.awf-probe.test/cl-te HTTP/1.1\r\nHost: allowed.awf-probe.test\r\nContent-Length: 103\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET http://NONCE.denied.awf-probe.test/NONCE HTTP/1.1\r\nHost: NONCE.denied.awf-probe.test\r\n\r\n"],
    )
    .carried(),
    ask(
        "proxy.te-cl",
        &["POST http://allowed.awf-probe.test/te-cl HTTP/1.1\r\nHost: allowed.awf-probe.test\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n60\r\nGET http://NONCE.denied.awf-probe.test/NONCE HTTP/1.1\r\nHost: NONCE.denied.awf-probe.test\r\n\r\n\r\n0\r\n\r\n"],
    )
    .carried(),
    ask(
        "proxy.te-obfuscated",
        &["POST http://allowed.awf-probe.test/te-te HTTP/1.1\r\nHost: allowed.awf-probe.test\r\nContent-Length: 4\r\nTransfer-Encoding: xchunked\r\nTransfer-Encoding:\tchunked\r\n\r\n0\r\n\r\nGET http://NONCE.denied.awf-probe.test/NONCE HTTP/1.1\r\nHost: NONCE.denied.awf-probe.test\r\n\r\n"],
    )
    .carried(),
    // Other protocols and methods.
    ask(
        "proxy.websocket",
        &["GET http://NONCE.denied.awf-probe.test/NONCE HTTP/1.1\r\nHost: NONCE.denied.awf-probe.test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: YXdmLXByb2JlLXByb2JlIQ==\r\n\r\n"],
    ),
    ask(
        "proxy.h2c-upgrade",
        &["GET http://NONCE.denied.awf-probe.test/NONCE HTTP/1.1\r\nHost: NONCE.denied.awf-probe.test\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n\r\n"],
    ),
    ask("proxy.h2c-prior", &["PRI * HTTP/2.0\r\n\r\nSM\r\n\r\nNONCE"]).malformed(),
    ask("proxy.trace", &["TRACE http://NONCE.denied.awf-probe.test/NONCE HTTP/1.1\r\nHost: NONCE.denied.awf-probe.test\r\n\r\n"])
        .malformed(),
    ask("proxy.purge", &["PURGE http://NONCE.denied.awf-probe.test/NONCE HTTP/1.1\r\nHost: NONCE.denied.awf-probe.test\r\n\r\n"])
        .malformed(),
    ask("proxy.ftp", &["GET ftp://NONCE.denied.awf-probe.test/NONCE HTTP/1.1\r\nHost: NONCE.denied.awf-probe.test\r\n\r\n"])
        .malformed(),
    ask("proxy.cache-object", &["GET cache_object://PROXY/NONCE HTTP/1.1\r\nHost: PROXY\r\n\r\n"]).malformed(),
    ask(
        "proxy.forwarded-for",
        &["GET http://NONCE.denied.awf-probe.test/NONCE HTTP/1.1\r\nHost: NONCE.denied.awf-probe.test\r\nX-Forwarded-For: 127.0.0.1\r\nVia: 1.1 localhost\r\n\r\n"],
    ),
    ask("proxy.socks", &["\x04\x01\x01\u{1}NONCE.denied.awf-probe.test\0\r\n\r\n"]).malformed(),
    way("proxy.tls-to-port", Payload::HelloToProxy).malformed(),
    way("proxy.redirect", Payload::Redirect).carried(),
    // Inside an allowed tunnel.
    ask(
        "proxy.chained-connect",
        &["CONNECT allowed.awf-probe.test:443 HTTP/1.1\r\n\r\n", "CONNECT NONCE.denied.awf-probe.test:443 HTTP/1.1\r\n\r\n"],
    )
    .residual(TUNNEL),
    ask("proxy.bytes-in-tunnel", &["CONNECT allowed.awf-probe.test:443 HTTP/1.1\r\n\r\n", "SSH-2.0-NONCE\r\n"])
        .residual(TUNNEL),
    way("proxy.sni-in-tunnel", Payload::HelloInTunnel).residual(TUNNEL),
    ask(
        "proxy.host-in-tunnel",
        &["CONNECT allowed.awf-probe.test:80 HTTP/1.1\r\n\r\n", "GET /NONCE HTTP/1.1\r\nHost: NONCE.denied.awf-probe.test\r\nConnection: close\r\n\r\n"],
    )
    .residual(TUNNEL),
    way("proxy.allowed-subdomain", Payload::Proxy("https://deep.er.NONCE.allowed.awf-probe.test/NONCE")),
    // Before the rules stand.
    way("window.udp", Payload::Udp(40_000)).early().residual(WINDOW),
    way("window.connection", Payload::Held).residual(WINDOW),
    // Other doors to the host.
    way("unix.abstract-host", Payload::AbstractHost).to(Sink::Host),
    // Tampering, without the capabilities AWF takes away.
    way("tamper.flush-legacy", Payload::Tamper(Tampering::Flush("legacy"))),
    way("tamper.flush-nft", Payload::Tamper(Tampering::Flush("nft"))),
    way("tamper.insert-legacy", Payload::Tamper(Tampering::Insert("legacy"))),
    way("tamper.insert-nft", Payload::Tamper(Tampering::Insert("nft"))),
    way("tamper.setsockopt", Payload::Tamper(Tampering::Replace)),
    way("tamper.netlink", Payload::Tamper(Tampering::DeleteTable)),
    way("tamper.user-namespace", Payload::Tamper(Tampering::UserNamespace)),
    way("tamper.route", Payload::Tamper(Tampering::Route)),
    way("tamper.sysctl", Payload::Tamper(Tampering::Sysctl)),
    way("tamper.bpf", Payload::Tamper(Tampering::Bpf)),
    way("tamper.ptrace", Payload::Tamper(Tampering::Ptrace)),
];

/// Attempts that there are over IPv6 alone. Numbered after [`ATTEMPTS`]: append only.
pub(super) const ATTEMPTS_V6: &[Attempt] = &[way("icmp.advertisement", Payload::Advertisement).raw()];

/// The ports AWF calls dangerous.
const DANGEROUS: &[u16] = &[22, 23, 25, 110, 143, 445, 1433, 1521, 3306, 3389, 5432, 6379, 27017, 27018, 28017];
