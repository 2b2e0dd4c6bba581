//! Where purges are made, and asked about.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use parking_lot::Mutex;
use tokio::sync::{Notify, watch};

use super::super::Note;
use super::fleet::Fleet;
use super::meters::Meters;
use super::order::Order;
use super::queue::Queue;
use super::table::{Numbered, Table, Verdict, fleet, fleet_us};
use crate::clock::Moment;
use crate::link;
use crate::telemetry::Metrics;

/// Tags with a record: of more, and of those whose last purge is older than entries grow, the
/// oldest are folded. About 20 MiB when full.
const RECORDS_MAX: usize = 262_144;

/// How long somebody who purges waits until all nodes have been told.
const PATIENCE: Duration = Duration::from_secs(2);

/// Every purge that entries may still have to obey, and the way to the other nodes.
#[derive(Debug)]
pub struct Purges {
    pub(super) table: Table,
    pub(super) queue: Mutex<Queue>,
    pub(super) waiting: AtomicUsize,
    pub(super) fleet: ArcSwapOption<Fleet>,
    /// How the last reading of the log went.
    pub(super) level: watch::Sender<Level>,
    /// Whether this process has ever heard from a fleet.
    pub(super) has_begun: AtomicBool,
    /// Names this process in the log.
    pub(super) node: u64,
    /// Wakes the upkeep: another Redis, a purge made here, news to read.
    pub(super) adopted: Notify,
    pub(super) changed: Notify,
    pub(super) news: Notify,
    pub(super) done: watch::Sender<Done>,
    pub(super) meters: Meters,
}

/// What is known of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Level {
    /// Nothing: it is being read for the first time.
    Starting,
    /// It was read to its end.
    Reached,
    /// The last reading failed.
    Behind,
}

/// Who makes a purge.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum By {
    /// An operator.
    Operator,
    /// The answer to a request with an unsafe method.
    Answer,
    /// The leak guard, of an answer that callers must not share.
    Guard,
}

/// A purge that is in force on this node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Made {
    /// Its number on this node.
    pub number: u64,
    /// Its place among the purges of this node that others are to be told.
    place: u64,
}

/// What became of a purge.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Told {
    /// Its number among all nodes, or on this one where there is no Redis: microseconds since
    /// the epoch, more or less. None while Redis has not given it one.
    pub number: Option<u64>,
    /// Nodes that heard of it at once, this one included; none where nobody could be told.
    pub told: Option<u64>,
    /// Whether other nodes are yet to be told, because Redis does not answer.
    pub pending: bool,
}

/// How the purges of this node stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PurgeReport {
    /// Tags whose last purge is known.
    pub records: usize,
    /// Number of the last purge that is known, in microseconds since the epoch, more or less.
    pub last: u64,
    /// Purges of this node that the others have not been told.
    pub pending: usize,
    /// Whether nodes share their purges.
    pub shared: bool,
    /// Whether this node knows all purges that the others had told a second ago.
    pub caught_up: bool,
}

/// How far telling the others has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Done {
    /// Places below this have been told.
    pub(super) upto: u64,
    pub(super) number: u64,
    pub(super) told: Option<u64>,
}

impl Default for Purges {
    /// Purges of one node that nobody counts.
    fn default() -> Self {
        Self::with(Meters::default(), RECORDS_MAX)
    }
}

impl Purges {
    /// No purge yet; figures are shown in `metrics`.
    #[must_use]
    pub fn new(metrics: &Metrics) -> Self {
        Self::with(Meters::new(metrics), RECORDS_MAX)
    }

    pub(super) fn with(meters: Meters, records: usize) -> Self {
        Self {
            table: Table::new(records),
            queue: Mutex::default(),
            waiting: AtomicUsize::new(0),
            fleet: ArcSwapOption::empty(),
            level: watch::Sender::new(Level::Starting),
            has_begun: AtomicBool::new(false),
            node: fastrand::u64(..),
            adopted: Notify::new(),
            changed: Notify::new(),
            news: Notify::new(),
            done: watch::Sender::default(),
            meters,
        }
    }

    /// The Redis by which nodes share their purges from now on; none for a node alone.
    pub fn configure(&self, redis: Option<&link::Settings>) {
        let current = self.fleet.load_full();
        let is_same = match (redis, &current) {
            (Some(settings), Some(fleet)) => fleet.is_of(settings),
            (None, None) => true,
            _ => false,
        };
        if is_same {
            return;
        }
        let mut queue = self.queue.lock();
        if redis.is_none() {
            queue.clear();
            self.note_waiting(&queue);
        }
        let new = |settings| Arc::new(Fleet::new(settings, self.meters.link.clone()));
        self.level.send_replace(Level::Starting);
        self.fleet.store(redis.map(new));
        drop(queue);
        self.adopted.notify_one();
    }

    /// The number of the last purge that this node knows, for the note of an answer that is about
    /// to be asked for. To be read before the request is sent to the service.
    #[must_use]
    pub fn seen(&self) -> u64 {
        self.table.seen()
    }

