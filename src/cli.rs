//! The command line as it is typed.

use std::{path::PathBuf, sync::Arc, time::Duration};

use clap::{Args, Parser, Subcommand};

use crate::{
    rehearsal::{Rehearsal, Through},
    sabotage::Sabotage,
};

/// Measures what every OCI runtime of a host really does, and which one an agent firewall can trust.
#[derive(Debug, Parser)]
#[command(name = "awf-probe", version, after_help = EXIT_CODES, help_expected = true, propagate_version = true)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// Exit codes, as `--help` shows them.
const EXIT_CODES: &str = "\
Exit codes:
  0  every requirement asked for holds
  1  at least one requirement does not hold
  2  usage: a wrong flag, a bad glob, an unknown capability
  3  nothing failed, but not everything could be told
  4  environment: no engine, unknown runtime, set-up failed, unwritable output";

/// Subcommands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Measure runtimes and judge them.
    #[command(
        after_help = "Examples:\n  awf-probe run\n  awf-probe run --runtime runsc --out report\n  awf-probe run --all --only 'egress.*' --only 'netns.*'\n  awf-probe run --runtime runsc --format html > report.html\n  awf-probe run --runtime runsc --baseline accepted/report.json\n\nFormats: table, json, jsonl, markdown, html, junit, sarif, github, tap. Exit codes: see `awf-probe --help`; with\n--baseline 1 only if something is worse than in the baseline, otherwise 0, or 3 for a run that did not end."
    )]
    Run(RunArgs),
    /// List the capabilities.
    #[command(after_help = "Examples:\n  awf-probe list\n  awf-probe list --format json | jq '.[].id'")]
    List(ListArgs),
    /// Explain a capability: why, how, its control, what a fail means; and what the last run saw.
    #[command(
        after_help = "Examples:\n  awf-probe explain netns.dnat.legacy\n  awf-probe explain egress.tcp.443 --from target/awf-probe"
    )]
    Explain(ExplainArgs),
    /// Rows of features × runtimes, with verdicts and what is still open.
    #[command(
        after_help = "Examples:\n  awf-probe coverage\n  awf-probe coverage --from target/awf-probe --format json"
    )]
    Coverage(CoverageArgs),
    /// The cells that came out otherwise than source code, documentation and issue threads claim.
    #[command(
        after_help = "Examples:\n  awf-probe surprises\n  awf-probe surprises --from target/awf-probe --format json"
    )]
    Surprises(SurprisesArgs),
    /// Judge a journal again, without an engine.
    #[command(
        after_help = "Examples:\n  awf-probe judge --from target/awf-probe/runsc/journal.jsonl\n  awf-probe judge --from journal.jsonl --format html > report.html\n\nExit codes: see `awf-probe --help`; with --baseline as `run` has them."
    )]
    Judge(JudgeArgs),
    /// Try every way out under every enforcement model, and show who gets out and how.
    #[command(
        after_help = "Examples:\n  awf-probe egress --runtime runsc\n  awf-probe egress --runtime runsc --explain 'egress.link.gateway [awf-strict]' --from target/awf-probe\n\nExit codes: see `awf-probe --help`; 0 if R1, R3 and R4 hold under at least one model."
    )]
    Egress(EgressArgs),
    /// What each runtime costs, beside a reference that is measured in the same rounds.
    #[command(
        after_help = "Examples:\n  awf-probe bench\n  awf-probe bench --runtime runsc --suite full --out bench\n  awf-probe bench --runtime runsc --only 'file.*' --precision 2 --budget 10m\n\nExit codes: 0 every comparison could be made, 3 some could not; see `awf-probe --help` for the others. A figure is no\nverdict: nothing here fails for being slow."
    )]
    Bench(BenchArgs),
    /// Bring the agent up with the settings that `select` emits, start it as AWF does, and have it do a real job.
    #[command(
        after_help = "Examples:\n  awf-probe rehearse --runtime runsc\n  awf-probe rehearse --selection selection.json --through engine\n  awf-probe rehearse --runtime runc --out rehearsal target/awf-probe\n\nExit codes: 0 every step and requirement holds, 1 one does not, 3 something could not be told; see `awf-probe --help`\nfor the others."
    )]
    Rehearse(RehearseArgs),
    /// Put defects in on purpose, one at a time, and see whether the verdicts on this host notice them.
    #[command(
        after_help = "Examples:\n  awf-probe selftest\n  awf-probe selftest --runtime runsc --only 'witness-*'\n  awf-probe selftest --format json --out selftest\n\nExit codes: 0 every defect was noticed and no other verdict turned, 1 one was not, or one turned without cause, 3 some\ncannot be shown here because the cells do not pass without the defect either; see `awf-probe --help` for the others."
    )]
    Selftest(SelftestArgs),
    /// What changed between two runs: verdicts, and the versions that may be the cause.
    #[command(
        after_help = "Examples:\n  awf-probe diff old/report.json new/report.json\n  awf-probe diff old/journal.jsonl new --fail-on any --format markdown\n  awf-probe diff runsc-2022 runsc-new --as runsc-2022=runsc-new\n\nExit codes: 0 nothing that --fail-on names, 1 something, 2 usage, 4 unreadable journal."
    )]
    Diff(DiffArgs),
    /// From reports to the runtime AWF should use, with reasons, or a refusal.
    #[command(
        after_help = "Examples:\n  awf-probe select target/awf-probe\n  awf-probe select --policy strict --explain report.json\n  awf-probe select --verify-host --format compose target/awf-probe\n  awf-probe select --rejudge target/awf-probe/journal.jsonl\n\nExit codes: 0 a runtime was chosen, 1 refused; see `awf-probe --help` for the others."
    )]
    Select(SelectArgs),
    /// Select from what is known of this host, and measure only what no valid report is there for.
    #[command(
        after_help = "Examples:\n  awf-probe auto\n  awf-probe auto --policy strict --format json\n  awf-probe auto --runtime runc --runtime gvisor --format compose\n\nReports are kept in $XDG_CACHE_HOME/awf-probe and used again while host, engine, runtimes and catalogue are the same."
    )]
    Auto(AutoArgs),
    /// Print runtimes as the JSON of a GitHub strategy.matrix.
    #[command(after_help = "Examples:\n  awf-probe ci-matrix\n  awf-probe ci-matrix --runtime runc --runtime runsc")]
    CiMatrix(CiMatrixArgs),
    /// One matrix of the reports of many hosts: the same fingerprint merged, different hosts side by side.
    #[command(
        after_help = "Examples:\n  awf-probe matrix host-a host-b/report.json\n  awf-probe matrix --format markdown reports/*.json\n\nExit codes: 0 every report is part of it, 2 usage, 3 at least one was left out; each is named with the reason."
    )]
    Matrix(MatrixArgs),
    /// Check engine, kernel, helper, toolbox and every registered runtime, and say what to do.
    #[command(after_help = "Examples:\n  awf-probe doctor\n  awf-probe doctor --engine podman")]
    Doctor(DoctorArgs),
    /// Remove what runs that were cut off have left.
    #[command(after_help = "Examples:\n  awf-probe clean\n  awf-probe clean --image")]
    Clean(CleanArgs),
    /// Print the completions of a shell.
    #[command(
        after_help = "Examples:\n  awf-probe completions bash > /etc/bash_completion.d/awf-probe\n  awf-probe completions zsh > ~/.zfunc/_awf-probe\n  awf-probe completions fish > ~/.config/fish/completions/awf-probe.fish"
    )]
    Completions(CompletionsArgs),
    /// Print the man page, of awf-probe or of a subcommand; or write all of them.
    #[command(
        after_help = "Examples:\n  awf-probe man | man -l -\n  awf-probe man run | man -l -\n  awf-probe man --out /usr/local/share/man/man1"
    )]
    Man(ManArgs),
    /// The half that runs inside a sandbox.
    #[command(hide = true)]
    Guest,
    /// The same as the first process of a machine.
    #[command(hide = true)]
    Init,
    /// One probe in this process.
    #[command(hide = true)]
    GuestOnce {
        /// Probe id.
        probe: String,
        /// Name of its facts.
        label: String,
        /// Parameters as JSON.
        params: String,
    },
    /// A role of the lab.
    #[command(hide = true)]
    Role {
        /// `helper`, `witness` or `proxy`.
        name: String,
        /// The run it serves, for whoever looks at the process table.
        run: Option<String>,
    },
}

