//! An answer on its way into the store, as its writer and its readers share it.
//!
//! Readers follow the writer through the parts that have arrived, and wait for more. While the
//! answer may be kept, all parts stay. Once it is certain that it will not (it is too large, or
//! there is no memory), the fill *passes*: look-ups no longer find it, parts go as soon as every
//! reader has taken them, and the writer waits for readers that are more than a window behind.
//!
//! The one reader that the writer never waits for is the leading one, which serves the client whose
//! request fills: Pingora reads it from the very task that writes, so that waiting would be for
//! ever. It takes all that there is at once while the fill passes, and stays at most a few parts
//! behind, because Pingora writes to the client before it takes more from the service. It falls
//! further behind only once that client is gone, and is left behind then.

use std::collections::VecDeque;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use pingora::{Error, ErrorType, Result};
use pingora_cache::CacheKey;
use pingora_cache::key::HashBinary;
use tokio::sync::Notify;

use super::super::KeyHash;
use super::MemoryStore;
use super::entry::{Entry, Head};
use super::meters::Outcome;
use super::record::Record;

mod progress;

use progress::{End, Place, Progress, WINDOW_BYTES};

/// A fill under way.
#[derive(Debug)]
pub(super) struct Filling {
    pub(super) record: Arc<Record>,
    pub(super) head: Arc<Head>,
    slot: HashBinary,
    store: &'static MemoryStore,
    /// Longest body that is kept.
    limit: u64,
    /// Whether look-ups find it, and it is kept when it ends; changed under the shard's lock, or by
    /// its own writer.
    listed: AtomicBool,
    progress: Mutex<Progress>,
    /// There is more to read, or nothing more will come.
    grown: Notify,
    /// A reader took something, or left.
    taken: Notify,
}

/// What becomes of a part that was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pushed {
    /// It can be read.
    Taken,
    /// It can be read, but some reader should catch up before the next comes.
    Wait,
    /// Nobody reads any more.
    Nobody,
}

enum Next {
    Part(Bytes),
    Wait,
    End,
    Broken,
}

impl Filling {
    /// A fill for the answer `head`, whose body is kept if it has at most `limit` bytes.
    pub(super) fn new(
        store: &'static MemoryStore,
        slot: HashBinary,
        record: Record,
        head: Head,
        limit: u64,
    ) -> Self {
        let promised = head.promised_length().unwrap_or_default();
        let fits = promised <= limit && store.reserve_fill(promised);
        if !fits {
            store.meters.ended(Outcome::Outgrown).inc();
        }
        let progress = Progress {
            reserved: if fits { promised } else { 0 },
            window: (!fits).then_some(WINDOW_BYTES),
            ..Progress::default()
        };
        Self {
            record: Arc::new(record),
            head: Arc::new(head),
            slot,
            store,
            limit,
            listed: AtomicBool::new(fits),
            progress: Mutex::new(progress),
            grown: Notify::new(),
            taken: Notify::new(),
        }
    }

    pub(super) fn is_listed(&self) -> bool {
        self.listed.load(Ordering::Acquire)
    }

    /// Takes it out of sight; says whether it was in sight before.
    pub(super) fn unlist(&self) -> bool {
        self.listed.swap(false, Ordering::AcqRel)
    }

    /// Whether a look-up under `key`, whose whole hash is `whole`, may follow this.
    pub(super) fn answers(&self, key: &CacheKey, whole: &KeyHash) -> bool {
        self.is_listed() && self.record.key == *whole && self.head.suits(key)
    }

    /// A new reader from the body's first byte; none where those have been let go already. Only one
    /// leads: the one that the writer's own request reads.
    pub(super) fn follow(self: &Arc<Self>, leads: bool) -> Option<Reader> {
        let mut progress = self.progress.lock();
        if progress.base() > 0 {
            return None;
        }
        let reader = self.store.next_number();
        progress.places.push(Place { reader, position: 0, leads });
        progress.led |= leads;
        drop(progress);
        Some(Reader { filling: Arc::clone(self), reader })
    }

