//! Between the guest and the harness: a process in the sandbox that spoils what the guest says.
//!
//! The guest stays the sandbox's first process. A child of it owns the container's standard output and passes on, or
//! does not, what the guest writes into a pipe.

use std::{
    ffi::CString,
    fs::File,
    io::{BufRead, BufReader, Write},
    os::fd::FromRawFd,
    process::ExitCode,
};

use awf_probe_matrix::{Fact, Outcome};
use awf_probe_probes::wire::Say;
use serde_json::{Value, json};

/// First argument of this executable inside a sandbox.
pub(crate) const FLAG: &str = "--awfp-sab-guest";
const INSIDE: &str = "/.awfp-sab";

/// What is done to the guest's words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lie {
    /// Passed on as they are: the control of the others.
    Nothing,
    /// Nothing is passed on after the greeting.
    Truncate,
    /// Every third line is followed by bytes that are no JSON.
    Garbage,
    /// Lines without end, each a valid fact of another batch.
    Flood,
    /// A line of 2 MiB.
    LongLine,
    /// A line of 100000 opening brackets.
    Deep,
    /// Every fact is said twice, the second time with the opposite outcome.
    Contradict,
    /// Facts whose name ends so are left out, the count is as the guest said.
    Forget(&'static str),
    /// No greeting.
    Mute,
    /// Control characters and markup in every text.
    Escapes,
    /// The first process is another one, and exits with 0 whatever the guest exited with.
    Swallow,
}

const LIES: &[(&str, Lie)] = &[
    ("nothing", Lie::Nothing),
    ("truncate", Lie::Truncate),
    ("garbage", Lie::Garbage),
    ("flood", Lie::Flood),
    ("long-line", Lie::LongLine),
    ("deep", Lie::Deep),
    ("contradict", Lie::Contradict),
    ("forget-enter", Lie::Forget("chroot.enter")),
    ("mute", Lie::Mute),
    ("escapes", Lie::Escapes),
    ("swallow", Lie::Swallow),
];

/// Puts this executable in front of the process of a bundle.
pub(crate) fn interpose(config: &mut Value, lie: Lie) -> Result<(), String> {
    let (word, _) = LIES.iter().find(|(_, l)| *l == lie).ok_or("this lie has no word")?;
    let own = std::fs::read_link("/proc/self/exe").map_err(|e| e.to_string())?;
    let process = &config["process"];
    // The guest's words are spoilt, not those of other programs; whoever has a terminal must keep it.
    let at = |n: usize| process["args"][n].as_str().unwrap_or_default();
    let speaks = at(0) == "/awf-probe" && at(1) == "guest";
    if process["terminal"] == true || !(speaks || lie == Lie::Swallow && at(0) == "/awf-probe") {
        return Ok(());
    }
    let args = config["process"]["args"].as_array_mut().ok_or("the bundle has no process")?;
    for (i, arg) in [INSIDE, FLAG, word].into_iter().enumerate() {
        args.insert(i, json!(arg));
    }
    let mounts = config["mounts"].as_array_mut().ok_or("the bundle has no mounts")?;
    mounts.push(json!({"destination": INSIDE, "type": "bind", "source": own, "options": ["bind", "ro", "private"]}));
    Ok(())
}

/// Inside: splits in two and becomes the guest.
pub(crate) fn main(args: &[String]) -> ExitCode {
    let Some((word, guest)) = args.split_first() else { return ExitCode::FAILURE };
    let Some((_, lie)) = LIES.iter().find(|(w, _)| w == word) else { return ExitCode::FAILURE };
    if *lie == Lie::Swallow {
        let status = std::process::Command::new(&guest[0]).args(&guest[1..]).status();
        return if status.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE };
    }
    let argv: Vec<CString> = guest.iter().filter_map(|a| CString::new(a.as_str()).ok()).collect();
    let mut pointers: Vec<*const libc::c_char> = argv.iter().map(|a| a.as_ptr()).collect();
    pointers.push(std::ptr::null());
    // SAFETY: this process has one thread; the descriptors are its own, and the pointers are valid until the exec.
    unsafe {
        let mut ends = [0; 2];
        if libc::pipe(ends.as_mut_ptr()) != 0 {
            return ExitCode::FAILURE;
        }
        match libc::fork() {
            -1 => return ExitCode::FAILURE,
            0 => {
                libc::close(ends[1]);
                libc::close(0);
                pass_on(File::from_raw_fd(ends[0]), *lie);
                libc::_exit(0);
            }
            _ => {}
        }
        libc::dup2(ends[1], 1);
        libc::close(ends[0]);
        libc::close(ends[1]);
        libc::execv(pointers[0], pointers.as_ptr());
    }
    ExitCode::FAILURE
}

