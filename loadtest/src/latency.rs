//! What the gateway adds to the latency of the service behind it.
//!
//! The same requests go to the service directly and through the gateway, at the same constant
//! rate, in turn and in short stretches, so that a machine that slows down does so for both. What
//! is added at a percentile is the difference of that percentile in a round (R007, R008), and the
//! median of the rounds is what counts: a machine that stops for some milliseconds spoils the
//! hundredth part of a stretch, whoever was running; what the gateway does itself comes again.

mod budget;
mod target;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Value, json};

use crate::document::{HOST, Place};
use crate::open_loop::{Callers, Outcome};
use crate::options::Load;
use crate::process::{Core, Cores, Process};
use crate::report::{as_float, per_second};
use crate::token::Issuer;
use crate::wrk::{Request, Wrk};
use crate::{Context, Error, Result, probe, start};

pub use budget::Budget;
pub use target::Target;

/// The percentiles that are reported.
pub const PERCENTILES: [(&str, f64); 4] =
    [("p50", 50.0), ("p95", 95.0), ("p99", 99.0), ("p99.9", 99.9)];

/// Percentiles of a curve.
const CURVE: [f64; 12] = [10.0, 25.0, 50.0, 75.0, 90.0, 95.0, 98.0, 99.0, 99.5, 99.9, 99.95, 99.99];

/// Callers, each with a token of its own, and the paths that each asks for.
const CALLERS: usize = 100;
/// Requests that are prepared.
const REQUESTS: usize = 1000;
/// Connections under which the most is looked for.
const BUSY: Load = Load { connections: 64, threads: 1 };
/// How long the most is looked for, after a second of warming up.
const PEAK_SECONDS: u64 = 3;
/// Load before the first round.
const WARM_UP: Duration = Duration::from_secs(1);
/// The part of the requests that must have been treated as the target's name says.
const PROVED: f64 = 0.99;

/// A load generator that was later than this at its 99th percentile, in milliseconds, was too slow
/// for figures of this size to mean much.
pub const LATE_MS: f64 = 1.0;

/// How much is measured.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// The gateway's binary.
    pub gateway: PathBuf,
    /// The origin's.
    pub origin: PathBuf,
    /// The bare proxy's.
    pub bare: PathBuf,
    /// What is measured.
    pub targets: Vec<Target>,
    /// How often.
    pub rounds: u32,
    /// How long each stretch is, in seconds.
    pub seconds: u64,
    /// Connections to each server, at most.
    pub connections: usize,
    /// Requests a second; none for half of what the target can do.
    pub rate: Option<u32>,
}

/// One target and the origin beside it, at one rate.
#[derive(Clone, Debug)]
pub struct Measured {
    /// The target.
    pub target: Target,
    /// Answers a second under full load, where that was looked for.
    pub peak: Option<f64>,
    /// Requests a second.
    pub rate: u32,
    /// The origin, asked directly: all rounds.
    pub direct: Outcome,
    /// Through the gateway: all rounds.
    pub through: Outcome,
    /// Each round: direct, through.
    pub rounds: Vec<(Outcome, Outcome)>,
    /// How busy the gateway's processor was, from 0 to 1.
    pub busy: f64,
}

impl Measured {
    /// What the gateway adds at a percentile, in milliseconds: the median of the rounds.
    #[must_use]
    pub fn added_ms(&self, percent: f64) -> f64 {
        middle(self.added(percent))
    }

    /// The same in the round in which it was most.
    #[must_use]
    pub fn worst_ms(&self, percent: f64) -> f64 {
        self.added(percent).last().copied().unwrap_or_default()
    }

    /// A percentile of the origin's and of the gateway's latency, in milliseconds: the medians of
    /// the rounds.
    #[must_use]
    pub fn ways_ms(&self, percent: f64) -> [f64; 2] {
        let at = |outcome: &Outcome| outcome.latency.percentile_ms(percent);
        let direct = sorted(self.rounds.iter().map(|(direct, _)| at(direct)));
        [middle(direct), middle(sorted(self.rounds.iter().map(|(_, through)| at(through))))]
    }

    /// What is added in each round, the least first.
    fn added(&self, percent: f64) -> Vec<f64> {
        let at = |outcome: &Outcome| outcome.latency.percentile_ms(percent);
        sorted(self.rounds.iter().map(|(direct, through)| at(through) - at(direct)))
    }

    /// Requests without a good answer, on either way.
    #[must_use]
    pub const fn errors(&self) -> u64 {
        self.direct.errors + self.through.errors
    }

