//! Tokens that came once and found no place.
//!
//! A full cache would otherwise give up a token that may come again for one that may not: clients
//! that fetch a token for every request would empty it, and each of their tokens would be written
//! to memory that nobody has looked at for long. So the first time is only noted, and a token
//! that comes again has a claim to a place: the doorkeeper of `TinyLFU` (Einziger, Friedman and
//! Manes, 2017).

use std::sync::atomic::{AtomicU32, Ordering};

/// The first appearances of tokens that are not kept, one for each place; a later one takes the
/// place of an earlier one.
#[derive(Debug)]
pub(super) struct Newcomers {
    marks: Box<[AtomicU32]>,
}

impl Newcomers {
    /// Room for `places` first appearances.
    pub(super) fn new(places: usize) -> Self {
        Self { marks: (0..places).map(|_| AtomicU32::new(0)).collect() }
    }

    /// Whether a token of this hash came before, as far as is remembered; notes that it came.
    /// Two tokens may be taken for one another, by chance alone: the hash is a secret one. Then
    /// one has a place at its first time.
    pub(super) fn came_before(&self, hash: u64) -> bool {
        let [mark, place] = halves(hash);
        let index = (place as usize).checked_rem(self.marks.len());
        let Some(seen) = index.and_then(|index| self.marks.get(index)) else { return false };
        seen.load(Ordering::Relaxed) == mark || {
            seen.store(mark, Ordering::Relaxed);
            false
        }
    }
}

/// What is compared, which is never that of an empty place, and where.
fn halves(hash: u64) -> [u32; 2] {
    let [a, b, c, d, rest @ ..] = hash.to_le_bytes();
    [u32::from_le_bytes([a, b, c, d]).max(1), u32::from_le_bytes(rest)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_second_time_is_known() {
        let newcomers = Newcomers::new(64);
        for hash in [0, 1 << 33, u64::MAX, 0xdead_beef_cafe_0001] {
            assert!(!newcomers.came_before(hash), "{hash:x}");
            assert!(newcomers.came_before(hash), "{hash:x}");
        }
    }

    #[test]
    fn a_place_knows_the_latest() {
        let newcomers = Newcomers::new(1);
        assert!(!newcomers.came_before(7));
        assert!(!newcomers.came_before(8));
        assert!(!newcomers.came_before(7));
    }

    #[test]
    fn without_places_nobody_is_known() {
        let newcomers = Newcomers::new(0);
        assert!(!newcomers.came_before(7) && !newcomers.came_before(7));
    }
}
