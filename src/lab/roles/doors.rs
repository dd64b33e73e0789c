//! Listeners of the run on the host, so that an agent that reaches the host reaches something of ours.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddrV6};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener};
use std::sync::Arc;

use anyhow::{Context, Result};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use super::io::Out;
use super::net;
use super::netlink::Netlink;
use super::packet::find_nonce;
use super::speak::{Peer, speak};
use super::subnet::Subnet;
use super::wire::Say;

/// The listeners; dropped, they are closed.
pub(super) struct Doors {
    /// The TCP port.
    pub(super) port: u16,
    tasks: Vec<JoinHandle<()>>,
}

impl Drop for Doors {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

impl Doors {
    /// Opens both. A client that is not of the lab is hung up on: the port is open to the host's other networks, too.
    pub(super) async fn open(lab: Vec<Subnet>, name: &str, out: &Out) -> Result<Self> {
        let tcp = TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0)).await.context("listen on a TCP port of the host")?;
        let port = tcp.local_addr()?.port();
        let address = SocketAddr::from_abstract_name(name).context("name an abstract socket")?;
        let unix = UnixListener::bind_addr(&address).with_context(|| format!("listen on @{name}"))?;
        unix.set_nonblocking(true)?;
        let unix = tokio::net::UnixListener::from_std(unix)?;
        let lab = Arc::new(lab);
        let to = (out.clone(), out.clone());
        let tasks = vec![
            tokio::spawn(async move {
                while let Ok((stream, client)) = tcp.accept().await {
                    let ours = lab.iter().any(|s| s.contains(client.ip().to_canonical()));
                    if let (true, Ok(server)) = (ours, stream.local_addr()) {
                        let out = to.0.clone();
                        tokio::spawn(async move {
                            speak(stream, &Peer { client, server, sni: None, content: None }, &out).await
                        });
                    }
                }
            }),
            tokio::spawn(async move {
                while let Ok((mut stream, _)) = unix.accept().await {
                    let out = to.1.clone();
                    tokio::spawn(async move {
                        let mut bytes = [0; 256];
                        let n = stream.read(&mut bytes).await.unwrap_or(0);
                        let nowhere = IpAddr::from(Ipv4Addr::UNSPECIFIED);
                        let path = format!("/{}", find_nonce(&bytes[..n]));
                        out.event(&Say::Http {
                            client: nowhere,
                            client_port: 0,
                            server: nowhere,
                            port: 0,
                            sni: None,
                            host: "abstract unix socket".to_owned(),
                            path,
                        });
                        drop(stream.write_all(b"awf-host\n").await);
                    });
                }
            }),
        ];
        Ok(Self { port, tasks })
    }
}

/// A listener at a link-local address: nobody beyond its link can reach it.
pub(super) struct LinkDoor {
    pub(super) address: Ipv6Addr,
    /// The TCP port.
    pub(super) port: u16,
    task: JoinHandle<()>,
}

impl Drop for LinkDoor {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl LinkDoor {
    /// Opens it; `None` if the link has no such address that can be used by now.
    pub(super) async fn open(netlink: &mut Netlink, link: &str, out: &Out) -> Result<Option<Self>> {
        let index = net::find_link(netlink, link)?.with_context(|| format!("no link {link}"))?.index;
        let own = net::addresses(netlink)?.into_iter().filter(|a| a.link == index && !a.tentative);
        let mut local = own.filter_map(|a| match a.address {
            IpAddr::V6(a) if a.is_unicast_link_local() => Some(a),
            _ => None,
        });
        let Some(address) = local.next() else { return Ok(None) };
        let tcp = TcpListener::bind(SocketAddrV6::new(address, 0, 0, index)).await;
        let tcp = tcp.with_context(|| format!("listen at {address} of {link}"))?;
        let port = tcp.local_addr()?.port();
        let out = out.clone();
        let task = tokio::spawn(async move {
            while let Ok((stream, client)) = tcp.accept().await {
                let Ok(server) = stream.local_addr() else { continue };
                let out = out.clone();
                tokio::spawn(
                    async move { speak(stream, &Peer { client, server, sni: None, content: None }, &out).await },
                );
            }
        });
        Ok(Some(Self { address, port, task }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::net::TcpStream;

    #[tokio::test]
    async fn whoever_is_not_of_the_lab_is_hung_up_on() {
        let name = format!("awfp-test-{}", std::process::id());
        let lab = vec!["10.213.1.0/24".parse().expect("a subnet")];
        let doors = Doors::open(lab, &name, &Out::to_nowhere()).await.expect("open");
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, doors.port)).await.expect("connected");
        let mut reply = Vec::new();
        let _ = stream.write_all(b"GET /awfp0123456789ab HTTP/1.0\r\n\r\n").await;
        let _ = stream.read_to_end(&mut reply).await;
        assert!(reply.is_empty(), "{reply:?}");
    }
}