    /// All of it.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let way = |outcome: &Outcome| {
            let at = |(name, percent): (&str, f64)| {
                (name.to_owned(), json!(outcome.latency.percentile_ms(percent)))
            };
            let curve: Vec<_> = CURVE
                .iter()
                .map(|percent| json!([percent, outcome.latency.percentile_ms(*percent)]))
                .collect();
            json!({
                "requests": outcome.due,
                "errors": outcome.errors,
                "firstError": outcome.first_error,
                "latencyMs": PERCENTILES.map(at).into_iter().collect::<serde_json::Map<_, _>>(),
                "maxMs": outcome.latency.percentile_ms(100.0),
                "lateP99Ms": outcome.late.percentile_ms(99.0),
                "curve": curve,
            })
        };
        let named = |of: &dyn Fn(f64) -> f64| {
            let one = |(name, percent): (&str, f64)| (name.to_owned(), json!(of(percent)));
            PERCENTILES.map(one).into_iter().collect::<serde_json::Map<_, _>>()
        };
        let rounds: Vec<_> = self
            .rounds
            .iter()
            .map(|(direct, through)| json!({"direct": way(direct), "through": way(through)}))
            .collect();
        json!({
            "target": self.target.name(),
            "what": self.target.describe(),
            "peakPerSecond": self.peak,
            "rate": self.rate,
            "busy": self.busy,
            "addedMs": named(&|percent| self.added_ms(percent)),
            "worstAddedMs": named(&|percent| self.worst_ms(percent)),
            "direct": way(&self.direct),
            "through": way(&self.through),
            "rounds": rounds,
        })
    }
}

/// A gateway that runs, with what it is asked.
struct Node {
    target: Target,
    address: SocketAddr,
    /// Where its counters are; a bare proxy has none.
    admin: Option<SocketAddr>,
    process: Process,
    callers: Callers,
    direct: Callers,
}

/// Measures every target of a plan. `say` is told what is going on.
pub async fn measure(plan: &Plan, cores: Cores, say: impl Fn(&str)) -> Result<Vec<Measured>> {
    for program in [&plan.gateway, &plan.origin, &plan.bare] {
        if !program.is_file() {
            return Err(Error::new(format!("{} is not there; build it", program.display())));
        }
    }
    let folder = tempfile::tempdir().context("a folder for the run")?;
    let folder = folder.path();
    let issuer = Issuer::generate()?;
    let key = Place::public_key(folder);
    std::fs::write(&key, issuer.public_pem()).context(key.display())?;
    let wrk = Wrk::new(cores, folder)?;
    let (origin, origin_process) = start::origin(cores, folder, &plan.origin, 1024, &[]).await?;
    let mut redis = None;
    if plan.targets.contains(&Target::Shared) {
        redis = Some(start::redis(cores, folder).await?);
    }
    // After the others were started, which choose for themselves.
    cores.stay(Core::Load)?;
    let requests = requests(&issuer)?;
    let prepared = wrk.prepare("latency", &requests)?;
    let mut all = Vec::new();
    for target in &plan.targets {
        let redis = redis.as_ref().filter(|_| *target == Target::Shared).map(|(at, _)| *at);
        let mut node = Node::start(plan, cores, folder, *target, origin, redis, &requests).await?;
        let measured = node.measure(plan, &wrk, &prepared, &say).await?;
        node.process.stop().await?;
        all.push(measured);
    }
    if let Some((_, process)) = redis {
        process.stop().await?;
    }
    origin_process.stop().await?;
    Ok(all)
}

impl Node {
    async fn start(
        plan: &Plan,
        cores: Cores,
        folder: &Path,
        target: Target,
        origin: SocketAddr,
        redis: Option<SocketAddr>,
        requests: &[Request],
    ) -> Result<Self> {
        let place = Place {
            name: target.name(),
            folder: folder.to_owned(),
            address: probe::free_address().await?,
            admin: probe::free_address().await?,
            origin,
            redis,
        };
        let (address, admin, process) = if target == Target::Bare {
            let (address, process) = start::bare(cores, folder, &plan.bare, origin).await?;
            (address, None, process)
        } else {
            let document = target.document(&place);
            let process = start::gateway(cores, &plan.gateway, &place, &document).await?;
            (place.address, Some(place.admin), process)
        };
        let bytes: Vec<Vec<u8>> = requests.iter().map(bytes).collect();
        Ok(Self {
            target,
            address,
            admin,
            process,
            callers: Callers::new(address, bytes.clone(), plan.connections),
            direct: Callers::new(origin, bytes, plan.connections),
        })
    }

