//! A folder that two containers have at once, an agent under the runtime in question and a neighbour under another: what
//! one does, the other must see. Both run the same list of steps and wait for each other by files in that folder.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read, Write},
    os::{
        fd::{AsRawFd, FromRawFd, OwnedFd},
        unix::{
            fs::OpenOptionsExt,
            net::{UnixListener, UnixStream},
        },
    },
    time::{Duration, Instant},
};

use awf_probe_matrix::Outcome;

use crate::{
    Cx, Probe,
    sys::{self, attempt, check, content, until},
};

pub(crate) const PROBES: &[Probe] = &[
    Probe { id: "shared.agent", about: "one side of a folder that two containers have", specs: &[], ask: agent },
    Probe { id: "shared.peer", about: "the other side", specs: &[], ask: peer },
];

/// The longest one side waits for the other: it may be a slow one, and what is missed is said so.
const PATIENCE: Duration = Duration::from_secs(4);
/// Files in the large folder.
const MANY: usize = 1000;

/// A side's view of the folder.
struct Side {
    dir: String,
    /// Once the other side was waited for in vain, the rest is not waited for as long.
    given_up: bool,
}

impl Side {
    fn new(cx: &Cx) -> Self {
        Self { dir: cx.text("dir").to_owned(), given_up: false }
    }

    fn at(&self, name: &str) -> String {
        format!("{}/{name}", self.dir)
    }

    /// Tells the other side that a step is done.
    fn tell(&self, step: &str) {
        // What cannot be told is missed there, and reported there.
        drop(File::create(self.at(&format!("step-{step}"))));
    }

    /// Waits for a step of the other side.
    fn wait(&mut self, step: &str) -> bool {
        let path = self.at(&format!("step-{step}"));
        let patience = if self.given_up { PATIENCE / 20 } else { PATIENCE };
        let seen = until(patience, || fs::metadata(&path).is_ok());
        self.given_up |= !seen;
        seen
    }
}

fn late(what: &str) -> Outcome {
    Outcome::TimedOut { after_ms: u64::try_from(PATIENCE.as_millis()).unwrap_or(0), detail: what.to_owned() }
}

/// flock(2) or a record lock, without waiting.
fn lock(file: &File, record: bool) -> io::Result<()> {
    let fd = file.as_raw_fd();
    if record {
        let whole =
            libc::flock { l_type: libc::F_WRLCK as _, l_whence: libc::SEEK_SET as _, l_start: 0, l_len: 0, l_pid: 0 };
        // SAFETY: the structure outlives the call.
        return check(unsafe { libc::fcntl(fd, libc::F_SETLK, &raw const whole) }.into()).map(drop);
    }
    // SAFETY: plain system call on an open descriptor.
    check(unsafe { libc::flock(fd, libc::LOCK_EX | libc::LOCK_NB) }.into()).map(drop)
}

fn open(path: &str) -> io::Result<File> {
    OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)
}

/// One page of a file, shared with whoever else has it mapped or writes it.
struct Page(*mut libc::c_void);

const PAGE: usize = 4096;

impl Page {
    fn map(file: &File) -> io::Result<Self> {
        file.set_len(PAGE as u64)?;
        let protection = libc::PROT_READ | libc::PROT_WRITE;
        // SAFETY: a new mapping of an open file, one page long.
        let p = unsafe { libc::mmap(std::ptr::null_mut(), PAGE, protection, libc::MAP_SHARED, file.as_raw_fd(), 0) };
        if p == libc::MAP_FAILED { Err(io::Error::last_os_error()) } else { Ok(Self(p)) }
    }

    fn byte(&self, at: usize) -> u8 {
        // SAFETY: `at` is within the page, which stays mapped as long as `self` lives.
        unsafe { self.0.cast::<u8>().add(at % PAGE).read_volatile() }
    }

    fn put(&self, at: usize, byte: u8) {
        // SAFETY: as above, and the mapping is writable.
        unsafe { self.0.cast::<u8>().add(at % PAGE).write_volatile(byte) };
    }
}

impl Drop for Page {
    fn drop(&mut self) {
        // SAFETY: mapped by `map`, and nothing refers to it any more.
        unsafe { libc::munmap(self.0, PAGE) };
    }
}

