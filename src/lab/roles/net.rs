//! The kernel's network objects as plain values, and how they are read. [`super::change`] makes and removes them.
//!
//! Everything the lab makes carries [`MARK`] as its routing protocol, so that a later run, `clean` and a reader of
//! `ip rule` can tell it from the host's own.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use super::attributes::Body;
use super::decode::{parse_address, parse_link, parse_neighbour, parse_route, parse_rule};
use super::netlink::{Message, Netlink, errno};
use super::subnet::{Subnet, width};

/// Routing protocol number of everything the lab makes (unassigned in `/etc/iproute2/rt_protos`).
pub(super) const MARK: u8 = 173;

/// A network interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Link {
    /// Interface index.
    pub(super) index: u32,
    /// Interface name.
    pub(super) name: String,
    /// `veth`, `bridge`, … or empty for a device without a kind.
    pub(super) kind: String,
    /// Hardware address, empty if none.
    pub(super) mac: Vec<u8>,
    /// Largest packet.
    pub(super) mtu: u32,
    /// Index of the bridge or bond it belongs to, 0 if none.
    pub(super) master: u32,
    /// `IFF_…`.
    pub(super) flags: u32,
    /// Whether its operational state is up: only then does it carry packets.
    pub(super) running: bool,
}

/// An address on an interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Address {
    /// Interface index.
    pub(super) link: u32,
    /// The address (the local one, on a point-to-point link).
    pub(super) address: IpAddr,
    /// Prefix length.
    pub(super) prefix: u8,
    /// `RT_SCOPE_…`.
    pub(super) scope: u8,
    /// Whether it cannot be used yet: neighbours are still asked for it.
    pub(super) tentative: bool,
}

/// A route, in whatever table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Route {
    /// Destination.
    pub(super) to: Subnet,
    /// `RTN_…`.
    pub(super) kind: u8,
    /// Routing table.
    pub(super) table: u32,
    /// Who made it.
    pub(super) protocol: u8,
    /// `RT_SCOPE_…`.
    pub(super) scope: u8,
    /// Output interface, 0 if none.
    pub(super) link: u32,
    /// Next hop.
    pub(super) via: Option<IpAddr>,
    /// Preferred source.
    pub(super) source: Option<IpAddr>,
    /// Metric, 0 if none.
    pub(super) metric: u32,
    /// Gateways of a multipath route.
    pub(super) gateways: Vec<IpAddr>,
    /// A cache entry, not configuration.
    pub(super) cached: bool,
}

/// A policy rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Rule {
    /// Address family.
    pub(super) family: u8,
    /// Order; lower first.
    pub(super) priority: u32,
    /// Source it applies to.
    pub(super) from: Option<Subnet>,
    /// Destination it applies to.
    pub(super) to: Option<Subnet>,
    /// Incoming interface it applies to; `lo` means locally generated.
    pub(super) iif: String,
    /// Table to look in.
    pub(super) table: u32,
    /// `FR_ACT_…`.
    pub(super) action: u8,
    /// Who made it.
    pub(super) protocol: u8,
    /// Attributes this type has no field for, as `number=hex`, so that a snapshot still shows them.
    pub(super) rest: Vec<String>,
}

/// A neighbour entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Neighbour {
    /// Interface index.
    pub(super) link: u32,
    /// Its address.
    pub(super) address: IpAddr,
    /// Its hardware address.
    pub(super) mac: Vec<u8>,
    /// `NUD_…`.
    pub(super) state: u16,
    /// Who made it.
    pub(super) protocol: u8,
}

/// Every interface of the namespace.
pub(super) fn links(netlink: &mut Netlink) -> Result<Vec<Link>> {
    let messages = netlink.dump(libc::RTM_GETLINK, &Body::new(&[0; 16])).context("dump the links")?;
    decode(messages.iter(), parse_link)
}

/// The interface of that name, if there is one.
pub(super) fn find_link(netlink: &mut Netlink, name: &str) -> Result<Option<Link>> {
    match netlink.get(libc::RTM_GETLINK, &Body::new(&[0; 16]).name(libc::IFLA_IFNAME, name)) {
        Ok(message) => Ok(parse_link(&message)),
        Err(error) if errno(&error) == Some(libc::ENODEV) => Ok(None),
        Err(error) => Err(error).with_context(|| format!("look up link {name}")),
    }
}

