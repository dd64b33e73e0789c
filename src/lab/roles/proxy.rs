//! The proxy role: Squid or the built-in engine on one port, and a capture of what arrives at this container.

use std::collections::{HashMap, HashSet};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use super::acl::Acl;
use super::builtin::Builtin;
use super::capture::{Capture, Fate, Frame, Watch, counters};
use super::io::{Out, Role};
use super::netlink::Netlink;
use super::squid::Squid;
use super::wire::{Answer, Ask};
use super::{bpf, net};

/// The proxy's state.
pub(super) struct Proxy {
    out: Out,
    capture: Option<Capture>,
    engine: Option<Engine>,
}

enum Engine {
    Squid(Squid),
    Builtin(JoinHandle<()>),
}

impl Proxy {
    /// A proxy that does nothing yet.
    pub(super) const fn new(out: Out) -> Self {
        Self { out, capture: None, engine: None }
    }

    async fn start(&mut self, engine: &str, port: u16, acl: Acl, resolver: IpAddr) -> Result<Answer> {
        if self.engine.is_some() {
            bail!("the proxy runs already");
        }
        if self.capture.is_none() {
            self.capture = Some(Capture::start(None, &bpf::arriving(), Own::new()?, &self.out)?);
        }
        let (started, version) = match engine {
            "squid" => {
                let squid = Squid::start(port, &acl, resolver, &self.out).await?;
                let version = squid.version.clone();
                (Engine::Squid(squid), version)
            }
            "builtin" => {
                let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, port))
                    .await
                    .with_context(|| format!("listen on TCP port {port}"))?;
                let proxy = Builtin::new(acl, (resolver, 53), self.out.clone());
                (
                    Engine::Builtin(tokio::spawn(proxy.accept(listener))),
                    format!("awf-probe {}", env!("CARGO_PKG_VERSION")),
                )
            }
            other => bail!("no proxy engine is called {other:?}: use squid or builtin"),
        };
        self.engine = Some(started);
        Ok(Answer::Proxy { engine: engine.to_owned(), version })
    }
}

impl Role for Proxy {
    async fn answer(&mut self, ask: Ask) -> Result<Answer> {
        match ask {
            Ask::Proxy { engine, port, allow, resolver } => self.start(&engine, port, Acl::new(&allow), resolver).await,
            Ask::StopProxy => {
                self.undo().await?;
                Ok(Answer::Ok)
            }
            Ask::Counters => Ok(counters(self.capture.as_ref(), &self.out)),
            _ => bail!("not a question for the proxy"),
        }
    }

    async fn undo(&mut self) -> Result<()> {
        match self.engine.take() {
            Some(Engine::Squid(squid)) => squid.stop().await,
            Some(Engine::Builtin(server)) => server.abort(),
            None => {}
        }
        Ok(())
    }
}

/// Packets to this container's own addresses, but for what it says to itself.
struct Own {
    names: HashMap<u32, Arc<str>>,
    loopback: u32,
    addresses: HashSet<IpAddr>,
    read: Instant,
}

impl Own {
    fn new() -> Result<Self> {
        let mut own = Self { names: HashMap::new(), loopback: 0, addresses: HashSet::new(), read: Instant::now() };
        own.reread()?;
        Ok(own)
    }

    fn reread(&mut self) -> Result<()> {
        let mut netlink = Netlink::open(0)?;
        for link in net::links(&mut netlink)? {
            if link.flags & libc::IFF_LOOPBACK as u32 != 0 {
                self.loopback = link.index;
            }
            self.names.insert(link.index, link.name.into());
        }
        self.addresses = net::addresses(&mut netlink)?.into_iter().map(|address| address.address).collect();
        self.read = Instant::now();
        Ok(())
    }
}

impl Watch for Own {
    fn fate(&mut self, frame: &Frame) -> Fate {
        if frame.link == self.loopback {
            return Fate::Ignore;
        }
        // A network may be connected after the start.
        let known = |own: &Self| own.names.contains_key(&frame.link) && own.addresses.contains(&frame.packet.dst);
        if !known(self) && self.read.elapsed() > REREAD {
            let _ = self.reread();
        }
        match self.names.get(&frame.link) {
            Some(name) if self.addresses.contains(&frame.packet.dst) => Fate::Report(Arc::clone(name)),
            Some(_) | None => Fate::Ignore,
        }
    }
}

/// How often a packet to an unknown address may be a reason to look again.
const REREAD: Duration = Duration::from_millis(50);
