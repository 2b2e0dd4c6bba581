//! Where keys come from while the process runs: fetched in the background, kept through outages.
//!
//! Requests read the ring and never wait for an issuer, with one exception: a token that names
//! an unknown key may wait a bounded time for a fetch that all such requests share (R088, R090).
//! A failed fetch changes nothing but a counter; the last good set stays in force (R089).

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use reqwest::{Client, Url};
use ring::digest::{SHA256, digest};
use tokio::sync::Notify;
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::Instant;

use super::Providers;
use super::feed::{Asked, Feed, Feeds};
use super::fetch::{self, Fetched};
use super::keyring::{KeyRing, KeySet, SetId, UnknownKey};
use super::provider::digest_bytes;
use crate::clock;
use crate::telemetry::Metrics;

/// Longest that a request waits for a fetch.
const REFETCH_WAIT: Duration = Duration::from_secs(1);
/// How often the age of each set is written to its metric.
const AGE_STEP: Duration = Duration::from_secs(5);

/// The current key ring and the means to renew it.
#[derive(Debug)]
pub struct KeySource {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    ring: ArcSwap<KeyRing>,
    feeds: ArcSwap<Feeds>,
    /// Wakes `run` when the feeds are others.
    adopted: Notify,
    metrics: Arc<Metrics>,
}

impl KeySource {
    /// An empty source.
    #[must_use]
    pub fn new(metrics: Arc<Metrics>) -> Self {
        let shared = Shared {
            ring: ArcSwap::default(),
            feeds: ArcSwap::default(),
            adopted: Notify::new(),
            metrics,
        };
        Self { shared: Arc::new(shared) }
    }

    /// The ring in force; lock-free.
    #[must_use]
    pub fn current(&self) -> Arc<KeyRing> {
        self.shared.ring.load_full()
    }

    /// Takes over the providers of a new snapshot: key sets of known URLs are kept, new ones
    /// fetched in the background as soon as [`KeySource::run`] is polled. Keys that stand in
    /// the configuration are part of the providers and need nothing here.
    ///
    /// Sets of the snapshot before stay until the next call, for requests that still hold it.
    pub fn adopt(&self, providers: &Arc<Providers>) {
        let old = self.shared.feeds.load_full();
        let feed = |(id, settings): (&SetId, &_)| {
            let same = |feed: &&Arc<Feed>| feed.id == *id && feed.settings == *settings;
            old.iter().find(same).map_or_else(
                || Arc::new(Feed::new(id.clone(), Clone::clone(settings), &self.shared.metrics)),
                Arc::clone,
            )
        };
        let feeds: Feeds =
            providers.iter().filter_map(|(_, provider)| provider.fetched().map(feed)).collect();
        self.shared.ring.rcu(|ring| {
            let is_wanted = |id: &SetId| old.iter().chain(&feeds).any(|feed| feed.id == *id);
            feeds.iter().fold(ring.retain(is_wanted), |next, feed| {
                match (ring.get(&feed.id), ring.known_at(&feed.id.url)) {
                    (None, Some(set)) => next.with(&feed.id, set),
                    _ => next,
                }
            })
        });
        self.shared.feeds.store(Arc::new(feeds));
        self.shared.adopted.notify_one();
    }

    /// Names of the providers whose key set was never had; their tokens get 503 until it is.
    #[must_use]
    pub fn waiting(&self) -> Vec<Arc<str>> {
        let ring = self.shared.ring.load();
        let feeds = self.shared.feeds.load();
        let waiting = feeds.iter().filter(|feed| ring.get(&feed.id).is_none());
        waiting.map(|feed| Arc::clone(&feed.id.provider)).collect()
    }

    /// Refreshes key sets for as long as it is polled. Runs on the data plane's background
    /// service; everything it starts ends with it.
    pub async fn run(&self) {
        let mut tasks = JoinSet::new();
        let mut keepers = HashMap::new();
        let mut ages = tokio::time::interval(AGE_STEP);
        loop {
            self.match_tasks(&mut tasks, &mut keepers);
            tokio::select! {
                () = self.shared.adopted.notified() => {}
                _ = ages.tick() => self.shared.show_ages(),
                Some(_) = tasks.join_next() => {}
            }
        }
    }

    /// Starts a task for every feed that has none and ends those of feeds that are gone.
    fn match_tasks(&self, tasks: &mut JoinSet<()>, keepers: &mut HashMap<SetId, Keeper>) {
        let feeds = self.shared.feeds.load_full();
        keepers.retain(|id, keeper| {
            if feeds.iter().any(|feed| Arc::ptr_eq(feed, &keeper.feed)) {
                return !keeper.task.is_finished();
            }
            keeper.task.abort();
            if !feeds.iter().any(|feed| feed.id.provider == id.provider) {
                // A gauge that nobody sets would show the age of its last day for ever.
                let _ = self.shared.metrics.keyring_age.remove_label_values(&[&id.provider]);
            }
            false
        });
        for feed in feeds.iter() {
            if keepers.contains_key(&feed.id) {
                continue;
            }
            let task = tasks.spawn(keep(Arc::clone(&self.shared), Arc::clone(feed)));
            keepers.insert(feed.id.clone(), Keeper { feed: Arc::clone(feed), task });
        }
    }

