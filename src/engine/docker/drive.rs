//! What a client does to a container between create and remove: every call is an experiment, so a refusal is an answer.

use std::{
    collections::HashMap,
    net::Ipv4Addr,
    time::{Duration, Instant},
};

use awf_probe_matrix::Outcome;
use awf_probe_probes::pace;
use bollard::{
    body_full,
    container::LogOutput,
    errors::Error as ClientError,
    exec::{CreateExecOptions, StartExecOptions, StartExecResults},
    models::{
        ContainerCreateBody, ContainerUpdateBody, HealthConfig, HostConfig, HostConfigLogConfig, NetworkConnectRequest,
        NetworkDisconnectRequest, PortBinding, RestartPolicy, RestartPolicyNameEnum,
    },
    query_parameters::{
        CreateContainerOptionsBuilder, DownloadFromContainerOptionsBuilder, EventsOptionsBuilder,
        KillContainerOptionsBuilder, ListContainersOptionsBuilder, LogsOptionsBuilder,
        ResizeContainerTTYOptionsBuilder, RestartContainerOptionsBuilder, StatsOptionsBuilder,
        StopContainerOptionsBuilder, TopOptionsBuilder, UploadToContainerOptionsBuilder, WaitContainerOptions,
    },
};
use futures_util::{StreamExt, TryStreamExt};
use serde_json::Value;
use tokio::{io::AsyncWriteExt, sync::mpsc};

use super::{
    Docker, reason,
    sandbox::{Common, Sandbox, Start, endpoint, fresh_name},
};
use crate::{settings::Settings, specs::Spec};

/// The engine said no, or said nothing.
#[derive(Clone, Debug)]
pub struct No {
    /// `HTTP 409`, or a word where there is no status.
    pub what: String,
    /// In its words.
    pub why: String,
}

impl No {
    fn of(e: &ClientError) -> Self {
        let what = match e {
            ClientError::DockerResponseServerError { status_code, .. } => format!("HTTP {status_code}"),
            _ => "no answer".to_owned(),
        };
        Self { what, why: reason(e) }
    }

    /// As what happened when it was tried.
    pub fn outcome(&self) -> Outcome {
        if self.what == "no answer" {
            return Outcome::broken(self.why.clone());
        }
        Outcome::refused(self.what.clone(), self.why.chars().take(300).collect::<String>())
    }
}

impl std::fmt::Display for No {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.why)
    }
}

/// What to execute in a running container.
#[derive(Clone, Debug, Default)]
pub struct ExecAsk {
    /// Program and arguments.
    pub cmd: Vec<String>,
    /// User.
    pub user: Option<String>,
    /// Environment.
    pub env: Vec<String>,
    /// Working directory.
    pub workdir: Option<String>,
    /// With a terminal.
    pub tty: bool,
    /// It waits for a line on its input, and is given one when its first line has arrived.
    pub waits: bool,
}

/// An event of the engine's.
#[derive(Clone, Debug)]
pub struct Happened {
    /// Container.
    pub id: String,
    /// `start`, `health_status: healthy`.
    pub what: String,
    /// When, by the engine's clock.
    pub nanos: i64,
}

/// What was executed.
#[derive(Clone, Debug, Default)]
pub struct Execed {
    /// Exit code as the engine has it.
    pub code: Option<i64>,
    /// Standard output.
    pub out: String,
    /// Standard error.
    pub err: String,
    /// From the request to the end of the output.
    pub took: Duration,
}

/// A log or the output of a command is looked at up to here.
const MAX_BYTES: usize = 8 << 20;

async fn ask<T>(seconds: u64, call: impl Future<Output = Result<T, ClientError>>) -> Result<T, No> {
    let limit = pace::scaled(Duration::from_secs(seconds));
    match tokio::time::timeout(limit, call).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(e)) => Err(No::of(&e)),
        Err(_) => {
            Err(No { what: "no answer".to_owned(), why: format!("the engine did not answer in {} s", limit.as_secs()) })
        }
    }
}

