//! How answers are shared.

use std::time::Duration;

use crate::cache::MAX_OBJECT_BYTES;
use crate::model::{CacheStore, Problem, Problems, SharedStore};

/// `cache.shared`, read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Settings {
    /// How long a request waits for Redis.
    pub(super) timeout: Duration,
    /// Largest body that is shared, in bytes.
    pub(super) body_bytes_max: u64,
    /// Bodies from this length on are compressed, in bytes.
    pub(super) compress_from: u64,
}

impl Settings {
    /// Reads settings that [`check_store`] has nothing against.
    pub(super) fn of(model: &SharedStore) -> Self {
        Self {
            timeout: model.timeout.get(),
            body_bytes_max: model.max_body_bytes.get().min(MAX_OBJECT_BYTES),
            compress_from: model.compress_from.get(),
        }
    }
}

/// Adds what is wrong with `cache`; `has_redis` is whether the configuration has `redis`.
pub fn check_store(model: &CacheStore, has_redis: bool, problems: &mut Problems) {
    if !(MEMORY_MIN..=MEMORY_MAX).contains(&model.memory_bytes.get()) {
        problems.push(
            Problem::error("cache.memory", "cache.memoryBytes", "between 1MiB and 1024GiB")
                .help("an eighth of it is the largest body that is kept"),
        );
    }
    let Some(shared) = &model.shared else { return };
    if !has_redis {
        problems.push(
            Problem::error(CODE, "cache.shared", "answers are shared in `redis`, which is not set")
                .help("say where Redis is, `redis: {url: ...}`, or leave `cache.shared` out"),
        );
    }
    if !(TIMEOUT_MIN..=TIMEOUT_MAX).contains(&shared.timeout.get()) {
        problems.push(
            Problem::error(
                CODE,
                "cache.shared.timeout",
                "the time that a request waits for Redis lies between 1ms and 1s",
            )
            .help("every miss may wait that long while Redis is slow: a few milliseconds"),
        );
    }
    if !(1..=MAX_OBJECT_BYTES).contains(&shared.max_body_bytes.get()) {
        problems.push(Problem::error(
            CODE,
            "cache.shared.maxBodyBytes",
            format!("the largest body shared lies between 1 and {} MiB", MAX_OBJECT_BYTES >> 20),
        ));
    }
}

const MEMORY_MIN: u64 = 1 << 20;
const MEMORY_MAX: u64 = 1 << 40;
const CODE: &str = "cache.shared";
const TIMEOUT_MIN: Duration = Duration::from_millis(1);
const TIMEOUT_MAX: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    fn problems(shared: &str, has_redis: bool) -> Vec<String> {
        let model = serde_yaml::from_str(&format!("{{shared: {shared}}}")).unwrap();
        let mut problems = Problems::default();
        check_store(&model, has_redis, &mut problems);
        assert!(problems.0.iter().all(|problem| problem.code == CODE));
        problems.0.into_iter().map(|problem| problem.path).collect()
    }

    #[test]
    fn what_cannot_be_is_refused_all_at_once() {
        let none: [&str; 0] = [];
        assert_eq!(problems("{}", true), none);
        assert_eq!(problems("{timeout: 1ms, maxBodyBytes: 8MiB}", true), none);
        assert_eq!(problems("{timeout: 1s, maxBodyBytes: 1B}", true), none);
        assert_eq!(problems("{}", false), ["cache.shared"]);
        assert_eq!(
            problems("{timeout: 0ms, maxBodyBytes: 0B}", false),
            ["cache.shared", "cache.shared.timeout", "cache.shared.maxBodyBytes"]
        );
        assert_eq!(
            problems("{timeout: 1001ms, maxBodyBytes: 8388609B}", true),
            ["cache.shared.timeout", "cache.shared.maxBodyBytes"]
        );
    }

    #[test]
    fn nothing_is_shared_unless_it_is_asked_for() {
        let mut problems = Problems::default();
        check_store(&CacheStore::default(), false, &mut problems);
        assert_eq!(problems, Problems::default());
    }
}
