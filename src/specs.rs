//! The sandboxes a run makes: what differs between them is what a probe and its control differ by.

use std::{
    net::{IpAddr, Ipv4Addr},
    sync::Arc,
};

use serde_json::Value;

use crate::{engine::docker::sandbox::Common, extra::Extra, settings::Settings};

/// The network a sandbox is given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Net {
    /// Loopback only.
    None,
    /// The lab's bridge, at this address.
    Lab(Ipv4Addr),
    /// The internal bridge, at this address.
    Internal(Ipv4Addr),
    /// Another bridge of the lab, by the name of its network, at this address.
    Other(String, Ipv4Addr),
    /// The namespace of another container.
    Join(String),
    /// The host's.
    Host,
}

impl Net {
    /// The network's name, if it is one of the lab's.
    pub fn name<'a>(&'a self, common: &'a Common) -> Option<&'a str> {
        match self {
            Self::Lab(_) => Some(&common.lab),
            Self::Internal(_) => Some(&common.internal),
            Self::Other(name, _) => Some(name),
            Self::None | Self::Join(_) | Self::Host => None,
        }
    }
}

/// Where the host's programs are mounted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Toolbox {
    /// Nowhere.
    None,
    /// At their own paths, read-only.
    Root,
    /// Below `/host`, read-only, as AWF does it.
    Host,
}

/// A seccomp profile.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Seccomp {
    /// None.
    Unconfined,
    /// One that refuses getcpu, and prctl(PR_GET_DUMPABLE), with ENOMSG.
    Marker,
    /// One of the size and shape of AWF's.
    Awf,
    /// The engine's own.
    EngineDefault,
    /// The user's.
    File(Arc<str>),
}

/// The AppArmor profile the engine makes for its containers.
pub const APPARMOR: &str = "docker-default";

/// How a sandbox is configured.
#[derive(Clone, Debug)]
pub struct Spec {
    /// Name, as conditions in the catalogue use it.
    pub name: String,
    /// Network.
    pub net: Net,
    /// Further networks, and the address on each.
    pub also: Vec<(String, Ipv4Addr)>,
    /// Its address in a namespace that it joins.
    pub address: Option<IpAddr>,
    /// Names under which the networks know it.
    pub aliases: Vec<String>,
    /// Capabilities added to the engine's default set.
    pub cap_add: Vec<&'static str>,
    /// Capabilities dropped from it.
    pub cap_drop: Vec<&'static str>,
    /// no-new-privileges.
    pub no_new_privs: bool,
    /// Seccomp profile.
    pub seccomp: Seccomp,
    /// With the engine's AppArmor profile; without it, unconfined.
    pub apparmor: bool,
    /// Without the engine's masked and read-only paths.
    pub unmasked: bool,
    /// Memory and swap limit in bytes.
    pub memory: Option<i64>,
    /// Pids limit.
    pub pids: Option<i64>,
    /// Thousandths of a CPU.
    pub cpu_milli: Option<i64>,
    /// Weight against other containers; the engine's default is 1024.
    pub cpu_shares: Option<i64>,
    /// The host's programs.
    pub toolbox: Toolbox,
    /// The run's volume at /host/work (writable) and /host/read-only, and the credential mask.
    pub workspace: bool,
    /// Extra environment.
    pub env: Vec<String>,
    /// Static hosts entries.
    pub extra_hosts: Vec<String>,
    /// Mounts and limits beyond those of AWF's agent.
    pub extra: Extra,
    /// What a client says about its life.
    pub more: Settings,
    /// The agent's service of a Compose override, which wins over all of the above.
    pub emitted: Option<Arc<Value>>,
}

