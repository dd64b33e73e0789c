//! The saboteurs: one defect each, the cells it must break, the verdict each must get, and why.
//!
//! A cell is `ID`, `ID@MODEL`, `ID@MODEL/BACKEND` or `ID@init=RUNTIME` with `self` for the saboteur itself. The first
//! glob that matches a cell says its verdict, or the verdicts it may have, `|` in between; a cell that none matches must
//! be as under the reference runtime of the same run. Each glob must change at least one cell.

use serde_json::{Value, json};

use crate::{edits::*, guest::Lie, wrapper::Call};

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
    /// Hand over with these arguments instead.
    With(Vec<String>),
    /// Become another program.
    Be(&'static str),
}

/// One saboteur.
pub(crate) struct Saboteur {
    /// Its name.
    pub(crate) name: &'static str,
    /// Its defect.
    pub(crate) defect: Defect,
    /// Cells it must break: glob, verdict.
    pub(crate) breaks: &'static [(&'static str, &'static str)],
    /// Whether the defect can reach what the sandbox sends or receives: capabilities, namespaces, sysctls, environment,
    /// user, arguments, files of the resolver. If not, cells of `egress` and `netns` are not asked for, but with
    /// `AWF_PROBE_SABOTEURS=full`.
    pub(crate) network: bool,
    /// Why these cells and no other.
    pub(crate) why: &'static str,
}

/// The saboteur of this name.
pub(crate) fn find(name: &str) -> Option<&'static Saboteur> {
    SABOTEURS.iter().find(|s| s.name == name)
}

const FAIL: &str = "fail";
const PASS: &str = "pass";
const UNTOLD: &str = "inconclusive";
const MOOT: &str = "not-applicable";

type Breaks = &'static [(&'static str, &'static str)];

const fn killed(name: &'static str, defect: Defect, breaks: Breaks, why: &'static str) -> Saboteur {
    Saboteur { name, defect, breaks, network: false, why }
}

const fn networked(name: &'static str, defect: Defect, breaks: Breaks, why: &'static str) -> Saboteur {
    Saboteur { name, defect, breaks, network: true, why }
}

const fn harmless(name: &'static str, defect: Defect, why: &'static str) -> Saboteur {
    Saboteur { name, defect, breaks: &[], network: true, why }
}

use Defect::{Bundle, Call as Called, Guest};

