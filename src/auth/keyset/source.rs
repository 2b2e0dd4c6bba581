//! Where keys come from while the process runs: fetched in the background, kept through outages.
//!
//! Requests read the ring and never wait for an issuer, with one exception: a token that names
//! an unknown key may wait a bounded time for a fetch that all such requests share (R088, R090).
//! A failed fetch changes nothing but a counter; the last good set stays in force (R089).

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::{ArcSwap, Guard};
use ring::digest::{SHA256, digest};
use tokio::sync::Notify;
use tokio::task::{AbortHandle, JoinSet};

use super::disk::{Store, Stored};
use super::feed::{Asked, Feed, Feeds};
use super::keyring::{KeyRing, KeySet, SetId, UnknownKey};
use super::settings::FetchSettings;
use crate::auth::Providers;
use crate::auth::jwt::jwks;
use crate::auth::jwt::key::Key;
use crate::auth::jwt::provider::digest_bytes;
use crate::clock::{self, Tick};
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
    /// Where sets survive a restart.
    store: Option<Arc<Store>>,
}

impl KeySource {
    /// An empty source. Nothing of it survives the process.
    #[must_use]
    pub fn new(metrics: Arc<Metrics>) -> Self {
        Self::with_state(metrics, None)
    }

    /// An empty source that keeps the last good sets in a folder, and begins with those that
    /// are there.
    #[must_use]
    pub fn with_state(metrics: Arc<Metrics>, folder: Option<&Path>) -> Self {
        let now = clock::now().unix_seconds();
        let shared = Shared {
            ring: ArcSwap::default(),
            feeds: ArcSwap::default(),
            adopted: Notify::new(),
            metrics,
            store: folder.map(|folder| Arc::new(Store::new(folder, now))),
        };
        Self { shared: Arc::new(shared) }
    }

    /// The ring in force; lock-free.
    #[must_use]
    pub fn current(&self) -> Arc<KeyRing> {
        self.shared.ring.load_full()
    }

    /// The ring in force, for as long as a decision takes: cheaper than an own reference, and not
    /// to be held while waiting.
    pub(in crate::auth) fn glance(&self) -> Guard<Arc<KeyRing>> {
        self.shared.ring.load()
    }

    /// Takes over the providers of a new snapshot: key sets of known URLs are kept, those that
    /// are on disk are read, and the others fetched in the background as soon as
    /// [`KeySource::run`] is polled. Keys that stand in the configuration are part of the
    /// providers and need nothing here.
    ///
    /// Sets of the snapshot before stay until the next call, for requests that still hold it.
    pub fn adopt(&self, providers: &Arc<Providers>) {
        let old = self.shared.feeds.load_full();
        let mut from_disk = HashMap::new();
        let mut feed = |(id, settings): (&SetId, &FetchSettings)| {
            let same = |feed: &&Arc<Feed>| feed.id == *id && feed.settings == *settings;
            if let Some(feed) = old.iter().find(same) {
                return Arc::clone(feed);
            }
            let mut feed = Feed::new(id.clone(), settings.clone(), &self.shared.metrics);
            if let Some((stored, set)) = self.shared.load(id, settings) {
                from_disk.insert(id.clone(), Arc::new(set));
                feed.stored = Some(Arc::new(stored));
            }
            Arc::new(feed)
        };
        let feeds: Feeds = providers
            .iter()
            .filter_map(|(_, provider)| provider.fetched().map(&mut feed))
            .collect();
        self.shared.ring.rcu(|ring| {
            let is_wanted = |id: &SetId| old.iter().chain(&feeds).any(|feed| feed.id == *id);
            feeds.iter().fold(ring.retain(is_wanted), |next, feed| {
                let found = || ring.known_at(&feed.id).or_else(|| from_disk.get(&feed.id));
                match (ring.get(&feed.id), found()) {
                    (None, Some(set)) => next.with(&feed.id, set),
                    _ => next,
                }
            })
        });
        self.shared.feeds.store(Arc::new(feeds));
        self.shared.adopted.notify_one();
    }

