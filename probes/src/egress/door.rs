//! Doors that are not the Internet's: the host behind the gateway's address, neighbours, the host's unix sockets.

use std::{
    io::{Read, Write},
    net::SocketAddr,
    os::{linux::net::SocketAddrExt, unix},
};

use awf_probe_matrix::Outcome;

use super::{Way, report, tcp::request};
use crate::{
    Cx,
    net::{self, TcpTry, sent},
    sys::refused,
};

fn one(cx: &mut Cx, way: &mut Way, host: &str, port: u64) {
    let (Ok(host), Ok(port)) = (host.parse::<std::net::IpAddr>(), u16::try_from(port)) else {
        return cx.fact("", Outcome::broken("no address"));
    };
    if port == 0 {
        return cx.fact("", Outcome::Skipped { why: "the host's listener could not be started".to_owned() });
    }
    let nonce = way.nonces.next();
    let hello = request(&nonce);
    let one = TcpTry::start(net::on_link(host, port), nonce, hello);
    report(cx, vec![(String::new(), one)], way.wait);
}

pub(super) fn gateway(cx: &mut Cx, way: &mut Way) {
    let (host, port) = (way.gateway.clone(), cx.number("host_port").unwrap_or(0));
    one(cx, way, &host, port);
}

pub(super) fn other_bridge(cx: &mut Cx, way: &mut Way) {
    let host = cx.text("other_bridge").to_owned();
    one(cx, way, &host, 10_000);
}

/// A sidecar answers who talks to it: all ports must.
pub(super) fn peer(cx: &mut Cx, way: &mut Way, ports: &[u16]) {
    let tries = ports.iter().map(|port| {
        let name = if ports.len() == 1 { String::new() } else { port.to_string() };
        let nonce = way.nonces.next();
        let hello = request(&nonce);
        (name, TcpTry::start((way.dst, *port).into(), nonce, hello))
    });
    let tries = tries.collect();
    // Slow answers are answers.
    report(cx, tries, way.wait * 3);
}

/// Abstract sockets belong to a network namespace: the host's must not be reachable from another one.
pub(super) fn abstract_host(cx: &mut Cx, way: &mut Way) {
    let nonce = way.nonces.next();
    let name = cx.text("abstract").to_owned();
    let sent = sent(0, SocketAddr::new(way.dst, 0), &nonce);
    if name.is_empty() {
        return cx.fact("", Outcome::Skipped { why: "the host's listener could not be started".to_owned() });
    }
    let connected =
        unix::net::SocketAddr::from_abstract_name(&name).and_then(|a| unix::net::UnixStream::connect_addr(&a));
    let outcome = match connected {
        Ok(mut stream) => {
            drop(stream.set_read_timeout(Some(way.wait)));
            let wrote = stream.write_all(nonce.as_bytes());
            let mut buffer = [0; 64];
            let n = stream.read(&mut buffer).unwrap_or(0);
            Outcome::allowed(format!("connected to @{name}, wrote {}, read {n} bytes", wrote.is_ok()))
        }
        Err(e) => refused(&e, format!("connect @{name}")),
    };
    cx.sent("", outcome, sent);
}
