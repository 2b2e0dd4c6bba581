//! The limiter against a real `redis-server`, started by each test.
//!
//! Three circles: the scripts against the sums of `limit::math`, step by step over random
//! schedules with a given clock; many callers at once; and the limiter end to end while Redis
//! stops, stalls, forgets its scripts and comes back. Seeds are printed; `TIDEGATE_SEED` replays
//! one.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "this is a test, support included: whatever is missing or wrong fails it"
)]

mod contract;
mod limiter;
mod many;
mod schedules;
mod support;
