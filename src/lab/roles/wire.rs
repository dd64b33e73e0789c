//! What the harness and the lab's roles say to each other: JSON Lines over the container's stdin and stdout.
//!
//! A role answers every [`Ask`] with exactly one [`Say::Done`] or [`Say::Failed`] carrying the same `seq`, and
//! reports what it sees in between, unasked. End of file on stdin means: undo everything and exit.

use std::net::{IpAddr, Ipv6Addr};

use serde::{Deserialize, Serialize};

/// One request to a role.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Request {
    /// Echoed in the answer.
    pub seq: u64,
    /// What is asked.
    pub ask: Ask,
}

/// A subnet written as `address/prefix`.
pub type Cidr = String;

/// What can be asked of a role. Each role answers the ones its comment names and fails the others.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "kebab-case")]
pub enum Ask {
    /// Helper. Choose ranges that overlap no address, route, neighbour, rule or resolver of the host.
    /// `document` and `lab` are candidates in order of preference; `lab_count` lab subnets are wanted.
    ChooseRanges {
        /// Candidate documentation ranges; the first free one is taken.
        document: Vec<Cidr>,
        /// Candidate lab subnets.
        lab: Vec<Cidr>,
        /// How many lab subnets are wanted.
        lab_count: usize,
    },
    /// Helper. Everything the host's network configuration consists of, one normalized line each: links,
    /// addresses, routes of every table, rules, neighbours marked permanent, and the sysctls a run could change.
    Snapshot,
    /// Helper. Make the veth pair `link` (host) / `peer`, give the peer to the network namespace of `pid`.
    Link {
        /// Name of the host's end.
        link: String,
        /// Name of the witness's end.
        peer: String,
        /// The witness's pid in the host's pid namespace.
        pid: i32,
        /// The bridge of the run whose port the host's end becomes; `None`: it is a link of its own, and routes.
        bridge: Option<String>,
        /// Subnets of which the host must know nothing; else no link is made.
        unknown: Vec<Cidr>,
    },
    /// Helper. The policy route of the run's bridges: rules, a table with a default route through the
    /// witness, a blackhole behind it and a `throw` for each lab subnet.
    Routes {
        /// The host's end of the witness's link.
        link: String,
        /// Next hop: the witness's own address on the link.
        via: IpAddr,
        /// The witness's hardware address, for a permanent neighbour entry.
        via_mac: String,
        /// Number of the run's routing table.
        table: u32,
        /// The documentation range in use (for the reverse path).
        document: Cidr,
        /// The run's bridges: interface name and subnet.
        bridges: Vec<(String, Cidr)>,
        /// Leave the route through the witness out: everything ends in the blackhole.
        dead_end: bool,
    },
    /// Helper. Ask the kernel where a packet would go (RTM_GETROUTE with source and incoming interface).
    Preflight {
        /// `(iif, from, to)`.
        checks: Vec<(String, IpAddr, IpAddr)>,
        /// The only output interface that is right.
        link: String,
    },
    /// Helper: watch every interface for frames of the lab's subnets. Packets on `lab_links` (the witness's
    /// link, the run's bridges and their ports, found by their master) are the tap; packets anywhere else
    /// are the tripwire and reported as [`Say::Tripwire`].
    Tap {
        /// The lab's subnets: only packets from these are looked at.
        subnets: Vec<Cidr>,
        /// Links of the lab: the witness's link and the run's bridges. Ports of the bridges belong to it.
        lab_links: Vec<String>,
    },
    /// Helper. Send one UDP datagram `nonce` to `to:port` through `link` from each CPU.
    Markers {
        /// The host's end of the witness's link.
        link: String,
        /// Hardware address of the witness's end.
        mac: String,
        /// Source address to write into the packet (inside the documentation range).
        from: IpAddr,
        /// The witness's link address.
        to: IpAddr,
        /// UDP port.
        port: u16,
        /// Payload; the CPU's number is appended as `.N`.
        nonce: String,
    },
    /// Helper. Slow the way to the witness down.
    Narrow {
        /// The link the helper made.
        link: String,
        /// How much it takes.
        to: Bottleneck,
    },
    /// Helper. Host tasks whose comm is exactly this.
    FindComm {
        /// At most 15 bytes.
        comm: String,
    },
    /// Helper. A process and its ancestors as the host sees them.
    Process {
        /// Host pid.
        pid: i32,
    },
    /// Helper. What the host sees of a sandbox: tasks with its comm, its processes, whether its network is its own.
    Sandbox {
        /// Host pid of its init process.
        pid: i32,
        /// The comm its first task gave itself.
        comm: String,
    },
    /// Helper. Which namespaces of a process are the host's.
    Namespaces {
        /// Host pid.
        pid: i32,
    },
    /// Helper. Which backends of iptables the host's kernel has, as [`Answer::Lines`].
    Backends,
    /// Helper. The capabilities its own shim has: a container can be given no others.
    Powers,
    /// Helper. Host processes and cgroup directories that mention any of these container ids.
    Orphans {
        /// Full container ids.
        ids: Vec<String>,
    },
    /// Helper. Memory of every host process that is there because of a container.
    Memory {
        /// Full container id.
        id: String,
    },
    /// Helper. Undo everything it made, as at the end of its input, and go on answering.
    Undo,
    /// Helper. Remove the links of runs without a helper, and the rules and routes of runs whose bridges and links are
    /// all gone. Answers with what was removed.
    Sweep,
    /// Helper. End the shim of a container that the engine cannot remove: the process `pid`, if it is a containerd
    /// shim whose command line names this container.
    EndShim {
        /// Host pid of the shim.
        pid: i32,
        /// Full container id.
        id: String,
    },
    /// Witness. Bring the link up, make the documentation range local, start servers and capture.
    Witness {
        /// Name of the link in the witness's namespace.
        link: String,
        /// The witness's own address on the link (inside the documentation range).
        address: IpAddr,
        /// The address its routes use as next hop (never answered by anyone; a neighbour entry suffices).
        gateway: IpAddr,
        /// Hardware address of the host's end.
        gateway_mac: String,
        /// The documentation range: every address in it is answered.
        document: Cidr,
        /// Where replies may go.
        lab: Vec<Cidr>,
        /// TCP ports to listen on (any address of the range). 53 is DNS, the rest speak HTTP, TLS or an echo,
        /// told apart by the first bytes.
        tcp: Vec<u16>,
        /// UDP ports to echo on. 53 is always DNS.
        udp: Vec<u16>,
        /// Names the DNS server knows: exact name or `*.suffix`, and the address it answers. Other names get NXDOMAIN.
        names: Vec<(String, IpAddr)>,
        /// Which of the packets it reports.
        hearing: Hearing,
        /// Whether its resolver answers nothing.
        mute: bool,
    },
    /// Witness. Become a router of the lab's bridge over IPv6: bring a further link up, make the documentation range
    /// local, start the servers there and capture what arrives over IPv6.
    WitnessIpv6 {
        /// Name of the link in the witness's namespace.
        link: String,
        /// The router's address.
        router: IpAddr,
        /// The bridge's subnet.
        lab: Cidr,
        /// The documentation range: every address in it is answered.
        document: Cidr,
        /// TCP ports to listen on, as for IPv4.
        tcp: Vec<u16>,
        /// UDP ports.
        udp: Vec<u16>,
    },
    /// Holder. Give the link an address and a default route over IPv6, and ask the kernel whether packets for these
    /// addresses would take it.
    Ipv6 {
        /// Name of the link in the holder's namespace.
        link: String,
        /// The address it gets.
        address: IpAddr,
        /// Its subnet.
        lab: Cidr,
        /// Next hop of the default route.
        router: IpAddr,
        /// Where packets will be sent.
        to: Vec<IpAddr>,
    },
    /// Witness. Its resolver stops answering, or answers again.
    Mute {
        /// Whether it is silent.
        silent: bool,
    },
    /// Proxy. Start proxying on `port` with the ACL, and capture on every interface.
    Proxy {
        /// `squid` or `builtin`.
        engine: String,
        /// The forward-proxy port.
        port: u16,
        /// Allowed domains; sub-domains included.
        allow: Vec<String>,
        /// The resolver the proxy uses.
        resolver: IpAddr,
    },
    /// Proxy. Kill what serves the port; `Proxy` starts it again. The capture goes on.
    StopProxy,
    /// Sidecar. Take these further addresses, listen on these ports of all of them, and capture what arrives.
    Sidecar {
        /// Addresses beyond those the engine gave it, each on the link that has its subnet.
        addresses: Vec<IpAddr>,
        /// TCP ports.
        tcp: Vec<u16>,
    },
    /// Helper. Listen on the host for the lab's agents: HTTP on a free TCP port of every address, and an abstract
    /// unix socket. Whoever is not of the lab is not answered.
    Doors {
        /// Subnets whose clients are answered.
        lab: Vec<Cidr>,
        /// Name of the abstract socket.
        name: String,
    },
    /// Helper. Listen on the host at a bridge's own link-local address, which neighbours on that bridge alone reach.
    /// Asked again, it answers the same.
    LinkDoor {
        /// The bridge.
        bridge: String,
    },
    /// Helper. AWF's chain on the host for these bridges, jumped to from DOCKER-USER.
    HostRules {
        /// The run; its rules carry it as a comment.
        run: String,
        /// The bridges.
        bridges: Vec<HostChain>,
    },
    /// Helper. Which of these bridges have learned a hardware address on one of their ports, as [`Answer::Lines`].
    Learned {
        /// The bridges.
        bridges: Vec<String>,
        /// The address.
        mac: String,
    },
    /// Helper. Connect to a TCP port of the host's 127.0.0.1 and tell what is said there, as [`Answer::Lines`].
    Knock {
        /// The port.
        port: u16,
    },
    /// Witness. Answer these paths of any host with this content, from now on. A path that has content already is
    /// continued: a large file comes in pieces.
    Serve {
        /// Path, and content in hexadecimal.
        files: Vec<(String, String)>,
    },
    /// Helper. Packets the host lost on the way to the witness since the link was made.
    Lost,
    /// Any role. The state of its capture: packets and drops since the start.
    Counters,
}

