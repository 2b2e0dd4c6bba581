//! Writing an answer into the store.
//!
//! The body is gathered apart and becomes an entry only when it is whole; a fill that is dropped
//! before, because the service went away, leaves nothing, and everyone who follows it gets an
//! error. Nothing that happens here fails the request while somebody reads the answer: a fill that
//! cannot be kept lets the body pass.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use pingora::{Error, ErrorType, Result};
use pingora_cache::key::HashBinary;
use pingora_cache::storage::{HandleMiss, MissFinishType};

use super::MemoryStore;
use super::filling::{Filling, Pushed};

/// Longest body that is kept of an answer, in bytes, whatever its header promises: put it into the
/// extensions of the answer's [`pingora_cache::CacheMeta`]. The store's own limit applies too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BodyLimit(pub u64);

/// Writes the body of one answer.
pub(super) struct Fill {
    store: &'static MemoryStore,
    slot: HashBinary,
    filling: Arc<Filling>,
    tag: [u8; 8],
    ended: bool,
}

impl Fill {
    pub(super) fn new(
        store: &'static MemoryStore,
        slot: HashBinary,
        filling: Arc<Filling>,
    ) -> Self {
        let tag = filling.record.number.to_be_bytes();
        Self { store, slot, filling, tag, ended: false }
    }
}

#[async_trait]
impl HandleMiss for Fill {
    /// # Errors
    /// When the answer is too large to keep and nobody reads it any more: there is no reason to go
    /// on asking the service for it.
    async fn write_body(&mut self, data: Bytes, _: bool) -> Result<()> {
        if data.is_empty() {
            return Ok(());
        }
        match self.filling.push(data) {
            Pushed::Taken => Ok(()),
            Pushed::Wait => {
                self.filling.wait_for_readers().await;
                Ok(())
            }
            Pushed::Nobody => Error::e_explain(
                ErrorType::WriteError,
                "nobody reads an answer that is too large to keep",
            ),
        }
    }

    async fn finish(mut self: Box<Self>) -> Result<MissFinishType> {
        self.ended = true;
        let weight = self.filling.finish();
        Ok(MissFinishType::Created(usize::try_from(weight).unwrap_or(usize::MAX)))
    }

    fn streaming_write_tag(&self) -> Option<&[u8]> {
        Some(&self.tag)
    }
}

impl Drop for Fill {
    fn drop(&mut self) {
        if !self.ended {
            self.filling.break_off();
        }
        self.store.end_fill(&self.slot, &self.filling);
    }
}
