//! What procfs shows: of this process, of this network namespace, of the machine, and of nobody else.

use std::{
    fs,
    io::{self, Read},
    net::{Ipv4Addr, TcpListener, UdpSocket},
    os::{
        fd::AsRawFd,
        linux::net::SocketAddrExt,
        unix::net::{SocketAddr, UnixListener},
    },
    time::Duration,
};

use awf_probe_matrix::Outcome;

use crate::{
    Cx, Probe,
    sys::{self, End, check, in_child},
};

pub(crate) const PROBES: &[Probe] = &[
    Probe { id: "self", about: "files of /proc/self that runtimes of languages read", specs: &["awf"], ask: of_self },
    Probe { id: "proc-net", about: "own sockets in /proc/net, and nobody else's", specs: &["awf"], ask: sockets },
    Probe { id: "proc-net.map", about: "routes and neighbours in /proc/net", specs: &["awf", "dns"], ask: map },
    Probe { id: "environ", about: "/proc/1/environ, as root and as another user", specs: &["awf"], ask: environ },
    Probe { id: "machine", about: "meminfo and cpuinfo", specs: &["memory", "limits", "unlimited"], ask: machine },
    Probe { id: "kallsyms", about: "addresses in /proc/kallsyms", specs: &["plain", "mounts"], ask: kallsyms },
    Probe { id: "sysctl", about: "sysctls of the sandbox's own namespaces", specs: &["limits", "plain"], ask: sysctl },
];

fn text(path: &str) -> String {
    // What cannot be read says nothing; the fact that rests on it then does not hold.
    fs::read_to_string(path).unwrap_or_default()
}

fn found(there: bool, what: impl Into<String>) -> Outcome {
    if there { Outcome::allowed(what) } else { Outcome::refused("not there", what) }
}

fn of_self(cx: &mut Cx) {
    let pid = std::process::id();
    // maps: the mapping of this very function, and none at an address that is never mapped.
    let maps = text("/proc/self/maps");
    cx.fact("maps", found(mapped(&maps, of_self as *const () as u64, "r-xp"), "the mapping of this code"));
    cx.fact("maps.unmapped", found(mapped(&maps, 0x10, ""), "a mapping of address 16"));

    let stat = text("/proc/self/stat");
    let after = stat.rsplit_once(") ").map(|(_, rest)| rest.split_whitespace().count()).unwrap_or(0);
    let own = stat.split(' ').next() == Some(pid.to_string().as_str());
    cx.fact("stat", found(own && after >= 40, format!("{after} fields after the name, own pid first")));
    cx.fact("stat.gone", gone());

    let uid = || field("/proc/self/status", "Uid:");
    cx.fact("status.uid", Outcome::value(uid()));
    cx.fact("status.threads", Outcome::value(field("/proc/self/status", "Threads:")));
    cx.fact("status.rss", found(kib("/proc/self/status", "VmRSS:") > 100, "VmRSS"));
    if let Some(mut twin) = cx.twin("self") {
        let end = in_child(Duration::from_secs(5), || {
            if let Err(e) = sys::become_user(1001) {
                twin.fact("status.changed", Outcome::broken(format!("cannot become user 1001: {e}")));
                return 1;
            }
            twin.fact("status.changed", Outcome::value(uid()));
            0
        });
        if end.is_err() {
            cx.fact("status.changed", Outcome::broken("fork"));
        }
    }

    let info = text("/proc/self/mountinfo");
    let mount = |path: &str| info.lines().any(|l| l.split(' ').nth(4) == Some(path) && l.contains(" - "));
    cx.fact("mountinfo", found(mount("/") && mount("/host/work"), "/ and the workspace"));
    cx.fact("mountinfo.other", found(mount("/host/home"), "a folder that is no mount"));

    descriptors(cx);
    limits(cx);
    memory(cx);
    tasks(cx);
}

fn mapped(maps: &str, address: u64, rights: &str) -> bool {
    maps.lines().any(|l| {
        let mut words = l.split_whitespace();
        let range = words.next().and_then(|r| r.split_once('-'));
        let range = range.and_then(|(a, b)| Some((u64::from_str_radix(a, 16).ok()?, u64::from_str_radix(b, 16).ok()?)));
        range.is_some_and(|(a, b)| (a..b).contains(&address)) && words.next().is_some_and(|r| r.starts_with(rights))
    })
}

