//! How far a fill has come, and each of its readers.

use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};

use super::super::hit::READ_BYTES;

/// Behind the lock of its fill.
#[derive(Debug, Default)]
pub(super) struct Progress {
    /// What can still be read, each part with its place in the body.
    pub(super) parts: VecDeque<(u64, Bytes)>,
    pub(super) length: u64,
    /// Memory set aside.
    pub(super) reserved: u64,
    /// While the fill passes: how many bytes may wait for a reader.
    pub(super) window: Option<u64>,
    pub(super) end: Option<End>,
    pub(super) places: Vec<Place>,
    /// There has been a leading reader.
    pub(super) led: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    Whole,
    Broken,
}

/// A reader's place.
#[derive(Debug)]
pub(super) struct Place {
    pub(super) reader: u64,
    pub(super) position: u64,
    pub(super) leads: bool,
}

impl Progress {
    /// Where in the body the first part begins that is still here.
    pub(super) fn base(&self) -> u64 {
        self.parts.front().map_or(self.length, |(start, _)| *start)
    }

    /// From now on parts go when they are read. What waits already may go on waiting.
    pub(super) fn pass(&mut self) {
        self.window = Some(self.length - self.base() + WINDOW_BYTES);
    }

    fn lag(&self, place: &Place) -> u64 {
        self.length - place.position
    }

    /// Whether a reader that can be waited for is a window behind.
    pub(super) fn is_behind(&self) -> bool {
        self.window.is_some_and(|window| {
            self.places.iter().any(|place| !place.leads && self.lag(place) > window)
        })
    }

    /// Strikes off who is a window behind, of those that lead or of those that do not.
    pub(super) fn leave_behind(&mut self, window: u64, leads: bool) {
        let length = self.length;
        self.places.retain(|place| place.leads != leads || length - place.position <= window);
    }

    /// The body in one piece without spare capacity: the entry weighs what it says.
    pub(super) fn body(&self) -> Bytes {
        let mut body = Vec::with_capacity(usize::try_from(self.length).unwrap_or_default());
        for (_, part) in &self.parts {
            body.extend_from_slice(part);
        }
        Bytes::from(body.into_boxed_slice())
    }

    /// What there is from `position` on: of a fill that may be kept, a share of one part; of one
    /// that passes, as much as can be handed out at once.
    pub(super) fn part(&self, position: u64, most: usize) -> Option<Bytes> {
        let at = self.parts.partition_point(|(start, _)| *start <= position).checked_sub(1)?;
        let (start, part) = self.parts.get(at)?;
        let offset = usize::try_from(position - start).ok().filter(|at| *at < part.len())?;
        if self.window.is_none() || self.parts.len() == at + 1 {
            let until = part.len().min(offset.saturating_add(most.min(READ_BYTES)));
            return Some(part.slice(offset..until));
        }
        let most = most.min(PASS_BYTES);
        let mut all =
            BytesMut::from(part.get(offset..part.len().min(offset.saturating_add(most)))?);
        for (_, part) in self.parts.iter().skip(at + 1) {
            let more = part.len().min(most.saturating_sub(all.len()));
            all.extend_from_slice(part.get(..more)?);
        }
        Some(all.freeze())
    }
}

/// How many bytes wait for the slowest reader of a fill that passes, beside what waited when it
/// began to. More than Pingora writes between two turns of the leading reader (a handful of parts
/// of at most 64 KiB), so that only a reader that does not read is left behind.
pub(super) const WINDOW_BYTES: u64 = 2 << 20;

/// How many bytes are handed out at once while a fill passes.
const PASS_BYTES: usize = 1 << 20;
