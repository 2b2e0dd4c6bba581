//! Telling the other nodes what was purged here, and learning what was purged there.
//!
//! Runs on the upkeep runtime; connections belong to it. Purges that were made here wait in a
//! queue and are told together. What may have been told without an answer is told again, under
//! the same name, and counts once.

use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::time::MissedTickBehavior;

use super::desk::{Done, Level, Purges};
use super::fleet::{Ask, Fleet, KEPT, READ_MAX, Reply};
use super::order::Order;
use super::table::{Numbered, fleet_us};
use crate::clock::Moment;
use crate::link::Failure;

/// Time between two readings of the log, whatever is heard.
const EVERY: Duration = Duration::from_millis(800);

/// News that come faster are read together.
const PAUSE: Duration = Duration::from_millis(10);

/// Purges told in one call.
const TOLD_MAX: usize = 200;

/// Readings between two looks for records that are too old.
const READINGS_PER_SWEEP: u32 = 100;

/// A process that has run for less than this when it first hears from the fleet knows that its
/// entries are younger than what happened before.
const YOUNG: Duration = Duration::from_mins(1);
/// One that has run for less than this has asked services for next to nothing: that the log begins
/// only now is taken to mean that it is new, not that one was lost.
const NEWBORN: Duration = Duration::from_secs(10);
/// By how much less of its age a process is sure: clocks do not run alike.
const CLOCK_PART: u32 = 1_000;

/// What is known of the log.
#[derive(Debug, Default)]
pub(super) struct Known {
    /// Its name; empty while it was never read.
    epoch: String,
    /// Up to which number it is known.
    after: u64,
    /// Purges up to this number are none that entries of this node could be from before.
    covered: u64,
    is_failing: bool,
}

impl Purges {
    /// Tells and learns purges for as long as it is polled.
    pub async fn run(&self, clock: impl Fn() -> Moment) {
        // Other settings may lead to the same log, which tells so itself.
        let mut known = Known::default();
        loop {
            let fleet = self.fleet.load_full();
            let fleet = fleet.as_deref();
            tokio::select! {
                () = self.adopted.notified() => {}
                () = self.keep(fleet, &mut known, &clock) => {}
                () = hear(fleet, || self.news.notify_one()) => {}
            }
        }
    }

    async fn keep(&self, fleet: Option<&Fleet>, known: &mut Known, clock: &impl Fn() -> Moment) {
        let mut interval = tokio::time::interval(EVERY);
        interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut readings = 0_u32;
        loop {
            tokio::select! {
                _ = interval.tick() => {}
                () = self.changed.notified() => {}
                () = self.news.notified() => tokio::time::sleep(PAUSE).await,
            }
            if let Some(fleet) = fleet {
                let outcome = self.exchange(fleet, known, clock).await;
                self.note(fleet, known, &outcome);
            }
            readings = readings.wrapping_add(1);
            if readings.is_multiple_of(READINGS_PER_SWEEP) {
                self.sweep(clock());
            }
        }
    }

    fn sweep(&self, now: Moment) {
        let age = u64::try_from(KEPT.as_millis()).unwrap_or(u64::MAX);
        let folded = self.table.expire(now.unix_ms.saturating_sub(age));
        self.meters.count(|figures| figures.folded.inc_by(folded as u64));
    }

    /// Notes how an exchange went: whether anything was new.
    fn note(&self, fleet: &Fleet, known: &mut Known, outcome: &Result<bool, Failure>) {
        self.level.send_if_modified(|level| {
            let now = if outcome.is_ok() { Level::Reached } else { Level::Behind };
            std::mem::replace(level, now) != now
        });
        let records = i64::try_from(self.table.records()).unwrap_or(i64::MAX);
        self.meters.count(|figures| {
            figures.records.set(records);
            match outcome {
                Ok(true) => figures.changed.inc(),
                Ok(false) => figures.unchanged.inc(),
                Err(_) => figures.failed.inc(),
            }
        });
        match (outcome, known.is_failing) {
            (Err(error), false) => tracing::warn!(
                %error,
                "purges cannot be shared; those made here are in force, and will be told"
            ),
            (Ok(_), true) => tracing::info!("purges are shared again"),
            _ => {}
        }
        known.is_failing = outcome.is_err();
        if outcome.is_err() {
            fleet.disconnect();
        }
    }

