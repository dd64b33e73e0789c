//! What a client can say about a container's life beyond what AWF sets.

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
    /// Another image than the probe's, by its id.
    pub image: Option<String>,
    /// Without a command, as the image has it; nothing is attached.
    pub as_it_is: bool,
    /// Variables beside those of the spec.
    pub environment: Vec<String>,
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
    /// The signal that asks it to stop.
    pub stop_signal: Option<String>,
    /// Restarted this often after a failure.
    pub restarts: Option<i64>,
    /// A health check.
    pub health: Option<Health>,
    /// A TCP port that is published on a port of the host's loopback.
    pub published: Option<u16>,
    /// Kept by a log driver that can be read.
    pub logged: bool,
}
