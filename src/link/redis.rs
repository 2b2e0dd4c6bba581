//! Calls to Redis, each within one time limit.
//!
//! A request never waits longer than the time limit, whatever the state of Redis or of the
//! connections. Connections are made by the first call that finds none, in a task of the
//! runtime that makes it, and are shared by all that come; calls wait for that task only within
//! their own time limit. Use a [`Redis`] on one runtime only: connections end with it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use redis::aio::{MultiplexedConnection, PubSub};
use redis::io::tcp::TcpSettings;
use redis::{AsyncConnectionConfig, Client, Cmd, FromRedisValue, IntoConnectionInfo, RedisError};
use tokio::sync::Notify;

/// Connections to Redis: their tasks may run on two threads. Redis itself does one thing at a
/// time, so more would not help.
const CONNECTIONS: usize = 2;

/// Time limit of making a connection, which no call waits for beyond its own limit.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);

/// Why a call has no answer. Never holds the address: it may carry a password.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The address in the configuration is not one.
    #[error("the address of Redis is not valid")]
    Address,
    /// No answer within the time limit.
    #[error("no answer in time")]
    Timeout,
    /// No connection could be made.
    #[error("no connection: {0}")]
    Connect(Arc<str>),
    /// The connection broke.
    #[error("the connection was lost: {0}")]
    Lost(#[source] RedisError),
    /// Redis answered with an error.
    #[error("Redis refused the call: {0}")]
    Refused(#[source] RedisError),
    /// The answer has not the form that was asked for.
    #[error("the answer was not understood")]
    Reply,
}

impl From<RedisError> for Failure {
    fn from(error: RedisError) -> Self {
        if error.is_unrecoverable_error() || error.is_io_error() {
            return Self::Lost(error);
        }
        Self::Refused(error)
    }
}

/// Why `url` cannot be the address of a Redis, without repeating it.
///
/// # Errors
/// When it is not `redis://[user:password@]host:port[/db]` or the like.
pub fn check_redis_url(url: &str) -> Result<(), &'static str> {
    open(url).map(drop).map_err(|_| "not an address such as redis://user:password@host:6379/0")
}

fn open(url: &str) -> Result<Client, RedisError> {
    // Without nodelay the kernel holds small calls back until earlier ones are acknowledged.
    let settings = TcpSettings::default().set_nodelay(true);
    Client::open(url.into_connection_info()?.set_tcp_settings(settings))
}

/// One Redis.
#[derive(Debug)]
pub struct Redis {
    client: Option<Client>,
    slots: [Arc<Slot>; CONNECTIONS],
    next: AtomicUsize,
    timeout: Duration,
    /// `PREFIX:`.
    prefix: String,
}

impl Redis {
    /// Prepares calls to the Redis at `url`; connects to nothing yet. `prefix` is the first part
    /// of every key, `timeout` the limit of a call.
    #[must_use]
    pub fn new(url: &str, prefix: &str, timeout: Duration) -> Self {
        Self {
            client: open(url).ok(),
            slots: std::array::from_fn(|_| Arc::new(Slot::default())),
            next: AtomicUsize::new(0),
            timeout,
            // The first braces of a key are its hash tag, and that is the caller's to choose.
            prefix: format!("{}:", prefix.replace(['{', '}'], "_")),
        }
    }

    /// What every key begins with: `PREFIX:`.
    #[must_use]
    pub fn prefix(&self) -> &str {
        &self.prefix
    }

    /// Sends one command and reads its answer, within the time limit.
    ///
    /// # Errors
    /// When there is no answer in time, or not one of this form.
    pub async fn query<T: FromRedisValue>(&self, command: &Cmd) -> Result<T, Failure> {
        self.call(|connection| query(connection, command)).await
    }

    /// Makes a call, within the time limit. A connection that turns out to be lost is made anew
    /// and the call made once more: a Redis that restarted or closed an idle connection is there
    /// again at once. If it had done the work already, it does it twice.
    ///
    /// # Errors
    /// When there is no answer within the time limit.
    pub async fn call<T, F>(&self, call: impl Fn(MultiplexedConnection) -> F) -> Result<T, Failure>
    where
        F: Future<Output = Result<T, Failure>>,
    {
        tokio::time::timeout(self.timeout, self.attempt(call))
            .await
            .unwrap_or(Err(Failure::Timeout))
    }

    /// A connection of its own for listening to channels. Bounded by the time limit of making
    /// connections, not by that of calls.
    ///
    /// # Errors
    /// When no connection can be made.
    pub async fn listen(&self) -> Result<PubSub, Failure> {
        let client = self.client.as_ref().ok_or(Failure::Address)?;
        let pubsub = tokio::time::timeout(CONNECT_TIMEOUT, client.get_async_pubsub()).await;
        match pubsub {
            Ok(Ok(pubsub)) => Ok(pubsub),
            Ok(Err(error)) => Err(Failure::Connect(error.to_string().into())),
            Err(_) => Err(Failure::Timeout),
        }
    }

