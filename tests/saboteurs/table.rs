//! The saboteurs: one defect each, the cells it must break, the verdict each must get, and why.
//!
//! A cell is `ID`, `ID@MODEL`, `ID@MODEL/BACKEND` or `ID@init=RUNTIME` with `self` for the saboteur itself. The first
//! glob that matches a cell says its verdict; a cell that none matches must be as under the reference runtime of the
//! same run. Each glob must change at least one cell.

use serde_json::{Value, json};

use crate::{guest::Lie, wrapper::Call};

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
    /// No capability looks there: it survives, and this test fails on the day it no longer does.
    pub(crate) gap: bool,
    /// Why these cells and no other.
    pub(crate) why: &'static str,
}

/// The saboteur of this name.
pub(crate) fn find(name: &str) -> Option<&'static Saboteur> {
    SABOTEURS.iter().find(|s| s.name == name)
}

const FAIL: &str = "fail";
const UNTOLD: &str = "inconclusive";

const fn killed(
    name: &'static str,
    defect: Defect,
    breaks: &'static [(&'static str, &'static str)],
    why: &'static str,
) -> Saboteur {
    Saboteur { name, defect, breaks, network: false, gap: false, why }
}

const fn networked(
    name: &'static str,
    defect: Defect,
    breaks: &'static [(&'static str, &'static str)],
    why: &'static str,
) -> Saboteur {
    Saboteur { name, defect, breaks, network: true, gap: false, why }
}

const fn harmless(name: &'static str, defect: Defect, why: &'static str) -> Saboteur {
    Saboteur { name, defect, breaks: &[], network: true, gap: false, why }
}

