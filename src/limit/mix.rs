//! Hashing of counter keys for the tables of this node.
//!
//! A counter key already is a cryptographic hash, so a table needs no second one; but everybody
//! can compute it, and a client that picks what its keys are made of could look for keys that
//! meet in one chain of a table whose hash it knows. So the 128 bits are mixed with two numbers
//! that each process draws for itself: the product of both halves, each hidden by one of them,
//! folded to 64 bits. Which keys meet depends on numbers that never leave the process, and no
//! answer tells how long a look-up took to the nanosecond that would betray them.

use std::hash::{BuildHasher, Hasher, RandomState};

/// Mixes keys with the numbers of one table.
#[derive(Clone, Copy, Debug)]
pub(super) struct Mix {
    secrets: [u64; 2],
}

impl Mix {
    /// New numbers, from the randomness of the operating system.
    pub(super) fn new() -> Self {
        let random = |n: u8| RandomState::new().hash_one(n);
        // Odd: no factor of two is lost in a product.
        Self { secrets: [random(0) | 1, random(1) | 1] }
    }
}

impl BuildHasher for Mix {
    type Hasher = Mixer;

    fn build_hasher(&self) -> Mixer {
        Mixer { secrets: self.secrets, hash: 0 }
    }
}

/// The hash of one key.
#[derive(Debug)]
pub(super) struct Mixer {
    secrets: [u64; 2],
    hash: u64,
}

impl Hasher for Mixer {
    fn write_u128(&mut self, value: u128) {
        let [low, high] = halves(value);
        self.write_u64(low);
        self.write_u64(high);
    }

    fn write_u64(&mut self, value: u64) {
        let [a, b] = self.secrets;
        self.hash = fold(value ^ a ^ self.hash, b);
    }

    fn write(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(8) {
            let word = chunk.iter().fold(0, |word, byte| (word << 8) | u64::from(*byte));
            self.write_u64(word);
        }
    }

    fn finish(&self) -> u64 {
        self.hash
    }
}

/// The whole product of two numbers, folded to its size.
fn fold(a: u64, b: u64) -> u64 {
    let [low, high] = halves(u128::from(a) * u128::from(b));
    low ^ high
}

#[expect(clippy::cast_possible_truncation, reason = "takes the halves apart")]
const fn halves(value: u128) -> [u64; 2] {
    [value as u64, (value >> 64) as u64]
}

#[cfg(test)]
mod tests {
    use super::super::CounterKey;
    use super::*;

    #[test]
    fn a_process_hashes_alike_and_two_do_not() {
        let (one, other) = (Mix::new(), Mix::new());
        let keys: Vec<_> = (0..1_000).map(CounterKey::numbered).collect();
        let meet = |key: &&CounterKey| one.hash_one(key) == other.hash_one(key);
        assert!(keys.iter().all(|key| one.hash_one(key) == one.hash_one(*key)));
        assert_eq!(keys.iter().filter(meet).count(), 0);
    }

    #[test]
    fn keys_that_differ_in_few_bits_spread_over_all_buckets() {
        // 65,536 keys in 1,024 buckets: 64 each, +-8. 8 standard deviations are 128.
        let mix = Mix::new();
        for shift in [0, 40, 64, 100] {
            for low in [0, 32, 54] {
                let mut buckets = vec![0_u32; 1_024];
                for n in 0..65_536_u128 {
                    let hash = mix.hash_one(CounterKey::numbered(n << shift));
                    buckets[usize::try_from((hash >> low) % 1_024).unwrap()] += 1;
                }
                let (least, most) = (buckets.iter().min(), buckets.iter().max());
                assert!(*most.unwrap() < 192, "{shift} {low}: {least:?} to {most:?}");
            }
        }
    }
}
