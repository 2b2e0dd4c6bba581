//! The list that all gateways share: one hash in Redis.
//!
//! | Key | Field | Value | Lives until |
//! |---|---|---|---|
//! | `PREFIX:auth:revocations` | id of a revocation | the record, JSON | the last one's end |
//! | | `version` | random, new with each change | |
//!
//! One key, so that it works on a cluster. The version says with one small answer whether there
//! is anything to read; that it is random and not a number tells a Redis that was emptied, or
//! came back with an older copy, from one that did not change.

use std::collections::HashMap;
use std::time::Duration;

use super::record::Record;
use crate::auth::news::{CHANNEL, News};
use crate::link::{self, Failure, Redis};

/// Name of the list, behind the prefix of the deployment.
const KEY: &str = "auth:revocations";
/// The field that is not a record.
const VERSION: &str = "version";

/// Shortest time limit of a call. That of the configuration is for calls that requests wait for.
const TIMEOUT_MIN: Duration = Duration::from_secs(1);
/// Records that are written in one call, and read in one.
const CALL_RECORDS: usize = 500;
/// Changes that are told one by one; of more the others are told to read.
const NEWS_MAX: usize = 100;
/// How long what is over stays: the clocks of gateways differ.
const OVER_SECONDS: u64 = 60;

/// The shared list, and the connections for it.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) redis: Redis,
    key: String,
    channel: String,
    settings: link::Settings,
}

/// What a reading found.
#[derive(Debug, Default)]
pub(super) struct Found {
    pub(super) records: HashMap<String, Record>,
    /// Fields that are not records.
    pub(super) unreadable: usize,
    /// Records beyond the bound.
    pub(super) beyond: usize,
}

impl Shared {
    /// Prepares calls; connects to nothing yet.
    pub(super) fn new(settings: &link::Settings, meters: link::Meters) -> Self {
        let redis = Redis::new(&settings.with_timeout_min(TIMEOUT_MIN)).metered(meters);
        Self {
            key: format!("{}{KEY}", redis.prefix()),
            channel: format!("{}{CHANNEL}", redis.prefix()),
            settings: settings.clone(),
            redis,
        }
    }

    /// Whether it is made of the same settings.
    pub(super) fn is_of(&self, settings: &link::Settings) -> bool {
        self.settings == *settings
    }

    /// Stands for the state of the list; none where there is no list.
    pub(super) async fn version(&self) -> Result<Option<Vec<u8>>, Failure> {
        self.redis.query(redis::cmd("HGET").arg(&self.key).arg(VERSION)).await
    }

    /// The whole list, but for what is over; of more than `records_max` only so many. What is
    /// long over is removed on the way.
    pub(super) async fn read(&self, records_max: usize, now: u64) -> Result<Found, Failure> {
        let mut found = Found::default();
        let mut cursor = 0_u64;
        loop {
            let (next, fields): (u64, Vec<Vec<u8>>) = self
                .redis
                .query(
                    redis::cmd("HSCAN").arg(&self.key).arg(cursor).arg("COUNT").arg(CALL_RECORDS),
                )
                .await?;
            let over = found.take(fields, records_max, now);
            if !over.is_empty() {
                let command = redis::cmd("HDEL").arg(&self.key).arg(over).to_owned();
                self.redis.query::<u64>(&command).await?;
            }
            if next == 0 {
                return Ok(found);
            }
            cursor = next;
        }
    }

    /// Writes records, under a new version, and tells the others.
    pub(super) async fn push(&self, records: &[Record]) -> Result<(), Failure> {
        for records in records.chunks(CALL_RECORDS) {
            let mut command = redis::cmd("HSET");
            command.arg(&self.key).arg(VERSION).arg(format!("{:032x}", fastrand::u128(..)));
            for record in records {
                command.arg(&record.id).arg(record.to_value().to_string());
            }
            self.redis.query::<u64>(&command).await?;
            let end = records.iter().map(|record| record.expires_at).max().unwrap_or_default();
            for condition in ["NX", "GT"] {
                let until = end.saturating_add(OVER_SECONDS);
                let command =
                    redis::cmd("EXPIREAT").arg(&self.key).arg(until).arg(condition).to_owned();
                match self.redis.query::<u64>(&command).await {
                    // Before Redis 7 there are no conditions; then the list has no end.
                    Ok(_) | Err(Failure::Refused(_)) => {}
                    Err(failure) => return Err(failure),
                }
            }
        }
        if records.len() > NEWS_MAX {
            return self.tell(&News::Changed).await;
        }
        for record in records {
            self.tell(&News::Revoked(record.clone())).await?;
        }
        Ok(())
    }

    async fn tell(&self, news: &News) -> Result<(), Failure> {
        let message = news.message();
        self.redis.query::<u64>(redis::cmd("PUBLISH").arg(&self.channel).arg(message)).await?;
        Ok(())
    }
}

impl Found {
    /// Takes fields and values in turn; returns the ids of what is long over.
    fn take(&mut self, fields: Vec<Vec<u8>>, records_max: usize, now: u64) -> Vec<String> {
        let mut over = Vec::new();
        let mut fields = fields.into_iter();
        while let (Some(field), Some(value)) = (fields.next(), fields.next()) {
            if field == VERSION.as_bytes() {
                continue;
            }
            let record = Record::read(&value).filter(|record| record.id.as_bytes() == field);
            let Some(record) = record else {
                self.unreadable += 1;
                continue;
            };
            if record.is_over(now) {
                let is_long_over = record.is_over(now.saturating_sub(OVER_SECONDS));
                over.extend(is_long_over.then_some(record.id));
            } else if self.records.len() >= records_max && !self.records.contains_key(&record.id) {
                self.beyond += 1;
            } else {
                self.records.insert(record.id.clone(), record);
            }
        }
        over
    }
}

#[cfg(test)]
mod tests;
