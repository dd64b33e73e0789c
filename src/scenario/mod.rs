//! How sandboxes are put together to measure something. Scenarios do, and report events; they judge nothing.

use std::{
    net::{IpAddr, Ipv4Addr},
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU16, AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};

use awf_probe_matrix::{Fact, Outcome};
use awf_probe_probes::wire::{Ask, COMM_ENV};
use serde_json::{Map, Value, json};
use tokio::sync::{OnceCell, Semaphore, watch};

use crate::{
    engine::{
        command::UNSUPPORTED,
        docker::{
            Docker,
            drive::ExecAsk,
            image::Image,
            sandbox::{Common, NotStarted, Sandbox, Start},
        },
    },
    event::Event,
    journal::Sink,
    lab::{
        LAB, Lab, Layout, PROXY_PORT, SIDECARS,
        role::Role,
        roles::wire::{Answer, Ask as LabAsk},
    },
    specs::{Net, Spec},
};

pub mod bridge;
mod case;
pub mod compose;
pub mod dual;
pub mod egress;
pub mod figure;
pub mod given;
pub mod guard;
pub mod health;
pub mod joined;
pub mod life;
pub mod lifecycle;
pub mod netns;
mod privilege;
pub mod propagation;
pub mod rehearsal;
pub mod restart;
pub mod shared;
pub mod solo;
mod talk;

pub use privilege::Privilege;
pub use talk::{BatchEnd, Talk};
pub(crate) use talk::{Told, greeting};

/// What every scenario of a run is given.
#[derive(Clone, Debug)]
pub struct Cx {
    /// The engine.
    pub docker: Docker,
    /// Names shared by all sandboxes.
    pub common: Arc<Common>,
    /// The probe image.
    pub image: Image,
    /// Where events go.
    pub sink: Sink,
    /// The lab's addresses, known before it stands.
    pub layout: Layout,
    /// The lab, once it stands.
    pub lab: LabHandle,
    /// The host helper, there from the start.
    pub helper: Arc<Role>,
    /// The engine's default runtime.
    pub default_runtime: String,
    /// How many scenarios without the lab may be under way at once.
    pub jobs: Arc<Semaphore>,
    /// The same for those in the lab: they come when it stands, take longest, and do not wait behind all others then.
    lab_jobs: Arc<Semaphore>,
    /// Whoever mounts on the run's volume: one at a time.
    mounters: Arc<Semaphore>,
    /// How many sandboxes may be starting at once; a start keeps a processor busy, most of what follows waits.
    starts: Arc<Semaphore>,
    /// The longest a batch may take.
    pub deadline: Duration,
    /// What sandboxes with every capability or the user's seccomp profile depend on.
    pub privilege: Arc<Privilege>,
    addresses: Arc<[AtomicU16; 4]>,
    /// The sandbox that lends its network namespace, once one was asked for; `None` in it if it does not start.
    lender: Arc<OnceCell<Option<Sandbox>>>,
}

/// A lab, why there is none, or neither yet.
pub type Standing = Option<Result<Arc<Lab>, String>>;

/// A lab that may still be under construction.
#[derive(Clone, Debug)]
pub struct LabHandle {
    receiver: watch::Receiver<Standing>,
}

impl LabHandle {
    /// A handle, and the sender that completes it.
    pub fn new() -> (watch::Sender<Standing>, Self) {
        let (sender, receiver) = watch::channel(None);
        (sender, Self { receiver })
    }

    /// The lab, or why there is none.
    pub async fn wait(&self) -> Result<Arc<Lab>, String> {
        let mut receiver = self.receiver.clone();
        let gone = || "the lab was given up".to_owned();
        let value = receiver.wait_for(Option::is_some).await.map_err(|_| gone())?;
        value.clone().unwrap_or_else(|| Err(gone()))
    }
}

impl Cx {
    /// A context whose address counters start behind AWF's own roles.
    #[expect(clippy::too_many_arguments, reason = "one call, in run.rs, which has exactly these")]
    pub fn new(
        docker: Docker,
        common: Common,
        image: Image,
        sink: Sink,
        layout: Layout,
        lab: LabHandle,
        helper: Arc<Role>,
        default_runtime: String,
        jobs: usize,
        deadline: Duration,
        privilege: Privilege,
    ) -> Self {
        let starts = Arc::new(Semaphore::new(jobs.max(1)));
        let [jobs, lab_jobs] = [(); 2].map(|()| Arc::new(Semaphore::new(jobs.max(1) * 2)));
        let addresses = Arc::new([const { AtomicU16::new(20) }; 4]);
        Self {
            docker,
            common: Arc::new(common),
            image,
            sink,
            layout,
            lab,
            helper,
            default_runtime,
            jobs,
            lab_jobs,
            mounters: Arc::new(Semaphore::new(1)),
            starts,
            deadline,
            privilege: Arc::new(privilege),
            addresses,
            lender: Arc::default(),
        }
    }

