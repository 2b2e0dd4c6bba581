//! How much a caller may ask for.
//!
//! [`plan()`] says what to take from which counter; it is pure. [`Limiter`] takes it: from Redis
//! in one atomic script, or, while Redis cannot be asked, from this node's own counters. The
//! sums of both are in [`math`], and `tests/lua.rs` holds the script against them. Nothing here
//! knows routes, phases or responses; times are arguments.

pub mod fair;
pub mod math;
pub mod script;
pub mod simulate;

mod calendar;
mod imagined;
mod key;
mod named;
mod plan;
mod rule;

mod desk;
mod fleet;
mod held;
mod journal;
mod known;
mod lease;
mod local;
mod mix;
mod news;
mod overflow;
mod redis;
mod settle;
mod sharded;
mod unix;
mod upkeep;

mod afterwards;
mod answer;
mod degrade;
mod describe;
mod headers;
mod limiter;
mod outcome;
mod pending;
mod shared;

pub use afterwards::{Owed, Receipt};
pub use desk::{Reset, Stand, Stands};
pub use held::{HOLD_MS, Held, PLACE_WAIT_MS, RENEWED_EVERY};
pub use imagined::Imagined;
pub use key::CounterKey;
pub use limiter::{Limiter, RedisReport, Report};
pub use named::{Unnamed, by_key, by_parts};
pub use outcome::{Decision, Outcome, Quota};
pub use plan::{Applied, Take, Takes, plan};
pub use rule::{LimitRule, Tier};

#[cfg(test)]
mod testing;
