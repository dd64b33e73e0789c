//! The HTML report in headless Chromium: shown, filtered, clicked, and driven by keys.
//!
//! Needs a Chromium (`chromium` of Debian, or the one that `AWF_PROBE_CHROMIUM` names). Without one the test says so and
//! is left out; with `AWF_PROBE_BROWSER=1` it fails instead. The browser runs in a network namespace of its own, without
//! any link: a page that needed the network would not work, and the browser cannot call home.
//! `AWF_PROBE_LOOK=DIR` keeps the pages and screenshots.

use std::{
    env, fs,
    io::{BufRead, BufReader, Write},
    path::{Path, PathBuf},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
};

use awf_probe::judge::judge;
use awf_probe_matrix::{
    Catalogue, Cell, Matrix,
    bench::{Bench, Figures, Round, Subject},
};
use awf_probe_reports::{Format, Style, bench, render};
use serde_json::{Value, json};

mod common;
use common::{data, events};

#[test]
fn the_page_works_in_a_browser() {
    let Some(chromium) = chromium() else {
        assert!(
            env::var_os("AWF_PROBE_BROWSER").is_none(),
            "AWF_PROBE_BROWSER is set, and there is no usable Chromium"
        );
        let why = "left out: no Chromium that starts in a network namespace of its own (apt-get install chromium)";
        writeln!(std::io::stderr(), "{why}").expect("stderr");
        return;
    };
    let dir = env::var_os("AWF_PROBE_LOOK").map_or_else(|| PathBuf::from(env!("CARGO_TARGET_TMPDIR")), PathBuf::from);
    let catalogue = Catalogue::builtin().expect("the catalogue");
    let matrix = large();
    let page = render(&matrix, &catalogue, Format::Html, Style::default()).expect("rendered");
    let file = dir.join("report.html");
    fs::write(&file, &page).expect("written");
    let mut tab = Tab::open(&chromium, &dir);

    tab.size(1280, 900, "light");
    tab.load(&file);
    assert_eq!(tab.eval("document.title.startsWith('awf-probe: ')"), json!(true));
    let elements = tab.eval("document.querySelectorAll('*').length").as_u64().expect("a number");
    assert!(elements < 4000, "{elements} elements for {} cells before anything is opened", matrix.cells.len());
    assert_eq!(tab.eval("document.querySelectorAll('.cell').length"), json!(0));
    tab.shot(&dir, "desktop-light");

    // Open every group: what is made stays bounded.
    tab.eval(
        "for (let n = 0, all; n < (all = document.querySelectorAll('.group > button')).length; n++) all[n].click()",
    );
    let rows = tab.eval("Math.max(...[...document.querySelectorAll('.group tbody')].map(t => t.rows.length))");
    assert!(rows.as_u64().is_some_and(|n| n > 0 && n <= 100), "{rows}");
    tab.load(&file);

    // Filters: verdict, family, text.
    let all = tab.eval(STATUS);
    tab.eval("document.querySelector('#verdicts input[value=fail]').click()");
    tab.settle();
    let failing = expected_rows(&matrix, &|c| c.verdict.word() == "fail");
    assert_eq!(shown(&tab.eval(STATUS)), failing, "rows in which something fails");
    assert_ne!(tab.eval(STATUS), all);
    tab.eval("document.querySelector('#clear').click()");
    tab.settle();
    assert_eq!(tab.eval(STATUS), all);
    tab.eval(&choose("family", "procfs"));
    tab.settle();
    assert_eq!(shown(&tab.eval(STATUS)), expected_rows(&matrix, &|c| c.id.starts_with("procfs.")));
    tab.eval("document.querySelector('.group > button').click(); document.querySelector('#matrix').scrollIntoView()");
    tab.shot(&dir, "desktop-procfs");
    assert!(tab.eval("document.querySelectorAll('.cell').length").as_u64() > Some(10));

    // The keyboard: arrows move, Enter opens, Escape closes and the cell has the focus again.
    tab.eval("document.querySelector('.cell').focus()");
    tab.key("ArrowRight", 39);
    tab.key("ArrowDown", 40);
    let place = tab
        .eval("[document.activeElement.closest('tr').sectionRowIndex, document.activeElement.closest('td').cellIndex]");
    assert_eq!(place, json!([1, 2]));
    tab.key("Enter", 13);
    assert_eq!(tab.eval("document.querySelector('#detail').open"), json!(true));
    for part in ["Expected", "Observed", "Evidence", "Control", "Remedy"] {
        let there = format!("[...document.querySelectorAll('#detail h3')].some(h => h.textContent === '{part}')");
        assert_eq!(tab.eval(&there), json!(true), "{part}");
    }
    tab.shot(&dir, "desktop-detail");
    tab.key("Escape", 27);
    assert_eq!(tab.eval("document.querySelector('#detail').open"), json!(false));
    assert_eq!(tab.eval("document.activeElement.classList.contains('cell')"), json!(true));
    tab.key("/", 191);
    assert_eq!(tab.eval("document.activeElement.id"), json!("search"));

    // Two runtimes side by side, and only where they differ.
    tab.eval("document.querySelector('#clear').click()");
    tab.settle();
    tab.eval(&(choose("runtime", "0") + &choose("beside", "1") + "document.querySelector('#differ').click()"));
    tab.settle();
    assert!(shown(&tab.eval(STATUS)) > 0 && shown(&tab.eval(STATUS)) < shown(&all), "some rows differ");
    tab.eval("document.querySelector('.group > button').click()");
    assert_eq!(tab.eval("document.querySelector('.grid thead tr').cells.length"), json!(3));
    tab.eval("document.querySelector('.cell').click()");
    assert_eq!(tab.eval("document.querySelectorAll('#detail .side').length"), json!(2));
    tab.shot(&dir, "desktop-beside");
    tab.key("Escape", 27);

    // The picture: its numbers are those of the report, and lead to the attempts behind them.
    tab.eval("document.querySelector('#clear').click()");
    tab.settle();
    let name = &matrix.runtimes[0].name;
    let blocked = matrix.cells.iter().filter(|c| {
        c.id.starts_with("egress.")
            && c.runtime == *name
            && c.model.as_deref() == Some("netns-init")
            && c.backend.as_deref() == Some("legacy")
    });
    let blocked = blocked.filter(|c| c.result.is_some_and(|r| r.word() == "blocked")).count();
    assert!(blocked > 0);
    let end = "document.querySelector('[data-stage=\"netns-init/legacy\"] [aria-label*=\"blocked under\"]')";
    assert_eq!(tab.eval(&format!("{end}.textContent")), json!(format!("{blocked} blocked")));
    tab.eval(&format!("{end}.dispatchEvent(new MouseEvent('click', {{bubbles: true}}))"));
    tab.settle();
    assert_eq!(shown(&tab.eval(STATUS)), blocked);
    tab.shot(&dir, "desktop-picture");

    // Hostile text is text.
    tab.eval("document.querySelector('#clear').click()");
    tab.settle();
    tab.eval("document.querySelector('.group > button').click(); document.querySelector('.cell').click()");
    assert_eq!(tab.eval("document.querySelector('#detail .observed').textContent"), json!(HOSTILE));
    assert_eq!(tab.eval("document.querySelectorAll('img, iframe, object').length"), json!(0));
    assert_eq!(tab.eval("typeof window.owned"), json!("undefined"));
    tab.key("Escape", 27);

    // A phone: nothing wider than the screen, in both colours.
    for colours in ["light", "dark"] {
        tab.size(390, 844, colours);
        tab.load(&file);
        assert_eq!(
            tab.eval("document.documentElement.scrollWidth <= 390"),
            json!(true),
            "{colours}: wider than a phone"
        );
        tab.shot(&dir, &format!("phone-{colours}"));
        tab.eval(
            "document.querySelector('.group > button').click(); document.querySelector('#matrix').scrollIntoView()",
        );
        assert_eq!(tab.eval("document.documentElement.scrollWidth <= 390"), json!(true), "{colours}: opened");
        tab.shot(&dir, &format!("phone-{colours}-matrix"));
        tab.eval("document.querySelector('#s-egress').scrollIntoView()");
        tab.shot(&dir, &format!("phone-{colours}-picture"));
        tab.eval("document.querySelectorAll('.cell')[1].click()");
        tab.shot(&dir, &format!("phone-{colours}-detail"));
    }
    tab.size(1280, 900, "dark");
    tab.load(&file);
    tab.eval("document.querySelector('#s-egress').scrollIntoView()");
    tab.shot(&dir, "desktop-dark");
    assert_eq!(tab.problems, Vec::<String>::new(), "the page's script and policy had nothing to complain about");
}

