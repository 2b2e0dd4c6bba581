//! What the shared store must know of purges.

use std::time::Duration;

use async_trait::async_trait;

use crate::cache::Purges;

/// What is known of purges. Entries in Redis are judged by their notes, which tell the last purge
/// known when the answer was asked for, by a number that all nodes understand.
///
/// Redis is read only while the log of purges is known to its end. So it does no harm to read it
/// as soon as the process has begun: the log tells all purges that entries in Redis may be from
/// before, and entries from before the log itself are confirmed by their service. A Redis that
/// lost its data lost the entries with the log.
#[async_trait]
pub trait Ledger: Send + Sync {
    /// Whether this node knows every purge that entries in Redis may have to obey. At the very
    /// start, waits for the first reading of the log, but for `patience` at most.
    async fn catches_up(&self, patience: Duration) -> bool;

    /// Waits until it does, but for `patience` at most: for work beside requests.
    async fn reaches(&self, patience: Duration);

    /// What [`Note::seen`](crate::cache::Note::seen) is to other nodes; none where it says nothing
    /// to them, and the entry must not be shared.
    fn export(&self, seen: u64) -> Option<u64>;

    /// What an exported number is on this node.
    fn import(&self, seen: u64) -> u64;
}

#[async_trait]
impl Ledger for Purges {
    async fn catches_up(&self, patience: Duration) -> bool {
        Self::catches_up(self, patience).await
    }

    async fn reaches(&self, patience: Duration) {
        Self::reaches(self, patience).await;
    }

    fn export(&self, seen: u64) -> Option<u64> {
        Self::export(self, seen)
    }

    fn import(&self, seen: u64) -> u64 {
        Self::import(self, seen)
    }
}
