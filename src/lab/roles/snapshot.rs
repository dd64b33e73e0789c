//! The host's network configuration as sorted lines, to compare before and after a run.
//!
//! Only what someone configured: no counters, no states, no expiry, no interface numbers, no learned neighbours.

use std::collections::HashMap;
use std::net::IpAddr;

use anyhow::Result;

use super::net::{self, Route, Rule, format_mac};
use super::netlink::Netlink;

/// Takes the snapshot.
pub(super) fn take(netlink: &mut Netlink) -> Result<Vec<String>> {
    let links = net::links(netlink)?;
    let names: HashMap<u32, &str> = links.iter().map(|link| (link.index, link.name.as_str())).collect();
    let name = |index: u32| names.get(&index).map_or_else(|| format!("if{index}"), |name| (*name).to_owned());
    let mut lines = Vec::new();
    for link in &links {
        let state = if link.flags & libc::IFF_UP as u32 != 0 { "up" } else { "down" };
        let master = if link.master == 0 { String::new() } else { format!(" master {}", name(link.master)) };
        lines.push(format!(
            "link {} kind {:?} mac {} mtu {} {state}{master}",
            link.name,
            link.kind,
            format_mac(&link.mac),
            link.mtu
        ));
    }
    for address in net::addresses(netlink)? {
        lines.push(format!(
            "address {}/{} dev {} scope {}",
            address.address,
            address.prefix,
            name(address.link),
            address.scope
        ));
    }
    lines.extend(net::routes(netlink)?.iter().map(|route| route_line(route, name)));
    lines.extend(net::rules(netlink)?.iter().map(rule_line));
    for neighbour in net::neighbours(netlink)?.iter().filter(|neighbour| neighbour.state & libc::NUD_PERMANENT != 0) {
        lines.push(format!(
            "neighbour {} dev {} mac {}",
            neighbour.address,
            name(neighbour.link),
            format_mac(&neighbour.mac)
        ));
    }
    lines.extend(SYSCTLS.iter().map(|path| {
        let value = std::fs::read_to_string(format!("/proc/sys/{path}"));
        format!("sysctl {} = {}", path.replace('/', "."), value.as_deref().map_or("absent", str::trim))
    }));
    lines.sort_unstable();
    Ok(lines)
}

fn route_line(route: &Route, name: impl Fn(u32) -> String) -> String {
    let mut line = format!(
        "route {} table {} type {} proto {} scope {}",
        route.to, route.table, route.kind, route.protocol, route.scope
    );
    let mut add = |word: &str, value: Option<String>| {
        if let Some(value) = value {
            line.push_str(&format!(" {word} {value}"));
        }
    };
    add("via", route.via.map(|via| via.to_string()));
    for gateway in &route.gateways {
        add("nexthop", Some(IpAddr::to_string(gateway)));
    }
    add("dev", (route.link != 0).then(|| name(route.link)));
    add("src", route.source.map(|source| source.to_string()));
    add("metric", (route.metric != 0).then(|| route.metric.to_string()));
    line
}

fn rule_line(rule: &Rule) -> String {
    let family = if i32::from(rule.family) == libc::AF_INET { 4 } else { 6 };
    let mut line = format!(
        "rule ipv{family} {} table {} action {} proto {}",
        rule.priority, rule.table, rule.action, rule.protocol
    );
    for (word, value) in [
        ("from", rule.from.map(|s| s.to_string())),
        ("to", rule.to.map(|s| s.to_string())),
        ("iif", Some(rule.iif.clone())),
    ] {
        if let Some(value) = value.filter(|value| !value.is_empty()) {
            line.push_str(&format!(" {word} {value}"));
        }
    }
    for attribute in &rule.rest {
        line.push_str(&format!(" [{attribute}]"));
    }
    line
}

/// What a run could change: forwarding, bridge filtering, reverse-path checks.
const SYSCTLS: [&str; 6] = [
    "net/ipv4/ip_forward",
    "net/ipv4/conf/all/rp_filter",
    "net/ipv4/conf/default/rp_filter",
    "net/ipv6/conf/all/forwarding",
    "net/ipv6/conf/default/forwarding",
    "net/bridge/bridge-nf-call-iptables",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_snapshot_is_sorted_and_repeatable() {
        let mut netlink = Netlink::open(0).expect("a socket");
        let first = take(&mut netlink).expect("a snapshot");
        assert!(first.is_sorted());
        assert!(first.iter().any(|line| line.starts_with("link lo ")), "{first:?}");
        assert!(first.iter().any(|line| line.starts_with("rule ipv4 32766 table 254 ")), "{first:?}");
        assert!(first.iter().any(|line| line.starts_with("sysctl net.ipv4.ip_forward = ")), "{first:?}");
    }
}
