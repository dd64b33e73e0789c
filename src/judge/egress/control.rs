//! What a refusal is worth.

use awf_probe_matrix::Outcome;

use crate::record::Seen;

/// The kernel would not even make the socket or the packet.
pub(super) fn is_refused_at_source(outcome: &Outcome) -> bool {
    let errnos = [
        "EPERM",
        "EACCES",
        "EPROTONOSUPPORT",
        "ESOCKTNOSUPPORT",
        "EAFNOSUPPORT",
        "ENOPROTOOPT",
        "EOPNOTSUPP",
        "ENOSYS",
        "EINVAL",
        "EADDRNOTAVAIL",
    ];
    match outcome {
        Outcome::Refused { errno, detail } => detail.starts_with("socket") && errnos.contains(&errno.as_str()),
        _ => false,
    }
}

/// The runtime opens packet sockets, but does not let anything be written to them.
pub(super) fn cannot_send_frames(outcome: &Outcome) -> bool {
    matches!(outcome, Outcome::Refused { errno, detail } if errno == "EOPNOTSUPP" && detail == "send on eth0")
}

/// There is no such network here at all. The lab routes all of IPv4, so this can only be said of IPv6.
pub(super) fn no_such_network(seen: &Seen) -> bool {
    match (&seen.fact.outcome, &seen.fact.sent) {
        (Outcome::Refused { errno, .. }, Some(sent)) => {
            sent.dst.is_ipv6()
                && ["ENETUNREACH", "EHOSTUNREACH", "EAFNOSUPPORT", "EADDRNOTAVAIL", "ENODEV", "EINVAL"]
                    .contains(&errno.as_str())
        }
        _ => false,
    }
}

/// Nobody listens at 127.0.0.11: the engine's resolver is in the host's half of a namespace the sandbox does not use.
pub(super) fn no_embedded_resolver(seen: &Seen) -> bool {
    match (&seen.fact.outcome, &seen.fact.sent) {
        (Outcome::Refused { errno, .. }, Some(sent)) => sent.dst.is_loopback() && errno == "ECONNREFUSED",
        _ => false,
    }
}
