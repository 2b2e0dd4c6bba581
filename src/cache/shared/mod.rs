//! Entries that nodes share, in Redis (R152).
//!
//! [`Tiered`] is the node's memory with Redis behind it. What memory lacks is asked of Redis,
//! within a few milliseconds; what is found goes into memory too. What was filled in memory is
//! written to Redis in the background. Whole answers are shared: status, header, instants, the
//! variant's place, what they can be purged by, body (T13).
//!
//! Redis is never trusted and never needed: whatever is late, missing, cut off, mixed up or not
//! ours counts as nothing there. A miss with a dead Redis costs the time limit a few times, then
//! nothing, for a breaker stands in front of it and its probes are made beside requests.
//!
//! Purging does not wait for Redis: entries carry their [`Note`](super::Note) with them and are
//! judged when they are used. Nor is Redis read before the node knows the purges it missed.
//!
//! Only one request of a node at a time asks Redis for a key, and fetches it from the service:
//! nodes do not wait for each other.

mod asking;
mod calls;
mod codec;
mod ledger;
mod meters;
mod name;
mod queue;
mod remote;
mod settings;
mod tier;

pub use ledger::Ledger;
pub use settings::check_store;
pub use tier::{FromShared, Tiered};

#[cfg(test)]
mod tests;
