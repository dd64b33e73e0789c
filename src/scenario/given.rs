//! An image the user names: started under the runtime as it is, and with the guest in the place of its entrypoint.

use awf_probe_matrix::Outcome;
use serde_json::{Value, json};

use super::{
    Cx,
    case::{Case, done, once, text},
};
use crate::{engine::docker::image::packed, given::Given, settings::Settings, specs::Spec};

/// Where the guest is put into a container of the image, which is not started yet.
const GUEST: &str = "/.awf-probe-guest";

/// What is reported where no image is named.
const FACTS: [(&str, &str); 10] = [
    ("engine", "runtime.asked"),
    ("engine", "image"),
    ("engine", "entrypoint"),
    ("engine", "entrypoint.absent"),
    ("guest", "given.user"),
    ("guest", "given.workdir"),
    ("guest", "given.env"),
    ("guest", "other.user"),
    ("guest", "other.workdir"),
    ("guest", "other.env"),
];

/// Three containers of the image: its own entrypoint, the guest, and the guest with another user, folder and variable.
pub async fn run(cx: &Cx, runtime: &str) {
    let case = Case::new(cx, runtime, "given");
    let Some(given) = cx.common.given.clone() else {
        let why = "no image was named: --image REF".to_owned();
        for (source, name) in FACTS {
            case.saw(source, name, Outcome::Skipped { why: why.clone() });
        }
        return;
    };
    let permit = cx.jobs.acquire().await.ok();
    own_entrypoint(&case, &given).await;
    let image = Some(given.id.clone());
    let guest = Settings { image, entrypoint: Some(vec![GUEST.to_owned()]), ..Settings::default() };
    let other = Settings {
        user: Some("54321:54321".to_owned()),
        workdir: Some("/proc".to_owned()),
        environment: given.env.iter().filter_map(|e| e.split_once('=')).map(|(n, _)| format!("{n}=other")).collect(),
        ..guest.clone()
    };
    asked(&case, &given, "given", guest).await;
    asked(&case, &given, "other", other).await;
    drop(permit);
}

/// Starts the image as it is, and once with a program that is not there.
async fn own_entrypoint(case: &Case<'_>, given: &Given) {
    let docker = &case.cx.docker;
    let of = |entrypoint: Option<Vec<String>>| {
        let more = Settings { image: Some(given.id.clone()), as_it_is: true, entrypoint, ..Settings::default() };
        Spec { more, ..Spec::plain("given") }
    };
    if given.command {
        match case.make(of(None), &[]).await {
            None => case.engine("entrypoint", Outcome::refused("not created", "see the problem in the journal")),
            Some(id) => {
                let started = case.start(&id).await;
                let seen = case.prove(&id).await;
                case.engine(
                    "image",
                    match text(&seen, "/Image") {
                        same if same == given.id => Outcome::allowed(same),
                        another => Outcome::refused("another image", another),
                    },
                );
                case.engine("entrypoint", done(started, "it started"));
                case.remove(&id).await;
            }
        }
    } else {
        let why = "the image names no command".to_owned();
        case.engine("entrypoint", Outcome::Skipped { why });
    }
    // Some engines look for the program when a container is created, others when it starts.
    let absent = of(Some(vec!["/no-such-program".to_owned()]));
    match case.try_make(&absent, &[]).await {
        Err(no) => case.engine("entrypoint.absent", no.outcome()),
        Ok(id) => {
            case.engine("entrypoint.absent", done(docker.run_detached(&id).await, "it started"));
            case.remove_failed(&id, "entrypoint.absent").await;
        }
    }
}

/// Starts the guest in a container of the image, and reports what it finds of the image's configuration.
async fn asked(case: &Case<'_>, given: &Given, label: &str, more: Settings) {
    let docker = &case.cx.docker;
    let params = json!({"user": given.user, "workdir": given.workdir, "env": given.env});
    let mut args = once("given", &params);
    if let Some(shown) = args.get_mut(2) {
        label.clone_into(shown);
    }
    let Some(id) = case.make(Spec { more, ..Spec::plain("given") }, &args).await else { return };
    let put = match packed(GUEST.trim_start_matches('/')) {
        Ok(archive) => docker.put(&id, "/", archive).await.map_err(|no| no.why),
        Err(e) => Err(e.to_string()),
    };
    match put {
        Err(why) => case.problem("put", why),
        Ok(()) => {
            if let Some(mut sandbox) = case.run(&id).await {
                if !given.command && label == "given" {
                    let seen: Value = case.prove(&id).await;
                    let same = text(&seen, "/Image") == given.id;
                    let outcome =
                        if same { Outcome::allowed(&given.id) } else { Outcome::refused("another image", "") };
                    case.engine("image", outcome);
                }
                case.relay(&mut sandbox, std::time::Duration::from_secs(20)).await;
            }
        }
    }
    case.remove(&id).await;
}