    /// Adds a part of the body.
    pub(super) fn push(&self, data: Bytes) -> Pushed {
        let mut progress = self.progress.lock();
        let end = progress.length + data.len() as u64;
        let promised = self.head.promised_length();
        if progress.end.is_some() || promised.is_some_and(|promised| promised < end) {
            // RFC 9112 section 6.3: more than was promised is no part of this answer.
            progress.end = Some(End::Broken);
            drop(progress);
            self.grown.notify_waiters();
            return Pushed::Taken;
        }
        if progress.window.is_none() && !self.reserve(&mut progress, end) {
            self.unlist();
            progress.pass();
            self.store.meters.ended(Outcome::Outgrown).inc();
        }
        if let Some(window) = progress.window {
            progress.leave_behind(window, true);
        }
        let start = progress.length;
        progress.length = end;
        let nobody = progress.window.is_some() && progress.places.is_empty();
        if nobody {
            self.trim(&mut progress);
            return if progress.led { Pushed::Nobody } else { Pushed::Taken };
        }
        progress.parts.push_back((start, data));
        let wait = progress.is_behind();
        drop(progress);
        self.grown.notify_waiters();
        if wait { Pushed::Wait } else { Pushed::Taken }
    }

    /// Waits until no reader but the leading one is behind; who cannot catch up in time is left
    /// behind, so that one slow client does not hold up the others for ever.
    pub(super) async fn wait_for_readers(&self) {
        let caught_up = async {
            loop {
                let mut taken = pin!(self.taken.notified());
                taken.as_mut().enable();
                if !self.progress.lock().is_behind() {
                    return;
                }
                taken.await;
            }
        };
        if tokio::time::timeout(PATIENCE, caught_up).await.is_err() {
            let mut progress = self.progress.lock();
            if let Some(window) = progress.window {
                progress.leave_behind(window, false);
                self.trim(&mut progress);
            }
        }
    }

    /// Ends the body; says how many bytes the entry weighs that it became, 0 if it became none.
    pub(super) fn finish(&self) -> u64 {
        let mut progress = self.progress.lock();
        let promised = self.head.promised_length();
        if progress.end.is_some() || promised.is_some_and(|promised| promised != progress.length) {
            drop(progress);
            self.break_off();
            return 0;
        }
        if progress.window.is_some() {
            progress.end = Some(End::Whole);
            drop(progress);
            self.grown.notify_waiters();
            return 0;
        }
        let body = progress.body();
        drop(progress);
        let (record, head) = (Arc::clone(&self.record), Arc::clone(&self.head));
        let entry = Entry::new(record, head, body.clone());
        let weight = entry.weight();
        let kept = self.store.admit(self.slot, entry, self);
        let outcome = if kept { Outcome::Kept } else { Outcome::Dropped };
        self.store.meters.ended(outcome).inc();

        let mut progress = self.progress.lock();
        // Readers go on in the one body, and the parts are free.
        progress.parts = VecDeque::from([(0, body)]);
        progress.end = Some(End::Whole);
        self.release(&mut progress, 0);
        drop(progress);
        self.grown.notify_waiters();
        if kept { weight } else { 0 }
    }

    /// Says to everyone who follows that the body will not be complete.
    pub(super) fn break_off(&self) {
        self.unlist();
        let mut progress = self.progress.lock();
        if progress.window.is_none() {
            self.store.meters.ended(Outcome::Aborted).inc();
        }
        progress.end = Some(End::Broken);
        drop(progress);
        self.grown.notify_waiters();
    }

    /// Whether all of the body is here.
    pub(super) fn is_whole(&self) -> bool {
        self.whole_length().is_some()
    }

    /// The length of the body, once all of it is here.
    pub(super) fn whole_length(&self) -> Option<usize> {
        let progress = self.progress.lock();
        let is_whole = progress.end == Some(End::Whole) && progress.window.is_none();
        if is_whole { usize::try_from(progress.length).ok() } else { None }
    }

