//! iptables inside the sandbox: each rule is installed alone for a destination of its own, and traffic before
//! and after it says what it does. Accepted, stored and effective are three facts.

use std::{
    net::{IpAddr, SocketAddr},
    os::fd::AsRawFd,
    time::Duration,
};

use awf_probe_matrix::{Outcome, Sent};

use crate::{
    Cx, Probe,
    net::{self, Nonces, TcpTry},
    pace,
    sys::{self, End, first_existing, in_child},
};

pub(crate) const PROBES: &[Probe] = &[
    Probe { id: "netfilter", about: "every rule of AWF's set, alone, by traffic", specs: &[], ask: netfilter },
    Probe {
        id: "rules.install",
        about: "a list of iptables commands, in order, up to the first refusal",
        specs: &[],
        ask: install,
    },
    Probe {
        id: "unprivileged",
        about: "a rule, inserted and looked for, without the capability for it",
        specs: &["rules-raw"],
        ask: unprivileged,
    },
];

/// A rule under test. `{dst}` is an address of its own, `{proxy}` the lab's proxy.
#[derive(Clone, Copy, Debug)]
pub struct Rule {
    /// Name; the facts are `BACKEND.NAME.before`, `.accepted`, `.stored`, `.hit`, `.miss`, `.counter`.
    pub id: &'static str,
    /// Commands, arguments separated by spaces.
    pub commands: &'static [&'static str],
    /// What `-S` must show on one line once the rule is stored.
    pub stored: &'static [&'static str],
    /// Traffic the rule is about.
    pub hit: Shot,
    /// Traffic that looks alike and that the rule is not about.
    pub miss: Shot,
}

/// A bit of traffic.
#[derive(Clone, Copy, Debug)]
pub enum Shot {
    /// A TCP connection to a port.
    Tcp(u16),
    /// A datagram to a port, three times.
    Udp(u16),
    /// One single datagram to a port.
    UdpOnce(u16),
    /// A datagram to a port as another user, three times.
    UdpAs(u32, u16),
    /// A datagram to a port from a socket with this mark, three times.
    UdpMarked(u32, u16),
}

/// The rules. The position gives a rule its own destination address: append only.
pub const RULES: &[Rule] = &[
    Rule {
        id: "dnat.tcp",
        commands: &["-t nat -A OUTPUT -d {dst} -p tcp --dport 80 -j DNAT --to-destination {proxy}"],
        stored: &["-j DNAT"],
        hit: Shot::Tcp(80),
        miss: Shot::Tcp(81),
    },
    Rule {
        id: "return-before-dnat",
        commands: &[
            "-t nat -A OUTPUT -d {dst} -p tcp --dport 81 -j RETURN",
            "-t nat -A OUTPUT -d {dst} -p tcp -j DNAT --to-destination {proxy}",
        ],
        stored: &["-j RETURN"],
        hit: Shot::Tcp(82),
        miss: Shot::Tcp(81),
    },
    Rule {
        id: "drop",
        commands: &["-A OUTPUT -d {dst} -p udp --dport 1001 -j DROP"],
        stored: &["-j DROP"],
        hit: Shot::Udp(1001),
        miss: Shot::Udp(1002),
    },
    Rule {
        id: "match.tcp",
        commands: &["-A OUTPUT -d {dst} -p tcp -m tcp --dport 81 -j DROP"],
        stored: &["--dport 81", "-j DROP"],
        hit: Shot::Tcp(81),
        miss: Shot::Tcp(82),
    },
    Rule {
        id: "match.udp",
        commands: &["-A OUTPUT -d {dst} -p udp -m udp --dport 1001:1002 -j DROP"],
        stored: &["--dport 1001:1002", "-j DROP"],
        hit: Shot::Udp(1002),
        miss: Shot::Udp(1003),
    },
    Rule {
        id: "match.multiport",
        commands: &["-A OUTPUT -d {dst} -p udp -m multiport --dports 1001,1003 -j DROP"],
        stored: &["-m multiport", "-j DROP"],
        hit: Shot::Udp(1003),
        miss: Shot::Udp(1002),
    },
    Rule {
        id: "match.limit",
        commands: &[
            "-A OUTPUT -d {dst} -p udp -m limit --limit 1/hour --limit-burst 1 -j ACCEPT",
            "-A OUTPUT -d {dst} -p udp -j DROP",
        ],
        stored: &["-m limit"],
        // The first datagram spends the burst, so the one that must pass is fired first.
        hit: Shot::UdpOnce(1002),
        miss: Shot::UdpOnce(1001),
    },
    Rule {
        id: "match.owner",
        commands: &["-A OUTPUT -d {dst} -p udp -m owner --uid-owner 4242 -j DROP"],
        stored: &["-m owner", "-j DROP"],
        hit: Shot::UdpAs(4242, 1001),
        miss: Shot::UdpAs(4243, 1001),
    },
    Rule {
        id: "match.conntrack",
        commands: &[
            "-A OUTPUT -d {dst} -p udp --dport 1002 -m conntrack --ctstate ESTABLISHED -j DROP",
            "-A OUTPUT -d {dst} -p udp --dport 1001 -m conntrack --ctstate NEW -j DROP",
        ],
        stored: &["--ctstate NEW", "-j DROP"],
        hit: Shot::UdpOnce(1001),
        miss: Shot::UdpOnce(1002),
    },
    Rule {
        id: "target.return",
        commands: &["-A OUTPUT -d {dst} -p udp --dport 1002 -j RETURN", "-A OUTPUT -d {dst} -p udp -j DROP"],
        stored: &["-j RETURN"],
        hit: Shot::Udp(1001),
        miss: Shot::Udp(1002),
    },
    Rule {
        id: "target.log",
        commands: &["-A OUTPUT -d {dst} -p udp --dport 1001 -j LOG --log-prefix awf-probe --log-level 7 --log-uid"],
        stored: &["-j LOG", "--log-uid"],
        hit: Shot::Udp(1001),
        miss: Shot::Udp(1002),
    },
    Rule {
        id: "target.reject",
        commands: &["-A OUTPUT -d {dst} -p tcp --dport 81 -j REJECT --reject-with tcp-reset"],
        stored: &["-j REJECT"],
        hit: Shot::Tcp(81),
        miss: Shot::Tcp(82),
    },
];

