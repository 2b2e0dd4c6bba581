//! What gateways tell each other through Redis at once: revocations, and answers to be forgotten.
//!
//! News are a hint that saves time. They may be lost; whatever matters is also found by reading,
//! or ends by itself. A message is one JSON object:
//!
//! | Message | Says |
//! |---|---|
//! | `{"revoked": {...}}` | a revocation was made or taken back |
//! | `{"changed": true}` | the list of revocations should be read |
//! | `{"purge": "apiKey", "hash": "HEX"}` | what is known of an API key is to be asked anew |
//! | `{"purge": "tenant", "id": "ID"}` | what is known of a tenant is to be asked anew |

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use redis::aio::PubSub;
use serde_json::{Value, json};

use super::api_key::{KeyHash, Keys};
use super::lookup::Kind;
use super::revocation::Record;
use super::tenants::Tenants;
use crate::edge::{hex, unhex};
use crate::link::{Failure, Redis, next_message};

/// The channel, behind the prefix of the deployment.
pub(in crate::auth) const CHANNEL: &str = "auth:news";

/// What stands in the place of an answer in Redis for a moment after a change: no look-up that
/// was under way writes over it (`lua/keep_answer.lua`).
const PURGED: &str = "purged";
/// How long, in milliseconds: longer than any look-up takes.
const PURGED_MS: u32 = 15_000;

/// Longest message that is looked at, in bytes.
const MESSAGE_BYTES_MAX: usize = 64 * 1024;

/// Time limit of subscribing.
const SUBSCRIBE_TIMEOUT: Duration = Duration::from_secs(2);
/// First wait after the connection was lost; it doubles with each further failure.
const PAUSE_MIN: Duration = Duration::from_millis(500);
/// Longest wait.
const PAUSE_MAX: Duration = Duration::from_secs(5);

/// One message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::auth) enum News {
    /// A revocation was made or taken back.
    Revoked(Record),
    /// The list of revocations should be read: much has changed, or news may have been missed.
    Changed,
    /// What is known of an API key is to be asked anew.
    PurgeApiKey(KeyHash),
    /// What is known of a tenant is to be asked anew.
    PurgeTenant(Arc<str>),
    /// Something that this version does not understand.
    Unreadable,
}

impl News {
    /// Reads a message.
    pub(in crate::auth) fn read(message: &[u8]) -> Self {
        Self::try_read(message).unwrap_or(Self::Unreadable)
    }

    fn try_read(message: &[u8]) -> Option<Self> {
        if message.len() > MESSAGE_BYTES_MAX {
            return None;
        }
        let mut message: Value = serde_json::from_slice(message).ok()?;
        if let Some(record) = message.get_mut("revoked").map(Value::take) {
            return Record::from_value(record).map(Self::Revoked);
        }
        if message.get("changed") == Some(&Value::Bool(true)) {
            return Some(Self::Changed);
        }
        match message.get("purge")?.as_str()? {
            "apiKey" => unhex(message.get("hash")?.as_str()?).map(Self::PurgeApiKey),
            "tenant" => Some(Self::PurgeTenant(message.get("id")?.as_str()?.into())),
            _ => None,
        }
    }

    /// The message that says so.
    pub(in crate::auth) fn message(&self) -> String {
        match self {
            Self::Revoked(record) => json!({ "revoked": record.to_value() }),
            Self::Changed => json!({ "changed": true }),
            Self::PurgeApiKey(hash) => json!({ "purge": "apiKey", "hash": hex(hash) }),
            Self::PurgeTenant(id) => json!({ "purge": "tenant", "id": &**id }),
            Self::Unreadable => json!({}),
        }
        .to_string()
    }
}

