//! Leaves an issuer alone for a moment after repeated failures, so that a sick one is not asked
//! by every request and requests do not all wait for it in vain.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use crate::clock::Tick;

/// Failures in a row after which questions are held back.
const FAILURES: u32 = 5;
/// Time between questions from then on, until one is answered.
const PAUSE: Duration = Duration::from_secs(1);

/// Counts failures in a row.
#[derive(Debug, Default)]
pub(super) struct Guard {
    failures: AtomicU32,
    /// When the next question may be asked, in nanoseconds.
    next: AtomicU64,
}

impl Guard {
    /// Whether a question may be asked; after repeated failures only one per pause may.
    pub(super) fn may_ask(&self, now: Tick) -> bool {
        if self.failures.load(Ordering::Relaxed) < FAILURES {
            return true;
        }
        let claim = |next: u64| (next <= now.nanos()).then(|| now.plus(PAUSE).nanos());
        self.next.fetch_update(Ordering::Relaxed, Ordering::Relaxed, claim).is_ok()
    }

    /// Notes an answer.
    pub(super) fn worked(&self) {
        // Written only when it changes.
        if self.failures.load(Ordering::Relaxed) != 0 {
            self.failures.store(0, Ordering::Relaxed);
        }
    }

    /// Notes a failure; `true` if it is worth telling: the first of a row, and then one per
    /// pause at most.
    pub(super) fn failed(&self, now: Tick) -> bool {
        let before = self.failures.fetch_add(1, Ordering::Relaxed);
        // It stays where it is; wrapping round would let everybody ask again.
        if before > FAILURES {
            self.failures.store(FAILURES + 1, Ordering::Relaxed);
        }
        if before + 1 == FAILURES {
            self.next.store(now.plus(PAUSE).nanos(), Ordering::Relaxed);
        }
        before == 0 || before + 1 >= FAILURES
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Tick {
        Tick::default().plus(Duration::from_millis(ms))
    }

    #[test]
    fn after_five_failures_one_question_a_second_until_one_is_answered() {
        let guard = Guard::default();
        for n in 1..FAILURES {
            assert_eq!(guard.failed(at(0)), n == 1);
            assert!(guard.may_ask(at(0)), "after {n}");
        }
        assert!(guard.failed(at(0)));
        assert!(!guard.may_ask(at(999)));
        assert!(guard.may_ask(at(1000)));
        assert!(!guard.may_ask(at(1000)), "only one");
        assert!(guard.failed(at(1500)));
        assert!(!guard.may_ask(at(1999)) && guard.may_ask(at(2000)));
        guard.worked();
        assert!(guard.may_ask(at(2000)) && guard.may_ask(at(2000)));
        guard.failed(at(2000));
        assert!(guard.may_ask(at(2000)), "counting begins anew");
    }
}
