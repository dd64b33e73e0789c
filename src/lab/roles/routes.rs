//! What the helper makes on the host, and how it is unmade: the witness's link, and the policy route of a run.
//!
//! Rules, all marked with [`MARK`], just below the main table:
//! - `iif BRIDGE`: whatever leaves a bridge of the run, to any address, is looked up in the run's table;
//! - `from SUBNET to DOCUMENT`: the way back that a strict rp_filter looks for;
//! - `iif lo to DOCUMENT`: what the host itself says to the range, such as an ICMP error about a packet the witness
//!   sent. Without it that one packet would follow the host's default route and leave the machine.
//!
//! The table: a default route through the witness, a blackhole behind it, a `throw` for each lab subnet.

use std::collections::BTreeSet;
use std::fmt;
use std::io;
use std::net::IpAddr;

use anyhow::{Context, Result, bail};

use super::change;
use super::net::{self, MARK, Route, Rule};
use super::netlink::{Netlink, errno};
use super::procs;
use super::subnet::Subnet;

/// Something that was made, kept to be removed.
pub(super) enum Made {
    Link { name: String, index: u32 },
    Route(Route),
    Rule(Rule),
    Neighbour { link: u32, address: IpAddr },
}

impl Made {
    /// Removes it; what is already gone counts as removed.
    pub(super) fn unmake(&self, netlink: &mut Netlink) -> io::Result<()> {
        let removed = match self {
            Self::Link { index, name } => match net::find_link(netlink, name) {
                // The index alone may be another's by now, and so may the name.
                Ok(Some(link)) if link.index == *index => change::delete_link(netlink, *index),
                Ok(_) => Ok(()),
                Err(error) => Err(io::Error::other(error)),
            },
            Self::Route(route) => change::delete_route(netlink, route),
            Self::Rule(rule) => change::delete_rule(netlink, rule),
            Self::Neighbour { link, address } => change::delete_neighbour(netlink, *link, *address),
        };
        match removed {
            Err(error) if matches!(errno(&error), Some(libc::ENODEV | libc::ENOENT | libc::ESRCH)) => Ok(()),
            other => other,
        }
    }
}

impl fmt::Display for Made {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Link { name, .. } => write!(f, "link {name}"),
            Self::Route(route) => write!(f, "route {} of table {}", route.to, route.table),
            Self::Rule(rule) => write!(f, "rule {} {} to table {}", rule.priority, rule.iif, rule.table),
            Self::Neighbour { address, .. } => write!(f, "neighbour {address}"),
        }
    }
}

/// What `Routes` asks for, parsed.
pub(super) struct Plan {
    /// The host's end of the witness's link.
    pub(super) link: String,
    /// The witness's address on it.
    pub(super) via: IpAddr,
    /// The witness's hardware address.
    pub(super) via_mac: [u8; 6],
    /// The run's table.
    pub(super) table: u32,
    /// The documentation range.
    pub(super) document: Subnet,
    /// Bridges and their subnets.
    pub(super) bridges: Vec<(String, Subnet)>,
    /// Without the way to the witness: what the bridges send ends in the blackhole.
    pub(super) dead_end: bool,
}

/// Makes the policy route. What was made is pushed as it is made, so a failure halfway is undone like the rest.
pub(super) fn make(netlink: &mut Netlink, plan: &Plan, made: &mut Vec<Made>) -> Result<()> {
    if !(256..=u32::MAX - 1).contains(&plan.table) {
        bail!("table {} is the host's: use one above 255", plan.table);
    }
    let link = net::find_link(netlink, &plan.link)?.with_context(|| format!("no link {}", plan.link))?.index;
    remove_leftovers(netlink, plan.table)?;

    // The table before the rules that lead to it: no packet ever finds it half filled.
    for route in routes_of(plan, link) {
        change::add_route(netlink, &route)
            .with_context(|| format!("add route {} to table {}", route.to, plan.table))?;
        made.push(Made::Route(route));
    }
    change::add_neighbour(netlink, link, plan.via, plan.via_mac)
        .with_context(|| format!("add neighbour {}", plan.via))?;
    made.push(Made::Neighbour { link, address: plan.via });
    for rule in rules_of(plan) {
        match change::add_rule(netlink, &rule) {
            // A kernel without IPv6 sends none.
            Err(e) if rule.family == libc::AF_INET6 as u8 && e.raw_os_error() == Some(libc::EAFNOSUPPORT) => continue,
            other => other.with_context(|| format!("add rule {} to table {}", rule.priority, plan.table))?,
        }
        made.push(Made::Rule(rule));
    }
    Ok(())
}

