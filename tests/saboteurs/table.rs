//! The saboteurs: one defect each. Which cells each must break, to which verdict, and why, is `breaks.toml`.

use serde_json::{Value, json};

use crate::{
    edits::{
        add_caps, add_to_set, awf, bare, drop_caps, drop_mount, drop_namespace, drop_rule, drop_sysctls, each_mount,
        env, marker, memory, options, pids, put, quota, remove, rules_of, unmasked,
    },
    guest::Lie,
    wrapper::Call,
};

/// What a saboteur does.
pub(crate) enum Defect {
    /// Nothing: the control of the method itself.
    None,
    /// Edits the bundle's configuration before the container is created.
    Bundle(fn(&mut Value)),
    /// Behaves otherwise when called.
    Call(fn(&Call) -> Act),
    /// Spoils what the guest says, in the sandboxes that the first function names by their configuration.
    Guest(fn(&Value) -> bool, Lie),
}

/// What to do about one call.
pub(crate) enum Act {
    /// Hand over.
    Go,
    /// Sleep so many seconds, then hand over.
    Wait(u64),
    /// Exit with this code, having said this.
    Say(u8, &'static str),
    /// Become another program.
    Be(&'static str),
}

/// Part of the catalogue that is asked for in runs of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Part {
    /// All of it but the parts below: the promise that no other cell changes is kept over this, for every saboteur.
    Sandbox,
    /// Ways out under every enforcement model, over IPv6 too.
    Egress,
    /// Network namespaces of another container's.
    Netns,
    /// Enforcement models whose guard fails.
    Guard,
    /// Docker Compose.
    Compose,
}

/// One saboteur.
pub(crate) struct Saboteur {
    /// Its name.
    pub(crate) name: &'static str,
    /// What is asked of it unless `AWF_PROBE_SABOTEURS=full` asks for all.
    pub(crate) parts: &'static [Part],
    /// Its defect.
    pub(crate) defect: Defect,
    /// The defect's own text: a saboteur that is edited is another one.
    pub(crate) text: &'static str,
}

/// The saboteur of this name.
pub(crate) fn find(name: &str) -> Option<&'static Saboteur> {
    SABOTEURS.iter().find(|s| s.name == name)
}

/// The defect is in the sandbox alone.
const SANDBOX: &[Part] = &[Part::Sandbox];
/// The defect can reach what the sandbox sends or receives: capabilities, namespaces, sysctls, environment, user,
/// arguments, files of the resolver.
const NETWORK: &[Part] = &[Part::Sandbox, Part::Egress, Part::Netns];
/// Every part.
pub(crate) const ALL: &[Part] = &[Part::Sandbox, Part::Egress, Part::Netns, Part::Guard, Part::Compose];

macro_rules! saboteur {
    ($name:literal, $parts:expr, $defect:expr) => {
        Saboteur { name: $name, parts: $parts, defect: $defect, text: stringify!($defect) }
    };
}

use Defect::{Bundle, Call as Called, Guest};

