//! Bind mounts and volumes: read-only by every operation, device overlays, single files, escapes, and what programs
//! expect of a workspace's file system.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read, Write},
    os::{
        fd::AsRawFd,
        unix::{
            ffi::OsStrExt,
            fs::{FileExt, FileTypeExt, MetadataExt, OpenOptionsExt, PermissionsExt},
            net::{UnixListener, UnixStream},
        },
    },
    path::Path,
};

use awf_probe_matrix::Outcome;

use crate::{
    Cx, Probe,
    image::CANARY,
    sys::{self, attempt, check},
    tmpfs::may_write,
};

pub(crate) const PROBES: &[Probe] = &[
    Probe {
        id: "bind.ro",
        about: "every kind of change through a read-only and a writable mount",
        specs: &["mounts"],
        ask: ro,
    },
    Probe { id: "bind.recursive", about: "a mount below a read-only bind", specs: &["mounts"], ask: recursive },
    Probe {
        id: "bind.remount",
        about: "mount --bind, then remount it read-only",
        specs: &["mounts", "bare"],
        ask: remount,
    },
    Probe { id: "bind.overlays", about: "files covered by /dev/null", specs: &["mounts"], ask: overlays },
    Probe { id: "bind.devices", about: "/host/dev: null, zero and full", specs: &["mounts"], ask: devices },
    Probe { id: "bind.file", about: "a single file as a mount", specs: &["mounts"], ask: single },
    Probe { id: "bind.escape", about: "links that lead out of the workspace", specs: &["mounts"], ask: escape },
    Probe { id: "bind.fs", about: "what programs expect of a workspace", specs: &["mounts"], ask: features },
];

/// A folder of the volume that no other sandbox of the run uses: the volume is every runtime's.
fn own(cx: &Cx, mount: &str, name: &str) -> String {
    format!("/m/{mount}/{name}-{}", cx.text("seed"))
}

fn ro(cx: &mut Cx) {
    // Files of its own for each side and each act that takes a file away: where the read-only mount lets one happen,
    // neither the others nor the controls may miss theirs.
    let prepared = ["ro", "rw"].iter().try_for_each(|side| {
        let dir = own(cx, "rw", &format!("bind-{side}"));
        fs::create_dir_all(&dir)?;
        ["file", "moved", "gone"].iter().try_for_each(|name| fs::write(format!("{dir}/{name}"), "old"))
    });
    if let Err(e) = prepared {
        return cx.fact("", Outcome::broken(format!("cannot prepare the volume: {e}")));
    }
    let sides = ["ro", "rw"].map(|side| (side, own(cx, side, &format!("bind-{side}"))));
    cx.fact(
        "seen",
        match fs::read(format!("{}/file", sides[0].1)) {
            Ok(b) if b == b"old" => Outcome::allowed("the file of the writable mount"),
            Ok(_) => Outcome::refused("other content", ""),
            Err(e) => sys::refused(&e, "through the read-only mount"),
        },
    );
    for (side, dir) in sides {
        let at = |name: &str| format!("{dir}/{name}");
        let facts: [(&str, io::Result<()>); 8] = [
            ("write", OpenOptions::new().write(true).open(at("file")).map(drop)),
            ("truncate", truncate(&at("file"))),
            ("create", File::create(at("new")).map(drop)),
            ("mkdir", fs::create_dir(at("folder"))),
            ("symlink", std::os::unix::fs::symlink("file", at("link"))),
            ("chmod", fs::set_permissions(at("file"), fs::Permissions::from_mode(0o600))),
            ("rename", fs::rename(at("moved"), at("other"))),
            ("unlink", fs::remove_file(at("gone"))),
        ];
        for (name, result) in facts {
            cx.fact(&format!("{side}.{name}"), attempt(result, format!("{name} in {dir}")));
        }
    }
}

fn truncate(path: &str) -> io::Result<()> {
    let p = sys::c_path(path);
    // SAFETY: the pointer is valid for the call.
    check(unsafe { libc::truncate(p.as_ptr(), 1) }.into()).map(drop)
}

