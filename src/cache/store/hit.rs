//! Reading what was found: an entry, or a fill under way.

use std::any::Any;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use pingora::{Error, ErrorType, Result};
use pingora_cache::CacheKey;
use pingora_cache::storage::{HandleHit, HitHandler, Storage};
use pingora_cache::trace::SpanHandle;

use super::super::Note;
use super::entry::{Entry, Head};
use super::filling::Reader;

/// Reads a body; goes on reading even if the entry is replaced, purged or evicted meanwhile.
pub(super) struct Hit {
    source: Source,
    position: usize,
    end: usize,
}

enum Source {
    Entry(Arc<Entry>),
    Fill(Reader),
}

impl Hit {
    pub(super) fn of_entry(entry: Arc<Entry>) -> Self {
        let end = entry.body().len();
        Self { source: Source::Entry(entry), position: 0, end }
    }

    pub(super) const fn of_fill(reader: Reader) -> Self {
        Self { source: Source::Fill(reader), position: 0, end: usize::MAX }
    }

    fn head(&self) -> &Head {
        match &self.source {
            Source::Entry(entry) => &entry.head,
            Source::Fill(reader) => &reader.filling().head,
        }
    }

    /// What the answer knows of itself; none where it came without a note.
    fn note(&self) -> Option<&Arc<Note>> {
        self.head().note.as_ref()
    }

    /// Whether the answer is still arriving from the service.
    fn is_arriving(&self) -> bool {
        match &self.source {
            Source::Entry(_) => false,
            Source::Fill(reader) => !reader.filling().is_whole(),
        }
    }
}

/// What the answer behind a handler knows of itself; none where the handler is not of this store,
/// or the answer came without a note.
#[must_use]
pub fn note_of(handler: &HitHandler) -> Option<&Arc<Note>> {
    hit_of(handler)?.note()
}

/// The reader behind a handler; none where the handler is not of this store.
fn hit_of(handler: &HitHandler) -> Option<&Hit> {
    handler.as_ref().as_any().downcast_ref()
}

#[async_trait]
impl HandleHit for Hit {
    /// # Errors
    /// When the fill that this follows broke off, or left this reader behind: the answer cannot be
    /// completed, and whoever gets it must see that.
    async fn read_body(&mut self) -> Result<Option<Bytes>> {
        let left = self.end.saturating_sub(self.position);
        if left == 0 {
            return Ok(None);
        }
        let part = match &mut self.source {
            Source::Entry(entry) => {
                let next = self.position + left.min(READ_BYTES);
                Some(entry.body().slice(self.position..next))
            }
            Source::Fill(reader) => reader.next(self.position as u64, left).await?,
        };
        self.position += part.as_ref().map_or(0, Bytes::len);
        Ok(part)
    }

    async fn finish(
        self: Box<Self>,
        _: &'static (dyn Storage + Sync),
        _: &CacheKey,
        _: &SpanHandle,
    ) -> Result<()> {
        Ok(())
    }

    /// Only a whole body can be sought. What is still arriving may become whole later, never the
    /// other way round, so that the answer to this holds for the reader's whole life once it is
    /// yes.
    fn can_seek(&self) -> bool {
        !self.is_arriving()
    }

    fn seek(&mut self, start: usize, end: Option<usize>) -> Result<()> {
        let length = match &self.source {
            Source::Entry(entry) => Some(entry.body().len()),
            Source::Fill(reader) => reader.filling().whole_length(),
        };
        match length {
            Some(length) if start < length => {
                self.position = start;
                self.end = end.unwrap_or(usize::MAX).min(length);
                Ok(())
            }
            Some(length) => Error::e_explain(
                ErrorType::InternalError,
                format!("cannot seek to {start} in a body of {length} bytes"),
            ),
            None => Error::e_explain(ErrorType::InternalError, "cannot seek in what is arriving"),
        }
    }

    fn get_eviction_weight(&self) -> usize {
        match &self.source {
            Source::Entry(entry) => usize::try_from(entry.weight()).unwrap_or(usize::MAX),
            Source::Fill(_) => 0,
        }
    }

    fn as_any(&self) -> &(dyn Any + Send + Sync) {
        self
    }

    fn as_any_mut(&mut self) -> &mut (dyn Any + Send + Sync) {
        self
    }
}

/// Bytes handed to the client's connection at once: few writes for large bodies, each short
/// enough for a write timeout to mean something.
pub(super) const READ_BYTES: usize = 64 * 1024;
