//! How much a caller may ask for.
//!
//! [`plan()`] says what to take from which counter; it is pure. [`Limiter`] takes it: from Redis
//! in one atomic script, or, while Redis cannot be asked, from this node's own counters. The
//! sums of both are in [`math`], and `tests/lua.rs` holds the script against them. Nothing here
//! knows routes, phases or responses; times are arguments.

pub mod math;
pub mod script;

mod key;
mod plan;
mod rule;

mod known;
mod local;
mod overflow;
mod redis;
mod sharded;

mod describe;
mod headers;
mod limiter;
mod outcome;

pub use limiter::Limiter;
pub use outcome::{Decision, Outcome, Quota};
pub use plan::{Take, Takes, plan};
pub use rule::LimitRule;

#[cfg(test)]
mod testing;
