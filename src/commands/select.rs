//! `awf-probe select`: from reports to the runtime AWF should use, or a refusal.

use std::{collections::BTreeMap, fs, path::Path};

use awf_probe_matrix::{
    Matrix, Mitigation,
    select::{
        Answer, Field, Live, POLICIES, Policy, PolicyError, Question, Source, Unreadable, mitigations, nearest,
        registry_fields, seconds, select,
    },
};
use awf_probe_reports::{
    bench::{self, BenchV1},
    read, read_sealed,
    selection::{self, OutcomeV1, SelectionV1, Topology},
};

use super::{Data, print};
use crate::{
    cli::{Asked, SelectArgs, SelectFormat},
    engine::docker::{Docker, Info},
    error::{Error, Exit},
    fingerprint::{self, Hashes},
    journal,
    judge::judge,
    progress::note,
};

/// Selects.
pub async fn run(args: SelectArgs) -> Result<Exit, Error> {
    let data = Data::load()?;
    let chooser = Chooser::new(&data, &args.asked)?;
    let mut sources = Vec::new();
    for path in &args.reports {
        sources.push(source(path, args.require_mac)?);
    }
    for path in &args.rejudge {
        sources.push(rejudged(path, &data)?);
    }
    if sources.is_empty() {
        sources.push(source(Path::new("target/awf-probe"), args.require_mac)?);
    }
    let live = if args.verify_host {
        let docker = Docker::connect().await?;
        let info = docker.info().await?;
        let mut hashes = Hashes::default();
        Some(look(&info, &sources, &mut hashes))
    } else {
        None
    };
    chooser.answer(&sources, live.as_ref(), &args.asked)
}

/// The host as it is now, with the files these reports name.
pub fn look(info: &Info, sources: &[Source], hashes: &mut Hashes) -> Live {
    let matrices: Vec<&Matrix> = sources.iter().filter_map(|s| s.content.as_ref().ok()).collect();
    fingerprint::live(info, &matrices, hashes)
}

/// Policy, limits and tables, read and checked before anything else is done.
#[derive(Debug)]
pub struct Chooser<'a> {
    data: &'a Data,
    mitigations: Vec<Mitigation>,
    fields: Vec<Field>,
    policy: Policy,
    max_age: u64,
    bench: Option<BenchV1>,
}

impl<'a> Chooser<'a> {
    /// Reads the policy, and checks every capability that was asked for.
    pub fn new(data: &'a Data, asked: &Asked) -> Result<Self, Error> {
        let bug = |e: &dyn std::fmt::Display| Error::Bug(e.to_string());
        let mitigations = mitigations().map_err(|e| bug(&e))?;
        let fields = registry_fields().map_err(|e| bug(&e))?;
        let policy = policy(&asked.policy, data, &mitigations)?;
        let ids: Vec<&str> = data.catalogue.capabilities.iter().map(|c| c.id.as_str()).collect();
        for id in &asked.require {
            if !ids.iter().any(|known| awf_probe_matrix::coverage::matches(id, known)) {
                let near = nearest(id, &ids).map(|n| format!("did you mean {n}? ")).unwrap_or_default();
                return Err(Error::Usage {
                    why: format!("--require {id}: there is no such capability"),
                    help: format!("{near}`awf-probe list` shows the ids"),
                });
            }
        }
        let max_age = match &asked.max_age {
            None => policy.max_age,
            Some(text) => seconds(text).ok_or_else(|| Error::Usage {
                why: format!("--max-age {text:?} is no duration"),
                help: "use a number and a unit, such as 90s, 30m, 24h or 7d".to_owned(),
            })?,
        };
        let bench = asked.bench.as_deref().map(figures).transpose()?;
        Ok(Self { data, mitigations, fields, policy, max_age, bench })
    }

    /// Asks the question.
    pub fn ask<T>(
        &self,
        sources: &[Source],
        live: Option<&Live>,
        asked: &Asked,
        then: impl FnOnce(&Answer, &Question<'_>) -> T,
    ) -> T {
        let costs = self.costs(sources);
        let question = Question {
            catalogue: &self.data.catalogue,
            models: &self.data.models,
            mitigations: &self.mitigations,
            fields: &self.fields,
            policy: &self.policy,
            require: &asked.require,
            now: fingerprint::now(),
            max_age: self.max_age,
            live,
            costs: &costs,
        };
        then(&select(sources, &question), &question)
    }

    /// What the runtimes of these reports cost, as far as the very executables were measured.
    fn costs(&self, sources: &[Source]) -> BTreeMap<String, u64> {
        let Some(bench) = &self.bench else { return BTreeMap::new() };
        let mut costs = bench::costs(bench);
        let matrices = sources.iter().filter_map(|s| s.content.as_ref().ok());
        for row in matrices.flat_map(|m| &m.runtimes) {
            let subject = std::iter::once(&bench.reference).chain(&bench.candidates).find(|s| s.name == row.name);
            let same = subject.is_some_and(|s| s.version == row.version && s.sha256 == row.fingerprint.sha256);
            if !same && costs.remove(&row.name).is_some() {
                note(&format!("{} is another executable than the one whose cost was measured", row.name));
            }
        }
        costs
    }

    /// Asks, and prints the answer. A refusal is exit code 1.
    pub fn answer(&self, sources: &[Source], live: Option<&Live>, asked: &Asked) -> Result<Exit, Error> {
        self.ask(sources, live, asked, |answer, question| {
            let bug = |e: &dyn std::fmt::Display| Error::Bug(e.to_string());
            let s = selection::selection(answer, question).map_err(|e| bug(&e))?;
            print(&rendered(answer, &s, asked)?)?;
            Ok(if s.outcome == OutcomeV1::Selected { Exit::Ok } else { Exit::Broken })
        })
    }
}

/// The answer in the format asked for. Where AWF's or Compose's own form has no place for a refusal, the refusal object
/// stands in its place: nothing that a reader could take for a configuration.
fn rendered(answer: &Answer, s: &SelectionV1, asked: &Asked) -> Result<String, Error> {
    let json = |v: &dyn erased::Json| v.pretty();
    let refused = s.outcome == OutcomeV1::Refused;
    match asked.format {
        SelectFormat::Text => Ok(selection::text(s, asked.explain)),
        SelectFormat::Json => json(s),
        SelectFormat::Registry => json(&selection::registry(answer)),
        SelectFormat::AwfConfig | SelectFormat::Compose if refused => json(s),
        SelectFormat::AwfConfig => {
            let awf = s.awf.as_ref().ok_or_else(|| Error::Bug("a selection without AWF's form".to_owned()))?;
            for flag in &awf.flags {
                note(&format!("the file cannot name this runtime; start AWF with {flag}"));
            }
            awf.notes.iter().for_each(|n| note(n));
            json(&awf.config)
        }
        SelectFormat::Compose => {
            let value = selection::compose(answer, &Topology::awf());
            Ok(selection::yaml(&value.ok_or_else(|| Error::Bug("a selection without a model".to_owned()))?))
        }
    }
}

mod erased {
    use crate::error::Error;

