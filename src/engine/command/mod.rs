//! The `command` engine: runtimes outside Docker, started with the user's own launch command.
//!
//! The guest is the same executable and speaks the same protocol. What needs an engine's API, its networks or its
//! images is skipped; what a guest process alone can show is measured with its controls. No engine vouches for a
//! sandbox here, so each is asked first what it was given, and is left unmeasured where that is not what its spec says.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    sync::Arc,
    time::Duration,
};

use awf_probe_matrix::{
    Catalogue, Condition, Fact, Host, Outcome, RuntimeRow, Source,
    launcher::{Launcher, expand},
};
use awf_probe_probes::{
    all, pace,
    wire::{Ask, COMM_ENV},
};
use serde_json::{Map, Value};

use self::{
    given::{Given, Where},
    launched::{Commands, Launched},
    place::Place,
};
use crate::{
    error::Error,
    event::Event,
    fingerprint, inventory,
    journal::Sink,
    lab::{
        role::Role,
        roles::wire::{Answer, Ask as LabAsk},
    },
    scenario::{BatchEnd, Privilege, Talk, ask, millis, solo},
    specs::Spec,
};

pub mod given;
pub mod launched;
pub mod place;

/// The stage of a problem that is none of the runtime's: this engine cannot make the scenario. Its cells are skipped.
pub const UNSUPPORTED: &str = "unsupported";

/// What the host's facts call this engine.
pub const ENGINE: &str = "command";

/// What every launched sandbox of a run is given.
#[derive(Debug)]
pub struct Bench<'a> {
    /// The run's id.
    pub run: &'a str,
    /// The run's folder.
    pub place: &'a Place,
    /// Looks at the host from outside the sandboxes.
    pub helper: &'a Role,
    /// What whoever starts the sandboxes may do.
    pub privilege: &'a Privilege,
    /// Where events go.
    pub sink: &'a Sink,
    /// What is measured.
    pub catalogue: &'a Catalogue,
    /// Size of the executable.
    pub executable_bytes: u64,
    /// The longest a batch may take.
    pub deadline: Duration,
}

/// A helper on the host itself: the same role that a Docker run has in a container.
pub async fn helper(run: &str, place: &Place, sink: &Sink) -> Result<Role, Error> {
    let lab = |why: String| Error::Lab { why: format!("the helper does not start: {why}") };
    let executable = std::env::current_exe().map_err(|e| lab(e.to_string()))?;
    let words = [executable.to_string_lossy().as_ref(), "role", "helper", run].map(str::to_owned).to_vec();
    let folder = place.sandbox("helper").map_err(|e| Error::unwritable(&place.folder, &e))?;
    let commands = Commands { launch: words, ..Commands::default() };
    let sandbox = Launched::start("host", "helper", commands, folder).await.map_err(lab)?;
    Role::adopt("helper", sandbox, sink).await
}

/// The host, as far as it is no engine's.
pub fn host() -> Host {
    let uname = rustix::system::uname();
    let text = |c: &std::ffi::CStr| c.to_string_lossy().into_owned();
    let os = std::fs::read_to_string("/etc/os-release").unwrap_or_default();
    let os = os.lines().find_map(|l| l.strip_prefix("PRETTY_NAME=")).unwrap_or_default();
    let v2 = Path::new("/sys/fs/cgroup/cgroup.controllers").exists();
    Host {
        kernel: text(uname.release()),
        os: os.trim_matches('"').to_owned(),
        arch: text(uname.machine()),
        engine: ENGINE.to_owned(),
        cgroup: if v2 { "2" } else { "1" }.to_owned(),
        cpus: std::thread::available_parallelism().map_or(0, |n| n.get() as u64),
        settings: fingerprint::settings(),
        ..Host::default()
    }
}

/// A launcher's row: version, and the program behind it.
pub fn describe(launcher: &Launcher) -> RuntimeRow {
    let words = if launcher.version.is_empty() {
        vec![launcher.launch[0].clone(), "--version".to_owned()]
    } else {
        launcher.version.clone()
    };
    let mut row = inventory::described(&launcher.name, &words);
    row.fingerprint.args = launcher.launch.iter().chain(&launcher.exec).cloned().collect();
    row
}

