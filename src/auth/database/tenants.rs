//! Tenants as rows.

use super::DatabaseError;
use super::connection::Row;
use super::keys::time;

/// By `$1`, the id.
pub(super) const BY_ID: &str = "SELECT id, status, updated_at FROM tenants WHERE id = $1";

/// A page of tenants: those after the id `$1`.
pub(super) const PAGE: &str =
    "SELECT id, status, updated_at FROM tenants WHERE id > $1 ORDER BY id LIMIT 500";

/// Gives the tenant `$1` the status `$2` at the time `$3`.
pub(super) const SET: &str = "INSERT INTO tenants (id, status, updated_at) VALUES ($1, $2, $3) \
     ON CONFLICT (id) DO UPDATE SET status = excluded.status, updated_at = excluded.updated_at";

/// Forgets the tenant `$1`.
pub(super) const REMOVE: &str = "DELETE FROM tenants WHERE id = $1";

/// A tenant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TenantRecord {
    /// Its name.
    pub id: String,
    /// Compared with `policies.authorization.tenantStatus`.
    pub status: String,
    /// When the status was set, Unix seconds.
    pub updated_at: u64,
}

/// Reads a row.
///
/// # Errors
/// When it is not one of this table.
pub(super) fn read(row: &Row) -> Result<TenantRecord, DatabaseError> {
    Ok(TenantRecord { id: row.get(0)?, status: row.get(1)?, updated_at: time(row.get(2)?) })
}
