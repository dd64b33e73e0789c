//! What a launched guest stands on: the probe image's tree as a folder, or as an initrd. One folder per run holds all.

use std::{
    fs,
    io::{self, Read},
    os::unix::fs::{DirBuilderExt, MetadataExt},
    path::{Path, PathBuf},
};

use awf_probe_matrix::Leftovers;

use super::launched::{self, Commands, LEFT};
use crate::{
    engine::docker::image::{Executable, layer},
    error::Error,
    lab::roles,
};

/// A run's folder. Whatever it holds is removed with it.
#[derive(Debug)]
pub struct Place {
    /// Where it is.
    pub folder: PathBuf,
    layer: Vec<u8>,
}

const PREFIX: &str = "awf-probe-command-";

impl Place {
    /// Makes a run's folder, which nobody else can look into.
    pub fn make(run: &str, executable: &Executable) -> Result<Self, Error> {
        let folder = std::env::temp_dir().join(format!("{PREFIX}{run}"));
        let made = fs::DirBuilder::new().mode(0o700).create(&folder);
        made.map_err(|e| Error::unwritable(&folder, &e))?;
        let layer = layer(executable).map_err(|e| Error::Bug(format!("image layer: {e}")))?;
        Ok(Self { folder, layer })
    }

    /// A sandbox's folder, with a folder `work` that everybody may write to.
    pub fn sandbox(&self, name: &str) -> io::Result<PathBuf> {
        let folder = self.folder.join(name);
        fs::create_dir(&folder)?;
        fs::create_dir(folder.join("work"))?;
        Ok(folder)
    }

    /// The image's tree, as a folder.
    pub fn root(&self, at: &Path) -> io::Result<()> {
        let mut archive = tar::Archive::new(self.layer.as_slice());
        archive.set_preserve_permissions(true);
        archive.set_preserve_ownerships(rustix::process::geteuid().is_root());
        archive.unpack(at)?;
        for more in ["proc", "dev", "sys"] {
            fs::create_dir_all(at.join(more))?;
        }
        Ok(())
    }

    /// The image's tree, as an archive the kernel unpacks.
    pub fn initrd(&self, at: &Path) -> io::Result<()> {
        let mut out = io::BufWriter::new(fs::File::create(at)?);
        let mut archive = tar::Archive::new(self.layer.as_slice());
        let (mut number, mut folders) = (0, std::collections::BTreeSet::new());
        for entry in archive.entries()? {
            let mut entry = entry?;
            let header = entry.header();
            let (kind, mode) = match header.entry_type() {
                tar::EntryType::Directory => (libc::S_IFDIR, header.mode()?),
                tar::EntryType::Symlink => (libc::S_IFLNK, 0o777),
                tar::EntryType::Regular => (libc::S_IFREG, header.mode()?),
                // Hard links are there for the probes of image layers, which have no image here.
                _ => continue,
            };
            let owner = u32::try_from(header.uid()?).unwrap_or(0);
            let path = entry.path()?.to_string_lossy().into_owned();
            let mut bytes = Vec::new();
            if let Some(to) = entry.link_name()? {
                bytes.extend_from_slice(to.as_os_str().as_encoded_bytes());
            } else {
                entry.read_to_end(&mut bytes)?;
            }
            let path = path.trim_end_matches('/');
            // The kernel makes no folder that the archive does not name.
            for (at, _) in path.match_indices('/') {
                if folders.insert(path[..at].to_owned()) {
                    number += 1;
                    let folder = cpio::newc::Builder::new(&path[..at]).ino(number).mode(libc::S_IFDIR | 0o755).nlink(2);
                    out = folder.write(out, 0).finish()?;
                }
            }
            if kind == libc::S_IFDIR && !folders.insert(path.to_owned()) {
                continue;
            }
            number += 1;
            let builder = cpio::newc::Builder::new(path);
            let builder = builder.ino(number).mode(kind | mode).uid(owner).gid(owner).nlink(1);
            let mut file = builder.write(out, u32::try_from(bytes.len()).map_err(io::Error::other)?);
            io::Write::write_all(&mut file, &bytes)?;
            out = file.finish()?;
        }
        io::Write::flush(&mut cpio::newc::trailer(out)?)
    }

    /// Stops and removes the sandboxes whose folders are still there, and their folders.
    pub async fn undo(&self) -> Result<(), String> {
        undo(&self.folder).await
    }

    /// Removes the folder, and tells what is left of the run.
    pub fn leftovers(&self) -> Leftovers {
        let removed = fs::remove_dir_all(&self.folder);
        let mut ours = match removed {
            Err(e) if self.folder.exists() => vec![format!("{}: {e}", self.folder.display())],
            Ok(()) | Err(_) => vec![],
        };
        // A mount that stayed would be seen here, and would have kept the folder.
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
        let folder = self.folder.to_string_lossy();
        ours.extend(mounts.lines().filter(|l| l.contains(&*folder)).map(|l| format!("mount {l}")));
        Leftovers { ours, others: vec![], checked: true }
    }
}

async fn undo(run: &Path) -> Result<(), String> {
    for sandbox in fs::read_dir(run).into_iter().flatten().flatten() {
        let text = fs::read(sandbox.path().join(LEFT)).ok();
        if let Some(commands) = text.and_then(|t| serde_json::from_slice::<Commands>(&t).ok()) {
            launched::undo(&commands, launched::ENDING)
                .await
                .map_err(|why| format!("{}: {why}", sandbox.path().display()))?;
        }
    }
    Ok(())
}

/// Removes what dead runs left: a run is alive while its helper is. Returns it in words.
pub async fn sweep() -> Result<Vec<String>, Error> {
    let alive = roles::runs();
    let mut removed = Vec::new();
    for entry in fs::read_dir(std::env::temp_dir()).into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let Some(run) = name.strip_prefix(PREFIX) else { continue };
        let path = entry.path();
        // What it says is carried out, so it must be ours, and closed to others.
        let ours = fs::symlink_metadata(&path)
            .is_ok_and(|m| m.is_dir() && m.uid() == rustix::process::geteuid().as_raw() && m.mode() & 0o077 == 0);
        if !ours || alive.iter().any(|a| a == run) {
            continue;
        }
        undo(&path).await.map_err(|what| Error::Leftovers { what })?;
        fs::remove_dir_all(&path).map_err(|e| Error::Leftovers { what: format!("{}: {e}", path.display()) })?;
        removed.push(format!("folder {} of run {run}", path.display()));
    }
    Ok(removed)
}
