//! A token bucket: bursts, then a steady refill. `lua/token_bucket.lua` does the same sums.

use super::{State, Sums};

#[derive(Clone, Debug)]
pub(super) struct Bucket {
    limit: u64,
    units_per_us: u64,
    units_per_token: u64,
    debt: u64,
    at_us: u64,
    now_us: u64,
}

impl Bucket {
    /// The bucket at `now_us`; `rate` is units per microsecond and per token.
    pub(super) fn open(limit: u64, rate: (u64, u64), stored: Option<&State>, now_us: u64) -> Self {
        let (units_per_us, units_per_token) = (rate.0.max(1), rate.1.max(1));
        let (debt, at_us) = match stored {
            Some(&State::Bucket { debt, at_us }) if at_us < now_us => {
                let paid = (now_us - at_us).saturating_mul(units_per_us);
                (debt.saturating_sub(paid), now_us)
            }
            Some(&State::Bucket { debt, at_us }) => (debt, at_us),
            _ => (0, now_us),
        };
        Self { limit, units_per_us, units_per_token, debt, at_us, now_us }
    }

    /// Microseconds until the debt has come down to `target`.
    fn until_debt_us(&self, target: u64) -> u64 {
        let paid = self.debt.saturating_sub(target).div_ceil(self.units_per_us);
        self.at_us.saturating_sub(self.now_us).saturating_add(paid)
    }
}

impl Sums for Bucket {
    fn used(&self) -> u64 {
        self.debt.div_ceil(self.units_per_token)
    }

    fn wait_ms(&self, amount: u64) -> u64 {
        let enough = self.limit.saturating_sub(amount).saturating_mul(self.units_per_token);
        self.until_debt_us(enough).div_ceil(1000)
    }

    fn spend(&mut self, amount: u64, _member: u64) {
        self.debt = self.debt.saturating_add(amount.saturating_mul(self.units_per_token));
    }

    fn give_back(&mut self, amount: u64, _epoch_ms: u64) {
        self.debt = self.debt.saturating_sub(amount.saturating_mul(self.units_per_token));
    }

    fn epoch_ms(&self) -> u64 {
        0
    }

    fn idle_in_ms(&self) -> u64 {
        self.until_debt_us(0).div_ceil(1000)
    }
}

impl From<Bucket> for State {
    fn from(bucket: Bucket) -> Self {
        Self::Bucket { debt: bucket.debt, at_us: bucket.at_us }
    }
}
