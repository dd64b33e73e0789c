//! The guest's main loop: one process per probe, a deadline each, every line counted.
//!
//! Single-threaded and without an async runtime, because some sandboxes leave room for little else. Probes are
//! forked, not executed: a start of the executable costs twenty times as much under a user-space kernel.

use std::{
    collections::BTreeMap,
    fs::File,
    io::{self, BufRead, Read, Write},
    os::fd::{AsRawFd, OwnedFd},
    time::{Duration, Instant},
};

use awf_probe_matrix::{Fact, Outcome};

use crate::{
    Cx, find, pace,
    sys::{self, End},
    wire::{Ask, Batch, COMM_ENV, MAX_LINE_BYTES, MAX_PROBE_BYTES, Say},
};

/// Serves batches from stdin until it ends.
pub fn serve() -> io::Result<()> {
    name_this_task();
    // The guest is pid 1 of its sandbox: it must not die of a probe that writes to a closed pipe.
    // SAFETY: setting a signal to "ignore" has no handler to go wrong.
    unsafe { libc::signal(libc::SIGPIPE, libc::SIG_IGN) };
    say(&Say::Hello { version: env!("CARGO_PKG_VERSION").to_owned() })?;
    let stdin = io::stdin();
    let mut lines = stdin.lock();
    loop {
        let mut line = Vec::new();
        let n = (&mut lines).take(16 * MAX_LINE_BYTES as u64).read_until(b'\n', &mut line)?;
        if n == 0 {
            crate::propagation::undo();
            return Ok(());
        }
        match serde_json::from_slice::<Batch>(&line) {
            Ok(batch) => run_batch(&batch)?,
            Err(e) => say(&Say::Confused { why: e.to_string() })?,
        }
    }
}

/// Runs one probe in this process and writes its facts to stdout: for probes that must be executed anew, after
/// a chroot and a capability drop.
pub fn once(probe: &str, label: &str, params: &str) -> Result<(), String> {
    name_this_task();
    let probe = find(probe).ok_or_else(|| format!("no probe is called {probe}"))?;
    let params = serde_json::from_str(params).map_err(|e| format!("parameters: {e}"))?;
    let out = rustix::io::dup(rustix::stdio::stdout()).map_err(|e| format!("stdout: {e}"))?;
    (probe.ask)(&mut Cx::new(label.to_owned(), params, File::from(out)));
    Ok(())
}

struct Running {
    ask: usize,
    pid: i32,
    pipe: File,
    begun: Instant,
    until: Instant,
    seen: Vec<u8>,
    total: usize,
}

fn run_batch(batch: &Batch) -> io::Result<()> {
    let mut count = 0;
    let width = if batch.parallel { batch.asks.len() } else { 1 };
    let mut waiting = batch.asks.iter().enumerate();
    let mut running: Vec<Running> = Vec::new();
    loop {
        while running.len() < width {
            let Some((i, ask)) = waiting.next() else { break };
            match start(i, ask) {
                Ok(r) => running.push(r),
                Err(e) => {
                    let outcome = sys::refused(&e, "fork");
                    count += tell(batch.batch, end_fact(ask, outcome, Duration::ZERO))?;
                }
            }
        }
        if running.is_empty() {
            break;
        }
        for done in poll(&mut running, batch, &mut count)? {
            let r = running.swap_remove(done);
            let ask = &batch.asks[r.ask];
            let outcome = match sys::wait(r.pid, Duration::from_millis(2000)) {
                _ if r.total > MAX_PROBE_BYTES => Outcome::broken("reported more than is allowed"),
                _ if Instant::now() >= r.until => Outcome::broken(format!("deadline of {} ms", ask.deadline_ms)),
                Some(End::Exit(0)) => Outcome::value("ok"),
                Some(End::Exit(status)) => Outcome::broken(format!("exited with {status}")),
                Some(End::Signal(signal)) => Outcome::Killed { signal, detail: ask.probe.clone() },
                None => Outcome::broken("did not end"),
            };
            count += tell(batch.batch, end_fact(ask, outcome, r.begun.elapsed()))?;
        }
    }
    say(&Say::Finished { batch: batch.batch, count })
}

