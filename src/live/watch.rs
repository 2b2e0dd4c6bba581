//! Reloads when the file changes or the process is told to.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use notify::{EventKind, RecursiveMode, Watcher};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;

use super::Live;
use crate::clock;

/// How long the file must have been quiet: editors and deployment tools write in several steps.
const QUIET: Duration = Duration::from_millis(200);

/// Ears for what leads to a reload. From the moment it is made no change is missed, and SIGHUP,
/// which would end a process that has no handler, is safe to send.
pub struct Watch {
    live: Arc<Live>,
    hangup: Option<Signal>,
    changes: mpsc::Receiver<()>,
    _watcher: Option<notify::RecommendedWatcher>,
}

impl Watch {
    /// Begins to listen. Needs the runtime that [`Watch::run`] will run on.
    #[must_use]
    pub fn begin(live: Arc<Live>) -> Self {
        let (sender, changes) = mpsc::channel(1);
        // The file may have changed since it was read, before anybody watched: look once.
        let _ = sender.try_send(());
        let watcher = watch_file(live.file(), sender)
            .inspect_err(|error| {
                tracing::warn!(%error, "the configuration file is not watched, SIGHUP reloads it");
            })
            .ok();
        let hangup = signal(SignalKind::hangup())
            .inspect_err(|error| tracing::error!(%error, "SIGHUP cannot be received"))
            .ok();
        Self { live, hangup, changes, _watcher: watcher }
    }

    /// Reloads on SIGHUP and on changes of the configuration file, for as long as it is polled.
    pub async fn run(mut self) {
        loop {
            let hangup = async {
                match &mut self.hangup {
                    Some(hangup) => hangup.recv().await,
                    None => std::future::pending().await,
                }
            };
            let cause = tokio::select! {
                _ = hangup => Cause::Signal,
                Some(()) = self.changes.recv() => Cause::File,
            };
            if cause == Cause::File {
                settle(&mut self.changes).await;
            }
            reload(&self.live, cause).await;
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Cause {
    Signal,
    File,
}

/// Waits until the file has been quiet for a while.
async fn settle(changes: &mut mpsc::Receiver<()>) {
    while tokio::time::timeout(QUIET, changes.recv()).await.is_ok_and(|change| change.is_some()) {}
}

/// Reloads away from the runtime's own threads: compiling a large file takes a while.
async fn reload(live: &Arc<Live>, cause: Cause) {
    let live = Arc::clone(live);
    let work = tokio::task::spawn_blocking(move || {
        // A change event without a change is common (attributes, a write of the same bytes); a
        // signal always reloads, because secrets and key files may have changed beside the file.
        if cause == Cause::File && is_unchanged(&live) {
            return;
        }
        // The outcome is in the log and in metrics.
        let _ = live.reload(clock::now());
    });
    if work.await.is_err() {
        tracing::error!("reloading failed by a defect; the running configuration stays in force");
    }
}

fn is_unchanged(live: &Live) -> bool {
    let loaded = crate::model::load_file(live.file());
    loaded.sha256 == live.snapshot().sha256
}

/// Watches the folder, because a file that is replaced by renaming is another file.
fn watch_file(
    file: &Path,
    changed: mpsc::Sender<()>,
) -> notify::Result<notify::RecommendedWatcher> {
    let name = file.file_name().map(ToOwned::to_owned);
    let folder = file.parent().filter(|parent| !parent.as_os_str().is_empty());
    let mut watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
        let ours = event.is_ok_and(|event| {
            !matches!(event.kind, EventKind::Access(_))
                && event.paths.iter().any(|path| path.file_name() == name.as_deref())
        });
        if ours {
            // A full channel means that a reload is due anyway.
            let _ = changed.try_send(());
        }
    })?;
    watcher.watch(folder.unwrap_or(Path::new(".")), RecursiveMode::NonRecursive)?;
    Ok(watcher)
}
