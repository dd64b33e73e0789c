//! Every system call by number, with arguments that no kernel acts on: what answers is the kernel's own check of the
//! arguments, its check of a capability, or a filter in front of both. Which of them it was shows beside the same call
//! in a sandbox that differs by that one thing.

use std::{
    fs::File,
    io::{self, Read, Write},
    os::fd::OwnedFd,
    time::Duration,
};

use awf_probe_matrix::Outcome;

use crate::{
    Cx, Probe,
    sys::{self, End},
};

mod table;

pub(crate) const PROBES: &[Probe] = &[
    Probe {
        id: "calls",
        about: "every system call by number, with arguments no kernel acts on",
        specs: &["all-caps", "all-caps-awf", "profile", "plain", "default-seccomp"],
        ask: calls,
    },
    Probe {
        id: "calls.compat",
        about: "getpid and keyctl through the 32-bit entry (int 0x80)",
        specs: &["all-caps", "all-caps-awf"],
        ask: compat,
    },
];

/// A way to call that harms nothing whoever may do it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Safe {
    /// With these arguments.
    With([i64; 6]),
    /// None is known: why not.
    Not(&'static str),
}

/// -1 is no descriptor, no pointer, no flag, no process and no mode.
const NOTHING: [i64; 6] = [-1; 6];

/// How a call can be tried. Most refuse `NOTHING` by themselves.
pub fn safe(name: &str) -> Safe {
    match name {
        "exit" | "exit_group" => Safe::Not("it ends the process that tries it"),
        "rt_sigreturn" | "restart_syscall" => Safe::Not("it may only be called by the kernel's own signal return"),
        "pause" => Safe::Not("it waits for ever"),
        "fork" | "vfork" => Safe::Not("it has no arguments that could be refused, and makes a process"),
        "sync" => Safe::Not("it writes every file system to its disk"),
        "vhangup" => Safe::Not("it hangs up the terminal"),
        "uretprobe" => Safe::Not("it may only be called by the kernel's own probes"),
        // Of no process; -1 would mean all of them.
        "kill" => Safe::With([0x7fff_fff0, 0, 0, 0, 0, 0]),
        // An alarm switched off, where -1 would set one.
        "alarm" => Safe::With([0; 6]),
        "umask" => Safe::With([0o22, 0, 0, 0, 0, 0]),
        // Reading nothing; other numbers are answered as if the call did not exist.
        "modify_ldt" => Safe::With([0; 6]),
        "futex" => Safe::With([1, 1, 0, 0, 0, 0]),
        // A new mount namespace with the file system information shared: no kernel can do both.
        "clone" => Safe::With([(libc::CLONE_NEWNS | libc::CLONE_FS) as i64, 0, 0, 0, 0, 0]),
        _ => Safe::With(NOTHING),
    }
}

/// The number of a call on this architecture.
pub fn number(name: &str) -> Option<i64> {
    let find = |list: &[(&str, libc::c_long)]| {
        list.iter().find(|(n, _)| n.strip_prefix("SYS_") == Some(name)).map(|(_, nr)| *nr)
    };
    find(table::COMMON).or_else(|| find(table::HERE))
}

/// Every call this architecture has, by name.
pub fn names() -> impl Iterator<Item = &'static str> {
    table::COMMON.iter().chain(table::HERE).filter_map(|(n, _)| n.strip_prefix("SYS_"))
}

/// How a call ended, in the word of the `calls.all` fact: `ok`, an errno's name, or `signal N`.
fn word(result: i32) -> String {
    match result {
        0 => "ok".to_owned(),
        n if n < 0 => format!("signal-{}", -n),
        n => sys::errno_name(&io::Error::from_raw_os_error(n)),
    }
}

fn calls(cx: &mut Cx) {
    let todo: Vec<(&str, [i64; 6])> = names()
        .filter_map(|n| match safe(n) {
            Safe::With(args) => Some((n, args)),
            Safe::Not(_) => None,
        })
        .collect();
    match all(&todo) {
        Ok(results) => {
            for ((name, _), result) in todo.iter().zip(&results).filter(|((n, _), _)| NAMED.contains(n)) {
                cx.fact(name, outcome(*result, name));
            }
            let text: Vec<String> = todo.iter().zip(&results).map(|((n, _), r)| format!("{n}={}", word(*r))).collect();
            cx.fact("all", Outcome::value(text.join(" ")));
        }
        Err(e) => cx.fact("all", Outcome::broken(format!("children that make the calls: {e}"))),
    }
}

fn outcome(result: i32, name: &str) -> Outcome {
    match result {
        0 => Outcome::allowed(name),
        n if n < 0 => Outcome::Killed { signal: -n, detail: name.to_owned() },
        n => sys::refused(&io::Error::from_raw_os_error(n), name),
    }
}

