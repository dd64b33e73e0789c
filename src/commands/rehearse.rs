//! `awf-probe rehearse`: the settings that a selection emits, brought up and put to work.

use std::{collections::BTreeSet, fs, path::Path, sync::Arc};

use awf_probe_matrix::{Outcome, RequirementResult, Source, Standing, assess_under};
use awf_probe_reports::selection::{self, ProfileV1, SelectionV1};
use serde::Serialize;

use super::{
    Data,
    explain::clean,
    print, run as measure,
    select::{Chooser, source},
};
use crate::{
    cli::{Asked, RehearseArgs, RunArgs, SelectFormat},
    engine::docker::Docker,
    error::{Error, Exit},
    event::Event,
    inventory,
    plan::{Filter, Job, Plan},
    progress::note,
    record::Record,
    rehearsal::{FILES, Rehearsal, TOKEN, Through},
};

/// What came of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
enum Held {
    Yes,
    No,
    Untold,
    /// A tool is missing.
    Skipped,
}

/// One step in one way of bringing the agent up.
#[derive(Clone, Debug, Serialize)]
struct Step {
    through: &'static str,
    step: &'static str,
    held: Held,
    saw: String,
}

/// Selects or reads a selection, brings it up, and tells what held.
pub async fn run(args: RehearseArgs) -> Result<Exit, Error> {
    if !matches!(args.format.as_str(), "text" | "json") {
        return Err(Error::Usage {
            why: format!("there is no format {:?}", args.format),
            help: "the formats of rehearse are text and json".to_owned(),
        });
    }
    let data = Data::load()?;
    let chosen = choose(&args, &data)?;
    let (Some(runtime), Some(profile)) = (chosen.docker_runtime.clone(), chosen.profile.clone()) else {
        return Err(Error::Usage {
            why: chosen.refusal.unwrap_or_else(|| "the selection has no profile".to_owned()),
            help: "only what was selected can be rehearsed; `awf-probe select --explain` says what is in the way"
                .to_owned(),
        });
    };
    let docker = Docker::connect().await?;
    let info = docker.info().await?;
    // Fails with the names there are where it is not registered.
    inventory::resolve(&info, std::slice::from_ref(&runtime), false)?;
    let through = ways(&args.through).await;
    let rehearsal = Arc::new(Rehearsal::new(&runtime, profile.clone(), &data.models, through.clone())?);
    let plan = plan(&data, &runtime, &info.host.default_runtime, &rehearsal)?;
    let run_args = RunArgs {
        out: args.out.clone(),
        rehearsal: Some(Arc::clone(&rehearsal)),
        ..RunArgs::asking(vec![runtime.clone()], vec![])
    };
    let (matrix, events) = measure::rounds(&data, &run_args, async |sink| {
        measure::measure(&docker, &info, &plan, &data, &run_args, None, sink).await
    })
    .await?;
    measure::nothing_left(&matrix)?;
    let backend = rehearsal.backend.as_deref();
    let requirements = assess_under(&data.catalogue, &runtime, &rehearsal.model.id, backend, &matrix.cells);
    let steps: Vec<Step> = through.iter().flat_map(|t| steps(&events, &runtime, *t, &profile)).collect();
    let document = serde_json::json!({
        "schema": "awf-probe/rehearsal-v1",
        "runtime": runtime,
        "enforcement": profile.enforcement,
        "profile": profile,
        "host": matrix.host,
        "steps": steps,
        "requirements": requirements,
    });
    let json = serde_json::to_string_pretty(&document).map_err(|e| Error::Bug(e.to_string()))? + "\n";
    if let Some(dir) = &args.out {
        let file = dir.join("rehearsal.json");
        fs::write(&file, &json).map_err(|e| Error::unwritable(&file, &e))?;
        note(&format!("report, journal and rehearsal.json are in {}", dir.display()));
    }
    print(&if args.format == "json" { json } else { text(&runtime, &profile, &steps, &requirements) })?;
    Ok(exit(&steps, &requirements))
}

