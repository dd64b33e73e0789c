//! Rules whose effect is seen inside the sandbox or that concern all of its traffic: redirection to a local port, the
//! original destination, chain policy, save and restore, counters, connections that were open before, IPv6.
//!
//! Runs after [`crate::netfilter`], one backend after the other, since a policy governs everything.

use std::{
    fs, io,
    io::{Read, Write},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, TcpListener, TcpStream, UdpSocket},
    os::fd::AsRawFd,
    time::{Duration, Instant},
};

use awf_probe_matrix::Outcome;

use crate::{
    Cx, Probe, dns,
    net::{self, Nonces},
    netfilter::{TOOL_LIMIT, listing, ran, tool},
    sys::{self, first_existing},
};

pub(crate) const PROBES: &[Probe] = &[Probe {
    id: "netlocal",
    about: "REDIRECT, SO_ORIGINAL_DST, policy, save and restore, counters, open connections, ip6tables",
    specs: &[],
    ask: all,
}];

struct Lab<'a> {
    tool: String,
    backend: &'a str,
    /// First of seven destinations.
    base: u32,
    /// First destination of the rules of [`crate::netfilter`].
    rules: u32,
    proxy: String,
}

impl Lab<'_> {
    fn dst(&self, n: u32) -> IpAddr {
        Ipv4Addr::from(self.base + n).into()
    }
}

fn all(cx: &mut Cx) {
    let backend = cx.text("backend").to_owned();
    let tool = match tool(&backend) {
        Ok(tool) => tool,
        Err(why) => {
            for name in FACTS {
                cx.fact(name, Outcome::Skipped { why: why.clone() });
            }
            return;
        }
    };
    let address = |name: &str| cx.text(name).parse::<Ipv4Addr>().map(u32::from).unwrap_or(0);
    let (base, rules) = (address("local"), address("base"));
    if base == 0 || rules == 0 {
        return cx.fact("", Outcome::broken("no addresses"));
    }
    let lab = Lab { tool, backend: &backend, base, rules, proxy: cx.text("proxy").to_owned() };
    let mut nonces = Nonces::new(cx.text("seed"));
    redirect_tcp(cx, &lab, &mut nonces);
    redirect_udp(cx, &lab, &mut nonces);
    open_before(cx, &lab, &mut nonces);
    counters(cx, &lab, &mut nonces);
    save_restore(cx, &lab, &mut nonces);
    ipv6(cx, &lab);
    policy(cx, &lab, &mut nonces);
}

/// What is skipped where the tool is missing.
const FACTS: &[&str] = &[
    "redirect.before",
    "redirect.accepted",
    "redirect.local",
    "redirect.hit",
    "redirect.original",
    "redirect.direct",
    "redirect-udp.before",
    "redirect-udp.accepted",
    "redirect-udp.local",
    "redirect-udp.hit",
    "dnat-local.before",
    "dnat-local.accepted",
    "dnat-local.local",
    "dnat-local.hit",
    "dnat-local.original",
    "open.dnat.first",
    "open.dnat.accepted",
    "open.dnat.second",
    "open.dnat.new",
    "open.drop.first",
    "open.drop.accepted",
    "open.drop.second",
    "open.drop.new",
    "counters.idle",
    "counters.moved",
    "counters.shot",
    "save.saved",
    "save.removed",
    "save.restored",
    "save.same",
    "save.hit",
    "save.dns-rules",
    "save.dns-rules-after",
    "save.dns.before",
    "save.dns.after",
    "ip6.loopback",
    "ip6.filter.accepted",
    "ip6.filter.hit",
    "ip6.filter.miss",
    "ip6.nat.before",
    "ip6.nat.accepted",
    "ip6.nat.local",
    "policy.before",
    "policy.accepted",
    "policy.stored",
    "policy.hit",
    "policy.miss",
    "policy.after",
];

/// A datagram, three times. Nobody waits for an answer.
fn shoot(cx: &mut Cx, name: &str, to: SocketAddr, nonces: &mut Nonces) {
    let nonce = nonces.next();
    let (outcome, sent) = net::udp(to, &nonce, nonce.as_bytes(), 3, Duration::ZERO);
    let outcome = match outcome {
        Outcome::TimedOut { detail, .. } => Outcome::allowed(detail),
        other => other,
    };
    cx.sent(name, outcome, sent);
}

