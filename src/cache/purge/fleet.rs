//! The log of purges that all nodes share, in Redis.
//!
//! | Key | Is | Lives |
//! |---|---|---|
//! | `PREFIX:cache:{purges}:state` | the log's name, last number, floor | 30 days, renewed |
//! | `PREFIX:cache:{purges}:log` | sorted set of purges by number | the same |
//!
//! One script reads and writes both (`lua/purge_log.lua`). News are told on the channel
//! `PREFIX:cache:purged`; what they say does not matter: whoever hears them reads the log.

use std::pin::pin;
use std::time::Duration;

use redis::aio::PubSub;

use crate::link::{self, Failure, Redis};

/// The script.
const SCRIPT: &str = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/lua/purge_log.lua"));

/// Shortest time limit of a call. That of the configuration is for calls that requests wait for.
const TIMEOUT_MIN: Duration = Duration::from_secs(1);

/// How long a purge stays in the log: longer than entries do, by their own terms.
pub(super) const KEPT: Duration = Duration::from_hours(15 * 24);
/// How many purges stay in the log.
const KEPT_MAX: usize = 32_768;
/// Time to live of the keys where no node is left.
const TTL: Duration = Duration::from_hours(30 * 24);
/// Purges read in one call.
pub(super) const READ_MAX: usize = 1_000;

/// Time limit of subscribing.
const SUBSCRIBE_TIMEOUT: Duration = Duration::from_secs(2);
/// First wait after the connection was lost; it doubles with each further failure.
const PAUSE_MIN: Duration = Duration::from_millis(500);
/// Longest wait.
const PAUSE_MAX: Duration = Duration::from_secs(5);

/// The log, and the connections for it.
#[derive(Debug)]
pub(super) struct Fleet {
    redis: Redis,
    state: String,
    log: String,
    channel: String,
    settings: link::Settings,
}

/// What is said and asked in one call.
#[derive(Debug)]
pub(super) struct Ask<'a> {
    /// The log's name, as far as it is known; else empty.
    pub(super) epoch: &'a str,
    /// Up to which number that log is known.
    pub(super) after: u64,
    /// The largest number that this node has used.
    pub(super) known: u64,
    /// Purges to append.
    pub(super) messages: &'a [String],
}

/// What the log says. Numbers are microseconds.
#[derive(Debug)]
pub(super) struct Reply {
    pub(super) epoch: String,
    pub(super) now: u64,
    pub(super) last: u64,
    pub(super) floor: u64,
    /// Purges after the number asked for, in order, each with its own.
    pub(super) purges: Vec<(Vec<u8>, u64)>,
}

impl Fleet {
    /// Prepares calls; connects to nothing yet.
    pub(super) fn new(settings: &link::Settings, meters: link::Meters) -> Self {
        let redis = Redis::new(&settings.with_timeout_min(TIMEOUT_MIN)).metered(meters);
        let prefix = redis.prefix();
        Self {
            state: format!("{prefix}cache:{{purges}}:state"),
            log: format!("{prefix}cache:{{purges}}:log"),
            channel: format!("{prefix}cache:purged"),
            settings: settings.clone(),
            redis,
        }
    }

    /// Whether it is made of the same settings.
    pub(super) fn is_of(&self, settings: &link::Settings) -> bool {
        self.settings == *settings
    }

    /// Appends purges and reads what is new.
    ///
    /// # Errors
    /// When there is no answer. Then the purges may be in the log or not; the same messages once
    /// more do no harm.
    pub(super) async fn exchange(&self, ask: &Ask<'_>) -> Result<Reply, Failure> {
        let mut command = redis::cmd("EVAL");
        command.arg(SCRIPT).arg(2).arg(&self.state).arg(&self.log);
        command.arg(format!("{:032x}", fastrand::u128(..)));
        command.arg(ask.epoch).arg(ask.after).arg(ask.known).arg(READ_MAX);
        let kept_us = u64::try_from(KEPT.as_micros()).unwrap_or(u64::MAX);
        let ttl_ms = u64::try_from(TTL.as_millis()).unwrap_or(u64::MAX);
        command.arg(kept_us).arg(KEPT_MAX).arg(ttl_ms).arg(ask.messages);
        let parts: Vec<Vec<u8>> = self.redis.query(&command).await?;
        Reply::read(parts).ok_or(Failure::Reply)
    }

    /// Tells all nodes that there is news. Returns how many heard it.
    ///
    /// # Errors
    /// When there is no answer; they find out within a second.
    pub(super) async fn tell(&self) -> Result<u64, Failure> {
        self.redis.query(redis::cmd("PUBLISH").arg(&self.channel).arg("news")).await
    }

    /// Drops connections that may be dead without a sign.
    pub(super) fn disconnect(&self) {
        self.redis.disconnect();
    }

    /// Calls `on_news` for all news, and whenever some may have been missed, for as long as it is
    /// polled.
    pub(super) async fn hear(&self, on_news: impl Fn()) {
        let mut pause = PAUSE_MIN;
        loop {
            match self.subscribe().await {
                Ok(connection) => {
                    pause = PAUSE_MIN;
                    on_news();
                    follow(connection, &on_news).await;
                    tracing::debug!("the connection for news of purges was lost");
                }
                Err(error) => tracing::debug!(%error, "no connection for news of purges"),
            }
            tokio::time::sleep(pause.mul_f64(0.5 + fastrand::f64())).await;
            pause = (pause * 2).min(PAUSE_MAX);
        }
    }

    async fn subscribe(&self) -> Result<PubSub, Failure> {
        let mut connection = self.redis.listen().await?;
        let subscribed = connection.subscribe(&self.channel);
        tokio::time::timeout(SUBSCRIBE_TIMEOUT, subscribed)
            .await
            .map_err(|_| Failure::Timeout)??;
        Ok(connection)
    }
}

async fn follow(mut connection: PubSub, on_news: &impl Fn()) {
    let mut messages = pin!(connection.on_message());
    while link::next_message(messages.as_mut()).await.is_some() {
        on_news();
    }
}

impl Reply {
    fn read(parts: Vec<Vec<u8>>) -> Option<Self> {
        let number = |text: Vec<u8>| String::from_utf8(text).ok()?.parse::<u64>().ok();
        let mut parts = parts.into_iter();
        let epoch = String::from_utf8(parts.next()?).ok()?;
        let (now, last, floor) =
            (number(parts.next()?)?, number(parts.next()?)?, number(parts.next()?)?);
        let mut purges = Vec::with_capacity(parts.len() / 2);
        while let Some(message) = parts.next() {
            purges.push((message, number(parts.next()?)?));
        }
        Some(Self { epoch, now, last, floor, purges })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(parts: &[&str]) -> Option<Reply> {
        Reply::read(parts.iter().map(|part| part.as_bytes().to_vec()).collect())
    }

    #[test]
    fn replies_are_read_whole_or_not_at_all() {
        let reply = read(&["ab", "4", "3", "1", "x", "2", "y", "3"]).unwrap();
        assert_eq!((&*reply.epoch, reply.now, reply.last, reply.floor), ("ab", 4, 3, 1));
        assert_eq!(reply.purges, [(b"x".to_vec(), 2), (b"y".to_vec(), 3)]);
        assert!(read(&["ab", "4", "3", "1"]).unwrap().purges.is_empty());
        for wrong in [
            &[][..],
            &["ab", "4", "3"],
            &["ab", "4", "3", "x"],
            &["ab", "4", "3", "1", "x"],
            &["ab", "4", "3", "1", "x", "-1"],
        ] {
            assert!(read(wrong).is_none(), "{wrong:?}");
        }
    }
}