/// The proxy of the lab.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum ProxyEngine {
    /// Squid from the toolbox, or the built-in one where there is none.
    Squid,
    /// The built-in one.
    Builtin,
}

/// How to print a matrix.
#[derive(Debug, Args)]
pub struct Output {
    /// table; json (report-v1), jsonl (its records, a line each); markdown; html (one file for a browser); junit, sarif, tap; github (annotations, and
    /// in a GitHub job the step's summary).
    #[arg(long, default_value = "table", value_name = "FORMAT")]
    pub format: String,
    /// Unfold the families: a row for each capability.
    #[arg(long)]
    pub full: bool,
    /// Only rows that are not all pass.
    #[arg(long)]
    pub only_bad: bool,
}

/// Arguments of `run`.
#[derive(Debug, Args)]
pub struct RunArgs {
    /// A runtime, as Docker knows it or as AWF does (gvisor, kata); may be repeated. Default: the engine's default runtime.
    #[arg(long = "runtime", value_name = "NAME")]
    pub runtimes: Vec<String>,
    /// Every registered runtime.
    #[arg(long, conflicts_with = "runtimes")]
    pub all: bool,
    /// What starts the sandboxes: docker, podman (its Docker-compatible socket), unix:///PATH of another such socket, or
    /// command (the launch commands of runtimes outside Docker; what needs an engine is skipped).
    #[arg(long, value_name = "ENGINE")]
    pub engine: Option<String>,
    /// With --engine command: a file that describes further runtimes by their commands; may be repeated.
    #[arg(long = "describe", value_name = "FILE")]
    pub descriptions: Vec<PathBuf>,
    /// Let containers join a network namespace together with a Kata sandbox, too, which takes its interfaces away.
    #[arg(long)]
    pub allow_disruptive: bool,
    /// Only capabilities whose id matches; may be repeated.
    #[arg(long, value_name = "GLOB")]
    pub only: Vec<String>,
    /// Without capabilities whose id matches; may be repeated.
    #[arg(long, value_name = "GLOB")]
    pub skip: Vec<String>,
    /// Write report.json and journal.jsonl there; one folder per runtime if several are asked for.
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
    /// How many sandboxes are worked on at once.
    #[arg(long, default_value_t = 4, value_name = "N", value_parser = clap::value_parser!(u8).range(1..=64))]
    pub jobs: u8,
    /// The longest one sandbox may take for its probes, such as 90s or 2m.
    #[arg(long, default_value = "120s", value_name = "DURATION", value_parser = duration)]
    pub deadline: Duration,
    /// Which proxy enforces the domain list: squid (what AWF runs; the built-in one where the toolbox has none) or
    /// builtin.
    #[arg(long, default_value = "squid", value_name = "PROXY")]
    pub proxy: ProxyEngine,
    /// Take iptables, squid, capsh and the other tools from this image instead of from the host. The image must be on
    /// the engine already: nothing is pulled.
    #[arg(long, value_name = "REF")]
    pub toolbox_image: Option<String>,
    /// Start this image, too, and tell whether it runs unmodified: its entrypoint, user, working directory, environment
    /// and digest (image.given.*, skipped without it). It must be on the engine already: nothing is pulled.
    #[arg(long, value_name = "REF")]
    pub image: Option<String>,
    /// Try every system call this seccomp profile names, in the Docker Engine's format, and tell whether it is allowed or
    /// refused as declared. Without it the profile of AWF's size that is built in takes its place.
    #[arg(long, value_name = "FILE")]
    pub seccomp_profile: Option<PathBuf>,
    /// Measure so often, one time after the other. A cell that is not the same each time is inconclusive, with what it
    /// came out as and how often; each repetition has its own folder below DIR.
    #[arg(long, default_value_t = 1, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub repeat: u32,
    /// Print the plan and start nothing.
    #[arg(long)]
    pub dry_run: bool,
    /// Print how long each phase took, and the slowest probes.
    #[arg(long)]
    pub timings: bool,
    /// Exit 0 when the measurement completed, whatever the verdicts.
    #[arg(long)]
    pub report_only: bool,
    /// Compare with an earlier run (its folder, report.json or journal.jsonl), and exit 1 only on what is worse.
    #[arg(long, value_name = "PATH")]
    pub baseline: Option<PathBuf>,
    /// How to print the result.
    #[command(flatten)]
    pub output: Output,
    /// A defect put in on purpose; `selftest` sets it.
    #[arg(skip)]
    pub sabotage: Option<&'static Sabotage>,
    /// Without progress.
    #[arg(skip)]
    pub quiet: bool,
    /// Settings that are rehearsed; `rehearse` sets it.
    #[arg(skip)]
    pub rehearsal: Option<Arc<Rehearsal>>,
}

