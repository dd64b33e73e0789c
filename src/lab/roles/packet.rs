//! IP packets: reading the few fields a verdict needs from untrusted bytes, and writing a marker.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// What the ledger keeps of a packet; see [`super::wire::Packet`] for the fields.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Parsed {
    pub(super) src: IpAddr,
    pub(super) dst: IpAddr,
    pub(super) proto: u8,
    pub(super) sport: u16,
    pub(super) dport: u16,
    /// Raw TCP flags.
    pub(super) flags: u8,
    pub(super) nonce: String,
}

/// Reads an IPv4 or IPv6 packet that starts at its network header; `None` if that header is damaged. Everything
/// behind it may be truncated, fragmented or garbage: what is missing reads as zero.
pub(super) fn parse(packet: &[u8]) -> Option<Parsed> {
    let (src, dst, proto, rest) = match packet.first()? >> 4 {
        4 => parse4(packet)?,
        6 => parse6(packet)?,
        _ => return None,
    };
    let (mut sport, mut dport, mut flags) = (0, 0, 0);
    if let (TCP | UDP | DCCP | SCTP | UDPLITE, Rest::First(transport)) = (proto, rest) {
        sport = half(transport, 0).unwrap_or(0);
        dport = half(transport, 2).unwrap_or(0);
        if proto == TCP {
            flags = transport.get(13).copied().unwrap_or(0);
        }
    }
    let (Rest::First(payload) | Rest::Later(payload)) = rest;
    Some(Parsed { src, dst, proto, sport, dport, flags, nonce: find_nonce(payload) })
}

/// The first `awfp` and twelve letters or digits, in any case, returned in lower case; empty if there is none.
/// Works on raw payloads, HTTP and DNS labels alike, as none of them splits the sixteen bytes.
pub(super) fn find_nonce(payload: &[u8]) -> String {
    let payload = &payload[..payload.len().min(SCANNED)];
    let is_nonce =
        |bytes: &&[u8]| bytes[..4].eq_ignore_ascii_case(b"awfp") && bytes.iter().all(u8::is_ascii_alphanumeric);
    let found = payload.windows(NONCE).find(is_nonce);
    found.map(|bytes| String::from_utf8_lossy(bytes).to_ascii_lowercase()).unwrap_or_default()
}

/// TCP flags as letters, `S` first, `A` last but for the urgent and congestion bits.
pub(super) fn flag_letters(flags: u8) -> String {
    let letters = [(SYN, 'S'), (FIN, 'F'), (RST, 'R'), (PSH, 'P'), (ACK, 'A'), (URG, 'U'), (0x40, 'E'), (0x80, 'C')];
    letters.iter().filter(|(bit, _)| flags & bit != 0).map(|(_, letter)| *letter).collect()
}

/// What sort of packet it is, for the ledger's key: a SYN must not be hidden behind the packets that follow it.
pub(super) const fn class(flags: u8) -> u8 {
    match (flags & RST != 0, flags & SYN != 0, flags & ACK != 0) {
        (true, _, _) => 3,
        (false, true, false) => 1,
        (false, true, true) => 2,
        (false, false, _) => 0,
    }
}

