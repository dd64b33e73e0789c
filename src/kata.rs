//! Kata Containers: what a host needs for it, how its runtimes are recognised, and what is not tried under it unasked.
//!
//! A Kata sandbox takes the interfaces of a network namespace for itself. Whoever stood there first loses them, and in
//! the host's own namespace that is the host: so nothing joins, and nothing is joined, without `--allow-disruptive`.

use std::path::PathBuf;

use crate::{
    engine::docker::Registered,
    inventory,
    plan::{Job, Plan},
    scenario::dual,
};
use awf_probe_matrix::InitUnder;

/// The shim of Kata's second generation.
const SHIM: &str = "containerd-shim-kata-v2";
/// Where Kata's own archive puts it.
const OPT: &str = "/opt/kata/bin/containerd-shim-kata-v2";

/// What was found of Kata on a host.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    /// Version of the engine.
    pub engine: String,
    /// Why /dev/kvm cannot be used, if so.
    pub kvm: Option<String>,
    /// The shim.
    pub shim: Option<PathBuf>,
    /// What it says of its version.
    pub version: Option<String>,
    /// Names under which the engine has it.
    pub registered: Vec<String>,
}

/// One of the things Kata needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gate {
    /// Whether it is there; `None` where that cannot be told.
    pub open: Option<bool>,
    /// What, and what was found.
    pub what: String,
    /// What to do.
    pub remedy: &'static str,
}

/// Looks for Kata on this host.
pub fn look<'a>(engine: &str, runtimes: impl Iterator<Item = (&'a String, &'a Registered)>) -> Seen {
    let kvm = std::fs::File::options().read(true).write(true).open("/dev/kvm").err().map(|e| e.to_string());
    let shim = inventory::located(SHIM).or_else(|| inventory::located(OPT));
    let version = shim.as_deref().and_then(inventory::version);
    let registered = runtimes.filter(|(name, r)| is(name, Some(r))).map(|(name, _)| name.clone()).collect();
    Seen { engine: engine.to_owned(), kvm, shim, version, registered }
}

/// Everything Kata needs, in the order in which it is to be had.
pub fn gates(seen: &Seen) -> Vec<Gate> {
    let engine = number(&seen.engine);
    let kata = seen.version.as_deref().and_then(number);
    let at_least = |wanted: (u32, u32), found: Option<(u32, u32)>| found.map(|f| f >= wanted);
    let mut gates = vec![
        Gate {
            open: at_least((23, 0), engine),
            what: format!("the engine knows runtimes by type from version 23 on; it is {}", seen.engine),
            remedy: "Kata's shim is registered by `runtimeType`: install Docker 23 or newer",
        },
        Gate {
            open: Some(seen.kvm.is_none()),
            what: match &seen.kvm {
                None => "/dev/kvm can be opened".to_owned(),
                Some(why) => format!("/dev/kvm: {why}"),
            },
            remedy: "Kata runs virtual machines: use a host with KVM, or switch nested virtualization on",
        },
        Gate {
            open: Some(seen.shim.is_some()),
            what: match &seen.shim {
                Some(path) => format!("its shim is {}", path.display()),
                None => format!("no {SHIM} on the PATH or in /opt/kata/bin"),
            },
            remedy: "install a Kata release (kata-static puts it into /opt/kata/bin) and link the shim into the PATH",
        },
    ];
    if engine.is_some_and(|e| e >= (26, 0)) {
        gates.push(Gate {
            open: at_least((3, 29), kata),
            what: format!(
                "Docker 26 and newer needs Kata 3.29 or newer; {}",
                seen.version.as_deref().map_or("its version is not known".to_owned(), |v| format!("it says {v}"))
            ),
            remedy: "older releases get no network under such an engine: install Kata 3.29 or newer",
        });
    }
    gates.push(Gate {
        open: Some(!seen.registered.is_empty()),
        what: if seen.registered.is_empty() {
            "no runtime of the engine is Kata".to_owned()
        } else {
            format!("registered as {}", seen.registered.join(", "))
        },
        remedy: "add {\"runtimes\": {\"kata\": {\"runtimeType\": \"io.containerd.kata.v2\"}}} to daemon.json and reload",
    });
    gates
}

/// Major and minor number: the first two numbers of a text, joined by a dot.
fn number(text: &str) -> Option<(u32, u32)> {
    text.split(|c: char| !c.is_ascii_digit() && c != '.').find_map(|word| {
        let mut parts = word.split('.');
        Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
    })
}

/// Whether a runtime is Kata: by the name the engine has for it, or by what is registered behind it.
pub fn is(name: &str, registered: Option<&Registered>) -> bool {
    let by_name = name.starts_with("kata") || name.starts_with("io.containerd.kata");
    let program = registered.map(|r| r.path.rsplit('/').next().unwrap_or_default()).unwrap_or_default();
    by_name || program.starts_with("kata") || program.starts_with("containerd-shim-kata") || typed(name)
}

/// Whether the engine's configuration gives this name Kata's type: an engine does not tell types in its answers.
fn typed(name: &str) -> bool {
    let text = std::fs::read_to_string("/etc/docker/daemon.json").unwrap_or_default();
    of_type(&text, name)
}

fn of_type(daemon_json: &str, name: &str) -> bool {
    let json: serde_json::Value = serde_json::from_str(daemon_json).unwrap_or_default();
    let kind = json.get("runtimes").and_then(|r| r.get(name)).and_then(|r| r.get("runtimeType"));
    kind.and_then(serde_json::Value::as_str).is_some_and(|t| t.contains("kata"))
}

