//! The private network in which egress is tried: helper, witness and proxy, and the routes between them.
//!
//! The route to the witness comes first, the packet second: [`Ground::build`] returns only after the kernel has
//! answered where a packet from each bridge would go.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    os::unix::net::UnixListener,
    sync::Arc,
    time::Duration,
};

use awf_probe_matrix::Leftovers;
use awf_probe_probes::pace;

use crate::{
    engine::docker::{
        Docker,
        objects::hold,
        sandbox::{Common, Start},
    },
    error::Error,
    event::Event,
    journal::Sink,
    lab::{
        role::Role,
        roles::wire::{Answer, Ask, Hearing, HostChain},
    },
    progress::note,
    sabotage::Deed,
    specs::{Net, Spec, Toolbox},
};

pub mod role;
pub mod roles;

/// Ports the witness listens on.
const TCP_PORTS: &[u16] = &[
    22, 23, 25, 53, 80, 81, 82, 110, 143, 443, 445, 853, 1433, 1521, 3000, 3306, 3389, 5432, 6379, 8080, 8443, 27017,
    27018, 28017,
];
const UDP_PORTS: &[u16] = &[443, 1001, 1002, 1003, 40_000, 40_001];
pub(crate) const MARKER_PORT: u16 = 9;
/// The proxy's port, AWF's.
pub const PROXY_PORT: u16 = 3128;
/// Last bytes of the sidecars' addresses, AWF's: API proxy, DoH proxy, CLI proxy.
pub const SIDECARS: [u8; 3] = [30, 40, 50];
/// Ports of the sidecars, AWF's.
const SIDECAR_PORTS: [u16; 6] = [10_000, 10_001, 10_002, 10_003, 10_004, 11_000];

/// Places in [`Layout::lab`]: the ordinary network.
pub const LAB: usize = 0;
/// The internal one.
pub const INTERNAL: usize = 1;
/// The one with a chain on the host.
pub const GUARDED: usize = 2;
/// The one with a chain on the host that redirects as well.
pub const REDIRECTED: usize = 3;

/// A link of a run.
fn link_name(run: &str, suffix: &str) -> String {
    format!("awfp{}{suffix}", &run[..8])
}

/// The bridge of one of a run's networks.
pub fn bridge(run: &str, net: usize) -> String {
    link_name(run, ["l", "i", "g", "r"][net])
}

/// Names and addresses of a run's lab.
#[derive(Clone, Debug)]
pub struct Layout {
    /// First address of the documentation range.
    pub document: Ipv4Addr,
    /// The documentation range.
    pub document_cidr: String,
    /// First addresses of the lab's subnets: ordinary, internal, guarded, redirected.
    pub lab: [Ipv4Addr; 4],
}

impl Layout {
    fn at(base: Ipv4Addr, n: u8) -> Ipv4Addr {
        Ipv4Addr::from(u32::from(base) + u32::from(n))
    }

    /// An address of the documentation range.
    pub fn witness(&self, n: u8) -> Ipv4Addr {
        Self::at(self.document, n)
    }

    /// The resolver that is approved.
    pub fn approved(&self) -> Ipv4Addr {
        self.witness(53)
    }

    /// An address on the lab's bridge.
    pub fn on_lab(&self, n: u8) -> Ipv4Addr {
        Self::at(self.lab[0], n)
    }

    /// An address on one of the bridges.
    pub fn on(&self, net: usize, n: u8) -> Ipv4Addr {
        Self::at(self.lab[net], n)
    }

    /// An address on the internal bridge.
    pub fn on_internal(&self, n: u8) -> Ipv4Addr {
        self.on(INTERNAL, n)
    }

    /// What allowed names resolve to.
    pub fn allowed(&self) -> Ipv4Addr {
        self.witness(10)
    }

    /// The lab's bridge over IPv6. Its third word is the lab's own, and no other run of this host has it.
    pub fn lab6(&self) -> Ipv6Addr {
        let [.., mine, _] = self.lab[LAB].octets();
        Ipv6Addr::new(0x2001, 0xdb8, 0x213, u16::from(mine), 0, 0, 0, 0)
    }

    /// The witness on it: the router.
    pub fn router6(&self) -> Ipv6Addr {
        Ipv6Addr::from(u128::from(self.lab6()) + 1)
    }

