//! Raises the share of a new version step by step, for as long as it does well (R041).
//!
//! The new version is compared with the version that it is to replace, by the share of failed
//! requests and by the 99th percentile of the time they took. Each node judges by what it sees
//! itself: nothing has to be agreed on, and a node that sees nothing wrong does nothing wrong.
//!
//! A [`Rollout`] outlives configurations. It is found again by service and settings, so a change
//! of the settings begins anew, and nothing else does.

mod tally;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use prometheus::{IntCounter, IntGauge};

use super::BUCKETS;
use crate::clock::{Moment, Tick};
use crate::model;
use crate::telemetry::Metrics;
use tally::{Counts, Tally};

/// A rollout: the share in force, and what it is judged by.
#[derive(Debug)]
pub struct Rollout {
    /// Name of the service.
    pub service: Box<str>,
    settings: model::Rollout,
    /// The share of the new version, out of [`BUCKETS`]; read for every request.
    share: AtomicU32,
    old: Tally,
    new: Tally,
    progress: Mutex<Progress>,
    meters: Meters,
}

#[derive(Debug)]
struct Meters {
    share: IntGauge,
    aborted: IntCounter,
}

/// How far a rollout has come. Locked by the one task that judges, and by explanations.
#[derive(Debug)]
struct Progress {
    step: usize,
    since: Option<Tick>,
    /// What had been counted when the step began.
    old_before: Counts,
    new_before: Counts,
    /// What the old version did when it was last seen doing enough to be compared with.
    yardstick: Option<Counts>,
    state: State,
}

/// What becomes of a rollout.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// It goes on.
    Running,
    /// The last step was held.
    Done,
    /// The new version did badly; its share is 0 until the configuration changes.
    Aborted,
}

impl State {
    /// The state in a word.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Done => "done",
            Self::Aborted => "aborted",
        }
    }
}

impl Rollout {
    fn new(service: &str, settings: model::Rollout, metrics: &Metrics) -> Self {
        let (share, aborted) = metrics.rollout_of(service, &settings.version);
        let first = settings.steps.first().copied().unwrap_or(0);
        share.set(i64::from(first));
        Self {
            service: service.into(),
            settings,
            share: AtomicU32::new(first),
            old: Tally::default(),
            new: Tally::default(),
            progress: Mutex::new(Progress {
                step: 0,
                since: None,
                old_before: Counts::default(),
                new_before: Counts::default(),
                yardstick: None,
                state: State::Running,
            }),
            meters: Meters { share, aborted },
        }
    }

    /// The share of the new version, out of [`BUCKETS`]. It takes the highest buckets, so that
    /// raising it moves nobody back (R043).
    #[must_use]
    pub fn share(&self) -> u32 {
        self.share.load(Ordering::Relaxed)
    }

    /// State, step (from 0) and share, for people.
    #[must_use]
    pub fn progress(&self) -> (State, usize, u32) {
        let progress = self.progress.lock();
        (progress.state, progress.step, self.share())
    }

    /// Notes how a request of one of the two versions ended: with which status, after how long.
    pub fn observe(&self, new: bool, status: u16, took: Duration) {
        let tally = if new { &self.new } else { &self.old };
        tally.observe(status, took);
    }

    /// Judges the current step.
    pub fn judge(&self, now: Moment) {
        let mut progress = self.progress.lock();
        if progress.state != State::Running {
            return;
        }
        let Some(since) = progress.since else {
            progress.since = Some(now.tick);
            return;
        };
        let old = self.old.counts().since(&progress.old_before);
        let new = self.new.counts().since(&progress.new_before);
        let enough = self.settings.min_requests.max(1);
        if old.requests >= enough {
            progress.yardstick = Some(old);
        }
        let Some(yardstick) = progress.yardstick.clone().filter(|_| new.requests >= enough) else {
            return;
        };
        if let Some(why) = self.breach(&yardstick, &new) {
            progress.state = State::Aborted;
            self.set_share(0);
            self.meters.aborted.inc();
            let (service, version) = (&*self.service, self.settings.version.as_str());
            tracing::error!(service, version, why, "rollout aborted, the share is 0");
        } else if now.tick.since(since) >= self.settings.hold.get() {
            self.advance(&mut progress, now);
        }
    }

    /// How the new version does badly beside the old one, if it does.
    fn breach(&self, old: &Counts, new: &Counts) -> Option<String> {
        let (was, is) = (old.failed_percent(), new.failed_percent());
        if is > was + self.settings.max_error_percent {
            return Some(format!("{is:.2} % of requests fail, {was:.2} % of the old version's"));
        }
        let (was, is) = (old.percentile(99), new.percentile(99));
        if is.as_secs_f64() > was.as_secs_f64() * self.settings.max_latency_ratio {
            let (is, was) = (is.as_millis(), was.as_millis());
            return Some(format!("the 99th percentile is {is} ms, the old version's {was} ms"));
        }
        None
    }

    fn advance(&self, progress: &mut Progress, now: Moment) {
        let Some(share) = self.settings.steps.get(progress.step + 1).copied() else {
            progress.state = State::Done;
            return;
        };
        progress.step += 1;
        progress.since = Some(now.tick);
        progress.old_before = self.old.counts();
        progress.new_before = self.new.counts();
        self.set_share(share);
        let (service, version) = (&*self.service, self.settings.version.as_str());
        tracing::info!(service, version, share, "rollout advanced");
    }

    fn set_share(&self, share: u32) {
        self.share.store(share.min(BUCKETS), Ordering::Relaxed);
        self.meters.share.set(i64::from(share));
    }
}

/// All rollouts of the process.
#[derive(Debug, Default)]
pub struct Rollouts {
    known: Mutex<HashMap<Box<str>, Arc<Rollout>>>,
}

/// Time between two judgements.
const TICK: Duration = Duration::from_secs(1);

impl Rollouts {
    /// The rollout of a service with these settings: the one under way, else a new one.
    #[must_use]
    pub fn of(&self, service: &str, model: &model::Rollout, metrics: &Metrics) -> Arc<Rollout> {
        let mut known = self.known.lock();
        known.retain(|_, rollout| Arc::strong_count(rollout) > 1);
        if let Some(rollout) = known.get(service).filter(|rollout| rollout.settings == *model) {
            return Arc::clone(rollout);
        }
        let rollout = Arc::new(Rollout::new(service, model.clone(), metrics));
        known.insert(service.into(), Arc::clone(&rollout));
        rollout
    }

    /// Judges every rollout, once a second, for as long as it is polled.
    pub async fn run(&self, now: impl Fn() -> Moment) {
        let mut ticks = tokio::time::interval(TICK);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            let all: Vec<_> = self.known.lock().values().map(Arc::clone).collect();
            for rollout in &all {
                rollout.judge(now());
            }
        }
    }
}

#[cfg(test)]
mod tests;
