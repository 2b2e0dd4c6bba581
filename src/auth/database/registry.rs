//! The database as the command line sees it: everything may be read and changed.
//!
//! Each call makes a connection of its own and works in one transaction, so that it is done
//! whole or not at all, and notes in the table `audit` who did it.

use std::time::Duration;

use super::address::Address;
use super::connection::{Access, Connection, Value, seconds};
use super::keys::{self, Lists, StoredKey};
use super::tenants::{self, TenantRecord};
use super::{DatabaseError, DatabaseSettings, HashKey, KeyRecord, KeyText, key_text, schema};

/// The database, for reading and changing. Use it on one runtime.
#[derive(Debug)]
pub struct Registry {
    address: Address,
    pub(super) timeout: Duration,
    actor: String,
}

/// What a key is to prove.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NewKey {
    /// Name of the holder.
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
    /// Last second, in Unix time, in which it is good.
    pub expires_at: Option<u64>,
}

/// A key that was just made.
#[derive(Clone, Debug)]
pub struct Issued {
    /// The key itself, which nobody can ever have again.
    pub text: KeyText,
    /// What is kept of it.
    pub stored: StoredKey,
}

/// A key and the one that replaces it.
#[derive(Clone, Debug)]
pub struct Rotated {
    /// The new key.
    pub issued: Issued,
    /// The old one, as it is now.
    pub old: StoredKey,
}

/// Which keys are wanted; what is absent does not matter.
#[derive(Clone, Debug, Default)]
pub struct KeyFilter {
    /// Those of this client.
    pub client_id: Option<String>,
    /// Those of this tenant.
    pub tenant_id: Option<String>,
}

/// What happened to a key or a tenant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Happened {
    /// When, Unix seconds.
    pub at: u64,
    /// What: `key.create` and the like.
    pub action: String,
    /// Who did it.
    pub actor: String,
}

