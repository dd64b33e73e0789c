//! Crafted matrices over a small catalogue of their own, so that the real one may grow.

use std::collections::BTreeMap;

use awf_probe_matrix::{
    Catalogue, Cell, Coverage, Fingerprint, Host, IsolationClass, Leftovers, Matrix, Result_, RunInfo, RuntimeRow,
    Scope, Sighting, Verdict, assess, models,
};

#[derive(Clone, Copy, Debug)]
pub(super) enum Fixture {
    /// runc alone, everything passes.
    One,
    /// Five runtimes with every verdict; one cannot start.
    Five,
    /// Eight of them, with long names.
    Eight,
    /// Everything a hostile sandbox or file could say.
    Hostile,
    /// No runtime at all.
    Empty,
}

impl Fixture {
    pub(super) fn matrix(self) -> Matrix {
        let names: &[&str] = match self {
            Self::One => &["runc"],
            Self::Five => &["runc", "crun", "gvisor", "kata", "broken"],
            Self::Eight => &[
                "runc",
                "crun",
                "youki",
                "runsc-systrap",
                "runsc-kvm",
                "io.containerd.kata-qemu.v2",
                "kata-clh",
                "krun",
            ],
            Self::Hostile => &["runc", HOSTILE],
            Self::Empty => &[],
        };
        let mut matrix = build(&catalogue(), names);
        if let Self::Hostile = self {
            poison(&mut matrix);
        }
        matrix
    }
}

/// Every capability of a catalogue, for two runtimes.
pub(super) fn everything(catalogue: &Catalogue, class: IsolationClass) -> Matrix {
    let mut matrix = build(catalogue, &["runc", "gvisor"]);
    matrix.runtimes[1].class = Some(class);
    matrix
}

pub(super) fn catalogue() -> Catalogue {
    let entry = |(id, scope, kind): &Entry| {
        let rest = match *kind {
            "egress" => format!("attempt = \"{}\"\nwant = \"contained\"", id.trim_start_matches("egress.")),
            _ => "controls = [\"a/b = allowed\"]\npass = [\"a/c = allowed\"]".to_owned(),
        };
        format!(
            "[[capability]]\nid = \"{id}\"\ntitle = \"what {id} asks\"\nkind = \"{kind}\"\nscope = \"{scope}\"\n\
             why = \"w\"\nhow = \"h\"\ncontrol = \"c\"\nremedy = \"r\"\n{rest}\n"
        )
    };
    let files: Vec<(&str, String)> = FAMILIES
        .iter()
        .map(|(family, entries)| {
            (*family, format!("family = \"{family}\"\n{}", entries.iter().map(entry).collect::<String>()))
        })
        .collect();
    let borrowed: Vec<(&str, &str)> = files.iter().map(|(f, t)| (*f, t.as_str())).collect();
    Catalogue::parse(&borrowed, REQUIREMENTS).unwrap()
}

