//! Counters in Redis: each call within one time limit.
//!
//! What a slow Redis still does with a call that was given up counts there, and so does a script
//! that had run when its connection broke: the error is towards fewer admissions.
//!
//! In a Redis Cluster one call reaches the keys of one hash slot. Counters of a request whose
//! keys have different tags are taken from group by group then: see [`groups`].

mod groups;
mod scripts;
mod settling;

use std::sync::atomic::{AtomicU64, Ordering};

use prometheus::Histogram;
use redis::{Cmd, Value};
use smallvec::SmallVec;
use tokio::time::Instant;

use self::scripts::{Rule, Scripts, run};
use super::Take;
use super::math::{Ask, Reply, Standing};
use super::script;
use crate::clock::Moment;
use crate::link::{self, Failure, Meters, Place};
use crate::telemetry::Metrics;

/// The answer for each take; none where nobody asked, because one before it refused.
pub(super) type Replies = SmallVec<[Option<Reply>; 2]>;

/// One Redis.
#[derive(Debug)]
pub(super) struct Redis {
    link: link::Redis,
    scripts: Scripts,
    durations: Durations,
    is_cluster: bool,
    /// What names this process, and the next call of it, where a counter remembers calls.
    node: u64,
    calls: AtomicU64,
}

#[derive(Debug)]
struct Durations {
    ok: Histogram,
    timeout: Histogram,
    error: Histogram,
}

impl Redis {
    /// Prepares calls by these settings; connects to nothing yet. `node` is what no other process
    /// has, `user` who connects, in metrics.
    pub(super) fn new(
        settings: &link::Settings,
        node: u64,
        user: &'static str,
        metrics: &Metrics,
    ) -> Self {
        let durations = |outcome| metrics.limit_redis_duration.with_label_values(&[outcome]);
        Self {
            link: link::Redis::new(settings).metered(Meters::of(metrics, user)),
            scripts: Scripts::new(),
            durations: Durations {
                ok: durations("ok"),
                timeout: durations("timeout"),
                error: durations("error"),
            },
            is_cluster: matches!(settings.address.place, Place::Cluster(_)),
            node,
            calls: AtomicU64::new(0),
        }
    }

    /// What names the next call of this process.
    pub(super) fn next_call(&self) -> u64 {
        self.calls.fetch_add(1, Ordering::Relaxed)
    }

    /// Takes what is asked of each counter, or nothing where one has not enough. In a cluster
    /// nothing is answered of counters that nobody asked, because one before them refused.
    ///
    /// # Errors
    /// When there is no answer within the time limit.
    pub(super) async fn take(
        &self,
        takes: &[(&Take, Ask)],
        now: Moment,
    ) -> Result<Replies, Failure> {
        self.take_as(self.next_call(), takes, now).await
    }

    /// The same under the name of a call ([`Redis::next_call`]), by which places are released.
    ///
    /// # Errors
    /// When there is no answer within the time limit.
    pub(super) async fn take_as(
        &self,
        call: u64,
        takes: &[(&Take, Ask)],
        now: Moment,
    ) -> Result<Replies, Failure> {
        let started = Instant::now();
        let rules = self.rules(takes, now);
        let is_named = rules.iter().any(|(_, numbers, _)| numbers.algorithm.remembers_requests());
        let name = if is_named { self.call_name(call) } else { String::new() };
        let result = match groups::places(takes, self.is_cluster) {
            None => {
                let command = &self.scripts.take_command(&name, rules.iter());
                let take =
                    |connection| take_together(connection, &self.scripts, command, rules.len());
                self.link.call(take).await
            }
            Some(places) => {
                let groups = &groups::split(&self.scripts, &name, &rules, places);
                let run = |connection| groups::take(connection, &self.scripts, groups, takes);
                self.link.call(run).await
            }
        };
        let duration = match &result {
            Ok(_) => &self.durations.ok,
            Err(Failure::Timeout) => &self.durations.timeout,
            Err(_) => &self.durations.error,
        };
        duration.observe(started.elapsed().as_secs_f64());
        result
    }

    /// How a counter stands; changes nothing.
    ///
    /// # Errors
    /// When there is no answer within the time limit.
    pub(super) async fn peek(&self, take: &Take, now: Moment) -> Result<Standing, Failure> {
        let command = &self.peek_command(take, now);
        let read = |mut connection: link::Connection| async move {
            let value = run(&mut connection, &self.scripts.peek, command).await?;
            read_standing(&value).ok_or(Failure::Reply)
        };
        self.link.call(read).await
    }

    /// Forgets what was taken from a counter; whether there was something.
    ///
    /// # Errors
    /// When there is no answer within the time limit.
    pub(super) async fn reset(&self, take: &Take) -> Result<bool, Failure> {
        self.link.query(redis::cmd("DEL").arg(self.key(take))).await
    }

    /// The calls to this Redis.
    pub(super) const fn link(&self) -> &link::Redis {
        &self.link
    }

    /// Drops all connections, so that the next call makes new ones.
    pub(super) fn disconnect(&self) {
        self.link.disconnect();
    }

    fn key(&self, take: &Take) -> String {
        take.key.name_behind(self.link.prefix(), take.tier())
    }

    /// The text that names a call to counters that remember calls.
    fn call_name(&self, call: u64) -> String {
        format!("{:016x}-{call:x}", self.node)
    }

    fn peek_command(&self, take: &Take, now: Moment) -> Cmd {
        let (algorithm, numbers) = script::counter(&take.numbers(now));
        let mut command = self.scripts.peek.command(1);
        command.arg(self.key(take)).arg("").arg(algorithm).arg(&numbers);
        command
    }

    /// What stands in a call, for each take.
    fn rules(&self, takes: &[(&Take, Ask)], now: Moment) -> SmallVec<[Rule; 2]> {
        takes.iter().map(|(take, ask)| (self.key(take), take.numbers(now), *ask)).collect()
    }
}

/// Takes from counters that one call reaches.
async fn take_together(
    mut connection: link::Connection,
    scripts: &Scripts,
    command: &Cmd,
    rules: usize,
) -> Result<Replies, Failure> {
    let value = run(&mut connection, &scripts.take, command).await?;
    read_replies(&value, rules).ok_or(Failure::Reply)
}

/// A number that cannot be below nothing.
fn number(value: &Value) -> Option<u64> {
    match value {
        Value::Int(number) => u64::try_from(*number).ok(),
        _ => None,
    }
}

/// Numbers and spaces, so many for each rule.
fn read_replies(value: &Value, rules: usize) -> Option<Replies> {
    let Value::BulkString(text) = value else { return None };
    let mut numbers = text.split(|byte| *byte == b' ');
    let mut next = || str::from_utf8(numbers.next()?).ok()?.parse::<u64>().ok();
    let mut replies = Replies::with_capacity(rules);
    for _ in 0..rules {
        replies.push(Some(Reply {
            allowed: next()? == 1,
            taken: next()?,
            remaining: next()?,
            reset_ms: next()?,
            epoch_ms: next()?,
        }));
    }
    numbers.next().is_none().then_some(replies)
}

fn read_standing(value: &Value) -> Option<Standing> {
    let Value::Array(values) = value else { return None };
    let [used, remaining, reset_ms, epoch_ms] = values.as_slice() else { return None };
    Some(Standing {
        used: number(used)?,
        remaining: number(remaining)?,
        reset_ms: number(reset_ms)?,
        epoch_ms: number(epoch_ms)?,
    })
}

#[cfg(test)]
mod tests;
