//! The agent's service of a Compose override, put into a request to create as Compose would.

use std::collections::HashMap;

use bollard::models::{ContainerCreateBody, HostConfig, Mount, MountType, ResourcesUlimits};
use serde_json::Value;

/// Keys that are understood. Another one must not be passed over: what is rehearsed would not be what was emitted.
const KNOWN: &[&str] = &[
    "runtime",
    "dns",
    "dns_search",
    "environment",
    "cap_add",
    "cap_drop",
    "security_opt",
    "mem_limit",
    "memswap_limit",
    "pids_limit",
    "cpu_shares",
    "ulimits",
    "extra_hosts",
    "volumes",
];

/// The first key that is not understood.
pub fn unknown(service: &Value) -> Option<&str> {
    service.as_object()?.keys().map(String::as_str).find(|k| !KNOWN.contains(k))
}

/// Lists take the place of the request's, but for security options, which an override adds to.
pub(super) fn apply(body: &mut ContainerCreateBody, service: &Value) {
    let host = body.host_config.get_or_insert_default();
    let texts = |key: &str| -> Option<Vec<String>> {
        let list = service.get(key)?.as_array()?;
        Some(list.iter().filter_map(|v| v.as_str().map(str::to_owned)).collect())
    };
    // Compose takes sizes as text.
    let number = |key: &str| {
        let v = service.get(key)?;
        v.as_i64().or_else(|| v.as_str()?.parse().ok())
    };
    let HostConfig { runtime, dns, dns_search, cap_add, cap_drop, extra_hosts, .. } = host;
    if let Some(name) = service.get("runtime").and_then(Value::as_str) {
        *runtime = Some(name.to_owned());
    }
    for (key, slot) in [
        ("dns", dns),
        ("dns_search", dns_search),
        ("cap_add", cap_add),
        ("cap_drop", cap_drop),
        ("extra_hosts", extra_hosts),
    ] {
        if let Some(list) = texts(key) {
            *slot = Some(list);
        }
    }
    // The API knows no empty list of search domains: it would take the host's.
    if host.dns_search.as_ref().is_some_and(Vec::is_empty) {
        host.dns_search = Some(vec![".".to_owned()]);
    }
    let options = host.security_opt.get_or_insert_default();
    for option in texts("security_opt").unwrap_or_default() {
        // Compose's spelling of an option with a value, and the engine's.
        let option = if option.starts_with("apparmor:") { option.replacen(':', "=", 1) } else { option };
        if !options.contains(&option) {
            options.push(option);
        }
    }
    host.memory = number("mem_limit").or(host.memory);
    host.memory_swap = number("memswap_limit").or(host.memory_swap);
    host.pids_limit = number("pids_limit").or(host.pids_limit);
    host.cpu_shares = number("cpu_shares").or(host.cpu_shares);
    if let Some(limits) = service.get("ulimits").and_then(Value::as_object) {
        let limit = |(name, v): (&String, &Value)| ResourcesUlimits {
            name: Some(name.clone()),
            soft: v.get("soft").and_then(Value::as_i64),
            hard: v.get("hard").and_then(Value::as_i64),
        };
        host.ulimits = Some(limits.iter().map(limit).collect());
    }
    for volume in texts("volumes").unwrap_or_default() {
        let mut parts = volume.split(':');
        let (Some(source), Some(target)) = (parts.next(), parts.next()) else { continue };
        host.mounts.get_or_insert_default().push(Mount {
            typ: Some(MountType::BIND),
            source: Some(source.to_owned()),
            target: Some(target.to_owned()),
            read_only: Some(parts.next() == Some("ro")),
            ..Default::default()
        });
    }
    if let Some(more) = service.get("environment").and_then(Value::as_object) {
        let mut all: HashMap<String, String> = HashMap::new();
        for variable in body.env.iter().flatten() {
            let (name, value) = variable.split_once('=').unwrap_or((variable, ""));
            all.insert(name.to_owned(), value.to_owned());
        }
        all.extend(more.iter().map(|(k, v)| (k.clone(), v.as_str().unwrap_or_default().to_owned())));
        body.env = Some(all.into_iter().map(|(k, v)| format!("{k}={v}")).collect());
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_override_wins_and_adds_as_compose_has_it() {
        let mut body = ContainerCreateBody {
            env: Some(vec!["A=1".to_owned(), "B=2".to_owned()]),
            host_config: Some(HostConfig {
                security_opt: Some(vec!["seccomp=x".to_owned(), "no-new-privileges:true".to_owned()]),
                pids_limit: Some(1000),
                memory: Some(1),
                ..Default::default()
            }),
            ..Default::default()
        };
        let service = json!({
            "runtime": "r", "dns": ["127.0.0.11"], "dns_search": [], "environment": {"B": "3", "C": "4"},
            "cap_add": ["SYS_CHROOT"], "security_opt": ["no-new-privileges:true", "apparmor:unconfined"],
            "mem_limit": "6442450944", "pids_limit": -1, "ulimits": {"nproc": {"soft": 7, "hard": 8}},
            "extra_hosts": ["a:1"], "volumes": ["/x/resolv.conf:/etc/resolv.conf:ro"],
        });
        assert_eq!(unknown(&service), None);
        apply(&mut body, &service);
        let mut env = body.env.expect("environment");
        env.sort();
        assert_eq!(env, ["A=1", "B=3", "C=4"]);
        let host = body.host_config.expect("host part");
        assert_eq!(host.security_opt.expect("options"), ["seccomp=x", "no-new-privileges:true", "apparmor=unconfined"]);
        assert_eq!((host.memory, host.pids_limit, host.runtime.as_deref()), (Some(6 << 30), Some(-1), Some("r")));
        assert_eq!((host.dns, host.dns_search), (Some(vec!["127.0.0.11".to_owned()]), Some(vec![".".to_owned()])));
        let limit = &host.ulimits.expect("limits")[0];
        assert_eq!((limit.name.as_deref(), limit.soft, limit.hard), (Some("nproc"), Some(7), Some(8)));
        let mount = &host.mounts.expect("mounts")[0];
        assert_eq!((mount.target.as_deref(), mount.read_only), (Some("/etc/resolv.conf"), Some(true)));
    }

    #[test]
    fn a_key_that_is_not_understood_is_named() {
        assert_eq!(unknown(&json!({"runtime": "r", "privileged": true})), Some("privileged"));
    }
}
