//! The witness's TCP and UDP servers: whatever a client speaks, something unmistakable comes back.
//!
//! A TCP port does not decide its protocol: the first bytes do. TLS is answered with a self-signed certificate and
//! HTTP inside it, HTTP with the path it asked for, anything else with an echo, silence with a banner.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use rustls::ServerConfig;
use rustls::crypto::ring;
use rustls::pki_types::PrivateKeyDer;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep, timeout};
use tokio_rustls::TlsAcceptor;

use super::dns::{self, Zone};
use super::http::looks_like_http;
use super::io::Out;
use super::speak::{Content, GREETING, IDLE, Peer, greet, speak};
use super::udp::{self, Wildcard};

/// What every connection of the witness shares.
pub(super) struct Shared {
    tls: TlsAcceptor,
    zone: Arc<Zone>,
    out: Out,
    connections: Semaphore,
    content: Arc<Content>,
}

impl Shared {
    /// Makes the certificate.
    pub(super) fn new(zone: Arc<Zone>, out: Out, content: Arc<Content>) -> Result<Arc<Self>> {
        let certified = rcgen::generate_simple_self_signed(["awf-witness".to_owned()]).context("make a certificate")?;
        let key = PrivateKeyDer::try_from(certified.signing_key.serialize_der()).map_err(anyhow::Error::msg)?;
        let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_single_cert(vec![certified.cert.der().clone()], key)?;
        let connections = Semaphore::new(CONNECTIONS);
        Ok(Arc::new(Self { tls: TlsAcceptor::from(Arc::new(config)), zone, out, connections, content }))
    }
}

/// Listens on a port of every address of the family of `like`.
pub(super) fn listen(like: IpAddr, port: u16) -> Result<TcpListener> {
    let any: IpAddr = if like.is_ipv4() { [0u8; 4].into() } else { [0u8; 16].into() };
    let bind = || -> std::io::Result<TcpListener> {
        let fd = udp::unbound(like, libc::SOCK_STREAM | libc::SOCK_NONBLOCK)?;
        let socket = TcpSocket::from_std_stream(fd.into());
        socket.set_reuseaddr(true)?;
        socket.bind(SocketAddr::new(any, port))?;
        socket.listen(1024)
    };
    bind().with_context(|| format!("listen on TCP port {port}"))
}

/// Accepts connections for ever; those beyond the limit are closed at once.
pub(super) async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            // Out of descriptors, or a connection that died in the queue.
            sleep(Duration::from_millis(5)).await;
            continue;
        };
        let shared = Arc::clone(&shared);
        tokio::spawn(async move {
            let Ok(_permit) = shared.connections.try_acquire() else {
                return;
            };
            serve(stream, &shared).await;
        });
    }
}

/// Echoes datagrams for ever, except its own echoes.
pub(super) async fn echo_udp(socket: Wildcard) {
    let mut buffer = vec![0; 65_536];
    loop {
        let Ok((length, client, server)) = socket.receive(&mut buffer).await else {
            sleep(Duration::from_millis(1)).await;
            continue;
        };
        let payload = &buffer[..length];
        if !payload.starts_with(GREETING) {
            let _ = socket.send(&[GREETING, &payload[..length.min(60_000)]].concat(), client, server).await;
        }
    }
}

async fn serve(stream: TcpStream, shared: &Shared) {
    let (Ok(client), Ok(server)) = (stream.peer_addr(), stream.local_addr()) else {
        return;
    };
    // Whoever keeps a connection must not wait for the acknowledgement of what went before. Without it, it is slower.
    let _ = stream.set_nodelay(true);
    let peer = Peer { client, server, sni: None, content: Some(Arc::clone(&shared.content)) };
    if server.port() == 53 {
        return dns::serve_tcp(stream, &shared.zone, &shared.out, IDLE).await;
    }
    match first_bytes(&stream, server.port()).await {
        First::Tls => {
            let Ok(Ok(stream)) = timeout(IDLE, shared.tls.accept(stream)).await else {
                return;
            };
            let sni = stream.get_ref().1.server_name().unwrap_or_default().to_owned();
            speak(stream, &Peer { sni: Some(sni), ..peer }, &shared.out).await;
        }
        First::Other => speak(stream, &peer, &shared.out).await,
        First::Silence => greet(stream).await,
        First::End => {}
    }
}

enum First {
    Tls,
    Other,
    Silence,
    End,
}

