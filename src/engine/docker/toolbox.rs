//! Tools from an image instead of from the host: for an engine on another machine, or a host without them.
//!
//! A sandbox that needs the tools at their own paths is made from the image, with the executable put into it before it
//! starts. One that needs them below `/host` is given the image's folders as read-only volumes, which the engine fills.

use std::{
    io,
    path::Path,
    sync::atomic::{AtomicU32, Ordering},
};

use bollard::{
    body_full,
    models::{ContainerCreateBody, HealthConfig, HostConfig, HostConfigLogConfig, ImageConfig, Mount, MountType},
    query_parameters::{
        ContainerArchiveInfoOptionsBuilder, CreateContainerOptionsBuilder, DownloadFromContainerOptionsBuilder,
        UploadToContainerOptionsBuilder,
    },
};
use futures_util::TryStreamExt;

use super::{
    Docker, ROLE_LABEL, RUN_LABEL,
    image::{Executable, header, layer},
    reason, within,
};
use crate::error::Error;

/// Folders and files that hold the tools and what they need.
pub const PATHS: &[&str] =
    &["/usr", "/bin", "/sbin", "/lib", "/lib64", "/opt", "/etc/alternatives", "/etc/ld.so.cache"];

/// An image whose tools are used.
#[derive(Clone, Debug)]
pub struct ToolboxImage {
    /// As the user named it.
    pub reference: String,
    /// The engine's id of it; sandboxes are made from this, so the name may move meanwhile.
    pub id: String,
    /// Folders of the image, and the volumes that hold them.
    volumes: Vec<(&'static str, String)>,
    /// What goes below `/host` of a sandbox: links and single files, as an archive.
    links: Vec<u8>,
    /// What goes into a sandbox that is made from the image, as an archive: the executable and its surroundings.
    layer: Vec<u8>,
    /// Whether Squid is in it.
    pub squid: bool,
}

/// Bits of a file's mode as the engine reports it.
const IS_DIRECTORY: u32 = 1 << 31;
const IS_SYMLINK: u32 = 1 << 27;

impl ToolboxImage {
    /// Read-only mounts of the image's folders below `/host`.
    pub(super) fn mounts(&self) -> Vec<Mount> {
        let mount = |(path, volume): &(&str, String)| Mount {
            typ: Some(MountType::VOLUME),
            source: Some(volume.clone()),
            target: Some(format!("/host{path}")),
            read_only: Some(true),
            ..Default::default()
        };
        self.volumes.iter().map(mount).collect()
    }

    /// Turns a container of the probe image into one of this image that runs the same executable.
    pub(super) fn take_over(&self, body: &mut ContainerCreateBody) {
        body.image = Some(self.id.clone());
        body.entrypoint = Some(vec!["/awf-probe".to_owned()]);
        body.user = Some("0:0".to_owned());
        body.working_dir = Some("/home/agent".to_owned());
        body.healthcheck = Some(HealthConfig { test: Some(vec!["NONE".to_owned()]), ..Default::default() });
    }
}

impl Docker {
    /// The id of an image that is on the engine already: a run pulls nothing.
    pub async fn local_image(&self, reference: &str) -> Result<String, Error> {
        self.image_config(reference).await.map(|(id, _)| id)
    }

    /// The id of an image that is on the engine already, and its configuration.
    pub async fn image_config(&self, reference: &str) -> Result<(String, ImageConfig), Error> {
        match within("inspecting an image", 30, self.client().inspect_image(reference)).await? {
            Ok(image) => Ok((image.id.unwrap_or_else(|| reference.to_owned()), image.config.unwrap_or_default())),
            Err(bollard::errors::Error::DockerResponseServerError { status_code: 404, .. }) => {
                Err(Error::UnknownImage { reference: reference.to_owned() })
            }
            Err(e) => Err(Error::engine(format!("inspect the image {reference}"), &reason(&e))),
        }
    }

    /// Looks into the image and fills a volume of the run with each folder of tools.
    pub async fn unpack_toolbox(
        &self,
        run: &str,
        reference: &str,
        id: &str,
        executable: &Executable,
    ) -> Result<ToolboxImage, Error> {
        let looked_at = self.make_unstarted(run, id, vec![]).await?;
        let found = self.look_into(&looked_at).await;
        self.remove(&looked_at).await?;
        let (volumes, links, squid) = found?;
        if volumes.is_empty() {
            let why = format!("none of {} is a folder in it", PATHS.join(", "));
            return Err(Error::engine(format!("take tools from the image {reference}"), &why));
        }
        let volumes: Vec<(&str, String)> =
            volumes.into_iter().map(|p| (p, format!("awf-probe-{run}-tools{}", p.replace('/', "-")))).collect();
        for (_, volume) in &volumes {
            self.make_volume(run, volume).await?;
        }
        let fill = |(path, volume): &(&str, String)| Mount {
            typ: Some(MountType::VOLUME),
            source: Some(volume.clone()),
            target: Some((*path).to_owned()),
            ..Default::default()
        };
        // A volume is filled with what the image has at its place when the container is made.
        let filler = self.make_unstarted(run, id, volumes.iter().map(fill).collect()).await?;
        self.remove(&filler).await?;
        let layer = layer(executable).map_err(|e| Error::Bug(format!("archive for the toolbox: {e}")))?;
        Ok(ToolboxImage { reference: reference.to_owned(), id: id.to_owned(), volumes, links, layer, squid })
    }

