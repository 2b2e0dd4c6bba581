//! The task that keeps one key set: when it asks, what it asks for, and what becomes of the
//! answer.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use reqwest::Url;
use ring::digest::{SHA256, digest};
use tokio::time::Instant;

use super::Shared;
use crate::auth::jwt::jwks;
use crate::auth::jwt::provider::digest_bytes;
use crate::auth::keyset::discovery;
use crate::auth::keyset::disk::{Store, Stored};
use crate::auth::keyset::feed::{Feed, Left};
use crate::auth::keyset::fetch::{Asker, FetchError, Validators};
use crate::clock::{self, Moment, Tick};

/// Longest time between writings of a set that stays the same: what is on disk says when the
/// issuer last confirmed it, and is too old one day.
const SAVE_STEP: Duration = Duration::from_hours(1);

/// Keeps one key set fresh until the task is ended.
pub(super) async fn keep(shared: Arc<Shared>, feed: Arc<Feed>) {
    let Ok(url) = Url::parse(&feed.id.url) else { return };
    let mut until = Instant::now() + first_pause(&shared, &feed);
    let mut keeper = Keeper::new(shared, feed, url);
    loop {
        keeper.feed.wait(until).await;
        keeper.feed.begin();
        let pause = keeper.renew().await;
        keeper.feed.end();
        until = Instant::now() + pause;
        keeper.save().await;
    }
}

/// A set that is here already, from before a reload, is not asked for again before its time. One
/// from disk is: nobody knows what has become of it since.
fn first_pause(shared: &Shared, feed: &Feed) -> Duration {
    let ring = shared.ring.load();
    match ring.get(&feed.id).and_then(|set| set.age(clock::now())) {
        Some(age) if feed.stored.is_none() => feed.after_success(None).saturating_sub(age),
        _ => Duration::ZERO,
    }
}

struct Keeper {
    shared: Arc<Shared>,
    feed: Arc<Feed>,
    /// Where everything begins: the key set, or the document that names it.
    url: Url,
    asker: Asker,
    /// The document in force, where it was fetched, and how to ask whether it has changed.
    held: Option<Held>,
    /// How long the issuer said that its set is fresh.
    lifetime: Option<Duration>,
    failures: u32,
    /// What is to be written to disk.
    unsaved: Option<Stored>,
    saved_at: Option<Tick>,
}

struct Held {
    keys_url: Url,
    validators: Validators,
    digest: [u8; 32],
    /// What of it goes to disk; none where nothing does.
    stored: Option<Stored>,
}

impl Keeper {
    fn new(shared: Arc<Shared>, feed: Arc<Feed>, url: Url) -> Self {
        let held = feed.stored.as_deref().and_then(|stored| {
            Some(Held {
                keys_url: Url::parse(&stored.keys_url).ok()?,
                validators: stored.validators(),
                digest: digest_of(stored.document.as_bytes()),
                stored: Some(stored.clone()),
            })
        });
        Self {
            asker: Asker::new(feed.settings.clone()),
            shared,
            feed,
            url,
            held,
            lifetime: None,
            failures: 0,
            unsaved: None,
            saved_at: None,
        }
    }

    /// Fetches once. Returns how long to wait before the next time.
    async fn renew(&mut self) -> Duration {
        let now = clock::now();
        let feed = Arc::clone(&self.feed);
        let metrics = &feed.metrics;
        match self.attempt(now).await {
            Ok(is_new) => {
                let outcome = if is_new { &metrics.changed } else { &metrics.unchanged };
                outcome.inc();
                tracing::info!(provider = %feed.id.provider, is_new, "the key set was fetched");
                self.failures = 0;
                feed.after_success(self.lifetime)
            }
            Err(error) => {
                metrics.failed.inc();
                let labels = [&*feed.id.provider, error.reason()];
                self.shared.metrics.keyring_failures.with_label_values(&labels).inc();
                let cause = std::error::Error::source(&error).map(causes);
                let (left, outcome) = match self.shared.ring.load().get(&feed.id) {
                    Some(_) => (Left::OlderSet, "the last good one stays in force"),
                    None => (Left::Nothing, "tokens of this provider get 503"),
                };
                tracing::warn!(
                    provider = %feed.id.provider,
                    error = %error,
                    cause,
                    "the key set could not be renewed; {outcome}"
                );
                self.failures = self.failures.saturating_add(1);
                let asked = error.retry_after();
                feed.after_failure(self.failures, left, asked, clock::now().tick)
            }
        }
    }

