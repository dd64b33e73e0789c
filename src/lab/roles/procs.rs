//! The host's processes and cgroups, read from /proc and /sys/fs/cgroup.
//!
//! Processes come and go while they are read: what vanishes halfway is left out, never an error.

use std::collections::VecDeque;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::Context;

use super::wire::Process;

/// Processes with a task of exactly this comm.
pub(super) fn find_comm(comm: &str) -> Vec<i32> {
    let named =
        |path: PathBuf| fs::read(path.join("comm")).is_ok_and(|text| text.strip_suffix(b"\n") == Some(comm.as_bytes()));
    let has_task = |pid: &i32| {
        let tasks = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
        tasks.take(TASKS).any(|task| named(task.path()))
    };
    pids().into_iter().filter(has_task).collect()
}

/// The process, then its ancestors up to pid 1; empty if there is no such process.
pub(super) fn chain(pid: i32) -> Vec<Process> {
    let mut chain = Vec::new();
    let mut next = Some(pid);
    while let Some(process) = next.and_then(read) {
        next = parent(process.pid).filter(|parent| *parent > 0);
        chain.push(process);
        if chain.len() == CHAIN {
            break;
        }
    }
    chain
}

/// Whether a process is in another network namespace than this one, which is the host's.
pub(super) fn own_network(pid: i32) -> anyhow::Result<bool> {
    Ok(namespace(pid, "net")? != namespace(std::process::id() as i32, "net")?)
}

/// The namespace of this kind that a process is in.
fn namespace(pid: i32, kind: &str) -> anyhow::Result<PathBuf> {
    let path = format!("/proc/{pid}/ns/{kind}");
    fs::read_link(&path).with_context(|| path)
}

/// For each kind of namespace, whether a process is in the one of our own shim, which runs on the host. Pid 1 may be
/// closed to us.
pub(super) fn namespaces(pid: i32) -> anyhow::Result<Vec<(String, bool)>> {
    let shim = std::os::unix::process::parent_id() as i32;
    let kinds = ["cgroup", "ipc", "mnt", "net", "pid", "uts"];
    kinds.into_iter().map(|kind| Ok((kind.to_owned(), namespace(pid, kind)? == namespace(shim, kind)?))).collect()
}

/// The permitted capabilities of our own parent, the shim: no container can be given others.
pub(super) fn powers_of_parent() -> anyhow::Result<u64> {
    let path = format!("/proc/{}/status", std::os::unix::process::parent_id());
    let text = fs::read_to_string(&path).with_context(|| path.clone())?;
    let line = text.lines().find_map(|l| l.strip_prefix("CapPrm:")).with_context(|| format!("{path}: no CapPrm"))?;
    u64::from_str_radix(line.trim(), 16).with_context(|| format!("{path}: CapPrm is {line:?}"))
}

/// Processes whose command line or cgroup names one of the containers, but for ourselves and those that only wait to
/// be reaped.
pub(super) fn mentioning(ids: &[String]) -> Vec<Process> {
    let me = std::process::id() as i32;
    let mentions = |pid: &i32| {
        ["cmdline", "cgroup"].iter().any(|file| {
            let text = slurp(&format!("/proc/{pid}/{file}"));
            ids.iter().any(|id| contains(&text, id))
        })
    };
    let alive = |pid: &i32| {
        let stat = slurp(&format!("/proc/{pid}/stat"));
        let after = stat.iter().rposition(|b| *b == b')').map_or(&[][..], |i| &stat[i + 1..]);
        after.iter().find(|b| **b != b' ').is_some_and(|state| *state != b'Z')
    };
    pids().into_iter().filter(|pid| *pid != me).filter(mentions).filter(alive).filter_map(read).collect()
}

/// Comm and proportional set size, in KiB, of every process that names the container or descends from one that does.
pub(super) fn memory(id: &str) -> anyhow::Result<Vec<(String, u64)>> {
    // A process of a sandbox may name it neither in its command line nor in its cgroup.
    let pids = with_descendants(mentioning(&[id.to_owned()]).iter().map(|p| p.pid).collect());
    let mut found = Vec::new();
    for pid in pids {
        let path = format!("/proc/{pid}/smaps_rollup");
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            // Gone since it was listed.
            Err(_) if read(pid).is_none() => continue,
            Err(e) => return Err(e).context(path),
        };
        let pss = text.lines().find_map(|l| l.strip_prefix("Pss:")?.trim().strip_suffix(" kB")?.parse().ok());
        let pss = pss.with_context(|| format!("{path} has no Pss"))?;
        let comm = read(pid).map(|p| p.comm).unwrap_or_default();
        found.push((comm, pss));
    }
    Ok(found)
}

