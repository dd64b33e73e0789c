//! Auto mode over crafted reports: what is chosen, what is refused, and why; and its formats over real journals.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    sync::LazyLock,
};

use awf_probe::{commands::Data, journal, judge::judge};
use awf_probe_matrix::{
    Catalogue, Cell, Coverage, Fingerprint, Host, InitUnder, IsolationClass, Leftovers, Matrix, Mitigation, Model,
    Result_, RunInfo, RuntimeRow, Scope, Verdict,
    select::{
        Answer, Field, Live, POLICIES, Policy, Question, Source, Unreadable, instant, mitigations, registry_fields,
        rfc3339, select,
    },
};
use awf_probe_reports::{
    Format, Style, read, render,
    selection::{self, OutcomeV1, Topology, selection},
};
use proptest::prelude::*;
use serde::Deserialize;
use serde_json::Value;

#[expect(dead_code, reason = "shared with tests that read the other golden journals")]
mod common;
use common::{data, in_repo};

/// The moment at which every case asks.
const NOW: u64 = 1_795_500_000;

struct Tables {
    data: Data,
    mitigations: Vec<Mitigation>,
    fields: Vec<Field>,
}

static TABLES: LazyLock<Tables> = LazyLock::new(|| Tables {
    data: data(),
    mitigations: mitigations().expect("mitigations.toml"),
    fields: registry_fields().expect("registry.toml"),
});

fn policy(name: &str) -> Policy {
    let text = POLICIES.iter().find(|(n, _)| *n == name).map_or(name, |(_, t)| t);
    Policy::parse(text, &TABLES.data.catalogue, &TABLES.data.models, &TABLES.mitigations).expect("a policy")
}

fn ask(sources: &[Source], policy: &Policy, require: &[String], live: Option<&Live>, max_age: Option<u64>) -> Answer {
    let costs = BTreeMap::new();
    with(sources, policy, require, live, max_age, &costs, NOW, |a, _| a.clone())
}

