//! Classic BPF programs for packet sockets: the kernel drops what the ledger does not want before it is copied.
//!
//! The sockets are of type `SOCK_DGRAM`, so a program sees the packet from its network header on, whatever the
//! link's own header is, and learns protocol and direction from the kernel's ancillary words.

use std::net::IpAddr;

use libc::sock_filter;

use super::subnet::{Subnet, mask4, mask6};

/// Passes IPv4 and IPv6 packets whose source lies in one of the subnets.
pub(super) fn sources_in(subnets: &[Subnet]) -> Vec<sock_filter> {
    let (mut v4, mut v6) = (Vec::new(), Vec::new());
    for subnet in subnets {
        match subnet.base {
            IpAddr::V4(base) => {
                v4.push(load(12));
                v4.push(and(mask4(subnet.prefix)));
                v4.push(skip_unless(u32::from(base), 1));
                v4.push(answer(TAKEN));
            }
            IpAddr::V6(base) => v6.extend(source6(u128::from(base), subnet.prefix)),
        }
    }
    v4.push(answer(0));
    v6.push(answer(0));
    // A conditional jump reaches only 255 instructions, so the way over the IPv4 part is an unconditional one.
    let mut program = vec![load(PROTOCOL), skip_if(libc::ETH_P_IP as u32, 1), jump(v4.len() as u32)];
    program.extend(v4);
    program.push(skip_if(libc::ETH_P_IPV6 as u32, 1));
    program.push(answer(0));
    program.extend(v6);
    program
}

/// Passes IPv4 and IPv6 packets that did not originate here.
pub(super) fn arriving() -> Vec<sock_filter> {
    arriving_of(&[libc::ETH_P_IP, libc::ETH_P_IPV6])
}

/// Passes IPv6 packets that did not originate here.
pub(super) fn arriving_ipv6() -> Vec<sock_filter> {
    arriving_of(&[libc::ETH_P_IPV6])
}

fn arriving_of(kinds: &[i32]) -> Vec<sock_filter> {
    let mut program =
        vec![load(PACKET_TYPE), skip_unless(u32::from(libc::PACKET_OUTGOING), 1), answer(0), load(PROTOCOL)];
    // Over the kinds that are left, and the answer.
    program.extend((1..=kinds.len()).rev().zip(kinds).map(|(left, kind)| skip_if(*kind as u32, left as u8)));
    program.extend([answer(0), answer(TAKEN)]);
    program
}

/// Tests the words of an IPv6 source that the prefix covers.
fn source6(base: u128, prefix: u8) -> Vec<sock_filter> {
    let word = |value: u128, n: u32| (value >> (96 - 32 * n)) as u32;
    let words: Vec<u32> = (0..4).filter(|n| word(mask6(prefix), *n) != 0).collect();
    let mut program = Vec::new();
    for (done, n) in words.iter().enumerate() {
        // On a mismatch over the remaining words (three instructions each) and the answer.
        let rest = (words.len() - done - 1) * 3 + 1;
        program.extend([load(8 + 4 * n), and(word(mask6(prefix), *n)), skip_unless(word(base, *n), rest as u8)]);
    }
    program.push(answer(TAKEN));
    program
}

const fn load(at: u32) -> sock_filter {
    instruction(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0, at)
}

const fn and(mask: u32) -> sock_filter {
    instruction(libc::BPF_ALU | libc::BPF_AND | libc::BPF_K, 0, 0, mask)
}

const fn skip_if(value: u32, count: u8) -> sock_filter {
    instruction(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, count, 0, value)
}

const fn skip_unless(value: u32, count: u8) -> sock_filter {
    instruction(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, 0, count, value)
}

const fn jump(count: u32) -> sock_filter {
    instruction(libc::BPF_JMP | libc::BPF_JA, 0, 0, count)
}

const fn answer(bytes: u32) -> sock_filter {
    instruction(libc::BPF_RET | libc::BPF_K, 0, 0, bytes)
}

const fn instruction(code: u32, jt: u8, jf: u8, k: u32) -> sock_filter {
    sock_filter { code: code as u16, jt, jf, k }
}

/// Bytes of a packet that are copied: more than the nonce scan reads.
pub(super) const TAKEN: u32 = 2048;

const ANCILLARY: u32 = libc::SKF_AD_OFF as u32;
const PROTOCOL: u32 = ANCILLARY.wrapping_add(libc::SKF_AD_PROTOCOL as u32);
const PACKET_TYPE: u32 = ANCILLARY.wrapping_add(libc::SKF_AD_PKTTYPE as u32);

#[cfg(test)]
mod tests {
    use super::super::packet::udp;
    use super::*;

