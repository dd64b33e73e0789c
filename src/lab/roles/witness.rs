//! The witness: it plays the Internet behind the helper's link.
//!
//! Its namespace has one link and no default route. The documentation range is local to it, so every address of the
//! range answers; replies can go to the lab's subnets and nowhere else.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use tokio::task::JoinHandle;

use super::capture::{Capture, Fate, Frame, Watch, counters};
use super::dns::{self, Zone};
use super::io::{Out, Role};
use super::net::{self, MARK, Route};
use super::netlink::Netlink;
use super::servers::{self, Shared};
use super::speak::Content;
use super::subnet::Subnet;
use super::udp::Wildcard;
use super::wire::{Answer, Ask, Cidr, Hearing};
use super::{bpf, change};
use crate::lab::MARKER_PORT;

/// The witness's state.
pub(super) struct Witness {
    out: Out,
    capture: Option<Capture>,
    /// What arrives over IPv6, on a link of its own.
    capture6: Option<Capture>,
    servers: Vec<JoinHandle<()>>,
    content: Arc<Content>,
    /// Whether its resolver is silent for now.
    silent: Arc<AtomicBool>,
    zone: Arc<Zone>,
    hearing: Hearing,
}

impl Witness {
    /// A witness that does nothing yet.
    pub(super) fn new(out: Out) -> Self {
        Self {
            out,
            capture: None,
            capture6: None,
            servers: Vec::new(),
            content: Arc::default(),
            silent: Arc::default(),
            zone: Arc::default(),
            hearing: Hearing::All,
        }
    }

    /// Serves these ports on every address of the family of `like`.
    fn listen(&mut self, like: IpAddr, tcp: &[u16], udp: &[u16], mute: bool) -> Result<()> {
        let shared = Shared::new(Arc::clone(&self.zone), self.out.clone(), Arc::clone(&self.content))?;
        // A mute resolver has nobody to accept its connections either.
        for port in with_dns(tcp).into_iter().filter(|p| !(mute && *p == 53)) {
            let listener = servers::listen(like, port)?;
            self.servers.push(tokio::spawn(servers::accept(listener, Arc::clone(&shared))));
        }
        for port in with_dns(udp) {
            let socket = Wildcard::bind(like, port).with_context(|| format!("bind UDP port {port}"))?;
            self.servers.push(if port == 53 && mute {
                tokio::spawn(dns::swallow_udp(socket))
            } else if port == 53 {
                let (zone, silent) = (Arc::clone(&self.zone), Arc::clone(&self.silent));
                tokio::spawn(dns::serve_udp(socket, zone, self.out.clone(), silent))
            } else {
                tokio::spawn(servers::echo_udp(socket))
            });
        }
        Ok(())
    }

    /// The same over IPv6, as a router of the lab's bridge: first who listens, then the link.
    async fn start6(&mut self, place: Place6<'_>, tcp: &[u16], udp: &[u16]) -> Result<()> {
        if self.capture6.is_some() {
            bail!("the witness has IPv6 already");
        }
        self.listen(place.router, tcp, udp, false)?;
        let mut netlink = Netlink::open(0)?;
        let link = wait_for(&mut netlink, place.link).await?;
        let watch = Arriving { link: place.link.into(), hearing: self.hearing, others: 0, own: Some(place.router) };
        self.capture6 = Some(Capture::start(Some(link), &bpf::arriving_ipv6(), watch, &self.out)?);
        settle6(&mut netlink, link, &place)?;
        net::wait_until_running(&mut netlink, place.link).await
    }

    /// Binds every port first and sets the link up last: the first packet that arrives is captured and answered.
    async fn start(
        &mut self,
        place: Place<'_>,
        tcp: &[u16],
        udp: &[u16],
        names: Vec<(String, IpAddr)>,
        (hearing, mute): (Hearing, bool),
    ) -> Result<()> {
        if self.capture.is_some() {
            bail!("the witness runs already");
        }
        self.zone = Arc::new(Zone::new(names));
        self.hearing = hearing;
        self.listen(place.address, tcp, udp, mute)?;
        let mut netlink = Netlink::open(0)?;
        let link = wait_for(&mut netlink, place.link).await?;
        let watch = Arriving { link: place.link.into(), hearing, others: 0, own: None };
        self.capture = Some(Capture::start(Some(link), &bpf::arriving(), watch, &self.out)?);
        settle(&mut netlink, link, &place)?;
        net::wait_until_running(&mut netlink, place.link).await
    }
}

