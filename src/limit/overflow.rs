//! What is remembered of keys that had to make room: how much they had used.
//!
//! A count-min sketch (`pingora-limits`). It can only count too much: keys that meet in every
//! one of their cells share them, so a client that comes back may find less than it left, never
//! more. Only what matters is kept, and no more than the sketch can tell apart, so that a flood
//! of keys cannot fill it and turn newcomers away.
//!
//! What a key had used is kept under the key *and* the window that it was used in. So the sketch
//! needs no sense of time beyond forgetting: a key that comes back asks for the windows that
//! still count, and has again what it had left.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

use parking_lot::Mutex;
use pingora_limits::estimator::Estimator;

use super::CounterKey;
use super::math::{Algorithm, Cell, Counter, Numbers, State, cell_ms};

/// Lengths of pages in seconds: powers of four up to 48 days. A key is kept on a page at least
/// as long as what it used can count; so no set of rules needs more sketches than these.
const CLASSES: usize = 12;

/// Independent hash functions of a sketch.
const HASHES: usize = 4;

/// Cells per hash function. The two pages of a sketch take 4 MiB, made when first needed.
const SLOTS: usize = 65_536;

/// Counts on one page, the most. With two pages full, of a thousand keys that were never kept
/// two or three meet others in all their cells.
const KEPT_MAX: u32 = 8_192;

/// The sketches.
#[derive(Default)]
pub(super) struct Overflow {
    /// Pages forget and count under a lock although an `Estimator` needs none: a count that
    /// arrives while a page is wiped would be lost, and what is added depends on what was read.
    sketches: [OnceLock<Mutex<Sketch>>; CLASSES],
    /// Which of them hold anything, a bit each: mostly none, and then no lock is taken.
    filled: AtomicU32,
}

/// A key that makes room.
#[derive(Clone, Copy, Debug)]
pub(super) struct Spilled<'a> {
    pub(super) key: CounterKey,
    pub(super) class: u8,
    pub(super) state: &'a State,
    /// The rule's window in milliseconds; 0 where it has none.
    pub(super) window_ms: u64,
    /// What is used, by states that hold no counts.
    pub(super) used: Used,
    /// Whether the key is used up.
    pub(super) limited: bool,
}

/// An amount that comes down to nothing in a straight line.
#[derive(Clone, Copy, Debug)]
pub(super) struct Used {
    pub(super) amount: u64,
    pub(super) at_us: u64,
    pub(super) gone_at_us: u64,
}

impl Used {
    /// What it is at another time, earlier ones included.
    pub(super) fn at(self, now_us: u64) -> u64 {
        let lasts = self.gone_at_us.saturating_sub(self.at_us).max(1);
        scale(self.amount, self.gone_at_us.saturating_sub(now_us), lasts)
    }
}

/// Which count of a window is meant.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum Count {
    Current,
    Previous,
}

impl std::fmt::Debug for Overflow {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let made = self.sketches.iter().filter(|sketch| sketch.get().is_some()).count();
        f.debug_struct("Overflow").field("sketches", &made).finish_non_exhaustive()
    }
}

impl Overflow {
    /// Keeps what a key had used; false where there was no room for it.
    pub(super) fn keep(&self, spilled: &Spilled<'_>, now_us: u64) -> bool {
        let Some(sketch) = self.sketches.get(usize::from(spilled.class)) else { return false };
        let mut sketch = sketch.get_or_init(Mutex::default).lock();
        let length_us = length_us(spilled.class);
        sketch.turn(now_us / length_us);
        self.filled.fetch_or(bit(spilled.class), Ordering::Relaxed);
        // Keys that are used up must find room where those that are only warm do not.
        let most = if spilled.limited { KEPT_MAX } else { KEPT_MAX / 2 };
        match *spilled.state {
            State::Window { start_ms, current, previous } => {
                sketch.raise((spilled.key, start_ms, Count::Current), current, most)
                    && sketch.raise((spilled.key, start_ms, Count::Previous), previous, most)
            }
            State::Period { start_ms, current } => {
                sketch.raise((spilled.key, start_ms, Count::Current), current, most)
            }
            State::Cells(ref cells) => {
                let (start_ms, current, previous) = two_counts(cells, spilled.window_ms, now_us);
                sketch.raise((spilled.key, start_ms, Count::Current), current, most)
                    && sketch.raise((spilled.key, start_ms, Count::Previous), previous, most)
            }
            State::Bucket { .. } | State::Log(_) | State::Places(_) => {
                let epoch = now_us / length_us;
                let amount = spilled.used.at(epoch * length_us);
                sketch.raise((spilled.key, epoch, Count::Current), amount, most)
            }
        }
    }