/// More rules, asked only where the sandbox has AWF's own capabilities (NET_ADMIN and NET_RAW). Append only.
pub const MORE_RULES: &[Rule] = &[
    Rule {
        id: "dnat.address",
        commands: &["-t nat -A OUTPUT -d {dst} -p tcp --dport 82 -j DNAT --to-destination {host}"],
        stored: &["-j DNAT"],
        hit: Shot::Tcp(82),
        miss: Shot::Tcp(81),
    },
    // Nobody listens on 1101, so that before the rule it is refused and after it, on port 80, it is not.
    Rule {
        id: "dnat.port",
        commands: &["-t nat -A OUTPUT -d {dst} -p tcp --dport 1101 -j DNAT --to-destination :80"],
        stored: &["-j DNAT"],
        hit: Shot::Tcp(1101),
        miss: Shot::Tcp(1102),
    },
    Rule {
        id: "dnat.udp",
        commands: &["-t nat -A OUTPUT -d {dst} -p udp --dport 1001 -j DNAT --to-destination {proxy}"],
        stored: &["-j DNAT"],
        hit: Shot::Udp(1001),
        miss: Shot::Udp(1002),
    },
    // RETURN from a chain of one's own goes on behind the jump: 1001 is dropped there, 1003 in the chain.
    Rule {
        id: "user-chain",
        commands: &[
            "-N AWFP-USER",
            "-A AWFP-USER -p udp --dport 1001 -j RETURN",
            "-A AWFP-USER -p udp --dport 1003 -j DROP",
            "-A OUTPUT -d {dst} -j AWFP-USER",
            "-A OUTPUT -d {dst} -p udp --dport 1001 -j DROP",
        ],
        stored: &["-j AWFP-USER"],
        hit: Shot::Udp(1001),
        miss: Shot::Udp(1002),
    },
    Rule {
        id: "user-chain.drop",
        commands: &[
            "-N AWFP-DROP",
            "-A AWFP-DROP -p udp --dport 1002 -j RETURN",
            "-A AWFP-DROP -j DROP",
            "-A OUTPUT -d {dst} -j AWFP-DROP",
        ],
        stored: &["-j AWFP-DROP"],
        hit: Shot::Udp(1001),
        miss: Shot::Udp(1002),
    },
    Rule {
        id: "match.inverted",
        commands: &["-A OUTPUT -d {dst} -p udp ! --dport 1002 -j DROP"],
        stored: &["! --dport 1002", "-j DROP"],
        hit: Shot::Udp(1001),
        miss: Shot::Udp(1002),
    },
    Rule {
        id: "match.interface",
        commands: &[
            "-A OUTPUT -d {dst} -o lo -p udp --dport 1002 -j DROP",
            "-A OUTPUT -d {dst} -o eth+ -p udp --dport 1001 -j DROP",
        ],
        stored: &["-o eth+", "-j DROP"],
        hit: Shot::Udp(1001),
        miss: Shot::Udp(1002),
    },
    Rule {
        id: "target.mark",
        commands: &[
            "-t mangle -A OUTPUT -d {dst} -p udp --dport 1001 -j MARK --set-mark 7",
            "-A OUTPUT -d {dst} -m mark --mark 7 -j DROP",
        ],
        stored: &["--mark 0x7", "-j DROP"],
        hit: Shot::Udp(1001),
        miss: Shot::Udp(1002),
    },
    Rule {
        id: "match.mark",
        commands: &["-A OUTPUT -d {dst} -m mark --mark 9 -j DROP"],
        stored: &["--mark 0x9", "-j DROP"],
        hit: Shot::UdpMarked(9, 1001),
        miss: Shot::UdpMarked(8, 1001),
    },
    Rule {
        id: "match.addrtype",
        commands: &[
            "-A OUTPUT -d {dst} -p udp --dport 1002 -m addrtype --dst-type MULTICAST -j DROP",
            "-A OUTPUT -d {dst} -p udp --dport 1001 -m addrtype --dst-type UNICAST -j DROP",
        ],
        stored: &["-m addrtype", "-j DROP"],
        hit: Shot::Udp(1001),
        miss: Shot::Udp(1002),
    },
    Rule {
        id: "match.comment",
        commands: &["-A OUTPUT -d {dst} -p udp --dport 1001 -m comment --comment awf-probe -j DROP"],
        stored: &["--comment", "-j DROP"],
        hit: Shot::Udp(1001),
        miss: Shot::Udp(1002),
    },
    Rule {
        id: "insert",
        commands: &[
            "-A OUTPUT -d {dst} -p udp --dport 1001 -j ACCEPT",
            "-I OUTPUT 1 -d {dst} -p udp --dport 1001 -j DROP",
        ],
        stored: &["-j DROP"],
        hit: Shot::Udp(1001),
        miss: Shot::Udp(1002),
    },
    // Three datagrams of one socket: dropped packets must not make their flow an established one.
    Rule {
        id: "conntrack.after-drop",
        commands: &[
            "-A OUTPUT -d {dst} -p udp -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT",
            "-A OUTPUT -d {dst} -p udp --dport 1001 -j DROP",
        ],
        stored: &["--ctstate", "-j ACCEPT"],
        hit: Shot::Udp(1001),
        miss: Shot::Udp(1002),
    },
    // As AWF's script writes it.
    Rule {
        id: "log-and-drop",
        commands: &[
            "-A OUTPUT -d {dst} -p udp -m multiport --dports 1001,1003 -m limit --limit 5/min --limit-burst 10 -j LOG \
             --log-prefix awf-probe --log-level 4 --log-uid",
            "-A OUTPUT -d {dst} -p udp -m multiport --dports 1001,1003 -j DROP",
        ],
        stored: &["-m limit", "-j LOG"],
        hit: Shot::Udp(1003),
        miss: Shot::Udp(1002),
    },
    Rule {
        id: "reject.port",
        commands: &["-A OUTPUT -d {dst} -p tcp --dport 81 -j REJECT --reject-with icmp-port-unreachable"],
        stored: &["-j REJECT"],
        hit: Shot::Tcp(81),
        miss: Shot::Tcp(82),
    },
    Rule {
        id: "reject.host",
        commands: &["-A OUTPUT -d {dst} -p tcp --dport 81 -j REJECT --reject-with icmp-host-unreachable"],
        stored: &["-j REJECT"],
        hit: Shot::Tcp(81),
        miss: Shot::Tcp(82),
    },
    Rule {
        id: "reject.admin",
        commands: &["-A OUTPUT -d {dst} -p tcp --dport 81 -j REJECT --reject-with icmp-admin-prohibited"],
        stored: &["-j REJECT"],
        hit: Shot::Tcp(81),
        miss: Shot::Tcp(82),
    },
];

