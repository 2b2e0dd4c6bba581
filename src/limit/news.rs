//! What nodes tell each other about counters through Redis at once: that one was reset.
//!
//! A message is one JSON object, `{"reset": "NAME"}`, with the counter's name behind the
//! deployment's prefix. News may be lost: a refusal that is remembered by mistake is asked about
//! again within seconds, and what was taken in advance ends by itself.

use std::pin::pin;
use std::time::Duration;

use redis::aio::PubSub;
use serde_json::{Value, json};

use super::{CounterKey, Limiter};
use crate::link::{Failure, Redis, next_message};

/// The channel, behind the prefix of the deployment.
const CHANNEL: &str = "limit:news";

/// Longest message that is looked at, in bytes.
const MESSAGE_BYTES_MAX: usize = 1024;

/// Time limit of subscribing.
const SUBSCRIBE_TIMEOUT: Duration = Duration::from_secs(2);
/// First wait after the connection was lost; it doubles with each further failure.
const PAUSE_MIN: Duration = Duration::from_millis(500);
/// Longest wait.
const PAUSE_MAX: Duration = Duration::from_secs(5);

/// Tells all nodes that a counter was reset. Returns how many heard it.
///
/// # Errors
/// When Redis did not take it.
pub(super) async fn tell(redis: &Redis, name: &str) -> Result<u64, Failure> {
    let mut publish = redis::cmd("PUBLISH");
    publish.arg(channel(redis)).arg(json!({ "reset": name }).to_string());
    redis.query(&publish).await
}

fn channel(redis: &Redis) -> String {
    format!("{}{CHANNEL}", redis.prefix())
}

/// The counter that a message says was reset; none where this version does not understand it.
fn read(message: &[u8]) -> Option<CounterKey> {
    if message.len() > MESSAGE_BYTES_MAX {
        return None;
    }
    let message: Value = serde_json::from_slice(message).ok()?;
    let name = message.get("reset")?.as_str()?;
    CounterKey::parse(name.get(name.rfind('{')?..)?)
}

impl Limiter {
    /// Forgets what other nodes say was reset, for as long as it is polled.
    pub(super) async fn hear_news(&self) {
        loop {
            let adopted = self.desk.adopted.notified();
            let post = self.desk.post();
            let hear = async {
                match &post {
                    Some(post) => self.hear(post.redis.link()).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = adopted => {}
                () = hear => {}
            }
        }
    }

    async fn hear(&self, redis: &Redis) {
        let mut pause = PAUSE_MIN;
        loop {
            match subscribe(redis).await {
                Ok(connection) => {
                    pause = PAUSE_MIN;
                    self.follow(connection).await;
                    tracing::debug!("the connection for news about limits was lost");
                }
                Err(error) => tracing::debug!(%error, "no connection for news about limits"),
            }
            tokio::time::sleep(pause.mul_f64(0.5 + fastrand::f64())).await;
            pause = (pause * 2).min(PAUSE_MAX);
        }
    }

    async fn follow(&self, mut connection: PubSub) {
        let mut messages = pin!(connection.on_message());
        while let Some(message) = next_message(messages.as_mut()).await {
            if let Some(key) = read(message.get_payload_bytes()) {
                self.forget(&key);
            }
        }
    }
}

async fn subscribe(redis: &Redis) -> Result<PubSub, Failure> {
    let mut connection = redis.listen().await?;
    let channel = channel(redis);
    let subscribed = connection.subscribe(&channel);
    tokio::time::timeout(SUBSCRIBE_TIMEOUT, subscribed).await.map_err(|_| Failure::Timeout)??;
    Ok(connection)
}

#[cfg(test)]
mod tests {
    use super::super::testing::{rule, take};
    use super::*;

    #[test]
    fn a_message_names_a_counter_or_is_ignored() {
        let take = take(&rule("r", "{limit: 1, window: 1s, key: [clientIp]}"), "a");
        let message = |name: &str| json!({ "reset": name }).to_string();
        assert_eq!(read(message(&take.name()).as_bytes()), Some(take.key));
        let long = message(&format!("{}{}", "x".repeat(MESSAGE_BYTES_MAX), take.name()));
        for wrong in ["", "{}", "[1]", "{\"reset\": 1}", &message("r"), &message("{"), &long] {
            assert_eq!(read(wrong.as_bytes()), None, "{wrong}");
        }
    }
}
