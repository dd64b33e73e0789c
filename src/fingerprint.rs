//! What a report is bound to: the bytes behind each runtime, settings of engine and firewall, and a key of this host.
//!
//! The digest in a report detects damage. A MAC beside it (`report.json.mac`) with a key that only this user of this
//! host can read tells whether somebody edited it since. Root on the host can do both: that is out of scope.

use std::{
    collections::BTreeMap,
    fs,
    io::Write,
    os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{SystemTime, UNIX_EPOCH},
};

use awf_probe_matrix::{Matrix, select::Live};
use ring::hmac;
use sha2::{Digest, Sha256};

use crate::{
    engine::docker::{Info, image::hex},
    error::Error,
    inventory,
};

/// SHA-256 of files, remembered by device, inode, size, mtime and ctime.
#[derive(Debug, Default)]
pub struct Hashes {
    known: BTreeMap<String, String>,
    changed: bool,
}

impl Hashes {
    /// What was remembered in this folder. One that others may write to is not believed.
    pub fn load(dir: &Path) -> Self {
        let text = if is_private(dir) { fs::read_to_string(dir.join(HASHES)).ok() } else { None };
        let known = text.and_then(|t| serde_json::from_str(&t).ok()).unwrap_or_default();
        Self { known, changed: false }
    }

    /// Keeps what was learned.
    pub fn save(&self, dir: &Path) -> Result<(), Error> {
        if !self.changed {
            return Ok(());
        }
        let text = serde_json::to_vec(&self.known).map_err(|e| Error::Bug(e.to_string()))?;
        replace(&dir.join(HASHES), &text)
    }

    /// The hash of a file; `None` if it cannot be read.
    pub fn of(&mut self, path: &Path) -> Option<String> {
        let meta = fs::metadata(path).ok()?;
        let (mtime, ctime) = ((meta.mtime(), meta.mtime_nsec()), (meta.ctime(), meta.ctime_nsec()));
        let key = format!("{}:{}:{}:{mtime:?}:{ctime:?}", meta.dev(), meta.ino(), meta.size());
        if let Some(hash) = self.known.get(&key) {
            return Some(hash.clone());
        }
        let hash = hex(&Sha256::digest(fs::read(path).ok()?));
        // A file changed a moment ago may change again within the clock's grain: not remembered.
        if now().saturating_sub(u64::try_from(meta.ctime()).unwrap_or(u64::MAX)) > 2 {
            self.known.insert(key, hash.clone());
            self.changed = true;
        }
        Some(hash)
    }
}

const HASHES: &str = "hashes.json";

/// The host now, with the files that these reports name.
pub fn live(info: &Info, reports: &[&Matrix], hashes: &mut Hashes) -> Live {
    let mut runtimes = BTreeMap::new();
    let named = reports.iter().flat_map(|m| m.runtimes.iter().map(|r| r.name.clone()));
    for name in info.runtimes.keys().cloned().chain(named.filter(|n| n.starts_with("io.containerd."))) {
        let mut print = inventory::behind(&name, info.runtimes.get(&name), hashes);
        let rows = reports.iter().flat_map(|m| &m.runtimes).filter(|r| r.name == name);
        for path in rows.flat_map(|r| r.fingerprint.files.keys()) {
            if !print.files.contains_key(path) {
                print.files.insert(path.clone(), hashes.of(Path::new(path)).unwrap_or_default());
            }
        }
        runtimes.insert(name, print);
    }
    Live { host: info.host.clone(), runtimes }
}

/// Settings that verdicts depend on: the engine's own, without the list of runtimes, and the firewall's backend.
pub fn settings() -> BTreeMap<String, String> {
    let mut settings = BTreeMap::new();
    let path = Path::new("/etc/docker/daemon.json");
    let json = fs::read(path).ok().and_then(|t| serde_json::from_slice::<serde_json::Value>(&t).ok());
    if let Some(mut json) = json {
        if let Some(object) = json.as_object_mut() {
            object.remove("runtimes");
        }
        json.sort_all_objects();
        settings.insert("daemon.json".to_owned(), hex(&Sha256::digest(json.to_string().as_bytes())));
    }
    for name in ["net/bridge/bridge-nf-call-iptables", "net/ipv4/ip_forward"] {
        if let Ok(value) = fs::read_to_string(Path::new("/proc/sys").join(name)) {
            settings.insert(name.replace('/', "."), value.trim().to_owned());
        }
    }
    if let Some(backend) = firewall() {
        settings.insert("iptables".to_owned(), backend);
    }
    settings
}

/// `iptables v1.8.9 (nf_tables)`.
fn firewall() -> Option<String> {
    let out = Command::new("iptables").arg("--version").stdin(Stdio::null()).stderr(Stdio::null()).output().ok()?;
    Some(String::from_utf8_lossy(&out.stdout).lines().next()?.trim().chars().take(80).collect())
}

/// The folder of cached reports: `$XDG_CACHE_HOME/awf-probe`, made if it is not there, readable for this user only.
pub fn cache_dir() -> Result<PathBuf, Error> {
    private_dir(&xdg("XDG_CACHE_HOME", ".cache")?)
}

