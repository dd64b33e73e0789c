//! What the witness says on one connection: HTTP, an echo, or a banner and an echo.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, RwLock};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::timeout;

use super::http::{Head, looks_like_http, read_head};
use super::io::Out;
use super::wire::Say;

/// Who talks to whom.
pub(super) struct Peer {
    /// The client.
    pub(super) client: SocketAddr,
    /// The address it asked.
    pub(super) server: SocketAddr,
    /// The server name, inside TLS.
    pub(super) sni: Option<String>,
    /// What is served beside the usual.
    pub(super) content: Option<Arc<Content>>,
}

/// Content by path.
pub(super) type Content = RwLock<HashMap<String, Arc<[u8]>>>;

/// HTTP where it is HTTP, else an echo.
pub(super) async fn speak<S: AsyncRead + AsyncWrite + Unpin>(mut stream: S, peer: &Peer, out: &Out) {
    let mut buffer = Vec::new();
    let opening = loop {
        match looks_like_http(&buffer) {
            Some(http) => break http,
            None => match timeout(IDLE, stream.read_buf(&mut buffer)).await {
                Ok(Ok(0) | Err(_)) | Err(_) => break false,
                Ok(Ok(_)) => {}
            },
        }
    };
    let mut served = false;
    while opening && let Some((head, rest)) = read_head(&mut stream, &mut buffer, HEAD, IDLE).await {
        match Head::parse(&head) {
            // As a registry does: whoever was given content may ask for more on the same connection.
            Some(head) if give(&mut stream, &head, peer, out).await => (buffer, served) = (rest, true),
            Some(head) => return answer(stream, &head, rest.len(), peer, out).await,
            None => {
                buffer = [head, rest].concat();
                break;
            }
        }
    }
    if served {
        return finish(stream, b"").await;
    }
    echo(stream, buffer).await;
}

/// Answers a GET of content, if it is one whose sender keeps the connection. `false`: it is for others to answer.
async fn give<S: AsyncRead + AsyncWrite + Unpin>(stream: &mut S, head: &Head, peer: &Peer, out: &Out) -> bool {
    let closes = head.header("connection").is_some_and(|c| c.to_ascii_lowercase().contains("close"));
    if closes || head.method != "GET" || head.body_length() != Ok(0) {
        return false;
    }
    let Some(bytes) = content(head, peer) else { return false };
    tell(head, peer, out);
    let text = format!(
        "HTTP/1.1 200 OK\r\nServer: awf-witness\r\nContent-Type: application/octet-stream\r\nContent-Length: {}\r\nConnection: keep-alive\r\n\r\n",
        bytes.len()
    );
    // Where it cannot be sent the next read finds the end.
    let _ = timeout(IDLE, async {
        // At once: a head that travels alone lets the rest wait for its acknowledgement, 40 ms each time.
        stream.write_all(&[text.as_bytes(), &bytes].concat()).await?;
        stream.flush().await
    })
    .await;
    true
}

/// What is served under a request's path.
fn content(head: &Head, peer: &Peer) -> Option<Arc<[u8]>> {
    let path = head.target.split('?').next().unwrap_or_default();
    peer.content.as_ref().and_then(|c| c.read().ok()?.get(path).cloned())
}

fn tell(head: &Head, peer: &Peer, out: &Out) {
    out.event(&Say::Http {
        client: peer.client.ip().to_canonical(),
        client_port: peer.client.port(),
        server: peer.server.ip().to_canonical(),
        port: peer.server.port(),
        sni: peer.sni.clone(),
        host: head.header("host").unwrap_or_default().to_owned(),
        path: head.target.clone(),
    });
}

