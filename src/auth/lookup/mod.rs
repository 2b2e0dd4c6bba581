//! Finding out what the database says of a caller: on this node, else in Redis, else there.
//!
//! A request that can be answered on this node waits for nobody. All others of one key wait for
//! one look-up ([`flight`]), in a task of its own, so that a client that goes away takes nothing
//! from the others. Redis is a shared cache: where it is slow or away it is passed over, and the
//! database is asked. What was found counts for `cacheTtl` from when the database was read,
//! wherever it was kept in between (R102); what was not found counts for `negativeTtl`.
//!
//! Where the database does not answer, it is not known who calls: that is never a refusal (401)
//! but an outage (503), or what was known last, where the route says so.
//!
//! API keys and tenants are two [`Kind`]s of one path. Tests are beside the parts; `testing` has
//! a database that fails on command.

mod ask;
mod flight;
mod kept;
mod known;
mod meters;
mod records;
mod settings;
mod shared;
#[cfg(test)]
pub(in crate::auth) mod testing;

use std::fmt;
use std::hash::Hash;
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::clock::Moment;

pub(in crate::auth) use ask::Lookup;
pub(in crate::auth) use known::{Known, Local};
pub(in crate::auth) use records::{Records, RecordsError};
pub(in crate::auth) use settings::{DatabaseAccess, Terms};

/// What is looked up.
pub(in crate::auth) trait Kind: Send + Sync + 'static {
    /// What it is found by.
    type Key: Clone + Eq + Hash + fmt::Debug + Send + Sync + 'static;
    /// What the database and Redis hold.
    type Record: Serialize + DeserializeOwned + Send + Sync + 'static;
    /// What this node holds of a record.
    type Value: fmt::Debug + Send + Sync + 'static;

    /// The label in metrics.
    const WORD: &'static str;

    /// What to keep of a record; none for one that proves nothing, which counts as not found.
    fn value(record: Self::Record) -> Option<Self::Value>;

    /// The key in Redis, behind the deployment's prefix. Shows nothing secret.
    fn redis_key(key: &Self::Key) -> String;

    /// Asks the database.
    fn find(
        records: &dyn Records,
        key: &Self::Key,
    ) -> impl Future<Output = Result<Option<Self::Record>, RecordsError>> + Send;
}

/// When the database said something, in milliseconds of this process' monotonic clock; negative
/// for what it said before the process began, and Redis kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::auth) struct Since(i64);

impl Since {
    /// The moment that lay `age` before `now`.
    pub(in crate::auth) fn ago(age: Duration, now: Moment) -> Self {
        Self(ticks(now).saturating_sub(i64::try_from(age.as_millis()).unwrap_or(i64::MAX)))
    }

    /// Time passed since then; zero for a request that began before.
    pub(in crate::auth) fn age(self, now: Moment) -> Duration {
        let ms = ticks(now).saturating_sub(self.0);
        Duration::from_millis(u64::try_from(ms).unwrap_or_default())
    }
}

fn ticks(now: Moment) -> i64 {
    i64::try_from(now.tick.millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Tick;

    #[test]
    fn ages_reach_behind_the_beginning_of_the_process() {
        let start = Moment { tick: Tick::from_nanos(0), unix_ms: 0 };
        let since = Since::ago(Duration::from_secs(200), start);
        assert_eq!(since.age(start), Duration::from_secs(200));
        assert_eq!(since.age(start.plus(Duration::from_secs(50))), Duration::from_secs(250));
        let later = Since::ago(Duration::ZERO, start.plus(Duration::from_secs(1)));
        assert_eq!(later.age(start), Duration::ZERO);
    }
}
