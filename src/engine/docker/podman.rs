//! Where Podman's API is not the Docker Engine's.
//!
//! Measured with Podman 4.3.1: the runtime a client asks for is ignored, inspect names none, a list may hold the state
//! `stopped`, and a seccomp profile is a path on the service's host.

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::UnixStream,
};

use super::{Docker, within};
use crate::{
    error::Error,
    plan::{Job, Plan},
    specs::Spec,
};

/// Why what is driven through the engine is not measured under Podman.
const API: &str = "Podman answers parts of the Docker Engine's API otherwise; what is driven through it, and the lab's networks, are not measured under it";
/// Why profiles are not.
const PROFILE: &str = "Podman's API takes a seccomp profile as a path on its own host, not as text";

/// Takes out of a plan what Podman cannot do: runtime, scenario, and why.
pub fn hold_back(plan: &mut Plan) -> Vec<(String, String, &'static str)> {
    let mut held = Vec::new();
    for (runtime, jobs) in plan.runtimes.iter().zip(&mut plan.jobs) {
        jobs.retain(|job| {
            let why = match job {
                Job::Solo("marker" | "awf-seccomp" | "all-caps-awf" | "profile") => PROFILE,
                Job::Solo(name) if !Spec::in_lab(name) => return true,
                Job::Solo(_)
                | Job::Driven(_)
                | Job::Netns(_)
                | Job::Egress { .. }
                | Job::Tamper
                | Job::Guard { .. }
                | Job::DualStack { .. } => API,
            };
            held.push((runtime.clone(), job.name(), why));
            false
        });
    }
    held
}

impl Docker {
    /// Whether an answer could not be read because of a state between running and exited, which Docker does not know and
    /// which passes within moments; counts how often it was asked.
    pub(super) fn passes(&self, error: &bollard::errors::Error, rounds: &mut u32) -> bool {
        *rounds += 1;
        self.podman && *rounds < 100 && super::reason(error).contains("`stopped`")
    }

    /// The runtime Podman started a container with, by its own API: the one it shares with Docker does not tell.
    pub(super) async fn oci_runtime(&self, id: &str) -> Result<String, Error> {
        let failed = |e: String| Error::Engine { what: "name a container's runtime".to_owned(), why: e };
        let ask = async {
            let mut stream = UnixStream::connect(self.socket()).await?;
            let request = format!("GET /v4.0.0/libpod/containers/{id}/json HTTP/1.0\r\nHost: podman\r\n\r\n");
            stream.write_all(request.as_bytes()).await?;
            let mut answer = Vec::new();
            stream.take(4 << 20).read_to_end(&mut answer).await?;
            Ok::<_, std::io::Error>(answer)
        };
        let answer = within("inspecting a container", 30, ask).await?.map_err(|e| failed(e.to_string()))?;
        runtime_of(&answer).ok_or_else(|| failed("its answer has no OCIRuntime".to_owned()))
    }
}

fn runtime_of(answer: &[u8]) -> Option<String> {
    let text = String::from_utf8_lossy(answer);
    let (_, body) = text.split_once("\r\n\r\n")?;
    let json: serde_json::Value = serde_json::from_str(body).ok()?;
    json.get("OCIRuntime")?.as_str().map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use awf_probe_matrix::{Catalogue, models};

    use super::*;
    use crate::plan::Filter;

    #[test]
    fn the_runtime_is_read_from_podmans_own_answer() {
        let answer =
            b"HTTP/1.0 200 OK\r\nContent-Type: application/json\r\n\r\n{\"Id\": \"a\", \"OCIRuntime\": \"crun\"}";
        assert_eq!(runtime_of(answer).as_deref(), Some("crun"));
        assert_eq!(runtime_of(b"HTTP/1.0 404 Not Found\r\n\r\n{\"cause\": \"no such container\"}"), None);
        assert_eq!(runtime_of(b""), None);
    }

    #[test]
    fn what_podman_cannot_do_is_told_and_the_rest_stays() {
        let (catalogue, models) = (Catalogue::builtin().expect("catalogue"), models().expect("models"));
        let filter = Filter::new(&[], &[]).expect("globs");
        let mut plan = Plan::build(&catalogue, &models, &["runc".to_owned()], "runc", &filter).expect("plan");
        let all = plan.jobs[0].len();
        let held = hold_back(&mut plan);
        assert_eq!(plan.jobs[0].len() + held.len(), all, "nothing is dropped in silence");
        let left: Vec<String> = plan.jobs[0].iter().map(Job::name).collect();
        assert!(
            left.contains(&"plain".to_owned())
                && left.contains(&"memory".to_owned())
                && left.contains(&"awf".to_owned())
        );
        assert!(held.iter().any(|(_, s, why)| s == "marker" && why.contains("seccomp")));
        assert!(held.iter().any(|(_, s, _)| s == "egress[awf-strict]"));
    }
}