    /// The IPv6 address of an agent that has this IPv4 address on the lab's bridge.
    pub fn agent6(&self, agent: Ipv4Addr) -> Ipv6Addr {
        Ipv6Addr::from(u128::from(self.lab6()) + u128::from(agent.octets()[3]))
    }

    /// An address of the documentation range of IPv6 that the witness answers on.
    pub fn witness6(&self, phase: u16, n: u16) -> Ipv6Addr {
        Ipv6Addr::new(0x2001, 0xdb8, 0x203, 0x113, 0, 0, phase, n)
    }

    /// The proxy, as the lab's bridge sees it.
    pub fn proxy(&self) -> Ipv4Addr {
        self.on_lab(10)
    }

    /// The proxy, as the internal bridge sees it.
    pub fn proxy_internal(&self) -> Ipv4Addr {
        self.on_internal(10)
    }
}

/// A lab that stands.
#[derive(Debug)]
pub struct Lab {
    /// Addresses.
    pub layout: Layout,
    /// The host helper.
    pub helper: Arc<Role>,
    /// The witness.
    pub witness: Arc<Role>,
    pub(crate) proxy: Option<Arc<Role>>,
    /// What made the proxy serve, to be asked again after it was stopped.
    pub(crate) serving: Option<Ask>,
    sidecar: Option<Arc<Role>>,
    /// TCP port of the host's door, 0 if it could not be opened.
    pub host_port: u16,
    /// Name of the host's abstract socket.
    pub abstract_name: String,
    /// Why the guarded and the redirected network have no rules on the host; empty where they have.
    pub host_rules: [String; 2],
    /// The runtime of its own containers.
    pub reference: String,
    /// Its IPv6, or why it has none.
    pub ipv6: Result<Ipv6Link, String>,
    /// `net.ipv6.conf.all.forwarding` of the host before the run: a number, or `absent`.
    pub forwards6: String,
    link: String,
    mac: String,
    cpus: u64,
}

/// The witness's port of the lab's bridge, over which it is the bridge's router of IPv6.
#[derive(Clone, Debug)]
pub struct Ipv6Link {
    link: String,
    mac: String,
}

/// The host before the run, and the helper that looked.
#[derive(Debug)]
pub struct Ground {
    helper: Arc<Role>,
    before: Vec<String>,
    /// Addresses.
    pub layout: Layout,
    /// Holds the lab's subnets against other runs.
    #[expect(dead_code, reason = "held, not read")]
    claims: Vec<(String, UnixListener)>,
}

/// What a runtime still has of containers the engine no longer knows.
#[derive(Clone, Debug, Default)]
pub struct Remains {
    /// Shims that were ended, in words.
    pub ended: Vec<String>,
    /// What is there all the same. A question that is not answered counts: nobody can say that there is nothing.
    pub left: Vec<String>,
}