/// Figures of five sandboxes: quantities apart and alike, many samples and few, one that has none.
fn figures() -> Bench {
    let subject = |name: &str| Subject {
        name: name.to_owned(),
        version: format!("{name} version 1"),
        command: format!("/usr/bin/{name}"),
        sha256: "0".repeat(64),
        class: None,
        clock: Some(1.0),
        unusable: None,
    };
    let rounds = |cost: f64, visits: usize, samples: usize| -> Vec<Round> {
        let at = |r: usize, v: usize, s: usize| {
            let wave = ((r * 31 + v * 17 + s * 7) % 23) as f64 / 23.0;
            let late = if (r + v + s) % 29 == 28 { 6.0 } else { 1.0 };
            cost * (1.0 + 0.12 * wave * wave) * late
        };
        (0..12).map(|r| (0..visits).map(|v| (0..samples).map(|s| at(r, v, s)).collect()).collect()).collect()
    };
    let of = |id: &str, cost: f64, times: &[f64], visits: usize, samples: usize| Figures {
        id: id.to_owned(),
        title: format!("what {id} does"),
        how: "a call of the kernel".to_owned(),
        unit: if id.starts_with("memory") { "bytes" } else { "ns" },
        reference: rounds(cost, visits, samples),
        twin: rounds(cost, visits, samples).into_iter().rev().collect(),
        candidates: times.iter().map(|t| rounds(cost * t, visits, samples)).collect(),
        missing: vec![],
    };
    let mut benches = vec![
        of("lifecycle.start", 182e6, &[1.44, 1.5, 1.4], 2, 1),
        of("memory.idle", 9e6, &[6.0, 6.1, 5.5], 2, 1),
        of("syscall.getppid", 80.0, &[11.0, 12.0, 11.5], 2, 5),
        of("file.bind.open", 2100.0, &[1.0, 14.0, 0.7], 2, 5),
        of("tool.npm", 6e9, &[2.5, 2.6, 2.4], 1, 1),
    ];
    benches[4].candidates[2].clear();
    benches[4].missing.push(("sandbox-3".to_owned(), HOSTILE.to_owned()));
    Bench {
        version: "0.1.0".to_owned(),
        started: "2026-11-25T05:00:00Z".to_owned(),
        seconds: 61.5,
        suite: "full".to_owned(),
        budget: 60,
        precision: 0.05,
        machine: vec![("processor".to_owned(), "a processor".to_owned())],
        reference: subject("runc"),
        candidates: ["sandbox-1", "sandbox-2", "sandbox-3"].map(subject).to_vec(),
        benches,
    }
}