/// The selection that is rehearsed.
fn choose(args: &RehearseArgs, data: &Data) -> Result<SelectionV1, Error> {
    if let Some(path) = &args.selection {
        let bad = |why: String| Error::Usage {
            why: format!("{}: {why}", path.display()),
            help: "`awf-probe select --format json` prints a selection".to_owned(),
        };
        let text = fs::read_to_string(path).map_err(|e| bad(e.to_string()))?;
        return selection::read_selection(&text).map_err(|e| bad(e.to_string()));
    }
    let asked = Asked {
        policy: args.policy.clone(),
        require: vec![],
        max_age: None,
        bench: None,
        format: SelectFormat::Json,
        explain: false,
    };
    let chooser = Chooser::new(data, &asked)?;
    let mut sources = Vec::new();
    for path in &args.reports {
        sources.push(source(path, false)?);
    }
    if sources.is_empty() {
        sources.push(source(Path::new("target/awf-probe"), false)?);
    }
    chooser.ask(&sources, None, &asked, |answer, question| {
        let mut answer = answer.clone();
        if let Some(name) = &args.runtime {
            answer.ranked.retain(|c| c.row.name == *name);
            answer.rejected.retain(|r| r.runtime == *name);
        }
        let mut chosen = selection::selection(&answer, question).map_err(|e| Error::Bug(e.to_string()))?;
        if let (Some(refusal), Some(first)) = (&mut chosen.refusal, answer.rejected.first()) {
            refusal.push_str(&format!(" ({}: {}: {})", first.runtime, first.requirement, first.reason));
        }
        Ok(chosen)
    })
}

/// The ways asked for; by default those that are there.
async fn ways(asked: &[Through]) -> Vec<Through> {
    if !asked.is_empty() {
        return asked.to_vec();
    }
    let version = tokio::process::Command::new("docker").args(["compose", "version", "--short"]).output().await;
    let there = version.is_ok_and(|o| o.status.success() && !o.stdout.starts_with(b"1."));
    if !there {
        note("no Compose v2 here: the settings are rehearsed through the engine alone");
    }
    if there { vec![Through::Engine, Through::Compose] } else { vec![Through::Engine] }
}

/// The cells of the requirements, under the rehearsed model and its control.
fn plan(data: &Data, runtime: &str, default: &str, r: &Rehearsal) -> Result<Plan, Error> {
    let ids: BTreeSet<String> = data.catalogue.requirements.iter().flat_map(|q| q.cells.clone()).collect();
    let filter = Filter::new(&ids.into_iter().collect::<Vec<_>>(), &[])?;
    let mut plan = Plan::build(&data.catalogue, &data.models, &[runtime.to_owned()], default, &filter)?;
    plan.keep_models(&["open", &r.model.id]);
    let other = |model: Option<&str>, backend: Option<&str>| {
        model == Some(r.model.id.as_str()) && backend != r.backend.as_deref()
    };
    plan.cells.retain(|c| !other(c.model.as_deref(), c.backend.as_deref()));
    for jobs in &mut plan.jobs {
        jobs.retain(|j| !matches!(j, Job::Egress { model, backend, .. } if other(Some(&model.id), backend.as_deref())));
        jobs.push(Job::Driven("rehearsal"));
    }
    Ok(plan)
}

/// A fact, and what it has to be.
type Check = (&'static str, &'static str, fn(&Outcome) -> bool);

fn allowed(o: &Outcome) -> bool {
    matches!(o, Outcome::Allowed { .. })
}

/// The fact that is held against the profile.
const RESOLVER: &str = "rehearse.resolver";

