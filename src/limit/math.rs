//! The sums of both algorithms, in whole numbers.
//!
//! Local counters use them, and they are the model against which `tests/lua.rs` holds the
//! scripts: the same states, the same decisions, the same waits. Nothing here knows where a
//! state is kept or who asks. Time is an argument, in microseconds from any fixed origin.
//!
//! Whole numbers rather than tokens as fractions: Lua counts in doubles, so the two sides agree
//! to the last unit only where every product stays below 2^53. [`EXACT_MAX`] keeps a distance.

/// The largest product of a rule's numbers: a bucket's units, or limit times milliseconds.
pub const EXACT_MAX: u64 = 1 << 51;

/// What a rule allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Numbers {
    /// Tokens that a full bucket holds, or requests per window.
    pub limit: u64,
    /// What one request takes; from 1 to `limit`.
    pub cost: u64,
    /// How it is counted.
    pub algorithm: Algorithm,
}

/// How a rule counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Algorithm {
    /// The refill rate is the quotient of the two, so that it needs no fractions.
    TokenBucket {
        /// Units that come back each microsecond.
        units_per_us: u64,
        /// Units that make one token; `limit * units_per_token` is at most [`EXACT_MAX`].
        units_per_token: u64,
    },
    /// Windows begin at multiples of their length.
    SlidingWindow {
        /// Length in milliseconds; `limit * window_ms` is at most [`EXACT_MAX`].
        window_ms: u64,
    },
}

impl Numbers {
    /// One node's share of the limit while nobody counts for all: the rate divided by the number
    /// of nodes, and never less than one request.
    #[must_use]
    pub fn share(self, nodes: u32) -> Self {
        let nodes = u64::from(nodes.max(1));
        let limit = (self.limit / nodes).max(self.cost);
        let algorithm = match self.algorithm {
            Algorithm::TokenBucket { units_per_us, units_per_token } => Algorithm::TokenBucket {
                units_per_us,
                units_per_token: units_per_token.saturating_mul(nodes),
            },
            window @ Algorithm::SlidingWindow { .. } => window,
        };
        Self { limit, algorithm, ..self }
    }
}

/// What is stored of a counter. A missing state means that nothing has been taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// A token bucket.
    Bucket {
        /// Units missing from a full bucket.
        debt: u64,
        /// The microsecond for which that holds.
        at_us: u64,
    },
    /// A sliding window.
    Window {
        /// The millisecond at which the current window began.
        start_ms: u64,
        /// Taken in it.
        current: u64,
        /// Taken in the one before.
        previous: u64,
    },
}

/// What one counter answers to a take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reply {
    /// Whether this counter had enough; the request passes if all had.
    pub allowed: bool,
    /// What is left after the request; 0 where this counter had not enough.
    pub remaining: u64,
    /// Milliseconds: where it had not enough, until this request would pass; else until more is
    /// left, 0 if nothing is taken.
    pub reset_ms: u64,
}

/// A counter as it stands at one instant.
#[derive(Clone, Copy, Debug)]
pub struct Counter {
    numbers: Numbers,
    now_us: u64,
    state: State,
}

impl Counter {
    /// Brings a stored state to `now_us`. A clock that went back changes nothing until it has
    /// caught up with the state; a state of the other algorithm counts as none.
    #[must_use]
    pub fn open(numbers: Numbers, stored: Option<State>, now_us: u64) -> Self {
        let state = match numbers.algorithm {
            Algorithm::TokenBucket { units_per_us, .. } => {
                open_bucket(stored, now_us, units_per_us)
            }
            Algorithm::SlidingWindow { window_ms } => {
                open_window(stored, now_us / 1000, window_ms.max(1))
            }
        };
        Self { numbers, now_us, state }
    }

    /// Whether the cost of one request is there.
    #[must_use]
    pub fn has_enough(&self) -> bool {
        self.left() >= self.numbers.cost
    }

    /// Takes the cost; only for a counter that has enough.
    pub fn accept(&mut self) -> Reply {
        debug_assert!(self.has_enough());
        let cost = self.numbers.cost;
        match &mut self.state {
            State::Bucket { debt, .. } => {
                *debt = debt.saturating_add(cost.saturating_mul(units_per_token(&self.numbers)));
            }
            State::Window { current, .. } => *current = current.saturating_add(cost),
        }
        self.answer_allowed()
    }

    /// Takes nothing, because this counter or another of the request has not enough.
    #[must_use]
    pub fn refuse(&self) -> Reply {
        if self.has_enough() {
            return self.answer_allowed();
        }
        Reply { allowed: false, remaining: 0, reset_ms: self.wait_ms(self.numbers.cost) }
    }

    /// The state to store.
    #[must_use]
    pub const fn state(&self) -> State {
        self.state
    }

