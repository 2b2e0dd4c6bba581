//! What the cache did, in the words of `X-Cache`, `Cache-Status` (RFC 9211), logs and metrics.

use pingora_cache::{CachePhase, NoCacheReason};

/// What the cache did for a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CacheStatus {
    /// A fresh entry answered.
    Hit,
    /// There was no entry; the upstream answered.
    Miss,
    /// A stale entry answered.
    Stale,
    /// The upstream confirmed the entry (304).
    Revalidated,
    /// There was an entry, too old; the upstream answered anew.
    Expired,
    /// The cache was not asked.
    Bypass,
}

impl CacheStatus {
    /// Every status, for metrics.
    pub const ALL: [Self; 6] =
        [Self::Hit, Self::Miss, Self::Stale, Self::Revalidated, Self::Expired, Self::Bypass];

    /// Reads Pingora's phase, as it is once the response's header is known.
    #[must_use]
    pub const fn of(phase: &CachePhase) -> Self {
        match phase {
            CachePhase::Hit => Self::Hit,
            CachePhase::Stale | CachePhase::StaleUpdating => Self::Stale,
            CachePhase::Revalidated | CachePhase::RevalidatedNoCache(_) => Self::Revalidated,
            CachePhase::Expired => Self::Expired,
            CachePhase::Miss => Self::Miss,
            CachePhase::Uninit | CachePhase::CacheKey | CachePhase::Bypass => Self::Bypass,
            CachePhase::Disabled(reason) => match reason {
                NoCacheReason::NeverEnabled
                | NoCacheReason::Deferred
                | NoCacheReason::PredictedResponseTooLarge => Self::Bypass,
                // Disabled after it had been asked in vain: most often because the answer must
                // not be kept.
                _ => Self::Miss,
            },
        }
    }

    /// The word of `X-Cache`, logs and metrics: `HIT`, `MISS`, …
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Hit => "HIT",
            Self::Miss => "MISS",
            Self::Stale => "STALE",
            Self::Revalidated => "REVALIDATED",
            Self::Expired => "EXPIRED",
            Self::Bypass => "BYPASS",
        }
    }

    /// The value of `Cache-Status`: `tidegate; hit`, `tidegate; fwd=miss`, … RFC 9211 section 2
    /// allows `hit` or `fwd`, never both; a miss is `miss` because the URL may be known under
    /// other factors, which `uri-miss` would deny.
    #[must_use]
    pub const fn header(self) -> &'static str {
        match self {
            Self::Hit => "tidegate; hit",
            Self::Miss => "tidegate; fwd=miss",
            Self::Stale => "tidegate; hit; detail=stale",
            Self::Revalidated => "tidegate; fwd=stale; fwd-status=304",
            Self::Expired => "tidegate; fwd=stale",
            Self::Bypass => "tidegate; fwd=bypass",
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use pingora_cache::{CachePhase, NoCacheReason};

    use super::CacheStatus;

    #[test]
    fn phases() {
        for (phase, status) in [
            (CachePhase::Hit, CacheStatus::Hit),
            (CachePhase::Miss, CacheStatus::Miss),
            (CachePhase::Stale, CacheStatus::Stale),
            (CachePhase::StaleUpdating, CacheStatus::Stale),
            (CachePhase::Expired, CacheStatus::Expired),
            (CachePhase::Revalidated, CacheStatus::Revalidated),
            (
                CachePhase::RevalidatedNoCache(NoCacheReason::OriginNotCache),
                CacheStatus::Revalidated,
            ),
            (CachePhase::Bypass, CacheStatus::Bypass),
            (CachePhase::Uninit, CacheStatus::Bypass),
            (CachePhase::CacheKey, CacheStatus::Bypass),
            (CachePhase::Disabled(NoCacheReason::NeverEnabled), CacheStatus::Bypass),
            (CachePhase::Disabled(NoCacheReason::OriginNotCache), CacheStatus::Miss),
            (CachePhase::Disabled(NoCacheReason::Custom("Set-Cookie")), CacheStatus::Miss),
            (CachePhase::Disabled(NoCacheReason::CacheLockTimeout), CacheStatus::Miss),
        ] {
            assert_eq!(CacheStatus::of(&phase), status, "{phase:?}");
        }
    }

    #[test]
    fn words_are_distinct_and_never_say_hit_and_forwarded_at_once() {
        let words: HashSet<_> = CacheStatus::ALL.map(CacheStatus::as_str).into();
        let headers: HashSet<_> = CacheStatus::ALL.map(CacheStatus::header).into();
        assert_eq!((words.len(), headers.len()), (6, 6));
        for header in headers {
            assert!(header.starts_with("tidegate; "), "{header}");
            assert_ne!(header.contains("hit"), header.contains("fwd="), "{header}");
        }
    }
}
