//! The sandbox on its bridges: addresses, the way out, names, neighbours, and a network that comes later.

use std::{
    ffi::CStr,
    fs,
    net::{IpAddr, Ipv4Addr},
    time::Duration,
};

use awf_probe_matrix::Outcome;

use crate::{Cx, Probe, dns, sys};

pub(crate) const PROBES: &[Probe] = &[
    Probe { id: "bridge.address", about: "whether an interface has an IPv4 address", specs: &[], ask: address },
    Probe {
        id: "bridge.gateway",
        about: "whether the default route is the subnet's gateway",
        specs: &[],
        ask: gateway,
    },
    Probe { id: "bridge.name", about: "asks the embedded resolver for a name", specs: &[], ask: name },
];

/// Name, address and prefix length of every interface, as getifaddrs(3) has them.
fn interfaces() -> Vec<(String, Ipv4Addr, u32)> {
    let mut first = std::ptr::null_mut();
    // SAFETY: getifaddrs fills a list that freeifaddrs takes back below.
    if unsafe { libc::getifaddrs(&raw mut first) } != 0 {
        return vec![];
    }
    let mut found = Vec::new();
    let mut at = first;
    // SAFETY: the list ends with a null pointer; its addresses are null or of the family they name.
    while let Some(entry) = unsafe { at.as_ref() } {
        at = entry.ifa_next;
        // SAFETY: as above; the name is a C string of the list.
        unsafe {
            if entry.ifa_addr.is_null() || i32::from((*entry.ifa_addr).sa_family) != libc::AF_INET {
                continue;
            }
            let of =
                |sockaddr: *const libc::sockaddr| u32::from_be((*sockaddr.cast::<libc::sockaddr_in>()).sin_addr.s_addr);
            let prefix = if entry.ifa_netmask.is_null() { 0 } else { of(entry.ifa_netmask).count_ones() };
            let name = CStr::from_ptr(entry.ifa_name).to_string_lossy().into_owned();
            found.push((name, Ipv4Addr::from(of(entry.ifa_addr)), prefix));
        }
    }
    // SAFETY: the list of getifaddrs, not used any more.
    unsafe { libc::freeifaddrs(first) };
    found
}

/// Looks until the address is there, or for the time it is given: an engine connects a network after it has answered.
fn address(cx: &mut Cx) {
    let Ok(wanted) = cx.text("address").parse::<Ipv4Addr>() else {
        return cx.fact("", Outcome::broken("no address to look for"));
    };
    let limit = Duration::from_millis(cx.number("wait_ms").unwrap_or(0));
    let mut all = interfaces();
    sys::until(limit, || {
        all = interfaces();
        all.iter().any(|(_, a, _)| *a == wanted)
    });
    let words: Vec<String> = all.iter().map(|(n, a, p)| format!("{n} {a}/{p}")).collect();
    let outcome = match all.iter().find(|(_, a, _)| *a == wanted) {
        None => Outcome::refused("no such address", words.join(", ")),
        Some((_, _, 24)) => Outcome::allowed(words.join(", ")),
        Some(_) => Outcome::refused("another subnet", words.join(", ")),
    };
    cx.fact("", outcome);
}

/// Default routes of /proc/net/route; addresses there are in the machine's byte order.
fn gateway(cx: &mut Cx) {
    let routes = match fs::read_to_string("/proc/net/route") {
        Ok(text) => text,
        Err(e) => return cx.fact("", sys::refused(&e, "/proc/net/route")),
    };
    let number = |text: Option<&&str>| text.and_then(|t| u32::from_str_radix(t, 16).ok());
    let found: Vec<String> = routes
        .lines()
        .skip(1)
        .map(|l| l.split_whitespace().collect::<Vec<_>>())
        .filter(|f| number(f.get(1)) == Some(0) && number(f.get(7)) == Some(0))
        .filter_map(|f| number(f.get(2)).map(|g| Ipv4Addr::from(u32::from_be(g)).to_string()))
        .collect();
    let right = found.len() == 1 && found[0] == cx.text("gateway");
    let words = format!("default route by {}", if found.is_empty() { "none".to_owned() } else { found.join(" and ") });
    cx.fact("", if right { Outcome::allowed(words) } else { Outcome::refused("another route", words) });
}

fn name(cx: &mut Cx) {
    let (name, wanted) = (cx.text("name").to_owned(), cx.text("address").to_owned());
    cx.fact("", dns::lookup(IpAddr::from([127, 0, 0, 11]), &name, &wanted));
}