    /// A network for a sandbox in which no network is looked at: a namespace with nothing but loopback that others of the
    /// run stand in as well. For each new namespace some engines start two copies of their own large program. Where the
    /// lender does not start, each has a namespace of its own as without it.
    pub(super) async fn borrowed(&self) -> Net {
        let lend = || async {
            let runtime = self.common.lender.as_deref()?;
            let how =
                Start { runtime, args: &["guest"], role: "lender", host_pid: false, also: vec![], aliases: vec![] };
            self.docker.start(&self.common, &Spec::plain("lender"), how).await.ok()
        };
        self.lender.get_or_init(lend).await.as_ref().map_or(Net::None, |lender| Net::Join(lender.id.clone()))
    }

    /// The next free address on the lab's bridge, each given once in a run.
    pub fn lab_address(&self) -> Result<Ipv4Addr, String> {
        self.address_on(LAB)
    }

    /// The next free address on one of the lab's bridges.
    pub fn address_on(&self, net: usize) -> Result<Ipv4Addr, String> {
        let out = || "the lab is out of addresses; measure fewer runtimes at once".to_owned();
        loop {
            let n = u8::try_from(self.addresses[net].fetch_add(1, Ordering::Relaxed)).ok().filter(|n| *n < 255);
            let n = n.ok_or_else(out)?;
            if !SIDECARS.contains(&n) {
                return Ok(self.layout.on(net, n));
            }
        }
    }

    /// A scenario that cannot be carried out.
    pub fn problem(&self, runtime: &str, scenario: &str, stage: &str, why: impl Into<String>) {
        let (runtime, scenario, stage) = (runtime.to_owned(), scenario.to_owned(), stage.to_owned());
        self.sink.emit(Event::Problem { runtime, scenario, stage, why: why.into() });
    }

    /// Reports a fact that is no sandbox's.
    pub fn observed(&self, runtime: &str, scenario: &str, source: &str, name: &str, outcome: Outcome) {
        self.sink.emit(Event::Observed {
            runtime: runtime.to_owned(),
            scenario: scenario.to_owned(),
            source: source.to_owned(),
            fact: Fact { name: name.to_owned(), outcome, sent: None, elapsed_ms: None },
            address: None,
        });
    }

    /// Reports how long a phase took.
    pub fn phase(&self, runtime: &str, scenario: &str, phase: &str, begun: Instant) {
        let (runtime, scenario, phase) = (runtime.to_owned(), scenario.to_owned(), phase.to_owned());
        self.sink.emit(Event::Phase { runtime, scenario, phase, ms: millis(begun.elapsed()) });
    }

    /// What every probe is told.
    pub fn params(&self, address: Option<Ipv4Addr>) -> Map<String, Value> {
        let text = |a: Ipv4Addr| Value::from(a.to_string());
        let mut map = Map::new();
        map.insert("seed".into(), Value::from(seed()));
        map.insert("approved".into(), text(self.layout.approved()));
        map.insert("peer".into(), Value::from("proxy.awf-probe.test."));
        map.insert("peer_address".into(), text(self.layout.proxy()));
        map.insert("executable_bytes".into(), Value::from(self.image.executable_bytes));
        if let Some(a) = address {
            map.insert("agent".into(), text(a));
            map.insert("gateway".into(), text(Ipv4Addr::from(u32::from(a) & 0xffff_ff00 | 1)));
        }
        map
    }

    /// The proxy's address and port, as iptables wants them.
    pub fn proxy_target(&self) -> String {
        format!("{}:{PROXY_PORT}", self.layout.proxy())
    }
}

/// Six letters and digits for nonces, another one each time: counted, so that no two attempts of a run share one.
pub fn seed() -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    static BASE: OnceLock<u32> = OnceLock::new();
    let base = BASE.get_or_init(|| u32::from_str_radix(&crate::random_hex(3), 16).unwrap_or(0));
    format!("{:06x}", base.wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed)) & 0xff_ffff)
}

/// A scenario's sandbox, and what it shares with the others of the run.
#[derive(Debug)]
pub struct Agent {
    talk: Talk,
    cx: Cx,
    /// What its first task calls itself.
    comm: String,
}

/// An agent is talked to: everything else about it is the engine's.
impl std::ops::Deref for Agent {
    type Target = Talk;

