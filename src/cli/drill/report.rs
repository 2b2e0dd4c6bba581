//! What is told of a drill.

use std::fmt::Write as _;
use std::time::Duration;

use serde_json::{Value, json};

use super::probe::{Outcome, Seen};
use crate::cli::page::table;
use crate::drill::Point;

/// What was seen of a drill, and what to think of it.
pub(super) struct Report {
    pub(super) point: Point,
    pub(super) length: Duration,
    pub(super) paths: Vec<PathReport>,
    pub(super) metrics: Vec<Moved>,
    /// Nothing moved that must have.
    pub(super) silent: bool,
    /// How long it took until all was as before; none if it never was.
    pub(super) back: Option<Duration>,
}

/// What was seen of the requests for one path.
pub(super) struct PathReport {
    pub(super) path: String,
    pub(super) route: Option<String>,
    pub(super) before: Seen,
    pub(super) during: Seen,
    pub(super) after: Seen,
    /// What the failure table says.
    pub(super) says: String,
    /// What was seen and should not have been, or the other way round.
    pub(super) wrong: Option<String>,
    pub(super) is_back: bool,
}

/// A metric, summed over its series, in the three phases.
pub(super) struct Moved {
    pub(super) name: String,
    pub(super) values: [f64; 3],
}

impl Report {
    /// Whether all was as the table says.
    pub(super) fn is_good(&self) -> bool {
        self.back.is_some() && !self.silent && self.paths.iter().all(|path| path.wrong.is_none())
    }

    /// For people.
    pub(super) fn text(&self) -> String {
        let Point { name, what, .. } = self.point;
        let mut page = format!("{name} for {} s: {what}\n", self.length.as_secs());
        for path in &self.paths {
            let route = path.route.as_deref().unwrap_or("none");
            let _ = write!(page, "\n{}  (route {route})\n", path.path);
            let mut rows = Vec::new();
            for (phase, seen) in
                [("before", &path.before), ("during", &path.during), ("after", &path.after)]
            {
                rows.extend(seen.0.iter().map(|(outcome, took)| row(phase, outcome, took)));
            }
            rows.push(vec!["table".to_owned(), path.says.clone()]);
            page.push_str(&indented(&rows));
            if let Some(wrong) = &path.wrong {
                let _ = writeln!(page, "  WRONG   {wrong}");
            }
            if !path.is_back {
                let _ = writeln!(page, "  WRONG   it did not come back");
            }
        }
        let metrics: Vec<Vec<String>> = self
            .metrics
            .iter()
            .map(|one| {
                let mut row = vec![one.name.clone()];
                row.extend(one.values.map(|value| value.to_string()));
                row
            })
            .collect();
        page.push('\n');
        page.push_str(&table(&["METRIC", "BEFORE", "DURING", "AFTER"], &metrics));
        if self.silent {
            page.push_str("  WRONG   no metric moved: nobody would have been told\n");
        }
        let back = match self.back {
            Some(took) => format!("back {:.1} s after its end", took.as_secs_f64()),
            None => "NOT back as it was before".to_owned(),
        };
        let verdict = if self.is_good() { "as the table says" } else { "NOT as the table says" };
        let _ = writeln!(page, "\n{name}: {verdict}, {back}");
        page
    }

    /// For programs.
    pub(super) fn json(&self) -> Value {
        let paths: Vec<Value> = self.paths.iter().map(PathReport::json).collect();
        let metrics: Vec<Value> = self
            .metrics
            .iter()
            .map(|one| {
                let [before, during, after] = one.values;
                json!({"name": one.name, "before": before, "during": during, "after": after})
            })
            .collect();
        json!({
            "drill": self.point.name,
            "what": self.point.what,
            "forSeconds": self.length.as_secs_f64(),
            "asTheTableSays": self.is_good(),
            "backAfterSeconds": self.back.map(|back| back.as_secs_f64()),
            "paths": paths,
            "metrics": metrics,
        })
    }
}

impl PathReport {
    fn json(&self) -> Value {
        json!({
            "path": self.path,
            "route": self.route,
            "before": seen(&self.before),
            "during": seen(&self.during),
            "after": seen(&self.after),
            "expected": self.says,
            "wrong": self.wrong,
            "isBack": self.is_back,
        })
    }
}

fn seen(seen: &Seen) -> Vec<Value> {
    let one = |(outcome, took): (&Outcome, &Vec<Duration>)| {
        let (half, most) = spread(took);
        json!({
            "status": outcome.status,
            "code": outcome.code,
            "count": took.len(),
            "p50Ms": milliseconds(half),
            "maxMs": milliseconds(most),
        })
    };
    seen.0.iter().map(one).collect()
}

fn row(phase: &str, outcome: &Outcome, took: &[Duration]) -> Vec<String> {
    let (half, most) = spread(took);
    let times = format!("p50 {:.1} ms, max {:.1} ms", milliseconds(half), milliseconds(most));
    vec![phase.to_owned(), format!("{} x {outcome}", took.len()), times]
}

fn milliseconds(time: Duration) -> f64 {
    (time.as_secs_f64() * 10_000.0).round() / 10.0
}

/// The median and the largest.
fn spread(took: &[Duration]) -> (Duration, Duration) {
    let mut sorted = took.to_vec();
    sorted.sort_unstable();
    let half = sorted.get(sorted.len() / 2).copied().unwrap_or_default();
    (half, sorted.last().copied().unwrap_or_default())
}

/// Rows in columns, set in by two.
fn indented(rows: &[Vec<String>]) -> String {
    let width = |column: usize| {
        // What the table says is the end of its line.
        let cells = rows.iter().filter(|row| row.len() > column + 1);
        cells.filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths = [width(0), width(1), width(2)];
    let mut page = String::new();
    for row in rows {
        let cells = row.iter().zip(widths).map(|(cell, width)| format!("{cell:<width$}"));
        let line = cells.collect::<Vec<_>>().join("  ");
        let _ = writeln!(page, "  {}", line.trim_end());
    }
    page
}