#[test]
fn the_page_of_a_bench_works_in_a_browser() {
    let Some(chromium) = chromium() else { return };
    let looked =
        env::var_os("AWF_PROBE_LOOK").map_or_else(|| PathBuf::from(env!("CARGO_TARGET_TMPDIR")), PathBuf::from);
    // A browser of its own beside the other test's.
    let dir = looked.join("bench");
    fs::create_dir_all(&dir).expect("a folder");
    // `AWF_PROBE_BENCH` names a bench.json that is shown instead; then nothing is counted.
    let given = env::var_os("AWF_PROBE_BENCH").map(|path| fs::read_to_string(path).expect("a bench.json"));
    let shown =
        given.as_deref().map_or_else(|| bench::document(&figures()), |text| bench::read(text).expect("a document"));
    let file = dir.join("bench.html");
    fs::write(&file, bench::html(&shown)).expect("written");
    let mut tab = Tab::open(&chromium, &dir);
    for (width, height) in [(1280, 900), (390, 844)] {
        for colours in ["light", "dark"] {
            tab.size(width, height, colours);
            tab.load(&file);
            let fits = format!("document.documentElement.scrollWidth <= {width}");
            assert_eq!(tab.eval(&fits), json!(true), "{colours}: wider than {width}");
            // What the sheet says holds: a policy that refused it would leave black shapes on white.
            let dark = tab.eval("getComputedStyle(document.body).backgroundColor") == json!("rgb(13, 17, 23)");
            assert_eq!(dark, colours == "dark");
            let lanes = "[...document.querySelectorAll('.bench svg[role=img]')]";
            let narrow = tab.eval(&format!("Math.min(...{lanes}.map(s => s.getBoundingClientRect().width))"));
            assert!(narrow.as_f64() > Some(150.0), "a lane of {narrow} pixels");
            // Nothing is drawn outside its picture, and silhouettes are broader than a line.
            let outside = format!(
                "{lanes}.filter(s => [...s.querySelectorAll('.often,.median,.box')].some(e => {{
                    const a = e.getBoundingClientRect(), b = s.getBoundingClientRect();
                    return a.right < b.left - 1 || a.left > b.right + 1; }})).length"
            );
            assert_eq!(tab.eval(&outside), json!(0));
            tab.shot(&dir, &format!("top-{width}-{colours}"));
            tab.eval("document.querySelector('.ratios').scrollIntoView()");
            tab.shot(&dir, &format!("ratios-{width}-{colours}"));
            tab.eval("document.querySelector('.bench').scrollIntoView()");
            tab.shot(&dir, &format!("lanes-{width}-{colours}"));
        }
    }
    if given.is_none() {
        let count = |tab: &mut Tab, what: &str| tab.eval(&format!("document.querySelectorAll('{what}').length"));
        // Five benches with reference, twin and three candidates, one of them without figures.
        assert_eq!(count(&mut tab, ".bench .median"), json!(24));
        assert_eq!(count(&mut tab, ".ratios .noise"), json!(5));
        assert!(count(&mut tab, ".bench .dot").as_u64() > Some(30), "few samples are dots");
        assert_eq!(count(&mut tab, "img, script"), json!(0));
        let told = tab.eval("document.body.textContent").as_str().is_some_and(|t| t.contains(HOSTILE));
        assert!(told, "the reason is text");
    }
    assert_eq!(tab.problems, Vec::<String>::new(), "the page's policy had nothing to complain about");
}

