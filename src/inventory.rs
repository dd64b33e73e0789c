//! The runtimes of a host: what is registered, what it says it is, and which bytes stand behind it.

use std::{
    collections::BTreeMap,
    fs,
    io::Read,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use awf_probe_matrix::{Fingerprint, RuntimeRow};

use crate::{
    engine::docker::{Info, Registered},
    error::Error,
    fingerprint::Hashes,
};

/// AWF's names for runtimes, and what they may be registered as, best first.
const ALIASES: &[(&str, &[&str])] =
    &[("gvisor", &["runsc"]), ("kata", &["kata", "kata-runtime", "kata-qemu", "kata-clh", "kata-fc", KATA])];
/// Kata's shim, which the engine finds by this name without being told of it.
const KATA: &str = "io.containerd.kata.v2";

/// The runtimes asked for, by the names the engine knows them by. None asked for: the default one.
pub fn resolve(info: &Info, asked: &[String], all: bool) -> Result<Vec<String>, Error> {
    if all {
        // Docker lists its built-in shim for runc beside runc itself.
        let builtin = |n: &String| n.starts_with("io.containerd.runc.") || n == "io.containerd.runtime.v1.linux";
        return Ok(info.runtimes.keys().filter(|n| !builtin(n)).cloned().collect());
    }
    if asked.is_empty() {
        return Ok(vec![info.host.default_runtime.clone()]);
    }
    let mut names: Vec<String> = Vec::new();
    for name in asked {
        let found = find(info, name)?;
        if !names.contains(&found) {
            names.push(found);
        }
    }
    Ok(names)
}

fn find(info: &Info, name: &str) -> Result<String, Error> {
    // A shim's name is understood by the engine without being registered.
    if info.runtimes.contains_key(name) || name.starts_with("io.containerd.") {
        return Ok(name.to_owned());
    }
    let alias = ALIASES.iter().find(|(a, _)| *a == name).map(|(_, n)| *n).unwrap_or_default();
    if let Some(found) = alias.iter().find(|n| info.runtimes.contains_key(**n)) {
        return Ok((*found).to_owned());
    }
    if name == "kata" && shim(KATA).is_some() {
        return Ok(KATA.to_owned());
    }
    if info.host.engine.starts_with("Podman") {
        return Err(Error::Usage {
            why: format!(
                "Podman's API starts no container under another runtime than its service's own, {:?}",
                info.host.default_runtime
            ),
            help: format!("start the service with `runtime = \"{name}\"` in containers.conf to measure {name:?}"),
        });
    }
    let registered: Vec<String> = info.runtimes.keys().cloned().collect();
    Err(Error::UnknownRuntime { name: name.to_owned(), nearest: nearest(name, &registered), registered })
}

/// The word most like `name`, if any is.
pub fn nearest(name: &str, words: &[String]) -> Option<String> {
    let scored = words.iter().map(|w| (strsim::jaro_winkler(name, w), w));
    scored.filter(|(s, _)| *s > 0.75).max_by(|a, b| a.0.total_cmp(&b.0)).map(|(_, w)| w.clone())
}

/// The executable behind a runtime the engine was given no path for: the shim its name stands for.
fn shim(name: &str) -> Option<String> {
    let rest = name.strip_prefix("io.containerd.")?.replace('.', "-");
    located(&format!("containerd-shim-{rest}")).map(|p| p.display().to_string())
}

/// What stands behind a runtime of the engine.
pub fn behind(name: &str, registered: Option<&Registered>, hashes: &mut Hashes) -> Fingerprint {
    let path = registered.map(|r| r.path.clone()).filter(|p| !p.is_empty()).or_else(|| shim(name));
    let args = registered.map(|r| r.args.clone()).unwrap_or_default();
    fingerprint(&path.unwrap_or_default(), &args, hashes, 0)
}

/// A runtime's row: version, product, fingerprint.
pub fn describe(name: &str, registered: Option<&Registered>) -> RuntimeRow {
    let mut row = RuntimeRow {
        name: name.to_owned(),
        version: "unknown".to_owned(),
        product: "unknown".to_owned(),
        fingerprint: Fingerprint::default(),
        class: None,
        unusable: None,
        notes: vec![],
    };
    row.fingerprint = behind(name, registered, &mut Hashes::default());
    let Some(registered) = registered else { return row };
    if let Some(version) = located(&registered.path).and_then(|p| version(&p)) {
        row.product = version.split_whitespace().next().unwrap_or("unknown").to_owned();
        row.version = version;
    }
    row
}

/// The row of a runtime that is no engine's: what this command says of itself, and the program behind it.
pub fn described(name: &str, version_of: &[String]) -> RuntimeRow {
    let program = version_of.first().map(String::as_str).unwrap_or_default();
    let mut row = describe(name, None);
    row.fingerprint = fingerprint(program, &[], &mut Hashes::default(), 0);
    if let Some(version) = located(program).and_then(|p| said(&p, version_of.get(1..).unwrap_or_default())) {
        row.product = version.split_whitespace().next().unwrap_or("unknown").to_owned();
        row.version = version;
    }
    row
}

/// What stands behind a registered path, as far as this host has it.
pub fn fingerprint(path: &str, args: &[String], hashes: &mut Hashes, depth: u8) -> Fingerprint {
    let located = located(path);
    let sha256 = located.as_deref().and_then(|p| hashes.of(p)).unwrap_or_default();
    let script = located.as_deref().and_then(script);
    let target = script.as_deref().filter(|_| depth < 3).and_then(wrapped);
    let mut files = BTreeMap::new();
    let words = script.iter().flat_map(|s| s.split(|c: char| c.is_whitespace() || "\"'=;".contains(c)));
    let words = words.chain(args.iter().flat_map(|a| a.split('=')));
    for word in words.filter(|w| w.starts_with('/') && Some(*w) != target.as_deref()) {
        // Programs a script calls by path count like its configuration: they decide what runs.
        if Path::new(word).is_file()
            && let Some(hash) = hashes.of(Path::new(word))
        {
            files.insert(word.to_owned(), hash);
        }
    }
    Fingerprint {
        path: path.to_owned(),
        sha256,
        args: args.to_vec(),
        files,
        wraps: target.map(|t| Box::new(fingerprint(&t, &[], hashes, depth + 1))),
    }
}

/// The text of a script; `None` for anything else.
fn script(path: &Path) -> Option<String> {
    let mut head = Vec::new();
    fs::File::open(path).ok()?.take(64 * 1024 + 1).read_to_end(&mut head).ok()?;
    (head.starts_with(b"#!") && head.len() <= 64 * 1024).then(|| String::from_utf8_lossy(&head).into_owned())
}

/// What a wrapper script hands over to: its own declaration, or the path its last `exec` names.
fn wrapped(text: &str) -> Option<String> {
    let declared = text.lines().find_map(|l| {
        l.strip_prefix("# awf-probe-wrapper:")?.split_whitespace().find_map(|w| w.strip_prefix("target="))
    });
    if let Some(target) = declared {
        return Some(target.to_owned());
    }
    let exec = text.lines().rev().find_map(|l| l.trim_start().strip_prefix("exec "))?;
    exec.split_whitespace().map(|w| w.trim_matches(['"', '\''])).find(|w| w.starts_with('/')).map(str::to_owned)
}

/// A registered path on this host; names without a slash are looked up as dockerd would.
pub(crate) fn located(path: &str) -> Option<PathBuf> {
    if path.is_empty() {
        return None;
    }
    if path.contains('/') {
        return Path::new(path).exists().then(|| PathBuf::from(path));
    }
    let dirs = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&dirs)
        .chain(["/usr/local/sbin", "/usr/sbin", "/sbin"].map(PathBuf::from))
        .map(|d| d.join(path))
        .find(|p| p.is_file())
}

