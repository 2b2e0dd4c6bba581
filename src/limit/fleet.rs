//! The nodes that share the limits, as Redis knows them by their heartbeats.
//!
//! Every node says once a second that it is alive, and is told how many are. While Redis is
//! away the last number stays: it is what a node divides limits by. Both processes of a binary
//! upgrade are nodes until the old one has handed over. Tests: below, with a real Redis
//! `tests/e2e/outages.rs`.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;

use super::lease::HELD_MAX;
use crate::clock::{Moment, Tick};
use crate::link::{self, Failure};

/// Time between two heartbeats.
pub(super) const BEAT: Duration = Duration::from_secs(1);

/// How long a view of the fleet counts for lending. Two heartbeats and a half: one that is lost
/// harms nothing.
const FRESH: Duration = Duration::from_millis(2_500);

/// How long a node must have been known before it lends: by then whoever did not count it has
/// learnt of it, and has nothing left of what it took without.
const KNOWN: Duration = FRESH.saturating_add(HELD_MAX);

/// After so many milliseconds without a heartbeat a node is gone.
const GONE_MS: u64 = 15_000;

/// By how much more time Redis's clock may count between two heartbeats of a series than this
/// node's does. A clock that runs ahead by more has been set, and nodes may have been taken for
/// gone. In [`KNOWN`] a node makes seven heartbeats or eight, so what stays unnoticed in that
/// time adds up to less than [`GONE_MS`] - [`KNOWN`].
const AHEAD_MAX: Duration = Duration::from_secs(1);

/// The script.
const SCRIPT: &str = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/lua/heartbeat.lua"));

/// What this node knows of the others.
#[derive(Debug)]
pub(super) struct Fleet {
    /// What names this node among the others. Random: an address or a host's name need not be
    /// one's own.
    id: u64,
    /// Live nodes, this one included, as last seen.
    nodes: AtomicU32,
    /// Until when this node may lend, in milliseconds, and in the lower 16 bits the number of
    /// nodes: one word, so that the number and its age always belong together. 0: it may not.
    lends: AtomicU64,
    series: Mutex<Option<Series>>,
    left: AtomicBool,
}

/// Heartbeats between which this node was never unknown to Redis.
#[derive(Clone, Copy, Debug)]
struct Series {
    /// When the answer to the first one was there.
    began: Tick,
    /// When the last one that was answered was sent.
    sent: Tick,
    /// When Redis executed that one, by its own clock.
    stamp_ms: u64,
}

/// What Redis answers to a heartbeat.
#[derive(Clone, Copy, Debug)]
struct Answer {
    nodes: u32,
    now_ms: u64,
    /// When Redis had heard of this node before; none if it did not know it.
    last_ms: Option<u64>,
}

impl Fleet {
    /// As long as Redis has said nothing: so many nodes.
    pub(super) fn new(expected: u32) -> Self {
        Self {
            id: fastrand::u64(..),
            nodes: AtomicU32::new(expected.max(1)),
            lends: AtomicU64::new(0),
            series: Mutex::new(None),
            left: AtomicBool::new(false),
        }
    }

    /// What names this node among the others.
    pub(super) const fn id(&self) -> u64 {
        self.id
    }

    /// Live nodes, this one included, as last seen; at least 1. Stays while Redis is away.
    pub(super) fn nodes(&self) -> u32 {
        self.nodes.load(Ordering::Relaxed)
    }