    /// A counter for a key that is not known exactly: as it was left, or untouched.
    pub(super) fn recall(&self, key: CounterKey, numbers: Numbers, now_us: u64) -> Counter {
        let fresh = Counter::open(numbers, None, now_us);
        let class = class(&numbers);
        if self.filled.load(Ordering::Relaxed) & bit(class) == 0 {
            return fresh;
        }
        let Some(sketch) = self.sketches.get(usize::from(class)).and_then(OnceLock::get) else {
            return fresh;
        };
        let length_us = length_us(class);
        let epoch = now_us / length_us;
        let mut sketch = sketch.lock();
        if sketch.turn(epoch) {
            self.filled.fetch_and(!bit(class), Ordering::Relaxed);
            return fresh;
        }
        match fresh.state() {
            State::Cells(_) => {
                let window_ms = (span_us(&numbers) / 1000).max(1);
                let start_ms = now_us / 1000 / window_ms * window_ms;
                let last = start_ms
                    .checked_sub(window_ms)
                    .map_or(0, |last_ms| sketch.get((key, last_ms, Count::Current)));
                let current = sketch.get((key, start_ms, Count::Current));
                let previous = sketch.get((key, start_ms, Count::Previous)).max(last);
                let state = State::Window { start_ms, current, previous };
                Counter::open(numbers, Some(state), now_us)
            }
            // Nobody knows when each was taken: all counts until the page is turned.
            State::Log(_) => {
                let amount = |epoch| sketch.get((key, epoch, Count::Current));
                let used = amount(epoch).max(epoch.checked_sub(1).map_or(0, amount));
                with_used(fresh, used)
            }
            State::Period { start_ms, .. } => {
                let current = sketch.get((key, start_ms, Count::Current));
                Counter::open(numbers, Some(State::Period { start_ms, current }), now_us)
            }
            State::Bucket { .. } | State::Window { .. } | State::Places(_) => {
                let left_of = |epoch: u64| {
                    let amount = sketch.get((key, epoch, Count::Current));
                    let paid_us = now_us.saturating_sub(epoch * length_us);
                    amount.saturating_sub(paid(&numbers, paid_us))
                };
                // What was kept later includes what was kept before.
                let used = left_of(epoch).max(epoch.checked_sub(1).map_or(0, left_of));
                with_used(fresh, used)
            }
        }
    }
}

#[cfg(test)]
impl Overflow {
    /// Which sketches hold anything, a bit each.
    pub(super) fn filled(&self) -> u32 {
        self.filled.load(Ordering::Relaxed)
    }
}

/// A counter of which so much is used, or all.
pub(super) fn with_used(mut counter: Counter, used: u64) -> Counter {
    let used = used.min(counter.left());
    if used > 0 {
        counter.take(used);
    }
    counter
}

/// What was taken in the window of the clock that runs, when that began, and what was taken in
/// the one before.
fn two_counts(cells: &[Cell], window_ms: u64, now_us: u64) -> (u64, u64, u64) {
    let window_ms = window_ms.max(1);
    let start_ms = now_us / 1000 / window_ms * window_ms;
    let first = start_ms / cell_ms(window_ms);
    let (mut current, mut previous) = (0, 0);
    for cell in cells {
        *(if cell.index >= first { &mut current } else { &mut previous }) += cell.count;
    }
    (start_ms, current, previous)
}

/// The sketch for keys of a rule: what they use counts no longer than one of its pages.
pub(super) fn class(numbers: &Numbers) -> u8 {
    let lasts_us = match numbers.algorithm {
        Algorithm::TokenBucket { .. } | Algorithm::Quota { .. } => span_us(numbers),
        Algorithm::SlidingWindow { .. }
        | Algorithm::SlidingLog { .. }
        | Algorithm::FixedWindow { .. }
        | Algorithm::Concurrency { .. } => span_us(numbers).saturating_mul(2),
    };
    let fits = |class: &u8| length_us(*class) >= lasts_us;
    (0..11).find(fits).unwrap_or(11)
}

