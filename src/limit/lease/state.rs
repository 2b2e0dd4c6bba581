//! What a node holds of one counter, and what it should ask for.

use std::time::Duration;

use super::pace::Pace;
use super::{LATE, LIFE, RETURN};
use crate::clock::Tick;
use crate::limit::math::Reply;

/// For how long a key takes in advance, at its recent pace. Half of [`LIFE`], so that a pace
/// that falls to the half still spends everything.
const HORIZON: Duration = Duration::from_millis(500);

/// Fewer are not worth the trouble: the request that calls for them calls anyway.
const ADVANCE_MIN: u64 = 2;

/// A key that nobody asks for is forgotten after this time, its pace with it.
const IDLE: Duration = Duration::from_secs(2);

/// What a node holds of one counter. Pure: every method is told the time.
#[derive(Debug)]
pub(in crate::limit) struct Lease {
    /// Tokens to spend.
    held: u64,
    /// Those of them that were taken in the window `epoch_ms`; older ones are spent first.
    fresh: u64,
    /// Spent by requests that wait for another counter's word; if that refuses they come back.
    out: u64,
    /// What a call under way may bring, beyond the cost of its request.
    promised: u64,
    /// Whether an answer came since that call began, which may or may not know of it.
    overtaken: bool,
    /// Held, and not told: another answer may or may not know that they were taken. Never more is
    /// told than before (R058), so they are told as they are spent.
    hidden: u64,
    /// When somebody had asked last as tokens came: calls until then are under way beside that.
    granted_at: Tick,
    /// Given back, and perhaps not there yet.
    returning: u64,
    /// From then on what was given back has arrived, or never will.
    returned_at: Tick,
    /// From then on what is held may not be spent.
    expires: Tick,
    epoch_ms: u64,
    /// What Redis said last: what is left, until when, and when that was asked.
    remaining: u64,
    reset_at: Tick,
    told_at: Tick,
    /// What was held after the last call.
    batch: u64,
    /// The last call brought less than it asked for: the counter is nearly used up.
    scarce: bool,
    pace: Pace,
    touched: Tick,
}

/// What is no longer held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::limit) struct Surplus {
    /// To give back.
    pub(in crate::limit) back: u64,
    /// Not worth giving back: its window is over, or it is too late.
    pub(in crate::limit) burnt: u64,
    /// The window in which `back` was taken.
    pub(in crate::limit) epoch_ms: u64,
}

/// What a call for more has brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::limit) enum Fetched {
    /// All that was asked for.
    All,
    /// Less.
    Part,
    /// Nothing in advance.
    Nothing,
}

impl Lease {
    /// Of a key that is asked for now for the first time.
    pub(super) fn new(now: Tick) -> Self {
        Self {
            held: 0,
            fresh: 0,
            out: 0,
            promised: 0,
            overtaken: false,
            hidden: 0,
            granted_at: Tick::default(),
            returning: 0,
            returned_at: Tick::default(),
            expires: Tick::default(),
            epoch_ms: 0,
            remaining: 0,
            reset_at: Tick::default(),
            told_at: Tick::default(),
            batch: 0,
            scarce: false,
            pace: Pace::new(now),
            touched: now,
        }
    }

    /// Spends `cost`, if so much is held. Where it is not `firm` the request is not decided yet:
    /// [`keep`](Self::keep) or [`put_back`](Self::put_back) follows.
    pub(super) fn spend(&mut self, cost: u64, now: Tick, firm: bool) -> Option<Reply> {
        self.touched = self.touched.max(now);
        if now >= self.expires || self.held < cost {
            return None;
        }
        self.held -= cost;
        self.fresh = self.fresh.min(self.held);
        self.hidden = self.hidden.min(self.held);
        if !firm {
            self.out += cost;
        }
        self.pace.note(cost, now);
        Some(Reply {
            allowed: true,
            taken: cost,
            remaining: self.remaining.saturating_add(self.held - self.hidden),
            reset_ms: whole_ms(self.reset_at.since(now)),
            epoch_ms: self.epoch_ms,
        })
    }

    /// The request that spent `cost` without being decided has passed.
    pub(super) fn keep(&mut self, cost: u64) {
        self.out = self.out.saturating_sub(cost);
    }

    /// The request that spent `cost` without being decided has not passed.
    pub(super) fn put_back(&mut self, cost: u64) {
        let back = cost.min(self.out);
        self.out -= back;
        // Its window may have ended meanwhile, so it does not count as fresh.
        self.held += back;
    }

    /// Whether it is time to call for more: what is held lasts for no more than `lead`.
    pub(super) fn is_low(&self, lead: Duration) -> bool {
        let low = self.pace.expected(lead).max(self.batch / 4);
        self.promised == 0 && !self.scarce && self.held <= low
    }