    /// Drops all connections, so that the next call makes new ones: a connection that only times
    /// out may be dead without a sign.
    pub fn disconnect(&self) {
        for slot in &self.slots {
            slot.connection.store(None);
        }
    }

    async fn attempt<T, F>(&self, call: impl Fn(MultiplexedConnection) -> F) -> Result<T, Failure>
    where
        F: Future<Output = Result<T, Failure>>,
    {
        let client = self.client.as_ref().ok_or(Failure::Address)?;
        let turn = self.next.fetch_add(1, Ordering::Relaxed) % CONNECTIONS;
        let slot = self.slots.get(turn).ok_or(Failure::Address)?;
        let connection = slot.connection(client).await?;
        match call((*connection).clone()).await {
            Err(Failure::Lost(_)) => {
                slot.forget(&connection);
                let connection = slot.connection(client).await?;
                let second = call((*connection).clone()).await;
                if matches!(second, Err(Failure::Lost(_))) {
                    slot.forget(&connection);
                }
                second
            }
            other => other,
        }
    }
}

async fn query<T: FromRedisValue>(
    mut connection: MultiplexedConnection,
    command: &Cmd,
) -> Result<T, Failure> {
    Ok(command.query_async(&mut connection).await?)
}

/// A place for one connection.
#[derive(Debug, Default)]
struct Slot {
    connection: ArcSwapOption<MultiplexedConnection>,
    /// Whether a task is making a connection.
    connecting: AtomicBool,
    /// Why the last attempt failed.
    problem: ArcSwapOption<Arc<str>>,
    /// Wakes those who wait for that task.
    done: Notify,
}

impl Slot {
    /// The connection, made first where there is none. The caller bounds the wait.
    async fn connection(
        self: &Arc<Self>,
        client: &Client,
    ) -> Result<Arc<MultiplexedConnection>, Failure> {
        if let Some(connection) = self.connection.load_full() {
            return Ok(connection);
        }
        let mut done = std::pin::pin!(self.done.notified());
        // Listening begins before the task does, or it could end unheard.
        done.as_mut().enable();
        if let Some(connection) = self.connection.load_full() {
            return Ok(connection);
        }
        if !self.connecting.swap(true, Ordering::AcqRel) {
            let connecting = Connecting(Arc::clone(self));
            let client = client.clone();
            tokio::spawn(async move { connecting.run(&client).await });
        }
        done.await;
        self.connection.load_full().ok_or_else(|| {
            let problem = self.problem.load_full();
            Failure::Connect(problem.map_or_else(|| "unknown".into(), |problem| (*problem).clone()))
        })
    }

    /// Empties the slot if it still holds this connection.
    fn forget(&self, connection: &Arc<MultiplexedConnection>) {
        let held = self.connection.load();
        if held.as_ref().is_some_and(|held| Arc::ptr_eq(held, connection)) {
            self.connection.compare_and_swap(&held, None);
        }
    }
}

/// The right to fill a slot. Ends with the task that holds it, also when the task is dropped.
struct Connecting(Arc<Slot>);

impl Connecting {
    async fn run(self, client: &Client) {
        let result = tokio::time::timeout(CONNECT_TIMEOUT, connect(client)).await;
        let problem: Arc<str> = match result {
            Ok(Ok(connection)) => {
                self.0.connection.store(Some(Arc::new(connection)));
                return;
            }
            Ok(Err(error)) => error.to_string().into(),
            Err(_) => "no answer in time".into(),
        };
        self.0.problem.store(Some(Arc::new(problem)));
    }
}

impl Drop for Connecting {
    fn drop(&mut self) {
        self.0.connecting.store(false, Ordering::Release);
        self.0.done.notify_waiters();
    }
}

async fn connect(client: &Client) -> Result<MultiplexedConnection, RedisError> {
    // Calls have a time limit of their own around everything; a second one would only cost.
    let config = AsyncConnectionConfig::new()
        .set_connection_timeout(Some(CONNECT_TIMEOUT))
        .set_response_timeout(None);
    client.get_multiplexed_async_connection_with_config(&config).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_about_an_address_does_not_repeat_it() {
        assert!(check_redis_url("redis://:secret@localhost:6379/2").is_ok());
        for url in ["http://:secret@host", "redis://:secret@host:port", "secret", ""] {
            let problem = check_redis_url(url).unwrap_err();
            assert!(!problem.contains("secret"));
        }
        let redis = Redis::new("redis://:secret@localhost/x", "a{b}", Duration::from_millis(20));
        assert_eq!(redis.prefix(), "a_b_:");
        assert!(!format!("{redis:?}").contains("secret"));
    }
}