/// These processes, and all that descend from them.
fn with_descendants(mut pids: Vec<i32>) -> Vec<i32> {
    let all = self::pids();
    loop {
        let more: Vec<i32> = all
            .iter()
            .filter(|pid| !pids.contains(pid) && parent(**pid).is_some_and(|p| pids.contains(&p)))
            .copied()
            .collect();
        if more.is_empty() {
            return pids;
        }
        pids.extend(more);
    }
}

/// Cgroup directories whose name holds the container's id. Our own view of the tree may be cut down to our own
/// cgroup, so init's view and a bind mount of the host's come first.
pub(super) fn cgroups(ids: &[String]) -> Vec<String> {
    let prefixes = ["/proc/1/root", "/host", ""];
    let readable = |prefix: &&str| fs::read_dir(format!("{prefix}{CGROUPS}")).is_ok();
    let Some(prefix) = prefixes.into_iter().find(readable) else {
        return Vec::new();
    };
    let paths = walk(Path::new(&format!("{prefix}{CGROUPS}")), ids);
    paths.iter().map(|path| path.to_string_lossy().trim_start_matches(prefix).to_owned()).collect()
}

/// Kills the containerd shim of a container, and the runtime it waits for: the process must be a shim, and each must name
/// the container.
pub(super) fn end_shim(pid: i32, id: &str) -> anyhow::Result<()> {
    let process = read(pid).ok_or_else(|| anyhow::anyhow!("no process {pid}"))?;
    let is_id = id.len() == 64 && id.bytes().all(|b| b.is_ascii_hexdigit());
    if !is_id || !process.comm.starts_with("containerd-shim") || !contains(&slurp(&format!("/proc/{pid}/cmdline")), id)
    {
        anyhow::bail!("process {pid} ({}) is not the shim of {id}", process.comm);
    }
    let names = |pid: &i32| contains(&slurp(&format!("/proc/{pid}/cmdline")), id);
    let waited_for: Vec<i32> = with_descendants(vec![pid]).into_iter().filter(|p| *p != pid).filter(names).collect();
    // SAFETY: kill takes numbers; the process was checked just now.
    if unsafe { libc::kill(pid, libc::SIGKILL) } != 0 {
        return Err(std::io::Error::last_os_error().into());
    }
    // It may be gone with its shim.
    for pid in waited_for.iter().filter(|p| names(p)) {
        // SAFETY: as above.
        unsafe { libc::kill(*pid, libc::SIGKILL) };
    }
    Ok(())
}

/// Breadth first, within bounds of time, depth and number; symbolic links are not followed.
fn walk(root: &Path, ids: &[String]) -> Vec<PathBuf> {
    let end = Instant::now() + WALK;
    let mut found = Vec::new();
    let mut queue = VecDeque::from([(root.to_owned(), 0)]);
    let mut seen = 0;
    while let Some((directory, depth)) = queue.pop_front() {
        let entries = fs::read_dir(&directory).into_iter().flatten().flatten();
        for entry in entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())) {
            seen += 1;
            if seen > DIRECTORIES || Instant::now() > end {
                return found;
            }
            let name = entry.file_name();
            if ids.iter().any(|id| name.to_string_lossy().contains(id.as_str())) {
                found.push(entry.path());
            } else if depth < DEPTH {
                queue.push_back((entry.path(), depth + 1));
            }
        }
    }
    found
}

fn read(pid: i32) -> Option<Process> {
    let comm = fs::read(format!("/proc/{pid}/comm")).ok()?;
    let exe = fs::read_link(format!("/proc/{pid}/exe")).map(|path| path.to_string_lossy().into_owned());
    let mut args = slurp(&format!("/proc/{pid}/cmdline"));
    args.iter_mut().filter(|byte| **byte == 0).for_each(|byte| *byte = b' ');
    args.truncate(ARGS);
    Some(Process {
        pid,
        comm: String::from_utf8_lossy(comm.trim_ascii_end()).into_owned(),
        exe: exe.unwrap_or_default(),
        args: String::from_utf8_lossy(args.trim_ascii()).into_owned(),
        kvm: holds_kvm(pid),
    })
}

