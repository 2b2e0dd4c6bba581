//! What runs beside the requests: keys are refreshed, endpoints are looked up, those that are out
//! are probed, and the configuration file is watched.

use std::sync::Arc;

use async_trait::async_trait;
use pingora::server::ShutdownWatch;
use pingora::services::background::BackgroundService;

use super::ears::Ears;
use super::log_files;
use crate::clock;
use crate::live::{Live, Watch};

/// The upkeep of a process.
pub(super) struct Upkeep {
    live: Arc<Live>,
    ears: Arc<Ears>,
}

impl Upkeep {
    pub(super) const fn new(live: Arc<Live>, ears: Arc<Ears>) -> Self {
        Self { live, ears }
    }
}

#[async_trait]
impl BackgroundService for Upkeep {
    /// Keys are refreshed until the very end: requests in flight may still need them.
    async fn start(&self, mut shutdown: ShutdownWatch) {
        let (watch, moved) = (Watch::begin(Arc::clone(&self.live)), log_files::listen());
        self.ears.open();
        let files = async {
            tokio::select! {
                () = watch.run() => {}
                _ = shutdown.changed() => {}
            }
        };
        let upstreams = &self.live.upstreams;
        let discovery = upstreams.directory.run(&upstreams.health, &self.live.metrics);
        let rollouts = upstreams.rollouts.run(clock::now);
        let (keys, health) = (self.live.auth.run(), upstreams.look_after(clock::now));
        let limits = self.live.limiter.run(clock::now);
        let purges = self.live.cache.purges.run(clock::now);
        let logs = log_files::reopen_when_told(&self.live, moved);
        let memory = self.live.look_after_memory();
        tokio::join!(keys, limits, purges, health, discovery, rollouts, files, logs, memory);
    }
}
