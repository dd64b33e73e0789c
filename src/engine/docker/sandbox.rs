//! One container: created, attached to, started, talked to line by line, removed.

use std::{
    collections::HashMap,
    net::IpAddr,
    path::Path,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use awf_probe_probes::pace;
use bollard::{
    container::LogOutput,
    models::{
        ContainerCreateBody, EndpointIpamConfig, EndpointSettings, HostConfig, HostConfigLogConfig, Mount,
        MountBindOptions, MountBindOptionsPropagationEnum, MountType, NetworkConnectRequest, NetworkingConfig,
        ResourcesUlimits,
    },
    query_parameters::{AttachContainerOptionsBuilder, CreateContainerOptionsBuilder, RemoveContainerOptionsBuilder},
};
use futures_util::{StreamExt, TryStreamExt, stream::BoxStream};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    sync::mpsc,
};

use super::{
    Docker, ROLE_LABEL, RUN_LABEL,
    objects::gone,
    reason,
    toolbox::{PATHS, ToolboxImage},
    within,
};
use crate::{
    engine::command::launched::Launched,
    error::Error,
    extra::ENGINE_SOCKET,
    given::Given,
    rehearsal::Rehearsal,
    sabotage::{Deed, Sabotage},
    specs::{APPARMOR, AWF_PROFILE, Net, Seccomp, Spec, Toolbox, marker_profile},
};

/// What every sandbox of a run shares.
#[derive(Clone, Debug)]
pub struct Common {
    /// The run's id.
    pub run: String,
    /// The probe image.
    pub image: String,
    /// Name of the lab's network.
    pub lab: String,
    /// Name of the internal network.
    pub internal: String,
    /// Names of the networks with rules on the host: filtered, and redirected as well.
    pub guarded: [String; 2],
    /// Name of the run's volume.
    pub volume: String,
    /// The resolver every container is given: an address of the witness.
    pub resolver: IpAddr,
    /// An image whose tools take the place of the host's.
    pub toolbox: Option<Arc<ToolboxImage>>,
    /// The image the user names.
    pub given: Option<Arc<Given>>,
    /// Whether the engine applies AppArmor profiles, as it says itself.
    pub apparmor: bool,
    /// A defect put in on purpose.
    pub sabotage: Option<&'static Sabotage>,
    /// Settings that are rehearsed.
    pub rehearsal: Option<Arc<Rehearsal>>,
    /// Whether the lab is to have IPv6.
    pub ipv6: bool,
    /// Runtime of the sandbox whose network namespace those borrow that need none; without it each has its own.
    pub lender: Option<String>,
}

impl Common {
    /// The defect put in on purpose, if there is one.
    pub fn deed(&self) -> Option<Deed> {
        self.sabotage.map(|s| s.deed)
    }
}

/// A mount, as a Compose file has it.
#[derive(Debug)]
pub struct MountAs {
    /// A volume; else a path of the host.
    pub volume: bool,
    /// The volume's name, or the path.
    pub source: String,
    /// Where it is.
    pub target: String,
    /// Whether it is read-only.
    pub read_only: bool,
}

/// Arguments, label and privileges beyond the spec.
#[derive(Clone, Debug)]
pub struct Start<'a> {
    /// Runtime by name.
    pub runtime: &'a str,
    /// Arguments of the executable.
    pub args: &'a [&'a str],
    /// Value of the role label.
    pub role: &'a str,
    /// Host pid namespace (the helper only).
    pub host_pid: bool,
    /// Further networks and the address on each (proxy and sidecar).
    pub also: Vec<(String, IpAddr)>,
    /// Network aliases.
    pub aliases: Vec<String>,
}

/// A line of a container's standard output.
#[derive(Debug)]
pub enum Line {
    /// One line, without its end.
    Text(Vec<u8>),
    /// The stream ended: the container is gone.
    End,
    /// Nothing within the deadline.
    Late,
}

/// Standard input of a container.
pub type Input = Pin<Box<dyn AsyncWrite + Send>>;