    async fn make_unstarted(&self, run: &str, image: &str, mounts: Vec<Mount>) -> Result<String, Error> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!("awf-probe-{run}-toolbox-{}", NEXT.fetch_add(1, Ordering::Relaxed));
        let label = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let body = ContainerCreateBody {
            image: Some(image.to_owned()),
            // Never started; an image need not name a command.
            entrypoint: Some(vec!["/awf-probe".to_owned()]),
            labels: Some([label(RUN_LABEL, run), label(ROLE_LABEL, "toolbox")].into()),
            host_config: Some(HostConfig {
                network_mode: Some("none".to_owned()),
                log_config: Some(HostConfigLogConfig { typ: Some("none".to_owned()), config: None }),
                mounts: Some(mounts),
                ..Default::default()
            }),
            ..Default::default()
        };
        let options = CreateContainerOptionsBuilder::default().name(&name).build();
        let made = within("unpacking the toolbox", 300, self.client().create_container(Some(options), body)).await?;
        let id = made.map_err(|e| Error::engine("unpack the toolbox image", &reason(&e)))?.id;
        self.remember(&id);
        Ok(id)
    }

    /// The folders among [`PATHS`], an archive of the rest of them, and whether Squid is there.
    async fn look_into(&self, container: &str) -> Result<(Vec<&'static str>, Vec<u8>, bool), Error> {
        let mut folders = Vec::new();
        let mut links = tar::Builder::new(Vec::new());
        let broken = |e: io::Error| Error::Bug(format!("archive for the toolbox: {e}"));
        for path in PATHS {
            let Some((mode, target)) = self.stat(container, path).await? else { continue };
            let inside = format!("host{path}");
            if mode & IS_DIRECTORY != 0 {
                folders.push(*path);
            } else if mode & IS_SYMLINK != 0 {
                let mut link = header(0, 0o777, 0);
                link.set_entry_type(tar::EntryType::Symlink);
                links.append_link(&mut link, inside, target).map_err(broken)?;
            } else {
                let bytes = self.read_file(container, path).await?;
                links
                    .append_data(&mut header(bytes.len() as u64, 0o644, 0), Path::new(&inside), bytes.as_slice())
                    .map_err(broken)?;
            }
        }
        let squid = self.stat(container, "/usr/sbin/squid").await?.is_some();
        Ok((folders, links.into_inner().map_err(broken)?, squid))
    }

    /// Mode and link target of a path in a container.
    async fn stat(&self, container: &str, path: &str) -> Result<Option<(u32, String)>, Error> {
        let options = ContainerArchiveInfoOptionsBuilder::default().path(path).build();
        let call = self.client().get_container_archive_info(container, Some(options));
        match within("looking into the toolbox", 60, call).await? {
            // A link is reported with the place it leads to inside the container; the image's own text is not kept.
            Ok(stat) => Ok(Some((stat.file_mode, stat.link_target))),
            Err(bollard::errors::Error::DockerResponseServerError { status_code: 404, .. }) => Ok(None),
            Err(e) => Err(Error::engine(format!("look at {path} of the toolbox image"), &reason(&e))),
        }
    }

    async fn read_file(&self, container: &str, path: &str) -> Result<Vec<u8>, Error> {
        let options = DownloadFromContainerOptionsBuilder::default().path(path).build();
        let what = format!("read {path} of the toolbox image");
        let parts = self.client().download_from_container(container, Some(options)).try_collect::<Vec<_>>();
        let parts = within("reading from the toolbox", 60, parts).await?;
        let archive = parts.map_err(|e| Error::engine(&what, &reason(&e)))?.concat();
        let read = || -> io::Result<Vec<u8>> {
            let mut archive = tar::Archive::new(archive.as_slice());
            let mut entry = archive.entries()?.next().ok_or(io::ErrorKind::UnexpectedEof)??;
            let mut bytes = Vec::new();
            io::copy(&mut entry, &mut bytes)?;
            Ok(bytes)
        };
        read().map_err(|e| Error::engine(&what, &e))
    }

    /// Puts what a sandbox needs of a toolbox image into its container, before it starts.
    pub(super) async fn equip(&self, container: &str, toolbox: &ToolboxImage, at_root: bool) -> Result<(), Error> {
        let options = UploadToContainerOptionsBuilder::default().path("/").build();
        let archive = if at_root { &toolbox.layer } else { &toolbox.links };
        let call = self.client().upload_to_container(container, Some(options), body_full(archive.clone().into()));
        let done = within("equipping a container", 60, call).await?;
        done.map_err(|e| Error::engine("put the executable into a container of the toolbox image", &reason(&e)))
    }
}
