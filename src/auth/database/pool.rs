//! A bounded number of connections that read.
//!
//! A connection is kept only after it has answered well; whatever else happens to it, it is
//! thrown away. So nothing here can be stuck: a server that restarted, a file that was replaced,
//! a connection that died without a sign all cost at most one call, and each call has its limit.

use std::path::Path;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Semaphore;
use tokio::time::Instant;

use super::DatabaseError;
use super::address::Address;
use super::connection::{Access, Connection, Row, Value, identity};
use super::schema;
use crate::drill::{self, Dependency, Trouble};

/// Connections that were not used for so long are not trusted: something on the way may have
/// forgotten them.
const IDLE_MAX: Duration = Duration::from_mins(1);

/// A bounded number of connections that read.
pub(super) struct Pool {
    address: Address,
    places: Semaphore,
    idle: Mutex<Vec<Idle>>,
    timeout: Duration,
}

/// A connection that answered well and waits for the next call.
struct Idle {
    connection: Connection,
    since: Instant,
    /// The file that it reads.
    file: Option<(u64, u64)>,
}

impl std::fmt::Debug for Pool {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Pool({:?}, {} idle)", self.address, self.idle.lock().len())
    }
}

impl Pool {
    /// Prepares connections; makes none yet.
    pub(super) fn new(address: Address, max_connections: u32, timeout: Duration) -> Self {
        let places = usize::try_from(max_connections.max(1)).unwrap_or(1);
        let places = Semaphore::new(places.min(Semaphore::MAX_PERMITS));
        Self { address, places, idle: Mutex::new(Vec::new()), timeout }
    }

    /// Runs a statement and reads what it gives, within the time limit, the wait for a free
    /// connection included.
    ///
    /// # Errors
    /// When there is no answer in time.
    pub(super) async fn fetch(
        &self,
        sql: &'static str,
        values: &[Value<'_>],
    ) -> Result<Vec<Row>, DatabaseError> {
        tokio::time::timeout(self.timeout, self.attempt(sql, values))
            .await
            .unwrap_or(Err(DatabaseError::Timeout))
    }

    async fn attempt(
        &self,
        sql: &'static str,
        values: &[Value<'_>],
    ) -> Result<Vec<Row>, DatabaseError> {
        let Ok(_place) = self.places.acquire().await else {
            return Err(DatabaseError::Timeout);
        };
        match drill::of(Dependency::Database) {
            None => {}
            Some(Trouble::Down) => return Err(drilled("connection refused")),
            // The caller bounds the wait.
            Some(Trouble::Slow) => return std::future::pending().await,
            Some(Trouble::Wrong) => return Err(drilled("the statement was refused")),
        }
        let file = self.file();
        // A kept connection that fails says nothing of the database: a new one does.
        while let Some(mut connection) = self.take(file) {
            if let Ok(rows) = connection.fetch(sql, values).await {
                self.keep(connection, file);
                return Ok(rows);
            }
        }
        let mut connection = Connection::open(&self.address, Access::Read, self.timeout).await?;
        schema::check(&mut connection).await?;
        let rows = connection.fetch(sql, values).await?;
        self.keep(connection, file);
        Ok(rows)
    }

    fn file(&self) -> Option<(u64, u64)> {
        let Address::Sqlite(path) = &self.address else { return None };
        identity(Path::new(path))
    }

    /// A kept connection to this file; those that are of no use any more are dropped.
    fn take(&self, file: Option<(u64, u64)>) -> Option<Connection> {
        let mut useless = Vec::new();
        let mut idle = self.idle.lock();
        let found = loop {
            match idle.pop() {
                Some(kept) if kept.file == file && kept.since.elapsed() <= IDLE_MAX => {
                    break Some(kept.connection);
                }
                Some(kept) => useless.push(kept),
                None => break None,
            }
        };
        drop(idle);
        found
    }

    fn keep(&self, connection: Connection, file: Option<(u64, u64)>) {
        self.idle.lock().push(Idle { connection, since: Instant::now(), file });
    }
}

#[cold]
fn drilled(what: &str) -> DatabaseError {
    DatabaseError::Failed(format!("a drill: {what}"))
}