pub(crate) const TOOL_LIMIT: Duration = Duration::from_secs(10);

fn netfilter(cx: &mut Cx) {
    let backend = cx.text("backend").to_owned();
    let tool = match tool(&backend) {
        Ok(tool) => tool,
        Err(why) => return skip_all(cx, &why),
    };
    let (base, proxy) = (net::address(cx.text("base")), cx.text("proxy").to_owned());
    let Some(IpAddr::V4(base)) = base else { return cx.fact("", Outcome::broken("no base address")) };
    let more = match net::address(cx.text("more")) {
        Some(IpAddr::V4(more)) => Some(more),
        Some(IpAddr::V6(_)) | None => None,
    };
    let rules: Vec<Rule> = if more.is_some() { [RULES, MORE_RULES].concat() } else { RULES.to_vec() };
    let dst = |i: usize| {
        let (first, n) = match more {
            Some(more) if i >= RULES.len() => (more, i - RULES.len()),
            Some(_) | None => (base, i),
        };
        IpAddr::V4((u32::from(first) + n as u32).into())
    };
    let host = proxy.split(':').next().unwrap_or_default().to_owned();
    let mut nonces = Nonces::new(cx.text("seed"));

    for table in ["nat", "filter", "nosuch"] {
        let outcome = ran(&tool, &format!("-t {table} -S"));
        cx.fact(&format!("table.{table}"), outcome);
    }
    let before = rules.iter().enumerate().map(|(i, r)| (format!("{}.before", r.id), dst(i), r.hit)).collect();
    fire(cx, before, &mut nonces);
    for (i, rule) in rules.iter().enumerate() {
        let filled = |c: &&str| {
            let c = c.replace("{dst}", &dst(i).to_string());
            c.replace("{proxy}", &proxy).replace("{host}", &host)
        };
        let outcome = rule
            .commands
            .iter()
            .map(|c| ran(&tool, &filled(c)))
            .find(|o| !matches!(o, Outcome::Allowed { .. }))
            .unwrap_or_else(|| Outcome::allowed("exit 0"));
        cx.fact(&format!("{}.accepted", rule.id), outcome);
    }
    let listing = listing(&tool, "-S OUTPUT");
    for (i, rule) in rules.iter().enumerate() {
        let address = format!("{}/32", dst(i));
        let line = listing.lines().find(|l| l.contains(&address) && rule.stored.iter().all(|s| l.contains(s)));
        let outcome = line.map_or_else(|| Outcome::refused("not listed", ""), Outcome::allowed);
        cx.fact(&format!("{}.stored", rule.id), outcome);
    }
    // Misses first: a rate limit lets the first of its traffic through.
    let misses = rules.iter().enumerate().map(|(i, r)| (format!("{}.miss", r.id), dst(i), r.miss)).collect();
    fire(cx, misses, &mut nonces);
    let hits = rules.iter().enumerate().map(|(i, r)| (format!("{}.hit", r.id), dst(i), r.hit)).collect();
    fire(cx, hits, &mut nonces);
    counters(cx, &rules, &tool, dst);
}

