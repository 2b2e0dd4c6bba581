//! One key set that is being kept: when it is fetched, and how requests ask for it.
//!
//! Requests run on other runtimes than the background service that fetches. They ask by raising
//! a flag and wait for the count of finished fetches to move; whoever finds the flag up waits
//! along.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use prometheus::{Gauge, IntCounter, IntGauge};
use tokio::sync::{Notify, watch};
use tokio::time::Instant;

use super::disk::Stored;
use super::freshness;
use super::keyring::SetId;
use super::settings::FetchSettings;
use crate::clock::Tick;
use crate::telemetry::Metrics;

/// First wait after a failed fetch; it doubles with each further one.
const BACKOFF_MIN: Duration = Duration::from_secs(1);
/// Longest wait after a failed fetch while an older set serves.
const BACKOFF_MAX: Duration = Duration::from_mins(1);
/// Longest wait after a failed fetch while there is no set at all: the time after which callers
/// are told to come back.
const BACKOFF_MAX_WITHOUT_KEYS: Duration = Duration::from_secs(5);
/// Share by which waits vary, so that many gateways do not ask an issuer together.
const JITTER: f64 = 0.1;

/// One key set that is being kept.
#[derive(Debug)]
pub(in crate::auth) struct Feed {
    pub(in crate::auth) id: SetId,
    pub(in crate::auth) settings: FetchSettings,
    pub(in crate::auth) metrics: FeedMetrics,
    /// What was on disk when the feed began, and came into force.
    pub(super) stored: Option<Arc<Stored>>,
    /// Fetches that unknown keys may still cause.
    quota: Quota,
    /// A request asked and the fetch has not begun.
    is_asked: AtomicBool,
    /// A fetch was asked for or is under way; further requests share it.
    is_pending: AtomicBool,
    /// Until when the issuer asked to be left alone, in nanoseconds of [`Tick`].
    left_alone: AtomicU64,
    wake: Notify,
    /// Number of fetches that have ended.
    pub(in crate::auth) ended: watch::Sender<u64>,
}

/// What asking for a fetch came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::auth) enum Asked {
    /// A fetch will begin, caused by this request or one just before it.
    Begins,
    /// A fetch is under way; its answer may be older than this request.
    Underway,
    /// The rate is used up.
    Refused,
}

/// What a failed fetch leaves behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Left {
    /// An older set, which serves all but new keys.
    OlderSet,
    /// Nothing: every token of the provider gets 503.
    Nothing,
}

/// Metrics of one set, resolved once.
#[derive(Debug)]
pub(in crate::auth) struct FeedMetrics {
    pub(in crate::auth) changed: IntCounter,
    pub(in crate::auth) unchanged: IntCounter,
    pub(in crate::auth) failed: IntCounter,
    pub(in crate::auth) unknown: IntCounter,
    pub(in crate::auth) age: Gauge,
    pub(in crate::auth) keys: IntGauge,
}

impl FeedMetrics {
    fn new(provider: &str, metrics: &Metrics) -> Self {
        let fetches = |outcome| metrics.keyring_fetches.with_label_values(&[provider, outcome]);
        Self {
            changed: fetches("changed"),
            unchanged: fetches("unchanged"),
            failed: fetches("failed"),
            unknown: metrics.keyring_unknown.with_label_values(&[provider]),
            age: metrics.keyring_age.with_label_values(&[provider]),
            keys: metrics.keyring_keys.with_label_values(&[provider]),
        }
    }
}

impl Feed {
    pub(in crate::auth) fn new(id: SetId, settings: FetchSettings, metrics: &Metrics) -> Self {
        Self {
            metrics: FeedMetrics::new(&id.provider, metrics),
            quota: Quota::per_minute(settings.jwks.fetches_per_minute),
            id,
            settings,
            stored: None,
            left_alone: AtomicU64::new(0),
            is_asked: AtomicBool::new(false),
            is_pending: AtomicBool::new(false),
            wake: Notify::new(),
            ended: watch::Sender::new(0),
        }
    }

    /// Asks for a fetch. Subscribe to `ended` first, so that its end cannot be missed.
    pub(in crate::auth) fn ask(&self, now: Tick) -> Asked {
        if self.is_pending.load(Ordering::SeqCst) {
            let begins = self.is_asked.load(Ordering::SeqCst);
            return if begins { Asked::Begins } else { Asked::Underway };
        }
        let is_left_alone = now.nanos() < self.left_alone.load(Ordering::SeqCst);
        if is_left_alone || !self.quota.take(now) {
            return Asked::Refused;
        }
        // Two requests may come here together; the second has spent a fetch in vain, which errs
        // on the issuer's side.
        if self.is_pending.swap(true, Ordering::SeqCst) {
            return Asked::Underway;
        }
        self.is_asked.store(true, Ordering::SeqCst);
        self.wake.notify_one();
        Asked::Begins
    }

