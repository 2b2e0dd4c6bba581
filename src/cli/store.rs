//! What `tidegate keys` and `tidegate tenants` share: from a configuration to its database, and
//! telling the running gateways what changed.

use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use super::err;
use crate::auth::{DatabaseSettings, HashKey, Purge, Registry, RegistryError, announce};
use crate::clock;
use crate::link::Redis;
use crate::live::{Missing, resolve};
use crate::model::{self, Problems, Span, load_file};
use crate::snapshot::redis_settings;

/// A time limit for telling the gateways: there is nobody who waits for milliseconds.
const REDIS_TIMEOUT: Duration = Duration::from_secs(3);

/// The last second of the year 9999, the last that can be written.
const LAST_SECOND: u64 = 253_402_300_799;

/// The database of a configuration, and whom to tell.
pub(super) struct Store {
    /// The database.
    pub(super) registry: Registry,
    hash_key: Option<HashKey>,
    redis: Option<Redis>,
    cache_ttl: Span,
}

impl Store {
    /// Opens the `database` of a configuration. What else is in the configuration may be wrong,
    /// or of another machine: whoever has to revoke a key has no time for that.
    ///
    /// # Errors
    /// With everything that is wrong, for people.
    pub(super) fn open(file: &Path) -> Result<Self, String> {
        let loaded = load_file(file);
        let Some(config) = loaded.config.clone().filter(|_| !loaded.problems.has_errors()) else {
            return Err(loaded.render(&loaded.problems));
        };
        let Some(database) = &config.database else {
            return Err(format!("{}: there is no `database` in it\n", file.display()));
        };
        let mut problems = Problems::default();
        let resolved = resolve(&config, Missing::Refused, &mut problems);
        let no_redis = problems.0.iter().any(|problem| problem.path.starts_with("redis."));
        // Everything else is of no concern here.
        problems.0.retain(|problem| problem.path.starts_with("database."));
        let settings = DatabaseSettings::compile(database, &resolved, &mut problems);
        let hash_key = HashKey::compile(database, &resolved, &mut problems);
        if !problems.0.is_empty() {
            loaded.place(&mut problems);
            let told = loaded.render(&problems);
            if problems.has_errors() {
                return Err(told);
            }
            err(&told);
        }
        let settings = settings.ok_or("the database of the configuration cannot be had\n")?;
        let registry = Registry::new(&settings, &actor())
            .map_err(|error| format!("database.url: {error}\n"))?;
        let redis = config.redis.as_ref().and_then(|redis| link(redis, &resolved));
        if config.redis.is_some() && redis.is_none() && no_redis {
            err("warning: the address of Redis cannot be had, running gateways will not be told\n");
        }
        Ok(Self { registry, hash_key, redis, cache_ttl: database.cache_ttl })
    }

    /// The secret under which keys are hashed.
    ///
    /// # Errors
    /// When there is none.
    pub(super) fn hash_key(&self) -> Result<&HashKey, String> {
        self.hash_key.as_ref().ok_or_else(|| "database.hashKey cannot be had\n".to_owned())
    }

    /// Tells the running gateways what changed. That nobody could be told is a warning: the
    /// change is made, and everybody learns of it in time.
    pub(super) async fn tell(&self, purge: Purge<'_>) {
        let why = match &self.redis {
            None => "there is no `redis` to tell the running gateways by".to_owned(),
            Some(redis) => match announce(redis, purge).await {
                Ok(()) => return,
                Err(failure) => format!("the running gateways could not be told: {failure}"),
            },
        };
        let ttl = humantime::format_duration(self.cache_ttl.get());
        err(&format!("warning: {why}; they go by what they know for up to {ttl}\n"));
    }
}

fn link(redis: &model::Redis, resolved: &model::Resolved) -> Option<Redis> {
    let settings = redis_settings(redis, resolved)?;
    Some(Redis::new(&settings.with_timeout_min(REDIS_TIMEOUT)))
}

/// Who is doing this, for the record: what the system says, with the name that the environment
/// gives.
fn actor() -> String {
    let id = rustix::process::getuid().as_raw();
    let name = ["SUDO_USER", "USER", "LOGNAME"].into_iter().find_map(|name| {
        let value = std::env::var(name).ok()?;
        let is_plain = |c: char| c.is_ascii_alphanumeric() || "._-@\\".contains(c);
        (!value.is_empty() && value.len() <= 64 && value.chars().all(is_plain)).then_some(value)
    });
    name.map_or_else(|| format!("uid {id}"), |name| format!("{name} (uid {id})"))
}

/// Runs a command against the database of a configuration.
pub(super) fn run(
    file: &Path,
    command: impl AsyncFnOnce(&Store) -> Result<(), String>,
) -> ExitCode {
    let done = Store::open(file).and_then(|store| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|error| format!("{error}\n"))?;
        runtime.block_on(Box::pin(command(&store)))
    });
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            err(&why);
            ExitCode::FAILURE
        }
    }
}

/// What failed, for people.
pub(super) fn failed(what: &str, error: &RegistryError) -> String {
    match error {
        RegistryError::Database(error) => format!("the database: {error}\n"),
        error => format!("{what}: {error}\n"),
    }
}

/// The time, Unix seconds.
pub(super) fn now() -> u64 {
    clock::now().unix_seconds()
}

/// A time as RFC 3339 writes it.
pub(super) fn written(unix_seconds: u64) -> String {
    if unix_seconds > LAST_SECOND {
        return "after 9999".to_owned();
    }
    let at = std::time::UNIX_EPOCH + Duration::from_secs(unix_seconds);
    humantime::format_rfc3339_seconds(at).to_string()
}

/// Whether a time can be written.
pub(super) const fn is_writable(unix_seconds: u64) -> bool {
    unix_seconds <= LAST_SECOND
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_time_can_be_shown() {
        assert_eq!(written(0), "1970-01-01T00:00:00Z");
        assert_eq!(written(LAST_SECOND), "9999-12-31T23:59:59Z");
        assert_eq!(written(u64::MAX), "after 9999");
    }
}