impl RunArgs {
    /// What `awf-probe run` has where nothing is said, for these runtimes and capabilities.
    pub fn asking(runtimes: Vec<String>, only: Vec<String>) -> Self {
        Self {
            runtimes,
            all: false,
            engine: None,
            descriptions: vec![],
            allow_disruptive: false,
            only,
            skip: vec![],
            out: None,
            jobs: 4,
            deadline: Duration::from_secs(120),
            proxy: ProxyEngine::Squid,
            toolbox_image: None,
            image: None,
            seccomp_profile: None,
            repeat: 1,
            dry_run: false,
            timings: false,
            baseline: None,
            report_only: false,
            output: Output { format: "table".to_owned(), full: false, only_bad: false },
            sabotage: None,
            quiet: false,
            rehearsal: None,
        }
    }
}

/// Arguments of `rehearse`.
#[derive(Debug, Args)]
pub struct RehearseArgs {
    /// Folders or report.json of runs to select from. Default: target/awf-probe.
    #[arg(value_name = "REPORT", conflicts_with = "selection")]
    pub reports: Vec<PathBuf>,
    /// A selection.json, as `select --format json` prints it.
    #[arg(long, value_name = "FILE")]
    pub selection: Option<PathBuf>,
    /// This runtime, as Docker knows it, even if another one would be chosen.
    #[arg(long, value_name = "NAME", conflicts_with = "selection")]
    pub runtime: Option<String>,
    /// default, strict, or a policy file.
    #[arg(long, default_value = "default", value_name = "POLICY", conflicts_with = "selection")]
    pub policy: String,
    /// By what the agent is brought up; may be repeated. Default: the engine, and Compose where it is there.
    #[arg(long, value_name = "WAY")]
    pub through: Vec<Through>,
    /// Write report.json, journal.jsonl and rehearsal.json there.
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
    /// text or json.
    #[arg(long, default_value = "text", value_name = "FORMAT")]
    pub format: String,
}