    /// What to ask for beyond the `cost` of the request that calls (0 where none does), if this
    /// node may hold `most`: what the key spends in a short while, 0 where that is too little
    /// for a request of `least`. While the answer is awaited nobody else gets more than 0.
    ///
    /// Whatever is held has then been compared with the node's part, and lives on. Expired
    /// tokens must be taken away first ([`expire`](Self::expire)).
    pub(super) fn ask(&mut self, cost: u64, least: u64, now: Tick, most: u64) -> u64 {
        debug_assert!(self.held == 0 || now < self.expires);
        self.touched = self.touched.max(now);
        if cost > 0 {
            self.pace.note(cost, now);
        }
        let Some(room) = most.checked_sub(self.outstanding(now)) else { return 0 };
        if self.promised > 0 {
            return 0;
        }
        let wanted = self.pace.expected(HORIZON).saturating_sub(self.held).min(room);
        if wanted < ADVANCE_MIN.max(least) {
            return 0;
        }
        self.expires = self.expires.max(now.plus(LIFE));
        (self.promised, self.overtaken) = (wanted, false);
        wanted
    }

    /// The answer to a call that was made at `asked_at`; returns it with what is held added to
    /// what is left. Where that call asked for more, [`granted`](Self::granted) comes first, and
    /// it `brought` what is held.
    pub(super) fn told(&mut self, reply: Reply, asked_at: Tick, brought: bool) -> Reply {
        self.overtaken |= self.promised > 0;
        if !brought && asked_at <= self.granted_at {
            self.hidden = self.held;
        }
        if asked_at >= self.told_at {
            self.told_at = asked_at;
            self.remaining = reply.remaining;
            self.reset_at = asked_at.plus(Duration::from_millis(reply.reset_ms));
        }
        if !reply.allowed {
            return reply;
        }
        let told = reply.remaining.saturating_add(self.held - self.hidden);
        Reply { remaining: told, ..reply }
    }

    /// The call for more was answered.
    pub(super) fn granted(&mut self, cost: u64, reply: &Reply) -> Fetched {
        let promised = std::mem::take(&mut self.promised);
        let got = reply.taken.saturating_sub(cost).min(promised);
        // Nothing was taken because another counter refused: that says nothing of this one.
        let decided = reply.taken > 0 || cost == 0;
        if decided {
            self.scarce = got < promised;
        }
        if got == 0 {
            return Fetched::Nothing;
        }
        if reply.epoch_ms != self.epoch_ms {
            (self.epoch_ms, self.fresh) = (reply.epoch_ms, 0);
        }
        self.held += got;
        self.fresh += got;
        self.granted_at = self.touched;
        if self.overtaken {
            self.hidden += got;
        }
        self.batch = self.held;
        if got < promised { Fetched::Part } else { Fetched::All }
    }

    /// The call for more was not answered. What Redis may have taken for it is lost.
    pub(super) fn failed(&mut self) {
        self.promised = 0;
    }

    /// Takes away what has expired, or everything.
    pub(super) fn expire(&mut self, now: Tick, everything: bool) -> Option<Surplus> {
        if self.held == 0 || (now < self.expires && !everything) {
            return None;
        }
        let in_time = now < self.expires.plus(LATE);
        let back = if in_time { self.fresh } else { 0 };
        let surplus = Surplus { back, burnt: self.held - back, epoch_ms: self.epoch_ms };
        (self.held, self.fresh, self.hidden) = (0, 0, 0);
        if back > 0 {
            let earlier = if now < self.returned_at { self.returning } else { 0 };
            self.returning = earlier + back;
            self.returned_at = now.plus(RETURN);
        }
        Some(surplus)
    }

    /// Drops what is held; says how much that was.
    pub(super) fn forget(&mut self) -> u64 {
        (self.fresh, self.hidden) = (0, 0);
        std::mem::take(&mut self.held)
    }

    /// What counts towards the node's part: whatever was debited in advance and may yet be spent
    /// or credited.
    pub(super) fn outstanding(&self, now: Tick) -> u64 {
        let returning = if now < self.returned_at { self.returning } else { 0 };
        self.held + self.out + self.promised + returning
    }

    /// Whether a call for more is under way.
    #[cfg(test)]
    pub(super) const fn is_called_for(&self) -> bool {
        self.promised > 0
    }

    /// Tokens held, and until when they may be spent.
    pub(super) const fn held(&self) -> (u64, Tick) {
        (self.held, self.expires)
    }

    /// Whether forgetting it loses nothing.
    pub(super) fn is_idle(&self, now: Tick) -> bool {
        self.held == 0 && self.outstanding(now) == 0 && now.since(self.touched) >= IDLE
    }
}

/// Rounded up, so that nobody is told to come too early.
fn whole_ms(span: Duration) -> u64 {
    u64::try_from(span.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
