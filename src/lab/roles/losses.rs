//! Packets the host lost where no socket sees it: in the queue of a link, and between a link and the network stack.

use std::{fs, io};

use super::attributes::{Body, attributes, number};
use super::netlink::Netlink;

/// Packets that the queue of a link, or the link itself, has thrown away since it was made.
pub(super) fn of_link(netlink: &mut Netlink, link: u32) -> io::Result<u64> {
    let mut header = [0; 16];
    header[4..8].copy_from_slice(&link.to_ne_bytes());
    let message = netlink.get(libc::RTM_GETLINK, &Body::new(&header))?;
    let missing = || io::Error::other("a link without counters");
    let counters = attributes(&message.body, 16).find(|(kind, _)| *kind == libc::IFLA_STATS64).ok_or_else(missing)?.1;
    // struct rtnl_link_stats64: the eighth is tx_dropped.
    let own = counters.get(56..64).and_then(|b| b.try_into().ok()).map(u64::from_ne_bytes).ok_or_else(missing)?;
    let queues = netlink.dump(libc::RTM_GETQDISC, &Body::new(&[0; 20]))?;
    let queues = queues.iter().filter(|q| q.body.get(4..8) == Some(&link.to_ne_bytes()[..]));
    Ok(own + queues.map(|q| of_queue(&q.body)).sum::<u64>())
}

/// Packets that were lost, on any link of this host since it was started, because the stack was too slow to take them.
pub(super) fn of_backlog() -> io::Result<u64> {
    let text = fs::read_to_string("/proc/net/softnet_stat")?;
    parse_backlog(&text).ok_or_else(|| io::Error::other("/proc/net/softnet_stat cannot be read"))
}

/// `drops` of struct gnet_stats_queue; a queue that counts none has none.
fn of_queue(body: &[u8]) -> u64 {
    let counters = attributes(body, 20).find(|(kind, _)| *kind == libc::TCA_STATS2);
    let queue = counters.and_then(|(_, c)| attributes(c, 0).find(|(kind, _)| *kind == TCA_STATS_QUEUE));
    queue.and_then(|(_, q)| number(q.get(8..)?)).map_or(0, u64::from)
}

/// The second column, hexadecimal, of a line for each CPU.
fn parse_backlog(text: &str) -> Option<u64> {
    text.lines().map(|line| u64::from_str_radix(line.split_whitespace().nth(1)?, 16).ok()).sum()
}

const TCA_STATS_QUEUE: u16 = 3;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_second_column_counts() {
        let text = "00a065d0 00000000 00000009 0 0\n008e5f75 0000001f 00000005 0 0\n";
        assert_eq!(parse_backlog(text), Some(31));
        assert_eq!(parse_backlog("one\n"), None);
        assert!(of_backlog().is_ok());
    }

    #[test]
    fn drops_are_the_third_number_of_the_queues_counters() {
        let queue: Vec<u8> = [7_u32, 8, 42, 9, 10].iter().flat_map(|n| n.to_ne_bytes()).collect();
        let inner = Body::default().attr(1, &[0; 16]).attr(TCA_STATS_QUEUE, &queue);
        let body = Body::new(&[0; 20]).name(libc::TCA_KIND, "tbf").nest(libc::TCA_STATS2, inner);
        assert_eq!(of_queue(&body.0), 42);
        assert_eq!(of_queue(&Body::new(&[0; 20]).0), 0);
    }

    #[test]
    fn loopback_has_lost_nothing() {
        let mut netlink = Netlink::open(0).expect("a socket");
        assert_eq!(of_link(&mut netlink, 1).expect("loopback"), 0);
    }
}
