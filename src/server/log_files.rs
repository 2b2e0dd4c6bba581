//! SIGUSR1: the access log's file may have been moved away.

use tokio::signal::unix::{SignalKind, signal};

use crate::live::Live;

/// Has the access log look at its file whenever SIGUSR1 comes, for as long as it is polled. It
/// looks by itself every second too, so that of two processes during an upgrade, of which a
/// signal reaches one, both go on in the new file.
pub(super) async fn reopen_when_told(live: &Live) {
    match signal(SignalKind::user_defined1()) {
        Ok(mut told) => {
            while told.recv().await.is_some() {
                live.access_log.reopen();
            }
        }
        Err(error) => tracing::warn!(%error, "SIGUSR1 cannot be received"),
    }
}
