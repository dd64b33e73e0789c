//! A proved model as AWF has to be configured for it: profile, configuration file, Compose override.

use awf_probe_matrix::select::{Candidate, Effect, Proved, property};
use serde_json::{Map, Value, json};

use super::v1::{AwfV1, ProfileV1};

/// AWF's topology: addresses and names the override speaks of.
#[derive(Clone, Debug)]
pub struct Topology {
    /// The proxy.
    pub proxy: String,
    /// The agent.
    pub agent: String,
    /// The bridge's own address.
    pub gateway: String,
    /// The approved resolver.
    pub resolver: String,
    /// Names and addresses of proxy and sidecars.
    pub hosts: Vec<(String, String)>,
    /// The network.
    pub network: String,
    /// Its bridge on the host.
    pub bridge: String,
}

impl Topology {
    /// As AWF lays it out.
    pub fn awf() -> Self {
        Self {
            resolver: "${AWF_DNS_SERVER:?the approved resolver}".to_owned(),
            network: "awf-net".to_owned(),
            bridge: "fw-bridge".to_owned(),
            ..Self::on(|n| format!("172.30.0.{n}"))
        }
    }

    /// The same places on another subnet; resolver, network and bridge are still to be named.
    pub fn on(at: impl Fn(u8) -> String) -> Self {
        let hosts = [("squid-proxy", 10), ("api-proxy", 30), ("doh-proxy", 40), ("cli-proxy", 50)];
        Self {
            proxy: at(10),
            agent: at(20),
            gateway: at(1),
            resolver: String::new(),
            hosts: hosts.iter().map(|(n, a)| ((*n).to_owned(), at(*a))).collect(),
            network: String::new(),
            bridge: String::new(),
        }
    }
}

/// The profile of a runtime under a model.
pub(super) fn profile(candidate: &Candidate, proved: &Proved, default_runtime: &str) -> ProfileV1 {
    let is = |key: &str, value: &str| property(&proved.model, key) == value;
    let merged = is("in_agent", "true");
    let init = if is("init", "none") {
        None
    } else {
        Some(if is("init", "own") { &candidate.row.name } else { default_runtime })
    };
    let nproc = proved.has(Effect::NprocLimit);
    ProfileV1 {
        enforcement: proved.name(),
        iptables_init: if merged {
            "merged"
        } else if init.is_some() {
            "present"
        } else {
            "absent"
        }
        .to_owned(),
        init_runtime: init.map(str::to_owned),
        iptables_backend: proved.backend.clone(),
        internal_network: is("network", "internal"),
        static_hosts: proved.has(Effect::StaticHosts),
        static_dns: proved.has(Effect::StaticDns),
        net_raw: proved.has(Effect::NetRaw) || init.is_some(),
        host_rules: proved.has(Effect::HostRules),
        pids_limit: (!nproc).then_some(PIDS),
        nproc_limit: nproc.then_some(PIDS),
        memory_limit: MEMORY,
        runtime_arguments: candidate.row.fingerprint.args.clone(),
    }
}

const PIDS: u64 = 1000;
const MEMORY: u64 = 6 << 30;

