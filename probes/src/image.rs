//! The image: the same bytes under every runtime, and the parts of its configuration that reach the process.

use std::{fs, os::unix::fs::MetadataExt};

use awf_probe_matrix::Outcome;

use crate::{Cx, Probe, sys};

pub(crate) const PROBES: &[Probe] = &[
    Probe {
        id: "image",
        about: "files, working directory, user and environment of the image's configuration",
        specs: &["plain"],
        ask: image,
    },
    Probe {
        id: "layers",
        about: "what three layers of an image come to: files replaced, taken away, made anew",
        specs: &["plain"],
        ask: layers,
    },
];

/// Content of the files the image plants for the probes to find.
pub(crate) const CANARY: &str = "awf-probe canary";

fn listing(path: &str) -> Outcome {
    match fs::read_dir(path) {
        Ok(entries) => {
            let mut names: Vec<String> =
                entries.flatten().map(|e| e.file_name().to_string_lossy().into_owned()).collect();
            names.sort();
            Outcome::value(if names.is_empty() { "nothing".to_owned() } else { names.join(" ") })
        }
        Err(e) => sys::refused(&e, path),
    }
}

fn layers(cx: &mut Cx) {
    for name in ["kept", "replaced", "removed", "symbolic", "to-folder/inside"] {
        cx.fact(name, sys::content(&format!("/layers/{name}")));
    }
    cx.fact("long", sys::content(&format!("/layers/{}", "long".repeat(40))));
    for name in ["folder", "opaque", "empty", "to-folder"] {
        cx.fact(&format!("{name}.list"), listing(&format!("/layers/{name}")));
    }
    let meta = |name: &str| fs::metadata(format!("/layers/{name}"));
    cx.fact(
        "mode",
        match meta("mode") {
            Ok(m) => Outcome::value(format!("{:o} {}:{}", m.mode() & 0o7777, m.uid(), m.gid())),
            Err(e) => sys::refused(&e, "/layers/mode"),
        },
    );
    cx.fact(
        "hard",
        match (meta("kept"), meta("hard")) {
            (Ok(a), Ok(b)) => {
                Outcome::value(if a.ino() == b.ino() && a.nlink() == 2 { "one file" } else { "two files" })
            }
            (Err(e), _) | (_, Err(e)) => sys::refused(&e, "/layers/hard"),
        },
    );
    let whiteouts = ["", "/opaque"].iter().filter_map(|d| fs::read_dir(format!("/layers{d}")).ok());
    let left = whiteouts.flatten().flatten().filter(|e| e.file_name().to_string_lossy().starts_with(".wh."));
    cx.fact("whiteouts-left", Outcome::value(left.count()));
}

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
