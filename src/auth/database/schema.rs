//! The tables, and their versions.
//!
//! A version of the tables is the number of steps that led to it. Commands that write take the
//! steps that are missing; the gateway takes none. A newer Tidegate's tables are refused, for
//! nobody can know what an unknown column means for a key.

use super::DatabaseError;
use super::connection::{Access, Connection, NO_TABLES};

/// The steps from an empty database to these tables, in order. A step that was released never
/// changes.
const STEPS: &[&str] = &["
    CREATE TABLE api_keys (
        id TEXT NOT NULL PRIMARY KEY,
        hash {BYTES} NOT NULL UNIQUE,
        prefix TEXT NOT NULL,
        client_id TEXT NOT NULL,
        tenant_id TEXT,
        plan TEXT,
        scopes TEXT NOT NULL,
        roles TEXT NOT NULL,
        products TEXT NOT NULL,
        active BOOLEAN NOT NULL,
        created_at BIGINT NOT NULL,
        expires_at BIGINT,
        rotated_from TEXT
    );
    CREATE INDEX api_keys_of_client ON api_keys (client_id);
    CREATE INDEX api_keys_rotated_from ON api_keys (rotated_from);
    CREATE TABLE tenants (
        id TEXT NOT NULL PRIMARY KEY,
        status TEXT NOT NULL,
        updated_at BIGINT NOT NULL
    );
    CREATE TABLE audit (
        at BIGINT NOT NULL,
        action TEXT NOT NULL,
        id TEXT NOT NULL,
        actor TEXT NOT NULL
    );
    CREATE INDEX audit_of_id ON audit (id);
"];

const READ_VERSION: &str = "SELECT max(version) FROM schema_version";

/// Sees to it that the tables are these.
///
/// # Errors
/// When there are none, or others.
pub(super) async fn check(connection: &mut Connection) -> Result<(), DatabaseError> {
    match version(connection).await? {
        Some(found) if found == current() => Ok(()),
        Some(found) if found > current() => Err(newer(found)),
        Some(found) => Err(DatabaseError::Failed(format!(
            "the database has tables of version {found}, this program needs version {}; any \
             command that changes a key brings them up to date",
            current()
        ))),
        None => Err(DatabaseError::Failed(NO_TABLES.to_owned())),
    }
}

/// Brings the tables up to date; makes them where `access` allows it.
///
/// # Errors
/// When that is not possible, or they are newer than this program.
pub(super) async fn prepare(
    connection: &mut Connection,
    access: Access,
) -> Result<(), DatabaseError> {
    if access == Access::Read {
        return check(connection).await;
    }
    // Whoever may only change rows must not need the right to make tables.
    match version(connection).await {
        Ok(found) if found == Some(current()) => return Ok(()),
        Ok(_) => {}
        Err(DatabaseError::Failed(why)) if why == NO_TABLES && access == Access::Create => {}
        Err(error) => return Err(error),
    }
    connection.begin().await?;
    connection.lock_schema().await?;
    if access == Access::Create {
        let table = "CREATE TABLE IF NOT EXISTS schema_version (version BIGINT NOT NULL)";
        connection.script(table).await?;
    }
    let found = version(connection).await?;
    let done = match found {
        None if access != Access::Create => {
            return Err(DatabaseError::Failed(NO_TABLES.to_owned()));
        }
        found => found.unwrap_or(0),
    };
    if done > current() {
        return Err(newer(done));
    }
    for (number, step) in (1_i64..).zip(STEPS) {
        if number > done {
            connection.script(step).await?;
            let insert = "INSERT INTO schema_version (version) VALUES ($1)";
            connection.execute(insert, &[number.into()]).await?;
        }
    }
    connection.script("COMMIT").await
}

async fn version(connection: &mut Connection) -> Result<Option<i64>, DatabaseError> {
    let rows = connection.fetch(READ_VERSION, &[]).await?;
    rows.first().map_or(Ok(None), |row| row.get(0))
}

fn current() -> i64 {
    i64::try_from(STEPS.len()).unwrap_or(i64::MAX)
}

fn newer(found: i64) -> DatabaseError {
    DatabaseError::Failed(format!(
        "the database has tables of version {found}, made by a newer Tidegate; this program knows \
         version {} and touches nothing",
        current()
    ))
}
