//! Runtimes outside Docker: the words with which a user starts a guest, as `runtimes.toml` or a file of the user's has
//! them.

use std::collections::BTreeMap;

use serde::Deserialize;

/// How a runtime is driven by commands. In words of `launch`, `exec`, `stop` and `remove` the placeholders
/// [`PLACEHOLDERS`] stand for what a sandbox is given; a word that is `{options}` alone becomes as many words as the
/// sandbox asks for.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Launcher {
    /// Name for `--runtime` and in reports.
    pub name: String,
    /// Prints its version on the first line. Default: the first word of `launch` with `--version`.
    #[serde(default)]
    pub version: Vec<String>,
    /// Starts the sandbox. Without `exec` the guest speaks on this command's standard streams, and the sandbox is over
    /// when the command ends; with `exec` the command must end once the sandbox stands.
    pub launch: Vec<String>,
    /// Starts the guest in a sandbox that stands.
    #[serde(default)]
    pub exec: Vec<String>,
    /// Ends the sandbox.
    #[serde(default)]
    pub stop: Vec<String>,
    /// Removes what is left of it.
    #[serde(default)]
    pub remove: Vec<String>,
    /// What it does to every sandbox, asked or not.
    #[serde(default)]
    pub always: Vec<Habit>,
    /// Words for what a sandbox may ask for; what has none cannot be asked for, and its capabilities are skipped.
    #[serde(default)]
    pub options: Options,
}

/// What a runtime does to every sandbox.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Habit {
    /// no-new-privileges is set.
    NoNewPrivs,
}

/// Words for each thing a sandbox may ask for, with placeholders of their own.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct Options {
    /// `{variable}`, `{value}`: an environment variable.
    pub env: Vec<String>,
    /// `{source}`, `{target}`: a folder or file of the host, writable.
    pub bind: Vec<String>,
    /// `{source}`, `{target}`: the same, read-only.
    pub read_only_bind: Vec<String>,
    /// `{source}`, `{target}`: a device node of the host.
    pub device_bind: Vec<String>,
    /// `{target}`, `{bytes}`, `{mode}`: a tmpfs that is nosuid and nodev.
    pub tmpfs: Vec<String>,
    /// `{mask}`, hexadecimal: the whole set of capabilities, said once, before those of `capability`.
    pub capabilities: Vec<String>,
    /// `{capability}`, such as NET_RAW: one of the set.
    pub capability: Vec<String>,
    /// no-new-privileges.
    pub no_new_privs: Vec<String>,
    /// `{profile}`: a file with a seccomp profile in the Docker Engine's format.
    pub seccomp: Vec<String>,
    /// `{bytes}`: memory and swap together.
    pub memory: Vec<String>,
    /// `{number}`: how many tasks.
    pub pids: Vec<String>,
    /// `{milli}`: thousandths of a processor.
    pub cpu: Vec<String>,
}

/// What may stand in `launch`, `exec`, `stop` and `remove`.
pub const PLACEHOLDERS: [&str; 7] = ["options", "root", "initrd", "executable", "folder", "name", "comm"];

/// Why a description cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LauncherError {
    /// No TOML, a key that is not known, or one that is missing.
    #[error("{0}")]
    Toml(String),
    /// A placeholder that is not known there.
    #[error("{at}: {{{given}}} stands for nothing{}; there {} {known}", nearest.as_ref().map_or(String::new(), |n| format!(", did you mean {{{n}}}?")), if known.contains(',') { "are" } else { "is" })]
    Placeholder {
        /// Name of the runtime and the key.
        at: String,
        /// What stands there.
        given: String,
        /// The nearest that is known.
        nearest: Option<String>,
        /// Those that are known there.
        known: String,
    },
    /// Something that contradicts itself.
    #[error("{at}: {why}")]
    Senseless {
        /// Name of the runtime.
        at: String,
        /// Why.
        why: String,
    },
}

#[derive(Deserialize)]
struct File {
    #[serde(default)]
    command: Vec<Launcher>,
}

