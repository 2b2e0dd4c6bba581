//! A database that fails on command.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use parking_lot::Mutex;
use tokio::sync::Notify;

use super::ask::Sources;
use super::{Lookup, Records, RecordsError};
use crate::auth::api_key::KeyHash;
use crate::auth::database::KeyRecord;
use crate::telemetry::Metrics;

/// How the database is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::auth) enum Mood {
    /// It answers.
    #[default]
    Well,
    /// It refuses.
    Down,
    /// It never answers.
    Hangs,
    /// It holds something that makes no sense.
    Garbled,
    /// It answers when it is told to ([`FakeRecords::release`]).
    Holds,
}

/// A database in memory.
#[derive(Debug, Default)]
pub(in crate::auth) struct FakeRecords {
    keys: Mutex<HashMap<KeyHash, KeyRecord>>,
    tenants: Mutex<HashMap<String, String>>,
    mood: Mutex<Mood>,
    asked: AtomicU32,
    released: Notify,
}

impl FakeRecords {
    pub(in crate::auth) fn put_key(&self, hash: KeyHash, record: KeyRecord) {
        self.keys.lock().insert(hash, record);
    }

    pub(in crate::auth) fn put_tenant(&self, id: &str, status: &str) {
        self.tenants.lock().insert(id.to_owned(), status.to_owned());
    }

    pub(in crate::auth) fn set_mood(&self, mood: Mood) {
        *self.mood.lock() = mood;
    }

    /// Questions so far.
    pub(in crate::auth) fn asked(&self) -> u32 {
        self.asked.load(Ordering::SeqCst)
    }

    /// Lets one held question be answered.
    pub(in crate::auth) fn release(&self) {
        self.released.notify_one();
    }

    async fn answer<T>(&self, known: Option<T>) -> Result<Option<T>, RecordsError> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        let mood = *self.mood.lock();
        match mood {
            Mood::Well => Ok(known),
            Mood::Down => Err(RecordsError::Failed("refused".to_owned())),
            Mood::Hangs => std::future::pending().await,
            Mood::Garbled => Err(RecordsError::Failed("a row is not understood".to_owned())),
            Mood::Holds => {
                self.released.notified().await;
                Ok(known)
            }
        }
    }
}

#[async_trait]
impl Records for FakeRecords {
    async fn find_key(&self, hash: &KeyHash) -> Result<Option<KeyRecord>, RecordsError> {
        let known = self.keys.lock().get(hash).cloned();
        self.answer(known).await
    }

    async fn find_tenant(&self, id: &str) -> Result<Option<String>, RecordsError> {
        let known = self.tenants.lock().get(id).cloned();
        self.answer(known).await
    }
}

/// A look-up that asks this database and no Redis, and waits 20 ms for it.
pub(in crate::auth) fn lookup(records: &Arc<FakeRecords>, metrics: &Arc<Metrics>) -> Lookup {
    let lookup = Lookup::new(Arc::clone(metrics));
    let records = Arc::clone(records);
    lookup.set(Sources::with(records, None, Duration::from_millis(20), metrics));
    lookup
}
