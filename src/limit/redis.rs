//! Taking from counters in Redis: one script call, within one time limit.
//!
//! What a slow Redis still does with a call that was given up counts there, and so does a script
//! that had run when its connection broke: the error is towards fewer admissions.

use std::io::Write;
use std::time::Duration;

use prometheus::Histogram;
use redis::aio::MultiplexedConnection;
use redis::{Cmd, ErrorKind, RedisError, RedisWrite, ServerErrorKind, ToRedisArgs, Value};
use tokio::time::Instant;

use super::Take;
use super::math::Reply;
use super::script;
use crate::link::{self, Failure};
use crate::telemetry::Metrics;

/// One Redis.
#[derive(Debug)]
pub(super) struct Redis {
    link: link::Redis,
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
            link: link::Redis::new(url, prefix, timeout),
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
        let command = self.command(takes);
        let command = &command;
        let result = self.link.call(|connection| run(connection, command, takes.len())).await;
        let duration = match &result {
            Ok(_) => &self.durations.ok,
            Err(Failure::Timeout) => &self.durations.timeout,
            Err(_) => &self.durations.error,
        };
        duration.observe(started.elapsed().as_secs_f64());
        result
    }

    /// Drops all connections, so that the next call makes new ones.
    pub(super) fn disconnect(&self) {
        self.link.disconnect();
    }

    fn command(&self, takes: &[Take]) -> Cmd {
        let mut command = redis::cmd("EVALSHA");
        command.arg(&self.script_sha).arg(takes.len());
        for take in takes {
            command.arg(Key { prefix: self.link.prefix(), key: &take.key });
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
    mut connection: MultiplexedConnection,
    command: &Cmd,
    rules: usize,
) -> Result<Vec<Reply>, Failure> {
    let value = match command.query_async(&mut connection).await {
        // Redis is new to us, restarted, failed over or was told to forget its scripts.
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
}