    /// Waits until it is time to fetch, or until a request asks.
    pub(in crate::auth) async fn wait(&self, until: Instant) {
        loop {
            tokio::select! {
                () = tokio::time::sleep_until(until) => return,
                () = self.wake.notified() => {}
            }
            // A wake-up can be left over from an ask that the timer has answered since.
            if self.is_asked.load(Ordering::SeqCst) {
                return;
            }
        }
    }

    /// Notes that a fetch begins.
    pub(in crate::auth) fn begin(&self) {
        self.is_pending.store(true, Ordering::SeqCst);
        self.is_asked.store(false, Ordering::SeqCst);
    }

    /// Notes that a fetch has ended, after its result is in force.
    pub(in crate::auth) fn end(&self) {
        self.is_pending.store(false, Ordering::SeqCst);
        self.ended.send_modify(|count| *count += 1);
    }

    /// Time until the next fetch in the background, after a good one whose answer is fresh for
    /// this long.
    pub(super) fn after_success(&self, lifetime: Option<Duration>) -> Duration {
        vary(freshness::refresh_in(lifetime, &self.settings.jwks))
    }

    /// Time until the next fetch in the background, after so many failures in a row. What the
    /// issuer asks for counts up to `maxRefresh`; up to a minute where there is no set, and for
    /// unknown keys, so that one bad answer does not keep callers out for long.
    pub(super) fn after_failure(
        &self,
        failures: u32,
        left: Left,
        retry_after: Option<Duration>,
        now: Tick,
    ) -> Duration {
        let (longest, asked_longest) = match left {
            Left::OlderSet => (BACKOFF_MAX, self.settings.jwks.max_refresh.get()),
            Left::Nothing => (BACKOFF_MAX_WITHOUT_KEYS, BACKOFF_MAX),
        };
        let doublings = failures.saturating_sub(1);
        let backoff = BACKOFF_MIN.saturating_mul(2_u32.saturating_pow(doublings)).min(longest);
        let asked = retry_after.unwrap_or_default();
        let left_alone = now.plus(asked.min(BACKOFF_MAX));
        self.left_alone.store(left_alone.nanos(), Ordering::SeqCst);
        vary(backoff).max(asked.min(asked_longest))
    }
}

/// A time, give or take a tenth.
fn vary(time: Duration) -> Duration {
    time.mul_f64(1.0 - JITTER + 2.0 * JITTER * fastrand::f64())
}

/// Fetches that unknown keys may cause: a generic cell rate, so that no minute, wherever it
/// begins, sees more than the configured number (R088). Half of them may come at once.
#[derive(Debug)]
struct Quota {
    /// Time that one fetch costs, in nanoseconds; none when no fetch is allowed.
    cost: Option<u64>,
    /// Fetches that may come at once, less one, in cost.
    slack: u64,
    /// When all fetches so far will have been paid for, in nanoseconds.
    paid: AtomicU64,
}

impl Quota {
    fn per_minute(fetches: u32) -> Self {
        const MINUTE_NANOS: u64 = 60_000_000_000;
        let burst = u64::from(fetches.div_ceil(2));
        // `burst` at once and one more every `cost`: the last of `fetches` comes when the
        // minute is over.
        let cost = MINUTE_NANOS.div_ceil(u64::from(fetches).saturating_sub(burst) + 1);
        Self {
            cost: (fetches > 0).then_some(cost),
            slack: cost.saturating_mul(burst.saturating_sub(1)),
            paid: AtomicU64::new(0),
        }
    }

    fn take(&self, now: Tick) -> bool {
        let Some(cost) = self.cost else { return false };
        let now = now.nanos();
        let pay = |paid: u64| {
            let from = paid.max(now);
            (from - now <= self.slack).then(|| from.saturating_add(cost))
        };
        self.paid.fetch_update(Ordering::SeqCst, Ordering::SeqCst, pay).is_ok()
    }
}

/// Feeds of a configuration.
pub(in crate::auth) type Feeds = Vec<Arc<Feed>>;

#[cfg(test)]
mod tests {
    use super::*;

    fn allowed(quota: &Quota, at: impl Iterator<Item = Duration>) -> usize {
        at.filter(|at| quota.take(Tick::default().plus(*at))).count()
    }

    fn every(step_ms: u64, from_ms: u64, until_ms: u64) -> impl Iterator<Item = Duration> {
        (from_ms..until_ms).step_by(usize::try_from(step_ms).unwrap()).map(Duration::from_millis)
    }

