//! A forgotten half of a probe fails here, with the line to add.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
};

use awf_probe::{
    event::Event,
    scenario::egress::rules,
    specs::{DRIVEN, SOLO},
};
use awf_probe_matrix::{Capability, Catalogue, Claims, Condition, Scope, Source, coverage};
use awf_probe_probes::{ATTEMPTS, FAMILIES, MORE_RULES, Payload, RULES, all};

mod common;
use common::{data, events, in_repo};

#[test]
fn every_probe_file_is_registered() {
    for (stem, text) in files("probes/src", "rs") {
        if text.contains("const PROBES:") {
            let registered = FAMILIES.iter().any(|(name, _)| *name == stem);
            assert!(
                registered || stem == "lib",
                "probes/src/{stem}.rs defines PROBES, but no run knows them: \
                 add `(\"{stem}\", {stem}::PROBES),` to FAMILIES in probes/src/lib.rs"
            );
        }
    }
    for (name, probes) in FAMILIES {
        assert!(!probes.is_empty(), "the family {name} has no probes: remove it from FAMILIES in probes/src/lib.rs");
    }
}

#[test]
fn every_capability_file_is_compiled_in() {
    let data = data();
    let known: BTreeSet<&str> = data.catalogue.capabilities.iter().map(|c| c.id.as_str()).collect();
    for (stem, text) in files("matrix/capabilities", "toml") {
        let alone = Catalogue::parse(&[(stem.as_str(), text.as_str())], "requirement = []")
            .unwrap_or_else(|e| panic!("matrix/capabilities/{stem}.toml: {e}"));
        assert!(!alone.capabilities.is_empty(), "matrix/capabilities/{stem}.toml has no capabilities: remove it");
        for c in &alone.capabilities {
            assert_eq!(c.family, stem, "matrix/capabilities/{stem}.toml: write `family = \"{stem}\"`");
            assert!(
                known.contains(c.id.as_str()),
                "{} is not compiled in: add `\"{stem}\",` to FILES in matrix/src/catalogue.rs",
                c.id
            );
        }
    }
}

#[test]
fn ids_are_unique_and_dotted() {
    let data = data();
    let mut seen = BTreeSet::new();
    for c in &data.catalogue.capabilities {
        let allowed = c.id.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b".-".contains(&b));
        let parts: Vec<&str> = c.id.split('.').collect();
        let whole = parts.iter().all(|p| !p.is_empty() && !p.starts_with('-') && !p.ends_with('-'));
        assert!(allowed && whole && parts.len() >= 2, "{}: an id is family.name in a-z, 0-9, `.` and `-`", c.id);
        assert!(seen.insert(&c.id), "{}: the id is used twice", c.id);
    }
    let mut probes = BTreeSet::new();
    for p in all() {
        assert!(probes.insert(p.id), "two probes are called {}", p.id);
        assert!(!p.about.is_empty(), "the probe {} does not say what it tries", p.id);
    }
}

/// Ids stand in reports, baselines and other people's scripts: none is ever removed, none gets another meaning.
#[test]
fn ids_are_never_removed() {
    let data = data();
    let now: BTreeSet<String> = data.catalogue.capabilities.iter().map(|c| c.id.clone()).collect();
    let path = in_repo("reports/samples/ids.txt");
    let text = fs::read_to_string(&path).unwrap_or_default();
    let committed: BTreeSet<String> = text.lines().map(str::to_owned).collect();
    let gone: Vec<_> = committed.difference(&now).collect();
    assert!(gone.is_empty(), "these ids were published and are gone: {gone:?}; put them back, ids are stable");
    if std::env::var_os("AWF_PROBE_RENEW").is_some() {
        let all: String = now.iter().map(|id| format!("{id}\n")).collect();
        fs::write(&path, all).expect("written");
        return;
    }
    let new: Vec<_> = now.difference(&committed).collect();
    assert!(
        new.is_empty(),
        "new ids: {new:?}; AWF_PROBE_RENEW=1 cargo test --test catalogue, and commit reports/samples/ids.txt"
    );
    let sorted: String = committed.iter().map(|id| format!("{id}\n")).collect();
    assert_eq!(text, sorted, "reports/samples/ids.txt is not sorted: renew it");
}

