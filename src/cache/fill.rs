//! An answer on its way into the store.
//!
//! The body is gathered apart and becomes an entry only when it is whole; a fill that is dropped
//! before, because the client or the service went away, leaves nothing. Nothing that happens
//! here fails the request: a fill that cannot be kept goes quiet and lets the body pass.

use async_trait::async_trait;
use bytes::Bytes;
use pingora::Result;
use pingora_cache::key::HashBinary;
use pingora_cache::storage::{HandleMiss, MissFinishType};

use super::entry::{Entry, Head};
use super::store::MemoryStore;

/// Gathers the body of one answer.
pub(super) struct Fill {
    store: &'static MemoryStore,
    key: HashBinary,
    /// None once the answer turned out not to be kept.
    head: Option<Head>,
    body: Vec<u8>,
    /// Bytes set aside for this fill.
    reserved: u64,
}

impl Fill {
    pub(super) const fn new(store: &'static MemoryStore, key: HashBinary, head: Head) -> Self {
        Self { store, key, head: Some(head), body: Vec::new(), reserved: 0 }
    }

    fn give_up(&mut self) {
        self.head = None;
        self.body = Vec::new();
        self.store.release_fill(self.reserved);
        self.reserved = 0;
    }

    /// Sets memory aside for a body of that length, ahead of need where the length was promised.
    fn reserve(&mut self, length: u64, head: &Head) -> bool {
        if length > self.store.object_bytes_max() {
            return false;
        }
        if length <= self.reserved {
            return true;
        }
        let promised = head.promised_length().unwrap_or_default();
        let doubled = self.reserved.saturating_mul(2);
        let target = length.max(promised).max(doubled).min(self.store.object_bytes_max());
        if !self.store.reserve_fill(target - self.reserved) {
            return false;
        }
        self.reserved = target;
        let more = usize::try_from(target).unwrap_or(usize::MAX).saturating_sub(self.body.len());
        self.body.try_reserve_exact(more).is_ok()
    }
}

#[async_trait]
impl HandleMiss for Fill {
    async fn write_body(&mut self, data: Bytes, _: bool) -> Result<()> {
        if let Some(head) = self.head.take() {
            if self.reserve((self.body.len() + data.len()) as u64, &head) {
                self.body.extend_from_slice(&data);
                self.head = Some(head);
            } else {
                self.give_up();
            }
        }
        Ok(())
    }

    async fn finish(mut self: Box<Self>) -> Result<MissFinishType> {
        let Some(head) = self.head.take() else { return Ok(MissFinishType::Created(0)) };
        let body = std::mem::take(&mut self.body);
        // RFC 9111 section 3.3: an answer that is not whole is not kept as if it were.
        if head.promised_length().is_some_and(|promised| promised != body.len() as u64) {
            return Ok(MissFinishType::Created(0));
        }
        // A boxed slice has no spare capacity: the entry weighs what it says.
        let entry = Entry::new(head, Bytes::from(body.into_boxed_slice()));
        let weight = entry.weight();
        let kept = if self.store.insert(self.key, entry) { weight } else { 0 };
        Ok(MissFinishType::Created(usize::try_from(kept).unwrap_or(usize::MAX)))
    }
}

impl Drop for Fill {
    fn drop(&mut self) {
        self.store.release_fill(self.reserved);
    }
}
