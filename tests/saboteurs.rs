//! Saboteur runtimes: runc with one defect each. A check that a defect in its own field does not turn is no check,
//! and one that a defect elsewhere turns is a wrong one.
//!
//! This executable is both the test and the runtime: the engine is told its path under a name of the test's own, and
//! the name it is called by says which defect to have (`saboteurs/wrapper.rs`). The table of defects, with the cells
//! each must break and no other, is `saboteurs/table.rs`; a new capability is taken up by a line there.
//!
//! Without a filter those of `table::FAST` are measured; `AWF_PROBE_SABOTEURS=all` asks for every one,
//! `AWF_PROBE_SABOTEURS=NAME,NAME` for these, and `cargo test --test saboteurs -- NAME` for what matches. `AWF_PROBE_SABOTEURS=full` asks for the egress and netns cells
//! of every saboteur, also of those whose defect cannot reach the network.

use std::process::ExitCode;

use libtest_mimic::{Arguments, Failed, Trial};

#[path = "saboteurs/edits.rs"]
mod edits;
#[path = "saboteurs/guest.rs"]
mod guest;
#[path = "saboteurs/kills.rs"]
mod kills;
#[path = "saboteurs/registry.rs"]
mod registry;
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
    let told = std::env::var("AWF_PROBE_SABOTEURS").unwrap_or_default();
    let named: Vec<&str> = match told.as_str() {
        "all" | "full" => table::SABOTEURS.iter().map(|s| s.name).collect(),
        "" if args.filter.is_some() => table::SABOTEURS.iter().map(|s| s.name).collect(),
        "" => table::FAST.to_vec(),
        names => names.split(',').collect(),
    };
    if let Some(unknown) = named.iter().find(|n| table::find(n).is_none()) {
        let why = format!("no saboteur is called {unknown}");
        trials.push(Trial::test("asked", move || Err(Failed::from(why))));
    }
    let asked: Vec<&'static table::Saboteur> = table::SABOTEURS
        .iter()
        .filter(|s| named.contains(&s.name))
        .filter(|s| wanted(&args, &format!("saboteur::{}", s.name)))
        .collect();
    if args.list || asked.is_empty() {
        trials.extend(asked.iter().map(|s| Trial::test(format!("saboteur::{}", s.name), || Ok(()))));
        return libtest_mimic::run(&args, trials).exit_code();
    }
    match kills::measure(&asked) {
        Ok(kills) => {
            kills.print();
            trials.extend(kills.trials());
        }
        // An engine that does not answer is a failure, not a reason to test nothing.
        Err(why) => trials.push(Trial::test("measure", move || Err(Failed::from(why)))),
    }
    libtest_mimic::run(&args, trials).exit_code()
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
        check("there_are_at_least_forty", || {
            let killers = table::SABOTEURS.iter().filter(|s| !s.breaks.is_empty()).count();
            if killers >= 40 { Ok(()) } else { Err(format!("only {killers} saboteurs break something")) }
        }),
        check("every_glob_is_one", || {
            for (s, glob) in table::SABOTEURS.iter().flat_map(|s| s.breaks.iter().map(move |(g, _)| (s, g))) {
                globset::Glob::new(glob).map_err(|e| format!("{}: {glob}: {e}", s.name))?;
            }
            Ok(())
        }),
        check("the_fast_ones_are_saboteurs", || {
            let unknown: Vec<_> = table::FAST.iter().filter(|n| table::find(n).is_none()).collect();
            let few = table::FAST.len() < 12;
            if unknown.is_empty() && !few { Ok(()) } else { Err(format!("unknown: {unknown:?}; too few: {few}")) }
        }),
        check("every_saboteur_says_why", || {
            for s in table::SABOTEURS {
                if s.why.len() < 20 {
                    return Err(format!("{}: say why", s.name));
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