    fn deref(&self) -> &Talk {
        &self.talk
    }
}

impl std::ops::DerefMut for Agent {
    fn deref_mut(&mut self) -> &mut Talk {
        &mut self.talk
    }
}

impl Agent {
    /// Starts a guest. A failure is an event and `None`.
    pub async fn start(
        cx: &Cx,
        runtime: &str,
        scenario: &str,
        role: &str,
        mut spec: Spec,
        also_under: Option<&str>,
    ) -> Option<Self> {
        let comm = format!("awfp{}", crate::random_hex(5));
        spec.env.push(format!("{COMM_ENV}={comm}"));
        let address = match &spec.net {
            Net::Lab(a) | Net::Internal(a) | Net::Other(_, a) => Some(IpAddr::from(*a)),
            Net::None | Net::Join(_) | Net::Host => spec.address,
        };
        let how = Start {
            runtime: also_under.unwrap_or(runtime),
            args: &["guest"],
            role,
            host_pid: false,
            also: spec.also.iter().map(|(network, a)| (network.clone(), IpAddr::from(*a))).collect(),
            aliases: spec.aliases.clone(),
        };
        // The closing of a semaphore is not part of a run.
        let permit = cx.starts.acquire().await.ok();
        let started = cx.docker.start_or_say(&cx.common, &spec, how).await;
        drop(permit);
        let problem = |stage: &str, why: String| cx.problem(runtime, scenario, stage, why);
        let sandbox = match started {
            Ok(sandbox) => sandbox,
            Err(NotStarted { stage, why, left }) => {
                // A creation the engine refuses has not come to the runtime; of Docker it is a finding all the same, as its
                // answers are what the scenarios are written for.
                let stage = if cx.docker.podman && stage == "create" { UNSUPPORTED } else { stage };
                problem(stage, why.to_string());
                if let Some(id) = left {
                    remove(cx, runtime, scenario, &id).await;
                }
                return None;
            }
        };
        cx.sink.emit(Event::SandboxStarted {
            runtime: runtime.to_owned(),
            scenario: scenario.to_owned(),
            role: role.to_owned(),
            container: sandbox.id.clone(),
            address,
            create_ms: millis(sandbox.create),
            start_ms: millis(sandbox.start),
        });
        let asked = also_under.unwrap_or(runtime);
        Self::adopt(cx, runtime, scenario, (role, asked), sandbox, &comm, address).await
    }

    /// Takes a guest over that was started otherwise: role and the runtime asked for, and the comm it was given.
    pub(super) async fn adopt(
        cx: &Cx,
        runtime: &str,
        scenario: &str,
        (role, asked): (&str, &str),
        sandbox: Sandbox,
        comm: &str,
        address: Option<IpAddr>,
    ) -> Option<Self> {
        let mut talk = Talk::new(sandbox, cx.sink.clone(), runtime, scenario, cx.deadline);
        talk.address = address;
        let mut agent = Self { talk, cx: cx.clone(), comm: comm.to_owned() };
        agent.observe("engine", "comm", Outcome::value(comm));
        let ready = match agent.greeting().await {
            Ok(()) => agent.seen_from_outside(role, asked, comm).await,
            Err(why) => Err(why),
        };
        match ready {
            Ok(()) => Some(agent),
            Err(why) => {
                cx.problem(runtime, scenario, "start", why);
                agent.stop().await;
                None
            }
        }
    }

    /// What engine and host say of this very sandbox, before it is asked anything: which runtime, whose kernel, whose
    /// network. One that stands in the host's network is not let send a packet.
    async fn seen_from_outside(&self, role: &str, asked: &str, comm: &str) -> Result<(), String> {
        let prefix = if role == "agent" { String::new() } else { format!("{role}.") };
        let ended = self.sandbox.ended().await.map_err(|e| e.to_string())?;
        let said = format!("inspect says {}", ended.runtime);
        let outcome =
            if ended.runtime == asked { Outcome::allowed(said) } else { Outcome::refused("another runtime", said) };
        self.observe("engine", &format!("{prefix}runtime.asked"), outcome);
        let pid = ended.pid.and_then(|p| i32::try_from(p).ok()).filter(|p| *p > 0).ok_or("the engine names no pid")?;
        match self.cx.helper.ask(LabAsk::Sandbox { pid, comm: comm.to_owned() }).await {
            Ok(Answer::Sandbox { tasks, chain, own_network }) => {
                self.observe("host", &format!("{prefix}comm.found"), Outcome::value(tasks));
                if self.scenario == "plain" {
                    self.cx.sink.emit(Event::HostProcesses { runtime: self.runtime.clone(), chain });
                }
                let why = "it stands in the host's network namespace: nothing is tried in it";
                if own_network { Ok(()) } else { Err(why.to_owned()) }
            }
            Ok(other) => Err(format!("the helper answered {other:?}")),
            Err(e) => Err(format!("it cannot be looked at from the host: {e}")),
        }
    }

