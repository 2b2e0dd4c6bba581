//! Taking from counters in Redis: one script call, within one time limit.
//!
//! A request never waits longer than the time limit, whatever the state of Redis or of the
//! connections. Connections are made by the first request that finds none, in a task of the
//! runtime that serves requests, and are shared by all that come; requests wait for that task
//! only within their own time limit. What a slow Redis still does with a call that was given up
//! counts there: the error is towards fewer admissions.

use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use prometheus::Histogram;
use redis::aio::MultiplexedConnection;
use redis::io::tcp::TcpSettings;
use redis::{
    AsyncConnectionConfig, Client, Cmd, ErrorKind, IntoConnectionInfo, RedisError, RedisWrite,
    ServerErrorKind, ToRedisArgs, Value,
};
use tokio::sync::Notify;
use tokio::time::Instant;

use super::Take;
use super::math::Reply;
use super::script;
use crate::telemetry::Metrics;

/// Connections to Redis: their tasks may run on two threads. Redis itself runs one script at a
/// time, so more would not help.
const CONNECTIONS: usize = 2;

/// Time limit of making a connection, which no request waits for beyond its own limit.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);

/// Why a take has no answer. Never holds the address: it may carry a password.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
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
    /// The answer has not the form of the script's contract.
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
pub(super) struct Redis {
    client: Option<Client>,
    slots: [Arc<Slot>; CONNECTIONS],
    next: AtomicUsize,
    timeout: Duration,
    /// `PREFIX:`.
    prefix: String,
    script_sha: String,
    durations: Durations,
}

#[derive(Debug)]
struct Durations {
    ok: Histogram,
    timeout: Histogram,
    error: Histogram,
}

impl Redis {
    /// Prepares calls to the Redis at `url`; connects to nothing yet.
    pub(super) fn new(url: &str, prefix: &str, timeout: Duration, metrics: &Metrics) -> Self {
        let durations = |outcome| metrics.limit_redis_duration.with_label_values(&[outcome]);
        Self {
            client: open(url).ok(),
            slots: std::array::from_fn(|_| Arc::new(Slot::default())),
            next: AtomicUsize::new(0),
            timeout,
            // The first braces of a key are its hash tag, and that is the script's to choose.
            prefix: format!("{}:", prefix.replace(['{', '}'], "_")),
            script_sha: redis::Script::new(script::TAKE).get_hash().to_owned(),
            durations: Durations {
                ok: durations("ok"),
                timeout: durations("timeout"),
                error: durations("error"),
            },
        }
    }

    /// Takes everything, or nothing where a counter has not enough.
    ///
    /// # Errors
    /// When there is no answer within the time limit.
    pub(super) async fn take(&self, takes: &[Take]) -> Result<Vec<Reply>, Failure> {
        let started = Instant::now();
        let result = tokio::time::timeout(self.timeout, self.attempt(takes)).await;
        let (result, duration) = match result {
            Ok(Ok(replies)) => (Ok(replies), &self.durations.ok),
            Ok(Err(failure)) => (Err(failure), &self.durations.error),
            Err(_) => (Err(Failure::Timeout), &self.durations.timeout),
        };
        duration.observe(started.elapsed().as_secs_f64());
        result
    }

    /// Drops all connections, so that the next call makes new ones: a connection that only times
    /// out may be dead without a sign.
    pub(super) fn disconnect(&self) {
        for slot in &self.slots {
            slot.connection.store(None);
        }
    }

    async fn attempt(&self, takes: &[Take]) -> Result<Vec<Reply>, Failure> {
        let client = self.client.as_ref().ok_or(Failure::Address)?;
        let turn = self.next.fetch_add(1, Ordering::Relaxed) % CONNECTIONS;
        let slot = self.slots.get(turn).ok_or(Failure::Address)?;
        let command = self.command(takes);
        let connection = slot.connection(client).await?;
        match run(&connection, &command, takes.len()).await {
            // A Redis that restarted or closed an idle connection is there again at once. If it
            // had already run the script, this request pays twice; nobody is admitted twice.
            Err(Failure::Lost(_)) => {
                slot.forget(&connection);
                let connection = slot.connection(client).await?;
                let second = run(&connection, &command, takes.len()).await;
                if matches!(second, Err(Failure::Lost(_))) {
                    slot.forget(&connection);
                }
                second
            }
            other => other,
        }
    }