/// Puts settings into a request to create.
pub(super) fn settle(body: &mut ContainerCreateBody, more: &Settings) {
    let host = body.host_config.get_or_insert_with(HostConfig::default);
    if more.image.is_some() {
        body.image.clone_from(&more.image);
        // Its own health check is not what is measured.
        body.healthcheck = Some(HealthConfig { test: Some(vec!["NONE".to_owned()]), ..Default::default() });
    }
    if more.as_it_is {
        body.cmd = None;
    }
    if let Some(env) = &mut body.env {
        env.extend(more.environment.iter().cloned());
    }
    body.entrypoint.clone_from(&more.entrypoint);
    body.user.clone_from(&more.user);
    body.working_dir.clone_from(&more.workdir);
    body.hostname.clone_from(&more.hostname);
    body.domainname.clone_from(&more.domainname);
    body.stop_signal.clone_from(&more.stop_signal);
    body.tty = Some(more.tty);
    if let Some(h) = &more.health {
        let nanos = |ms: i64| Some(ms * 1_000_000);
        body.healthcheck = Some(HealthConfig {
            test: Some(std::iter::once("CMD".to_owned()).chain(h.test.iter().cloned()).collect()),
            interval: nanos(h.interval_ms),
            timeout: nanos(h.timeout_ms),
            retries: Some(h.retries),
            start_period: nanos(h.start_period_ms),
            ..Default::default()
        });
    }
    if !more.groups.is_empty() {
        host.group_add = Some(more.groups.clone());
    }
    if more.read_only {
        host.readonly_rootfs = Some(true);
    }
    if more.init {
        host.init = Some(true);
    }
    if let Some(port) = more.published {
        let port = format!("{port}/tcp");
        let loopback = PortBinding { host_ip: Some("127.0.0.1".to_owned()), host_port: Some(String::new()) };
        host.port_bindings = Some([(port.clone(), Some(vec![loopback]))].into());
        body.exposed_ports = Some(vec![port]);
    }
    if let Some(times) = more.restarts {
        host.restart_policy =
            Some(RestartPolicy { name: Some(RestartPolicyNameEnum::ON_FAILURE), maximum_retry_count: Some(times) });
    }
    if more.logged {
        host.log_config = Some(HostConfigLogConfig { typ: Some("json-file".to_owned()), config: None });
    }
}

impl Docker {
    /// Creates a container and does nothing else to it.
    pub async fn make(&self, common: &Common, spec: &Spec, how: &Start<'_>) -> Result<String, No> {
        let name = fresh_name(common);
        let options = CreateContainerOptionsBuilder::default().name(&name).build();
        let created = ask(60, self.client().create_container(Some(options), self.body(common, spec, how))).await?;
        self.remember(&created.id);
        Ok(created.id)
    }

    /// Attaches to a container that does not run, and starts it.
    pub async fn run_attached(&self, id: &str, how: &Start<'_>) -> Result<Sandbox, No> {
        let started = self.attach_and_start(id, how, Instant::now()).await;
        started.map_err(|(stage, e)| No { what: stage.to_owned(), why: e.to_string() })
    }

    /// Starts a container.
    pub async fn run_detached(&self, id: &str) -> Result<(), No> {
        ask(60, self.client().start_container(id, None)).await
    }

    /// Waits until it does not run, and tells its exit code.
    pub async fn wait(&self, id: &str, seconds: u64) -> Result<i64, No> {
        let mut stream = self.client().wait_container(id, None::<WaitContainerOptions>);
        let first = async { stream.next().await.transpose() };
        let answer = match tokio::time::timeout(pace::scaled(Duration::from_secs(seconds)), first).await {
            Ok(answer) => answer,
            Err(_) => {
                let why = format!("it still runs after {seconds} s");
                return Err(No { what: "no answer".to_owned(), why });
            }
        };
        match answer {
            Ok(Some(done)) => Ok(done.status_code),
            Ok(None) => Err(No { what: "no answer".to_owned(), why: "the engine told no exit code".to_owned() }),
            Err(ClientError::DockerContainerWaitError { code, .. }) => Ok(code),
            Err(e) => Err(No::of(&e)),
        }
    }

    /// Sends a signal.
    pub async fn kill(&self, id: &str, signal: &str) -> Result<(), No> {
        let options = KillContainerOptionsBuilder::default().signal(signal).build();
        ask(30, self.client().kill_container(id, Some(options))).await
    }

    /// Asks it to stop, and kills it after so many seconds.
    pub async fn stop(&self, id: &str, grace: i32) -> Result<(), No> {
        let options = StopContainerOptionsBuilder::default().t(grace).build();
        ask(60, self.client().stop_container(id, Some(options))).await
    }

    /// Stops and starts it.
    pub async fn restart(&self, id: &str, grace: i32) -> Result<(), No> {
        let options = RestartContainerOptionsBuilder::default().t(grace).build();
        ask(60, self.client().restart_container(id, Some(options))).await
    }