/// The first word behind a field's name.
fn field(path: &str, name: &str) -> String {
    let all = text(path);
    let rest = all.lines().find_map(|l| l.strip_prefix(name)).unwrap_or("");
    rest.split_whitespace().next().unwrap_or("").to_owned()
}

fn kib(path: &str, name: &str) -> u64 {
    field(path, name).parse().unwrap_or(0)
}

/// stat of a process that was there and is no more.
fn gone() -> Outcome {
    // SAFETY: the guest is single-threaded.
    let pid = unsafe { libc::fork() };
    if pid == 0 {
        // SAFETY: leaves without running the parent's destructors.
        unsafe { libc::_exit(0) }
    }
    let ended = sys::wait(pid, Duration::from_secs(5));
    if ended != Some(End::Exit(0)) {
        return Outcome::broken(format!("the child did not end: {ended:?}"));
    }
    sys::attempt(fs::read(format!("/proc/{pid}/stat")), "stat of a process that has ended")
}

fn descriptors(cx: &mut Cx) {
    let path = "/etc/awf-probe-canary";
    let Ok(file) = fs::File::open(path) else { return cx.fact("fd", Outcome::broken(format!("open {path}"))) };
    let link = format!("/proc/self/fd/{}", file.as_raw_fd());
    let target = fs::read_link(&link);
    cx.fact(
        "fd",
        match target {
            Ok(p) if p.as_os_str() == path => Outcome::allowed(format!("{link} is {path}")),
            Ok(p) => Outcome::refused("another path", p.display().to_string()),
            Err(e) => sys::refused(&e, &link),
        },
    );
    drop(file);
    cx.fact("fd.closed", sys::attempt(fs::read_link(&link), format!("{link} after close")));
}

/// /proc/self/limits says what getrlimit(2) says, before and after a change.
fn limits(cx: &mut Cx) {
    let shown = || {
        let all = text("/proc/self/limits");
        let line = all.lines().find_map(|l| l.strip_prefix("Max open files")).unwrap_or("");
        line.split_whitespace().next().unwrap_or("").to_owned()
    };
    let Some(mut twin) = cx.twin("self") else { return };
    let before = shown();
    let end = in_child(Duration::from_secs(5), || {
        let limit = libc::rlimit { rlim_cur: 77, rlim_max: 77 };
        // SAFETY: the pointer is valid for the call.
        unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &limit) };
        twin.fact("limits.changed", Outcome::value(shown()));
        0
    });
    if end.is_err() {
        cx.fact("limits.changed", Outcome::broken("fork"));
    }
    cx.fact("limits", Outcome::value(before));
}

/// statm follows what is touched.
fn memory(cx: &mut Cx) {
    let resident = || -> i64 {
        let all = text("/proc/self/statm");
        all.split_whitespace().nth(1).and_then(|w| w.parse().ok()).unwrap_or(0)
    };
    let (first, second) = (resident(), resident());
    let block: Vec<u8> = (0..8 << 20).map(|i: u32| (i >> 12) as u8 ^ 0x5a).collect();
    std::hint::black_box(&block);
    let third = resident();
    cx.fact("statm.idle", Outcome::value((second - first).abs()));
    cx.fact("statm", Outcome::value(third - second));
}

fn tasks(cx: &mut Cx) {
    let count = || fs::read_dir("/proc/self/task").map(Iterator::count).unwrap_or(0);
    cx.fact("task.alone", Outcome::value(count()));
    let end = in_child(Duration::from_secs(5), || {
        let (go, wait) = std::sync::mpsc::channel::<()>();
        let thread = std::thread::spawn(move || wait.recv());
        let n = count();
        drop(go);
        drop(thread.join());
        i32::try_from(n).unwrap_or(100)
    });
    cx.fact(
        "task",
        match end {
            Ok(Some(End::Exit(n))) => Outcome::value(n),
            other => Outcome::broken(format!("{other:?}")),
        },
    );
    let name = |path: &str| text(path).trim().to_owned();
    cx.fact("comm.before", Outcome::value(name("/proc/self/comm") == "awf-renamed"));
    let new = sys::c_path("awf-renamed");
    // SAFETY: the pointer is a valid NUL-terminated string.
    unsafe { libc::prctl(libc::PR_SET_NAME, new.as_ptr(), 0, 0, 0) };
    cx.fact("comm", Outcome::value(name("/proc/self/comm")));
}

