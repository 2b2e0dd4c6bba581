//! API keys: where requests carry them, and what each proves about its holder (R101 to R103).
//!
//! A request carries one key, in a header or in its query ([`Carriers`]). Keys of the
//! configuration ([`Listed`]) are known at once; those of the database are looked up by their
//! hash ([`lookup`](super::lookup)). No key is kept, sent or logged: in memory, in Redis and in
//! the database there are hashes only (T27). Tests are in `tests.rs`, those of the outages in
//! `tests/outages.rs`.

mod carriers;
mod holder;
mod identify;
mod listed;

use http::HeaderValue;

use super::lookup::{Kind, Known, Records, RecordsError};
use crate::auth::database::KeyRecord;
use crate::edge::hex;
use crate::fault::Reject;

pub(super) use carriers::Carriers;
pub(super) use holder::Holder;
pub(super) use identify::identify;
pub(super) use listed::{Listed, secret_value};

/// What `IdentityFacts::provider` says for API keys; no identity provider may be called so.
pub(super) const PROVIDER: &str = "apiKeys";

/// Hash of an API key under a secret: what is kept and looked up instead of the key.
pub(in crate::auth) type KeyHash = [u8; 32];

/// API keys of the database, as they are looked up.
#[derive(Debug)]
pub(in crate::auth) struct Keys;

/// API keys of the database that are known here.
pub(in crate::auth) type KnownKeys = Known<Keys>;

impl Kind for Keys {
    type Key = KeyHash;
    type Record = KeyRecord;
    type Value = Holder;

    const WORD: &'static str = "apiKey";

    /// A key that was switched off is told like one that never was.
    fn value(record: KeyRecord) -> Option<Holder> {
        record.active.then(|| Holder::new(record))
    }

    fn redis_key(hash: &KeyHash) -> String {
        format!("auth:key:{}", hex(hash))
    }

    async fn find(
        records: &dyn Records,
        hash: &KeyHash,
    ) -> Result<Option<KeyRecord>, RecordsError> {
        records.find_key(hash).await
    }
}

/// Everything that the configuration says of API keys.
#[derive(Debug, Default)]
pub(super) struct ApiKeys {
    /// Where requests carry them.
    pub(super) carriers: Carriers,
    /// Those of the configuration itself.
    pub(super) listed: Listed,
    /// Whether there is any, or a database that may have some.
    pub(super) is_configured: bool,
}

impl ApiKeys {
    /// Whether the configuration has any API key, active or not, or a database of them.
    pub(super) const fn is_configured(&self) -> bool {
        self.is_configured
    }

    /// What a route says that takes nothing but API keys, to whoever sent none.
    pub(super) const fn challenge(&self) -> &HeaderValue {
        &self.carriers.challenge
    }

    /// What every key is told that opens nothing, whatever the reason.
    fn unknown(&self) -> Reject {
        super::challenge::api_key_unknown(&self.carriers.challenge)
    }
}

#[cfg(test)]
mod tests;