/// Whether a descriptor or a mapping of the process is KVM's. The descriptors of another user's process are closed
/// to us without DAC_READ_SEARCH, its mappings are not, and every VMM maps its vcpus.
fn holds_kvm(pid: i32) -> bool {
    let is_kvm = |target: &[u8]| contains(target, "anon_inode:kvm-vcpu") || target == b"/dev/kvm";
    let descriptors = fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
    let targets = descriptors.take(DESCRIPTORS).filter_map(|fd| fs::read_link(fd.path()).ok());
    targets.into_iter().any(|target| is_kvm(target.as_os_str().as_encoded_bytes()))
        || contains(&slurp(&format!("/proc/{pid}/maps")), "anon_inode:kvm-vcpu")
}

fn parent(pid: i32) -> Option<i32> {
    let stat = fs::read(format!("/proc/{pid}/stat")).ok()?;
    // The comm may hold anything, even a closing parenthesis; the last one ends it.
    let end = stat.iter().rposition(|byte| *byte == b')')?;
    String::from_utf8_lossy(&stat[end + 1..]).split_whitespace().nth(1)?.parse().ok()
}

/// The runs whose helper is there: this one's at least, or the process table does not show them.
pub(super) fn runs() -> Vec<String> {
    let lines = pids().into_iter().map(|pid| slurp(&format!("/proc/{pid}/cmdline")));
    lines.filter_map(|line| helped(&line)).collect()
}

/// The run that a helper's command line names.
fn helped(line: &[u8]) -> Option<String> {
    let mut words = line.strip_suffix(b"\0")?.rsplit(|byte| *byte == 0);
    let (run, helper, role) = (words.next()?, words.next()?, words.next()?);
    (helper == b"helper" && role == b"role").then(|| String::from_utf8_lossy(run).into_owned())
}

fn pids() -> Vec<i32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let mut pids: Vec<i32> = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect();
    pids.sort_unstable();
    pids
}

/// The beginning of a file, empty if it cannot be read.
fn slurp(path: &str) -> Vec<u8> {
    use std::io::Read;
    let mut bytes = Vec::new();
    if let Ok(file) = fs::File::open(path) {
        // What was read before an error still counts.
        let _ = file.take(SLURP).read_to_end(&mut bytes);
    }
    bytes
}

fn contains(haystack: &[u8], needle: &str) -> bool {
    !needle.is_empty() && haystack.windows(needle.len()).any(|window| window == needle.as_bytes())
}

const CGROUPS: &str = "/sys/fs/cgroup";
const CHAIN: usize = 16;
const ARGS: usize = 256;
const TASKS: usize = 4096;
const DESCRIPTORS: usize = 4096;
const SLURP: u64 = 1 << 20;
const DEPTH: usize = 8;
const DIRECTORIES: usize = 50_000;
const WALK: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_helper_names_its_run_and_nothing_else_does() {
        assert_eq!(helped(b"/awf-probe\0role\0helper\x001fe240a4\0").as_deref(), Some("1fe240a4"));
        for other in [&b"/awf-probe\0role\0helper\0"[..], b"/awf-probe\0role\0witness\x001fe240a4\0", b"sh\0", b""] {
            assert_eq!(helped(other), None);
        }
    }

    #[test]
    fn a_named_thread_is_found_and_so_are_its_ancestors() {
        let (send, receive) = std::sync::mpsc::channel::<()>();
        let name = format!("awf{}", std::process::id());
        let thread = std::thread::Builder::new().name(name.clone()).spawn(move || receive.recv()).expect("a thread");
        let me = std::process::id() as i32;
        let found = (0..100).any(|_| {
            find_comm(&name) == [me] || {
                std::thread::sleep(Duration::from_millis(5));
                false
            }
        });
        assert!(found);
        drop(send);
        let _ = thread.join();
        let chain = chain(me);
        assert_eq!(chain[0].pid, me);
        assert!(!chain[0].exe.is_empty() && chain.len() > 1 && chain.len() <= CHAIN);
    }

    #[test]
    fn an_unknown_pid_is_an_empty_chain() {
        assert!(chain(i32::MAX).is_empty());
        assert!(find_comm("").is_empty());
        assert!(!contains(b"abc", ""));
    }

    #[test]
    fn cgroup_walk_finds_names_and_survives_loops() {
        let root = tempfile::tempdir().expect("a directory");
        fs::create_dir_all(root.path().join("a/docker/0123abcd/inner")).expect("directories");
        std::os::unix::fs::symlink(root.path(), root.path().join("a/loop")).expect("a link");
        assert_eq!(walk(root.path(), &["0123abcd".to_owned()]), [root.path().join("a/docker/0123abcd")]);
    }
}
