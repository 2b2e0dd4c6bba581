//! What is kept of each request: when, whose counter, what it cost.
//!
//! Numbers are written with seven bits a byte, times as differences, into pieces of one size: a
//! few bytes a request, and no moment at which all of it is copied.

/// Bytes of a piece.
const PIECE: usize = 1 << 20;

/// Longest record: three numbers of at most ten bytes.
const RECORD_MAX: usize = 30;

/// Bytes of all requests of a limit.
const BYTES_MAX: usize = 512 << 20;

/// One request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Record {
    /// Milliseconds since the Unix epoch; never before the one of the record before.
    pub(super) at_ms: u64,
    /// Index of the key.
    pub(super) key: usize,
    /// What it cost.
    pub(super) cost: u64,
}

/// The requests of a limit, in the order of time.
#[derive(Debug, Default)]
pub(super) struct Spool {
    pieces: Vec<Vec<u8>>,
    last_ms: u64,
}

impl Spool {
    /// Keeps a request; false where there is no more room.
    pub(super) fn push(&mut self, record: Record) -> bool {
        let is_full = |piece: &Vec<u8>| piece.len() + RECORD_MAX > PIECE;
        if self.pieces.last().is_none_or(is_full) {
            if self.pieces.len() * PIECE >= BYTES_MAX {
                return false;
            }
            self.pieces.push(Vec::with_capacity(PIECE));
        }
        let Some(piece) = self.pieces.last_mut() else { return false };
        write(piece, record.at_ms.saturating_sub(self.last_ms));
        write(piece, record.key as u64);
        write(piece, record.cost);
        self.last_ms = self.last_ms.max(record.at_ms);
        true
    }

    /// All requests, from the first.
    pub(super) fn records(&self) -> impl Iterator<Item = Record> {
        let mut at_ms = 0;
        self.pieces.iter().flat_map(|piece| Reader(piece)).map(move |(step, key, cost)| {
            at_ms += step;
            Record { at_ms, key: usize::try_from(key).unwrap_or(usize::MAX), cost }
        })
    }
}

struct Reader<'a>(&'a [u8]);

impl Iterator for Reader<'_> {
    type Item = (u64, u64, u64);

    fn next(&mut self) -> Option<Self::Item> {
        Some((self.number()?, self.number()?, self.number()?))
    }
}

impl Reader<'_> {
    fn number(&mut self) -> Option<u64> {
        let (mut number, mut shift) = (0, 0);
        loop {
            let (byte, rest) = self.0.split_first()?;
            self.0 = rest;
            number |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Some(number);
            }
            shift += 7;
        }
    }
}

fn write(piece: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        piece.push(low_bits(number) | 0x80);
        number >>= 7;
    }
    piece.push(low_bits(number));
}

const fn low_bits(number: u64) -> u8 {
    number.to_le_bytes()[0] & 0x7f
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_kept_is_read_again() {
        let mut spool = Spool::default();
        let record = |n: u64| Record {
            at_ms: 1_790_000_000_000 + n * n,
            key: usize::try_from(n * 131).unwrap(),
            cost: if n.is_multiple_of(7) { u64::MAX >> 1 } else { 1 + n % 300 },
        };
        let records: Vec<Record> = (0..200_000).map(record).collect();
        assert!(records.iter().all(|record| spool.push(*record)));
        assert!(spool.pieces.len() > 1 && spool.pieces.iter().all(|piece| piece.len() <= PIECE));
        assert!(spool.records().eq(records));
    }
}
