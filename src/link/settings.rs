//! How a Redis is used.

use std::time::Duration;

use super::{Address, Breaker};

/// How a Redis is used. Two users of equal settings may share what they know of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Where it is.
    pub address: Address,
    /// First part of every key.
    pub prefix: String,
    /// Time limit of one call.
    pub timeout: Duration,
    /// Failures in a row after which it is left alone.
    pub failures: u32,
    /// For how long.
    pub open_for: Duration,
    /// Nodes that use it, as long as it has never said how many there are.
    pub expected_nodes: u32,
}

impl Settings {
    /// Of one server, with the defaults of the configuration.
    #[must_use]
    pub fn server(url: &str, prefix: &str) -> Self {
        Self {
            address: Address::server(url),
            prefix: prefix.to_owned(),
            timeout: Duration::from_millis(20),
            failures: 5,
            open_for: Duration::from_secs(30),
            expected_nodes: 1,
        }
    }

    /// The same, but a call may take at least this long: for calls that no request waits for.
    #[must_use]
    pub fn with_timeout_min(&self, least: Duration) -> Self {
        Self { timeout: self.timeout.max(least), ..self.clone() }
    }

    /// A breaker by these settings.
    #[must_use]
    pub fn breaker(&self) -> Breaker {
        Breaker::new(self.failures, self.open_for)
    }
}
