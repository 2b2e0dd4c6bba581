//! What a rule allows, what is asked of a counter and what it answers.

use crate::clock::Moment;

/// The largest product of a rule's numbers: a bucket's units, or limit times milliseconds.
pub const EXACT_MAX: u64 = 1 << 51;

/// The largest limit of a sliding log: each unit is an entry of its own.
pub const LOG_MAX: u64 = 10_000;

/// The largest limit of requests at once: each place is an entry of its own.
pub const PLACES_MAX: u64 = 100_000;

/// What a rule allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Numbers {
    /// Tokens that a full bucket holds, requests per window or period, or requests at once.
    pub limit: u64,
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
    /// Any window, counted by sixtieths of it.
    SlidingWindow {
        /// Length in milliseconds; `limit * window_ms` is at most [`EXACT_MAX`].
        window_ms: u64,
    },
    /// Remembers every request; the limit is at most [`LOG_MAX`].
    SlidingLog {
        /// Length in milliseconds.
        window_ms: u64,
    },
    /// Windows begin at multiples of their length; nothing of the last one counts.
    FixedWindow {
        /// Length in milliseconds.
        window_ms: u64,
    },
    /// Periods of the calendar.
    Quota {
        /// Begins of four periods in a row, in milliseconds since the epoch: the last, this one,
        /// the next and the one after. Who counts chooses by its own clock; beyond them periods
        /// are taken to be as long as their neighbours.
        bounds: [u64; 4],
    },
    /// Requests at once; the limit is at most [`PLACES_MAX`].
    Concurrency {
        /// For how long a place is held that nobody renews, in milliseconds.
        hold_ms: u64,
    },
}

impl Algorithm {
    /// Whether what was taken comes back by time alone, so that a counter that is used up is
    /// known to stay so for the wait that it told. Places come back at any time.
    #[must_use]
    pub const fn waits_are_known(&self) -> bool {
        !matches!(self, Self::Concurrency { .. })
    }

    /// Whether each request is remembered, so that a call must have a name and nothing can be
    /// taken in advance.
    #[must_use]
    pub const fn remembers_requests(&self) -> bool {
        matches!(self, Self::SlidingLog { .. } | Self::Concurrency { .. })
    }
}

impl Numbers {
    /// One node's share of the limit while nobody counts for all: the rate divided by the number
    /// of nodes, and never less than one request.
    #[must_use]
    pub fn share(self, nodes: u32) -> Self {
        let nodes = u64::from(nodes.max(1));
        let limit = (self.limit / nodes).max(1);
        let algorithm = match self.algorithm {
            Algorithm::TokenBucket { units_per_us, units_per_token } => Algorithm::TokenBucket {
                units_per_us,
                units_per_token: units_per_token.saturating_mul(nodes),
            },
            other => other,
        };
        Self { limit, algorithm }
    }

    /// What a node's own counters take for now, in microseconds: the clock that never goes back,
    /// and for a quota the one that knows the date.
    #[must_use]
    pub const fn now_us(&self, now: Moment) -> u64 {
        match self.algorithm {
            Algorithm::Quota { .. } => now.unix_ms.saturating_mul(1000),
            _ => now.tick.nanos() / 1000,
        }
    }
}

/// What is asked of one counter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ask {
    /// What the request takes; from 1 to the limit. 0 where no request waits and a node takes in
    /// advance only.
    pub cost: u64,
    /// What is wanted, if there is plenty: `cost`, or more where a node takes in advance (C4).
    pub want: u64,
    /// More than `cost` is given only as far as it is no more than this part of what is left:
    /// so what is held in advance shrinks to nothing towards the end. At least 1.
    pub share: u64,
    /// Whether this counter may not refuse the request.
    pub shadow: bool,
}

impl Ask {
    /// Just the cost.
    #[must_use]
    pub const fn exactly(cost: u64) -> Self {
        Self { cost, want: cost, share: 1, shadow: false }
    }
}

/// What one counter answers to a take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reply {
    /// Whether this counter had enough; the request passes if all had that may refuse it.
    pub allowed: bool,
    /// What was taken: nothing where the request does not pass.
    pub taken: u64,
    /// What is left after the request; 0 where this counter had not enough.
    pub remaining: u64,
    /// Milliseconds: where it had not enough, until this request would pass; else until more is
    /// left, 0 if nothing is taken.
    pub reset_ms: u64,
    /// When the window began that it was taken in (a sliding log: when it was taken),
    /// milliseconds; what is given back counts there only. 0 where there are no windows.
    pub epoch_ms: u64,
}

/// How a counter stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    /// What counts against the limit; more than it where more was charged.
    pub used: u64,
    /// What is left.
    pub remaining: u64,
    /// Milliseconds until more is left; 0 if nothing is used.
    pub reset_ms: u64,
    /// When the window began, milliseconds; 0 where there are none.
    pub epoch_ms: u64,
}
