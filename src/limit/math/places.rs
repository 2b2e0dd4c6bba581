//! Places that requests hold: a limit of requests at once. `lua/concurrency.lua`, `release.lua`
//! and `renew.lua` do the same.

use super::{State, Sums};

/// Nobody knows when a request ends; what a client is told to wait for.
const PLACE_WAIT_MS: u64 = 1000;

/// Places that one request holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// What names the request.
    pub member: u64,
    /// How many.
    pub amount: u64,
    /// The microsecond until which they are held, unless renewed.
    pub until_us: u64,
}

#[derive(Clone, Debug)]
pub(super) struct Places {
    hold_us: u64,
    now_us: u64,
    held: Vec<Place>,
}

impl Places {
    /// Bytes of its list.
    pub(super) const fn list_bytes(&self) -> usize {
        self.held.capacity() * size_of::<Place>()
    }

    /// The places at `now_us`, without those that were held for too long.
    pub(super) fn open(hold_ms: u64, stored: Option<State>, now_us: u64) -> Self {
        let mut held = match stored {
            Some(State::Places(held)) => held,
            _ => Vec::new(),
        };
        held.retain(|place| place.until_us > now_us);
        Self { hold_us: hold_ms.saturating_mul(1000), now_us, held }
    }

    /// Gives free what a request holds; says how many places.
    pub(super) fn release(&mut self, member: u64) -> u64 {
        let before = self.used();
        self.held.retain(|place| place.member != member);
        before - self.used()
    }

    /// Holds for longer what a request holds, and says whether it holds something.
    pub(super) fn renew(&mut self, member: u64) -> bool {
        let until_us = self.now_us.saturating_add(self.hold_us);
        let mut own = self.held.iter_mut().filter(|place| place.member == member);
        own.by_ref().map(|place| place.until_us = until_us).count() > 0
    }
}

impl Sums for Places {
    fn used(&self) -> u64 {
        self.held.iter().map(|place| place.amount).sum()
    }

    fn wait_ms(&self, _amount: u64) -> u64 {
        PLACE_WAIT_MS
    }

    fn spend(&mut self, amount: u64, member: u64) {
        let until_us = self.now_us.saturating_add(self.hold_us);
        self.held.push(Place { member, amount, until_us });
    }

    fn give_back(&mut self, _amount: u64, _epoch_ms: u64) {}

    fn epoch_ms(&self) -> u64 {
        0
    }

    fn idle_in_ms(&self) -> u64 {
        let last = self.held.iter().map(|place| place.until_us).max().unwrap_or(self.now_us);
        last.saturating_sub(self.now_us).div_ceil(1000)
    }
}

impl From<Places> for State {
    fn from(places: Places) -> Self {
        Self::Places(places.held)
    }
}
