//! AWF's start from beginning to end, in its order and in one process, and what the agent's user does then.

use std::{
    fs,
    io::Write,
    net::{SocketAddr, TcpStream},
    path::Path,
    time::Duration,
};

use awf_probe_matrix::Outcome;

use crate::{
    Cx, Probe,
    environment::{behind_the_drop, copy_into},
    pace, sys,
};

pub(crate) const PROBES: &[Probe] = &[
    Probe { id: "rehearse", about: "AWF's start, step by step", specs: &[], ask: start },
    Probe { id: "rehearse.user", about: "what the agent's user finds and does", specs: &[], ask: user },
];

/// The user's number on the host, to which AWF maps the agent's.
const UID: u32 = 1234;

fn start(cx: &mut Cx) {
    cx.fact("remap", remap());
    let resolver = cx.text("nameserver").to_owned();
    if !resolver.is_empty() {
        let text = format!("nameserver {resolver}\n");
        let written = fs::write("/etc/resolv.conf", &text).and_then(|()| fs::write("/host/etc/resolv.conf", &text));
        cx.fact("resolv-conf", sys::attempt(written, format!("nameserver {resolver}")));
    }
    // Where resolv.conf is a mount of the profile it is only looked at.
    let named = fs::read_to_string("/etc/resolv.conf").unwrap_or_default();
    let names = named.lines().find_map(|l| l.strip_prefix("nameserver ")).unwrap_or_default().to_owned();
    cx.fact("resolver", Outcome::value(names));
    cx.fact("proxy", proxy(cx.text("proxy")));
    let flags = libc::MS_NOSUID | libc::MS_NODEV | libc::MS_NOEXEC;
    let made = fs::create_dir_all("/host/proc")
        .and_then(|()| sys::mount("proc", "/host/proc", "proc", flags, "hidepid=2"))
        .and_then(|()| fs::read_to_string("/host/proc/self/comm"));
    cx.fact("procfs", sys::attempt(made, "mount proc on /host/proc with hidepid=2"));
    cx.fact("cgroupfs", sys::attempt(cgroupfs(), "bind /sys/fs/cgroup and make it read-only"));
    if let Err(e) = copy_into("/host") {
        return cx.fact("", Outcome::broken(format!("cannot copy the executable: {e}")));
    }
    behind_the_drop(cx, "rehearse.user", "user");
}

/// Gives the agent's user another number, as AWF does to fit the files of its workspace.
fn remap() -> Outcome {
    let edit = |path: &str, at: &[usize]| {
        let text = fs::read_to_string(path)?;
        let mut found = false;
        let lines: Vec<String> = text
            .lines()
            .map(|line| {
                let mut fields: Vec<String> = line.split(':').map(str::to_owned).collect();
                if fields[0] == "agent" {
                    found = true;
                    for field in fields.iter_mut().enumerate().filter(|(i, _)| at.contains(i)).map(|(_, f)| f) {
                        *field = UID.to_string();
                    }
                }
                fields.join(":")
            })
            .collect();
        if !found {
            return Err(std::io::Error::other(format!("no agent in {path}")));
        }
        fs::File::create(path)?.write_all((lines.join("\n") + "\n").as_bytes())
    };
    let passwd = edit("/host/etc/passwd", &[2, 3]);
    // An image may do without groups.
    let group = if Path::new("/host/etc/group").exists() { edit("/host/etc/group", &[2]) } else { Ok(()) };
    let home = passwd.and(group).and_then(|()| std::os::unix::fs::chown("/host/home/agent", Some(UID), Some(UID)));
    sys::attempt(home, format!("the agent becomes {UID}"))
}

fn proxy(address: &str) -> Outcome {
    let Ok(to) = address.parse::<SocketAddr>() else { return Outcome::broken(format!("no address: {address}")) };
    sys::attempt(TcpStream::connect_timeout(&to, pace::scaled(Duration::from_secs(5))), format!("connect {to}"))
}

