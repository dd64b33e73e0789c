//! Defects put in on purpose, to see whether the verdicts notice: in the sandbox, in the rules, in the lab.
//!
//! A defect in the sandbox is asked of the engine (a limit that is not set, a profile that is not installed), so that the
//! runtime does what a runtime with that defect would do. `awf-probe selftest` measures each; what a run with a defect
//! wrote says so, and nothing selects from it.

use bollard::models::{ContainerCreateBody, HostConfig, MountType};

use crate::lab::roles::wire::{Bottleneck, Hearing};

/// Where the defect is.
#[derive(Clone, Copy, Debug)]
pub enum Deed {
    /// In every sandbox that is measured: its request to the engine is edited.
    Sandbox(fn(&mut ContainerCreateBody)),
    /// In the rules that an init container or the agent installs.
    Rules(fn(&mut Vec<String>)),
    /// The proxy's list names these domains as well.
    Allow(&'static [&'static str]),
    /// The witness reports not all packets that arrive, and counts none as lost.
    Witness(Hearing),
    /// The way to the witness takes no more than this: packets are late, or lost.
    Wire(Bottleneck),
    /// The same, and a defect in the rules: what gets out is lost before it arrives.
    WireAndRules(Bottleneck, fn(&mut Vec<String>)),
    /// The witness is killed when the first agent has made its attempts.
    WitnessDies,
    /// The resolver takes queries and answers none.
    ResolverMute,
    /// The proxy is killed when the lab stands.
    ProxyDies,
    /// The route to the witness is missing. The rules of the bridges and the blackhole behind it are there, so no packet
    /// could leave the host even if the preflight were blind.
    NoRoute,
}

/// What must become of a cell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// It fails: the defect is seen.
    Fail,
    /// It cannot be told.
    Untold,
    /// Either: what matters is that it does not pass.
    NoPass,
    /// It stays, or does not pass.
    NoBetter,
}

/// One defect.
#[derive(Debug)]
pub struct Sabotage {
    /// Its name.
    pub name: &'static str,
    /// What is wrong.
    pub about: &'static str,
    /// The defect.
    pub deed: Deed,
    /// Capabilities whose cells must turn, as globs; the first that matches says to what. All others must stay as they
    /// are.
    pub turns: &'static [(&'static str, Turn)],
}

impl Sabotage {
    /// Whether ways out are asked for; else the sandbox alone.
    pub fn about_egress(&self) -> bool {
        !matches!(self.deed, Deed::Sandbox(_))
    }
}

/// Capabilities every defect in a sandbox is measured with.
pub const IN_SANDBOX: &[&str] = &[
    "identity.runtime",
    "cgroup.memory.enforced",
    "cgroup.pids.enforced",
    "cgroup.ulimit.nofile",
    "cgroup.cpuset",
    "seccomp.errno",
    "seccomp.action.kill",
    "privileges.no-net-raw",
    "privileges.no-new-privs-set",
    "procfs.masked.keys",
    "procfs.read-only.sysrq-trigger",
    "chroot.read-only-binds",
    "paths.masked-credential",
    "environment.upper.http-proxy",
    "tmpfs.noexec",
    "tmpfs.shm-size",
    "image.config",
    "isolation.namespace.pid",
];

/// Capabilities every defect in rules or lab is measured with.
pub const IN_LAB: &[&str] = &[
    "egress.tcp.443",
    "egress.tcp.high",
    "egress.dns.udp",
    "egress.dns.approved",
    "egress.proxy.allowed-http",
    "egress.proxy.denied-name",
];

/// Models every defect in rules or lab is measured under: the control, rules in the agent's namespace, rules on the host.
pub const MODELS: &[&str] = &["open", "netns-init", "host-chain"];

fn host(body: &mut ContainerCreateBody, edit: impl FnOnce(&mut HostConfig)) {
    edit(body.host_config.get_or_insert_default());
}

fn without_security(body: &mut ContainerCreateBody, what: &str) {
    host(body, |h| {
        if let Some(options) = &mut h.security_opt {
            options.retain(|o| !o.starts_with(what));
            if what == "seccomp" {
                options.push("seccomp=unconfined".to_owned());
            }
        }
    });
}

use Deed::{Allow, NoRoute, ProxyDies, ResolverMute, Rules, Sandbox, Wire, WireAndRules, Witness, WitnessDies};
use Turn::{Fail, NoBetter, NoPass, Untold};

