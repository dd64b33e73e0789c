//! Making and removing network objects, one at a time, each acknowledged by the kernel.
//!
//! Every one is described by the values of [`super::net`], and removed by the same description it was made with.

use std::io;
use std::net::IpAddr;

use super::attributes::Body;
use super::decode::{FRA_DST, FRA_IIFNAME, FRA_PRIORITY, FRA_PROTOCOL, FRA_SRC, FRA_TABLE, NDA_PROTOCOL};
use super::net::{MARK, Route, Rule, family, octets};
use super::netlink::{Netlink, errno};
use super::subnet::{Subnet, width};
use super::wire::Bottleneck;

/// Makes a veth pair whose peer is born in the network namespace of `pid`.
pub(super) fn add_veth(
    netlink: &mut Netlink,
    (name, mac): (&str, [u8; 6]),
    (peer, peer_mac): (&str, [u8; 6]),
    pid: i32,
) -> io::Result<()> {
    let peer = Body::new(&[0; 16])
        .name(libc::IFLA_IFNAME, peer)
        .attr(libc::IFLA_ADDRESS, &peer_mac)
        .number(libc::IFLA_NET_NS_PID, pid as u32);
    let info = Body::default()
        .attr(libc::IFLA_INFO_KIND, b"veth")
        .nest(libc::IFLA_INFO_DATA, Body::default().nest(VETH_INFO_PEER, peer));
    let body = Body::new(&[0; 16])
        .name(libc::IFLA_IFNAME, name)
        .attr(libc::IFLA_ADDRESS, &mac)
        .nest(libc::IFLA_LINKINFO, info);
    netlink.change(libc::RTM_NEWLINK, libc::NLM_F_CREATE | libc::NLM_F_EXCL, &body)
}

/// Sets IPv4 forwarding of one link and stops it from giving itself an IPv6 address; through netlink, because
/// `/proc/sys` is read-only in a container.
pub(super) fn configure(netlink: &mut Netlink, link: u32, forwarding: bool) -> io::Result<()> {
    let inet =
        Body::default().nest(IFLA_INET_CONF, Body::default().number(IPV4_DEVCONF_FORWARDING, u32::from(forwarding)));
    let spec = Body::default().nest(libc::AF_INET as u16, inet);
    netlink.change(libc::RTM_NEWLINK, 0, &Body::new(&link_header(link, 0, 0)).nest(libc::IFLA_AF_SPEC, spec))?;
    let inet6 = Body::default().attr(IFLA_INET6_ADDR_GEN_MODE, &[ADDR_GEN_MODE_NONE]);
    let spec = Body::default().nest(libc::AF_INET6 as u16, inet6);
    match netlink.change(libc::RTM_NEWLINK, 0, &Body::new(&link_header(link, 0, 0)).nest(libc::IFLA_AF_SPEC, spec)) {
        // A kernel or a link without IPv6 has nothing to stop.
        Err(error) if matches!(errno(&error), Some(libc::EAFNOSUPPORT | libc::EOPNOTSUPP | libc::EINVAL)) => Ok(()),
        other => other,
    }
}

/// Makes a link a port of a bridge.
pub(super) fn join_bridge(netlink: &mut Netlink, link: u32, bridge: u32) -> io::Result<()> {
    netlink.change(libc::RTM_NEWLINK, 0, &Body::new(&link_header(link, 0, 0)).number(libc::IFLA_MASTER, bridge))
}

/// Has a link drop IPv4 packets whose answer would leave by another one (rp_filter 1).
pub(super) fn filter_sources(netlink: &mut Netlink, link: u32) -> io::Result<()> {
    let inet = Body::default().nest(IFLA_INET_CONF, Body::default().number(IPV4_DEVCONF_RP_FILTER, 1));
    let spec = Body::default().nest(libc::AF_INET as u16, inet);
    netlink.change(libc::RTM_NEWLINK, 0, &Body::new(&link_header(link, 0, 0)).nest(libc::IFLA_AF_SPEC, spec))
}

/// Sets a link up.
pub(super) fn set_up(netlink: &mut Netlink, link: u32) -> io::Result<()> {
    let up = libc::IFF_UP as u32;
    netlink.change(libc::RTM_NEWLINK, 0, &Body::new(&link_header(link, up, up)))
}