/// A connection that says its nonce and stays open. What of it is in the ledgers is found by the nonce alone where
/// `by_flow` is not set: packets that follow on the same connection have the same ports.
fn connect(cx: &mut Cx, name: &str, to: SocketAddr, nonce: &str, by_flow: bool) -> Option<TcpStream> {
    let begun = Instant::now();
    let mut sent = net::sent(net::TCP, to, nonce);
    match TcpStream::connect_timeout(&to, Duration::from_millis(600)) {
        Ok(mut stream) => {
            if by_flow {
                sent.sport = stream.local_addr().map_or(0, |a| a.port());
            }
            let wrote = stream.write_all(format!("{nonce}\r\n").as_bytes());
            cx.sent(name, sys::attempt(wrote, format!("connected to {to} and wrote")), sent);
            Some(stream)
        }
        Err(e) if e.kind() == io::ErrorKind::TimedOut => {
            let after_ms = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
            cx.sent(name, Outcome::TimedOut { after_ms, detail: format!("connect {to}") }, sent);
            None
        }
        Err(e) => {
            cx.sent(name, sys::refused(&e, format!("connect {to}")), sent);
            None
        }
    }
}

/// Reads from whoever connects within half a second.
fn accepted(listener: &TcpListener, nonce: &str) -> (Outcome, Option<TcpStream>) {
    let mut p = libc::pollfd { fd: listener.as_raw_fd(), events: libc::POLLIN, revents: 0 };
    // SAFETY: one valid descriptor.
    if unsafe { libc::poll(&mut p, 1, 500) } < 1 {
        return (Outcome::TimedOut { after_ms: 500, detail: "nobody connected to the local port".to_owned() }, None);
    }
    let (mut stream, _) = match listener.accept() {
        Ok(s) => s,
        Err(e) => return (sys::refused(&e, "accept"), None),
    };
    let mut seen = vec![0; 64];
    let read = stream.set_read_timeout(Some(Duration::from_millis(500))).and_then(|()| stream.read(&mut seen));
    let outcome = match read {
        Ok(n) if String::from_utf8_lossy(&seen[..n]).contains(nonce) => {
            Outcome::allowed("the nonce, at the local port")
        }
        Ok(n) => Outcome::refused("other content", net::printable(&seen[..n])),
        Err(e) => sys::refused(&e, "read at the local port"),
    };
    (outcome, Some(stream))
}

/// SO_ORIGINAL_DST of an accepted connection, as transparent proxies ask for it.
fn original(stream: &TcpStream) -> io::Result<SocketAddrV4> {
    const SO_ORIGINAL_DST: libc::c_int = 80;
    // SAFETY: the structure is plain data, and its size is passed along.
    unsafe {
        let mut address: libc::sockaddr_in = std::mem::zeroed();
        let mut len = size_of::<libc::sockaddr_in>() as libc::socklen_t;
        let p = (&raw mut address).cast();
        sys::check(libc::getsockopt(stream.as_raw_fd(), libc::SOL_IP, SO_ORIGINAL_DST, p, &mut len).into())?;
        let ip = Ipv4Addr::from(address.sin_addr.s_addr.to_ne_bytes());
        Ok(SocketAddrV4::new(ip, u16::from_be(address.sin_port)))
    }
}

fn original_is(stream: Option<&TcpStream>, wanted: SocketAddr) -> Outcome {
    let Some(stream) = stream else { return Outcome::refused("no connection", "nobody connected to the local port") };
    match original(stream) {
        Ok(a) if SocketAddr::V4(a) == wanted => Outcome::allowed(format!("{a}")),
        Ok(a) => Outcome::refused("another address", format!("{a} instead of {wanted}")),
        Err(e) => sys::refused(&e, "getsockopt SO_ORIGINAL_DST"),
    }
}