    /// Tells everything that waits and reads the log to its end; says whether anything was new.
    pub(super) async fn exchange(
        &self,
        fleet: &Fleet,
        known: &mut Known,
        clock: &impl Fn() -> Moment,
    ) -> Result<bool, Failure> {
        let mut is_new = false;
        loop {
            let (messages, upto) = self.queue.lock().messages(self.node, TOLD_MAX);
            let ask = Ask {
                epoch: &known.epoch,
                after: known.after,
                known: fleet_us(self.seen()),
                messages: &messages,
            };
            let reply = fleet.exchange(&ask).await?;
            is_new |= !reply.purges.is_empty();
            let is_level = self.learn(known, &reply, clock());
            if !messages.is_empty() {
                self.forget(upto);
                // Whoever does not hear it reads the log within a second.
                let told = fleet.tell().await.ok();
                let number = known.after;
                self.done.send_replace(Done { upto, number, told });
            }
            if is_level && self.queue.lock().is_empty() {
                return Ok(is_new);
            }
        }
    }

    /// Takes over what the log says; returns whether that was all of it.
    pub(super) fn learn(&self, known: &mut Known, reply: &Reply, now: Moment) -> bool {
        if known.epoch != reply.epoch {
            let is_from_begin = known.after == 0;
            self.meet(known, reply, now);
            if !is_from_begin {
                return false;
            }
        } else if (1..reply.floor).contains(&known.after) {
            tracing::warn!("the log of purges was read too late: entries will be confirmed");
            self.meters.count(|figures| figures.behind.inc());
            self.table.lose(reply.floor);
            known.after = reply.floor;
        }
        for (message, number) in &reply.purges {
            self.obey(known, message, *number, now);
        }
        let is_level = reply.purges.len() < READ_MAX;
        if is_level {
            known.after = known.after.max(reply.last);
            self.table.reach(reply.last);
        }
        is_level
    }

    fn obey(&self, known: &mut Known, message: &[u8], number: u64, now: Moment) {
        known.after = known.after.max(number);
        let at_ms = now.unix_ms;
        let Some(order) = Order::read(message) else {
            tracing::warn!("a purge of another version cannot be read: entries will be confirmed");
            self.meters.count(|figures| figures.unreadable.inc());
            self.table.lose(number);
            return;
        };
        let own = format!("{:016x}.", self.node);
        let folded = if message.starts_with(own.as_bytes()) {
            self.table.apply(&order, Numbered::Echo(number), at_ms).1
        } else if number <= known.covered {
            self.table.recall(&order, number, at_ms)
        } else {
            self.meters.count(|figures| figures.fleet.inc());
            self.table.apply(&order, Numbered::Fleet(number), at_ms).1
        };
        self.meters.count(|figures| figures.folded.inc_by(folded as u64));
    }

    /// A log that was never read before: the first, or another than before, because Redis lost
    /// its data or is another one.
    fn meet(&self, known: &mut Known, reply: &Reply, now: Moment) {
        *known = Known { epoch: reply.epoch.clone(), is_failing: known.is_failing, ..*known };
        known.after = 0;
        if self.has_begun.swap(true, Ordering::AcqRel) {
            tracing::warn!("the log of purges begins anew: entries will be confirmed");
            self.meters.count(|figures| figures.lost.inc());
            self.table.lose(reply.last);
            known.covered = reply.last;
            return;
        }
        let began = began(reply, now);
        // Nodes that have heard from the fleet for longer know what was purged before a log that
        // begins now. What was asked for since the start of this process may be among that, so
        // that the log is new is good enough for what this node keeps alone, not for others.
        self.table.vouch(began);
        known.covered = if is_newborn(now) { began.max(reply.floor) } else { began };
        let queue = self.queue.lock();
        self.table.begin(known.covered, reply.floor, queue.orders(), now.unix_ms);
    }
}

/// A moment by the fleet's clock before which this process asked no service for anything; 0 where
/// that is not known.
fn began(reply: &Reply, now: Moment) -> u64 {
    let age = Duration::from_nanos(now.tick.nanos());
    if age >= YOUNG {
        return 0;
    }
    let sure = age + age / CLOCK_PART + Duration::from_millis(1);
    reply.now.saturating_sub(u64::try_from(sure.as_micros()).unwrap_or(u64::MAX))
}

fn is_newborn(now: Moment) -> bool {
    Duration::from_nanos(now.tick.nanos()) < NEWBORN
}

async fn hear(fleet: Option<&Fleet>, on_news: impl Fn()) {
    match fleet {
        Some(fleet) => fleet.hear(on_news).await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests;