    /// Asks for the set and puts it in force. Returns whether it says anything new.
    async fn attempt(&mut self, now: Moment) -> Result<bool, FetchError> {
        let date = date(now);
        let keys_url = match &self.feed.id.discovers {
            None => self.url.clone(),
            Some(issuer) => {
                let document = self.asker.get(&self.url, None, date).await?.document;
                discovery::keys_url(&document.unwrap_or_default(), issuer, &self.url)?
            }
        };
        // Another place says nothing about what the former one sent.
        let held = self.held.as_ref().filter(|held| held.keys_url == keys_url);
        let answer = self.asker.get(&keys_url, held.map(|held| &held.validators), date).await?;
        let Some(document) = answer.document else {
            return self.confirm(answer.validators, answer.lifetime);
        };
        let keys = jwks::read_up_to(&document, self.feed.settings.jwks.max_keys)?;
        let digest = digest_of(&document);
        let is_new = self.shared.publish(&self.feed, keys, digest);
        let stored = self.shared.store.as_ref().and_then(|_| {
            Stored::new(&self.feed.id, keys_url.as_str(), &answer.validators, &document)
        });
        self.held = Some(Held { keys_url, validators: answer.validators, digest, stored });
        self.lifetime = answer.lifetime;
        self.note_unsaved(is_new);
        Ok(is_new)
    }

    /// The issuer says that nothing has changed.
    fn confirm(
        &mut self,
        validators: Validators,
        lifetime: Option<Duration>,
    ) -> Result<bool, FetchError> {
        let is_held = |held: &&mut Held| self.shared.confirm(&self.feed, &held.digest);
        let Some(held) = self.held.as_mut().filter(is_held) else {
            // Next time the whole set is asked for.
            self.held = None;
            return Err(FetchError::NothingToConfirm);
        };
        held.validators = validators;
        // An issuer that says nothing here means what it said before (RFC 9111, 4.3.4).
        self.lifetime = lifetime.or(self.lifetime);
        self.note_unsaved(false);
        Ok(false)
    }

    /// Notes what is to be written to disk: a set that is new, or was confirmed long after it
    /// was written.
    fn note_unsaved(&mut self, is_new: bool) {
        let now = clock::now();
        let is_due = self.saved_at.is_none_or(|at| now.tick.since(at) >= SAVE_STEP);
        if !is_new && !is_due {
            return;
        }
        let stored = self.held.as_ref().and_then(|held| held.stored.clone());
        self.unsaved = stored.map(|stored| stored.confirmed_at(now.unix_seconds()));
    }

    /// Writes to disk what is new. A failure changes nothing for anybody until the next start,
    /// so it is said and counted, and tried again with the next fetch.
    async fn save(&mut self) {
        let (Some(stored), Some(store)) = (self.unsaved.take(), &self.shared.store) else { return };
        let (store, id): (Arc<Store>, _) = (Arc::clone(store), self.feed.id.clone());
        // Waits for the disk, which other tasks of this thread must not.
        let writing = tokio::task::spawn_blocking(move || store.save(&id, &stored));
        let result = writing.await.unwrap_or_else(|error| Err(std::io::Error::other(error)));
        let provider = &*self.feed.id.provider;
        let outcome = if result.is_ok() { "saved" } else { "failed" };
        self.shared.metrics.keyring_store.with_label_values(&[provider, outcome]).inc();
        match result {
            Ok(()) => self.saved_at = Some(clock::now().tick),
            Err(error) => {
                self.saved_at = None;
                tracing::warn!(provider, %error, "the key set could not be written to disk");
            }
        }
    }
}

fn digest_of(document: &[u8]) -> [u8; 32] {
    digest_bytes(digest(&SHA256, document).as_ref())
}

fn date(now: Moment) -> SystemTime {
    UNIX_EPOCH + Duration::from_millis(now.unix_ms)
}

/// An error and what is behind it, in one line: libraries say the reason last.
fn causes(error: &(dyn std::error::Error + 'static)) -> String {
    let chain = std::iter::successors(Some(error), |error| error.source());
    let words: Vec<String> = chain.map(ToString::to_string).collect();
    words.join(": ")
}