/// Asks the kernel where packets would go, and fails on the first that would not leave through `link`.
pub(super) fn preflight(netlink: &mut Netlink, checks: &[(String, IpAddr, IpAddr)], link: &str) -> Result<()> {
    let expected = net::find_link(netlink, link)?.with_context(|| format!("no link {link}"))?.index;
    for (iif, from, to) in checks {
        let check = || format!("preflight of {to} from {from} through {iif}");
        let iif = net::find_link(netlink, iif)?.with_context(|| format!("no link {iif}")).with_context(check)?.index;
        let route = net::route_of(netlink, iif, *from, *to).with_context(check)?;
        if route.kind != libc::RTN_UNICAST || route.link != expected {
            let links = net::links(netlink)?;
            let name = links.iter().find(|link| link.index == route.link).map_or("nowhere", |link| &link.name);
            bail!("{}: it would go to {name} (route type {}), not to {link}", check(), route.kind);
        }
    }
    Ok(())
}

/// Sets a bridge of the run down; one that is gone is silent already. Anything that is no bridge is left alone.
pub(super) fn silence(netlink: &mut Netlink, bridge: &str) -> Result<()> {
    match net::find_link(netlink, bridge)? {
        Some(link) if link.kind == "bridge" => Ok(change::set_down(netlink, link.index)?),
        Some(_) | None => Ok(()),
    }
}

fn routes_of(plan: &Plan, link: u32) -> Vec<Route> {
    let everywhere = Subnet::around(plan.via, 0);
    let route = |to, kind| Route {
        to,
        kind,
        table: plan.table,
        protocol: MARK,
        scope: libc::RT_SCOPE_UNIVERSE,
        link: 0,
        via: None,
        source: None,
        metric: 0,
        gateways: Vec::new(),
        cached: false,
    };
    let mut routes = vec![Route { metric: 9999, ..route(everywhere, libc::RTN_BLACKHOLE) }];
    routes.extend(plan.bridges.iter().map(|(_, subnet)| route(*subnet, libc::RTN_THROW)));
    if !plan.dead_end {
        routes.push(Route { link, via: Some(plan.via), ..route(everywhere, libc::RTN_UNICAST) });
    }
    routes
}

fn rules_of(plan: &Plan) -> Vec<Rule> {
    let rule = |priority, from, to, iif: &str| Rule {
        family: net::family(plan.via),
        priority,
        from,
        to,
        iif: iif.to_owned(),
        table: plan.table,
        action: FR_ACT_TO_TBL,
        protocol: MARK,
        rest: Vec::new(),
    };
    let mut rules = vec![rule(OWN, None, Some(plan.document), "lo")];
    // IPv6 of the lab stays on a bridge, where the witness is its router: the host routes none of it. Whatever is said to
    // the documentation range of IPv6 and comes to be routed here, from wherever, ends here.
    let everything = Rule { family: libc::AF_INET6 as u8, action: FR_ACT_BLACKHOLE, ..rule(SIX, None, None, "") };
    rules.extend("2001:db8::/32".parse().ok().map(|to| Rule { to: Some(to), ..everything }));
    rules.extend(plan.bridges.iter().map(|(_, subnet)| rule(BACK, Some(*subnet), Some(plan.document), "")));
    rules.extend(plan.bridges.iter().map(|(bridge, _)| rule(FORTH, None, None, bridge)));
    rules
}

/// Clears the table of what a dead run left in it; refuses it if a live run or someone else uses it.
fn remove_leftovers(netlink: &mut Netlink, table: u32) -> Result<()> {
    let routes: Vec<Route> = net::routes(netlink)?.into_iter().filter(|route| route.table == table).collect();
    let rules: Vec<Rule> = net::rules(netlink)?.into_iter().filter(|rule| rule.table == table).collect();
    let foreign = routes.iter().any(|route| route.protocol != MARK) || rules.iter().any(|rule| rule.protocol != MARK);
    if foreign {
        bail!("table {table} is in use by something else");
    }
    // The kernel removes routes with their link, so a route that still has one belongs to a run that still has it.
    if routes.iter().any(|route| route.link != 0 && route.kind == libc::RTN_UNICAST) {
        bail!("table {table} is in use by a live run");
    }
    let rules = rules.into_iter().map(Made::Rule);
    for leftover in rules.chain(routes.into_iter().map(Made::Route)) {
        leftover.unmake(netlink).with_context(|| format!("remove leftover {leftover}"))?;
    }
    Ok(())
}