impl Bench<'_> {
    /// Measures a spec under a launcher. Says whether its sandbox started.
    pub async fn solo(&self, launcher: &Launcher, name: &str) -> bool {
        let unsupported = |why: String| {
            let (runtime, scenario) = (launcher.name.clone(), name.to_owned());
            self.sink.emit(Event::Problem { runtime, scenario, stage: UNSUPPORTED.to_owned(), why });
        };
        let comm = format!("awfp{}", crate::random_hex(5));
        let nowhere = std::net::Ipv4Addr::UNSPECIFIED;
        let Some(mut spec) = Spec::solo(name, nowhere, nowhere) else { return true };
        if name == "profile" {
            let Some(text) = &self.privilege.profile else { return true };
            spec.seccomp = crate::specs::Seccomp::File(Arc::clone(text));
        }
        spec.env.push(format!("{COMM_ENV}={comm}"));
        if !launcher.options.env.is_empty() {
            spec.env.extend(pace::told());
        }
        let id = format!("{}-{name}-{}", launcher.name, crate::random_hex(3));
        let folder = self.place.folder.join(&id);
        let (work, profile) = (folder.join("work"), folder.join("seccomp.json"));
        let at = Where { work: &work.to_string_lossy(), profile: &profile.to_string_lossy() };
        let given = match given::words(launcher, &spec, at, self.privilege) {
            Ok(given) => given,
            Err(gaps) => {
                unsupported(format!("the launch command of {} has no words for {}", launcher.name, gaps.join("; ")));
                return true;
            }
        };
        match self.launch(launcher, name, &id, &comm, &given).await {
            Ok(talk) => {
                self.measure(launcher, name, &spec, &given, &comm, talk).await;
                true
            }
            Err(why) => {
                let (runtime, scenario) = (launcher.name.clone(), name.to_owned());
                self.sink.emit(Event::Problem { runtime, scenario, stage: "start".to_owned(), why });
                false
            }
        }
    }

    async fn launch(
        &self,
        launcher: &Launcher,
        scenario: &str,
        id: &str,
        comm: &str,
        given: &Given,
    ) -> Result<Talk, String> {
        let folder = self.place.sandbox(id).map_err(|e| e.to_string())?;
        let (root, initrd) = (folder.join("root"), folder.join("initrd"));
        if launcher.needs("root") {
            self.place.root(&root).map_err(|e| format!("{}: {e}", root.display()))?;
        }
        if launcher.needs("initrd") {
            self.place.initrd(&initrd).map_err(|e| format!("{}: {e}", initrd.display()))?;
        }
        if let Some(text) = &given.profile {
            std::fs::write(folder.join("seccomp.json"), text).map_err(|e| e.to_string())?;
        }
        let executable = std::env::current_exe().map_err(|e| e.to_string())?;
        let text = |p: &Path| p.to_string_lossy().into_owned();
        let values = BTreeMap::from([
            ("root", text(&root)),
            ("initrd", text(&initrd)),
            ("executable", text(&executable)),
            ("folder", text(&folder)),
            ("name", format!("awf-probe-{}-{id}", self.run)),
            ("comm", comm.to_owned()),
        ]);
        let filled = |words: &[String]| expand(words, &values, &given.words);
        let commands = Commands {
            launch: filled(&launcher.launch),
            exec: filled(&launcher.exec),
            stop: filled(&launcher.stop),
            remove: filled(&launcher.remove),
        };
        let sandbox = Launched::start(&launcher.name, id, commands, folder).await?;
        let mut talk = Talk::new(sandbox, self.sink.clone(), &launcher.name, scenario, self.deadline);
        let (begun, program) = (std::time::Instant::now(), launcher.launch[0].clone());
        let greeted = talk.greeting_behind(BANNER).await;
        // Until the guest has spoken there is a process of the launcher, and no sandbox that anybody has seen.
        if let Err(why) = greeted {
            self.remove(talk).await;
            return Err(why);
        }
        self.sink.emit(Event::SandboxStarted {
            runtime: launcher.name.clone(),
            scenario: scenario.to_owned(),
            role: "agent".to_owned(),
            container: id.to_owned(),
            address: None,
            create_ms: millis(begun.elapsed()),
            start_ms: millis(begun.elapsed()),
        });
        talk.observe("engine", "comm", Outcome::value(comm));
        talk.observe(
            "engine",
            "runtime.asked",
            Outcome::allowed(format!("started with {program}, as {} is described", launcher.name)),
        );
        Ok(talk)
    }

    /// Asks what was given, then every probe of the spec that rests on nothing else.
    async fn measure(&self, launcher: &Launcher, name: &str, spec: &Spec, given: &Given, comm: &str, mut talk: Talk) {
        let mut params = Map::new();
        params.insert("executable_bytes".into(), Value::from(self.executable_bytes));
        params.insert("run".into(), Value::from(self.run));
        let host = |file: &str| std::fs::read_to_string(format!("/proc/sys/kernel/{file}")).unwrap_or_default();
        params.insert("host_release".into(), Value::from(host("osrelease").trim()));
        params.insert("host_boot".into(), Value::from(host("random/boot_id").trim()));
        if spec.cap_add == ["ALL"] {
            params.insert("capabilities".into(), Value::from("all"));
        }
        if let Some((major, minor)) = solo::disk().filter(|_| name == "plain") {
            params.insert("disk_major".into(), Value::from(major));
            params.insert("disk_minor".into(), Value::from(minor));
        }
        let asked = talk.run(false, vec![ask("setting", "", &params, Value::Null)]).await;
        let wrong = match self.outside(&talk, name, comm).await {
            Ok(()) if asked == BatchEnd::Finished => not_given(&self.facts(&launcher.name, name), given),
            Ok(()) => Some("the guest did not say what it was given".to_owned()),
            Err(why) => Some(why),
        };
        if let Some(why) = wrong {
            talk.problem(UNSUPPORTED, format!("the sandbox is not the one that was asked for: {why}"));
            return self.remove(talk).await;
        }
        let mine = all().filter(|p| p.specs.contains(&name));
        let (left_out, asked): (Vec<_>, Vec<_>) = mine.partition(|p| given.without.contains_key(p.id));
        let asks: Vec<Ask> =
            asked.iter().map(|p: &&awf_probe_probes::Probe| ask(p.id, "", &params, Value::Null)).collect();
        talk.run(false, asks).await;
        let left_out: BTreeMap<&str, &str> = left_out.iter().map(|p| (p.id, given.without[p.id])).collect();
        self.skip(&talk, name, &left_out);
        self.remove(talk).await;
    }

    /// What the host sees of the sandbox: whose kernel, whose network, and whose processor.
    async fn outside(&self, talk: &Talk, scenario: &str, comm: &str) -> Result<(), String> {
        let told = |e: Error| e.to_string();
        let found = match self.helper.ask(LabAsk::FindComm { comm: comm.to_owned() }).await.map_err(told)? {
            Answer::Tasks { pids } => pids,
            other => return Err(format!("the helper answered {other:?}")),
        };
        // The guest itself where the host has it among its tasks, else whoever plays the machine.
        let launched = talk.ended().await.map_err(told)?.pid.and_then(|p| i32::try_from(p).ok()).unwrap_or(0);
        let pid = found.first().copied().unwrap_or(launched);
        match self.helper.ask(LabAsk::Sandbox { pid, comm: comm.to_owned() }).await.map_err(told)? {
            Answer::Sandbox { tasks, chain, own_network } => {
                talk.observe("host", "comm.found", Outcome::value(tasks));
                if scenario == "plain" {
                    self.sink.emit(Event::HostProcesses { runtime: talk.runtime().to_owned(), chain });
                }
                if tasks > 0 && !own_network {
                    return Err("it stands in the host's network namespace: nothing is tried in it".to_owned());
                }
            }
            other => return Err(format!("the helper answered {other:?}")),
        }
        if scenario == "plain" {
            self.controls(talk, pid).await;
        }
        Ok(())
    }

    /// The controls of what the host is asked, in the plain sandbox.
    async fn controls(&self, talk: &Talk, pid: i32) {
        let absent = format!("awfp{}", crate::random_hex(5));
        // Whatever the executable is called here: the helper is the same one.
        let own = std::fs::read_to_string("/proc/self/comm").unwrap_or_default();
        for (name, comm) in [("comm.absent", absent), ("comm.helper", own.trim().to_owned())] {
            talk.observe("host", name, solo::tasks(self.helper, comm).await);
        }
        if let Some(machine) = awf_probe_probes::hypervisor() {
            talk.observe("host", "hypervisor", Outcome::value(machine));
        }
        let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
        talk.observe("host", "boot-id", Outcome::value(boot.trim()));
        let me = i32::try_from(std::process::id()).unwrap_or(0);
        for (prefix, pid) in [("namespace", pid), ("helper.namespace", me)] {
            for (name, outcome) in solo::whose_namespaces(self.helper, prefix, pid).await {
                talk.observe("host", &name, outcome);
            }
        }
    }

    /// Facts that the catalogue asks of this scenario and nobody reports here: those of the probes left out, and of
    /// the engine there is not.
    fn skip(&self, talk: &Talk, scenario: &str, left_out: &BTreeMap<&str, &str>) {
        let events = self.sink.events();
        let seen: BTreeSet<(&str, &str)> = events
            .iter()
            .filter_map(|e| match e {
                Event::Observed { runtime, scenario: s, source, fact, .. }
                    if runtime == talk.runtime() && s == scenario =>
                {
                    Some((source.as_str(), fact.name.as_str()))
                }
                _ => None,
            })
            .collect();
        let conditions = self.catalogue.capabilities.iter().flat_map(|c| {
            let all: [&Vec<Condition>; 4] = [&c.controls, &c.pass, &c.partial, &c.moot];
            all.into_iter().flatten()
        });
        let wanted: BTreeSet<(Source, &str)> =
            conditions.filter(|c| c.key.scenario == scenario).map(|c| (c.key.source, c.key.fact.as_str())).collect();
        for (source, fact) in wanted {
            if seen.contains(&(source.word(), fact)) || fact == "class.known" {
                continue;
            }
            let probe = left_out
                .iter()
                .filter(|(id, _)| fact == **id || fact.starts_with(&format!("{id}.")))
                .max_by_key(|(id, _)| id.len());
            let why = match (source, probe) {
                (Source::Guest, Some((_, why))) => (*why).to_owned(),
                (Source::Guest, None) => continue,
                (Source::Engine | Source::Host | Source::Witness | Source::Proxy, _) => NO_ENGINE.to_owned(),
            };
            talk.observe(source.word(), fact, Outcome::Skipped { why });
        }
    }

    fn facts(&self, runtime: &str, scenario: &str) -> BTreeMap<String, Outcome> {
        let mut facts = BTreeMap::new();
        for event in self.sink.events() {
            if let Event::Observed { runtime: r, scenario: s, source, fact: Fact { name, outcome, .. }, .. } = event
                && (r.as_str(), s.as_str(), source.as_str()) == (runtime, scenario, "guest")
            {
                facts.insert(name, outcome);
            }
        }
        facts
    }

    async fn remove(&self, talk: Talk) {
        let begun = std::time::Instant::now();
        let (runtime, scenario) = (talk.runtime().to_owned(), talk.scenario().to_owned());
        let removed = talk.sandbox.remove(15).await;
        if let Err(e) = removed {
            let (runtime, scenario) = (runtime.clone(), scenario.clone());
            self.sink.emit(Event::Problem { runtime, scenario, stage: "remove".to_owned(), why: e.to_string() });
        }
        self.sink.emit(Event::Phase { runtime, scenario, phase: "remove".to_owned(), ms: millis(begun.elapsed()) });
    }
}

