//! `awf-probe clean`: what runs that were cut off have left.

use super::print;
use crate::{
    cli::CleanArgs,
    engine::docker::{Docker, image::Executable},
    error::{Error, Exit},
    journal::Sink,
    lab,
    session::{common, dead_runs, reference},
};

/// Cleans up.
pub async fn run(args: &CleanArgs) -> Result<Exit, Error> {
    let docker = Docker::connect().await?;
    let mut removed = dead_runs(&docker).await?;
    let info = docker.info().await?;
    let image = docker.ensure_image(&Executable::own()?).await?;
    let run = crate::random_hex(4);
    let common = common(&run, &image, std::net::Ipv4Addr::UNSPECIFIED);
    removed.extend(lab::sweep(&docker, &common, &reference(&info), &Sink::create(None)?).await?);
    let mut text = if removed.is_empty() {
        "nothing was left by an earlier run\n".to_owned()
    } else {
        format!("removed:\n{}", removed.iter().map(|r| format!("  {r}\n")).collect::<String>())
    };
    if args.image {
        for image in docker.remove_images(None).await? {
            text.push_str(&format!("  image {image}\n"));
        }
    }
    print(&text)?;
    Ok(Exit::Ok)
}
