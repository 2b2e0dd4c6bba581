//! What wrk sends where there is no k6.
//!
//! wrk asks again when it has its answer: it shows what breaks under load and how many requests
//! come through, but its latencies leave out what a stall costs the callers who come meanwhile.
//! Reports say so. There are no answers to look into beyond their status.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use tokio::process::Command;
use tokio::time::timeout;

use crate::suite::demo::Printed;
use crate::suite::{Outcome, Scenario, Second};
use crate::{Context, Error, Result};

/// How much longer than its duration a run may take.
const GRACE: Duration = Duration::from_secs(20);

/// The script that counts statuses.
const SCRIPT: &str = include_str!("../../wrk/scenario.lua");

/// What reports say of a run without k6.
pub const CAVEAT: &str = "k6 is not there, so wrk sent this: as fast as answers came, or with a \
    fixed pause after each. Latencies leave out what stalls cost those who come meanwhile, and of \
    answers only the status was looked at.";

/// What is sent.
struct Load {
    /// Method, target, token and body of each request, in turn.
    requests: Vec<String>,
    /// Statuses that are no failure.
    expected: &'static str,
    connections: u32,
    seconds: u64,
    /// Pause of a connection after each answer, in milliseconds.
    pause_ms: u32,
    /// What the 99th percentile may be, in milliseconds.
    p99_ms: f64,
}

/// The load that stands in for a scenario.
fn load(scenario: Scenario, demo: &Printed, seconds: Option<u64>) -> Result<Load> {
    let get = |target: &str| format!("GET {target} - -");
    let with = |target: &str, token: &str| Ok::<_, Error>(format!("GET {target} {token} -"));
    let orders = |name: &str| with("/v1/orders", demo.token(name)?);
    let kept: Vec<String> =
        (0..20).map(|n| get(&format!("/v1/catalog/lamps?n={n}&cc=max-age%3D60"))).collect();
    let fresh = get("/v1/catalog/lamps?cc=no-store");
    let one = |requests, expected| Load {
        requests,
        expected,
        connections: 4,
        seconds: seconds.unwrap_or(10),
        pause_ms: 20,
        p99_ms: 100.0,
    };
    Ok(match scenario.name {
        "smoke" => Load {
            connections: 1,
            seconds: seconds.unwrap_or(2),
            ..one(
                vec![fresh, get("/v1/orders"), get("/v2/orders"), orders("READER")?],
                "200,401,404",
            )
        },
        // One in forty: the demo allows a user 1000 orders an hour.
        "steady" => {
            one(kept.iter().cycle().take(39).cloned().chain([orders("READER")?]).collect(), "200")
        }
        "limit" => one(vec![get("/v1/search?q=lamp")], "200,429"),
        "auth" => one(vec![get("/v1/orders"), orders("EXPIRED")?, orders("SUSPENDED")?], "401,403"),
        "cache" => Load { pause_ms: 0, ..one(kept, "200") },
        "spike" => Load {
            connections: 64,
            pause_ms: 0,
            ..one(vec![kept.first().cloned().unwrap_or_default(), fresh], "200")
        },
        "soak" => Load { seconds: seconds.unwrap_or(120), ..one(kept, "200") },
        _ => Load { p99_ms: 500.0, ..one(vec![fresh], "200") },
    })
}

/// wrk with its files.
#[derive(Debug)]
pub struct StandIn {
    folder: PathBuf,
    script: PathBuf,
    /// Its version.
    pub version: String,
}

impl StandIn {
    /// Writes the script into a folder.
    pub fn new(folder: &Path) -> Result<Self> {
        let script = folder.join("scenario.lua");
        std::fs::write(&script, SCRIPT).context(script.display())?;
        let version = crate::report::said("wrk", &["-v"]);
        Ok(Self { folder: folder.to_owned(), script, version })
    }

