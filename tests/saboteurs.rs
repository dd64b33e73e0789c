//! Saboteur runtimes: runc with one defect each. A check that a defect in its own field does not turn is no check,
//! and one that a defect elsewhere turns is a wrong one.
//!
//! This executable is both the test and the runtime: the engine is told its path under a name of the test's own, and
//! the name it is called by says which defect to have (`saboteurs/wrapper.rs`). The defects are in `saboteurs/table.rs`,
//! the cells each must break and no other in `saboteurs/breaks.toml`, which is read when the test runs.
//!
//! `cargo test --release --test saboteurs -- NAME` measures what matches only. What was measured stays below
//! `target/tmp/saboteurs`, and is not measured again while awf-probe and the defect are the same; an interruption loses
//! the run under way. `AWF_PROBE_SABOTEURS` is a list of `full` (the egress, netns, guard and compose cells of every
//! saboteur, also of those whose defect cannot reach them), `again` (also what was measured before), `saved` (no
//! engine: the journals on disk are judged by the catalogue of now), and names of parts (`sandbox`, `egress`, `netns`,
//! `guard`, `compose`: these alone, and what is expected of others is not looked for).

use std::process::ExitCode;

use libtest_mimic::{Arguments, Failed, Trial};
use measure::Mode;

#[path = "saboteurs/breaks.rs"]
mod breaks;
#[path = "saboteurs/edits.rs"]
mod edits;
#[path = "saboteurs/guest.rs"]
mod guest;
#[path = "saboteurs/kills.rs"]
mod kills;
#[path = "saboteurs/measure.rs"]
mod measure;
#[path = "saboteurs/registry.rs"]
mod registry;
#[path = "saboteurs/store.rs"]
mod store;
#[path = "saboteurs/table.rs"]
mod table;
#[path = "saboteurs/wrapper.rs"]
mod wrapper;

fn main() -> ExitCode {
    let argv: Vec<String> = std::env::args().collect();
    if argv.get(1).is_some_and(|a| a == guest::FLAG) {
        return guest::main(&argv[2..]);
    }
    if let Some(name) = wrapper::called_as(&argv[0]) {
        return wrapper::main(&name, &argv[1..]);
    }
    let args = Arguments::from_args();
    let mut trials = table_trials();
    let asked: Vec<&'static table::Saboteur> =
        table::SABOTEURS.iter().filter(|s| wanted(&args, &format!("saboteur::{}", s.name))).collect();
    if args.list || asked.is_empty() {
        trials.extend(asked.iter().map(|s| Trial::test(format!("saboteur::{}", s.name), || Ok(()))));
        return libtest_mimic::run(&args, trials).exit_code();
    }
    let compared = breaks::load().and_then(|b| Ok((measure::measure(&asked, &Mode::of_environment()?)?, b)));
    match compared {
        Ok((kills, breaks)) => {
            kills.print(&breaks);
            trials.extend(kills.trials(&breaks));
        }
        // An engine that does not answer is a failure, not a reason to test nothing; no filter takes this away.
        Err(why) => {
            complain(&why);
            return ExitCode::FAILURE;
        }
    }
    libtest_mimic::run(&args, trials).exit_code()
}

#[expect(clippy::print_stderr, reason = "a test reports there")]
fn complain(why: &str) {
    eprintln!("the saboteurs could not be compared: {why}");
}

/// What can be said of the table without an engine.
fn table_trials() -> Vec<Trial> {
    let check = |name: &str, check: fn() -> Result<(), String>| {
        Trial::test(format!("table::{name}"), move || check().map_err(Failed::from))
    };
    vec![
        check("names_are_unique_and_hold_no_product", || {
            for (i, s) in table::SABOTEURS.iter().enumerate() {
                let twice = table::SABOTEURS[..i].iter().any(|t| t.name == s.name);
                let product = ["runc", "runsc", "crun", "kata", "youki"].iter().any(|p| s.name.starts_with(p));
                if twice
                    || product
                    || !s.name.bytes().all(|b| b.is_ascii_lowercase() || b == b'-' || b.is_ascii_digit())
                {
                    return Err(format!("{}: a name is used once, is lower case and names no product", s.name));
                }
            }
            Ok(())
        }),
        check("lies_are_told", guest::lies_are_told),
        check("there_are_at_least_forty", || {
            let killers = breaks::load()?.values().filter(|b| !b.is_empty()).count();
            if killers >= 40 { Ok(()) } else { Err(format!("only {killers} saboteurs break something")) }
        }),
        check("every_saboteur_says_what_it_breaks_and_why", || {
            let breaks = breaks::load()?;
            if let Some(name) = breaks.keys().find(|n| table::find(n).is_none()) {
                return Err(format!("breaks.toml: no saboteur is called {name}"));
            }
            for s in table::SABOTEURS {
                let broken = breaks.get(s.name).ok_or_else(|| format!("{}: breaks.toml does not have it", s.name))?;
                broken.globs()?;
                if broken.why.len() < 20 {
                    return Err(format!("{}: say why", s.name));
                }
                if broken.gap && !broken.is_empty() {
                    return Err(format!("{}: a known gap breaks nothing", s.name));
                }
            }
            Ok(())
        }),
    ]
}

/// Whether the command line asks for a trial, as libtest would read it.
fn wanted(args: &Arguments, name: &str) -> bool {
    let fits = |filter: &str| if args.exact { name == filter } else { name.contains(filter) };
    args.filter.as_deref().is_none_or(fits) && !args.skip.iter().any(|s| fits(s))
}