/// An IP packet with one UDP datagram, checksums included; `None` if the families differ or it is too long.
pub(super) fn udp((from, sport): (IpAddr, u16), (to, dport): (IpAddr, u16), payload: &[u8]) -> Option<Vec<u8>> {
    let length = u16::try_from(8 + payload.len()).ok()?;
    let mut datagram = Vec::with_capacity(usize::from(length));
    for field in [sport, dport, length, 0] {
        datagram.extend_from_slice(&field.to_be_bytes());
    }
    datagram.extend_from_slice(payload);
    let (header, pseudo) = match (from, to) {
        (IpAddr::V4(from), IpAddr::V4(to)) => {
            let total = length.checked_add(20)?.to_be_bytes();
            let mut header = vec![0x45, 0, total[0], total[1], 0, 0, 0x40, 0, 64, UDP, 0, 0];
            header.extend(from.octets().into_iter().chain(to.octets()));
            let sum = checksum(&[&header]).to_be_bytes();
            header[10..12].copy_from_slice(&sum);
            (header.clone(), [&header[12..], &[0, UDP], &length.to_be_bytes()].concat())
        }
        (IpAddr::V6(from), IpAddr::V6(to)) => {
            let length = length.to_be_bytes();
            let mut header = vec![0x60, 0, 0, 0, length[0], length[1], UDP, 64];
            header.extend(from.octets().into_iter().chain(to.octets()));
            (header.clone(), [&header[8..], &[0, 0], &length, &[0, 0, 0, UDP]].concat())
        }
        (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => return None,
    };
    // A computed zero means "none" in UDP and is sent as all ones.
    let sum = match checksum(&[&pseudo, &datagram]) {
        0 => u16::MAX,
        sum => sum,
    };
    datagram[6..8].copy_from_slice(&sum.to_be_bytes());
    Some([header, datagram].concat())
}

/// What lies behind the IP header.
#[derive(Clone, Copy)]
enum Rest<'a> {
    /// The transport header and its payload.
    First(&'a [u8]),
    /// A later fragment: no ports here.
    Later(&'a [u8]),
}

type Outer<'a> = (IpAddr, IpAddr, u8, Rest<'a>);

fn parse4(packet: &[u8]) -> Option<Outer<'_>> {
    let header = usize::from(packet[0] & 15) * 4;
    if header < 20 || packet.len() < header {
        return None;
    }
    let address = |at: usize| <[u8; 4]>::try_from(&packet[at..at + 4]).ok().map(|a| IpAddr::V4(Ipv4Addr::from(a)));
    // What the link padded behind the packet is not the packet's.
    let total = usize::from(half(packet, 2)?);
    let end = if total >= header { total.min(packet.len()) } else { packet.len() };
    let rest = &packet[header..end];
    let rest = if half(packet, 6)? & 0x1fff == 0 { Rest::First(rest) } else { Rest::Later(rest) };
    Some((address(12)?, address(16)?, packet[9], rest))
}

fn parse6(packet: &[u8]) -> Option<Outer<'_>> {
    let address =
        |at: usize| <[u8; 16]>::try_from(packet.get(at..at + 16)?).ok().map(|a| IpAddr::V6(Ipv6Addr::from(a)));
    let (src, dst) = (address(8)?, address(24)?);
    let mut proto = packet[6];
    let mut rest = &packet[40..];
    // Extension headers: at most as many as any sane packet has.
    for _ in 0..8 {
        let length = match proto {
            HOP_BY_HOP | ROUTING | DESTINATION => rest.get(1).map(|units| (usize::from(*units) + 1) * 8),
            FRAGMENT => Some(8),
            _ => break,
        };
        let Some(next) = length.and_then(|length| rest.get(length..)) else {
            return Some((src, dst, proto, Rest::Later(rest)));
        };
        let later = proto == FRAGMENT && half(rest, 2)? & 0xfff8 != 0;
        proto = rest[0];
        rest = next;
        if later {
            return Some((src, dst, proto, Rest::Later(rest)));
        }
    }
    Some((src, dst, proto, Rest::First(rest)))
}

