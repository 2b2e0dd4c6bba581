//! Feeds, and the pools that follow them.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Weak};
use std::time::Duration;

use parking_lot::Mutex;
use serde::Serialize;
use tokio::sync::{Notify, watch};

use super::answer::Answer;
use super::feed::{Feed, Outcome, Step};
use super::source::Source;
use crate::clock::{self, Tick};
use crate::telemetry::Metrics;
use crate::upstream::{HealthBoard, Instance, Pool};

/// What a version's endpoints come from.
#[derive(Clone, Debug)]
pub(in crate::upstream) enum Listed {
    /// The configuration.
    Fixed(Instance),
    /// A source.
    LookedUp {
        /// Whom to ask.
        source: Source,
        /// Port of instances whose port the source does not know.
        port: Option<u16>,
        /// Share of each instance, instead of what the source says.
        weight: Option<u32>,
    },
}

impl Listed {
    /// The instance that the configuration names.
    pub(in crate::upstream) const fn fixed(&self) -> Option<&Instance> {
        match self {
            Self::Fixed(instance) => Some(instance),
            Self::LookedUp { .. } => None,
        }
    }
}

/// Everything that discovery knows; outlives configurations.
///
/// A feed lives as long as a pool follows it, and a pool as long as its snapshot.
#[derive(Debug, Default)]
pub struct Directory {
    book: Mutex<Book>,
    /// A pool has come.
    pub(super) subscribed: Notify,
    /// Number of answers, for those who wait for one.
    answers: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct Book {
    feeds: HashMap<Arc<Source>, Weak<Feed>>,
    followers: Vec<Arc<Follower>>,
}

/// A pool that follows feeds.
#[derive(Debug)]
struct Follower {
    pool: Weak<Pool>,
    parts: Box<[Part]>,
    /// What is in the pool. Held while it is filled, so that two who fill it at once cannot
    /// leave it with the older of two answers.
    filled: Mutex<Vec<Instance>>,
}

#[derive(Debug)]
enum Part {
    Fixed(Instance),
    Fed { feed: Arc<Feed>, port: Option<u16>, weight: Option<u32> },
}

/// What is known of one source, in the words of `/admin/discovery`.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Known {
    /// Kind and name of the source.
    pub source: Arc<str>,
    /// Addresses of its instances.
    pub instances: Vec<String>,
    /// Seconds since the source last said so.
    pub age_seconds: u64,
    /// What the last look-up came to: `ok`, `unchanged`, `empty`, `failed`; none before it.
    pub last: Option<&'static str>,
    /// Why it failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

impl Directory {
    /// Keeps a pool filled for as long as it lives, if there is anything to look up in `listed`.
    /// What is known of the sources already is in the pool when this returns. Returns the names
    /// of the sources.
    pub(in crate::upstream) fn subscribe(
        &self,
        pool: &Arc<Pool>,
        listed: Vec<Listed>,
        health: &HealthBoard,
    ) -> Box<[Arc<str>]> {
        if !listed.iter().any(|listed| matches!(listed, Listed::LookedUp { .. })) {
            return Box::default();
        }
        let fixed = listed.iter().filter_map(Listed::fixed).cloned().collect();
        let mut book = self.book.lock();
        let parts: Box<[Part]> = listed.into_iter().map(|listed| book.part(listed)).collect();
        let mut labels: Vec<Arc<str>> = Vec::new();
        for part in &parts {
            if let Part::Fed { feed, .. } = part
                && !labels.contains(&feed.label)
            {
                labels.push(Arc::clone(&feed.label));
            }
        }
        let filled = Mutex::new(fixed);
        let follower = Arc::new(Follower { pool: Arc::downgrade(pool), parts, filled });
        // Before the list grows, those go whose pools are gone: a reload brings all anew.
        if book.followers.len() == book.followers.capacity() {
            book.forget();
        }
        book.followers.push(Arc::clone(&follower));
        drop(book);
        follower.fill(health);
        self.subscribed.notify_one();
        labels.into()
    }

    /// Waits until every source has answered, or failed to, at least once. Never longer than
    /// the longest time limit of a look-up, and some. Needs [`run`](Self::run) to be polled.
    pub async fn first_answers(&self) {
        let mut answers = self.answers.subscribe();
        let longest = self.feeds().iter().map(|feed| feed.source.timeout).max();
        let all = async {
            while self.feeds().iter().any(|feed| !feed.state.lock().is_answered) {
                if answers.changed().await.is_err() {
                    return;
                }
            }
        };
        // The time limit is kept by whoever asks; this one only stands in for a defect there.
        let _ = tokio::time::timeout(longest.unwrap_or_default() + SLACK, all).await;
    }

    /// Asks every source once, before anything is served.
    pub async fn look_up_first(&self, health: &HealthBoard, metrics: &Metrics) {
        tokio::select! {
            () = self.run(health, metrics) => {}
            () = self.first_answers() => {}
        }
    }

    /// What is known of every source, in the order of their names.
    #[must_use]
    pub fn known(&self) -> Vec<Known> {
        let now = clock::now().tick;
        let mut known: Vec<Known> = self.feeds().iter().map(|feed| Known::of(feed, now)).collect();
        known.sort_by(|a, b| a.source.cmp(&b.source));
        known
    }

