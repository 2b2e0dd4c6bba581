//! What changes while the process runs.
//!
//! A snapshot holds decisions, [`Live`] holds memories: the snapshot in force, verification
//! keys, verified tokens, limiter, health, cache, metrics, log. A new configuration replaces the
//! snapshot in one step; everything else stays, matched by name.

mod cache;
mod drills;
mod limits;
mod memory;
mod operators;
mod orders;
mod references;
mod reload;
mod reloads;
mod resolve;
mod retired;
mod services;
mod warm;
mod watch;

pub use cache::{CacheReport, EntryReport, NotPurged, PurgeOrder, Purged};
pub use drills::{Begun, DRILL_MAX, DrillReport, Drills, NotBegun};
pub use limits::{
    CounterReport, LimitReport, LimitsReport, NoCounter, ResetReport, TierReport, Which,
};
pub use operators::{NotAllowed, Operator, Operators};
pub use orders::{NotReloaded, Outcome, Reloaded};
pub use references::References;
pub use reload::{Applied, Candidate, Judged, judge};
pub use reloads::{Reload, Reloads};
pub use resolve::{Missing, resolve};
pub use watch::Watch;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use arc_swap::ArcSwap;

use orders::Orders;
use retired::Retired;

use crate::auth::Authenticator;
/// What became of an order to revoke, for whoever hands it on.
pub use crate::auth::{Ordered, Refused};
use crate::cache::{CacheBackend, Leaks, Underway};
use crate::clock::Moment;
use crate::limit::Limiter;
use crate::limit::fair::Door;
use crate::model::Config;
use crate::snapshot::Snapshot;
use crate::telemetry::{AccessLogWriter, Metrics, PhaseMeters, RouteMeters};
use crate::upstream::Upstreams;

/// Entries renewed in the background at once; beyond it stale ones are used without.
const RENEWALS: usize = 4096;

/// Entries compared at once; beyond it hits are not looked at.
const COMPARISONS: usize = 64;

/// The state of a process.
pub struct Live {
    current: ArcSwap<Snapshot>,
    applied: ArcSwap<Applied>,
    /// What was read last, whether it came into force or not.
    tried: ArcSwap<References>,
    file: PathBuf,
    /// The configuration that the process was started with, for what only a restart changes.
    started_with: Config,
    versions: AtomicU64,
    reloading: parking_lot::Mutex<()>,
    retired: Retired,
    orders: Orders,
    listening: AtomicBool,
    draining: AtomicBool,
    /// Who is told of reloads.
    pub reloads: Reloads,
    /// All metrics.
    pub metrics: Arc<Metrics>,
    /// Meters of requests that no route takes.
    pub unrouted: RouteMeters,
    /// Meters of what requests spend their time on.
    pub phases: PhaseMeters,
    /// Who may change something through the admin listener.
    pub operators: Operators,
    /// What is known about callers.
    pub auth: Authenticator,
    /// Rate limits.
    pub limiter: Limiter,
    /// How many requests are served at once.
    pub overload: Door,
    /// What is known of upstream services.
    pub upstreams: Upstreams,
    /// Kept answers.
    pub cache: CacheBackend,
    /// Entries that are renewed in the background.
    pub renewing: Arc<Underway>,
    /// Entries that are compared with what the service says to another caller.
    pub verifying: Arc<Underway>,
    /// Entries that did not suit their callers.
    pub leaks: Leaks,
    /// Faults on purpose.
    pub drills: Drills,
    /// The access log.
    pub access_log: AccessLogWriter,
}

impl Live {
    /// Starts the state of a process with its first configuration.
    ///
    /// # Errors
    /// When the access log cannot be opened.
    pub fn start(
        file: &Path,
        candidate: Candidate,
        metrics: Arc<Metrics>,
        upstreams: Upstreams,
        now: Moment,
    ) -> std::io::Result<Self> {
        let Candidate { config, snapshot, redis, admin_token, references } = candidate;
        let log = &config.access_log;
        let access_log =
            AccessLogWriter::open(&log.path, log.buffer_lines, metrics.access_log_dropped.clone())?;
        let limiter = Limiter::with_keys(Arc::clone(&metrics), config.server.limit_keys);
        let redis = redis.as_ref();
        limiter.configure(redis);
        let overload = Door::new(&metrics);
        overload.configure(snapshot.overload.as_ref());
        let auth =
            Authenticator::new(&metrics, config.server.state_directory.as_deref().map(Path::new));
        auth.adopt(&snapshot.providers, redis);
        upstreams.adopt(snapshot.upstreams());
        let cache = CacheBackend::leak(config.cache.memory_bytes.get(), &metrics);
        cache.configure(redis, &config.cache, now);
        let operators = Operators::new(&config.admin, admin_token.as_deref());
        let drills = Drills::new(config.admin.drills, &metrics);
        let applied = Applied::of(&snapshot, now);
        applied.publish(None, &metrics, now);
        Ok(Self {
            versions: AtomicU64::new(snapshot.version),
            current: ArcSwap::from_pointee(snapshot),
            applied: ArcSwap::from_pointee(applied),
            tried: ArcSwap::from_pointee(references),
            file: file.to_owned(),
            started_with: config,
            reloading: parking_lot::Mutex::new(()),
            retired: Retired::default(),
            orders: Orders::default(),
            listening: AtomicBool::new(false),
            draining: AtomicBool::new(false),
            reloads: Reloads::default(),
            unrouted: RouteMeters::unrouted(&metrics),
            phases: PhaseMeters::new(&metrics),
            operators,
            auth,
            limiter,
            overload,
            upstreams,
            cache,
            renewing: Underway::new(RENEWALS),
            verifying: Underway::new(COMPARISONS),
            leaks: Leaks::default(),
            drills,
            access_log,
            metrics,
        })
    }

    /// The snapshot in force; lock-free.
    #[must_use]
    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.current.load_full()
    }

    /// What is in force, since when.
    #[must_use]
    pub fn applied(&self) -> Arc<Applied> {
        self.applied.load_full()
    }

    /// The files that were read last, whether what was in them came into force or not.
    #[must_use]
    pub fn tried(&self) -> Arc<References> {
        self.tried.load_full()
    }

    /// The file that the configuration comes from.
    #[must_use]
    pub fn file(&self) -> &Path {
        &self.file
    }

    /// Whether the process is on its way out: not ready, and no connection is kept open.
    #[must_use]
    pub fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Relaxed)
    }

    /// Whether the process takes traffic: its listeners are open and it is not on its way out.
    /// Redis and identity providers do not count: without them it still serves (R168).
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.listening.load(Ordering::Relaxed) && !self.is_draining()
    }

    /// Its listeners are open.
    pub fn listens(&self) {
        self.listening.store(true, Ordering::Relaxed);
    }

    /// Begins the way out.
    pub fn drain(&self) {
        self.draining.store(true, Ordering::Relaxed);
        self.drills.end_all();
        self.limiter.retire();
    }
}
