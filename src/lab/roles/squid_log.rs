//! Squid's access log, in a format of our own.
//!
//! Six fields with a space between them; Squid percent-encodes whatever is not plain in a field (`%#`), so a space
//! in a URL cannot shift the others. Still, every line is untrusted: it quotes what a client sent.

use std::net::IpAddr;

use super::wire::Say;

/// The `logformat` line.
pub(super) const FORMAT: &str = "logformat awf %>a %>Hs %Ss %#err_code %#rm %#ru";

/// The decision in one line; `None` for a damaged line, and for the readiness check from the container itself.
pub(super) fn parse(line: &str) -> Option<Say> {
    let fields: Vec<&str> = line.trim_end_matches(['\r', '\n']).split(' ').collect();
    let [client, status, note, error, method, target] = fields[..] else {
        return None;
    };
    let client: IpAddr = client.parse().ok()?;
    let client = client.to_canonical();
    if client.is_loopback() {
        return None;
    }
    let status: u16 = status.parse().ok()?;
    let error = if error == "-" { String::new() } else { format!(" {}", decode(error)) };
    Some(Say::Decision {
        client,
        method: decode(method),
        target: decode(target),
        status,
        decision: decision(status, note, &error).to_owned(),
        note: format!("{note}{error}"),
    })
}

/// Squid's result and error codes in the lab's four words.
fn decision(status: u16, note: &str, error: &str) -> &'static str {
    if note.starts_with("TCP_DENIED") || error.contains("ERR_ACCESS_DENIED") {
        return "denied";
    }
    // Nothing was parsed, or nothing was sent at all.
    let unread = [
        "ERR_INVALID_REQ",
        "ERR_INVALID_URL",
        "ERR_UNSUP_REQ",
        "ERR_TOO_BIG",
        "ERR_PROTOCOL_UNKNOWN",
        "ERR_UNSUP_HTTPVERSION",
    ];
    if unread.iter().any(|code| error.contains(code))
        || (note.starts_with("NONE") && (status < 200 || (400..500).contains(&status)))
    {
        return "refused";
    }
    if !error.is_empty() || matches!(status, 0 | 502..=504) {
        return "failed";
    }
    "allowed"
}

fn decode(field: &str) -> String {
    let bytes = field.as_bytes();
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let pair =
            bytes.get(at + 1..at + 3).and_then(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok());
        match pair.filter(|_| bytes[at] == b'%') {
            Some(byte) => {
                decoded.push(byte);
                at += 3;
            }
            None => {
                decoded.push(bytes[at]);
                at += 1;
            }
        }
    }
    String::from_utf8_lossy(&decoded).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &str) -> Option<(String, String, u16, String)> {
        match parse(line)? {
            Say::Decision { method, target, status, decision, .. } => Some((method, target, status, decision)),
            other => panic!("{other:?}"),
        }
    }

    fn expect(line: &str, method: &str, target: &str, status: u16, decision: &str) {
        assert_eq!(read(line), Some((method.into(), target.into(), status, decision.into())), "{line}");
    }

    #[test]
    fn the_four_decisions() {
        expect("172.30.0.20 200 TCP_TUNNEL - CONNECT allowed.test:443", "CONNECT", "allowed.test:443", 200, "allowed");
        expect("172.30.0.20 404 TCP_MISS - GET http://allowed.test/", "GET", "http://allowed.test/", 404, "allowed");
        expect(
            "172.30.0.20 403 TCP_DENIED ERR_ACCESS_DENIED CONNECT evil.test:443",
            "CONNECT",
            "evil.test:443",
            403,
            "denied",
        );
        expect("172.30.0.20 400 NONE_NONE ERR_INVALID_URL GET /x", "GET", "/x", 400, "refused");
        expect("172.30.0.20 400 NONE_NONE - - error:invalid-request", "-", "error:invalid-request", 400, "refused");
        expect(
            "172.30.0.20 0 NONE_NONE - - error:transaction-end-before-headers",
            "-",
            "error:transaction-end-before-headers",
            0,
            "refused",
        );
        expect(
            "172.30.0.20 503 TCP_MISS ERR_CONNECT_FAIL GET http://allowed.test/",
            "GET",
            "http://allowed.test/",
            503,
            "failed",
        );
        expect(
            "172.30.0.20 503 NONE_NONE ERR_DNS_FAIL CONNECT x.allowed.test:443",
            "CONNECT",
            "x.allowed.test:443",
            503,
            "failed",
        );
    }

    #[test]
    fn encoded_fields_are_decoded_and_stay_in_place() {
        expect(
            "172.30.0.20 400 NONE_NONE ERR_INVALID_REQ %16%03x http://a.test/a%20b%",
            "\u{16}\u{3}x",
            "http://a.test/a b%",
            400,
            "refused",
        );
    }

    #[test]
    fn damaged_lines_and_our_own_check_are_no_decisions() {
        for line in [
            "",
            "x",
            "172.30.0.20 200 TCP_MISS - GET",
            "172.30.0.20 200 TCP_MISS - GET a b",
            "nobody 200 TCP_MISS - GET a",
            "127.0.0.1 0 NONE_NONE - - error:x",
            "::1 0 NONE_NONE - - error:x",
            "172.30.0.20 99999 A - B C",
        ] {
            assert_eq!(read(line), None, "{line}");
        }
    }
}