/// Makes the calls in a child, one after the other; where one kills it, another child goes on behind it.
fn all(todo: &[(&str, [i64; 6])]) -> io::Result<Vec<i32>> {
    let mut results: Vec<i32> = Vec::new();
    // More deaths than this are no filter any more.
    for _ in 0..64 {
        if results.len() == todo.len() {
            break;
        }
        let (reader, writer) = sys::pipe()?;
        let done = results.len();
        // SAFETY: the guest is single-threaded, so the child may do anything.
        let pid = unsafe { libc::fork() };
        match pid {
            -1 => return Err(io::Error::last_os_error()),
            0 => {
                drop(reader);
                // SAFETY: leaves without running the parent's destructors.
                unsafe { libc::_exit(make(&todo[done..], writer)) }
            }
            pid => {
                drop(writer);
                let mut bytes = Vec::new();
                File::from(reader).take(64 * 1024).read_to_end(&mut bytes)?;
                results.extend(bytes.chunks_exact(4).filter_map(|b| b.try_into().ok().map(i32::from_ne_bytes)));
                match sys::wait(pid, Duration::from_secs(5)) {
                    Some(End::Signal(signal)) if results.len() < todo.len() => results.push(-signal),
                    Some(End::Exit(0)) if results.len() == todo.len() => {}
                    other => {
                        let at = todo.get(results.len()).map_or("the end", |(n, _)| n);
                        return Err(io::Error::other(format!("the child ended with {other:?} at {at}")));
                    }
                }
            }
        }
    }
    if results.len() == todo.len() { Ok(results) } else { Err(io::Error::other("too many calls killed the child")) }
}

fn make(todo: &[(&str, [i64; 6])], writer: OwnedFd) -> i32 {
    let mut out = File::from(writer);
    for (name, a) in todo {
        let Some(nr) = number(name) else { return 1 };
        // SAFETY: arguments that no kernel acts on; see `safe`.
        let r = unsafe { libc::syscall(nr, a[0], a[1], a[2], a[3], a[4], a[5]) };
        // The calls that return -1 as a result rather than as a failure set no errno worth the name.
        let result = if r == -1 { io::Error::last_os_error().raw_os_error().unwrap_or(255) } else { 0 };
        if out.write_all(&result.to_ne_bytes()).is_err() {
            return 1;
        }
    }
    0
}

/// Calls with a fact of their own, because capabilities are judged by them.
const NAMED: &[&str] = &[
    "acct",
    "add_key",
    "bpf",
    "clone3",
    "delete_module",
    "finit_module",
    "fsopen",
    "get_mempolicy",
    "getpid",
    "init_module",
    "io_uring_enter",
    "io_uring_register",
    "io_uring_setup",
    "kcmp",
    "kexec_file_load",
    "kexec_load",
    "keyctl",
    "mbind",
    "mount",
    "move_pages",
    "name_to_handle_at",
    "open_by_handle_at",
    "perf_event_open",
    "personality",
    "pidfd_getfd",
    "pivot_root",
    "process_madvise",
    "process_vm_readv",
    "process_vm_writev",
    "ptrace",
    "reboot",
    "request_key",
    "set_mempolicy",
    "setns",
    "swapoff",
    "swapon",
    "sysfs",
    "syslog",
    "umount2",
    "unshare",
    "userfaultfd",
    "ustat",
];

fn compat(cx: &mut Cx) {
    // 20 is getpid and 288 keyctl in the 32-bit table.
    for (name, nr) in [("getpid", 20), ("keyctl", 288)] {
        let end = sys::in_child(Duration::from_secs(5), || old_entry(nr));
        cx.fact(
            name,
            match end {
                Ok(Some(End::Exit(254))) => {
                    Outcome::Absent { why: "this architecture has no 32-bit entry int 0x80".to_owned() }
                }
                end => sys::outcome(end, name),
            },
        );
    }
}

/// Calls through the 32-bit entry. The errno, 0 for success.
#[cfg(target_arch = "x86_64")]
fn old_entry(nr: i32) -> i32 {
    let result: i32;
    // SAFETY: rbx is put back; the calls take no pointers with these arguments. A kernel without the entry kills.
    unsafe {
        std::arch::asm!(
            "push rbx",
            "mov ebx, -1",
            "int 0x80",
            "pop rbx",
            inlateout("eax") nr => result,
            in("ecx") -1,
            in("edx") -1,
            out("r8") _,
            out("r9") _,
            out("r10") _,
            out("r11") _,
        );
    }
    if result < 0 { -result } else { 0 }
}

#[cfg(not(target_arch = "x86_64"))]
fn old_entry(_: i32) -> i32 {
    254
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_named_call_is_known_and_tried() {
        for name in NAMED {
            assert!(number(name).is_some(), "{name}");
            assert!(matches!(safe(name), Safe::With(_)), "{name}");
        }
    }
}