const fn gap(name: &'static str, defect: Defect, why: &'static str) -> Saboteur {
    Saboteur { name, defect, breaks: &[], network: false, gap: true, why }
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
        &[("cgroup.memory.victim", UNTOLD), ("cgroup.memory.*", FAIL)],
        "without the limit nothing is killed, so nothing can be told of who is",
    ),
    killed(
        "no-pids-limit",
        Bundle(|c| remove(c, "/linux/resources/pids")),
        &[("cgroup.pids.*", FAIL)],
        "all 120 processes start",
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
        "pids-kill-zero",
        Bundle(|c| {
            if c.pointer("/linux/resources/pids/limit") == Some(&json!(60)) {
                put(c, "/linux/resources/pids/limit", json!(200));
            }
        }),
        &[("cgroup.pids.*", FAIL)],
        "the limit of 60 is taken for 200, so 120 processes start",
    ),
    // Seccomp.
    killed(
        "no-seccomp",
        Bundle(|c| remove(c, "/linux/seccomp")),
        &[("seccomp.*", FAIL)],
        "the profile is not installed",
    ),
    killed(
        "seccomp-other-errno",
        Bundle(|c| {
            rules_of(c, "getcpu", |r| {
                r.insert("errnoRet".into(), json!(1));
            })
        }),
        &[("seccomp.errno", FAIL)],
        "the system call is refused, but with EPERM instead of the profile's ENOMSG",
    ),
    killed(
        "seccomp-no-arguments",
        Bundle(|c| drop_rule(c, "prctl")),
        &[("seccomp.argument", FAIL)],
        "the one rule with an argument filter is left out",
    ),
    // Capabilities and privileges.
    networked(
        "net-admin",
        Bundle(|c| add_caps(c, &["CAP_NET_ADMIN"])),
        &[("privileges.no-net-admin", FAIL), ("privileges.bounding-set", UNTOLD)],
        "it may force a buffer; the set before the drop is not AWF's, so of the set after it nothing can be told",
    ),
    networked(
        "net-raw",
        Bundle(|c| add_caps(c, &["CAP_NET_RAW"])),
        &[("privileges.no-net-raw", FAIL), ("privileges.bounding-set", UNTOLD)],
        "raw sockets open, which the agent must not have",
    ),
    killed(
        "sys-admin",
        Bundle(|c| add_caps(c, &["CAP_SYS_ADMIN"])),
        &[("procfs.mount", UNTOLD)],
        "AWF's agent has it anyway; the container without capabilities must not, and there the control fails",
    ),
    killed(
        "sys-chroot",
        Bundle(|c| add_caps(c, &["CAP_SYS_CHROOT"])),
        &[("chroot.enter", UNTOLD)],
        "as above: the control in the container without capabilities no longer fails",
    ),
    killed(
        "wide-bounding-set",
        Bundle(|c| {
            for cap in ALL_CAPS {
                add_to_set(c, "bounding", cap);
            }
        }),
        &[("privileges.bounding-set", UNTOLD)],
        "only the set that comes back through a setuid program is wider",
    ),
    networked(
        "no-sys-admin",
        Bundle(|c| drop_caps(c, &["CAP_SYS_ADMIN"])),
        &[("procfs.*", UNTOLD)],
        "the agent cannot mount",
    ),
    networked(
        "no-sys-chroot",
        Bundle(|c| drop_caps(c, &["CAP_SYS_CHROOT"])),
        &[("chroot.enter", FAIL)],
        "the agent cannot enter its root, so nothing can be told of what is in it",
    ),
    networked(
        "no-net-admin",
        Bundle(|c| drop_caps(c, &["CAP_NET_ADMIN"])),
        &[("netfilter.*", FAIL)],
        "no rule can be installed by who was given the right to",
    ),
    networked(
        "no-setuid",
        Bundle(|c| drop_caps(c, &["CAP_SETUID"])),
        &[("privileges.*", UNTOLD)],
        "nobody becomes another user",
    ),
    killed(
        "new-privileges",
        Bundle(|c| put(c, "/process/noNewPrivileges", json!(false))),
        &[("privileges.no-new-privs", FAIL)],
        "the setuid program becomes root",
    ),
    killed(
        "never-new-privileges",
        Bundle(|c| put(c, "/process/noNewPrivileges", json!(true))),
        &[("privileges.no-new-privs", "not-applicable")],
        "under a runtime that never grants them the program gains nothing with or without the flag",
    ),
    // Namespaces.
    networked(
        "host-network",
        Bundle(|c| {
            drop_namespace(c, "network");
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
                remove(c, "/hooks");
            }
        }),
        &[("dns.*", UNTOLD)],
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
        &[("netns.*@init=self", FAIL)],
        "the second container is given a network of its own",
    ),
    gap("host-ipc", Bundle(|c| drop_namespace(c, "ipc")), "no capability asks whose System V objects are seen"),
    gap(
        "host-uts",
        Bundle(|c| {
            drop_namespace(c, "uts");
            remove(c, "/hostname");
        }),
        "no capability asks whose host name is seen",
    ),
    killed(
        "host-pid",
        Bundle(|c| drop_namespace(c, "pid")),
        &[("identity.*", UNTOLD)],
        "the host's processes are seen",
    ),
    // Mounts.
    killed(
        "volume-writable",
        Bundle(|c| {
            each_mount(c, |m| {
                // Only what the run made: a toolbox that is writable would be the host's own /usr.
                if m["source"].as_str().is_some_and(|s| s.contains("/volumes/")) {
                    options(m, |o| if o == "ro" { Some("rw".to_owned()) } else { Some(o.to_owned()) });
                }
            })
        }),
        &[("chroot.read-only-binds", FAIL), ("chroot.writable-bind", UNTOLD)],
        "what is mounted read-only takes a file, so nothing can be told of where a file was written",
    ),
    killed(
        "no-masks",
        Bundle(|c| put(c, "/linux/maskedPaths", json!([]))),
        &[("procfs.masked", FAIL)],
        "kcore and the like can be read",
    ),
    killed(
        "no-read-only-paths",
        Bundle(|c| put(c, "/linux/readonlyPaths", json!([]))),
        &[("procfs.read-only", FAIL)],
        "sysctls can be opened for writing",
    ),
    killed(
        "credential-not-covered",
        Bundle(|c| drop_mount(c, "/host/home/agent/.netrc")),
        &[("paths.masked-credential", FAIL)],
        "the planted secret is read",
    ),
    killed(
        "no-workspace",
        Bundle(|c| drop_mount(c, "/host/work")),
        &[("chroot.writable-bind", FAIL)],
        "what is written ends in the root file system and is not seen through the other mount",
    ),
    killed(
        "no-toolbox",
        Bundle(|c| drop_mount(c, "/host/usr")),
        &[("chroot.read-only-binds", "skipped")],
        "the program that is opened for writing is not there; /host/bin and /host/lib are binds of their own",
    ),
    killed("lost-tmpfs", Bundle(|c| drop_mount(c, "/host/tmp")), &[], "writes go to the root file system instead"),
    gap(
        "tmpfs-without-flags",
        Bundle(|c| {
            each_mount(c, |m| {
                if m["type"] == "tmpfs" {
                    options(m, |o| (!matches!(o, "noexec" | "nosuid" | "nodev")).then(|| o.to_owned()));
                }
            })
        }),
        "no capability asks whether flags of a tmpfs hold",
    ),
    gap(
        "tmpfs-without-size",
        Bundle(|c| {
            each_mount(c, |m| {
                if m["type"] == "tmpfs" {
                    options(m, |o| (!o.starts_with("size=")).then(|| o.to_owned()));
                }
            })
        }),
        "no capability fills a tmpfs",
    ),
    killed(
        "mounts-reversed",
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
        }),
        &[],
        "what is nested below a mount is covered by it",
    ),
    killed(
        "read-only-root",
        Bundle(|c| put(c, "/root/readonly", json!(true))),
        &[("privileges.no-new-privs", UNTOLD)],
        "nothing can be planted in the root file system",
    ),
    gap(
        "devices-open",
        Bundle(|c| put(c, "/linux/resources/devices", json!([{"allow": true, "access": "rwm"}]))),
        "no capability opens a device node it made",
    ),
    networked(
        "no-hosts-file",
        Bundle(|c| drop_mount(c, "/etc/hosts")),
        &[("dns.static-hosts", FAIL)],
        "the static entry is not there",
    ),
    gap("no-resolv-conf", Bundle(|c| drop_mount(c, "/etc/resolv.conf")), "no capability reads resolv.conf"),
    // The process.
    networked(
        "http-proxy-set",
        Bundle(|c| env(c, |e| e.push(json!("http_proxy=http://proxy.awf-probe.test:3128")))),
        &[("environment.proxy-variables", FAIL), ("image.config", UNTOLD)],
        "the variable that must be unset is set, in every container",
    ),
    networked(
        "no-proxy-variables",
        Bundle(|c| env(c, |e| e.retain(|v| !v.as_str().is_some_and(|v| v.to_lowercase().contains("_proxy="))))),
        &[("environment.proxy-variables", FAIL), ("egress.proxy.*", FAIL)],
        "user code does not find the proxy",
    ),
    networked(
        "no-image-variables",
        Bundle(|c| env(c, |e| e.retain(|v| !v.as_str().is_some_and(|v| v.starts_with("AWF_PROBE_IMAGE="))))),
        &[("image.config", FAIL)],
        "the image's own variable is lost",
    ),
    networked(
        "other-folder",
        Bundle(|c| put(c, "/process/cwd", json!("/"))),
        &[("image.config", FAIL)],
        "it starts in another folder",
    ),
    networked(
        "other-user",
        Bundle(|c| put(c, "/process/user", json!({"uid": 1000, "gid": 1000}))),
        &[("chroot.enter", FAIL)],
        "root's work is done by somebody else",
    ),
    networked(
        "no-sysctls",
        Bundle(|c| remove(c, "/linux/sysctl")),
        &[("egress.icmp.ping@*", "not-applicable")],
        "without net.ipv4.ping_group_range nobody opens a ping socket, with nothing enforcing either",
    ),
    networked(
        "other-program",
        Bundle(|c| put(c, "/process/args", json!(["/awf-probe", "list"]))),
        &[("*", UNTOLD)],
        "something else than the guest greets",
    ),
    // Steps of a container's life.
    killed(
        "start-refused",
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
        Called(|c| if c.command == "create" && pids(&c.config, 60) { Act::Wait(100_000) } else { Act::Go }),
        &[("cgroup.pids.*", UNTOLD)],
        "it never comes back; the run does",
    ),
    killed(
        "hangs-at-start",
        Called(|c| if c.command == "start" && memory(&c.config, 64 << 20) { Act::Wait(100_000) } else { Act::Go }),
        &[("cgroup.memory.*", UNTOLD)],
        "it never comes back; the run does",
    ),
    harmless(
        "signals-lost",
        Called(|c| {
            if c.command == "kill" && !c.args.iter().any(|a| a == "9" || a == "KILL" || a == "SIGKILL") {
                Act::Say(0, "")
            } else {
                Act::Go
            }
        }),
        "no capability sends another signal than KILL",
    ),
    gap(
        "exec-refused",
        Called(|c| if c.command == "exec" { Act::Say(1, "exec is not supported") } else { Act::Go }),
        "no capability uses exec",
    ),
    gap("exit-code-swallowed", Guest(|_| true, Lie::Swallow), "no capability looks at an exit code"),
    networked(
        "creates-nothing",
        Called(|c| if c.command == "create" { Act::Say(0, "") } else { Act::Go }),
        &[("*", UNTOLD)],
        "success is reported and nothing runs",
    ),
    // Somebody else.
    networked(
        "somebody-else",
        Called(|_| Act::Be(OTHER)),
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
        &[("dns.*", UNTOLD)],
        "the first sandbox is runc's, AWF's are not: each must be looked at from outside",
    ),
    // Hostile guests.
    killed(
        "output-truncated",
        Guest(bare, Lie::Truncate),
        &[("chroot.enter", UNTOLD), ("procfs.mount", UNTOLD), ("paths.masked-credential", UNTOLD)],
        "the rest of what the container without capabilities says is missing",
    ),
    killed(
        "garbage",
        Guest(unmasked, Lie::Garbage),
        &[("cgroup.*", UNTOLD), ("procfs.masked", UNTOLD), ("procfs.read-only", UNTOLD)],
        "lines that are no JSON in the sandbox without limits, the control of all limits",
    ),
    killed(
        "flood",
        Guest(|c| memory(c, 64 << 20), Lie::Flood),
        &[("cgroup.memory.*", UNTOLD)],
        "40 MiB of what nobody asked for",
    ),
    killed("long-line", Guest(|c| pids(c, 60), Lie::LongLine), &[("cgroup.pids.*", UNTOLD)], "a line of 2 MiB"),
    killed("deep", Guest(quota, Lie::Deep), &[("cgroup.cpu.quota", UNTOLD)], "JSON nested 100000 deep"),
    killed(
        "contradiction",
        Guest(unmasked, Lie::Contradict),
        &[("cgroup.*", UNTOLD), ("procfs.masked", UNTOLD), ("procfs.read-only", UNTOLD)],
        "everything is said twice, and differently",
    ),
    killed("forgotten", Guest(bare, Lie::Forget("chroot.enter")), &[("chroot.enter", UNTOLD)], "one fact is left out"),
    killed("mute", Guest(marker, Lie::Mute), &[("seccomp.*", UNTOLD)], "nobody greets in the sandbox with the profile"),
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