impl Spec {
    /// A sandbox with the engine's default capabilities, no seccomp, no network.
    pub fn plain(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            net: Net::None,
            also: vec![],
            address: None,
            aliases: vec![],
            cap_add: vec![],
            cap_drop: vec![],
            no_new_privs: false,
            seccomp: Seccomp::Unconfined,
            apparmor: false,
            unmasked: false,
            memory: None,
            pids: None,
            cpu_milli: None,
            cpu_shares: None,
            toolbox: Toolbox::None,
            workspace: false,
            env: vec![],
            extra_hosts: vec![],
            extra: Extra::default(),
            more: Settings::default(),
            emitted: None,
        }
    }

    /// AWF's agent: its capabilities, no-new-privileges, limits and mounts.
    pub fn awf(name: &str) -> Self {
        Self {
            cap_add: vec!["SYS_CHROOT", "SYS_ADMIN"],
            cap_drop: vec!["NET_RAW", "SYS_PTRACE", "SYS_MODULE", "SYS_RAWIO", "MKNOD"],
            no_new_privs: true,
            memory: Some(6 << 30),
            pids: Some(1000),
            ..Self::plain(name)
        }
    }

    /// AWF's init container: NET_ADMIN and NET_RAW, nothing else, with the host's iptables.
    pub fn init(name: &str, joins: &str) -> Self {
        Self {
            net: Net::Join(joins.to_owned()),
            cap_add: vec!["NET_ADMIN", "NET_RAW"],
            cap_drop: vec!["ALL"],
            toolbox: Toolbox::Root,
            ..Self::plain(name)
        }
    }

    /// The solo spec of this name, for a sandbox that stands at `address` if it needs the lab.
    pub fn solo(name: &str, address: Ipv4Addr, proxy: Ipv4Addr) -> Option<Self> {
        let plain = Self::plain(name);
        let netfilter = Self { net: Net::Lab(address), toolbox: Toolbox::Root, ..plain.clone() };
        Some(match name {
            "plain" => plain,
            "bare" => Self { cap_drop: vec!["ALL"], ..plain },
            "marker" => Self { seccomp: Seccomp::Marker, ..plain },
            // The engine's missing ones are dropped again where the sandbox is made.
            "all-caps" => Self { cap_add: vec!["ALL"], ..plain },
            "all-caps-awf" => Self { cap_add: vec!["ALL"], seccomp: Seccomp::Awf, ..plain },
            "profile" => Self { cap_add: vec!["ALL"], seccomp: Seccomp::Awf, ..plain },
            "default-seccomp" => Self { seccomp: Seccomp::EngineDefault, ..plain },
            "awf-seccomp" => Self {
                toolbox: Toolbox::Host,
                workspace: true,
                seccomp: Seccomp::Awf,
                env: proxy_env("proxy.awf-probe.test"),
                ..Self::awf(name)
            },
            "memory" => Self { memory: Some(64 << 20), ..plain },
            "pids" => Self { pids: Some(60), ..plain },
            // Heavy against the run's other sandboxes, so that what holds it back is the quota.
            "cpu" => Self { cpu_milli: Some(250), cpu_shares: Some(65_536), ..plain },
            "unlimited" => Self { cpu_shares: Some(65_536), unmasked: true, extra: Extra::big_tmpfs(), ..plain },
            "mounts" => Self { cap_add: vec!["SYS_ADMIN", "SYSLOG"], extra: Extra::mounts(), ..plain },
            "apparmor" => Self { cap_add: vec!["SYS_ADMIN"], unmasked: true, apparmor: true, ..plain },
            "apparmor-off" => Self { cap_add: vec!["SYS_ADMIN"], unmasked: true, ..plain },
            "socket" => Self { extra: Extra::engine_socket(), ..plain },
            "limits" => Self { extra: Extra::limits(), ..plain },
            "memory-tmpfs" => Self { memory: Some(64 << 20), extra: Extra::big_tmpfs(), ..plain },
            "awf" => Self {
                toolbox: Toolbox::Host,
                workspace: true,
                env: proxy_env("proxy.awf-probe.test"),
                ..Self::awf(name)
            },
            "dns" => Self {
                net: Net::Lab(address),
                extra_hosts: vec![format!("static.awf-probe.test:{proxy}")],
                ..Self::awf(name)
            },
            "netfilter" => Self { cap_add: vec!["NET_ADMIN", "NET_RAW"], ..netfilter },
            // The engine's own set, which has NET_RAW and not NET_ADMIN.
            "rules-raw" => Self { toolbox: Toolbox::Root, ..plain },
            "netfilter-noraw" => Self { cap_add: vec!["NET_ADMIN"], cap_drop: vec!["NET_RAW"], ..netfilter },
            "configured" => Self {
                env: vec!["AWF_PROBE_SET=by the client".to_owned()],
                more: Settings {
                    user: Some("1000:13".to_owned()),
                    groups: vec!["4242".to_owned()],
                    workdir: Some("/tmp".to_owned()),
                    hostname: Some("box".to_owned()),
                    domainname: Some("awf-probe.test".to_owned()),
                    ..Settings::default()
                },
                extra: Extra { sysctls: vec![("net.ipv4.ip_local_port_range", "41000 41063")], ..Extra::default() },
                ..plain
            },
            "read-only" => Self {
                more: Settings { read_only: true, ..Settings::default() },
                extra: Extra { tmpfs: vec![("/scratch", "rw,size=1m,mode=1777")], ..Extra::default() },
                ..plain
            },
            "init" => {
                Self { more: Settings { init: true, user: Some("agent".to_owned()), ..Settings::default() }, ..plain }
            }
            _ => return None,
        })
    }

    /// Whether nothing that is asked in it has to do with a network.
    pub fn looks_at_no_network(name: &str) -> bool {
        matches!(name, "cpu" | "unlimited" | "memory" | "memory-tmpfs" | "pids" | "marker" | "socket")
    }

    /// Whether it stands in the lab.
    pub fn in_lab(name: &str) -> bool {
        matches!(name, "dns" | "netfilter" | "netfilter-noraw")
    }
}

