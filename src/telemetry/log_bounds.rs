//! Bounds what the process log can cost: of lines from one place of the program only so many are
//! written each second, whoever causes them. What was left out is counted, and told by
//! [`tell_left_out`].
//!
//! Debugging is asked for by somebody who wants all of it, so only `info` and above are bounded.

use std::collections::HashMap;
use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::layer::{Context, Layer};

use super::Metrics;

/// Lines of one place that are written at once.
const BURST: u32 = 100;

/// After that, one in this time.
const EACH: Duration = Duration::from_millis(100);

/// Places that are told apart. There are fewer in the program; libraries that use `log` could
/// have more.
const PLACES_MAX: usize = 1024;

/// Lines that were left out and not told yet.
static LEFT_OUT: AtomicU64 = AtomicU64::new(0);

/// The bound, as a layer of the log.
#[derive(Debug, Default)]
pub(super) struct LogBounds {
    places: Mutex<HashMap<u64, Place>>,
    hasher: RandomState,
}

/// What a place may still write: a bucket that fills by one each [`EACH`].
#[derive(Clone, Copy, Debug)]
struct Place {
    left: u32,
    since: Instant,
}

impl Place {
    /// Takes one line, where there is one.
    fn take(&mut self, now: Instant) -> bool {
        let passed = now.saturating_duration_since(self.since).as_nanos() / EACH.as_nanos();
        let more = u32::try_from(passed).unwrap_or(u32::MAX);
        if more > 0 {
            self.left = self.left.saturating_add(more).min(BURST);
            self.since = if self.left == BURST { now } else { self.since + EACH * more };
        }
        let Some(left) = self.left.checked_sub(1) else { return false };
        self.left = left;
        true
    }
}

impl LogBounds {
    fn admits(&self, place: u64, now: Instant) -> bool {
        let mut places = self.places.lock();
        // The rest shares one place.
        let full = places.len() >= PLACES_MAX && !places.contains_key(&place);
        let place = places.entry(if full { 0 } else { place });
        let admitted = place.or_insert(Place { left: BURST, since: now }).take(now);
        drop(places);
        if !admitted {
            LEFT_OUT.fetch_add(1, Relaxed);
        }
        admitted
    }
}

impl<S: Subscriber> Layer<S> for LogBounds {
    fn event_enabled(&self, event: &Event<'_>, _: Context<'_, S>) -> bool {
        let metadata = event.metadata();
        if *metadata.level() > Level::INFO || is_audit(metadata.target()) {
            return true;
        }
        // Records of `log` come all from one place of the program, and say in fields where from.
        let mut from = From::default();
        if metadata.target() == "log" {
            event.record(&mut from);
        }
        let place = self.hasher.hash_one((metadata.callsite(), from.target, from.line));
        #[expect(clippy::disallowed_methods, reason = "no request's decision depends on it")]
        let now = Instant::now();
        self.admits(place, now)
    }
}

/// Whether these lines say what an operator has done: each costs an authenticated call, and none
/// may be hidden behind others.
fn is_audit(target: &str) -> bool {
    ["tidegate::admin", "tidegate::live::drills"].iter().any(|module| target.starts_with(module))
}

/// Where a record of `log` comes from.
#[derive(Default)]
struct From {
    target: String,
    line: u64,
}

impl Visit for From {
    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == "log.target" {
            value.clone_into(&mut self.target);
        }
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        if field.name() == "log.line" {
            self.line = value;
        }
    }

    fn record_debug(&mut self, _: &Field, _: &dyn fmt::Debug) {}
}

/// Says how many lines were left out since this was told last, where there are any.
pub fn tell_left_out(metrics: &Metrics) {
    let count = LEFT_OUT.swap(0, Relaxed);
    if count > 0 {
        metrics.log_left_out.inc_by(count);
        tracing::warn!(count, "too many lines of one kind: some were left out of this log");
    }
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "some moment to begin at")]
mod tests {
    use std::sync::Arc;

    use tracing_subscriber::layer::SubscriberExt;

    use super::*;

    #[test]
    fn a_place_has_a_burst_and_then_its_rate() {
        let now = Instant::now();
        let mut place = Place { left: BURST, since: now };
        let taken = |place: &mut Place, now| (0..1000).filter(|_| place.take(now)).count();
        assert_eq!(taken(&mut place, now), 100);
        assert_eq!(taken(&mut place, now + EACH * 99 / 100), 0);
        assert_eq!(taken(&mut place, now + EACH), 1);
        // Halves of a pause are not lost.
        assert_eq!(taken(&mut place, now + EACH * 5 / 2), 1);
        assert_eq!(taken(&mut place, now + EACH * 3), 1);
        assert_eq!(taken(&mut place, now + EACH * 10_000), 100);
    }

    #[test]
    fn places_are_told_apart_up_to_a_bound() {
        let bounds = LogBounds::default();
        let now = Instant::now();
        let most = u64::try_from(PLACES_MAX).unwrap();
        assert!((0..most * 2).all(|place| place > most + 50 || bounds.admits(place + 1, now)));
        assert_eq!(bounds.places.lock().len(), PLACES_MAX + 1);
        assert!((0..1000).any(|place| !bounds.admits(most * 3 + place, now)), "one for the rest");
        assert!(bounds.admits(1, now));
    }

    /// Counts what reaches the log.
    #[derive(Clone, Default)]
    struct Written(Arc<Mutex<Vec<String>>>);

    impl<S: Subscriber> Layer<S> for Written {
        fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
            self.0.lock().push(event.metadata().level().to_string());
        }
    }

    #[test]
    fn a_flood_from_one_place_leaves_room_for_others() {
        let written = Written::default();
        let log = tracing_subscriber::registry().with(written.clone()).with(LogBounds::default());
        tracing::subscriber::with_default(log, || {
            for number in 0..5_000 {
                tracing::warn!(number, "a flood");
                tracing::debug!(number, "asked for");
                tracing::info!(target: "tidegate::admin::cache", number, "what somebody has done");
            }
            tracing::error!("something else");
        });
        let count = |level: &str| written.0.lock().iter().filter(|line| *line == level).count();
        let warned = count("WARN");
        assert!((100..1_000).contains(&warned), "{warned}");
        assert_eq!((count("ERROR"), count("DEBUG")), (1, 5_000));
        assert_eq!(count("INFO"), 5_000, "an audit is whole");
    }
}
