//! Runs a k6 script and reads what it writes: a summary, and every sample.

use std::ffi::OsString;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use serde_json::Value;
use tokio::process::Command;
use tokio::time::timeout;

use crate::open_loop::Latencies;
use crate::suite::{Outcome, Scenario, Second, Threshold, seconds_between};
use crate::{Context, Error, Result};

/// Longest time that a scenario may take.
const LONGEST: Duration = Duration::from_hours(12);
/// What k6 ends with when a threshold was missed.
const MISSED: i32 = 99;
/// The percentiles that k6 is told to report.
const REPORTED: [(&str, &str); 7] = [
    ("p50", "med"),
    ("p90", "p(90)"),
    ("p95", "p(95)"),
    ("p99", "p(99)"),
    ("p99.9", "p(99.9)"),
    ("min", "min"),
    ("max", "max"),
];

/// A k6 with its scripts.
#[derive(Debug)]
pub struct K6 {
    program: PathBuf,
    scripts: PathBuf,
    /// Its version.
    pub version: String,
}

/// A scenario as k6 ran it.
pub struct Ran {
    /// What came of it.
    pub outcome: Outcome,
    /// When the first answer came, in seconds of the day.
    pub began: f64,
}

impl K6 {
    /// A program, if it is one that runs.
    #[must_use]
    pub fn find(program: &Path, scripts: &Path) -> Option<Self> {
        let output = std::process::Command::new(program).arg("version").output().ok()?;
        let words = String::from_utf8_lossy(&output.stdout).into_owned();
        let version = words.lines().next()?.split(' ').take(2).collect::<Vec<_>>().join(" ");
        output.status.success().then(|| Self {
            program: program.to_owned(),
            scripts: scripts.to_owned(),
            version,
        })
    }

    /// Runs a scenario. What k6 says is kept in `folder`; samples are read and removed.
    pub async fn run(
        &self,
        scenario: Scenario,
        settings: &[(String, OsString)],
        folder: &Path,
    ) -> Result<Ran> {
        let name = scenario.name;
        let summary = folder.join(format!("{name}.k6.json"));
        let samples = folder.join(format!("{name}.samples"));
        let said = folder.join(format!("{name}.k6.txt"));
        let log = File::create(&said).context(said.display())?;
        let mut out = OsString::from("json=");
        out.push(&samples);
        let mut command = Command::new(&self.program);
        command
            .args(["run", "--quiet", "--no-color", "--no-usage-report", "--address", "127.0.0.1:0"])
            .arg("--summary-export")
            .arg(&summary)
            .arg("--out")
            .arg(out)
            .arg(self.scripts.join(format!("{name}.js")))
            .envs(settings.iter().map(|(name, value)| (name, value)))
            .env("TZ", "UTC")
            .stdin(Stdio::null())
            .stdout(log.try_clone().context(said.display())?)
            .stderr(log)
            .kill_on_drop(true);
        let status = timeout(LONGEST, command.status()).await.context("k6 does not end")?;
        let status = status.context(self.program.display())?;
        let read = File::open(&samples).context(samples.display());
        let (series, began) = match read {
            Ok(file) => series(BufReader::new(file))?,
            Err(_) => (Vec::new(), 0.0),
        };
        // Large, and everything in it has been read.
        let _ = std::fs::remove_file(&samples);
        if !(status.success() || status.code() == Some(MISSED)) {
            let words = std::fs::read_to_string(&said).unwrap_or_default();
            return Err(Error::new(format!("k6 {name} ended: {status}\n{words}")));
        }
        let text = std::fs::read_to_string(&summary).context(summary.display())?;
        let value: Value = serde_json::from_str(&text).context(summary.display())?;
        let mut outcome = Outcome::of(scenario, &self.version);
        read_summary(&value, &mut outcome);
        outcome.series = series;
        if status.success() != outcome.passed() {
            return Err(Error::new(format!("k6 {name} ended: {status}, unlike its thresholds")));
        }
        Ok(Ran { outcome, began })
    }
}

/// Reads what `--summary-export` writes. There, a threshold is `true` when it was missed.
fn read_summary(summary: &Value, outcome: &mut Outcome) {
    let Some(metrics) = summary.get("metrics").and_then(Value::as_object) else { return };
    let count = |metric: &str, field: &str| {
        metrics.get(metric).and_then(|metric| metric.get(field)?.as_u64()).unwrap_or(0)
    };
    outcome.requests = count("http_reqs", "count");
    // A rate counts what is: `passes` are the requests that failed.
    outcome.failed = count("http_req_failed", "passes");
    outcome.latency_ms = REPORTED
        .iter()
        .filter_map(|(name, known)| {
            let value = metrics.get("http_req_duration")?.get(known)?.as_f64()?;
            Some(((*name).to_owned(), value))
        })
        .collect();
    for (metric, fields) in metrics {
        let Some(thresholds) = fields.get("thresholds").and_then(Value::as_object) else {
            continue;
        };
        for (words, missed) in thresholds {
            let figure = words.split(['<', '>', '=']).next().unwrap_or_default();
            let figure = if figure == "rate" { "value" } else { figure };
            outcome.thresholds.push(Threshold {
                what: format!("{metric} {words}"),
                value: fields.get(figure).and_then(Value::as_f64),
                ok: missed == &Value::Bool(false),
            });
        }
    }
    outcome.thresholds.sort_by(|one, other| one.what.cmp(&other.what));
}

