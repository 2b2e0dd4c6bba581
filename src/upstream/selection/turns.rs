//! Endpoints in turn.
//!
//! Turns are drawn from one counter. What is not eligible is passed over, and the turn that it
//! had is used up: the order of the others stays what it is, so that its share goes to them by
//! their weights and not to its neighbour (R039).

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use super::{Candidates, below, halves, mix};
use crate::upstream::health::WHOLE;

/// Longest table of turns. Weights that need a longer one are served without a table.
const TURNS_MAX: u64 = 1024;

/// Turns that one pick passes over before it looks at all endpoints at once.
const PASSES_MAX: usize = 64;

/// A rotation over endpoints.
#[derive(Debug)]
pub(in crate::upstream) struct Turns {
    order: Order,
    /// Endpoints with a weight, by place.
    places: Box<[usize]>,
    counter: AtomicUsize,
}

/// Whose turn it is.
#[derive(Debug)]
enum Order {
    /// All weights are equal.
    Even,
    /// A table in which each stands as often as its weight says, as far apart as it can.
    Table(Box<[usize]>),
    /// Sums of weights so far. Multiples of the golden ratio fall into them as evenly as
    /// anything can that needs no memory of the past.
    Sums(Box<[u64]>),
}

impl Turns {
    /// A rotation over endpoints with these weights, beginning at the turn `first`.
    pub(super) fn new(weights: &[u32], first: usize) -> Self {
        let places: Box<[usize]> =
            (0..weights.len()).filter(|place| weights.get(*place) > Some(&0)).collect();
        let weights: Vec<u64> =
            places.iter().filter_map(|place| weights.get(*place)).map(|w| u64::from(*w)).collect();
        let divisor = weights.iter().copied().fold(0, gcd).max(1);
        let reduced: Vec<u64> = weights.iter().map(|weight| weight / divisor).collect();
        let order = match reduced.iter().sum::<u64>() {
            sum if sum == places.len() as u64 => Order::Even,
            sum if sum <= TURNS_MAX => Order::Table(table(&reduced)),
            _ => Order::Sums(sums(&reduced)),
        };
        Self { order, places, counter: AtomicUsize::new(first) }
    }

    /// The place of the endpoint whose turn is next.
    pub(super) fn next(&self, entropy: u64, from: &impl Candidates) -> Option<usize> {
        for pass in 0..PASSES_MAX {
            let place = self.whose(self.counter.fetch_add(1, Relaxed))?;
            let share = from.share(place);
            if share == WHOLE || (share > 0 && accepts(share, entropy, pass)) {
                return Some(place);
            }
        }
        self.any(self.counter.load(Relaxed), from)
    }

    fn whose(&self, turn: usize) -> Option<usize> {
        let index = match &self.order {
            Order::Even => turn.checked_rem(self.places.len())?,
            Order::Table(table) => *table.get(turn.checked_rem(table.len())?)?,
            Order::Sums(sums) => {
                let total = *sums.last()?;
                let ratio = (turn as u64).wrapping_mul(GOLDEN);
                let at = (u128::from(ratio) * u128::from(total)) >> 64;
                sums.partition_point(|sum| u128::from(*sum) <= at)
            }
        };
        self.places.get(index).copied()
    }

    /// One of those that are eligible, when there are so few that their turn did not come.
    fn any(&self, turn: usize, from: &impl Candidates) -> Option<usize> {
        let eligible = || self.places.iter().copied().filter(|place| from.share(*place) > 0);
        let nth = turn.checked_rem(eligible().count())?;
        eligible().nth(nth)
    }
}

/// Whether an endpoint with a growing share takes this one of its turns.
fn accepts(share: u32, entropy: u64, pass: usize) -> bool {
    below(u64::from(WHOLE), halves(mix(entropy, pass as u64)).0) < u64::from(share)
}

/// 2^64 divided by the golden ratio.
const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;

const fn gcd(mut a: u64, mut b: u64) -> u64 {
    while b != 0 {
        (a, b) = (b, a % b);
    }
    a
}

/// Each index as often as its weight says: once in each part, if the table is cut into as many
/// parts as it has times, always at the same point of the part. The points of the indexes are as
/// different as can be, so that rare ones do not meet.
fn table(weights: &[u64]) -> Box<[usize]> {
    let mut times: Vec<(u64, usize)> = Vec::new();
    for (index, weight) in weights.iter().enumerate() {
        let point = (index as u64 + 1).wrapping_mul(GOLDEN) >> 32;
        times.extend((0..*weight).map(|n| (((n << 32) + point) / weight, index)));
    }
    times.sort_unstable();
    times.into_iter().map(|(_, index)| index).collect()
}

fn sums(weights: &[u64]) -> Box<[u64]> {
    let mut sum = 0;
    let add = |weight: &u64| {
        sum += weight;
        sum
    };
    weights.iter().map(add).collect()
}