    /// Freezes it.
    pub async fn pause(&self, id: &str) -> Result<(), No> {
        ask(30, self.client().pause_container(id)).await
    }

    /// Lets it go on.
    pub async fn unpause(&self, id: &str) -> Result<(), No> {
        ask(30, self.client().unpause_container(id)).await
    }

    /// Changes limits of a running container.
    pub async fn update(&self, id: &str, memory: Option<i64>, pids: Option<i64>) -> Result<(), No> {
        let body = ContainerUpdateBody { memory, memory_swap: memory, pids_limit: pids, ..Default::default() };
        ask(30, self.client().update_container(id, body)).await
    }

    /// One reading of its resource use.
    pub async fn stats(&self, id: &str) -> Result<Value, No> {
        let options = StatsOptionsBuilder::default().stream(false).one_shot(true).build();
        let mut stream = Box::pin(self.client().stats(id, Some(options)));
        let reading = ask(30, async { stream.next().await.transpose() }).await?;
        Ok(serde_json::to_value(reading).unwrap_or_default())
    }

    /// Its processes.
    pub async fn top(&self, id: &str) -> Result<Value, No> {
        let options = TopOptionsBuilder::default().ps_args("-eo pid,comm").build();
        let top = ask(30, self.client().top_processes(id, Some(options))).await?;
        Ok(serde_json::to_value(top).unwrap_or_default())
    }

    /// What its log driver kept: standard output, standard error.
    pub async fn logs(&self, id: &str) -> Result<(Vec<u8>, Vec<u8>), No> {
        let options = LogsOptionsBuilder::default().stdout(true).stderr(true).build();
        let mut stream = Box::pin(self.client().logs(id, Some(options)));
        let mut kept = (Vec::new(), Vec::new());
        collect(&mut stream, 60, &mut kept.0, &mut kept.1, |_| false).await?;
        Ok(kept)
    }