fn counters(cx: &mut Cx, rules: &[Rule], tool: &str, dst: impl Fn(usize) -> IpAddr) {
    let counted = listing(tool, "-n -v -x -L OUTPUT");
    for (i, rule) in rules.iter().enumerate() {
        let address = dst(i).to_string();
        let packets = counted
            .lines()
            .filter(|l| l.split_whitespace().any(|w| w == address))
            .filter_map(|l| l.split_whitespace().next()?.parse::<u64>().ok())
            .max();
        if let Some(n) = packets {
            cx.fact(&format!("{}.counter", rule.id), Outcome::value(n));
        }
    }
}

/// The tool of a backend. That it is there and can be executed is asked here; what the kernel makes of it (iptables-nft
/// fails at once where there is no nf_tables) is what the probe measures.
pub(crate) fn tool(backend: &str) -> Result<String, String> {
    tool_of("iptables", backend)
}

/// The same for IPv6.
fn tool6(backend: &str) -> Result<String, String> {
    tool_of("ip6tables", backend)
}

fn tool_of(program: &str, backend: &str) -> Result<String, String> {
    let names = [format!("/usr/sbin/{program}-{backend}"), format!("/sbin/{program}-{backend}")];
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let missing = || format!("tool missing: {program}-{backend}");
    let tool = first_existing(&names).ok_or_else(missing)?;
    match sys::run(&tool, &["--version"], TOOL_LIMIT) {
        // 126 and 127: the program or its libraries cannot be loaded.
        Ok(r) if matches!(r.status, Some(126 | 127)) => Err(format!("tool missing: {tool}: {}", r.err)),
        Ok(_) => Ok(tool),
        Err(e) => Err(format!("tool missing: {tool}: {e}")),
    }
}

