//! Revocations as operators order and see them.

use std::time::Duration;

use serde_json::{Map, Value, json};

use super::list::{Changed, Full};
use super::record::{Grounds, Record};
use super::{Done, Revocations, as_gauge, order};
use crate::clock::Moment;

/// Longest that an operator waits to hear whether the others were told.
const WAIT: Duration = Duration::from_secs(3);

/// What became of an order. It is in force on this node whatever the rest says.
#[derive(Clone, Debug)]
pub struct Ordered {
    /// The revocation as it is listed.
    pub revocation: Map<String, Value>,
    /// Whether it is in Redis, from where all nodes have it.
    pub is_shared: bool,
    /// Whether it is on disk, so that this node knows it after a restart.
    pub is_kept: bool,
}

/// Why an order is not carried out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refused {
    /// Everything that is wrong with it.
    Malformed(Vec<String>),
    /// The list holds as many as it may.
    Full(usize),
    /// There is no such revocation.
    Unknown,
}

impl Revocations {
    /// Revokes what an operator's JSON object names, and waits a bounded time for it to be
    /// shared and kept.
    ///
    /// # Errors
    /// When the order has problems, or the list is full.
    pub async fn revoke(&self, body: &[u8], now: Moment) -> Result<Ordered, Refused> {
        let settings = self.settings.load_full();
        let record = order::read(body, &settings, now).map_err(Refused::Malformed)?;
        let entries_max = settings.written.max_entries;
        let changed = {
            let mut list = self.list.lock();
            list.purge(&self.index, now.unix_seconds());
            let changed = list.revoke(record, entries_max, &self.index, now.unix_seconds());
            self.meters.entries.set(as_gauge(list.count()));
            changed.map_err(|Full| Refused::Full(entries_max))?
        };
        Ok(self.settled(changed).await)
    }

    /// Takes a revocation back, and waits a bounded time for that to be shared and kept.
    ///
    /// # Errors
    /// When there is no such revocation in force.
    pub async fn take_back(&self, id: &str, now: Moment) -> Result<Ordered, Refused> {
        let changed = {
            let mut list = self.list.lock();
            let changed = list.take_back(id, &self.index, now.unix_ms);
            self.meters.entries.set(as_gauge(list.count()));
            changed.ok_or(Refused::Unknown)?
        };
        Ok(self.settled(changed).await)
    }

    /// Every revocation in force, the latest first.
    #[must_use]
    pub fn listed(&self) -> Value {
        let records = self.list.lock().in_force();
        let items: Vec<Value> = records.iter().map(|record| Value::Object(shown(record))).collect();
        json!({ "revocations": items })
    }

    async fn settled(&self, changed: Changed) -> Ordered {
        let mut done = self.done.subscribe();
        self.changed.notify_one();
        let is_done = |done: &Done| done.upto >= changed.number;
        let outcome = match tokio::time::timeout(WAIT, done.wait_for(is_done)).await {
            Ok(Ok(done)) => *done,
            Ok(Err(_)) | Err(_) => Done::default(),
        };
        Ordered {
            revocation: shown(&changed.record),
            is_shared: outcome.is_shared,
            is_kept: outcome.is_kept,
        }
    }
}

/// A record in the words of the admin listener.
fn shown(record: &Record) -> Map<String, Value> {
    let mut members = Map::new();
    let mut put = |name: &str, value: Value| members.insert(name.to_owned(), value);
    put("id", record.id.as_str().into());
    let time = |seconds: u64| Value::from(order::written(seconds));
    match &record.grounds {
        Grounds::Token { id, provider } => {
            put("tokenId", id.as_str().into());
            provider.as_deref().map(|name| put("provider", name.into()));
        }
        Grounds::Subject { provider, subject, issued_before } => {
            put("provider", provider.as_str().into());
            put("subject", subject.as_str().into());
            issued_before.map(|before| put("issuedBefore", time(before)));
        }
        Grounds::Provider { provider, issued_before } => {
            put("provider", provider.as_str().into());
            put("issuedBefore", time(*issued_before));
        }
    }
    put("expiresAt", time(record.expires_at));
    put("changedAt", time(record.changed_ms / 1000));
    members
}
