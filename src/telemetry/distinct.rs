//! About how many different things were seen, in constant memory.

use std::sync::atomic::{AtomicU8, Ordering};

/// A `HyperLogLog` (Flajolet, Fusy, Gandouet and Meunier, 2007) over uniform 64-bit hashes: 1 KiB,
/// and a typical error of 3 %.
#[derive(Debug)]
pub struct Distinct {
    registers: Box<[AtomicU8]>,
}

/// Bits of a hash that choose a register.
const BITS: u32 = 10;

impl Default for Distinct {
    fn default() -> Self {
        Self { registers: (0..1_u32 << BITS).map(|_| AtomicU8::new(0)).collect() }
    }
}

impl Distinct {
    /// Counts a hash. Says whether the estimate has changed, which becomes rare.
    #[must_use]
    pub fn add(&self, hash: u64) -> bool {
        let place = usize::try_from(hash >> (64 - BITS)).unwrap_or_default();
        // The lowest bit set ends the run of zeros at the latest.
        let rest = (hash << BITS) | (1 << (BITS - 1));
        let rank = u8::try_from(rest.leading_zeros() + 1).unwrap_or(u8::MAX);
        let Some(register) = self.registers.get(place) else { return false };
        // Reading first keeps the cache line shared between threads.
        register.load(Ordering::Relaxed) < rank
            && register.fetch_max(rank, Ordering::Relaxed) < rank
    }

    /// How many different hashes were added.
    #[must_use]
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "an estimate, never negative and below 2^63"
    )]
    pub fn estimate(&self) -> u64 {
        let count = self.registers.len() as f64;
        let (mut sum, mut empty) = (0.0, 0_u32);
        for register in &self.registers {
            let rank = register.load(Ordering::Relaxed);
            sum += 2_f64.powi(-i32::from(rank));
            empty += u32::from(rank == 0);
        }
        let raw = (0.7213 / (1.0 + 1.079 / count)) * count * count / sum;
        // Few are counted by the registers still empty, which is closer.
        let estimate = if raw <= 2.5 * count && empty > 0 {
            count * (count / f64::from(empty)).ln()
        } else {
            raw
        };
        estimate.round() as u64
    }
}

#[cfg(test)]
mod tests {
    use sha2::{Digest, Sha256};

    use super::Distinct;

    fn hash(number: u64) -> u64 {
        let digest = Sha256::digest(number.to_be_bytes());
        u64::from_be_bytes(*digest.first_chunk().unwrap())
    }

    #[test]
    fn the_estimate_is_close_and_repetition_changes_nothing() {
        for count in [0, 1, 10, 500, 3_000, 100_000] {
            let distinct = Distinct::default();
            for number in 0..count {
                let _ = distinct.add(hash(number));
            }
            let estimate = distinct.estimate();
            assert!(estimate.abs_diff(count) * 10 <= count, "{estimate} for {count}");
            assert!((0..count).all(|number| !distinct.add(hash(number))));
            assert_eq!(distinct.estimate(), estimate);
        }
    }
}
