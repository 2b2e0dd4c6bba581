//! One question at a time for each key.

use std::collections::HashMap;

use parking_lot::Mutex;
use pingora_cache::key::HashBinary;
use tokio::sync::watch;

/// Parts, so that threads seldom wait for each other.
const PARTS: usize = 16;

type Part = Mutex<HashMap<HashBinary, watch::Receiver<()>>>;

/// Which keys Redis is being asked for. Bounded by the requests that ask.
#[derive(Debug, Default)]
pub(super) struct Asking([Part; PARTS]);

/// Who asks.
pub(super) enum Turn<'a> {
    /// This one; over when it is dropped.
    Ours(Asked<'a>),
    /// Another; over when its sender is gone.
    Theirs(watch::Receiver<()>),
}

/// The right to ask for a key. Dropping it, however the asking ended, wakes those who wait.
pub(super) struct Asked<'a> {
    part: &'a Part,
    key: HashBinary,
    _done: watch::Sender<()>,
}

impl Asking {
    /// Whose turn it is to ask for a key.
    pub(super) fn turn(&self, key: HashBinary) -> Option<Turn<'_>> {
        let [first, ..] = key;
        let part = self.0.get(usize::from(first) % PARTS)?;
        let mut asked = part.lock();
        if let Some(theirs) = asked.get(&key) {
            return Some(Turn::Theirs(theirs.clone()));
        }
        let (done, waiting) = watch::channel(());
        asked.insert(key, waiting);
        drop(asked);
        Some(Turn::Ours(Asked { part, key, _done: done }))
    }
}

impl Drop for Asked<'_> {
    fn drop(&mut self) {
        self.part.lock().remove(&self.key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn one_asks_and_the_others_hear_when_it_is_over() {
        let asking = Asking::default();
        let Some(Turn::Ours(ours)) = asking.turn([7; 16]) else { panic!("nobody asks yet") };
        let Some(Turn::Theirs(mut theirs)) = asking.turn([7; 16]) else { panic!("one asks") };
        assert!(matches!(asking.turn([8; 16]), Some(Turn::Ours(_))), "another key");
        assert!(!theirs.has_changed().unwrap());
        drop(ours);
        assert!(theirs.changed().await.is_err(), "over");
        assert!(matches!(asking.turn([7; 16]), Some(Turn::Ours(_))), "and may be asked again");
    }
}