/// The end of a standard error stream.
pub type Tail = Arc<Mutex<Vec<u8>>>;

/// Who holds a sandbox, and is asked about it.
#[derive(Clone)]
enum Held {
    Container(Docker),
    /// A guest that the user's own command started.
    Launched(Arc<Launched>),
}

/// A running sandbox.
pub struct Sandbox {
    held: Held,
    /// Container id, or the name a launched guest was given.
    pub id: String,
    input: Input,
    lines: mpsc::Receiver<Vec<u8>>,
    stderr: Tail,
    /// How long the creation alone took.
    pub made: Duration,
    /// When the start was asked for.
    pub begun: Instant,
    /// How long create and start took together.
    pub create: Duration,
    /// How long the start alone took.
    pub start: Duration,
}

impl std::fmt::Debug for Sandbox {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sandbox").field("id", &self.id).finish_non_exhaustive()
    }
}

/// How a container ended, as the engine has it.
#[derive(Clone, Debug, Default)]
pub struct Ended {
    /// Whether it still runs.
    pub running: bool,
    /// Exit code.
    pub exit_code: Option<i64>,
    /// OOMKilled.
    pub oom_killed: Option<bool>,
    /// The engine's error.
    pub error: String,
    /// Host pid of the init process.
    pub pid: Option<i64>,
    /// Runtime of the container.
    pub runtime: String,
}

/// Why a container did not start.
#[derive(Debug)]
pub struct NotStarted {
    /// What the engine was asked to do.
    pub stage: &'static str,
    /// What came of it.
    pub why: Error,
    /// The container, if it could not be removed.
    pub left: Option<String>,
}

