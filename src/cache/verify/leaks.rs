//! What was seen of entries that did not suit their callers, and which keys must not be used.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::RwLock;
use pingora_cache::key::HashBinary;

use super::super::KeyHash;
use super::Print;
use crate::clock::Tick;

/// An answer that a caller was given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sighting {
    /// Who, as in [`Note::caller`](super::super::Note::caller).
    pub caller: u64,
    /// What.
    pub print: Print,
    /// When, in milliseconds since the epoch.
    pub at_ms: u64,
}

/// What follows from two answers that differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Finding {
    /// Time may be the reason.
    Changed,
    /// The answer depends on the caller. Whether that is to be told, because it was not lately.
    Leak {
        /// To be told.
        tell: bool,
    },
}

/// Entries under suspicion, and keys that are not used any more. Everything in here is bounded,
/// and nothing is in here as long as nobody has found a difference.
#[derive(Debug, Default)]
pub struct Leaks {
    suspects: RwLock<HashMap<HashBinary, Suspect>>,
    suspect_count: AtomicUsize,
    barred: RwLock<HashMap<KeyHash, Barred>>,
    barred_count: AtomicUsize,
}

#[derive(Debug)]
struct Suspect {
    /// In the order of time.
    sightings: Vec<Sighting>,
    seen: Tick,
}

#[derive(Clone, Copy, Debug)]
struct Barred {
    since: Tick,
    told: Tick,
}

impl Leaks {
    /// Whether answers under this key must be neither used nor kept, because callers would get
    /// each other's. One load as long as there is no such key.
    #[must_use]
    pub fn bars(&self, key: &KeyHash, now: Tick) -> bool {
        self.barred_count.load(Ordering::Relaxed) != 0
            && self.barred.read().get(key).is_some_and(|barred| barred.holds(now))
    }

    /// Whether an entry is under suspicion, so that every use of it by another caller is looked
    /// at. One load as long as none is.
    #[must_use]
    pub fn suspects(&self, entry: HashBinary, now: Tick) -> bool {
        self.suspect_count.load(Ordering::Relaxed) != 0
            && self.suspects.read().get(&entry).is_some_and(|suspect| suspect.is_recent(now))
    }

    /// Notes that the caller of `filled` and the one of `fetched` were given different answers for
    /// the same entry of a key, and bars the key where that proves a leak.
    pub fn differ(
        &self,
        (key, entry): (&KeyHash, HashBinary),
        filled: Sighting,
        fetched: Sighting,
        now: Tick,
    ) -> Finding {
        let mut suspects = self.suspects.write();
        if suspects.len() >= SUSPECTS && !suspects.contains_key(&entry) {
            suspects.retain(|_, suspect| suspect.is_recent(now));
            while suspects.len() >= SUSPECTS {
                let oldest = suspects.iter().min_by_key(|(_, suspect)| suspect.seen);
                let Some(oldest) = oldest.map(|(entry, _)| *entry) else { break };
                suspects.remove(&oldest);
            }
        }
        let suspect =
            suspects.entry(entry).or_insert_with(|| Suspect { sightings: Vec::new(), seen: now });
        if !suspect.is_recent(now) {
            suspect.sightings.clear();
        }
        suspect.seen = now;
        suspect.note(filled);
        suspect.note(fetched);
        let proved = suspect.is_proved(filled, fetched);
        if proved {
            suspects.remove(&entry);
        }
        self.suspect_count.store(suspects.len(), Ordering::Relaxed);
        drop(suspects);
        if proved { Finding::Leak { tell: self.bar(key, now) } } else { Finding::Changed }
    }

    /// Notes that the callers of `filled` and `fetched` were given the same, where the entry is
    /// under suspicion: who is given what is another's speaks against a leak.
    pub fn agree(&self, entry: HashBinary, filled: Sighting, fetched: Sighting, now: Tick) {
        if !self.suspects(entry, now) {
            return;
        }
        if let Some(suspect) = self.suspects.write().get_mut(&entry) {
            suspect.note(filled);
            suspect.note(fetched);
        }
    }

    /// Bars a key; says whether that is to be told.
    fn bar(&self, key: &KeyHash, now: Tick) -> bool {
        let mut barred = self.barred.write();
        if barred.len() >= BARRED && !barred.contains_key(key) {
            barred.retain(|_, one| one.matters(now));
            while barred.len() >= BARRED {
                let oldest = barred.iter().min_by_key(|(_, one)| one.since);
                let Some(oldest) = oldest.map(|(key, _)| *key) else { break };
                barred.remove(&oldest);
            }
        }
        let before = barred.get(key).copied();
        let told = before.filter(|before| now.since(before.told) < TOLD_AGAIN);
        barred.insert(*key, Barred { since: now, told: told.map_or(now, |before| before.told) });
        self.barred_count.store(barred.len(), Ordering::Relaxed);
        told.is_none()
    }
}

impl Suspect {
    const fn is_recent(&self, now: Tick) -> bool {
        now.since(self.seen).as_nanos() < SUSPECTED.as_nanos()
    }

    /// Notes a sighting at its place in time. One fill may be compared several times.
    fn note(&mut self, sighting: Sighting) {
        if self.sightings.contains(&sighting) {
            return;
        }
        let place = self.sightings.partition_point(|known| known.at_ms <= sighting.at_ms);
        self.sightings.insert(place, sighting);
        if self.sightings.len() > SIGHTINGS {
            self.sightings.remove(0);
        }
    }

    /// Whether both callers were given what is theirs in turns, each twice, and none of them ever
    /// what is the other's.
    fn is_proved(&self, one: Sighting, other: Sighting) -> bool {
        let is = |known: &Sighting, one: Sighting| {
            known.caller == one.caller && known.print == one.print
        };
        let crossed = |known: &Sighting| {
            is(known, Sighting { print: other.print, ..one })
                || is(known, Sighting { print: one.print, ..other })
        };
        if self.sightings.iter().any(crossed) {
            return false;
        }
        let whose = self.sightings.iter().filter_map(|known| {
            if is(known, one) { Some(false) } else { is(known, other).then_some(true) }
        });
        let (mut turns, mut last) = (0, None);
        for which in whose {
            turns += u32::from(last != Some(which));
            last = Some(which);
        }
        turns >= TURNS
    }
}

impl Barred {
    const fn holds(self, now: Tick) -> bool {
        now.since(self.since).as_nanos() < BARRED_FOR.as_nanos()
    }

    /// Whether it is worth remembering.
    fn matters(self, now: Tick) -> bool {
        self.holds(now) || now.since(self.told) < TOLD_AGAIN
    }
}

/// Turns that prove a leak: one, the other, the one again, the other again.
const TURNS: u32 = 4;

/// Sightings remembered of an entry: two callers in turns among others.
const SIGHTINGS: usize = 16;

/// Entries under suspicion at once; the one that was quiet for longest makes room.
const SUSPECTS: usize = 1024;

/// How long an entry stays under suspicion after the last difference.
const SUSPECTED: Duration = Duration::from_mins(10);

/// Keys barred at once; the one barred first makes room.
const BARRED: usize = 4096;

/// How long a key is not used. After that it is kept again, and compared as before.
const BARRED_FOR: Duration = Duration::from_mins(10);

/// How often one key is told of.
const TOLD_AGAIN: Duration = Duration::from_hours(1);

#[cfg(test)]
mod tests;