/// The golden runs of two runtimes as if of one host, three of them copies, so that it is as large as reports get; and a
/// reason of the first one hostile.
fn large() -> Matrix {
    let data = data();
    let of = |journal: &str, name: &str| {
        let mut one = judge(&events(journal), &data.catalogue, &data.models, &data.products);
        one.runtimes[0].name = name.to_owned();
        one.cells.iter_mut().for_each(|c| c.runtime = name.to_owned());
        one.requirements.iter_mut().for_each(|r| r.runtime = name.to_owned());
        one
    };
    let mut whole = of("runc", "runc");
    for (journal, name) in [("runsc", "runsc"), ("runc", "runc-2"), ("runsc", "runsc-2"), ("runc", "runc-3")] {
        let one = of(journal, name);
        whole.runtimes.extend(one.runtimes);
        whole.cells.extend(one.cells);
        whole.requirements.extend(one.requirements);
    }
    first_shown(&mut whole).reason = HOSTILE.to_owned();
    whole
}

/// The first cell of the page: the first capability of the catalogue, of the first runtime.
fn first_shown(matrix: &mut Matrix) -> &mut Cell {
    let catalogue = Catalogue::builtin().expect("the catalogue");
    let runtime = matrix.runtimes[0].name.clone();
    let ids: Vec<&str> = catalogue.capabilities.iter().map(|c| c.id.as_str()).collect();
    let mine = matrix.cells.iter_mut().filter(|c| c.runtime == runtime);
    mine.min_by_key(|c| ids.iter().position(|id| *id == c.id)).expect("a cell")
}

