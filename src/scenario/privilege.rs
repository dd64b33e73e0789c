//! What a sandbox that asks for every capability is given, and the user's seccomp profile.

use std::sync::Arc;

/// What the engine can give a sandbox, and what the user asks for.
#[derive(Clone, Debug, Default)]
pub struct Privilege {
    /// Capabilities the engine itself has: a container can be given no others.
    pub engine: u64,
    /// The user's seccomp profile.
    pub profile: Option<Arc<str>>,
}

impl Privilege {
    /// Capabilities that asking for all of them must leave out: the runtime would fail to set them.
    pub fn missing(&self) -> Vec<&'static str> {
        CAPABILITIES.iter().enumerate().filter(|(bit, _)| self.engine & (1 << bit) == 0).map(|(_, n)| *n).collect()
    }

    /// Whether a container that asks for every capability has this one; `CAP_` before the name or not. Those an older
    /// engine has no name for are not among them.
    pub fn gives(&self, name: &str) -> bool {
        let bare = name.strip_prefix("CAP_").unwrap_or(name);
        CAPABILITIES.iter().position(|n| *n == bare).is_some_and(|bit| self.engine & (1 << bit) != 0)
    }

    /// The number of a capability this version knows by name.
    pub(crate) fn bit(name: &str) -> Option<usize> {
        CAPABILITIES.iter().position(|n| *n == name)
    }

    /// Names of a set.
    pub(crate) fn names(set: u64) -> Vec<&'static str> {
        CAPABILITIES.iter().enumerate().filter(|(bit, _)| set & (1 << bit) != 0).map(|(_, n)| *n).collect()
    }

    /// Every capability this version knows by name.
    pub(crate) fn all() -> u64 {
        (1 << CAPABILITIES.len()) - 1
    }
}

/// Names of the capabilities, by number.
const CAPABILITIES: [&str; 38] = [
    "CHOWN",
    "DAC_OVERRIDE",
    "DAC_READ_SEARCH",
    "FOWNER",
    "FSETID",
    "KILL",
    "SETGID",
    "SETUID",
    "SETPCAP",
    "LINUX_IMMUTABLE",
    "NET_BIND_SERVICE",
    "NET_BROADCAST",
    "NET_ADMIN",
    "NET_RAW",
    "IPC_LOCK",
    "IPC_OWNER",
    "SYS_MODULE",
    "SYS_RAWIO",
    "SYS_CHROOT",
    "SYS_PTRACE",
    "SYS_PACCT",
    "SYS_ADMIN",
    "SYS_BOOT",
    "SYS_NICE",
    "SYS_RESOURCE",
    "SYS_TIME",
    "SYS_TTY_CONFIG",
    "MKNOD",
    "LEASE",
    "AUDIT_WRITE",
    "AUDIT_CONTROL",
    "SETFCAP",
    "MAC_OVERRIDE",
    "MAC_ADMIN",
    "SYSLOG",
    "WAKE_ALARM",
    "BLOCK_SUSPEND",
    "AUDIT_READ",
];
