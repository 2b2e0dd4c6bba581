//! What the limit is after a window, as a pure function of what was seen in it.
//!
//! With `rest` the time that answers take while the service is not pressed, and `typical` the
//! median of the window:
//!
//! ```text
//! limit = limit × clamp(tolerance × rest / typical, ½ … 1) + √limit
//! ```
//!
//! The first factor gives way when the service gets slower than tolerated, the second term keeps
//! asking for more; where a service takes `c` requests at once without a queue, both hold each
//! other at about `tolerance × c + √limit`. The shape is that of the gradient controllers which
//! are in use elsewhere; these rules make it hold still:
//!
//! - It changes only while at least half of it is used. What nobody uses says nothing.
//! - In windows with more than one overload (503, no answer in time) in twenty it shrinks by their
//!   share and does not grow.
//! - `rest` sinks at once with better medians. It rises with windows in which so few were under way
//!   that none can have waited (`limit / 2·tolerance`, or the minimum). Where such windows do not
//!   come by themselves, because the service is pressed all the time, they are made: for a moment
//!   the limit is that low, the queue drains, and the next window is the new `rest`. Otherwise a
//!   service that has become slower for good would be held down for ever, and one whose first
//!   answers came out of a queue would never be relieved.

use std::time::Duration;

use crate::clock::Tick;
use crate::model;

/// The limit before anything was learned.
pub(super) const FIRST: u32 = 50;

/// The shortest window; longer where answers take long, so that a change is seen to work before
/// the next.
const WINDOW: Duration = Duration::from_millis(100);
const WINDOW_MAX: Duration = Duration::from_secs(2);

/// How long `rest` is believed while no window confirms it.
const BELIEVED: Duration = Duration::from_secs(10);

/// How long the queue may take to drain. Tunnels and streams may never end.
const DRAIN_MAX: Duration = Duration::from_secs(2);

/// How far `rest` follows a better median, and a worse one while nobody can have waited.
const DOWN: f64 = 0.3;
const UP: f64 = 0.1;

/// A median of at most so many times `rest` confirms it.
const SAME: f64 = 1.1;

/// The share of overloads that is nobody's: one endpoint of many may be broken.
const USUAL_OVERLOADS: f64 = 0.05;

/// What a configuration says.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Bounds {
    min: u32,
    max: u32,
    tolerance: f64,
}

impl Bounds {
    pub(super) fn of(model: &model::AdaptiveConcurrency) -> Self {
        let min = model.min.max(1);
        Self { min, max: model.max.max(min), tolerance: model.tolerance.max(1.0) }
    }

    /// A limit within the bounds.
    pub(super) fn hold(&self, limit: u32) -> u32 {
        limit.clamp(self.min, self.max)
    }

    /// So many under way that none of them waits, at this limit.
    fn resting(&self, limit: f64) -> f64 {
        (limit / (2.0 * self.tolerance)).max(f64::from(self.min))
    }
}

/// What was seen in a window.
#[derive(Clone, Copy, Debug)]
pub(super) struct Seen {
    /// The median of the answers.
    pub(super) typical: Option<Duration>,
    /// Answers.
    pub(super) answers: u32,
    /// Signs of overload.
    pub(super) overloads: u32,
    /// The most that were under way at once.
    pub(super) peak: u32,
    /// Requests under way at its end.
    pub(super) in_flight: u32,
}

/// What was learned.
#[derive(Clone, Copy, Debug)]
pub(super) struct Law {
    limit: f64,
    rest: Option<Rest>,
    probe: Option<Probe>,
}

/// How long answers take while the service is not pressed.
#[derive(Clone, Copy, Debug)]
struct Rest {
    seconds: f64,
    /// When it was last seen to be so; none where it has just turned out to be far less than was
    /// thought, and may be less still.
    confirmed: Option<Tick>,
}

/// The service is left alone for a moment.
#[derive(Clone, Copy, Debug)]
enum Probe {
    /// What is under way has yet to end.
    Draining { since: Tick },
    /// This window shows the service at rest.
    Measuring,
}

impl Default for Law {
    fn default() -> Self {
        Self { limit: f64::from(FIRST), rest: None, probe: None }
    }
}

