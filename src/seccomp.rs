//! A seccomp profile in the engine's format: what it declares for each call a probe makes, and whether that is so.

use std::{collections::BTreeMap, path::Path};

use awf_probe_matrix::{Outcome, Source};
use awf_probe_probes::{Safe, names, number, safe};
use serde::Deserialize;

use crate::{error::Error, record::Record, scenario::Privilege};

/// A profile as it is written.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Profile {
    default_action: Action,
    default_errno_ret: Option<i32>,
    #[serde(default, rename = "comment")]
    _comment: Option<String>,
    #[serde(default, rename = "archMap")]
    _arch_map: Option<serde_json::Value>,
    #[serde(default, rename = "architectures")]
    _architectures: Option<Vec<String>>,
    #[serde(default, rename = "flags")]
    _flags: Option<Vec<String>>,
    #[serde(default, rename = "listenerPath")]
    _listener_path: Option<String>,
    #[serde(default, rename = "listenerMetadata")]
    _listener_metadata: Option<String>,
    #[serde(default)]
    syscalls: Vec<Rule>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Rule {
    #[serde(default)]
    name: Option<String>,
    #[serde(default)]
    names: Vec<String>,
    action: Action,
    errno_ret: Option<i32>,
    #[serde(default)]
    args: Option<Vec<Argument>>,
    #[serde(default, rename = "comment")]
    _comment: Option<String>,
    #[serde(default)]
    includes: Option<Filter>,
    #[serde(default)]
    excludes: Option<Filter>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Filter {
    #[serde(default)]
    caps: Vec<String>,
    #[serde(default)]
    arches: Vec<String>,
    #[serde(default)]
    min_kernel: Option<String>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Argument {
    index: usize,
    value: u64,
    #[serde(default)]
    value_two: u64,
    op: Operator,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
enum Operator {
    #[serde(rename = "SCMP_CMP_NE")]
    Ne,
    #[serde(rename = "SCMP_CMP_LT")]
    Lt,
    #[serde(rename = "SCMP_CMP_LE")]
    Le,
    #[serde(rename = "SCMP_CMP_EQ")]
    Eq,
    #[serde(rename = "SCMP_CMP_GE")]
    Ge,
    #[serde(rename = "SCMP_CMP_GT")]
    Gt,
    #[serde(rename = "SCMP_CMP_MASKED_EQ")]
    MaskedEq,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
enum Action {
    #[serde(rename = "SCMP_ACT_ALLOW")]
    Allow,
    #[serde(rename = "SCMP_ACT_LOG")]
    Log,
    #[serde(rename = "SCMP_ACT_ERRNO")]
    Errno,
    #[serde(rename = "SCMP_ACT_KILL", alias = "SCMP_ACT_KILL_PROCESS", alias = "SCMP_ACT_KILL_THREAD")]
    Kill,
    #[serde(rename = "SCMP_ACT_TRAP")]
    Trap,
    #[serde(rename = "SCMP_ACT_TRACE")]
    Trace,
    #[serde(rename = "SCMP_ACT_NOTIFY")]
    Notify,
}

/// What a profile says of one call with the arguments it is tried with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Declared {
    /// It reaches the kernel.
    Allowed,
    /// It is answered with this errno, by name.
    Refused(String),
    /// It kills, or ends in a signal.
    Killed,
    /// It cannot be told by trying, and why.
    Untold(String),
}

/// What of the sandbox decides which rules count.
#[derive(Clone, Debug)]
pub struct Setting<'a> {
    /// The capabilities it has.
    pub capabilities: &'a Privilege,
    /// Release of the host's kernel.
    pub kernel: &'a str,
}

impl Profile {
    /// Reads a profile. The error names line and key.
    pub fn parse(text: &str) -> Result<Self, String> {
        serde_json::from_str::<Self>(text).map_err(|e| e.to_string())
    }

    /// Reads the user's file.
    pub fn read(path: &Path) -> Result<String, Error> {
        let usage = |why: String| Error::Usage {
            why: format!("--seccomp-profile {}: {why}", path.display()),
            help:
                "it must be a profile in the Docker Engine's format: defaultAction, and syscalls with names and action"
                    .to_owned(),
        };
        let text = std::fs::read_to_string(path).map_err(|e| usage(e.to_string()))?;
        let profile = Self::parse(&text).map_err(usage)?;
        if profile.names().next().is_none() {
            return Err(usage("it names no system call, so there is nothing to try".to_owned()));
        }
        Ok(text)
    }

    fn names(&self) -> impl Iterator<Item = &str> {
        self.syscalls.iter().flat_map(|r| r.names.iter().chain(&r.name)).map(String::as_str)
    }

    /// What it declares for every call it names.
    pub fn declared(&self, setting: &Setting<'_>) -> BTreeMap<String, Declared> {
        self.names().map(|n| (n.to_owned(), self.of(n, setting))).collect()
    }

    fn of(&self, name: &str, setting: &Setting<'_>) -> Declared {
        if number(name).is_none() {
            return Declared::Untold("this architecture has no such call, or its number is not known here".to_owned());
        }
        let args = match safe(name) {
            Safe::With(args) => args,
            Safe::Not(why) => return Declared::Untold(why.to_owned()),
        };
        let mut found: Vec<(Action, Option<i32>)> = Vec::new();
        let names_it = |r: &&Rule| r.names.iter().chain(&r.name).any(|n| n == name);
        for rule in self.syscalls.iter().filter(names_it) {
            match rule.counts(setting) {
                Ok(true) => {}
                Ok(false) => continue,
                Err(why) => return Declared::Untold(why),
            }
            let arguments = rule.args.as_deref().unwrap_or_default();
            if arguments.iter().all(|a| a.holds(&args)) && !found.contains(&(rule.action, rule.errno_ret)) {
                found.push((rule.action, rule.errno_ret));
            }
        }
        match found.as_slice() {
            [] => self.default_action.declared(self.default_errno_ret),
            [(action, errno)] => action.declared(*errno),
            _ => Declared::Untold("its rules contradict each other for the arguments it is tried with".to_owned()),
        }
    }
}

impl Rule {
    /// Whether the engine keeps the rule for this sandbox.
    fn counts(&self, setting: &Setting<'_>) -> Result<bool, String> {
        let native = if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" };
        if let Some(i) = &self.includes {
            let kernel = i.min_kernel.as_deref().is_none_or(|min| at_least(setting.kernel, min));
            let arch = i.arches.is_empty() || i.arches.iter().any(|a| a == native);
            if !kernel || !arch || !i.caps.iter().all(|c| setting.capabilities.gives(c)) {
                return Ok(false);
            }
        }
        if let Some(e) = &self.excludes {
            if e.min_kernel.is_some() {
                return Err("excludes.minKernel is not understood".to_owned());
            }
            if e.arches.iter().any(|a| a == native) || e.caps.iter().any(|c| setting.capabilities.gives(c)) {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

impl Argument {
    fn holds(&self, args: &[i64; 6]) -> bool {
        let Some(value) = args.get(self.index).map(|a| a.cast_unsigned()) else { return false };
        match self.op {
            Operator::Ne => value != self.value,
            Operator::Lt => value < self.value,
            Operator::Le => value <= self.value,
            Operator::Eq => value == self.value,
            Operator::Ge => value >= self.value,
            Operator::Gt => value > self.value,
            Operator::MaskedEq => value & self.value == self.value_two,
        }
    }
}

impl Action {
    fn declared(self, errno: Option<i32>) -> Declared {
        match self {
            Self::Allow | Self::Log => Declared::Allowed,
            Self::Errno => Declared::Refused(awf_probe_probes::errno_name(errno.unwrap_or(libc::EPERM))),
            Self::Kill | Self::Trap => Declared::Killed,
            Self::Trace | Self::Notify => Declared::Untold("another process decides".to_owned()),
        }
    }
}

/// Whether a kernel release is at least `MAJOR.MINOR`.
fn at_least(release: &str, min: &str) -> bool {
    let numbers = |text: &str| {
        let mut parts = text.split(|c: char| !c.is_ascii_digit()).map(|p| p.parse::<u32>().unwrap_or(0));
        (parts.next().unwrap_or(0), parts.next().unwrap_or(0))
    };
    numbers(release) >= numbers(min)
}

/// Whether what a sandbox with the profile did is what the profile declares, beside the same calls without it:
/// an outcome each for what it allows and what it refuses.
pub fn compare(declared: &BTreeMap<String, Declared>, with: &str, without: &str) -> [(&'static str, Outcome); 2] {
    let (with, without) = (words(with), words(without));
    let (mut right, mut wrong): ([usize; 2], [Vec<String>; 2]) = ([0; 2], [vec![], vec![]]);
    let (mut alike, mut untold) = (Vec::new(), Vec::new());
    for (name, declared) in declared {
        let (Some(saw), Some(control)) = (with.get(name.as_str()), without.get(name.as_str())) else {
            untold.push(name.clone());
            continue;
        };
        let (kind, ok, expected) = match declared {
            Declared::Untold(_) => {
                untold.push(name.clone());
                continue;
            }
            Declared::Allowed => (0, saw == control, (*control).to_owned()),
            Declared::Killed => (1, *saw == "signal-31", "SIGSYS".to_owned()),
            Declared::Refused(errno) if errno == control => {
                alike.push(name.clone());
                continue;
            }
            Declared::Refused(errno) => (1, saw == errno, errno.clone()),
        };
        if ok { right[kind] += 1 } else { wrong[kind].push(format!("{name} gives {saw} instead of {expected}")) }
    }
    let rest = |list: &[String], what: &str| {
        if list.is_empty() { String::new() } else { format!("; {} {what}: {}", list.len(), list.join(" ")) }
    };
    let outcome = |kind: usize, what: &str| {
        let tail = format!(
            "{}{}",
            if kind == 1 { rest(&alike, "are refused alike without the profile") } else { String::new() },
            rest(&untold, "cannot be tried")
        );
        match (right[kind], wrong[kind].as_slice()) {
            (0, []) => {
                Outcome::Absent { why: format!("the profile names no call that is {what} and can be told{tail}") }
            }
            (n, []) => Outcome::allowed(format!("{n} calls are {what} as declared{tail}")),
            (n, wrong) => Outcome::refused(
                format!("{} of {} differ", wrong.len(), n + wrong.len()),
                format!("{}{tail}", wrong.join(", ")),
            ),
        }
    };
    [("profile.allowed", outcome(0, "allowed")), ("profile.refused", outcome(1, "refused"))]
}

/// `name=word` pairs of a `calls.all` fact.
fn words(text: &str) -> BTreeMap<&str, &str> {
    text.split(' ').filter_map(|pair| pair.split_once('=')).collect()
}

/// The comparison for one runtime, from what its sandboxes reported.
pub fn judge(
    record: &Record,
    runtime: &str,
    scenario: &str,
    declared: &BTreeMap<String, Declared>,
) -> [(&'static str, Outcome); 2] {
    let report = |name: &str| match record.get(runtime, name) {
        None => Err(format!("{name} did not take place")),
        Some(s) => match (record.stranger(runtime, s), s.facts.get(&(Source::Guest, "calls.all".to_owned()))) {
            (Some(why), _) => Err(why),
            (None, Some(seen)) => match &seen.fact.outcome {
                Outcome::Value { value } => Ok(value.clone()),
                other => Err(format!("{name}: {other}")),
            },
            (None, None) => {
                let why = s.problems.first().map(|(stage, why, _)| format!("; {stage}: {why}")).unwrap_or_default();
                Err(format!("{name} did not report its calls{why}"))
            }
        },
    };
    match (report(scenario), report("all-caps")) {
        (Ok(with), Ok(without)) => compare(declared, &with, &without),
        (Err(why), _) | (_, Err(why)) => {
            [("profile.allowed", Outcome::broken(why.clone())), ("profile.refused", Outcome::broken(why))]
        }
    }
}

/// Names of the calls that can be tried at all.
pub fn tried() -> usize {
    names().filter(|n| matches!(safe(n), Safe::With(_))).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn declared(rules: &str) -> BTreeMap<String, Declared> {
        let privilege = Privilege { engine: !(1 << 24), ..Privilege::default() };
        let text = format!(r#"{{"defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": 38, "syscalls": [{rules}]}}"#);
        Profile::parse(&text).expect("parses").declared(&Setting { capabilities: &privilege, kernel: "6.1.0" })
    }

    #[test]
    fn the_shipped_profile_has_the_size_and_shape_of_awfs() {
        let profile = Profile::parse(crate::specs::AWF_PROFILE).expect("parses");
        let count = |action| profile.syscalls.iter().filter(|r| r.action == action).map(|r| r.names.len()).sum();
        let (allowed, refused): (usize, usize) = (count(Action::Allow), count(Action::Errno));
        assert_eq!((profile.default_action, refused), (Action::Errno, 30));
        assert!((330..=360).contains(&allowed), "{allowed}");
    }

    #[test]
    fn a_rule_counts_for_the_sandbox_it_is_meant_for() {
        let rule = |more: &str| format!(r#"{{"names": ["keyctl"], "action": "SCMP_ACT_ALLOW" {more}}}"#);
        let of = |more: &str| declared(&rule(more))["keyctl"].clone();
        let refused = Declared::Refused("ENOSYS".to_owned());
        assert_eq!(of(""), Declared::Allowed);
        assert_eq!(of(r#", "includes": {"caps": ["CAP_SYS_ADMIN"]}"#), Declared::Allowed);
        assert_eq!(of(r#", "includes": {"caps": ["CAP_SYS_RESOURCE"]}"#), refused);
        assert_eq!(of(r#", "excludes": {"caps": ["CAP_SYS_ADMIN"]}"#), refused);
        assert_eq!(of(r#", "includes": {"minKernel": "6.2"}"#), refused);
        assert_eq!(of(r#", "args": [{"index": 0, "value": 5, "op": "SCMP_CMP_EQ"}]"#), refused);
        assert_eq!(of(r#", "args": [{"index": 0, "value": 5, "op": "SCMP_CMP_NE"}]"#), Declared::Allowed);
    }

    #[test]
    fn what_cannot_be_tried_is_said() {
        let all = declared(r#"{"names": ["exit_group", "no_such_call"], "action": "SCMP_ACT_ALLOW"}"#);
        assert!(all.values().all(|d| matches!(d, Declared::Untold(_))), "{all:?}");
    }

    #[test]
    fn a_bad_profile_names_line_and_key() {
        let bad = "{\n \"defaultAction\": \"SCMP_ACT_ERRNO\",\n \"sycalls\": []\n}";
        let why = Profile::parse(bad).expect_err("no such key");
        assert!(why.contains("sycalls") && why.contains("line 3"), "{why}");
        assert!(Profile::parse(r#"{"defaultAction": "ALLOW"}"#).is_err());
    }

    #[test]
    fn a_filter_that_is_not_there_is_seen() {
        let all = declared(
            r#"{"names": ["ptrace"], "action": "SCMP_ACT_ERRNO", "errnoRet": 1},
               {"names": ["bpf"], "action": "SCMP_ACT_KILL"}, {"names": ["dup"], "action": "SCMP_ACT_ALLOW"}"#,
        );
        let without = "ptrace=ESRCH bpf=EINVAL dup=EBADF";
        let holds = |with: &str| compare(&all, with, without).map(|(_, o)| matches!(o, Outcome::Allowed { .. }));
        assert_eq!(holds("ptrace=EPERM bpf=signal-31 dup=EBADF"), [true, true]);
        assert_eq!(holds(without), [true, false]);
        assert_eq!(holds("ptrace=EPERM bpf=EPERM dup=EBADF"), [true, false]);
        assert_eq!(holds("ptrace=EPERM bpf=signal-31 dup=EPERM"), [false, true]);
        // Refused alike without the profile: nothing is told by that.
        let alike =
            compare(&declared(r#"{"names": ["ptrace"], "action": "SCMP_ACT_ERRNO", "errnoRet": 3}"#), without, without);
        assert!(alike.iter().all(|(_, o)| matches!(o, Outcome::Absent { .. })), "{alike:?}");
    }
}
