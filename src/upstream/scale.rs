//! A logarithmic scale of times: four steps to each doubling, so that a percentile read from it is
//! at most a quarter too high.

use std::time::Duration;

/// Steps to each doubling, as a power of two.
const STEP_BITS: u32 = 2;

/// Steps in all: up to 2^25 microseconds, which is longer than any timeout (R177).
pub(super) const STEPS: usize = 25 << STEP_BITS;

/// The step that a time falls into.
pub(super) fn step(took: Duration) -> usize {
    let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX).max(1 << STEP_BITS);
    let doublings = micros.ilog2();
    let within = (micros >> (doublings - STEP_BITS)) & ((1 << STEP_BITS) - 1);
    let index = u64::from((doublings - STEP_BITS) << STEP_BITS) + within;
    usize::try_from(index).unwrap_or(usize::MAX).min(STEPS - 1)
}

/// The longest time of a step.
pub(super) fn longest(step: usize) -> Duration {
    let (doublings, within) = (step >> STEP_BITS, step % (1 << STEP_BITS));
    Duration::from_micros(((1 << STEP_BITS) as u64 + within as u64 + 1) << doublings)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_holds_what_it_says() {
        for micros in (1..5000).chain([30_000_000, 33_000_000]) {
            let took = Duration::from_micros(micros);
            let longest = longest(step(took));
            assert!(took <= longest, "{took:?} {longest:?}");
            assert!(micros < 8 || longest <= took.mul_f64(1.26), "{took:?} {longest:?}");
        }
        assert_eq!(step(Duration::MAX), STEPS - 1);
        assert_eq!(step(Duration::ZERO), 0);
    }
}