async fn answer<S: AsyncRead + AsyncWrite + Unpin>(mut stream: S, head: &Head, have: usize, peer: &Peer, out: &Out) {
    tell(head, peer, out);
    // A body left unread would turn the close into a reset, which may overtake the answer.
    let body = head.body_length().unwrap_or(0).min(1 << 20).saturating_sub(have as u64);
    let _ = timeout(IDLE, tokio::io::copy(&mut (&mut stream).take(body), &mut tokio::io::sink())).await;
    let text = format!("awf-witness {}\n", head.target);
    // A proxy must not follow, and a client that does must be refused.
    if let Some(host) = head.target.strip_prefix("/redirect/").filter(|h| h.bytes().all(is_host)) {
        let reply =
            format!("HTTP/1.1 302 Found\r\nLocation: http://{host}/\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
        return finish(stream, reply.as_bytes()).await;
    }
    let path = head.target.split('?').next().unwrap_or_default();
    if let Some(bytes) = content(head, peer).filter(|_| head.method == "GET") {
        let head = format!(
            "HTTP/1.1 200 OK\r\nServer: awf-witness\r\nContent-Type: application/octet-stream\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
            bytes.len()
        );
        return finish(stream, &[head.as_bytes(), &bytes].concat()).await;
    }
    // Where something is served, what is not there must be told from what is.
    if path.starts_with("/repo.git/") {
        let reply = "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
        return finish(stream, reply.as_bytes()).await;
    }
    // Something large, for who measures how fast it comes.
    let bytes = head.target.strip_prefix("/bytes/").and_then(|n| n.parse::<u64>().ok());
    if let Some(bytes) = bytes.filter(|n| *n <= MOST_BYTES && head.method == "GET") {
        return pour(stream, bytes).await;
    }
    let mut reply = format!(
        "HTTP/1.1 200 OK\r\nServer: awf-witness\r\nContent-Type: text/plain\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        text.len()
    );
    if head.method != "HEAD" {
        reply.push_str(&text);
    }
    finish(stream, reply.as_bytes()).await;
}

/// So many bytes that say nothing.
async fn pour<S: AsyncRead + AsyncWrite + Unpin>(mut stream: S, bytes: u64) {
    let head = format!(
        "HTTP/1.1 200 OK\r\nServer: awf-witness\r\nContent-Type: application/octet-stream\r\nContent-Length: {bytes}\r\nConnection: close\r\n\r\n"
    );
    let block = vec![b'.'; 64 * 1024];
    let sent = timeout(IDLE, async {
        stream.write_all(head.as_bytes()).await?;
        let mut left = bytes as usize;
        while left > 0 {
            let part = left.min(block.len());
            stream.write_all(&block[..part]).await?;
            left -= part;
        }
        std::io::Result::Ok(())
    })
    .await;
    if matches!(sent, Ok(Ok(()))) {
        finish(stream, b"").await;
    }
}

fn is_host(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b".-".contains(&byte)
}

/// A banner for a client that says nothing, then an echo.
pub(super) async fn greet<S: AsyncRead + AsyncWrite + Unpin>(mut stream: S) {
    if let Ok(Ok(())) = timeout(IDLE, stream.write_all(b"awf-witness\r\n")).await {
        echo(stream, Vec::new()).await;
    }
}

/// Sends back each piece that comes, until the client stops or idles.
async fn echo<S: AsyncRead + AsyncWrite + Unpin>(mut stream: S, mut bytes: Vec<u8>) {
    let mut total = 0;
    loop {
        if !bytes.is_empty() {
            total += bytes.len();
            let reply = [GREETING, &bytes].concat();
            let sent = timeout(IDLE, async {
                stream.write_all(&reply).await?;
                stream.flush().await
            })
            .await;
            if !matches!(sent, Ok(Ok(()))) || total > ECHO {
                return;
            }
            bytes.clear();
        }
        match timeout(IDLE, stream.read_buf(&mut bytes)).await {
            Ok(Ok(0) | Err(_)) | Err(_) => return finish(stream, b"").await,
            Ok(Ok(_)) => {}
        }
    }
}

/// Writes the last bytes, closes our half, and waits a moment for the other's.
async fn finish<S: AsyncRead + AsyncWrite + Unpin>(mut stream: S, last: &[u8]) {
    let _ = timeout(IDLE, async {
        stream.write_all(last).await?;
        stream.shutdown().await
    })
    .await;
    let _ = timeout(LINGER, tokio::io::copy(&mut (&mut stream).take(1 << 16), &mut tokio::io::sink())).await;
}

/// What every answer begins with.
pub(super) const GREETING: &[u8] = b"awf-witness ";
/// How long a connection may idle.
pub(super) const IDLE: Duration = Duration::from_secs(20);
const LINGER: Duration = Duration::from_millis(500);
/// Longest request head.
const HEAD: usize = 16_384;
/// Most that is poured out for one request.
const MOST_BYTES: u64 = 64 << 20;
/// Most that one connection echoes.
const ECHO: usize = 1 << 20;