/// /sys with everything mounted below it: on every host /sys/fs/cgroup is a mount of its own.
fn recursive(cx: &mut Cx) {
    let dev = |path: &str| fs::metadata(path).map(|m| m.dev());
    cx.fact(
        "submount",
        match (dev("/host/sys"), dev("/host/sys/fs/cgroup")) {
            (Ok(a), Ok(b)) if a != b => Outcome::allowed("/host/sys/fs/cgroup is a file system of its own"),
            (Ok(_), Ok(_)) => {
                Outcome::refused("no submount", "/host/sys/fs/cgroup is the same file system as /host/sys")
            }
            (Err(e), _) | (_, Err(e)) => sys::refused(&e, "stat"),
        },
    );
    // Asked, not written: these are the host's.
    cx.fact("top", attempt(may_write("/host/sys"), "access(W_OK) on /host/sys"));
    cx.fact("below", attempt(may_write("/host/sys/fs/cgroup"), "access(W_OK) on /host/sys/fs/cgroup"));
    cx.fact("writable", attempt(may_write("/t/open"), "access(W_OK) on a tmpfs"));
    cx.fact("read-only", attempt(may_write("/m/ro"), "access(W_OK) on a read-only volume"));
}

/// What AWF's entrypoint does to the cgroup file systems.
fn remount(cx: &mut Cx) {
    let (dir, place) = ("/tmp/awf-probe-remount", "/tmp/awf-probe-remount/file");
    if let Err(e) = fs::create_dir_all(dir).and_then(|()| fs::write(place, "x")) {
        return cx.fact("", Outcome::broken(format!("cannot prepare {dir}: {e}")));
    }
    let open = || OpenOptions::new().write(true).open(place);
    let bound = sys::mount(dir, dir, "none", libc::MS_BIND, "");
    let there = bound.is_ok();
    cx.fact("bind", attempt(bound, format!("mount --bind {dir}")));
    cx.fact("before", attempt(open(), "open for writing before the remount"));
    if !there {
        return;
    }
    let flags = libc::MS_BIND | libc::MS_REMOUNT | libc::MS_RDONLY;
    cx.fact("remount", attempt(sys::mount("none", dir, "none", flags, ""), "mount -o remount,ro,bind"));
    cx.fact("after", attempt(open(), "open for writing after it"));
}

/// Credential files of the kind AWF covers; [`crate::OVERLAYS`] is also what the harness mounts.
pub const OVERLAYS: [&str; 30] = [
    ".netrc",
    ".npmrc",
    ".pypirc",
    ".git-credentials",
    ".docker/config.json",
    ".cargo/credentials",
    ".cargo/credentials.toml",
    ".composer/auth.json",
    ".config/gh/hosts.yml",
    ".config/hub",
    ".config/git/credentials",
    ".config/gcloud/credentials.db",
    ".config/gcloud/access_tokens.db",
    ".config/gcloud/application_default_credentials.json",
    ".config/pip/pip.conf",
    ".config/op/config",
    ".ssh/id_rsa",
    ".ssh/id_ecdsa",
    ".ssh/id_ed25519",
    ".ssh/id_dsa",
    ".ssh/config",
    ".aws/credentials",
    ".aws/config",
    ".azure/accessTokens.json",
    ".azure/msal_token_cache.json",
    ".kube/config",
    ".gem/credentials",
    ".m2/settings.xml",
    ".gnupg/secring.gpg",
    ".vault-token",
];

fn overlays(cx: &mut Cx) {
    let (mut devices, mut empty, mut swallowed, mut odd) = (0, 0, 0, Vec::new());
    for home in ["/home/agent", "/host/home/agent"] {
        for file in OVERLAYS {
            let path = format!("{home}/{file}");
            let is_device = fs::metadata(&path).is_ok_and(|m| m.file_type().is_char_device());
            let reads_empty = fs::read(&path).is_ok_and(|b| b.is_empty());
            // Written to, and still nothing there.
            let wrote = OpenOptions::new().write(true).open(&path).and_then(|mut f| f.write_all(b"leaked"));
            let swallows = wrote.is_ok() && fs::read(&path).is_ok_and(|b| b.is_empty());
            devices += usize::from(is_device);
            empty += usize::from(reads_empty);
            swallowed += usize::from(swallows);
            if !(is_device && reads_empty && swallows) && odd.len() < 5 {
                odd.push(path);
            }
        }
    }
    cx.fact("devices", Outcome::value(devices));
    cx.fact("empty", Outcome::value(empty));
    cx.fact("swallowed", Outcome::value(swallowed));
    cx.fact("odd", Outcome::value(format!("{odd:?}")));
    let beside = "/host/home/agent/awf-probe-beside";
    let back = fs::write(beside, "leaked").and_then(|()| fs::read(beside));
    cx.fact(
        "beside",
        match back {
            Ok(b) if b == b"leaked" => Outcome::allowed("a file without a cover keeps what is written"),
            Ok(_) => Outcome::refused("other content", ""),
            Err(e) => sys::refused(&e, beside),
        },
    );
    // The engine's socket, as AWF hides it.
    cx.fact("socket.covered", attempt(UnixStream::connect("/m/docker.sock"), "connect to the covered path"));
    let own = "/tmp/awf-probe-bind.sock";
    drop(fs::remove_file(own));
    let control = UnixListener::bind(own).and_then(|l| UnixStream::connect(own).map(|s| (l, s)));
    cx.fact("socket.own", attempt(control, "connect to a socket of its own"));
}

