//! A quick hash for tables that only the configuration fills.
//!
//! Clients choose what is looked up in them, never what is stored. A crafted name can therefore
//! only be a name that is not there, and costs as much as any other: the length of a probe is
//! set by the stored names. A keyed hash, three times as slow on names of this length, would
//! guard against nothing.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

/// A map by host names.
pub(super) type NameMap<V> = HashMap<Box<str>, V, BuildHasherDefault<NameHasher>>;

/// Eight bytes at a time, each folded in by a wide multiplication.
#[derive(Clone, Copy, Debug)]
pub(super) struct NameHasher(u64);

/// Odd, with bits set all over: the fractional part of the golden ratio.
const FACTOR: u64 = 0x9e37_79b9_7f4a_7c15;
const START: u64 = 0x2545_f491_4f6c_dd1d;

impl Default for NameHasher {
    fn default() -> Self {
        Self(START)
    }
}

impl NameHasher {
    fn fold(&mut self, word: u64) {
        let wide = u128::from(self.0 ^ word) * u128::from(FACTOR);
        let halves = wide ^ (wide >> 64);
        self.0 = u64::try_from(halves & u128::from(u64::MAX)).unwrap_or_default();
    }
}

impl Hasher for NameHasher {
    fn write(&mut self, bytes: &[u8]) {
        let (words, _) = bytes.as_chunks::<8>();
        for word in words {
            self.fold(u64::from_le_bytes(*word));
        }
        // The end again, where it is no whole word; the length tells such names apart.
        let end = bytes.last_chunk::<8>().copied().unwrap_or_else(|| {
            let mut short = [0; 8];
            short.iter_mut().zip(bytes).for_each(|(to, from)| *to = *from);
            short
        });
        self.fold(u64::from_le_bytes(end) ^ (bytes.len() as u64).rotate_right(8));
    }

    fn write_u8(&mut self, _: u8) {
        // What ends a text in a sequence of texts; a name stands alone.
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::hash::BuildHasher;

    use super::*;

    fn hash(name: &str) -> u64 {
        BuildHasherDefault::<NameHasher>::default().hash_one(name)
    }

    #[test]
    fn names_that_are_alike_have_hashes_that_are_not() {
        let names: Vec<String> = (0..50_000)
            .flat_map(|i| [format!("{i}"), format!("tenant-{i}.example.com"), format!("a{i}.x")])
            .chain((0..40).map(|length| "a".repeat(length)))
            .collect();
        let distinct: HashSet<u64> = names.iter().map(|name| hash(name)).collect();
        assert_eq!(distinct.len(), names.len());
        // Maps look at the lowest bits and at the highest seven: each value comes up about as
        // often as the others.
        for bits in [|hash: u64| hash & 0xff, |hash: u64| hash >> 57] {
            let mut counts = std::collections::HashMap::new();
            for name in &names {
                *counts.entry(bits(hash(name))).or_insert(0_usize) += 1;
            }
            let mean = names.len() / counts.len();
            assert!(counts.len() >= 128 && counts.values().all(|c| *c < mean * 2), "{counts:?}");
        }
    }

    #[test]
    fn every_byte_counts() {
        let name = "api.tenant-42.eu.example.com";
        for at in 0..name.len() {
            let mut other = name.as_bytes().to_vec();
            other[at] ^= 1;
            assert_ne!(hash(name), hash(std::str::from_utf8(&other).unwrap()), "byte {at}");
        }
    }
}
