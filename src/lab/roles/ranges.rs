//! Choosing address ranges that touch nothing the host knows of.
//!
//! "Knows of" is every address, route of any table (with its gateways), policy rule, neighbour and nameserver.
//! A default route covers everything and therefore says nothing; only its gateway counts. What an earlier or
//! concurrent run marked as its own does not count either: it is kept apart by its table.

use std::net::IpAddr;

use anyhow::{Result, bail};

use super::net::{self, MARK};
use super::netlink::Netlink;
use super::subnet::Subnet;
use super::wire::Answer;

/// Takes the first free documentation range and the first `count` free lab subnets.
pub(super) fn choose(taken: &[(Subnet, String)], document: &[Subnet], lab: &[Subnet], count: usize) -> Result<Answer> {
    let mut passed_over = Vec::new();
    let mut free = |candidate: &Subnet| {
        let hit = taken.iter().find(|(subnet, _)| subnet.overlaps(candidate));
        if let Some((subnet, what)) = hit {
            passed_over.push(format!("{candidate} overlaps {what} {subnet}"));
        }
        hit.is_none()
    };
    let chosen = document.iter().find(|candidate| free(candidate)).copied();
    let mut subnets: Vec<Subnet> = Vec::new();
    for candidate in lab {
        if subnets.len() == count {
            break;
        }
        // Candidates may overlap each other, or the range just chosen.
        let apart = subnets.iter().chain(&chosen).all(|subnet| !subnet.overlaps(candidate));
        if apart && free(candidate) {
            subnets.push(*candidate);
        }
    }
    let Some(chosen) = chosen else { bail!("no documentation range is free: {}", passed_over.join("; ")) };
    if subnets.len() < count {
        bail!("only {} of {count} lab subnets are free: {}", subnets.len(), passed_over.join("; "));
    }
    let lab = subnets.iter().map(Subnet::to_string).collect();
    Ok(Answer::Ranges { document: chosen.to_string(), lab, passed_over })
}

/// Everything the host knows of, with a word for each.
pub(super) fn taken(netlink: &mut Netlink) -> Result<Vec<(Subnet, String)>> {
    let mut taken: Vec<(Subnet, String)> = Vec::new();
    for address in net::addresses(netlink)? {
        taken.push((Subnet::around(address.address, address.prefix), "address".into()));
    }
    for route in net::routes(netlink)?.into_iter().filter(|route| route.protocol != MARK) {
        let gateways = route.via.into_iter().chain(route.gateways).chain(route.source);
        taken.extend(gateways.map(|gateway| (Subnet::single(gateway), "gateway".into())));
        if !route.to.is_default() {
            taken.push((route.to, format!("route of table {}", route.table)));
        }
    }
    for rule in net::rules(netlink)?.into_iter().filter(|rule| rule.protocol != MARK) {
        let ends = rule.from.into_iter().chain(rule.to).filter(|subnet| !subnet.is_default());
        taken.extend(ends.map(|subnet| (subnet, format!("rule {}", rule.priority))));
    }
    for neighbour in net::neighbours(netlink)?.into_iter().filter(|neighbour| neighbour.protocol != MARK) {
        taken.push((Subnet::single(neighbour.address), "neighbour".into()));
    }
    taken.extend(nameservers().into_iter().map(|address| (Subnet::single(address), "nameserver".into())));
    Ok(taken)
}

/// The host's resolvers: of its init's view of the file system where we may look there, else of ours.
fn nameservers() -> Vec<IpAddr> {
    let read = |paths: &[&str]| paths.iter().find_map(|path| std::fs::read_to_string(path).ok()).unwrap_or_default();
    let mut addresses = parse_nameservers(&read(&["/proc/1/root/etc/resolv.conf", "/etc/resolv.conf"]));
    // Behind systemd's stub the real ones are here.
    addresses.extend(parse_nameservers(&read(&[
        "/proc/1/root/run/systemd/resolve/resolv.conf",
        "/run/systemd/resolve/resolv.conf",
    ])));
    addresses
}

fn parse_nameservers(text: &str) -> Vec<IpAddr> {
    let words = text.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    words
        .filter(|words| words.first() == Some(&"nameserver"))
        .filter_map(|words| words.get(1)?.split('%').next()?.parse().ok())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nets(texts: &[&str]) -> Vec<Subnet> {
        texts.iter().map(|text| text.parse().expect("a subnet")).collect()
    }

    fn host(texts: &[&str]) -> Vec<(Subnet, String)> {
        nets(texts).into_iter().map(|subnet| (subnet, "route of table 254".to_owned())).collect()
    }

    #[test]
    fn the_first_free_candidates_are_taken_and_the_others_named() {
        let host = host(&["192.0.2.0/24", "172.16.0.0/12"]);
        let answer = choose(
            &host,
            &nets(&["192.0.2.0/24", "198.51.100.0/24"]),
            &nets(&["172.30.0.0/24", "10.1.0.0/24", "10.1.0.0/25", "10.2.0.0/24"]),
            2,
        );
        let Answer::Ranges { document, lab, passed_over } = answer.expect("free ranges") else { panic!("not ranges") };
        assert_eq!(document, "198.51.100.0/24");
        assert_eq!(lab, ["10.1.0.0/24", "10.2.0.0/24"]);
        assert_eq!(passed_over[0], "192.0.2.0/24 overlaps route of table 254 192.0.2.0/24");
        assert_eq!(passed_over.len(), 2);
    }

    #[test]
    fn nothing_free_is_an_error_that_names_the_cause() {
        let host = host(&["203.0.113.5/32", "10.0.0.0/8"]);
        let error = choose(&host, &nets(&["203.0.113.0/24"]), &[], 0).expect_err("taken");
        assert!(error.to_string().contains("203.0.113.5/32"), "{error}");
        assert!(choose(&host, &nets(&["198.51.100.0/24"]), &nets(&["10.0.0.0/24"]), 1).is_err());
    }

    #[test]
    fn resolv_conf_in_all_its_forms() {
        let text = "# nameserver 1.1.1.1\nnameserver 192.0.2.1\n nameserver\tfe80::1%eth0\nnameserver\nnameserver x\nsearch a\n";
        assert_eq!(parse_nameservers(text), [IpAddr::from([192, 0, 2, 1]), "fe80::1".parse().expect("v6")]);
    }
}
