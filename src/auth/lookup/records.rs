//! Who is asked last: the database, or what stands for it in tests.

use std::fmt;

use async_trait::async_trait;

use crate::auth::api_key::KeyHash;
use crate::auth::database::{Database, DatabaseError, KeyRecord};

/// Why there is no answer. Holds no address and nothing of a key.
#[derive(Debug, thiserror::Error)]
pub(in crate::auth) enum RecordsError {
    /// It came too late, or not at all.
    #[error("no answer in time")]
    Timeout,
    /// The database cannot be reached, refuses, or says what makes no sense.
    #[error("{0}")]
    Failed(String),
}

impl From<DatabaseError> for RecordsError {
    fn from(error: DatabaseError) -> Self {
        match error {
            DatabaseError::Timeout => Self::Timeout,
            error => Self::Failed(error.to_string()),
        }
    }
}

/// API keys and tenants, by what they are found by.
#[async_trait]
pub(in crate::auth) trait Records: fmt::Debug + Send + Sync {
    /// The key with a hash; none where there is none.
    async fn find_key(&self, hash: &KeyHash) -> Result<Option<KeyRecord>, RecordsError>;

    /// The status of a tenant; none where there is none of this id.
    async fn find_tenant(&self, id: &str) -> Result<Option<String>, RecordsError>;
}

#[async_trait]
impl Records for Database {
    async fn find_key(&self, hash: &KeyHash) -> Result<Option<KeyRecord>, RecordsError> {
        Ok(Self::find_key(self, hash).await?)
    }

    async fn find_tenant(&self, id: &str) -> Result<Option<String>, RecordsError> {
        Ok(Self::find_tenant(self, id).await?)
    }
}

/// A database that could not even be prepared.
#[derive(Debug)]
pub(super) struct Broken;

#[async_trait]
impl Records for Broken {
    async fn find_key(&self, _: &KeyHash) -> Result<Option<KeyRecord>, RecordsError> {
        Err(RecordsError::Failed("the address of the database is not one".to_owned()))
    }

    async fn find_tenant(&self, _: &str) -> Result<Option<String>, RecordsError> {
        Err(RecordsError::Failed("the address of the database is not one".to_owned()))
    }
}