fn skip_all(cx: &mut Cx, why: &str) {
    let skipped = || Outcome::Skipped { why: why.to_owned() };
    for table in ["nat", "filter", "nosuch"] {
        cx.fact(&format!("table.{table}"), skipped());
    }
    let more = if cx.text("more").is_empty() { &[][..] } else { MORE_RULES };
    for rule in RULES.iter().chain(more) {
        for part in ["before", "accepted", "stored", "miss", "hit", "counter"] {
            cx.fact(&format!("{}.{part}", rule.id), skipped());
        }
    }
}

pub(crate) fn ran(tool: &str, args: &str) -> Outcome {
    // -w: another process of the sandbox may hold the lock of the legacy backend.
    let args: Vec<&str> = ["-w", "3"].into_iter().chain(args.split(' ')).collect();
    match sys::run(tool, &args, TOOL_LIMIT) {
        Ok(r) if r.status == Some(0) => Outcome::allowed("exit 0"),
        Ok(r) => match r.status {
            Some(status) => Outcome::refused(format!("exit {status}"), r.err),
            None => Outcome::broken(format!("the tool was killed: {}", r.err)),
        },
        Err(e) => Outcome::broken(format!("exec {tool}: {e}")),
    }
}

pub(crate) fn listing(tool: &str, args: &str) -> String {
    let mut text = String::new();
    for table in ["filter", "nat"] {
        let all = format!("-w 3 -t {table} {args}");
        let args: Vec<&str> = all.split(' ').collect();
        // A listing that cannot be made lists nothing; the rule then counts as not stored.
        if let Ok(r) = sys::run(tool, &args, TOOL_LIMIT) {
            text.push_str(&r.out);
        }
    }
    text
}

fn fire(cx: &mut Cx, shots: Vec<(String, IpAddr, Shot)>, nonces: &mut Nonces) {
    let none = Duration::ZERO;
    let mut names = Vec::new();
    let mut tries = Vec::new();
    for (name, dst, shot) in shots {
        let nonce = nonces.next();
        let datagram = |cx: &mut Cx, port, times| {
            let (outcome, sent) = net::udp((dst, port).into(), &nonce, nonce.as_bytes(), times, none);
            cx.sent(&name, sent_or_refused(outcome), sent);
        };
        match shot {
            Shot::Udp(port) => datagram(cx, port, 3),
            Shot::UdpOnce(port) => datagram(cx, port, 1),
            Shot::UdpAs(uid, port) => {
                let end = in_child(Duration::from_secs(5), || {
                    if sys::become_user(uid).is_err() {
                        return 1;
                    }
                    datagram(cx, port, 3);
                    0
                });
                if !matches!(end, Ok(Some(End::Exit(0)))) {
                    cx.fact(&name, Outcome::broken(format!("cannot become user {uid}: {end:?}")));
                }
            }
            Shot::UdpMarked(mark, port) => {
                let (outcome, sent) = marked((dst, port).into(), &nonce, mark);
                cx.sent(&name, outcome, sent);
            }
            Shot::Tcp(port) => {
                let hello = format!("{nonce}\r\n").into_bytes();
                match TcpTry::start((dst, port).into(), nonce.clone(), hello) {
                    Ok(t) => {
                        names.push(name);
                        tries.push(t);
                    }
                    Err((outcome, sent)) => cx.sent(&name, outcome, sent),
                }
            }
        }
    }
    // Long enough for one retransmission of a SYN.
    for (name, (outcome, sent)) in names.into_iter().zip(net::settle(tries, pace::scaled(Duration::from_millis(1200))))
    {
        cx.sent(&name, outcome, sent);
    }
}