    async fn measure(
        &mut self,
        plan: &Plan,
        wrk: &Wrk,
        prepared: &Path,
        say: &impl Fn(&str),
    ) -> Result<Measured> {
        let name = self.target.name();
        let (peak, rate) = if let Some(rate) = plan.rate {
            (None, rate)
        } else {
            say(&format!("{name}: looking for its peak"));
            let peak = self.peak(wrk, prepared).await?;
            (Some(peak), half(peak)?)
        };
        say(&format!("{name}: warming up at {rate} a second"));
        self.direct.at_rate(rate, WARM_UP).await?;
        self.callers.at_rate(rate, WARM_UP).await?;
        let length = Duration::from_secs(plan.seconds);
        let mut rounds = Vec::new();
        let mut busy = Duration::ZERO;
        for round in 0..plan.rounds {
            say(&format!("{name}: round {} of {}", round + 1, plan.rounds));
            // Whoever comes first finds the machine as the last one left it.
            let early = round % 2 == 0;
            let mut direct = None;
            if early {
                direct = Some(self.direct.at_rate(rate, length).await?);
            }
            let (through, used) = self.through(rate, length).await?;
            busy += used;
            let direct = match direct {
                Some(direct) => direct,
                None => self.direct.at_rate(rate, length).await?,
            };
            rounds.push((direct, through));
        }
        let (mut direct, mut through) = (Outcome::new()?, Outcome::new()?);
        for (one, other) in &rounds {
            direct.take(one.clone())?;
            through.take(other.clone())?;
        }
        let busy = busy.as_secs_f64() / (length * plan.rounds.max(1)).as_secs_f64();
        Ok(Measured { target: self.target, peak, rate, direct, through, rounds, busy })
    }

    /// Answers a second under full load.
    async fn peak(&self, wrk: &Wrk, prepared: &Path) -> Result<f64> {
        wrk.run(self.address, prepared, BUSY, 1).await?;
        let tally = wrk.run(self.address, prepared, BUSY, PEAK_SECONDS).await?;
        if tally.errors() > 0 {
            let name = self.target.name();
            return Err(Error::new(format!("{name}: {} errors under full load", tally.errors())));
        }
        Ok(per_second(&tally))
    }

    async fn counters(&self) -> Result<String> {
        match self.admin {
            Some(admin) => probe::metrics(admin).await,
            None => Ok(String::new()),
        }
    }

    /// A stretch of load through the gateway, which must have done what the target's name says;
    /// and the processor time that it took.
    async fn through(&mut self, rate: u32, length: Duration) -> Result<(Outcome, Duration)> {
        let counted = self.counters().await?;
        let before = self.process.cpu_time()?;
        let outcome = self.callers.at_rate(rate, length).await?;
        let used = self.process.cpu_time()?.since(before);
        let after = self.counters().await?;
        for (name, labels) in self.target.proofs() {
            let grown = probe::sum(&after, name, labels) - probe::sum(&counted, name, labels);
            if grown < as_float(outcome.due) * PROVED {
                return Err(Error::new(format!(
                    "{}: {name} {labels:?} grew by {grown} in a run of {} requests: this measured \
                     something else ({})\n{}",
                    self.target.name(),
                    outcome.due,
                    outcome.first_error.as_deref().unwrap_or("no errors"),
                    self.process.log_tail()
                )));
            }
        }
        Ok((outcome, used.user + used.system))
    }
}

fn sorted(figures: impl Iterator<Item = f64>) -> Vec<f64> {
    let mut figures: Vec<f64> = figures.collect();
    figures.sort_by(f64::total_cmp);
    figures
}

/// The middle one of sorted figures, the upper one of two; 0 of none.
fn middle(figures: Vec<f64>) -> f64 {
    let at = figures.len() / 2;
    figures.into_iter().nth(at).unwrap_or_default()
}

/// Half of a peak, in whole requests a second.
fn half(peak: f64) -> Result<u32> {
    format!("{:.0}", (peak / 2.0).max(1.0)).parse().context("the peak")
}

fn requests(issuer: &Issuer) -> Result<Vec<Request>> {
    let tokens: Vec<String> = (0..CALLERS).map(|user| issuer.token(user)).collect::<Result<_>>()?;
    let request = |n: usize| {
        let token = tokens.get(n % CALLERS).cloned();
        Request { token, ..Request::get(format!("/v1/orders/{n:04}?expand=lines")) }
    };
    Ok((0..REQUESTS).map(request).collect())
}

/// A request as wrk sends it, too.
fn bytes(request: &Request) -> Vec<u8> {
    let Request { target, token, .. } = request;
    let token = token.as_deref().unwrap_or_default();
    format!(
        "GET {target} HTTP/1.1\r\nHost: {HOST}\r\nAccept: application/json\r\n\
         Authorization: Bearer {token}\r\n\r\n"
    )
    .into_bytes()
}

#[cfg(test)]
mod tests;