/// The runtimes that are shipped.
pub fn launchers() -> Result<Vec<Launcher>, LauncherError> {
    parse_launchers(include_str!("../runtimes.toml"))
}

/// The `[[command]]` tables of a file.
pub fn parse_launchers(text: &str) -> Result<Vec<Launcher>, LauncherError> {
    let file: File = toml::from_str(text).map_err(|e| LauncherError::Toml(e.to_string().trim().to_owned()))?;
    for (i, l) in file.command.iter().enumerate() {
        let senseless = |why: &str| LauncherError::Senseless { at: format!("{:?}", l.name), why: why.to_owned() };
        if l.name.is_empty() || !l.name.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b)) {
            return Err(senseless("a name is letters, digits, '.', '_' and '-'"));
        }
        if file.command[..i].iter().any(|other| other.name == l.name) {
            return Err(senseless("two runtimes have this name"));
        }
        if l.launch.is_empty() {
            return Err(senseless("launch has no words"));
        }
        for (key, words, known) in l.templates() {
            check(&format!("{}, {key}", l.name), words, known)?;
        }
        if !l.options_are_said() && l.options != Options::default() {
            return Err(senseless("it has options, but neither launch nor exec says {options}"));
        }
        if l.options.env.is_empty() && !l.launch.iter().chain(&l.exec).any(|w| w.contains("{comm}")) {
            return Err(senseless(
                "the guest cannot be told its name: give options.env, or say AWF_PROBE_COMM={comm} in launch",
            ));
        }
    }
    Ok(file.command)
}

impl Launcher {
    /// Whether anything that a sandbox asks for is passed on.
    fn options_are_said(&self) -> bool {
        self.launch.iter().chain(&self.exec).any(|w| w.contains("{options}"))
    }

    /// Whether a word of the templates needs this placeholder.
    pub fn needs(&self, placeholder: &str) -> bool {
        let hole = format!("{{{placeholder}}}");
        [&self.launch, &self.exec, &self.stop, &self.remove].into_iter().flatten().any(|w| w.contains(&hole))
    }

