//! The holder role: it keeps a network namespace that an agent joins, and puts IPv6 into it before the agent is there.
//!
//! Some runtimes read addresses and routes of their namespace once, when the sandbox starts, so they must be in place
//! before; and an agent has no NET_ADMIN to make them with. Nothing of it concerns the host: its namespace is its own,
//! and the engine has switched IPv6 on in it by a sysctl of the container.

use std::net::{IpAddr, Ipv6Addr};

use anyhow::{Context, Result, bail};

use super::change;
use super::io::Role;
use super::net::{self, MARK, Route};
use super::netlink::Netlink;
use super::subnet::Subnet;
use super::wire::{Answer, Ask};

/// A holder; it has no state.
pub(super) struct Holder;

impl Role for Holder {
    async fn answer(&mut self, ask: Ask) -> Result<Answer> {
        match ask {
            Ask::Ipv6 { link, address, lab, router, to } => {
                settle(&mut Netlink::open(0)?, &link, (address, lab.parse()?), router, &to)?;
                Ok(Answer::Ok)
            }
            _ => bail!("not a question for a holder"),
        }
    }

    /// Addresses and routes go with the namespace.
    async fn undo(&mut self) -> Result<()> {
        Ok(())
    }
}

/// First of the link-local addresses.
const LINK_LOCAL: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0);

fn settle(
    netlink: &mut Netlink,
    name: &str,
    (address, lab): (IpAddr, Subnet),
    router: IpAddr,
    to: &[IpAddr],
) -> Result<()> {
    let link = net::find_link(netlink, name)?.with_context(|| format!("no link {name}"))?.index;
    change::add_address_in(netlink, link, address, lab.prefix).with_context(|| format!("add address {address}"))?;
    // The kernel's own link-local address cannot be used before neighbours were asked for it, which takes seconds.
    if let IpAddr::V6(a) = address {
        let low = u128::from(a) & u128::from(u64::MAX);
        let local = Ipv6Addr::from(u128::from(LINK_LOCAL) | low);
        change::add_address_in(netlink, link, local.into(), 64).with_context(|| format!("add address {local}"))?;
    }
    let default = Route {
        to: Subnet::around(address, 0),
        kind: libc::RTN_UNICAST,
        table: u32::from(libc::RT_TABLE_MAIN),
        protocol: MARK,
        scope: libc::RT_SCOPE_UNIVERSE,
        link,
        via: Some(router),
        source: None,
        metric: 0,
        gateways: Vec::new(),
        cached: false,
    };
    change::add_route(netlink, &default).with_context(|| format!("add a default route via {router}"))?;
    // The route first, the packet second: the kernel is asked, which sends nothing.
    for to in to {
        let route = net::route_of(netlink, 0, address, *to).with_context(|| format!("preflight of {to}"))?;
        if route.link != link || route.via != Some(router) {
            bail!("preflight of {to}: it would not go to {router} by {name}");
        }
    }
    Ok(())
}