/// How many lines that are not the guest's may come before its greeting: a launcher, or a kernel, may say hello, too.
const BANNER: usize = 200;

/// Why what only an engine can be asked is skipped.
pub const NO_ENGINE: &str =
    "needs the Docker Engine API, its networks or its images; the command engine has a guest process alone";

/// How the guest's own account of what it was given differs from what its spec says, if it does.
fn not_given(facts: &BTreeMap<String, Outcome>, given: &Given) -> Option<String> {
    let value = |name: &str| match facts.get(&format!("setting.{name}")) {
        Some(Outcome::Value { value }) => Ok(value.clone()),
        Some(other) => Err(format!("{name}: {other}")),
        None => Err(format!("{name} was not told")),
    };
    let check = || -> Result<(), String> {
        let interfaces = value("interfaces")?;
        if interfaces != "none" {
            return Err(format!("it has a network ({interfaces}); nothing is tried in it"));
        }
        let last: u32 = value("last-capability")?.parse().unwrap_or(63);
        let known = Privilege::all() & (u64::MAX >> 63_u32.saturating_sub(last));
        for name in ["effective", "bounding"] {
            let has = u64::from_str_radix(&value(name)?, 16).map_err(|e| format!("{name}: {e}"))?;
            let wants = given.capabilities & known;
            // Capabilities this version has no name for can be neither asked for nor dropped by name.
            // Under no-new-privileges nothing comes back out of the bounding set, so a larger one changes no cell but
            // those about the set itself, whose control then does not come out.
            let harmless = name == "bounding" && given.no_new_privs && has & wants == wants;
            if has & known != wants && !harmless {
                let [more, less] = [has & known & !wants, wants & !has].map(|s| Privilege::names(s).join(" "));
                return Err(format!("{name} capabilities: {more} more and {less} less than asked for"));
            }
            if wants == 0 && has != 0 && !harmless {
                return Err(format!("{name} capabilities: {has:x} left where none was asked for"));
            }
        }
        for (name, wants) in [
            ("no-new-privs", u8::from(given.no_new_privs)),
            ("seccomp", if given.profile.is_some() { 2 } else { 0 }),
            ("user", 0),
        ] {
            let has = value(name)?;
            if has != wants.to_string() {
                return Err(format!("{name} is {has} instead of {wants}"));
            }
        }
        Ok(())
    };
    check().err()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts(given: &[(&str, &str)]) -> BTreeMap<String, Outcome> {
        let usual = [
            ("interfaces", "none"),
            ("last-capability", "40"),
            ("effective", "3"),
            ("bounding", "3"),
            ("no-new-privs", "1"),
            ("seccomp", "0"),
            ("user", "0"),
        ];
        let all = usual.iter().chain(given);
        all.map(|(n, v)| (format!("setting.{n}"), Outcome::value(v))).collect()
    }

    #[test]
    fn a_sandbox_that_is_another_than_asked_for_is_not_measured() {
        let given = Given { capabilities: 3, no_new_privs: true, ..Given::default() };
        assert_eq!(not_given(&facts(&[]), &given), None);
        for (name, value, said) in [
            ("interfaces", "eth0", "it has a network (eth0)"),
            ("effective", "2003", "NET_RAW more"),
            ("bounding", "1", "DAC_OVERRIDE less"),
            ("effective", "1", "DAC_OVERRIDE less"),
            ("no-new-privs", "0", "no-new-privs is 0"),
            ("seccomp", "2", "seccomp is 2"),
            ("user", "1000", "user is 1000"),
        ] {
            let why = not_given(&facts(&[(name, value)]), &given).unwrap_or_default();
            assert!(why.contains(said), "{name}: {why}");
        }
        let mut untold = facts(&[]);
        untold.remove("setting.seccomp");
        assert!(not_given(&untold, &given).is_some_and(|w| w.contains("was not told")));
        // Of one that was to have none, not even an unnamed one may be left.
        let mut none = Given::default();
        let left = facts(&[("effective", "0"), ("bounding", "10000000000"), ("no-new-privs", "0")]);
        assert!(not_given(&left, &none).is_some_and(|w| w.contains("left where none")));
        // A bounding set that is too large matters where an exec could take from it.
        let larger = |nnp| facts(&[("effective", "0"), ("bounding", "ff"), ("no-new-privs", nnp)]);
        assert!(not_given(&larger("0"), &none).is_some_and(|w| w.contains("bounding")));
        none.no_new_privs = true;
        assert_eq!(not_given(&larger("1"), &none), None);
    }
}