fn redirect_tcp(cx: &mut Cx, lab: &Lab<'_>, nonces: &mut Nonces) {
    let kinds = [("redirect", 0, "-j REDIRECT --to-ports"), ("dnat-local", 2, "-j DNAT --to-destination 127.0.0.1:")];
    for (name, n, target) in kinds {
        let to = SocketAddr::from((lab.dst(n), 80));
        let Ok(listener) = TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0)) else {
            return cx.fact(name, Outcome::broken("no local listener"));
        };
        let port = listener.local_addr().map_or(0, |a| a.port());
        let nonce = nonces.next();
        drop(connect(cx, &format!("{name}.before"), to, &nonce, true));
        // Without a rule the local port is asked directly: it has no original destination.
        let nonce = nonces.next();
        if name == "redirect" {
            let direct = TcpStream::connect((Ipv4Addr::LOCALHOST, port));
            let direct = direct.and_then(|mut s| s.write_all(nonce.as_bytes()).map(|()| s));
            let (_, stream) = accepted(&listener, &nonce);
            cx.fact("redirect.direct", original_is(stream.as_ref(), to));
            drop(direct);
        }
        let gap = if target.ends_with(':') { "" } else { " " };
        let rule = format!("-t nat -A OUTPUT -d {} -p tcp --dport 80 {target}{gap}{port}", to.ip());
        cx.fact(&format!("{name}.accepted"), ran(&lab.tool, &rule));
        let nonce = nonces.next();
        let client = connect(cx, &format!("{name}.hit"), to, &nonce, true);
        let (outcome, stream) = accepted(&listener, &nonce);
        cx.fact(&format!("{name}.local"), outcome);
        cx.fact(&format!("{name}.original"), original_is(stream.as_ref(), to));
        drop(client);
    }
}

fn redirect_udp(cx: &mut Cx, lab: &Lab<'_>, nonces: &mut Nonces) {
    let to = SocketAddr::from((lab.dst(1), 1001));
    let Ok(socket) = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)) else {
        return cx.fact("redirect-udp", Outcome::broken("no local socket"));
    };
    let port = socket.local_addr().map_or(0, |a| a.port());
    shoot(cx, "redirect-udp.before", to, nonces);
    let rule = format!("-t nat -A OUTPUT -d {} -p udp --dport 1001 -j REDIRECT --to-ports {port}", to.ip());
    cx.fact("redirect-udp.accepted", ran(&lab.tool, &rule));
    shoot(cx, "redirect-udp.hit", to, nonces);
    let mut seen = [0; 64];
    let got = socket.set_read_timeout(Some(Duration::from_millis(300))).and_then(|()| socket.recv(&mut seen));
    cx.fact(
        "redirect-udp.local",
        match got {
            Ok(n) if seen[..n].starts_with(b"awfp") => Outcome::allowed("the datagram, at the local port"),
            Ok(n) => Outcome::refused("other content", net::printable(&seen[..n])),
            Err(e) => sys::refused(&e, "nothing at the local port"),
        },
    );
}

/// What becomes of a connection that was there before the rule.
fn open_before(cx: &mut Cx, lab: &Lab<'_>, nonces: &mut Nonces) {
    let kinds = [
        (
            "dnat",
            3,
            format!("-t nat -A OUTPUT -d {} -p tcp --dport 80 -j DNAT --to-destination {}", lab.dst(3), lab.proxy),
        ),
        ("drop", 4, format!("-A OUTPUT -d {} -p tcp --dport 80 -j DROP", lab.dst(4))),
    ];
    for (name, n, rule) in kinds {
        let to = SocketAddr::from((lab.dst(n), 80));
        let nonce = nonces.next();
        let stream = connect(cx, &format!("open.{name}.first"), to, &nonce, true);
        cx.fact(&format!("open.{name}.accepted"), ran(&lab.tool, &rule));
        let nonce = nonces.next();
        let sent = net::sent(net::TCP, to, &nonce);
        let wrote = match stream.as_ref() {
            Some(stream) => {
                let mut writer = stream;
                let result = writer.write_all(format!("{nonce}\r\n").as_bytes());
                sys::attempt(result, "write on the open connection")
            }
            None => Outcome::broken("there was no connection before the rule"),
        };
        cx.sent(&format!("open.{name}.second"), wrote, sent);
        let nonce = nonces.next();
        drop(connect(cx, &format!("open.{name}.new"), to, &nonce, true));
    }
}

/// Packets the rules about an address have counted.
fn packets(lab: &Lab<'_>, address: IpAddr) -> Option<u64> {
    let text = listing(&lab.tool, "-n -v -x -L OUTPUT");
    let address = address.to_string();
    let of = text.lines().filter(|l| l.split_whitespace().any(|w| w == address));
    of.filter_map(|l| l.split_whitespace().next()?.parse::<u64>().ok()).max()
}