/// Which packets a witness reports: all, unless the lab is spoilt on purpose.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Hearing {
    /// All of them.
    #[default]
    All,
    /// None.
    Nothing,
    /// The harness's own markers alone.
    Markers,
    /// The markers, and every other one of the rest.
    EveryOther,
}

/// A link that takes no more than this.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bottleneck {
    /// Bytes a second.
    pub rate: u32,
    /// Bytes that pass at once after a pause; more than a packet.
    pub burst: u32,
    /// Bytes that may wait. What comes when so many wait is lost.
    pub queue: u32,
}

/// AWF's rules on the host for one bridge.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct HostChain {
    /// The bridge.
    pub bridge: String,
    /// Its subnet.
    pub subnet: Cidr,
    /// The proxy on it.
    pub proxy: IpAddr,
    /// The proxy's port.
    pub port: u16,
    /// The approved resolver.
    pub resolver: IpAddr,
    /// Sidecars, each with the ports it may be asked on, as iptables writes them.
    pub sidecars: Vec<(IpAddr, String)>,
    /// Whether TCP to ports 80 and 443 is sent to the proxy before it is routed.
    pub redirect: bool,
}

/// One line a role writes.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "say", rename_all = "kebab-case")]
pub enum Say {
    /// The role runs; written once, first. `mac` addresses come with [`Done`](Say::Done) of `Link`.
    Ready {
        /// `helper`, `witness`, `proxy`, `sidecar` or `holder`.
        role: String,
    },
    /// An ask succeeded.
    Done {
        /// Of the request.
        seq: u64,
        /// The answer, if the ask has one.
        answer: Answer,
    },
    /// An ask failed; `why` names the object and the errno.
    Failed {
        /// Of the request.
        seq: u64,
        /// Lowercase fragment.
        why: String,
    },
    /// A packet was captured.
    Packet(Packet),
    /// A frame of the lab on an interface that is not the lab's.
    Tripwire(Packet),
    /// The DNS server answered a query.
    Dns {
        /// Who asked.
        client: IpAddr,
        /// Address the query was sent to.
        server: IpAddr,
        /// `udp` or `tcp`.
        over: String,
        /// Lower case, no trailing dot.
        name: String,
        /// `A`, `AAAA`, `TXT`, …
        kind: String,
        /// What was answered: an address, `NXDOMAIN`, `NODATA`.
        answer: String,
    },
    /// The witness's server, a sidecar's or the host's door answered an HTTP request (plain, or inside TLS).
    Http {
        /// Who asked.
        client: IpAddr,
        /// Its port.
        client_port: u16,
        /// Address asked.
        server: IpAddr,
        /// Port asked.
        port: u16,
        /// Inside TLS, with this server name (empty if none was sent).
        sni: Option<String>,
        /// Host header.
        host: String,
        /// Request target.
        path: String,
    },
    /// The proxy decided about a request.
    Decision {
        /// Who asked.
        client: IpAddr,
        /// `GET`, `CONNECT`, …
        method: String,
        /// URL or authority as it was asked for.
        target: String,
        /// HTTP status the client got.
        status: u16,
        /// `allowed`, `denied` (an ACL said no), `failed` (allowed, but the far side did not answer), or
        /// `refused` (not a request a forward proxy serves: garbage, origin-form).
        decision: String,
        /// What the engine calls it (`TCP_DENIED`, `NONE_NONE`, …).
        note: String,
    },
}

