//! What a sandbox asks for, in the words of a launch command; and what the command has no words for.
//!
//! A spec that cannot be put into words is not tried: its capabilities are skipped, with what was missing. Where only
//! some probes rest on what is missing, those are left out and the others measured.

use std::collections::BTreeMap;

use awf_probe_matrix::launcher::{Habit, Launcher, expand};

use crate::{
    engine::docker::{sandbox::MountAs, toolbox::PATHS},
    scenario::Privilege,
    specs::{AWF_PROFILE, Net, Seccomp, Spec, Toolbox, marker_profile},
};

/// A sandbox in words.
#[derive(Clone, Debug, Default)]
pub struct Given {
    /// The words for `{options}`.
    pub words: Vec<String>,
    /// The set of capabilities it must turn out to have.
    pub capabilities: u64,
    /// Whether no-new-privileges must turn out to be set.
    pub no_new_privs: bool,
    /// Text of the seccomp profile, and the file it must be in.
    pub profile: Option<String>,
    /// Probes that rest on something the command does not do, and what that is.
    pub without: BTreeMap<&'static str, &'static str>,
}

/// Where things of the sandbox are on the host.
#[derive(Clone, Copy, Debug)]
pub struct Where<'a> {
    /// A folder of the sandbox's own, which takes the place of the run's volume.
    pub work: &'a str,
    /// The file of the seccomp profile.
    pub profile: &'a str,
}