#[expect(clippy::too_many_arguments, reason = "a test's own helper")]
fn with<T>(
    sources: &[Source],
    policy: &Policy,
    require: &[String],
    live: Option<&Live>,
    max_age: Option<u64>,
    costs: &BTreeMap<String, u64>,
    now: u64,
    then: impl FnOnce(&Answer, &Question<'_>) -> T,
) -> T {
    let question = Question {
        catalogue: &TABLES.data.catalogue,
        models: &TABLES.data.models,
        mitigations: &TABLES.mitigations,
        fields: &TABLES.fields,
        policy,
        require,
        now,
        max_age: max_age.unwrap_or(policy.max_age),
        live,
        costs,
    };
    then(&select(sources, &question), &question)
}

/// A report in which everything passes.
fn perfect(name: &str, class: IsolationClass, args: &[String]) -> Matrix {
    let host = Host { kernel: "6.8".to_owned(), default_runtime: "runc".to_owned(), ..Host::default() };
    let row = RuntimeRow {
        name: name.to_owned(),
        version: format!("{name} version 1"),
        product: name.to_owned(),
        fingerprint: Fingerprint {
            path: format!("/usr/bin/{name}"),
            sha256: "ab".repeat(32),
            args: args.to_vec(),
            ..Fingerprint::default()
        },
        class: Some(class),
        unusable: None,
        notes: vec![],
    };
    Matrix {
        run: RunInfo {
            id: name.to_owned(),
            started: rfc3339(NOW - 3600),
            catalogue: TABLES.data.catalogue.hash.clone(),
            complete: true,
            ..RunInfo::default()
        },
        host,
        runtimes: vec![row],
        cells: cells(&TABLES.data.catalogue, &TABLES.data.models, name),
        requirements: vec![],
        coverage: Coverage::default(),
        leftovers: Leftovers { checked: true, ..Leftovers::default() },
    }
}

fn cells(catalogue: &Catalogue, models: &[Model], name: &str) -> Vec<Cell> {
    let mut cells = Vec::new();
    for c in &catalogue.capabilities {
        let mut places: BTreeSet<(Option<String>, Option<String>)> = BTreeSet::new();
        match c.scope {
            Scope::Solo => drop(places.insert((None, None))),
            Scope::Netns => places.extend(["runc", name].map(|i| (Some(format!("init={i}")), None))),
            Scope::Egress | Scope::Guard | Scope::DualStack => {
                let counted = |m: &&Model| c.scope == Scope::Egress || m.counts;
                for m in models.iter().filter(|m| m.init != InitUnder::Own || name != "runc").filter(counted) {
                    if m.backends.is_empty() {
                        places.insert((Some(m.id.clone()), None));
                    }
                    places.extend(m.backends.iter().map(|b| (Some(m.id.clone()), Some(b.clone()))));
                }
            }
        }
        cells.extend(places.into_iter().map(|(model, backend)| Cell {
            id: c.id.clone(),
            runtime: name.to_owned(),
            model,
            backend,
            verdict: Verdict::Pass,
            reason: "made up".to_owned(),
            result: c.scope.has_models().then_some(Result_::Blocked),
            evidence: vec![],
            rejection: None,
            counts: BTreeMap::new(),
        }));
    }
    cells
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Cases {
    case: Vec<Case>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    name: String,
    report: Vec<Crafted>,
    #[serde(default = "default_policy")]
    policy: String,
    #[serde(default)]
    require: Vec<String>,
    max_age: Option<u64>,
    /// What the host has now: `same`, or a field that differs.
    live: Option<String>,
    #[serde(default)]
    costs: BTreeMap<String, u64>,
    /// The runtime, or nothing for a refusal.
    #[serde(default)]
    choice: String,
    model: Option<String>,
    mitigations: Option<Vec<String>>,
    /// Of rejected runtimes: the requirement, and words of the reason or the cell.
    #[serde(default)]
    rejected: BTreeMap<String, [String; 2]>,
}

fn default_policy() -> String {
    "default".to_owned()
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Crafted {
    runtime: String,
    class: IsolationClass,
    /// `CELL = VERDICT`, or `CELL = missing`; a pattern ends in `*`.
    #[serde(default)]
    set: Vec<String>,
    #[serde(default)]
    args: Vec<String>,
    /// What is wrong with the report.
    #[serde(default)]
    edit: String,
}

impl Crafted {
    fn source(&self, index: usize) -> Source {
        let mut m = perfect(&self.runtime, self.class, &self.args);
        m.run.id = format!("{index}");
        for set in &self.set {
            let (cell, verdict) = set.split_once(" = ").expect("CELL = VERDICT");
            let before = m.cells.len();
            let hit = |c: &Cell| awf_probe_matrix::coverage::matches(cell, &c.name());
            assert!(m.cells.iter().any(hit), "no cell is called {cell}");
            if verdict == "missing" {
                m.cells.retain(|c| !hit(c));
                assert!(m.cells.len() < before);
                continue;
            }
            let verdict = Verdict::ALL.into_iter().find(|v| v.word() == verdict).expect("a verdict");
            m.cells.iter_mut().filter(|c| hit(c)).for_each(|c| c.verdict = verdict);
        }
        let name = format!("report-{index}");
        match self.edit.as_str() {
            "catalogue" => m.run.catalogue = "00".repeat(32),
            "cut off" => m.run.complete = false,
            "old" => m.run.started = rfc3339(NOW - 8 * 86_400),
            "future" => m.run.started = rfc3339(NOW + 60),
            "no time" => m.run.started = "yesterday".to_owned(),
            "leftovers" => m.leftovers.ours.push("a network".to_owned()),
            "unchecked" => m.leftovers.checked = false,
            "kernel" => m.host.kernel = "6.9".to_owned(),
            "no class" => m.runtimes[0].class = None,
            "unusable" => m.runtimes[0].unusable = Some("it does not start".to_owned()),
            "no hash" => m.runtimes[0].fingerprint.sha256.clear(),
            "bytes" => m.runtimes[0].fingerprint.sha256 = "cd".repeat(32),
            "version" => m.runtimes[0].version = "version 2".to_owned(),
            "file" => drop(m.runtimes[0].fingerprint.files.insert("/etc/x.toml".to_owned(), "ef".repeat(32))),
            _ => {}
        }
        let text = render(&m, &TABLES.data.catalogue, Format::Json, Style::default()).expect("rendered");
        let text = match self.edit.as_str() {
            "truncated" => text[..text.len() / 2].to_owned(),
            "edited" => text.replacen("\"made up\"", "\"made it up\"", 1),
            "schema" => text.replacen("report-v1", "report-v2", 1),
            _ => text,
        };
        let runtimes = vec![self.runtime.clone()];
        Source { name, content: read(&text).map_err(|e| Unreadable { why: e.to_string(), runtimes }) }
    }
}

fn host_now(what: &str, sources: &[Source]) -> Live {
    let matrices: Vec<&Matrix> = sources.iter().filter_map(|s| s.content.as_ref().ok()).collect();
    let mut host = perfect("x", IsolationClass::SharedKernel, &[]).host;
    let mut runtimes: BTreeMap<String, Fingerprint> =
        matrices.iter().flat_map(|m| &m.runtimes).map(|r| (r.name.clone(), r.fingerprint.clone())).collect();
    for f in runtimes.values_mut() {
        match what {
            "bytes" => f.sha256 = "99".repeat(32),
            "args" => f.args.push("--more".to_owned()),
            "path" => f.path = "/elsewhere".to_owned(),
            "file" => f.files.values_mut().for_each(|h| *h = "99".repeat(32)),
            "wrapper" => f.wraps = Some(Box::default()),
            _ => {}
        }
    }
    match what {
        "kernel" => host.kernel = "7".to_owned(),
        "engine" => host.engine = "99".to_owned(),
        "cgroup" => host.cgroup = "2".to_owned(),
        "default runtime" => host.default_runtime = "crun".to_owned(),
        "settings" => drop(host.settings.insert("iptables".to_owned(), "legacy".to_owned())),
        "gone" => runtimes.clear(),
        _ => {}
    }
    Live { host, runtimes }
}

#[test]
fn crafted_reports_get_the_answer_they_should() {
    let text = fs::read_to_string(in_repo("tests/select-cases.toml")).expect("readable");
    let cases: Cases = toml::from_str(&text).expect("cases");
    assert!(cases.case.len() >= 60, "only {} cases", cases.case.len());
    let mut wrong = Vec::new();
    let mut names = BTreeSet::new();
    for case in &cases.case {
        assert!(names.insert(&case.name), "two cases are called {}", case.name);
        let sources: Vec<Source> = case.report.iter().enumerate().map(|(i, c)| c.source(i)).collect();
        let live = case.live.as_deref().map(|what| host_now(what, &sources));
        let policy = policy(&case.policy);
        let answer =
            with(&sources, &policy, &case.require, live.as_ref(), case.max_age, &case.costs, NOW, |a, _| a.clone());
        let first = answer.ranked.first();
        let choice = first.map(|c| c.row.name.as_str()).unwrap_or_default();
        let mut say = |what: String| wrong.push(format!("{}: {what}", case.name));
        if choice != case.choice {
            say(format!("chose {choice:?}, not {:?}; rejected: {:?}", case.choice, answer.rejected));
        }
        let proved = first.and_then(|c| c.proved.first());
        if let Some(model) = &case.model
            && proved.map(|p| p.name()).as_ref() != Some(model)
        {
            say(format!("under {:?}, not {model}", proved.map(|p| p.name())));
        }
        if let Some(expected) = &case.mitigations {
            let needed: Vec<&String> = proved.iter().flat_map(|p| p.mitigations.iter().map(|m| &m.id)).collect();
            if needed != expected.iter().collect::<Vec<_>>() {
                say(format!("needs {needed:?}, not {expected:?}"));
            }
        }
        for (runtime, [requirement, words]) in &case.rejected {
            let found = answer.rejected.iter().find(|r| r.runtime == *runtime);
            let told = found.map(|r| format!("{} {} {:?}", r.requirement, r.reason, r.basis)).unwrap_or_default();
            if found.is_none_or(|r| r.requirement != *requirement) || !told.contains(words.as_str()) {
                say(format!("{runtime} should be rejected for {requirement} with {words:?}, but: {told:?}"));
            }
        }
        if case.choice.is_empty() && case.rejected.is_empty() {
            say("a refusal must say whom it rejects".to_owned());
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Every cell of every requirement, with every verdict but `pass`, in every model.
#[test]
fn no_requirement_survives_a_cell_that_does_not_pass() {
    let policy = policy("default");
    for requirement in &TABLES.data.catalogue.requirements {
        for id in &requirement.cells {
            for verdict in Verdict::ALL.into_iter().filter(|v| *v != Verdict::Pass) {
                let mut m = perfect("a", IsolationClass::UserSpaceKernel, &[]);
                m.cells.iter_mut().filter(|c| c.id == *id).for_each(|c| c.verdict = verdict);
                let answer = ask(&[Source { name: "r".to_owned(), content: Ok(m) }], &policy, &[], None, None);
                let tolerated = verdict == Verdict::NotApplicable && !requirement.never_not_applicable.contains(id);
                assert_eq!(answer.ranked.is_empty(), !tolerated, "{id} {verdict}");
            }
            let mut m = perfect("a", IsolationClass::UserSpaceKernel, &[]);
            m.cells.retain(|c| c.id != *id);
            let answer = ask(&[Source { name: "r".to_owned(), content: Ok(m) }], &policy, &[], None, None);
            assert!(answer.ranked.is_empty(), "{id} missing");
        }
    }
}

fn any_class() -> impl Strategy<Value = IsolationClass> {
    prop_oneof![
        Just(IsolationClass::SharedKernel),
        Just(IsolationClass::UserSpaceKernel),
        Just(IsolationClass::GuestKernel)
    ]
}

/// A report with some cells that do not pass.
fn flawed(name: &'static str) -> impl Strategy<Value = Matrix> {
    let flaws = prop::collection::vec((any::<prop::sample::Index>(), 1..6_usize), 0..12);
    (any_class(), flaws).prop_map(move |(class, flaws)| {
        let mut m = perfect(name, class, &[]);
        for (at, verdict) in flaws {
            let at = at.index(m.cells.len());
            m.cells[at].verdict = Verdict::ALL[verdict];
        }
        m
    })
}

fn reports(matrices: &[Matrix]) -> Vec<Source> {
    matrices.iter().map(|m| Source { name: m.run.id.clone(), content: Ok(m.clone()) }).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    #[test]
    fn a_pass_that_is_lost_never_makes_a_runtime_eligible(
        m in flawed("a"), at in any::<prop::sample::Index>(), to in 1..6_usize, strict in any::<bool>()
    ) {
        let policy = policy(if strict { "strict" } else { "default" });
        let before = ask(&reports(std::slice::from_ref(&m)), &policy, &[], None, None);
        let mut worse = m;
        let passing: Vec<usize> = (0..worse.cells.len()).filter(|i| worse.cells[*i].verdict == Verdict::Pass).collect();
        worse.cells[passing[at.index(passing.len())]].verdict = Verdict::ALL[to];
        let after = ask(&reports(&[worse]), &policy, &[], None, None);
        prop_assert!(!before.ranked.is_empty() || after.ranked.is_empty());
        let models = |a: &Answer| a.ranked.iter().flat_map(|c| c.proved.iter().map(|p| p.name())).collect::<BTreeSet<_>>();
        prop_assert!(models(&after).is_subset(&models(&before)));
    }

    #[test]
    fn a_worse_runtime_never_changes_the_choice(a in flawed("a"), b in flawed("b"), c in flawed("c")) {
        let policy = policy("default");
        let all = ask(&reports(&[a.clone(), b.clone(), c.clone()]), &policy, &[], None, None);
        let chosen = all.ranked.first().map(|x| x.row.name.clone());
        for left_out in ["a", "b", "c"] {
            if chosen.as_deref() == Some(left_out) {
                continue;
            }
            let rest: Vec<Matrix> =
                [&a, &b, &c].into_iter().filter(|m| m.runtimes[0].name != left_out).cloned().collect();
            let some = ask(&reports(&rest), &policy, &[], None, None);
            prop_assert_eq!(&some.ranked.first().map(|x| x.row.name.clone()), &chosen);
        }
    }

    #[test]
    fn the_order_of_reports_is_nothing(a in flawed("a"), b in flawed("b"), c in flawed("c")) {
        let bytes = |m: &[Matrix]| {
            let policy = policy("default");
            with(&reports(m), &policy, &[], None, None, &BTreeMap::new(), NOW, |answer, q| {
                let s = selection(answer, q).expect("selection");
                (serde_json::to_string(&s).expect("json"), serde_json::to_string(&selection::registry(answer)).expect("json"))
            })
        };
        let one = bytes(&[a.clone(), b.clone(), c.clone()]);
        prop_assert_eq!(&one, &bytes(&[a.clone(), b.clone(), c.clone()]));
        prop_assert_eq!(&one, &bytes(&[c, a, b]));
    }
}

#[test]
fn a_bad_policy_names_line_and_nearest_word() {
    let bad = |text: &str| {
        Policy::parse(text, &TABLES.data.catalogue, &TABLES.data.models, &TABLES.mitigations).expect_err("bad")
    };
    let e = bad("name = \"x\"\nmodles = [\"*\"]\n");
    assert_eq!((e.line, e.nearest.as_deref()), (2, Some("models")), "{e}");
    let e = bad("name = \"x\"\nmodels = [\"*\"]\n\nrequire = [\n  \"chroot.enter\",\n  \"seccomp.erno\",\n]\n");
    assert_eq!((e.line, e.nearest.as_deref()), (6, Some("seccomp.errno")), "{e}");
    let e = bad("name = \"x\"\nmodels = [\"open\"]\n");
    assert_eq!(e.line, 2, "a control is no model on which anything may rest: {e}");
    let e = bad("name = \"x\"\nmodels = [\"*\"]\nforbid = [\"iptables-legcy\"]\n");
    assert_eq!((e.line, e.nearest.as_deref()), (3, Some("iptables-legacy")), "{e}");
    let e = bad("name = \"x\"\nmodels = [\"*\"]\nminimum_isolation = \"guest-kernal\"\n");
    assert_eq!((e.line, e.nearest.as_deref()), (3, Some("guest-kernel")), "{e}");
    let e = bad("name = \"x\"\nmodels = [\"*\"]\nmax_age = \"soon\"\n");
    assert_eq!(e.line, 3, "{e}");
    assert!(bad("name = ").line >= 1);
}

#[test]
fn the_tables_name_what_exists() {
    let t = &*TABLES;
    let known = |id: &String| t.data.catalogue.get(id).is_some();
    for m in &t.mitigations {
        for id in m.cells.iter().chain(&m.shown_by).chain(&m.works_if) {
            assert!(known(id), "mitigations.toml: {} names {id}, which does not exist", m.id);
        }
        assert!(m.rival || !m.cells.is_empty() || !m.shown_by.is_empty(), "{}: nothing makes it necessary", m.id);
    }
    for f in &t.fields {
        assert!(f.all.iter().chain(&f.any).all(known), "registry.toml: {}", f.name);
    }
    for (name, text) in POLICIES {
        assert_eq!(policy(text).name, *name);
    }
}

#[test]
fn times_are_read_as_they_are_written() {
    for t in [0, 951_782_400, 1_709_164_800, NOW, 4_102_444_800] {
        assert_eq!(instant(&rfc3339(t)), Some(t));
    }
    for bad in [
        "",
        "yesterday",
        "2026-11-24 05:01:26Z",
        "2026-13-24T05:01:26Z",
        "2026-11-24T05:01:26+01",
        "+026-11-24T05:01:26Z",
    ] {
        assert_eq!(instant(bad), None, "{bad}");
    }
}

/// Journals of real runs, and when to ask: an hour after the oldest of them.
fn real() -> (Vec<Source>, u64) {
    let d = &TABLES.data;
    let mut sources = Vec::new();
    for name in ["runc", "runsc", "runsc-hostnet", "runsc-raw"] {
        let place = format!("reports/samples/journals/{name}.jsonl");
        let events = journal::read(&in_repo(&place)).expect("a journal");
        let mut matrix = judge(&events, &d.catalogue, &d.models, &d.products);
        // The journals are renewed on different days; what was set on the host in between is not this test's business.
        matrix.host.settings.clear();
        sources.push(Source { name: place, content: Ok(matrix) });
    }
    let starts = sources.iter().filter_map(|s| instant(&s.content.as_ref().ok()?.run.started));
    (sources.clone(), starts.max().expect("a run") + 3600)
}

#[test]
fn formats_of_real_journals_are_up_to_date() {
    let (sources, now) = real();
    let policy = policy("default");
    let year = Some(365 * 86_400);
    let catalogue = &TABLES.data.catalogue.hash;
    with(&sources, &policy, &[], None, year, &BTreeMap::new(), now, |answer, q| {
        let s = selection(answer, q).expect("selection");
        let written = serde_json::to_string_pretty(&s).expect("json") + "\n";
        assert_eq!(selection::read_selection(&written).expect("read back"), s);
        assert!(selection::read_selection(&written.replacen("runc", "crun", 1)).is_err(), "an edit is noticed");
        let registry = selection::registry(answer);
        golden("selection.txt", &selection::text(&s, true));
        // What changes with every word of the catalogue is not what this test is about.
        golden("selection.json", &written.replace(catalogue, &"0".repeat(64)).replace(&s.digest, &"0".repeat(64)));
        golden("registry.json", &(serde_json::to_string_pretty(&registry).expect("json") + "\n"));
        fits("selection-v1", &serde_json::to_value(&s).expect("json"));
        fits("registry-v1", &serde_json::to_value(&registry).expect("json"));
    });
    // Each runtime by itself, so that every profile is shown and not only the best one's.
    for source in &sources {
        let alone = std::slice::from_ref(source);
        with(alone, &policy, &[], None, year, &BTreeMap::new(), now, |answer, q| {
            let s = selection(answer, q).expect("selection");
            fits("selection-v1", &serde_json::to_value(&s).expect("json"));
            let name = source.content.as_ref().expect("a matrix").runtimes[0].name.clone();
            assert_eq!(s.outcome == OutcomeV1::Selected, s.awf.is_some());
            let Some(awf) = s.awf else { return golden(&format!("{name}.refused.txt"), &selection::text(&s, false)) };
            fits("awf-config-v1", &awf.config);
            of_awf(&awf.config);
            golden(
                &format!("{name}.awf-config.json"),
                &(serde_json::to_string_pretty(&awf.config).expect("json") + "\n"),
            );
            let compose = selection::compose(answer, &Topology::awf()).expect("an override");
            fits("compose-v1", &compose);
            golden(&format!("{name}.compose.yaml"), &selection::yaml(&compose));
        });
    }
}

/// AWF's own schema, where it is at hand.
fn of_awf(config: &Value) {
    let place = std::env::var("AWF_PROBE_AWF_SCHEMA").unwrap_or("/work/shared/awf/config.schema.json".to_owned());
    if let Ok(text) = fs::read_to_string(place) {
        let schema: Value = serde_json::from_str(&text).expect("AWF's schema");
        assert_eq!(check(config, &schema, &schema, "config"), Vec::<String>::new());
        let mut wrong = config.clone();
        wrong["container"]["containerRuntime"] = "runc".into();
        assert!(!check(&wrong, &schema, &schema, "config").is_empty(), "the check can fail");
    }
}

#[test]
fn the_schemas_are_up_to_date() {
    for (name, schema) in selection::schemas() {
        let text = serde_json::to_string_pretty(&schema).expect("json") + "\n";
        same(&format!("reports/schema/{name}.schema.json"), &text);
    }
}

fn fits(name: &str, value: &Value) {
    let (_, schema) = selection::schemas().into_iter().find(|(n, _)| *n == name).expect("a schema");
    assert_eq!(check(value, &schema, &schema, name), Vec::<String>::new());
}

/// As much of JSON Schema as these schemas use; a keyword it does not know is an error.
fn check(value: &Value, schema: &Value, root: &Value, at: &str) -> Vec<String> {
    let mut wrong = Vec::new();
    let Some(keywords) = schema.as_object() else {
        if schema == &Value::Bool(false) {
            wrong.push(format!("{at}: not allowed"));
        }
        return wrong;
    };
    for (keyword, s) in keywords {
        match keyword.as_str() {
            "$ref" => {
                let target = s.as_str().and_then(|r| root.pointer(r.strip_prefix('#')?)).expect("a target");
                wrong.extend(check(value, target, root, at));
            }
            "type" => {
                let is = |t: &Value| match t.as_str() {
                    Some("object") => value.is_object(),
                    Some("array") => value.is_array(),
                    Some("string") => value.is_string(),
                    Some("integer") => value.is_i64() || value.is_u64(),
                    Some("number") => value.is_number(),
                    Some("boolean") => value.is_boolean(),
                    Some("null") => value.is_null(),
                    _ => false,
                };
                if !s.as_array().map_or_else(|| is(s), |all| all.iter().any(is)) {
                    wrong.push(format!("{at}: {value} is no {s}"));
                }
            }
            "const" if s != value => wrong.push(format!("{at}: {value} is not {s}")),
            "enum" if !s.as_array().is_some_and(|all| all.contains(value)) => {
                wrong.push(format!("{at}: {value} is none of {s}"));
            }
            "required" => {
                let missing = |n: &&Value| value.get(n.as_str().unwrap_or_default()).is_none();
                wrong.extend(s.as_array().into_iter().flatten().filter(missing).map(|n| format!("{at}: no {n}")));
            }
            "properties" => {
                for (name, inner) in s.as_object().expect("an object") {
                    if let Some(v) = value.get(name) {
                        wrong.extend(check(v, inner, root, &format!("{at}.{name}")));
                    }
                }
            }
            "additionalProperties" => {
                let known = schema.get("properties").and_then(Value::as_object);
                for (name, v) in value.as_object().into_iter().flatten() {
                    if !known.is_some_and(|k| k.contains_key(name)) {
                        wrong.extend(check(v, s, root, &format!("{at}.{name}")));
                    }
                }
            }
            "items" => {
                for (i, v) in value.as_array().into_iter().flatten().enumerate() {
                    wrong.extend(check(v, s, root, &format!("{at}[{i}]")));
                }
            }
            "minimum" if value.as_f64() < s.as_f64() => wrong.push(format!("{at}: {value} is under {s}")),
            "maximum" if value.as_f64() > s.as_f64() => wrong.push(format!("{at}: {value} is over {s}")),
            "allOf" => {
                for one in s.as_array().into_iter().flatten() {
                    wrong.extend(check(value, one, root, at));
                }
            }
            "anyOf" | "oneOf" => {
                let ok =
                    s.as_array().into_iter().flatten().filter(|one| check(value, one, root, at).is_empty()).count();
                if ok == 0 || keyword == "oneOf" && ok > 1 {
                    wrong.push(format!("{at}: {ok} of {keyword} fit"));
                }
            }
            "not" if check(value, s, root, at).is_empty() => wrong.push(format!("{at}: must not fit")),
            "if" => {
                let branch = if check(value, s, root, at).is_empty() { "then" } else { "else" };
                if let Some(then) = schema.get(branch) {
                    wrong.extend(check(value, then, root, at));
                }
            }
            "const" | "enum" | "minimum" | "maximum" | "not" | "then" | "else" | "$schema" | "$id" | "$defs"
            | "title" | "description" | "default" | "format" | "pattern" | "deprecated" | "minLength" | "maxLength"
            | "minItems" | "uniqueItems" | "examples" | "propertyNames" | "minProperties" | "dependentRequired"
            | "maxItems" | "exclusiveMinimum" | "patternProperties" | "$comment" => {}
            other => wrong.push(format!("{at}: this check does not know the keyword {other}")),
        }
    }
    wrong
}

fn golden(name: &str, now: &str) {
    same(&format!("reports/samples/selection/{name}"), now);
}

fn same(place: &str, now: &str) {
    let path = in_repo(place);
    if std::env::var_os("AWF_PROBE_RENEW").is_some() {
        fs::write(&path, now).expect("written");
    }
    let committed = fs::read_to_string(&path).unwrap_or_default();
    assert!(
        committed == now,
        "{place} is not what is written now; AWF_PROBE_RENEW=1 cargo test --test select renews it"
    );
}