/// Arguments of `selftest`.
#[derive(Debug, Args)]
pub struct SelftestArgs {
    /// The runtime to do it with. Default: the engine's default runtime.
    #[arg(long, value_name = "NAME")]
    pub runtime: Option<String>,
    /// Only defects whose name matches; may be repeated.
    #[arg(long, value_name = "GLOB")]
    pub only: Vec<String>,
    /// Write the journal of each run there, in a folder of the defect's name.
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
    /// text or json.
    #[arg(long, default_value = "text", value_name = "FORMAT")]
    pub format: String,
}

/// Arguments of `egress`.
#[derive(Debug, Args)]
pub struct EgressArgs {
    /// A runtime, as Docker knows it or as AWF does. Default: the engine's default runtime.
    #[arg(long, value_name = "NAME")]
    pub runtime: Option<String>,
    /// Show one cell's evidence line by line: `ID`, or `ID [MODEL]` as the table of `run` names it.
    #[arg(long, value_name = "CELL")]
    pub explain: Option<String>,
    /// Measure nothing: read a report.json, or the folder that holds it.
    #[arg(long, value_name = "PATH")]
    pub from: Option<PathBuf>,
    /// Write report.json and journal.jsonl there.
    #[arg(long, value_name = "DIR", conflicts_with = "from")]
    pub out: Option<PathBuf>,
    /// How many sandboxes are worked on at once.
    #[arg(long, default_value_t = 4, value_name = "N", value_parser = clap::value_parser!(u8).range(1..=64))]
    pub jobs: u8,
    /// Which proxy enforces the domain list.
    #[arg(long, default_value = "squid", value_name = "PROXY")]
    pub proxy: ProxyEngine,
    /// Measure so often; an attempt that does not end the same each time is inconclusive, with its counts.
    #[arg(long, default_value_t = 1, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1000), conflicts_with = "from")]
    pub repeat: u32,
}

