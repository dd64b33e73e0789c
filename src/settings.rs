//! What a container can be configured with beyond what AWF sets: the parts of an image's life a client asks for.

/// A health check the engine carries out.
#[derive(Clone, Debug, Default)]
pub struct Health {
    /// Arguments of the executable.
    pub test: Vec<String>,
    /// Milliseconds before the first check and between checks.
    pub interval_ms: i64,
    /// Milliseconds a check may take.
    pub timeout_ms: i64,
    /// Failures in a row that make it unhealthy.
    pub retries: i64,
    /// Milliseconds in which failures do not count.
    pub start_period_ms: i64,
}

/// Everything left out is the engine's default.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// Another image than the probe's, by id.
    pub image: Option<String>,
    /// Another entrypoint than the image's.
    pub entrypoint: Option<Vec<String>>,
    /// User, and group behind a colon.
    pub user: Option<String>,
    /// Supplementary groups.
    pub groups: Vec<String>,
    /// Working directory.
    pub workdir: Option<String>,
    /// Host name.
    pub hostname: Option<String>,
    /// Domain name.
    pub domainname: Option<String>,
    /// Read-only root file system.
    pub read_only: bool,
    /// The engine's init as process 1.
    pub init: bool,
    /// A terminal.
    pub tty: bool,
    /// Sysctls.
    pub sysctls: Vec<(String, String)>,
    /// The signal that asks it to stop.
    pub stop_signal: Option<String>,
    /// Restarted this often after a failure.
    pub restarts: Option<i64>,
    /// A health check.
    pub health: Option<Health>,
    /// A TCP port published on 127.0.0.1, at a port of the engine's choice.
    pub publish: Option<u16>,
    /// Kept by a log driver that can be read.
    pub logged: bool,
    /// Options for its resolver.
    pub dns_options: Vec<String>,
    /// Labels.
    pub labels: Vec<(String, String)>,
    /// tmpfs mounts with their options.
    pub tmpfs: Vec<(String, String)>,
    /// Where the run's volume is mounted, writable.
    pub volume: Option<String>,
    /// Paths over which /dev/null is mounted.
    pub nulls: Vec<String>,
    /// Aliases on its network.
    pub aliases: Vec<String>,
    /// An address on the internal network, which it is connected to before it starts.
    pub second: Option<std::net::Ipv4Addr>,
}
