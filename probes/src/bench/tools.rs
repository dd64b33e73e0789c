//! Whole tools as the agent's user runs them: the toolbox's own, in AWF's chroot, without capabilities, through the
//! proxy. What they fetch is served by the witness; what they made is looked at afterwards, untimed.

use std::{
    fmt, fs, io,
    os::unix::fs::chown,
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

use super::tools_cc;
use crate::{
    Cx,
    sys::{self, check, first_existing},
};

/// Packages that the project's installation brings.
pub const PACKAGES: usize = 200;
/// Packages that the project itself names; each of the others is named by one of them or of each other.
pub const TOP: usize = 10;
/// Start of a package's name, before its number.
pub const PACKAGE: &str = "awf-probe-bench-";
/// The path of the installed package's file whose text says that it is the right one.
pub const TOKEN: &str = "module.exports = \"awf-probe bench package\";\n";
/// Folders of the repository, and files in each.
pub const TREE: (usize, usize) = (50, 100);
/// Small files that one curl fetches.
pub const SMALL: usize = 200;
/// Bytes of a small file.
pub const SMALL_BYTES: usize = 1024;
/// Bytes of the large file.
const LARGE_BYTES: u64 = 64 << 20;
/// Hosts that the proxy's list allows, by tool.
pub const HOSTS: (&str, &str, &str) =
    ("npm.bench.allowed.awf-probe.test", "git.bench.allowed.awf-probe.test", "curl.bench.allowed.awf-probe.test");

/// A tool at its job.
#[derive(Clone, Copy, Debug)]
pub(super) enum Tool {
    Npm,
    Git,
    CurlSmall,
    CurlLarge,
    Cc,
}

/// A tool that is not there: the bench is skipped and not failed.
#[derive(Debug)]
pub(super) struct Missing(pub(super) String);

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "tool missing: {}", self.0)
    }
}

impl std::error::Error for Missing {}

fn missing(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::NotFound, Missing(what.to_owned()))
}

/// A tool that is ready to run, as the agent's user and in its chroot.
pub(super) struct Job {
    tool: Tool,
    program: String,
    /// Its files, on the bind mount that stands for AWF's workspace.
    dir: PathBuf,
    args: Vec<String>,
    /// The commit a clone must end at.
    head: String,
}

impl Job {
    /// Enters the chroot and drops what capsh would drop: this process is the agent's user from here on.
    pub(super) fn prepare(cx: &Cx, tool: Tool) -> io::Result<Self> {
        let head = cx.text("head").to_owned();
        match tool {
            Tool::Git if head.is_empty() => return Err(missing("git, on the machine of the harness")),
            Tool::Npm if cx.number("packages") == Some(0) => return Err(missing("tar, on the machine of the harness")),
            Tool::Npm | Tool::Git | Tool::CurlSmall | Tool::CurlLarge | Tool::Cc => {}
        }
        let name = tool.program();
        let places = ["/usr/bin", "/usr/local/bin", "/bin"].map(|d| format!("{d}/{name}"));
        mount_proc()?;
        sys::chroot("/host")?;
        let places: Vec<&str> = places.iter().map(String::as_str).collect();
        let program = first_existing(&places).ok_or_else(|| missing(name))?;
        let dir = PathBuf::from(format!("/work/bench-{}", cx.text("agent")));
        // A visit that was cut short leaves its files.
        remove(&dir)?;
        fs::create_dir(&dir)?;
        chown(&dir, Some(USER), Some(USER))?;
        become_user()?;
        environment(cx.text("proxy"));
        let args = tool.args();
        let job = Self { tool, program, dir, args, head };
        job.materials()?;
        Ok(job)
    }

    /// What the tool finds.
    fn materials(&self) -> io::Result<()> {
        match self.tool {
            Tool::Npm => {
                let wanted: Vec<String> = (0..TOP).map(|n| format!("\"{PACKAGE}{n:03}\": \"^1.0.0\"")).collect();
                let text = format!(
                    "{{\"name\": \"project\", \"version\": \"1.0.0\", \"private\": true, \"dependencies\": {{{}}}}}\n",
                    wanted.join(", ")
                );
                fs::write(self.dir.join("package.json"), text)
            }
            Tool::Cc => tools_cc::write(&self.dir),
            Tool::Git | Tool::CurlSmall | Tool::CurlLarge => Ok(()),
        }
    }

    /// Runs the tool once; how long it took.
    pub(super) fn run(&self) -> io::Result<Duration> {
        let begun = Instant::now();
        let out = Command::new(&self.program).args(&self.args).current_dir(&self.dir).output()?;
        let took = begun.elapsed();
        ended(self.tool.program(), &out).map(|_| took)
    }