    /// Runs probes by exec, all at once, and reports their facts: for a container whose own guest is not attached to.
    pub async fn exec(&self, asks: &[Ask]) {
        let each = asks.iter().map(|a| async {
            let cmd = ["/awf-probe", "guest-once", &a.probe, &a.label, &a.params.to_string()].map(str::to_owned).into();
            let done = self.cx.docker.exec(self.id(), &ExecAsk { cmd, ..ExecAsk::default() }).await;
            let out = match done {
                Ok(done) if done.code == Some(0) => done.out,
                Ok(done) => return self.problem("exec", format!("{}: code {:?}; {}", a.label, done.code, done.err)),
                Err(no) => return self.problem("exec", format!("{}: {no}", a.label)),
            };
            out.lines().filter_map(|l| serde_json::from_str(l).ok()).for_each(|fact| self.emit("guest", fact));
        });
        futures_util::future::join_all(each).await;
    }

    /// Removes the sandbox. Its guest ends with its input, which costs the runtime less than to kill it; one that does not
    /// is killed. The engine is given time to be through with the end: under load a network of Engine 20.10.24 was once
    /// left with an endpoint of nobody, perhaps by a removal that crossed it.
    pub async fn stop(mut self) {
        self.sandbox.end_input().await;
        drop(self.cx.docker.wait(self.id(), 10).await);
        self.kill().await;
    }

    /// Removes it without waiting for its guest: one that was started again no longer has this input.
    pub(super) async fn kill(self) {
        remove(&self.cx, &self.runtime, &self.scenario, &self.sandbox.id).await;
    }
}

/// Kills and removes a scenario's container, without a grace period.
async fn remove(cx: &Cx, runtime: &str, scenario: &str, id: &str) {
    let begun = Instant::now();
    // Some shims hang when their sandbox is killed; the engine then waits for ever.
    let removed = cx.docker.remove_within(id, 15).await;
    cx.phase(runtime, scenario, "remove", begun);
    let Err(first) = removed else { return };
    let ended = end_shims(cx, id).await;
    let why = match cx.docker.remove_within(id, 30).await {
        Ok(()) => format!("{first}; {ended}, and it is removed now"),
        Err(e) => format!("{first}; {ended}, and still: {e}"),
    };
    cx.problem(runtime, scenario, "remove", why);
}

/// An ask with the usual deadline.
pub fn ask(probe: &str, label: &str, params: &Map<String, Value>, more: Value) -> Ask {
    let mut params = params.clone();
    if let Value::Object(more) = more {
        params.extend(more);
    }
    params.insert("seed".into(), json!(seed()));
    Ask { probe: probe.to_owned(), label: label.to_owned(), params: Value::Object(params), deadline_ms: 20_000 }
}

/// Drains the ledgers and says so in the journal.
pub async fn drain(cx: &Cx, lab: &Lab, runtime: &str, scenario: &str) {
    let begun = Instant::now();
    let (ok, why) = match lab.drain().await {
        Ok(text) => (true, text),
        Err(why) => (false, why),
    };
    cx.phase(runtime, scenario, "drain", begun);
    cx.sink.emit(Event::Drained { runtime: runtime.to_owned(), scenario: scenario.to_owned(), ok, why });
}

/// Milliseconds as the journal has them.
pub fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// Ends the shims of a container that cannot be removed, by pid. Says what was done.
async fn end_shims(cx: &Cx, id: &str) -> String {
    let shims = match cx.helper.ask(LabAsk::Orphans { ids: vec![id.to_owned()] }).await {
        Ok(Answer::Orphans { processes, .. }) => processes,
        Ok(other) => return format!("its shim was not found: {other:?}"),
        Err(e) => return format!("its shim was not found: {e}"),
    };
    let mut ended = Vec::new();
    for shim in shims.iter().filter(|p| p.comm.starts_with("containerd-shim")) {
        match cx.helper.ask(LabAsk::EndShim { pid: shim.pid, id: id.to_owned() }).await {
            Ok(_) => ended.push(format!("its shim {} was ended", shim.pid)),
            Err(e) => ended.push(e.to_string()),
        }
    }
    if ended.is_empty() { "it has no shim".to_owned() } else { ended.join(", ") }
}
