//! Squid as the lab's proxy: the configuration, the child, its log.
//!
//! Started for speed: no cache, no helpers, no pinger, no icons, few descriptors, no file but the configuration and
//! the process id, both in /tmp.

use std::net::{IpAddr, Ipv4Addr};
use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::{Child, Command};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};

use super::acl::Acl;
use super::io::Out;
use super::squid_log;
use super::wire::Say;

/// A running Squid; dropped, it is killed.
pub(super) struct Squid {
    /// What it calls itself.
    pub(super) version: String,
    stop: tokio::sync::oneshot::Sender<()>,
    watch: JoinHandle<()>,
}

impl Squid {
    /// Starts Squid and returns once it accepts connections.
    pub(super) async fn start(port: u16, acl: &Acl, resolver: IpAddr, out: &Out) -> Result<Self> {
        let log = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.context("bind the log's port")?;
        let log_port = log.local_addr()?.port();
        let directory = std::env::temp_dir().join(format!("awf-squid-{}", std::process::id()));
        std::fs::create_dir_all(&directory).with_context(|| format!("create {}", directory.display()))?;
        let path = directory.join("squid.conf");
        let text = configuration(port, acl, resolver, log_port, &directory.to_string_lossy());
        // Squid insists on a table of MIME types, and reads an icon for each line of it.
        for (path, text) in [(&path, text.as_str()), (&directory.join("mime.conf"), "")] {
            std::fs::write(path, text).with_context(|| format!("write {}", path.display()))?;
        }

        let mut child = Command::new(BINARY)
            .args(["-N", "-d", "1", "-f"])
            .arg(&path)
            .current_dir("/tmp")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("start {BINARY}"))?;
        let log = tokio::spawn(read_log(log, out.clone()));
        let words = Words::follow(child.stderr.take().context("no stderr")?);
        let (version, ready) = tokio::join!(version(), wait_until_ready(&mut child, port));
        if let Err(error) = ready {
            let _ = child.kill().await;
            log.abort();
            // What it wrote last may still be on its way.
            sleep(Duration::from_millis(50)).await;
            bail!("{error:#}: {}", words.last());
        }
        let (stop, stopped) = tokio::sync::oneshot::channel();
        let watch = tokio::spawn(watch(child, words, out.clone(), stopped));
        Ok(Self { version: version?, stop, watch })
    }

    /// Ends Squid and waits until it is gone.
    pub(super) async fn stop(self) {
        let _ = self.stop.send(());
        let _ = timeout(END, self.watch).await;
    }
}

fn configuration(port: u16, acl: &Acl, resolver: IpAddr, log_port: u16, directory: &str) -> String {
    // The extras' defaults name the client, and Squid would ask the resolver for that name at every connection.
    format!(
        "http_port {port}\n\
         visible_hostname awf-proxy\nunique_hostname awf-proxy\n\
         cache_effective_user proxy\n\
         pid_filename none\ncoredump_dir none\n\
         cache_log /dev/null\ncache_store_log none\ncache deny all\ncache_mem 0 MB\nmemory_pools off\n\
         maximum_object_size_in_memory 0 KB\n\
         {}\naccess_log tcp://127.0.0.1:{log_port} awf\nbuffered_logs off\nstrip_query_terms off\nlogfile_rotate 0\n\
         dns_nameservers {resolver}\ndns_timeout 3 seconds\ndns_retransmit_interval 1 seconds\ndns_defnames off\n\
         hosts_file none\nnegative_dns_ttl 1 seconds\npositive_dns_ttl 1 seconds\n\
         connect_timeout 2 seconds\nforward_timeout 4 seconds\nconnect_retries 0\nrequest_start_timeout 5 seconds\n\
         request_timeout 5 seconds\nclient_idle_pconn_timeout 5 seconds\nserver_persistent_connections off\n\
         read_timeout 10 seconds\n\
         shutdown_lifetime 0 seconds\nmax_filedescriptors 2048\nvia off\nforwarded_for delete\n\
         pinger_enable off\nclient_db off\nquery_icmp off\ndigest_generation off\nicp_port 0\nhtcp_port 0\nsnmp_port 0\n\
         url_rewrite_extras \"%>a\"\nstore_id_extras \"%>a\"\n\
         icon_directory {directory}\nmime_table {directory}/mime.conf\nerr_page_stylesheet none\n\
         {}",
        squid_log::FORMAT,
        acl.squid()
    )
}

/// Waits until the port accepts a connection, as long as the child lives. The log line of this connection comes from
/// the loopback address and is not reported.
async fn wait_until_ready(child: &mut Child, port: u16) -> Result<()> {
    let end = Instant::now() + READY;
    loop {
        if TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await.is_ok() {
            return Ok(());
        }
        if let Some(status) = child.try_wait().context("look after squid")? {
            bail!("squid ended with {status}");
        }
        if Instant::now() > end {
            bail!("squid did not listen on port {port} within {READY:?}");
        }
        sleep(POLL).await;
    }
}

async fn version() -> Result<String> {
    let output = Command::new(BINARY).arg("-v").stdin(Stdio::null()).kill_on_drop(true).output().await;
    let output = output.with_context(|| format!("ask {BINARY} for its version"))?;
    Ok(String::from_utf8_lossy(&output.stdout).lines().next().unwrap_or_default().to_owned())
}

/// Reports the decisions Squid logs. Over TCP, because its UDP log holds lines back until a datagram is full.
async fn read_log(listener: TcpListener, out: Out) {
    while let Ok((stream, _)) = listener.accept().await {
        let mut lines = BufReader::new(stream);
        let mut line = Vec::new();
        // A line that is too long is read in pieces, none of which is a decision.
        while (&mut lines).take(LINE).read_until(b'\n', &mut line).await.is_ok_and(|length| length > 0) {
            if let Some(decision) = squid_log::parse(&String::from_utf8_lossy(&line)) {
                out.event(&decision);
            }
            line.clear();
        }
    }
}

/// Ends the child when told to, and says so if it ends by itself.
async fn watch(mut child: Child, words: Words, out: Out, stopped: tokio::sync::oneshot::Receiver<()>) {
    tokio::select! {
        status = child.wait() => {
            let status = status.map_or_else(|error| error.to_string(), |status| status.to_string());
            out.answer(&Say::Failed { seq: 0, why: format!("squid ended with {status}: {}", words.last()) });
        }
        _ = stopped => {
            let _ = child.kill().await;
        }
    }
}

/// The last lines of the child's stderr.
#[derive(Clone, Default)]
struct Words(Arc<Mutex<Vec<String>>>);

impl Words {
    fn follow(stderr: tokio::process::ChildStderr) -> Self {
        let words = Self::default();
        let writer = words.clone();
        tokio::spawn(async move {
            let mut lines = BufReader::new(stderr).lines();
            while let Ok(Some(line)) = lines.next_line().await {
                let line = line.chars().take(300).collect();
                let mut kept = writer.0.lock().unwrap_or_else(PoisonError::into_inner);
                if kept.len() == LINES {
                    kept.remove(0);
                }
                kept.push(line);
            }
        });
        words
    }

    fn last(&self) -> String {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).join(" | ")
    }
}

/// Where Debian and Ubuntu have it.
const BINARY: &str = "/usr/sbin/squid";
const READY: Duration = Duration::from_secs(25);
const END: Duration = Duration::from_secs(2);
const POLL: Duration = Duration::from_millis(5);
const LINES: usize = 12;
/// Longest line of the log.
const LINE: u64 = 65_536;