/// Bursts of an attempt's packets come through in part.
const LOSSY: Bottleneck = Bottleneck { rate: 3000, burst: 1600, queue: 300 };

/// All of them.
pub const SABOTAGES: &[Sabotage] = &[
    // The controls of the method: no cell may turn.
    Sabotage { name: "none-in-sandbox", about: "nothing at all", deed: Sandbox(|_| {}), turns: &[] },
    Sabotage {
        name: "no-memory-limit",
        about: "the memory limit is not set",
        deed: Sandbox(|b| {
            host(b, |h| {
                h.memory = None;
                h.memory_swap = None;
            });
        }),
        turns: &[("cgroup.memory.enforced", Fail)],
    },
    Sabotage {
        name: "no-pids-limit",
        about: "the limit of processes is not set",
        deed: Sandbox(|b| host(b, |h| h.pids_limit = None)),
        turns: &[("cgroup.pids.enforced", Fail)],
    },
    Sabotage {
        name: "no-ulimits",
        about: "the ulimits are not set",
        deed: Sandbox(|b| host(b, |h| h.ulimits = None)),
        turns: &[("cgroup.ulimit.nofile", Fail)],
    },
    Sabotage {
        name: "no-cpuset",
        about: "the set of processors is not set",
        deed: Sandbox(|b| host(b, |h| h.cpuset_cpus = None)),
        turns: &[("cgroup.cpuset", Fail)],
    },
    Sabotage {
        name: "no-seccomp",
        about: "no seccomp profile is installed",
        deed: Sandbox(|b| without_security(b, "seccomp")),
        turns: &[("seccomp.*", Fail)],
    },
    Sabotage {
        name: "net-raw",
        about: "NET_RAW is left to a sandbox that must not have it",
        deed: Sandbox(|b| {
            host(b, |h| {
                if let Some(dropped) = &mut h.cap_drop {
                    dropped.retain(|c| c != "NET_RAW");
                }
            });
        }),
        turns: &[("privileges.no-net-raw", Fail)],
    },
    Sabotage {
        name: "new-privileges",
        about: "no-new-privileges is not set",
        deed: Sandbox(|b| without_security(b, "no-new-privileges")),
        turns: &[("privileges.no-new-privs-set", Fail)],
    },
    Sabotage {
        name: "no-masks",
        about: "procfs is neither masked nor read-only",
        deed: Sandbox(|b| {
            host(b, |h| {
                h.masked_paths = Some(vec![]);
                h.readonly_paths = Some(vec![]);
            });
        }),
        turns: &[("procfs.*", Fail)],
    },
    Sabotage {
        name: "writable-volume",
        about: "what must be mounted read-only is writable",
        deed: Sandbox(|b| {
            host(b, |h| {
                for m in h.mounts.iter_mut().flatten().filter(|m| m.typ == Some(MountType::VOLUME)) {
                    m.read_only = Some(false);
                }
            });
        }),
        turns: &[("chroot.read-only-binds", Fail)],
    },
    Sabotage {
        name: "credential-not-covered",
        about: "the mount that covers a credential is missing",
        deed: Sandbox(|b| {
            host(b, |h| {
                if let Some(mounts) = &mut h.mounts {
                    mounts.retain(|m| m.target.as_deref() != Some("/host/home/agent/.netrc"));
                }
            });
        }),
        turns: &[("paths.masked-credential", Fail)],
    },
    Sabotage {
        name: "no-proxy-variables",
        about: "the proxy's variables are lost",
        deed: Sandbox(|b| {
            if let Some(env) = &mut b.env {
                env.retain(|v| !v.to_lowercase().contains("_proxy="));
            }
        }),
        turns: &[("environment.*", Fail)],
    },
    Sabotage {
        name: "tmpfs-without-options",
        about: "a tmpfs is mounted without its flags and limits",
        deed: Sandbox(|b| {
            host(b, |h| {
                for options in h.tmpfs.iter_mut().flat_map(|t| t.values_mut()) {
                    // The engine adds noexec, nosuid and nodev where it is told nothing else.
                    *options = "rw,exec,suid,dev".to_owned();
                }
            });
        }),
        turns: &[("tmpfs.noexec", Fail)],
    },
    Sabotage {
        name: "shm-size",
        about: "the size of /dev/shm is not the one asked for",
        deed: Sandbox(|b| host(b, |h| h.shm_size = None)),
        turns: &[("tmpfs.shm-size", Fail)],
    },
    Sabotage {
        name: "other-folder",
        about: "the image's working folder is not entered",
        deed: Sandbox(|b| b.working_dir = Some("/dev".to_owned())),
        turns: &[("image.config", Fail)],
    },
    Sabotage {
        name: "host-pid",
        about: "the sandbox sees the host's processes",
        deed: Sandbox(|b| host(b, |h| h.pid_mode = Some("host".to_owned()))),
        turns: &[("isolation.namespace.pid", Fail)],
    },
    Sabotage { name: "none-in-lab", about: "nothing at all", deed: Rules(|_| {}), turns: &[] },
    Sabotage {
        name: "port-open",
        about: "a rule lets one more TCP port out",
        deed: Rules(|rules| rules.insert(0, "-A OUTPUT -p tcp --dport 8443 -j ACCEPT".to_owned())),
        turns: &[("egress.tcp.high", Fail)],
    },
    Sabotage {
        name: "resolver-open",
        about: "a rule lets DNS out to every resolver",
        deed: Rules(|rules| rules.insert(0, "-A OUTPUT -p udp --dport 53 -j ACCEPT".to_owned())),
        turns: &[("egress.dns.udp", Fail)],
    },
    Sabotage {
        name: "rule-missing",
        about: "the rule that drops UDP is left out",
        deed: Rules(|rules| rules.retain(|r| r != "-A OUTPUT -p udp -j DROP")),
        turns: &[("egress.dns.udp", Fail)],
    },
    Sabotage {
        name: "proxy-open",
        about: "the proxy's list allows a name it must deny",
        deed: Allow(&["denied.awf-probe.test"]),
        // A proxy that denies nothing is no control of what it serves.
        turns: &[("egress.proxy.denied-name", Fail), ("egress.proxy.allowed-http", Untold)],
    },
    Sabotage { name: "proxy-dead", about: "the proxy is killed", deed: ProxyDies, turns: &[("egress.*", NoPass)] },
    Sabotage {
        name: "resolver-mute",
        about: "the approved resolver answers nothing",
        deed: ResolverMute,
        // A proxy that serves nothing is no control of what it denies.
        turns: &[("egress.dns.approved", NoPass), ("egress.proxy.*", Untold)],
    },
    Sabotage {
        name: "witness-deaf",
        about: "the witness reports no packet",
        deed: Witness(Hearing::Nothing),
        turns: &[("egress.*", Untold)],
    },
    Sabotage {
        name: "witness-blind",
        about: "the witness reports the harness's own markers and no other packet",
        deed: Witness(Hearing::Markers),
        // What the proxy decided and the witness's server answered is told by themselves.
        turns: &[("egress.proxy.*", NoBetter), ("egress.*", NoPass)],
    },
    Sabotage {
        name: "witness-lossy",
        about: "the witness reports every other packet",
        deed: Witness(Hearing::EveryOther),
        turns: &[("egress.*", NoBetter)],
    },
    Sabotage {
        name: "wire-slow",
        about: "packets to the witness queue for up to seconds, and none is lost",
        deed: Wire(Bottleneck { rate: 4000, burst: 1600, queue: 1 << 20 }),
        turns: &[("egress.*", NoBetter)],
    },
    Sabotage {
        name: "wire-lossy",
        about: "a good part of the packets to the witness is lost on the way",
        deed: Wire(LOSSY),
        turns: &[("egress.*", NoBetter)],
    },
    Sabotage {
        name: "wire-lossy-port-open",
        about: "the same, and a rule lets one more TCP port out: what leaks and is lost must not look blocked",
        deed: WireAndRules(LOSSY, |rules| rules.insert(0, "-A OUTPUT -p tcp --dport 8443 -j ACCEPT".to_owned())),
        turns: &[("egress.tcp.high", NoPass), ("egress.*", NoBetter)],
    },
    Sabotage {
        name: "witness-dead",
        about: "the witness is killed half way",
        deed: WitnessDies,
        // What was served before stays so.
        turns: &[("egress.proxy.allowed-http", NoBetter), ("egress.*", Untold)],
    },
    Sabotage {
        name: "no-route",
        about: "the route to the witness is missing: the preflight must refuse",
        deed: NoRoute,
        turns: &[("egress.*", Untold)],
    },
];
