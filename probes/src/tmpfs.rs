//! tmpfs: its size and each of its flags, each against a tmpfs that differs by that alone.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write},
    os::unix::fs::MetadataExt,
};

use awf_probe_matrix::Outcome;

use crate::{Cx, Probe, sys, tiny};

pub(crate) const PROBES: &[Probe] = &[
    Probe { id: "tmpfs.size", about: "writes more than a tmpfs may hold", specs: &["mounts"], ask: size },
    Probe { id: "tmpfs.mode", about: "mode and owner of a tmpfs's root", specs: &["mounts"], ask: mode },
    Probe {
        id: "tmpfs.flags",
        about: "noexec, nosuid and nodev, each by what they forbid",
        specs: &["mounts"],
        ask: flags,
    },
    Probe {
        id: "tmpfs.places",
        about: "a tmpfs over a volume and below a read-only bind",
        specs: &["mounts"],
        ask: places,
    },
    Probe { id: "tmpfs.shm", about: "fills /dev/shm up to 8 MiB", specs: &["limits", "plain"], ask: shm },
    Probe {
        id: "tmpfs.charged",
        about: "writes 128 MiB into a tmpfs that is large enough",
        specs: &["memory-tmpfs", "unlimited"],
        ask: charged,
    },
];

const KIB: usize = 1024;
const MIB: usize = 1 << 20;

/// Writes up to `most` bytes into a new file and says how many fitted.
fn fill(path: &str, most: usize) -> (usize, Option<io::Error>) {
    let block = vec![0x5a_u8; 64 * KIB];
    let mut file = match File::create(path) {
        Ok(f) => f,
        Err(e) => return (0, Some(e)),
    };
    let mut total = 0;
    while total < most {
        match file.write(&block) {
            Ok(n) => total += n,
            Err(e) => return (total, Some(e)),
        }
    }
    (total, None)
}

fn filled(path: &str, most: usize) -> (usize, Outcome) {
    let (total, error) = fill(path, most);
    let text = format!("{} KiB fitted", total / KIB);
    drop(fs::remove_file(path));
    (
        total,
        match error {
            None => Outcome::allowed(text),
            Some(e) => sys::refused(&e, text),
        },
    )
}

fn size(cx: &mut Cx) {
    for (name, dir) in [("small", "/t/small"), ("open", "/t/open")] {
        let (total, outcome) = filled(&format!("{dir}/fill"), 4 * MIB);
        cx.fact(name, outcome);
        cx.fact(&format!("{name}.kib"), Outcome::value(total / KIB));
        cx.fact(
            &format!("{name}.says"),
            match capacity(dir) {
                Ok(bytes) => Outcome::value(bytes / KIB as u64),
                Err(e) => sys::refused(&e, "statfs"),
            },
        );
    }
}

/// What statfs(2) says the file system holds.
fn capacity(path: &str) -> io::Result<u64> {
    let s = rustix::fs::statfs(path)?;
    Ok(s.f_blocks.saturating_mul(u64::try_from(s.f_bsize).unwrap_or(0)))
}

fn mode(cx: &mut Cx) {
    for (name, dir) in [("own", "/t/mode"), ("open", "/t/open")] {
        cx.fact(
            name,
            match fs::metadata(dir) {
                Ok(m) => Outcome::value(format!("{:o} {}:{}", m.mode() & 0o7777, m.uid(), m.gid())),
                Err(e) => sys::refused(&e, dir),
            },
        );
    }
}

fn flags(cx: &mut Cx) {
    for (name, dir) in [("noexec", "/t/noexec"), ("exec", "/t/open")] {
        cx.fact(name, tiny::executes(&format!("{dir}/program")));
    }
    for (name, dir) in [("nosuid", "/t/nosuid"), ("suid", "/t/open")] {
        cx.fact(name, tiny::gains(&format!("{dir}/setuid")));
    }
    for (name, dir) in [("nodev", "/t/nodev"), ("dev", "/t/open")] {
        cx.fact(name, node(&format!("{dir}/null")));
    }
}

