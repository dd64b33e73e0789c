//! A connection from before the rules: a process of its own keeps it open and writes to it when it is told to.

use std::{
    io::{Read, Write},
    net::TcpStream,
    os::{
        linux::net::SocketAddrExt,
        unix::net::{SocketAddr, UnixListener, UnixStream},
    },
    time::{Duration, Instant},
};

use awf_probe_matrix::{Outcome, Sent};

use super::Way;
use crate::{
    Cx,
    net::{self, printable},
    sys::{check, refused},
};

const PORT: u16 = 8080;
const LIFE: Duration = Duration::from_secs(60);

fn name() -> std::io::Result<SocketAddr> {
    SocketAddr::from_abstract_name("awf-probe-held")
}

/// Connects and leaves a process behind that waits for a line to write.
pub(crate) fn hold(cx: &mut Cx) {
    let Some(dst) = net::address(cx.text("dst")) else {
        return cx.fact("", Outcome::broken("no destination"));
    };
    let to = std::net::SocketAddr::new(dst, PORT);
    let mut sent = net::sent(net::TCP, to, "");
    let connected = TcpStream::connect_timeout(&to, Duration::from_millis(1300));
    let stream = match connected {
        Ok(stream) => stream,
        Err(e) if e.kind() == std::io::ErrorKind::TimedOut => {
            return cx.sent("", Outcome::TimedOut { after_ms: 1300, detail: format!("connect {to}") }, sent);
        }
        Err(e) => return cx.sent("", refused(&e, format!("connect {to}")), sent),
    };
    sent.sport = stream.local_addr().map_or(0, |a| a.port());
    let listener = match name().and_then(|n| UnixListener::bind_addr(&n)) {
        Ok(listener) => listener,
        Err(e) => return cx.fact("", Outcome::broken(format!("the holder cannot listen: {e}"))),
    };
    // SAFETY: the guest is single-threaded, so the child may do anything.
    match unsafe { libc::fork() } {
        -1 => cx.fact("", Outcome::broken("the holder cannot be started")),
        0 => {
            // The guest waits for the end of the probe's pipe, so the holder must not keep it.
            cx.close();
            serve(stream, &listener);
            // SAFETY: leaves without running the parent's destructors.
            unsafe { libc::_exit(0) }
        }
        _ => cx.sent("", Outcome::allowed(format!("connected to {to} and kept")), sent),
    }
}

fn serve(mut stream: TcpStream, listener: &UnixListener) {
    // SAFETY: an alarm ends the process, whatever it waits for.
    unsafe { libc::alarm(LIFE.as_secs() as u32) };
    let Ok((mut client, _)) = listener.accept() else { return };
    let mut line = [0; 64];
    let n = client.read(&mut line).unwrap_or(0);
    let request = format!("GET /{} HTTP/1.0\r\n\r\n", String::from_utf8_lossy(&line[..n]));
    let answer = match stream.write_all(request.as_bytes()) {
        Err(e) => format!("refused {e}"),
        Ok(()) => echoed(&mut stream, &line[..n]).unwrap_or_else(|| "silent".to_owned()),
    };
    drop(client.write_all(answer.as_bytes()));
}

/// What comes back with these bytes in it. Anything else was said before, and does not count.
fn echoed(stream: &mut TcpStream, what: &[u8]) -> Option<String> {
    let until = Instant::now() + Duration::from_millis(1200);
    let (mut all, mut buffer) = (Vec::new(), [0; 1024]);
    while !what.is_empty() {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() || stream.set_read_timeout(Some(left)).is_err() {
            break;
        }
        match stream.read(&mut buffer) {
            Ok(0) | Err(_) => break,
            Ok(n) => all.extend_from_slice(&buffer[..n]),
        }
        if all.windows(what.len()).any(|w| w == what) {
            return Some(format!("read {}", printable(&all)));
        }
    }
    None
}

/// Tells the holder to write the nonce.
pub(super) fn write(cx: &mut Cx, way: &mut Way) {
    let nonce = way.nonces.next();
    let to = std::net::SocketAddr::new(way.dst, PORT);
    let sent = Sent { sport: 0, ..net::sent(net::TCP, to, &nonce) };
    let told = || -> std::io::Result<String> {
        let mut holder = UnixStream::connect_addr(&name()?)?;
        holder.set_read_timeout(Some(Duration::from_secs(3)))?;
        holder.write_all(nonce.as_bytes())?;
        let mut answer = String::new();
        holder.read_to_string(&mut answer)?;
        Ok(answer)
    };
    let outcome = match told() {
        Ok(a) if a.starts_with("read ") => Outcome::allowed(format!("the connection from before: {a}")),
        Ok(a) if a == "silent" => {
            Outcome::TimedOut { after_ms: 1200, detail: "written to the connection from before".to_owned() }
        }
        Ok(a) => Outcome::refused("the connection from before", a),
        Err(e) => refused(&e, "there is no connection from before"),
    };
    cx.sent("", outcome, sent);
    // SAFETY: plain system call; there may be nothing to wait for.
    let _ = check(unsafe { libc::sched_yield() }.into());
}
