//! Which endpoint takes an attempt.

use super::{Endpoint, Version};
use crate::clock::Moment;

/// Endpoints that this request has tried: a small set without allocation.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tried(u64);

impl Tried {
    /// Whether an endpoint was tried.
    #[must_use]
    pub const fn contains(self, index: usize) -> bool {
        index < 64 && self.0 & (1 << index) != 0
    }

    /// Notes an endpoint; beyond the 64th nothing is remembered.
    pub const fn insert(&mut self, index: usize) {
        if index < 64 {
            self.0 |= 1 << index;
        }
    }
}

/// The next endpoint in rotation that is healthy and untried; else one that is healthy; none
/// when no endpoint is healthy.
///
/// An endpoint that has been out long enough takes one request as a probe: choosing it claims
/// the probe, so whoever chooses must connect and report the outcome to its health.
#[must_use]
pub fn choose(version: &Version, tried: Tried, now: Moment) -> Option<(usize, &Endpoint)> {
    rotate(version, tried, now).or_else(|| rotate(version, Tried::default(), now))
}

/// The rotation runs over the eligible endpoints only: the share of one that is out goes to the
/// others evenly, not to its neighbour (R039).
fn rotate(version: &Version, mut refused: Tried, now: Moment) -> Option<(usize, &Endpoint)> {
    // Each round but the last loses a race: for a probe, or because health changed in between.
    for _ in 0..=version.endpoints.len() {
        let eligible = |(index, endpoint): &(usize, &Endpoint)| {
            !refused.contains(*index) && endpoint.health.is_up(now)
        };
        let count = version.endpoints.iter().enumerate().filter(eligible).count();
        let turn = version.next_turn().checked_rem(count)?;
        let Some((index, endpoint)) =
            version.endpoints.iter().enumerate().filter(eligible).nth(turn)
        else {
            continue;
        };
        if endpoint.health.claim(now) {
            return Some((index, endpoint));
        }
        refused.insert(index);
    }
    None
}

#[cfg(test)]
mod tests;
