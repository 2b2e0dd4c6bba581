//! What is to be written to Redis, one after the other, beside requests.
//!
//! Only keys wait, not answers: each is taken out of memory when its turn comes, so that what
//! waits weighs next to nothing, and what was purged or evicted meanwhile is not written.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use pingora_cache::storage::HitHandler;
use pingora_cache::{CacheKey, CacheMeta};
use tokio::sync::{mpsc, watch};
use tokio::time::timeout;

use super::calls::{self, Packed};
use super::codec::{Answer, Identity, encode, pack};
use super::ledger::Ledger;
use super::name::Name;
use super::remote::{Remote, State, aside};
use crate::cache::{MemoryStore, Note, store};
use crate::clock;
use crate::link::Failure;

/// How many wait at most.
pub(super) const QUEUE_MAX: usize = 4096;

/// Redis keeps no answer for longer, however long it may be used.
const KEPT_MAX: Duration = Duration::from_hours(7 * 24);

/// Answers that end sooner are not worth the way.
const KEPT_MIN: Duration = Duration::from_secs(1);

/// How long an answer in memory may take to be read: it may be one that is just coming in.
const READ_TIMEOUT: Duration = Duration::from_secs(1);

/// How long a write waits for the log of purges.
const LOG_TIMEOUT: Duration = Duration::from_secs(5);

/// Something to be done in Redis.
#[derive(Debug)]
pub(super) enum Job {
    /// Write what is in memory under this key. The note is for answers that memory kept without.
    Write(CacheKey, Option<Arc<Note>>),
    /// The answer under this key was confirmed: its head is new, its body the same.
    Renew(CacheKey, Option<Arc<Note>>),
    /// Remove what is in this place.
    Remove(Name),
}

/// How a write ended.
enum Outcome {
    Written,
    Dropped,
    TooLarge,
    Failed(Failure),
    /// There was no need.
    Spared,
}

/// Does what waits, for as long as Redis answers. Ends with the last user of the Redis.
pub(super) async fn work_off(
    remote: Weak<Remote>,
    mut jobs: mpsc::Receiver<Job>,
    mut states: watch::Receiver<State>,
    (memory, purges): (&'static MemoryStore, &'static dyn Ledger),
) {
    let mut is_failing = false;
    while let Some(job) = jobs.recv().await {
        if states.wait_for(|state| *state == State::Ready).await.is_err() {
            return;
        }
        let Some(remote) = remote.upgrade() else { return };
        let outcome = remote.carry_out(job, memory, purges).await;
        remote.undone.fetch_sub(1, Ordering::Relaxed);
        let meters = &remote.meters;
        match outcome {
            Outcome::Written => meters.written.inc(),
            Outcome::Dropped => meters.dropped.inc(),
            Outcome::TooLarge => meters.too_large.inc(),
            Outcome::Failed(failure) => {
                meters.failed.inc();
                // One late answer is no news.
                if !is_failing && !matches!(failure, Failure::Timeout) {
                    tracing::warn!(reason = %failure, "an answer could not be shared");
                }
                is_failing = true;
                continue;
            }
            Outcome::Spared => continue,
        }
        is_failing = false;
    }
}

impl Remote {
    async fn carry_out(
        &self,
        job: Job,
        memory: &'static MemoryStore,
        purges: &dyn Ledger,
    ) -> Outcome {
        let (key, note, is_renewed) = match job {
            Job::Write(key, note) => (key, note, false),
            Job::Renew(key, note) => (key, note, true),
            Job::Remove(name) => {
                let remove = |connection| calls::remove(connection, self.writer.prefix(), &name);
                let removed = self.writer.call(remove).await;
                return removed.map_or_else(Outcome::Failed, |()| Outcome::Spared);
            }
        };
        let Some(of) = Identity::of(&key) else { return Outcome::Spared };
        let Some((meta, hit)) = memory.peek(&key) else { return Outcome::Dropped };
        let note = match note_of(&meta, &hit).or(note.as_ref()) {
            None => None,
            Some(note) => match exported(note, purges).await {
                None => return Outcome::Spared,
                found => found,
            },
        };
        let answer = Answer::of(&key, &meta, note);
        let expires = answer.left(now()).min(KEPT_MAX);
        if expires < KEPT_MIN {
            return Outcome::Spared;
        }
        if is_renewed {
            match self.renew(&of, &answer, expires).await {
                Ok(true) => return Outcome::Written,
                Ok(false) => {}
                Err(failure) => return Outcome::Failed(failure),
            }
        }
        self.write(of, answer, hit, expires).await
    }

    async fn renew(
        &self,
        of: &Identity,
        answer: &Answer,
        expires: Duration,
    ) -> Result<bool, Failure> {
        let prefix = self.writer.prefix();
        self.writer.call(|connection| calls::renew(connection, prefix, of, answer, expires)).await
    }

    async fn write(
        &self,
        of: Identity,
        answer: Answer,
        hit: HitHandler,
        expires: Duration,
    ) -> Outcome {
        let most = usize::try_from(self.settings.body_bytes_max).unwrap_or(usize::MAX);
        let plain = match timeout(READ_TIMEOUT, read(hit, most)).await {
            Ok(Read::Whole(plain)) => plain,
            Ok(Read::TooLong) => return Outcome::TooLarge,
            Ok(Read::Broken) | Err(_) => return Outcome::Dropped,
        };
        let compress_from = self.settings.compress_from;
        let generation = fastrand::u64(1..);
        let packed = aside(move || {
            let (body, stored) = pack(plain, &answer.header, compress_from, generation);
            let head = encode(&of, &answer, &body, &stored)?;
            Some(Packed { head, body, stored, expires })
        });
        let Some(Some(packed)) = packed.await else { return Outcome::TooLarge };
        let prefix = self.writer.prefix();
        let store = |connection| calls::store(connection, prefix, &of, &packed);
        self.writer.call(store).await.map_or_else(Outcome::Failed, |()| Outcome::Written)
    }
}

/// What the entry in memory knows of itself.
fn note_of<'a>(meta: &'a CacheMeta, hit: &'a HitHandler) -> Option<&'a Arc<Note>> {
    store::note_of(hit).or_else(|| Note::of(meta))
}

/// A note as other nodes understand it; none where they cannot. What was fetched before the log of
/// purges was ever read gets its number with the first reading, which Redis may come back for a
/// moment later than for writes.
async fn exported(note: &Note, purges: &dyn Ledger) -> Option<Arc<Note>> {
    let seen = if let Some(seen) = purges.export(note.seen) {
        seen
    } else {
        purges.reaches(LOG_TIMEOUT).await;
        purges.export(note.seen)?
    };
    Some(Arc::new(Note { seen, ..note.clone() }))
}

enum Read {
    Whole(Vec<u8>),
    TooLong,
    Broken,
}

async fn read(mut hit: HitHandler, bytes_max: usize) -> Read {
    let mut body = Vec::new();
    loop {
        match hit.read_body().await {
            Ok(Some(part)) if body.len() + part.len() > bytes_max => return Read::TooLong,
            Ok(Some(part)) => body.extend_from_slice(&part),
            Ok(None) => return Read::Whole(body),
            Err(_) => return Read::Broken,
        }
    }
}

pub(super) fn now() -> SystemTime {
    UNIX_EPOCH + Duration::from_millis(clock::now().unix_ms)
}