fn start(index: usize, ask: &Ask) -> io::Result<Running> {
    let (reader, writer) = sys::pipe()?;
    // SAFETY: the guest is single-threaded, so the child may allocate and run anything.
    match unsafe { libc::fork() } {
        -1 => Err(io::Error::last_os_error()),
        0 => {
            drop(reader);
            let status = child(ask, writer);
            // SAFETY: leaves without running the parent's destructors or flushing its buffers.
            unsafe { libc::_exit(status) }
        }
        pid => Ok(Running {
            ask: index,
            pid,
            pipe: File::from(reader),
            begun: Instant::now(),
            until: Instant::now() + pace::scaled(Duration::from_millis(ask.deadline_ms)),
            seen: Vec::new(),
            total: 0,
        }),
    }
}

fn child(ask: &Ask, writer: OwnedFd) -> i32 {
    let label = if ask.label.is_empty() { ask.probe.clone() } else { ask.label.clone() };
    let mut cx = Cx::new(label, ask.params.clone(), File::from(writer));
    match find(&ask.probe) {
        None => {
            cx.fact("", Outcome::broken(format!("no probe is called {}", ask.probe)));
            1
        }
        Some(probe) => {
            // A panic is a failure of the probe, reported as one; its message must not reach stdout.
            std::panic::set_hook(Box::new(|_| {}));
            match std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| (probe.ask)(&mut cx))) {
                Ok(()) => 0,
                Err(_) => 101,
            }
        }
    }
}

/// Waits for output, passes it on, and names the children that are through.
fn poll(running: &mut [Running], batch: &Batch, count: &mut u64) -> io::Result<Vec<usize>> {
    let now = Instant::now();
    let soonest = running.iter().map(|r| r.until).min().unwrap_or(now);
    let timeout = soonest.saturating_duration_since(now).as_millis() + 1;
    let mut fds: Vec<libc::pollfd> =
        running.iter().map(|r| libc::pollfd { fd: r.pipe.as_raw_fd(), events: libc::POLLIN, revents: 0 }).collect();
    // SAFETY: `fds` is valid for its length.
    unsafe { libc::poll(fds.as_mut_ptr(), fds.len() as _, timeout.min(60_000) as i32) };
    let mut done = Vec::new();
    for (i, r) in running.iter_mut().enumerate().rev() {
        let mut over = Instant::now() >= r.until;
        if fds[i].revents != 0 {
            let mut buffer = [0; 16 * 1024];
            match r.pipe.read(&mut buffer) {
                Ok(0) | Err(_) => over = true,
                Ok(n) => {
                    r.total += n;
                    r.seen.extend_from_slice(&buffer[..n]);
                    over |= r.total > MAX_PROBE_BYTES;
                    while let Some(end) = r.seen.iter().position(|b| *b == b'\n') {
                        let line: Vec<u8> = r.seen.drain(..=end).collect();
                        if let Ok(fact) = serde_json::from_slice::<Fact>(&line) {
                            *count += tell(batch.batch, fact)?;
                        }
                    }
                }
            }
        }
        if over {
            // SAFETY: the pid is an unreaped child. Killing one that has exited does nothing.
            if Instant::now() >= r.until || r.total > MAX_PROBE_BYTES {
                unsafe { libc::kill(r.pid, libc::SIGKILL) };
            }
            done.push(i);
        }
    }
    Ok(done)
}

fn end_fact(ask: &Ask, outcome: Outcome, took: Duration) -> Fact {
    let label = if ask.label.is_empty() { &ask.probe } else { &ask.label };
    let elapsed_ms = u64::try_from(took.as_millis()).ok();
    Fact { name: format!("{label}.end"), outcome, sent: None, elapsed_ms }
}

fn tell(batch: u64, fact: Fact) -> io::Result<u64> {
    say(&Say::Fact { batch, fact }).map(|()| 1)
}

fn say(what: &Say) -> io::Result<()> {
    let mut line = serde_json::to_vec(what)?;
    line.push(b'\n');
    let mut out = io::stdout().lock();
    out.write_all(&line)?;
    out.flush()
}

fn name_this_task() {
    if let Ok(name) = std::env::var(COMM_ENV) {
        let name = sys::c_path(name);
        // SAFETY: the pointer is a valid NUL-terminated string; the kernel reads at most 16 bytes.
        unsafe { libc::prctl(libc::PR_SET_NAME, name.as_ptr(), 0, 0, 0) };
    }
}

/// Facts by name, for probes that relay another process's report.
pub(crate) fn parse_facts(text: &str) -> BTreeMap<String, Fact> {
    text.lines().filter_map(|l| serde_json::from_str::<Fact>(l).ok()).map(|f| (f.name.clone(), f)).collect()
}
