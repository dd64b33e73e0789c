//! Edits of a bundle's configuration, and which sandbox it is of.

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

pub(crate) fn marker(c: &Value) -> bool {
    c.pointer("/linux/seccomp").is_some()
}

pub(crate) fn quota(c: &Value) -> bool {
    c.pointer("/linux/resources/cpu/quota").and_then(Value::as_i64).is_some_and(|q| q > 0)
}

pub(crate) fn memory(c: &Value, bytes: i64) -> bool {
    c.pointer("/linux/resources/memory/limit").and_then(Value::as_i64) == Some(bytes)
}

pub(crate) fn pids(c: &Value, most: i64) -> bool {
    c.pointer("/linux/resources/pids/limit").and_then(Value::as_i64) == Some(most)
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

pub(crate) fn rules_of(c: &mut Value, call: &str, edit: fn(&mut serde_json::Map<String, Value>)) {
    for rule in c.pointer_mut("/linux/seccomp/syscalls").and_then(Value::as_array_mut).into_iter().flatten() {
        if rule["names"].as_array().is_some_and(|n| n.iter().any(|n| n == call))
            && let Some(rule) = rule.as_object_mut()
        {
            edit(rule);
        }
    }
}

/// Rules about the arguments of a call.
pub(crate) fn drop_rule(c: &mut Value, call: &str) {
    let about = |r: &Value| r["names"].as_array().is_some_and(|n| n.iter().any(|n| n == call));
    if let Some(rules) = c.pointer_mut("/linux/seccomp/syscalls").and_then(Value::as_array_mut) {
        rules.retain(|r| !about(r) || r["args"].as_array().is_none_or(Vec::is_empty));
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

pub(crate) fn drop_sysctls(c: &mut Value, prefixes: &[&str]) {
    if let Some(all) = c.pointer_mut("/linux/sysctl").and_then(Value::as_object_mut) {
        all.retain(|name, _| !prefixes.iter().any(|p| name.starts_with(p)));
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
