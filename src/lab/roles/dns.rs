//! The witness's DNS server: a short list of names, every query reported.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use hickory_proto::op::{Edns, Message, MessageType, Metadata, OpCode, ResponseCode};
use hickory_proto::rr::rdata::{A, AAAA};
use hickory_proto::rr::{RData, Record, RecordType};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::io::Out;
use super::udp::Wildcard;
use super::wire::Say;

/// The names the server knows.
#[derive(Clone, Debug, Default)]
pub(super) struct Zone(Vec<(String, IpAddr)>);

impl Zone {
    /// From exact names and `*.suffix` patterns.
    pub(super) fn new(names: Vec<(String, IpAddr)>) -> Self {
        let clean = |name: String| name.trim_end_matches('.').to_ascii_lowercase();
        Self(names.into_iter().map(|(name, address)| (clean(name), address)).collect())
    }

    /// Every address of a name: those of the exact name, else those of the longest pattern; empty if it is unknown.
    fn find(&self, name: &str) -> Vec<IpAddr> {
        let all = |pattern: &str| {
            self.0.iter().filter(|(known, _)| known == pattern).map(|(_, address)| *address).collect::<Vec<_>>()
        };
        let exact = all(name);
        if !exact.is_empty() {
            return exact;
        }
        // From the longest suffix to the shortest; a pattern does not cover its own suffix.
        let suffixes = name.char_indices().filter(|(_, letter)| *letter == '.').map(|(at, _)| &name[at..]);
        suffixes.map(|suffix| all(&format!("*{suffix}"))).find(|found| !found.is_empty()).unwrap_or_default()
    }
}

/// What was asked and what was answered; the reply itself beside it.
#[derive(Debug)]
pub(super) struct Answered {
    reply: Vec<u8>,
    /// Name, type and answer in words; `None` for a query without a question.
    asked: Option<(String, String, String)>,
}

/// Answers one query; `None` if it deserves none (a response, or not DNS at all).
pub(super) fn answer(zone: &Zone, query: &[u8]) -> Option<Answered> {
    let request = match Message::from_vec(query) {
        Ok(request) => request,
        Err(_) => return malformed(query),
    };
    if request.metadata.message_type != MessageType::Query {
        return None;
    }
    let mut reply = Message::response(request.metadata.id, request.metadata.op_code);
    reply.metadata = Metadata::response_from_request(&request.metadata);
    reply.metadata.recursion_available = true;
    reply.add_queries(request.queries.iter().cloned());
    if request.edns.is_some() {
        let mut edns = Edns::new();
        edns.set_max_payload(1232);
        reply.set_edns(edns);
    }
    let asked = match request.queries.first() {
        Some(question) if request.metadata.op_code == OpCode::Query => {
            let name = question.name.to_ascii().trim_end_matches('.').to_ascii_lowercase();
            let known = zone.find(&name);
            let records: Vec<(RData, IpAddr)> =
                known.iter().filter_map(|address| Some((record(*address, question.query_type)?, *address))).collect();
            let words = match (known.is_empty(), records.is_empty()) {
                (true, _) => {
                    reply.metadata.response_code = ResponseCode::NXDomain;
                    "NXDOMAIN".to_owned()
                }
                (false, true) => "NODATA".to_owned(),
                (false, false) => records.iter().map(|(_, address)| address.to_string()).collect::<Vec<_>>().join(" "),
            };
            for (record, _) in records {
                reply.add_answer(Record::from_rdata(question.name.clone(), TTL, record));
            }
            Some((name, question.query_type.to_string(), words))
        }
        Some(_) => {
            reply.metadata.response_code = ResponseCode::NotImp;
            None
        }
        None => {
            reply.metadata.response_code = ResponseCode::FormErr;
            None
        }
    };
    Some(Answered { reply: reply.to_vec().ok()?, asked })
}

/// Serves one UDP socket for ever; while it is to be silent, takes queries and answers none.
pub(super) async fn serve_udp(socket: Wildcard, zone: Arc<Zone>, out: Out, silent: Arc<AtomicBool>) {
    let mut buffer = vec![0; 4096];
    loop {
        let Ok((length, client, server)) = socket.receive(&mut buffer).await else {
            // An ICMP error about an earlier reply; the next datagram is none the worse.
            tokio::time::sleep(Duration::from_millis(1)).await;
            continue;
        };
        if let Some(answered) = answer(&zone, &buffer[..length]) {
            report(&out, client, server, "udp", &answered);
            if silent.load(Ordering::SeqCst) {
                continue;
            }
            let _ = socket.send(&answered.reply, client, server).await;
        }
    }
}