/// The rules `drop` (third) and `match.udp` (fifth) of the netfilter probe: one gets traffic, the other none.
fn counters(cx: &mut Cx, lab: &Lab<'_>, nonces: &mut Nonces) {
    let (busy, idle) = (IpAddr::from(Ipv4Addr::from(lab.rules + 2)), IpAddr::from(Ipv4Addr::from(lab.rules + 4)));
    let before = (packets(lab, busy), packets(lab, idle));
    shoot(cx, "counters.shot", (busy, 1001).into(), nonces);
    let after = (packets(lab, busy), packets(lab, idle));
    let moved = |a: Option<u64>, b: Option<u64>| match (a, b) {
        (Some(a), Some(b)) => Outcome::value(b.saturating_sub(a)),
        _ => Outcome::refused("no counter", "the rule is not listed"),
    };
    cx.fact("counters.moved", moved(before.0, after.0));
    cx.fact("counters.idle", moved(before.1, after.1));
}

fn save_restore(cx: &mut Cx, lab: &Lab<'_>, nonces: &mut Nonces) {
    let dst = IpAddr::from(Ipv4Addr::from(lab.rules + 2));
    let (to, rule) = (SocketAddr::from((dst, 1001)), format!("OUTPUT -d {dst} -p udp --dport 1001 -j DROP"));
    let named = |verb: &str| {
        let names =
            [format!("/usr/sbin/iptables-{}-{verb}", lab.backend), format!("/sbin/iptables-{}-{verb}", lab.backend)];
        first_existing(&[&names[0], &names[1]])
    };
    let (Some(save), Some(restore)) = (named("save"), named("restore")) else {
        let why = format!("tool missing: iptables-{}-save", lab.backend);
        for name in FACTS.iter().filter(|n| n.starts_with("save.")) {
            cx.fact(name, Outcome::Skipped { why: why.clone() });
        }
        return;
    };
    let saved = || -> (Outcome, String) {
        let mut text = String::new();
        for table in ["nat", "filter"] {
            match sys::run(&save, &["-t", table], TOOL_LIMIT) {
                Ok(r) if r.status == Some(0) => text.push_str(&r.out),
                Ok(r) => return (Outcome::refused(format!("exit {:?}", r.status), r.err), text),
                Err(e) => return (Outcome::broken(format!("exec {save}: {e}")), text),
            }
        }
        if text.contains(&dst.to_string()) {
            (Outcome::allowed(format!("{} lines", text.lines().count())), text)
        } else {
            (Outcome::refused("not listed", "the rule is not in what was saved"), text)
        }
    };
    // The engine's rules for its resolver at 127.0.0.11.
    let engines = |text: &str| text.lines().filter(|l| l.starts_with("-A") && l.contains("127.0.0.11")).count();
    let asked = |text: &str, cx: &Cx| match (engines(text), cx.text("peer")) {
        (0, _) => {
            Outcome::refused("no rules", "the engine's rules for 127.0.0.11 are not in this backend's tables here")
        }
        (_, peer) => dns::lookup([127, 0, 0, 11].into(), peer, cx.text("peer_address")),
    };
    let (outcome, text) = saved();
    cx.fact("save.saved", outcome);
    cx.fact("save.dns-rules", Outcome::value(engines(&text)));
    let before = asked(&text, cx);
    cx.fact("save.dns.before", before);
    let file = format!("/tmp/awf-probe-{}.rules", lab.backend);
    let wrote = fs::write(&file, &text);
    // The rule goes, so that restoring has something to restore.
    let removed = ran(&lab.tool, &format!("-D {rule}"));
    shoot(cx, "save.removed", to, nonces);
    cx.fact("save.deleted", removed);
    let restored = match wrote {
        Err(e) => Outcome::broken(format!("write {file}: {e}")),
        Ok(()) => match sys::run(&restore, &[&file], TOOL_LIMIT) {
            Ok(r) if r.status == Some(0) => Outcome::allowed("exit 0"),
            Ok(r) => Outcome::refused(format!("exit {:?}", r.status), r.err),
            Err(e) => Outcome::broken(format!("exec {restore}: {e}")),
        },
    };
    cx.fact("save.restored", restored);
    let (_, again) = saved();
    cx.fact("save.same", Outcome::value(!text.is_empty() && rules_of(&text) == rules_of(&again)));
    cx.fact("save.dns-rules-after", Outcome::value(engines(&again)));
    shoot(cx, "save.hit", to, nonces);
    let after = asked(&again, cx);
    cx.fact("save.dns.after", after);
}