/// AWF's start in its order, and the job.
const CHECKS: &[Check] = &[
    ("uid and gid are remapped", "rehearse.remap", allowed),
    ("resolv.conf names the resolver of the profile", RESOLVER, |o| is_value(o, |v| !v.is_empty())),
    ("the proxy can be reached", "rehearse.proxy", allowed),
    ("procfs is mounted in the chroot", "rehearse.procfs", allowed),
    ("the cgroup file system is bound and read-only", "rehearse.cgroupfs", allowed),
    ("chroot, capsh, command", "rehearse", allowed),
    ("user code runs as the remapped user", "user.uid", |o| is_value(o, |v| v == "1234")),
    ("user code has no capability in effect", "user.effective", |o| is_value(o, zero)),
    ("its bounding set is AWF's after the drop", "user.bounding", |o| is_value(o, |v| v == "00000000a00005fb")),
    ("HTTPS_PROXY reaches user code", "user.https-proxy", |o| is_value(o, |v| v.starts_with("http://"))),
    ("http_proxy stays unset", "user.http-proxy", |o| matches!(o, Outcome::Refused { errno, .. } if errno == "unset")),
    ("curl fetches an allowed name", "user.curl.allowed", |o| is_value(o, |v| v == "200")),
    ("curl is denied a name off the list", "user.curl.denied", |o| {
        // 56: the proxy answered CONNECT with a refusal.
        matches!(o, Outcome::Refused { errno, detail } if errno == "exit 56" && detail.contains("403"))
    }),
    ("git clones over HTTPS", "user.git", |o| is_value(o, |v| v == format!("{FILES} files"))),
    ("npm installs a package", "user.npm", |o| is_value(o, |v| v.contains(TOKEN))),
];

fn is_value(outcome: &Outcome, right: impl Fn(&str) -> bool) -> bool {
    matches!(outcome, Outcome::Value { value } if right(value))
}

fn zero(set: &str) -> bool {
    !set.is_empty() && set.bytes().all(|b| b == b'0')
}

/// What the journal says of each step.
fn steps(events: &[Event], runtime: &str, through: Through, profile: &ProfileV1) -> Vec<Step> {
    let record = Record::new(events);
    let way = through.word();
    let step = |step, held, saw: String| Step { through: way, step, held, saw };
    let Some(scenario) = record.get(runtime, through.scenario()) else {
        return vec![step("the agent starts with the emitted settings", Held::Untold, "it was not tried".to_owned())];
    };
    let problem = scenario.problems.first().map(|(stage, why, _)| format!("{stage}: {why}"));
    let mut all = Vec::new();
    let started = scenario.started && problem.is_none();
    let word = problem.clone().unwrap_or_else(|| "it runs, under the runtime asked for".to_owned());
    all.push(step("the agent starts with the emitted settings", if started { Held::Yes } else { Held::No }, word));
    let stranger = record.stranger(runtime, scenario);
    if let Some(why) = &stranger {
        all.push(step("it is the runtime that was asked for", Held::No, why.clone()));
    }
    let fact = |name: &str| scenario.facts.get(&(Source::Guest, name.to_owned())).map(|s| s.fact.outcome.clone());
    if profile.iptables_init != "absent" {
        let rules = fact("rules");
        let held = rules.as_ref().map_or(Held::Untold, |o| if allowed(o) { Held::Yes } else { Held::No });
        all.push(step("AWF's rules are installed", held, rules.map_or("not told".to_owned(), |o| o.to_string())));
    }
    let resolver = match (profile.static_dns, record.resolver) {
        (true, Some(approved)) => approved.to_string(),
        (true, None) => String::new(),
        (false, _) => "127.0.0.11".to_owned(),
    };
    let complete = matches!(scenario.drained, Some((true, ..)));
    for (name, key, right) in CHECKS {
        let (held, saw) = match fact(key) {
            None => (Held::Untold, "not told".to_owned()),
            Some(Outcome::Skipped { why }) => (Held::Skipped, why),
            Some(o @ Outcome::Broken { .. }) => (Held::Untold, o.to_string()),
            Some(o) if *key == RESOLVER && o != Outcome::value(&resolver) => (Held::No, o.to_string()),
            Some(o) if right(&o) => (Held::Yes, o.to_string()),
            Some(o) => (Held::No, o.to_string()),
        };
        // What a program says of its own success is not enough: the other side must have seen it.
        let (held, saw) = match (held, JOBS.iter().find(|(k, _)| k == key)) {
            (Held::Yes, Some((_, "denied"))) if !complete => (Held::Untold, "the ledger is not complete".to_owned()),
            (Held::Yes, Some((_, of))) => seen(&record, &through.host(of), *of == "denied", saw),
            _ => (held, saw),
        };
        all.push(step(name, held, saw));
    }
    all
}