fn half(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

/// The Internet checksum over parts of even length (the last may be odd).
fn checksum(parts: &[&[u8]]) -> u16 {
    let words = parts.iter().flat_map(|part| part.chunks(2));
    let mut sum: u32 = words.map(|word| u32::from(word[0]) << 8 | u32::from(word.get(1).copied().unwrap_or(0))).sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

/// Length of a nonce.
const NONCE: usize = 16;
/// How far into a payload a nonce is looked for.
const SCANNED: usize = 1500;

const HOP_BY_HOP: u8 = 0;
const TCP: u8 = 6;
const UDP: u8 = 17;
const DCCP: u8 = 33;
const ROUTING: u8 = 43;
const FRAGMENT: u8 = 44;
const DESTINATION: u8 = 60;
const SCTP: u8 = 132;
const UDPLITE: u8 = 136;

const FIN: u8 = 1;
const SYN: u8 = 2;
const RST: u8 = 4;
const PSH: u8 = 8;
const ACK: u8 = 16;
const URG: u8 = 32;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const FROM: IpAddr = IpAddr::V4(Ipv4Addr::new(172, 30, 0, 20));
    const TO: IpAddr = IpAddr::V4(Ipv4Addr::new(203, 0, 113, 7));

    #[test]
    fn a_marker_reads_back_and_its_checksums_hold() {
        let packet = udp((FROM, 4242), (TO, 4242), b"awfp0123456789ab.1").expect("a packet");
        let parsed = parse(&packet).expect("parsed");
        assert_eq!((parsed.src, parsed.dst, parsed.proto), (FROM, TO, UDP));
        assert_eq!((parsed.sport, parsed.dport, parsed.nonce.as_str()), (4242, 4242, "awfp0123456789ab"));
        assert_eq!(checksum(&[&packet[..20]]), 0);
        let pseudo = [&packet[12..20], &[0, UDP], &packet[24..26]].concat();
        assert_eq!(checksum(&[&pseudo, &packet[20..]]), 0);
    }

    #[test]
    fn ipv6_and_its_extension_headers() {
        let (from, to): (IpAddr, IpAddr) = ("2001:db8::1".parse().expect("v6"), "2001:db8::2".parse().expect("v6"));
        let plain = udp((from, 53), (to, 53), b"AWFPabcdefABCDEF").expect("a packet");
        assert_eq!(parse(&plain).expect("parsed").nonce, "awfpabcdefabcdef");
        let mut extended = plain.clone();
        extended[6] = DESTINATION;
        extended.splice(40..40, [UDP, 0, 0, 0, 0, 0, 0, 0]);
        let parsed = parse(&extended).expect("parsed");
        assert_eq!((parsed.proto, parsed.dport), (UDP, 53));
        extended[6] = FRAGMENT;
        extended[43] = 8;
        let parsed = parse(&extended).expect("a later fragment");
        assert_eq!((parsed.proto, parsed.dport), (UDP, 0));
        assert!(udp((FROM, 1), (to, 1), b"").is_none());
    }

    #[test]
    fn tcp_flags_and_classes() {
        let mut packet = udp((FROM, 443), (TO, 443), &[0; 20]).expect("a packet");
        packet[9] = TCP;
        packet[20 + 13] = SYN | ACK;
        assert_eq!(flag_letters(parse(&packet).expect("parsed").flags), "SA");
        assert_eq!([SYN, SYN | ACK, ACK | PSH, RST | ACK].map(class), [1, 2, 0, 3]);
    }

    #[test]
    fn later_fragments_have_no_ports() {
        let mut packet = udp((FROM, 443), (TO, 443), b"awfp0123456789ab").expect("a packet");
        packet[7] = 1;
        let parsed = parse(&packet).expect("parsed");
        assert_eq!((parsed.sport, parsed.nonce.as_str()), (0, "awfp0123456789ab"));
    }

    #[test]
    fn nonces_are_found_where_they_hide() {
        let dns = b"\x10awfp0123456789ab\x04test\x00";
        assert_eq!(find_nonce(dns), "awfp0123456789ab");
        assert_eq!(find_nonce(b"GET /awfpzzzzzzzzzzzz HTTP/1.1"), "awfpzzzzzzzzzzzz");
        assert_eq!(find_nonce(b"awfpawfp0123456789ab"), "awfpawfp01234567", "the leftmost match counts");
        assert_eq!(find_nonce(b"awfp0123-56789ab awfp01234567"), "");
        let mut far = vec![b' '; SCANNED];
        far.extend_from_slice(b"awfp0123456789ab");
        assert_eq!(find_nonce(&far), "");
    }

    #[test]
    fn link_padding_is_not_payload() {
        let mut packet = udp((FROM, 1), (TO, 1), b"").expect("a packet");
        packet.extend_from_slice(b"awfp0123456789ab");
        assert_eq!(parse(&packet).expect("parsed").nonce, "");
    }

    proptest! {
        #[test]
        fn garbage_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = parse(&bytes);
        }

        #[test]
        fn truncation_never_panics(cut in 0usize..60, first in any::<u8>(), next in any::<u8>()) {
            let mut packet = udp(("::1".parse().expect("v6"), 7), ("::2".parse().expect("v6"), 7), b"awfp0123456789ab").expect("a packet");
            packet[6] = next;
            packet[41] = first;
            packet.truncate(cut);
            let _ = parse(&packet);
        }
    }
}
