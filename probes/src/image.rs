//! The image: the same bytes under every runtime, and the parts of its configuration that reach the process.

use std::fs;

use awf_probe_matrix::Outcome;

use crate::{Cx, Probe, sys};

pub(crate) const PROBES: &[Probe] = &[Probe {
    id: "image",
    about: "files, working directory, user and environment of the image's configuration",
    specs: &["plain"],
    ask: image,
}];

/// Content of the files the image plants for the probes to find.
pub(crate) const CANARY: &str = "awf-probe canary";

fn image(cx: &mut Cx) {
    let size = fs::metadata("/awf-probe").map(|m| m.len());
    let wanted = cx.number("executable_bytes").unwrap_or(0);
    cx.fact(
        "executable",
        match size {
            Ok(n) if n == wanted => Outcome::allowed(format!("{n} bytes, as built")),
            Ok(n) => Outcome::refused("size", format!("{n} bytes instead of {wanted}")),
            Err(e) => sys::refused(&e, "/awf-probe"),
        },
    );
    cx.fact("absent-file", sys::attempt(fs::read("/etc/awf-probe-no-such-file"), "a file the image does not have"));
    cx.fact(
        "env",
        match std::env::var("AWF_PROBE_IMAGE") {
            Ok(v) => Outcome::value(v),
            Err(_) => Outcome::refused("unset", "AWF_PROBE_IMAGE"),
        },
    );
    cx.fact(
        "workdir",
        match std::env::current_dir() {
            Ok(d) => Outcome::value(d.display()),
            Err(e) => sys::refused(&e, "getcwd"),
        },
    );
    cx.fact("pid", Outcome::value(if std::os::unix::process::parent_id() == 1 { "child of 1" } else { "other" }));
}