fn build(catalogue: &Catalogue, names: &[&str]) -> Matrix {
    let mut cells = Vec::new();
    for runtime in names {
        for capability in &catalogue.capabilities {
            match capability.scope {
                Scope::Solo => cells.push(cell(&capability.id, runtime, None, None)),
                Scope::Netns => {
                    for init in ["init=runc".to_owned(), format!("init={runtime}")]
                        .iter()
                        .take(1 + usize::from(*runtime != "runc"))
                    {
                        cells.push(cell(&capability.id, runtime, Some(init), None));
                    }
                }
                Scope::Egress | Scope::Guard | Scope::DualStack => {
                    let all = capability.scope == Scope::Egress;
                    for model in models().unwrap().into_iter().filter(|m| all || m.counts) {
                        let backends = if model.backends.is_empty() {
                            vec![None]
                        } else {
                            model.backends.iter().map(Some).collect()
                        };
                        for backend in backends {
                            cells.push(cell(&capability.id, runtime, Some(&model.id), backend.map(String::as_str)));
                        }
                    }
                }
            }
        }
    }
    let requirements = names.iter().flat_map(|n| assess(catalogue, &models().unwrap(), n, &cells)).collect();
    Matrix {
        run: RunInfo {
            id: "3f9a1c07".to_owned(),
            version: "0.1.0".to_owned(),
            started: "2026-01-02T03:04:05Z".to_owned(),
            elapsed_ms: 12_345,
            catalogue: catalogue.hash.clone(),
            document_range: "198.51.100.0/24".to_owned(),
            lab: vec!["10.201.7.0/24".to_owned()],
            proxy: "squid 6.6".to_owned(),
            complete: true,
            timings: [("sandboxes".to_owned(), 34_000)].into(),
            ..RunInfo::default()
        },
        host: Host {
            kernel: "6.8.0-test".to_owned(),
            os: "Ubuntu 24.04.3 LTS".to_owned(),
            arch: "x86_64".to_owned(),
            engine: "29.1.3".to_owned(),
            api: "1.52".to_owned(),
            cgroup: "2".to_owned(),
            cgroup_driver: "systemd".to_owned(),
            default_runtime: "runc".to_owned(),
            cpus: 8,
            settings: std::collections::BTreeMap::new(),
            ..Host::default()
        },
        runtimes: names.iter().map(|n| row(n)).collect(),
        coverage: Coverage { measured: cells.len() * 9 / 10, examined: cells.len(), total: cells.len() },
        cells,
        requirements,
        leftovers: Leftovers { checked: true, ..Leftovers::default() },
    }
}

fn row(name: &str) -> RuntimeRow {
    let path = |p: &str| Fingerprint { path: p.to_owned(), sha256: "00".repeat(32), ..Fingerprint::default() };
    let (product, version, class) = match name {
        "crun" => ("crun", "crun version 1.21", IsolationClass::SharedKernel),
        "gvisor" | "runsc-systrap" | "runsc-kvm" => {
            ("runsc", "runsc version release-20260105.0", IsolationClass::UserSpaceKernel)
        }
        n if n.contains("kata") => ("kata", "kata-runtime  : 3.24.0", IsolationClass::GuestKernel),
        _ => ("runc", "runc version 1.3.4", IsolationClass::SharedKernel),
    };
    let mut fingerprint = path(&format!("/usr/bin/{product}"));
    if name == "kata" {
        fingerprint = path("/usr/local/bin/kata-wrapper");
        fingerprint.wraps = Some(Box::new(path("/opt/kata/bin/kata-runtime")));
    }
    let broken = name == "broken";
    RuntimeRow {
        name: name.to_owned(),
        version: version.to_owned(),
        product: product.to_owned(),
        fingerprint,
        class: (!broken).then_some(class),
        unusable: broken.then(|| BROKEN.to_owned()),
        notes: vec!["kernel release 6.8.0-test".to_owned()],
    }
}

fn cell(id: &str, runtime: &str, model: Option<&str>, backend: Option<&str>) -> Cell {
    use {Result_ as R, Verdict as V};
    let control = matches!(model, Some("open" | "env-only"));
    let rules = model.is_some_and(|m| m.starts_with("netns-init"));
    let egress = id.starts_with("egress.");
    let (verdict, result, reason) = match (runtime, id) {
        ("broken", _) => (V::Skipped, None, BROKEN),
        (_, _) if control => (V::Fail, Some(R::Leaked), "arrived at the witness"),
        (r, "egress.tcp.80" | "egress.udp.high") if rules && (r == "gvisor" || r.starts_with("runsc")) => (
            V::Fail,
            Some(R::Leaked),
            "the witness saw it 3 times and the proxy did not: the init container's rules do not govern this agent",
        ),
        ("crun", "egress.icmp.ping") => (
            V::Inconclusive,
            Some(R::Inconclusive),
            "the same attempt did not arrive under `open`, so nothing is known about what blocks it",
        ),
        (_, "egress.ipv6.tcp") => (V::NotApplicable, Some(R::NotApplicable), "the engine gives the lab no IPv6"),
        (_, "egress.tcp.80") => (V::Pass, Some(R::Proxied), "arrived at the proxy and nowhere else"),
        (_, _) if egress => (V::Pass, Some(R::Blocked), "was made and arrived nowhere"),
        ("gvisor", "procfs.hidepid") => {
            (V::Partial, None, "the option is accepted, but foreign processes are still listed")
        }
        ("gvisor", "procfs.masked" | "cgroup.pids") => {
            (V::Fail, None, "the limit can be passed: 512 processes under a limit of 64")
        }
        ("kata", "cgroup.memory") => (V::Skipped, None, "tool missing: stress"),
        (_, _) => (V::Pass, None, "as it should be"),
    };
    Cell {
        id: id.to_owned(),
        runtime: runtime.to_owned(),
        model: model.map(str::to_owned),
        backend: backend.map(str::to_owned),
        verdict,
        reason: reason.to_owned(),
        result,
        evidence: vec![Sighting { source: "guest".to_owned(), saw: "EPERM".to_owned(), journal_line: Some(17) }],
        rejection: None,
        counts: BTreeMap::new(),
    }
}