#[test]
fn every_capability_has_its_control() {
    for c in &data().catalogue.capabilities {
        match c.scope {
            Scope::Solo | Scope::Netns => {
                assert!(!c.controls.is_empty(), "{}: add `controls`; a verdict without its control is none", c.id);
                for control in &c.controls {
                    assert!(!c.pass.contains(control), "{}: the control {} is the verdict itself", c.id, control.key);
                }
            }
            // The judge demands the control of an egress cell: the same attempt under `open`.
            Scope::Egress => assert!(c.controls.is_empty() && c.want.is_some(), "{}", c.id),
            // And of one whose guard fails: that it stood before, and the same attempts under `open`.
            Scope::Guard | Scope::DualStack => assert!(c.controls.is_empty() && c.want.is_none(), "{}", c.id),
        }
    }
}

#[test]
fn every_condition_names_a_scenario_that_exists() {
    for c in &data().catalogue.capabilities {
        for condition in conditions(c) {
            let scenario = condition.key.scenario.as_str();
            let driven = DRIVEN.iter().any(|(name, _)| *name == scenario);
            let known = SOLO.contains(&scenario) || driven || scenario == "netns" && c.scope == Scope::Netns;
            assert!(known, "{}: no sandbox is called {scenario}; solo specs are {SOLO:?}, src/specs.rs", c.id);
        }
    }
    for p in all() {
        for spec in p.specs {
            assert!(SOLO.contains(spec), "the probe {} is to run in {spec}, which src/specs.rs does not have", p.id);
        }
    }
}

/// A condition over a fact that nobody reports would be inconclusive for ever.
#[test]
fn every_fact_a_condition_names_is_reported() {
    let mut reported = BTreeMap::new();
    for event in events("runc") {
        if let Event::Observed { scenario, source, fact, .. } = event {
            reported.insert((scenario, source, fact.name), fact.sent.is_some());
        }
    }
    for c in &data().catalogue.capabilities {
        for condition in conditions(c) {
            let key = &condition.key;
            let scenario = if key.scenario == "netns" { "netns[runc]" } else { &key.scenario };
            let (source, in_ledger) = match key.source {
                // What the guest sent is looked up in a ledger.
                Source::Witness | Source::Proxy => ("guest", true),
                Source::Guest | Source::Engine | Source::Host => (key.source.word(), false),
            };
            // Derived by the judge from what the host's process table holds.
            let fact = if key.fact == "class.known" { "comm.found" } else { &key.fact };
            let report = |scenario: &str| reported.get(&(scenario.to_owned(), source.to_owned(), fact.to_owned()));
            // Without NET_RAW the legacy backend refuses every table, and a listing that is refused has no counters;
            // the same probe reports them in the sandbox that has NET_RAW.
            let uncounted = scenario == "netfilter-noraw" && fact.ends_with(".counter");
            let found = report(if uncounted { "netfilter" } else { scenario });
            // The host of the golden runs has no AppArmor, and then neither sandbox is started.
            let absent = reported.contains_key(&("apparmor".to_owned(), "host".to_owned(), "apparmor".to_owned()));
            if found.is_none() && absent && scenario.starts_with("apparmor") {
                continue;
            }
            let Some(sent) = found else {
                panic!(
                    "{}: nothing reports {key} (reports/samples/journals/runc.jsonl): is the name spelled as in \
                     probes/src/{}.rs, and does its probe name the spec?",
                    c.id, c.family
                )
            };
            assert!(*sent || !in_ledger, "{}: {key} cannot be found in a ledger: report it with `cx.sent`", c.id);
        }
    }
}