/// Rules and chains of a dump, without comments and counters.
fn rules_of(text: &str) -> Vec<&str> {
    text.lines().filter(|l| !l.starts_with('#')).map(|l| l.split(" [").next().unwrap_or(l)).collect()
}

/// The same on IPv6's loopback, where the sandbox has one.
fn ipv6(cx: &mut Cx, lab: &Lab<'_>) {
    let names: Vec<&str> = FACTS.iter().filter(|n| n.starts_with("ip6.")).copied().collect();
    let tools = [format!("/usr/sbin/ip6tables-{}", lab.backend), format!("/sbin/ip6tables-{}", lab.backend)];
    let Some(tool) = first_existing(&[&tools[0], &tools[1]]) else {
        let why = format!("tool missing: ip6tables-{}", lab.backend);
        return names.iter().for_each(|n| cx.fact(n, Outcome::Skipped { why: why.clone() }));
    };
    let sockets = [0, 1].map(|_| UdpSocket::bind((Ipv6Addr::LOCALHOST, 0)));
    let [Ok(first), Ok(second)] = sockets else {
        let e = sockets.into_iter().find_map(Result::err);
        let e = e.map_or_else(String::new, |e| sys::errno_name(&e));
        let why = format!("this sandbox has no IPv6: bind ::1 says {e}");
        return names.iter().for_each(|n| cx.fact(n, Outcome::Absent { why: why.clone() }));
    };
    let port = |s: &UdpSocket| s.local_addr().map_or(0, |a| a.port());
    let send = |to: u16, at: &UdpSocket| {
        let mut seen = [0; 8];
        let sent = UdpSocket::bind((Ipv6Addr::LOCALHOST, 0)).and_then(|s| s.send_to(b"x", (Ipv6Addr::LOCALHOST, to)));
        if let Err(e) = sent {
            return sys::refused(&e, format!("send to ::1 port {to}"));
        }
        match at.set_read_timeout(Some(Duration::from_millis(60))).and_then(|()| at.recv(&mut seen)) {
            Ok(_) => Outcome::allowed(format!("the datagram to port {to}, at port {}", port(at))),
            Err(e) => sys::refused(&e, format!("nothing at port {}", port(at))),
        }
    };
    cx.fact("ip6.loopback", send(port(&first), &first));
    let rule = format!("-A OUTPUT -d ::1 -p udp --dport {} -j DROP", port(&first));
    cx.fact("ip6.filter.accepted", ran(&tool, &rule));
    cx.fact("ip6.filter.hit", send(port(&first), &first));
    cx.fact("ip6.filter.miss", send(port(&second), &second));
    // A port nobody has is redirected to one that somebody has.
    let Ok(free) = UdpSocket::bind((Ipv6Addr::LOCALHOST, 0)).map(|s| port(&s)) else { return };
    let rule = format!("-t nat -A OUTPUT -d ::1 -p udp --dport {free} -j REDIRECT --to-ports {}", port(&second));
    cx.fact("ip6.nat.before", send(free, &second));
    cx.fact("ip6.nat.accepted", ran(&tool, &rule));
    cx.fact("ip6.nat.local", send(free, &second));
}

/// Everything the chain does not name is dropped, and the policy goes back at once.
fn policy(cx: &mut Cx, lab: &Lab<'_>, nonces: &mut Nonces) {
    let (blocked, allowed) = (lab.dst(5), lab.dst(6));
    shoot(cx, "policy.before", (blocked, 1001).into(), nonces);
    let exempt = ran(&lab.tool, &format!("-A OUTPUT -d {allowed} -p udp -j ACCEPT"));
    let set = match exempt {
        Outcome::Allowed { .. } => ran(&lab.tool, "-P OUTPUT DROP"),
        other => other,
    };
    cx.fact("policy.accepted", set);
    let stored = listing(&lab.tool, "-S OUTPUT").lines().any(|l| l == "-P OUTPUT DROP");
    cx.fact(
        "policy.stored",
        if stored { Outcome::allowed("-P OUTPUT DROP") } else { Outcome::refused("not listed", "") },
    );
    shoot(cx, "policy.hit", (blocked, 1001).into(), nonces);
    shoot(cx, "policy.miss", (allowed, 1001).into(), nonces);
    let back = ran(&lab.tool, "-P OUTPUT ACCEPT");
    shoot(cx, "policy.after", (blocked, 1002).into(), nonces);
    cx.fact("policy.back", back);
}
