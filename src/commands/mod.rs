//! One file per subcommand.

use std::io::{IsTerminal, Write};

use awf_probe_matrix::{Catalogue, Matrix, Model, Product, models, products, select::nearest};
use awf_probe_reports::{Format, Style, render};

use crate::{
    cli::{Cli, Command, Output},
    error::{Error, Exit},
};

pub mod auto;
pub mod baseline;
pub mod bench;
pub mod ci_matrix;
pub mod clean;
pub mod coverage;
pub mod diff;
pub mod doctor;
pub mod egress;
pub mod explain;
pub mod judge;
pub mod launch;
pub mod list;
pub mod matrix;
pub mod rehearse;
pub mod run;
pub mod select;
pub mod selftest;
pub mod shell;
pub mod surprises;
mod timings;
pub mod written;

/// Runs a command that needs the harness.
pub async fn dispatch(cli: Cli) -> Result<Exit, Error> {
    match cli.command {
        Command::Run(args) => run::run(args).await,
        Command::List(args) => list::run(&args),
        Command::Explain(args) => explain::run(&args),
        Command::Coverage(args) => coverage::run(&args),
        Command::Surprises(args) => surprises::run(&args),
        Command::Judge(args) => judge::run(args).await,
        Command::Bench(args) => bench::run(args).await,
        Command::Egress(args) => egress::run(args).await,
        Command::Diff(args) => diff::run(&args),
        Command::Auto(args) => auto::run(args).await,
        Command::CiMatrix(args) => ci_matrix::run(args).await,
        Command::Rehearse(args) => rehearse::run(args).await,
        Command::Selftest(args) => selftest::run(args).await,
        Command::Select(args) => select::run(args).await,
        Command::Matrix(args) => matrix::run(&args),
        Command::Completions(args) => shell::completions(&args),
        Command::Man(args) => shell::man(&args),
        Command::Doctor(args) => doctor::run(&args).await,
        Command::Clean(args) => clean::run(&args).await,
        Command::Guest | Command::Init | Command::GuestOnce { .. } | Command::Role { .. } => {
            Err(Error::Bug("a guest's command reached the harness".to_owned()))
        }
    }
}

/// The compiled-in data.
#[derive(Debug)]
pub struct Data {
    /// Capabilities and requirements.
    pub catalogue: Catalogue,
    /// Enforcement models.
    pub models: Vec<Model>,
    /// Known products.
    pub products: Vec<Product>,
}

impl Data {
    /// Reads it. A failure is a defect of the build.
    pub fn load() -> Result<Self, Error> {
        let bug = |e: &dyn std::fmt::Display| Error::Bug(e.to_string());
        Ok(Self {
            catalogue: Catalogue::builtin().map_err(|e| bug(&e))?,
            models: models().map_err(|e| bug(&e))?,
            products: products().map_err(|e| bug(&e))?,
        })
    }
}

/// The format asked for.
pub fn format(output: &Output) -> Result<Format, Error> {
    output.format.parse().map_err(|e: awf_probe_reports::UnknownFormat| Error::Usage {
        why: e.to_string(),
        help: "`awf-probe run --help` says what each format is for".to_owned(),
    })
}

/// The refusal of a format by a command that has its own, which are named in words.
fn no_format(given: &str, command: &str, known: &str) -> Error {
    let words: Vec<&str> = known.split([',', ' ']).filter(|w| !w.is_empty() && *w != "or").collect();
    let near = nearest(given, &words).map(|n| format!("did you mean {n}? ")).unwrap_or_default();
    Error::Usage { why: format!("{given:?} is no format of {command}"), help: format!("{near}use --format {known}") }
}

/// Renders a matrix for stdout.
pub fn rendered(matrix: &Matrix, data: &Data, output: &Output, format: Format) -> Result<String, Error> {
    let terminal = std::io::stdout().is_terminal();
    let set = |name: &str| std::env::var_os(name).is_some_and(|v| !v.is_empty());
    let dumb = std::env::var("TERM").is_ok_and(|t| t == "dumb");
    let style = Style {
        colour: terminal && !dumb && !set("NO_COLOR"),
        width: width(terminal),
        full: output.full,
        only_bad: output.only_bad,
    };
    render(matrix, &data.catalogue, format, style).map_err(|e| Error::Bug(e.to_string()))
}

/// Prints a matrix. Annotations of GitHub Actions come with the summary of the job's step, in Markdown.
pub fn show(matrix: &Matrix, data: &Data, output: &Output, format: Format) -> Result<(), Error> {
    print(&rendered(matrix, data, output, format)?)?;
    let summary = std::env::var_os("GITHUB_STEP_SUMMARY").filter(|path| !path.is_empty());
    match (format, summary) {
        (Format::Github, Some(path)) if std::env::var_os("GITHUB_ACTIONS").is_some_and(|v| v == "true") => {
            let path = std::path::PathBuf::from(path);
            let text = rendered(matrix, data, output, Format::Markdown)?;
            let file = std::fs::OpenOptions::new().append(true).create(true).open(&path);
            file.and_then(|mut f| f.write_all(text.as_bytes())).map_err(|e| Error::unwritable(&path, &e))
        }
        (_, _) => Ok(()),
    }
}

fn width(terminal: bool) -> usize {
    let columns = std::env::var("COLUMNS").ok().and_then(|c| c.parse().ok());
    let measured = || {
        // SAFETY: the structure is plain data and the call writes within it.
        unsafe {
            let mut size: libc::winsize = std::mem::zeroed();
            let ok = libc::ioctl(libc::STDOUT_FILENO, libc::TIOCGWINSZ, &raw mut size) == 0;
            (ok && size.ws_col > 0).then_some(usize::from(size.ws_col))
        }
    };
    columns.or_else(|| if terminal { measured() } else { None }).unwrap_or(120).clamp(60, 400)
}

/// Writes a result to stdout. A closed pipe is not an error: the reader has seen enough.
pub fn print(text: &str) -> Result<(), Error> {
    let mut out = std::io::stdout().lock();
    let written = out.write_all(text.as_bytes()).and_then(|()| out.flush());
    match written {
        Err(e) if e.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(Error::unwritable(std::path::Path::new("standard output"), &e))
        }
        Ok(()) | Err(_) => Ok(()),
    }
}
