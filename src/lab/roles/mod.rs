//! The lab's roles: what this executable does inside the lab's own containers.
//!
//! `helper` lives in the host's network namespace and owns every link, route and rule of a run; `witness` plays
//! the Internet behind the helper's veth pair; `proxy` is the agent's only way out; `sidecar` stands beside it; `holder`
//! keeps a namespace that an agent joins. Each speaks the JSON Lines of [`wire`] over stdin and stdout, and undoes what it made when stdin ends. On the host's side only this module
//! knows netlink and packet sockets.

mod acl;
mod attributes;
mod bpf;
mod bridges;
mod builtin;
mod capture;
mod change;
mod decode;
mod dns;
mod doors;
mod helper;
mod holder;
mod host_rules;
mod http;
mod io;
mod losses;
mod markers;
mod net;
mod netlink;
mod packet;
mod procs;
mod proxy;
mod ranges;
mod resolve;
mod routes;
mod servers;
mod sidecar;
mod snapshot;
mod socket;
mod speak;
mod squid;
mod squid_log;
mod subnet;
mod tables;
mod tap;
mod target;
mod udp;
pub mod wire;
mod witness;

use anyhow::{Result, bail};

/// The runs whose helper is there, of all users, as far as the process table shows them.
pub(crate) fn runs() -> Vec<String> {
    procs::runs()
}

/// Runs the role `helper`, `witness`, `proxy`, `sidecar` or `holder` until its stdin ends or a signal asks it to leave.
pub async fn main(role: &str) -> Result<()> {
    match role {
        "helper" => io::serve(role, helper::Helper::new).await,
        "witness" => io::serve(role, witness::Witness::new).await,
        "proxy" => io::serve(role, proxy::Proxy::new).await,
        "sidecar" => io::serve(role, sidecar::Sidecar::new).await,
        "holder" => io::serve(role, |_| holder::Holder).await,
        other => bail!("no role is called {other:?}: use helper, witness, proxy, sidecar or holder"),
    }
}
