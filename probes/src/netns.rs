//! A network namespace shared by two containers: is it one and the same for both?

use std::{
    fs,
    io::{self, Read, Write},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    os::{fd::AsRawFd, linux::net::SocketAddrExt, unix::net},
    time::Duration,
};

use awf_probe_matrix::Outcome;

use crate::{Cx, Probe, sys};

pub(crate) const PROBES: &[Probe] = &[
    Probe {
        id: "netns.listen",
        about: "a server on 127.0.0.1 or another address that answers with a token, until the sandbox ends",
        specs: &[],
        ask: listen,
    },
    Probe { id: "netns.dial", about: "asks there for that token", specs: &[], ask: dial },
    Probe {
        id: "netns.abstract-listen",
        about: "a server on an abstract unix socket that answers with a token, until the sandbox ends",
        specs: &[],
        ask: abstract_listen,
    },
    Probe {
        id: "netns.abstract-dial",
        about: "asks the abstract socket for that token",
        specs: &[],
        ask: abstract_dial,
    },
    Probe {
        id: "netns.addresses",
        about: "IPv4 routes and interfaces as this side sees them",
        specs: &[],
        ask: addresses,
    },
];

fn port(cx: &Cx) -> u16 {
    cx.number("port").and_then(|p| u16::try_from(p).ok()).unwrap_or(0)
}

fn listen(cx: &mut Cx) {
    let at = local(cx);
    let listener = match TcpListener::bind(at) {
        Ok(l) => l,
        Err(e) => return cx.fact("", sys::refused(&e, format!("bind {at}"))),
    };
    let token = cx.text("token").to_owned();
    cx.fact("", Outcome::allowed("listening"));
    serve(listener.as_raw_fd(), listener.incoming(), &token);
}

/// Where the server is: 127.0.0.1, unless the scenario names another address.
fn local(cx: &Cx) -> SocketAddr {
    let address = cx.text("at").parse().unwrap_or(Ipv4Addr::LOCALHOST);
    SocketAddr::from((address, port(cx)))
}

/// Abstract names belong to the network namespace, as ports do.
fn abstract_name(cx: &Cx) -> io::Result<net::SocketAddr> {
    net::SocketAddr::from_abstract_name(format!("awf-probe-{}-{}", cx.text("token"), port(cx)))
}

fn abstract_listen(cx: &mut Cx) {
    let listener = match abstract_name(cx).and_then(|name| net::UnixListener::bind_addr(&name)) {
        Ok(l) => l,
        Err(e) => return cx.fact("", sys::refused(&e, "bind an abstract socket")),
    };
    let token = cx.text("token").to_owned();
    cx.fact("", Outcome::allowed("listening"));
    serve(listener.as_raw_fd(), listener.incoming(), &token);
}

fn abstract_dial(cx: &mut Cx) {
    let connected = abstract_name(cx).and_then(|name| net::UnixStream::connect_addr(&name)).and_then(|s| {
        s.set_read_timeout(Some(PATIENCE))?;
        Ok(s)
    });
    told(cx, connected, "connect to an abstract socket");
}

/// Answers every client with the token, in a child, until the sandbox ends. The child closes every inherited descriptor
/// but the listener, so that the harness does not wait for it.
fn serve<S: Write>(keep: i32, clients: impl Iterator<Item = io::Result<S>>, token: &str) {
    // SAFETY: the guest is single-threaded.
    if unsafe { libc::fork() } != 0 {
        return;
    }
    for fd in (0..64).filter(|fd| *fd != keep) {
        // SAFETY: the descriptors are this child's copies and are not used again.
        unsafe { libc::close(fd) };
    }
    for mut client in clients.flatten() {
        drop(client.write_all(token.as_bytes()));
    }
    // SAFETY: leaves without running the parent's destructors.
    unsafe { libc::_exit(0) }
}

fn dial(cx: &mut Cx) {
    let to = local(cx);
    let connected = TcpStream::connect_timeout(&to, PATIENCE).and_then(|s| {
        s.set_read_timeout(Some(PATIENCE))?;
        Ok(s)
    });
    told(cx, connected, &to.to_string());
}

/// How long a server is waited for, that is there or not.
const PATIENCE: Duration = Duration::from_secs(2);

/// Whether the server says the token.
fn told(cx: &mut Cx, connected: io::Result<impl Read>, what: &str) {
    let mut got = String::new();
    let outcome = match connected.and_then(|mut s| s.read_to_string(&mut got)) {
        Ok(_) if got == cx.text("token") => Outcome::allowed("the peer's token"),
        Ok(_) => Outcome::refused("other token", got.chars().take(40).collect::<String>()),
        Err(e) => sys::refused(&e, what),
    };
    cx.fact("", outcome);
}

fn addresses(cx: &mut Cx) {
    let names = fs::read_to_string("/proc/net/dev").unwrap_or_default();
    let names: Vec<&str> = names.lines().filter_map(|l| l.split_once(':').map(|(n, _)| n.trim())).collect();
    let routes = fs::read_to_string("/proc/net/route").unwrap_or_default();
    let count = routes.lines().skip(1).filter(|l| !l.trim().is_empty()).count();
    cx.fact("", Outcome::value(format!("interfaces {}; {count} routes", names.join(" "))));
    // The address the kernel would use towards the proxy: set on this side, or not.
    let source = std::net::UdpSocket::bind("0.0.0.0:0").and_then(|s| {
        s.connect((cx.text("proxy").parse::<Ipv4Addr>().unwrap_or(Ipv4Addr::LOCALHOST), 9))?;
        s.local_addr()
    });
    cx.fact(
        "source",
        match source {
            Ok(a) => Outcome::value(a.ip()),
            Err(e) => sys::refused(&e, "no route to the proxy"),
        },
    );
}
