//! The harness's end of a role: asks with answers, and what the role sees in between.

use std::{
    collections::HashMap,
    net::IpAddr,
    pin::Pin,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::{
    io::{AsyncWrite, AsyncWriteExt},
    sync::{Mutex as AsyncMutex, Notify, mpsc, oneshot},
};

use super::roles::wire::{Answer, Ask, Packet, Request, Say};
use awf_probe_probes::pace;

use crate::{
    engine::{
        command::launched::Launched,
        docker::{
            Docker,
            sandbox::{Common, Sandbox, Start, tail_text},
        },
    },
    error::Error,
    event::Event,
    journal::Sink,
    specs::Spec,
};

/// A role that runs.
pub struct Role {
    /// Container id.
    pub id: String,
    name: String,
    input: AsyncMutex<Option<Pin<Box<dyn AsyncWrite + Send>>>>,
    next: AtomicU64,
    shared: Arc<Shared>,
    stderr: Arc<Mutex<Vec<u8>>>,
    /// The process, where it is no container's.
    _keeper: Option<Arc<Launched>>,
}

impl std::fmt::Debug for Role {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Role").field("name", &self.name).field("id", &self.id).finish_non_exhaustive()
    }
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Default)]
struct State {
    waiting: HashMap<u64, oneshot::Sender<Result<Answer, String>>>,
    markers: HashMap<String, usize>,
    over: bool,
}

impl Shared {
    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A marker that is waited for.
pub struct Marker {
    shared: Arc<Shared>,
    nonce: String,
}

impl Marker {
    /// Waits until it was seen this often.
    pub async fn at_least(&self, times: usize) {
        loop {
            let changed = self.shared.changed.notified();
            if self.shared.lock().markers.get(&self.nonce).is_some_and(|n| *n >= times) {
                return;
            }
            changed.await;
        }
    }
}

/// An ask takes milliseconds; starting Squid on a slow machine takes seconds.
const LIMIT: Duration = Duration::from_secs(30);

impl Role {
    /// Starts a role's container and waits for its greeting.
    pub async fn start(
        docker: &Docker,
        common: &Common,
        spec: &Spec,
        how: Start<'_>,
        sink: &Sink,
    ) -> Result<Self, Error> {
        let name = how.role.to_owned();
        let sandbox = docker
            .start(common, spec, how)
            .await
            .map_err(|(stage, e)| Error::Lab { why: format!("the {name} does not {stage}: {e}") })?;
        if name == "helper" {
            // The first container of a run, alone and of the reference runtime: it shows how fast this host is.
            pace::measured(sandbox.create + sandbox.start);
        }
        Self::adopt(&name, sandbox, sink).await
    }

    /// Takes over a role that was started otherwise, and waits for its greeting.
    pub async fn adopt(name: &str, sandbox: Sandbox, sink: &Sink) -> Result<Self, Error> {
        let (id, name) = (sandbox.id.clone(), name.to_owned());
        let keeper = sandbox.keeper();
        let (input, lines, stderr) = sandbox.split();
        let shared = Arc::new(Shared::default());
        let (ready, greeted) = oneshot::channel();
        tokio::spawn(read(name.clone(), lines, Arc::clone(&shared), sink.clone(), ready));
        let role = Self {
            id,
            name,
            input: AsyncMutex::new(Some(input)),
            next: AtomicU64::new(1),
            shared,
            stderr,
            _keeper: keeper,
        };
        match tokio::time::timeout(pace::scaled(LIMIT), greeted).await {
            Ok(Ok(())) => Ok(role),
            Ok(Err(_)) | Err(_) => Err(role.failed("it did not greet")),
        }
    }

    /// Asks and waits for the answer.
    pub async fn ask(&self, ask: Ask) -> Result<Answer, Error> {
        let seq = self.next.fetch_add(1, Ordering::Relaxed);
        let (sender, answer) = oneshot::channel();
        {
            let mut state = self.shared.lock();
            if state.over {
                return Err(self.failed("it is gone"));
            }
            state.waiting.insert(seq, sender);
        }
        let mut line = serde_json::to_vec(&Request { seq, ask }).map_err(|e| Error::Bug(e.to_string()))?;
        line.push(b'\n');
        {
            let mut input = self.input.lock().await;
            let Some(input) = input.as_mut() else { return Err(self.failed("it was closed")) };
            let write = async {
                input.write_all(&line).await?;
                input.flush().await
            };
            match tokio::time::timeout(pace::scaled(LIMIT), write).await {
                Ok(written) => written.map_err(|e| self.failed(&e.to_string()))?,
                Err(_) => return Err(self.failed("it does not read")),
            }
        }
        match tokio::time::timeout(pace::scaled(LIMIT), answer).await {
            Ok(Ok(Ok(answer))) => Ok(answer),
            Ok(Ok(Err(why))) => Err(self.failed(&why)),
            Ok(Err(_)) => Err(self.failed("it ended instead of answering")),
            Err(_) => Err(self.failed("it does not answer")),
        }
    }