fn pass_on(guest: File, lie: Lie) {
    let mut out = std::io::stdout().lock();
    for (n, line) in BufReader::new(guest).split(b'\n').map_while(Result::ok).enumerate() {
        let text = String::from_utf8_lossy(&line).into_owned();
        let said = match lie {
            Lie::Nothing | Lie::Swallow => vec![text],
            Lie::Truncate => {
                if n < 3 {
                    vec![text]
                } else {
                    return;
                }
            }
            Lie::Garbage if n % 3 == 2 => vec![text, "\u{0}\u{7f}{\"say\":\"fact\",\"batch\":1,\"fact\":{]".to_owned()],
            Lie::Mute | Lie::Flood | Lie::LongLine | Lie::Deep if n == 0 && lie == Lie::Mute => vec![],
            Lie::Mute => vec![],
            Lie::Flood if n == 1 => flood(&text),
            Lie::LongLine if n == 1 => vec!["x".repeat(2 << 20)],
            Lie::Deep if n == 1 => vec!["[".repeat(100_000)],
            Lie::Garbage | Lie::Flood | Lie::LongLine | Lie::Deep => vec![text],
            Lie::Contradict => contradiction(&text).into_iter().chain([text]).collect(),
            Lie::Forget(name) => {
                if fact(&text).is_some_and(|f| f.ends_with(name)) {
                    vec![]
                } else {
                    vec![text]
                }
            }
            Lie::Escapes => vec![escaped(&text)],
        };
        for line in said {
            // The harness may have hung up.
            if writeln!(out, "{line}").and_then(|()| out.flush()).is_err() {
                return;
            }
        }
    }
}

fn fact(text: &str) -> Option<String> {
    let value: Value = serde_json::from_str(text).ok()?;
    value["fact"]["name"].as_str().map(str::to_owned)
}

/// 40 MiB of a fact that nobody asked for.
fn flood(text: &str) -> Vec<String> {
    let mut value: Value = serde_json::from_str(text).unwrap_or(Value::Null);
    value["batch"] = json!(99);
    let line = value.to_string();
    vec![line.clone(); (40 << 20) / line.len().max(1)]
}

/// That what is made of a guest's real line is another line about the same fact.
pub(crate) fn lies_are_told() -> Result<(), String> {
    let outcomes = [Outcome::allowed("a file"), Outcome::refused("EPERM", "open"), Outcome::value(7)];
    for outcome in outcomes {
        // What has no detail cannot be escaped.
        let escapes = !matches!(outcome, Outcome::Value { .. });
        let fact = Fact { name: "probe".to_owned(), outcome, sent: None, elapsed_ms: None };
        let text = serde_json::to_string(&Say::Fact { batch: 1, fact: fact.clone() }).map_err(|e| e.to_string())?;
        let mut lies = vec![contradiction(&text)];
        lies.extend(escapes.then(|| Some(escaped(&text))));
        for lie in lies {
            let lie = lie.as_deref().ok_or_else(|| format!("nothing is made of {text}"))?;
            let Ok(Say::Fact { fact: other, .. }) = serde_json::from_str(lie) else {
                return Err(format!("{lie} is no fact"));
            };
            if other.name != fact.name || other.outcome == fact.outcome {
                return Err(format!("{lie} says nothing else than {text}"));
            }
        }
    }
    Ok(())
}

fn contradiction(text: &str) -> Option<String> {
    let mut value: Value = serde_json::from_str(text).ok().filter(|v: &Value| v["say"] == "fact")?;
    let fact = value["fact"].as_object_mut()?;
    if fact.get("name")?.as_str()?.ends_with(".end") {
        return None;
    }
    // The outcome's fields lie beside the fact's own.
    let other = match fact.get("outcome")?.as_str()? {
        "allowed" => json!({"outcome": "refused", "errno": "EPERM", "detail": ""}),
        "value" => json!({"outcome": "value", "value": "1000000"}),
        _ => json!({"outcome": "allowed", "detail": ""}),
    };
    for field in ["errno", "detail", "value", "why", "signal", "after_ms"] {
        fact.remove(field);
    }
    fact.extend(other.as_object()?.clone());
    Some(value.to_string())
}

/// Terminal control, HTML, Markdown, a right-to-left mark and a line end in what the guest says in passing.
fn escaped(text: &str) -> String {
    let Ok(mut value) = serde_json::from_str::<Value>(text) else { return text.to_owned() };
    let outcome = &mut value["fact"];
    if let Some(detail) = outcome.get("detail").and_then(Value::as_str) {
        let more = "\u{1b}[2J\u{1b}]0;owned\u{7}<script>alert(1)</script>|`$(id)`|\u{202e}\r\n\u{0}";
        outcome["detail"] = json!(format!("{detail}{more}"));
    }
    value.to_string()
}
