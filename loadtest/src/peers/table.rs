//! The tables, the JSON beside them, and the targets.

use std::fmt::Write;
use std::time::Duration;

use serde_json::{Value, json};

use super::scenario::Scenario;
use super::site::Round;
use crate::report::{median, per_request_us, per_second};

/// All rounds of one entry.
#[derive(Clone, Debug)]
pub struct Row {
    /// Its name.
    pub name: &'static str,
    /// Version of the server.
    pub version: String,
    /// What to know about it.
    pub note: String,
    /// The rounds, in their order.
    pub rounds: Vec<Round>,
    /// The most memory that it held, in bytes.
    pub peak_bytes: u64,
}

/// What was measured of a scenario.
#[derive(Clone, Debug)]
pub struct Table {
    /// The scenario.
    pub scenario: Scenario,
    /// Who was measured, the yardstick first.
    pub rows: Vec<Row>,
    /// Who was not, and why.
    pub absent: Vec<(String, String)>,
    /// Who failed, and how.
    pub failed: Vec<(String, String)>,
}

impl Row {
    fn total_us(round: &Round) -> f64 {
        let (user, system) = per_request_us(&round.tally, round.cpu);
        user + system
    }

    fn median_of(&self, figure: impl Fn(&Round) -> f64) -> f64 {
        median(self.rounds.iter().map(figure).collect()).unwrap_or(f64::NAN)
    }

    /// Processor time of a request in microseconds: smallest, median, largest.
    fn total(&self) -> [f64; 3] {
        let totals = || self.rounds.iter().map(Self::total_us);
        [
            totals().reduce(f64::min).unwrap_or(f64::NAN),
            self.median_of(Self::total_us),
            totals().reduce(f64::max).unwrap_or(f64::NAN),
        ]
    }
}

impl Table {
    fn row(&self, name: &str) -> Option<&Row> {
        self.rows.iter().find(|row| row.name == name)
    }

    /// Cost of one as a multiple of another's in the same round, median.
    fn ratio(&self, own: &str, other: &str) -> Option<f64> {
        let (own, other) = (self.row(own)?, self.row(other)?);
        let pairs = own.rounds.iter().zip(&other.rounds);
        median(pairs.map(|(own, other)| Row::total_us(own) / Row::total_us(other)).collect())
    }

    /// The table in Markdown, with what a reader must know of its rows.
    #[must_use]
    pub fn markdown(&self) -> String {
        let scenario = self.scenario;
        let mut text = format!(
            "\n## {scenario}\n\n{}.\n\n\
             | peer | version | user µs | system µs | total µs | min–max | × bare | × tidegate \
             | req/s per core | busy | p50 ms | p99 ms | peak MiB | answers |\n\
             |---|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|\n",
            scenario.describe()
        );
        for row in &self.rows {
            let [least, total, most] = row.total();
            let beside = |other| {
                let ratio = self.ratio(row.name, other);
                ratio.map_or_else(|| "-".to_owned(), |ratio| format!("{ratio:.2}"))
            };
            // Writing into a string cannot fail.
            let _ = writeln!(
                text,
                "| {} | {} | {:.1} | {:.1} | {total:.1} | {least:.1}–{most:.1} | {} | {} \
                 | {:.0} | {:.0} % | {:.2} | {:.2} | {} | {} |",
                row.name,
                row.version,
                row.median_of(|round| per_request_us(&round.tally, round.cpu).0),
                row.median_of(|round| per_request_us(&round.tally, round.cpu).1),
                beside("bare"),
                beside("tidegate"),
                row.median_of(|round| per_second(&round.tally)),
                row.median_of(busy),
                row.median_of(|round| milliseconds(round.tally.p50_us)),
                row.median_of(|round| milliseconds(round.tally.p99_us)),
                row.peak_bytes.div_ceil(1024 * 1024),
                row.rounds.iter().map(|round| round.tally.requests).sum::<u64>(),
            );
        }
        text.push('\n');
        for row in self.rows.iter().filter(|row| !row.note.is_empty()) {
            let _ = writeln!(text, "- {}: {}", row.name, row.note);
        }
        for (name, why) in &self.absent {
            let _ = writeln!(text, "- left out: {name}: {why}");
        }
        for (name, why) in &self.failed {
            let _ = writeln!(text, "- FAILED: {name}: {}", why.replace('\n', "\n    "));
        }
        text
    }

