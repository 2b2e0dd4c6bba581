//! Does the data plane turn? A heartbeat on its runtime, which whoever watches can count.
//!
//! A runtime whose threads all hang runs no task, so it does not beat. A heartbeat costs nothing
//! where nobody watches: there is none.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use pingora::server::{ListenFds, RuntimeOpts, ShutdownWatch};
use pingora::services::Service;

/// A count that grows while a runtime turns.
pub(super) struct Pulse {
    beats: AtomicU64,
    every: Option<Duration>,
}

impl Pulse {
    /// A heartbeat so often; none where nobody watches.
    pub(super) const fn new(every: Option<Duration>) -> Self {
        Self { beats: AtomicU64::new(0), every }
    }

    /// How often it has beaten.
    pub(super) fn beats(&self) -> u64 {
        self.beats.load(Ordering::Relaxed)
    }

    /// Beats on the runtime of the caller for as long as that lives.
    pub(super) fn begin(self: &Arc<Self>) {
        let Some(every) = self.every else { return };
        let pulse = Arc::clone(self);
        tokio::spawn(async move {
            loop {
                pulse.beats.fetch_add(1, Ordering::Relaxed);
                tokio::time::sleep(every).await;
            }
        });
    }
}

/// A service whose runtime beats.
pub(super) struct Beating<S> {
    pub(super) service: S,
    pub(super) pulse: Arc<Pulse>,
}

#[async_trait]
impl<S: Service> Service for Beating<S> {
    async fn start_service(
        &mut self,
        fds: Option<ListenFds>,
        shutdown: ShutdownWatch,
        listeners_per_fd: usize,
    ) {
        self.pulse.begin();
        self.service.start_service(fds, shutdown, listeners_per_fd).await;
    }

    fn name(&self) -> &str {
        self.service.name()
    }

    fn threads(&self) -> Option<usize> {
        self.service.threads()
    }

    fn runtime_opts_override(&self, global: &RuntimeOpts) -> Option<RuntimeOpts> {
        self.service.runtime_opts_override(global)
    }

    fn on_startup_delay(&self, time_waited: Duration) {
        self.service.on_startup_delay(time_waited);
    }

    fn listen_addresses(&self) -> Option<Vec<String>> {
        self.service.listen_addresses()
    }
}
