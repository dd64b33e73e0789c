//! The built-in proxy: CONNECT and absolute-form requests, with the rules of [`super::acl`] and Squid's status codes.
//!
//! One request per connection, so nothing can follow an allowed request to the same server. What Squid would also do
//! (chunked request bodies, keep-alive, caching) is left out; a chunked body is refused with 411.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use awf_probe_probes::pace;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::acl::Acl;
use super::http::{Head, read_head};
use super::io::Out;
use super::resolve::lookup;
use super::target::Target;
use super::wire::Say;

/// The proxy's settings.
pub(super) struct Builtin {
    acl: Acl,
    resolver: (IpAddr, u16),
    out: Out,
    connections: Semaphore,
}

impl Builtin {
    /// A proxy that resolves names through `resolver`.
    pub(super) fn new(acl: Acl, resolver: (IpAddr, u16), out: Out) -> Arc<Self> {
        Arc::new(Self { acl, resolver, out, connections: Semaphore::new(CONNECTIONS) })
    }

    /// Accepts connections for ever.
    pub(super) async fn accept(self: Arc<Self>, listener: TcpListener) {
        loop {
            let Ok((stream, client)) = listener.accept().await else {
                tokio::time::sleep(Duration::from_millis(5)).await;
                continue;
            };
            let proxy = Arc::clone(&self);
            tokio::spawn(async move {
                let Ok(_permit) = proxy.connections.try_acquire() else {
                    return;
                };
                proxy.serve(stream, client).await;
            });
        }
    }

    async fn serve(&self, mut client: TcpStream, from: SocketAddr) {
        let mut buffer = Vec::new();
        let Some((bytes, rest)) = read_head(&mut client, &mut buffer, HEAD, IDLE).await else {
            if !buffer.is_empty() {
                self.refuse(client, from, &Asked::garbage(&buffer), 400, "refused", "garbage").await;
            }
            return;
        };
        let Some(head) = Head::parse(&bytes) else {
            return self.refuse(client, from, &Asked::garbage(&bytes), 400, "refused", "garbage").await;
        };
        let asked = Asked { method: head.method.clone(), target: head.target.clone() };
        let Some(target) = Target::parse(&head) else {
            return self.refuse(client, from, &asked, 400, "refused", "not a proxy request").await;
        };
        if !self.acl.allows(&target.host, target.port) {
            return self.refuse(client, from, &asked, 403, "denied", "denied by the ACL").await;
        }
        let length = match head.body_length() {
            _ if target.path.is_none() => 0,
            Ok(length) => length,
            Err("transfer-encoding") => {
                return self.refuse(client, from, &asked, 411, "refused", "chunked body").await;
            }
            Err(_) => {
                return self.refuse(client, from, &asked, 400, "refused", "content-length").await;
            }
        };
        let mut server = match self.reach(&target).await {
            Ok(server) => server,
            Err(error) => {
                return self.refuse(client, from, &asked, 503, "failed", &format!("{error:#}")).await;
            }
        };
        match &target.path {
            None => {
                self.log(from, &asked, 200, "allowed", "tunnel");
                if client.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n").await.is_ok()
                    && server.write_all(&rest).await.is_ok()
                {
                    let _ = timeout(TUNNEL, tokio::io::copy_bidirectional(&mut client, &mut server)).await;
                }
            }
            Some(path) => {
                let request = target.request(&head, path);
                match timeout(TUNNEL, forward(&mut client, &mut server, &request, &rest, length)).await {
                    Ok(Ok(status)) => self.log(from, &asked, status, "allowed", "forwarded"),
                    Ok(Err(error)) => self.refuse(client, from, &asked, 502, "failed", &format!("{error:#}")).await,
                    Err(_) => self.log(from, &asked, 504, "failed", "timeout"),
                }
            }
        }
    }

    async fn reach(&self, target: &Target) -> Result<TcpStream> {
        let addresses = lookup(&target.host, self.resolver).await?;
        let mut failure = None;
        for address in addresses {
            match timeout(pace::scaled(CONNECT), TcpStream::connect((address, target.port))).await {
                Ok(Ok(stream)) => return Ok(stream),
                Ok(Err(error)) => failure = Some(format!("{address}: {error}")),
                Err(_) => failure = Some(format!("{address}: no answer in {CONNECT:?}")),
            }
        }
        Err(anyhow::Error::msg(failure.unwrap_or_default()).context("connect"))
    }

    async fn refuse(
        &self,
        mut client: TcpStream,
        from: SocketAddr,
        asked: &Asked,
        status: u16,
        decision: &str,
        note: &str,
    ) {
        self.log(from, asked, status, decision, note);
        let reason = match status {
            400 => "Bad Request",
            403 => "Forbidden",
            411 => "Length Required",
            502 => "Bad Gateway",
            _ => "Service Unavailable",
        };
        let text = format!("awf-probe proxy: {note}\n");
        let reply = format!(
            "HTTP/1.1 {status} {reason}\r\nServer: awf-probe\r\nContent-Type: text/plain\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{text}",
            text.len()
        );
        let _ = timeout(IDLE, client.write_all(reply.as_bytes())).await;
        let _ = client.shutdown().await;
        // Unread bytes would turn the close into a reset.
        let _ = timeout(LINGER, tokio::io::copy(&mut client.take(1 << 16), &mut tokio::io::sink())).await;
    }

