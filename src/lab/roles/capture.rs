//! Packet capture: one packet socket, one thread, one line for each packet worth a line.
//!
//! Times are the kernel's receive time stamps (SO_TIMESTAMPNS), moved from CLOCK_REALTIME to CLOCK_MONOTONIC by
//! the difference of the two at the moment the packet is read. Of packets that look alike the first three are
//! written and then every power of two, so a flood cannot drown the rest. Whatever is lost is counted.

use std::collections::HashMap;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{Context, Result};
use libc::sock_filter;

use super::io::Out;
use super::packet::{Parsed, class, flag_letters, parse};
use super::socket::{Received, drops, open, receive, wait};
use super::wire::{Answer, Packet, Say};

/// A packet as the socket gave it.
pub(super) struct Frame {
    /// Interface it was seen on.
    pub(super) link: u32,
    /// `PACKET_…`: how it came.
    pub(super) packet_type: u8,
    /// What was read of it.
    pub(super) packet: Parsed,
}

/// What becomes of a frame.
pub(super) enum Fate {
    /// A packet of the lab on this interface.
    Report(Arc<str>),
    /// A packet of the lab where none may be.
    Trip(Arc<str>),
    /// Not of interest.
    Ignore,
}

/// Decides what becomes of frames. Runs on the capture's thread.
pub(super) trait Watch: Send + 'static {
    /// Called before frames are read: whatever the watch follows besides packets.
    fn refresh(&mut self) -> Result<()> {
        Ok(())
    }
    /// A descriptor that makes `refresh` due as soon as it can be read.
    fn descriptor(&self) -> Option<i32> {
        None
    }
    /// Decides about one frame.
    fn fate(&mut self, frame: &Frame) -> Fate;
}

/// A running capture.
pub(super) struct Capture {
    socket: Arc<OwnedFd>,
    packets: Arc<AtomicU64>,
    dropped: Arc<AtomicU64>,
    out: Out,
}

impl Capture {
    /// Starts capturing what `filter` passes, on one link or on all. Packets count from the return on.
    pub(super) fn start(link: Option<u32>, filter: &[sock_filter], watch: impl Watch, out: &Out) -> Result<Self> {
        let socket = Arc::new(open(link, filter).context("open a packet socket")?);
        let capture = Self { socket, packets: Arc::default(), dropped: Arc::default(), out: out.clone() };
        let reader = Reader {
            socket: Arc::clone(&capture.socket),
            packets: Arc::clone(&capture.packets),
            dropped: Arc::clone(&capture.dropped),
            out: out.clone(),
            ledger: Ledger::default(),
        };
        std::thread::Builder::new()
            .name("capture".into())
            .spawn(move || reader.run(watch))
            .context("start the capture thread")?;
        Ok(capture)
    }

    /// Packets looked at, and packets or lines lost anywhere between the wire and the harness.
    pub(super) fn counters(&self) -> Answer {
        // Counters that cannot be read forbid every negative, just as a drop does.
        let fresh = drops(&self.socket).unwrap_or(1);
        let dropped = self.dropped.fetch_add(fresh, Ordering::Relaxed) + fresh;
        Answer::Counters { packets: self.packets.load(Ordering::Relaxed), drops: dropped + self.out.lost() }
    }
}

/// The counters of a role that has no capture yet.
pub(super) fn counters(capture: Option<&Capture>, out: &Out) -> Answer {
    capture.map_or_else(|| Answer::Counters { packets: 0, drops: out.lost() }, Capture::counters)
}

struct Reader {
    socket: Arc<OwnedFd>,
    packets: Arc<AtomicU64>,
    dropped: Arc<AtomicU64>,
    out: Out,
    ledger: Ledger,
}

impl Reader {
    fn run(mut self, mut watch: impl Watch) {
        if let Err(error) = self.read_all(&mut watch) {
            // A capture that stopped has lost everything that follows.
            self.dropped.fetch_add(1, Ordering::Relaxed);
            self.out.answer(&Say::Failed { seq: 0, why: format!("capture stopped: {error:#}") });
        }
    }

    fn read_all(&mut self, watch: &mut impl Watch) -> Result<()> {
        let mut buffer = vec![0u8; super::bpf::TAKEN as usize];
        loop {
            wait(&self.socket, watch.descriptor())?;
            watch.refresh()?;
            while let Some(Received { t_ns, link, packet_type, length }) =
                receive(&self.socket, &mut buffer).context("read a packet")?
            {
                self.packets.fetch_add(1, Ordering::Relaxed);
                let Some(packet) = parse(&buffer[..length]) else {
                    continue;
                };
                self.take(watch, t_ns, &Frame { link, packet_type, packet });
            }
        }
    }

