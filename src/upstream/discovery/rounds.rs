//! Asks every source again and again.
//!
//! Each feed has one task that waits until its time has come, asks once, and ends with the
//! answer; the answer is put in force here and the next task begins. So a look-up that a defect
//! ends, or a source that never answers, costs nobody but itself.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::task::{AbortHandle, Id, JoinSet};
use tokio::time::MissedTickBehavior;

use super::Directory;
use super::answer::{Answer, Hint};
use super::consul::Agent;
use super::feed::Feed;
use super::file::Watched;
use super::source::{Kind, Source};
use crate::clock;
use crate::drill::{self, Dependency, Trouble};
use crate::telemetry::Metrics;
use crate::upstream::HealthBoard;

/// How often ages are published and feeds looked for that nobody follows any more.
const UPKEEP: Duration = Duration::from_secs(1);

impl Directory {
    /// Asks every source that a pool follows, again and again, for as long as it is polled.
    pub async fn run(&self, health: &HealthBoard, metrics: &Metrics) {
        let mut rounds = Rounds::default();
        let mut shown = HashSet::new();
        let mut upkeep = tokio::time::interval(UPKEEP);
        upkeep.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            rounds.adjust(&self.feeds());
            tokio::select! {
                Some((feed, asker, answer)) = rounds.next() => {
                    let now = clock::now().tick;
                    self.publish(&feed, answer, now, health, metrics);
                    show(&feed, metrics);
                    rounds.begin(&feed, asker);
                }
                () = self.subscribed.notified() => {}
                _ = upkeep.tick() => {
                    self.forget();
                    shown = show_all(&self.feeds(), &shown, metrics);
                }
            }
        }
    }
}

/// The tasks that ask, each for one feed.
#[derive(Default)]
struct Rounds {
    tasks: JoinSet<(Asker, Answer)>,
    running: HashMap<Id, (Weak<Feed>, AbortHandle)>,
}

impl Rounds {
    /// Begins with feeds that are new and ends those that nobody follows.
    fn adjust(&mut self, feeds: &[Arc<Feed>]) {
        self.running.retain(|_, (feed, task)| {
            let is_followed = feed.strong_count() > 0;
            if !is_followed {
                task.abort();
            }
            is_followed
        });
        for feed in feeds {
            let asks = |(other, _): &(Weak<Feed>, _)| other.as_ptr() == Arc::as_ptr(feed);
            if !self.running.values().any(asks) {
                self.begin(feed, Asker::new(&feed.source));
            }
        }
    }

    /// Asks a feed's source once, when it is time.
    fn begin(&mut self, feed: &Arc<Feed>, asker: Asker) {
        let now = clock::now().tick;
        let (pause, cursor) = {
            let mut state = feed.state.lock();
            state.began.get_or_insert(now);
            (state.due.since(now), state.cursor)
        };
        let task = self.tasks.spawn(asker.ask_after(pause, cursor));
        self.running.insert(task.id(), (Arc::downgrade(feed), task));
    }

    /// The next answer to a feed that is still followed. None at once without tasks; a task that
    /// ended by a defect is begun anew by `adjust`.
    async fn next(&mut self) -> Option<(Arc<Feed>, Asker, Answer)> {
        if self.tasks.is_empty() {
            return std::future::pending().await;
        }
        match self.tasks.join_next_with_id().await? {
            Ok((id, (asker, answer))) => {
                let (feed, _) = self.running.remove(&id)?;
                Some((feed.upgrade()?, asker, answer))
            }
            Err(error) => {
                self.running.remove(&error.id());
                if error.is_panic() {
                    tracing::error!(%error, "a look-up ended by a defect");
                }
                None
            }
        }
    }
}

/// Asks one source. What it holds on to between two look-ups belongs to the runtime it is on.
struct Asker {
    source: Arc<Source>,
    means: Means,
}

enum Means {
    Dns,
    Consul(Option<Agent>),
    File(Watched),
}

impl Asker {
    fn new(source: &Arc<Source>) -> Self {
        let means = match &source.kind {
            Kind::Dns(_) => Means::Dns,
            Kind::Consul(_) => Means::Consul(None),
            Kind::File(path) => Means::File(Watched::begin(path)),
        };
        Self { source: Arc::clone(source), means }
    }

    async fn ask_after(mut self, pause: Duration, cursor: u64) -> (Self, Answer) {
        match &mut self.means {
            Means::File(watched) => watched.changed_within(pause).await,
            Means::Dns | Means::Consul(_) => tokio::time::sleep(pause).await,
        }
        let answer = self.ask(cursor).await;
        (self, answer)
    }

    async fn ask(&mut self, cursor: u64) -> Answer {
        let source = &self.source;
        match drill::of(Dependency::Registry) {
            None => {}
            Some(Trouble::Down) => return Answer::failed("a drill: connection refused"),
            Some(Trouble::Slow) => {
                tokio::time::sleep(source.timeout).await;
                return Answer::failed("a drill: no answer in time");
            }
            Some(Trouble::Wrong) => return Answer { places: Ok(Vec::new()), hint: Hint::None },
        }
        match (&source.kind, &mut self.means) {
            (Kind::Dns(question), _) => question.ask(source.timeout).await,
            (Kind::File(path), _) => super::file::ask(path, source.timeout).await,
            (Kind::Consul(catalog), Means::Consul(agent)) => {
                if agent.is_none() {
                    match catalog.agent(source.refresh, source.timeout) {
                        Ok(made) => *agent = Some(made),
                        Err(why) => return Answer::failed(why),
                    }
                }
                match agent {
                    Some(agent) => agent.ask(catalog, cursor).await,
                    None => Answer::failed("there is no client"),
                }
            }
            (Kind::Consul(_), _) => Answer::failed("there is no client"),
        }
    }
}

/// Shows one feed in metrics.
fn show(feed: &Feed, metrics: &Metrics) {
    let state = feed.state.lock();
    let label = [&*feed.label];
    let instances = i64::try_from(state.places().len()).unwrap_or(i64::MAX);
    metrics.discovery_instances.with_label_values(&label).set(instances);
    let age = state.age(clock::now().tick);
    metrics.discovery_age.with_label_values(&label).set(age.as_secs_f64());
}

/// Shows every feed, and no longer those that were `shown` and are gone.
fn show_all(
    feeds: &[Arc<Feed>],
    shown: &HashSet<Arc<str>>,
    metrics: &Metrics,
) -> HashSet<Arc<str>> {
    let now: HashSet<Arc<str>> = feeds.iter().map(|feed| Arc::clone(&feed.label)).collect();
    for gone in shown.difference(&now) {
        // Absent only if it was never shown.
        let _ = metrics.discovery_instances.remove_label_values(&[gone]);
        let _ = metrics.discovery_age.remove_label_values(&[gone]);
    }
    for feed in feeds {
        show(feed, metrics);
    }
    now
}
