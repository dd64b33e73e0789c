//! A resolver of one question and one server: the built-in proxy must not use the system's.

use awf_probe_probes::pace;
use std::net::IpAddr;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use hickory_proto::op::{Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::{Name, RData, RecordType};
use tokio::net::UdpSocket;
use tokio::time::timeout;

/// The addresses of a host name: IPv4 first, IPv6 if there are none.
pub(super) async fn lookup(host: &str, server: (IpAddr, u16)) -> Result<Vec<IpAddr>> {
    let name =
        Name::from_ascii(format!("{}.", host.trim_end_matches('.'))).with_context(|| format!("name {host:?}"))?;
    for kind in [RecordType::A, RecordType::AAAA] {
        let addresses = ask(&name, kind, server).await?;
        if !addresses.is_empty() {
            return Ok(addresses);
        }
    }
    bail!("{host} has no address")
}

async fn ask(name: &Name, kind: RecordType, server: (IpAddr, u16)) -> Result<Vec<IpAddr>> {
    let mut id = [0; 2];
    rustix::rand::getrandom(&mut id, rustix::rand::GetRandomFlags::empty()).context("draw a query id")?;
    let mut query = Message::new(u16::from_ne_bytes(id), MessageType::Query, OpCode::Query);
    query.metadata.recursion_desired = true;
    query.add_query(Query::query(name.clone(), kind));
    let bytes = query.to_vec().context("write a query")?;
    let any: IpAddr = if server.0.is_ipv4() { [0u8; 4].into() } else { [0u8; 16].into() };
    // A fresh port for each question, and only this server's answers.
    let socket = UdpSocket::bind((any, 0)).await.context("bind a port")?;
    socket.connect(server).await.context("reach the resolver")?;
    for _ in 0..TRIES {
        socket.send(&bytes).await.context("ask the resolver")?;
        if let Ok(reply) = timeout(pace::scaled(PATIENCE), matching(&socket, &query)).await {
            return addresses(&reply?);
        }
    }
    bail!("no answer from {}", server.0)
}

/// The first reply with our id and our question.
async fn matching(socket: &UdpSocket, query: &Message) -> Result<Message> {
    let mut buffer = [0; 4096];
    loop {
        let length = socket.recv(&mut buffer).await.context("read the resolver's answer")?;
        if let Ok(reply) = Message::from_vec(&buffer[..length])
            && reply.metadata.message_type == MessageType::Response
            && reply.metadata.id == query.metadata.id
            && reply.queries == query.queries
        {
            return Ok(reply);
        }
    }
}

fn addresses(reply: &Message) -> Result<Vec<IpAddr>> {
    if reply.metadata.response_code != ResponseCode::NoError {
        bail!("the resolver says {}", reply.metadata.response_code);
    }
    let found = reply.answers.iter().filter_map(|record| match &record.data {
        RData::A(address) => Some(IpAddr::V4(address.0)),
        RData::AAAA(address) => Some(IpAddr::V6(address.0)),
        _ => None,
    });
    Ok(found.take(ADDRESSES).collect())
}

const TRIES: u32 = 2;
const PATIENCE: Duration = Duration::from_secs(1);
const ADDRESSES: usize = 4;
