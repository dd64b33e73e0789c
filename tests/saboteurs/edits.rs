//! What the saboteurs do to a bundle's configuration.

use serde_json::{Value, json};

// Which sandbox it is, told by its configuration.

pub(crate) fn awf(c: &Value) -> bool {
    memory(c, 6 << 30)
}

pub(crate) fn bare(c: &Value) -> bool {
    c.pointer("/process/capabilities/bounding").and_then(Value::as_array).is_none_or(Vec::is_empty)
}

pub(crate) fn unmasked(c: &Value) -> bool {
    c.pointer("/linux/maskedPaths").and_then(Value::as_array).is_none_or(Vec::is_empty)
}

/// The marker profile is the only one that names getcpu alone.
pub(crate) fn marker(c: &Value) -> bool {
    let rules = c.pointer("/linux/seccomp/syscalls").and_then(Value::as_array);
    rules.is_some_and(|r| r.iter().any(|r| r["names"] == json!(["getcpu"])))
}

pub(crate) fn memory(c: &Value, bytes: i64) -> bool {
    c.pointer("/linux/resources/memory/limit").and_then(Value::as_i64) == Some(bytes)
}

pub(crate) fn pids(c: &Value, most: i64) -> bool {
    c.pointer("/linux/resources/pids/limit").and_then(Value::as_i64) == Some(most)
}

/// Whether its bounding set has a capability.
pub(crate) fn has(c: &Value, cap: &str) -> bool {
    let set = c.pointer("/process/capabilities/bounding").and_then(Value::as_array);
    set.is_some_and(|s| s.iter().any(|x| x == cap))
}

/// Whether something is mounted at this path.
pub(crate) fn mounted(c: &Value, at: &str) -> bool {
    c["mounts"].as_array().is_some_and(|m| m.iter().any(|m| m["destination"] == at))
}

// Edits.

pub(crate) fn remove(c: &mut Value, pointer: &str) {
    if let Some((parent, key)) = pointer.rsplit_once('/')
        && let Some(object) = c.pointer_mut(parent).and_then(Value::as_object_mut)
    {
        object.remove(key);
    }
}

pub(crate) fn put(c: &mut Value, pointer: &str, value: Value) {
    if let Some((parent, key)) = pointer.rsplit_once('/')
        && let Some(object) = c.pointer_mut(parent).and_then(Value::as_object_mut)
    {
        object.insert(key.to_owned(), value);
    }
}

pub(crate) fn add_to_set(c: &mut Value, set: &str, cap: &str) {
    let Some(sets) = c.pointer_mut("/process/capabilities").and_then(Value::as_object_mut) else { return };
    let list = sets.entry(set).or_insert_with(|| json!([]));
    if let Some(list) = list.as_array_mut()
        && !list.iter().any(|x| x == cap)
    {
        list.push(json!(cap));
    }
}

pub(crate) fn add_caps(c: &mut Value, caps: &[&str]) {
    if c.pointer("/process/capabilities").is_none() {
        put(c, "/process/capabilities", json!({}));
    }
    for cap in caps {
        for set in ["bounding", "effective", "permitted"] {
            add_to_set(c, set, cap);
        }
    }
}

pub(crate) fn drop_caps(c: &mut Value, caps: &[&str]) {
    let Some(sets) = c.pointer_mut("/process/capabilities").and_then(Value::as_object_mut) else { return };
    for list in sets.values_mut().filter_map(Value::as_array_mut) {
        list.retain(|x| !x.as_str().is_some_and(|x| caps.contains(&x)));
    }
}

pub(crate) fn drop_namespace(c: &mut Value, kind: &str) {
    if let Some(list) = c.pointer_mut("/linux/namespaces").and_then(Value::as_array_mut) {
        list.retain(|n| n["type"] != kind);
    }
}

pub(crate) fn each_mount(c: &mut Value, edit: impl Fn(&mut Value)) {
    c["mounts"].as_array_mut().into_iter().flatten().for_each(edit);
}

pub(crate) fn drop_mount(c: &mut Value, destination: &str) {
    if let Some(mounts) = c["mounts"].as_array_mut() {
        mounts.retain(|m| m["destination"] != destination);
    }
}

pub(crate) fn options(mount: &mut Value, edit: impl Fn(&str) -> Option<String>) {
    if let Some(list) = mount["options"].as_array_mut() {
        *list = list.iter().filter_map(Value::as_str).filter_map(|o| edit(o).map(Value::from)).collect();
    }
}

pub(crate) fn env(c: &mut Value, edit: fn(&mut Vec<Value>)) {
    if let Some(list) = c.pointer_mut("/process/env").and_then(Value::as_array_mut) {
        edit(list);
    }
}

/// What the agents of the solo and egress scenarios run; containers that the engine drives run a single probe.
pub(crate) fn guest(c: &Value) -> bool {
    let args = c.pointer("/process/args").and_then(Value::as_array);
    args.is_some_and(|a| a.len() == 2 && a[1] == "guest")
}

/// Whether it runs a probe whose name begins so, by itself.
pub(crate) fn runs(c: &Value, probe: &str) -> bool {
    let args = c.pointer("/process/args").and_then(Value::as_array);
    args.is_some_and(|a| a.iter().any(|a| a.as_str().is_some_and(|a| a.starts_with(probe))))
}

pub(crate) fn each_rule(c: &mut Value, edit: impl Fn(&mut Value)) {
    c.pointer_mut("/linux/seccomp/syscalls").and_then(Value::as_array_mut).into_iter().flatten().for_each(edit);
}

pub(crate) fn drop_mounts(c: &mut Value, drop: impl Fn(&Value) -> bool) {
    if let Some(mounts) = c["mounts"].as_array_mut() {
        mounts.retain(|m| !drop(m));
    }
}

/// Sysctls of a namespace that the sandbox no longer has would be refused by the real runtime.
pub(crate) fn drop_sysctls(c: &mut Value, prefix: &str) {
    if let Some(all) = c.pointer_mut("/linux/sysctl").and_then(Value::as_object_mut) {
        all.retain(|name, _| !name.starts_with(prefix));
    }
}

pub(crate) fn text<'a>(v: &'a Value, key: &str) -> &'a str {
    v[key].as_str().unwrap_or_default()
}

/// Takes a flag from every tmpfs that a client asked for.
pub(crate) fn without_flag(c: &mut Value, flag: &str) {
    each_mount(c, |m| {
        if text(m, "type") == "tmpfs" && !text(m, "destination").starts_with("/dev") {
            options(m, |o| (o != flag).then(|| o.to_owned()));
        }
    });
}

/// The signal of a call of `kill CONTAINER [SIGNAL]`.
pub(crate) fn signal_of(command: &str, args: &[String]) -> Option<String> {
    let after = args.iter().position(|a| a == "kill").filter(|_| command == "kill")?;
    let plain: Vec<&String> = args[after + 1..].iter().filter(|a| !a.starts_with("--")).collect();
    plain.get(1).map(|s| (*s).clone())
}

pub(crate) fn is_kill(signal: &str) -> bool {
    matches!(signal.trim_start_matches("SIG"), "9" | "KILL")
}