/// Rows (capability, model, backend) in which a cell that is no control is as wanted.
fn expected_rows(matrix: &Matrix, wanted: &dyn Fn(&Cell) -> bool) -> usize {
    let models = data().models;
    let control = |c: &Cell| c.model.as_ref().is_some_and(|m| models.iter().any(|k| k.id == *m && !k.counts));
    let rows = matrix.cells.iter().filter(|c| !control(c) && wanted(c)).map(|c| (&c.id, &c.model, &c.backend));
    rows.collect::<std::collections::BTreeSet<_>>().len()
}

fn shown(status: &Value) -> usize {
    let text = status.as_str().expect("a text");
    text.split(' ').next().and_then(|n| n.parse().ok()).unwrap_or_else(|| panic!("{text}"))
}

fn choose(id: &str, value: &str) -> String {
    format!(
        "{{const s = document.querySelector('#{id}'); s.value = '{value}'; s.dispatchEvent(new Event('input', {{bubbles: true}}));}}"
    )
}

const STATUS: &str = "document.querySelector('#status').textContent";
const HOSTILE: &str = "</script><img src=x onerror=\"window.owned=1\"><script>window.owned=1</script>";

/// The program, if it starts in a network namespace without links.
fn chromium() -> Option<String> {
    let named = env::var("AWF_PROBE_CHROMIUM").ok();
    let names = named.into_iter().chain(["chromium", "chromium-browser", "google-chrome"].map(str::to_owned));
    names.into_iter().find(|name| {
        let mut command = Command::new("unshare");
        command.args(ALONE).args([name, "--version", "--no-sandbox"]).stdout(Stdio::null()).stderr(Stdio::null());
        command.status().is_ok_and(|s| s.success())
    })
}

const ALONE: [&str; 4] = ["--user", "--map-root-user", "--net", "--"];

/// A tab, driven through the browser's debugging pipe.
struct Tab {
    browser: Child,
    to: ChildStdin,
    from: BufReader<ChildStdout>,
    session: String,
    next: u64,
    problems: Vec<String>,
}

impl Tab {
    fn open(chromium: &str, dir: &Path) -> Self {
        let profile = dir.join("browser-profile");
        drop(fs::remove_dir_all(&profile));
        // The pipe is descriptors 3 and 4.
        let mut browser = Command::new("unshare")
            .args(ALONE)
            .args(["sh", "-c", "exec \"$@\" 3<&0 4>&1 >/dev/null 2>&1", "sh", chromium])
            .args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run"])
            .args(["--disable-background-networking", "--disable-component-update", "--disable-sync"])
            .args(["--remote-debugging-pipe", "--hide-scrollbars"])
            .arg(format!("--user-data-dir={}", profile.display()))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the browser starts");
        let (to, from) = (browser.stdin.take().expect("a pipe"), browser.stdout.take().expect("a pipe"));
        let mut tab =
            Self { browser, to, from: BufReader::new(from), session: String::new(), next: 0, problems: vec![] };
        let target = tab.call("Target.createTarget", json!({"url": "about:blank"}))["targetId"].clone();
        let attached = tab.call("Target.attachToTarget", json!({"targetId": target, "flatten": true}));
        tab.session = attached["sessionId"].as_str().expect("a session").to_owned();
        for domain in ["Page.enable", "Runtime.enable", "Log.enable"] {
            tab.call(domain, json!({}));
        }
        tab
    }

