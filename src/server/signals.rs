//! Signals: when to stop.
//!
//! | Signal | Does |
//! |---|---|
//! | SIGTERM | stops listening, finishes what is under way, leaves; the second time at once |
//! | SIGINT | leaves at once |
//! | SIGQUIT | nothing but a line in the log |
//! | SIGHUP | reloads the configuration (see `live::watch`) |
//! | SIGUSR1 | looks whether the access log's file was moved away (see `log_files`) |
//!
//! That another process serves ends this one as SIGTERM does; the first SIGTERM after that changes
//! nothing.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use parking_lot::Mutex;
use pingora::server::{ShutdownSignal, ShutdownSignalWatch};
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::desk::{Desk, Listening};
use super::ears::Ears;
use super::lifecycle;
use super::notify::Notify;
use super::sockets::Sockets;
use super::stop::Stop;
use crate::live::Live;

/// Waits for what ends this process.
pub(super) struct Signals {
    pub(super) live: Arc<Live>,
    pub(super) notify: Arc<Notify>,
    pub(super) ears: Arc<Ears>,
    /// How long what is under way may take.
    pub(super) longest: Duration,
    pub(super) stop: Arc<Stop>,
    pub(super) sockets: Arc<Sockets>,
    pub(super) desk: Arc<Desk>,
    /// The file of the upgrade socket, where this process has one.
    pub(super) listening: Arc<Mutex<Option<Listening>>>,
}

impl Signals {
    /// The way out begins.
    fn drain(&self) {
        let handed_over = self.stop.is_handed_over();
        self.desk.close();
        lifecycle::draining(&self.live, &self.notify, handed_over, self.longest);
        self.sockets.let_go();
        // A successor puts its own in its place: there is never a moment without one.
        if let Some(listening) = self.listening.lock().take().filter(|_| !handed_over) {
            listening.remove();
        }
    }
}

#[async_trait]
impl ShutdownSignalWatch for Signals {
    async fn recv(&self) -> ShutdownSignal {
        let (Ok(mut quit), Ok(mut terminate), Ok(mut interrupt)) = (
            signal(SignalKind::quit()),
            signal(SignalKind::terminate()),
            signal(SignalKind::interrupt()),
        ) else {
            tracing::error!("signals cannot be received");
            return ShutdownSignal::FastShutdown;
        };
        self.ears.open();
        loop {
            tokio::select! {
                _ = interrupt.recv() => {
                    self.notify.stopping(Duration::ZERO);
                    return ShutdownSignal::FastShutdown;
                }
                _ = terminate.recv() => break,
                () = self.stop.asked() => break,
                // Elsewhere it stops a server, or has it look for a successor; a stray one (Ctrl-\)
                // must do neither.
                _ = quit.recv() => tracing::warn!("SIGQUIT ignored: see `tidegate upgrade --help`"),
            }
        }
        self.drain();
        let (live, forgiven) = (Arc::clone(&self.live), self.stop.is_handed_over());
        tokio::spawn(leave_if_told_again(live, terminate, interrupt, forgiven));
        ShutdownSignal::GracefulTerminate
    }
}

/// Whoever signals a process that drains does not want to wait for it. One SIGTERM is `forgiven`
/// where another process serves: a service manager that stops the service tells both.
async fn leave_if_told_again(
    live: Arc<Live>,
    mut terminate: Signal,
    mut interrupt: Signal,
    mut forgiven: bool,
) {
    loop {
        tokio::select! {
            _ = terminate.recv() => if !std::mem::take(&mut forgiven) { break },
            _ = interrupt.recv() => break,
        }
    }
    tracing::warn!("told to stop again, leaving at once");
    live.access_log.close();
    std::process::exit(0);
}