/// A datagram, three times, from a socket with a mark.
fn marked(to: SocketAddr, nonce: &str, mark: u32) -> (Outcome, Sent) {
    let mut sent = net::sent(net::UDP, to, nonce);
    let made = net::socket(to, libc::SOCK_DGRAM, 0).and_then(|fd| {
        let len = size_of::<u32>() as libc::socklen_t;
        let p = (&raw const mark).cast();
        // SAFETY: the pointer is valid for `len` bytes.
        let r = unsafe { libc::setsockopt(fd.as_raw_fd(), libc::SOL_SOCKET, libc::SO_MARK, p, len) };
        sys::check(r.into()).map(|_| fd)
    });
    let fd = match made {
        Ok(fd) => fd,
        Err(e) => return (Outcome::broken(format!("a socket with SO_MARK: {e}")), sent),
    };
    let result = (0..3).try_for_each(|_| net::send_to(&fd, nonce.as_bytes(), to));
    sent.sport = net::local_port(&fd);
    (sys::attempt(result, format!("3 datagrams with mark {mark} to {to}")), sent)
}

/// Nobody waits for answers here: a datagram that was sent is an attempt that was made.
fn sent_or_refused(outcome: Outcome) -> Outcome {
    match outcome {
        Outcome::TimedOut { detail, .. } => Outcome::allowed(detail),
        other => other,
    }
}

/// Installs rules as an init container does: one after the other, and no further after the first refusal.
fn install(cx: &mut Cx) {
    let found = if cx.text("family") == "6" { tool6(cx.text("backend")) } else { tool(cx.text("backend")) };
    let tool = match found {
        Ok(tool) => tool,
        Err(why) => return cx.fact("", Outcome::Skipped { why }),
    };
    let rules = cx.texts("rules");
    for (i, rule) in rules.iter().enumerate() {
        let outcome = ran(&tool, rule);
        if !matches!(outcome, Outcome::Allowed { .. }) {
            let text = format!("rule {} of {}: {rule}: {outcome}", i + 1, rules.len());
            let errno = match outcome {
                Outcome::Refused { errno, .. } => errno,
                other => return cx.fact("", other),
            };
            return cx.fact("", Outcome::refused(errno, text));
        }
    }
    cx.fact("", Outcome::allowed(format!("{} rules", rules.len())));
}

/// Inserts a rule about nothing and looks whether it stands, with either backend; takes it away again.
fn unprivileged(cx: &mut Cx) {
    for backend in ["legacy", "nft"] {
        match tool(backend) {
            Err(why) => cx.fact(backend, Outcome::Skipped { why }),
            Ok(tool) => {
                let rule = "OUTPUT -p udp --dport 9 -d 203.0.113.9 -j DROP";
                cx.fact(backend, ran(&tool, &format!("-I {rule}")));
                cx.fact(&format!("{backend}.there"), ran(&tool, &format!("-C {rule}")));
                ran(&tool, &format!("-D {rule}"));
            }
        }
    }
}

/// How a shot would be found; used by tests.
#[cfg(test)]
fn ports(shot: Shot) -> (u8, u16) {
    match shot {
        Shot::Tcp(p) => (net::TCP, p),
        Shot::Udp(p) | Shot::UdpOnce(p) | Shot::UdpAs(_, p) | Shot::UdpMarked(_, p) => (net::UDP, p),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_rule_is_about_one_destination_and_tells_hit_from_miss() {
        for rule in RULES.iter().chain(MORE_RULES) {
            // Rules of a chain of its own are reached by the jump alone.
            let own = |c: &&str| c.contains("-N AWFP-") || c.contains("-A AWFP-");
            assert!(rule.commands.iter().all(|c| own(c) || c.contains("-d {dst}")), "{}", rule.id);
            let by_sender = matches!(rule.hit, Shot::UdpAs(..) | Shot::UdpMarked(..));
            assert!(by_sender || ports(rule.hit) != ports(rule.miss), "{}", rule.id);
        }
    }
}
