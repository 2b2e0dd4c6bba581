//! Periods of which each starts afresh: fixed windows and quotas. `lua/fixed_window.lua` and
//! `lua/quota.lua` do the same sums.

use super::{State, Sums};

#[derive(Clone, Debug)]
pub(super) struct Period {
    start_ms: u64,
    end_ms: u64,
    current: u64,
    now_ms: u64,
}

impl Period {
    /// The window at `now_us`; windows begin at multiples of their length.
    pub(super) fn open_window(window_ms: u64, stored: Option<&State>, now_us: u64) -> Self {
        let window_ms = window_ms.max(1);
        Self::open(stored, now_us, |at_ms| {
            let start = at_ms - at_ms % window_ms;
            (start, start + window_ms)
        })
    }

    /// The period at `now_us`, of those that begin at `bounds`.
    pub(super) fn open_quota(bounds: &[u64; 4], stored: Option<&State>, now_us: u64) -> Self {
        Self::open(stored, now_us, |at_ms| quota_period(bounds, at_ms))
    }

    fn open(stored: Option<&State>, now_us: u64, period: impl Fn(u64) -> (u64, u64)) -> Self {
        let now = now_us / 1000;
        let (began, current) = match stored {
            Some(&State::Period { start_ms, current }) => (start_ms, current),
            _ => (0, 0),
        };
        let (start_ms, end_ms) = period(now.max(began));
        let current = if began < start_ms { 0 } else { current };
        Self { start_ms, end_ms, current, now_ms: now }
    }
}

/// Begin and end of the period in which `at_ms` lies.
fn quota_period(bounds: &[u64; 4], at_ms: u64) -> (u64, u64) {
    let [b1, b2, b3, b4] = *bounds;
    if at_ms < b1 {
        let length = (b2 - b1).max(1);
        let start = b1.saturating_sub((b1 - at_ms).div_ceil(length) * length);
        return (start, start + length);
    }
    for (start, end) in [(b1, b2), (b2, b3), (b3, b4)] {
        if at_ms < end {
            return (start, end);
        }
    }
    let length = (b4 - b3).max(1);
    let start = b4 + (at_ms - b4) / length * length;
    (start, start + length)
}

impl Sums for Period {
    fn used(&self) -> u64 {
        self.current
    }

    fn wait_ms(&self, _amount: u64) -> u64 {
        self.end_ms.saturating_sub(self.now_ms)
    }

    fn spend(&mut self, amount: u64, _member: u64) {
        self.current = self.current.saturating_add(amount);
    }

    fn give_back(&mut self, amount: u64, epoch_ms: u64) {
        if epoch_ms == self.start_ms {
            self.current = self.current.saturating_sub(amount);
        }
    }

    fn epoch_ms(&self) -> u64 {
        self.start_ms
    }

    fn idle_in_ms(&self) -> u64 {
        self.end_ms.saturating_sub(self.now_ms)
    }
}

impl From<Period> for State {
    fn from(period: Period) -> Self {
        Self::Period { start_ms: period.start_ms, current: period.current }
    }
}
