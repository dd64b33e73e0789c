//! Through the proxy, or around it: with a client, or with requests written out.

use std::{
    io::{Read, Write},
    net::{IpAddr, TcpStream},
    time::{Duration, Instant},
};

use awf_probe_matrix::{Outcome, Sent};

use super::{Way, client_hello};
use crate::{
    Cx,
    net::{self, printable},
    pace,
    sys::refused,
};

const CLIENT_LIMIT: Duration = Duration::from_millis(8000);
/// The variables a client looks at.
const VARIABLES: &[&str] =
    &["HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy", "NO_PROXY", "no_proxy"];

fn sent(way: &Way, nonce: &str, target: String) -> Sent {
    Sent { target, ..net::sent(net::TCP, (way.dst, 0).into(), nonce) }
}

fn filled(text: &str, way: &Way, nonce: &str) -> String {
    let mut text = text.replace("NONCE", nonce);
    if let IpAddr::V4(a) = way.dst {
        let [b0, b1, b2, b3] = a.octets();
        let spellings = [
            ("DECIMAL", u32::from(a).to_string()),
            ("HEX", format!("{:#010x}", u32::from(a))),
            ("OCTAL", format!("0{b0:o}.0{b1:o}.0{b2:o}.0{b3:o}")),
            ("SHORT", format!("{b0}.{b1}.{}", u16::from_be_bytes([b2, b3]))),
        ];
        for (name, spelling) in spellings {
            text = text.replace(name, &spelling);
        }
    }
    let proxy = way.proxy_address().map(|p| p.ip().to_string()).unwrap_or_default();
    text.replace("DST", &way.dst.to_string())
        .replace("GATEWAY", &way.gateway)
        .replace("PROXY", &proxy)
        .replace("LONG", &vec!["a".repeat(60); 150].join("."))
}

pub(super) fn proxied(cx: &mut Cx, way: &mut Way, url: &str) {
    let nonce = way.nonces.next();
    let target = if url.contains("DST") { way.dst.to_string() } else { String::new() };
    let url = filled(url, way, &nonce);
    // Without variables in the environment the proxy is named to the client.
    let named = if cx.text("named").is_empty() { String::new() } else { way.proxy.clone() };
    let limit = cx.number("client_ms").map_or(CLIENT_LIMIT, Duration::from_millis);
    let outcome = get(&url, Some(&named), pace::scaled(limit));
    cx.sent("", outcome, sent(way, &nonce, target));
}

pub(super) fn direct(cx: &mut Cx, way: &mut Way, url: &str) {
    let nonce = way.nonces.next();
    let url = filled(url, way, &nonce);
    let outcome = get(&url, None, way.wait * 2);
    cx.sent("", outcome, sent(way, &nonce, String::new()));
}

pub(super) fn with_variables(cx: &mut Cx, way: &mut Way, variables: &[(&str, &str)], url: &str) {
    let nonce = way.nonces.next();
    let url = filled(url, way, &nonce);
    // SAFETY: a probe's process has one thread.
    unsafe {
        if variables.is_empty() {
            VARIABLES.iter().for_each(|name| std::env::remove_var(name));
        }
        for (name, value) in variables {
            std::env::set_var(name, filled(value, way, &nonce));
        }
    }
    let outcome = get(&url, Some(""), way.wait * 2);
    cx.sent("", outcome, sent(way, &nonce, String::new()));
}

/// One GET with reqwest. No proxy, the one the environment's variables name (an empty text), or this one.
fn get(url: &str, proxy: Option<&str>, limit: Duration) -> Outcome {
    // Installing twice in one process is refused and harmless: the first one stays.
    drop(rustls::crypto::ring::default_provider().install_default());
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(r) => r,
        Err(e) => return Outcome::broken(format!("runtime: {e}")),
    };
    runtime.block_on(async {
        let mut builder = reqwest::Client::builder()
            .timeout(limit)
            // The witness signs for every name; whether a certificate is trusted says nothing about reachability.
            .tls_danger_accept_invalid_certs(true)
            .redirect(reqwest::redirect::Policy::none());
        match proxy {
            None => builder = builder.no_proxy(),
            Some("") => {}
            Some(p) => match reqwest::Proxy::all(p) {
                Ok(p) => builder = builder.proxy(p),
                Err(e) => return Outcome::broken(format!("proxy {p}: {e}")),
            },
        }
        let client = match builder.build() {
            Ok(c) => c,
            Err(e) => return Outcome::broken(format!("client: {e}")),
        };
        match client.get(url).send().await {
            Ok(r) if r.status().is_success() => {
                let status = r.status().as_u16();
                let body = r.text().await.unwrap_or_default();
                Outcome::allowed(format!("{status}: {}", printable(body.as_bytes())))
            }
            Ok(r) => Outcome::refused(format!("HTTP {}", r.status().as_u16()), url),
            Err(e) if e.is_timeout() => {
                Outcome::TimedOut { after_ms: limit.as_millis() as u64, detail: url.to_owned() }
            }
            Err(e) => Outcome::refused(root_cause(&e), url),
        }
    })
}

fn root_cause(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(next) = cause.source() {
        cause = next;
    }
    cause.to_string()
}

/// What the proxy is asked for in the first line: what its log must name.
fn target(step: &str) -> String {
    step.split(' ').nth(1).unwrap_or_default().to_owned()
}

