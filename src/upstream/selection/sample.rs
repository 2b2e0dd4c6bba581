//! Endpoints at random, by weight.

use super::{Candidates, below, halves, mix};

/// Draws places with a probability in proportion to their weights, in two steps whatever their
/// number (Walker's alias method, with Vose's construction).
#[derive(Debug)]
pub(in crate::upstream) struct Sampler {
    columns: Box<[Column]>,
}

/// One of as many equal columns as there are endpoints: below the threshold it is the
/// endpoint's own, above it is lent to another.
#[derive(Debug)]
struct Column {
    place: usize,
    weight: u32,
    /// Out of 2^32.
    threshold: u64,
    /// Index of the column that takes the rest.
    lent_to: usize,
}

impl Sampler {
    /// A sampler of endpoints with these weights.
    pub(super) fn new(weights: &[u32]) -> Self {
        let some = weights.iter().copied().enumerate().filter(|(_, weight)| *weight > 0);
        let mut columns: Box<[Column]> = some
            .enumerate()
            .map(|(index, (place, weight))| Column {
                place,
                weight,
                threshold: ALL,
                lent_to: index,
            })
            .collect();
        lend(&mut columns);
        Self { columns }
    }

    /// A random place; never `but`.
    pub(super) fn sample(
        &self,
        entropy: u64,
        from: &impl Candidates,
        but: Option<usize>,
    ) -> Option<usize> {
        let share = |place: usize| if but == Some(place) { 0 } else { from.share(place) };
        let first = self.draw(mix(entropy, 1))?;
        let (accepted, rest) = halves(mix(entropy, 2));
        if below(u64::from(crate::upstream::health::WHOLE), accepted) < u64::from(share(first)) {
            return Some(first);
        }
        // Among the eligible, by what is left of their weights: exactly their proportion.
        let weights = || {
            let part = |column: &Column| u64::from(column.weight) * u64::from(share(column.place));
            self.columns.iter().map(move |column| (column.place, part(column)))
        };
        let total: u64 = weights().map(|(_, weight)| weight).sum();
        let mut left = u64::try_from((u128::from(total) * u128::from(rest)) >> 32).ok()?;
        for (place, weight) in weights() {
            if left < weight {
                return Some(place);
            }
            left -= weight;
        }
        None
    }

    /// The less busy of two random places, for their weights.
    pub(super) fn less_busy(&self, entropy: u64, from: &impl Candidates) -> Option<usize> {
        let one = self.sample(mix(entropy, 3), from, None)?;
        let Some(other) = self.sample(mix(entropy, 4), from, Some(one)) else {
            return Some(one);
        };
        let load = |place: usize| u64::from(from.in_flight(place));
        // Shares count too: one that grows slowly is busy sooner.
        let room = |place: usize| u64::from(self.weight(place)) * u64::from(from.share(place));
        let (busy, other_busy) = (load(one) * room(other), load(other) * room(one));
        Some(if busy <= other_busy { one } else { other })
    }

    fn draw(&self, random: u64) -> Option<usize> {
        let (high, low) = halves(random);
        let index = usize::try_from(below(self.columns.len() as u64, high)).ok()?;
        let column = self.columns.get(index)?;
        if u64::from(low) < column.threshold {
            return Some(column.place);
        }
        self.columns.get(column.lent_to).map(|lent| lent.place)
    }

    fn weight(&self, place: usize) -> u32 {
        let column = self.columns.binary_search_by_key(&place, |column| column.place);
        column.ok().and_then(|index| self.columns.get(index)).map_or(1, |column| column.weight)
    }
}

const ALL: u64 = 1 << 32;

/// Columns with less than their part lend the rest of it to those with more, whole numbers all
/// the way: `weight x columns` against the sum of weights.
fn lend(columns: &mut [Column]) {
    let count = columns.len() as u64;
    let sum: u64 = columns.iter().map(|column| u64::from(column.weight)).sum();
    let mut parts: Vec<u64> =
        columns.iter().map(|column| u64::from(column.weight) * count).collect();
    let (mut small, mut large): (Vec<usize>, Vec<usize>) =
        (0..columns.len()).partition(|index| parts.get(*index).is_some_and(|part| *part < sum));
    while let (Some(poor), Some(rich)) = (small.pop(), large.last().copied()) {
        let part = parts.get(poor).copied().unwrap_or(0);
        if let Some(column) = columns.get_mut(poor) {
            column.threshold =
                u64::try_from((u128::from(part) << 32) / u128::from(sum)).unwrap_or(ALL);
            column.lent_to = rich;
        }
        if let Some(left) = parts.get_mut(rich) {
            *left -= sum - part;
            if *left < sum {
                large.pop();
                small.push(rich);
            }
        }
    }
}
