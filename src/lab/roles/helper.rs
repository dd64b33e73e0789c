//! The helper: the one role in the host's network and PID namespaces.
//!
//! It makes what a run needs on the host, watches every link, and takes everything away again when its stdin ends,
//! so even a harness that was killed leaves nothing. It needs NET_ADMIN, NET_RAW and SYS_PTRACE, never SYS_ADMIN: the
//! witness's end of the link is born in its namespace instead of being carried there.

use anyhow::{Context, Result, bail};

use super::capture::{Capture, counters};
use super::doors::{Doors, LinkDoor};
use super::host_rules::{self, HostRules};
use super::io::{Out, Role};
use super::markers::{Markers, Way};
use super::netlink::Netlink;
use super::routes::{self, Made, Plan};
use super::subnet::Subnet;
use super::tap::Tap;
use super::wire::{Answer, Ask, Cidr};
use super::{bpf, bridges, change, losses, net, procs, ranges, snapshot, tables};

/// The helper's state: what it made, and its tap.
pub(super) struct Helper {
    out: Out,
    made: Vec<Made>,
    bridges: Vec<String>,
    tap: Option<Capture>,
    markers: Option<Markers>,
    doors: Option<Doors>,
    link_door: Option<LinkDoor>,
    host_rules: HostRules,
    /// What the host's stack had lost when the link was made.
    backlog: u64,
}

impl Helper {
    /// A helper that has made nothing yet.
    pub(super) fn new(out: Out) -> Self {
        Self {
            out,
            made: Vec::new(),
            bridges: Vec::new(),
            tap: None,
            markers: None,
            doors: None,
            link_door: None,
            host_rules: HostRules::default(),
            backlog: 0,
        }
    }

    /// Makes the pair; a step that fails takes the pair away again.
    fn link(&mut self, link: String, peer: &str, pid: i32, bridge: Option<&str>, unknown: &[Cidr]) -> Result<Answer> {
        let mut netlink = Netlink::open(0)?;
        foreign_namespace(pid)?;
        let unknown = parse_all(unknown)?;
        if !unknown.is_empty() {
            let taken = ranges::taken(&mut netlink)?;
            if let Some((subnet, what)) = taken.iter().find(|(s, _)| unknown.iter().any(|u| u.overlaps(s))) {
                bail!("the host knows of {what} {subnet}");
            }
        }
        let bridge = match bridge {
            Some(name) => Some(net::find_link(&mut netlink, name)?.with_context(|| format!("no bridge {name}"))?.index),
            None => None,
        };
        let macs = (random_mac()?, random_mac()?);
        change::add_veth(&mut netlink, (&link, macs.0), (peer, macs.1), pid)
            .with_context(|| format!("make the pair {link} and {peer} of pid {pid}"))?;
        let index =
            net::find_link(&mut netlink, &link)?.with_context(|| format!("no link {link} after it was made"))?.index;
        // Where /proc/sys can be written IPv6 goes entirely; elsewhere the link only gets no address.
        let _ = std::fs::write(format!("/proc/sys/net/ipv6/conf/{link}/disable_ipv6"), "1");
        // A port of a bridge routes nothing itself.
        let ready = change::configure(&mut netlink, index, bridge.is_none())
            .and_then(|()| bridge.map_or(Ok(()), |bridge| change::join_bridge(&mut netlink, index, bridge)))
            .and_then(|()| change::set_up(&mut netlink, index));
        self.made.push(Made::Link { name: link.clone(), index });
        self.backlog = losses::of_backlog().context("read what the host's stack has lost")?;
        ready.with_context(|| format!("configure link {link}"))?;
        Ok(Answer::Macs { host: net::format_mac(&macs.0), peer: net::format_mac(&macs.1) })
    }

    fn lost(&self) -> Result<Answer> {
        let mut netlink = Netlink::open(0)?;
        let mut queue = 0;
        for made in &self.made {
            if let Made::Link { index, .. } = made {
                queue += losses::of_link(&mut netlink, *index).context("read what the link has lost")?;
            }
        }
        Ok(Answer::Lost { queue, backlog: losses::of_backlog()?.saturating_sub(self.backlog) })
    }

    fn tap(&mut self, subnets: &[Cidr], lab_links: Vec<String>) -> Result<Answer> {
        if self.tap.is_some() {
            bail!("the tap runs already");
        }
        let subnets = parse_all(subnets)?;
        let watch = Tap::new(lab_links, &subnets)?;
        self.tap = Some(Capture::start(None, &bpf::sources_in(&subnets), watch, &self.out)?);
        Ok(Answer::Ok)
    }
}

