//! One key set that is being kept: when it is fetched, and how requests ask for it.
//!
//! Requests run on other runtimes than the background service that fetches. They ask by raising
//! a flag and wait for the count of finished fetches to move; whoever finds the flag up waits
//! along.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use prometheus::{Gauge, IntCounter};
use tokio::sync::{Notify, watch};
use tokio::time::Instant;

use super::keyring::SetId;
use crate::clock::Tick;
use crate::model::JwksSettings;
use crate::telemetry::Metrics;

/// First wait after a failed fetch; it doubles with each further one.
const BACKOFF_MIN: Duration = Duration::from_secs(1);
/// Longest wait after a failed fetch.
const BACKOFF_MAX: Duration = Duration::from_mins(1);
/// Share by which waits vary, so that many gateways do not ask an issuer together.
const JITTER: f64 = 0.1;

/// One key set that is being kept.
#[derive(Debug)]
pub(super) struct Feed {
    pub(super) id: SetId,
    pub(super) settings: JwksSettings,
    pub(super) metrics: FeedMetrics,
    /// Fetches that unknown keys may still cause.
    quota: Quota,
    /// A request asked and the fetch has not begun.
    is_asked: AtomicBool,
    /// A fetch was asked for or is under way; further requests share it.
    is_pending: AtomicBool,
    wake: Notify,
    /// Number of fetches that have ended.
    pub(super) ended: watch::Sender<u64>,
}

/// What asking for a fetch came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Asked {
    /// A fetch will begin, caused by this request or one just before it.
    Begins,
    /// A fetch is under way; its answer may be older than this request.
    Underway,
    /// The rate is used up.
    Refused,
}

/// Metrics of one set, resolved once.
#[derive(Debug)]
pub(super) struct FeedMetrics {
    pub(super) changed: IntCounter,
    pub(super) unchanged: IntCounter,
    pub(super) failed: IntCounter,
    pub(super) unknown: IntCounter,
    pub(super) age: Gauge,
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
        }
    }
}

impl Feed {
    pub(super) fn new(id: SetId, settings: JwksSettings, metrics: &Metrics) -> Self {
        Self {
            metrics: FeedMetrics::new(&id.provider, metrics),
            quota: Quota::per_minute(settings.fetches_per_minute),
            id,
            settings,
            is_asked: AtomicBool::new(false),
            is_pending: AtomicBool::new(false),
            wake: Notify::new(),
            ended: watch::Sender::new(0),
        }
    }

    /// Asks for a fetch. Subscribe to `ended` first, so that its end cannot be missed.
    pub(super) fn ask(&self, now: Tick) -> Asked {
        if self.is_pending.load(Ordering::SeqCst) {
            let begins = self.is_asked.load(Ordering::SeqCst);
            return if begins { Asked::Begins } else { Asked::Underway };
        }
        if !self.quota.take(now) {
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
    pub(super) async fn wait(&self, until: Instant) {
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
    pub(super) fn begin(&self) {
        self.is_pending.store(true, Ordering::SeqCst);
        self.is_asked.store(false, Ordering::SeqCst);
    }

    /// Notes that a fetch has ended, after its result is in force.
    pub(super) fn end(&self) {
        self.is_pending.store(false, Ordering::SeqCst);
        self.ended.send_modify(|count| *count += 1);
    }

    /// Time until the next fetch in the background, after so many failures in a row.
    pub(super) fn pause(&self, failures: u32) -> Duration {
        let pause = match failures.checked_sub(1) {
            None => self.settings.refresh.get(),
            Some(doublings) => {
                let factor = 2_u32.saturating_pow(doublings);
                BACKOFF_MIN.saturating_mul(factor).min(BACKOFF_MAX)
            }
        };
        pause.mul_f64(1.0 - JITTER + 2.0 * JITTER * fastrand::f64())
    }
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
pub(super) type Feeds = Vec<Arc<Feed>>;

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
        let id = SetId { provider: "main".into(), url: "http://127.0.0.1/".into() };
        Feed::new(id, JwksSettings::default(), &Metrics::new().unwrap())
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
        let near = |failures, seconds: f64| {
            let ratio = feed.pause(failures).as_secs_f64() / seconds;
            assert!((0.9..=1.1).contains(&ratio), "{failures}: {ratio}");
        };
        for _ in 0..100 {
            near(0, 600.0);
            near(1, 1.0);
            near(2, 2.0);
            near(6, 32.0);
            near(7, 60.0);
            near(u32::MAX, 60.0);
        }
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