/// Sets a link down.
pub(super) fn set_down(netlink: &mut Netlink, link: u32) -> io::Result<()> {
    netlink.change(libc::RTM_NEWLINK, 0, &Body::new(&link_header(link, 0, libc::IFF_UP as u32)))
}

/// Removes a link.
pub(super) fn delete_link(netlink: &mut Netlink, link: u32) -> io::Result<()> {
    netlink.change(libc::RTM_DELLINK, 0, &Body::new(&link_header(link, 0, 0)))
}

/// Gives a link an address of its own, without a subnet.
pub(super) fn add_address(netlink: &mut Netlink, link: u32, address: IpAddr) -> io::Result<()> {
    add_address_in(netlink, link, address, width(address))
}

/// Gives a link an address in a subnet of this prefix length, which is then on the link.
pub(super) fn add_address_in(netlink: &mut Netlink, link: u32, address: IpAddr, prefix: u8) -> io::Result<()> {
    let mut header = [family(address), prefix, IFA_F_NODAD, 0, 0, 0, 0, 0];
    header[4..].copy_from_slice(&link.to_ne_bytes());
    let body = Body::new(&header).attr(libc::IFA_LOCAL, &octets(address)).attr(libc::IFA_ADDRESS, &octets(address));
    netlink.change(libc::RTM_NEWADDR, libc::NLM_F_CREATE | libc::NLM_F_EXCL, &body)
}

/// Adds a route; it must not exist yet.
pub(super) fn add_route(netlink: &mut Netlink, route: &Route) -> io::Result<()> {
    netlink.change(libc::RTM_NEWROUTE, libc::NLM_F_CREATE | libc::NLM_F_EXCL, &route_body(route))
}

/// Removes exactly that route.
pub(super) fn delete_route(netlink: &mut Netlink, route: &Route) -> io::Result<()> {
    netlink.change(libc::RTM_DELROUTE, 0, &route_body(route))
}

/// Adds a rule; it must not exist yet.
pub(super) fn add_rule(netlink: &mut Netlink, rule: &Rule) -> io::Result<()> {
    netlink.change(libc::RTM_NEWRULE, libc::NLM_F_CREATE | libc::NLM_F_EXCL, &rule_body(rule))
}

/// Removes exactly that rule.
pub(super) fn delete_rule(netlink: &mut Netlink, rule: &Rule) -> io::Result<()> {
    netlink.change(libc::RTM_DELRULE, 0, &rule_body(rule))
}

/// Puts a token bucket in front of a link: what is sent there waits for its turn, or is lost where the queue is full.
pub(super) fn add_bottleneck(netlink: &mut Netlink, link: u32, neck: Bottleneck) -> io::Result<()> {
    let mut header = [0; 20];
    header[4..8].copy_from_slice(&link.to_ne_bytes());
    header[8..12].copy_from_slice(&(1u32 << 16).to_ne_bytes());
    header[12..16].copy_from_slice(&TC_H_ROOT.to_ne_bytes());
    // struct tc_tbf_qopt: two of struct tc_ratespec, then limit, buffer and mtu. The bucket's size is an attribute.
    let mut parameters = [0; 36];
    parameters[1] = TC_LINKLAYER_ETHERNET;
    parameters[8..12].copy_from_slice(&neck.rate.to_ne_bytes());
    parameters[24..28].copy_from_slice(&neck.queue.to_ne_bytes());
    let options = Body::default().attr(TCA_TBF_PARMS, &parameters).number(TCA_TBF_BURST, neck.burst);
    let body = Body::new(&header).name(libc::TCA_KIND, "tbf").nest(libc::TCA_OPTIONS, options);
    netlink.change(libc::RTM_NEWQDISC, libc::NLM_F_CREATE | libc::NLM_F_EXCL, &body)
}

