//! The figures as one HTML file: no network, no library, no script. Distributions, and ratios with their intervals.
//!
//! Every picture is an SVG whose horizontal places are percentages, so that it is as wide as the screen and its text
//! keeps its size. The content security policy admits the one style sheet by digest, and nothing else.

mod scale;

use std::fmt::Write;

use self::scale::Scale;
use super::{ArmV1, BenchRowV1, BenchV1, FindingV1, LEGEND, cost, head, introduced, outliers, ratio, verdict};
use crate::{html::digest, text::clean};

/// The document as a page.
pub fn html(d: &BenchV1) -> String {
    let mut body = String::new();
    for (name, value) in head(d) {
        fact(&mut body, &name, &value);
    }
    fact(&mut body, &format!("{} (reference)", d.reference.name), &introduced(&d.reference));
    for c in &d.candidates {
        fact(&mut body, &c.name, &introduced(c));
    }
    let ratios = ratios(d);
    let benches: String = d.benches.iter().map(|b| bench(d, b)).collect();
    let policy =
        format!("default-src 'none'; style-src 'sha256-{}'; base-uri 'none'; form-action 'none'", digest(SHEET));
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"{policy}\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n\
         <title>awf-probe bench: {title}</title>\n<style>{SHEET}</style>\n</head>\n<body>\n\
         <header><h1>awf-probe bench</h1></header>\n<main>\n<dl class=\"facts\">{body}</dl>\n\
         <p class=\"note\">{legend}</p>\n{key}{ratios}\
         <h2>Distributions</h2>\n<p class=\"note\">{DISTRIBUTIONS}</p>\n{benches}</main>\n</body>\n</html>\n",
        title = text(&d.reference.name),
        legend = text(LEGEND),
        key = key(d),
    )
}

fn fact(out: &mut String, name: &str, value: &str) {
    put(out, format_args!("<dt>{}</dt><dd>{}</dd>", text(name), text(value)));
}

/// Which colour is whose. Each lane is labelled as well.
fn key(d: &BenchV1) -> String {
    let mut out = String::from("<ul class=\"key\">");
    let arms = [(&d.reference.name, "r", " (reference)"), (&d.reference.name, "t", " again (A/A)")];
    for (name, class, what) in arms {
        put(&mut out, format_args!("<li class=\"{class}\"><i></i>{}{what}</li>", text(name)));
    }
    for (n, c) in d.candidates.iter().enumerate() {
        put(&mut out, format_args!("<li class=\"{}\"><i></i>{}</li>", colour(n), text(&c.name)));
    }
    out + "</ul>\n"
}

/// Every ratio with its interval, on one axis, over what the reference differs from itself.
fn ratios(d: &BenchV1) -> String {
    let known = d.benches.iter().flat_map(|b| &b.candidates).filter(|c| c.finding != FindingV1::Untold);
    let ends: Vec<f64> = known.filter_map(|c| c.ratio).flat_map(|r| [r.low, r.high]).collect();
    let Some(scale) = Scale::logarithmic(ends.into_iter().chain([0.8, 1.25])) else { return String::new() };
    let mut out = format!(
        "<h2>Ratios to {}</h2>\n<p class=\"note\">{RATIOS}</p>\n<div class=\"ratios\">\n",
        text(&d.reference.name)
    );
    for b in &d.benches {
        put(&mut out, format_args!("<div class=\"row\"><span><code>{}</code></span>", text(&b.id)));
        let height = 14 * d.candidates.len().max(1) + 6;
        let said: Vec<String> = b.candidates.iter().map(|c| format!("{}: {}", c.runtime, verdict(c))).collect();
        let label = text(&said.join("; "));
        put(&mut out, format_args!("<svg role=\"img\" aria-label=\"{label}\" height=\"{height}\">"));
        put(&mut out, format_args!("<title>{label}</title>"));
        grid(&mut out, &scale);
        if let Some(n) = &b.noise {
            let (from, to) = (scale.place(n.ratio.low), scale.place(n.ratio.high));
            put(
                &mut out,
                format_args!(
                    "<rect class=\"noise\" x=\"{from:.2}%\" y=\"0\" width=\"{:.2}%\" height=\"100%\"/>",
                    to - from
                ),
            );
        }
        let one = scale.place(1.0);
        put(&mut out, format_args!("<line class=\"one\" x1=\"{one:.2}%\" x2=\"{one:.2}%\" y1=\"0\" y2=\"100%\"/>"));
        for (n, c) in b.candidates.iter().enumerate() {
            let (Some(r), false) = (&c.ratio, c.finding == FindingV1::Untold) else { continue };
            let (low, at, high, y) = (scale.place(r.low), scale.place(r.value), scale.place(r.high), 10 + 14 * n);
            let hollow = if c.finding == FindingV1::NoDifference { " hollow" } else { "" };
            put(
                &mut out,
                format_args!(
                    "<g class=\"{}{hollow}\"><line class=\"span\" x1=\"{low:.2}%\" x2=\"{high:.2}%\" y1=\"{y}\" y2=\"{y}\"/>\
                     <circle cx=\"{at:.2}%\" cy=\"{y}\" r=\"4\"/></g>",
                    colour(n)
                ),
            );
        }
        out.push_str("</svg></div>\n");
    }
    out.push_str("<div class=\"row\"><span></span>");
    axis(&mut out, &scale, |v| format!("× {}", super::three_digits(v)));
    out + "</div>\n</div>\n"
}