/// Which benches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Suite {
    /// The life of a sandbox, its memory, and one bench of each kind inside.
    Quick,
    /// All of them.
    Full,
}

/// Arguments of `bench`.
#[derive(Debug, Args)]
pub struct BenchArgs {
    /// A runtime to compare, as Docker knows it or as AWF does; may be repeated. Default: every registered one. The
    /// reference itself may be named, too.
    #[arg(long = "runtime", value_name = "NAME")]
    pub runtimes: Vec<String>,
    /// The runtime to compare with.
    #[arg(long, default_value = "runc", value_name = "NAME")]
    pub reference: String,
    /// Which benches.
    #[arg(long, default_value = "quick", value_name = "SUITE")]
    pub suite: Suite,
    /// Only benches whose id matches; may be repeated.
    #[arg(long, value_name = "GLOB")]
    pub only: Vec<String>,
    /// Without benches whose id matches; may be repeated.
    #[arg(long, value_name = "GLOB")]
    pub skip: Vec<String>,
    /// How long the rounds may take. Default: 3m for the quick suite, 45m for the full one.
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    pub budget: Option<Duration>,
    /// A bench is through when half its interval is no more than this many percent of the ratio.
    #[arg(long, default_value_t = 5.0, value_name = "PERCENT", value_parser = percent)]
    pub precision: f32,
    /// Take git, npm, curl, the compiler and squid from this image instead of from the host. The image must be on the
    /// engine already: nothing is pulled.
    #[arg(long, value_name = "REF")]
    pub toolbox_image: Option<String>,
    /// text, markdown, html or json.
    #[arg(long, default_value = "text", value_name = "FORMAT")]
    pub format: String,
    /// Write bench.json, bench.md and bench.html there.
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
}

/// Arguments of `list`.
#[derive(Debug, Args)]
pub struct ListArgs {
    /// text or json.
    #[arg(long, default_value = "text", value_name = "FORMAT")]
    pub format: String,
}

/// Arguments of `explain`.
#[derive(Debug, Args)]
pub struct ExplainArgs {
    /// Capability id.
    pub id: String,
    /// Folder or report.json of a run.
    #[arg(long, default_value = "target/awf-probe", value_name = "PATH")]
    pub from: PathBuf,
}