/// The rule's window in milliseconds, at most 31 days; 0 where it slides not by cells.
pub(super) fn window_ms(numbers: &Numbers) -> u32 {
    match numbers.algorithm {
        Algorithm::SlidingWindow { window_ms } => u32::try_from(window_ms).unwrap_or(u32::MAX),
        _ => 0,
    }
}

/// The rule's window, or the time in which its bucket fills.
fn span_us(numbers: &Numbers) -> u64 {
    match numbers.algorithm {
        Algorithm::TokenBucket { units_per_us, units_per_token } => {
            numbers.limit.saturating_mul(units_per_token).div_ceil(units_per_us.max(1))
        }
        Algorithm::SlidingWindow { window_ms }
        | Algorithm::SlidingLog { window_ms }
        | Algorithm::FixedWindow { window_ms } => window_ms.saturating_mul(1000),
        Algorithm::Quota { bounds: [_, begin, end, _] } => {
            end.saturating_sub(begin).saturating_mul(1000)
        }
        // Places are not kept here: they are held by requests.
        Algorithm::Concurrency { .. } => 0,
    }
}

const fn length_us(class: u8) -> u64 {
    1_000_000 << (2 * class as u64)
}

const fn bit(class: u8) -> u32 {
    1 << class
}

/// `amount * part / whole`, rounded up.
fn scale(amount: u64, part: u64, whole: u64) -> u64 {
    let scaled = (u128::from(amount) * u128::from(part)).div_ceil(u128::from(whole));
    u64::try_from(scaled).unwrap_or(u64::MAX)
}

/// What a bucket gets back in that time, rounded down.
fn paid(numbers: &Numbers, us: u64) -> u64 {
    let paid = u128::from(numbers.limit) * u128::from(us) / u128::from(span_us(numbers).max(1));
    u64::try_from(paid).unwrap_or(u64::MAX)
}

/// What two pages hold: the one of now and the one before.
struct Sketch {
    epoch: u64,
    pages: [Page; 2],
}

struct Page {
    counts: Estimator,
    kept: u32,
}

impl Default for Sketch {
    fn default() -> Self {
        let page = || Page { counts: Estimator::new(HASHES, SLOTS), kept: 0 };
        Self { epoch: 0, pages: [page(), page()] }
    }
}

impl Sketch {
    /// Turns to the page of `epoch`, forgets what is older than the page before; tells whether
    /// nothing is left. A clock that went back stays on its page.
    fn turn(&mut self, epoch: u64) -> bool {
        if epoch > self.epoch {
            let [even, odd] = &mut self.pages;
            if epoch > self.epoch + 1 || epoch.is_multiple_of(2) {
                even.wipe();
            }
            if epoch > self.epoch + 1 || !epoch.is_multiple_of(2) {
                odd.wipe();
            }
            self.epoch = epoch;
        }
        self.pages.iter().all(|page| page.kept == 0)
    }

    /// What is known of a count: never less than was kept.
    fn get(&self, count: (CounterKey, u64, Count)) -> u64 {
        let sum: isize = self.pages.iter().map(|page| page.get(count)).sum();
        u64::try_from(sum).unwrap_or(0)
    }

    /// Sees to it that a count is known to be `amount` at least; false where `most` are kept.
    fn raise(&mut self, count: (CounterKey, u64, Count), amount: u64, most: u32) -> bool {
        let known = self.get(count);
        if amount <= known {
            return true;
        }
        let [even, odd] = &mut self.pages;
        let page = if self.epoch.is_multiple_of(2) { even } else { odd };
        if page.kept >= most {
            return false;
        }
        page.kept += 1;
        // No amount comes near the size of a cell: limits are below 2^51.
        page.counts.incr(count, isize::try_from(amount - known).unwrap_or(0));
        true
    }
}

impl Page {
    fn get(&self, count: (CounterKey, u64, Count)) -> isize {
        if self.kept == 0 {
            return 0;
        }
        self.counts.get(count)
    }

    fn wipe(&mut self) {
        if self.kept > 0 {
            self.counts.reset();
            self.kept = 0;
        }
    }
}

#[cfg(test)]
mod tests;