    /// Anything that can be written as JSON.
    pub(super) trait Json {
        fn pretty(&self) -> Result<String, Error>;
    }

    impl<T: serde::Serialize> Json for T {
        fn pretty(&self) -> Result<String, Error> {
            serde_json::to_string_pretty(self).map(|t| t + "\n").map_err(|e| Error::Bug(e.to_string()))
        }
    }
}

fn figures(path: &Path) -> Result<BenchV1, Error> {
    let bad = |why: String| Error::Usage {
        why: format!("--bench {}: {why}", path.display()),
        help: "`awf-probe bench --out DIR` writes DIR/bench.json".to_owned(),
    };
    let text = fs::read_to_string(path).map_err(|e| bad(e.to_string()))?;
    bench::read(&text).map_err(|e| bad(e.to_string()))
}

fn policy(asked: &str, data: &Data, mitigations: &[Mitigation]) -> Result<Policy, Error> {
    let builtin = POLICIES.iter().find(|(name, _)| *name == asked);
    let text = match builtin {
        Some((_, text)) => (*text).to_owned(),
        None => fs::read_to_string(asked).map_err(|e| {
            let names: Vec<&str> = POLICIES.iter().map(|(name, _)| *name).collect();
            let near = nearest(asked, &names).map(|n| format!("did you mean {n}? ")).unwrap_or_default();
            Error::Usage {
                why: format!("--policy {asked}: {e}"),
                help: format!("{near}name a file, or one of the policies {}", names.join(" and ")),
            }
        })?,
    };
    Policy::parse(&text, &data.catalogue, &data.models, mitigations).map_err(|PolicyError { line, why, nearest }| {
        Error::Usage {
            why: format!("{asked}:{line}: {why}"),
            help: match nearest {
                Some(n) => format!("did you mean {n}? matrix/policies/default.toml shows every key"),
                None => "matrix/policies/default.toml shows every key".to_owned(),
            },
        }
    })
}

/// A report, or why it is none. A report that is there and cannot be used is an answer, not an error.
pub fn source(path: &Path, require_mac: bool) -> Result<Source, Error> {
    let file = if path.is_dir() { path.join("report.json") } else { path.to_owned() };
    let name = file.display().to_string();
    let text = fs::read(&file).map_err(|e| Error::Usage {
        why: format!("cannot read the report {name}: {e}"),
        help: "`awf-probe run --all --out DIR` makes one; name DIR or its report.json".to_owned(),
    })?;
    Ok(Source { name, content: content(&file, &text, require_mac) })
}

fn content(file: &Path, bytes: &[u8], require_mac: bool) -> Result<Matrix, Unreadable> {
    let text = String::from_utf8_lossy(bytes);
    let unreadable = |why: String| Unreadable { why, runtimes: claimed(&text) };
    let mac = fs::read_to_string(fingerprint::mac_path(file)).ok();
    let sealed = mac.is_some();
    match mac {
        Some(mac) => match fingerprint::mac_fits(bytes, &mac) {
            Ok(true) => {}
            Ok(false) => return Err(unreadable("its MAC does not fit: edited, or written on another host".to_owned())),
            Err(e) => return Err(unreadable(format!("its MAC cannot be checked: {e}"))),
        },
        None if require_mac => {
            return Err(unreadable("there is no MAC beside it, and --require-mac asks for one".to_owned()));
        }
        None => {}
    }
    if sealed { read_sealed(&text) } else { read(&text) }.map_err(|e| unreadable(e.to_string()))
}

/// Names of runtimes in a report that cannot be used, so that each of them is rejected by name.
fn claimed(text: &str) -> Vec<String> {
    let json: Option<serde_json::Value> = serde_json::from_str(text).ok();
    let rows = json.as_ref().and_then(|j| j.get("runtimes")).and_then(|r| r.as_array());
    let names = rows.into_iter().flatten().filter_map(|r| r.get("name")?.as_str());
    names.take(64).map(|n| n.chars().take(80).collect()).collect()
}

/// The cells of a journal, judged again by this version.
fn rejudged(path: &Path, data: &Data) -> Result<Source, Error> {
    let events = journal::read(path)?;
    let matrix = judge(&events, &data.catalogue, &data.models, &data.products);
    Ok(Source { name: path.display().to_string(), content: Ok(matrix) })
}
