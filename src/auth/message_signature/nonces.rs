//! Nonces count once: on this node by a table, on all nodes by Redis.
//!
//! The table is always asked, and first: what was used here is refused even if Redis has lost
//! it. While Redis is away the table alone decides. A request can then be repeated once on every
//! other node, within `maxAge`; and on this node after a restart, which empties the table. When
//! neither Redis nor a full table can say, the request is refused with 503: a gateway that
//! forgets nonces under load would be asked to forget them.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use prometheus::IntCounter;

use super::replays::{NONCES, Replays, Seen};
use crate::clock::Tick;
use crate::edge::Identity;
use crate::link::{self, Failure};
use crate::telemetry::Metrics;

/// A nonce that may count once, of a signature that was found good.
#[derive(Debug)]
pub struct Nonce {
    /// SHA-256 of the key's id and the nonce: a name in Redis that reveals neither.
    pub(super) hash: [u8; 32],
    /// How long it must be remembered.
    pub(super) remember: Duration,
    /// Who the caller is, if it is new.
    pub(super) identity: Arc<Identity>,
}

/// What was found out about a nonce.
#[derive(Clone, Debug)]
pub(in crate::auth) enum NonceVerdict {
    /// It is new: the caller is this one.
    New(Arc<Identity>),
    /// It was used before.
    Used,
    /// Nobody can say.
    Unknown,
}

/// Nonces that were used lately, here and on other nodes.
#[derive(Debug)]
pub(in crate::auth) struct Nonces {
    here: Replays,
    shared: ArcSwapOption<Shared>,
    counted: Counted,
    meters: link::Meters,
}

#[derive(Debug)]
struct Counted {
    new: IntCounter,
    local: IntCounter,
    replayed: IntCounter,
    full: IntCounter,
}

impl Nonces {
    /// An empty memory that asks nobody.
    pub(in crate::auth) fn new(metrics: &Metrics) -> Self {
        Self::with_room(NONCES, metrics)
    }

    /// The same for so many nonces.
    pub(super) fn with_room(nonces: usize, metrics: &Metrics) -> Self {
        let outcome = |outcome| metrics.signature_nonces.with_label_values(&[outcome]);
        Self {
            meters: link::Meters::of(metrics, "nonces"),
            here: Replays::new(nonces, metrics.signature_nonces_held.clone()),
            shared: ArcSwapOption::empty(),
            counted: Counted {
                new: outcome("new"),
                local: outcome("local"),
                replayed: outcome("replayed"),
                full: outcome("full"),
            },
        }
    }

    /// Takes over the Redis of a new configuration: its settings and the resolved URL. The same
    /// settings keep the connections; what was used here stays known in any case.
    pub(in crate::auth) fn adopt(&self, redis: Option<&link::Settings>) {
        let current = self.shared.load();
        if current.as_ref().map(|shared| &shared.settings) == redis {
            return;
        }
        let new = |settings: &link::Settings| Shared::new(settings.clone(), self.meters.clone());
        self.shared.store(redis.map(|settings| Arc::new(new(settings))));
    }

    /// Uses a nonce up. Takes at most the time limit of a call to Redis.
    pub(in crate::auth) async fn spend(&self, nonce: Nonce, now: Tick) -> NonceVerdict {
        let here = self.here.note(&nonce.hash, now.plus(nonce.remember), now);
        if here == Seen::Before {
            self.counted.replayed.inc();
            return NonceVerdict::Used;
        }
        let shared = self.shared.load_full();
        let elsewhere = match &shared {
            Some(shared) => shared.spend(&nonce, now).await,
            None => None,
        };
        match (elsewhere, here) {
            (Some(false), _) => {
                self.counted.replayed.inc();
                return NonceVerdict::Used;
            }
            (None, Seen::Full | Seen::Before) => {
                self.counted.full.inc();
                return NonceVerdict::Unknown;
            }
            (None, Seen::New) if shared.is_some() => self.counted.local.inc(),
            (Some(true), _) | (None, Seen::New) => self.counted.new.inc(),
        }
        NonceVerdict::New(nonce.identity)
    }
}

/// The Redis that all nodes ask. Used on the runtime of the data plane only.
#[derive(Debug)]
struct Shared {
    settings: link::Settings,
    link: link::Redis,
    breaker: link::Breaker,
    /// Whether the log was told that it is away. Told once, not per request.
    told: AtomicBool,
}

impl Shared {
    fn new(settings: link::Settings, meters: link::Meters) -> Self {
        Self {
            link: link::Redis::new(&settings).metered(meters),
            breaker: settings.breaker(),
            settings,
            told: AtomicBool::new(false),
        }
    }

    /// Whether a nonce is new on all nodes; none while Redis does not say.
    async fn spend(&self, nonce: &Nonce, now: Tick) -> Option<bool> {
        if !self.breaker.admits(now) {
            return None;
        }
        let hash = URL_SAFE_NO_PAD.encode(nonce.hash);
        let key = format!("{}auth:nonce:{hash}", self.link.prefix());
        // A call whose connection broke is made twice, and the first may have done its work. By
        // its mark it knows itself again.
        let mark = fastrand::u64(..);
        let ms = u64::try_from(nonce.remember.as_millis()).unwrap_or(u64::MAX);
        let answer = self.link.call(|connection| spend(connection, &key, mark, ms)).await;
        match answer {
            Ok(is_new) => {
                self.answered();
                Some(is_new)
            }
            Err(failure) => {
                self.failed(&failure, now);
                None
            }
        }
    }

    fn answered(&self) {
        self.breaker.succeed();
        if self.told.load(Ordering::Relaxed) && self.told.swap(false, Ordering::Relaxed) {
            tracing::info!("nonces of signed requests are shared through Redis again");
        }
    }

    fn failed(&self, failure: &Failure, now: Tick) {
        if self.breaker.fail(now) {
            // A connection that only times out may be dead without a sign.
            self.link.disconnect();
        }
        if !self.told.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                error = %failure,
                "nonces of signed requests count on this node alone: Redis does not answer"
            );
        }
    }
}

/// Sets a key that must not be there; whether it was this call that set it.
async fn spend(
    mut connection: link::Connection,
    key: &str,
    mark: u64,
    ms: u64,
) -> Result<bool, Failure> {
    let mut set = redis::cmd("SET");
    set.arg(key).arg(mark).arg("NX").arg("PX").arg(ms);
    let set: Option<String> = set.query_async(&mut connection).await?;
    if set.is_some() {
        return Ok(true);
    }
    let holder: Option<u64> = redis::cmd("GET").arg(key).query_async(&mut connection).await?;
    Ok(holder == Some(mark))
}
