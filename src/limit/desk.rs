//! What operators see of counters, and how they reset one.
//!
//! The desk has connections of its own: those of requests belong to another runtime. What it
//! shows is a look at one instant; between a look and a reset requests go on.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use serde::Serialize;
use tokio::sync::Notify;

use super::math::Standing;
use super::news;
use super::redis::Redis;
use super::{Limiter, Take};
use crate::clock::Moment;
use crate::link;
use crate::telemetry::Metrics;

/// A time limit for operators' calls: they wait for more than milliseconds.
const TIMEOUT: Duration = Duration::from_secs(2);

/// The desk of a process.
#[derive(Debug, Default)]
pub(super) struct Desk {
    post: ArcSwapOption<Post>,
    /// Told when the Redis changed.
    pub(super) adopted: Notify,
}

/// A Redis as the desk uses it.
#[derive(Debug)]
pub(super) struct Post {
    settings: link::Settings,
    pub(super) redis: Redis,
}

impl Desk {
    /// Adopts the Redis of a new configuration.
    pub(super) fn adopt(&self, redis: Option<&link::Settings>, metrics: &Metrics) {
        let current = self.post.load_full();
        if current.as_ref().map(|post| &post.settings) == redis {
            return;
        }
        self.post.store(redis.map(|settings| {
            // It takes nothing, so that nothing needs a name.
            let redis = Redis::new(&settings.with_timeout_min(TIMEOUT), 0, "limits_admin", metrics);
            Arc::new(Post { settings: settings.clone(), redis })
        }));
        self.adopted.notify_waiters();
    }

    pub(super) fn post(&self) -> Option<Arc<Post>> {
        self.post.load_full()
    }
}

/// How a counter stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Stand {
    /// What counts against the limit.
    pub used: u64,
    /// What is left.
    pub remaining: u64,
    /// Milliseconds until more is left; 0 where nothing is used.
    pub reset_ms: u64,
}

/// How a counter stands everywhere that can be seen from here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stands {
    /// In Redis, or why that cannot be said; none where no Redis is configured.
    pub redis: Option<Result<Stand, String>>,
    /// On this node, where it counts there too.
    pub node: Option<Stand>,
    /// What this node holds in advance: used in Redis, and not spent yet.
    pub held: Option<u64>,
    /// How long this node knows that Redis would refuse.
    pub refused_for: Option<Duration>,
}

/// What became of a reset. This node has forgotten the counter in any case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reset {
    /// Whether Redis has forgotten it, or why not; none where no Redis is configured.
    pub redis: Option<Result<(), String>>,
    /// Nodes that were told to forget it, this one included; none where nobody could be told.
    pub told: Option<u64>,
}

impl Limiter {
    /// How a counter stands. Waits for Redis, for at most two seconds or the time limit of its
    /// calls.
    pub async fn look(&self, take: &Take, now: Moment) -> Stands {
        let redis = match self.desk.post() {
            Some(post) => {
                let standing = post.redis.peek(take, now).await;
                Some(standing.map(Stand::from).map_err(|failure| failure.to_string()))
            }
            None => None,
        };
        self.stands(take, redis, now)
    }

    /// Starts a counter afresh: in Redis, on this node and on all that can be told. Waits as
    /// [`Limiter::look`] does.
    pub async fn reset(&self, take: &Take) -> Reset {
        let post = self.desk.post();
        let redis = match &post {
            Some(post) => {
                let found = post.redis.reset(take).await;
                Some(found.map(drop).map_err(|failure| failure.to_string()))
            }
            None => None,
        };
        // After Redis: an answer from before would otherwise be remembered again.
        self.forget(&take.key);
        let told = match &post {
            Some(post) if matches!(redis, Some(Ok(()))) => {
                news::tell(post.redis.link(), &take.name()).await.ok()
            }
            _ => None,
        };
        Reset { redis, told }
    }
}

impl From<Standing> for Stand {
    fn from(standing: Standing) -> Self {
        let Standing { used, remaining, reset_ms, .. } = standing;
        Self { used, remaining, reset_ms }
    }
}
