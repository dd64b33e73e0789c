//! What auto mode answers, in the forms AWF, Compose and people read.

mod profile;
mod schema;
mod text;
mod v1;

use awf_probe_matrix::{
    Fingerprint, Sighting,
    select::{Answer, Basis, Candidate, Needed, Proof, Question, Rejected, instant, property, rfc3339},
};
use serde_json::Value;
use sha2::{Digest, Sha256};

pub use profile::{Topology, compose as compose_value, yaml};
pub use text::text;
pub use v1::{
    AwfV1, BasisV1, BoundV1, EnforcementV1, ExecutableV1, MitigationV1, OutcomeV1, PolicyV1, ProfileV1, ProofV1,
    RankedV1, RecordV1, RegistryV1, RejectedV1, ReportUseV1, SelectionV1, ValidityV1,
};

use crate::ReportError;

/// The name of the selection's format.
pub const SCHEMA: &str = "awf-probe/selection-v1";
const REGISTRY: &str = "awf-probe/registry-v1";

/// The answer as `selection.json`, with its digest.
pub fn selection(answer: &Answer, q: &Question<'_>) -> Result<SelectionV1, ReportError> {
    let chosen = answer.ranked.first();
    let default = answer.host.as_ref().map(|h| h.default_runtime.as_str()).unwrap_or_default();
    let first = chosen.and_then(|c| Some((c, c.proved.first()?)));
    let profile = first.map(|(c, p)| profile::profile(c, p, default));
    let awf = first.zip(profile.as_ref()).map(|((c, p), profile)| profile::awf(c, p, profile, default));
    let measured = chosen.map(|c| c.run.1.clone());
    let expires = measured.as_deref().and_then(instant).map(|t| rfc3339(t + q.max_age));
    let execution = chosen.and_then(|c| {
        let record = answer.registry.iter().find(|r| r.runtime == c.row.name)?;
        record.fields.iter().find(|f| f.name == "executionModel")?.value.clone()
    });
    let mut s = SelectionV1 {
        schema: SCHEMA.to_owned(),
        digest: String::new(),
        outcome: if chosen.is_some() { OutcomeV1::Selected } else { OutcomeV1::Refused },
        refusal: chosen.is_none().then(|| refusal(answer, q)),
        runtime: chosen.map(|c| c.row.product.clone()),
        docker_runtime: chosen.map(|c| c.row.name.clone()),
        execution_model: execution,
        isolation: chosen.map(|c| c.class.word().to_owned()),
        enforcement_models: chosen.map(enforcement).unwrap_or_default(),
        profile,
        awf,
        reasons: chosen.map(|c| reasons(c, answer)).unwrap_or_default(),
        requirements: first.map(|(_, p)| p.proofs.iter().map(proof).collect()).unwrap_or_default(),
        ranking: answer.ranked.iter().map(ranked).collect(),
        rejected: answer.rejected.iter().map(rejected).collect(),
        reports: answer
            .reports
            .iter()
            .map(|r| ReportUseV1 { name: r.name.clone(), refused: r.refused.clone() })
            .collect(),
        policy: PolicyV1 { name: q.policy.name.clone(), sha256: q.policy.sha256.clone(), require: q.require.to_vec() },
        validity: ValidityV1 {
            decided: rfc3339(q.now),
            measured,
            expires,
            max_age_seconds: q.max_age,
            host_verified: q.live.is_some(),
        },
        fingerprint: chosen.and_then(|c| bound(c, answer, q)),
    };
    s.digest = digest(&s)?;
    Ok(s)
}

/// A selection that was written as JSON; fails on another schema and on a digest that does not fit.
pub fn read_selection(text: &str) -> Result<SelectionV1, ReportError> {
    let s: SelectionV1 = serde_json::from_str(text)?;
    if s.schema != SCHEMA {
        return Err(ReportError::Schema { found: s.schema, expected: SCHEMA });
    }
    let expected = digest(&s)?;
    if s.digest != expected {
        return Err(ReportError::Digest { found: s.digest, expected });
    }
    Ok(s)
}

/// The records of AWF's runtime registry.
pub fn registry(answer: &Answer) -> RegistryV1 {
    let records = answer.registry.iter().map(|r| {
        let value = |name: &str| r.fields.iter().find(|f| f.name == name).and_then(|f| f.value.clone());
        let yes = |name: &str| value(name).map(|v| v == "true");
        let decided = r.fields.iter().map(|f| (f.name.clone(), f.decided_by.iter().map(basis).collect()));
        let record = RecordV1 {
            execution_model: value("executionModel"),
            docker_runtime: r.runtime.clone(),
            needs_static_dns: yes("needsStaticDns"),
            uses_iptables: yes("usesIptables"),
            decided_by: decided.collect(),
        };
        (r.runtime.clone(), record)
    });
    RegistryV1 { schema: REGISTRY.to_owned(), runtimes: records.collect() }
}

/// The Compose override of the chosen runtime; `None` for a refusal.
pub fn compose(answer: &Answer, at: &Topology) -> Option<Value> {
    let c = answer.ranked.first()?;
    let p = c.proved.first()?;
    let profile = profile::profile(c, p, &answer.host.as_ref()?.default_runtime);
    let redirected = property(&p.model, "network") == "redirected";
    Some(profile::compose(&c.row.name, redirected, &profile, at))
}

