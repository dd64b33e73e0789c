//! What a run will do: the cells it must fill, and the fewest sandboxes that fill them.

use std::collections::BTreeSet;

use awf_probe_matrix::{Capability, Catalogue, InitUnder, Model, Scope, select::nearest};
use globset::{Glob, GlobSet, GlobSetBuilder};

use crate::{
    error::Error,
    event::PlannedCell,
    scenario::{dual, egress, guard},
    specs::{DRIVEN, SOLO},
};

/// One scenario of one runtime.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Job {
    /// A solo spec. `plain` comes first and decides whether the others are tried.
    Solo(&'static str),
    /// Containers the engine drives from outside.
    Driven(&'static str),
    /// An init container under this runtime joins.
    Netns(String),
    /// An enforcement model.
    Egress {
        /// The model.
        model: Model,
        /// iptables backend, where rules are involved.
        backend: Option<String>,
        /// With NET_RAW, as a control.
        raw: bool,
    },
    /// The control of tampering.
    Tamper,
    /// An enforcement model whose guard fails, part by part.
    Guard {
        /// The model.
        model: Model,
        /// iptables backend, where rules are involved.
        backend: Option<String>,
    },
    /// An enforcement model whose agent has IPv6 as well.
    DualStack {
        /// The model.
        model: Model,
        /// iptables backend, where rules are involved.
        backend: Option<String>,
        /// With NET_RAW, as a control.
        raw: bool,
    },
}

/// The families whose cells each belong to an enforcement model.
pub const OF_MODELS: [&str; 3] = ["egress", "guard", "ipv6"];

/// Whether a capability is of one of these families.
pub fn of_a_model(id: &str) -> bool {
    id.split_once('.').is_some_and(|(family, _)| OF_MODELS.contains(&family))
}

impl Job {
    /// Name as in the journal.
    pub fn name(&self) -> String {
        match self {
            Self::Solo(name) | Self::Driven(name) => (*name).to_owned(),
            Self::Netns(init) => format!("netns[{init}]"),
            Self::Egress { model, backend, raw } => egress::name(&model.id, backend.as_deref(), *raw),
            Self::Tamper => egress::TAMPER.to_owned(),
            Self::Guard { model, backend } => guard::name(&model.id, backend.as_deref()),
            Self::DualStack { model, backend, raw } => dual::name(&model.id, backend.as_deref(), *raw),
        }
    }

    /// How many containers it needs.
    pub fn containers(&self) -> usize {
        match self {
            Self::Solo(_) | Self::Tamper => 1,
            Self::Driven(name) => DRIVEN.iter().find(|(n, _)| n == name).map_or(0, |(_, c)| *c),
            Self::Netns(_) => 2,
            Self::Egress { model, .. } => 1 + usize::from(model.init != InitUnder::None),
            // Its init container fails first, and then another one does its work.
            Self::Guard { model, .. } => 1 + 2 * usize::from(model.init != InitUnder::None),
            // The namespace's holder, the agent, and who installs rules and writes sysctls.
            Self::DualStack { model, .. } if !dual::has_way(model) => 0,
            Self::DualStack { model, .. } if !model.counts => 2,
            Self::DualStack { model, .. } => 3 + usize::from(model.init != InitUnder::None),
        }
    }
}

/// The plan of a run.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Runtimes in order.
    pub runtimes: Vec<String>,
    /// Jobs of each runtime.
    pub jobs: Vec<Vec<Job>>,
    /// Cells of all runtimes.
    pub cells: Vec<PlannedCell>,
    /// Whether a filter left something out.
    pub filtered: bool,
    /// Runtime and scenario of what is not tried unasked: [`crate::kata::hold_back`].
    pub held_back: Vec<(String, String)>,
}

/// Which capabilities are asked for.
#[derive(Clone, Debug)]
pub struct Filter {
    /// As they were typed.
    asked: Vec<String>,
    only: Option<GlobSet>,
    skip: GlobSet,
}

impl Filter {
    /// Reads globs over capability ids.
    pub fn new(only: &[String], skip: &[String]) -> Result<Self, Error> {
        let asked = only.to_vec();
        Ok(Self { asked, only: if only.is_empty() { None } else { Some(globs(only)?) }, skip: globs(skip)? })
    }

    /// A question that names the id most like the first glob, or the family most like that of one with wildcards.
    fn meant(&self, catalogue: &Catalogue) -> String {
        let Some(asked) = self.asked.first() else { return String::new() };
        let near = if asked.contains(['*', '?', '[', '{']) {
            let (family, rest) = asked.split_once('.').unwrap_or((asked, ""));
            nearest(family, &catalogue.families())
                .filter(|f| f != family && !rest.is_empty())
                .map(|f| format!("{f}.{rest}"))
        } else {
            nearest(asked, &catalogue.capabilities.iter().map(|c| c.id.as_str()).collect::<Vec<_>>())
        };
        near.map(|n| format!("did you mean '{n}'? ")).unwrap_or_default()
    }