    /// Every feed that is followed.
    pub(super) fn feeds(&self) -> Vec<Arc<Feed>> {
        self.book.lock().feeds.values().filter_map(Weak::upgrade).collect()
    }

    /// Lets go of pools and feeds that nobody uses any more.
    pub(super) fn forget(&self) {
        self.book.lock().forget();
    }

    /// Puts an answer in force.
    pub(super) fn publish(
        &self,
        feed: &Arc<Feed>,
        answer: Answer,
        now: Tick,
        health: &HealthBoard,
        metrics: &Metrics,
    ) {
        let step = feed.state.lock().absorb(answer, &feed.source, now, fastrand::f64());
        let labels = [&*feed.label, step.outcome.word()];
        metrics.discovery_lookups.with_label_values(&labels).inc();
        if step.is_change {
            let followers: Vec<Arc<Follower>> = {
                let book = self.book.lock();
                book.followers.iter().filter(|one| one.follows(feed)).cloned().collect()
            };
            for follower in followers {
                follower.fill(health);
            }
        }
        if step.is_news {
            tell(feed, step);
        }
        self.answers.send_modify(|count| *count = count.wrapping_add(1));
    }
}

/// What waiting for the first answers may take beyond the time limit of a look-up.
const SLACK: Duration = Duration::from_secs(1);

impl Book {
    fn part(&mut self, listed: Listed) -> Part {
        match listed {
            Listed::Fixed(instance) => Part::Fixed(instance),
            Listed::LookedUp { source, port, weight } => {
                Part::Fed { feed: self.feed(source), port, weight }
            }
        }
    }

    /// The feed of a source. A new one begins with what a feed of the same name knows, so that
    /// other settings (a new token, another address of the registry) empty nothing while the
    /// registry is away.
    fn feed(&mut self, source: Source) -> Arc<Feed> {
        if let Some(feed) = self.feeds.get(&source).and_then(Weak::upgrade) {
            return feed;
        }
        let label = source.label();
        let before = self
            .feeds
            .values()
            .filter_map(Weak::upgrade)
            .filter(|other| other.label == label)
            .find_map(|other| other.state.lock().believed.clone());
        let feed = Arc::new(Feed::new(source, before));
        self.feeds.insert(Arc::clone(&feed.source), Arc::downgrade(&feed));
        feed
    }

    fn forget(&mut self) {
        self.followers.retain(|follower| follower.pool.strong_count() > 0);
        self.feeds.retain(|_, feed| feed.strong_count() > 0);
    }
}

impl Follower {
    fn follows(&self, feed: &Arc<Feed>) -> bool {
        self.parts
            .iter()
            .any(|part| matches!(part, Part::Fed { feed: own, .. } if Arc::ptr_eq(own, feed)))
    }

    /// Puts what the feeds know into the pool, if that is anything new.
    fn fill(&self, health: &HealthBoard) {
        let Some(pool) = self.pool.upgrade() else { return };
        let mut filled = self.filled.lock();
        let instances = self.instances();
        if *filled != instances {
            pool.replace(&instances, health);
            *filled = instances;
        }
    }

    /// The instances, in the order of the configuration. What is found at an address that is
    /// there already is left out, and so is an address that was found before it was written.
    fn instances(&self) -> Vec<Instance> {
        let mut instances = Vec::new();
        let (mut written, mut found) = (HashSet::new(), HashSet::new());
        for part in &self.parts {
            match part {
                Part::Fixed(instance) => {
                    if !found.contains(&instance.address) {
                        written.insert(instance.address);
                        instances.push(instance.clone());
                    }
                }
                Part::Fed { feed, port, weight } => {
                    for place in feed.places().iter() {
                        let Some(port) = place.port.or(*port) else { continue };
                        let address = (place.ip, port).into();
                        let host = Arc::clone(&place.host);
                        let weight = weight.unwrap_or(place.weight);
                        if !written.contains(&address) && found.insert(address) {
                            instances.push(Instance { address, host, weight });
                        }
                    }
                }
            }
        }
        instances
    }
}

impl Known {
    fn of(feed: &Feed, now: Tick) -> Self {
        let state = feed.state.lock();
        let place = |place: &super::answer::Place| match place.port {
            Some(port) => std::net::SocketAddr::new(place.ip, port).to_string(),
            None => place.ip.to_string(),
        };
        Self {
            source: Arc::clone(&feed.label),
            instances: state.places().iter().map(place).collect(),
            age_seconds: state.age(now).as_secs(),
            last: state.last.map(Outcome::word),
            error: state.why.clone(),
        }
    }
}

/// One line for what changed; a state that lasts is in the metrics.
fn tell(feed: &Feed, step: Step) {
    let (source, state) = (&*feed.label, feed.state.lock());
    let instances = state.places().len();
    match step.outcome {
        Outcome::Changed | Outcome::Unchanged => {
            tracing::info!(source, instances, "endpoints found");
        }
        Outcome::Empty if instances > 0 => {
            tracing::warn!(source, instances, "no endpoint in the answer; kept until confirmed");
        }
        Outcome::Empty => tracing::warn!(source, "the source has no endpoint"),
        Outcome::Failed => {
            let why = state.why.as_deref().unwrap_or_default();
            tracing::warn!(source, instances, why, "look-up failed; what was known stays in force");
        }
    }
}