    /// Sends what stands in for a scenario.
    pub async fn run(
        &self,
        scenario: Scenario,
        address: SocketAddr,
        demo: &Printed,
        seconds: Option<u64>,
    ) -> Result<Outcome> {
        let load = load(scenario, demo, seconds)?;
        let file = self.folder.join(format!("{}.requests", scenario.name));
        std::fs::write(&file, load.requests.join("\n") + "\n").context(file.display())?;
        let mut command = Command::new("wrk");
        command
            .args(["--threads=1", "--timeout=5s"])
            .arg(format!("--connections={}", load.connections))
            .arg(format!("--duration={}s", load.seconds))
            .arg("--script")
            .arg(&self.script)
            .arg(format!("http://{address}"))
            .arg("--")
            .arg(&file)
            .arg(load.expected)
            .arg(load.pause_ms.to_string())
            .stdin(Stdio::null())
            .kill_on_drop(true);
        let output = timeout(Duration::from_secs(load.seconds) + GRACE, command.output())
            .await
            .context("wrk does not end")?
            .context("neither k6 (make setup-k6) nor wrk (Debian: apt-get install wrk)")?;
        let text = String::from_utf8_lossy(&output.stdout);
        let mut outcome = Outcome::of(scenario, &self.version);
        read(&text, &mut outcome).ok_or_else(|| {
            let words = String::from_utf8_lossy(&output.stderr);
            Error::new(format!("wrk reported nothing: {}\n{text}{words}", output.status))
        })?;
        outcome.notes.push(CAVEAT.to_owned());
        let failed = crate::report::as_float(outcome.failed);
        outcome.ask("failed requests ==0", failed, outcome.failed == 0);
        outcome.ask("requests >0", crate::report::as_float(outcome.requests), outcome.requests > 0);
        let p99 = outcome.latency_ms.iter().find(|(name, _)| name == "p99").map_or(0.0, |p| p.1);
        outcome.ask(format!("latency p99<{}", load.p99_ms), p99, p99 < load.p99_ms);
        Ok(outcome)
    }
}

/// Reads the script's report: `tidegate-loadtest key=value ...`, and of each second
/// `tidegate-second NUMBER REQUESTS FAILED`.
fn read(text: &str, outcome: &mut Outcome) -> Option<()> {
    let line = text.lines().find_map(|line| line.strip_prefix("tidegate-loadtest "))?;
    let figure = |name: &str| -> Option<u64> {
        let mut pairs = line.split(' ').filter_map(|pair| pair.split_once('='));
        pairs.find(|(key, _)| *key == name)?.1.parse().ok()
    };
    outcome.requests = figure("requests")?;
    outcome.failed = figure("failed")? + figure("socket")?;
    for name in ["p50", "p90", "p95", "p99", "p99.9", "max"] {
        let ms = Duration::from_micros(figure(name)?).as_secs_f64() * 1e3;
        outcome.latency_ms.push((name.to_owned(), ms));
    }
    for line in text.lines().filter_map(|line| line.strip_prefix("tidegate-second ")) {
        let mut words = line.split(' ').map(str::parse::<u64>);
        let mut word = || words.next()?.ok();
        let (at, requests, failed) = (word()?, word()?, word()?);
        let at = u32::try_from(at).ok()?;
        outcome.series.push(Second { at, requests, failed, p50_ms: 0.0, p99_ms: 0.0 });
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::suite::SCENARIOS;

    #[test]
    fn there_is_a_load_for_every_scenario() {
        let tokens = ["READER", "WRITER", "EXPIRED", "SUSPENDED"];
        let demo = Printed {
            base_url: "http://127.0.0.1:1".to_owned(),
            admin: String::new(),
            tokens: tokens.map(|name| (name.to_owned(), "a.b.c".to_owned())).to_vec(),
            config: PathBuf::new(),
        };
        for scenario in SCENARIOS {
            let load = load(scenario, &demo, None).unwrap();
            assert!(!load.requests.is_empty(), "{}", scenario.name);
            assert!(load.requests.iter().all(|line| line.split(' ').count() == 4));
        }
    }

    #[test]
    fn a_report_is_read_with_its_seconds() {
        let text = "tidegate-second 0 10 1\ntidegate-second 1 12 0\n\
                    tidegate-loadtest requests=22 failed=1 socket=2 p50=1500 p90=2000 p95=2500 \
                    p99=3000 p99.9=3500 max=4000\n";
        let mut outcome = Outcome::default();
        read(text, &mut outcome).unwrap();
        assert_eq!((outcome.requests, outcome.failed), (22, 3));
        assert_eq!(outcome.series.len(), 2);
        assert_eq!(outcome.latency_ms[0], ("p50".to_owned(), 1.5));
        assert!(read(&text.replace("max=", "most="), &mut outcome).is_none());
    }
}