/// Local ports in a table of /proc/net.
fn ports(table: &str) -> Vec<u16> {
    let all = text(&format!("/proc/net/{table}"));
    let port = |l: &str| u16::from_str_radix(l.split_whitespace().nth(1)?.rsplit_once(':')?.1, 16).ok();
    all.lines().skip(1).filter_map(port).collect()
}

fn sockets(cx: &mut Cx) {
    let name = format!("awf-probe-{}", cx.text("seed"));
    let abstract_names = || {
        let all = text("/proc/net/unix");
        all.lines().skip(1).filter_map(|l| l.split_whitespace().nth(7)).map(str::to_owned).collect::<Vec<_>>()
    };
    let before = (ports("tcp"), ports("udp"), abstract_names());
    let tcp = TcpListener::bind((Ipv4Addr::LOCALHOST, 0));
    let udp = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0));
    let unix = SocketAddr::from_abstract_name(&name).and_then(|a| UnixListener::bind_addr(&a));
    let (Ok(tcp), Ok(udp), Ok(unix)) = (tcp, udp, unix) else {
        return cx.fact("", Outcome::broken("cannot open sockets on 127.0.0.1"));
    };
    let tcp_port = tcp.local_addr().map_or(0, |a| a.port());
    let udp_port = udp.local_addr().map_or(0, |a| a.port());
    let at = format!("@{name}");
    cx.fact("tcp.before", found(before.0.contains(&tcp_port), "a listener that is not there yet"));
    cx.fact("tcp", found(ports("tcp").contains(&tcp_port), format!("the listener on port {tcp_port}")));
    cx.fact("udp.before", found(before.1.contains(&udp_port), "a socket that is not there yet"));
    cx.fact("udp", found(ports("udp").contains(&udp_port), format!("the socket on port {udp_port}")));
    cx.fact("unix.before", found(before.2.contains(&at), "a socket that is not there yet"));
    cx.fact("unix", found(abstract_names().contains(&at), at));
    // This sandbox has no network, and no other process of it has a socket: whatever else is listed is not its own.
    let foreign = before.0.len() + before.1.len();
    cx.fact("foreign", Outcome::value(foreign));
    cx.fact("foreign.unix", Outcome::value(before.2.len()));
    drop((tcp, udp, unix));
}