/// First line of `--version`, within five seconds.
pub(crate) fn version(path: &Path) -> Option<String> {
    said(path, &["--version".to_owned()])
}

/// First line of what a program says, within five seconds.
fn said(path: &Path, args: &[String]) -> Option<String> {
    let mut child =
        Command::new(path).args(args).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().ok()?;
    let begun = std::time::Instant::now();
    while child.try_wait().ok()?.is_none() {
        if begun.elapsed() > Duration::from_secs(5) {
            // It hangs; whether it can be killed changes nothing about that.
            drop(child.kill());
            drop(child.wait());
            return None;
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    let mut text = String::new();
    child.stdout.take()?.take(4096).read_to_string(&mut text).ok()?;
    text.lines().next().map(|l| l.trim().chars().take(120).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrapper_says_what_it_wraps() {
        let declared = "#!/bin/sh\n# awf-probe-wrapper: target=/usr/bin/runsc reason=x\nexec foo\n";
        assert_eq!(wrapped(declared).as_deref(), Some("/usr/bin/runsc"));
        let plain = "#!/bin/sh\nset -e\nexec \"/opt/bin/runsc\" --debug \"$@\"\n";
        assert_eq!(wrapped(plain).as_deref(), Some("/opt/bin/runsc"));
        assert_eq!(wrapped("#!/bin/sh\necho hello\n"), None);
    }

    #[test]
    fn the_nearest_name_is_found() {
        let names = ["runc", "runsc", "crun"].map(str::to_owned);
        assert_eq!(nearest("runsk", &names).as_deref(), Some("runsc"));
        assert_eq!(nearest("youki", &names), None);
    }
}
