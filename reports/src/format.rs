//! What a caller chooses: the format, and how it should look.

use std::{fmt, str::FromStr};

/// A format of the report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// For people, in a terminal.
    Table,
    /// For machines: `awf-probe/report-v1`.
    Json,
    /// For people, in a pull request or a job summary.
    Markdown,
    /// For people, in a browser: one file that needs nothing else.
    Html,
    /// For machines that read one record at a time.
    Jsonl,
    /// For the test views of CI systems.
    Junit,
    /// For code scanning: SARIF 2.1.0.
    Sarif,
    /// For GitHub Actions: annotations.
    Github,
    /// For test harnesses: TAP version 14.
    Tap,
}

impl Format {
    /// All formats, the default first.
    pub const ALL: [Self; 9] = [
        Self::Table,
        Self::Json,
        Self::Jsonl,
        Self::Markdown,
        Self::Html,
        Self::Junit,
        Self::Sarif,
        Self::Github,
        Self::Tap,
    ];

    /// The name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Table => "table",
            Self::Json => "json",
            Self::Markdown => "markdown",
            Self::Html => "html",
            Self::Jsonl => "jsonl",
            Self::Junit => "junit",
            Self::Sarif => "sarif",
            Self::Github => "github",
            Self::Tap => "tap",
        }
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Format {
    type Err = UnknownFormat;

    fn from_str(text: &str) -> Result<Self, UnknownFormat> {
        let found = Self::ALL.into_iter().find(|f| f.name() == text);
        found.ok_or_else(|| {
            let scored = Self::ALL.into_iter().map(|f| (strsim::jaro_winkler(&text.to_lowercase(), f.name()), f));
            let nearest = scored.filter(|(score, _)| *score >= 0.7).max_by(|a, b| a.0.total_cmp(&b.0));
            UnknownFormat { given: text.to_owned(), nearest: nearest.map(|(_, f)| f) }
        })
    }
}

/// A format that does not exist.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct UnknownFormat {
    /// What was asked for.
    pub given: String,
    /// What may have been meant.
    pub nearest: Option<Format>,
}

impl fmt::Display for UnknownFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "unknown format {:?}", self.given)?;
        if let Some(nearest) = self.nearest {
            write!(f, "; did you mean {:?}?", nearest.name())?;
        }
        let names: Vec<&str> = Format::ALL.into_iter().map(Format::name).collect();
        write!(f, " (formats: {})", names.join(", "))
    }
}

/// How a report for people should look; only the formats for people heed it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Style {
    /// Whether ANSI colours are written (table only).
    pub colour: bool,
    /// Columns of the terminal (table only); less than 40 is taken as 40.
    pub width: usize,
    /// Whether every capability has a row of its own, and reasons are never cut.
    pub full: bool,
    /// Whether rows are hidden in which everything passes or is not applicable; in HTML, until the reader asks for them.
    pub only_bad: bool,
}

impl Default for Style {
    fn default() -> Self {
        Self { colour: false, width: 80, full: false, only_bad: false }
    }
}
