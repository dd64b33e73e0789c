//! The proxy's rules, as AWF's Squid has them, for both engines.
//!
//! In order: only ports 80 and 443 (CONNECT to 80 too); no host that is an address, in any notation; the allowed
//! domains with their sub-domains; nothing else.

use std::net::IpAddr;

/// The allowed domains, and the rules around them.
#[derive(Clone, Debug)]
pub(super) struct Acl {
    allow: Vec<String>,
    /// Sabotage: nothing is denied.
    open: bool,
}

impl Acl {
    /// From domains with or without a leading dot, in any case. What is no domain name is left out: it would be
    /// written into Squid's configuration.
    pub(super) fn new(allow: &[String]) -> Self {
        let clean = |domain: &String| normalize(domain.trim_start_matches("*.").trim_start_matches('.'));
        Self { allow: allow.iter().filter_map(clean).filter(|domain| !is_literal(domain)).collect(), open: false }
    }

    /// Sabotage: rules that deny nothing.
    pub(super) fn everything() -> Self {
        Self { allow: Vec::new(), open: true }
    }

    /// Whether the host and port may be asked for.
    pub(super) fn allows(&self, host: &str, port: u16) -> bool {
        if self.open {
            return true;
        }
        let Some(host) = normalize(host) else {
            return false;
        };
        let under = |domain: &String| {
            host.strip_suffix(domain.as_str()).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
        };
        SAFE.contains(&port) && !is_literal(&host) && self.allow.iter().any(under)
    }

    /// The same rules for Squid. `-n` keeps it from asking the resolver about addresses.
    pub(super) fn squid(&self) -> String {
        if self.open {
            return "http_access allow all\n".to_owned();
        }
        // Squid refuses a list in which one entry covers another.
        let covered = |domain: &&String| {
            self.allow.iter().any(|other| other != *domain && domain.ends_with(&format!(".{other}")))
        };
        let mut domains: Vec<String> =
            self.allow.iter().filter(|domain| !covered(domain)).map(|domain| format!(".{domain}")).collect();
        domains.sort_unstable();
        domains.dedup();
        let ports = SAFE.map(|port| port.to_string()).join(" ");
        let mut text = format!(
            "acl Safe_ports port {ports}\nhttp_access deny !Safe_ports\n\
             acl literal dstdom_regex -n -i ^[0-9.]+$ ^0x[0-9a-fx.]*$ ^[0-9a-fx.]*\\.0x[0-9a-fx.]*$ : ^\\[\nhttp_access deny literal\n"
        );
        if !domains.is_empty() {
            text.push_str(&format!("acl allowed dstdomain -n {}\nhttp_access allow allowed\n", domains.join(" ")));
        }
        text.push_str("http_access deny all\n");
        text
    }
}

/// A host in lower case without trailing dots; `None` if it holds what no host name holds.
fn normalize(host: &str) -> Option<String> {
    let host = host.trim_end_matches('.').to_ascii_lowercase();
    let fine = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.:[]".contains(&byte);
    (!host.is_empty() && host.len() <= 253 && host.bytes().all(fine)).then_some(host)
}

/// Whether a (normalized) host is an address: dotted, decimal, hexadecimal, octal, or IPv6 with or without brackets.
fn is_literal(host: &str) -> bool {
    let number = |part: &str| {
        part.bytes().all(|byte| byte.is_ascii_digit())
            || part.strip_prefix("0x").is_some_and(|rest| rest.bytes().all(|byte| byte.is_ascii_hexdigit()))
    };
    host.contains([':', '[', ']']) || host.parse::<IpAddr>().is_ok() || host.split('.').all(number)
}

const SAFE: [u16; 2] = [80, 443];

#[cfg(test)]
mod tests {
    use super::*;

    fn acl() -> Acl {
        Acl::new(&[
            "allowed.test".into(),
            ".Dot.test".into(),
            "sub.allowed.test".into(),
            "203.0.113.9".into(),
            "evil\nhttp_access allow all".into(),
        ])
    }

    #[test]
    fn domains_their_subdomains_and_nothing_that_only_looks_like_them() {
        for host in ["allowed.test", "ALLOWED.test.", "a.b.allowed.test", "dot.test", "x.dot.test"] {
            assert!(acl().allows(host, 443) && acl().allows(host, 80), "{host}");
        }
        for host in
            ["notallowed.test", "allowed.test.evil.test", "test", "", ".", "allowed.test/x", "allowed.test@evil.test"]
        {
            assert!(!acl().allows(host, 443), "{host}");
        }
    }

    #[test]
    fn only_two_ports() {
        for port in [0, 22, 25, 8080, 3128, 5432] {
            assert!(!acl().allows("allowed.test", port), "{port}");
        }
    }

    #[test]
    fn addresses_in_every_notation_are_refused() {
        for host in [
            "203.0.113.9",
            "3405803785",
            "0xcb007109",
            "0313.0.0161.011",
            "0xcb.0x0.0x71.0x9",
            "203.29193",
            "[2001:db8::1]",
            "2001:db8::1",
            "::ffff:203.0.113.9",
        ] {
            assert!(is_literal(host), "{host}");
            assert!(!acl().allows(host, 443), "{host}");
        }
        assert!(!is_literal("0xallowed.test") && !is_literal("1.2.3.test"));
    }

    #[test]
    fn squid_gets_the_same_rules_and_no_foreign_line() {
        let text = acl().squid();
        assert!(text.contains("acl allowed dstdomain -n .allowed.test .dot.test\n"), "{text}");
        assert!(!text.contains("allow all\n") && text.ends_with("http_access deny all\n"), "{text}");
        assert!(!Acl::new(&[]).squid().contains("http_access allow"));
    }
}