/// What changed in the database.
#[derive(Clone, Copy, Debug)]
pub enum Purge<'a> {
    /// The key with this hash.
    Key(&'a KeyHash),
    /// The tenant with this id.
    Tenant(&'a str),
}

/// Tells all gateways that what is known of a key or a tenant is to be asked anew: puts a mark in
/// its place in Redis, and publishes the news. The mark stands for a moment, so that a look-up
/// which was under way cannot put what it found in the place again. Call it when the change is
/// in the database.
///
/// # Errors
/// When Redis did not take it; gateways then go by what they know until it is too old.
pub async fn announce(redis: &Redis, purge: Purge<'_>) -> Result<(), Failure> {
    let (place, news) = match purge {
        Purge::Key(hash) => (Keys::redis_key(hash), News::PurgeApiKey(*hash)),
        Purge::Tenant(id) => {
            let id = id.into();
            (Tenants::redis_key(&id), News::PurgeTenant(id))
        }
    };
    let prefix = redis.prefix();
    let mut mark = redis::cmd("SET");
    mark.arg(format!("{prefix}{place}")).arg(PURGED).arg("PX").arg(PURGED_MS);
    redis.query::<()>(&mark).await?;
    let mut publish = redis::cmd("PUBLISH");
    publish.arg(format!("{prefix}{CHANNEL}")).arg(news.message());
    redis.query::<()>(&publish).await
}

/// Hands every message of the channel to `on_news` for as long as it is polled, and
/// [`News::Changed`] whenever the connection is new. Makes it again when it is lost.
pub(in crate::auth) async fn listen(redis: &Redis, on_news: impl Fn(News)) {
    let channel = format!("{}{CHANNEL}", redis.prefix());
    let mut pause = PAUSE_MIN;
    loop {
        match subscribe(redis, &channel).await {
            Ok(connection) => {
                pause = PAUSE_MIN;
                on_news(News::Changed);
                hear(connection, &on_news).await;
                tracing::warn!("the connection for news from other gateways was lost");
            }
            Err(error) => tracing::debug!(%error, "no connection for news from other gateways"),
        }
        tokio::time::sleep(pause.mul_f64(0.5 + fastrand::f64())).await;
        pause = (pause * 2).min(PAUSE_MAX);
    }
}

async fn subscribe(redis: &Redis, channel: &str) -> Result<PubSub, Failure> {
    let mut connection = redis.listen().await?;
    let subscribed = connection.subscribe(channel);
    tokio::time::timeout(SUBSCRIBE_TIMEOUT, subscribed).await.map_err(|_| Failure::Timeout)??;
    Ok(connection)
}

async fn hear(mut connection: PubSub, on_news: &impl Fn(News)) {
    let mut messages = pin!(connection.on_message());
    while let Some(message) = next_message(messages.as_mut()).await {
        on_news(News::read(message.get_payload_bytes()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::revocation::testing::of_token;

    #[test]
    fn every_message_is_understood_by_the_others() {
        let hash: KeyHash = std::array::from_fn(|at| u8::try_from(at * 7).unwrap());
        for news in [
            News::Revoked(of_token("a")),
            News::Changed,
            News::PurgeApiKey(hash),
            News::PurgeTenant("acme".into()),
        ] {
            assert_eq!(News::read(news.message().as_bytes()), news);
        }
    }

    #[test]
    fn anything_else_is_not_understood_and_never_a_panic() {
        let short = format!(r#"{{"purge": "apiKey", "hash": "{}"}}"#, "0".repeat(62));
        let long = format!(r#"{{"purge": "apiKey", "hash": "{}"}}"#, "0".repeat(66));
        let no_hex = format!(r#"{{"purge": "apiKey", "hash": "{}"}}"#, "+0".repeat(32));
        let large = format!(r#"{{"changed": true, "x": "{}"}}"#, " ".repeat(MESSAGE_BYTES_MAX));
        for message in [
            "",
            "\u{0}",
            "[]",
            "{}",
            "1",
            r#"{"revoked": {}}"#,
            r#"{"revoked": 1}"#,
            r#"{"changed": false}"#,
            r#"{"purge": "apiKey"}"#,
            r#"{"purge": "tenant", "hash": "00"}"#,
            r#"{"purge": 1, "hash": "00"}"#,
            &short,
            &long,
            &no_hex,
            &large,
        ] {
            assert_eq!(News::read(message.as_bytes()), News::Unreadable, "{message}");
        }
        assert_eq!(News::read(b"\xff"), News::Unreadable);
    }
}
