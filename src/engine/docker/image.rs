//! The probe image: made from the running executable, tagged by its hash, loaded through the API.

use std::{io, path::Path};

use bollard::{
    body_full,
    query_parameters::{ImportImageOptionsBuilder, ListImagesOptionsBuilder, RemoveImageOptions},
};
use futures_util::TryStreamExt;
use sha2::{Digest, Sha256};

use super::{Docker, reason, within};
use crate::error::Error;

/// Repository name of the probe's images.
pub const REPOSITORY: &str = "awf-probe";

/// The probe image on the engine.
#[derive(Clone, Debug)]
pub struct Image {
    /// `awf-probe:HASH`.
    pub tag: String,
    /// The engine's id of it.
    pub id: String,
    /// SHA-256 of the executable.
    pub executable: String,
    /// Its size.
    pub executable_bytes: u64,
}

/// The executable and its hash.
#[derive(Debug)]
pub struct Executable {
    bytes: Vec<u8>,
    /// SHA-256, hexadecimal.
    pub hash: String,
}

impl Executable {
    /// Its size in bytes.
    pub fn size(&self) -> u64 {
        self.bytes.len() as u64
    }
}

impl Executable {
    /// The running executable. Refuses one that is not static: it could not start in an image of its own.
    pub fn own() -> Result<Self, Error> {
        let bytes = std::fs::read("/proc/self/exe").map_err(|e| Error::Bug(format!("/proc/self/exe: {e}")))?;
        if cfg!(target_env = "gnu") && !cfg!(target_feature = "crt-static") {
            let why = "this build is not static; build with the repository's .cargo/config.toml".to_owned();
            return Err(Error::Bug(why));
        }
        let hash = hex(&Sha256::digest(&bytes));
        Ok(Self { bytes, hash })
    }
}

/// The running executable alone, under this name, as an archive for a container that is not started yet.
pub(crate) fn packed(name: &str) -> io::Result<Vec<u8>> {
    let bytes = std::fs::read("/proc/self/exe")?;
    let mut out = tar::Builder::new(Vec::with_capacity(bytes.len() + 4096));
    file(&mut out, name, &bytes, 0o755, 0)?;
    out.into_inner()
}

/// Lower-case hexadecimal.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

impl Docker {
    /// Makes sure the image of this executable is there, and removes older ones nobody uses.
    pub async fn ensure_image(&self, executable: &Executable) -> Result<Image, Error> {
        let mut image = Image {
            id: String::new(),
            tag: format!("{REPOSITORY}:{}", &executable.hash[..16]),
            executable: executable.hash.clone(),
            executable_bytes: executable.bytes.len() as u64,
        };
        let (archive, id) = archive(executable, &image.tag).map_err(|e| Error::Bug(format!("image archive: {e}")))?;
        // Verified by its id, which is the hash of its configuration and, through it, of every byte in it.
        let there = self.client().inspect_image(&image.tag).await;
        if there.is_ok_and(|i| i.id.as_deref() == Some(&id)) {
            image.id = id;
            return Ok(image);
        }
        let options = ImportImageOptionsBuilder::default().quiet(true).build();
        let load = self.client().import_image(options, body_full(archive.into()), None).try_collect::<Vec<_>>();
        let refused = |e| Error::engine("load the probe image", &reason(&e));
        within("loading the probe image", 120, load).await?.map_err(refused)?;
        let loaded = self.client().inspect_image(&image.tag).await.map_err(refused)?;
        if loaded.id.as_deref().is_some_and(|i| i != id) {
            // Engines with the containerd store name an image by its manifest instead of its configuration.
            let layers = loaded.root_fs.and_then(|r| r.layers).unwrap_or_default();
            if layers.len() != LAYERS {
                return Err(Error::engine("load the probe image", &"what it loaded is another image"));
            }
        }
        image.id = loaded.id.unwrap_or(id);
        self.remove_images(Some(&image.tag)).await?;
        Ok(image)
    }

