//! `database`, compiled.

use std::fmt;
use std::ops::RangeInclusive;
use std::time::Duration;

use crate::auth::api_key::KeyHash;
use crate::auth::database::{DatabaseSettings, HashKey};
use crate::model::{Database, Problem, Problems, Resolved};

/// Most answers on this node: about 1 GiB at half a kilobyte each.
const ENTRIES_MAX: usize = 2_000_000;

/// How long answers count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::auth) struct Terms {
    /// What was found.
    pub(in crate::auth) cache: Duration,
    /// That nothing was found.
    pub(in crate::auth) negative: Duration,
    /// What was found, while nobody can be asked.
    pub(in crate::auth) stale: Duration,
}

/// The database as look-ups need it.
pub(in crate::auth) struct DatabaseAccess {
    /// How it is reached.
    pub(in crate::auth) settings: DatabaseSettings,
    /// How long its answers count.
    pub(in crate::auth) terms: Terms,
    /// Most answers kept on this node.
    pub(in crate::auth) entries: usize,
    hash_key: HashKey,
}

/// Says nothing: the address may carry a password.
impl fmt::Debug for DatabaseAccess {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DatabaseAccess").field("terms", &self.terms).finish_non_exhaustive()
    }
}

impl DatabaseAccess {
    /// Compiles `database`; none where there is none, or something of it could not be had.
    /// Whoever resolves references has reported that.
    pub(in crate::auth) fn compile(
        written: Option<&Database>,
        resolved: &Resolved,
        problems: &mut Problems,
    ) -> Option<Self> {
        let written = written?;
        check_numbers(written, problems);
        let settings = DatabaseSettings::compile(written, resolved, problems);
        let hash_key = HashKey::compile(written, resolved, problems);
        let terms = Terms {
            cache: written.cache_ttl.get(),
            negative: written.negative_ttl.get(),
            stale: written.stale_ttl.get(),
        };
        let (settings, hash_key) = (settings?, hash_key?);
        Some(Self { settings, terms, entries: written.cache_entries, hash_key })
    }

    /// The hash under which the database holds a key: HMAC-SHA256 of its whole text.
    pub(in crate::auth) fn hash(&self, key: &str) -> KeyHash {
        self.hash_key.hash(key)
    }
}

fn check_numbers(written: &Database, problems: &mut Problems) {
    let span = |ms: RangeInclusive<u64>| {
        Duration::from_millis(*ms.start())..=Duration::from_millis(*ms.end())
    };
    let hour = 3_600_000;
    for (key, value, allowed, words) in [
        // A key that is switched off may count for as long where the news do not arrive.
        ("cacheTtl", written.cache_ttl, 1_000..=hour, "1s and 1h"),
        ("negativeTtl", written.negative_ttl, 0..=600_000, "0s and 10m"),
        ("staleTtl", written.stale_ttl, 1_000..=7 * 24 * hour, "1s and 7d"),
    ] {
        if !span(allowed).contains(&value.get()) {
            let message = format!("the time lies between {words}");
            let path = format!("database.{key}");
            problems.push(Problem::error("database.range", path, message));
        }
    }
    if written.stale_ttl.get() < written.cache_ttl.get() {
        let message = "what counts while the database is away cannot count for less than always";
        problems.push(
            Problem::error("database.range", "database.staleTtl", message)
                .help("use at least the time of `cacheTtl`"),
        );
    }
    if written.cache_entries > ENTRIES_MAX {
        let message = format!("the number of answers kept is at most {ENTRIES_MAX}");
        problems.push(Problem::error("database.range", "database.cacheEntries", message));
    }
}

#[cfg(test)]
mod tests;
