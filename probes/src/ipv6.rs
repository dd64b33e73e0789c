//! IPv6 switched off in a namespace, as AWF's script does it.

use std::{fs, io};

use awf_probe_matrix::Outcome;

use crate::{Cx, Probe, sys};

pub(crate) const PROBES: &[Probe] = &[Probe {
    id: "ipv6.off",
    about: "disable_ipv6 written for all links and for those to come, and what is left",
    specs: &[],
    ask: off,
}];

/// Where the kernel lists the addresses of a namespace.
const ADDRESSES: &str = "/proc/net/if_inet6";

fn off(cx: &mut Cx) {
    let write = |which: &str| fs::write(format!("/proc/sys/net/ipv6/conf/{which}/disable_ipv6"), "1");
    // Both are tried, as by the script, which goes on after either.
    let wrote: Vec<(&str, io::Result<()>)> = ["all", "default"].map(|which| (which, write(which))).into();
    let outcome = match wrote.iter().find_map(|(which, r)| r.as_ref().err().map(|e| (which, e))) {
        Some((which, e)) => sys::refused(e, format!("write net.ipv6.conf.{which}.disable_ipv6")),
        None => Outcome::allowed("net.ipv6.conf.{all,default}.disable_ipv6 = 1"),
    };
    cx.fact("", outcome);
    let left = match fs::read_to_string(ADDRESSES) {
        Ok(text) => Outcome::value(text.lines().filter(|l| !l.ends_with(" lo")).count()),
        Err(e) => sys::refused(&e, ADDRESSES),
    };
    cx.fact("addresses", left);
}