/// The folder, watched for new names.
fn watch(dir: &str) -> io::Result<OwnedFd> {
    // SAFETY: plain system calls; the descriptor becomes owned once.
    unsafe {
        let fd = check(libc::inotify_init1(libc::IN_NONBLOCK | libc::IN_CLOEXEC).into())?;
        let fd = OwnedFd::from_raw_fd(fd as i32);
        check(libc::inotify_add_watch(fd.as_raw_fd(), sys::c_path(dir).as_ptr(), libc::IN_CREATE).into())?;
        Ok(fd)
    }
}

/// Whether the watch tells of this name within the limit.
fn told(watch: &OwnedFd, name: &str, limit: Duration) -> bool {
    let mut heard = Vec::new();
    until(limit, || {
        let mut buffer = [0_u8; 4096];
        // SAFETY: the buffer is valid for its length.
        let n = unsafe { libc::read(watch.as_raw_fd(), buffer.as_mut_ptr().cast(), buffer.len()) };
        heard.extend_from_slice(&buffer[..usize::try_from(n).unwrap_or(0)]);
        heard.windows(name.len()).any(|w| w == name.as_bytes())
    })
}

fn connect(path: &str) -> Outcome {
    let answer = UnixStream::connect(path).and_then(|mut s| {
        s.set_read_timeout(Some(PATIENCE))?;
        let mut text = String::new();
        s.read_to_string(&mut text)?;
        Ok(text)
    });
    match answer {
        Ok(text) => Outcome::value(text),
        Err(e) => sys::refused(&e, format!("connect {path}")),
    }
}

/// Lets one client in and answers it; gives up at the limit, and when nobody will come any more.
fn serve(listener: &UnixListener, limit: Duration, over: impl Fn() -> bool) -> bool {
    drop(listener.set_nonblocking(true));
    let mut served = false;
    until(limit, || {
        // Asked first: who came before it was over is let in.
        let last = over();
        served = listener.accept().is_ok_and(|(mut stream, _)| stream.write_all(b"answered").is_ok());
        served || last
    });
    served
}