/// What an ask returns.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Answer {
    /// Nothing to say.
    Ok,
    /// Of `ChooseRanges`.
    Ranges {
        /// The chosen documentation range.
        document: Cidr,
        /// The chosen lab subnets.
        lab: Vec<Cidr>,
        /// Candidates left out, and why.
        passed_over: Vec<String>,
    },
    /// Of `Snapshot`.
    Lines {
        /// Normalized lines, sorted.
        lines: Vec<String>,
    },
    /// Of `Link`: hardware addresses of both ends.
    Macs {
        /// The host's end.
        host: String,
        /// The peer's end.
        peer: String,
    },
    /// Of `FindComm`.
    Tasks {
        /// `pid` of each task whose comm matched.
        pids: Vec<i32>,
    },
    /// Of `Process`: the process first, then its ancestors up to pid 1.
    Processes {
        /// At most 16.
        chain: Vec<Process>,
    },
    /// Of `Sandbox`.
    Sandbox {
        /// Host tasks whose comm is the sandbox's.
        tasks: usize,
        /// The init process and its ancestors.
        chain: Vec<Process>,
        /// Whether the init process is in another network namespace than the host's.
        own_network: bool,
    },
    /// Of `Namespaces`.
    Namespaces {
        /// Kind of namespace, and whether the process is in the host's.
        shared: Vec<(String, bool)>,
    },
    /// Of `Powers`.
    Powers {
        /// The permitted set.
        permitted: u64,
    },
    /// Of `Orphans`.
    Orphans {
        /// Processes whose command line or cgroup names the container.
        processes: Vec<Process>,
        /// Cgroup directories that are left.
        cgroups: Vec<String>,
    },
    /// Of `Memory`.
    Memory {
        /// Comm of each process, and its proportional set size in KiB.
        processes: Vec<(String, u64)>,
    },
    /// Of `Doors`.
    Doors {
        /// The TCP port.
        port: u16,
    },
    /// Of `LinkDoor`.
    LinkDoor {
        /// The address; none while the kernel still asks neighbours for it, or if there is none.
        address: Option<Ipv6Addr>,
        /// The TCP port.
        port: u16,
    },
    /// Of `HostRules`.
    HostRules {
        /// For each bridge why it has no rules, empty where it has.
        missing: Vec<String>,
    },
    /// Of `Proxy`.
    Proxy {
        /// `squid` or `builtin`.
        engine: String,
        /// `Squid Cache: Version 5.7`, or the harness's own version.
        version: String,
    },
    /// Of `Lost`.
    Lost {
        /// By the queue of the link to the witness.
        queue: u64,
        /// By the host's stack, on any link. More than 0 of either forbids every negative.
        backlog: u64,
    },
    /// Of `Counters`.
    Counters {
        /// Packets the capture looked at.
        packets: u64,
        /// Packets the kernel dropped because the capture was too slow. More than 0 forbids every negative.
        drops: u64,
    },
}