/// The JSON Schemas of what is written here, by file name.
pub fn schemas() -> Vec<(&'static str, Value)> {
    let titled = |mut schema: schemars::Schema, title: &str| {
        schema.insert("title".to_owned(), title.into());
        schema.to_value()
    };
    vec![
        ("selection-v1", titled(schemars::schema_for!(SelectionV1), "awf-probe selection, version 1")),
        ("registry-v1", titled(schemars::schema_for!(RegistryV1), "awf-probe runtime registry, version 1")),
        ("awf-config-v1", schema::awf_config()),
        ("compose-v1", schema::compose()),
    ]
}

fn digest(s: &SelectionV1) -> Result<String, ReportError> {
    let mut value = serde_json::to_value(s)?;
    if let Some(object) = value.as_object_mut() {
        object.remove("digest");
    }
    value.sort_all_objects();
    Ok(Sha256::digest(value.to_string().as_bytes()).iter().map(|b| format!("{b:02x}")).collect())
}

fn refusal(answer: &Answer, q: &Question<'_>) -> String {
    let of = if answer.rejected.is_empty() {
        "no report names a runtime".to_owned()
    } else {
        let names: Vec<&str> = answer.rejected.iter().map(|r| r.runtime.as_str()).collect();
        format!("none of {} may be used", names.join(", "))
    };
    format!("{of} under the policy {}; there is no default to fall back to", q.policy.name)
}

fn reasons(c: &Candidate, answer: &Answer) -> Vec<String> {
    let name = &c.row.name;
    let held = c.proved.first().map(|p| p.proofs.iter().map(|x| x.cells.len()).sum::<usize>()).unwrap_or(0);
    let mut reasons = vec![
        format!(
            "{name} keeps every requirement under {} model(s); under the first, they rest on {held} cells",
            c.proved.len()
        ),
        format!("it measures as {}, with {} cells of host surface within reach", c.class.word(), c.reached.len()),
    ];
    if let Some(next) = answer.ranked.get(1) {
        let mitigations = |c: &Candidate| c.proved.first().map_or(0, |p| p.mitigations.len());
        let other = &next.row.name;
        reasons.push(if c.class != next.class {
            format!("{other} is next: {} is weaker isolation", next.class.word())
        } else if c.reached.len() != next.reached.len() {
            format!("{other} is next: of the same class, with {} cells within reach", next.reached.len())
        } else if mitigations(c) != mitigations(next) {
            format!("{other} is next: it needs {} mitigations, {name} {}", mitigations(next), mitigations(c))
        } else if c.cost != next.cost {
            format!("{other} is next: nothing but its cost differs")
        } else {
            format!("{other} is next: nothing measured differs, so the name decides")
        });
    }
    reasons
}

fn enforcement(c: &Candidate) -> Vec<EnforcementV1> {
    let one = |p: &awf_probe_matrix::select::Proved| EnforcementV1 {
        model: p.model.id.clone(),
        backend: p.backend.clone(),
        mitigations: p.mitigations.iter().map(mitigation).collect(),
    };
    c.proved.iter().map(one).collect()
}

fn mitigation(n: &Needed) -> MitigationV1 {
    MitigationV1 {
        id: n.id.clone(),
        title: n.title.clone(),
        because: basis(&n.because),
        shown_by: n.shown.iter().map(basis).collect(),
    }
}

fn basis(b: &Basis) -> BasisV1 {
    BasisV1 {
        cell: b.cell.clone(),
        verdict: b.verdict.word().to_owned(),
        reason: b.reason.clone(),
        evidence: b.evidence.as_ref().map(|Sighting { source, saw, .. }| format!("{source}: {saw}")),
        journal_line: b.evidence.as_ref().and_then(|e| e.journal_line),
    }
}

fn proof(p: &Proof) -> ProofV1 {
    ProofV1 { id: p.id.clone(), title: p.title.clone(), cells: p.cells.iter().map(basis).collect() }
}

fn ranked(c: &Candidate) -> RankedV1 {
    let first = c.proved.first();
    RankedV1 {
        runtime: c.row.name.clone(),
        isolation: c.class.word().to_owned(),
        reached: c.reached.clone(),
        model: first.map(awf_probe_matrix::select::Proved::name).unwrap_or_default(),
        mitigations: first.map(|p| p.mitigations.iter().map(|m| m.id.clone()).collect()).unwrap_or_default(),
        cost: c.cost,
    }
}

fn rejected(r: &Rejected) -> RejectedV1 {
    RejectedV1 {
        runtime: r.runtime.clone(),
        requirement: r.requirement.clone(),
        model: r.model.clone(),
        reason: r.reason.clone(),
        because: r.basis.as_ref().map(basis),
        report: r.report.clone(),
    }
}

fn bound(c: &Candidate, answer: &Answer, q: &Question<'_>) -> Option<BoundV1> {
    let host = answer.host.as_ref()?;
    let mut executables = Vec::new();
    let mut next: Option<&Fingerprint> = Some(&c.row.fingerprint);
    while let Some(f) = next {
        executables.push(ExecutableV1 {
            path: f.path.clone(),
            sha256: f.sha256.clone(),
            arguments: f.args.clone(),
            files: f.files.clone(),
        });
        next = f.wraps.as_deref();
    }
    Some(BoundV1 {
        kernel: host.kernel.clone(),
        engine: host.engine.clone(),
        engine_id: host.engine_id.clone(),
        cgroup: host.cgroup.clone(),
        default_runtime: host.default_runtime.clone(),
        catalogue: q.catalogue.hash.clone(),
        settings: host.settings.clone(),
        run: c.run.0.clone(),
        version: c.row.version.clone(),
        executables,
    })
}
