//! The report of `make loadtest`: one HTML file that needs nothing else.

use std::fmt::Write;

use serde_json::Value;

use crate::latency::LATE_MS;
use crate::plot::{Bar, COLOURS, Line, Lines, RED, bars, escape, figure};
use crate::suite::{Outcome, Second};

/// Everything that a report tells.
pub struct Report<'a> {
    /// When, what, on which machine: names and values.
    pub environment: &'a [(String, String)],
    /// What came of the scenarios.
    pub outcomes: &'a [Outcome],
    /// What the program `latency` wrote, where it ran.
    pub latency: Option<&'a Value>,
    /// What did not run, and why.
    pub skipped: &'a [String],
    /// Thresholds that were missed, in words.
    pub missed: &'a [String],
}

const STYLE: &str = "\
body{font:15px/1.45 system-ui,'DejaVu Sans',sans-serif;max-width:860px;margin:2em auto;
padding:0 1em;color:#1a1a1a;background:#fff}
h1{font-size:1.6em;margin-bottom:.2em}h2{margin-top:2em;border-bottom:1px solid #ccc}
table{border-collapse:collapse;margin:.8em 0;font-size:.92em}
td,th{padding:.25em .7em;border-bottom:1px solid #ddd;text-align:right;vertical-align:top}
td:first-child,th:first-child,.left td,.left th{text-align:left}
.held{color:#00703c}.missed{color:#c0001a;font-weight:bold}
.verdict{font-size:1.1em;padding:.5em .8em;border-left:6px solid}
.note{color:#555;font-size:.92em}svg{width:100%;height:auto;margin:.3em 0}
svg text{font-family:system-ui,'DejaVu Sans',sans-serif}
svg .tick{font-size:11px;fill:#333}svg .axis{font-size:11.5px;fill:#111}
svg .grid{stroke:#e3e3e3}svg .event{stroke:#777;stroke-dasharray:2 3}";

/// The report.
#[must_use]
pub fn html(report: &Report<'_>) -> String {
    let mut page = format!(
        "<!doctype html><html lang='en'><head><meta charset='utf-8'>\
         <meta name='viewport' content='width=device-width'>\
         <title>Tidegate load test</title><style>{STYLE}</style></head><body>\
         <h1>Tidegate load test</h1>"
    );
    verdict(&mut page, report);
    // Writing into a string cannot fail, here and everywhere in this file.
    let _ = write!(page, "<h2>Environment</h2><table class='left'>");
    for (name, value) in report.environment {
        let _ = write!(page, "<tr><td>{}</td><td>{}</td></tr>", escape(name), escape(value));
    }
    page.push_str("</table>");
    overview(&mut page, report.outcomes);
    if let Some(latency) = report.latency {
        added(&mut page, latency);
    }
    for outcome in report.outcomes {
        scenario(&mut page, outcome);
    }
    page + "</body></html>\n"
}

fn verdict(page: &mut String, report: &Report<'_>) {
    let (class, words) = if report.missed.is_empty() {
        ("held", "Every threshold held.".to_owned())
    } else {
        ("missed", format!("Thresholds MISSED: {}.", report.missed.len()))
    };
    let _ = write!(page, "<p class='verdict {class}'>{words}</p>");
    if !report.missed.is_empty() {
        page.push_str("<ul>");
        for words in report.missed {
            let _ = write!(page, "<li class='missed'>{}</li>", escape(words));
        }
        page.push_str("</ul>");
    }
    if !report.skipped.is_empty() {
        let _ =
            write!(page, "<p class='note'>Not run: {}.</p>", escape(&report.skipped.join(", ")));
    }
}

fn overview(page: &mut String, outcomes: &[Outcome]) {
    page.push_str(
        "<h2>Scenarios</h2><table><tr><th>scenario</th><th>sent by</th><th>requests</th>\
         <th>failed</th><th>p50 ms</th><th>p95 ms</th><th>p99 ms</th><th>p99.9 ms</th>\
         <th>thresholds</th></tr>",
    );
    for outcome in outcomes {
        let _ = write!(
            page,
            "<tr><td><a href='#{0}'>{0}</a></td><td>{1}</td><td>{2}</td><td>{3}</td>",
            escape(&outcome.name),
            escape(&outcome.tool),
            outcome.requests,
            outcome.failed
        );
        for wanted in ["p50", "p95", "p99", "p99.9"] {
            let known = outcome.latency_ms.iter().find(|(name, _)| name == wanted);
            let words = known.map_or_else(|| "-".to_owned(), |(_, value)| figure(*value));
            let _ = write!(page, "<td>{words}</td>");
        }
        let missed = outcome.thresholds.iter().filter(|threshold| !threshold.ok).count();
        let all = outcome.thresholds.len();
        let _ = if missed == 0 {
            write!(page, "<td class='held'>{all} held</td></tr>")
        } else {
            write!(page, "<td class='missed'>{missed} of {all} MISSED</td></tr>")
        };
    }
    page.push_str(
        "</table><p class='note'>Latency of requests as their sender saw them, of all kinds of \
         request in a scenario together, on a machine that runs sender, gateway and services: \
         compare within one report only.</p>",
    );
}

fn scenario(page: &mut String, outcome: &Outcome) {
    let name = escape(&outcome.name);
    let _ = write!(page, "<h2 id='{name}'>{name}</h2><p>{}.</p>", escape(&outcome.what));
    for note in &outcome.notes {
        let _ = write!(page, "<p class='note'>{}</p>", escape(note));
    }
    let line = |name: &str, colour, figure: &dyn Fn(&Second) -> f64| Line {
        name: name.to_owned(),
        colour,
        dashed: false,
        points: outcome.series.iter().map(|one| (f64::from(one.at), figure(one))).collect(),
    };
    if outcome.series.len() > 2 {
        let count = |number: u64| crate::report::as_float(number);
        let plot = Lines {
            title: format!("{name}: answers a second"),
            x: "seconds from the first answer".to_owned(),
            y: "answers in each second (the last is not whole)".to_owned(),
            lines: vec![
                line("answers", COLOURS[0], &|one| count(one.requests)),
                line("failed", RED, &|one| count(one.failed)),
            ],
            events: outcome.events.clone(),
            ..Lines::default()
        };
        page.push_str(&plot.svg());
        if outcome.series.iter().any(|one| one.p50_ms > 0.0) {
            // Seconds without a latency have none to draw.
            let measured = |mut line: Line| {
                line.points.retain(|point| point.1 > 0.0);
                line
            };
            let plot = Lines {
                title: format!("{name}: latency"),
                y: "latency in each second, ms (logarithmic), without requests slow by intention"
                    .to_owned(),
                logarithmic: true,
                lines: vec![
                    measured(line("p50", COLOURS[0], &|one| one.p50_ms)),
                    measured(line("p99", COLOURS[1], &|one| one.p99_ms)),
                ],
                ..plot
            };
            page.push_str(&plot.svg());
        }
    }
    if outcome.memory_mib.len() > 2 {
        let memory = Line {
            name: "resident".to_owned(),
            colour: COLOURS[2],
            dashed: false,
            points: outcome.memory_mib.clone(),
        };
        let plot = Lines {
            title: format!("{name}: memory of the gateway"),
            x: "seconds from the start".to_owned(),
            y: "memory of the gateway, MiB".to_owned(),
            lines: vec![memory],
            ..Lines::default()
        };
        page.push_str(&plot.svg());
    }
    thresholds(page, outcome);
}

fn thresholds(page: &mut String, outcome: &Outcome) {
    page.push_str("<table><tr><th>threshold</th><th>measured</th><th></th></tr>");
    for threshold in &outcome.thresholds {
        let value = threshold.value.map_or_else(|| "-".to_owned(), figure);
        let (class, word) = if threshold.ok { ("held", "held") } else { ("missed", "MISSED") };
        let _ = write!(
            page,
            "<tr><td>{}</td><td>{value}</td><td class='{class}'>{word}</td></tr>",
            escape(&threshold.what)
        );
    }
    page.push_str("</table>");
}

/// The section on what the gateway adds.
fn added(page: &mut String, latency: &Value) {
    page.push_str(
        "<h2 id='latency'>latency added by the gateway</h2><p>Requests are due at a constant rate, \
         half of what the gateway can do on one processor; each latency counts from when its \
         request was due, so that a stall counts for everybody whom it delays. The service is \
         asked directly and through the gateway in turn; what is added at a percentile is the \
         difference of that percentile.</p>",
    );
    let targets = latency.get("targets").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    let mut all = Vec::new();
    page.push_str(
        "<table><tr><th>target</th><th>peak/s</th><th>rate/s</th><th>busy</th><th>way</th>\
         <th>p50 ms</th><th>p95 ms</th><th>p99 ms</th><th>p99.9 ms</th><th>errors</th></tr>",
    );
    for target in targets {
        rows(page, latency, target, &mut all);
    }
    page.push_str("</table>");
    page.push_str(&bars(
        "latency added",
        "added latency in ms; the black mark is its budget",
        &all,
    ));
    page.push_str(&curves(targets));
    late(page, targets);
    verdicts(page, latency);
}

fn number(value: &Value, path: &str) -> Option<f64> {
    value.pointer(path).and_then(Value::as_f64)
}

fn curves(targets: &[Value]) -> String {
    // Each further digit of a percentile takes as much room as the one before it.
    let place = |percent: f64| -(1.0 - percent / 100.0).max(1e-9).log10();
    let mut lines = Vec::new();
    for (target, colour) in targets.iter().zip(COLOURS.into_iter().cycle()) {
        let name = target.get("target").and_then(Value::as_str).unwrap_or_default();
        for (way, dashed) in [("direct", true), ("through", false)] {
            let curve = target.pointer(&format!("/{way}/curve")).and_then(Value::as_array);
            let points = curve.into_iter().flatten().filter_map(|point| {
                Some((place(point.get(0)?.as_f64()?), point.get(1)?.as_f64()?))
            });
            lines.push(Line {
                name: format!("{name}, {way}"),
                colour,
                dashed,
                points: points.collect(),
            });
        }
    }
    let ticks = [("10", 10.0), ("50", 50.0), ("90", 90.0), ("99", 99.0), ("99.9", 99.9)];
    let ticks = ticks.into_iter().chain([("99.99", 99.99)]);
    let plot = Lines {
        title: "latency at each percentile".to_owned(),
        x: "percentile of the requests".to_owned(),
        y: "latency from when a request was due, ms (logarithmic)".to_owned(),
        x_ticks: ticks.map(|(words, at)| (place(at), words.to_owned())).collect(),
        logarithmic: true,
        lines,
        events: Vec::new(),
    };
    plot.svg()
}

/// Three rows of the table, and bars of the last.
fn rows(page: &mut String, latency: &Value, target: &Value, all: &mut Vec<Bar>) {
    let name = target.get("target").and_then(Value::as_str).unwrap_or_default();
    let ways = [
        ("direct", "/direct/latencyMs", number(target, "/direct/errors")),
        ("through", "/through/latencyMs", number(target, "/through/errors")),
        ("added", "/addedMs", None),
    ];
    for (way, path, errors) in ways {
        let plain = |path: &str| {
            number(target, path)
                .filter(|_| way == "direct")
                .map_or_else(String::new, |value| format!("{value:.0}"))
        };
        let busy = number(target, "/busy").filter(|_| way == "direct");
        let busy = busy.map_or_else(String::new, |busy| format!("{:.0} %", busy * 100.0));
        let _ = write!(
            page,
            "<tr><td>{}</td><td>{}</td><td>{}</td><td>{busy}</td><td>{way}</td>",
            if way == "direct" { name } else { "" },
            plain("/peakPerSecond"),
            plain("/rate")
        );
        for at in ["p50", "p95", "p99", "p99.9"] {
            let value = number(target, &format!("{path}/{at}")).unwrap_or(f64::NAN);
            let _ = write!(page, "<td>{}</td>", figure(value));
            if way == "added" {
                let most = number(latency, &format!("/budgetMs/{at}"));
                all.push(Bar { name: format!("{name} {at}"), value, most });
            }
        }
        let errors = errors.map_or_else(String::new, |errors| format!("{errors:.0}"));
        let _ = write!(page, "<td>{errors}</td></tr>");
    }
}

/// Says where the figures are of something else.
fn late(page: &mut String, targets: &[Value]) {
    for target in targets {
        let late = number(target, "/through/lateP99Ms").unwrap_or(0.0);
        if late > LATE_MS {
            let name = target.get("target").and_then(Value::as_str).unwrap_or_default();
            let _ = write!(
                page,
                "<p class='missed'>{}: the load generator itself was {} ms late at its 99th \
                 percentile, so something else kept its processor: these are no figures of the \
                 gateway.</p>",
                escape(name),
                figure(late)
            );
        }
    }
}

fn verdicts(page: &mut String, latency: &Value) {
    page.push_str("<ul>");
    for threshold in latency.get("thresholds").and_then(Value::as_array).into_iter().flatten() {
        let what = threshold.get("what").and_then(Value::as_str).unwrap_or_default();
        let held = threshold.get("ok") == Some(&Value::Bool(true));
        let class = if held { "held" } else { "missed" };
        let _ = write!(page, "<li class='{class}'>{}</li>", escape(what));
    }
    page.push_str("</ul>");
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_was_missed_stands_at_the_top_and_nothing_is_loaded() {
        let mut outcome = Outcome { name: "smoke".to_owned(), ..Outcome::default() };
        outcome.ask("http_req_failed rate==0", 0.5, false);
        for at in 0..4 {
            let second = Second { at, requests: 10, failed: 5, p50_ms: 1.0, p99_ms: 2.0 };
            outcome.series.push(second);
        }
        let latency = json!({"budgetMs": {"p50": 1.0}, "targets": [{
            "target": "plain", "addedMs": {"p50": 2.0}, "direct": {"curve": [[50.0, 1.0]]},
        }]});
        let missed = ["smoke: <http_req_failed>".to_owned()];
        let page = html(&Report {
            environment: &[("kernel".to_owned(), "6".to_owned())],
            outcomes: &[outcome],
            latency: Some(&latency),
            skipped: &["upgrade".to_owned()],
            missed: &missed,
        });
        let top = page.split("<h2>Environment").next().unwrap();
        assert!(top.contains("Thresholds MISSED: 1.") && top.contains("&lt;http_req_failed"));
        assert!(page.contains("2.00 ms of 1: MISSED"));
        assert!(!page.contains("<script") && !page.contains("src="));
        let linked = page.matches("http://").count();
        assert_eq!(linked, page.matches("xmlns='http://www.w3.org/2000/svg'").count());
    }
}