/// The MAC of a text under this host's key, which is made if there is none.
pub fn mac(text: &[u8]) -> Result<String, Error> {
    Ok(hex(hmac::sign(&host_key()?, text).as_ref()))
}

/// Whether a MAC is the one of this text under this host's key.
pub fn mac_fits(text: &[u8], mac: &str) -> Result<bool, Error> {
    let Some(bytes) = unhex(mac.trim()) else { return Ok(false) };
    Ok(hmac::verify(&host_key()?, text, &bytes).is_ok())
}

/// Where the MAC of a report stands.
pub fn mac_path(report: &Path) -> PathBuf {
    let mut name = report.as_os_str().to_owned();
    name.push(".mac");
    PathBuf::from(name)
}

fn host_key() -> Result<hmac::Key, Error> {
    let dir = private_dir(&xdg("XDG_STATE_HOME", ".local/state")?)?;
    let path = dir.join("host.key");
    let made = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path);
    if let Ok(mut file) = made {
        let mut bytes = [0; 32];
        let filled = rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty());
        let filled = filled.map_err(|e| Error::unwritable(&path, &e.into()))?;
        if filled != bytes.len() {
            return Err(Error::Bug("the kernel gave too few random bytes".to_owned()));
        }
        file.write_all(&bytes).and_then(|()| file.sync_all()).map_err(|e| Error::unwritable(&path, &e))?;
    }
    let meta = fs::metadata(&path).map_err(|e| Error::unwritable(&path, &e))?;
    let bytes = fs::read(&path).map_err(|e| Error::unwritable(&path, &e))?;
    if meta.mode() & 0o077 != 0 || bytes.len() != 32 {
        let why = "others may read it, or it is no key: remove it, and measure again".to_owned();
        return Err(Error::Unwritable { path, why });
    }
    Ok(hmac::Key::new(hmac::HMAC_SHA256, &bytes))
}

fn xdg(variable: &str, below_home: &str) -> Result<PathBuf, Error> {
    let set = |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|p| p.is_absolute());
    let base = set(variable).or_else(|| set("HOME").map(|h| h.join(below_home)));
    base.map(|b| b.join("awf-probe")).ok_or_else(|| Error::Usage {
        why: format!("neither {variable} nor HOME is set"),
        help: format!("set {variable} to a folder of your own"),
    })
}

fn private_dir(dir: &Path) -> Result<PathBuf, Error> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(|e| Error::unwritable(dir, &e))?;
    if is_private(dir) {
        return Ok(dir.to_owned());
    }
    let why = "it is not yours alone: others may write to it".to_owned();
    Err(Error::Unwritable { path: dir.to_owned(), why })
}

fn is_private(dir: &Path) -> bool {
    let me = rustix::process::geteuid().as_raw();
    fs::symlink_metadata(dir).is_ok_and(|m| m.is_dir() && m.uid() == me && m.mode() & 0o022 == 0)
}

/// Writes a file so that a reader sees the old bytes or the new ones.
pub fn replace(path: &Path, bytes: &[u8]) -> Result<(), Error> {
    let draft = path.with_extension(format!("new-{}", crate::random_hex(4)));
    fs::write(&draft, bytes).and_then(|()| fs::rename(&draft, path)).map_err(|e| Error::unwritable(path, &e))
}

/// Seconds since 1970.
pub fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map(|d| d.as_secs()).unwrap_or(0)
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    if !text.len().is_multiple_of(2) || !text.is_ascii() {
        return None;
    }
    (0..text.len()).step_by(2).map(|i| u8::from_str_radix(&text[i..i + 2], 16).ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_changed_file_gets_another_hash() {
        let dir = tempfile::tempdir().expect("tempdir");
        let path = dir.path().join("runtime");
        let mut hashes = Hashes::default();
        fs::write(&path, "one").expect("written");
        let one = hashes.of(&path);
        fs::write(&path, "two").expect("written");
        assert_ne!(hashes.of(&path), one);
        assert_eq!(hashes.of(&dir.path().join("none")), None);
    }

    #[test]
    fn a_remembered_hash_is_not_computed_again() {
        let dir = tempfile::tempdir().expect("tempdir");
        fs::set_permissions(dir.path(), std::os::unix::fs::PermissionsExt::from_mode(0o700)).expect("chmod");
        let path = Path::new("/proc/self/exe");
        let mut hashes = Hashes::default();
        let real = hashes.of(path);
        let Some(key) = hashes.known.keys().next().cloned() else { return };
        hashes.known.insert(key, "remembered".to_owned());
        hashes.changed = true;
        hashes.save(dir.path()).expect("saved");
        assert_eq!(Hashes::load(dir.path()).of(path).as_deref(), Some("remembered"));
        fs::set_permissions(dir.path(), std::os::unix::fs::PermissionsExt::from_mode(0o777)).expect("chmod");
        assert_eq!(Hashes::load(dir.path()).of(path), real, "a folder others may write to is not believed");
    }
}
