//! Where a request to the built-in proxy wants to go, and what is sent there.

use super::http::Head;

/// Where a request wants to go; without a path it is a tunnel.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Target {
    /// Host as asked for; an IPv6 address keeps its brackets.
    pub(super) host: String,
    /// Port, 80 where none is given.
    pub(super) port: u16,
    /// Path and query.
    pub(super) path: Option<String>,
}

impl Target {
    /// From the request line; `None` if no forward proxy serves it.
    pub(super) fn parse(head: &Head) -> Option<Self> {
        if head.method == "CONNECT" {
            let (host, port) = authority(&head.target, None)?;
            return Some(Self { host, port, path: None });
        }
        let (scheme, rest) = head.target.split_once("://")?;
        if !scheme.eq_ignore_ascii_case("http") {
            return None;
        }
        let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        let (place, path) = rest.split_at(end);
        // Credentials are not part of the host, whatever they look like.
        let (host, port) = authority(place.rsplit('@').next()?, Some(80))?;
        let path = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
        Some(Self { host, port, path: Some(path) })
    }

    /// The request in origin form: our own Host, and nothing meant for the proxy or the connection.
    pub(super) fn request(&self, head: &Head, path: &str) -> Vec<u8> {
        let place = if self.port == 80 { self.host.clone() } else { format!("{}:{}", self.host, self.port) };
        let mut text = format!("{} {path} HTTP/1.1\r\nHost: {place}\r\nConnection: close\r\n", head.method);
        let hop = |name: &str| {
            name.starts_with("proxy-")
                || ["host", "connection", "keep-alive", "te", "trailer", "upgrade"].contains(&name)
        };
        for (name, value) in head.headers.iter().filter(|(name, _)| !hop(name)) {
            text.push_str(&format!("{name}: {value}\r\n"));
        }
        text.push_str("\r\n");
        text.into_bytes()
    }
}

/// Host and port; brackets around an IPv6 address are kept, so that the ACL sees it is one.
fn authority(text: &str, default: Option<u16>) -> Option<(String, u16)> {
    let colon = text.rfind(':').filter(|at| !text[*at..].contains(']'));
    let (host, port) = match colon {
        Some(at) => (&text[..at], text[at + 1..].parse().ok()?),
        None => (text, default?),
    };
    let clean = host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.:[]".contains(&byte));
    (!host.is_empty() && clean).then(|| (host.to_owned(), port))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(request: &str) -> Option<Target> {
        Target::parse(&Head::parse(request.as_bytes()).expect("a request"))
    }

    #[test]
    fn targets() {
        let to = |host: &str, port, path: Option<&str>| {
            Some(Target { host: host.into(), port, path: path.map(str::to_owned) })
        };
        assert_eq!(target("CONNECT a.test:443 HTTP/1.1"), to("a.test", 443, None));
        assert_eq!(target("CONNECT [::1]:443 HTTP/1.1"), to("[::1]", 443, None));
        assert_eq!(target("GET http://a.test HTTP/1.1"), to("a.test", 80, Some("/")));
        assert_eq!(target("GET HTTP://u:p@a.test:81/x?y HTTP/1.1"), to("a.test", 81, Some("/x?y")));
        assert_eq!(target("GET http://allowed.test@203.0.113.9/ HTTP/1.1"), to("203.0.113.9", 80, Some("/")));
        assert_eq!(target("GET http://[2001:db8::1]/ HTTP/1.1"), to("[2001:db8::1]", 80, Some("/")));
        for bad in [
            "GET / HTTP/1.1",
            "CONNECT a.test HTTP/1.1",
            "CONNECT :443 HTTP/1.1",
            "CONNECT a.test:99999 HTTP/1.1",
            "GET ftp://a.test/ HTTP/1.1",
            "GET http:/// HTTP/1.1",
            "CONNECT u@a.test:443 HTTP/1.1",
        ] {
            assert_eq!(target(bad), None, "{bad}");
        }
    }

    #[test]
    fn requests_lose_what_was_meant_for_the_proxy() {
        let head = Head::parse(b"GET http://a.test/x HTTP/1.1\r\nHost: other.test\r\nProxy-Authorization: x\r\nConnection: keep-alive\r\nAccept: */*\r\n\r\n").expect("a request");
        let target = Target::parse(&head).expect("a target");
        let request = String::from_utf8(target.request(&head, "/x")).expect("text");
        assert_eq!(request, "GET /x HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\naccept: */*\r\n\r\n");
    }
}