/// All of them.
pub(crate) const SABOTEURS: &[Saboteur] = &[
    // Controls of the method: a wrapper without a defect, and one that only stands in between.
    harmless("nothing", Defect::None, "a wrapper that only hands over must change no cell"),
    harmless("in-between", Guest(|_| true, Lie::Nothing), "passing the guest's words on unchanged must change no cell"),
    harmless(
        "slow",
        Called(|c| match c.command.as_str() {
            "create" | "start" | "kill" | "delete" => Act::Wait(1),
            _ => Act::Go,
        }),
        "a runtime that is slow at every step is slow, not wrong",
    ),
    harmless(
        "escapes",
        Guest(|_| true, Lie::Escapes),
        "control characters in what a guest says in passing decide nothing",
    ),
    // Limits.
    killed(
        "no-memory-limit",
        Bundle(|c| remove(c, "/linux/resources/memory")),
        &[
            ("cgroup.memory.victim", UNTOLD),
            ("lifecycle.{stats,update}", UNTOLD),
            ("cgroup.memory.{enforced,reservation,visible}", FAIL),
            ("cgroup.swap.visible", FAIL),
            ("tmpfs.charged", FAIL),
        ],
        "nothing is killed, so nothing can be told of who is; what the guest sees of the limits is not what was asked for",
    ),
    killed(
        "swap-unlimited",
        Bundle(|c| put(c, "/linux/resources/memory/swap", json!(-1))),
        &[("cgroup.swap.visible", FAIL)],
        "memory is limited, swap is not; there is none to measure it with, only the figure",
    ),
    killed(
        "reservation-lost",
        Bundle(|c| remove(c, "/linux/resources/memory/reservation")),
        &[("cgroup.memory.reservation", FAIL)],
        "a figure that only the guest's cgroup shows",
    ),
    killed(
        "no-pids-limit",
        Bundle(|c| remove(c, "/linux/resources/pids")),
        &[("cgroup.pids.{enforced,victim,visible}", FAIL)],
        "all 120 processes start",
    ),
    killed(
        "pids-limit-widened",
        Bundle(|c| {
            if pids(c, 60) {
                put(c, "/linux/resources/pids/limit", json!(90));
            }
        }),
        &[("cgroup.pids.visible", FAIL)],
        "90 instead of 60: still fewer than are tried, but not what was asked for",
    ),
    killed(
        "no-cpu-quota",
        Bundle(|c| {
            remove(c, "/linux/resources/cpu/quota");
            remove(c, "/linux/resources/cpu/period");
        }),
        &[("cgroup.cpu.quota", FAIL)],
        "it spins at full speed",
    ),
    killed(
        "no-cpuset",
        Bundle(|c| remove(c, "/linux/resources/cpu/cpus")),
        &[("cgroup.cpuset", FAIL)],
        "every processor may be used",
    ),
    killed("no-rlimits", Bundle(|c| remove(c, "/process/rlimits")), &[("cgroup.ulimit.*", FAIL)], "no ulimit is set"),
    killed(
        "no-open-files-limit",
        Bundle(|c| {
            if let Some(all) = c.pointer_mut("/process/rlimits").and_then(Value::as_array_mut) {
                all.retain(|l| text(l, "type") != "RLIMIT_NOFILE");
            }
        }),
        &[("cgroup.ulimit.nofile", FAIL)],
        "one of the ulimits is passed over",
    ),
    killed(
        "no-oom-score",
        Bundle(|c| remove(c, "/process/oomScoreAdj")),
        &[("cgroup.oom-score-adj", UNTOLD)],
        "the adjustment is not made",
    ),
    // Seccomp.
    killed(
        "no-seccomp",
        Bundle(|c| remove(c, "/linux/seccomp")),
        &[
            ("seccomp.action.{kill,log,trap}", FAIL),
            ("seccomp.{argument,compat-abi,custom-errno,errno}", FAIL),
            ("seccomp.{default-action,engine-default,denied}.*", "fail|not-applicable"),
            ("seccomp.profile.refused", FAIL),
        ],
        "the profile is not installed",
    ),
    killed(
        "seccomp-complains",
        Bundle(|c| {
            if text(&c["linux"]["seccomp"], "defaultAction") == "SCMP_ACT_ERRNO" {
                put(c, "/linux/seccomp/defaultAction", json!("SCMP_ACT_LOG"));
                remove(c, "/linux/seccomp/defaultErrnoRet");
            }
            each_rule(c, |r| {
                if text(r, "action") == "SCMP_ACT_ERRNO" {
                    r["action"] = json!("SCMP_ACT_LOG");
                    r.as_object_mut().map(|r| r.remove("errnoRet"));
                }
            });
        }),
        &[
            ("seccomp.action.log", FAIL),
            ("seccomp.{argument,compat-abi,custom-errno,errno}", FAIL),
            ("seccomp.{default-action,engine-default,denied}.*", "fail|not-applicable"),
            ("seccomp.profile.refused", FAIL),
        ],
        "what is to be refused is written to a log and let through; what is to be killed is killed",
    ),
    killed(
        "seccomp-default-allows",
        Bundle(|c| {
            if text(&c["linux"]["seccomp"], "defaultAction") == "SCMP_ACT_ERRNO" {
                put(c, "/linux/seccomp/defaultAction", json!("SCMP_ACT_ALLOW"));
                remove(c, "/linux/seccomp/defaultErrnoRet");
                // A rule that says what the default says is refused.
                if let Some(rules) = c.pointer_mut("/linux/seccomp/syscalls").and_then(Value::as_array_mut) {
                    rules.retain(|r| text(r, "action") != "SCMP_ACT_ALLOW");
                }
            }
        }),
        &[("seccomp.default-action.*", FAIL), ("seccomp.engine-default.*", FAIL)],
        "only what a profile names is refused, what it does not name is allowed",
    ),
    killed(
        "seccomp-other-errno",
        Bundle(|c| {
            each_rule(c, |r| {
                if r["names"] == json!(["getcpu"]) {
                    r["errnoRet"] = json!(1);
                }
            });
        }),
        &[("seccomp.action.log", FAIL), ("seccomp.errno", FAIL)],
        "the system call is refused, but with EPERM instead of the profile's ENOMSG",
    ),
    killed(
        "seccomp-no-arguments",
        Bundle(|c| {
            if let Some(rules) = c.pointer_mut("/linux/seccomp/syscalls").and_then(Value::as_array_mut) {
                let filtered =
                    |r: &Value| r["names"] == json!(["prctl"]) && r["args"].as_array().is_some_and(|a| !a.is_empty());
                rules.retain(|r| !filtered(r));
            }
        }),
        &[("seccomp.argument", FAIL)],
        "the one rule with an argument filter is left out",
    ),
    killed(
        "seccomp-spares",
        Bundle(|c| {
            each_rule(c, |r| {
                if text(r, "action").starts_with("SCMP_ACT_KILL") {
                    r["action"] = json!("SCMP_ACT_ERRNO");
                }
            });
        }),
        &[("seccomp.action.kill", FAIL)],
        "who is to be killed gets an error instead",
    ),
    killed(
        "seccomp-never-traps",
        Bundle(|c| {
            each_rule(c, |r| {
                if text(r, "action") == "SCMP_ACT_TRAP" {
                    r["action"] = json!("SCMP_ACT_ERRNO");
                }
            });
        }),
        &[("seccomp.action.trap", FAIL)],
        "who is to be sent SIGSYS gets an error instead",
    ),
    // Capabilities and privileges.
    networked(
        "net-admin",
        Bundle(|c| add_caps(c, &["CAP_NET_ADMIN"])),
        &[
            ("privileges.bounding-set", UNTOLD),
            ("capabilities.net-admin", FAIL),
            ("privileges.no-net-admin", FAIL),
            ("egress.udp.transparent@{env-only,open}", FAIL),
        ],
        "it is there in every container, asked for or not",
    ),
    networked(
        "net-raw",
        Bundle(|c| add_caps(c, &["CAP_NET_RAW"])),
        &[
            ("netfilter.*", PASS),
            ("privileges.bounding-set", UNTOLD),
            ("capabilities.awf-drops.net-raw", FAIL),
            ("capabilities.net-raw", FAIL),
            ("privileges.no-net-raw", FAIL),
            (
                "egress.{icmp.raw,packet.gateway,packet.sidecar,raw.esp,raw.gre,raw.ipip,raw.unassigned}@{open,env-only,netns-init*}",
                FAIL,
            ),
            ("egress.{raw.fragments,raw.spoofed,raw.tcp,raw.udp,udp.transparent}@{open,env-only}", FAIL),
        ],
        "raw sockets open in every container",
    ),
    killed(
        "sys-admin",
        Bundle(|c| add_caps(c, &["CAP_SYS_ADMIN"])),
        &[("bind.remount-read-only", UNTOLD), ("procfs.mount", UNTOLD), ("capabilities.sys-admin", FAIL)],
        "AWF's agent has it anyway; a container without capabilities must not, and there controls fail",
    ),
    killed(
        "sys-chroot",
        Bundle(|c| add_caps(c, &["CAP_SYS_CHROOT"])),
        &[("capabilities.awf-keeps.sys-chroot", UNTOLD), ("chroot.enter", UNTOLD), ("capabilities.sys-chroot", FAIL)],
        "as above: a control in the container without capabilities no longer fails",
    ),
    killed(
        "sys-ptrace",
        Bundle(|c| add_caps(c, &["CAP_SYS_PTRACE"])),
        &[("privileges.bounding-set", UNTOLD), ("capabilities.awf-drops.sys-ptrace", FAIL)],
        "a capability AWF drops stays",
    ),
    killed(
        "wide-bounding-set",
        Bundle(|c| {
            for cap in ALL_CAPS {
                add_to_set(c, "bounding", cap);
            }
        }),
        &[
            ("bind.remount-read-only", UNTOLD),
            ("privileges.bounding-set", UNTOLD),
            ("procfs.mount", UNTOLD),
            ("capabilities.{ipc-lock,linux-immutable,mknod,net-admin,sys-admin,sys-boot,sys-nice,sys-time}", FAIL),
            ("cgroup.ulimit.memlock", FAIL),
            ("cgroup.ulimit.core", MOOT),
        ],
        "root regains at the next exec whatever the bounding set holds",
    ),
    networked(
        "no-sys-admin",
        Bundle(|c| drop_caps(c, &["CAP_SYS_ADMIN"])),
        &[
            ("bind.remount-read-only", FAIL),
            ("chroot.self-exe", FAIL),
            ("procfs.mount", FAIL),
            ("chroot.escape.{dotdot,self-root}", UNTOLD),
            ("privileges.{bounding-set,no-mount,no-sethostname}", UNTOLD),
            ("procfs.hidepid", UNTOLD),
            ("seccomp.default-action.fsopen", UNTOLD),
            ("seccomp.denied.{pivot-root,swapoff}", UNTOLD),
            ("capabilities.sys-admin", MOOT),
            ("chroot.escape.first-process", MOOT),
            ("egress.tamper.{bpf,sysctl}@*", MOOT),
        ],
        "the agent cannot mount",
    ),
    networked(
        "no-sys-chroot",
        Bundle(|c| drop_caps(c, &["CAP_SYS_CHROOT"])),
        &[
            ("capabilities.awf-keeps.sys-chroot", FAIL),
            ("chroot.{enter,self-exe}", FAIL),
            ("environment.*", UNTOLD),
            ("paths.*", UNTOLD),
            ("chroot.escape.*", UNTOLD),
            ("chroot.exec", UNTOLD),
            (
                "privileges.{bounding-set,drop-sequence,file-capabilities,no-ambient,no-capset,no-chroot,no-mount,no-net-admin,no-net-raw,no-new-privs-set,no-sethostname,no-setuid}",
                UNTOLD,
            ),
            ("seccomp.reachable.{clone3,io-uring,userns}", UNTOLD),
            ("capabilities.sys-chroot", MOOT),
        ],
        "the agent cannot enter its root, so nothing can be told of what is in it",
    ),
    networked(
        "no-net-admin",
        Bundle(|c| drop_caps(c, &["CAP_NET_ADMIN"])),
        &[
            ("netfilter.*", "fail|not-applicable"),
            ("capabilities.net-admin", MOOT),
            ("privileges.no-net-admin", UNTOLD),
            ("egress.*@{netns-init-own,in-agent}/*", "as open"),
            ("egress.tamper.{flush-legacy,flush-nft,insert-legacy,insert-nft,netlink,route,setsockopt}@*", MOOT),
            ("netns.dnat.*@init=self", FAIL),
        ],
        "no rule can be installed by who was given the right to",
    ),
    networked(
        "no-setuid",
        Bundle(|c| drop_caps(c, &["CAP_SETUID"])),
        &[
            ("environment.*", UNTOLD),
            ("paths.*", UNTOLD),
            ("capabilities.awf-drops.sys-ptrace", UNTOLD),
            ("capabilities.awf-keeps.kill", UNTOLD),
            ("capabilities.{kill,sys-ptrace}", UNTOLD),
            ("cgroup.ulimit.nproc", UNTOLD),
            ("chroot.escape.*", UNTOLD),
            ("netfilter.match.owner.*", UNTOLD),
            (
                "privileges.{bounding-set,file-capabilities,no-ambient,no-capset,no-chroot,no-mount,no-net-admin,no-net-raw,no-new-privs,no-new-privs-set,no-sethostname,no-setuid}",
                UNTOLD,
            ),
            ("procfs.{hidepid,pid1-environ}", UNTOLD),
            ("procfs.self.status", UNTOLD),
            ("procfs.sysctl.net", UNTOLD),
            ("seccomp.reachable.{clone3,io-uring,userns}", UNTOLD),
            ("tmpfs.nosuid", UNTOLD),
            (
                "egress.tamper.{bpf,flush-legacy,flush-nft,insert-legacy,insert-nft,netlink,ptrace,route,setsockopt,sysctl,user-namespace}@*",
                UNTOLD,
            ),
            ("capabilities.awf-keeps.setuid", FAIL),
            ("privileges.drop-sequence", FAIL),
            ("capabilities.setuid", MOOT),
        ],
        "nobody becomes another user",
    ),
    killed(
        "new-privileges",
        Bundle(|c| put(c, "/process/noNewPrivileges", json!(false))),
        &[("privileges.{file-capabilities,no-new-privs,no-new-privs-set}", FAIL)],
        "the setuid program becomes root",
    ),
    killed(
        "never-new-privileges",
        Bundle(|c| put(c, "/process/noNewPrivileges", json!(true))),
        &[("privileges.{file-capabilities,no-new-privs,no-new-privs-set}", MOOT), ("tmpfs.nosuid", MOOT)],
        "where nobody can gain anything the flag makes no difference",
    ),
    // Namespaces.
    killed(
        "host-network-once",
        Bundle(|c| {
            if c.pointer("/process/oomScoreAdj") == Some(&json!(300)) {
                drop_namespace(c, "network");
                drop_sysctls(c, "net.");
                remove(c, "/hooks");
            }
        }),
        &[
            ("cgroup.{cpuset,oom-score-adj}", UNTOLD),
            ("cgroup.memory.reservation", UNTOLD),
            ("cgroup.oom-score-adj.lowering", UNTOLD),
            ("cgroup.ulimit.*", UNTOLD),
            ("procfs.cpuinfo-cpuset", UNTOLD),
            ("procfs.sysctl.{ipc,net}", UNTOLD),
            ("tmpfs.shm-size", UNTOLD),
        ],
        "a single sandbox stands in the host's network: the harness must refuse to ask it anything",
    ),
    networked(
        "host-network-later",
        Bundle(|c| {
            if awf(c) {
                drop_namespace(c, "network");
                drop_sysctls(c, "net.");
                remove(c, "/hooks");
            }
        }),
        &[
            ("chroot.*", UNTOLD),
            ("environment.*", UNTOLD),
            ("paths.*", UNTOLD),
            ("privileges.*", UNTOLD),
            ("capabilities.awf-drops.*", UNTOLD),
            ("capabilities.awf-keeps.*", UNTOLD),
            ("dns.{embedded,embedded-forward,static-hosts}", UNTOLD),
            ("procfs.{hidepid,masked,mount,pid1-environ,read-only}", UNTOLD),
            ("procfs.masked.{firmware,keys,timer-list}", UNTOLD),
            ("procfs.net.*", UNTOLD),
            ("procfs.read-only.*", UNTOLD),
            ("procfs.self.*", UNTOLD),
            ("seccomp.reachable.{clone3,io-uring,userns}", UNTOLD),
            ("seccomp.starts", UNTOLD),
            ("{egress,netns}.*", UNTOLD),
        ],
        "the same, but only for AWF's agents: the harness must look at every sandbox, not only at the first",
    ),
    networked(
        "fresh-network",
        Bundle(|c| {
            for ns in c["linux"]["namespaces"].as_array_mut().into_iter().flatten() {
                if ns["type"] == "network" {
                    ns.as_object_mut().map(|o| o.remove("path"));
                }
            }
        }),
        &[
            ("egress.*@netns-init-own/*", "as open"),
            ("netns.loopback@init=self", FAIL),
            ("netns.dnat.*@init=self", "partial"),
        ],
        "the second container is given a network of its own",
    ),
    killed(
        "host-ipc",
        Bundle(|c| {
            drop_namespace(c, "ipc");
            drop_sysctls(c, "kernel.msg");
        }),
        &[("procfs.sysctl.ipc", FAIL)],
        "a sysctl of a namespace that the sandbox does not have cannot be set",
    ),
    killed(
        "host-names",
        Bundle(|c| {
            drop_namespace(c, "uts");
            remove(c, "/hostname");
            drop_sysctls(c, "kernel.domainname");
        }),
        &[("lifecycle.{domainname,hostname}", FAIL)],
        "it has the host's name",
    ),
    killed(
        "devices-open",
        Bundle(|c| put(c, "/linux/resources/devices", json!([{"allow": true, "access": "rwm"}]))),
        &[],
        "whatever device node is made inside can be opened",
    ),
    killed(
        "host-pid",
        Bundle(|c| drop_namespace(c, "pid")),
        &[("lifecycle.init", UNTOLD), ("procfs.pid1-environ", UNTOLD), ("chroot.escape.first-process", MOOT)],
        "the host's processes are seen",
    ),
    // Mounts.
    killed(
        "volume-writable",
        Bundle(|c| {
            each_mount(c, |m| {
                // Only what the run made: a toolbox that is writable would be the host's own /usr.
                if text(m, "source").contains("/volumes/") {
                    options(m, |o| if o == "ro" { Some("rw".to_owned()) } else { Some(o.to_owned()) });
                }
            });
        }),
        &[
            ("bind.read-only.*", FAIL),
            ("chroot.read-only-binds", FAIL),
            ("bind.recursive-read-only", UNTOLD),
            ("chroot.writable-bind", UNTOLD),
        ],
        "what is mounted read-only takes a file, so nothing can be told of where a file was written",
    ),
    killed(
        "no-masks",
        Bundle(|c| put(c, "/linux/maskedPaths", json!([]))),
        &[("procfs.masked", FAIL), ("procfs.masked.{firmware,keys,timer-list}", FAIL)],
        "what the engine masks can be read",
    ),
    killed(
        "no-read-only-paths",
        Bundle(|c| put(c, "/linux/readonlyPaths", json!([]))),
        &[("procfs.read-only", FAIL), ("procfs.read-only.*", FAIL)],
        "sysctls can be opened for writing",
    ),
    killed(
        "credential-not-covered",
        Bundle(|c| drop_mount(c, "/host/home/agent/.netrc")),
        &[("bind.overlays", FAIL), ("paths.masked-credential", FAIL)],
        "the planted secret is read, and one of 60 covers is missing",
    ),
    killed(
        "socket-not-covered",
        Bundle(|c| drop_mount(c, "/m/docker.sock")),
        &[("bind.socket-mask", FAIL)],
        "what is to lie under /dev/null does not",
    ),
    killed(
        "no-workspace",
        Bundle(|c| drop_mount(c, "/host/work")),
        &[("chroot.writable-bind", FAIL), ("procfs.self.mountinfo", FAIL)],
        "what is written ends in the root file system and is not seen through the other mount",
    ),
    killed(
        "no-toolbox",
        Bundle(|c| drop_mount(c, "/host/usr")),
        &[("chroot.read-only-binds", "skipped")],
        "the program that is opened for writing is not there; /host/bin and /host/lib are binds of their own",
    ),
    killed(
        "lost-tmpfs",
        Bundle(|c| drop_mounts(c, |m| text(m, "type") == "tmpfs" && text(m, "destination").starts_with("/t/"))),
        &[
            ("bind.recursive-read-only", UNTOLD),
            ("tmpfs.{below-read-only-bind,charged,mode,nodev,noexec,nosuid,size,size-shown}", UNTOLD),
        ],
        "writes go to the root file system instead",
    ),
    killed(
        "tmpfs-noexec-lost",
        Bundle(|c| without_flag(c, "noexec")),
        &[("tmpfs.{below-read-only-bind,noexec}", FAIL)],
        "a program there runs",
    ),
    killed(
        "tmpfs-nosuid-lost",
        Bundle(|c| without_flag(c, "nosuid")),
        &[("tmpfs.nosuid", FAIL)],
        "a setuid bit there counts",
    ),
    killed(
        "tmpfs-nodev-lost",
        Bundle(|c| without_flag(c, "nodev")),
        &[("tmpfs.nodev", FAIL)],
        "a device node there opens",
    ),
    killed(
        "tmpfs-without-size",
        Bundle(|c| {
            each_mount(c, |m| {
                if text(m, "type") == "tmpfs" {
                    options(m, |o| (!o.starts_with("size=")).then(|| o.to_owned()));
                }
            });
        }),
        &[("tmpfs.{below-read-only-bind,shm-size,size}", FAIL), ("tmpfs.size-shown", UNTOLD)],
        "every tmpfs may take half of the machine's memory",
    ),
    killed(
        "tmpfs-without-mode",
        Bundle(|c| {
            each_mount(c, |m| {
                if text(m, "destination") == "/t/mode" {
                    options(m, |o| (!o.starts_with("mode=")).then(|| o.to_owned()));
                }
            });
        }),
        &[("tmpfs.mode", FAIL)],
        "one option of a tmpfs is passed over",
    ),
    killed(
        "default-shm",
        Bundle(|c| {
            each_mount(c, |m| {
                if text(m, "destination") == "/dev/shm" {
                    options(m, |o| Some(if o.starts_with("size=") { "size=65536k".to_owned() } else { o.to_owned() }));
                }
            });
        }),
        &[("tmpfs.shm-size", FAIL)],
        "/dev/shm has 64 MiB whatever was asked for",
    ),
    killed(
        "mounts-reversed",
        Bundle(|c| {
            if let Some(m) = c["mounts"].as_array_mut() {
                // The kernel's own file systems stay in front, or nothing starts at all.
                let at =
                    m.iter().position(|m| text(m, "type") == "bind" || text(m, "destination").starts_with("/host"));
                if let Some(at) = at {
                    m[at..].reverse();
                }
            }
        }),
        &[("tmpfs.{below-read-only-bind,over-bind}", FAIL)],
        "what is nested below a mount is covered by it",
    ),
    killed(
        "read-only-root",
        Bundle(|c| put(c, "/root/readonly", json!(true))),
        &[
            ("bind.{overlays,remount-read-only,single-file,socket-mask}", UNTOLD),
            ("capabilities.awf-drops.mknod", UNTOLD),
            ("capabilities.awf-keeps.{chown,dac-override,fowner,fsetid,setfcap}", UNTOLD),
            ("capabilities.{chown,dac-override,dac-read-search,fowner,fsetid,mknod,setfcap}", UNTOLD),
            ("cgroup.ulimit.{core,fsize}", UNTOLD),
            ("lifecycle.{changes,read-only}", UNTOLD),
            ("lifecycle.copy.out", UNTOLD),
            ("privileges.{file-capabilities,no-new-privs}", UNTOLD),
            ("lifecycle.restart.rootfs", FAIL),
        ],
        "what needs a file in the root file system cannot be tried",
    ),
    killed(
        "writable-root",
        Bundle(|c| put(c, "/root/readonly", json!(false))),
        &[("lifecycle.read-only", FAIL)],
        "a read-only root file system takes a file",
    ),
    networked(
        "no-hosts-file",
        Bundle(|c| drop_mount(c, "/etc/hosts")),
        &[("bind.single-file", FAIL), ("dns.static-hosts", FAIL)],
        "the static entry is not there, and /etc/hosts is no mount",
    ),
    // The process.
    networked(
        "http-proxy-set",
        Bundle(|c| env(c, |e| e.push(json!("http_proxy=http://proxy.awf-probe.test:3128")))),
        &[
            ("image.config", UNTOLD),
            ("environment.lower.http-proxy-unset", FAIL),
            ("environment.proxy-variables", FAIL),
        ],
        "the variable that must be unset is set, in every container",
    ),
    networked(
        "no-proxy-variables",
        Bundle(|c| env(c, |e| e.retain(|v| !v.as_str().is_some_and(|v| v.to_lowercase().contains("_proxy="))))),
        &[
            ("environment.lower.http-proxy-unset", UNTOLD),
            ("procfs.pid1-environ", UNTOLD),
            ("environment.lower.{https-proxy,no-proxy}", FAIL),
            ("environment.proxy-variables", FAIL),
            ("environment.upper.{http-proxy,https-proxy,no-proxy}", FAIL),
            ("egress.proxy.allowed-*@{env-only,netns-init*,in-agent*,host-chain*,awf-*}", FAIL),
            (
                "egress.proxy.{denied-name,ip-literal}@{env-only,netns-init*,in-agent*,host-chain*,awf-*}",
                "fail|inconclusive",
            ),
            ("egress.proxy.*@{env-only,netns-init*,in-agent*,host-chain*,awf-*}", UNTOLD),
            ("egress.{icmp,ipv6,link,packet,proto,raw,udp,unix}.*@env-only", UNTOLD),
        ],
        "user code does not find the proxy",
    ),
    killed(
        "no-image-variables",
        Bundle(|c| env(c, |e| e.retain(|v| !v.as_str().is_some_and(|v| v.starts_with("AWF_PROBE_IMAGE="))))),
        &[("image.config", FAIL), ("lifecycle.env", FAIL)],
        "the image's own variable is lost",
    ),
    killed(
        "no-client-variables",
        Bundle(|c| env(c, |e| e.retain(|v| !v.as_str().is_some_and(|v| v.starts_with("AWF_PROBE_SET="))))),
        &[("lifecycle.env", FAIL)],
        "a variable of the client is lost",
    ),
    killed(
        "other-folder",
        Bundle(|c| put(c, "/process/cwd", json!("/"))),
        &[("image.config", FAIL), ("lifecycle.workdir", UNTOLD)],
        "it starts in another folder",
    ),
    killed(
        "user-ignored",
        Bundle(|c| put(c, "/process/user/uid", json!(0))),
        &[("lifecycle.user.{name,numeric}", FAIL)],
        "whoever is asked for, it is root",
    ),
    killed(
        "groups-ignored",
        Bundle(|c| remove(c, "/process/user/additionalGids")),
        &[("lifecycle.group-add", FAIL)],
        "no supplementary group is set",
    ),
    killed(
        "hostname-ignored",
        Bundle(|c| remove(c, "/hostname")),
        &[("lifecycle.hostname", FAIL)],
        "the name is not set, in a namespace of its own",
    ),
    networked(
        "no-sysctls",
        Bundle(|c| remove(c, "/linux/sysctl")),
        &[
            ("lifecycle.domainname", FAIL),
            ("lifecycle.sysctl.{effective,unknown}", FAIL),
            ("procfs.sysctl.ipc", FAIL),
            ("procfs.sysctl.net", UNTOLD),
            ("capabilities.net-bind-service", PASS),
            ("egress.icmp.ping@*", MOOT),
        ],
        "what a client sets is not set, nor what the engine sets by itself",
    ),
    killed(
        "other-program",
        Bundle(|c| {
            if c.pointer("/process/user/uid") == Some(&json!(1000))
                && c.pointer("/process/user/gid") == Some(&json!(13))
            {
                put(c, "/process/args", json!(["/awf-probe", "list"]));
            }
        }),
        &[
            ("lifecycle.{domainname,env,group-add,hostname,workdir}", UNTOLD),
            ("lifecycle.sysctl.effective", UNTOLD),
            ("lifecycle.user.numeric", UNTOLD),
        ],
        "something else than the guest greets in one of the sandboxes",
    ),
    // Steps of a container's life.
    killed(
        "profile-refused",
        Called(|c| {
            if c.command == "create" && c.config.pointer("/linux/seccomp").is_some() {
                Act::Say(1, "seccomp is not supported")
            } else {
                Act::Go
            }
        }),
        &[("seccomp.*", UNTOLD)],
        "a container with a profile does not start",
    ),
    killed(
        "hangs-at-create",
        Called(|c| {
            let hangs = memory(&c.config, 64 << 20) && mounted(&c.config, "/t/big");
            if c.command == "create" && hangs { Act::Wait(100_000) } else { Act::Go }
        }),
        &[("tmpfs.charged", UNTOLD)],
        "it never comes back; the run does",
    ),
    killed(
        "hangs-at-start",
        Called(|c| if c.command == "start" && memory(&c.config, 64 << 20) { Act::Wait(100_000) } else { Act::Go }),
        &[
            ("cgroup.memory.{enforced,victim,visible}", UNTOLD),
            ("cgroup.swap.visible", UNTOLD),
            ("procfs.meminfo-limit", UNTOLD),
            ("tmpfs.charged", UNTOLD),
        ],
        "it never comes back; the run does",
    ),
    killed(
        "signals-lost",
        Called(|c| match signal_of(&c.command, &c.args) {
            Some(signal) if !is_kill(&signal) => Act::Say(0, ""),
            Some(_) | None => Act::Go,
        }),
        &[("lifecycle.signal.kill", UNTOLD), ("lifecycle.stop.{grace,signal}", UNTOLD), ("lifecycle.stop.term", FAIL)],
        "every signal but KILL is lost",
    ),
    killed(
        "other-signal",
        Called(|c| match signal_of(&c.command, &c.args) {
            Some(signal) if matches!(signal.trim_start_matches("SIG"), "12" | "USR2") => {
                Act::With(c.args.iter().map(|a| if *a == signal { "10".to_owned() } else { a.clone() }).collect())
            }
            Some(_) | None => Act::Go,
        }),
        &[("lifecycle.stop.signal", FAIL)],
        "USR1 is sent where USR2 is asked for",
    ),
    killed(
        "exec-refused",
        Called(|c| if c.command == "exec" { Act::Say(1, "exec is not supported") } else { Act::Go }),
        &[
            ("health.{timeout,unhealthy}", UNTOLD),
            ("lifecycle.exec.*", UNTOLD),
            ("lifecycle.pause.exec", UNTOLD),
            ("lifecycle.restart.rootfs", UNTOLD),
            ("lifecycle.terminal", UNTOLD),
            ("health.{healthy,start-period}", FAIL),
        ],
        "nothing can be executed in a running container",
    ),
    killed(
        "exec-as-root",
        Called(|c| {
            if c.command == "exec" {
                c.edit_process(|p| put(p, "/user", json!({"uid": 0, "gid": 0})));
            }
            Act::Go
        }),
        &[("lifecycle.exec.user", FAIL)],
        "an exec's own user is passed over",
    ),
    killed(
        "exec-without-variables",
        Called(|c| {
            if c.command == "exec" {
                c.edit_process(|p| {
                    if let Some(env) = p["env"].as_array_mut() {
                        env.retain(|v| !v.as_str().is_some_and(|v| v.ends_with("=by exec")));
                    }
                });
            }
            Act::Go
        }),
        &[("lifecycle.exec.env", FAIL)],
        "an exec's own variable is passed over",
    ),
    killed(
        "pause-refused",
        Called(|c| if c.command == "pause" { Act::Say(1, "pause is not supported") } else { Act::Go }),
        &[("lifecycle.pause", UNTOLD), ("lifecycle.pause.exec", UNTOLD)],
        "a container cannot be paused",
    ),
    killed(
        "pause-pretended",
        Called(|c| if matches!(c.command.as_str(), "pause" | "resume") { Act::Say(0, "") } else { Act::Go }),
        &[("lifecycle.pause", FAIL)],
        "success is reported and it goes on running",
    ),
    killed(
        "update-pretended",
        Called(|c| if c.command == "update" { Act::Say(0, "") } else { Act::Go }),
        &[("lifecycle.update", FAIL)],
        "success is reported and the limits stay",
    ),
    killed(
        "exit-code-swallowed",
        Guest(|c| runs(c, "lifecycle.exit") || runs(c, "lifecycle.fault"), Lie::Swallow),
        &[
            ("lifecycle.exit.{0,1,125,126,127,128,137,143,2,255}", UNTOLD),
            ("lifecycle.exit.fault", FAIL),
            ("lifecycle.restart-policy", FAIL),
        ],
        "another process is the first one, and ends with 0 whatever happened",
    ),
    killed(
        "creates-nothing",
        Called(|c| {
            let engine_default =
                c.config.pointer("/linux/seccomp").is_some() && !marker(&c.config) && !has(&c.config, "CAP_SYS_ADMIN");
            if c.command == "create" && engine_default { Act::Say(0, "") } else { Act::Go }
        }),
        &[("seccomp.engine-default.*", UNTOLD)],
        "success is reported, and the container with the engine's own profile does not run",
    ),
    // Somebody else.
    networked(
        "somebody-else",
        // It calls itself what it wraps, and is another.
        Called(|c| if c.command.is_empty() { Act::Go } else { Act::Be(OTHER) }),
        &[("identity.runtime", FAIL), ("*", UNTOLD)],
        "the measured class is not the one its --version stands for",
    ),
    networked(
        "somebody-else-later",
        Called(|c| if awf(&c.config) && mounted(&c.config, "/usr") { Act::Be(OTHER) } else { Act::Go }),
        &[("egress.*", UNTOLD)],
        "the first sandbox is what it says, those with ways out are not: each must be looked at from outside",
    ),
    // Hostile guests.
    killed(
        "output-truncated",
        Guest(bare, Lie::Truncate),
        &[
            ("bind.{overlays,remount-read-only}", UNTOLD),
            (
                "capabilities.awf-keeps.{chown,dac-override,fowner,fsetid,setfcap,setgid,setpcap,setuid,sys-chroot}",
                UNTOLD,
            ),
            (
                "capabilities.{chown,dac-override,dac-read-search,fowner,fsetid,ipc-lock,ipc-owner,linux-immutable,mknod,net-admin,net-raw,setfcap,setgid,setpcap,setuid,sys-admin,sys-boot,sys-chroot,sys-nice,sys-pacct,sys-time,syslog,wake-alarm}",
                UNTOLD,
            ),
            ("chroot.enter", UNTOLD),
            ("paths.masked-credential", UNTOLD),
        ],
        "the rest of what the container without capabilities says is missing, the control of much",
    ),
    killed(
        "garbage",
        Guest(unmasked, Lie::Garbage),
        &[
            ("cgroup.cpu.quota", UNTOLD),
            ("cgroup.cpuset", UNTOLD),
            ("cgroup.memory.*", UNTOLD),
            ("cgroup.pids.{enforced,victim,visible}", UNTOLD),
            ("cgroup.swap.visible", UNTOLD),
            ("procfs.{cpuinfo-cpuset,meminfo-limit,read-only}", UNTOLD),
            ("procfs.masked.*", UNTOLD),
            ("procfs.read-only.*", UNTOLD),
            ("tmpfs.charged", UNTOLD),
        ],
        "lines that are no JSON in the sandbox without limits, the control of all limits",
    ),
    killed(
        "flood",
        Guest(|c| c.pointer("/root/readonly") == Some(&json!(true)), Lie::Flood),
        &[("lifecycle.{init,read-only}", UNTOLD)],
        "40 MiB of what nobody asked for",
    ),
    killed(
        "long-line",
        Guest(|c| awf(c) && !mounted(c, "/usr") && !mounted(c, "/host/usr"), Lie::LongLine),
        &[("dns.*", UNTOLD), ("procfs.net.{arp,route}", UNTOLD)],
        "a line of 2 MiB",
    ),
    killed(
        "deep",
        Guest(|c| has(c, "CAP_SYS_BOOT") && c.pointer("/linux/seccomp").is_none(), Lie::Deep),
        &[
            ("capabilities.awf-drops.*", UNTOLD),
            ("capabilities.awf-keeps.kill", UNTOLD),
            ("capabilities.[!a]*", UNTOLD),
            ("seccomp.compat-abi", UNTOLD),
            ("seccomp.{default-action,denied,profile}.*", UNTOLD),
        ],
        "JSON nested 100000 deep, in the sandbox with every capability",
    ),
    killed(
        "contradiction",
        Guest(marker, Lie::Contradict),
        &[("seccomp.action.{kill,log,trap}", UNTOLD), ("seccomp.{argument,custom-errno,errno}", UNTOLD)],
        "everything is said twice, and differently",
    ),
    killed("forgotten", Guest(bare, Lie::Forget("chroot.enter")), &[("chroot.enter", UNTOLD)], "one fact is left out"),
    killed(
        "mute",
        Guest(|c| has(c, "CAP_SYS_BOOT") && c.pointer("/linux/seccomp").is_some(), Lie::Mute),
        &[("seccomp.compat-abi", UNTOLD), ("seccomp.{default-action,denied,profile}.*", UNTOLD)],
        "nobody greets in the sandbox with every capability and AWF's profile",
    ),
];

/// Measured by `make test`: of each kind of defect the one that is most like a real runtime's.
pub(crate) const FAST: &[&str] = &[
    "nothing",
    "no-memory-limit",
    "no-rlimits",
    "no-seccomp",
    "seccomp-other-errno",
    "net-raw",
    "new-privileges",
    "fresh-network",
    "volume-writable",
    "no-masks",
    "credential-not-covered",
    "tmpfs-noexec-lost",
    "user-ignored",
    "signals-lost",
    "exec-refused",
    "exit-code-swallowed",
    "somebody-else",
    "forgotten",
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