    /// Whether a capability is asked for.
    pub fn takes(&self, id: &str) -> bool {
        self.only.as_ref().is_none_or(|o| o.is_match(id)) && !self.skip.is_match(id)
    }
}

fn globs(patterns: &[String]) -> Result<GlobSet, Error> {
    let mut set = GlobSetBuilder::new();
    for pattern in patterns {
        let glob = Glob::new(pattern).map_err(|e| Error::Usage {
            why: format!("{pattern:?} is not a glob: {}", e.kind()),
            help: "globs are over capability ids, such as 'netfilter.*' or '*.dns.*'; `awf-probe list` shows them"
                .to_owned(),
        })?;
        set.add(glob);
    }
    set.build().map_err(|e| Error::Usage { why: e.to_string(), help: "use fewer or simpler globs".to_owned() })
}

impl Plan {
    /// The plan for these runtimes.
    pub fn build(
        catalogue: &Catalogue,
        models: &[Model],
        runtimes: &[String],
        default_runtime: &str,
        filter: &Filter,
    ) -> Result<Self, Error> {
        let taken: Vec<&Capability> = catalogue.capabilities.iter().filter(|c| filter.takes(&c.id)).collect();
        if taken.is_empty() {
            return Err(Error::Usage {
                why: "no capability is left after --only and --skip".to_owned(),
                help: format!(
                    "{}`awf-probe list` shows the ids the globs are matched against",
                    filter.meant(catalogue)
                ),
            });
        }
        let mut inits: Vec<String> = vec![default_runtime.to_owned()];
        inits.extend(runtimes.iter().filter(|r| *r != default_runtime).cloned());
        let mut plan = Self {
            runtimes: runtimes.to_vec(),
            jobs: vec![],
            cells: vec![],
            filtered: taken.len() < catalogue.capabilities.len(),
            held_back: vec![],
        };
        for runtime in runtimes {
            let stages = stages(models, runtime, default_runtime);
            for c in &taken {
                let cell = |model: Option<String>, backend: Option<String>| PlannedCell {
                    id: c.id.clone(),
                    runtime: runtime.clone(),
                    model,
                    backend,
                };
                match c.scope {
                    Scope::Solo => plan.cells.push(cell(None, None)),
                    Scope::Netns => plan.cells.extend(inits.iter().map(|i| cell(Some(format!("init={i}")), None))),
                    Scope::Egress | Scope::Guard | Scope::DualStack => {
                        let asked = stages.iter().filter(|(m, _)| c.scope == Scope::Egress || m.counts);
                        plan.cells.extend(asked.map(|(m, b)| cell(Some(m.id.clone()), b.clone())));
                    }
                }
            }
            plan.jobs.push(jobs(&taken, &stages, &inits));
        }
        Ok(plan)
    }

    /// Leaves out the ways out of every other enforcement model.
    pub fn keep_models(&mut self, models: &[&str]) {
        for jobs in &mut self.jobs {
            jobs.retain(|j| {
                !matches!(j, Job::Egress { model, .. } | Job::Guard { model, .. } | Job::DualStack { model, .. }
                    if !models.contains(&model.id.as_str()))
            });
        }
        self.cells.retain(|c| {
            let model = c.model.as_deref().filter(|_| of_a_model(&c.id));
            model.is_none_or(|m| models.contains(&m))
        });
        self.filtered = true;
    }

    /// Adds the sandbox of the user's seccomp profile where the shipped one's is planned.
    pub fn with_profile(&mut self) {
        for jobs in &mut self.jobs {
            if jobs.contains(&Job::Solo("all-caps-awf")) {
                jobs.push(Job::Solo("profile"));
            }
        }
    }
}

/// Models and backends that apply to a runtime.
fn stages(models: &[Model], runtime: &str, default_runtime: &str) -> Vec<(Model, Option<String>)> {
    let mut stages = Vec::new();
    for m in models {
        // Under the default runtime its own init container is the default one.
        if m.init == InitUnder::Own && runtime == default_runtime {
            continue;
        }
        if m.backends.is_empty() {
            stages.push((m.clone(), None));
        } else {
            stages.extend(m.backends.iter().map(|b| (m.clone(), Some(b.clone()))));
        }
    }
    stages
}

