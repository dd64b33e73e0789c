//! What auto mode makes of a measurement.

use std::collections::BTreeMap;

use awf_probe_matrix::select::{POLICIES, Policy, Question, Source, instant, mitigations, registry_fields, select};

use super::Of;
use crate::{
    ReportError,
    markdown::{code, escape},
    selection::{OutcomeV1, SelectionV1, selection},
};

impl Of<'_> {
    /// What auto mode says to this report alone, at the time it was made.
    pub(super) fn choice(&self) -> Result<String, ReportError> {
        let mut out = "\n### What `select` says\n\n".to_owned();
        if self.measured.matrix.run.catalogue != self.catalogue.hash {
            out.push_str("It takes no report that another catalogue judged: measure again.\n");
            return Ok(out);
        }
        let s = self.ask()?;
        if s.outcome == OutcomeV1::Refused {
            out.push_str(&format!("It refuses: {}\n", code(s.refusal.as_deref().unwrap_or("no reason is given"))));
            for r in &s.rejected {
                let model = r.model.as_ref().map(|m| format!(" under {}", code(m))).unwrap_or_default();
                out.push_str(&format!("\n- {}{model}: {}\n", escape(&r.requirement), code(&r.reason)));
            }
            return Ok(out);
        }
        let models = s.enforcement_models.iter().map(|m| {
            let name = m.backend.as_ref().map_or_else(|| m.model.clone(), |b| format!("{}/{b}", m.model));
            let ids: Vec<String> = m.mitigations.iter().map(|m| code(&m.id)).collect();
            let with = if ids.is_empty() { "as it is".to_owned() } else { format!("with {}", ids.join(", ")) };
            format!("{} {with}", code(&name))
        });
        let models: Vec<String> = models.collect();
        out.push_str("With the policy `default`, asked of this report alone. Models it may be used with, the one to take first:\n\n");
        models.iter().for_each(|m| out.push_str(&format!("1. {m}\n")));
        if let Some(first) = s.enforcement_models.first().filter(|m| !m.mitigations.is_empty()) {
            out.push_str("\nWhat AWF must do for it under the first:\n\n");
            for m in &first.mitigations {
                out.push_str(&format!(
                    "- {}: {}; because {} is {}\n",
                    code(&m.id),
                    escape(&m.title),
                    code(&m.because.cell),
                    escape(&m.because.verdict)
                ));
            }
        }
        if let Some(awf) = &s.awf {
            let config = serde_json::to_string_pretty(&awf.config)?;
            out.push_str(&format!("\nAWF's configuration file:\n\n```json\n{config}\n```\n"));
            let said: Vec<String> =
                awf.flags.iter().map(|f| code(f)).chain(awf.notes.iter().map(|n| escape(n))).collect();
            if !said.is_empty() {
                out.push_str("\nWhat it cannot say:\n\n");
                said.iter().for_each(|s| out.push_str(&format!("- {s}\n")));
            }
        }
        Ok(out)
    }

    fn ask(&self) -> Result<SelectionV1, ReportError> {
        let bug = |e: &dyn std::fmt::Display| ReportError::Models(e.to_string());
        let (mitigations, fields) = (mitigations().map_err(|e| bug(&e))?, registry_fields().map_err(|e| bug(&e))?);
        let text = POLICIES.iter().find(|(n, _)| *n == "default").map(|(_, t)| *t).unwrap_or_default();
        let policy = Policy::parse(text, self.catalogue, &self.view.models, &mitigations).map_err(|e| bug(&e))?;
        let matrix = &self.measured.matrix;
        let question = Question {
            catalogue: self.catalogue,
            models: &self.view.models,
            mitigations: &mitigations,
            fields: &fields,
            policy: &policy,
            require: &[],
            now: instant(&matrix.run.started).unwrap_or_default(),
            max_age: policy.max_age,
            live: None,
            costs: &BTreeMap::new(),
        };
        let source = Source { name: self.measured.file.clone(), content: Ok(matrix.clone()) };
        selection(&select(&[source], &question), &question)
    }
}