fn devices(cx: &mut Cx) {
    let write = |path: &str| OpenOptions::new().write(true).open(path).and_then(|mut f| f.write_all(b"x"));
    cx.fact("null.write", attempt(write("/host/dev/null"), "write to /host/dev/null"));
    let read = |path: &str| {
        let mut bytes = [1_u8; 8];
        File::open(path).and_then(|mut f| f.read(&mut bytes)).map(|n| (n, bytes))
    };
    cx.fact(
        "null.read",
        match read("/host/dev/null") {
            Ok((n, _)) => Outcome::value(n),
            Err(e) => sys::refused(&e, "/host/dev/null"),
        },
    );
    cx.fact(
        "zero.read",
        match read("/host/dev/zero") {
            Ok((8, [0, 0, 0, 0, 0, 0, 0, 0])) => Outcome::allowed("eight zeros"),
            Ok((n, bytes)) => Outcome::refused("other content", format!("{n} bytes: {bytes:?}")),
            Err(e) => sys::refused(&e, "/host/dev/zero"),
        },
    );
    cx.fact(
        "random.read",
        match read("/host/dev/urandom") {
            Ok((8, bytes)) if bytes != [0; 8] && bytes != [1; 8] => Outcome::allowed("eight bytes"),
            Ok((n, _)) => Outcome::refused("other content", format!("{n} bytes")),
            Err(e) => sys::refused(&e, "/host/dev/urandom"),
        },
    );
    cx.fact("full.write", attempt(write("/host/dev/full"), "write to /host/dev/full"));
}

/// /etc/hosts, which every engine binds as a single file.
fn single(cx: &mut Cx) {
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let mounted = |path: &str| mounts.lines().any(|l| l.split(' ').nth(4) == Some(path));
    let listed = |path: &str| match mounted(path) {
        true => Outcome::allowed("listed"),
        false => Outcome::refused("not listed", path),
    };
    cx.fact("mounted", listed("/etc/hosts"));
    cx.fact("not-mounted", listed("/etc/passwd"));
    cx.fact(
        "content",
        match fs::read_to_string("/etc/hosts") {
            Ok(s) if s.contains("localhost") => Outcome::allowed("the engine's entries"),
            Ok(_) => Outcome::refused("other content", ""),
            Err(e) => sys::refused(&e, "/etc/hosts"),
        },
    );
    let append = OpenOptions::new().append(true).open("/etc/hosts").and_then(|mut f| f.write_all(b"# awf-probe\n"));
    cx.fact("append", attempt(append, "append to /etc/hosts"));
    for (name, path) in [("replace", "/etc/hosts"), ("replace-other", "/etc/nsswitch.conf")] {
        let new = "/etc/awf-probe-new";
        let result = fs::write(new, "x").and_then(|()| fs::rename(new, path));
        cx.fact(name, attempt(result, format!("rename over {path}")));
    }
}