impl Role for Witness {
    async fn answer(&mut self, ask: Ask) -> Result<Answer> {
        match ask {
            Ask::Witness { link, address, gateway, gateway_mac, document, lab, tcp, udp, names, hearing, mute } => {
                let place = Place {
                    link: &link,
                    address,
                    gateway,
                    gateway_mac: net::parse_mac(&gateway_mac)?,
                    document: document.parse()?,
                    lab: lab.iter().map(|subnet: &Cidr| subnet.parse()).collect::<Result<_>>()?,
                };
                self.start(place, &tcp, &udp, names, (hearing, mute)).await?;
                Ok(Answer::Ok)
            }
            Ask::WitnessIpv6 { link, router, lab, document, tcp, udp } => {
                let place = Place6 { link: &link, router, lab: lab.parse()?, document: document.parse()? };
                self.start6(place, &tcp, &udp).await?;
                Ok(Answer::Ok)
            }
            Ask::Serve { files } => {
                let mut content = self.content.write().map_err(|_| anyhow::anyhow!("the content is lost"))?;
                for (path, hex) in files {
                    let more = bytes(&hex)?;
                    let whole = content.get(&path).map(|before| [before, more.as_slice()].concat());
                    content.insert(path, whole.unwrap_or(more).into());
                }
                Ok(Answer::Ok)
            }
            Ask::Mute { silent } => {
                self.silent.store(silent, Ordering::SeqCst);
                Ok(Answer::Ok)
            }
            Ask::Counters => Ok(both(counters(self.capture.as_ref(), &self.out), self.capture6.as_ref())),
            _ => bail!("not a question for the witness"),
        }
    }

    /// Links, routes and addresses go with the namespace.
    async fn undo(&mut self) -> Result<()> {
        self.servers.drain(..).for_each(|server| server.abort());
        Ok(())
    }
}

/// Where the witness stands.
struct Place<'a> {
    link: &'a str,
    address: IpAddr,
    gateway: IpAddr,
    gateway_mac: [u8; 6],
    document: Subnet,
    lab: Vec<Subnet>,
}

/// Where it stands as a router of the lab's bridge.
struct Place6<'a> {
    link: &'a str,
    router: IpAddr,
    lab: Subnet,
    document: Subnet,
}

/// What two captures counted.
fn both(one: Answer, other: Option<&Capture>) -> Answer {
    match (one, other.map(Capture::counters)) {
        (Answer::Counters { packets: a, drops: b }, Some(Answer::Counters { packets: c, drops: d })) => {
            Answer::Counters { packets: a + c, drops: b + d }
        }
        (one, _) => one,
    }
}

/// Everything that arrives on the link, but for the chatter of address resolution (ARP is no IP anyway).
struct Arriving {
    link: Arc<str>,
    hearing: Hearing,
    /// Packets so far that are no markers.
    others: u64,
    /// The router's own address, where the lab has IPv6: neighbours ask whether it is still there.
    own: Option<IpAddr>,
}

impl Arriving {
    fn heard(&mut self, port: u16) -> bool {
        let marker = port == MARKER_PORT;
        self.others += u64::from(!marker);
        match self.hearing {
            Hearing::All => true,
            Hearing::Nothing => false,
            Hearing::Markers => marker,
            Hearing::EveryOther => marker || self.others.is_multiple_of(2),
        }
    }
}

impl Watch for Arriving {
    fn fate(&mut self, frame: &Frame) -> Fate {
        // Neighbour discovery and multicast listener reports, unless they carry a nonce.
        let p = &frame.packet;
        // On the lab's bridge the witness is a neighbour as well: what stays on the link is not out of it.
        let on_link = self.own.is_some() && p.dst.is_multicast();
        let asked = p.proto == ICMPV6 && (p.dst.is_multicast() || Some(p.dst) == self.own) && p.nonce.is_empty();
        let chatter = on_link || asked;
        if chatter || !self.heard(frame.packet.dport) { Fate::Ignore } else { Fate::Report(Arc::clone(&self.link)) }
    }
}

