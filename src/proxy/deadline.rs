//! The one place where the time of a request is reckoned.
//!
//! Everything that waits on a request's behalf asks how much is [left](Deadline::left): a
//! connection, an answer, a pause before a repeated attempt, the body of an answer.

use std::time::Duration;

use http::HeaderMap;

use crate::clock::Tick;
use crate::snapshot::Route;

/// How long a request may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Deadline {
    began: Tick,
    total: Duration,
    attempt: Duration,
    clients: bool,
}

impl Deadline {
    /// No time at all, for a request that has no route yet.
    pub(super) const fn unrouted(began: Tick) -> Self {
        Self { began, total: Duration::ZERO, attempt: Duration::ZERO, clients: false }
    }

    /// The time of a request to a route: the route's, or that which the client gives in the
    /// route's `deadlineHeader`, where that is less. A value that cannot be read gives none.
    pub(super) fn of(route: &Route, headers: &HeaderMap, began: Tick) -> Self {
        let policy = &route.deadline;
        let given = policy.header.as_ref().and_then(|header| header.read(headers));
        let given = given.filter(|given| *given < route.timeout);
        let total = given.unwrap_or(route.timeout);
        let attempt = policy.attempt.unwrap_or(total).min(total);
        Self { began, total, attempt, clients: given.is_some() }
    }

    /// What is left for the whole exchange; zero once it is over.
    pub(super) const fn left(self, now: Tick) -> Duration {
        self.total.saturating_sub(now.since(self.began))
    }

    /// What an attempt that begins now may take until the header of its answer.
    pub(super) fn attempt(self, now: Tick) -> Duration {
        self.attempt.min(self.left(now))
    }

    /// Whether the time is over because the client gave so little: nothing that ends then is a
    /// failure of the service, or clients could have endpoints taken out of use.
    pub(super) fn was_cut_short(self, now: Tick) -> bool {
        self.clients && self.left(now) < TIMER_STEP
    }
}

/// How much too early Pingora's timers may be: they are kept in steps of this.
const TIMER_STEP: Duration = Duration::from_millis(10);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_attempt_never_outlasts_the_whole() {
        let at = |ms: u64| Tick::from_nanos(ms * 1_000_000);
        let ms = Duration::from_millis;
        let deadline =
            Deadline { began: at(100), total: ms(1500), attempt: ms(500), clients: false };
        assert_eq!((deadline.left(at(100)), deadline.attempt(at(100))), (ms(1500), ms(500)));
        assert_eq!((deadline.left(at(1100)), deadline.attempt(at(1100))), (ms(500), ms(500)));
        assert_eq!((deadline.left(at(1101)), deadline.attempt(at(1101))), (ms(499), ms(499)));
        assert_eq!((deadline.left(at(1600)), deadline.attempt(at(1600))), (ms(0), ms(0)));
        assert_eq!(deadline.left(at(9000)), ms(0));
        assert_eq!(Deadline::unrouted(at(1)).left(at(1)), ms(0));
        assert!(!deadline.was_cut_short(at(9000)), "the route's time is the operator's");
        let given = Deadline { clients: true, ..deadline };
        assert!(!given.was_cut_short(at(1590)) && given.was_cut_short(at(1591)));
    }
}