    fn log(&self, from: SocketAddr, asked: &Asked, status: u16, decision: &str, note: &str) {
        self.out.event(&Say::Decision {
            client: from.ip().to_canonical(),
            method: asked.method.clone(),
            target: asked.target.clone(),
            status,
            decision: decision.to_owned(),
            note: note.to_owned(),
        });
    }
}

/// What the client asked for, for the log.
struct Asked {
    method: String,
    target: String,
}

impl Asked {
    fn garbage(bytes: &[u8]) -> Self {
        let first = bytes.split(|byte| *byte == b'\n').next().unwrap_or_default();
        let target =
            first.iter().take(128).flat_map(|byte| std::ascii::escape_default(*byte)).map(char::from).collect();
        Self { method: "NONE".into(), target }
    }
}

/// Sends the request and exactly its body, then everything the server answers; returns the answer's status.
async fn forward(
    client: &mut TcpStream,
    server: &mut TcpStream,
    request: &[u8],
    rest: &[u8],
    length: u64,
) -> Result<u16> {
    server.write_all(request).await.context("send the request")?;
    let have = rest.len().min(usize::try_from(length).unwrap_or(usize::MAX));
    server.write_all(&rest[..have]).await.context("send the body")?;
    let (mut from_client, mut to_client) = client.split();
    let (mut from_server, mut to_server) = server.split();
    let mut body = (&mut from_client).take(length - have as u64);
    let upload = async {
        let _ = tokio::io::copy(&mut body, &mut to_server).await;
        std::future::pending::<()>().await;
    };
    let download = async {
        let mut start = [0; 12];
        from_server.read_exact(&mut start).await.context("read the answer")?;
        let status = std::str::from_utf8(&start[9..])
            .ok()
            .filter(|_| start.starts_with(b"HTTP/1."))
            .and_then(|code| code.parse().ok());
        let status = status.context("the answer is not HTTP")?;
        // From here on the answer is the client's; what breaks now cannot be told in another one.
        if to_client.write_all(&start).await.is_ok() {
            let _ = tokio::io::copy(&mut from_server, &mut to_client).await;
            let _ = to_client.shutdown().await;
        }
        Ok(status)
    };
    tokio::select! {
        status = download => status,
        () = upload => unreachable!("an upload never ends the exchange"),
    }
}

/// Connections at once.
const CONNECTIONS: usize = 512;
/// Longest request head.
const HEAD: usize = 16_384;
const IDLE: Duration = Duration::from_secs(5);
const LINGER: Duration = Duration::from_millis(200);
const CONNECT: Duration = Duration::from_secs(2);
/// Longest life of a tunnel or an exchange.
const TUNNEL: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use super::super::dns::{Zone, serve_udp};
    use super::super::udp::Wildcard;
    use super::*;

    async fn proxy() -> (SocketAddr, Out) {
        let zone = Zone::new(vec![("allowed.test".into(), [127, 0, 0, 1].into())]);
        let dns = Wildcard::bind([127, 0, 0, 1].into(), 0).expect("a socket");
        let resolver = ([127, 0, 0, 1].into(), dns.port());
        tokio::spawn(serve_udp(dns, Arc::new(zone), Out::to_nowhere(), Arc::default()));
        let out = Out::to_nowhere();
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        tokio::spawn(Builtin::new(Acl::new(&["allowed.test".into()]), resolver, out.clone()).accept(listener));
        (address, out)
    }

    async fn status(address: SocketAddr, request: &[u8]) -> String {
        let mut stream = TcpStream::connect(address).await.expect("a connection");
        stream.write_all(request).await.expect("sent");
        let _ = stream.shutdown().await;
        let mut reply = Vec::new();
        let _ = stream.read_to_end(&mut reply).await;
        String::from_utf8_lossy(&reply).split(' ').nth(1).unwrap_or_default().to_owned()
    }

    #[tokio::test]
    async fn squids_status_codes() {
        let (address, out) = proxy().await;
        let cases: [(&[u8], &str); 7] = [
            (b"CONNECT evil.test:443 HTTP/1.1\r\n\r\n", "403"),
            (b"CONNECT allowed.test:22 HTTP/1.1\r\n\r\n", "403"),
            (b"CONNECT 203.0.113.9:443 HTTP/1.1\r\n\r\n", "403"),
            (b"GET / HTTP/1.1\r\nHost: allowed.test\r\n\r\n", "400"),
            (b"\x16\x03\x01\x00\x05hello\r\n\r\n", "400"),
            (b"\x16\x03\x01\x00\x05hello", "400"),
            // No name server knows it, although the ACL does.
            (b"CONNECT unknown.allowed.test:443 HTTP/1.1\r\n\r\n", "503"),
        ];
        for (request, expected) in cases {
            assert_eq!(status(address, request).await, expected, "{}", String::from_utf8_lossy(request));
        }
        let decisions: Vec<String> = out
            .queued()
            .iter()
            .map(|line| {
                let value: serde_json::Value = serde_json::from_str(line).expect("JSON");
                value["decision"].as_str().expect("a decision").to_owned()
            })
            .collect();
        assert_eq!(decisions, ["denied", "denied", "denied", "refused", "refused", "refused", "failed"]);
    }
}
