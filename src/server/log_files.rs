//! SIGUSR1: the access log's file may have been moved away.

use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::live::Live;

/// Begins to listen for SIGUSR1, which would end a process that does not.
pub(super) fn listen() -> Option<Signal> {
    signal(SignalKind::user_defined1())
        .inspect_err(|error| tracing::warn!(%error, "SIGUSR1 cannot be received"))
        .ok()
}

/// Has the access log look at its file whenever the signal comes, for as long as it is polled. It
/// looks by itself every second too, so that of two processes during an upgrade, of which a
/// signal reaches one, both go on in the new file.
pub(super) async fn reopen_when_told(live: &Live, told: Option<Signal>) {
    let Some(mut told) = told else { return };
    while told.recv().await.is_some() {
        live.access_log.reopen();
    }
}