    /// Sets memory aside for a body of that length.
    fn reserve(&self, progress: &mut Progress, length: u64) -> bool {
        if length > self.limit {
            return false;
        }
        let needed = length + PART_BYTES * (progress.parts.len() as u64 + 1);
        if needed <= progress.reserved {
            return true;
        }
        if !self.store.reserve_fill(needed - progress.reserved) {
            return false;
        }
        progress.reserved = needed;
        true
    }

    /// Gives back what is set aside beyond `bytes`.
    fn release(&self, progress: &mut Progress, bytes: u64) {
        let surplus = progress.reserved.saturating_sub(bytes);
        progress.reserved -= surplus;
        self.store.release_fill(surplus);
    }

    /// Lets parts go that everyone has taken.
    fn trim(&self, progress: &mut Progress) {
        let least = progress.places.iter().map(|place| place.position).min();
        let least = least.unwrap_or(progress.length);
        let is_read = |(start, part): &mut (u64, Bytes)| *start + part.len() as u64 <= least;
        while progress.parts.pop_front_if(is_read).is_some() {}
        let waiting = progress.length - progress.base();
        if let Some(window) = &mut progress.window {
            *window = (*window).min(waiting + WINDOW_BYTES);
        }
        self.release(progress, waiting + PART_BYTES * progress.parts.len() as u64);
    }

    fn take(&self, reader: u64, position: u64, most: usize) -> Next {
        let mut progress = self.progress.lock();
        let passes = progress.window.is_some();
        if passes && !progress.places.iter().any(|place| place.reader == reader) {
            return Next::Broken;
        }
        if position >= progress.length {
            return match progress.end {
                None => Next::Wait,
                Some(End::Whole) => Next::End,
                Some(End::Broken) => Next::Broken,
            };
        }
        let Some(part) = progress.part(position, most) else { return Next::Broken };
        let next = position + part.len() as u64;
        for place in progress.places.iter_mut().filter(|place| place.reader == reader) {
            place.position = next;
        }
        if passes {
            self.trim(&mut progress);
            drop(progress);
            self.taken.notify_waiters();
        }
        Next::Part(part)
    }

    fn leave(&self, reader: u64) {
        let mut progress = self.progress.lock();
        progress.places.retain(|place| place.reader != reader);
        if progress.window.is_some() {
            self.trim(&mut progress);
        }
        drop(progress);
        self.taken.notify_waiters();
    }
}

impl Drop for Filling {
    fn drop(&mut self) {
        self.store.release_fill(self.progress.get_mut().reserved);
    }
}

/// Reads a fill under way.
#[derive(Debug)]
pub(super) struct Reader {
    filling: Arc<Filling>,
    reader: u64,
}

impl Reader {
    pub(super) const fn filling(&self) -> &Arc<Filling> {
        &self.filling
    }

    /// The bytes from `position` on, at most `most`; none after the last. Nothing is lost when this
    /// is dropped before it is done.
    ///
    /// # Errors
    /// When the body will not be complete, or this reader was left behind.
    pub(super) async fn next(&self, position: u64, most: usize) -> Result<Option<Bytes>> {
        loop {
            // Asked first without setting up a wait: most often there is something.
            match self.filling.take(self.reader, position, most) {
                Next::Wait => {}
                now => return finished(now),
            }
            let mut grown = pin!(self.filling.grown.notified());
            grown.as_mut().enable();
            match self.filling.take(self.reader, position, most) {
                Next::Wait => grown.await,
                now => return finished(now),
            }
        }
    }
}

fn finished(next: Next) -> Result<Option<Bytes>> {
    match next {
        Next::Part(part) => Ok(Some(part)),
        Next::End | Next::Wait => Ok(None),
        Next::Broken => {
            let why = "the answer that this request follows broke off";
            Err(Error::explain(ErrorType::ConnectionClosed, why).into_up())
        }
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.filling.leave(self.reader);
    }
}

/// How long the writer waits for readers before each further part.
const PATIENCE: Duration = Duration::from_secs(10);

/// Memory of a part beside its bytes.
const PART_BYTES: u64 = 64;