    /// Asks for a provider's set to be fetched again because of an unknown key, within the
    /// provider's rate, shared by all requests that ask at once; waits at most a second. `true`
    /// if a newer set is in force than the one in which the key was looked for.
    pub async fn refetch(&self, unknown: &UnknownKey) -> bool {
        let feeds = self.shared.feeds.load_full();
        let Some(feed) = feeds.iter().find(|feed| feed.id == unknown.set) else { return false };
        feed.metrics.unknown.inc();
        tokio::time::timeout(REFETCH_WAIT, self.shared.newer(feed, unknown))
            .await
            .unwrap_or_else(|_| self.shared.is_newer(unknown))
    }
}

/// The task that keeps a feed.
#[derive(Debug)]
struct Keeper {
    feed: Arc<Feed>,
    task: AbortHandle,
}

impl Shared {
    fn is_newer(&self, unknown: &UnknownKey) -> bool {
        let ring = self.ring.load();
        ring.get(&unknown.set).is_some_and(|set| set.generation() != unknown.generation)
    }

    async fn newer(&self, feed: &Feed, unknown: &UnknownKey) -> bool {
        loop {
            let mut ended = feed.ended.subscribe();
            if self.is_newer(unknown) {
                return true;
            }
            let asked = feed.ask(clock::now().tick);
            if asked == Asked::Refused || ended.changed().await.is_err() {
                return false;
            }
            // A fetch that was under way may have been answered before the key was published;
            // one that began after this request asked was not. So another round follows the
            // former, within the rate and the time that the caller allows.
            if asked == Asked::Begins {
                return self.is_newer(unknown);
            }
        }
    }

    /// Puts a fetched set in force. Returns whether it says anything new: a set that is the
    /// same as before keeps its generation, and with it what was proved.
    fn publish(&self, feed: &Feed, fetched: Fetched) -> bool {
        let now = clock::now();
        let digest = digest_bytes(digest(&SHA256, &fetched.document).as_ref());
        let ring = self.ring.load();
        let same = ring.get(&feed.id).filter(|set| set.has_digest(&digest));
        let is_new = same.is_none();
        let set = Arc::new(same.map_or_else(
            || KeySet::fetched(fetched.keys, digest, now),
            |same| same.confirmed(now),
        ));
        self.ring.rcu(|ring| ring.with(&feed.id, &set));
        is_new
    }

    fn show_ages(&self) {
        let (ring, now) = (self.ring.load(), clock::now());
        for feed in self.feeds.load().iter() {
            let fetched_at = ring.get(&feed.id).and_then(|set| set.fetched_at());
            let age = fetched_at.map(|at| now.tick.since(at.tick).as_secs_f64());
            feed.metrics.age.set(age.unwrap_or(f64::NAN));
        }
    }
}

/// Keeps one key set fresh until the task is ended.
async fn keep(shared: Arc<Shared>, feed: Arc<Feed>) {
    let Ok(url) = Url::parse(&feed.id.url) else { return };
    let mut client = None;
    let mut failures = 0_u32;
    // A set that is here already, from before a reload, is not asked for again at once.
    let is_here = shared.ring.load().get(&feed.id).is_some();
    let mut until = Instant::now() + if is_here { feed.pause(0) } else { Duration::ZERO };
    loop {
        feed.wait(until).await;
        feed.begin();
        failures = match attempt(&mut client, &url, &feed).await {
            Ok(fetched) => {
                let is_new = shared.publish(&feed, fetched);
                let outcome = if is_new { &feed.metrics.changed } else { &feed.metrics.unchanged };
                outcome.inc();
                tracing::info!(provider = %feed.id.provider, is_new, "the key set was fetched");
                0
            }
            Err(error) => {
                feed.metrics.failed.inc();
                let cause = std::error::Error::source(&*error).map(ToString::to_string);
                tracing::warn!(
                    provider = %feed.id.provider,
                    error = %error,
                    cause,
                    "the key set could not be renewed; the last good one stays in force"
                );
                failures.saturating_add(1)
            }
        };
        feed.end();
        until = Instant::now() + feed.pause(failures);
    }
}

/// One fetch. The client is made on first use, on the runtime that fetches, and made again
/// until that succeeds.
async fn attempt(
    client: &mut Option<Client>,
    url: &Url,
    feed: &Feed,
) -> Result<Fetched, Box<dyn std::error::Error + Send + Sync>> {
    let client = match client {
        Some(client) => client,
        None => client.insert(fetch::client(url, &feed.settings)?),
    };
    Ok(fetch::fetch(client, url.clone()).await?)
}

#[cfg(test)]
mod tests;