/// Whether the ledgers know of a job: the witness served the host to the proxy, or the proxy denied it and nobody served
/// it.
fn seen(record: &Record, host: &str, denied: bool, saw: String) -> (Held, String) {
    let of = |h: &str| h.split(':').next() == Some(host);
    let served = record.http.iter().find(|(_, h, ..)| of(h));
    match served {
        Some((client, ..)) if denied => (Held::No, format!("the witness served it to {client}")),
        Some((client, _, _, line)) if record.proxies.contains(client) => {
            (Held::Yes, format!("{saw}; the witness served {host} to the proxy (line {line})"))
        }
        Some((client, ..)) => (Held::No, format!("the witness served it to {client}, not to the proxy")),
        None if !denied => (Held::No, format!("{saw}, but the witness did not serve {host}")),
        None => match record.decisions.iter().find(|d| d.target.contains(host)) {
            Some(d) if d.decision == "denied" => (Held::Yes, format!("{saw}; the proxy denied it (line {})", d.line)),
            Some(d) => (Held::No, format!("{saw}, but the proxy's decision was {}", d.decision)),
            None => (Held::No, format!("{saw}, but the proxy was not asked")),
        },
    }
}

/// Jobs that leave a trace on the other side: fact, and what the host is called.
const JOBS: &[(&str, &str)] =
    &[("user.curl.allowed", "curl"), ("user.curl.denied", "denied"), ("user.git", "git"), ("user.npm", "registry")];

fn exit(steps: &[Step], requirements: &[RequirementResult]) -> Exit {
    let broken = requirements.iter().any(|r| r.standing == Standing::Broken);
    let unknown = requirements.iter().any(|r| r.standing == Standing::Unknown);
    if broken || steps.iter().any(|s| s.held == Held::No) {
        Exit::Broken
    } else if unknown || steps.is_empty() || steps.iter().any(|s| s.held == Held::Untold) {
        Exit::Inconclusive
    } else {
        // A tool that this host lacks is told, and says nothing of the profile.
        Exit::Ok
    }
}

fn text(runtime: &str, profile: &ProfileV1, steps: &[Step], requirements: &[RequirementResult]) -> String {
    let mut out = format!("Rehearsal of {runtime} under {}\n\n", profile.enforcement);
    let mut told = vec![format!("rules: {}", profile.iptables_init)];
    for (is, what) in [
        (profile.internal_network, "internal network"),
        (profile.static_hosts, "static hosts"),
        (profile.static_dns, "static resolv.conf"),
        (profile.host_rules, "rules on the host"),
        (profile.nproc_limit.is_some(), "RLIMIT_NPROC in place of a pids limit"),
    ] {
        if is {
            told.push(what.to_owned());
        }
    }
    out.push_str(&format!("  settings  {}\n", told.join(", ")));
    let ways: Vec<&str> = ["engine", "compose"].into_iter().filter(|w| steps.iter().any(|s| s.through == *w)).collect();
    for way in ways {
        out.push_str(&format!("\nThrough {way}\n"));
        for s in steps.iter().filter(|s| s.through == way) {
            let mark = match s.held {
                Held::Yes => "✓",
                Held::No => "✗",
                Held::Untold => "?",
                Held::Skipped => "–",
            };
            out.push_str(&format!("  {mark} {:46}  {}\n", s.step, clean(&s.saw)));
        }
    }
    out.push_str(&format!("\nRequirements, measured with these settings under {}\n", profile.enforcement));
    for r in requirements {
        let (mark, why) = match r.standing {
            Standing::Holds => ("✓", format!("holds, on {} cells", r.rests_on)),
            Standing::Broken | Standing::Unknown => {
                let mark = if r.standing == Standing::Broken { "✗" } else { "?" };
                let why = r.because.as_ref().map(|b| format!("{}: {}: {}", b.cell, b.verdict, b.reason));
                (mark, clean(&why.unwrap_or_default()))
            }
        };
        out.push_str(&format!("  {mark} {}  {why}\n", r.id));
    }
    out
}