    /// Every template: its key, its words, and the placeholders that stand for something in it.
    fn templates(&self) -> Vec<(&'static str, &[String], &'static [&'static str])> {
        let o = &self.options;
        vec![
            ("launch", &self.launch, &PLACEHOLDERS),
            ("exec", &self.exec, &PLACEHOLDERS),
            ("stop", &self.stop, &PLACEHOLDERS),
            ("remove", &self.remove, &PLACEHOLDERS),
            ("options.env", &o.env, &["variable", "value"]),
            ("options.bind", &o.bind, &["source", "target"]),
            ("options.read-only-bind", &o.read_only_bind, &["source", "target"]),
            ("options.device-bind", &o.device_bind, &["source", "target"]),
            ("options.tmpfs", &o.tmpfs, &["target", "bytes", "mode"]),
            ("options.capabilities", &o.capabilities, &["mask"]),
            ("options.capability", &o.capability, &["capability"]),
            ("options.no-new-privs", &o.no_new_privs, &[]),
            ("options.seccomp", &o.seccomp, &["profile"]),
            ("options.memory", &o.memory, &["bytes"]),
            ("options.pids", &o.pids, &["number"]),
            ("options.cpu", &o.cpu, &["milli"]),
        ]
    }
}

/// The words with what the placeholders stand for. A word that is `{options}` alone becomes those words, one inside
/// another word becomes them with blanks between.
pub fn expand(words: &[String], values: &BTreeMap<&str, String>, options: &[String]) -> Vec<String> {
    let mut all = Vec::new();
    for word in words {
        if word == "{options}" {
            all.extend(options.iter().cloned());
            continue;
        }
        // One pass, so that a value with braces in it stays what it is.
        let mut text = String::new();
        let mut rest = word.as_str();
        while let Some((before, hole, after)) = next_hole(rest) {
            text.push_str(before);
            match values.get(hole) {
                _ if hole == "options" => text.push_str(&options.join(" ")),
                Some(value) => text.push_str(value),
                None => text.push_str(&format!("{{{hole}}}")),
            }
            rest = after;
        }
        text.push_str(rest);
        all.push(text);
    }
    all
}

/// Text before a placeholder, its name, and the text behind it. Braces behind a `$` are a shell's.
fn next_hole(text: &str) -> Option<(&str, &str, &str)> {
    let open = text.match_indices('{').map(|(at, _)| at).find(|at| !text[..*at].ends_with('$'))?;
    let close = open + text[open..].find('}')?;
    Some((&text[..open], &text[open + 1..close], &text[close + 1..]))
}

fn check(at: &str, words: &[String], known: &[&str]) -> Result<(), LauncherError> {
    for word in words {
        let mut rest = word.as_str();
        while let Some((_, hole, after)) = next_hole(rest) {
            if !known.contains(&hole) {
                let scored = known.iter().map(|k| (strsim::jaro_winkler(hole, k), k));
                let nearest = scored.filter(|(s, _)| *s > 0.75).max_by(|a, b| a.0.total_cmp(&b.0));
                let list = known.iter().map(|k| format!("{{{k}}}")).collect::<Vec<_>>().join(", ");
                return Err(LauncherError::Placeholder {
                    at: at.to_owned(),
                    given: hole.to_owned(),
                    nearest: nearest.map(|(_, k)| (*k).to_owned()),
                    known: if list.is_empty() { "none".to_owned() } else { list },
                });
            }
            rest = after;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<String> {
        text.split(' ').map(str::to_owned).collect()
    }

    #[test]
    fn the_shipped_ones_are_read() {
        let names: Vec<String> = launchers().expect("runtimes.toml").into_iter().map(|l| l.name).collect();
        assert_eq!(names, ["bubblewrap", "qemu-tcg"]);
    }

    #[test]
    fn placeholders_are_filled_once_and_options_become_words() {
        let values = BTreeMap::from([("root", "/r{name}".to_owned()), ("name", "n".to_owned())]);
        let options = words("--a b");
        assert_eq!(
            expand(&words("run {options} {root} ${A:-b} x={name} -append=q_{options}_ --"), &values, &options),
            ["run", "--a", "b", "/r{name}", "${A:-b}", "x=n", "-append=q_--a b_", "--"]
        );
    }

    #[test]
    fn a_wrong_word_is_named_with_the_nearest_right_one() {
        let with = |more: &str| {
            let text = format!("[[command]]\nname = \"x\"\nlaunch = [\"x\", \"{{comm}}\", \"{{options}}\"]\n{more}");
            parse_launchers(&text).map(drop).map_err(|e| e.to_string())
        };
        assert_eq!(with(""), Ok(()));
        let wrong = with("remove = [\"rm\", \"{nam}\"]").expect_err("a wrong placeholder");
        assert!(wrong.contains("x, remove") && wrong.contains("did you mean {name}?"), "{wrong}");
        let wrong = with("options.tmpfs = [\"{source}\"]").expect_err("one of another option");
        assert!(wrong.contains("{target}, {bytes}, {mode}"), "{wrong}");
        let wrong = with("options.mount = []").expect_err("an unknown option");
        assert!(wrong.contains("unknown field `mount`") && wrong.contains("`bind`"), "{wrong}");
        assert!(with("always = [\"no-new-priv\"]").expect_err("a wrong habit").contains("no-new-privs"));
    }

    #[test]
    fn a_description_that_drops_what_is_asked_is_refused() {
        let text = "[[command]]\nname = \"x\"\nlaunch = [\"x\", \"{comm}\"]\noptions.bind = [\"{source}\"]";
        let why = parse_launchers(text).expect_err("no {options}").to_string();
        assert!(why.contains("says {options}"), "{why}");
        let text = "[[command]]\nname = \"x\"\nlaunch = [\"x\"]";
        assert!(parse_launchers(text).expect_err("no comm").to_string().contains("AWF_PROBE_COMM"));
    }
}