/// Hostile text wherever a sandbox, a runtime or a file could have put it.
fn poison(matrix: &mut Matrix) {
    for c in matrix.cells.iter_mut().filter(|c| c.runtime == HOSTILE && !c.id.starts_with("egress.tcp")) {
        c.verdict = Verdict::Fail;
        c.reason = format!("{HOSTILE} {}", c.id);
    }
    let mut unknown = matrix.cells[0].clone();
    unknown.id = format!("unknown.{HOSTILE}");
    unknown.verdict = Verdict::Partial;
    unknown.model = Some(HOSTILE.to_owned());
    let way_out = Cell {
        result: Some(Result_::Leaked),
        backend: Some(HOSTILE.to_owned()),
        verdict: Verdict::Fail,
        ..unknown.clone()
    };
    matrix.cells.extend([unknown, way_out]);
    for r in &mut matrix.requirements {
        r.model = HOSTILE.to_owned();
    }
    matrix.run.proxy = HOSTILE.to_owned();
    matrix.host.os = HOSTILE.to_owned();
    matrix.leftovers.ours = vec![HOSTILE.to_owned()];
    matrix.leftovers.others = vec![HOSTILE.to_owned()];
    let last = matrix.runtimes.len() - 1;
    matrix.runtimes[last].version = HOSTILE.to_owned();
    matrix.runtimes[last].fingerprint.wraps =
        Some(Box::new(Fingerprint { path: HOSTILE.to_owned(), ..Fingerprint::default() }));
}

pub(super) const HOSTILE: &str = "\u{1b}[2J\u{1b}]0;owned\u{7}a|b\\|c `code` </details><script>evil()</script>\n| x | y |\n\
    <img src=x> [x](http://evil.example) @evil #1 \u{202e}rtl\u{feff} \u{2028}日本語";

const BROKEN: &str =
    "cannot start: OCI runtime create failed: exec /usr/bin/broken: no such file or directory: unknown";

/// Id, scope and kind.
type Entry = (&'static str, &'static str, &'static str);

const FAMILIES: &[(&str, &[Entry])] = &[
    ("image", &[("image.starts", "solo", "works"), ("image.config", "solo", "works")]),
    ("netns", &[("netns.starts", "netns", "works"), ("netns.dnat.nft", "netns", "works")]),
    (
        "procfs",
        &[
            ("procfs.masked", "solo", "contained"),
            ("procfs.hidepid", "solo", "works"),
            ("procfs.mount", "solo", "works"),
        ],
    ),
    ("cgroup", &[("cgroup.memory", "solo", "works"), ("cgroup.pids", "solo", "works")]),
    (
        "egress",
        &[
            ("egress.tcp.80", "egress", "egress"),
            ("egress.udp.high", "egress", "egress"),
            ("egress.icmp.ping", "egress", "egress"),
            ("egress.ipv6.tcp", "egress", "egress"),
        ],
    ),
];

const REQUIREMENTS: &str = r#"
[[requirement]]
id = "R1"
title = "all traffic goes through the proxy"
cells = ["egress.tcp.80", "egress.udp.high", "egress.icmp.ping", "egress.ipv6.tcp"]

[[requirement]]
id = "R2"
title = "unmodified OCI images run"
cells = ["image.starts", "image.config"]

[[requirement]]
id = "R3"
title = "limits hold"
cells = ["cgroup.memory", "cgroup.pids"]
"#;