/// Arguments of `coverage`.
#[derive(Debug, Args)]
pub struct CoverageArgs {
    /// Folder or report.json of a run.
    #[arg(long, default_value = "target/awf-probe", value_name = "PATH")]
    pub from: PathBuf,
    /// text or json.
    #[arg(long, default_value = "text", value_name = "FORMAT")]
    pub format: String,
}

/// Arguments of `surprises`.
#[derive(Debug, Args)]
pub struct SurprisesArgs {
    /// Folder or report.json of a run.
    #[arg(long, default_value = "target/awf-probe", value_name = "PATH")]
    pub from: PathBuf,
    /// text or json.
    #[arg(long, default_value = "text", value_name = "FORMAT")]
    pub format: String,
}

/// Arguments of `judge`.
#[derive(Debug, Args)]
pub struct JudgeArgs {
    /// journal.jsonl of a run.
    #[arg(long, value_name = "JOURNAL")]
    pub from: PathBuf,
    /// Compare with an earlier run (its folder, report.json or journal.jsonl), and exit 1 only on what is worse.
    #[arg(long, value_name = "PATH")]
    pub baseline: Option<PathBuf>,
    /// How to print the result.
    #[command(flatten)]
    pub output: Output,
}

/// What makes `diff` exit 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum FailOn {
    /// Anything worse than before: what fails now and did not, and what held and is gone or cannot be told any more.
    Regressions,
    /// Any difference of a cell or a requirement.
    Any,
    /// Nothing.
    None,
}

/// Arguments of `diff`.
#[derive(Debug, Args)]
pub struct DiffArgs {
    /// The first run: its folder, report.json or journal.jsonl.
    pub before: PathBuf,
    /// The second run.
    pub after: PathBuf,
    /// Compare the first run's runtime BEFORE with the second's AFTER: versions that are registered under two names.
    /// May be repeated, for the runtimes of init containers, too.
    #[arg(long = "as", value_name = "BEFORE=AFTER")]
    pub renamed: Vec<String>,
    /// What makes the exit code 1.
    #[arg(long, default_value = "regressions", value_name = "WHAT")]
    pub fail_on: FailOn,
    /// text, markdown or json.
    #[arg(long, default_value = "text", value_name = "FORMAT")]
    pub format: String,
}

/// How a selection is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum SelectFormat {
    /// For people.
    Text,
    /// selection.json.
    Json,
    /// AWF's configuration file.
    AwfConfig,
    /// The records of AWF's runtime registry.
    Registry,
    /// A Compose override for the agent.
    Compose,
}

/// What is asked of the runtime to be chosen.
#[derive(Clone, Debug, Args)]
pub struct Asked {
    /// default, strict, or a policy file.
    #[arg(long, default_value = "default", value_name = "POLICY")]
    pub policy: String,
    /// A capability that must pass beside those of R1–R7; may be repeated.
    #[arg(long, value_name = "ID")]
    pub require: Vec<String>,
    /// Reports older than this are not used, such as 90s, 30m, 24h or 7d. Default: the policy's.
    #[arg(long, value_name = "DURATION")]
    pub max_age: Option<String>,
    /// A bench.json of this host: where nothing else tells two runtimes apart, the one that costs less is chosen.
    #[arg(long, value_name = "FILE")]
    pub bench: Option<PathBuf>,
    /// How to print the answer.
    #[arg(long, default_value = "text", value_name = "FORMAT")]
    pub format: SelectFormat,
    /// Print every cell that the answer rests on.
    #[arg(long)]
    pub explain: bool,
}

