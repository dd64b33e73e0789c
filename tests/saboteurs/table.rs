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
        &[],
        "nothing is killed, so nothing can be told of who is; what the guest sees of the limits is not what was asked for",
    ),
    killed(
        "swap-unlimited",
        Bundle(|c| put(c, "/linux/resources/memory/swap", json!(-1))),
        &[],
        "memory is limited, swap is not; there is none to measure it with, only the figure",
    ),
    killed(
        "reservation-lost",
        Bundle(|c| remove(c, "/linux/resources/memory/reservation")),
        &[],
        "a figure that only the guest's cgroup shows",
    ),
    killed("no-pids-limit", Bundle(|c| remove(c, "/linux/resources/pids")), &[], "all 120 processes start"),
    killed(
        "pids-limit-widened",
        Bundle(|c| {
            if pids(c, 60) {
                put(c, "/linux/resources/pids/limit", json!(90));
            }
        }),
        &[],
        "90 instead of 60: still fewer than are tried, but not what was asked for",
    ),
    killed(
        "no-cpu-quota",
        Bundle(|c| {
            remove(c, "/linux/resources/cpu/quota");
            remove(c, "/linux/resources/cpu/period");
        }),
        &[],
        "it spins at full speed",
    ),
    killed("no-cpuset", Bundle(|c| remove(c, "/linux/resources/cpu/cpus")), &[], "every processor may be used"),
    killed("no-rlimits", Bundle(|c| remove(c, "/process/rlimits")), &[], "no ulimit is set"),
    killed(
        "no-open-files-limit",
        Bundle(|c| {
            if let Some(all) = c.pointer_mut("/process/rlimits").and_then(Value::as_array_mut) {
                all.retain(|l| text(l, "type") != "RLIMIT_NOFILE");
            }
        }),
        &[],
        "one of the ulimits is passed over",
    ),
    killed("no-oom-score", Bundle(|c| remove(c, "/process/oomScoreAdj")), &[], "the adjustment is not made"),
    // Seccomp.
    killed("no-seccomp", Bundle(|c| remove(c, "/linux/seccomp")), &[], "the profile is not installed"),
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
        &[],
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
        &[],
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
        &[],
        "the system call is refused, but with EPERM instead of the profile's ENOMSG",
    ),
    killed(
        "seccomp-no-arguments",
        Bundle(|c| {
            if let Some(rules) = c.pointer_mut("/linux/seccomp/syscalls").and_then(Value::as_array_mut) {
                let filtered = |r: &Value| r["names"] == json!(["prctl"]) && r["args"].as_array().is_some_and(|a| !a.is_empty());
                rules.retain(|r| !filtered(r));
            }
        }),
        &[],
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
        &[],
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
        &[],
        "who is to be sent SIGSYS gets an error instead",
    ),
    // Capabilities and privileges.
    networked("net-admin", Bundle(|c| add_caps(c, &["CAP_NET_ADMIN"])), &[], "it is there in every container, asked for or not"),
    networked("net-raw", Bundle(|c| add_caps(c, &["CAP_NET_RAW"])), &[], "raw sockets open in every container"),
    killed(
        "sys-admin",
        Bundle(|c| add_caps(c, &["CAP_SYS_ADMIN"])),
        &[],
        "AWF's agent has it anyway; a container without capabilities must not, and there controls fail",
    ),
    killed(
        "sys-chroot",
        Bundle(|c| add_caps(c, &["CAP_SYS_CHROOT"])),
        &[],
        "as above: a control in the container without capabilities no longer fails",
    ),
    killed(
        "sys-ptrace",
        Bundle(|c| add_caps(c, &["CAP_SYS_PTRACE"])),
        &[],
        "a capability AWF drops stays",
    ),
    killed(
        "wide-bounding-set",
        Bundle(|c| {
            for cap in ALL_CAPS {
                add_to_set(c, "bounding", cap);
            }
        }),
        &[],
        "root regains at the next exec whatever the bounding set holds",
    ),
    networked("no-sys-admin", Bundle(|c| drop_caps(c, &["CAP_SYS_ADMIN"])), &[], "the agent cannot mount"),
    networked(
        "no-sys-chroot",
        Bundle(|c| drop_caps(c, &["CAP_SYS_CHROOT"])),
        &[],
        "the agent cannot enter its root, so nothing can be told of what is in it",
    ),
    networked(
        "no-net-admin",
        Bundle(|c| drop_caps(c, &["CAP_NET_ADMIN"])),
        &[],
        "no rule can be installed by who was given the right to",
    ),
    networked("no-setuid", Bundle(|c| drop_caps(c, &["CAP_SETUID"])), &[], "nobody becomes another user"),
    killed(
        "new-privileges",
        Bundle(|c| put(c, "/process/noNewPrivileges", json!(false))),
        &[],
        "the setuid program becomes root",
    ),
    killed(
        "never-new-privileges",
        Bundle(|c| put(c, "/process/noNewPrivileges", json!(true))),
        &[],
        "where nobody can gain anything the flag makes no difference",
    ),
    // Namespaces.
    networked(
        "host-network",
        Bundle(|c| {
            drop_namespace(c, "network");
            drop_sysctls(c, "net.");
            remove(c, "/hooks");
        }),
        &[("*", UNTOLD)],
        "the harness must refuse to try anything in the host's network",
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
        &[],
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
        &[],
        "the second container is given a network of its own",
    ),
    killed(
        "host-ipc",
        Bundle(|c| {
            drop_namespace(c, "ipc");
            drop_sysctls(c, "kernel.msg");
        }),
        &[],
        "a sysctl of a namespace that the sandbox does not have cannot be set",
    ),
    killed(
        "host-names",
        Bundle(|c| {
            drop_namespace(c, "uts");
            remove(c, "/hostname");
            drop_sysctls(c, "kernel.domainname");
        }),
        &[],
        "it has the host's name",
    ),
    killed("host-pid", Bundle(|c| drop_namespace(c, "pid")), &[], "the host's processes are seen"),
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
        &[],
        "what is mounted read-only takes a file, so nothing can be told of where a file was written",
    ),
    killed(
        "no-masks",
        Bundle(|c| put(c, "/linux/maskedPaths", json!([]))),
        &[],
        "what the engine masks can be read",
    ),
    killed(
        "no-read-only-paths",
        Bundle(|c| put(c, "/linux/readonlyPaths", json!([]))),
        &[],
        "sysctls can be opened for writing",
    ),
    killed(
        "credential-not-covered",
        Bundle(|c| drop_mount(c, "/host/home/agent/.netrc")),
        &[],
        "the planted secret is read, and one of 60 covers is missing",
    ),
    killed(
        "socket-not-covered",
        Bundle(|c| drop_mount(c, "/m/docker.sock")),
        &[],
        "what is to lie under /dev/null does not",
    ),
    killed(
        "no-workspace",
        Bundle(|c| drop_mount(c, "/host/work")),
        &[],
        "what is written ends in the root file system and is not seen through the other mount",
    ),
    killed(
        "no-toolbox",
        Bundle(|c| drop_mount(c, "/host/usr")),
        &[],
        "the program that is opened for writing is not there; /host/bin and /host/lib are binds of their own",
    ),
    killed(
        "lost-tmpfs",
        Bundle(|c| drop_mounts(c, |m| text(m, "type") == "tmpfs" && text(m, "destination").starts_with("/t/"))),
        &[],
        "writes go to the root file system instead",
    ),
    killed("tmpfs-noexec-lost", Bundle(|c| without_flag(c, "noexec")), &[], "a program there runs"),
    killed("tmpfs-nosuid-lost", Bundle(|c| without_flag(c, "nosuid")), &[], "a setuid bit there counts"),
    killed("tmpfs-nodev-lost", Bundle(|c| without_flag(c, "nodev")), &[], "a device node there opens"),
    killed(
        "tmpfs-without-size",
        Bundle(|c| {
            each_mount(c, |m| {
                if text(m, "type") == "tmpfs" {
                    options(m, |o| (!o.starts_with("size=")).then(|| o.to_owned()));
                }
            });
        }),
        &[],
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
        &[],
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
        &[],
        "/dev/shm has 64 MiB whatever was asked for",
    ),
    killed(
        "mounts-reversed",
        Bundle(|c| {
            if let Some(m) = c["mounts"].as_array_mut() {
                // The kernel's own file systems stay in front, or nothing starts at all.
                let at = m.iter().position(|m| text(m, "type") == "bind" || text(m, "destination").starts_with("/host"));
                if let Some(at) = at {
                    m[at..].reverse();
                }
            }
        }),
        &[],
        "what is nested below a mount is covered by it",
    ),
    killed(
        "read-only-root",
        Bundle(|c| put(c, "/root/readonly", json!(true))),
        &[],
        "what needs a file in the root file system cannot be tried",
    ),
    killed(
        "writable-root",
        Bundle(|c| put(c, "/root/readonly", json!(false))),
        &[],
        "a read-only root file system takes a file",
    ),
    networked(
        "no-hosts-file",
        Bundle(|c| drop_mount(c, "/etc/hosts")),
        &[],
        "the static entry is not there, and /etc/hosts is no mount",
    ),
    // The process.
    networked(
        "http-proxy-set",
        Bundle(|c| env(c, |e| e.push(json!("http_proxy=http://proxy.awf-probe.test:3128")))),
        &[],
        "the variable that must be unset is set, in every container",
    ),
    networked(
        "no-proxy-variables",
        Bundle(|c| env(c, |e| e.retain(|v| !v.as_str().is_some_and(|v| v.to_lowercase().contains("_proxy="))))),
        &[],
        "user code does not find the proxy",
    ),
    killed(
        "no-image-variables",
        Bundle(|c| env(c, |e| e.retain(|v| !v.as_str().is_some_and(|v| v.starts_with("AWF_PROBE_IMAGE="))))),
        &[],
        "the image's own variable is lost",
    ),
    killed(
        "no-client-variables",
        Bundle(|c| env(c, |e| e.retain(|v| !v.as_str().is_some_and(|v| v.starts_with("AWF_PROBE_SET="))))),
        &[],
        "a variable of the client is lost",
    ),
    killed("other-folder", Bundle(|c| put(c, "/process/cwd", json!("/"))), &[], "it starts in another folder"),
    killed(
        "user-ignored",
        Bundle(|c| put(c, "/process/user/uid", json!(0))),
        &[],
        "whoever is asked for, it is root",
    ),
    killed(
        "groups-ignored",
        Bundle(|c| remove(c, "/process/user/additionalGids")),
        &[],
        "no supplementary group is set",
    ),
    killed("hostname-ignored", Bundle(|c| remove(c, "/hostname")), &[], "the name is not set, in a namespace of its own"),
    networked(
        "no-sysctls",
        Bundle(|c| remove(c, "/linux/sysctl")),
        &[],
        "what a client sets is not set, nor what the engine sets by itself",
    ),
    networked(
        "other-program",
        Bundle(|c| put(c, "/process/args", json!(["/awf-probe", "list"]))),
        &[("*", UNTOLD)],
        "something else than the guest greets",
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
        &[],
        "a container with a profile does not start",
    ),
    killed(
        "hangs-at-create",
        Called(|c| if c.command == "create" && pids(&c.config, 60) { Act::Wait(100_000) } else { Act::Go }),
        &[],
        "it never comes back; the run does",
    ),
    killed(
        "hangs-at-start",
        Called(|c| if c.command == "start" && memory(&c.config, 64 << 20) { Act::Wait(100_000) } else { Act::Go }),
        &[],
        "it never comes back; the run does",
    ),
    killed(
        "signals-lost",
        Called(|c| match signal_of(&c.command, &c.args) {
            Some(signal) if !is_kill(&signal) => Act::Say(0, ""),
            Some(_) | None => Act::Go,
        }),
        &[],
        "every signal but KILL is lost",
    ),
    killed(
        "every-signal-kills",
        Called(|c| match signal_of(&c.command, &c.args) {
            Some(signal) if !is_kill(&signal) => {
                Act::With(c.args.iter().map(|a| if *a == signal { "9".to_owned() } else { a.clone() }).collect())
            }
            Some(_) | None => Act::Go,
        }),
        &[],
        "whatever signal is asked for, KILL is sent",
    ),
    killed(
        "exec-refused",
        Called(|c| if c.command == "exec" { Act::Say(1, "exec is not supported") } else { Act::Go }),
        &[],
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
        &[],
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
        &[],
        "an exec's own variable is passed over",
    ),
    killed(
        "pause-refused",
        Called(|c| if c.command == "pause" { Act::Say(1, "pause is not supported") } else { Act::Go }),
        &[],
        "a container cannot be paused",
    ),
    killed(
        "pause-pretended",
        Called(|c| if matches!(c.command.as_str(), "pause" | "resume") { Act::Say(0, "") } else { Act::Go }),
        &[],
        "success is reported and it goes on running",
    ),
    killed(
        "update-pretended",
        Called(|c| if c.command == "update" { Act::Say(0, "") } else { Act::Go }),
        &[],
        "success is reported and the limits stay",
    ),
    killed(
        "exit-code-swallowed",
        Guest(|c| runs(c, "lifecycle.exit") || runs(c, "lifecycle.fault"), Lie::Swallow),
        &[],
        "another process is the first one, and ends with 0 whatever happened",
    ),
    networked(
        "creates-nothing",
        Called(|c| if c.command == "create" { Act::Say(0, "") } else { Act::Go }),
        &[("*", UNTOLD)],
        "success is reported and nothing runs",
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
        Called(|c| {
            if c.command.is_empty() || c.config.pointer("/process/noNewPrivileges") != Some(&json!(true)) {
                Act::Go
            } else {
                Act::Be(OTHER)
            }
        }),
        &[],
        "the first sandbox is runc's, AWF's are not: each must be looked at from outside",
    ),
    // Hostile guests.
    killed(
        "output-truncated",
        Guest(bare, Lie::Truncate),
        &[],
        "the rest of what the container without capabilities says is missing, the control of much",
    ),
    killed(
        "garbage",
        Guest(unmasked, Lie::Garbage),
        &[],
        "lines that are no JSON in the sandbox without limits, the control of all limits",
    ),
    killed(
        "flood",
        Guest(|c| memory(c, 64 << 20), Lie::Flood),
        &[],
        "40 MiB of what nobody asked for",
    ),
    killed("long-line", Guest(|c| pids(c, 60), Lie::LongLine), &[], "a line of 2 MiB"),
    killed("deep", Guest(quota, Lie::Deep), &[], "JSON nested 100000 deep"),
    killed(
        "contradiction",
        Guest(marker, Lie::Contradict),
        &[],
        "everything is said twice, and differently",
    ),
    killed(
        "forgotten",
        Guest(bare, Lie::Forget("chroot.enter")),
        &[],
        "one fact is left out",
    ),
    killed(
        "mute",
        Guest(marker, Lie::Mute),
        &[],
        "nobody greets in the sandbox with the marker profile",
    ),
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