/// Why scenarios of a Kata runtime are not tried.
pub const HELD_BACK: &str = "a container would join a network namespace together with a Kata sandbox, which takes its interfaces away: `run --allow-disruptive` tries it";

/// Takes out of a plan whatever would put a Kata sandbox and another container into one network namespace.
pub fn hold_back(plan: &mut Plan, is_kata: impl Fn(&str) -> bool) {
    for (runtime, jobs) in plan.runtimes.iter().zip(&mut plan.jobs) {
        let kata = is_kata(runtime);
        jobs.retain(|job| {
            let joins = match job {
                Job::Netns(init) => kata || is_kata(init),
                Job::Egress { model, .. } | Job::Guard { model, .. } => kata && model.init != InitUnder::None,
                // The agent joins a namespace that was made for it.
                Job::DualStack { model, .. } => kata && dual::has_way(model),
                Job::Driven(name) => kata && JOINING.contains(name),
                Job::Solo(_) | Job::Tamper => false,
            };
            if joins {
                plan.held_back.push((runtime.clone(), job.name()));
            }
            !joins
        });
    }
}

/// Driven scenarios in which containers share a network namespace.
const JOINING: &[&str] = &["compose", "joined", "rehearsal", "restart"];

#[cfg(test)]
mod tests {
    use awf_probe_matrix::{Catalogue, models};

    use super::*;
    use crate::plan::Filter;

    fn open(seen: &Seen) -> Vec<Option<bool>> {
        gates(seen).into_iter().map(|g| g.open).collect()
    }

    #[test]
    fn each_gate_is_told_by_itself() {
        let mut seen = Seen {
            engine: "25.0.5".to_owned(),
            shim: Some("/usr/bin/containerd-shim-kata-v2".into()),
            version: Some(
                "Kata Containers containerd shim (Golang): id: \"io.containerd.kata.v2\", version: 3.2.0".to_owned(),
            ),
            registered: vec!["kata".to_owned()],
            ..Seen::default()
        };
        assert_eq!(open(&seen), [Some(true); 4]);
        // From Docker 26 on the same Kata is too old, and one whose version is not known cannot be told.
        seen.engine = "26.1.5+dfsg1".to_owned();
        assert_eq!(open(&seen), [Some(true), Some(true), Some(true), Some(false), Some(true)]);
        seen.version = Some("version: 3.29.0".to_owned());
        assert_eq!(open(&seen), [Some(true); 5]);
        seen.version = None;
        assert_eq!(open(&seen)[3], None);
        let bare =
            Seen { engine: "20.10.24+dfsg1".to_owned(), kvm: Some("no such file".to_owned()), ..Seen::default() };
        assert_eq!(open(&bare), [Some(false); 4]);
        assert!(gates(&bare).iter().all(|g| !g.remedy.is_empty()));
    }

    #[test]
    fn a_version_is_its_first_two_numbers() {
        assert_eq!(number("20.10.24+dfsg1"), Some((20, 10)));
        assert_eq!(number("kata-runtime  : 3.29.0-rc1"), Some((3, 29)));
        assert_eq!(number("id: \"io.containerd.kata.v2\", version: 3.4.0"), Some((3, 4)));
        assert_eq!(number("unknown"), None);
    }

    #[test]
    fn kata_is_recognised_by_name_by_program_and_by_type() {
        let at = |path: &str| Registered { path: path.to_owned(), args: vec![] };
        for name in
            ["kata", "kata-qemu", "kata-clh", "kata-runtime", "io.containerd.kata.v2", "io.containerd.kata-qemu.v2"]
        {
            assert!(is(name, None), "{name}");
        }
        assert!(is("secure", Some(&at("/opt/kata/bin/kata-runtime"))));
        assert!(is("secure", Some(&at("/usr/local/bin/containerd-shim-kata-v2"))));
        assert!(!is("runc", Some(&at("runc"))) && !is("runsc", Some(&at("/usr/bin/runsc"))));
        let json = r#"{"runtimes": {"secure": {"runtimeType": "io.containerd.kata.v2"}, "other": {"path": "x"}}}"#;
        assert!(of_type(json, "secure") && !of_type(json, "other") && !of_type("", "secure"));
    }

    #[test]
    fn nothing_joins_a_kata_sandbox_and_it_joins_nothing() {
        let (catalogue, models) = (Catalogue::builtin().expect("catalogue"), models().expect("models"));
        let names = ["runc", "kata"].map(str::to_owned);
        let filter = Filter::new(&[], &[]).expect("globs");
        let mut plan = Plan::build(&catalogue, &models, &names, "runc", &filter).expect("plan");
        let cells = plan.cells.len();
        hold_back(&mut plan, |name| is(name, None));
        let left: Vec<Vec<String>> = plan.jobs.iter().map(|jobs| jobs.iter().map(Job::name).collect()).collect();
        assert!(left[0].contains(&"netns[runc]".to_owned()) && !left[0].contains(&"netns[kata]".to_owned()));
        assert!(left[0].contains(&"egress[netns-init/nft]".to_owned()), "no Kata is part of that");
        for gone in
            ["netns[runc]", "netns[kata]", "egress[netns-init/nft]", "egress[awf-legacy/nft]", "joined", "compose"]
        {
            assert!(!left[1].contains(&gone.to_owned()), "{gone}");
            assert!(plan.held_back.contains(&("kata".to_owned(), gone.to_owned())), "{gone} is told");
        }
        for stays in ["plain", "egress[in-agent/nft]", "egress[awf-strict]", "egress[open]"] {
            assert!(left[1].contains(&stays.to_owned()), "{stays}");
        }
        assert_eq!(plan.cells.len(), cells, "every cell still gets a verdict");
    }
}