fn cgroupfs() -> std::io::Result<()> {
    let to = "/host/sys/fs/cgroup";
    fs::create_dir_all(to)?;
    sys::mount("/sys/fs/cgroup", to, "", libc::MS_BIND, "")?;
    sys::mount("", to, "", libc::MS_BIND | libc::MS_REMOUNT | libc::MS_RDONLY, "")?;
    match fs::create_dir(format!("{to}/awf-probe")) {
        Ok(()) => Err(std::io::Error::other("a folder could be made in it")),
        Err(_) => Ok(()),
    }
}

fn user(cx: &mut Cx) {
    cx.fact("uid", Outcome::value(rustix::process::getuid().as_raw()));
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    for (name, field) in [("effective", "CapEff:"), ("bounding", "CapBnd:")] {
        let set = status.lines().find_map(|l| l.strip_prefix(field)).map(|s| s.trim().to_owned());
        cx.fact(name, set.map_or_else(|| Outcome::broken(format!("no {field}")), Outcome::value));
    }
    let set = |name: &str| std::env::var(name).map_or_else(|_| Outcome::refused("unset", name), Outcome::value);
    cx.fact("https-proxy", set("HTTPS_PROXY"));
    cx.fact("http-proxy", set("http_proxy"));
    // SAFETY: the guest is single-threaded.
    unsafe { std::env::set_var("HOME", "/tmp") };
    for (name, url) in [("allowed", cx.text("allowed").to_owned()), ("denied", cx.text("denied").to_owned())] {
        let args = ["-sS", "-k", "-m", "20", "-o", "/tmp/out", "-w", "%{http_code}", &url];
        cx.fact(&format!("curl.{name}"), tool("curl", &args));
    }
    let (git, head) = (cx.text("git").to_owned(), cx.text("head").to_owned());
    if head.is_empty() {
        cx.fact("git", Outcome::Skipped { why: "tool missing: git, on the machine of the harness".to_owned() });
    } else {
        let args = ["-c", "http.sslVerify=false", "clone", "-q", &git, "/tmp/clone"];
        let outcome = match tool("git", &args) {
            Outcome::Value { .. } => match tool("git", &["-C", "/tmp/clone", "rev-parse", "HEAD"]) {
                Outcome::Value { value } if value == head => {
                    let files = fs::read_dir("/tmp/clone/src").map_or(0, Iterator::count);
                    Outcome::value(format!("{files} files"))
                }
                other => Outcome::refused("another commit", other.to_string()),
            },
            other => other,
        };
        cx.fact("git", outcome);
    }
    let package = cx.text("package").to_owned();
    if package.is_empty() {
        return cx.fact("npm", Outcome::Skipped { why: "tool missing: tar, on the machine of the harness".to_owned() });
    }
    let registry = format!("--registry=https://{}/", cx.text("registry"));
    drop(fs::create_dir_all("/tmp/project"));
    let args = [
        "install",
        "--prefix=/tmp/project",
        "--cache=/tmp/npm",
        "--strict-ssl=false",
        "--no-audit",
        "--no-fund",
        "--loglevel=error",
        &registry,
        &package,
    ];
    let outcome = match tool("npm", &args) {
        Outcome::Value { .. } => sys::content(&format!("/tmp/project/node_modules/{package}/index.js")),
        other => other,
    };
    cx.fact("npm", outcome);
}

/// What a program prints, or how it ended.
fn tool(name: &str, args: &[&str]) -> Outcome {
    let places = ["/usr/bin", "/usr/local/bin", "/bin"].map(|d| format!("{d}/{name}"));
    let places: Vec<&str> = places.iter().map(String::as_str).collect();
    let Some(program) = sys::first_existing(&places) else {
        return Outcome::Skipped { why: format!("tool missing: {name}") };
    };
    match sys::run(&program, args, Duration::from_secs(60)) {
        Ok(r) if r.status == Some(0) => Outcome::value(r.out.trim().chars().take(200).collect::<String>()),
        Ok(r) => {
            let how = r.status.map_or_else(|| "killed".to_owned(), |s| format!("exit {s}"));
            Outcome::refused(how, r.err.chars().take(300).collect::<String>())
        }
        Err(e) => sys::refused(&e, format!("execute {program}")),
    }
}
