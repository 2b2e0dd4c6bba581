//! The sums of all algorithms, in whole numbers.
//!
//! Local counters use them, and they are the model against which `tests/lua` holds the scripts:
//! the same states, the same decisions, the same waits. Nothing here knows where a state is kept
//! or who asks. Time is an argument, in microseconds from any fixed origin; a quota alone needs
//! it since the epoch ([`Numbers::now_us`]).
//!
//! Whole numbers rather than tokens as fractions: Lua counts in doubles, so the two sides agree
//! to the last unit only where every product stays below 2^53. [`EXACT_MAX`] keeps a distance.

mod bucket;
mod log;
mod numbers;
mod period;
mod places;
mod window;

pub use log::Taken;
pub use numbers::{Algorithm, Ask, EXACT_MAX, LOG_MAX, Numbers, PLACES_MAX, Reply, Standing};
pub use places::Place;
pub use window::{Cell, Cells, cell_ms};

/// What is stored of a counter. A missing state means that nothing has been taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// A token bucket.
    Bucket {
        /// Units missing from a full bucket; more than it holds where more was charged.
        debt: u64,
        /// The microsecond for which that holds.
        at_us: u64,
    },
    /// A sliding window: what was taken in each of its cells, oldest first.
    Cells(Cells),
    /// A sliding window as a sketch tells it: two counts. Taken as spread evenly; never stored.
    Window {
        /// The millisecond at which the current window began.
        start_ms: u64,
        /// Taken in it.
        current: u64,
        /// Taken in the one before.
        previous: u64,
    },
    /// A fixed window, or a period of a quota.
    Period {
        /// The millisecond at which it began.
        start_ms: u64,
        /// Taken in it.
        current: u64,
    },
    /// A sliding log: what was taken, in the order in which it leaves the window.
    Log(Vec<Taken>),
    /// Places that requests hold.
    Places(Vec<Place>),
}

/// What every algorithm answers about a counter that was opened.
trait Sums {
    /// What counts against the limit.
    fn used(&self) -> u64;
    /// Milliseconds until `amount` is left; only called where it is not.
    fn wait_ms(&self, amount: u64) -> u64;
    /// Counts `amount`, whether it is there or not, under a name.
    fn spend(&mut self, amount: u64, member: u64);
    /// Takes back what was counted in the window that began at `epoch_ms`.
    fn give_back(&mut self, amount: u64, epoch_ms: u64);
    /// When the window began, milliseconds; 0 where there are none.
    fn epoch_ms(&self) -> u64;
    /// Milliseconds after which the state says no more than a missing one does.
    fn idle_in_ms(&self) -> u64;
}

/// A counter as it stands at one instant.
#[derive(Clone, Debug)]
pub struct Counter {
    limit: u64,
    kind: Kind,
}

#[derive(Clone, Debug)]
enum Kind {
    Bucket(bucket::Bucket),
    Window(window::Window),
    Period(period::Period),
    Log(log::Log),
    Places(places::Places),
}

impl Counter {
    /// Brings a stored state to `now_us`. A clock that went back changes nothing until it has
    /// caught up with the state; a state of another algorithm counts as none.
    #[must_use]
    pub fn open(numbers: Numbers, stored: Option<State>, now_us: u64) -> Self {
        let limit = numbers.limit;
        let kind = match numbers.algorithm {
            Algorithm::TokenBucket { units_per_us, units_per_token } => {
                let rate = (units_per_us, units_per_token);
                Kind::Bucket(bucket::Bucket::open(limit, rate, stored.as_ref(), now_us))
            }
            Algorithm::SlidingWindow { window_ms } => {
                Kind::Window(window::Window::open(limit, window_ms, stored, now_us))
            }
            Algorithm::SlidingLog { window_ms } => {
                Kind::Log(log::Log::open(limit, window_ms, stored, now_us))
            }
            Algorithm::FixedWindow { window_ms } => {
                Kind::Period(period::Period::open_window(window_ms, stored.as_ref(), now_us))
            }
            Algorithm::Quota { bounds } => {
                Kind::Period(period::Period::open_quota(&bounds, stored.as_ref(), now_us))
            }
            Algorithm::Concurrency { hold_ms } => {
                Kind::Places(places::Places::open(hold_ms, stored, now_us))
            }
        };
        Self { limit, kind }
    }

    /// What counts against the limit; more than it where more was charged.
    #[must_use]
    pub fn used(&self) -> u64 {
        self.sums().used()
    }

    /// What is left.
    #[must_use]
    pub fn left(&self) -> u64 {
        self.limit.saturating_sub(self.used())
    }

    /// Whether `cost` is there.
    #[must_use]
    pub fn has_enough(&self, cost: u64) -> bool {
        self.left() >= cost
    }