fn agent(cx: &mut Cx) {
    let mut side = Side::new(cx);
    let dir = side.dir.clone();
    if let Err(e) =
        fs::create_dir_all(format!("{dir}/watched")).and_then(|()| fs::create_dir_all(format!("{dir}/many")))
    {
        return cx.fact("", Outcome::broken(format!("cannot prepare {dir}: {e}")));
    }
    alone(cx, &dir);
    // Files, both ways.
    cx.fact("in.before", content(&side.at("from-peer")));
    cx.fact("out.write", attempt(fs::write(side.at("from-agent"), "of the agent"), "write a file"));
    side.tell("agent-wrote");
    let wrote = side.wait("peer-wrote");
    cx.fact("in", if wrote { content(&side.at("from-peer")) } else { late("the neighbour's file") });
    // A mapping, both ways.
    match open(&side.at("page")).and_then(|f| Page::map(&f)) {
        Err(e) => cx.fact("map", sys::refused(&e, "mmap MAP_SHARED")),
        Ok(page) => {
            page.put(1, b'a');
            side.tell("agent-mapped");
            let seen = until(PATIENCE, || page.byte(0) == b'p');
            cx.fact(
                "map",
                if seen { Outcome::allowed("what the neighbour wrote") } else { late("the neighbour's byte") },
            );
            side.wait("peer-mapped");
        }
    }
    // Locks: held by the neighbour, then free.
    for (name, record) in [("flock", false), ("record", true)] {
        let held = side.wait(&format!("peer-{name}"));
        let file = open(&side.at(name));
        let tried = |file: &io::Result<File>| match file {
            Ok(f) => attempt(lock(f, record), name),
            Err(e) => sys::refused(e, name),
        };
        cx.fact(&format!("{name}.held"), if held { tried(&file) } else { late("the neighbour's lock") });
        side.tell(&format!("agent-{name}"));
        let free = side.wait(&format!("peer-{name}-free"));
        cx.fact(&format!("{name}.free"), if free { tried(&file) } else { late("the end of the neighbour's lock") });
    }
    // Notifications.
    match watch(&format!("{dir}/watched")) {
        Err(e) => cx.fact("inotify", sys::refused(&e, "inotify")),
        Ok(fd) => {
            side.tell("agent-watches");
            let made = side.wait("peer-created");
            let heard = made && told(&fd, "of-the-neighbour", Duration::from_millis(500));
            let there = fs::metadata(format!("{dir}/watched/of-the-neighbour")).is_ok();
            cx.fact("inotify.there", Outcome::value(if there { "the file is there" } else { "no file" }));
            cx.fact("inotify", if heard { Outcome::allowed("the neighbour's file") } else { late("a notification") });
        }
    }
    // A named pipe of the neighbour's, which reads.
    let piped = side.wait("peer-fifo") && {
        let end = Instant::now() + PATIENCE;
        loop {
            match OpenOptions::new().write(true).custom_flags(libc::O_NONBLOCK).open(side.at("fifo")) {
                Ok(mut f) => break f.write_all(b"through the pipe").is_ok(),
                // Nobody reads yet; any other error stays.
                Err(e) if e.raw_os_error() == Some(libc::ENXIO) && Instant::now() < end => {
                    std::thread::sleep(Duration::from_millis(5));
                }
                Err(_) => break false,
            }
        }
    };
    cx.fact("fifo.written", Outcome::value(if piped { "yes" } else { "no reader" }));
    side.tell("agent-fifo");
    // Sockets, both ways.
    let listens = side.wait("peer-socket");
    cx.fact("socket.connect", if listens { connect(&side.at("peer.sock")) } else { late("the neighbour's socket") });
    match UnixListener::bind(side.at("agent.sock")) {
        Err(e) => {
            cx.fact("socket.listen", sys::refused(&e, "bind"));
            side.tell("agent-socket");
        }
        Ok(listener) => {
            side.tell("agent-socket");
            let served = serve(&listener, PATIENCE, || fs::metadata(side.at("step-peer-old")).is_ok());
            cx.fact(
                "socket.listen",
                if served { Outcome::allowed("the neighbour connected") } else { late("a client") },
            );
        }
    }
    // A file replaced by rename.
    side.wait("peer-old");
    cx.fact("rename.before", content(&side.at("renamed")));
    side.tell("agent-read");
    let renamed = side.wait("peer-renamed");
    cx.fact("rename", if renamed { content(&side.at("renamed")) } else { late("the neighbour's rename") });
    // Many files.
    let made = (0..MANY).take_while(|n| File::create(format!("{dir}/many/{n:05}")).is_ok()).count();
    cx.fact("many.made", Outcome::value(made));
    side.tell("agent-many");
    side.wait("peer-end");
}

/// The same within one container: what fails here fails without any neighbour.
fn alone(cx: &mut Cx, dir: &str) {
    let at = |name: &str| format!("{dir}/alone-{name}");
    for (name, record) in [("flock", false), ("record", true)] {
        // A record lock belongs to a process, so the second one is a child.
        let outcome = match open(&at(name)).and_then(|f| lock(&f, record).map(|()| f)) {
            Err(e) => sys::refused(&e, name),
            Ok(_held) => sys::outcome(
                sys::in_child(Duration::from_secs(3), || {
                    let second = open(&at(name)).and_then(|f| lock(&f, record));
                    second.err().map_or(0, |e| e.raw_os_error().unwrap_or(libc::EIO))
                }),
                format!("a second {name} lock"),
            ),
        };
        cx.fact(&format!("alone.{name}"), outcome);
    }
    let heard = watch(&format!("{dir}/watched")).map(|fd| {
        drop(File::create(format!("{dir}/watched/of-the-agent")));
        told(&fd, "of-the-agent", Duration::from_millis(500))
    });
    cx.fact(
        "alone.inotify",
        match heard {
            Ok(true) => Outcome::allowed("its own file"),
            Ok(false) => late("a notification of its own file"),
            Err(e) => sys::refused(&e, "inotify"),
        },
    );
}