    /// Asks for every set to be fetched again, each within its provider's rate.
    pub fn renew_soon(&self, now: Tick) {
        for feed in self.shared.feeds.load().iter() {
            // Whether it is under way already, or too much was asked for, is all the same here.
            let _ = feed.ask(now);
        }
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
                _ = ages.tick() => self.shared.show_all(),
                Some(_) = tasks.join_next() => {}
            }
        }
    }

    /// Starts a task for every feed that has none and ends those of feeds that are gone.
    fn match_tasks(&self, tasks: &mut JoinSet<()>, keepers: &mut HashMap<SetId, Keeping>) {
        let feeds = self.shared.feeds.load_full();
        keepers.retain(|id, keeper| {
            if feeds.iter().any(|feed| Arc::ptr_eq(feed, &keeper.feed)) {
                return !keeper.task.is_finished();
            }
            keeper.task.abort();
            if !feeds.iter().any(|feed| feed.id.provider == id.provider) {
                // A gauge that nobody sets would show the age of its last day for ever.
                let _ = self.shared.metrics.keyring_age.remove_label_values(&[&id.provider]);
                let _ = self.shared.metrics.keyring_keys.remove_label_values(&[&id.provider]);
            }
            false
        });
        for feed in feeds.iter() {
            if keepers.contains_key(&feed.id) {
                continue;
            }
            let task = tasks.spawn(keeper::keep(Arc::clone(&self.shared), Arc::clone(feed)));
            keepers.insert(feed.id.clone(), Keeping { feed: Arc::clone(feed), task });
        }
    }

    /// Asks for a provider's set to be fetched again because of an unknown key, within the
    /// provider's rate, shared by all requests that ask at once; waits at most a second. `true`
    /// if a set with the key is in force.
    pub async fn refetch(&self, unknown: &UnknownKey) -> bool {
        let feeds = self.shared.feeds.load_full();
        let Some(feed) = feeds.iter().find(|feed| feed.id == unknown.set) else { return false };
        feed.metrics.unknown.inc();
        tokio::time::timeout(REFETCH_WAIT, self.shared.find(feed, unknown))
            .await
            .unwrap_or_else(|_| self.shared.holds(unknown))
    }
}

/// The task that keeps a feed.
#[derive(Debug)]
struct Keeping {
    feed: Arc<Feed>,
    task: AbortHandle,
}

impl Shared {
    fn holds(&self, unknown: &UnknownKey) -> bool {
        let ring = self.ring.load();
        ring.get(&unknown.set).is_some_and(|set| set.holds(&unknown.kid))
    }

    async fn find(&self, feed: &Feed, unknown: &UnknownKey) -> bool {
        loop {
            let mut ended = feed.ended.subscribe();
            // Another request's fetch may have brought it. A newer set alone would not do: it
            // may have been on its way when the key was published.
            if self.holds(unknown) {
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
                return self.holds(unknown);
            }
        }
    }

    /// Reads what is on disk of a set that is not in force. Whatever is wrong with it is said
    /// and leaves the set to be fetched.
    fn load(&self, id: &SetId, settings: &FetchSettings) -> Option<(Stored, KeySet)> {
        let store = self.store.as_ref()?;
        let ring = self.ring.load();
        if ring.get(id).or_else(|| ring.known_at(id)).is_some() {
            return None;
        }
        let now = clock::now();
        let read = || -> Result<_, Box<dyn std::error::Error>> {
            let Some(stored) = store.load(id, now.unix_seconds())? else { return Ok(None) };
            let keys = jwks::read_up_to(stored.document.as_bytes(), settings.jwks.max_keys)?;
            let digest = digest(&SHA256, stored.document.as_bytes());
            let set = KeySet::fetched(keys, digest_bytes(digest.as_ref()), now);
            let age = stored.age(now.unix_seconds());
            Ok(Some((stored, set.aged(age))))
        };
        let count = |outcome| {
            self.metrics.keyring_store.with_label_values(&[&*id.provider, outcome]).inc();
        };
        match read() {
            Ok(None) => None,
            Ok(Some((stored, set))) => {
                count("loaded");
                let age_seconds = stored.age(now.unix_seconds()).as_secs();
                tracing::info!(
                    provider = %id.provider,
                    age_seconds,
                    "the key set on disk is in force until the issuer answers"
                );
                Some((stored, set))
            }
            Err(error) => {
                count("ignored");
                tracing::warn!(provider = %id.provider, %error, "the key set on disk is ignored");
                None
            }
        }
    }

    /// Puts fetched keys in force. Returns whether they say anything new: a set that is the
    /// same as before keeps its generation, and with it what was proved.
    fn publish(&self, feed: &Feed, keys: Vec<Key>, digest: [u8; 32]) -> bool {
        if self.confirm(feed, &digest) {
            return false;
        }
        let set = Arc::new(KeySet::fetched(keys, digest, clock::now()));
        self.ring.rcu(|ring| ring.with(&feed.id, &set));
        self.show(feed);
        true
    }

    /// Notes that the issuer has confirmed the document with this digest; `false` if the set in
    /// force is of another.
    fn confirm(&self, feed: &Feed, digest: &[u8; 32]) -> bool {
        let ring = self.ring.load();
        let Some(same) = ring.get(&feed.id).filter(|set| set.has_digest(digest)) else {
            return false;
        };
        let set = Arc::new(same.confirmed(clock::now()));
        self.ring.rcu(|ring| ring.with(&feed.id, &set));
        self.show(feed);
        true
    }

    fn show_all(&self) {
        self.feeds.load().iter().for_each(|feed| self.show(feed));
    }

    /// Writes what is in force of a set to its metrics.
    fn show(&self, feed: &Feed) {
        let ring = self.ring.load();
        let set = ring.get(&feed.id);
        let age = set.and_then(|set| set.age(clock::now()));
        feed.metrics.age.set(age.map_or(f64::NAN, |age| age.as_secs_f64()));
        let keys = set.map_or(0, |set| set.len());
        feed.metrics.keys.set(i64::try_from(keys).unwrap_or(i64::MAX));
    }
}

mod keeper;

#[cfg(test)]
mod tests;
