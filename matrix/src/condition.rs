//! The little language in which the catalogue says what an observation must look like.
//!
//! `SCENARIO/FACT[@SOURCE] = WANT [| WANT]…`, for example
//! `awf/procfs.hidepid = refused:ENOENT,EACCES` or `netfilter/legacy.drop@witness = unseen`.

use std::{fmt, str::FromStr};

use crate::Outcome;

/// Who observed a fact.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Source {
    /// The guest inside the sandbox.
    Guest,
    /// The container that plays the Internet.
    Witness,
    /// The proxy's own packet ledger.
    Proxy,
    /// The Docker Engine.
    Engine,
    /// The host: its process table, its interfaces.
    Host,
}

impl Source {
    /// The word used in conditions and evidence.
    pub fn word(self) -> &'static str {
        match self {
            Self::Guest => "guest",
            Self::Witness => "witness",
            Self::Proxy => "proxy",
            Self::Engine => "engine",
            Self::Host => "host",
        }
    }
}

/// Names one observation: which scenario, which fact, who saw it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Key {
    /// The sandbox spec or scenario (`awf`, `plain`, `netns`).
    pub scenario: String,
    /// The fact's name.
    pub fact: String,
    /// Who saw it.
    pub source: Source,
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.scenario, self.fact)?;
        if self.source == Source::Guest { Ok(()) } else { write!(f, "@{}", self.source.word()) }
    }
}

/// One acceptable form of an outcome.
#[derive(Clone, Debug, PartialEq)]
pub enum Want {
    /// It happened (`allowed`, `arrived`).
    Allowed,
    /// It was refused, with one of these errnos if any are named (`refused`, `refused:EPERM,EACCES`, `unseen`).
    Refused(Vec<String>),
    /// The process was killed (`killed`).
    Killed,
    /// Nothing came back (`timed-out`).
    TimedOut,
    /// Exactly this value (`is:TEXT`).
    Is(String),
    /// Any value but this (`is-not:TEXT`).
    IsNot(String),
    /// A number of at least this (`at-least:N`).
    AtLeast(f64),
    /// A number of at most this (`at-most:N`).
    AtMost(f64),
}

impl Want {
    /// Whether an outcome has this form.
    pub fn matches(&self, outcome: &Outcome) -> bool {
        match (self, outcome) {
            (Self::Allowed, Outcome::Allowed { .. }) | (Self::Killed, Outcome::Killed { .. }) => true,
            (Self::TimedOut, Outcome::TimedOut { .. }) => true,
            (Self::Refused(names), Outcome::Refused { errno, .. }) => {
                names.is_empty() || names.iter().any(|n| n == errno)
            }
            (Self::Is(text), Outcome::Value { value }) => value == text,
            (Self::IsNot(text), Outcome::Value { value }) => value != text,
            (Self::AtLeast(n), Outcome::Value { value }) => value.parse::<f64>().is_ok_and(|v| v >= *n),
            (Self::AtMost(n), Outcome::Value { value }) => value.parse::<f64>().is_ok_and(|v| v <= *n),
            (
                Self::Allowed
                | Self::Refused(_)
                | Self::Killed
                | Self::TimedOut
                | Self::Is(_)
                | Self::IsNot(_)
                | Self::AtLeast(_)
                | Self::AtMost(_),
                _,
            ) => false,
        }
    }
}

impl fmt::Display for Want {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Allowed => write!(f, "allowed"),
            Self::Refused(names) if names.is_empty() => write!(f, "refused"),
            Self::Refused(names) => write!(f, "refused: {}", names.join(" or ")),
            Self::Killed => write!(f, "killed"),
            Self::TimedOut => write!(f, "nothing came back"),
            Self::Is(text) => write!(f, "{text}"),
            Self::IsNot(text) => write!(f, "anything but {text}"),
            Self::AtLeast(n) => write!(f, "at least {n}"),
            Self::AtMost(n) => write!(f, "at most {n}"),
        }
    }
}

/// An observation and the forms it may take.
#[derive(Clone, Debug, PartialEq)]
pub struct Condition {
    /// Which observation.
    pub key: Key,
    /// Any of these will do.
    pub wants: Vec<Want>,
}