/// Waits until a link carries packets. The kernel may take a second for that after both ends are up, and until then
/// it drops whatever is sent, without a word.
pub(super) async fn wait_until_running(netlink: &mut Netlink, name: &str) -> Result<()> {
    let end = Instant::now() + RUNNING;
    while Instant::now() < end {
        match find_link(netlink, name)? {
            Some(link) if link.running => return Ok(()),
            Some(_) => tokio::time::sleep(POLL).await,
            None => bail!("no link {name}"),
        }
    }
    bail!("link {name} carries no packets {RUNNING:?} after it was set up")
}

/// Every address of the namespace.
pub(super) fn addresses(netlink: &mut Netlink) -> Result<Vec<Address>> {
    let messages = netlink.dump(libc::RTM_GETADDR, &Body::new(&[0; 8])).context("dump the addresses")?;
    // An unspecified family also dumps those of other protocols.
    let ip =
        messages.iter().filter(|message| IP.contains(&message.body.first().map_or(0, |family| i32::from(*family))));
    decode(ip, parse_address)
}

/// Every route of every table, both families.
pub(super) fn routes(netlink: &mut Netlink) -> Result<Vec<Route>> {
    let mut routes = Vec::new();
    for family in IP {
        let mut header = [0; 12];
        header[0] = family as u8;
        let messages = netlink.dump(libc::RTM_GETROUTE, &Body::new(&header)).context("dump the routes")?;
        routes.extend(decode(messages.iter(), parse_route)?.into_iter().filter(|route| !route.cached));
    }
    Ok(routes)
}

/// Every policy rule, both families.
pub(super) fn rules(netlink: &mut Netlink) -> Result<Vec<Rule>> {
    let mut rules = Vec::new();
    for family in IP {
        let mut header = [0; 12];
        header[0] = family as u8;
        match netlink.dump(libc::RTM_GETRULE, &Body::new(&header)) {
            Ok(messages) => rules.extend(decode(messages.iter(), parse_rule)?),
            // A kernel without IPv6, or without policy routing for it.
            Err(error) if matches!(errno(&error), Some(libc::EOPNOTSUPP | libc::EAFNOSUPPORT)) => {}
            Err(error) => return Err(error).context("dump the rules"),
        }
    }
    Ok(rules)
}

/// Every neighbour entry, both families.
pub(super) fn neighbours(netlink: &mut Netlink) -> Result<Vec<Neighbour>> {
    let messages = netlink.dump(libc::RTM_GETNEIGH, &Body::new(&[0; 12])).context("dump the neighbours")?;
    decode(messages.iter(), parse_neighbour)
}

/// Where the kernel would send a packet that came in on `iif`, or, with 0, one of its own.
pub(super) fn route_of(netlink: &mut Netlink, iif: u32, from: IpAddr, to: IpAddr) -> Result<Route> {
    let header = [family(to), width(to), width(from), 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let mut body = Body::new(&header).attr(libc::RTA_DST, &octets(to)).attr(libc::RTA_SRC, &octets(from));
    if iif != 0 {
        body = body.number(libc::RTA_IIF, iif);
    }
    let message = netlink.get(libc::RTM_GETROUTE, &body)?;
    parse_route(&message).context("a reply that is no route")
}

/// The bytes of an address.
pub(super) fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    }
}

/// `AF_INET` or `AF_INET6`.
pub(super) const fn family(address: IpAddr) -> u8 {
    (if address.is_ipv4() { libc::AF_INET } else { libc::AF_INET6 }) as u8
}

/// `aa:bb:…`.
pub(super) fn format_mac(mac: &[u8]) -> String {
    mac.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().join(":")
}

/// Six bytes from `aa:bb:…`.
pub(super) fn parse_mac(mac: &str) -> Result<[u8; 6]> {
    let bytes: Option<Vec<u8>> = mac.split(':').map(|byte| u8::from_str_radix(byte, 16).ok()).collect();
    bytes.and_then(|bytes| bytes.try_into().ok()).with_context(|| format!("{mac:?} is no hardware address"))
}

/// A dump is complete or an error: one object that cannot be read fails it.
fn decode<'a, T>(messages: impl Iterator<Item = &'a Message>, parse: impl Fn(&Message) -> Option<T>) -> Result<Vec<T>> {
    messages
        .map(|message| parse(message).with_context(|| format!("decode a message of type {}", message.kind)))
        .collect()
}

/// The two families the lab knows.
const IP: [i32; 2] = [libc::AF_INET, libc::AF_INET6];
/// How long a link may take from being set up to carrying packets.
const RUNNING: Duration = Duration::from_secs(10);
const POLL: Duration = Duration::from_millis(3);