/// Adds a permanent neighbour entry.
pub(super) fn add_neighbour(netlink: &mut Netlink, link: u32, address: IpAddr, mac: [u8; 6]) -> io::Result<()> {
    let body = Body::new(&neighbour_header(link, address))
        .attr(libc::NDA_DST, &octets(address))
        .attr(libc::NDA_LLADDR, &mac)
        .attr(NDA_PROTOCOL, &[MARK]);
    netlink.change(libc::RTM_NEWNEIGH, libc::NLM_F_CREATE | libc::NLM_F_REPLACE, &body)
}

/// Removes a neighbour entry.
pub(super) fn delete_neighbour(netlink: &mut Netlink, link: u32, address: IpAddr) -> io::Result<()> {
    let body = Body::new(&neighbour_header(link, address)).attr(libc::NDA_DST, &octets(address));
    netlink.change(libc::RTM_DELNEIGH, 0, &body)
}

fn link_header(index: u32, flags: u32, change: u32) -> [u8; 16] {
    let mut header = [0; 16];
    header[4..8].copy_from_slice(&index.to_ne_bytes());
    header[8..12].copy_from_slice(&flags.to_ne_bytes());
    header[12..].copy_from_slice(&change.to_ne_bytes());
    header
}

fn neighbour_header(link: u32, address: IpAddr) -> [u8; 12] {
    let mut header = [0; 12];
    header[0] = family(address);
    header[4..8].copy_from_slice(&link.to_ne_bytes());
    header[8..10].copy_from_slice(&libc::NUD_PERMANENT.to_ne_bytes());
    header
}

fn route_body(route: &Route) -> Body {
    let table = u8::try_from(route.table).unwrap_or(libc::RT_TABLE_UNSPEC);
    let flags = if route.via.is_some() { u32::from(RTNH_F_ONLINK) } else { 0 };
    let mut header =
        [family(route.to.base), route.to.prefix, 0, 0, table, route.protocol, route.scope, route.kind, 0, 0, 0, 0];
    header[8..].copy_from_slice(&flags.to_ne_bytes());
    let mut body = Body::new(&header).number(libc::RTA_TABLE, route.table);
    if route.to.prefix > 0 {
        body = body.attr(libc::RTA_DST, &octets(route.to.base));
    }
    if route.link != 0 {
        body = body.number(libc::RTA_OIF, route.link);
    }
    if let Some(via) = route.via {
        body = body.attr(libc::RTA_GATEWAY, &octets(via));
    }
    if let Some(source) = route.source {
        body = body.attr(libc::RTA_PREFSRC, &octets(source));
    }
    if route.metric != 0 {
        body = body.number(libc::RTA_PRIORITY, route.metric);
    }
    body
}

fn rule_body(rule: &Rule) -> Body {
    let table = u8::try_from(rule.table).unwrap_or(libc::RT_TABLE_UNSPEC);
    let prefix = |subnet: Option<Subnet>| subnet.map_or(0, |subnet| subnet.prefix);
    let header = [rule.family, prefix(rule.to), prefix(rule.from), 0, table, 0, 0, rule.action, 0, 0, 0, 0];
    let mut body = Body::new(&header)
        .number(FRA_PRIORITY, rule.priority)
        .number(FRA_TABLE, rule.table)
        .attr(FRA_PROTOCOL, &[rule.protocol]);
    if let Some(to) = rule.to {
        body = body.attr(FRA_DST, &octets(to.base));
    }
    if let Some(from) = rule.from {
        body = body.attr(FRA_SRC, &octets(from.base));
    }
    if !rule.iif.is_empty() {
        body = body.name(FRA_IIFNAME, &rule.iif);
    }
    body
}

// What libc does not name.
const VETH_INFO_PEER: u16 = 1;
const IFLA_INET_CONF: u16 = 1;
const IPV4_DEVCONF_FORWARDING: u16 = 1;
const IPV4_DEVCONF_RP_FILTER: u16 = 8;
const IFLA_INET6_ADDR_GEN_MODE: u16 = 8;
const ADDR_GEN_MODE_NONE: u8 = 1;
const IFA_F_NODAD: u8 = 2;
const RTNH_F_ONLINK: u8 = 4;
const TC_H_ROOT: u32 = u32::MAX;
const TC_LINKLAYER_ETHERNET: u8 = 1;
const TCA_TBF_PARMS: u16 = 1;
const TCA_TBF_BURST: u16 = 6;
