//! A sliding log: every request is remembered. `lua/sliding_log.lua` does the same sums.

use super::{State, Sums};

/// Something that was taken from a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Taken {
    /// The microsecond at which it leaves the window.
    pub until_us: u64,
    /// How much.
    pub amount: u64,
}

#[derive(Clone, Debug)]
pub(super) struct Log {
    limit: u64,
    window_us: u64,
    now_us: u64,
    used: u64,
    taken: Vec<Taken>,
}

impl Log {
    /// Bytes of its list.
    pub(super) const fn list_bytes(&self) -> usize {
        self.taken.capacity() * size_of::<Taken>()
    }

    /// The log at `now_us`, without what has left the window.
    pub(super) fn open(limit: u64, window_ms: u64, stored: Option<State>, now_us: u64) -> Self {
        let mut taken = match stored {
            Some(State::Log(taken)) => taken,
            _ => Vec::new(),
        };
        let gone = taken.partition_point(|taken| taken.until_us <= now_us);
        taken.drain(..gone);
        let used = taken.iter().map(|taken| taken.amount).sum();
        Self { limit, window_us: window_ms.saturating_mul(1000), now_us, used, taken }
    }
}

impl Sums for Log {
    fn used(&self) -> u64 {
        self.used
    }

    fn wait_ms(&self, amount: u64) -> u64 {
        let mut over = self.used.saturating_add(amount).saturating_sub(self.limit);
        for taken in &self.taken {
            over = over.saturating_sub(taken.amount);
            if over == 0 {
                return taken.until_us.saturating_sub(self.now_us).div_ceil(1000);
            }
        }
        0
    }

    fn spend(&mut self, amount: u64, _member: u64) {
        if amount == 0 {
            return;
        }
        let until_us = self.now_us.saturating_add(self.window_us);
        // A clock that went back adds in front of what it added before.
        let at = self.taken.partition_point(|taken| taken.until_us <= until_us);
        match at.checked_sub(1).and_then(|last| self.taken.get_mut(last)) {
            Some(last) if last.until_us == until_us => last.amount += amount,
            _ => self.taken.insert(at, Taken { until_us, amount }),
        }
        self.used = self.used.saturating_add(amount);
    }

    fn give_back(&mut self, amount: u64, epoch_ms: u64) {
        let first = epoch_ms.saturating_mul(1000).saturating_add(self.window_us);
        let mut left = amount;
        for taken in &mut self.taken {
            if (first..=first.saturating_add(999)).contains(&taken.until_us) {
                let back = taken.amount.min(left);
                taken.amount -= back;
                left -= back;
            }
        }
        self.taken.retain(|taken| taken.amount > 0);
        self.used = self.taken.iter().map(|taken| taken.amount).sum();
    }

    fn epoch_ms(&self) -> u64 {
        self.now_us / 1000
    }

    fn idle_in_ms(&self) -> u64 {
        let last = self.taken.last().map_or(self.now_us, |taken| taken.until_us);
        last.saturating_sub(self.now_us).div_ceil(1000)
    }
}

impl From<Log> for State {
    fn from(log: Log) -> Self {
        Self::Log(log.taken)
    }
}