fn map(cx: &mut Cx) {
    let routes = text("/proc/net/route");
    let default = routes.lines().skip(1).find(|l| l.split_whitespace().nth(1) == Some("00000000"));
    cx.fact("default", found(default.is_some(), default.unwrap_or("a default route").trim()));
    let links = text("/proc/net/dev");
    let link = |name: &str| links.lines().any(|l| l.trim_start().starts_with(name));
    cx.fact("lo", found(link("lo:"), "lo in /proc/net/dev"));
    cx.fact("eth0", found(link("eth0:"), "eth0 in /proc/net/dev"));
    // A datagram to the lab's own proxy makes it a neighbour; nobody need listen.
    if let Ok(peer) = cx.text("peer_address").parse::<Ipv4Addr>() {
        let sent = UdpSocket::bind("0.0.0.0:0").and_then(|s| s.send_to(b"x", (peer, 9)));
        let listed = || text("/proc/net/arp").lines().any(|l| l.starts_with(&format!("{peer} ")));
        for _ in 0..100 {
            if sent.is_err() || listed() {
                break;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        cx.fact("neighbour", found(listed(), format!("{peer} in /proc/net/arp")));
    }
}

fn environ(cx: &mut Cx) {
    let read = || fs::read("/proc/1/environ");
    cx.fact(
        "root",
        match read() {
            Ok(b) if b.windows(5).any(|w| w == b"PROXY") => Outcome::allowed("the variables of pid 1"),
            Ok(b) => Outcome::refused("other content", format!("{} bytes", b.len())),
            Err(e) => sys::refused(&e, "/proc/1/environ"),
        },
    );
    let Some(mut twin) = cx.twin("environ") else { return };
    let end = in_child(Duration::from_secs(5), || {
        if let Err(e) = sys::become_user(1002) {
            twin.fact("other", Outcome::broken(format!("cannot become user 1002: {e}")));
            return 1;
        }
        // A change of user closes a process's own files in procfs until it says that it may be looked at again.
        // SAFETY: PR_SET_DUMPABLE takes a number.
        unsafe { libc::prctl(libc::PR_SET_DUMPABLE, 1, 0, 0, 0) };
        twin.fact(
            "other",
            match read() {
                Ok(b) if b.is_empty() => Outcome::refused("empty", "/proc/1/environ as user 1002"),
                result => sys::attempt(result, "/proc/1/environ as user 1002"),
            },
        );
        twin.fact("other.own", sys::attempt(fs::read("/proc/self/environ"), "its own"));
        0
    });
    if end.is_err() {
        cx.fact("other", Outcome::broken("fork"));
    }
}

fn machine(cx: &mut Cx) {
    cx.fact("mem-total", Outcome::value(kib("/proc/meminfo", "MemTotal:") / 1024));
    let (free, total) = (kib("/proc/meminfo", "MemAvailable:"), kib("/proc/meminfo", "MemTotal:"));
    cx.fact("mem-available", found(free > 0 && free <= total, format!("{free} of {total} KiB")));
    let info = text("/proc/cpuinfo");
    cx.fact("processors", Outcome::value(info.lines().filter(|l| l.starts_with("processor")).count()));
    let online = text("/sys/devices/system/cpu/online");
    cx.fact("online", Outcome::value(online.trim()));
}

fn kallsyms(cx: &mut Cx) {
    let mut start = vec![0; 16 * 1024];
    let read = fs::File::open("/proc/kallsyms").and_then(|mut f| f.read(&mut start));
    cx.fact(
        "",
        match read {
            Err(e) => sys::refused(&e, "/proc/kallsyms"),
            Ok(0) => Outcome::refused("empty", "/proc/kallsyms"),
            Ok(n) => {
                let text = String::from_utf8_lossy(&start[..n]).into_owned();
                let addresses: Vec<&str> = text.lines().filter_map(|l| l.split(' ').next()).collect();
                if addresses.iter().any(|a| a.len() == 16 && a.bytes().any(|b| b != b'0')) {
                    Outcome::allowed("addresses of the kernel")
                } else {
                    Outcome::refused("zeros", "every address is zero")
                }
            }
        },
    );
}

/// The spec `limits` is made with net.ipv4.ip_unprivileged_port_start=90 and kernel.msgmax=4096.
fn sysctl(cx: &mut Cx) {
    let Some(mut twin) = cx.twin("sysctl") else { return };
    let end = in_child(Duration::from_secs(5), || {
        // Without the capability to bind low ports, which the engine gives to root.
        if let Err(e) = sys::become_user(1001) {
            twin.fact("port", Outcome::broken(format!("cannot become user 1001: {e}")));
            return 1;
        }
        for (name, port) in [("port.90", 90), ("port.89", 89)] {
            twin.fact(name, sys::attempt(TcpListener::bind((Ipv4Addr::LOCALHOST, port)), format!("bind port {port}")));
        }
        0
    });
    if end.is_err() {
        cx.fact("port", Outcome::broken("fork"));
    }
    for (name, size) in [("message.4096", 4096), ("message.5000", 5000)] {
        cx.fact(name, sys::attempt(message(size), format!("msgsnd of {size} bytes")));
    }
}

/// One message of this size through a queue of its own.
fn message(size: usize) -> io::Result<()> {
    // SAFETY: no pointers.
    let queue = check(unsafe { libc::msgget(libc::IPC_PRIVATE, 0o600) }.into())? as i32;
    let mut buffer = vec![1_u8; size_of::<libc::c_long>() + size];
    buffer[..size_of::<libc::c_long>()].copy_from_slice(&(1 as libc::c_long).to_ne_bytes());
    // SAFETY: the buffer holds a type and `size` bytes.
    let sent = check(unsafe { libc::msgsnd(queue, buffer.as_ptr().cast(), size, libc::IPC_NOWAIT) }.into());
    // SAFETY: the queue is this function's own.
    unsafe { libc::msgctl(queue, libc::IPC_RMID, std::ptr::null_mut()) };
    sent.map(drop)
}
