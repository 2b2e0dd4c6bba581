//! One Redis, and whether it is asked.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep, timeout};

use super::asking::Asking;
use super::calls::{self, Stored};
use super::codec::{Answer, Body, Garbage, Identity, unpack};
use super::ledger::Ledger;
use super::meters::Meters;
use super::queue::{self, Job, QUEUE_MAX};
use super::settings::Settings;
use crate::cache::MemoryStore;
use crate::clock;
use crate::link::{self, Breaker, Failure};

/// Time limit of calls that no request waits for.
const PATIENCE: Duration = Duration::from_secs(5);

/// Time between two attempts to reach a Redis that was not left alone yet.
const PROBE_EVERY: Duration = Duration::from_millis(100);

/// From this length on bodies are brought into another form on a thread of their own: it takes
/// longer than other requests on this one should wait.
const ASIDE_BYTES: u64 = 128 * 1024;

/// Whether Redis is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// Nobody knows yet; the first attempt is under way.
    Starting,
    /// It answers.
    Ready,
    /// It does not, and is left alone but for probes beside requests.
    Away,
}

/// How calls are seen in the metrics of connections.
#[derive(Clone, Debug)]
pub(super) struct Users {
    pub(super) reads: link::Meters,
    pub(super) writes: link::Meters,
}

/// A Redis. Replaced whole when its settings change. Its tasks run on the runtime of the first
/// request that uses it, the gateway's, to which its connections belong.
#[derive(Debug)]
pub(super) struct Remote {
    pub(super) place: link::Settings,
    pub(super) settings: Settings,
    pub(super) asking: Asking,
    pub(super) meters: Arc<Meters>,
    /// For look-ups: within the time that a request waits.
    reader: link::Redis,
    /// For writes, on connections of their own: a look-up must not wait behind a large body.
    pub(super) writer: link::Redis,
    breaker: Breaker,
    state: watch::Sender<State>,
    jobs: mpsc::Sender<Job>,
    /// Jobs that wait, and the one under way.
    pub(super) undone: AtomicUsize,
    /// The other end, until the task that works the jobs off has begun.
    waiting: Mutex<Option<mpsc::Receiver<Job>>>,
    has_begun: AtomicBool,
    /// Whether the log was told that Redis is away.
    told: AtomicBool,
}

impl Remote {
    /// Prepares; connects to nothing yet.
    pub(super) fn new(
        place: &link::Settings,
        settings: Settings,
        meters: Arc<Meters>,
        users: &Users,
    ) -> Self {
        let at = |timeout| link::Settings { timeout, ..place.clone() };
        let (jobs, waiting) = mpsc::channel(QUEUE_MAX);
        Self {
            reader: link::Redis::new(&at(settings.timeout)).metered(users.reads.clone()),
            writer: link::Redis::new(&at(PATIENCE)).metered(users.writes.clone()),
            breaker: place.breaker(),
            place: place.clone(),
            settings,
            asking: Asking::default(),
            meters,
            state: watch::Sender::new(State::Starting),
            jobs,
            undone: AtomicUsize::new(0),
            waiting: Mutex::new(Some(waiting)),
            has_begun: AtomicBool::new(false),
            told: AtomicBool::new(false),
        }
    }

    /// Starts what runs beside requests, once. To be called on the gateway's runtime.
    pub(super) fn begin(
        self: &Arc<Self>,
        memory: &'static MemoryStore,
        purges: &'static dyn Ledger,
    ) {
        if self.has_begun.load(Ordering::Relaxed) || self.has_begun.swap(true, Ordering::AcqRel) {
            return;
        }
        tokio::spawn(watch_over(Arc::downgrade(self), self.state.subscribe()));
        if let Some(jobs) = self.waiting.lock().take() {
            tokio::spawn(queue::work_off(
                Arc::downgrade(self),
                jobs,
                self.state.subscribe(),
                (memory, purges),
            ));
        }
    }

    /// Leaves something to be done later; drops it where too much is waiting.
    pub(super) fn push(&self, job: Job) {
        // Before the job can be done.
        self.undone.fetch_add(1, Ordering::Relaxed);
        if self.jobs.try_send(job).is_err() {
            self.undone.fetch_sub(1, Ordering::Relaxed);
            self.meters.dropped.inc();
        }
    }

    /// Whether something waits to be done that can be: not while Redis is away.
    pub(super) fn is_behind(&self) -> bool {
        self.undone.load(Ordering::Relaxed) > 0 && *self.state.borrow() != State::Away
    }