impl Condition {
    /// Whether the outcome has one of the wanted forms.
    pub fn holds(&self, outcome: &Outcome) -> bool {
        self.wants.iter().any(|w| w.matches(outcome))
    }

    /// The wanted forms in words.
    pub fn wanted(&self) -> String {
        self.wants.iter().map(ToString::to_string).collect::<Vec<_>>().join(", or ")
    }
}

/// A condition that cannot be read.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
#[error("cannot read condition {text:?}: {why}")]
pub struct ConditionError {
    text: String,
    why: String,
}

impl FromStr for Condition {
    type Err = ConditionError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let err = |why: &str| ConditionError { text: text.to_owned(), why: why.to_owned() };
        let (left, right) = text.split_once(" = ").ok_or_else(|| err("no ` = `"))?;
        let (scenario, rest) = left.trim().split_once('/').ok_or_else(|| err("no `/` after the scenario"))?;
        let (fact, source) = match rest.split_once('@') {
            None => (rest, Source::Guest),
            Some((fact, "witness")) => (fact, Source::Witness),
            Some((fact, "proxy")) => (fact, Source::Proxy),
            Some((fact, "engine")) => (fact, Source::Engine),
            Some((fact, "host")) => (fact, Source::Host),
            Some((_, _)) => return Err(err("the source is none of witness, proxy, engine, host")),
        };
        let wants = right.split(" | ").map(|w| want(w.trim()).ok_or_else(|| err("unknown form")));
        Ok(Self {
            key: Key { scenario: scenario.to_owned(), fact: fact.to_owned(), source },
            wants: wants.collect::<Result<_, _>>()?,
        })
    }
}

fn want(text: &str) -> Option<Want> {
    let (word, rest) = text.split_once(':').map_or((text, None), |(w, r)| (w, Some(r)));
    Some(match (word, rest) {
        ("allowed" | "arrived", None) => Want::Allowed,
        ("refused", None) => Want::Refused(Vec::new()),
        ("refused", Some(names)) => Want::Refused(names.split(',').map(|n| n.trim().to_owned()).collect()),
        ("unseen", None) => Want::Refused(vec!["unseen".to_owned()]),
        ("killed", None) => Want::Killed,
        ("timed-out", None) => Want::TimedOut,
        ("is", Some(value)) => Want::Is(value.to_owned()),
        ("is-not", Some(value)) => Want::IsNot(value.to_owned()),
        ("at-least", Some(n)) => Want::AtLeast(n.parse().ok()?),
        ("at-most", Some(n)) => Want::AtMost(n.parse().ok()?),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_the_catalogue_writes() {
        let c: Condition = "netfilter/legacy.drop@witness = unseen".parse().expect("valid");
        assert_eq!(c.key.source, Source::Witness);
        assert!(c.holds(&Outcome::refused("unseen", "")));
        assert!(!c.holds(&Outcome::refused("EPERM", "")));
        let c: Condition = "awf/a = refused:EPERM,EACCES | timed-out".parse().expect("valid");
        assert!(c.holds(&Outcome::refused("EACCES", "")));
        assert!(c.holds(&Outcome::TimedOut { after_ms: 1, detail: String::new() }));
        assert!(!c.holds(&Outcome::allowed("")));
    }

    #[test]
    fn refuses_what_it_does_not_know() {
        for bad in ["awf/a", "a = allowed", "awf/a = fine", "awf/a@moon = allowed", "awf/a = at-least:x"] {
            assert!(bad.parse::<Condition>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_broken_probe_satisfies_nothing() {
        let wants = [
            Want::Allowed,
            Want::Refused(vec![]),
            Want::Killed,
            Want::TimedOut,
            Want::Is("x".into()),
            Want::IsNot("x".into()),
            Want::AtLeast(0.0),
            Want::AtMost(0.0),
        ];
        for want in wants {
            assert!(!want.matches(&Outcome::broken("x")), "{want}");
            assert!(!want.matches(&Outcome::Absent { why: "x".into() }), "{want}");
        }
    }
}