/// A captured packet, down to what a verdict needs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Packet {
    /// CLOCK_MONOTONIC of the kernel that captured it, nanoseconds.
    pub t_ns: u64,
    /// Interface name.
    pub link: String,
    /// `in` or `out`, as the capturing interface sees it.
    pub way: String,
    /// Network source.
    pub src: IpAddr,
    /// Network destination.
    pub dst: IpAddr,
    /// IP protocol number (1 ICMP, 6 TCP, 17 UDP, 58 ICMPv6, …).
    pub proto: u8,
    /// Source port, 0 where there is none.
    pub sport: u16,
    /// Destination port, 0 where there is none.
    pub dport: u16,
    /// TCP flags as letters (`S`, `SA`, `R`, …), empty otherwise.
    pub flags: String,
    /// The first `awfp` nonce in the payload (see `nonce` of the probes crate), empty if none.
    pub nonce: String,
    /// How many packets with this key had been seen when this line was written (1 for the first).
    pub nth: u32,
}

/// A process as the host sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Process {
    /// Host pid.
    pub pid: i32,
    /// `/proc/PID/comm`.
    pub comm: String,
    /// `/proc/PID/exe`, empty where it cannot be read.
    pub exe: String,
    /// First arguments, at most 256 bytes, separated by spaces.
    pub args: String,
    /// Whether the process holds a KVM vcpu or a /dev/kvm descriptor.
    pub kvm: bool,
}