    fn call(&mut self, method: &str, params: Value) -> Value {
        self.next += 1;
        let id = self.next;
        let mut message = json!({"id": id, "method": method, "params": params});
        if !self.session.is_empty() {
            message["sessionId"] = self.session.clone().into();
        }
        self.to.write_all(format!("{message}\0").as_bytes()).expect("the browser listens");
        loop {
            let answer = self.receive();
            if answer["id"] == id {
                assert!(answer["error"].is_null(), "{method}: {}", answer["error"]);
                return answer["result"].clone();
            }
        }
    }

    fn receive(&mut self) -> Value {
        let mut bytes = Vec::new();
        self.from.read_until(0, &mut bytes).expect("the browser answers");
        bytes.pop().expect("the browser is still there");
        let message: Value = serde_json::from_slice(&bytes).expect("JSON");
        let method = message["method"].as_str().unwrap_or_default();
        if method == "Runtime.exceptionThrown" || method == "Log.entryAdded" {
            self.problems.push(message["params"].to_string());
        }
        message
    }

    fn load(&mut self, file: &Path) {
        self.call("Page.navigate", json!({"url": format!("file://{}", file.display())}));
        while self.receive()["method"] != "Page.loadEventFired" {}
    }

    /// The value of an expression; a promise is waited for.
    fn eval(&mut self, expression: &str) -> Value {
        let asked = json!({"expression": expression, "returnByValue": true, "awaitPromise": true});
        let answer = self.call("Runtime.evaluate", asked);
        assert!(answer["exceptionDetails"].is_null(), "{expression}: {}", answer["exceptionDetails"]);
        answer["result"]["value"].clone()
    }

    /// Lets timers of the page run.
    fn settle(&mut self) {
        self.eval("new Promise(done => setTimeout(done, 200))");
    }

    fn key(&mut self, key: &str, code: u32) {
        for kind in ["keyDown", "keyUp"] {
            let mut event = json!({"type": kind, "key": key, "windowsVirtualKeyCode": code});
            if key == "Enter" && kind == "keyDown" {
                event["text"] = "\r".into();
            }
            self.call("Input.dispatchKeyEvent", event);
        }
        self.settle();
    }

    fn size(&mut self, width: u32, height: u32, colours: &str) {
        let metrics = json!({"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600});
        self.call("Emulation.setDeviceMetricsOverride", metrics);
        let still = json!({"name": "prefers-reduced-motion", "value": "reduce"});
        let features = json!([{"name": "prefers-color-scheme", "value": colours}, still]);
        self.call("Emulation.setEmulatedMedia", json!({"features": features}));
    }

    fn shot(&mut self, dir: &Path, name: &str) {
        let picture = self.call("Page.captureScreenshot", json!({"format": "png"}));
        let coded = picture["data"].as_str().expect("a picture");
        assert!(coded.starts_with("iVBORw0KGgo"), "{name}: a PNG");
        fs::write(dir.join(format!("{name}.png")), unbase64(coded)).expect("written");
    }
}

impl Drop for Tab {
    fn drop(&mut self) {
        drop(self.browser.kill());
        drop(self.browser.wait());
    }
}

fn unbase64(text: &str) -> Vec<u8> {
    let value = |b: u8| match b {
        b'A'..=b'Z' => b - b'A',
        b'a'..=b'z' => b - b'a' + 26,
        b'0'..=b'9' => b - b'0' + 52,
        b'+' => 62,
        _ => 63,
    };
    let bytes: Vec<u8> = text.bytes().filter(|b| *b != b'=').map(value).collect();
    let join = |c: &[u8]| c.iter().enumerate().fold(0u32, |w, (n, b)| w | u32::from(*b) << (18 - 6 * n));
    bytes.chunks(4).flat_map(|c| join(c).to_be_bytes()[1..c.len()].to_vec()).collect()
}