    fn take(&mut self, watch: &mut impl Watch, t_ns: u64, frame: &Frame) {
        let (trip, name) = match watch.fate(frame) {
            Fate::Report(name) => (false, name),
            Fate::Trip(name) => (true, name),
            Fate::Ignore => return,
        };
        let Some(nth) = self.ledger.count(frame) else {
            self.dropped.fetch_add(1, Ordering::Relaxed);
            return;
        };
        if nth > 3 && !nth.is_power_of_two() {
            return;
        }
        let Frame { packet_type, packet, .. } = frame;
        let way = if *packet_type == libc::PACKET_OUTGOING { "out" } else { "in" };
        let packet = Packet {
            t_ns,
            link: name.to_string(),
            way: way.to_owned(),
            src: packet.src,
            dst: packet.dst,
            proto: packet.proto,
            sport: packet.sport,
            dport: packet.dport,
            flags: if packet.proto == 6 { flag_letters(packet.flags) } else { String::new() },
            nonce: packet.nonce.clone(),
            nth,
        };
        if trip {
            // One is enough to end a run, so none may be lost to a full queue.
            self.out.answer(&Say::Tripwire(packet));
        } else {
            self.out.event(&Say::Packet(packet));
        }
    }
}

/// How often each kind of packet was seen.
#[derive(Default)]
struct Ledger(HashMap<(u32, u8, Parsed), u32>);

impl Ledger {
    /// The how-manieth packet of its key this is; `None` if the ledger is full and the key new.
    fn count(&mut self, frame: &Frame) -> Option<u32> {
        let flags = if frame.packet.proto == 6 { class(frame.packet.flags) } else { 0 };
        let key = (frame.link, frame.packet_type, Parsed { flags, ..frame.packet.clone() });
        if self.0.len() >= KEYS && !self.0.contains_key(&key) {
            return None;
        }
        let seen = self.0.entry(key).or_insert(0);
        *seen = seen.saturating_add(1);
        Some(*seen)
    }
}

/// Different packets a ledger can tell apart.
const KEYS: usize = 200_000;

#[cfg(test)]
mod tests {
    use super::*;

    struct Everything;

    impl Watch for Everything {
        fn fate(&mut self, frame: &Frame) -> Fate {
            if frame.link == 9 { Fate::Trip("eth9".into()) } else { Fate::Report("veth1".into()) }
        }
    }

    fn frame(link: u32, dport: u16) -> Frame {
        let packet = Parsed {
            src: [10, 0, 0, 1].into(),
            dst: [203, 0, 113, 1].into(),
            proto: 17,
            sport: 1,
            dport,
            flags: 0,
            nonce: String::new(),
        };
        Frame { link, packet_type: libc::PACKET_HOST, packet }
    }

    fn reader() -> Reader {
        let socket = Arc::new(OwnedFd::from(std::fs::File::open("/dev/null").expect("/dev/null")));
        Reader {
            socket,
            packets: Arc::default(),
            dropped: Arc::default(),
            out: Out::to_nowhere(),
            ledger: Ledger::default(),
        }
    }

    #[test]
    fn a_flood_of_one_key_becomes_a_few_lines() {
        let mut reader = reader();
        for _ in 0..100 {
            reader.take(&mut Everything, 0, &frame(1, 53));
        }
        let nths: Vec<u32> = reader
            .out
            .queued()
            .iter()
            .filter_map(|line| {
                let value: serde_json::Value = serde_json::from_str(line).expect("JSON");
                value["nth"].as_u64().map(|nth| nth as u32)
            })
            .collect();
        assert_eq!(nths, [1, 2, 3, 4, 8, 16, 32, 64]);
    }

    #[test]
    fn too_many_keys_are_drops() {
        let mut reader = reader();
        for n in 0..KEYS + 5 {
            reader.take(&mut Everything, 0, &frame(1 + (n / 60_000) as u32, n as u16));
        }
        assert_eq!(reader.dropped.load(Ordering::Relaxed), 5);
        reader.take(&mut Everything, 0, &frame(1, 0));
        assert_eq!(reader.dropped.load(Ordering::Relaxed), 5, "a known key still counts");
    }

    #[test]
    fn a_frame_elsewhere_is_a_tripwire() {
        let mut reader = reader();
        reader.take(&mut Everything, 0, &frame(9, 53));
        assert!(reader.out.queued()[0].contains("\"say\":\"tripwire\""));
    }
}