fn jobs(taken: &[&Capability], stages: &[(Model, Option<String>)], inits: &[String]) -> Vec<Job> {
    let conditions = taken.iter().flat_map(|c| c.controls.iter().chain(&c.pass).chain(&c.partial));
    let mut needed: BTreeSet<&str> = conditions.map(|c| c.key.scenario.as_str()).collect();
    // Nothing is judged before identity is proved.
    needed.insert("plain");
    let mut jobs = vec![Job::Solo("plain")];
    let guard = taken.iter().any(|c| c.scope == Scope::Guard);
    if taken.iter().any(|c| c.scope == Scope::Egress) || guard {
        // Controls first: they take part in every verdict.
        if taken.iter().any(|c| c.attempt.starts_with("tamper.")) {
            jobs.push(Job::Tamper);
        }
        let egress = taken.iter().any(|c| c.scope == Scope::Egress);
        // Of a failing guard, `open` is the control.
        for (model, backend) in stages.iter().filter(|(m, _)| egress || m.id == "open") {
            jobs.push(Job::Egress { model: model.clone(), backend: backend.clone(), raw: false });
            if model.id == "open" {
                jobs.push(Job::Egress { model: model.clone(), backend: backend.clone(), raw: true });
            }
        }
    }
    if taken.iter().any(|c| c.scope == Scope::DualStack) {
        for (model, backend) in stages.iter().filter(|(m, _)| m.counts || m.id == "open") {
            let job = |raw| Job::DualStack { model: model.clone(), backend: backend.clone(), raw };
            jobs.push(job(false));
            jobs.extend((model.id == "open").then(|| job(true)));
        }
    }
    if guard {
        let counted = stages.iter().filter(|(m, _)| m.counts);
        jobs.extend(counted.map(|(model, backend)| Job::Guard { model: model.clone(), backend: backend.clone() }));
    }
    if needed.contains("netns") {
        jobs.extend(inits.iter().cloned().map(Job::Netns));
    }
    jobs.extend(DRIVEN.iter().filter(|(s, _)| needed.contains(*s)).map(|(s, _)| Job::Driven(s)));
    jobs.extend(SOLO.iter().filter(|s| **s != "plain" && needed.contains(**s)).map(|s| Job::Solo(s)));
    jobs
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(runtimes: &[&str], only: &[&str]) -> Plan {
        try_plan(runtimes, only).expect("plan")
    }

    fn try_plan(runtimes: &[&str], only: &[&str]) -> Result<Plan, Error> {
        let catalogue = Catalogue::builtin().expect("catalogue");
        let models = awf_probe_matrix::models().expect("models");
        let runtimes: Vec<String> = runtimes.iter().map(|r| (*r).to_owned()).collect();
        let only: Vec<String> = only.iter().map(|r| (*r).to_owned()).collect();
        let filter = Filter::new(&only, &[]).expect("globs");
        Plan::build(&catalogue, &models, &runtimes, "runc", &filter)
    }

    #[test]
    fn what_takes_nothing_names_the_nearest() {
        let help = |only: &str| match try_plan(&["runc"], &[only]) {
            Err(Error::Usage { help, .. }) => help,
            other => panic!("{other:?}"),
        };
        assert!(help("seccomp.erno").starts_with("did you mean 'seccomp.errno'? "));
        assert!(help("egres.tcp.*").starts_with("did you mean 'egress.tcp.*'? "));
        assert!(help("*.nothing.at.all").starts_with("`awf-probe list`"));
    }

    #[test]
    fn a_narrow_question_starts_few_sandboxes() {
        let plan = plan(&["runsc"], &["seccomp.errno"]);
        let names: Vec<String> = plan.jobs[0].iter().map(Job::name).collect();
        assert_eq!(names, ["plain", "marker"]);
    }

    #[test]
    fn the_default_runtime_is_always_tried_as_init() {
        let plan = plan(&["runsc"], &["netns.starts"]);
        let models: Vec<_> = plan.cells.iter().filter_map(|c| c.model.as_deref()).collect();
        assert_eq!(models, ["init=runc", "init=runsc"]);
    }

    #[test]
    fn every_scenario_a_condition_names_is_planned() {
        let plan = plan(&["runc"], &[]);
        let names: BTreeSet<String> = plan.jobs[0].iter().map(Job::name).collect();
        for c in &Catalogue::builtin().expect("catalogue").capabilities {
            for condition in c.controls.iter().chain(&c.pass).chain(&c.partial) {
                let s = &condition.key.scenario;
                let there = names.contains(s) || s == "netns" && names.contains("netns[runc]");
                assert!(there, "{}: no sandbox is called {s}", c.id);
            }
        }
    }
}