    /// What would be given for `ask`; only for a counter that has enough.
    #[must_use]
    pub fn grant(&self, ask: Ask) -> u64 {
        ask.want.min(self.left() / ask.share.max(1)).max(ask.cost)
    }

    /// Takes `amount`; only for a counter that has it.
    pub fn take(&mut self, amount: u64) {
        self.take_as(0, amount);
    }

    /// Takes `amount` under a name, by which a place is released; only for a counter that has it.
    pub fn take_as(&mut self, member: u64, amount: u64) {
        debug_assert!(self.has_enough(amount));
        self.sums_mut().spend(amount, member);
    }

    /// Takes `amount` whether it is there or not, and says how much that was: never so much that
    /// more than twice the limit counts, so that every debt is paid off in time. Nothing from
    /// places: those are held by requests.
    pub fn charge(&mut self, amount: u64) -> u64 {
        if matches!(self.kind, Kind::Places(_)) {
            return 0;
        }
        let amount = amount.min(self.limit.saturating_mul(2).saturating_sub(self.used()));
        self.sums_mut().spend(amount, 0);
        amount
    }

    /// Puts back what was taken in the window that began at `epoch_ms`, as [`Reply`] told it;
    /// nothing where that window no longer counts. Never below nothing.
    pub fn give_back(&mut self, amount: u64, epoch_ms: u64) {
        self.sums_mut().give_back(amount, epoch_ms);
    }

    /// Gives the places free that were taken under a name; says how many.
    pub fn release(&mut self, member: u64) -> u64 {
        match &mut self.kind {
            Kind::Places(places) => places.release(member),
            _ => 0,
        }
    }

    /// Holds the places for longer that were taken under a name; says whether there are some.
    pub fn renew(&mut self, member: u64) -> bool {
        match &mut self.kind {
            Kind::Places(places) => places.renew(member),
            _ => false,
        }
    }

    /// What is told after `taken` was taken for a request that costs `cost`; `allowed` is
    /// whether it had been there.
    #[must_use]
    pub fn reply(&self, allowed: bool, taken: u64, cost: u64) -> Reply {
        let epoch_ms = self.sums().epoch_ms();
        if !allowed {
            let reset_ms = self.wait_ms(cost);
            return Reply { allowed, taken, remaining: 0, reset_ms, epoch_ms };
        }
        let remaining = self.left();
        let reset_ms = self.wait_ms((remaining + 1).min(self.limit));
        Reply { allowed, taken, remaining, reset_ms, epoch_ms }
    }

    /// How it stands.
    #[must_use]
    pub fn standing(&self) -> Standing {
        let reply = self.reply(true, 0, 0);
        let Reply { remaining, reset_ms, epoch_ms, .. } = reply;
        Standing { used: self.used(), remaining, reset_ms, epoch_ms }
    }

    /// The state to store.
    #[must_use]
    pub fn state(&self) -> State {
        self.clone().into_state()
    }

    /// The state to store, without copying a log.
    #[must_use]
    pub fn into_state(self) -> State {
        match self.kind {
            Kind::Bucket(bucket) => bucket.into(),
            Kind::Window(window) => window.into(),
            Kind::Period(period) => period.into(),
            Kind::Log(log) => log.into(),
            Kind::Places(places) => places.into(),
        }
    }

    /// Bytes of the list that the state holds.
    #[must_use]
    pub fn list_bytes(&self) -> usize {
        match &self.kind {
            Kind::Bucket(_) | Kind::Period(_) => 0,
            Kind::Window(window) => window.list_bytes(),
            Kind::Log(log) => log.list_bytes(),
            Kind::Places(places) => places.list_bytes(),
        }
    }

    /// Milliseconds after which the state says no more than a missing one does; at least 1.
    #[must_use]
    pub fn idle_in_ms(&self) -> u64 {
        self.sums().idle_in_ms().max(1)
    }

    /// Milliseconds until `amount` is there.
    fn wait_ms(&self, amount: u64) -> u64 {
        if self.has_enough(amount) { 0 } else { self.sums().wait_ms(amount) }
    }

    fn sums(&self) -> &dyn Sums {
        match &self.kind {
            Kind::Bucket(bucket) => bucket,
            Kind::Window(window) => window,
            Kind::Period(period) => period,
            Kind::Log(log) => log,
            Kind::Places(places) => places,
        }
    }

    fn sums_mut(&mut self) -> &mut dyn Sums {
        match &mut self.kind {
            Kind::Bucket(bucket) => bucket,
            Kind::Window(window) => window,
            Kind::Period(period) => period,
            Kind::Log(log) => log,
            Kind::Places(places) => places,
        }
    }
}

#[cfg(test)]
mod tests;
