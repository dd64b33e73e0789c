//! The sidecar role: AWF's API proxy, DoH proxy and CLI proxy in one container, as far as a network sees them, and a
//! neighbour that hears what is sent on the link.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use tokio::task::JoinHandle;

use super::capture::{Capture, Fate, Frame, Watch, counters};
use super::dns::Zone;
use super::io::{Out, Role};
use super::netlink::Netlink;
use super::servers::{self, Shared};
use super::wire::{Answer, Ask};
use super::{bpf, change, net};

/// The sidecar's state.
pub(super) struct Sidecar {
    out: Out,
    capture: Option<Capture>,
    servers: Vec<JoinHandle<()>>,
}

impl Sidecar {
    /// A sidecar that does nothing yet.
    pub(super) const fn new(out: Out) -> Self {
        Self { out, capture: None, servers: Vec::new() }
    }

    fn start(&mut self, addresses: &[IpAddr], ports: &[u16]) -> Result<()> {
        if self.capture.is_some() {
            bail!("the sidecar runs already");
        }
        let mut netlink = Netlink::open(0)?;
        let own = net::addresses(&mut netlink)?;
        for address in addresses {
            let link = own.iter().find(|a| same_subnet(a.address, *address));
            let link = link.with_context(|| format!("no link has the subnet of {address}"))?.link;
            change::add_address(&mut netlink, link, *address).with_context(|| format!("add address {address}"))?;
        }
        let names = net::links(&mut netlink)?.into_iter().map(|l| (l.index, l.name.into())).collect();
        self.capture = Some(Capture::start(None, &bpf::arriving(), Neighbour(names), &self.out)?);
        let shared = Shared::new(Arc::new(Zone::default()), self.out.clone(), Arc::default())?;
        for port in ports {
            let listener = servers::listen(Ipv4Addr::UNSPECIFIED.into(), *port)?;
            self.servers.push(tokio::spawn(servers::accept(listener, Arc::clone(&shared))));
        }
        Ok(())
    }
}

/// Whether two addresses share their first three bytes: the lab's subnets are /24.
fn same_subnet(a: IpAddr, b: IpAddr) -> bool {
    match (a, b) {
        (IpAddr::V4(a), IpAddr::V4(b)) => a.octets()[..3] == b.octets()[..3],
        _ => false,
    }
}

impl Role for Sidecar {
    async fn answer(&mut self, ask: Ask) -> Result<Answer> {
        match ask {
            Ask::Sidecar { addresses, tcp } => self.start(&addresses, &tcp).map(|()| Answer::Ok),
            Ask::Counters => Ok(counters(self.capture.as_ref(), &self.out)),
            _ => bail!("not a question for a sidecar"),
        }
    }

    /// Addresses go with the namespace.
    async fn undo(&mut self) -> Result<()> {
        self.servers.drain(..).for_each(|server| server.abort());
        Ok(())
    }
}

/// What arrives from others, whoever it is addressed to.
struct Neighbour(HashMap<u32, Arc<str>>);

impl Watch for Neighbour {
    fn fate(&mut self, frame: &Frame) -> Fate {
        match self.0.get(&frame.link) {
            Some(name) if &**name != "lo" => Fate::Report(Arc::clone(name)),
            Some(_) => Fate::Ignore,
            None => Fate::Report("eth?".into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn subnets_are_told_apart() {
        let of = |text: &str| text.parse().expect("an address");
        assert!(same_subnet(of("10.213.4.30"), of("10.213.4.50")));
        assert!(!same_subnet(of("10.213.4.30"), of("10.213.5.50")));
        assert!(!same_subnet(of("10.213.4.30"), of("::1")));
    }
}