    /// Removes the probe's images, all but `keep`; one that a container uses stays. Returns what was removed.
    pub async fn remove_images(&self, keep: Option<&str>) -> Result<Vec<String>, Error> {
        let options = ListImagesOptionsBuilder::default().all(false).build();
        let images = self.client().list_images(Some(options)).await;
        let images = images.map_err(|e| Error::engine("list images", &reason(&e)))?;
        let mut removed = Vec::new();
        for tag in images.into_iter().flat_map(|i| i.repo_tags) {
            let ours = tag
                .split_once(':')
                .is_some_and(|(r, t)| r == REPOSITORY && t.len() == 16 && t.bytes().all(|b| b.is_ascii_hexdigit()));
            if !ours || keep == Some(tag.as_str()) {
                continue;
            }
            // An image in use by another run is refused by the engine, and stays.
            if self.client().remove_image(&tag, None::<RemoveImageOptions>, None).await.is_ok() {
                removed.push(tag);
            }
        }
        Ok(removed)
    }
}

/// What the probes find planted in the image.
const CANARY: &str = "awf-probe canary\n";
const PASSWD: &str = "root:x:0:0:root:/:/awf-probe\nproxy:x:13:13:proxy:/:/awf-probe\nagent:x:1000:1000:agent:/home/agent:/bin/bash\nnobody:x:65534:65534:nobody:/:/awf-probe\n";
const GROUP: &str = "root:x:0:\nproxy:x:13:\nagent:x:1000:\nnogroup:x:65534:\n";
const NSSWITCH: &str = "passwd: files\ngroup: files\nhosts: files dns\n";

/// A `docker save` archive and the image id the engine must give it. The same bytes for the same executable.
fn archive(executable: &Executable, tag: &str) -> io::Result<(Vec<u8>, String)> {
    let layers = [layer(executable)?, second()?, third()?];
    let hashes = layers.each_ref().map(|layer| hex(&Sha256::digest(layer)));
    let config = serde_json::json!({
        "architecture": if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" },
        "os": "linux",
        "created": "1970-01-01T00:00:00Z",
        "config": {
            "Entrypoint": ["/awf-probe"],
            "Cmd": ["guest"],
            "Env": ["AWF_PROBE_IMAGE=of the image", "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"],
            "WorkingDir": "/home/agent",
            "Labels": {"awf-probe.image": executable.hash}
        },
        "rootfs": {"type": "layers", "diff_ids": hashes.each_ref().map(|hash| format!("sha256:{hash}"))},
        "history": hashes.each_ref().map(|_| serde_json::json!({"created": "1970-01-01T00:00:00Z", "created_by": "awf-probe"}))
    })
    .to_string();
    let config_hash = hex(&Sha256::digest(config.as_bytes()));
    let manifest = serde_json::json!([{
        "Config": format!("{config_hash}.json"),
        "RepoTags": [tag],
        "Layers": hashes.each_ref().map(|hash| format!("{hash}/layer.tar"))
    }])
    .to_string();
    let mut out = tar::Builder::new(Vec::new());
    for (hash, layer) in hashes.iter().zip(&layers) {
        directory(&mut out, hash)?;
        file(&mut out, &format!("{hash}/layer.tar"), layer, 0o644, 0)?;
    }
    file(&mut out, &format!("{config_hash}.json"), config.as_bytes(), 0o644, 0)?;
    file(&mut out, "manifest.json", manifest.as_bytes(), 0o644, 0)?;
    Ok((out.into_inner()?, format!("sha256:{config_hash}")))
}

