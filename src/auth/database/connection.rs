//! One connection to either database, and the few things that differ between them.

use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::Path;
use std::time::Duration;

use sqlx::postgres::{PgConnectOptions, PgConnection, PgRow};
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection, SqliteRow, SqliteSynchronous};
use sqlx::{
    AssertSqlSafe, ConnectOptions as _, Connection as _, Decode, Postgres, Row as _, Sqlite, Type,
};

use super::DatabaseError;
use super::address::Address;

/// What a connection is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Access {
    /// Looking things up. Nothing is written but what a crash has left half done.
    Read,
    /// Changing what is there.
    Change,
    /// Changing what is there, and making what is not.
    Create,
}

/// A connection to one of the two.
pub(super) enum Connection {
    /// To a file; a thread of its own works on it.
    Sqlite(SqliteConnection),
    /// To a server.
    Postgres(PgConnection),
}

/// A value in a statement.
#[derive(Clone, Copy)]
pub(super) enum Value<'a> {
    Text(Option<&'a str>),
    Number(Option<i64>),
    Bytes(&'a [u8]),
    Flag(bool),
}

/// Binds values, which are of one type for all statements, to a statement of one database.
macro_rules! bound {
    ($database:ty, $sql:expr, $values:expr) => {{
        let mut query = sqlx::query::<$database>($sql);
        for value in $values {
            query = match *value {
                Value::Text(text) => query.bind(text),
                Value::Number(number) => query.bind(number),
                Value::Bytes(bytes) => query.bind(bytes),
                Value::Flag(flag) => query.bind(flag),
            };
        }
        query
    }};
}

impl Connection {
    /// Connects. The caller bounds the wait; `timeout` is how long the database may work on one
    /// statement, or wait for its turn, before it gives up by itself.
    ///
    /// # Errors
    /// When there is no connection to be had.
    pub(super) async fn open(
        address: &Address,
        access: Access,
        timeout: Duration,
    ) -> Result<Self, DatabaseError> {
        match address {
            Address::Sqlite(path) => open_file(path, access, timeout).await.map(Self::Sqlite),
            Address::Postgres(options) => open_server(options, timeout).await.map(Self::Postgres),
        }
    }

    /// Runs a statement and reads what it gives. Values are `$1`, `$2`, ….
    pub(super) async fn fetch(
        &mut self,
        sql: &'static str,
        values: &[Value<'_>],
    ) -> Result<Vec<Row>, DatabaseError> {
        let rows = match self {
            Self::Sqlite(inner) => bound!(Sqlite, sql, values)
                .fetch_all(inner)
                .await
                .map(|rows| rows.into_iter().map(Row::Sqlite).collect()),
            Self::Postgres(inner) => bound!(Postgres, sql, values)
                .fetch_all(inner)
                .await
                .map(|rows| rows.into_iter().map(Row::Postgres).collect()),
        };
        rows.map_err(|error| trouble(&error))
    }

    /// Runs a statement and counts the rows that it changed.
    pub(super) async fn execute(
        &mut self,
        sql: &'static str,
        values: &[Value<'_>],
    ) -> Result<u64, DatabaseError> {
        let changed = match self {
            Self::Sqlite(inner) => {
                bound!(Sqlite, sql, values).execute(inner).await.map(|done| done.rows_affected())
            }
            Self::Postgres(inner) => {
                bound!(Postgres, sql, values).execute(inner).await.map(|done| done.rows_affected())
            }
        };
        changed.map_err(|error| trouble(&error))
    }

    /// Runs statements that take no values. `{BYTES}` in them is the type of bytes.
    pub(super) async fn script(&mut self, sql: &'static str) -> Result<(), DatabaseError> {
        let done = match self {
            Self::Sqlite(inner) => {
                let sql = AssertSqlSafe(sql.replace("{BYTES}", "BLOB"));
                sqlx::raw_sql(sql).execute(inner).await.map(drop)
            }
            Self::Postgres(inner) => {
                let sql = AssertSqlSafe(sql.replace("{BYTES}", "BYTEA"));
                sqlx::raw_sql(sql).execute(inner).await.map(drop)
            }
        };
        done.map_err(|error| trouble(&error))
    }

    /// Begins a transaction that sees no other writer's half-done work.
    pub(super) async fn begin(&mut self) -> Result<(), DatabaseError> {
        let sql = match self {
            // Otherwise it would begin as a reader, and could not become a writer later.
            Self::Sqlite(_) => "BEGIN IMMEDIATE",
            Self::Postgres(_) => "BEGIN",
        };
        self.script(sql).await
    }

    /// Lets nobody else make tables until the transaction ends.
    pub(super) async fn lock_schema(&mut self) -> Result<(), DatabaseError> {
        match self {
            // There is one writer at a time anyway.
            Self::Sqlite(_) => Ok(()),
            // The number is this program's, out of 2^63.
            Self::Postgres(_) => self.script("SELECT pg_advisory_xact_lock(6007461837)").await,
        }
    }

    /// Ends the connection in good order.
    pub(super) async fn close(self) {
        // Whoever closes has all answers already.
        let _ = match self {
            Self::Sqlite(inner) => inner.close().await,
            Self::Postgres(inner) => inner.close().await,
        };
    }
}

async fn open_file(
    path: &Path,
    access: Access,
    timeout: Duration,
) -> Result<SqliteConnection, DatabaseError> {
    if access == Access::Create {
        create_file(path)?;
    }
    if identity(path).is_none() {
        let message = "the file of the database is not there; `tidegate keys create` makes it";
        return Err(DatabaseError::Failed(message.to_owned()));
    }
    // No write-ahead log: a file beside the database that belongs to it would outlive a database
    // that is restored by replacing its file, and change what was restored. Without it the file
    // is whole, whoever reads it needs no right to write, and a reader waits for a commit at most.
    let options = SqliteConnectOptions::new()
        .filename(path)
        .busy_timeout(timeout)
        // A revocation that was confirmed must not be lost with the power.
        .synchronous(SqliteSynchronous::Extra)
        .disable_statement_logging();
    let options = match access {
        // Not opened for reading only: after a crash somebody has to take the half-done change
        // back, and whoever may not write the file reads it all the same.
        Access::Read => options.pragma("query_only", "1"),
        Access::Change | Access::Create => options,
    };
    options.connect().await.map_err(|error| trouble(&error))
}

/// Makes an empty file that only its owner can read. Its folder must be there: one that is not
/// is more likely a slip in the address.
fn create_file(path: &Path) -> Result<(), DatabaseError> {
    let made = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
    match made {
        Ok(_) => Ok(()),
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            Err(DatabaseError::Failed("the folder of the database is not there".to_owned()))
        }
        Err(error) => Err(DatabaseError::Failed(format!("the database cannot be made: {error}"))),
    }
}

/// Which file a path leads to, as far as there is one: a database that was replaced by another
/// is another database.
pub(super) fn identity(path: &Path) -> Option<(u64, u64)> {
    std::fs::metadata(path).ok().map(|file| (file.dev(), file.ino()))
}

async fn open_server(
    options: &PgConnectOptions,
    timeout: Duration,
) -> Result<PgConnection, DatabaseError> {
    let options = options.clone().disable_statement_logging();
    let options = match options.get_application_name() {
        None => options.application_name("tidegate"),
        Some(_) => options,
    };
    let mut connection = options.connect().await.map_err(|error| trouble(&error))?;
    // A statement that its asker has given up on must not wait on in the server. Not a start-up
    // parameter, because poolers in between refuse those.
    let limit = format!("SET statement_timeout = {}", timeout.as_millis().max(1));
    sqlx::raw_sql(AssertSqlSafe(limit))
        .execute(&mut connection)
        .await
        .map_err(|error| trouble(&error))?;
    Ok(connection)
}

/// A row of an answer.
pub(super) enum Row {
    Sqlite(SqliteRow),
    Postgres(PgRow),
}

impl Row {
    /// The value in a column, counted from 0.
    ///
    /// # Errors
    /// When it is not of this type.
    pub(super) fn get<T>(&self, column: usize) -> Result<T, DatabaseError>
    where
        T: for<'r> Decode<'r, Sqlite> + Type<Sqlite>,
        T: for<'r> Decode<'r, Postgres> + Type<Postgres>,
    {
        let value = match self {
            Self::Sqlite(row) => row.try_get(column),
            Self::Postgres(row) => row.try_get(column),
        };
        value.map_err(|error| trouble(&error))
    }
}

/// What went wrong, without an address and without a value.
fn trouble(error: &sqlx::Error) -> DatabaseError {
    use sqlx::Error;
    let message = match error {
        Error::Database(refusal) if is_without_tables(refusal.as_ref()) => NO_TABLES.to_owned(),
        Error::Database(refusal) => {
            let code = refusal.code().map(|code| format!(" ({code})")).unwrap_or_default();
            format!("the database refused: {}{code}", refusal.message())
        }
        Error::Io(error) => format!("no connection: {error}"),
        Error::Tls(error) => format!("no TLS: {error}"),
        Error::Configuration(_) => "the settings of the connection are not valid".to_owned(),
        Error::WorkerCrashed => "the connection was lost".to_owned(),
        _ => "the answer was not understood".to_owned(),
    };
    DatabaseError::Failed(message)
}

fn is_without_tables(refusal: &dyn sqlx::error::DatabaseError) -> bool {
    refusal.code().as_deref() == Some("42P01") || refusal.message().starts_with("no such table")
}

/// What is said of a database without tables.
pub(super) const NO_TABLES: &str =
    "the database has no tables yet; `tidegate keys create` makes them";

impl<'a> From<&'a str> for Value<'a> {
    fn from(text: &'a str) -> Self {
        Self::Text(Some(text))
    }
}

impl<'a> From<&'a String> for Value<'a> {
    fn from(text: &'a String) -> Self {
        Self::Text(Some(text))
    }
}

impl<'a> From<Option<&'a str>> for Value<'a> {
    fn from(text: Option<&'a str>) -> Self {
        Self::Text(text)
    }
}

impl<'a> From<&'a [u8]> for Value<'a> {
    fn from(bytes: &'a [u8]) -> Self {
        Self::Bytes(bytes)
    }
}

impl From<bool> for Value<'_> {
    fn from(flag: bool) -> Self {
        Self::Flag(flag)
    }
}

impl From<i64> for Value<'_> {
    fn from(number: i64) -> Self {
        Self::Number(Some(number))
    }
}

/// Seconds in a column. No time that a clock shows is out of range.
pub(super) fn seconds(number: u64) -> Value<'static> {
    Value::Number(Some(i64::try_from(number).unwrap_or(i64::MAX)))
}
