//! Reloads when a file changes or the process is told to, by a signal or by an operator's order.
//!
//! Watched are the configuration file and the files it names: certificates, authorities, key
//! sets, the database of countries. A change is a change of contents, whoever made it and
//! however: in place, by renaming, by moving a link. What the kernel does not tell, as on
//! network file systems, is found by looking.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use notify::{EventKind, RecursiveMode, Watcher};
use rustix::process::setpriority_process;
use rustix::thread::gettid;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, MissedTickBehavior};

use super::orders::Order;
use super::{Live, NotReloaded, Outcome};
use crate::clock;

/// How long the files must have been quiet: editors and deployment tools write in several steps.
const QUIET: Duration = Duration::from_millis(200);

/// Longest wait for quiet, where something is written all the time.
const UNREST: Duration = Duration::from_secs(2);

/// How often the files are looked at without being told.
const LOOK: Duration = Duration::from_secs(30);

/// Ears for what leads to a reload. From the moment it is made no change is missed, and SIGHUP,
/// which would end a process that has no handler, is safe to send.
pub struct Watch {
    live: Arc<Live>,
    hangup: Option<Signal>,
    orders: Option<mpsc::Receiver<Order>>,
    changes: mpsc::Receiver<()>,
    places: Option<Places>,
}

impl Watch {
    /// Begins to listen. Needs the runtime that [`Watch::run`] will run on.
    #[must_use]
    pub fn begin(live: Arc<Live>) -> Self {
        let (sender, changes) = mpsc::channel(1);
        // A file may have changed since it was read, before anybody watched: look once.
        let _ = sender.try_send(());
        let mut places = Places::new(sender)
            .inspect_err(|error| tracing::warn!(%error, "files are not watched, only looked at"))
            .ok();
        if let Some(places) = &mut places {
            places.follow(live.tried().places());
        }
        let hangup = signal(SignalKind::hangup())
            .inspect_err(|error| tracing::error!(%error, "SIGHUP cannot be received"))
            .ok();
        let orders = live.orders.take();
        Self { live, hangup, orders, changes, places }
    }