    /// What the purges say of an entry. Costs one look at a number while no purge has come since
    /// this was last asked of the entry.
    #[must_use]
    pub fn judge(&self, note: &Note) -> Verdict {
        let verdict = self.table.judge(note);
        if verdict != Verdict::Keep {
            self.meters.count(|figures| match verdict {
                Verdict::Gone => figures.gone.inc(),
                Verdict::Stale(_) => figures.stale.inc(),
                Verdict::Confirm => figures.confirm.inc(),
                Verdict::Keep => {}
            });
        }
        verdict
    }

    /// The same for those who only look: counts nothing.
    #[must_use]
    pub fn look(&self, note: &Note) -> Verdict {
        self.table.judge(note)
    }

    /// Puts purges in force on this node, and has the others told. Waits for nothing; costs the
    /// same however many entries carry the tags. None where there is no order.
    pub fn order(
        &self,
        orders: impl IntoIterator<Item = Order>,
        by: By,
        now: Moment,
    ) -> Option<Made> {
        let mut made = None;
        // One lock for both, so that whoever gives waiting purges other numbers finds this one.
        let mut queue = self.queue.lock();
        let is_shared = self.fleet.load().is_some();
        let us = now.unix_ms.saturating_mul(1_000);
        let how = if is_shared { Numbered::Next } else { Numbered::Fleet(us) };
        for order in orders {
            let (number, folded) = self.table.apply(&order, how, now.unix_ms);
            let overflows = is_shared && queue.push(order);
            if overflows {
                tracing::error!(
                    "too many purges wait for Redis: when it is back, others purge everything"
                );
            }
            self.meters.count(|figures| {
                match by {
                    By::Operator => figures.operator.inc(),
                    By::Answer => figures.answer.inc(),
                    By::Guard => figures.guard.inc(),
                }
                figures.folded.inc_by(folded as u64);
                figures.overflow.inc_by(u64::from(overflows));
            });
            made = Some(Made { number, place: queue.end() });
        }
        self.note_waiting(&queue);
        drop(queue);
        if is_shared {
            self.changed.notify_one();
        }
        made
    }

    /// Purges before this place have been told.
    pub(super) fn forget(&self, upto: u64) {
        let mut queue = self.queue.lock();
        queue.told(upto);
        self.note_waiting(&queue);
    }

    pub(super) fn note_waiting(&self, queue: &Queue) {
        let count = queue.len();
        self.waiting.store(count, Ordering::Release);
        self.meters.count(|figures| {
            figures.pending.set(i64::try_from(count).unwrap_or(i64::MAX));
        });
    }

    /// Waits until the others have been told of a purge, but not for long.
    pub async fn told(&self, made: Made) -> Told {
        if self.fleet.load().is_none() {
            let number = Some(fleet_us(made.number));
            return Told { number, told: None, pending: false };
        }
        let mut done = self.done.subscribe();
        let settled = done.wait_for(|done| done.upto >= made.place);
        match tokio::time::timeout(PATIENCE, settled).await {
            Ok(Ok(done)) => Told { number: Some(done.number), told: done.told, pending: false },
            _ => Told { number: None, told: None, pending: true },
        }
    }

    /// Whether this node knows every purge that others had told a second ago. Entries that others
    /// have shared must not be used before.
    #[must_use]
    pub fn is_caught_up(&self) -> bool {
        self.fleet.load().is_none() || *self.level.borrow() == Level::Reached
    }

    /// The same; while nobody knows yet because the first reading of the log is under way, which
    /// takes milliseconds after the start, waits for its end, but not for longer than `patience`.
    pub async fn catches_up(&self, patience: Duration) -> bool {
        if !self.is_caught_up() && *self.level.borrow() == Level::Starting {
            let mut level = self.level.subscribe();
            let known = level.wait_for(|level| *level != Level::Starting);
            // In time or not: what counts is what is known now.
            let _ = tokio::time::timeout(patience, known).await;
        }
        self.is_caught_up()
    }

    /// Waits until the log has been read to its end, however it stands, but for `patience` at most.
    pub async fn reaches(&self, patience: Duration) {
        if !self.is_caught_up() {
            let mut level = self.level.subscribe();
            let reached = level.wait_for(|level| *level == Level::Reached);
            let _ = tokio::time::timeout(patience, reached).await;
        }
    }

    /// What [`Note::seen`] is to other nodes, for an entry that is shared with them; none where
    /// that says nothing to them, and the entry must not be shared.
    ///
    /// What was asked for before this node had ever heard from the fleet is as old as the process
    /// itself to others: every purge since then is against it. Where the log begins later, because
    /// Redis was new or lost its data, purges from before may be unknown: others confirm it.
    #[must_use]
    pub fn export(&self, seen: u64) -> Option<u64> {
        self.table.export(seen)
    }

    /// What [`Note::seen`] of an entry that another node has [exported](Self::export) is here.
    #[must_use]
    pub fn import(&self, us: u64) -> u64 {
        if self.waiting.load(Ordering::Acquire) == 0 {
            return fleet(us);
        }
        // Nobody else knows of a purge that waits here: every shared entry is from before it.
        fleet(us.min(fleet_us(self.seen())))
    }

    /// How the purges of this node stand.
    #[must_use]
    pub fn report(&self) -> PurgeReport {
        PurgeReport {
            records: self.table.records(),
            last: fleet_us(self.seen()),
            pending: self.waiting.load(Ordering::Acquire),
            shared: self.fleet.load().is_some(),
            caught_up: self.is_caught_up(),
        }
    }
}