/// One bench: a lane for each sandbox, all on one axis.
fn bench(d: &BenchV1, b: &BenchRowV1) -> String {
    let twin = b.noise.as_ref().and_then(|n| n.figures.as_ref());
    let noise = b.noise.as_ref().map_or_else(|| "untold".to_owned(), |n| format!("A/A {}", ratio(&n.ratio)));
    let mut lanes = vec![
        (d.reference.name.clone(), "r", b.reference.as_ref(), "reference".to_owned()),
        (format!("{} again", d.reference.name), "t", twin, noise),
    ];
    for (n, c) in b.candidates.iter().enumerate() {
        lanes.push((c.runtime.clone(), colour(n), c.figures.as_ref(), verdict(c)));
    }
    let scale = Scale::of(lanes.iter().filter_map(|l| l.2).map(reach));
    let mut out = format!(
        "<section class=\"bench\">\n<h3><code>{}</code> {}</h3>\n<p class=\"note\">{}</p>\n",
        text(&b.id),
        text(&b.title),
        text(&b.how)
    );
    for (name, class, arm, said) in &lanes {
        let median = arm.map_or_else(|| "no figures".to_owned(), |a| cost(a.median, &b.unit));
        put(
            &mut out,
            format_args!(
                "<div class=\"row {class}\"><span>{} <b>{}</b> <small>{}</small></span>",
                text(name),
                text(&median),
                text(said)
            ),
        );
        if let (Some(arm), Some(scale)) = (arm, &scale) {
            lane(&mut out, scale, arm, name, &b.unit);
        }
        out.push_str("</div>\n");
    }
    if let Some(scale) = &scale {
        out.push_str("<div class=\"row\"><span></span>");
        axis(&mut out, scale, |v| cost(v, &b.unit));
        out.push_str("</div>\n");
    }
    out + "</section>\n"
}

/// How far an arm's picture reaches: what stands out is drawn at the edge.
fn reach(arm: &ArmV1) -> (f64, f64) {
    let fence = 3.0 * (arm.q3 - arm.q1);
    (arm.min.max(arm.q1 - fence), arm.max.min(arm.q3 + fence))
}