#[test]
fn every_attempt_has_its_capability() {
    let data = data();
    let egress: Vec<&Capability> = data.catalogue.capabilities.iter().filter(|c| c.scope == Scope::Egress).collect();
    for a in ATTEMPTS {
        let n = egress.iter().filter(|c| c.attempt == a.id).count();
        assert_eq!(
            n, 1,
            "the attempt {} has {n} capabilities: one [[capability]] with `attempt = \"{}\"` in \
             matrix/capabilities/egress.toml",
            a.id, a.id
        );
    }
    for c in egress {
        let known = ATTEMPTS.iter().any(|a| a.id == c.attempt);
        assert!(known, "{}: no attempt is called {}: add it to ATTEMPTS in probes/src/egress.rs", c.id, c.attempt);
        assert_eq!(c.id, format!("egress.{}", c.attempt), "the id of an egress capability is egress.ATTEMPT");
    }
    let journal = events("runc");
    for a in ATTEMPTS {
        let part = format!("{}.", a.id);
        let made = journal.iter().any(|e| match e {
            Event::Observed { scenario, fact, .. } => {
                scenario == "egress[open]" && (fact.name == a.id || fact.name.starts_with(&part)) && fact.sent.is_some()
            }
            _ => false,
        });
        assert!(made, "the golden run of runc does not make the attempt {}: renew the journal", a.id);
    }
}

#[test]
fn every_rule_has_its_capabilities() {
    let data = data();
    let mut expected = BTreeSet::new();
    for backend in ["legacy", "nft"] {
        for suffix in ["", "-noraw"] {
            expected.extend(RULES.iter().map(|r| format!("netfilter.{}.{backend}{suffix}", r.id)));
            expected.extend(["nat", "filter"].map(|t| format!("netfilter.table.{t}.{backend}{suffix}")));
        }
    }
    for backend in ["legacy", "nft"] {
        expected.extend(MORE_RULES.iter().map(|r| format!("netfilter.{}.{backend}", r.id)));
        // Measured by probes/src/netlocal.rs.
        let local = [
            "redirect",
            "redirect-udp",
            "original-dst.redirect",
            "original-dst.dnat-local",
            "open-before.dnat",
            "open-before.drop",
            "counters",
            "save-restore",
            "save-restore.engine-dns",
            "policy",
            "ip6.filter",
            "ip6.nat",
        ];
        expected.extend(local.map(|name| format!("netfilter.{name}.{backend}")));
        // Measured by `unprivileged`, in a sandbox without the capability.
        expected.insert(format!("netfilter.needs-net-admin.{backend}"));
    }
    let family = data.catalogue.capabilities.iter().filter(|c| c.family == "netfilter");
    let there: BTreeSet<String> = family.map(|c| c.id.clone()).collect();
    let missing: Vec<_> = expected.difference(&there).collect();
    assert!(missing.is_empty(), "add to matrix/capabilities/netfilter.toml: {missing:?}");
    let unknown: Vec<_> = there.difference(&expected).collect();
    assert!(
        unknown.is_empty(),
        "no rule in probes/src/netfilter.rs measures {unknown:?}: add it to RULES or MORE_RULES"
    );
}

/// R3 names the ports; the attempts and AWF's own rules must be about the same ones.
#[test]
fn dangerous_ports_are_the_same_everywhere() {
    let r3: [u16; 15] = [22, 23, 25, 110, 143, 445, 1433, 1521, 3306, 3389, 5432, 6379, 27017, 27018, 28017];
    let payload = ATTEMPTS.iter().find(|a| a.id == "tcp.dangerous").map(|a| a.payload);
    assert!(matches!(payload, Some(Payload::Tcp(ports)) if ports == r3), "{payload:?}");
    let rules = rules([10, 0, 0, 20].into(), [10, 0, 0, 10].into(), [203, 0, 113, 1].into());
    for port in r3 {
        let exempt = format!("-t nat -A OUTPUT -p tcp --dport {port} -j RETURN");
        assert!(rules.contains(&exempt), "AWF's rules do not exempt port {port} from DNAT");
    }
}

#[test]
fn requirements_rest_on_cells_that_exist() {
    let data = data();
    let ids: Vec<&str> = data.catalogue.requirements.iter().map(|r| r.id.as_str()).collect();
    assert_eq!(ids, ["R1", "R2", "R3", "R4", "R5", "R6", "R7"]);
    for r in &data.catalogue.requirements {
        assert!(!r.title.is_empty() && !r.cells.is_empty(), "{}: rests on nothing", r.id);
        assert!(!r.never_not_applicable.is_empty(), "{}: would hold where nothing applies", r.id);
        let distinct: BTreeSet<&String> = r.cells.iter().collect();
        assert_eq!(distinct.len(), r.cells.len(), "{}: a cell twice", r.id);
        for id in r.cells.iter().chain(&r.never_not_applicable) {
            assert!(data.catalogue.get(id).is_some(), "{}: matrix/requirements.toml names {id}, which is no id", r.id);
        }
        for id in &r.never_not_applicable {
            assert!(r.cells.contains(id), "{}: {id} is never not applicable, but not among `cells`", r.id);
        }
    }
}

