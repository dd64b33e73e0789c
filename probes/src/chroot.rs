//! AWF's chroot below `/host`: entering it, running the host's programs in it, and writing where it must not.

use std::{
    fs::{self, OpenOptions},
    io,
    time::Duration,
};

use awf_probe_matrix::Outcome;

use crate::{Cx, Probe, guest, image::CANARY, sys};

pub(crate) const PROBES: &[Probe] = &[
    Probe { id: "chroot", about: "chroot /host and what is found there", specs: &["awf", "bare"], ask: chroot },
    Probe { id: "binds", about: "writing through read-only and writable mounts", specs: &["awf"], ask: binds },
    Probe {
        id: "self-exe",
        about: "what a program of the chroot finds as its own executable",
        specs: &["awf"],
        ask: self_exe,
    },
    Probe { id: "self-exe.look", about: "/proc/self/exe of this process", specs: &[], ask: look },
];

const SHELL: &str = "/bin/sh";

fn chroot(cx: &mut Cx) {
    let args = ["-c", "echo $((20 + 3))"];
    let outside = sys::run(SHELL, &args, Duration::from_secs(5));
    cx.fact("exec-outside", sys::attempt(outside, "/bin/sh without the chroot"));
    if let Err(e) = sys::chroot("/host") {
        return cx.fact("enter", sys::refused(&e, "chroot /host"));
    }
    cx.fact(
        "enter",
        match fs::read_to_string("/etc/awf-probe-canary") {
            Ok(s) if s.trim() == CANARY => Outcome::allowed("the canary of /host/etc is at /etc"),
            Ok(_) => Outcome::refused("wrong canary", ""),
            Err(e) => sys::refused(&e, "chroot succeeded, but /etc is not /host/etc"),
        },
    );
    cx.fact(
        "exec",
        match sys::run(SHELL, &args, Duration::from_secs(5)) {
            Ok(r) if r.out.trim() == "23" => Outcome::allowed("the host's shell runs and computes"),
            Ok(r) => Outcome::refused(format!("exit {:?}", r.status), r.err),
            Err(e) => sys::refused(&e, "exec /bin/sh in the chroot"),
        },
    );
}

fn binds(cx: &mut Cx) {
    // Opened for writing, never written: the file is the toolbox's own.
    let opened = OpenOptions::new().write(true).open("/host/usr/bin/env");
    cx.fact(
        "toolbox",
        match &opened {
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                Outcome::Skipped { why: "tool missing: /usr/bin/env, which is opened for writing".to_owned() }
            }
            _ => sys::attempt(opened, "open /host/usr/bin/env for writing"),
        },
    );
    // The volume is the run's, so other runtimes write to it too: a file of this sandbox's own, or theirs would be read.
    let (file, content) = (format!("written-{}", cx.text("seed")), format!("{CANARY} {}", cx.text("seed")));
    for (name, dir) in [("ro", "/host/read-only"), ("rw", "/host/work")] {
        let path = format!("{dir}/{file}");
        cx.fact(name, sys::attempt(fs::write(&path, &content), path));
    }
    cx.fact(
        "seen",
        match fs::read_to_string(format!("/host/read-only/{file}")) {
            Ok(s) if s == content => Outcome::allowed("what was written through one mount is read through the other"),
            Ok(_) => Outcome::refused("other content", ""),
            Err(e) => sys::refused(&e, format!("/host/read-only/{file}")),
        },
    );
}

fn self_exe(cx: &mut Cx) {
    let copied = crate::environment::copy_into("/host").and_then(|()| sys::chroot("/host"));
    if let Err(e) = copied {
        return cx.fact("", sys::refused(&e, "chroot /host with a copy of the executable"));
    }
    let args = ["guest-once", "self-exe.look", "self-exe", "{}"];
    match sys::run("/tmp/awf-probe", &args, Duration::from_secs(5)) {
        Ok(r) => match guest::parse_facts(&r.out).get("self-exe") {
            Some(fact) => cx.relay(fact),
            None => cx.fact("", Outcome::refused(format!("exit {:?}", r.status), r.err)),
        },
        Err(e) => cx.fact("", sys::refused(&e, "exec /tmp/awf-probe in the chroot")),
    }
}

fn look(cx: &mut Cx) {
    cx.fact(
        "",
        match fs::read_link("/proc/self/exe") {
            Ok(p) => Outcome::value(p.display()),
            Err(e) => sys::refused(&e, "/proc/self/exe"),
        },
    );
}