/// Why something was not done.
#[derive(Debug, thiserror::Error)]
pub enum RegistryError {
    /// The database has no answer. Where something was to be changed, it may have been.
    #[error("{0}")]
    Database(#[from] DatabaseError),
    /// There is no such key.
    #[error("there is no key with this id")]
    NoSuchKey,
    /// There is no such tenant.
    #[error("there is no such tenant")]
    NoSuchTenant,
    /// The key is not good any more, and so cannot be replaced.
    #[error("the key is revoked or has expired; `tidegate keys create` makes a new one")]
    NotGood,
    /// The key has been replaced already, by the key with this id.
    #[error("the key was rotated already; its successor is {0}")]
    RotatedAlready(String),
    /// The system has no random numbers.
    #[error("{0}")]
    Random(&'static str),
}

impl Registry {
    /// Prepares a database; connects to nothing yet. `actor` is who is said to have done what is
    /// done. Each call takes at most the settings' time limit, or five seconds where that is
    /// more: changing waits for the disk.
    ///
    /// # Errors
    /// When the address is not one.
    pub fn new(settings: &DatabaseSettings, actor: &str) -> Result<Self, DatabaseError> {
        let address = Address::parse(settings).map_err(DatabaseError::Url)?;
        let timeout = settings.timeout.max(TIMEOUT_MIN);
        Ok(Self { address, timeout, actor: actor.to_owned() })
    }

    /// Makes a key. Makes the database, too, where there is none.
    ///
    /// # Errors
    /// When there is no answer in time.
    pub async fn create(
        &self,
        secret: &HashKey,
        new: &NewKey,
        now: u64,
    ) -> Result<Issued, RegistryError> {
        self.work(Access::Create, async |connection| {
            let issued = issue(secret, new, None, now)?;
            insert(connection, &issued.stored).await?;
            self.note(connection, "key.create", &issued.stored.record.id, now).await?;
            Ok(issued)
        })
        .await
    }

    /// Switches a key off; says which it was. Switching off one that is off already is no error.
    ///
    /// # Errors
    /// When there is no such key, or no answer in time.
    pub async fn revoke(&self, id: &str, now: u64) -> Result<StoredKey, RegistryError> {
        self.work(Access::Change, async |connection| {
            connection.execute(keys::REVOKE, &[id.into(), false.into()]).await?;
            let key = find(connection, id).await?;
            self.note(connection, "key.revoke", id, now).await?;
            Ok(key)
        })
        .await
    }

    /// Makes a successor with the same rights, and lets the old key go on for `grace`; without
    /// one it is switched off at once. The successor lives until `expires_at`, or, without it,
    /// as long as the old key was made to live.
    ///
    /// # Errors
    /// When there is no such key, it is not good any more or has a good successor already, or
    /// there is no answer in time.
    pub async fn rotate(
        &self,
        secret: &HashKey,
        id: &str,
        grace: Duration,
        expires_at: Option<u64>,
        now: u64,
    ) -> Result<Rotated, RegistryError> {
        self.work(Access::Change, async |connection| {
            connection.execute(keys::LOCK, &[id.into()]).await?;
            let mut old = find(connection, id).await?;
            if !old.record.is_good(now) {
                return Err(RegistryError::NotGood);
            }
            for row in connection.fetch(keys::SUCCESSORS, &[id.into()]).await? {
                let successor = keys::read(&row)?.record;
                if successor.is_good(now) {
                    return Err(RegistryError::RotatedAlready(successor.id));
                }
            }
            let new = successor(&old.record, expires_at, now);
            let issued = issue(secret, &new, Some(id), now)?;
            insert(connection, &issued.stored).await?;
            if grace.as_secs() == 0 {
                old.record.active = false;
                connection.execute(keys::REVOKE, &[id.into(), false.into()]).await?;
            } else {
                let last = now.saturating_add(grace.as_secs());
                let last = old.record.expires_at.map_or(last, |before| before.min(last));
                old.record.expires_at = Some(last);
                connection.execute(keys::EXPIRE, &[id.into(), seconds(last)]).await?;
            }
            self.note(connection, "key.rotate", id, now).await?;
            self.note(connection, "key.create", &issued.stored.record.id, now).await?;
            Ok(Rotated { issued, old })
        })
        .await
    }

    /// A key, and what happened to it, oldest first.
    ///
    /// # Errors
    /// When there is no such key, or no answer in time.
    pub async fn show(&self, id: &str) -> Result<(StoredKey, Vec<Happened>), RegistryError> {
        self.work(Access::Read, async |connection| {
            let key = find(connection, id).await?;
            let sql = "SELECT at, action, actor FROM audit WHERE id = $1 ORDER BY at LIMIT 1000";
            let mut history = Vec::new();
            for row in connection.fetch(sql, &[id.into()]).await? {
                let at = keys::time(row.get(0)?);
                history.push(Happened { at, action: row.get(1)?, actor: row.get(2)? });
            }
            Ok((key, history))
        })
        .await
    }

    /// All keys that are wanted, oldest first.
    ///
    /// # Errors
    /// When there is no answer in time.
    pub async fn keys(&self, wanted: &KeyFilter) -> Result<Vec<StoredKey>, RegistryError> {
        let (client, tenant) = (wanted.client_id.as_deref(), wanted.tenant_id.as_deref());
        let mut found: Vec<StoredKey> = Vec::new();
        loop {
            let after = found.last().map_or("", |key| key.record.id.as_str()).to_owned();
            let page = self
                .work(Access::Read, async |connection| {
                    let values: [Value<'_>; 3] = [(&after).into(), client.into(), tenant.into()];
                    let rows = connection.fetch(keys::PAGE, &values).await?;
                    rows.iter().map(|row| Ok(keys::read(row)?)).collect::<Result<Vec<_>, _>>()
                })
                .await?;
            let is_last = page.len() < PAGE_ROWS;
            found.extend(page);
            if is_last {
                break;
            }
        }
        found.sort_by(|a, b| {
            (a.record.created_at, &a.record.id).cmp(&(b.record.created_at, &b.record.id))
        });
        Ok(found)
    }

    /// Gives a tenant a status. Makes the database, too, where there is none.
    ///
    /// # Errors
    /// When there is no answer in time.
    pub async fn set_tenant(&self, id: &str, status: &str, now: u64) -> Result<(), RegistryError> {
        self.work(Access::Create, async |connection| {
            let values = [id.into(), status.into(), seconds(now)];
            connection.execute(tenants::SET, &values).await?;
            self.note(connection, "tenant.set", id, now).await
        })
        .await
    }

    /// Forgets a tenant.
    ///
    /// # Errors
    /// When there is no such tenant, or no answer in time.
    pub async fn remove_tenant(&self, id: &str, now: u64) -> Result<(), RegistryError> {
        self.work(Access::Change, async |connection| {
            if connection.execute(tenants::REMOVE, &[id.into()]).await? == 0 {
                return Err(RegistryError::NoSuchTenant);
            }
            self.note(connection, "tenant.remove", id, now).await
        })
        .await
    }

    /// All tenants, in the order of their names.
    ///
    /// # Errors
    /// When there is no answer in time.
    pub async fn tenants(&self) -> Result<Vec<TenantRecord>, RegistryError> {
        let mut found: Vec<TenantRecord> = Vec::new();
        loop {
            let after = found.last().map_or("", |tenant| tenant.id.as_str()).to_owned();
            let page = self
                .work(Access::Read, async |connection| {
                    let rows = connection.fetch(tenants::PAGE, &[(&after).into()]).await?;
                    rows.iter().map(|row| Ok(tenants::read(row)?)).collect::<Result<Vec<_>, _>>()
                })
                .await?;
            let is_last = page.len() < PAGE_ROWS;
            found.extend(page);
            if is_last {
                return Ok(found);
            }
        }
    }

    /// Does something in one transaction of a connection of its own, within the time limit.
    async fn work<T>(
        &self,
        access: Access,
        work: impl AsyncFnOnce(&mut Connection) -> Result<T, RegistryError>,
    ) -> Result<T, RegistryError> {
        let whole = async {
            let mut connection = Connection::open(&self.address, access, self.timeout).await?;
            schema::prepare(&mut connection, access).await?;
            if access != Access::Read {
                connection.begin().await?;
            }
            // A connection that is dropped with its transaction open takes everything back.
            let done = work(&mut connection).await?;
            if access != Access::Read {
                connection.script("COMMIT").await?;
            }
            connection.close().await;
            Ok(done)
        };
        Box::pin(tokio::time::timeout(self.timeout, whole))
            .await
            .unwrap_or(Err(DatabaseError::Timeout.into()))
    }

    async fn note(
        &self,
        connection: &mut Connection,
        action: &str,
        id: &str,
        now: u64,
    ) -> Result<(), RegistryError> {
        let sql = "INSERT INTO audit (at, action, id, actor) VALUES ($1, $2, $3, $4)";
        let values = [seconds(now), action.into(), id.into(), (&self.actor).into()];
        connection.execute(sql, &values).await?;
        Ok(())
    }
}

/// The time limit of a change, where the settings' is shorter.
const TIMEOUT_MIN: Duration = Duration::from_secs(5);
/// Rows of a page, as the statements say.
const PAGE_ROWS: usize = 500;

async fn find(connection: &mut Connection, id: &str) -> Result<StoredKey, RegistryError> {
    let rows = connection.fetch(keys::BY_ID, &[id.into()]).await?;
    let row = rows.first().ok_or(RegistryError::NoSuchKey)?;
    Ok(keys::read(row)?)
}

async fn insert(connection: &mut Connection, key: &StoredKey) -> Result<(), RegistryError> {
    let lists = Lists::of(&key.record);
    connection.execute(keys::INSERT, &keys::values(key, &lists)).await?;
    Ok(())
}

fn issue(
    secret: &HashKey,
    new: &NewKey,
    rotated_from: Option<&str>,
    now: u64,
) -> Result<Issued, RegistryError> {
    let text = KeyText::generate().map_err(RegistryError::Random)?;
    let stored = StoredKey {
        record: KeyRecord {
            id: key_text::new_id().map_err(RegistryError::Random)?,
            client_id: new.client_id.clone(),
            tenant_id: new.tenant_id.clone(),
            plan: new.plan.clone(),
            scopes: new.scopes.clone(),
            roles: new.roles.clone(),
            products: new.products.clone(),
            active: true,
            created_at: now,
            expires_at: new.expires_at,
        },
        prefix: text.prefix().to_owned(),
        rotated_from: rotated_from.map(ToOwned::to_owned),
        hash: secret.hash(text.reveal()),
    };
    Ok(Issued { text, stored })
}

/// What a key's successor is to prove: the same.
fn successor(old: &KeyRecord, expires_at: Option<u64>, now: u64) -> NewKey {
    let same_life = || {
        let life = old.expires_at?.saturating_sub(old.created_at);
        Some(now.saturating_add(life))
    };
    NewKey {
        client_id: old.client_id.clone(),
        tenant_id: old.tenant_id.clone(),
        plan: old.plan.clone(),
        scopes: old.scopes.clone(),
        roles: old.roles.clone(),
        products: old.products.clone(),
        expires_at: expires_at.or_else(same_life),
    }
}