#[test]
fn every_capability_is_written_out() {
    for c in &data().catalogue.capabilities {
        let texts =
            [("title", &c.title), ("why", &c.why), ("how", &c.how), ("control", &c.control), ("remedy", &c.remedy)];
        for (name, text) in texts {
            assert!(!text.trim().is_empty(), "{}: `{name}` is empty", c.id);
        }
        assert!(
            !c.sources.is_empty(),
            "{}: `sources` is empty: an experiment others describe, an issue, source code",
            c.id
        );
        let all = texts.into_iter().map(|(_, t)| t.clone()).chain(c.sources.iter().cloned()).chain([
            c.id.clone(),
            c.partial_reason.clone(),
            c.moot_reason.clone(),
            c.attempt.clone(),
        ]);
        let all = all.chain(conditions(c).map(|c| format!("{} = {}", c.key, c.wanted())));
        for text in all {
            assert!(!placeholder(&text), "{}: a placeholder is left in {text:?}: add it to `each`", c.id);
        }
    }
}

fn conditions(c: &Capability) -> impl Iterator<Item = &Condition> {
    c.controls.iter().chain(&c.moot).chain(&c.pass).chain(&c.partial)
}

/// Whether `{name}` stands in a text.
fn placeholder(text: &str) -> bool {
    text.split('{').skip(1).any(|rest| {
        rest.split_once('}').is_some_and(|(name, _)| !name.is_empty() && name.bytes().all(|b| b.is_ascii_lowercase()))
    })
}

/// Name without extension, and text, of each file of a folder.
fn files(folder: &str, extension: &str) -> BTreeMap<String, String> {
    let mut all = BTreeMap::new();
    for entry in fs::read_dir(in_repo(folder)).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.extension().is_some_and(|e| e == extension) {
            let stem = path.file_stem().and_then(|s| s.to_str()).expect("a name").to_owned();
            all.insert(stem, fs::read_to_string(&path).expect("readable"));
        }
    }
    assert!(!all.is_empty(), "{folder} is empty");
    all
}

#[test]
fn every_clause_of_every_row_is_answered() {
    let data = data();
    for row in coverage::rows().expect("matrix/coverage.toml can be read") {
        assert!(!row.clauses.is_empty(), "{}: a row without clauses", row.id);
        for clause in &row.clauses {
            for pattern in &clause.cells {
                let any = data.catalogue.capabilities.iter().any(|c| coverage::matches(pattern, &c.id));
                assert!(any, "{}: {}: no capability is called {pattern}", row.id, clause.what);
            }
            assert!(!clause.cells.is_empty(), "{}: nothing answers: {}", row.id, clause.what);
        }
    }
}

#[test]
fn every_capability_has_its_place_in_a_row() {
    let data = data();
    let rows = coverage::rows().expect("matrix/coverage.toml can be read");
    let patterns: Vec<&String> = rows.iter().flat_map(|r| &r.clauses).flat_map(|c| &c.cells).collect();
    let homeless = |c: &&Capability| !patterns.iter().any(|p| coverage::matches(p, &c.id));
    let lost: Vec<&str> = data.catalogue.capabilities.iter().filter(homeless).map(|c| c.id.as_str()).collect();
    assert!(lost.is_empty(), "add these to a clause of matrix/coverage.toml: {lost:#?}");
}

#[test]
fn claims_are_about_capabilities_that_exist() {
    let data = data();
    for id in Claims::builtin().expect("matrix/claims.tsv can be read").ids() {
        assert!(data.catalogue.get(id).is_some(), "matrix/claims.tsv names {id}, which does not exist");
    }
}
