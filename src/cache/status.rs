//! What the cache did, in the words of `X-Cache`, `Cache-Status` (RFC 9211), logs and metrics.

use std::fmt::Write;

use http::HeaderValue;
use pingora_cache::{CachePhase, NoCacheReason};

use super::KeyHash;
use crate::edge::hex;

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
}

/// Why a request went to the service (RFC 9211 section 2.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Forward {
    /// The cache is not for such a request.
    Bypass,
    /// Its method is for the service.
    Method,
    /// Nothing is kept of this URI.
    UriMiss,
    /// What is kept suits other requests.
    VaryMiss,
    /// Nothing is kept under this key; under another one of the same URI there may be something.
    Miss,
    /// What is kept is too old.
    Stale,
    /// The client wants it confirmed.
    Request,
}

impl Forward {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Bypass => "bypass",
            Self::Method => "method",
            Self::UriMiss => "uri-miss",
            Self::VaryMiss => "vary-miss",
            Self::Miss => "miss",
            Self::Stale => "stale",
            Self::Request => "request",
        }
    }
}

/// What `Cache-Status` says of a request.
#[derive(Clone, Copy, Debug, Default)]
pub struct StatusLine<'a> {
    /// Whether a kept answer was used.
    pub hit: bool,
    /// Why the service was asked; none where it was not.
    pub forward: Option<Forward>,
    /// The status that the service answered with, where it is not the answer's own.
    pub forward_status: Option<u16>,
    /// For how many seconds more the answer is fresh; below 0 for how long it has been stale.
    pub ttl: Option<i64>,
    /// Whether the answer is being kept.
    pub stored: bool,
    /// Whether another request's answer was waited for.
    pub collapsed: bool,
    /// More, for people.
    pub detail: Option<&'static str>,
    /// The key, for those who may see it.
    pub key: Option<&'a KeyHash>,
}

impl StatusLine<'_> {
    /// The member of this cache: `tidegate; hit; ttl=42`. RFC 9211 section 2 allows `hit` or `fwd`,
    /// never both.
    #[must_use]
    pub fn header(&self) -> HeaderValue {
        let mut line = String::with_capacity(ROOM);
        line.push_str(match self.forward {
            Some(_) => "tidegate; fwd=",
            None if self.hit => "tidegate; hit",
            None => "tidegate",
        });
        if let Some(forward) = self.forward {
            line.push_str(forward.as_str());
        }
        // Writing to a string cannot fail.
        if let Some(status) = self.forward_status {
            let _ = write!(line, "; fwd-status={status}");
        }
        if let Some(ttl) = self.ttl {
            let _ = write!(line, "; ttl={ttl}");
        }
        for (said, word) in [(self.stored, "; stored"), (self.collapsed, "; collapsed")] {
            if said {
                line.push_str(word);
            }
        }
        if let Some(key) = self.key {
            line.push_str("; key=\"");
            line.push_str(&hex(key));
            line.push('"');
        }
        if let Some(detail) = self.detail {
            let _ = write!(line, "; detail={detail}");
        }
        HeaderValue::try_from(line).unwrap_or(HeaderValue::from_static("tidegate"))
    }
}

/// Room for most lines.
const ROOM: usize = 64;

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use pingora_cache::{CachePhase, NoCacheReason};

    use super::{CacheStatus, Forward, StatusLine};

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
        let words: HashSet<_> = CacheStatus::ALL.map(CacheStatus::as_str).into();
        assert_eq!(words.len(), 6);
    }

    #[test]
    fn the_line_is_made_of_what_is_known() {
        let line = |told: StatusLine<'_>| told.header().to_str().unwrap().to_owned();
        assert_eq!(
            line(StatusLine { hit: true, ttl: Some(42), ..StatusLine::default() }),
            "tidegate; hit; ttl=42"
        );
        assert_eq!(
            line(StatusLine { hit: true, ttl: Some(-3), ..StatusLine::default() }),
            "tidegate; hit; ttl=-3"
        );
        let refused = StatusLine { detail: Some("not-kept"), ..StatusLine::default() };
        assert_eq!(line(refused), "tidegate; detail=not-kept");
        let confirmed = StatusLine {
            forward: Some(Forward::Stale),
            forward_status: Some(304),
            ttl: Some(5),
            stored: true,
            ..StatusLine::default()
        };
        assert_eq!(line(confirmed), "tidegate; fwd=stale; fwd-status=304; ttl=5; stored");
        let all = StatusLine {
            forward: Some(Forward::VaryMiss),
            collapsed: true,
            detail: Some("purged"),
            key: Some(&[0xab; 32]),
            ..StatusLine::default()
        };
        let key = "ab".repeat(32);
        let expected = format!("tidegate; fwd=vary-miss; collapsed; key=\"{key}\"; detail=purged");
        assert_eq!(line(all), expected);
    }
}