/// Takes queries for ever and answers none.
pub(super) async fn swallow_udp(socket: Wildcard) {
    let mut buffer = vec![0; 4096];
    loop {
        if socket.receive(&mut buffer).await.is_err() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
}

/// Serves one TCP connection until it ends, idles or turns out not to speak DNS.
pub(super) async fn serve_tcp(mut stream: TcpStream, zone: &Zone, out: &Out, idle: Duration) {
    let (Ok(client), Ok(server)) = (stream.peer_addr(), stream.local_addr()) else {
        return;
    };
    let mut buffer = vec![0; usize::from(u16::MAX)];
    loop {
        let mut length = [0; 2];
        let Ok(Ok(_)) = timeout(idle, stream.read_exact(&mut length)).await else {
            return;
        };
        let query = &mut buffer[..usize::from(u16::from_be_bytes(length))];
        let Ok(Ok(_)) = timeout(idle, stream.read_exact(query)).await else {
            return;
        };
        let Some(answered) = answer(zone, query) else {
            return;
        };
        report(out, client, server.ip(), "tcp", &answered);
        let Ok(length) = u16::try_from(answered.reply.len()) else {
            return;
        };
        let framed = [&length.to_be_bytes()[..], &answered.reply].concat();
        let Ok(Ok(())) = timeout(idle, stream.write_all(&framed)).await else {
            return;
        };
    }
}

fn report(out: &Out, client: SocketAddr, server: IpAddr, over: &str, answered: &Answered) {
    if let Some((name, kind, words)) = &answered.asked {
        out.event(&Say::Dns {
            client: client.ip().to_canonical(),
            server: server.to_canonical(),
            over: over.to_owned(),
            name: name.clone(),
            kind: kind.clone(),
            answer: words.clone(),
        });
    }
}

fn record(address: IpAddr, kind: RecordType) -> Option<RData> {
    match (address, kind) {
        (IpAddr::V4(address), RecordType::A | RecordType::ANY) => Some(RData::A(A(address))),
        (IpAddr::V6(address), RecordType::AAAA | RecordType::ANY) => Some(RData::AAAA(AAAA(address))),
        _ => None,
    }
}

/// What has a whole header and is a query gets FORMERR.
fn malformed(query: &[u8]) -> Option<Answered> {
    let header = query.get(..12).filter(|header| header[2] & 0x80 == 0)?;
    let id = u16::from_be_bytes([header[0], header[1]]);
    Some(Answered { reply: Message::error_msg(id, OpCode::Query, ResponseCode::FormErr).to_vec().ok()?, asked: None })
}

/// Seconds an answer may be kept: nearly none, so that every attempt asks.
const TTL: u32 = 1;

#[cfg(test)]
mod tests {
    use super::*;
    use hickory_proto::op::Query;
    use hickory_proto::rr::Name;
    use proptest::prelude::*;

    fn zone() -> Zone {
        Zone::new(vec![
            ("Allowed.test.".into(), [203, 0, 113, 10].into()),
            ("*.wild.test".into(), [203, 0, 113, 11].into()),
            ("*.deep.wild.test".into(), [203, 0, 113, 12].into()),
        ])
    }

    fn ask(name: &str, kind: RecordType) -> (Message, Answered) {
        let mut query = Message::new(7, MessageType::Query, OpCode::Query);
        query.add_query(Query::query(Name::from_ascii(name).expect("a name"), kind));
        let answered = answer(&zone(), &query.to_vec().expect("bytes")).expect("an answer");
        (Message::from_vec(&answered.reply).expect("a message"), answered)
    }

    fn words(name: &str, kind: RecordType) -> (ResponseCode, String) {
        let (reply, answered) = ask(name, kind);
        (reply.metadata.response_code, answered.asked.expect("a question").2)
    }

    #[test]
    fn exact_names_patterns_and_the_unknown() {
        use ResponseCode::{NXDomain, NoError};
        assert_eq!(words("ALLOWED.test.", RecordType::A), (NoError, "203.0.113.10".into()));
        assert_eq!(words("a.b.wild.test.", RecordType::A), (NoError, "203.0.113.11".into()));
        assert_eq!(words("a.deep.wild.test.", RecordType::A), (NoError, "203.0.113.12".into()));
        assert_eq!(words("wild.test.", RecordType::A), (NXDomain, "NXDOMAIN".into()));
        assert_eq!(words("sub.allowed.test.", RecordType::A), (NXDomain, "NXDOMAIN".into()));
        assert_eq!(words("allowed.test.", RecordType::AAAA), (NoError, "NODATA".into()));
        assert_eq!(words(".", RecordType::NS), (NXDomain, "NXDOMAIN".into()));
    }

    #[test]
    fn replies_carry_the_question_and_the_address() {
        let (reply, answered) = ask("awfp0123456789ab.wild.test.", RecordType::A);
        assert_eq!((reply.metadata.id, reply.queries.len(), reply.answers.len()), (7, 1, 1));
        assert_eq!(reply.metadata.message_type, MessageType::Response);
        assert_eq!(answered.asked.expect("a question").0, "awfp0123456789ab.wild.test");
    }

    #[test]
    fn responses_and_garbage() {
        let response = Message::response(7, OpCode::Query).to_vec().expect("bytes");
        assert!(answer(&zone(), &response).is_none(), "answering answers would loop");
        assert!(answer(&zone(), b"").is_none());
        let damaged = [0, 9, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 63];
        let reply = answer(&zone(), &damaged).expect("FORMERR").reply;
        assert_eq!(Message::from_vec(&reply).expect("a message").metadata.response_code, ResponseCode::FormErr);
    }

    proptest! {
        #[test]
        fn garbage_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..100)) {
            let _ = answer(&zone(), &bytes);
        }
    }
}