/// All of them.
pub(crate) const SABOTEURS: &[Saboteur] = &[
    // Controls of the method: a wrapper without a defect, and one that only stands in between.
    saboteur!("nothing", NETWORK, Defect::None),
    saboteur!("in-between", NETWORK, Guest(|_| true, Lie::Nothing)),
    saboteur!(
        "slow",
        NETWORK,
        Called(|c| match c.command.as_str() {
            "create" | "start" | "kill" | "delete" => Act::Wait(1),
            _ => Act::Go,
        })
    ),
    saboteur!("escapes", NETWORK, Guest(|_| true, Lie::Escapes)),
    // Limits.
    saboteur!("no-memory-limit", SANDBOX, Bundle(|c| remove(c, "/linux/resources/memory"))),
    saboteur!("no-pids-limit", SANDBOX, Bundle(|c| remove(c, "/linux/resources/pids"))),
    saboteur!(
        "no-cpu-quota",
        SANDBOX,
        Bundle(|c| {
            remove(c, "/linux/resources/cpu/quota");
            remove(c, "/linux/resources/cpu/period");
        })
    ),
    saboteur!(
        "pids-limit-rounded",
        SANDBOX,
        Bundle(|c| {
            if pids(c, 60) {
                put(c, "/linux/resources/pids/limit", json!(64));
            }
        })
    ),
    // Seccomp.
    saboteur!("no-seccomp", SANDBOX, Bundle(|c| remove(c, "/linux/seccomp"))),
    saboteur!(
        "seccomp-other-errno",
        SANDBOX,
        Bundle(|c| {
            rules_of(c, "getcpu", |r| {
                r.insert("errnoRet".into(), json!(1));
            })
        })
    ),
    saboteur!("seccomp-no-arguments", SANDBOX, Bundle(|c| drop_rule(c, "prctl"))),
    // Capabilities and privileges.
    saboteur!("net-admin", NETWORK, Bundle(|c| add_caps(c, &["CAP_NET_ADMIN"]))),
    saboteur!("net-raw", NETWORK, Bundle(|c| add_caps(c, &["CAP_NET_RAW"]))),
    saboteur!("sys-admin", SANDBOX, Bundle(|c| add_caps(c, &["CAP_SYS_ADMIN"]))),
    saboteur!("sys-chroot", SANDBOX, Bundle(|c| add_caps(c, &["CAP_SYS_CHROOT"]))),
    saboteur!(
        "wide-bounding-set",
        SANDBOX,
        Bundle(|c| {
            for cap in ALL_CAPS {
                add_to_set(c, "bounding", cap);
            }
        })
    ),
    saboteur!("no-sys-admin", NETWORK, Bundle(|c| drop_caps(c, &["CAP_SYS_ADMIN"]))),
    saboteur!("no-sys-chroot", NETWORK, Bundle(|c| drop_caps(c, &["CAP_SYS_CHROOT"]))),
    saboteur!("no-net-admin", NETWORK, Bundle(|c| drop_caps(c, &["CAP_NET_ADMIN"]))),
    saboteur!("no-setuid", NETWORK, Bundle(|c| drop_caps(c, &["CAP_SETUID"]))),
    saboteur!("new-privileges", SANDBOX, Bundle(|c| put(c, "/process/noNewPrivileges", json!(false)))),
    saboteur!("never-new-privileges", SANDBOX, Bundle(|c| put(c, "/process/noNewPrivileges", json!(true)))),
    // Namespaces. Without the sysctls of a network of its own, which runc does not set on the host: it would not start.
    saboteur!(
        "host-network",
        NETWORK,
        Bundle(|c| {
            drop_namespace(c, "network");
            drop_sysctls(c, &["net."]);
            remove(c, "/hooks");
        })
    ),
    saboteur!(
        "host-network-later",
        NETWORK,
        Bundle(|c| {
            if awf(c) {
                drop_namespace(c, "network");
                drop_sysctls(c, &["net."]);
                remove(c, "/hooks");
            }
        })
    ),
    saboteur!(
        "fresh-network",
        NETWORK,
        Bundle(|c| {
            for ns in c["linux"]["namespaces"].as_array_mut().into_iter().flatten() {
                if ns["type"] == "network" {
                    ns.as_object_mut().map(|o| o.remove("path"));
                }
            }
        })
    ),
    // Without the sysctls of that namespace, which runc does not set on the host.
    saboteur!(
        "host-ipc",
        SANDBOX,
        Bundle(|c| {
            drop_namespace(c, "ipc");
            drop_sysctls(c, &["kernel.msg", "kernel.sem", "kernel.shm", "fs.mqueue."]);
        })
    ),
    saboteur!(
        "host-uts",
        SANDBOX,
        Bundle(|c| {
            drop_namespace(c, "uts");
            remove(c, "/hostname");
            drop_sysctls(c, &["kernel.domainname", "kernel.hostname"]);
        })
    ),
    saboteur!("host-pid", SANDBOX, Bundle(|c| drop_namespace(c, "pid"))),
    // Mounts.
    saboteur!(
        "volume-writable",
        SANDBOX,
        Bundle(|c| {
            each_mount(c, |m| {
                // Only what the run made: a toolbox that is writable would be the host's own /usr.
                if m["source"].as_str().is_some_and(|s| s.contains("/volumes/")) {
                    options(m, |o| if o == "ro" { Some("rw".to_owned()) } else { Some(o.to_owned()) });
                }
            })
        })
    ),
    saboteur!("no-masks", SANDBOX, Bundle(|c| put(c, "/linux/maskedPaths", json!([])))),
    saboteur!("no-read-only-paths", SANDBOX, Bundle(|c| put(c, "/linux/readonlyPaths", json!([])))),
    saboteur!("credential-not-covered", SANDBOX, Bundle(|c| drop_mount(c, "/host/home/agent/.netrc"))),
    saboteur!("no-workspace", SANDBOX, Bundle(|c| drop_mount(c, "/host/work"))),
    saboteur!("no-toolbox", SANDBOX, Bundle(|c| drop_mount(c, "/host/usr"))),
    saboteur!("lost-tmpfs", SANDBOX, Bundle(|c| drop_mount(c, "/host/tmp"))),
    saboteur!(
        "tmpfs-without-flags",
        SANDBOX,
        Bundle(|c| {
            each_mount(c, |m| {
                if m["type"] == "tmpfs" {
                    options(m, |o| (!matches!(o, "noexec" | "nosuid" | "nodev")).then(|| o.to_owned()));
                }
            })
        })
    ),
    saboteur!(
        "tmpfs-without-size",
        SANDBOX,
        Bundle(|c| {
            each_mount(c, |m| {
                if m["type"] == "tmpfs" {
                    options(m, |o| (!o.starts_with("size=")).then(|| o.to_owned()));
                }
            })
        })
    ),
    saboteur!(
        "mounts-reversed",
        SANDBOX,
        Bundle(|c| {
            if let Some(m) = c["mounts"].as_array_mut() {
                // The kernel's own file systems stay in front, or nothing starts at all.
                let at = m.iter().position(|m| {
                    m["type"] == "bind" || m["destination"].as_str().is_some_and(|d| d.starts_with("/host"))
                });
                if let Some(at) = at {
                    m[at..].reverse();
                }
            }
        })
    ),
    saboteur!("read-only-root", SANDBOX, Bundle(|c| put(c, "/root/readonly", json!(true)))),
    saboteur!(
        "devices-open",
        SANDBOX,
        Bundle(|c| put(c, "/linux/resources/devices", json!([{"allow": true, "access": "rwm"}])))
    ),
    saboteur!("no-hosts-file", NETWORK, Bundle(|c| drop_mount(c, "/etc/hosts"))),
    saboteur!("no-resolv-conf", SANDBOX, Bundle(|c| drop_mount(c, "/etc/resolv.conf"))),
    // The process.
    saboteur!(
        "http-proxy-set",
        NETWORK,
        Bundle(|c| env(c, |e| e.push(json!("http_proxy=http://proxy.awf-probe.test:3128"))))
    ),
    saboteur!(
        "no-proxy-variables",
        NETWORK,
        Bundle(|c| env(c, |e| e.retain(|v| !v.as_str().is_some_and(|v| v.to_lowercase().contains("_proxy=")))))
    ),
    saboteur!(
        "no-image-variables",
        NETWORK,
        Bundle(|c| env(c, |e| e.retain(|v| !v.as_str().is_some_and(|v| v.starts_with("AWF_PROBE_IMAGE=")))))
    ),
    saboteur!("other-folder", NETWORK, Bundle(|c| put(c, "/process/cwd", json!("/")))),
    saboteur!("other-user", NETWORK, Bundle(|c| put(c, "/process/user", json!({"uid": 1000, "gid": 1000})))),
    saboteur!("no-sysctls", NETWORK, Bundle(|c| remove(c, "/linux/sysctl"))),
    saboteur!("other-program", NETWORK, Bundle(|c| put(c, "/process/args", json!(["/awf-probe", "list"])))),
    // Steps of a container's life.
    saboteur!(
        "start-refused",
        SANDBOX,
        Called(|c| {
            if c.command == "create" && c.config.pointer("/linux/seccomp").is_some() {
                Act::Say(1, "seccomp is not supported")
            } else {
                Act::Go
            }
        })
    ),
    saboteur!(
        "hangs-at-create",
        SANDBOX,
        Called(|c| if c.command == "create" && pids(&c.config, 60) { Act::Wait(100_000) } else { Act::Go })
    ),
    saboteur!(
        "hangs-at-start",
        SANDBOX,
        Called(|c| if c.command == "start" && memory(&c.config, 64 << 20) { Act::Wait(100_000) } else { Act::Go })
    ),
    saboteur!(
        "signals-lost",
        NETWORK,
        Called(|c| {
            if c.command == "kill" && !c.args.iter().any(|a| a == "9" || a == "KILL" || a == "SIGKILL") {
                Act::Say(0, "")
            } else {
                Act::Go
            }
        })
    ),
    saboteur!(
        "exec-refused",
        SANDBOX,
        Called(|c| if c.command == "exec" { Act::Say(1, "exec is not supported") } else { Act::Go })
    ),
    saboteur!("exit-code-swallowed", SANDBOX, Guest(|_| true, Lie::Swallow)),
    saboteur!("creates-nothing", NETWORK, Called(|c| if c.command == "create" { Act::Say(0, "") } else { Act::Go })),
    // Somebody else.
    saboteur!(
        "somebody-else",
        NETWORK,
        // It is asked for its version without a command.
        Called(|c| if c.command.is_empty() { Act::Go } else { Act::Be(OTHER) })
    ),
    saboteur!(
        "somebody-else-later",
        NETWORK,
        Called(|c| {
            if c.command.is_empty() || c.config.pointer("/process/noNewPrivileges") != Some(&json!(true)) {
                Act::Go
            } else {
                Act::Be(OTHER)
            }
        })
    ),
    // Hostile guests.
    saboteur!("output-truncated", SANDBOX, Guest(bare, Lie::Truncate)),
    saboteur!("garbage", SANDBOX, Guest(unmasked, Lie::Garbage)),
    saboteur!("flood", SANDBOX, Guest(|c| memory(c, 64 << 20), Lie::Flood)),
    saboteur!("long-line", SANDBOX, Guest(|c| pids(c, 60), Lie::LongLine)),
    saboteur!("deep", SANDBOX, Guest(quota, Lie::Deep)),
    saboteur!("contradiction", SANDBOX, Guest(unmasked, Lie::Contradict)),
    saboteur!("forgotten", SANDBOX, Guest(bare, Lie::Forget("chroot.enter"))),
    saboteur!("mute", SANDBOX, Guest(marker, Lie::Mute)),
];

/// Another runtime of this machine, which is no relative of runc.
const OTHER: &str = "/usr/local/lib/awf-probe/runsc-procsys";

const ALL_CAPS: &[&str] = &[
    "CAP_NET_ADMIN",
    "CAP_SYS_MODULE",
    "CAP_SYS_RAWIO",
    "CAP_SYS_PTRACE",
    "CAP_SYS_ADMIN",
    "CAP_SYS_BOOT",
    "CAP_SYS_NICE",
    "CAP_SYS_TIME",
    "CAP_MKNOD",
    "CAP_LINUX_IMMUTABLE",
    "CAP_IPC_LOCK",
];
