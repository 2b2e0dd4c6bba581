//! The answers of one window, without a lock.

use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::time::Duration;

use crate::upstream::scale::{STEPS, longest, step};

/// Answers since the last look, by how long they took, and signs of overload.
#[derive(Debug)]
pub(super) struct Samples {
    counts: [AtomicU32; STEPS],
    answers: AtomicU32,
    overloads: AtomicU32,
}

impl Default for Samples {
    fn default() -> Self {
        Self {
            counts: [const { AtomicU32::new(0) }; STEPS],
            answers: AtomicU32::new(0),
            overloads: AtomicU32::new(0),
        }
    }
}

impl Samples {
    /// Adds an answer.
    pub(super) fn add(&self, took: Duration) {
        if let Some(count) = self.counts.get(step(took)) {
            count.fetch_add(1, Relaxed);
            self.answers.fetch_add(1, Relaxed);
        }
    }

    /// Adds a sign of overload.
    pub(super) fn add_overload(&self) {
        self.overloads.fetch_add(1, Relaxed);
    }

    /// Answers and signs of overload together.
    pub(super) fn total(&self) -> u32 {
        self.answers.load(Relaxed).saturating_add(self.overloads.load(Relaxed))
    }

    /// The median of the answers, where there are any, their number, and the signs of overload;
    /// all of them are forgotten. What is added meanwhile counts now or the next time.
    pub(super) fn take(&self) -> (Option<Duration>, u32, u32) {
        let mut counts = [0_u32; STEPS];
        for (count, taken) in self.counts.iter().zip(&mut counts) {
            *taken = count.swap(0, Relaxed);
        }
        self.answers.store(0, Relaxed);
        let answers = counts.iter().sum();
        (median(&counts), answers, self.overloads.swap(0, Relaxed))
    }
}

/// The median, as if the answers of a step were spread evenly over it: otherwise a ratio of two
/// medians would be known to a quarter only.
fn median(counts: &[u32; STEPS]) -> Option<Duration> {
    let total: u32 = counts.iter().sum();
    let rank = f64::from(total) / 2.0;
    let mut below = 0.0;
    for (index, count) in counts.iter().enumerate().filter(|(_, count)| **count > 0) {
        let count = f64::from(*count);
        if below + count >= rank {
            let floor = index.checked_sub(1).map_or(Duration::ZERO, longest);
            let width = longest(index).saturating_sub(floor);
            return Some(floor + width.mul_f64((rank - below) / count));
        }
        below += count;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn the_median_is_nearer_than_a_step() {
        let samples = Samples::default();
        (1..=1000).for_each(|n| samples.add(Duration::from_micros(100 * n)));
        assert_eq!(samples.total(), 1000);
        let (median, answers, overloads) = samples.take();
        let median = median.unwrap();
        assert!(median > ms(48) && median < ms(52), "{median:?}");
        assert_eq!((answers, overloads), (1000, 0));
    }

    #[test]
    fn what_was_taken_is_forgotten() {
        let samples = Samples::default();
        samples.add(ms(1));
        samples.add_overload();
        samples.add_overload();
        assert_eq!(samples.total(), 3);
        let (median, answers, overloads) = samples.take();
        assert!(median.is_some_and(|median| median < ms(2)));
        assert_eq!((answers, overloads), (1, 2));
        assert_eq!(samples.take(), (None, 0, 0));
    }

    #[test]
    fn threads_lose_nothing() {
        let samples = Samples::default();
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| (0..1000).for_each(|_| samples.add(ms(3))));
            }
        });
        assert_eq!(samples.take().1, 4000);
    }
}