impl From<(&'static str, Error)> for NotStarted {
    fn from((stage, why): (&'static str, Error)) -> Self {
        Self { stage, why, left: None }
    }
}

/// At most this much of a guest's output is looked at.
const MAX_OUTPUT: usize = 32 << 20;
/// Roles of the lab, which run under the reference runtime.
const OURS: &[&str] = &["helper", "witness", "proxy", "sidecar", "holder"];
const MAX_LINE: usize = 256 << 10;
const MAX_STDERR: usize = 4 << 10;

impl Docker {
    /// Creates, attaches and starts. A container whose start fails is removed, or left to the end of the run.
    pub async fn start(&self, common: &Common, spec: &Spec, how: Start<'_>) -> Result<Sandbox, (&'static str, Error)> {
        self.start_or_say(common, spec, how).await.map_err(|no| (no.stage, no.why))
    }

    /// The same, and says if it cannot be removed.
    pub async fn start_or_say(&self, common: &Common, spec: &Spec, how: Start<'_>) -> Result<Sandbox, NotStarted> {
        let begun = Instant::now();
        let name = fresh_name(common);
        let mut body = self.body(common, spec, &how);
        let equipment = common.toolbox.as_ref().filter(|_| spec.toolbox != Toolbox::None);
        if let Some(toolbox) = equipment.filter(|_| spec.toolbox == Toolbox::Root) {
            toolbox.take_over(&mut body);
        }
        let options = CreateContainerOptionsBuilder::default().name(&name).build();
        let create = self.client().create_container(Some(options), body);
        let fail = |stage, what: &str, e: &bollard::errors::Error| {
            (stage, Error::engine(format!("{what} a container under {:?}", how.runtime), &reason(e)))
        };
        let created = within("creating a container", 60, create).await.map_err(|e| ("create", e))?;
        let id = created.map_err(|e| fail("create", "create", &e))?.id;
        let made = begun.elapsed();
        self.remember(&id);
        let equipped = match equipment {
            Some(toolbox) => self.equip(&id, toolbox, spec.toolbox == Toolbox::Root).await.map_err(|e| ("create", e)),
            None => Ok(()),
        };
        let result = match equipped {
            Ok(()) => self.attach_and_start(&id, &how, begun).await.map(|sandbox| Sandbox { made, ..sandbox }),
            Err(e) => Err(e),
        };
        match result {
            Ok(sandbox) => Ok(sandbox),
            Err((stage, why)) => {
                // Where the runtime still hangs, so does the removal, until somebody ends the runtime.
                let left = self.remove_within(&id, 15).await.is_err().then_some(id);
                Err(NotStarted { stage, why, left })
            }
        }
    }

    pub(super) async fn attach_and_start(
        &self,
        id: &str,
        how: &Start<'_>,
        begun: Instant,
    ) -> Result<Sandbox, (&'static str, Error)> {
        let refused = |stage, what: &str, e: &bollard::errors::Error| {
            (stage, Error::engine(format!("{what} a container under {:?}", how.runtime), &reason(e)))
        };
        // Engines before API 1.44 refuse two networks at create.
        for (network, address) in &how.also {
            let endpoint = endpoint(*address, &how.aliases);
            let request = NetworkConnectRequest { container: id.to_owned(), endpoint_config: Some(endpoint) };
            let connected = self.client().connect_network(network, request).await;
            connected.map_err(|e| refused("create", "connect", &e))?;
        }
        let options =
            AttachContainerOptionsBuilder::default().stream(true).stdin(true).stdout(true).stderr(true).build();
        let attach = within("attaching", 30, self.client().attach_container(id, Some(options))).await;
        let attached = attach.map_err(|e| ("attach", e))?.map_err(|e| refused("attach", "attach to", &e))?;
        let (sender, lines) = mpsc::channel(1024);
        let stderr = Arc::new(Mutex::new(Vec::new()));
        // A role of the lab writes a line for each packet; only what may be hostile is limited as a whole.
        let most = if OURS.contains(&how.role) { usize::MAX } else { MAX_OUTPUT };
        let parts = attached.output.try_filter_map(|p| std::future::ready(Ok(part(p)))).boxed();
        tokio::spawn(read_output(parts, sender, Arc::clone(&stderr), most));
        let starting = Instant::now();
        let start = self.client().start_container(id, None);
        // A runtime that hangs at start must not take the run with it.
        let started = within("starting a container", 60, start).await.map_err(|e| ("start", e))?;
        started.map_err(|e| refused("start", "start", &e))?;
        Ok(Sandbox {
            held: Held::Container(self.clone()),
            id: id.to_owned(),
            input: attached.input,
            lines,
            stderr,
            made: Duration::ZERO,
            begun: starting,
            create: begun.elapsed(),
            start: starting.elapsed(),
        })
    }

    /// Removes a container, running or not.
    pub async fn remove(&self, id: &str) -> Result<(), Error> {
        self.remove_within(id, 60).await
    }

    /// Removes a container, and gives up after so many seconds.
    pub async fn remove_within(&self, id: &str, seconds: u64) -> Result<(), Error> {
        let options = RemoveContainerOptionsBuilder::default().force(true).v(true).build();
        match within("removing a container", seconds, self.client().remove_container(id, Some(options))).await? {
            Ok(()) => Ok(()),
            Err(e) if gone(&e) => Ok(()),
            Err(e) => Err(Error::engine(format!("remove the container {id}"), &reason(&e))),
        }
    }

    pub(super) fn body(&self, common: &Common, spec: &Spec, how: &Start<'_>) -> ContainerCreateBody {
        let mut security = Vec::new();
        match &spec.seccomp {
            Seccomp::Unconfined => security.push("seccomp=unconfined".to_owned()),
            Seccomp::Marker => security.push(format!("seccomp={}", marker_profile())),
            Seccomp::Awf => security.push(format!("seccomp={AWF_PROFILE}")),
            Seccomp::File(text) => security.push(format!("seccomp={text}")),
            Seccomp::EngineDefault => {}
        }
        if spec.no_new_privs {
            security.push("no-new-privileges:true".to_owned());
        }
        if spec.unmasked && self.podman {
            // It does not read the fields that Docker has for this.
            security.push("unmask=ALL".to_owned());
        }
        security.push(format!("apparmor={}", if spec.apparmor { APPARMOR } else { "unconfined" }));
        let (network_mode, endpoints) = match &spec.net {
            Net::None => ("none".to_owned(), None),
            Net::Host => ("host".to_owned(), None),
            Net::Join(id) => (format!("container:{id}"), None),
            Net::Lab(a) => (common.lab.clone(), Some((common.lab.clone(), endpoint((*a).into(), &how.aliases)))),
            Net::Internal(a) => {
                (common.internal.clone(), Some((common.internal.clone(), endpoint((*a).into(), &how.aliases))))
            }
            Net::Other(name, a) => (name.clone(), Some((name.clone(), endpoint((*a).into(), &how.aliases)))),
        };
        let joins = matches!(spec.net, Net::Join(_) | Net::Host | Net::None);
        let strings = |v: &[&str]| Some(v.iter().map(|s| (*s).to_owned()).collect::<Vec<_>>());
        let host = HostConfig {
            runtime: Some(how.runtime.to_owned()),
            network_mode: Some(network_mode),
            cap_add: strings(&spec.cap_add),
            cap_drop: strings(&spec.cap_drop),
            security_opt: Some(security),
            masked_paths: spec.unmasked.then(Vec::new),
            readonly_paths: spec.unmasked.then(Vec::new),
            memory: spec.memory,
            memory_swap: spec.memory,
            pids_limit: spec.pids,
            cpu_shares: spec.cpu_shares,
            nano_cpus: spec.cpu_milli.map(|m| m * 1_000_000),
            memory_reservation: spec.extra.reservation,
            cpuset_cpus: spec.extra.cpuset.map(str::to_owned),
            shm_size: spec.extra.shm,
            oom_score_adj: spec.extra.oom_score_adj,
            ulimits: Some(spec.extra.ulimits.iter().map(ulimit).collect()),
            sysctls: Some(spec.extra.sysctls.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect()),
            mounts: Some(mounts(common, spec, self.socket())),
            tmpfs: Some(tmpfs(spec)),
            // With a network of its own a container without this would be given the host's resolvers.
            dns: (!joins).then(|| vec![common.resolver.to_string()]),
            dns_search: (!joins).then(|| vec![".".to_owned()]),
            extra_hosts: (!spec.extra_hosts.is_empty()).then(|| spec.extra_hosts.clone()),
            pid_mode: how.host_pid.then(|| "host".to_owned()),
            userns_mode: how.host_pid.then(|| "host".to_owned()),
            log_config: Some(HostConfigLogConfig { typ: Some("none".to_owned()), config: None }),
            ..Default::default()
        };
        let mut body = ContainerCreateBody {
            image: Some(common.image.clone()),
            cmd: Some(how.args.iter().map(|a| (*a).to_owned()).collect()),
            env: Some(spec.env.iter().cloned().chain(pace::told()).collect()),
            attach_stdin: Some(true),
            attach_stdout: Some(true),
            attach_stderr: Some(true),
            open_stdin: Some(true),
            stdin_once: Some(true),
            tty: Some(false),
            labels: Some(HashMap::from([
                (RUN_LABEL.to_owned(), common.run.clone()),
                (ROLE_LABEL.to_owned(), how.role.to_owned()),
            ])),
            host_config: Some(host),
            networking_config: endpoints
                .map(|(name, e)| NetworkingConfig { endpoints_config: Some(HashMap::from([(name, e)])) }),
            ..Default::default()
        };
        super::drive::settle(&mut body, &spec.more);
        if let Some(service) = &spec.emitted {
            super::emitted::apply(&mut body, service);
        }
        if let (Some(Deed::Sandbox(edit)), "agent") = (common.deed(), how.role) {
            edit(&mut body);
        }
        body
    }
}

impl Docker {
    /// The mounts of a spec.
    pub fn mounts_of(&self, common: &Common, spec: &Spec) -> Vec<MountAs> {
        let all = mounts(common, spec, self.socket()).into_iter();
        all.map(|m| MountAs {
            volume: m.typ == Some(MountType::VOLUME),
            source: m.source.unwrap_or_default(),
            target: m.target.unwrap_or_default(),
            read_only: m.read_only.unwrap_or_default(),
        })
        .collect()
    }

    /// The tmpfs mounts of a spec: path and options.
    pub fn tmpfs_of(&self, spec: &Spec) -> Vec<(String, String)> {
        let mut all: Vec<(String, String)> = tmpfs(spec).into_iter().collect();
        all.sort();
        all
    }
}

fn ulimit((name, limit): &(&str, i64)) -> ResourcesUlimits {
    ResourcesUlimits { name: Some((*name).to_owned()), soft: Some(*limit), hard: Some(*limit) }
}

pub(super) fn endpoint(address: IpAddr, aliases: &[String]) -> EndpointSettings {
    EndpointSettings {
        ipam_config: Some(EndpointIpamConfig { ipv4_address: Some(address.to_string()), ..Default::default() }),
        aliases: (!aliases.is_empty()).then(|| aliases.to_vec()),
        ..Default::default()
    }
}

fn mounts(common: &Common, spec: &Spec, engine: &str) -> Vec<Mount> {
    let bind = |source: &str, target: String| Mount {
        typ: Some(MountType::BIND),
        source: Some(source.to_owned()),
        target: Some(target),
        read_only: Some(true),
        ..Default::default()
    };
    let prefix = match spec.toolbox {
        Toolbox::None => None,
        Toolbox::Root => Some(""),
        Toolbox::Host => Some("/host"),
    };
    let host = prefix.filter(|_| common.toolbox.is_none());
    let mut mounts: Vec<Mount> = host
        .into_iter()
        .flat_map(|p| PATHS.iter().filter(|t| Path::new(t).exists()).map(move |t| bind(t, format!("{p}{t}"))))
        .collect();
    if let Some(toolbox) = common.toolbox.as_ref().filter(|_| spec.toolbox == Toolbox::Host) {
        mounts.extend(toolbox.mounts());
    }
    let lock = "/run/xtables.lock";
    if spec.net == Net::Host && spec.toolbox == Toolbox::Root && Path::new(lock).exists() {
        // The lock of the legacy backend is a file that every user of it must share.
        mounts.push(Mount { read_only: Some(false), ..bind(lock, lock.to_owned()) });
    }
    if spec.net == Net::Host {
        // The helper looks here for what a removed container left behind.
        mounts.push(bind("/sys/fs/cgroup", "/host/sys/fs/cgroup".to_owned()));
    }
    if spec.workspace {
        for (target, read_only) in [("/host/work", false), ("/host/read-only", true)] {
            mounts.push(Mount {
                typ: Some(MountType::VOLUME),
                source: Some(common.volume.clone()),
                target: Some(target.to_owned()),
                read_only: Some(read_only),
                ..Default::default()
            });
        }
        mounts.push(bind("/dev/null", "/host/home/agent/.netrc".to_owned()));
    }
    for (source, target) in &spec.extra.binds {
        let source = if *source == ENGINE_SOCKET { engine } else { *source };
        mounts.push(Mount { read_only: Some(source != "/dev/null"), ..bind(source, target.clone()) });
    }
    for (source, target, mode) in &spec.extra.propagated {
        let propagation = match *mode {
            "shared" => MountBindOptionsPropagationEnum::RSHARED,
            "slave" => MountBindOptionsPropagationEnum::RSLAVE,
            _ => MountBindOptionsPropagationEnum::RPRIVATE,
        };
        let bind_options = Some(MountBindOptions { propagation: Some(propagation), ..Default::default() });
        mounts.push(Mount { read_only: Some(false), bind_options, ..bind(source, target.clone()) });
    }
    for (target, read_only) in &spec.extra.volume {
        mounts.push(Mount {
            typ: Some(MountType::VOLUME),
            source: Some(common.volume.clone()),
            target: Some((*target).to_owned()),
            read_only: Some(*read_only),
            ..Default::default()
        });
    }
    mounts
}

fn tmpfs(spec: &Spec) -> HashMap<String, String> {
    let own = |(path, options): &(&str, &str)| ((*path).to_owned(), (*options).to_owned());
    let mut all: HashMap<String, String> = spec.extra.tmpfs.iter().map(own).collect();
    let root = match spec.toolbox {
        Toolbox::None => return all,
        Toolbox::Root => "",
        Toolbox::Host => "/host",
    };
    all.insert(format!("{root}/tmp"), "rw,exec,nosuid,nodev,mode=1777,size=64m".to_owned());
    all.insert(format!("{root}/run"), "rw,nosuid,nodev,mode=755,size=1m".to_owned());
    if spec.toolbox == Toolbox::Root {
        for path in ["/var/log/squid", "/var/spool/squid"] {
            all.insert(path.to_owned(), "rw,nosuid,nodev,mode=1777,size=8m".to_owned());
        }
    }
    all
}

/// Parts of an output as they come: whether it is of standard error, and what.
async fn read_output<E>(
    mut output: BoxStream<'static, Result<(bool, Vec<u8>), E>>,
    lines: mpsc::Sender<Vec<u8>>,
    stderr: Tail,
    most: usize,
) {
    let mut pending: Vec<u8> = Vec::new();
    let mut total = 0;
    while let Some(Ok((error, message))) = output.next().await {
        if error {
            let mut tail = stderr.lock().unwrap_or_else(PoisonError::into_inner);
            tail.extend_from_slice(&message);
            let excess = tail.len().saturating_sub(MAX_STDERR);
            tail.drain(..excess);
            continue;
        }
        total = message.len().saturating_add(total);
        pending.extend_from_slice(&message);
        if total > most || pending.len() > MAX_LINE && !pending.contains(&b'\n') {
            return;
        }
        while let Some(end) = pending.iter().position(|b| *b == b'\n') {
            let mut line: Vec<u8> = pending.drain(..=end).collect();
            line.pop();
            if lines.send(line).await.is_err() {
                return;
            }
        }
    }
}

/// Parts of an output of a process.
fn parts_of(
    from: impl AsyncRead + Send + Unpin + 'static,
    error: bool,
) -> impl futures_util::Stream<Item = Result<(bool, Vec<u8>), std::io::Error>> + Send {
    futures_util::stream::unfold(from, move |mut from| async move {
        let mut buffer = Vec::with_capacity(16 << 10);
        match from.read_buf(&mut buffer).await {
            Ok(0) => None,
            Ok(_) => Some((Ok((error, buffer)), from)),
            Err(e) => Some((Err(e), from)),
        }
    })
}

/// A part of an attached container's output.
fn part(part: LogOutput) -> Option<(bool, Vec<u8>)> {
    match part {
        LogOutput::StdErr { message } => Some((true, message.into())),
        LogOutput::StdOut { message } | LogOutput::Console { message } => Some((false, message.into())),
        LogOutput::StdIn { .. } => None,
    }
}

impl Sandbox {
    /// Writes one line.
    pub async fn send(&mut self, what: &impl serde::Serialize) -> Result<(), Error> {
        let mut line = serde_json::to_vec(what).map_err(|e| Error::Bug(e.to_string()))?;
        line.push(b'\n');
        let write = async {
            self.input.write_all(&line).await?;
            self.input.flush().await
        };
        let gone = |e: std::io::Error| Error::engine("write to a container", &e);
        within("writing to a container", 30, write).await?.map_err(gone)
    }

    /// Ends its input.
    pub async fn end_input(&mut self) {
        // One that is gone already cannot be told; what it then does not do shows.
        drop(tokio::time::timeout(Duration::from_secs(5), self.input.shutdown()).await);
    }

    /// The next line, at most `limit` from now.
    pub async fn line(&mut self, limit: Duration) -> Line {
        match tokio::time::timeout(limit, self.lines.recv()).await {
            Ok(Some(line)) => Line::Text(line),
            Ok(None) => Line::End,
            Err(_) => Line::Late,
        }
    }

    /// What ends a launched process when it is dropped; a container needs none.
    pub fn keeper(&self) -> Option<Arc<Launched>> {
        match &self.held {
            Held::Container(_) => None,
            Held::Launched(launched) => Some(Arc::clone(launched)),
        }
    }

    /// Separates input and output, for a role that is asked and reports at the same time.
    pub fn split(self) -> (Input, mpsc::Receiver<Vec<u8>>, Tail) {
        (self.input, self.lines, self.stderr)
    }

    /// The end of what it wrote to standard error.
    pub fn stderr(&self) -> String {
        tail_text(&self.stderr)
    }

    /// What the engine knows of it now.
    pub async fn ended(&self) -> Result<Ended, Error> {
        match &self.held {
            Held::Container(docker) => docker.ended(&self.id).await,
            Held::Launched(launched) => Ok(launched.ended()),
        }
    }

    /// Kills and removes it, without a grace period; gives up after so many seconds.
    pub async fn remove(self, seconds: u64) -> Result<(), Error> {
        match &self.held {
            Held::Container(docker) => docker.remove_within(&self.id, seconds).await,
            Held::Launched(launched) => launched.remove(seconds).await,
        }
    }

    /// A guest that the user's own command started: its standard streams, and who holds it.
    pub fn launched(
        id: &str,
        streams: (Input, impl AsyncRead + Send + Unpin + 'static, impl AsyncRead + Send + Unpin + 'static),
        launched: Arc<Launched>,
        begun: Instant,
    ) -> Self {
        let (input, output, errors) = streams;
        let (sender, lines) = mpsc::channel(1024);
        let stderr = Arc::new(Mutex::new(Vec::new()));
        let (parts, more) = (parts_of(output, false).boxed(), parts_of(errors, true).boxed());
        // The guest is over when its output is, whatever its launcher still says.
        tokio::spawn(read_output(parts, sender, Arc::clone(&stderr), MAX_OUTPUT));
        let (nowhere, _) = mpsc::channel(1);
        tokio::spawn(read_output(more, nowhere, Arc::clone(&stderr), MAX_OUTPUT));
        let held = Held::Launched(launched);
        let id = id.to_owned();
        Self {
            held,
            id,
            input,
            lines,
            stderr,
            made: Duration::ZERO,
            begun,
            create: begun.elapsed(),
            start: begun.elapsed(),
        }
    }
}

impl Docker {
    /// What the engine knows of a container now.
    pub async fn ended(&self, id: &str) -> Result<Ended, Error> {
        let mut rounds = 0;
        let inspected = loop {
            let seen = within("inspecting a container", 30, self.client().inspect_container(id, None)).await?;
            match seen {
                Err(e) if self.passes(&e, &mut rounds) => tokio::time::sleep(Duration::from_millis(100)).await,
                other => break other,
            }
        };
        let c = inspected.map_err(|e| Error::engine("inspect a container", &reason(&e)))?;
        let runtime = match c.host_config.and_then(|h| h.runtime) {
            _ if self.podman => self.oci_runtime(id).await?,
            runtime => runtime.unwrap_or_default(),
        };
        let Some(s) = c.state else { return Ok(Ended { runtime, ..Ended::default() }) };
        Ok(Ended {
            running: s.running.unwrap_or(false),
            exit_code: s.exit_code,
            oom_killed: s.oom_killed,
            error: s.error.unwrap_or_default(),
            pid: s.pid,
            runtime,
        })
    }
}

/// The end of a standard error stream, as one line.
pub fn tail_text(stderr: &Tail) -> String {
    let tail = stderr.lock().unwrap_or_else(PoisonError::into_inner);
    String::from_utf8_lossy(&tail).trim().replace('\n', "; ")
}

/// A name for another container of a run.
pub(super) fn fresh_name(common: &Common) -> String {
    format!("awf-probe-{}-{}", common.run, crate::random_hex(4))
}