/// Makes a node of /dev/null and opens it.
fn node(path: &str) -> Outcome {
    let p = sys::c_path(path);
    // SAFETY: the pointer is valid for the call. 1:3 is /dev/null.
    let made = unsafe { libc::mknod(p.as_ptr(), libc::S_IFCHR | 0o666, libc::makedev(1, 3)) };
    if let Err(e) = sys::check(made.into()) {
        return Outcome::broken(format!("mknod {path}: {e}"));
    }
    sys::attempt(OpenOptions::new().write(true).open(path), format!("open {path}"))
}

/// tmpfs's magic number in statfs(2).
const TMPFS: rustix::fs::FsWord = 0x0102_1994;

fn is_tmpfs(path: &str) -> Outcome {
    match rustix::fs::statfs(path) {
        Ok(s) if s.f_type == TMPFS => Outcome::allowed(format!("{path} is a tmpfs")),
        Ok(s) => Outcome::refused("another file system", format!("type {:x}", s.f_type)),
        Err(e) => sys::refused(&e.into(), path),
    }
}

fn places(cx: &mut Cx) {
    // The volume is mounted twice; at one of them a tmpfs lies over one of its folders.
    // The volume is every runtime's, so the names are this sandbox's own.
    let (beside, hidden) = (format!("beside-{}", cx.text("seed")), format!("inner/hidden-{}", cx.text("seed")));
    let wrote = fs::write(format!("/m/over/{beside}"), "x").and_then(|()| fs::write(format!("/m/over/{hidden}"), "x"));
    cx.fact("over.wrote", sys::attempt(wrote, "a file beside the tmpfs and one in it"));
    cx.fact("over.kind", is_tmpfs("/m/over/inner"));
    cx.fact(
        "over.beside",
        sys::attempt(fs::read(format!("/m/again/{beside}")), "the file beside, through the other mount"),
    );
    cx.fact(
        "over.hidden",
        sys::attempt(fs::read(format!("/m/again/{hidden}")), "the file in it, through the other mount"),
    );
    // AWF's: a tmpfs at /host/dev/shm below the read-only bind of /dev.
    cx.fact("nested.outside", sys::attempt(may_write("/host/dev"), "access(W_OK) on /host/dev"));
    cx.fact("nested.kind", is_tmpfs("/host/dev/shm"));
    let (_, outcome) = filled("/host/dev/shm/awf-probe", MIB);
    cx.fact("nested.write", outcome);
    cx.fact("nested.exec", tiny::executes("/host/dev/shm/awf-probe-program"));
    // Not the host's own: what is written there must not be what /dev/shm of the host holds.
    cx.fact(
        "nested.says",
        match capacity("/host/dev/shm") {
            Ok(bytes) => Outcome::value(bytes / KIB as u64),
            Err(e) => sys::refused(&e, "statfs"),
        },
    );
}

/// access(2) for writing: asks, and writes nothing.
pub(crate) fn may_write(path: &str) -> io::Result<()> {
    rustix::fs::access(path, rustix::fs::Access::WRITE_OK).map_err(io::Error::from)
}

fn shm(cx: &mut Cx) {
    cx.fact("kind", is_tmpfs("/dev/shm"));
    // Files of half a MiB: the sandbox with the small /dev/shm limits the size of a file, too.
    let (mut total, mut outcome) = (0, Outcome::allowed("8 MiB fitted"));
    let names: Vec<String> = (0..16).map(|i| format!("/dev/shm/fill{i}")).collect();
    for name in &names {
        let (n, error) = fill(name, MIB / 2);
        total += n;
        if let Some(e) = error {
            outcome = sys::refused(&e, format!("{} KiB fitted", total / KIB));
            break;
        }
    }
    names.iter().for_each(|n| drop(fs::remove_file(n)));
    cx.fact("", outcome);
    cx.fact("kib", Outcome::value(total / KIB));
}

fn charged(cx: &mut Cx) {
    let (total, outcome) = filled("/t/big/fill", 128 * MIB);
    cx.fact("kib", Outcome::value(total / KIB));
    cx.fact("", outcome);
}