/// The samples of one sandbox: how often which cost, the quartiles, the median, and what stands out.
fn lane(out: &mut String, scale: &Scale, arm: &ArmV1, name: &str, unit: &str) {
    let of = |v| cost(v, unit);
    let label = format!(
        "{name}: median {}, quartiles {} and {}, {} samples, outliers {}",
        of(arm.median),
        of(arm.q1),
        of(arm.q3),
        arm.samples,
        outliers(Some(arm), unit)
    );
    let label = text(&label);
    put(out, format_args!("<svg role=\"img\" aria-label=\"{label}\" height=\"{LANE}\"><title>{label}</title>"));
    grid(out, scale);
    let samples: Vec<f64> = arm.rounds.iter().flatten().flatten().copied().collect();
    if samples.len() > FEW {
        let mut bins = [0_usize; BINS];
        for s in samples.iter().filter(|s| scale.holds(**s)) {
            bins[((scale.place(*s) / 100.0 * BINS as f64) as usize).min(BINS - 1)] += 1;
        }
        let most = bins.iter().copied().max().unwrap_or(0).max(1) as f64;
        let width = 100.0 / BINS as f64;
        for (n, count) in bins.into_iter().enumerate().filter(|(_, c)| *c > 0) {
            let high = (count as f64 / most * f64::from(LANE - 8)).max(2.0);
            put(
                out,
                format_args!(
                    "<rect class=\"often\" x=\"{:.2}%\" y=\"{:.1}\" width=\"{width:.2}%\" height=\"{high:.1}\"/>",
                    n as f64 * width,
                    (f64::from(LANE) - high) / 2.0
                ),
            );
        }
    }
    let middle = LANE / 2;
    let (q1, q3) = (scale.place(arm.q1), scale.place(arm.q3));
    put(out, format_args!("<line class=\"box\" x1=\"{q1:.2}%\" x2=\"{q3:.2}%\" y1=\"{middle}\" y2=\"{middle}\"/>"));
    let fence = 1.5 * (arm.q3 - arm.q1);
    for (n, s) in samples.iter().enumerate() {
        let stands_out = *s < arm.q1 - fence || *s > arm.q3 + fence;
        if stands_out || samples.len() <= FEW {
            // Beside each other, not upon each other.
            let y = 6 + n * 7 % (LANE as usize - 12);
            let class = if stands_out { "out" } else { "dot" };
            put(out, format_args!("<circle class=\"{class}\" cx=\"{:.2}%\" cy=\"{y}\" r=\"2.5\"/>", scale.place(*s)));
        }
    }
    let at = scale.place(arm.median);
    put(
        out,
        format_args!("<line class=\"median\" x1=\"{at:.2}%\" x2=\"{at:.2}%\" y1=\"3\" y2=\"{}\"/></svg>", LANE - 3),
    );
}

fn grid(out: &mut String, scale: &Scale) {
    for tick in scale.ticks() {
        let at = scale.place(tick);
        put(out, format_args!("<line class=\"grid\" x1=\"{at:.2}%\" x2=\"{at:.2}%\" y1=\"0\" y2=\"100%\"/>"));
    }
}

fn axis(out: &mut String, scale: &Scale, say: impl Fn(f64) -> String) {
    out.push_str("<svg class=\"axis\" aria-hidden=\"true\" height=\"18\">");
    for tick in scale.ticks() {
        let at = scale.place(tick);
        let anchor = if at < 6.0 {
            "start"
        } else if at > 94.0 {
            "end"
        } else {
            "middle"
        };
        put(out, format_args!("<text x=\"{at:.2}%\" y=\"13\" text-anchor=\"{anchor}\">{}</text>", text(&say(tick))));
    }
    out.push_str("</svg>");
}

fn colour(candidate: usize) -> &'static str {
    ["c0", "c1", "c2", "c3", "c4", "c5"][candidate % 6]
}

/// Appends; writing to a text cannot fail.
fn put(out: &mut String, what: std::fmt::Arguments<'_>) {
    out.write_fmt(what).unwrap_or_default();
}

/// Text that stays text, in an element or in a quoted attribute.
fn text(raw: &str) -> String {
    let mut out = String::with_capacity(raw.len());
    for c in clean(raw).chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            c => out.push(c),
        }
    }
    out
}

/// Up to so many samples each is a dot of its own.
const FEW: usize = 40;
const BINS: usize = 64;
/// Height of a lane in pixels.
const LANE: u32 = 44;
const SHEET: &str = include_str!("html/bench.css");
const RATIOS: &str = "A point is how many times the reference's cost the candidate takes, the line its 99 % interval; \
further left is cheaper. The band is what the reference differs from itself. A hollow point: no difference.";
const DISTRIBUTIONS: &str = "One lane for each sandbox, all samples of all rounds, on one axis. The silhouette says how \
often a cost was met, the thick line joins the quartiles, the upright one is the median; rings are outliers, those far \
off at the edge. Where there are few samples each is a dot.";
