//! Who really ran the sandbox: the host's process table beside what the guest says of itself.

use awf_probe_matrix::{IsolationClass, Outcome, Product, RuntimeRow, Source};

use crate::record::Record;

/// What is known of a runtime's identity.
#[derive(Clone, Debug, Default)]
pub(super) struct Identity {
    /// The measured class, if it is certain.
    pub(super) class: Option<IsolationClass>,
    /// As an outcome, for the condition `plain/class.known@host`.
    pub(super) known: Option<Outcome>,
    /// Why nothing else may be judged, if so.
    pub(super) unproved: Option<String>,
    /// Facts worth showing beside the verdicts.
    pub(super) notes: Vec<String>,
}

/// Why a runtime cannot be measured at all: its first sandbox never started.
pub(super) fn unusable(record: &Record, runtime: &str) -> Option<String> {
    let plain = record.get(runtime, "plain")?;
    if plain.started {
        return None;
    }
    plain.problems.iter().find(|(stage, ..)| stage != "lab").map(|(stage, why, _)| format!("{stage}: {why}"))
}

/// The identity of a runtime.
pub(super) fn of(record: &Record, row: &RuntimeRow, products: &[Product]) -> Identity {
    let mut identity = Identity::default();
    let value = |source, name: &str| match record.get(&row.name, "plain")?.facts.get(&(source, name.to_owned())) {
        Some(seen) => match &seen.fact.outcome {
            Outcome::Value { value } => Some(value.clone()),
            _ => None,
        },
        None => None,
    };
    for (name, label) in
        [("identity.release", "kernel release"), ("identity.enosys", "Linux calls answered with ENOSYS")]
    {
        if let Some(v) = value(Source::Guest, name) {
            identity.notes.push(format!("{label}: {v}"));
        }
    }
    let chain = record.processes.get(&row.name).map(Vec::as_slice).unwrap_or_default();
    if let Some(first) = chain.first() {
        identity.notes.push(format!(
            "host process: {} ({})",
            if first.exe.is_empty() { "?" } else { &first.exe },
            first.comm
        ));
    }
    let found = value(Source::Host, "comm.found").and_then(|v| v.parse::<u64>().ok());
    let absent = value(Source::Host, "comm.absent").and_then(|v| v.parse::<u64>().ok());
    let helper = value(Source::Host, "comm.helper").and_then(|v| v.parse::<u64>().ok());
    let class = match (found, absent, helper) {
        (Some(n), Some(0), Some(1..)) if n > 0 => Ok(IsolationClass::SharedKernel),
        (Some(0), Some(0), Some(1..)) if chain.is_empty() => Err("the sandbox's host processes could not be read"),
        (Some(0), Some(0), Some(1..)) => {
            let kvm = chain.iter().take(2).any(|p| p.kvm);
            // An emulator is told by the processor it plays, which is another than the host's own.
            let emulated = match (value(Source::Guest, "identity.hypervisor"), value(Source::Host, "hypervisor")) {
                (Some(inside), Some(outside)) => inside != "none" && inside != outside,
                (_, _) => false,
            };
            // A machine of its own has booted by itself; journals from before the host's was asked tell nothing of it.
            let same_boot = match (value(Source::Guest, "identity.boot-id"), value(Source::Host, "boot-id")) {
                (Some(inside), Some(outside)) => inside == outside,
                (_, _) => false,
            };
            let foreign_calls = value(Source::Guest, "identity.enosys").is_none_or(|v| !v.starts_with("0 of"));
            // A user-space kernel may use KVM as well; only a kernel that answers like Linux counts as a guest kernel.
            Ok(if (kvm || emulated) && !foreign_calls && !same_boot {
                IsolationClass::GuestKernel
            } else {
                IsolationClass::UserSpaceKernel
            })
        }
        _ => Err("the host's process table could not be searched, or its controls failed"),
    };
    let known = match class {
        Err(why) => Outcome::broken(why),
        Ok(class) => {
            identity.class = Some(class);
            compare(class, row, products)
        }
    };
    let asked = record.get(&row.name, "plain").and_then(|p| p.facts.get(&(Source::Engine, "runtime.asked".to_owned())));
    identity.unproved = match (&known, asked.map(|s| &s.fact.outcome)) {
        (Outcome::Allowed { .. }, Some(Outcome::Allowed { .. })) => None,
        (Outcome::Allowed { .. }, Some(other)) => Some(format!("the engine says: {other}")),
        (Outcome::Allowed { .. }, None) => Some("the engine was not asked".to_owned()),
        (other, _) => Some(other.to_string()),
    };
    identity.known = Some(known);
    identity
}

/// Does the measured class fit what the runtime says it is, and what its name promises?
fn compare(class: IsolationClass, row: &RuntimeRow, products: &[Product]) -> Outcome {
    let said = products.iter().find(|p| p.name == row.product);
    let promised = products.iter().find(|p| p.is_suggested_by(&row.name));
    if let (Some(p), Some(s)) = (promised, said)
        && p.name != s.name
    {
        let text = format!("registered as {}, but its --version says {}", row.name, row.version);
        return Outcome::refused("another product", text);
    }
    match said.or(promised) {
        Some(p) if p.class != class => Outcome::refused(
            "another class",
            format!("{} is known as {}, the sandbox measures as {}", p.name, p.class.word(), class.word()),
        ),
        _ => Outcome::allowed(format!("measured: {}", class.word())),
    }
}