    /// Whether what was to be made is there.
    pub(super) fn check(&self) -> io::Result<()> {
        let counted = |at: &Path| fs::read_dir(at).map(Iterator::count);
        let wrong = |what: String| Err(io::Error::other(what));
        match self.tool {
            Tool::Npm => {
                let modules = self.dir.join("node_modules");
                let names = fs::read_dir(&modules)?.flatten();
                let found = names.filter(|e| e.file_name().to_string_lossy().starts_with(PACKAGE)).count();
                let text = fs::read_to_string(modules.join(format!("{PACKAGE}{:03}/index.js", PACKAGES - 1)))?;
                if found == PACKAGES && text == TOKEN { Ok(()) } else { wrong(format!("{found} packages, {text:?}")) }
            }
            Tool::Git => {
                let clone = self.dir.join("clone");
                let out = Command::new(&self.program).arg("-C").arg(&clone).args(["rev-parse", "HEAD"]).output()?;
                let head = ended("git", &out)?;
                let mut files = 0;
                for n in 0..TREE.0 {
                    files += counted(&clone.join(format!("src/{n:02}")))?;
                }
                if head.trim() == self.head && files == TREE.0 * TREE.1 {
                    Ok(())
                } else {
                    wrong(format!("{files} files at {}", head.trim()))
                }
            }
            Tool::CurlSmall => {
                let (mut files, mut bytes) = (0, 0);
                for entry in fs::read_dir(&self.dir)? {
                    files += 1;
                    bytes += entry?.metadata()?.len();
                }
                let right = files == SMALL && bytes == (SMALL * SMALL_BYTES) as u64;
                if right { Ok(()) } else { wrong(format!("{files} files with {bytes} bytes")) }
            }
            Tool::CurlLarge => match fs::metadata(self.dir.join("large"))?.len() {
                LARGE_BYTES => Ok(()),
                bytes => wrong(format!("{bytes} bytes")),
            },
            Tool::Cc => {
                let out = Command::new(self.dir.join("app")).output()?;
                let said = ended("the program", &out)?;
                if said.trim() == tools_cc::expected() { Ok(()) } else { wrong(format!("it printed {said:?}")) }
            }
        }
    }

    /// Removes its files, for the next visit.
    pub(super) fn tidy(&self) -> io::Result<()> {
        remove(&self.dir.join("node_modules"))?;
        for entry in fs::read_dir(&self.dir)? {
            let path = entry?.path();
            if path.is_dir() { remove(&path)? } else { fs::remove_file(&path)? }
        }
        remove(Path::new(CACHE))
    }
}

impl Tool {
    fn program(self) -> &'static str {
        match self {
            Self::Npm => "npm",
            Self::Git => "git",
            Self::CurlSmall | Self::CurlLarge => "curl",
            Self::Cc => "cc",
        }
    }

    fn args(self) -> Vec<String> {
        let (npm, git, curl) = HOSTS;
        let words = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
        match self {
            Self::Npm => words(&format!(
                "install --cache={CACHE} --strict-ssl=false --no-audit --no-fund --no-update-notifier \
                 --loglevel=error --registry=https://{npm}/"
            )),
            Self::Git => words(&format!("-c http.sslVerify=false clone -q https://{git}/repo.git clone")),
            Self::CurlSmall => words(&format!("-sS -k -f -m 120 -o file-#1 https://{curl}/bench/small-[1-{SMALL}]")),
            Self::CurlLarge => words(&format!("-sS -k -f -m 120 -o large https://{curl}/bytes/{LARGE_BYTES}")),
            Self::Cc => tools_cc::args(),
        }
    }
}

/// AWF's start mounts it, and some tools want it.
fn mount_proc() -> io::Result<()> {
    if Path::new("/host/proc/self").exists() {
        return Ok(());
    }
    fs::create_dir_all("/host/proc")?;
    sys::mount("proc", "/host/proc", "proc", libc::MS_NOSUID | libc::MS_NODEV | libc::MS_NOEXEC, "hidepid=2")
}

/// What AWF's `capsh --drop=cap_sys_chroot,cap_sys_admin --user=agent` does.
fn become_user() -> io::Result<()> {
    for bit in [libc::c_ulong::from(CAP_SYS_CHROOT), libc::c_ulong::from(CAP_SYS_ADMIN)] {
        // SAFETY: PR_CAPBSET_DROP takes a number.
        check(unsafe { libc::prctl(libc::PR_CAPBSET_DROP, bit, 0, 0, 0) }.into())?;
    }
    // SAFETY: an empty list and plain numbers; the probe's process has one thread.
    unsafe {
        check(libc::setgroups(0, std::ptr::null()).into())?;
        check(libc::setresgid(USER, USER, USER).into())?;
        check(libc::setresuid(USER, USER, USER).into())?;
    }
    Ok(())
}

/// AWF's variables, and a home that can be written to.
fn environment(proxy: &str) {
    let url = format!("http://{proxy}");
    let names = ["HTTP_PROXY", "HTTPS_PROXY", "https_proxy"];
    let set = names.map(|n| (n, url.as_str())).into_iter().chain([
        ("PATH", "/usr/local/bin:/usr/bin:/bin"),
        ("HOME", "/tmp"),
        ("LC_ALL", "C"),
        ("GIT_CONFIG_NOSYSTEM", "1"),
        ("GIT_TERMINAL_PROMPT", "0"),
    ]);
    for (name, value) in set {
        // SAFETY: the probe's process has one thread.
        unsafe { std::env::set_var(name, value) };
    }
}

/// What a program printed, or how it failed.
fn ended(name: &str, out: &std::process::Output) -> io::Result<String> {
    if out.status.success() {
        return Ok(String::from_utf8_lossy(&out.stdout).into_owned());
    }
    let said: String = String::from_utf8_lossy(&out.stderr).trim().replace('\n', "; ").chars().take(300).collect();
    Err(io::Error::other(format!("{name} ended with {}: {said}", out.status)))
}

fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_dir_all(path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
        Ok(()) | Err(_) => Ok(()),
    }
}

/// The agent's user in the image's /etc/passwd.
const USER: u32 = 1000;
const CAP_SYS_CHROOT: u8 = 18;
const CAP_SYS_ADMIN: u8 = 21;
const CACHE: &str = "/tmp/npm";
