//! The life of a configuration: read, resolve, compile beside the running one, swap.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use serde::Serialize;

use super::{Live, Missing, References, Reloaded, resolve};
use crate::clock::Moment;
use crate::link;
use crate::model::{Config, Loaded, Problems, load_file};
use crate::snapshot::{Parts, Snapshot, compile, redis_settings};
use crate::telemetry::Metrics;
use crate::upstream::Upstreams;

/// A configuration that can be put in force.
pub struct Candidate {
    /// As it was written.
    pub config: Config,
    /// As it was compiled.
    pub snapshot: Snapshot,
    /// How Redis is used.
    pub redis: Option<link::Settings>,
    /// The resolved token of the admin listener.
    pub admin_token: Option<String>,
    /// The files that it was read from.
    pub references: References,
}

/// What was made of a file.
pub struct Judged {
    /// The file, to show problems in.
    pub loaded: Loaded,
    /// Everything wrong with it, warnings too, each with its place.
    pub problems: Problems,
    /// The files it was read from; none where it names none, because it could not be read.
    pub references: Option<References>,
    /// The configuration, unless a problem is an error.
    pub candidate: Option<Candidate>,
}

/// Reads, resolves and compiles a file. `version` is its number where it has none itself.
#[must_use]
pub fn judge(
    file: &Path,
    missing: Missing,
    metrics: &Arc<Metrics>,
    upstreams: &Upstreams,
    version: u64,
) -> Judged {
    let loaded = load_file(file);
    let mut problems = loaded.problems.clone();
    let mut references = None;
    let candidate = loaded.config.clone().and_then(|config| {
        let resolved = resolve(&config, missing, &mut problems);
        let sha256 = &loaded.sha256;
        let read = References::of(file, sha256, &resolved);
        references = Some(read.clone());
        let parts = Parts { resolved: &resolved, metrics, upstreams, version, sha256 };
        let snapshot = compile(&config, &parts, &mut problems)?;
        let redis = config.redis.as_ref().and_then(|redis| redis_settings(redis, &resolved));
        let admin_token = config.admin.token.as_ref();
        let admin_token = admin_token.and_then(|token| resolved.secret(token));
        let admin_token = admin_token.map(ToOwned::to_owned);
        Some(Candidate { config, snapshot, redis, admin_token, references: read })
    });
    loaded.place(&mut problems);
    Judged { loaded, problems, references, candidate }
}

/// What is in force, in the words of `/admin/config-version` (R189).
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Applied {
    /// Version of the configuration.
    pub config_version: u64,
    /// When it was put in force, RFC 3339.
    pub loaded_at: String,
    /// `sha256:` and the digest of the document.
    pub checksum: String,
}

impl Applied {
    pub(super) fn of(snapshot: &Snapshot, now: Moment) -> Self {
        let at = std::time::UNIX_EPOCH + std::time::Duration::from_millis(now.unix_ms);
        Self {
            config_version: snapshot.version,
            loaded_at: humantime::format_rfc3339_seconds(at).to_string(),
            checksum: format!("sha256:{}", snapshot.sha256),
        }
    }

    /// Shows in metrics that this is in force, and the one before no longer.
    pub(super) fn publish(&self, before: Option<&Self>, metrics: &Metrics, now: Moment) {
        if let Some(old) = before {
            // Absent only if it was never published.
            let _ = metrics
                .config_info
                .remove_label_values(&[&old.config_version.to_string(), &old.checksum]);
        }
        let labels = [self.config_version.to_string(), self.checksum.clone()];
        metrics.config_info.with_label_values(&labels).set(1);
        metrics.config_applies.with_label_values(&["applied"]).inc();
        metrics.config_last_ok.set(1);
        let seconds = i64::try_from(now.unix_seconds()).unwrap_or(i64::MAX);
        metrics.config_last_ok_time.set(seconds);
    }
}