    /// Counts the packets with this nonce from now on.
    pub fn expect_marker(&self, nonce: &str) -> Marker {
        self.shared.lock().markers.insert(nonce.to_owned(), 0);
        Marker { shared: Arc::clone(&self.shared), nonce: nonce.to_owned() }
    }

    /// Ends its input and waits, a little, until it is gone.
    pub async fn close(&self) {
        if let Some(mut input) = self.input.lock().await.take() {
            // A role that is gone already cannot be told; that is what was wanted.
            drop(tokio::time::timeout(pace::scaled(Duration::from_secs(5)), input.shutdown()).await);
        }
        let over = async {
            loop {
                let changed = self.shared.changed.notified();
                if self.shared.lock().over {
                    return;
                }
                changed.await;
            }
        };
        drop(tokio::time::timeout(pace::scaled(Duration::from_secs(5)), over).await);
    }

    fn failed(&self, why: &str) -> Error {
        let stderr = tail_text(&self.stderr);
        let tail = if stderr.is_empty() { String::new() } else { format!(" ({stderr})") };
        Error::Lab { why: format!("{}: {why}{tail}", self.name) }
    }
}

async fn read(
    name: String,
    mut lines: mpsc::Receiver<Vec<u8>>,
    shared: Arc<Shared>,
    sink: Sink,
    ready: oneshot::Sender<()>,
) {
    let mut ready = Some(ready);
    let mut alike: HashMap<(IpAddr, IpAddr, u8), u32> = HashMap::new();
    while let Some(line) = lines.recv().await {
        let Ok(say) = serde_json::from_slice::<Say>(&line) else { continue };
        match say {
            Say::Ready { .. } => {
                if let Some(ready) = ready.take() {
                    // An error means that nobody waits any more: the start was given up.
                    ready.send(()).unwrap_or_default();
                }
            }
            Say::Done { seq, answer } => finish(&shared, seq, Ok(answer)),
            Say::Failed { seq, why } => finish(&shared, seq, Err(why)),
            Say::Packet(packet) => {
                let mut state = shared.lock();
                if let Some(n) = state.markers.get_mut(&packet.nonce) {
                    *n += 1;
                    drop(state);
                    shared.changed.notify_waiters();
                    continue;
                }
                drop(state);
                let at = if name == "helper" { "tap" } else { name.as_str() };
                // Packets of a sweep differ by their port alone; the first of them are evidence enough.
                let many = packet.nonce.is_empty() && {
                    let n = alike.entry((packet.src, packet.dst, packet.proto)).or_default();
                    *n += 1;
                    *n > ALIKE
                };
                if worth_keeping(at, &packet) && !many {
                    sink.emit(Event::Packet { at: at.to_owned(), packet });
                }
            }
            Say::Tripwire(packet) => sink.emit(Event::Packet { at: "tripwire".to_owned(), packet }),
            Say::Dns { client, server, name, answer, .. } => sink.emit(Event::Dns { client, name, server, answer }),
            Say::Http { client, server, host, path, sni, .. } => {
                sink.emit(Event::Http { client, server, host, path, tls: sni.is_some() });
            }
            Say::Decision { client, method, target, status, decision, .. } => {
                sink.emit(Event::Decision { client, method, target, status, decision });
            }
        }
    }
    let mut state = shared.lock();
    state.over = true;
    state.waiting.clear();
    drop(state);
    shared.changed.notify_waiters();
}

/// So many packets without a nonce from one address to another are written; an attempt has an address of its own and
/// at most 15 ports, each with a few kinds of packets.
const ALIKE: u32 = 96;

/// The first packet of a kind is evidence; its repetitions are not. The tap is asked one thing: did it leave the
/// sandbox? That is seen on the host's end of the sandbox's own link.
fn worth_keeping(at: &str, packet: &Packet) -> bool {
    packet.nth == 1 && (at != "tap" || !packet.link.starts_with("awfp"))
}

fn finish(shared: &Shared, seq: u64, result: Result<Answer, String>) {
    if let Some(waiting) = shared.lock().waiting.remove(&seq) {
        // The asker gave up waiting.
        drop(waiting.send(result));
    }
}