    /// Reloads on SIGHUP, on orders and on changes of files, for as long as it is polled.
    pub async fn run(mut self) {
        let mut look = tokio::time::interval_at(Instant::now() + LOOK, LOOK);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let hangup = async {
                match &mut self.hangup {
                    Some(hangup) => hangup.recv().await,
                    None => std::future::pending().await,
                }
            };
            let mut waiting: Vec<Order> = Vec::new();
            let cause = tokio::select! {
                _ = hangup => Cause::Told,
                Some(order) = next(&mut self.orders) => {
                    waiting.push(order);
                    Cause::Told
                }
                Some(()) = self.changes.recv() => Cause::File,
                _ = look.tick() => Cause::Look,
            };
            if cause == Cause::File {
                let _ = tokio::time::timeout(UNREST, settle(&mut self.changes)).await;
            }
            if cause == Cause::Told
                && let Some(orders) = &mut self.orders
            {
                // What has been ordered by now is what this reload reads.
                waiting.extend(std::iter::from_fn(|| orders.try_recv().ok()));
            }
            let outcome = reload(&self.live, cause).await;
            for order in waiting {
                let outcome = outcome.clone().unwrap_or(Err(NotReloaded::Busy));
                // Whoever ordered may have gone away.
                let _ = order.send(outcome);
            }
            if let Some(places) = &mut self.places {
                places.follow(self.live.tried().places());
            }
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Cause {
    /// A signal or an order.
    Told,
    File,
    Look,
}

/// The next order; never one where there is no end where they arrive.
async fn next(orders: &mut Option<mpsc::Receiver<Order>>) -> Option<Order> {
    match orders {
        Some(orders) => orders.recv().await,
        None => std::future::pending().await,
    }
}

/// Waits until the files have been quiet for a while.
async fn settle(changes: &mut mpsc::Receiver<()>) {
    while tokio::time::timeout(QUIET, changes.recv()).await.is_ok_and(|change| change.is_some()) {}
}

/// Reloads on a thread of its own, which stands back for those that serve: compiling a large file
/// takes a while, and so does taking the old configuration apart.
async fn reload(live: &Arc<Live>, cause: Cause) -> Option<Outcome> {
    let live = Arc::clone(live);
    let (done, outcome) = oneshot::channel();
    let runtime = tokio::runtime::Handle::current();
    let work = move || {
        stand_back();
        let _entered = runtime.enter();
        let _ = done.send(reload_now(&live, cause));
        for _ in 0..SWEEPS {
            if live.retired.sweep() == 0 {
                break;
            }
            std::thread::sleep(SWEEP);
        }
    };
    let begun = std::thread::Builder::new().name("reload".to_owned()).spawn(work);
    let outcome = match begun {
        Ok(_) => outcome.await.ok(),
        Err(_) => None,
    };
    if outcome.is_none() {
        tracing::error!("reloading failed by a defect; the running configuration stays in force");
    }
    outcome.flatten()
}

/// How often, and after which pause each, a replaced configuration is looked at again; what is in
/// use for longer is taken apart after a later reload or look.
const SWEEPS: u32 = 40;
const SWEEP: Duration = Duration::from_millis(50);

/// Lowers the priority of this thread.
fn stand_back() {
    // Without it requests wait a little longer now and then; nothing else depends on it.
    let _ = setpriority_process(Some(gettid()), NICE);
}

/// How far the reloading thread stands back (0 to 19, see nice(2)): a third of the time of one that
/// does not. More, and a busy node would take a reload only when it is idle again.
const NICE: i32 = 5;

fn reload_now(live: &Live, cause: Cause) -> Option<Outcome> {
    // A change event without a change is common (attributes, a write of the same bytes), and
    // what was refused once is refused again; who is told to always reloads, because secrets may
    // have changed beside the files.
    if cause != Cause::Told && live.tried().are_unchanged() {
        return None;
    }
    if cause == Cause::Look {
        // Found by looking: whoever writes it may not have finished.
        live.tried().settle(QUIET, UNREST);
    }
    Some(live.reload(clock::now()).map_err(NotReloaded::Refused))
}

/// What is watched. Folders, because a file that is replaced by renaming is another file; in them
/// the entries that count, because folders such as `/tmp` are never quiet.
struct Places {
    watcher: notify::RecommendedWatcher,
    entries: Arc<ArcSwap<BTreeSet<PathBuf>>>,
    folders: BTreeSet<PathBuf>,
}

impl Places {
    fn new(changed: mpsc::Sender<()>) -> notify::Result<Self> {
        let entries = Arc::new(ArcSwap::from_pointee(BTreeSet::new()));
        let ours = Arc::clone(&entries);
        let on_event = move |event: notify::Result<notify::Event>| {
            let ours = ours.load();
            let counts = event.is_ok_and(|event| {
                !matches!(event.kind, EventKind::Access(_))
                    && event.paths.iter().any(|path| ours.contains(path))
            });
            if counts {
                // A full channel means that a reload is due anyway.
                let _ = changed.try_send(());
            }
        };
        let watcher = notify::recommended_watcher(on_event)?;
        Ok(Self { watcher, entries, folders: BTreeSet::new() })
    }

    /// Watches these entries and no others. A folder that is watched already is watched anew: it
    /// may have been removed and made again since.
    fn follow(&mut self, entries: BTreeSet<PathBuf>) {
        let folders: BTreeSet<PathBuf> =
            entries.iter().filter_map(|entry| entry.parent()).map(Path::to_owned).collect();
        self.entries.store(Arc::new(entries));
        for gone in self.folders.difference(&folders) {
            // Fails where the folder itself is gone.
            let _ = self.watcher.unwatch(gone);
        }
        for folder in &folders {
            if let Err(error) = self.watcher.watch(folder, RecursiveMode::NonRecursive) {
                let is_new = !self.folders.contains(folder);
                let folder = folder.display();
                if is_new {
                    tracing::warn!(%folder, %error, "a folder is not watched, only looked at");
                }
            }
        }
        self.folders = folders;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A file that is written in several steps is read once, when it is quiet.
    #[tokio::test(start_paused = true)]
    async fn steps_that_follow_each_other_are_one_change() {
        let (sender, mut changes) = mpsc::channel(1);
        let began = Instant::now();
        tokio::spawn(async move {
            for _ in 0..4 {
                tokio::time::sleep(QUIET.saturating_sub(Duration::from_millis(10))).await;
                let _ = sender.try_send(());
            }
            // Another step, later: another change.
            tokio::time::sleep(QUIET * 2).await;
            let _ = sender.try_send(());
            std::future::pending::<()>().await;
        });
        settle(&mut changes).await;
        let took = began.elapsed();
        assert!(took >= QUIET * 4 && took < QUIET * 6, "{took:?}");
        assert!(changes.try_recv().is_err(), "the steps are behind it");
        assert!(changes.recv().await.is_some());
    }

    /// Where something is written all the time, that is no reason to wait for ever.
    #[tokio::test(start_paused = true)]
    async fn unrest_has_an_end() {
        let (sender, mut changes) = mpsc::channel(1);
        tokio::spawn(async move {
            loop {
                tokio::time::sleep(QUIET / 2).await;
                let _ = sender.try_send(());
            }
        });
        let began = Instant::now();
        assert!(tokio::time::timeout(UNREST, settle(&mut changes)).await.is_err());
        assert!(began.elapsed() < UNREST * 2);
    }
}
