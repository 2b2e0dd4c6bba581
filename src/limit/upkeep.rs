//! What keeps limits in order beside the requests: heartbeats, and what is settled afterwards.
//!
//! Where they are answered, what was admitted without Redis is charged (`journal.rs`). Runs on
//! the upkeep runtime with connections of its own, and with more time than a request
//! has: nobody waits. Its calls do not touch the breaker of the requests.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::time::MissedTickBehavior;

use super::Limiter;
use super::fleet::BEAT;
use super::held::RENEWED_EVERY;
use super::settle::Due;
use super::shared::Shared;
use crate::clock::Moment;
use crate::link::Failure;

/// What became of what was due.
enum Settled {
    /// There was nothing.
    Nothing,
    /// It was settled, or came too late for that.
    All,
    /// Redis did not answer: it is dropped.
    Dropped,
}

/// What is settled in one go.
const BATCH: usize = 256;

/// Time between two looks at what is held in advance.
const SWEEP: Duration = Duration::from_millis(500);

/// Time limit of a call that no request waits for, at least.
pub(super) const PATIENCE: Duration = Duration::from_secs(1);

impl Limiter {
    /// Says that this node is alive and settles what is due, for as long as it is polled.
    pub async fn run(&self, clock: impl Fn() -> Moment) {
        self.watch.journal.keep();
        tokio::join!(
            self.keep_in_fleet(&clock),
            self.settle_all(&clock),
            self.sweep(&clock),
            self.hear_news(),
            self.renew_places(&clock)
        );
    }

    /// Begins the way out: nothing is held in advance any more, what is held goes back, and the
    /// others are told that this node is no longer one of them.
    pub fn retire(&self) {
        self.retired.store(true, Ordering::Release);
        self.changed.notify_one();
    }

    /// Whether that is done, as well as it could be.
    #[must_use]
    pub fn has_left(&self) -> bool {
        self.left.load(Ordering::Acquire)
    }

    fn is_retired(&self) -> bool {
        self.retired.load(Ordering::Acquire)
    }

    /// Sends heartbeats to the Redis of the configuration in force.
    async fn keep_in_fleet(&self, clock: &impl Fn() -> Moment) {
        let mut interval = tokio::time::interval(BEAT);
        interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut member: Option<Arc<Shared>> = None;
        loop {
            let shared = if self.is_retired() { None } else { self.shared.load_full() };
            let stays =
                |old: &Arc<Shared>| shared.as_ref().is_some_and(|new| Arc::ptr_eq(old, new));
            if let Some(old) = member.take().filter(|old| !stays(old)) {
                self.leave(&old, clock).await;
            }
            if shared.is_none() && self.is_retired() {
                self.left.store(true, Ordering::Release);
            }
            if let Some(shared) = &shared {
                self.beat(shared, clock).await;
            }
            member = shared;
            tokio::select! {
                _ = interval.tick() => {}
                () = self.changed.notified() => {}
            }
        }
    }

    /// Says that this node is alive. Where Redis answers, what was admitted without it is
    /// charged: not before, because a call that a Redis which hangs never answered is done when
    /// it goes on, and each further try would be as well.
    async fn beat(&self, shared: &Shared, clock: &impl Fn() -> Moment) {
        let sent = clock().tick;
        let beat = shared.fleet.beat(shared.background.link(), clock).await;
        self.note_upkeep(shared, &beat);
        self.metrics.limit_nodes.set(i64::from(shared.fleet.nodes()));
        if beat.is_err() {
            // What requests have been told already, or will be.
            if shared.breaker.open_left(sent).is_some() {
                self.watch.journal.begin_outage();
            }
        } else if self.charge_back(shared, clock).await {
            self.watch.journal.note_charged(sent);
        }
    }

    /// Charges what the journal holds; whether all of it has been.
    async fn charge_back(&self, shared: &Shared, clock: &impl Fn() -> Moment) -> bool {
        while !self.watch.journal.is_empty() {
            let now = self.local.unix(clock());
            let due = self.watch.journal.begin(BATCH, now);
            if due.is_empty() {
                break;
            }
            let charged = shared.background.settle(&due, now).await;
            self.note_upkeep(shared, &charged);
            let is_done = match &charged {
                Ok(()) => self.finish_charges(&due, true, now),
                Err(Failure::Refused(_) | Failure::Reply) => {
                    self.charge_singly(shared, &due, now).await
                }
                Err(_) => self.finish_charges(&due, false, now),
            };
            if !is_done {
                return false;
            }
        }
        true
    }