#[cfg(test)]
mod tests {
    use awf_probe_matrix::Fact;

    use super::*;

    const PROXY: &str = "10.0.0.10";

    fn profile(init: &str) -> ProfileV1 {
        ProfileV1 {
            enforcement: "awf-strict".to_owned(),
            iptables_init: init.to_owned(),
            init_runtime: None,
            iptables_backend: None,
            internal_network: true,
            static_hosts: false,
            static_dns: false,
            net_raw: false,
            host_rules: false,
            pids_limit: Some(1000),
            nproc_limit: None,
            memory_limit: 1,
            runtime_arguments: vec![],
        }
    }

    fn fact(name: &str, outcome: Outcome, source: &str) -> Event {
        Event::Observed {
            runtime: "r".to_owned(),
            scenario: Through::Engine.scenario().to_owned(),
            source: source.to_owned(),
            fact: Fact { name: name.to_owned(), outcome, sent: None, elapsed_ms: None },
            address: None,
        }
    }

    /// A rehearsal in which everything holds.
    fn good() -> Vec<Event> {
        let mut events = vec![
            Event::LabUp {
                document: "203.0.113.0/24".to_owned(),
                lab: vec![],
                proxy: "x".to_owned(),
                proxy_addresses: vec![PROXY.parse().expect("address")],
                resolver: "203.0.113.53".parse().expect("address"),
                allowed: None,
            },
            Event::SandboxStarted {
                runtime: "r".to_owned(),
                scenario: Through::Engine.scenario().to_owned(),
                role: "agent".to_owned(),
                container: "c".to_owned(),
                address: None,
                create_ms: 1,
                start_ms: 1,
            },
            fact("runtime.asked", Outcome::allowed("r"), "engine"),
            fact("comm.found", Outcome::value(1), "host"),
            Event::Observed {
                runtime: "r".to_owned(),
                scenario: "plain".to_owned(),
                source: "host".to_owned(),
                fact: Fact { name: "comm.found".to_owned(), outcome: Outcome::value(1), sent: None, elapsed_ms: None },
                address: None,
            },
        ];
        for (_, key, _) in CHECKS {
            let outcome = match *key {
                "rehearse.resolver" => Outcome::value("127.0.0.11"),
                "user.uid" => Outcome::value(1234),
                "user.effective" => Outcome::value("0000000000000000"),
                "user.bounding" => Outcome::value("00000000a00005fb"),
                "user.https-proxy" => Outcome::value("http://10.0.0.10:3128"),
                "user.http-proxy" => Outcome::refused("unset", ""),
                "user.curl.allowed" => Outcome::value(200),
                "user.curl.denied" => Outcome::refused("exit 56", "response 403"),
                "user.git" => Outcome::value("60 files"),
                "user.npm" => Outcome::value(TOKEN),
                _ => Outcome::allowed(""),
            };
            events.push(fact(key, outcome, "guest"));
        }
        for of in ["curl", "git", "registry"] {
            events.push(Event::Http {
                client: PROXY.parse().expect("address"),
                server: "203.0.113.10".parse().expect("address"),
                host: Through::Engine.host(of),
                path: "/".to_owned(),
                tls: true,
            });
        }
        events.push(Event::Decision {
            client: "10.0.0.20".parse().expect("address"),
            method: "CONNECT".to_owned(),
            target: format!("{}:443", Through::Engine.host("denied")),
            status: 403,
            decision: "denied".to_owned(),
        });
        events.push(Event::Drained {
            runtime: "r".to_owned(),
            scenario: Through::Engine.scenario().to_owned(),
            ok: true,
            why: String::new(),
        });
        events
    }

