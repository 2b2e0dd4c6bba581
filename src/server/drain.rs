//! Leaves as soon as the last request is done.
//!
//! Pingora sleeps its whole grace period after a graceful stop, busy or not, with the signal
//! thread blocked. This watcher knows how many requests are in flight and ends the process when
//! there are none, at the latest when the grace period is over.

use std::sync::Arc;
use std::thread;
use std::time::Duration;

use pingora::server::ExecutionPhase;
use tokio::sync::broadcast;

use super::pid_file::PidFile;
use crate::clock;
use crate::live::Live;

/// How often the number of requests in flight is looked at.
const LOOK: Duration = Duration::from_millis(20);

/// How long nothing must be in flight: a connection that was just accepted may not have shown
/// its request yet.
const QUIET: Duration = Duration::from_millis(200);

/// Ends the process once it is idle after a graceful stop.
pub(super) struct ExitWhenIdle {
    live: Arc<Live>,
    grace: Duration,
    pid_file: Option<PidFile>,
}

impl ExitWhenIdle {
    /// Starts the watcher's thread.
    pub(super) fn watch(
        live: Arc<Live>,
        mut phases: broadcast::Receiver<ExecutionPhase>,
        grace: Duration,
        pid_file: Option<PidFile>,
    ) -> std::io::Result<()> {
        let watcher = Self { live, grace, pid_file };
        thread::Builder::new().name("drain".to_owned()).spawn(move || {
            while let Ok(phase) = phases.blocking_recv() {
                match phase {
                    // From here on another process listens too; ours keeps no connection.
                    ExecutionPhase::GracefulUpgradeTransferringFds => watcher.live.drain(),
                    ExecutionPhase::ShutdownGracePeriod => watcher.leave(),
                    _ => {}
                }
            }
        })?;
        Ok(())
    }

    fn leave(&self) {
        self.live.drain();
        let began = clock::now().tick;
        let mut idle_since = began;
        loop {
            let now = clock::now().tick;
            if self.live.metrics.in_flight.get() > 0 {
                idle_since = now;
            }
            let done = now.since(idle_since) >= QUIET;
            if done || now.since(began) >= self.grace {
                let in_flight = self.live.metrics.in_flight.get();
                tracing::info!(in_flight, "drained, leaving");
                self.live.access_log.close();
                if let Some(pid_file) = &self.pid_file {
                    pid_file.remove();
                }
                std::process::exit(0);
            }
            thread::sleep(LOOK);
        }
    }
}
