//! Network objects as the kernel writes them: netlink messages read into the values of [`super::net`].
//!
//! A function answers `None` only if the message is damaged; what it does not know in it is skipped, or, in a rule,
//! kept as it is.

use std::net::IpAddr;

use super::attributes::{attributes, number, text};
use super::net::{Address, Link, Neighbour, Route, Rule, format_mac};
use super::netlink::Message;
use super::subnet::Subnet;

/// A link from `RTM_NEWLINK` or `RTM_DELLINK`.
pub(super) fn parse_link(message: &Message) -> Option<Link> {
    let mut link = Link {
        index: number(message.body.get(4..8)?)?,
        flags: number(message.body.get(8..12)?)?,
        name: String::new(),
        kind: String::new(),
        mac: Vec::new(),
        mtu: 0,
        master: 0,
        running: false,
    };
    for (kind, value) in attributes(&message.body, 16) {
        match kind {
            libc::IFLA_IFNAME => link.name = text(value),
            libc::IFLA_ADDRESS => link.mac = value.to_vec(),
            libc::IFLA_MTU => link.mtu = number(value)?,
            libc::IFLA_OPERSTATE => link.running = value == [IF_OPER_UP],
            libc::IFLA_MASTER => link.master = number(value)?,
            libc::IFLA_LINKINFO => {
                let kind = attributes(value, 0).find(|(kind, _)| *kind == libc::IFLA_INFO_KIND);
                link.kind = kind.map(|(_, value)| text(value)).unwrap_or_default();
            }
            _ => {}
        }
    }
    Some(link)
}

/// An address from `RTM_NEWADDR`.
pub(super) fn parse_address(message: &Message) -> Option<Address> {
    let body = &message.body;
    let (mut local, mut remote) = (None, None);
    for (kind, value) in attributes(body, 8) {
        match kind {
            libc::IFA_LOCAL => local = address_of(value),
            libc::IFA_ADDRESS => remote = address_of(value),
            _ => {}
        }
    }
    Some(Address {
        link: number(body.get(4..8)?)?,
        address: local.or(remote)?,
        prefix: *body.get(1)?,
        scope: *body.get(3)?,
        tentative: body.get(2)? & IFA_F_TENTATIVE != 0,
    })
}

/// It is not known yet whether a neighbour has it, too.
const IFA_F_TENTATIVE: u8 = 0x40;

/// A route from `RTM_NEWROUTE`.
pub(super) fn parse_route(message: &Message) -> Option<Route> {
    let body = &message.body;
    let header = body.get(..12)?;
    let any: IpAddr = match i32::from(header[0]) {
        libc::AF_INET => [0u8; 4].into(),
        libc::AF_INET6 => [0u8; 16].into(),
        _ => return None,
    };
    let mut route = Route {
        to: Subnet::around(any, header[1]),
        kind: header[7],
        table: u32::from(header[4]),
        protocol: header[5],
        scope: header[6],
        link: 0,
        via: None,
        source: None,
        metric: 0,
        gateways: Vec::new(),
        cached: number(header.get(8..12)?)? & libc::RTM_F_CLONED != 0,
    };
    for (kind, value) in attributes(body, 12) {
        match kind {
            libc::RTA_DST => route.to = Subnet::around(address_of(value)?, header[1]),
            libc::RTA_TABLE => route.table = number(value)?,
            libc::RTA_OIF => route.link = number(value)?,
            libc::RTA_GATEWAY => route.via = address_of(value),
            // A gateway of the other family: two bytes of family, then the address.
            RTA_VIA => route.via = address_of(value.get(2..)?),
            libc::RTA_PREFSRC => route.source = address_of(value),
            libc::RTA_PRIORITY => route.metric = number(value)?,
            libc::RTA_MULTIPATH => route.gateways = hops(value),
            _ => {}
        }
    }
    Some(route)
}

/// The gateways inside RTA_MULTIPATH: a list of `rtnexthop` headers of eight bytes, each with attributes.
fn hops(mut value: &[u8]) -> Vec<IpAddr> {
    let mut gateways = Vec::new();
    while let Some(length) = value.get(..2).map(|bytes| usize::from(u16::from_ne_bytes([bytes[0], bytes[1]]))) {
        let Some(hop) = value.get(..length).filter(|hop| hop.len() >= 8) else {
            break;
        };
        let found = attributes(hop, 8).find(|(kind, _)| *kind == libc::RTA_GATEWAY);
        gateways.extend(found.and_then(|(_, value)| address_of(value)));
        value = value.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    gateways
}

/// A rule from `RTM_NEWRULE`.
pub(super) fn parse_rule(message: &Message) -> Option<Rule> {
    let body = &message.body;
    let header = body.get(..12)?;
    let mut rule = Rule {
        family: header[0],
        priority: 0,
        from: None,
        to: None,
        iif: String::new(),
        table: u32::from(header[4]),
        action: header[7],
        protocol: 0,
        rest: Vec::new(),
    };
    for (kind, value) in attributes(body, 12) {
        match kind {
            FRA_DST => rule.to = address_of(value).map(|address| Subnet::around(address, header[1])),
            FRA_SRC => rule.from = address_of(value).map(|address| Subnet::around(address, header[2])),
            FRA_IIFNAME => rule.iif = text(value),
            FRA_PRIORITY => rule.priority = number(value)?,
            FRA_TABLE => rule.table = number(value)?,
            FRA_PROTOCOL => rule.protocol = *value.first()?,
            // No suppressor is written as -1.
            FRA_SUPPRESS_PREFIXLEN | FRA_SUPPRESS_IFGROUP if number(value) == Some(u32::MAX) => {}
            other => rule.rest.push(format!("{other}={}", format_mac(value))),
        }
    }
    Some(rule)
}

/// A neighbour entry from `RTM_NEWNEIGH`.
pub(super) fn parse_neighbour(message: &Message) -> Option<Neighbour> {
    let body = &message.body;
    let mut neighbour = Neighbour {
        link: number(body.get(4..8)?)?,
        address: [0u8; 4].into(),
        mac: Vec::new(),
        state: u16::from_ne_bytes(body.get(8..10)?.try_into().ok()?),
        protocol: 0,
    };
    let mut found = None;
    for (kind, value) in attributes(body, 12) {
        match kind {
            libc::NDA_DST => found = address_of(value),
            libc::NDA_LLADDR => neighbour.mac = value.to_vec(),
            NDA_PROTOCOL => neighbour.protocol = *value.first()?,
            _ => {}
        }
    }
    neighbour.address = found?;
    Some(neighbour)
}

fn address_of(value: &[u8]) -> Option<IpAddr> {
    if let Ok(v4) = <[u8; 4]>::try_from(value) {
        return Some(v4.into());
    }
    <[u8; 16]>::try_from(value).ok().map(IpAddr::from)
}

// What libc does not name.
const RTA_VIA: u16 = 18;
/// Attribute number.
pub(super) const NDA_PROTOCOL: u16 = 12;
/// Attribute number.
pub(super) const FRA_DST: u16 = 1;
/// Attribute number.
pub(super) const FRA_SRC: u16 = 2;
/// Attribute number.
pub(super) const FRA_IIFNAME: u16 = 3;
/// Attribute number.
pub(super) const FRA_PRIORITY: u16 = 6;
const FRA_SUPPRESS_IFGROUP: u16 = 13;
const FRA_SUPPRESS_PREFIXLEN: u16 = 14;
/// Attribute number.
pub(super) const FRA_TABLE: u16 = 15;
/// Attribute number.
pub(super) const FRA_PROTOCOL: u16 = 21;
const IF_OPER_UP: u8 = 6;
