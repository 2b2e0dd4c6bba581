//! The end of a process that no signal asked for.

use pingora::server::ShutdownWatch;
use tokio::sync::watch;

/// Tells the parts of a process that it is to end.
#[derive(Debug)]
pub(super) struct Stop {
    asked: watch::Sender<bool>,
    admin: watch::Sender<bool>,
}

impl Stop {
    /// Nobody has asked yet.
    pub(super) fn new() -> Self {
        Self { asked: watch::Sender::new(false), admin: watch::Sender::new(false) }
    }

    /// Another process serves: this one drains, and no longer answers operators.
    pub(super) fn hand_over(&self) {
        self.admin.send_replace(true);
        self.asked.send_replace(true);
    }

    /// Returns once another process serves.
    pub(super) async fn asked(&self) {
        // The sender is `self`, so this waits for nothing else.
        let _ = self.asked.subscribe().wait_for(|asked| *asked).await;
    }

    /// Whether another process serves.
    pub(super) fn is_handed_over(&self) -> bool {
        *self.asked.borrow()
    }

    /// When the admin listener is to be closed. A process that is told to stop keeps it to the
    /// end, so that its readiness can be asked and says no (R168).
    pub(super) fn admin(&self) -> ShutdownWatch {
        self.admin.subscribe()
    }
}
