//! The two moments of a process that others want to know about.

use std::sync::Arc;
use std::time::Duration;

use super::notify::Notify;
use crate::live::Live;

/// The process serves. After a start, and after it has taken over; its predecessor drains then
/// and has not left yet.
pub(super) fn ready(live: &Live, notify: &Arc<Notify>, took_over_from: Option<i32>) {
    notify.ready(live);
    let config_version = live.snapshot().version;
    match took_over_from {
        None => tracing::info!(config_version, "tidegate serves"),
        Some(pid) => tracing::info!(config_version, from = pid, "tidegate serves, has taken over"),
    }
}

/// The process is on its way out: told to stop, or another one has taken over. What is under way
/// may take `longest`.
pub(super) fn draining(live: &Live, notify: &Notify, handed_over: bool, longest: Duration) {
    if handed_over {
        notify.handed_over();
        tracing::info!("another process serves, draining");
    } else {
        notify.stopping(longest);
        tracing::info!("told to stop, draining");
    }
    live.drain();
}