impl Role for Helper {
    async fn answer(&mut self, ask: Ask) -> Result<Answer> {
        match ask {
            Ask::ChooseRanges { document, lab, lab_count } => {
                let taken = ranges::taken(&mut Netlink::open(0)?)?;
                ranges::choose(&taken, &parse_all(&document)?, &parse_all(&lab)?, lab_count)
            }
            Ask::Snapshot => {
                let mut lines = snapshot::take(&mut Netlink::open(0)?)?;
                lines.extend(host_rules::listed());
                Ok(Answer::Lines { lines })
            }
            Ask::Link { link, peer, pid, bridge, unknown } => self.link(link, &peer, pid, bridge.as_deref(), &unknown),
            Ask::Routes { link, via, via_mac, table, document, bridges, dead_end } => {
                let bridges =
                    bridges.into_iter().map(|(name, subnet)| Ok((name, subnet.parse()?))).collect::<Result<_>>()?;
                let (via_mac, document) = (net::parse_mac(&via_mac)?, document.parse()?);
                let plan = Plan { link, via, via_mac, table, document, bridges, dead_end };
                self.bridges.extend(plan.bridges.iter().map(|(bridge, _)| bridge.clone()));
                routes::make(&mut Netlink::open(0)?, &plan, &mut self.made)?;
                Ok(Answer::Ok)
            }
            Ask::Preflight { checks, link } => {
                let mut netlink = Netlink::open(0)?;
                net::wait_until_running(&mut netlink, &link).await?;
                routes::preflight(&mut netlink, &checks, &link)?;
                Ok(Answer::Ok)
            }
            Ask::Tap { subnets, lab_links } => self.tap(&subnets, lab_links),
            Ask::Undo => self.undo().await.map(|()| Answer::Ok),
            Ask::Sweep => {
                let mut netlink = Netlink::open(0)?;
                let mut lines = routes::sweep_links(&mut netlink)?;
                lines.extend(routes::sweep(&mut netlink)?);
                // Rules first, links after: a run makes its links before its rules.
                let rules = host_rules::listed();
                let links = net::links(&mut netlink)?.into_iter().map(|l| l.name).collect();
                lines.extend(host_rules::sweep(&rules, &links));
                Ok(Answer::Lines { lines })
            }
            Ask::Doors { lab, name } => {
                let doors = Doors::open(parse_all(&lab)?, &name, &self.out).await?;
                let port = doors.port;
                self.doors = Some(doors);
                Ok(Answer::Doors { port })
            }
            Ask::LinkDoor { bridge } => {
                if self.link_door.is_none() {
                    self.link_door = LinkDoor::open(&mut Netlink::open(0)?, &bridge, &self.out).await?;
                }
                let door = self.link_door.as_ref();
                Ok(Answer::LinkDoor { address: door.map(|d| d.address), port: door.map_or(0, |d| d.port) })
            }
            Ask::HostRules { run, bridges } => {
                let make = |(nth, chain)| match self.host_rules.make(&run, nth, chain) {
                    Ok(()) => String::new(),
                    Err(e) => format!("{e:#}"),
                };
                Ok(Answer::HostRules { missing: bridges.iter().enumerate().map(make).collect() })
            }
            Ask::EndShim { pid, id } => procs::end_shim(pid, &id).map(|()| Answer::Ok),
            Ask::Markers { link, mac, from, to, port, nonce } => {
                let index =
                    net::find_link(&mut Netlink::open(0)?, &link)?.with_context(|| format!("no link {link}"))?.index;
                let markers = match self.markers.take() {
                    Some(markers) => markers,
                    None => Markers::open().context("open a packet socket")?,
                };
                let way = Way { link: index, mac: net::parse_mac(&mac)?, from, to, port, nonce: &nonce };
                self.markers.insert(markers).send(way)?;
                Ok(Answer::Ok)
            }
            Ask::Narrow { link, to } => {
                let made = self.made.iter().find_map(|made| match made {
                    Made::Link { name, index } if *name == link => Some(*index),
                    _ => None,
                });
                let index = made.with_context(|| format!("{link} is no link of this run"))?;
                // It goes when the link goes.
                change::add_bottleneck(&mut Netlink::open(0)?, index, to)
                    .with_context(|| format!("narrow link {link}"))?;
                Ok(Answer::Ok)
            }
            Ask::FindComm { comm } => Ok(Answer::Tasks { pids: procs::find_comm(&comm) }),
            Ask::Process { pid } => Ok(Answer::Processes { chain: procs::chain(pid) }),
            Ask::Orphans { ids } => {
                if let Some(id) = ids.iter().find(|id| id.len() < 12) {
                    bail!("container id {id:?} is too short to be told apart")
                }
                Ok(Answer::Orphans { processes: procs::mentioning(&ids), cgroups: procs::cgroups(&ids) })
            }
            Ask::Memory { id } => {
                if id.len() < 12 {
                    bail!("container id {id:?} is too short to be told apart")
                }
                Ok(Answer::Memory { processes: procs::memory(&id)? })
            }
            Ask::Sandbox { pid, comm } => Ok(Answer::Sandbox {
                tasks: procs::find_comm(&comm).len(),
                chain: procs::chain(pid),
                own_network: procs::own_network(pid)?,
            }),
            Ask::Namespaces { pid } => Ok(Answer::Namespaces { shared: procs::namespaces(pid)? }),
            Ask::Backends => Ok(Answer::Lines { lines: tables::backends()? }),
            Ask::Powers => Ok(Answer::Powers { permitted: procs::powers_of_parent()? }),
            Ask::Learned { bridges, mac } => {
                let mac = net::parse_mac(&mac)?;
                let mut lines = Vec::new();
                for bridge in bridges {
                    if bridges::learned(&bridge)?.contains(&mac) {
                        lines.push(bridge);
                    }
                }
                Ok(Answer::Lines { lines })
            }
            Ask::Knock { port } => Ok(Answer::Lines { lines: vec![bridges::knock(port).await?] }),
            Ask::Lost => self.lost(),
            Ask::Counters => Ok(counters(self.tap.as_ref(), &self.out)),
            Ask::Witness { .. }
            | Ask::WitnessIpv6 { .. }
            | Ask::Ipv6 { .. }
            | Ask::Serve { .. }
            | Ask::Mute { .. }
            | Ask::Proxy { .. }
            | Ask::StopProxy
            | Ask::Sidecar { .. } => {
                bail!("not a question for the helper")
            }
        }
    }