/// Arguments of `select`.
#[derive(Debug, Args)]
pub struct SelectArgs {
    /// Folders or report.json of runs. Default: target/awf-probe.
    #[arg(value_name = "REPORT")]
    pub reports: Vec<PathBuf>,
    /// What is asked of the runtime.
    #[command(flatten)]
    pub asked: Asked,
    /// Compare the reports with this host as it is now.
    #[arg(long)]
    pub verify_host: bool,
    /// Refuse a report without a MAC of this host beside it.
    #[arg(long)]
    pub require_mac: bool,
    /// Judge this journal again and use its cells; may be repeated.
    #[arg(long, value_name = "JOURNAL")]
    pub rejudge: Vec<PathBuf>,
}

/// Arguments of `auto`.
#[derive(Debug, Args)]
pub struct AutoArgs {
    /// A runtime to consider; may be repeated. Default: every registered one.
    #[arg(long = "runtime", value_name = "NAME")]
    pub runtimes: Vec<String>,
    /// What is asked of the runtime.
    #[command(flatten)]
    pub asked: Asked,
}

/// Arguments of `ci-matrix`.
#[derive(Debug, Args)]
pub struct CiMatrixArgs {
    /// A runtime; may be repeated, and needs no engine. Default: every registered one.
    #[arg(long = "runtime", value_name = "NAME")]
    pub runtimes: Vec<String>,
}

/// Arguments of `matrix`.
#[derive(Debug, Args)]
pub struct MatrixArgs {
    /// report.json files of `run --out`, or the folders that hold them.
    #[arg(required = true, value_name = "REPORT")]
    pub reports: Vec<PathBuf>,
    /// text, markdown or json.
    #[arg(long, default_value = "text", value_name = "FORMAT")]
    pub format: String,
    /// Cells that are the same everywhere, and controls, too.
    #[arg(long)]
    pub full: bool,
}

/// Arguments of `completions`.
#[derive(Debug, Args)]
pub struct CompletionsArgs {
    /// The shell.
    pub shell: clap_complete::Shell,
}

/// Arguments of `man`.
#[derive(Debug, Args)]
pub struct ManArgs {
    /// A subcommand. Default: awf-probe itself.
    #[arg(value_name = "COMMAND", conflicts_with = "out")]
    pub command: Option<String>,
    /// Write every page there.
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
}

/// Arguments of `doctor`.
#[derive(Debug, Args)]
pub struct DoctorArgs {
    /// docker, podman, or unix:///PATH.
    #[arg(long, value_name = "ENGINE")]
    pub engine: Option<String>,
}

/// Arguments of `clean`.
#[derive(Debug, Args)]
pub struct CleanArgs {
    /// docker, podman, unix:///PATH; or command, which needs no engine.
    #[arg(long, value_name = "ENGINE")]
    pub engine: Option<String>,
    /// The probe images too.
    #[arg(long)]
    pub image: bool,
}

/// A percentage above 0, up to 100.
fn percent(text: &str) -> Result<f32, String> {
    let number: Option<f32> = text.trim_end_matches('%').parse().ok();
    number.filter(|n| *n > 0.0 && *n <= 100.0).ok_or_else(|| "use a number above 0, up to 100".to_owned())
}

/// `90s`, `2m`, `1500ms`.
pub fn duration(text: &str) -> Result<Duration, String> {
    let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let (number, unit) = text.split_at(digits);
    let number: u64 = number.parse().map_err(|_| "use a number and a unit, such as 90s".to_owned())?;
    let duration = match unit {
        "ms" => Duration::from_millis(number),
        "s" | "" => Duration::from_secs(number),
        "m" => Duration::from_secs(number.saturating_mul(60)),
        "h" => Duration::from_secs(number.saturating_mul(3600)),
        _ => return Err(format!("{unit:?} is no unit; use ms, s, m or h")),
    };
    if duration.is_zero() { Err("it must be longer than nothing".to_owned()) } else { Ok(duration) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read() {
        assert_eq!(duration("90s"), Ok(Duration::from_secs(90)));
        assert_eq!(duration("2m"), Ok(Duration::from_secs(120)));
        assert!(duration("soon").is_err());
        assert!(duration("0s").is_err());
    }
}