impl Live {
    /// Reads the file again and puts it in force, or keeps the running configuration and says
    /// why. Requests in flight keep the snapshot they began with. Blocks; not for a request.
    ///
    /// # Errors
    /// Everything that is wrong with the file; it is in the log too.
    pub fn reload(&self, now: Moment) -> Result<Reloaded, Problems> {
        let _one_at_a_time = self.reloading.lock();
        let _telling = self.reloads.begin();
        let next = self.versions.load(Ordering::Relaxed) + 1;
        let judged = judge(&self.file, Missing::Refused, &self.metrics, &self.upstreams, next);
        let judged = super::drills::offered(judged);
        let unreadable = || self.tried().unreadable(&judged.loaded.sha256);
        let read = judged.references.clone().unwrap_or_else(unreadable);
        self.tried.store(Arc::new(read));
        log_problems(&judged.problems);
        let Some(candidate) = judged.candidate else {
            self.refuse(&judged.problems);
            return Err(judged.problems);
        };
        let needs_restart = self.report_restart_only(&candidate.config);
        self.look_up_first();
        let Candidate { snapshot, redis, config, .. } = candidate;
        self.versions.store(snapshot.version, Ordering::Relaxed);
        let redis = redis.as_ref();
        self.limiter.configure(redis);
        self.overload.configure(snapshot.overload.as_ref());
        self.auth.adopt(&snapshot.providers, redis);
        self.cache.configure(redis, &config.cache, now);
        self.upstreams.adopt(snapshot.upstreams());
        let applied = Applied::of(&snapshot, now);
        self.retired.keep(self.current.swap(Arc::new(snapshot)));
        // Told only now that it is true: whoever reads it may rely on it.
        applied.publish(Some(&self.applied()), &self.metrics, now);
        tracing::info!(
            config_version = applied.config_version,
            checksum = %applied.checksum,
            "configuration applied"
        );
        let applied = Arc::new(applied);
        self.applied.store(Arc::clone(&applied));
        Ok(Reloaded { applied, needs_restart, warnings: judged.problems })
    }

    /// Waits for the first answer of sources that are new with this configuration, so that no
    /// request meets a service whose endpoints are about to be found. Bounded by the time limit
    /// of a look-up; without a runtime nobody asks, and nobody waits.
    fn look_up_first(&self) {
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.block_on(self.upstreams.directory.first_answers());
        }
    }

    fn refuse(&self, problems: &Problems) {
        self.metrics.config_applies.with_label_values(&["refused"]).inc();
        self.metrics.config_last_ok.set(0);
        let errors = problems
            .0
            .iter()
            .filter(|problem| problem.severity == crate::model::Severity::Error)
            .count();
        tracing::error!(
            file = %self.file.display(),
            errors,
            "configuration refused, the running one stays in force"
        );
    }

    /// What only a restart or an upgrade changes is named, never silently ignored.
    fn report_restart_only(&self, new: &Config) -> Vec<&'static str> {
        let old = &self.started_with;
        let addresses = |config: &Config| {
            config.listeners.iter().map(|l| l.address.clone()).collect::<Vec<_>>()
        };
        let changed = [
            ("server", old.server != new.server),
            ("listeners[].address", addresses(old) != addresses(new)),
            ("admin", old.admin != new.admin),
            ("accessLog", old.access_log != new.access_log),
        ];
        let changed: Vec<&str> =
            changed.into_iter().filter_map(|(key, changed)| changed.then_some(key)).collect();
        for key in &changed {
            tracing::warn!(key, "changed, takes effect at the next restart or upgrade");
        }
        changed
    }
}

/// Writes problems to the log, one line each.
pub(super) fn log_problems(problems: &Problems) {
    for problem in &problems.0 {
        let text = problem.to_string().replace("\n  ", " ");
        match problem.severity {
            crate::model::Severity::Error => tracing::error!("{text}"),
            crate::model::Severity::Warning => tracing::warn!("{text}"),
        }
    }
}
