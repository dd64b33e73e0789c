//! As much HTTP/1 as the lab's servers and the built-in proxy need: a request's head, bounded and strict.

use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::time::timeout;

/// A request line and its headers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Head {
    /// Method as sent.
    pub(super) method: String,
    /// Target as sent.
    pub(super) target: String,
    /// Headers in order, names in lower case.
    pub(super) headers: Vec<(String, String)>,
}

impl Head {
    /// Parses everything before the empty line; `None` if it is not a request of HTTP/1.0 or 1.1.
    pub(super) fn parse(head: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(head).ok()?;
        let mut lines = text.split("\r\n").flat_map(|line| line.split('\n'));
        let mut words = lines.next()?.split(' ');
        let (method, target, version) = (words.next()?, words.next()?, words.next()?);
        let token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
        let clean = !method.is_empty()
            && method.bytes().all(token)
            && !target.is_empty()
            && target.bytes().all(|byte| byte.is_ascii_graphic());
        if !clean || !matches!(version, "HTTP/1.0" | "HTTP/1.1") || words.next().is_some() {
            return None;
        }
        let mut headers = Vec::new();
        for line in lines.filter(|line| !line.is_empty()) {
            // No folding, no space before the colon: both are ways to smuggle.
            let (name, value) = line.split_once(':')?;
            if name.is_empty() || !name.bytes().all(token) {
                return None;
            }
            headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
        }
        Some(Self { method: method.to_owned(), target: target.to_owned(), headers })
    }

    /// The first header of that (lower-case) name.
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// The length of the body: `Err` if it is stated twice, in another way, or not as a number.
    pub(super) fn body_length(&self) -> Result<u64, &'static str> {
        let mut lengths = self.headers.iter().filter(|(name, _)| name == "content-length").map(|(_, value)| value);
        if self.header("transfer-encoding").is_some() {
            return Err("transfer-encoding");
        }
        match (lengths.next(), lengths.next()) {
            (None, _) => Ok(0),
            (Some(length), None) if length.bytes().all(|byte| byte.is_ascii_digit()) => {
                length.parse().map_err(|_| "content-length")
            }
            (Some(_), _) => Err("content-length"),
        }
    }
}

/// Reads up to and with the empty line, at most `limit` bytes in all; returns head and whatever came behind it.
/// `None` on end of file, timeout, garbage, or too long a head; `buffer` then holds what did come.
pub(super) async fn read_head<S: AsyncRead + Unpin>(
    stream: &mut S,
    buffer: &mut Vec<u8>,
    limit: usize,
    idle: Duration,
) -> Option<(Vec<u8>, Vec<u8>)> {
    loop {
        if let Some(end) = end_of_head(buffer) {
            let rest = buffer.split_off(end);
            return Some((std::mem::take(buffer), rest));
        }
        // No request begins like this (TLS does); waiting for its end would be waiting for the timeout.
        let garbage = buffer.first().is_some_and(|byte| !byte.is_ascii_graphic() && !byte.is_ascii_whitespace());
        if garbage || buffer.len() >= limit {
            return None;
        }
        match timeout(idle, stream.read_buf(buffer)).await {
            Ok(Ok(0) | Err(_)) | Err(_) => return None,
            Ok(Ok(_)) => {}
        }
    }
}

/// Whether these first bytes can only be, or can still become, an HTTP request: `None` while it is open.
pub(super) fn looks_like_http(bytes: &[u8]) -> Option<bool> {
    let method: &[u8] = bytes.split(|byte| *byte == b' ').next().unwrap_or_default();
    let known =
        [&b"GET"[..], b"HEAD", b"POST", b"PUT", b"DELETE", b"OPTIONS", b"CONNECT", b"PATCH", b"TRACE", b"PROPFIND"];
    if method.len() < bytes.len() {
        return Some(known.contains(&method));
    }
    if known.iter().any(|known| known.starts_with(method)) { None } else { Some(false) }
}

fn end_of_head(bytes: &[u8]) -> Option<usize> {
    let crlf = bytes.windows(4).position(|window| window == b"\r\n\r\n").map(|at| at + 4);
    let lf = bytes.windows(2).position(|window| window == b"\n\n").map(|at| at + 2);
    crlf.into_iter().chain(lf).min()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_and_its_headers() {
        let head =
            Head::parse(b"GET http://a.test/x?y HTTP/1.1\r\nHost: a.test\r\nX-Y:  z \r\n\r\n").expect("a request");
        assert_eq!((head.method.as_str(), head.target.as_str()), ("GET", "http://a.test/x?y"));
        assert_eq!((head.header("host"), head.header("x-y"), head.header("z")), (Some("a.test"), Some("z"), None));
    }

    #[test]
    fn what_is_no_request() {
        for bad in [
            &b""[..],
            b"GET /",
            b"GET / HTTP/2",
            b"GET  / HTTP/1.1",
            b"GET / HTTP/1.1 x",
            b"G\x01T / HTTP/1.1",
            b"\x16\x03\x01\x02\x00",
            b"GET / HTTP/1.1\r\nHost : x",
            b"GET / HTTP/1.1\r\n folded",
        ] {
            assert_eq!(Head::parse(bad), None, "{:?}", String::from_utf8_lossy(bad));
        }
    }

    #[test]
    fn a_body_has_one_plain_length() {
        let length = |headers: &str| {
            Head::parse(format!("POST / HTTP/1.1\r\n{headers}\r\n").as_bytes()).expect("a request").body_length()
        };
        assert_eq!(length(""), Ok(0));
        assert_eq!(length("Content-Length: 7\r\n"), Ok(7));
        assert!(length("Content-Length: 7\r\nContent-Length: 7\r\n").is_err());
        assert!(length("Content-Length: +7\r\n").is_err());
        assert!(length("Transfer-Encoding: chunked\r\nContent-Length: 7\r\n").is_err());
    }

    #[test]
    fn first_bytes() {
        assert_eq!(
            [&b"GE"[..], b"GET /", b"SSH-2.0", b"GETX ", b""].map(looks_like_http),
            [None, Some(true), Some(false), Some(false), None]
        );
    }

    #[tokio::test]
    async fn heads_are_bounded_and_the_rest_is_kept() {
        let idle = Duration::from_secs(1);
        let mut buffer = Vec::new();
        let (head, rest) =
            read_head(&mut &b"GET / HTTP/1.1\r\n\r\nbody"[..], &mut buffer, 64, idle).await.expect("a head");
        assert_eq!((head.as_slice(), rest.as_slice()), (&b"GET / HTTP/1.1\r\n\r\n"[..], &b"body"[..]));
        let mut long = &[b'a'; 1000][..];
        assert!(read_head(&mut long, &mut Vec::new(), 64, idle).await.is_none());
    }
}