/// Waits until the helper has put the link here.
async fn wait_for(netlink: &mut Netlink, link: &str) -> Result<u32> {
    let end = Instant::now() + LINK;
    while Instant::now() < end {
        if let Some(link) = net::find_link(netlink, link)? {
            return Ok(link.index);
        }
        tokio::time::sleep(POLL).await;
    }
    bail!("no link {link} came within {LINK:?}")
}

/// Makes the range local and the lab reachable, and sets the link up.
fn settle(netlink: &mut Netlink, link: u32, place: &Place<'_>) -> Result<()> {
    let loopback = net::find_link(netlink, "lo")?.context("no loopback link")?.index;
    change::set_up(netlink, loopback).context("set lo up")?;
    change::configure(netlink, link, false).with_context(|| format!("configure link {}", place.link))?;
    change::add_address(netlink, link, place.address).with_context(|| format!("add address {}", place.address))?;
    change::set_up(netlink, link).with_context(|| format!("set {} up", place.link))?;
    let route = |to, kind, table, link| Route {
        to,
        kind,
        table,
        protocol: MARK,
        scope: libc::RT_SCOPE_UNIVERSE,
        link,
        via: None,
        source: None,
        metric: 0,
        gateways: Vec::new(),
        cached: false,
    };
    change::add_neighbour(netlink, link, place.gateway, place.gateway_mac)
        .with_context(|| format!("add neighbour {}", place.gateway))?;
    for subnet in &place.lab {
        let back = Route {
            via: Some(place.gateway),
            ..route(*subnet, libc::RTN_UNICAST, u32::from(libc::RT_TABLE_MAIN), link)
        };
        change::add_route(netlink, &back).with_context(|| format!("add route {subnet}"))?;
    }
    // Last: the gateway may lie in the range, and a next hop that is a local address is refused.
    let local = Route {
        scope: libc::RT_SCOPE_HOST,
        ..route(place.document, libc::RTN_LOCAL, u32::from(libc::RT_TABLE_LOCAL), loopback)
    };
    change::add_route(netlink, &local).with_context(|| format!("make {} local", place.document))?;
    Ok(())
}

/// The same for IPv6 on the lab's bridge. IPv4 that is flooded there is no business of a router of IPv6: the witness
/// answers agents by the host's link, so a filter of sources drops it.
fn settle6(netlink: &mut Netlink, link: u32, place: &Place6<'_>) -> Result<()> {
    let loopback = net::find_link(netlink, "lo")?.context("no loopback link")?.index;
    change::configure(netlink, link, false).with_context(|| format!("configure link {}", place.link))?;
    change::filter_sources(netlink, link).with_context(|| format!("filter sources on {}", place.link))?;
    change::set_up(netlink, link).with_context(|| format!("set {} up", place.link))?;
    change::add_address_in(netlink, link, place.router, place.lab.prefix)
        .with_context(|| format!("add address {}", place.router))?;
    let local = Route {
        to: place.document,
        kind: libc::RTN_LOCAL,
        table: u32::from(libc::RT_TABLE_LOCAL),
        protocol: MARK,
        scope: libc::RT_SCOPE_HOST,
        link: loopback,
        via: None,
        source: None,
        metric: 0,
        gateways: Vec::new(),
        cached: false,
    };
    change::add_route(netlink, &local).with_context(|| format!("make {} local", place.document))
}

/// What hexadecimal digits stand for.
fn bytes(hex: &str) -> Result<Vec<u8>> {
    let digits = hex.as_bytes().chunks(2);
    digits.map(|d| Ok(u8::from_str_radix(std::str::from_utf8(d)?, 16)?)).collect()
}

fn with_dns(ports: &[u16]) -> Vec<u16> {
    let mut ports = [ports, &[53]].concat();
    ports.sort_unstable();
    ports.dedup();
    ports
}

const ICMPV6: u8 = 58;
/// How long the link may take to come.
const LINK: Duration = Duration::from_secs(5);
const POLL: Duration = Duration::from_millis(3);
