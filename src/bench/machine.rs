//! What a figure depends on beside the runtime.

use std::fs;

use crate::engine::docker::Info;

/// Facts of this machine; what it does not tell is left out.
pub(super) fn facts(info: &Info) -> Vec<(String, String)> {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let cpuinfo = read("/proc/cpuinfo");
    let of = |name: &str| {
        let line = cpuinfo.lines().find(|l| l.split(':').next().is_some_and(|k| k.trim() == name))?;
        Some(line.split_once(':')?.1.trim().to_owned())
    };
    let virtual_machine = of("flags").map(|f| if f.split(' ').any(|w| w == "hypervisor") { "yes" } else { "no" });
    let memory = read("/proc/meminfo").lines().find_map(|l| l.strip_prefix("MemTotal:").map(|v| v.trim().to_owned()));
    let (driver, root) = &info.storage;
    let host = &info.host;
    let facts = [
        ("processor", of("model name").or_else(|| of("CPU implementer"))),
        ("processors", Some(host.cpus.to_string())),
        ("virtual machine", virtual_machine.map(str::to_owned)),
        ("frequency governor", Some(read("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"))),
        ("memory", memory),
        ("kernel", Some(format!("{} {}", host.kernel, host.arch))),
        ("system", Some(host.os.clone())),
        ("engine", Some(format!("{} (API {})", host.engine, host.api))),
        ("storage", Some(format!("{driver} in {root}, on {}", file_system(&read("/proc/self/mounts"), root)))),
        ("cgroup", Some(format!("v{}, {}", host.cgroup, host.cgroup_driver))),
        ("clock source", Some(read("/sys/devices/system/clocksource/clocksource0/current_clocksource"))),
    ];
    let told = facts.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?.trim().to_owned())));
    told.filter(|(_, value)| !value.is_empty()).collect()
}

/// The load averages.
pub(super) fn load() -> String {
    let text = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split(' ').take(3).collect::<Vec<_>>().join(" ")
}

/// The type of the file system that holds a path.
fn file_system(mounts: &str, path: &str) -> String {
    let mut best = ("", "unknown");
    for line in mounts.lines() {
        let mut words = line.split(' ').skip(1);
        let (Some(at), Some(kind)) = (words.next(), words.next()) else { continue };
        let under = path.strip_prefix(at).is_some_and(|rest| at == "/" || rest.is_empty() || rest.starts_with('/'));
        if under && at.len() >= best.0.len() {
            best = (at, kind);
        }
    }
    best.1.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_mount_counts() {
        let mounts = "a / ext4 rw 0 0\nb /var xfs rw 0 0\nc /var/lib/dock btrfs rw 0 0\n";
        assert_eq!(file_system(mounts, "/var/lib/docker"), "xfs");
        assert_eq!(file_system(mounts, "/var/lib/dock"), "btrfs");
        assert_eq!(file_system(mounts, "/srv"), "ext4");
        assert_eq!(file_system("", "/srv"), "unknown");
    }
}