// Which sandbox it is, told by its configuration.

fn awf(c: &Value) -> bool {
    memory(c, 6 << 30)
}

fn bare(c: &Value) -> bool {
    c.pointer("/process/capabilities/bounding").and_then(Value::as_array).is_none_or(Vec::is_empty)
}

fn unmasked(c: &Value) -> bool {
    c.pointer("/linux/maskedPaths").and_then(Value::as_array).is_none_or(Vec::is_empty)
}

fn marker(c: &Value) -> bool {
    c.pointer("/linux/seccomp").is_some()
}

fn quota(c: &Value) -> bool {
    c.pointer("/linux/resources/cpu/quota").and_then(Value::as_i64).is_some_and(|q| q > 0)
}

fn memory(c: &Value, bytes: i64) -> bool {
    c.pointer("/linux/resources/memory/limit").and_then(Value::as_i64) == Some(bytes)
}

fn pids(c: &Value, most: i64) -> bool {
    c.pointer("/linux/resources/pids/limit").and_then(Value::as_i64) == Some(most)
}

// Edits.

fn remove(c: &mut Value, pointer: &str) {
    if let Some((parent, key)) = pointer.rsplit_once('/')
        && let Some(object) = c.pointer_mut(parent).and_then(Value::as_object_mut)
    {
        object.remove(key);
    }
}

