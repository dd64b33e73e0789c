//! Schemas of the two documents whose form is somebody else's: narrower than theirs, as only this much is written.

use serde_json::{Value, json};

const DRAFT: &str = "https://json-schema.org/draft/2020-12/schema";

/// The part of AWF's configuration file that `--format awf-config` writes.
pub(super) fn awf_config() -> Value {
    json!({
        "$schema": DRAFT,
        "title": "AWF configuration as awf-probe writes it, version 1",
        "type": "object",
        "additionalProperties": false,
        "properties": {
            "container": {"type": "object", "additionalProperties": false, "properties": {
                "containerRuntime": {"type": "string", "enum": ["gvisor"]},
                "memoryLimit": {"type": "string", "pattern": "^[0-9]+[bkmg]$"},
                "pidsLimit": {"type": "integer", "minimum": 1},
            }},
            "network": {"type": "object", "additionalProperties": false, "properties": {
                "isolation": {"type": "boolean"},
            }},
            "security": {"type": "object", "additionalProperties": false, "properties": {
                "legacySecurity": {"type": "boolean"},
            }},
        },
    })
}

/// The Compose override that `--format compose` writes.
pub(super) fn compose() -> Value {
    let strings = json!({"type": "array", "items": {"type": "string"}});
    let text = json!({"type": "string"});
    let limit = json!({"type": "object", "additionalProperties": false, "required": ["soft", "hard"],
        "properties": {"soft": {"type": "integer"}, "hard": {"type": "integer"}}});
    let agent = json!({
        "type": "object",
        "additionalProperties": false,
        "required": ["runtime", "dns", "dns_search", "environment", "cap_add", "cap_drop", "security_opt", "mem_limit", "pids_limit"],
        "properties": {
            "runtime": text, "dns": strings, "dns_search": strings, "extra_hosts": strings, "volumes": strings,
            "environment": {"type": "object", "additionalProperties": text,
                "required": ["HTTP_PROXY", "HTTPS_PROXY", "https_proxy", "NO_PROXY", "no_proxy"]},
            "cap_add": strings, "cap_drop": strings, "security_opt": strings,
            "mem_limit": text, "memswap_limit": text, "pids_limit": {"type": "integer"},
            "cpu_shares": {"type": "integer"},
            "ulimits": {"type": "object", "additionalProperties": false, "properties": {"nproc": limit, "data": limit}},
        },
    });
    let init = json!({
        "type": "object",
        "additionalProperties": false,
        "properties": {
            "profiles": strings, "runtime": text, "network_mode": {"const": "service:agent"},
            "cap_add": strings, "cap_drop": strings,
        },
    });
    json!({
        "$schema": DRAFT,
        "title": "Compose override as awf-probe writes it, version 1",
        "type": "object",
        "additionalProperties": false,
        "required": ["services", "networks", "x-awf-probe"],
        "properties": {
            "services": {"type": "object", "additionalProperties": false, "required": ["agent", "iptables-init"],
                "properties": {"agent": agent, "iptables-init": init}},
            "networks": {"type": "object", "additionalProperties": {"type": "object", "additionalProperties": false,
                "properties": {"internal": {"type": "boolean"}}}},
            "x-awf-probe": {"type": "object", "required": ["schema", "enforcement", "iptables_init", "host_rules"],
                "properties": {"schema": {"const": "awf-probe/compose-v1"}, "host_rules": strings}},
        },
    })
}