    async fn undo(&mut self) -> Result<()> {
        let mut netlink = Netlink::open(0)?;
        let mut failures = Vec::new();
        self.doors = None;
        self.link_door = None;
        // A bridge that is still there is one of a run that was cut short, and its containers may still be talking.
        // It goes down before its rules go, or their next packet would take the host's default route.
        for bridge in self.bridges.drain(..) {
            let down = routes::silence(&mut netlink, &bridge);
            failures.extend(down.err().map(|error| format!("bridge {bridge} is still up: {error:#}")));
        }
        if let Err(error) = self.host_rules.remove() {
            failures.push(format!("the chains on the host: {error:#}"));
        }
        while let Some(made) = self.made.pop() {
            if let Err(error) = made.unmake(&mut netlink) {
                failures.push(format!("{made}: {error}"));
            }
        }
        if failures.is_empty() { Ok(()) } else { bail!("left behind: {}", failures.join("; ")) }
    }
}

/// Fails unless the process has a network namespace of its own: the peer must not end up on the host.
fn foreign_namespace(pid: i32) -> Result<()> {
    let namespace = |of: &str| std::fs::read_link(format!("/proc/{of}/ns/net"));
    let theirs = namespace(&pid.to_string()).with_context(|| format!("look up the network namespace of pid {pid}"))?;
    if theirs == namespace("self").context("look up our own network namespace")? {
        bail!("pid {pid} lives in the host's network namespace");
    }
    Ok(())
}

/// A random, locally administered, unicast hardware address.
fn random_mac() -> Result<[u8; 6]> {
    let mut mac = [0; 6];
    rustix::rand::getrandom(&mut mac, rustix::rand::GetRandomFlags::empty()).context("draw random bytes")?;
    mac[0] = mac[0] & 0xfc | 2;
    Ok(mac)
}

fn parse_all(texts: &[Cidr]) -> Result<Vec<Subnet>> {
    texts.iter().map(|text| text.parse()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hardware_addresses_are_local_and_unicast() {
        let mac = random_mac().expect("random bytes");
        assert_eq!(mac[0] & 3, 2);
        assert_eq!(net::parse_mac(&net::format_mac(&mac)).expect("a round trip"), mac);
        assert!(net::parse_mac("02:00:00").is_err() && net::parse_mac("zz").is_err());
    }

    #[test]
    fn a_process_of_this_namespace_gets_no_peer() {
        let error = foreign_namespace(std::process::id() as i32).expect_err("our own namespace");
        assert!(error.to_string().contains("host's network namespace"), "{error}");
    }

    #[tokio::test]
    async fn questions_for_other_roles_fail() {
        let ask = Ask::Proxy { engine: "squid".into(), port: 1, allow: Vec::new(), resolver: [127, 0, 0, 1].into() };
        assert!(Helper::new(Out::to_nowhere()).answer(ask).await.is_err());
    }
}