/// The solo specs, the slow ones first.
pub const SOLO: &[&str] = &[
    "netfilter",
    "netfilter-noraw",
    "dns",
    "awf",
    "cpu",
    "unlimited",
    "mounts",
    "limits",
    "memory-tmpfs",
    "plain",
    "memory",
    "pids",
    "bare",
    "marker",
    "awf-seccomp",
    "all-caps",
    "all-caps-awf",
    "profile",
    "default-seccomp",
    "configured",
    "read-only",
    "init",
    "socket",
    "apparmor",
    "apparmor-off",
    "rules-raw",
];

/// Where two containers of a scenario have the run's volume.
pub const SHARED: &str = "/m/shared";

/// Scenarios the engine drives from outside, and how many containers each takes.
pub const DRIVEN: &[(&str, usize)] = &[
    ("health", 4),
    ("signals", 2),
    ("exit", 7),
    ("stdio", 4),
    ("life", 1),
    ("shared", 2),
    ("restart", 3),
    ("joined", 2),
    ("bridge", 2),
    ("propagation", 4),
    ("compose", 18),
    ("given", 4),
];

/// AWF's proxy variables; lower-case `http_proxy` is deliberately not among them.
pub fn proxy_env(host: &str) -> Vec<String> {
    let url = format!("http://{host}:3128");
    let mut env: Vec<String> =
        ["HTTP_PROXY", "HTTPS_PROXY", "https_proxy"].iter().map(|n| format!("{n}={url}")).collect();
    env.extend(
        ["NO_PROXY", "no_proxy"]
            .iter()
            .map(|n| format!("{n}=localhost,127.0.0.1,::1,0.0.0.0,{host},agent.awf-probe.test")),
    );
    env
}

/// The profile of AWF's size and shape: 352 names allowed, 30 refused one by one, the rest refused by default.
pub const AWF_PROFILE: &str = include_str!("seccomp/awf.json");

/// The marker profile.
pub fn marker_profile() -> String {
    serde_json::json!({
        "defaultAction": "SCMP_ACT_ALLOW",
        "archMap": [
            {"architecture": "SCMP_ARCH_X86_64", "subArchitectures": ["SCMP_ARCH_X86", "SCMP_ARCH_X32"]},
            {"architecture": "SCMP_ARCH_AARCH64", "subArchitectures": ["SCMP_ARCH_ARM"]}
        ],
        "syscalls": [
            {"names": ["getcpu"], "action": "SCMP_ACT_ERRNO", "errnoRet": libc::ENOMSG},
            {"names": ["prctl"], "action": "SCMP_ACT_ERRNO", "errnoRet": libc::ENOMSG,
             "args": [{"index": 0, "value": libc::PR_GET_DUMPABLE, "op": "SCMP_CMP_EQ"}]},
            {"names": ["getitimer"], "action": "SCMP_ACT_KILL_PROCESS"},
            {"names": ["setitimer"], "action": "SCMP_ACT_TRAP"},
            {"names": ["times"], "action": "SCMP_ACT_LOG"},
            {"names": [if cfg!(target_arch = "x86_64") { "sysfs" } else { "sched_rr_get_interval" }], "action": "SCMP_ACT_ERRNO", "errnoRet": libc::EUSERS}
        ]
    })
    .to_string()
}