/// Looks for processes and cgroups of removed containers. A shim takes a moment to go; one that has not gone after a
/// second belongs to a start that failed and will never go, so it is ended, and the engine's containerd then removes
/// the rest.
pub async fn orphans(helper: &Role, ids: &[String]) -> Remains {
    let mut remains = Remains::default();
    if ids.is_empty() {
        return remains;
    }
    let mut wait = 20;
    while wait > 0 {
        wait -= 1;
        let (processes, cgroups) = match helper.ask(Ask::Orphans { ids: ids.to_vec() }).await {
            Ok(Answer::Orphans { processes, cgroups }) => (processes, cgroups),
            Ok(other) => {
                remains.left = vec![format!("orphans were not looked for: {other:?}")];
                return remains;
            }
            Err(e) => {
                remains.left = vec![format!("orphans were not looked for: {e}")];
                return remains;
            }
        };
        remains.left = processes.iter().map(|p| format!("process {} ({}): {}", p.pid, p.comm, p.args)).collect();
        remains.left.extend(cgroups.iter().map(|c| format!("cgroup {c}")));
        if remains.left.is_empty() {
            return remains;
        }
        if wait == 0 && remains.ended.is_empty() {
            for shim in processes.iter().filter(|p| p.comm.starts_with("containerd-shim")) {
                let Some(id) = ids.iter().find(|id| shim.args.contains(id.as_str())) else { continue };
                let said = helper.ask(Ask::EndShim { pid: shim.pid, id: id.clone() }).await;
                let what = format!("shim {} of container {}, left by a start that failed", shim.pid, &id[..12]);
                remains
                    .ended
                    .push(said.map_or_else(|e| format!("{what}: not ended: {e}"), |_| format!("ended the {what}")));
                wait = 100;
            }
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    remains
}

/// Removes what dead runs left on the host: rules and routes, and what a runtime still has of their containers. Returns
/// what was removed.
pub async fn sweep(
    docker: &Docker,
    common: &Common,
    runtime: &str,
    dead: &[String],
    sink: &Sink,
) -> Result<Vec<String>, Error> {
    let helper = start_helper(docker, common, runtime, true, sink).await?;
    let removed = helper.ask(Ask::Sweep).await.and_then(lines);
    let remains = orphans(&helper, dead).await;
    helper.close().await;
    docker.remove(&helper.id).await?;
    if !remains.left.is_empty() {
        return Err(Error::Leftovers { what: remains.left.join("; ") });
    }
    removed.map(|mut all| {
        all.extend(remains.ended);
        all
    })
}

/// Starts the helper, looks at the host, chooses ranges. Nothing is changed yet.
///
/// `dead` are containers of earlier runs that were removed just now. Without `tools` the helper has no iptables: an engine
/// on another machine may not have the folders to mount.
pub async fn survey(
    docker: &Docker,
    common: &Common,
    runtime: &str,
    tools: bool,
    dead: &[String],
    sink: &Sink,
) -> Result<Ground, Error> {
    let helper = Arc::new(start_helper(docker, common, runtime, tools, sink).await?);
    let remains = orphans(&helper, dead).await;
    for what in remains.ended.iter().chain(&remains.left) {
        note(&format!("of an earlier run: {what}"));
    }
    for removed in lines(helper.ask(Ask::Sweep).await?)? {
        note(&format!("removed what an earlier run left: {removed}"));
    }
    let before = lines(helper.ask(Ask::Snapshot).await?)?;
    let seed = u32::from_str_radix(common.run.get(..4).unwrap_or("0"), 16).unwrap_or(0);
    // Another run that has looked at the host and has not made its networks yet must not choose the same ones.
    let mut claims: Vec<(String, UnixListener)> =
        (0..60).map(|i| format!("10.213.{}.0/24", (seed + i * 7) % 250)).filter_map(claim).take(CLAIMS).collect();
    let lab = claims.iter().map(|(subnet, _)| subnet.clone()).collect();
    let ask = Ask::ChooseRanges {
        // 192.0.2.0/24 is left out: it is in use as an uplink on some machines.
        document: vec!["203.0.113.0/24".to_owned(), "198.51.100.0/24".to_owned()],
        lab,
        lab_count: 4,
    };
    let Answer::Ranges { document, lab, .. } = helper.ask(ask).await? else {
        return Err(Error::Bug("the helper chose no ranges".to_owned()));
    };
    let base = |cidr: &str| cidr.split('/').next().and_then(|a| a.parse::<Ipv4Addr>().ok());
    match (base(&document), lab.iter().filter_map(|l| base(l)).collect::<Vec<_>>().as_slice()) {
        (Some(d), [a, b, c, e]) => {
            let layout = Layout { document: d, document_cidr: document, lab: [*a, *b, *c, *e] };
            claims.retain(|(subnet, _)| lab.contains(subnet));
            Ok(Ground { helper, before, layout, claims })
        }
        _ => Err(Error::Lab { why: format!("no free ranges: {document}, {lab:?}") }),
    }
}

/// Subnets that are held while four of them are chosen: the host may use some.
const CLAIMS: usize = 16;

/// Takes a subnet for this run.
fn claim(subnet: String) -> Option<(String, UnixListener)> {
    hold(&format!("subnet/{subnet}")).map(|held| (subnet, held))
}

async fn start_helper(
    docker: &Docker,
    common: &Common,
    runtime: &str,
    tools: bool,
    sink: &Sink,
) -> Result<Role, Error> {
    let spec = Spec {
        net: Net::Host,
        toolbox: if tools { Toolbox::Root } else { Toolbox::None },
        cap_drop: vec!["ALL"],
        cap_add: vec!["NET_ADMIN", "NET_RAW", "SYS_PTRACE"],
        ..Spec::plain("helper")
    };
    let args = ["role", "helper", &common.run];
    let how = Start { runtime, args: &args, role: "helper", host_pid: true, also: vec![], aliases: vec![] };
    Role::start(docker, common, &spec, how, sink).await
}

impl Ground {
    /// Builds the lab on it.
    pub async fn build(
        &self,
        docker: &Docker,
        common: &Common,
        runtime: &str,
        cpus: u64,
        squid: bool,
        sink: &Sink,
    ) -> Result<Lab, Error> {
        let layout = self.layout.clone();
        let deed = common.deed();
        let subnets: Vec<String> = layout.lab.iter().map(|b| format!("{b}/24")).collect();
        let names = |s: &str| link_name(&common.run, s);
        let (link, peer) = (names("w"), names("p"));
        let bridges: Vec<(String, String)> = [LAB, INTERNAL, GUARDED, REDIRECTED]
            .map(|net| bridge(&common.run, net))
            .into_iter()
            .zip(subnets.clone())
            .collect();
        let networks = [&common.lab, &common.internal, &common.guarded[0], &common.guarded[1]];
        let mut witness_spec = Spec { cap_add: vec!["NET_ADMIN", "NET_RAW"], ..Spec::plain("witness") };
        if self.has_ipv6(common).is_ok() {
            witness_spec.extra.sysctls = IPV6_ON.to_vec();
        }
        let how = Start {
            runtime,
            args: &["role", "witness"],
            role: "witness",
            host_pid: false,
            also: vec![],
            aliases: vec![],
        };
        let (networks, witness) = tokio::join!(
            async {
                let made = bridges.iter().zip(networks).enumerate().map(|(n, ((bridge, subnet), name))| {
                    docker.make_network(&common.run, name, subnet, bridge, n == INTERNAL)
                });
                futures_util::future::try_join_all(made).await
            },
            Role::start(docker, common, &witness_spec, how, sink)
        );
        networks?;
        let witness = Arc::new(witness?);
        let pid = docker.ended(&witness.id).await?.pid.and_then(|p| i32::try_from(p).ok()).unwrap_or(0);
        let ask = Ask::Link { link: link.clone(), peer: peer.clone(), pid, bridge: None, unknown: vec![] };
        let Answer::Macs { host, peer: mac } = self.helper.ask(ask).await? else {
            return Err(Error::Bug("the helper told no hardware addresses".to_owned()));
        };
        let address = layout.witness(1);
        let (allowed, denied) = (IpAddr::from(layout.allowed()), IpAddr::from(layout.witness(240)));
        let loopback = IpAddr::from(Ipv4Addr::LOCALHOST);
        witness
            .ask(Ask::Witness {
                link: peer,
                address: address.into(),
                gateway: layout.witness(2).into(),
                gateway_mac: host,
                document: layout.document_cidr.clone(),
                lab: subnets.clone(),
                tcp: TCP_PORTS.to_vec(),
                udp: UDP_PORTS.to_vec(),
                names: vec![
                    ("*.allowed.awf-probe.test".to_owned(), allowed),
                    ("allowed.awf-probe.test".to_owned(), allowed),
                    // An allowed name whose owner lets it resolve to the proxy itself.
                    ("*.private.allowed.awf-probe.test".to_owned(), loopback),
                    // Another address than the allowed ones': a packet to it is a way past the list.
                    ("*.denied.awf-probe.test".to_owned(), denied),
                    ("*.exfil.awf-probe.test".to_owned(), layout.witness(241).into()),
                ],
                hearing: match deed {
                    Some(Deed::Witness(hearing)) => hearing,
                    _ => Hearing::All,
                },
                mute: matches!(deed, Some(Deed::ResolverMute)),
            })
            .await?;
        let table = table(&common.run);
        self.helper
            .ask(Ask::Routes {
                link: link.clone(),
                via: address.into(),
                via_mac: mac.clone(),
                table,
                document: layout.document_cidr.clone(),
                bridges: bridges.clone(),
                dead_end: matches!(deed, Some(Deed::NoRoute)),
            })
            .await?;
        self.preflight(&layout, &bridges, &link).await?;
        let mut lab_links = vec![link.clone()];
        lab_links.extend(bridges.iter().map(|(b, _)| b.clone()));
        let ipv6 = self.has_ipv6(common);
        let mut watched = subnets.clone();
        watched.extend(ipv6.is_ok().then(|| cidr6(layout.lab6())));
        self.helper.ask(Ask::Tap { subnets: watched, lab_links }).await?;
        // What stands on the lab's bridge is watched before it can send.
        let ipv6 = match ipv6 {
            Ok(()) => self.ipv6(common, &layout, &witness, pid).await,
            Err(why) => Err(why),
        };
        let host_rules = self.host_rules(common, &layout, &bridges).await?;
        let (host_port, abstract_name) = self.doors(common, &subnets).await;
        let mut lab = Lab {
            layout,
            helper: Arc::clone(&self.helper),
            witness,
            proxy: None,
            serving: None,
            sidecar: None,
            host_port,
            abstract_name,
            host_rules,
            reference: runtime.to_owned(),
            ipv6,
            forwards6: self.forwards6().to_owned(),
            link,
            mac,
            cpus,
        };
        let (sidecar, proxy) = tokio::join!(
            lab.start_sidecar(docker, common, runtime, sink),
            lab.start_proxy(docker, common, runtime, squid, sink)
        );
        let (proxy, serving) = proxy?;
        (lab.sidecar, lab.proxy, lab.serving) = (Some(sidecar?), Some(proxy), Some(serving));
        if let Some(Deed::Wire(to) | Deed::WireAndRules(to, _)) = deed {
            // Not before the lab stands: what is tried is the agents' way, not the lab's own start.
            self.helper.ask(Ask::Narrow { link: lab.link.clone(), to }).await?;
        }
        if let (Some(Deed::ProxyDies), Some(proxy)) = (deed, &lab.proxy) {
            docker.kill(&proxy.id, "KILL").await.map_err(|no| Error::Lab { why: no.why })?;
        }
        Ok(lab)
    }

    /// What the host forwards over IPv6, as the snapshot before the run has it.
    fn forwards6(&self) -> &str {
        let mine = self.before.iter().find_map(|l| l.strip_prefix("sysctl net.ipv6.conf.all.forwarding = "));
        mine.unwrap_or("absent")
    }

    /// Whether the lab is to have IPv6 and the host's kernel does.
    fn has_ipv6(&self, common: &Common) -> Result<(), String> {
        match (common.ipv6, self.forwards6()) {
            (false, _) => Err("nobody asked for it".to_owned()),
            (true, "absent") => Err("the host's kernel has no IPv6".to_owned()),
            (true, _) => Ok(()),
        }
    }

    /// Makes the witness the router of IPv6 on the lab's bridge. No sysctl of the host is changed and nothing is routed
    /// by it: the bridge carries frames between its ports, and the witness is one of them.
    async fn ipv6(&self, common: &Common, layout: &Layout, witness: &Role, pid: i32) -> Result<Ipv6Link, String> {
        let (link, peer) = (link_name(&common.run, "6"), link_name(&common.run, "q"));
        let (lab, document) = (cidr6(layout.lab6()), cidr6(layout.witness6(0, 0)));
        let ask = Ask::Link {
            link: link.clone(),
            peer: peer.clone(),
            pid,
            bridge: Some(bridge(&common.run, LAB)),
            unknown: vec![lab.clone(), document.clone()],
        };
        let mac = match self.helper.ask(ask).await.map_err(|e| e.to_string())? {
            Answer::Macs { peer, .. } => peer,
            other => return Err(format!("the helper answered {other:?}")),
        };
        let router = layout.router6().into();
        let (tcp, udp) = (TCP_PORTS.to_vec(), UDP_PORTS.to_vec());
        witness
            .ask(Ask::WitnessIpv6 { link: peer, router, lab, document, tcp, udp })
            .await
            .map_err(|e| e.to_string())?;
        Ok(Ipv6Link { link, mac })
    }

    /// AWF's chain for the guarded networks. Why one has none is no error: its models are skipped, with the reason.
    async fn host_rules(
        &self,
        common: &Common,
        layout: &Layout,
        bridges: &[(String, String)],
    ) -> Result<[String; 2], Error> {
        let chain = |net: usize| HostChain {
            bridge: bridges[net].0.clone(),
            subnet: bridges[net].1.clone(),
            proxy: layout.on(net, 10).into(),
            port: PROXY_PORT,
            resolver: layout.approved().into(),
            sidecars: vec![
                (layout.on(net, SIDECARS[0]).into(), "10000:10004".to_owned()),
                (layout.on(net, SIDECARS[1]).into(), "53".to_owned()),
                (layout.on(net, SIDECARS[2]).into(), "11000".to_owned()),
            ],
            redirect: net == REDIRECTED,
        };
        let ask = Ask::HostRules { run: common.run.clone(), bridges: vec![chain(GUARDED), chain(REDIRECTED)] };
        match self.helper.ask(ask).await? {
            Answer::HostRules { missing } => match missing.as_slice() {
                [a, b] => Ok([a.clone(), b.clone()]),
                _ => Err(Error::Bug("the helper answered for other bridges".to_owned())),
            },
            _ => Err(Error::Bug("the helper did not say what it made".to_owned())),
        }
    }

    /// Listeners of the run on the host. Without them the attempts that need them are skipped.
    async fn doors(&self, common: &Common, subnets: &[String]) -> (u16, String) {
        let name = format!("awf-probe-{}", common.run);
        match self.helper.ask(Ask::Doors { lab: subnets.to_vec(), name: name.clone() }).await {
            Ok(Answer::Doors { port }) => (port, name),
            Ok(_) => (0, String::new()),
            Err(e) => {
                note(&format!("the host's listeners could not be started: {e}"));
                (0, String::new())
            }
        }
    }

    /// Where would a packet go? Asked for addresses of the plan and for one no plan has.
    async fn preflight(&self, layout: &Layout, bridges: &[(String, String)], link: &str) -> Result<(), Error> {
        let outside = IpAddr::from([198, 18, 0, 1]);
        let mut checks = Vec::new();
        for (net, (bridge, _)) in bridges.iter().enumerate() {
            let agent = layout.on(net, 20);
            for to in [layout.witness(10).into(), layout.witness(53).into(), layout.witness(100).into(), outside] {
                checks.push((bridge.clone(), agent.into(), to));
            }
        }
        let ask = Ask::Preflight { checks, link: link.to_owned() };
        self.helper.ask(ask).await.map(drop).map_err(|e| Error::Lab {
            why: format!("the route to the witness is not in place, so no packet is sent: {e}"),
        })
    }

    /// The host helper.
    pub fn helper(&self) -> Arc<Role> {
        Arc::clone(&self.helper)
    }

    /// The helper, whose end of input undoes what it made.
    pub async fn close(&self) {
        self.helper.close().await;
    }

    /// How the host differs from before. To be called after everything else was removed; undoes what the helper made.
    pub async fn leftovers(&self, common: &Common) -> Result<Leftovers, Error> {
        self.helper.ask(Ask::Undo).await?;
        let after = lines(self.helper.ask(Ask::Snapshot).await?)?;
        // Another run may use the same documentation range at the same time, but neither table nor subnets.
        let mut marks = vec![common.run.clone(), format!("table {} ", table(&common.run))];
        marks.extend(self.layout.lab.iter().map(|base| base.to_string().trim_end_matches(".0").to_owned() + "."));
        let appeared = after.iter().filter(|l| !self.before.contains(l)).map(|l| format!("+ {l}"));
        let gone = self.before.iter().filter(|l| !after.contains(l)).map(|l| format!("- {l}"));
        let (ours, others) = appeared.chain(gone).partition(|l| marks.iter().any(|m| l.contains(m)));
        Ok(Leftovers { ours, others, checked: true })
    }
}

impl Lab {
    /// The other networks, and the address with this last byte on each.
    fn also(&self, common: &Common, n: u8) -> Vec<(String, IpAddr)> {
        let names = [(INTERNAL, &common.internal), (GUARDED, &common.guarded[0]), (REDIRECTED, &common.guarded[1])];
        names.map(|(net, name)| (name.clone(), self.layout.on(net, n).into())).into()
    }

    async fn start_sidecar(
        &self,
        docker: &Docker,
        common: &Common,
        runtime: &str,
        sink: &Sink,
    ) -> Result<Arc<Role>, Error> {
        let [first, others @ ..] = SIDECARS;
        let spec =
            Spec { net: Net::Lab(self.layout.on_lab(first)), cap_add: vec!["NET_ADMIN"], ..Spec::plain("sidecar") };
        let how = Start {
            runtime,
            args: &["role", "sidecar"],
            role: "sidecar",
            host_pid: false,
            also: self.also(common, first),
            aliases: vec![],
        };
        let sidecar = Arc::new(Role::start(docker, common, &spec, how, sink).await?);
        let nets = [LAB, INTERNAL, GUARDED, REDIRECTED];
        let addresses = nets.iter().flat_map(|net| others.map(|n| IpAddr::from(self.layout.on(*net, n)))).collect();
        sidecar.ask(Ask::Sidecar { addresses, tcp: SIDECAR_PORTS.to_vec() }).await?;
        Ok(sidecar)
    }

    async fn start_proxy(
        &self,
        docker: &Docker,
        common: &Common,
        runtime: &str,
        squid: bool,
        sink: &Sink,
    ) -> Result<(Arc<Role>, Ask), Error> {
        let spec = Spec { net: Net::Lab(self.layout.proxy()), toolbox: Toolbox::Root, ..Spec::plain("proxy") };
        let how = Start {
            runtime,
            args: &["role", "proxy"],
            role: "proxy",
            host_pid: false,
            also: self.also(common, 10),
            aliases: vec!["proxy.awf-probe.test".to_owned()],
        };
        let proxy = Arc::new(Role::start(docker, common, &spec, how, sink).await?);
        let on_host = || ["/usr/sbin/squid", "/sbin/squid"].iter().any(|p| std::path::Path::new(p).exists());
        let squid = squid && common.toolbox.as_ref().map_or_else(on_host, |t| t.squid);
        let mut allow = vec!["allowed.awf-probe.test".to_owned()];
        if let Some(Deed::Allow(more)) = common.deed() {
            allow.extend(more.iter().map(|d| (*d).to_owned()));
        }
        let ask = |engine: &str| Ask::Proxy {
            engine: engine.to_owned(),
            port: PROXY_PORT,
            allow: allow.clone(),
            resolver: self.layout.approved().into(),
        };
        let answer = if squid {
            match proxy.ask(ask("squid")).await {
                Ok(answer) => answer,
                Err(e) => {
                    sink.emit(Event::Problem {
                        runtime: runtime.to_owned(),
                        scenario: "lab".to_owned(),
                        stage: "squid".to_owned(),
                        why: format!("{e}; the built-in proxy takes its place"),
                    });
                    proxy.ask(ask("builtin")).await?
                }
            }
        } else {
            proxy.ask(ask("builtin")).await?
        };
        let Answer::Proxy { engine, version } = answer else {
            return Err(Error::Bug("the proxy did not say what it is".to_owned()));
        };
        sink.emit(Event::LabUp {
            document: self.layout.document_cidr.clone(),
            lab: self.layout.lab.iter().map(|b| format!("{b}/24")).collect(),
            proxy: format!("{engine} ({version})"),
            proxy_addresses: [LAB, INTERNAL, GUARDED, REDIRECTED].map(|net| self.layout.on(net, 10).into()).to_vec(),
            resolver: self.layout.approved().into(),
            allowed: Some(self.layout.allowed().into()),
        });
        let serving = ask(&engine);
        Ok((proxy, serving))
    }

    /// Has the witness answer these paths with this content, each of which is given once.
    pub async fn serve(&self, files: Vec<(String, Vec<u8>)>) -> Result<(), Error> {
        // A line of the role's input has an end: many small files go together, a large one in pieces.
        let (mut batch, mut held) = (Vec::new(), 0);
        for (path, bytes) in &files {
            let pieces: Vec<&[u8]> = if bytes.is_empty() { vec![&[]] } else { bytes.chunks(PIECE).collect() };
            for piece in pieces {
                if held + piece.len() > PIECE {
                    self.witness.ask(Ask::Serve { files: std::mem::take(&mut batch) }).await?;
                    held = 0;
                }
                held += piece.len() + path.len();
                batch.push((path.clone(), hex(piece)));
            }
        }
        self.witness.ask(Ask::Serve { files: batch }).await.map(drop)
    }

    /// Waits until whatever was sent before now has been seen, or is not coming: markers through the witness's
    /// link, one per CPU, then a settle time; and nothing may have been lost. The answer is what the journal says.
    pub async fn drain(&self) -> Result<String, String> {
        let begun = std::time::Instant::now();
        self.listening().await?;
        tokio::time::sleep(pace::scaled(SETTLE)).await;
        let mut roles = vec![("witness", &self.witness), ("tap", &self.helper)];
        roles.extend(self.proxy.as_ref().map(|p| ("proxy", p)));
        roles.extend(self.sidecar.as_ref().map(|s| ("sidecar", s)));
        for (name, role) in roles {
            match role.ask(Ask::Counters).await {
                Ok(Answer::Counters { drops: 0, .. }) => {}
                Ok(Answer::Counters { drops, .. }) => return Err(format!("the {name} lost {drops} packets")),
                Ok(_) | Err(_) => return Err(format!("the {name} does not answer")),
            }
        }
        // What is lost between the tap and the witness left the sandbox and arrived nowhere, as what is blocked does.
        match self.helper.ask(Ask::Lost).await {
            Ok(Answer::Lost { queue: 0, backlog: 0 }) => {}
            Ok(Answer::Lost { queue, backlog }) => {
                return Err(format!("the host lost {} packets on the way to the witness", queue + backlog));
            }
            Ok(_) | Err(_) => return Err("the helper cannot tell what the host lost".to_owned()),
        }
        Ok(format!("markers seen, nothing lost, after {} ms", begun.elapsed().as_millis()))
    }

    /// Waits until the witness has seen a marker from each CPU.
    pub async fn listening(&self) -> Result<(), String> {
        self.marked(&self.link, &self.mac, (self.layout.witness(2).into(), self.layout.witness(1).into())).await
    }

    /// The same on its port of the lab's bridge.
    pub async fn listening6(&self) -> Result<(), String> {
        let ipv6 = self.ipv6.as_ref().map_err(String::clone)?;
        self.marked(&ipv6.link, &ipv6.mac, (self.layout.witness6(0, 2).into(), self.layout.router6().into())).await
    }

    async fn marked(&self, link: &str, mac: &str, (from, to): (IpAddr, IpAddr)) -> Result<(), String> {
        let nonce = format!("awfp{}", crate::random_hex(6));
        let seen = self.witness.expect_marker(&nonce);
        let ask = Ask::Markers { link: link.to_owned(), mac: mac.to_owned(), from, to, port: MARKER_PORT, nonce };
        self.helper.ask(ask).await.map_err(|e| format!("no markers: {e}"))?;
        let wanted = usize::try_from(self.cpus).unwrap_or(1).max(1);
        tokio::time::timeout(pace::scaled(Duration::from_secs(5)), seen.at_least(wanted))
            .await
            .map_err(|_| "the witness did not see the markers: it is deaf, or its link is cut".to_owned())
    }
}

/// Most bytes of content in one request; hexadecimal, with paths and punctuation, it stays below a role's longest line.
const PIECE: usize = 256 * 1024;

fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    bytes.iter().flat_map(|b| [b >> 4, b & 15]).map(|d| char::from(DIGITS[usize::from(d)])).collect()
}

/// A subnet of IPv6 of the lab: all are /64.
pub fn cidr6(base: Ipv6Addr) -> String {
    format!("{base}/64")
}

/// Sysctls of a container whose namespace has IPv6: the engine switches it off in networks that it gave none.
pub const IPV6_ON: [(&str, &str); 2] =
    [("net.ipv6.conf.all.disable_ipv6", "0"), ("net.ipv6.conf.default.disable_ipv6", "0")];

/// After the markers. Late arrivals still count: verdicts are made from the whole journal.
const SETTLE: Duration = Duration::from_millis(60);

fn lines(answer: Answer) -> Result<Vec<String>, Error> {
    match answer {
        Answer::Lines { lines } => Ok(lines),
        other => Err(Error::Bug(format!("expected lines, got {other:?}"))),
    }
}

/// Number of a run's routing table.
fn table(run: &str) -> u32 {
    20_000 + run.get(..4).and_then(|r| u32::from_str_radix(r, 16).ok()).unwrap_or(0) % 10_000
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_subnet_is_one_runs_until_it_ends() {
        let subnet = || format!("of the test {}", std::process::id());
        let held = claim(subnet());
        assert!(held.is_some());
        assert!(claim(subnet()).is_none());
        drop(held);
        assert!(claim(subnet()).is_some());
    }
}