fn put(c: &mut Value, pointer: &str, value: Value) {
    if let Some((parent, key)) = pointer.rsplit_once('/')
        && let Some(object) = c.pointer_mut(parent).and_then(Value::as_object_mut)
    {
        object.insert(key.to_owned(), value);
    }
}

fn rules_of(c: &mut Value, call: &str, edit: fn(&mut serde_json::Map<String, Value>)) {
    for rule in c.pointer_mut("/linux/seccomp/syscalls").and_then(Value::as_array_mut).into_iter().flatten() {
        if rule["names"].as_array().is_some_and(|n| n.iter().any(|n| n == call))
            && let Some(rule) = rule.as_object_mut()
        {
            edit(rule);
        }
    }
}

fn drop_rule(c: &mut Value, call: &str) {
    if let Some(rules) = c.pointer_mut("/linux/seccomp/syscalls").and_then(Value::as_array_mut) {
        rules.retain(|r| !r["names"].as_array().is_some_and(|n| n.iter().any(|n| n == call)));
    }
}

fn add_to_set(c: &mut Value, set: &str, cap: &str) {
    let Some(sets) = c.pointer_mut("/process/capabilities").and_then(Value::as_object_mut) else { return };
    let list = sets.entry(set).or_insert_with(|| json!([]));
    if let Some(list) = list.as_array_mut()
        && !list.iter().any(|x| x == cap)
    {
        list.push(json!(cap));
    }
}