pub(super) fn ask(cx: &mut Cx, way: &mut Way, steps: &[&str]) {
    let nonce = way.nonces.next();
    let steps: Vec<String> = steps.iter().map(|s| filled(s, way, &nonce)).collect();
    let target = steps.first().map(|s| target(s)).filter(|t| !t.contains(&nonce)).unwrap_or_default();
    // Names that many requests share are no key.
    let target = if target.contains("allowed.awf-probe.test") { String::new() } else { target };
    let bytes: Vec<Vec<u8>> = steps.into_iter().map(String::into_bytes).collect();
    let outcome = converse(way, &bytes);
    cx.sent("", outcome, sent(way, &nonce, target));
}

pub(super) fn hello(cx: &mut Cx, way: &mut Way, tunnel: Option<&str>) {
    let nonce = way.nonces.next();
    let hello = client_hello(&format!("{nonce}.denied.awf-probe.test"));
    let mut steps: Vec<Vec<u8>> = tunnel.map(|t| t.as_bytes().to_vec()).into_iter().collect();
    steps.push(hello);
    let outcome = converse(way, &steps);
    cx.sent("", outcome, sent(way, &nonce, String::new()));
}

/// Asks an allowed host for a redirect and follows it, as clients do.
pub(super) fn redirect(cx: &mut Cx, way: &mut Way) {
    let nonce = way.nonces.next();
    let sent = sent(way, &nonce, String::new());
    let first = format!(
        "GET http://allowed.awf-probe.test/redirect/{nonce}.denied.awf-probe.test HTTP/1.1\r\nHost: allowed.awf-probe.test\r\nConnection: close\r\n\r\n"
    );
    match exchange(way, &[first.into_bytes()]) {
        Ok(answer) if String::from_utf8_lossy(&answer).starts_with("HTTP/1.1 302") => {}
        Ok(answer) => {
            let what = format!("no redirect came back: {}", printable(&answer));
            return cx.sent("", Outcome::refused("no redirect", what), sent);
        }
        Err(outcome) => return cx.sent("", outcome, sent),
    }
    let second = format!(
        "GET http://{nonce}.denied.awf-probe.test/{nonce} HTTP/1.1\r\nHost: {nonce}.denied.awf-probe.test\r\nConnection: close\r\n\r\n"
    );
    let outcome = converse(way, &[second.into_bytes()]);
    cx.sent("", outcome, sent);
}

/// The last status the proxy answered with.
fn converse(way: &Way, steps: &[Vec<u8>]) -> Outcome {
    let begun = Instant::now();
    let answer = match exchange(way, steps) {
        Ok(answer) => answer,
        Err(outcome) => return outcome,
    };
    let text = String::from_utf8_lossy(&answer);
    let status = text.match_indices("HTTP/1.").filter_map(|(at, _)| text.get(at + 9..at + 12)?.parse::<u16>().ok());
    match status.last() {
        Some(status) if (200..300).contains(&status) => Outcome::allowed(format!("{status}: {}", printable(&answer))),
        Some(status) => Outcome::refused(format!("HTTP {status}"), printable(&answer)),
        None if answer.is_empty() && begun.elapsed() >= way.wait => Outcome::TimedOut {
            after_ms: begun.elapsed().as_millis() as u64,
            detail: "the proxy says nothing".to_owned(),
        },
        None if answer.is_empty() => Outcome::refused("closed", "the proxy closed without an answer"),
        None => Outcome::refused("no HTTP", printable(&answer)),
    }
}

fn exchange(way: &Way, steps: &[Vec<u8>]) -> Result<Vec<u8>, Outcome> {
    let Some(proxy) = way.proxy_address() else { return Err(Outcome::broken("no proxy")) };
    let connected = TcpStream::connect_timeout(&proxy, pace::scaled(CLIENT_LIMIT));
    let mut stream = connected.map_err(|e| match e.kind() {
        std::io::ErrorKind::TimedOut => {
            Outcome::TimedOut { after_ms: CLIENT_LIMIT.as_millis() as u64, detail: format!("connect {proxy}") }
        }
        _ => refused(&e, format!("connect {proxy}")),
    })?;
    let mut all = Vec::new();
    for (i, step) in steps.iter().enumerate() {
        if stream.write_all(step).is_err() {
            break;
        }
        let last = i + 1 == steps.len();
        // The first step is one that proxies answer, and a busy one must not pass for a silent one. What is said inside
        // a tunnel may well have no answer.
        let patience = if i == 0 { pace::scaled(CLIENT_LIMIT) } else { way.wait };
        let answer = read(&mut stream, patience, way.wait, last);
        let refused = !last && !String::from_utf8_lossy(&answer).starts_with("HTTP/1.1 200");
        all.extend(answer);
        if refused {
            break;
        }
    }
    Ok(all)
}

/// What comes back until it ends, or the head of an answer. The first byte may take `patience`, all after it `wait`.
fn read(stream: &mut TcpStream, patience: Duration, wait: Duration, to_the_end: bool) -> Vec<u8> {
    let mut until = Instant::now() + patience;
    let mut all = Vec::new();
    let mut buffer = [0; 4096];
    while all.len() < 1 << 16 {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() || stream.set_read_timeout(Some(left)).is_err() {
            break;
        }
        match stream.read(&mut buffer) {
            Ok(0) | Err(_) => break,
            Ok(n) => {
                if all.is_empty() {
                    until = Instant::now() + wait;
                }
                all.extend_from_slice(&buffer[..n]);
            }
        }
        if !to_the_end && all.windows(4).any(|w| w == b"\r\n\r\n") {
            break;
        }
    }
    all
}
