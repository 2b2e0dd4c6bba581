//! The scenarios of `make loadtest`, by k6 or by wrk.
//!
//! Each scenario is a k6 script; where there is no k6, wrk sends something like it and the report
//! says so. Either way an [`Outcome`] comes of it, which [`crate::page`] draws.

pub mod demo;
pub mod k6;
pub mod stand_in;
pub mod upgrade;

use serde_json::{Value, json};

/// A scenario.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scenario {
    /// Its name: that of its script.
    pub name: &'static str,
    /// What it asks, in a line.
    pub what: &'static str,
    /// Whether it is part of the short set.
    pub short: bool,
}

/// Every scenario that k6 runs, in the order in which they run.
pub const SCENARIOS: [Scenario; 8] = [
    Scenario { name: "smoke", what: "one of each kind of answer", short: true },
    Scenario { name: "steady", what: "cached answers and orders at a constant rate", short: true },
    Scenario { name: "limit", what: "ten times more than a limit allows", short: true },
    Scenario { name: "auth", what: "who may and who may not, side by side", short: true },
    Scenario { name: "cache", what: "one miss for each target, hits for the rest", short: true },
    Scenario { name: "spike", what: "ten times the load from one second to the next", short: true },
    Scenario { name: "soak", what: "the same load for long", short: false },
    Scenario { name: "upgrade", what: "the process is replaced under load", short: true },
];

/// The name under which `latency` is asked for, which is not a script.
pub const LATENCY: &str = "latency";

/// What came of a scenario.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    /// The scenario.
    pub name: String,
    /// What it asked.
    pub what: String,
    /// What sent the load.
    pub tool: String,
    /// Requests that were answered.
    pub requests: u64,
    /// Those whose answer was not what the scenario expects.
    pub failed: u64,
    /// Latencies in milliseconds: name of the percentile, value.
    pub latency_ms: Vec<(String, f64)>,
    /// Second by second.
    pub series: Vec<Second>,
    /// Memory of the gateway over time: seconds, MiB.
    pub memory_mib: Vec<(f64, f64)>,
    /// What happened when, in seconds from the first request.
    pub events: Vec<(f64, String)>,
    /// What was asked of the figures.
    pub thresholds: Vec<Threshold>,
    /// What a reader should know of it.
    pub notes: Vec<String>,
}

/// One second of a scenario.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Second {
    /// Its number from the first request.
    pub at: u32,
    /// Answers.
    pub requests: u64,
    /// Those that were not expected.
    pub failed: u64,
    /// Half of the answers took at most that long, in milliseconds.
    pub p50_ms: f64,
    /// All but a hundredth of the answers took at most that long, in milliseconds.
    pub p99_ms: f64,
}

/// What was asked of a figure, and whether it held.
#[derive(Clone, Debug, PartialEq)]
pub struct Threshold {
    /// What was asked: `http_req_duration p(99)<50`.
    pub what: String,
    /// The figure; none where nothing was measured.
    pub value: Option<f64>,
    /// Whether it held.
    pub ok: bool,
}

impl Outcome {
    /// Nothing yet.
    #[must_use]
    pub fn of(scenario: Scenario, tool: &str) -> Self {
        Self {
            name: scenario.name.to_owned(),
            what: scenario.what.to_owned(),
            tool: tool.to_owned(),
            ..Self::default()
        }
    }

    /// Whether every threshold held.
    #[must_use]
    pub fn passed(&self) -> bool {
        self.thresholds.iter().all(|threshold| threshold.ok)
    }

    /// Asks something of a figure.
    pub fn ask(&mut self, what: impl Into<String>, value: f64, ok: bool) {
        self.thresholds.push(Threshold { what: what.into(), value: Some(value), ok });
    }

    /// All of it.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let latency: serde_json::Map<_, _> =
            self.latency_ms.iter().map(|(name, value)| (name.clone(), json!(value))).collect();
        let second = |second: &Second| {
            json!({
                "second": second.at,
                "requests": second.requests,
                "failed": second.failed,
                "p50Ms": second.p50_ms,
                "p99Ms": second.p99_ms,
            })
        };
        let threshold = |one: &Threshold| {
            let Threshold { what, value, ok } = one;
            json!({"what": what, "value": value, "ok": ok})
        };
        json!({
            "scenario": self.name,
            "what": self.what,
            "tool": self.tool,
            "passed": self.passed(),
            "requests": self.requests,
            "failed": self.failed,
            "latencyMs": latency,
            "series": self.series.iter().map(second).collect::<Vec<_>>(),
            "memoryMib": self.memory_mib,
            "events": self.events,
            "thresholds": self.thresholds.iter().map(threshold).collect::<Vec<_>>(),
            "notes": self.notes,
        })
    }
}

/// Seconds since midnight, UTC: what events and requests are told apart by.
#[must_use]
#[expect(clippy::disallowed_methods, reason = "events are put beside the times that k6 writes")]
pub fn seconds_of_day() -> f64 {
    use std::time::{SystemTime, UNIX_EPOCH};
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    now.as_secs_f64() % DAY
}

/// Seconds from one time of day to another, over midnight, too.
#[must_use]
pub fn seconds_between(earlier: f64, later: f64) -> f64 {
    let between = later - earlier;
    if between < -DAY / 2.0 { between + DAY } else { between }
}

const DAY: f64 = 86_400.0;
