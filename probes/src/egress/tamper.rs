//! Tampering with what enforces: an act, then a datagram that gets out if the act worked.
//!
//! An attempt gives up what AWF's user code does not have before it acts. The control keeps it, puts up a rule that
//! drops, and shows that the act is possible and takes the rule away.

use std::{net::SocketAddr, time::Duration};

use awf_probe_matrix::Outcome;

use super::{Way, kernel};
use crate::{
    Cx,
    net::{self, Nonces, UDP},
    sys::{self, attempt as tried, become_user, check, drop_capabilities, refused},
};

/// An act of tampering.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tampering {
    /// The tool of this backend flushes the rules and lets every chain accept.
    Flush(&'static str),
    /// The tool of this backend puts a rule that accepts before all others.
    Insert(&'static str),
    /// The legacy backend's table is replaced by a system call.
    Replace,
    /// The nft backend's table is deleted by a netlink batch.
    DeleteTable,
    /// A user namespace of its own, whose capabilities are then used on the rules.
    UserNamespace,
    /// A route through a neighbour that stands on two networks.
    Route,
    /// A sysctl of the network is written.
    Sysctl,
    /// A program for control groups is loaded.
    Bpf,
    /// The sandbox's first process is traced.
    Ptrace,
}

/// Every act, with the attempt's name.
pub const TAMPERINGS: &[(&str, Tampering)] = &[
    ("flush-legacy", Tampering::Flush("legacy")),
    ("flush-nft", Tampering::Flush("nft")),
    ("insert-legacy", Tampering::Insert("legacy")),
    ("insert-nft", Tampering::Insert("nft")),
    ("setsockopt", Tampering::Replace),
    ("netlink", Tampering::DeleteTable),
    ("user-namespace", Tampering::UserNamespace),
    ("route", Tampering::Route),
    ("sysctl", Tampering::Sysctl),
    ("bpf", Tampering::Bpf),
    ("ptrace", Tampering::Ptrace),
];

impl Tampering {
    /// The backend whose rules it takes away, if it is about rules.
    pub fn backend(self) -> Option<&'static str> {
        match self {
            Self::Flush(backend) | Self::Insert(backend) => Some(backend),
            Self::Replace => Some("legacy"),
            Self::DeleteTable => Some("nft"),
            Self::UserNamespace | Self::Route | Self::Sysctl | Self::Bpf | Self::Ptrace => None,
        }
    }
}

const PORT: u16 = 40_000;
const TOOL_LIMIT: Duration = Duration::from_secs(5);
const SYSCTL: &str = "/proc/sys/net/ipv4/conf/all/route_localnet";
const PTRACE_SEIZE: u32 = 0x4206;

pub(super) fn attempt(cx: &mut Cx, way: &mut Way, tampering: Tampering) {
    // What AWF's user code is: no capability, not to be had again, an ordinary user.
    let given_up = drop_capabilities(&["ALL".to_owned()]).and_then(|()| become_user(1000));
    if let Err(e) = given_up {
        return cx.fact("", Outcome::broken(format!("cannot give up privileges: {e}")));
    }
    let neighbour = cx.text("neighbour").to_owned();
    let op = act(tampering, way, &neighbour, false);
    cx.fact("op", op);
    datagram(cx, "", way.dst, &way.nonces.next(), way.wait / 4);
}

fn datagram(cx: &mut Cx, name: &str, dst: std::net::IpAddr, nonce: &str, wait: Duration) {
    let to = SocketAddr::new(dst, PORT);
    let (outcome, sent) = net::udp(to, nonce, nonce.as_bytes(), 3, wait);
    debug_assert_eq!(sent.proto, UDP);
    cx.sent(name, outcome, sent);
}

fn act(tampering: Tampering, way: &Way, neighbour: &str, control: bool) -> Outcome {
    match tampering {
        Tampering::Flush(backend) => tool(backend, &["-P OUTPUT ACCEPT", "-F", "-t nat -F"]),
        Tampering::Insert(backend) => tool(backend, &["-I OUTPUT 1 -j ACCEPT"]),
        Tampering::Replace => tried(kernel::replace_filter(), "IPT_SO_SET_REPLACE of filter"),
        Tampering::DeleteTable => tried(kernel::delete_table(), "NFT_MSG_DELTABLE of filter"),
        Tampering::UserNamespace => user_namespace(control),
        Tampering::Route => match (way.dst, neighbour.parse()) {
            (std::net::IpAddr::V4(to), Ok(via)) => {
                tried(kernel::add_route(to, via), format!("RTM_NEWROUTE {to} via {via}"))
            }
            _ => Outcome::broken("no addresses"),
        },
        Tampering::Sysctl => {
            if control {
                let flags = libc::MS_REMOUNT | libc::MS_BIND;
                match sys::mount("", "/proc/sys", "", flags, "") {
                    // Not every runtime mounts it apart from /proc; then there is nothing to remount.
                    Err(e) if e.raw_os_error() != Some(libc::EINVAL) => return refused(&e, "remount of /proc/sys"),
                    Ok(()) | Err(_) => {}
                }
            }
            tried(std::fs::write(SYSCTL, "0\n"), format!("write {SYSCTL}"))
        }
        Tampering::Bpf => tried(kernel::load_bpf(), "BPF_PROG_LOAD"),
        Tampering::Ptrace => {
            // SAFETY: the call takes no pointers; the tracee is let go when this process ends.
            let r = unsafe { libc::ptrace(PTRACE_SEIZE, 1, 0, 0) };
            tried(check(r), "PTRACE_SEIZE of process 1")
        }
    }
}

