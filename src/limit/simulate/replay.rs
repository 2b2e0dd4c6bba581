//! Requests through counters, in the order of time.

use super::spool::Spool;
use crate::limit::math::{Counter, Numbers, State};

/// How many requests of each key were refused.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Refused {
    pub(super) by_key: Vec<u64>,
    pub(super) total: u64,
}

/// Replays requests. `numbers` says for each key what counts at a time in milliseconds since the
/// epoch; a key without is passed over.
pub(super) fn replay(
    spool: &Spool,
    keys: usize,
    numbers: impl Fn(usize, u64) -> Option<Numbers>,
) -> Refused {
    let mut states: Vec<Option<State>> = (0..keys).map(|_| None).collect();
    let mut refused = Refused { by_key: vec![0; keys], total: 0 };
    for record in spool.records() {
        let Some(numbers) = numbers(record.key, record.at_ms) else { continue };
        let (Some(state), Some(count)) =
            (states.get_mut(record.key), refused.by_key.get_mut(record.key))
        else {
            continue;
        };
        let now_us = record.at_ms.saturating_mul(1_000);
        let mut counter = Counter::open(numbers, state.take(), now_us);
        if counter.has_enough(record.cost) {
            counter.take(record.cost);
        } else {
            *count += 1;
            refused.total += 1;
        }
        *state = Some(counter.state());
    }
    refused
}
