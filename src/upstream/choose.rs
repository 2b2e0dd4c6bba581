//! Which endpoint takes an attempt.

use std::sync::Arc;

use super::health::{Claim, WHOLE};
use super::selection::Candidates;
use super::{Attempt, Draw, Endpoint, EndpointHealth, EndpointSet, Pool};
use crate::clock::Moment;

/// Attempts that a request may make: retries, and those that stale connections cost.
const TRIED_MAX: usize = 8;

/// Endpoints that this request has tried: a small set without allocation.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tried {
    ids: [usize; TRIED_MAX],
    count: usize,
}

impl Tried {
    /// Whether an endpoint was tried.
    #[must_use]
    pub fn contains(&self, endpoint: &Endpoint) -> bool {
        self.ids.iter().take(self.count).any(|id| *id == endpoint.id())
    }

    /// Notes an endpoint; beyond eight nothing is remembered.
    pub fn insert(&mut self, endpoint: &Endpoint) {
        if let Some(free) = self.ids.get_mut(self.count) {
            *free = endpoint.id();
            self.count += 1;
        }
    }
}

/// The next endpoint that is well and untried; else one that is well; else one that has not
/// passed its first check yet; none when there is none of these. When so few are well that the
/// service's `panicPercent` is reached, all are taken for well.
///
/// An endpoint that has been out long enough takes one request as a probe: choosing it claims
/// the probe, so whoever chooses must connect and tell the [`Attempt`] what came of it.
#[must_use]
pub fn choose(pool: &Pool, tried: &Tried, draw: Draw, now: Moment) -> Option<Attempt> {
    let set = pool.current();
    let (place, probe) = find(&set, tried, draw, now)?;
    let endpoint = Arc::clone(set.endpoints.get(place)?);
    Some(Attempt::new(set, endpoint, probe, draw.trial))
}

/// The place of an endpoint, and whether it is a probe.
fn find(set: &EndpointSet, tried: &Tried, draw: Draw, now: Moment) -> Option<(usize, bool)> {
    let none = Tried::default();
    if is_panic(set, now) {
        let pick = |refused| {
            let view = View { set, now, refused, eligible: |_: &EndpointHealth, _| true };
            set.selection.pick(draw, &view)
        };
        return pick(*tried).or_else(|| pick(none)).map(|place| (place, false));
    }
    claimed(set, *tried, draw, now, EndpointHealth::is_well)
        .or_else(|| claimed(set, none, draw, now, EndpointHealth::is_well))
        .or_else(|| claimed(set, *tried, draw, now, EndpointHealth::is_awaited))
}

/// An eligible endpoint, with the right to send it a request.
fn claimed(
    set: &EndpointSet,
    refused: Tried,
    draw: Draw,
    now: Moment,
    eligible: impl Fn(&EndpointHealth, Moment) -> bool,
) -> Option<(usize, bool)> {
    let mut view = View { set, now, refused, eligible };
    // Each round but the last loses a race: for a probe, or because health changed in between.
    for _ in 0..=set.endpoints.len() {
        let place = set.selection.pick(draw, &view)?;
        let endpoint = set.endpoints.get(place)?;
        match endpoint.health.claim(now) {
            Claim::Free => return Some((place, false)),
            Claim::Probe => return Some((place, true)),
            Claim::Lost => view.refused.insert(endpoint),
        }
    }
    None
}

/// Whether so few endpoints are well that health says more about the judge than about them.
fn is_panic(set: &EndpointSet, now: Moment) -> bool {
    let percent = set.service.ejection.panic_percent;
    percent > 0 && {
        let well = set.endpoints.iter().filter(|endpoint| endpoint.health.is_well(now)).count();
        well * 100 < set.endpoints.len() * percent
    }
}

/// The endpoints of a set as a pick sees them.
struct View<'a, F> {
    set: &'a EndpointSet,
    now: Moment,
    refused: Tried,
    eligible: F,
}

impl<F: Fn(&EndpointHealth, Moment) -> bool> Candidates for View<'_, F> {
    fn share(&self, place: usize) -> u32 {
        let Some(endpoint) = self.set.endpoints.get(place) else { return 0 };
        if self.refused.contains(endpoint) || !(self.eligible)(&endpoint.health, self.now) {
            return 0;
        }
        match self.set.service.slow_start {
            Some(span) => endpoint.health.share(span, self.now),
            None => WHOLE,
        }
    }

    fn in_flight(&self, place: usize) -> u32 {
        self.set.endpoints.get(place).map_or(0, |endpoint| endpoint.health.in_flight())
    }
}

#[cfg(test)]
mod tests;