    /// How many nodes may hold tokens in advance, if this one may: every other that does is
    /// among them. None while that is not sure. Whoever takes tokens, or keeps them for longer,
    /// compares all it holds with its part by *this* answer: a fleet that grows leaves each node
    /// less.
    ///
    /// **Claim.** If Y lends at a time t, and X lent at a time c and may still hold something of
    /// that at t, then X's number of nodes at c counts Y, and Y's at t counts X. Let `F` be
    /// [`FRESH`] and `H` be [`HELD_MAX`], after which nothing is held any more, so
    /// `c > t - H`; with `c = t` these are two that lend. Times are real, every node's monotonic
    /// clock runs like them, and Redis's clock is not set back and forth again within a few
    /// seconds.
    ///
    /// - Y lends at t by a heartbeat that it sent after t - F, so Redis executed it at
    ///   `y > t - F`. Likewise X by one that Redis executed at `x > c - F > t - F - H`.
    /// - When it sent that heartbeat, Y had been known to Redis without a gap for F + H: since
    ///   `b <= t - F - H`. The series proves it: only a node's own heartbeats add it, so had it
    ///   been removed between two of them, the later one would not have found what the earlier
    ///   one left. A heartbeat whose answer was lost leaves something else and ends the series
    ///   as well.
    /// - Y was in the set before x, since `b < x`, so X counts it if `x <= y`. X was in the set
    ///   at x, so Y counts it if `x <= y`, unless it was removed between the two. It was not by
    ///   leaving: a node leaves after what it held is back. Nor was the set lost: Y's series
    ///   would begin after x, so after t - F - H. Nor was it taken for gone: that takes more
    ///   than [`GONE_MS`] by Redis's clock, while y - x < F + H, so that clock was set ahead
    ///   between x and y; Y's first heartbeat after that sees it ([`AHEAD_MAX`]) and starts a
    ///   new series, after t - F - H again.
    /// - If `y < x`, Y counts X, which had been known for F + H before its heartbeat at x. And X
    ///   counts Y by the same three reasons with the names exchanged: its series would begin
    ///   after y, and then it had not been known for long enough at c.
    ///
    /// What the claim needs of Redis is one set. Two primaries that both answer (a network split
    /// before the old one notices) have two, and two of every counter: each side of the split is
    /// then a fleet of its own.
    pub(super) fn lenders(&self, now: Tick) -> Option<u32> {
        let lends = self.lends.load(Ordering::Acquire);
        let nodes = u32::try_from(lends & u64::from(u16::MAX)).ok()?;
        (now.millis() < lends >> u16::BITS && nodes > 0).then_some(nodes)
    }

    /// Tells Redis that this node is alive, and learns how many are.
    ///
    /// # Errors
    /// When there is no answer; the number of nodes stays.
    pub(super) async fn beat(
        &self,
        link: &link::Redis,
        clock: impl Fn() -> Moment,
    ) -> Result<(), Failure> {
        let mut command = redis::cmd("EVAL");
        command.arg(SCRIPT).arg(1).arg(key(link)).arg(self.member()).arg(GONE_MS);
        let sent = clock().tick;
        let (nodes, now_ms, last_ms): (u32, u64, i64) = link.query(&command).await?;
        let last_ms = u64::try_from(last_ms).ok();
        self.note(Answer { nodes, now_ms, last_ms }, sent, clock().tick);
        Ok(())
    }

    /// This node lends nothing any more.
    pub(super) fn close(&self) {
        // Under the lock, so that an answer under way cannot open it again.
        let _series = self.series.lock();
        self.left.store(true, Ordering::Relaxed);
        self.lends.store(0, Ordering::Release);
    }

    /// Leaves the fleet, so that the others need not wait until this node is gone.
    ///
    /// # Errors
    /// When there is no answer; then they wait.
    pub(super) async fn leave(&self, link: &link::Redis) -> Result<(), Failure> {
        self.close();
        let mut command = redis::cmd("ZREM");
        command.arg(key(link)).arg(self.member());
        link.query::<u64>(&command).await.map(drop)
    }

    fn member(&self) -> String {
        format!("{:016x}", self.id)
    }

    /// Notes the answer to a heartbeat.
    fn note(&self, answer: Answer, sent: Tick, received: Tick) {
        let mut series = self.series.lock();
        let unbroken = series.filter(|series| {
            answer.last_ms == Some(series.stamp_ms)
                && Duration::from_millis(answer.now_ms.saturating_sub(series.stamp_ms))
                    <= received.plus(AHEAD_MAX).since(series.sent)
        });
        let began = unbroken.map_or(received, |series| series.began);
        *series = Some(Series { began, sent, stamp_ms: answer.now_ms });
        let known = sent.since(began) >= KNOWN;
        // A set that was lost fills again only as each node comes round: until then the last
        // number is the better one, should Redis fail again.
        let nodes = if known { answer.nodes } else { answer.nodes.max(self.nodes()) };
        self.nodes.store(nodes.max(1), Ordering::Relaxed);
        let lends = known && !self.left.load(Ordering::Relaxed);
        let lends = match u16::try_from(nodes) {
            Ok(nodes) if lends => {
                (sent.plus(FRESH).millis() << u16::BITS) | u64::from(nodes.max(1))
            }
            _ => 0,
        };
        self.lends.store(lends, Ordering::Release);
    }
}

/// `PREFIX:limit:nodes`.
fn key(link: &link::Redis) -> String {
    format!("{}limit:nodes", link.prefix())
}

#[cfg(test)]
mod tests;
