//! API keys as rows.

use super::connection::{Row, Value, seconds};
use super::{DatabaseError, KeyHash, KeyRecord};

/// The columns that [`read`] reads, in its order.
macro_rules! columns {
    () => {
        "id, hash, prefix, client_id, tenant_id, plan, scopes, roles, products, active, \
         created_at, expires_at, rotated_from"
    };
}

/// By `$1`, the hash.
pub(super) const BY_HASH: &str = concat!("SELECT ", columns!(), " FROM api_keys WHERE hash = $1");

/// By `$1`, the id.
pub(super) const BY_ID: &str = concat!("SELECT ", columns!(), " FROM api_keys WHERE id = $1");

/// A page of keys: those after the id `$1`, of the client `$2` and the tenant `$3` where given.
pub(super) const PAGE: &str = concat!(
    "SELECT ",
    columns!(),
    " FROM api_keys WHERE id > $1 \
     AND (CAST($2 AS TEXT) IS NULL OR client_id = $2) \
     AND (CAST($3 AS TEXT) IS NULL OR tenant_id = $3) \
     ORDER BY id LIMIT 500"
);

/// The good successors of the key `$1`.
pub(super) const SUCCESSORS: &str =
    concat!("SELECT ", columns!(), " FROM api_keys WHERE rotated_from = $1 AND active");

/// A new row; values from [`values`].
pub(super) const INSERT: &str = concat!(
    "INSERT INTO api_keys (",
    columns!(),
    ") VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)"
);

/// Switches the key `$1` off.
pub(super) const REVOKE: &str = "UPDATE api_keys SET active = $2 WHERE id = $1";

/// Makes `$2` the last second of the key `$1`.
pub(super) const EXPIRE: &str = "UPDATE api_keys SET expires_at = $2 WHERE id = $1";

/// Changes nothing of the key `$1`, but makes everybody else who would change it wait.
pub(super) const LOCK: &str = "UPDATE api_keys SET active = active WHERE id = $1";

/// A key as it stands in the database.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredKey {
    /// What it proves.
    pub record: KeyRecord,
    /// Its first characters, by which people recognise it.
    pub prefix: String,
    /// The id of the key that it replaces.
    pub rotated_from: Option<String>,
    /// Its hash.
    pub hash: KeyHash,
}

/// Lists of a key, as they stand in a column.
pub(super) struct Lists {
    scopes: String,
    roles: String,
    products: String,
}

impl Lists {
    pub(super) fn of(record: &KeyRecord) -> Self {
        let text = |list: &[String]| serde_json::json!(list).to_string();
        Self {
            scopes: text(&record.scopes),
            roles: text(&record.roles),
            products: text(&record.products),
        }
    }
}

/// The values of a new row.
pub(super) fn values<'a>(key: &'a StoredKey, lists: &'a Lists) -> [Value<'a>; 13] {
    let record = &key.record;
    [
        (&record.id).into(),
        key.hash.as_slice().into(),
        (&key.prefix).into(),
        (&record.client_id).into(),
        record.tenant_id.as_deref().into(),
        record.plan.as_deref().into(),
        (&lists.scopes).into(),
        (&lists.roles).into(),
        (&lists.products).into(),
        record.active.into(),
        seconds(record.created_at),
        record.expires_at.map_or(Value::Number(None), seconds),
        key.rotated_from.as_deref().into(),
    ]
}

/// Reads a row.
///
/// # Errors
/// When it is not one of these tables: a key that is not understood proves nothing.
pub(super) fn read(row: &Row) -> Result<StoredKey, DatabaseError> {
    let hash: Vec<u8> = row.get(1)?;
    let record = KeyRecord {
        id: row.get(0)?,
        client_id: row.get(3)?,
        tenant_id: row.get(4)?,
        plan: row.get(5)?,
        scopes: list(row, 6)?,
        roles: list(row, 7)?,
        products: list(row, 8)?,
        active: row.get(9)?,
        created_at: time(row.get(10)?),
        expires_at: row.get::<Option<i64>>(11)?.map(time),
    };
    let hash = hash.try_into().map_err(|_| not_understood())?;
    Ok(StoredKey { record, prefix: row.get(2)?, rotated_from: row.get(12)?, hash })
}

fn list(row: &Row, column: usize) -> Result<Vec<String>, DatabaseError> {
    let text: String = row.get(column)?;
    serde_json::from_str(&text).map_err(|_| not_understood())
}

fn not_understood() -> DatabaseError {
    DatabaseError::Failed("a row of the table of keys is not understood".to_owned())
}

/// Seconds from a column. A time before 1970 is long past, like 1970 itself.
pub(super) fn time(number: i64) -> u64 {
    u64::try_from(number).unwrap_or(0)
}
