# Print an optspec for argparse to handle cmd's options that are independent of any subcommand.
function __fish_awf_probe_global_optspecs
    string join \n h/help V/version
end

function __fish_awf_probe_needs_command
    # Figure out if the current invocation already has a command.
    set -l cmd (commandline -opc)
    set -e cmd[1]
    argparse -s (__fish_awf_probe_global_optspecs) -- $cmd 2>/dev/null
    or return
    if set -q argv[1]
        # Also print the command, so this can be used to figure out what it is.
        echo $argv[1]
        return 1
    end
    return 0
end

function __fish_awf_probe_using_subcommand
    set -l cmd (__fish_awf_probe_needs_command)
    test -z "$cmd"
    and return 1
    contains -- $cmd[1] $argv
end

complete -c awf-probe -n "__fish_awf_probe_needs_command" -s h -l help -d 'Print help'
complete -c awf-probe -n "__fish_awf_probe_needs_command" -s V -l version -d 'Print version'
complete -c awf-probe -n "__fish_awf_probe_needs_command" -f -a "run" -d 'Measure runtimes and judge them'
complete -c awf-probe -n "__fish_awf_probe_needs_command" -f -a "list" -d 'List the capabilities'
complete -c awf-probe -n "__fish_awf_probe_needs_command" -f -a "explain" -d 'Explain a capability: why, how, its control, what a fail means; and what the last run saw'
complete -c awf-probe -n "__fish_awf_probe_needs_command" -f -a "coverage" -d 'Rows of features × runtimes, with verdicts and what is still open'
complete -c awf-probe -n "__fish_awf_probe_needs_command" -f -a "surprises" -d 'The cells that came out otherwise than source code, documentation and issue threads claim'
complete -c awf-probe -n "__fish_awf_probe_needs_command" -f -a "judge" -d 'Judge a journal again, without an engine'
complete -c awf-probe -n "__fish_awf_probe_needs_command" -f -a "egress" -d 'Try every way out under every enforcement model, and show who gets out and how'
complete -c awf-probe -n "__fish_awf_probe_needs_command" -f -a "bench" -d 'What each runtime costs, beside a reference that is measured in the same rounds'
complete -c awf-probe -n "__fish_awf_probe_needs_command" -f -a "rehearse" -d 'Bring the agent up with the settings that `select` emits, start it as AWF does, and have it do a real job'
complete -c awf-probe -n "__fish_awf_probe_needs_command" -f -a "selftest" -d 'Put defects in on purpose, one at a time, and see whether the verdicts on this host notice them'
complete -c awf-probe -n "__fish_awf_probe_needs_command" -f -a "diff" -d 'What changed between two runs: verdicts, and the versions that may be the cause'
complete -c awf-probe -n "__fish_awf_probe_needs_command" -f -a "select" -d 'From reports to the runtime AWF should use, with reasons, or a refusal'
complete -c awf-probe -n "__fish_awf_probe_needs_command" -f -a "auto" -d 'Select from what is known of this host, and measure only what no valid report is there for'
complete -c awf-probe -n "__fish_awf_probe_needs_command" -f -a "ci-matrix" -d 'Print runtimes as the JSON of a GitHub strategy.matrix'
complete -c awf-probe -n "__fish_awf_probe_needs_command" -f -a "matrix" -d 'One matrix of the reports of many hosts: the same fingerprint merged, different hosts side by side'
complete -c awf-probe -n "__fish_awf_probe_needs_command" -f -a "doctor" -d 'Check engine, kernel, helper, toolbox and every registered runtime, and say what to do'
complete -c awf-probe -n "__fish_awf_probe_needs_command" -f -a "clean" -d 'Remove what runs that were cut off have left'
complete -c awf-probe -n "__fish_awf_probe_needs_command" -f -a "completions" -d 'Print the completions of a shell'
complete -c awf-probe -n "__fish_awf_probe_needs_command" -f -a "man" -d 'Print the man page, of awf-probe or of a subcommand; or write all of them'
complete -c awf-probe -n "__fish_awf_probe_needs_command" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c awf-probe -n "__fish_awf_probe_using_subcommand run" -l runtime -d 'A runtime, as Docker knows it or as AWF does (gvisor, kata); may be repeated. Default: the engine\'s default runtime' -r
complete -c awf-probe -n "__fish_awf_probe_using_subcommand run" -l engine -d 'What starts the sandboxes: docker, podman (its Docker-compatible socket), unix:///PATH of another such socket, or command (the launch commands of runtimes outside Docker; what needs an engine is skipped)' -r
complete -c awf-probe -n "__fish_awf_probe_using_subcommand run" -l describe -d 'With --engine command: a file that describes further runtimes by their commands; may be repeated' -r -F
complete -c awf-probe -n "__fish_awf_probe_using_subcommand run" -l only -d 'Only capabilities whose id matches; may be repeated' -r
complete -c awf-probe -n "__fish_awf_probe_using_subcommand run" -l skip -d 'Without capabilities whose id matches; may be repeated' -r
complete -c awf-probe -n "__fish_awf_probe_using_subcommand run" -l out -d 'Write report.json and journal.jsonl there; one folder per runtime if several are asked for' -r -F
complete -c awf-probe -n "__fish_awf_probe_using_subcommand run" -l jobs -d 'How many sandboxes are worked on at once' -r
complete -c awf-probe -n "__fish_awf_probe_using_subcommand run" -l deadline -d 'The longest one sandbox may take for its probes, such as 90s or 2m' -r
complete -c awf-probe -n "__fish_awf_probe_using_subcommand run" -l proxy -d 'Which proxy enforces the domain list: squid (what AWF runs; the built-in one where the toolbox has none) or builtin' -r -f -a "squid\t'Squid from the toolbox, or the built-in one where there is none'
builtin\t'The built-in one'"
complete -c awf-probe -n "__fish_awf_probe_using_subcommand run" -l toolbox-image -d 'Take iptables, squid, capsh and the other tools from this image instead of from the host. The image must be on the engine already: nothing is pulled' -r
complete -c awf-probe -n "__fish_awf_probe_using_subcommand run" -l image -d 'Start this image, too, and tell whether it runs unmodified: its entrypoint, user, working directory, environment and digest (image.given.*, skipped without it). It must be on the engine already: nothing is pulled' -r
complete -c awf-probe -n "__fish_awf_probe_using_subcommand run" -l seccomp-profile -d 'Try every system call this seccomp profile names, in the Docker Engine\'s format, and tell whether it is allowed or refused as declared. Without it the profile of AWF\'s size that is built in takes its place' -r -F
complete -c awf-probe -n "__fish_awf_probe_using_subcommand run" -l repeat -d 'Measure so often, one time after the other. A cell that is not the same each time is inconclusive, with what it came out as and how often; each repetition has its own folder below DIR' -r
complete -c awf-probe -n "__fish_awf_probe_using_subcommand run" -l baseline -d 'Compare with an earlier run (its folder, report.json or journal.jsonl), and exit 1 only on what is worse' -r -F
complete -c awf-probe -n "__fish_awf_probe_using_subcommand run" -l format -d 'table; json (report-v1), jsonl (its records, a line each); markdown; html (one file for a browser); junit, sarif, tap; github (annotations, and in a GitHub job the step\'s summary)' -r
complete -c awf-probe -n "__fish_awf_probe_using_subcommand run" -l all -d 'Every registered runtime'
complete -c awf-probe -n "__fish_awf_probe_using_subcommand run" -l allow-disruptive -d 'Let containers join a network namespace together with a Kata sandbox, too, which takes its interfaces away'
complete -c awf-probe -n "__fish_awf_probe_using_subcommand run" -l dry-run -d 'Print the plan and start nothing'
complete -c awf-probe -n "__fish_awf_probe_using_subcommand run" -l timings -d 'Print how long each phase took, and the slowest probes'
complete -c awf-probe -n "__fish_awf_probe_using_subcommand run" -l report-only -d 'Exit 0 when the measurement completed, whatever the verdicts'
complete -c awf-probe -n "__fish_awf_probe_using_subcommand run" -l full -d 'Unfold the families: a row for each capability'
complete -c awf-probe -n "__fish_awf_probe_using_subcommand run" -l only-bad -d 'Only rows that are not all pass'
complete -c awf-probe -n "__fish_awf_probe_using_subcommand run" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c awf-probe -n "__fish_awf_probe_using_subcommand run" -s V -l version -d 'Print version'
complete -c awf-probe -n "__fish_awf_probe_using_subcommand list" -l format -d 'text or json' -r
complete -c awf-probe -n "__fish_awf_probe_using_subcommand list" -s h -l help -d 'Print help'
complete -c awf-probe -n "__fish_awf_probe_using_subcommand list" -s V -l version -d 'Print version'
complete -c awf-probe -n "__fish_awf_probe_using_subcommand explain" -l from -d 'Folder or report.json of a run' -r -F
complete -c awf-probe -n "__fish_awf_probe_using_subcommand explain" -s h -l help -d 'Print help'
complete -c awf-probe -n "__fish_awf_probe_using_subcommand explain" -s V -l version -d 'Print version'
complete -c awf-probe -n "__fish_awf_probe_using_subcommand coverage" -l from -d 'Folder or report.json of a run' -r -F
complete -c awf-probe -n "__fish_awf_probe_using_subcommand coverage" -l format -d 'text or json' -r
complete -c awf-probe -n "__fish_awf_probe_using_subcommand coverage" -s h -l help -d 'Print help'
complete -c awf-probe -n "__fish_awf_probe_using_subcommand coverage" -s V -l version -d 'Print version'
complete -c awf-probe -n "__fish_awf_probe_using_subcommand surprises" -l from -d 'Folder or report.json of a run' -r -F
complete -c awf-probe -n "__fish_awf_probe_using_subcommand surprises" -l format -d 'text or json' -r
complete -c awf-probe -n "__fish_awf_probe_using_subcommand surprises" -s h -l help -d 'Print help'
complete -c awf-probe -n "__fish_awf_probe_using_subcommand surprises" -s V -l version -d 'Print version'
complete -c awf-probe -n "__fish_awf_probe_using_subcommand judge" -l from -d 'journal.jsonl of a run' -r -F
complete -c awf-probe -n "__fish_awf_probe_using_subcommand judge" -l baseline -d 'Compare with an earlier run (its folder, report.json or journal.jsonl), and exit 1 only on what is worse' -r -F
complete -c awf-probe -n "__fish_awf_probe_using_subcommand judge" -l format -d 'table; json (report-v1), jsonl (its records, a line each); markdown; html (one file for a browser); junit, sarif, tap; github (annotations, and in a GitHub job the step\'s summary)' -r
complete -c awf-probe -n "__fish_awf_probe_using_subcommand judge" -l full -d 'Unfold the families: a row for each capability'
complete -c awf-probe -n "__fish_awf_probe_using_subcommand judge" -l only-bad -d 'Only rows that are not all pass'
complete -c awf-probe -n "__fish_awf_probe_using_subcommand judge" -s h -l help -d 'Print help'
complete -c awf-probe -n "__fish_awf_probe_using_subcommand judge" -s V -l version -d 'Print version'
complete -c awf-probe -n "__fish_awf_probe_using_subcommand egress" -l runtime -d 'A runtime, as Docker knows it or as AWF does. Default: the engine\'s default runtime' -r
complete -c awf-probe -n "__fish_awf_probe_using_subcommand egress" -l explain -d 'Show one cell\'s evidence line by line: `ID`, or `ID [MODEL]` as the table of `run` names it' -r
complete -c awf-probe -n "__fish_awf_probe_using_subcommand egress" -l from -d 'Measure nothing: read a report.json, or the folder that holds it' -r -F
complete -c awf-probe -n "__fish_awf_probe_using_subcommand egress" -l out -d 'Write report.json and journal.jsonl there' -r -F
complete -c awf-probe -n "__fish_awf_probe_using_subcommand egress" -l jobs -d 'How many sandboxes are worked on at once' -r
complete -c awf-probe -n "__fish_awf_probe_using_subcommand egress" -l proxy -d 'Which proxy enforces the domain list' -r -f -a "squid\t'Squid from the toolbox, or the built-in one where there is none'
builtin\t'The built-in one'"
complete -c awf-probe -n "__fish_awf_probe_using_subcommand egress" -l repeat -d 'Measure so often; an attempt that does not end the same each time is inconclusive, with its counts' -r
complete -c awf-probe -n "__fish_awf_probe_using_subcommand egress" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c awf-probe -n "__fish_awf_probe_using_subcommand egress" -s V -l version -d 'Print version'
complete -c awf-probe -n "__fish_awf_probe_using_subcommand bench" -l runtime -d 'A runtime to compare, as Docker knows it or as AWF does; may be repeated. Default: every registered one. The reference itself may be named, too' -r
complete -c awf-probe -n "__fish_awf_probe_using_subcommand bench" -l reference -d 'The runtime to compare with' -r
complete -c awf-probe -n "__fish_awf_probe_using_subcommand bench" -l suite -d 'Which benches' -r -f -a "quick\t'The life of a sandbox, its memory, and one bench of each kind inside'
full\t'All of them'"
complete -c awf-probe -n "__fish_awf_probe_using_subcommand bench" -l only -d 'Only benches whose id matches; may be repeated' -r
complete -c awf-probe -n "__fish_awf_probe_using_subcommand bench" -l skip -d 'Without benches whose id matches; may be repeated' -r
complete -c awf-probe -n "__fish_awf_probe_using_subcommand bench" -l budget -d 'How long the rounds may take. Default: 3m for the quick suite, 45m for the full one' -r
complete -c awf-probe -n "__fish_awf_probe_using_subcommand bench" -l precision -d 'A bench is through when half its interval is no more than this many percent of the ratio' -r
complete -c awf-probe -n "__fish_awf_probe_using_subcommand bench" -l toolbox-image -d 'Take git, npm, curl, the compiler and squid from this image instead of from the host. The image must be on the engine already: nothing is pulled' -r
complete -c awf-probe -n "__fish_awf_probe_using_subcommand bench" -l format -d 'text, markdown, html or json' -r
complete -c awf-probe -n "__fish_awf_probe_using_subcommand bench" -l out -d 'Write bench.json, bench.md and bench.html there' -r -F
complete -c awf-probe -n "__fish_awf_probe_using_subcommand bench" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c awf-probe -n "__fish_awf_probe_using_subcommand bench" -s V -l version -d 'Print version'
complete -c awf-probe -n "__fish_awf_probe_using_subcommand rehearse" -l selection -d 'A selection.json, as `select --format json` prints it' -r -F
complete -c awf-probe -n "__fish_awf_probe_using_subcommand rehearse" -l runtime -d 'This runtime, as Docker knows it, even if another one would be chosen' -r
complete -c awf-probe -n "__fish_awf_probe_using_subcommand rehearse" -l policy -d 'default, strict, or a policy file' -r
complete -c awf-probe -n "__fish_awf_probe_using_subcommand rehearse" -l through -d 'By what the agent is brought up; may be repeated. Default: the engine, and Compose where it is there' -r -f -a "engine\t'The engine\'s API'
compose\t'The Compose tool of the harness\'s machine'"
complete -c awf-probe -n "__fish_awf_probe_using_subcommand rehearse" -l out -d 'Write report.json, journal.jsonl and rehearsal.json there' -r -F
complete -c awf-probe -n "__fish_awf_probe_using_subcommand rehearse" -l format -d 'text or json' -r
complete -c awf-probe -n "__fish_awf_probe_using_subcommand rehearse" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c awf-probe -n "__fish_awf_probe_using_subcommand rehearse" -s V -l version -d 'Print version'
complete -c awf-probe -n "__fish_awf_probe_using_subcommand selftest" -l runtime -d 'The runtime to do it with. Default: the engine\'s default runtime' -r
complete -c awf-probe -n "__fish_awf_probe_using_subcommand selftest" -l only -d 'Only defects whose name matches; may be repeated' -r
complete -c awf-probe -n "__fish_awf_probe_using_subcommand selftest" -l out -d 'Write the journal of each run there, in a folder of the defect\'s name' -r -F
complete -c awf-probe -n "__fish_awf_probe_using_subcommand selftest" -l format -d 'text or json' -r
complete -c awf-probe -n "__fish_awf_probe_using_subcommand selftest" -s h -l help -d 'Print help'
complete -c awf-probe -n "__fish_awf_probe_using_subcommand selftest" -s V -l version -d 'Print version'
complete -c awf-probe -n "__fish_awf_probe_using_subcommand diff" -l as -d 'Compare the first run\'s runtime BEFORE with the second\'s AFTER: versions that are registered under two names. May be repeated, for the runtimes of init containers, too' -r
complete -c awf-probe -n "__fish_awf_probe_using_subcommand diff" -l fail-on -d 'What makes the exit code 1' -r -f -a "regressions\t'Anything worse than before: what fails now and did not, and what held and is gone or cannot be told any more'
any\t'Any difference of a cell or a requirement'
none\t'Nothing'"
complete -c awf-probe -n "__fish_awf_probe_using_subcommand diff" -l format -d 'text, markdown or json' -r
complete -c awf-probe -n "__fish_awf_probe_using_subcommand diff" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c awf-probe -n "__fish_awf_probe_using_subcommand diff" -s V -l version -d 'Print version'
complete -c awf-probe -n "__fish_awf_probe_using_subcommand select" -l policy -d 'default, strict, or a policy file' -r
complete -c awf-probe -n "__fish_awf_probe_using_subcommand select" -l require -d 'A capability that must pass beside those of R1–R7; may be repeated' -r
complete -c awf-probe -n "__fish_awf_probe_using_subcommand select" -l max-age -d 'Reports older than this are not used, such as 90s, 30m, 24h or 7d. Default: the policy\'s' -r
complete -c awf-probe -n "__fish_awf_probe_using_subcommand select" -l bench -d 'A bench.json of this host: where nothing else tells two runtimes apart, the one that costs less is chosen' -r -F
complete -c awf-probe -n "__fish_awf_probe_using_subcommand select" -l format -d 'How to print the answer' -r -f -a "text\t'For people'
json\t'selection.json'
awf-config\t'AWF\'s configuration file'
registry\t'The records of AWF\'s runtime registry'
compose\t'A Compose override for the agent'"
complete -c awf-probe -n "__fish_awf_probe_using_subcommand select" -l rejudge -d 'Judge this journal again and use its cells; may be repeated' -r -F
complete -c awf-probe -n "__fish_awf_probe_using_subcommand select" -l explain -d 'Print every cell that the answer rests on'
complete -c awf-probe -n "__fish_awf_probe_using_subcommand select" -l verify-host -d 'Compare the reports with this host as it is now'
complete -c awf-probe -n "__fish_awf_probe_using_subcommand select" -l require-mac -d 'Refuse a report without a MAC of this host beside it'
complete -c awf-probe -n "__fish_awf_probe_using_subcommand select" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c awf-probe -n "__fish_awf_probe_using_subcommand select" -s V -l version -d 'Print version'
complete -c awf-probe -n "__fish_awf_probe_using_subcommand auto" -l runtime -d 'A runtime to consider; may be repeated. Default: every registered one' -r
complete -c awf-probe -n "__fish_awf_probe_using_subcommand auto" -l policy -d 'default, strict, or a policy file' -r
complete -c awf-probe -n "__fish_awf_probe_using_subcommand auto" -l require -d 'A capability that must pass beside those of R1–R7; may be repeated' -r
complete -c awf-probe -n "__fish_awf_probe_using_subcommand auto" -l max-age -d 'Reports older than this are not used, such as 90s, 30m, 24h or 7d. Default: the policy\'s' -r
complete -c awf-probe -n "__fish_awf_probe_using_subcommand auto" -l bench -d 'A bench.json of this host: where nothing else tells two runtimes apart, the one that costs less is chosen' -r -F
complete -c awf-probe -n "__fish_awf_probe_using_subcommand auto" -l format -d 'How to print the answer' -r -f -a "text\t'For people'
json\t'selection.json'
awf-config\t'AWF\'s configuration file'
registry\t'The records of AWF\'s runtime registry'
compose\t'A Compose override for the agent'"
complete -c awf-probe -n "__fish_awf_probe_using_subcommand auto" -l explain -d 'Print every cell that the answer rests on'
complete -c awf-probe -n "__fish_awf_probe_using_subcommand auto" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c awf-probe -n "__fish_awf_probe_using_subcommand auto" -s V -l version -d 'Print version'
complete -c awf-probe -n "__fish_awf_probe_using_subcommand ci-matrix" -l runtime -d 'A runtime; may be repeated, and needs no engine. Default: every registered one' -r
complete -c awf-probe -n "__fish_awf_probe_using_subcommand ci-matrix" -s h -l help -d 'Print help'
complete -c awf-probe -n "__fish_awf_probe_using_subcommand ci-matrix" -s V -l version -d 'Print version'
complete -c awf-probe -n "__fish_awf_probe_using_subcommand matrix" -l format -d 'text, markdown or json' -r
complete -c awf-probe -n "__fish_awf_probe_using_subcommand matrix" -l full -d 'Cells that are the same everywhere, and controls, too'
complete -c awf-probe -n "__fish_awf_probe_using_subcommand matrix" -s h -l help -d 'Print help'
complete -c awf-probe -n "__fish_awf_probe_using_subcommand matrix" -s V -l version -d 'Print version'
complete -c awf-probe -n "__fish_awf_probe_using_subcommand doctor" -l engine -d 'docker, podman, or unix:///PATH' -r
complete -c awf-probe -n "__fish_awf_probe_using_subcommand doctor" -s h -l help -d 'Print help'
complete -c awf-probe -n "__fish_awf_probe_using_subcommand doctor" -s V -l version -d 'Print version'
complete -c awf-probe -n "__fish_awf_probe_using_subcommand clean" -l engine -d 'docker, podman, unix:///PATH; or command, which needs no engine' -r
complete -c awf-probe -n "__fish_awf_probe_using_subcommand clean" -l image -d 'The probe images too'
complete -c awf-probe -n "__fish_awf_probe_using_subcommand clean" -s h -l help -d 'Print help'
complete -c awf-probe -n "__fish_awf_probe_using_subcommand clean" -s V -l version -d 'Print version'
complete -c awf-probe -n "__fish_awf_probe_using_subcommand completions" -s h -l help -d 'Print help'
complete -c awf-probe -n "__fish_awf_probe_using_subcommand completions" -s V -l version -d 'Print version'
complete -c awf-probe -n "__fish_awf_probe_using_subcommand man" -l out -d 'Write every page there' -r -F
complete -c awf-probe -n "__fish_awf_probe_using_subcommand man" -s h -l help -d 'Print help'
complete -c awf-probe -n "__fish_awf_probe_using_subcommand man" -s V -l version -d 'Print version'
complete -c awf-probe -n "__fish_awf_probe_using_subcommand help; and not __fish_seen_subcommand_from run list explain coverage surprises judge egress bench rehearse selftest diff select auto ci-matrix matrix doctor clean completions man help" -f -a "run" -d 'Measure runtimes and judge them'
complete -c awf-probe -n "__fish_awf_probe_using_subcommand help; and not __fish_seen_subcommand_from run list explain coverage surprises judge egress bench rehearse selftest diff select auto ci-matrix matrix doctor clean completions man help" -f -a "list" -d 'List the capabilities'
complete -c awf-probe -n "__fish_awf_probe_using_subcommand help; and not __fish_seen_subcommand_from run list explain coverage surprises judge egress bench rehearse selftest diff select auto ci-matrix matrix doctor clean completions man help" -f -a "explain" -d 'Explain a capability: why, how, its control, what a fail means; and what the last run saw'
complete -c awf-probe -n "__fish_awf_probe_using_subcommand help; and not __fish_seen_subcommand_from run list explain coverage surprises judge egress bench rehearse selftest diff select auto ci-matrix matrix doctor clean completions man help" -f -a "coverage" -d 'Rows of features × runtimes, with verdicts and what is still open'
complete -c awf-probe -n "__fish_awf_probe_using_subcommand help; and not __fish_seen_subcommand_from run list explain coverage surprises judge egress bench rehearse selftest diff select auto ci-matrix matrix doctor clean completions man help" -f -a "surprises" -d 'The cells that came out otherwise than source code, documentation and issue threads claim'
complete -c awf-probe -n "__fish_awf_probe_using_subcommand help; and not __fish_seen_subcommand_from run list explain coverage surprises judge egress bench rehearse selftest diff select auto ci-matrix matrix doctor clean completions man help" -f -a "judge" -d 'Judge a journal again, without an engine'
complete -c awf-probe -n "__fish_awf_probe_using_subcommand help; and not __fish_seen_subcommand_from run list explain coverage surprises judge egress bench rehearse selftest diff select auto ci-matrix matrix doctor clean completions man help" -f -a "egress" -d 'Try every way out under every enforcement model, and show who gets out and how'
complete -c awf-probe -n "__fish_awf_probe_using_subcommand help; and not __fish_seen_subcommand_from run list explain coverage surprises judge egress bench rehearse selftest diff select auto ci-matrix matrix doctor clean completions man help" -f -a "bench" -d 'What each runtime costs, beside a reference that is measured in the same rounds'
complete -c awf-probe -n "__fish_awf_probe_using_subcommand help; and not __fish_seen_subcommand_from run list explain coverage surprises judge egress bench rehearse selftest diff select auto ci-matrix matrix doctor clean completions man help" -f -a "rehearse" -d 'Bring the agent up with the settings that `select` emits, start it as AWF does, and have it do a real job'
complete -c awf-probe -n "__fish_awf_probe_using_subcommand help; and not __fish_seen_subcommand_from run list explain coverage surprises judge egress bench rehearse selftest diff select auto ci-matrix matrix doctor clean completions man help" -f -a "selftest" -d 'Put defects in on purpose, one at a time, and see whether the verdicts on this host notice them'
complete -c awf-probe -n "__fish_awf_probe_using_subcommand help; and not __fish_seen_subcommand_from run list explain coverage surprises judge egress bench rehearse selftest diff select auto ci-matrix matrix doctor clean completions man help" -f -a "diff" -d 'What changed between two runs: verdicts, and the versions that may be the cause'
complete -c awf-probe -n "__fish_awf_probe_using_subcommand help; and not __fish_seen_subcommand_from run list explain coverage surprises judge egress bench rehearse selftest diff select auto ci-matrix matrix doctor clean completions man help" -f -a "select" -d 'From reports to the runtime AWF should use, with reasons, or a refusal'
complete -c awf-probe -n "__fish_awf_probe_using_subcommand help; and not __fish_seen_subcommand_from run list explain coverage surprises judge egress bench rehearse selftest diff select auto ci-matrix matrix doctor clean completions man help" -f -a "auto" -d 'Select from what is known of this host, and measure only what no valid report is there for'
complete -c awf-probe -n "__fish_awf_probe_using_subcommand help; and not __fish_seen_subcommand_from run list explain coverage surprises judge egress bench rehearse selftest diff select auto ci-matrix matrix doctor clean completions man help" -f -a "ci-matrix" -d 'Print runtimes as the JSON of a GitHub strategy.matrix'
complete -c awf-probe -n "__fish_awf_probe_using_subcommand help; and not __fish_seen_subcommand_from run list explain coverage surprises judge egress bench rehearse selftest diff select auto ci-matrix matrix doctor clean completions man help" -f -a "matrix" -d 'One matrix of the reports of many hosts: the same fingerprint merged, different hosts side by side'
complete -c awf-probe -n "__fish_awf_probe_using_subcommand help; and not __fish_seen_subcommand_from run list explain coverage surprises judge egress bench rehearse selftest diff select auto ci-matrix matrix doctor clean completions man help" -f -a "doctor" -d 'Check engine, kernel, helper, toolbox and every registered runtime, and say what to do'
complete -c awf-probe -n "__fish_awf_probe_using_subcommand help; and not __fish_seen_subcommand_from run list explain coverage surprises judge egress bench rehearse selftest diff select auto ci-matrix matrix doctor clean completions man help" -f -a "clean" -d 'Remove what runs that were cut off have left'
complete -c awf-probe -n "__fish_awf_probe_using_subcommand help; and not __fish_seen_subcommand_from run list explain coverage surprises judge egress bench rehearse selftest diff select auto ci-matrix matrix doctor clean completions man help" -f -a "completions" -d 'Print the completions of a shell'
complete -c awf-probe -n "__fish_awf_probe_using_subcommand help; and not __fish_seen_subcommand_from run list explain coverage surprises judge egress bench rehearse selftest diff select auto ci-matrix matrix doctor clean completions man help" -f -a "man" -d 'Print the man page, of awf-probe or of a subcommand; or write all of them'
complete -c awf-probe -n "__fish_awf_probe_using_subcommand help; and not __fish_seen_subcommand_from run list explain coverage surprises judge egress bench rehearse selftest diff select auto ci-matrix matrix doctor clean completions man help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
