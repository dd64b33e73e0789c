//! The half of awf-probe that runs inside the sandbox. It acts and reports raw facts; it never judges.
//!
//! One file per family. A probe is an entry in its family's `PROBES`; what its facts mean stands in
//! `matrix/capabilities/<family>.toml`.

pub mod first;
pub mod guest;
pub mod pace;
pub mod wire;

mod apparmor;
mod bench;
mod bind;
mod bridge;
mod calls;
mod capabilities;
mod cgroup;
mod chroot;
mod cx;
mod dns;
mod egress;
mod environment;
mod escape;
mod given;
mod identity;
mod image;
mod ipv6;
mod isolation;
mod lifecycle;
mod net;
mod netfilter;
mod netlocal;
mod netns;
mod paths;
mod privileges;
mod procfs;
mod procview;
mod propagation;
mod rehearse;
mod rlimits;
mod seccomp;
mod setting;
mod shared;
mod sys;
mod tiny;
mod tmpfs;

pub use bench::{BENCHES, Bench, served};
pub use bind::OVERLAYS;
pub use calls::{Safe, names, number, safe};
pub use cx::Cx;
pub use egress::{ATTEMPTS, Attempt, Dns, Payload, Sink, TAMPERINGS, Tampering, over_ipv6};
pub use identity::hypervisor;
pub use netfilter::{MORE_RULES, RULES, Rule};
pub use propagation::MOUNTED;

/// The name of an errno, as facts have it.
pub fn errno_name(number: i32) -> String {
    sys::errno_name(&std::io::Error::from_raw_os_error(number))
}

/// One experiment, as its family registers it.
#[derive(Clone, Copy, Debug)]
pub struct Probe {
    /// Stable id; the facts it reports begin with it.
    pub id: &'static str,
    /// What it tries, in a line.
    pub about: &'static str,
    /// The solo sandbox specs it runs in; empty where a scenario asks for it by name.
    pub specs: &'static [&'static str],
    /// The guest half.
    pub ask: fn(&mut Cx),
}

/// Every family and its probes, in the order in which they run within a sandbox.
pub const FAMILIES: &[(&str, &[Probe])] = &[
    ("identity", identity::PROBES),
    ("image", image::PROBES),
    ("environment", environment::PROBES),
    ("procfs", procfs::PROBES),
    ("procview", procview::PROBES),
    ("rehearse", rehearse::PROBES),
    ("bind", bind::PROBES),
    ("tmpfs", tmpfs::PROBES),
    ("chroot", chroot::PROBES),
    ("escape", escape::PROBES),
    ("paths", paths::PROBES),
    ("privileges", privileges::PROBES),
    ("seccomp", seccomp::PROBES),
    ("setting", setting::PROBES),
    ("calls", calls::PROBES),
    ("capabilities", capabilities::PROBES),
    ("rlimits", rlimits::PROBES),
    ("cgroup", cgroup::PROBES),
    ("dns", dns::PROBES),
    ("netfilter", netfilter::PROBES),
    ("netlocal", netlocal::PROBES),
    ("netns", netns::PROBES),
    ("egress", egress::PROBES),
    ("lifecycle", lifecycle::PROBES),
    ("isolation", isolation::PROBES),
    ("shared", shared::PROBES),
    ("bridge", bridge::PROBES),
    ("propagation", propagation::PROBES),
    ("apparmor", apparmor::PROBES),
    ("given", given::PROBES),
    ("ipv6", ipv6::PROBES),
];

/// Every probe.
pub fn all() -> impl Iterator<Item = &'static Probe> {
    FAMILIES.iter().flat_map(|(_, probes)| probes.iter())
}

/// The probe with this id; benches are one probe, which belongs to no family.
pub fn find(id: &str) -> Option<&'static Probe> {
    all().find(|p| p.id == id).or((id == bench::PROBE.id).then_some(&bench::PROBE))
}