fn add_caps(c: &mut Value, caps: &[&str]) {
    if c.pointer("/process/capabilities").is_none() {
        put(c, "/process/capabilities", json!({}));
    }
    for cap in caps {
        for set in ["bounding", "effective", "permitted"] {
            add_to_set(c, set, cap);
        }
    }
}

fn drop_caps(c: &mut Value, caps: &[&str]) {
    let Some(sets) = c.pointer_mut("/process/capabilities").and_then(Value::as_object_mut) else { return };
    for list in sets.values_mut().filter_map(Value::as_array_mut) {
        list.retain(|x| !x.as_str().is_some_and(|x| caps.contains(&x)));
    }
}

fn drop_namespace(c: &mut Value, kind: &str) {
    if let Some(list) = c.pointer_mut("/linux/namespaces").and_then(Value::as_array_mut) {
        list.retain(|n| n["type"] != kind);
    }
}

fn each_mount(c: &mut Value, edit: impl Fn(&mut Value)) {
    c["mounts"].as_array_mut().into_iter().flatten().for_each(edit);
}

fn drop_mount(c: &mut Value, destination: &str) {
    if let Some(mounts) = c["mounts"].as_array_mut() {
        mounts.retain(|m| m["destination"] != destination);
    }
}

fn options(mount: &mut Value, edit: impl Fn(&str) -> Option<String>) {
    if let Some(list) = mount["options"].as_array_mut() {
        *list = list.iter().filter_map(Value::as_str).filter_map(|o| edit(o).map(Value::from)).collect();
    }
}

fn env(c: &mut Value, edit: fn(&mut Vec<Value>)) {
    if let Some(list) = c.pointer_mut("/process/env").and_then(Value::as_array_mut) {
        edit(list);
    }
}