impl Law {
    /// The limit that holds now.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "held within bounds that are 32 bits wide; the fraction is not a request"
    )]
    pub(super) fn limit(&self, bounds: &Bounds) -> u32 {
        let limit = match self.probe {
            Some(_) => bounds.resting(self.limit),
            None => self.limit,
        };
        bounds.hold(limit as u32)
    }

    /// How long answers take while the service is not pressed.
    pub(super) fn at_rest(&self) -> Option<Duration> {
        self.rest.map(|rest| Duration::from_secs_f64(rest.seconds))
    }

    /// From when on an answer is slower than tolerated.
    pub(super) fn slow(&self, bounds: &Bounds) -> Option<Duration> {
        self.at_rest().map(|rest| rest.mul_f64(bounds.tolerance))
    }

    /// Learns from a window; returns how long the next one lasts at least.
    pub(super) fn close(&mut self, seen: &Seen, bounds: &Bounds, now: Tick) -> Duration {
        self.limit = self.limit.clamp(f64::from(bounds.min), f64::from(bounds.max));
        match self.probe {
            None => self.adjust(seen, bounds, now),
            Some(Probe::Draining { since }) => self.drain(since, seen, bounds, now),
            Some(Probe::Measuring) => self.measure(seen, now),
        }
        seen.typical.map_or(WINDOW, |typical| (typical * 2).clamp(WINDOW, WINDOW_MAX))
    }

    fn adjust(&mut self, seen: &Seen, bounds: &Bounds, now: Tick) {
        let used = f64::from(seen.peak) * 2.0 >= self.limit;
        let share = f64::from(seen.overloads) / f64::from((seen.answers + seen.overloads).max(1));
        let overload = share > USUAL_OVERLOADS;
        let resting = f64::from(seen.peak) <= bounds.resting(self.limit) && !overload;
        let latency = self.latency(seen, bounds, resting, now);
        if overload {
            self.limit *= latency.min(1.0 - share).max(0.5);
        } else if used {
            self.limit = self.limit * latency + self.limit.sqrt();
        }
        self.limit = self.limit.clamp(f64::from(bounds.min), f64::from(bounds.max));
        let stale = self.rest.is_some_and(|rest| {
            rest.confirmed.is_none_or(|confirmed| now.since(confirmed) >= BELIEVED)
        });
        if used && !overload && latency < 1.0 && stale {
            self.probe = Some(Probe::Draining { since: now });
        }
    }

    /// Learns what is usual; the factor that follows for the limit.
    fn latency(&mut self, seen: &Seen, bounds: &Bounds, resting: bool, now: Tick) -> f64 {
        let Some(typical) = seen.typical.map(|typical| typical.as_secs_f64()) else { return 1.0 };
        let confirmed = resting.then_some(now);
        let rest = self.rest.get_or_insert(Rest { seconds: typical, confirmed: Some(now) });
        let again = rest.confirmed.map(|_| now);
        if typical < rest.seconds {
            rest.seconds += (typical - rest.seconds) * DOWN;
            rest.confirmed = confirmed.or(again);
        } else if resting {
            rest.seconds += (typical - rest.seconds) * UP;
            rest.confirmed = confirmed;
        } else if typical <= rest.seconds * SAME {
            rest.confirmed = again;
        }
        (bounds.tolerance * rest.seconds / typical).clamp(0.5, 1.0)
    }

    fn drain(&mut self, since: Tick, seen: &Seen, bounds: &Bounds, now: Tick) {
        if f64::from(seen.in_flight) <= bounds.resting(self.limit) {
            self.probe = Some(Probe::Measuring);
        } else if now.since(since) >= DRAIN_MAX {
            self.probe = None;
            if let Some(rest) = &mut self.rest {
                rest.confirmed = Some(now); // To be tried again, but not at once.
            }
        }
    }

    fn measure(&mut self, seen: &Seen, now: Tick) {
        self.probe = None;
        let Some(typical) = seen.typical.map(|typical| typical.as_secs_f64()) else { return };
        // So much better that the limit was far too high, and this may be a queue still: again.
        let found = self.rest.is_none_or(|rest| typical > rest.seconds * 0.7);
        self.rest = Some(Rest { seconds: typical, confirmed: found.then_some(now) });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn at(ms: u64) -> Tick {
        Tick::from_nanos(ms * 1_000_000)
    }

    fn bounds(min: u32, max: u32, tolerance: f64) -> Bounds {
        Bounds::of(&model::AdaptiveConcurrency { min, max, tolerance })
    }

    fn answers(ms: u64, peak: u32) -> Seen {
        let typical = Some(Duration::from_millis(ms));
        Seen { typical, answers: 100, overloads: 0, peak, in_flight: peak }
    }

    /// A law at this limit, with answers of 10 ms at rest.
    fn learned(limit: f64, now: Tick) -> Law {
        let rest = Rest { seconds: 0.010, confirmed: Some(now) };
        Law { limit, rest: Some(rest), probe: None }
    }

    #[test]
    fn it_grows_by_its_root_only_while_half_of_it_is_used() {
        let bounds = bounds(4, 1000, 2.0);
        for (peak, limit) in [(49, 100), (50, 110), (100, 110)] {
            let mut law = learned(100.0, at(0));
            law.close(&answers(20, peak), &bounds, at(100));
            assert_eq!(law.limit(&bounds), limit, "{peak} under way");
        }
    }

    #[test]
    fn it_shrinks_with_the_answers_but_never_by_more_than_half() {
        let bounds = bounds(4, 1000, 2.0);
        for (ms, limit) in [(20, 110), (21, 105), (40, 60), (4000, 60)] {
            let mut law = learned(100.0, at(0));
            law.close(&answers(ms, 100), &bounds, at(100));
            let found = law.limit(&bounds);
            assert!(found.abs_diff(limit) <= 1, "{ms} ms: {found}");
        }
    }

    #[test]
    fn it_stays_within_its_bounds() {
        let bounds = bounds(10, 105, 2.0);
        let mut law = learned(100.0, at(0));
        law.close(&answers(10, 100), &bounds, at(100));
        assert_eq!(law.limit(&bounds), 105);
        for n in 0..50 {
            let lost = Seen { overloads: 100, ..answers(5000, 100) };
            law.close(&lost, &bounds, at(200 + n));
            assert!(law.limit(&bounds) >= 10);
        }
        assert_eq!(law.limit(&bounds), 10);
        // Other settings hold at once.
        let wider = super::tests::bounds(20, 30, 2.0);
        assert_eq!(law.limit(&wider), 20);
    }

    #[test]
    fn overloads_shrink_it_from_more_than_one_in_twenty_on() {
        let bounds = bounds(4, 1000, 2.0);
        for (overloads, limit) in [(5, 110), (25, 80), (300, 50)] {
            let mut law = learned(100.0, at(0));
            law.close(&Seen { overloads, ..answers(10, 100) }, &bounds, at(100));
            assert_eq!(law.limit(&bounds), limit, "{overloads} beside 100 answers");
        }
        // Failing fast is not being fast.
        let mut law = learned(100.0, at(0));
        let seen = Seen { typical: None, answers: 0, overloads: 20, ..answers(0, 100) };
        law.close(&seen, &bounds, at(100));
        assert_eq!(law.limit(&bounds), 50);
        assert_eq!(law.at_rest(), Some(Duration::from_millis(10)));
    }

    #[test]
    fn what_is_usual_rises_only_while_nobody_can_have_waited() {
        let bounds = bounds(4, 1000, 2.0);
        for (peak, rises) in [(25, true), (26, false)] {
            let mut law = learned(100.0, at(0));
            law.close(&answers(19, peak), &bounds, at(100));
            assert_eq!(law.at_rest().unwrap() > Duration::from_millis(10), rises, "{peak}");
        }
        let mut law = learned(100.0, at(0));
        law.close(&answers(5, 100), &bounds, at(100));
        assert!(law.at_rest().unwrap() < Duration::from_millis(9), "better is always believed");
    }

    #[test]
    fn a_pressed_service_is_measured_anew_once_nothing_confirms_what_is_known() {
        let bounds = bounds(4, 1000, 2.0);
        let mut law = learned(100.0, at(0));
        law.close(&answers(30, 100), &bounds, at(9_999));
        let pressed = law.limit(&bounds);
        assert!(pressed > 70);
        law.close(&answers(30, 100), &bounds, at(10_000));
        let low = law.limit(&bounds);
        assert!(low < 20, "{low}");
        law.close(&answers(30, 60), &bounds, at(10_200));
        assert_eq!(law.limit(&bounds), low, "still draining");
        law.close(&answers(30, low), &bounds, at(10_300));
        law.close(&answers(15, low), &bounds, at(10_400));
        assert_eq!(law.at_rest(), Some(Duration::from_millis(15)));
        assert!(law.limit(&bounds) > 50, "as before");
    }

    #[test]
    fn a_drain_that_does_not_end_is_given_up() {
        let bounds = bounds(4, 1000, 2.0);
        let mut law = learned(100.0, at(0));
        law.close(&answers(30, 100), &bounds, at(10_000));
        law.close(&answers(30, 100), &bounds, at(11_999));
        assert!(law.limit(&bounds) < 30);
        law.close(&answers(30, 100), &bounds, at(12_000));
        assert!(law.limit(&bounds) > 70);
        assert_eq!(law.at_rest(), Some(Duration::from_millis(10)));
    }

    #[test]
    fn windows_are_longer_where_answers_take_long() {
        let bounds = bounds(4, 1000, 2.0);
        let mut law = Law::default();
        for (ms, window) in [(10, 100), (50, 100), (51, 102), (5000, 2000)] {
            let next = law.close(&answers(ms, 1), &bounds, at(0));
            assert_eq!(next, Duration::from_millis(window));
        }
    }
}