    /// Milliseconds after which the state says no more than a missing one does; at least 1.
    #[must_use]
    pub fn idle_in_ms(&self) -> u64 {
        let ms = match (self.state, self.numbers.algorithm) {
            (State::Window { start_ms, .. }, Algorithm::SlidingWindow { window_ms }) => {
                (start_ms + 2 * window_ms).saturating_sub(self.now_us / 1000)
            }
            _ => self.until_debt_us(0).div_ceil(1000),
        };
        ms.max(1)
    }

    fn answer_allowed(&self) -> Reply {
        let remaining = self.left();
        let more = (remaining + 1).min(self.numbers.limit);
        Reply { allowed: true, remaining, reset_ms: self.wait_ms(more) }
    }

    /// What is left.
    fn left(&self) -> u64 {
        let limit = self.numbers.limit;
        match (self.state, self.numbers.algorithm) {
            (State::Bucket { debt, .. }, Algorithm::TokenBucket { units_per_token, .. }) => {
                let unit = units_per_token.max(1);
                limit.saturating_mul(unit).saturating_sub(debt) / unit
            }
            (State::Window { current, previous, .. }, Algorithm::SlidingWindow { window_ms }) => {
                let overlap = previous.saturating_mul(self.overlap_ms()).div_ceil(window_ms.max(1));
                limit.saturating_sub(current).saturating_sub(overlap)
            }
            _ => 0,
        }
    }

    /// Milliseconds until `amount` is there.
    fn wait_ms(&self, amount: u64) -> u64 {
        let limit = self.numbers.limit;
        match (self.state, self.numbers.algorithm) {
            (State::Bucket { debt, .. }, Algorithm::TokenBucket { units_per_token, .. }) => {
                let enough = limit.saturating_sub(amount).saturating_mul(units_per_token);
                if debt <= enough {
                    return 0;
                }
                self.until_debt_us(enough).div_ceil(1000)
            }
            (
                State::Window { start_ms, current, previous },
                Algorithm::SlidingWindow { window_ms },
            ) => {
                if self.left() >= amount {
                    return 0;
                }
                let opens = limit.saturating_sub(current).checked_sub(amount).map_or_else(
                    || {
                        let room = limit.saturating_sub(amount);
                        start_ms + window_ms + until_room(window_ms, current, room)
                    },
                    |room| start_ms + until_room(window_ms, previous, room),
                );
                opens.saturating_sub(self.now_us / 1000)
            }
            _ => 0,
        }
    }

    /// Microseconds until a bucket's debt has come down to `target`.
    fn until_debt_us(&self, target: u64) -> u64 {
        match (self.state, self.numbers.algorithm) {
            (State::Bucket { debt, at_us }, Algorithm::TokenBucket { units_per_us, .. }) => at_us
                .saturating_sub(self.now_us)
                .saturating_add(debt.saturating_sub(target).div_ceil(units_per_us.max(1))),
            _ => 0,
        }
    }

    /// How much of the last window still overlaps the window that ends now.
    fn overlap_ms(&self) -> u64 {
        match (self.state, self.numbers.algorithm) {
            (State::Window { start_ms, .. }, Algorithm::SlidingWindow { window_ms }) => {
                let into = (self.now_us / 1000).saturating_sub(start_ms);
                window_ms.saturating_sub(into)
            }
            _ => 0,
        }
    }
}

/// Milliseconds into a window at which `room` and no less is left beside the overlapping share
/// of `count`.
fn until_room(window_ms: u64, count: u64, room: u64) -> u64 {
    window_ms.saturating_sub(room.saturating_mul(window_ms) / count.max(1))
}

const fn units_per_token(numbers: &Numbers) -> u64 {
    match numbers.algorithm {
        Algorithm::TokenBucket { units_per_token, .. } => units_per_token,
        Algorithm::SlidingWindow { .. } => 1,
    }
}

fn open_bucket(stored: Option<State>, now_us: u64, units_per_us: u64) -> State {
    match stored {
        Some(State::Bucket { debt, at_us }) if at_us < now_us => {
            let paid = (now_us - at_us).saturating_mul(units_per_us);
            State::Bucket { debt: debt.saturating_sub(paid), at_us: now_us }
        }
        Some(bucket @ State::Bucket { .. }) => bucket,
        _ => State::Bucket { debt: 0, at_us: now_us },
    }
}

fn open_window(stored: Option<State>, now_ms: u64, window_ms: u64) -> State {
    let start = now_ms - now_ms % window_ms;
    match stored {
        Some(window @ State::Window { start_ms, .. }) if start_ms >= start => window,
        Some(State::Window { start_ms, current, .. }) if start_ms + window_ms == start => {
            State::Window { start_ms: start, current: 0, previous: current }
        }
        _ => State::Window { start_ms: start, current: 0, previous: 0 },
    }
}

#[cfg(test)]
mod tests;