    /// Charges one by one, because a counter that Redis refuses to charge (of a type that is not
    /// ours) must not hold up the others. That one is given up.
    async fn charge_singly(&self, shared: &Shared, due: &[Due], now: Moment) -> bool {
        for (n, one) in due.chunks(1).enumerate() {
            match shared.background.settle(one, now).await {
                Ok(()) => {
                    self.finish_charges(one, true, now);
                }
                Err(Failure::Refused(_) | Failure::Reply) => {
                    self.watch.journal.finish(one, true, now);
                    self.metrics.limit_journal_dropped.inc();
                }
                Err(_) => {
                    return self.finish_charges(due.get(n..).unwrap_or_default(), false, now);
                }
            }
        }
        true
    }

    /// Notes what became of charges, and passes `charged` on.
    fn finish_charges(&self, due: &[Due], charged: bool, now: Moment) -> bool {
        if charged {
            let amount = |due: &Due| if let Due::Charge { amount, .. } = due { *amount } else { 0 };
            self.metrics.limit_charged_back.inc_by(due.iter().map(amount).sum());
        }
        for rest in self.watch.journal.finish(due, charged, now) {
            self.settle.put(rest);
        }
        charged
    }

    /// Leaves a fleet after everything that is held has gone back: until then the others must
    /// count this node. Where that cannot be, they find out that it is gone.
    pub(super) async fn leave(&self, shared: &Shared, clock: &impl Fn() -> Moment) {
        shared.fleet.close();
        shared.give_back_all(clock().tick);
        self.charge_back(shared, clock).await;
        loop {
            match self.settle_some(Some(shared), clock).await {
                Settled::All => {}
                Settled::Nothing => break,
                Settled::Dropped => return,
            }
        }
        let left = shared.fleet.leave(shared.background.link()).await;
        self.note_upkeep(shared, &left);
    }

    /// Gives back what is held in advance and was not spent in time.
    async fn sweep(&self, clock: &impl Fn() -> Moment) {
        let mut interval = tokio::time::interval(SWEEP);
        interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            interval.tick().await;
            self.give_back_expired(clock().tick);
        }
    }

    /// Holds places for longer whose requests go on.
    async fn renew_places(&self, clock: &impl Fn() -> Moment) {
        let mut interval = tokio::time::interval(RENEWED_EVERY);
        interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            interval.tick().await;
            let held = self.local.places.renewals();
            let Some(shared) = self.shared.load_full().filter(|_| !held.is_empty()) else {
                continue;
            };
            let held: Vec<_> = held.iter().map(|(take, call)| (take, *call)).collect();
            let renewed = shared.background.renew(&held, clock()).await;
            self.note_upkeep(&shared, &renewed);
        }
    }

    /// Settles what is due with the Redis of the configuration in force.
    async fn settle_all(&self, clock: &impl Fn() -> Moment) {
        loop {
            let shared = self.shared.load_full();
            if let Settled::Nothing = self.settle_some(shared.as_deref(), clock).await {
                self.settle.filled().await;
            }
        }
    }

    /// Settles some of what is due, and drops what cannot be settled.
    async fn settle_some(&self, shared: Option<&Shared>, clock: &impl Fn() -> Moment) -> Settled {
        let _turn = self.settle.turn.lock().await;
        let mut batch = self.settle.next(BATCH);
        if batch.is_empty() {
            return Settled::Nothing;
        }
        let (now, before) = (clock(), batch.len());
        let Some(shared) = shared else {
            self.settle.note_dropped(before);
            return Settled::Dropped;
        };
        batch.retain(|due| due.may_be_settled(shared.fleet.id(), now.tick));
        self.settle.note_dropped(before - batch.len());
        let settled = shared.background.settle(&batch, now).await;
        self.note_upkeep(shared, &settled);
        if settled.is_err() {
            self.settle.note_dropped(batch.len());
            return Settled::Dropped;
        }
        Settled::All
    }

    fn note_upkeep<T>(&self, shared: &Shared, result: &Result<T, Failure>) {
        let Err(failure) = result else { return };
        self.metrics.limit_upkeep_failures.inc();
        // A connection that only times out may be dead without a sign.
        if matches!(failure, Failure::Timeout) {
            shared.background.disconnect();
        }
    }
}