/// AWF's configuration file: only keys and values its closed schema knows.
pub(super) fn awf(candidate: &Candidate, proved: &Proved, profile: &ProfileV1, default_runtime: &str) -> AwfV1 {
    let is = |key: &str, value: &str| property(&proved.model, key) == value;
    let (mut container, mut security, mut network) = (Map::new(), Map::new(), Map::new());
    let (mut flags, mut notes) = (Vec::new(), Vec::new());
    let name = &candidate.row.name;
    // AWF's own names for runtimes of the engine; its file takes no others.
    match AWF_NAMES.iter().find(|(_, docker)| docker == name) {
        Some((awf, _)) => drop(container.insert("containerRuntime".to_owned(), json!(awf))),
        None if name == default_runtime => {
            notes.push(format!("AWF names no runtime then, so the engine's default must stay {name}"));
        }
        None => flags.push(format!("--container-runtime {name}")),
    }
    if is("network", "internal") && is("init", "none") {
        network.insert("isolation".to_owned(), json!(true));
        security.insert("legacySecurity".to_owned(), json!(false));
    } else if is("network", "guarded") && is("init", "default") {
        security.insert("legacySecurity".to_owned(), json!(true));
    } else {
        notes.push(format!("AWF has no mode for {}: neither its file nor a flag can ask for it", proved.name()));
    }
    container.insert("memoryLimit".to_owned(), json!(format!("{}g", profile.memory_limit >> 30)));
    match profile.pids_limit {
        Some(n) => drop(container.insert("pidsLimit".to_owned(), json!(n))),
        None => {
            container.insert("pidsLimit".to_owned(), json!(PIDS_BACKSTOP));
            notes.push("AWF can raise its pids limit but not set RLIMIT_NPROC; use the Compose override".to_owned());
        }
    }
    if profile.static_dns {
        notes.push("AWF always writes nameserver 127.0.0.11 to resolv.conf; use the Compose override".to_owned());
    }
    let mut config = Map::new();
    for (key, section) in [("container", container), ("network", network), ("security", security)] {
        if !section.is_empty() {
            config.insert(key.to_owned(), Value::Object(section));
        }
    }
    AwfV1 { config: Value::Object(config), flags, notes }
}

/// AWF's names for runtimes that run in Compose, and the engine's.
const AWF_NAMES: &[(&str, &str)] = &[("gvisor", "runsc")];
/// Where a pids limit would end the sandbox it must be out of reach of RLIMIT_NPROC.
const PIDS_BACKSTOP: u64 = 32_768;

/// The Compose override for the agent and its init container, for a runtime by the engine's name. `redirected`: the host
/// sends the agent's HTTP and HTTPS to the proxy.
pub fn compose(runtime: &str, redirected: bool, profile: &ProfileV1, at: &Topology) -> Value {
    let merged = profile.iptables_init == "merged";
    let mut cap_add = vec!["SYS_CHROOT", "SYS_ADMIN"];
    let mut cap_drop = vec!["NET_RAW", "SYS_PTRACE", "SYS_MODULE", "SYS_RAWIO", "MKNOD"];
    if merged {
        cap_add.push("NET_ADMIN");
        if profile.net_raw {
            cap_add.push("NET_RAW");
            cap_drop.retain(|c| *c != "NET_RAW");
        }
    }
    let url = format!("http://{}:3128", at.proxy);
    let mut no_proxy = format!("localhost,127.0.0.1,::1,0.0.0.0,{},{}", at.proxy, at.agent);
    if profile.iptables_init == "absent" {
        no_proxy.push_str(&format!(",host.docker.internal,{}", at.gateway));
    }
    let mut environment = Map::new();
    for name in ["HTTP_PROXY", "HTTPS_PROXY", "https_proxy"] {
        environment.insert(name.to_owned(), json!(url));
    }
    for name in ["NO_PROXY", "no_proxy"] {
        environment.insert(name.to_owned(), json!(no_proxy));
    }
    if profile.iptables_init == "absent" {
        environment.insert("AWF_SKIP_IPTABLES_INIT".to_owned(), json!("1"));
    }
    let mut agent = json!({
        "runtime": runtime,
        // On an internal network nothing but the embedded resolver is there to ask.
        "dns": [if profile.internal_network { "127.0.0.11" } else { at.resolver.as_str() }],
        "dns_search": [],
        "environment": environment,
        "cap_add": cap_add,
        "cap_drop": cap_drop,
        "security_opt": ["no-new-privileges:true", "apparmor:unconfined"],
        "mem_limit": profile.memory_limit.to_string(),
        "memswap_limit": profile.memory_limit.to_string(),
        "pids_limit": profile.pids_limit.map_or(-1, |n| i64::try_from(n).unwrap_or(-1)),
        "cpu_shares": 1024,
    });
    if let Some(object) = agent.as_object_mut() {
        if let Some(n) = profile.nproc_limit {
            object.insert("ulimits".to_owned(), json!({"nproc": {"soft": n, "hard": n}}));
        }
        if profile.static_hosts {
            let hosts: Vec<String> = at.hosts.iter().map(|(n, a)| format!("{n}:{a}")).collect();
            object.insert("extra_hosts".to_owned(), json!(hosts));
        }
        if profile.static_dns {
            object.insert("volumes".to_owned(), json!(["./resolv.conf:/etc/resolv.conf:ro"]));
        }
    }
    let init = match (profile.iptables_init.as_str(), &profile.init_runtime) {
        ("present", Some(init)) => json!({
            "runtime": init,
            "network_mode": "service:agent",
            "cap_drop": ["ALL"],
            "cap_add": ["NET_ADMIN", "NET_RAW"],
        }),
        // An override cannot delete a service; in a profile nobody asks for it does not start.
        _ => json!({"profiles": ["awf-probe-absent"]}),
    };
    json!({
        "services": {"agent": agent, "iptables-init": init},
        "networks": {at.network.clone(): {"internal": profile.internal_network}},
        "x-awf-probe": {
            "schema": "awf-probe/compose-v1",
            "enforcement": profile.enforcement,
            "iptables_init": profile.iptables_init,
            "iptables_backend": profile.iptables_backend,
            "seccomp": "the profile AWF's own file names stays in force: security_opt of an override adds to it",
            "resolv_conf": if profile.static_dns { json!(format!("nameserver {}", at.resolver)) } else { Value::Null },
            "host_rules": if profile.host_rules { host_rules(redirected, at) } else { vec![] },
        },
    })
}

