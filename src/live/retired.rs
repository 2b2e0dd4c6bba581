//! Configurations that are no longer in force, until the last request that began with them is
//! done.
//!
//! Whoever lets go of a snapshot last takes it apart, which takes milliseconds with ten thousand
//! routes. A request must not be the one: it would hold up all that share its thread.

use std::sync::Arc;

use parking_lot::Mutex;

use crate::snapshot::Snapshot;

/// Snapshots that wait to be taken apart.
#[derive(Default)]
pub(super) struct Retired(Mutex<Vec<Arc<Snapshot>>>);

impl Retired {
    /// Keeps a snapshot that has just been replaced.
    pub(super) fn keep(&self, snapshot: Arc<Snapshot>) {
        self.0.lock().push(snapshot);
    }

    /// Takes apart what nobody needs any more. Gives how many snapshots are still needed.
    pub(super) fn sweep(&self) -> usize {
        let mut waiting = self.0.lock();
        let (unused, used) = std::mem::take(&mut *waiting)
            .into_iter()
            .partition::<Vec<_>, _>(|snapshot| Arc::strong_count(snapshot) == 1);
        let still = used.len();
        *waiting = used;
        drop(waiting);
        drop(unused);
        still
    }
}
