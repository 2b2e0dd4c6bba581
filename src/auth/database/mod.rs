//! The database of API keys and tenants: `SQLite` on this node, or `PostgreSQL` for nodes that
//! share one.
//!
//! The gateway only reads, through [`Database`]: a few connections, each call within one time
//! limit, every failure a value. It creates nothing; a database that is not there yet is one
//! that cannot be asked. The command line writes, through [`Registry`], which also makes the
//! tables. Both speak the same SQL to either database; what differs is in `connection` and
//! `schema`. A key stands here as a keyed hash only (T27); `key_text` knows its form.

mod address;
mod connection;
pub(in crate::auth) mod key_text;
mod keys;
mod pool;
mod registry;
mod schema;
mod settings;
mod tenants;

pub use key_text::{HashKey, KeyText};
pub use keys::StoredKey;
pub use registry::{Happened, Issued, KeyFilter, NewKey, Registry, RegistryError, Rotated};
pub use tenants::TenantRecord;

use std::sync::Arc;
use std::time::Duration;

use super::api_key::KeyHash;
use address::Address;
use pool::Pool;

/// Where the database is. Has no `Debug`: the address may carry a password.
#[derive(Clone, PartialEq, Eq)]
pub struct DatabaseSettings {
    /// `sqlite:PATH` or `postgres://user:password@host/name`.
    pub url: String,
    /// Certificates that vouch for the database's TLS, in PEM.
    pub ca: Option<Vec<u8>>,
    /// Most connections at once.
    pub max_connections: u32,
    /// Time limit of one look-up.
    pub timeout: Duration,
}

/// What the database says of an API key.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct KeyRecord {
    /// Public id of the key: `key_` and letters.
    pub id: String,
    /// Name of the holder; becomes the subject and the client id.
    pub client_id: String,
    /// The tenant that the holder belongs to.
    pub tenant_id: Option<String>,
    /// The holder's plan.
    pub plan: Option<String>,
    /// What the key may do.
    pub scopes: Vec<String>,
    /// Roles of the holder.
    pub roles: Vec<String>,
    /// Products that the holder may use.
    pub products: Vec<String>,
    /// A key that is not active is refused.
    pub active: bool,
    /// When it was made, Unix seconds.
    pub created_at: u64,
    /// Last second, in Unix time, in which it is good.
    pub expires_at: Option<u64>,
}

impl KeyRecord {
    /// Whether the key is good at a time, in Unix seconds: active, and not beyond the last
    /// second of its life.
    #[must_use]
    pub fn is_good(&self, unix_seconds: u64) -> bool {
        self.active && self.expires_at.is_none_or(|last| unix_seconds <= last)
    }
}

/// Why the database has no answer. Holds no address and nothing of a key.
#[derive(Debug, thiserror::Error)]
pub enum DatabaseError {
    /// The address is not one.
    #[error("{0}")]
    Url(&'static str),
    /// No answer within the time limit.
    #[error("no answer in time")]
    Timeout,
    /// The database cannot be reached, or refuses.
    #[error("{0}")]
    Failed(String),
}

/// The database as the gateway sees it. Cheap to clone; connects when it is first asked, on the
/// runtime that asks.
#[derive(Clone, Debug)]
pub struct Database {
    pool: Arc<Pool>,
}

impl Database {
    /// Prepares a database; connects to nothing yet.
    ///
    /// # Errors
    /// When the address is not one.
    pub fn new(settings: &DatabaseSettings) -> Result<Self, DatabaseError> {
        let address = Address::parse(settings).map_err(DatabaseError::Url)?;
        let pool = Pool::new(address, settings.max_connections, settings.timeout);
        Ok(Self { pool: Arc::new(pool) })
    }

    /// The key with a hash; none where there is none.
    ///
    /// # Errors
    /// When there is no answer in time.
    pub async fn find_key(&self, hash: &KeyHash) -> Result<Option<KeyRecord>, DatabaseError> {
        let rows = Box::pin(self.pool.fetch(keys::BY_HASH, &[hash.as_slice().into()])).await?;
        rows.first().map(|row| keys::read(row).map(|key| key.record)).transpose()
    }

    /// The status of a tenant; none where there is none of this id.
    ///
    /// # Errors
    /// When there is no answer in time.
    pub async fn find_tenant(&self, id: &str) -> Result<Option<String>, DatabaseError> {
        // A text with this character cannot be in a database, and PostgreSQL hangs up on it.
        if id.contains('\0') {
            return Ok(None);
        }
        let rows = Box::pin(self.pool.fetch(tenants::BY_ID, &[id.into()])).await?;
        rows.first().map(|row| tenants::read(row).map(|tenant| tenant.status)).transpose()
    }
}

#[cfg(test)]
mod tests;