/// AWF's chain on the host, in its order.
fn host_rules(redirected: bool, at: &Topology) -> Vec<String> {
    let rule = |r: String| format!("iptables -w {r}");
    let mut rules = vec![rule("-N FW_WRAPPER".to_owned())];
    let mut add = |r: String| rules.push(rule(format!("-A FW_WRAPPER {r}")));
    add(format!("-s {} -j ACCEPT", at.proxy));
    add("-m conntrack --ctstate ESTABLISHED,RELATED -j ACCEPT".to_owned());
    add(format!("-p tcp -d {} --dport 3128 -j ACCEPT", at.proxy));
    for net in ["169.254.0.0/16", "224.0.0.0/4"] {
        add(format!("-d {net} -j REJECT --reject-with icmp-port-unreachable"));
    }
    add("-j REJECT --reject-with icmp-port-unreachable".to_owned());
    rules.push(rule(format!("-I DOCKER-USER -i {} -j FW_WRAPPER", at.bridge)));
    if redirected {
        rules.push(rule(format!(
            "-t nat -A PREROUTING -i {} ! -s {} -p tcp -m multiport --dports 80,443 -j DNAT --to-destination {}:3128",
            at.bridge, at.proxy, at.proxy
        )));
    }
    rules
}

/// A value as YAML, strings always quoted: whatever a name holds, it stays a string.
pub fn yaml(value: &Value) -> String {
    let mut text = String::new();
    write(value, 0, &mut text);
    text
}

fn write(value: &Value, depth: usize, out: &mut String) {
    let pad = "  ".repeat(depth);
    match value {
        Value::Object(map) if !map.is_empty() => {
            for (key, v) in map {
                let plain = key.chars().all(|c| c.is_ascii_alphanumeric() || "_-".contains(c));
                let key = if plain { key.clone() } else { Value::from(key.clone()).to_string() };
                nested(&format!("{pad}{key}:"), v, depth, out);
            }
        }
        Value::Array(list) if !list.is_empty() => {
            for v in list {
                nested(&format!("{pad}-"), v, depth, out);
            }
        }
        scalar => out.push_str(&format!("{pad}{scalar}\n")),
    }
}

fn nested(head: &str, value: &Value, depth: usize, out: &mut String) {
    let inner = match value {
        Value::Object(m) => !m.is_empty(),
        Value::Array(l) => !l.is_empty(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => false,
    };
    if inner {
        out.push_str(&format!("{head}\n"));
        write(value, depth + 1, out);
    } else {
        out.push_str(&format!("{head} {value}\n"));
    }
}