/// Reads samples of k6, one JSON document a line: what was answered in each second, and when the
/// first answer came. Samples of k6 carry the time at which the answer had come.
fn series(samples: impl BufRead) -> Result<(Vec<Second>, f64)> {
    let mut began = None;
    let mut seconds: Vec<(u64, u64, Latencies)> = Vec::new();
    for line in samples.lines() {
        let line = line.context("a sample")?;
        if !line.starts_with(r#"{"metric":"http_req_duration","type":"Point""#) {
            continue;
        }
        let value: Value = serde_json::from_str(&line).context("a sample")?;
        let Some(Sample { time, took, expected, slow }) = sample(&value) else {
            return Err(Error::new(format!("a sample that cannot be read: {line}")));
        };
        let began = *began.get_or_insert(time);
        let at = whole(seconds_between(began, time));
        while seconds.len() <= at {
            seconds.push((0, 0, Latencies::new()?));
        }
        if let Some((requests, failed, latencies)) = seconds.get_mut(at) {
            *requests += 1;
            *failed += u64::from(!expected);
            if !slow {
                latencies.note(Duration::from_secs_f64(took.max(0.0) / 1e3));
            }
        }
    }
    let seconds = (0..).zip(seconds).map(|(at, (requests, failed, latencies))| Second {
        at,
        requests,
        failed,
        p50_ms: latencies.percentile_ms(50.0),
        p99_ms: latencies.percentile_ms(99.0),
    });
    Ok((seconds.collect(), began.unwrap_or(0.0)))
}

/// What k6 says of an answer.
struct Sample {
    /// In seconds of the day.
    time: f64,
    /// In milliseconds.
    took: f64,
    expected: bool,
    /// Whether the script calls the request slow: it takes its time by intention.
    slow: bool,
}

fn sample(value: &Value) -> Option<Sample> {
    let data = value.get("data")?;
    let tag = |name: &str| data.get("tags")?.get(name)?.as_str();
    Some(Sample {
        time: time_of_day(data.get("time")?.as_str()?)?,
        took: data.get("value")?.as_f64()?,
        expected: tag("expected_response")? == "true",
        slow: tag("name") == Some("slow"),
    })
}

/// Seconds of the day in `2026-11-22T18:25:24.859221049Z`.
fn time_of_day(text: &str) -> Option<f64> {
    let (_, time) = text.strip_suffix('Z')?.split_once('T')?;
    let mut parts = time.split(':').map(str::parse::<f64>);
    let mut part = || parts.next()?.ok();
    Some(part()? * 3600.0 + part()? * 60.0 + part()?)
}

/// Whole seconds of a time; those before the first are in it.
fn whole(seconds: f64) -> usize {
    usize::try_from(Duration::try_from_secs_f64(seconds).unwrap_or_default().as_secs())
        .unwrap_or(usize::MAX)
        .min(usize::try_from(LONGEST.as_secs()).unwrap_or(usize::MAX))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::suite::SCENARIOS;

    #[test]
    fn a_threshold_that_k6_calls_true_was_missed() {
        let summary = json!({"metrics": {
            "http_reqs": {"count": 120, "rate": 30.0},
            "http_req_failed": {"fails": 118, "passes": 2, "value": 0.0167,
                "thresholds": {"rate==0": true}},
            "http_req_duration": {"med": 1.5, "p(99)": 9.0, "max": 12.0,
                "thresholds": {"p(99)<50": false}},
        }});
        let mut outcome = Outcome::of(SCENARIOS[0], "k6");
        read_summary(&summary, &mut outcome);
        assert_eq!((outcome.requests, outcome.failed), (120, 2));
        assert!(!outcome.passed());
        let [duration, failed] = outcome.thresholds.as_slice() else { panic!("two thresholds") };
        assert_eq!(duration.what, "http_req_duration p(99)<50");
        assert_eq!((duration.value, duration.ok), (Some(9.0), true));
        assert_eq!((failed.value, failed.ok), (Some(0.0167), false));
        assert!(outcome.latency_ms.contains(&("p50".to_owned(), 1.5)));
    }

    #[test]
    fn samples_are_put_into_the_second_in_which_they_came() {
        let point = |time: &str, took: f64, expected: &str| {
            let name = if took > 100.0 { "slow" } else { "fast" };
            let tags = json!({"expected_response": expected, "name": name});
            let start = r#"{"metric":"http_req_duration","type":"Point","data":"#;
            format!("{start}{}}}", json!({"time": time, "value": took, "tags": tags}))
        };
        let lines = [
            r#"{"type":"Metric","data":{},"metric":"http_req_duration"}"#.to_owned(),
            point("2026-11-22T23:59:59.5Z", 2.0, "true"),
            point("2026-11-22T23:59:59.9Z", 2.0, "false"),
            point("2026-11-23T00:00:01.6Z", 8.0, "true"),
            // Counted, but not among the latencies.
            point("2026-11-23T00:00:01.7Z", 1000.0, "true"),
        ];
        let (seconds, began) = series(lines.join("\n").as_bytes()).unwrap();
        assert!((began - 86_399.5).abs() < 1e-6);
        let counts: Vec<_> = seconds.iter().map(|one| (one.at, one.requests, one.failed)).collect();
        assert_eq!(counts, [(0, 2, 1), (1, 0, 0), (2, 2, 0)]);
        assert!((seconds[2].p99_ms - 8.0).abs() < 0.05);
        assert!(
            series("{\"metric\":\"http_req_duration\",\"type\":\"Point\"}".as_bytes()).is_err()
        );
    }
}
