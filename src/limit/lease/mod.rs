//! Tokens that this node took from a shared counter in advance and spends by itself (C4).
//!
//! A token is debited in Redis before anybody may spend it, so the only admissions that a counter
//! does not see when they happen are those of tokens held; and all nodes together hold at most
//! `Tier::lease` of them. `docs/limits.md` proves it, and a simulation of
//! several nodes (`tests/`) tries to refute it.
//!
//! `Lease` is the state of one key and [`Leases`] keeps many; both are told the time, know no
//! Redis, and decide the same from the same calls. `limit::shared` drives them.

mod pace;
mod state;
mod table;

pub(super) use table::Leases;

use std::time::Duration;

/// For how long tokens may be spent after the node last compared what it holds with its part.
/// Long against a round trip and the time in which a busy key spends what it took; short against
/// every window, because what expires unspent was denied to others for so long.
pub(super) const LIFE: Duration = Duration::from_secs(1);

/// Tokens that expired longer ago are not given back: a node that was frozen must not return
/// what a bucket has long got back by itself.
pub(super) const LATE: Duration = Duration::from_secs(1);

/// For how long what is given back may be on its way; it counts as held until then, and later
/// it must not be given back any more.
pub(super) const RETURN: Duration = Duration::from_secs(2);

/// The longest time from when a node compared what it holds with its part of the fleet's, to
/// when the last of that is spent or back: a node may take in advance only when every other
/// has known of it for so long.
pub(super) const HELD_MAX: Duration = LIFE.saturating_add(LATE).saturating_add(RETURN);

#[cfg(test)]
mod tests;