/// The words for a spec, or what there are none for.
pub fn words(launcher: &Launcher, spec: &Spec, at: Where<'_>, privilege: &Privilege) -> Result<Given, Vec<String>> {
    let o = &launcher.options;
    let mut given = Given::default();
    let mut gaps: Vec<String> = Vec::new();
    let mut say = |template: &[String], what: &str, values: &[(&'static str, String)]| {
        if template.is_empty() {
            if !gaps.iter().any(|g| g == what) {
                gaps.push(what.to_owned());
            }
            return;
        }
        given.words.extend(expand(template, &values.iter().cloned().collect(), &[]));
    };
    for variable in &spec.env {
        let (name, value) = variable.split_once('=').unwrap_or((variable, ""));
        // The name of the first task may stand in `launch` itself.
        if name == awf_probe_probes::wire::COMM_ENV && o.env.is_empty() {
            continue;
        }
        say(&o.env, "environment variables", &[("variable", name.to_owned()), ("value", value.to_owned())]);
    }
    given.capabilities = set(spec, privilege);
    let names = Privilege::names(given.capabilities);
    if o.capability.is_empty() || !o.capabilities.is_empty() {
        say(&o.capabilities, "a set of capabilities", &[("mask", format!("{:x}", given.capabilities))]);
    }
    if !o.capability.is_empty() {
        names.iter().for_each(|n| say(&o.capability, "", &[("capability", (*n).to_owned())]));
    }
    given.no_new_privs = spec.no_new_privs || launcher.always.contains(&Habit::NoNewPrivs);
    if spec.no_new_privs && !launcher.always.contains(&Habit::NoNewPrivs) {
        say(&o.no_new_privs, "no-new-privileges", &[]);
    }
    let profile = match &spec.seccomp {
        Seccomp::Unconfined => None,
        Seccomp::Marker => Some(marker_profile()),
        Seccomp::Awf => Some(AWF_PROFILE.to_owned()),
        Seccomp::File(text) => Some(text.to_string()),
        Seccomp::EngineDefault => {
            say(&[], "the Docker Engine's default seccomp profile", &[]);
            None
        }
    };
    if profile.is_some() {
        say(&o.seccomp, "a seccomp profile", &[("profile", at.profile.to_owned())]);
    }
    for (mount, what) in mounts(spec, at) {
        let template = match (what, mount.read_only) {
            ("device binds", _) => &o.device_bind,
            (_, true) => &o.read_only_bind,
            (_, false) => &o.bind,
        };
        say(template, what, &[("source", mount.source), ("target", mount.target)]);
    }
    for (target, options) in tmpfs(spec) {
        match options {
            Some((bytes, mode)) => {
                say(&o.tmpfs, "a tmpfs", &[("target", target), ("bytes", bytes.to_string()), ("mode", mode)])
            }
            None => say(&[], "mount options of a tmpfs", &[]),
        }
    }
    // Limits of AWF's agent are there because AWF sets them: what is measured of limits has sandboxes of its own.
    if !spec.name.starts_with("awf") {
        if let Some(bytes) = spec.memory {
            say(&o.memory, "a memory limit", &[("bytes", bytes.to_string())]);
        }
        if let Some(number) = spec.pids {
            say(&o.pids, "a limit of tasks", &[("number", number.to_string())]);
        }
    }
    if let Some(milli) = spec.cpu_milli {
        say(&o.cpu, "a share of a processor", &[("milli", milli.to_string())]);
    }
    if spec.net != Net::None || !spec.also.is_empty() {
        say(&[], "the lab's network, which the Docker Engine makes", &[]);
    }
    // Its twin without a profile says nothing by itself.
    if spec.name.starts_with("apparmor") {
        say(&[], "an AppArmor profile", &[]);
    }
    for what in beyond(spec) {
        say(&[], what, &[]);
    }
    if !gaps.is_empty() {
        return Err(gaps);
    }
    given.profile = profile;
    if given.no_new_privs && !spec.no_new_privs {
        for probe in ["setuid", "file-caps", "back"] {
            given.without.insert(probe, "the launch command sets no-new-privileges in every sandbox");
        }
    }
    if !spec.unmasked {
        for probe in ["procfs.masked", "procfs.readonly", "procfs.path"] {
            given.without.insert(probe, "the launch command has no words for masked and read-only paths");
        }
    }
    for probe in ["image", "layers"] {
        given.without.insert(probe, "the launch command is given a folder or an initrd, no OCI image");
    }
    for probe in ["lifecycle.settings", "lifecycle.rootfs", "lifecycle.orphan"] {
        given.without.insert(probe, "configuration of a container is the Docker Engine API's");
    }
    Ok(given)
}

/// What a container of the Docker Engine has where nothing is asked for.
const DEFAULT: &[&str] = &[
    "CHOWN",
    "DAC_OVERRIDE",
    "FOWNER",
    "FSETID",
    "KILL",
    "SETGID",
    "SETUID",
    "SETPCAP",
    "NET_BIND_SERVICE",
    "NET_RAW",
    "SYS_CHROOT",
    "MKNOD",
    "AUDIT_WRITE",
    "SETFCAP",
];

/// The set of capabilities of a spec, by the Docker Engine's rules.
fn set(spec: &Spec, privilege: &Privilege) -> u64 {
    let bits = |names: &[&str]| names.iter().filter_map(|n| Privilege::bit(n)).fold(0_u64, |set, bit| set | 1 << bit);
    let all = Privilege::all();
    let mut set = if spec.cap_drop.contains(&"ALL") { 0 } else { bits(DEFAULT) };
    set |= if spec.cap_add.contains(&"ALL") { all } else { bits(&spec.cap_add) };
    set &= !bits(&spec.cap_drop);
    // Whoever starts it can give no more than that.
    set & privilege.engine
}

fn mounts(spec: &Spec, at: Where<'_>) -> Vec<(MountAs, &'static str)> {
    let mount = |source: &str, target: String, read_only: bool| MountAs {
        volume: false,
        source: source.to_owned(),
        target,
        read_only,
    };
    let mut all = Vec::new();
    let prefix = match spec.toolbox {
        Toolbox::None => None,
        Toolbox::Root => Some(""),
        Toolbox::Host => Some("/host"),
    };
    if let Some(prefix) = prefix {
        let there = PATHS.iter().filter(|p| std::path::Path::new(p).exists());
        all.extend(there.map(|p| (mount(p, format!("{prefix}{p}"), true), "read-only binds")));
    }
    if spec.workspace {
        all.push((mount(at.work, "/host/work".to_owned(), false), "binds"));
        all.push((mount(at.work, "/host/read-only".to_owned(), true), "read-only binds"));
        all.push((mount("/dev/null", "/host/home/agent/.netrc".to_owned(), true), "device binds"));
    }
    all
}

/// Each tmpfs: bytes and mode, or nothing where it has options beyond those.
fn tmpfs(spec: &Spec) -> Vec<(String, Option<(u64, String)>)> {
    let mut all = Vec::new();
    if let Some(root) = match spec.toolbox {
        Toolbox::None => None,
        Toolbox::Root => Some(""),
        Toolbox::Host => Some("/host"),
    } {
        all.push((format!("{root}/tmp"), Some((64 << 20, "1777".to_owned()))));
        all.push((format!("{root}/run"), Some((1 << 20, "0755".to_owned()))));
    }
    all.extend(spec.extra.tmpfs.iter().map(|(target, options)| ((*target).to_owned(), plain(options))));
    all
}

/// `rw,mode=1777,size=256m`; anything else is more than bytes and mode.
fn plain(options: &str) -> Option<(u64, String)> {
    let (mut bytes, mut mode) = (None, None);
    for option in options.split(',') {
        match option.split_once('=') {
            None if option == "rw" => {}
            Some(("size", size)) => bytes = size.strip_suffix('m').and_then(|m| m.parse::<u64>().ok()).map(|m| m << 20),
            Some(("mode", m)) => mode = Some(m.to_owned()),
            _ => return None,
        }
    }
    Some((bytes?, mode?))
}

/// What no launch command is asked for.
fn beyond(spec: &Spec) -> Vec<&'static str> {
    let (e, m) = (&spec.extra, &spec.more);
    let mut all = Vec::new();
    for (asked, what) in [
        (!e.binds.is_empty() || !e.volume.is_empty() || !e.propagated.is_empty(), "the mounts of this sandbox"),
        (
            !e.ulimits.is_empty() || e.shm.is_some() || e.cpuset.is_some() || e.reservation.is_some(),
            "ulimits, /dev/shm, cpusets",
        ),
        (!e.sysctls.is_empty() || e.oom_score_adj.is_some(), "sysctls and oom_score_adj"),
        (
            m.user.is_some()
                || !m.groups.is_empty()
                || m.workdir.is_some()
                || m.hostname.is_some()
                || m.domainname.is_some(),
            "user, groups, working directory and host name",
        ),
        (m.read_only, "a read-only root"),
        (m.init, "the engine's init"),
        (!spec.extra_hosts.is_empty(), "static hosts entries"),
        (spec.emitted.is_some(), "a Compose service"),
    ] {
        if asked {
            all.push(what);
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use awf_probe_matrix::launcher::launchers;

    use super::*;
    use crate::specs::SOLO;

    const AT: Where<'static> = Where { work: "/w", profile: "/p" };

    fn launcher(name: &str) -> Launcher {
        launchers().expect("runtimes.toml").into_iter().find(|l| l.name == name).expect("a shipped one")
    }

    fn spec(name: &str) -> Spec {
        Spec::solo(name, Ipv4Addr::LOCALHOST, Ipv4Addr::LOCALHOST).expect("a solo spec")
    }

    fn told(runtime: &str, name: &str) -> Result<Given, Vec<String>> {
        words(&launcher(runtime), &spec(name), AT, &Privilege { engine: u64::MAX, profile: None })
    }

    #[test]
    fn what_has_no_words_is_a_gap_and_never_left_out_in_silence() {
        let measured = |runtime| SOLO.iter().filter(|s| told(runtime, s).is_ok()).copied().collect::<Vec<_>>();
        assert_eq!(measured("bubblewrap"), ["awf", "unlimited", "plain", "bare", "all-caps", "rules-raw"]);
        assert_eq!(measured("qemu-tcg"), ["plain", "bare", "all-caps"]);
        assert_eq!(told("bubblewrap", "memory").expect_err("a limit"), ["a memory limit"]);
        assert_eq!(told("bubblewrap", "marker").expect_err("a profile"), ["a seccomp profile"]);
        assert!(told("qemu-tcg", "awf").expect_err("mounts").contains(&"binds".to_owned()));
        assert!(told("bubblewrap", "netfilter").expect_err("the lab").iter().any(|g| g.contains("the lab's network")));
    }

    #[test]
    fn the_set_of_capabilities_is_the_engines() {
        let names = |name| Privilege::names(told("bubblewrap", name).expect("words").capabilities);
        assert_eq!(names("bare"), Vec::<&str>::new());
        let awf = names("awf");
        assert!(
            awf.contains(&"SYS_ADMIN")
                && awf.contains(&"SYS_CHROOT")
                && !awf.contains(&"NET_RAW")
                && !awf.contains(&"MKNOD")
        );
        assert_eq!(names("plain").len(), DEFAULT.len());
        let few = Privilege { engine: 0b11, profile: None };
        let given = words(&launcher("bubblewrap"), &spec("all-caps"), AT, &few).expect("words");
        assert_eq!(given.capabilities, 0b11, "nobody can give what he does not have");
    }

    #[test]
    fn what_is_always_set_leaves_out_the_probes_that_rest_on_it() {
        let given = told("bubblewrap", "plain").expect("words");
        assert!(given.no_new_privs && given.without.contains_key("setuid"));
        assert!(!told("bubblewrap", "awf").expect("words").without.contains_key("setuid"), "there it is asked for");
        assert!(!told("qemu-tcg", "plain").expect("words").without.contains_key("setuid"));
    }

    #[test]
    fn limits_that_are_left_out_of_awfs_agent_judge_nothing_there() {
        let catalogue = awf_probe_matrix::Catalogue::builtin().expect("catalogue");
        for c in catalogue.capabilities.iter().filter(|c| c.family == "cgroup") {
            let all = c.controls.iter().chain(&c.pass).chain(&c.partial).chain(&c.moot);
            for condition in all {
                assert!(!condition.key.scenario.starts_with("awf"), "{}: give awf its limits in given.rs", c.id);
            }
        }
    }
}