    /// What the kernel would answer: an interpreter of the few instructions used here.
    fn run(program: &[sock_filter], packet: &[u8], protocol: i32, packet_type: u8) -> u32 {
        let (mut at, mut a) = (0, 0u32);
        loop {
            let sock_filter { code, jt, jf, k } = program[at];
            at += 1;
            match u32::from(code) {
                code if code == libc::BPF_LD | libc::BPF_W | libc::BPF_ABS => {
                    a = match k {
                        PROTOCOL => protocol as u32,
                        PACKET_TYPE => u32::from(packet_type),
                        // The kernel ends the program with 0 on a load beyond the packet.
                        k => match packet.get(k as usize..k as usize + 4) {
                            Some(word) => u32::from_be_bytes(word.try_into().expect("four bytes")),
                            None => return 0,
                        },
                    }
                }
                code if code == libc::BPF_ALU | libc::BPF_AND | libc::BPF_K => a &= k,
                code if code == libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K => {
                    at += usize::from(if a == k { jt } else { jf })
                }
                code if code == libc::BPF_JMP | libc::BPF_JA => at += k as usize,
                code if code == libc::BPF_RET | libc::BPF_K => return k,
                code => panic!("instruction {code:#x}"),
            }
        }
    }

    fn from(source: &str) -> (Vec<u8>, i32) {
        let source: IpAddr = source.parse().expect("an address");
        let to = if source.is_ipv4() { "203.0.113.1" } else { "2001:db8::9" };
        let kind = if source.is_ipv4() { libc::ETH_P_IP } else { libc::ETH_P_IPV6 };
        (udp((source, 1), (to.parse().expect("an address"), 1), b"x").expect("a packet"), kind)
    }

    #[test]
    fn only_sources_inside_the_subnets_pass() {
        let subnets: Vec<Subnet> = ["172.30.0.0/24", "10.9.0.0/16", "fd00:1:2:3::/64", "fd00:9::/33"]
            .iter()
            .map(|s| s.parse().expect("a subnet"))
            .collect();
        let program = sources_in(&subnets);
        let cases = [
            ("172.30.0.20", true),
            ("172.30.1.20", false),
            ("10.9.255.255", true),
            ("10.10.0.0", false),
            ("203.0.113.1", false),
            ("fd00:1:2:3:ffff::1", true),
            ("fd00:1:2:4::1", false),
            ("fd00:9:7fff::1", true),
            ("fd00:9:8000::1", false),
        ];
        for (source, passes) in cases {
            let (packet, kind) = from(source);
            assert_eq!(run(&program, &packet, kind, 0) > 0, passes, "{source}");
        }
        let (packet, _) = from("172.30.0.20");
        assert_eq!(run(&program, &packet, libc::ETH_P_ARP, 0), 0, "not an IP packet");
        assert_eq!(run(&program, &packet[..14], libc::ETH_P_IP, 0), 0, "too short to have a source");
    }

    #[test]
    fn a_long_list_of_subnets_still_reaches_its_end() {
        let subnets: Vec<Subnet> = (0..200).map(|n| format!("10.{n}.0.0/16").parse().expect("a subnet")).collect();
        let (packet, kind) = from("10.199.3.4");
        assert!(run(&sources_in(&subnets), &packet, kind, 0) > 0);
        let (packet, kind) = from("fd00::1");
        assert_eq!(run(&sources_in(&subnets), &packet, kind, 0), 0);
    }

    #[test]
    fn no_subnets_pass_nothing() {
        let (packet, kind) = from("172.30.0.20");
        assert_eq!(run(&sources_in(&[]), &packet, kind, 0), 0);
    }

    #[test]
    fn outgoing_and_foreign_protocols_do_not_arrive() {
        let (packet, kind) = from("172.30.0.20");
        assert!(run(&arriving(), &packet, kind, libc::PACKET_HOST) > 0);
        assert!(run(&arriving(), &packet, libc::ETH_P_IPV6, libc::PACKET_MULTICAST) > 0);
        assert_eq!(run(&arriving(), &packet, kind, libc::PACKET_OUTGOING), 0);
        assert_eq!(run(&arriving(), &packet, libc::ETH_P_ARP, libc::PACKET_HOST), 0);
        assert!(run(&arriving_ipv6(), &packet, libc::ETH_P_IPV6, libc::PACKET_HOST) > 0);
        assert_eq!(run(&arriving_ipv6(), &packet, libc::ETH_P_IPV6, libc::PACKET_OUTGOING), 0);
        assert_eq!(run(&arriving_ipv6(), &packet, kind, libc::PACKET_HOST), 0);
    }
}