    fn of(events: &[Event]) -> Vec<Step> {
        steps(events, "r", Through::Engine, &profile("absent"))
    }

    fn not_held(events: &[Event]) -> Vec<&'static str> {
        of(events).into_iter().filter(|s| s.held != Held::Yes).map(|s| s.step).collect()
    }

    #[test]
    fn everything_holds_only_with_every_fact_and_its_trace() {
        assert_eq!(not_held(&good()), Vec::<&str>::new());
        assert_eq!(exit(&of(&good()), &[]), Exit::Ok);
        // The lab comes first.
        for lost in 1..good().len() {
            let mut events = good();
            let gone = events.remove(lost);
            // The identity of the sandbox is a line of its own, which is there where it is not proved.
            assert_eq!(not_held(&events).len(), 1, "without {gone:?}");
            assert_ne!(exit(&of(&events), &[]), Exit::Ok, "without {gone:?}");
        }
    }

    #[test]
    fn each_fact_can_break_it() {
        for (step, key, _) in CHECKS {
            let mut events = good();
            for e in &mut events {
                if let Event::Observed { fact, .. } = e
                    && fact.name == *key
                {
                    fact.outcome = Outcome::value("");
                }
            }
            assert_eq!(not_held(&events), [*step]);
            assert_eq!(exit(&of(&events), &[]), Exit::Broken);
        }
    }

    #[test]
    fn what_was_served_around_the_proxy_or_in_spite_of_it_does_not_hold() {
        let mut around = good();
        for e in &mut around {
            if let Event::Http { client, .. } = e {
                *client = "10.0.0.20".parse().expect("address");
            }
        }
        assert_eq!(not_held(&around).len(), 3);
        let mut leaked = good();
        leaked.push(Event::Http {
            client: PROXY.parse().expect("address"),
            server: "203.0.113.10".parse().expect("address"),
            host: Through::Engine.host("denied"),
            path: "/".to_owned(),
            tls: true,
        });
        assert_eq!(not_held(&leaked), ["curl is denied a name off the list"]);
    }

    #[test]
    fn the_resolver_is_the_one_of_the_profile() {
        let profile = ProfileV1 { static_dns: true, ..profile("absent") };
        let held = |events: &[Event]| {
            let all = steps(events, "r", Through::Engine, &profile);
            all.into_iter().find(|s| s.step.starts_with("resolv.conf")).map(|s| s.held)
        };
        assert_eq!(held(&good()), Some(Held::No), "the embedded one, where the approved one is asked for");
        let mut approved = good();
        for e in &mut approved {
            if let Event::Observed { fact, .. } = e
                && fact.name == RESOLVER
            {
                fact.outcome = Outcome::value("203.0.113.53");
            }
        }
        assert_eq!(held(&approved), Some(Held::Yes));
        assert_eq!(not_held(&approved), ["resolv.conf names the resolver of the profile"]);
    }

    #[test]
    fn rules_are_asked_for_where_the_profile_has_them() {
        let with = |e: Option<Event>| {
            let mut events = good();
            events.extend(e);
            let all = steps(&events, "r", Through::Engine, &profile("present"));
            all.into_iter().find(|s| s.step == "AWF's rules are installed").map(|s| s.held)
        };
        assert_eq!(with(None), Some(Held::Untold));
        assert_eq!(with(Some(fact("rules", Outcome::allowed(""), "guest"))), Some(Held::Yes));
        assert_eq!(with(Some(fact("rules", Outcome::refused("exit 1", ""), "guest"))), Some(Held::No));
    }
}
