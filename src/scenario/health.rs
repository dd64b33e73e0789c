//! Health checks the engine carries out in a container, a second apart.

use std::time::{Duration, Instant};

use awf_probe_matrix::Outcome;
use awf_probe_probes::pace;
use serde_json::{Value, json};

use super::{
    Cx,
    case::{Case, number, once, text},
};
use crate::{
    settings::{Health, Settings},
    specs::Spec,
};

/// The longest a state is waited for; on an idle machine it takes two seconds.
const LIMIT: Duration = Duration::from_secs(60);
/// What a check may take where its time is not in question: long, so that a slow engine is not taken for a failed check.
const PATIENT_MS: i64 = 40_000;

/// Runs four containers side by side; what they wait for is the engine's clock, so they take no turn among the jobs.
pub async fn run(cx: &Cx, runtime: &str) {
    let case = Case::new(cx, runtime, "health");
    let of = |probe: &str, params: Value| -> Vec<String> {
        std::iter::once("/awf-probe".to_owned()).chain(once(probe, &params)).collect()
    };
    let check = |code: i64| of("lifecycle.exit", json!({"code": code}));
    let base = Health { interval_ms: 1000, timeout_ms: PATIENT_MS, retries: 1, ..Health::default() };
    let good = Health { test: check(0), retries: 3, start_period_ms: 1000, ..base.clone() };
    let bad = Health { test: check(1), retries: 2, ..base.clone() };
    let slow = Health { test: of("lifecycle.idle", json!({"ms": 120_000})), timeout_ms: 1000, ..base.clone() };
    let early = Health { test: check(1), start_period_ms: 60_000, ..base };
    tokio::join!(
        watch(&case, "good", good, |status, _| status == "healthy", true),
        watch(&case, "bad", bad, |status, _| status == "unhealthy", false),
        watch(&case, "slow", slow, |status, _| status == "unhealthy", false),
        // Long enough for the one failure that `retries` forgives to have been counted.
        watch(&case, "early", early, |status, checks| status != "starting" || checks >= 2, false),
    );
}

/// Waits until the state is reached, or [`LIMIT`], and reports state, checks and their time.
async fn watch(case: &Case<'_>, name: &str, health: Health, enough: impl Fn(&str, usize) -> bool, first: bool) {
    let more = Settings { health: Some(health), ..Settings::default() };
    let spec = Spec { net: case.cx.borrowed().await, more, ..Spec::plain("health") };
    let Some(id) = case.make(spec, &once("lifecycle.idle", &json!({"ms": 300_000}))).await else { return };
    let started = case.start(&id).await;
    if let Err(no) = started {
        case.problem("start", no.why);
        return case.remove(&id).await;
    }
    let begun = Instant::now();
    let before = case.prove(&id).await;
    if first {
        case.engine("good.before", Outcome::value(text(&before, "/State/Health/Status")));
    }
    let mut seen = before;
    while begun.elapsed() < pace::scaled(LIMIT) {
        if let Ok(now) = case.cx.docker.look(&id).await {
            seen = now;
        }
        if enough(&text(&seen, "/State/Health/Status"), log(&seen).len()) {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    case.engine(&format!("{name}.status"), Outcome::value(text(&seen, "/State/Health/Status")));
    case.engine(&format!("{name}.checks"), Outcome::value(log(&seen).len()));
    if let Some(last) = log(&seen).last() {
        case.engine(&format!("{name}.code"), Outcome::value(number(last, "/ExitCode").unwrap_or(-99)));
    }
    case.remove(&id).await;
}

fn log(seen: &Value) -> &[Value] {
    seen.pointer("/State/Health/Log").and_then(Value::as_array).map_or(&[], Vec::as_slice)
}