    /// The same for programs, with every round.
    #[must_use]
    pub fn json(&self) -> Value {
        let rows = self.rows.iter().map(|row| {
            let rounds = row.rounds.iter().map(|round| {
                let (user, system) = per_request_us(&round.tally, round.cpu);
                json!({
                    "requests": round.tally.requests,
                    "seconds": Duration::from_micros(round.tally.duration_us).as_secs_f64(),
                    "user_us": user,
                    "system_us": system,
                    "p50_us": round.tally.p50_us,
                    "p99_us": round.tally.p99_us,
                    "errors": round.tally.errors(),
                })
            });
            let [least, total, most] = row.total();
            json!({
                "peer": row.name,
                "version": row.version,
                "note": row.note,
                "total_us": {"min": least, "median": total, "max": most},
                "per_bare": self.ratio(row.name, "bare"),
                "per_tidegate": self.ratio(row.name, "tidegate"),
                "peak_bytes": row.peak_bytes,
                "rounds": rounds.collect::<Vec<_>>(),
            })
        });
        json!({
            "scenario": self.scenario.name(),
            "job": self.scenario.describe(),
            "rows": rows.collect::<Vec<_>>(),
            "left_out": self.absent,
            "failed": self.failed,
        })
    }
}

/// What the gateway is to reach: scenario, row, what it is compared with, the most. Compared with
/// nothing, the most is microseconds; else it is a multiple.
const TARGETS: &[(Scenario, &str, Option<&str>, f64)] = &[
    (Scenario::Plain, "tidegate", Some("bare"), 1.05),
    (Scenario::Whole, "tidegate", None, 30.0),
    (Scenario::Whole, "tidegate", Some("haproxy"), 0.57),
    (Scenario::Whole, "tidegate", Some("envoy-cached"), 0.52),
    (Scenario::Whole, "tidegate", Some("bare"), 1.2),
    (Scenario::WholeNew, "tidegate", None, 46.0),
    (Scenario::WholeNew, "tidegate", Some("haproxy"), 1.0),
    (Scenario::Redis, "tidegate", None, 36.0),
    (Scenario::Redis, "tidegate-leased", None, 26.0),
    (Scenario::Hit1k, "tidegate", None, 12.0),
    (Scenario::Hit1k, "tidegate", Some("bare"), 0.55),
    (Scenario::Hit64k, "tidegate", Some("nginx"), 1.0),
];

/// The targets of what was measured, reached or missed; empty where nothing has one.
#[must_use]
pub fn targets(tables: &[Table]) -> String {
    let mut text = String::new();
    for (scenario, own, other, most) in TARGETS {
        let Some(table) = tables.iter().find(|table| table.scenario == *scenario) else { continue };
        let figure = match other {
            Some(other) => table.ratio(own, other),
            None => table.row(own).map(|row| row.total()[1]),
        };
        let Some(figure) = figure else { continue };
        let word = if figure <= *most { "reached" } else { "MISSED" };
        // Writing into a string cannot fail.
        let _ = match other {
            Some(other) => writeln!(
                text,
                "- {word}: {scenario}: {own} {figure:.2} × {other} (target: at most {most})"
            ),
            None => writeln!(
                text,
                "- {word}: {scenario}: {own} {figure:.1} µs (target: at most {most})"
            ),
        };
    }
    text
}

/// Processor time in each second, as a percentage.
fn busy(round: &Round) -> f64 {
    Row::total_us(round) * per_second(&round.tally) / 1e4
}

fn milliseconds(us: u64) -> f64 {
    Duration::from_micros(us).as_secs_f64() * 1e3
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::process::CpuTime;
    use crate::wrk::Tally;

    fn row(name: &'static str, costs_us: &[u64]) -> Row {
        let round = |us: &u64| {
            let tally = Tally { requests: 1000, duration_us: 1_000_000, ..Tally::default() };
            let half = Duration::from_millis(*us) / 2;
            Round { tally, cpu: CpuTime { user: half, system: half } }
        };
        Row {
            name,
            version: "1".to_owned(),
            note: String::new(),
            rounds: costs_us.iter().map(round).collect(),
            peak_bytes: 1,
        }
    }

    #[test]
    fn a_server_is_compared_with_the_others_of_its_round() {
        // The machine is half as fast in the last round; the ratios do not notice.
        let table = Table {
            scenario: Scenario::Hit1k,
            rows: vec![
                row("bare", &[20, 20, 40]),
                row("tidegate", &[10, 10, 20]),
                row("nginx", &[8, 8, 16]),
            ],
            absent: vec![("caddy".to_owned(), "none".to_owned())],
            failed: Vec::new(),
        };
        let text = table.markdown();
        assert!(text.contains("| tidegate | 1 | 5.0 | 5.0 | 10.0 | 10.0–20.0 | 0.50 | 1.00 |"));
        assert!(
            text.contains("| nginx | 1 | 4.0 | 4.0 | 8.0 | 8.0–16.0 | 0.40 | 0.80 |"),
            "{text}"
        );
        assert!(text.contains("- left out: caddy: none"));
        assert_eq!(table.json()["rows"][1]["per_bare"], 0.5);
        let other = Table { scenario: Scenario::Hit64k, ..table.clone() };
        let text = targets(&[table, other]);
        assert!(text.contains("reached: hit-1k: tidegate 10.0 µs"), "{text}");
        assert!(text.contains("reached: hit-1k: tidegate 0.50 × bare"), "{text}");
        assert!(text.contains("MISSED: hit-64k: tidegate 1.25 × nginx"), "{text}");
        assert_eq!(targets(&[]), "");
    }
}
