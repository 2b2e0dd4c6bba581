//! What to make of an answer: whether the endpoints change, and when to ask again.
//!
//! All that discovery decides is decided in [`State::absorb`], which knows neither clock nor
//! network. The rules (R050-R053):
//!
//! - an answer replaces what was known, unless it is the same;
//! - no answer changes nothing, for as long as there is none;
//! - an answer without instances is believed once it has come so often in a row as configured,
//!   or when there was nothing to lose;
//! - a source is asked again after its `refresh` time. Sooner after an answer that says so, or
//!   while nothing is known of it; never within a second.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use super::answer::{Answer, Hint, Place};
use super::source::Source;
use crate::clock::Tick;

/// One source that is being asked, and what it said.
#[derive(Debug)]
pub(super) struct Feed {
    pub(super) source: Arc<Source>,
    pub(super) label: Arc<str>,
    pub(super) state: Mutex<State>,
}

impl Feed {
    /// A feed that has not asked yet. `before` is what a feed of the same name knew: it stays in
    /// force until there is an answer.
    pub(super) fn new(source: Source, before: Option<Believed>) -> Self {
        let label = source.label();
        let state = State { believed: before, ..State::default() };
        Self { source: Arc::new(source), label, state: Mutex::new(state) }
    }

    /// The instances in force.
    pub(super) fn places(&self) -> Arc<[Place]> {
        self.state.lock().places()
    }
}

/// What a feed holds to be true.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Believed {
    /// The instances, sorted, none twice.
    pub(super) places: Arc<[Place]>,
    /// When the source last said so.
    pub(super) confirmed: Tick,
}

/// What a feed remembers.
#[derive(Clone, Debug, Default)]
pub(super) struct State {
    /// The last good answer.
    pub(super) believed: Option<Believed>,
    /// Whether there was an answer of any kind.
    pub(super) is_answered: bool,
    /// When the feed began to ask.
    pub(super) began: Option<Tick>,
    /// When to ask next.
    pub(super) due: Tick,
    /// Where changes are counted from; 0 asks for an answer at once.
    pub(super) cursor: u64,
    /// What the last answer came to.
    pub(super) last: Option<Outcome>,
    /// Why the last look-up failed.
    pub(super) why: Option<String>,
    /// Look-ups in a row that failed.
    failures: u32,
    /// Answers in a row without instances.
    empties: u32,
}

/// What an answer came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// Other instances than before.
    Changed,
    /// The same instances.
    Unchanged,
    /// No instances.
    Empty,
    /// No answer.
    Failed,
}

impl Outcome {
    /// The word for it in metrics.
    pub(super) const fn word(self) -> &'static str {
        match self {
            Self::Changed => "ok",
            Self::Unchanged => "unchanged",
            Self::Empty => "empty",
            Self::Failed => "failed",
        }
    }
}

/// What follows from an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Step {
    /// What it came to.
    pub(super) outcome: Outcome,
    /// The instances in force are others than before.
    pub(super) is_change: bool,
    /// The answer before came to something else: worth a line in the log.
    pub(super) is_news: bool,
}

/// First wait while nothing is known of a source; it doubles up to the refresh time. It is also
/// the shortest time between two look-ups of any source.
const SPACING: Duration = Duration::from_secs(1);

/// Share by which waits vary, so that many gateways do not ask a registry together.
const JITTER: f64 = 0.1;

impl State {
    /// Takes an answer in at `now`. `entropy` from 0 to 1 varies the time of the next look-up.
    pub(super) fn absorb(
        &mut self,
        answer: Answer,
        source: &Source,
        now: Tick,
        entropy: f64,
    ) -> Step {
        let step = match answer.places {
            Err(why) => {
                self.failures = self.failures.saturating_add(1);
                self.why = Some(why);
                (Outcome::Failed, false)
            }
            Ok(places) => {
                self.failures = 0;
                self.why = None;
                self.believe(sorted(places), source.empty_answers, now)
            }
        };
        let (outcome, is_change) = step;
        self.is_answered = true;
        self.cursor = match answer.hint {
            Hint::Watch { index, .. } if !self.is_doubtful() => index,
            _ => 0,
        };
        let pause = self.pause(outcome, answer.hint, source.refresh);
        let vary = 1.0 - JITTER + 2.0 * JITTER * entropy;
        self.due = now.plus(pause.mul_f64(vary).max(SPACING));
        let is_news = self.last.replace(outcome) != Some(outcome) || is_change;
        Step { outcome, is_change, is_news }
    }

    /// The instances in force.
    pub(super) fn places(&self) -> Arc<[Place]> {
        self.believed.as_ref().map_or_else(|| Arc::from([]), |known| Arc::clone(&known.places))
    }

    /// Age of what is in force; of the feed itself while nothing is known.
    pub(super) fn age(&self, now: Tick) -> Duration {
        let since = self.believed.as_ref().map(|known| known.confirmed).or(self.began);
        since.map_or(Duration::ZERO, |since| now.since(since))
    }

    fn believe(&mut self, places: Vec<Place>, confirmations: u32, now: Tick) -> (Outcome, bool) {
        let had_some = self.has_places();
        if places.is_empty() {
            self.empties = self.empties.saturating_add(1);
            if had_some && self.empties < confirmations {
                return (Outcome::Empty, false);
            }
        } else {
            self.empties = 0;
        }
        let outcome = match &self.believed {
            _ if places.is_empty() => Outcome::Empty,
            Some(known) if *known.places == *places => Outcome::Unchanged,
            _ => Outcome::Changed,
        };
        let is_change = outcome == Outcome::Changed || (outcome == Outcome::Empty && had_some);
        match &mut self.believed {
            Some(known) if !is_change => known.confirmed = now,
            believed => *believed = Some(Believed { places: places.into(), confirmed: now }),
        }
        (outcome, is_change)
    }

    fn has_places(&self) -> bool {
        self.believed.as_ref().is_some_and(|known| !known.places.is_empty())
    }

    /// Whether the last answer was empty and is not believed yet.
    fn is_doubtful(&self) -> bool {
        self.empties > 0 && self.has_places()
    }

    fn pause(&self, outcome: Outcome, hint: Hint, refresh: Duration) -> Duration {
        match (outcome, hint) {
            (Outcome::Failed, _) if !self.has_places() => {
                let doublings = self.failures.saturating_sub(1);
                SPACING.saturating_mul(2_u32.saturating_pow(doublings)).min(refresh)
            }
            _ if self.is_doubtful() => refresh,
            (Outcome::Changed | Outcome::Unchanged, Hint::Ttl(ttl)) => ttl.min(refresh),
            // Early and yet nothing new: the source does not keep to waiting.
            (Outcome::Unchanged, Hint::Watch { early: true, .. }) => refresh,
            (_, Hint::Watch { index, .. }) if index > 0 => SPACING,
            _ => refresh,
        }
    }
}

/// Instances in a fixed order, none twice: one place that two names lead to is one instance.
fn sorted(mut places: Vec<Place>) -> Vec<Place> {
    places.sort_unstable_by(|a, b| (a.ip, a.port, &a.host).cmp(&(b.ip, b.port, &b.host)));
    places.dedup_by_key(|place| (place.ip, place.port));
    places
}

#[cfg(test)]
mod tests;
