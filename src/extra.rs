//! Mounts and limits of sandboxes that are about nothing else.

use awf_probe_probes::OVERLAYS;

/// Stands for the engine's own socket among the binds.
pub const ENGINE_SOCKET: &str = "engine";

/// What a sandbox is given beyond what [`crate::specs::Spec`] names.
#[derive(Clone, Debug, Default)]
pub struct Extra {
    /// Path and options. Each flag is named, as the engine's defaults are noexec, nosuid and nodev.
    pub tmpfs: Vec<(&'static str, &'static str)>,
    /// Source on the host, target. All read-only but /dev/null.
    pub binds: Vec<(&'static str, String)>,
    /// Source on the host, target, and the mode of recursive propagation.
    pub propagated: Vec<(String, String, &'static str)>,
    /// Where the run's volume is mounted, and whether read-only.
    pub volume: Vec<(&'static str, bool)>,
    /// Name and limit, soft and hard.
    pub ulimits: Vec<(&'static str, i64)>,
    /// Bytes of /dev/shm.
    pub shm: Option<i64>,
    /// Processors.
    pub cpuset: Option<&'static str>,
    /// Sysctls of the sandbox's own namespaces.
    pub sysctls: Vec<(&'static str, &'static str)>,
    /// oom_score_adj of its processes.
    pub oom_score_adj: Option<i64>,
    /// Soft memory limit in bytes.
    pub reservation: Option<i64>,
}

impl Extra {
    /// Everything that can be mounted without disturbing each other.
    pub fn mounts() -> Self {
        let mut binds = vec![
            ("/dev", "/host/dev".to_owned()),
            ("/sys", "/host/sys".to_owned()),
            ("/dev/null", "/host/dev/null".to_owned()),
            ("/dev/null", "/m/docker.sock".to_owned()),
        ];
        for home in ["/home/agent", "/host/home/agent"] {
            binds.extend(OVERLAYS.iter().map(|file| ("/dev/null", format!("{home}/{file}"))));
        }
        Self {
            tmpfs: vec![
                ("/t/small", "rw,exec,suid,dev,mode=1777,size=1m"),
                ("/t/open", "rw,exec,suid,dev,mode=1777,size=32m"),
                ("/t/noexec", "rw,noexec,suid,dev,mode=1777,size=1m"),
                ("/t/nosuid", "rw,exec,nosuid,dev,mode=1777,size=1m"),
                ("/t/nodev", "rw,exec,suid,nodev,mode=1777,size=1m"),
                ("/t/mode", "rw,mode=750,uid=1000,gid=1000,size=64k"),
                ("/m/over/inner", "rw,exec,suid,dev,mode=1777,size=1m"),
                // AWF's.
                ("/host/dev/shm", "rw,noexec,nosuid,nodev,size=65536k"),
            ],
            binds,
            volume: vec![("/m/rw", false), ("/m/ro", true), ("/m/over", false), ("/m/again", false)],
            ..Self::default()
        }
    }

    /// The engine's socket, as workflows mount it that start containers themselves.
    pub fn engine_socket() -> Self {
        Self { binds: vec![(ENGINE_SOCKET, "/m/engine.sock".to_owned())], ..Self::default() }
    }

    /// One limit of each kind, each smaller than what its probe reaches for.
    pub fn limits() -> Self {
        Self {
            ulimits: vec![
                ("nofile", 64),
                ("nproc", 24),
                ("fsize", 1 << 20),
                ("core", 0),
                ("memlock", 16 << 10),
                ("data", 64 << 20),
                ("stack", 1 << 20),
            ],
            shm: Some(4 << 20),
            cpuset: Some("0"),
            sysctls: vec![("net.ipv4.ip_unprivileged_port_start", "90"), ("kernel.msgmax", "4096")],
            oom_score_adj: Some(300),
            reservation: Some(48 << 20),
            ..Self::default()
        }
    }

    /// A tmpfs for the files of a bench.
    pub fn bench() -> Self {
        Self { tmpfs: vec![("/t/bench", "rw,exec,nosuid,nodev,mode=1777,size=64m")], ..Self::default() }
    }

    /// A tmpfs larger than the memory limit of the sandbox that is compared.
    pub fn big_tmpfs() -> Self {
        Self { tmpfs: vec![("/t/big", "rw,mode=1777,size=256m")], ..Self::default() }
    }
}