/// Looks at the first bytes without taking them, until they tell or time is up.
async fn first_bytes(stream: &TcpStream, port: u16) -> First {
    // HTTP, TLS and the sidecar's ports: the client speaks first, and a greeting would spoil a slow one's answer.
    let greeted = !matches!(port, 80 | 443 | 10_000..=10_004 | 11_000);
    let patience = if greeted { PATIENCE } else { IDLE };
    let end = Instant::now() + patience;
    let mut bytes = [0; 16];
    let mut seen = 0;
    while let Some(left) = end.checked_duration_since(Instant::now()) {
        match timeout(left, stream.peek(&mut bytes)).await {
            Ok(Ok(0) | Err(_)) => return First::End,
            Ok(Ok(length)) => seen = length,
            Err(_) => break,
        }
        match (bytes[0], looks_like_http(&bytes[..seen])) {
            (TLS_HANDSHAKE, _) if seen > 1 => {
                return if bytes[1] == 3 { First::Tls } else { First::Other };
            }
            (TLS_HANDSHAKE, _) | (_, None) => sleep(Duration::from_millis(2)).await,
            (_, Some(_)) => return First::Other,
        }
    }
    match (seen, greeted) {
        (0, true) => First::Silence,
        (0, false) => First::End,
        _ => First::Other,
    }
}

const TLS_HANDSHAKE: u8 = 22;
/// Connections at once.
const CONNECTIONS: usize = 512;
/// How long a client may say nothing before it is greeted.
const PATIENCE: Duration = Duration::from_millis(300);

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::OnceLock;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    async fn server() -> (SocketAddr, Out) {
        let out = Out::to_nowhere();
        let shared = Shared::new(Arc::new(Zone::default()), out.clone(), Arc::default()).expect("a server");
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        tokio::spawn(accept(listener, shared));
        (address, out)
    }

    async fn talk(address: SocketAddr, request: &[u8]) -> String {
        let mut stream = TcpStream::connect(address).await.expect("a connection");
        stream.write_all(request).await.expect("sent");
        let mut reply = Vec::new();
        if request.is_empty() {
            stream.read_buf(&mut reply).await.expect("a banner");
        } else {
            stream.shutdown().await.expect("half closed");
            stream.read_to_end(&mut reply).await.expect("a reply");
        }
        String::from_utf8_lossy(&reply).into_owned()
    }

    #[tokio::test]
    async fn http_echo_and_banner_on_one_port() {
        let (address, out) = server().await;
        let reply = talk(address, b"GET /awfp0123456789ab HTTP/1.1\r\nHost: h.test\r\n\r\n").await;
        assert!(
            reply.starts_with("HTTP/1.1 200 OK\r\n") && reply.ends_with("\r\n\r\nawf-witness /awfp0123456789ab\n"),
            "{reply}"
        );
        assert!(out.queued()[0].contains("\"host\":\"h.test\""));
        assert_eq!(talk(address, b"SSH-2.0-x\r\n").await, "awf-witness SSH-2.0-x\r\n");
        assert_eq!(talk(address, b"").await, "awf-witness\r\n");
        let reply = talk(address, b"HEAD / HTTP/1.0\r\n\r\n").await;
        assert!(reply.contains("Content-Length: 14") && reply.ends_with("\r\n\r\n"), "{reply}");
    }

    #[derive(Debug)]
    struct Trusting;

    impl rustls::client::danger::ServerCertVerifier for Trusting {
        fn verify_server_cert(
            &self,
            _: &rustls::pki_types::CertificateDer<'_>,
            _: &[rustls::pki_types::CertificateDer<'_>],
            _: &rustls::pki_types::ServerName<'_>,
            _: &[u8],
            _: rustls::pki_types::UnixTime,
        ) -> Result<rustls::client::danger::ServerCertVerified, rustls::Error> {
            Ok(rustls::client::danger::ServerCertVerified::assertion())
        }
        fn verify_tls12_signature(
            &self,
            _: &[u8],
            _: &rustls::pki_types::CertificateDer<'_>,
            _: &rustls::DigitallySignedStruct,
        ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
            Ok(rustls::client::danger::HandshakeSignatureValid::assertion())
        }
        fn verify_tls13_signature(
            &self,
            _: &[u8],
            _: &rustls::pki_types::CertificateDer<'_>,
            _: &rustls::DigitallySignedStruct,
        ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
            Ok(rustls::client::danger::HandshakeSignatureValid::assertion())
        }
        fn supported_verify_schemes(&self) -> Vec<rustls::SignatureScheme> {
            static SCHEMES: OnceLock<Vec<rustls::SignatureScheme>> = OnceLock::new();
            SCHEMES
                .get_or_init(|| ring::default_provider().signature_verification_algorithms.supported_schemes())
                .clone()
        }
    }

    #[tokio::test]
    async fn tls_with_any_server_name() {
        let (address, out) = server().await;
        let config = rustls::ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .expect("versions")
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Trusting))
            .with_no_client_auth();
        let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
        let stream = TcpStream::connect(address).await.expect("a connection");
        let name = "any.name.test".try_into().expect("a name");
        let mut stream = connector.connect(name, stream).await.expect("a handshake");
        stream.write_all(b"GET /tls HTTP/1.1\r\nHost: any.name.test\r\n\r\n").await.expect("sent");
        let mut reply = String::new();
        let _ = stream.read_to_string(&mut reply).await;
        assert!(reply.ends_with("awf-witness /tls\n"), "{reply}");
        assert!(out.queued()[0].contains("\"sni\":\"any.name.test\""), "{:?}", out.queued());
    }
}