    #[test]
    fn a_minute_sees_no_more_fetches_than_configured_and_a_longer_time_sees_more() {
        for fetches in [1, 2, 3, 10, 60, 61] {
            let quota = Quota::per_minute(fetches);
            // Asked for all the time: the first minute, and one that begins later.
            assert_eq!(allowed(&quota, every(10, 0, 60_000)), fetches as usize, "{fetches}");
            let after_pause = Quota::per_minute(fetches);
            assert!(after_pause.take(Tick::default()));
            let later = allowed(&after_pause, every(10, 600_000, 660_000));
            assert_eq!(later, fetches as usize, "{fetches}");
        }
    }

    #[test]
    fn no_fetch_is_allowed_where_none_is_configured() {
        assert_eq!(allowed(&Quota::per_minute(0), every(1000, 0, 600_000)), 0);
    }

    fn feed() -> Feed {
        let id = SetId::at("main", "http://127.0.0.1/");
        Feed::new(id, FetchSettings::default(), &Metrics::new().unwrap())
    }

    #[test]
    fn requests_that_ask_together_share_one_fetch() {
        let feed = feed();
        let now = Tick::default();
        assert!((0..1000).all(|_| feed.ask(now) == Asked::Begins));
        feed.begin();
        assert_eq!(feed.ask(now), Asked::Underway);
        feed.end();
        // A thousand and one requests have cost one fetch: four are left of the five at once.
        for _ in 0..4 {
            assert_eq!(feed.ask(now), Asked::Begins);
            feed.begin();
            feed.end();
        }
        assert_eq!(feed.ask(now), Asked::Refused);
    }

    #[test]
    fn asking_beyond_the_rate_is_refused_at_once() {
        let feed = feed();
        let outcomes: Vec<Asked> = (0..7)
            .map(|_| {
                let asked = feed.ask(Tick::default());
                feed.begin();
                feed.end();
                asked
            })
            .collect();
        assert_eq!(outcomes[..5], [Asked::Begins; 5]);
        assert_eq!(outcomes[5..], [Asked::Refused; 2]);
    }

    #[test]
    fn pauses_grow_to_a_minute_and_vary_by_a_tenth() {
        let feed = feed();
        let near = |pause: Duration, seconds: f64| {
            let ratio = pause.as_secs_f64() / seconds;
            assert!((0.9..=1.1).contains(&ratio), "{seconds}: {ratio}");
        };
        let failed = |failures| feed.after_failure(failures, Left::OlderSet, None, Tick::default());
        let cold = |failures| feed.after_failure(failures, Left::Nothing, None, Tick::default());
        for _ in 0..100 {
            near(feed.after_success(None), 600.0);
            near(feed.after_success(Some(Duration::from_mins(5))), 300.0);
            near(feed.after_success(Some(Duration::ZERO)), 60.0);
            near(feed.after_success(Some(Duration::MAX)), 3600.0);
            near(failed(1), 1.0);
            near(failed(2), 2.0);
            near(failed(6), 32.0);
            near(failed(7), 60.0);
            near(failed(u32::MAX), 60.0);
            near(cold(1), 1.0);
            near(cold(3), 4.0);
            near(cold(4), 5.0);
            near(cold(u32::MAX), 5.0);
        }
    }

    #[test]
    fn an_issuer_that_asks_for_it_is_left_alone_for_a_bounded_time() {
        let feed = feed();
        let now = Tick::default();
        let after =
            |left, seconds| feed.after_failure(1, left, Some(Duration::from_secs(seconds)), now);
        let asked = |seconds| after(Left::OlderSet, seconds);
        assert_eq!(asked(30), Duration::from_secs(30));
        let later = |seconds| now.plus(Duration::from_secs(seconds));
        assert_eq!(feed.ask(later(29)), Asked::Refused);
        assert_eq!(feed.ask(later(30)), Asked::Begins);
        feed.begin();
        feed.end();
        assert_eq!(asked(u64::MAX), Duration::from_hours(1));
        assert_eq!(feed.ask(later(59)), Asked::Refused);
        assert_eq!(feed.ask(later(60)), Asked::Begins);
        feed.begin();
        feed.end();
        // The next failure says nothing: what was asked before does not count any more.
        asked(60);
        feed.after_failure(2, Left::OlderSet, None, later(59));
        assert_eq!(feed.ask(later(59)), Asked::Begins);
        // Without any set, a minute is the longest.
        assert_eq!(after(Left::Nothing, 59), Duration::from_secs(59));
        assert_eq!(after(Left::Nothing, 3600), Duration::from_mins(1));
    }

    #[tokio::test(start_paused = true)]
    async fn a_wake_up_that_the_timer_has_answered_causes_no_second_fetch() {
        let feed = feed();
        assert_eq!(feed.ask(Tick::default()), Asked::Begins);
        // The timer was first; the wake-up is still stored.
        feed.begin();
        feed.end();
        let until = Instant::now() + Duration::from_mins(10);
        feed.wait(until).await;
        assert!(Instant::now() >= until);
    }
}
