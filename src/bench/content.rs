//! What the witness serves to the tools of a bench: a registry of packages, a repository, small files.
//!
//! Everything is made from the same numbers each time, so two runs fetch the same bytes, but for the commit's date.

use std::{fs, path::Path, process::Command};

use awf_probe_probes::served::{HOSTS, PACKAGE, PACKAGES, SMALL, SMALL_BYTES, TOKEN, TOP, TREE};
use serde_json::json;

use crate::{error::Error, rehearsal::repository};

/// What is there for the tools.
#[derive(Clone, Debug, Default)]
pub(super) struct Served {
    /// The commit a clone must end at; empty where this machine has no git.
    pub(super) head: String,
    /// Packages; none where this machine has no tar.
    pub(super) packages: u64,
}

/// Content by path.
type Files = Vec<(String, Vec<u8>)>;

/// Makes it, in a folder that is gone afterwards.
pub(super) fn make() -> Result<(Served, Files), Error> {
    let dir = std::env::temp_dir().join(format!("awf-probe-bench-{}", crate::random_hex(6)));
    fs::create_dir_all(&dir).map_err(|e| Error::unwritable(&dir, &e))?;
    let (repository, packages) = (repository(&dir.join("repository"), tree()), packages(&dir));
    fs::remove_dir_all(&dir).map_err(|e| Error::unwritable(&dir, &e))?;
    let mut served = Served::default();
    let mut files: Files = (1..=SMALL).map(|n| (format!("/bench/small-{n}"), small(n))).collect();
    if let Some(repository) = repository {
        files.extend(repository.files.into_iter().map(|(path, bytes)| (format!("/repo.git/{path}"), bytes)));
        served.head = repository.head;
    }
    if let Some(packages) = packages {
        files.extend(packages);
        served.packages = PACKAGES as u64;
    }
    Ok((served, files))
}

fn small(n: usize) -> Vec<u8> {
    let mut text = prose(n as u64, SMALL_BYTES).into_bytes();
    text.truncate(SMALL_BYTES);
    text
}

/// A repository's files: of some hundred to some thousand bytes, as sources have.
fn tree() -> impl Iterator<Item = (String, String)> {
    let (folders, files) = TREE;
    (0..folders * files).map(move |n| {
        let length = 300 + (n * 7919) % 3000;
        (format!("src/{:02}/file-{:02}.txt", n / files, n % files), prose(n as u64, length))
    })
}

/// The registry: a document and an archive for each package. `None` where this machine has no tar.
fn packages(dir: &Path) -> Option<Files> {
    let mut files = Vec::new();
    for n in 0..PACKAGES {
        let name = format!("{PACKAGE}{n:03}");
        let children = [TOP + 2 * n, TOP + 2 * n + 1].into_iter().filter(|c| *c < PACKAGES);
        let wants: serde_json::Map<String, serde_json::Value> =
            children.map(|c| (format!("{PACKAGE}{c:03}"), json!("^1.0.0"))).collect();
        let manifest = json!({"name": name, "version": "1.0.0", "main": "index.js", "dependencies": wants});
        let archive = archive(&dir.join(&name), n, &manifest.to_string())?;
        let integrity = ring::digest::digest(&ring::digest::SHA512, &archive);
        let mut version = manifest;
        version["dist"] = json!({
            "tarball": format!("https://{}/{name}/-/{name}-1.0.0.tgz", HOSTS.0),
            "integrity": format!("sha512-{}", base64(integrity.as_ref())),
        });
        let document = json!({"name": name, "dist-tags": {"latest": "1.0.0"}, "versions": {"1.0.0": version}});
        files.push((format!("/{name}"), document.to_string().into_bytes()));
        files.push((format!("/{name}/-/{name}-1.0.0.tgz"), archive));
    }
    Some(files)
}

/// A package of 11 files.
fn archive(dir: &Path, n: usize, manifest: &str) -> Option<Vec<u8>> {
    let inner = dir.join("package");
    fs::create_dir_all(inner.join("lib")).ok()?;
    fs::write(inner.join("package.json"), manifest).ok()?;
    fs::write(inner.join("index.js"), TOKEN).ok()?;
    fs::write(inner.join("README.md"), prose(n as u64, 2000)).ok()?;
    for part in 0..8 {
        let text = prose((n * 8 + part) as u64, 800 + (n * 131 + part * 977) % 5000);
        fs::write(inner.join(format!("lib/{part}.js")), format!("/* {text} */\n")).ok()?;
    }
    let out = Command::new("tar").current_dir(dir).args(["-czf", "-", "package"]).output().ok()?;
    out.status.success().then_some(out.stdout)
}

/// Words without sense, of about so many bytes; it shrinks about as text does.
fn prose(seed: u64, length: usize) -> String {
    let mut text = String::with_capacity(length + 16);
    let mut state = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    while text.len() < length {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let pick = (state >> 33) as usize;
        text.push_str(WORDS[pick % WORDS.len()]);
        text.push_str(&(pick / WORDS.len() % 97).to_string());
        text.push(if pick.is_multiple_of(11) { '\n' } else { ' ' });
    }
    text
}

const WORDS: &[&str] = &[
    "agent", "proxy", "kernel", "packet", "socket", "mount", "limit", "signal", "thread", "buffer", "memory",
    "process", "device", "filter", "bridge", "tunnel",
];

fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::new();
    for chunk in bytes.chunks(3) {
        let word = chunk.iter().fold(0_u32, |w, b| w << 8 | u32::from(*b)) << (8 * (3 - chunk.len()));
        for n in 0..4 {
            let at = (word >> (18 - 6 * n) & 63) as usize;
            out.push(if n <= chunk.len() { char::from(ALPHABET[at]) } else { '=' });
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_package_but_the_named_ones_is_wanted_by_exactly_one() {
        let mut wanted = vec![0; PACKAGES];
        for n in 0..PACKAGES {
            for c in [TOP + 2 * n, TOP + 2 * n + 1] {
                if c < PACKAGES {
                    wanted[c] += 1;
                }
            }
        }
        assert!(wanted[..TOP].iter().all(|n| *n == 0) && wanted[TOP..].iter().all(|n| *n == 1));
    }

    #[test]
    fn small_files_are_as_long_as_the_guest_expects() {
        assert!((1..=SMALL).all(|n| small(n).len() == SMALL_BYTES));
        assert_eq!(tree().count(), TREE.0 * TREE.1);
    }

    #[test]
    fn text_is_the_same_each_time() {
        assert_eq!(prose(7, 500), prose(7, 500));
        assert_ne!(prose(7, 500), prose(8, 500));
    }

    #[test]
    fn base64_is_the_usual_one() {
        assert_eq!(base64(b"foob"), "Zm9vYg==");
    }
}