    fn command(&self, takes: &[Take]) -> Cmd {
        let mut command = redis::cmd("EVALSHA");
        command.arg(&self.script_sha).arg(takes.len());
        for take in takes {
            command.arg(Key { prefix: &self.prefix, key: &take.key });
        }
        // The server's clock.
        command.arg("");
        for take in takes {
            let (algorithm, numbers) = script::arguments(&take.rule.numbers);
            command.arg(algorithm).arg(&numbers);
        }
        command
    }
}

/// A key with the deployment's prefix, written without joining the two first.
struct Key<'a> {
    prefix: &'a str,
    key: &'a str,
}

impl ToRedisArgs for Key<'_> {
    fn write_redis_args<W: ?Sized + RedisWrite>(&self, out: &mut W) {
        let mut argument = out.writer_for_next_arg();
        // Writing into the command's memory cannot fail.
        let _ = argument.write_all(self.prefix.as_bytes());
        let _ = argument.write_all(self.key.as_bytes());
    }
}

async fn run(
    connection: &MultiplexedConnection,
    command: &Cmd,
    rules: usize,
) -> Result<Vec<Reply>, Failure> {
    let mut connection = connection.clone();
    let value = match command.query_async(&mut connection).await {
        // Redis restarted, failed over or was told to forget its scripts.
        Err(error) if error.kind() == ErrorKind::Server(ServerErrorKind::NoScript) => {
            load(&mut connection).await?;
            command.query_async(&mut connection).await?
        }
        other => other?,
    };
    read(&value, rules).ok_or(Failure::Reply)
}

async fn load(connection: &mut MultiplexedConnection) -> Result<(), RedisError> {
    redis::cmd("SCRIPT").arg("LOAD").arg(script::TAKE).exec_async(connection).await
}

fn read(value: &Value, rules: usize) -> Option<Vec<Reply>> {
    let Value::Array(values) = value else { return None };
    let (replies, rest) = values.as_chunks::<{ script::RULE_REPLIES }>();
    if replies.len() != rules || !rest.is_empty() {
        return None;
    }
    let number = |value: &Value| match value {
        Value::Int(number) => u64::try_from(*number).ok(),
        _ => None,
    };
    let reply = |[allowed, remaining, reset_ms]: &[Value; script::RULE_REPLIES]| {
        Some(Reply {
            allowed: number(allowed)? == 1,
            remaining: number(remaining)?,
            reset_ms: number(reset_ms)?,
        })
    };
    replies.iter().map(reply).collect()
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
    let mut connection = client.get_multiplexed_async_connection_with_config(&config).await?;
    load(&mut connection).await?;
    Ok(connection)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ints(numbers: &[i64]) -> Value {
        Value::Array(numbers.iter().map(|number| Value::Int(*number)).collect())
    }

    #[test]
    fn a_reply_is_read_only_in_the_form_of_the_contract() {
        let reply = |allowed, remaining, reset_ms| Reply { allowed, remaining, reset_ms };
        assert_eq!(
            read(&ints(&[1, 9, 0, 0, 0, 250]), 2),
            Some(vec![reply(true, 9, 0), reply(false, 0, 250)])
        );
        assert_eq!(read(&ints(&[1, 9, 0]), 2), None, "a rule too few");
        assert_eq!(read(&ints(&[1, 9, 0, 1]), 1), None, "a number too many");
        assert_eq!(read(&ints(&[1, -9, 0]), 1), None, "below nothing");
        assert_eq!(read(&Value::Nil, 1), None);
    }

    #[test]
    fn what_is_said_about_an_address_does_not_repeat_it() {
        assert!(check_redis_url("redis://:secret@localhost:6379/2").is_ok());
        for url in ["http://:secret@host", "redis://:secret@host:port", "secret", ""] {
            let problem = check_redis_url(url).unwrap_err();
            assert!(!problem.contains("secret"));
        }
        let metrics = Metrics::new().unwrap();
        let redis =
            Redis::new("redis://:secret@localhost/x", "a{b}", Duration::from_millis(20), &metrics);
        assert_eq!(redis.prefix, "a_b_:");
        assert!(!format!("{redis:?}").contains("secret"));
    }
}
