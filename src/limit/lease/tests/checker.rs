//! What must hold after every step, for every key.
//!
//! A request that was called for counts as admitted when Redis took its cost, one that was paid
//! for in advance when a token was taken for it: that is the instant at which it is decided,
//! whatever comes after. Held are tokens that were debited in advance and may still be spent or
//! credited: on a node, in a reply on its way, in a give-back on its way.

use super::redis::Kind;

/// The ledger of one key.
pub(super) struct Ledger {
    pub(super) kind: Kind,
    pub(super) limit: u64,
    /// The most that all nodes may hold.
    pub(super) bound: u64,
    /// Tokens a second, for buckets.
    pub(super) refill: u64,
    pub(super) window_us: u64,
    pub(super) admitted: i64,
    /// Taken by Redis, less what was given back.
    pub(super) debited: i64,
    /// Debited in writes that a failover lost.
    pub(super) forgotten: i64,
    /// In replies and give-backs on their way.
    pub(super) on_its_way: i64,
    /// The least of `admitted - debited + held` so far.
    interval: i64,
    /// The least of `admitted - refill * time` so far, in millionths.
    line: i64,
    window: u64,
    in_window: i64,
}

impl Ledger {
    pub(super) fn new(kind: Kind, limit: u64, bound: u64, refill: u64, window_us: u64) -> Self {
        Self {
            kind,
            limit,
            bound,
            refill,
            window_us,
            admitted: 0,
            debited: 0,
            forgotten: 0,
            on_its_way: 0,
            interval: 0,
            line: i64::MAX,
            window: 0,
            in_window: 0,
        }
    }

    /// Counts an admission at this time, or takes one back that was counted then.
    pub(super) fn admit(&mut self, cost: i64, at: u64, now: u64) {
        self.turn(now);
        self.admitted += cost;
        if at / self.window_us == self.window {
            self.in_window += cost;
        }
    }

    fn turn(&mut self, now: u64) {
        if now / self.window_us != self.window {
            (self.window, self.in_window) = (now / self.window_us, 0);
        }
    }

    /// Holds the key against the theorem; `on_nodes` is what nodes hold.
    pub(super) fn check(&mut self, on_nodes: i64, now: u64) -> Result<(), String> {
        self.turn(now);
        let held = on_nodes + self.on_its_way;
        let (limit, bound) = (self.limit as i64, self.bound as i64);
        if held > bound {
            return Err(format!("{:?}: {held} held, at most {bound}", self.kind));
        }
        // In every interval: admitted <= debited + held at its beginning.
        self.interval = self.interval.min(self.admitted - self.debited + held);
        if self.admitted - self.debited > self.interval {
            let over = self.admitted - self.debited - self.interval;
            return Err(format!("{:?}: {over} admitted that nobody was charged for", self.kind));
        }
        match self.kind {
            Kind::Bucket => {
                // In every interval: admitted <= capacity + refill * length + bound.
                let at = self.admitted * 1_000_000 - (self.refill * now) as i64;
                self.line = self.line.min(at);
                let most = (limit + bound + self.forgotten) * 1_000_000;
                if at - self.line > most {
                    let over = (at - self.line - most) / 1_000_000;
                    return Err(format!("{:?}: {over} more than the bound", self.kind));
                }
            }
            Kind::Sliding | Kind::Fixed => {
                let most = limit + bound + self.forgotten;
                if self.in_window > most {
                    let count = self.in_window;
                    return Err(format!("{:?}: {count} in a window, at most {most}", self.kind));
                }
            }
        }
        Ok(())
    }
}