fn escape(cx: &mut Cx) {
    let dir = own(cx, "rw", "escape");
    let made = fs::create_dir_all(&dir).and_then(|()| fs::write(format!("{dir}/inside"), "inside"));
    if let Err(e) = made {
        return cx.fact("", Outcome::broken(format!("cannot prepare {dir}: {e}")));
    }
    let link = |name: &str, target: &str| {
        let path = format!("{dir}/{name}");
        drop(fs::remove_file(&path));
        std::os::unix::fs::symlink(target, &path).and_then(|()| fs::read_to_string(&path))
    };
    let is = |result: io::Result<String>, wanted: &str, what: &str| match result {
        Ok(s) if s.trim() == wanted => Outcome::allowed(what),
        Ok(s) => Outcome::refused("other content", s.chars().take(40).collect::<String>()),
        Err(e) => sys::refused(&e, what),
    };
    cx.fact("symlink.inside", is(link("relative", "inside"), "inside", "a link to a neighbour"));
    let up = format!("{}etc/awf-probe-canary", "../".repeat(40));
    cx.fact("symlink.up", is(link("up", &up), CANARY, "forty times .. ends at the sandbox's own root"));
    cx.fact("symlink.absolute", is(link("root", "/etc/awf-probe-canary"), CANARY, "/ is the sandbox's own root"));
    let hard = |from: &str, to: String| {
        drop(fs::remove_file(&to));
        fs::hard_link(from, to)
    };
    cx.fact("hard-link.inside", attempt(hard(&format!("{dir}/inside"), format!("{dir}/twin")), "within the mount"));
    cx.fact("hard-link.out", attempt(hard("/etc/awf-probe-canary", format!("{dir}/stolen")), "of a file outside it"));
    cx.fact("rename.inside", attempt(fs::rename(format!("{dir}/twin"), format!("{dir}/moved")), "within the mount"));
    cx.fact("rename.out", attempt(fs::rename(format!("{dir}/moved"), "/tmp/awf-probe-moved"), "out of the mount"));
}

fn features(cx: &mut Cx) {
    let dir = own(cx, "rw", "features");
    let dir = dir.as_str();
    if let Err(e) = fs::create_dir_all(dir) {
        return cx.fact("", Outcome::broken(format!("cannot make {dir}: {e}")));
    }
    let file = format!("{dir}/file");
    if let Err(e) = fs::write(&file, "content") {
        return cx.fact("", Outcome::broken(format!("cannot make {file}: {e}")));
    }
    xattr(cx, &file);
    owner(cx, &file);
    links(cx, dir, &file);
    tmpfile(cx, dir);
    direct(cx, dir);
    holes(cx, dir);
}

fn xattr(cx: &mut Cx, file: &str) {
    let mut buffer = [0_u8; 32];
    let name = "user.awf-probe";
    let before = rustix::fs::getxattr(file, name, &mut buffer);
    cx.fact("xattr.before", attempt(before.map_err(io::Error::from), "getxattr before it is set"));
    let set = rustix::fs::setxattr(file, name, b"value", rustix::fs::XattrFlags::empty());
    let got = set.and_then(|()| rustix::fs::getxattr(file, name, &mut buffer));
    cx.fact(
        "xattr",
        match got {
            Ok(n) if &buffer[..n] == b"value" => Outcome::allowed("the value that was set"),
            Ok(_) => Outcome::refused("other content", ""),
            Err(e) => sys::refused(&e.into(), "setxattr, getxattr"),
        },
    );
}

fn owner(cx: &mut Cx, file: &str) {
    let now = |file: &str| match fs::metadata(file) {
        Ok(m) => Outcome::value(format!("{}:{} {:o}", m.uid(), m.gid(), m.mode() & 0o7777)),
        Err(e) => sys::refused(&e, file),
    };
    drop(fs::set_permissions(file, fs::Permissions::from_mode(0o644)));
    cx.fact("owner.before", now(file));
    let changed = std::os::unix::fs::chown(file, Some(1234), Some(1235))
        .and_then(|()| fs::set_permissions(file, fs::Permissions::from_mode(0o751)));
    cx.fact(
        "owner",
        match changed {
            Ok(()) => now(file),
            Err(e) => sys::refused(&e, "chown, chmod"),
        },
    );
}

fn links(cx: &mut Cx, dir: &str, file: &str) {
    let count = |file: &str| match fs::metadata(file) {
        Ok(m) => Outcome::value(m.nlink()),
        Err(e) => sys::refused(&e, file),
    };
    cx.fact("links.before", count(file));
    let twin = format!("{dir}/twin");
    drop(fs::remove_file(&twin));
    cx.fact(
        "links",
        match fs::hard_link(file, &twin) {
            Ok(()) => count(file),
            Err(e) => sys::refused(&e, "link"),
        },
    );
    let (a, b) = (format!("{dir}/a"), format!("{dir}/b"));
    let prepared = fs::write(&a, "a").and_then(|()| fs::write(&b, "b"));
    let noreplace =
        rustix::fs::renameat_with(rustix::fs::CWD, &a, rustix::fs::CWD, &b, rustix::fs::RenameFlags::NOREPLACE);
    cx.fact("rename.noreplace", attempt(noreplace.map_err(io::Error::from), "renameat2 with RENAME_NOREPLACE"));
    let replaced = prepared.and_then(|()| fs::rename(&a, &b)).and_then(|()| fs::read(&b));
    cx.fact(
        "rename",
        match replaced {
            Ok(content) if content == b"a" && !Path::new(&a).exists() => Outcome::allowed("replaced the other file"),
            Ok(_) => Outcome::refused("other content", ""),
            Err(e) => sys::refused(&e, "rename"),
        },
    );
}