    /// Executes something in it.
    pub async fn exec(&self, id: &str, what: &ExecAsk) -> Result<Execed, No> {
        let begun = Instant::now();
        let options = CreateExecOptions {
            attach_stdin: Some(what.waits),
            attach_stdout: Some(true),
            attach_stderr: Some(true),
            tty: Some(what.tty),
            env: (!what.env.is_empty()).then(|| what.env.clone()),
            cmd: Some(what.cmd.clone()),
            user: what.user.clone(),
            working_dir: what.workdir.clone(),
            ..Default::default()
        };
        let exec = ask(30, self.client().create_exec(id, options)).await?.id;
        let start = StartExecOptions { detach: false, tty: what.tty, output_capacity: None };
        let started = ask(30, self.client().start_exec(&exec, Some(start))).await?;
        let (mut out, mut err) = (Vec::new(), Vec::new());
        if let StartExecResults::Attached { mut output, mut input } = started {
            if what.waits {
                collect(&mut output, 30, &mut out, &mut err, |out| out.contains(&b'\n')).await?;
                // Whoever has ended needs none.
                drop(input.write_all(b"\n").await);
            }
            collect(&mut output, 30, &mut out, &mut err, |_| false).await?;
        }
        let took = begun.elapsed();
        let mut code = None;
        // The stream ends a moment before the engine has noticed.
        for _ in 0..100 {
            let seen = ask(30, self.client().inspect_exec(&exec)).await?;
            if seen.running == Some(false) {
                code = seen.exit_code;
                break;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        Ok(Execed { code, out: text(out), err: text(err), took })
    }

    /// Unpacks an archive in it.
    pub async fn put(&self, id: &str, path: &str, archive: Vec<u8>) -> Result<(), No> {
        let options = UploadToContainerOptionsBuilder::default().path(path).build();
        ask(30, self.client().upload_to_container(id, Some(options), body_full(archive.into()))).await
    }

    /// Packs a path of it.
    pub async fn get(&self, id: &str, path: &str) -> Result<Vec<u8>, No> {
        let options = DownloadFromContainerOptionsBuilder::default().path(path).build();
        let parts = self.client().download_from_container(id, Some(options)).try_collect::<Vec<_>>();
        Ok(ask(30, parts).await?.concat())
    }

    /// Paths that differ from its image.
    pub async fn changes(&self, id: &str) -> Result<Vec<String>, No> {
        let changes = ask(30, self.client().container_changes(id)).await?;
        Ok(changes.unwrap_or_default().into_iter().map(|c| c.path).collect())
    }

    /// Gives it another network while it runs.
    pub async fn join(&self, network: &str, id: &str, address: Ipv4Addr) -> Result<(), No> {
        let endpoint_config = Some(endpoint(address.into(), &[]));
        let request = NetworkConnectRequest { container: id.to_owned(), endpoint_config };
        ask(30, self.client().connect_network(network, request)).await
    }

    /// Takes a network from it.
    pub async fn part(&self, network: &str, id: &str) -> Result<(), No> {
        let request = NetworkDisconnectRequest { container: id.to_owned(), force: Some(false) };
        ask(30, self.client().disconnect_network(network, request)).await
    }

    /// Ids of all containers with a label, which are remembered as ours.
    pub async fn labelled(&self, label: &str) -> Result<Vec<String>, No> {
        let filters = HashMap::from([("label".to_owned(), vec![label.to_owned()])]);
        let options = ListContainersOptionsBuilder::default().all(true).filters(&filters).build();
        let found = ask(30, self.client().list_containers(Some(options))).await?;
        let ids: Vec<String> = found.into_iter().filter_map(|c| c.id).collect();
        ids.iter().for_each(|id| self.remember(id));
        Ok(ids)
    }

    /// What happens to containers with a label from now on, until the receiver is dropped: the events of these names,
    /// and at last why there are no more, if the engine says so.
    pub fn events(&self, label: &str, names: &[&str]) -> mpsc::UnboundedReceiver<Result<Happened, No>> {
        let names = names.iter().map(|n| (*n).to_owned()).collect();
        let filters = HashMap::from([("label".to_owned(), vec![label.to_owned()]), ("event".to_owned(), names)]);
        // The engine repeats what it remembers since then: nothing is lost before the stream is open.
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default().as_secs();
        let options = EventsOptionsBuilder::default().since(&since.to_string()).filters(&filters).build();
        let client = self.client().clone();
        let (sender, receiver) = mpsc::unbounded_channel();
        tokio::spawn(async move {
            let mut stream = client.events(Some(options));
            loop {
                let next = tokio::select! {
                    next = stream.next() => next,
                    () = sender.closed() => return,
                };
                let told = match next {
                    Some(Ok(event)) => Ok(Happened {
                        id: event.actor.and_then(|a| a.id).unwrap_or_default(),
                        what: event.action.unwrap_or_default(),
                        nanos: event.time_nano.unwrap_or_default(),
                    }),
                    Some(Err(e)) => Err(No::of(&e)),
                    None => Err(No { what: "no answer".to_owned(), why: "the engine ended its events".to_owned() }),
                };
                let over = told.is_err();
                if sender.send(told).is_err() || over {
                    return;
                }
            }
        });
        receiver
    }

    /// Where the engine's host has a volume.
    pub async fn volume_path(&self, name: &str) -> Result<String, No> {
        Ok(ask(30, self.client().inspect_volume(name)).await?.mountpoint)
    }

    /// Gives its terminal another size.
    pub async fn resize(&self, id: &str, rows: i32, columns: i32) -> Result<(), No> {
        let options = ResizeContainerTTYOptionsBuilder::default().h(rows).w(columns).build();
        ask(30, self.client().resize_container_tty(id, options)).await
    }

    /// Everything the engine knows of it.
    pub async fn look(&self, id: &str) -> Result<Value, No> {
        let seen = ask(30, self.client().inspect_container(id, None)).await?;
        Ok(serde_json::to_value(seen).unwrap_or_default())
    }
}

/// Reads until the end, or until standard output is enough.
async fn collect(
    stream: &mut (impl futures_util::Stream<Item = Result<LogOutput, ClientError>> + Unpin),
    seconds: u64,
    out: &mut Vec<u8>,
    err: &mut Vec<u8>,
    enough: impl Fn(&[u8]) -> bool,
) -> Result<(), No> {
    let all = async {
        while let Some(part) = stream.next().await {
            match part? {
                LogOutput::StdErr { message } => err.extend_from_slice(&message),
                LogOutput::StdOut { message } | LogOutput::Console { message } => out.extend_from_slice(&message),
                LogOutput::StdIn { .. } => {}
            }
            if out.len() + err.len() > MAX_BYTES || enough(out) {
                break;
            }
        }
        Ok(())
    };
    ask(seconds, all).await
}