/// Every command of a backend's tool; the first refusal is the outcome.
fn tool(backend: &str, commands: &[&str]) -> Outcome {
    let names = [format!("/usr/sbin/iptables-{backend}"), format!("/sbin/iptables-{backend}")];
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let Some(tool) = sys::first_existing(&names) else {
        return Outcome::Skipped { why: format!("tool missing: iptables-{backend}") };
    };
    for command in commands {
        let args: Vec<&str> = ["-w", "3"].into_iter().chain(command.split(' ')).collect();
        match sys::run(&tool, &args, TOOL_LIMIT) {
            Ok(r) if r.status == Some(0) => {}
            Ok(r) => {
                let status = r.status.map_or_else(|| "killed".to_owned(), |s| format!("exit {s}"));
                return Outcome::refused(status, format!("iptables-{backend} {command}: {}", r.err));
            }
            Err(e) => return Outcome::broken(format!("exec {tool}: {e}")),
        }
    }
    Outcome::allowed(format!("iptables-{backend} {}", commands.join("; ")))
}

/// Capabilities of a user namespace do not reach the network namespace it was made in. The control makes a network
/// namespace as well, over which they do.
fn user_namespace(control: bool) -> Outcome {
    let flags = libc::CLONE_NEWUSER | if control { libc::CLONE_NEWNET } else { 0 };
    // SAFETY: plain system call; this process has one thread.
    if let Err(e) = check(unsafe { libc::unshare(flags) }.into()) {
        return refused(&e, "unshare(CLONE_NEWUSER)");
    }
    // A legacy table may not exist; a route to nowhere needs the same capability.
    let route = || kernel::blackhole([203, 0, 113, 0].into());
    let either = if control { route() } else { kernel::replace_filter().and_then(|()| route()) };
    tried(either, "the rules, with the capabilities of a user namespace of its own")
}

/// Every act with its capabilities, one after the other.
pub(crate) fn control(cx: &mut Cx) {
    let Some(dst) = net::address(cx.text("dst")) else {
        return cx.fact("", Outcome::broken("no destination"));
    };
    let neighbour = cx.text("neighbour").to_owned();
    let mut nonces = Nonces::new(cx.text("seed"));
    let none = Duration::ZERO;
    let way =
        Way { dst, proxy: String::new(), gateway: String::new(), nonces: Nonces::new(cx.text("seed")), wait: none };
    for (name, tampering) in TAMPERINGS {
        let ended = sys::in_child(Duration::from_secs(15), || {
            if let Some(backend) = tampering.backend() {
                let rule = tool(backend, &["-F OUTPUT", "-A OUTPUT -p udp --dport 40000 -j DROP"]);
                cx.fact(&format!("{name}.rule"), rule);
                datagram(cx, &format!("{name}.before"), dst, &nonces.next(), none);
            } else {
                nonces.next();
            }
            let op = act(*tampering, &way, &neighbour, true);
            cx.fact(&format!("{name}.op"), op);
            datagram(cx, &format!("{name}.after"), dst, &nonces.next(), none);
            if let Some(backend) = tampering.backend() {
                // What is left would drop what the next act is to show.
                drop(tool(backend, &["-F OUTPUT"]));
            }
            0
        });
        // The child counted on its own.
        nonces.next();
        nonces.next();
        if !matches!(ended, Ok(Some(sys::End::Exit(0)))) {
            cx.fact(&format!("{name}.op"), Outcome::broken(format!("ended with {ended:?}")));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::egress::{ATTEMPTS, Payload};

    #[test]
    fn every_act_is_an_attempt_and_has_its_control() {
        for (name, tampering) in TAMPERINGS {
            let id = format!("tamper.{name}");
            let there = ATTEMPTS.iter().any(|a| a.id == id && a.payload == Payload::Tamper(*tampering));
            assert!(there, "{id}");
        }
        let attempts = ATTEMPTS.iter().filter(|a| matches!(a.payload, Payload::Tamper(_))).count();
        assert_eq!(attempts, TAMPERINGS.len());
    }
}