/// The image's first layer, which has all that the guest needs.
pub(crate) fn layer(executable: &Executable) -> io::Result<Vec<u8>> {
    let mut out = tar::Builder::new(Vec::with_capacity(executable.bytes.len() + 65_536));
    file(&mut out, "awf-probe", &executable.bytes, 0o755, 0)?;
    for root in ["", "host/"] {
        for dir in ["etc", "home", "home/agent", "home/other", "tmp", "run", "var", "var/log", "var/spool"] {
            directory(&mut out, &format!("{root}{dir}"))?;
        }
        file(&mut out, &format!("{root}etc/passwd"), PASSWD.as_bytes(), 0o644, 0)?;
        file(&mut out, &format!("{root}etc/group"), GROUP.as_bytes(), 0o644, 0)?;
        file(&mut out, &format!("{root}etc/nsswitch.conf"), NSSWITCH.as_bytes(), 0o644, 0)?;
        file(&mut out, &format!("{root}etc/awf-probe-canary"), CANARY.as_bytes(), 0o644, 0)?;
        file(&mut out, &format!("{root}home/agent/visible"), b"visible\n", 0o644, 1000)?;
        file(&mut out, &format!("{root}home/agent/.netrc"), b"planted secret\n", 0o644, 1000)?;
    }
    // Outside the chroot only: that they are not seen inside is no accident of the image.
    file(&mut out, "etc/shadow", b"root:!planted:1::::::\n", 0o600, 0)?;
    file(&mut out, "home/other/secret", b"planted secret\n", 0o600, 0)?;
    for dir in ["host/proc", "host/work", "host/read-only"] {
        directory(&mut out, dir)?;
    }
    // What the layers above change, and what they leave alone.
    for dir in ["layers", "layers/folder", "layers/opaque", "layers/empty"] {
        directory(&mut out, dir)?;
    }
    for path in ["kept", "replaced", "removed", "folder/old", "opaque/old", "to-folder"] {
        file(&mut out, &format!("layers/{path}"), b"first", 0o644, 0)?;
    }
    file(&mut out, "layers/mode", b"first", 0o4751, 1000)?;
    file(&mut out, &format!("layers/{}", "long".repeat(40)), b"first", 0o644, 0)?;
    link(&mut out, tar::EntryType::Symlink, "layers/symbolic", "kept")?;
    link(&mut out, tar::EntryType::Link, "layers/hard", "layers/kept")?;
    out.into_inner()
}

const LAYERS: usize = 3;

/// A layer that replaces and removes, by whiteouts as the image specification has them.
fn second() -> io::Result<Vec<u8>> {
    let mut out = tar::Builder::new(Vec::new());
    directory(&mut out, "layers")?;
    file(&mut out, "layers/replaced", b"second", 0o644, 0)?;
    file(&mut out, "layers/.wh.removed", b"", 0o644, 0)?;
    file(&mut out, "layers/.wh.folder", b"", 0o644, 0)?;
    directory(&mut out, "layers/opaque")?;
    file(&mut out, "layers/opaque/.wh..wh..opq", b"", 0o644, 0)?;
    file(&mut out, "layers/opaque/new", b"second", 0o644, 0)?;
    directory(&mut out, "layers/to-folder")?;
    file(&mut out, "layers/to-folder/inside", b"second", 0o644, 0)?;
    out.into_inner()
}

/// A layer that makes a folder anew which the one below took away.
fn third() -> io::Result<Vec<u8>> {
    let mut out = tar::Builder::new(Vec::new());
    directory(&mut out, "layers")?;
    directory(&mut out, "layers/folder")?;
    file(&mut out, "layers/folder/again", b"third", 0o644, 0)?;
    out.into_inner()
}

fn link(out: &mut tar::Builder<Vec<u8>>, kind: tar::EntryType, path: &str, to: &str) -> io::Result<()> {
    let mut header = header(0, 0o777, 0);
    header.set_entry_type(kind);
    out.append_link(&mut header, Path::new(path), Path::new(to))
}

fn directory(out: &mut tar::Builder<Vec<u8>>, path: &str) -> io::Result<()> {
    let mut header = header(0, if path.ends_with("tmp") { 0o1777 } else { 0o755 }, 0);
    header.set_entry_type(tar::EntryType::Directory);
    out.append_data(&mut header, Path::new(path), io::empty())
}

fn file(out: &mut tar::Builder<Vec<u8>>, path: &str, bytes: &[u8], mode: u32, owner: u64) -> io::Result<()> {
    out.append_data(&mut header(bytes.len() as u64, mode, owner), Path::new(path), bytes)
}

/// A tar header without anything that changes from one time to the next.
pub(super) fn header(size: u64, mode: u32, owner: u64) -> tar::Header {
    let mut header = tar::Header::new_gnu();
    header.set_size(size);
    header.set_mode(mode);
    header.set_uid(owner);
    header.set_gid(owner);
    header.set_mtime(0);
    header
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_executable_gives_the_same_image() {
        let executable = Executable { bytes: b"x".to_vec(), hash: "0".repeat(64) };
        let (a, b) = (archive(&executable, "a:b").expect("archive"), archive(&executable, "a:b").expect("archive"));
        assert_eq!(a, b);
    }
}