/// Removes the links to a witness whose run has no helper any more. Returns what was removed.
///
/// A network namespace may outlive its processes for minutes: a connection whose other end is gone keeps it until it is
/// given up, and its links with it. So a link is no sign of life; the helper is, and it is there before the link.
pub(super) fn sweep_links(netlink: &mut Netlink) -> Result<Vec<String>> {
    let links = net::links(netlink)?;
    let alive = procs::runs();
    let mut removed = Vec::new();
    // Who does not see its own process sees nobody's.
    for link in links.into_iter().filter(|_| !alive.is_empty()) {
        let run = link.name.strip_prefix("awfp").and_then(|n| n.strip_suffix(['w', '6'])).unwrap_or_default();
        if run.len() == 8 && !alive.iter().any(|a| a.starts_with(run)) {
            let leftover = Made::Link { index: link.index, name: link.name };
            leftover.unmake(netlink).with_context(|| format!("remove leftover {leftover}"))?;
            removed.push(leftover.to_string());
        }
    }
    Ok(removed)
}

/// Removes marked rules and routes of runs that are dead: none of their bridges and none of their links exists any
/// more. Happens when a helper was itself killed. Returns what was removed.
pub(super) fn sweep(netlink: &mut Netlink) -> Result<Vec<String>> {
    // A run makes its links first, then routes, then rules. Read the other way round, a run that is just starting
    // shows its links to whoever has seen its rules; and a table without rules is left alone.
    let rules: Vec<Rule> = net::rules(netlink)?.into_iter().filter(|r| r.protocol == MARK && r.table > 255).collect();
    let routes: Vec<Route> =
        net::routes(netlink)?.into_iter().filter(|r| r.protocol == MARK && r.table > 255).collect();
    let links = net::links(netlink)?;
    let tables: BTreeSet<u32> = rules.iter().map(|r| r.table).collect();
    let mut removed = Vec::new();
    for table in tables {
        let bridge = |rule: &&Rule| rule.table == table && links.iter().any(|l| l.name == rule.iif && l.name != "lo");
        let linked = |route: &&Route| route.table == table && route.link != 0 && route.kind == libc::RTN_UNICAST;
        if rules.iter().any(|r| bridge(&r)) || routes.iter().any(|r| linked(&r)) {
            continue;
        }
        let dead_rules = rules.iter().filter(|r| r.table == table).cloned().map(Made::Rule);
        let dead_routes = routes.iter().filter(|r| r.table == table).cloned().map(Made::Route);
        for leftover in dead_rules.chain(dead_routes) {
            leftover.unmake(netlink).with_context(|| format!("remove leftover {leftover}"))?;
            removed.push(leftover.to_string());
        }
    }
    Ok(removed)
}

/// Priorities, just below the main table's 32766.
const FORTH: u32 = 31_000;
const BACK: u32 = 31_001;
const OWN: u32 = 31_002;
const SIX: u32 = 31_003;
const FR_ACT_TO_TBL: u8 = 1;
const FR_ACT_BLACKHOLE: u8 = 6;

#[cfg(test)]
mod tests {
    use super::*;

    fn plan() -> Plan {
        Plan {
            link: "awfl".into(),
            via: [203, 0, 113, 2].into(),
            via_mac: [2; 6],
            table: 4711,
            document: "203.0.113.0/24".parse().expect("a subnet"),
            bridges: vec![
                ("br-a".into(), "172.30.0.0/24".parse().expect("a subnet")),
                ("br-b".into(), "172.30.1.0/24".parse().expect("a subnet")),
            ],
            dead_end: false,
        }
    }

    #[test]
    fn every_route_and_rule_is_marked_and_in_the_runs_table() {
        let (routes, rules) = (routes_of(&plan(), 9), rules_of(&plan()));
        assert!(routes.iter().all(|route| route.protocol == MARK && route.table == 4711));
        assert!(rules.iter().all(|rule| rule.protocol == MARK && rule.table == 4711 && rule.priority < 32_766));
        assert_eq!(routes.iter().filter(|route| route.kind == libc::RTN_THROW).count(), 2);
    }

    #[test]
    fn the_blackhole_comes_before_the_default_and_the_bridges_come_last() {
        assert_eq!(routes_of(&plan(), 9)[0].kind, libc::RTN_BLACKHOLE);
        let rules = rules_of(&plan());
        assert_eq!(rules[0].iif, "lo");
        assert!(rules[4..].iter().all(|rule| rule.priority == FORTH && !rule.iif.is_empty()));
    }

    #[test]
    fn a_dead_end_keeps_the_rules_and_the_blackhole() {
        let dead = Plan { dead_end: true, ..plan() };
        let routes = routes_of(&dead, 7);
        assert!(routes.iter().any(|r| r.kind == libc::RTN_BLACKHOLE));
        assert!(routes.iter().all(|r| r.kind != libc::RTN_UNICAST));
        assert!(routes_of(&plan(), 7).iter().any(|r| r.kind == libc::RTN_UNICAST));
        assert_eq!(rules_of(&dead).len(), rules_of(&plan()).len());
    }
}
