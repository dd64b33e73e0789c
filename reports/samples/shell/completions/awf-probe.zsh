#compdef awf-probe

autoload -U is-at-least

_awf-probe() {
    typeset -A opt_args
    typeset -a _arguments_options
    local ret=1

    if is-at-least 5.2; then
        _arguments_options=(-s -S -C)
    else
        _arguments_options=(-s -C)
    fi

    local context curcontext="$curcontext" state line
    _arguments "${_arguments_options[@]}" : \
'-h[Print help]' \
'--help[Print help]' \
'-V[Print version]' \
'--version[Print version]' \
":: :_awf-probe_commands" \
"*::: :->awf-probe" \
&& ret=0
    case $state in
    (awf-probe)
        words=($line[1] "${words[@]}")
        (( CURRENT += 1 ))
        curcontext="${curcontext%:*:*}:awf-probe-command-$line[1]:"
        case $line[1] in
            (run)
_arguments "${_arguments_options[@]}" : \
'*--runtime=[A runtime, as Docker knows it or as AWF does (gvisor, kata); may be repeated. Default\: the engine'\''s default runtime]:NAME:_default' \
'--engine=[What starts the sandboxes\: docker, podman (its Docker-compatible socket), unix\:///PATH of another such socket, or command (the launch commands of runtimes outside Docker; what needs an engine is skipped)]:ENGINE:_default' \
'*--describe=[With --engine command\: a file that describes further runtimes by their commands; may be repeated]:FILE:_files' \
'*--only=[Only capabilities whose id matches; may be repeated]:GLOB:_default' \
'*--skip=[Without capabilities whose id matches; may be repeated]:GLOB:_default' \
'--out=[Write report.json and journal.jsonl there; one folder per runtime if several are asked for]:DIR:_files' \
'--jobs=[How many sandboxes are worked on at once]:N:_default' \
'--deadline=[The longest one sandbox may take for its probes, such as 90s or 2m]:DURATION:_default' \
'--proxy=[Which proxy enforces the domain list\: squid (what AWF runs; the built-in one where the toolbox has none) or builtin]:PROXY:((squid\:"Squid from the toolbox, or the built-in one where there is none"
builtin\:"The built-in one"))' \
'--toolbox-image=[Take iptables, squid, capsh and the other tools from this image instead of from the host. The image must be on the engine already\: nothing is pulled]:REF:_default' \
'--image=[Start this image, too, and tell whether it runs unmodified\: its entrypoint, user, working directory, environment and digest (image.given.*, skipped without it). It must be on the engine already\: nothing is pulled]:REF:_default' \
'--seccomp-profile=[Try every system call this seccomp profile names, in the Docker Engine'\''s format, and tell whether it is allowed or refused as declared. Without it the profile of AWF'\''s size that is built in takes its place]:FILE:_files' \
'--repeat=[Measure so often, one time after the other. A cell that is not the same each time is inconclusive, with what it came out as and how often; each repetition has its own folder below DIR]:N:_default' \
'--baseline=[Compare with an earlier run (its folder, report.json or journal.jsonl), and exit 1 only on what is worse]:PATH:_files' \
'--format=[table; json (report-v1), jsonl (its records, a line each); markdown; html (one file for a browser); junit, sarif, tap; github (annotations, and in a GitHub job the step'\''s summary)]:FORMAT:_default' \
'(--runtime)--all[Every registered runtime]' \
'--allow-disruptive[Let containers join a network namespace together with a Kata sandbox, too, which takes its interfaces away]' \
'--dry-run[Print the plan and start nothing]' \
'--timings[Print how long each phase took, and the slowest probes]' \
'--report-only[Exit 0 when the measurement completed, whatever the verdicts]' \
'--full[Unfold the families\: a row for each capability]' \
'--only-bad[Only rows that are not all pass]' \
'-h[Print help (see more with '\''--help'\'')]' \
'--help[Print help (see more with '\''--help'\'')]' \
'-V[Print version]' \
'--version[Print version]' \
&& ret=0
;;
(list)
_arguments "${_arguments_options[@]}" : \
'--format=[text or json]:FORMAT:_default' \
'-h[Print help]' \
'--help[Print help]' \
'-V[Print version]' \
'--version[Print version]' \
&& ret=0
;;
(explain)
_arguments "${_arguments_options[@]}" : \
'--from=[Folder or report.json of a run]:PATH:_files' \
'-h[Print help]' \
'--help[Print help]' \
'-V[Print version]' \
'--version[Print version]' \
':id -- Capability id:_default' \
&& ret=0
;;
(coverage)
_arguments "${_arguments_options[@]}" : \
'--from=[Folder or report.json of a run]:PATH:_files' \
'--format=[text or json]:FORMAT:_default' \
'-h[Print help]' \
'--help[Print help]' \
'-V[Print version]' \
'--version[Print version]' \
&& ret=0
;;
(surprises)
_arguments "${_arguments_options[@]}" : \
'--from=[Folder or report.json of a run]:PATH:_files' \
'--format=[text or json]:FORMAT:_default' \
'-h[Print help]' \
'--help[Print help]' \
'-V[Print version]' \
'--version[Print version]' \
&& ret=0
;;
(judge)
_arguments "${_arguments_options[@]}" : \
'--from=[journal.jsonl of a run]:JOURNAL:_files' \
'--baseline=[Compare with an earlier run (its folder, report.json or journal.jsonl), and exit 1 only on what is worse]:PATH:_files' \
'--format=[table; json (report-v1), jsonl (its records, a line each); markdown; html (one file for a browser); junit, sarif, tap; github (annotations, and in a GitHub job the step'\''s summary)]:FORMAT:_default' \
'--full[Unfold the families\: a row for each capability]' \
'--only-bad[Only rows that are not all pass]' \
'-h[Print help]' \
'--help[Print help]' \
'-V[Print version]' \
'--version[Print version]' \
&& ret=0
;;
(egress)
_arguments "${_arguments_options[@]}" : \
'--runtime=[A runtime, as Docker knows it or as AWF does. Default\: the engine'\''s default runtime]:NAME:_default' \
'--explain=[Show one cell'\''s evidence line by line\: \`ID\`, or \`ID \[MODEL\]\` as the table of \`run\` names it]:CELL:_default' \
'--from=[Measure nothing\: read a report.json, or the folder that holds it]:PATH:_files' \
'(--from)--out=[Write report.json and journal.jsonl there]:DIR:_files' \
'--jobs=[How many sandboxes are worked on at once]:N:_default' \
'--proxy=[Which proxy enforces the domain list]:PROXY:((squid\:"Squid from the toolbox, or the built-in one where there is none"
builtin\:"The built-in one"))' \
'(--from)--repeat=[Measure so often; an attempt that does not end the same each time is inconclusive, with its counts]:N:_default' \
'-h[Print help (see more with '\''--help'\'')]' \
'--help[Print help (see more with '\''--help'\'')]' \
'-V[Print version]' \
'--version[Print version]' \
&& ret=0
;;
(bench)
_arguments "${_arguments_options[@]}" : \
'*--runtime=[A runtime to compare, as Docker knows it or as AWF does; may be repeated. Default\: every registered one. The reference itself may be named, too]:NAME:_default' \
'--reference=[The runtime to compare with]:NAME:_default' \
'--suite=[Which benches]:SUITE:((quick\:"The life of a sandbox, its memory, and one bench of each kind inside"
full\:"All of them"))' \
'*--only=[Only benches whose id matches; may be repeated]:GLOB:_default' \
'*--skip=[Without benches whose id matches; may be repeated]:GLOB:_default' \
'--budget=[How long the rounds may take. Default\: 3m for the quick suite, 45m for the full one]:DURATION:_default' \
'--precision=[A bench is through when half its interval is no more than this many percent of the ratio]:PERCENT:_default' \
'--toolbox-image=[Take git, npm, curl, the compiler and squid from this image instead of from the host. The image must be on the engine already\: nothing is pulled]:REF:_default' \
'--format=[text, markdown, html or json]:FORMAT:_default' \
'--out=[Write bench.json, bench.md and bench.html there]:DIR:_files' \
'-h[Print help (see more with '\''--help'\'')]' \
'--help[Print help (see more with '\''--help'\'')]' \
'-V[Print version]' \
'--version[Print version]' \
&& ret=0
;;
(rehearse)
_arguments "${_arguments_options[@]}" : \
'--selection=[A selection.json, as \`select --format json\` prints it]:FILE:_files' \
'(--selection)--runtime=[This runtime, as Docker knows it, even if another one would be chosen]:NAME:_default' \
'(--selection)--policy=[default, strict, or a policy file]:POLICY:_default' \
'*--through=[By what the agent is brought up; may be repeated. Default\: the engine, and Compose where it is there]:WAY:((engine\:"The engine'\''s API"
compose\:"The Compose tool of the harness'\''s machine"))' \
'--out=[Write report.json, journal.jsonl and rehearsal.json there]:DIR:_files' \
'--format=[text or json]:FORMAT:_default' \
'-h[Print help (see more with '\''--help'\'')]' \
'--help[Print help (see more with '\''--help'\'')]' \
'-V[Print version]' \
'--version[Print version]' \
'*::reports -- Folders or report.json of runs to select from. Default\: target/awf-probe:_files' \
&& ret=0
;;
(selftest)
_arguments "${_arguments_options[@]}" : \
'--runtime=[The runtime to do it with. Default\: the engine'\''s default runtime]:NAME:_default' \
'*--only=[Only defects whose name matches; may be repeated]:GLOB:_default' \
'--out=[Write the journal of each run there, in a folder of the defect'\''s name]:DIR:_files' \
'--format=[text or json]:FORMAT:_default' \
'-h[Print help]' \
'--help[Print help]' \
'-V[Print version]' \
'--version[Print version]' \
&& ret=0
;;
(diff)
_arguments "${_arguments_options[@]}" : \
'*--as=[Compare the first run'\''s runtime BEFORE with the second'\''s AFTER\: versions that are registered under two names. May be repeated, for the runtimes of init containers, too]:BEFORE=AFTER:_default' \
'--fail-on=[What makes the exit code 1]:WHAT:((regressions\:"Anything worse than before\: what fails now and did not, and what held and is gone or cannot be told any more"
any\:"Any difference of a cell or a requirement"
none\:"Nothing"))' \
'--format=[text, markdown or json]:FORMAT:_default' \
'-h[Print help (see more with '\''--help'\'')]' \
'--help[Print help (see more with '\''--help'\'')]' \
'-V[Print version]' \
'--version[Print version]' \
':before -- The first run\: its folder, report.json or journal.jsonl:_files' \
':after -- The second run:_files' \
&& ret=0
;;
(select)
_arguments "${_arguments_options[@]}" : \
'--policy=[default, strict, or a policy file]:POLICY:_default' \
'*--require=[A capability that must pass beside those of R1–R7; may be repeated]:ID:_default' \
'--max-age=[Reports older than this are not used, such as 90s, 30m, 24h or 7d. Default\: the policy'\''s]:DURATION:_default' \
'--bench=[A bench.json of this host\: where nothing else tells two runtimes apart, the one that costs less is chosen]:FILE:_files' \
'--format=[How to print the answer]:FORMAT:((text\:"For people"
json\:"selection.json"
awf-config\:"AWF'\''s configuration file"
registry\:"The records of AWF'\''s runtime registry"
compose\:"A Compose override for the agent"))' \
'*--rejudge=[Judge this journal again and use its cells; may be repeated]:JOURNAL:_files' \
'--explain[Print every cell that the answer rests on]' \
'--verify-host[Compare the reports with this host as it is now]' \
'--require-mac[Refuse a report without a MAC of this host beside it]' \
'-h[Print help (see more with '\''--help'\'')]' \
'--help[Print help (see more with '\''--help'\'')]' \
'-V[Print version]' \
'--version[Print version]' \
'*::reports -- Folders or report.json of runs. Default\: target/awf-probe:_files' \
&& ret=0
;;
(auto)
_arguments "${_arguments_options[@]}" : \
'*--runtime=[A runtime to consider; may be repeated. Default\: every registered one]:NAME:_default' \
'--policy=[default, strict, or a policy file]:POLICY:_default' \
'*--require=[A capability that must pass beside those of R1–R7; may be repeated]:ID:_default' \
'--max-age=[Reports older than this are not used, such as 90s, 30m, 24h or 7d. Default\: the policy'\''s]:DURATION:_default' \
'--bench=[A bench.json of this host\: where nothing else tells two runtimes apart, the one that costs less is chosen]:FILE:_files' \
'--format=[How to print the answer]:FORMAT:((text\:"For people"
json\:"selection.json"
awf-config\:"AWF'\''s configuration file"
registry\:"The records of AWF'\''s runtime registry"
compose\:"A Compose override for the agent"))' \
'--explain[Print every cell that the answer rests on]' \
'-h[Print help (see more with '\''--help'\'')]' \
'--help[Print help (see more with '\''--help'\'')]' \
'-V[Print version]' \
'--version[Print version]' \
&& ret=0
;;
(ci-matrix)
_arguments "${_arguments_options[@]}" : \
'*--runtime=[A runtime; may be repeated, and needs no engine. Default\: every registered one]:NAME:_default' \
'-h[Print help]' \
'--help[Print help]' \
'-V[Print version]' \
'--version[Print version]' \
&& ret=0
;;
(matrix)
_arguments "${_arguments_options[@]}" : \
'--format=[text, markdown or json]:FORMAT:_default' \
'--full[Cells that are the same everywhere, and controls, too]' \
'-h[Print help]' \
'--help[Print help]' \
'-V[Print version]' \
'--version[Print version]' \
'*::reports -- report.json files of `run --out`, or the folders that hold them:_files' \
&& ret=0
;;
(doctor)
_arguments "${_arguments_options[@]}" : \
'--engine=[docker, podman, or unix\:///PATH]:ENGINE:_default' \
'-h[Print help]' \
'--help[Print help]' \
'-V[Print version]' \
'--version[Print version]' \
&& ret=0
;;
(clean)
_arguments "${_arguments_options[@]}" : \
'--engine=[docker, podman, unix\:///PATH; or command, which needs no engine]:ENGINE:_default' \
'--image[The probe images too]' \
'-h[Print help]' \
'--help[Print help]' \
'-V[Print version]' \
'--version[Print version]' \
&& ret=0
;;
(completions)
_arguments "${_arguments_options[@]}" : \
'-h[Print help]' \
'--help[Print help]' \
'-V[Print version]' \
'--version[Print version]' \
':shell -- The shell:(bash elvish fish powershell zsh)' \
&& ret=0
;;
(man)
_arguments "${_arguments_options[@]}" : \
'--out=[Write every page there]:DIR:_files' \
'-h[Print help]' \
'--help[Print help]' \
'-V[Print version]' \
'--version[Print version]' \
'::command -- A subcommand. Default\: awf-probe itself:_default' \
&& ret=0
;;
(help)
_arguments "${_arguments_options[@]}" : \
":: :_awf-probe__subcmd__help_commands" \
"*::: :->help" \
&& ret=0

    case $state in
    (help)
        words=($line[1] "${words[@]}")
        (( CURRENT += 1 ))
        curcontext="${curcontext%:*:*}:awf-probe-help-command-$line[1]:"
        case $line[1] in
            (run)
_arguments "${_arguments_options[@]}" : \
&& ret=0
;;
(list)
_arguments "${_arguments_options[@]}" : \
&& ret=0
;;
(explain)
_arguments "${_arguments_options[@]}" : \
&& ret=0
;;
(coverage)
_arguments "${_arguments_options[@]}" : \
&& ret=0
;;
(surprises)
_arguments "${_arguments_options[@]}" : \
&& ret=0
;;
(judge)
_arguments "${_arguments_options[@]}" : \
&& ret=0
;;
(egress)
_arguments "${_arguments_options[@]}" : \
&& ret=0
;;
(bench)
_arguments "${_arguments_options[@]}" : \
&& ret=0
;;
(rehearse)
_arguments "${_arguments_options[@]}" : \
&& ret=0
;;
(selftest)
_arguments "${_arguments_options[@]}" : \
&& ret=0
;;
(diff)
_arguments "${_arguments_options[@]}" : \
&& ret=0
;;
(select)
_arguments "${_arguments_options[@]}" : \
&& ret=0
;;
(auto)
_arguments "${_arguments_options[@]}" : \
&& ret=0
;;
(ci-matrix)
_arguments "${_arguments_options[@]}" : \
&& ret=0
;;
(matrix)
_arguments "${_arguments_options[@]}" : \
&& ret=0
;;
(doctor)
_arguments "${_arguments_options[@]}" : \
&& ret=0
;;
(clean)
_arguments "${_arguments_options[@]}" : \
&& ret=0
;;
(completions)
_arguments "${_arguments_options[@]}" : \
&& ret=0
;;
(man)
_arguments "${_arguments_options[@]}" : \
&& ret=0
;;
(help)
_arguments "${_arguments_options[@]}" : \
&& ret=0
;;
        esac
    ;;
esac
;;
        esac
    ;;
esac
}

(( $+functions[_awf-probe_commands] )) ||
_awf-probe_commands() {
    local commands; commands=(
'run:Measure runtimes and judge them' \
'list:List the capabilities' \
'explain:Explain a capability\: why, how, its control, what a fail means; and what the last run saw' \
'coverage:Rows of features × runtimes, with verdicts and what is still open' \
'surprises:The cells that came out otherwise than source code, documentation and issue threads claim' \
'judge:Judge a journal again, without an engine' \
'egress:Try every way out under every enforcement model, and show who gets out and how' \
'bench:What each runtime costs, beside a reference that is measured in the same rounds' \
'rehearse:Bring the agent up with the settings that \`select\` emits, start it as AWF does, and have it do a real job' \
'selftest:Put defects in on purpose, one at a time, and see whether the verdicts on this host notice them' \
'diff:What changed between two runs\: verdicts, and the versions that may be the cause' \
'select:From reports to the runtime AWF should use, with reasons, or a refusal' \
'auto:Select from what is known of this host, and measure only what no valid report is there for' \
'ci-matrix:Print runtimes as the JSON of a GitHub strategy.matrix' \
'matrix:One matrix of the reports of many hosts\: the same fingerprint merged, different hosts side by side' \
'doctor:Check engine, kernel, helper, toolbox and every registered runtime, and say what to do' \
'clean:Remove what runs that were cut off have left' \
'completions:Print the completions of a shell' \
'man:Print the man page, of awf-probe or of a subcommand; or write all of them' \
'help:Print this message or the help of the given subcommand(s)' \
    )
    _describe -t commands 'awf-probe commands' commands "$@"
}
(( $+functions[_awf-probe__subcmd__auto_commands] )) ||
_awf-probe__subcmd__auto_commands() {
    local commands; commands=()
    _describe -t commands 'awf-probe auto commands' commands "$@"
}
(( $+functions[_awf-probe__subcmd__bench_commands] )) ||
_awf-probe__subcmd__bench_commands() {
    local commands; commands=()
    _describe -t commands 'awf-probe bench commands' commands "$@"
}
(( $+functions[_awf-probe__subcmd__ci-matrix_commands] )) ||
_awf-probe__subcmd__ci-matrix_commands() {
    local commands; commands=()
    _describe -t commands 'awf-probe ci-matrix commands' commands "$@"
}
(( $+functions[_awf-probe__subcmd__clean_commands] )) ||
_awf-probe__subcmd__clean_commands() {
    local commands; commands=()
    _describe -t commands 'awf-probe clean commands' commands "$@"
}
(( $+functions[_awf-probe__subcmd__completions_commands] )) ||
_awf-probe__subcmd__completions_commands() {
    local commands; commands=()
    _describe -t commands 'awf-probe completions commands' commands "$@"
}
(( $+functions[_awf-probe__subcmd__coverage_commands] )) ||
_awf-probe__subcmd__coverage_commands() {
    local commands; commands=()
    _describe -t commands 'awf-probe coverage commands' commands "$@"
}
(( $+functions[_awf-probe__subcmd__diff_commands] )) ||
_awf-probe__subcmd__diff_commands() {
    local commands; commands=()
    _describe -t commands 'awf-probe diff commands' commands "$@"
}
(( $+functions[_awf-probe__subcmd__doctor_commands] )) ||
_awf-probe__subcmd__doctor_commands() {
    local commands; commands=()
    _describe -t commands 'awf-probe doctor commands' commands "$@"
}
(( $+functions[_awf-probe__subcmd__egress_commands] )) ||
_awf-probe__subcmd__egress_commands() {
    local commands; commands=()
    _describe -t commands 'awf-probe egress commands' commands "$@"
}
(( $+functions[_awf-probe__subcmd__explain_commands] )) ||
_awf-probe__subcmd__explain_commands() {
    local commands; commands=()
    _describe -t commands 'awf-probe explain commands' commands "$@"
}
(( $+functions[_awf-probe__subcmd__help_commands] )) ||
_awf-probe__subcmd__help_commands() {
    local commands; commands=(
'run:Measure runtimes and judge them' \
'list:List the capabilities' \
'explain:Explain a capability\: why, how, its control, what a fail means; and what the last run saw' \
'coverage:Rows of features × runtimes, with verdicts and what is still open' \
'surprises:The cells that came out otherwise than source code, documentation and issue threads claim' \
'judge:Judge a journal again, without an engine' \
'egress:Try every way out under every enforcement model, and show who gets out and how' \
'bench:What each runtime costs, beside a reference that is measured in the same rounds' \
'rehearse:Bring the agent up with the settings that \`select\` emits, start it as AWF does, and have it do a real job' \
'selftest:Put defects in on purpose, one at a time, and see whether the verdicts on this host notice them' \
'diff:What changed between two runs\: verdicts, and the versions that may be the cause' \
'select:From reports to the runtime AWF should use, with reasons, or a refusal' \
'auto:Select from what is known of this host, and measure only what no valid report is there for' \
'ci-matrix:Print runtimes as the JSON of a GitHub strategy.matrix' \
'matrix:One matrix of the reports of many hosts\: the same fingerprint merged, different hosts side by side' \
'doctor:Check engine, kernel, helper, toolbox and every registered runtime, and say what to do' \
'clean:Remove what runs that were cut off have left' \
'completions:Print the completions of a shell' \
'man:Print the man page, of awf-probe or of a subcommand; or write all of them' \
'help:Print this message or the help of the given subcommand(s)' \
    )
    _describe -t commands 'awf-probe help commands' commands "$@"
}
(( $+functions[_awf-probe__subcmd__help__subcmd__auto_commands] )) ||
_awf-probe__subcmd__help__subcmd__auto_commands() {
    local commands; commands=()
    _describe -t commands 'awf-probe help auto commands' commands "$@"
}
(( $+functions[_awf-probe__subcmd__help__subcmd__bench_commands] )) ||
_awf-probe__subcmd__help__subcmd__bench_commands() {
    local commands; commands=()
    _describe -t commands 'awf-probe help bench commands' commands "$@"
}
(( $+functions[_awf-probe__subcmd__help__subcmd__ci-matrix_commands] )) ||
_awf-probe__subcmd__help__subcmd__ci-matrix_commands() {
    local commands; commands=()
    _describe -t commands 'awf-probe help ci-matrix commands' commands "$@"
}
(( $+functions[_awf-probe__subcmd__help__subcmd__clean_commands] )) ||
_awf-probe__subcmd__help__subcmd__clean_commands() {
    local commands; commands=()
    _describe -t commands 'awf-probe help clean commands' commands "$@"
}
(( $+functions[_awf-probe__subcmd__help__subcmd__completions_commands] )) ||
_awf-probe__subcmd__help__subcmd__completions_commands() {
    local commands; commands=()
    _describe -t commands 'awf-probe help completions commands' commands "$@"
}
(( $+functions[_awf-probe__subcmd__help__subcmd__coverage_commands] )) ||
_awf-probe__subcmd__help__subcmd__coverage_commands() {
    local commands; commands=()
    _describe -t commands 'awf-probe help coverage commands' commands "$@"
}
(( $+functions[_awf-probe__subcmd__help__subcmd__diff_commands] )) ||
_awf-probe__subcmd__help__subcmd__diff_commands() {
    local commands; commands=()
    _describe -t commands 'awf-probe help diff commands' commands "$@"
}
(( $+functions[_awf-probe__subcmd__help__subcmd__doctor_commands] )) ||
_awf-probe__subcmd__help__subcmd__doctor_commands() {
    local commands; commands=()
    _describe -t commands 'awf-probe help doctor commands' commands "$@"
}
(( $+functions[_awf-probe__subcmd__help__subcmd__egress_commands] )) ||
_awf-probe__subcmd__help__subcmd__egress_commands() {
    local commands; commands=()
    _describe -t commands 'awf-probe help egress commands' commands "$@"
}
(( $+functions[_awf-probe__subcmd__help__subcmd__explain_commands] )) ||
_awf-probe__subcmd__help__subcmd__explain_commands() {
    local commands; commands=()
    _describe -t commands 'awf-probe help explain commands' commands "$@"
}
(( $+functions[_awf-probe__subcmd__help__subcmd__help_commands] )) ||
_awf-probe__subcmd__help__subcmd__help_commands() {
    local commands; commands=()
    _describe -t commands 'awf-probe help help commands' commands "$@"
}
(( $+functions[_awf-probe__subcmd__help__subcmd__judge_commands] )) ||
_awf-probe__subcmd__help__subcmd__judge_commands() {
    local commands; commands=()
    _describe -t commands 'awf-probe help judge commands' commands "$@"
}
(( $+functions[_awf-probe__subcmd__help__subcmd__list_commands] )) ||
_awf-probe__subcmd__help__subcmd__list_commands() {
    local commands; commands=()
    _describe -t commands 'awf-probe help list commands' commands "$@"
}
(( $+functions[_awf-probe__subcmd__help__subcmd__man_commands] )) ||
_awf-probe__subcmd__help__subcmd__man_commands() {
    local commands; commands=()
    _describe -t commands 'awf-probe help man commands' commands "$@"
}
(( $+functions[_awf-probe__subcmd__help__subcmd__matrix_commands] )) ||
_awf-probe__subcmd__help__subcmd__matrix_commands() {
    local commands; commands=()
    _describe -t commands 'awf-probe help matrix commands' commands "$@"
}
(( $+functions[_awf-probe__subcmd__help__subcmd__rehearse_commands] )) ||
_awf-probe__subcmd__help__subcmd__rehearse_commands() {
    local commands; commands=()
    _describe -t commands 'awf-probe help rehearse commands' commands "$@"
}
(( $+functions[_awf-probe__subcmd__help__subcmd__run_commands] )) ||
_awf-probe__subcmd__help__subcmd__run_commands() {
    local commands; commands=()
    _describe -t commands 'awf-probe help run commands' commands "$@"
}
(( $+functions[_awf-probe__subcmd__help__subcmd__select_commands] )) ||
_awf-probe__subcmd__help__subcmd__select_commands() {
    local commands; commands=()
    _describe -t commands 'awf-probe help select commands' commands "$@"
}
(( $+functions[_awf-probe__subcmd__help__subcmd__selftest_commands] )) ||
_awf-probe__subcmd__help__subcmd__selftest_commands() {
    local commands; commands=()
    _describe -t commands 'awf-probe help selftest commands' commands "$@"
}
(( $+functions[_awf-probe__subcmd__help__subcmd__surprises_commands] )) ||
_awf-probe__subcmd__help__subcmd__surprises_commands() {
    local commands; commands=()
    _describe -t commands 'awf-probe help surprises commands' commands "$@"
}
(( $+functions[_awf-probe__subcmd__judge_commands] )) ||
_awf-probe__subcmd__judge_commands() {
    local commands; commands=()
    _describe -t commands 'awf-probe judge commands' commands "$@"
}
(( $+functions[_awf-probe__subcmd__list_commands] )) ||
_awf-probe__subcmd__list_commands() {
    local commands; commands=()
    _describe -t commands 'awf-probe list commands' commands "$@"
}
(( $+functions[_awf-probe__subcmd__man_commands] )) ||
_awf-probe__subcmd__man_commands() {
    local commands; commands=()
    _describe -t commands 'awf-probe man commands' commands "$@"
}
(( $+functions[_awf-probe__subcmd__matrix_commands] )) ||
_awf-probe__subcmd__matrix_commands() {
    local commands; commands=()
    _describe -t commands 'awf-probe matrix commands' commands "$@"
}
(( $+functions[_awf-probe__subcmd__rehearse_commands] )) ||
_awf-probe__subcmd__rehearse_commands() {
    local commands; commands=()
    _describe -t commands 'awf-probe rehearse commands' commands "$@"
}
(( $+functions[_awf-probe__subcmd__run_commands] )) ||
_awf-probe__subcmd__run_commands() {
    local commands; commands=()
    _describe -t commands 'awf-probe run commands' commands "$@"
}
(( $+functions[_awf-probe__subcmd__select_commands] )) ||
_awf-probe__subcmd__select_commands() {
    local commands; commands=()
    _describe -t commands 'awf-probe select commands' commands "$@"
}
(( $+functions[_awf-probe__subcmd__selftest_commands] )) ||
_awf-probe__subcmd__selftest_commands() {
    local commands; commands=()
    _describe -t commands 'awf-probe selftest commands' commands "$@"
}
(( $+functions[_awf-probe__subcmd__surprises_commands] )) ||
_awf-probe__subcmd__surprises_commands() {
    local commands; commands=()
    _describe -t commands 'awf-probe surprises commands' commands "$@"
}

if [ "$funcstack[1]" = "_awf-probe" ]; then
    _awf-probe "$@"
else
    compdef _awf-probe awf-probe
fi