    /// Whether Redis is to be asked. At the very start a request waits for the first connection,
    /// as long as it would for an answer: its entries from before a restart are there.
    pub(super) async fn is_ready(&self) -> bool {
        let state = *self.state.borrow();
        if state != State::Starting {
            return state == State::Ready;
        }
        let mut states = self.state.subscribe();
        let known = states.wait_for(|state| *state != State::Starting);
        let known = timeout(self.settings.timeout, known).await;
        matches!(known, Ok(Ok(state)) if *state == State::Ready)
    }

    /// What Redis has of an answer; nothing where it does not say in time, or what it says is
    /// wrong.
    pub(super) async fn find(&self, of: &Identity) -> Option<(Answer, Bytes)> {
        let began = Instant::now();
        let most = self.settings.body_bytes_max;
        let fetch = |connection| calls::fetch(connection, self.reader.prefix(), of, most);
        let stored = self.reader.call(fetch).await;
        let found = match stored {
            Ok(stored) => {
                self.breaker.succeed();
                match stored {
                    Stored::Nothing => None,
                    Stored::Garbage => Some(Err(Garbage)),
                    Stored::Answer(answer, body, stored) => {
                        Some(plain(body, stored).await.map(|body| (*answer, body)))
                    }
                }
            }
            Err(failure) => {
                self.note_failure(&failure, began);
                return None;
            }
        };
        match found {
            Some(Ok(found)) => {
                self.meters.hit.note(began.elapsed());
                Some(found)
            }
            Some(Err(Garbage)) => {
                self.meters.garbage.note(began.elapsed());
                None
            }
            None => {
                self.meters.miss.note(began.elapsed());
                None
            }
        }
    }

    fn note_failure(&self, failure: &Failure, began: Instant) {
        let meter = match failure {
            Failure::Timeout => &self.meters.timeout,
            _ => &self.meters.error,
        };
        meter.note(began.elapsed());
        if self.breaker.fail(clock::now().tick) {
            self.leave_alone(failure);
        }
    }

    fn leave_alone(&self, failure: &Failure) {
        self.state.send_replace(State::Away);
        self.reader.disconnect();
        if !self.told.swap(true, Ordering::Relaxed) {
            tracing::warn!(reason = %failure, "Redis is away: answers are not shared");
        }
    }

    /// Finds out whether Redis answers; none if it does, else the time to wait before this is
    /// asked again.
    async fn probe(&self) -> Option<Duration> {
        let now = clock::now().tick;
        if let Some(left) = self.breaker.open_left(now).filter(|left| !left.is_zero()) {
            return Some(left);
        }
        if !self.breaker.admits(now) {
            return Some(PROBE_EVERY);
        }
        // Calls take turns among the connections: two calls reach both.
        let ping = calls::ping();
        let both = (self.reader.query::<()>(&ping), self.reader.query::<()>(&ping));
        let failure = match tokio::join!(both.0, both.1) {
            (Ok(()), Ok(())) => {
                self.breaker.succeed();
                self.state.send_replace(State::Ready);
                if self.told.swap(false, Ordering::Relaxed) {
                    tracing::info!("Redis answers again: answers are shared");
                }
                return None;
            }
            (Err(failure), _) | (_, Err(failure)) => failure,
        };
        let now = clock::now().tick;
        self.state.send_replace(State::Away);
        if self.breaker.fail(now) {
            self.leave_alone(&failure);
        }
        Some(self.breaker.open_left(now).unwrap_or(PROBE_EVERY))
    }
}

/// Brings a stored body into its plain form.
async fn plain(body: Body, stored: Vec<u8>) -> Result<Bytes, Garbage> {
    if body.length < ASIDE_BYTES {
        return unpack(&body, stored);
    }
    aside(move || unpack(&body, stored)).await.unwrap_or(Err(Garbage))
}

/// Does something that takes long where nobody waits behind it. None where the process ends.
pub(super) async fn aside<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Option<T> {
    tokio::task::spawn_blocking(work).await.ok()
}

/// Probes until Redis answers, then waits until it does not. Ends with the last user of the Redis.
async fn watch_over(remote: Weak<Remote>, mut states: watch::Receiver<State>) {
    loop {
        let Some(held) = remote.upgrade() else { return };
        let wait = held.probe().await;
        drop(held);
        if let Some(wait) = wait {
            sleep(wait).await;
        } else if states.wait_for(|state| *state != State::Ready).await.is_err() {
            return;
        }
    }
}
