//! Names: the engine's embedded resolver, static entries, and the lab's approved resolver as the control.

use std::{fs, net::IpAddr, time::Duration};

use awf_probe_matrix::Outcome;
use hickory_resolver::{
    Resolver,
    config::{ConnectionConfig, NameServerConfig, ResolverConfig, ResolverOpts},
    net::runtime::TokioRuntimeProvider,
};

use crate::{Cx, Probe, net, pace};

pub(crate) const PROBES: &[Probe] = &[Probe {
    id: "dns",
    about: "embedded resolver, approved resolver, static hosts entries",
    specs: &["dns"],
    ask: dns,
}];

fn dns(cx: &mut Cx) {
    let Some(approved) = net::address(cx.text("approved")) else {
        return cx.fact("", Outcome::broken("no approved resolver"));
    };
    let embedded = IpAddr::from([127, 0, 0, 11]);
    let (peer, wanted) = (cx.text("peer").to_owned(), cx.text("peer_address").to_owned());
    let name = format!("{}.allowed.awf-probe.test.", cx.text("seed"));
    cx.fact("approved", lookup(approved, &name, ""));
    cx.fact("embedded.peer", lookup(embedded, &peer, &wanted));
    cx.fact("embedded.forward", lookup(embedded, &name, ""));
    cx.fact("embedded.unknown", lookup(embedded, "no-such-name.awf-probe.test.", ""));
    let hosts = fs::read_to_string("/etc/hosts").unwrap_or_default();
    let entry = |name: &str| hosts.lines().find(|l| l.split_whitespace().skip(1).any(|n| n == name)).map(str::to_owned);
    for (fact, name) in [("hosts.static", "static.awf-probe.test"), ("hosts.unknown", "unlisted.awf-probe.test")] {
        cx.fact(fact, entry(name).map_or_else(|| Outcome::refused("not listed", name), Outcome::allowed));
    }
    let conf = fs::read_to_string("/etc/resolv.conf").unwrap_or_default();
    let lines: Vec<&str> = conf.lines().filter(|l| !l.starts_with('#') && !l.trim().is_empty()).collect();
    cx.fact("resolv-conf", Outcome::value(lines.join("; ")));
}

/// An address for a name from one server, within two seconds.
pub(crate) fn lookup(server: IpAddr, name: &str, wanted: &str) -> Outcome {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(r) => r,
        Err(e) => return Outcome::broken(format!("runtime: {e}")),
    };
    runtime.block_on(async {
        let server_config = NameServerConfig::new(server, true, vec![ConnectionConfig::udp()]);
        let config = ResolverConfig::from_parts(None, vec![], vec![server_config]);
        let mut options = ResolverOpts::default();
        options.timeout = pace::scaled(Duration::from_millis(700));
        options.attempts = 2;
        options.use_hosts_file = hickory_resolver::config::ResolveHosts::Never;
        options.cache_size = 0;
        let resolver = Resolver::builder_with_config(config, TokioRuntimeProvider::default()).with_options(options);
        let resolver = match resolver.build() {
            Ok(r) => r,
            Err(e) => return Outcome::broken(format!("resolver: {e}")),
        };
        match resolver.ipv4_lookup(name).await {
            Ok(answer) => {
                let found: Vec<String> = answer.answers().iter().map(|r| r.data.to_string()).collect();
                if wanted.is_empty() || found.iter().any(|f| f == wanted) {
                    Outcome::allowed(format!("{name} is {} says {server}", found.join(" ")))
                } else {
                    Outcome::refused("other answer", format!("{name} is {found:?} says {server}, not {wanted}"))
                }
            }
            Err(e) if e.is_no_records_found() || e.is_nx_domain() => {
                Outcome::refused("no such name", format!("{name} says {server}"))
            }
            Err(e) => {
                let text = e.to_string();
                if text.contains("timed out") || text.contains("timeout") {
                    Outcome::TimedOut { after_ms: 1400, detail: format!("{name} asked of {server}") }
                } else {
                    Outcome::refused("no answer", format!("{name} asked of {server}: {text}"))
                }
            }
        }
    })
}
