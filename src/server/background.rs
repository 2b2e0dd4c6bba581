//! What runs beside the requests: keys are refreshed, endpoints are looked up, those that are out
//! are probed, the configuration file is watched, and readiness is told once the listeners are
//! open.

use std::sync::Arc;

use async_trait::async_trait;
use pingora::server::ShutdownWatch;
use pingora::services::background::BackgroundService;

use super::listeners;
use crate::clock;
use crate::live::{Live, Watch};
use crate::model::Config;

/// The upkeep of a process.
pub(super) struct Upkeep {
    live: Arc<Live>,
    config: Config,
}

impl Upkeep {
    pub(super) const fn new(live: Arc<Live>, config: Config) -> Self {
        Self { live, config }
    }
}

#[async_trait]
impl BackgroundService for Upkeep {
    /// Keys are refreshed until the very end: requests in flight may still need them.
    async fn start(&self, mut shutdown: ShutdownWatch) {
        let watch = Watch::begin(Arc::clone(&self.live));
        let files = async {
            tokio::select! {
                () = watch.run() => {}
                _ = shutdown.changed() => {}
            }
        };
        let listening = async {
            listeners::until_open(&self.config).await;
            self.live.listens();
        };
        let upstreams = &self.live.upstreams;
        let discovery = upstreams.directory.run(&upstreams.health, &self.live.metrics);
        let rollouts = upstreams.rollouts.run(clock::now);
        let (keys, health) = (self.live.auth.run(), upstreams.look_after(clock::now));
        let limits = self.live.limiter.run(clock::now);
        let purges = self.live.cache.purges.run(clock::now);
        tokio::join!(keys, limits, purges, health, discovery, rollouts, files, listening);
    }
}
