//! `awf-probe clean`: what runs that were cut off have left.

use super::{
    print,
    run::{common, reference},
};
use crate::{
    cli::CleanArgs,
    engine::{
        self, Which, command,
        docker::{Docker, image::Executable, objects::Made},
    },
    error::{Error, Exit},
    journal::Sink,
    lab,
    progress::note,
};

/// Cleans up.
pub async fn run(args: &CleanArgs) -> Result<Exit, Error> {
    let which = engine::which(args.engine.as_deref())?;
    let launched = command::place::sweep().await?;
    if which == Which::Command {
        print(&told(&launched))?;
        return Ok(Exit::Ok);
    }
    let docker = Docker::connect_to(&which).await?;
    let dead = dead_runs(&docker).await?;
    let info = docker.info().await?;
    let image = docker.ensure_image(&Executable::own()?).await?;
    let run = crate::random_hex(4);
    let common = common(&run, &image, std::net::Ipv4Addr::UNSPECIFIED);
    let mut removed = launched;
    removed.extend(dead.names);
    removed.extend(lab::sweep(&docker, &common, &reference(&info), &dead.ids, &Sink::create(None)?).await?);
    let mut text = told(&removed);
    if args.image {
        for image in docker.remove_images(None).await? {
            text.push_str(&format!("  image {image}\n"));
        }
    }
    print(&text)?;
    Ok(Exit::Ok)
}

fn told(removed: &[String]) -> String {
    if removed.is_empty() {
        return "nothing was left by an earlier run\n".to_owned();
    }
    format!("removed:\n{}", removed.iter().map(|r| format!("  {r}\n")).collect::<String>())
}

/// What dead runs had left.
#[derive(Debug, Default)]
pub struct Dead {
    /// In words.
    pub names: Vec<String>,
    /// Their containers, which the engine no longer knows; a runtime may still have something of them.
    pub ids: Vec<String>,
}

/// Removes what dead runs left. A run is alive while its helper is; a live run's things are never touched.
pub async fn dead_runs(docker: &Docker) -> Result<Dead, Error> {
    let mut dead = Dead::default();
    for (run, made) in docker.made_by(None).await? {
        let alive = made.containers.iter().any(|(_, _, role, running)| role == "helper" && *running);
        if alive {
            note(&format!("run {run} is alive; its things are left alone"));
            continue;
        }
        let left = docker.remove_made(&made).await;
        if !left.is_empty() {
            return Err(Error::Leftovers { what: left.join("; ") });
        }
        dead.names.extend(names(&run, &made));
        dead.ids.extend(made.containers.into_iter().map(|(id, ..)| id));
    }
    Ok(dead)
}

fn names(run: &str, made: &Made) -> Vec<String> {
    let containers = made.containers.iter().map(|(_, name, ..)| format!("container {}", name.trim_start_matches('/')));
    let networks = made.networks.iter().map(|(_, name)| format!("network {name}"));
    let volumes = made.volumes.iter().map(|name| format!("volume {name}"));
    containers.chain(networks).chain(volumes).map(|what| format!("{what} of run {run}")).collect()
}
