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
//! That another process serves ends this one as SIGTERM does.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use parking_lot::Mutex;
use pingora::server::{ShutdownSignal, ShutdownSignalWatch};
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::desk::{Desk, Listening};
use super::lifecycle;
use super::notify::Notify;
use super::sockets::Sockets;
use super::stop::Stop;
use crate::live::Live;

/// Waits for what ends this process.
pub(super) struct Signals {
    pub(super) live: Arc<Live>,
    pub(super) notify: Arc<Notify>,
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
        tokio::spawn(leave_if_told_again(terminate, interrupt));
        ShutdownSignal::GracefulTerminate
    }
}

/// Whoever signals a process that drains does not want to wait for it.
async fn leave_if_told_again(mut terminate: Signal, mut interrupt: Signal) {
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    tracing::warn!("told to stop again, leaving at once");
    std::process::exit(0);
}