fn tmpfile(cx: &mut Cx, dir: &str) {
    let listed = || fs::read_dir(dir).is_ok_and(|d| d.flatten().any(|e| e.file_name().as_bytes() == b"unnamed"));
    let opened = OpenOptions::new().write(true).custom_flags(libc::O_TMPFILE).open(dir);
    cx.fact("tmpfile.before", Outcome::value(listed()));
    let linked = opened.and_then(|f| {
        let from = sys::c_path(format!("/proc/self/fd/{}", f.as_raw_fd()));
        let to = sys::c_path(format!("{dir}/unnamed"));
        // SAFETY: both pointers are valid for the call.
        check(
            unsafe {
                libc::linkat(libc::AT_FDCWD, from.as_ptr(), libc::AT_FDCWD, to.as_ptr(), libc::AT_SYMLINK_FOLLOW)
            }
            .into(),
        )
    });
    cx.fact(
        "tmpfile",
        match linked {
            Ok(_) if listed() => Outcome::allowed("an unnamed file was given a name"),
            Ok(_) => Outcome::refused("not listed", "linkat succeeded"),
            Err(e) => sys::refused(&e, "open O_TMPFILE, linkat"),
        },
    );
}

fn direct(cx: &mut Cx, dir: &str) {
    #[repr(align(4096))]
    struct Page([u8; 8192]);
    let page = Page([0x5a; 8192]);
    let path = format!("{dir}/direct");
    let open = |flags| OpenOptions::new().create(true).write(true).truncate(false).custom_flags(flags).open(&path);
    let write =
        |flags, from: usize, len: usize| open(flags).and_then(|f| f.write_at(&page.0[from..from + len], 0)).map(|_| ());
    cx.fact("direct", attempt(write(libc::O_DIRECT, 0, 4096), "an aligned page with O_DIRECT"));
    cx.fact("direct.unaligned", attempt(write(libc::O_DIRECT, 1, 100), "100 unaligned bytes with O_DIRECT"));
    cx.fact("direct.buffered", attempt(write(0, 1, 100), "100 unaligned bytes without it"));
}

fn holes(cx: &mut Cx, dir: &str) {
    const SIZE: u64 = 1 << 20;
    let blocks = |f: &File| f.metadata().map(|m| m.blocks() * 512);
    let value = |r: io::Result<u64>, what: &str| match r {
        Ok(n) => Outcome::value(n),
        Err(e) => sys::refused(&e, what),
    };
    let new = |name: &str| {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(true).open(format!("{dir}/{name}"))
    };
    // A hole before the last byte; SEEK_DATA must skip it.
    let sparse = new("sparse").and_then(|f| f.write_at(b"x", SIZE).map(|_| f));
    cx.fact("sparse", value(sparse.as_ref().map_err(copy).and_then(blocks), "write far behind the end"));
    let data = sparse.as_ref().map_err(copy).and_then(|f| {
        // SAFETY: the descriptor is open; no pointers.
        check(unsafe { libc::lseek(f.as_raw_fd(), 0, libc::SEEK_DATA) } as libc::c_long)
    });
    cx.fact("sparse.data", value(data.map(|n| u64::try_from(n).unwrap_or(0)), "lseek SEEK_DATA"));
    let full =
        new("full").and_then(|mut f| f.write_all(&vec![1; SIZE as usize]).and_then(|()| f.sync_all()).map(|()| f));
    cx.fact("sparse.full", value(full.as_ref().map_err(copy).and_then(blocks), "a file without a hole"));
    let allocated = new("allocated").and_then(|f| {
        // SAFETY: the descriptor is open; no pointers.
        check(unsafe { libc::fallocate(f.as_raw_fd(), 0, 0, SIZE as libc::off_t) }.into())?;
        blocks(&f)
    });
    cx.fact("fallocate", value(allocated, "fallocate"));
}

fn copy(e: &io::Error) -> io::Error {
    e.raw_os_error().map_or_else(|| io::Error::from(e.kind()), io::Error::from_raw_os_error)
}
