
"use strict";
(() => {
const D = JSON.parse(document.getElementById("data").textContent);
const SYMBOLS = {"pass": "✓", "partial": "◐", "fail": "✗", "inconclusive": "?", "skipped": "–", "not-applicable": "·"};
const WHERE = {
  "leaked": "outside, past the proxy", "residual": "outside, by a way left open on purpose",
  "served": "its destination, through the proxy", "proxied": "the proxy, no further", "blocked": "nowhere",
  "refused-at-source": "never made: refused in the agent", "inconclusive": "it cannot be told", "not-applicable": "cannot be made here"
};
const PAGE_ROWS = 100;
const $ = id => document.getElementById(id);

// Elements are made here and nowhere else: a text from the report becomes a text node, never markup.
const add = (node, attributes, children) => {
  for (const [name, value] of Object.entries(attributes || {})) {
    if (typeof value === "function") node.addEventListener(name, value);
    else if (value !== false && value != null) node.setAttribute(name, value === true ? "" : value);
  }
  for (const child of [children].flat(3)) if (child != null && child !== false) node.append(child);
  return node;
};
const el = (tag, attributes, ...children) => add(document.createElement(tag), attributes, children);
const svg = (tag, attributes, ...children) => add(document.createElementNS("http://www.w3.org/2000/svg", tag), attributes, children);
const text = at => D.texts[at];

const cells = D.cells.map(([cap, runtime, model, backend, verdict, result, reason, control, evidence, more]) => ({
  cap, runtime, model: text(model), backend: text(backend), verdict: D.verdicts[verdict], result: D.results[result] || "",
  reason, control: control === 1, evidence, more
}));
const stage = c => c.model + (c.backend ? "/" + c.backend : "");
// A row is a capability in one place; a group is a family, or for the attempts to get out an enforcement model.
const rows = new Map(), groups = new Map();
for (const c of cells) {
  const about = D.capabilities[c.cap];
  const key = JSON.stringify([c.cap, c.model, c.backend]);
  if (!rows.has(key)) {
    const name = about.egress ? "egress under " + (stage(c) || "no model") : about.family;
    if (!groups.has(name)) groups.set(name, {name, family: about.family, egress: about.egress, control: c.control, stage: stage(c), rows: [], open: false, shown: PAGE_ROWS});
    const row = {cap: c.cap, about, model: c.model, backend: c.backend, control: c.control, cells: [], find: (about.id + " " + about.title + " " + stage(c)).toLowerCase()};
    rows.set(key, row);
    groups.get(name).rows.push(row);
  }
  rows.get(key).cells[c.runtime] = c;
}
const place = m => { const at = D.models.findIndex(x => x.id === m); return at < 0 ? 999 : at; };
const ordered = [...groups.values()].map((g, n) => [g, n]).sort(([a, n], [b, m]) =>
  (a.egress - b.egress) || (a.egress ? place(a.rows[0].model) - place(b.rows[0].model) : 0) || n - m).map(([g]) => g);

// Filters.
const F = {search: "", family: "", model: "", result: "", runtime: -1, beside: -1, differ: false, verdicts: new Set()};
const columns = () => F.runtime < 0 ? D.runtimes.map((_, n) => n) : F.beside < 0 || F.beside === F.runtime ? [F.runtime] : [F.runtime, F.beside];
const says = c => c ? (c.control ? "control " + c.result : c.verdict + c.result) : "";
const matches = (row, cols) => {
  if (F.family && row.about.family !== F.family) return false;
  if (F.model && stage(row) !== F.model) return false;
  if (F.search && !row.find.includes(F.search)) return false;
  const mine = cols.map(n => row.cells[n]);
  if (!mine.some(Boolean)) return false;
  if (F.differ && cols.length === 2 && says(mine[0]) === says(mine[1])) return false;
  if (F.result && !mine.some(c => c && c.result === F.result)) return false;
  return !F.verdicts.size || mine.some(c => c && !c.control && F.verdicts.has(c.verdict));
};

const word = c => c.control ? c.result || c.verdict : c.result ? c.result : c.verdict;
const kind = c => c.control ? "v-control" : "v-" + c.verdict;
const mark = c => c.control ? "○" : SYMBOLS[c.verdict];
const badge = c => el("span", {class: "badge " + kind(c)}, mark(c) + " " + (c.control ? "control" : c.verdict) + (c.result ? " · " + c.result : ""));

function tally(group, matched, cols) {
  const counts = new Map();
  for (const row of matched) for (const n of cols) {
    const c = row.cells[n];
    if (c) { const k = c.control ? c.result || c.verdict : c.verdict; counts.set(k, (counts.get(k) || 0) + 1); }
  }
  const order = group.control ? D.results : D.verdicts;
  return el("span", {class: "tally"}, order.filter(v => counts.has(v)).map(v =>
    el("span", {class: group.control ? "v-control" : "v-" + v, title: v}, (group.control ? v : SYMBOLS[v]) + " " + counts.get(v))));
}

function table(group, matched, cols) {
  const head = el("tr", {}, el("th", {scope: "col"}, group.egress ? "attempt" : "capability"), cols.map(n => el("th", {scope: "col"}, D.runtimes[n].name)));
  const body = matched.slice(0, group.shown).map(row => el("tr", {},
    el("th", {scope: "row"}, el("span", {class: "mono"}, row.about.id + (!group.egress && stage(row) ? " [" + stage(row) + "]" : "")), el("small", {}, row.about.title)),
    cols.map(n => {
      const c = row.cells[n];
      return el("td", {}, c ? el("button", {type: "button", class: "cell " + kind(c), title: word(c), "aria-label": D.runtimes[n].name + ": " + row.about.id + ": " + (c.control ? "control, " : "") + word(c),
        click: e => detail(row, n, e.currentTarget)}, mark(c) + " ", el("span", {class: "word"}, word(c))) : null);
    })));
  return [el("table", {class: "grid" + (cols.length > 2 ? " many" : "")}, el("thead", {}, head), el("tbody", {}, body)),
    matched.length > group.shown && el("button", {type: "button", click: () => { group.shown += PAGE_ROWS; draw(); }}, "Show " + Math.min(PAGE_ROWS, matched.length - group.shown) + " more of " + (matched.length - group.shown))];
}

function draw() {
  const cols = columns();
  let found = 0, all = 0;
  const focus = document.activeElement && document.activeElement.closest(".group") ? document.activeElement.closest(".group").dataset.name : null;
  const drawn = [];
  for (const group of ordered) {
    const matched = group.rows.filter(r => matches(r, cols));
    all += group.rows.length;
    found += matched.length;
    if (!matched.length) continue;
    drawn.push(el("div", {class: "group", "data-name": group.name},
      el("button", {type: "button", "aria-expanded": String(group.open), click: () => { group.open = !group.open; group.shown = PAGE_ROWS; draw(); }},
        el("b", {}, (group.open ? "▾ " : "▸ ") + group.name + (group.control ? " (control)" : "")), tally(group, matched, cols), el("span", {class: "dim"}, matched.length + (matched.length === 1 ? " row" : " rows"))),
      group.open && el("div", {class: "body"}, table(group, matched, cols))));
  }
  $("groups").replaceChildren(...drawn);
  $("status").textContent = found === all ? all + " rows, " + cells.length + " cells" : found + " of " + all + " rows";
  if (focus) { const g = [...$("groups").children].find(x => x.dataset.name === focus); if (g) g.querySelector("button").focus({preventScroll: true}); }
}

// One cell, or the same cell of two runtimes side by side.
let opener = null;
function detail(row, runtime, from) {
  opener = from || document.activeElement;
  const pair = F.runtime >= 0 && F.beside >= 0 && F.beside !== F.runtime ? [F.runtime, F.beside] : [runtime];
  const about = row.about;
  const part = (name, body) => body && body.length ? [el("h3", {}, name), Array.isArray(body) ? el("ul", {}, body.map(b => el("li", {}, b))) : el("p", {}, body)] : [];
  const choose = el("select", {"aria-label": "Show beside", change: e => { const n = Number(e.target.value); show(n < 0 ? [runtime] : [runtime, n]); }},
    el("option", {value: -1}, "nothing"), D.runtimes.map((r, n) => n !== runtime && el("option", {value: n, selected: pair.includes(n)}, r.name)));
  const sides = el("div", {class: "sides"});
  const side = n => {
    const c = row.cells[n];
    return el("div", {class: "side"}, el("h3", {}, D.runtimes[n].name, " ", c && badge(c)), c ? [
      el("h3", {}, "Observed"), el("p", {class: "observed"}, text(c.reason) || "nothing"), c.result && el("p", {class: "dim"}, "It ended at: " + WHERE[c.result] + "."),
      el("h3", {}, "Evidence"), c.evidence.length ? el("ul", {class: "evidence"}, c.evidence.map(([source, saw, line]) => el("li", {}, el("b", {}, text(source)), ": " + text(saw), line ? el("span", {class: "dim"}, " (journal line " + line + ")") : null))) : el("p", {class: "dim"}, "none"),
      c.more ? el("p", {class: "dim"}, c.more + " more in the journal") : null] : el("p", {class: "dim"}, "not asked of this runtime"));
  };
  const show = list => sides.replaceChildren(...list.map(side));
  show(pair);
  $("d-body").replaceChildren(
    el("div", {class: "bar"}, el("div", {}, el("h2", {id: "d-title", class: "mono"}, about.id + (stage(row) ? " [" + stage(row) + "]" : "")), el("p", {}, about.title)),
      el("button", {type: "button", click: () => $("detail").close(), autofocus: true}, "Close")),
    ...[D.runtimes.length > 1 && el("p", {}, el("label", {}, "Beside ", choose)), ...part("Expected", about.expected), sides,
      row.control ? el("p", {class: "note"}, "A control: nothing enforces here, so that it can be seen what gets out. No requirement rests on it.") : null,
      ...part("Control", about.control), ...part("Remedy", about.remedy), ...part("Why AWF cares", about.why), ...part("How it is measured", about.how), ...part("Sources", about.sources)].filter(Boolean));
  $("detail").showModal();
}
$("detail").addEventListener("close", () => { $("d-body").replaceChildren(); if (opener && opener.isConnected) opener.focus(); });
$("detail").addEventListener("click", e => { if (e.target === $("detail")) $("detail").close(); });

// The picture: the agent, what enforces, and the ends, with how many attempts ended there.
const ENDS = ["leaked", "residual", "served", "proxied", "blocked", "refused-at-source"];
function flow(model, name, mine) {
  const count = r => mine.filter(c => c.result === r).length;
  const tried = mine.filter(c => c.result && c.result !== "not-applicable" && c.result !== "inconclusive").length;
  const parts = model ? model.parts : [];
  const lines = parts.length ? parts : ["nothing"];
  const H = 24 * ENDS.length + 14, mid = H / 2;
  const wrap = lines.flatMap(l => l.split(" ").reduce((out, w) => { const last = out.length - 1; if (last >= 0 && (out[last] + " " + w).length <= 17) out[last] += " " + w; else out.push(w); return out; }, []).concat([""])).slice(0, -1).slice(0, 9);
  const picture = svg("svg", {viewBox: "0 0 440 " + H, role: "group", "aria-label": name + ": " + ENDS.map(r => count(r) + " " + r).join(", ")},
    svg("rect", {class: "box", x: 1, y: mid - 18, width: 58, height: 36, rx: 6}), svg("text", {x: 30, y: mid + 4, "text-anchor": "middle"}, "agent"),
    svg("rect", {class: "box", x: 96, y: 6, width: 124, height: H - 12, rx: 6, "stroke-dasharray": parts.length ? null : "4 4"}),
    wrap.map((l, n) => svg("text", {x: 158, y: mid + 4 + (n - (wrap.length - 1) / 2) * 14, "text-anchor": "middle"}, l)),
    svg("path", {class: "wire " + (tried ? "control" : "none"), "stroke-width": 2, d: "M59 " + mid + " H96"}),
    ENDS.map((r, n) => {
      const y = 20 + n * 24, k = count(r), wide = k ? 1 + 7 * Math.sqrt(k / Math.max(tried, 1)) : 1;
      const colour = !k ? "none" : model && !model.counts ? "control" : "s-" + r;
      // What is refused at its source never reaches what enforces.
      const d = r === "refused-at-source" ? "M30 " + (mid + 18) + " C 30 " + (H - 1) + " 60 " + (H - 2) + " 110 " + (H - 2) + " S 230 " + y + " 250 " + y : "M220 " + (mid + (y - mid) * .55) + " C 236 " + y + " 232 " + y + " 250 " + y;
      const label = [svg("text", {x: 266, y: y + 4, class: k && r === "leaked" && model && model.counts ? "t-leaked" : null}, k + " " + r + (r === "leaked" || r === "residual" ? " → outside" : r === "served" ? " → via proxy" : r === "proxied" ? " → proxy" : ""))];
      const wire = svg("path", {class: "wire " + colour, "stroke-width": wide, d});
      if (!k) return [wire, label];
      const go = () => only(name, r);
      return [wire, svg("g", {role: "button", tabindex: 0, "aria-label": k + " " + r + " under " + name, click: go, keydown: e => { if (e.key === "Enter" || e.key === " ") { e.preventDefault(); go(); } }},
        svg("rect", {class: "hit", x: 258, y: y - 11, width: 180, height: 23, rx: 4}), label)];
    }));
  const rest = ["inconclusive", "not-applicable"].filter(count).map(r => count(r) + " " + r);
  const untried = mine.filter(c => !c.result).length;
  if (untried) rest.push(untried + " not tried");
  return el("div", {class: "card", "data-stage": name}, el("h3", {class: "mono"}, name + (model && !model.counts ? " (control)" : "")), model && el("p", {class: "dim"}, model.title), picture, rest.length ? el("p", {class: "dim"}, "besides: " + rest.join(", ")) : null);
}
function flows() {
  const n = Number($("flow-runtime").value);
  const stages = ordered.filter(g => g.egress && g.rows.some(r => r.cells[n]));
  const drawn = stages.slice(0, 40).map(g => flow(D.models.find(m => m.id === g.rows[0].model), g.stage || "no model", g.rows.map(r => r.cells[n]).filter(Boolean)));
  $("flows").replaceChildren(...(drawn.length ? drawn : [el("p", {class: "dim"}, "no attempt was made under this runtime")]));
}
function only(name, result) {
  reset();
  F.family = "egress"; F.model = name; F.result = result; F.runtime = Number($("flow-runtime").value);
  $("family").value = F.family; $("model").value = F.model; $("result").value = F.result; $("runtime").value = F.runtime;
  for (const g of ordered) g.open = g.egress && g.stage === name;
  draw();
  $("matrix").scrollIntoView();
  const first = $("groups").querySelector(".cell");
  if (first) first.focus({preventScroll: true});
}

function reset() {
  Object.assign(F, {search: "", family: "", model: "", result: "", runtime: -1, beside: -1, differ: false});
  F.verdicts.clear();
  $("filters").reset();
}
const fill = (id, none, options) => $(id).replaceChildren(el("option", {value: none[0]}, none[1]), ...options.map(([v, t]) => el("option", {value: v}, t)));

function start() {
  document.title = "awf-probe: " + D.runtimes.map(r => r.name).join(", ");
  for (const [id, list] of [["head", D.head], ["foot", D.foot]]) $(id).replaceChildren(...list.flatMap(([k, v]) => [el("dt", {}, k), el("dd", {}, v)]));
  $("runtimes").replaceChildren(...D.runtimes.map(r => el("div", {class: "card"}, el("h3", {class: "mono"}, r.name), el("p", {}, r.class), el("p", {class: "dim"}, r.version), r.remarks.map(x => el("p", {class: "dim"}, x)))));
  $("s-requirements").hidden = !D.requirements.length;
  const STANDING = {holds: ["v-pass", "✓ holds"], unknown: ["v-inconclusive", "? unknown"], broken: ["v-fail", "✗ broken"]};
  $("requirements").replaceChildren(el("table", {}, el("thead", {}, el("tr", {}, el("th", {scope: "col"}, "requirement"), D.runtimes.map(r => el("th", {scope: "col"}, r.name)))),
    el("tbody", {}, D.requirements.map(q => el("tr", {}, el("th", {scope: "row"}, q.id + " " + q.title), D.runtimes.map((_, n) => {
      const by = q.by.find(b => b[0] === n);
      return el("td", {}, by ? [el("span", {class: "badge " + STANDING[by[1]][0]}, STANDING[by[1]][1]), el("small", {class: "dim"}, by[2] ? " under " + by[2] : ""), by[3] ? el("small", {class: "dim", title: by[4]}, el("br"), by[3]) : null] : null);
    }))))));
  const stages = [...new Set(cells.map(stage))].filter(Boolean);
  fill("family", ["", "all"], [...new Set(D.capabilities.map(c => c.family))].map(f => [f, f]));
  fill("model", ["", "all"], stages.map(s => [s, s]));
  fill("result", ["", "anywhere"], D.results.filter(r => cells.some(c => c.result === r)).map(r => [r, r]));
  fill("runtime", [-1, "all"], D.runtimes.map((r, n) => [n, r.name]));
  fill("beside", [-1, "nothing"], D.runtimes.map((r, n) => [n, r.name]));
  $("flow-runtime").replaceChildren(...D.runtimes.map((r, n) => el("option", {value: n}, r.name)));
  $("s-egress").hidden = !ordered.some(g => g.egress);
  $("l-model").hidden = !stages.length;
  $("l-result").hidden = !cells.some(c => c.result);
  for (const v of D.verdicts) $("verdicts").append(el("label", {}, el("input", {type: "checkbox", value: v, checked: D.only_bad && !["pass", "not-applicable"].includes(v)}), SYMBOLS[v] + " " + v));
  const read = () => {
    Object.assign(F, {search: $("search").value.trim().toLowerCase(), family: $("family").value, model: $("model").value, result: $("result").value, runtime: Number($("runtime").value), beside: Number($("beside").value), differ: $("differ").checked});
    F.verdicts = new Set([...$("verdicts").querySelectorAll("input:checked")].map(i => i.value));
  };
  let timer = 0;
  $("filters").addEventListener("input", e => { clearTimeout(timer); timer = setTimeout(() => {
    // To look at two runtimes, both are named; naming the second alone takes the first there is.
    if (e.target.id === "beside" && $("runtime").value === "-1") $("runtime").value = $("beside").value === "0" && D.runtimes.length > 1 ? "1" : "0";
    read(); draw(); }, e.target.id === "search" ? 120 : 0); });
  $("filters").addEventListener("submit", e => e.preventDefault());
  $("filters").addEventListener("reset", () => setTimeout(() => { read(); draw(); }));
  $("flow-runtime").addEventListener("change", flows);
  const themes = ["auto", "light", "dark"];
  $("theme").addEventListener("click", () => {
    const now = themes[(themes.indexOf(document.documentElement.dataset.theme || "auto") + 1) % 3];
    if (now === "auto") delete document.documentElement.dataset.theme; else document.documentElement.dataset.theme = now;
    $("theme").textContent = "◐ " + now;
    $("theme").setAttribute("aria-label", "Colours: " + (now === "auto" ? "as the system has them" : now));
  });
  document.addEventListener("keydown", e => {
    const typing = /^(INPUT|SELECT|TEXTAREA)$/.test(document.activeElement.tagName);
    if (e.key === "/" && !typing && !$("detail").open) { e.preventDefault(); $("search").focus(); return; }
    const here = document.activeElement.closest && document.activeElement.closest(".grid td");
    const step = {ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1]}[e.key];
    if (!here || !step || e.altKey || e.ctrlKey || e.metaKey) return;
    const all = here.closest("tbody").rows, at = here.cellIndex;
    for (let r = here.parentNode.sectionRowIndex + step[0], c = at + step[1]; r >= 0 && r < all.length && c > 0 && c < all[r].cells.length; r += step[0], c += step[1]) {
      const next = all[r].cells[c].querySelector("button");
      if (next) { e.preventDefault(); next.focus(); return; }
    }
  });
  read(); flows(); draw();
}
start();
})();
