//! Why a call to Redis has no answer.

use std::sync::Arc;

use redis::{ErrorKind, RedisError, ServerErrorKind};

/// Why a call has no answer. Never holds the address: it may carry a password. Each counts as a
/// failure for a [`Breaker`](super::Breaker).
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
    /// The server is a replica: it became one, or another is the primary now.
    #[error("the server is a replica: {0}")]
    Replica(#[source] RedisError),
    /// Redis answered with an error.
    #[error("Redis refused the call: {0}")]
    Refused(#[source] RedisError),
    /// The answer has not the form that was asked for.
    #[error("the answer was not understood")]
    Reply,
}

impl Failure {
    /// Whether the connection is of no more use, and another may do: the call is then made once
    /// more on a new one.
    pub(super) const fn wants_connection(&self) -> bool {
        matches!(self, Self::Lost(_) | Self::Replica(_))
    }
}

impl From<RedisError> for Failure {
    fn from(error: RedisError) -> Self {
        if is_of_a_replica(&error) {
            return Self::Replica(error);
        }
        if error.is_unrecoverable_error() || error.is_io_error() {
            return Self::Lost(error);
        }
        // Among them `LOADING`, `CLUSTERDOWN` and `MOVED`: the server is the right one, or no
        // other connection would help.
        Self::Refused(error)
    }
}

/// Whether only a replica answers so. A script's error carries the code of the command inside it
/// from Redis 7 on; before, it stands in the text.
fn is_of_a_replica(error: &RedisError) -> bool {
    match error.kind() {
        ErrorKind::Server(ServerErrorKind::ReadOnly | ServerErrorKind::MasterDown) => true,
        ErrorKind::Server(ServerErrorKind::ResponseError) => {
            error.detail().is_some_and(|detail| detail.contains("-READONLY "))
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failure(answer: &str) -> Failure {
        let value = redis::parse_redis_value(answer.as_bytes()).unwrap();
        value.extract_error().map(drop).unwrap_err().into()
    }

    #[test]
    fn answers_of_a_replica_are_told_from_refusals() {
        for answer in [
            "-READONLY You can't write against a read only replica.\r\n",
            "-READONLY You can't write against a read only replica. script: 1, on @user_script\r\n",
            "-ERR Error running script (call to f_1): @user_script:9: @user_script: 9: -READONLY \
             You can't write against a read only replica.\r\n",
            "-MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.\r\n",
        ] {
            let failure = failure(answer);
            assert!(matches!(failure, Failure::Replica(_)), "{answer}: {failure:?}");
            assert!(failure.wants_connection());
        }
        for answer in [
            "-ERR Error running script (call to f_1): @user_script:9: READONLY\r\n",
            "-LOADING Redis is loading the dataset in memory\r\n",
            "-CLUSTERDOWN The cluster is down\r\n",
            "-MOVED 866 127.0.0.1:7000\r\n",
            "-TRYAGAIN Multiple keys request during rehashing of slot\r\n",
            "-NOSCRIPT No matching script. Please use EVAL.\r\n",
            "-NOREPLICAS Not enough good replicas to write.\r\n",
            "-NOPERM this user has no permissions to run the 'get' command\r\n",
            "-OOM command not allowed when used memory > 'maxmemory'.\r\n",
            "-ERR unknown command\r\n",
        ] {
            let failure = failure(answer);
            assert!(matches!(failure, Failure::Refused(_)), "{answer}: {failure:?}");
            assert!(!failure.wants_connection());
        }
    }

    #[test]
    fn a_broken_connection_is_lost() {
        let broken = std::io::Error::from(std::io::ErrorKind::BrokenPipe);
        assert!(matches!(Failure::from(RedisError::from(broken)), Failure::Lost(_)));
    }
}
