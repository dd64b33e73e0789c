//! The helper's view of every link of the host: which are the lab's, and what the lab's packets do on the others.
//!
//! The table follows the kernel's own announcements, which are read before any packet, so a port that joined a
//! bridge a moment ago is known, and one that is already gone is still remembered.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use anyhow::{Context, Result};

use super::capture::{Fate, Frame, Watch};
use super::decode::parse_link;
use super::net::{Link, links};
use super::netlink::Netlink;
use super::subnet::Subnet;

/// The tap and the tripwire in one.
pub(super) struct Tap {
    announcements: Netlink,
    table: Table,
    /// Addresses that are the host's own, although they lie in the lab's subnets.
    gateways: HashSet<std::net::IpAddr>,
}

impl Tap {
    /// Follows the host's links; `lab` names the lab's own.
    pub(super) fn new(lab: Vec<String>, subnets: &[Subnet]) -> Result<Self> {
        // Subscribed before the dump, so that nothing falls between the two.
        let announcements = Netlink::open(libc::RTMGRP_LINK as u32).context("subscribe to link changes")?;
        let mut table = Table { lab: lab.into_iter().collect(), links: HashMap::new() };
        table.add(links(&mut Netlink::open(0)?)?);
        Ok(Self { announcements, table, gateways: subnets.iter().map(Subnet::gateway).collect() })
    }

    fn reread(&mut self) -> Result<()> {
        self.table.add(links(&mut Netlink::open(0)?)?);
        Ok(())
    }
}

impl Watch for Tap {
    fn refresh(&mut self) -> Result<()> {
        match self.announcements.waiting() {
            Ok(messages) => {
                // Only news: a link that is gone keeps its entry, for its packets may still be in the queue.
                let news = messages.iter().filter(|message| message.kind == libc::RTM_NEWLINK);
                self.table.add(news.filter_map(parse_link));
                Ok(())
            }
            // Announcements were lost: read everything anew.
            Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => self.reread(),
            Err(error) => Err(error).context("read link changes"),
        }
    }

    fn descriptor(&self) -> Option<i32> {
        Some(self.announcements.descriptor())
    }

    fn fate(&mut self, frame: &Frame) -> Fate {
        if !self.table.links.contains_key(&frame.link) {
            // An announcement that came after the last refresh.
            let _ = self.refresh();
        }
        match self.table.find(frame.link) {
            Some((name, true)) => Fate::Report(name),
            _ if self.gateways.contains(&frame.packet.src) => Fate::Ignore,
            Some((name, false)) => Fate::Trip(name),
            None => Fate::Trip(format!("if{}", frame.link).into()),
        }
    }
}

/// The host's links by index.
struct Table {
    lab: HashSet<String>,
    links: HashMap<u32, (Arc<str>, u32, bool)>,
}

impl Table {
    /// Takes in links, new or changed. A link that once was a port of the lab stays one: Docker takes ports off
    /// their bridge before it deletes them, and packets from before may be read after.
    fn add(&mut self, links: impl IntoIterator<Item = Link>) {
        for link in links {
            let before = self.links.get(&link.index).is_some_and(|(name, _, port)| *port && **name == *link.name);
            let port = before || self.is_lab(link.master);
            self.links.insert(link.index, (link.name.into(), link.master, port));
        }
        // A dump may list a port before its bridge.
        let ports: Vec<u32> =
            self.links.iter().filter(|(_, (_, master, _))| self.is_lab(*master)).map(|(index, _)| *index).collect();
        for index in ports {
            if let Some(entry) = self.links.get_mut(&index) {
                entry.2 = true;
            }
        }
    }

    /// Name of the link, and whether it is the lab's.
    fn find(&self, index: u32) -> Option<(Arc<str>, bool)> {
        self.links.get(&index).map(|(name, _, port)| (Arc::clone(name), *port || self.lab.contains(&**name)))
    }

    fn is_lab(&self, index: u32) -> bool {
        self.links.get(&index).is_some_and(|(name, ..)| self.lab.contains(&**name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn link(index: u32, name: &str, master: u32) -> Link {
        Link {
            index,
            name: name.into(),
            kind: String::new(),
            mac: Vec::new(),
            mtu: 1500,
            master,
            flags: 0,
            running: true,
        }
    }

    fn is_lab(table: &Table, index: u32) -> Option<bool> {
        table.find(index).map(|(_, lab)| lab)
    }

    #[test]
    fn bridges_their_ports_and_nothing_else_are_the_labs() {
        let mut table = Table { lab: ["br-lab".to_owned(), "awfw".to_owned()].into(), links: HashMap::new() };
        table.add([
            link(5, "port", 7),
            link(7, "br-lab", 0),
            link(8, "awfw", 0),
            link(2, "eth0", 0),
            link(3, "docker0", 0),
            link(4, "other", 3),
        ]);
        assert_eq!(
            [5, 7, 8, 2, 3, 4, 99].map(|index| is_lab(&table, index)),
            [Some(true), Some(true), Some(true), Some(false), Some(false), Some(false), None]
        );
    }

    #[test]
    fn a_port_that_leaves_its_bridge_is_remembered_but_not_its_index() {
        let mut table = Table { lab: ["br-lab".to_owned()].into(), links: HashMap::new() };
        table.add([link(7, "br-lab", 0), link(5, "port", 7)]);
        table.add([link(5, "port", 0)]);
        assert_eq!(is_lab(&table, 5), Some(true));
        table.add([link(5, "eth1", 0)]);
        assert_eq!(is_lab(&table, 5), Some(false), "another device under the same number");
    }

    #[test]
    fn a_device_joins_later() {
        let mut table = Table { lab: ["br-lab".to_owned()].into(), links: HashMap::new() };
        table.add([link(7, "br-lab", 0), link(5, "port", 0)]);
        assert_eq!(is_lab(&table, 5), Some(false));
        table.add([link(5, "port", 7)]);
        assert_eq!(is_lab(&table, 5), Some(true));
    }
}