fn peer(cx: &mut Cx) {
    let mut side = Side::new(cx);
    cx.fact("absent", content(&side.at("no-such-file")));
    let wrote = side.wait("agent-wrote");
    cx.fact("out", if wrote { content(&side.at("from-agent")) } else { late("the agent's file") });
    cx.fact("write", attempt(fs::write(side.at("from-peer"), "of the neighbour"), "write a file"));
    side.tell("peer-wrote");
    side.wait("agent-mapped");
    match open(&side.at("page")).and_then(|f| Page::map(&f)) {
        Err(e) => cx.fact("map", sys::refused(&e, "mmap MAP_SHARED")),
        Ok(page) => {
            page.put(0, b'p');
            let seen = until(PATIENCE / 2, || page.byte(1) == b'a');
            cx.fact("map", if seen { Outcome::allowed("what the agent wrote") } else { late("the agent's byte") });
        }
    }
    side.tell("peer-mapped");
    for (name, record) in [("flock", false), ("record", true)] {
        let file = open(&side.at(name));
        let held = file.as_ref().map_err(|e| sys::refused(e, name)).map(|f| attempt(lock(f, record), name));
        cx.fact(&format!("{name}.holds"), held.unwrap_or_else(|no| no));
        side.tell(&format!("peer-{name}"));
        side.wait(&format!("agent-{name}"));
        // Closing gives both kinds of lock back.
        drop(file);
        side.tell(&format!("peer-{name}-free"));
    }
    side.wait("agent-watches");
    drop(File::create(side.at("watched/of-the-neighbour")));
    side.tell("peer-created");
    fifo(cx, &mut side);
    match UnixListener::bind(side.at("peer.sock")) {
        Err(e) => cx.fact("socket.listen", sys::refused(&e, "bind")),
        Ok(listener) => {
            // A client of its own first: the listener answers.
            // SAFETY: the guest is single-threaded; the child only serves.
            let server = unsafe { libc::fork() };
            if server == 0 {
                let served = serve(&listener, PATIENCE, || false);
                // SAFETY: leaves without running the parent's destructors.
                unsafe { libc::_exit(i32::from(!served)) }
            }
            cx.fact("socket.own", connect(&side.at("peer.sock")));
            if server > 0 {
                let _ = sys::wait(server, PATIENCE);
            }
            side.tell("peer-socket");
            let served = serve(&listener, PATIENCE, || fs::metadata(side.at("step-agent-socket")).is_ok());
            cx.fact("socket.listen", if served { Outcome::allowed("the agent connected") } else { late("a client") });
        }
    }
    let listens = side.wait("agent-socket");
    cx.fact("socket.connect", if listens { connect(&side.at("agent.sock")) } else { late("the agent's socket") });
    drop(fs::write(side.at("renamed"), "old"));
    side.tell("peer-old");
    side.wait("agent-read");
    let renamed =
        fs::write(side.at("renamed-new"), "new").and_then(|()| fs::rename(side.at("renamed-new"), side.at("renamed")));
    cx.fact("rename", attempt(renamed, "rename"));
    side.tell("peer-renamed");
    let many = side.wait("agent-many");
    let count = fs::read_dir(side.at("many")).map_or(0, Iterator::count);
    cx.fact("many", if many { Outcome::value(count) } else { late("the agent's files") });
    side.tell("peer-end");
}

fn fifo(cx: &mut Cx, side: &mut Side) {
    let path = side.at("fifo");
    // SAFETY: the pointer is valid for the call.
    let made = check(unsafe { libc::mkfifo(sys::c_path(&path).as_ptr(), 0o666) }.into());
    cx.fact("fifo.made", attempt(made, "mkfifo"));
    let Ok(mut reader) = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(&path) else {
        return side.tell("peer-fifo");
    };
    side.tell("peer-fifo");
    let mut text = Vec::new();
    until(PATIENCE, || {
        let mut buffer = [0; 64];
        if let Ok(n) = reader.read(&mut buffer) {
            text.extend_from_slice(&buffer[..n]);
        }
        !text.is_empty() || fs::metadata(side.at("step-agent-fifo")).is_ok()
    });
    let text = String::from_utf8_lossy(&text).into_owned();
    cx.fact("fifo", if text.is_empty() { late("the agent's text") } else { Outcome::value(text) });
    side.wait("agent-fifo");
}
