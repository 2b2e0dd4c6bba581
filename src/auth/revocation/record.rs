//! One revocation: what it is about, until when, and which of two versions of it counts.

use std::fmt::Write;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::edge::IdentityFacts;

/// Bytes of the digest that names a revocation.
const ID_BYTES: usize = 16;

/// What is revoked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Grounds {
    /// One token, by its `jti`; of one provider, or of whichever issued it.
    Token { id: String, provider: Option<String> },
    /// A caller: what was issued before a time (Unix seconds), or everything.
    Subject { provider: String, subject: String, issued_before: Option<u64> },
    /// Everything that a provider issued before a time (Unix seconds).
    Provider { provider: String, issued_before: u64 },
}

/// A revocation, or the trace of one that was taken back: it must be remembered as long as the
/// revocation would have been, or another node would bring it again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::auth) struct Record {
    /// Follows from the grounds, so that the same revocation has the same id on every node.
    pub(super) id: String,
    pub(super) grounds: Grounds,
    /// When it ends, in Unix seconds.
    pub(super) expires_at: u64,
    /// When it was last changed, in Unix milliseconds.
    pub(super) changed_ms: u64,
    pub(super) taken_back: bool,
}

/// A record as it stands in Redis, on disk and in messages.
#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
struct Written {
    id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    token_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    provider: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    subject: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    issued_before: Option<u64>,
    expires_at: u64,
    changed_ms: u64,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    taken_back: bool,
}

impl Record {
    /// A revocation made at `now_ms` (Unix milliseconds) that ends at `expires_at` (seconds).
    pub(super) fn new(grounds: Grounds, expires_at: u64, now_ms: u64) -> Self {
        let id = grounds.id();
        Self { id, grounds, expires_at, changed_ms: now_ms, taken_back: false }
    }

    /// Reads a record; none if it is not one, or not under its own id.
    pub(super) fn read(text: &[u8]) -> Option<Self> {
        Self::from_value(serde_json::from_slice(text).ok()?)
    }

    /// The same from a value that was read already.
    pub(in crate::auth) fn from_value(value: serde_json::Value) -> Option<Self> {
        let written: Written = serde_json::from_value(value).ok()?;
        let Written { provider, issued_before, .. } = written;
        let grounds = match (written.token_id, written.subject) {
            (Some(id), None) => Grounds::Token { id, provider },
            (None, Some(subject)) => {
                Grounds::Subject { provider: provider?, subject, issued_before }
            }
            (None, None) => {
                Grounds::Provider { provider: provider?, issued_before: issued_before? }
            }
            (Some(_), Some(_)) => return None,
        };
        let record = Self {
            id: written.id,
            expires_at: written.expires_at,
            changed_ms: written.changed_ms,
            taken_back: written.taken_back,
            grounds,
        };
        (record.id == record.grounds.id()).then_some(record)
    }

    /// As it is written to Redis, to disk and into messages.
    pub(in crate::auth) fn to_value(&self) -> serde_json::Value {
        let (token_id, provider, subject, issued_before) = match self.grounds.clone() {
            Grounds::Token { id, provider } => (Some(id), provider, None, None),
            Grounds::Subject { provider, subject, issued_before } => {
                (None, Some(provider), Some(subject), issued_before)
            }
            Grounds::Provider { provider, issued_before } => {
                (None, Some(provider), None, Some(issued_before))
            }
        };
        let written = Written {
            id: self.id.clone(),
            token_id,
            provider,
            subject,
            issued_before,
            expires_at: self.expires_at,
            changed_ms: self.changed_ms,
            taken_back: self.taken_back,
        };
        serde_json::to_value(written).unwrap_or_default()
    }

    /// Whether it is over.
    pub(super) const fn is_over(&self, now_seconds: u64) -> bool {
        self.expires_at <= now_seconds
    }

    /// Whether this version counts and `other`, of the same id, does not: the later change; at
    /// the same time the one that refuses more.
    pub(super) fn supersedes(&self, other: &Self) -> bool {
        let rank = |record: &Self| (record.changed_ms, !record.taken_back, record.expires_at);
        rank(self) > rank(other)
    }
}

impl Grounds {
    fn id(&self) -> String {
        let before = |before: Option<u64>| before.map_or(String::new(), |time| time.to_string());
        let parts = match self {
            Self::Token { id, provider } => {
                ["token", id, provider.as_deref().unwrap_or_default(), ""].map(str::to_owned)
            }
            Self::Subject { provider, subject, issued_before } => {
                ["subject".to_owned(), provider.clone(), subject.clone(), before(*issued_before)]
            }
            Self::Provider { provider, issued_before } => {
                let time = before(Some(*issued_before));
                ["provider".to_owned(), provider.clone(), String::new(), time]
            }
        };
        let mut digest = Sha256::new();
        for part in &parts {
            // With its length, so that no two lists of parts are alike.
            digest.update((part.len() as u64).to_be_bytes());
            digest.update(part);
        }
        let digest = digest.finalize();
        digest.iter().take(ID_BYTES).fold(String::with_capacity(2 * ID_BYTES), |mut id, byte| {
            // Writing into a string cannot fail.
            let _ = write!(id, "{byte:02x}");
            id
        })
    }

    /// What callers are looked up by.
    pub(super) fn rule(&self) -> (Subject<'_>, Rule) {
        let rule = |provider: Option<&String>, issued_before| Rule {
            provider: provider.map(|name| name.as_str().into()),
            issued_before,
            until: 0,
        };
        match self {
            Self::Token { id, provider } => (Subject::Token(id), rule(provider.as_ref(), None)),
            Self::Subject { provider, subject, issued_before } => {
                (Subject::Caller(subject), rule(Some(provider), *issued_before))
            }
            Self::Provider { provider, issued_before } => {
                (Subject::Provider(provider), rule(None, Some(*issued_before)))
            }
        }
    }
}

/// What a revocation is found by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Subject<'a> {
    /// A token's `jti`.
    Token(&'a str),
    /// Who the caller is.
    Caller(&'a str),
    /// Who vouches for the caller.
    Provider(&'a str),
}

impl<'a> Subject<'a> {
    pub(super) const fn text(self) -> &'a str {
        match self {
            Self::Token(text) | Self::Caller(text) | Self::Provider(text) => text,
        }
    }
}

/// What a revocation asks beyond what it is found by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Rule {
    /// The provider that vouched; none means any.
    pub(super) provider: Option<Box<str>>,
    /// Only what was issued before, in Unix seconds; none means everything.
    pub(super) issued_before: Option<u64>,
    /// When it ends, in Unix seconds.
    pub(super) until: u64,
}

impl Rule {
    /// Whether it is about this caller. What does not say when it was issued counts as old.
    pub(super) fn is_about(&self, facts: &IdentityFacts, now_seconds: u64) -> bool {
        let is_old = |before: u64| facts.issued_at.unwrap_or(0) < before;
        self.until > now_seconds
            && self.provider.as_deref().is_none_or(|provider| *provider == *facts.provider)
            && self.issued_before.is_none_or(is_old)
    }

    /// Whether both are the same revocation, perhaps with another end.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        self.provider == other.provider && self.issued_before == other.issued_before
    }
}

#[cfg(test)]
mod tests;
